"""What is shown of a sample: a section of it as gray levels or colours, its regions and boxes, its
title. Nothing here needs matplotlib.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import Output
from ..config.columns import Array, Batch, corners_of, present_boxes, spacing_of, unit_range
from ..errors import InputError

PLANES = ("axial", "coronal", "sagittal")
OUTLINES = ("#ff6b35", "#22b8cf", "#ffd43b", "#69db7c", "#da77f2", "#ff8787", "#4dabf7", "#a9e34b")
AXES = {"axial": 1, "coronal": 2, "sagittal": 3}  # of (C, D, H, W): the one that a plane cuts


def picture_column(outputs: Mapping[str, Output], columns: Collection[str] | None = None) -> str:
    """The column that is drawn: the first image or volume, else the first mask.

    Raises
    ------
    InputError
        There is no such column.
    """
    present = [name for name in outputs if columns is None or name in columns]
    for kinds in ({"image", "volume"}, {"mask"}):
        for name in present:
            if outputs[name].kind in kinds:
                return name
    others = ", ".join(f"{name} ({outputs[name].kind})" for name in present) or "nothing"
    raise InputError(
        f"There is no image, volume or mask to draw, only {others}.",
        "Its columns are arrays: samples.labels, ...",
    )


def planes_of(output: Output) -> tuple[str, ...]:
    """The planes in which a column is shown: three for a volume, else only the picture itself."""
    return PLANES if len(output.shape) == 4 else PLANES[:1]


def section(values: Array, plane: str = "axial", at: int | None = None) -> Array:
    """A picture (C, H, W) itself, or a section of a volume (C, D, H, W).

    Axial sections are shown as they are stored. In the others the last slice is at the top, because
    slices run upwards.

    Parameters
    ----------
    values
        One sample.
    plane
        One of ``PLANES``; only for volumes.
    at
        Number of the section; the middle one if None.
    """
    if values.ndim < 4:
        return values
    axis = AXES[plane]
    size = values.shape[axis]
    cut: Array = np.take(values, size // 2 if at is None else at, axis=axis)
    return cut if plane == "axial" else cut[:, ::-1]


def picture(
    samples: Batch,
    row: int,
    plane: str = "axial",
    at: int | None = None,
    window: tuple[float, float] | None = None,
) -> NDArray[np.float32]:
    """Sample number ``row`` as it is shown: (1, H, W) gray or (3, H, W) RGB, in [0, 1].

    ``window`` is the centre and the width of the values that are shown, instead of the column's
    own.
    """
    name = picture_column(samples.outputs, samples.columns)
    values = samples.columns[name][row]
    output = _with_range(samples.outputs[name], values, window)
    cut = section(values, plane, at)
    return unit_range(cut if len(cut) == 3 else cut[:1], output)


def _with_range(output: Output, values: Array, window: tuple[float, float] | None) -> Output:
    """The column with the range of values that is shown."""
    window = window or output.window
    if output.kind == "mask" and output.range is None:
        return replace(output, range=(0.0, max(1.0, float(values.max()))))
    if window is not None:
        centre, width = window
        return replace(output, range=(centre - width / 2, centre + width / 2))
    if output.value_range is None:  # signed integers: from the darkest to the brightest
        low = float(values.min())
        return replace(output, range=(low, max(low + 1, float(values.max()))))
    return output


def names_of(kind: str, samples: Batch) -> list[str]:
    """The names of the columns of a kind."""
    outputs = samples.outputs.items()
    return [name for name, o in outputs if o.kind == kind and name in samples.columns]


def overlays(
    samples: Batch, row: int, plane: str = "axial", at: int | None = None
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Colour and region (H, W) of everything that masks mark on a picture.

    Masks of another size than the picture are left out. Two masks of a picture have different
    colours. A value of a mask has one colour in all sections of a sample.
    """
    name = picture_column(samples.outputs, samples.columns)
    size = samples.columns[name][row].shape[1:]
    masks = [column for column in names_of("mask", samples) if column != name]
    number = 0
    for column in masks:
        mask = samples.columns[column][row]
        if mask.shape[1:] != size:
            continue
        for whole, part in zip(mask, section(mask, plane, at), strict=True):
            for region in _regions(part, _values_of(whole, samples.outputs[column])):
                if region.any():
                    yield OUTLINES[number % len(OUTLINES)], region
                number += 1


def _values_of(channel: Array, output: Output) -> Array:
    """The values, without 0, of one channel of a mask: all of a small range, or those in it."""
    highest = output.value_range[1] if output.value_range else 0
    if channel.dtype.kind in "ui" and 1 <= highest <= len(OUTLINES):
        return np.arange(1, int(highest) + 1)
    values: Array = np.unique(channel[channel != 0])
    return values


def _regions(part: Array, values: Array) -> list[NDArray[np.bool_]]:
    """Each region of a part of a mask that has these values.

    Each value is a region. If there are more than there are colours, the region is what lies above
    half of the highest value.
    """
    if len(values) > len(OUTLINES):
        return [part > values.max() / 2]
    return [part == value for value in values]


def boxes_of(samples: Batch, row: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Colour and edges, in pixels, of each box on a picture. Volumes have none."""
    name = picture_column(samples.outputs, samples.columns)
    if len(samples.outputs[name].shape) != 3:
        return
    first = len([column for column in names_of("mask", samples) if column != name])
    for number, column in enumerate(names_of("boxes", samples), start=first):
        for edges in corners_of(present_boxes(samples.columns[column][row]), samples.outputs[name]):
            yield OUTLINES[number % len(OUTLINES)], edges


def pixel_size(output: Output, plane: str = "axial") -> tuple[float, float]:
    """Height and width of a pixel of a plane, in mm if the spacing is known, else both 1."""
    z, y, x = spacing_of(output)
    return {"axial": (y, x), "coronal": (z, x), "sagittal": (z, y)}[plane]


def plane_size(output: Output, plane: str = "axial") -> tuple[float, float]:
    """Height and width of a plane, in mm if the spacing is known, else in pixels."""
    high, wide = pixel_size(output, plane)
    shape = list(output.shape[1:])
    if len(shape) == 3:
        del shape[AXES[plane] - 1]
    return shape[-2] * high, shape[-1] * wide


def title(samples: Batch, row: int) -> str:
    """The names of the labels of sample number ``row``, or its number in the run."""
    names = [text for _, text in label_texts(samples, row)]
    return ", ".join(names) or f"sample {samples.indices[row]}"


def label_texts(samples: Batch, row: int) -> Iterator[tuple[str, str]]:
    """The name of each label column, and the name of its value for sample number ``row``."""
    label_names: Mapping[str, Mapping[str, str]] = samples.provenance.get("label_names", {})
    for column in names_of("label", samples):
        code = str(int(samples.columns[column][row]))
        yield column, label_names.get(column, {}).get(code, code)


def source(provenance: Mapping[str, Any]) -> str:
    """Model, version and seed, as far as they are known."""
    model = " ".join(str(provenance[key]) for key in ("model", "version") if key in provenance)
    seed = f"seed {provenance['seed']}" if "seed" in provenance else ""
    return ", ".join(filter(None, (model, seed)))


def caption(samples: Batch) -> str:
    """Two lines: where the samples come from, and what they must not be used for."""
    return f"{source(samples.provenance)}\nsynthetic, not for diagnosis".lstrip()
