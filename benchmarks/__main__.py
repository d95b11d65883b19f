"""medzoo against the bar it is built to, beside a plain torch loop with the same weights, in one
run: `make bench`.

A row is the median of several runs; one that misses its bar says by how much. What cannot be
measured here is a row with the reason. Nothing else should run on the machine meanwhile, and the
table says when something did.

    python -m benchmarks                                    everything, in a quarter of an hour to half of one on two cores
    python -m benchmarks --only start --only memory         some of it
    python -m benchmarks --out docs/performance && make docs    the figures of docs/performance.md

How cost grows with samples, files and configs is measured by `python -m benchmarks.growth`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from medzoo._worker import threads

from . import report
from .groups import GROUPS
from .instruments import ROOT, compile_medzoo, machine
from .rows import RESULTS, Results, Row, Size


def run(size: Size, only: list[str]) -> Results:
    """Measure, and print each row when it is known."""
    compile_medzoo()
    # For all sides: threads of a torch that was loaded before medzoo spin longer, on cores that a
    # model's process needs.
    threads.prepare()
    about = machine() | {"runs": size.runs, "quick": size.quick}
    found: list[Row] = []
    print(f"{report.machine(Results(about, ()))}\n\n{report.heading()}", flush=True)
    for name, group in GROUPS.items():
        if not only or name in only:
            print(f"\n{name}", flush=True)
        for measurement in group.measurements:
            if only and name not in only:
                found += measurement.without(skipped="not asked for")
                continue
            rows = measurement.run(size)
            print(report.lines(rows), flush=True)
            found += rows
    return Results(about, found)


def main(arguments: list[str] | None = None) -> int:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=Size.runs,
        help="repetitions of which the median is taken (default: %(default)s)",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=list(GROUPS),
        help="measure this group; may be repeated",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "build" / "bench",
        help=f"where {RESULTS} and {report.PICTURE} go (default: build/bench)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes, to see that everything runs; the figures mean nothing",
    )
    a = parser.parse_args(arguments)
    os.environ["MEDZOO_QUIET"] = "1"
    results = run(Size(1, 4, 60, quick=True) if a.quick else Size(a.runs), a.only)
    a.out.mkdir(parents=True, exist_ok=True)
    results.write(a.out / RESULTS)
    report.plot(results, a.out / report.PICTURE)
    print(f"\n{report.closing(results)}\n\n{a.out / RESULTS} and {report.PICTURE} written")
    return int(any(row.failed for row in results.rows))


if __name__ == "__main__":
    sys.exit(main())
