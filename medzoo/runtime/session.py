"""What all sessions have in common: their base class, the batch size, and the texts of errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from .._worker.batch import Batch
from .._worker.protocol import Failure
from ..config import Version, requirement_name
from ..errors import InputError, PackageError, TrustError
from ..provenance import Provenance

ROOM = 0.8  # of the memory that is free, for a batch
REFUSED_BY_SYSTEM = (
    "no space left on device",
    "disk quota exceeded",
    "too many open files",
    "read-only file system",
    "input/output error",
    "permission denied",
)
REFUSED_BY_SANDBOX = (
    "permission denied",
    "operation not permitted",
    "name resolution",
    "name or service not known",
    "max retries exceeded",
)
REFUSED_BY_GPU = ("cuda error", "cuda driver", "nvidia driver", "cudnn_status", "cublas_status")
MOST = 256  # samples per batch on a GPU, if medzoo chooses
NO_ROOM = "Is there room, and may you write, in the folders that MEDZOO_CACHE and TMPDIR name?"


class Session(ABC):
    """A model that is loaded and waits for batches."""

    device: str
    batch_size: int  # if the user asks for none
    digests: dict[str, str]
    provenance: Provenance
    actors: int = 1  # that make batches at the same time
    is_here: bool = False  # in this interpreter, without another process

    @abstractmethod
    def sample(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """The columns of a batch, checked with the config; MemoryError if it does not fit."""

    def series(
        self, batch_of: Callable[[range], Batch], ranges: Iterable[range]
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """The columns of one range of samples after the other.

        The first range that cannot be made raises its error.
        """
        for indices in ranges:
            yield self.sample(batch_of(indices))

    @abstractmethod
    def close(self) -> None:
        """Let go of the model."""


def libraries(version: Version) -> list[str]:
    """The distributions whose versions the provenance names."""
    return sorted({"numpy", "pillow", *(requirement_name(r) for r in version.requires)})


def batch_size(version: Version, device: str, free: int | None) -> int:
    """How many samples to make at once if the user does not say.

    The version's own number, halved until it fits into the free memory. On a CUDA device it is
    doubled as long as it fits, up to `MOST`. A version keeps its own number if samples depend on
    their batch, or if its config does not state the memory per sample.

    Parameters
    ----------
    free
        Bytes on the device, once the model is loaded; None where unknown.
    """
    size, each = version.batch_size, version.memory_per_sample * 2**20
    if free is None or not each or not version.per_sample:
        return size
    while size > 1 and size * each > ROOM * free:
        size //= 2
    while device.startswith("cuda") and 2 * size <= MOST and 2 * size * each <= ROOM * free:
        size *= 2
    return size


def explain(
    failure: Failure,
    model_name: str,
    what: str,
    requires: Sequence[str] = (),
    log: str = "",
    *,
    user_parts: Sequence[str] = (),
    contained: bool = False,
) -> Exception:
    """The exception to raise for what went wrong inside a contract.

    Parameters
    ----------
    model_name
        The model, as `name_of` says it.
    what
        What the package did: ``did not load``.
    requires
        What the package declares, for a module that is missing.
    log
        What the package last wrote, ready to be put under the problem.
    user_parts
        What the user gave instead of the package's own parts: ``weights``, ``inputs`` ...
    contained
        Whether it ran in a sandbox.
    """
    if failure.kind == "memory":
        return MemoryError(f"{model_name}: {failure.message or failure.type}")
    if failure.kind == "trust":
        return TrustError(f"{model_name}: {failure.message}", failure.hint)
    if failure.kind == "input":
        return InputError(failure.message, failure.hint)
    if failure.kind == "contract":
        return PackageError(f"{model_name}: {failure.message}", failure.hint)
    is_refused = any(sign in failure.message.lower() for sign in REFUSED_BY_SANDBOX)
    hint = _whose_fault(failure, requires, user_parts)
    if contained and is_refused:
        hint = (
            "It ran in a sandbox, without a network and with its own files alone. If you trust its "
            "code, sandbox='off' (--sandbox off) runs it without one. See docs/security.md."
        )
    return PackageError(f"{model_name} {what}: {failure.type}: {failure.message}{log}", hint)


def _whose_fault(failure: Failure, requires: Sequence[str], user_parts: Sequence[str]) -> str:
    """What to try. It depends on what failed: the environment, the machine, what the user gave, or
    else the package.
    """
    message = failure.message.lower()
    if failure.kind == "import" and requires:
        return f"It needs {', '.join(requires)}."
    if any(sign in message for sign in REFUSED_BY_SYSTEM):
        return f"The system refused this, which is not the package's fault. {NO_ROOM}"
    if any(sign in message for sign in REFUSED_BY_GPU):
        return "The GPU or its driver refused this. device='cpu' runs without it."
    if user_parts:
        names = " and ".join(user_parts)
        return f"It ran with your own {names}, which may not fit. Does it also fail without?"
    return "If the package is not yours, tell its authors."


def at(batch: Batch) -> str:
    """The batch's samples, in words."""
    first, last = batch.indices[0], batch.indices[-1]
    return f"samples {first} to {last}" if last != first else f"sample {first}"
