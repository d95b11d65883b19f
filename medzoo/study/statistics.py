"""The statistics of a reader study. Tests compare each function with a published example.

scipy, statsmodels and scikit-learn come with the extra ``study`` and are imported when needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

LEVEL = 0.95  # of all intervals
NOTHING = math.nan


class Estimate(NamedTuple):
    """A figure and its interval; NaN where it cannot be computed."""

    value: float
    low: float = NOTHING
    high: float = NOTHING


def require_extra() -> None:
    """Raise InputError if a library is missing."""
    try:
        import scipy.stats  # noqa: F401
        import sklearn.metrics  # noqa: F401
        import statsmodels.stats.inter_rater  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"A report needs {error.name}.", "pip install 'medzoo[study]' installs it."
        ) from error


def proportion(successes: int, n: int) -> Estimate:
    """A share and its exact interval (Clopper & Pearson 1934)."""
    from scipy.stats import binomtest

    if n == 0:
        return Estimate(NOTHING)
    interval = binomtest(successes, n).proportion_ci(LEVEL, method="exact")
    return Estimate(successes / n, float(interval.low), float(interval.high))


def binomial_p(successes: int, n: int) -> float:
    """Probability of such a number of right answers, or a less likely one, by guessing."""
    from scipy.stats import binomtest

    return float(binomtest(successes, n, 0.5).pvalue) if n else NOTHING


def mean(values: Sequence[float]) -> Estimate:
    """The mean of readers, with the interval of Student's t; without one for fewer than two."""
    from scipy.stats import t

    numbers = np.array([value for value in values if not math.isnan(value)])
    if len(numbers) == 0:
        return Estimate(NOTHING)
    middle = float(numbers.mean())
    if len(numbers) < 2:
        return Estimate(middle)
    half = float(
        t.ppf((1 + LEVEL) / 2, len(numbers) - 1) * numbers.std(ddof=1) / len(numbers) ** 0.5
    )
    return Estimate(middle, middle - half, middle + half)


def t_test_p(values: Sequence[float], chance: float = 0.5) -> float:
    """Two-sided p of Student's t test of the readers' mean against chance; NaN without a spread."""
    from scipy.stats import ttest_1samp

    if len(values) < 2 or np.ptp(values) == 0:
        return NOTHING
    return float(ttest_1samp(values, chance).pvalue)


def rank_test_p(one: Sequence[float], other: Sequence[float]) -> float:
    """Two-sided p of the test of Mann and Whitney."""
    from scipy.stats import mannwhitneyu

    if not len(one) or not len(other):
        return NOTHING
    return float(mannwhitneyu(one, other).pvalue)


def auc(truth: Sequence[bool], ratings: Sequence[float]) -> float:
    """Area under the ROC curve; NaN if only one kind of picture was rated."""
    from sklearn.metrics import roc_auc_score

    if len(set(truth)) < 2:
        return NOTHING
    return float(roc_auc_score(truth, ratings))


def fleiss_kappa(calls: NDArray[Any]) -> float:
    """Agreement of readers (Fleiss 1971) on calls (items, readers); NaN if all calls are equal."""
    from statsmodels.stats.inter_rater import aggregate_raters

    return kappa_of_counts(aggregate_raters(calls)[0]) if calls.size else NOTHING


def kappa_of_counts(counts: NDArray[Any]) -> float:
    """Fleiss' kappa of counts (items, categories)."""
    from statsmodels.stats.inter_rater import fleiss_kappa as kappa

    if counts.shape[1] < 2 or (counts.sum(axis=0) > 0).sum() < 2 or counts.sum(axis=1).min() < 2:
        return NOTHING
    return float(kappa(counts, method="fleiss"))


class MeanSquares(NamedTuple):
    """Mean squares of ratings (targets, raters): rows, columns, the rest, and within rows."""

    rows: float
    columns: float
    rest: float
    within: float


def mean_squares(ratings: NDArray[np.float64]) -> MeanSquares:
    """The analysis of variance of ratings (targets, raters)."""
    n, k = ratings.shape
    centre = ratings.mean()
    by_row, by_column = ratings.mean(axis=1), ratings.mean(axis=0)
    rest = ratings - by_row[:, None] - by_column[None] + centre
    return MeanSquares(
        float(k * ((by_row - centre) ** 2).sum() / (n - 1)),
        float(n * ((by_column - centre) ** 2).sum() / (k - 1)),
        float((rest**2).sum() / ((n - 1) * (k - 1))),
        float(((ratings - by_row[:, None]) ** 2).sum() / (n * (k - 1))),
    )


def icc(ratings: NDArray[np.float64]) -> dict[str, float]:
    """The six intraclass correlations of Shrout & Fleiss (1979) of ratings (targets, raters)."""
    n, k = ratings.shape
    squares = mean_squares(ratings)
    rows, columns, rest, within = squares
    parts = {
        "ICC(1,1)": (rows - within, rows + (k - 1) * within),
        "ICC(2,1)": (rows - rest, rows + (k - 1) * rest + k * (columns - rest) / n),
        "ICC(3,1)": (rows - rest, rows + (k - 1) * rest),
        "ICC(1,k)": (rows - within, rows),
        "ICC(2,k)": (rows - rest, rows + (columns - rest) / n),
        "ICC(3,k)": (rows - rest, rows),
    }
    return {name: a / b if b > 0 else NOTHING for name, (a, b) in parts.items()}


def agreement(ratings: NDArray[np.float64]) -> Estimate:
    """ICC(2,1), absolute agreement of single readers, with its interval (McGraw & Wong 1996)."""
    from scipy.stats import f

    if min(ratings.shape, default=0) < 2:
        return Estimate(NOTHING)
    n, k = ratings.shape
    rows, columns, rest, _ = mean_squares(ratings)
    value = icc(ratings)["ICC(2,1)"]
    if math.isnan(value) or rest == 0 or value >= 1:
        return Estimate(value)
    a = k * value / (n * (1 - value))
    b = 1 + k * value * (n - 1) / (n * (1 - value))
    spread = (a * columns) ** 2 / (k - 1) + (b * rest) ** 2 / ((n - 1) * (k - 1))
    freedom = (a * columns + b * rest) ** 2 / spread
    beyond = 1 - (1 - LEVEL) / 2
    upper, lower = f.ppf(beyond, n - 1, freedom), f.ppf(beyond, freedom, n - 1)
    others = k * columns + (k * n - k - n) * rest
    low = n * (rows - upper * rest) / (upper * others + n * rows)
    high = n * (lower * rows - rest) / (others + n * lower * rows)
    return Estimate(value, float(low), float(high))
