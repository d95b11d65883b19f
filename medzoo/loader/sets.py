"""The two data sets, and the order in which a loader reads the map-style one."""

from __future__ import annotations

import operator
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset, Sampler, get_worker_info

from .. import seeds
from ..errors import InputError
from ..request import check_count
from .making import Item, Maker, check_epoch, cut, making

CACHED_BLOCKS = 4


class SyntheticDataset(Maker, Dataset[Any]):
    """``dataset[i]`` is sample i of a seed, made when it is asked for; made by `dataset`.

    Read in the order that is expected, samples are made a block at a time, and while one block is
    handed out the next is made in a thread. That is the order of their numbers, unless an `Order`
    told of another. Read in any other order, just the samples asked for are made. A worker process
    loads a model of its own at its first sample, makes just what it is asked for, and makes the
    same samples as any other. A model whose samples depend on their batch makes whole blocks
    everywhere.
    """

    def __init__(
        self,
        model_id: int | str | os.PathLike[str],
        n: int,
        *,
        keep: int | None = None,
        fresh: bool = False,
        **how: Any,
    ) -> None:
        self._keep_at_most = 0 if keep is None else check_count(keep, "keep")
        self._fresh = fresh  # an `Order` asks for the samples of later epochs, by their numbers
        super().__init__(model_id, check_count(n), **how)

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
        self._next = 0  # where in these
        self._begun: tuple[list[int], Future[dict[int, Item]]] | None = (
            None  # a block that is made ahead
        )

    def __len__(self) -> int:
        return self._request.n

    def set_epoch(self, epoch: int) -> None:
        """Have ``dataset[i]`` be sample ``epoch * n + i`` of the seed from now on, in processes of
        a DataLoader too.

        Raises
        ------
        InputError
            ``epoch`` is no whole number from 0, or the data set is that of a loader whose epochs
            are fresh by themselves.
        """
        if self._fresh:
            raise InputError(
                "The epochs of this loader follow each other by themselves (fresh=True).",
                f"loader.sampler.set_epoch({epoch!r:.20}) says which one is next.",
            )
        self._epoch.fill_(check_epoch(epoch, len(self)))

    def __getitem__(self, index: int) -> Any:
        index = whole(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"There is no sample {index} among {len(self)}.")
        return self.__getitems__([index % len(self)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Several samples at once, as torch's DataLoader asks for them."""
        asked = [whole(i) for i in indices]
        if not self._fresh and not all(0 <= i < len(self) for i in asked):
            raise IndexError(f"There are no samples {asked!r:.60} among {len(self)}.")
        self._settle()
        items = self._items(asked) if asked else []
        return items if self._transform is None else [self._transform(item) for item in items]

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
            *blocks, ahead = [self._numbers(self._expected[at : at + self._block]) for at in cuts]
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

    def _expect(self, order: Sequence[int]) -> None:
        """Be told which indices will be asked for from now on."""
        self._settle()
        self._expected, self._next = order, 0

    def _place(self, indices: list[int]) -> int | None:
        """Where in the expected order these are, if they are next in it or begin it, as one alone
        may by chance.
        """
        for place in (self._next, 0) if len(indices) > 1 else (self._next,):
            stop = place + len(indices)
            if list(self._expected[place:stop]) == indices:
                self._next = stop % len(self._expected)
                return place
        if self._expected == range(len(self)):  # nobody told of another
            self._next = indices[-1] + 1
        return None

    def _begin(self, block: list[int]) -> None:
        """Have a thread make a block ahead, in place of what it was to make."""
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
        self, model_id: int | str | os.PathLike[str], n: int | None = None, **how: Any
    ) -> None:
        super().__init__(model_id, n, **how)
        self._n = n

    def __len__(self) -> int:
        if self._n is None:
            raise TypeError("These samples do not end.")
        return self._n

    def set_epoch(self, epoch: int) -> None:
        """Have the next iteration give samples ``epoch * n`` and on, in processes of a DataLoader
        too.

        Raises
        ------
        InputError
            ``epoch`` is no whole number from 0, or there is no ``n``.
        """
        if self._n is None:
            raise InputError("Samples without end have no epochs.", "Give `n`.")
        self._epoch.fill_(check_epoch(epoch, self._n))

    def __iter__(self) -> Iterator[Any]:
        self._settle()
        worker = get_worker_info()
        share, shares = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        first = int(self._epoch) * (self._n or 0)
        stop = None if self._n is None else first + self._n
        blocks = cut(first + share * self._block, stop, self._block, shares)
        # A worker of a DataLoader is ahead by itself.
        for made in map(self._make, blocks) if worker is not None else self._ahead(blocks):
            for item in made.values():
                item = {k: v.clone() for k, v in item.items()}  # noqa: PLW2901  (else one would hold the whole block)
                yield item if self._transform is None else self._transform(item)


class Order(Sampler[int]):
    """The indices of a data set, epoch after epoch; the data set is told of each epoch's before
    they are handed out.

    Each iteration is that of the next epoch: in other order where it is shuffled, and of its own
    samples where it is fresh.
    """

    def __init__(
        self, data: SyntheticDataset, *, shuffle: bool, fresh: bool, drop_last: bool
    ) -> None:
        self._data, self._shuffle, self._fresh = data, shuffle, fresh
        self._used = len(data) - (
            len(data) % data._block if drop_last else 0
        )  # the others are handed out for nothing
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._data)

    def set_epoch(self, epoch: int) -> None:
        """Have the next iteration be that of an epoch, and those after it go on from there.

        Raises
        ------
        InputError
            ``epoch`` is no whole number from 0.
        """
        self._epoch = check_epoch(epoch, len(self))

    def __iter__(self) -> Iterator[int]:
        epoch, self._epoch = self._epoch, self._epoch + 1
        first = epoch * len(self) if self._fresh else 0
        order = (
            [first + i for i in self._shuffled(epoch)]
            if self._shuffle
            else range(first, first + len(self))
        )
        self._data._expect(order[: self._used])
        return iter(order)

    def _shuffled(self, epoch: int) -> list[int]:
        """An order that follows from the seed and the epoch."""
        dice = torch.Generator().manual_seed(
            int(seeds.Stream(self._data.seed, epoch, seeds.ORDER).bytes(4).view("<u4")[0])
        )
        # Blocks of which all is made at once stay together, or each is made again and again.
        block, n = self._data._block if self._data._whole_blocks else 1, len(self)
        starts = [block * i for i in torch.randperm(n // block, generator=dice).tolist()]
        starts += [n - n % block] if n % block else []
        if block == 1:
            return starts
        return [
            at + i
            for at in starts
            for i in torch.randperm(min(block, n - at), generator=dice).tolist()
        ]
