"""What a config says about a column, as numbers: value range, spacing, affine, order of axes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MedzooWarning
from .model import BOX, Output

Array = NDArray[Any]
PICTURES = ("image", "mask", "volume")  # kinds of columns that have axes of space
ROWS = ("table", "boxes")  # kinds of columns whose values are cells of a row


class Column(Protocol):
    """What a column must offer; numpy arrays do, and so do the columns of a folder on disk."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...


class Batch(Protocol):
    """Samples as they are written: columns of one length, and the number of each sample."""

    @property
    def columns(self) -> Mapping[str, Column]:
        """Name -> array whose first axis counts samples."""

    @property
    def outputs(self) -> Mapping[str, Output]:
        """Name -> what the config says about the column."""

    @property
    def indices(self) -> NDArray[np.int64]:
        """Number of each sample in its run."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """How they were made."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: slice, /) -> Any: ...


def require_fit(values: Array, output: Output) -> None:
    """Check that an array (N, ...) holds what ``output`` says about its column.

    Raises
    ------
    InputError
        A sample has another shape, or the values are floats where whole numbers were said, or the
        reverse: they would be scaled wrongly.
    """
    name, shape = output.name, values.shape[1:]
    if shape != tuple(output.shape):
        raise InputError(
            f"Samples of {name!r} have the shape {shape}, and outputs says {tuple(output.shape)}.",
            f"dataclasses.replace(outputs[{name!r}], shape={shape}) says what they are.",
        )
    if (values.dtype.kind == "f") != (np.dtype(output.dtype).kind == "f"):
        raise InputError(
            f"{name!r} holds {values.dtype}, and outputs says {output.dtype}, so its values would "
            "be scaled wrongly.",
            f"dataclasses.replace(outputs[{name!r}], dtype=..., range=...) says what they are.",
        )


def names_of_kind(outputs: Mapping[str, Output], *kinds: str) -> list[str]:
    """The names of the columns of these kinds, in the order of ``outputs``."""
    return [name for name, output in outputs.items() if output.kind in kinds]


def corners_of(boxes: Array, output: Output) -> NDArray[np.float32]:
    """Boxes (..., 4) as left, top, right and bottom, in pixels of the picture ``output``.

    The left edge of the first pixel is 0, and the right edge of the last one the width.
    """
    height, width = output.shape[-2:]
    centre, size = np.asarray(boxes, dtype=np.float64)[..., :2], boxes[..., 2:]
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=-1)
    pixels: NDArray[np.float64] = corners * np.array([width, height, width, height])
    return pixels.astype(np.float32)


def differences(a: Array, b: Array) -> NDArray[np.float64]:
    """How far each value of an array is from that of another array of the same shape.

    NaN, as in the row of an absent box, equals NaN, and is infinitely far from any number.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):  # of infinite values
        apart: NDArray[np.float64] = np.abs(a - b)
    apart[np.isnan(apart)] = np.inf
    apart[same] = 0.0
    return apart


def distance(a: Array, b: Array) -> float:
    """The largest of the `differences` between two arrays."""
    return float(differences(a, b).max(initial=0.0))


def present_boxes(boxes: Array) -> Array:
    """The boxes (K, 4) that are there; the rows of others are NaN."""
    rows = boxes.reshape(-1, len(BOX))
    there: Array = rows[~np.isnan(rows).any(axis=1)]
    return there


def boxed_column(outputs: Mapping[str, Output]) -> Output:
    """The pictures that boxes refer to: the first column of images, else of masks."""
    name = (names_of_kind(outputs, "image") or names_of_kind(outputs, "mask"))[0]
    return outputs[name]


def unit_range(values: Array, output: Output) -> NDArray[np.float32]:
    """``values`` scaled from the column's value range to [0, 1], float32; clipped, never wrapped.

    Raises
    ------
    InputError
        The column has no value range.
    """
    low, high = known_range(output)
    scaled: NDArray[np.float32] = (values.astype(np.float32) - np.float32(low)) * np.float32(
        1.0 / (high - low)
    )
    np.clip(scaled, 0.0, 1.0, out=scaled)
    return scaled


def known_range(output: Output) -> tuple[float, float]:
    """The value range of a column, which is needed to scale its values.

    Raises
    ------
    InputError
        It has none: signed integers for which the config states no `range`.
    """
    if output.value_range is None:
        raise InputError(
            f"{output.name!r} has no value range, so its {output.dtype} values cannot be scaled.",
            f"State it in the model's config: `outputs: {output.name}: range: [-1024, 3071]`, for "
            f"example. The values themselves are in samples.{output.name}.",
        )
    return output.value_range


def warn_if_clipped(values: Array, output: Output) -> None:
    """Warn if values lie outside the column's value range, so that `unit_range` clips them."""
    low, high = known_range(output)
    if values.size and not low <= values.min() <= values.max() <= high:
        warnings.warn(
            f"{output.name!r} has values from {values.min():g} to {values.max():g}; those outside "
            f"its value range, {low:g} to {high:g}, are cut off to it.",
            MedzooWarning,
            stacklevel=3,
        )


def grid_of(output: Output, provenance: Mapping[str, Any], index: int) -> Mapping[str, Any] | None:
    """The grid of sample number ``index``, if it is that of a scan which the user gave.

    Its ``affine`` is as of `affine_of`, without the last row. ``frame`` is the frame of reference
    of a DICOM file.
    """
    inputs = provenance.get("options", {}).get("inputs", {})
    grids = inputs.get(output.geometry, {}).get("grids", ())
    return grids[index % len(grids)] if grids else None


def affine_of(
    output: Output, provenance: Mapping[str, Any] | None = None, index: int = 0
) -> NDArray[np.float64]:
    """The affine (4, 4) from voxel numbers (x, y, z) to millimetres to the right, front and top.

    It is that of the user's scan, if the column has its geometry; the other arguments are as of
    `grid_of`. Otherwise it is made from the spacing; an unknown spacing is 1 mm. Then rows run from
    front to back and columns from the patient's right to the left, as an axial slice is shown, and
    slices run upwards. The first voxel lies at 0, and that of a column that is zoomed where it
    covers a part of the first voxel of one that is not.
    """
    grid = grid_of(output, provenance or {}, index)
    if grid is not None:
        return np.array([*grid["affine"], [0.0, 0.0, 0.0, 1.0]])
    z, y, x = spacing_of(output)
    affine = np.diag([-x, -y, z, 1.0])
    slices, rows, columns = (0.0, 0.0, 0.0, *(output.origin or ()))[-3:]
    affine[:3, 3] = 0.0 - columns, 0.0 - rows, slices
    return affine


def spacing_of(output: Output) -> tuple[float, float, float]:
    """Millimetres between slices, rows and columns; 1 where unknown."""
    z, y, x = (1.0, 1.0, 1.0, *(output.spacing or ()))[-3:]
    return float(z), float(y), float(x)


def to_xyz(values: Array) -> Array:
    """(C, H, W) as (C, W, H, 1), and (C, D, H, W) as (C, W, H, D).

    This is the order of NIfTI, torchio and MONAI.
    """
    volume = values[:, None] if values.ndim == 3 else values  # (C, D, H, W)
    return np.ascontiguousarray(np.moveaxis(volume, (1, 2, 3), (3, 2, 1)))


def from_xyz(values: Array, ndim: int) -> Array:
    """The array that `to_xyz` was called with; it has ``ndim`` axes."""
    back = np.ascontiguousarray(np.moveaxis(values, (1, 2, 3), (3, 2, 1)))
    return back[:, 0] if ndim == 3 else back
