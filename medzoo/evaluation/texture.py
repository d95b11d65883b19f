"""Texture: distributions of small patches, band by band of a Laplacian pyramid, and spectra.

Pictures are tensors (N, C, H, W) and volumes (N, C, D, H, W), with values in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# Side of a patch and of the coarsest band, by number of dimensions.
WINDOW, SMALLEST = {2: 7, 3: 5}, {2: 16, 3: 8}
BANDS, SLICES, PATCHES = 3, 256, 64
TONE = 1e-6  # spread of a band that is of one tone but for rounding


def halved(x: Tensor) -> Tensor:
    """Pictures or volumes of half the size."""
    return F.avg_pool2d(x, 2) if x.ndim == 4 else F.avg_pool3d(x, 2)


def pyramid(x: Tensor) -> list[Tensor]:
    """Up to three Laplacian bands of (N, C, *spatial), fine to coarse, then what is left."""
    bands: list[Tensor] = []
    dimensions = x.ndim - 2
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
    chosen = (torch.arange(n)[:, None], *corners)
    return windows[chosen].reshape(n * PATCHES, -1)


def sliced_wasserstein(a: Tensor, b: Tensor, *, seed: int = 0, slices: int = SLICES) -> float:
    """Sliced Wasserstein distance of patches: the mean over bands and random directions, x1e3."""
    generator = torch.Generator().manual_seed(seed)
    distances = []
    for band_a, band_b in zip(pyramid(a), pyramid(b), strict=True):
        p, q = patches(band_a, generator), patches(band_b, generator)
        n = min(len(p), len(q))
        p = p[torch.randperm(len(p), generator=generator)[:n]]
        q = q[torch.randperm(len(q), generator=generator)[:n]]
        both = torch.cat([p, q])
        p = (p - both.mean(0)) / (both.std(0) + 1e-6)
        q = (q - both.mean(0)) / (both.std(0) + 1e-6)
        directions = F.normalize(torch.randn(p.shape[1], slices, generator=generator), dim=0)
        along_p, along_q = torch.sort(p @ directions, 0)[0], torch.sort(q @ directions, 0)[0]
        distances.append((along_p - along_q).abs().mean())
    return float(torch.stack(distances).mean()) * 1e3


def log_kurtoses(x: Tensor) -> Tensor:
    """The log kurtosis of each band but the last, picture by picture: (bands, N)."""
    rows = []
    for band in pyramid(x)[:-1]:
        flat = band.flatten(1)
        flat = flat - flat.mean(1, keepdim=True)
        spread = flat.square().mean(1, keepdim=True).sqrt().clamp(min=TONE)
        kurtosis = (flat / spread).pow(4).mean(1)
        rows.append(torch.log(kurtosis + 1e-6))
    return torch.stack(rows) if rows else x.new_zeros((0, len(x)))


def log_kurtosis(x: Tensor) -> Tensor:
    """The mean over pictures of the log kurtosis of each band but the last: (bands,)."""
    return log_kurtoses(x).mean(1)


def log_spectra(x: Tensor) -> Tensor:
    """The power spectrum of each picture in decibels, averaged over directions: (N, frequencies).

    The mean of a picture, frequency 0, is left out. The last frequency is the Nyquist frequency of
    the shortest axis.
    """
    axes = tuple(range(2, x.ndim))
    power = torch.fft.fftn(x - x.mean(axes, keepdim=True), dim=axes).abs().square().mean(1)
    grids = torch.meshgrid(*(torch.fft.fftfreq(side) for side in x.shape[2:]), indexing="ij")
    radius = torch.stack(grids).square().sum(0).sqrt()
    count = min(x.shape[2:]) // 2
    ring = (radius * 2 * count).round().long().flatten()
    kept = (ring >= 1) & (ring <= count)
    sums = power.new_zeros((len(x), count))
    sums.index_add_(1, ring[kept] - 1, power.flatten(1)[:, kept])
    return 10 * torch.log10(sums / torch.bincount(ring[kept] - 1, minlength=count) + 1e-12)
