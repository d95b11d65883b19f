"""WebDataset: tar files of many samples, for sets that are too large for one file per sample.

For sample 7, ``shards/000000.tar`` has ``000007.json`` (labels, seed and model),
``000007.images.png`` if a PNG holds the column exactly, otherwise ``000007.images.npy``, and
``000007.labels.cls`` with the number of the label. The manifest says where in its shard each sample
is, so that it can be read without the others.
"""

from __future__ import annotations

import hashlib
import io
import math
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..config import Output
from ..config.columns import Batch
from ..errors import DatasetError
from .columns import Index, LazyColumn
from .formats import Format, Line, arrays_of, as_json, entries_of, labels_of
from .paths import nature_of
from .png import Png, png, unpng

SHARD = 256 * 2**20  # bytes by default; a shard ends with the sample that reaches this size
RECORD = tarfile.RECORDSIZE
# Where a header of tar has the size of its file and its own checksum, in so many octal digits.
SIZE_AT, SIZE_DIGITS = 124, 11
CHECKSUM_AT, CHECKSUM_DIGITS = 148, 6


class WebDataset(Format):
    """Anything."""

    encoder = "zlib"
    shards = True

    @staticmethod
    def unfit(outputs: Mapping[str, Output]) -> list[str]:  # noqa: ARG004
        """Nothing."""
        return []

    def write(self, batch: Batch) -> list[Line]:
        """Append the samples to the current shard, or to the next one."""
        columns = arrays_of(batch)
        state, lines = self._state or {"shard": 0, "samples": 0}, []
        size = self._provenance.get("shard_size", SHARD)
        most = self._provenance.get("shard_samples", math.inf)

        def pack(row: int) -> tuple[Line, bytes, str]:
            return self._members(columns, row, int(batch.indices[row]))

        for entry, packed, digest in self.in_threads(pack, range(len(batch))):
            name = f"shards/{state['shard']:06d}.tar"
            at = self._journal.append(name, packed)
            place = {"file": name, "offset": at, "bytes": len(packed), "sha256": digest}
            lines.append({**entry, **place})
            state = {**state, "samples": state["samples"] + 1}
            if at + len(packed) >= size or state["samples"] >= most:
                lines.append(self._end(state))
                state = {"shard": state["shard"] + 1, "samples": 0}
        self._state = state
        return lines

    def finish(self) -> list[Line]:
        """End the last shard."""
        return [self._end(self._state)] if self._state.get("samples") else []

    def _end(self, state: Mapping[str, int]) -> Line:
        name = f"shards/{state['shard']:06d}.tar"
        length = self._journal.lengths[name] + 2 * tarfile.BLOCKSIZE
        self._journal.append(name, bytes(2 * tarfile.BLOCKSIZE + -length % RECORD))
        self._journal.close(name)
        return {
            "file": name,
            "sha256": files.sha256_of(self._folder / name),
            "samples": state["samples"],
        }

    def _members(
        self, columns: Mapping[str, NDArray[Any]], row: int, index: int
    ) -> tuple[Line, bytes, str]:
        """The manifest's entry of a sample, its members of the tar file, and their digest."""
        entry = self.entry(index, labels_of(columns, row, self._outputs, self._provenance))
        origin = entries_of(self._provenance, "model", "version", "license")
        metadata = as_json({"synthetic": True, **entry, **origin})
        stem = f"{index:06d}"
        members = [member(f"{stem}.json", metadata.encode())]
        for name, output in self._outputs.items():
            values = columns[name][row]
            if output.kind == "label":
                members.append(member(f"{stem}.{name}.cls", str(int(values)).encode()))
            elif as_png(output):
                members.append(member(f"{stem}.{name}.png", png(values, output, metadata)))
            else:
                members.append(member(f"{stem}.{name}.npy", _npy(values)))
        packed = b"".join(members)
        return entry, packed, hashlib.sha256(packed).hexdigest()

    @classmethod
    def read(
        cls, folder: Path, outputs: Mapping[str, Output], provenance: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Any]:
        """The columns; a sample is read from its shard when it is used."""
        index = Index.of(folder, outputs, provenance)
        columns: dict[str, Any] = {}
        for name, output in outputs.items():
            if name in index.labels:
                columns[name] = index.labels[name]
            else:
                columns[name] = ShardColumn(index.manifest, index.lines[""], output)
        return columns, index.numbers


def as_png(output: Output) -> bool:
    """Whether a PNG holds the column exactly."""
    return Png.fits(output) and output.dtype != "float32"


def member(name: str, data: bytes) -> bytes:
    """A file as a member of a tar file, without an owner or a time."""
    return _header(name.encode(), len(data)) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def _header(name: bytes, size: int) -> bytes:
    """The header that tarfile writes, in a quarter of its time: most of it is always the same."""
    digits = b"%0*o" % (SIZE_DIGITS, size)
    if len(name) > tarfile.LENGTH_NAME or len(digits) > SIZE_DIGITS:
        header = tarfile.TarInfo(name.decode())
        header.size = size
        return header.tobuf(tarfile.USTAR_FORMAT)
    unnamed, total = _unnamed()
    block = bytearray(unnamed)
    block[: len(name)] = name
    block[SIZE_AT : SIZE_AT + SIZE_DIGITS] = digits
    checksum = b"%0*o\0" % (CHECKSUM_DIGITS, total + sum(name) + sum(digits))
    block[CHECKSUM_AT : CHECKSUM_AT + len(checksum)] = checksum
    return bytes(block)


@cache
def _unnamed() -> tuple[bytes, int]:
    """The header of a file without name and size, and the sum of its bytes.

    In place of its checksum are spaces, as when the checksum itself is computed.
    """
    block = bytearray(tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT))
    block[SIZE_AT : SIZE_AT + SIZE_DIGITS] = bytes(SIZE_DIGITS)
    block[CHECKSUM_AT : CHECKSUM_AT + CHECKSUM_DIGITS + 2] = b" " * (CHECKSUM_DIGITS + 2)
    return bytes(block), sum(block)


def _npy(values: NDArray[Any]) -> bytes:
    """An array as an .npy file."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(values), version=(1, 0))
    return file.getvalue()


def _from_npy(file: io.BytesIO) -> NDArray[Any]:
    values: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return values


class ShardColumn(LazyColumn):
    """A column whose samples are in tar files."""

    def _samples(self, lines: Iterable[Sequence[Mapping[str, Any]]]) -> Iterator[NDArray[Any]]:
        with ExitStack() as stack:
            name, path = "", Path()
            for (entry,) in lines:
                is_other = entry["file"] != name  # samples of one shard follow each other
                if is_other:
                    name, path = entry["file"], self._manifest.path_of(entry)
                    stack.close()
                try:
                    if is_other:
                        shard = stack.enter_context(path.open("rb"))
                    values = self._decoded(shard, path, entry)
                except Exception as error:  # decoders raise any error for a damaged file
                    what = f"Sample {entry['index']} in {path} cannot be read: {error}."
                    raise DatasetError(what, "Was it moved or changed?") from error
                yield self._checked(values, path)

    def _decoded(self, shard: IO[bytes], path: Path, entry: Mapping[str, Any]) -> NDArray[Any]:
        """A sample of an open shard."""
        shard.seek(entry["offset"])
        part = shard.read(entry["bytes"])
        if hashlib.sha256(part).hexdigest() != entry["sha256"]:
            raise ValueError(nature_of(path) or "it is not as it was written")
        if as_png(self._output):
            return unpng(_member_of(part, f".{self._output.name}.png"), self._output)
        return _from_npy(_member_of(part, f".{self._output.name}.npy"))


def _member_of(part: bytes, ending: str) -> io.BytesIO:
    """The file with this ending, of the members of one sample, which `member` made."""
    start = 0
    while start < len(part):
        name = part[start : start + tarfile.LENGTH_NAME].rstrip(b"\0").decode()
        size = int(part[start + SIZE_AT : start + SIZE_AT + SIZE_DIGITS], 8)
        start += tarfile.BLOCKSIZE
        if name.endswith(ending):
            return io.BytesIO(part[start : start + size])
        start += size + -size % tarfile.BLOCKSIZE
    raise ValueError(f"it has no file *{ending}")
