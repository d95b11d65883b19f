"""Model 106: tokens are the same in any batch, draws follow their distribution, and training goes on after a kill."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, killed_and_finished
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import medzoo
from medzoo._worker.imports import import_package
from medzoo.errors import InputError
from medzoo.seeds import latents as latents_of

FOLDER = ROOT / "starter_models" / "00106_VQGAN_MMG_MASSES"
CODE = import_package(FOLDER)
logits = st.lists(st.floats(-30, 30), min_size=1, max_size=40)
quantiles = st.floats(2**-24, 1 - 2**-24)


@pytest.fixture(scope="module")
def model() -> Any:
    return CODE.load(FOLDER, "cpu")


@pytest.fixture(scope="module")
def asked() -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and classes of eight samples."""
    return torch.from_numpy(latents_of(5, range(8), CODE.LENGTH)), torch.arange(8) % 2


# ----------------------------------------------------------------------------------------------------------- the draw
@settings(max_examples=50, deadline=None)
@given(logits, quantiles, quantiles, st.floats(0.1, 2), st.data())
def test_a_larger_quantile_draws_no_smaller_code_and_only_likely_ones(
    given_: list[float], a: float, b: float, temperature: float, data: st.DataObject
) -> None:
    scores, top_k = (
        torch.tensor([given_], dtype=torch.float64),
        data.draw(st.integers(1, len(given_))),
    )
    low, high = (
        int(CODE.choose(scores, torch.tensor([u], dtype=torch.float64), temperature, top_k))
        for u in sorted((a, b))
    )
    assert 0 <= low <= high < len(given_)
    likely = scores[0] >= scores[0].sort().values[-top_k]
    assert likely[low]
    assert likely[high]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_are_as_frequent_as_their_probabilities_say(temperature: float) -> None:
    scores = (
        torch.randn(1, CODE.CODES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        * 3
    )
    even = (torch.arange(4_000, dtype=torch.float64) + 0.5) / 4_000
    drawn = CODE.choose(scores.expand(4_000, -1), even, temperature, CODE.CODES)
    share = torch.bincount(drawn, minlength=CODE.CODES) / 4_000
    assert (share - (scores[0] / temperature).softmax(0)).abs().max() < 2 / 4_000


def test_tokens_are_the_same_in_any_batch(
    model: Any, asked: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Not nearly: one other token, and all after it are others."""
    latents, classes = asked
    together = model.tokens(latents, classes)
    alone = torch.cat([model.tokens(latents[i : i + 1], classes[i : i + 1]) for i in (0, 7)])
    three = torch.cat(
        [model.tokens(z, c) for z, c in zip(latents.split(3), classes.split(3), strict=True)]
    )
    assert torch.equal(together[[0, 7]], alone)
    assert torch.equal(together, three)


def test_places_that_were_kept_count_as_in_a_pass_over_all(
    model: Any, asked: tuple[torch.Tensor, torch.Tensor]
) -> None:
    latents, classes = asked
    tokens = model.tokens(latents, classes)
    with torch.inference_mode():
        scores = model.transformer(tokens, classes, torch.zeros_like(classes))  # (8, 256, 512)
        ranks = torch.special.ndtr(latents.double())
        again = [
            CODE.choose(scores[:, k], ranks[:, k], 1.0, CODE.CODES) for k in range(CODE.LENGTH)
        ]
    assert torch.equal(torch.stack(again, dim=1), tokens)


def test_no_token_sees_one_that_comes_after_it(
    model: Any, asked: tuple[torch.Tensor, torch.Tensor]
) -> None:
    tokens, classes = torch.randint(CODE.CODES, (8, CODE.LENGTH)), asked[1]
    with torch.inference_mode():
        before = model.transformer(tokens, classes, torch.zeros_like(classes))
        tokens[:, 100:] = torch.randint(CODE.CODES, (8, CODE.LENGTH - 100))
        after = model.transformer(tokens, classes, torch.zeros_like(classes))
    assert (before[:, :101] - after[:, :101]).abs().max() < 1e-9
    assert (before[:, 101] - after[:, 101]).abs().max() > 1e-3


def test_flat_grids_and_only_those_are_drawn_again(
    model: Any, asked: tuple[torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    latents, classes = asked
    once, moved = (model.tokens(latents, classes, moved=k * CODE.GOLDEN) for k in (0, 1))
    pictures = model.decoder(CODE.codes_of(once, model.codebook))[0]
    spread = pictures.flatten(1).std(dim=1)
    monkeypatch.setattr(CODE, "FLAT", float(spread.sort().values[3:5].mean()))
    monkeypatch.setattr(CODE, "ATTEMPTS", 2)
    made = model.tokens_of_patches(latents, classes, 1.0, CODE.CODES)
    flat = spread < CODE.FLAT
    assert 0 < flat.sum() < len(flat)
    assert torch.equal(made[~flat], once[~flat])
    assert torch.equal(made[flat], moved[flat])
    row = int(flat.nonzero()[0])
    alone = model.tokens_of_patches(latents[row : row + 1], classes[row : row + 1], 1.0, CODE.CODES)
    assert torch.equal(alone[0], made[row])


def test_one_tone_is_flat_and_a_patch_is_not(model: Any) -> None:
    tokens = torch.full((2, CODE.LENGTH), 7)
    tokens[1, 128:] = CODE.CODES - 1
    assert model.flat(tokens).tolist() == [0]


# -------------------------------------------------------------------------------------------------------- the pictures
def test_larger_latents_make_brighter_patches() -> None:
    with medzoo.load(106, device="cpu") as loaded:
        made = [
            loaded.generate(2, seed=0, latents=np.full((2, CODE.LENGTH), z, np.float32)).images
            for z in (-1.0, 0.0, 1.0)
        ]
    dark, middle, bright = (images.astype(float).mean(axis=(1, 2, 3)) for images in made)
    assert (dark + 10 < middle).all()
    assert (middle + 10 < bright).all()


def test_little_temperature_and_few_codes_make_samples_alike() -> None:
    with medzoo.load(106, device="cpu") as loaded:
        made = [
            loaded.generate(8, seed=0, condition="benign", **options).images.astype(float)
            for options in ({}, {"temperature": 0.1}, {"top_k": 1})
        ]
    usual, cool, likeliest = (images.std(axis=0).mean() for images in made)
    assert cool < 0.7 * usual
    assert (
        likeliest < 0.3 * usual
    )  # one choice of tokens; the grain of each sample is still its own
    assert likeliest > 0


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"top_k": 0}, {"top_k": CODE.CODES + 1}])
def test_options_out_of_range_are_refused_before_anything_runs(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        medzoo.generate(106, 1, **options)


def test_folding_batch_norm_and_channels_last_are_exact(
    model: Any, asked: tuple[torch.Tensor, torch.Tensor]
) -> None:
    plain = CODE.load(FOLDER, "cpu", fast=False)
    assert [x for x in plain.painter.modules() if isinstance(x, torch.nn.BatchNorm2d)]
    assert not [x for x in model.painter.modules() if isinstance(x, torch.nn.BatchNorm2d)]
    tokens, classes = torch.randint(CODE.CODES, (4, CODE.LENGTH)), asked[1][:4]
    noise = [torch.rand(4, 1, side, side) for side in CODE.SIDES]
    difference = (
        model.paint(tokens, classes, noise).int() - plain.paint(tokens, classes, noise).int()
    )
    assert difference.abs().max() <= 1


# -------------------------------------------------------------------------------------------------------- the training
@pytest.mark.slow
def test_training_restarts_where_it_was_killed_and_its_weights_load(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("true", "false"):
        folder = tmp_path / "data" / "train" / f"is_benign_{name}"
        folder.mkdir(parents=True)
        for i in range(12):
            blob = rng.normal(128, 20, (16, 16)).clip(0, 255).astype(np.uint8)
            Image.fromarray(blob).resize((128, 128), Image.Resampling.BICUBIC).save(
                folder / f"P_{i:05d}_left.png"
            )
    out = tmp_path / "run"
    command = [
        sys.executable,
        "-B",
        str(FOLDER / "train.py"),
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(out),
    ]
    command += [
        "--threads",
        "1",
        "--every",
        "1",
        "--codebook-steps",
        "3",
        "--transformer-steps",
        "1",
        "--painter-steps",
        "1",
    ]
    command += [
        "--device",
        "cpu",
        "--shown",
        "2",
        "--fitted",
        "2",
        "--init",
        str(FOLDER / "weights.safetensors"),
    ]
    assert "painter 1 " in killed_and_finished(command, "codebook 1 ", out / "codebook.pt")
    samples = medzoo.generate(106, 2, seed=0, weights=out / "weights.safetensors", device="cpu")
    assert samples.images.shape == (2, 1, 128, 128)
    assert (
        samples.provenance["sha256"]["weights"]
        != samples.provenance["sha256"]["weights.safetensors"]
    )
