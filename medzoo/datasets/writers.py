"""One class a format. A writer gets batches and says, file by file, what it wrote."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..config import Output
from ..errors import InputError
from ..samples import Samples, unit_range

Line = dict[str, Any]


class Writer(Protocol):
    """Writes batches into a folder; used as a context manager, so that nothing is left open."""

    def __enter__(self) -> Writer: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def write(self, batch: Samples) -> Iterator[Line]:
        """Take a batch; yield the manifest's lines for the files that are complete by now."""

    def finish(self) -> Iterator[Line]:
        """Complete what is open; yield the remaining lines."""


def pick_format(asked: str | None, outputs: Mapping[str, Output]) -> str:
    """The format asked for, checked; without one PNG for flat pictures of 8 or 16 bits, else NPZ.

    Raises
    ------
    InputError
        The format is unknown or does not fit the columns.
    """
    misfits = [n for n, o in outputs.items() if o.kind != "label" and not _fits_png(o)]
    pictures = any(o.kind != "label" for o in outputs.values())
    if asked is None:
        return "png" if pictures and not misfits else "npz"
    if asked not in WRITERS:
        raise InputError(f"format={asked!r} is unknown.", f"Known are {', '.join(WRITERS)}.")
    if asked == "png" and (misfits or not pictures):
        raise InputError(f"format='png' cannot hold {', '.join(misfits) or 'labels alone'}.", "format='npz' holds anything.")
    return asked


def _fits_png(output: Output) -> bool:
    flat = output.kind in {"image", "mask"} and len(output.shape) == 3
    gray16 = output.dtype == "uint16" and output.shape[:1] == (1,)
    # Eight bits of a float picture are a picture still; of a float mask they need not be the mask.
    return (
        flat
        and output.shape[0] in (1, 3)
        and (output.dtype == "uint8" or gray16 or (output.dtype, output.kind) == ("float32", "image"))
    )


def open_writer(format: str, folder: Path, outputs: Mapping[str, Output], provenance: Mapping[str, Any]) -> Writer:  # noqa: A002
    """A writer of the given format into an existing folder."""
    return WRITERS[format](folder, outputs, provenance)


class PngWriter:
    """One file a picture, ``images/000007_malignant.png``, encoded beside the model in a few threads.

    Every picture says in its own metadata that it is synthetic, and of which model, version and seed. Float images are
    stored with 8 bits, from the column's value range.
    """

    def __init__(self, folder: Path, outputs: Mapping[str, Output], provenance: Mapping[str, Any]) -> None:
        self._folder, self._outputs, self._provenance = folder, outputs, provenance
        self._pictures = {n: o for n, o in outputs.items() if o.kind != "label"}
        self._pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="medzoo-png")
        self._pending: list[Future[list[Line]]] = []
        for name in self._pictures:
            (folder / name).mkdir(exist_ok=True)

    def __enter__(self) -> PngWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)

    def write(self, batch: Samples) -> Iterator[Line]:
        """Begin to encode a batch; yields the lines of the batch before."""
        yield from self.finish()  # the batch before: one batch at most is in flight
        columns = {name: getattr(batch, name) for name in batch.columns}
        rows = range(len(batch))
        chunks = [rows[k : k + 8] for k in rows[::8]]  # a task for each picture would cost more than the picture
        self._pending = [self._pool.submit(self._encode, columns, batch.indices, chunk) for chunk in chunks]

    def finish(self) -> Iterator[Line]:
        """Wait for the batch in flight; yields its lines."""
        pending, self._pending = self._pending, []
        for future in pending:
            yield from future.result()

    def _encode(self, columns: Mapping[str, NDArray[Any]], indices: NDArray[np.int64], rows: range) -> list[Line]:
        lines = []
        for row in rows:
            index = int(indices[row])
            labels = self._labels({n: int(columns[n][row]) for n, o in self._outputs.items() if o.kind == "label"})
            suffix = "".join("_" + re.sub(r"[^\w.-]+", "-", str(v)) for v in labels.values())
            for name, output in self._pictures.items():
                path = f"{name}/{index:06d}{suffix}.png"
                about = {"synthetic": True, "index": index, "column": name, **labels, **self._about()}
                data = png(columns[name][row], output, about)
                with files.atomic(self._folder / path) as file:
                    file.write(data)
                digest = hashlib.sha256(data).hexdigest()
                lines.append({"index": index, "column": name, "file": path, "sha256": digest, **labels})
        return lines

    def _labels(self, numbers: dict[str, int]) -> dict[str, str | int]:
        """Each label under its column's singular, by name where the config names the values."""
        names: Mapping[str, Mapping[str, str]] = self._provenance.get("label_names", {})
        return {_singular(n): names.get(n, {}).get(str(v), v) for n, v in numbers.items()}

    def _about(self) -> dict[str, Any]:
        return {k: self._provenance[k] for k in ("model", "version", "seed", "license") if k in self._provenance}


def _singular(column: str) -> str:
    return column.removesuffix("s")


def png(values: NDArray[Any], output: Output, about: Mapping[str, Any]) -> bytes:
    """A picture (C, H, W) as PNG, with ``about`` as JSON in its text chunk ``medzoo``."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    if values.dtype.kind == "f":
        values = np.rint(unit_range(values, output) * 255).astype(np.uint8)
    picture = values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)
    text = PngInfo()
    text.add_text("medzoo", json.dumps(about, sort_keys=True))
    text.add_text("Comment", "Synthetic image, made by a generative model. Not for diagnosis.")
    buffer = io.BytesIO()
    # Level 1 is four times as fast as the default for a fifth more bytes.
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG", compress_level=1, pnginfo=text)
    return buffer.getvalue()


class NpzWriter:
    """One file, ``samples.npz``, with every column and ``indices``; written column by column without holding them."""

    NAME = "samples.npz"

    def __init__(self, folder: Path, outputs: Mapping[str, Output], provenance: Mapping[str, Any]) -> None:  # noqa: ARG002
        self._folder = folder
        self._open = ExitStack()
        self._parts: dict[str, IO[bytes]] = {}
        self._shapes: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._n = 0

    def __enter__(self) -> NpzWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._open.close()
        finally:  # closing fails too where the disk is full
            for name in self._parts:
                self._part(name).unlink(missing_ok=True)

    def _part(self, name: str) -> Path:
        return self._folder / f".{name}.raw.part"

    def write(self, batch: Samples) -> Iterator[Line]:
        """Append a batch to each column's own file; yields nothing yet."""
        for name in (*batch.columns, "indices"):
            values = np.ascontiguousarray(getattr(batch, name))
            if name not in self._parts:
                self._parts[name] = self._open.enter_context(self._part(name).open("w+b"))
                self._shapes[name] = (values.dtype, values.shape[1:])
            self._parts[name].write(values.reshape(-1).view(np.uint8).data)
        self._n += len(batch)
        yield from ()

    def finish(self) -> Iterator[Line]:
        """Put the columns together into one file; yields its line."""
        path = self._folder / self.NAME
        with files.atomic(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, part in self._parts.items():
                dtype, shape = self._shapes[name]
                # A fixed date, so that equal samples make equal files.
                entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
                with archive.open(entry, "w", force_zip64=True) as member:
                    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (self._n, *shape)}
                    np.lib.format.write_array_header_1_0(member, header)
                    part.seek(0)
                    shutil.copyfileobj(part, member, 2**20)
        yield {"file": self.NAME, "sha256": files.sha256_of(path), "samples": self._n, "columns": sorted(self._parts)}


WRITERS: dict[str, type[PngWriter] | type[NpzWriter]] = {"png": PngWriter, "npz": NpzWriter}
