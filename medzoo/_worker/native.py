"""The native contract: ``load(weights_dir, device)`` once, then ``model.sample(batch)``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import PackageError
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
        ``weights``: the folder that ``load`` gets; ``outputs``: the names that ``sample`` must return.
    device
        As ``load`` gets it.
    work
        Not needed by this contract.
    """

    def __init__(self, folder: Path, spec: dict[str, Any], device: str, work: Path) -> None:  # noqa: ARG002
        self._model = import_package(folder).load(Path(spec["weights"]), device)
        self._outputs = spec["outputs"]

    def sample(self, batch: Batch) -> dict[str, Any]:
        """An array for each of the outputs; what more the package returns is left."""
        found = self._model.sample(batch)
        if not isinstance(found, dict):
            raise PackageError(f"`sample` returned {type(found).__name__}, not a dict of arrays.")
        if missing := [name for name in self._outputs if name not in found]:
            raise PackageError(f"`sample` returned no {missing[0]!r}, only {', '.join(map(str, found)) or 'nothing'}.")
        return {name: _array(name, found[name]) for name in self._outputs}


def _array(name: str, value: Any) -> Any:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors on a GPU or with a gradient
        raise PackageError(f"`sample` returned {name!r} as no array: {type(error).__name__}: {error}") from error
    if array.dtype.hasobject:
        raise PackageError(f"`sample` returned {name!r} as no array: {type(value).__name__} holds no numbers.")
    return array
