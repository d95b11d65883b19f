"""A model's process: it has a clean environment, answers requests, and leaves only its log."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from .._worker import protocol
from .._worker.devices import free_memory
from ..errors import WorkerError
from .log import Log

START = Path(protocol.__file__).with_name("__main__.py")
CRASHES = {"SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT", "SIGTRAP", "SIGSYS"}
LONGER = "MEDZOO_TIMEOUT=SECONDS gives it longer; a smaller batch_size needs less."
TELL = "If the package is not yours, tell its authors."
KILLED = "A user or the system ended it. If short of memory, use a smaller batch_size."
CRASHED = {  # of signals that do not speak of the package's code
    "SIGILL": "Its libraries use instructions that this processor does not have.",
    "SIGBUS": "The disk, or /dev/shm, may be full, or a file was cut while it was in use.",
}
GRACE = 2.0  # seconds a process has to end by itself
PIPE = 2**20  # bytes that a pipe to or from a process should hold


class Ended(Exception):  # noqa: N818
    """A model's process ended, or was ended, instead of answering.

    Parameters
    ----------
    how
        ``memory``, ``time``, ``crash`` or ``kill``.
    problem, hint
        Of the error to raise.
    """

    def __init__(self, how: str, problem: str, hint: str) -> None:
        super().__init__(how, problem, hint)
        self.how, self.problem, self.hint = how, problem, hint

    def explained(self, model_name: str, what: str) -> Exception:
        """The exception to raise, for the model ``model_name`` that was at ``what``."""
        problem = f"{model_name} {what}: {self.problem}"
        return MemoryError(problem) if self.how == "memory" else WorkerError(problem, self.hint)


class Process:
    """A process that runs `medzoo._worker`.

    Parameters
    ----------
    python
        Its interpreter.
    environment
        Its variables.
    work
        Its working directory.
    log
        Where its stdout and stderr go.
    containment
        What it may use (`medzoo.runtime.sandbox.containment`); None if it is not contained.
    model_name
        The model, for errors.

    Raises
    ------
    WorkerError
        The interpreter does not start.
    """

    def __init__(
        self,
        python: Path,
        environment: dict[str, str],
        work: Path,
        log: Log,
        *,
        containment: dict[str, Any] | None,
        model_name: str,
    ) -> None:
        self.log, self._owner, self._busy, self._number = log, os.getpid(), False, 0
        # Set when it and all that it started have ended: another process may get its number then.
        self._gone = threading.Event()
        options = {
            "args": [str(python), "-S", str(START), str(self._owner), json.dumps(containment)],
            "env": environment,
            "cwd": work,
        }
        self._frames: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # The kernel ends a process together with the thread that started it. So the thread that
        # starts this process lives as long: it reads the answers, and waits for the end.
        arguments = (options, log, self._frames, self._gone)
        thread = threading.Thread(target=_serve, args=arguments, name="medzoo-worker", daemon=True)
        thread.start()
        started = self._frames.get()
        if isinstance(started, BaseException):
            raise WorkerError(
                f"{model_name}: {python} does not start: {started}.",
                "`medzoo cache verify` checks its environment.",
            )
        self._popen: subprocess.Popen[bytes] = started
        self.pid = started.pid  # on Linux that of its supervisor, until the process says its own

    @property
    def is_ours(self) -> bool:
        """Whether this Python process started it; after a fork it is our parent's."""
        return self._owner == os.getpid()

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """The answer to a request.

        Raises
        ------
        Ended
            None came; the process is gone.
        """
        began, kills, self._busy = time.monotonic(), _kills_for_memory(), True
        self._number += 1
        pieces = protocol.pack({**request, "number": self._number, "timeout": timeout})
        # A write to a stopped process would wait forever.
        late = threading.Timer(timeout + GRACE, self._kill)
        late.daemon = True
        if sum(map(len, pieces)) > 2**16:
            late.start()
        try:
            assert self._popen.stdin is not None  # noqa: S101
            with suppress(OSError):  # it is gone: then no answer comes either
                protocol.write(self._popen.stdin, pieces)  # type: ignore[arg-type]
            late.cancel()
            answer = self._answer(began + timeout + min(GRACE, 0.5 + timeout / 2))
        finally:
            late.cancel()
            self._busy = False
        if isinstance(answer, MemoryError):
            self.end()
            raise Ended(
                "memory", "what it returned does not fit into the memory of this process.", ""
            )
        if isinstance(answer, ValueError):
            raise self.misbehaved(answer)
        if answer is not None:
            try:
                return protocol.checked_answer(answer, self._number)
            except ValueError as error:
                raise self.misbehaved(error) from None
        raise self._diagnosed(time.monotonic() - began >= timeout, timeout, kills)

    def misbehaved(self, error: Exception) -> Ended:
        """End the process, since it sent what is not an answer; the error to raise."""
        self.end()
        problem = f"its process sent something that is not an answer: {error}. It was ended."
        return Ended("crash", problem + self.log.tail(), TELL)

    def _answer(self, deadline: float) -> Any:
        """What the process sends next, or why nothing can be read; None where nothing will
        come.
        """
        while True:
            left = max(0.0, min(1.0, deadline - time.monotonic()))
            try:
                answer = self._frames.get(timeout=left)
            except queue.Empty:
                # A child process of the model may keep the pipe open, so an end is not always seen.
                ended = self._popen.poll() is not None and self._frames.empty()
                if ended or time.monotonic() >= deadline:
                    return None
            else:
                return answer

    def _diagnosed(self, late: bool, timeout: float, kills: int) -> Ended:
        if not late:  # it is about to end
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(GRACE)
        code = self._popen.poll()
        self.end()
        wrote, tail = self.log.read(), self.log.tail()
        log = f"Its log is {self.log.path}." if tail else ""
        if late:
            return Ended(
                "time",
                f"its process gave no answer within {timeout:g} s, and was ended.{tail}",
                " ".join(filter(None, [LONGER, log])),
            )
        name = _signal(code)
        if name == "SIGKILL" and _kills_for_memory() > kills:
            return Ended("memory", "the system ended its process, since memory ran out.", "")
        if (name in CRASHES or (code or 0) > 0) and protocol.is_out_of_memory(wrote):
            return Ended("memory", f"its process ended ({name}), since memory ran out.{tail}", "")
        if name and name not in CRASHES:
            return Ended("kill", f"its process was killed ({name}).{tail}", KILLED)
        hint = f"The next batch starts it again. {CRASHED.get(name or '', TELL)}"
        how = "stopped answering" if code is None else f"ended by itself (exit code {code})"
        if name:
            how = f"crashed ({name})"
        return Ended("crash", f"its process {how}.{tail}", hint)

    def close(self) -> None:
        """End it. If it is idle, it may end by itself; if it is busy, it is ended at once."""
        is_idle = self.is_ours and not self._busy and not self._gone.is_set()
        if is_idle and self._popen.stdin is not None:
            with suppress(OSError, subprocess.TimeoutExpired):
                protocol.write(self._popen.stdin, protocol.pack({"request": "close", "number": 0}))  # type: ignore[arg-type]
                self._popen.wait(GRACE)
        self.end()

    def end(self) -> None:
        """End it at once, with all that it started."""
        if not self.is_ours:
            return
        self._kill()
        try:
            self._popen.wait(GRACE)
        except subprocess.TimeoutExpired:  # a driver or a disk may block it for longer
            self._popen.kill()
        if self._popen.stdin is not None:
            with suppress(OSError):
                self._popen.stdin.close()
        self.log.remove_if_empty()

    def _kill(self) -> None:
        if not self._gone.is_set():
            _kill(self._popen)


def _kill(popen: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        if sys.platform == "linux":
            popen.terminate()  # it is the supervisor, which ends all the others
        elif hasattr(os, "killpg"):
            os.killpg(popen.pid, signal.SIGKILL)  # it leads its own process group
        else:
            popen.kill()


def _serve(
    options: dict[str, Any], log: Log, frames: queue.SimpleQueue[Any], gone: threading.Event
) -> None:
    """Start the process and pass on its answers, until it has ended.

    After the last answer comes None, or the error because of which there are no more.
    """
    # A Ctrl-C in the terminal, or its end, must not reach the process.
    own: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        own = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    try:
        errors, pipe = log.open(), subprocess.PIPE
        try:
            popen = subprocess.Popen(stdin=pipe, stdout=pipe, stderr=errors, **options, **own)
        finally:
            os.close(errors)
    except BaseException as error:
        frames.put(error)
        return
    _widen(popen.stdin)
    _widen(popen.stdout)
    frames.put(popen)
    answers: IO[bytes] | None = popen.stdout
    assert answers is not None  # noqa: S101
    try:
        with answers:
            while True:
                frames.put(protocol.read(answers, lambda: free_memory("cpu")))  # type: ignore[arg-type]
    except (EOFError, OSError):  # without a frame there is no answer
        frames.put(None)
    except Exception as error:  # bytes of foreign code
        frames.put(error if isinstance(error, MemoryError) else ValueError(str(error)))
    popen.wait()
    _kill(popen)  # what it started and left
    gone.set()


def _widen(pipe: IO[bytes] | None) -> None:
    """Let a pipe hold more, if the system allows it: a user may have only so many large pipes."""
    if sys.platform == "linux" and pipe is not None:
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)


def _signal(code: int | None) -> str:
    """The name of the signal in an exit code; empty if there is none."""
    if code is None or code >= 0:
        return "SIGSEGV" if code == 0xC0000005 else ""  # Windows' access violation
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


@lru_cache(maxsize=1)
def _counter() -> Path | None:
    """The file in which Linux counts the processes, of this control group or of the machine, that
    it ended for memory.
    """
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, group = line.split(":", 2)
            if not controllers:
                places = [f"/sys/fs/cgroup{group}/memory.events", "/sys/fs/cgroup/memory.events"]
            elif "memory" in controllers.split(","):
                places = [
                    f"/sys/fs/cgroup/memory{group}/memory.oom_control",
                    "/sys/fs/cgroup/memory/memory.oom_control",
                ]
            else:
                continue
            for place in map(Path, places):
                if place.is_file() and "oom_kill " in place.read_text(encoding="utf-8"):
                    return place
    fallback = Path("/proc/vmstat")
    return fallback if fallback.is_file() else None


def _kills_for_memory() -> int:
    """How many processes the system ended so far because memory ran out; 0 if it does not say."""
    place = _counter()
    if place is None:
        return 0
    try:
        match = re.search(r"^oom_kill (\d+)", place.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) if match else 0
