"""Samples into training: a map-style data set that generates on demand, and a DataLoader over it."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from . import seeds
from .errors import InputError
from .generator import Model, load
from .registry import resolve
from .request import Request, check_count
from .runtime import prepare
from .runtime.native import pick_device
from .samples import Samples

Item = dict[str, torch.Tensor]
CACHED_BLOCKS = 4


class SyntheticDataset(Dataset[Any]):
    """``dataset[i]`` is sample i of a seed, made when it is asked for; made by `dataset`.

    Read in order, samples are made a block at a time, and while one block is handed out the next is made in a thread.
    Read in any other order, just the samples asked for are made. A few blocks are kept, no more. A worker process
    loads a model of its own at its first sample, and makes the same samples as any other.
    """

    def __init__(
        self,
        model_id: int | str | os.PathLike[str],
        n: int,
        *,
        seed: int | None = None,
        transform: Callable[[Item], Any] | None = None,
        block: int | None = None,
        keep: int | None = None,
        device: str = "auto",
        version: str | None = None,
        inputs: Any = None,
        env: str = "auto",
        trust: bool = False,
        **options: Any,
    ) -> None:
        config = resolve(model_id)
        chosen = config.version(version)
        self.seed = seeds.check_seed(seed)
        # What is bad or missing fails here, not in a worker.
        self._request = Request.of(config, chosen, n, seed=self.seed, inputs=inputs, options=options)
        self._block = check_count(block if block is not None else chosen.batch_size, "batch_size")
        self._keep_at_most = CACHED_BLOCKS * self._block if keep is None else check_count(keep, "keep")
        self._load = {"model_id": model_id, "version": version, "device": device, "env": env, "trust": trust}
        self._whole_blocks = not chosen.per_sample  # what such a model makes depends on the whole batch
        self._transform = transform
        if prepare(config, chosen, env=env, trust=trust)[1] is None:
            pick_device(device, chosen)
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._one_at_a_time = Lock()  # packages need not stand two threads
        self._model: Model | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._kept: OrderedDict[int, Item] = OrderedDict()
        self._ahead: tuple[range, Future[Samples]] | None = None
        self._next = 0  # what a reader in order asks for next

    def __getstate__(self) -> dict[str, Any]:
        runtime = {"_model", "_thread", "_kept", "_ahead", "_one_at_a_time"}
        return {k: v for k, v in self.__dict__.items() if k not in runtime}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __len__(self) -> int:
        return self._request.n

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"There is no sample {index} among {len(self)}.")
        return self.__getitems__([int(index) % len(self)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Several samples at once, as torch's DataLoader asks for them."""
        if self._process != os.getpid():  # forked: the model and its thread stayed behind
            self._reset()
        items = self._items(list(indices))
        return items if self._transform is None else [self._transform(item) for item in items]

    def _items(self, indices: list[int]) -> list[Item]:
        found = {i: self._kept[i] for i in indices if i in self._kept}
        missing = [i for i in indices if i not in found]
        in_order = indices == list(range(self._next, self._next + len(indices)))
        if in_order:
            while missing:
                made = self._in_order(missing[0] - missing[0] % self._block)
                found |= {i: made[i] for i in missing if i in made}
                missing = [i for i in missing if i not in found]
        # Where all will be wanted, a block costs little more than a sample.
        elif missing and (self._whole_blocks or self._keep_at_most >= len(self)):
            for first in sorted({i - i % self._block for i in missing}):
                found |= self._keep(self._make(range(first, min(first + self._block, len(self)))))
        elif missing:
            found |= self._keep(self._make(missing))
        self._next = indices[-1] + 1
        return [{k: v.clone() for k, v in found[i].items()} for i in indices]  # a transform may write into them

    def _in_order(self, first: int) -> dict[int, Item]:
        """The block from ``first``, made ahead if it was; the next one is begun."""
        if self._ahead is not None and first in self._ahead[0]:
            (block, made), self._ahead = self._ahead, None
            samples = made.result()
        else:
            block = range(first, min(first + self._block, len(self)))
            samples = self._make(block)
        following = range(block.stop, min(block.stop + self._block, len(self)))
        # A worker of a DataLoader is ahead by itself, and a thread in a forked process may meet locks that never open.
        if following and get_worker_info() is None:
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="medzoo-ahead")
            self._ahead = (following, self._thread.submit(self._make, following))
        return self._keep(samples)

    def _make(self, indices: Sequence[int]) -> Samples:
        with self._one_at_a_time:
            if self._model is None:
                self._model = load(**self._load)  # type: ignore[arg-type]
            return self._model.at(indices, self._request)

    def _keep(self, samples: Samples) -> dict[int, Item]:
        tensors = samples.to_torch()
        made = {int(i): {k: v[row] for k, v in tensors.items()} for row, i in enumerate(samples.indices)}
        self._kept |= made
        while len(self._kept) > self._keep_at_most:
            self._kept.popitem(last=False)
        return made


def dataset(
    model_id: int | str | os.PathLike[str],
    n: int,
    *,
    seed: int | None = None,
    transform: Callable[[Item], Any] | None = None,
    keep: int | None = None,
    device: str = "auto",
    version: str | None = None,
    inputs: Any = None,
    env: str = "auto",
    trust: bool = False,
    **options: Any,
) -> SyntheticDataset:
    """A map-style torch data set of ``n`` samples, for a loader or a ``ConcatDataset`` of your own.

    Parameters
    ----------
    model_id, n, seed, device, version, inputs, env, trust, **options
        As in `medzoo.generate`.
    transform
        Called with each sample, a dict of tensors; what it returns is the item.
    keep
        How many samples stay in memory once they are made; four batches if None. With ``keep=n`` each is made once,
        which suits many epochs in shuffled order over a set that fits into memory.

    Returns
    -------
    SyntheticDataset
        ``dataset[i]`` is a dict: ``images`` (C, *spatial) float32 in [0, 1], ``labels`` () int64, ...

    Raises
    ------
    MedzooError
        Whatever `medzoo.generate` raises; for bad input at once.
    """
    return SyntheticDataset(
        model_id, n, seed=seed, transform=transform, keep=keep, device=device, version=version, inputs=inputs, env=env,
        trust=trust, **options,
    )  # fmt: skip


def dataloader(
    model_id: int | str | os.PathLike[str],
    n: int,
    batch_size: int = 32,
    *,
    seed: int | None = None,
    transform: Callable[[Item], Any] | None = None,
    shuffle: bool = False,
    num_workers: int = 0,
    pin_memory: bool | None = None,
    drop_last: bool = False,
    device: str = "auto",
    version: str | None = None,
    inputs: Any = None,
    env: str = "auto",
    trust: bool = False,
    **options: Any,
) -> DataLoader[Any]:
    """A torch DataLoader of ``n`` samples, made while they are read, a batch ahead of the training step.

    Parameters
    ----------
    model_id, n, seed, device, version, inputs, env, trust, **options
        As in `medzoo.generate`.
    batch_size, shuffle, num_workers, drop_last
        As in torch. Samples differ from each other already; shuffling changes their order, not their variety.
    transform
        Called with each sample, a dict of tensors, before batches are put together.
    pin_memory
        As in torch; where there is a CUDA device if None.

    Returns
    -------
    torch.utils.data.DataLoader
        Of dicts: ``images`` (B, C, *spatial) float32 in [0, 1], ``labels`` (B,) int64, ...

    Raises
    ------
    MedzooError
        Whatever `medzoo.generate` raises; for bad input at once.

    Examples
    --------
    >>> for batch in medzoo.dataloader(8, n=10_000, batch_size=64, seed=0):
    ...     step(batch["images"], batch["labels"])
    """
    check_count(batch_size, "batch_size")
    if isinstance(num_workers, bool) or not isinstance(num_workers, int) or num_workers < 0:
        raise InputError(f"num_workers={num_workers!r} is not a number of processes.", "Give a whole number from 0.")
    samples = SyntheticDataset(
        model_id, n, seed=seed, transform=transform, block=batch_size, device=device, version=version, inputs=inputs, env=env,
        trust=trust, **options,
    )  # fmt: skip
    # The order of a shuffle follows from the seed too.
    order = torch.Generator().manual_seed(int(np.uint64(samples.seed).astype(np.int64))) if shuffle else None
    return DataLoader(
        samples,
        batch_size=batch_size,
        shuffle=shuffle,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
        drop_last=drop_last,
        generator=order,
    )
