"""The two data sets: one is asked for samples by number, the other read from its beginning."""

from __future__ import annotations

import operator
import os
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import Any, Protocol

from torch.utils.data import Dataset, IterableDataset, get_worker_info

from .. import checks
from .._worker.defaults import process_wide_settings_are_default
from ..config import ModelConfig
from ..errors import InputError
from .blocks import Item, Maker, check_epoch, check_state, cut, making, shared_number

CACHED_BLOCKS = 4


class Epochs(Protocol):
    """What decides the epochs of a loader's data set."""

    def set_epoch(self, epoch: int) -> None:
        """Have the next iteration be that of an epoch."""


class SyntheticDataset(Maker, Dataset[Any]):
    """``dataset[i]`` is sample i of a seed, made when it is asked for; made by `dataset`.

    Read in the order that is expected, samples are made a block at a time, and while one block is
    handed out the next is made in a thread. That is the order of their numbers, unless an `Order`
    sets another. Read in any other order, just the samples asked for are made. A worker process
    loads its own model at its first sample, makes just what it is asked for, and makes the
    same samples as any other. A model whose samples depend on their batch makes whole blocks
    everywhere.
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
        self._fresh = fresh  # an `Order` asks for the samples of later epochs, by their numbers
        self._order_read = shared_number()  # 1 once it was read from
        super().__init__(model_id, checks.count(n, "n"), **how)

    def _reset(self) -> None:
        super()._reset()
        self._kept: dict[int, Item] = {}  # of one epoch: the first that were made
        self._kept_epoch = 0
        self._recent: OrderedDict[int, Item] = (
            OrderedDict()
        )  # what was made last and is not kept: a few blocks
        self._expected: Sequence[int] = range(
            len(self)
        )  # the indices that will be asked for, one after the other
        self._stop = len(self)  # so many of these; what a loader drops is not made
        self._next = 0  # where in these
        self._order: weakref.ref[Epochs] | None = None
        self._begun: tuple[list[int], Future[dict[int, Item]]] | None = (
            None  # a block that is made ahead
        )

    def __len__(self) -> int:
        return self._request.n

    def set_epoch(self, epoch: int) -> None:
        """Have ``dataset[i]`` be sample ``epoch * n + i`` of the seed from now on, in processes of
        a DataLoader too.

        The data set of `medzoo.dataloader` passes it on to the loader's sampler instead, which says
        what an epoch is there; trainers call both.

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
        """What decides the epochs, if that is an order which still exists."""
        return None if self._order is None else self._order()

    def follow(self, order: Epochs) -> None:
        """Leave the epochs to an order; called by the order itself."""
        self._order = weakref.ref(order)

    def __getitem__(self, index: int) -> Any:
        index = whole(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"There is no sample {index} among {len(self)}.")
        return self._get([index % len(self)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Several samples at once, as torch's DataLoader asks for them."""
        asked = [whole(i) for i in indices]
        if not self._fresh and not all(0 <= i < len(self) for i in asked):
            raise IndexError(f"There are no samples {asked!r:.60} among {len(self)}.")
        if self._fresh and not self._order_read:
            raise InputError(
                "The samples of this loader (fresh=True) are read in the order of another sampler, "
                "which knows nothing of its epochs.",
                "Read them with the loader's own sampler, or take medzoo.dataset and call "
                "set_epoch(e) before each epoch.",
            )
        return self._get(asked)

    def _get(self, indices: list[int]) -> list[Any]:
        self._settle()
        items = self._items(indices) if indices else []
        return [self._item(item) for item in items]

    def _items(self, indices: list[int]) -> list[Item]:
        numbers = self._numbers(indices)
        if (epoch := numbers[0] // len(self)) != self._kept_epoch:
            self._kept_epoch, self._kept = epoch, {}
        found, ahead = self._found(numbers), []
        alone = get_worker_info() is None  # else others are asked for what we are not
        if alone and (place := self._place(indices)) is not None:
            cuts = range(
                place - place % self._block, place + len(indices) + self._block, self._block
            )
            *blocks, ahead = [self._numbers(self._in_order(at, at + self._block)) for at in cuts]
        # Where all will be wanted and one at a time is asked for, whole blocks are faster.
        elif self._whole_blocks or (alone and len(numbers) == 1 and self._all_stay):
            blocks = [list(block) for block in dict.fromkeys(map(self._around, numbers))]
        else:
            blocks = [numbers]
        for block in blocks:
            if any(i not in found and i in block for i in numbers):
                found |= self._take(block)
        self._begin(ahead)
        return [
            {k: v.clone() for k, v in found[i].items()} for i in numbers
        ]  # a transform may write into them

    def _numbers(self, indices: Sequence[int]) -> list[int]:
        """Those of samples in the run, past the epochs before."""
        first = int(self._epoch) * len(self)
        return [first + i for i in indices]

    def _around(self, number: int) -> range:
        """The block that a sample is in."""
        within = number % len(self)
        start = number - within % self._block
        return range(start, min(start + self._block, number - within + len(self)))

    def _expect(self, order: Sequence[int], start: int, stop: int) -> None:
        """Be told which indices will be asked for from now on: ``order[start:stop]``."""
        self._settle()
        self._expected, self._next, self._stop = order, start, stop
        self._order_read.fill_(1)

    def _in_order(self, start: int, stop: int) -> list[int]:
        return list(self._expected[start : min(stop, self._stop)])

    def _place(self, indices: list[int]) -> int | None:
        """Where in the expected order these are, if they are next in it or begin it, as one alone
        may by chance.
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
        """Have a thread make a block ahead, in place of what it was to make.

        None does while the caller has changed a setting that all threads share.
        """
        if not process_wide_settings_are_default():
            return
        if block and (self._begun is None or self._begun[0] != block):
            if self._begun is not None:
                self._begun[1].cancel()  # or if that is being made, it is kept like all others
            self._begun = block, self._in_thread(self._provide, block)

    def _take(self, block: list[int]) -> dict[int, Item]:
        """The samples of a block, made ahead if they were."""
        if self._begun is not None and self._begun[0] == block:
            (_, made), self._begun = self._begun, None
            return made.result()
        return self._provide(block)

    def _provide(self, block: list[int]) -> dict[int, Item]:
        """The samples of a block: those that are there, and the others made."""
        with making.lock:  # what another thread is just making is there then
            found = self._found(block)
            if lacking := [i for i in dict.fromkeys(block) if i not in found]:
                found |= self._keep(self._make(sorted(block) if self._whole_blocks else lacking))
        return found

    def _found(self, numbers: list[int]) -> dict[int, Item]:
        return {i: item for i in numbers if (item := self._kept.get(i) or self._recent.get(i))}

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
    """An index as Python has it: a whole number of any type.

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
    """Samples 0, 1, 2 ... of a seed, up to ``n`` or without end, a block ahead of who reads them;
    made by `iterable_dataset`.

    In the workers of a DataLoader, worker w of W makes blocks w, w + W, w + 2 W ..., so each sample
    is made once. Where a block is as large as the loader's batch, batches come in the order of
    their samples.
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
        """Have the next iteration give samples ``epoch * n`` and on, in processes of a DataLoader
        too. Samples without end have one epoch only, so there it changes nothing.

        Raises
        ------
        InputError
            ``epoch`` is not a whole number from 0.
        """
        epoch = check_epoch(epoch, self._n or 1)
        if self._n is not None:
            self._epoch.fill_(epoch)

    def begin_at(self, sample: int) -> None:
        """Have the iterations that begin from now on leave out the first samples of an epoch, so
        many as fill whole batches.
        """
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
        # A worker of a DataLoader is ahead by itself.
        for made in map(self._make, blocks) if worker is not None else self._ahead(blocks):
            for item in islice(made.values(), left_out, None):
                # a copy, or one item would hold the whole block
                yield self._item({k: v.clone() for k, v in item.items()})
            left_out = 0


class Reading(Iterator[Any]):
    """One pass over a `SyntheticStream`, which can be saved and continued; it begins when the first
    item is asked for.
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
        """Where it is: the epoch, and how many items this process has handed out of it."""
        epoch = self._epoch if self._epoch >= 0 else int(self._stream._epoch)
        return {**self._stream.own(), "epoch": epoch, "done": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another pass over the same samples was.

        Raises
        ------
        InputError
            The state is of other samples.
        """
        self._epoch, self._done = check_state(state, self._stream.own(), "epoch", "done")
        self._items = None
