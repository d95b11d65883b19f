"""DICOM segmentations (SEG) as masks: one mask per segment, chosen by number or label."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MedzooWarning
from ..settings import user_path
from .files import headers_of, numbers, read_dicom, reading
from .frames import Frame, frames_of
from .pixels import axes_of, pixel_spacing, read_slices
from .series import TILT, UNEVEN, require_alike, require_places
from .structures import find_roi
from .volumes import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

NEAR = 0.05  # of a voxel, by which a segmentation may lie beside the grid of another volume


def read_segmentation(
    path: str | os.PathLike[str], segment: int | str | None = None, *, like: Volume | None = None
) -> Volume:
    """One segment of a DICOM segmentation.

    Slices that the file leaves out between its others are empty.

    Parameters
    ----------
    path
        A SEG file.
    segment
        Its number, from 1, or its label, as `find_roi` finds it; the only one where None.
    like
        A volume whose grid the mask gets, which must be the one that was segmented.

    Returns
    -------
    Volume
        Voxels (D, H, W) bool, in the order of positions.

    Raises
    ------
    InputError
        It is not a segmentation; there are several segments, and none was chosen; it holds
        fractions; its slices are at uneven distances; or it does not lie on the grid of ``like``.
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
    files = [Path(h.filename) for h in headers if h.get("Modality") == "SEG"]
    if not files or any(h.get("Modality") == "RTSTRUCT" for h in headers):
        return None
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise InputError(
            f"{folder} holds {len(files)} segmentations: {names}.",
            "Leave one of them there, or read it with `read_segmentation(file, like=series)`.",
        )
    return files[0]


def series_of(segmentation: Path) -> str | None:
    """The series that was segmented, where the file names one."""
    with reading():
        ds = read_dicom(segmentation, specific_tags=["ReferencedSeriesSequence"])
        series = {str(item.SeriesInstanceUID) for item in ds.get("ReferencedSeriesSequence") or []}
    return series.pop() if len(series) == 1 else None


def _segments(ds: Dataset) -> dict[int, str]:
    """The number and label of each segment; numbers distinguish two with one label."""
    labels = {
        int(item.SegmentNumber): str(item.get("SegmentLabel", ""))
        for item in ds.get("SegmentSequence") or []
    }
    listed = list(labels.values())
    return {
        n: f"{label} ({n})" if listed.count(label) > 1 else label for n, label in labels.items()
    }


def _chosen(segments: dict[int, str], segment: int | str | None, file: Path) -> int:
    """The number of the segment that was asked for."""
    listed = "; ".join(f"{number}: {label}" for number, label in segments.items()) or "none at all"
    if segment is None and len(segments) == 1:
        return next(iter(segments))
    if segment is None:
        raise InputError(
            f"{file} holds {len(segments)} segments.", f"Choose one by number or label: {listed}."
        )
    if isinstance(segment, str) and segment in segments.values():
        return next(number for number, label in segments.items() if label == segment)
    text = str(segment).strip()
    if text.isdigit() and int(text) in segments:
        return int(text)
    if isinstance(segment, str):
        name = find_roi(segments.values(), segment)
        return next(number for number, label in segments.items() if label == name)
    raise InputError(
        f"{file} has no segment {segment!r}.", f"Choose one by number or label: {listed}."
    )


def _assembled(frames: list[Frame], number: int, ds: Dataset, like: Volume | None) -> Volume:
    """The mask of a segment over all places that the file has frames of."""
    first = frames[0].header
    axes = axes_of(numbers(first, "ImageOrientationPatient"))
    positions = np.array([numbers(f.header, "ImagePositionPatient") for f in frames])  # (n, 3)
    heights = positions @ axes[0]
    step = _distance(heights, first, ds, like)
    places = (heights - heights.min()) / step
    rows = np.rint(places).astype(int)
    aside = positions - positions[0] - (heights - heights[0])[:, None] * axes[0]
    sheared = np.linalg.norm(aside, axis=1) > TILT * np.maximum(np.ptp(heights), step)
    if (np.abs(places - rows) > 2 * UNEVEN).any() or sheared.any():
        raise InputError(
            f"{ds.filename} has frames that do not form an even stack of {step:g} mm.",
            "Write the segmentation on the slices of its series.",
        )
    kind = str(ds.get("SegmentationType", "BINARY"))
    own = [k for k, f in enumerate(frames) if kind == "LABELMAP" or _segment_of(f) == number]
    voxels = np.zeros((rows.max() + 1, int(first.Rows), int(first.Columns)), bool)
    for k, one in zip(own, read_slices([frames[k] for k in own], labels=True), strict=True):
        voxels[rows[k]] |= _mask_of(one.voxels[0], kind, number, ds)
    return Volume(
        voxels,
        (step, *pixel_spacing(first)),
        positions[int(np.argmin(heights))],
        axes,
        series=str(ds.get("SeriesInstanceUID", "")),
        frame=str(first.get("FrameOfReferenceUID", "")),
    )


def _distance(
    heights: NDArray[np.float64], first: Dataset, ds: Dataset, like: Volume | None
) -> float:
    """Millimetres from slice to slice: what the file states, those of the volume that was segmented,
    or the least between two frames.
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
                f"{ds.filename} does not state SpacingBetweenSlices. Its frames are {least:g} mm apart "
                f"or more, of slices of {thickness:g} mm: slices between them may be left out. like= "
                "puts it on the slices of its series"
            ),
            stacklevel=4,
        )
    span = float(np.ptp(heights))
    return span / max(round(span / (stated or least)), 1)  # without the rounding of headers


def _divides(step: float, steps: NDArray[np.float64]) -> bool:
    """Whether distances between frames are so many slices each."""
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
            "Read the one it belongs to.",
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
                f"{file}: {int((~inside).sum())} of {len(points)} voxels of the segment lie outside "
                "of the volume"
            ),
            stacklevel=3,
        )
    voxels = np.zeros(like.voxels.shape, bool)
    voxels[tuple(points[inside].T)] = True
    return replace(like, voxels=voxels, unit="", window=None, windows=(), padding=None)
