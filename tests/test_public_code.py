"""The public code of models 2, 5, 21 and 23, unchanged, with random weights of its own networks.

Set MEDZOO_PUBLIC_CODE to a folder with checkouts ``ItDLgp9`` (of giopesina) and ``mama-synth`` (of
toufiqmusah). Neither is part of medzoo. The weights that these models are published with are not in
them: what is tested is that each shipped config calls the code that its authors wrote, and reads
what that code returns.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Zenodo
from PIL import Image
from test_model_configs import MEDIGAN
from zenodo_server import zipped

from medzoo.config import Version
from medzoo.errors import InputError, MedzooWarning
from medzoo.generation.model import Model
from medzoo.packages import http
from medzoo.registry import resolve
from medzoo.runtime import Execution, open_session

CODE = Path(os.environ.get("MEDZOO_PUBLIC_CODE", "nowhere"))
MODELS = CODE / "ItDLgp9" / "models"
PACKAGES = {
    2: MODELS / "00002_DCGAN_MMG_MASS_ROI",
    5: MODELS / "00005_DCGAN_MMG_MASS_ROI" / "00005_DCGAN_MMG_MASS_ROI",
    21: MODELS / "00021_CYCLEGAN_BRAIN_MRI_T1_T2",
    23: CODE / "mama-synth/src/submission/submission-gan/models/00023",
}
pytestmark = pytest.mark.skipif(
    not PACKAGES[2].is_dir() or not PACKAGES[23].is_dir(),
    reason="MEDZOO_PUBLIC_CODE names no folder with ItDLgp9 and mama-synth in it",
)


def imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package in ``folder``, to build its networks with."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # model 23 adds to it
    name = f"public_{folder.name}"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "png")
    return stream.getvalue()


def patches_2(package: ModuleType) -> dict[str, Any]:
    return {"malign_mass_gen": package.Generator(ngpu=1, nz=200, ngf=45, nc=1).state_dict()}


def patches_5(package: ModuleType) -> dict[str, Any]:
    net = package.Generator(
        nz=100, ngf=64, nc=1, ngpu=0, image_size=128, leakiness=0.1, conditional=False
    )
    state = net.state_dict()
    last = [name for name in state if name.startswith("main.") and name.endswith("weight")][-1]
    state[last] *= 1000  # or all pixels are 0: this package cuts levels off at the middle
    return {"500.pt": {"generator": state}}


def translators_21(package: ModuleType) -> dict[str, Any]:
    state = package.Generator(input_nc=1, output_nc=1).state_dict()
    return {f"netG_{way}_checkpoint.pth.tar": state for way in ("T1toT2", "T2toT1")}


def translator_23(package: ModuleType) -> dict[str, Any]:
    networks = sys.modules[f"{package.__name__}.src.prepost_model.model"]
    define = importlib.import_module(".networks", networks.__package__).define_G
    return {"30_net_G.pth": define(3, 3, 64, "global", 4, 9, 1, 3, "instance").state_dict()}


WEIGHTS: dict[int, Callable[[ModuleType], dict[str, Any]]] = {
    2: patches_2,
    5: patches_5,
    21: translators_21,
    23: translator_23,
}


@pytest.fixture
def model(
    zenodo: Zenodo, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Model, Version]:
    """A shipped config and its public code, which the server publishes as a package."""
    number = request.param
    if number in (21, 23):
        pytest.importorskip("torchvision")
    folder = PACKAGES[number]
    torch.manual_seed(0)
    entries = {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }
    for name, state in WEIGHTS[number](imported(folder, monkeypatch)).items():
        stream = io.BytesIO()
        torch.save(state, stream)
        entries[name] = stream.getvalue()
    if number == 23:  # the copy lacks the slices that the published package brings
        entries["input/slice.png"] = png(np.full((512, 512), 90, np.uint8))
    config = resolve(number)
    version = dataclasses.replace(config.version(None), size=None, sha256_unconfirmed="")
    facts = MEDIGAN[number]
    zenodo.publish(facts.record, {facts.file: zipped(entries)})
    monkeypatch.setattr(http, "policy", dataclasses.replace(http.policy, stall=60))  # large files
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MedzooWarning)  # this interpreter is not the model's own
        session = open_session(config, version, Execution("cpu", env="current"))
    return Model(config, version, session), version


@pytest.mark.parametrize("model", [2, 5], indirect=True)
def test_patches_from_latents(model: tuple[Model, Version]) -> None:
    with model[0] as loaded:
        samples = loaded.generate(5, seed=1, batch_size=3)
        again = loaded.generate(5, seed=1, batch_size=5)
    assert samples.images.shape == (5, 1, 128, 128)
    assert samples.images.dtype == np.uint8
    assert len(np.unique(samples.images, axis=0)) == 5
    np.testing.assert_array_equal(samples.images, again.images)


@pytest.mark.parametrize("model", [21], indirect=True)
def test_slices_of_the_other_contrast_in_the_order_of_their_inputs(
    model: tuple[Model, Version],
) -> None:
    slices = np.zeros((3, 224, 192), np.uint8)
    for k, one in enumerate(slices):
        one[40 * k : 40 * k + 40] = 200
    with model[0] as loaded:
        samples = loaded.generate(3, seed=1, inputs=slices, batch_size=2)
        alone = [loaded.generate(1, seed=1, inputs=one[None]).images[0] for one in slices]
    assert samples.images.shape == (3, 1, 224, 192)
    np.testing.assert_array_equal(samples.images, np.stack(alone))


@pytest.mark.parametrize("model", [23], indirect=True)
def test_slices_with_contrast_agent_come_as_tuples(
    model: tuple[Model, Version], tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (512, 512), np.uint8)
    (tmp_path / "slice.png").write_bytes(png(noise))
    with model[0] as loaded:
        samples = loaded.generate(1, seed=1, inputs=tmp_path / "slice.png")
        with pytest.raises(InputError, match="512"):
            loaded.generate(1, seed=1, inputs=noise[:, :400])
    assert samples.images.shape == (1, 1, 512, 512)
    assert len(np.unique(samples.images)) > 2
