"""CSV: one file, ``samples.csv``, a row a sample: its index, its labels by name, and the columns of
the tables.

Numbers are written with as many digits as it takes to read the very same ones back.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..config import Output
from ..errors import DatasetError
from ..samples import Samples
from .formats import Format, Line, labels_of
from .journal import Journal

TABLE = "samples.csv"


class Csv(Format):
    """Tables and labels alone."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._table = Rows(self._journal, self._outputs, self._provenance)

    @staticmethod
    def unfit(outputs: Mapping[str, Output]) -> list[str]:
        """Pictures and volumes."""
        return [n for n, o in outputs.items() if o.kind not in {"table", "label"}]

    def write(self, batch: Samples) -> list[Line]:
        """Append the batch's rows."""
        self._table.write({name: getattr(batch, name) for name in batch.columns}, batch.indices)
        return []

    def finish(self) -> list[Line]:
        """The line of the file."""
        return [self._table.finish(self._n)]

    @classmethod
    def read(
        cls, folder: Path, outputs: Mapping[str, Output], provenance: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Any]:
        """The tables, read when asked for, and the labels."""
        table = Table(folder, outputs, provenance)
        indices, labels = table.indices_and_labels()
        return {
            n: labels[n] if n in labels else table.column(n, len(indices)) for n in outputs
        }, indices


class Rows:
    """Writes the rows."""

    def __init__(
        self, journal: Journal, outputs: Mapping[str, Output], provenance: Mapping[str, Any]
    ) -> None:
        self._journal, self._outputs, self._provenance = journal, outputs, provenance
        self._tables = [n for n, o in outputs.items() if o.kind == "table"]

    def write(self, columns: Mapping[str, NDArray[Any]], indices: NDArray[np.int64]) -> None:
        """Append the rows of a batch."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        if not self._journal.lengths.get(TABLE):
            rows.writerow(self._head())
        for row, index in enumerate(indices):
            labels = labels_of(columns, row, self._outputs, self._provenance).values()
            rows.writerow(
                [
                    index,
                    *labels,
                    *(value for n in self._tables for value in columns[n][row].ravel()),
                ]
            )
        self._journal.append(TABLE, text.getvalue().encode())

    def finish(self, n: int) -> Line:
        """The manifest's line."""
        return {
            "file": TABLE,
            "sha256": files.sha256_of(self._journal.folder / TABLE),
            "samples": n,
            "columns": sorted(self._tables),
        }

    def _head(self) -> list[str]:
        labels = [n for n, o in self._outputs.items() if o.kind == "label"]
        columns = {n: column_names(self._outputs[n]) for n in self._tables}
        several = len(columns) > 1
        return [
            "index",
            *labels,
            *(f"{n}.{c}" if several else c for n, names in columns.items() for c in names),
        ]


def column_names(output: Output) -> list[str]:
    """The names of a table's columns, or their numbers where it has none."""
    return list(output.columns) or [str(k) for k in range(math.prod(output.shape))]


class Table:
    """Reads the rows."""

    def __init__(
        self, folder: Path, outputs: Mapping[str, Output], provenance: Mapping[str, Any]
    ) -> None:
        self._path, self._outputs, self._provenance = folder / TABLE, outputs, provenance
        self._labels = [n for n, o in outputs.items() if o.kind == "label"]

    def indices_and_labels(self) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
        """Read through, once."""
        names = self._provenance["label_names"]
        numbers = {n: {v: int(k) for k, v in names.get(n, {}).items()} for n in self._labels}
        indices, labels = [], {n: [] for n in self._labels}  # type: tuple[list[int], dict[str, list[int]]]
        try:
            for row in rows_of(self._path):
                indices.append(int(row[0]))
                for name, value in zip(self._labels, row[1:], strict=False):
                    labels[name].append(numbers[name].get(value, value))  # type: ignore[arg-type]
            found = {n: np.array(v, dtype=self._outputs[n].dtype) for n, v in labels.items()}
        except (ValueError, IndexError) as error:
            raise damaged(self._path, error) from error
        return np.array(indices, dtype=np.int64), found

    def column(self, name: str, n: int) -> CsvColumn:
        """The table called ``name``, of ``n`` rows."""
        start = 1 + len(self._labels)
        for other, output in self._outputs.items():
            if other == name:
                break
            start += math.prod(output.shape) if output.kind == "table" else 0
        return CsvColumn(self._path, self._outputs[name], start, n)


class CsvColumn(Sequence[Any]):
    """A table (n, columns) in a CSV, read when it is first asked for."""

    def __init__(self, path: Path, output: Output, start: int, n: int) -> None:
        self._path, self._output, self._start, self._n = path, output, start, n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, key: Any) -> Any:
        return self._values[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self._values if dtype is None else self._values.astype(dtype)

    @cached_property
    def _values(self) -> NDArray[Any]:
        values = np.empty((self._n, math.prod(self._output.shape)), dtype=self._output.dtype)
        try:
            for row, cells in zip(values, rows_of(self._path), strict=True):
                row[:] = cells[self._start : self._start + len(row)]
        except ValueError as error:
            raise damaged(self._path, error) from error
        return values.reshape(self._n, *self._output.shape)


def rows_of(path: Path) -> Iterator[list[str]]:
    """The rows below the head."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            next(rows, None)
            yield from rows
    except (OSError, csv.Error) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> DatasetError:
    """What to say of a file that is no longer as it was written."""
    return DatasetError(f"{path} cannot be read: {error}.", "Was it moved or changed?")
