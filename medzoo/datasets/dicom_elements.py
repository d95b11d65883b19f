"""DICOM files of many samples, most of whose elements are equal or short texts.

pydicom says what each element is, and encodes numbers, each once. Texts and pixels are put
together here. A file is what `pydicom.dcmwrite` writes, byte for byte.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

# VR of texts -> characters of the longest one that needs no check by pydicom
LONGEST = {"CS": 16, "DA": 8, "DS": 16, "IS": 12, "LO": 64, "LT": 10240}
LONGEST |= {"PN": 64, "SH": 16, "TM": 14, "UI": 64}
PREAMBLE = bytes(128) + b"DICM"
SHORT_HEAD, LONG_HEAD = struct.Struct("<HH2sH"), struct.Struct("<HH2sHL")  # tag, VR, length


def file_of(elements: Mapping[str, Any]) -> bytes:
    """A file in explicit VR, little endian.

    Parameters
    ----------
    elements : Mapping[str, Any]
        Keyword -> value: a text or a list of texts, also for decimal strings (DS) and integer
        strings (IS); a number; None for an empty element; bytes for PixelData, of even length.
        SOPClassUID and SOPInstanceUID are needed.
    """
    before, after = _meta(elements["SOPClassUID"])
    meta = before + element("MediaStorageSOPInstanceUID", elements["SOPInstanceUID"]) + after
    parts = [PREAMBLE, SHORT_HEAD.pack(2, 0, b"UL", 4), struct.pack("<L", len(meta)), meta]
    for keyword in sorted(elements, key=_tag):
        if keyword == "PixelData":
            parts += _pixels(elements)
        else:
            parts.append(element(keyword, elements[keyword]))
    return b"".join(parts)


def element(keyword: str, value: Any) -> bytes:
    """One element with its tag, VR and length."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list):
        return _number(keyword, value)
    data = [text.encode() for text in texts]
    vr = _vr(keyword)
    if vr not in LONGEST or max(map(len, data)) > LONGEST[vr]:
        return _by_pydicom(**{keyword: value})
    joined = b"\\".join(data)
    joined += (b"\0" if vr == "UI" else b" ") * (len(joined) % 2)
    tag = _tag(keyword)
    return SHORT_HEAD.pack(tag >> 16, tag & 0xFFFF, vr.encode(), len(joined)) + joined


def _pixels(elements: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The head of the pixels, and the pixels."""
    keys = ("BitsAllocated", "Rows", "Columns", "SamplesPerPixel", "PixelRepresentation")
    vr = _vr_of_pixels(*(elements[key] for key in keys))
    data: bytes = elements["PixelData"]
    return LONG_HEAD.pack(0x7FE0, 0x0010, vr, 0, len(data)), data


@cache
def _tag(keyword: str) -> int:
    """The number of an element, by which a file is ordered."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword  # noqa: S101
    return tag


@cache
def _vr(keyword: str) -> str:
    from pydicom.datadict import dictionary_VR

    return str(dictionary_VR(keyword))


@lru_cache(maxsize=1024)
def _number(keyword: str, value: int | None) -> bytes:
    return _by_pydicom(**{keyword: value})


@lru_cache(maxsize=64)
def _vr_of_pixels(bits: int, rows: int, columns: int, samples: int, signed: int) -> bytes:
    """OB or OW, as pydicom decides."""
    head = {"BitsAllocated": bits, "Rows": rows, "Columns": columns}
    more = {"SamplesPerPixel": samples, "PixelRepresentation": signed}
    encoded = _by_pydicom(**head, **more, PixelData=b"\0\0")
    return encoded[-14:][4:6]  # the last element: tag, VR, two bytes, length, two bytes of pixels


def _by_pydicom(**values: Any) -> bytes:
    """Elements as pydicom writes them."""
    from pydicom import Dataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_dataset(file, dataset, parent_encoding="utf-8")
    return file.getvalue()


@cache
def _meta(sop_class: str) -> tuple[bytes, bytes]:
    """The meta information of a file before the UID of its instance, and after it."""
    from pydicom.dataset import FileMetaDataset, validate_file_meta
    from pydicom.uid import UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(sop_class), UID("1")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    validate_file_meta(meta, enforce_standard=True)
    parts = {True: b"", False: b""}
    instance = _tag("MediaStorageSOPInstanceUID")
    for part in meta:
        if part.tag not in {0x00020000, instance}:
            parts[part.tag < instance] += _by_pydicom(**{part.keyword: part.value})
    return parts[True], parts[False]
