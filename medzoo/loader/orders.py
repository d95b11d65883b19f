"""The order of the samples in an epoch: by number, or shuffled without a list of all numbers.

A shuffled order is a permutation that is computed number by number, so it needs the same memory for
a thousand samples and for a thousand million. It is a Feistel network whose two halves are numbers
below a and b, with n <= a b. It is applied again if the result is not below n (Black and Rogaway,
"Ciphers with arbitrary finite domains", CT-RSA 2002). A small number of samples is sorted by random
words instead, because a network on a few numbers reaches only some of their orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import overload

import numpy as np
from numpy.typing import NDArray

from .. import seeds

FEW = 1024  # up to this many numbers are sorted
ROUNDS = 8  # of the network; each round changes one half
AT_ONCE = 1024  # numbers that are computed together while an order is read
GOLDEN = 0x9E3779B97F4A7C15  # a constant of splitmix64, like the two factors in `mix`

Words = NDArray[np.uint64]


def mix(words: Words) -> Words:
    """Each word with its bits mixed: the last step of splitmix64 (Steele, Lea and Flood 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Words = words ^ (words >> np.uint64(31))
    return mixed


class Permutation:
    """The numbers 0 to ``n - 1`` in an order that follows from ``keys``.

    Parameters
    ----------
    n : int
        Number of numbers, at least 1.
    keys : numpy.ndarray
        Random words, shape (``ROUNDS``,), uint64.
    """

    def __init__(self, n: int, keys: Words) -> None:
        self._n, self._keys = n, keys
        self._left = math.isqrt(n - 1) + 1  # numbers of the left half, and of the right one
        self._right = -(-n // self._left)
        self._table: NDArray[np.int64] | None = None
        if n <= FEW:
            counters = np.arange(n, dtype=np.uint64) * np.uint64(GOLDEN)
            self._table = np.argsort(mix(mix(counters + keys[0]) ^ keys[1]), kind="stable")

    def at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers at these places, shape (k,)."""
        if self._table is not None:
            numbers: NDArray[np.int64] = self._table[places]
            return numbers
        return self._walk(places, self._forward)

    def places_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places of these numbers, shape (k,)."""
        if self._table is not None:
            return np.argsort(self._table)[numbers]
        return self._walk(numbers, self._backward)

    def _walk(
        self, numbers: NDArray[np.int64], step: Callable[[Words], Words]
    ) -> NDArray[np.int64]:
        """Apply ``step`` to each number until the result is below n."""
        results: Words = step(numbers.astype(np.uint64))
        while (outside := results >= self._n).any():
            results[outside] = step(results[outside])
        return results.astype(np.int64, copy=False)

    def _forward(self, x: Words) -> Words:
        a, b = np.uint64(self._left), np.uint64(self._right)
        left, right = np.divmod(x, b)
        for number, key in enumerate(self._keys):
            if number % 2 == 0:
                left = (left + mix(right ^ key) % a) % a
            else:
                right = (right + mix(left ^ key) % b) % b
        words: Words = left * b + right
        return words

    def _backward(self, x: Words) -> Words:
        a, b = np.uint64(self._left), np.uint64(self._right)
        left, right = np.divmod(x, b)
        for number, key in reversed(list(enumerate(self._keys))):
            if number % 2 == 0:
                left = (left + a - mix(right ^ key) % a) % a
            else:
                right = (right + b - mix(left ^ key) % b) % b
        words: Words = left * b + right
        return words


class Shuffled(Sequence[int]):
    """The numbers ``first`` to ``first + n - 1``, shuffled.

    Parameters
    ----------
    seed, epoch : int
        The order follows from these two numbers only.
    n : int
        Number of numbers.
    block : int, optional
        Numbers that stay together, because their samples are made together. The blocks are
        shuffled, except for a last one that is not full, and the numbers inside each block.
    first : int, optional
        The lowest number.
    """

    def __init__(self, seed: int, epoch: int, n: int, *, block: int = 1, first: int = 0) -> None:
        self._n, self._block, self._first = n, block, first
        raw = seeds.Stream(seed, epoch, seeds.ORDER).bytes(8 * ROUNDS)
        self._keys: Words = raw.view("<u8").astype(np.uint64)
        self._blocks = Permutation(n // block, self._keys) if n >= block else None

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> list[int]: ...
    def __getitem__(self, key: int | slice) -> int | list[int]:
        places = range(self._n)[key]
        if isinstance(places, int):
            return self._numbers(np.array([places]))[0]
        return self._numbers(np.arange(places.start, places.stop, places.step))

    def __iter__(self) -> Iterator[int]:
        for start in range(0, self._n, AT_ONCE):
            yield from self[start : start + AT_ONCE]

    def index(self, value: int, start: int = 0, stop: int | None = None) -> int:
        """The place of a number."""
        if not 0 <= value - self._first < self._n:
            raise ValueError(f"{value} is not in this order.")
        block, within = divmod(value - self._first, self._block)
        if self._blocks is not None and block < self._n // self._block:
            at = int(self._blocks.places_of(np.array([block]))[0])
        else:
            at = block
        place = at * self._block + int(self._inside(block).places_of(np.array([within]))[0])
        if not start <= place < (self._n if stop is None else stop):
            raise ValueError(f"{value} is not in this part of the order.")
        return place

    def _numbers(self, places: NDArray[np.int64]) -> list[int]:
        if self._block == 1:
            assert self._blocks is not None  # noqa: S101
            return [self._first + i for i in self._blocks.at(places).tolist()]
        numbers = []
        for place in places.tolist():
            at, within = divmod(place, self._block)
            if self._blocks is not None and at < self._n // self._block:
                at = int(self._blocks.at(np.array([at]))[0])
            inside = int(self._inside(at).at(np.array([within]))[0])
            numbers.append(self._first + at * self._block + inside)
        return numbers

    def _inside(self, block: int) -> Permutation:
        return _inside(self._keys.tobytes(), block, min(self._block, self._n - block * self._block))


@lru_cache(maxsize=4)
def _inside(keys: bytes, block: int, n: int) -> Permutation:
    """The order inside a block. The last few are kept, because a block is read number by number."""
    own = np.frombuffer(keys, np.uint64) + np.full(ROUNDS, block + 1, np.uint64)
    return Permutation(n, mix(own * np.uint64(GOLDEN)))
