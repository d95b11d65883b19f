#!/bin/sh
# SimpleITK 2.5.7 (ITK 5.4) reads NaN and infinity in a float NIfTI as 0, and says nothing. The same
# array comes back whole from NRRD, and nibabel reads the NIfTI file whole. A mean over the finite
# voxels therefore changes with the reader: 4.0 by nibabel, 2.4 by SimpleITK.
#
# Output seen:
#   nibabel   nii  [ 1.  3. nan inf  8.] mean of the finite 4.0
#   SimpleITK nii  [1. 3. 0. 0. 8.] mean of the finite 2.4
#   SimpleITK nrrd [ 1.  3. nan inf  8.] mean of the finite 4.0
# Exits with 1 when this changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q SimpleITK==2.5.7 nibabel==5.4.2 numpy
env/bin/python - <<'PY'
import sys

import nibabel as nib
import numpy as np
import SimpleITK as sitk

values = np.array([1, 3, np.nan, np.inf, 8], np.float32)
nib.save(nib.Nifti1Image(values.reshape(5, 1, 1), np.eye(4)), "a.nii")
sitk.WriteImage(sitk.GetImageFromArray(values.reshape(1, 1, 5)), "a.nrrd")
read = {
    "nibabel   nii ": np.asarray(nib.load("a.nii").dataobj).ravel(),
    "SimpleITK nii ": sitk.GetArrayFromImage(sitk.ReadImage("a.nii")).ravel(),
    "SimpleITK nrrd": sitk.GetArrayFromImage(sitk.ReadImage("a.nrrd")).ravel(),
}
for reader, found in read.items():
    print(reader, found, "mean of the finite", round(float(found[np.isfinite(found)].mean()), 2))
whole = [np.array_equal(found, values, equal_nan=True) for found in read.values()]
sys.exit(0 if whole == [True, False, True] and (read["SimpleITK nii "][2:4] == 0).all() else 1)
PY
