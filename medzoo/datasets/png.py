"""PNG: one file per picture, gray or RGB, of 8 or 16 bits.

Files are put together here, several times as fast as by Pillow, which tries five filters on each
row. Pictures get the filter Average, whose differences are mostly the smallest, and masks none. The
strategy Z_RLE looks for runs alone: noise has no other repetitions.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..config import Output
from ..config.columns import known_range, unit_range
from .formats import as_json, pictures_unfit, step_of
from .one_file_each import OneFileEach

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB = 0, 2  # types of colour
NONE, AVERAGE = 0, 3  # filters
DISCLAIMER = "Synthetic image, made by a generative model. Not for diagnosis."


class Png(OneFileEach):
    """Integers keep their 8 or 16 bits; floats are scaled from the value range to 8 bits."""

    encoder = "zlib"
    FLOAT: ClassVar[type[np.unsignedinteger[Any]]] = np.uint8

    @classmethod
    def unfit(cls, outputs: Mapping[str, Output]) -> list[str]:
        """Volumes, and pictures of another type."""
        return pictures_unfit(outputs, cls.fits)

    @classmethod
    def fits(cls, output: Output) -> bool:
        """Whether PNG can hold a picture. Float masks do not fit: grey levels would change them."""
        if output.kind not in {"image", "mask"} or len(output.shape) != 3:
            return False
        if output.dtype == "float32" and output.kind == "image":
            stored: Any = cls.FLOAT
        elif output.dtype in {"uint8", "uint16"}:
            stored = np.dtype(output.dtype)
        else:
            return False
        return output.shape[0] == 1 or (output.shape[0] == 3 and stored == np.uint8)

    @classmethod
    def step(cls, output: Output) -> float:
        """One grey level, for floats."""
        return step_of(output, np.iinfo(cls.FLOAT).max)

    def encode(
        self, values: NDArray[Any], output: Output, metadata: Mapping[str, Any]
    ) -> Iterable[tuple[str, bytes]]:
        """One file."""
        return [(".png", png(values, output, as_json(metadata), self.FLOAT))]

    @staticmethod
    def decode(paths: Sequence[Path], output: Output) -> NDArray[Any]:
        """The picture (C, H, W), with floats in their value range again."""
        return unpng(paths[0], output)


class Png16(Png):
    """Floats are scaled to 16 bits; integers are stored as by `Png`."""

    FLOAT = np.uint16


def png(
    values: NDArray[Any],
    output: Output,
    metadata: str,
    float_as: type[np.unsignedinteger[Any]] = np.uint8,
) -> bytes:
    """A picture (C, H, W) as PNG, with ``metadata`` (JSON) in its text chunk ``medzoo``."""
    if values.dtype.kind == "f":
        values = np.rint(unit_range(values, output) * np.iinfo(float_as).max).astype(float_as)
    pixels = values.transpose(1, 2, 0)  # (H, W, C)
    height, width, channels = pixels.shape
    depth, color = 8 * pixels.itemsize, GREY if channels == 1 else RGB
    texts = {"medzoo": metadata, "Comment": DISCLAIMER}
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)),
        *((b"tEXt", f"{key}\0{text}".encode("ascii")) for key, text in texts.items()),
        (b"IDAT", _packed(pixels, AVERAGE if output.kind == "image" else NONE)),
        (b"IEND", b""),
    ]
    return SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def _packed(pixels: NDArray[Any], filter_: int) -> bytes:
    """Pixels (H, W, C) as filtered and compressed rows; ``filter_`` is ``NONE`` or ``AVERAGE``."""
    height, step = len(pixels), pixels.shape[2] * pixels.itemsize  # bytes of a pixel
    rows = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">")).view(np.uint8)
    rows = rows.reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0], filtered[:, 1:] = filter_, rows
    if filter_ == AVERAGE:
        values = filtered[:, 1:]
        values[0, step:] -= rows[0, :-step] >> 1  # there is nothing above
        values[1:, :step] -= rows[:-1, :step] >> 1  # there is nothing at the left
        left, above = rows[1:, :-step], rows[:-1, step:]
        values[1:, step:] -= (left & above) + ((left ^ above) >> 1)  # half of the sum, no overflow
    deflate = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return deflate.compress(filtered.data) + deflate.flush()


def _chunk(name: bytes, data: bytes) -> bytes:
    """A part of the file: length, name, data and checksum."""
    part = name + data
    return struct.pack(">I", len(data)) + part + struct.pack(">I", zlib.crc32(part))


def unpng(file: Path | io.BytesIO, output: Output) -> NDArray[Any]:
    """A picture (C, H, W) from a PNG."""
    from PIL import Image

    with Image.open(file) as picture:
        values = np.array(picture)
    values = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    if output.dtype == "float32":
        low, high = known_range(output)
        most = 255 if values.dtype == np.uint8 else 65535
        values = values / np.float32(most) * np.float32(high - low) + np.float32(low)
    return values.astype(output.dtype, copy=False)
