"""The base class of formats: it writes batches, lists the files it wrote, and reads them back."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..config import TAKEN, Output
from ..config.columns import PICTURES, ROWS, Batch, known_range, names_of_kind
from ..errors import InputError
from ..plugins import plugin
from . import FORMATS
from .journal import Journal

S = TypeVar("S")
T = TypeVar("T")
Line = dict[str, Any]
DEFAULTS = ("png", "csv", "npz")
SORTED = json.JSONEncoder(sort_keys=True)


class Format(ABC):
    """Writes one set of ``n`` samples, batch by batch.

    Files that grow are written through ``journal``, which records how much of them is complete.
    Other files are written whole. ``state`` is the `state` of an earlier process after its last
    complete batch. It is empty for a new set.
    """

    needs: ClassVar[str] = ""  # a package of the extra `medical`
    encoder: ClassVar[str] = ""  # the package that encodes the files, or zlib, for the provenance
    ANEW: ClassVar[tuple[str, ...]] = ()  # files that are written again when a set grows
    shards: ClassVar[bool] = False  # whether samples are in shards, whose size a user can set
    one_file_each: ClassVar[bool] = False  # whether each sample has its own files, named by labels

    def __init__(
        self,
        journal: Journal,
        outputs: Mapping[str, Output],
        provenance: Mapping[str, Any],
        n: int,
        state: Mapping[str, Any],
    ) -> None:
        self._journal, self._folder = journal, journal.folder
        self._outputs, self._provenance, self._n, self._state = outputs, provenance, n, dict(state)
        self._pool = ThreadPoolExecutor(
            max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="medzoo-encode"
        )

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    @staticmethod
    @abstractmethod
    def unfit(outputs: Mapping[str, Output]) -> list[str]:
        """The columns that the format cannot hold."""

    @abstractmethod
    def write(self, batch: Batch) -> list[Line]:
        """Write a batch; returns the manifest's lines for the files that are now complete."""

    @classmethod
    def step(cls, output: Output) -> float:  # noqa: ARG003
        """The difference between two neighbouring stored values; 0 if values are stored exactly."""
        return 0.0

    def finish(self) -> list[Line]:
        """Complete the files that are open; returns the remaining lines of the manifest.

        It may run again on the same files, if a run was killed meanwhile.
        """
        return []

    def state(self) -> dict[str, Any]:
        """What another process needs, in addition to the files, to write the next batch."""
        return self._state

    @classmethod
    @abstractmethod
    def read(
        cls, folder: Path, outputs: Mapping[str, Output], provenance: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Any]:
        """The columns of a finished set, and its indices."""

    def in_threads(self, function: Callable[[S], T], items: Sequence[S]) -> Iterator[T]:
        """The results of the function, in order; later ones are made while earlier ones are used.

        Encoders release Python's lock, so they run in parallel. A thread gets several items at a
        time, because a task for each picture would cost more than the picture.
        """

        def run(chunk: Sequence[S]) -> list[T]:
            return [function(item) for item in chunk]

        chunks = (items[k : k + 8] for k in range(0, len(items), 8))
        for part in self._pool.map(run, chunks):
            yield from part

    def entry(self, index: int, labels: Mapping[str, Any]) -> Line:
        """What the manifest says about a sample in any format: conditions, labels, seed, index."""
        conditions = conditions_of(index, self._provenance)
        for name in TAKEN & conditions.keys():  # these keys have another meaning in the manifest
            del conditions[name]
        seed = entries_of(self._provenance, "seed")
        return {**conditions, **labels, **seed, "index": index}


def arrays_of(batch: Batch) -> dict[str, NDArray[Any]]:
    """The columns of a batch as arrays."""
    return {name: getattr(batch, name) for name in batch.columns}


def as_json(metadata: Mapping[str, Any]) -> str:
    """A sample's metadata as JSON in ASCII, with sorted keys."""
    return SORTED.encode(metadata)


def entries_of(provenance: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The entries of a provenance with these keys; keys that it does not have are left out."""
    return {key: provenance[key] for key in keys if key in provenance}


def metadata_row(lines: Sequence[Line]) -> Line:
    """A line of ``metadata.jsonl``, made from the manifest's lines of one sample.

    The keys are those of Hugging Face's ``imagefolder``: ``file_name`` is the file of the first
    column, ``masks_file_name`` that of the column ``masks``. A column of several files has
    ``file_names``.
    """
    paths: dict[str, list[str]] = {}
    for line in lines:
        paths.setdefault(line["column"], []).append(line["file"])
    row: Line = {}
    for place, (column, names) in enumerate(paths.items()):
        key = f"{column}_file_name" if place else "file_name"
        row |= {key: names[0]} if len(names) == 1 else {f"{key}s": names}
    about_files = {"column", "file", "sha256", "piece"}
    return row | {key: value for key, value in lines[0].items() if key not in about_files}


def labels_of(
    columns: Mapping[str, NDArray[Any]],
    row: int,
    outputs: Mapping[str, Output],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Column -> label of a sample: its name, or its number if the config gives it no name."""
    label_names: Mapping[str, Mapping[str, str]] = provenance.get("label_names", {})
    labels: dict[str, Any] = {}
    for column in names_of_kind(outputs, "label"):
        code = int(columns[column][row])
        labels[column] = label_names.get(column, {}).get(str(code), code)
    return labels


def listed_conditions(provenance: Mapping[str, Any]) -> list[str]:
    """The conditions that a user gave as a list, with one value per sample."""
    options = provenance.get("options", {})
    return [n for n in provenance.get("conditions", {}) if isinstance(options.get(n), list)]


def conditions_of(index: int, provenance: Mapping[str, Any]) -> dict[str, str]:
    """Name -> value of the conditions under which a sample was made."""
    conditions, period = {}, 1
    for name, values in provenance.get("conditions", {}).items():
        option = provenance.get("options", {}).get(name)
        if isinstance(option, list):
            conditions[name] = option[index - provenance.get("first", 0)]
        elif option is None:  # all combinations in turn, as in `Request.batch`
            conditions[name] = values[index // period % len(values)]
            period *= len(values)
        else:
            conditions[name] = option
    return conditions


def format_class(name: str) -> type[Format]:
    """The class of a format that `FORMATS` lists.

    Raises
    ------
    InputError
        It needs a package that is not installed.
    """
    kind: type[Format] = plugin("format", name)
    if kind.needs and find_spec(kind.needs) is None:
        raise InputError(
            f"format={name!r} needs the package {kind.needs}, which is not installed here.",
            "`pip install medzoo[medical]` installs it; format='npz' needs no package.",
        )
    return kind


def pick_format(asked: str | None, outputs: Mapping[str, Output]) -> str:
    """The format asked for, after a check. If it is None, the first of `DEFAULTS` that can hold
    every column.

    Raises
    ------
    InputError
        The format is unknown, does not fit the columns, or needs a package that is not installed.
    """
    if asked is None:
        return next(name for name in DEFAULTS if not format_class(name).unfit(outputs))
    if asked not in FORMATS:
        raise InputError(f"format={asked!r} is unknown.", f"Known are {', '.join(FORMATS)}.")
    if unfit := format_class(asked).unfit(outputs):
        raise InputError(
            f"format={asked!r} cannot hold {', '.join(unfit)}.",
            f"format='npz' holds anything; {asked} holds {FORMATS[asked]}.",
        )
    return asked


def require_different(indices: NDArray[np.int64], name: str) -> None:
    """Raise InputError if a sample occurs twice and its files are named by its number."""
    kind = format_class(name)
    numbers, counts = np.unique(indices, return_counts=True)
    if not (kind.one_file_each or kind.shards) or counts.max(initial=0) < 2:
        return
    raise InputError(
        f"Sample {numbers[counts.argmax()]} occurs {counts.max()} times, and format={name!r} names "
        "files by the numbers of samples.",
        "Save each sample once, or use format='npz', which keeps repeated samples.",
    )


def require_types(samples: Batch) -> None:
    """Raise InputError if a column holds other numbers than its output says, as files would."""
    for name, column in samples.columns.items():
        dtype, stated = getattr(column, "dtype", None), samples.outputs[name].dtype
        if dtype is not None and dtype.name != stated:
            raise InputError(
                f"{name!r} holds {dtype.name}, and outputs says {stated}.",
                f"Convert it with .astype({stated!r}), or say in outputs what it holds.",
            )


def step_of(output: Output, most: int) -> float:
    """The step of a float column that is stored as numbers from 0 to ``most``."""
    if output.dtype != "float32" or output.kind in ROWS:
        return 0.0
    low, high = known_range(output)
    return (high - low) / most


def pictures_unfit(outputs: Mapping[str, Output], fits: Callable[[Output], bool]) -> list[str]:
    """The columns that a format with one file per picture cannot hold.

    These are pictures and volumes that do not fit. Samples without any picture do not fit either.
    """
    pictures = names_of_kind(outputs, *PICTURES)
    if pictures:
        return [name for name in pictures if not fits(outputs[name])]
    return names_of_kind(outputs, *ROWS) or ["labels alone"]
