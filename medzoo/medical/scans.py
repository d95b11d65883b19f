"""DICOM series as volumes, in the order and the units that belong to them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..settings import user_path
from .volumes import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

Given = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Array = NDArray[Any]
# how far, of their usual distance, two slices may lie nearer or further apart: headers are rounded
UNEVEN = 0.05
# millimetres sideways for each from slice to slice, past which a series is sheared; about half a
# degree
TILT = 0.01
ALIKE = 1e-3  # how far directions and pixel sizes of one series may differ
DIRECTORY = "1.2.840.10008.1.3.10"  # what a DICOMDIR is, which lists files
PLACE = {
    "ImagePositionPatient": 3,
    "ImageOrientationPatient": 6,
    "PixelSpacing": 2,
}  # of a slice: so many numbers each
HEADER = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "SeriesNumber",
    "Modality",
    "Rows",
    "Columns",
    *PLACE,
    "FrameOfReferenceUID",
    "NumberOfFrames",
    "ReferencedFrameOfReferenceSequence",
    "StructureSetROISequence",
]


def read_series(path: Given, *, series: str | None = None) -> Volume:
    """The slices of one DICOM series in the order of their positions.

    Slices stay in the plane in which they were acquired, and follow each other along its normal,
    whatever their files are called and however they are numbered. Values are rescaled by each
    file's slope and intercept: HU for CT.

    Parameters
    ----------
    path
        A folder, whatever else is in it or in its subfolders; a file; or a list of files.
    series
        Which one, where there are several: its SeriesInstanceUID, or all or part of its
        description.

    Returns
    -------
    Volume
        Voxels (D, H, W), float32. A single slice has the spacing of its thickness.

    Raises
    ------
    InputError
        There is no series, or more than one; slices are missing, doubled, sheared by a tilted
        gantry or differ in size or direction; a file is compressed in a way that nothing installed
        here decodes.
    """
    with reading():
        return volume_of(_only_series([h for h in headers_of(path) if is_slice(h)], path, series))


def read_picture(path: str | os.PathLike[str]) -> Volume:
    """One DICOM picture, of any modality, as a volume of one slice; its place in the patient is not
    asked for.

    Raises
    ------
    InputError
        It cannot be read, or has colours or several frames.
    """
    with reading():
        return _slice(user_path(path))


def headers_of(path: Given) -> list[Dataset]:
    """The headers of all DICOM files that are, or lie beneath, ``path``."""
    pydicom = library("pydicom", "DICOM")
    found = []
    for file in filter(is_dicom, files_of(path)):
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=HEADER)
        except Exception as error:  # as with any reader
            raise InputError(
                f"{file} cannot be read: {error}.", "Take it out, or get it anew."
            ) from error
        kind = header.file_meta.get("MediaStorageSOPClassUID", header.get("SOPClassUID", ""))
        if "SOPClassUID" in header and (
            "Rows" in header or not getattr(kind, "name", "").endswith("Image Storage")
        ):
            found.append(header)
        elif kind != DIRECTORY:
            raise InputError(f"{file} ends within its header.", "Take it out, or get it anew.")
    return found


def is_slice(header: Dataset) -> bool:
    """Whether a file may be a slice of a series, and not a plan, a dose, a segmentation or a
    simulated projection.
    """
    return "Rows" in header and header.get("Modality") not in {"RTDOSE", "RTIMAGE", "SEG"}


def files_of(path: Given) -> list[Path]:
    """The files that ``path`` is, lists, or has beneath it."""
    if isinstance(path, (str, os.PathLike)):
        one = user_path(path)
        if not one.exists():
            raise InputError(
                f"There is no {str(path)!r}.", "Give a folder of DICOM files, or a file."
            )
        return (
            [one]
            if one.is_file()
            else sorted(p for p in one.rglob("*") if p.is_file() and not p.name.startswith("."))
        )
    files = [user_path(p) for p in path]
    if gone := [p for p in files if not p.is_file()]:
        raise InputError(f"There is no file {str(gone[0])!r}.", "Give DICOM files.")
    return files


def is_dicom(file: Path) -> bool:
    """Whether a file begins as DICOM does, whatever it is called."""
    with file.open("rb") as opened:
        return opened.read(132)[128:] == b"DICM"


def _only_series(headers: list[Dataset], path: Any, series: str | None) -> list[Dataset]:
    """The headers of the one series, or the one that was asked for."""
    if not headers:
        raise InputError(
            f"{told(path)} holds no DICOM pictures.", "Give the folder of a CT or MR series."
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
            f"{told(path)} {problem}.",
            f"Choose by series=, a UID or a part of the description: {listed}.",
        )
    return next(iter(fit.values()))


def volume_of(headers: list[Dataset]) -> Volume:
    """The slices of one series, whose headers these are."""
    _require_alike(headers)
    rows, columns = _floats(headers[0], "PixelSpacing").tolist()
    along_row, along_column = _floats(headers[0], "ImageOrientationPatient").reshape(2, 3)
    normal = np.cross(along_row, along_column)
    positions = np.array([_floats(h, "ImagePositionPatient") for h in headers])  # (D, 3)
    order = np.argsort(positions @ normal, kind="stable")
    headers, positions = [headers[k] for k in order], positions[order]
    between = _distance_of_slices(headers, positions, normal)
    slices = [_slice(Path(h.filename)) for h in headers]
    return replace(
        slices[0],
        voxels=np.stack([s.voxels[0] for s in slices]),
        spacing=(slices[0].spacing[0] if between is None else between, rows, columns),
        origin=positions[0],
        axes=np.stack([normal, along_column, along_row]),
    )


def _require_alike(headers: list[Dataset]) -> None:
    """An error where slices do not have one direction and size, or a header does not give them."""
    first = headers[0]
    for header in headers:
        if int(header.get("NumberOfFrames") or 1) > 1:
            raise InputError(
                f"{header.filename} holds several pictures in one file.",
                "Multi-frame DICOM is not read: convert it to NIfTI or to a file a slice.",
            )
        if missing := [name for name in PLACE if not header.get(name)]:
            raise InputError(
                f"{header.filename} has no {missing[0]}.",
                "A series needs it to be put in order; take the file out.",
            )
        for name in ("ImageOrientationPatient", "PixelSpacing"):
            if not np.allclose(_floats(header, name), _floats(first, name), atol=ALIKE):
                raise InputError(
                    f"Slices of a series differ in {name}: {first[name].value} in {Path(first.filename).name}, "
                    f"{header[name].value} in {Path(header.filename).name}.",
                    "Give those of one direction and size: a localizer may be among them.",
                )
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
            f"{first.filename} has a PixelSpacing of {first.PixelSpacing} mm.", "Get it anew."
        )


def _distance_of_slices(headers: list[Dataset], positions: Array, normal: Array) -> float | None:
    """Millimetres from slice to slice, None of a single one; an error where that is not one number."""
    if len(headers) == 1:
        return None
    names = [Path(h.filename).name for h in headers]
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


def _slice(file: Path) -> Volume:
    """One DICOM picture as a volume of one slice: values rescaled; 1 mm thick and without spacing
    where it does not say.
    """
    pydicom = library("pydicom", "DICOM")
    ds = pydicom.dcmread(file)
    if (
        "PixelData" not in ds
        or int(ds.get("SamplesPerPixel") or 1) != 1
        or int(ds.get("NumberOfFrames") or 1) != 1
    ):
        raise InputError(
            f"{file} is no single picture of grey levels.",
            "Colour and several frames are not read: save them as PNG.",
        )
    try:
        stored = ds.pixel_array
    except (
        Exception
    ) as error:  # RuntimeError where no decoder is installed, anything where data are broken
        kind = ds.file_meta.TransferSyntaxUID
        hint = "Get it anew."
        if kind.is_compressed:
            hint = "`pip install pylibjpeg[all]` brings further decoders; or decompress it, as dcmtk's dcmdjpeg does."
        raise InputError(
            f"{file} ({kind.name}) cannot be decoded: {' '.join(str(error).split())[:200]}.", hint
        ) from error
    try:
        return _rescaled(ds, stored)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{file} has a number in its header that is none: {error}.", "Get it anew."
        ) from error


def _rescaled(ds: Dataset, stored: Array) -> Volume:
    """``stored`` pixels (H, W) with all that their header says of them."""
    from pydicom.pixels.processing import apply_modality_lut

    values = np.asarray(apply_modality_lut(stored, ds), np.float32)
    hounsfield = (
        ds.get("Modality") == "CT"
        and "RescaleIntercept" in ds
        and ds.get("RescaleType", "HU") in {"HU", "", None}
    )
    shown = None
    if ds.get("WindowCenter") is not None and ds.get("WindowWidth") is not None:
        shown = float(np.atleast_1d(ds.WindowCenter)[0]), float(np.atleast_1d(ds.WindowWidth)[0])
    if (
        ds.get("PhotometricInterpretation") == "MONOCHROME1" and not hounsfield
    ):  # bright where low: turned over in its window
        values = np.float32(2 * shown[0] if shown else values.min() + values.max()) - values
    spacing = ds.get("PixelSpacing") or ds.get("ImagerPixelSpacing") or (np.nan, np.nan)
    thick = float(ds.get("SpacingBetweenSlices") or ds.get("SliceThickness") or 1)
    return Volume(
        voxels=values[None],
        spacing=(thick, float(spacing[0]), float(spacing[1])),
        origin=np.zeros(3),
        axes=np.eye(3)[::-1].copy(),
        unit="HU" if hounsfield else "",
        window=shown,
        series=str(ds.get("SeriesInstanceUID", "")),
        frame=str(ds.get("FrameOfReferenceUID", "")),
    )


@contextmanager
def reading() -> Iterator[None]:
    """Have pydicom take values as files hold them: real ones break rules that do not matter here."""
    with library("pydicom", "DICOM").config.disable_value_validation():
        yield


def library(name: str, reads: str) -> Any:
    """The module ``name``, which ``reads`` a format, or an error that says what brings it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"{name}, which reads {reads}, is not installed here.",
            "`pip install medzoo[medical]` brings it.",
        ) from error


def _floats(header: Dataset, name: str) -> NDArray[np.float64]:
    """What a header says of one of `PLACE`."""
    try:
        return np.array(header[name].value, float).reshape(PLACE[name])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{header.filename} has no {PLACE[name]} numbers for {name}.",
            "Take it out, or get it anew.",
        ) from error


def told(path: Given) -> str:
    """A path as an error names it."""
    return (
        repr(str(path))
        if isinstance(path, (str, os.PathLike))
        else f"The list of {len(path)} files"
    )
