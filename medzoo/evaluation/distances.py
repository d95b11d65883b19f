"""Distances between sets of points: Frechet, kernel, and nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = 5
CHUNK = 1024  # rows of a matrix of distances that is not kept


def frechet(a: Tensor, b: Tensor) -> float:
    """Frechet distance between two Gaussians fitted to points (N, d); never below 0."""
    covariances = torch.cov(a.T), torch.cov(b.T)
    eigenvalues = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.clamp(min=0)
    means = (a.mean(0) - b.mean(0)).square().sum()
    distance = (
        means + covariances[0].trace() + covariances[1].trace() - 2 * eigenvalues.sqrt().sum()
    )
    return max(0.0, float(distance))


def polynomial_kernel(a: Tensor, b: Tensor) -> Tensor:
    """``(a . b / d + 1) ** 3`` of each pair of rows."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Squared maximum mean discrepancy of points (N, d) for the polynomial kernel, unbiased."""
    n, m = len(a), len(b)
    aa, bb = polynomial_kernel(a, a), polynomial_kernel(b, b)
    within_a = (aa.sum() - aa.trace()) / (n * (n - 1))
    within_b = (bb.sum() - bb.trace()) / (m * (m - 1))
    return float(within_a + within_b - 2 * polynomial_kernel(a, b).mean())


def radii(support: Tensor) -> Tensor:
    """Distance of each point to its fifth nearest neighbour in the same set, (N,)."""
    count = min(NEIGHBOURS, len(support) - 1)
    return torch.cdist(support, support).topk(count + 1, largest=False)[0][:, -1]


def is_within(points: Tensor, support: Tensor) -> Tensor:
    """Which points lie in a ball around a point of the support that reaches its fifth neighbour."""
    return (torch.cdist(points, support) <= radii(support)[None]).any(1)


def within(points: Tensor, support: Tensor) -> float:
    """The share of points for which `is_within` holds."""
    return float(is_within(points, support).float().mean())


def nearest(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the nearest of ``others``, and its number, for each point."""
    distances, numbers = [], []
    for part in torch.split(points, CHUNK):
        smallest = torch.cdist(part, others).min(1)
        distances.append(smallest[0])
        numbers.append(smallest[1])
    return torch.cat(distances), torch.cat(numbers)


def nearest_other(points: Tensor) -> Tensor:
    """Distance of each point to the nearest other point of the same set."""
    matrix = torch.cdist(points, points)
    matrix.fill_diagonal_(float("inf"))
    return matrix.min(1)[0]
