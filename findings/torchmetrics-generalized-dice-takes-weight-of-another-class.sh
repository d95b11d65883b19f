#!/bin/sh
# torchmetrics 1.9.0: generalized_dice_score, and GeneralizedDiceScore, depend on how the classes
# are numbered and on the order of the images in a batch. One and the same mask scores 0.369, 0.691
# or 0.884, without a warning.
#
# A class that is missing in an image has the weight 1 / 0. It shall be replaced by the largest
# weight of this class in the batch, but the table of these is transposed before it is laid flat,
# so that the weight of another class is taken. Only batches of several images, in which one lacks
# a class that was predicted, are concerned.
#
# Output seen on 2026-11-29 (torch 2.13.0; image A lacks a lesion that is predicted, B has it):
#   by the formula: 0.369
#   background 0, organ 1, lesion 2: A of A, B 0.691, A of B, A 0.369
#   background 0, organ 2, lesion 1: A of A, B 0.884, A of B, A 0.691
#   background 1, organ 0, lesion 2: A of A, B 0.884, A of B, A 0.369
#   background 1, organ 2, lesion 0: A of A, B 0.369, A of B, A 0.884
#   background 2, organ 0, lesion 1: A of A, B 0.691, A of B, A 0.884
#   background 2, organ 1, lesion 0: A of A, B 0.369, A of B, A 0.691
# Exits with 1 when this changes. Needs python3 (3.10 or newer) and a package index (torch is
# downloaded with torchmetrics).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q torch==2.13.0 torchmetrics==1.9.0
cat > score.py <<'PYTHON'
import sys
import warnings
from itertools import permutations

import torch
from torchmetrics.functional.segmentation import generalized_dice_score

BACKGROUND, ORGAN, LESION = range(3)
target = torch.full((2, 10, 10), BACKGROUND)  # images A and B
target[0, :2] = ORGAN
target[1, :5] = ORGAN
target[1, 9] = LESION
predicted = target.clone()
predicted[0, 8:] = LESION  # 20 pixels that A does not have


def by_the_formula():
    """The score of A: classes weigh 1 / size ** 2, the missing one as much as it does in B."""
    a, b = (torch.stack([x[0] == k for k in range(3)]) for x in (target, predicted))
    size = a.sum((1, 2)).double()
    size[LESION] = (target[1] == LESION).sum()
    weight = size**-2
    both, each = (a & b).sum((1, 2)), a.sum((1, 2)) + b.sum((1, 2))
    return round(float((2 * both * weight).sum() / (each * weight).sum()), 3)


def score_of_a(numbers, order):
    masks = (torch.tensor(numbers)[x][list(order)] for x in (predicted, target))
    scores = generalized_dice_score(*masks, num_classes=3, input_format="index")
    return round(float(scores[order.index(0)]), 3)


right = by_the_formula()
print("by the formula:", right)
seen = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    for numbers in permutations(range(3)):
        classes = ", ".join(map("{} {}".format, ("background", "organ", "lesion"), numbers))
        first, second = score_of_a(numbers, (0, 1)), score_of_a(numbers, (1, 0))
        print(f"{classes}: A of A, B {first}, A of B, A {second}")
        seen += [first, second]
for warning in caught:
    print("warning:", warning.message)
sys.exit(0 if right == 0.369 and set(seen) == {0.369, 0.691, 0.884} and not caught else 1)
PYTHON
env/bin/python score.py
