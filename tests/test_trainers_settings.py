"""Samples depend on nothing that a training sets for itself: autocast, types, devices, random states."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from test_worker import HERE

import medzoo
from medzoo.generation.request import Request
from medzoo.packages.store import package
from medzoo.registry import resolve
from medzoo.runtime import Execution
from medzoo.runtime.native import NativeSession
from medzoo.runtime.session import Session
from medzoo.runtime.worker import WorkerSession

Toy = Callable[..., int]
BUNDLED = [c.id for c in medzoo.list_models() if c.default.scheme == "bundled"]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast to bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default dtype float64": lambda: default_dtype(torch.float64),
    "default dtype bfloat16": lambda: default_dtype(torch.bfloat16),
    "default device meta": lambda: default_device("meta"),
    "context of a device": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "matmul precision medium": lambda: matmul_precision("medium"),
    "numpy raises": lambda: np.errstate(all="raise"),
    "deterministic algorithms": deterministic,
}
SAME_KIND = {"default dtype bfloat16", "context of a device", "no_grad"}  # as another of these
LONG = {"00102", "00106"}  # take seconds for a sample


def state() -> list[Any]:
    """All that a caller may have set and medzoo must leave as it is."""
    return [
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_float32_matmul_precision(),
        np.geterr(),
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # type: ignore[index]  # noqa: NPY002
        random.getstate(),
    ]


def columns(samples: medzoo.Samples) -> dict[str, Any]:
    return {name: np.asarray(column[:]) for name, column in samples.columns.items()}


@contextmanager
def all_at_once() -> Iterator[None]:
    with ExitStack() as stack:
        for name, setting in SETTINGS.items():
            if name not in SAME_KIND:
                stack.enter_context(setting())
        yield


@pytest.mark.slow
@pytest.mark.parametrize("model_id", BUNDLED)
def test_a_callers_settings_change_no_bit_of_any_bundled_model(model_id: str) -> None:
    right = columns(medzoo.generate(model_id, 1, seed=1, device="cpu"))
    single = {} if model_id[:5] in LONG else {k: SETTINGS[k] for k in SETTINGS.keys() - SAME_KIND}
    for name, setting in {"all at once": all_at_once, **single}.items():
        with setting():
            before = state()
            samples = columns(medzoo.generate(model_id, 1, seed=1, device="cpu"))
            assert state() == before, name
        assert samples.keys() == right.keys()
        for column in right:
            assert np.array_equal(samples[column], right[column]), (name, column)


SENSITIVE = """
import random
import numpy as np
import torch

class Model:
    def __init__(self):
        self.net = torch.nn.Linear(64, 64)  # random weights that the package never replaces
        self.shift = np.random.rand() + random.random()

    def sample(self, batch):
        rows = torch.from_numpy(np.stack([batch.rng(i).uniforms(64) for i in range(batch.n)]))
        with torch.no_grad():
            x = self.net(rows) + torch.zeros(64) + torch.tensor(self.shift)
        scale = np.float32(1e-30) * np.float32(1e-30)  # underflow, which numpy ignores by itself
        changed = {"dtype": str(x.dtype), "device": str(x.device)}
        assert changed == {"dtype": "torch.float32", "device": "cpu"}, changed
        assert torch.is_grad_enabled()
        LEAVES
        return {"images": (x + float(scale)).reshape(-1, 1, 8, 8)}

def load(weights_dir, device):
    return Model()
"""
LEAVES = (
    "torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False); np.seterr(all='raise')"
)
CPU = Execution(device="cpu")
FLOATS = {
    "images": {"kind": "image", "dtype": "float32", "shape": [1, 8, 8], "range": [-2, 4]},
    "labels": {"kind": "label", "condition": "condition"},
}


def open_toy(kind: str) -> Session:
    config = resolve(901)
    version, found = config.default, package(config, config.default)
    if kind == "worker":
        return WorkerSession(config, version, found, CPU, interpreter=HERE)
    return NativeSession(config, version, found, CPU)


def make(session: Session, first: int = 0) -> np.ndarray[Any, Any]:
    version = resolve(901).default
    request = Request.of(resolve(901), version, 4, seed=1, options={}, first=first)
    return session.sample(request.batch(range(first, first + 4)))["images"]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_package_meets_the_defaults_whatever_the_caller_has_set(toy: Toy, setting: str) -> None:
    toy(SENSITIVE.replace("LEAVES", ""), requires=["numpy", "torch"], outputs=FLOATS)
    right = make(open_toy("here"))
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    random.seed(7)
    with SETTINGS[setting]():
        before = state()
        session = open_toy("here")
        images = make(session)
        batch = next(iter(medzoo.dataloader(901, 4, batch_size=4, seed=1)))["images"]
        assert state()[:8] == before[:8]
    assert np.array_equal(images, right)
    assert np.array_equal(make(session), right)
    assert batch.dtype == torch.float32
    assert np.array_equal(batch.numpy(), (right + 2) * np.float32(1 / 6))


@pytest.mark.parametrize("kind", ["here", "worker"])
def test_what_a_package_sets_in_one_batch_does_not_reach_the_next(toy: Toy, kind: str) -> None:
    toy(SENSITIVE.replace("LEAVES", LEAVES), requires=["numpy", "torch"], outputs=FLOATS)
    before, session = state(), open_toy(kind)
    try:
        assert np.array_equal(make(session), make(session))
        assert state() == before
    finally:
        session.close()


def test_a_worker_loads_what_this_process_loads(toy: Toy) -> None:
    toy(SENSITIVE.replace("LEAVES", ""), requires=["numpy", "torch"], outputs=FLOATS)
    session = open_toy("worker")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"):
            assert np.array_equal(make(session), make(open_toy("here")))
    finally:
        session.close()


@pytest.mark.parametrize("model_id", BUNDLED)
def test_loading_leaves_every_global_random_state(model_id: str) -> None:
    torch.manual_seed(3)
    before = state()
    medzoo.load(model_id, device="cpu").close()
    assert state() == before
