"""The DICOM files of a folder, and their headers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..settings import user_path

if TYPE_CHECKING:
    from pydicom import Dataset

Given = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
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


def told(path: Given) -> str:
    """A path as an error names it."""
    return (
        repr(str(path))
        if isinstance(path, (str, os.PathLike))
        else f"The list of {len(path)} files"
    )
