#!/bin/sh
# miseval 1.3.0: the metric "HausdorffDistance" (or "HD", calc_SimpleHausdorffDistance) does not
# measure a distance between masks. A mask 40 pixels below the right one scores 0, the best; the
# same mask 40 pixels to the right of it scores 2.83. There is no error and no warning.
#
# The two images themselves are handed to a function that takes lists of points, so each row of
# pixels is taken for one point of a space with as many axes as the image has columns. The class
# that is asked for is not looked at: all classes of one image get the same number. The metric
# "AverageHausdorffDistance" of miseval returns the Hausdorff distance, the maximum.
#
# Output seen on 2026-11-30 (a square of 8 x 8 pixels in an image of 64 x 64; of the three classes
# of another image, class 1 lies 20 pixels off and class 2 where it should):
#   itself: by definition 0, miseval 0
#   40 pixels below: by definition 40, miseval 0
#   40 pixels to the right: by definition 40, miseval 2.83
#   classes 0, 1, 2: by definition 4 20 0, miseval 2.83 2.83 2.83
# Exits with 1 when this changes. Needs python3 (3.11 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q miseval==1.3.0 hausdorff==0.2.6 numpy==2.4.6 scipy==1.17.1
cat > score.py <<'PYTHON'
import sys
import warnings

import numpy as np
from miseval import evaluate
from scipy.spatial.distance import cdist

right = np.zeros((64, 64), int)
right[4:12, 4:12] = 1
PREDICTED = {
    "itself": right,
    "40 pixels below": np.roll(right, 40, axis=0),
    "40 pixels to the right": np.roll(right, 40, axis=1),
}
two = right.copy()
two[40:60, 40:60] = 2  # a second class, found without a fault


def by_definition(a, b):
    between = cdist(np.argwhere(a), np.argwhere(b))
    return max(between.min(0).max(), between.min(1).max())


def by_miseval(a, b, **options):
    return np.round(evaluate(a, b, metric="HausdorffDistance", **options), 2)


seen = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    for name, mask in PREDICTED.items():
        seen.append((float(by_definition(right, mask)), float(by_miseval(right, mask))))
        print("{}: by definition {:g}, miseval {:g}".format(name, *seen[-1]))
    moved = two.copy()
    moved[two == 1] = 0
    moved[4:12, 24:32] = 1
    definition = [float(by_definition(two == k, moved == k)) for k in range(3)]
    classes = by_miseval(two, moved, n_classes=3, multi_class=True).tolist()
    texts = [" ".join(map("{:g}".format, values)) for values in (definition, classes)]
    print("classes 0, 1, 2: by definition {}, miseval {}".format(*texts))
for warning in caught:
    print("warning:", warning.message)
masks = seen == [(0, 0), (40, 0), (40, 2.83)]
numbered = (definition, classes) == ([4, 20, 0], [2.83, 2.83, 2.83])
sys.exit(0 if masks and numbered and not caught else 1)
PYTHON
env/bin/python score.py
