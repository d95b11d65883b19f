"""Samples as HTML for notebooks: pictures with their labels, facts, and the folded provenance.

Every text that comes from a config, a package or a file is escaped.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config.columns import Batch
from ..config.html import FAINT, block, fact_table, folded, image
from . import raster, shown

PICTURES, HISTOGRAMS = 12, 12  # at most
SIDE = 160  # pixels of the longer side of a picture, about
PIXELS = 150_000  # bytes of all pictures, before they are encoded as text
TEXT = 20_000  # characters of the provenance
FIGURE = "display:inline-block;margin:0 6px 6px 0;text-align:center;vertical-align:top"


def html(samples: Batch, folder: Path | None = None) -> str:
    """The samples as HTML, in less than 300 kB."""
    n = f"{len(samples):,} {'sample' if len(samples) == 1 else 'samples'}"
    origin = shown.source(samples.provenance)
    head = f"<b>{n}</b>" + (f" of {escape(origin)}" if origin else "")
    head += " · synthetic, not for diagnosis"
    if folder is not None:
        head += f"<br>in {escape(str(folder))}"
    parts = [f"<p style='margin:0 0 6px'>{head}</p>"]
    if len(samples):
        parts += ["<div>", *_pictures(samples), "</div>"]
        parts += ["<div>", *_histograms(samples), "</div>"]
    parts.append(_columns(samples))
    parts.append(_provenance(samples.provenance))
    return block(*parts)


def _pictures(samples: Batch) -> Iterator[str]:
    kinds = {samples.outputs[name].kind for name in samples.columns}
    if not kinds & {"image", "volume", "mask"}:
        return
    head = samples[:PICTURES]
    tiles = _encoded([_tile(head, row) for row in range(len(head))])
    for row, (kind, content) in enumerate(tiles):
        text = shown.title(head, row)
        picture = image(content, f"sample {head.indices[row]}: {text}", kind, "display:block")
        yield (
            f"<figure style='{FIGURE}'>{picture}<figcaption>{escape(text)}</figcaption></figure>"
        )
    rest = len(samples) - len(tiles)
    if rest:
        yield f"<p style='margin:0;{FAINT}'>and {rest:,} more</p>"


def _tile(samples: Batch, row: int) -> NDArray[np.uint8]:
    name = shown.picture_column(samples.outputs, samples.columns)
    longest = max(samples.outputs[name].shape[-2:])
    pixels = raster.planes(samples, row, scale=max(1, round(SIDE / longest)))
    many = len(shown.planes_of(samples.outputs[name]))
    return raster.smaller(pixels, 2 * SIDE * many)


def _encoded(tiles: list[NDArray[np.uint8]]) -> list[tuple[str, bytes]]:
    """As many pictures as fit: without loss if all do, else as JPEG."""
    exact = [("png", raster.png_of(pixels)) for pixels in tiles]
    if sum(len(content) for _, content in exact) <= PIXELS:
        return exact
    fitting: list[tuple[str, bytes]] = []
    used = 0
    for pixels in tiles:
        content = _jpeg(pixels)
        used += len(content)
        if used > PIXELS:
            break
        fitting.append(("jpeg", content))
    return fitting


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _histograms(samples: Batch) -> Iterator[str]:
    for table in shown.names_of("table", samples):
        values = np.asarray(samples.columns[table][:], np.float64)
        names = samples.outputs[table].columns
        for k in range(min(values.shape[1], HISTOGRAMS)):
            name = names[k] if k < len(names) else f"{table}.{k}"
            yield _histogram(escape(str(name)), values[:, k])
        if values.shape[1] > HISTOGRAMS:
            yield (
                f"<p style='margin:0;{FAINT}'>and {values.shape[1] - HISTOGRAMS} more columns</p>"
            )


def _histogram(name: str, values: NDArray[np.float64]) -> str:
    """A histogram as a drawing of bars, with the lowest and the highest value."""
    finite = values[np.isfinite(values)]
    missing = len(values) - len(finite)
    note = f", {missing} missing" if missing else ""
    bars, span = "", "no values"
    if len(finite):
        counts, _ = np.histogram(finite, bins=16)
        for k, high in enumerate(counts / counts.max() * 40):
            bars += f"<rect x='{k * 8}' y='{40 - high:.1f}' width='7' height='{high:.1f}'/>"
        span = f"{finite.min():.4g} to {finite.max():.4g}{note}"
    return (
        f"<figure style='{FIGURE};width:128px'><figcaption style='overflow-wrap:anywhere'>{name}"
        f"</figcaption><svg width='128' height='40' role='img' aria-label='{name}: {span}' "
        f"fill='#3e7cb1'>{bars}</svg><div style='{FAINT};font-size:11px'>{span}</div></figure>"
    )


def _columns(samples: Batch) -> str:
    rows = {}
    for name in samples.columns:
        output = samples.outputs[name]
        facts = [output.kind, "x".join(map(str, (len(samples), *output.shape))), output.dtype]
        if output.range is not None:
            facts.append(f"{output.range[0]:g} to {output.range[1]:g}")
        facts.append(output.unit)
        if output.spacing:
            facts.append("x".join(f"{mm:g}" for mm in output.spacing) + " mm")
        rows[name] = ", ".join(filter(None, facts))
    return fact_table(rows)


def _provenance(provenance: Mapping[str, Any]) -> str:
    if not provenance:
        return ""
    text = json.dumps(dict(provenance), indent=2, ensure_ascii=False, default=str)
    if len(text) > TEXT:
        text = text[:TEXT] + "\n..."
    return folded("provenance", text)
