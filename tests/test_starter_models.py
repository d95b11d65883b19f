"""The bundled packages: what is registered is what lies there, fast is exact, latents and conditions matter."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import ROOT, killed_and_finished
from PIL import Image

import medzoo
from medzoo._worker.imports import import_package
from medzoo.packages.store import package
from medzoo.publishing.metadata import about_card
from medzoo.registry import resolve

BUNDLED = [c.id for c in medzoo.list_models() if c.default.scheme == "bundled"]
MASSES = ROOT / "starter_models" / "00008_C-DCGAN_MMG_MASSES"


@pytest.mark.parametrize("model_id", BUNDLED)
def test_package_is_what_the_config_registers_and_small(model_id: str) -> None:
    config = resolve(model_id)
    found = package(config, config.default)
    assert found.digests == dict(config.default.files)
    names = {p.name for p in found.path.iterdir()}
    assert {"README.md", "samples.png", "expected.npz"} <= names
    assert (found.path / "expected.npz").stat().st_size < 200_000
    if config.default.generator != "procedural":
        assert {"train.py", "weights.safetensors"} <= names
        assert (found.path / "weights.safetensors").stat().st_size <= (
            {8: 15e6, 102: 12e6}.get(config.number, 8e6)
        )


def test_all_weights_together_are_small() -> None:
    assert sum(p.stat().st_size for p in (ROOT / "starter_models").rglob("*.safetensors")) <= 45e6


@pytest.mark.parametrize("model_id", BUNDLED)
def test_card_says_what_a_card_must_say(model_id: str) -> None:
    finding = about_card(ROOT / "starter_models" / model_id)
    assert finding.state == "ok", finding


@pytest.mark.parametrize("model_id", BUNDLED)
def test_card_of_a_demonstration_says_so_first(model_id: str) -> None:
    card = (ROOT / "starter_models" / model_id / "README.md").read_text(encoding="utf-8")
    first = card.split("\n\n")[1]
    is_one = resolve(model_id).default.status == "demonstration"
    assert first.startswith("**Demonstration: ") == is_one


def test_folding_and_painting_a_few_at_a_time_are_exact() -> None:
    import torch

    config = resolve(8)
    code = import_package(package(config, config.default).path)
    fast, plain = (code.load(MASSES, "cpu", fast=f) for f in (True, False))
    assert not [m for m in fast.painter.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert [m for m in plain.painter.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    n, generator = fast.at_once + 1, torch.Generator().manual_seed(0)
    latents, classes = torch.randn(n, 512, generator=generator), torch.arange(n) % 2
    noise = [torch.rand(n, 1, side, side, generator=generator) for side in code.SIDES]
    assert (
        fast.draw(latents, classes, noise) - plain.draw(latents, classes, noise)
    ).abs().max() < 1e-5
    low, texture, labels = (
        torch.rand(n, 1, 32, 32, generator=generator) * 2 - 1,
        latents[:, :2],
        classes[:, None] * 2.0 - 1,
    )
    with torch.inference_mode():
        assert (
            fast.painter(low, texture, labels, noise) - plain.painter(low, texture, labels, noise)
        ).abs().max() < 1e-5


def test_every_latent_moves_the_picture_and_the_leading_ones_move_it_most() -> None:
    with medzoo.load(8, device="cpu") as model:
        latents = np.tile(medzoo.seeds.latents(0, [0], 512), (9, 1))
        for row, k in enumerate((0, 1, 2, 3, 300, 400, 500, 511), start=1):
            latents[row, k] += 2
        # One noise for all of them: the same sample number each time, as when a slider moves.
        pictures = [
            model.generate(1, seed=0, latents=z[None], condition="malignant")
            .images[0]
            .astype(float)
            for z in latents
        ]
    moved = [np.abs(p - pictures[0]).mean() for p in pictures[1:]]
    assert min(moved) > 0
    assert min(moved[:3]) > 2 * max(moved[4:7])


def test_condition_changes_the_picture_and_only_it() -> None:
    benign, malignant = (
        medzoo.generate(8, 4, seed=2, condition=c) for c in ("benign", "malignant")
    )
    assert (benign.images != malignant.images).any(axis=(1, 2, 3)).all()
    assert benign.labels.tolist() == [0] * 4
    assert malignant.labels.tolist() == [1] * 4


def test_pictures_differ_and_look_like_gray_patches_not_noise() -> None:
    images = medzoo.generate(8, 16, seed=4).images[:, 0].astype(float)
    assert len({i.tobytes() for i in images}) == 16
    neighbours = [np.corrcoef(i[:, 1:].ravel(), i[:, :-1].ravel())[0, 1] for i in images]
    assert min(neighbours) > 0.8  # smooth: a pixel says much about the next
    assert images.mean(axis=(1, 2)).std() > 10  # patches differ in brightness, as real ones do


@pytest.mark.slow
def test_training_restarts_where_it_was_killed_and_its_weights_load(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("true", "false"):
        folder = tmp_path / "data" / "train" / f"is_benign_{name}"
        folder.mkdir(parents=True)
        for i in range(300):  # as many patches as give 510 components
            blob = rng.normal(128, 20, (16, 16)).clip(0, 255).astype(np.uint8)
            Image.fromarray(blob).resize((128, 128), Image.Resampling.BICUBIC).save(
                folder / f"{i}.png"
            )
    out = tmp_path / "run"
    command = [
        sys.executable,
        str(MASSES / "train.py"),
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(out),
        "--threads",
        "1",
    ]
    command += ["--every", "1", "--flow-steps", "2", "--painter-steps", "3", "--device", "cpu"]
    command += ["--journeys", "8", "--student-steps", "1", "--shown", "8"]
    command += ["--fitted", "64", "--tries", "3"]
    assert "painter 3 " in killed_and_finished(command, "flow 1 ", out / "flow.pt")
    samples = medzoo.generate(8, 2, seed=0, weights=out / "weights.safetensors", device="cpu")
    assert samples.images.shape == (2, 1, 128, 128)
    assert (
        samples.provenance["sha256"]["weights"]
        != samples.provenance["sha256"]["weights.safetensors"]
    )


@pytest.mark.slow
def test_masses_have_no_more_dots_at_the_border_than_real_patches() -> None:
    import torch

    sys.path.insert(0, str(ROOT))
    from medzoo.evaluation.border import border

    images = medzoo.generate(8, 200, seed=0).images
    figures = border(torch.from_numpy(images).float() / 127.5 - 1)
    assert figures["dots top"] <= 0.18
    assert figures["dots low"] <= 0.20
    assert figures["edge"] <= 0.03


def test_no_place_of_the_masses_is_darker_or_brighter_in_every_picture() -> None:
    """A painter that leaves a dot at one place is seen in the mean over pictures, not in each."""
    images = medzoo.generate(8, 256, seed=0).images[:, 0].astype(float)
    inner = images[:, 1:-1, 1:-1]
    beside = images[:, :-2, 1:-1] + images[:, 2:, 1:-1] + images[:, 1:-1, :-2] + images[:, 1:-1, 2:]
    dots = (inner - beside / 4).mean(axis=0)
    assert np.abs(dots).max() < 1.5  # grey levels; 11 with a dark dot in one corner


def test_a_picture_of_masses_takes_little_arithmetic() -> None:
    """The figure of the card; `pytest -s` prints it."""
    from torch.utils.flop_counter import FlopCounterMode

    with medzoo.load(8, device="cpu") as model, FlopCounterMode(display=False) as counter:
        model.generate(4, seed=0)
    each = counter.get_total_flops() / 4 / 1e9
    print(f"{each:.2f} GFLOP a picture")
    assert 0.9 < each < 1.1  # 1.48 in version 2.1.0


def test_the_slim_painter_begins_as_the_channels_that_count(
    script: Callable[..., ModuleType],
) -> None:
    import torch

    train = script(MASSES)
    teacher, same, slim = (
        train.m.Painter(**train.WIDE).eval(),
        train.m.Painter(**train.WIDE).eval(),
        train.m.Painter().eval(),
    )
    with torch.no_grad():
        for layer in teacher.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.normal_(std=0.1)
                layer.running_var.uniform_(0.5, 2)
        for some in (same, slim):
            train.thin(teacher, some)
        noise = train.draw_noise(2, 32, torch.device("cpu"))
        low, texture, labels = 0.3 * torch.randn(2, 1, 32, 32), torch.zeros(2, 2), torch.ones(2, 1)
        wanted = teacher(low, texture, labels, noise)
        assert torch.allclose(same(low, texture, labels, noise), wanted, atol=1e-5)
        assert slim(low, texture, labels, noise).shape == wanted.shape == (2, 1, 128, 128)
    least = sum(p.numel() for p in slim.parameters()) / sum(p.numel() for p in teacher.parameters())
    assert least < 0.5


def test_the_painters_margin_goes_on_with_the_gradient(script: Callable[..., ModuleType]) -> None:
    import torch

    model = script(MASSES, "model")
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    wide = model.beyond(ramp, 3)
    assert torch.equal(model.without_edge(wide, 3), ramp)
    steps = torch.arange(1, 4) * model.ONWARD
    assert torch.allclose(wide[0, 0, 10, 35:], 31 + steps)
    assert torch.allclose(wide[0, 0, 10, :3], -steps.flip(0))
