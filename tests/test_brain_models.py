"""The brain models 101 and 103: planes, boxes and latents do what they say, training resumes; 102 splits alike."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from torch import Tensor

import medzoo
from medzoo.errors import InputError

STARTERS = ROOT / "starter_models"
PACKAGES = {
    101: STARTERS / "00101_GAN_MRI_BRAIN_TUMOURS",
    103: STARTERS / "00103_VAE_MRI_BRAIN_TUMOURS",
}
READERS = {  # whose training reads these slices
    101: PACKAGES[101],
    102: STARTERS / "00102_DIFFUSION_MRI_BRAIN_TUMOURS",
}
Script = Callable[..., ModuleType]


@pytest.fixture(params=PACKAGES)
def code(request: pytest.FixtureRequest, script: Script) -> ModuleType:
    return script(PACKAGES[request.param])


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, script: Script) -> ModuleType:
    return script(READERS[request.param])


def test_a_prior_draws_as_the_codes_that_it_was_fitted_to(script: Script) -> None:
    code, source = script(PACKAGES[103]), torch.Generator().manual_seed(0)
    shape = (code.CHANNELS, code.SIDE, code.SIDE)
    axis = torch.nn.functional.normalize(torch.randn(code.NUMBERS, generator=source), dim=0)
    kinds, far = torch.arange(900) % code.KINDS, 9 * torch.randn(900, 1, generator=source)
    of_kind = torch.randn(code.KINDS, code.NUMBERS, generator=source)
    codes = (of_kind[kinds] + far * axis).view(-1, *shape)
    slices = {"latents": codes, "kinds": kinds, "boxes": torch.zeros(900, 4)}
    prior = code.Prior()
    code.fit_prior(prior, lambda x, kind, box: (x, torch.full_like(x, 0.25).log()), slices)
    along = torch.randn(900, code.DIRECTIONS, generator=source)
    noise = torch.randn(900, code.NUMBERS, generator=source)
    apart = (prior(kinds, along, noise) - of_kind[kinds].view(-1, *shape)).flatten(1)
    assert (apart @ axis).std() == pytest.approx(9, rel=0.15)
    assert apart.std() == pytest.approx((0.25 + 81 / code.NUMBERS) ** 0.5, rel=0.05)


def test_tones_keep_gray_levels(code: ModuleType) -> None:
    gray = torch.arange(256).float()
    assert (code.m.to_gray(code.m.to_tones(gray)) - gray).abs().max() < 1e-3


@pytest.mark.parametrize("number", PACKAGES)
def test_plane_is_the_one_asked_for_or_drawn_as_often_as_real_slices_have_it(number: int) -> None:
    with medzoo.load(number, device="cpu") as model:
        means = {
            plane: model.generate(24, seed=1, condition="pituitary", plane=plane)
            .images.astype(float)
            .mean(axis=(0, 1))
            for plane in ("axial", "coronal", "sagittal")
        }
        mixed = model.generate(24, seed=1, condition="pituitary").images.astype(float)[:, 0]
    assert (
        means["axial"][-8:].mean() < 0.5 * means["coronal"][-8:].mean()
    )  # no neck below an axial head
    lopsided = {plane: np.abs(mean - mean[:, ::-1]).mean() for plane, mean in means.items()}
    assert lopsided["sagittal"] > 1.5 * max(
        lopsided["axial"], lopsided["coronal"]
    )  # a face looks to one side
    nearest = np.stack([np.abs(mixed - mean).mean(axis=(1, 2)) for mean in means.values()]).argmin(
        axis=0
    )
    assert len(set(nearest)) > 1


@pytest.mark.parametrize("number", PACKAGES)
def test_leading_latents_move_the_picture_and_a_small_step_moves_it_little(number: int) -> None:
    steps = np.zeros((18, medzoo.info(number).default.latent), np.float32)
    steps[1, 0] = 0.05
    steps[np.arange(2, 18), np.arange(16)] = 2
    with medzoo.load(number, device="cpu") as model:
        # One stream for all of them: the same sample number each time, as when a slider moves.
        pictures = [
            model.generate(1, seed=0, latents=z[None], condition="glioma", plane="axial")
            .images[0]
            .astype(float)
            for z in steps
        ]
    moved = [float(np.abs(p - pictures[0]).mean()) for p in pictures[1:]]
    assert 0 < moved[0] < 0.2 * moved[1]
    assert min(moved[1:]) > 0.3
    assert np.mean(moved[1:5]) > np.mean(moved[13:])


# Where tumours lie in slices of every plane.
BOX = [0.5, 0.5, 0.15, 0.15]


@pytest.fixture(scope="module", params=PACKAGES)
def boxed(request: pytest.FixtureRequest) -> Iterator[medzoo.Model]:
    with medzoo.load(request.param, device="cpu") as model:
        yield model


def test_the_box_is_the_one_asked_for_or_the_one_that_102_draws(boxed: medzoo.Model) -> None:
    asked = boxed.generate(3, seed=1, box=BOX)
    np.testing.assert_allclose(asked.boxes, np.tile(np.float32(BOX), (3, 1)))
    drawn, others = (model.generate(24, seed=1) for model in (boxed, medzoo.load(102)))
    np.testing.assert_array_equal(drawn.boxes, others.boxes)
    one = boxed.generate(1, seed=1, first=7)
    np.testing.assert_array_equal(one.boxes[0], drawn.boxes[7])


def test_101_draws_the_heads_that_102_draws() -> None:
    """It learned from what 102 makes of the same noise."""
    drawn, others = (medzoo.generate(number, 24, seed=1) for number in (101, 102))
    mine, theirs = (samples.images.astype(float).reshape(24, -1) for samples in (drawn, others))
    same = np.abs(mine - theirs).mean()
    assert same < 0.8 * np.abs(mine - np.roll(theirs, 3, axis=0)).mean()  # of the same tumour


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([0.05, 0.5, 0.1, 0.1], "lies where no tumour lies in slices of any plane"),
        ([0.5, 0.5, 0.1], "is not four numbers"),
        ([0.5, 0.5, 1.5, 0.1], "box"),
        ([-0.1, 0.5, 0.1, 0.1], "box"),
    ],
)
@pytest.mark.parametrize("number", [101, 102, 103])
def test_a_box_where_no_tumour_lies_is_refused(number: int, box: list[float], words: str) -> None:
    with medzoo.load(number) as model, pytest.raises(InputError, match=words):
        model.generate(1, seed=0, box=box)


def test_the_tumour_is_where_the_box_is(boxed: medzoo.Model) -> None:
    """Meningiomas are brighter than the brain round them: the same head with the box left or right."""
    left, right = [0.37, 0.45, 0.15, 0.15], [0.63, 0.45, 0.15, 0.15]
    pictures = [
        boxed.generate(8, seed=2, condition="meningioma", plane="axial", box=box)
        .images[:, 0]
        .astype(float)
        for box in (left, right)
    ]
    difference = (pictures[0] - pictures[1]).mean(axis=0)
    assert difference[50:65, 40:55].mean() > 10
    assert difference[50:65, 73:88].mean() < -10


def test_weights_as_bytes_are_nearly_what_they_were(script: Script) -> None:
    code = script(PACKAGES[101])
    weights = {"a.weight": torch.randn(64, 32, 3, 3), "a.bias": torch.randn(64)}
    weights["a.weight"][3] *= 100  # each row has its own unit
    stored = code.as_bytes(weights, "net")
    assert stored["net.a.weight"].dtype == torch.int8
    for name, weight in weights.items():
        error = code.m.in_full(f"net.{name}", stored) - weight
        largest = weight.reshape(64, -1).abs().amax(dim=1)
        assert (error.reshape(64, -1).abs().amax(dim=1) < 0.01 * largest).all()


def test_samples_are_moved_to_where_real_latents_are_more_frequent(script: Script) -> None:
    training = script(PACKAGES[101]).training

    def normal(mean: float) -> Any:
        """The best denoiser of latents that are normal, of unit variance round a mean."""

        def denoiser(noisy: Tensor, level: Tensor, kind: Tensor, box: Tensor) -> Tensor:
            level = level[:, None, None, None]
            return (noisy + mean * level**2) / (1 + level**2)

        return denoiser

    torch.manual_seed(0)
    made, kind = (3 + torch.randn(8, 4, 32, 32)).requires_grad_(), torch.zeros(8).long()
    box = torch.zeros(8, 2, 32, 32)
    box[:, :1, 8:16, 8:16] = 1
    (step,) = torch.autograd.grad(training.toward(normal(0), normal(3), made, kind, box, 4), made)
    assert (step > 0).all()  # downhill is from 3 to 0
    assert step[:, :, 8:16, 8:16].mean() > 3 * step[:, :, 20:].mean()  # more so in the box
    (rest,) = torch.autograd.grad(training.toward(normal(3), normal(3), made, kind, box, 4), made)
    assert (rest == 0).all()
    right, wrong = (training.denoising(normal(m), made.detach(), kind, box, 4) for m in (3, 0))
    assert right < 0.7 * wrong


def test_training_holds_back_what_the_judge_judges_on(reader: ModuleType) -> None:
    from benchmarks import quality
    from benchmarks.quality.pictures import _blocks

    for count in (566, 744, 1140):
        pictures = quality.Pictures(np.arange(count)[:, None], np.zeros(count, np.int64))
        train, _ = _blocks(pictures, np.arange(count))
        assert list(train.images[:, 0]) == list(np.flatnonzero(reader.training_part(count)))


def test_every_picture_has_a_plane(reader: ModuleType) -> None:
    assert [reader.plane_of("glioma", n) for n in (209, 746, 747, 780, 917, 1841)] == [
        0,
        0,
        1,
        2,
        2,
        0,
    ]
    assert reader.plane_of("pituitary", 59) == 1
    assert reader.plane_of("meningioma", 569) == 2


def test_moving_a_slice_keeps_its_box_in_place(reader: ModuleType) -> None:
    gray = torch.zeros(4, 1, 256, 256, dtype=torch.uint8)
    gray[:, :, 60:100, 140:180] = 255
    torch.manual_seed(0)
    tones, box = reader.moved(gray, gray // 255, torch.tensor([0, 1, 3, 8]))
    assert tones.shape == box.shape == (4, 1, 128, 128)
    assert (reader.m.to_gray(tones) / 255 - box).abs().max() < 1e-3
    assert (box - reader.F.avg_pool2d(gray / 255, 2)).abs().max() > 0.5  # it has moved


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Seventy pictures of noise of each tumour, and boxes."""
    rng = np.random.default_rng(0)
    rows = ["file,class,x,y,w,h"]
    for tumour, first in (("meningioma", 1), ("glioma", 209), ("pituitary", 709)):
        (tmp_path / "data" / tumour).mkdir(parents=True)
        for number in range(first, first + 70):
            picture = np.clip(rng.normal(60, 20, (16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(picture).resize((128, 128)).save(
                tmp_path / "data" / tumour / f"{number}.jpg"
            )
            rows.append(f"{tumour}/{number}.jpg,{tumour},0.5,0.5,0.2,0.2")
    (tmp_path / "data" / "boxes.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path / "data"


@pytest.mark.slow
def test_training_runs_from_pictures_to_weights_and_goes_on_after_a_stop(
    script: Script,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def train(number: int, *arguments: str) -> str:
        """What train.py prints; in this process, since another would first have to import torch."""
        out = f"--out={tmp_path / str(number)}"
        monkeypatch.setattr(sys, "argv", ["train.py", out, "--every=2", *arguments])
        script(PACKAGES[number]).main()
        return capsys.readouterr().out

    few = (f"--data={data}", "--pairs=32", "--batch=2", "--critic-from=0", "--encoder-steps=2")
    train(101, *few, "--steps=2")
    assert "gan 4" in train(101, *few, "--steps=4")
    (tmp_path / "101/gan.pt").unlink()
    weights = PACKAGES[101] / "weights.safetensors"
    train(101, *few, "--steps=1", "--stage=gan", "--rate=0", f"--init={weights}")
    begun = torch.load(tmp_path / "101/gan.pt", weights_only=True)["net"]["last.bias"]
    code = script(PACKAGES[101]).m
    assert (begun == code.load(weights.parent, "cpu").generator.last.bias).all()

    few = (f"--latents={tmp_path / '101'}", "--batch=2")
    train(103, *few, "--codes-steps=2", "--steps=2")
    assert "vae 4" in train(103, *few, "--codes-steps=2", "--steps=4")

    for number, folder in PACKAGES.items():
        code = script(folder).m
        generator = code.load(tmp_path / str(number), "cpu")
        box = code.box_maps(torch.tensor([BOX]))
        noise, kind = torch.zeros(1, 4, 32, 32), torch.zeros(1, dtype=torch.int64)
        assert torch.isfinite(generator.generator(noise, kind, box)).all()
