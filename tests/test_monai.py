"""MONAI bundles: unchanged workflows, resolved by MONAI's own parser, compared with what MONAI itself makes of them."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bundles import SCRIPT, bundle_config, write_bundle
from conftest import toy_config

from medzoo._worker.batch import Batch
from medzoo._worker.monai import Monai, turn, uniform
from medzoo.config import Version
from medzoo.config.columns import affine_of, to_xyz
from medzoo.config.schema import config_from
from medzoo.errors import ConfigError, InputError, PackageError, TrustError
from medzoo.runtime.monai import columns, spec

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import monai.bundle
    import monai.transforms

pytestmark = pytest.mark.filterwarnings("ignore")  # MONAI and torch warn of each other
STEPS = {"type": "int", "default": 20, "help": "Steps."}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Monai]]:
    """Opens a bundle in this process as a model's own process does; nothing of it stays."""
    path, modules, folder = list(sys.path), set(sys.modules), Path.cwd()

    def open_(bundle: Path, config: dict[str, Any]) -> Monai:
        version = version_of(bundle, config)
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        return Monai(bundle, spec("toy", version, bundle, None, tmp_path), "cpu", work)

    yield open_
    os.chdir(folder)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] == "scripts":
            del sys.modules[name]


def version_of(bundle: Path, config: dict[str, Any]) -> Version:
    return config_from(toy_config(**config), bundle.parent / "config.yaml").default


def batch(n: int = 3, first: int = 0, **options: Any) -> Batch:
    indices = np.arange(first, first + n)
    rows = np.random.default_rng(4).standard_normal((10, 6)).astype(np.float32)
    return Batch(7, indices, rows[indices], options=options)


def images(contract: Monai, asked: Batch) -> np.ndarray[Any, Any]:
    return np.asarray(contract.sample(asked)["outputs"]["images"])


def theirs(
    bundle: Path, latents: np.ndarray[Any, Any], reference: str = "sample"
) -> np.ndarray[Any, Any]:
    """What MONAI's parser makes of the workflow, with the weights loaded by torch."""
    sys.path.insert(0, str(bundle))
    parser = monai.bundle.ConfigParser()
    parser.read_config(str(bundle / "configs/inference.json"))
    parser["bundle_root"] = str(bundle)
    parser["noise"] = torch.from_numpy(latents)
    parser["network"] = "$(@load_network, @network_def.to(@device).eval())[1]"
    with torch.no_grad():
        return np.asarray(parser.get_parsed_content(reference))


# ------------------------------------------------------------------------------------ the right samples
def test_samples_are_those_that_monai_makes_with_the_weights(
    tmp_path: Path, opened: Callable[..., Monai]
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    made = images(opened(bundle, bundle_config(bundle)), batch())
    expected = theirs(bundle, batch().latents)  # (n, 1, x, y, z), to the left, front, top
    right = np.flip(expected, 3).transpose(0, 1, 4, 3, 2)
    np.testing.assert_allclose(made, right, atol=1e-6)


def test_the_bundles_own_loader_gives_the_same(
    tmp_path: Path, opened: Callable[..., Monai]
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    own = images(opened(bundle, bundle_config(bundle)), batch())
    networks = {"models/model.pt": {"reference": "network_def", "load": "load_network"}}
    again = images(opened(bundle, bundle_config(bundle, networks=networks)), batch())
    np.testing.assert_array_equal(own, again)


def test_weights_are_loaded_once_for_many_batches(
    tmp_path: Path, opened: Callable[..., Monai], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, loads = write_bundle(tmp_path / "bundle"), []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda f, *a, **k: loads.append(f) or load(f, *a, **k))
    contract = opened(bundle, bundle_config(bundle))
    first, again = images(contract, batch()), images(contract, batch())
    np.testing.assert_array_equal(first, again)
    assert len(loads) == 1


def test_a_sample_does_not_depend_on_its_batch(
    tmp_path: Path, opened: Callable[..., Monai]
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    contract = opened(bundle, bundle_config(bundle))
    together = images(contract, batch(4))
    alone = np.concatenate([images(contract, batch(1, first=i)) for i in range(4)])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert version_of(bundle, bundle_config(bundle)).seeding == "sample"


def test_noise_of_the_global_generators_is_seeded_for_each_sample(
    tmp_path: Path, opened: Callable[..., Monai]
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    drawn = {"reference": "drawn", "axes": ["L", "A", "S"]}
    config = bundle_config(bundle, drawn, noise="generators", latents=None)
    contract = opened(bundle, config)
    together = images(contract, batch(3))
    np.testing.assert_array_equal(together[2:], images(contract, batch(1, first=2)))
    assert np.abs(together[0] - together[1]).max() > 0.01
    assert version_of(bundle, config).seeding == "generators"


def test_uniform_latents_as_a_list_for_a_data_set(
    tmp_path: Path, opened: Callable[..., Monai]
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    option = {"type": "str", "default": "uniform", "choices": ["uniform", "normal"], "help": "."}
    data = {"reference": "$@network(torch.stack(@dataset#data), 0.5)", "axes": ["L", "A", "S"]}
    config = bundle_config(
        bundle, data, latents="dataset#data", latents_as="list", distribution="start"
    ) | {"options": {"start": option}}
    contract = opened(bundle, config)
    made = images(contract, batch(start="uniform"))
    right = np.flip(theirs(bundle, uniform(batch().latents)), 3).transpose(0, 1, 4, 3, 2)
    np.testing.assert_allclose(made, right, atol=1e-6)
    other = images(contract, batch(start="normal"))
    right = np.flip(theirs(bundle, batch().latents), 3).transpose(0, 1, 4, 3, 2)
    np.testing.assert_allclose(other, right, atol=1e-6)


def test_uniform_numbers_keep_the_order_and_the_distribution() -> None:
    normal = np.random.default_rng(1).standard_normal(4000).astype(np.float32)
    values = uniform(normal)
    assert np.array_equal(np.argsort(values, kind="stable"), np.argsort(normal, kind="stable"))
    assert abs(np.histogram(values, 10, (0, 1))[0] - 400).max() < 80
    assert uniform(np.float32([-40, 0, 40])).tolist() == [0.0, 0.5, pytest.approx(1, abs=1e-6)]
    assert uniform(np.float32([40]))[0] < 1


def test_options_and_conditions_set_references(
    tmp_path: Path, opened: Callable[..., Monai]
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    age = {"type": "float", "default": 0.5, "minimum": 0, "maximum": 1, "help": "Fraction."}
    sex = {"values": {"a": 0, "b": 1}, "help": "Sex.", "passed": {"a": 10.0, "b": 20.0}}
    config = bundle_config(bundle, options={"years": "age"}, conditions={"group": "sex"})
    config |= {"options": {"years": age}, "conditions": {"group": sex}}
    contract = opened(bundle, config)
    base = np.flip(theirs(bundle, batch().latents), 3).transpose(0, 1, 4, 3, 2)
    asked = batch(years=0.75)
    asked.conditions["group"] = np.array([1, 0, 1])  # type: ignore[index]
    shift = np.array([20.25, 10.25, 20.25], np.float32).reshape(3, 1, 1, 1, 1)
    np.testing.assert_allclose(images(contract, asked), base + shift, atol=1e-5)


def test_an_option_that_is_left_out_is_the_bundles_own_again(
    tmp_path: Path, opened: Callable[..., Monai]
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    age = {"type": "float", "default": None, "help": "Fraction."}
    config = bundle_config(bundle, options={"years": "age"}) | {"options": {"years": age}}
    contract = opened(bundle, config)
    before = images(contract, batch(years=None))
    shifted = images(contract, batch(years=3.0))
    assert not np.allclose(shifted, before)
    np.testing.assert_array_equal(images(contract, batch(years=None)), before)


def test_a_reference_is_set_before_the_workflow_runs(
    tmp_path: Path, opened: Callable[..., Monai]
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    contract = opened(bundle, bundle_config(bundle, set={"age": "$0.5 + 1"}))
    base = np.flip(theirs(bundle, batch().latents), 3).transpose(0, 1, 4, 3, 2)
    np.testing.assert_allclose(images(contract, batch()), base + 1, atol=1e-6)


# ---------------------------------------------------------------------------------------------- geometry
def test_a_volume_lies_in_space_as_the_bundles_own_file_does(
    tmp_path: Path, opened: Callable[..., Monai]
) -> None:
    import nibabel

    bundle = write_bundle(tmp_path / "bundle")
    files = {"files": "*.nii.gz"}
    read_back = bundle_config(bundle, files, run=["save"], set={"output_dir": "{output}"})
    contract = opened(bundle, read_back)
    made = images(contract, batch(1))
    (path,) = (tmp_path / "work/output").glob("*.nii.gz")
    written = nibabel.as_closest_canonical(nibabel.load(path))
    output = version_of(bundle, read_back).outputs["images"]
    ours = nibabel.as_closest_canonical(nibabel.Nifti1Image(to_xyz(made[0])[0], affine_of(output)))
    np.testing.assert_allclose(ours.get_fdata(), written.get_fdata(), atol=1e-6)
    assert ours.header.get_zooms() == written.header.get_zooms() == (1, 1, 2)
    of_tensor = images(opened(bundle, bundle_config(bundle)), batch(1))
    np.testing.assert_allclose(of_tensor, made, atol=1e-6)


@pytest.mark.parametrize("axes", ["LPS", "RAS", "LAS", "SPL", "AIR", "PSR"])
def test_each_order_of_axes_agrees_with_nibabel(axes: str) -> None:
    import nibabel

    volume = np.arange(24.0).reshape(2, 3, 4)
    affine = np.diag([0.0, 0, 0, 1])
    for axis, letter in enumerate(axes):
        positive = "RAS".find(letter)
        affine["RAS".find(letter) if positive >= 0 else "LPI".find(letter), axis] = (
            1 if positive >= 0 else -1
        )
    assert "".join(nibabel.aff2axcodes(affine)) == axes
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume, affine)).get_fdata()
    lps = canonical[::-1, ::-1]  # as medzoo's (z, y, x)
    np.testing.assert_array_equal(turn(volume[None], list(axes))[0], lps.transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("axes", "right"),
    [
        (["y", "x"], [[0, 1, 2], [3, 4, 5]]),
        (["x", "y"], [[0, 3], [1, 4], [2, 5]]),
        (["-x", "-y"], [[5, 2], [4, 1], [3, 0]]),
        (["-y", "x"], [[3, 4, 5], [0, 1, 2]]),
    ],
)
def test_rows_and_columns_of_a_picture(axes: list[str], right: list[list[int]]) -> None:
    assert turn(np.arange(6).reshape(1, 2, 3), axes)[0].tolist() == right


def test_floats_are_not_clipped_and_whole_numbers_are_not_wrapped(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    config = bundle_config(bundle)
    values = np.full((1, 1, 6, 5, 4), 7.5, np.float32)
    answer = {"outputs": {"images": values}}
    made = columns("toy", version_of(bundle, config), batch(1), answer, tmp_path)["images"]
    assert made.max() == 7.5  # beyond its range
    config["outputs"]["images"] |= {"dtype": "uint8", "range": [0, 255], "returned": [0, 1]}
    with pytest.raises(PackageError, match="by its config the package returns 0 to 1"):
        columns("toy", version_of(bundle, config), batch(1), answer, tmp_path)


# ---------------------------------------------------------------------------------------------- refusals
def test_a_missing_weight_file_is_named(tmp_path: Path, opened: Callable[..., Monai]) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (bundle / "models/model.pt").unlink()
    with pytest.raises(PackageError, match=r"no file models/model.pt.\n.*configs/inference.json"):
        opened(bundle, bundle_config(bundle))


@pytest.mark.parametrize("load", ["", "load_network"])
@pytest.mark.parametrize("change", ["less", "more"])
def test_weights_must_be_those_of_the_network_completely(
    tmp_path: Path, opened: Callable[..., Monai], load: str, change: str
) -> None:
    bundle = write_bundle(tmp_path / "bundle")  # its own loader accepts anything
    state = torch.load(bundle / "models/model.pt")
    if change == "less":
        del state["layer.bias"]
    else:
        state["extra"] = torch.zeros(3)
    torch.save(state, bundle / "models/model.pt")
    networks = {"models/model.pt": {"reference": "network_def", "load": load}}
    says = {"less": "layer.bias", "more": "extra" if not load else "not all were loaded"}[change]
    with pytest.raises(PackageError, match=says):
        opened(bundle, bundle_config(bundle, networks=networks))


def test_weights_in_a_checkpoint_of_monai(tmp_path: Path, opened: Callable[..., Monai]) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    right = images(opened(bundle, bundle_config(bundle)), batch())
    state = torch.load(bundle / "models/model.pt")
    torch.save({"model": state}, bundle / "models/model.pt")
    np.testing.assert_array_equal(right, images(opened(bundle, bundle_config(bundle)), batch()))


@pytest.mark.parametrize(
    ("section", "output", "says"),
    [
        ({"latents": "latent"}, None, "no reference 'latent'.\nIt has .*noise"),
        ({"set": {"ages": 1}}, None, "no reference 'ages'"),
        ({}, {"reference": "samples", "axes": ["L", "A", "S"]}, "samples"),
        ({}, {"reference": "uneven", "axes": ["L", "A", "S"]}, "uneven of its workflow failed"),
        ({"networks": {"models/model.pt": {"reference": "age"}}}, None, "age .* is not a network"),
        ({"workflow": ["configs/infer.json"]}, None, "no file configs/infer.json"),
    ],
)
def test_what_is_not_there_or_fails_is_named(
    tmp_path: Path,
    opened: Callable[..., Monai],
    section: dict[str, Any],
    output: dict[str, Any] | None,
    says: str,
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    with pytest.raises(PackageError, match=says):
        images(opened(bundle, bundle_config(bundle, output, **section)), batch())


def test_a_broken_workflow_is_named(tmp_path: Path, opened: Callable[..., Monai]) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (bundle / "configs/inference.json").write_text("{")
    with pytest.raises(PackageError, match=r"configs/inference.json cannot be read"):
        opened(bundle, bundle_config(bundle))


def test_another_monai_is_refused(tmp_path: Path, opened: Callable[..., Monai]) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    config = bundle_config(bundle) | {"requires": ["torch", "monai==1.0.1"]}
    with pytest.raises(
        InputError, match=f"needs MONAI 1.0.1, and {monai.__version__} is installed"
    ):
        opened(bundle, config)


def test_fewer_steps_than_trained_are_refused(tmp_path: Path, opened: Callable[..., Monai]) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    drawn = {"reference": "drawn", "axes": ["L", "A", "S"]}
    steps = {"steps": "steps", "trained_steps": 20, "noise": "generators", "latents": None}
    contract = opened(bundle, bundle_config(bundle, drawn, **steps) | {"options": {"steps": STEPS}})
    assert images(contract, batch(1, steps=20)).shape == (1, 1, 6, 5, 4)
    with pytest.raises(InputError, match="steps=5: this model was trained with 20 steps"):
        images(contract, batch(1, steps=5))


def test_another_shape_than_the_config_says_is_refused(
    tmp_path: Path, opened: Callable[..., Monai]
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    config = bundle_config(bundle)
    config["outputs"]["images"]["shape"] = [1, 4, 5, 6]
    with pytest.raises(PackageError, match="'images' of sample 0 is not what its config says"):
        images(opened(bundle, config), batch())


@pytest.mark.parametrize(
    ("section", "output", "says"),
    [
        ({"workflow": []}, None, "bundle.workflow"),
        ({"noise": "both"}, None, "one of latents, generators"),
        ({"latents": None}, None, "generators was expected"),
        ({"latent_shape": [2, 2]}, None, "6 numbers were expected"),
        ({"distribution": "gamma"}, None, "one of normal, uniform"),
        ({"options": {"age": "age"}}, None, "age is not an option"),
        ({"stepps": 1}, None, "unknown key 'stepps'"),
        ({}, {"reference": "sample"}, "axes"),
        ({}, {"reference": "sample", "axes": ["L", "R", "S"]}, "R or L, A or P, S or I"),
        ({}, {"axes": ["L", "A", "S"]}, "one of `reference` and `files`"),
    ],
)
def test_a_config_that_leaves_something_open_is_refused(
    tmp_path: Path, section: dict[str, Any], output: dict[str, Any] | None, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        version_of(tmp_path / "bundle", bundle_config(tmp_path / "bundle", output, **section))


# ------------------------------------------------------------------------- in a process of its own
def register(folder: Path, monkeypatch: pytest.MonkeyPatch, **configs: dict[str, Any]) -> None:
    """A registry of bundles: their numbers, without the leading x, and their keys of a version."""
    from medzoo import registry

    folder.mkdir(exist_ok=True)
    for number, config in configs.items():
        content = toy_config(**config) | {"id": f"00{number[1:]}_TOY_MRI_BUNDLE"}
        (folder / f"{content['id']}.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", str(folder))
    registry.lookup._registry.cache_clear()


@pytest.mark.slow
def test_two_bundles_with_scripts_of_the_same_name_run_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import medzoo

    one = write_bundle(tmp_path / "one")
    two = write_bundle(tmp_path / "two", SCRIPT.replace("+ age", "+ age + 100"))
    register(tmp_path / "configs", monkeypatch, x901=bundle_config(one), x902=bundle_config(two))
    with pytest.raises(TrustError, match="names no `files:`"):
        medzoo.generate(901, 1, env="current")
    with (
        medzoo.load(901, env="current", trust=True) as first,
        medzoo.load(902, env="current", trust=True) as second,
    ):
        low, high = first.generate(2, seed=5), second.generate(2, seed=5)
    np.testing.assert_allclose(low.images + 100, high.images, atol=1e-4)
    assert low.provenance["libraries"]["monai"] == monai.__version__
    assert low.provenance["seeding"] == "sample"
    assert set(low.provenance["sha256"]) >= {"configs/inference.json", "models/model.pt"}
    assert not list(one.rglob("__pycache__")), "the bundle itself was changed"


@pytest.mark.slow
def test_weights_that_run_code_need_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import medzoo
    from medzoo.files import sha256_of

    bundle = write_bundle(tmp_path / "bundle")
    torch.save({"model": Version}, bundle / "models/model.pt")  # a pickled class
    names = ["configs/inference.json", "configs/metadata.json", "models/model.pt"]
    names += ["scripts/__init__.py", "scripts/toy.py"]
    files = {name: sha256_of(bundle / name) for name in names}
    register(tmp_path / "configs", monkeypatch, x901=bundle_config(bundle) | {"files": files})
    with pytest.raises(TrustError, match=r"model.pt was not loaded"):
        medzoo.generate(901, 1, env="current")


# --------------------------------------------------------------------------------- a config of one's own
def test_a_config_is_written_from_the_metadata_of_a_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from medzoo.cli import main
    from medzoo.config import read_config
    from medzoo.publishing import contents

    bundle = write_bundle(tmp_path / "bundle", load_path="$@bundle_root + '/models/model.pt'")
    workflow = json.loads((bundle / "configs/inference.json").read_text())
    workflow["load_network"] = "$@network_def.load_state_dict(torch.load(@load_path))"
    (bundle / "configs/inference.json").write_text(json.dumps(workflow))
    assert main(["contribute", "new", str(tmp_path / "new"), "--from-bundle", str(bundle)]) == 0
    assert "fill in config.yaml" in capsys.readouterr().out
    config = read_config(tmp_path / "new/config.yaml")
    version = config.default
    assert (config.id, config.name) == ("99999_BUNDLE_MRI_TOY-VOLUMES", "Toy volumes")
    assert version.name == "0.3.0"
    assert version.bundle is not None
    assert version.requires[:2] == ("torch>=2.6", "monai==1.4.0")
    assert (version.latent, version.bundle.latents) == (6, "noise")
    assert version.bundle.networks["models/model.pt"].load == "load_network"
    assert version.outputs["images"].shape == (1, 6, 5, 4)
    text = (tmp_path / "new/config.yaml").read_text()
    assert "# TODO, assumed: `license`" in text
    assert (tmp_path / "new/models/model.pt").is_file()
    findings = {f.name: f.state for f in contents.about_files(tmp_path / "new", version)}
    assert (findings["files"], findings["weights"]) == ("ok", "ok")
    assert "models/model.pt" in contents.packed(tmp_path / "new", version)


def test_a_folder_that_is_not_a_bundle_is_refused(tmp_path: Path) -> None:
    from medzoo.publishing import from_bundle

    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"has no configs/metadata.json"):
        from_bundle(tmp_path / "new", source=tmp_path / "empty")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"network_data_format": [1]},
        {"network_data_format": {"outputs": {"pred": "image"}}},
        {"network_data_format": {"outputs": {"pred": {"value_range": [0, 1, 2]}}}},
        {"network_data_format": {"outputs": {"pred": {"num_channels": "one"}}}},
        {"required_packages_version": ["nibabel"]},
    ],
)
def test_metadata_that_is_not_as_the_schema_has_it_is_named(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    from medzoo.publishing import from_bundle

    bundle = write_bundle(tmp_path / "bundle")
    path = bundle / "configs/metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ConfigError, match=r"metadata\.json is not as MONAI's schema has it"):
        from_bundle(tmp_path / "new", source=bundle)
    assert not (tmp_path / "new").exists()


def test_a_range_that_is_not_stated_is_named_as_assumed(tmp_path: Path) -> None:
    from medzoo.publishing import from_bundle

    bundle = write_bundle(tmp_path / "bundle")
    path = bundle / "configs/metadata.json"
    metadata = json.loads(path.read_text())
    del metadata["network_data_format"]["outputs"]["pred"]["value_range"]
    path.write_text(json.dumps(metadata))
    new = from_bundle(tmp_path / "new", source=bundle)
    assert "# TODO, assumed: `range` of the outputs: 0 to 1" in (new / "config.yaml").read_text()
