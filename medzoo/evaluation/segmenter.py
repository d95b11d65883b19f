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


class Segmenter(nn.Module):
    """Pictures (N, C, *spatial) to logits (N, 1, *spatial); sides divisible by 4."""

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
        up = F.interpolate(coarse, scale_factor=2.0)
        middle = self.back(torch.cat([middle, up], 1))
        up = F.interpolate(middle, scale_factor=2.0)
        logits: Tensor = self.end(self.last(torch.cat([fine, up], 1)))
        return logits


def segmented(
    x: Tensor, masks: NDArray[Any], test: Tensor, *, seed: int, steps: int, flips: bool
) -> NDArray[np.bool_]:
    """What a network marks in ``test`` after it learned from pictures and their masks.

    Pictures are shrunk to about 64 pixels (32 voxels) first.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    small, truth = shrunk(x), shrunk(torch.from_numpy(masks))
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
    net.eval()
    with torch.inference_mode():
        parts = [net(part) > 0 for part in torch.split(shrunk(test), BATCH)]
    found: NDArray[np.bool_] = torch.cat(parts).numpy()
    return found


def dices(marked: Any, masks: Any) -> float:
    """The mean Dice score of predictions (N, 1, *) and masks of the original size.

    Masks are shrunk as pictures are, and are marked where half of a pixel is. A case in which
    neither marks anything scores 1.
    """
    truth = shrunk(torch.from_numpy(masks)).numpy() >= 0.5
    axes = tuple(range(1, truth.ndim))
    overlap, both = (marked & truth).sum(axes), marked.sum(axes) + truth.sum(axes)
    return float(np.where(both > 0, 2 * overlap / np.maximum(both, 1), 1.0).mean())
