"""Volumes on another grid, and the slices of a volume that show a mask."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..errors import InputError, MedzooWarning
from . import arguments
from .volumes import Volume, a_volume

Array = NDArray[Any]
EVEN = 1e-5  # of a voxel: two labels whose shares differ by less cover equally much
UNCOVERED = 0.01  # of a voxel: a margin of the volume that needs no further voxel
SAME = 1e-5  # of a spacing: one that differs by less, as by rounding, is the same


@checks.checked(
    volume=a_volume,
    spacing=arguments.three_numbers,
    size=checks.several(arguments.pixels, 3),
    centre=arguments.three_numbers,
    fill=checks.optional(checks.number),
)
def resample(
    volume: Volume,
    spacing: Sequence[float | None] = (None, None, None),
    size: Sequence[int | None] = (None, None, None),
    centre: Sequence[float | None] = (None, None, None),
    *,
    fill: float | None = None,
) -> Volume:
    """Resample a volume to another grid with the same directions.

    The new grid may have another spacing, and may cover a part of the volume or more than it.
    Values are interpolated linearly, and averaged where the grid becomes coarser. A voxel of labels
    takes the label that covers most of it.

    Parameters
    ----------
    volume : Volume
        Floats are values; whole numbers and bool are labels.
    spacing : sequence of float, optional
        Millimetres between slices, rows and columns. None keeps the spacing of that axis.
    size : sequence of int, optional
        Number of slices, rows and columns. None covers the volume along that axis with as few
        voxels as possible. They may reach beyond it on both sides, by less than half a voxel.
    centre : sequence of float, optional
        The voxel of ``volume``, with fractions, that comes to lie in the middle of the new grid.
        None is the middle of the volume along that axis. Where the spacing stays, voxels then keep
        their values: of an odd number of voxels to add, one more comes behind the volume than
        before it, and of an odd number to cut, one more is cut behind it.
    fill : float, optional
        The value outside of the volume, and of voxels that are NaN. By default the lowest value of
        the volume, and 0 for labels.

    Returns
    -------
    Volume
        With the new spacing and origin, without ``padding``.

    Raises
    ------
    InputError
        A spacing or a size is not above 0, or the spacing of the volume is unknown.

    Examples
    --------
    >>> ct = medical.read_series("patient7/")
    >>> coarse = medical.resample(ct, spacing=(3.0, 2.0, 2.0))
    >>> coarse.voxels.shape, coarse.spacing
    ((12, 32, 32), (3.0, 2.0, 2.0))
    """
    return _resampled(volume, spacing, size, centre, fill)


def _resampled(
    volume: Volume,
    spacing: Sequence[float | None],
    size: Sequence[int | None],
    centre: Sequence[float | None],
    fill: float | None,
) -> Volume:
    _require_a_grid(volume, spacing, size)
    grids = []
    origin, new_spacing = volume.origin, list(volume.spacing)
    for axis, old in enumerate(volume.spacing):
        step = _step(spacing[axis], old)
        positions = _positions(volume.voxels.shape[axis], step, size[axis], centre[axis])
        grids.append((positions, step))
        origin = origin + volume.axes[axis] * (0 if np.isnan(old) else old) * positions[0]
        new_spacing[axis] = old * step
    voxels = volume.voxels
    if voxels.dtype.kind == "f":
        resampled = _interpolated(voxels, grids, _lowest(voxels) if fill is None else fill)
    else:
        resampled = _of_most_cover(voxels, grids, int(fill or 0))
    z, y, x = new_spacing
    return replace(volume, voxels=resampled, padding=None, spacing=(z, y, x), origin=origin)


def _require_a_grid(
    volume: Volume, spacing: Sequence[float | None], size: Sequence[int | None]
) -> None:
    """An error where a new spacing or size cannot be used."""
    if any(number is not None and not number > 0 for number in (*spacing, *size)):
        raise InputError(
            f"spacing={tuple(spacing)}, size={tuple(size)}: not all are above 0.",
            "Give millimetres and voxels.",
        )
    for new, old in zip(spacing, volume.spacing, strict=True):
        if new is not None and np.isnan(old):
            raise InputError(
                "The spacing of the volume is unknown.",
                "Without it, the volume cannot be resampled to millimetres: leave spacing= out.",
            )


def _step(new: float | None, old: float) -> float:
    """Old voxels from one new voxel to the next along an axis; 1 if the spacing stays."""
    step = 1.0 if new is None else new / old
    return 1.0 if abs(step - 1) < SAME else step


def _positions(
    length: int, step: float, count: int | None, middle: float | None
) -> NDArray[np.float64]:
    """Where the new voxels of one axis lie, in old voxels."""
    if count is None:
        count = max(1, math.ceil(length / step - UNCOVERED))
    if middle is None and step == 1:
        return np.arange(count, dtype=np.float64) + int((length - count) / 2)  # whole voxels
    if middle is None:
        middle = (length - 1) / 2
    from_middle = np.arange(count) - (count - 1) / 2
    return np.asarray(middle + from_middle * step, np.float64)


def _lowest(voxels: Array) -> float:
    """The lowest value that is a number; 0 if there is none."""
    return float(np.fmin.reduce(voxels, axis=None)) if not np.isnan(voxels).all() else 0.0


def _interpolated(
    voxels: Array, grids: list[tuple[Array, float]], fill: float
) -> NDArray[np.float32]:
    """``voxels`` at the ``grids`` of each axis: their positions, and the step between them.

    Voxels that are NaN count as outside.
    """
    values, beyond = voxels.astype(np.float32), []
    values[np.isnan(values)] = fill
    for axis, (positions, step) in enumerate(grids):
        length = values.shape[axis]
        if np.array_equal(positions, np.arange(length)):
            continue
        inside = (positions >= -0.5) & (positions <= length - 0.5)
        near = np.abs(np.arange(length) - positions[:, None])  # (new, old)
        weights = np.maximum(1 - near / max(1.0, step), 0) * inside[:, None]
        weights /= np.maximum(weights.sum(1, keepdims=True), 1e-12)
        values = np.moveaxis(np.tensordot(weights.astype(np.float32), values, (1, axis)), 0, axis)
        beyond.append((axis, ~inside))
    for axis, outside in beyond:
        np.moveaxis(values, axis, 0)[outside] = fill
    return np.ascontiguousarray(values)


def _of_most_cover(labels: Array, grids: list[tuple[Array, float]], fill: int) -> Array:
    """The label that covers most of each new voxel; the higher one of two that cover as much.

    What lies outside of the volume has the label ``fill``.
    """
    fill_label = np.asarray(fill).astype(labels.dtype)
    shares: list[NDArray[np.float32] | None] = []  # per axis; None where the grid stays
    for (positions, step), length in zip(grids, labels.shape, strict=True):
        same = np.array_equal(positions, np.arange(length))
        shares.append(None if same else _overlaps(positions, step, length))
    inside = _covered(np.ones(labels.shape, np.float32), shares)
    result = np.full(inside.shape, fill_label)
    most = np.where(1 - inside > EVEN, 1 - inside, 0).astype(np.float32)
    for label in np.unique(np.append(labels, fill_label)):
        cover = _covered((labels == label).astype(np.float32), shares)
        if label == fill_label:
            cover += 1 - inside
        better = (cover > most + EVEN) | ((cover >= most - EVEN) & (label > result))
        better &= cover > EVEN
        result[better], most[better] = label, cover[better]
    return result


def _overlaps(positions: Array, step: float, length: int) -> NDArray[np.float32]:
    """(new, old): the share of each new voxel of one axis that lies in each old one."""
    old = np.arange(length)
    first = np.maximum(positions[:, None] - step / 2, old - 0.5)
    last = np.minimum(positions[:, None] + step / 2, old + 0.5)
    shares: NDArray[np.float32] = (np.maximum(last - first, 0) / step).astype(np.float32)
    return shares


def _covered(values: Array, shares: list[NDArray[np.float32] | None]) -> Array:
    """The share of each new voxel that the ones of ``values`` cover; axes without shares stay."""
    for axis, share in enumerate(shares):
        if share is not None:
            values = np.moveaxis(np.tensordot(share, values, (1, axis)), 0, axis)
    return np.ascontiguousarray(values)


@checks.checked(
    volume=a_volume,
    mask=arguments.array,
    size=checks.optional(checks.either(arguments.pixels, checks.several(arguments.pixels, 2))),
    spacing=checks.optional(checks.either(checks.number, arguments.two_numbers)),
    at=checks.optional(arguments.two_numbers),
    fill=checks.optional(checks.number),
)
def slices_with(
    volume: Volume,
    mask: Array,
    size: int | Sequence[int | None] | None = None,
    spacing: float | Sequence[float | None] | None = None,
    *,
    at: Sequence[float] | None = None,
    fill: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Take the slices in which a mask is not empty, each cut around the mask.

    Parameters
    ----------
    volume : Volume
        CT in HU, or any other.
    mask : array of bool
        (D, H, W) on the grid of the volume, as `Structures.mask` returns it.
    size : int or sequence of int, optional
        Pixels of the pictures: one number, or rows and columns. None does not cut: the pictures
        cover the whole slice.
    spacing : float or sequence of float, optional
        Millimetres of a pixel: one number, or between rows and between columns. None keeps the
        spacing of the volume.
    at : sequence of float, optional
        The pixel, row and column, at which the middle of the mask's extent comes to lie; by default
        the middle of the picture. Where the spacing stays, pictures are cut at whole voxels, which
        keep their values: of an odd number of pixels to add, one more comes behind the mask than
        before it.
    fill : float, optional
        The value outside of the volume, and of voxels that are NaN; by default the lowest value of
        the volume.

    Returns
    -------
    images : array of float32
        (n, H, W) in the unit of the volume.
    masks : array of bool
        (n, H, W). No mask is empty: if the new spacing or the cut leaves nothing of the mask in a
        slice, the slice is left out, and a warning counts these slices.

    Raises
    ------
    InputError
        The mask is empty, or becomes empty in every slice. It has another shape than the volume. A
        spacing or a size is not above 0, or the spacing of the volume is unknown.

    Examples
    --------
    >>> ct, mask = medical.read_mask("patient7/", "Parotid R")
    >>> images, masks = medical.slices_with(ct, mask, size=32, spacing=1.0)
    >>> images.shape, masks.shape
    ((4, 32, 32), (4, 32, 32))
    """
    mask = np.asarray(mask, bool)
    if mask.shape != volume.voxels.shape:
        raise InputError(
            f"The mask has the shape {mask.shape}, the volume {volume.voxels.shape}.",
            "Give a mask on the grid of the volume.",
        )
    require_not_empty(mask)
    numbers = np.flatnonzero(mask.any((1, 2)))  # of the slices that hold some of the mask
    pixels = size if isinstance(size, Sequence) else (size, size)
    mm = spacing if isinstance(spacing, Sequence) else (spacing, spacing)
    low = _lowest(volume.voxels) if fill is None else fill
    images, masks = [], []
    for k in numbers:
        middle = middle_of(mask[k], pixels, mm, volume.spacing[1:], at=at)
        grid = (None, *mm), (None, *pixels), (None, *middle)
        mask_slice = replace(volume, voxels=mask[k : k + 1])
        cut_mask = _resampled(mask_slice, *grid, None).voxels[0]
        if cut_mask.any():
            image_slice = replace(volume, voxels=volume.voxels[k : k + 1])
            images.append(_resampled(image_slice, *grid, low).voxels[0])
            masks.append(cut_mask)
    _warn_of_vanished(len(numbers) - len(masks), len(numbers))
    return np.stack(images), np.stack(masks)


def require_not_empty(mask: NDArray[np.bool_]) -> None:
    """Raise InputError if a mask marks nothing."""
    if not mask.any():
        raise InputError("The mask is empty.", "The structure may lie outside of this volume.")


def middle_of(
    mask: NDArray[np.bool_],
    size: Sequence[int | None],
    new_spacing: Sequence[float | None],
    old_spacing: Sequence[float],
    *,
    at: Sequence[float] | None = None,
) -> list[float | None]:
    """The voxel in the middle of a cut around a mask; None for an axis that is not cut.

    The middle of the mask's extent comes to lie at the pixel ``at``, or in the middle of the cut.
    Where the spacing stays, it may come to lie half a voxel beside it, so that the cut consists of
    voxels of the mask's grid.
    """
    middle: list[float | None] = []
    for axis, numbers in enumerate(np.nonzero(mask)):
        count = size[axis]
        if count is None:
            middle.append(None)
            continue
        step = _step(new_spacing[axis], old_spacing[axis])
        half = (count - 1) / 2  # from the first voxel of the cut to its middle
        position = (numbers.min() + numbers.max()) / 2
        if at is not None:
            position += (half - at[axis]) * step
        if step == 1:
            position = np.floor(position - half + 0.5) + half
        middle.append(float(position))
    return middle


def _warn_of_vanished(vanished: int, count: int) -> None:
    """Warn in how many slices nothing is left of a mask; an error if that is all of them."""
    if not vanished:
        return
    problem = f"In {vanished} of {count} slices the mask disappears"
    if vanished == count:
        raise InputError(
            f"{problem}.",
            "It is smaller than half a pixel, or cut off: change spacing, size or at.",
        )
    warnings.warn(
        MedzooWarning(f"{problem} at this spacing and size: they are left out."), stacklevel=3
    )
