#!/bin/sh
# seg-metrics 1.2.8: a prediction that misses the whole lesion gets the best surface distances: hd,
# hd95, msd and mdsd are 0, as for a perfect one. So does one that finds a lesion where there is
# none. With one voxel predicted, anywhere, the distance is right. There is no error and no warning.
#
# Where one of both masks is empty, its distance map is set to 0, so that all distances to it are 0.
# A mean over patients gets better with each lesion that is missed. (If the Dice is asked for as
# well, it is 0, and a message about precision, recall and FPR is logged.)
#
# Output seen on 2026-11-30 (SimpleITK 2.5.7; voxels of 1 x 1 x 1 mm):
#   perfect: hd 0, hd95 0, msd 0, mdsd 0; hd by definition 0
#   2 mm off: hd 2, hd95 2, msd 0.74, mdsd 0; hd by definition 2
#   one voxel far off: hd 22.52, hd95 21.38, msd 18.36, mdsd 18.25; hd by definition 22.52
#   lesion missed: hd 0, hd95 0, msd 0, mdsd 0; hd by definition nan
#   lesion where there is none: hd 0, hd95 0, msd 0, mdsd 0; hd by definition nan
#   warnings: 0
# Exits with 1 when this changes. Needs python3 (3.11 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q seg-metrics==1.2.8 medutils==0.1.21 SimpleITK==2.5.7 numpy==2.4.6 \
  pandas==3.1.1 scipy==1.17.1
cat > distance.py <<'PYTHON'
import logging
import sys
import warnings

import numpy as np
from scipy.spatial.distance import cdist
from seg_metrics import seg_metrics

NAMES = ["hd", "hd95", "msd", "mdsd"]
lesion = np.zeros((32, 32, 32), np.uint8)
lesion[10:16, 10:16, 10:16] = 1
empty = np.zeros_like(lesion)
one = empty.copy()
one[2, 2, 2] = 1
near = np.roll(lesion, 2, axis=2)
PAIRS = {  # what is there, what was predicted
    "perfect": (lesion, lesion),
    "2 mm off": (lesion, near),
    "one voxel far off": (lesion, one),
    "lesion missed": (lesion, empty),
    "lesion where there is none": (empty, lesion),
}


def by_definition(a, b):
    """The Hausdorff distance: none, where one of both masks has no point."""
    if not a.any() or not b.any():
        return float("nan")
    between = cdist(np.argwhere(a), np.argwhere(b))
    return float(max(between.min(0).max(), between.min(1).max()))


class Messages(logging.Handler):
    texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


logging.getLogger().addHandler(Messages(logging.WARNING))
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    for name, (there, predicted) in PAIRS.items():
        result = seg_metrics.write_metrics(
            labels=[1], gdth_img=there, pred_img=predicted, metrics=NAMES, spacing=[1, 1, 1]
        )
        values = seen[name] = [round(float(result[0][key][0]), 2) for key in NAMES]
        texts = ", ".join(f"{key} {value:g}" for key, value in zip(NAMES, values))
        print(f"{name}: {texts}; hd by definition {by_definition(there, predicted):.4g}")
print("warnings:", len(caught) + len(Messages.texts))
right = all(seen[name][0] == round(by_definition(*PAIRS[name]), 2) for name in list(PAIRS)[:3])
wrong = seen["lesion missed"] == seen["lesion where there is none"] == [0, 0, 0, 0]
sys.exit(0 if right and wrong and not caught and not Messages.texts else 1)
PYTHON
env/bin/python distance.py
