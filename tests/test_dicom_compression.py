"""Compressed DICOM: every lossless way to compress gives back the same values, frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from frame_files import multi_frame
from pydicom import Dataset
from scan_files import save, series

from medzoo import medical
from medzoo.errors import InputError

LOSSLESS = {
    "RLE": gdcm.TransferSyntax.RLELossless,
    "JPEG Lossless, first order": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "JPEG Lossless": gdcm.TransferSyntax.JPEGLosslessProcess14,
    "JPEG-LS": gdcm.TransferSyntax.JPEGLSLossless,
    "JPEG 2000": gdcm.TransferSyntax.JPEG2000Lossless,
}
FORMS: dict[str, dict[str, int]] = {
    "12 bits": {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0},
    "16 bits": {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": 0},
    "signed": {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1},
    "signed 12 bits": {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1},
}


def compress(path: Path, how: int) -> None:
    """Compress the pixels of a file with GDCM; the rest of its header stays as it is."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(how))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path) + ".gdcm")
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    ds, compressed = pydicom.dcmread(path), pydicom.dcmread(str(path) + ".gdcm")
    Path(str(path) + ".gdcm").unlink()
    ds.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID
    ds.PhotometricInterpretation = compressed.PhotometricInterpretation
    ds.PixelData = compressed.PixelData
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.save_as(path)
    assert ds.file_meta.TransferSyntaxUID.is_compressed


def stored(form: dict[str, int], shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that use all bits, smooth enough to be worth compressing."""
    bits = form["BitsStored"]
    low = -(2 ** (bits - 1)) if form["PixelRepresentation"] else 0
    ramp = np.arange(np.prod(shape)) * 977 % 2**bits
    return (ramp + low).reshape(shape)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", LOSSLESS)
def test_lossless_compression_changes_no_value(tmp_path: Path, how: str, form: str) -> None:
    values = stored(FORMS[form], (2, 24, 20))
    kind = "<i2" if FORMS[form]["PixelRepresentation"] else "<u2"
    paths = series(
        tmp_path,
        values,
        RescaleSlope=2,
        RescaleIntercept=-1024,
        PixelData=lambda k: values[k].astype(kind).tobytes(),
        **FORMS[form],
    )
    for path in paths:
        compress(path, LOSSLESS[how])
    assert np.array_equal(medical.read_series(tmp_path).voxels, values * 2.0 - 1024)


@pytest.mark.parametrize("how", LOSSLESS)
def test_frames_are_decompressed_one_by_one_or_together(tmp_path: Path, how: str) -> None:
    values = stored(FORMS["16 bits"], (4, 24, 20)) - 2**15
    path = multi_frame(tmp_path / "ct.dcm", values, [2, 0, 3, 1])
    compress(path, LOSSLESS[how])
    assert np.array_equal(medical.read_series(path).voxels, values[[1, 3, 0, 2]])
    assert np.array_equal(medical.read_picture(path, frame=2).voxels[0], values[2])


def picture(path: Path, colour: bool) -> Path:
    """A smooth picture of 8 bits, grey or in colour."""
    ramp = np.linspace(0, 255, 32 * 32).reshape(32, 32)
    pixels = np.stack([ramp, ramp.T, 255 - ramp], -1) if colour else ramp
    ds = Dataset()
    ds.SOPClassUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.7", "OT"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.8", "1.2.8.1"
    ds.Rows = ds.Columns = 32
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = np.rint(pixels).astype(np.uint8).tobytes()
    return save(ds, path)


@pytest.mark.parametrize(
    ("how", "colour"),
    [
        (gdcm.TransferSyntax.JPEGBaselineProcess1, False),  # colours: see test_wheel_dicom.py
        (gdcm.TransferSyntax.JPEG2000, False),
        (gdcm.TransferSyntax.JPEG2000, True),
        (gdcm.TransferSyntax.JPEGLSNearLossless, False),
        (gdcm.TransferSyntax.JPEGLSNearLossless, True),
        (gdcm.TransferSyntax.RLELossless, True),
    ],
)
def test_lossy_pictures_and_colours_are_what_simpleitk_reads(
    tmp_path: Path, how: int, colour: bool
) -> None:
    path = picture(tmp_path / "a.dcm", colour)
    read: Any = medical.read_colour if colour else (lambda p: medical.read_picture(p).voxels[0])
    plain = read(path)
    compress(path, how)
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
    assert np.array_equal(read(path), image)
    assert np.abs(read(path).astype(float) - plain).max() < 40


def test_damaged_compressed_pixels_are_refused(tmp_path: Path) -> None:
    (path,) = series(tmp_path, np.zeros((1, 24, 20)), RescaleSlope=1, RescaleIntercept=0)
    compress(path, LOSSLESS["JPEG 2000"])
    ds = pydicom.dcmread(path)
    ds.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51 no picture"])
    ds["PixelData"].VR = "OB"
    ds.save_as(path)
    with pytest.raises(InputError, match=r"(?s)JPEG 2000.*cannot be decoded.*dcmdjpeg may"):
        medical.read_series(path)
