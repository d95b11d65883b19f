"""Columns of a set on disk, read when they are asked for."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..config import Output
from ..errors import DatasetError
from .journal import MANIFEST
from .paths import inside, nature_of

Load = Callable[[Sequence[Path], Output], NDArray[Any]]


class Manifest:
    """The manifest of a set, whose lines are read when a sample is asked for.

    It is an error if the lines of the samples are then not those that were there at first: the
    folder was replaced, or the manifest edited, and the samples would not be those that the labels
    and the provenance belong to. A set that has grown still begins with the same lines.

    Parameters
    ----------
    folder
        Where the set is.
    length, digest
        Bytes of the manifest up to the last line of a sample, and their sha256.
    signature
        Of the file, before it was read: see `signature_of`.
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

    def entries_at(self, at: int) -> list[dict[str, Any]]:
        """The lines of one sample in one column, of which the first is at byte ``at``."""
        self.require_same()
        try:
            with (self.folder / MANIFEST).open("rb") as manifest:
                manifest.seek(at)
                entries = [json.loads(manifest.readline())]
                while "piece" in entries[0] and (line := manifest.readline()):
                    entry = json.loads(line)
                    if not entry.get("piece"):
                        break
                    entries.append(entry)
        except (OSError, ValueError) as error:
            raise _unreadable(self.folder / MANIFEST, error) from error
        return entries

    def path_of(self, entry: Mapping[str, Any]) -> Path:
        """Where the file of a line is."""
        return inside(self.folder, entry["file"])


def _unreadable(path: Path, error: Exception) -> DatasetError:
    return DatasetError(f"{path} cannot be read: {error}.", "Was it moved or changed?")


def replaced(path: Path, folder: Path) -> DatasetError:
    """The error for samples that are no longer those that were read."""
    return DatasetError(
        f"{path} was replaced or edited since these samples were read from it.",
        f"Read it again: medzoo.read({str(folder)!r}).",
    )


def signature_of(path: Path) -> tuple[int, ...]:
    """What changes with a file, as far as its folder tells."""
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
    """Where the manifest says what of each sample; a few bytes per sample, so that a million fit
    into memory.
    """

    manifest: Manifest
    numbers: NDArray[np.int64]  # index of each sample in its run
    lines: Mapping[
        str, NDArray[np.int64]
    ]  # column -> where the line of each sample's first file is in the manifest
    labels: Mapping[str, NDArray[Any]]

    @classmethod
    def of(
        cls,
        folder: Path,
        outputs: Mapping[str, Output],
        provenance: Mapping[str, Any],
        columns: Sequence[str] = ("",),
    ) -> Index:
        """Read the manifest through, once; ``columns`` have their own lines, "" means one
        line per sample.
        """
        names = {
            n: {v: int(k) for k, v in provenance.get("label_names", {}).get(n, {}).items()}
            for n in outputs
        }
        labels = {n: array("q") for n, o in outputs.items() if o.kind == "label"}
        digest, between, length = hashlib.sha256(), b"", 0  # up to the last line of a sample
        signature = signature_of(inside(folder, MANIFEST))
        numbers, lines, at = array("q"), {n: array("q") for n in columns}, 0
        others = {n: array("q") for n in columns[1:]}
        with (folder / MANIFEST).open("rb") as manifest:
            for line in manifest:
                entry = json.loads(line)
                between += line
                if "index" in entry:
                    digest.update(between)
                    between, length = b"", at + len(line)
                if "index" in entry and not entry.get(
                    "piece"
                ):  # else a file of many samples, or a further file of one
                    column = entry.get("column", "")
                    lines[column].append(at)
                    if column == columns[0]:
                        numbers.append(entry["index"])
                        for name, found in labels.items():
                            label = entry[key_of(name, entry, labels)]
                            found.append(names[name].get(label, label))
                    else:
                        others[column].append(entry["index"])
                at += len(line)
        for name, of in others.items():
            if of != numbers:
                raise DatasetError(
                    f"The manifest of {folder} lists other samples in {name} than in {columns[0]}.",
                    "`medzoo verify` names what has changed since it was written.",
                )
        return cls(
            Manifest(folder, length, digest.hexdigest(), signature),
            np.array(numbers, dtype=np.int64),
            {n: np.array(v, dtype=np.int64) for n, v in lines.items()},
            {n: np.array(v, dtype=outputs[n].dtype) for n, v in labels.items()},
        )


class LazyColumn(Sequence[Any]):
    """Samples (C, *spatial) of which each is read when it is asked for; ``rows`` says where each
    is.
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
        return self._read(int(self._rows[key]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        found = np.empty((len(self), *self._output.shape), dtype=self._output.dtype)
        for row, at in enumerate(self._rows):
            found[row] = self._read(int(at))
        return found if dtype is None else found.astype(dtype)

    def _read(self, at: int) -> NDArray[Any]:
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

    def _read(self, at: int) -> NDArray[Any]:
        entries = self._manifest.entries_at(at)
        paths = [self._manifest.path_of(e) for e in entries]
        try:
            digests = [files.sha256_of(path) for path in paths]
        except OSError as error:
            why = f"The sample {paths[0]} cannot be read: {error}."
            raise DatasetError(why, "Was it moved or deleted?") from error
        for path, digest, entry in zip(paths, digests, entries, strict=True):
            if digest != entry["sha256"]:
                why = nature_of(path) or "it is not as it was written"
                raise DatasetError(
                    f"The sample {path} cannot be read: {why}.",
                    "`medzoo verify` names all files that have changed.",
                )
        try:
            values = self._load(paths, self._output)  # type: ignore[misc]
        except DatasetError:
            raise
        except Exception as error:  # decoders raise what they like
            raise DatasetError(f"The sample {paths[0]} cannot be read: {error}.") from error
        return self._checked(values, paths[0])


def key_of(column: str, keys: Container[str], labels: Iterable[str]) -> str:
    """The key of a label column in a line of the manifest, or in the head of a CSV.

    That is its name. Older sets have an English singular instead, ``label`` of ``labels``, which was
    not unique: of two columns that shared one, the first is not read.
    """
    singular = column[:-3] + "y" if column.endswith("ies") else column.removesuffix("s")
    older = column not in keys and singular in keys and singular not in labels
    return singular if older else column
