"""From a T1-weighted MR of a brain to what T2 and FLAIR would show: a 2.5D U-Net, with lesions where
a mask asks for them.

1. Grey values are scaled by one percentile of the brain's voxels, so that white matter has nearly
   the same value in every scan (`scaled`).
2. ``Contrasts``, a U-Net, sees a slice, two slices on each side of it and the mask of lesions, and
   gives the T2 and the FLAIR of this slice.
3. A volume is cut into slices three times, in axial, coronal and sagittal planes, and the mean of
   the three results is returned. A single slice has one plane and no neighbours.

There are two sets of weights. Each was trained on one patient alone.

Shapes in comments: N slices, C channels, D, H, W voxels from feet to head, front to back and right
to left.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from medzoo.errors import InputError

TARGETS = ("T2", "FLAIR")
# The percentile of the brain's voxels that has a fixed value, and this value. It was chosen where
# white matter of both patients agrees best.
SCALES = {"T1": (80, 0.75), "T2": (25, 0.22), "FLAIR": (75, 0.6)}
NEIGHBOURS = 2  # slices on each side
CHANNELS = 2 * NEIGHBOURS + 1 + 2  # slices of T1, the mask, and whether there is a mask
MULTIPLE = 8  # of the sides of what the network sees


def scaled(scan: NDArray[Any], contrast: str) -> NDArray[np.float32]:
    """Grey values of a brain as the network sees them: about 0 to 1, 0 outside.

    Parameters
    ----------
    scan
        A volume or a slice. What is 0 or less is outside the brain, or as dark as that.
    contrast
        ``T1``, ``T2`` or ``FLAIR``.
    """
    percentile, value = SCALES[contrast]
    brain = scan[scan > 0]
    if not brain.size:
        return np.zeros(scan.shape, np.float32)
    factor = value / float(np.percentile(brain, percentile))
    return np.clip(scan * factor, 0, 1.25 if contrast == "T1" else 1).astype(np.float32)


# -------------------------------------------------------------------------------------------------
# the network
def conv(channels_in: int, channels: int) -> nn.Sequential:
    """3x3 convolution and batch norm, which ``fold`` later makes one convolution."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(0.1),
    )


def block(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(conv(channels_in, channels), conv(channels, channels))


class Contrasts(nn.Module):
    """U-Net: slices (N, 7, H, W) to T2 and FLAIR (N, 2, H, W); sides are multiples of 8.

    Most of it works on blocks of 2x2 pixels, which are channels there; the last two convolutions
    see pixels again.
    """

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 96)) -> None:
        super().__init__()
        a, b, c = widths
        self.enter = block(4 * CHANNELS, a)
        self.down1, self.down2 = block(a, b), block(b, c)
        self.up2, self.up1 = block(c + b, b), block(b + a, a)
        fine = a // 4 + 2
        self.last = nn.Sequential(
            nn.Conv2d(fine, 12, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(12, len(TARGETS), 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        h1 = self.enter(F.pixel_unshuffle(x, 2))  # (N, a, H / 2, W / 2)
        h2 = self.down1(F.avg_pool2d(h1, 2))  # (N, b, H / 4, W / 4)
        h = self.down2(F.avg_pool2d(h2, 2))  # (N, c, H / 8, W / 8)
        h = self.up2(torch.cat([twice(h), h2], dim=1))
        h = self.up1(torch.cat([twice(h), h1], dim=1))
        own = x[:, [NEIGHBOURS, 2 * NEIGHBOURS + 1]]  # the slice itself, and the mask
        return self.last(torch.cat([F.pixel_shuffle(h, 2), own], dim=1))


def twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0)
