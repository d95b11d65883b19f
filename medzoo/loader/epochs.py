"""Epochs of a loader: the order of the samples, and where a training continues."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Sampler

from .._worker.defaults import default_settings
from .blocks import check_epoch, check_state
from .orders import AT_ONCE, Shuffled
from .sets import SyntheticDataset, SyntheticStream


@dataclass
class Mark:
    """The place of an iteration in its epoch.

    It is a separate object without references, so that an iteration that is no longer read can be
    freed at once, with its model and its workers.
    """

    epoch: int = -1  # -1 before the first item
    start: int = 0  # place in the epoch where the iteration began
    place: int = 0


def read_from(numbers: Sequence[int], start: int) -> Iterator[int]:
    """The numbers from place ``start``."""
    for at in range(start, len(numbers), AT_ONCE):
        yield from numbers[at : at + AT_ONCE]


class Order(Sampler[int]):
    """The indices of a data set, epoch after epoch.

    The data set gets the order of an epoch before the first index is read. Each iteration is the
    next epoch: in another order if it is shuffled, and with other samples if it is fresh. An
    iteration takes its epoch when its first index is read, so an iteration that is never read does
    not count.
    """

    def __init__(
        self, data: SyntheticDataset, *, shuffle: bool, fresh: bool, drop_last: bool
    ) -> None:
        self._data, self._shuffle, self._fresh = data, shuffle, fresh
        # The indices after these are read, but their samples are dropped.
        self._used = len(data) - (len(data) % data._block if drop_last else 0)
        self._epoch, self._place = 0, 0  # of the next iteration
        self.last: Mark | None = None  # of the iteration that began last
        # The last iteration, if workers began to read it ahead, and nobody has read their batches.
        self.unread: Mark | None = None
        data.follow(self)

    def __len__(self) -> int:
        return len(self._data)

    def set_epoch(self, epoch: int) -> None:
        """Make this epoch the one of the next iteration; later iterations continue from there.

        Raises
        ------
        InputError
            ``epoch`` is not a whole number from 0.
        """
        epoch = check_epoch(epoch, len(self))
        self.take_back()
        if epoch != self._epoch:
            self._epoch, self._place = epoch, 0

    def next(self) -> tuple[int, int]:
        """The epoch of the next iteration, and its place there: those of an unread one, if any."""
        if self.unread is not None:
            return self.unread.epoch, self.unread.start
        return self._epoch, self._place

    def take_back(self) -> None:
        """Give the next iteration the epoch of one whose batches nobody has read."""
        (self._epoch, self._place), self.unread = self.next(), None

    def __iter__(self) -> Iterator[int]:
        return Pass(self)

    def state_dict(self) -> dict[str, Any]:
        """The place of the last iteration: its epoch, and the number of indices that were read.

        A DataLoader with workers reads indices ahead of its batches: save the state of the loader
        instead.
        """
        if self.last is None or self.last.place >= len(self):
            return {**self.own(), "epoch": self._epoch, "place": self._place}
        return {**self.own(), "epoch": self.last.epoch, "place": self.last.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the next iteration where a saved one was.

        Raises
        ------
        InputError
            The state belongs to other samples.
        """
        self._epoch, self._place = check_state(state, self.own(), "epoch", "place", most=len(self))
        self.unread = None

    def own(self) -> dict[str, Any]:
        """What a saved state must agree with."""
        return {
            "seed": self._data.seed,
            "n": len(self),
            "shuffle": self._shuffle,
            "fresh": self._fresh,
        }

    def numbers(self, epoch: int) -> Sequence[int]:
        """The indices of an epoch, in its order."""
        n = len(self)
        first = epoch * n if self._fresh else 0
        if not self._shuffle:
            return range(first, first + n)
        # Samples of a block that is made at once stay together. Otherwise each block would be made
        # many times.
        block = self._data._block if self._data._whole_blocks else 1
        return Shuffled(self._data.seed, epoch, n, block=block, first=first)

    def begin(self, mark: Mark) -> Iterator[int]:
        """The indices of an iteration. It takes the next epoch if it has none yet."""
        if mark.epoch < 0:
            mark.epoch, mark.place = self._epoch, self._place
            self.go_on_after(mark.epoch)
        mark.start, self.last = mark.place, mark
        numbers = self.numbers(mark.epoch)
        self._data._expect(numbers, mark.place, self._used)
        return read_from(numbers, mark.place)

    def go_on_after(self, epoch: int) -> None:
        """Make the epoch after this one the epoch of the next iteration."""
        self._epoch, self._place = epoch + 1, 0


class Pass(Iterator[int]):
    """One iteration over an `Order`, which can be saved and continued."""

    def __init__(self, order: Order) -> None:
        self._order, self._mark = order, Mark()
        self._rest: Iterator[int] | None = None

    def __next__(self) -> int:
        if self._rest is None:
            self._rest = self._order.begin(self._mark)
        number = next(self._rest)
        self._mark.place += 1
        return number

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and the number of indices that were read."""
        mark, order = self._mark, self._order
        epoch, place = (mark.epoch, mark.place) if mark.epoch >= 0 else (order._epoch, order._place)
        return {**order.own(), "epoch": epoch, "place": place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another iteration over the same samples was.

        Raises
        ------
        InputError
            The state is of other samples.
        """
        epoch, place = check_state(
            state, self._order.own(), "epoch", "place", most=len(self._order)
        )
        self._mark, self._rest = Mark(epoch, place=place), None
        self._order.go_on_after(epoch)


class Loader(DataLoader[Any]):
    """torch's DataLoader with the methods that trainers use to save and continue a training.

    `medzoo.dataloader` makes it. ``set_epoch``, ``state_dict`` and ``load_state_dict`` count the
    batches that were read, not those that workers have made ahead.
    """

    _last: Mark | None = None  # of the iteration that is being read; places are batches
    _skip = 0  # batches of the next iteration that were read before

    def __iter__(self) -> Any:
        if (order := self._order()) is not None:
            order.take_back()
        return Batches(self, super().__iter__)

    def set_epoch(self, epoch: int) -> None:
        """Make this epoch the one of the next iteration.

        Raises
        ------
        InputError
            ``epoch`` is not a whole number from 0.
        """
        target: Any = self.sampler if hasattr(self.sampler, "set_epoch") else self.dataset
        target.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """The epoch that is being read, and the number of its batches that were read.

        Returns
        -------
        dict
            Numbers only: ``epoch``, ``batches``, and the arguments that must be the same in a
            loader that loads the state.
        """
        if self._last is None or self._is_at_end(self._last):
            epoch, batches = self._next()
        else:
            epoch, batches = self._last.epoch, self._last.place
        return {**self._own(), "epoch": epoch, "batches": batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the next iteration at the epoch and batch of another loader.

        Raises
        ------
        InputError
            The state belongs to a loader with other arguments.
        """
        end = self._end()  # after the last batch, a state is that of the next epoch
        most = None if end is None else max(0, end - 1)
        epoch, batches = check_state(state, self._own(), "epoch", "batches", most=most)
        self.set_epoch(epoch)
        if isinstance(self.sampler, Order):
            self.sampler._place = batches * (self.batch_size or 1)
        else:
            self._skip = batches
        self._last = None

    def _own(self) -> dict[str, Any]:
        data: Any = self.dataset
        order = self._order()
        own = data.own() if order is None else order.own()
        return {**own, "batch_size": self.batch_size}

    def _next(self) -> tuple[int, int]:
        """The epoch of the next iteration, and the number of its batches that were read before."""
        data: Any = self.dataset
        order = self._order()
        if order is None:
            return int(data._epoch), self._skip
        epoch, place = order.next()
        return epoch, place // (self.batch_size or 1) + self._skip

    def _is_at_end(self, mark: Mark) -> bool:
        """Whether all batches of the epoch were read.

        A trainer that knows the number of batches does not try to read one more.
        """
        end = self._end()
        return end is not None and mark.place >= end

    def _end(self) -> int | None:
        """The number of batches of an epoch; None if it is endless."""
        try:
            return len(self)
        except TypeError:
            return None

    def _order(self) -> Order | None:
        data: Any = self.dataset
        return None if isinstance(data, SyntheticStream) else data.order()


class Batches(Iterator[Any]):
    """One iteration over a `Loader`, which counts the batches that were read."""

    def __init__(self, loader: Loader, begin: Callable[[], Iterator[Any]]) -> None:
        self._loader, self._discard, skip = loader, 0, loader._skip
        epoch, batches = loader._next()
        self._mark = Mark(epoch, place=batches)
        if isinstance(loader.dataset, SyntheticStream):
            loader.dataset.begin_at(skip * (loader.batch_size or 1))
        else:  # of a trainer's sampler, whose batches are those of one rank
            self._discard = skip
        before = self._last_begun()
        with default_settings():  # torch draws a seed for workers on the default device
            self._batches = begin()
        self._indices = self._last_begun()
        if self._indices is before:  # it takes its epoch with the first batch
            self._indices = None
        elif (order := loader._order()) is not None:
            order.unread = self._indices
        self._begun = False

    def __len__(self) -> int:
        return len(self._loader)

    def __next__(self) -> Any:
        while self._discard:
            self._discard -= 1
            next(self._batches)
        try:
            batch = next(self._batches)
        except StopIteration:
            if self._loader._last is self._mark:
                self._loader._last = None
            raise
        if not self._begun:
            self._begin()
        self._mark.place += 1
        return batch

    def _begin(self) -> None:
        self._begun, self._loader._last, self._loader._skip = True, self._mark, 0
        indices = self._indices or self._last_begun()
        order = self._loader._order()
        if order is not None and order.unread is indices:
            order.unread = None
        if indices is not None:
            self._mark.epoch = indices.epoch
            if isinstance(self._loader.sampler, Order):
                self._mark.place = indices.start // (self._loader.batch_size or 1)

    def _last_begun(self) -> Mark | None:
        order = self._loader._order()
        return None if order is None else order.last
