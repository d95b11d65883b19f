"""Real and synthetic pictures handled alike: the same size, depth, window and file history.

Real pictures keep what their files did to them: they were reduced, rounded, and often saved as
JPEG. A reader could learn to see that instead of the model, so each synthetic picture goes through
the history of a real file, and every picture is rounded as coarsely as the coarser side.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import Output
from ..config.columns import known_range, unit_range
from ..errors import InputError
from ..evaluation.data import Data
from ..evaluation.folders import resized
from ..evaluation.matching import GREY, require_same_pictures, unit_of
from ..inputs import pictures

DARKER = 4.0  # times that one side may be brighter than the other before their depths are doubted
Unit = NDArray[np.float32]  # a picture (C, H, W) in [0, 1]


@dataclass(frozen=True)
class History:
    """How the file of a picture was stored.

    Parameters
    ----------
    size : tuple of int
        Height and width.
    tables : dict, optional
        The quantisation tables, if it is a JPEG file.
    sampling : int
        How a JPEG file stores colour, in the numbers of Pillow; -1 for grey.
    """

    size: tuple[int, int]
    tables: dict[int, list[int]] | None = None
    sampling: int = -1


def history_of(path: Path) -> History:
    """The history of a file that can be read."""
    shape = pictures.shape(path)
    if path.suffix.lower() not in {".jpg", ".jpeg"}:
        return History((shape[-2], shape[-1]))
    from PIL import Image
    from PIL.JpegImagePlugin import get_sampling

    with Image.open(path) as image:
        tables = getattr(image, "quantization", None)
        sampling = get_sampling(image) if tables and image.mode != "L" else -1
    return History((shape[-2], shape[-1]), tables, sampling)


@dataclass(frozen=True)
class Handling:
    """How the pictures of both sides become what readers see.

    Parameters
    ----------
    synthetic, real : Output
        The columns of pictures.
    window : tuple of float
        The part of [0, 1] that is shown from black to white.
    """

    synthetic: Output
    real: Output
    window: tuple[float, float]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what is shown."""
        height, width = self.synthetic.shape[-2:]
        return height, width

    def of_real(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """A real picture, which was brought to the size when it was read."""
        return self._shown(unit_range(values, self.real))

    def of_synthetic(self, values: NDArray[Any], history: History | None) -> NDArray[np.uint8]:
        """A synthetic picture, after the history of a real file."""
        unit = unit_range(values, self.synthetic)
        return self._shown(self._aged(unit, history) if history else unit)

    def _aged(self, unit: Unit, history: History) -> Unit:
        larger = history.size[0] * history.size[1] > self.size[0] * self.size[1]
        # Repeated pixels are restored exactly when they are averaged again.
        stored = resized(self._stored(unit), history.size, mask=larger)
        if history.tables and stored.dtype == np.uint8:
            stored = _through_jpeg(stored, history)
        return unit_range(resized(stored, self.size, mask=False), self.real)

    def _stored(self, unit: Unit) -> NDArray[Any]:
        """Values as real files hold them."""
        low, high = known_range(self.real)
        values = unit.astype(np.float64) * (high - low) + low
        if np.dtype(self.real.dtype).kind in "iu":
            values = np.rint(values)
        stored: NDArray[Any] = values.astype(self.real.dtype)
        return stored

    def _shown(self, unit: Unit) -> NDArray[np.uint8]:
        """Rounded as both sides are, through the window, in 8 bits: (H, W) or (H, W, 3)."""
        for steps in (steps_of(self.synthetic), steps_of(self.real)):
            if steps:
                unit = (np.rint(unit * np.float32(steps)) / np.float32(steps)).astype(np.float32)
        low, high = self.window
        scaled = np.clip((unit - low) / (high - low), 0, 1) * 255
        pixels = np.rint(scaled).astype(np.uint8)
        return pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)


def steps_of(output: Output) -> int:
    """How many steps whole numbers have from black to white; 0 for floats."""
    low, high = known_range(output)
    return round(high - low) if np.dtype(output.dtype).kind in "iu" else 0


def _through_jpeg(values: NDArray[Any], history: History) -> NDArray[Any]:
    """A picture (C, H, W) of uint8, saved as a JPEG file with given tables and read again."""
    from PIL import Image

    grey = len(values) == 1
    image = Image.fromarray(values[0] if grey else np.ascontiguousarray(values.transpose(1, 2, 0)))
    tables = [history.tables[key] for key in sorted(history.tables)] if history.tables else []
    options: dict[str, Any] = {"qtables": tables[:1] if grey else tables}
    if not grey and history.sampling >= 0:
        options["subsampling"] = history.sampling
    buffer = io.BytesIO()
    image.save(buffer, format="jpeg", **options)
    with Image.open(buffer) as read:
        array = np.asarray(read)
    return array[None] if grey else np.moveaxis(array, -1, 0)


def handling(synthetic: Data, real: Data, notes: list[str]) -> Handling:
    """Check that both sides can be shown alike, and say in ``notes`` what is done to them.

    Raises
    ------
    InputError
        They differ in kind, channels, unit or shape, or one is many times darker.
    """
    one, other = _pictures(synthetic, "model"), _pictures(real, "real")
    require_same_pictures(one, other, "real", notes)
    if unit_of(one) != GREY:
        other = replace(other, range=known_range(one))  # the same HU is the same grey
    low, high = known_range(one)
    window = (0.0, 1.0)
    if one.window is not None:
        centre, width = one.window
        ends = [(value - low) / (high - low) for value in (centre - width / 2, centre + width / 2)]
        window = (ends[0], ends[1])
    found = Handling(one, other, window)
    _require_brightness(synthetic, real, found)
    _describe(real, found, notes)
    return found


def _pictures(side: Data, role: str) -> Output:
    name = side.column("image")
    if name is None:
        has = ", ".join(f"{n} ({o.kind})" for n, o in side.samples.outputs.items())
        raise InputError(
            f"{role}: there are no pictures in {side.name}, only {has}.",
            "A reader study shows flat pictures; of volumes, give slices.",
        )
    return side.samples.outputs[name]


def values_of(side: Data) -> NDArray[Any]:
    """The pictures (N, C, H, W) of a side."""
    values: NDArray[Any] = getattr(side.samples, str(side.column("image")))
    return values


def _require_brightness(synthetic: Data, real: Data, found: Handling) -> None:
    """Raise InputError if one side is so dark that its files hold fewer bits than their type."""
    levels = []
    for side, output in ((synthetic, found.synthetic), (real, found.real)):
        values = values_of(side)[:200]
        levels.append(float(np.quantile(unit_range(values, output), 0.999)))
    one, other = levels
    if min(levels) == 0 or max(levels) / min(levels) > DARKER:
        raise InputError(
            f"The brightest pixels of the synthetic pictures are at {one:.0%} of their range, and "
            f"those of the real ones at {other:.0%}.",
            "Such as 12 bits in files of 16 bits. Scale the real pictures to the full range.",
        )


def _describe(real: Data, found: Handling, notes: list[str]) -> None:
    histories: Sequence[History] = real.inspected
    sizes = sorted({history.size for history in histories} - {found.size})
    height, width = found.size
    if sizes:
        listed = ", ".join(f"{h}x{w}" for h, w in sizes[:3]) + (", ..." if len(sizes) > 3 else "")
        notes.append(
            f"Real pictures of {listed} pixels were brought to {height}x{width}. Synthetic "
            "pictures were brought to such a size and back in the same way."
        )
    lossy = sum(history.tables is not None for history in histories)
    if lossy:
        notes.append(
            f"{lossy} of {len(histories)} real pictures come from JPEG files, which lose detail. "
            "Synthetic pictures were saved once with the same quantisation tables."
        )
    steps = [steps_of(found.synthetic), steps_of(found.real)]
    if steps[0] != steps[1]:
        named = ["floats" if not s else f"{s + 1} levels" for s in steps]
        notes.append(
            f"Synthetic pictures have {named[0]} and real ones {named[1]}: both were rounded to "
            "the fewer."
        )
    if found.window != (0.0, 1.0):
        notes.append(f"Both are shown through the window {found.synthetic.window}.")
