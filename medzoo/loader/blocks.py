"""How samples for training are made: a block at a time, ahead of who reads them, in whatever
process that is.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from .. import checks
from .._worker.defaults import default_settings, process_wide_settings_are_default
from ..config import ModelConfig, Version
from ..config.columns import known_range
from ..errors import InputError
from ..generation import capacity
from ..generation.job import Job
from ..generation.run import LoadedModel
from ..runtime import Execution
from ..runtime.native import pick_device
from ..runtime.weights import their_file

Item = dict[str, torch.Tensor]
IN_PROCESS = {
    "_model",
    "_thread",
    "_kept",
    "_recent",
    "_expected",
    "_begun",
    "_order",
}  # what another process has none of at first
FORK_WAITS = 120.0  # seconds at most, for the block that is being made


class Making:
    """Held while a model makes a block, one at a time in a process, and by a thread that forks.

    Packages need not stand two threads. And a process forked off while another thread is inside a
    model would inherit locks of its libraries that nobody opens.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._held = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child
            )

    def _before(self) -> None:
        if self.lock.acquire(timeout=FORK_WAITS):
            self._held = True

    def _in_parent(self) -> None:
        if self._held:
            self._held = False
            self.lock.release()

    def _in_child(self) -> None:
        self.lock, self._held = threading.RLock(), False


making = Making()


class Maker:
    """What both data sets have: a request, and in each process a separate model that makes blocks
    of its samples.
    """

    def __init__(
        self,
        model_id: int | str | os.PathLike[str] | ModelConfig,
        n: int | None,
        *,
        version: str | None,
        execution: Execution,
        seed: int | None,
        transform: Callable[[Item], Any] | None,
        as_tuple: Sequence[str] | None,
        batch_size: int | None,
        inputs: Any,
        options: dict[str, Any],
    ) -> None:
        # What is bad or missing fails here, not in a worker.
        job = Job.of(
            model_id,
            n or 1,
            version=version,
            execution=execution,
            seed=seed,
            inputs=inputs,
            options=options,
        )
        chosen = job.version
        self._request, self.seed = job.request, job.request.seed
        self._block = checks.count(
            chosen.batch_size if batch_size is None else batch_size, "batch_size"
        )
        capacity.check_batch(job.config, chosen, n or self._block, self._block)
        _, interpreter = job.prepare()
        if execution.weights is not None:  # a worker may start in another folder
            execution = replace(execution, weights=their_file(execution.weights))
        self._job = replace(job, execution=execution)
        for output in chosen.outputs.values():
            if output.kind in {"image", "volume"}:
                known_range(output)
        self._whole_blocks = (
            not chosen.per_sample
        )  # what such a model makes depends on the whole batch
        self._transform = transform
        self._as_tuple = None if as_tuple is None else check_names(as_tuple, chosen, transform)
        # CUDA cannot be used in a process that was forked.
        self.start_method = (
            "spawn"
            if interpreter is None and pick_device(execution.device, chosen).startswith("cuda")
            else None
        )
        self._epoch = shared_number()
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._model: LoadedModel | None = None
        self._thread: ThreadPoolExecutor | None = None

    def _settle(self) -> None:
        """Start again in a process that was forked: the model and its thread stayed behind."""
        if self._process != os.getpid():
            self._reset()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in IN_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for value in state.values():
            if isinstance(value, torch.Tensor):
                value.share_memory_()  # type: ignore[no-untyped-call]
        self._reset()

    def _make(self, numbers: Sequence[int]) -> dict[int, Item]:
        """The samples of these numbers."""
        with making.lock:
            samples = self._loaded().at(numbers, self._request)
            with default_settings():
                tensors = samples.to_torch()
        return {
            int(i): {k: v[row] for k, v in tensors.items()} for row, i in enumerate(samples.indices)
        }

    def _loaded(self) -> LoadedModel:
        """The model of this process. The reading thread loads it, not the thread that works ahead:
        loading puts global random states back, which must not happen beside a training that draws.
        """
        with making.lock:
            if self._model is None:
                self._model = self._job.load()
            return self._model

    def _item(self, item: Item) -> Any:
        """What is handed out of a sample: transformed, and as a tuple if that was asked for."""
        changed = item if self._transform is None else self._transform(item)
        if self._as_tuple is None:
            return changed
        try:
            return tuple(changed[name] for name in self._as_tuple)
        except (KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"as_tuple={self._as_tuple!r}: what `transform` returned is not a dict with these "
                "names.",
                "Have it return such a dict, or the tuple itself and leave `as_tuple` out.",
            ) from error

    def _in_thread(
        self, make: Callable[[Any], dict[int, Item]], block: Sequence[int]
    ) -> Future[dict[int, Item]]:
        """What will be made of a block by the thread that is ahead of the reader."""
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="medzoo-ahead")
        return self._thread.submit(make, block)

    def _ahead(self, blocks: Iterable[range]) -> Iterator[dict[int, Item]]:
        """Block after block; while one is in use a thread makes the next.

        No thread does while the caller has changed a setting that all threads share.
        """
        pending: Future[dict[int, Item]] | None = None
        self._loaded()
        try:
            for block in blocks:
                made, pending = pending, None
                if process_wide_settings_are_default():
                    pending = self._in_thread(self._make, block)
                if made is not None:
                    yield made.result()
                if pending is None:
                    yield self._make(block)
            if pending is not None:
                yield pending.result()
        finally:
            if pending is not None:
                pending.cancel()  # unless it has begun


def shared_number() -> torch.Tensor:
    """A whole number, 0 at first, that workers which are at work see change."""
    number = torch.zeros((), dtype=torch.int64, device="cpu")
    number.share_memory_()  # type: ignore[no-untyped-call]
    return number


def check_names(names: object, version: Version, transform: object) -> tuple[str, ...]:
    """``names`` as a tuple, if samples can be handed out as a tuple of these columns.

    Raises
    ------
    InputError
        It is not a sequence of names, or the model has no such column.
    """
    example = ", ".join(map(repr, version.outputs))
    if (
        not isinstance(names, (tuple, list))
        or not names
        or not all(isinstance(name, str) for name in names)
    ):
        raise InputError(
            f"as_tuple={checks.shown(names)} is not a tuple of column names.",
            f"Give some of these: ({example}{',' * (len(version.outputs) == 1)}).",
        )
    unknown = [name for name in names if name not in version.outputs]
    if unknown and transform is None:  # a transform may make other columns
        raise InputError(
            f"as_tuple={tuple(names)!r}: these samples have no {unknown[0]!r}.",
            f"Their columns are {example}.",
        )
    return tuple(names)


def check_state(state: object, own: dict[str, Any], *places: str) -> list[int]:
    """The numbers ``places`` of a state that was saved, if it belongs to the same samples.

    Parameters
    ----------
    own
        What the state must say as well: the seed and the number of samples.

    Raises
    ------
    InputError
        It does not, or is not such a state.
    """
    if not isinstance(state, dict) or not {*own, *places} <= state.keys():
        raise InputError(
            f"{state!r:.80} is not the state of such a loader.",
            "Give what state_dict() returned.",
        )
    for name, value in own.items():
        if state[name] != value:
            raise InputError(
                f"The state is of {name}={state[name]!r}, and this loader has {name}={value!r}.",
                "Make the loader with the same arguments as the one whose state was saved.",
            )
    numbers = [state[name] for name in places]
    if not all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in numbers):
        raise InputError(f"{state!r:.80} is not the state of such a loader: {places} are numbers.")
    return numbers


def check_epoch(epoch: object, n: int) -> int:
    """``epoch`` itself if the samples of that epoch of ``n`` can be numbered.

    Raises
    ------
    InputError
        They cannot, or it is not a whole number from 0.
    """
    if (
        isinstance(epoch, bool)
        or not isinstance(epoch, (int, np.integer))
        or not 0 <= epoch <= 2**62 // n
    ):
        raise InputError(f"epoch={epoch!r} is not a valid epoch.", "Give a whole number from 0.")
    return int(epoch)


def cut(start: int, stop: int | None, block: int, step: int = 1) -> Iterator[range]:
    """Every ``step``-th block of the numbers from ``start`` to ``stop``, or without end."""
    for begin in itertools.count(start, block * step):
        if stop is not None and begin >= stop:
            return
        yield range(begin, begin + block if stop is None else min(begin + block, stop))
