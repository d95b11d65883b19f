"""The version of MONAI is part of a model: DDIM takes other steps from MONAI 1.6.0 on, and makes other images.

The numbers below were recorded in environments that medzoo built for the two versions. With MEDZOO_MONAI_ENVIRONMENTS=1,
and a network or UV_FIND_LINKS for torch, the environments are built again and the numbers compared.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import METADATA, bundle_config
from packaging.version import Version
from test_monai import register

import medzoo
from medzoo.cli import main
from medzoo.errors import InputError

torch = pytest.importorskip("torch")
monai = pytest.importorskip("monai")
pytestmark = pytest.mark.filterwarnings("ignore")  # MONAI and torch warn of each other
OLD, NEW = "1.4.0", "1.6.1"
NUMPY = {OLD: "1.26.4", NEW: "2.4.6"}
CODE = '''
import torch
from monai.networks.schedulers import DDIMScheduler

class Denoiser(torch.nn.Module):
    """The noise in pictures (n, 1, 8, 8): exactly for white data, if the kernel is one pixel."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Conv2d(1, 1, 3, padding=1, bias=False)
        self.kept = (1 - torch.linspace(1e-4, 2e-2, 1000)).cumprod(0)

    def forward(self, x, t):
        return (1 - self.kept[int(t)]).sqrt() * self.net(x)

def sample(net, noise, steps):
    scheduler = DDIMScheduler(num_train_timesteps=1000, clip_sample=False)
    scheduler.set_timesteps(num_inference_steps=steps)
    for t in scheduler.timesteps:
        noise, _ = scheduler.step(net(noise, t), t, noise)
    return noise
'''
WORKFLOW = {
    "imports": ["$import torch", "$from scripts import ddim"],
    "bundle_root": ".",
    "device": "$torch.device('cpu')",
    "noise": "$torch.randn(1, 1, 8, 8)",
    "network_def": {"_target_": "scripts.ddim.Denoiser"},
    "sample": "$ddim.sample(@network_def.eval(), @noise, 20)",
}
# The first row of sample 0 of seed 1.
RECORDED = {
    OLD: [-0.167835, 2.714855, -0.146314, -0.709051, 3.539936, 3.513730, 2.077214, -0.065575],
    NEW: [-0.114004, 2.874568, -0.221536, -0.658326, 3.920392, 3.787193, 2.119900, -0.112874],
}


def write_ddim(folder: Path) -> Path:
    """A bundle that samples with MONAI's DDIM; its weights are the same everywhere."""
    for name in ("configs", "models", "scripts"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "scripts/__init__.py").write_text("")
    (folder / "scripts/ddim.py").write_text(CODE)
    (folder / "configs/metadata.json").write_text(json.dumps(METADATA))
    (folder / "configs/inference.json").write_text(json.dumps(WORKFLOW))
    weight = torch.sin(torch.arange(9.0)).view(1, 1, 3, 3) / 20
    weight[0, 0, 1, 1] = 0.8
    torch.save({"net.weight": weight}, folder / "models/model.pt")
    return folder


def ddim_config(bundle: Path, version: str) -> dict[str, Any]:
    """Keys of a config that pins a version of MONAI."""
    output = {"kind": "image", "shape": [1, 8, 8], "reference": "sample", "axes": ["y", "x"]}
    config = bundle_config(bundle, {**output, "spacing": None}, latent_shape=[1, 8, 8])
    requires = ["torch==2.13.0", f"monai=={version}", f"numpy=={NUMPY[version]}"]
    return {**config, "latent": 64, "requires": requires}


@pytest.fixture
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models 901 and 902: one bundle, pinned to the old and to the new MONAI."""
    bundle = write_ddim(tmp_path / "bundle")
    configs = {"x901": ddim_config(bundle, OLD), "x902": ddim_config(bundle, NEW)}
    register(tmp_path / "configs", monkeypatch, **configs)


def test_the_recorded_images_of_the_two_versions_differ() -> None:
    old, new = np.array(RECORDED[OLD]), np.array(RECORDED[NEW])
    assert np.abs(old - new).max() > 0.05


@pytest.mark.slow
def test_the_installed_monai_makes_its_recorded_image_and_the_other_pin_is_refused(
    bundles: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = Version(monai.__version__)
    if installed not in map(Version, RECORDED):
        pytest.skip(f"nothing is recorded for MONAI {installed}")
    mine, other = (901, 902) if str(installed) == OLD else (902, 901)
    made = medzoo.generate(mine, 2, seed=1, env="current", trust=True)
    np.testing.assert_allclose(made.images[0, 0, 0], RECORDED[str(installed)], atol=1e-4)
    pinned = OLD if other == 901 else NEW
    with pytest.raises(InputError, match=f"needs MONAI {pinned}, and {installed} is installed"):
        medzoo.generate(other, 1, env="current", trust=True)
    arguments = [
        "generate",
        str(other),
        "--env",
        "current",
        "--trust",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 2
    assert "Other versions make other images of the same seed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(
    "MEDZOO_MONAI_ENVIRONMENTS" not in os.environ, reason="MEDZOO_MONAI_ENVIRONMENTS is not set"
)
@pytest.mark.parametrize(("number", "version"), [(901, OLD), (902, NEW)])
@pytest.mark.slow
def test_an_environment_has_the_monai_that_the_config_pins(
    bundles: None, number: int, version: str
) -> None:
    made = medzoo.generate(number, 2, seed=1, trust=True)
    assert made.provenance["env"] == "isolated"
    assert made.provenance["libraries"]["monai"] == version
    print(made.provenance["libraries"], made.images[0, 0, 0].tolist())
    np.testing.assert_allclose(made.images[0, 0, 0], RECORDED[version], atol=1e-5)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("weights", "no file models/model.pt"),
        ("expression", "sample of its workflow failed: ZeroDivisionError"),
        ("reference", "its workflow has no reference 'noise'"),
    ],
)
@pytest.mark.slow
def test_a_damaged_bundle_is_named_at_the_command_line_and_nothing_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    damage: str,
    says: str,
) -> None:
    bundle = write_ddim(tmp_path / "bundle")
    workflow = dict(WORKFLOW)
    if damage == "weights":
        (bundle / "models/model.pt").unlink()
    if damage == "expression":
        workflow["sample"] = "$1 / 0"
    if damage == "reference":
        workflow["start"] = workflow.pop("noise")
        workflow["sample"] = str(workflow["sample"]).replace("@noise", "@start")
    (bundle / "configs/inference.json").write_text(json.dumps(workflow))
    config = {**ddim_config(bundle, NEW), "requires": ["torch", "monai"]}
    register(tmp_path / "configs", monkeypatch, x901=config)
    arguments = ["generate", "901", "-n", "2", "--env", "current", "--trust"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 7
    assert says in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*.png"))
