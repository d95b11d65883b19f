"""The report: one HTML file with figures, pictures, the nearest real pictures and histograms."""

from __future__ import annotations

import html
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config.html import data_address, page
from ..samples.pictures import Drawing
from .figures import Figure, html_table, number, plain
from .matching import PICTURES, Sides, range_of
from .metrics import METRICS
from .pairs import Pair
from .privacy_metrics import copies
from .texture import log_spectra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Bytes = NDArray[np.uint8]
SHEET, SUSPECTS = 24, 8  # pictures of a sheet, and pairs that are shown
MOST = 500  # pictures of a side, at random, whose grey levels and spectra are drawn
WIDTH, GAP = 880, 4  # pixels of a sheet, and between its pictures
COLOURS = {"synthetic": "#d9480f", "real": "#1971c2", "held out": "#2b8a3e"}
NOTICE = "Synthetic samples are for research. They are not for diagnosis."
STYLE = """
.notes li { margin: 0.3em 0; }
img.pixels { image-rendering: pixelated; display: block; max-width: 100%; background: #d9e2ec; }
img.plot { max-width: 100%; }
.pairs { display: flex; flex-wrap: wrap; gap: 1em; } figure { margin: 0; }
figcaption { font-size: 0.8em; color: #52606d; max-width: 260px; overflow-wrap: anywhere; }
details { margin: 0.3em 0; } pre { white-space: pre-wrap; font-size: 0.8em; }
"""


@dataclass(frozen=True)
class Suspect:
    """A sample and the real picture that is nearest to it."""

    synthetic: Bytes
    real: Bytes
    text: str


@dataclass(frozen=True)
class Pictures:
    """What a report shows besides figures.

    Parameters
    ----------
    sheets : dict of str to numpy.ndarray
        Side -> pictures (N, H, W) or (N, H, W, 3).
    suspects : sequence of Suspect
        The samples that are nearest to a real picture, nearest first.
    distances : dict of str to numpy.ndarray
        Side -> distance of each picture to the nearest real one.
    limit : float
        The distance below which a sample counts as a copy.
    levels, spectra : dict of str to numpy.ndarray
        Side -> share of pixels per grey level, and mean power in decibels per frequency.
    """

    sheets: dict[str, Bytes]
    suspects: Sequence[Suspect]
    distances: dict[str, NDArray[Any]]
    limit: float
    levels: dict[str, NDArray[Any]]
    spectra: dict[str, NDArray[Any]]


def pictures_of(pair: Pair, sides: Sides) -> Pictures | None:
    """What the report of a pair shows; None without pictures."""
    if pair.synthetic.x is None:
        return None
    low, high = _window(sides)
    parts = {"synthetic": pair.synthetic, "real": pair.real}
    sheets, levels, spectra = {}, {}, {}
    for name, part in (parts | {"held out": pair.held_out}).items():
        order = np.random.default_rng(pair.seed).permutation(part.n)
        rows = np.sort(order[:SHEET])
        if name in parts:
            sheets[name] = np.stack([_shown(part.pictures[row], low, high) for row in rows])
        some = part.pictures[torch.from_numpy(order[:MOST])]
        counts = np.histogram(some.numpy(), bins=64, range=(-1, 1))[0]
        levels[name] = counts / counts.sum()
        spectra[name] = log_spectra(some).mean(0).numpy()
    found = copies(pair)
    suspects = []
    for row in found.distances.argsort()[:SUSPECTS].tolist():
        real = int(found.rows[row])
        distance = float(found.distances[row])
        ratio = f"{distance / found.limit:.2f} of the limit"
        if math.isnan(found.limit):
            ratio = f"a distance of {number(distance)}"
        suspects.append(
            Suspect(
                _shown(pair.synthetic.pictures[row], low, high),
                _shown(pair.real.pictures[real], low, high),
                f"{sides.synthetic.row_name(row)} | {sides.real.row_name(real)}: {ratio}",
            )
        )
    held = copies(Pair(pair.held_out, pair.real, pair.held_out, pair.features, cache=pair.cache))
    nearest = {"synthetic": found.distances.numpy(), "held out": held.distances.numpy()}
    return Pictures(sheets, tuple(suspects), nearest, found.limit, levels, spectra)


def _window(sides: Sides) -> tuple[float, float]:
    """Values in [-1, 1] that are shown black and white."""
    output = sides.synthetic.samples.outputs[str(sides.synthetic.column(*PICTURES))]
    if output.window is None:
        return -1.0, 1.0
    low, high = range_of(sides.synthetic, sides)
    centre, width = output.window
    ends = np.array([centre - width / 2, centre + width / 2])
    scaled = (ends - low) / ((high - low) / 2) - 1
    return float(scaled[0]), float(scaled[1])


def _shown(picture: Tensor, low: float, high: float) -> Bytes:
    """A picture (C, *spatial) as bytes (H, W) or (H, W, 3); a volume by its middle slice."""
    values = picture.numpy()
    while values.ndim > 3:
        values = values[:, values.shape[1] // 2]
    scaled = np.clip((values - low) / (high - low), 0, 1) * 255
    pixels: Bytes = np.rint(scaled).astype(np.uint8)
    return np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0]


# ------------------------------------------------------------------------------------- the page
def document(title: str, body: str) -> str:
    """A page of HTML that needs no other file; ``body`` are its elements."""
    return page(title, f"{body}<p>{NOTICE}</p>", STYLE)


def content(
    *,
    name: str,
    headline: str,
    figures: Sequence[Figure],
    notes: Sequence[str],
    facts: Mapping[str, Any],
    pictures: Pictures | None,
    utility: str,
) -> str:
    """What a report says of one set; ``utility`` is a part of it."""
    parts = [
        f"<h1>{html.escape(name)} against real data</h1>",
        f"<p>{html.escape(headline)}</p>",
    ]
    if pictures:
        parts.append(
            '<p class="warning">This file holds pictures of the real data. Share it only where you '
            "may share those.</p>"
        )
    parts += ["<h2>Figures</h2>", html_table(figures), _reading()]
    if notes:
        items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
        parts.append(f'<h2>Notes</h2><ul class="notes">{items}</ul>')
    if utility:
        parts += ["<h2>Does it help?</h2>", utility]
    if pictures:
        parts.append(_pictures(pictures))
    return "".join([*parts, _explanations(figures), _facts(facts)])


def _reading() -> str:
    return (
        "<p>Compare each figure with the one of real data: nothing synthetic can be expected to do "
        "better. Intervals cover 95 %. Figures are necessary, not sufficient: look at the "
        "pictures.</p>"
    )


def _pictures(pictures: Pictures) -> str:
    parts = []
    for side, pixels in pictures.sheets.items():
        parts.append(f"<h2>{side.capitalize()}, a random choice at working size</h2>")
        parts.append(_image(_sheet(pixels), css="pixels"))
    parts.append("<h2>The samples nearest to a real picture</h2><p>Synthetic on the left, the ")
    parts.append(
        "nearest real picture (or the one whose flip is nearest) on the right. Below 1.00 "
    )
    parts.append("of the limit a sample counts as a copy.</p>")
    pairs = []
    for suspect in pictures.suspects:
        both = _sheet(np.stack([suspect.synthetic, suspect.real]))
        caption = f"<figcaption>{html.escape(suspect.text)}</figcaption>"
        pairs.append(f"<figure>{_image(both, css='pixels')}{caption}</figure>")
    parts.append(f'<div class="pairs">{"".join(pairs)}</div>')
    parts += ["<h2>Distributions</h2>", _plots(pictures)]
    return "".join(parts)


def _sheet(pixels: Bytes) -> Bytes:
    """Pictures (N, H, W) or (N, H, W, 3) side by side in one, pixel for pixel."""
    count, height, width = pixels.shape[:3]
    across = min(count, max(1, (WIDTH + GAP) // (width + GAP)))
    down = -(-count // across)
    shape = (down * (height + GAP) - GAP, across * (width + GAP) - GAP, *pixels.shape[3:])
    sheet = np.full(shape, 255, np.uint8)
    for place, picture in enumerate(pixels):
        y, x = place // across * (height + GAP), place % across * (width + GAP)
        sheet[y : y + height, x : x + width] = picture
    return sheet


def _image(pixels: Bytes, *, css: str) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return embedded(buffer.getvalue(), css=css)


def embedded(png: bytes, *, css: str = "plot") -> str:
    """An image element that holds its PNG."""
    return f'<img class="{css}" alt="" src="{data_address(png)}">'


def _plots(pictures: Pictures) -> str:
    figure = Drawing(9.0, 2.8)
    axes = [figure.add_axes((0.06 + k * 0.325, 0.2, 0.265, 0.66)) for k in range(3)]
    edges = np.histogram_bin_edges(np.concatenate(list(pictures.distances.values())), 40)
    for name, values in pictures.distances.items():
        weights = np.full(len(values), 1 / len(values))
        style: dict[str, Any] = {"color": COLOURS[name], "histtype": "step", "label": name}
        axes[0].hist(values, bins=edges.tolist(), weights=weights, **style)
    axes[0].axvline(pictures.limit, color="#868e96", lw=0.8, ls="--")
    _finish(axes[0], "distance to the nearest real picture", "share")
    centres = (np.arange(64) + 0.5) / 64
    for name, shares in pictures.levels.items():
        axes[1].plot(centres, shares, color=COLOURS[name], lw=1.2, label=name)
    axes[1].set_yscale("log")
    _finish(axes[1], "grey level, fraction of the range", "share of pixels")
    for name, power in pictures.spectra.items():
        frequency = np.arange(1, len(power) + 1) / (2 * len(power))
        axes[2].plot(frequency, power, color=COLOURS[name], lw=1.2, label=name)
    _finish(axes[2], "frequency, cycles per pixel", "power, dB")
    return embedded(figure._repr_png_())


def _finish(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=7)
    axes.set_ylabel(y, fontsize=7)
    axes.tick_params(labelsize=6)
    axes.legend(fontsize=6, frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _explanations(figures: Sequence[Figure]) -> str:
    parts = ["<h2>What each figure is</h2>"]
    for name in dict.fromkeys(figure.metric for figure in figures):
        if name in METRICS:
            metric = METRICS[name]
            summary = f"<summary>{html.escape(metric.title)} ({name})</summary>"
            text = html.escape(metric.explanation).replace("\n\n", "<br>")
            parts.append(f"<details>{summary}<p>{text}</p></details>")
    return "".join(parts)


def _facts(facts: Mapping[str, Any]) -> str:
    text = json.dumps(plain(facts), indent=2, ensure_ascii=False, default=str)
    summary = "<summary>Settings and provenance</summary>"
    return f"<details>{summary}<pre>{html.escape(text)}</pre></details>"
