#!/bin/sh
# antspyx 0.6.3: ants.label_image_centroids() gives wrong places. In a cubic image, x and z are
# exchanged. In another image, all three coordinates are wrong: the middle of a block that goes
# from 3 to 6, 4 to 8 and 2 to 5 is said to be at 9.5, 9.3, 5.3, outside of the block. And
# physical=True, documented to give physical space, gives the same numbers as physical=False. There
# is no error and no warning.
#
# The lists of coordinates run with x fastest, the array of labels is flattened with z fastest, and
# the list for z is made with the size of y. scipy.ndimage.center_of_mass and, in millimetres,
# ants.label_geometry_measures() are right.
#
# Output seen on 2026-11-30 (voxels of 1 x 2 x 3 mm, origin 10, 20, 30; scipy 1.15.3):
#   cubic, 24 x 24 x 24
#     block in voxels: right 4.5 6.0 3.5, ants 3.5 6.0 4.5
#     block in mm: right 14.5 32.0 40.5, geometry measures 14.5 32.0 40.5, ants 3.5 6.0 4.5
#   other, 20 x 24 x 16
#     block in voxels: right 4.5 6.0 3.5, ants 9.5 9.3 5.3
#     block in mm: right 14.5 32.0 40.5, geometry measures 14.5 32.0 40.5, ants 9.5 9.3 5.3
#
# Exits with 1 if that changes. Needs python3 (3.11 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q "numpy==2.3.5" "scipy==1.15.3" "antspyx==0.6.3"
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import ants
import numpy as np
from scipy.ndimage import center_of_mass

SPACING, ORIGIN = (1.0, 2.0, 3.0), (10.0, 20.0, 30.0)


def text(place):
    return " ".join(f"{n:.1f}" for n in place)


seen = []
for name, shape in [("cubic", (24, 24, 24)), ("other", (20, 24, 16))]:
    labels = np.zeros(shape, np.uint32)
    labels[3:7, 4:9, 2:6] = 1
    image = ants.from_numpy(labels, origin=ORIGIN, spacing=SPACING)
    assert np.array_equal(image.numpy(), labels)
    right = np.array(center_of_mass(labels == 1))
    in_mm = right * SPACING + ORIGIN
    table = ants.label_geometry_measures(image)
    measured = [float(table[f"Centroid_{axis}"].iloc[0]) for axis in "xyz"]
    voxels = ants.label_image_centroids(image)["vertices"][0]
    physical = ants.label_image_centroids(image, physical=True)["vertices"][0]
    print(f"{name}, {' x '.join(map(str, shape))}")
    print(f"  block in voxels: right {text(right)}, ants {text(voxels)}")
    print(f"  block in mm: right {text(in_mm)},", end=" ")
    print(f"geometry measures {text(measured)}, ants {text(physical)}")
    seen.append(np.allclose(measured, in_mm) and np.array_equal(voxels, physical))
    wrong = right[::-1] if name == "cubic" else [9.5, 9.3, 5.3]
    seen.append(np.allclose(voxels, wrong))
raise SystemExit(0 if all(seen) else 1)
PYTHON
