"""Pictures as points: principal components of the real pictures, or what a network sees in them.

Pictures are tensors (N, C, H, W) and volumes (N, C, D, H, W), with values in [-1, 1].
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from ..errors import InputError

Features: TypeAlias = Callable[[Tensor], Tensor]
COMPONENTS = 64
NUMBERS = 1 << 16  # values of a picture that are used; larger pictures are halved until they fit
BATCH = 64  # pictures that a module gets at a time


def flat(x: Tensor) -> Tensor:
    """One row per picture; large pictures are halved until a row has at most 65,536 numbers."""
    while x[0].numel() > NUMBERS:
        steps = [min(2, side) for side in x.shape[2:]]
        x = F.avg_pool2d(x, steps) if x.ndim == 4 else F.avg_pool3d(x, steps)
    return x.flatten(1)


class PrincipalComponents:
    """The first 64 principal components of real pictures. They need no pretrained network.

    Parameters
    ----------
    real : torch.Tensor
        The real pictures, (N, C, *spatial).
    """

    def __init__(self, real: Tensor) -> None:
        self.mean = flat(real).mean(0)
        rows = torch.linalg.svd(flat(real) - self.mean, full_matrices=False)[2]
        self.directions = rows[:COMPONENTS].T

    def __call__(self, x: Tensor) -> Tensor:
        """Points (N, up to 64) of pictures (N, C, *spatial)."""
        points: Tensor = (flat(x) - self.mean) @ self.directions
        return points


class ModuleFeatures:
    """What a module of torch returns for pictures in [-1, 1], one row per picture.

    A result with axes of space (N, C, *spatial) is averaged over them. The module is in evaluation
    mode meanwhile, and then in its own mode again.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, x: Tensor) -> Tensor:
        """Points (N, features) of pictures (N, C, *spatial)."""
        modes = {part: part.training for part in self.module.modules()}
        self.module.eval()
        try:
            with torch.inference_mode():
                rows = [self._rows(part) for part in torch.split(x, BATCH)]
        finally:
            for part, is_training in modes.items():
                part.training = is_training
        points = torch.cat(rows).float()
        bad = ~points.isfinite().all(1)
        if bad.any():
            raise InputError(
                f"The module of features returned NaN or infinite values for {int(bad.sum())} of "
                f"{len(x)} pictures.",
                "It gets pictures in [-1, 1].",
            )
        return points

    def _rows(self, part: Tensor) -> Tensor:
        result = self.module(part)
        if not isinstance(result, Tensor) or result.ndim < 2 or len(result) != len(part):
            raise InputError(
                f"The module of features returned {getattr(result, 'shape', type(result))} for "
                f"{len(part)} pictures.",
                "It must return one row of numbers per picture.",
            )
        return result.flatten(2).mean(2) if result.ndim > 2 else result


def mirrored(x: Tensor) -> list[Tensor]:
    """The pictures, and all their flips: 4 for pictures, 8 for volumes."""
    axes = range(2, x.ndim)
    flips = []
    for k in range(x.ndim - 1):
        flips += [x.flip(turn) for turn in itertools.combinations(axes, k)]
    return flips
