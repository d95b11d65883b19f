"""Loaders: samples into training, made while they are read, each once, whatever the workers."""

from __future__ import annotations

import os
import pickle
import re
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NUMPY_MODEL, ROOT
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    TensorDataset,
)

import medzoo
from medzoo.config import Version
from medzoo.errors import (
    InputError,
    ModelNotFoundError,
    OutOfMemoryError,
    PackageError,
    SourceError,
)
from medzoo.loader import CACHED_BLOCKS
from medzoo.loader import blocks as making

Toy = Callable[..., int]
IN_FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

CONVOLUTION = """
import numpy as np
import torch

class Model:
    def __init__(self):
        self.net = torch.nn.Conv2d(1, 32, 5, padding=2)
        torch.nn.init.constant_(self.net.weight, 0.01)
        torch.nn.init.zeros_(self.net.bias)

    @torch.inference_mode()
    def sample(self, batch):
        x = torch.from_numpy(np.stack([batch.rng(i).normals((1, 64, 64)) for i in range(batch.n)]))
        return {"images": (self.net(x).mean(1, keepdim=True).clamp(0, 1) * 255).to(torch.uint8)[..., ::8, ::8]}

def load(weights_dir, device):
    return Model()
"""


@pytest.fixture
def logging_toy(toy: Toy, tmp_path: Path) -> Callable[[], list[list[int]]]:
    """A registered toy that notes the samples of every batch; call for what it noted."""
    log = tmp_path / "log"
    line = f"        with open({str(log)!r}, 'a') as file: file.write(' '.join(map(str, batch.indices)) + '\\n')\n"
    toy(NUMPY_MODEL.replace("def sample(self, batch):\n", f"def sample(self, batch):\n{line}"))
    return lambda: (
        [[int(i) for i in line.split()] for line in log.read_text().splitlines()]
        if log.exists()
        else []
    )


def double(item: dict[str, Any]) -> dict[str, Any]:
    """A transform that writes into what it gets, as many do."""
    item["images"].mul_(2)
    return {**item, "more": torch.ones(())}


def expected(n: int, seed: int = 1) -> torch.Tensor:
    return medzoo.generate(901, n, seed=seed).to_torch()["images"]


def test_batches_are_dicts_of_tensors_for_training(toy: Toy) -> None:
    batches = list(medzoo.dataloader(toy(), 10, batch_size=4, seed=1))
    assert [len(b["images"]) for b in batches] == [4, 4, 2]
    assert set(batches[0]) == {"images", "labels"}
    assert (batches[0]["images"].dtype, batches[0]["labels"].dtype) == (torch.float32, torch.int64)
    assert batches[0]["images"].shape == (4, 1, 8, 8)
    images = torch.cat([b["images"] for b in batches])
    assert 0 <= images.min() < 0.05
    assert 0.95 < images.max() <= 1
    assert torch.equal(images, expected(10))
    assert torch.cat([b["labels"] for b in batches]).tolist() == [0, 1] * 5
    assert len(list(medzoo.dataloader(901, 10, batch_size=4, drop_last=True))) == 2


def test_a_column_without_a_value_range_is_refused_before_a_model_is_loaded(toy: Toy) -> None:
    toy(outputs={"images": {"kind": "image", "dtype": "int16", "shape": [1, 8, 8]}})
    for kind in (medzoo.dataset, medzoo.dataloader, medzoo.iterable_dataset):
        with pytest.raises(InputError, match="'images' has no value range"):
            kind(901, 4)


def settle(data: Any) -> None:
    """Wait until what was begun ahead is made."""
    data._thread.submit(int).result()


@pytest.mark.parametrize("shuffle", [False, True])
def test_samples_are_made_a_batch_ahead_and_not_all_at_first(
    logging_toy: Callable[[], list[list[int]]], shuffle: bool
) -> None:
    loader = medzoo.dataloader(901, 40, batch_size=4, seed=1, shuffle=shuffle, fresh=shuffle)
    assert logging_toy() == []  # nothing is made before it is read
    for epoch in range(2):
        before, batches, made = len(logging_toy()), iter(loader), []
        for k in range(1, 11):
            next(batches)
            settle(loader.dataset)
            made = logging_toy()[before:]
            assert [len(batch) for batch in made] == [4] * min(k + 1, 10)
        assert sorted(i for batch in made for i in batch) == [
            40 * epoch * shuffle + i for i in range(40)
        ]
        assert (made == sorted(made)) is not shuffle


@pytest.mark.parametrize("shuffle", [False, True])
def test_samples_that_are_dropped_or_left_are_not_made(
    logging_toy: Callable[[], list[list[int]]], shuffle: bool
) -> None:
    loader = medzoo.dataloader(
        901, 30, batch_size=4, seed=1, shuffle=shuffle, fresh=True, drop_last=True
    )
    assert sum(len(batch["images"]) for batch in loader) == 28
    settle(loader.dataset)
    assert sum(map(len, logging_toy())) == 28
    for _ in zip(range(2), loader, strict=False):  # left after two batches, and zip takes one more
        pass
    settle(loader.dataset)
    assert sum(map(len, logging_toy())) <= 28 + 12 + 4
    own = {tuple(image) for image in torch.cat([b["images"] for b in loader]).flatten(1).tolist()}
    made = [i for batch in logging_toy() for i in batch if i >= 60]
    assert len(made) == len(set(made)) == len(own) == 28
    assert own <= {tuple(image) for image in expected(90)[60:].flatten(1).tolist()}


def test_looking_at_a_sample_meanwhile_disturbs_nothing(
    logging_toy: Callable[[], list[list[int]]],
) -> None:
    images = expected(40)
    before = len(logging_toy())
    loader = medzoo.dataloader(901, 40, batch_size=4, seed=1, shuffle=True)
    for k, _ in enumerate(loader):
        if k == 1:
            assert torch.equal(loader.dataset[7]["images"], images[7])
        settle(loader.dataset)
    assert (
        sum(len(batch) == 4 for batch in logging_toy()[before:]) >= 9
    )  # all but the one that 7 is in
    assert sum(map(len, logging_toy()[before:])) <= 41


@pytest.mark.parametrize("keep", [1, 3, None])
@pytest.mark.parametrize("size", [None, 1, 2, 3, 9])
def test_however_few_are_kept_each_is_made_once_in_order(
    logging_toy: Callable[[], list[list[int]]], keep: int | None, size: int | None
) -> None:
    data = medzoo.dataset(901, 30, seed=1, keep=keep)
    for i in range(30) if size is None else DataLoader(data, batch_size=size):
        data[i] if size is None else None
    settle(data)
    assert [i for batch in logging_toy() for i in batch] == list(range(30))


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_first_that_fit_are_kept_for_the_next_epochs(
    logging_toy: Callable[[], list[list[int]]], shuffle: bool
) -> None:
    loader = medzoo.dataloader(901, 40, batch_size=4, seed=1, keep=12, shuffle=shuffle)
    for _ in range(3):
        assert sum(len(b["images"]) for b in loader) == 40
    made = [i for batch in logging_toy() for i in batch]
    assert all(made.count(i) == 1 for i in made[:12])
    assert len(made) <= 40 + 28 + 28
    assert set(made) == set(range(40))


def test_what_is_kept_is_of_the_epoch(logging_toy: Callable[[], list[list[int]]]) -> None:
    data = medzoo.dataset(901, 40, seed=1, keep=40)
    for epoch in (0, 2):
        data.set_epoch(epoch)
        for _ in range(2):
            for i in range(39, -1, -1):
                data[i]
        assert len(data._kept) == 40
        assert sorted(i for batch in logging_toy() for i in batch)[-40:] == list(
            range(40 * epoch, 40 * epoch + 40)
        )
    assert sum(map(len, logging_toy())) == 80


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_training_goes_on_with_a_later_epoch(toy: Toy, shuffle: bool, fresh: bool) -> None:
    toy()

    def epoch(loader: DataLoader[Any]) -> torch.Tensor:
        return torch.cat([b["images"] for b in loader])

    first, again = (
        medzoo.dataloader(901, 10, 4, seed=1, shuffle=shuffle, fresh=fresh) for _ in range(2)
    )
    epochs = [epoch(first) for _ in range(4)]
    again.sampler.set_epoch(2)  # type: ignore[attr-defined]
    assert torch.equal(epoch(again), epochs[2])
    assert torch.equal(epoch(again), epochs[3])
    for e in range(2):  # as some trainers say with every epoch
        again.sampler.set_epoch(e)  # type: ignore[attr-defined]
        assert torch.equal(epoch(again), epochs[e])
    for bad in (-1, 1.0, True):
        with pytest.raises(InputError, match="is not a valid epoch"):
            again.sampler.set_epoch(bad)  # type: ignore[attr-defined]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("fresh", [False, True])
def test_the_data_set_of_a_loader_passes_its_epoch_on_to_the_sampler(
    toy: Toy, shuffle: bool, fresh: bool
) -> None:
    how = {"seed": 1, "shuffle": shuffle, "fresh": fresh}
    first, again, third = (medzoo.dataloader(toy(), 10, 4, **how) for _ in range(3))  # type: ignore[arg-type]
    epochs = [torch.cat([b["images"] for b in first]) for _ in range(4)]
    again.dataset.set_epoch(2)  # type: ignore[attr-defined]  # as accelerate does
    third.set_epoch(2)
    for loader in (again, third):
        for e in (2, 3):
            assert torch.equal(torch.cat([b["images"] for b in loader]), epochs[e])
    with pytest.raises(InputError, match="is not a valid epoch"):
        again.dataset.set_epoch(-1)  # type: ignore[attr-defined]


def test_fresh_samples_in_the_order_of_another_sampler_are_refused(toy: Toy) -> None:
    ours = medzoo.dataloader(toy(), 8, batch_size=4, seed=1, fresh=True)
    with pytest.raises(InputError, match=r"order of another sampler(.|\n)*medzoo\.dataset"):
        next(iter(DataLoader(ours.dataset, batch_size=4, shuffle=True)))
    assert torch.equal(ours.dataset[3]["images"], expected(4)[3])  # a look at one is none


def test_a_loader_of_ones_own_reads_as_ours_does(
    logging_toy: Callable[[], list[list[int]]],
) -> None:
    ours = medzoo.dataloader(901, 20, batch_size=4, seed=1, shuffle=True)
    theirs = DataLoader(ours.dataset, batch_size=5, sampler=ours.sampler, collate_fn=list)
    batches = iter(theirs)
    assert len(next(batches)) == 5
    settle(ours.dataset)
    assert [len(batch) for batch in logging_toy()] == [4, 4, 4]
    assert sum(map(len, batches)) == 15
    assert sorted(i for batch in logging_toy() for i in batch) == list(range(20))


def test_ranks_share_a_data_set_or_have_seeds_of_their_own(
    logging_toy: Callable[[], list[list[int]]],
) -> None:
    data = medzoo.dataset(901, 20, seed=1)
    for epoch in range(2):
        for rank in range(2):
            sampler: DistributedSampler[Any] = DistributedSampler(data, num_replicas=2, rank=rank)
            sampler.set_epoch(epoch)
            data.set_epoch(epoch)
            assert (
                sum(len(b["images"]) for b in DataLoader(data, batch_size=5, sampler=sampler)) == 10
            )
    assert sorted(i for batch in logging_toy() for i in batch) == list(range(40))
    first, second = (
        next(iter(medzoo.dataloader(901, None, 20, seed=rank)))["images"] for rank in range(2)
    )
    assert not {tuple(i) for i in first.flatten(1).tolist()} & {
        tuple(i) for i in second.flatten(1).tolist()
    }


def test_every_epoch_gives_the_same_samples(toy: Toy) -> None:
    loader = medzoo.dataloader(toy(), 10, batch_size=4, seed=1)
    epochs = [torch.cat([b["images"] for b in loader]) for _ in range(2)]
    assert torch.equal(epochs[0], epochs[1])
    assert torch.equal(epochs[0], expected(10))


def test_leaving_a_loader_early_and_beginning_again(toy: Toy) -> None:
    loader = medzoo.dataloader(toy(), 20, batch_size=4, seed=1)
    for _ in range(3):
        next(iter(loader))
    assert torch.equal(torch.cat([b["images"] for b in loader]), expected(20))


def test_any_sample_can_be_asked_for_in_any_order(
    logging_toy: Callable[[], list[list[int]]],
) -> None:
    images = medzoo.generate(901, 100, seed=1).to_torch()["images"]
    before = len(logging_toy())
    samples = medzoo.dataset(901, 100, seed=1)
    assert len(samples) == 100
    for i in (70, 3, -1, 70, 3, 99, 4, 5, 6):
        assert torch.equal(samples[i]["images"], images[i])
    assert (
        sum(map(len, logging_toy()[before:])) < 20
    )  # the block around each, at most, and not the set
    for i in (100, -101):
        with pytest.raises(IndexError):
            samples[i]


def test_a_data_set_keeps_a_few_blocks_and_no_more(toy: Toy) -> None:
    samples = medzoo.dataset(toy(), 400, seed=1)
    for i in range(400):
        samples[i]
        assert len(samples._kept) + len(samples._recent) <= CACHED_BLOCKS * 4


def test_a_data_set_that_may_keep_all_makes_each_sample_once_in_whole_blocks(
    logging_toy: Callable[[], list[list[int]]],
) -> None:
    data = medzoo.dataset(901, 10, seed=1, keep=10)
    order = [7, 2, 9, 0, 5, 1, 3, 4, 8, 6]
    for _ in range(2):
        found = {i: data[i]["images"] for i in order}
    assert sorted(i for batch in logging_toy() for i in batch) == list(range(10))
    assert torch.equal(torch.stack([found[i] for i in range(10)]), expected(10))


def test_writing_into_an_item_does_not_change_the_sample(toy: Toy) -> None:
    samples = medzoo.dataset(toy(), 4, seed=1)
    samples[0]["images"].zero_()
    assert torch.equal(samples[0]["images"], expected(4)[0])
    doubled = medzoo.dataset(901, 4, seed=1, transform=double)
    for _ in range(2):
        assert torch.equal(doubled[1]["images"], 2 * expected(4)[1])


def test_a_transform_is_applied_before_batches_are_put_together(toy: Toy) -> None:
    batch = next(iter(medzoo.dataloader(toy(), 4, seed=1, transform=double)))
    assert torch.equal(batch["images"], 2 * expected(4))
    assert batch["more"].shape == (4,)


def test_synthetic_samples_join_real_ones(toy: Toy) -> None:
    real = [{"images": torch.zeros(1, 8, 8), "labels": torch.tensor(0)} for _ in range(5)]
    both: ConcatDataset[Any] = ConcatDataset([real, medzoo.dataset(toy(), 7, seed=1)])  # type: ignore[list-item]
    batches = list(
        DataLoader(both, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(0))
    )
    images = torch.cat([b["images"] for b in batches])
    assert images.shape == (12, 1, 8, 8)
    assert int((images.flatten(1).max(dim=1).values > 0).sum()) == 7
    assert len(TensorDataset(images)) == 12


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1])
def test_shuffling_changes_the_order_follows_the_seed_and_loses_nothing(
    toy: Toy, seed: int
) -> None:
    toy()
    one, two = (
        [b["images"] for b in medzoo.dataloader(901, 20, batch_size=4, seed=seed, shuffle=True)]
        for _ in range(2)
    )
    assert torch.equal(torch.cat(one), torch.cat(two))
    in_order = expected(20, seed)
    assert not torch.equal(torch.cat(one), in_order)
    assert sorted(map(repr, torch.cat(one).tolist())) == sorted(map(repr, in_order.tolist()))


def read_with_workers(way: str, **how: Any) -> list[torch.Tensor]:
    """The images of each epoch, read by two worker processes."""
    loader: DataLoader[Any]
    if way == "iterable":
        stream = medzoo.iterable_dataset(901, 21, batch_size=4, seed=1)
        loader = DataLoader(stream, batch_size=4, num_workers=2, **how)
        return [torch.cat([b["images"] for b in loader])]
    shuffle, fresh = way == "shuffled", way == "fresh"
    loader = medzoo.dataloader(
        901, 21, batch_size=4, seed=1, shuffle=shuffle, fresh=fresh, num_workers=2, **how
    )
    return [torch.cat([b["images"] for b in loader]) for _ in range(2 if fresh else 1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "way"),
    [
        *(("fork", way) for way in ("in order", "shuffled", "fresh", "iterable")),
        ("spawn", "fresh"),
        ("spawn", "iterable"),
    ],
)
@IN_FORKS
def test_workers_make_every_sample_once(
    logging_toy: Callable[[], list[list[int]]], start: str, way: str
) -> None:
    if start == "fork" and sys.platform == "win32":
        pytest.skip("no fork here")
    images = expected(42)
    used = medzoo.dataset(901, 21, seed=1)
    used[0]  # a model and a thread in this process must not disturb the workers
    used._thread.submit(int).result()  # type: ignore[union-attr]
    before = len(logging_toy())
    epochs = read_with_workers(way, multiprocessing_context=start)
    if way == "shuffled":
        assert sorted(map(repr, epochs[0].tolist())) == sorted(map(repr, images[:21].tolist()))
        assert not torch.equal(epochs[0], images[:21])
    else:
        assert torch.equal(torch.cat(epochs), images[: 21 * len(epochs)])
    made = sorted(i for line in logging_toy()[before:] for i in line)
    assert made == list(range(21 * len(epochs)))


@IN_FORKS
def test_a_small_set_in_shuffled_order_is_not_made_by_each_worker(
    logging_toy: Callable[[], list[list[int]]],
) -> None:
    batches = medzoo.dataloader(901, 8, batch_size=4, seed=1, shuffle=True, num_workers=2)
    assert sorted(i for b in batches for i in b["images"][:, 0, 0, 0].tolist()) == pytest.approx(
        [0] * 4 + [1 / 255] * 4
    )
    assert sorted(i for line in logging_toy() for i in line) == list(range(8))


@pytest.mark.parametrize("workers", [0, 2])
@IN_FORKS
def test_a_model_whose_samples_depend_on_the_batch_makes_whole_ones(
    logging_toy: Callable[[], list[list[int]]], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(Version, "per_sample", False)  # in forked workers as well
    loader = medzoo.dataloader(
        901, 18, batch_size=4, seed=1, shuffle=True, fresh=True, num_workers=workers, keep=4
    )
    for epoch in range(2):
        before = len(logging_toy())
        images = torch.cat([b["images"] for b in loader])
        made = sorted(logging_toy()[before:])
        assert made == [
            list(range(18 * epoch + k, 18 * epoch + min(k + 4, 18))) for k in range(0, 18, 4)
        ]
        in_order = expected(18 * (epoch + 1))[18 * epoch :]
        assert not torch.equal(images, in_order)
        assert sorted(map(repr, images.tolist())) == sorted(map(repr, in_order.tolist()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@IN_FORKS
def test_a_fork_waits_until_no_thread_is_inside_the_model(toy: Toy) -> None:
    # A lock of the process, as libraries have them: a child forked off while it is held would wait for ever.
    code = NUMPY_MODEL.replace(
        "class Model:\n", "import sys, threading, time\nclass Model:\n"
    ).replace(
        "def sample(self, batch):\n",
        "def sample(self, batch):\n        with sys.__dict__.setdefault('_test_lock', threading.Lock()): time.sleep(0.2)\n",
    )
    data = medzoo.dataset(toy(code), 12, seed=1)
    try:
        for _ in range(3):
            data.__getitems__([0, 1, 2, 3])  # a thread makes the next ones
            loader = DataLoader(
                data, batch_size=4, num_workers=1, multiprocessing_context="fork", timeout=20
            )
            assert torch.equal(torch.cat([b["images"] for b in loader]), expected(12))
    finally:
        sys.__dict__.pop("_test_lock", None)


@pytest.mark.slow
@IN_FORKS
def test_a_torch_model_with_threads_works_in_forked_workers(toy: Toy) -> None:
    toy(CONVOLUTION, requires=["numpy", "torch"])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        whole = medzoo.generate(901, 16, seed=1).to_torch()["images"]
        loader = medzoo.dataloader(901, 16, batch_size=4, seed=1, num_workers=2)
        assert (torch.cat([b["images"] for b in loader]) - whole).abs().max() < 1.5 / 255
    finally:
        torch.set_num_threads(threads)


COUNTING = """
import numpy as np
import torch

class Model:
    def sample(self, batch):
        threads = torch.get_num_threads()
        torch.ones(2**20).exp().sum()  # shared by the threads; it never ends if some are gone
        return {"images": np.full((batch.n, 1, 8, 8), threads, dtype=np.uint8)}

def load(weights_dir, device):
    return Model()
"""


def with_own_threads(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "own": torch.tensor(torch.get_num_threads())}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("workers", "start", "share"), [(1, "fork", 4), (2, "fork", 2), (1, "spawn", 1)]
)
@IN_FORKS
def test_workers_share_the_threads_of_the_process_that_starts_them(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, stream: bool, workers: int, start: str, share: int
) -> None:
    toy(COUNTING, requires=["numpy", "torch"])
    make = medzoo.iterable_dataset if stream else medzoo.dataset
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which a new interpreter reads
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        torch.ones(2**20).exp().sum()  # this process has used its threads before it forks
        loader = DataLoader(
            make(901, 8, seed=1, transform=with_own_threads),
            batch_size=4,
            num_workers=workers,
            multiprocessing_context=start,
            timeout=60,
        )
        batches = list(loader)
    finally:
        torch.set_num_threads(threads)
    made = torch.cat([b["images"] for b in batches]) * 255
    assert made.unique().round().tolist() == [share]
    assert torch.cat([b["own"] for b in batches]).unique().tolist() == [1]  # of the transform


@IN_FORKS
def test_an_error_in_a_worker_says_what_failed(toy: Toy) -> None:
    toy(
        NUMPY_MODEL.replace(
            "def sample(self, batch):\n", "def sample(self, batch):\n        1 / 0\n"
        )
    )
    with pytest.raises(PackageError, match="failed on samples 0 to 3: ZeroDivisionError"):
        list(medzoo.dataloader(901, 8, batch_size=4, num_workers=1))


def test_fresh_epochs_go_on_where_the_last_one_ended(
    logging_toy: Callable[[], list[list[int]]],
) -> None:
    for _ in range(2):  # a script that runs again gives the same epochs
        before = len(logging_toy())
        loader = medzoo.dataloader(901, 10, batch_size=4, seed=1, fresh=True)
        epochs = [torch.cat([b["images"] for b in loader]) for _ in range(3)]
        assert [i for line in logging_toy()[before:] for i in line] == list(range(30))
        assert torch.equal(torch.cat(epochs), expected(30))


def test_leaving_an_epoch_early_ends_it(toy: Toy) -> None:
    loader = medzoo.dataloader(toy(), 10, batch_size=4, seed=1, fresh=True)
    for epoch in range(3):
        assert torch.equal(next(iter(loader))["images"], expected(30)[10 * epoch :][:4])
    one, two = iter(loader), iter(loader)  # side by side, each has an epoch of its own
    for at in (0, 4):
        for epoch, batches in ((3, one), (4, two)):
            assert torch.equal(next(batches)["images"], expected(50)[10 * epoch + at :][:4])


def test_fresh_epochs_in_shuffled_order_have_the_epochs_own_samples(toy: Toy) -> None:
    loader = medzoo.dataloader(toy(), 10, batch_size=4, seed=1, fresh=True, shuffle=True)
    orders = []
    for epoch in range(3):
        images, own = (
            torch.cat([b["images"] for b in loader]).tolist(),
            expected(30)[10 * epoch :][:10].tolist(),
        )
        orders.append([own.index(image) for image in images])
        assert sorted(orders[-1]) == list(range(10))
    assert len(set(map(tuple, orders))) == 3


def test_lists_of_conditions_and_latents_are_those_of_each_epoch(toy: Toy) -> None:
    given = {
        "condition": ["malignant", "benign", "benign"],
        "latents": np.arange(12, dtype=np.float32).reshape(3, 4) / 6,
    }
    loader = medzoo.dataloader(toy(), 3, batch_size=2, seed=1, fresh=True, **given)
    epochs = [
        {k: torch.cat([b[k] for b in batches]) for k in ("images", "labels")}
        for batches in (list(loader), list(loader))
    ]
    assert [e["labels"].tolist() for e in epochs] == [[1, 0, 0]] * 2
    first, second = (e["images"] for e in epochs)
    assert torch.equal(first[:, 0, 0, :6], second[:, 0, 0, :6])  # what latents and condition decide
    assert not torch.equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("persistent", [False, True])
@IN_FORKS
def test_a_data_set_of_ones_own_loader_is_told_the_epoch(toy: Toy, persistent: bool) -> None:
    toy()
    real = [{"images": torch.zeros(1, 8, 8), "labels": torch.tensor(0)} for _ in range(3)]
    for made in (medzoo.dataset(901, 6, seed=1), medzoo.iterable_dataset(901, 6, seed=1)):
        data = made if isinstance(made, IterableDataset) else ConcatDataset([real, made])  # type: ignore[list-item]
        loader = DataLoader(data, batch_size=4, num_workers=1, persistent_workers=persistent)
        for epoch in (0, 1, 5, 1):
            made.set_epoch(epoch)
            assert torch.equal(
                torch.cat([b["images"] for b in loader])[-6:], expected(36)[6 * epoch :][:6]
            )


def test_samples_without_end(logging_toy: Callable[[], list[list[int]]]) -> None:
    loader = medzoo.dataloader(901, None, batch_size=4, seed=1)
    images = expected(24)
    before = len(logging_toy())
    for _ in range(2):  # each iteration begins with the first sample
        batches = [b for _, b in zip(range(5), loader, strict=False)]
        assert torch.equal(torch.cat([b["images"] for b in batches]), images[:20])
        assert torch.cat([b["labels"] for b in batches]).tolist() == [0, 1] * 10
    loader.dataset._thread.submit(int).result()  # type: ignore[attr-defined]
    assert (
        len(logging_toy()) - before <= 14
    )  # no more than a block ahead, and the batch that zip takes
    with pytest.raises(TypeError):
        len(loader)


@IN_FORKS
def test_samples_without_end_by_workers_come_in_order(toy: Toy) -> None:
    loader = medzoo.dataloader(
        toy(), None, batch_size=4, seed=1, num_workers=2, condition="malignant"
    )
    batches = iter(loader)
    found = torch.cat([next(batches)["images"] for _ in range(5)])
    assert torch.equal(
        found, medzoo.generate(901, 20, seed=1, condition="malignant").to_torch()["images"]
    )


def test_an_iterable_data_set_is_a_block_ahead_and_holds_no_more(
    logging_toy: Callable[[], list[list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = medzoo.iterable_dataset(901, 40, batch_size=4, seed=1, transform=double)
    assert len(data) == 40
    assert logging_toy() == []
    make, blocks = data._make, []

    def noted(numbers: range) -> dict[int, Any]:
        made = make(numbers)
        blocks.append(weakref.ref(made[numbers[0]]["images"]))
        return made

    monkeypatch.setattr(data, "_make", noted)
    items, images = iter(data), 2 * expected(40)
    before = len(logging_toy())
    for i in range(20):
        item = next(items)
        assert torch.equal(item["images"], images[i])
        assert item["more"] == 1
        data._thread.submit(int).result()  # type: ignore[union-attr]
        assert len(logging_toy()) - before == i // 4 + 2
        assert sum(ref() is not None for ref in blocks) <= 3
    items.close()  # type: ignore[attr-defined]
    assert len(list(data)) == 40


@pytest.mark.parametrize("index", [1.5, 1.0, "1", None, slice(0, 3), [1], np.zeros(2)])
def test_what_is_no_index_is_refused(toy: Toy, index: Any) -> None:
    data = medzoo.dataset(toy(), 10, seed=1)
    with pytest.raises(InputError, match=r"is not the number of a sample\.\nGive a whole number"):
        data[index]
    with pytest.raises(InputError, match="is not the number of a sample"):
        data.__getitems__([0, index])
    assert torch.equal(data[np.int16(3)]["images"], data[torch.tensor(3)]["images"])
    assert len(list(medzoo.dataset(901, 3))) == 3  # which ends with an IndexError
    assert data.__getitems__([]) == []


def test_indices_that_are_not_there_in_one_go(toy: Toy) -> None:
    data = medzoo.dataset(toy(), 10, seed=1)
    for bad in ([3, 10], [-1]):
        with pytest.raises(IndexError):
            data.__getitems__(bad)
    found = data.__getitems__([7, 3, 7])
    assert torch.equal(found[0]["images"], found[2]["images"])


def test_a_model_on_a_gpu_is_given_workers_that_are_not_forked(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "pick_device", lambda *_: "cuda:0")  # there may be none here
    assert (
        medzoo.dataloader(
            toy(), 8, num_workers=1, pin_memory=False
        ).multiprocessing_context.get_start_method()
        == "spawn"
    )
    assert medzoo.dataloader(901, 8, pin_memory=False).multiprocessing_context is None


@IN_FORKS
def test_a_loader_with_workers_of_its_own(toy: Toy) -> None:
    loader = medzoo.dataloader(toy(), 9, batch_size=4, seed=1, num_workers=1, transform=double)
    assert torch.equal(torch.cat([b["images"] for b in loader]), 2 * expected(9))


@pytest.mark.slow
@IN_FORKS
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # by torch, in torchdata 0.11
def test_the_page_on_loaders_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "loaders.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.+?)```", page, re.DOTALL))
    for large, small in (
        ("10_000", "8"),
        ("batch_size=64", "batch_size=4"),
        ("num_workers=4", "num_workers=1"),
    ):
        assert large in code
        code = code.replace(large, small)
    steps: list[tuple[torch.Tensor, torch.Tensor]] = []
    real = [{"images": torch.zeros(1, 128, 128), "labels": torch.tensor(0)}] * 3
    exec(code, {"step": lambda *batch: steps.append(batch), "real": real})
    assert [len(labels) for _, labels in steps] == [4] * 11 + [4, 4, 3] * 2 + [4] * 6
    assert all(images.shape[1:] == (1, 128, 128) for images, _ in steps)
    first, fresh, endless = (
        torch.cat([i for i, _ in part]) for part in (steps[:2], steps[2:6], steps[6:11])
    )
    assert (first - fresh[:8]).abs().max() < 1.5 / 255
    assert (fresh - endless[:16]).abs().max() < 1.5 / 255
    means = [
        torch.cat([i for i, _ in part]).mean(dim=(1, 2, 3)).sort().values
        for part in (steps[:2], steps[17:19], steps[19:21])
    ]
    assert torch.allclose(means[0], means[1], atol=1 / 255)  # as tuples
    assert torch.allclose(means[0], means[2], atol=1 / 255)  # of a set on disk, in shuffled order


def test_a_data_set_survives_pickling_without_its_model(toy: Toy) -> None:
    samples = medzoo.dataset(toy(), 10, seed=1, condition=["benign"] * 10)
    samples[0]
    again = pickle.loads(pickle.dumps(samples))
    assert again._model is None
    assert torch.equal(again[7]["images"], samples[7]["images"])
    assert again[7]["labels"] == 0


def test_without_a_seed_a_data_set_is_fresh_and_says_which_it_took(toy: Toy) -> None:
    one, two = medzoo.dataset(toy(), 2), medzoo.dataset(901, 2)
    assert one.seed != two.seed
    assert torch.equal(one[0]["images"], expected(2, one.seed)[0])


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"n": 0}, InputError, "n=0 is not a number of samples"),
        ({"batch_size": 0}, InputError, "batch_size=0"),
        ({"batch_size": None}, InputError, "batch_size=None"),
        ({"num_workers": -1}, InputError, "num_workers=-1 is not a number of processes"),
        ({"num_workers": True}, InputError, "num_workers=True"),
        ({"seed": -1}, InputError, "seed=-1 is not a valid seed"),
        ({"gian": 1}, InputError, "takes no 'gian'"),
        ({"condition": ["benign"]}, InputError, "condition has 1 values for n=8"),
        ({"device": "tpu"}, InputError, "device='tpu' is not a valid device"),
        ({"version": "7"}, ModelNotFoundError, "has no version '7'"),
        ({"model_id": 4711}, ModelNotFoundError, "no model '4711'"),
        ({"model_id": 8, "version": "1.0.1"}, SourceError, "/api/records/7382545 failed"),
        ({"n": None, "shuffle": True}, InputError, "shuffle has no effect on endless samples"),
        ({"n": None, "fresh": True}, InputError, "fresh has no effect"),
        ({"n": None, "keep": 4}, InputError, "keep has no effect"),
        (
            {"n": None, "condition": ["benign"] * 2},
            InputError,
            "condition has 2 values for endless samples",
        ),
        ({"n": True}, InputError, "n=True is not a number of samples"),
        ({"keep": 0}, InputError, "keep=0"),
        ({"shuffle": "no"}, InputError, "shuffle='no' is neither True nor False"),
        ({"fresh": "no"}, InputError, "fresh='no' is neither True nor False"),
        ({"drop_last": None}, InputError, "drop_last=None is neither True nor False"),
        (
            {"collate_fn": list},
            InputError,
            r"takes no 'collate_fn'\.\nUse your own loader: DataLoader\(",
        ),
        (
            {"n": None, "prefetch_factor": 2},
            InputError,
            r"takes no 'prefetch_factor'\.\nUse your own loader",
        ),
        ({"weights": "none.safetensors"}, InputError, "none.safetensors': there is no such file"),
        ({"weights": __file__}, InputError, "has no weights.safetensors that others could replace"),
        ({"precision": "half"}, InputError, "precision='half' is not a valid precision"),
        ({"precision": "bfloat16"}, InputError, "does not run on torch"),
    ],
)
def test_bad_input_fails_at_once(
    toy: Toy, arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        medzoo.dataloader(**{"model_id": toy(), "n": 8, **arguments})


def test_a_models_own_option_may_be_called_as_one_of_torchs_loader(toy: Toy) -> None:
    option = {"type": "int", "default": 3, "minimum": 0, "maximum": 9, "help": "Something."}
    code = NUMPY_MODEL.replace('"gain", 0', '"sampler"')
    assert (
        next(iter(medzoo.dataloader(toy(code, options={"sampler": option}), 1, sampler=5)))[
            "images"
        ][0, 0, 0, 5]
        * 255
        == 5
    )


@pytest.mark.parametrize("epoch", [-1, 1.0, True, None, 2**62])
def test_a_bad_epoch_is_refused(toy: Toy, epoch: Any) -> None:
    for data in (medzoo.dataset(toy(), 8), medzoo.iterable_dataset(901, 8)):
        with pytest.raises(InputError, match="is not a valid epoch"):
            data.set_epoch(epoch)
    with pytest.raises(InputError, match="is not a valid epoch"):
        medzoo.iterable_dataset(901).set_epoch(-1)


def test_an_epoch_changes_nothing_of_samples_without_end(toy: Toy) -> None:
    data = medzoo.iterable_dataset(toy(), seed=1)
    data.set_epoch(3)  # as accelerate does
    items = iter(data)
    assert torch.equal(torch.stack([next(items)["images"] for _ in range(6)]), expected(6))


def test_an_error_ahead_arrives_where_its_batch_is_read(toy: Toy) -> None:
    code = NUMPY_MODEL.replace(
        "def sample(self, batch):\n",
        "def sample(self, batch):\n        1 / int(8 not in batch.indices)\n",
    )
    toy(code)
    for n in (20, None):
        loader = medzoo.dataloader(901, n, batch_size=4)
        for _ in range(2):  # it can be tried again
            batches = iter(loader)
            for _ in range(2):
                next(batches)
            with pytest.raises(PackageError, match="failed on samples 8 to 11: ZeroDivisionError"):
                next(batches)


def test_too_little_memory_halves_what_is_made_at_once_from_then_on(
    toy: Toy, tmp_path: Path
) -> None:
    images = medzoo.generate(toy(), 10, seed=1).to_torch()["images"]
    too_much = f"""
        if batch.n > 1:
            with open({str(tmp_path / "tried")!r}, "a") as file: file.write(str(batch.n))
            import torch
            raise torch.OutOfMemoryError("CUDA out of memory.")
    """
    toy(
        NUMPY_MODEL.replace("def sample(self, batch):\n", f"def sample(self, batch):\n{too_much}\n")
    )
    found = torch.cat([b["images"] for b in medzoo.dataloader(901, 10, batch_size=5, seed=1)])
    assert torch.equal(found, images)
    assert (tmp_path / "tried").read_text() == "52"  # once each, not with every batch


def test_samples_that_depend_on_their_batch_are_not_made_in_halves(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Version, "per_sample", False)
    small = "        if batch.n > 2:\n            raise MemoryError\n"
    toy(NUMPY_MODEL.replace("def sample(self, batch):\n", f"def sample(self, batch):\n{small}"))
    for _ in range(2):
        with pytest.raises(OutOfMemoryError, match=r"batch of 4 .* depends on the batch") as caught:
            next(iter(medzoo.dataloader(901, 8, batch_size=4, seed=1)))
        assert "smaller batch_size" in caught.value.hint
    batches = medzoo.dataloader(901, 8, batch_size=2, seed=1)
    assert torch.equal(torch.cat([b["images"] for b in batches]), expected(8))


def test_a_package_meets_one_thread_at_a_time(toy: Toy) -> None:
    code = NUMPY_MODEL.replace(
        "class Model:\n", "import time\nclass Model:\n    busy = False\n"
    ).replace(
        "def sample(self, batch):\n",
        "def sample(self, batch):\n        assert not self.busy\n        self.busy = True\n        time.sleep(0.05)\n        self.busy = False\n",
    )
    samples = medzoo.dataset(toy(code), 100, seed=1)
    samples[0]  # the next block is being made in a thread
    samples[50]
    samples[51]


def test_masks_and_tables_are_tensors_too(toy: Toy) -> None:
    code = """
        import numpy as np
        class Model:
            def sample(self, batch):
                return {"masks": np.full((batch.n, 1, 2, 2), 3, np.uint8), "table": np.ones((batch.n, 2), np.float32)}
        def load(weights_dir, device):
            return Model()
    """
    outputs = {
        "masks": {"kind": "mask", "dtype": "uint8", "shape": [1, 2, 2]},
        "table": {"kind": "table", "dtype": "float32", "shape": [2]},
    }
    batch = next(iter(medzoo.dataloader(toy(code, outputs=outputs), 2)))
    assert batch["masks"].dtype == torch.int64
    assert batch["masks"].max() == 3
    assert batch["table"].dtype == torch.float32
    assert np.array_equal(batch["table"].numpy(), np.ones((2, 2)))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_iteration_that_nobody_reads_is_not_counted(toy: Toy, num_workers: int) -> None:
    def loader() -> Any:
        return medzoo.dataloader(
            901, 8, 2, seed=3, shuffle=True, fresh=True, num_workers=num_workers
        )

    def read(batches: Any) -> list[float]:
        return [float(b["images"].sum()) for b in batches]

    toy()
    whole = loader()
    epochs = [read(whole) for _ in range(3)]
    interrupted = loader()
    assert read(interrupted) == epochs[0]
    iter(interrupted)  # workers make batches of the next epoch now
    state = interrupted.state_dict()
    assert (state["epoch"], state["batches"]) == (1, 0)
    assert read(interrupted) == epochs[1]
    again = loader()
    again.load_state_dict(state)
    unread = iter(again)
    assert again.state_dict() == state
    assert read(unread) == epochs[1]
    assert read(again) == epochs[2]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_place_is_kept_until_a_batch_is_read(toy: Toy, num_workers: int) -> None:
    def loader() -> Any:
        return medzoo.dataloader(901, None, 2, seed=3, num_workers=num_workers)

    toy()
    read = iter(loader())
    sums = [float(next(read)["images"].sum()) for _ in range(4)]
    begun = loader()
    batches = iter(begun)
    for _ in range(2):
        next(batches)
    state = begun.state_dict()
    again = loader()
    again.load_state_dict(state)
    iter(again)
    assert again.state_dict() == state
    batches = iter(again)
    assert [float(next(batches)["images"].sum()) for _ in range(2)] == sums[2:]
