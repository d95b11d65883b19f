"""Judge model 105 on real hippocampus volumes that it never saw.

    python -m benchmarks.hippocampus hippocampus_mr_208.zip                 # all figures of the card
    python -m benchmarks.hippocampus hippocampus_mr_208.zip --model FOLDER  # of a package not registered yet
    python -m benchmarks.hippocampus hippocampus_mr_208.zip --quick         # to see that everything runs

Four sets are judged against the volumes held back: real training volumes (the floor), samples, and
two baselines with the samples' masks: every label filled with its mean grey value, and the same
with noise that has the spectrum of real scans. Where nothing is known, volumes are 0 in all of
them.

    dice 1, dice 2   of labels 1 (anterior) and 2 (posterior) in held-back volumes, by a small 3D U-Net trained on the set
    volume, surface  KS statistic of the labels' volumes and surfaces, the worse label
    SWD, FDpca, tails  as in `benchmarks.quality`, on slices of three planes through the middle
    nearest          median distance to the nearest training volume over that of held-back volumes, in 64 components
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import medzoo
from medzoo.errors import MedzooError
from medzoo.evaluation.distances import frechet
from medzoo.evaluation.texture import log_kurtosis, sliced_wasserstein

PACKAGE = Path(__file__).parent.parent / "starter_models" / "00105_GAN_MRI_HIPPOCAMPUS"
FIGURES = ("dice 1", "dice 2", "volume", "surface", "SWD", "FDpca", "tails", "nearest")
SETS = ("real", "model", "filled", "noise")
COMPONENTS = 64
OFFSETS = (-6, -3, 0, 3, 6)  # voxels from the middle, of the slices of each plane


@dataclass(frozen=True)
class Volumes:
    """``grey`` (N, D, H, W) uint8, 0 where nothing is known, and ``labels`` of the same shape."""

    grey: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def first(self, number: int) -> Volumes:
        return Volumes(self.grey[:number], self.labels[:number])

    def tensor(self) -> Tensor:
        """Grey values (N, 1, D, H, W) in [-1, 1]."""
        return torch.from_numpy(self.grey).float()[:, None] / 127.5 - 1


# ------------------------------------------------------------------------------------- the sets
def package() -> tuple[ModuleType, ModuleType]:
    """The package's ``train`` and ``model``."""
    modules = {}
    kept = sys.modules.get("model")
    try:
        for name in ("model", "train"):
            spec = importlib.util.spec_from_file_location(name, PACKAGE / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            modules[name] = module
            if name == "model":  # which train.py imports by this name
                sys.modules[name] = module
            spec.loader.exec_module(module)
    finally:
        sys.modules.pop("model", None)
        if kept is not None:
            sys.modules["model"] = kept
    return modules["train"], modules["model"]


def real(data: Path) -> tuple[Volumes, Volumes]:
    """Training volumes and those held back, as the model's samples are."""
    train, model = package()
    sets = []
    for held_back in (False, True):
        volumes = train.read(data, held_back)
        levels = (np.nan_to_num(volumes["grey"]) * model.WHITE).round().clip(0, 255)
        sets.append(Volumes(model.axial(levels.astype(np.uint8)), model.axial(volumes["labels"])))
    return sets[0], sets[1]


def synthetic(model: str, number: int, seed: int) -> Volumes:
    """Samples of the model; ``model`` is a number or a package's folder."""
    samples = medzoo.generate(model, number, seed=seed, trust=True, progress=False)
    return Volumes(samples.volumes[:, 0], samples.masks[:, 0])


def filled(samples: Volumes, train: Volumes) -> Volumes:
    """The samples' masks, every label filled with its mean grey value in the training volumes."""
    known = train.grey > 0
    means = [train.grey[(train.labels == label) & known].mean() for label in range(3)]
    grey = np.array(means)[samples.labels].round() * (samples.grey > 0)
    return Volumes(grey.astype(np.uint8), samples.labels)


def noisy(samples: Volumes, train: Volumes, seed: int = 0) -> Volumes:
    """The same with noise that has the mean power spectrum of the training volumes."""
    plain, power, count = filled(samples, train), 0.0, 0.0
    for grey, mean in zip(train.grey, filled(train, train).grey, strict=True):
        rest = grey.astype(np.float64) - mean
        power = power + np.abs(np.fft.rfftn(rest)) ** 2
        count += float((grey > 0).mean())
    spectrum = np.sqrt(power / count)  # of a field known everywhere
    generator = np.random.default_rng(seed)
    grey = np.empty_like(plain.grey)
    for row, mean in enumerate(plain.grey):
        white = np.fft.rfftn(generator.normal(size=mean.shape)) / np.sqrt(mean.size)
        noise = np.fft.irfftn(white * spectrum, mean.shape, axes=(0, 1, 2))
        grey[row] = (mean + noise).round().clip(1, 255) * (mean > 0)
    return Volumes(grey, plain.labels)


# ------------------------------------------------------------------------------- the segmenter
class Segmenter(nn.Module):
    """A small 3D U-Net: grey values (N, 1, D, H, W) to scores of three labels."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        a, b, c = width, 2 * width, 4 * width

        def pair(channels_in: int, channels: int, stride: int = 1) -> nn.Sequential:
            layers: list[nn.Module] = []
            for inputs, step in ((channels_in, stride), (channels, 1)):
                layers += [nn.Conv3d(inputs, channels, 3, step, padding=1, bias=False)]
                layers += [nn.BatchNorm3d(channels), nn.ReLU()]
            return nn.Sequential(*layers)

        self.fine, self.middle, self.deep = pair(1, a), pair(a, b, 2), pair(b, c, 2)
        self.up2, self.up1 = pair(b + c, b), pair(a + b, a)
        self.last = nn.Conv3d(a, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fine(x)
        y = self.middle(x)
        z = F.interpolate(self.deep(y), scale_factor=2.0)
        y = F.interpolate(self.up2(torch.cat([y, z], dim=1)), scale_factor=2.0)
        scores: Tensor = self.last(self.up1(torch.cat([x, y], dim=1)))
        return scores


def crop(volumes: Volumes) -> Volumes:
    """The middle 48 x 64 x 48 voxels, which hold everything that is known near a mask."""
    parts = [array[:, 8:56, :, 8:56] for array in (volumes.grey, volumes.labels)]
    return Volumes(*parts)


def learn(
    volumes: Volumes, steps: int, width: int = 12, seed: int = 0, batch: int = 2
) -> Segmenter:
    """A segmenter trained on ``volumes``, with gain and offset varied."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = Segmenter(width)
    optimiser = torch.optim.AdamW(net.parameters(), 4e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, max(steps, 2))
    part = crop(volumes)
    grey, labels = part.tensor(), torch.from_numpy(part.labels).long()
    for _ in range(steps):
        rows = torch.randint(len(grey), (batch,), generator=generator)
        gain = 1 + 0.2 * torch.randn(batch, 1, 1, 1, 1, generator=generator)
        known = grey[rows] > -1
        x = torch.where(known, (grey[rows] + 1) * gain - 1, grey[rows])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = net(x)
        scores = scores.float()
        shares = scores.softmax(dim=1)[:, 1:]
        truth = torch.stack([labels[rows] == label for label in (1, 2)], dim=1).float()
        axes = (0, 2, 3, 4)
        dice = (2 * (shares * truth).sum(axes) + 1) / (shares.sum(axes) + truth.sum(axes) + 1)
        loss = F.cross_entropy(scores, labels[rows]) + 1 - dice.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


@torch.inference_mode()
def dice(net: Segmenter, volumes: Volumes) -> NDArray[np.float64]:
    """Mean Dice of labels 1 and 2 over the volumes."""
    part = crop(volumes)
    rows = []
    for grey, labels in zip(part.tensor(), part.labels, strict=True):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = net(grey[None])[0].argmax(dim=0).numpy()
        pairs = [(found == label, labels == label) for label in (1, 2)]
        rows.append([2 * (a & b).sum() / max(a.sum() + b.sum(), 1) for a, b in pairs])
    return np.mean(rows, axis=0)


# -------------------------------------------------------------------------------- other figures
def statistic(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The Kolmogorov-Smirnov statistic of two samples."""
    both = np.sort(np.concatenate([a, b]))
    shares = [np.searchsorted(np.sort(x), both, "right") / len(x) for x in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())


def sizes(labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Volume and surface of labels 1 and 2, in voxels and faces of voxels, (N, 2, 2)."""
    table = []
    for label in (1, 2):
        inside = labels == label
        faces = sum(np.diff(inside, axis=axis).sum(axis=(1, 2, 3)) for axis in (1, 2, 3))
        table.append(np.stack([inside.sum(axis=(1, 2, 3)), faces], axis=1))
    return np.stack(table, axis=2).astype(np.float64)  # (N, volume or surface, label)


def slices(volumes: Volumes) -> list[Tensor]:
    """Slices (N, 1, 64, 64) of each plane, several of each volume."""
    x = volumes.tensor()
    middle = x.shape[-1] // 2
    return [
        torch.cat([x.select(axis, middle + offset) for offset in OFFSETS]) for axis in (2, 3, 4)
    ]


def judge(train: Volumes, held_back: Volumes, steps: int, width: int = 12) -> Any:
    """A function from a set to its figures; ``steps`` and ``width`` are of its segmenter."""
    targets = slices(held_back)
    planes = []
    for x in slices(train):
        flat = x.flatten(1)
        basis = torch.linalg.svd(flat - flat.mean(dim=0), full_matrices=False)[2][:COMPONENTS].T
        planes.append((flat.mean(dim=0), basis))
    whole = F.avg_pool3d(train.tensor(), 2).flatten(1)
    middle = whole.mean(dim=0)
    axes = torch.linalg.svd(whole - middle, full_matrices=False)[2][:COMPONENTS].T

    def nearest(volumes: Volumes) -> float:
        points = (F.avg_pool3d(volumes.tensor(), 2).flatten(1) - middle) @ axes
        distances = torch.cdist(points, (whole - middle) @ axes)
        return float(distances.amin(dim=1).median())

    usual, real_sizes = nearest(held_back), sizes(held_back.labels)

    def figures(volumes: Volumes) -> dict[str, float]:
        some, own = volumes.first(len(train.grey)), sizes(volumes.labels)
        rows = zip(slices(some), targets, planes, strict=True)
        distances = [
            (
                sliced_wasserstein(target, x),
                frechet((target.flatten(1) - mean) @ basis, (x.flatten(1) - mean) @ basis),
                float((log_kurtosis(x) - log_kurtosis(target)).abs().mean()),
            )
            for x, target, (mean, basis) in rows
        ]
        worst = [
            max(statistic(own[:, kind, label], real_sizes[:, kind, label]) for label in (0, 1))
            for kind in (0, 1)
        ]
        near = np.nan if volumes is train else nearest(volumes) / max(usual, 1e-6)
        overlap = dice(learn(volumes, steps, width), held_back) if steps else (np.nan, np.nan)
        values = [*overlap, *worst, *np.mean(distances, axis=0), near]
        return dict(zip(FIGURES, map(float, values), strict=True))

    return figures


def main(arguments: list[str] | None = None) -> None:
    """Parse, draw, judge, print."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.hippocampus",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, help="zip or folder of the data set")
    parser.add_argument("--model", default="105", help="a number, or the folder of a package")
    parser.add_argument("-n", type=int, default=500, help="samples")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=600, help="of each segmenter; 0 for none")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, help="only these sets")
    parser.add_argument("--quick", action="store_true", help="4 samples and 1 step")
    parser.add_argument("--out", type=Path, help="the figures as JSON")
    a = parser.parse_args(arguments)
    number, steps, width = (4, 1, 2) if a.quick else (a.n, a.steps, 12)
    train, held_back = real(a.data)
    began = time.perf_counter()
    samples = synthetic(a.model, number, a.seed)
    seconds = (time.perf_counter() - began) / number
    figures = judge(train, held_back, steps, width)
    table = {}
    print(f"{'':18s} " + " ".join(f"{name:>8s}" for name in FIGURES), flush=True)
    sets = {
        "real training": lambda: train,
        f"model {Path(a.model).name[:8]}": lambda: samples,
        "filled masks": lambda: filled(samples, train),
        "filled and noise": lambda: noisy(samples, train),
    }
    for name, kind in zip(sets, SETS, strict=True):
        if kind not in a.sets:
            continue
        table[name] = figures(sets[name]())
        print(f"{name:18s} " + " ".join(f"{v:8.3f}" for v in table[name].values()), flush=True)
    print(f"{seconds:.2f} s a sample")
    if a.out:
        a.out.write_text(json.dumps(table, indent=1), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except MedzooError as error:
        sys.exit(str(error))
