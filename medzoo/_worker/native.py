"""The native contract: ``load(weights_dir, device)`` once, then ``model.sample(batch)``."""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, PackageError
from .defaults import default_settings, own_randomness
from .imports import import_package

if TYPE_CHECKING:
    from .batch import Batch


class Native:
    """A package of the native contract, loaded.

    Parameters
    ----------
    folder
        The package.
    spec
        ``weights``: the folder that ``load`` gets; ``outputs``: the names that ``sample`` must
        return; ``precision``: that of torch's operations, ``full`` if left out; ``torch``: whether
        the package declares it.
    device
        As ``load`` gets it.
    work
        Not needed by this contract.
    """

    def __init__(self, folder: Path, spec: dict[str, Any], device: str, work: Path) -> None:  # noqa: ARG002
        if spec.get("torch"):  # before its generators are seeded
            with suppress(ImportError):  # the package's own import says what is missing
                import torch  # noqa: F401
        with default_settings(), own_randomness(device):
            self._model = import_package(folder).load(Path(spec["weights"]), device)
        self._outputs = spec["outputs"]
        self._device, self._precision = device, spec.get("precision", "full")

    def sample(self, batch: Batch) -> dict[str, Any]:
        """One array per output; anything else that the package returns is ignored."""
        with default_settings(), autocast(self._device, self._precision):
            found = self._model.sample(batch)
        if not isinstance(found, dict):
            raise PackageError(f"`sample` returned {type(found).__name__}, not a dict of arrays.")
        if missing := [name for name in self._outputs if name not in found]:
            raise PackageError(
                f"`sample` returned no {missing[0]!r}, only {', '.join(map(str, found)) or 'nothing'}."
            )
        found = to_host({name: found[name] for name in self._outputs})
        return {name: _array(name, value) for name, value in found.items()}


def autocast(device: str, precision: str) -> Any:
    """The context in which torch's operations have a precision: ``full``, ``bfloat16`` or
    ``float16``.

    Raises
    ------
    InputError
        This torch has no mixed precision.
    """
    if precision == "full":
        return nullcontext()
    import torch

    if not hasattr(torch, "autocast"):  # before torch 1.10
        raise InputError(
            f"precision={precision!r}: the model's torch ({torch.__version__}) has no mixed precision.",
            "Leave `precision` out.",
        )
    return torch.autocast(device.partition(":")[0], dtype=getattr(torch, precision))


def to_host(found: dict[str, Any]) -> dict[str, Any]:
    """``found`` with its tensors on the CPU, those of two bytes a number as float32.

    From a CUDA device they are all copied at once, into memory that the device writes by itself,
    and waited for together.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return found
    tensors = {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
    moved = {}
    for name, value in tensors.items():
        full = value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
        moved[name] = full.to("cpu", non_blocking=value.is_cuda)
    for device in {value.device for value in tensors.values() if value.is_cuda}:
        torch.cuda.synchronize(device)
    return {**found, **moved}


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
