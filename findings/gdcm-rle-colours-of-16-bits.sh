#!/bin/sh
# GDCM, in SimpleITK 2.5.7 (also GDCM 3.0.21 of Debian and python-gdcm 3.2.6): a colour picture of 16 bits a channel,
# compressed with RLE Lossless, comes back with other values, without an error or a warning. The same picture is read
# rightly without compression, in 8 bits, and as grey levels of 16 bits. pydicom 3.0.2 and dcmtk read all four rightly.
#
# Seen on 2026-11-28:
#   RGB 8 bits, uncompressed: SimpleITK True, pydicom True
#   RGB 8 bits, RLE: SimpleITK True, pydicom True
#   RGB 16 bits, uncompressed: SimpleITK True, pydicom True
#   RGB 16 bits, RLE: SimpleITK False, pydicom True
#   grey 16 bits, RLE: SimpleITK True, pydicom True
#
# Exits with 1 if that changes. Needs python3 (3.10 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q "numpy==2.4.6" "pydicom==3.0.2" "SimpleITK==2.5.7"
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

y, x = np.mgrid[:32, :32]
COLOURS = np.stack([x * 2000, y * 2000, (x + y) * 1000], -1).astype("<u2")


def write(pixels, compressed):
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = generate_uid(), generate_uid(), "OT"
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    ds.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, 0
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if compressed:
        ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as("a.dcm", enforce_file_format=True)


seen = {}
for name, pixels, compressed in [
    ("RGB 8 bits, uncompressed", (COLOURS >> 8).astype("u1"), False),
    ("RGB 8 bits, RLE", (COLOURS >> 8).astype("u1"), True),
    ("RGB 16 bits, uncompressed", COLOURS, False),
    ("RGB 16 bits, RLE", COLOURS, True),
    ("grey 16 bits, RLE", COLOURS[..., 0], True),
]:
    write(pixels, compressed)
    by_itk = np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage("a.dcm"))[0], pixels)
    by_pydicom = np.array_equal(pydicom.dcmread("a.dcm").pixel_array, pixels)
    print(f"{name}: SimpleITK {by_itk}, pydicom {by_pydicom}")
    seen[name] = by_itk, by_pydicom
wrong = {name for name, both in seen.items() if both != (True, True)}
raise SystemExit(0 if wrong == {"RGB 16 bits, RLE"} and seen["RGB 16 bits, RLE"] == (False, True) else 1)
PYTHON
