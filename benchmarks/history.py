"""Today's build against one from history: seconds of both for the same work, taken in turn.

    make bench AGAINST=86cabde                                  every row
    python -m benchmarks.history 86cabde --only "nifti written" --runs 9

Each build gets its own virtual environment, which holds its wheel and borrows all other packages
from this one. A ratio is the median of the pairs, and above 1 today's build is the faster one.
Beside it stands the ratio of CPU seconds, which other work on the machine disturbs less; it says
nothing about rows with Ray or a busy process, whose processes are not all counted.
"""

from __future__ import annotations

import argparse
import compileall
import json
import math
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

from . import report, sides
from .instruments import command, machine
from .rows import Results

TODAY = "today"
NAME, CELL = 44, 12  # columns of the terminal


class Pairs(NamedTuple):
    """Seconds, and seconds of the CPU, of both builds, run by run; or why there are none."""

    old: Sequence[tuple[float, float]] = ()
    new: Sequence[tuple[float, float]] = ()
    problem: str = ""

    def ratio(self, which: int) -> float:
        """How many times as fast today's build is: 0 by seconds, 1 by those of the CPU.

        It is not a number where no second was counted, as of actors of Ray.
        """
        pairs = zip(self.old, self.new, strict=True)
        return median(a[which] / b[which] if b[which] else math.nan for a, b in pairs)


def build(commit: str, folder: Path) -> Path:
    """The Python of a new virtual environment in ``folder``, with medzoo as it was at a commit.

    Raises
    ------
    RuntimeError
        The commit does not exist, or its wheel cannot be built.
    """
    tree, environment = folder / "tree", folder / "environment"
    tree.mkdir(parents=True)
    archive = folder / "tree.zip"
    command("git", "archive", f"--output={archive}", commit)
    zipfile.ZipFile(archive).extractall(tree)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    command(*pip, f"--wheel-dir={folder}", str(tree))
    venv.create(environment)
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    packages = Path(command(str(python), "-c", ask).strip())
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(packages)
    compileall.compile_dir(packages / "medzoo", quiet=1)  # as pip does
    # Files *.pth of a folder that is named here are not read, so this tree stays out.
    (packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"], encoding="utf-8")
    return python


def commit_of_today() -> str:
    """A commit of the tree as it is, changes included that are not committed."""
    return command("git", "stash", "create").strip() or "HEAD"


def measure(row: str, old: Path, new: Path, folder: Path, runs: int) -> Pairs:
    """Run a row with both builds in turn; the other one begins each time.

    The files that they write stay in ``folder`` until all rows are done: ext4 makes new files
    slowly for minutes after many were deleted, so one row would slow down the next.
    """
    found: dict[str, list[tuple[float, float]]] = {"old": [], "new": []}
    with ExitStack() as stack:
        try:
            answering = {
                "old": stack.enter_context(side(row, old, folder)),
                "new": stack.enter_context(side(row, new, folder)),
            }
            for run in range(runs):
                for name in ("old", "new") if run % 2 else ("new", "old"):
                    found[name].append(next(answering[name]))
        except RuntimeError as error:
            return Pairs(problem=str(error))
    return Pairs(found["old"], found["new"])


@contextmanager
def side(row: str, python: Path, folder: Path) -> Iterator[Iterator[tuple[float, float]]]:
    """The answers of a process that runs a row; it makes one run for each that is asked for."""
    # PYTHONPATH would bring in another medzoo than that of the environment.
    variables = {**os.environ, "MEDZOO_QUIET": "1", "PYTHONPATH": ""}
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            [str(python), sides.__file__, row, tempfile.mkdtemp(dir=folder)],
            cwd=python.parent,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None

        def answer() -> str:
            line = process.stdout.readline()
            if not line:
                said.seek(0)
                last = (said.read().strip().splitlines() or ["it said nothing"])[-1]
                raise RuntimeError(last[:200])
            return line

        def answers() -> Iterator[tuple[float, float]]:
            while True:
                with suppress(BrokenPipeError):  # `answer` says why
                    print(file=process.stdin, flush=True)
                seconds, cpu = json.loads(answer())
                yield seconds, cpu

        answer()  # it is ready
        try:
            yield answers()
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()


def line(row: str, pairs: Pairs) -> str:
    """A row of the table."""
    if pairs.problem:
        return f"{row:{NAME}} cannot run: {pairs.problem}"
    before, now = (median(run[0] for run in runs) for runs in (pairs.old, pairs.new))
    cells = [f"{before:.3g} s", f"{now:.3g} s", *(f"{pairs.ratio(k):.2f} x" for k in (0, 1))]
    return f"{row:{NAME}}" + "".join(f"{cell:>{CELL}}" for cell in cells)


def main(arguments: list[str] | None = None) -> int:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.history",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("commit", help="the older build")
    parser.add_argument("--runs", type=int, default=5, help="pairs a row (default: %(default)s)")
    parser.add_argument(
        "--only", action="append", choices=list(sides.ROWS), help="measure this row; repeatable"
    )
    a = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        try:
            old = build(a.commit, Path(folder, "old"))
        except RuntimeError as error:
            parser.error(f"no build of {a.commit}: {error}")
        new, files = build(commit_of_today(), Path(folder, "new")), Path(folder, "files")
        files.mkdir()
        print(report.machine(Results(machine() | {"runs": a.runs, "quick": False}, ())))
        heads = (a.commit[:CELL], TODAY, "ratio", "of CPU")
        print(f"\n{'':{NAME}}" + "".join(f"{head:>{CELL}}" for head in heads), flush=True)
        for row in a.only or sides.ROWS:
            print(line(row, measure(row, old, new, files, a.runs)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
