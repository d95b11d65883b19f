"""The model of the last `medzoo.generate`, which stays loaded for a while.

A loop that calls `generate` then loads its model once. One session is kept, of a verified package
that runs on the CPU in this interpreter and is not large. It is let go when another model is
needed, after ``MEDZOO_KEEP`` seconds, in a forked process, and by `medzoo.unload`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .. import settings
from ..config import ModelConfig, Version, name_of
from ..packages import revoked
from ..registry import is_local
from ..runtime import Execution, Session
from .run import LoadedModel, open_model

LARGEST = 256 * 2**20  # bytes of a package whose model is kept


@dataclass(frozen=True)
class Asked:
    """What has to be equal for a session to serve again."""

    config: ModelConfig
    version: Version
    execution: Execution

    def may_keep(self, session: Session) -> bool:
        """Whether a session may stay: its package cannot have changed, and it is small."""
        digests = self.version.files or self.version.sha256 or self.version.md5
        may_change = self.version.scheme == "file" and not digests
        is_fixed = not (self.execution.weights or may_change or is_local(self.config))
        is_small = self.version.size is not None and self.version.size <= LARGEST
        return is_fixed and is_small and session.is_here and session.device == "cpu"


class Shelf:
    """A place for one session, safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: tuple[Asked, Session] | None = None
        self._timer: threading.Timer | None = None

    def take(self, asked: Asked) -> Session | None:
        """The kept session, if it is of the same model. Another one is closed."""
        kept = self._emptied()
        if kept is None:
            return None
        if kept[0] == asked:
            return kept[1]
        kept[1].close()
        return None

    def put(self, asked: Asked, session: Session, seconds: float) -> None:
        """Keep a session for some seconds, instead of the one that was kept."""
        self.clear()
        timer = threading.Timer(seconds, self.clear)
        timer.daemon = True
        with self._lock:
            self._kept, self._timer = (asked, session), timer
        timer.start()

    def clear(self) -> None:
        """Close the kept session."""
        kept = self._emptied()
        if kept is not None:
            kept[1].close()

    def _emptied(self) -> tuple[Asked, Session] | None:
        with self._lock:
            kept, timer = self._kept, self._timer
            self._kept = self._timer = None
        if timer is not None:
            timer.cancel()
        return kept


_shelf = Shelf()


def _forget() -> None:
    """A forked process has no timer, and may not use the session of its parent."""
    global _shelf  # noqa: PLW0603
    _shelf = Shelf()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@contextmanager
def lent(config: ModelConfig, version: Version, execution: Execution) -> Iterator[LoadedModel]:
    """A loaded model for one run: the kept one if it is the same, otherwise a new one.

    Raises
    ------
    MedzooError
        Whatever `open_model` raises, or the package was revoked meanwhile.
    """
    asked, seconds = Asked(config, version, execution), settings.keep()
    session = _shelf.take(asked) if seconds else None
    if session is None:
        model = open_model(LoadedModel, config, version, execution)
    else:  # it may have been revoked since it was loaded
        revoked.check(name_of(config, version), session.digests.values())
        model = LoadedModel(config, version, session)
    with model:
        yield model
        if seconds and asked.may_keep(model.session):
            _shelf.put(asked, model.released(), seconds)


def unload() -> None:
    """Free the memory of the model that `medzoo.generate` keeps loaded for its next call.

    A model is kept for 60 seconds, or for ``MEDZOO_KEEP`` seconds; ``MEDZOO_KEEP=0`` keeps none.
    Models that `medzoo.load` returned are not affected: they have a method ``close``.

    Examples
    --------
    >>> samples = medzoo.generate(8, 1)
    >>> medzoo.unload()
    """
    _shelf.clear()
