"""The DICOM files that medzoo writes are, byte for byte, those that pydicom writes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

import medzoo
from medzoo.datasets.dicom_elements import element, file_of

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def as_pydicom_writes(ds: Dataset) -> bytes:
    file = io.BytesIO()
    pydicom.dcmwrite(file, ds, enforce_file_format=True)
    return file.getvalue()


@pytest.mark.parametrize("model", [8, 104, 105, 109])
def test_files_of_models_are_those_of_pydicom(model: int, tmp_path: Path) -> None:
    medzoo.generate(model, 2, seed=3, format="dicom", out=tmp_path / "set", progress=False)
    files = sorted(tmp_path.rglob("*.dcm"))[:200:20]
    assert files
    for path in files:
        assert as_pydicom_writes(pydicom.dcmread(path)) == path.read_bytes()


texts = st.text(st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="\\^="))


@settings(max_examples=60, deadline=None)
@given(
    description=texts.map(lambda text: text.strip()[:20]),
    comments=texts.map(lambda text: text.strip()),
    number=st.integers(-(10**9), 10**9),
    place=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3),
    side=st.integers(1, 5),
    deep=st.booleans(),
)
def test_any_values_are_written_as_by_pydicom(
    description: str, comments: str, number: int, place: list[float], side: int, deep: bool
) -> None:
    numbers = [pydicom.valuerep.format_number_as_ds(float(value)) for value in place]
    bits = 16 if deep else 8
    values: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": SECONDARY_CAPTURE,
        "SOPInstanceUID": f"2.25.{abs(number)}",
        "StudyDate": "",
        "SliceThickness": None,
        "SeriesDescription": description,
        "ImageComments": comments,
        "InstanceNumber": str(number),
        "ImagePositionPatient": numbers,
        "ImageType": ["DERIVED", "SECONDARY", "OTHER"],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": side,
        "Columns": 2,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 0,
        "PixelData": bytes(2 * side * bits // 8),
    }
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    assert file_of(values) == as_pydicom_writes(ds)


def test_a_text_that_is_too_long_for_its_element_is_left_to_pydicom() -> None:
    with pytest.warns(UserWarning, match="exceeds the maximum length"):
        element("SeriesDescription", "x" * 65)
