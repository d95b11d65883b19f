"""The detector that judges whether brain slices show the tumours that their boxes name."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

sys.path.insert(0, str(ROOT))
from benchmarks import detector


def heads(n: int, seed: int) -> detector.Slices:
    """Gray discs with a bright square in each, whose box is known."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:128, :128] + 0.5) / 128
    images, boxes = [], []
    for _ in range(n):
        centre, size = rng.uniform(0.3, 0.7, 2), rng.uniform(0.12, 0.25, 2)
        head = 60.0 * ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.2)
        inside = (abs(x - centre[0]) < size[0] / 2) & (abs(y - centre[1]) < size[1] / 2)
        images.append(np.clip(head + 120 * inside + rng.normal(0, 4, head.shape), 0, 255))
        boxes.append([*centre, *size])
    labels = np.arange(n) % 3
    return detector.Slices(
        np.array(images).astype(np.uint8)[:, None], np.array(boxes, np.float32), labels
    )


def test_overlap_of_boxes_is_intersection_over_union() -> None:
    box = np.array([[0.5, 0.5, 0.2, 0.2]], np.float32)
    for other, wanted in (
        ([0.5, 0.5, 0.2, 0.2], 1),
        ([0.6, 0.5, 0.2, 0.2], 1 / 3),
        ([0.5, 0.5, 0.4, 0.2], 0.5),
        ([0.9, 0.9, 0.1, 0.1], 0),
    ):
        assert detector.overlap(box, np.array([other], np.float32))[0] == pytest.approx(
            wanted, abs=1e-5
        )


def test_moved_slices_keep_their_boxes() -> None:
    torch.manual_seed(0)
    slices = heads(24, 5)
    there, boxes = detector.moved(
        detector.prepared(torch.from_numpy(slices.images)),
        torch.from_numpy(slices.boxes)[:, None],
    )
    for picture, (x, y, w, h) in zip(there[:, 0].numpy(), boxes[:, 0].numpy(), strict=True):
        rows, columns = (np.arange(128) + 0.5) / 128, (np.arange(128) + 0.5) / 128
        inside = (abs(columns - x) < 0.4 * w)[None] & (abs(rows - y) < 0.4 * h)[:, None]
        near = (abs(columns - x) < 0.8 * w)[None] & (abs(rows - y) < 0.8 * h)[:, None]
        ring = near & ~((abs(columns - x) < 0.6 * w)[None] & (abs(rows - y) < 0.6 * h)[:, None])
        assert picture[inside].mean() > picture[ring].mean() + 0.2


def test_detector_is_small() -> None:
    assert sum(p.numel() for p in detector.Detector().parameters()) < detector.LARGEST


@pytest.mark.slow
def test_detector_learns_to_find_squares() -> None:
    net = detector.train(heads(40, 0), steps=80, batch=6)
    assert detector.found(net, heads(30, 1))["all"] > 0.5
