"""The structures of an RTSTRUCT, and their contours as masks."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..errors import InputError, MedzooWarning
from .contours import QUARTER, Planes, enclosed, largest_gap
from .files import DicomPaths, headers_of, reading, shown_path
from .roi_names import find_roi
from .rtstruct import read_rois, references
from .volumes import Volume, a_volume


@dataclass(frozen=True, eq=False)
class Structures:
    """The structures of an RTSTRUCT file.

    Parameters
    ----------
    contours : dict of str to list of array
        Name -> the closed planar contours, each (n, 3) in millimetres (x, y, z). Structures that
        share a name are listed with their numbers: ``Parotid R (7)``.
    series : frozenset of str, optional
        SeriesInstanceUIDs of the series on which the structures were drawn.
    frames : frozenset of str, optional
        FrameOfReferenceUIDs in which they were drawn.
    path : pathlib.Path, optional
        The file.
    roi_frames : mapping of str to str, optional
        Name -> the frame of reference of that structure, if the file states it.
    frame_series : mapping of str to frozenset of str, optional
        Frame of reference -> the series that the file refers to in it.
    exclusive : frozenset of str, optional
        Names of structures whose contours are combined by XOR (CLOSEDPLANAR_XOR).
    points : mapping of str to int, optional
        Name -> the number of closed contours that are left out because they have one or two points.
    broken : mapping of str to str, optional
        Name -> what is wrong, for structures that cannot be used. They are not in ``contours``.

    Examples
    --------
    >>> structures = medical.read_structures("patient7/")
    >>> sorted(structures.contours)
    ['GTV', 'Parotid R']
    >>> len(structures.contours["GTV"]), structures.contours["GTV"][0].shape
    (4, (400, 3))
    """

    contours: dict[str, list[NDArray[np.float64]]]
    series: frozenset[str] = frozenset()
    frames: frozenset[str] = frozenset()
    path: Path = Path()
    roi_frames: Mapping[str, str] = field(default_factory=dict)
    frame_series: Mapping[str, frozenset[str]] = field(default_factory=dict)
    exclusive: frozenset[str] = frozenset()
    points: Mapping[str, int] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)

    @checks.checked(volume=a_volume, pattern=checks.text)
    def mask(self, volume: Volume, pattern: str) -> NDArray[np.bool_]:
        """The voxels whose centres a structure encloses.

        Contours form a plane if their heights differ by less than a quarter of the distance between
        slices. A plane covers half the distance to the next ones on both sides: the distance
        between slices, or between planes, if contours were drawn on every second slice, say. A
        slice takes the plane nearest to it. In a plane, a contour within another is a hole, copies
        of a contour count once, and all other contours are united: see `medzoo.medical.contours`.

        A warning says how many planes lie outside of the volume.

        Parameters
        ----------
        volume : Volume
            The series on which the structure was drawn, or another in the same frame of reference,
            in any orientation.
        pattern : str
            Which structure: see `find_roi`.

        Returns
        -------
        array of bool
            (D, H, W), on the grid of ``volume``.

        Raises
        ------
        InputError
            No structure fits the pattern, or several do. The structure is broken or has no closed
            contour. It was drawn on another series, or at an angle to the slices.

        Examples
        --------
        >>> ct = medical.read_series("patient7/")
        >>> structures = medical.read_structures("patient7/")
        >>> mask = structures.mask(ct, "R parotid|Parotid R")
        >>> mask.shape, mask.any((1, 2)).nonzero()[0]
        ((12, 64, 64), array([4, 5, 6, 7]))
        """
        name = self._usable(pattern, volume)
        corners = _corners_in_voxels(self.contours[name], volume)
        axis = _axis_across(corners, name)
        own_series = not (volume.series and self.series) or volume.series in self.series
        gap = largest_gap(self._heights(volume, axis), volume.spacing[axis], own_series=own_series)
        planes = Planes(np.array([points[:, axis].mean() for points in corners]), gap)
        mask = np.zeros(volume.voxels.shape, bool)
        slices: NDArray[np.bool_] = np.moveaxis(mask, axis, 0)  # a view
        height, width = slices.shape[1:]
        in_plane = np.delete(np.arange(3), axis)  # the axes of rows and columns
        outlines = [points[:, in_plane] for points in corners]
        rows, columns = np.array(volume.spacing)[in_plane].tolist()
        for k, members in planes.of_slices(len(slices)):
            slices[k] = enclosed(
                [outlines[n] for n in members],
                (height, width),
                (rows, columns),
                exclusive=name in self.exclusive,
            )
        self._warn(name, planes, outlines, slices.shape)
        if own_series and planes.may_be_parts:
            self._warn_of_filled(name, planes)
        return mask

    def _usable(self, pattern: str, volume: Volume) -> str:
        """The name of a structure that can be drawn on the volume."""
        name = find_roi([*self.contours, *self.broken], pattern)
        if name in self.broken:
            raise InputError(
                f"{name!r} of {self.path} cannot be used: {self.broken[name]}.",
                "Export the structure again. The other structures of the file can be used.",
            )
        if not self.contours[name]:
            raise InputError(
                f"{name!r} of {self.path} has no closed contours.",
                "It has only a name, or points.",
            )
        if not self.drawn_on(volume, name):
            frame = self.roi_frames.get(name, "")
            within = f", in the frame of reference {frame}," if frame else ""
            drawn = ", ".join(sorted(self.series_of(name))) or "it does not say which"
            raise InputError(
                f"{name!r} of {self.path}{within} was drawn on another series than this one, "
                f"{volume.series}.",
                f"Read that series instead: {drawn}.",
            )
        return name

    def _heights(self, volume: Volume, axis: int) -> list[NDArray[np.float64]]:
        """For each structure, the heights of the first points of its contours, in slices."""
        heights = []
        for contours in self.contours.values():
            if contours:
                first_points = np.array([contour[0] for contour in contours])
                heights.append(volume.voxels_at(first_points)[:, axis])
        return heights

    def _warn(
        self,
        name: str,
        planes: Planes,
        outlines: list[NDArray[np.float64]],
        shape: tuple[int, ...],
    ) -> None:
        """Warn of what a mask lacks: contours, planes, parts of planes, slices between planes."""
        outside, count = planes.outside(shape[0]), len(planes.heights)
        beyond = 0
        for members, is_outside in zip(planes.members, outside, strict=True):
            points = np.concatenate([outlines[n] for n in members])
            beyond += not is_outside and bool((points <= -1).any() or (points > shape[1:]).any())
        lacking = []
        if left_out := self.points.get(name, 0):
            lacking.append(f"{left_out} of its contours are points or lines, and enclose nothing")
        if outside.any():
            lacking.append(f"{outside.sum()} of its {count} planes lie outside of the volume")
        if beyond:
            lacking.append(f"{beyond} of its {count} planes reach beyond the volume's borders")
        if 2 * planes.gaps > count - 1:
            lacking.append(
                f"{planes.gaps} of the {count - 1} gaps between its planes are wider than the "
                "others, and slices in them stay empty"
            )
        if lacking:
            message = f"The mask of {name!r} of {self.path} is not whole: {'; '.join(lacking)}."
            warnings.warn(MedzooWarning(message), stacklevel=4)

    def _warn_of_filled(self, name: str, planes: Planes) -> None:
        """Warn of planes so far apart that slices between them, without a contour, are filled."""
        message = (
            f"The planes of {name!r} of {self.path} are {planes.reach:g} slices apart, on the "
            "series that they were drawn on: the slices between them are filled from the nearest "
            "plane. That is wrong where they are separate parts of the structure"
        )
        warnings.warn(MedzooWarning(f"{message}."), stacklevel=4)

    @checks.checked(volume=a_volume, name=checks.optional(checks.text))
    def drawn_on(self, volume: Volume, name: str | None = None) -> bool:
        """Whether the volume is what the structures, or one of them, were drawn on.

        If both the structure and the volume state a frame of reference, it decides: the frames are
        equal, or the file refers to the volume's series in the structure's frame. (rt-utils writes
        such files, with a frame that it makes up.) Otherwise the series and the frames of the whole
        file decide. The answer is True if the file or the volume states neither.

        Parameters
        ----------
        volume : Volume
            A series.
        name : str, optional
            One structure, as it is named in ``contours``; by default the file as a whole.

        Returns
        -------
        bool

        Examples
        --------
        >>> ct = medical.read_series("patient7/")
        >>> medical.read_structures("patient7/").drawn_on(ct, "GTV")
        True
        """
        frame = self.roi_frames.get(name or "", "")
        if frame and volume.frame:
            return frame == volume.frame or volume.series in self.frame_series.get(frame, ())
        says = bool(self.series or self.frames) and bool(volume.series or volume.frame)
        return not says or volume.series in self.series or volume.frame in self.frames

    @checks.checked(name=checks.text)
    def series_of(self, name: str) -> frozenset[str]:
        """The series that the file refers to for one structure.

        Parameters
        ----------
        name : str
            The structure, as it is named in ``contours``.

        Returns
        -------
        frozenset of str
            SeriesInstanceUIDs; empty if the file states none.

        Examples
        --------
        >>> medical.read_structures("patient7/").series_of("GTV")
        frozenset({'1.2.3'})
        """
        return self.frame_series.get(self.roi_frames.get(name, ""), self.series)


def _corners_in_voxels(
    contours: list[NDArray[np.float64]], volume: Volume
) -> list[NDArray[np.float64]]:
    """The corners of each contour, (n, 3): slice, row and column."""
    corners = [volume.voxels_at(contour) for contour in contours]
    if not np.isfinite(np.concatenate(corners)).all():
        raise InputError(
            "The place of the volume in the patient is unknown.",
            "Read the whole series, with its positions and spacing.",
        )
    return corners


def _axis_across(corners: list[NDArray[np.float64]], name: str) -> int:
    """The axis of the volume at right angles to the contours."""
    extents = np.array([np.ptp(points, axis=0) for points in corners])  # (n, 3)
    largest = extents.max(axis=0)
    axis = int(np.argmin(largest))
    if largest[axis] > QUARTER:
        raise InputError(
            f"The contours of {name!r} leave the volume's slices by up to {largest[axis]:.2g} of "
            f"their distance, and {QUARTER} is allowed.",
            "Read the series on which they were drawn, unchanged.",
        )
    return axis


@checks.checked(path=checks.paths)
def read_structures(path: DicomPaths, *, series: str | None = None) -> Structures:
    """Read the structures of an RTSTRUCT file.

    A damaged structure raises an error only when it is asked for; the other structures can be used.

    Parameters
    ----------
    path : str, os.PathLike, or sequence of them
        An RTSTRUCT file; or a folder (with its subfolders) or a list of files that holds one.
    series : str, optional
        If there are several: the SeriesInstanceUID of the pictures on which it was drawn.

    Returns
    -------
    Structures
        Contours by the names of the structures.

    Raises
    ------
    InputError
        There is no RTSTRUCT, or more than one, or it cannot be read.

    Examples
    --------
    >>> structures = medical.read_structures("patient7/")
    >>> sorted(structures.contours)
    ['GTV', 'Parotid R']
    """
    with reading():
        headers = [h for h in headers_of(path) if h.get("Modality") == "RTSTRUCT"]
        chosen = headers
        if series is not None:
            chosen = [h for h in headers if series in _series_in(references(h))]
        if len(chosen) != 1:
            files = sorted(str(h.filename) for h in chosen or headers)
            drawn_on = f" drawn on {series}" if series else ""
            raise InputError(
                f"{shown_path(path)} has {len(chosen)} RTSTRUCT files{drawn_on}, but only one is "
                "allowed.",
                f"Give its file. There are {', '.join(files) or 'none at all'}.",
            )
        return structures_of(Path(chosen[0].filename))


def _series_in(frame_series: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*frame_series.values())


def structures_of(file: Path) -> Structures:
    """The structures of one RTSTRUCT file."""
    rois, frame_series = read_rois(file)
    occurrences = Counter(roi.name for roi in rois)
    contours, broken, roi_frames, points = {}, {}, {}, {}
    frames, exclusive = {*frame_series}, set()
    for roi in rois:
        frames.add(roi.frame)
        name = f"{roi.name} ({roi.number})" if occurrences[roi.name] > 1 else roi.name
        if roi.fault:
            broken[name] = roi.fault
        else:
            contours[name] = roi.contours
        if roi.frame:
            roi_frames[name] = roi.frame
        if roi.points:
            points[name] = roi.points
        if roi.exclusive:
            exclusive.add(name)
    return Structures(
        contours,
        _series_in(frame_series),
        frozenset(frames - {""}),
        file,
        roi_frames=roi_frames,
        frame_series=frame_series,
        exclusive=frozenset(exclusive),
        points=points,
        broken=broken,
    )
