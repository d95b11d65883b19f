"""Volumes of known geometry: grey values or labels on a grid in the patient, and what a training
script does with them.

Millimetres are DICOM's: x to the patient's left, y to the back, z to the head. Arrays are in the
order slices, rows, columns.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MedzooWarning

Array = NDArray[Any]
# decimals of a pixel that contours are rounded to: borders that run through pixel centres do so
# exactly
SNAP = 6
EVEN = 1e-5  # of a voxel: two labels that cover it alike by this much cover as much


@dataclass(frozen=True, eq=False)  # arrays have no one answer to ==
class Volume:
    """Slices on a grid in the patient.

    Parameters
    ----------
    voxels
        (D, H, W): floats are values, which resampling interpolates; whole numbers and bool are
        labels, which it does not.
    spacing
        Millimetres between slices, rows and columns; NaN where a file does not say.
    origin
        Centre of the first voxel in millimetres, (x, y, z); NaN where a file does not say.
    axes
        (3, 3): the directions in which slices, rows and columns follow each other, as unit vectors
        (x, y, z).
    unit
        HU where the file says so, else empty.
    window
        Centre and width by which the files want to be shown, if all state the same.
    series, frame
        DICOM's identifiers of the series and of its frame of reference; empty where there are none.
    windows
        The different windows that the files of the series state; None is that of a file without.
    padding
        (D, H, W) bool: voxels that a file calls padding, outside of what was scanned; None if there
        are none. They keep their values.
    """

    voxels: Array
    spacing: tuple[float, float, float]
    origin: NDArray[np.float64]
    axes: NDArray[np.float64]
    unit: str = ""
    window: tuple[float, float] | None = None
    series: str = ""
    frame: str = ""
    windows: tuple[tuple[float, float] | None, ...] = ()
    padding: NDArray[np.bool_] | None = None

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel numbers (slice, row, column, 1) to millimetres (x, y, z, 1), (4, 4)."""
        affine = np.eye(4)
        affine[:3, :3] = self.axes.T * self.spacing
        affine[:3, 3] = self.origin
        return affine

    def voxels_at(self, points: Array) -> NDArray[np.float64]:
        """Voxel numbers (n, 3), with fractions, of the points (n, 3) in millimetres."""
        found: NDArray[np.float64] = (
            (np.asarray(points, float) - self.origin) @ self.axes.T / self.spacing
        )
        return found

    def axial(self) -> Volume:
        """The same voxels with slices from feet to head, rows from front to back and columns from
        the patient's right to left.

        Axes are swapped and turned round, never interpolated: an oblique volume comes as near to
        this as that allows.
        """
        order = _nearest_axes(self.axes)  # for z, y and x the axis that runs most nearly along it
        axes, spacing, origin = self.axes[order], np.array(self.spacing)[order], self.origin.copy()
        voxels = self.voxels.transpose(order)
        padding = None if self.padding is None else self.padding.transpose(order)
        for k, patient_axis in enumerate((2, 1, 0)):
            if axes[k, patient_axis] < 0:
                origin = origin + axes[k] * spacing[k] * (voxels.shape[k] - 1)
                axes[k] = -axes[k]
                voxels = np.flip(voxels, k)
                padding = None if padding is None else np.flip(padding, k)
        z, y, x = spacing.tolist()
        return replace(
            self,
            voxels=np.ascontiguousarray(voxels),
            spacing=(z, y, x),
            origin=origin,
            axes=axes,
            padding=padding,
        )


def _nearest_axes(axes: Array) -> list[int]:
    """For z, y and x which of the ``axes`` is most along it, each used once."""
    along = np.abs(axes)[:, ::-1].copy()  # (axis, of z y x)
    order = [0, 0, 0]
    for _ in range(3):
        axis, target = np.unravel_index(np.argmax(along), along.shape)
        order[target] = int(axis)
        along[axis], along[:, target] = -1, -1
    return order


def window(values: Array, centre: float, width: float) -> NDArray[np.float32]:
    """Map ``centre - width / 2`` to 0 and ``centre + width / 2`` to 1, and cut off what lies
    beyond.

    DICOM calls this function LINEAR_EXACT (PS3.3, C.11.2.1.3.2). A parotid in HU is seen well with
    centre 40, width 400.
    """
    if not width > 0:
        raise InputError(
            f"width={width!r} of a window is not above 0.",
            "Give centre and width, such as 40 and 400 HU.",
        )
    scaled: NDArray[np.float32] = (
        np.asarray(values, np.float32) - np.float32(centre - width / 2)
    ) / np.float32(width)
    return scaled.clip(0, 1)


def resample(
    volume: Volume,
    spacing: Sequence[float | None] = (None, None, None),
    size: Sequence[int | None] = (None, None, None),
    centre: Sequence[float | None] = (None, None, None),
    *,
    fill: float | None = None,
) -> Volume:
    """A volume on another grid of the same directions: another spacing, a part of it, or more than
    it.

    Parameters
    ----------
    volume
        Values are interpolated linearly, and averaged where the grid becomes coarser; of labels, a
        voxel takes the one that covers most of it.
    spacing
        Millimetres between slices, rows and columns; as it is where None.
    size
        Slices, rows and columns; what covers the volume where None.
    centre
        The voxel of ``volume``, with fractions, that comes to lie in the middle; its own middle
        where None.
    fill
        The value outside of ``volume``, and where it is NaN: its lowest if None; for labels 0.

    Raises
    ------
    InputError
        A spacing or size is not above 0, or the volume's own spacing is unknown.
    """
    voxels, origin, new_spacing = volume.voxels, volume.origin, list(volume.spacing)
    if any(v is not None and not v > 0 for v in (*spacing, *size)):
        raise InputError(
            f"spacing={tuple(spacing)}, size={tuple(size)}: not all are above 0.",
            "Give millimetres and voxels.",
        )
    if any(
        new is not None and np.isnan(old) for new, old in zip(spacing, volume.spacing, strict=True)
    ):
        raise InputError(
            "The spacing of the volume is unknown.",
            "Without it, the volume cannot be resampled to millimetres.",
        )
    grids = []
    for axis, old in enumerate(volume.spacing):
        new, count, middle = spacing[axis], size[axis], centre[axis]
        length = voxels.shape[axis]
        step = 1.0 if new is None else new / old
        count = max(1, round(length / step)) if count is None else count
        middle = (length - 1) / 2 if middle is None else middle
        positions = (
            middle + (np.arange(count) - (count - 1) / 2) * step
        )  # of the new voxels, in old ones
        grids.append((positions, step))
        origin = origin + volume.axes[axis] * (0 if np.isnan(old) else old) * positions[0]
        new_spacing[axis] = old * step
    if voxels.dtype.kind == "f":
        found = _interpolated(voxels, grids, _lowest(voxels) if fill is None else fill)
    else:
        found = _of_most_cover(voxels, grids, int(fill or 0))
    z, y, x = new_spacing
    return replace(volume, voxels=found, padding=None, spacing=(z, y, x), origin=origin)


def _lowest(voxels: Array) -> float:
    """The lowest value that is a number; 0 where none is."""
    return float(np.fmin.reduce(voxels, axis=None)) if not np.isnan(voxels).all() else 0.0


def _interpolated(
    voxels: Array, grids: list[tuple[Array, float]], fill: float
) -> NDArray[np.float32]:
    """``voxels`` at the ``grids`` of each axis: their positions, and the step between them.

    Voxels that are NaN lie outside.
    """
    found, beyond = voxels.astype(np.float32), []
    found[np.isnan(found)] = fill
    for axis, (positions, step) in enumerate(grids):
        length = found.shape[axis]
        if np.array_equal(positions, np.arange(length)):
            continue
        inside = (positions >= -0.5) & (positions <= length - 0.5)
        near = np.abs(np.arange(length) - positions[:, None])  # (new, old)
        weights = np.maximum(1 - near / max(1.0, step), 0) * inside[:, None]
        weights /= np.maximum(weights.sum(1, keepdims=True), 1e-12)
        found = np.moveaxis(np.tensordot(weights.astype(np.float32), found, (1, axis)), 0, axis)
        beyond.append((axis, ~inside))
    for axis, outside in beyond:
        np.moveaxis(found, axis, 0)[outside] = fill
    return np.ascontiguousarray(found)


def _of_most_cover(labels: Array, grids: list[tuple[Array, float]], fill: int) -> Array:
    """The label that covers most of each new voxel; of two that cover as much, the higher.

    What lies outside of the volume is of the label ``fill``.
    """
    fill_label = np.asarray(fill).astype(labels.dtype)
    shares = [
        None if np.array_equal(positions, np.arange(length)) else _overlaps(positions, step, length)
        for (positions, step), length in zip(grids, labels.shape, strict=True)
    ]
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
    """How much of each new voxel the ones of ``values`` cover; axes without shares stay."""
    for axis, share in enumerate(shares):
        if share is not None:
            values = np.moveaxis(np.tensordot(share, values, (1, axis)), 0, axis)
    return np.ascontiguousarray(values)


def slices_with(
    volume: Volume,
    mask: Array,
    size: int | Sequence[int | None] | None = None,
    spacing: float | Sequence[float | None] | None = None,
    *,
    at: Sequence[float] | None = None,
    fill: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The slices in which a mask is not empty, each cut around the middle of the mask's extent in
    it, or whole.

    Parameters
    ----------
    volume
        CT in HU, or any other.
    mask
        (D, H, W), of the volume's grid, as `Structures.mask` gives it.
    size
        Pixels of the pictures: rows and columns; None does not cut.
    spacing
        Their millimetres; as they are if None.
    at
        The pixel, row and column, where the middle of the mask's extent comes to lie: that of the
        picture if None.
    fill
        The value outside of the volume, and where it is NaN: its lowest if None.

    Returns
    -------
    images, masks
        (n, H, W) float32 in the volume's unit, and bool. No mask is empty: a slice is left out,
        with a warning that counts them, where the new spacing or the cut leaves nothing of it.

    Raises
    ------
    InputError
        The mask is empty, or becomes empty in every slice; it is of another shape than the volume;
        or as `resample` says.
    """
    mask = np.asarray(mask, bool)
    if mask.shape != volume.voxels.shape:
        raise InputError(
            f"The mask has the shape {mask.shape}, the volume {volume.voxels.shape}.",
            "Give a mask on the grid of the volume.",
        )
    held = np.flatnonzero(mask.any((1, 2)))
    if not len(held):
        raise InputError("The mask is empty.", "The structure may lie outside of this volume.")
    pixels = size if isinstance(size, Sequence) else (size, size)
    mm = spacing if isinstance(spacing, Sequence) else (spacing, spacing)
    low = _lowest(volume.voxels) if fill is None else fill
    found = []
    for k in held:
        extents = [np.flatnonzero(mask[k].any(axis)) for axis in (1, 0)]
        middle = [
            None if length is None else (e[0] + e[-1]) / 2
            for e, length in zip(extents, pixels, strict=True)
        ]
        if at is not None:  # as many pixels further on as the picture's own middle is
            steps = [
                1.0 if new is None else new / old
                for new, old in zip(mm, volume.spacing[1:], strict=True)
            ]
            middle = [
                m if m is None or n is None else m + ((n - 1) / 2 - a) * step
                for m, n, a, step in zip(middle, pixels, at, steps, strict=True)
            ]
        how: dict[str, Any] = {
            "spacing": (None, *mm),
            "size": (None, *pixels),
            "centre": (None, *middle),
        }
        image, cut = (replace(volume, voxels=v[k : k + 1]) for v in (volume.voxels, mask))
        cut_mask = resample(cut, **how).voxels[0]
        if cut_mask.any():
            found.append((resample(image, **how, fill=low).voxels[0], cut_mask))
    _warn_of_vanished(len(held) - len(found), len(held))
    images, masks = (np.stack(pictures) for pictures in zip(*found, strict=True))
    return images, masks


def _warn_of_vanished(vanished: int, count: int) -> None:
    """Say in how many slices nothing is left of a mask; an error where that is all of them."""
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


def filled(polygons: Sequence[Array], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """What closed ``polygons`` enclose, by the even-odd rule: a pixel belongs to it when its centre
    does.

    A polygon inside another cuts a hole, and so does a keyhole, whose channel is walked twice. A
    centre that lies on a border belongs to what is right of it or below, so that polygons with a
    common border share no pixel and leave none out.

    Parameters
    ----------
    polygons
        Corners (n, 2) of each, row and column; pixel centres have whole numbers.
    shape
        Rows and columns of the mask.
    """
    height, width = shape
    flips = np.zeros(
        (height, width + 1), np.uint8
    )  # where a row, read from the left, goes in or out; only parity counts
    for polygon in polygons:
        start = np.round(np.asarray(polygon, float), SNAP)
        end = np.roll(start, -1, axis=0)
        down = (start[:, 0] > end[:, 0])[:, None]
        start, end = (
            np.where(down, end, start),
            np.where(down, start, end),
        )  # so that both ways along an edge are the same
        first, last = (
            np.clip(np.ceil(rows), 0, height).astype(int) for rows in (start[:, 0], end[:, 0])
        )
        count = last - first
        edge = np.repeat(np.arange(len(start)), count)
        row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
        part = (row - start[edge, 0]) / (end[edge, 0] - start[edge, 0])
        column = np.round(start[edge, 1] + part * (end[edge, 1] - start[edge, 1]), SNAP)
        np.add.at(flips, (row, np.clip(np.ceil(column), 0, width).astype(int)), 1)
    inside: NDArray[np.bool_] = np.cumsum(flips, axis=1, dtype=np.uint8)[:, :width] % 2 == 1
    return inside
