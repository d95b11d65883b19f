"""A run's results for people: the table on the terminal, the plot, and docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .groups import Group
from .rows import Results, Row, number

NAME, FIGURE, BAR = 72, 16, 9  # columns of the terminal
PICTURE = "performance.png"
INK, FAINT, MET, MISSED = "#1f2933", "#9aa5b1", "#2f6f8f", "#d1495b"
NEAREST, FARTHEST = 0.02, 50.0  # of the bar, on the plot

PAGE = """\
# Performance

Written by `make docs` from `docs/performance/results.json`, which `python -m benchmarks --out docs/performance` wrote on one
machine in one run. `make bench` measures yours, and `make bench AGAINST=COMMIT` compares it with an older build, which it
makes from history.

{about}

Bars are those that medzoo is built to. Speed is a ratio to a plain torch loop of the same run, since seconds belong to a
machine. A figure is the median of its runs, and beside it stands what it comes from; single runs are in
[results.json](performance/results.json).

{missed}

![Each figure as a part of its bar](performance/{picture})

{tables}"""


def heading() -> str:
    """The first line of the terminal's table."""
    return columns("", "median", "bar", "")


def lines(rows: Sequence[Row]) -> str:
    """Rows on the terminal: of each the figure, and below it what it comes from, which the last of
    several alike says.
    """
    found = []
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        found.append(columns(row.name.replace("`", ""), figure(row), bar(row), row.verdict))
        if row.remark and not (following and following.remark == row.remark):
            found.append(f"    {row.remark}")
    return "\n".join(found)


def columns(name: str, median: str, bar: str, verdict: str) -> str:
    """A line of the terminal's table."""
    return f"{name:{NAME}} {median:>{FIGURE}} {bar:>{BAR}}  {verdict}".rstrip()


def figure(row: Row) -> str:
    """The median with its unit."""
    return "-" if row.figure is None else f"{number(row.figure)} {row.unit}"


def bar(row: Row) -> str:
    """The bar with its sense."""
    return "" if row.bar is None else f"{'>=' if row.at_least else '<='} {number(row.bar)}"


def machine(results: Results) -> str:
    """What the run was measured on, in a sentence or two."""
    m = results.machine
    text = (
        f"{m['cpu']}, {m['cores']} cores, {m['memory']}, {m['system']}, Python {m['python']}, "
        f"torch {m['torch']}, medzoo {m['medzoo']}{' at ' * bool(m['commit'])}{m['commit']}, "
        f"{m['date']}, {m['runs']} run{'s' * (m['runs'] != 1)}."
    )
    if m["busy"]:
        text += (
            f" The machine was busy when it began (load average {m['load']}): ratios hold as far "
            "as both sides were slowed alike, milliseconds do not."
        )
    if m["quick"]:
        text += " A quick run, which shows that everything works: its figures mean nothing."
    return text


def closing(results: Results) -> str:
    """How many bars are met, and which are not, by how much."""
    judged = [row for row in results.rows if row.bar is not None and row.runs]
    without = [row for row in results.rows if not row.runs]
    text = f"{len(judged) - len(results.missed)} of {len(judged)} bars are met"
    text += f"; {len(without)} rows have no figure." if without else "."
    misses = "".join(
        f"\n- {row.name}: {row.verdict.replace('MISSED', 'missed')}" for row in results.missed
    )
    return text + ("\n" + misses if misses else "")


def page(results: Results, groups: Mapping[str, Group]) -> str:
    """docs/performance.md."""
    tables = [
        f"## {group.title}\n\n{group.about}\n\n{table(results, name)}\n"
        for name, group in groups.items()
    ]
    return PAGE.format(
        about=machine(results), missed=closing(results), picture=PICTURE, tables="\n".join(tables)
    )


def table(results: Results, group: str) -> str:
    """The rows of a group in markdown."""
    lines = [("what", "median", "bar", "", "from"), ("---", "---:", "---:", "---", "---")]
    lines += [
        (r.name, figure(r), bar(r), r.verdict, r.remark) for r in results.rows if r.group == group
    ]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines
    )


def plot(results: Results, path: Path) -> None:
    """Each figure as a part of its bar, on a logarithmic axis: left of the line is better."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in results.rows if row.bar is not None and row.runs][::-1]
    drawing = Figure(
        figsize=(9, 0.8 + 0.32 * max(len(rows), 1)),
        dpi=110,
        facecolor="white",
        layout="constrained",
    )
    FigureCanvasAgg(drawing)
    axes = drawing.add_subplot()
    for y, row in enumerate(rows):
        color = MISSED if row.missed else MET
        runs = [part_of_bar(row, value) for value in row.runs]
        axes.plot(runs, [y] * len(runs), "|", color=color, alpha=0.5, markersize=9, clip_on=False)
        axes.plot(part_of_bar(row, row.figure), y, "o", color=color, markersize=6, clip_on=False)
        axes.annotate(
            figure(row),
            (FARTHEST, y),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
        )
    axes.axvline(1, color=FAINT, linewidth=1)
    axes.set(xscale="log", xlim=(NEAREST, FARTHEST), ylim=(-0.6, len(rows) - 0.4))
    axes.set_yticks(
        range(len(rows)), [row.name.replace("`", "") for row in rows], fontsize=8, color=INK
    )
    axes.set_xlabel("part of the bar: left of 1 it is met", fontsize=8, color=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    drawing.savefig(path)


def part_of_bar(row: Row, value: float | None) -> float:
    """A figure over an upper bar, a lower bar over a figure; within what is drawn."""
    assert row.bar is not None and value is not None  # noqa: PT018
    ratio = row.bar / value if row.at_least else value / row.bar
    return min(max(ratio, NEAREST), FARTHEST)
