"""Columns of a set on disk. Each sample is read when it is used."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..config import Output
from ..config.columns import names_of_kind
from ..errors import DatasetError
from .journal import MANIFEST
from .paths import inside, nature_of

Load = Callable[[Sequence[Path], Output], NDArray[Any]]


class Manifest:
    """The manifest of a set. The lines of a sample are read when the sample is used.

    The lines must still be those that were there when the set was opened. Otherwise the folder was
    replaced or the manifest edited, and the samples would not belong to the labels and the
    provenance: this is an error. A set that has grown still begins with the same lines.

    Parameters
    ----------
    folder : pathlib.Path
        The folder of the set.
    length : int
        Bytes of the manifest up to the last line of a sample.
    digest : str
        The sha256 of these bytes.
    signature : tuple of int
        `signature_of` the file before it was read.
    """

    def __init__(self, folder: Path, length: int, digest: str, signature: tuple[int, ...]) -> None:
        self.folder, self._length, self._digest = folder, length, digest
        self._signature = signature

    def require_same(self) -> None:
        """Raise DatasetError if the set has been replaced or edited."""
        path = inside(self.folder, MANIFEST)
        try:
            signature = signature_of(path)
            if signature == self._signature:
                return
            same = digest_of_first(path, self._length) == self._digest
        except OSError as error:
            raise _unreadable(path, error) from error
        if not same:
            raise replaced(self.folder, self.folder)
        self._signature = signature

    def entries_at(self, starts: Iterable[int]) -> Iterator[list[dict[str, Any]]]:
        """The lines of samples in one column; each number is the byte where one begins."""
        self.require_same()
        try:
            with (self.folder / MANIFEST).open("rb") as manifest:
                for start in starts:
                    manifest.seek(start)
                    yield _entries(manifest)
        except (OSError, ValueError) as error:
            raise _unreadable(self.folder / MANIFEST, error) from error

    def path_of(self, entry: Mapping[str, Any]) -> Path:
        """The path of the file that a line lists."""
        return inside(self.folder, entry["file"])


def _entries(manifest: IO[bytes]) -> list[dict[str, Any]]:
    """The lines of one sample in one column, which begin here."""
    entries = [json.loads(manifest.readline().decode())]
    while "piece" in entries[0] and (line := manifest.readline()):
        entry = json.loads(line)
        if not entry.get("piece"):
            break
        entries.append(entry)
    return entries


def _unreadable(path: Path, error: Exception) -> DatasetError:
    return DatasetError(f"{path} cannot be read: {error}.", "Was it moved or changed?")


def replaced(path: Path, folder: Path) -> DatasetError:
    """The error for a set that was replaced after it was opened."""
    return DatasetError(
        f"{path} was replaced or edited since these samples were read from it.",
        f"Read it again: medzoo.read({str(folder)!r}).",
    )


def signature_of(path: Path) -> tuple[int, ...]:
    """Numbers that change when a file is changed, without reading it."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def digest_of_first(path: Path, length: int) -> str:
    """The sha256 of the first ``length`` bytes of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while length and (block := file.read(min(length, 2**20))):
            digest.update(block)
            length -= len(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Index:
    """What the manifest says about each sample, and where.

    It takes a few bytes per sample, so that a million samples fit into memory.
    """

    manifest: Manifest
    numbers: NDArray[np.int64]  # index of each sample in its run
    # column -> byte in the manifest where the line of each sample's first file begins
    lines: Mapping[str, NDArray[np.int64]]
    labels: Mapping[str, NDArray[Any]]

    @classmethod
    def of(
        cls,
        folder: Path,
        outputs: Mapping[str, Output],
        provenance: Mapping[str, Any],
        columns: Sequence[str] = ("",),
    ) -> Index:
        """Read the whole manifest once.

        ``columns`` are those that have their own lines; "" stands for one line per sample.
        """
        signature = signature_of(inside(folder, MANIFEST))
        lines = _Lines(outputs, provenance, columns)
        with (folder / MANIFEST).open("rb") as manifest:
            for line in manifest:
                lines.add(line)
        lines.require_same_samples(folder)
        starts, labels = {}, {}
        for name, values in lines.starts.items():
            starts[name] = np.frombuffer(values, dtype=np.int64)  # no second copy
        for name, values in lines.labels.items():
            labels[name] = np.array(values, dtype=outputs[name].dtype)
        return cls(
            Manifest(folder, lines.length, lines.digest.hexdigest(), signature),
            np.frombuffer(lines.indices[columns[0]], dtype=np.int64),
            starts,
            labels,
        )


class _Lines:
    """The lines of a manifest, added one after the other."""

    def __init__(
        self, outputs: Mapping[str, Output], provenance: Mapping[str, Any], columns: Sequence[str]
    ) -> None:
        self._first = columns[0]  # of this column the labels are read
        self.indices = {name: array("q") for name in columns}
        self.starts = {name: array("q") for name in columns}
        self.labels = {name: array("q") for name in names_of_kind(outputs, "label")}
        self._codes = {name: label_codes(provenance, name) for name in self.labels}
        self.length = 0  # bytes up to the last line of a sample
        self.digest = hashlib.sha256()  # of these bytes
        self._end = 0  # of the last line
        self._other = b""  # lines after the last line of a sample

    def add(self, line: bytes) -> None:
        """Read the next line."""
        entry = json.loads(line.decode())  # json would look for the encoding of each line
        start, self._end = self._end, self._end + len(line)
        self._other += line
        if "index" not in entry:  # a file that holds many samples
            return
        self.digest.update(self._other)
        self._other, self.length = b"", self._end
        if not entry.get("piece"):  # else a further file of the same sample
            self._add_sample(entry, start)

    def _add_sample(self, entry: Mapping[str, Any], start: int) -> None:
        column = entry.get("column", "")
        self.starts[column].append(start)
        self.indices[column].append(entry["index"])
        if column != self._first:
            return
        for name, labels in self.labels.items():
            label = entry[key_of(name, entry, self.labels)]
            labels.append(self._codes[name].get(label, label))

    def require_same_samples(self, folder: Path) -> None:
        """Raise DatasetError unless every column lists the same samples in the same order."""
        for name, indices in self.indices.items():
            if indices != self.indices[self._first]:
                raise DatasetError(
                    f"The manifest of {folder} lists other samples in {name} than in "
                    f"{self._first}.",
                    "`medzoo verify` names what has changed since it was written.",
                )


class LazyColumn(Sequence[Any]):
    """Samples (C, *spatial), each of which is read when it is used.

    ``rows`` has the byte in the manifest where the first line of each sample begins.
    """

    def __init__(
        self, manifest: Manifest, rows: NDArray[np.int64], output: Output, load: Load | None = None
    ) -> None:
        self._manifest, self._rows, self._output, self._load = manifest, rows, output, load

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (slice, np.ndarray)):
            return type(self)(self._manifest, self._rows[key], self._output, self._load)
        (values,) = self._samples(self._manifest.entries_at([int(self._rows[key])]))
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        values = np.empty((len(self), *self._output.shape), dtype=self._output.dtype)
        samples = self._samples(self._manifest.entries_at(self._rows.tolist()))
        for row, sample in enumerate(samples):
            values[row] = sample
        return values if dtype is None else values.astype(dtype)

    def _samples(self, lines: Iterable[Sequence[Mapping[str, Any]]]) -> Iterator[NDArray[Any]]:
        """The samples that these lines of the manifest list."""
        raise NotImplementedError

    def _checked(self, values: NDArray[Any], path: Path) -> NDArray[Any]:
        if values.shape != self._output.shape:
            raise DatasetError(
                f"The sample {path} has the shape {values.shape}, not {self._output.shape}.",
                "Was it changed?",
            )
        return values.astype(self._output.dtype, copy=False)


class FileColumn(LazyColumn):
    """A column in which each sample has its own files."""

    def _samples(self, lines: Iterable[Sequence[Mapping[str, Any]]]) -> Iterator[NDArray[Any]]:
        return map(self._read, lines)

    def _read(self, entries: Sequence[Mapping[str, Any]]) -> NDArray[Any]:
        paths = [self._manifest.path_of(entry) for entry in entries]
        for path, entry in zip(paths, entries, strict=True):
            _require_digest(path, entry["sha256"])
        try:
            values = self._load(paths, self._output)  # type: ignore[misc]
        except DatasetError:
            raise
        except Exception as error:  # decoders raise any error
            raise DatasetError(f"The sample {paths[0]} cannot be read: {error}.") from error
        return self._checked(values, paths[0])


def _require_digest(path: Path, sha256: str) -> None:
    """Raise DatasetError unless the file of a sample has this digest."""
    try:
        digest = files.sha256_of(path)
    except OSError as error:
        raise DatasetError(
            f"The sample {path} cannot be read: {error}.", "Was it moved or deleted?"
        ) from error
    if digest != sha256:
        why = nature_of(path) or "it is not as it was written"
        raise DatasetError(
            f"The sample {path} cannot be read: {why}.",
            "`medzoo verify` names all files that have changed.",
        )


def label_codes(provenance: Mapping[str, Any], column: str) -> dict[str, int]:
    """Name -> number of the values of a label column; empty if they have no names."""
    names = provenance.get("label_names", {}).get(column, {})
    return {name: int(code) for code, name in names.items()}


def key_of(column: str, keys: Container[str], labels: Iterable[str]) -> str:
    """The key of a label column in a line of the manifest, or in the head of a CSV.

    This is its name. Older sets have the English singular instead: ``label`` for ``labels``. It was
    not unique: if two columns share a singular, the first column is not read.
    """
    singular = column[:-3] + "y" if column.endswith("ies") else column.removesuffix("s")
    older = column not in keys and singular in keys and singular not in labels
    return singular if older else column
