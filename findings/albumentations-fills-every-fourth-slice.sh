#!/bin/sh
# albumentations 2.0.8: ElasticTransform, GridDistortion, OpticalDistortion, ThinPlateSpline and
# Perspective, with border_mode=cv2.BORDER_CONSTANT, write "fill" and "fill_mask" into every fourth
# slice of a volume only. In the others, what lies outside becomes 0: water instead of air in a CT,
# background instead of "ignore" in a mask. There is no error and no warning.
#
# The slices are handed to OpenCV four at a time, as the channels of one image, and a number counts
# for the first channel only. In an RGB image, a fill of 255 becomes red. The same slices, each
# given as an image, come out right, and so do volumes from Rotate and Affine. albumentationsx
# 2.5.1, the successor under another licence, fills all slices alike, and white.
#
# Output seen on 2026-11-30 (opencv 5.0.0; volumes of 9 slices; fill -1000, fill_mask 255):
#   ElasticTransform: lowest -1000 0 0 0 -1000 0 0 0 -1000, 255 in 3 masks
#   GridDistortion: lowest -1000 0 0 0 -1000 0 0 0 -1000, 255 in 3 masks
#   OpticalDistortion: lowest -1000 0 0 0 -1000 0 0 0 -1000, 255 in 3 masks
#   ThinPlateSpline: lowest -1000 0 0 0 -1000 0 0 0 -1000, 255 in 3 masks
#   Perspective: lowest -1000 0 0 0 -1000 0 0 0 -1000, 255 in 3 masks
#   Rotate: lowest -1000 -1000 -1000 -1000 -1000 -1000 -1000 -1000 -1000, 255 in 9 masks
#   Affine: lowest -1000 -1000 -1000 -1000 -1000 -1000 -1000 -1000 -1000, 255 in 9 masks
#   each slice alone, by all of these: lowest -1000, 255 in the mask: True
#   RGB, all 200, filled with 255: [[200, 200, 200], [255, 0, 0]]
# Exits with 1 when this changes. Needs python3 (3.11 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q albumentations==2.0.8 opencv-python-headless==5.0.0.93 numpy==2.4.6
export NO_ALBUMENTATIONS_UPDATE=1
cat > fill.py <<'PYTHON'
import sys
import warnings

import albumentations as A
import cv2
import numpy as np

FILL = {"border_mode": cv2.BORDER_CONSTANT, "fill": -1000, "fill_mask": 255, "p": 1}
TRANSFORMS = [
    A.ElasticTransform(alpha=300, sigma=10, **FILL),
    A.GridDistortion(distort_limit=0.5, normalized=False, **FILL),
    A.OpticalDistortion(distort_limit=(0.5, 0.5), **FILL),
    A.ThinPlateSpline(**FILL),
    A.Perspective(scale=(0.1, 0.1), fit_output=True, **FILL),
    A.Rotate(limit=(30, 30), **FILL),
    A.Affine(rotate=(30, 30), **FILL),
]
tissue = np.full((9, 48, 48), 50, np.float32)  # in HU
mask = np.ones((9, 48, 48), np.uint8)


def seeded(transform):
    return A.Compose([transform], seed=1)


seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    for transform in TRANSFORMS:
        name = type(transform).__name__
        alone = [seeded(transform)(image=x, mask=y) for x, y in zip(tissue, mask)]
        together = seeded(transform)(volume=tissue, mask3d=mask)
        lowest = [round(float(x.min())) for x in together["volume"]]
        ignored = [int((x == 255).any()) for x in together["mask3d"]]
        right = all(x["image"].min() == -1000 and (x["mask"] == 255).any() for x in alone)
        seen[name] = lowest, ignored, right
        print(f"{name}: lowest {' '.join(map(str, lowest))}, 255 in {sum(ignored)} masks")
    alone = all(right for _, _, right in seen.values())
    print("each slice alone, by all of these: lowest -1000, 255 in the mask:", alone)
    rgb = np.full((48, 48, 3), 200, np.uint8)
    white = A.GridDistortion(
        distort_limit=0.5, normalized=False, border_mode=cv2.BORDER_CONSTANT, fill=255, p=1
    )
    colours = np.unique(seeded(white)(image=rgb)["image"].reshape(-1, 3), axis=0).tolist()
    print("RGB, all 200, filled with 255:", colours)
for warning in caught:
    print("warning:", warning.message)
fourth = [-1000, 0, 0, 0, -1000, 0, 0, 0, -1000], [1, 0, 0, 0, 1, 0, 0, 0, 1], True
all_of_them = [-1000] * 9, [1] * 9, True
wanted = [fourth] * 5 + [all_of_them] * 2
red = colours == [[200, 200, 200], [255, 0, 0]]
sys.exit(0 if list(seen.values()) == wanted and red and not caught else 1)
PYTHON
env/bin/python fill.py
