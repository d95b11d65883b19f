"""The order of epochs: shuffled without memory, saved and continued, as tuples."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
import weakref
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from trainers import IN_FORKS, Toy, numbered, seen  # noqa: F401  (a fixture)

import medzoo
from medzoo.errors import InputError
from medzoo.loader.orders import FEW, Shuffled


@pytest.mark.parametrize("n", [1, 2, 3, 17, FEW, FEW + 1, 5000])
@pytest.mark.parametrize("block", [1, 4])
def test_a_shuffled_order_has_every_number_once_and_finds_its_place(n: int, block: int) -> None:
    order = Shuffled(5, 1, n, block=block, first=3 * n)
    numbers = list(order)
    assert sorted(numbers) == list(range(3 * n, 4 * n))
    assert len(order) == n
    assert order[2:9] == numbers[2:9]
    for place in range(0, n, max(1, n // 40)):
        assert order[place] == numbers[place]
        assert order.index(numbers[place]) == place
    for outside in (3 * n - 1, 4 * n):
        with pytest.raises(ValueError, match="is not in this order"):
            order.index(outside)


@pytest.mark.parametrize("n", [20, FEW + 1, 10**15])
def test_an_order_follows_from_seed_and_epoch_alone(n: int) -> None:
    head = Shuffled(1, 0, n)[:20]
    assert head == Shuffled(1, 0, n)[:20]
    assert (
        len({tuple(Shuffled(seed, epoch, n)[:20]) for seed in (1, 2**64 - 1) for epoch in (0, 1)})
        == 4
    )
    with np.errstate(all="raise"):
        assert Shuffled(1, 0, n)[:20] == head


def test_every_order_of_a_few_samples_is_as_likely() -> None:
    seen = Counter(tuple(Shuffled(seed, 0, 4)) for seed in range(2400))
    assert len(seen) == 24
    assert sum((count - 100) ** 2 / 100 for count in seen.values()) < 49.7  # chi squared, p = 0.001


def test_a_number_of_many_samples_may_come_anywhere() -> None:
    n, parts = FEW * 2, 8
    table = np.zeros((parts, parts))
    for epoch in range(50):
        numbers = np.array(Shuffled(7, epoch, n)[:])
        table += np.histogram2d(np.arange(n), numbers, bins=parts)[0]
    even = 50 * n / parts**2
    assert ((table - even) ** 2 / even).sum() < 85.4  # chi squared of 49, p = 0.001


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_of_a_thousand_million_takes_no_memory_for_its_order(
    toy: Toy, shuffle: bool
) -> None:
    loader = medzoo.dataloader(toy(), 10**9, batch_size=4, seed=1, shuffle=shuffle)
    next(iter(loader))
    tracemalloc.start()
    try:
        batches = [b["images"] for b in itertools.islice(loader, 3)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20
    assert len(torch.unique(torch.cat(batches), dim=0)) == 12


def test_whole_batches_stay_together_where_samples_depend_on_them() -> None:
    numbers = list(Shuffled(1, 0, 18, block=4))
    blocks = [numbers[at : at + 4] for at in range(0, 18, 4)]
    assert [max(b) // 4 for b in blocks] == [min(b) // 4 for b in blocks]
    assert [len(set(b)) for b in blocks] == [4, 4, 4, 4, 2]
    assert blocks != sorted(blocks)


# As tuples


@pytest.mark.parametrize("n", [10, None])
def test_batches_are_x_and_y_where_a_tuple_is_asked_for(toy: Toy, n: int | None) -> None:
    right = medzoo.generate(toy(), 4, seed=1).to_torch()
    loader = medzoo.dataloader(901, n, batch_size=4, seed=1, as_tuple=("images", "labels"))
    x, y = next(iter(loader))
    assert torch.equal(x, right["images"])
    assert torch.equal(y, right["labels"])
    for data in (
        medzoo.dataset(901, 4, seed=1, as_tuple=["labels", "images"]),
        medzoo.iterable_dataset(901, 4, seed=1, as_tuple=["labels", "images"]),
    ):
        y, x = next(iter(data))
        assert isinstance(next(iter(data)), tuple)
        assert torch.equal(x, right["images"][0])
        assert y == 0


def renamed(item: dict[str, Any]) -> dict[str, Any]:
    return {"image": item["images"] * 2, "target": item["labels"].float()}


def test_a_tuple_is_made_of_what_a_transform_returns(toy: Toy) -> None:
    how = {"seed": 1, "transform": renamed}
    x, y = next(iter(medzoo.dataloader(toy(), 4, 4, as_tuple=("image", "target"), **how)))
    assert torch.equal(x, 2 * medzoo.generate(901, 4, seed=1).to_torch()["images"])
    assert y.dtype == torch.float32
    loader = medzoo.dataloader(901, 4, 4, as_tuple=("images", "target"), **how)
    with pytest.raises(InputError, match="what `transform` returned is not a dict with these"):
        next(iter(loader))


@pytest.mark.parametrize("names", ["images", (), ("image", "labels"), (1,), {"images": 1}, 3])
def test_names_that_make_no_tuple_are_refused(toy: Toy, names: Any) -> None:
    with pytest.raises(InputError, match=r"as_tuple=.*\n.*'images', 'labels'"):
        medzoo.dataloader(toy(), 4, as_tuple=names)


# Saved and continued


@pytest.mark.usefixtures("numbered")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "how", [{}, {"shuffle": True}, {"fresh": True}, {"fresh": True, "shuffle": True}]
)
@IN_FORKS
def test_a_training_goes_on_inside_an_epoch(
    how: dict[str, bool],
    workers: int,
) -> None:
    def loader() -> Any:
        return medzoo.dataloader(901, 18, batch_size=4, seed=1, num_workers=workers, **how)

    first = loader()
    epochs = [seen(first) for _ in range(3)]
    stopped = loader()
    assert seen(stopped) == epochs[0]
    assert seen(stopped, 2) == epochs[1][:2]
    state = stopped.state_dict()
    assert all(isinstance(v, int) for v in state.values())
    again = loader()
    again.load_state_dict(state)
    assert again.state_dict() == state
    again.sampler.set_epoch(1)  # as a trainer says with every epoch
    assert seen(again) == epochs[1][2:]
    assert seen(again) == epochs[2]


@pytest.mark.usefixtures("numbered")
def test_a_state_at_the_end_of_an_epoch_is_the_next_ones_beginning() -> None:
    def loader() -> Any:
        return medzoo.dataloader(901, 8, batch_size=4, seed=1, fresh=True)

    for batches in (2, None):  # with and without asking whether there is one more
        stopped = loader()
        seen(stopped, batches)
        again = loader()
        again.load_state_dict(stopped.state_dict())
        assert seen(again) == [[8, 9, 10, 11], [12, 13, 14, 15]]


@pytest.mark.parametrize("n", [40, None])
def test_a_loader_that_is_left_is_freed_at_once(toy: Toy, n: int | None) -> None:
    gc.disable()  # no cycle may keep a model and worker processes until some later collection
    try:
        loader = medzoo.dataloader(toy(), n, batch_size=4, seed=1)
        seen_before, batches = weakref.ref(loader.dataset), iter(loader)
        next(batches)
        assert loader.state_dict()["batches"] == 1
        loader.dataset._thread.submit(int).result()  # type: ignore[attr-defined]
        del loader, batches
        assert seen_before() is None
    finally:
        gc.enable()


@IN_FORKS
@pytest.mark.usefixtures("numbered")
@pytest.mark.parametrize("workers", [0, 2])
def test_samples_without_end_go_on(workers: int) -> None:
    def loader() -> Any:
        return medzoo.dataloader(901, None, batch_size=4, seed=1, num_workers=workers)

    stopped = loader()
    seen(stopped, 3)
    again = loader()
    again.load_state_dict(stopped.state_dict())
    assert seen(again, 2) == [[12, 13, 14, 15], [16, 17, 18, 19]]
    assert seen(again, 1) == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"seed": 2}, "seed=1.*seed=2"),
        ({"n": 12}, "n=8.*n=12"),
        ({"batch_size": 2}, "batch_size"),
        ({"fresh": True}, "fresh"),
    ],
)
def test_a_state_of_other_samples_is_refused(toy: Toy, changed: dict[str, Any], says: str) -> None:
    own = {"n": 8, "batch_size": 4, "seed": 1}
    state = medzoo.dataloader(toy(), **own).state_dict()
    with pytest.raises(InputError, match=says):
        medzoo.dataloader(901, **{**own, **changed}).load_state_dict(state)
    at_end, past = {**state, "batches": 2}, {**state, "batches": 9}  # of an epoch of two batches
    for bad in (None, {}, {**state, "epoch": -1}, {**state, "batches": "2"}, at_end, past):
        with pytest.raises(InputError, match="is not the state of such a loader"):
            medzoo.dataloader(901, **own).load_state_dict(bad)
