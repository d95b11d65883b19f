"""torchdata's StatefulDataLoader: a training that is stopped inside an epoch goes on exactly there."""

from __future__ import annotations

from typing import Any

import pytest
from trainers import IN_FORKS, library, numbered, seen  # noqa: F401

import medzoo

stateful_dataloader = library("torchdata.stateful_dataloader")
pytestmark = [
    IN_FORKS,
    pytest.mark.usefixtures("numbered"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),  # by torch, in torchdata 0.11
]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_loader_stopped_in_epoch_1_goes_on_there(
    shuffle: bool, fresh: bool, workers: int
) -> None:
    def loader() -> Any:
        ours = medzoo.dataloader(901, 18, batch_size=4, seed=1, shuffle=shuffle, fresh=fresh)
        return stateful_dataloader.StatefulDataLoader(
            ours.dataset, batch_size=4, sampler=ours.sampler, num_workers=workers
        )

    plain = medzoo.dataloader(901, 18, batch_size=4, seed=1, shuffle=shuffle, fresh=fresh)
    epochs = [seen(plain) for _ in range(3)]
    stopped = loader()
    assert seen(stopped) == epochs[0]
    assert seen(stopped, 2) == epochs[1][:2]
    again = loader()
    again.load_state_dict(stopped.state_dict())
    assert seen(again) == epochs[1][2:]
    assert seen(again) == epochs[2]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_saved_at_the_end_of_an_epoch_begins_the_next(workers: int) -> None:
    def loader() -> Any:
        ours = medzoo.dataloader(901, 8, batch_size=4, seed=1, fresh=True)
        return stateful_dataloader.StatefulDataLoader(
            ours.dataset, batch_size=4, sampler=ours.sampler, num_workers=workers
        )

    stopped = loader()
    seen(stopped)
    again = loader()
    again.load_state_dict(stopped.state_dict())
    assert seen(again) == [[8, 9, 10, 11], [12, 13, 14, 15]]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [2, 3])
def test_samples_that_are_read_in_order_go_on(workers: int, stop: int) -> None:
    def loader() -> Any:
        data = medzoo.iterable_dataset(901, batch_size=4, seed=1)
        return stateful_dataloader.StatefulDataLoader(data, batch_size=4, num_workers=workers)

    stopped = loader()
    first = seen(stopped, stop)
    again = loader()
    again.load_state_dict(stopped.state_dict())
    assert [i for batch in first + seen(again, 4) for i in batch] == list(range(4 * (stop + 4)))
