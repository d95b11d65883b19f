"""Generating: counts, seeds, batches, memory, options."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import medzoo


def test_sample_depends_on_seed_and_index_alone(toy: Callable[..., int]) -> None:
    whole = medzoo.generate(toy(), 20, seed=5)
    for batch_size in (1, 7, 32):
        head = medzoo.generate(901, 10, seed=5, batch_size=batch_size)
        assert np.array_equal(head.images, whole.images[:10])
        assert np.array_equal(head.labels, np.arange(10) % 2)


@pytest.mark.parametrize("n", [0, -1, 1.0, "3", True, None])
def test_a_count_that_is_no_count(toy: Callable[..., int], n: object) -> None:
    with pytest.raises(medzoo.MedzooError, match="at least 1"):
        medzoo.generate(toy(), n)  # type: ignore[arg-type]
