"""Figures of samples: gray or RGB, with outlines of masks and boxes and the labels as title; grids
of them, and histograms of tables.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from .. import checks
from ..config.columns import Batch
from ..errors import InputError
from .shown import (
    boxes_of,
    caption,
    label_texts,
    names_of,
    overlays,
    picture,
    picture_column,
    pixel_size,
    plane_size,
    planes_of,
    title,
)

INK, FAINT, PAPER = "#1f2933", "#7b8794", "white"
# All in inches.
TILE = 1.6  # width of a picture in a grid
WIDEST, NARROWEST = 16.0, 4.0  # width of a grid
MARGIN, GAP, TITLE, CAPTION = 0.15, 0.08, 0.24, 0.46
CELL = 1.9  # width and height of a histogram with its title and its axis
LINES = ("#1c7ed6", "#e8590c", "#2b8a3e", "#9c36b5", "#c92a2a", "#0b7285")  # of histograms


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
    seed below. Samples without pictures are shown as histograms of their table.

    Images are shown over the value range of their column; signed integers without a value range
    from their lowest to their highest value. A volume is shown by its three middle sections, a mask
    of the same size as outlines, and boxes as rectangles. If there are several image columns, the
    first is shown. If an image has neither 1 nor 3 channels, its first channel is shown.

    Parameters
    ----------
    samples : Samples
        What `medzoo.generate` or `medzoo.read` returned.
    n : int, optional
        Number of samples to show, at least 1. If there are fewer, all are shown. For a table, the
        number of histograms, each of all samples.
    columns : int, optional
        Number of samples or histograms per row. By default the grid is about square.

    Returns
    -------
    matplotlib.figure.Figure
        Pyplot does not know it. ``savefig`` writes it, and a notebook shows it.

    Raises
    ------
    InputError
        There is no sample, or no image, mask, volume or table in it; ``n`` or ``columns`` is not a
        valid count.
    """
    n = checks.count(n, "n")
    if columns is not None:
        columns = checks.count(columns, "columns")
    if has_table_alone(samples):
        return histograms(samples, n, columns)
    head = samples[:n]
    name = picture_column(head.outputs, head.columns)
    if not len(head):
        raise InputError("There are no samples to draw.")
    output = head.outputs[name]
    planes = planes_of(output)
    across = per_row(len(head), columns, len(planes))
    down = -(-len(head) // across)

    # All planes of a sample have the same scale; the highest one decides the height of a row.
    sizes = [plane_size(output, plane) for plane in planes]
    widest = max(w for _, w in sizes)
    tile = min(TILE, (WIDEST - 2 * MARGIN) / (across * len(planes)) - GAP) / widest
    wide = sum(w * tile + GAP for _, w in sizes)  # of a sample
    high = max(h * tile for h, _ in sizes)
    block = across * wide - GAP
    width = max(block + 2 * MARGIN, NARROWEST)
    height = down * (TITLE + high) + (down - 1) * GAP + CAPTION
    figure = Drawing(width, height)
    for row in range(len(head)):
        x = (width - block) / 2 + row % across * wide
        y = height - (row // across) * (TITLE + high + GAP) - TITLE
        for k, plane in enumerate(planes):
            h, w = (side * tile for side in sizes[k])
            axes = figure.add_axes((x / width, (y - h) / height, w / width, h / height))
            draw(axes, head, row, size=min(9.0, 7 * w), plane=plane)
            if k:
                axes.set_title(plane, fontsize=min(8.0, 6 * w), color=FAINT, pad=3)
            x += w + GAP
    write_caption(figure, head)
    return figure


def per_row(n: int, columns: int | None, wide: int = 1) -> int:
    """How many of ``n`` samples, each as wide as ``wide`` squares, are in a row of a grid."""
    if columns is not None:
        return min(columns, n)
    return min(math.ceil(math.sqrt(n / wide)), n)


def write_caption(figure: Figure, samples: Batch) -> None:
    """Model, version and seed, and that the samples are synthetic, at the bottom of a figure."""
    figure.text(
        0.5,
        CAPTION / 2 / figure.get_figheight(),
        caption(samples),
        ha="center",
        va="center",
        fontsize=7.5,
        color=FAINT,
        linespacing=1.5,
    )


def draw(
    axes: Axes,
    samples: Batch,
    row: int,
    *,
    size: float = 9.0,
    plane: str = "axial",
    at: int | None = None,
    window: tuple[float, float] | None = None,
    outlined: bool = True,
) -> None:
    """Draw sample number ``row`` on ``axes``, which replaces the picture there.

    Parameters
    ----------
    axes, samples, row
        Where, and which sample.
    size
        Size of the title, in points.
    plane, at, window
        See `shown.picture`.
    outlined
        Whether masks and boxes are drawn on the picture.
    """
    name = picture_column(samples.outputs, samples.columns)
    output, shown = samples.outputs[name], picture(samples, row, plane, at, window)
    h, w = shown.shape[1:]
    # clear() would build the axes again, which takes as long as a picture.
    for artist in (*axes.images, *axes.collections, *axes.patches):
        artist.remove()
    axes.set_axis_off()
    pixels = np.moveaxis(shown, 0, -1) if len(shown) == 3 else shown[0]
    high, wide = pixel_size(output, plane)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, aspect=high / wide)
    if outlined:
        for color, region in overlays(samples, row, plane, at):
            _outline(axes, region, color)
        for color, (left, top, right, bottom) in boxes_of(samples, row):
            _rectangle(axes, (left - 0.5, top - 0.5), right - left, bottom - top, color)
    axes.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5))
    axes.set_title(title(samples, row), fontsize=size, color=INK, pad=3)


def _rectangle(
    axes: Axes, corner: tuple[float, float], width: float, height: float, color: str
) -> None:
    axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=color, linewidth=1.2))


def _outline(axes: Axes, region: NDArray[np.bool_], color: str) -> None:
    """Outline a region (H, W)."""
    h, w = region.shape
    axes.contour(
        np.arange(-1, w + 1),
        np.arange(-1, h + 1),
        np.pad(region, 1).astype(np.float32),  # a rim of background closes it at the border
        levels=[0.5],
        colors=[color],
        linewidths=1.2,
    )


# -------------------------------------------------------------------------------------------------
# tables
def has_table_alone(samples: Batch) -> bool:
    """Whether samples have a table, but nothing that is a picture."""
    pictures = [*map(len, (names_of(kind, samples) for kind in ("image", "volume", "mask")))]
    return bool(names_of("table", samples)) and not any(pictures)


def histograms(samples: Batch, n: int = 16, columns: int | None = None) -> Figure:
    """Histograms of the first ``n`` columns of the tables, one line per value of the first label.

    Values that are not finite are left out, and the title says how many.

    Raises
    ------
    InputError
        There are no samples.
    """
    if not len(samples):
        raise InputError("There are no samples to draw.")
    named = list(table_columns(samples))[:n]
    groups = label_groups(samples)
    across = per_row(len(named), columns)
    down = -(-len(named) // across)
    width = max(across * CELL + 2 * MARGIN, NARROWEST)
    height = down * CELL + CAPTION + TITLE
    figure = Drawing(width, height)
    for k, (name, values) in enumerate(named):
        x = (width - across * CELL) / 2 + k % across * CELL + 0.12
        y = height - TITLE - (k // across + 1) * CELL + 0.42
        axes = figure.add_axes(
            (x / width, y / height, (CELL - 0.24) / width, (CELL - 0.7) / height)
        )
        _histogram(axes, name, values, groups)
    for k, name in enumerate(groups):
        if name:
            x = 0.5 + (k - (len(groups) - 1) / 2) * 1.1 / width
            figure.text(
                x,
                1 - 0.14 / height,
                name,
                ha="center",
                va="center",
                fontsize=9,
                color=LINES[k % len(LINES)],
            )
    write_caption(figure, samples)
    return figure


def table_columns(samples: Batch) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Name and values (N,) of each column of the tables."""
    for table in names_of("table", samples):
        values = np.asarray(samples.columns[table][:], np.float64)  # (N, columns)
        names = samples.outputs[table].columns
        for k in range(values.shape[1]):
            yield names[k] if k < len(names) else f"{table}.{k}", values[:, k]


def label_groups(samples: Batch) -> dict[str, NDArray[np.bool_]]:
    """Name of each value of the first label -> its samples; all samples if there is no label."""
    if not names_of("label", samples):
        return {"": np.ones(len(samples), bool)}
    texts = np.array([next(label_texts(samples, row))[1] for row in range(len(samples))])
    return {str(text): texts == text for text in dict.fromkeys(texts.tolist())}


def _histogram(
    axes: Axes,
    name: str,
    values: NDArray[np.float64],
    groups: dict[str, NDArray[np.bool_]],
) -> None:
    finite = np.isfinite(values)
    missing = int((~finite).sum())
    if finite.any():
        edges = np.histogram_bin_edges(values[finite], bins=min(24, max(5, len(values) // 8)))
        for k, rows in enumerate(groups.values()):
            axes.hist(
                values[rows & finite].tolist(),
                edges.tolist(),
                histtype="step",
                color=LINES[k % len(LINES)],
            )
    text = name if len(name) <= 22 else f"{name[:21]}…"
    axes.set_title(
        f"{text}{f', {missing} missing' if missing else ''}", fontsize=7.5, color=INK, pad=3
    )
    axes.set_yticks([])
    axes.tick_params(labelsize=6.5, colors=FAINT, length=2)
    axes.locator_params(axis="x", nbins=4)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
