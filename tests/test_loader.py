"""Loaders: samples into training, made while they are read, each once, whatever the workers."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NUMPY_MODEL
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

import medzoo
from medzoo.errors import InputError, ModelNotFoundError, NotAvailableError, PackageError, SourceError
from medzoo.loader import CACHED_BLOCKS

Toy = Callable[..., int]


@pytest.fixture
def logging_toy(toy: Toy, tmp_path: Path) -> Callable[[], list[list[int]]]:
    """A registered toy that notes the samples of every batch; call for what it noted."""
    log = tmp_path / "log"
    line = f"        with open({str(log)!r}, 'a') as file: file.write(' '.join(map(str, batch.indices)) + '\\n')\n"
    toy(NUMPY_MODEL.replace("def sample(self, batch):\n", f"def sample(self, batch):\n{line}"))
    return lambda: [[int(i) for i in line.split()] for line in log.read_text().splitlines()] if log.exists() else []


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


def test_samples_are_made_a_batch_ahead_and_not_all_at_first(logging_toy: Callable[[], list[list[int]]]) -> None:
    loader = medzoo.dataloader(901, 40, batch_size=4, seed=1)
    assert logging_toy() == []  # nothing is made before it is read
    batches = iter(loader)
    for k in range(1, 6):
        next(batches)
        loader.dataset._thread.submit(int).result()  # type: ignore[attr-defined]  # what is begun ahead is done
        assert logging_toy() == [list(range(4 * b, 4 * b + 4)) for b in range(k + 1)]


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


def test_any_sample_can_be_asked_for_in_any_order(logging_toy: Callable[[], list[list[int]]]) -> None:
    images = medzoo.generate(901, 100, seed=1).to_torch()["images"]
    before = len(logging_toy())
    samples = medzoo.dataset(901, 100, seed=1)
    assert len(samples) == 100
    for i in (70, 3, -1, 70, 3, 99, 4, 5, 6):
        assert torch.equal(samples[i]["images"], images[i])
    assert sum(map(len, logging_toy()[before:])) < 20  # the block around each, at most, and not the set
    for i in (100, -101):
        with pytest.raises(IndexError):
            samples[i]


def test_a_data_set_keeps_a_few_blocks_and_no_more(toy: Toy) -> None:
    samples = medzoo.dataset(toy(), 400, seed=1)
    for i in range(400):
        samples[i]
        assert len(samples._kept) <= CACHED_BLOCKS * 4


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
    batches = list(DataLoader(both, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(0)))
    images = torch.cat([b["images"] for b in batches])
    assert images.shape == (12, 1, 8, 8)
    assert int((images.flatten(1).max(dim=1).values > 0).sum()) == 7
    assert len(TensorDataset(images)) == 12


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1])
def test_shuffling_changes_the_order_follows_the_seed_and_loses_nothing(toy: Toy, seed: int) -> None:
    toy()
    one, two = ([b["images"] for b in medzoo.dataloader(901, 20, batch_size=4, seed=seed, shuffle=True)] for _ in range(2))
    assert torch.equal(torch.cat(one), torch.cat(two))
    in_order = expected(20, seed)
    assert not torch.equal(torch.cat(one), in_order)
    assert sorted(map(repr, torch.cat(one).tolist())) == sorted(map(repr, in_order.tolist()))


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_workers_make_every_sample_once(logging_toy: Callable[[], list[list[int]]], start: str, shuffle: bool) -> None:
    if start == "fork" and sys.platform == "win32":
        pytest.skip("no fork here")
    images = expected(21)
    before = len(logging_toy())
    plain = medzoo.dataloader(901, 21, batch_size=4, seed=1)
    plain.dataset[0]  # a model and a thread in this process must not disturb the workers
    begun = len(logging_toy())
    order = torch.randperm(21, generator=torch.Generator().manual_seed(3)).tolist() if shuffle else list(range(21))
    loader = DataLoader(plain.dataset, batch_size=4, sampler=order, num_workers=2, multiprocessing_context=start)
    batches = list(loader)
    assert torch.equal(torch.cat([b["images"] for b in batches]), images[order])
    plain.dataset._thread.submit(int).result()  # type: ignore[attr-defined]
    made = [i for line in logging_toy()[begun:] for i in line]
    ahead = [i for line in logging_toy()[before:begun] for i in line]
    assert set(made) | set(ahead) >= set(range(21))
    assert len([i for i in made if i not in range(4, 8)]) == 17  # 4 to 7 may be made ahead in this process as well


def test_a_loader_with_workers_of_its_own(toy: Toy) -> None:
    loader = medzoo.dataloader(toy(), 9, batch_size=4, seed=1, num_workers=1, transform=double)
    assert torch.equal(torch.cat([b["images"] for b in loader]), 2 * expected(9))


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
        ({"seed": -1}, InputError, "seed=-1 is no seed"),
        ({"gian": 1}, InputError, "takes no 'gian'"),
        ({"condition": ["benign"]}, InputError, "condition has 1 values for n=8"),
        ({"device": "tpu"}, InputError, "device='tpu' is no device"),
        ({"version": "7"}, ModelNotFoundError, "has no version '7'"),
        ({"model_id": 4711}, ModelNotFoundError, "no model '4711'"),
        ({"model_id": 8, "version": "1.0.1"}, SourceError, "/api/records/7382545 failed"),
        ({"engine": "ray"}, NotAvailableError, "reserves `engine`"),
    ],
)
def test_bad_input_fails_at_once(toy: Toy, arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        medzoo.dataloader(**{"model_id": toy(), "n": 8, **arguments})


def test_an_error_ahead_arrives_where_its_batch_is_read(toy: Toy) -> None:
    code = NUMPY_MODEL.replace(
        "def sample(self, batch):\n", "def sample(self, batch):\n        1 / int(8 not in batch.indices)\n"
    )
    batches = iter(medzoo.dataloader(toy(code), 20, batch_size=4))
    for _ in range(2):
        next(batches)
    with pytest.raises(PackageError, match="failed on samples 8 to 11: ZeroDivisionError"):
        next(batches)


def test_too_little_memory_halves_what_is_made_at_once(toy: Toy) -> None:
    images = medzoo.generate(toy(), 10, seed=1).to_torch()["images"]
    toy(
        NUMPY_MODEL.replace(
            "def sample(self, batch):\n", "def sample(self, batch):\n        if batch.n > 1: raise MemoryError\n"
        )
    )
    found = torch.cat([b["images"] for b in medzoo.dataloader(901, 10, batch_size=5, seed=1)])
    assert torch.equal(found, images)


def test_a_package_meets_one_thread_at_a_time(toy: Toy) -> None:
    code = NUMPY_MODEL.replace("class Model:\n", "import time\nclass Model:\n    busy = False\n").replace(
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
