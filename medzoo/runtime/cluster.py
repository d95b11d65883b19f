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
from .._worker import threads
from .._worker.batch import Batch
from ..config import ModelConfig, Version, name_of
from ..errors import MedzooError, MedzooWarning, OutOfMemoryError, WorkerError
from ..provenance import Provenance
from .engine import check_device, chosen_engine, connect, share
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
        """Load the model as `medzoo.load` does.

        Returns what the session says of itself, with its warnings; or the error.

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
            threads.prepare()
            import torch

            torch.set_num_threads(caller["threads"])
        with warnings.catch_warnings(record=True) as recorded:
            warnings.simplefilter("always")
            try:
                self._session = open_session(config, version, execution, progress=False)
            except (MedzooError, MemoryError) as error:
                return error
        messages = [str(w.message) for w in recorded if issubclass(w.category, MedzooWarning)]
        return {
            "medzoo": __version__,
            "warnings": messages,
            "device": self._session.device,
            "batch_size": self._session.batch_size,
            "digests": self._session.digests,
            "provenance": self._session.provenance,
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
class _Task:
    """A range of samples that an actor makes, or will make."""

    indices: range
    status: Any = None  # while an actor has it: the reference to its answer
    columns: Any = None  # the reference to its columns
    made: bool = False
    error: Exception | None = None  # why it cannot be made
    losses: int = 0  # of actors that had it


@dataclass(eq=False)
class _ActorHandle:
    """An actor, as this process sees it."""

    actor: Any
    opening: Any  # the reference to its first answer; None once the model is loaded
    tasks: list[_Task] = field(default_factory=list)  # in the order in which it makes them


class _LostError(Exception):
    """An actor is gone, or what it made is."""


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
        engine, device = chosen_engine(execution.engine), execution.device
        check_device(engine, device)
        self._model_name = name_of(config, version)
        self._handles: list[_ActorHandle] = []
        self._first: dict[str, Any] = {}  # what the first actor said of itself
        self._failed = 0  # actors in a row that were lost while they loaded
        self._ray, self._shut_down = connect(engine)
        try:
            resources, self.actors = share(engine, self._ray, version, device)
            local = device
            if device in {"auto", "cuda"}:
                local = "cuda" if "GPU" in resources else "cpu"
            there = replace(execution, device=local, engine=None)
            caller = _caller(threads=max(1, int(resources["CPU"])))
            self._arguments = (config, version, there, caller, open_session)
            self._class = self._ray.remote(
                num_cpus=resources["CPU"], num_gpus=resources.get("GPU", 0), max_restarts=0
            )(Actor)
            for _ in range(self.actors):
                self._handles.append(self._hire())
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
        shared, remaining = self._ray.put(batch_of), iter(ranges)
        window: deque[_Task] = deque()  # all that is on its way, the oldest first
        while True:
            for indices in islice(remaining, AHEAD * self.actors - len(window)):
                window.append(_Task(indices))
            if not window:
                return
            self._deal(window, shared)
            self._attend(wait=not window[0].made)
            if window[0].made and (columns := self._fetch(window[0])):
                window.popleft()
                yield columns

    def close(self) -> None:
        """End the actors; Ray too, if it was started for them."""
        ray, handles = self._ray, self._handles
        self._handles = []
        if not ray.is_initialized():
            return
        with suppress(ray.exceptions.RayError):  # actors remove their temporary files
            closing = [h.actor.close.remote() for h in handles if h.opening is None]
            if closing:
                ray.wait(closing, num_returns=len(closing), timeout=GOODBYE)
        for handle in handles:
            ray.kill(handle.actor)
        if self._shut_down:
            ray.shutdown()

    # ----------------------------------------------------------------------------------------------
    # the actors
    def _hire(self) -> _ActorHandle:
        actor = self._class.remote()
        return _ActorHandle(actor, actor.open.remote(*self._arguments))

    def _deal(self, window: Iterable[_Task], shared: Any) -> None:
        """Give the tasks that no actor has to the actors with room for more, the oldest first."""
        for task in window:
            if task.status is not None or task.made:
                continue
            free = [h for h in self._handles if h.opening is None and len(h.tasks) < QUEUE]
            if not free:
                return
            handle = min(free, key=lambda h: len(h.tasks))
            make = handle.actor.make.options(num_returns=2)
            task.status, task.columns = make.remote(shared, task.indices)
            handle.tasks.append(task)

    def _attend(self, *, wait: bool) -> None:
        """Handle what actors have answered; with ``wait``, first wait for an answer."""
        opening: dict[Any, _ActorHandle] = {}
        making: dict[Any, tuple[_ActorHandle, _Task]] = {}
        for handle in self._handles:
            if handle.opening is not None:
                opening[handle.opening] = handle
            for task in handle.tasks:
                making[task.status] = (handle, task)
        refs = [*opening, *making]
        if not refs:
            return
        if wait:
            self._ray.wait(refs, num_returns=1, fetch_local=False)
        ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
        for ref in ready:
            if ref in opening:
                self._welcome(opening[ref])
                continue
            handle, task = making[ref]
            if task in handle.tasks:  # otherwise an earlier answer said that this actor is lost
                self._note(handle, task)

    def _welcome(self, handle: _ActorHandle) -> None:
        """Let an actor that has loaded the model work, if it is like the others."""
        try:
            answer = self._get(handle.opening)
        except _LostError as lost:
            self._failed += 1
            if self._failed >= LOSSES:
                raise self._given_up("in a row were lost while they loaded", lost) from lost
            self._replace(handle, lost)
            return
        if isinstance(answer, MemoryError):
            raise OutOfMemoryError(
                f"{self._model_name} cannot be loaded by an actor: {answer}",
                "Free some memory, or give each actor more cores, so that fewer share a machine.",
            )
        if isinstance(answer, Exception):
            raise answer
        messages = answer.pop("warnings")
        if not self._first:  # the others say the same
            for message in messages:
                warnings.warn(message, MedzooWarning, stacklevel=2)
        self._first = self._first or answer
        self._check_alike(answer)
        handle.opening, self._failed = None, 0

    def _check_alike(self, answer: Mapping[str, Any]) -> None:
        """Raise WorkerError if what an actor says of its session differs from the first one's."""
        first, this = dict(_flat(self._first)), dict(_flat(answer))
        names = [n for n in {**first, **this} if n != "batch_size" and first.get(n) != this.get(n)]
        if names:
            listed = "; ".join(f"{n} {this.get(n)!r}, not {first.get(n)!r}" for n in names)
            raise WorkerError(
                f"{self._model_name}: one actor is not like the first: {listed}.",
                f"{ALIKE} What was written stays.",
            )

    def _note(self, handle: _ActorHandle, task: _Task) -> None:
        """A task is done or failed; or its actor is lost, and all its tasks are given out again."""
        try:
            task.error = self._get(task.status)
        except _LostError as lost:
            unfinished, handle.tasks = handle.tasks, []
            for other in unfinished:
                other.status = None
            self._lost(unfinished[0], lost)  # the one that it was making
            self._replace(handle, lost)
            return
        task.made, task.status = True, None
        handle.tasks.remove(task)

    def _fetch(self, task: _Task) -> dict[str, NDArray[Any]]:
        """A task's columns; empty if they were lost with their machine, and are made again."""
        if task.error is not None:
            raise task.error
        try:
            columns = self._get(task.columns)
        except _LostError as lost:
            task.made = False
            self._lost(task, lost)
            return {}
        # Copies, as Ray's own memory goes with Ray.
        return {name: np.array(column) for name, column in columns.items()}

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
            raise WorkerError(
                f"{self._model_name}: an actor failed: {error.cause!r}", ALIKE
            ) from error
        except self._ray.exceptions.RayError as error:
            raise _LostError(shorten(str(error), 200, placeholder=" ...")) from error

    def _lost(self, task: _Task, lost: _LostError) -> None:
        task.losses += 1
        if task.losses >= LOSSES:
            first, last = task.indices[0], task.indices[-1]
            raise self._given_up(f"were lost over samples {first} to {last} of", lost) from lost

    def _replace(self, handle: _ActorHandle, lost: _LostError) -> None:
        with suppress(Exception):  # it may be alive, behind a network that is not
            self._ray.kill(handle.actor)
        self._handles[self._handles.index(handle)] = self._hire()
        message = (
            f"{self._model_name}: an actor was lost, and another one makes its samples. {lost}"
        )
        warnings.warn(message, MedzooWarning, stacklevel=2)

    def _given_up(self, what: str, lost: _LostError) -> WorkerError:
        return WorkerError(
            f"{LOSSES} actors {what} {self._model_name}. The last one: {lost}",
            f"Perhaps there was too little memory. {ALIKE} "
            "Ray's logs are in /tmp/ray/session_latest/logs there.",
        )


def _caller(threads: int) -> dict[str, Any]:
    """What an actor takes over from this process."""
    return {
        "settings": {k: v for k, v in os.environ.items() if k.startswith("MEDZOO_")},
        "folder": str(Path.cwd()),
        "threads": threads,
    }


def _flat(tree: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a tree of dicts, each with its dotted name."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}{key}.")
        else:
            yield f"{name}{key}", value
