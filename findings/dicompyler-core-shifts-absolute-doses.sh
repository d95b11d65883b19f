#!/bin/sh
# dicompyler-core 0.5.6: a dose whose GridFrameOffsetVector holds the heights of the planes themselves
# is read at another place, moved by the height of its first plane. Here a dose that starts at 9 mm
# is taken 9 mm too high, so a target that gets 12.5 Gy has 9.5 Gy in its dose volume histogram. There
# is no error and no warning. Where the first plane lies at 0 mm, both forms are the same.
#
# DICOM allows two forms (PS3.3, C.8.8.3.2): offsets from the first plane, which begin with 0, and
# heights in the patient, which begin with the z of ImagePositionPatient. dicompyler-core adds that
# z in both. SimpleITK 2.5.7 gives the same dose for both forms.
#
# Output seen on 2026-11-30 (pydicom 2.4.4; the dose rises by 1 Gy in 3 mm):
#   offsets 0, 3, 6, ...: target 12.5 Gy, SimpleITK 12.5 Gy, dicompyler-core 12.5 Gy, warnings 0
#   offsets 9, 12, 15, ...: target 12.5 Gy, SimpleITK 12.5 Gy, dicompyler-core 9.5 Gy, warnings 0
#
# Exits with 1 if that changes. Needs python3 (3.10 to 3.12) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q "dicompyler-core==0.5.6" "pydicom==2.4.4" "numpy==1.26.4" \
    "SimpleITK==2.5.7"
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import logging
import warnings

import numpy as np
import SimpleITK as sitk
from dicompylercore import dvhcalc
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTDoseStorage, RTStructureSetStorage, generate_uid

STUDY, FRAME = generate_uid(), generate_uid()
PLANES = list(range(9, 61, 3))  # of the dose, in mm
TARGET = list(range(30, 46, 3))
GRAY = {z: z / 3 for z in PLANES}


def item(**elements):
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def write(ds, path):
    ds.PatientName, ds.PatientID, ds.StudyInstanceUID = "Phantom^A", "1", STUDY
    ds.SeriesInstanceUID, ds.SOPInstanceUID = generate_uid(), generate_uid()
    ds.FrameOfReferenceUID = FRAME
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.is_little_endian, ds.is_implicit_VR = True, False
    ds.save_as(path, write_like_original=False)


def write_dose(offsets):
    ds = item(SOPClassUID=RTDoseStorage, Modality="RTDOSE", Manufacturer="")
    ds.DoseUnits, ds.DoseType, ds.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    ds.NumberOfFrames, ds.FrameIncrementPointer = len(PLANES), 0x3004000C
    ds.GridFrameOffsetVector, ds.DoseGridScaling = offsets, 0.001
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [0, 0, PLANES[0]]
    ds.PixelSpacing, ds.SliceThickness = [1, 1], ""
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = 32
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 32, 32, 31, 0
    stored = np.array([round(GRAY[z] * 1000) for z in PLANES], "<u4")
    ds.PixelData = np.repeat(stored, 32 * 32).tobytes()
    write(ds, "dose.dcm")


def write_structure():
    ds = item(SOPClassUID=RTStructureSetStorage, Modality="RTSTRUCT", StructureSetLabel="A")
    ds.StructureSetDate, ds.StructureSetTime = "20261130", "120000"
    roi = item(ROINumber=1, ReferencedFrameOfReferenceUID=FRAME, ROIName="PTV")
    roi.ROIGenerationAlgorithm = "MANUAL"
    ds.StructureSetROISequence = [roi]
    corners = [(8, 8), (24, 8), (24, 24), (8, 24)]
    outlines = [
        item(
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=4,
            ContourData=[value for x, y in corners for value in (x, y, z)],
        )
        for z in TARGET
    ]
    ds.ROIContourSequence = [item(ReferencedROINumber=1, ContourSequence=outlines)]
    observation = item(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="PTV")
    observation.ROIInterpreter = ""
    ds.RTROIObservationsSequence = [observation]
    write(ds, "structure.dcm")


def by_simpleitk():
    image = sitk.ReadImage("dose.dcm")
    array = sitk.GetArrayFromImage(image)
    doses = []
    for z in TARGET:
        _, _, k = image.TransformPhysicalPointToIndex((16.0, 16.0, float(z)))
        doses.append(array[k, 16, 16] * 0.001)
    return round(float(np.mean(doses)), 1)


said = []


class Listener(logging.Handler):
    def emit(self, record):
        said.append(record)


logging.getLogger().addHandler(Listener(logging.WARNING))
write_structure()
right = round(float(np.mean([GRAY[z] for z in TARGET])), 1)
seen = []
for offsets in ([z - PLANES[0] for z in PLANES], PLANES):
    write_dose(offsets)
    said.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        dvh = dvhcalc.get_dvh("structure.dcm", "dose.dcm", 1)
    said += [w for w in caught if issubclass(w.category, UserWarning)]
    found = round(dvh.mean, 1)
    first = ", ".join(map(str, offsets[:3]))
    print(f"offsets {first}, ...: target {right} Gy, SimpleITK {by_simpleitk()} Gy,", end=" ")
    print(f"dicompyler-core {found} Gy, warnings {len(said)}")
    seen.append((by_simpleitk(), found, len(said), dvh.notes))
raise SystemExit(0 if seen == [(right, right, 0, None), (right, 9.5, 0, None)] else 1)
PYTHON
