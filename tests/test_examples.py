"""The examples run as their first lines say."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
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
    with zipfile.ZipFile(tmp_path / "real.zip", "w") as archive:
        for split in ("train", "val"):
            for name, low in (
                ("true", 60),
                ("false", 140),
            ):  # two classes that anybody can tell apart
                for i in range(24):
                    picture = Image.fromarray(
                        rng.integers(low, low + 60, (128, 128), dtype=np.uint8)
                    )
                    with archive.open(f"{split}/is_benign_{name}/{i}.png", "w") as file:
                        picture.save(file, format="png")
    (tmp_path / "real").mkdir()
    zipfile.ZipFile(tmp_path / "real.zip").extractall(tmp_path / "real")
    printed = [
        run("train_with_synthetic.py", "--data", data, "--steps", "12", "-n", "64", cwd=tmp_path)
        for data in ("real", "real.zip")
    ]
    aucs = dict(re.findall(r"trained on (\w+) +AUC (\d\.\d+)", printed[0]))
    assert set(aucs) == {"real", "synthetic", "both"}
    assert float(aucs["real"]) > 0.9
    assert printed[0] == printed[1], "a folder and a zip are the same data"


def test_training_without_the_data_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run("train_with_synthetic.py", "--data", "empty", cwd=tmp_path)
    assert "empty lacks train/is_benign_true/*.png or" in caught.value.stderr


@pytest.mark.slow
def test_demo_writes_samples_and_a_contact_sheet(tmp_path: Path) -> None:
    printed = run("demo.py", cwd=tmp_path)
    assert "masses.png" in printed
    assert len(list((tmp_path / "demo" / "masses").rglob("*.png"))) == 32
    with Image.open(tmp_path / "demo" / "masses.png") as sheet:
        assert sheet.size[0] > 800
    assert "masses.png" in run("demo.py", cwd=tmp_path), "a second run finds its samples made"
