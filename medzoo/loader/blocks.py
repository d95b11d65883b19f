"""How samples for training are made: block by block, ahead of the reader, in any process."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import get_worker_info

from .. import checks
from .._worker.defaults import default_settings, process_wide_settings_are_default
from ..config import ModelConfig, Version
from ..config.columns import known_range
from ..errors import InputError
from ..generation import capacity
from ..generation.job import Job
from ..generation.run import LoadedModel
from ..registry import card, resolve
from ..runtime import Execution
from ..runtime.native import pick_device
from ..runtime.weights import their_file

Item = dict[str, torch.Tensor]
A = TypeVar("A")
T = TypeVar("T")
# Attributes that are not sent to another process.
IN_PROCESS = {"_model", "_thread", "_kept", "_recent", "_expected", "_begun", "_order"}
WITH_OPENMP = "backend: OpenMP" in torch.__config__.parallel_info()
FORK_WAITS = 120.0  # most seconds that a fork waits for the block that is being made


class Making:
    """A lock that a thread holds while a model makes a block, and while the process is forked.

    Packages need not support several threads. If a process is forked while another thread runs a
    model, the new process inherits locks of libraries that are never released.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._held = False
        self.threads = torch.get_num_threads()  # of this process, before torch's workers take one
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
        # Without OpenMP, there is one pool for all threads of a process, and it is gone now.
        self.threads = torch.get_num_threads() if WITH_OPENMP else 1

    def share(self, workers: int) -> int:
        """The threads for the model of each worker: those of the process that started them."""
        return max(1, self.threads // workers)


making = Making()


class Maker:
    """The base of both data sets: a request, and a model in each process that makes its samples."""

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
        # Wrong or missing arguments fail here, and not in a worker.
        config = model_id if isinstance(model_id, ModelConfig) else resolve(model_id)
        if n is None:
            _check_one_for_all(options, config.version(version))
        job = Job.of(
            config,
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
        self._whole_blocks = not chosen.per_sample  # samples depend on their whole batch
        self._transform = transform
        self._as_tuple = None if as_tuple is None else check_names(as_tuple, chosen, transform)
        self.start_method = None
        if interpreter is None and pick_device(execution.device, chosen).startswith("cuda"):
            self.start_method = "spawn"  # CUDA cannot be used in a process that was forked
        self._epoch = shared_number()
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._model: LoadedModel | None = None
        self._thread: ThreadPoolExecutor | None = None

    def _repr_html_(self) -> str:
        """What the data set makes, for notebooks. No sample is made for it."""
        n = getattr(self, "_n", self._request.n)
        number = "endless samples" if n is None else f"{n:,} samples"
        return card.html(
            self._job.config,
            self._job.version,
            f"{type(self).__name__} of {number}, seed {self.seed}, blocks of {self._block}",
        )

    def _settle(self) -> None:
        """Start again in a process that was forked, which has neither the model nor its thread."""
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
        items: dict[int, Item] = {}
        for row, index in enumerate(samples.indices):
            items[int(index)] = {name: values[row] for name, values in tensors.items()}
        return items

    def _loaded(self) -> LoadedModel:
        """The model of this process.

        It is loaded by the thread that reads, not by the one that works ahead: loading restores
        global random states, and a training must not draw random numbers at the same time.
        """
        with making.lock:
            if self._model is None:
                self._model = self._job.load()
            return self._model

    def _item(self, item: Item) -> Any:
        """The sample that a user gets: transformed, and as a tuple if that was asked for."""
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

    def _in_thread(self, run: Callable[[A], T], argument: A) -> Future[T]:
        """The result of a function, run in the thread that makes samples."""
        if self._thread is None:
            prepare, worker = None, get_worker_info()
            if worker is not None:
                prepare = partial(torch.set_num_threads, making.share(worker.num_workers))
            self._thread = ThreadPoolExecutor(1, "medzoo-ahead", prepare)
        return self._thread.submit(run, argument)

    def _outside_of_main(self, run: Callable[[A], T], argument: A) -> T:
        """The result of a function. A worker runs it in the thread that makes samples.

        The first thread of a worker may use one core only: the threads with which it shared its
        work are gone after a fork, and it would wait for them for ever.
        """
        if get_worker_info() is None:
            return run(argument)
        return self._in_thread(run, argument).result()

    def _ahead(self, blocks: Iterable[range]) -> Iterator[dict[int, Item]]:
        """The samples of block after block; a thread makes the next block meanwhile.

        No thread is used while the caller has changed a setting that all threads share.
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


def copy_of(item: Item) -> Item:
    """A copy of a sample, which does not share memory with its block."""
    return {name: values.clone() for name, values in item.items()}


def shared_number() -> torch.Tensor:
    """A whole number in shared memory, 0 at first. Running workers see it change."""
    number = torch.zeros((), dtype=torch.int64, device="cpu")
    number.share_memory_()  # type: ignore[no-untyped-call]
    return number


def check_names(names: object, version: Version, transform: object) -> tuple[str, ...]:
    """``names`` as a tuple, if samples can be tuples of these columns.

    Raises
    ------
    InputError
        It is not a sequence of names, or the model has no such column.
    """
    example = ", ".join(map(repr, version.outputs))
    columns = list(names) if isinstance(names, (tuple, list)) else []
    if not columns or not all(isinstance(name, str) for name in columns):
        comma = "," if len(version.outputs) == 1 else ""
        raise InputError(
            f"as_tuple={checks.shown(names)} is not a tuple of column names.",
            f"Give some of these: ({example}{comma}).",
        )
    unknown = [name for name in columns if name not in version.outputs]
    if unknown and transform is None:  # a transform may make other columns
        raise InputError(
            f"as_tuple={tuple(columns)!r}: these samples have no {unknown[0]!r}.",
            f"Their columns are {example}.",
        )
    return tuple(columns)


def _check_one_for_all(options: Mapping[str, Any], version: Version) -> None:
    """Refuse values for single samples, if the samples are endless.

    Raises
    ------
    InputError
        A condition is a list of several values, or there are several latents.
    """
    for name in {*version.conditions, "latents"} & options.keys():
        values = checks.listed(checks.plain(options[name]))
        if isinstance(values, list) and len(values) > 1:
            raise InputError(
                f"{name} has {len(values)} values for endless samples (n=None).",
                f"Give n={len(values)}, or one value for all samples.",
            )


def check_state(state: object, own: dict[str, Any], *places: str, most: int | None) -> list[int]:
    """The numbers with the keys ``places`` of a saved state.

    Parameters
    ----------
    state : dict
        What ``state_dict`` returned.
    own : dict
        Entries that the state must have too, such as the seed and the number of samples.
    *places : str
        Keys of the numbers: of the epoch, and of the place in it.
    most : int, optional
        The last place in an epoch; None if it is endless.

    Raises
    ------
    InputError
        It is not such a state, or belongs to other samples.
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
    if most is not None and numbers[1] > most:
        raise InputError(
            f"{state!r:.80} is not the state of such a loader: {places[1]} is at most {most}.",
            "Give what state_dict() returned.",
        )
    return numbers


def check_epoch(epoch: object, n: int) -> int:
    """``epoch``, if it is a whole number from 0, and not too large for epochs of ``n`` samples.

    Raises
    ------
    InputError
        It is something else.
    """
    number = -1
    if isinstance(epoch, (int, np.integer)) and not isinstance(epoch, bool):
        number = int(epoch)
    if not 0 <= number <= 2**62 // n:
        raise InputError(f"epoch={epoch!r} is not a valid epoch.", "Give a whole number from 0.")
    return number


def cut(start: int, stop: int | None, block: int, step: int = 1) -> Iterator[range]:
    """Every ``step``-th block of the numbers from ``start`` to ``stop``, which may be None."""
    for begin in itertools.count(start, block * step):
        if stop is not None and begin >= stop:
            return
        yield range(begin, begin + block if stop is None else min(begin + block, stop))
