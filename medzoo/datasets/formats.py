"""What a format is: it takes batches, says file by file what it wrote, and reads it back."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from numpy.typing import NDArray

from ..config import TAKEN, Output
from ..config.columns import Batch, known_range
from ..errors import InputError
from ..plugins import plugin
from . import FORMATS
from .journal import Journal

S = TypeVar("S")
T = TypeVar("T")
Line = dict[str, Any]
DEFAULTS = ("png", "csv", "npz")


class Format(ABC):
    """Writes one set of ``n`` samples, batch by batch.

    Growing files are written through ``journal``, which knows how far they are good; other files
    are written whole. ``state`` is what the `state` of an earlier process was when it wrote its
    last good batch, empty for a new set.
    """

    needs: ClassVar[str] = ""  # a package of the extra `medical`
    encoder: ClassVar[str] = ""  # the package that decides the files' last bits, for the provenance
    ANEW: ClassVar[tuple[str, ...]] = ()  # files that an extended set rewrites, not appends to
    shards: ClassVar[bool] = False  # whether samples lie in shards, of which a user sets the size
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
        """Let go of threads."""
        self._pool.shutdown(cancel_futures=True)

    @staticmethod
    @abstractmethod
    def unfit(outputs: Mapping[str, Output]) -> list[str]:
        """The columns that the format cannot hold."""

    @abstractmethod
    def write(self, batch: Batch) -> list[Line]:
        """Write a batch; returns the manifest's lines for the files that are complete with it."""

    @classmethod
    def step(cls, output: Output) -> float:  # noqa: ARG003
        """How far two values may be apart and be stored as neighbours; 0 where a column is stored
        as it is.
        """
        return 0.0

    def finish(self) -> list[Line]:
        """Complete what is open; returns the remaining lines. A killed run calls it again, on the
        same files.
        """
        return []

    def state(self) -> dict[str, Any]:
        """What another process must know, beside the files, to write the next batch."""
        return self._state

    @classmethod
    @abstractmethod
    def read(
        cls, folder: Path, outputs: Mapping[str, Output], provenance: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Any]:
        """The columns of a finished set, and its indices."""

    def in_threads(self, function: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """The function's results, in order; encoders spend their time where Python lets threads run
        side by side.
        """
        chunks = [
            items[k : k + 8] for k in range(0, len(items), 8)
        ]  # a task for each picture would cost more than the picture
        return [
            found
            for part in self._pool.map(lambda chunk: [function(item) for item in chunk], chunks)
            for found in part
        ]

    def about(self, index: int, labels: Mapping[str, Any]) -> Line:
        """What the manifest says of a sample, whatever the format: seed, labels, conditions."""
        seed = {"seed": self._provenance["seed"]} if "seed" in self._provenance else {}
        conditions = {
            k: v for k, v in conditions_of(index, self._provenance).items() if k not in TAKEN
        }
        return {**conditions, **labels, **seed, "index": index}


def metadata_row(lines: Sequence[Line]) -> Line:
    """A line of ``metadata.jsonl``, made of the manifest's lines of one sample.

    Keys are those that Hugging Face's ``imagefolder`` knows: ``file_name`` is the first picture's,
    ``masks_file_name`` that of the column ``masks``; of several files, ``file_names``.
    """
    paths: dict[str, list[str]] = {}
    for line in lines:
        paths.setdefault(line["column"], []).append(line["file"])
    row: Line = {}
    for place, (column, names) in enumerate(paths.items()):
        key = f"{column}_file_name" if place else "file_name"
        row |= {key: names[0]} if len(names) == 1 else {f"{key}s": names}
    return row | {
        k: v for k, v in lines[0].items() if k not in {"column", "file", "sha256", "piece"}
    }


def labels_of(
    columns: Mapping[str, NDArray[Any]],
    row: int,
    outputs: Mapping[str, Output],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Each label of a sample under its column's name, by name where the config names the values."""
    names: Mapping[str, Mapping[str, str]] = provenance.get("label_names", {})
    numbers = {n: int(columns[n][row]) for n, o in outputs.items() if o.kind == "label"}
    return {n: names.get(n, {}).get(str(v), v) for n, v in numbers.items()}


def listed_conditions(provenance: Mapping[str, Any]) -> list[str]:
    """The conditions of which each sample was given its own."""
    options = provenance.get("options", {})
    return [n for n in provenance.get("conditions", {}) if isinstance(options.get(n), list)]


def conditions_of(index: int, provenance: Mapping[str, Any]) -> dict[str, str]:
    """The conditions under which a sample was made, by their names."""
    found, period = {}, 1
    for name, values in provenance.get("conditions", {}).items():
        given = provenance.get("options", {}).get(name)
        if isinstance(given, list):
            found[name] = given[index - provenance.get("first", 0)]
        elif given is None:  # as `Request.batch` crosses them
            found[name] = values[index // period % len(values)]
            period *= len(values)
        else:
            found[name] = given
    return found


def format_class(name: str) -> type[Format]:
    """The class of a format that `FORMATS` lists.

    Raises
    ------
    InputError
        It needs a package that is not installed.
    """
    found: type[Format] = plugin("format", name)
    if found.needs and find_spec(found.needs) is None:
        raise InputError(
            f"format={name!r} needs the package {found.needs}, which is not installed here.",
            "`pip install medzoo[medical]` brings it; format='npz' needs nothing.",
        )
    return found


def pick_format(asked: str | None, outputs: Mapping[str, Output]) -> str:
    """The format asked for, checked; without one PNG for flat pictures of 8 or 16 bits, CSV for
    tables, else NPZ.

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


def step_of(output: Output, most: int) -> float:
    """The step of a float column that is stored as numbers from 0 to ``most``."""
    if output.dtype != "float32" or output.kind == "table":
        return 0.0
    low, high = known_range(output)
    return (high - low) / most


def pictures_unfit(outputs: Mapping[str, Output], fits: Callable[[Output], bool]) -> list[str]:
    """The pictures and volumes that do not fit a format with one file per sample; without any, what
    there is instead.
    """
    pictures = [n for n, o in outputs.items() if o.kind not in {"table", "label"}]
    tables = [n for n, o in outputs.items() if o.kind == "table"]
    return [n for n in pictures if not fits(outputs[n])] if pictures else tables or ["labels alone"]
