"""Samples a second that each format writes and reads back. The samples are at hand and only files
are timed, one folder after the other in each round. Pictures are model 8's, 128x128 and 8 bit, for
png16 with noise in 8 bits below these; the rows of CSV are model 107's, of 30 columns."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import medzoo
from medzoo.datasets import FORMATS
from medzoo.errors import InputError

from .rows import Found, Row, Size, measures

NAMES = [name for name in FORMATS if name not in {"coco", "yolo"}]  # which are those of png
MODELS = {"csv": 107}  # that make what a format is for; model 8 makes pictures
BATCH = 32
ROUND = 320  # samples


@dataclass
class Timing:
    """Samples a second, run by run, and bytes per sample."""

    written: list[float]
    read: list[float]
    bytes: float


@measures(*(Row(f"{name} {what}", "samples/s") for name in NAMES for what in ("written", "read")))
def formats(size: Size) -> list[Found]:
    there: dict[str, str] = {name: lacking(name) for name in NAMES}
    timings = writers(
        size.runs, min(size.n, ROUND), [name for name, lacks in there.items() if not lacks]
    )
    found = []
    for name, lacks in there.items():
        if lacks:
            found += 2 * [Found(skipped=lacks)]
        else:
            timing = timings[name]
            found += [
                Found(timing.written, note=f"{timing.bytes:,.0f} bytes per sample"),
                Found(timing.read),
            ]
    return found


def lacking(name: str) -> str:
    """Why a format cannot be written here; empty where it can."""
    from medzoo.datasets.formats import format_class

    try:
        format_class(name)
    except InputError as error:
        return error.problem
    return ""


def writers(runs: int, n: int, names: list[str]) -> dict[str, Timing]:
    """The timing of each format with ``n`` samples."""
    from medzoo.datasets.writer import bytes_a_sample

    sets = {}
    for name in names:
        with medzoo.load(MODELS.get(name, 8), device="cpu") as model:
            made = model.generate(min(n, 2 * BATCH), seed=0, batch_size=BATCH, progress=False)
            sets[name] = repeated(deeper(made) if name == "png16" else made, n)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sets}
    with tempfile.TemporaryDirectory() as folder:
        for run in range(runs + 1):  # the first one warms up
            for name, samples in sets.items():
                found[name].append(timed(samples, Path(folder) / f"{name}{run}", name))
    return {
        name: Timing(
            [n / w for w, _ in times[1:]],
            [n / r for _, r in times[1:]],
            bytes_a_sample(sets[name], name),
        )
        for name, times in found.items()
    }


def deeper(samples: Any) -> Any:
    """The samples with pictures of 8 bits as floats of 16, whose lower 8 are noise, as they are in
    pictures of a scanner.
    """
    from medzoo.provenance import outputs_as_json

    rng, columns, outputs = np.random.default_rng(0), dict(samples.columns), dict(samples.outputs)
    for name, output in samples.outputs.items():
        if (output.kind, output.dtype) == ("image", "uint8"):
            columns[name] = ((columns[name] + rng.random(columns[name].shape)) / 256).astype(
                np.float32
            )
            outputs[name] = dataclasses.replace(output, dtype="float32", range=(0.0, 1.0))
    provenance = {**samples.provenance, "outputs": outputs_as_json(outputs)}
    return dataclasses.replace(samples, columns=columns, outputs=outputs, provenance=provenance)


def repeated(samples: Any, n: int) -> Any:
    """So many samples, numbered from 0, made of a few."""
    rows = np.arange(n) % len(samples)
    part = samples[rows]
    return type(part)(part.columns, part.outputs, np.arange(n), {**part.provenance, "n": n})


def timed(samples: Any, folder: Path, name: str) -> tuple[float, float]:
    """Seconds to write the samples in batches as a run does, and to read them back."""
    from medzoo.datasets.writer import Target

    began = time.perf_counter()
    with Target(
        folder, outputs=samples.outputs, format=name, n=len(samples), provenance=samples.provenance
    ) as target:
        target.fill(samples[k : k + BATCH] for k in range(0, len(samples), BATCH))
    written = time.perf_counter()
    found = medzoo.read(folder)
    for column in found.columns:
        np.array(getattr(found, column))
    return written - began, time.perf_counter() - written
