"""The figures of a set, all against the same real pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .border import border
from .classifiers import skill, two_sample
from .pictures import Pictures
from .texture import log_kurtosis, sliced_wasserstein

FIGURES = ("SWD", "FDpca", "precision", "recall", "tails", "copy", "C2ST", "TSTR", "accuracy")
BORDER = ("dots top", "dots low", "edge")  # shares of pictures, printed after the others
COMPONENTS, NEIGHBOURS = 64, 5
NUMBERS = (
    1 << 16
)  # values of a picture that the principal components see; larger ones are halved until they fit


def frechet(a: Tensor, b: Tensor) -> float:
    covariances = torch.cov(a.T), torch.cov(b.T)
    eigenvalues = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.clamp(min=0)
    means = (a.mean(0) - b.mean(0)).square().sum()
    return float(
        means + covariances[0].trace() + covariances[1].trace() - 2 * eigenvalues.sqrt().sum()
    )


def within(points: Tensor, support: Tensor) -> float:
    """Share of points inside a ball around a point of the support that reaches its fifth neighbour."""
    radii = torch.cdist(support, support).topk(NEIGHBOURS + 1, largest=False)[0][:, -1]
    return float((torch.cdist(points, support) <= radii[None]).any(1).float().mean())


def flat(x: Tensor) -> Tensor:
    """One row per picture."""
    while x[0].numel() > NUMBERS:
        x = F.avg_pool2d(x, 2) if x.ndim == 4 else F.avg_pool3d(x, 2)
    return x.flatten(1)


def judge(
    train: Pictures, held_back: Pictures, *, steps: int = 250
) -> Callable[[Pictures], dict[str, float]]:
    """A function from a set to its figures; ``steps`` is how long its classifiers learn."""
    x, target = train.tensor(), held_back.tensor()
    mean = flat(x).mean(0)
    directions = torch.linalg.svd(flat(x) - mean, full_matrices=False)[2][:COMPONENTS].T

    def place(y: Tensor) -> Tensor:
        return (flat(y) - mean) @ directions

    there = place(target)
    axes = range(2, x.ndim)
    turns = [turn for k in range(x.ndim - 1) for turn in itertools.combinations(axes, k)]
    seen = torch.cat([place(x.flip(turn)) for turn in turns])
    near = torch.quantile(torch.cdist(there, seen).min(1)[0], 0.01)
    kurtosis = log_kurtosis(target)

    def figures(pictures: Pictures) -> dict[str, float]:
        y, labels = pictures.tensor(), pictures.labels
        some = torch.from_numpy(np.random.default_rng(0).permutation(len(y))[: len(x)])
        points = place(y)
        new, classes = pictures is not train, np.unique(held_back.labels)
        can_learn = len(classes) > 1 and np.array_equal(np.unique(labels), classes)
        skills = [
            skill(y, labels, target, held_back.labels, seed=s, steps=steps)
            for s in range(5 if can_learn else 0)
        ]
        area, accuracy = np.mean(skills, axis=0) if skills else (np.nan, np.nan)
        return {
            "SWD": sliced_wasserstein(target, y[some]),
            "FDpca": frechet(there, points[some]),
            "precision": within(points[some], there),
            "recall": within(there, points[some]),
            "tails": float((log_kurtosis(y) - kurtosis).abs().mean()),
            "copy": float((torch.cdist(points, seen).min(1)[0] < near).float().mean())
            if new
            else np.nan,
            "C2ST": float(
                np.mean([two_sample(y, x, target, seed=s, steps=steps) for s in range(2)])
            )
            if new
            else np.nan,
            "TSTR": float(area),
            "accuracy": float(accuracy),
            **border(y),
        }

    return figures
