"""The examples run as their first lines say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image


def run(script: str, *arguments: str, cwd: Path) -> str:
    command = [sys.executable, str(ROOT / "examples" / script), *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_training_on_real_synthetic_and_both_prints_three_aucs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, low in (("true", 60), ("false", 140)):  # two classes that anybody can tell apart
            folder = tmp_path / "real" / split / f"is_benign_{name}"
            folder.mkdir(parents=True)
            for i in range(24):
                Image.fromarray(rng.integers(low, low + 60, (128, 128), dtype=np.uint8)).save(folder / f"{i}.png")
    printed = run("train_with_synthetic.py", str(tmp_path / "real"), "--steps", "12", "-n", "64", cwd=tmp_path)
    aucs = dict(re.findall(r"trained on (\w+) +AUC (\d\.\d+)", printed))
    assert set(aucs) == {"real", "synthetic", "both"}
    assert float(aucs["real"]) > 0.9


@pytest.mark.slow
def test_demo_writes_samples_and_a_contact_sheet(tmp_path: Path) -> None:
    printed = run("demo.py", cwd=tmp_path)
    assert "masses.png" in printed
    assert len(list((tmp_path / "demo" / "masses").rglob("*.png"))) == 32
    with Image.open(tmp_path / "demo" / "masses.png") as sheet:
        assert sheet.size[0] > 800
    assert "masses.png" in run("demo.py", cwd=tmp_path), "a second run finds its samples made"
