"""What the tests with real trainers share: two processes that train, and which samples each of them sees."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import socket
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

import medzoo

Toy = Callable[..., int]
SECONDS = 300  # for ranks to end on a busy machine
IN_FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="ranks are forked off here")

ALL: dict[tuple[float, ...], int] = {}


def key(image: torch.Tensor) -> tuple[float, ...]:
    return tuple(image.flatten().tolist())


@pytest.fixture
def numbered(toy: Toy) -> None:
    """Model 901, of whose first samples of seed 1 `seen` and `numbers` tell which they are."""
    ALL.clear()
    images = medzoo.generate(toy(), 96, seed=1).to_torch()["images"]
    ALL.update({key(image): number for number, image in enumerate(images)})
    assert len(ALL) == 96


def numbers(images: torch.Tensor) -> list[int]:
    """Which samples these images (B, 1, 8, 8) are."""
    return [ALL[key(image)] for image in images]


def seen(loader: Iterable[Any], batches: int | None = None) -> list[list[int]]:
    """The samples of one iteration over a loader, batch by batch."""
    return [numbers(batch["images"]) for batch in itertools.islice(loader, batches)]


def library(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they warn of while they are imported is theirs
        return pytest.importorskip(name)


def on_ranks(work: Callable[[int], Any], folder: Path, ranks: int = 2) -> list[Any]:
    """What ``work(rank)`` returns in each of some processes that can reach each other by gloo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_rank, args=(work, rank, ranks, port, folder))
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
    logs = "\n".join(path.read_text() for path in sorted(folder.glob("rank*.log")))
    assert [process.exitcode for process in processes] == [0] * ranks, logs
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(ranks)]


def _rank(work: Callable[[int], Any], rank: int, ranks: int, port: int, folder: Path) -> None:
    log = os.open(folder / f"rank{rank}.log", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    if ranks == 1:
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            del os.environ[name]
    warnings.simplefilter("ignore")
    (folder / f"rank{rank}.json").write_text(json.dumps(work(rank)))
