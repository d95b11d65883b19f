"""The rows of a benchmark: what is measured against which bar, what came of it, and how that is
written down.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = "results.json"


@dataclass(frozen=True)
class Size:
    """How much is measured: repetitions, samples a run, and model configs in a large registry."""

    runs: int = 3
    n: int = 500
    configs: int = 10_000
    quick: bool = False  # says whether everything runs; its figures mean nothing


@dataclass(frozen=True)
class Row:
    """A figure and its bar.

    Parameters
    ----------
    name
        What is measured.
    unit
        Of the figure and the bar; ``x`` where it is a ratio.
    bar
        What is to be reached; None where a figure is for information.
    at_least
        Whether the bar is a lower bound.
    group
        The measurements that it belongs to.
    runs
        The figure, run by run.
    sides
        What the figure is computed from, run by run, in ``sides_unit``.
    note
        What a reader has to know.
    skipped, failed
        Why there is no figure: nothing to measure it with, or an error.
    """

    name: str
    unit: str
    bar: float | None = None
    at_least: bool = False
    group: str = ""
    runs: Sequence[float] = ()
    sides: Mapping[str, Sequence[float]] = field(default_factory=dict)
    sides_unit: str = ""
    note: str = ""
    skipped: str = ""
    failed: str = ""

    @property
    def figure(self) -> float | None:
        """The median of the runs."""
        return median(self.runs) if self.runs else None

    @property
    def missed(self) -> float:
        """By how much the bar is missed; 0 where it is met, or there is none."""
        if self.figure is None or self.bar is None:
            return 0.0
        return max(0.0, self.bar - self.figure if self.at_least else self.figure - self.bar)

    @property
    def verdict(self) -> str:
        """``met``, ``MISSED by 3 ms (5 %)``, ``skipped``, ``FAILED``, or nothing where there is no
        bar.
        """
        if self.failed or self.skipped:
            return "FAILED" if self.failed else "skipped"
        if self.bar is None:
            return ""
        return (
            f"MISSED by {number(self.missed)} {self.unit} ({self.missed / self.bar:.0%})"
            if self.missed
            else "met"
        )

    @property
    def remark(self) -> str:
        """Why there is no figure, or what it comes from."""
        sides = [
            f"{name} {number(median(runs))} {self.sides_unit}".rstrip()
            for name, runs in self.sides.items()
        ]
        return self.failed or self.skipped or "; ".join(filter(None, [", ".join(sides), self.note]))


@dataclass(frozen=True)
class Found:
    """What a measurement found for one of its rows; see `Row`."""

    runs: Sequence[float] = ()
    sides: Mapping[str, Sequence[float]] = field(default_factory=dict)
    sides_unit: str = ""
    note: str = ""
    skipped: str = ""


class Skip(Exception):  # noqa: N818  (it is none)
    """A measurement has nothing to measure here; says why."""


@dataclass(frozen=True)
class Measurement:
    """Rows, and the function that fills them: one `Found` for each."""

    rows: tuple[Row, ...]
    function: Callable[[Size], Iterable[Found]]

    def run(self, size: Size) -> list[Row]:
        """The rows filled. What goes wrong is in them: an hour's other figures are not lost to it."""
        try:
            found = list(self.function(size))
            return [replace(row, **vars(f)) for row, f in zip(self.rows, found, strict=True)]
        except Skip as why:
            return self.without(skipped=str(why))
        except Exception as error:
            return self.without(failed=f"{type(error).__name__}: {error}")

    def without(self, **why: str) -> list[Row]:
        """The rows with no figure."""
        return [replace(row, **why) for row in self.rows]


def measures(*rows: Row) -> Callable[[Callable[[Size], Iterable[Found]]], Measurement]:
    """Decorate a function that measures these rows; their group is the module that defines it."""

    def decorate(function: Callable[[Size], Iterable[Found]]) -> Measurement:
        group = function.__module__.rpartition(".")[2]
        return Measurement(tuple(replace(row, group=group) for row in rows), function)

    return decorate


@dataclass(frozen=True)
class Results:
    """All rows of a run, and what it ran on."""

    machine: Mapping[str, Any]
    rows: Sequence[Row]

    @property
    def missed(self) -> list[Row]:
        """Rows whose bar is missed."""
        return [row for row in self.rows if row.missed]

    def write(self, path: Path) -> None:
        """As JSON, one line per row."""
        rows = [
            json.dumps({"figure": row.figure, "verdict": row.verdict, **asdict(row)})
            for row in self.rows
        ]
        lines = [
            '{"machine":',
            json.dumps(dict(self.machine)),
            ', "rows": [',
            ",\n".join(rows),
            "]}",
            "",
        ]
        path.write_text("\n".join(lines), encoding="utf-8", newline="\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """What `write` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        derived = ("figure", "verdict")
        rows = [
            Row(**{k: v for k, v in row.items() if k not in derived}) for row in content["rows"]
        ]
        return cls(content["machine"], rows)


def number(value: float) -> str:
    """Three digits of a number, and all of a large one."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
