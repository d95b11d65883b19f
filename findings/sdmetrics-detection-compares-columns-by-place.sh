#!/bin/sh
# sdmetrics 0.32.0: LogisticDetection and SVCDetection ask whether a classifier can tell a synthetic
# table from the real one. If both have the same columns in another order, column 1 of one table is
# compared with column 1 of the other: a copy of the real table scores 0.00, as bad as can be,
# instead of 1.00. There is no error and no warning.
#
# Dates are taken by row labels besides: after a shuffle, or train_test_split(), each row has the
# date of another row, so that SVCDetection gives 0.22 instead of 0.76 for the same rows.
#
# Output seen on 2026-11-30 (pandas 2.3.3; 1.00: no classifier can tell, 0.00: each row is told):
#   copy: logistic 1.00, SVC 0.76
#   columns in another order: logistic 0.00, SVC 0.00
#   columns put back in order: logistic 1.00, SVC 0.76
#   rows shuffled: logistic 1.00, SVC 0.22
#   rows shuffled, reset_index: logistic 1.00, SVC 0.76
#   warnings: 0
# Exits with 1 when this changes. Needs python3 (3.10 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q sdmetrics==0.32.0 pandas==2.3.3 scikit-learn==1.7.2
cat > detection.py <<'PYTHON'
import sys
import warnings

import numpy as np
import pandas as pd
from sdmetrics.single_table import LogisticDetection, SVCDetection

draw = np.random.default_rng(0)


def patients(number=600):
    """Patients with a visit: the later the visit, the older the patient."""
    days = draw.integers(0, 3000, number)
    return pd.DataFrame(
        {
            "age": (40 + days / 100 + draw.normal(0, 1, number)).round(1),
            "pressure": draw.normal(125, 10, number).round(),
            "volume": draw.normal(900, 100, number).round(),
            "visit": pd.Timestamp("2015-01-01") + pd.to_timedelta(days, unit="D"),
        }
    )


KINDS = {"age": "numerical", "pressure": "numerical", "volume": "numerical", "visit": "datetime"}
METADATA = {"columns": {name: {"sdtype": kind} for name, kind in KINDS.items()}}
real = patients()
shuffled = real.sample(frac=1, random_state=0)
other_order = real[["volume", "visit", "pressure", "age"]]
TABLES = {
    "copy": real.copy(),
    "columns in another order": other_order,
    "columns put back in order": other_order[list(real)],
    "rows shuffled": shuffled,
    "rows shuffled, reset_index": shuffled.reset_index(drop=True),
}
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    for name, table in TABLES.items():
        np.random.seed(0)
        scores = [
            metric.compute(real, table, METADATA) for metric in (LogisticDetection, SVCDetection)
        ]
        seen[name] = [round(float(score), 2) for score in scores]
        print("{}: logistic {:.2f}, SVC {:.2f}".format(name, *seen[name]))
print("warnings:", len(caught))
copy = seen["copy"]
same = all(
    np.allclose(seen[name], copy, atol=0.15)
    for name in ("columns put back in order", "rows shuffled, reset_index")
)
by_place = max(seen["columns in another order"]) < 0.1
by_label = seen["rows shuffled"][1] < copy[1] - 0.3
sys.exit(0 if copy[0] > 0.9 and same and by_place and by_label and not caught else 1)
PYTHON
env/bin/python detection.py
