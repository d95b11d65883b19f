"""The result of a search."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, overload

from ..config import ModelConfig
from ..config.html import block
from ..console import cells, table, terminal_width, wrap
from . import card, description
from .entries import Figure
from .index import Index


class Found(Sequence[ModelConfig]):
    """The models that a search found: a sequence of `ModelConfig` that prints as a table.

    A config is read only when it is taken out of the sequence.

    Parameters
    ----------
    index : Index
        The index over all models.
    numbers : sequence of int
        The numbers of the models, in order.
    metric : str, optional
        The name of a metric to show as a column.
    note : str, optional
        A text below the table. If no model was found, it says why.

    Attributes
    ----------
    corrections : dict of str to str
        Words that no model has, and the words that were searched for instead.
    """

    def __init__(
        self, index: Index, numbers: Sequence[int], *, metric: str = "", note: str = ""
    ) -> None:
        self._index, self._numbers, self.metric, self.note = index, tuple(numbers), metric, note
        self.corrections: Mapping[str, str] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> ModelConfig: ...
    @overload
    def __getitem__(self, index: slice) -> Found: ...
    def __getitem__(self, index: int | slice) -> ModelConfig | Found:
        if isinstance(index, slice):
            part = Found(self._index, self._numbers[index], metric=self.metric, note=self.note)
            part.corrections = self.corrections
            return part
        return self._index.models.find(self._numbers[index])

    def __str__(self) -> str:
        width = terminal_width()
        lines = [self._count(), *self.note.splitlines()]
        if width is not None:
            lines = [part for line in lines for part in wrap(line, width)]
        below = "\n".join(lines)
        if not self:
            return below
        head, rows = self._cells()
        full = table(head, rows)
        if width is None or max(map(cells, full.splitlines())) <= width:
            return f"{full}\n\n{below}"
        rows, legend = description.with_short_notes(rows)
        return "\n".join((table(head, rows, width, description.SPARE), "", *legend, below))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        parts = []
        if self:
            parts.append(card.table(*self._cells(), list(map(card.thumbnail, self))))
        parts.append(f"<p>{html.escape(self._count())}</p>")
        if self.note:
            parts.append(f"<p>{html.escape(self.note)}</p>")
        return block(*parts)

    def summaries(self) -> list[dict[str, Any]]:
        """The models as JSON, as ``medzoo search --json`` prints them."""
        return self._index.summaries(self._numbers)

    def _cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The head and the rows of the table; a metric becomes the second column."""
        head, rows = description.without_empty_status(self._index.cells(self._numbers))
        if not self.metric:
            return head, rows
        figures: dict[int, list[str]] = {}
        for figure in self._index.figures(self.metric):
            figures.setdefault(figure.number, []).append(_figure_text(figure))
        with_figures = []
        for number, texts in zip(self._numbers, rows, strict=True):
            text = ", ".join(figures.get(number, ["-"]))
            with_figures.append((texts[0], text, *texts[1:]))
        return (head[0], self.metric, *head[1:]), with_figures

    def _count(self) -> str:
        if not self:
            return "No model found."
        bundled = len(self._index.where("bundled", bool) & {*self._numbers})
        come = {0: "none comes", 1: "1 comes"}.get(bundled, f"{bundled} come")
        if bundled == len(self):
            come = "it comes" if bundled == 1 else "all come"
        return (
            f"{len(self)} model{'s' * (len(self) != 1)}; {come} with medzoo. `medzoo info ID` "
            "shows more."
        )


def _figure_text(figure: Figure) -> str:
    samples = f":{figure.samples}" if figure.samples else ""
    return f"{figure.value:g} {figure.dataset}{samples}"
