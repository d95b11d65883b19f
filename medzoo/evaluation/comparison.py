"""Several sets against the same real data, in one table."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..console import prose, table, terminal_width
from .figures import Figure, number, plain
from .results import Evaluation


@dataclass(frozen=True, repr=False)
class Comparison:
    """Several evaluations against the same real data. It prints as one table.

    Parameters
    ----------
    evaluations : Sequence[Evaluation]
        One per set, in the order in which they were named.
    """

    evaluations: Sequence[Evaluation]

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """The head, and one row per metric: its figure of real data, then of each set."""
        names = [evaluation.name for evaluation in self.evaluations]
        head = ["metric", "real data", *names, "best is"]
        rows = []
        for metric in self._metrics():
            figures = [_figure(evaluation, metric) for evaluation in self.evaluations]
            known = next(figure for figure in figures if figure is not None)
            values = ["-" if f is None else number(f.value) for f in figures]
            rows.append([metric, number(known.floor), *values, known.better])
        return head, rows

    def _metrics(self) -> list[str]:
        names: dict[str, None] = {}
        for evaluation in self.evaluations:
            names.update(dict.fromkeys(figure.metric for figure in evaluation.figures))
        return list(names)

    @property
    def table(self) -> str:
        """One row per metric, one column per set."""
        return table(*self.cells(), width=terminal_width())

    def __str__(self) -> str:
        lines = [self.table]
        notes: dict[str, None] = {}
        for evaluation in self.evaluations:
            notes.update(dict.fromkeys(evaluation.notes))
        for note in notes:
            lines += ["", *prose(f"note: {note}")]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table for notebooks."""
        head, rows = self.cells()
        lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
        for row in rows:
            lines.append("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>")
        return f"<table>{''.join(lines)}</table>"

    def to_json(self) -> str:
        """All figures as JSON.

        Returns
        -------
        str
            A JSON list with one object per set, as `Evaluation.to_json` gives them.
        """
        content: list[Any] = [evaluation.content() for evaluation in self.evaluations]
        return json.dumps(plain(content), indent=2, ensure_ascii=False, default=str)


def _figure(evaluation: Evaluation, metric: str) -> Figure | None:
    try:
        return evaluation[metric]
    except KeyError:
        return None
