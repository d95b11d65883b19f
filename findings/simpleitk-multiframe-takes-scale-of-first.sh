#!/bin/sh
# SimpleITK 2.5.7 (ITK 5.4, GDCM): in a multi-frame DICOM file whose frames have a RescaleSlope each,
# the slope of the first frame is applied to all frames. In a PET scan the activities of the other
# slices are wrong, here from half to four times the right ones. No error, no warning.
#
# PET scanners scale each slice to its own maximum. The same four slices, as single files, are read
# rightly by SimpleITK itself; as one file (Legacy Converted Enhanced PET, made by highdicom) they
# are not. highdicom and pydicom take the slope of each frame from the per-frame functional groups
# (PS3.3, C.7.6.16.2.9). highdicom stores the frames from head to feet.
#
# Output seen on 2026-11-30:
#   Bq/ml at the height       0 mm      3 mm      6 mm      9 mm
#   four files, SimpleITK     1500      3000     12000      6000
#   one file, pydicom         1500      3000     12000      6000
#   one file, highdicom       1500      3000     12000      6000
#   one file, SimpleITK       6000      6000      6000      6000
#
# Exits with 1 if that changes. Needs python3 (3.10 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q "numpy==2.4.6" "pydicom==3.0.2" "highdicom==0.28.2" \
    "SimpleITK==2.5.7"
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import warnings

import highdicom as hd
import numpy as np
import SimpleITK as sitk
from highdicom.legacy import LegacyConvertedEnhancedPETImage
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

SLOPES = [0.05, 0.1, 0.4, 0.2]
HEIGHTS = [0, 3, 6, 9]
STUDY, SERIES, FRAME = generate_uid(), generate_uid(), generate_uid()


def write(k, path):
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = PositronEmissionTomographyImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY, SERIES, FRAME
    ds.Modality, ds.PatientName, ds.PatientID = "PT", "Phantom^A", "1"
    ds.PatientBirthDate, ds.PatientSex, ds.StudyID, ds.AccessionNumber = "", "", "1", ""
    ds.Manufacturer, ds.ReferringPhysicianName, ds.PositionReferenceIndicator = "", "", ""
    ds.SeriesNumber, ds.InstanceNumber = 1, k + 1
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20261130"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "120000"
    ds.ImageType, ds.Units, ds.DecayCorrection = ["ORIGINAL", "PRIMARY"], "BQML", "START"
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [0, 0, HEIGHTS[k]]
    ds.PixelSpacing, ds.SliceThickness = [2, 2], 3
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = 16
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = SLOPES[k], 0
    ds.PixelData = np.full((16, 16), 30000, "<i2").tobytes()
    ds["PixelData"].VR = "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)


def by_simpleitk(image):
    array = sitk.GetArrayFromImage(image)
    heights = [image.TransformIndexToPhysicalPoint((0, 0, k))[2] for k in range(len(array))]
    return dict(zip(heights, array[:, 0, 0], strict=True))


def by_pydicom(path):
    ds, values = dcmread(path), {}
    groups = ds.PerFrameFunctionalGroupsSequence
    for stored, group in zip(ds.pixel_array, groups, strict=True):
        scale = group.PixelValueTransformationSequence[0]
        height = float(group.PlanePositionSequence[0].ImagePositionPatient[2])
        values[height] = stored[0, 0] * float(scale.RescaleSlope) + float(scale.RescaleIntercept)
    return values


def by_highdicom(path):
    volume = hd.imread(path).get_volume(apply_real_world_transform=False)
    heights = [float((volume.affine @ [k, 0, 0, 1])[2]) for k in range(len(volume.array))]
    return dict(zip(heights, volume.array[:, 0, 0], strict=True))


files = [f"{k}.dcm" for k in range(len(SLOPES))]
for k, path in enumerate(files):
    write(k, path)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # elements that a legacy file may lack
    LegacyConvertedEnhancedPETImage(
        [dcmread(path) for path in files], generate_uid(), 2, generate_uid(), 1
    ).save_as("all.dcm")

seen = {
    "four files, SimpleITK": by_simpleitk(sitk.ReadImage(files)),
    "one file, pydicom": by_pydicom("all.dcm"),
    "one file, highdicom": by_highdicom("all.dcm"),
    "one file, SimpleITK": by_simpleitk(sitk.ReadImage("all.dcm")),
}
print("Bq/ml at the height  ", *(f"{z:6} mm" for z in HEIGHTS))
rows = []
for reader, values in seen.items():
    rows.append([round(float(values[z])) for z in HEIGHTS])
    print(f"{reader:21}", *(f"{value:9}" for value in rows[-1]))
right = [round(30000 * slope) for slope in SLOPES]
raise SystemExit(0 if rows == [right, right, right, [6000] * 4] else 1)
PYTHON
