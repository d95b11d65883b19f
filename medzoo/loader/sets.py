"""The two data sets, and the order in which a loader reads the map-style one."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, Sampler, get_worker_info

from ..errors import InputError
from ..request import check_count
from .making import Item, Maker, cut

CACHED_BLOCKS = 4


class SyntheticDataset(Maker, Dataset[Any]):
    """``dataset[i]`` is sample i of a seed, made when it is asked for; made by `dataset`.

    Read in order, samples are made a block at a time, and while one block is handed out the next is made in a thread.
    Read in any other order, just the samples asked for are made. A few blocks are kept, no more. A worker process
    loads a model of its own at its first sample, makes just what it is asked for, and makes the same samples as any other.
    A model whose samples depend on their batch makes whole blocks everywhere.
    """

    def __init__(
        self,
        model_id: int | str | os.PathLike[str],
        n: int,
        *,
        keep: int | None = None,
        in_order: bool | None = None,
        fresh: bool = False,
        **how: Any,
    ) -> None:
        super().__init__(model_id, check_count(n), **how)
        self._keep_at_most = CACHED_BLOCKS * self._block if keep is None else check_count(keep, "keep")
        self._in_order, self._fresh = in_order, fresh  # how it is read, if known; whether later epochs may be asked for

    def _reset(self) -> None:
        super()._reset()
        self._kept: OrderedDict[int, Item] = OrderedDict()
        self._reader: tuple[int, Iterator[dict[int, Item]]] | None = None  # the number that its next block begins with
        self._next = 0  # what a reader in order asks for next

    def __len__(self) -> int:
        return self._request.n

    def set_epoch(self, epoch: int) -> None:
        """Have ``dataset[i]`` be sample ``epoch * n + i`` of the seed from now on, in processes of a DataLoader too.

        Raises
        ------
        InputError
            ``epoch`` is no whole number from 0.
        """
        self._set_epoch(epoch, len(self))

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"There is no sample {index} among {len(self)}.")
        return self.__getitems__([int(index) % len(self)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Several samples at once, as torch's DataLoader asks for them."""
        if not self._fresh and not all(0 <= i < len(self) for i in indices):
            raise IndexError(f"There are no samples {list(indices)!r:.60} among {len(self)}.")
        self._settle()
        first = int(self._epoch) * len(self)
        items = self._items([first + int(i) for i in indices])
        return items if self._transform is None else [self._transform(item) for item in items]

    def _items(self, numbers: list[int]) -> list[Item]:
        found = {i: self._kept[i] for i in numbers if i in self._kept}
        missing = [i for i in dict.fromkeys(numbers) if i not in found]
        alone = get_worker_info() is None  # else others are asked for what we are not
        if alone and self._follows(numbers):
            while missing:
                made = self._next_block(self._around(missing[0]))
                found |= self._keep(made)
                missing = [i for i in missing if i not in found]
        # Where all will be wanted and one at a time is asked for, whole blocks are faster.
        elif self._whole_blocks or (alone and len(numbers) == 1 and self._keep_at_most >= len(self)):
            for block in dict.fromkeys(map(self._around, missing)):
                found |= self._keep(self._make(block))
        elif missing:
            found |= self._keep(self._make(missing))
        self._next = numbers[-1] + 1
        return [{k: v.clone() for k, v in found[i].items()} for i in numbers]  # a transform may write into them

    def _follows(self, numbers: list[int]) -> bool:
        """Whether these go on where the last ones ended, or begin an epoch, as one alone may by chance."""
        first = numbers[0]
        goes_on = first == self._next or (first % len(self) == 0 and len(numbers) > 1)
        return self._in_order is not False and goes_on and numbers == list(range(first, first + len(numbers)))

    def _around(self, number: int) -> range:
        """The block that a sample is in."""
        within = number % len(self)
        start = number - within % self._block
        return range(start, min(start + self._block, number - within + len(self)))

    def _next_block(self, block: range) -> dict[int, Item]:
        """A block, made ahead if it was; the next one of the epoch is begun."""
        (begins, reader), self._reader = self._reader or (-1, iter(())), None
        within = block.start % len(self)
        if begins != block.start or within == 0:
            reader = self._ahead(cut(block.start, block.start - within + len(self), self._block))
        made = next(reader)
        self._reader = block.stop, reader
        return made

    def _keep(self, made: dict[int, Item]) -> dict[int, Item]:
        self._kept |= made
        while len(self._kept) > self._keep_at_most:
            self._kept.popitem(last=False)
        return made


class SyntheticStream(Maker, IterableDataset[Any]):
    """Samples 0, 1, 2 ... of a seed, up to ``n`` or without end, a block ahead of who reads them; made by `iterable_dataset`.

    In the workers of a DataLoader, worker w of W makes blocks w, w + W, w + 2 W ..., so each sample is made once. Where a
    block is as large as the loader's batch, batches come in the order of their samples.
    """

    def __init__(self, model_id: int | str | os.PathLike[str], n: int | None = None, **how: Any) -> None:
        super().__init__(model_id, n, **how)
        self._n = n

    def __len__(self) -> int:
        if self._n is None:
            raise TypeError("These samples do not end.")
        return self._n

    def set_epoch(self, epoch: int) -> None:
        """Have the next iteration give samples ``epoch * n`` and on, in processes of a DataLoader too.

        Raises
        ------
        InputError
            ``epoch`` is no whole number from 0, or there is no ``n``.
        """
        if self._n is None:
            raise InputError("Samples without end have no epochs.", "Give `n`.")
        self._set_epoch(epoch, self._n)

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
    """Indices of a data set in the order of an epoch: with each iteration those of the next one, or the same again."""

    def __init__(self, data: SyntheticDataset, *, shuffle: bool, fresh: bool) -> None:
        self._n, self._fresh, self._epoch = len(data), fresh, 0
        self._block = data._block if data._whole_blocks else 1  # such blocks stay together, or each is made again and again
        # The order of a shuffle follows from the seed too.
        self._dice = torch.Generator().manual_seed(int(np.uint64(data.seed).astype(np.int64))) if shuffle else None

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[int]:
        first = self._epoch * self._n * self._fresh
        self._epoch += 1
        return (first + i for i in (range(self._n) if self._dice is None else self._shuffled(self._dice)))

    def _shuffled(self, dice: torch.Generator) -> Iterator[int]:
        whole = self._n // self._block
        for block in (*torch.randperm(whole, generator=dice).tolist(), *([whole] if self._n % self._block else [])):
            start = block * self._block
            inside = torch.randperm(min(self._block, self._n - start), generator=dice) if self._block > 1 else torch.zeros(1)
            yield from (start + int(i) for i in inside)
