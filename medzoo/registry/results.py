"""What a search found."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, overload

from ..config import ModelConfig
from ..console import table, terminal_width
from . import description
from .index import Index


class Found(Sequence[ModelConfig]):
    """Models, as a sequence of `ModelConfig` that prints as a table; a config is read when it is
    taken out.

    Parameters
    ----------
    index
        What is known of all models.
    numbers
        The models, in order.
    metric
        Name of a metric to show as a column.
    note
        What to say below the table; of an empty one, why nothing was found.

    Attributes
    ----------
    corrections
        Words that no model has -> the words that were searched for instead.
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
        below = "\n".join(filter(None, (self._count(), self.note)))
        return f"{table(*self._cells(), width=terminal_width())}\n\n{below}" if self else below

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """A table for notebooks."""

        def line(cells: Sequence[str], tag: str) -> str:
            return (
                "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
            )

        head, rows = self._cells()
        body = (
            f"<table>{line(head, 'th')}{''.join(line(r, 'td') for r in rows)}</table>"
            if self
            else ""
        )
        return body + "".join(
            f"<p>{html.escape(text)}</p>" for text in (self._count(), self.note) if text
        )

    def summaries(self) -> list[dict[str, Any]]:
        """The models for scripts; see `medzoo.description.summary`."""
        return self._index.summaries(self._numbers)

    def _cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        head, rows = description.without_empty_status(self._index.cells(self._numbers))
        if not self.metric:
            return head, rows
        id_, *others = head
        texts: dict[int, list[str]] = {}
        for f in self._index.figures(self.metric):
            texts.setdefault(f.number, []).append(
                f"{f.value:g} {f.dataset}" + f":{f.samples}" * bool(f.samples)
            )
        figures = (", ".join(texts.get(n, ["-"])) for n in self._numbers)
        return (id_, self.metric, *others), [
            (r[0], figure, *r[1:]) for r, figure in zip(rows, figures, strict=True)
        ]

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
