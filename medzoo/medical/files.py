"""The DICOM files of a folder, and their headers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, MedzooWarning
from ..settings import user_path

if TYPE_CHECKING:
    from pydicom import Dataset

DicomPaths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
DIRECTORY = "1.2.840.10008.1.3.10"  # the SOP class of a DICOMDIR, which only lists files
# The elements that state the position of a slice, and how many numbers each of them holds.
PLACE = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
SYSTEM = {".DS_Store", "Thumbs.db", "desktop.ini", "DICOMDIR"}  # names of files without scans
SUFFIXES = {".dcm", ".dicom", ".ima"}  # names of files that should be DICOM
# Elements that differ between several pictures of one position, the most specific first.
DIFFERENCES = [
    "StackID",
    "EffectiveEchoTime",
    "EchoTime",
    "EchoNumbers",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "TemporalPositionIndex",
    "TemporalPositionIdentifier",
    "TemporalPositionTimeOffset",
    "NominalCardiacTriggerDelayTime",
    "TriggerTime",
    "FrameReferenceTime",
    "ComplexImageComponent",
    "FrameType",
    "ImageType",
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "ContentTime",
    "AcquisitionTime",
]
GROUPS = ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"]
# Elements of the file that are true of each frame, unless the frame states its own.
FRAME = [
    "SOPClassUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "Modality",
    "Rows",
    "Columns",
    *PLACE,
    "ImagerPixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "DoseGridScaling",
    "DoseUnits",
    *DIFFERENCES,
]
HEADER = [
    *FRAME,
    *GROUPS,
    "SOPInstanceUID",
    "SeriesDescription",
    "SeriesNumber",
    "NumberOfFrames",
    "GridFrameOffsetVector",
    "ReferencedFrameOfReferenceSequence",
    "StructureSetROISequence",
]


def headers_of(path: DicomPaths, *, quiet: bool = False) -> list[Dataset]:
    """The headers of all DICOM files at ``path``: a file, a list of files, or a folder.

    Every file of a folder is read, refused or named in a warning. Only files of the operating
    system (`SYSTEM`), and hidden files that are not DICOM, are skipped silently.

    Raises
    ------
    InputError
        A file is empty, damaged or cannot be opened. A file is not DICOM, although its name says
        so, or although the user named it.
    """
    named = not isinstance(path, (str, os.PathLike)) or user_path(path).is_file()
    headers, others = [], []
    for file in files_of(path):
        if not is_dicom(file):
            empty = not file.stat().st_size
            if named or _is_called_dicom(file, empty):
                what = "is empty" if empty else "is not DICOM"
                raise InputError(
                    f"{file} {what} and holds no DICOM pictures.",
                    "Remove the file from the folder, or copy it again.",
                )
            others.append(file)
            continue
        header = read_dicom(file, stop_before_pixels=True, specific_tags=HEADER)
        kind = header.file_meta.get("MediaStorageSOPClassUID", header.get("SOPClassUID", ""))
        if "Rows" in header and "Columns" not in header:
            raise InputError(
                f"{file} has {header.Rows} rows, and no Columns.",
                "Remove the file from the folder, or copy it again.",
            )
        if "SOPClassUID" in header and (
            "Rows" in header or not getattr(kind, "name", "").endswith("Image Storage")
        ):
            headers.append(header)
        elif kind != DIRECTORY:
            raise InputError(
                f"{file} ends within its header.",
                "Remove the file from the folder, or copy it again.",
            )
    if not quiet:
        _warn_of_others(path, others)
    return headers


def _is_called_dicom(file: Path, empty: bool) -> bool:
    """Whether the name of a file says that it is DICOM; for an empty file, whether it may be."""
    suffix = file.suffix.lower()
    nameless = not suffix[1:].isalpha() and not file.name.startswith(".")
    return suffix in SUFFIXES or (empty and nameless)


def _warn_of_others(path: DicomPaths, others: list[Path]) -> None:
    visible = [file.name for file in others if not file.name.startswith(".")]
    if visible:
        names = ", ".join(visible[:3]) + (", ..." if len(visible) > 3 else "")
        count = "1 file is" if len(visible) == 1 else f"{len(visible)} files are"
        warnings.warn(
            MedzooWarning(f"{shown_path(path)}: {count} not DICOM, and not read: {names}"),
            stacklevel=4,
        )


def read_dicom(file: Path, **options: Any) -> Dataset:
    """Read a DICOM file, with or without the preamble that it should begin with.

    If a file does not name its transfer syntax, pydicom guesses it from the first elements: in most
    cases implicit VR, little endian.

    Parameters
    ----------
    file
        The file. The attribute ``filename`` of the result is its path.
    **options
        Passed to `pydicom.dcmread`.

    Raises
    ------
    InputError
        It cannot be opened or read.
    """
    pydicom = library("pydicom", "DICOM")
    if not is_dicom(file):
        raise InputError(f"{file} is not DICOM.", "Give a DICOM file.")
    try:
        ds: Dataset = pydicom.dcmread(file, force=True, **options)
        list(ds.file_meta)  # pydicom converts an element when it is first used
        if "specific_tags" in options:  # those that will be used
            _require_known_types(ds)
    except Exception as error:  # a broken file makes it raise almost anything
        raise InputError(
            f"{file} cannot be read: {error}.", "Remove the file from the folder, or copy it again."
        ) from error
    if "TransferSyntaxUID" not in ds.file_meta:
        implicit, little = ds.original_encoding
        little_kind = "ImplicitVRLittleEndian" if implicit else "ExplicitVRLittleEndian"
        kind = little_kind if little else "ExplicitVRBigEndian"
        ds.file_meta.TransferSyntaxUID = getattr(pydicom.uid, kind)
    return ds


def _require_known_types(ds: Dataset) -> None:
    types = library("pydicom.values", "DICOM").converters
    for element in ds.values():
        if element.VR is not None and element.VR not in types:
            raise ValueError(f"element {element.tag} is of the unknown type {element.VR!r}")


def is_slice(header: Dataset) -> bool:
    """Whether a file may be a slice of a series.

    Plans, doses, segmentations and simulated projections are not.
    """
    return "Rows" in header and header.get("Modality") not in {"RTDOSE", "RTIMAGE", "SEG"}


def files_of(path: DicomPaths) -> list[Path]:
    """The file at ``path``, the files of a list, or all files of a folder and its subfolders.

    Links are followed, and each file counts once.
    """
    if isinstance(path, (str, os.PathLike)):
        one = user_path(path)
        if not one.exists():
            raise InputError(
                f"There is no {str(path)!r}.", "Give a folder of DICOM files, or a file."
            )
        return [one] if one.is_file() else _beneath(one)
    files = list(map(user_path, path))
    for file in files:
        if not file.is_file():
            raise InputError(f"There is no file {str(file)!r}.", "Give DICOM files.")
    return files


def _beneath(folder: Path) -> list[Path]:
    """All files of a folder and its subfolders, except for `SYSTEM`; each folder once."""
    files: dict[Path, Path] = {}
    entered: set[Path] = set()

    def refuse(error: OSError) -> None:
        raise InputError(
            f"{error.filename} cannot be read: {error.strerror}.", "Give a folder that can be read."
        ) from error

    for place, inner, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = Path(place).resolve()
        if real in entered:  # a link to a folder above, or a second link to this one
            inner.clear()
            continue
        entered.add(real)
        inner.sort()
        for name in names:
            file = Path(place, name)
            if name in SYSTEM or name.startswith("._"):
                continue
            if not file.exists():
                raise InputError(
                    f"{file} is a link to nothing.",
                    "Remove the link, or restore the file that it names.",
                )
            if file.is_file():
                files.setdefault(file.resolve(), file)
    return sorted(files.values())


def is_dicom(file: Path) -> bool:
    """Whether a file begins like DICOM, with or without a preamble. Its name is not used."""
    try:
        with file.open("rb") as opened:
            start = opened.read(132)
    except OSError as error:
        raise InputError(
            f"{file} cannot be read: {error.strerror}.", "Give a file that can be read."
        ) from error
    return start[128:] == b"DICM" or _begins_with_an_element(start)


def _begins_with_an_element(start: bytes) -> bool:
    """Whether bytes are a data element of group 2 or 8, as DICOM without a preamble begins."""
    if len(start) < 8:
        return False
    little = start[:2] in {b"\x02\x00", b"\x08\x00"}
    big = start[:2] in {b"\x00\x02", b"\x00\x08"}
    explicit = start[4:6] in {b"UL", b"OB", b"UI", b"CS", b"SH", b"LO", b"DA", b"TM", b"SQ", b"DT"}
    implicit = little and int.from_bytes(start[4:8], "little") <= 256
    return (little or big) and (explicit or implicit)


@contextmanager
def reading() -> Iterator[None]:
    """Let pydicom accept values that break rules of DICOM: many real files hold such values.

    Raises
    ------
    InputError
        An element is of a type that pydicom does not know.
    """
    with library("pydicom", "DICOM").config.disable_value_validation():
        try:
            yield
        except NotImplementedError as error:  # of an element within a sequence
            raise InputError(
                f"A DICOM file cannot be read: {error}.", "Copy the files again."
            ) from error


def library(name: str, reads: str) -> Any:
    """The module ``name``, which ``reads`` a format; an error says how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"{name}, which reads {reads}, is not installed here.",
            "`pip install medzoo[medical]` brings it.",
        ) from error


def shown_path(path: DicomPaths) -> str:
    """A path as errors show it."""
    if isinstance(path, (str, os.PathLike)):
        return repr(str(path))
    return f"The list of {len(path)} files"


def numbers(ds: Dataset, keyword: str) -> list[float]:
    """The numbers of an element; an empty list if it is absent or empty.

    Raises
    ------
    InputError
        It holds something else. The error names the element and the file.
    """
    if keyword not in ds:
        return []
    element = ds.get_item(keyword)
    text = getattr(element, "value", None)
    try:
        value = ds[keyword].value
        values = [value] if isinstance(value, (str, int, float)) else list(value or [])
        return [float(v) for v in values if v not in {"", None}]
    except Exception as error:  # pydicom converts when a value is asked for, and may raise anything
        raise InputError(
            f"{ds.filename} has {text!r} for {keyword}, which is not a number.",
            "Correct the element, or leave the file out.",
        ) from error
