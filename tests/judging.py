"""Small sets that look real, and a short way to judge one."""

from __future__ import annotations

from typing import Any

import numpy as np

import medzoo

QUICK = ["fd", "precision", "recall", "copy"]


def blobs(n: int, seed: int, *, noise: float = 3, side: int = 16) -> dict[str, Any]:
    """Blobs of two sizes with grain, their masks and classes: ``images`` (n, 1, side, side)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side]
    labels = np.arange(n) % 2
    images, masks = np.zeros((n, 1, side, side)), np.zeros((n, 1, side, side), np.uint8)
    for i in range(n):
        centre = rng.uniform(side * 0.3, side * 0.7, 2)
        distance = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
        radius = side / 12 * (1 + 2 * labels[i])
        images[i, 0] = rng.uniform(60, 120) + 80 * np.exp(-distance / (2 * radius**2))
        masks[i, 0] = distance < radius**2
    images += rng.normal(0, noise, images.shape)
    names = np.array(["small", "large"])[labels]
    return {"images": images.clip(0, 255).astype(np.uint8), "labels": names, "masks": masks}


REAL, HELD_OUT = blobs(60, 0), blobs(40, 1)


def judged(synthetic: Any, **options: Any) -> medzoo.evaluation.results.Evaluation:
    usual = {"real": REAL, "held_out": HELD_OUT, "metrics": QUICK, "steps": 5}
    return medzoo.evaluate(synthetic, **{**usual, **options})
