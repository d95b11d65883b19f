"""A small U-Net that learns to mark what masks mark, and how well it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from .classifiers import shrunk

BATCH = 16
WIDTHS = (16, 32, 64)
HALF = 0.5  # of a pixel
SMALLEST = 4  # pixels along each axis, which are halved twice


class Segmenter(nn.Module):
    """Pictures (N, C, *spatial) to logits (N, 1, *spatial); sides of at least 4."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.flat = dimensions == 2
        a, b, c = WIDTHS
        self.first, self.second = self._block(channels, a), self._block(a, b)
        self.deep = self._block(b, c)
        self.back, self.last = self._block(b + c, b), self._block(a + b, a)
        self.end = (nn.Conv2d if self.flat else nn.Conv3d)(a, 1, 1)

    def _block(self, i: int, o: int) -> nn.Module:
        convolution = nn.Conv2d if self.flat else nn.Conv3d
        norm = nn.BatchNorm2d if self.flat else nn.BatchNorm3d
        return nn.Sequential(convolution(i, o, 3, padding=1, bias=False), norm(o), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the mask."""
        pool = F.max_pool2d if self.flat else F.max_pool3d
        fine = self.first(x)  # (N, 16, *spatial)
        middle = self.second(pool(fine, 2))  # (N, 32, *spatial / 2)
        coarse = self.deep(pool(middle, 2))  # (N, 64, *spatial / 4)
        up = F.interpolate(coarse, size=middle.shape[2:])
        middle = self.back(torch.cat([middle, up], 1))
        up = F.interpolate(middle, size=fine.shape[2:])
        logits: Tensor = self.end(self.last(torch.cat([fine, up], 1)))
        return logits


def trained(
    x: Tensor,
    masks: NDArray[Any],
    *,
    seed: int,
    steps: int,
    flips: bool = True,
    net: nn.Module | None = None,
) -> nn.Module:
    """A network that learned from pictures (N, C, *spatial) and masks (N, 1, *spatial).

    Pictures are shrunk to about 64 pixels (32 voxels) first.

    Parameters
    ----------
    x : torch.Tensor
        Pictures in [-1, 1].
    masks : numpy.ndarray
        1 where something is marked, else 0.
    seed : int
        Of weights, batches and changes.
    steps : int
        How many batches of 16.
    flips : bool, optional
        Whether to mirror batches and to change their contrast and brightness a little.
    net : torch.nn.Module, optional
        Returns logits (N, 1, *spatial); its weights are changed. By default a small U-Net.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    small, truth = shrunk(x), shrunk(torch.from_numpy(masks))
    if net is None:
        net = Segmenter(x.shape[1], x.ndim - 2)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps)
    for _ in range(steps):
        rows = torch.from_numpy(rng.choice(len(x), BATCH))
        batch, marked = small[rows], truth[rows]
        if flips:
            turns = [axis for axis in range(2, x.ndim) if rng.random() < 0.5]
            batch, marked = batch.flip(turns), marked.flip(turns)
            batch = batch * (1 + 0.1 * rng.standard_normal()) + 0.1 * rng.standard_normal()
        logits = net(batch)
        shares = logits.sigmoid()
        overlap = 2 * (shares * marked).sum() / (shares.sum() + marked.sum() + 1)
        loss = F.binary_cross_entropy_with_logits(logits, marked) + 1 - overlap
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def marked_by(net: nn.Module, x: Tensor) -> NDArray[np.bool_]:
    """What a network marks in pictures, (N, 1, *spatial) of the size to which it shrinks them."""
    with torch.inference_mode():
        parts = [net(part) > 0 for part in torch.split(shrunk(x), BATCH)]
    marked: NDArray[np.bool_] = torch.cat(parts).numpy()
    return marked


def dices(marked: NDArray[np.bool_], masks: NDArray[Any]) -> NDArray[np.float64]:
    """The Dice score of each prediction (N, 1, *spatial) with its mask.

    Masks of another size are shrunk as pictures are, and are marked where half of a pixel is. A
    case in which neither marks anything scores 1.
    """
    truth = masks > 0
    if truth.shape != marked.shape:
        truth = shrunk(torch.from_numpy(truth.astype(np.float32))).numpy() >= HALF
    axes = tuple(range(1, truth.ndim))
    overlap, both = (marked & truth).sum(axes), marked.sum(axes) + truth.sum(axes)
    scores: NDArray[np.float64] = np.where(both > 0, 2 * overlap / np.maximum(both, 1), 1.0)
    return scores


def binary(masks: NDArray[Any]) -> NDArray[np.float32]:
    """Masks (N, C, *spatial) as (N, 1, *spatial): 1 where anything is marked."""
    marked: NDArray[np.float32] = (masks > 0).max(1, keepdims=True).astype(np.float32)
    return marked
