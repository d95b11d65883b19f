"""Tables: distributions of columns, correlations, detection and copies of rows.

The mathematics is scipy's and scikit-learn's, which the extra ``evaluate`` installs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .classifiers import roc_auc
from .estimates import Estimate, Rows, of_mean, of_rows
from .metrics import metric
from .pairs import Pair, Part, scaled

Array = NDArray[np.float64]
FOLDS = 5
VALUES = 20  # a column of whole numbers with at most as many values is one of categories


def library(name: str) -> Any:
    """A module of scipy or scikit-learn.

    Raises
    ------
    InputError
        It is not installed.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise InputError(
            f"{name.partition('.')[0]} is needed for this figure.", "pip install medzoo[evaluate]"
        ) from None


def largest_gap(a: Array, b: Array) -> float:
    """Kolmogorov-Smirnov statistic: the largest gap between two cumulative distributions."""
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if not len(a) or not len(b):
        return float("nan")
    return float(library("scipy.stats").ks_2samp(a, b, method="asymp").statistic)


def _tables(pair: Pair) -> tuple[Array, Array]:
    a, b = pair.same.table, pair.held_out.table
    if a is None or b is None:
        raise InputError("Tables are needed for this figure.")
    return a, b


def is_category(*columns: Array) -> bool:
    """Whether a column holds few whole numbers."""
    values = np.concatenate([column[np.isfinite(column)] for column in columns])
    return bool((values == np.rint(values)).all()) and len(np.unique(values)) <= VALUES


def difference(a: Array, b: Array, *, are_categories: bool) -> float:
    """How far two columns differ: total variation of categories, largest gap of numbers."""
    if not are_categories:
        return largest_gap(a, b)
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if not len(a) or not len(b):
        return float("nan")
    values = np.unique(np.concatenate([a, b]))
    gaps = [abs((a == value).mean() - (b == value).mean()) for value in values]
    return float(sum(gaps) / 2)


@metric("marginals", "distributions of columns", "tables", needs="table", highest=1.0, enough=50)
def marginals(pair: Pair) -> Estimate:
    """Mean difference between the columns of the tables.

    Source: as KSComplement and TVComplement of SDMetrics, subtracted from 1: Kolmogorov-Smirnov
    statistic for numbers, total variation for at most 20 whole numbers. Lower is better; 0 is
    equal. Missing values are left out. Unit: share of rows. Below 50 rows per side chance alone
    gives 0.2.
    """
    a, b = _tables(pair)
    columns = range(a.shape[1])
    kinds = [is_category(a[:, k], b[:, k]) for k in columns]  # the same in each draw

    def of(rows: Rows, others: Rows) -> float:
        gaps = []
        for k in columns:
            gaps.append(difference(a[rows, k], b[others, k], are_categories=kinds[k]))
        known = np.isfinite(gaps)
        return float(np.mean(np.array(gaps)[known])) if known.any() else float("nan")

    return of_rows(of, (len(a), len(b)), (pair.same.patients, pair.held_out.patients), draws=60)


def rank_correlations(table: Array) -> Array:
    """Spearman's correlation of each pair of columns; 0 where a column is constant.

    Of two columns the rows count that have both values.
    """
    first, second = np.triu_indices(table.shape[1], 1)
    known = np.isfinite(table)
    if known.all():
        return _correlations(table)[first, second]
    values = []
    for one, other in zip(first, second, strict=True):
        pair = table[known[:, one] & known[:, other]][:, [one, other]]
        values.append(_correlations(pair)[0, 1] if len(pair) > 1 else 0.0)
    return np.array(values)


def _correlations(table: Array) -> Array:
    """Spearman's correlations of columns without missing values, (columns, columns)."""
    ranks = library("scipy.stats").rankdata(table, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix: Array = np.nan_to_num(np.atleast_2d(np.corrcoef(ranks, rowvar=False)))
    return matrix


@metric("correlations", "correlations of columns", "tables", needs="table", highest=2.0)
def correlations(pair: Pair) -> Estimate:
    """Mean absolute difference between the rank correlations of all pairs of columns.

    Source: as CorrelationSimilarity of SDMetrics, but not divided by two and subtracted from 1: a
    table whose columns were shuffled one by one then looks half good there, and gets the whole
    correlation here. Lower is better; 0 is equal, 2 is the most. Unit: difference of Spearman's
    coefficients. Below 100 rows per side chance alone gives more than 0.1. NaN
    for a single column.
    """
    a, b = _tables(pair)
    if a.shape[1] < 2:
        return Estimate.unknown("a single column has no correlations")

    def of(rows: Rows, others: Rows) -> float:
        return float(np.abs(rank_correlations(a[rows]) - rank_correlations(b[others])).mean())

    return of_rows(of, (len(a), len(b)), (pair.same.patients, pair.held_out.patients), draws=60)


@metric(
    "detection",
    "detection of synthetic rows",
    "tables",
    needs="table",
    better="floor",
    unit="AUC",
    highest=1.0,
    floor="halves",
)
def detection(pair: Pair) -> Estimate:
    """Cross-validated AUC of boosted trees that distinguish synthetic from real rows.

    Source: detection metrics of SDMetrics, with trees in place of its logistic regression, which
    sees no dependence between columns. 0.5 is best, 1 means that it knows each row. Computed by
    scikit-learn. Unit: area under the ROC curve. Below 100 rows per side it says little.
    """
    ensemble = library("sklearn.ensemble")
    selection = library("sklearn.model_selection")
    a, b = pair.same.table, pair.real.table
    if a is None or b is None:
        raise InputError("Tables are needed for this figure.")
    truth = np.repeat([1, 0], [len(a), len(b)])
    are_known = pair.same.patients is not None or pair.real.patients is not None
    groups = _groups(pair.same, pair.real)
    count = min(len(np.unique(groups[truth == side])) for side in (0, 1))
    if count < 2:
        return Estimate.unknown("all rows of a side are of one patient")
    model = ensemble.HistGradientBoostingClassifier(max_iter=50, random_state=pair.seed)
    way = selection.StratifiedGroupKFold if are_known else selection.StratifiedKFold
    shares = selection.cross_val_predict(
        model,
        np.concatenate([a, b]),
        truth,
        groups=groups if are_known else None,
        cv=way(min(FOLDS, count), shuffle=True, random_state=pair.seed),
        method="predict_proba",
    )[:, 1]

    def of(rows: Rows, others: Rows) -> float:
        chosen = np.concatenate([rows, len(a) + others])
        return roc_auc(truth[chosen] == 1, shares[chosen])

    return of_rows(of, (len(a), len(b)), (pair.same.patients, pair.real.patients))


def _groups(*parts: Part) -> NDArray[Any]:
    """A number for each patient of the parts, or for each row where patients are not known.

    A patient's rows stay in one fold: trees would recognise a row by another one of its patient.
    """
    numbers: list[NDArray[Any]] = []
    first = 0
    for part in parts:
        names = np.arange(part.n) if part.patients is None else part.patients
        codes = np.unique(names, return_inverse=True)[1]
        numbers.append(first + codes)
        first += int(codes.max()) + 1
    return np.concatenate(numbers)


@metric(
    "row_copy", "copied rows", "privacy", needs="table", floor="held_out", highest=1.0, enough=100
)
def row_copy(pair: Pair) -> Estimate:
    """Share of rows nearer to a real row than 1 % of held-out rows are.

    Source: distance to the closest record, with a threshold from rows that were not in the
    training, and that equal none of it. Lower is better; 0.01 is what new patients would give.
    Columns are scaled to the spread of the real ones. Unit: share of rows. Below 100 held-out rows
    the threshold is the nearest single one.
    """
    real, made, held = pair.real.table, pair.synthetic.table, pair.held_out.table
    if real is None or made is None or held is None:
        raise InputError("Tables are needed for this figure.")
    rows = scaled(real)
    tree = library("scipy.spatial").cKDTree(rows(real))
    apart = tree.query(rows(held))[0]
    new = apart[apart > 0]  # rows of few values occur twice by chance
    limit = np.quantile(new, 0.01) if len(new) else 0.0
    distances = tree.query(rows(made))[0]
    return of_mean((distances < limit) | (distances == 0), pair.synthetic.patients)
