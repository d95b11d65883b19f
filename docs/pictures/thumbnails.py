"""Write medzoo/registry/thumbnails: one small picture per bundled model, of samples made now.

    python docs/pictures/thumbnails.py [NUMBER ...]

They are the first four samples of seed 8, not chosen. Run it again after a change of a bundled
model. Notebooks and the gallery show them.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("MEDZOO_QUIET", "1")

import medzoo  # noqa: E402
from medzoo.registry.card import THUMBNAILS  # noqa: E402
from medzoo.samples import pictures  # noqa: E402

SEED, SAMPLES, HEIGHT = 8, 4, 96
LARGEST = 15_000  # bytes


def main() -> None:
    """Write the pictures of the models that are named, or of all bundled ones."""
    THUMBNAILS.mkdir(exist_ok=True)
    bundled = [model for model in medzoo.list_models() if model.default.scheme == "bundled"]
    for model in bundled:
        if len(sys.argv) > 1 and str(model.number) not in sys.argv[1:]:
            continue
        content = thumbnail(model.number)
        (THUMBNAILS / f"{model.id}.jpg").write_bytes(content)
        print(f"{model.id}: {len(content):,} bytes")


def thumbnail(number: int) -> bytes:
    """Four samples in a row, or four histograms of a table."""
    samples = medzoo.generate(number, SAMPLES, seed=SEED)
    if pictures.has_table_alone(samples):
        return jpeg(histograms(medzoo.generate(number, 300, seed=SEED)))
    strip = samples.montage(SAMPLES, columns=SAMPLES)
    size = round(strip.width * HEIGHT / strip.height), HEIGHT
    strip = strip.resize(size, Image.Resampling.LANCZOS)
    return jpeg(strip)


def histograms(samples: medzoo.Samples) -> Image.Image:
    """Histograms of the first columns of a table, without any text."""
    figure = pictures.Drawing(SAMPLES, 1)
    figure.set_dpi(HEIGHT)
    groups = pictures.label_groups(samples)
    for k, (_, values) in enumerate(list(pictures.table_columns(samples))[:SAMPLES]):
        axes = figure.add_axes(((k + 0.08) / SAMPLES, 0.08, 0.84 / SAMPLES, 0.84))
        edges = np.histogram_bin_edges(values, 24)
        for colour, rows in zip(pictures.LINES, groups.values(), strict=False):
            axes.hist(values[rows], edges, histtype="stepfilled", color=colour, alpha=0.6)
        axes.set_axis_off()
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())


def jpeg(strip: Image.Image) -> bytes:
    """A picture as a JPEG that is small enough."""
    for quality in range(85, 30, -5):
        buffer = io.BytesIO()
        strip.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= LARGEST:
            return buffer.getvalue()
    raise SystemExit("The picture is too large.")


if __name__ == "__main__":
    main()
