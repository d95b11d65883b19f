"""Samples a second that each format writes and reads back: `python -m benchmarks.writers`.

The samples are at hand and only the files are timed, one folder after the other in each round, so that a busy machine
slows all alike. Figures are medians of several rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import medzoo
from medzoo.datasets import FORMATS
from medzoo.datasets.formats import format_class
from medzoo.datasets.writer import bytes_a_sample

MODELS = {"csv": 107}  # that make what a format is for; model 8 makes pictures
BATCH = 32


def writers(runs: int = 5, n: int = 320, formats: list[str] | None = None) -> dict[str, dict[str, float]]:
    """Of each format: samples a second written and read, and bytes a sample."""
    sets = {}
    for name in formats or FORMATS:
        with medzoo.load(MODELS.get(name, 8), device="cpu") as model:
            sets[name] = repeated(model.generate(min(n, 2 * BATCH), seed=0, batch_size=BATCH), n)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sets}
    with tempfile.TemporaryDirectory() as folder:
        for run in range(runs + 1):  # the first one warms up
            for name, samples in sets.items():
                found[name].append(timed(samples, Path(folder) / f"{name}{run}", name))
    return {
        name: {
            "written": n / median(w for w, _ in times[1:]),
            "read": n / median(r for _, r in times[1:]),
            "bytes": bytes_a_sample(sets[name], name),
        }
        for name, times in found.items()
    }


def repeated(samples: Any, n: int) -> Any:
    """So many samples, numbered anew, made of a few."""
    rows = np.arange(n) % len(samples)
    part = samples[rows]
    return type(part)(part.columns, part.outputs, np.arange(n), {**part.provenance, "n": n})


def timed(samples: Any, folder: Path, name: str) -> tuple[float, float]:
    """Seconds to write the samples in batches as a run does, and to read them back."""
    from medzoo.datasets.writer import Target

    began = time.perf_counter()
    with Target(folder, outputs=samples.outputs, format=name, n=len(samples), provenance=samples.provenance) as target:
        target.fill(samples[k : k + BATCH] for k in range(0, len(samples), BATCH))
    written = time.perf_counter()
    found = medzoo.read(folder)
    for column in found.columns:
        np.array(getattr(found, column))
    return written - began, time.perf_counter() - written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="rounds of which the median is taken")
    parser.add_argument("-n", type=int, default=320, help="samples a set")
    parser.add_argument("--format", action="append", choices=list(FORMATS), dest="formats", help="this one; may be repeated")
    a = parser.parse_args()
    print(f"{'format':12s} {'written/s':>10s} {'read/s':>10s} {'bytes':>9s}   of")
    for name, row in writers(a.runs, a.n, a.formats).items():
        what = f"model {MODELS.get(name, 8)}, {format_class(name).__name__}"
        print(f"{name:12s} {row['written']:10.0f} {row['read']:10.0f} {row['bytes']:9.0f}   {what}")


if __name__ == "__main__":
    main()
