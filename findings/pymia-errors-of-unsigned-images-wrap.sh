#!/bin/sh
# pymia 0.3.4: the errors of a reconstruction are wrong where images are of unsigned integers, as
# most PNG files and many MR series are. An image that is 1 grey value off has a mean absolute error
# of 126, or of 32340, and one that is 16 off has a root mean squared error of 0. There is no error
# and no warning.
#
# The images are subtracted as they are, so that 0 - 1 is 255 (or 65535), and squared as they are,
# so that 16 * 16 is 0. MAE, MSE, RMSE and NRMSE are concerned. PSNR comes from scikit-image and is
# right, as are all of them for the same images as float32.
#
# Output seen on 2026-11-30 (numpy 2.3.5, SimpleITK 2.5.7):
#   1 off, by definition: MAE 1, RMSE 1, PSNR 45.98
#   1 off, float32: MAE 1, RMSE 1, PSNR 45.98
#   1 off, uint8: MAE 126.3, RMSE 1, PSNR 45.98
#   1 off, uint16: MAE 3.234e+04, RMSE 1, PSNR 45.98
#   16 off, by definition: MAE 16, RMSE 16, PSNR 21.89
#   16 off, float32: MAE 16, RMSE 16, PSNR 21.89
#   16 off, uint8: MAE 126.5, RMSE 0, PSNR 21.89
#   16 off, uint16: MAE 3.234e+04, RMSE 16, PSNR 21.89
# Exits with 1 when this changes. Needs python3 (3.11 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q pymia==0.3.4 SimpleITK==2.5.7 numpy==2.3.5 scikit-image==0.26.0
cat > errors.py <<'PYTHON'
import sys
import warnings

import numpy as np
import SimpleITK as sitk
from pymia.evaluation.metric import (
    MeanAbsoluteError,
    PeakSignalToNoiseRatio,
    RootMeanSquaredError,
)

METRICS = [MeanAbsoluteError(), RootMeanSquaredError(), PeakSignalToNoiseRatio()]
draw = np.random.default_rng(0)
image = draw.integers(20, 200, size=(64, 64))
sign = draw.choice([-1, 1], size=image.shape)


def by_definition(a, b):
    error = a.astype(float) - b
    mean = np.mean(error**2)
    return [np.abs(error).mean(), np.sqrt(mean), 10 * np.log10(a.max() ** 2 / mean)]


def by_pymia(a, b):
    for metric in METRICS:
        metric.reference, metric.prediction = a, b
    return [metric.calculate() for metric in METRICS]


def from_file(array, kind):
    """The image as it comes from a file."""
    sitk.WriteImage(sitk.GetImageFromArray(array.astype(kind)), "image.mha")
    return sitk.GetArrayFromImage(sitk.ReadImage("image.mha"))


def text(values):
    return ", ".join(f"{metric.metric} {v:.4g}" for metric, v in zip(METRICS, values))


seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for off in (1, 16):
        right = by_definition(image, image + off * sign)
        print(f"{off} off, by definition: {text(right)}")
        for kind in (np.float32, np.uint8, np.uint16):
            a, b = from_file(image, kind), from_file(image + off * sign, kind)
            values = by_pymia(a, b)
            seen[off, kind] = np.isclose(values, right, rtol=1e-3).tolist(), values
            print(f"{off} off, {a.dtype}: {text(values)}")
for warning in caught:
    print("warning:", warning.message)
floats = all(all(seen[off, np.float32][0]) for off in (1, 16))
mean = all(not seen[off, kind][0][0] for off in (1, 16) for kind in (np.uint8, np.uint16))
root = seen[16, np.uint8][1][1] == 0
sys.exit(0 if floats and mean and root and not caught else 1)
PYTHON
env/bin/python errors.py
