"""Lightning: the samples of each rank in each epoch, and a training that goes on from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DistributedSampler
from trainers import IN_FORKS, library, needs_fork, numbered, numbers, on_ranks, seen  # noqa: F401

import medzoo

lightning = library("lightning")
pytestmark = [
    IN_FORKS,
    pytest.mark.usefixtures("numbered"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # its hints about workers and GPUs
]
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


def training(stop_after: int = 0) -> Any:
    """A module that notes the samples of each epoch; it stops after so many batches in all."""

    class Training(lightning.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(64, 1)
            self.by_epoch: dict[int, list[list[int]]] = {}

        def training_step(self, batch: Any, number: int) -> Any:
            samples = self.by_epoch.setdefault(self.current_epoch, [])
            samples.append(numbers(batch["images"]))
            return self.net(batch["images"].flatten(1)).mean()

        def on_train_batch_end(self, *_: Any) -> None:
            if stop_after and sum(map(len, self.by_epoch.values())) == stop_after:
                self.trainer.save_checkpoint(self.checkpoint)
                self.trainer.should_stop = True

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    return Training()


def loader(**how: Any) -> Any:
    return medzoo.dataloader(901, 16, batch_size=4, seed=1, **how)


WAYS: list[dict[str, Any]] = [
    {},
    {"shuffle": True},
    {"fresh": True},
    {"fresh": True, "shuffle": True},
]


@pytest.mark.parametrize("how", WAYS)
def test_one_process_sees_what_a_plain_loop_sees(how: dict[str, Any]) -> None:
    module, plain = training(), loader(**how)
    lightning.Trainer(max_epochs=3, **QUIET).fit(module, loader(**how))
    assert list(module.by_epoch.values()) == [seen(plain) for _ in range(3)]


def test_samples_without_end_go_on_from_epoch_to_epoch_as_lightning_has_it() -> None:
    module = training()
    endless = medzoo.dataloader(901, None, batch_size=4, seed=1)
    lightning.Trainer(max_epochs=2, limit_train_batches=3, **QUIET).fit(module, endless)
    assert list(module.by_epoch.values()) == [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]] * 2


@pytest.mark.parametrize("how", WAYS)
def test_a_training_goes_on_inside_epoch_1_of_its_checkpoint(
    how: dict[str, Any], tmp_path: Path
) -> None:
    plain = loader(**how)
    epochs = [seen(plain) for _ in range(3)]
    stopped = training(stop_after=6)
    stopped.checkpoint = tmp_path / "checkpoint"
    lightning.Trainer(max_epochs=3, **QUIET).fit(stopped, loader(**how))
    module = training()
    trainer = lightning.Trainer(max_epochs=3, **QUIET)
    trainer.fit(module, loader(**how), ckpt_path=tmp_path / "checkpoint", weights_only=False)
    assert module.by_epoch == {1: epochs[1][2:], 2: epochs[2]}


def train_on_a_rank(how: dict[str, Any], **more: Any) -> list[list[list[int]]]:
    module = training()
    trainer = lightning.Trainer(max_epochs=2, strategy="ddp", devices=2, **QUIET, **more)
    trainer.fit(module, loader(**how))
    return list(module.by_epoch.values())


@needs_fork
def test_two_ranks_share_each_epoch_in_an_order_that_lightning_shuffles(tmp_path: Path) -> None:
    def work(rank: int) -> Any:
        shared = [train_on_a_rank(how) for how in WAYS]
        return [*shared, train_on_a_rank(WAYS[2], use_distributed_sampler=False)]

    ranks = on_ranks(work, tmp_path)
    for place, how in enumerate(WAYS):
        for epoch in range(2):
            own = range(16 * epoch, 16 * epoch + 16) if how.get("fresh") else range(16)
            for rank in range(2):
                one = loader(**how)
                one.set_epoch(epoch)
                order = [i for batch in seen(one) for i in batch]
                sampler: Any = DistributedSampler(order, 2, rank, shuffle=True)
                sampler.set_epoch(epoch)
                samples = [order[i] for i in sampler]
                batches = [samples[:4], samples[4:]]
                assert ranks[rank][place][epoch] == batches, (how, epoch, rank)
            both = [i for rank in ranks for batch in rank[place][epoch] for i in batch]
            assert sorted(both) == list(own)
    plain = loader(fresh=True)
    assert ranks[0][-1] == ranks[1][-1] == [seen(plain) for _ in range(2)]


@needs_fork
def test_two_ranks_go_on_inside_epoch_1_of_their_checkpoint(tmp_path: Path) -> None:
    how = {"fresh": True}

    def work(rank: int) -> Any:
        whole = train_on_a_rank(how)
        stopped = training(stop_after=3)
        stopped.checkpoint = tmp_path / "checkpoint"
        ddp = {"strategy": "ddp", "devices": 2, "max_epochs": 2}
        lightning.Trainer(**ddp, **QUIET).fit(stopped, loader(**how))
        module = training()
        trainer = lightning.Trainer(**ddp, **QUIET)
        trainer.fit(module, loader(**how), ckpt_path=tmp_path / "checkpoint", weights_only=False)
        return [whole, stopped.by_epoch[1], module.by_epoch[1]]

    for whole, before, after in on_ranks(work, tmp_path):
        assert [*before, *after] == whole[1]
        assert len(after) == 1
