"""The two data sets: one is read by the numbers of samples, the other from its beginning."""

from __future__ import annotations

import operator
import os
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import islice
from typing import Any, Protocol

from torch.utils.data import Dataset, IterableDataset, get_worker_info

from .. import checks
from .._worker.defaults import process_wide_settings_are_default
from ..config import ModelConfig
from ..errors import InputError
from .blocks import Item, Maker, check_epoch, check_state, copy_of, cut, making, shared_number

CACHED_BLOCKS = 4


class Epochs(Protocol):
    """A sampler that decides the epochs of a loader's data set."""

    def set_epoch(self, epoch: int) -> None:
        """Make this epoch the one of the next iteration."""


class SyntheticDataset(Maker, Dataset[Any]):
    """``dataset[i]`` is sample i of a seed, made when it is read. `medzoo.dataset` makes it.

    If samples are read in the expected order, they are made block by block, and a thread makes the
    next block while one is read. The expected order is that of their numbers, or the one that an
    `Order` sets. If they are read in any other order, only the samples that are read are made.

    A worker process loads its own model at its first sample. It makes only the samples that it
    reads, and they are the same as in any other process. A model whose samples depend on their
    batch always makes whole blocks.
    """

    def __init__(
        self,
        model_id: int | str | os.PathLike[str] | ModelConfig,
        n: int,
        *,
        keep: int | None = None,
        fresh: bool = False,
        **how: Any,
    ) -> None:
        self._keep_at_most = 0 if keep is None else checks.count(keep, "keep")
        self._fresh = fresh  # an `Order` reads the samples of later epochs by their numbers
        self._order_read = shared_number()  # 1 after the order was read
        super().__init__(model_id, checks.count(n, "n"), **how)

    def _reset(self) -> None:
        super()._reset()
        self._kept: dict[int, Item] = {}  # the first samples that were made of one epoch
        self._kept_epoch = 0
        self._recent: OrderedDict[int, Item] = OrderedDict()  # a few blocks made last, not kept
        self._expected: Sequence[int] = range(len(self))  # indices in the order of reading
        self._stop = len(self)  # number of these indices; samples that a loader drops are not made
        self._next = 0  # place in these of the index that is read next
        self._order: weakref.ref[Epochs] | None = None
        # A block that is made ahead.
        self._begun: tuple[list[int], Future[dict[int, Item]]] | None = None

    def __len__(self) -> int:
        return self._request.n

    def set_epoch(self, epoch: int) -> None:
        """Make ``dataset[i]`` sample ``epoch * n + i`` of the seed, in workers of a DataLoader too.

        The data set of `medzoo.dataloader` passes the epoch on to the loader's sampler, because
        trainers call both.

        Raises
        ------
        InputError
            ``epoch`` is not a whole number from 0.
        """
        epoch = check_epoch(epoch, len(self))
        if (order := self.order()) is not None:
            order.set_epoch(epoch)
        elif not self._fresh:
            self._epoch.fill_(epoch)

    def order(self) -> Any:
        """The order that decides the epochs; None if there is none, or it no longer exists."""
        return None if self._order is None else self._order()

    def follow(self, order: Epochs) -> None:
        """Let an order decide the epochs; the order itself calls this."""
        self._order = weakref.ref(order)

    def __getitem__(self, index: int) -> Any:
        index = whole(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"There is no sample {index} among {len(self)}.")
        return self._get([index % len(self)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Several samples at once; torch's DataLoader calls this."""
        asked = list(map(whole, indices))
        if not self._fresh and not all(0 <= i < len(self) for i in asked):
            raise IndexError(f"There are no samples {asked!r:.60} among {len(self)}.")
        if self._fresh and not self._order_read:
            raise InputError(
                "The samples of this loader (fresh=True) are read in the order of another sampler, "
                "which does not know its epochs.",
                "Read them with the loader's own sampler, or take medzoo.dataset and call "
                "set_epoch(e) before each epoch.",
            )
        return self._get(asked)

    def _get(self, indices: list[int]) -> list[Any]:
        self._settle()
        items = self._outside_of_main(self._items, indices) if indices else []
        return [self._item(item) for item in items]

    def _items(self, indices: list[int]) -> list[Item]:
        numbers = self._numbers(indices)
        if (epoch := numbers[0] // len(self)) != self._kept_epoch:
            self._kept_epoch, self._kept = epoch, {}
        blocks, ahead = self._blocks(indices, numbers)
        made = self._cached(numbers)
        for block in blocks:
            if any(i not in made and i in block for i in numbers):
                made |= self._take(block)
        self._begin(ahead)
        return [copy_of(made[number]) for number in numbers]  # a transform may write into them

    def _blocks(self, indices: list[int], numbers: list[int]) -> tuple[list[list[int]], list[int]]:
        """The blocks that have these samples, and the block to make ahead, which may be empty."""
        alone = get_worker_info() is None  # each worker reads only some of the samples
        if alone and (place := self._place(indices)) is not None:
            size = self._block
            starts = range(place - place % size, place + len(indices) + size, size)
            blocks = [self._numbers(self._in_order(start, start + size)) for start in starts]
            return blocks[:-1], blocks[-1]
        # If all samples will be kept and they are read one by one, whole blocks are faster.
        if self._whole_blocks or (alone and len(numbers) == 1 and self._all_stay):
            return list(map(list, dict.fromkeys(map(self._around, numbers)))), []
        return [numbers], []

    def _numbers(self, indices: Sequence[int]) -> list[int]:
        """The numbers in the run of samples of this epoch."""
        first = int(self._epoch) * len(self)
        return [first + i for i in indices]

    def _around(self, number: int) -> range:
        """The block of a sample."""
        within = number % len(self)
        start = number - within % self._block
        return range(start, min(start + self._block, number - within + len(self)))

    def _expect(self, order: Sequence[int], start: int, stop: int) -> None:
        """Expect that from now on the indices ``order[start:stop]`` are read."""
        self._settle()
        self._expected, self._next, self._stop = order, start, stop
        self._order_read.fill_(1)

    def _in_order(self, start: int, stop: int) -> list[int]:
        return list(self._expected[start : min(stop, self._stop)])

    def _place(self, indices: list[int]) -> int | None:
        """The place of these indices in the expected order, if they are read in this order.

        That is, they come next in it, or several of them begin it: a single one may do so by
        chance.
        """
        several = len(indices) > 1
        try:
            place = self._expected.index(indices[0])
        except ValueError:
            place = -1
        if place >= 0 and self._in_order(place, place + len(indices)) == indices:
            follows = place == self._next or (several and place == 0)
            if follows or several:  # those that skip batches go on from there
                self._next = (place + len(indices)) % max(self._stop, 1)
            if follows:
                return place
        if self._expected == range(len(self)):  # no other order was set
            self._next = indices[-1] + 1
        return None

    def _begin(self, block: list[int]) -> None:
        """Let a thread make a block ahead, instead of the one that it was going to make.

        No thread is used while the caller has changed a setting that all threads share.
        """
        if not process_wide_settings_are_default():
            return
        if block and (self._begun is None or self._begun[0] != block):
            if self._begun is not None:
                self._begun[1].cancel()  # a block that is already being made is kept
            self._begun = block, self._in_thread(self._provide, block)

    def _take(self, block: list[int]) -> dict[int, Item]:
        """The samples of a block, which may have been made ahead."""
        if self._begun is not None and self._begun[0] == block:
            (_, made), self._begun = self._begun, None
            return made.result()
        return self._provide(block)

    def _provide(self, block: list[int]) -> dict[int, Item]:
        """The samples of a block; those that are not in memory are made."""
        with making.lock:  # after another thread has made its block
            items = self._cached(block)
            if missing := [i for i in dict.fromkeys(block) if i not in items]:
                items |= self._keep(self._make(sorted(block) if self._whole_blocks else missing))
        return items

    def _cached(self, numbers: list[int]) -> dict[int, Item]:
        """The samples that are in memory."""
        items = {}
        for number in numbers:
            if item := self._kept.get(number) or self._recent.get(number):
                items[number] = item
        return items

    def _keep(self, made: dict[int, Item]) -> dict[int, Item]:
        for i, item in made.items():
            if len(self._kept) < self._keep_at_most and i // len(self) == self._kept_epoch:
                self._kept[i] = item
                continue
            while len(self._recent) >= CACHED_BLOCKS * self._block:
                self._recent.popitem(last=False)
            self._recent[i] = item
        return made

    @property
    def _all_stay(self) -> bool:
        return len(self) <= self._keep_at_most + CACHED_BLOCKS * self._block


def whole(index: object) -> int:
    """An index as an int: it may be a whole number of any type.

    Raises
    ------
    InputError
        It is something else.
    """
    try:
        return operator.index(index)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(
            f"{index!r:.60} is not the number of a sample.",
            "Give a whole number; torch.utils.data.Subset(dataset, range(3)) has several.",
        ) from None


class SyntheticStream(Maker, IterableDataset[Any]):
    """Samples 0, 1, 2 ... of a seed, up to ``n`` or endless, made one block ahead of the reader.

    `medzoo.iterable_dataset` makes it. Worker w of W workers of a DataLoader makes blocks w, w + W,
    w + 2 W ..., so each sample is made once. If a block is as large as the loader's batch, batches
    come in the order of their samples.
    """

    def __init__(
        self, model_id: int | str | os.PathLike[str] | ModelConfig, n: int | None = None, **how: Any
    ) -> None:
        super().__init__(model_id, n, **how)
        self._n = n
        self._begin_at = shared_number()

    def __len__(self) -> int:
        if self._n is None:
            raise TypeError("These samples are endless.")
        return self._n

    def set_epoch(self, epoch: int) -> None:
        """Begin the next iteration with sample ``epoch * n``, in workers of a DataLoader too.

        Endless samples have only one epoch, so this does not change them.

        Raises
        ------
        InputError
            ``epoch`` is not a whole number from 0.
        """
        epoch = check_epoch(epoch, self._n or 1)
        if self._n is not None:
            self._epoch.fill_(epoch)

    def begin_at(self, sample: int) -> None:
        """Leave out the first samples of an epoch, whole batches, in later iterations."""
        self._begin_at.fill_(sample)

    def __iter__(self) -> Iterator[Any]:
        return Reading(self)

    def own(self) -> dict[str, Any]:
        """What a saved state must agree with."""
        return {"seed": self.seed, "n": self._n}

    def _read(self, epoch: int, done: int) -> Iterator[Any]:
        """The items of an epoch for this process, without the first ``done`` of them."""
        self._settle()
        worker = get_worker_info()
        share, shares = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        first = epoch * (self._n or 0)
        stop = None if self._n is None else first + self._n
        begin = first + int(self._begin_at) + (share + done // self._block * shares) * self._block
        blocks = cut(begin, stop, self._block, shares)
        left_out = done % self._block
        # A worker of a DataLoader already works ahead.
        in_worker = partial(self._outside_of_main, self._make)
        for made in map(in_worker, blocks) if worker is not None else self._ahead(blocks):
            for item in islice(made.values(), left_out, None):
                yield self._item(copy_of(item))  # else one item would keep the whole block
            left_out = 0


class Reading(Iterator[Any]):
    """One iteration over a `SyntheticStream`, which can be saved and continued.

    It begins when the first item is read.
    """

    def __init__(self, stream: SyntheticStream) -> None:
        self._stream, self._epoch, self._done = stream, -1, 0
        self._items: Iterator[Any] | None = None

    def __next__(self) -> Any:
        if self._items is None:
            if self._epoch < 0:
                self._epoch = int(self._stream._epoch)
            self._items = self._stream._read(self._epoch, self._done)
        item = next(self._items)
        self._done += 1
        return item

    def close(self) -> None:
        """End it."""
        if self._items is not None:
            self._items.close()  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and the number of its items that this process has read."""
        epoch = self._epoch if self._epoch >= 0 else int(self._stream._epoch)
        return {**self._stream.own(), "epoch": epoch, "done": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another iteration over the same samples was.

        Raises
        ------
        InputError
            The state belongs to other samples.
        """
        self._epoch, self._done = check_state(
            state, self._stream.own(), "epoch", "done", most=self._stream._n
        )
        self._items = None
