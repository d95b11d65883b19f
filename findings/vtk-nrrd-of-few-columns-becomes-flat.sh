#!/bin/sh
# VTK 9.7.2 (pyvista 0.49.1): a volume in NRRD format whose first axis has 2 to 9 voxels is read as
# a flat picture: the first axis is taken for the channels of a pixel, although the file says that
# all three axes are "domain". A crop of 9 x 30 x 40 voxels around a lesion becomes 30 x 40 x 1
# pixels of 9 channels, in the plane x, y, with the spacing of y and z. No error, no warning.
#
# From 10 voxels on, the volume is right. The same image in MetaImage format is right as well, and
# SimpleITK 2.5.7 and pynrrd 1.1.3 read the NRRD file rightly.
#
# Output seen on 2026-11-30 (voxels of 0.8 x 0.8 x 3 mm; a lesion of 4 x 4 x 4 voxels):
#   9 x 30 x 40, .mha: 9 x 30 x 40, channels 1, size 6.4 x 23.2 x 117.0 mm
#   9 x 30 x 40, .nrrd: 30 x 40 x 1, channels 9, size 23.2 x 117.0 x 0.0 mm
#   10 x 30 x 40, .mha: 10 x 30 x 40, channels 1, size 7.2 x 23.2 x 117.0 mm
#   10 x 30 x 40, .nrrd: 10 x 30 x 40, channels 1, size 7.2 x 23.2 x 117.0 mm
#
# Exits with 1 if that changes. Needs python3 (3.10 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q "numpy==2.4.6" "SimpleITK==2.5.7" "pynrrd==1.1.3" "vtk==9.7.2" \
    "pyvista==0.49.1"
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import nrrd
import numpy as np
import pyvista as pv
import SimpleITK as sitk

SPACING = (0.8, 0.8, 3.0)


def size(places):
    return " x ".join(f"{n:.1f}" for n in np.ptp(places, axis=0))


seen = []
for columns in (9, 10):
    voxels = np.full((columns, 30, 40), 40, np.int16)
    voxels[3:7, 10:14, 20:24] = 90
    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
    image.SetSpacing(SPACING)
    for suffix in (".mha", ".nrrd"):
        path = "crop" + suffix
        sitk.WriteImage(image, path)
        assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(path)).T, voxels)
        mesh = pv.read(path)
        channels = mesh.active_scalars.size // mesh.n_points
        shape = " x ".join(map(str, mesh.dimensions))
        print(f"{columns} x 30 x 40, {suffix}: {shape}, channels {channels},", end=" ")
        print("size", size(mesh.points), "mm")
        right = mesh.dimensions == voxels.shape and np.array_equal(
            mesh.active_scalars.reshape(mesh.dimensions, order="F"), voxels
        )
        seen.append((right, mesh.dimensions, channels))
    read, header = nrrd.read("crop.nrrd")
    assert np.array_equal(read, voxels) and header["kinds"] == ["domain"] * 3
whole = [(True, (n, 30, 40), 1) for n in (9, 10, 10)]
expected = [whole[0], (False, (30, 40, 1), 9), *whole[1:]]
raise SystemExit(0 if seen == expected else 1)
PYTHON
