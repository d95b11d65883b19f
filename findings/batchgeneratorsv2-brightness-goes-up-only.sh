#!/bin/sh
# batchgeneratorsv2 0.3.6: BrightnessAdditiveTransform(mu=0, sigma=0.5) shifts the brightness by a
# number from a normal distribution, it says. By default it takes one between mu and sigma: each
# image gets brighter, by 0.25 on average, none by more than 0.5. There is no error and no warning.
#
# With synchronize_channels=False the shift is right, but the default is True. (A mu larger than
# sigma is refused, as the first number of a range has to be the smaller one.)
#
# Output seen on 2026-11-30 (torch 2.13.0; 2000 images of one channel):
#   by definition: mean -0.01, sd 0.49, at most 1.59, darker 50 %
#   default: mean 0.25, sd 0.14, at most 0.50, darker 0 %
#   synchronize_channels=False: mean 0.00, sd 0.50, at most 1.71, darker 51 %
#   warnings: 0
# Exits with 1 when this changes. Needs python3 (3.10 or newer) and a package index (torch is
# downloaded with batchgeneratorsv2).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q torch==2.13.0 batchgeneratorsv2==0.3.6
cat > shift.py <<'PYTHON'
import sys
import warnings

import numpy as np
import torch
from batchgeneratorsv2.transforms.intensity.brightness import BrightnessAdditiveTransform

MU, SIGMA, NUMBER = 0, 0.5, 2000
np.random.seed(0)
torch.manual_seed(0)


def shifts(**options):
    transform = BrightnessAdditiveTransform(MU, SIGMA, **options)
    image = torch.zeros(1, 4, 4, 4)
    return np.array([float(transform(image=image.clone())["image"].mean()) for _ in range(NUMBER)])


SHIFTS = {"by definition": np.random.normal(MU, SIGMA, NUMBER)}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    SHIFTS["default"] = shifts()
    SHIFTS["synchronize_channels=False"] = shifts(synchronize_channels=False)
seen = {}
for name, values in SHIFTS.items():
    darker = np.mean(values < 0)
    seen[name] = values.mean(), values.std(), values.max(), darker
    print("{}: mean {:.2f}, sd {:.2f}, at most {:.2f}, ".format(name, *seen[name][:3]), end="")
    print(f"darker {100 * darker:.0f} %")
print("warnings:", len(caught))
mean, sd, most, darker = seen["default"]
wrong = darker == 0 and 0.23 < mean < 0.27 and most <= SIGMA
normal = [seen["by definition"], seen["synchronize_channels=False"]]
right = all(abs(values[0]) < 0.05 and 0.45 < values[1] < 0.55 for values in normal)
sys.exit(0 if wrong and right and not caught else 1)
PYTHON
env/bin/python shift.py
