"""DICOM segmentations (SEG) as masks: one mask per segment, chosen by number or label."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..errors import InputError, MedzooWarning
from ..settings import user_path
from . import arguments
from .files import headers_of, numbers, read_dicom, reading
from .frames import Frame, frames_of
from .pixels import axes_of, pixel_spacing, read_slices
from .roi_names import find_roi
from .series import TILT, UNEVEN, require_alike, require_places
from .volumes import Volume, a_volume

if TYPE_CHECKING:
    from pydicom import Dataset

NEAR = 0.05  # voxels by which a segmentation may lie beside the grid of the volume


@checks.checked(path=checks.path, segment=arguments.segment, like=checks.optional(a_volume))
@arguments.one_file
def read_segmentation(
    path: str | os.PathLike[str], segment: int | str | None = None, *, like: Volume | None = None
) -> Volume:
    """Read one segment of a DICOM segmentation (SEG) as a mask.

    Slices that the file leaves out between its other slices are empty.

    Parameters
    ----------
    path : str or os.PathLike
        A SEG file.
    segment : int or str, optional
        Its number, from 1, or its label, found in the same way as by `find_roi`. Not needed if the
        file holds one segment.
    like : Volume, optional
        The volume that was segmented. The mask is returned on its grid.

    Returns
    -------
    Volume
        Voxels (D, H, W) bool, slices in the order of their positions.

    Raises
    ------
    InputError
        The file is not a segmentation. It holds several segments, and ``segment`` does not choose
        one. It holds fractions. Its slices are at uneven distances. It is not on the grid of
        ``like``.

    Examples
    --------
    >>> lesion = medical.read_segmentation("segmentation.dcm", "Lesion")
    >>> lesion.voxels.shape, lesion.voxels.dtype
    ((3, 64, 64), dtype('bool'))
    >>> ct = medical.read_series("patient7/")
    >>> medical.read_segmentation("segmentation.dcm", "Lesion", like=ct).voxels.shape
    (12, 64, 64)
    """
    file = user_path(path)
    with reading():
        ds = read_dicom(file)
        if ds.get("Modality") != "SEG":
            raise InputError(
                f"{file} is not a DICOM segmentation (SEG).", "`read_series` reads pictures."
            )
        number = _chosen(_segments(ds), segment, file)
        frames = frames_of(ds)
        require_places(frames)
        require_alike(frames)
        volume = _assembled(frames, number, ds, like)
    return volume if like is None else _on_grid_of(like, volume, file)


def segmentation_in(folder: Path) -> Path | None:
    """The one segmentation of a folder that has no RTSTRUCT.

    Raises
    ------
    InputError
        There are several.
    """
    with reading():
        headers = headers_of(folder, quiet=True)
    files = []
    for header in headers:
        modality = header.get("Modality")
        if modality == "RTSTRUCT":
            return None
        if modality == "SEG":
            files.append(Path(header.filename))
    if not files:
        return None
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise InputError(
            f"{folder} holds {len(files)} segmentations: {names}.",
            "Leave one of them in the folder, or read one with "
            "`read_segmentation(file, like=series)`.",
        )
    return files[0]


def series_of(segmentation: Path) -> str | None:
    """The series that was segmented, if the file names one."""
    with reading():
        ds = read_dicom(segmentation, specific_tags=["ReferencedSeriesSequence"])
        series = {str(item.SeriesInstanceUID) for item in ds.get("ReferencedSeriesSequence") or []}
    return series.pop() if len(series) == 1 else None


def _segments(ds: Dataset) -> dict[int, str]:
    """The number and label of each segment; labels that occur twice get their number added."""
    labels = {}
    for item in ds.get("SegmentSequence") or []:
        labels[int(item.SegmentNumber)] = str(item.get("SegmentLabel", ""))
    occurrences = Counter(labels.values())
    for number, label in labels.items():
        if occurrences[label] > 1:
            labels[number] = f"{label} ({number})"
    return labels


def _chosen(segments: dict[int, str], segment: int | str | None, file: Path) -> int:
    """The number of the segment that was asked for."""
    listed = "; ".join(f"{number}: {label}" for number, label in segments.items()) or "none at all"
    if segment is None and len(segments) == 1:
        return next(iter(segments))
    if segment is None:
        raise InputError(
            f"{file} holds {len(segments)} segments.", f"Choose one by number or label: {listed}."
        )
    labels = list(segments.values())
    if isinstance(segment, str) and segment in labels:
        return list(segments)[labels.index(segment)]
    text = str(segment).strip()
    if text.isdigit() and int(text) in segments:
        return int(text)
    if isinstance(segment, str):
        return list(segments)[labels.index(find_roi(labels, segment))]
    raise InputError(
        f"{file} has no segment {segment!r}.", f"Choose one by number or label: {listed}."
    )


def _assembled(frames: list[Frame], number: int, ds: Dataset, like: Volume | None) -> Volume:
    """The mask of one segment, over all positions of which the file has frames."""
    first = frames[0].header
    axes = axes_of(numbers(first, "ImageOrientationPatient"))
    positions = np.array([numbers(f.header, "ImagePositionPatient") for f in frames])  # (n, 3)
    heights = positions @ axes[0]
    step = _distance(heights, first, ds, like)
    slices = _slice_numbers(positions, axes[0], step, ds)
    kind = str(ds.get("SegmentationType", "BINARY"))
    shown = [k for k, f in enumerate(frames) if kind == "LABELMAP" or _segment_of(f) == number]
    pictures = read_slices([frames[k] for k in shown], labels=True)
    voxels = np.zeros((slices.max() + 1, int(first.Rows), int(first.Columns)), bool)
    for k, picture in zip(shown, pictures, strict=True):
        voxels[slices[k]] |= _mask_of(picture.voxels[0], kind, number, ds)
    return Volume(
        voxels,
        (step, *pixel_spacing(first)),
        positions[int(np.argmin(heights))],
        axes,
        series=str(ds.get("SeriesInstanceUID", "")),
        frame=str(first.get("FrameOfReferenceUID", "")),
    )


def _slice_numbers(
    positions: NDArray[np.float64], normal: NDArray[np.float64], step: float, ds: Dataset
) -> NDArray[np.int_]:
    """The slice of each frame, from 0; an error if the frames do not form an even stack."""
    heights = positions @ normal
    places = (heights - heights.min()) / step
    slices: NDArray[np.int_] = np.rint(places).astype(int)
    along_normal = (heights - heights[0])[:, None] * normal
    sideways = np.linalg.norm(positions - positions[0] - along_normal, axis=1)
    sheared = sideways > TILT * np.maximum(np.ptp(heights), step)
    if (np.abs(places - slices) > 2 * UNEVEN).any() or sheared.any():
        raise InputError(
            f"{ds.filename} has frames that do not form an even stack of {step:g} mm.",
            "Write the segmentation on the slices of its series.",
        )
    return slices


def _distance(
    heights: NDArray[np.float64], first: Dataset, ds: Dataset, like: Volume | None
) -> float:
    """Millimetres from slice to slice.

    They are those that the file states, those of the volume that was segmented, or the least
    distance between two frames.
    """
    stated = abs((numbers(first, "SpacingBetweenSlices") or [0.0])[0])
    thickness = (numbers(first, "SliceThickness") or [0.0])[0]
    steps = np.diff(np.unique(np.round(heights, 3)))
    if not len(steps):
        return stated or thickness or 1.0
    least = float(steps.min())
    if not stated and like is not None and _divides(like.spacing[0], steps):
        stated = like.spacing[0]
    if not stated and thickness and least > 1.5 * thickness:
        warnings.warn(
            MedzooWarning(
                f"{ds.filename} does not state SpacingBetweenSlices. Its frames are {least:g} mm "
                f"apart or more, of slices of {thickness:g} mm: slices between them may be left "
                "out. like= puts it on the slices of its series"
            ),
            stacklevel=4,
        )
    span = float(np.ptp(heights))
    return span / max(round(span / (stated or least)), 1)  # without the rounding of headers


def _divides(step: float, steps: NDArray[np.float64]) -> bool:
    """Whether the distances between frames are whole numbers of slices."""
    return bool((np.abs(steps / step - np.rint(steps / step)) <= UNEVEN).all())


def _segment_of(frame: Frame) -> int:
    """The number of the segment that a frame shows."""
    number = numbers(frame.header, "ReferencedSegmentNumber")
    if not number:
        raise InputError(
            f"{frame.file} does not say which segment frame {frame.index} shows.",
            "Export or copy it again.",
        )
    return int(number[0])


def _mask_of(values: NDArray[np.float32], kind: str, number: int, ds: Dataset) -> NDArray[np.bool_]:
    """Where a frame of a segment shows it."""
    if kind == "LABELMAP":
        labels: NDArray[np.bool_] = values == number
        return labels
    most = (numbers(ds, "MaximumFractionalValue") or [1.0])[0] if kind == "FRACTIONAL" else 1.0
    if not np.isin(values, [0, most]).all():
        raise InputError(
            f"{ds.filename} holds fractions of voxels, but a mask is needed.",
            "`read_picture` with frame= reads them; choose a threshold.",
        )
    mask: NDArray[np.bool_] = values > 0
    return mask


def _on_grid_of(like: Volume, mask: Volume, file: Path) -> Volume:
    """A mask on the grid of the volume that was segmented."""
    if like.frame and mask.frame and like.frame != mask.frame:
        raise InputError(
            f"{file} is in another frame of reference than the volume.",
            "Give the volume that was segmented.",
        )
    start = like.voxels_at(mask.origin[None])[0]
    if (
        not np.allclose(like.axes, mask.axes, atol=1e-3)
        or not np.allclose(like.spacing[1:], mask.spacing[1:], rtol=1e-3)
        or (len(mask.voxels) > 1 and abs(like.spacing[0] / mask.spacing[0] - 1) > NEAR)
        or np.abs(start - np.rint(start)).max() > NEAR
    ):
        raise InputError(
            f"{file} lies on another grid than the volume.",
            "Read it without like=, or write the segmentation on the slices of its series.",
        )
    points = np.argwhere(mask.voxels) + np.rint(start).astype(int)
    inside = ((points >= 0) & (points < like.voxels.shape)).all(1)
    if not inside.all():
        warnings.warn(
            MedzooWarning(
                f"{file}: {int((~inside).sum())} of {len(points)} voxels of the segment lie "
                "outside of the volume"
            ),
            stacklevel=3,
        )
    voxels = np.zeros(like.voxels.shape, bool)
    voxels[tuple(points[inside].T)] = True
    return replace(like, voxels=voxels, unit="", window=None, windows=(), padding=None)
