"""The slices of one DICOM series as a volume: their choice, their order and their distance."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import chain
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
# how much a distance of two slices may differ from the usual one: headers are rounded
UNEVEN = 0.05
TILT = 0.01  # sideways shift per distance of slices, above which a series is sheared: half a degree
SUBJECT = {
    "PatientID": "patients",
    "FrameOfReferenceUID": "frames of reference",
    "Modality": "modalities",
}
# elements that change the contrast of a picture: slices of one volume should agree in them
CONTRAST = ("EchoTime", "EffectiveEchoTime", "DiffusionBValue", "ComplexImageComponent")
ALIKE = 1e-3  # how far directions and pixel sizes of one series may differ


def only_series(headers: list[Dataset], path: Any, series: str | None) -> list[Dataset]:
    """The headers of the one series, or of the one that was asked for."""
    if not headers:
        raise InputError(
            f"{shown_path(path)} holds no DICOM pictures.", "Give the folder of a CT or MR series."
        )
    groups: dict[str, list[Dataset]] = {}
    for header in headers:
        groups.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(header)
    fitting = []
    for uid, members in groups.items():
        description = str(members[0].get("SeriesDescription", ""))
        if series is None or series == uid or series.lower() in description.lower():
            fitting.append(uid)
    if len(fitting) == 1:
        return groups[fitting[0]]
    problem = f"holds {len(groups)} series"
    if series is not None:
        problem = f"holds {len(fitting)} series that match {series!r}"
    raise InputError(
        f"{shown_path(path)} {problem}.",
        f"Choose by series=, a UID or a part of the description: {_listed(groups)}.",
    )


def _listed(groups: dict[str, list[Dataset]]) -> str:
    """All series as an error lists them."""
    descriptions = []
    for uid, members in groups.items():
        modality = members[0].get("Modality", "?")
        description = str(members[0].get("SeriesDescription", "without a description"))
        descriptions.append(f"{modality} {description!r} of {len(members)}, {uid}")
    return "; ".join(descriptions)


def volume_of(headers: list[Dataset], frame: int | None = None) -> Volume:
    """The volume of one series.

    Parameters
    ----------
    headers
        The headers of the files of the series.
    frame
        Which time, echo or b-value, from 0, if there are several pictures at each position.
    """
    frames = list(chain.from_iterable(map(frames_of, headers)))
    require_no_mosaic(frames)
    require_places(frames)
    frames = choose(frames, f"The series of {headers[0].filename}", frame)
    require_alike(frames)
    _warn_of_contrasts(frames)
    first = frames[0].header
    rows, columns = _floats(first, "PixelSpacing").tolist()
    axes = axes_of(_floats(first, "ImageOrientationPatient").tolist())
    positions = np.array([_floats(f.header, "ImagePositionPatient") for f in frames])  # (D, 3)
    order = np.argsort(positions @ axes[0], kind="stable")
    frames, positions = [frames[k] for k in order], positions[order]
    between = _distance_of_slices(frames, positions, axes[0])
    slices = read_slices(frames)
    _require_one_unit(frames, slices)
    windows = tuple(dict.fromkeys(chain.from_iterable(s.windows for s in slices)))
    return replace(
        slices[0],
        voxels=np.concatenate([s.voxels for s in slices]),
        spacing=(slices[0].spacing[0] if between is None else between, rows, columns),
        origin=positions[0],
        axes=axes,
        window=windows[0] if len(windows) == 1 else None,
        windows=windows,
        padding=_stacked_padding(slices),
    )


def _require_one_unit(frames: list[Frame], slices: list[Volume]) -> None:
    """An error if slices are in different units."""
    first = slices[0]
    for frame, other in zip(frames, slices, strict=True):
        if other.unit != first.unit:
            unknown = "no unit that is known"
            raise InputError(
                f"{frames[0].name} is in {first.unit or unknown}, {frame.name} in "
                f"{other.unit or unknown}.",
                "One of them may lack RescaleIntercept, or have another RescaleType.",
            )


def _warn_of_contrasts(frames: list[Frame]) -> None:
    """Warn of slices with different contrasts in one volume, such as two echoes in turn."""
    for name in CONTRAST:
        values = {str(frame.header.get(name, "")) for frame in frames} - {""}
        if len(values) > 1:
            listed = ", ".join(sorted(values)[:3]) + (", ..." if len(values) > 3 else "")
            warnings.warn(
                MedzooWarning(
                    f"The slices of {frames[0].file.parent} differ in {name}: {listed}. They may "
                    "be of several volumes; a list of files chooses"
                ),
                stacklevel=4,
            )


def _stacked_padding(slices: list[Volume]) -> NDArray[np.bool_] | None:
    """Where the slices of a series are padding."""
    parts, has_padding = [], False
    for volume in slices:
        has_padding |= volume.padding is not None
        empty = np.zeros(volume.voxels.shape, bool)
        parts.append(empty if volume.padding is None else volume.padding)
    return np.concatenate(parts) if has_padding else None


def require_places(frames: list[Frame]) -> None:
    """An error if a picture does not state its position."""
    for frame in frames:
        missing = [name for name in PLACE if not frame.header.get(name)]
        if not missing:
            continue
        count = sum(other.file == frame.file for other in frames)
        if count > 1:
            raise InputError(
                f"{frame.file} has several pictures in one file, and no {missing[0]} of each.",
                f"Its {count} frames do not form a volume. `read_picture` reads one: frame=0 to "
                f"{count - 1}.",
            )
        raise InputError(
            f"{frame.file} has no {missing[0]}.",
            "Each slice of a volume needs it. Leave this file out.",
        )


def require_alike(frames: list[Frame]) -> None:
    """An error if slices differ in direction or size."""
    first = frames[0].header
    for frame in frames:
        header = frame.header
        for name in ("ImageOrientationPatient", "PixelSpacing"):
            if not np.allclose(_floats(header, name), _floats(first, name), atol=ALIKE):
                raise InputError(
                    f"Slices of a series differ in {name}: {first[name].value} in "
                    f"{frames[0].name}, {header[name].value} in {frame.name}.",
                    "Give slices of one direction and size: one of them may be a localizer.",
                )
        _require_one_subject(first, header)
        if (header.Rows, header.Columns) != (first.Rows, first.Columns):
            size = f"{header.Rows} x {header.Columns} pixels"
            raise InputError(
                f"{header.filename} has {size}, others have {first.Rows} x {first.Columns}.",
                "Give slices of one size.",
            )
    directions = _floats(first, "ImageOrientationPatient").reshape(2, 3)
    if not np.allclose(directions @ directions.T, np.eye(2), atol=ALIKE):
        raise InputError(
            f"{first.filename} has an ImageOrientationPatient of {first.ImageOrientationPatient}.",
            "Two directions at right angles, each of length 1, were expected.",
        )
    if not (_floats(first, "PixelSpacing") > 0).all():
        raise InputError(
            f"{first.filename} has a PixelSpacing of {first.PixelSpacing} mm.",
            "Export or copy it again.",
        )


def _require_one_subject(first: Dataset, header: Dataset) -> None:
    """An error if two slices are of different patients, or in different coordinates."""
    for name, what in SUBJECT.items():
        one, other = str(first.get(name) or ""), str(header.get(name) or "")
        if one and other and one != other:
            raise InputError(
                f"{first.filename} and {header.filename} are of different {what}: their {name} "
                "differ, although they have one SeriesInstanceUID.",
                f"Give the slices of one of the {what} alone, as a list of files.",
            )


def _distance_of_slices(frames: list[Frame], positions: Array, normal: Array) -> float | None:
    """Millimetres from slice to slice, None for a single slice; an error if they are uneven."""
    if len(frames) == 1:
        return None
    steps = np.diff(positions @ normal)  # (D - 1,)
    usual = float(np.median(steps))
    if (doubled := np.flatnonzero(steps <= UNEVEN * usual)).size:
        k = doubled[0]
        raise InputError(
            f"{frames[k].name} and {frames[k + 1].name} of a series lie at the same "
            f"place, and {doubled.size - 1} more pairs.",
            "Give each slice once: one echo, phase or time of several.",
        )
    if (uneven := np.flatnonzero(np.abs(steps - usual) > UNEVEN * usual)).size:
        k = uneven[0]
        raise InputError(
            f"From {frames[k].name} to {frames[k + 1].name} it is {steps[k]:g} mm, elsewhere "
            f"{usual:g} mm; {uneven.size} of {steps.size} distances between slices are odd.",
            "Slices may be missing. Give all slices, at even distances.",
        )
    sideways = np.diff(positions, axis=0) - steps[:, None] * normal
    if (slope := float((np.linalg.norm(sideways, axis=1) / steps).max())) > TILT:
        tilt = np.degrees(np.arctan(slope))
        raise InputError(
            f"The slices of a series shift sideways, as of a gantry tilted by {tilt:.1f} degrees.",
            "Resample it to a grid without tilt first, for example with dcm2niix.",
        )
    return float(steps.mean())


def _floats(header: Dataset, name: str) -> NDArray[np.float64]:
    """What a header says of one of `PLACE`."""
    values = numbers(header, name)
    if len(values) != PLACE[name]:
        raise InputError(
            f"{header.filename} has no {PLACE[name]} numbers for {name}.",
            "Leave the file out, or copy it again.",
        )
    if not np.isfinite(values).all():
        raise InputError(
            f"{header.filename} has {values} for {name}, which are not all finite numbers.",
            "Leave the file out, or copy it again.",
        )
    return np.array(values)
