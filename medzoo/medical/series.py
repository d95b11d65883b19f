"""The slices of one DICOM series as a volume: which belong to it, in which order, at which distance."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MedzooWarning
from .files import PLACE, numbers, shown_path
from .frames import Frame, choose, frames_of
from .pixels import axes_of, read_slices, require_no_mosaic
from .volumes import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

Array = NDArray[Any]
# how far, of their usual distance, two slices may lie nearer or further apart: headers are rounded
UNEVEN = 0.05
# millimetres sideways for each from slice to slice, past which a series is sheared; about half a
# degree
TILT = 0.01
SUBJECT = {
    "PatientID": "patients",
    "FrameOfReferenceUID": "frames of reference",
    "Modality": "modalities",
}
# what gives a picture another contrast, so that slices of one volume should agree in it
CONTRAST = ("EchoTime", "EffectiveEchoTime", "DiffusionBValue", "ComplexImageComponent")
ALIKE = 1e-3  # how far directions and pixel sizes of one series may differ


def only_series(headers: list[Dataset], path: Any, series: str | None) -> list[Dataset]:
    """The headers of the one series, or the one that was asked for."""
    if not headers:
        raise InputError(
            f"{shown_path(path)} holds no DICOM pictures.", "Give the folder of a CT or MR series."
        )
    groups: dict[str, list[Dataset]] = {}
    for header in headers:
        groups.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(header)
    fit = groups
    if series is not None:
        fit = {
            u: g
            for u, g in groups.items()
            if u == series or series.lower() in str(g[0].get("SeriesDescription", "")).lower()
        }
    if len(fit) != 1:
        listed = "; ".join(
            f"{g[0].get('Modality', '?')} {str(g[0].get('SeriesDescription', 'without a description'))!r} of {len(g)}, {u}"
            for u, g in groups.items()
        )
        problem = (
            f"holds {len(groups)} series"
            if series is None
            else f"holds {len(fit)} series that are {series!r}"
        )
        raise InputError(
            f"{shown_path(path)} {problem}.",
            f"Choose by series=, a UID or a part of the description: {listed}.",
        )
    return next(iter(fit.values()))


def volume_of(headers: list[Dataset], frame: int | None = None) -> Volume:
    """The slices of one series, whose headers these are.

    Parameters
    ----------
    headers
        One per file.
    frame
        Which time, echo or b-value, from 0, where there are several pictures of each place.
    """
    frames = [one for header in headers for one in frames_of(header)]
    require_no_mosaic(frames)
    require_places(frames)
    frames = choose(frames, f"The series of {headers[0].filename}", frame)
    require_alike(frames)
    _warn_of_contrasts(frames)
    first = frames[0].header
    rows, columns = _floats(first, "PixelSpacing").tolist()
    axes = axes_of(_floats(first, "ImageOrientationPatient").tolist())
    normal = axes[0]
    positions = np.array([_floats(f.header, "ImagePositionPatient") for f in frames])  # (D, 3)
    order = np.argsort(positions @ normal, kind="stable")
    frames, positions = [frames[k] for k in order], positions[order]
    between = _distance_of_slices([f.name for f in frames], positions, normal)
    slices = read_slices(frames)
    if len({s.unit for s in slices}) > 1:
        k = next(k for k, s in enumerate(slices) if s.unit != slices[0].unit)
        units = [s.unit or "no unit that is known" for s in (slices[0], slices[k])]
        raise InputError(
            f"{frames[0].name} is in {units[0]}, {frames[k].name} in {units[1]}.",
            "One of them may lack RescaleIntercept, or have another RescaleType.",
        )
    windows = tuple(dict.fromkeys(shown for s in slices for shown in s.windows))
    return replace(
        slices[0],
        voxels=np.stack([s.voxels[0] for s in slices]),
        spacing=(slices[0].spacing[0] if between is None else between, rows, columns),
        origin=positions[0],
        axes=axes,
        window=windows[0] if len(windows) == 1 else None,
        windows=windows,
        padding=_stacked_padding(slices),
    )


def _warn_of_contrasts(frames: list[Frame]) -> None:
    """Warn of slices of one volume that were not made alike, such as echoes between each other."""
    for name in CONTRAST:
        values = {str(frame.header.get(name, "")) for frame in frames} - {""}
        if len(values) > 1:
            listed = ", ".join(sorted(values)[:3]) + ", ..." * (len(values) > 3)
            warnings.warn(
                MedzooWarning(
                    f"The slices of {frames[0].file.parent} differ in {name}: {listed}. They may be "
                    "of several volumes; a list of files chooses"
                ),
                stacklevel=4,
            )


def _stacked_padding(slices: list[Volume]) -> NDArray[np.bool_] | None:
    """Where the slices of a series are padding."""
    if all(s.padding is None for s in slices):
        return None
    none = np.zeros(slices[0].voxels.shape, bool)
    return np.concatenate([none if s.padding is None else s.padding for s in slices])


def require_places(frames: list[Frame]) -> None:
    """An error where a picture does not say where it lies."""
    for frame in frames:
        if missing := [name for name in PLACE if not frame.header.get(name)]:
            count = sum(other.file == frame.file for other in frames)
            if count > 1:
                raise InputError(
                    f"{frame.file} has several pictures in one file, and no {missing[0]} of each.",
                    f"Its {count} frames make no volume. `read_picture` reads one: frame=0 to "
                    f"{count - 1}.",
                )
            raise InputError(
                f"{frame.file} has no {missing[0]}.",
                "A series needs it to be put in order; take the file out.",
            )


def require_alike(frames: list[Frame]) -> None:
    """An error where slices do not have one direction and size."""
    first = frames[0].header
    for frame in frames:
        header = frame.header
        for name in ("ImageOrientationPatient", "PixelSpacing"):
            if not np.allclose(_floats(header, name), _floats(first, name), atol=ALIKE):
                raise InputError(
                    f"Slices of a series differ in {name}: {first[name].value} in {frames[0].name}, "
                    f"{header[name].value} in {frame.name}.",
                    "Give those of one direction and size: a localizer may be among them.",
                )
        _require_one_subject(first, header)
        if (header.Rows, header.Columns) != (first.Rows, first.Columns):
            size = f"{header.Rows} x {header.Columns} pixels"
            raise InputError(
                f"{header.filename} has {size}, others have {first.Rows} x {first.Columns}.",
                "Give the slices of one size.",
            )
    directions = _floats(first, "ImageOrientationPatient").reshape(2, 3)
    if not np.allclose(directions @ directions.T, np.eye(2), atol=ALIKE):
        raise InputError(
            f"{first.filename} has an ImageOrientationPatient of {first.ImageOrientationPatient}.",
            "Two directions at right angles, of length 1, were expected.",
        )
    if not (_floats(first, "PixelSpacing") > 0).all():
        raise InputError(
            f"{first.filename} has a PixelSpacing of {first.PixelSpacing} mm.",
            "Export or copy it again.",
        )


def _require_one_subject(first: Dataset, header: Dataset) -> None:
    """An error where two slices are of different patients, or in different coordinates."""
    for name, what in SUBJECT.items():
        one, other = str(first.get(name) or ""), str(header.get(name) or "")
        if one and other and one != other:
            raise InputError(
                f"{first.filename} and {header.filename} are of different {what}: their {name} "
                "differ, although they have one SeriesInstanceUID.",
                f"Give the slices of one of the {what} alone, as a list of files.",
            )


def _distance_of_slices(names: list[str], positions: Array, normal: Array) -> float | None:
    """Millimetres from slice to slice, None of a single one; an error where that is not one number."""
    if len(names) == 1:
        return None
    steps = np.diff(positions @ normal)  # (D - 1,)
    usual = float(np.median(steps))
    if (doubled := np.flatnonzero(steps <= UNEVEN * usual)).size:
        k = doubled[0]
        raise InputError(
            f"{names[k]} and {names[k + 1]} of a series lie at the same place, and {doubled.size - 1} more pairs.",
            "Give each slice once: one echo, phase or time of several.",
        )
    if (uneven := np.flatnonzero(np.abs(steps - usual) > UNEVEN * usual)).size:
        k = uneven[0]
        raise InputError(
            f"From {names[k]} to {names[k + 1]} it is {steps[k]:g} mm, elsewhere {usual:g} mm; {uneven.size} of "
            f"{steps.size} distances between slices are odd.",
            "Slices may be missing. Give files of even distances.",
        )
    sideways = np.diff(positions, axis=0) - steps[:, None] * normal
    if (slope := float((np.linalg.norm(sideways, axis=1) / steps).max())) > TILT:
        tilt = np.degrees(np.arctan(slope))
        raise InputError(
            f"The slices of a series shift sideways, as of a gantry tilted by {tilt:.1f} degrees.",
            "Resample it to an upright grid first; dcm2niix does.",
        )
    return float(steps.mean())


def _floats(header: Dataset, name: str) -> NDArray[np.float64]:
    """What a header says of one of `PLACE`."""
    values = numbers(header, name)
    if len(values) != PLACE[name]:
        raise InputError(
            f"{header.filename} has no {PLACE[name]} numbers for {name}.",
            "Take it out, or copy it again.",
        )
    if not np.isfinite(values).all():
        raise InputError(
            f"{header.filename} has {values} for {name}, which are not all finite numbers.",
            "Take it out, or get it again.",
        )
    return np.array(values)
