"""TODO: what this model makes, and the paper behind it.

As it stands: a bright disc on a dark ground, small or large, so that the folder works before
anything is replaced. docs/packages.md explains the contract. Shapes in comments: N samples, C
channels, H and W pixels.
"""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load_file

SIZE = 64  # pixels


def generate(
    model_file: str,
    num_samples: int,
    output_path: str,
    save_images: bool,
    input_latent_vector: np.ndarray,
    condition: int,
    noise: float,
) -> list[np.ndarray]:
    """Pictures (H, W), uint8, one for each of ``num_samples`` rows of ``input_latent_vector``.

    medzoo asks for arrays, never for files: ``save_images`` is False. The samples of a call are of
    one ``condition``. What is random follows from the latents, so that a sample is the same in
    every batch.
    """
    weights = load_file(model_file)
    latents = input_latent_vector  # (N, 4), float32
    streams = [np.random.default_rng(row.view(np.uint32)) for row in latents]
    grain = np.stack([stream.standard_normal((SIZE, SIZE)) for stream in streams])  # (N, H, W)
    classes = np.full(num_samples, condition)
    return list(painted(weights, latents, classes, noise * grain))


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
