"""The native contract: ``load(weights_dir, device)`` once, then ``model.sample(batch)``."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, PackageError
from .defaults import default_settings, own_randomness
from .imports import import_package

if TYPE_CHECKING:
    from .batch import Batch

# Held while a package is imported and loaded, since that changes what all threads share.
_loading = threading.RLock()


def _forget() -> None:
    """A forked process has not the thread that may hold the lock."""
    global _loading  # noqa: PLW0603
    _loading = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class Native:
    """A package of the native contract, loaded.

    Parameters
    ----------
    folder
        The package.
    spec
        ``weights``: the folder that ``load`` gets. ``outputs``: the names that ``sample`` must
        return. ``autocast``: the type that torch's operations run in; without it they run in their
        own type. ``torch``: whether the package declares it.
    device
        As ``load`` gets it.
    work
        Not needed by this contract.
    """

    def __init__(self, folder: Path, spec: dict[str, Any], device: str, work: Path) -> None:  # noqa: ARG002
        if spec.get("torch"):  # before its generators are seeded
            with suppress(ImportError):  # the package's own import says what is missing
                import torch  # noqa: F401
        with _loading, default_settings(), own_randomness(device):
            self.model = import_package(folder).load(Path(spec["weights"]), device)
        self._outputs = spec["outputs"]
        self._device, self._autocast = device, spec.get("autocast")

    def sample(self, batch: Batch) -> dict[str, Any]:
        """One array per output; anything else that the package returns is ignored."""
        with default_settings(), autocast(self._device, self._autocast):
            returned = self.model.sample(batch)
        if not isinstance(returned, dict):
            kind = type(returned).__name__
            raise PackageError(f"`sample` returned {kind}, not a dict of arrays.")
        for name in self._outputs:
            if name not in returned:
                names = ", ".join(map(str, returned)) or "nothing"
                raise PackageError(f"`sample` returned no {name!r}, only {names}.")
        outputs = to_host({name: returned[name] for name in self._outputs})
        return {name: _array(name, value) for name, value in outputs.items()}


def autocast(device: str, kind: str | None) -> Any:
    """The context in which torch's operations run in a type: ``bfloat16`` or ``float16``.

    With None they run in their own type.

    Raises
    ------
    InputError
        This torch cannot mix types.
    """
    if kind is None:
        return nullcontext()
    import torch

    if not hasattr(torch, "autocast"):  # before torch 1.10
        raise InputError(
            f"The model's torch ({torch.__version__}) has no autocast, and cannot run in {kind}.",
            "Run it in full, which is the default.",
        )
    return torch.autocast(device.partition(":")[0], dtype=getattr(torch, kind))


def to_host(outputs: dict[str, Any]) -> dict[str, Any]:
    """``outputs`` with tensors on the CPU, and with float32 instead of float16 and bfloat16.

    Tensors on a CUDA device are all copied at the same time, into memory that the device writes by
    itself.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return outputs
    moved, devices = dict(outputs), set()
    for name, value in outputs.items():
        if isinstance(value, torch.Tensor):
            full = value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
            moved[name] = full.to("cpu", non_blocking=value.is_cuda)
            if value.is_cuda:
                devices.add(value.device)
    for device in devices:
        torch.cuda.synchronize(device)
    return moved


def _array(name: str, value: Any) -> Any:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors with a gradient
        raise PackageError(
            f"`sample` returned {name!r} as no array: {type(error).__name__}: {error}"
        ) from error
    if array.dtype.hasobject:
        raise PackageError(
            f"`sample` returned {name!r} as no array: {type(value).__name__} holds no numbers."
        )
    return array
