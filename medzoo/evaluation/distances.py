"""Distances between sets of points: Frechet, kernel, and nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = 5
CHUNK = 1024  # rows of a matrix of distances that is not kept


def frechet(a: Tensor, b: Tensor) -> float:
    """Frechet distance between two Gaussians fitted to points (N, d); never below 0."""
    if min(len(a), len(b)) < a.shape[1]:
        return _frechet_of_few(a, b)
    covariances = torch.cov(a.T), torch.cov(b.T)
    eigenvalues = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.clamp(min=0)
    means = (a.mean(0) - b.mean(0)).square().sum()
    distance = (
        means + covariances[0].trace() + covariances[1].trace() - 2 * eigenvalues.sqrt().sum()
    )
    return max(0.0, float(distance))


def _frechet_of_few(a: Tensor, b: Tensor) -> float:
    """The same for fewer points than dimensions, without matrices of (d, d).

    The root of the product of the covariances has the singular values of the matrix of all products
    of centred points.
    """
    x, y = a.double() - a.double().mean(0), b.double() - b.double().mean(0)
    x, y = x / (len(x) - 1) ** 0.5, y / (len(y) - 1) ** 0.5
    means = (a.double().mean(0) - b.double().mean(0)).square().sum()
    roots = torch.linalg.svdvals(x @ y.T).sum()
    return max(0.0, float(means + x.square().sum() + y.square().sum() - 2 * roots))


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
