"""Draw docs/pictures/models.png: samples of every bundled model, made now, in one picture.

    python docs/pictures/model_grid.py

The samples are the first ones of seed 8, not chosen. A table is shown as its distributions. Run it
again after a change of a bundled model.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("MEDZOO_QUIET", "1")

import matplotlib as mpl  # noqa: E402

mpl.use("agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from PIL import Image  # noqa: E402

import medzoo  # noqa: E402
from medzoo.config import ModelConfig  # noqa: E402

PICTURE = Path(__file__).parent / "models.png"
SEED, SAMPLES, COLUMNS = 8, 6, 2
LARGEST = 1_000_000  # bytes


def main() -> None:
    """Make the samples and save the picture."""
    models = [model for model in medzoo.list_models() if model.default.scheme == "bundled"]
    rows = -(-len(models) // COLUMNS)
    figure = plt.figure(figsize=(13, 1.62 * rows), dpi=100, facecolor="white")
    blocks = figure.subfigures(rows, COLUMNS, wspace=0.02, hspace=0)
    for block, model in zip(blocks.flat, models, strict=False):
        status = f", {model.default.status}" if model.default.status else ""
        block.suptitle(
            f"{model.number}  {model.name}{status}", fontsize=9, x=0.01, y=0.97, ha="left"
        )
        axes = block.subplots(1, SAMPLES)
        block.subplots_adjust(left=0.01, right=0.99, bottom=0.04, top=0.84, wspace=0.03)
        draw(model, list(axes))
    figure.savefig(PICTURE)
    with Image.open(PICTURE) as picture:
        picture.convert("RGB").save(PICTURE, optimize=True)
    size = PICTURE.stat().st_size
    if size >= LARGEST:
        raise SystemExit(f"{PICTURE.name} has {size:,} bytes; at most {LARGEST:,} are wanted.")
    print(f"{PICTURE.relative_to(ROOT)}: {len(models)} models, {size:,} bytes")


def draw(model: ModelConfig, axes: list[Axes]) -> None:
    """Fill a row with samples of a model, or with distributions of its table."""
    shown = next((name for name in ("images", "volumes") if name in model.default.outputs), None)
    n = len(axes) if shown else 500
    samples = medzoo.generate(model.number, n, seed=SEED)
    for k, axis in enumerate(axes):
        axis.set_xticks([])
        axis.set_yticks([])
        if shown:
            output = model.default.outputs[shown]
            low, high = output.range or (None, None)
            if output.window:
                centre, width = output.window
                low, high = centre - width / 2, centre + width / 2
            axis.imshow(plane(samples.columns[shown][k, 0]), cmap="gray", vmin=low, vmax=high)
            if "masks" in samples.columns:
                mask = plane(samples.masks[k, 0])
                axis.contour(mask, [0.5], colors="tab:orange", linewidths=0.8)
            axis.set_axis_off()
        else:
            histogram(axis, samples, k)


def plane(picture: np.ndarray) -> np.ndarray:
    """A picture, or the middle slice of a volume."""
    return picture[len(picture) // 2] if picture.ndim == 3 else picture


def histogram(axis: Axes, samples: medzoo.Samples, column: int) -> None:
    """The distribution of one column, by label."""
    values = samples.table[:, column]
    bins = np.linspace(values.min(), values.max(), 24)
    for label in np.unique(samples.labels):
        axis.hist(values[samples.labels == label], bins, histtype="step", linewidth=1)
    name = next(o for o in samples.outputs.values() if o.kind == "table").columns[column]
    axis.set_xlabel(name.replace("mean ", ""), fontsize=7, labelpad=1)
    axis.set_box_aspect(0.8)


if __name__ == "__main__":
    main()
