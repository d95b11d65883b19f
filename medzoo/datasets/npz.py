"""NPZ: one file, ``samples.npz``, with every column and ``indices``.

The length of each column is known from the start, so each batch is written to its place in the
finished file. A set of any size needs the memory of one batch and no further space on the disk.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..config import Output
from ..config.columns import Batch
from ..errors import DatasetError
from .formats import Format, Line, arrays_of
from .journal import Base
from .paths import inside, nature_of

NAME = "samples.npz"
COPIED_AT_ONCE = 2**24  # bytes
DATED = 0x21  # 1 January 1980, the first day of zip: equal samples make equal files
# Codes of the zip format. Sizes are in the extra field of zip64, which all files get.
STORED, VERSION, BIG = 0, 45, 0xFFFFFFFF


class Npz(Format):
    """Anything."""

    ANEW = (NAME,)  # where each column begins depends on how long the columns are

    @staticmethod
    def unfit(outputs: Mapping[str, Output]) -> list[str]:  # noqa: ARG004
        """Nothing."""
        return []

    def write(self, batch: Batch) -> list[Line]:
        """Write each column's rows to their place."""
        columns = {**arrays_of(batch), "indices": batch.indices}
        if self._journal.base is not None and NAME not in self._journal.lengths:
            self._copy_rows(self._journal.base, self._state["done"])
        if not self._state:
            self._begin(columns)
        for name, start in self._places().items():
            dtype = self._state["types"][name][0]
            values = np.ascontiguousarray(columns[name]).astype(dtype, copy=False)
            if values.size:
                data = values.reshape(-1).view(np.uint8).data
                row_size = values.nbytes // len(batch)
                self._journal.put(NAME, data, start + self._state["done"] * row_size)
                self._state["crc"][name] = zlib.crc32(data, self._state["crc"][name])
        self._state["done"] += len(batch)
        return []

    def _begin(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Take the types of the columns from the first batch."""
        types = {}
        for name, values in columns.items():
            types[name] = [np.lib.format.dtype_to_descr(values.dtype), list(values.shape[1:])]
        self._state = {"done": 0, "types": types}
        self._state["crc"] = self._head_checksums()

    def _head_checksums(self) -> dict[str, int]:
        return {name: zlib.crc32(head) for name, head in self._heads().items()}

    def _copy_rows(self, base: Base, done: int) -> None:
        """Begin a larger file with the first ``done`` rows of a finished set."""
        path = inside(base.folder, NAME)
        if files.sha256_of(path) != base.digests.get(NAME):
            raise DatasetError(
                f"{base.folder} cannot grow: {NAME} is not as it was written.",
                "Make the set again in another folder.",
            )
        checksums = self._head_checksums()
        for name, start in self._places().items():
            rows = _column(path, name)[:done]
            size = math.prod(rows.shape[1:]) * rows.itemsize
            step = max(1, COPIED_AT_ONCE // max(size, 1))
            for row in range(0, done if size else 0, step):
                data = np.ascontiguousarray(rows[row : row + step]).reshape(-1).view(np.uint8).data
                self._journal.put(NAME, data, start + row * size)
                checksums[name] = zlib.crc32(data, checksums[name])
        self._state = {**self._state, "done": done, "crc": checksums}

    def state(self) -> dict[str, Any]:
        """The number of rows written, the types, and the checksum of each column so far."""
        return {**self._state, "crc": dict(self._state["crc"])}

    def _heads(self) -> dict[str, bytes]:
        """Column -> header of an .npy file, which comes before the numbers of the column."""
        heads = {}
        for name, (descr, shape) in self._state["types"].items():
            head = io.BytesIO()
            fields = {"descr": descr, "fortran_order": False, "shape": (self._n, *shape)}
            np.lib.format.write_array_header_1_0(head, fields)
            heads[name] = head.getvalue()
        return heads

    def _sizes(self) -> dict[str, int]:
        """Column -> bytes of its numbers."""
        sizes = {}
        for name, (descr, shape) in self._state["types"].items():
            sizes[name] = self._n * math.prod(shape) * np.dtype(descr).itemsize
        return sizes

    def _places(self) -> dict[str, int]:
        """Column -> byte of the file where its numbers begin."""
        places, at, sizes = {}, 0, self._sizes()
        for name, head in self._heads().items():
            places[name] = at + 50 + len(f"{name}.npy") + len(head)
            at = places[name] + sizes[name]
        return places

    def finish(self) -> list[Line]:
        """Write the headers and the directory of the zip file."""
        at, directory, sizes = 0, b"", self._sizes()
        for name, head in self._heads().items():
            file = f"{name}.npy".encode()
            size = len(head) + sizes[name]
            same = struct.pack(
                "<HHHHIIIH", 0, STORED, 0, DATED, self._state["crc"][name], BIG, BIG, len(file)
            )
            extra = struct.pack("<HHQQ", 1, 16, size, size)
            local = struct.pack("<IH", 0x04034B50, VERSION) + same
            local += struct.pack("<H", len(extra)) + file + extra
            self._journal.put(NAME, local + head, at)
            extra = struct.pack("<HHQQQ", 1, 24, size, size, at)
            directory += struct.pack("<IHH", 0x02014B50, VERSION, VERSION) + same
            directory += struct.pack("<HHHHII", len(extra), 0, 0, 0, 0, BIG) + file + extra
            at += len(local) + size
        entries = len(sizes)
        self._journal.put(NAME, directory + _end(entries, len(directory), at), at)
        digest = files.sha256_of(self._folder / NAME)
        columns = sorted(self._state["types"])
        return [{"file": NAME, "sha256": digest, "samples": self._n, "columns": columns}]

    @classmethod
    def read(
        cls,
        folder: Path,
        outputs: Mapping[str, Output],
        provenance: Mapping[str, Any],  # noqa: ARG003
    ) -> tuple[dict[str, Any], Any]:
        """The columns, mapped from the file and not loaded."""
        path = inside(folder, NAME)
        columns = {name: _column(path, name) for name in outputs}
        return columns, np.asarray(_column(path, "indices")[:])


def _end(entries: int, size: int, at: int) -> bytes:
    """The end of a zip file; its directory of ``size`` bytes begins at ``at``."""
    big = struct.pack(
        "<IQHHIIQQQQ", 0x06064B50, 44, VERSION, VERSION, 0, 0, entries, entries, size, at
    )
    locator = struct.pack("<IIQI", 0x07064B50, 0, at + size, 1)
    return big + locator + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, entries, entries, BIG, BIG, 0)


def _column(path: Path, name: str) -> NDArray[Any]:
    """A column of an uncompressed npz, mapped from the file and not loaded."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{name}.npy")
            with path.open("rb") as file:
                # Here a local header has the lengths of the name and the extra field.
                file.seek(entry.header_offset + 26)
                lengths = np.frombuffer(file.read(4), dtype="<u2")
                file.seek(entry.header_offset + 30 + int(lengths.sum()))
                if np.lib.format.read_magic(file) != (1, 0):
                    raise ValueError("not a column that medzoo wrote")  # noqa: TRY301
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                offset = file.tell()
        if not math.prod(shape):
            return np.empty(shape, dtype)  # numpy maps no empty files
        return np.memmap(path, dtype, "r", offset, shape)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        why = nature_of(path) or error
        raise DatasetError(f"The samples in {path} cannot be read: {why}.") from error
