"""Curves of cost over size: how steep they are, how they are kept, and the table and plot of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .rows import number

KEPT, PICTURE = "growth.json", "growth.png"
BAR = 1.05  # exponent
CLEAR = 1.2  # times the cost at the smallest size: what grows less is noise
JUDGED = {"processor": "time", "mib": "memory"}
DECADES = 2  # over which the exponent is taken
INK, FAINT = "#1f2933", "#9aa5b1"
COLOURS = ("#2f6f8f", "#d1495b", "#e0a030", "#66a182", "#7d5ba6", "#4a4e69", "#b08968")
ACTORS = "Ray actors"  # the panel in which the same work is shared, and time falls
PIXELS, DPI = (880, 250), 100  # of a row of panels

SECTION = """
## How cost grows

Written from `docs/performance/growth.json`, which `python -m benchmarks.growth --out docs/performance` wrote, with
the plot. Each wait was measured at each size in its own process, on {machine}. {loads}

Two costs are judged: the time of the processors, of all threads and processes and with that of the system for files,
and the memory at the peak. *Seconds* are those on the clock; other work on the machine is in them.

A cost has a fixed part and a part that grows. The fixed part is the cost at the smallest size, and is subtracted.
The **exponent** is the slope of the rest on logarithmic axes, over the last two decades that were measured: 1 is
linear, 2 quadratic, and 0 does not grow. *Last step* is the slope of the last decade alone, where a bend shows first.
If no two sizes cost clearly more (20 %) than the smallest, the slope is that of the whole cost over all sizes.
The bar is an exponent of at most {bar}, that is linear or better.

{verdict}

![Seconds and memory over size, with a line for linear growth](performance/{picture})

{tables}
{beyond}"""


@dataclass(frozen=True)
class Point:
    """What one wait took at one size.

    Parameters
    ----------
    series, wait
        The wait, as in `waits.SERIES`.
    size
        How much there was.
    seconds, processor, mib
        Time on the clock, time of the processors, and the most memory, of its process and those
        that it started.
    took
        Seconds of its process as a whole, which also prepares.
    load, commit, date
        Load average when it began, and of which medzoo it is the cost, and when.
    """

    series: str
    wait: str
    size: int
    seconds: float
    processor: float
    mib: float
    took: float
    load: float
    commit: str
    date: str


@dataclass
class Growth:
    """All points, and what they were measured on."""

    machine: Mapping[str, Any]
    points: list[Point]
    beyond: list[str]  # sentences on sizes that were not measured

    def of(self, series: str, wait: str | None = None) -> list[Point]:
        """The points of a series or of one of its waits, by size."""
        found = [p for p in self.points if p.series == series and wait in {None, p.wait}]
        return sorted(found, key=lambda point: point.size)

    def write(self, path: Path) -> None:
        """As JSON, one line per point."""
        points = ",\n".join(json.dumps(asdict(point)) for point in self.points)
        head = f'{{"machine": {json.dumps(dict(self.machine))},\n"points": ['
        text = f'{head}\n{points}\n],\n"beyond": {json.dumps(self.beyond, indent=0)}}}\n'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")

    @classmethod
    def read(cls, path: Path) -> Growth:
        """What `write` wrote."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        return cls(kept["machine"], [Point(**point) for point in kept["points"]], kept["beyond"])


# --------------------------------------------------------------------------------------------------
# how steep
def exponent(sizes: Sequence[float], costs: Sequence[float], decades: float = DECADES) -> float:
    """The slope of a cost on logarithmic axes, without its fixed part; sizes ascend.

    See the text of `SECTION`.
    """
    (first, *sizes), (fixed, *costs) = sizes, costs
    rest = [(n - first, cost - fixed) for n, cost in zip(sizes, costs, strict=True)]
    clear = [pair for pair in rest if pair[1] >= (CLEAR - 1) * fixed]
    if len(clear) < 2 or clear[-1] != rest[-1]:
        return slope((first, fixed), (sizes[-1], costs[-1]))
    near = [pair for pair in clear[:-1] if math.log10(clear[-1][0] / pair[0]) < decades + 0.1]
    return slope(near[0], clear[-1])


def slope(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The exponent of cost between two pairs of size and cost."""
    return math.log(other[1] / one[1]) / math.log(other[0] / one[0])


def steepness(points: Sequence[Point], key: str) -> tuple[float, float]:
    """The exponents of a cost over the last decades, and over the last one."""
    sizes = [point.size for point in points]
    costs = [getattr(point, key) for point in points]
    return exponent(sizes, costs), exponent(sizes, costs, decades=1)


def verdict(points: Sequence[Point]) -> str:
    """Whether time and memory grow linearly or better; empty if there are too few points."""
    if len(points) < 2:
        return ""
    missed = []
    for key, what in JUDGED.items():
        steep, _ = steepness(points, key)
        if round(steep, 2) > BAR:
            missed.append(f"{what} by {steep - BAR:.2f}")
    return f"MISSED: {', '.join(missed)}" if missed else "met"


# --------------------------------------------------------------------------------------------------
# the table
HEAD = (
    *("", "at most", "seconds"),
    *("of the processors", "exponent", "last step"),
    *("MiB", "exponent", "last step", ""),
)


def cells(name: str, points: Sequence[Point], unit: str) -> tuple[str, ...]:
    """A row of the table; see `HEAD`."""
    top = points[-1]
    slopes = {}
    for key in JUDGED:
        steep = steepness(points, key) if len(points) > 1 else ()
        slopes[key] = [f"{value:.2f}" for value in steep] or ["", ""]
    return (
        name,
        f"{top.size:,} {unit}",
        number(top.seconds),
        number(top.processor),
        *slopes["processor"],
        number(top.mib),
        *slopes["mib"],
        verdict(points),
    )


def rows(growth: Growth, series: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """The title of a panel, and the cells, of each wait that was measured."""
    found = []
    for key, one in series.items():
        for wait in one.waits:
            if points := growth.of(key, wait.name):
                found.append((one.panel, cells(wait.name, points, one.unit)))
    return found


def terminal(growth: Growth, series: Mapping[str, Any]) -> str:
    """The table for a terminal."""
    widths = (34, 17, 9, 19, 9, 10, 8, 9, 10)
    lines, panel = [], ""
    for title, row in [("", HEAD), *rows(growth, series)]:
        if title != panel:
            lines += ["", title]
            panel = title
        fitted = [f"{row[0]:{widths[0]}}"]
        fitted += [f"{cell:>{width}}" for cell, width in zip(row[1:-1], widths[1:], strict=True)]
        lines.append("".join(fitted) + f"  {row[-1]}".rstrip())
    return "\n".join(lines)


def section(growth: Growth, series: Mapping[str, Any]) -> str:
    """The section of docs/performance.md."""
    tables, found = "", rows(growth, series)
    for panel in dict.fromkeys(title for title, _ in found):
        lines = [HEAD, ("---", *["---:"] * (len(HEAD) - 2), "---")]
        lines += [row for title, row in found if title == panel]
        text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        tables += f"### {panel}\n\n{text}\n\n"
    missed = [f"{row[0]} ({panel})" for panel, row in found if row[-1].startswith("MISSED")]
    judged = [row for _, row in found if row[-1]]
    text = f"{len(judged) - len(missed)} of {len(judged)} waits grow linearly or better"
    text += f"; not {', '.join(missed)}." if missed else "."
    loads = [point.load for point in growth.points]
    return SECTION.format(
        machine=f"{growth.machine['cpu']}, {growth.machine['cores']} cores, Python "
        f"{growth.machine['python']}, torch {growth.machine['torch']}",
        loads=f"The load average was {min(loads):.1f} to {max(loads):.1f} before each.",
        bar=BAR,
        verdict=text,
        picture=PICTURE,
        tables=tables.rstrip(),
        beyond="".join(f"\n- {sentence}" for sentence in growth.beyond),
    )


# --------------------------------------------------------------------------------------------------
# the plot
def plot(growth: Growth, series: Mapping[str, Any], path: Path) -> None:
    """One row of two panels for each thing that grows: seconds, and memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels: dict[str, dict[str, list[Point]]] = {}
    units = {}
    for key, one in series.items():
        for wait in one.waits:
            if points := growth.of(key, wait.name):
                panels.setdefault(one.panel, {})[wait.name] = points
                units[one.panel] = one.unit
    width, height = PIXELS
    drawing = Figure(
        figsize=(width / DPI, height * len(panels) / DPI),
        dpi=DPI,
        facecolor="white",
        layout="constrained",
    )
    FigureCanvasAgg(drawing)
    grid = drawing.subplots(len(panels), 2, squeeze=False)
    for (left, right), (panel, curves) in zip(grid, panels.items(), strict=True):
        time = "seconds" if panel == ACTORS else "processor"
        draw(left, curves, time, -1 if panel == ACTORS else 1)
        draw(right, curves, "mib", 1)
        left.set_title(panel, loc="left", fontsize=10, color=INK, fontweight="bold")
        label = "seconds" if panel == ACTORS else "seconds of the processors"
        left.set_ylabel(label, fontsize=8, color=INK)
        right.set_ylabel("memory, MiB", fontsize=8, color=INK)
        for axes in (left, right):
            axes.set_xlabel(units[panel], fontsize=8, color=INK)
        legend = right.legend(
            *left.get_legend_handles_labels(),
            loc="center left",
            bbox_to_anchor=(1.02, 0.5),
            fontsize=8,
            frameon=False,
        )
        legend.set_in_layout(True)
    drawing.savefig(path)


def draw(axes: Any, curves: Mapping[str, Sequence[Point]], key: str, steep: int) -> None:
    """The curves of a cost, and a dashed line of slope ``steep`` through the end of the highest."""
    from matplotlib.ticker import LogLocator, NullLocator

    cost: Callable[[Point], float] = lambda point: float(getattr(point, key))  # noqa: E731
    by_cost = sorted(curves.items(), key=lambda item: -cost(item[1][-1]))
    colours = dict(zip(curves, COLOURS, strict=False))
    for name, points in by_cost:
        sizes = [point.size for point in points]
        axes.plot(
            sizes,
            [cost(point) for point in points],
            "o-",
            color=colours[name],
            label=name,
            markersize=3.5,
            linewidth=1.4,
        )
    sizes = sorted({point.size for points in curves.values() for point in points})
    top = by_cost[0][1][-1] if steep > 0 else by_cost[0][1][0]
    line = [cost(top) * (size / top.size) ** steep for size in sizes]
    axes.plot(sizes, line, "--", color=FAINT, linewidth=1, label="linear", zorder=0)
    values = [cost(point) for points in curves.values() for point in points]
    axes.set(xscale="log", yscale="log", ylim=(min(values) / 2, max(values) * 2))
    if max(values) / min(values) < 100:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    if len(sizes) > 1 and sizes[-1] < 10:
        axes.set_xticks(sizes, map(str, sizes))
        axes.minorticks_off()
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(color="#e4e7eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
