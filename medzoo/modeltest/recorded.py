"""``expected.npz``: outputs of a model for fixed seeds, recorded when its author last looked at
them.

The file holds ``seeds`` and ``indices``, (k,) each, and every column of its outputs, (k, ...): row
j is sample ``indices[j]`` of the run with root seed ``seeds[j]``, with the conditions and options
of a run that states none.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..config.columns import Array
from ..errors import DatasetError
from ..generation.model import Model
from .report import OK, WRONG, Finding

FILE = "expected.npz"
ROWS = (
    (1, 0),
    (1, 1),
    (1, 2),
    (1, 3),
    (2**64 - 1, 0),
)  # seed, sample: four classes of a condition, and the largest seed


def made(model: Model, rows: Any, inputs: Any = None) -> dict[str, Array]:
    """The samples (seed, index) that ``rows`` names, column by column; each in a separate batch."""
    one = [
        next(model.stream(1, first=int(index), seed=int(seed), inputs=inputs, progress=False))
        for seed, index in rows
    ]
    return {
        name: np.concatenate([getattr(samples, name) for samples in one])
        for name in model.version.outputs
    }


def record(model: Model, path: Path, inputs: Any = None) -> int:
    """Write ``path``; equal outputs make equal bytes. Returns its size.

    Raises
    ------
    DatasetError
        It cannot be written.
    """
    seeds, indices = (
        np.array(column, dtype)
        for column, dtype in zip(zip(*ROWS, strict=True), ("u8", "i8"), strict=True)
    )
    columns = {"seeds": seeds, "indices": indices, **made(model, ROWS, inputs)}
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
            known = {name: archive[name] for name in archive.files}
        rows = list(zip(known["seeds"].tolist(), known["indices"].tolist(), strict=True))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        return Finding("recorded", WRONG, f"{FILE} cannot be read: {error}", hint)
    found, problems = made(model, rows, inputs), []
    for name, output in model.version.outputs.items():
        then, now = known.get(name), found[name]
        if then is None or then.shape != now.shape or then.dtype != now.dtype:
            problems.append(
                f"{name} was recorded as {'nothing' if then is None else f'{then.shape} {then.dtype}'}"
            )
        elif (far := distance(then, now)) > output.tolerance:
            problems.append(
                f"{name} differ by up to {far:g} from what was recorded, and the tolerance is {output.tolerance:g}"
            )
    if problems:
        return Finding("recorded", WRONG, "; ".join(problems), hint)
    return Finding("recorded", OK, f"{len(rows)} samples are as they were")


def distance(a: Array, b: Array) -> float:
    """The largest difference of two arrays of one shape."""
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0))
