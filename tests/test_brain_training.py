"""The next model 102: its autoencoder, its diffusion told a box, and the detector that will judge it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from conftest import ROOT

sys.path.insert(0, str(ROOT))
from benchmarks import detector

FOLDER = ROOT / "starter_models" / "brain"


def in_a_process(code: str) -> str:
    """Run code beside the scripts, whose modules are called as those of other packages are."""
    code = f"import sys; sys.path.insert(0, {str(FOLDER)!r})\n" + textwrap.dedent(code)
    command = [sys.executable, "-B", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_autoencoder_and_diffusion_fit_together_and_learn() -> None:
    printed = in_a_process("""
        import torch, diffusion as d
        torch.manual_seed(0)
        encoder, decoder = d.first.Encoder(), d.first.Decoder()
        d.first.start_from_shipped(encoder, decoder)
        z = encoder(torch.randn(4, 1, 128, 128))
        print(*z.shape, *decoder(z, d.first.draw_noise(4)).shape)
        half = torch.nn.functional.avg_pool2d(z, 2)
        print(*decoder(half, d.first.draw_noise(4, 16)).shape)
        net = d.Denoiser()
        boxes = torch.tensor([[0.5, 0.25, 0.25, 0.125], [0.1, 0.1, 0.2, 0.2], [0.9, 0.5, 0.1, 0.3], [0, 0, 0, 0]])
        maps = d.box_maps(boxes)
        print(*[round(float(v), 3) for v in maps[:, 0].mean(dim=(1, 2))])
        again = d.boxes_of(torch.nn.functional.interpolate(maps[:1, :1], scale_factor=4.0))
        print(*[round(float(v), 3) for v in again[0]])
        optimiser = torch.optim.Adam(net.parameters(), 1e-3)
        losses = []
        for _ in range(6):
            loss = d.loss_of(net, torch.ones(4, 4, 32, 32), torch.arange(4), maps, maps[:, :1])
            optimiser.zero_grad(); loss.backward(); optimiser.step()
            losses.append(loss.item())
        print(losses[-1] < 0.9 * losses[0])
        noise = torch.randn(2, 4, 32, 32)
        print(*d.solve(net, noise, torch.tensor([0, 9]), maps[:2], steps=3).shape)
    """)
    assert printed.splitlines() == [
        "4 4 32 32 4 1 128 128",
        "4 1 64 64",
        "0.031 0.04 0.03 0.0",
        "0.5 0.25 0.25 0.125",
        "True",
        "2 4 32 32",
    ]


def heads(n: int, seed: int) -> detector.Slices:
    """Gray discs with a bright square in each, whose box is known."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:128, :128] + 0.5) / 128
    images, boxes = [], []
    for _ in range(n):
        centre, size = rng.uniform(0.3, 0.7, 2), rng.uniform(0.12, 0.25, 2)
        head = 60.0 * ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.2)
        inside = (abs(x - centre[0]) < size[0] / 2) & (abs(y - centre[1]) < size[1] / 2)
        images.append(np.clip(head + 120 * inside + rng.normal(0, 4, head.shape), 0, 255))
        boxes.append([*centre, *size])
    labels = np.arange(n) % 3
    return detector.Slices(
        np.array(images).astype(np.uint8)[:, None], np.array(boxes, np.float32), labels
    )


def test_overlap_of_boxes_is_intersection_over_union() -> None:
    box = np.array([[0.5, 0.5, 0.2, 0.2]], np.float32)
    for other, wanted in (
        ([0.5, 0.5, 0.2, 0.2], 1),
        ([0.6, 0.5, 0.2, 0.2], 1 / 3),
        ([0.5, 0.5, 0.4, 0.2], 0.5),
        ([0.9, 0.9, 0.1, 0.1], 0),
    ):
        assert detector.overlap(box, np.array([other], np.float32))[0] == pytest.approx(
            wanted, abs=1e-5
        )


def test_moved_slices_keep_their_boxes() -> None:
    torch.manual_seed(0)
    slices = heads(24, 5)
    there, boxes = detector.moved(
        detector.prepared(torch.from_numpy(slices.images)), torch.from_numpy(slices.boxes)
    )
    for picture, (x, y, w, h) in zip(there[:, 0].numpy(), boxes.numpy(), strict=True):
        rows, columns = (np.arange(128) + 0.5) / 128, (np.arange(128) + 0.5) / 128
        inside = (abs(columns - x) < 0.4 * w)[None] & (abs(rows - y) < 0.4 * h)[:, None]
        near = (abs(columns - x) < 0.8 * w)[None] & (abs(rows - y) < 0.8 * h)[:, None]
        ring = near & ~((abs(columns - x) < 0.6 * w)[None] & (abs(rows - y) < 0.6 * h)[:, None])
        assert picture[inside].mean() > picture[ring].mean() + 0.2


def test_detector_is_small() -> None:
    assert sum(p.numel() for p in detector.Detector().parameters()) < detector.LARGEST


@pytest.mark.slow
def test_detector_learns_to_find_squares() -> None:
    net = detector.train(heads(40, 0), steps=80, batch=6)
    assert detector.found(net, heads(30, 1))["all"] > 0.5


def test_package_of_the_next_version_draws_boxes_and_paints_them() -> None:
    out = in_a_process(
        """
        import numpy as np, torch, package as p
        from medzoo import seeds
        from medzoo._worker.batch import Batch
        from medzoo.errors import InputError
        torch.manual_seed(0)
        boxes = np.random.default_rng(0).uniform([0.4, 0.4, 0.1, 0.1], [0.6, 0.6, 0.2, 0.2], (90, 4))
        tensors = {f"denoiser.{k}": v for k, v in p.Denoiser().state_dict().items()}
        tensors |= {f"decoder.{k}": v for k, v in p.Decoder().state_dict().items()}
        tensors |= {
            "components": torch.linalg.qr(torch.randn(p.NUMBERS, p.LATENT))[0].T,
            "share": torch.full((9,), 1 / 9),
            "boxes": torch.from_numpy(boxes).half(),
            "box_kinds": (torch.arange(90) % 9).to(torch.uint8),
        }
        model = p.BrainGenerator(tensors, torch.device("cpu"))
        def made(indices, **options):
            n = np.array(indices)
            usual = {"plane": "any", "steps": 2, "guidance": 1.0, "box": None, "dimensions": 0}
            kinds = {"condition": n % 3}
            latents = seeds.latents(1, n, p.LATENT)
            return model.sample(Batch(1, n, latents, kinds, {}, usual | options))
        both, one = made([0, 1]), made([1])
        assert both["images"].shape == (2, 1, 128, 128) and both["images"].dtype == np.uint8
        assert np.array_equal(both["boxes"][1:], one["boxes"])
        assert np.abs(both["images"][1].astype(int) - one["images"][0]).max() <= 1
        assert (0.3 < both["boxes"][:, :2]).all() and (both["boxes"][:, :2] < 0.7).all()
        told = made([0], box=[0.5, 0.5, 0.15, 0.15])["boxes"][0]
        assert np.allclose(told, [0.5, 0.5, 0.15, 0.15])
        assert not np.array_equal(made([0], dimensions=64)["images"], made([0])["images"])
        for wrong in ([0.05, 0.5, 0.1, 0.1], [0.5, 0.5, 0.1]):
            try:
                made([0], box=wrong)
            except InputError as error:
                print(error.problem)
        """
    )
    assert out.splitlines() == [
        "box=[0.05, 0.5, 0.1, 0.1] lies where no tumour lies in slices of any plane.",
        "box=[0.5, 0.5, 0.1] is not four numbers.",
    ]
