"""How samples for training are made: a block at a time, ahead of who reads them, in whatever
process that is.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from .. import seeds
from ..errors import InputError
from ..generator import Model, load
from ..registry import resolve
from ..request import Request, check_count
from ..runtime import check_precision, name_of, prepare
from ..runtime.native import pick_device
from ..runtime.weights import check_fit, their_file
from ..samples import known_range

Item = dict[str, torch.Tensor]
IN_PROCESS = {
    "_model",
    "_thread",
    "_kept",
    "_recent",
    "_expected",
    "_begun",
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
    """What both data sets have: a request, and in each process a model of its own that makes blocks
    of its samples.
    """

    def __init__(
        self,
        model_id: int | str | os.PathLike[str],
        n: int | None,
        *,
        seed: int | None,
        transform: Callable[[Item], Any] | None,
        batch_size: int | None,
        device: str,
        precision: str,
        version: str | None,
        weights: str | os.PathLike[str] | None,
        inputs: Any,
        env: str,
        trust: bool,
        options: dict[str, Any],
    ) -> None:
        config = resolve(model_id)
        chosen = config.version(version)
        self.seed = seeds.check_seed(seed)
        # What is bad or missing fails here, not in a worker.
        if n is not None:
            check_count(n)
        self._request = Request.of(
            config, chosen, n or 1, seed=self.seed, inputs=inputs, options=options
        )
        self._block = check_count(
            chosen.batch_size if batch_size is None else batch_size, "batch_size"
        )
        check_precision(name_of(config, chosen), chosen, precision)
        package, interpreter = prepare(config, chosen, env=env, trust=trust)
        if weights is not None:
            weights = their_file(weights)
            if chosen.contract == "native":
                check_fit(name_of(config, chosen), package.path, weights)
        self._load = {
            "model_id": model_id,
            "version": version,
            "device": device,
            "weights": weights,
            "env": env,
            "trust": trust,
            "precision": precision,
        }
        for output in chosen.outputs.values():
            if output.kind in {"image", "volume"}:
                known_range(output)
        self._whole_blocks = (
            not chosen.per_sample
        )  # what such a model makes depends on the whole batch
        self._transform = transform
        # CUDA cannot be used in a process that was forked.
        self.start_method = (
            "spawn"
            if interpreter is None and pick_device(device, chosen).startswith("cuda")
            else None
        )
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # workers that are at work see it change
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._model: Model | None = None
        self._thread: ThreadPoolExecutor | None = None

    def _settle(self) -> None:
        """Begin anew in a process that was forked: the model and its thread stayed behind."""
        if self._process != os.getpid():
            self._reset()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in IN_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]
        self._reset()

    def _make(self, numbers: Sequence[int]) -> dict[int, Item]:
        """The samples of these numbers."""
        with making.lock:
            if self._model is None:
                self._model = load(**self._load)  # type: ignore[arg-type]
            samples = self._model.at(numbers, self._request)
            tensors = samples.to_torch()
        return {
            int(i): {k: v[row] for k, v in tensors.items()} for row, i in enumerate(samples.indices)
        }

    def _in_thread(
        self, make: Callable[[Any], dict[int, Item]], block: Sequence[int]
    ) -> Future[dict[int, Item]]:
        """What will be made of a block by the thread that is ahead of the reader."""
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="medzoo-ahead")
        return self._thread.submit(make, block)

    def _ahead(self, blocks: Iterable[range]) -> Iterator[dict[int, Item]]:
        """Block after block; while one is in use a thread makes the next."""
        pending: Future[dict[int, Item]] | None = None
        try:
            for block in blocks:
                made, pending = pending, self._in_thread(self._make, block)
                if made is not None:
                    yield made.result()
            if pending is not None:
                yield pending.result()
        finally:
            if pending is not None:
                pending.cancel()  # unless it has begun


def check_epoch(epoch: object, n: int) -> int:
    """``epoch`` itself if the samples of that epoch of ``n`` can be numbered.

    Raises
    ------
    InputError
        They cannot, or it is no whole number from 0.
    """
    if (
        isinstance(epoch, bool)
        or not isinstance(epoch, (int, np.integer))
        or not 0 <= epoch <= 2**62 // n
    ):
        raise InputError(f"epoch={epoch!r} is no epoch.", "Give a whole number from 0.")
    return int(epoch)


def cut(start: int, stop: int | None, block: int, step: int = 1) -> Iterator[range]:
    """Every ``step``-th block of the numbers from ``start`` to ``stop``, or without end."""
    for begin in itertools.count(start, block * step):
        if stop is not None and begin >= stop:
            return
        yield range(begin, begin + block if stop is None else min(begin + block, stop))
