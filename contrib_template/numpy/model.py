"""TODO: what this model makes, and the paper behind it.

As it stands: a bright disc on a dark ground, small or large, so that the folder works before
anything is replaced. docs/packages.md explains the contract. Shapes in comments: N samples, C
channels, H and W pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

SIZE = 64  # pixels


class Model:
    """What `load` returns: anything with a method `sample`."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights

    def sample(self, batch: Any) -> dict[str, np.ndarray]:
        """``images`` (n, 1, 64, 64), uint8.

        Whatever is random comes from ``batch.latents`` or from ``batch.rng(i)``, the stream of the
        batch's sample i, so that sample i is the same in every batch.
        """
        noise = np.stack([batch.rng(i).normals((SIZE, SIZE)) for i in range(batch.n)])  # (n, H, W)
        classes = batch.conditions["condition"]  # (n,)
        images = painted(self.weights, batch.latents, classes, batch.options["noise"] * noise)
        return {"images": images[:, None]}


def painted(
    weights: dict[str, np.ndarray], latents: np.ndarray, classes: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """TODO: your model. This one paints discs (N, H, W) from latents (N, 4) and classes (N,)."""
    z = np.clip(latents, -3, 3)[:, :, None, None]  # (N, 4, 1, 1)
    line = np.linspace(-1, 1, SIZE, dtype=np.float32)
    distance = np.hypot(line - 0.15 * z[:, 0], line[:, None] - 0.15 * z[:, 1])  # (N, H, W)
    radius = weights["radius"][classes][:, None, None] * (1 + 0.05 * z[:, 2])  # (N, 1, 1)
    disc = 1 / (1 + np.exp((distance - radius) * weights["edge"]))  # (N, H, W)
    levels = np.clip(0.15 + (0.6 + 0.05 * z[:, 3]) * disc + noise, 0, 1)
    return np.rint(255 * levels).astype(np.uint8)


def load(weights_dir: Path, device: str) -> Model:
    """The model with the weights in ``weights_dir``; numpy knows no other ``device`` than the
    processor. Called once.
    """
    return Model(load_file(Path(weights_dir) / "weights.safetensors"))
