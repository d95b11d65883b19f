"""What is common to all sessions: what the rest of medzoo knows of one, its provenance, and the words for its errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from .._worker.batch import Batch
from .._worker.protocol import Failure
from ..config import ModelConfig, Version, requirement_name
from ..errors import InputError, PackageError, TrustError


class Session(Protocol):
    """A model that is loaded and waits for batches."""

    device: str
    digests: dict[str, str]
    provenance: dict[str, Any]

    def sample(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """The columns of a batch, checked against the config; MemoryError where it does not fit."""

    def close(self) -> None:
        """Let go of the model."""


def name_of(config: ModelConfig, version: Version) -> str:
    """How errors call a version of a model."""
    return f"{config.id}, version {version.name}"


def libraries(version: Version) -> list[str]:
    """The distributions whose versions the provenance names."""
    return sorted({"numpy", "pillow", *(requirement_name(r) for r in version.requires)})


def provenance(version: Version, *, env: str, lock: str, trust: bool, found: dict[str, Any]) -> dict[str, Any]:
    """What a set of samples records of the session that made it.

    Parameters
    ----------
    found
        ``python``, ``libraries`` (name -> version) and ``threads`` (of torch, or None) of the interpreter that ran the model.
    """
    about = {
        "env": env,
        "lock": lock,
        "python": found["python"],
        "libraries": found["libraries"],
        "seeding": "sample" if version.per_sample else "batch",
        "trust": trust,
    }
    return about | ({"threads": found["threads"]} if found["threads"] else {})


def explain(failure: Failure, about: str, what: str, requires: Sequence[str] = (), log: str = "") -> Exception:
    """The exception to raise for what went wrong inside a contract.

    Parameters
    ----------
    about
        The model, as `name_of` says it.
    what
        What the package was at: ``did not load``.
    requires
        What the package declares, for a module that is missing.
    log
        What the package last wrote, ready to be put under the problem.
    """
    if failure.kind == "memory":
        return MemoryError(f"{about}: {failure.message or failure.type}")
    if failure.kind == "trust":
        return TrustError(f"{about}: {failure.message}", failure.hint)
    if failure.kind == "input":
        return InputError(failure.message, failure.hint)
    if failure.kind == "contract":
        return PackageError(f"{about}: {failure.message}", failure.hint)
    hint = "If the package is not yours, tell its authors."
    if failure.kind == "import" and requires:
        hint = f"It needs {', '.join(requires)}."
    return PackageError(f"{about} {what}: {failure.type}: {failure.message}{log}", hint)


def at(batch: Batch) -> str:
    """The batch's samples, in words."""
    first, last = batch.indices[0], batch.indices[-1]
    return f"samples {first} to {last}" if last != first else f"sample {first}"
