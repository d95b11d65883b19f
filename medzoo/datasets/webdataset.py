"""WebDataset: tar files of many samples each, for sets that no file system should hold one by one.

``shards/000000.tar`` has for sample 7 ``000007.json`` (what it is), ``000007.images.png`` where a
PNG holds the column exactly, else ``000007.images.npy``, and ``000007.labels.cls`` with the label's
number. The manifest says where in its shard each sample is, so that one is read without the others.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..config import Output
from ..config.columns import Batch
from ..errors import DatasetError
from .columns import Index, LazyColumn
from .formats import Format, Line, labels_of
from .paths import nature_of
from .png import Png, png, unpng

SHARD = 256 * 2**20  # bytes, if none are asked for; a shard ends with the sample that reaches them
RECORD = tarfile.RECORDSIZE


class WebDataset(Format):
    """Anything."""

    encoder = "pillow"
    shards = True

    @staticmethod
    def unfit(outputs: Mapping[str, Output]) -> list[str]:  # noqa: ARG004
        """Nothing."""
        return []

    def write(self, batch: Batch) -> list[Line]:
        """Append the samples to the shard, or to the next."""
        columns = {name: getattr(batch, name) for name in batch.columns}
        state, lines = self._state or {"shard": 0, "samples": 0}, []
        size = self._provenance.get("shard_size", SHARD)
        most = self._provenance.get("shard_samples", math.inf)
        for about, packed, digest in self.in_threads(
            lambda row: self._members(columns, row, int(batch.indices[row])), range(len(batch))
        ):
            name = f"shards/{state['shard']:06d}.tar"
            at = self._journal.append(name, packed)
            lines.append(
                {**about, "file": name, "offset": at, "bytes": len(packed), "sha256": digest}
            )
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
        """What the manifest says of a sample, the sample as members of a tar file, and the digest
        of these.
        """
        line = self.about(index, labels_of(columns, row, self._outputs, self._provenance))
        about = {"synthetic": True, **line}
        about |= {
            k: self._provenance[k] for k in ("model", "version", "license") if k in self._provenance
        }
        members = {"json": json.dumps(about, sort_keys=True).encode()}
        for name, output in self._outputs.items():
            if output.kind == "label":
                members[f"{name}.cls"] = str(int(columns[name][row])).encode()
            elif as_png(output):
                members[f"{name}.png"] = png(columns[name][row], output, about)
            else:
                array = io.BytesIO()
                np.lib.format.write_array(
                    array, np.ascontiguousarray(columns[name][row]), version=(1, 0)
                )
                members[f"{name}.npy"] = array.getvalue()
        packed = b"".join(member(f"{index:06d}.{ending}", data) for ending, data in members.items())
        return line, packed, hashlib.sha256(packed).hexdigest()

    @classmethod
    def read(
        cls, folder: Path, outputs: Mapping[str, Output], provenance: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Any]:
        """The columns, each sample read from its shard when asked for."""
        index = Index.of(folder, outputs, provenance)
        others = {
            n: ShardColumn(index.manifest, index.lines[""], o)
            for n, o in outputs.items()
            if n not in index.labels
        }
        return {
            n: index.labels[n] if n in index.labels else others[n] for n in outputs
        }, index.numbers


def as_png(output: Output) -> bool:
    """Whether a PNG holds the column exactly."""
    return Png.fits(output) and output.dtype != "float32"


def member(name: str, data: bytes) -> bytes:
    """A file as a tar file holds it, without an owner or a time."""
    about = tarfile.TarInfo(name)
    about.size = len(data)
    return about.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


class ShardColumn(LazyColumn):
    """A column whose samples lie in tar files."""

    def _read(self, at: int) -> NDArray[Any]:
        (entry,) = self._manifest.entries_at(at)
        path = self._manifest.path_of(entry)
        ending = f".{self._output.name}." + ("png" if as_png(self._output) else "npy")
        try:
            with path.open("rb") as file:
                file.seek(entry["offset"])
                part = file.read(entry["bytes"])
            if hashlib.sha256(part).hexdigest() != entry["sha256"]:
                raise ValueError(nature_of(path) or "it is not as it was written")  # noqa: TRY301
            packed = io.BytesIO(part + bytes(2 * tarfile.BLOCKSIZE))
            with tarfile.open(fileobj=packed) as members:
                found = next(m for m in members if m.name.endswith(ending))
                data = io.BytesIO(members.extractfile(found).read())  # type: ignore[union-attr]
            values = (
                unpng(data, self._output)
                if ending.endswith("png")
                else np.lib.format.read_array(data, allow_pickle=False)
            )
        except Exception as error:  # decoders raise what they like for a damaged file
            what = f"Sample {entry['index']} in {path} cannot be read: {error}."
            raise DatasetError(what, "Was it moved or changed?") from error
        return self._checked(values, path)
