"""Distances between sets of points: Frechet, kernel, and nearest neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NEIGHBOURS = 5
CHUNK = 1024  # rows of a matrix of distances that is not kept


def frechet(a: Tensor, b: Tensor) -> float:
    """Frechet distance between two Gaussians fitted to points (N, d); never below 0."""
    if min(len(a), len(b)) < a.shape[1]:
        return _frechet_of_few(a, b)
    a, b = a.double(), b.double()  # in single precision small distances are lost in large spreads
    one, other = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(one)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    roots = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum()
    means = (a.mean(0) - b.mean(0)).square().sum()
    return max(0.0, float(means + one.trace() + other.trace() - 2 * roots))


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


def between(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance of each pair of rows; exactly 0 for equal rows.

    By differences: products of rows lose the digits of points that lie far from 0.
    """
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def radii(support: Tensor) -> Tensor:
    """Distance of each point to its fifth nearest neighbour in the same set, (N,)."""
    count = min(NEIGHBOURS, len(support) - 1)
    return between(support, support).topk(count + 1, largest=False)[0][:, -1]


def is_within(points: Tensor, support: Tensor) -> Tensor:
    """Which points lie in a ball around a point of the support that reaches its fifth neighbour."""
    return (between(points, support) <= radii(support)[None]).any(1)


def within(points: Tensor, support: Tensor) -> float:
    """The share of points for which `is_within` holds."""
    return float(is_within(points, support).float().mean())


def nearest(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the nearest of ``others``, and its number, for each point."""
    distances, numbers = [], []
    for part in torch.split(points, CHUNK):
        smallest = between(part, others).min(1)
        distances.append(smallest[0])
        numbers.append(smallest[1])
    return torch.cat(distances), torch.cat(numbers)


def nearest_other(points: Tensor, patients: NDArray[Any] | None = None) -> Tensor:
    """Distance of each point to the nearest other point of the same set, and of another patient."""
    matrix = between(points, points)
    matrix.fill_diagonal_(torch.inf)
    if patients is not None:
        codes = torch.from_numpy(np.unique(patients, return_inverse=True)[1])
        matrix[codes[:, None] == codes[None]] = torch.inf
    return matrix.min(1)[0]
