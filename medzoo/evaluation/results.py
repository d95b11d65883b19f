"""What an evaluation found: figures with their floor and interval, as text, JSON and HTML."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import prose, table, terminal_width
from ..errors import GateError, InputError
from .gate import Condition, parsed
from .metrics import METRICS

if TYPE_CHECKING:
    import os

    from .report import Pictures
    from .utility import Utility

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


@dataclass(frozen=True, repr=False)
class Evaluation:
    """A set of samples judged against real data.

    `medzoo.evaluate` returns it. ``evaluation["fd"]`` is one figure.

    Parameters
    ----------
    name : str
        What was judged.
    figures : Sequence[Figure]
        All figures; those of groups follow those of all samples.
    notes : Sequence[str]
        Warnings and decisions, as they were printed.
    facts : Mapping[str, Any]
        Sides, sizes, settings and the provenance of the samples.
    pictures : Pictures, optional
        What the report shows.
    utility : Utility, optional
        Whether the samples help to train, if that was asked for.

    Examples
    --------
    >>> real = medzoo.generate(109, 60, seed=1)
    >>> found = medzoo.evaluate(medzoo.generate(109, 40), real, metrics=["fd", "recall"])
    >>> found["recall"].value > 0.5
    True
    """

    name: str
    figures: Sequence[Figure]
    notes: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    pictures: Pictures | None = None
    utility: Utility | None = None

    def __getitem__(self, metric: str) -> Figure:
        for figure in self.figures:
            if figure.metric == metric and not figure.by:
                return figure
        names = [figure.metric for figure in self.figures if not figure.by]
        raise KeyError(f"{metric!r} was not measured, only {', '.join(names)}")

    @property
    def table(self) -> str:
        """The figures as a table of text."""
        head = ["metric", "figure", "95 %", "real data", "", "note"]
        groups = list(dict.fromkeys(figure.by for figure in self.figures))
        blocks = []
        for group in groups:
            figures = [figure for figure in self.figures if figure.by == group]
            rows = [_cells(figure) for figure in figures]
            lines = table(head, rows, width=terminal_width())
            blocks.append(f"{group}\n{lines}" if group else lines)
        return "\n\n".join(blocks)

    def __str__(self) -> str:
        lines = [*prose(self.headline), "", self.table]
        for note in self.notes:
            lines += ["", *prose(f"note: {note}")]
        if self.utility:
            lines += ["", str(self.utility)]
        return "\n".join(lines)

    __repr__ = __str__

    @property
    def headline(self) -> str:
        """What was compared, in one sentence."""
        sizes = self.facts.get("sizes", {})
        return (
            f"{self.name}: {sizes.get('synthetic', '?')} samples against "
            f"{sizes.get('real', '?')} real ones and {sizes.get('held_out', '?')} held out."
        )

    def gate(self, conditions: str) -> list[Condition]:
        """Check figures against bounds such as ``"fd<=50, copy<=0.01"``.

        Parameters
        ----------
        conditions : str
            Metric, ``<=``, ``<``, ``>=`` or ``>``, and a number; separated by commas. The number
            may be relative to the floor: ``fd<=1.5*floor``.

        Returns
        -------
        list of Condition
            Each condition with its figure and whether it is met.

        Raises
        ------
        InputError
            A condition cannot be read, or names a metric that was not measured.

        Examples
        --------
        >>> real = medzoo.generate(109, 60, seed=1)
        >>> found = medzoo.evaluate(medzoo.generate(109, 40), real, metrics=["recall"])
        >>> [condition.met for condition in found.gate("recall>=0.5")]
        [True]
        """
        known = dict.fromkeys([*METRICS, *(figure.metric for figure in self.figures)])
        checked = []
        for condition in parsed(conditions, known):
            try:
                figure = self[condition.metric]
            except KeyError as error:
                raise InputError(f"gate: {error.args[0]}.", "Add it to `metrics`.") from None
            checked.append(condition.checked(figure.value, figure.floor))
        return checked

    def require(self, conditions: str) -> None:
        """Raise GateError unless all conditions are met.

        Parameters
        ----------
        conditions : str
            As for `gate`.

        Raises
        ------
        GateError
            A figure does not meet its condition, or could not be measured.
        InputError
            As for `gate`.

        Examples
        --------
        >>> real = medzoo.generate(109, 60, seed=1)
        >>> found = medzoo.evaluate(medzoo.generate(109, 40), real, metrics=["recall"])
        >>> found.require("recall>=0.5")
        """
        missed = [condition for condition in self.gate(conditions) if not condition.met]
        if missed:
            texts = ", ".join(str(condition) for condition in missed)
            raise GateError(f"{self.name} does not pass the gate: {texts}.")

    def to_json(self) -> str:
        """All figures, notes and facts as JSON. Figures that were not measured are null.

        Returns
        -------
        str
            The text of a JSON object.

        Examples
        --------
        >>> real = medzoo.generate(109, 60, seed=1)
        >>> found = medzoo.evaluate(medzoo.generate(109, 40), real, metrics=["recall"])
        >>> found.to_json()[:1]
        '{'
        """
        return json.dumps(plain(self.content()), indent=2, ensure_ascii=False, default=str)

    def content(self) -> dict[str, Any]:
        """The same as plain values.

        Returns
        -------
        dict
            ``name``, ``figures``, ``notes``, ``facts`` and ``utility``.

        Examples
        --------
        >>> real = medzoo.generate(109, 60, seed=1)
        >>> found = medzoo.evaluate(medzoo.generate(109, 40), real, metrics=["recall"])
        >>> sorted(found.content())
        ['facts', 'figures', 'name', 'notes', 'utility']
        """
        figures = [asdict(figure) for figure in self.figures]
        return {
            "name": self.name,
            "figures": figures,
            "notes": list(self.notes),
            "facts": dict(self.facts),
            "utility": self.utility.content() if self.utility else None,
        }

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """A report in one file: figures, pictures side by side, nearest real pictures, histograms.

        It holds pictures of the real data: share it only where you may share those.

        Parameters
        ----------
        path : str or path-like, optional
            The file to write.

        Returns
        -------
        str
            The report.

        Examples
        --------
        >>> real = medzoo.generate(109, 60, seed=1)
        >>> found = medzoo.evaluate(medzoo.generate(109, 40), real, metrics=["recall"])
        >>> found.to_html("report.html")[:15]
        '<!DOCTYPE html>'
        """
        from .report import page

        text = page(self)
        if path is not None:
            Path(path).expanduser().write_text(text, encoding="utf-8")
        return text

    def _repr_html_(self) -> str:
        """The table for notebooks."""
        return f"<p>{html.escape(self.headline)}</p>{html_table(self.figures)}"


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
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def span(low: float, high: float) -> str:
    """An interval; empty if there is none."""
    return f"{number(low)} to {number(high)}" if math.isfinite(low) else ""


def _cells(figure: Figure) -> list[str]:
    return [
        figure.metric,
        number(figure.value),
        span(figure.low, figure.high),
        number(figure.floor),
        WORDS.get(figure.better, figure.better),
        figure.note,
    ]


def html_table(figures: Sequence[Figure]) -> str:
    """The figures as an HTML table."""
    head = ("", "metric", "figure", "95 %", "real data", "95 %", "unit", "", "note")
    rows = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
    for figure in figures:
        cells = [
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
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return f"<table>{''.join(rows)}</table>"
