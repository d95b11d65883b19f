"""One random stream a sample: counter-based, so that sample i of a seed is the same in any batch,
anywhere.

The generator is Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC
2011), keyed by (root seed, sample index). Its raw words are guaranteed by numpy to stay the same;
everything made of them is made here, since numpy's own distributions may change with a release.
"""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import (
        NDArray,
    )  # numpy 1.20, which a model's own environment may have, does not know it

FACTORS = 0xD2E7470EE14C6C93, 0xCA5A826395121157  # of Philox4x64, by its authors
BUMPS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B  # of its two keys, from turn to turn
# Samples and words from and up to which all streams at once are faster than one after the other.
MANY, SHORT = 24, 128
ROWS = 1024  # samples whose numbers stay in the cache of a core
LATENTS, NOISE, ORDER = (
    0,
    1,
    2,
)  # what a stream is for; two uses of one sample, or epoch, never share words


def check_seed(seed: object) -> int:
    """``seed`` itself if it is an integer in [0, 2**64), a fresh one if it is None.

    Raises
    ------
    InputError
        ``seed`` is something else.
    """
    if seed is None:
        return secrets.randbits(32)
    if (
        isinstance(seed, bool)
        or not isinstance(seed, (int, np.integer))
        or not 0 <= int(seed) < 2**64
    ):
        raise InputError(
            f"seed={seed!r} is not a valid seed.",
            "Give a whole number from 0 to 2**64 - 1, or None for a fresh one.",
        )
    return int(seed)


class Stream:
    """The random numbers of one sample.

    Parameters
    ----------
    seed
        Root seed of the run.
    index
        Number of the sample in the run.
    use
        ``LATENTS``, ``NOISE`` or, with an epoch as ``index``, ``ORDER``.
    """

    def __init__(self, seed: int, index: int, use: int = NOISE) -> None:
        # As uint64 from the start: numpy makes floats, which lose digits, of a list with a number
        # past 2**63.
        key, counter = (
            np.array([seed, index], dtype=np.uint64),
            np.array([0, 0, 0, use], dtype=np.uint64),
        )
        self._words = np.random.Philox(counter=counter, key=key)

    def bytes(self, n: int) -> NDArray[np.uint8]:
        """``n`` uniform bytes, shape (n,)."""
        return self._raw(-(-n // 8)).view(np.uint8)[:n]

    def uniforms(self, shape: int | Sequence[int]) -> NDArray[np.float32]:
        """Uniform numbers in (0, 1) of the given shape, 23 bits each."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        n = math.prod(shape)
        halves = self._raw(-(-n // 2)).view("<u4")[:n]
        numbers: NDArray[np.float32] = (
            (halves >> 9).astype(np.float32) + np.float32(0.5)
        ) * np.float32(2.0**-23)
        return numbers.reshape(shape)

    def normals(self, shape: int | Sequence[int]) -> NDArray[np.float32]:
        """Standard normal numbers of the given shape."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        n = math.prod(shape)
        return _box_muller(self._raw(-(-n // 2)))[:n].reshape(shape)

    def _raw(self, n: int) -> NDArray[np.uint64]:
        words: NDArray[np.uint64] = np.atleast_1d(self._words.random_raw(n)).astype(
            "<u8", copy=False
        )
        return words


def latents(seed: int, indices: Sequence[int] | NDArray[Any], size: int) -> NDArray[np.float32]:
    """Standard normal latents of the samples ``indices``, shape (len(indices), size)."""
    words = -(-size // 2)
    if len(indices) > MANY and 0 < words < SHORT:
        raw = _words(seed, np.asarray(indices).astype(np.uint64), words)
    else:
        raw = np.empty((len(indices), words), dtype="<u8")
        for row, index in enumerate(indices):
            raw[row] = Stream(seed, int(index), LATENTS)._raw(words)
    normals = np.empty((len(indices), size), np.float32)
    for start in range(0, len(indices), ROWS):
        rows = slice(start, start + ROWS)
        normals[rows] = _box_muller(raw[rows])[:, :size]
    return normals


def _words(seed: int, indices: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """The first ``n`` words of each sample's latents, shape (len(indices), n): the same as a
    `Stream`'s, all at once.

    One numpy operation works on all samples, while creating one `Stream` per sample takes
    microseconds. Most operations here write to an array that is there already.
    """
    shape = len(indices), -(-n // 4)
    # Numbers that all samples share have one row until they meet those of a sample.
    c0 = np.arange(1, shape[1] + 1, dtype=np.uint64)[None]  # numpy's Philox counts before it draws
    c1 = c2 = np.zeros((1, 1), np.uint64)
    c3 = np.full((1, 1), LATENTS, np.uint64)
    for turn in range(10):
        k0 = np.uint64((seed + turn * BUMPS[0]) % 2**64)
        k1 = indices[:, None] + np.uint64(turn * BUMPS[1] % 2**64)
        (high0, low0), (high2, low2) = _product(c0, FACTORS[0]), _product(c2, FACTORS[1])
        c0, c1, c2, c3 = high2 ^ c1 ^ k0, low2, high0 ^ c3 ^ k1, low0
    words = np.empty((*shape, 4), "<u8")
    for place, counter in enumerate((c0, c1, c2, c3)):
        words[..., place] = counter
    return words.reshape(shape[0], -1)[:, :n]


def _product(x: NDArray[np.uint64], factor: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The upper and the lower 64 bits of ``x * factor``, by halves of 32."""
    half, mask = np.uint64(32), np.uint64(2**32 - 1)
    f_low, f_high = np.uint64(factor % 2**32), np.uint64(factor >> 32)
    x_low, high = x & mask, x >> half
    carry = x_low * f_low
    carry >>= half
    cross = high * f_low
    middle = x_low
    middle *= f_high
    middle += carry
    cross += middle & mask
    cross >>= half
    middle >>= half
    high *= f_high
    high += middle
    high += cross
    return high, x * np.uint64(factor)


def _box_muller(words: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Two standard normals a 64-bit word (Box & Muller 1958), last axis twice as long."""
    halves = np.ascontiguousarray(words).view("<u4")
    radius = halves[..., 0::2] + 0.5
    radius *= 2.0**-32
    np.log(radius, out=radius)
    radius *= -2.0
    np.sqrt(radius, out=radius)
    angle = halves[..., 1::2] * (2.0 * math.pi * 2.0**-32)
    normals = np.empty(halves.shape, np.float32)
    np.multiply(radius, np.cos(angle), out=normals[..., 0::2])
    np.multiply(radius, np.sin(angle), out=normals[..., 1::2])
    return normals
