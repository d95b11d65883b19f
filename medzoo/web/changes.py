"""What a viewer has asked for and what is not done yet: late movements of a slider are dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from ..errors import MedzooError
from .layout import answer_to
from .workshop import Loaded

MOST_WAITING = 20  # changes of one viewer, each of another control or click
Change = Callable[[], object]
T = TypeVar("T")


async def in_turn(loaded: Loaded, act: Callable[[], T]) -> T:
    """Run what uses a model in a thread, when it is its turn."""
    async with loaded.turn:
        return await asyncio.to_thread(act)


class Changes:
    """The changes of one viewer, made one after the other in a thread.

    While the model works or others have their turn, a newer change of a control replaces the one
    that waits. So the picture makes larger steps, and is never late.

    Parameters
    ----------
    loaded
        The model that the changes use.
    show
        Called in the thread after the changes; returns what to do then on the page.
    fail
        Called on the page with what went wrong.
    busy
        Called on the page when work begins (True) and ends (False).
    """

    def __init__(
        self,
        loaded: Loaded,
        show: Callable[[], Callable[[], None]],
        fail: Callable[[MedzooError], None],
        busy: Callable[[bool], None],
    ) -> None:
        self._loaded, self._show, self._fail, self._busy = loaded, show, fail, busy
        self._waiting: dict[str, Change] = {}
        self._numbers = count()
        self._working = False

    def waits(self, control: str) -> bool:
        """Whether a change of this control is not done yet."""
        return control in self._waiting

    def ask(self, control: str, change: Change) -> None:
        """Make a change soon. It replaces one of the same control that waits."""
        if control not in self._waiting and len(self._waiting) >= MOST_WAITING:
            return
        self._waiting[control] = change
        if not self._working:
            self._working = True
            self._task = asyncio.ensure_future(self._work())  # kept: loops hold tasks weakly

    def click(self, change: Change) -> None:
        """Make a change soon; each click counts."""
        self.ask(f"click {next(self._numbers)}", change)

    async def _work(self) -> None:
        self._busy(True)
        try:
            while self._waiting:
                async with self._loaded.turn:
                    changes, self._waiting = list(self._waiting.values()), {}
                    error, update = await asyncio.to_thread(self._make, changes)
                update()
                if error is not None:
                    self._fail(error)
        finally:
            self._working = False
            self._busy(False)

    def _make(self, changes: list[Change]) -> tuple[MedzooError | None, Callable[[], None]]:
        errors = [error for error in map(_tried, changes) if error is not None]
        return (errors[-1] if errors else None), self._show()


def _tried(change: Change) -> MedzooError | None:
    try:
        change()
    except Exception as error:
        return answer_to(error)
    return None
