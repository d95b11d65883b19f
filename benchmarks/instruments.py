"""How seconds and memory are taken, and what the machine is."""

from __future__ import annotations

import compileall
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from medzoo import __version__

ROOT = Path(__file__).resolve().parent.parent
BUSY = 0.25  # of the cores, at work for others when a run begins


def seconds(run: Callable[[], Any]) -> float:
    """What a call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def in_turn(
    runs: int,
    sides: Mapping[str, Callable[[int], Any]],
    n: int,
    warm: int | None = None,
    rest: float = 0,
) -> dict[str, list[float]]:
    """Seconds of each side for ``n`` samples, run by run, taken in turn so that a busy machine
    slows all alike.

    Each is called before with ``warm`` samples, or ``n``, and not timed. ``rest`` is the time
    before each call, in which threads of another side may end to wait.
    """

    def timed(side: Callable[[int], Any]) -> float:
        time.sleep(rest)
        return seconds(lambda: side(n))

    for side in sides.values():
        side(warm or n)
    rounds = [{name: timed(side) for name, side in sides.items()} for _ in range(runs)]
    return {name: [r[name] for r in rounds] for name in sides}


def compile_medzoo() -> None:
    """Write the bytecode of medzoo, as pip does when a user installs it. Where Python is told to
    write none (PYTHONDONTWRITEBYTECODE), each new process would compile medzoo again.
    """
    compileall.compile_dir(ROOT / "medzoo", quiet=1)


def command(*arguments: str, **variables: str) -> str:
    """What a command prints; run in the repository, and an error with its last words where it
    fails.
    """
    quiet = {**os.environ, "MEDZOO_QUIET": "1", **variables}
    done = subprocess.run(
        arguments, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(arguments):.80} ended with {done.returncode}: {done.stderr.strip()[-300:]}"
        )
    return done.stdout


def own_peak(code: str) -> float:
    """MiB that a Python held at most that runs ``code`` and nothing else."""
    tail = """
from pathlib import Path
status = Path("/proc/self/status")
if status.exists():  # not ru_maxrss, which a child inherits on Linux
    print(int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10)
else:
    import psutil
    print(psutil.Process().memory_info().rss / 2**20)"""
    return float(command(sys.executable, "-c", code + tail).split()[-1])


def tree_peak(code: str, **variables: str) -> float:
    """MiB that a Python that runs ``code`` and all processes that it starts held, the peaks of each
    added up.
    """
    wait = "\nimport time; time.sleep(0.2)"  # to be looked at when it is done
    return watched([sys.executable, "-c", code + wait], 0.05, **variables)[1]


def watched(arguments: Sequence[str], every: float, **variables: str) -> tuple[str, float]:
    """What a command prints, and MiB that it and all processes that it starts held, which are
    looked at every so many seconds; run as by `command`.
    """
    quiet = {**os.environ, "MEDZOO_QUIET": "1", **variables}
    peaks: dict[int, float] = {}
    with (
        tempfile.TemporaryFile("w+") as said,
        psutil.Popen(arguments, cwd=ROOT, env=quiet, stdout=said, stderr=said) as process,
    ):
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                for one in (process, *process.children(recursive=True)):
                    peaks[one.pid] = _peak(one, peaks.get(one.pid, 0.0))
            time.sleep(every)
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise RuntimeError(
            f"a process to be measured ended with {process.returncode}: {text.strip()[-300:]}"
        )
    return text, sum(peaks.values())


def _peak(process: psutil.Process, before: float) -> float:
    """MiB that the program of a process held at most so far. Until it starts its program, a child
    shares its parent's memory. Where the system gives no peak, it is the larger of ``before`` and
    now.
    """
    with suppress(OSError, IndexError, ValueError):
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) / 2**10
    with suppress(psutil.Error):
        return max(before, float(process.memory_info().rss) / 2**20)
    return before


def machine() -> dict[str, Any]:
    """What a run is measured on and with. ``load`` is the load average of the last minute, before
    the run adds to it.
    """
    load = psutil.getloadavg()[0]
    cores = os.cpu_count() or 1
    return {
        "cpu": _cpu(),
        "cores": cores,
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "medzoo": __version__,
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "load": round(load, 2),
        "busy": load > BUSY * cores,
    }


def _cpu() -> str:
    with suppress(OSError, IndexError):
        return (
            Path("/proc/cpuinfo")
            .read_text(encoding="utf-8")
            .split("model name")[1]
            .splitlines()[0]
            .strip(" \t:")
        )
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The commit, and whether files differ from it; empty outside of a repository."""
    try:
        return command("git", "describe", "--always", "--dirty", "--exclude=*").strip()
    except (RuntimeError, OSError):
        return ""
