"""Picture files of any format as arrays, channels first. A further format is one more entry in
`READERS`.

Pillow decodes the files. It would cut colours of 16 bits to 8, and it cannot read rare kinds of
TIFF: for those, imagecodecs and tifffile of the extra ``medical`` are used. Where Pillow's values
differ from those that the file means, they are corrected here, or the file is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import files
from .._worker.input_files import PICTURES

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile as Image

T = TypeVar("T")
Array = NDArray[Any]

ORIENTATION = 274  # the EXIF and TIFF tag: how the camera or scanner was held
TURNED = (5, 6, 7, 8)  # its values for which rows become columns
MARKS = (b"eXIf", b"exif", b"Orientation")  # every PNG that states an orientation has one of them
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # the TIFF tag, and its value for stored negatives
BITS_PER_SAMPLE = 258
SAMPLE_FORMAT = 339  # the TIFF tag: 1 is unsigned, 2 signed, 3 float
NEEDS_EXTRA = "its kind of pixels needs the extra: pip install medzoo[medical]"
TRANSPARENT = "parts of it are transparent. Save it without transparency"


class Header(NamedTuple):
    """What a file is, before all of it is read."""

    shape: tuple[int, ...]  # (C, H, W), or (C, D, H, W); C counts an alpha channel too
    deep: bool  # whether its values are whole numbers of more than 8 bits
    fractions: bool  # whether they are floats
    plain: bool  # 8 bits, grey or RGB, which every program reads alike


class Reader(NamedTuple):
    """How to read one kind of file."""

    header: Callable[[Path], Header]
    read: Callable[[Path, bool], Array]  # the second argument: whether it is a mask


def read(path: Path, *, mask: bool = False) -> Array:
    """A picture (C, H, W) in the type in which it is stored, rotated by its EXIF orientation.

    A TIFF with several pages gives (C, D, H, W). A ``.npy`` file is returned unchanged. Grey levels
    of 1, 2 and 4 bits become 8 bits in an image, and stay numbers in a mask. If there is a palette,
    an image gets the colours and a mask the numbers. An opaque alpha channel is left out.

    Parameters
    ----------
    path
        A file of one of the formats in `READERS`.
    mask
        Whether to return numbers rather than brightness or colours.

    Raises
    ------
    ValueError
        It cannot be read, or only with changed values.
    """
    return _tried(path, lambda reader: reader.read(path, mask))


def header(path: Path) -> Header:
    """What `read` will return, without reading all of the file.

    Raises
    ------
    ValueError
        It cannot be read.
    """
    return _tried(path, lambda reader: reader.header(path))


def shape(path: Path) -> tuple[int, ...]:
    """The shape that `read` will return, including an alpha channel that it may leave out.

    Raises
    ------
    ValueError
        It cannot be read.
    """
    return header(path).shape


def _tried(path: Path, act: Callable[[Reader], T]) -> T:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path.name} is none of {' '.join(sorted(READERS))}")
    try:
        return act(reader)
    except Exception as error:  # a broken file makes Pillow raise almost anything
        if disguise := files.disguise(path):
            raise ValueError(f"{path.name} is {disguise}") from error
        raise ValueError(f"{path.name} cannot be read: {error}") from error


def _picture_header(path: Path) -> Header:
    with _opened(path) as image:
        if image is None:
            picture = _by_tifffile(path)
            whole = picture.dtype.kind in "iu" and picture.dtype.itemsize > 1
            return Header(picture.shape, whole, picture.dtype.kind == "f", plain=False)
        _check(image)
        pages, orientation = _pages(image), _orientation(image, path)
        height, width = image.height, image.width
        if orientation in TURNED and image.format != "TIFF":  # Pillow has turned a TIFF's size
            height, width = width, height
        depth = (pages,) if pages > 1 else ()
        plain = (
            image.mode in {"L", "RGB"}
            and _raw_mode(image) in {"L", "RGB", "BGR"}
            and getattr(image, "n_frames", 1) == 1
            and orientation == 1
            and "transparency" not in image.info
            and not (image.format == "TIFF" and _tiff_kind(image) != "u")
        )
        deep = _is_deep_colour(image) or image.mode[0] == "I"
        shape = (_channels(image), *depth, height, width)
        return Header(shape, deep, image.mode == "F", plain and not deep)


def _read_picture(path: Path, mask: bool) -> Array:
    from PIL import ImageSequence

    with _opened(path) as image:
        if image is None:
            return _opaque(_by_tifffile(path))
        _check(image)
        if _is_deep_colour(image):
            return _opaque(_deep_colour(path, image))
        if _has_bytes_exchanged(image):
            return _by_tifffile(path)
        if _pages(image) == 1:  # of an MPO, the first is the picture
            return _opaque(_channels_first(_page(image, mask)))
        pages = [_channels_first(_page(page, mask)) for page in ImageSequence.Iterator(image)]
    sizes = sorted({page.shape for page in pages})
    if len(sizes) > 1:
        raise ValueError(f"its {len(pages)} pages differ in size or channels: {sizes[:3]}")
    return _opaque(np.stack(pages, axis=1))


@contextmanager
def _opened(path: Path) -> Iterator[Image | None]:
    """A file opened by Pillow; None for a TIFF with pixels that Pillow does not know.

    Pillow gets the open file, not its path: with a path, it maps uncompressed TIFFs into memory,
    and scrambles those whose orientation exchanges rows and columns.
    """
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError
    from PIL.ImageFile import ImageFile

    with path.open("rb") as file:
        try:
            image = Pillow.open(file)
        except UnidentifiedImageError:
            file.seek(0)
            if file.read(2) in {b"II", b"MM"}:
                yield None
                return
            raise ValueError("cannot identify its format") from None
        with image:
            assert isinstance(image, ImageFile)  # noqa: S101
            yield image


def _page(image: Image, mask: bool) -> Array:
    """One picture (H, W) or (H, W, C), with the values that the file means."""
    from PIL import ImageOps

    raw = _raw_mode(image)
    kind = _tiff_kind(image) if image.format == "TIFF" else "u"
    negative = image.format == "TIFF" and image.getexif().get(PHOTOMETRIC) == WHITE_IS_ZERO
    image.load()
    turned = ImageOps.exif_transpose(image)
    array: Array = np.asarray(_without_palette(turned, mask))
    if array.dtype == np.uint8 and kind == "i":
        array = array.view(np.int8)
    elif array.dtype == np.int32 and kind == "u" and "32" in raw:
        array = array.view(np.uint32)
    if negative:
        array = _from_negative(array, mask)
    if array.dtype == bool and not mask:
        array = array.astype(np.uint8) * np.uint8(255)
    if mask and _is_lossy(image) and not np.isin(array, (0, 255)).all():
        raise ValueError("JPEG has changed the numbers of a mask. Save it as PNG")
    if mask and array.dtype == np.uint8 and raw[:3] in {"L;2", "L;4"}:
        array = array // np.uint8(85 if raw[2] == "2" else 17)  # Pillow spreads them to 0..255
    if array.dtype.itemsize > 1 and not mask and (array == turned.info.get("transparency")).any():
        raise ValueError(TRANSPARENT)  # of 8 bits, an alpha channel has it
    return array


def _without_palette(image: Any, mask: bool) -> Any:
    """An image with RGB instead of a palette, and alpha instead of a transparent colour."""
    if mask and image.mode == "P":
        return image
    if "transparency" in image.info and image.mode in {"P", "L", "RGB"} and not mask:
        return image.convert("LA" if image.mode == "L" else "RGBA")
    if image.mode in {"1", "L", "LA", "RGB", "RGBA", "F"} or image.mode[0] == "I":
        return image
    return image.convert("RGBA" if image.mode == "PA" else "RGB")


def _from_negative(array: Array, mask: bool) -> Array:
    """Values of a TIFF in which 0 is white, as values in which 0 is black."""
    if array.dtype == np.uint16:
        array = np.uint16(65535) - array
    elif array.dtype not in {np.dtype(bool), np.dtype(np.uint8)}:  # Pillow has inverted those
        raise ValueError(f"0 is white in it, which has no meaning for {array.dtype}")
    if mask and array.dtype != bool:
        raise ValueError("0 is white in it, so its numbers are not labels. Save it as an array")
    return array


def _check(image: Image) -> None:
    """Refuse pictures whose meaning as grey or RGB is not clear."""
    raw = _raw_mode(image)
    if image.mode in {"CMYK", "LAB"}:
        raise ValueError(
            f"its colours are {image.mode}, which mean something on one device. Save it as RGB"
        )
    if "X" in raw.partition(";")[0]:
        raise ValueError("it has channels beside its colours. Give an array with all of them")
    if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise ValueError("it is an animation. Save its pictures one by one")


def _pages(image: Image) -> int:
    return getattr(image, "n_frames", 1) if image.format == "TIFF" else 1


def _channels(image: Image) -> int:
    raw = _raw_mode(image)
    if raw.startswith("LA"):
        return 2
    if image.mode in {"1", "L", "F"} or image.mode[0] == "I":
        return 1
    return len(image.getbands()) if image.mode in {"LA", "RGB", "RGBA"} else 3


def _raw_mode(image: Image) -> str:
    """How the file stores its pixels, as Pillow calls it: ``RGB;16B`` is read as 8 bits."""
    if not image.tile:
        return image.mode
    arguments = image.tile[0][3]
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return raw if isinstance(raw, str) else image.mode


def _tiff_kind(image: Image) -> str:
    """The kind of the numbers in a TIFF: u, i or f, as in numpy."""
    formats = np.atleast_1d(image.getexif().get(SAMPLE_FORMAT, 1))
    return {1: "u", 2: "i", 3: "f"}.get(int(formats[0]), "u")


def _is_lossy(image: Image) -> bool:
    return image.format in {"JPEG", "MPO"} or "jpeg" in str(image.info.get("compression"))


def _orientation(image: Image, path: Path) -> int:
    """The EXIF orientation, 1 if upright. A PNG is decoded for it only if it has one of `MARKS`."""
    if image.format == "PNG":
        content = path.read_bytes()
        if not any(mark in content for mark in MARKS):
            return 1
    return int(image.getexif().get(ORIENTATION, 1))


def _has_bytes_exchanged(image: Image) -> bool:
    """Whether Pillow would return numbers with their bytes in the wrong order.

    libtiff brings compressed big-endian pixels to the order of this machine. Pillow knows that of
    unsigned 16 bits alone, and exchanges the bytes of signed ones and of 32 bits once more.
    """
    if image.format != "TIFF" or not image.tile or image.tile[0][0] != "libtiff":
        return False
    return _raw_mode(image) in {"I;16BS", "I;32B", "I;32BS", "F;32BF"}


def _is_deep_colour(image: Image) -> bool:
    """Whether Pillow would cut colours to 8 bits."""
    bits: Any = image.getexif().get(BITS_PER_SAMPLE, 8) if image.format == "TIFF" else 8
    return image.mode[0] not in "IF" and ("16" in _raw_mode(image) or bool(np.max(bits) > 8))


def _deep_colour(path: Path, image: Image) -> Array:
    """A picture of 16 bits in each of several channels (C, H, W)."""
    if image.format == "TIFF":
        return _by_tifffile(path)
    try:
        import imagecodecs
    except ImportError as error:
        raise ValueError(NEEDS_EXTRA) from error
    picture: Array = imagecodecs.png_decode(path.read_bytes())
    return np.moveaxis(_upright(picture, _orientation(image, path)), -1, 0)


def _by_tifffile(path: Path) -> Array:
    """A TIFF (C, H, W) with numbers that Pillow does not read, or reads with changes."""
    try:
        import tifffile
    except ImportError as error:
        raise ValueError(NEEDS_EXTRA) from error
    with tifffile.TiffFile(path) as file:
        page, count = file.pages[0], len(file.pages)
        kind = page.photometric.name if page.photometric is not None else "unknown"
        alpha = [name.name for name in page.extrasamples]
        if count > 1 or kind not in {"MINISBLACK", "RGB"} or alpha not in ([], ["UNASSALPHA"]):
            extra = f" with {', '.join(alpha).lower()}" if alpha else ""
            raise ValueError(
                f"it holds {page.dtype} of {count} pages, {kind.lower()}{extra}. Give an array"
            )
        picture = page.asarray()
        if picture.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            picture = np.moveaxis(picture, 0, -1)
        turned = page.tags.get(ORIENTATION)
    return _channels_first(_upright(picture, int(turned.value) if turned else 1))


def _upright(picture: Array, orientation: int) -> Array:
    """(H, W, ...), rotated by its EXIF orientation."""
    if orientation in TURNED:
        picture = picture.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        picture = picture[::-1]
    if orientation in {2, 3, 6, 7}:
        picture = picture[:, ::-1]
    return picture


def _channels_first(page: Array) -> Array:
    return page[None] if page.ndim == 2 else np.moveaxis(page, -1, 0)


def _opaque(picture: Array) -> Array:
    """A picture without its alpha channel; an error if any pixel is transparent."""
    if len(picture) not in {2, 4}:
        return picture
    if (picture[-1] != np.iinfo(picture.dtype).max).any():
        raise ValueError(TRANSPARENT)
    return picture[:-1]


def mapped(path: Path) -> Array:
    """The array in a ``.npy`` file, mapped into memory.

    Raises
    ------
    ValueError
        The file is not of this format, or only pickle could read it.
    """
    return _tried(path, lambda _: _map(path))


def _map(path: Path) -> Array:
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _npy_header(path: Path) -> Header:
    array = _map(path)
    deep = array.dtype.kind in "iu" and array.dtype.itemsize > 1
    return Header(array.shape, deep, array.dtype.kind == "f", plain=False)


def _read_npy(path: Path, mask: bool) -> Array:  # noqa: ARG001
    return np.array(_map(path))


PICTURE = Reader(_picture_header, _read_picture)
NPY = Reader(_npy_header, _read_npy)
READERS = {suffix: NPY if suffix == ".npy" else PICTURE for suffix in PICTURES}
