#!/bin/sh
# SimpleITK 2.5.7 (ITK 5.4, GDCM): a DICOM segmentation with a gap between its frames is read with a
# spacing of 1 x 1 x 1 mm and without the gap. The spacing within the slices is lost as well, though
# the file states it. Two lesions in slices of 0.5 x 0.5 x 2 mm become one, of twice the volume and
# mostly above both. There is no error and no warning.
#
# highdicom leaves slices without a segment out unless told otherwise (omit_empty_frames). Without
# a gap, SimpleITK gives 0.5 x 0.5 x 2 mm. highdicom reads both rightly (allow_missing_positions).
#
# Output seen on 2026-11-30 (slices of 0.5 x 0.5 x 2 mm):
#   slices 2 to 7:
#     highdicom: 0.768 ml, at 4 6 8 10 12 14 mm, spacing 0.5 0.5 2.0
#     SimpleITK: 0.768 ml, at 4 6 8 10 12 14 mm, spacing 0.5 0.5 2.0
#   slices 2 to 4 and 8 to 10:
#     highdicom: 0.768 ml, at 4 6 8 16 18 20 mm, spacing 0.5 0.5 2.0
#     SimpleITK: 1.536 ml, at 20 21 22 23 24 25 mm, spacing 1.0 1.0 1.0
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
import highdicom as hd
import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SPACING = (0.5, 0.5, 2.0)
STUDY, SERIES, FRAME = generate_uid(), generate_uid(), generate_uid()


def slice_of_ct(k):
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY, SERIES, FRAME
    ds.Modality, ds.PatientName, ds.PatientID = "CT", "Phantom^A", "1"
    ds.PatientBirthDate = ds.PatientSex = ds.StudyID = ds.AccessionNumber = ""
    ds.StudyDate, ds.StudyTime, ds.ReferringPhysicianName = "20261130", "120000", ""
    ds.Manufacturer, ds.SeriesNumber, ds.InstanceNumber = "", 1, k + 1
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [0, 0, SPACING[2] * k]
    ds.PixelSpacing, ds.SliceThickness = list(SPACING[:2]), SPACING[2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = 32
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def result(mask, spacing, heights):
    volume = round(float(mask.sum() * np.prod(spacing)) / 1000, 3)
    filled = sorted(round(z) for z, plane in zip(heights, mask, strict=True) if plane.any())
    return volume, filled, tuple(spacing)


ct = [slice_of_ct(k) for k in range(12)]
lesions = hd.seg.SegmentDescription(
    1,
    "Lesions",
    codes.SCT.MorphologicallyAbnormalStructure,
    codes.SCT.Lesion,
    hd.seg.SegmentAlgorithmTypeValues.MANUAL,
)
seen = []
for name, planes in [
    ("2 to 7", [2, 3, 4, 5, 6, 7]),
    ("2 to 4 and 8 to 10", [2, 3, 4, 8, 9, 10]),
]:
    mask = np.zeros((12, 32, 32), np.uint8)
    mask[planes, 8:24, 8:24] = 1
    hd.seg.Segmentation(
        ct, mask, "BINARY", [lesions], generate_uid(), 2, generate_uid(), 1, "A", "B", "1", "2"
    ).save_as("seg.dcm")

    volume = hd.imread("seg.dcm").get_volume(allow_missing_positions=True)
    heights = [float((volume.affine @ [k, 0, 0, 1])[2]) for k in range(len(volume.array))]
    by_highdicom = result(volume.array != 0, volume.spacing[::-1], heights)

    image = sitk.ReadImage("seg.dcm")
    array = sitk.GetArrayFromImage(image)
    heights = [image.TransformIndexToPhysicalPoint((0, 0, k))[2] for k in range(len(array))]
    by_simpleitk = result(array != 0, image.GetSpacing(), heights)

    print(f"slices {name}:")
    for reader, (ml, filled, spacing) in [("highdicom", by_highdicom), ("SimpleITK", by_simpleitk)]:
        print(f"  {reader}: {ml} ml, at", *filled, "mm, spacing", *spacing)
    assert by_highdicom == (0.768, [2 * k for k in planes], SPACING)
    seen.append(by_simpleitk)
right = (0.768, [4, 6, 8, 10, 12, 14], SPACING)
wrong = (1.536, [20, 21, 22, 23, 24, 25], (1.0, 1.0, 1.0))
raise SystemExit(0 if seen == [right, wrong] else 1)
PYTHON
