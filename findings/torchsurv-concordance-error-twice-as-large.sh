#!/bin/sh
# torchsurv 0.2.0: the confidence interval of the concordance index, by default, is twice as wide as
# it should be. Of 400 intervals "of 95 %", each of other patients, all hold the true index, and a
# p-value of 0.004 becomes 0.140. There is no error and no warning.
#
# The standard error needs, for each patient, the number of pairs in which this patient is ranked
# rightly. Each pair belongs to two patients, but it is counted only for the one with the earlier
# event. The same formula with pairs counted for both is right, as is torchsurv's own bootstrap. The
# test of compare(), by default, and the interval "conservative" are made of the same counts.
#
# Output seen on 2026-11-30 (torch 2.13.0; 150 patients in each sample):
#   concordance index: 0.583, over 400 samples it varies by 0.034
#   formula: standard error 0.032, intervals that hold the true index 92.8 %
#   torchsurv: standard error 0.065, intervals that hold the true index 100.0 %
#   p-values of the first sample: formula 0.004, torchsurv, bootstrap 0.004, torchsurv 0.140
#   warnings: 0
# Exits with 1 when this changes. Needs python3 (3.10 or newer) and a package index (torch is
# downloaded with torchsurv).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q torch==2.13.0 torchsurv==0.2.0 pandas==3.1.1 numpy==2.4.6 scipy==1.17.1
cat > error.py <<'PYTHON'
import sys
import warnings

import numpy as np
import torch
from scipy.stats import norm
from torchsurv.metrics.cindex import ConcordanceIndex

NUMBER = 150  # patients
SAMPLES = 400
WIDTH = norm.ppf(0.975)
draw = np.random.default_rng(0)


def patients():
    """A marker, the time to the event or the end of observation, and whether it was the event."""
    marker = draw.normal(size=NUMBER)
    event = draw.exponential(np.exp(-0.3 * marker))
    end = draw.exponential(2, NUMBER)
    return marker.astype(np.float32), np.minimum(event, end).astype(np.float32), event <= end


def by_formula(marker, time, event):
    """The index and its standard error (Noether, in Pencina and D'Agostino 2004)."""
    earlier = event[:, None] & (time[:, None] < time)  # pairs: the first of the two is known
    higher = marker[:, None] > marker
    right, wrong = earlier & higher, earlier & ~higher
    index = right.sum() / earlier.sum()
    c = right.sum(0) + right.sum(1)  # of each patient, earlier or later than the other one
    d = wrong.sum(0) + wrong.sum(1)
    two, three = NUMBER * (NUMBER - 1), NUMBER * (NUMBER - 1) * (NUMBER - 2)
    pc, pd = c.sum() / two, d.sum() / two
    pcc, pdd, pcd = (c * (c - 1)).sum() / three, (d * (d - 1)).sum() / three, (c * d).sum() / three
    variance = 4 / (pc + pd) ** 4 * (pd**2 * pcc - 2 * pc * pd * pcd + pc**2 * pdd)
    return index, np.sqrt(variance / NUMBER)


def by_torchsurv(marker, time, event):
    concordance = ConcordanceIndex()
    index = concordance(*map(torch.from_numpy, (marker, event, time)))
    low, high = concordance.confidence_interval()
    return float(index), float(high - low) / 2 / WIDTH, concordance


seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    samples = [patients() for _ in range(SAMPLES)]
    right = np.array([by_formula(*sample) for sample in samples])
    got = np.array([by_torchsurv(*sample)[:2] for sample in samples])
    assert np.allclose(got[:, 0], right[:, 0])  # the index itself is right
    true = got[:, 0].mean()
    spread = got[:, 0].std()
    print(f"concordance index: {true:.3f}, over {SAMPLES} samples it varies by {spread:.3f}")
    for name, values in {"formula": right, "torchsurv": got}.items():
        held = np.mean(np.abs(values[:, 0] - true) < WIDTH * values[:, 1])
        seen[name] = values[:, 1].mean() / spread, held
        print(f"{name}: standard error {values[:, 1].mean():.3f}", end=", ")
        print(f"intervals that hold the true index {100 * held:.1f} %")
    index, error = by_formula(*samples[0])
    concordance = by_torchsurv(*samples[0])[2]
    torch.manual_seed(0)
    p_values = {
        "formula": 2 * norm.sf(abs(index - 0.5) / error),
        "torchsurv, bootstrap": float(concordance.p_value(method="bootstrap")),
        "torchsurv": float(concordance.p_value()),
    }
print("p-values of the first sample:", end=" ")
print(", ".join(f"{name} {value:.3f}" for name, value in p_values.items()))
print("warnings:", len(caught))
wide = 1.8 < seen["torchsurv"][0] < 2.2 and seen["torchsurv"][1] > 0.995
fitting = 0.9 < seen["formula"][0] < 1.1 and 0.92 < seen["formula"][1] < 0.98
missed = p_values["torchsurv"] > 0.1 and max(list(p_values.values())[:2]) < 0.05
sys.exit(0 if wide and fitting and missed and not caught else 1)
PYTHON
env/bin/python error.py
