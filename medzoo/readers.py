"""Picture files of any format as arrays, channels first. A further format is one more entry in
`READERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ._worker.stage import PICTURES

T = TypeVar("T")


class Reader(NamedTuple):
    """How to read one kind of file."""

    shape: Callable[[Path], tuple[int, ...]]  # from its header alone
    read: Callable[[Path, bool], NDArray[Any]]  # the second argument: whether it is a mask


def read(path: Path, *, mask: bool = False) -> NDArray[Any]:
    """A picture (C, H, W), in the type that it is stored in; (C, D, H, W) of a TIFF with several
    pages; a .npy as it is.

    Parameters
    ----------
    path
        A file in one of `READERS`.
    mask
        Whether a palette's numbers are wanted, rather than its colours.

    Raises
    ------
    ValueError
        It cannot be read.
    """
    return _tried(path, lambda known: known.read(path, mask))


def shape(path: Path) -> tuple[int, ...]:
    """The shape that `read` will give, without reading all of the file.

    Raises
    ------
    ValueError
        It cannot be read.
    """
    return _tried(path, lambda known: known.shape(path))


def _tried(path: Path, act: Callable[[Reader], T]) -> T:
    known = READERS.get(path.suffix.lower())
    if known is None:
        raise ValueError(f"{path.name} is none of {' '.join(sorted(READERS))}")
    try:
        return act(known)
    except Exception as error:  # a broken file makes Pillow raise almost anything
        raise ValueError(f"{path.name} cannot be read: {error}") from error


def _picture_shape(path: Path) -> tuple[int, ...]:
    from PIL import Image

    with Image.open(path) as image:
        pages = getattr(image, "n_frames", 1)
        colour = image.mode not in PLAIN and image.mode[0] != "I"
        channels = 3 if colour else len(image.getbands())
        return (channels, *([pages] if pages > 1 else []), image.height, image.width)


def _read_picture(path: Path, mask: bool) -> NDArray[Any]:
    from PIL import Image, ImageSequence

    with Image.open(path) as image:
        pages = [np.asarray(_plain(page, mask)) for page in ImageSequence.Iterator(image)]
    picture = np.stack(pages) if len(pages) > 1 else pages[0]  # (D, H, W[, C]) or (H, W[, C])
    flat = picture.ndim == 2 + (len(pages) > 1)
    return picture[None] if flat else np.moveaxis(picture, -1, 0)


PLAIN = {
    "1",
    "L",
    "LA",
    "RGB",
    "RGBA",
    "F",
}  # modes of Pillow that are what they say; those of whole numbers begin with I


def _plain(image: Any, mask: bool) -> Any:
    """Without a palette, or colours other than red, green and blue."""
    keep = image.mode in PLAIN or image.mode[0] == "I" or (mask and image.mode == "P")
    return image if keep else image.convert("RGB")


def mapped(path: Path) -> NDArray[Any]:
    """The array in a .npy file, read when it is asked for.

    Raises
    ------
    ValueError
        It is none, or holds what only pickle can read.
    """
    return _tried(path, lambda _: _map(path))


def _map(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _read_npy(path: Path, mask: bool) -> NDArray[Any]:  # noqa: ARG001
    return np.array(_map(path))


PICTURE = Reader(_picture_shape, _read_picture)
NPY = Reader(lambda path: _map(path).shape, _read_npy)
READERS = {suffix: NPY if suffix == ".npy" else PICTURE for suffix in PICTURES}
