"""Contours of an RTSTRUCT as masks, and the patients of a folder."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import checks
from .._worker.input_files import natural
from ..errors import InputError, MedzooWarning
from ..settings import user_path
from .contours import QUARTER, Planes, enclosed, largest_gap
from .nifti import NIFTI
from .rtstruct import read_rois, references
from .scans import (
    Given,
    files_of,
    headers_of,
    is_dicom,
    is_slice,
    read_series,
    reading,
    told,
    volume_of,
)
from .volumes import Volume

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True, eq=False)
class Structures:
    """The structures of an RTSTRUCT.

    Parameters
    ----------
    contours
        Name -> the closed planar contours, each (n, 3) in millimetres (x, y, z). Two structures of
        one name are distinguished by their numbers: ``Parotid R (7)``.
    series, frames
        What they were drawn on: identifiers of series and of frames of reference.
    path
        The file.
    roi_frames
        Name -> the frame of reference of that structure, where the file states one.
    frame_series
        Frame of reference -> the series that the file refers to in it.
    exclusive
        The names of structures whose contours are combined by XOR (CLOSEDPLANAR_XOR).
    points
        Name -> how many closed contours are left out, since they have one or two points.
    broken
        Name -> what is wrong, for structures that cannot be used. They are not in ``contours``.
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

    @checks.checked(volume=checks.instance(Volume, "medical.read_series"), pattern=checks.text)
    def mask(self, volume: Volume, pattern: str) -> NDArray[np.bool_]:
        """The voxels whose centres a structure encloses.

        Contours form a plane where their heights differ by less than a quarter of the distance
        between slices. A plane covers half the distance to the next ones on both sides: that is the
        distance between slices, or between planes, where contours were drawn on every second slice,
        say. A slice takes the plane nearest to it. In a plane, a contour within another is a hole,
        copies of a contour count once, and all else is united: see `medzoo.medical.contours`.

        A warning says how many planes lie outside of the volume.

        Parameters
        ----------
        volume
            The series that it was drawn on, or another in the same frame of reference, in any
            orientation.
        pattern
            Which structure: see `find_roi`.

        Returns
        -------
        array
            (D, H, W) bool.

        Raises
        ------
        InputError
            No structure fits, or several; it is broken; it has no closed contour; it was drawn on
            something else, or at an angle to it.
        """
        name = self._usable(pattern, volume)
        corners = [
            volume.voxels_at(contour) for contour in self.contours[name]
        ]  # (n, 3) each: slice, row, column
        if not all(np.isfinite(points).all() for points in corners):
            raise InputError(
                "The place of the volume in the patient is unknown.",
                "Read the whole series, with its positions and spacing.",
            )
        axis = int(np.argmin([max(np.ptp(c[:, k]) for c in corners) for k in range(3)]))
        if (off := max(np.ptp(c[:, axis]) for c in corners)) > QUARTER:
            raise InputError(
                f"The contours of {name!r} leave the volume's slices by up to {off:.2g} of their "
                f"distance, and {QUARTER} is allowed.",
                "Read the series that they were drawn on, as it is.",
            )
        own_series = not (volume.series and self.series) or volume.series in self.series
        heights = self._heights(volume, axis)
        gap = largest_gap(heights, volume.spacing[axis], own_series=own_series)
        planes = Planes(np.array([c[:, axis].mean() for c in corners]), gap)
        mask = np.zeros(volume.voxels.shape, bool)
        slices = np.moveaxis(mask, axis, 0)  # a view
        rows, columns = [k for k in range(3) if k != axis]
        outlines = [c[:, [rows, columns]] for c in corners]
        shape = (mask.shape[rows], mask.shape[columns])
        spacing = (volume.spacing[rows], volume.spacing[columns])
        for k, chosen in planes.of_slices(len(slices)):
            slices[k] = enclosed(
                [outlines[n] for n in chosen], shape, spacing, exclusive=name in self.exclusive
            )
        self._warn(name, planes, outlines, (len(slices), *shape))
        if own_series and planes.may_be_parts:
            self._warn_of_filled(name, planes)
        return mask

    def _usable(self, pattern: str, volume: Volume) -> str:
        """The name of a structure that can be drawn on the volume."""
        name = find_roi([*self.contours, *self.broken], pattern)
        if name in self.broken:
            raise InputError(
                f"{name!r} of {self.path} cannot be used: {self.broken[name]}.",
                "Export the structure again; others of the file can be used.",
            )
        if not self.contours[name]:
            raise InputError(
                f"{name!r} of {self.path} has no closed contours.",
                "It is a name without a shape, or a point.",
            )
        if not self.drawn_on(volume, name):
            frame = self.roi_frames.get(name, "")
            within = f", in the frame of reference {frame}," if frame else ""
            raise InputError(
                f"{name!r} of {self.path}{within} was drawn on another series than this one, "
                f"{volume.series}.",
                "Read that series instead: "
                f"{', '.join(sorted(self.series_of(name))) or 'it does not say which'}.",
            )
        return name

    def _heights(self, volume: Volume, axis: int) -> list[NDArray[np.float64]]:
        """For each structure, how high its contours begin, in slices."""
        return [
            volume.voxels_at(np.array([contour[0] for contour in contours]))[:, axis]
            for contours in self.contours.values()
            if contours
        ]

    def _warn(
        self,
        name: str,
        planes: Planes,
        outlines: list[NDArray[np.float64]],
        shape: tuple[int, int, int],
    ) -> None:
        """Warn of what a mask lacks: contours, planes, parts of planes, slices between planes."""
        outside, count = planes.outside(shape[0]), len(planes.heights)
        beyond = sum(
            any(outlines[n].min() <= -1 or (outlines[n] > shape[1:]).any() for n in members)
            for members, out in zip(planes.members, outside, strict=True)
            if not out
        )
        lacking = []
        if points := self.points.get(name, 0):
            lacking.append(f"{points} of its contours are points or lines, and enclose nothing")
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
            f"The planes of {name!r} of {self.path} are {planes.reach:g} slices apart, on the series "
            "that they were drawn on: the slices between them are filled from the nearest plane. "
            "That is wrong where they are separate parts of the structure"
        )
        warnings.warn(MedzooWarning(f"{message}."), stacklevel=4)

    @checks.checked(
        volume=checks.instance(Volume, "medical.read_series"), name=checks.optional(checks.text)
    )
    def drawn_on(self, volume: Volume, name: str | None = None) -> bool:
        """Whether the volume is what the structures, or the one of that name, were drawn on.

        A structure's own frame of reference decides, where both state one: it is the volume's, or
        the file refers to the volume's series in it, as rt-utils does, which makes up the frame.
        Else the series and the frames of the file decide. True where either does not say.
        """
        frame = self.roi_frames.get(name or "", "")
        if frame and volume.frame:
            return frame == volume.frame or volume.series in self.frame_series.get(frame, ())
        says = bool(self.series or self.frames) and bool(volume.series or volume.frame)
        return not says or volume.series in self.series or volume.frame in self.frames

    def series_of(self, name: str) -> frozenset[str]:
        """The series that the file refers to for one structure."""
        return self.frame_series.get(self.roi_frames.get(name, ""), self.series)


def read_structures(path: Given, *, series: str | None = None) -> Structures:
    """The structures of the one RTSTRUCT that ``path`` is, or that lies in the folder ``path``.

    A structure that is damaged is refused when it is asked for; the others can be used.

    Parameters
    ----------
    path
        A file, a folder with subfolders, or a list of files.
    series
        Where there are several, the SeriesInstanceUID of the pictures that it was drawn on.

    Raises
    ------
    InputError
        There is none, or more than one, or the file cannot be read.
    """
    with reading():
        sets = [h for h in headers_of(path) if h.get("Modality") == "RTSTRUCT"]
        chosen = [h for h in sets if series is None or series in _series_in(references(h))]
        if len(chosen) != 1:
            names = ", ".join(sorted(str(h.filename) for h in chosen or sets)) or "none at all"
            on = f" drawn on {series}" if series else ""
            raise InputError(
                f"{told(path)} has {len(chosen)} RTSTRUCT files{on}, but only one is allowed.",
                f"Give its file. There are {names}.",
            )
        return _structures(Path(chosen[0].filename))


def _series_in(frame_series: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*frame_series.values())


def _structures(file: Path) -> Structures:
    rois, frame_series = read_rois(file)
    names = [roi.name for roi in rois]
    called = [f"{r.name} ({r.number})" if names.count(r.name) > 1 else r.name for r in rois]
    rois_by_name = dict(zip(called, rois, strict=True))
    frames = {*frame_series, *(roi.frame for roi in rois)} - {""}
    return Structures(
        {name: roi.contours for name, roi in rois_by_name.items() if not roi.fault},
        _series_in(frame_series),
        frozenset(frames),
        file,
        roi_frames={name: roi.frame for name, roi in rois_by_name.items() if roi.frame},
        frame_series=frame_series,
        exclusive=frozenset(name for name, roi in rois_by_name.items() if roi.exclusive),
        points={name: roi.points for name, roi in rois_by_name.items() if roi.points},
        broken={name: roi.fault for name, roi in rois_by_name.items() if roi.fault},
    )


def read_mask(
    path: str | os.PathLike[str],
    pattern: str,
    *,
    series: str | None = None,
    frame: int | None = None,
) -> tuple[Volume, NDArray[np.bool_]]:
    """A structure of the one RTSTRUCT in a folder, and the series in it that it was drawn on.

    Parameters
    ----------
    path
        The folder; subfolders count.
    pattern
        Which structure: see `find_roi`.
    series
        The SeriesInstanceUID of one of them, where the structure refers to several.
    frame
        As for `read_series`.

    Returns
    -------
    volume, mask
        The series, and the voxels (D, H, W) of it that the structure encloses.

    Raises
    ------
    InputError
        As `read_structures`, `read_series` and `Structures.mask`; or the structure refers to
        several series of the folder, and ``series`` does not choose.
    """
    structures = read_structures(path, series=series)
    name = find_roi([*structures.contours, *structures.broken], pattern)
    referenced = structures.series_of(name)
    if series is None and len(referenced) > 1:
        with reading():
            headers = [h for h in headers_of(path) if is_slice(h)]
        present = {str(h.get("SeriesInstanceUID", "")): h for h in headers}
        referenced &= present.keys()
        if len(referenced) > 1:
            raise InputError(
                f"{name!r} of {structures.path} refers to {len(referenced)} series of "
                f"{told(path)}.",
                "Give a folder with one of them, or choose by series=: "
                + "; ".join(_described(present[uid]) for uid in sorted(referenced)),
            )
    volume = read_series(path, series=series or next(iter(referenced), None), frame=frame)
    return volume, structures.mask(volume, name)


def _described(header: Dataset) -> str:
    """A series as an error lists it."""
    name = str(header.get("SeriesDescription", "without a description"))
    return f"{header.get('Modality', '?')} {name!r}, {header.get('SeriesInstanceUID', '')}"


def split_structure(text: str | os.PathLike[str]) -> tuple[Path, str] | None:
    """Folder and structure of ``FOLDER#STRUCTURE``; None if the folder does not exist.

    Both may have a ``#`` in their names. The longest path that exists is the folder.
    """
    parts = os.fspath(text).split("#")
    for k in range(len(parts) - 1, 0, -1):
        folder = user_path("#".join(parts[:k]) or ".").absolute()
        if folder.exists():
            return folder, "#".join(parts[k:])
    return None


def find_roi(names: Iterable[str], pattern: str) -> str:
    """The one name that a pattern fits.

    Parameters
    ----------
    names
        Such as the contours of `Structures`.
    pattern
        Names parted by ``|``, such as ``R parotid|Parotid R|Rt Parotid``. Case, spaces, ``_``,
        ``-`` and other marks make no difference: ``PAROTID_R`` fits. ``*`` stands for anything:
        ``parotid*r``.

    Raises
    ------
    InputError
        None fits, or more than one; lists the names.
    """
    names = list(names)
    if pattern in names:
        return pattern
    wanted = [plain for part in pattern.split("|") if (plain := _plain(part))]
    fit = [
        name
        for name in names
        if any(fnmatchcase(_plain(name).replace("*", ""), plain) for plain in wanted)
    ]
    if len(fit) != 1:
        what = (
            f"{len(fit)} structures are {pattern!r}: {', '.join(fit)}"
            if fit
            else f"No structure is {pattern!r}"
        )
        raise InputError(
            f"{what}.",
            f"Name one of {', '.join(names) or 'none at all'}; "
            "several ways to write it are parted by |.",
        )
    return fit[0]


def _plain(name: str) -> str:
    return re.sub(r"[^\w*]|_", "", name.casefold())


class Case(NamedTuple):
    """A series and the structures that were drawn on it."""

    volume: Volume
    structures: Structures


def cases(folder: Given) -> Iterator[Case]:
    """Every RTSTRUCT beneath a folder with the series that it was drawn on, one in memory at a
    time.

    Files may lie in any order, in one folder or in many: a patient, or hundreds. Where the series
    is not there, or cannot be read, or is one of several, the structures are skipped with a
    warning. A warning names structures that are damaged; the others of their file can be used.

    Raises
    ------
    InputError
        There is no RTSTRUCT at all.
    """
    with reading():
        headers = headers_of(folder)
        sets = [h for h in headers if h.get("Modality") == "RTSTRUCT"]
        slices: dict[str, list[Dataset]] = {}
        for header in filter(is_slice, headers):
            slices.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(header)
    if not sets:
        raise InputError(
            f"{told(folder)} holds no RTSTRUCT.",
            "Give a folder with DICOM series and what was drawn on them.",
        )
    for file in [Path(h.filename) for h in sets]:
        try:
            with reading():
                case = _case(file, slices)
        except InputError as error:
            warnings.warn(MedzooWarning(f"{file} is skipped: {error.problem}"), stacklevel=2)
            continue
        for name, fault in case.structures.broken.items():
            warnings.warn(MedzooWarning(f"{name!r} of {file} is skipped: {fault}."), stacklevel=2)
        yield case


def _case(file: Path, slices: dict[str, list[Dataset]]) -> Case:
    """The structures of a file, with the one series that they were drawn on."""
    structures = _structures(file)
    present = sorted(structures.series & slices.keys())
    if not present:
        raise InputError("the series that it was drawn on is not there.", "Add its folder.")
    if len(present) > 1:
        listed = "; ".join(_described(slices[uid][0]) for uid in present)
        raise InputError(
            f"it refers to {len(present)} series that are there: {listed}.",
            "Read the series of your choice, and the structures alone.",
        )
    return Case(volume_of(slices[present[0]]), structures)


def scans_in(path: Path) -> list[Path]:
    """What a path is or holds that can be read here: NIfTI files, a DICOM file, or the folder of a
    series; else nothing.
    """
    if path.is_file():
        return [path] if path.name.lower().endswith(NIFTI) or is_dicom(path) else []
    if not path.is_dir():
        return []
    volumes = [
        p for p in path.iterdir() if p.name.lower().endswith(NIFTI) and not p.name.startswith(".")
    ]
    if volumes:
        return sorted(volumes, key=lambda p: natural(p.name))
    return [path] if any(is_dicom(file) for file in files_of(path)) else []
