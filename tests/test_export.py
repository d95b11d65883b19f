"""Models in other formats: ONNX, TorchScript, MONAI bundles, bioimage.io models. All give medzoo's samples."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import toy_config
from PIL import Image
from safetensors.numpy import save_file
from trainers import library

import medzoo
from medzoo import registry
from medzoo.cli import main
from medzoo.errors import (
    ContributionError,
    DatasetError,
    InputError,
    MedzooError,
    NotAvailableError,
    PackageError,
)
from medzoo.publishing import graph_inputs

FORMATS = ("onnx", "torchscript", "monai", "bioimageio")
PACKAGE = """
import numpy as np
import torch

class Model:
    def __init__(self):
        torch.manual_seed(3)
        self.net = torch.nn.Linear(6 + 4 + 1, 64).requires_grad_(False)

    @torch.inference_mode()
    def sample(self, batch):
        drawn = np.stack([batch.rng(i).bytes(4) for i in range(batch.n)])
        noise = torch.from_numpy(drawn).float() / 255
        kinds = torch.from_numpy(batch.conditions["condition"]).float()[:, None]
        x = torch.cat([torch.from_numpy(batch.latents), noise, kinds], dim=1)
        parts = [self.net(part) for part in x.split(4)]
        x = torch.cat(parts).view(-1, 1, 8, 8) * batch.options["gain"]
        BODY
        return {"images": ((x * 20 + 128).clamp(0, 255)).round().to(torch.uint8).numpy()}

def load(weights_dir, device):
    return Model()
"""
LOADING = """
def load(weights_dir, device):
    from pathlib import Path
    from safetensors.numpy import load_file

    model = Model()
    scale = load_file(Path(weights_dir) / "weights.safetensors")["scale"]
    model.scaled = lambda batch: batch.latents * scale
    return model
"""
pytestmark = pytest.mark.filterwarnings("ignore")  # torch's exporters, MONAI and bioimageio


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Writes a package whose `sample` has further lines, and keys of its config."""

    def write(body: str = "pass", code: str = PACKAGE, **changes: Any) -> Path:
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        (folder / "model.py").write_text(code.replace("BODY", body))
        (folder / "README.md").write_text("# The card\n\n![](samples.png)\n")
        Image.new("L", (4, 4)).save(folder / "samples.png")
        config = toy_config(**{"requires": ["torch", "numpy"], "latent": 6, **changes})
        config["versions"]["1.0.0"]["outputs"]["images"]["tolerance"] = 1
        config["versions"]["1.0.0"]["source"] = "file:."
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        registry.lookup._registry.cache_clear()
        return folder

    yield write
    sys.modules.pop("model", None)


def run_script(folder: Path, *arguments: str) -> str:
    """What ``run.py`` of an exported folder prints, in a new interpreter."""
    done = subprocess.run(
        [sys.executable, "run.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def loaded(path: Path) -> dict[str, Any]:
    with np.load(path) as arrays:
        return dict(arrays)


# ------------------------------------------------------------------------------- the right samples
@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
@pytest.mark.slow
def test_the_file_gives_medzoos_samples_at_any_batch_size(
    package: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    mine, out = package(), tmp_path / "out"
    done = medzoo.export(mine, kind, out, trust=True, gain=5)
    assert done.outputs == ("images",)
    assert done.differences["images"] <= 1
    for n in (1, 3, 10):
        inputs = graph_inputs(mine, n, seed=n, trust=True, gain=5, condition="malignant")
        assert inputs["latents"].shape == (n, 6)
        np.savez(out / "more.npz", **inputs)
        assert run_script(out, "more.npz", "made.npz") == f"images uint8 ({n}, 1, 8, 8)\n"
        right = medzoo.generate(
            mine, n, seed=n, trust=True, gain=5, condition="malignant", env="current"
        )
        made = loaded(out / "made.npz")["images"]
        assert np.abs(made.astype(int) - right.images).max() <= 1
        assert len(np.unique(made)) > 5


@pytest.mark.slow
def test_the_file_says_where_it_comes_from_and_what_it_takes(
    package: Callable[..., Path], tmp_path: Path
) -> None:
    onnx = library("onnx")
    mine, out = package(), tmp_path / "out"
    medzoo.export(mine, "onnx", out, trust=True)
    model = onnx.load(str(out / "model.onnx"))
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["license"] == "MIT"
    assert facts["synthetic"] == "true"
    dims = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in model.graph.input
    }
    assert dims == {"noise": ["n", 4], "condition": ["n"], "latents": ["n", 6]}
    about = json.loads((out / "export.json").read_text())
    assert about["sha256"]["model.py"]
    assert about["options"] == {"gain": 3}
    values = {one["name"]: one["values"] for one in about["inputs"]}
    assert values == {
        "noise": "uniform, 0 to 255",
        "latents": "standard normal",
        "condition": "0: benign, 1: malignant",
    }
    assert run_script(out).startswith("images")
    made, right = loaded(out / "outputs.npz")["images"], loaded(out / "expected.npz")["images"]
    assert np.abs(made.astype(int) - right).max() <= 1
    assert "The card" in (out / "card.md").read_text()
    assert (out / "samples.png").is_file()
    assert "not for diagnosis" in (out / "README.md").read_text()


@pytest.mark.slow
def test_a_monai_bundle_runs_with_monais_own_command(
    package: Callable[..., Path], tmp_path: Path
) -> None:
    library("monai")
    mine, out = package(), tmp_path / "out"
    medzoo.export(mine, "monai", out, trust=True)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "monai.bundle",
        "run",
        "run",
        "--bundle_root",
        str(out),
    ]
    command += ["--config_file", str(out / "configs/inference.json")]
    subprocess.run([*command, "--inputs_file", str(out / "inputs.npz")], check=True, cwd=tmp_path)
    right = loaded(out / "expected.npz")["images"]
    for number, one in enumerate(right):
        with Image.open(out / f"output/{number:06d}_images.png") as picture:
            assert np.abs(np.asarray(picture).astype(int) - one[0]).max() <= 1
    folder = tmp_path / "drawn"
    subprocess.run(
        [*command, "--count", "7", "--seed", "5", "--output_dir", str(folder)],
        check=True,
        cwd=tmp_path,
    )
    drawn = [np.asarray(Image.open(file)) for file in sorted(folder.glob("*.png"))]
    assert len(drawn) == 7
    assert len({one.tobytes() for one in drawn}) == 7


@pytest.mark.slow
def test_bioimageio_tests_the_model_itself(package: Callable[..., Path], tmp_path: Path) -> None:
    core = library("bioimageio.core")
    mine, out = package(license="CC BY 4.0"), tmp_path / "out"
    medzoo.export(mine, "bioimageio", out, trust=True)
    content = yaml.safe_load((out / "rdf.yaml").read_text())
    assert content["license"] == "CC-BY-4.0"
    latents = next(one for one in content["inputs"] if one["id"] == "latents")
    assert [axis["type"] for axis in latents["axes"]] == ["batch", "channel"]
    for kind in ("onnx", "torchscript"):
        assert core.test_model(out / "rdf.yaml", weight_format=kind).status == "passed"


@pytest.mark.slow
def test_a_bioimageio_model_needs_a_license_with_an_identifier(
    package: Callable[..., Path], tmp_path: Path
) -> None:
    library("bioimageio.core")
    mine = package(license="ask us")
    with pytest.raises(ContributionError, match="'ask us'"):
        medzoo.export(mine, "bioimageio", tmp_path / "out", trust=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_model_8_as_onnx_gives_the_pixels_of_generate(tmp_path: Path) -> None:
    runtime = library("onnxruntime")
    assert main(["export", "8", "--format", "onnx", "--out", str(tmp_path / "out")]) == 0
    session = runtime.InferenceSession(
        str(tmp_path / "out/model.onnx"), providers=["CPUExecutionProvider"]
    )
    for n, condition in ((1, "benign"), (5, None)):
        inputs = graph_inputs(8, n, seed=3, condition=condition)
        (made,) = session.run(["images"], inputs)
        right = medzoo.generate(8, n, seed=3, condition=condition)
        assert np.abs(made.astype(int) - right.images).max() <= right.outputs["images"].tolerance


@pytest.mark.parametrize(
    ("enters", "inputs"),
    [
        ('batch.conditions["condition"][:, None]', {"input_1": "package"}),
        ('np.stack([batch.conditions["condition"]] * 2, axis=1)', {"input_1": "package"}),
        ('batch.conditions["condition"]', {"condition": "condition"}),
    ],
)
@pytest.mark.slow
def test_a_condition_may_enter_torch_as_columns(
    package: Callable[..., Path], tmp_path: Path, enters: str, inputs: dict[str, str]
) -> None:
    columns = 2 if "stack" in enters else 1
    kinds = f"torch.from_numpy({enters}).float().view(-1, {columns})[:, :1]"
    line = 'torch.from_numpy(batch.conditions["condition"]).float()[:, None]'
    assert line in PACKAGE
    mine = package(code=PACKAGE.replace(line, kinds))
    medzoo.export(mine, "torchscript", tmp_path / "out", trust=True)
    about = json.loads((tmp_path / "out/export.json").read_text())
    origins = {one["name"]: one["origin"] for one in about["inputs"]}
    assert origins == {"noise": "bytes", "latents": "latents", **inputs}


@pytest.mark.slow
def test_what_enters_torch_twice_is_one_input(package: Callable[..., Path], tmp_path: Path) -> None:
    latents = "torch.from_numpy(batch.latents)"
    kinds = 'torch.from_numpy(batch.conditions["condition"])'
    code = PACKAGE.replace(latents, f"0.5 * ({latents} + {latents})")
    code = code.replace(kinds, f"(0.5 * ({kinds} + {kinds}))")
    mine, out = package(code=code), tmp_path / "out"
    medzoo.export(mine, "torchscript", out, trust=True)
    about = json.loads((out / "export.json").read_text())
    origins = {one["name"]: one["origin"] for one in about["inputs"]}
    assert origins == {"noise": "bytes", "latents": "latents", "condition": "condition"}


@pytest.mark.parametrize(
    ("more", "origin"), [("[:, 1:3].copy()", "package"), ("[:, ::-1].copy()", "package")]
)
@pytest.mark.slow
def test_parts_of_latents_that_another_input_holds_are_not_drawn_again(
    package: Callable[..., Path], tmp_path: Path, more: str, origin: str
) -> None:
    latents = "torch.from_numpy(batch.latents)"
    part = f"torch.from_numpy(batch.latents{more}).sum(dim=1, keepdim=True)"
    mine, out = package(code=PACKAGE.replace(latents, f"{latents} + {part}")), tmp_path / "out"
    medzoo.export(mine, "torchscript", out, trust=True)
    about = json.loads((out / "export.json").read_text())
    origins = {one["name"]: one["origin"] for one in about["inputs"]}
    assert sorted(origins.values()) == sorted(["bytes", "latents", "condition", origin])


@pytest.mark.slow
def test_the_home_folder_is_understood(
    package: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    mine = package()
    done = medzoo.export(mine, "torchscript", "~/out", trust=True)
    assert done.folder == tmp_path / "home" / "out"
    assert (tmp_path / "home" / "out" / "model.pt").is_file()
    assert not (tmp_path / "~").exists()


@pytest.mark.slow
def test_the_readme_makes_the_inputs_of_the_exported_version(
    package: Callable[..., Path], tmp_path: Path
) -> None:
    mine, out = package(), tmp_path / "out"
    config = yaml.safe_load((mine / "config.yaml").read_text())
    config["versions"]["2.0.0"] = config["versions"]["1.0.0"]
    config["default_version"] = "2.0.0"
    (mine / "config.yaml").write_text(yaml.safe_dump(config))
    medzoo.export(mine, "torchscript", out, version="1.0.0", trust=True)
    (line,) = [x for x in (out / "README.md").read_text().splitlines() if "graph_inputs(" in x]
    assert line == (
        'numpy.savez("more.npz", **medzoo.publishing.graph_inputs('
        f"{str(mine)!r}, 100, seed=1, version='1.0.0', trust=True, gain=3))"
    )
    call = line.partition("**")[2].removesuffix(")")
    made = eval(call, {"medzoo": medzoo})
    assert {name: len(values) for name, values in made.items()} == {
        "noise": 100,
        "latents": 100,
        "condition": 100,
    }


@pytest.mark.slow
def test_inputs_that_depend_on_weights_are_made_with_those_of_the_export(
    package: Callable[..., Path], tmp_path: Path
) -> None:
    code = PACKAGE.replace("def load(weights_dir, device):\n    return Model()", LOADING)
    code = code.replace("torch.from_numpy(batch.latents)", "torch.from_numpy(self.scaled(batch))")
    mine, other, out = package(code=code), tmp_path / "other.safetensors", tmp_path / "out"
    save_file({"scale": np.full(1, 3, np.float32)}, mine / "weights.safetensors")
    save_file({"scale": np.full(1, 7, np.float32)}, other)
    medzoo.export(mine, "torchscript", out, weights=other, trust=True)
    text = (out / "README.md").read_text()
    assert f"graph_inputs({str(mine)!r}, 100, seed=1, weights={str(other)!r}, trust=True" in text
    own = graph_inputs(mine, 4, seed=0, trust=True)
    theirs = graph_inputs(mine, 4, seed=0, weights=other, trust=True)
    assert np.allclose(theirs["input_2"], own["input_2"] * 7 / 3)
    assert np.array_equal(theirs["input_2"], loaded(out / "inputs.npz")["input_2"])


# ----------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("x = x * len(x)", "depends on more than its inputs' values"),
        ("x = x if x.sum() > 0 else -x", "depends on more than its inputs' values"),
        ("x = x + 1 if x.shape[0] > 8 else x", "batches outside of|depends on more"),
        ("x = x + float(batch.latents[0, 0])", "is not what medzoo makes"),
        ("x = x + torch.from_numpy(x.numpy())", "goes back to numpy"),
        (
            "x = x + torch.from_numpy(np.zeros(2 * batch.n, np.float32)).sum()",
            "not one row for each",
        ),
        ("return {'images': x.numpy().astype(np.uint8)}", "made by numpy after"),
    ],
)
@pytest.mark.slow
def test_a_package_without_such_a_graph_is_refused_with_the_reason(
    package: Callable[..., Path], tmp_path: Path, body: str, says: str
) -> None:
    with pytest.raises(PackageError, match=says):
        medzoo.export(package(body), "torchscript", tmp_path / "out", trust=True)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_what_is_not_a_native_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"monai contract(.|\n)*`medzoo copy 201"):
        medzoo.export(201, "onnx", tmp_path / "out")
    with pytest.raises(InputError, match="medigan contract"):
        medzoo.export(1, "onnx", tmp_path / "out")
    with pytest.raises(PackageError, match="does not use torch"):
        medzoo.export(109, "torchscript", tmp_path / "out")
    with pytest.raises(PackageError, match=r"00104.*DataDependentOutputException: aten.equal"):
        medzoo.export(104, "torchscript", tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"format": "onx"}, InputError, "Did you mean 'onnx'"),
        ({"condition": "benign"}, InputError, "is an input of the exported graph"),
        ({"latents": np.zeros((1, 6))}, InputError, "is an input of the exported graph"),
        ({"gains": 3}, InputError, "gains"),
        ({"version": "9"}, MedzooError, "no version"),
    ],
)
def test_wrong_arguments_are_named(
    package: Callable[..., Path],
    tmp_path: Path,
    arguments: dict[str, Any],
    error: type[MedzooError],
    says: str,
) -> None:
    asked = {"format": "torchscript", "out": tmp_path / "out", "trust": True, **arguments}
    with pytest.raises(error, match=says):
        medzoo.export(package(), **asked)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(
    package: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="holds something already"):
        medzoo.export(package(), "torchscript", tmp_path / "out", trust=True)
    assert (tmp_path / "out/notes.txt").read_text() == "mine"


def test_a_missing_library_is_named(
    package: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medzoo.publishing import export_onnx

    monkeypatch.setattr(export_onnx, "NEEDS", ("onnx", "a_library_that_is_not_there"))
    with pytest.raises(
        NotAvailableError, match=r"a_library_that_is_not_there(.|\n)*medzoo\[export\]"
    ):
        medzoo.export(package(), "onnx", tmp_path / "out", trust=True)


def test_torch_is_as_before_after_an_export(package: Callable[..., Path], tmp_path: Path) -> None:
    names = [(torch, "from_numpy"), (torch.Tensor, "numpy"), (torch.Tensor, "split")]
    before = [getattr(where, name) for where, name in names]
    with pytest.raises(PackageError):
        medzoo.export(package("1 / 0"), "torchscript", tmp_path / "out", trust=True)
    assert [getattr(where, name) for where, name in names] == before
