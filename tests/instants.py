"""A child process that ends itself (SIGKILL) at one of the instants in which it touches a folder."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}


class Instants:
    """Counts the instants in which this process touches ``folder``, and ends it at number ``last``.

    ``is_one`` says of an audit event and its arguments whether it is such an instant.
    """

    def __init__(
        self, folder: Path, last: int, is_one: Callable[[str, tuple[Any, ...]], bool]
    ) -> None:
        self._folder, self._last, self._is_one, self.count = str(folder), last, is_one, 0
        sys.addaudithook(self._audit)

    def tick(self) -> None:
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._is_one(event, arguments) and any(
            isinstance(a, (str, os.PathLike)) and self._folder in os.fspath(a) for a in arguments
        ):
            self.tick()


def fork(work: Callable[[], None]) -> int:
    """A child that does ``work`` and ends with 0, or with 1 after an error; its process number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)
