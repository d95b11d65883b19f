"""How many bits a package reads, and how pictures with more bits are scaled.

Whole numbers above 255 are scaled from 0..2^b - 1 to 0..255. b is the number of bits that the
largest value of all pictures needs: 12 for a mammogram of 0..4095, even if its file could hold
more. All pictures of an input are scaled in the same way, so that they stay comparable, and the
provenance records both ranges. Labels are never scaled.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import Input
from ..errors import InputError, MedzooWarning
from ..files import atomic

Array = NDArray[Any]

BYTE = 255  # the largest number of 8 bits
DARK = 16  # of 256 grey levels: if nearly all pixels fall into these, the user is warned
BRIGHT = 0.001  # the share of the pixels that has to be brighter than that


class Depth:
    """The bits that a package reads of one input, and the scale of the user's pictures.

    Parameters
    ----------
    config
        The input. Its ``bits`` are 8, 16, or 0 if the config does not state them.
    to_files
        Whether the package reads files. Packages that read arrays take any type, unless the config
        states ``bits``.
    deep
        The pictures with whole numbers of more than 8 bits, one after another.
    only
        Whether ``deep`` holds all of the pictures.
    fractions
        Whether there are pictures of floats.

    Raises
    ------
    InputError
        The pictures do not fit into the bits, or one scale cannot fit all of them.
    """

    def __init__(
        self,
        config: Input,
        *,
        to_files: bool,
        deep: Iterable[Array],
        only: bool,
        fractions: bool,
    ) -> None:
        self.bits = config.bits or (8 if to_files else 0)
        self._to_files, self._labels = to_files, config.kind == "mask"
        self._top = 0  # the value that becomes 255, if whole numbers are scaled
        self.notes: dict[str, Any] = {}  # for the provenance
        if not self.bits:
            return
        if fractions and not self._labels:
            self.notes = {"scaled": {"from": [0, 1], "to": [0, BYTE]}}
        histogram = _bits_of(deep)
        bits = int(histogram.nonzero()[0].max(initial=0))  # of the largest value
        if bits <= self.bits:
            return
        name = f"inputs: {config.name} holds whole numbers of {bits} bits"
        if self._labels:
            raise InputError(
                f"{name}, and the labels that this model reads end at {2**self.bits - 1}.",
                f"Renumber the labels. {config.help}",
            )
        if not config.bits:
            raise InputError(
                f"{name}, and its config does not say that this model reads more than 8.",
                f"Scale them to 0..255 first. {config.help}",
            )
        if self.bits > 8:
            raise InputError(f"{name}, but this model reads 16.", f"Scale them. {config.help}")
        if not only or fractions:
            raise InputError(
                f"{name} beside others of 8 bits or floats, so one scale cannot fit all.",
                "Give pictures of one type.",
            )
        self._top = 2**bits - 1
        self.notes = {"scaled": {"from": [0, self._top], "to": [0, BYTE]}}
        scale = (
            f"{config.name}: 0 to {self._top} was scaled to 0 to {BYTE}, as this model reads 8 bits"
        )
        # Numbers of fewer bits than this are below level 16 after scaling.
        brighter = histogram[bits - 3 :].sum() / histogram.sum()
        if brighter < BRIGHT:
            scale += (
                f". All but {brighter:.3%} of the pixels are among the {DARK} darkest levels then: "
                "scale them yourself, without the brightest ones"
            )
        warnings.warn(MedzooWarning(f"{scale}."), stacklevel=2)

    def converted(self, picture: Array) -> Array:
        """A picture in the type that the package reads.

        Raises
        ------
        ValueError
            Its values do not allow that. For a package that reads files, `write_png` raises the
            error instead.
        """
        if not self.bits or not picture.size:
            return picture
        low, high = picture.min(), picture.max()
        if self._labels and picture.dtype.kind == "f":  # whole numbers, stored as floats
            if high >= 2**self.bits:
                raise ValueError(
                    f"it holds labels up to {high:g}, and those that this model reads end at "
                    f"{2**self.bits - 1}"
                )
            picture = picture.astype(np.int64)
        if picture.dtype.kind == "f" and 0 <= low <= high <= 1:
            picture = np.rint(picture * BYTE).astype(np.uint8)
        elif picture.dtype.kind in "iu" and low >= 0:
            picture = self._whole(picture, int(high))
        elif not self._to_files:
            raise ValueError(f"it holds {low:g} to {high:g}. Give 0 to 255, or floats from 0 to 1")
        return picture

    def _whole(self, picture: Array, high: int) -> Array:
        """Whole numbers from 0."""
        if self._top:
            return np.rint(picture * (BYTE / self._top)).astype(np.uint8)
        if high <= BYTE and not (self.bits > 8 and picture.dtype == np.uint16):
            return picture.astype(np.uint8)
        return picture.astype(np.uint16)


def _bits_of(pictures: Iterable[Array]) -> NDArray[np.int64]:
    """How many values need 0, 1, 2 ... 64 bits. `Depth.converted` refuses those below zero."""
    histogram = np.zeros(65, np.int64)
    for picture in pictures:
        if picture.dtype.kind in "iu":
            bits = max(0, int(picture.max(initial=0))).bit_length()
            steps = [int(np.count_nonzero(picture >= 2**k)) for k in range(bits)]
            counts = np.array([picture.size, *steps, 0])  # of values with at least 0, 1, 2 ... bits
            histogram[: bits + 1] -= np.diff(counts)
    return histogram


def write_png(config: Input, which: str, picture: Array, path: Path) -> str:
    """Write a picture (C, H, W) of 8 or 16 bits for a package that reads files; returns its path.

    Raises
    ------
    InputError
        It has other values, or a number of channels that PNG does not have.
    """
    from PIL import Image

    if path.exists():
        return str(path)
    low, high = picture.min(), picture.max()
    flat = picture.ndim == 3 and (
        picture.dtype == np.uint8 or (picture.dtype == np.uint16 and len(picture) == 1)
    )
    if not flat or len(picture) not in {1, 3, 4}:
        is_a = f"{picture.dtype} of shape {picture.shape}, from {low:g} to {high:g}"
        raise InputError(
            f"inputs: {which} cannot be saved as PNG, which the package reads: {is_a}.",
            f"Give 0 to 255, floats from 0 to 1, or files. {config.help}",
        )
    image = Image.fromarray(
        picture[0] if len(picture) == 1 else np.ascontiguousarray(np.moveaxis(picture, 0, -1))
    )
    with atomic(path) as file:  # complete or absent: another thread may look for it
        image.save(file, "PNG")
    return str(path)
