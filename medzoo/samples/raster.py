"""Samples as pixels: one picture with its outlines, montages, animations. Pillow draws them."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .. import checks, files
from ..config.columns import Batch, spacing_of
from ..errors import DatasetError, InputError
from ..settings import user_path
from . import shown

if TYPE_CHECKING:
    from PIL import Image

MASKS = ("outline", "beside", "none")  # how masks and boxes are shown
COMMENT = "Synthetic images, made by a generative model. Not for diagnosis."
GAP = 2  # pixels between the pictures of a montage
LARGEST = 2**26  # pixels of a montage


def tile(
    samples: Batch,
    row: int,
    *,
    plane: str = "axial",
    at: int | None = None,
    window: tuple[float, float] | None = None,
    masks: str = "outline",
    scale: int = 1,
) -> NDArray[np.uint8]:
    """Sample number ``row`` as 8-bit pixels: (H, W) gray, or (H, W, 3) if anything is in colour.

    Parameters
    ----------
    samples, row, plane, at, window
        See `shown.picture`.
    masks
        ``"outline"`` draws masks and boxes on the picture, ``"beside"`` draws them filled on black
        to the right of it, ``"none"`` leaves them out.
    scale
        How many pixels wide and high a pixel of the sample becomes. If the sample's pixels are not
        square, the picture is stretched along one side so that its proportions are right.
    """
    values = np.rint(shown.picture(samples, row, plane, at, window) * 255).astype(np.uint8)
    name = shown.picture_column(samples.outputs, samples.columns)
    output = samples.outputs[name]
    high, wide = shown.pixel_size(output, plane)
    # All planes of a volume have the same scale.
    least = min(high, wide) if len(output.shape) == 3 else min(spacing_of(output))
    h, w = values.shape[1:]
    size = max(1, round(h * scale * high / least)), max(1, round(w * scale * wide / least))
    pixels = _resized(values, size)
    if masks == "none":
        return pixels
    marks = list(shown.overlays(samples, row, plane, at))
    boxes = list(shown.boxes_of(samples, row))
    if not marks and not boxes and masks == "outline":
        return pixels
    colours: NDArray[np.uint8] = _coloured(pixels).copy()
    if masks == "beside":
        beside = np.zeros_like(colours)
        for colour, region in marks:
            beside[_stretched(region, size)] = _rgb(colour)
        _draw_boxes(beside, boxes, (h, w))
        both: NDArray[np.uint8] = np.hstack([colours, beside])
        return both
    for colour, region in marks:
        colours[_edge(_stretched(region, size))] = _rgb(colour)
    _draw_boxes(colours, boxes, (h, w))
    return colours


def _coloured(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels (H, W) or (H, W, 3) as (H, W, 3)."""
    if pixels.ndim == 3:
        return pixels
    colours: NDArray[np.uint8] = np.repeat(pixels[..., None], 3, axis=2)
    return colours


def _resized(values: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture (C, H, W) as (H, W) or (H, W, 3) pixels of another size."""
    pixels = values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)
    if pixels.shape[:2] == size:
        return np.ascontiguousarray(pixels)
    h, w = pixels.shape[:2]
    if size[0] % h == 0 and size[1] % w == 0 and size[0] // h == size[1] // w:
        k = size[0] // h
        return np.repeat(np.repeat(pixels, k, axis=0), k, axis=1)
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))


def _stretched(region: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A region of another size, without values between True and False."""
    rows = np.arange(size[0]) * region.shape[0] // size[0]
    columns = np.arange(size[1]) * region.shape[1] // size[1]
    stretched: NDArray[np.bool_] = region[rows[:, None], columns[None]]
    return stretched


def _edge(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a region that have a neighbour outside of it; outside of the picture counts."""
    padded = np.pad(region, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: NDArray[np.bool_] = region & ~inside
    return edge


def _draw_boxes(
    colours: NDArray[np.uint8],
    boxes: Sequence[tuple[str, NDArray[np.float64]]],
    size: tuple[int, int],
) -> None:
    """Draw boxes, whose edges are in pixels of a picture of ``size``, into (H, W, 3) pixels."""
    high, wide = colours.shape[0] / size[0], colours.shape[1] / size[1]
    for colour, (left, top, right, bottom) in boxes:
        x0, x1 = (int(min(max(round(x * wide), 0), colours.shape[1])) for x in (left, right))
        y0, y1 = (int(min(max(round(y * high), 0), colours.shape[0])) for y in (top, bottom))
        region = np.zeros(colours.shape[:2], bool)
        region[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = True
        colours[_edge(region)] = _rgb(colour)


def _rgb(colour: str) -> tuple[int, int, int]:
    """``#ff6b35`` as three numbers."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return red, green, blue


def planes(
    samples: Batch,
    row: int,
    *,
    at: Sequence[int | None] = (None, None, None),
    window: tuple[float, float] | None = None,
    masks: str = "outline",
    scale: int = 1,
) -> NDArray[np.uint8]:
    """A sample as `tile` draws it; of a volume the three sections ``at``, side by side."""
    name = shown.picture_column(samples.outputs, samples.columns)
    tiles = []
    for plane, number in zip(shown.planes_of(samples.outputs[name]), at, strict=False):
        tiles.append(
            tile(samples, row, plane=plane, at=number, window=window, masks=masks, scale=scale)
        )
    return row_of(tiles) if len(tiles) > 1 else tiles[0]


def row_of(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures side by side on black, each in the middle of the row's height."""
    high = max(len(pixels) for pixels in tiles)
    padded = []
    for pixels in tiles:
        above = (high - len(pixels)) // 2
        rows = (above, high - len(pixels) - above)
        gap = (0, GAP if pixels is not tiles[-1] else 0)
        padded.append(np.pad(_coloured(pixels), (rows, gap, (0, 0))))
    joined = np.concatenate(padded, axis=1)
    return joined if any(pixels.ndim == 3 for pixels in tiles) else joined[..., 0].copy()


def sheet_of(tiles: Sequence[NDArray[np.uint8]], across: int) -> NDArray[np.uint8]:
    """Pictures in rows of ``across``, each in the middle of its cell, on black."""
    down = -(-len(tiles) // across)
    high = max(len(pixels) for pixels in tiles)
    wide = max(pixels.shape[1] for pixels in tiles)
    colours = any(pixels.ndim == 3 for pixels in tiles)
    size = (down * (high + GAP) - GAP, across * (wide + GAP) - GAP, *((3,) if colours else ()))
    sheet = np.zeros(size, np.uint8)
    for k, pixels in enumerate(tiles):
        h, w = pixels.shape[:2]
        y = k // across * (high + GAP) + (high - h) // 2
        x = k % across * (wide + GAP) + (wide - w) // 2
        shaped = pixels[..., None] if colours and pixels.ndim == 2 else pixels
        sheet[y : y + h, x : x + w] = shaped
    return sheet


def smaller(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Pixels whose longer side is at most ``longest``."""
    from PIL import Image

    h, w = pixels.shape[:2]
    factor = longest / max(h, w)
    if factor >= 1:
        return pixels
    size = max(1, round(w * factor)), max(1, round(h * factor))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def check_choice(value: object, name: str, choices: Sequence[str]) -> str:
    """One of a few texts.

    Raises
    ------
    InputError
        It is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise InputError(
            f"{name}={checks.shown(value)} is not possible.", f"Use {', '.join(choices)}."
        )
    return value


def montage(samples: Batch, n: int, columns: int | None, masks: str, scale: int) -> Image.Image:
    """The first ``n`` samples side by side, without any text. `Samples.montage` explains it.

    Raises
    ------
    InputError
        There is no sample or no picture, or the montage would be too large.
    """
    from PIL import Image

    check_choice(masks, "masks", MASKS)
    head = samples[:n]
    name = shown.picture_column(head.outputs, head.columns)
    if not len(head):
        raise InputError("There are no samples to draw.")
    first = planes(head, 0, masks=masks, scale=1)
    pixels = first.shape[0] * first.shape[1] * scale**2 * len(head)
    if pixels > LARGEST:
        raise InputError(
            f"A montage of {len(head)} samples at scale={scale} would have {pixels:,} pixels, "
            f"and at most {LARGEST:,} are possible.",
            "Choose a smaller n or scale.",
        )
    many = len(shown.planes_of(head.outputs[name]))
    across = min(columns or max(1, round((len(head) / many) ** 0.5)), len(head))
    tiles = [planes(head, row, masks=masks, scale=scale) for row in range(len(head))]
    return Image.fromarray(sheet_of(tiles, across))


def frames(samples: Batch, n: int, masks: str, scale: int) -> list[NDArray[np.uint8]]:
    """The frames of an animation: one sample after the other, or the axial sections of a volume."""
    head = samples[:n]
    name = shown.picture_column(head.outputs, head.columns)
    if not len(head):
        raise InputError("There are no samples to draw.")
    shape = head.outputs[name].shape
    if len(shape) == 3:
        return [tile(head, row, masks=masks, scale=scale) for row in range(len(head))]
    across = max(1, round(len(head) ** 0.5))
    sheets = []
    for at in range(shape[1]):
        tiles = [tile(head, r, at=at, masks=masks, scale=scale) for r in range(len(head))]
        sheets.append(sheet_of(tiles, across))
    return sheets


def write_gif(
    path: str | os.PathLike[str], pictures: Sequence[NDArray[np.uint8]], fps: float
) -> Path:
    """Write pictures of one size as an animation that repeats. A file that exists is replaced.

    Gray levels are exact, because a GIF has 256 of them.

    Raises
    ------
    InputError
        The name does not end in .gif.
    DatasetError
        The file cannot be written.
    """
    from PIL import Image

    target = user_path(path, "path")
    if target.suffix.lower() != ".gif":
        raise InputError(f"path={str(target)!r} is not a GIF.", "The name must end in .gif.")
    images = [Image.fromarray(pixels) for pixels in pictures]
    if any(image.mode == "RGB" for image in images):
        images = [image.convert("RGB").quantize(256) for image in images]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=images[1:],
        duration=max(20, round(1000 / fps)),
        loop=0,
        comment=COMMENT.encode(),
    )
    write(target, buffer.getvalue())
    return target


def png_of(pixels: NDArray[np.uint8], texts: Mapping[str, str] | None = None) -> bytes:
    """Pixels (H, W) or (H, W, 3) as PNG, with a comment that they are synthetic, and more texts."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    text, buffer = PngInfo(), io.BytesIO()
    text.add_text("Comment", COMMENT)
    for name, content in (texts or {}).items():
        text.add_text(name, content)
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=text, compress_level=6)
    return buffer.getvalue()


def write(path: Path, content: bytes) -> None:
    """Write a picture file, whole or not at all.

    Raises
    ------
    DatasetError
        It cannot be written.
    """
    try:
        with files.atomic(path) as file:
            file.write(content)
    except OSError as error:
        why = error.strerror or str(error)
        raise DatasetError(
            f"{path} could not be written: {why}.", "Choose another place."
        ) from error
