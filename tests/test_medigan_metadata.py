"""Private models of medigan: ``metadata.json`` or ``global.json`` beside a package becomes a config, and nothing is guessed
without a word.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from zenodo_server import zipped

import medzoo
from medzoo.cli import main
from medzoo.config import read_config
from medzoo.config.medigan import content_of, read_metadata
from medzoo.errors import (
    ConfigError,
    InputError,
    MedzooWarning,
    ModelNotFoundError,
    PackageError,
    TrustError,
)
from medzoo.medigan.metadata import GLOBAL
from medzoo.publishing import from_medigan

NAME = "00077_GAN_MRI_KNEE"
CODE = """
import numpy as np

def generate(model_file, num_samples, output_path, save_images, level=7, mode="a", input_latent_vector=None):
    assert open(model_file, "rb").read() == b"weights" and mode in "ab"
    assert input_latent_vector.shape == (num_samples, 3, 1, 1)
    return [np.full((4, 6), level, np.uint8) for _ in range(num_samples)]
"""
SECTION = {"dtype": "uint8", "range": [0, 255]}


def metadata(section: Any = SECTION, **execution: Any) -> dict[str, Any]:
    """An entry as medigan's template has it."""
    made = {
        "package_name": "KNEE",
        "package_link": "https://zenodo.org/record/1/files/KNEE.zip",
        "model_name": "500",
        "extension": ".pt",
        "image_size": [4, 6],
        "dependencies": ["numpy"],
        "generate_method": {
            "name": "generate",
            "args": {
                "base": ["model_file", "num_samples", "output_path", "save_images"],
                "custom": {"level": 7, "mode": "a"},
            },
            "input_latent_vector_size": 3,
        },
        **execution,
    }
    selection = {
        "performance": {"FID": 31.5},
        "organ": ["knee"],
        "modality": ["MRI", "mr"],
        "generates": ["cartilage"],
        "dataset": ["OAI"],
        "license": "MIT",
        "type": "DCGAN",
        "tags": ["knee", "MRI"],
        "year": "2023",
    }
    description = {
        "title": "Knees",
        "version": "0.3",
        "comment": "Slices of knees.",
        "inputs": ["level: default=7, help=the grey level."],
    }
    entry = {"execution": made, "selection": selection, "description": description}
    return entry | ({} if section is None else {"medzoo": section})


def with_custom(custom: Any) -> dict[str, Any]:
    """An entry whose function has these further arguments."""
    entry = metadata()
    entry["execution"]["generate_method"]["args"]["custom"] = custom
    return entry


def package(
    folder: Path, entries: Any = None, code: str = CODE, file: str = "metadata.json"
) -> Path:
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(code)
    (folder / "500.pt").write_bytes(b"weights")
    (folder / file).write_text(json.dumps({NAME: metadata()} if entries is None else entries))
    return folder


def quiet(folder: Path, n: int = 2, **options: Any) -> medzoo.Samples:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MedzooWarning)
        return medzoo.generate(folder, n, trust=True, env="current", seed=0, **options)


@pytest.mark.parametrize("file", ["metadata.json", "global.json"])
def test_a_folder_of_medigan_is_a_model(tmp_path: Path, file: str) -> None:
    folder = package(tmp_path / "mine", file=file)
    with pytest.warns(MedzooWarning, match=r"one channel.*returns: images"):
        config = medzoo.info(folder)
    assert (config.id, config.name, config.modality, config.organ) == (NAME, "Knees", "MRI", "knee")
    version = config.default
    assert (version.name, version.year, version.license) == ("0.3", 2023, "MIT")
    assert version.options["level"].help == "the grey level."
    assert (version.latent, version.call.latent_shape) == (3, (3, 1, 1))  # type: ignore[union-attr]
    assert [(m.name, m.value, m.dataset) for m in version.metrics] == [("FID", 31.5, "OAI")]
    samples = quiet(folder, level=9)
    assert samples.images.shape == (2, 1, 4, 6)
    assert (samples.images == 9).all()
    assert samples.provenance["registered"] is False
    assert set(samples.provenance["sha256"]) >= {"__init__.py", "500.pt"}  # its weights too


def test_it_needs_trust_as_any_folder_does(tmp_path: Path) -> None:
    folder = package(tmp_path / "mine")
    with pytest.warns(MedzooWarning), pytest.raises(TrustError, match="no registry names it"):
        medzoo.generate(folder, 1)


def test_the_command_line_takes_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = package(tmp_path / "mine"), tmp_path / "out"
    command = ["generate", f"{folder}{os.sep}", "-n", "2", "--out", str(out), "--trust"]
    assert main([*command, "--env", "current"]) == 0
    assert len(list(out.rglob("*.png"))) == 2
    assert "Assumed: one channel" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["KNEE", "zip", "nested zip", "link"])
def test_the_package_may_lie_where_medigan_keeps_it(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    entry, entries = metadata(), {"__init__.py": CODE.encode(), "500.pt": b"weights"}
    if place == "KNEE":
        package(folder / "KNEE", {})
        (folder / "KNEE" / "metadata.json").unlink()
    elif place == "link":
        entry["execution"]["package_link"] = str(package(tmp_path / "elsewhere"))
    else:
        inside = "KNEE/" if place == "nested zip" else ""
        content = zipped({inside + name: file for name, file in entries.items()})
        (folder / "KNEE.zip").write_bytes(content)
    (folder / "metadata.json").write_text(json.dumps({NAME: entry}))
    assert (quiet(folder).images == 7).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MedzooWarning)
        made = from_medigan(tmp_path / "new", source=folder)
    assert (quiet(made).images == 7).all()


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        (metadata(None), r"medzoo\.dtype"),
        (metadata({"dtype": "uint8"}), r"medzoo\.range"),
        (metadata(image_size=None), r"execution\.image_size"),
        (metadata(image_size=["a", 2]), r"execution\.image_size"),
        (metadata(image_size=128), r"execution\.image_size"),
        (metadata(image_size="128x128"), r"execution\.image_size"),
        (metadata(model_name=None), r"execution\.model_name"),
        (metadata(generate_method={"name": "generate"}), "generate_method"),
        (metadata(model_name="501"), r"execution\.package_link"),
        (metadata({**SECTION, "dtype": "float16"}), r"versions\.0\.3\.outputs\.images\.dtype"),
        (metadata({**SECTION, "colour": True}), "unknown key 'colour'"),
        (metadata({**SECTION, "call": 3}), r"medzoo\.call"),
        (metadata(3), "medzoo: a mapping"),
        (metadata(dependencies="numpy"), r"execution\.dependencies: a list of texts"),
        (metadata(dependencies=["numpy", 3]), r"execution\.dependencies: a list of texts"),
        (with_custom(["level"]), r"args\.custom: a mapping was expected"),
        (metadata() | {"description": "Knees"}, "description: a mapping was expected"),
        (
            metadata() | {"description": {"version": 1.10}},
            r"description\.version: a text in quotes",
        ),
    ],
)
def test_what_is_missing_is_asked_for_by_its_key(tmp_path: Path, entry: Any, key: str) -> None:
    folder = package(tmp_path / "mine", {NAME: entry})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MedzooWarning)
        with pytest.raises(ConfigError, match=key) as caught:
            medzoo.info(folder)
    assert "metadata.json" in str(caught.value)


def test_all_that_is_stated_needs_no_warning(tmp_path: Path) -> None:
    outputs = {"images": {"kind": "image", "shape": [1, 4, 6], **SECTION}}
    folder = package(tmp_path / "mine", {NAME: metadata({"returns": "images", "outputs": outputs})})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert medzoo.info(folder).default.outputs["images"].range == (0, 255)


def test_a_wrong_assumption_is_an_error_when_it_runs(tmp_path: Path) -> None:
    """Tuples come back: an error until `returns` says so, and then both parts are right."""
    code = CODE.replace(
        "level, np.uint8) for", "level, np.uint8), np.eye(4, 6, dtype=np.uint8)) for"
    )
    code = code.replace("[np.full", "[(np.full")
    folder = package(tmp_path / "mine", code=code)
    with pytest.raises(PackageError):
        quiet(folder)
    shape = {"shape": [1, 4, 6], "dtype": "uint8"}
    outputs = {
        "images": {"kind": "image", "range": [0, 255], **shape},
        "masks": {"kind": "mask", "range": [0, 1], "element": 1, **shape},
    }
    entry = metadata({"returns": "tuples", "outputs": outputs})
    (folder / "metadata.json").write_text(json.dumps({NAME: entry}))
    samples = quiet(folder)
    assert (samples.images == 7).all()
    np.testing.assert_array_equal(samples.masks[1, 0], np.eye(4, 6))


def test_inputs_conditions_and_calls_can_be_described(tmp_path: Path) -> None:
    custom = {"input_path": "models/x/images", "condition": None, "level": 7}
    method = metadata()["execution"]["generate_method"]
    method = {
        **method,
        "args": {**method["args"], "custom": custom},
        "input_latent_vector_size": None,
    }
    section = {
        **SECTION,
        "call": {"most": 1, "arguments": {"level": 5}},
        "inputs": {"images": {"kind": "image", "argument": "input_path", "help": "Slices."}},
        "conditions": {"condition": {"values": {"a": 0, "b": 1}, "help": "A or b."}},
    }
    folder = package(tmp_path / "mine", {NAME: metadata(section, generate_method=method)})
    with pytest.warns(MedzooWarning) as caught:
        version = medzoo.info(folder).default
    assert "input_path" not in str(caught[0].message)
    assert version.call is not None
    assert (version.call.most, dict(version.call.arguments)) == (1, {"level": 5})
    assert (list(version.inputs), list(version.conditions)) == (["images"], ["condition"])


def test_latents_that_the_function_does_not_take_are_not_given(tmp_path: Path) -> None:
    code = CODE.replace(", input_latent_vector=None", "").replace(
        "assert input_latent_vector.shape == (num_samples, 3, 1, 1)", "pass"
    )
    folder = package(tmp_path / "mine", code=code)
    with pytest.warns(MedzooWarning, match="draws its 3 latents itself"):
        assert medzoo.info(folder).default.latent == 0
    assert (quiet(folder).images == 7).all()


def test_an_id_of_another_form_is_said(tmp_path: Path) -> None:
    folder = package(tmp_path / "mine", {"my knees": metadata()})
    with pytest.warns(MedzooWarning, match="the id 99999_my_knees"):
        assert medzoo.info(folder).id == "99999_my_knees"


def test_of_several_entries_the_one_whose_package_is_there(tmp_path: Path) -> None:
    everything = json.loads(GLOBAL.read_text())
    folder = package(tmp_path / "mine", {**everything, NAME: metadata()}, file="global.json")
    # model 5 of medigan has weights of the same name, so two entries fit
    with pytest.raises(ConfigError, match="24 models, and the packages of 2 lie beside it"):
        medzoo.info(folder)
    shutil.move(folder / "500.pt", folder / "501.pt")
    entries = {**everything, NAME: metadata(model_name="501")}
    (folder / "global.json").write_text(json.dumps(entries))
    with pytest.warns(MedzooWarning):
        assert medzoo.info(folder).id == NAME


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    folder = package(tmp_path / "mine")
    assert (quiet(folder).images == 7).all()
    entry = metadata()
    entry["execution"]["generate_method"]["args"]["custom"]["level"] = 8
    (folder / "metadata.json").write_text(json.dumps({NAME: entry}))
    os.utime(folder / "metadata.json", ns=(1, 1))
    assert (quiet(folder).images == 8).all()


def test_a_config_comes_first(tmp_path: Path) -> None:
    old = package(tmp_path / "mine")
    with pytest.warns(MedzooWarning, match="one channel"):
        folder = from_medigan(tmp_path / "new", source=old)
    (folder / "metadata.json").write_text("no JSON")
    assert medzoo.info(folder).path.name == "config.yaml"


@pytest.mark.parametrize("content", ["no JSON", "[]", "{}", '{"a": 1}', '{"a": {}, "b": {}}'])
def test_a_broken_file_is_a_config_error(tmp_path: Path, content: str) -> None:
    folder = package(tmp_path / "mine")
    (folder / "metadata.json").write_text(content)
    with pytest.raises(ConfigError, match=r"metadata\.json"):
        medzoo.info(folder)


def test_every_published_entry_can_be_converted(tmp_path: Path) -> None:
    """medigan's own 23, each with an empty package: what they state reaches the config."""
    for name, entry in json.loads(GLOBAL.read_text()).items():
        weights = f"{entry['execution']['model_name']}{entry['execution']['extension']}"
        folder = tmp_path / name
        (folder / weights).parent.mkdir(parents=True)
        (folder / weights).write_bytes(b"weights")
        (folder / "__init__.py").touch()
        path = folder / "metadata.json"
        path.write_text(json.dumps({name: {**entry, "medzoo": SECTION}}))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MedzooWarning)
            config = read_metadata(path)
        shipped = medzoo.info(int(name[:5]))
        published = next(v for v in shipped.versions.values() if v.call is not None)
        assert published.call is not None
        call = config.default.call
        assert call is not None
        assert (config.id, call.function) == (shipped.id, published.call.function)
        assert config.default.latent == published.latent
        if published.latent:
            assert call.latents == published.call.latents


# ----------------------------------------------------------------------------------------------
# contribute new --from-medigan, copy
def test_contribute_new_writes_the_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = package(tmp_path / "mine"), tmp_path / "new"
    assert main(["contribute", "new", str(new), "--from-medigan", str(old)]) == 0
    assert "config.yaml and README.md" in capsys.readouterr().out
    assert {p.name for p in new.iterdir()} == {"__init__.py", "500.pt", "README.md", "config.yaml"}
    assert "# Assumed, please check: one channel" in (new / "config.yaml").read_text()
    assert "GAN_MRI_KNEE" in (new / "README.md").read_text()
    config = read_config(new / "config.yaml")
    assert config.id == NAME
    assert config.default.source == "file:."
    stated, _ = content_of(old / "metadata.json")
    assert yaml.safe_load((new / "config.yaml").read_text()) == stated
    np.testing.assert_array_equal(quiet(new).images, quiet(old).images)


def test_contribute_new_asks_for_what_is_missing(tmp_path: Path) -> None:
    old = package(tmp_path / "mine", {NAME: metadata(None)})
    command = ["contribute", "new", str(tmp_path / "new"), "--from-medigan", str(old)]
    assert main(command) == ConfigError.exit_code
    assert not (tmp_path / "new").exists()
    (old / "metadata.json").unlink()
    with pytest.raises(InputError, match=r"metadata\.json or global\.json"):
        from_medigan(tmp_path / "new", source=old)
    with pytest.raises(ModelNotFoundError, match=r"config\.yaml"):
        medzoo.info(old)


def test_a_copy_of_such_a_folder_has_a_config(tmp_path: Path) -> None:
    old = package(tmp_path / "mine")
    with pytest.warns(MedzooWarning):
        copied = medzoo.copy(old, tmp_path / "copy")
    assert (copied / "config.yaml").is_file()
    assert (quiet(copied).images == 7).all()


def test_changed_code_is_read_again(tmp_path: Path) -> None:
    folder = package(tmp_path / "mine")
    with pytest.warns(MedzooWarning):
        assert medzoo.info(folder).default.latent == 3
    code = folder / "__init__.py"
    code.write_text(code.read_text().replace("input_latent_vector", "z"))
    with pytest.warns(MedzooWarning, match="draws its 3 latents itself"):
        assert medzoo.info(folder).default.latent == 0


def test_what_cannot_be_installed_is_named(tmp_path: Path) -> None:
    entry = metadata(dependencies=["numpy", "--pre"])
    with pytest.warns(MedzooWarning, match="without --pre, which no environment can install"):
        config = medzoo.info(package(tmp_path / "mine", {NAME: entry}))
    assert config.default.requires == ("numpy",)
