"""How many threads torch has, and how long they wait for each other, where the user did not say.

torch's threads meet after each operation. One that comes first spins for milliseconds by default,
on a core that another process may need, so that a busy machine makes a picture many times slower
than one thread would. And torch has one thread per core, also where a control group (a container, a
job of a cluster) grants less time than these cores have. Both are variables that are read once,
when torch is loaded, so nothing changes while samples are made.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from .devices import control_groups

# Rounds that a thread spins before it sleeps; libgomp has 300,000, some milliseconds. Measured with
# model 8 on two cores: where nothing else runs, 5,000 cost 1 % and 1,000 cost 3 % more time than
# 300,000; beside a process that keeps a core busy, 1,000 take 0.63, 5,000 take 0.76 and 20,000 take
# 1.17 of its time.
QUIET, CROWDED = 5_000, 1_000
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def prepare() -> None:
    """Set what `choices` says in this process, unless torch is loaded already."""
    if "torch" not in sys.modules:
        os.environ.update(choices(os.environ))


def choices(variables: Mapping[str, str], system: Path = Path("/")) -> dict[str, str]:
    """The variables to add before torch is loaded; none that the user decided.

    Parameters
    ----------
    variables
        The environment variables of the process.
    system
        Where ``proc`` and ``sys`` are.
    """
    chosen = {}
    if not any(name in variables for name in WAITING):
        chosen["GOMP_SPINCOUNT"] = str(CROWDED if _is_crowded(system) else QUIET)
    quota = min(_quotas(system), default=None)
    if quota is not None and quota < cores() and not any(name in variables for name in COUNTS):
        chosen["OMP_NUM_THREADS"] = str(max(1, int(quota)))
    return chosen


def cores() -> int:
    """The cores that this process may use; torch has a thread for each."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_crowded(system: Path) -> bool:
    """Whether other processes need these cores: they do now, and the machine's load says that they
    did in the last minute. The load alone may be that of an earlier run of the same user.
    """
    with suppress(OSError, ValueError):
        load, _, _, running, _ = (system / "proc/loadavg").read_text().split()
        spare = (os.cpu_count() or 1) - cores()
        others = int(running.split("/")[0]) - 1  # without this process, which runs
        return float(load) > spare + 0.5 and others > spare
    return False


def _quotas(system: Path) -> Iterator[float]:
    """How many cores' time the control groups of this process grant; none where it is unlimited."""
    with suppress(OSError, ValueError):
        for group in control_groups(system):
            if (file := group / "cpu.max").exists():
                quota, period = file.read_text().split()
                if quota != "max":
                    yield int(quota) / int(period)
    with suppress(OSError, ValueError):
        for group in control_groups(system, "cpu"):
            if (file := group / "cpu.cfs_quota_us").exists():
                microseconds = int(file.read_text())
                if microseconds > 0:
                    yield microseconds / int((group / "cpu.cfs_period_us").read_text())
