"""The log of a model's process. What it prints comes through a pipe, so the log stays small."""

from __future__ import annotations

import os
import re
import select
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from .. import settings

LOGS, LOG_BYTES = 20, 16 * 2**20  # how many are kept, how far one may grow
TAIL_LINES, TAIL_BYTES = 20, 4096
# What moves the cursor of a terminal, or worse, if the log is shown there; not ends of lines.
CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]")


class Log:
    """Where a process writes what its model prints.

    A thread copies it from a pipe. A log that has grown too large is emptied.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock, self._since_mark, self._size = threading.Lock(), b"", 0
        self._thread: threading.Thread | None = None

    @classmethod
    def new(cls, name: str, instead: Path) -> Log:
        """A new log in the cache, where the oldest logs are removed; in the folder ``instead`` if
        the cache cannot be written.
        """
        file = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(3).hex()}.log"
        folder = settings.cache_folder() / "logs"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / file).touch()
        except OSError:
            return cls(instead / file)
        for path in sorted(folder.glob("*.log"), key=_changed)[:-LOGS]:
            with suppress(OSError):  # another process was quicker
                path.unlink()
        return cls(folder / file)

    def open(self) -> int:
        """The end of the pipe for the process to write to, which the caller closes."""
        self._pipe, writable = os.pipe()
        self._thread = threading.Thread(target=self._copy_all, name="medzoo-log", daemon=True)
        self._thread.start()
        return writable

    def mark(self) -> None:
        """Let `tail` show only what is written after this call."""
        self._settle()
        self._since_mark = b""

    def read(self) -> str:
        """The end of what was written since the mark."""
        self._settle()
        text = self._since_mark.decode("utf-8", "replace")
        lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        return "\n".join(lines[-TAIL_LINES:])

    def tail(self) -> str:
        """The same, ready to be put under a problem; empty if nothing was written."""
        lines = self.read().splitlines()
        if not lines:
            return ""
        return "\n  ".join([f"\nIt last wrote ({self.path}):", *lines])

    def remove_if_empty(self) -> None:
        """Keep no log of a process that wrote nothing."""
        self._settle()
        with suppress(OSError):
            if not self.path.stat().st_size:
                self.path.unlink()

    def _copy_all(self) -> None:
        """Copy until all processes have closed the pipe."""
        try:
            if sys.platform == "win32":
                while self._copy():
                    pass
                return
            while _has_data(self._pipe, wait=True):
                with self._lock:
                    if _has_data(self._pipe, wait=False) and not self._copy():
                        return
        finally:
            with self._lock:
                os.close(self._pipe)
                self._pipe = -1

    def _settle(self) -> None:
        """Copy what the process has written until now."""
        if self._thread is None or not self._thread.is_alive():
            return
        if sys.platform == "win32":
            time.sleep(0.1)  # there, only a thread that reads knows whether there is something
            return
        left = LOG_BYTES  # it may write faster than this
        with self._lock:
            while left > 0 and self._pipe >= 0 and _has_data(self._pipe, wait=False):
                copied = self._copy()
                left = left - copied if copied else 0

    def _copy(self) -> int:
        """Copy what is in the pipe; returns how many bytes, 0 at its end."""
        data = os.read(self._pipe, 2**16)
        text = CONTROL.sub(lambda found: repr(found[0])[2:-1].encode(), data)
        self._since_mark = (self._since_mark + text)[-TAIL_BYTES:]
        self._size += len(text)
        with suppress(OSError), self.path.open("ab") as file:  # the disk may be full
            if self._size > LOG_BYTES:
                file.truncate(0)
                self._size = file.write(self._since_mark)
            else:
                file.write(text)
        return len(data)


def _has_data(pipe: int, *, wait: bool) -> bool:
    """Whether a read from the pipe returns at once: there are data, or it is at its end."""
    if sys.platform == "win32":
        return True
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(None if wait else 0))


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
