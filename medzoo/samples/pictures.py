"""Pictures of samples: gray or RGB, with outlines of the masks and the labels as title; and grids."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from .. import checks
from ..config import BOX, Output
from ..config.columns import Array, Batch, corners_of, spacing_of, unit_range
from ..errors import InputError

INK, FAINT, PAPER = "#1f2933", "#7b8794", "white"
OUTLINES = ("#ff6b35", "#22b8cf", "#ffd43b", "#69db7c", "#da77f2", "#ff8787", "#4dabf7", "#a9e34b")
# All in inches.
TILE = 1.6  # width of a picture in a grid
WIDEST, NARROWEST = 16.0, 4.0  # width of a grid
MARGIN, GAP, TITLE, CAPTION = 0.15, 0.08, 0.24, 0.46


class Drawing(Figure):
    """A figure that pyplot does not know, and so does not keep; a notebook still shows it."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), dpi=120, facecolor=PAPER)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


@checks.checked()
def grid(samples: Batch, n: int = 16, *, columns: int | None = None) -> Figure:
    """The first ``n`` samples side by side, with their labels as titles, and model, version and
    seed below.

    Images are shown over the value range of their column; signed integers without a value range
    from their lowest to their highest value. A volume is shown by its middle slice, and a mask of
    the same size as outlines. If there are several image columns, the first is shown. If an image
    has neither 1 nor 3 channels, its first channel is shown.

    Parameters
    ----------
    samples : Samples
        What `medzoo.generate` or `medzoo.read` returned.
    n : int, optional
        Number of samples to show, at least 1. If there are fewer, all are shown.
    columns : int, optional
        Number of pictures per row. By default the grid is about square.

    Returns
    -------
    matplotlib.figure.Figure
        Pyplot does not know it. ``savefig`` writes it, and a notebook shows it.

    Raises
    ------
    InputError
        There is no sample, or no image, mask or volume in it; ``n`` or ``columns`` is not a valid
        count.
    """
    head = samples[: checks.count(n, "n")]
    name = picture_column(head.outputs, head.columns)
    if not len(head):
        raise InputError("There are no samples to draw.")
    across = math.ceil(math.sqrt(len(head)))
    if columns is not None:
        across = min(checks.count(columns, "columns"), len(head))
    down = -(-len(head) // across)

    wide = min(TILE, (WIDEST - 2 * MARGIN) / across - GAP)
    high = wide * _height_by_width(head.outputs[name])
    block = across * (wide + GAP) - GAP
    width = max(block + 2 * MARGIN, NARROWEST)
    height = down * (TITLE + high) + (down - 1) * GAP + CAPTION
    figure = Drawing(width, height)
    for row in range(len(head)):
        x = (width - block) / 2 + row % across * (wide + GAP)
        y = height - (row // across) * (TITLE + high + GAP) - TITLE - high
        axes = figure.add_axes((x / width, y / height, wide / width, high / height))
        draw(axes, head, row, size=min(9.0, 7 * wide))
    figure.text(
        0.5,
        CAPTION / 2 / height,
        caption(head),
        ha="center",
        va="center",
        fontsize=7.5,
        color=FAINT,
        linespacing=1.5,
    )
    return figure


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


def picture(samples: Batch, row: int) -> NDArray[np.float32]:
    """Sample number ``row`` as it is shown: (1, H, W) gray or (3, H, W) RGB, in [0, 1]."""
    name = picture_column(samples.outputs, samples.columns)
    output, values = samples.outputs[name], _flat(samples.columns[name][row])
    if output.kind == "mask" and output.range is None:
        output = replace(output, range=(0.0, max(1.0, float(values.max()))))
    elif output.window is not None:
        centre, width = output.window
        output = replace(output, range=(centre - width / 2, centre + width / 2))
    elif output.value_range is None:  # signed integers: from the darkest to the brightest
        low = float(values.min())
        output = replace(output, range=(low, max(low + 1, float(values.max()))))
    return unit_range(values if len(values) == 3 else values[:1], output)


def draw(axes: Axes, samples: Batch, row: int, *, size: float = 9.0) -> None:
    """Draw sample number ``row`` on ``axes``, which replaces the picture there.

    ``size`` is that of the title, in points.
    """
    name = picture_column(samples.outputs, samples.columns)
    shown = picture(samples, row)
    h, w = shown.shape[1:]
    # clear() would build the axes again, which takes as long as a picture.
    for artist in (*axes.images, *axes.collections, *axes.patches):
        artist.remove()
    axes.set_axis_off()
    pixels = np.moveaxis(shown, 0, -1) if len(shown) == 3 else shown[0]
    aspect = _height_by_width(samples.outputs[name]) * w / h
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, aspect=aspect)
    masks = [column for column in _of_kind("mask", samples) if column != name]
    for number, column in enumerate(masks):
        mask = _flat(samples.columns[column][row])
        if mask.shape[1:] == (h, w):
            _outline(axes, mask, number)
    if samples.outputs[name].kind != "volume":
        for column in _of_kind("boxes", samples):
            _draw_boxes(axes, samples.columns[column][row], samples.outputs[name])
    axes.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5))
    axes.set_title(title(samples, row), fontsize=size, color=INK, pad=3)


def title(samples: Batch, row: int) -> str:
    """The names of the labels of sample number ``row``, or its number in the run."""
    label_names: Mapping[str, Mapping[str, str]] = samples.provenance.get("label_names", {})
    names = []
    for column in _of_kind("label", samples):
        code = str(int(samples.columns[column][row]))
        names.append(label_names.get(column, {}).get(code, code))
    return ", ".join(names) or f"sample {samples.indices[row]}"


def caption(samples: Batch) -> str:
    """Two lines: where the samples come from, and what they must not be used for."""
    provenance = samples.provenance
    model = " ".join(str(provenance[key]) for key in ("model", "version") if key in provenance)
    seed = f"seed {provenance['seed']}" if "seed" in provenance else ""
    source = ", ".join(filter(None, (model, seed)))
    return f"{source}\nsynthetic, not for diagnosis".lstrip()


def _of_kind(kind: str, samples: Batch) -> list[str]:
    """The names of the columns of a kind."""
    outputs = samples.outputs.items()
    return [name for name, o in outputs if o.kind == kind and name in samples.columns]


def _flat(values: Array) -> Array:
    """An image (C, H, W) itself, or the middle slice of a volume (C, D, H, W)."""
    while values.ndim > 3:
        values = values[:, values.shape[1] // 2]
    return values


def _height_by_width(output: Output) -> float:
    """Height of a picture divided by its width, in mm if the spacing is known, else in pixels."""
    _, y, x = spacing_of(output)
    return output.shape[-2] * y / (output.shape[-1] * x)


def _outline(axes: Axes, mask: Array, first: int) -> None:
    """Outline each region of ``mask`` (C, H, W).

    If a channel has few values, each value is a region. Otherwise the region is what lies above
    half of the highest value. Colours begin with number ``first``, so that two masks of a picture
    differ.
    """
    regions = []
    # A rim of background closes outlines at the border.
    for channel in np.pad(mask, ((0, 0), (1, 1), (1, 1))):
        values = np.unique(channel[channel != 0])
        if len(values) > len(OUTLINES):
            regions.append(channel > values.max() / 2)
        else:
            regions += [channel == value for value in values]
    h, w = mask.shape[1:]
    for k, region in enumerate(regions, start=first):
        axes.contour(
            np.arange(-1, w + 1),
            np.arange(-1, h + 1),
            region.astype(np.float32),
            levels=[0.5],
            colors=[OUTLINES[k % len(OUTLINES)]],
            linewidths=1.2,
        )


def _draw_boxes(axes: Axes, boxes: Array, picture: Output) -> None:
    """Draw boxes (4,) or (K, 4), fractions of a picture; rows of NaN are not drawn."""
    for k, corners in enumerate(corners_of(boxes.reshape(-1, len(BOX)), picture)):
        left, top, right, bottom = corners - 0.5  # the middle of the first pixel is 0
        if np.isfinite(corners).all():
            axes.add_patch(
                Rectangle(
                    (left, top),
                    right - left,
                    bottom - top,
                    fill=False,
                    edgecolor=OUTLINES[k % len(OUTLINES)],
                    linewidth=1.2,
                )
            )
