"""CSV: one file, ``samples.csv``, with one row per sample.

A row has the index of the sample, the names of its labels, and the columns of the tables. Numbers
are written with enough digits to read the same numbers back. Columns are read by their names and
rows are counted, because people open the file in other programs and save it.
"""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..config import Output
from ..config.columns import PICTURES, ROWS, Batch, names_of_kind
from ..errors import DatasetError, MedzooWarning
from .columns import digest_of_first, key_of, label_codes, replaced
from .formats import Format, Line, arrays_of, labels_of
from .journal import Journal, whole_files
from .paths import inside, nature_of

TABLE = "samples.csv"


class Csv(Format):
    """Tables and labels only."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._table = Rows(self._journal, self._outputs, self._provenance)

    @staticmethod
    def unfit(outputs: Mapping[str, Output]) -> list[str]:
        """Pictures and volumes."""
        return names_of_kind(outputs, *PICTURES)

    def write(self, batch: Batch) -> list[Line]:
        """Append the batch's rows."""
        self._table.write(arrays_of(batch), batch.indices)
        return []

    def finish(self) -> list[Line]:
        """The manifest's line for the file."""
        return [self._table.finish(self._n)]

    @classmethod
    def read(
        cls, folder: Path, outputs: Mapping[str, Output], provenance: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Any]:
        """The labels, and the tables, which are read when they are used."""
        table = Table(folder, outputs, provenance)
        indices, labels = table.indices_and_labels()
        columns: dict[str, Any] = {}
        for name in outputs:
            columns[name] = labels[name] if name in labels else table.column(name, len(indices))
        return columns, indices


class Rows:
    """Writes the rows."""

    def __init__(
        self, journal: Journal, outputs: Mapping[str, Output], provenance: Mapping[str, Any]
    ) -> None:
        self._journal, self._outputs, self._provenance = journal, outputs, provenance
        self._tables = names_of_kind(outputs, *ROWS)

    def write(self, columns: Mapping[str, NDArray[Any]], indices: NDArray[np.int64]) -> None:
        """Append the rows of a batch."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        if not self._journal.length(TABLE):
            rows.writerow(head_of(self._outputs))
        for row, index in enumerate(indices):
            labels = labels_of(columns, row, self._outputs, self._provenance)
            cells: list[Any] = [index, *labels.values()]
            for name in self._tables:
                cells += list(columns[name][row].ravel())
            rows.writerow(cells)
        self._journal.append(TABLE, text.getvalue().encode())

    def finish(self, n: int) -> Line:
        """The manifest's line for the file."""
        return {
            "file": TABLE,
            "sha256": files.sha256_of(self._journal.folder / TABLE),
            "samples": n,
            "columns": sorted(self._tables),
        }


def head_of(outputs: Mapping[str, Output]) -> list[str]:
    """The names of the columns of the file."""
    head = ["index", *names_of_kind(outputs, "label")]
    for names in table_names(outputs).values():
        head += names
    return head


def table_names(outputs: Mapping[str, Output]) -> dict[str, list[str]]:
    """The names that the columns of each table have in the file."""
    tables = names_of_kind(outputs, *ROWS)
    names = {}
    for table in tables:
        names[table] = column_names(outputs[table])
        if len(tables) > 1:
            names[table] = [f"{table}.{column}" for column in names[table]]
    return names


def column_names(output: Output) -> list[str]:
    """The names of a table's columns, or their numbers if they have no names."""
    return list(output.columns) or list(map(str, range(math.prod(output.shape))))


class Table:
    """Reads the rows."""

    def __init__(
        self, folder: Path, outputs: Mapping[str, Output], provenance: Mapping[str, Any]
    ) -> None:
        self._path, self._outputs, self._provenance = inside(folder, TABLE), outputs, provenance
        self._labels = names_of_kind(outputs, "label")
        try:
            length = self._path.stat().st_size
            digest = digest_of_first(self._path, length)
        except OSError as error:
            raise damaged(self._path, error) from error
        self._cells = Cells(self._path, length, digest, head_of(outputs), len(self._labels))
        sealed = "manifest_sha256" in provenance
        self._edited = sealed and digest != whole_files(folder).get(TABLE)

    def indices_and_labels(self) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
        """Read the whole file once."""
        codes = {name: label_codes(self._provenance, name) for name in self._labels}
        values: dict[str, list[int | str]] = {name: [] for name in self._labels}
        indices: list[int] = []
        labels = {}
        try:
            for index, *cells in self._cells.rows(range(1 + len(self._labels))):
                indices.append(int(index))
                for name, cell in zip(self._labels, cells, strict=True):
                    values[name].append(codes[name].get(cell, cell))
            for name in self._labels:
                labels[name] = np.array(values[name], dtype=self._outputs[name].dtype)
        except (ValueError, IndexError) as error:
            raise damaged(self._path, error) from error
        if self._edited:
            warnings.warn(
                f"{self._path} was changed since it was written. Its columns are read by their "
                "names; values that were edited are not noticed. `medzoo verify` names all files "
                "that have changed.",
                MedzooWarning,
                stacklevel=4,
            )
        return np.array(indices, dtype=np.int64), labels

    def require_indices(self, indices: NDArray[np.int64]) -> None:
        """Raise DatasetError unless the rows are those of these samples, in the same order."""
        listed, _ = self.indices_and_labels()
        if not np.array_equal(listed, indices):
            raise damaged(self._path, "its rows are not those of the samples, in their order")

    def column(self, name: str, n: int) -> CsvColumn:
        """The table called ``name``, of ``n`` rows."""
        start = 1 + len(self._labels)
        for other, names in table_names(self._outputs).items():
            if other == name:
                break
            start += len(names)
        return CsvColumn(self._cells, self._outputs[name], start, n)


@dataclass(frozen=True)
class Cells:
    """The rows of a CSV below its head, which was written as ``head``."""

    path: Path
    length: int  # in bytes, when the set was read
    digest: str  # sha256 of the file then
    head: list[str]
    labels: int  # number of label columns, which follow the column of the index

    def require_same(self) -> None:
        """Raise DatasetError if the file has changed since the set was opened."""
        if digest_of_first(self.path, self.length) != self.digest:
            raise replaced(self.path, self.path.parent)

    def rows(self, columns: Sequence[int]) -> Iterator[list[str]]:
        """The cells of these columns, row by row; a column is its place in ``head``."""
        path = self.path
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = csv.reader(file)
                head = next(rows, [])
                places = _places(path, head, self._head_of(head), columns)
                for row in rows:
                    if len(row) != len(head):
                        raise damaged(path, f"a row has {len(row)} cells, not {len(head)}")
                    yield [row[place] for place in places]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise damaged(path, error) from error

    def _head_of(self, first_row: Sequence[str]) -> list[str]:
        """The names to look for in a file that has this first row."""
        index, *names = self.head
        labels, tables = names[: self.labels], names[self.labels :]
        keys = {*first_row} - {*tables}
        return [index, *(key_of(name, keys, labels) for name in labels), *tables]


class CsvColumn(Sequence[Any]):
    """A table (n, columns) in a CSV, which is read when it is first used."""

    def __init__(self, cells: Cells, output: Output, start: int, n: int) -> None:
        self._cells, self._output, self._start, self._n = cells, output, start, n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, key: Any) -> Any:
        return self._values[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self._values if dtype is None else self._values.astype(dtype)

    @cached_property
    def _values(self) -> NDArray[Any]:
        width = math.prod(self._output.shape)
        values = np.empty((self._n, width), dtype=self._output.dtype)
        try:
            self._cells.require_same()
            rows = self._cells.rows(range(self._start, self._start + width))
            for row, cells in zip(values, islice(rows, self._n), strict=True):
                row[:] = cells
        except (OSError, ValueError) as error:
            raise damaged(self._cells.path, error) from error
        return values.reshape(self._n, *self._output.shape)


def _places(
    path: Path, head: Sequence[str], expected: Sequence[str], columns: Sequence[int]
) -> list[int]:
    """The places of columns in the file, by their names in its first row."""
    if list(head) == list(expected):
        return list(columns)
    if strange := _other_dialect(path, head):
        raise damaged(path, strange)
    for name in expected:
        if head.count(name) != 1:
            what = "has no column" if name not in head else "has several columns"
            raise damaged(path, f"it {what} {name!r}")
    return [head.index(expected[column]) for column in columns]


def _other_dialect(path: Path, head: Sequence[str]) -> str:
    """How another program saved a CSV, as the end of a sentence; empty if this is not known."""
    if nature := nature_of(path):
        return nature
    first = head[0] if head else ""
    if first.startswith("\ufeff"):
        return "it begins with a byte order mark, as Excel and other spreadsheets save it"
    for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(head) <= 2 and first.count(mark):
            return f"its cells are separated by {name}, as Excel saves it in many languages"
    if first in {"", "Unnamed: 0", "rownames"}:
        return "it has a column of row names, as write.csv of R and to_csv of pandas add one"
    return ""


def damaged(path: Path, why: object) -> DatasetError:
    """The error for a file that is no longer as it was written."""
    nature = nature_of(path) if isinstance(why, Exception) else ""
    try:
        with path.open("rb") as file:
            utf16 = file.read(2) in {b"\xff\xfe", b"\xfe\xff"}
    except OSError:
        utf16 = False
    if utf16:
        nature = "it is UTF-16 text, as Excel saves it"
    return DatasetError(
        f"{path} cannot be read: {nature or why}.",
        "Was it moved, or saved by another program? Put the file back as medzoo wrote it.",
    )
