"""Several sets against the same real data, in one table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.html import text_table
from ..console import prose, table, terminal_width
from .figures import Figure, number, plain
from .results import Evaluation

if TYPE_CHECKING:
    import os


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
        """The head, and one row per metric: its figure of real data, then of each set.

        Real data have one figure per set where it depends on the size of the set.
        """
        names = [evaluation.name for evaluation in self.evaluations]
        head = ["metric", "real data", *names, "best is"]
        rows = []
        for metric, group in self._measured():
            figures = [_figure(evaluation, metric, group) for evaluation in self.evaluations]
            known = next(figure for figure in figures if figure is not None)
            values = ["-" if f is None else number(f.value) for f in figures]
            floors = ["-" if f is None else number(f.floor) for f in figures]
            if len({*floors} - {"-"}) < 2:
                floors = [number(known.floor)]
            name = f"{metric} ({group})" if group else metric
            rows.append([name, " / ".join(floors), *values, known.better])
        return head, rows

    def _measured(self) -> list[tuple[str, str]]:
        """Each metric and group that any set has; all samples first."""
        keys: dict[tuple[str, str], None] = {}
        for evaluation in self.evaluations:
            for figure in evaluation.figures:
                keys[figure.metric, figure.by] = None
        groups = list(dict.fromkeys(group for _, group in keys))
        return sorted(keys, key=lambda key: groups.index(key[1]))

    def utility_cells(self) -> tuple[list[str], list[list[str]]]:
        """The head, and one row per way to train: its mean score for each set."""
        utilities = [e.utility for e in self.evaluations if e.utility]
        if not utilities:
            return [], []
        names = [evaluation.name for evaluation in self.evaluations if evaluation.utility]
        rows = []
        scores = list(dict.fromkeys(utility.score for utility in utilities))  # one per task
        for score in scores:
            own = [utility if utility.score == score else None for utility in utilities]
            for row, arm in enumerate(next(filter(None, own)).arms):
                cases = "all" if arm.share == 1 else f"{arm.share:.0%}"
                means = ["-" if u is None else f"{u.arms[row].mean:.3f}" for u in own]
                name = arm.name if len(scores) == 1 else f"{arm.name} ({score})"
                rows.append([name, cases, *means])
        return [f"{' or '.join(scores)}, trained on", "cases", *names], rows

    @property
    def table(self) -> str:
        """One row per metric, one column per set."""
        return table(*self.cells(), width=terminal_width())

    def __str__(self) -> str:
        lines = [self.table]
        if utility := self._utility_table():
            lines += ["", utility]
        notes: dict[str, None] = {}
        for evaluation in self.evaluations:
            notes.update(dict.fromkeys(evaluation.notes))
        for note in notes:
            lines += ["", *prose(f"note: {note}")]
        return "\n".join(lines)

    __repr__ = __str__

    def _utility_table(self) -> str:
        head, rows = self.utility_cells()
        return table(head, rows, width=terminal_width()) if rows else ""

    def _repr_html_(self) -> str:
        """The tables for notebooks."""
        tables = [text_table(*self.cells())]
        head, rows = self.utility_cells()
        return "".join([*tables, text_table(head, rows)] if rows else tables)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """A report in one file: the table of all sets, then the report of each.

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
        >>> one, two, real, others = (medzoo.generate(109, 20, seed=s) for s in range(4))
        >>> found = medzoo.compare([one, two], real, held_out=others, metrics=["recall"])
        >>> found.to_html("comparison.html")[:15]
        '<!DOCTYPE html>'
        """
        from .report import document

        parts = ["<h1>Against the same real data</h1>", self._repr_html_()]
        parts += [evaluation.to_html_part() for evaluation in self.evaluations]
        text = document("Comparison against real data", "".join(parts))
        if path is not None:
            Path(path).expanduser().write_text(text, encoding="utf-8")
        return text

    def to_json(self) -> str:
        """All figures as JSON.

        Returns
        -------
        str
            A JSON list with one object per set, as `Evaluation.to_json` gives them.
        """
        content: list[Any] = [evaluation.content() for evaluation in self.evaluations]
        return json.dumps(plain(content), indent=2, ensure_ascii=False, default=str)


def _figure(evaluation: Evaluation, metric: str, group: str) -> Figure | None:
    for figure in evaluation.figures:
        if (figure.metric, figure.by) == (metric, group):
            return figure
    return None
