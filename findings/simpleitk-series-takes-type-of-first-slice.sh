#!/bin/sh
# SimpleITK 2.5.7 (ITK 5.4, GDCM): ImageSeriesReader chooses the pixel type of a DICOM series by its first slice. Where
# RescaleSlope differs between slices, as in PET, and is a whole number in the first one, the values of all other slices
# lose their fractions: 173.7 comes back as 173, without an error or a warning. With the fractional slope first, or with
# SetOutputPixelType(sitkFloat64), all values are right. A weak lesion of 0.9 becomes 0.
#
# Seen on 2026-11-29 (slopes 1 and 0.3; the second slice holds 3 and 579):
#   whole slope first: 0.0 173.0
#   fractional slope first: 0.9 173.7
#   whole slope first, output as float64: 0.9 173.7
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
import SimpleITK as sitk
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

STUDY, SERIES, FRAME = generate_uid(), generate_uid(), generate_uid()


def write(name, z, slope, values):
    """One slice of 8 x 8 pixels; its first two hold ``values``."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = PositronEmissionTomographyImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY, SERIES, FRAME
    ds.Modality, ds.InstanceNumber, ds.Units = "PT", z + 1, "BQML"
    ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 3 * z]
    ds.PixelSpacing, ds.SliceThickness = [2, 2], 3
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = 8
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.RescaleSlope, ds.RescaleIntercept = slope, 0
    pixels = np.full((8, 8), 100, "<u2")
    pixels[0, :2] = values
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(name, enforce_file_format=True)


def read(names, pixel_type=None):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    if pixel_type is not None:
        reader.SetOutputPixelType(pixel_type)
    voxels = sitk.GetArrayFromImage(reader.Execute())
    return [round(float(value), 3) for value in voxels[names.index("fraction.dcm"), 0, :2]]


write("whole.dcm", 0, "1", (3, 579))
write("fraction.dcm", 1, "0.3", (3, 579))
seen = {
    "whole slope first": read(["whole.dcm", "fraction.dcm"]),
    "fractional slope first": read(["fraction.dcm", "whole.dcm"]),
    "whole slope first, output as float64": read(["whole.dcm", "fraction.dcm"], sitk.sitkFloat64),
}
for name, values in seen.items():
    print(f"{name}:", *values)
raise SystemExit(0 if list(seen.values()) == [[0, 173], [0.9, 173.7], [0.9, 173.7]] else 1)
PYTHON
