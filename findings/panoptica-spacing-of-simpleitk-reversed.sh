#!/bin/sh
# panoptica 2.1.7: surface and centre distances are wrong for paths of NIfTI and MetaImage files,
# and for SimpleITK images, where voxels are not cubes: the array has the axes z, y, x, the spacing
# stays x, y, z. A lesion that is 4 voxels of 0.8 mm off has a Hausdorff distance of 20 mm, not 3.2.
# One that is 1 slice of 5 mm off has 0.8 mm. There is no error and no warning.
#
# nibabel images are measured rightly. SimpleITK is no requirement of panoptica: paths of NIfTI
# files are read by nibabel, and measured rightly, as long as SimpleITK is not installed. What is
# asked for as a global metric is in voxels for all inputs, beside the others in millimetres.
#
# Output seen on 2026-11-30 (SimpleITK 2.5.7, nibabel 5.4.2; voxels of 0.8 x 0.8 x 5 mm):
#   without SimpleITK
#   4 voxels to the side, 3.2 mm: nibabel 3.2, global 4
#   4 voxels to the side, 3.2 mm: .nii.gz path 3.2, global 4
#   1 slice up, 5 mm: nibabel 5, global 1
#   1 slice up, 5 mm: .nii.gz path 5, global 1
#   with SimpleITK
#   4 voxels to the side, 3.2 mm: nibabel 3.2, global 4
#   4 voxels to the side, 3.2 mm: .nii.gz path 20, global 4
#   4 voxels to the side, 3.2 mm: SimpleITK 20, global 4
#   1 slice up, 5 mm: nibabel 5, global 1
#   1 slice up, 5 mm: .nii.gz path 0.8, global 1
#   1 slice up, 5 mm: SimpleITK 0.8, global 1
# Exits with 1 when this changes. Needs python3 (3.10 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q panoptica==2.1.7 nibabel==5.4.2 "numpy<2.3"
cat > distance.py <<'PYTHON'
import sys
import warnings

import nibabel as nib
import numpy as np
from panoptica import InputType, Panoptica_Evaluator
from panoptica.metrics import Metric
from panoptica.utils.citation_reminder import disable_citation_reminder
from scipy.spatial.distance import cdist

AFFINE = np.diag([0.8, 0.8, 5, 1])
MOVES = {"4 voxels to the side": (4, 0, 0), "1 slice up": (0, 0, 1)}


def lesion(move):
    mask = np.zeros((40, 40, 12), np.uint8)
    mask[10:20, 10:20, 4:8] = 1
    return np.roll(mask, move, (0, 1, 2))


def by_definition(a, b):
    places = [nib.affines.apply_affine(AFFINE, np.argwhere(mask)) for mask in (a, b)]
    between = cdist(*places)
    return max(between.min(0).max(), between.min(1).max())


def by_panoptica(predicted, right):
    evaluator = Panoptica_Evaluator(
        expected_input=InputType.MATCHED_INSTANCE,
        instance_metrics=[Metric.HD],
        global_metrics=[Metric.HD],
        decision_metric=None,
    )
    (result,) = evaluator.evaluate(predicted, right, verbose=False).values()
    return float(result.sq_hd), float(result.global_bin_hd)


def inputs():
    """The same two files, as they are handed to panoptica."""
    yield "nibabel", nib.load
    yield ".nii.gz path", str
    if "SimpleITK" in sys.argv:
        import SimpleITK as sitk

        yield "SimpleITK", sitk.ReadImage


disable_citation_reminder()
seen = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    for move, voxels in MOVES.items():
        masks = lesion((0, 0, 0)), lesion(voxels)
        for name, mask in zip(("right", "predicted"), masks):
            nib.save(nib.Nifti1Image(mask, AFFINE), name + ".nii.gz")
        right = by_definition(*masks)
        for name, read in inputs():
            one, all_together = by_panoptica(read("predicted.nii.gz"), read("right.nii.gz"))
            print(f"{move}, {right:g} mm: {name} {one:g}, global {all_together:g}")
            seen.append([name, round(one, 2), all_together])
for warning in caught:
    print("warning:", warning.message)
wanted = [["nibabel", 3.2, 4], [".nii.gz path", 3.2, 4], ["nibabel", 5, 1], [".nii.gz path", 5, 1]]
if "SimpleITK" in sys.argv:
    wanted[3:] = [[".nii.gz path", 0.8, 1], ["SimpleITK", 0.8, 1]]
    wanted[1:2] = [[".nii.gz path", 20, 4], ["SimpleITK", 20, 4]]
sys.exit(0 if seen == wanted and not caught else 1)
PYTHON
echo "without SimpleITK"
env/bin/python distance.py
env/bin/pip install -q SimpleITK==2.5.7
echo "with SimpleITK"
env/bin/python distance.py SimpleITK
