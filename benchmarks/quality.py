"""Judge a set of mass patches against real ones, without any pretrained network.

    python -m benchmarks.quality REAL --set name=FOLDER [--set ...] [--split val]
    python -m benchmarks.quality REAL --model 8 -n 3000 --seed 0

REAL is a zip or a folder of ``{train,val}/is_benign_{true,false}/*.png``; a set is what `medzoo generate` writes. The
figures are necessary, not sufficient: look at the pictures as well.

    SWD        sliced Wasserstein distance of 7x7 patches of a Laplacian pyramid, x1e3, mean of 128, 64, 32, 16 pixels
               (Karras et al., arXiv:1710.10196)
    FDpca      Frechet distance in the first 64 principal components of the real training patches
    precision, recall   of k = 5 nearest-neighbour manifolds there (Kynkaanniemi et al., arXiv:1904.06991)
    tails      mean absolute difference of log kurtosis in the three Laplacian bands; 0 is real
    copy       share of samples nearer to a training patch, or a flip of one, than 1 % of the real split is
    C2ST       AUC of a small network told to separate the set from real training patches; 0.5 is best
    TSTR       AUC of a small network trained on the set and tested on the real split, mean of five
"""

from __future__ import annotations

import argparse
import io
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import medzoo

SIDE, COMPONENTS, NEIGHBOURS = 128, 64, 5
STEPS = 250  # of training a classifier


@dataclass(frozen=True)
class Patches:
    """``images`` (N, 128, 128) in 0 to 255 and ``labels`` (N,), malignant 1."""

    images: np.ndarray
    labels: np.ndarray

    def tensor(self) -> Tensor:
        """(N, 1, 128, 128) in [-1, 1]."""
        return torch.from_numpy(self.images.astype(np.float32) / 127.5 - 1)[:, None]


def real(data: Path, split: str) -> Patches:
    """The real patches of a split."""
    if data.is_dir():
        files = {p.relative_to(data).as_posix(): p.read_bytes() for p in data.rglob("*.png")}
    else:
        with zipfile.ZipFile(data) as archive:
            files = {n: archive.read(n) for n in archive.namelist() if n.endswith(".png")}
    names = sorted((n for n in files if n.startswith(f"{split}/")), key=lambda n: ("true" not in n.split("/")[1], n))
    images = [np.asarray(Image.open(io.BytesIO(files[n])).convert("L").resize((SIDE, SIDE))) for n in names]
    return Patches(np.stack(images), np.array([float("is_benign_false" in n) for n in names]))


def synthetic(folder: Path) -> Patches:
    """A set of samples that medzoo wrote."""
    samples = medzoo.read(folder)
    return Patches(samples.images[:, 0], samples.labels.astype(float))


# --------------------------------------------------------------------------------------------------- texture
def pyramid(x: Tensor) -> list[Tensor]:
    """Laplacian bands of (N, 1, 128, 128) at 128, 64 and 32 pixels, then what is left at 16."""
    bands = []
    for _ in range(3):
        half = F.avg_pool2d(x, 2)
        bands.append(x - F.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False))
        x = half
    return [*bands, x]


def descriptors(band: Tensor, generator: torch.Generator, count: int = 64) -> Tensor:
    """``count`` random 7x7 patches of each picture, (N * count, 49)."""
    n, _, height, width = band.shape
    top = torch.randint(0, height - 7, (n, count), generator=generator)
    left = torch.randint(0, width - 7, (n, count), generator=generator)
    windows = band.unfold(2, 7, 1).unfold(3, 7, 1)[:, 0]
    return windows[torch.arange(n)[:, None], top, left].reshape(-1, 49)


def sliced_wasserstein(a: Tensor, b: Tensor) -> float:
    generator = torch.Generator().manual_seed(0)
    distances = []
    for band_a, band_b in zip(pyramid(a), pyramid(b), strict=True):
        p, q = descriptors(band_a, generator), descriptors(band_b, generator)
        n = min(len(p), len(q))
        p, q = (x[torch.randperm(len(x), generator=generator)[:n]] for x in (p, q))
        both = torch.cat([p, q])
        p, q = ((x - both.mean(0)) / (both.std(0) + 1e-6) for x in (p, q))
        directions = F.normalize(torch.randn(49, 256, generator=generator), dim=0)
        distances.append((torch.sort(p @ directions, 0)[0] - torch.sort(q @ directions, 0)[0]).abs().mean())
    return float(torch.stack(distances).mean()) * 1e3


def log_kurtosis(x: Tensor) -> Tensor:
    """Mean over pictures of the log kurtosis of each band, (3,)."""
    found = []
    for band in pyramid(x)[:3]:
        flat = band.flatten(1)
        flat = flat - flat.mean(1, keepdim=True)
        found.append(torch.log(flat.pow(4).mean(1) / (flat.pow(2).mean(1).square() + 1e-12) + 1e-6).mean())
    return torch.stack(found)


# --------------------------------------------------------------------------------------------- what is where
def frechet(a: Tensor, b: Tensor) -> float:
    covariances = torch.cov(a.T), torch.cov(b.T)
    eigenvalues = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.clamp(min=0)
    means = (a.mean(0) - b.mean(0)).square().sum()
    return float(means + covariances[0].trace() + covariances[1].trace() - 2 * eigenvalues.sqrt().sum())


def within(points: Tensor, support: Tensor) -> float:
    """Share of points inside a ball around a point of the support that reaches its fifth neighbour."""
    radii = torch.cdist(support, support).topk(NEIGHBOURS + 1, largest=False)[0][:, -1]
    return float((torch.cdist(points, support) <= radii[None]).any(1).float().mean())


# ------------------------------------------------------------------------------------------------- classifiers
def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    order = np.argsort(scores)
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    positive, negative = labels.sum(), len(labels) - labels.sum()
    return float((ranks[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


def classify(x: Tensor, y: np.ndarray, test: Tensor, truth: np.ndarray, seed: int) -> float:
    """AUC on ``test`` of a small network trained on balanced batches of ``x``."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)

    def block(i: int, o: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())

    body = [block(1, 16), block(16, 32), block(32, 64), block(64, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    net = nn.Sequential(*body, nn.Dropout(0.3), nn.Linear(64, 1))
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, STEPS)
    small, labels = F.avg_pool2d(x, 2), torch.from_numpy(y.astype(np.float32))
    ones, zeros = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    for _ in range(STEPS):
        i = np.r_[rng.choice(zeros, 32), rng.choice(ones, 32)]
        batch = small[i]
        for axis in (3, 2):
            if rng.random() < 0.5:
                batch = batch.flip(axis)
        batch = batch * (1 + 0.1 * torch.randn(64, 1, 1, 1)) + 0.1 * torch.randn(64, 1, 1, 1)
        loss = F.binary_cross_entropy_with_logits(net(batch)[:, 0], labels[i])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.inference_mode():
        return roc_auc(truth, net.eval()(F.avg_pool2d(test, 2))[:, 0].numpy())


def two_sample(x: Tensor, train: Tensor, test: Tensor, seed: int) -> float:
    """AUC of telling unseen samples of the set from unseen real ones."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(x)))
    n = min(len(x) // 2, len(train))
    k = min(len(test), len(x) - n)
    labels = np.r_[np.zeros(n), np.ones(n)]
    seen, unseen = torch.cat([train[:n], x[order[:n]]]), torch.cat([test[:k], x[order[n : n + k]]])
    return classify(seen, labels, unseen, np.r_[np.zeros(k), np.ones(k)], seed)


# ----------------------------------------------------------------------------------------------------- the judge
FIGURES = ("SWD", "FDpca", "precision", "recall", "tails", "copy", "C2ST", "TSTR")


def judge(train: Patches, split: Patches) -> Callable[[Patches], dict[str, float]]:
    """A function from a set to its figures."""
    x, held_back = train.tensor(), split.tensor()
    mean = x.flatten(1).mean(0)
    directions = torch.linalg.svd(x.flatten(1) - mean, full_matrices=False)[2][:COMPONENTS].T

    def place(y: Tensor) -> Tensor:
        return (y.flatten(1) - mean) @ directions

    target = place(held_back)
    flips = torch.cat([place(y) for y in (x, x.flip(3), x.flip(2), x.flip(2, 3))])
    near = torch.quantile(torch.cdist(target, flips).min(1)[0], 0.01)

    def figures(patches: Patches) -> dict[str, float]:
        y = patches.tensor()
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(y))[: len(x)])
        points = place(y)
        new = patches is not train
        return {
            "SWD": sliced_wasserstein(held_back, y[order]),
            "FDpca": frechet(target, points[order]),
            "precision": within(points[order], target),
            "recall": within(target, points[order]),
            "tails": float((log_kurtosis(y) - log_kurtosis(held_back)).abs().mean()),
            "copy": float((torch.cdist(points, flips).min(1)[0] < near).float().mean()) if new else float("nan"),
            "C2ST": float(np.mean([two_sample(y, x, held_back, s) for s in range(2)])) if new else float("nan"),
            "TSTR": float(np.mean([classify(y, patches.labels, held_back, split.labels, s) for s in range(5)])),
        }

    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=FOLDER", dest="sets")
    parser.add_argument("--model", help="generate a set of this model and judge it")
    parser.add_argument("-n", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    train, split = real(a.real, "train"), real(a.real, a.split)
    figures = judge(train, split)
    print(f"{'set':16s} {'n':>5s} " + " ".join(f"{name:>9s}" for name in FIGURES))

    def show(name: str, patches: Patches) -> None:
        values = figures(patches)
        print(f"{name:16s} {len(patches.labels):5d} " + " ".join(f"{values[f]:9.3f}" for f in FIGURES), flush=True)

    show("real train", train)
    for name, folder in (pair.split("=", 1) for pair in a.sets):
        show(name, synthetic(Path(folder)))
    if a.model:
        with tempfile.TemporaryDirectory() as folder:
            medzoo.generate(a.model, a.n, seed=a.seed, out=Path(folder) / "set", format="npz")
            show(f"model {a.model}", synthetic(Path(folder) / "set"))


if __name__ == "__main__":
    main()
