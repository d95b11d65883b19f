#!/bin/sh
# torchsurv 0.2.0: the bootstrap interval of Uno's concordance index (the one with a weight for each
# patient, for those whose observation ended early) is wrong. For an index of 0.748 it reaches from
# 0.693 to 0.880 instead of to 0.798. There is no error and no warning.
#
# Patients are drawn again, with their times and estimates, and get the weights of the patients who
# were at their places before. Without weights there is nothing to mix up. The other scores, Auc and
# BrierScore, draw the weights as well.
#
# Output seen on 2026-11-30 (torch 2.13.0; 200 patients):
#   without weights: index 0.801, interval by torchsurv 0.757 to 0.839, by hand 0.764 to 0.842
#   with weights: index 0.748, interval by torchsurv 0.693 to 0.880, by hand 0.698 to 0.798
#   warnings: 0
# Exits with 1 when this changes. Needs python3 (3.10 or newer) and a package index (torch is
# downloaded with torchsurv).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q torch==2.13.0 torchsurv==0.2.0 pandas==3.1.1 numpy==2.4.6 scipy==1.17.1
cat > interval.py <<'PYTHON'
import sys
import warnings

import numpy as np
import torch
from torchsurv.metrics.cindex import ConcordanceIndex
from torchsurv.stats.ipcw import get_ipcw

NUMBER = 200
TIMES = 300  # to draw the patients again
draw = np.random.default_rng(0)
marker = draw.normal(size=NUMBER)
early = draw.exponential(2 * np.exp(-2 * marker))  # of a disease that the marker tells
late = 1 + draw.exponential(1, NUMBER)  # of one that it does not
first = np.minimum(early, late)
end = np.minimum(draw.exponential(1.5, NUMBER), 4)  # of observation
marker, time = torch.tensor(marker).float(), torch.tensor(np.minimum(first, end)).float()
event = torch.tensor(first <= end)
weight = get_ipcw(event, time)


def drawn_again(weights):
    """The interval when each patient is drawn with the weight (one, or none at all)."""
    values = []
    for _ in range(TIMES):
        rows = torch.tensor(draw.integers(NUMBER, size=NUMBER))
        weight = None if weights is None else weights[rows]
        values.append(ConcordanceIndex()(marker[rows], event[rows], time[rows], weight=weight))
    return torch.quantile(torch.stack(values), torch.tensor([0.025, 0.975]))


seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    torch.manual_seed(0)
    for name, weights in {"without weights": None, "with weights": weight}.items():
        concordance = ConcordanceIndex()
        index = float(concordance(marker, event, time, weight=weights))
        got = concordance.confidence_interval(method="bootstrap", n_bootstraps=TIMES).tolist()
        right = drawn_again(weights).tolist()
        seen[name] = index, got, right
        print(f"{name}: index {index:.3f}, interval by torchsurv ", end="")
        print("{:.3f} to {:.3f}, by hand {:.3f} to {:.3f}".format(*got, *right))
print("warnings:", len(caught))
index, got, right = seen["without weights"]
without = np.allclose(got, right, atol=0.02)
index, got, right = seen["with weights"]
with_weights = got[1] > right[1] + 0.05 and got[1] - got[0] > 1.5 * (right[1] - right[0])
sys.exit(0 if without and with_weights and not caught else 1)
PYTHON
env/bin/python interval.py
