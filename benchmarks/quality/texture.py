"""What pictures look like from near: distributions of small patches, band by band of a Laplacian
pyramid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW, SMALLEST = (
    {2: 7, 3: 5},
    {2: 16, 3: 8},
)  # side of a patch and of the coarsest band, by number of dimensions
BANDS, SLICES, PATCHES = 3, 256, 64


def halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2) if x.ndim == 4 else F.avg_pool3d(x, 2)


def pyramid(x: Tensor) -> list[Tensor]:
    """Up to three Laplacian bands of (N, C, *spatial), fine to coarse, then what is left."""
    bands, dimensions = [], x.ndim - 2
    while len(bands) < BANDS and min(x.shape[2:]) // 2 >= SMALLEST[dimensions]:
        half = halved(x)
        mode = "bilinear" if dimensions == 2 else "trilinear"
        bands.append(x - F.interpolate(half, size=x.shape[2:], mode=mode, align_corners=False))
        x = half
    return [*bands, x]


def patches(band: Tensor, generator: torch.Generator) -> Tensor:
    """64 random patches of each picture (N, C, *spatial), one row per patch."""
    n, window = len(band), WINDOW[band.ndim - 2]
    corners = [
        torch.randint(0, side - window + 1, (n, PATCHES), generator=generator)
        for side in band.shape[2:]
    ]
    windows = band.movedim(1, -1)
    for axis in range(1, band.ndim - 1):
        windows = windows.unfold(axis, window, 1)
    return windows[(torch.arange(n)[:, None], *corners)].reshape(n * PATCHES, -1)


def sliced_wasserstein(a: Tensor, b: Tensor) -> float:
    """Mean over bands and random directions, x1e3."""
    generator = torch.Generator().manual_seed(0)
    distances = []
    for band_a, band_b in zip(pyramid(a), pyramid(b), strict=True):
        p, q = patches(band_a, generator), patches(band_b, generator)
        n = min(len(p), len(q))
        p, q = (x[torch.randperm(len(x), generator=generator)[:n]] for x in (p, q))
        both = torch.cat([p, q])
        p, q = ((x - both.mean(0)) / (both.std(0) + 1e-6) for x in (p, q))
        directions = F.normalize(torch.randn(p.shape[1], SLICES, generator=generator), dim=0)
        distances.append(
            (torch.sort(p @ directions, 0)[0] - torch.sort(q @ directions, 0)[0]).abs().mean()
        )
    return float(torch.stack(distances).mean()) * 1e3


def log_kurtosis(x: Tensor) -> Tensor:
    """Mean over pictures of the log kurtosis of each band but the last."""
    found = []
    for band in pyramid(x)[:-1]:
        flat = band.flatten(1)
        flat = flat - flat.mean(1, keepdim=True)
        found.append(
            torch.log(flat.pow(4).mean(1) / (flat.pow(2).mean(1).square() + 1e-12) + 1e-6).mean()
        )
    return torch.stack(found)
