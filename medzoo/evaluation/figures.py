"""One figure, and how figures are written: numbers, intervals, tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config.html import text_table

WORDS = {"lower": "lower is better", "higher": "higher is better", "floor": "the floor is best"}


@dataclass(frozen=True)
class Figure:
    """A figure of a set, beside the same figure of real data.

    Parameters
    ----------
    metric : str
        The name of the metric.
    title, group, unit, better : str
        What it is, and its direction: ``lower``, ``higher`` or ``floor``.
    value, low, high : float
        The figure and its 95 % interval; NaN if it could not be measured.
    floor, floor_low, floor_high : float
        The same for real data in place of the set.
    by : str
        The group that it was measured on; empty for all samples.
    n, n_real, n_held_out : int
        The number of samples of each side.
    note : str
        What a reader must know.
    """

    metric: str
    title: str
    group: str
    unit: str
    better: str
    value: float
    low: float
    high: float
    floor: float
    floor_low: float
    floor_high: float
    by: str
    n: int
    n_real: int
    n_held_out: int
    note: str = ""


def plain(value: Any) -> Any:
    """Plain values in which NaN and infinity are None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def number(value: float) -> str:
    """A figure with three digits; a dash if there is none."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def span(low: float, high: float) -> str:
    """An interval; empty if there is none."""
    return f"{number(low)} to {number(high)}" if math.isfinite(low) else ""


def cells(figure: Figure) -> list[str]:
    """The texts of a figure in a row of the table."""
    return [
        figure.metric,
        number(figure.value),
        span(figure.low, figure.high),
        number(figure.floor),
        figure.better,
    ]


def remarks(figures: Sequence[Figure]) -> list[str]:
    """What a reader must know of figures, each remark once, with the figures that it is about."""
    about: dict[str, list[str]] = {}
    for figure in figures:
        for note in filter(None, figure.note.split("; ")):
            about.setdefault(note, []).append(figure.metric)
    return [f"{', '.join(names)}: {note}" for note, names in about.items()]


def html_table(figures: Sequence[Figure]) -> str:
    """The figures as an HTML table."""
    head = ("", "metric", "figure", "95 %", "real data", "95 %", "unit", "", "note")
    rows = []
    for figure in figures:
        rows.append(
            [
                figure.by or figure.group,
                f"{figure.title} ({figure.metric})",
                number(figure.value),
                span(figure.low, figure.high),
                number(figure.floor),
                span(figure.floor_low, figure.floor_high),
                figure.unit,
                WORDS.get(figure.better, figure.better),
                figure.note,
            ]
        )
    return text_table(head, rows)
