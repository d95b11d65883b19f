"""Contours of an RTSTRUCT as masks, and the patients of a folder."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import checks
from .._worker.stage import natural
from ..errors import InputError, MedzooWarning
from .scans import (
    NIFTI,
    Given,
    files_of,
    headers_of,
    is_dicom,
    is_slice,
    library,
    reading,
    told,
    volume_of,
)
from .volumes import Volume, filled

if TYPE_CHECKING:
    from pydicom import Dataset

PLANE = 0.01  # slices by which the points of a contour may leave their plane


@dataclass(frozen=True, eq=False)
class Structures:
    """The structures of an RTSTRUCT.

    Parameters
    ----------
    contours
        Name -> the closed planar contours, each (n, 3) in millimetres (x, y, z). Two structures of
        one name are told apart by their numbers: ``Parotid R (7)``.
    series, frames
        What they were drawn on: identifiers of series and of frames of reference.
    path
        The file.
    """

    contours: dict[str, list[NDArray[np.float64]]]
    series: frozenset[str] = frozenset()
    frames: frozenset[str] = frozenset()
    path: Path = Path()

    @checks.checked(volume=checks.instance(Volume, "medical.read_series"), pattern=checks.text)
    def mask(self, volume: Volume, pattern: str) -> NDArray[np.bool_]:
        """The voxels whose centres a structure encloses.

        A contour stands for its plane, and half the way to the next ones on both sides: that is the
        distance between slices, or between planes, where contours were drawn on every second slice,
        say. A slice takes the plane nearest to it. Contours of one plane cut holes into each other,
        and so does a keyhole: see `medzoo.volumes.filled`.

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
            No structure fits, or several; it has no closed contour; it was drawn on something else,
            or at an angle to it.
        """
        name = find_roi(self.contours, pattern)
        if not self.contours[name]:
            raise InputError(
                f"{name!r} of {self.path} has no closed contours.",
                "It is a name without a shape, or a point.",
            )
        if not self.drawn_on(volume):
            raise InputError(
                f"{self.path} was drawn on another series than this one, {volume.series}.",
                f"Read that: {', '.join(sorted(self.series)) or 'it does not say which'}.",
            )
        found = [
            volume.voxels_at(c) for c in self.contours[name]
        ]  # (n, 3) each: slice, row, column
        axis = int(np.argmin([max(np.ptp(c[:, k]) for c in found) for k in range(3)]))
        if (off := max(np.ptp(c[:, axis]) for c in found)) > PLANE:
            raise InputError(
                f"The contours of {name!r} leave the volume's slices by up to {off:.2g} of their distance.",
                "Read the series that they were drawn on, as it is.",
            )
        mask = np.zeros(volume.voxels.shape, bool)
        slices = np.moveaxis(mask, axis, 0)  # a view
        others = [k for k in range(3) if k != axis]
        for k, chosen in _planes([float(c[:, axis].mean()) for c in found], len(slices)):
            slices[k] = filled([found[n][:, others] for n in chosen], slices[k].shape)
        return mask

    @checks.checked(volume=checks.instance(Volume, "medical.read_series"))
    def drawn_on(self, volume: Volume) -> bool:
        """Whether the volume is of the series or the frame of reference; true where either does not
        say.
        """
        says = bool(self.series or self.frames) and bool(volume.series or volume.frame)
        return not says or volume.series in self.series or volume.frame in self.frames


def _planes(heights: list[float], count: int) -> Iterator[tuple[int, list[int]]]:
    """For each of ``count`` slices that has any, the contours of the plane that stands for it."""
    rounded = np.round(heights, 2)
    planes = np.unique(rounded)
    reach = max(1.0, float(np.diff(planes).min())) if len(planes) > 1 else 1.0
    for k in range(count):
        standing = planes[
            (planes - reach / 2 <= k) & (k < planes + reach / 2)
        ]  # n slices each for planes n slices apart
        if len(standing):
            nearest = standing[np.argmin(np.abs(standing - k))]
            yield k, np.flatnonzero(rounded == nearest).tolist()


def read_structures(path: Given, *, series: str | None = None) -> Structures:
    """The structures of the one RTSTRUCT that ``path`` is, or that lies in the folder ``path``.

    Parameters
    ----------
    path
        A file, a folder with subfolders, or a list of files.
    series
        Where there are several, the SeriesInstanceUID of the pictures that it was drawn on.

    Raises
    ------
    InputError
        There is none, or more than one.
    """
    with reading():
        sets = [h for h in headers_of(path) if h.get("Modality") == "RTSTRUCT"]
        found = [h for h in sets if series is None or series in _drawn_on(h)[0]]
        if len(found) != 1:
            names = ", ".join(sorted(str(h.filename) for h in found or sets)) or "none at all"
            on = f" drawn on {series}" if series else ""
            raise InputError(
                f"{told(path)} has {len(found)} RTSTRUCT files{on}, where one is wanted.",
                f"Give its file. There is {names}.",
            )
        return _structures(Path(found[0].filename))


def _drawn_on(ds: Dataset) -> tuple[set[str], set[str]]:
    """Series and frames of reference that an RTSTRUCT refers to."""
    frames = list(ds.get("ReferencedFrameOfReferenceSequence") or [])
    studies = [s for f in frames for s in f.get("RTReferencedStudySequence") or []]
    series = {
        str(r.SeriesInstanceUID) for s in studies for r in s.get("RTReferencedSeriesSequence") or []
    }
    named = [f.get("FrameOfReferenceUID") for f in frames]
    named += [
        r.get("ReferencedFrameOfReferenceUID") for r in ds.get("StructureSetROISequence") or []
    ]
    return series, {str(f) for f in named if f}


def _structures(file: Path) -> Structures:
    ds = library("pydicom", "DICOM").dcmread(file)
    rois = {
        int(r.ROINumber): str(r.get("ROIName") or "")
        for r in ds.get("StructureSetROISequence") or []
    }
    names = list(rois.values())
    called = {k: f"{n} ({k})" if names.count(n) > 1 else n for k, n in rois.items()}
    contours: dict[str, list[NDArray[np.float64]]] = {name: [] for name in called.values()}
    for roi in ds.get("ROIContourSequence") or []:
        for contour in roi.get("ContourSequence") or []:
            points = _points(contour)
            closed = (
                str(contour.get("ContourGeometricType", ""))
                .replace("_", "")
                .startswith("CLOSEDPLANAR")
            )
            if closed and len(points) > 2 and int(roi.ReferencedROINumber) in called:
                contours[called[int(roi.ReferencedROINumber)]].append(points)
    series, frames = _drawn_on(ds)
    return Structures(contours, frozenset(series), frozenset(frames), file)


def _points(contour: Dataset) -> NDArray[np.float64]:
    """The corners (n, 3); from the file's own text, since pydicom makes an object of each of what
    may be a million numbers.
    """
    data = contour.get_item("ContourData")
    stored = data.value if data is not None else None
    texts = stored.split(b"\\") if isinstance(stored, bytes) else stored
    return np.array(texts or [], dtype=float).reshape(-1, 3)


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
            f"Name one of {', '.join(names) or 'none at all'}; several ways to write it are parted by |.",
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
    is not there, or cannot be read, the structures are passed over with a warning.

    Raises
    ------
    InputError
        There is no RTSTRUCT at all.
    """
    with reading():
        headers = headers_of(folder)
        sets = [
            (Path(h.filename), _drawn_on(h)[0]) for h in headers if h.get("Modality") == "RTSTRUCT"
        ]
        if not sets:
            raise InputError(
                f"{told(folder)} holds no RTSTRUCT.",
                "Give a folder with DICOM series and what was drawn on them.",
            )
    for file, series in sets:
        slices = [
            h for h in headers if is_slice(h) and str(h.get("SeriesInstanceUID", "")) in series
        ]
        problem, found = "the series that it was drawn on is not there.", None
        try:
            if slices:
                with reading():
                    found = Case(volume_of(slices), _structures(file))
        except InputError as error:
            problem = error.problem
        if found is None:
            warnings.warn(MedzooWarning(f"{file} is passed over: {problem}"), stacklevel=2)
        else:
            yield found


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
