"""One random stream a sample: counter-based, so that sample i of a seed is the same in any batch, anywhere.

The generator is Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), keyed by
(root seed, sample index). Its raw words are guaranteed by numpy to stay the same; everything made of them is
made here, since numpy's own distributions may change with a release.
"""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray  # numpy 1.20, which a model's own environment may have, does not know it

LATENTS, NOISE = 0, 1  # what a stream is for; two uses of one sample never share words


def check_seed(seed: object) -> int:
    """``seed`` itself if it is an integer in [0, 2**64), a fresh one if it is None.

    Raises
    ------
    InputError
        ``seed`` is something else.
    """
    if seed is None:
        return secrets.randbits(32)
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= int(seed) < 2**64:
        raise InputError(f"seed={seed!r} is no seed.", "Give a whole number from 0 to 2**64 - 1, or None for a fresh one.")
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
        ``LATENTS`` or ``NOISE``.
    """

    def __init__(self, seed: int, index: int, use: int = NOISE) -> None:
        # As uint64 from the start: numpy makes floats, which lose digits, of a list with a number past 2**63.
        key, counter = np.array([seed, index], dtype=np.uint64), np.array([0, 0, 0, use], dtype=np.uint64)
        self._words = np.random.Philox(counter=counter, key=key)

    def bytes(self, n: int) -> NDArray[np.uint8]:
        """``n`` uniform bytes, shape (n,)."""
        return self._raw(-(-n // 8)).view(np.uint8)[:n]

    def uniforms(self, shape: int | Sequence[int]) -> NDArray[np.float32]:
        """Uniform numbers in (0, 1) of the given shape, 23 bits each."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        n = math.prod(shape)
        halves = self._raw(-(-n // 2)).view("<u4")[:n]
        numbers: NDArray[np.float32] = ((halves >> 9).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)
        return numbers.reshape(shape)

    def normals(self, shape: int | Sequence[int]) -> NDArray[np.float32]:
        """Standard normal numbers of the given shape."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        n = math.prod(shape)
        return _box_muller(self._raw(-(-n // 2)))[:n].reshape(shape)

    def _raw(self, n: int) -> NDArray[np.uint64]:
        words: NDArray[np.uint64] = np.atleast_1d(self._words.random_raw(n)).astype("<u8", copy=False)
        return words


def latents(seed: int, indices: Sequence[int] | NDArray[Any], size: int) -> NDArray[np.float32]:
    """Standard normal latents of the samples ``indices``, shape (len(indices), size)."""
    words = np.empty((len(indices), -(-size // 2)), dtype="<u8")
    for row, index in enumerate(indices):
        words[row] = Stream(seed, int(index), LATENTS)._raw(words.shape[1])
    return np.ascontiguousarray(_box_muller(words)[:, :size])


def _box_muller(words: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Two standard normals a 64-bit word (Box & Muller 1958), last axis twice as long."""
    halves = words.view("<u4").astype(np.float64).reshape(*words.shape, 2)
    radius = np.sqrt(-2.0 * np.log((halves[..., 0] + 0.5) * 2.0**-32))
    angle = halves[..., 1] * (2.0 * math.pi * 2.0**-32)
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return pairs.astype(np.float32).reshape(*words.shape[:-1], 2 * words.shape[-1])
