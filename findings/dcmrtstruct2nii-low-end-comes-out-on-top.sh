#!/bin/sh
# dcmrtstruct2nii 5: contours that lie below the first slice of the series are drawn on the last
# slices. A structure at -6, -3, 0 and 3 mm, on a series from 0 to 27 mm, gets a mask at 0, 3, 24
# and 27 mm: a second piece at the other end of the patient. There is no error and no warning.
#
# The contour's place along the slices, -2 or -1, is used as an index as it is, and numpy counts
# negative indices from the end. Structures often reach beyond a series: one that was drawn on a
# planning CT, say, and is put on a shorter scan in the same frame of reference. Contours above
# the last slice are noticed: the structure is left out, with a warning.
#
# Output seen on 2026-11-29 (pydicom 2.4.4, SimpleITK 2.5.7):
#   contours at            [-6, -3, 0, 3] mm
#   slices of the series   [0, 3, 6, 9, 12, 15, 18, 21, 24, 27] mm
#   mask at                [0, 3, 24, 27] mm, warnings 0
# medzoo's read_structures gives [0, 3] and warns that 2 of 4 planes lie outside of the volume.
# Exits with 1 when this changes. Needs python3 (3.10 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q dcmrtstruct2nii==5 pydicom==2.4.4 SimpleITK==2.5.7 numpy
cat > convert.py <<'PYTHON'
import logging
import sys
import warnings

import numpy as np
import SimpleITK as sitk
from dcmrtstruct2nii import dcmrtstruct2nii
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

STUDY, CT, FRAME = generate_uid(), generate_uid(), generate_uid()
SLICES, CONTOURS = list(range(0, 30, 3)), [-6, -3, 0, 3]  # in millimetres
UIDS = {z: generate_uid() for z in SLICES}


def item(**elements):
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def write(ds, path):
    ds.PatientName, ds.PatientID, ds.StudyInstanceUID = "Phantom^A", "1", STUDY
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.is_little_endian, ds.is_implicit_VR = True, False
    ds.save_as(path, write_like_original=False)


for number, z in enumerate(SLICES, 1):
    ds = item(SOPClassUID=CTImageStorage, SOPInstanceUID=UIDS[z], SeriesInstanceUID=CT)
    ds.FrameOfReferenceUID, ds.Modality, ds.InstanceNumber = FRAME, "CT", number
    ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, z]
    ds.PixelSpacing, ds.SliceThickness = [1, 1], 3
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = 16
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    ds.PixelData = np.zeros((16, 16), "<i2").tobytes()
    write(ds, f"{number}.dcm")

ds = item(SOPClassUID=RTStructureSetStorage, SOPInstanceUID=generate_uid(), Modality="RTSTRUCT")
ds.SeriesInstanceUID, ds.StructureSetLabel = generate_uid(), "A"
ds.StructureSetDate, ds.StructureSetTime = "20261129", "120000"
images = [
    item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=uid)
    for uid in UIDS.values()
]
series = item(SeriesInstanceUID=CT, ContourImageSequence=images)
study = item(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID=STUDY)
study.RTReferencedSeriesSequence = [series]
ds.ReferencedFrameOfReferenceSequence = [
    item(FrameOfReferenceUID=FRAME, RTReferencedStudySequence=[study])
]
roi = item(ROINumber=1, ReferencedFrameOfReferenceUID=FRAME, ROIName="GTV")
roi.ROIGenerationAlgorithm = "MANUAL"
ds.StructureSetROISequence = [roi]
corners = [(4, 4), (11, 4), (11, 11), (4, 11)]
outlines = [
    item(
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=4,
        ContourData=[value for x, y in corners for value in (x, y, z)],
    )
    for z in CONTOURS
]
ds.ROIContourSequence = [item(ReferencedROINumber=1, ContourSequence=outlines)]
ds.RTROIObservationsSequence = [
    item(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="GTV", ROIInterpreter="")
]
write(ds, "structures")

said = []


class Listener(logging.Handler):
    def emit(self, record):
        said.append(record)


logging.getLogger().addHandler(Listener(logging.WARNING))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    dcmrtstruct2nii("structures", ".", "out")
said += [w for w in caught if issubclass(w.category, UserWarning)]

mask = sitk.ReadImage("out/mask_GTV.nii.gz")
filled = sitk.GetArrayFromImage(mask).any((1, 2)).nonzero()[0].tolist()
heights = [round(mask.TransformIndexToPhysicalPoint((0, 0, k))[2]) for k in filled]
print("contours at           ", CONTOURS, "mm")
print("slices of the series  ", SLICES, "mm")
print("mask at               ", heights, f"mm, warnings {len(said)}")
sys.exit(0 if (heights, len(said)) == ([0, 3, 24, 27], 0) else 1)
PYTHON
env/bin/python convert.py 2> errors | grep " mm"
