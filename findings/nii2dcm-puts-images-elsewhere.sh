#!/bin/sh
# nii2dcm 0.1.6: the DICOM series made from a NIfTI file lies at another place of the patient. A
# lesion at 33, -7, 34.5 mm (right to left, back to front, feet to head) comes out at 133, 133, 31.5
# mm: 100 mm and 140 mm away, and one slice too low. There is no error and no warning.
#
# NIfTI counts to the right and to the front, DICOM to the left and to the back. nii2dcm changes the
# sign of the directions, but not of the position, so the error is twice the offset of the NIfTI
# file; and the first slice gets the position of the one before it. SimpleITK 2.5.7 and dcm2niix
# 1.0.20260724 agree on where the series lies, and on where the NIfTI file lies.
#
# Output seen on 2026-11-30 (middle of the lesion, mm to the right, to the front, to the head):
#   NIfTI file, nibabel:                33.0   -7.0   34.5
#   NIfTI file, SimpleITK:              33.0   -7.0   34.5
#   series of nii2dcm, SimpleITK:      133.0  133.0   31.5
#   series of nii2dcm, dcm2niix:       133.0  133.0   31.5
#
# Exits with 1 if that changes. Needs python3 (3.10 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q "nii2dcm==0.1.6" "SimpleITK==2.5.7" "dcm2niix==1.0.20260724"
mkdir "$folder/series" "$folder/back"
cd "$folder"
env/bin/python - <<'PYTHON'
import nibabel as nib
import numpy as np

voxels = np.zeros((60, 50, 40), np.int16)
voxels[40:44, 30:34, 20:24] = 100
affine = [[2, 0, 0, -50], [0, 2, 0, -70], [0, 0, 3, -30], [0, 0, 0, 1]]
nib.save(nib.Nifti1Image(voxels, np.array(affine, float)), "scan.nii.gz")
PYTHON
env/bin/nii2dcm scan.nii.gz series -d MR > said 2>&1
env/bin/dcm2niix -o back -f back series > /dev/null
env/bin/python - <<'PYTHON'
import nibabel as nib
import numpy as np
import SimpleITK as sitk


def by_nibabel(path):
    image = nib.load(path)
    middle = np.argwhere(np.asarray(image.dataobj) > 50).mean(0)
    return nib.affines.apply_affine(image.affine, middle)


def by_simpleitk(image):
    middle = np.argwhere(sitk.GetArrayFromImage(image) > 50).mean(0)[::-1]
    return np.array(image.TransformContinuousIndexToPhysicalPoint(middle.tolist())) * [-1, -1, 1]


series = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames("series"))
seen = {
    "NIfTI file, nibabel:": by_nibabel("scan.nii.gz"),
    "NIfTI file, SimpleITK:": by_simpleitk(sitk.ReadImage("scan.nii.gz")),
    "series of nii2dcm, SimpleITK:": by_simpleitk(series),
    "series of nii2dcm, dcm2niix:": by_nibabel("back/back.nii"),
}
for name, place in seen.items():
    print(f"{name:32}", *(f"{mm:6.1f}" for mm in place))
right, wrong = (33, -7, 34.5), (133, 133, 31.5)
expected = [right, right, wrong, wrong]
quiet = not any(word in open("said").read().lower() for word in ("warn", "error"))
raise SystemExit(0 if np.allclose(list(seen.values()), expected, atol=0.1) and quiet else 1)
PYTHON
