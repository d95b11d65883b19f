#!/bin/sh
# dicomsdl 0.109.4: signed pixels that are stored in 12 of 16 bits (BitsStored 12, PixelRepresentation 1) come back as
# positive numbers where the four unused bits are 0: -240 becomes 3856. DICOM puts the sign into the highest STORED bit
# (PS3.5, 8.1.1), so both ways to fill the unused bits are right. pydicom 3.0.2 and SimpleITK 2.5.7 read both rightly, as
# do dcm2niix 1.0.20260724 and dicom2nifti 2.6.2; dcm2niix 1.0.20220720 and plastimatch 1.9.4 of Debian 12 do not.
#
# Seen on 2026-11-29:
#   unused bits 0: pydicom -240 -239, SimpleITK -240 -239, dicomsdl 3856 3857
#   unused bits as the sign: pydicom -240 -239, SimpleITK -240 -239, dicomsdl -240 -239
#
# Exits with 1 if that changes. Needs python3 (3.10 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q "numpy==2.4.6" "pydicom==3.0.2" "SimpleITK==2.5.7" "dicomsdl==0.109.4"
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import dicomsdl
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

VALUES = np.arange(-240, -176, dtype="<i2").reshape(8, 8)


def write(pixels):
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = generate_uid(), generate_uid(), "CT"
    ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    ds.PixelSpacing, ds.SliceThickness = [1, 1], 1
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = 8
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 1
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as("a.dcm", enforce_file_format=True)


seen = []
for name, pixels in [
    ("unused bits 0", VALUES.view("<u2") & 0xFFF),
    ("unused bits as the sign", VALUES),
]:
    write(pixels)
    read = {
        "pydicom": pydicom.dcmread("a.dcm").pixel_array,
        "SimpleITK": sitk.GetArrayFromImage(sitk.ReadImage("a.dcm"))[0],
        "dicomsdl": np.asarray(dicomsdl.open("a.dcm").pixelData()),
    }
    firsts = [f"{reader} {int(a[0, 0])} {int(a[0, 1])}" for reader, a in read.items()]
    print(f"{name}:", ", ".join(firsts))
    seen += [np.array_equal(a, VALUES) for a in read.values()]
raise SystemExit(0 if seen == [True, True, False, True, True, True] else 1)
PYTHON
