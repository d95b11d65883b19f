"""Contributing: the template works, every defect is found, zips are reproducible, git is left as it was."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import NUMPY_MODEL, ROOT, toy_config
from contributed import CARD, Make, check, pack, submit
from medigan_packages import config_of
from package_index import PackageIndex

import medzoo
from medzoo import cli, errors, publishing
from medzoo.config import read_config
from medzoo.files import sha256_of
from medzoo.publishing import contents, metadata, review, untrained
from medzoo.registry import Registry

SOURCE = "zenodo:1234567/TOY_MRI_NOISE-1.0.0.zip"


def found(report: publishing.Report, name: str) -> publishing.Finding:
    """The one finding of a name."""
    (finding,) = [f for f in report.findings if f.name == name]
    return finding


# -------------------------------------------------------------------------------------------------------- new
TEMPLATES = pytest.mark.parametrize("template", ["torch", "numpy", "medigan"])
READING = """
import os
import numpy as np

def generate(model_file, num_samples, output_path, save_images):
    here = os.path.dirname(os.path.abspath(model_file))
    for name in ("500.pt", "images/a.jpg", "levels.csv"):
        with open(os.path.join(here, name), "rb") as file:
            assert file.read() == b"weights"
    return [np.random.randint(0, 256, (4, 4)).astype(np.uint8) for _ in range(num_samples)]
"""


@TEMPLATES
@pytest.mark.filterwarnings("ignore:.*this interpreter")
def test_template_generates_before_anything_is_filled_in(tmp_path: Path, template: str) -> None:
    folder = publishing.new(tmp_path / "mine", name="GAN_MRI_KNEE", template=template)
    samples = medzoo.generate(folder, 4, seed=1, trust=True)
    assert samples.provenance["model"] == "99999_GAN_MRI_KNEE"
    bright = (samples.images > 100).mean(axis=(1, 2, 3))  # part of the picture that the disc covers
    assert bright[0] < bright[1] / 2  # small, large
    assert bright[2] < bright[3] / 2
    assert "# GAN_MRI_KNEE\n" in (folder / "README.md").read_text()
    assert "TYPE_MODALITY" not in "".join(p.read_text() for p in folder.glob("*.[my]*"))


@TEMPLATES
def test_template_is_all_right_but_for_what_an_author_must_say(
    tmp_path: Path, template: str
) -> None:
    report = check(publishing.new(tmp_path / "mine", name="GAN_MRI_KNEE", template=template))
    assert {f.name for f in report.open} == {
        "description",
        "license",
        "authors",
        "citation",
        "datasets",
        "card",
        "filled in",
    }
    assert all(f.state == "missing" for f in report.open)
    code = "__init__.py" if template == "medigan" else "model.py"
    for name in ("config.yaml", code, "train.py", "README.md"):
        assert f"{name} line" in found(report, "filled in").text


def test_templates_paint_the_same(tmp_path: Path) -> None:
    images = {
        name: medzoo.generate(
            publishing.new(tmp_path / name, name="GAN_MRI_KNEE", template=name),
            4,
            seed=0,
            trust=True,
        ).images.astype(int)
        for name in ("torch", "numpy")
    }
    assert np.abs(images["torch"] - images["numpy"]).max() <= 1


def test_new_refuses_a_template_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(errors.InputError, match="Did you mean 'numpy'") as refused:
        publishing.new(tmp_path / "mine", name="GAN_MRI_KNEE", template="numy")
    assert "torch, numpy, medigan" in str(refused.value)
    assert not (tmp_path / "mine").exists()


def test_template_card_has_the_sections_that_check_asks_for() -> None:
    text = (ROOT / "contrib_template" / "README.md").read_text()
    assert tuple(re.findall(r"(?m)^## (.+)$", text)) == metadata.SECTIONS


def test_template_weights_are_what_its_train_writes(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    folder = publishing.new(tmp_path / "mine", name="GAN_MRI_KNEE")
    before = load_file(folder / "weights.safetensors")
    (folder / "weights.safetensors").unlink()
    subprocess.run([sys.executable, folder / "train.py"], check=True)
    after = load_file(folder / "weights.safetensors")
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "KNEE",
        "MRI_KNEE",
        "GAN_MRI_",
        "GAN MRI KNEE",
        "../x_y_z",
        "1_2_3",
        "A_B_C..lock",
        "A_B_C\n",
    ],
)
def test_new_refuses_a_name_of_another_form(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.InputError, match="TYPE_MODALITY_CONTENT"):
        publishing.new(tmp_path / "mine", name=name)
    assert not (tmp_path / "mine").exists()


def test_new_takes_an_empty_folder_and_leaves_a_full_one(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    folder = publishing.new(tmp_path / "mine", name="GAN_MRI_KNEE")
    kept = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(errors.DatasetError, match="holds something"):
        publishing.new(folder, name="VAE_CT_LUNG")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == kept


# ------------------------------------------------------------------------------------------------------ check
def test_a_package_without_defects_is_ready(package: Make) -> None:
    report = check(package())
    assert [f for f in report.findings if f.state != "ok"] == []
    assert report.ready
    assert str(report).endswith("\nReady.")
    assert re.search(r"^ok +speed +[\d.e+-]+ ms per sample", str(report), re.MULTILINE)


RETURN = 'return {"images": images}'
NOISE = "batch.rng(i).bytes(64)"
LATENTS = "np.clip(batch.latents[i] * 20 + 128, 0, 255)"
DEFECTS = {
    "shape": (
        RETURN,
        'return {"images": images[..., 1:]}',
        "samples",
        r"\(5, 1, 8, 7\).*\(5, 1, 8, 8\)",
    ),
    "dtype": (RETURN, 'return {"images": images.astype(np.int16)}', "samples", "int16"),
    "no such column": (RETURN, 'return {"pictures": images}', "samples", "no 'images'"),
    "one sample breaks it": (RETURN, "assert batch.n > 1; " + RETURN, "samples", "AssertionError"),
    "global generator": (
        NOISE,
        "np.frombuffer(np.random.bytes(64), np.uint8)",
        "seed",
        "second run",
    ),
    "state": (
        RETURN,
        'self.calls = getattr(self, "calls", 0) + 1; images[:, 0, 1, 1] = self.calls; ' + RETURN,
        "seed",
        "second run",
    ),
    "batch size": (
        RETURN,
        "images[:, 0, 1, 1] = batch.n; " + RETURN,
        "batch size",
        "in batches of 1, images differ by up to 4",
    ),
    "row of the batch": (NOISE, "np.full(64, i, np.uint8)", "batch size", "images differ"),
    "condition": (
        'batch.conditions["condition"][i]',
        "0",
        "condition =",
        "benign and malignant give the same",
    ),
    "latents": (LATENTS, "1", "latents", "other latents give the same"),
    "option's bound": (
        'batch.options.get("gain", 0)',
        '1 // (9 - batch.options["gain"])',
        "gain =",
        "ZeroDivisionError",
    ),
    "does not import": (
        "import numpy as np",
        "import numpy as np\nimport nowhere",
        "code",
        "nowhere",
    ),
    "no load": ("def load(", "def open_(", "code", "no `load"),
    "pickle in the code": (
        "import numpy as np",
        "import pickle\nimport numpy as np",
        "weights",
        "import pickle",
    ),
    "torch.load": (
        "return Model()",
        "Model.f = lambda: torch.load('x')\n    return Model()",
        "weights",
        r"torch\.load",
    ),
    "todo": (
        "import numpy as np",
        "import numpy as np  # TODO: describe",
        "filled in",
        "model.py line 2",
    ),
}


@pytest.mark.parametrize(("old", "new", "name", "text"), DEFECTS.values(), ids=DEFECTS.keys())
def test_check_finds_a_defect_of_the_code(
    package: Make, old: str, new: str, name: str, text: str
) -> None:
    assert old in NUMPY_MODEL
    report = check(package(NUMPY_MODEL.replace(old, new)))
    assert not report.ready
    assert [f.name for f in report.open] == [name]
    assert re.search(text, found(report, name).text)


CONSTANT = """
import itertools
import numpy as np

loads = itertools.count()

class Model:
    def sample(self, batch):
        images = np.stack([{row} for i in range(batch.n)]).reshape(batch.n, 1, 8, 8).astype(np.uint8)
        images[:, 0, 0, 0] = batch.conditions["condition"]
        return {"images": images}

def load(weights_dir, device):
    model = Model()
    model.salt = next(loads)
    return model
"""


@pytest.mark.parametrize(
    ("row", "name", "text"),
    [
        ("np.full(64, batch.indices[i])", "seed", "another seed gives the same"),
        ("np.full(64, batch.seed)", "variety", "samples 0 and 1 are the same"),
        ("batch.rng(i).bytes(64) ^ np.uint8(self.salt)", "seed", "loaded again"),
    ],
)
def test_check_finds_seeds_that_do_not_decide(
    package: Make, row: str, name: str, text: str
) -> None:
    code = CONSTANT.replace("{row}", row)
    report = check(package(code, latent=None, options=None))
    assert [f.name for f in report.open] == [name]
    assert text in found(report, name).text


@pytest.mark.parametrize(
    ("row", "name", "text"),
    [
        ("np.zeros(64)", "seed", "images are constant: 0 everywhere, in all 5 samples"),
        ("np.arange(64)", "seed", "samples are constant: all are the same"),
    ],
)
def test_a_constant_output_is_called_constant(
    package: Make, row: str, name: str, text: str
) -> None:
    code = CONSTANT.replace("{row}", row).replace(
        'images[:, 0, 0, 0] = batch.conditions["condition"]', ""
    )
    outputs = {"images": {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8]}}
    report = check(package(code, latent=None, options=None, conditions=None, outputs=outputs))
    assert [f.name for f in report.open] == [name]
    assert text in found(report, name).text


@pytest.mark.parametrize("begun", ["torch", "normal", "norm"])
def test_weights_that_were_never_trained_do_not_pass(package: Make, begun: str) -> None:
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(1)
    network = torch.nn.Sequential(
        torch.nn.Linear(64, 64), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 64)
    )
    if begun == "normal":
        for layer in (network[0], network[2]):
            torch.nn.init.normal_(layer.weight, 0.0, 0.02)
    if begun != "norm":
        network(torch.randn(32, 64))  # the batch norm sees a batch
    folder = package()
    save_file(network.state_dict(), folder / "weights.safetensors")
    texts = {
        "torch": "spread evenly",
        "normal": "normal noise of width 0.02",
        "norm": "saw no batch",
    }
    finding = found(check(folder), "trained")
    assert (finding.state, texts[begun] in finding.text) == ("wrong", True), finding.text

    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(30):
        batch = torch.randn(64, 64)
        loss = (network(batch) - batch.flip(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_file(network.state_dict(), folder / "weights.safetensors")
    assert found(check(folder), "trained").state == "ok"


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "starter_models").glob("*/weights.safetensors")),
    ids=lambda p: p.parent.name,
)
def test_trained_weights_pass(path: Path) -> None:
    assert untrained.about_training(path.parent, [path.name]).state == "ok"


@pytest.mark.parametrize("text", ["None.", "none", "N/A.", "*None*", "- TBD", "Unknown.", "TODO"])
def test_a_section_that_says_nothing_does_not_pass(package: Make, text: str) -> None:
    folder = package()
    card = CARD.replace("## Quality\n\nSaid.\n", f"## Quality\n\n{text}\n")
    (folder / "README.md").write_text(card, encoding="utf-8")
    assert "nothing under Quality" in found(check(folder), "card").text
    assert metadata.said("None of the patients repeats.")


def test_check_finds_what_is_not_finite(package: Make) -> None:
    output = {
        "images": {"kind": "image", "dtype": "float32", "shape": [1, 8, 8]},
        "labels": {"kind": "label", "condition": "condition"},
    }
    code = NUMPY_MODEL.replace(
        RETURN,
        'images = images / np.float32(255); images[-1, 0, 3, 3] = np.nan; return {"images": images}',
    )
    report = check(package(code, outputs=output))
    assert "not finite" in found(report, "samples").text
    assert not report.ready


def test_tolerance_is_what_the_output_states(package: Make) -> None:
    code = NUMPY_MODEL.replace(RETURN, "images[:, 0, 1, 1] = batch.n; " + RETURN)
    code = code.replace(
        'batch.conditions["condition"][i]', '100 * batch.conditions["condition"][i]'
    )  # beyond the tolerance
    image, label = (
        {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8]},
        {"kind": "label", "condition": "condition"},
    )
    report = check(
        package(code, "enough", outputs={"images": image | {"tolerance": 4}, "labels": label})
    )
    assert report.ready, str(report)
    report = check(
        package(code, "short", outputs={"images": image | {"tolerance": 3}, "labels": label})
    )
    assert [f.name for f in report.open] == ["batch size"]


def test_an_option_that_does_nothing_is_a_warning(package: Make) -> None:
    report = check(package(NUMPY_MODEL.replace('batch.options.get("gain", 0)', "0")))
    assert found(report, "gain =").state == "warning"
    assert report.ready


@pytest.mark.parametrize(
    ("changes", "name", "text"),
    [
        ({"license": ""}, "license", "''"),
        ({"license": "unknown"}, "license", "unknown"),
        ({"authors": []}, "authors", ""),
        ({"citation": None}, "citation", ""),
        ({"datasets": None, "generator": "GAN"}, "datasets", "none"),
        ({"datasets": [{"name": "Noise", "license": "TODO"}]}, "datasets", "Noise"),
        ({"requires": ["numpy>>1"]}, "requires", "numpy>>1"),
        ({"requires": ["numpy @ https://example.org/n.whl"]}, "requires", "address"),
        ({"lock": "locks/mine.txt"}, "lock", "locks/mine.txt"),
        ({"python": "three"}, "requires", "three"),
        ({"contract": "medigan"}, "config", r"call: a mapping is missing"),
        (
            {
                "outputs": {
                    "images": {
                        "kind": "image",
                        "dtype": "uint8",
                        "shape": [1, 8, 8],
                        "range": [0, 100],
                    },
                    "labels": {"kind": "label", "condition": "condition"},
                }
            },
            "samples",
            r"\[0, 100\]",
        ),
        ({"surprise": 1}, "config", "unknown key 'surprise'"),
        ({"options": {"seed": {"type": "int", "default": 1, "help": "."}}}, "config", "seed"),
    ],
)
def test_check_finds_a_defect_of_the_config(
    package: Make, changes: dict[str, Any], name: str, text: str
) -> None:
    report = check(package(**changes))
    assert name in [f.name for f in report.open]
    assert re.search(text, found(report, name).text)
    assert not report.ready


def test_a_requirement_without_any_version_is_a_warning(package: Make) -> None:
    finding = found(check(package(requires=["numpy"])), "requires")
    assert (finding.state, "any version of numpy" in finding.text) == ("warning", True)
    path = package(folder="other", requires=["numpy>=1.26"])
    assert found(check(path), "requires").state == "ok"


def test_check_of_a_folder_without_config_or_card_or_at_all(package: Make, tmp_path: Path) -> None:
    folder = package()
    (folder / "README.md").unlink()
    assert [f.name for f in check(folder).open] == ["card"]
    (folder / "config.yaml").unlink()
    assert {f.name: f.state for f in check(folder).open} == {
        "config": "missing",
        "card": "missing",
    }
    with pytest.raises(errors.ContributionError, match="contribute new"):
        check(tmp_path / "nowhere")


def test_a_section_without_text_is_missing(package: Make) -> None:
    folder = package()
    (folder / "README.md").write_text(
        CARD.replace("## Quality\n\nSaid.\n", "## Quality\n"), encoding="utf-8"
    )
    assert "nothing under Quality" in found(check(folder), "card").text


@pytest.mark.parametrize(
    ("name", "content", "finding", "text"),
    [
        ("weights.pt", b"x", "weights", "weights.pt"),
        ("deep/model.ckpt", b"x", "weights", "deep/model.ckpt"),
        ("weights.safetensors", b"\x80\x04pickle", "weights", "not a safetensors file"),
        ("table.npz", b"no zip", "weights", "table.npz"),
        ("table.csv", b"1,2", "files", "table.csv"),
        ("my weights.json", b"{}", "files", "my weights.json"),
    ],
)
def test_check_finds_files_that_make_no_package(
    package: Make, name: str, content: bytes, finding: str, text: str
) -> None:
    folder = package()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    report = check(folder)
    assert [f.name for f in report.open] == [finding]
    assert text in found(report, finding).text


@pytest.mark.parametrize(
    ("code", "passes"),
    [
        ("from . import helper", True),
        ("from .helper import VALUE", True),
        ("import helpers", True),
        ("import helper", False),
        ("from helper import VALUE", False),
        ("import nets.unet as unet", False),
        ("def later():\n    import helper", False),
        ("import importlib\nhelper = importlib.import_module('helper')", False),
        ("import importlib\nlater = lambda: importlib.import_module('.helper', __package__)", True),
    ],
)
def test_own_files_are_imported_by_a_dot_or_refused(package: Make, code: str, passes: bool) -> None:
    folder = package()
    (folder / "nets").mkdir()
    for name in ("helper.py", "nets/__init__.py", "nets/unet.py"):
        (folder / name).write_text("VALUE = 7\n", encoding="utf-8")
    finding = contents._own_imports(folder)
    assert finding.state == "ok"
    (folder / "other.py").write_text(f"{code}\n", encoding="utf-8")
    (folder / "train.py").write_text("import helper\n", encoding="utf-8")  # run by people
    finding = found(check(folder), "imports")
    assert (finding.state == "ok") == passes, finding.text
    assert passes or "other.py line" in finding.text


def test_check_finds_pickles_inside_npz_and_links(package: Make) -> None:
    folder = package()
    np.savez(folder / "table.npz", a=np.array([{}], dtype=object))
    assert "without pickle" in found(check(folder), "weights").text
    (folder / "table.npz").unlink()
    (folder / "extra.json").symlink_to(folder / "config.yaml")
    assert "links: extra.json" in found(check(folder), "files").text


def test_large_files_are_warned_of(package: Make) -> None:
    folder = package()
    with (folder / "grid.png").open("wb") as file:
        file.truncate(contents.LARGE + 1)
    report = check(folder)
    assert "grid.png" in found(report, "size").text
    assert report.ready
    assert found(report, "size").state == "warning"


def test_the_model_runs_in_an_environment_of_its_own_unless_one_says_otherwise(
    package: Make, index: PackageIndex
) -> None:
    """The index has no such package: with the packages installed here, nobody would notice."""
    folder = package(requires=["numpy", "no-such-library-anywhere"])
    report = publishing.check(folder)
    assert [f.name for f in report.open] == ["code"]
    assert "no-such-library-anywhere" in found(report, "code").text + found(report, "code").hint
    assert "--env current" in found(report, "code").hint
    with pytest.raises(errors.InputError, match="isolated or current"):
        publishing.check(folder, env="auto")


# ------------------------------------------------------------------------------------------------------- pack
def test_pack_is_reproducible_whatever_the_dates_and_the_order(
    package: Make, tmp_path: Path
) -> None:
    first = package()
    (first / "data").mkdir()
    (first / "data" / "a.json").write_text("{}")
    second = tmp_path / "elsewhere"
    names = [p.relative_to(first) for p in sorted(first.rglob("*"), reverse=True) if p.is_file()]
    for k, name in enumerate(names):  # created in the other order
        (second / name).parent.mkdir(parents=True, exist_ok=True)
        (second / name).write_bytes((first / name).read_bytes())
        (second / name).chmod(0o600 if k % 2 else 0o755)
        os.utime(second / name, (10**9 + k, 10**9 + 7 * k))
    for junk in (
        ".DS_Store",
        "Thumbs.db",
        "__pycache__/model.pyc",
        "__MACOSX/x.py",
        ".git/config",
        "model.pyc",
    ):
        (second / junk).parent.mkdir(exist_ok=True)
        (second / junk).write_text("junk")
    a, b = pack(first), pack(second, out=tmp_path / "out")
    assert a.archive == tmp_path / "mine-packed" / "TOY_MRI_NOISE-1.0.0.zip"
    assert a.archive.read_bytes() == b.archive.read_bytes()
    assert (a.sha256, a.size) == (sha256_of(b.archive), b.archive.stat().st_size)
    with zipfile.ZipFile(a.archive) as content:
        entries = content.infolist()
    inside = ["README.md", "config.yaml", "data/a.json", "model.py"]
    assert [e.filename for e in entries] == [f"TOY_MRI_NOISE-1.0.0/{f}" for f in inside]
    assert {(e.date_time, e.external_attr >> 16) for e in entries} == {
        ((1980, 1, 1, 0, 0, 0), 0o100644)
    }
    (second / "model.py").write_text(NUMPY_MODEL + "\n")
    assert pack(second, out=tmp_path / "out").sha256 != a.sha256


def test_a_packed_model_runs_like_its_folder(
    package: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = package()
    result = pack(folder)
    monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", str(result.config.parent))
    packed = medzoo.generate("99999_TOY", 3, seed=4)
    assert packed.provenance["registered"]
    assert packed.provenance["sha256"] == {result.archive.name: result.sha256}
    assert np.array_equal(packed.images, medzoo.generate(folder, 3, seed=4, trust=True).images)
    damaged = bytearray(result.archive.read_bytes())
    damaged[200] ^= 1
    result.archive.write_bytes(damaged)
    with pytest.raises(errors.IntegrityError):
        medzoo.generate("99999_TOY", 1)


def test_a_packed_medigan_package_has_its_weights_and_all_that_it_reads(
    package: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = package()
    (folder / "model.py").unlink()
    (folder / "__init__.py").write_text(READING)
    for name in ("500.pt", "images/a.jpg", "levels.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"weights")
    call = {"weights": "500.pt", "returns": "images"}
    changes = {"citation": "A.", "source": "file:.", "requires": ["numpy>=1.26"]}
    config = config_of("99999_TOY_MRI_NOISE", call, **changes)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    result = pack(folder)
    with zipfile.ZipFile(result.archive) as content:
        names = {name.partition("/")[2] for name in content.namelist()}
    assert {"500.pt", "images/a.jpg", "levels.csv", "__init__.py", "README.md"} <= names
    monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", str(result.config.parent))
    made = medzoo.generate("99999_TOY", 2, seed=4, env="current")
    own = medzoo.generate(folder, 2, seed=4, env="current", trust=True)
    assert np.array_equal(made.images, own.images)


def test_pack_writes_nothing_of_what_is_not_ready(package: Make, tmp_path: Path) -> None:
    folder = package(license="")
    with pytest.raises(errors.ContributionError, match=r"missing +license"):
        pack(folder, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("inside", ["", "dist"])
def test_pack_does_not_write_into_the_package(package: Make, inside: str) -> None:
    folder = package()
    with pytest.raises(errors.InputError, match="inside the package"):
        pack(folder, out=folder / inside)


# ----------------------------------------------------------------------------------------------------- submit
def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", folder, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of medzoo whose user is in the middle of something else."""
    (tmp_path / "gitconfig").touch()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "A. Tester")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "tester@example.org")
    folder = tmp_path / "clone"
    (folder / "model_configs").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    config = "00008_C-DCGAN_MMG_MASSES.yaml"
    (folder / "model_configs" / config).write_bytes((ROOT / "model_configs" / config).read_bytes())
    (folder / "README.md").write_text("medzoo\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "Begin")
    git(folder, "remote", "add", "origin", "https://secret@github.com/someone/medzoo.git")
    git(folder, "checkout", "--quiet", "-b", "other")
    (folder / "other.txt").write_text("of another branch\n")
    git(folder, "add", "other.txt")
    git(folder, "commit", "--quiet", "-m", "Other")
    (folder / "README.md").write_text("changed\n")
    (folder / "staged.txt").write_text("staged\n")
    git(folder, "add", "staged.txt")
    (folder / "untracked.txt").write_text("untracked\n")
    return folder


def state(folder: Path) -> tuple[Any, ...]:
    """All that a user would miss: branch, commit, index, files."""
    files = {
        p: p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and ".git" not in p.parts
    }
    head, index = (folder / ".git" / "HEAD").read_text(), (folder / ".git" / "index").read_bytes()
    return head, git(folder, "rev-parse", "HEAD"), index, files, git(folder, "stash", "list")


def test_submit_makes_one_commit_and_leaves_the_rest(
    package: Make, clone: Path, tmp_path: Path
) -> None:
    folder = package()
    before = state(clone)
    result = submit(folder, source=SOURCE, repository=clone, dry_run=True)
    assert state(clone) == before
    assert (result.id, result.branch) == ("01001_TOY_MRI_NOISE", "model/01001_TOY_MRI_NOISE")
    assert git(clone, "rev-parse", result.branch) == result.commit
    assert git(clone, "rev-parse", f"{result.branch}^") == git(
        clone, "rev-parse", "main"
    )  # not the branch at work
    assert (
        git(clone, "diff", "--name-status", f"main..{result.branch}")
        == "A\tmodel_configs/01001_TOY_MRI_NOISE.yaml"
    )
    git(clone, "worktree", "add", "--quiet", str(tmp_path / "tree"), result.branch)
    config = Registry([tmp_path / "tree" / "model_configs"]).find(1001)
    packed = pack(folder)
    assert (config.id, config.default.source) == (result.id, SOURCE)
    assert (config.default.sha256, config.default.size) == (packed.sha256, packed.size)
    said = str(result)
    assert f"push origin {result.branch}" in said
    assert (
        "https://github.com/medzoo/medzoo/compare/main...someone:model/01001_TOY_MRI_NOISE" in said
    )
    assert "secret" not in said


def test_the_next_number_is_free_of_configs_and_of_waiting_branches(
    package: Make, clone: Path
) -> None:
    git(clone, "branch", "model/01001_GAN_CT_LUNG", "main")
    git(clone, "update-ref", "refs/remotes/origin/model/01002_GAN_CT_LIVER", "main")
    assert (
        submit(package(), source=SOURCE, repository=clone, dry_run=True).id == "01003_TOY_MRI_NOISE"
    )


def test_a_model_is_submitted_once(package: Make, clone: Path) -> None:
    folder = package()
    branch = submit(folder, source=SOURCE, repository=clone, dry_run=True).branch
    with pytest.raises(errors.ContributionError, match="has a branch already"):
        submit(folder, source=SOURCE, repository=clone, dry_run=True)
    git(clone, "checkout", "--quiet", "--force", "main")
    git(clone, "merge", "--quiet", branch)
    git(clone, "branch", "--quiet", "-D", branch)
    with pytest.raises(errors.ContributionError, match="is registered already"):
        submit(folder, source=SOURCE, repository=clone, dry_run=True)


def test_submit_of_a_model_that_is_to_come_with_medzoo(package: Make, clone: Path) -> None:
    folder = package()
    before = state(clone)
    result = submit(folder, source="bundled", repository=clone, dry_run=True)
    assert state(clone) == before
    added = git(clone, "diff", "--name-only", f"main..{result.branch}").split()
    home = f"starter_models/{result.id}"
    assert added == [f"model_configs/{result.id}.yaml", f"{home}/README.md", f"{home}/model.py"]
    held = yaml.safe_load(git(clone, "show", f"{result.branch}:model_configs/{result.id}.yaml"))[
        "versions"
    ]["1.0.0"]
    assert held["files"] == {"model.py": sha256_of(folder / "model.py")}
    assert held["source"] == f"bundled:{result.id}"


def test_submit_from_within_a_hook_of_another_repository(
    package: Make, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(clone.parent / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(clone.parent / "no-index"))
    result = submit(package(), source=SOURCE, repository=clone / "model_configs", dry_run=True)
    assert result.repository == clone
    assert not (clone.parent / "no-index").exists()


@pytest.mark.parametrize(
    "source", [None, "file:mine.zip", "zenodo:x/y.zip", "http://example.org/x.zip", "bundled:"]
)
def test_submit_needs_a_source_that_others_reach(
    package: Make, clone: Path, source: str | None
) -> None:
    with pytest.raises(errors.ContributionError, match="zenodo:RECORD"):
        submit(package(), source=source, repository=clone, dry_run=True)


def test_submit_says_what_is_wrong_with_git(
    package: Make, clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = package()

    def attempt(repository: Path) -> None:
        submit(folder, source=SOURCE, repository=repository, dry_run=True)

    for repository in (tmp_path / "cache", tmp_path / "nowhere"):
        with pytest.raises(errors.ContributionError, match="not a git repository"):
            attempt(repository)
    git(tmp_path, "init", "--quiet", "--bare", "store")
    with pytest.raises(errors.ContributionError, match=r"(?s)git cannot use.*work tree"):
        attempt(tmp_path / "store")
    (tmp_path / "bare").mkdir()
    git(tmp_path / "bare", "init", "--quiet", "--initial-branch=main")
    git(tmp_path / "bare", "commit", "--quiet", "--allow-empty", "-m", "Empty")
    with pytest.raises(errors.ContributionError, match="not a clone of medzoo"):
        attempt(tmp_path / "bare")
    monkeypatch.delenv("GIT_AUTHOR_NAME")
    with pytest.raises(errors.ContributionError, match=r"user\.name"):
        attempt(clone)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.ContributionError, match="no git on this machine"):
        attempt(clone)


# ----------------------------------------------------------------------------------------------------- review
@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    """A config as a pull request brings it: ``config()``, with keys of its version replaced."""

    def make(identifier: str = "00101_TOY_MRI_NOISE", file: str = "", **changes: Any) -> Path:
        about = {"citation": "A. Tester.", "source": SOURCE, "sha256": "0" * 64, "size": 1000}
        content = toy_config(**(about | changes)) | {"id": identifier}
        path = tmp_path / "model_configs" / f"{file or identifier}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return path

    return make


def test_review_passes_what_submit_would_write(config: Callable[..., Path]) -> None:
    report = review.review(config())
    assert report.ready, str(report)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "model_configs").glob("*.yaml")), ids=lambda p: p.stem
)
def test_review_passes_the_shipped_configs(path: Path) -> None:
    report = review.review(path)
    assert report.ready, str(report)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"file": "00102_TOY_MRI_NOISE"}, "file name"),
        ({"identifier": "00050_TOY_MRI_NOISE"}, "number"),
        ({"identifier": "99999_TOY_MRI_NOISE"}, "number"),
        ({"identifier": "00101_TOY_NOISE"}, "id"),
        ({"license": ""}, "license"),
        ({"citation": "TODO"}, "filled in"),
        ({"source": "file:mine.zip"}, "source"),
        ({"source": "ftp://example.org/x.zip"}, "source"),
        ({"source": "bundled:00102_OTHER_MRI_NOISE", "files": {"model.py": "0" * 64}}, "source"),
        ({"sha256": None}, "digest"),
        ({"size": None}, "digest"),
        ({"source": "bundled:00101_TOY_MRI_NOISE"}, "digest"),
        ({"lock": "locks/nowhere.txt"}, "lock"),
        ({"requires": ["numpy @ git+https://example.org/numpy"]}, "requires"),
        ({"surprise": 1}, "config"),
    ],
)
def test_review_finds(config: Callable[..., Path], changes: dict[str, Any], name: str) -> None:
    assert name in [f.name for f in review.review(config(**changes)).open]


def test_review_finds_a_number_that_is_taken(config: Callable[..., Path]) -> None:
    config("00101_GAN_CT_LUNG")
    assert "00101_GAN_CT_LUNG" in found(review.review(config()), "number").text


def test_the_workflow_reviews_what_a_pull_request_changes(
    config: Callable[..., Path], clone: Path, tmp_path: Path
) -> None:
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "contribution.yml").read_text())[
        "jobs"
    ]["review"]["steps"]
    (script,) = [s["run"] for s in steps if s.get("name") == "Review"]
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)

    env = os.environ | {
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "PYTHONPATH": str(ROOT),
    }

    def run() -> tuple[int, str]:
        git(clone, "add", "model_configs")
        git(clone, "commit", "--quiet", "-m", "Change")
        (tmp_path / "summary.md").unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=clone,
            env=env,
            check=False,
        )
        return done.returncode, (tmp_path / "summary.md").read_text()

    target = clone / "model_configs" / "00101_TOY_MRI_NOISE.yaml"
    target.write_bytes(config().read_bytes())
    code, summary = run()
    assert code == 0, summary
    assert "00101_TOY_MRI_NOISE" in summary
    assert "00008" not in summary  # not changed, not looked at
    target.write_bytes(config(license="").read_bytes())
    code, summary = run()
    assert code != 0
    assert "missing  license" in summary
    assert summary.endswith("```\n")
    target.unlink()
    assert run() == (0, "```\nNo config was changed.\n\n```\n")


# -------------------------------------------------------------------------------------------- the whole way, and the pages
@TEMPLATES
def test_from_the_template_to_a_branch_on_the_command_line(
    clone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    template: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    new = ["contribute", "new", "mine", "--name", "GAN_MRI_KNEE"]
    assert cli.main([*new, "--template", template] if template != "torch" else new) == 0
    assert cli.main(["generate", "mine/", "-n", "4", "--out", "x", "--seed", "1", "--trust"]) == 0
    assert cli.main(["contribute", "check", "mine", "--env", "current"]) == 11
    assert cli.main(["contribute", "pack", "mine", "--env", "current"]) == 11
    for path in (tmp_path / "mine").glob("*.[mpy]*"):  # the author fills in
        text = re.sub(r"  # TODO.*", "", path.read_text(encoding="utf-8"))
        path.write_text(re.sub(r"TODO:", "Filled in:", text), encoding="utf-8")
    capsys.readouterr()
    assert cli.main(["contribute", "check", "mine", "--env", "current"]) == 0, (
        capsys.readouterr().out
    )
    assert cli.main(["contribute", "pack", "mine", "--env", "current"]) == 0
    monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", str(tmp_path / "mine-packed"))
    assert cli.main(["generate", "99999", "-n", "4", "--out", "y", "--seed", "1"]) == 0
    monkeypatch.delenv("MEDZOO_MODEL_CONFIGS")
    pictures = [sorted((tmp_path / d / "images").iterdir()) for d in "xy"]
    assert len(pictures[0]) == 4
    assert [p.name for p in pictures[0]] == [p.name for p in pictures[1]]
    submit = ["contribute", "submit", "mine", "--repository", str(clone), "--env", "current"]
    assert cli.main([*submit, "--dry-run"]) == 11  # where does it lie?
    source = ["--source", "zenodo:1/GAN_MRI_KNEE-1.0.0.zip"]
    assert cli.main([*submit, *source, "--dry-run"]) == 0
    assert "model/01001_GAN_MRI_KNEE" in capsys.readouterr().out
    git(clone, "rev-parse", "--verify", "model/01001_GAN_MRI_KNEE")


def test_the_example_in_the_docs_is_a_ready_package(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "packages.md").read_text(encoding="utf-8")
    for language, name in (("yaml", "config.yaml"), ("python", "model.py")):
        (block,) = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
        (tmp_path / name).write_text(block, encoding="utf-8")
    report = check(tmp_path)
    assert [f.name for f in report.open] == ["card"], str(report)


def test_a_package_may_import_its_siblings(package: Make) -> None:
    folder = package(
        NUMPY_MODEL.replace("import numpy as np", "import numpy as np\nfrom . import sibling", 1)
    )
    (folder / "sibling.py").write_text("VALUE = 1\n")
    assert check(folder).ready
    assert read_config(folder / "config.yaml").default.contract == "native"
