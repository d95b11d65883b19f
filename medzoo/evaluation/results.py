"""What an evaluation found: figures with their floor and interval, as text, JSON and HTML."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import prose, table, terminal_width
from ..errors import GateError, InputError
from .figures import Figure, cells, html_table, plain, remarks
from .gate import Condition, parsed
from .metrics import METRICS

if TYPE_CHECKING:
    import os

    from .report import Pictures
    from .utility import Utility


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
        head = ["metric", "figure", "95 %", "real data", "best is"]
        groups = list(dict.fromkeys(figure.by for figure in self.figures))
        blocks = []
        for group in groups:
            figures = [figure for figure in self.figures if figure.by == group]
            rows = [cells(figure) for figure in figures]
            lines = [group] if group else []
            lines.append(table(head, rows, width=terminal_width()))
            for remark in remarks(figures):
                lines += prose(remark)
            blocks.append("\n".join(lines))
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
        from .report import document

        text = document(f"{self.name} against real data", self.to_html_part())
        if path is not None:
            Path(path).expanduser().write_text(text, encoding="utf-8")
        return text

    def to_html_part(self) -> str:
        """The elements of the report, which is also a part of the report of a comparison."""
        from .report import content

        return content(
            name=self.name,
            headline=self.headline,
            figures=self.figures,
            notes=self.notes,
            facts=self.facts,
            pictures=self.pictures,
            utility=self.utility.to_html() if self.utility else "",
        )

    def _repr_html_(self) -> str:
        """The table for notebooks."""
        return f"<p>{html.escape(self.headline)}</p>{html_table(self.figures)}"
