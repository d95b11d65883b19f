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
        x = F.avg_pool2d(x, 2) if x.ndim == 4 else F.avg_pool3d(x, 2)
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

    A result with axes of space (N, C, *spatial) is averaged over them.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module.eval()

    def __call__(self, x: Tensor) -> Tensor:
        """Points (N, features) of pictures (N, C, *spatial)."""
        with torch.inference_mode():
            rows = [self._rows(part) for part in torch.split(x, BATCH)]
        return torch.cat(rows).float()

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
