"""``expected.npz``: outputs of a model for fixed seeds, as its author recorded them.

The file holds ``seeds`` (k,), ``indices`` (k,), and every column of the outputs (k, ...). Row j is
sample ``indices[j]`` of the run with root seed ``seeds[j]``, with default conditions and options.
Of a volume, every second voxel along each axis is kept (or every fourth, ...): files stay small.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..config.columns import Array, distance
from ..errors import DatasetError
from ..generation.model import Model
from .report import OK, WRONG, Finding

FILE = "expected.npz"
# seed and sample: four classes of a condition, and the largest seed
ROWS = ((1, 0), (1, 1), (1, 2), (1, 3), (2**64 - 1, 0))
MOST = 2**16  # values of one sample in a column that are kept


def thinned(values: Array) -> Array:
    """Every second value (k, C, ...) along each axis but the first two, every fourth and so on,
    until a sample has at most ``MOST``.
    """
    step, kept = 1, values
    while kept[:1].size > MOST and kept.ndim > 2 and max(kept.shape[2:]) > 1:
        step *= 2
        spatial = (slice(None, None, step),) * (values.ndim - 2)
        kept = values[(slice(None), slice(None)) + spatial]  # noqa: RUF005
    return kept


def made(model: Model, rows: Any, inputs: Any = None) -> dict[str, Array]:
    """The columns of the samples (seed, index) in ``rows``. Each sample is a batch."""
    parts: dict[str, list[Array]] = {name: [] for name in model.version.outputs}
    for seed, index in rows:
        stream = model.stream(1, first=int(index), seed=int(seed), inputs=inputs, progress=False)
        sample = next(stream)
        for name, arrays in parts.items():
            arrays.append(getattr(sample, name))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def record(model: Model, path: Path, inputs: Any = None) -> int:
    """Write ``path``; equal outputs make equal bytes. Returns its size.

    Raises
    ------
    DatasetError
        It cannot be written.
    """
    seeds, indices = zip(*ROWS, strict=True)
    columns = {
        "seeds": np.array(seeds, "u8"),
        "indices": np.array(indices, "i8"),
        **{name: thinned(values) for name, values in made(model, ROWS, inputs).items()},
    }
    try:
        with files.atomic(path) as file, zipfile.ZipFile(file, "w") as archive:
            for name, values in columns.items():
                entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(entry, "w") as member:
                    np.lib.format.write_array(
                        member, np.ascontiguousarray(values), allow_pickle=False
                    )
        return path.stat().st_size
    except OSError as error:
        raise DatasetError(
            f"{path} could not be written: {error}.", "Record from your own folder."
        ) from error


def compare(model: Model, path: Path, inputs: Any = None) -> Finding:
    """Whether the model still makes what was recorded, within the tolerance of each output."""
    hint = "If the change is meant, record again with `medzoo test --record`."
    try:
        with np.load(path) as archive:
            recorded = dict(archive)
        rows = list(zip(recorded["seeds"].tolist(), recorded["indices"].tolist(), strict=True))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        return Finding("recorded", WRONG, f"{FILE} cannot be read: {error}", hint)
    problems = []
    for name, values in made(model, rows, inputs).items():
        problem = _difference(
            name, recorded.get(name), values, model.version.outputs[name].tolerance
        )
        if problem:
            problems.append(problem)
    if problems:
        return Finding("recorded", WRONG, "; ".join(problems), hint)
    return Finding("recorded", OK, f"{len(rows)} samples are as they were")


def _difference(name: str, recorded: Array | None, values: Array, tolerance: float) -> str:
    """How a column differs from what was recorded, in words; empty if it does not."""
    if recorded is None:
        return f"{name} was recorded as nothing"
    if recorded.shape != values.shape:  # earlier files hold whole volumes
        values = thinned(values)
    if recorded.shape != values.shape or recorded.dtype != values.dtype:
        return f"{name} was recorded as {recorded.shape} {recorded.dtype}"
    difference = distance(recorded, values)
    if difference > tolerance:
        return (
            f"{name} differ by up to {difference:g} from what was recorded, and the tolerance is "
            f"{tolerance:g}"
        )
    return ""
