#!/bin/sh
# syntheval 1.7.3: a "synthetic" table that is the real one, row for row, gets the privacy of fresh
# data: median distance to the closest record 1 (0 by definition), epsilon identifiability risk 0
# (1 by definition) and nearest neighbour distance ratio 0.73 (0 by definition). Shuffle its rows,
# or change one value, and all three are right. There is no error and no warning.
#
# Where the nearest row of the other table is looked for, and both tables are equal, they are taken
# for one table, so that each row leaves out its own place, that is its copy. The copy of the real
# table is what one hands in to see how bad a privacy metric can get. (The example in the docstring
# of the risk has such a copy, too, and the risk 0.0. The risk is the part of the real rows that lie
# nearer to a synthetic row than to another real one, and here all do.)
#
# Output seen on 2026-11-30 (300 patients; DCR: distance to closest record):
#   fresh patients: DCR 1.01, risk 0.53, ratio 0.73
#   copy: DCR 1.00, risk 0.00, ratio 0.73
#   copy, rows shuffled: DCR 0.00, risk 1.00, ratio 0.00
#   copy, one age changed: DCR 0.00, risk 1.00, ratio 0.00
#   nearest real row to each row of the copy: at most 0 away
# Exits with 1 when this changes. Needs python3 (3.11 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q syntheval==1.7.3 scikit-learn==1.9.1 pandas==3.1.1 numpy==2.4.6
cat > privacy.py <<'PYTHON'
import contextlib
import io
import sys
import warnings

import numpy as np
import pandas as pd
from scipy.spatial import KDTree
from syntheval import SynthEval


def patients(seed, number=300):
    draw = np.random.default_rng(seed)
    age = draw.normal(60, 12, number).round(1)
    return pd.DataFrame(
        {
            "age": age,
            "volume": np.exp(draw.normal(2, 0.5, number)).round(2),
            "pressure": (100 + 0.5 * age + draw.normal(0, 8, number)).round(1),
            "sex": draw.choice(["f", "m"], number),
            "stage": draw.choice(["I", "II", "III", "IV"], number),
        }
    )


real = patients(0)
one_changed = real.copy()
one_changed.loc[0, "age"] += 1
TABLES = {
    "fresh patients": patients(2),
    "copy": real.copy(),
    "copy, rows shuffled": real.sample(frac=1, random_state=0).reset_index(drop=True),
    "copy, one age changed": one_changed,
}


def by_syntheval(table):
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = SynthEval(real, cat_cols=["sex", "stage"], verbose=False)
        results = evaluator.evaluate(table, dcr={}, eps_risk={}, nndr={})
    values = results.set_index("metric")["val"]
    return [round(values[key], 2) for key in ("median_DCR", "eps_identif_risk", "avg_nndr")]


seen = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    for name, table in TABLES.items():
        seen.append(by_syntheval(table))
        print("{}: DCR {:.2f}, risk {:.2f}, ratio {:.2f}".format(name, *seen[-1]))
for warning in caught:
    print("warning:", warning.message)
numbers = pd.get_dummies(real, dtype=float).to_numpy()
copied = pd.get_dummies(TABLES["copy"], dtype=float).to_numpy()
away = KDTree(numbers).query(copied)[0].max()
print(f"nearest real row to each row of the copy: at most {away:g} away")
wanted = [[1.01, 0.53, 0.73], [1, 0, 0.73], [0, 1, 0], [0, 1, 0]]
sys.exit(0 if seen == wanted and away == 0 and not caught else 1)
PYTHON
env/bin/python privacy.py
