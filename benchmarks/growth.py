"""How cost grows with samples, files, configs and actors: seconds and memory at sizes ten times
apart.

    python -m benchmarks.growth                              what fits into twelve minutes
    python -m benchmarks.growth --only configs --most 10000  a part of it
    python -m benchmarks.growth --minutes 0                  the table and the plot of what is there
    python -m benchmarks.growth --out docs/performance && make docs    for docs/performance.md

Each point is kept as soon as it is measured, and is not measured again: a run that was stopped is
continued by the same command. The cheapest point is measured next. A size whose expected time does
not fit is not begun, and the expected time is printed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from . import curves
from .curves import KEPT, PICTURE, Growth, Point
from .instruments import ROOT, compile_medzoo, machine, watched
from .waits import AXES, SERIES

START = 3.0  # seconds in which a Python starts and loads a model
LOOK = 0.2  # seconds from one look at the memory of a process to the next
SAME = ("cpu", "cores", "memory", "python", "torch")  # of a machine, for one curve


def expected(growth: Growth, name: str, size: int) -> float:
    """Seconds that a series will take at a size, by what it took at the largest size before."""
    before = [point for point in growth.of(name) if point.size < size]
    last = [point for point in before if point.size == before[-1].size]
    starts = START * len(SERIES[name].waits)
    took = sum(point.took for point in last)
    timed = sum(point.seconds for point in last)
    return starts + max(took - starts, timed) * (size / last[0].size if last else 1)


def missing(growth: Growth, name: str, most: float) -> int | None:
    """The smallest size of a series that is not measured yet."""
    there = {(point.size, point.wait) for point in growth.of(name)}
    for size in SERIES[name].sizes:
        if size <= most and any((size, wait.name) not in there for wait in SERIES[name].waits):
            return size
    return None


def measure(name: str, size: int, about: dict[str, object], place: Path | None) -> Iterator[Point]:
    """One point for each wait of a series, as soon as it is measured."""
    with tempfile.TemporaryDirectory(prefix="medzoo-growth-", dir=place) as folder:
        for number, wait in enumerate(SERIES[name].waits):
            load, began = psutil.getloadavg()[0], time.monotonic()
            asked = [sys.executable, "-m", "benchmarks.waits", name, str(number), str(size), folder]
            said, mib = watched(asked, LOOK)
            took = time.monotonic() - began
            found = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
            seconds, processor = found["seconds"], found["processor"]
            print(
                f"  {wait.name:34} {seconds:10.4g} s, {processor:8.4g} of the processor, "
                f"{mib:6.4g} MiB",
                flush=True,
            )
            yield Point(
                series=name,
                wait=wait.name,
                size=size,
                seconds=round(seconds, 6),
                processor=round(processor, 6),
                mib=round(mib, 1),
                took=round(took, 1),
                load=round(load, 2),
                commit=str(about["commit"]),
                date=str(about["date"]),
            )


def run(growth: Growth, names: list[str], a: argparse.Namespace) -> None:
    """Measure what fits into the time, the cheapest point first."""
    compile_medzoo()
    about, end = machine(), time.monotonic() + 60 * a.minutes
    while True:
        left = {name: size for name in names if (size := missing(growth, name, a.most))}
        times = {name: expected(growth, name, size) for name, size in left.items()}
        if not left:
            break
        name = min(times, key=times.__getitem__)
        if times[name] > end - time.monotonic():
            break
        size = left[name]
        print(f"{SERIES[name].panel}, {size:,} {SERIES[name].unit}:", flush=True)
        growth.points = [p for p in growth.points if (p.series, p.size) != (name, size)]
        for point in measure(name, size, about, a.place):
            growth.points.append(point)
            growth.write(a.out / KEPT)
    growth.beyond = [sentence(growth, name) for name in SERIES if missing(growth, name, math.inf)]
    growth.write(a.out / KEPT)


def sentence(growth: Growth, name: str) -> str:
    """What the next size of a series would take."""
    series, size = SERIES[name], missing(growth, name, math.inf)
    assert size is not None
    waits = series.waits[0].name if len(series.waits) == 1 else f"all of {series.panel}"
    if not growth.of(name):
        return f"{series.panel} were not measured ({waits})."
    minutes = expected(growth, name, size) / 60
    return f"{size:,} {series.unit} were not measured ({waits}): about {minutes:,.1f} minutes."


def kept(a: argparse.Namespace, names: list[str]) -> Growth:
    """The points that are there, without those to be measured again."""
    about = machine()
    if not (a.out / KEPT).exists():
        return Growth(about, [], [])
    growth = Growth.read(a.out / KEPT)
    if a.again:
        growth.points = [point for point in growth.points if point.series not in names]
    differ = [key for key in SAME if growth.machine[key] != about[key]]
    if differ and growth.points and a.minutes:
        raise SystemExit(
            f"{a.out / KEPT} is of another machine ({', '.join(differ)}), and points of two "
            "machines make no curve. Give another folder (--out), or measure all with --again."
        )
    return growth if growth.points else Growth(about, [], [])


def main(arguments: list[str] | None = None) -> int:
    """Parse, measure, print, draw."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=AXES, help="what grows; may be repeated")
    parser.add_argument(
        "--most", type=float, default=math.inf, metavar="N", help="the largest size to measure"
    )
    parser.add_argument(
        "--minutes", type=float, default=12, help="time for all (default: %(default)s)"
    )
    parser.add_argument("--again", action="store_true", help="measure again what is there")
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "build" / "bench",
        help=f"where {KEPT} and {PICTURE} are (default: build/bench)",
    )
    parser.add_argument(
        "--place", type=Path, help="where temporary sets are written (default: as TMPDIR says)"
    )
    a = parser.parse_args(arguments)
    os.environ["MEDZOO_QUIET"] = "1"
    names = [name for name, series in SERIES.items() if not a.only or series.axis in a.only]
    growth = kept(a, names)
    run(growth, names, a)
    if not growth.points:
        print("Nothing was measured: give more --minutes or a larger --most.")
        return 1
    curves.plot(growth, SERIES, a.out / PICTURE)
    print(curves.terminal(growth, SERIES), *growth.beyond, sep="\n")
    print(f"\n{a.out / KEPT} and {PICTURE} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
