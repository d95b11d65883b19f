#!/bin/sh
# pycanon 1.3.6: l-diversity, t-closeness and the other measures that look at a diagnosis are those
# of other rows, where the rows of a table are in another order than their labels. 200 patients, of
# whom each age has one diagnosis, have l 1 and t 0.75. Shuffled, the same table has l 4 and t 0.15,
# as if nobody could be told anything. There is no error and no warning. k is right.
#
# Rows with the same age and so on are found by their labels in the index of the table, and then
# taken by their positions. After sample(), sort_values() or a filter, labels are no positions.
# reset_index(drop=True) puts it right.
#
# Output seen on 2026-11-30 (pandas 2.3.3):
#   as written: by definition k 25, l 1, t 0.75; pycanon k 25, l 1, t 0.75
#   shuffled: by definition k 25, l 1, t 0.75; pycanon k 25, l 4, t 0.15
#   shuffled, reset_index: by definition k 25, l 1, t 0.75; pycanon k 25, l 1, t 0.75
#   warnings: 0
# Exits with 1 when this changes. Needs python3 (3.10 to 3.12) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q pycanon==1.3.6
cat > anonymity.py <<'PYTHON'
import sys
import warnings

import numpy as np
import pandas as pd
from pycanon import anonymity

draw = np.random.default_rng(0)
AGES = ["20-39", "40-59", "60-79", "80-99"]
LIKELY = ["healed", "stroke", "tumour", "fracture"]
table = pd.DataFrame({"age": np.repeat(AGES, 50), "sex": np.tile(["f", "m"], 100)})
# All patients of an age have one diagnosis: who knows the age knows it.
table["diagnosis"] = table["age"].map(dict(zip(AGES, LIKELY)))
shuffled = table.sample(frac=1, random_state=0)
TABLES = {
    "as written": table,
    "shuffled": shuffled,
    "shuffled, reset_index": shuffled.reset_index(drop=True),
}
QUASI, SENSITIVE = ["age", "sex"], ["diagnosis"]


def by_definition(table):
    """The numbers of rows, of diagnoses and the distances of these from the whole, per group."""
    whole = table["diagnosis"].value_counts(normalize=True)
    groups = [group["diagnosis"] for _, group in table.groupby(QUASI)]
    k = min(len(group) for group in groups)
    diversity = min(group.nunique() for group in groups)
    shares = [group.value_counts(normalize=True) for group in groups]
    closeness = max(share.sub(whole, fill_value=0).abs().sum() / 2 for share in shares)
    return k, diversity, round(float(closeness), 2)


def by_pycanon(table):
    k = anonymity.k_anonymity(table, QUASI)
    diversity = anonymity.l_diversity(table, QUASI, SENSITIVE)
    closeness = anonymity.t_closeness(table, QUASI, SENSITIVE)
    return k, diversity, round(float(closeness), 2)


seen = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    for name, patients in TABLES.items():
        right, got = by_definition(patients), by_pycanon(patients)
        seen.append((right, got))
        print("{}: by definition k {}, l {}, t {}; ".format(name, *right), end="")
        print("pycanon k {}, l {}, t {}".format(*got))
print("warnings:", len(caught))
same = all(right == (25, 1, 0.75) for right, _ in seen)
others = seen[0][1] == seen[2][1] == (25, 1, 0.75)
wrong = seen[1][1][0] == 25 and seen[1][1][1] == 4 and seen[1][1][2] < 0.4
sys.exit(0 if same and others and wrong and not caught else 1)
PYTHON
env/bin/python anonymity.py
