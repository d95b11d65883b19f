"""A session on a cluster: actors load the model once each and make ranges of samples, which come
back in order.

What a run writes does not depend on it: ranges are cut where a single process cuts its batches, and
handed over in the order of the samples. An actor that is lost (killed, or with its whole machine)
is replaced, and the ranges that it had are made again, which makes the same samples.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from .._worker.batch import Batch
from ..config import ModelConfig, Version, name_of
from ..errors import MedzooError, MedzooWarning, OutOfMemoryError, WorkerError
from ..provenance import Provenance
from .engine import Ray
from .execution import Execution
from .session import Session

QUEUE = 2  # ranges that an actor has at a time: the one that it makes, and the next
# ranges for each actor, from the oldest that is not handed over; more than QUEUE for the sake of a
# slow actor
AHEAD = 4
LOSSES = 3  # lost actors over one range, or in a row while loading, that are not an accident
GOODBYE = 5.0  # seconds that actors have to end by themselves
ALIKE = "Every machine of the cluster needs the same Python, medzoo and Ray."


class Actor:
    """A model in a process of Ray. It returns its errors, because Ray wraps raised ones."""

    def open(
        self,
        config: ModelConfig,
        version: Version,
        execution: Execution,
        caller: Mapping[str, Any],
        open_session: Callable[..., Session],
    ) -> Exception | dict[str, Any]:
        """Load the model as `medzoo.load` does; what the session says of itself, and the warnings
        that came with it.

        Parameters
        ----------
        execution
            How to run it; without an engine.
        caller
            medzoo's ``settings``, the ``folder`` that relative paths start from, and how many
            ``threads`` torch may have.
        open_session
            `medzoo.runtime.open_session`.
        """
        os.environ.update(caller["settings"])
        with suppress(OSError):  # this machine may have no such folder
            os.chdir(caller["folder"])
        if version.needs_torch:
            import torch

            torch.set_num_threads(caller["threads"])
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                self._session = open_session(config, version, execution, progress=False)
            except (MedzooError, MemoryError) as error:
                return error
        names = ("device", "batch_size", "digests", "provenance")
        told = [str(w.message) for w in heard if issubclass(w.category, MedzooWarning)]
        return {
            "medzoo": __version__,
            "warnings": told,
            **{name: getattr(self._session, name) for name in names},
        }

    def make(
        self, batch_of: Callable[[range], Batch], indices: range
    ) -> tuple[Exception | None, dict[str, NDArray[Any]] | None]:
        """Why a range cannot be made, or None; and its columns."""
        try:
            return None, self._session.sample(batch_of(indices))
        except (MedzooError, MemoryError) as error:
            return error, None

    def close(self) -> None:
        """Let go of the model."""
        self._session.close()


@dataclass(eq=False)
class _Range:
    """A range of samples on its way."""

    indices: range
    status: Any = None  # while an actor has it: what will say whether it is made
    columns: Any = None  # where they are, once it is
    made: bool = False
    error: Exception | None = None  # why it cannot be
    losses: int = 0


@dataclass(eq=False)
class _Hand:
    """An actor, as seen from here."""

    actor: Any
    opening: Any  # what will say what it loaded; None once it has
    ranges: list[_Range] = field(default_factory=list)  # in the order in which it makes them


class _LostError(Exception):
    """An actor is gone, or with it what it had made."""


class ClusterSession(Session):
    """A model on the actors of a Ray cluster.

    Raises what `medzoo.runtime.open_session` says of each actor, and InputError where Ray is not
    installed, cannot be reached, or has too little for one actor.
    """

    def __init__(
        self,
        config: ModelConfig,
        version: Version,
        execution: Execution,
        open_session: Callable[..., Session],
    ) -> None:
        engine, device = Ray.of(execution.engine), execution.device
        engine.check_device(device)
        self._about = name_of(config, version)
        self._hands: list[_Hand] = []
        self._first: dict[str, Any] = {}  # what the first actor said of itself
        self._failed = 0  # actors in a row that were lost while they loaded
        self._ray, self._ours = engine.connect()
        try:
            takes, self.actors = engine.share(self._ray, version, device)
            local = "cuda" if "GPU" in takes else "cpu" if device in {"auto", "cuda"} else device
            caller = {
                "settings": {
                    name: value for name, value in os.environ.items() if name.startswith("MEDZOO_")
                },
                "folder": str(Path.cwd()),
                "threads": max(1, int(takes["CPU"])),
            }
            there = replace(execution, device=local, engine=None)
            self._asked = (config, version, there, caller, open_session)
            self._class = self._ray.remote(
                num_cpus=takes["CPU"], num_gpus=takes.get("GPU", 0), max_restarts=0
            )(Actor)
            self._hands = [self._hire() for _ in range(self.actors)]
            while not self._first:
                self._attend(wait=True)
        except BaseException:
            self.close()
            raise
        self.device: str = self._first["device"]
        self.batch_size: int = self._first["batch_size"]
        self.digests: dict[str, str] = self._first["digests"]
        self.provenance: Provenance = self._first["provenance"]

    def sample(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """The columns of a batch, made by one of the actors."""
        return next(self.series(lambda _: batch, [range(batch.n)]))

    def series(
        self, batch_of: Callable[[range], Batch], ranges: Iterable[range]
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """The columns of one range of samples after the other, made ahead by all actors."""
        shared, left = self._ray.put(batch_of), iter(ranges)
        window: deque[_Range] = deque()  # all that is on its way, the oldest first
        while True:
            window.extend(
                _Range(indices) for indices in islice(left, AHEAD * self.actors - len(window))
            )
            if not window:
                return
            self._deal(window, shared)
            self._attend(wait=not window[0].made)
            if window[0].made and (columns := self._fetch(window[0])):
                window.popleft()
                yield columns

    def close(self) -> None:
        """End the actors; Ray too, where it was started for them."""
        ray, self._hands, hands = self._ray, [], self._hands
        if not ray.is_initialized():
            return
        with suppress(ray.exceptions.RayError):
            if last := [hand.actor.close.remote() for hand in hands if hand.opening is None]:
                ray.wait(
                    last, num_returns=len(last), timeout=GOODBYE
                )  # so that they remove their temporary files
        for hand in hands:
            ray.kill(hand.actor)
        if self._ours:
            ray.shutdown()

    # ----------------------------------------------------------------------------------------------------
    # the actors
    def _hire(self) -> _Hand:
        actor = self._class.remote()
        return _Hand(actor, actor.open.remote(*self._asked))

    def _deal(self, window: Iterable[_Range], shared: Any) -> None:
        """Give the ranges that nobody has to actors that wait for work, the oldest first."""
        for one in window:
            if one.status is None and not one.made:
                free = [
                    hand
                    for hand in self._hands
                    if hand.opening is None and len(hand.ranges) < QUEUE
                ]
                if not free:
                    return
                hand = min(free, key=lambda hand: len(hand.ranges))
                one.status, one.columns = hand.actor.make.options(num_returns=2).remote(
                    shared, one.indices
                )
                hand.ranges.append(one)

    def _attend(self, *, wait: bool) -> None:
        """Hear what actors have to say; with ``wait``, until one has something to say."""
        opening = {hand.opening: hand for hand in self._hands if hand.opening is not None}
        making = {one.status: (hand, one) for hand in self._hands for one in hand.ranges}
        if not (refs := [*opening, *making]):
            return
        if wait:
            self._ray.wait(refs, num_returns=1, fetch_local=False)
        ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
        for ref in ready:
            if ref in opening:
                self._welcome(opening[ref])
            elif (there := making[ref])[1] in there[
                0
            ].ranges:  # otherwise an earlier answer said that this actor is lost
                self._note(*there)

    def _welcome(self, hand: _Hand) -> None:
        """Put an actor to work that has loaded the model, if it is like the others."""
        try:
            found = self._get(hand.opening)
        except _LostError as lost:
            self._failed += 1
            if self._failed >= LOSSES:
                raise self._given_up("in a row were lost while they loaded", lost) from lost
            self._replace(hand, lost)
            return
        if isinstance(found, MemoryError):
            hint = "Free some memory, or give each actor more cores, so that fewer share a machine."
            raise OutOfMemoryError(f"{self._about} cannot be loaded by an actor: {found}", hint)
        if isinstance(found, Exception):
            raise found
        for text in found.pop("warnings"):
            if not self._first:  # the others say the same
                warnings.warn(text, MedzooWarning, stacklevel=2)
        self._first = self._first or found
        first, this = (dict(_flat(about)) for about in (self._first, found))
        if names := [
            n for n in {**first, **this} if n != "batch_size" and first.get(n) != this.get(n)
        ]:
            differs = "; ".join(
                f"{name} {this.get(name)!r}, not {first.get(name)!r}" for name in names
            )
            raise WorkerError(
                f"{self._about}: one actor is not like the first: {differs}.",
                f"{ALIKE} What was written stays.",
            )
        hand.opening, self._failed = None, 0

    def _note(self, hand: _Hand, one: _Range) -> None:
        """A range is made, or cannot be; or its actor is lost, and all that it had goes back."""
        try:
            one.error = self._get(one.status)
        except _LostError as lost:
            had, hand.ranges = hand.ranges, []
            for other in had:
                other.status = None
            self._lost(had[0], lost)  # which it was at
            self._replace(hand, lost)
            return
        one.made, one.status = True, None
        hand.ranges.remove(one)

    def _fetch(self, one: _Range) -> dict[str, NDArray[Any]]:
        """A range's columns; none where they went with their machine, and are made again."""
        if one.error is not None:
            raise one.error
        try:
            found = self._get(one.columns)
        except _LostError as lost:
            one.made = False
            self._lost(one, lost)
            return {}
        return {
            name: np.array(column) for name, column in found.items()
        }  # not Ray's memory, which goes with Ray

    def _get(self, ref: Any) -> Any:
        """What an actor returned.

        Raises
        ------
        _LostError
            It is lost, or what it returned is.
        WorkerError
            It raised an error that is not from the model.
        """
        try:
            return self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise WorkerError(f"{self._about}: an actor failed: {error.cause!r}", ALIKE) from error
        except self._ray.exceptions.RayError as error:
            raise _LostError(shorten(str(error), 200, placeholder=" ...")) from error

    def _lost(self, one: _Range, lost: _LostError) -> None:
        one.losses += 1
        if one.losses >= LOSSES:
            raise self._given_up(
                f"were lost over samples {one.indices[0]} to {one.indices[-1]} of", lost
            ) from lost

    def _replace(self, hand: _Hand, lost: _LostError) -> None:
        with suppress(Exception):  # it may be alive, behind a network that is not
            self._ray.kill(hand.actor)
        self._hands[self._hands.index(hand)] = self._hire()
        says = f"{self._about}: an actor was lost, and another one makes its samples. {lost}"
        warnings.warn(says, MedzooWarning, stacklevel=2)

    def _given_up(self, what: str, lost: _LostError) -> WorkerError:
        hint = f"Perhaps there was too little memory. {ALIKE} Ray's logs are in /tmp/ray/session_latest/logs there."
        return WorkerError(f"{LOSSES} actors {what} {self._about}. The last one: {lost}", hint)


def _flat(tree: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a tree of dicts, each with its dotted name."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}{key}.")
        else:
            yield f"{name}{key}", value
