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
    """Integers keep their 8 or 16 bits; floats are scaled from the value range to 8 bits."""

    encoder = "pillow"
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
        return [(".png", png(values, output, metadata, self.FLOAT))]

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
    metadata: Mapping[str, Any],
    float_as: type[np.unsignedinteger[Any]] = np.uint8,
) -> bytes:
    """A picture (C, H, W) as PNG, with ``metadata`` as JSON in its text chunk ``medzoo``."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    if values.dtype.kind == "f":
        values = np.rint(unit_range(values, output) * np.iinfo(float_as).max).astype(float_as)
    picture = values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)
    text = PngInfo()
    text.add_text("medzoo", json.dumps(metadata, sort_keys=True))
    text.add_text("Comment", "Synthetic image, made by a generative model. Not for diagnosis.")
    buffer = io.BytesIO()
    # Level 1 is four times as fast as the default level and makes files a fifth larger.
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
