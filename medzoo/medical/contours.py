"""Contours on the slices of a volume: the planes that they form, and what a plane encloses.

Heights are in slices: 0 is the first slice of the volume, 1 the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import library

Array = NDArray[Any]
SNAP = 6  # decimals of a pixel to which contours are rounded, so that borders meet pixel centres
QUARTER = 0.25  # slices: contours that are less apart lie in one plane
# millimetres by which rounded corners of two contours may be apart: with one decimal, 0.07 each
ROUNDING = 0.15
SAME = 0.02  # millimetres by which two copies of one contour may differ
OPEN = 1.5  # usual distances of planes: a wider one is a gap, in which slices stay empty
SPARSE = 2.5  # slices: between planes that are further apart, slices are filled with a warning


def largest_gap(heights: Sequence[Array], slice_mm: float, *, own_series: bool) -> float:
    """How far apart, in slices, contours of one plane may lie.

    A quarter of the distance between slices; or of the distance between planes, if that is smaller
    because the volume is coarser than the one on which the contours were drawn.

    Parameters
    ----------
    heights
        For each structure of the file, the heights of its contours.
    slice_mm
        Distance between slices in millimetres.
    own_series
        Whether the volume is the series on which the contours were drawn.
    """
    steps, several = [], False  # the distances of planes that are closer than slices
    for structure in heights:
        groups = _groups(structure, QUARTER)
        several |= len(groups) > 1
        members = [structure[group] for group in groups]
        # What differs by more than rounding is of several planes.
        steps += [_usual_step(group) for group in members if np.ptp(group) > 2 * QUARTER]
    if steps:
        return min(QUARTER, float(np.median(steps)) / 4)
    if not several and not own_series:  # the distance of planes is unknown
        return min(QUARTER, QUARTER / slice_mm)
    return QUARTER


def _usual_step(heights: Array) -> float:
    """The distance of planes: half of the way from lowest to highest has steps of it or more."""
    longest_first = np.sort(np.diff(np.sort(heights)))[::-1]
    covered = np.cumsum(longest_first)
    return float(longest_first[np.searchsorted(covered, covered[-1] / 2)])


def _groups(heights: Array, gap: float) -> list[NDArray[np.intp]]:
    """The indices of heights, lowest first, in groups that are further apart than ``gap``."""
    order = np.argsort(heights, kind="stable")
    parts = np.flatnonzero(np.diff(heights[order]) > gap + 1e-6) + 1
    return np.split(order, parts) if len(order) else []


class Planes:
    """The planes of one structure, and the slices that each of them covers.

    Parameters
    ----------
    heights
        The heights of its contours.
    gap
        See `largest_gap`.
    """

    def __init__(self, heights: Array, gap: float) -> None:
        self.members = _groups(heights, gap)  # of each plane, the indices of its contours
        self.heights = np.round([heights[group].mean() for group in self.members], 3)
        if self._closest() > 2 * QUARTER:  # else two of them might come to lie on one slice
            whole = np.rint(self.heights)
            near = np.abs(self.heights - whole) <= QUARTER
            self.heights = np.where(near, whole, self.heights)
        self.reach = max(1.0, self._closest())  # slices that each plane covers

    def _closest(self) -> float:
        return float(np.diff(self.heights).min()) if len(self.heights) > 1 else 1.0

    @property
    def gaps(self) -> int:
        """Between how many neighbouring planes there are slices that stay empty."""
        return int((np.diff(self.heights) > OPEN * self.reach).sum())

    @property
    def may_be_parts(self) -> bool:
        """Whether planes are so far apart that they may be separate parts of the structure.

        More than two planes on every second slice are taken for one part.
        """
        return self.reach > (OPEN if len(self.heights) == 2 else SPARSE)

    def outside(self, count: int) -> Array:
        """Which planes lie beyond the first or the last of ``count`` slices, bool."""
        return (self.heights < -0.5) | (self.heights >= count - 0.5)

    def of_slices(self, count: int) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """The contours of the nearest plane, for each of ``count`` slices that a plane covers."""
        heights, half = self.heights, self.reach / 2
        for k in range(count):
            above = int(np.searchsorted(heights, k))
            below = above - 1
            inner = 0 < above < len(heights)
            if inner:
                nearest = below if k - heights[below] < heights[above] - k else above
                inner = heights[above] - heights[below] <= OPEN * self.reach
            else:
                nearest = min(above, len(heights) - 1)
            if inner or heights[nearest] - half <= k < heights[nearest] + half:
                yield k, self.members[nearest]


def enclosed(
    outlines: Sequence[Array],
    shape: tuple[int, int],
    spacing: tuple[float, float],
    *,
    exclusive: bool = False,
) -> NDArray[np.bool_]:
    """The pixels whose centres the contours of one plane enclose.

    One contour encloses what `filled` returns. A contour within another is a hole in it, one within
    a hole is an island, a copy counts once, and all other contours are united.

    Parameters
    ----------
    outlines
        Corners (n, 2) of each, row and column; pixel centres have whole numbers.
    shape
        Rows and columns of the mask.
    spacing
        Millimetres between rows and columns.
    exclusive
        Whether contours are combined by XOR instead, as DICOM's CLOSEDPLANAR_XOR.
    """
    if exclusive:
        return filled(outlines, shape)
    largest_first, within = [0], {0: set[int]()}
    if len(outlines) > 1:
        largest_first, within = _nested(outlines, np.array(spacing))
    regions: dict[int, _Region] = {}
    mask = np.zeros(shape, bool)
    for n in reversed(largest_first):
        region = _Region.of(outlines[n], shape)
        for k, smaller in regions.items():
            if _is_next_within(k, n, within):
                region.remove(smaller)
        regions[n] = region
        if not within[n]:
            mask[region.window] |= region.inside
    return mask


def _is_next_within(inner: int, outer: int, within: dict[int, set[int]]) -> bool:
    """Whether a contour lies within another, without a third one between them."""
    return outer in within[inner] and not any(outer in within[k] for k in within[inner])


class _Region:
    """What one contour encloses, as pixels of the part of a slice that it lies in."""

    def __init__(self, first: Array, inside: NDArray[np.bool_]) -> None:
        self.first, self.inside = first, inside

    @classmethod
    def of(cls, outline: Array, shape: tuple[int, int]) -> _Region:
        first = np.clip(np.floor(outline.min(0)).astype(int), 0, shape)
        end = np.clip(np.ceil(outline.max(0)).astype(int) + 1, first, shape)
        rows, columns = (end - first).tolist()
        return cls(first, filled([outline - first], (rows, columns)))

    @property
    def end(self) -> Array:
        """Row and column after the last."""
        return self.first + self.inside.shape

    @property
    def window(self) -> tuple[slice, slice]:
        """Its rows and columns in the slice."""
        return _window(self.first, self.end)

    def remove(self, other: _Region) -> None:
        """Make a hole of what another encloses."""
        first = np.maximum(self.first, other.first)
        end = np.minimum(self.end, other.end)
        if (end > first).all():
            here = _window(first - self.first, end - self.first)
            there = _window(first - other.first, end - other.first)
            self.inside[here] &= ~other.inside[there]


def _window(first: Array, end: Array) -> tuple[slice, slice]:
    return slice(first[0], end[0]), slice(first[1], end[1])


def _nested(outlines: Sequence[Array], spacing: Array) -> tuple[list[int], dict[int, set[int]]]:
    """Contours without copies, the largest first; and for each, the contours that surround it."""
    scale = min(1.0, float(spacing.min()) / (4 * ROUNDING))  # at most a quarter of a pixel
    areas = [_area(outline * spacing) for outline in outlines]
    sizes = np.array([area.area for area in areas])
    bounds = np.array([area.bounds for area in areas])  # (n, 4): NaN if there is no area
    largest_first: list[int] = []
    within: dict[int, set[int]] = {}
    for n in np.argsort(-sizes, kind="stable").tolist():
        if not sizes[n]:
            continue
        larger = np.array(largest_first, int)
        around = (bounds[larger, :2] <= bounds[n, :2] + ROUNDING) & (
            bounds[larger, 2:] >= bounds[n, 2:] - ROUNDING
        )
        near = larger[around.all(1)].tolist()
        if any(_is_copy(areas[n], areas[k], SAME * scale) for k in near):
            continue
        within[n] = {k for k in near if _covers(areas[k], areas[n], ROUNDING * scale)}
        largest_first.append(n)
    return largest_first, within


def _is_copy(area: Any, larger: Any, tolerance: float) -> bool:
    """Whether two areas are equal up to a tolerance."""
    return (
        larger.area < 2 * area.area
        and _covers(larger, area, tolerance)
        and _covers(area, larger, tolerance)
    )


def _area(outline: Array) -> Any:
    """What one contour encloses, as polygons of shapely; a contour that crosses itself is split."""
    shapely = library("shapely", "contours")
    valid = shapely.make_valid(shapely.Polygon(outline))
    parts = shapely.get_parts(shapely.get_parts(valid))
    return shapely.union_all([part for part in parts if part.geom_type == "Polygon"])


def _covers(outer: Any, inner: Any, tolerance: float) -> bool:
    """Whether an area contains another, which may reach out of it by a tolerance."""
    return bool(outer.covers(inner) or outer.buffer(tolerance).covers(inner))


def filled(polygons: Sequence[Array], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose centres closed ``polygons`` enclose, by the even-odd rule.

    A polygon inside another cuts a hole. So does a keyhole: one polygon whose channel to the hole
    is drawn in both directions. A centre on a border belongs to the area right of it or below, so
    that polygons with a common border share no pixel and leave none out.

    Parameters
    ----------
    polygons
        Corners (n, 2) of each, row and column; pixel centres have whole numbers.
    shape
        Rows and columns of the mask.
    """
    height, width = shape
    # Where a row, read from the left, enters or leaves a polygon. Only odd or even counts.
    crossings = np.zeros((height, width + 1), np.uint8)
    for polygon in polygons:
        rows, columns = _edges_in_rows(np.asarray(polygon, float), height)
        entries = np.clip(np.ceil(columns), 0, width).astype(int)
        np.add.at(crossings, (rows, entries), 1)
    inside: NDArray[np.bool_] = np.cumsum(crossings, axis=1, dtype=np.uint8)[:, :width] % 2 == 1
    return inside


def _edges_in_rows(polygon: Array, height: int) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    """Where the edges of a polygon cross the rows of a mask: row numbers, and columns."""
    corner = np.round(polygon, SNAP)
    next_corner = np.roll(corner, -1, axis=0)
    # Both directions along an edge are computed in the same way, from its upper end.
    upwards = (corner[:, 0] > next_corner[:, 0])[:, None]
    start = np.where(upwards, next_corner, corner)
    end = np.where(upwards, corner, next_corner)
    first = np.clip(np.ceil(start[:, 0]), 0, height).astype(int)
    last = np.clip(np.ceil(end[:, 0]), 0, height).astype(int)
    count = last - first  # rows that each edge crosses
    edge = np.repeat(np.arange(len(start)), count)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    part = (row - start[edge, 0]) / (end[edge, 0] - start[edge, 0])
    column = np.round(start[edge, 1] + part * (end[edge, 1] - start[edge, 1]), SNAP)
    return row, column
