"""Temporary folders that are recognised after their process has died, and removed.

The process holds a lock on a file in the folder. The system releases it when the process ends,
whatever ended it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO

PREFIX = "medzoo-"
MARK = ".in-use"
YOUNG = 60.0  # seconds in which a folder may not have its lock yet


class Scratch:
    """A temporary folder of this process.

    Parameters
    ----------
    name : str, optional
        A word for its name.

    Attributes
    ----------
    path : Path
        The folder.
    """

    def __init__(self, name: str = "") -> None:
        _clear_once(os.getpid())
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name}-" if name else PREFIX))
        self._mark = (self.path / MARK).open("w", encoding="utf-8")
        _lock(self._mark)
        self._owner = os.getpid()

    def remove(self) -> None:
        """Remove the folder; nothing in a forked process, since it is that of its parent."""
        if self._owner != os.getpid():
            return
        self._mark.close()  # Windows removes no open files
        clear(self.path)


@contextmanager
def scratch(name: str = "") -> Iterator[Path]:
    """A temporary folder, which is removed after the block."""
    folder = Scratch(name)
    try:
        yield folder.path
    finally:
        folder.remove()


def abandoned() -> Iterator[Path]:
    """The temporary folders of processes of this user that have died."""
    for path in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        with suppress(OSError):
            status = path.lstat()
            is_own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
            is_old = status.st_mtime < time.time() - YOUNG
            if not (is_own and is_old) or path.is_symlink():
                continue
            with (path / MARK).open("r+", encoding="utf-8") as mark:
                is_abandoned = _lock(mark)
            if is_abandoned:
                yield path


def _lock(mark: IO[str]) -> bool:
    """Lock an open file until it is closed; False if a process has done so, or nobody can know."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(mark.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def clear(folder: Path) -> None:
    """Remove a temporary folder. Its mark goes last: whatever a kill leaves is found by it."""
    paths = list[Path]()
    with suppress(OSError):
        paths = [path for path in folder.iterdir() if path.name != MARK]
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):  # a file, or a link
            path.unlink()
    shutil.rmtree(folder, ignore_errors=True)


@lru_cache(maxsize=1)
def _clear_once(process: int) -> None:  # noqa: ARG001
    """Remove what dead processes left, once in each process."""
    for path in abandoned():
        clear(path)
