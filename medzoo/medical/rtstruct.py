"""The content of an RTSTRUCT file: structures, contours, and the series that they refer to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .files import read_dicom

if TYPE_CHECKING:
    from pydicom import Dataset

# ContourGeometricType (PS3.3, C.8.8.6) without its underscores, which some programs leave out
CLOSED, EXCLUSIVE = "CLOSEDPLANAR", "CLOSEDPLANARXOR"
WITHOUT_AREA = {"POINT", "OPENPLANAR", "OPENNONPLANAR"}


@dataclass
class Roi:
    """One structure of a file.

    Parameters
    ----------
    name
        As the file states it.
    number
        Its ROINumber; None if the file has none.
    frame
        The UID of its frame of reference.
    contours
        The closed planar ones, (n, 3) in millimetres (x, y, z).
    exclusive
        Whether they are combined by XOR.
    points
        How many closed contours are left out because they have one or two points.
    fault
        Why it cannot be used; empty if it can.
    """

    name: str
    number: int | None
    frame: str
    contours: list[NDArray[np.float64]] = field(default_factory=list)
    exclusive: bool = False
    points: int = 0
    fault: str = ""


def references(ds: Dataset) -> dict[str, frozenset[str]]:
    """The series that an RTSTRUCT refers to, by the UID of their frame of reference."""
    series: dict[str, frozenset[str]] = {}
    for reference in ds.get("ReferencedFrameOfReferenceSequence") or []:
        uids = set()
        for study in reference.get("RTReferencedStudySequence") or []:
            for item in study.get("RTReferencedSeriesSequence") or []:
                uids.add(str(item.get("SeriesInstanceUID") or ""))
        frame = str(reference.get("FrameOfReferenceUID") or "")
        series[frame] = series.get(frame, frozenset()) | (uids - {""})
    return series


def read_rois(file: Path) -> tuple[list[Roi], dict[str, frozenset[str]]]:
    """The structures of an RTSTRUCT, and the series that it refers to.

    Raises
    ------
    InputError
        The file as a whole cannot be read.
    """
    try:
        ds = read_dicom(file)
        rois = [_roi(item) for item in ds.get("StructureSetROISequence") or []]
        _add_contours(rois, list(ds.get("ROIContourSequence") or []))
        return rois, references(ds)
    except InputError:
        raise
    except Exception as error:  # a broken file makes pydicom raise almost anything
        raise InputError(
            f"{file} cannot be read as RTSTRUCT: {error}.", "Export it again."
        ) from error


def _roi(item: Dataset) -> Roi:
    roi = Roi(
        name=str(item.get("ROIName") or ""),
        number=_number(item, "ROINumber"),
        frame=str(item.get("ReferencedFrameOfReferenceUID") or ""),
    )
    if roi.number is None:
        roi.fault = "it has no ROINumber, which says which contours belong to it"
    return roi


def _number(item: Dataset, keyword: str) -> int | None:
    """A whole number of a file, or None if it is missing or damaged."""
    try:
        return int(item.get(keyword))
    except (TypeError, ValueError):
        return None


def _add_contours(rois: list[Roi], items: list[Dataset]) -> None:
    """Add its contours to each structure, or a fault if that is not possible."""
    counts = Counter(roi.number for roi in rois)
    numbered = {roi.number: roi for roi in rois}
    numbered.pop(None, None)
    drawn = set()
    orphans = False
    for item in items:
        number = _number(item, "ReferencedROINumber")
        orphans |= number is None
        if number in numbered:
            drawn.add(number)
            _read_contours(numbered[number], list(item.get("ContourSequence") or []))
    for roi in rois:
        if roi.number is not None and counts[roi.number] > 1:
            roi.fault = f"{counts[roi.number]} structures have its ROINumber, {roi.number}"
        elif orphans and roi.number not in drawn and not roi.fault:
            roi.fault = "its contours are not there, and others have no ReferencedROINumber"
        if roi.fault:
            roi.contours = []


def _read_contours(roi: Roi, contours: list[Dataset]) -> None:
    kinds = set()
    for position, contour in enumerate(contours, 1):
        stated = str(contour.get("ContourGeometricType") or "").strip()
        kind = stated.upper().replace("_", "")
        if kind in WITHOUT_AREA:
            continue
        try:
            points = _points(contour)
        except ValueError as error:
            roi.fault = roi.fault or f"its contour {position} of {len(contours)} {error}"
            return
        if kind not in {CLOSED, EXCLUSIVE}:
            roi.fault = f"its contour {position} has the unknown ContourGeometricType {stated!r}"
            return
        kinds.add(kind)
        if len(points) > 2:
            roi.contours.append(points)
        else:
            roi.points += 1
    roi.exclusive |= EXCLUSIVE in kinds
    if len(kinds) > 1:
        roi.fault = "it has contours of both CLOSED_PLANAR and CLOSEDPLANAR_XOR"


def _points(contour: Dataset) -> NDArray[np.float64]:
    """The corners (n, 3) in millimetres; a ValueError says what is wrong with them."""
    texts = _texts(contour)
    try:
        numbers = np.array(texts, dtype=float)
    except ValueError:
        wrong = next(text for text in texts if not _is_number(text))
        shown = wrong.decode("ascii", "replace") if isinstance(wrong, bytes) else str(wrong)
        raise ValueError(f"has the coordinate {shown.strip()!r}, which is not a number") from None
    if not np.isfinite(numbers).all():
        raise ValueError("has coordinates that are not finite")
    if len(numbers) % 3:
        raise ValueError(f"has {len(numbers)} coordinates, which is not a multiple of 3")
    stated = _number(contour, "NumberOfContourPoints")
    if stated is not None and stated != len(numbers) // 3:
        raise ValueError(f"has {len(numbers) // 3} points, and states {stated}")
    return numbers.reshape(-1, 3)


def _texts(contour: Dataset) -> list[Any]:
    """The coordinates as texts of the file: pydicom would make an object of each number."""
    element = contour.get_item("ContourData")
    stored = None if element is None else element.value
    if isinstance(stored, (bytes, str)):
        separator: Any = b"\\" if isinstance(stored, bytes) else "\\"
        return stored.split(separator) if stored.strip() else []
    if stored is None:
        return []
    return [stored] if np.isscalar(stored) else list(stored)


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
