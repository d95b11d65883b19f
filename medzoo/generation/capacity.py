"""Whether a run can fit into memory or on the disk, by what its config says of a sample."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._worker.devices import free_memory
from ..config import ModelConfig, Version
from ..console import megabytes
from ..datasets.formats import pick_format
from ..datasets.journal import RECORD, is_whole
from ..datasets.writer import bytes_a_sample
from ..errors import DatasetError, OutOfMemoryError
from ..settings import user_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..config import Output
    from ..datasets.writer import Target
    from ..samples import Samples

# format -> the part of a sample's bytes in memory that it writes at least
LEAST = {"npz": 1.0, "dicom": 0.25}
# of the other formats, which may compress and may keep only 8 bits of a float32
PACKED = 1 / 5000
HEADER = 100  # bytes of a sample's own header in these formats
MANY = 20  # a run of so many batches is measured with its first one
UNWRITTEN = "Nothing was written. Ask for fewer, or choose another disk."


def sample_bytes(outputs: Mapping[str, Output]) -> int:
    """Bytes of one sample in memory."""
    return sum(math.prod(o.shape) * np.dtype(o.dtype).itemsize for o in outputs.values())


def check_memory(
    config: ModelConfig, version: Version, n: int, what: str = "samples", each: float = 1
) -> None:
    """Check that ``n`` samples fit into the memory that is free now.

    Parameters
    ----------
    what
        What an error calls them.
    each
        How many copies of a sample are in memory.

    Raises
    ------
    OutOfMemoryError
        They cannot; says how much they need.
    """
    need, free = n * each * sample_bytes(version.outputs), free_memory("cpu")
    if free is not None and need > free:
        raise OutOfMemoryError(
            f"{n:,} {what} of {config.id} need {gigabytes(need)} of memory, and "
            f"{gigabytes(free)} are free.",
            "Ask for fewer, or give `out`, a folder to write them to; `medzoo.stream` gives them "
            "batch by batch.",
        )


def check_batch(config: ModelConfig, version: Version, n: int, batch_size: int) -> None:
    """Check that a batch of a run of ``n`` samples fits into memory, as `check_memory` does."""
    check_memory(config, version, min(n, batch_size), "samples in one batch")


def too_big(config: ModelConfig, version: Version, device: str) -> OutOfMemoryError:
    """The error for a model of which not one sample fits."""
    need = version.memory_per_sample
    advice = "Free some memory." if device == "cpu" else "Try device='cpu', or free some memory."
    return OutOfMemoryError(
        f"{config.id} does not fit into the memory of {device}, not even one sample at a time.",
        f"It needs about {need:.0f} MiB per sample. {advice}" if need else advice,
    )


def batch_too_big(config: ModelConfig, n: int, device: str) -> OutOfMemoryError:
    """The error for ``n`` samples that depend on their batch, which does not fit."""
    return OutOfMemoryError(
        f"A batch of {n} samples of {config.id} does not fit into the memory of {device}, and what "
        "the model makes depends on the batch.",
        "Give a smaller batch_size. The samples will be others.",
    )


def check_disk(
    config: ModelConfig,
    version: Version,
    n: int,
    out: str | os.PathLike[str],
    format: str | None,  # noqa: A002
) -> None:
    """Check that ``n`` samples can fit on the disk of ``out``, unless some of them exist already.

    Raises
    ------
    DatasetError
        They cannot; says how much they need at least.
    """
    target = user_path(out, "out").absolute()
    if is_whole(target) or (target / RECORD).exists():
        return
    share = LEAST.get(pick_format(format, version.outputs))
    size = sample_bytes(version.outputs)
    need = n * (size * share if share else size * PACKED + HEADER)
    folder = next(p for p in (target, *target.parents) if p.exists())
    _require_disk(folder, need, f"{n:,} samples of {config.id} need at least", UNWRITTEN)


def measured(batches: Iterable[Samples], target: Target, n: int) -> Iterator[Samples]:
    """The batches of a run into a folder. The first one shows how much disk space a sample takes.

    Raises
    ------
    DatasetError
        The ``n`` samples of a run of many batches cannot fit; nothing of them was written.
    """
    first = True
    for batch in batches:
        if first and n >= MANY * len(batch):
            _check_measured(batch, target, n)
        first = False
        yield batch


def _check_measured(batch: Samples, target: Target, n: int) -> None:
    try:
        need = n * bytes_a_sample(batch, target.format)
    except (DatasetError, OSError):  # no room to try it here, but the run uses another disk
        return
    hint = "Make room and give the same command again, or choose another disk."
    _require_disk(target.path, need, f"{n:,} samples need about", f"No sample was written. {hint}")


def measured_disk(
    batch: Samples,
    target: Path,
    format: str | None,  # noqa: A002
    n: int,
) -> int | None:
    """Bytes that ``n`` samples will take in ``target``, calculated from one batch.

    None if there is no room to try it here; the disk of the run may have more.

    Raises
    ------
    DatasetError
        The disk has less.
    """
    folder = next(p for p in (target, *target.parents) if p.exists())
    try:
        need = int(bytes_a_sample(batch, pick_format(format, batch.outputs)) * n)
    except (DatasetError, OSError):
        return None
    _require_disk(folder, need, f"{n:,} samples need about", UNWRITTEN)
    return need


def _require_disk(folder: Path, need: float, what: str, hint: str) -> None:
    """Raise DatasetError if ``need`` bytes do not fit on a disk; ``what`` begins the text."""
    free = free_disk(folder)
    if free is not None and need > free:
        raise DatasetError(
            f"{what} {gigabytes(need)}, and {folder} has {gigabytes(free)} free.", hint
        )


def free_disk(folder: Path) -> int | None:
    """Bytes that can be written there; None if unknown."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def gigabytes(size: float) -> str:
    """A number of bytes as text: ``16,384,000.0 GB``, or in kB or MB if it is small."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else megabytes(size)
