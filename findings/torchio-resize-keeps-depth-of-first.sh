#!/bin/sh
# torchio 1.2.1: Resize((8, 8, -1)) is documented to keep the size of the last axis. It keeps that
# of the first image that it meets, and resamples all later ones to it: 16 slices become 10, and 4
# become 10. There is no error and no warning.
#
# The transform writes the size of the first image into its own `target_shape`, in the place of
# -1. With a loader of several workers, each worker keeps the size of the first image of its own,
# so the shape of a sample depends on the number of workers and on the order.
#
# Output seen on 2026-11-29 (slices x distance in mm, before -> after):
#   one transform for all   10 x 1 -> 10 x 1, 16 x 1 -> 10 x 1.6, 4 x 1 -> 10 x 0.4
#   a new transform each    10 x 1 -> 10 x 1, 16 x 1 -> 16 x 1, 4 x 1 -> 4 x 1
# Exits with 1 when this changes. Needs python3 (3.10 or newer) and a package index (torch is
# downloaded with torchio).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q torch==2.13.0 torchio==1.2.1
cat > resize.py <<'PYTHON'
import sys
import warnings

import torch
import torchio as tio


def resized(transform, depth):
    image = tio.ScalarImage(tensor=torch.rand(1, 16, 16, depth))
    new = transform(image)
    sizes = [(i.spatial_shape[2], round(i.spacing[2], 3)) for i in (image, new)]
    return " -> ".join(f"{n} x {distance:g}" for n, distance in sizes), sizes[1]


with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    warnings.simplefilter("always", RuntimeWarning)
    one = tio.Resize((8, 8, -1))
    shared = [resized(one, depth) for depth in (10, 16, 4)]
    fresh = [resized(tio.Resize((8, 8, -1)), depth) for depth in (10, 16, 4)]
print("one transform for all  ", ", ".join(text for text, _ in shared))
print("a new transform each   ", ", ".join(text for text, _ in fresh))
same = [(10, 1.0), (10, 1.6), (10, 0.4)] == [size for _, size in shared]
kept = [(10, 1.0), (16, 1.0), (4, 1.0)] == [size for _, size in fresh]
for warning in caught:
    print("warning:", warning.message)
sys.exit(0 if same and kept and not caught else 1)
PYTHON
env/bin/python resize.py
