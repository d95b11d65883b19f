#!/bin/sh
# ancpbids 0.4.10: where a list is given in two JSON files that apply to an image, get_metadata()
# puts one list behind the other. A run of 4 slices gets 8 slice times: those of the dataset, then
# its own. BIDS says that the value of the lower file takes the place of the other (Common
# principles, the inheritance principle, 5.b), and so does the docstring of get_metadata(). There
# is no error and no warning.
#
# Numbers and strings are replaced rightly, so that only lists are wrong: SliceTiming, VolumeTiming,
# IntendedFor and others. The same list in both files is doubled as well. bids2table 2.3.1 reads
# the metadata rightly.
#
# Output seen on 2026-11-30 (4 slices; RepetitionTime 2.0 for the dataset, 3.0 for run 2):
#   run 1: ancpbids 2.0 s, 4 slice times [0, 0.5, 1.0, 1.5]
#   run 1: bids2table 2.0 s, 4 slice times [0, 0.5, 1.0, 1.5]
#   run 2: ancpbids 3.0 s, 8 slice times [0, 0.5, 1.0, 1.5, 0, 1.5, 0.75, 2.25]
#   run 2: bids2table 3.0 s, 4 slice times [0, 1.5, 0.75, 2.25]
#
# Exits with 1 if that changes. Needs python3 (3.11 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q "numpy==2.4.6" "nibabel==5.4.2" "ancpbids==0.4.10" \
    "bids2table==2.3.1"
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from ancpbids import BIDSLayout
from bids2table import load_bids_metadata

OF_ALL = {"TaskName": "rest", "RepetitionTime": 2.0, "SliceTiming": [0, 0.5, 1.0, 1.5]}
OF_RUN_2 = {"RepetitionTime": 3.0, "SliceTiming": [0, 1.5, 0.75, 2.25]}

root = Path("dataset").absolute()
func = root / "sub-01" / "func"
func.mkdir(parents=True)
(root / "README").write_text("A volunteer at rest; the second run was slower.\n")
(root / "participants.tsv").write_text("participant_id\nsub-01\n")
about = {"Name": "two runs", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
(root / "dataset_description.json").write_text(json.dumps(about))
(root / "task-rest_bold.json").write_text(json.dumps(OF_ALL))
(func / "sub-01_task-rest_run-2_bold.json").write_text(json.dumps(OF_RUN_2))
paths = {}
for run, time in [(1, 2.0), (2, 3.0)]:
    image = nib.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), np.eye(4))
    image.header.set_zooms((3, 3, 3, time))
    image.header.set_xyzt_units("mm", "sec")
    paths[run] = str(func / f"sub-01_task-rest_run-{run}_bold.nii.gz")
    nib.save(image, paths[run])

layout, seen = BIDSLayout(str(root)), []
for run, path in paths.items():
    for name, read in [
        ("ancpbids", layout.get_metadata(path)),
        ("bids2table", load_bids_metadata(path)),
    ]:
        times = read["SliceTiming"]
        print(f"run {run}: {name} {read['RepetitionTime']} s, {len(times)} slice times {times}")
        seen.append((read["RepetitionTime"], times))
first, second = OF_ALL["SliceTiming"], OF_RUN_2["SliceTiming"]
expected = [(2.0, first), (2.0, first), (3.0, first + second), (3.0, second)]
raise SystemExit(0 if seen == expected else 1)
PYTHON
