"""A folder of samples, read back on demand."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import settings
from ..config import Output
from ..errors import DatasetError, InputError
from ..samples import Samples

MANIFEST, PROVENANCE = "manifest.jsonl", "provenance.json"


def read(folder: str | os.PathLike[str]) -> Samples:
    """The samples of a finished folder; a column is read when it is asked for.

    Parameters
    ----------
    folder
        What `medzoo.generate` got as ``out``, or `Samples.save` as ``folder``.

    Returns
    -------
    Samples
        As they were generated; float columns kept as PNG come back from 8 bits.

    Raises
    ------
    DatasetError
        The folder holds no finished set of samples.
    """
    folder = settings.user_path(folder, "folder")
    try:
        provenance = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        with (folder / MANIFEST).open(encoding="utf-8") as lines:
            entries = [json.loads(line) for line in lines]
        return _samples(folder, provenance, entries)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder} holds no finished set of samples: {error}.") from error
    except (KeyError, IndexError, TypeError, AttributeError, InputError) as error:
        why = f"{type(error).__name__}: {error}"
        raise DatasetError(f"The manifest or the provenance of {folder} is not as it was written ({why}).") from error


def _samples(folder: Path, provenance: dict[str, Any], entries: list[dict[str, Any]]) -> Samples:
    outputs = {name: _output(fields) for name, fields in provenance["outputs"].items()}
    if provenance["format"] == "npz":
        columns: dict[str, Any] = {name: _npz_column(folder / entries[0]["file"], name) for name in (*outputs, "indices")}
        indices = np.asarray(columns.pop("indices")[:])
        return Samples(columns, outputs, indices, provenance, folder)
    first = next(n for n, o in outputs.items() if o.kind != "label")
    indices = np.array([e["index"] for e in entries if e["column"] == first], dtype=np.int64)
    columns = {}
    for name, output in outputs.items():
        if output.kind == "label":
            numbers = {v: int(k) for k, v in provenance["label_names"].get(name, {}).items()}
            values = [e[name.removesuffix("s")] for e in entries if e["column"] == first]
            columns[name] = np.array([numbers.get(v, v) for v in values], dtype=output.dtype)
        else:
            columns[name] = PngColumn([folder / e["file"] for e in entries if e["column"] == name], output)
    return Samples(columns, outputs, indices, provenance, folder)


def describe(outputs: Mapping[str, Output]) -> dict[str, dict[str, Any]]:
    """What `read` must know of the columns later, as JSON."""
    fields = ("name", "kind", "dtype", "shape", "range", "unit", "spacing", "condition", "columns")
    return {n: {f: v for f in fields if (v := getattr(o, f)) not in (None, "", ())} for n, o in outputs.items()}


def _output(fields: Mapping[str, Any]) -> Output:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return Output(**{"shape": (), **values})


class PngColumn(Sequence[Any]):
    """Pictures (C, H, W) in files, read one by one when asked for.

    Float columns come back from their 8 bits into their value range.
    """

    def __init__(self, paths: Sequence[Path], output: Output) -> None:
        self._paths, self._output = paths, output

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return PngColumn(self._paths[key], self._output)
        if isinstance(key, np.ndarray):
            rows = np.arange(len(self))[key]
            return PngColumn([self._paths[int(k)] for k in rows], self._output)
        return self._read(self._paths[key])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        found = np.empty((len(self), *self._output.shape), dtype=self._output.dtype)
        for row, path in enumerate(self._paths):
            found[row] = self._read(path)
        return found if dtype is None else found.astype(dtype)

    def _read(self, path: Path) -> NDArray[Any]:
        from PIL import Image

        try:
            with Image.open(path) as picture:
                values = np.array(picture)
        except OSError as error:
            raise DatasetError(f"The sample {path} cannot be read: {error}.", "Was it moved or deleted?") from error
        values = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
        if self._output.dtype == "float32":
            low, high = self._output.range or (0.0, 1.0)
            values = values / np.float32(255) * np.float32(high - low) + np.float32(low)
        if values.shape != self._output.shape:
            raise DatasetError(f"The sample {path} has the shape {values.shape}, not {self._output.shape}.", "Was it changed?")
        return values.astype(self._output.dtype)


def _npz_column(path: Path, name: str) -> NDArray[Any]:
    """A column of an uncompressed npz, mapped from the file and not loaded."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{name}.npy")
            with path.open("rb") as file:
                file.seek(entry.header_offset + 26)  # where a local header holds the lengths of name and extra field
                lengths = np.frombuffer(file.read(4), dtype="<u2")
                file.seek(entry.header_offset + 30 + int(lengths.sum()))
                if np.lib.format.read_magic(file) != (1, 0):
                    raise ValueError("not a column that medzoo wrote")  # noqa: TRY301
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                offset = file.tell()
        return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape) if shape[0] else np.empty(shape, dtype)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DatasetError(f"The samples in {path} cannot be read: {error}.") from error
