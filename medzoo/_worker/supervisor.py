"""The parent of a model's process, or of uv, on Linux: with it, all processes end that it started.

The kernel gives it processes whose parents ended (it is their "subreaper"), so none is lost,
whatever sessions and groups they make. It runs nothing of the model.

``python -I -S supervisor.py PARENT COMMAND...`` runs a command in this way.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
WAITED_FOR = {signal.SIGCHLD, signal.SIGTERM} if os.name == "posix" else set()
INTERVAL = 0.25  # seconds between two counts of processes


def supervise(parent: int, most: int | None) -> int:
    """Go on as a child process that this one supervises; returns the number of the supervisor.

    Elsewhere than on Linux, this process goes on by itself.

    Parameters
    ----------
    parent
        The process that started this one, and with which all ends.
    most
        How many processes there may be, before all are ended; None for no limit.
    """
    if sys.platform != "linux":
        return parent
    die_with(parent, signal.SIGTERM)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)
    supervisor = os.getpid()
    child = os.fork()
    if not child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITED_FOR)
        os.setsid()
        die_with(supervisor, signal.SIGKILL)
        return supervisor
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    status = _watch(child, most)
    _end_all()
    _end_like(status)
    raise AssertionError


def die_with(parent: int, number: int) -> None:
    """Let the kernel send this process a signal when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the process that started this one is gone")


def _watch(child: int, most: int | None) -> int | None:
    """Wait for the end of the child; None if all is to be ended before."""
    at_first = _tasks()
    while True:
        told = signal.sigtimedwait(WAITED_FOR, 3600.0 if most is None else INTERVAL)
        if told is not None and told.si_signo == signal.SIGTERM:
            return None
        ended, status = 1, 0
        while ended:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == child:
                return status
        # To look at all processes takes time, so only if their number has grown so much.
        if most is not None and _tasks() - at_first > most and len(_descendants()) > most:
            return None


def _tasks() -> int:
    """How many processes and threads this machine has now."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])


def _end_all() -> None:
    """End all that descends from this process."""
    with suppress(ChildProcessError):
        while True:
            for process in _descendants():
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            ended = 1
            while ended:
                ended, _ = os.waitpid(-1, os.WNOHANG)
            time.sleep(0.001)


def _descendants() -> list[int]:
    """The processes that this one started, and those that they started."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it has ended in the meantime
                after_name = (folder / "stat").read_bytes().rpartition(b")")[2]
                parent = int(after_name.split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        of_one = children.get(waiting.pop(), [])
        found += of_one
        waiting += of_one
    return found


def _end_like(status: int | None) -> None:
    """End as the child did, so that the caller learns how."""
    if status is None:
        os._exit(1)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    supervise(int(sys.argv[1]), None)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606
