"""The numerical settings of a new interpreter, for a model's code, whatever the caller has set."""

from __future__ import annotations

import random
import sys
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

LOAD_SEED = 0  # of the generators of Python and numpy while a package is loaded
TORCH_SEED = 67280421310721  # that torch begins with, also where a package imports it first
KINDS = ("cpu", "cuda", "mps")  # of devices that autocast knows


@contextmanager
def default_settings() -> Iterator[None]:
    """Numpy and torch as a new interpreter has them; what the caller had comes back afterwards.

    That is numpy's error state, and of torch: autocast off, float32 as the default type, the CPU as
    the default device, gradients on, no inference mode, and float32 products in full.
    torch is left alone while it is not imported.
    """
    with ExitStack() as stack:
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        torch = sys.modules.get("torch")
        if hasattr(torch, "get_default_device"):  # torch 2.3; medzoo's own is at least 2.6
            _torch_defaults(torch, stack)
        yield


def _torch_defaults(torch: Any, stack: ExitStack) -> None:
    """Enter what differs now from torch's defaults.

    A context that changes nothing would still cost time in each of a model's operations.
    """
    for kind in KINDS:
        if torch.is_autocast_enabled(kind):
            stack.enter_context(torch.autocast(kind, enabled=False))
    if torch.is_inference_mode_enabled():
        stack.enter_context(torch.inference_mode(mode=False))
    stack.enter_context(torch.enable_grad())
    if torch.get_default_device().type != "cpu":
        stack.enter_context(torch.device("cpu"))
    if (dtype := torch.get_default_dtype()) != torch.float32:
        torch.set_default_dtype(torch.float32)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if dtype != torch.float32 or in_main_thread:  # a package may have set it as well
        stack.callback(torch.set_default_dtype, dtype)
    if (products := torch.get_float32_matmul_precision()) != "highest":
        stack.callback(torch.set_float32_matmul_precision, products)
        torch.set_float32_matmul_precision("highest")


def process_wide_settings_are_default() -> bool:
    """Whether torch's settings that all threads share are its defaults.

    If they are not, `default_settings` changes them for all threads, so it must not be used in one
    thread while another computes.
    """
    torch: Any = sys.modules.get("torch")
    return not hasattr(torch, "get_default_device") or (
        torch.get_default_dtype() == torch.float32
        and torch.get_float32_matmul_precision() == "highest"
    )


@contextmanager
def own_randomness(device: str) -> Iterator[None]:
    """Global random generators of Python, numpy and torch that begin with the same seed every time;
    the caller's state comes back afterwards.

    Layers of torch draw their first weights when they are made, before a package loads its own.
    """
    torch = sys.modules.get("torch")
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    with ExitStack() as stack:
        stack.callback(np.random.set_state, numpy_state)
        stack.callback(random.setstate, state)
        if torch is not None:
            _torch_randomness(torch, stack, device)
        random.seed(LOAD_SEED)
        np.random.seed(LOAD_SEED)  # noqa: NPY002
        yield


def _torch_randomness(torch: Any, stack: ExitStack, device: str) -> None:
    """The same for the generators of the CPU and of ``device``.

    Not by ``torch.manual_seed``: where CUDA has not started yet, that changes what it starts with.
    """
    on_gpu = device.startswith("cuda")
    stack.enter_context(torch.random.fork_rng(devices=[device] if on_gpu else []))
    torch.default_generator.manual_seed(TORCH_SEED)
    if on_gpu:
        with torch.cuda.device(device):
            torch.cuda.manual_seed(TORCH_SEED)
