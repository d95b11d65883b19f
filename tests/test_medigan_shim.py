"""`medzoo.medigan.Generators`: medigan's methods, arguments and returns, over small packages on a Zenodo of this machine."""

from __future__ import annotations

import doctest
import hashlib
import inspect
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Zenodo
from test_docstrings import FLAGS, documented, parameters, section
from test_model_configs import MEDIGAN
from zenodo_server import zipped

import medzoo
from medzoo import medigan
from medzoo.errors import (
    InputError,
    MedzooWarning,
    ModelNotFoundError,
    NotAvailableError,
    TrustError,
)
from medzoo.medigan import Generators, ModelExecutor
from medzoo.medigan.metadata import GLOBAL
from medzoo.medigan.returned import items, parts
from medzoo.samples import Samples

FIVE = "00005_DCGAN_MMG_MASS_ROI"
PATCHES = """
import numpy as np

def generate(model_file, num_samples, output_path, save_images, input_latent_vector=None):
    assert input_latent_vector.shape == (num_samples, {latent}, 1, 1), input_latent_vector.shape
    first = np.clip(np.abs(input_latent_vector[:, 0, 0, 0]) * 50, 0, 255).astype(np.uint8)
    return [np.full({shape}, value, np.uint8) for value in first]
"""
CLASSES = """
import numpy as np

def generate(model_file, num_samples, output_path, save_images, condition, z, is_cbisddsm_training_data,
             input_latent_vector=None):
    name = {0: "malignant", 1: "benign"}[condition]
    value = {0: 200, 1: 100}[condition] + is_cbisddsm_training_data
    return [(np.full((128, 128), value, np.uint8), name) for _ in range(num_samples)]
"""


@pytest.fixture
def published(zenodo: Zenodo, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Publish a package under the record of one of medigan's models: ``published(5, code)``."""
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")

    def publish(number: int, code: str, **files: bytes) -> None:
        facts = MEDIGAN[number]
        config = medzoo.info(number)
        version = next(v for v in config.versions.values() if v.call is not None)
        assert version.call is not None
        entries = {"__init__.py": textwrap.dedent(code).encode(), version.call.weights: b"weights"}
        zenodo.publish(facts.record, {facts.file: zipped({**entries, **files})})

    return publish


@pytest.fixture
def five(published: Callable[..., None]) -> None:
    """Model 5, whose package returns (H, W, 1)."""
    published(5, PATCHES.format(latent=100, shape=(128, 128, 1)))


def generators(**options: Any) -> Generators:
    return Generators(**{"env": "current", "progress": False, **options})


pytestmark = pytest.mark.filterwarnings("ignore:.*:medzoo.errors.MedzooWarning")


# ----------------------------------------------------------------------------------------------
# the public methods
def test_signatures_are_those_of_medigan() -> None:
    """Typed from the source distribution of medigan 1.0.0: names, order and defaults."""
    search = (
        "values, target_values_operator='AND', are_keys_also_matched=False, is_case_sensitive=False"
    )
    run = "num_samples=30, output_path=None, is_gen_function_returned=False, install_dependencies=False, **kwargs"
    rank = "metric='SSIM', order='asc'"
    expected = {
        "list_models": "",
        "get_config_by_id": "model_id, config_key=None",
        "is_model_metadata_valid": "model_id, metadata, is_local_model=True",
        "add_model_to_config": "model_id, metadata, is_local_model=None, overwrite_existing_metadata=False, "
        "store_new_config=True",
        "get_selection_criteria_by_id": "model_id, is_model_id_removed=True",
        "get_selection_criteria_by_ids": "model_ids=None, are_model_ids_removed=True",
        "get_selection_values_for_key": "key, model_id=None",
        "get_selection_keys": "model_id=None",
        "get_models_by_key_value_pair": "key1, value1, is_case_sensitive=False",
        "rank_models_by_performance": f"model_ids=None, {rank}",
        "find_matching_models_by_values": search,
        "find_models_and_rank": f"{search}, {rank}",
        "find_models_rank_and_generate": f"{search}, {rank}, {run}",
        "find_model_and_generate": f"{search}, {run}",
        "add_all_model_executors": "",
        "add_model_executor": "model_id, install_dependencies=False",
        "is_model_executor_already_added": "model_id",
        "find_model_executor_by_id": "model_id",
        "get_model_executor": "model_id, install_dependencies=False",
        "generate": "model_id, num_samples=30, output_path=None, save_images=True, "
        "is_gen_function_returned=False, install_dependencies=False, **kwargs",
        "get_generate_function": "model_id, num_samples=30, output_path=None, install_dependencies=False, **kwargs",
        "add_model_contributor": "model_id, init_py_path=None",
        "get_model_contributor_by_id": "model_id",
        "add_metadata_from_file": "model_id, metadata_file_path",
        "add_metadata_from_input": "model_id, model_weights_name, model_weights_extension, generate_method_name, "
        "dependencies, fill_more_fields_interactively=True, output_path='config'",
        "push_to_zenodo": "model_id, zenodo_access_token, creator_name='unknown name', "
        "creator_affiliation='unknown affiliation', model_description=''",
        "push_to_github": "model_id, github_access_token, package_link=None, creator_name='', "
        "creator_affiliation='', model_description=''",
        "test_model": "model_id, is_local_model=True, overwrite_existing_metadata=False, store_new_config=True, "
        "num_samples=3, install_dependencies=False",
        "contribute": "model_id, init_py_path, github_access_token, zenodo_access_token, metadata_file_path=None, "
        "model_weights_name=None, model_weights_extension=None, generate_method_name=None, dependencies=None, "
        "fill_more_fields_interactively=True, overwrite_existing_metadata=False, output_path='config', "
        "creator_name='unknown name', creator_affiliation='unknown affiliation', model_description='', "
        "install_dependencies=False",
        "get_as_torch_dataloader": "dataset=None, model_id=None, num_samples=1000, install_dependencies=False, "
        "transform=None, batch_size=1, shuffle=False, sampler=None, batch_sampler=None, num_workers=0, "
        "collate_fn=None, pin_memory=False, drop_last=False, timeout=0, worker_init_fn=None, prefetch_factor=2, "
        "persistent_workers=False, **kwargs",
        "get_as_torch_dataset": "model_id, num_samples=100, install_dependencies=False, transform=None, **kwargs",
        "visualize": "model_id, slider_grouper=10, auto_close=False, install_dependencies=False",
    }

    def plain(name: str) -> str:
        signature = inspect.signature(getattr(Generators, name))
        own = [p.replace(annotation=p.empty) for p in signature.parameters.values()][1:]
        return ", ".join(map(str, own))

    assert {name: plain(name) for name in expected} == expected
    more = {n for n, f in inspect.getmembers(Generators, inspect.isfunction) if n[0] != "_"}
    assert more - expected.keys() == {"close"}


def documented_parts() -> Iterator[tuple[str, Any]]:
    for name in medigan.__all__:
        part = getattr(medigan, name)
        yield name, part
        for method, member in inspect.getmembers(part, inspect.isfunction):
            home = getattr(member, "__module__", "")
            if not method.startswith("_") and home.startswith("medzoo.medigan"):
                yield f"{name}.{method}", member


PARTS = dict(documented_parts())
OPENED = {"ModelExecutor.open", "ModelExecutor.close", "ModelExecutor.parts"}  # not of medigan


def slow_where_a_model_runs(name: str) -> Any:
    runs = 'env="current"' in (inspect.getdoc(PARTS[name]) or "")
    return pytest.param(name, marks=pytest.mark.slow if runs else [])


@pytest.mark.parametrize(
    "name", [slow_where_a_model_runs(n) for n in sorted(PARTS.keys() - OPENED - {"MatchedEntry"})]
)
def test_every_public_part_has_types_and_an_example_that_runs(
    name: str, five: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(PARTS[name]) or ""
    named = documented(text)
    missing = [p for p in parameters(PARTS[name]) if p not in named]
    assert not missing or name == "ModelMatchCandidate", missing
    examples = section(text, "Examples")
    assert ">>> " in examples
    test = doctest.DocTestParser().get_doctest(examples, {}, name, None, 0)
    report: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    assert not report, "".join(report)


def test_importing_it_imports_no_torch() -> None:
    code = "import sys, medzoo.medigan; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ----------------------------------------------------------------------------------------------
# the metadata
def test_the_metadata_is_the_public_file() -> None:
    digest = "6439784ab464a804353423a9ee6faff57e78fa92c551af40d4c2df13a394236f"
    assert hashlib.sha256(GLOBAL.read_bytes()).hexdigest() == digest
    assert "Copyright (c) 2021 Richard Osuala" in (GLOBAL.parent / "LICENSE").read_text()


def test_each_model_of_medigan_has_the_version_that_medigan_published() -> None:
    made = Generators(initialize_all_models=True)
    assert len(made) == 23
    for executor in made.model_executors:
        version = executor.version
        assert version.call is not None
        assert version.contract == "medigan"
        assert version.call.weights.endswith(f"{executor.model_name}{executor.model_extension}")
        assert str(MEDIGAN[executor.number].record) in version.source
    assert made.get_model_executor("8").version.name == "1.0.1"
    assert medzoo.info(8).default_version != "1.0.1"


@pytest.mark.parametrize("short", [5, "5", "05", "00005", FIVE])
def test_a_model_has_short_names(short: Any) -> None:
    assert Generators().get_config_by_id(short)["execution"]["model_name"] == "500"


def test_an_unknown_model_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ModelNotFoundError, match=FIVE):
        Generators().generate("00005_DCGAN_MMG_MASS_RIO")


def test_criteria_and_search_agree_with_the_file() -> None:
    """Counted in the file itself, by other code."""
    content = json.loads(GLOBAL.read_text())
    made = Generators()
    with_fid = {k: v["selection"]["performance"].get("FID") for k, v in content.items()}
    ranked = made.rank_models_by_performance(metric="FID", order="desc")
    values = sorted((float(v) for v in with_fid.values() if v is not None), reverse=True)
    assert [float(m["FID"]) for m in ranked] == values
    assert all(m["FID"] == with_fid[m["model_id"]] for m in ranked)

    breast = [k for k, v in content.items() if "breast" in v["selection"]["organ"]]
    assert [m.model_id for m in made.find_matching_models_by_values(["bReAsT"])] == breast
    assert made.find_matching_models_by_values(["bReAsT"], is_case_sensitive=True) == []
    pairs = made.get_models_by_key_value_pair("organ", "BREAST")
    assert [p["model_id"] for p in pairs] == breast
    assert pairs[0]["organ"] == "BREAST"
    everything = made.get_selection_criteria_by_ids()
    assert everything == [v["selection"] for v in content.values()]
    assert made.get_selection_values_for_key("year") == [
        v["selection"]["year"] for v in content.values()
    ]


def test_operators_of_the_search() -> None:
    def ids(operator: str) -> set[int]:
        found = Generators().find_matching_models_by_values(["inbreast", "dcgan"], operator)
        return {int(m.model_id[:5]) for m in found}

    assert ids("AND") == {1}
    assert ids("AND") < ids("OR")
    assert ids("XOR") == ids("OR") - ids("AND")
    with pytest.raises(InputError, match="AND or OR or XOR"):
        ids("and")


def test_nested_metrics_and_lists() -> None:
    """medigan gives an empty list for a nested metric of some models; here only if there is none."""
    made = Generators()
    found = made.rank_models_by_performance(metric="turing_test.AUC", order="desc")
    assert found[0]["turing_test.AUC"] == 0.56
    found = made.rank_models_by_performance(["2"], metric="turing_test.AUC", order="asc")
    assert found == [{"model_id": "00002_DCGAN_MMG_MASS_ROI", "turing_test.AUC": 0.45}]
    with pytest.raises(InputError, match="asc or desc"):
        made.rank_models_by_performance(order="up")


def test_a_metric_that_no_model_has_is_said() -> None:
    with pytest.warns(MedzooWarning, match="FID_ratio"):
        assert Generators().rank_models_by_performance(metric="FID_ratios") == []
    with pytest.raises(InputError, match="get_selection_keys"):
        Generators().get_selection_values_for_key("vendor_names")


# ----------------------------------------------------------------------------------------------
# samples
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "latent", "shape"), [(2, 200, (128, 128)), (5, 100, (128, 128, 1))]
)
def test_samples_of_a_published_model(
    number: int, latent: int, shape: tuple[int, ...], published: Callable[..., None], tmp_path: Path
) -> None:
    published(number, PATCHES.format(latent=latent, shape=shape))
    with generators(seed=3) as made:
        images = made.generate(str(number), 3, save_images=False)
        assert isinstance(images, list)
        assert [(i.shape, i.dtype) for i in images] == [(shape, np.uint8)] * 3
        assert made.generate(number, num_samples=32, output_path=str(tmp_path / "out")) is None  # type: ignore[arg-type]
    samples = medzoo.read(tmp_path / "out")
    assert len(samples.images) == 32  # a multiple of 32: medigan calls the package with 0 samples
    assert samples.provenance["version"] == medzoo.info(number).default_version
    assert str(MEDIGAN[number].record) in samples.provenance["source"]


@pytest.mark.slow
def test_a_class_comes_by_its_name(published: Callable[..., None]) -> None:
    """medigan's 0 is malignant; the label is the name that the package itself gives."""
    published(8, CLASSES)
    made = generators()
    pairs = made.generate("8", 2, save_images=False, condition=0)
    assert [(p.shape, int(p[0, 0]), name) for p, name in pairs] == [  # type: ignore[union-attr]
        ((128, 128), 201, "malignant")
    ] * 2
    pairs = made.generate(
        "8", 2, save_images=False, condition=1, is_cbisddsm_training_data=False, z=None
    )
    assert [(int(p[0, 0]), name) for p, name in pairs] == [(100, "benign")] * 2  # type: ignore[union-attr]
    both = made.generate("8", 4, save_images=False, condition=None)
    assert sorted(name for _, name in both) == ["benign"] * 2 + ["malignant"] * 2  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"1 \(benign\)"):
        made.generate("8", 1, save_images=False, condition=2)
    item = made.get_as_torch_dataset("8", 2)[1]
    assert (item["sample"].shape, item["label"]) == ((128, 128), "malignant")


def samples_of(number: int, **columns: Any) -> Samples:
    n = len(next(iter(columns.values())))
    outputs = {
        name: replace(output, shape=columns[name].shape[1:])
        for name, output in medzoo.info(number).default.outputs.items()
    }
    return Samples(columns, outputs, np.arange(n))


def test_values_come_in_the_range_of_the_package() -> None:
    """Model 21 returns float32 in [0, 1], which medzoo keeps as 8 bits; 4 masks of 0 and 255."""
    images = np.arange(2 * 224 * 192).reshape(2, 1, 224, 192) % 256
    made = items(samples_of(21, images=images.astype(np.uint8)), medzoo.info(21).default, 21)
    assert [(i.shape, i.dtype) for i in made] == [((224, 192), np.float32)] * 2
    np.testing.assert_allclose(made[1], images[1, 0] / 255, atol=1e-7)

    images, masks = images[:, :, :4, :4].astype(np.uint8), np.ones((2, 1, 4, 4), np.uint8)
    masks[0, 0, 0, 0] = 0
    pairs = items(samples_of(4, images=images, masks=masks), medzoo.info(4).default, 4)
    assert [len(pair) for pair in pairs] == [2, 2]
    np.testing.assert_array_equal(pairs[0][0], images[0, 0])
    assert (pairs[0][1].dtype, pairs[0][1][0, 0], pairs[0][1][0, 1]) == (np.uint8, 0, 255)


def test_colours_come_last() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5)).astype(np.uint8)
    masks = np.ones((2, 1, 4, 5), np.uint8)
    pairs = items(samples_of(10, images=images, masks=masks), medzoo.info(10).default, 10)
    assert pairs[0][0].shape == (4, 5, 3)
    np.testing.assert_array_equal(pairs[1][0][..., 2], images[1, 2])


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ({"gpu_id": 3}, r"Generators\(device="),
        ({"translate_all_images": True}, "num_samples as many"),
        ({"T1_to_T3": True}, "T1_to_T2"),
        ({"seed": 1}, r"Generators\(seed="),
    ],
)
def test_an_argument_that_cannot_be_changed_is_an_error(argument: Any, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        Generators().generate("21", 1, save_images=False, **argument)


def test_arguments_as_in_the_metadata_are_accepted() -> None:
    executor = Generators().get_model_executor("21")
    custom = executor.generate_method_args["custom"]
    assert executor._translated(custom) == {"T1_to_T2": True}
    given = {**custom, "input_path": "mine/", "T1_to_T2": False}
    assert executor._translated(given) == {"T1_to_T2": False, "inputs": {"images": "mine/"}}
    pictures = np.zeros((2, 4, 4), np.uint8)
    assert executor._translated({"input_path": pictures})["inputs"]["images"] is pictures


# ----------------------------------------------------------------------------------------------
# private models, whose small packages need no torch
def entry(folder: Path, **execution: Any) -> dict[str, Any]:
    made = json.loads(GLOBAL.read_text())[FIVE]
    made["execution"] |= {"package_link": str(folder), "image_size": [4, 4], **execution}
    made["execution"]["dependencies"] = ["numpy"]
    return {**made, "medzoo": {"dtype": "uint8", "range": [0, 255]}}


def folder_of(folder: Path, number: int, code: str = PATCHES) -> Path:
    folder.mkdir()
    (folder / "__init__.py").write_text(code.format(latent=100, shape=(4, 4)))
    (folder / "500.pt").write_bytes(b"weights")
    content = {f"{number:05d}_GAN_MRI_KNEE": entry(folder)}
    (folder / "metadata.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def private(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "mine", 42)


def with_private(folder: Path, number: int = 42, **options: Any) -> Generators:
    made = generators(**{"trust": True, **options})
    name = f"{number:05d}_GAN_MRI_KNEE"
    made.add_model_to_config(name, {name: entry(folder)}, store_new_config=False)
    return made


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    for executor in list(ModelExecutor._loaded):
        executor.close()


def test_a_private_model_is_tested_and_run(private: Path) -> None:
    made = generators(trust=True)
    made.add_model_contributor("00042_GAN_MRI_KNEE", str(private / "__init__.py"))
    made.add_metadata_from_file("00042_GAN_MRI_KNEE", str(private / "metadata.json"))
    with pytest.warns(MedzooWarning, match="writes no config/global.json"):
        made.test_model("00042_GAN_MRI_KNEE")
    images = made.generate("42", 2, save_images=False)
    assert [i.shape for i in images] == [(4, 4)] * 2  # type: ignore[union-attr]
    assert "00042_GAN_MRI_KNEE" in made.list_models()
    assert "00042_GAN_MRI_KNEE" not in Generators().list_models()


@pytest.mark.parametrize("name", ["00005_MY_GAN", "00042_MY_GAN"])
def test_a_linked_model_that_medzoo_does_not_have_is_not_another_one(name: str) -> None:
    made = generators(trust=True)
    linked = json.loads(GLOBAL.read_text())[FIVE]
    linked["execution"]["package_link"] = "https://zenodo.org/record/1/files/MY_GAN.zip"
    made.add_model_to_config(name, {name: linked}, store_new_config=False)
    with pytest.raises(InputError, match=f"{name} lies at https://zenodo.org/record/1"):
        made.generate(name, 1, save_images=False)


def test_a_private_model_needs_trust(private: Path) -> None:
    with pytest.raises(TrustError):
        with_private(private, trust=False).generate("42", 1, save_images=False)


def test_metadata_that_is_not_valid_is_said(private: Path) -> None:
    made = Generators()
    wrong = {"00042_GAN_MRI_KNEE": entry(private)}
    del wrong["00042_GAN_MRI_KNEE"]["execution"]["extension"]
    with pytest.warns(MedzooWarning, match="execution.extension is missing"):
        assert not made.add_model_to_config("00042_GAN_MRI_KNEE", wrong)
    wrong = {"00042_GAN_MRI_KNEE": entry(private / "x")}
    with pytest.warns(MedzooWarning, match="no folder"):
        assert not made.is_model_metadata_valid("00042_GAN_MRI_KNEE", wrong)
    five = {FIVE: made.get_config_by_id(FIVE)}
    with pytest.warns(MedzooWarning, match="kept"):
        assert not made.add_model_to_config(FIVE, five, is_local_model=False)
    with pytest.raises(InputError, match="add_model_contributor"):
        made.test_model("00042_GAN_MRI_KNEE")


def test_files_are_a_set_of_medzoo(private: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert with_private(private).generate("42", num_samples=2) is None
    (folder,) = (tmp_path / "output" / "00042_GAN_MRI_KNEE").iterdir()
    assert len(medzoo.read(folder).images) == len(list(folder.rglob("*.png"))) == 2


def test_a_function_keeps_its_arguments(private: Path) -> None:
    function = with_private(private).get_generate_function("42", num_samples=4)
    assert len(function(save_images=False)) == 4
    assert len(function(save_images=False, num_samples=1)) == 1
    z = np.zeros((2, 100, 1, 1), np.float32)
    z[1, 0] = 2.0
    for latents in (z, torch.from_numpy(z), z.reshape(2, 100)):
        dark, bright = function(save_images=False, num_samples=2, input_latent_vector=latents)
        assert (dark.max(), bright.min()) == (0, 100)
    with pytest.raises(InputError, match="input_latent_vector"):
        function(latent_vector=1)


def test_seeds(private: Path) -> None:
    """Each call gives other samples, as in medigan; with a seed the calls can be repeated."""

    def two(**options: Any) -> list[Any]:
        with with_private(private, **options) as made:
            calls = [made.generate("42", 3, save_images=False) for _ in range(2)]
        return [np.stack(c) for c in calls]  # type: ignore[arg-type]

    first, second = two(seed=1)
    assert (first != second).any()
    both = medzoo.generate(private, 6, seed=1, env="current", trust=True).images[:, 0]
    np.testing.assert_array_equal(np.concatenate([first, second]), both)
    fresh, again = two()
    assert (fresh != again).any()


def test_only_two_models_stay_in_memory(tmp_path: Path) -> None:
    folders = {n: folder_of(tmp_path / str(n), n) for n in (42, 43, 44)}
    made = generators(trust=True)
    for number, folder in folders.items():
        name = f"{number:05d}_GAN_MRI_KNEE"
        made.add_model_to_config(name, {name: entry(folder)}, store_new_config=False)
        made.generate(str(number), 1, save_images=False)
    assert [e._model is None for e in made.model_executors] == [True, False, False]
    assert len(made.generate("42", 1, save_images=False)) == 1  # type: ignore[arg-type]
    with made:
        pass
    assert ModelExecutor._loaded == []


# ----------------------------------------------------------------------------------------------
# torch
def test_a_loader_with_the_defaults_of_medigan(private: Path) -> None:
    made = with_private(private)
    batches = list(made.get_as_torch_dataloader(model_id="42", num_samples=3))
    shapes = [(b["sample"].shape, b["sample"].dtype) for b in batches]
    assert shapes == [((1, 4, 4), torch.uint8)] * 3
    assert batches[0].keys() == {"sample"}
    dataset = made.get_as_torch_dataset(
        "42", num_samples=2, transform=lambda x: torch.from_numpy(x).float() / 255
    )
    assert dataset[0]["sample"].dtype == torch.float32
    (batch,) = made.get_as_torch_dataloader(
        dataset=dataset, batch_sampler=[[1, 0]], shuffle=None, prefetch_factor=None
    )
    assert torch.equal(batch["sample"][0], dataset[1]["sample"])
    with pytest.raises(InputError, match="condition"):
        made.get_as_torch_dataloader(dataset=dataset, condition=0)
    with pytest.raises(InputError, match="model_id"):
        made.get_as_torch_dataloader()


def test_a_transform_gets_picture_and_mask_once() -> None:
    """medigan 1.0.0 transforms a sample with a further picture twice."""
    calls = []

    def transform(*pictures: Any) -> Any:
        calls.append(len(pictures))
        return [p + 1 for p in pictures]

    zeros = [np.zeros((2, 2))]
    item = medigan.SyntheticDataset(zeros, zeros, zeros, ["benign"], transform)[0]
    assert calls == [3]
    assert [float(v.max()) for k, v in item.items() if k != "label"] == [1, 1, 1]


def test_more_pictures_than_keys_are_refused() -> None:
    with pytest.raises(InputError, match=r"medzoo.dataset\(7, n\)"):
        parts(None, medzoo.info(7).default, 7)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------
# what has no meaning here
@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("push_to_zenodo", ("00042_X_Y", "secret-token")),
        ("push_to_github", ("00042_X_Y", "secret-token")),
        ("contribute", ("00042_X_Y", "a/__init__.py", "secret-token", "secret-token")),
        ("add_metadata_from_input", ("00042_X_Y", "w", ".pt", "generate", [])),
    ],
)
def test_publishing_names_the_new_way_and_no_token(method: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(NotAvailableError, match="medzoo contribute new") as caught:
        getattr(Generators(), method)(*arguments)
    assert "secret" not in str(caught.value)


def test_other_things_without_meaning() -> None:
    with pytest.raises(InputError, match="model_selector"):
        Generators(model_selector=object())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="ConfigManager"):
        Generators(config_manager={})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="group latents"):
        Generators().visualize("5", slider_grouper=5)
    with pytest.raises(InputError, match=r"medzoo.generate\('mine'"):
        Generators().generate(Path("mine"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="models, and one is needed: 00001_DCGAN"):
        Generators().find_model_and_generate(["dcgan"])
    with pytest.raises(InputError, match="found 0 models"):
        Generators().find_model_and_generate(["dcgan", "nothing"])
