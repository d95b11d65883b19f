"""A mask that a user draws with a brush and an eraser, for a model that takes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..config import Input, Version
from ..errors import InputError
from ..samples import Samples, shown

STROKES = 50  # that can be undone
MOST_POINTS = 10_000  # of a stroke
MOST_LABELS = 8  # values that a brush can have
SHADE = 0.6  # of the picture below the mask
COVER = 0.5  # of a region over the picture

Point = Sequence[float]


def mask_input(version: Version) -> Input | None:
    """The input of a version that takes a mask of a known size; None if there is none.

    A volume is a mask if the model gives it back as one.
    """
    for config in version.inputs.values():
        output = version.outputs.get(config.name)
        is_mask = config.kind == "mask" or (output is not None and output.kind == "mask")
        if is_mask and config.shape[:1] == (1,):
            return config
    return None


def labels_of(version: Version, config: Input) -> list[int]:
    """The values that a brush can have: those of the model's own masks, or 1."""
    output = version.outputs.get(config.name)
    high = output.value_range[1] if output is not None and output.value_range else 1
    return list(range(1, int(high) + 1)) if 1 <= high <= MOST_LABELS else [1]


@dataclass
class Drawing:
    """A mask, stroke by stroke.

    Parameters
    ----------
    values
        (1, H, W) or (1, D, H, W), uint8; 0 is the background.
    """

    values: NDArray[np.uint8]
    _before: list[NDArray[np.uint8]] = field(default_factory=list)

    @classmethod
    def blank(cls, config: Input) -> Drawing:
        """An empty mask of an input."""
        return cls(np.zeros(config.shape, np.uint8))

    def stroke(
        self, points: Sequence[Point], radius: float, value: int, section: int | None = None
    ) -> None:
        """Draw a line with a round brush, or erase with ``value`` 0.

        Parameters
        ----------
        points
            (x, y) in pixels; the middle of the first pixel is (0, 0).
        radius
            Of the brush in pixels, at least 0. In a volume the brush is a ball.
        value
            What is written, 0 to 255.
        section
            The axial section of a volume that is drawn on.

        Raises
        ------
        InputError
            A number is not valid. The mask stays as it was.
        """
        path = _path(points)
        radius = checks.between(radius, "radius", 0.0, float(max(self.values.shape)))
        value = checks.whole(value, "value", "a value of the mask", 0, 255)
        sections = self.values[0] if self.values.ndim == 4 else self.values
        middle = checks.whole(
            section or 0, "section", "the number of a section", 0, len(sections) - 1
        )
        after = self.values.copy()
        planes = after[0] if after.ndim == 4 else after
        for number in range(len(planes)):
            away = abs(number - middle)
            if away <= radius:
                reach = (radius**2 - away**2) ** 0.5
                planes[number][_near(path, reach, planes.shape[1:])] = value
        self._keep()
        self.values = after

    def replace(self, values: NDArray[np.uint8]) -> None:
        """Go on with another mask of the same shape."""
        if values.shape != self.values.shape:
            raise InputError(
                f"The mask has the shape {values.shape}.", f"It must be {self.values.shape}."
            )
        self._keep()
        self.values = values.astype(np.uint8)

    def undo(self) -> bool:
        """Take the last stroke back; returns whether there was one."""
        if self._before:
            self.values = self._before.pop()
            return True
        return False

    def pixels(
        self,
        samples: Samples,
        section: int | None = None,
        window: tuple[float, float] | None = None,
    ) -> NDArray[np.uint8]:
        """The mask over the first sample, (H, W, 3); over black if their sizes differ."""
        mask = shown.section(self.values, "axial", section)
        colours = np.zeros((*mask.shape[1:], 3))
        picture = shown.picture(samples, 0, "axial", section, window)
        if picture.shape[1:] == mask.shape[1:]:
            colours[:] = SHADE * np.moveaxis(picture, 0, -1)
        for value in np.unique(mask[mask > 0]):
            colour = shown.OUTLINES[(int(value) - 1) % len(shown.OUTLINES)]
            rgb = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
            region = mask[0] == value
            colours[region] = (1 - COVER) * colours[region] + COVER * np.array(rgb)
        pixels: NDArray[np.uint8] = np.rint(colours * 255).astype(np.uint8)
        return pixels

    def _keep(self) -> None:
        self._before = [*self._before[1 - STROKES :], self.values]


def _path(points: Sequence[Point]) -> NDArray[np.float64]:
    """The points of a stroke, (n, 2)."""
    problem = "A stroke is a list of points (x, y)."
    try:
        path = np.asarray(points, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(problem) from error
    if path.ndim != 2 or path.shape[1] != 2 or not 1 <= len(path) <= MOST_POINTS:
        raise InputError(problem, f"It has 1 to {MOST_POINTS:,} of them.")
    if not np.isfinite(path).all():
        raise InputError(problem, "Each number is finite.")
    return path


def _near(path: NDArray[np.float64], reach: float, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels (H, W) that are at most ``reach`` away from a line through points (x, y)."""
    near = np.zeros(size, bool)
    reach = max(reach, 0.5)
    ends = zip(path, [*path[1:], path[-1]], strict=True)
    for (x0, y0), (x1, y1) in ends:
        top, left = (max(0, int(min(ends) - reach)) for ends in ((y0, y1), (x0, x1)))
        bottom, right = (max(0, int(max(ends) + reach) + 2) for ends in ((y0, y1), (x0, x1)))
        part = near[top:bottom, left:right]
        rows, columns = np.indices(part.shape)
        x, y = columns + left - x0, rows + top - y0
        dx, dy = x1 - x0, y1 - y0
        length = dx * dx + dy * dy
        share = np.clip((x * dx + y * dy) / length, 0, 1) if length else 0.0
        part |= (x - share * dx) ** 2 + (y - share * dy) ** 2 <= reach**2
    return near
