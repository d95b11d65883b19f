"""Labels on another grid, voxels that are NaN, and slices around a mask: each voxel by hand."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo import medical
from medzoo.errors import InputError, MedzooWarning
from medzoo.medical.grids import Grid, Place


def volume(voxels: Any, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> medical.Volume:
    return medical.Volume(np.asarray(voxels), spacing, np.zeros(3), np.eye(3)[::-1].copy())


def label_by_hand(labels: np.ndarray, low: list[Fraction], high: list[Fraction]) -> int:
    """The label that covers most of a box; outside is 0; of two that cover alike, the higher."""
    covers: dict[int, Fraction] = defaultdict(Fraction)
    whole = np.prod([b - a for a, b in zip(low, high, strict=True)])
    half = Fraction(1, 2)
    for index in np.ndindex(labels.shape):
        sides = [
            max(min(b, k + half) - max(a, k - half), Fraction())
            for a, b, k in zip(low, high, index, strict=True)
        ]
        covers[int(labels[index])] += np.prod(sides)
    covers[0] += whole - sum(covers.values())
    return max(covers, key=lambda label: (covers[label], label))


STEP = st.sampled_from([Fraction(n, 4) for n in (1, 2, 3, 4, 5, 6, 8, 12, 14)])


@settings(max_examples=20, deadline=None)
@given(
    labels=st.lists(st.sampled_from([0, 1, 3, 7]), min_size=24, max_size=24),
    steps=st.tuples(STEP, STEP, STEP),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    quarters=st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8)),
)
def test_a_new_voxel_takes_the_label_that_covers_most_of_it(
    labels: Any, steps: Any, size: Any, quarters: Any
) -> None:
    old = np.array(labels, np.uint8).reshape(2, 3, 4)
    centre = [Fraction(q, 4) for q in quarters]
    made = medical.resample(
        volume(old), [float(s) for s in steps], size, [float(c) for c in centre]
    ).voxels
    assert made.dtype == np.uint8
    for index in product(*map(range, size)):
        middle = [
            c + (k - Fraction(n - 1, 2)) * s
            for c, k, n, s in zip(centre, index, size, steps, strict=True)
        ]
        low = [m - s / 2 for m, s in zip(middle, steps, strict=True)]
        high = [m + s / 2 for m, s in zip(middle, steps, strict=True)]
        assert made[index] == label_by_hand(old, low, high)


def test_many_small_labels_do_not_lose_to_the_background_between_them() -> None:
    labels = np.array([[[1, 1, 0, 2, 2, 0]]])  # of three columns: 2/3 of 1, and 2/3 of 2
    assert medical.resample(volume(labels), (None, None, 3.0)).voxels.tolist() == [[[1, 2]]]
    mask = np.array([[[True, False, False, True]]])  # half of each: the higher
    assert medical.resample(volume(mask), (None, None, 2.0)).voxels.all()
    third = np.array([[[1, 0, 0, 0, 0, 1]]])
    assert not medical.resample(volume(third), (None, None, 3.0)).voxels.any()


def test_what_lies_outside_has_the_label_that_is_asked_for() -> None:
    labels = np.full((1, 2, 2), 4, np.int16)
    wide = medical.resample(volume(labels), size=(None, 4, 2), fill=9).voxels[0]
    assert wide.tolist() == [[9, 9], [4, 4], [4, 4], [9, 9]]


def test_voxels_that_are_nan_lie_outside() -> None:
    values = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    values[0, 0] = np.nan
    fine = medical.resample(volume(values), (None, 0.5, 0.5)).voxels
    assert np.isfinite(fine).all()
    assert (fine[0, 0] == 4).all()  # the lowest number
    assert medical.resample(volume(values), (None, 0.5, 0.5), fill=-7).voxels.min() == -7
    mask = np.zeros(values.shape, bool)
    mask[0, 1:3, 1:3] = True
    images, _ = medical.slices_with(volume(values), mask, size=6)
    assert np.isfinite(images).all()
    assert images.min() == 4


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 40),
    old=st.sampled_from([0.4, 0.7, 1.0, 1.1, 3.0]),
    new=st.sampled_from([0.5, 1.0, 1.1, 2.0, 5.0, 50.0]),
)
def test_without_a_size_the_new_grid_covers_the_volume(length: int, old: float, new: float) -> None:
    values = np.arange(1, length + 1, dtype=np.float32).reshape(-1, 1, 1)
    made = medical.resample(volume(values, (old, 1.0, 1.0)), (new, None, None), fill=-9)
    covered = len(made.voxels) * made.spacing[0]
    assert length * old - 0.01 * new <= covered < length * old + new
    assert made.voxels.min() >= 1  # no voxel has its centre outside


def test_a_spacing_that_was_rounded_makes_no_further_voxel() -> None:
    wide = volume(np.zeros((1, 1, 100), bool), (1.0, 1.0, float(np.float32(1.1))))  # 1.10000002
    assert medical.resample(wide, (None, None, 0.55)).voxels.shape == (1, 1, 200)


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 40), spacing=st.sampled_from([0.3, 0.8, 1.5, 2.0, 5.0, 9.0]))
def test_a_picture_comes_back_with_a_value_in_every_voxel(length: int, spacing: float) -> None:
    scan = volume(np.ones((length, 2, 3), np.float32))
    own, taken = Grid.of(scan), Grid.of(medical.resample(scan, (spacing, None, None)))
    assert own is not None
    assert taken is not None
    values = np.arange(1, 1 + taken.shape[0], dtype=np.float32)  # the lowest is in the first slice
    pictures = np.broadcast_to(values[:, None, None], taken.shape)[None]
    place = Place(own, taken)
    for direction in (1, -1):
        back = direction * place.back(direction * pictures, labels=False)[0, :, 0, 0]
        assert (np.diff(back) >= 0).all()  # not the lowest value at the other end
    labels = np.ones((1, *taken.shape), np.uint8)
    assert place.back(labels, labels=True).all()


def test_slices_with_never_gives_an_empty_mask() -> None:
    ct = volume(np.zeros((4, 40, 40), np.float32))
    mask = np.zeros(ct.voxels.shape, bool)
    mask[1, 10:20, 10:20] = True
    mask[2, 30, 30] = True  # one pixel of 16 of the coarser grid
    with pytest.warns(MedzooWarning, match="In 1 of 2 slices the mask disappears"):
        images, masks = medical.slices_with(ct, mask, 8, spacing=4.0)
    assert len(images) == len(masks) == 1
    assert masks.any((1, 2)).all()
    corners = np.zeros(ct.voxels.shape, bool)
    corners[3, 0, 0] = corners[3, 39, 39] = True  # what is cut lies between them
    with pytest.raises(InputError, match="In 1 of 1 slices the mask disappears"):
        medical.slices_with(ct, corners, 8)


@settings(max_examples=100, deadline=None)
@given(
    extent=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    size=st.tuples(st.integers(5, 24), st.integers(5, 24)),
    aside=st.none() | st.tuples(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5)),
    spacing=st.sampled_from([None, 1.0, (None, 1.0), (1.0 + 1e-7, 1.0)]),
)
def test_a_cut_at_the_same_spacing_keeps_its_voxels(
    extent: Any, size: Any, aside: Any, spacing: Any
) -> None:
    values = np.arange(1, 401, dtype=np.float32).reshape(1, 20, 20)
    mask = np.zeros(values.shape, bool)
    mask[0, 7 : 7 + extent[0], 8 : 8 + extent[1]] = True
    target = (np.array(size) - 1) / 2 + (aside or 0)
    at = None if aside is None else target.tolist()
    images, masks = medical.slices_with(volume(values), mask, size, spacing, at=at, fill=0)
    assert images.shape == masks.shape == (1, *size)
    padded, padded_mask = np.pad(values[0], 50), np.pad(mask[0], 50)  # 0 outside, as fill is
    seen = np.argwhere(images[0])[0]
    first = np.argwhere(padded == images[0][tuple(seen)])[0] - seen
    cut = tuple(slice(k, k + n) for k, n in zip(first, size, strict=True))
    assert np.array_equal(images[0], padded[cut])
    assert np.array_equal(masks[0], padded_mask[cut])
    middle = np.array([57, 58]) + (np.array(extent) - 1) / 2 - first  # of the mask, in the picture
    assert (np.abs(middle - target) <= 0.5 + 1e-9).all()


def test_an_odd_margin_of_a_cut_is_wider_behind_the_mask() -> None:
    mask = np.zeros((1, 60, 60), bool)
    mask[0, 20:25, 30:35] = True
    _, masks = medical.slices_with(volume(np.zeros(mask.shape, np.float32)), mask, 32)
    assert np.argwhere(masks[0]).min(0).tolist() == [13, 13]
    assert np.argwhere(masks[0]).max(0).tolist() == [17, 17]  # 13 pixels before, 14 behind
