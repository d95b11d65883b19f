"""PNG: one file per picture, gray or RGB, of 8 or 16 bits."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..config import Output
from ..config.columns import known_range, unit_range
from .formats import pictures_unfit, step_of
from .one_file_each import OneFileEach


class Png(OneFileEach):
    """8 or 16 bits as the column's type has them; floats are stored with 8, from the column's value
    range.
    """

    encoder = "pillow"
    FLOAT: ClassVar[type[np.unsignedinteger[Any]]] = np.uint8

    @classmethod
    def unfit(cls, outputs: Mapping[str, Output]) -> list[str]:
        """Volumes, and pictures of another type."""
        return pictures_unfit(outputs, cls.fits)

    @classmethod
    def fits(cls, output: Output) -> bool:
        """Whether PNG can hold a picture; of a float mask, steps of gray need not be the mask."""
        flat = output.kind in {"image", "mask"} and len(output.shape) == 3
        channels = (
            (1,)
            if output.dtype == "uint16" or (output.dtype == "float32" and cls.FLOAT is np.uint16)
            else (1, 3)
        )
        known = output.dtype in {"uint8", "uint16"} or (output.dtype, output.kind) == (
            "float32",
            "image",
        )
        return flat and known and output.shape[0] in channels

    @classmethod
    def step(cls, output: Output) -> float:
        """Of floats, a gray level."""
        return step_of(output, np.iinfo(cls.FLOAT).max)

    def encode(
        self, values: NDArray[Any], output: Output, about: Mapping[str, Any]
    ) -> Iterable[tuple[str, bytes]]:
        """One file."""
        return [(".png", png(values, output, about, self.FLOAT))]

    @staticmethod
    def decode(paths: Sequence[Path], output: Output) -> NDArray[Any]:
        """The picture, floats in their value range again."""
        return unpng(paths[0], output)


class Png16(Png):
    """Floats with 16 bits; integers as `Png` has them."""

    FLOAT = np.uint16


def png(
    values: NDArray[Any],
    output: Output,
    about: Mapping[str, Any],
    float_as: type[np.unsignedinteger[Any]] = np.uint8,
) -> bytes:
    """A picture (C, H, W) as PNG, with ``about`` as JSON in its text chunk ``medzoo``."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    if values.dtype.kind == "f":
        values = np.rint(unit_range(values, output) * np.iinfo(float_as).max).astype(float_as)
    picture = values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)
    text = PngInfo()
    text.add_text("medzoo", json.dumps(about, sort_keys=True))
    text.add_text("Comment", "Synthetic image, made by a generative model. Not for diagnosis.")
    buffer = io.BytesIO()
    # Level 1 is four times as fast as the default for a fifth more bytes.
    Image.fromarray(np.ascontiguousarray(picture)).save(
        buffer, "PNG", compress_level=1, pnginfo=text
    )
    return buffer.getvalue()


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
