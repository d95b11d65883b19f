"""The figures of a card, all against the same real pictures.

What is measured is in `medzoo.evaluation`, which `medzoo.evaluate` uses too. This module only keeps
the figures, their order and their settings as they are on the models' cards.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from medzoo.evaluation.border import border
from medzoo.evaluation.classifiers import skill, two_sample
from medzoo.evaluation.distances import frechet, within
from medzoo.evaluation.features import PrincipalComponents, mirrored
from medzoo.evaluation.texture import log_kurtosis, sliced_wasserstein

from .pictures import Pictures

FIGURES = ("SWD", "FDpca", "precision", "recall", "tails", "copy", "C2ST", "TSTR", "accuracy")
BORDER = ("dots top", "dots low", "edge")  # shares of pictures, printed after the others


def judge(
    train: Pictures, held_back: Pictures, *, steps: int = 250, seeds: int = 5
) -> Callable[[Pictures], dict[str, float]]:
    """A function from a set to its figures; ``steps`` is how long its classifiers learn.

    TSTR and accuracy are the mean of ``seeds`` networks.
    """
    x, target = train.tensor(), held_back.tensor()
    place = PrincipalComponents(x)
    there = place(target)
    seen = torch.cat([place(turn) for turn in mirrored(x)])
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
            for s in range(seeds if can_learn else 0)
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
