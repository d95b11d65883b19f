"""Model 102: its solver solves, its options do what they say, its noise is white, its boxes fit."""

from __future__ import annotations

import itertools
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import medzoo
from medzoo._worker.imports import import_package

PACKAGE = ROOT / "starter_models" / "00102_DIFFUSION_MRI_BRAIN_TUMOURS"
CODE = import_package(PACKAGE)
MODEL = 102
TUMOURS, PLANES = CODE.TUMOURS, CODE.PLANES
BOX = [0.5, 0.5, 0.15, 0.15]  # where tumours lie in slices of every plane


@pytest.fixture(scope="module")
def model() -> Any:
    with medzoo.load(MODEL, device="cpu") as loaded:
        yield loaded


@pytest.fixture
def train(script: Callable[..., ModuleType]) -> ModuleType:
    return script(PACKAGE)


class Gaussian:
    """The denoiser of data that are normal with this mean and spread for kind 0, and mean 0 where the kind is not told."""

    def __init__(self, mean: float, spread: float) -> None:
        self.mean, self.spread, self.rows = mean, spread, []

    def __call__(
        self, x: torch.Tensor, level: torch.Tensor, kind: torch.Tensor, box: torch.Tensor
    ) -> torch.Tensor:
        self.rows.append(len(x))
        mean = torch.where(kind == CODE.UNKNOWN, 0.0, self.mean)[:, None, None, None]
        keep = self.spread**2 / (self.spread**2 + level[:, None, None, None] ** 2)
        return mean + keep * (x - mean)

    def end(self, noise: torch.Tensor, mean: float) -> torch.Tensor:
        """Where the probability-flow equation takes noise, by formula, the last step being the denoiser's."""
        first, last = CODE.levels(2)
        low, high = (math.hypot(self.spread, level) for level in (last, first))
        return mean + (self.spread / low) ** 2 * (first * noise - mean) * low / high


def nowhere(n: int) -> torch.Tensor:
    """Maps of boxes that are not told."""
    return torch.zeros(n, 2, 4, 4)


# ---------------------------------------------------------------------------------------------------------- the solver
@settings(max_examples=25, deadline=None)
@given(st.floats(-2, 2), st.floats(0.3, 3))
def test_solver_follows_the_probability_flow_where_a_formula_knows_it(
    mean: float, spread: float
) -> None:
    noise = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    net = Gaussian(mean, spread)
    exact, kind = net.end(noise, mean), torch.zeros(2, dtype=torch.int64)
    errors = [
        float((CODE.solve(net, noise, kind, nowhere(2), n, 1.0) - exact).abs().max())
        for n in (18, 36, 72)
    ]
    assert errors[0] < 0.1 * spread  # of what may lie two or three spreads from the mean
    assert errors[2] < 0.35 * errors[1]  # of second order: half the stride, a quarter of the error


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.sampled_from([0.0, 1.0, 2.5]))
def test_a_step_is_one_evaluation_of_the_network(steps: int, guidance: float) -> None:
    net = Gaussian(1.0, 1.0)
    kind = torch.zeros(3, dtype=torch.int64)
    CODE.solve(net, torch.randn(3, 1, 4, 4), kind, nowhere(3), steps, guidance)
    assert net.rows == [3 if guidance == 1 else 6] * steps


def test_levels_fall_from_the_noisiest_to_the_cleanest() -> None:
    for steps in (2, 5, 18):
        levels = CODE.levels(steps)
        assert len(levels) == steps
        assert levels[0] == pytest.approx(CODE.NOISIEST)
        assert levels[-1] == pytest.approx(CODE.CLEANEST)
        assert all(a > b for a, b in itertools.pairwise(levels))
    assert CODE.levels(1) == pytest.approx([CODE.NOISIEST])


def test_guidance_moves_from_what_is_not_told_through_what_is_told_and_on() -> None:
    noise, kind = torch.randn(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)
    none, one, two = (
        CODE.solve(Gaussian(3.0, 1.0), noise, kind, nowhere(2), 12, g).mean()
        for g in (0.0, 1.0, 2.0)
    )
    assert float(one - none) == pytest.approx(3.0, abs=0.1)
    assert float(two - one) == pytest.approx(3.0, abs=0.1)


# ----------------------------------------------------------------------------------------------------------- the package
def test_noise_is_white_and_the_latents_are_its_leading_components() -> None:
    generator = CODE.load(PACKAGE, "cpu")
    draw = torch.Generator().manual_seed(0)
    latents, rest = (
        torch.randn(400, CODE.LATENT, generator=draw),
        torch.randn(400, CODE.NUMBERS, generator=draw),
    )
    white = generator.noise(latents, rest).flatten(1)
    assert torch.allclose(white @ generator.components.T, latents, atol=1e-3)
    others = torch.linalg.qr(torch.randn(CODE.NUMBERS, 64, generator=draw))[0]  # any directions
    spread = (white @ others).var(dim=0)
    assert float(spread.mean()) == pytest.approx(1.0, abs=0.05)
    assert float(white.square().sum(dim=1).mean()) == pytest.approx(CODE.NUMBERS, rel=0.01)


def test_tones_keep_gray_levels() -> None:
    gray = torch.arange(256).float()
    assert (CODE.to_gray(CODE.to_tones(gray)) - gray).abs().max() < 1e-3


def test_default_is_twenty_steps_or_fewer() -> None:
    options = medzoo.info(MODEL).default.options
    assert options["steps"].default <= 20


def test_plane_is_the_one_asked_for_or_drawn_as_often_as_real_slices_have_it(
    model: medzoo.Model,
) -> None:
    means = {
        plane: model.generate(4, seed=1, condition="pituitary", plane=plane, steps=6)
        .images.astype(float)
        .mean(axis=(0, 1))
        for plane in PLANES
    }
    assert (
        means["axial"][-8:].mean() < 0.5 * means["coronal"][-8:].mean()
    )  # no neck below an axial head
    uneven = {plane: np.abs(mean - mean[:, ::-1]).mean() for plane, mean in means.items()}
    assert uneven["sagittal"] > 1.5 * uneven["axial"]  # a face looks to one side
    mixed = model.generate(12, seed=1, condition="pituitary", steps=4).images.astype(float)[:, 0]
    nearest = np.stack([np.abs(mixed - mean).mean(axis=(1, 2)) for mean in means.values()]).argmin(
        axis=0
    )
    assert len(set(nearest)) > 1


def test_without_guidance_the_tumour_makes_no_difference_and_with_it_a_growing_one(
    model: medzoo.Model,
) -> None:
    def apart(guidance: float) -> float:
        one, two = (
            model.generate(
                3, seed=3, condition=tumour, plane="axial", box=BOX, steps=4, guidance=guidance
            ).images.astype(float)
            for tumour in ("meningioma", "pituitary")
        )
        return float(np.abs(one - two).mean())

    none, learned, strong = (apart(g) for g in (0.0, 1.0, 3.0))
    assert none == 0
    assert 0 < learned < strong


def test_more_steps_settle(model: medzoo.Model) -> None:
    few, usual, many = (
        model.generate(2, seed=4, steps=n).images.astype(float) for n in (4, 12, 30)
    )
    assert np.abs(usual - many).mean() < 0.5 * np.abs(few - many).mean()


def test_leading_latents_move_the_picture_and_a_small_step_moves_it_little(
    model: medzoo.Model,
) -> None:
    steps = np.zeros((6, CODE.LATENT), np.float32)
    steps[1, 0] = 0.05
    steps[np.arange(2, 6), np.arange(4)] = 2
    # One stream for all of them: the same sample number each time, as when a slider moves.
    pictures = [
        model.generate(
            1, seed=0, latents=z[None], condition="glioma", plane="axial", box=BOX, steps=6
        )
        .images[0]
        .astype(float)
        for z in steps
    ]
    moved = [float(np.abs(p - pictures[0]).mean()) for p in pictures[1:]]
    assert 0 < moved[0] < 0.2 * moved[1]
    assert min(moved[1:]) > 0.3


# ------------------------------------------------------------------------------------------------------------ training
def test_a_denoiser_before_training_predicts_the_best_guess_of_unit_normal_data() -> None:
    torch.manual_seed(0)
    net, clean = CODE.Denoiser().eval(), torch.randn(4, CODE.CHANNELS, CODE.SIDE, CODE.SIDE)
    level = torch.tensor([0.1, 1.0, 3.0, 30.0])
    noisy = clean + level[:, None, None, None] * torch.randn_like(clean)
    with torch.no_grad():
        guess = net(noisy, level, torch.arange(4), torch.zeros(4, 2, CODE.SIDE, CODE.SIDE))
    assert torch.allclose(guess, noisy / (1 + level**2)[:, None, None, None], atol=1e-5)


def brain_set(folder: Path, each: int) -> Path:
    """Heads of a kind: bright discs of a size a tumour, on noise, with a box in each."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    rows = ["file,class,x,y,width,height"]
    for size, (tumour, first) in enumerate(
        (("meningioma", 1), ("glioma", 209), ("pituitary", 709))
    ):
        (folder / tumour).mkdir(parents=True)
        for number in range(first, first + each):
            head = 90 * (np.hypot(x, y) < 0.4 + 0.15 * size + 0.05 * rng.random()) + rng.normal(
                30, 8, (128, 128)
            )
            Image.fromarray(np.clip(head, 0, 255).astype(np.uint8)).save(
                folder / tumour / f"{number}.jpg"
            )
            rows.append(f"{tumour}/{number}.jpg,{tumour},0.5,0.5,0.2,0.2")
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.slow
def test_training_runs_from_pictures_to_weights_and_goes_on_after_a_stop(
    train: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = brain_set(tmp_path / "data", 60)  # fewer are all held back or too near to what is

    def run(steps: int, *more: str) -> str:
        """What train.py prints; in this process, since another would first have to import torch."""
        arguments = ["--data", str(data), "--out", str(tmp_path / "out"), *more]
        arguments += ["--eye-steps=2", "--eye-batch=2", "--critic-from=1", "--batch=2", "--every=2"]
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments, f"--steps={steps}"])
        train.main()
        return capsys.readouterr().out

    first = run(2)
    assert "eye 2" in first
    assert "denoiser 2" in first
    again = run(4, "--stage=denoiser")
    assert "denoiser 4" in again
    assert "denoiser 2" not in again
    run(4, "--stage=weights")
    generator = CODE.load(tmp_path / "out", "cpu")
    assert generator.share[0, 0] > 0.3  # all these meningiomas are axial
    assert generator.share[0, 1] == 0
    boxes = generator.boxes.of_kind[0]
    np.testing.assert_allclose(boxes, np.tile([0.5, 0.5, 0.2, 0.2], (len(boxes), 1)), atol=0.02)
    rows = generator.components
    assert torch.allclose(rows @ rows.T, torch.eye(CODE.LATENT), atol=1e-2)
    assert (tmp_path / "out" / "planes.png").exists()


def test_the_denoiser_learns(train: ModuleType) -> None:
    torch.manual_seed(0)
    net, boxes = CODE.Denoiser(), torch.tensor([[0.5, 0.25, 0.25, 0.125], [0.1, 0.1, 0.2, 0.2]])
    maps = CODE.box_maps(boxes)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    losses = []
    for _ in range(6):
        torch.manual_seed(1)  # the same noise and noise levels, so that losses compare
        ones = torch.ones(2, CODE.CHANNELS, CODE.SIDE, CODE.SIDE)
        loss = train.loss_of(net, ones, torch.arange(2), maps, maps[:, :1])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0], losses


def test_a_map_of_a_box_covers_its_part_of_the_picture(train: ModuleType) -> None:
    boxes = torch.tensor([[0.5, 0.25, 0.25, 0.125], [0.9, 0.5, 0.1, 0.3], [0, 0, 0, 0]])
    maps = CODE.box_maps(boxes)
    shares = maps[:, 0].mean(dim=(1, 2)).numpy()
    np.testing.assert_allclose(shares, [0.25 * 0.125, 0.1 * 0.3, 0], atol=1e-6)
    enlarged = torch.nn.functional.interpolate(maps[:1, :1], scale_factor=4.0)
    np.testing.assert_allclose(train.boxes_of(enlarged), boxes[:1])


# ------------------------------------------------------------------------------------------------------------- the boxes
def test_the_box_is_the_one_asked_for_or_drawn_near_a_real_one(model: medzoo.Model) -> None:
    asked = model.generate(3, seed=1, box=BOX, steps=1)
    np.testing.assert_allclose(asked.boxes, np.tile(np.float32(BOX), (3, 1)))
    drawn = model.generate(30, seed=1, steps=1)
    assert len(np.unique(drawn.boxes, axis=0)) == 30
    real = CODE.load(PACKAGE, "cpu").boxes
    for box, label in zip(drawn.boxes, drawn.labels, strict=True):
        near = np.concatenate([real.of_kind[3 * label + plane] for plane in range(3)])
        assert np.abs(near - box).max(axis=1).min() < 0.2
    one = model.generate(1, seed=1, first=7, steps=1)
    np.testing.assert_array_equal(one.boxes[0], drawn.boxes[7])


def test_the_tumour_is_where_the_box_is(model: medzoo.Model) -> None:
    """Meningiomas are brighter than the brain round them: the same head with the box left or right."""
    left, right = [0.37, 0.45, 0.15, 0.15], [0.63, 0.45, 0.15, 0.15]
    pictures = [
        model.generate(4, seed=2, condition="meningioma", plane="axial", box=box, steps=8)
        .images[:, 0]
        .astype(float)
        for box in (left, right)
    ]
    difference = (pictures[0] - pictures[1]).mean(axis=0)
    assert difference[50:65, 40:55].mean() > 10
    assert difference[50:65, 73:88].mean() < -10


def test_pfgm_starts_further_out_and_gives_another_slice(model: medzoo.Model) -> None:
    usual = model.generate(2, seed=3, steps=4).images.astype(float)
    other = model.generate(2, seed=3, steps=4, dimensions=64).images.astype(float)
    nearly = model.generate(2, seed=3, steps=4, dimensions=4096).images.astype(float)
    assert np.abs(usual - other).mean() > np.abs(usual - nearly).mean()
    loaded = CODE.load(PACKAGE, "cpu")
    scales = [loaded.heavier([Stream(seed)], 3) for seed in range(2000)]
    values = torch.cat(scales).flatten().numpy()
    # The mean of chi-squared(3) / 3 is 1, and that of its inverse 3: Student's t with 3 degrees.
    assert np.mean(values**-2.0) == pytest.approx(1.0, rel=0.05)


class Stream:
    """Normal numbers of a seed, as a sample's stream gives them."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def normals(self, n: int) -> np.ndarray:
        return self._rng.standard_normal(n)


@pytest.mark.slow
def test_comparison_prints_each_model_beside_the_floor(tmp_path: Path) -> None:
    folder = brain_set(tmp_path / "data", 60)
    data = shutil.make_archive(str(tmp_path / "brain"), "zip", folder)
    command = [
        sys.executable,
        "-m",
        "benchmarks.brain",
        data,
        "--model",
        "102",
        "-n",
        "12",
        "--steps",
        "2",
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=500
    )
    figures, ratios = done.stdout.split("distances as ratios to the floor")
    ratios, tumours = ratios.split("model 102: tumours")
    rows = [row[:34].strip() for row in tumours.splitlines()]
    assert {"in real slices held back", "in the set", "in real slices with ellipses"} < {*rows}
    assert "set        glioma      size" in tumours
    assert [row.split()[:2] for row in figures.splitlines()[1:3]] == [
        ["real", "train"],
        ["model", "102"],
    ]
    columns, floor, model = (row.split() for row in ratios.strip().splitlines())
    assert floor[2:] == ["1.000"] * 3
    of = figures.splitlines()[0].split()
    real, drawn = (
        dict(zip(of, row.split()[2:], strict=False)) for row in figures.splitlines()[1:3]
    )
    assert columns == ["SWD", "FDpca", "tails"]
    for name, ratio in zip(
        columns[:2], model[2:4], strict=True
    ):  # tails are small, and rounded to little in the first table
        assert float(ratio) == pytest.approx(float(drawn[name]) / float(real[name]), rel=0.01)
