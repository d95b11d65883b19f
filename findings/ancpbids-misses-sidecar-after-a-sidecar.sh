#!/bin/sh
# ancpbids 0.4.10: where two JSON files follow each other in the sorted listing of a folder, the
# second one is not read. In a BIDS dataset with two tasks, task-nback_bold.json and
# task-rest_bold.json, get_metadata() gives nothing for the runs at rest: no repetition time, no
# slice times. There is no error and no warning. bids2table 2.3.1 reads both.
#
# The files are taken out of the list of the folder and put at its end while the list is gone
# through, so that each JSON file makes the next file be passed over. With one more JSON file
# between the two, the metadata are there.
#
# Output seen on 2026-11-30 (RepetitionTime; written are 0.8 for nback and 2.0 for rest):
#   two sidecars: nback ancpbids 0.8, bids2table 0.8; rest ancpbids None, bids2table 2.0
#   one more between them: nback ancpbids 0.8, bids2table 0.8; rest ancpbids 2.0, bids2table 2.0
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

TIMES = {"nback": 0.8, "rest": 2.0}


def make(root, between):
    """A dataset of one participant and two tasks."""
    func = root / "sub-01" / "func"
    func.mkdir(parents=True)
    (root / "README").write_text("A volunteer, scanned during two tasks.\n")
    (root / "participants.tsv").write_text("participant_id\nsub-01\n")
    about = {"Name": "two tasks", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(about))
    for task, time in TIMES.items():
        about = {"TaskName": task, "RepetitionTime": time}
        (root / f"task-{task}_bold.json").write_text(json.dumps(about))
        image = nib.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), np.eye(4))
        image.header.set_zooms((3, 3, 3, time))
        image.header.set_xyzt_units("mm", "sec")
        nib.save(image, func / f"sub-01_task-{task}_bold.nii.gz")
    if between:
        about = {"trial_type": {"Description": "which letter was shown"}}
        (root / "task-nback_events.json").write_text(json.dumps(about))
        (func / "sub-01_task-nback_events.tsv").write_text("onset\tduration\ttrial_type\n1\t1\tA\n")


seen = []
for name, between in [("two sidecars", False), ("one more between them", True)]:
    root = Path(name.replace(" ", "_")).absolute()
    make(root, between)
    layout, parts = BIDSLayout(str(root)), []
    for task in TIMES:
        path = str(root / "sub-01" / "func" / f"sub-01_task-{task}_bold.nii.gz")
        read = layout.get_metadata(path).get("RepetitionTime")
        other = load_bids_metadata(path).get("RepetitionTime")
        parts.append(f"{task} ancpbids {read}, bids2table {other}")
        seen += [read, other]
    print(f"{name}:", "; ".join(parts))
raise SystemExit(0 if seen == [0.8, 0.8, None, 2.0, 0.8, 0.8, 2.0, 2.0] else 1)
PYTHON
