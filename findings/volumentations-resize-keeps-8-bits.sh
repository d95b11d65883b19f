#!/bin/sh
# volumentations-3D 1.0.4: Resize turns all values into whole numbers from 0 to 255 before it
# interpolates, and begins again at 0 beyond 255: a bone of 300 HU becomes 44, air of -1000 HU
# becomes 24, which is brighter than water, and an image from 0 to 1 becomes black. Labels above
# 255, as FreeSurfer has them, become other labels. There is no error and no warning.
#
# Compose makes float32 of the volume first; Resize converts it. RandomResizedCrop and
# ResizedCropNonEmptyMaskIfExists do the same. With resize_type=0 the values are kept.
#
# Output seen on 2026-11-30 (volumes of 16 x 16 x 16 voxels of one value, resized to 8 x 8 x 8;
# on x86-64):
#   image, right:          -1000 0.5 40 300 1000
#   image, Resize:         24 0 40 44 232
#   image, resize_type=0:  -1000 0.5 40 300 1000
#   mask, right:           17 1024
#   mask, Resize:          17 0
#   mask, resize_type=0:   17 1024
# Exits with 1 when this changes. Needs python3 (3.11 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q volumentations-3D==1.0.4 numpy==2.4.6 scipy==1.17.1
cat > resize.py <<'PYTHON'
import sys
import warnings

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of scipy, at import
    import volumentations

IMAGES = [-1000, 0.5, 40, 300, 1000]
LABELS = [17, 1024]


def resized(target, value, **options):
    volume = np.full((16, 16, 16, 1), value, np.float32)
    compose = volumentations.Compose([volumentations.Resize((8, 8, 8), **options)])
    new = compose(**{"image": volume, target: volume})[target]
    assert new.shape[:3] == (8, 8, 8) and new.min() == new.max()
    return float(new.min())


seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for target, values in (("image", IMAGES), ("mask", LABELS)):
        print(f"{target}, right:".ljust(22), *values)
        for name, options in (("Resize", {}), ("resize_type=0", {"resize_type": 0})):
            seen[target, name] = [resized(target, value, **options) for value in values]
            print(f"{target}, {name}:".ljust(22), *map("{:g}".format, seen[target, name]))
for warning in caught:
    print("warning:", warning.message)
wrong = seen["image", "Resize"] == [24, 0, 40, 44, 232] and seen["mask", "Resize"] == [17, 0]
kept = seen["image", "resize_type=0"] == IMAGES and seen["mask", "resize_type=0"] == LABELS
sys.exit(0 if wrong and kept and not caught else 1)
PYTHON
env/bin/python resize.py
