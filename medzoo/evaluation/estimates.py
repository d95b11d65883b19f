"""Figures with their uncertainty: the bootstrap, by patient where patients are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating[Any]]
Rows = NDArray[np.int64]
Patients = NDArray[Any] | None
DRAWS = 200
COVERED = 0.95
FEW = 50  # draws below which the interval is that of a normal distribution
ROUNDING = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A figure and the same figure of bootstrap draws.

    Parameters
    ----------
    value : float
        The figure.
    draws : numpy.ndarray
        The figure of each draw; empty if nothing was drawn.
    note : str, optional
        What a reader must know about it.
    of : int, optional
        The number of pictures, or of patients, of which the figure is a share; 0 for other figures.
    """

    value: float
    draws: Values
    note: str = ""
    of: int = 0

    @classmethod
    def unknown(cls, why: str = "") -> Estimate:
        """A figure that cannot be measured."""
        return cls(float("nan"), np.array([]), why)

    def interval(self, lowest: float | None = None, highest: float | None = None) -> Interval:
        """The interval that covers the figure with 95 %, inside the bounds of the metric.

        The draws are shifted so that their mean is the figure. A draw repeats rows, which moves
        distances and shares of neighbours to one side; only the spread of the draws is used.
        """
        draws = self.draws[np.isfinite(self.draws)]  # a draw may lack a class, or all masks
        if len(draws) < max(2, len(self.draws) / 2) or not np.isfinite(self.value):
            return float("nan"), float("nan")
        if len(draws) < FEW:
            half = 1.96 * float(np.std(draws, ddof=1))
            low, high = self.value - half, self.value + half
        else:
            tails = [(1 - COVERED) / 2, (1 + COVERED) / 2]
            low, high = self.value + np.quantile(draws - draws.mean(), tails)
        low = max(low, lowest) if lowest is not None else low
        high = min(high, highest) if highest is not None else high
        if self.of and high - low < ROUNDING:  # no draw differs, but the next sample may
            if 0 < self.value < 1:  # patients with one and the same share
                return float("nan"), float("nan")
            reach = 1 - ((1 - COVERED) / 2) ** (1 / self.of)
            low, high = (0.0, reach) if self.value == 0 else (1 - reach, 1.0)
        return float(min(low, self.value)), float(max(high, self.value))


Interval = tuple[float, float]


def row_draws(n: int, patients: Patients, rng: np.random.Generator, draws: int) -> Iterator[Rows]:
    """Rows of bootstrap draws: whole patients if they are known, else single rows."""
    if patients is None:
        for _ in range(draws):
            yield rng.integers(0, n, n)
        return
    names, codes = np.unique(patients, return_inverse=True)
    members = [np.flatnonzero(codes == code) for code in range(len(names))]
    for _ in range(draws):
        chosen = rng.integers(0, len(members), len(members))
        yield np.concatenate([members[code] for code in chosen])


def of_mean(
    values: Values,
    patients: Patients = None,
    *,
    seed: int = 0,
    draws: int = DRAWS,
    note: str = "",
) -> Estimate:
    """The mean of values (N,), such as a share of pictures."""
    values = np.asarray(values, np.float64)
    rng = np.random.default_rng(seed)
    means = [values[rows].mean() for rows in row_draws(len(values), patients, rng, draws)]
    is_share = bool(np.isin(values, (0, 1)).all())
    count = len(values) if patients is None else len(np.unique(patients))
    share_of = count if is_share else 0
    return Estimate(float(values.mean()), np.array(means), note, share_of)


def of_rows(
    function: Callable[[Rows, Rows], float],
    sizes: tuple[int, int],
    patients: tuple[Patients, Patients] = (None, None),
    *,
    value: float | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Estimate:
    """A figure of two sets; ``function`` gets the rows of each."""
    rng = np.random.default_rng(seed)
    if value is None:
        value = function(np.arange(sizes[0]), np.arange(sizes[1]))
    first = row_draws(sizes[0], patients[0], rng, draws)
    second = row_draws(sizes[1], patients[1], rng, draws)
    pairs = zip(first, second, strict=True)
    return Estimate(value, np.array([function(a, b) for a, b in pairs]))
