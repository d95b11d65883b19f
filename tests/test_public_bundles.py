"""MONAI's public bundles, unchanged: what the configs copy of them, the hand GAN's real weights, and random weights of the others.

Set MEDZOO_PUBLIC_CODE to a folder with checkouts ``model-zoo`` and ``GenerativeModels`` (of Project-MONAI). Neither is part
of medzoo. With MEDZOO_MONAI_ENVIRONMENTS=1 each bundle runs in the environment of its shipped config, otherwise with the
MONAI that is installed here.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from medzoo._worker.monai import turn, uniform
from medzoo.config import Version
from medzoo.environments import isolated
from medzoo.files import sha256_of
from medzoo.generation.model import Model
from medzoo.registry import resolve
from medzoo.runtime import Execution, open_session
from medzoo.seeds import latents

torch = pytest.importorskip("torch")
monai = pytest.importorskip("monai")
CODE = Path(os.environ.get("MEDZOO_PUBLIC_CODE", "nowhere"))
OWN = "MEDZOO_MONAI_ENVIRONMENTS" in os.environ
pytestmark = [
    pytest.mark.skipif(
        not (CODE / "model-zoo").is_dir() or not (CODE / "GenerativeModels").is_dir(),
        reason="MEDZOO_PUBLIC_CODE names no folder with model-zoo and GenerativeModels in it",
    ),
    pytest.mark.filterwarnings("ignore"),
]
# How large networks become small ones: by `set:`, without a change of the bundle.
SMALL: dict[int, dict[str, Any]] = {
    202: {"autoencoder_def#channels": [32, 32, 64], "network_def#channels": [32, 32, 64, 64]},
    203: {
        "autoencoder_def#channels": [32, 32, 64],
        "network_def#channels": [64, 64, 64],
        "latent_shape": [8, 8, 8, 8],
    },
    205: {
        "autoencoder_def#num_channels": [32, 32, 32, 32],
        "diffusion_def#num_channels": [32, 64, 64],
        "diffusion_def#num_head_channels": [0, 64, 64],
    },
}
SHAPES = {203: ((8, 8, 8, 8), (1, 32, 32, 32)), 205: ((3, 8, 8, 8), (1, 49, 54, 54))}
STEPS = {202: "noise_scheduler", 203: "noise_scheduler", 205: "scheduler"}
# MONAI alone: random weights of the networks, and what it makes of noise in a file.
SCRIPT = """
import json, sys
import numpy, torch
from monai.bundle import ConfigParser

folder, out, changes, networks, reference, old = sys.argv[1:]
sys.path.insert(0, folder)
parser = ConfigParser()
parser.read_config(folder + "/configs/inference.json")
parser["bundle_root"] = folder
for name, value in json.loads(changes).items():
    parser[name] = value
torch.manual_seed(1)
for file, name in json.loads(networks).items():
    state = parser.get_parsed_content(name).state_dict()
    if old:
        for new, before in (".attn.out_proj.", ".proj_attn."), (".attn.to_", ".to_"), ("postconv", "conv"):
            state = {k.replace(new, before): v for k, v in state.items()}
    torch.save(state, folder + "/" + file)
parser["noise"] = "$torch.from_numpy(numpy.load('" + out + "/noise.npy'))"
parser["imports"] = [*parser["imports"], "$import numpy"]
parser["made"] = reference
loads = [k for k in parser.config if k.startswith("load_") and not k.endswith("path")]
with torch.no_grad():
    for name in loads:
        parser.get_parsed_content(name)
    numpy.save(out + "/made.npy", parser.get_parsed_content("made").numpy())
"""


def bundle_of(number: int) -> Path:
    """The checkout that a config names with its commit."""
    _, _, place = resolve(number).default.source.partition("Project-MONAI/")
    repository, _, path = place.rstrip("/").split("/", 2)
    return CODE / repository / path


@pytest.mark.parametrize("number", [201, 202, 203, 205])
def test_what_a_config_states_is_what_the_repository_holds(number: int) -> None:
    version, folder = resolve(number).default, bundle_of(number)
    for name, digest in version.files.items():
        assert sha256_of(folder / name) == digest, name
    metadata = json.loads((folder / "configs/metadata.json").read_text())
    assert version.name == metadata["version"]
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert version.license.startswith("Apache 2.0 (code); no separate license of the weights")
    if number == 201:
        assert version.size == sum((folder / name).stat().st_size for name in version.files)
    if number != 205:  # it declares 1.1.0 and a package that its version of MONAI has no more
        assert f"monai=={metadata['monai_version']}" in version.requires
    stated = {}
    if (folder / "large_files.yml").is_file():
        for file in yaml.safe_load((folder / "large_files.yml").read_text())["large_files"]:
            stated[file["path"]] = file["url"], file.get("hash_val") or ""
    parts = {name: (part.source, part.md5) for name, part in version.parts.items()}
    if number == 205:
        assert [digest for _, digest in parts.values()] == ["", ""]  # so it needs trust
    assert {name.rpartition("/")[2] for name in parts} == {n.rpartition("/")[2] for n in stated}
    assert {digest for _, digest in parts.values()} == {digest for _, digest in stated.values()}


def opened(number: int, version: Version) -> Model:
    """A version of a model, in its own environment or in this one."""
    config = resolve(number)
    if not OWN:
        pinned = tuple(r for r in version.requires if not r.startswith("monai=="))
        pinned = tuple(r.partition("=")[0] for r in pinned)
        version = dataclasses.replace(
            version, requires=(*pinned, f"monai=={monai.__version__}"), lock="", python=">=3.10"
        )
    config = dataclasses.replace(config, versions={version.name: version})
    env = "isolated" if OWN else "current"
    session = open_session(config, version, Execution("cpu", env=env, trust=True))
    return Model(config, version, session)


@pytest.mark.slow
def test_the_hand_gan_gives_the_bundles_own_hands(tmp_path: Path) -> None:
    version, folder = resolve(201).default, tmp_path / "bundle"
    for name in version.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle_of(201) / name, folder / name)
    local = dataclasses.replace(version, source=f"file:{folder}")
    with opened(201, local) as model:
        samples = model.generate(16, seed=1)
        alone = model.generate(1, seed=1, first=5)
        normal = model.generate(16, seed=1, latent_distribution="normal")
    parser = monai.bundle.ConfigParser()
    parser.read_config(str(folder / "configs/inference.json"))
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(folder / "models/model.pt", weights_only=True))
    given = torch.from_numpy(uniform(latents(1, range(16), 64)))
    with torch.no_grad():
        right = (torch.sigmoid(network.eval()(given)) * 255).to(torch.uint8).transpose(2, 3)
    assert np.abs(samples.images.astype(int) - right.numpy()).max() <= 1
    assert np.abs(alone.images[0].astype(int) - samples.images[5]).max() <= 1
    # a hand: bright on a dark ground, its border darker than its middle
    middle, border = samples.images[:, :, 20:44, 20:44], samples.images[:, :, :6]
    assert middle.mean() > 3 * border.mean()
    spread = [float(s.images.std(axis=0).mean()) for s in (samples, normal)]
    assert spread[1] > 1.5 * spread[0]
    if target := os.environ.get("MEDZOO_SHEETS"):
        rows = np.concatenate([samples.images, normal.images])[:, 0].reshape(4, 8, 64, 64)
        sheet = rows.transpose(0, 2, 1, 3).reshape(4 * 64, 8 * 64)
        Image.fromarray(sheet).resize((1024, 512)).save(Path(target) / "hands.png")


@pytest.mark.parametrize("number", [202, 203, 205])
@pytest.mark.slow
def test_a_diffusion_bundle_gives_what_monai_makes_of_its_networks(
    number: int, tmp_path: Path
) -> None:
    if number == 205 and not OWN:
        pytest.skip("its package `generative` does not import with the MONAI of this environment")
    pytest.importorskip("einops")
    version, theirs = resolve(number).default, bundle_of(number)
    folder = tmp_path / "bundle"
    shutil.copytree(theirs, folder)
    (folder / "models").mkdir(exist_ok=True)
    steps = f"$@{STEPS[number]}.set_timesteps(num_inference_steps=4)"
    changes = {**SMALL[number], "set_timesteps": steps}
    bundle = version.bundle
    assert bundle is not None
    output = version.outputs["images"]
    shape, size = SHAPES.get(number, (bundle.latent_shape, output.shape))
    output = dataclasses.replace(output, shape=size)
    small = dataclasses.replace(
        version,
        source=f"file:{folder}",
        files={},
        parts={},
        latent=int(np.prod(shape)),
        outputs={"images": output},
        bundle=dataclasses.replace(bundle, latent_shape=shape, set={**bundle.set, **changes}),
    )
    config = resolve(number)
    python = isolated(config, small).python if OWN else sys.executable
    noise = latents(3, range(2), small.latent).reshape(2, *shape)
    networks = {file: network.reference for file, network in bundle.networks.items()}
    right = []
    for one in noise:
        np.save(tmp_path / "noise.npy", one[None])
        old = "old" if number != 205 else ""
        arguments = [str(folder), str(tmp_path), json.dumps(changes), json.dumps(networks)]
        command = [str(python), "-c", SCRIPT, *arguments, output.reference, old]
        subprocess.run(command, check=True, cwd=tmp_path)
        right.append(np.load(tmp_path / "made.npy"))
    with opened(number, small) as model:
        made = model.generate(2, seed=3).images
    turned = np.stack([turn(one, list(output.axes)) for one in np.concatenate(right)])
    assert made.shape == turned.shape
    assert np.isfinite(made).all()
    np.testing.assert_allclose(made, turned, atol=1e-4 * float(np.abs(turned).max()))
