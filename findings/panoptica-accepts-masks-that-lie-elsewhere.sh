#!/bin/sh
# panoptica 2.1.7: before it compares two masks, it checks that they lie at the same place, and
# refuses them where they do not. It adds up the differences of the two affines with their signs,
# so a prediction that lies 30 mm to the left of the right mask, or is mirrored, is accepted, with
# a Dice of 1, without a warning. The same two masks in the other order are refused.
#
# The same was seen with SimpleITK images and with paths of NRRD and MetaImage files. Differences
# that cancel each other, such as two axes in exchanged order, pass both ways.
#
# Output seen on 2026-11-30 (nibabel 5.4.2):
#   the same place, 0 mm apart: Dice 1.0, in the other order 1.0
#   30 mm to the left, 30 mm apart: Dice 1.0, in the other order refused
#   mirrored, 29 mm apart: Dice 1.0, in the other order refused
#   two axes exchanged, 21 mm apart: Dice 1.0, in the other order 1.0
# Exits with 1 when this changes. Needs python3 (3.10 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q panoptica==2.1.7 nibabel==5.4.2 "numpy<2.3"
cat > place.py <<'PYTHON'
import sys
import warnings

import nibabel as nib
import numpy as np
from panoptica import InputType, Panoptica_Evaluator
from panoptica.metrics import Metric
from panoptica.utils.citation_reminder import disable_citation_reminder

VOXELS = np.zeros((40, 40, 40), np.uint8)
VOXELS[10:20, 10:20, 25:35] = 1


def image(*first_columns, origin=(0, 0, 0)):
    affine = np.eye(4)
    affine[:3, :3] = np.transpose(first_columns)
    affine[:3, 3] = origin
    return nib.Nifti1Image(VOXELS, affine)


X, Y, Z = np.eye(3)
RIGHT = image(X, Y, Z)
PREDICTED = {
    "the same place": RIGHT,
    "30 mm to the left": image(X, Y, Z, origin=(-30, 0, 0)),
    "mirrored": image(-X, Y, Z),
    "two axes exchanged": image(X, Z, Y),
}


def centre(mask):
    return nib.affines.apply_affine(mask.affine, np.argwhere(mask.get_fdata()).mean(0))


def dice(predicted, right):
    evaluator = Panoptica_Evaluator(
        expected_input=InputType.MATCHED_INSTANCE,
        instance_metrics=[Metric.DSC],
        global_metrics=[Metric.DSC],
        decision_metric=None,
    )
    try:
        (result,) = evaluator.evaluate(predicted, right, verbose=False).values()
    except ValueError as error:
        return "refused" if "Affine Mismatch" in str(error) else str(error)
    return float(result.global_bin_dsc)


disable_citation_reminder()
seen = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    for name, predicted in PREDICTED.items():
        apart = float(np.linalg.norm(centre(predicted) - centre(RIGHT)))
        seen.append((dice(predicted, RIGHT), dice(RIGHT, predicted)))
        print("{}, {:.0f} mm apart: Dice {}, in the other order {}".format(name, apart, *seen[-1]))
for warning in caught:
    print("warning:", warning.message)
once = (1, "refused")
sys.exit(0 if seen == [(1, 1), once, once, (1, 1)] and not caught else 1)
PYTHON
env/bin/python place.py
