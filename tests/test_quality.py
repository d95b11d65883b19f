"""The judge of quality: real against real is near, noise and copies are found out."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT))
from benchmarks import quality


def patches(n: int, seed: int, *, noise: float = 0.0) -> quality.Patches:
    """Blurred blobs on a gradient, 128x128, of two sizes; more or less grain."""
    rng = np.random.default_rng(seed)
    grid = np.mgrid[0:128, 0:128].astype(float)
    labels = np.arange(n) % 2
    images = []
    for label in labels:
        y, x = rng.uniform(40, 88, 2)
        blob = np.exp(-((grid[0] - y) ** 2 + (grid[1] - x) ** 2) / (2 * (8 + 12 * label) ** 2))
        images.append(rng.uniform(60, 120) + 80 * blob + rng.normal(0, 3 + noise, (128, 128)))
    return quality.Patches(np.clip(images, 0, 255).astype(np.uint8), labels.astype(float))


@pytest.mark.slow
def test_judge_tells_alike_noisy_and_copied_sets_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "STEPS", 80)
    train, split = patches(160, 0), patches(60, 1)
    figures = quality.judge(train, split)
    alike, noisy, copied = (
        figures(patches(160, 2)),
        figures(patches(160, 3, noise=12)),
        figures(quality.Patches(train.images[:80], train.labels[:80])),
    )
    assert alike["SWD"] < noisy["SWD"]
    assert alike["C2ST"] < 0.8 < noisy["C2ST"]
    assert alike["TSTR"] > 0.9
    assert copied["copy"] == 1 > alike["copy"]
    assert alike["precision"] > 0.5
    assert alike["tails"] < 0.1
