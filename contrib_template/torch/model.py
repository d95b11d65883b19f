"""TODO: what this model makes, and the paper behind it.

As it stands: a bright disc on a dark ground, small or large, so that the folder works before
anything is replaced. docs/packages.md explains the contract. Shapes in comments: N samples, C
channels, H and W pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

SIZE = 64  # pixels


class Generator(nn.Module):
    """TODO: your network. This one paints a disc from where and how bright it is."""

    def __init__(self) -> None:
        super().__init__()
        self.radius = nn.Parameter(
            torch.zeros(2)
        )  # of a small and of a large disc, in half picture widths
        self.edge = nn.Parameter(torch.ones(1))  # its sharpness

    def forward(self, latents: Tensor, classes: Tensor, noise: Tensor) -> Tensor:
        """Pictures (N, 1, H, W) in [0, 1]; latents (N, 4), classes (N,), noise (N, 1, H, W)."""
        z = latents.clamp(-3, 3)[:, :, None, None, None]  # (N, 4, 1, 1, 1)
        line = torch.linspace(-1, 1, SIZE, device=latents.device)
        distance = (
            (line - 0.15 * z[:, 0]) ** 2 + (line[:, None] - 0.15 * z[:, 1]) ** 2
        ).sqrt()  # (N, 1, H, W)
        radius = self.radius[classes][:, None, None, None] * (1 + 0.05 * z[:, 2])  # (N, 1, 1, 1)
        disc = torch.sigmoid((radius - distance) * self.edge)  # (N, 1, H, W)
        return (0.15 + (0.6 + 0.05 * z[:, 3]) * disc + noise).clamp(0, 1)


class Model:
    """What `load` returns: anything with a method `sample`."""

    def __init__(self, network: Generator, device: torch.device) -> None:
        self.network, self.device = network, device

    @torch.inference_mode()
    def sample(self, batch: Any) -> dict[str, np.ndarray]:
        """``images`` (n, 1, 64, 64), uint8.

        Whatever is random comes from ``batch.latents`` or from ``batch.rng(i)``, the stream of the
        batch's sample i, so that sample i is the same in every batch.
        """
        noise = np.stack(
            [batch.rng(i).normals((1, SIZE, SIZE)) for i in range(batch.n)]
        )  # (n, 1, H, W)
        images = self.network(
            torch.from_numpy(batch.latents).to(self.device),  # (n, 4)
            torch.from_numpy(batch.conditions["condition"]).to(self.device),  # (n,)
            torch.from_numpy(noise).to(self.device) * batch.options["noise"],  # (n, 1, H, W)
        )
        return {"images": (images * 255).round().to(torch.uint8).cpu().numpy()}


def load(weights_dir: Path, device: str) -> Model:
    """The model with the weights in ``weights_dir`` on ``device`` (cpu, cuda:0, mps)."""
    network = Generator()
    network.load_state_dict(load_file(Path(weights_dir) / "weights.safetensors"))
    return Model(network.requires_grad_(False).eval().to(device), torch.device(device))
