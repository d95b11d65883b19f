#!/bin/sh
# dicom2nifti 2.6.2: in an Enhanced CT file, the RescaleIntercept and RescaleSlope that all frames
# share are ignored, so the NIfTI file holds the stored numbers: soft tissue of 40 HU becomes 1064,
# air becomes 24. There is no error and no warning.
#
# The two values are looked for in the groups of each frame only; what is the same for all frames
# belongs in SharedFunctionalGroupsSequence (PS3.3, C.7.6.16). SimpleITK 2.5.7 and highdicom 0.28.2
# read the file rightly.
#
# Output seen on 2026-11-30:
#   HU at the height    0 mm    3 mm    6 mm    9 mm   12 mm   15 mm
#   written            -1000     -90      40      40      60     200
#   SimpleITK          -1000     -90      40      40      60     200
#   highdicom          -1000     -90      40      40      60     200
#   dicom2nifti           24     934    1064    1064    1084    1224
#   warnings of dicom2nifti: 0
#
# Exits with 1 if that changes. Needs python3 (3.10 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q "numpy==2.4.6" "pydicom==3.0.2" "highdicom==0.28.2" \
    "SimpleITK==2.5.7" "dicom2nifti==2.6.2" "nibabel==5.4.2"
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import logging
import shutil
import warnings
from pathlib import Path

import dicom2nifti
import highdicom as hd
import nibabel as nib
import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, FileMetaDataset
from pydicom.datadict import tag_for_keyword
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

HEIGHTS = [0, 3, 6, 9, 12, 15]
HU, INTERCEPT = [-1000, -90, 40, 40, 60, 200], -1024


def item(**elements):
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def write(order):
    """Write one file whose frames are stored in this order."""
    ds = item(SOPClassUID=EnhancedCTImageStorage, SOPInstanceUID=generate_uid(), Modality="CT")
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.FrameOfReferenceUID, ds.PatientName, ds.PatientID = generate_uid(), "Phantom^A", "1"
    ds.PatientBirthDate = ds.PatientSex = ds.StudyID = ds.AccessionNumber = ds.Manufacturer = ""
    ds.StudyDate, ds.ContentDate, ds.AcquisitionDateTime = "20261130", "20261130", "20261130120000"
    ds.StudyTime = ds.ContentTime = "120000"
    ds.SeriesNumber = ds.InstanceNumber = 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns, ds.NumberOfFrames = 16, 16, len(order)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    organization = generate_uid()
    ds.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    ds.DimensionIndexSequence = [
        item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=tag_for_keyword(keyword),
            FunctionalGroupPointer=tag_for_keyword("FrameContentSequence"),
        )
        for keyword in ("StackID", "InStackPositionNumber")
    ]
    rescale = item(RescaleSlope=1, RescaleIntercept=INTERCEPT, RescaleType="HU")
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=[1, 1], SliceThickness=3)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelValueTransformationSequence=[rescale],
    )
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = [
        item(
            FrameContentSequence=[
                item(StackID="1", InStackPositionNumber=k + 1, DimensionIndexValues=[1, k + 1])
            ],
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, HEIGHTS[k]])],
        )
        for k in order
    ]
    stored = np.array([HU[k] - INTERCEPT for k in order], "<u2")
    ds.PixelData = np.repeat(stored, 16 * 16).tobytes()
    ds["PixelData"].VR = "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    folder = Path("ct")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    ds.save_as(folder / "ct.dcm", enforce_file_format=True)


def by_simpleitk():
    image = sitk.ReadImage("ct/ct.dcm")
    array = sitk.GetArrayFromImage(image)
    heights = [image.TransformIndexToPhysicalPoint((0, 0, k))[2] for k in range(len(array))]
    return in_order(heights, array[:, 8, 8])


def by_highdicom():
    volume = hd.imread("ct/ct.dcm").get_volume(apply_real_world_transform=False)
    heights = [(volume.affine @ [k, 0, 0, 1])[2] for k in range(len(volume.array))]
    return in_order(heights, volume.array[:, 8, 8])


def by_dicom2nifti():
    dicom2nifti.dicom_series_to_nifti("ct", "ct.nii")
    image = nib.load("ct.nii")
    array = np.asarray(image.dataobj)
    heights = [(image.affine @ [0, 0, k, 1])[2] for k in range(array.shape[2])]
    return in_order(heights, array[8, 8])


def in_order(heights, values):
    found = dict(zip(map(float, heights), map(float, values), strict=True))
    return [round(found[z]) for z in HEIGHTS]


said = []


class Listener(logging.Handler):
    def emit(self, record):
        said.append(record)


logging.getLogger("dicom2nifti").addHandler(Listener(logging.WARNING))

write(range(len(HEIGHTS)))
rows = {"written": HU, "SimpleITK": by_simpleitk(), "highdicom": by_highdicom()}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    rows["dicom2nifti"] = by_dicom2nifti()
said += [w for w in caught if issubclass(w.category, UserWarning)]
print("HU at the height", *(f"{z:4} mm" for z in HEIGHTS))
for reader, row in rows.items():
    print(f"{reader:16}", *(f"{value:7}" for value in row))
print("warnings of dicom2nifti:", len(said))
right = rows["SimpleITK"] == rows["highdicom"] == HU
stored = [hu - INTERCEPT for hu in HU]
raise SystemExit(0 if right and rows["dicom2nifti"] == stored and not said else 1)
PYTHON
