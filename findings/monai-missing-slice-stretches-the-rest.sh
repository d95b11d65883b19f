#!/bin/sh
# MONAI 1.6.1: PydicomReader divides the way from the first to the last slice by their number. Where one slice of a series
# is missing, it spreads the others evenly: six slices at 0, 2, 4, 6, 8 and 12 mm are said to lie 2.4 mm apart, so a lesion
# at 8 mm is found at 9.6 mm. There is no error and no warning. SimpleITK 2.5.7 does the same and warns; dicom2nifti 2.6.2
# refuses the series, dcm2niix writes it in two parts.
#
# Seen on 2026-11-29:
#   complete: slices 2.0 mm apart, slice at 8 mm is at 8.0 mm, warnings 0
#   one missing: slices 2.4 mm apart, slice at 8 mm is at 9.6 mm, warnings 0
#
# Exits with 1 if that changes. Needs python3 (3.10 or newer) and a package index (torch is downloaded with MONAI).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q "torch==2.13.0" "monai==1.6.1" "pydicom==3.0.2"
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import logging
import warnings
from pathlib import Path

import numpy as np
from monai.data import PydicomReader
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def write(folder, heights):
    Path(folder).mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for k, z in enumerate(heights):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.InstanceNumber = "CT", z // 2 + 1
        ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, z]
        ds.PixelSpacing, ds.SliceThickness = [1, 1], 2
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows = ds.Columns = 8
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept = 1, 0
        ds.PixelData = np.full((8, 8), 100 * z, "<i2").tobytes()
        ds["PixelData"].VR = "OW"
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.save_as(f"{folder}/{k}.dcm", enforce_file_format=True)


class Counter(logging.Handler):
    count = 0

    def emit(self, record):
        self.count += record.levelno >= logging.WARNING


counter = Counter()
logging.getLogger().addHandler(counter)
seen = []
for name, heights in [("complete", (0, 2, 4, 6, 8, 10)), ("one missing", (0, 2, 4, 6, 8, 12))]:
    write(name, heights)
    counter.count = 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        reader = PydicomReader()
        voxels, meta = reader.get_data(reader.read(name))
    ours = [w for w in caught if issubclass(w.category, UserWarning)]
    (k,) = [k for k in range(6) if voxels[0, 0, k] == 800]
    distance, place = float(meta["affine"][2, 2]), float((meta["affine"] @ [0, 0, k, 1])[2])
    said = len(ours) + counter.count
    print(f"{name}: slices {distance:.1f} mm apart, slice at 8 mm is at {place:.1f} mm, warnings {said}")
    seen.append((round(distance, 3), round(place, 3), said))
raise SystemExit(0 if seen == [(2.0, 8.0, 0), (2.4, 9.6, 0)] else 1)
PYTHON
