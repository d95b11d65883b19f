"""Columns of a set on disk, read when they are asked for."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import Output
from ..errors import DatasetError
from .journal import MANIFEST

Load = Callable[[Sequence[Path], Output], NDArray[Any]]


@dataclass(frozen=True)
class Index:
    """Where the manifest says what of each sample; some bytes a sample, so that a million fit into
    memory.
    """

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
        """Read the manifest through, once; ``columns`` have lines of their own, "" stands for a
        line a sample.
        """
        names = {
            n: {v: int(k) for k, v in provenance["label_names"].get(n, {}).items()} for n in outputs
        }
        labels = {n: array("q") for n, o in outputs.items() if o.kind == "label"}
        numbers, lines, at = array("q"), {n: array("q") for n in columns}, 0
        with (folder / MANIFEST).open("rb") as manifest:
            for line in manifest:
                entry = json.loads(line)
                if "index" in entry and not entry.get(
                    "piece"
                ):  # else a file of many samples, or a further file of one
                    column = entry.get("column", "")
                    lines[column].append(at)
                    if column == columns[0]:
                        numbers.append(entry["index"])
                        for name, found in labels.items():
                            label = entry[name if name in entry else singular(name)]
                            found.append(names[name].get(label, label))
                at += len(line)
        return cls(
            np.array(numbers, dtype=np.int64),
            {n: np.array(v, dtype=np.int64) for n, v in lines.items()},
            {n: np.array(v, dtype=outputs[n].dtype) for n, v in labels.items()},
        )


class LazyColumn(Sequence[Any]):
    """Samples (C, *spatial) of which each is read when it is asked for; ``rows`` says where each
    is.
    """

    def __init__(
        self, folder: Path, rows: NDArray[np.int64], output: Output, load: Load | None = None
    ) -> None:
        self._folder, self._rows, self._output, self._load = folder, rows, output, load

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (slice, np.ndarray)):
            return type(self)(self._folder, self._rows[key], self._output, self._load)
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
    """A column whose samples have files of their own."""

    def _read(self, at: int) -> NDArray[Any]:
        entries = entries_at(self._folder, at)
        paths = [self._folder / e["file"] for e in entries]
        try:
            values = self._load(paths, self._output)  # type: ignore[misc]
        except DatasetError:
            raise
        except Exception as error:  # decoders raise what they like for a damaged file
            raise DatasetError(
                f"The sample {paths[0]} cannot be read: {error}.", "Was it moved or deleted?"
            ) from error
        return self._checked(values, paths[0])


def singular(column: str) -> str:
    """The key of a label column in older sets: ``label`` of ``labels``.

    Today the key is the name of the column, in every file: an English singular is no unique name.
    """
    return column[:-3] + "y" if column.endswith("ies") else column.removesuffix("s")


def entries_at(folder: Path, at: int) -> list[dict[str, Any]]:
    """The manifest's lines of one sample in one column, of which the first is at byte ``at``."""
    path = folder / MANIFEST
    try:
        with path.open("rb") as manifest:
            manifest.seek(at)
            found = [json.loads(manifest.readline())]
            while "piece" in found[0] and (line := manifest.readline()):
                entry = json.loads(line)
                if not entry.get("piece"):
                    break
                found.append(entry)
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path} cannot be read: {error}.", "Was it moved or changed?"
        ) from error
    return found
