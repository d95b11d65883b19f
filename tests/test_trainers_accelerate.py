"""accelerate: a prepared loader hands out what the loader itself does, rank by rank and epoch by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trainers import IN_FORKS, library, needs_fork, numbered, on_ranks, seen  # noqa: F401

import medzoo

accelerate = library("accelerate")
pytestmark = [needs_fork, IN_FORKS, pytest.mark.usefixtures("numbered"), pytest.mark.slow]
WAYS: list[dict[str, Any]] = [
    {"n": 16},
    {"n": 16, "shuffle": True},
    {"n": 16, "fresh": True},
    {"n": 16, "fresh": True, "shuffle": True},
    {"n": None},
]


def loader(how: dict[str, Any]) -> Any:
    return medzoo.dataloader(901, batch_size=2, seed=1, **how)


def epochs(one: Any, how: dict[str, Any]) -> list[list[list[int]]]:
    """The samples of three epochs, of which the second is left early."""
    most = 6 if how["n"] is None else None
    return [seen(one, batches) for batches in (most, most)]


def test_one_process_sees_what_a_plain_loop_sees(tmp_path: Path) -> None:
    def work(rank: int) -> Any:
        accelerator = accelerate.Accelerator(cpu=True)
        prepared = [epochs(accelerator.prepare(loader(how)), how) for how in WAYS]
        fresh = accelerator.prepare(loader(WAYS[2]))
        fresh.set_epoch(1)
        return [*prepared, seen(accelerate.skip_first_batches(fresh, 5))]

    *prepared, rest = on_ranks(work, tmp_path, ranks=1)[0]
    for how, samples in zip(WAYS, prepared, strict=True):
        assert samples == epochs(loader(how), how), how
    assert rest == [[26, 27], [28, 29], [30, 31]]


def test_each_of_two_ranks_sees_every_other_batch(tmp_path: Path) -> None:
    def work(rank: int) -> Any:
        accelerator = accelerate.Accelerator(cpu=True)
        prepared = [epochs(accelerator.prepare(loader(how)), how) for how in WAYS[:-1]]
        fresh = accelerator.prepare(loader(WAYS[2]))
        fresh.set_epoch(1)
        rest = seen(accelerate.skip_first_batches(fresh, 2))
        endless = accelerator.prepare(loader({"n": None}))
        first = seen(endless, 3)
        makes = endless.dataset._model is not None
        accelerator.end_training()
        return [prepared, rest, first, makes]

    for rank, (prepared, rest, first, makes) in enumerate(on_ranks(work, tmp_path)):
        for how, samples in zip(WAYS, prepared, strict=False):
            plain = epochs(loader(how), how)
            assert samples == [epoch[rank::2] for epoch in plain], how
        assert rest == [[24 + 2 * rank, 25 + 2 * rank], [28 + 2 * rank, 29 + 2 * rank]]
        # Samples without end: rank 0 makes the batches of all ranks and sends them.
        assert first == [[2 * i, 2 * i + 1] for i in (rank, rank + 2, rank + 4)]
        assert makes is (rank == 0)
