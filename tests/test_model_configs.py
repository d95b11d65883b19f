"""The 23 models of medigan: their configs hold its facts, their locks hold what they need, and users find them.

The table is medigan's own metadata, typed in again; what a config says otherwise stands in ``CHANGED``, with the reason.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import package_index
import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import medzoo
from medzoo._worker.shaping import arrange
from medzoo.cli import main
from medzoo.config import ModelConfig, Version, read_config
from medzoo.registry import resolve
from medzoo.runtime.medigan import place

CONFIGS = ROOT / "model_configs"
OPENCV, PILLOW, VISION = "opencv-contrib-python-headless", "Pillow", "torchvision"
CYCLE = ("numpy", "Path", "pyyaml", OPENCV, "torch", VISION, "dominate", "visdom", PILLOW)


class Facts(NamedTuple):
    id: str
    record: int
    file: str
    weights: str
    latent: int
    size: tuple[int, int]
    fid: float | None
    samples: int | None
    license: str | None
    dependencies: tuple[str, ...]
    arguments: Mapping[str, Any] = MappingProxyType({})
    function: str = "generate"


def cycle(
    number: int, id_: str, record: int, fid: float, samples: int, weights: str, **more: Any
) -> Facts:
    arguments = {
        "translate_all_images": False,
        "input_path": f"models/{id_}/images",
        "image_size": [1332, 800],
        "gpu_id": 0,
    }
    return Facts(
        id_,
        record,
        f"{id_}.zip",
        weights,
        0,
        (1332, 800),
        fid,
        samples,
        "BSD",
        CYCLE,
        {**arguments, **more},
    )


MEDIGAN = {
    1: Facts(
        "00001_DCGAN_MMG_CALC_ROI",
        7031735,
        "00001_DCGAN_MMG_CALC_ROI.zip",
        "DCGAN.pt",
        100,
        (128, 128),
        67.6,
        1000,
        "MIT",
        ("numpy", "Path", "torch", OPENCV),
        {"image_size": 128},
    ),
    2: Facts(
        "00002_DCGAN_MMG_MASS_ROI",
        6647242,
        "MALIGN_DCGAN.zip",
        "malign_mass_gen",
        200,
        (128, 128),
        80.51,
        1000,
        "MIT",
        ("numpy", "torch", OPENCV),
    ),
    3: cycle(
        3, "00003_CYCLEGAN_MMG_DENSITY_FULL", 7093550, 150.16, 74, "CycleGAN_high_density.pth"
    ),
    4: Facts(
        "00004_PIX2PIX_MMG_MASSES_W_MASKS",
        7093760,
        "00004_PIX2PIX_MMG_MASSES_W_MASKS.zip",
        "pix2pix_mask_to_mass_model.pth",
        0,
        (256, 256),
        161.17,
        199,
        "BSD",
        (*CYCLE, "imageio", "scikit-image"),
        {
            "input_path": "models/00004_PIX2PIX_MMG_MASSES_W_MASKS/images",
            "image_size": [256, 256],
            "patch_size": [32, 32],
            "shapes": ["oval", "lobulated"],
            "ssim_threshold": 0.2,
            "gpu_id": 0,
        },
        "generate_GAN_images",
    ),
    5: Facts(
        "00005_DCGAN_MMG_MASS_ROI",
        7031758,
        "00005_DCGAN_MMG_MASS_ROI.zip",
        "500.pt",
        100,
        (128, 128),
        180.04,
        199,
        "MIT",
        ("numpy", "torch", OPENCV),
    ),
    6: Facts(
        "00006_WGANGP_MMG_MASS_ROI",
        7031763,
        "00006_WGANGP_MMG_MASS_ROI.zip",
        "10000.pt",
        100,
        (128, 128),
        221.3,
        199,
        "MIT",
        ("numpy", "torch", OPENCV),
    ),
    7: Facts(
        "00007_INPAINT_BRAIN_MRI",
        10214796,
        "00007_INPAINT_BRAIN_MRI.zip",
        "inp_gen.pth",
        0,
        (256, 256),
        140.02,
        1000,
        None,
        (
            "matplotlib",
            "albumentations",
            "torch",
            VISION,
            "numpy",
            "pillow",
            "opencv-contrib-python",
        ),
        {
            "image_size": 256,
            "num_inpaints_per_sample": 2,
            "randomize_input_image_order": True,
            "F_img_path": None,
            "T1_img_path": None,
            "T1c_img_path": None,
            "T2_img_path": None,
            "add_variations_to_mask": True,
            "x_center": 130,
            "y_center": 130,
            "radius_1": 10,
            "radius_2": 15,
            "radius_3": 30,
        },
    ),
    8: Facts(
        "00008_C-DCGAN_MMG_MASSES",
        7382545,
        "00008_C-DCGAN_MMG_MASSES.zip",
        "1400_ckpt_train_cbis_ddsm.pt",
        100,
        (128, 128),
        137.75,
        379,
        "MIT",
        ("numpy", "torch", OPENCV),
        {"condition": None, "z": None, "is_cbisddsm_training_data": True},
    ),
    9: Facts(
        "00009_PGGAN_POLYP_PATCHES_W_MASKS",
        6653744,
        "ProGAN-4ch.zip",
        "ProGAN_300000_g.model",
        128,
        (256, 256),
        225.85,
        1000,
        "MIT",
        (
            "torch",
            VISION,
            "numpy",
            "pillow",
            "glob2",
            "opencv-contrib-python",
            "scikit-image",
            "natsort",
            "matplotlib",
        ),
        {
            "z_dim": 128,
            "save_option": "image_and_mask",
            "gpu_id": None,
            "channel": 128,
            "pixel_norm": False,
            "img_channels": 4,
            "tanh": False,
            "step": 6,
            "alpha": 1,
        },
    ),
    10: Facts(
        "00010_FASTGAN_POLYP_PATCHES_W_MASKS",
        7051328,
        "00010_FASTGAN_POLYP_PATCHES_W_MASKS.zip",
        "FastGAN_all_50000.pth",
        256,
        (256, 256),
        63.99,
        1000,
        "GNU GENERAL PUBLIC LICENSE",
        (
            "torch",
            "scipy",
            VISION,
            "opencv-contrib-python",
            "pandas",
            "easing-functions",
            "scikit-image",
            "matplotlib",
            "ipdb",
            "lmdb",
            "numpy",
        ),
        {"save_option": "image_and_mask", "gpu_id": None},
    ),
    11: Facts(
        "00011_SINGAN_POLYP_PATCHES_W_MASKS",
        7117187,
        "00011_SINGAN_POLYP_PATCHES_W_MASKS.zip",
        "singan_seg_polyp/SinGAN-Generated/TrainedModels_1_clean/1/Gs.pth",
        0,
        (250, 250),
        171.15,
        1000,
        "MIT",
        (
            "numpy",
            "tqdm",
            "torch",
            VISION,
            "pandas",
            "PyYAML",
            "scipy",
            "scikit-image",
            "scikit-learn",
            "requests",
            "natsort",
            "matplotlib",
        ),
        {
            "model_files": "models/00011_SINGAN_POLYP_PATCHES_W_MASKS/singan_seg_polyp/SinGAN-Generated",
            "gen_start_scale": 0,
            "checkpoint_ids": None,
            "multiple_checkpoints": False,
        },
    ),
    12: Facts(
        "00012_C-DCGAN_MMG_MASSES",
        7031755,
        "00012_C-DCGAN_MMG_MASSES.zip",
        "1250.pt",
        100,
        (128, 128),
        205.29,
        199,
        "MIT",
        ("numpy", "torch", OPENCV),
        {"condition": None, "z": None},
    ),
    13: cycle(
        13,
        "00013_CYCLEGAN_MMG_DENSITY_OPTIMAM_MLO",
        7093556,
        101.01,
        358,
        "latest_net_G_A.pth",
        low_to_high=True,
    ),
    14: cycle(
        14,
        "00014_CYCLEGAN_MMG_DENSITY_OPTIMAM_CC",
        7093553,
        73.77,
        350,
        "latest_net_G_A.pth",
        low_to_high=True,
    ),
    15: cycle(
        15,
        "00015_CYCLEGAN_MMG_DENSITY_CSAW_MLO",
        7093566,
        162.67,
        192,
        "latest_net_G_A.pth",
        low_to_high=True,
    ),
    16: cycle(
        16,
        "00016_CYCLEGAN_MMG_DENSITY_CSAW_CC",
        7093559,
        98.38,
        202,
        "latest_net_G_A.pth",
        low_to_high=True,
    ),
    17: Facts(
        "00017_DCGAN_XRAY_LUNG_NODULES",
        6943692,
        "00017_DCGAN_NODE21.zip",
        "model.pt",
        120,
        (128, 128),
        126.78,
        1476,
        "MIT",
        ("numpy", "tqdm", "torch"),
    ),
    18: Facts(
        "00018_WGANGP_XRAY_LUNG_NODULES",
        6943762,
        "00018_WGANGP_NODE21.zip",
        "model.pt",
        100,
        (128, 128),
        211.47,
        1476,
        "MIT",
        ("numpy", "tqdm", "torch"),
    ),
    19: Facts(
        "00019_PGGAN_CHEST_XRAY",
        7047097,
        "00019_PGGAN_CHEST_XRAY.zip",
        "model.pt",
        1024,
        (1024, 1024),
        96.74,
        1000,
        "MIT",
        ("numpy", "tqdm", "torch"),
    ),
    20: Facts(
        "00020_PGGAN_CHEST_XRAY",
        7047295,
        "00020_PGGAN_CHEST_XRAY.zip",
        "Final_Full_Model.pth",
        512,
        (1024, 1024),
        52.17,
        1000,
        "MIT",
        ("pytorch-lightning==1.2.10", "torch", VISION, "matplotlib", "pillow", "numpy"),
        {"image_size": 1024, "resize_pixel_dim": None},
    ),
    21: Facts(
        "00021_CYCLEGAN_BRAIN_MRI_T1_T2",
        7113464,
        "00021_CYCLEGAN_BRAIN_MRI_T1_T2.zip",
        "netG_T1toT2_checkpoint.pth.tar",
        0,
        (224, 192),
        59.49,
        1000,
        None,
        ("matplotlib", "Pillow", "torch", VISION),
        {
            "input_path": "models/00021_CYCLEGAN_BRAIN_MRI_T1_T2/inputs/T1",
            "gpu_id": "0",
            "translate_all_images": False,
            "T1_to_T2": True,
        },
    ),
    22: Facts(
        "00022_WGAN_CARDIAC_AGING",
        7494368,
        "00022_WGAN_CARDIAC_AGING.zip",
        "model.ckpt",
        0,
        (256, 256),
        None,
        None,
        None,
        (
            "nibabel==3.2.1",
            "pytorch-lightning==1.4.7",
            "pandas",
            "comet-ml",
            "monai<=1.0.1",
            "grad-cam",
            "matplotlib",
            "monai[skimage]",
            "munch==2.5.0",
            "pillow>=7.0.0",
            "ffmpeg-python==0.2.0",
            "torchmetrics==0.6.0",
        ),
        {
            "image_paths_input": ["models/00022_WGAN_CARDIAC_AGING/sample_image.png"] * 3,
            "aging_input": [-4, 10, 2],
            "data_type": "2d",
            "view": "la",
            "subcat": "2ch",
        },
    ),
    23: Facts(
        "00023_PIX2PIXHD_BREAST_DCEMRI",
        10215478,
        "00023.zip",
        "30_net_G.pth",
        0,
        (512, 512),
        28.71,
        None,
        "BSD License",
        ("numpy", "torch", VISION, "pillow"),
        {"input_path": "input/", "image_size": "512", "gpu_id": "0"},
    ),
}
CHANGED = {
    (7, "num_inpaints_per_sample"): 1,  # n samples are n
    (7, "randomize_input_image_order"): False,  # sample i works on picture i
    (21, "gpu_id"): 0,  # which torch takes as a whole number alone
    (22, "aging_input"): [-4],  # one sample a call
}
NO_PACKAGE = {"path", "union"}
IN_PLACE_OF = {
    "opencv-contrib-python": {OPENCV, "opencv-python-headless"}
}  # the same module without windows
NOT_RUN = {"visdom"}  # watches training, and builds no longer
SEEN = {2, 5, 21}  # packages whose code is known
LICENSES = {"BSD License": "BSD", "GNU GENERAL PUBLIC LICENSE": "GNU GPL", None: "not stated"}
all_models = pytest.mark.parametrize("number", MEDIGAN)


def of(number: int) -> tuple[ModelConfig, Version]:
    """The config, and in it medigan's version."""
    config = resolve(number)
    return config, next(v for v in config.versions.values() if v.scheme == "zenodo")


def canonical(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", Requirement(requirement).name).lower()


# ---------------------------------------------------------------------------------------------------------------- facts
def test_all_are_there() -> None:
    assert {c.id for c in medzoo.list_models() if c.number <= 23} == {
        f.id for f in MEDIGAN.values()
    }


@all_models
def test_source_weights_and_function_are_medigans(number: int) -> None:
    facts, (config, version) = MEDIGAN[number], of(number)
    call = version.call
    assert call is not None
    assert config.id == facts.id
    assert version.source == f"zenodo:{facts.record}/{facts.file}"
    assert (call.weights, call.function) == (facts.weights, facts.function)
    if number == 2:  # its own LICENSE says so
        assert version.license == "MIT and BSD 3-Clause"
    else:
        assert version.license == LICENSES.get(facts.license, facts.license)


@all_models
def test_every_argument_is_medigans_and_has_its_default(number: int) -> None:
    facts, (_, version) = MEDIGAN[number], of(number)
    call = version.call
    assert call is not None
    inputs = {i.argument: i for i in version.inputs.values()}
    assert {*call.arguments, *version.options, *inputs, *version.conditions} == set(facts.arguments)
    for name, default in facts.arguments.items():
        expected = CHANGED.get((number, name), default)
        if name in call.arguments:
            assert call.arguments[name] == expected
        elif name in version.options:
            assert version.options[name].default == expected
        elif name in inputs and isinstance(default, (str, list)):
            path = default if isinstance(default, str) else default[0]
            assert path.rstrip("/").endswith(inputs[name].default)
            assert not inputs[name].required


@all_models
def test_latents_go_in_where_medigan_puts_them(number: int) -> None:
    facts, (_, version) = MEDIGAN[number], of(number)
    call = version.call
    assert call is not None
    assert version.latent == facts.latent
    assert (call.latents, call.latent_shape) == (
        ("input_latent_vector", (facts.latent, 1, 1)) if facts.latent else ("", ())
    )


@all_models
def test_size_and_figures_are_as_reported(number: int) -> None:
    facts, (_, version) = MEDIGAN[number], of(number)
    assert {o.shape[1:] for o in version.outputs.values() if o.kind != "label"} == {facts.size}
    reported = [(m.value, m.samples, m.better) for m in version.metrics if m.name == "FID"]
    assert reported == ([(facts.fid, facts.samples, "lower")] if facts.fid else [])
    for metric in version.metrics:
        assert metric.better == (
            "higher"
            if re.search(r"ratio|F1|AU|Dice(?! loss)|IoU|SSIM|PSNR", metric.name)
            else "lower"
        ) or (metric.name.startswith("Turing"))
        assert metric.dataset in {d.name for d in version.datasets}


@pytest.mark.parametrize("number", [8, 12])
def test_the_packages_malignancy_is_turned_round(number: int) -> None:
    (condition,) = of(number)[1].conditions.values()
    passed = {name: condition.value_for_package(value) for name, value in condition.values.items()}
    assert (condition.values, passed) == (
        {"benign": 0, "malignant": 1},
        {"benign": 1, "malignant": 0},
    )


def test_model_8_stays_the_bundled_one() -> None:
    assert resolve(8).default_version == "2.2.0"
    assert resolve(8).default.scheme == "bundled"


@pytest.mark.parametrize(
    ("number", "digest", "size"),
    [
        (7, "aadda6b545d8426f4ddcb307cef5261dab4d2baa548808263d49402839c34db1", 70_805_242),
        (21, "19c677bec1f8e902ce43bc83ae2fa03c3ffc34841cc59bdff614cf9b94743a27", 92_434_021),
    ],
)
def test_digests_seen_elsewhere_are_unconfirmed(number: int, digest: str, size: int) -> None:
    _, version = of(number)
    assert (version.sha256, version.sha256_unconfirmed, version.size) == ("", digest, size)


@all_models
def test_a_config_says_what_of_it_is_not_seen_yet(number: int) -> None:
    text = (CONFIGS / f"{MEDIGAN[number].id}.yaml").read_text(encoding="utf-8")
    assert ("# Not seen yet by the nightly run:" in text) == (number not in SEEN)


@all_models
def test_paths_that_are_passed_are_in_the_package(number: int) -> None:
    config, version = of(number)
    assert version.call is not None
    paths = [v for v in version.call.arguments.values() if isinstance(v, str) and "/" in v]
    assert all(path.startswith(f"models/{config.id}/") for path in paths)


@all_models
@pytest.mark.parametrize(
    "layout", ["{h}x{w}", "{h}x{w}x1", "1x{h}x{w}", "{h}x{w}x3", "{h}x{w}x4", "3x{h}x{w}"]
)
def test_pictures_fit_however_a_package_lays_them_out(number: int, layout: str) -> None:
    height, width = MEDIGAN[number].size
    shape = tuple(map(int, layout.format(h=height, w=width).split("x")))
    for output in of(number)[1].outputs.values():
        known = {2: "{h}x{w}", 5: "{h}x{w}x1", 21: "{h}x{w}"}.get(
            number, layout
        )  # these have been seen
        if (
            output.kind == "label"
            or known != layout
            or (output.shape[0] == 3 and not {3, 4} & {shape[0], shape[-1]})
        ):
            continue
        assert arrange(np.zeros(shape, np.uint8), place(output)).shape == output.shape


# ------------------------------------------------------------------------------------------------------------ finding
@pytest.mark.parametrize(
    ("words", "fields", "numbers"),
    [
        ("calcification", {}, {1}),
        ("polyp mask", {}, {9, 10, 11}),
        ("cardiac age", {}, {22}),
        ("brain T1 T2", {}, {7, 21}),
        ("breast density CC", {}, {14, 16}),
        ("chest x-ray", {}, {17, 18, 19, 20}),
        ("contrast agent", {"organ": "breast"}, {23}),
        ("nodule", {"organ": "lung"}, {17, 18}),
        ("", {"license": "not stated"}, {7, 21, 22}),
        ("mass patches", {"dataset": "BCDR"}, {4, 5, 6, 12}),
        ("medigan endoscopy", {}, {9, 10, 11}),
    ],
)
def test_search_finds_them(words: str, fields: dict[str, str], numbers: set[int]) -> None:
    assert {c.number for c in medzoo.search(words, **fields) if c.number <= 23} == numbers


def test_the_best_by_fid_on_a_data_set_comes_first() -> None:
    found = medzoo.search(dataset="HyperKvasir", sort="FID")
    assert [c.number for c in found] == [10, 11, 9]


@all_models
def test_info_and_cite_tell_of_them(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    config, version = of(number)
    assert main(["info", str(number), "--version", version.name]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        config.name,
        version.license,
        version.source,
        "not for diagnosis",
        *version.options,
        *(d.name for d in version.datasets),
    ):
        assert part in text
    credit = medzoo.cite(number, version=version.name)
    assert f"Zenodo record {MEDIGAN[number].record}" in credit
    assert all(d.citation in credit for d in version.datasets)
    assert len(version.authors) > 1 or f"model {number}" in version.authors[0] or number == 2


# ---------------------------------------------------------------------------------------------------- what they need
@all_models
def test_requirements_are_packages_of_one_version(number: int) -> None:
    facts, (_, version) = MEDIGAN[number], of(number)
    asked = {canonical(r): Requirement(r) for r in version.requires}
    assert all([s.operator for s in r.specifier] == ["=="] for r in asked.values())
    assert not NO_PACKAGE & set(asked)
    for text in facts.dependencies:
        name = canonical(text)
        if name in NO_PACKAGE | NOT_RUN:
            continue
        (kept,) = IN_PLACE_OF.get(name, {name}) & set(asked)
        pinned = next(iter(asked[kept].specifier)).version
        assert Requirement(text).specifier.contains(pinned), text
        assert Requirement(text).extras <= asked[kept].extras, text


@all_models
def test_torch_is_safe_and_torchvision_its_pair(number: int) -> None:
    _, version = of(number)
    pins = {
        canonical(r): next(iter(Requirement(r).specifier)).version.split(".")
        for r in version.requires
    }
    major, minor, _ = map(int, pins["torch"])
    assert (major, minor) >= (2, 6)  # CVE-2025-32434
    if "torchvision" in pins:
        assert int(pins["torchvision"][1]) == minor + 15
    assert "3.11" in SpecifierSet(version.python)


def test_models_share_locks() -> None:
    assert {n: of(n)[1].lock for n in MEDIGAN if of(n)[1].lock == of(1)[1].lock}.keys() == {
        1,
        2,
        5,
        6,
        8,
        12,
        17,
        18,
        19,
    }
    assert len({of(n)[1].lock for n in MEDIGAN}) == 7


# ---------------------------------------------------------------------------------------------------------------- locks
@pytest.fixture(scope="module")
def locks() -> ModuleType:
    """``model_configs/lock.py``, which is a script."""
    spec = importlib.util.spec_from_file_location("lock", CONFIGS / "lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lock"] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


def test_locks_and_configs_agree(locks: ModuleType) -> None:
    assert locks.main(["--check"]) == 0


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The config of model 22, and its lock, in a folder of the test's own."""
    folder = tmp_path / "configs"
    (folder / "locks").mkdir(parents=True)
    version = of(22)[1]
    for name in (f"{MEDIGAN[22].id}.yaml", version.lock):
        shutil.copy(CONFIGS / name, folder / name)
    return folder


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (
            r"\nnibabel==3.2.1",
            "\nnibabel==3.2.2",
            "nibabel==3.2.1 is required, and it brings 3.2.2",
        ),
        (
            r"\nnibabel==[\s\S]*?(?=\n[a-z])",
            "",
            "nibabel==3.2.1 is required, and it brings nothing",
        ),
        (
            r"(\nnumpy==1.23.5)( \\)",
            r"\1 ; sys_platform == 'linux'\2",
            "numpy==1.23.5 is required, and it brings nothing on Python 3.10, darwin",
        ),
        (
            r"\n(munch==)",
            r"\ntorch==2.13.0 --hash=sha256:00\n\1",
            "torch belongs to the torch family",
        ),
        (
            r"\n(munch==)",
            r"\nnvidia-cublas-cu12==12.6.4.1 --hash=sha256:00\n\1",
            "nvidia-cublas-cu12 belongs to the torch family",
        ),
        (r"\n(munch==)", r"\nwheel==0.45.1\n\1", "wheel has no sha256"),
        (
            r"\n(munch==)",
            r"\nwheel>=0.45.1 --hash=sha256:00\n\1",
            "wheel>=0.45.1 is not one version",
        ),
        (r"3.10,<3.12", "3.9", "its first lines name another Python"),
        (r"[\s\S]+", "", "its first lines"),
    ],
)
def test_a_lock_that_was_changed_is_told(
    locks: ModuleType, copied: Path, before: str, after: str, says: str
) -> None:
    assert locks.check(copied) == []
    path = copied / of(22)[1].lock
    text = path.read_text(encoding="utf-8")
    changed = re.sub(before, after, text, count=1)
    assert changed != text
    path.write_text(changed, encoding="utf-8")
    assert any(says in problem for problem in locks.check(copied)), locks.check(copied)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"requires": ["torch==2.13.0", "nibabel==3.2.2"]},
            "its first lines name another Python, day or set of requirements",
        ),
        ({"requires": ["nibabel>=3.2.2"]}, "'nibabel>=3.2.2' pins no exact version"),
        ({"requires": ["nibabel=3.2.2"]}, "is not a valid requirement"),
        ({"python": ">=3.12"}, "its first lines name another Python"),
        ({"lock": "locks/other.txt"}, "other.txt is missing"),
        ({"lock": ""}, "lightning-1.4.txt: no config names it"),
    ],
)
def test_a_config_that_left_its_lock_is_told(
    locks: ModuleType, copied: Path, change: dict[str, Any], says: str
) -> None:
    (path,) = copied.glob("*.yaml")
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["versions"]["0.0.1"] |= change
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    assert any(says in problem for problem in locks.check(copied)), locks.check(copied)


def test_models_that_share_a_lock_must_agree(locks: ModuleType, copied: Path) -> None:
    (path,) = copied.glob("*.yaml")
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    other = {**config["versions"]["0.0.1"], "requires": ["numpy==1.26.4"]}
    config["versions"]["2.0.0"] = other
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    assert any(
        "'numpy==1.26.4' where another model of lightning-1.4.txt has numpy==1.23.5" in p
        for p in locks.check(copied)
    )
    other["python"] = ">=3.12"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    assert any("its models run on different Pythons" in p for p in locks.check(copied))


def test_a_lock_is_resolved_without_torch_and_fits_beside_it(
    locks: ModuleType, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with package_index.serve(tmp_path / "index") as index:
        index.add("numpy", "1.26.4")
        index.add("helper", "2.0", requires=["numpy"])
        index.add("helper", "2.1", requires=["numpy"])
        index.add("painter", "1.0", requires=["helper>=2", "torch>=2", "opencv-python"])
        index.add("torch", "2.13.0", requires=["filelock", "numpy<2"])
        index.add("filelock", "3.0")
        monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
        for name in ("UV_FIND_LINKS", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_TORCH_BACKEND"):
            monkeypatch.delenv(name, raising=False)
        (path,) = copied.glob("*.yaml")
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        config["versions"]["0.0.1"] |= {
            "requires": ["torch==2.13.0", "numpy==1.26.4", "painter==1.0"],
            "lock": "locks/mine.txt",
        }
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        (lock,) = locks.locks(copied)
        locks.write(lock, upgrade=False)
        text = lock.path.read_text(encoding="utf-8")
        names = re.findall(r"^(\S+==\S+)", text, flags=re.MULTILINE)
        assert names == [
            "helper==2.1",
            "numpy==1.26.4",
            "painter==1.0",
        ]  # neither torch nor what it alone brings
        assert text.count("--hash=sha256:") == 3
        assert list(locks.problems(lock)) == []

        index.add("helper", "2.2", requires=["numpy"])  # what is pinned stays, unless asked
        shutil.rmtree(tmp_path / "uv")
        locks.write(lock, upgrade=False)
        assert "helper==2.1" in lock.path.read_text(encoding="utf-8")
        locks.write(lock, upgrade=True)
        assert "helper==2.2" in lock.path.read_text(encoding="utf-8")

        before = lock.path.read_text(encoding="utf-8")
        index.add("torch", "2.13.0", requires=["numpy>=2"])  # the two installs would fight
        index.add("numpy", "2.0.0")
        shutil.rmtree(tmp_path / "uv")
        with pytest.raises(locks.LockError, match=r"uv pip compile:[\s\S]*numpy"):
            locks.write(lock, upgrade=True)
        assert lock.path.read_text(encoding="utf-8") == before


def test_metadata_of_every_config_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    listed = {m["id"]: m for m in json.loads(capsys.readouterr().out)}
    assert listed[MEDIGAN[21].id]["bytes"] == 92_434_021
    assert listed[MEDIGAN[4].id]["options"]["shapes"] == ["oval", "lobulated"]


def test_every_config_file_is_read(tmp_path: Path) -> None:
    for path in CONFIGS.glob("000*.yaml"):
        assert read_config(path).path == path
