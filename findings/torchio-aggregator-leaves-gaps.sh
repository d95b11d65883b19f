#!/bin/sh
# torchio 1.2.1: GridAggregator(sampler, downsampling_factor=2) is for networks whose output is
# half as large as their input. If the patches overlap, parts of the volume that it puts together
# are 0, in stripes: a third, or seven eighths. There is no error and no warning. With patches side
# by side, and with factor 1, the volume is whole.
#
# Places are divided by the factor, the overlap is not: of an overlap of 4 voxels of the input, 2
# voxels are cut off each output patch at inner sides, where 1 is right. With a padding_mode, as
# many are also cut off all sides of the whole volume, which comes out as 14 x 14 x 14.
#
# Output seen on 2026-11-29 (a volume of 32 x 32 x 32, all of it 1, in patches of 16 x 16 x 16):
#   factor 1, overlap 0: 32 x 32 x 32, 100.0 % filled
#   factor 1, overlap 4: 32 x 32 x 32, 100.0 % filled
#   factor 1, overlap 8: 32 x 32 x 32, 100.0 % filled
#   factor 2, overlap 0: 16 x 16 x 16, 100.0 % filled
#   factor 2, overlap 4: 16 x 16 x 16, 67.0 % filled
#   factor 2, overlap 8: 16 x 16 x 16, 12.5 % filled
# Exits with 1 when this changes. Needs python3 (3.10 or newer) and a package index (torch is
# downloaded with torchio).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q torch==2.13.0 torchio==1.2.1
cat > aggregate.py <<'PYTHON'
import sys
import warnings

import torch
import torchio as tio


def filled(factor, overlap, padding=None):
    """The size of the volume put together, and which part of it holds what was put in."""
    subject = tio.Subject(image=tio.ScalarImage(tensor=torch.ones(1, 32, 32, 32)))
    sampler = tio.GridSampler(subject, patch_size=16, patch_overlap=overlap, padding_mode=padding)
    aggregator = tio.GridAggregator(sampler, downsampling_factor=factor)
    for batch in tio.SubjectsLoader(sampler, batch_size=4):
        output = torch.nn.functional.avg_pool3d(batch["image"][tio.DATA], factor)
        aggregator.add_batch(output, batch[tio.LOCATION])
    volume = aggregator.get_output_tensor()[0]
    assert ((volume == 0) | (volume == 1)).all()
    return tuple(volume.shape), round(100 * float(volume.mean()), 1)


seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    warnings.simplefilter("always", RuntimeWarning)
    for factor in (1, 2):
        for overlap in (0, 4, 8):
            size, part = seen[factor, overlap] = filled(factor, overlap)
            shown = " x ".join(map(str, size))
            print(f"factor {factor}, overlap {overlap}: {shown}, {part} % filled")
for warning in caught:
    print("warning:", warning.message)
sizes = [size for size, _ in seen.values()] == [(32, 32, 32)] * 3 + [(16, 16, 16)] * 3
parts = [part for _, part in seen.values()] == [100, 100, 100, 100, 67, 12.5]
sys.exit(0 if sizes and parts and not caught else 1)
PYTHON
env/bin/python aggregate.py
