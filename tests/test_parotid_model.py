"""Model 104: a gland of the mask's form in a CT of HU, heads that differ, masks of any kind, and training on DICOM."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

import medzoo
from benchmarks import bars
from medzoo.errors import InputError
from medzoo.registry import resolve

FOLDER = ROOT / "starter_models" / "00104_PIX2PIX_CT_PAROTID_PHANTOM"
VERSION = resolve(104).default
MM = 1.6
Y, X = np.mgrid[:128, :128] + 0.5
GLAND = (-75, 40)  # HU, where the mean of a gland lies


def make(n: int, **more: Any) -> medzoo.samples.Samples:
    return medzoo.generate(104, n, **{"seed": 3, "progress": False, **more})


def disc(x: float, y: float, radius: float) -> np.ndarray:
    return (np.hypot(X - x, Y - y) < radius).astype(np.uint8)


def widened(mask: np.ndarray, pixels: int) -> np.ndarray:
    """Everything within so many pixels of a mask (H, W)."""
    for _ in range(pixels):
        p = np.pad(mask > 0, 1)
        mask = p[1:-1, 1:-1] | p[2:, 1:-1] | p[:-2, 1:-1] | p[1:-1, 2:] | p[1:-1, :-2]
    return mask > 0


def inner(mask: np.ndarray) -> np.ndarray:
    return ~widened(~(mask > 0), 1)


# --------------------------------------------------------------------------------------------------------- the samples
def test_samples_are_ct_of_a_head_in_air_with_a_gland_where_the_mask_is() -> None:
    samples = make(12)
    assert samples.outputs["images"].spacing == samples.outputs["masks"].spacing == (MM, MM)
    for ct, mask in zip(samples.images[:, 0], samples.masks[:, 0], strict=True):
        edge = np.concatenate([ct[0], ct[-1], ct[:, 0], ct[:, -1]])
        assert edge.mean() < -950  # air around
        assert edge.max() < -300
        tissue = ct > -300
        assert 0.2 < tissue.mean() < 0.7
        assert 0.01 < (ct > 300).mean() < 0.12  # bone and teeth
        assert tissue[mask > 0].mean() > 0.98
        assert GLAND[0] < ct[inner(mask)].mean() < GLAND[1]


def test_drawn_masks_are_one_gland_of_a_gland_s_size_on_the_right() -> None:
    masks = make(40).masks[:, 0]
    for mask in masks:
        assert 100 < mask.sum() * MM**2 < 1500  # mm2
        rows, columns = np.nonzero(mask)
        assert columns.max() < 64  # the patient's right is on the left
        seed = np.zeros_like(mask)
        seed[rows[0], columns[0]] = 1
        for _ in range(128):
            seed = np.pad(seed, 1)
            seed = (
                np.max(
                    [
                        seed[1 + a : 129 + a, 1 + b : 129 + b]
                        for a in (-1, 0, 1)
                        for b in (-1, 0, 1)
                    ],
                    axis=0,
                )
                * mask
            )
        assert np.array_equal(seed, mask)
    assert len(np.unique(masks.reshape(40, -1), axis=0)) == 40


def test_one_mask_fits_many_heads() -> None:
    mask = make(1).masks
    samples = make(8, inputs=np.repeat(mask, 8, axis=0))
    differ = np.abs(np.diff(samples.images.astype(int), axis=0))
    assert (differ > 100).mean(axis=(1, 2, 3)).min() > 0.05


def test_ears_are_there_where_they_are_asked_for() -> None:
    both, none, drawn = (make(24, ears=ears) for ears in ("both", "none", "any"))
    assert bars.ears(both.images).all(axis=1).mean() > 0.8
    assert bars.ears(none.images).any(axis=1).mean() < 0.2
    assert np.array_equal(both.masks, none.masks)
    same = [
        [
            np.array_equal(image, other)
            for image, other in zip(drawn.images, made.images, strict=True)
        ]
        for made in (both, none)
    ]
    assert np.array_equal(same[0], np.logical_not(same[1]))
    assert 0.4 < np.mean(same[0]) < 0.95
    with pytest.raises(InputError, match="ears='one' is not allowed"):
        make(1, ears="one")


def test_lobes_are_drawn_on_both_sides_or_taken_away(script: Callable[..., ModuleType]) -> None:
    train, heads = script(FOLDER), bars.phantom_heads(12)
    images = heads.images[:, 0].astype(np.float32)
    both, none = (
        np.stack([train.with_lobes(head, wanted) for head in images]) for wanted in (True, False)
    )
    assert bars.ears(both[:, None]).all()
    assert bars.ears(heads.images).mean() > 0.4
    assert bars.ears(none[:, None]).mean() < 0.1
    for made in (both, none):
        assert np.array_equal(made[..., 40:88], images[..., 40:88])
        assert np.array_equal(made[:, :48], images[:, :48])


def test_own_masks_take_the_place_of_the_first_stage() -> None:
    masks = np.stack([disc(33, 67, 8), disc(30, 60, 6)])[:, None] * np.uint8(255)
    samples = make(2, inputs=masks)
    assert np.array_equal(samples.masks, masks > 0)
    again = make(2, inputs=masks, latents=np.ones((2, 100), np.float32))
    assert np.array_equal(again.images, samples.images)  # latents draw masks, and nothing else
    assert not np.array_equal(make(2, latents=np.ones((2, 100), np.float32)).masks, make(2).masks)


def test_masks_of_another_size_are_refused_by_their_size() -> None:
    with pytest.raises(InputError, match=r"\(64, 64\).*\n?.*\(1, 128, 128\)|64, 64"):
        make(1, inputs=np.zeros((64, 64), np.uint8))


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(["square", "ring", "two", "ragged", "speckled", "empty"]),
    x=st.floats(38, 90),
    y=st.floats(45, 90),
    size=st.floats(6, 11),
    seed=st.integers(0, 999),
)
def test_masks_that_no_head_has_do_not_tear_the_picture(
    kind: str, x: float, y: float, size: float, seed: int
) -> None:
    far, rng = np.hypot(X - x, Y - y), np.random.default_rng(seed)
    mask = {
        "square": np.maximum(abs(X - x), abs(Y - y)) < size,
        "ring": abs(far - size) < 3,
        "two": (far < 0.7 * size) | (np.hypot(X - 128 + x, Y - y) < 0.7 * size),
        "ragged": far + rng.normal(0, 1.5, far.shape) < size,
        "speckled": rng.random(far.shape) < 0.02,
        "empty": far < 0,
    }[kind].astype(np.uint8)
    ct = make(1, seed=seed, inputs=mask).images[0, 0]
    own = make(1, seed=seed)
    here = ~widened(mask | own.masks[0, 0], 6)
    kinds = [
        np.bincount(np.digitize(p[here], [-300, -40, 150]), minlength=4) / here.sum()
        for p in (ct, own.images[0, 0])
    ]
    assert (
        np.abs(kinds[0] - kinds[1]).sum() / 2 < 0.06
    )  # air, fat, soft tissue and bone elsewhere: as with the model's own mask
    if kind in {"square", "two"}:
        assert GLAND[0] < np.median(ct[inner(mask)]) < GLAND[1]


# --------------------------------------------------------------------------------------------------------- the phantom
def test_the_phantom_is_the_same_scan_with_a_gland_of_any_form(
    script: Callable[..., ModuleType],
) -> None:
    phantom = script(FOLDER, "phantom")
    scan, other = phantom.scan(5), phantom.scan(6)
    assert np.array_equal(scan.bed, phantom.scan(5).bed)
    assert (np.abs(scan.bed - other.bed) > 100).mean() > 0.05
    assert np.array_equal(
        phantom.compose(scan.bed, scan.gland, np.zeros((128, 128))), np.clip(scan.bed, -1024, 2048)
    )
    whole = phantom.compose(scan.bed, scan.gland, scan.mask)
    assert np.array_equal(whole[scan.mask == 0], np.clip(scan.bed, -1024, 2048)[scan.mask == 0])
    assert GLAND[0] < whole[scan.mask > 0.99].mean() < GLAND[1]
    assert abs(np.median(whole[:6]) + 1000) < 30


def test_two_fillings_are_joined_by_a_dark_band_and_one_is_not(
    script: Callable[..., ModuleType],
) -> None:
    phantom = script(FOLDER, "phantom")

    def mean_of(metal: np.ndarray) -> np.ndarray:
        return np.mean(
            [phantom.streaks(metal.astype(float), np.random.default_rng(k)) for k in range(4)],
            axis=0,
        )

    both, alone = mean_of(disc(44, 50, 2) | disc(84, 50, 2)), mean_of(disc(44, 50, 2))
    assert both[49:51, 50:78].mean() < -40  # a dark band joins them
    assert abs(both[20:30, 54:74].mean()) < 10
    assert abs(alone[49:51, 50:78].mean()) < 15


# -------------------------------------------------------------------------------------------------------- the training
def run(*arguments: object) -> str:
    call = [
        sys.executable,
        str(FOLDER / "train.py"),
        "--threads",
        "1",
        "--device",
        "cpu",
        *map(str, arguments),
    ]
    return subprocess.run(call, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_training_on_dicom_makes_weights_that_generate(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from scan_files import circle, series, structures

    ct = np.where(np.hypot(*np.mgrid[-64:64, -64:64]) < 55, 40.0, -1000.0)[None].repeat(3, axis=0)
    where = {"spacing": (3.0, 1.6, 1.6), "origin": (-102.4, -102.4, 0.0)}
    series(tmp_path / "cohort" / "a", ct, **where)
    structures(
        tmp_path / "cohort" / "a" / "rt.dcm",
        {"PAROTID_R": [circle(14, (-50, 5), h) for h in (0.0, 3.0)]},
    )
    series(tmp_path / "cohort" / "b", ct, uid="1.2.4", frame="1.2.8", **where)
    structures(tmp_path / "cohort" / "b" / "rt.dcm", {"Cord": []}, uid="1.2.4", frame="1.2.8")
    steps = (
        "--data",
        tmp_path / "cohort",
        "--painter-steps",
        2,
        "--every",
        1,
        "--out",
        tmp_path / "run",
    )
    said = run(*steps, "--mask-steps", 1)
    assert "2 slices of 1 patients" in said
    assert "No structure is" in said  # of the second patient
    assert "masks 1" not in run(*steps, "--mask-steps", 2)  # goes on after step 1
    assert (tmp_path / "run" / "painter.png").exists()
    samples = make(2, weights=tmp_path / "run" / "weights.safetensors")
    assert not np.array_equal(samples.images, make(2).images)


@pytest.mark.slow
def test_real_slices_lie_where_the_phantom_has_its_gland(
    script: Callable[..., ModuleType], tmp_path: Path
) -> None:
    pytest.importorskip("pydicom")
    from scan_files import circle, series, structures

    values = np.full((2, 200, 160), 40.0)
    series(tmp_path, values, spacing=(3.0, 0.8, 1.0), origin=(-80, -80, 0))
    structures(tmp_path / "rt.dcm", {"Rt Parotid": [circle(12, (-40, 10), 0.0)]})
    train = script(FOLDER)
    scans = train.read_dicom(tmp_path, train.ROI)
    mask = scans.mask[0, 0].numpy() > 0.5
    np.testing.assert_allclose(np.argwhere(mask).mean(axis=0), (67, 33), atol=0.6)
    assert mask.sum() * MM**2 == pytest.approx(np.pi * 12**2, rel=0.08)
    ct, shown = scans.batch(3, np.random.default_rng(0))
    assert ct.shape == shown.shape == (3, 1, 128, 128)


def test_air_at_the_border_is_air() -> None:
    images = medzoo.generate(104, 24, seed=0).images[:, 0]
    border = np.concatenate(
        [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1
    )
    inner = np.concatenate([images[:, 6], images[:, -7], images[:, :, 6], images[:, :, -7]], axis=1)
    air = inner < -900
    assert air.mean() > 0.5
    assert (border[air] < -950).mean() >= 0.99
