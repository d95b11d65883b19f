#!/bin/sh
# antspyx 0.6.3: ants.dicom_read() stacks the slices of a DICOM folder in the order in which the
# operating system lists the files, neither by position nor by number, so the volume is shuffled. The
# distance of the slices is wrong too: 1 mm instead of 2.5 mm. There is no error and no warning.
#
# Files are named by their UIDs here, as archives export them. SimpleITK 2.5.7 reads the folder
# rightly, and ants.image_read() the NIfTI file that it writes.
#
# Output seen on 2026-11-30 (the order of the listing, and so of the slices, differs by machine):
#   SimpleITK: slices in order True, spacing 1.0 x 1.0 x 2.5 mm
#   ants.dicom_read: slices in order False, spacing 1.0 x 1.0 x 1.0 mm
#   ants.dicom_read: slices as listed True
#
# Exits with 1 if that changes. Needs python3 (3.11 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q "numpy==2.3.5" "scipy==1.15.3" "antspyx==0.6.3" "pydicom==3.0.2" \
    "SimpleITK==2.5.7"
mkdir "$folder/ct"
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import os
import warnings

import ants
import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SLICES = range(1, 25)
STUDY, SERIES, FRAME = generate_uid(), generate_uid(), generate_uid()


def write(k):
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=[str(k)])
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY, SERIES, FRAME
    ds.Modality, ds.InstanceNumber = "CT", k
    ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2.5 * k]
    ds.PixelSpacing, ds.SliceThickness = [1, 1], 2.5
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = 16
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    ds.PixelData = np.full((16, 16), k, "<i2").tobytes()
    ds["PixelData"].VR = "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(f"ct/{ds.SOPInstanceUID}.dcm", enforce_file_format=True)


def spacing(image):
    return " x ".join(str(round(s, 3)) for s in image)


for k in SLICES:
    write(k)
image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames("ct"))
by_simpleitk = sitk.GetArrayFromImage(image)[:, 8, 8].tolist()
sitk.WriteImage(image, "ct.nii")
assert ants.image_read("ct.nii").numpy()[8, 8].tolist() == by_simpleitk
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    volume = ants.dicom_read("ct")
by_ants = volume.numpy()[8, 8].astype(int).tolist()
listed = [dcmread(f"ct/{name}").InstanceNumber for name in os.listdir("ct")]
right = list(SLICES)
print(f"SimpleITK: slices in order {by_simpleitk == right},", end=" ")
print(f"spacing {spacing(image.GetSpacing())} mm")
print(f"ants.dicom_read: slices in order {by_ants == right},", end=" ")
print(f"spacing {spacing(volume.spacing)} mm")
print(f"ants.dicom_read: slices as listed {by_ants == listed}")
whole = by_simpleitk == right and image.GetSpacing() == (1, 1, 2.5)
shuffled = by_ants == listed != right and tuple(volume.spacing) == (1, 1, 1)
raise SystemExit(0 if whole and shuffled and not caught else 1)
PYTHON
