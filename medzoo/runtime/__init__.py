"""Sessions: a loaded model that turns batches into columns. One module a way to run it.

Today there is one way, `native.NativeSession`: a package of the native contract in this interpreter. What the rest of
medzoo knows of any of them is `Session`.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

from numpy.typing import NDArray

from ..config import ModelConfig, Version
from ..errors import NotAvailableError
from ..request import Batch
from ..store import package


class Session(Protocol):
    """A model that is loaded and waits for batches."""

    device: str
    digests: dict[str, str]
    provenance: dict[str, Any]  # of where it runs

    def sample(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """The columns of a batch, checked against the config; MemoryError where it does not fit."""

    def close(self) -> None:
        """Let go of the model."""


def open_session(
    config: ModelConfig,
    version: Version,
    *,
    device: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    env: str = "auto",
    trust: bool = False,
) -> Session:
    """Load a version of a model.

    Raises
    ------
    SourceError, IntegrityError
        Its package cannot be fetched or is not what was registered.
    PackageError
        Its code does not load.
    InputError
        The device does not exist here, or the weights do not fit.
    MemoryError
        The model does not fit into memory.
    NotAvailableError
        This medzoo cannot run packages of its contract.
    """
    found = package(config, version)
    if version.contract != "native":
        raise NotAvailableError(f"{config.id}, version {version.name}, is a package of the {version.contract} contract, "
                                "which this medzoo does not run yet.")  # fmt: skip
    from .native import NativeSession

    return NativeSession(config, version, found, device=device, weights=weights)


__all__ = ["Batch", "Session", "open_session"]
