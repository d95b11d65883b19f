"""How a model is to be run: where, on what terms, and with which weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import checks
from ..config import PRECISIONS, ModelConfig, Version, name_of
from ..errors import InputError
from ..provenance import Provenance
from . import sandbox
from .engine import Ray


@dataclass(frozen=True)
class Execution:
    """How to run a model; checked when it is made.

    Parameters
    ----------
    device, weights, env, trust, precision, engine, sandbox
        See `medzoo.load`.

    Raises
    ------
    InputError
        One is of the wrong type, or unknown. What is known only with the model (whether the device
        exists, or the weights fit) is checked when it is loaded.
    """

    device: str = "auto"
    weights: str | os.PathLike[str] | None = None
    env: str = "auto"
    trust: bool = False
    precision: str = "full"
    engine: str | Ray | None = None
    sandbox: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", checks.device(self.device))
        object.__setattr__(self, "precision", _precision(self.precision))
        checks.text(self.env, "env")
        sandbox.check(self.sandbox)
        checks.flag(self.trust, "trust")
        if self.weights is not None:
            checks.path(self.weights, "weights")

    @classmethod
    def as_recorded(cls, provenance: Mapping[str, Any], **others: Any) -> Execution:
        """What makes the samples of a provenance again: what it records, and ``others``."""
        return cls(precision=provenance.get("precision", "full"), **others)

    @property
    def record(self) -> Provenance:
        """What the provenance says of it beside where it ran: what changes pixels."""
        return {} if self.precision == "full" else {"precision": self.precision}

    @property
    def autocast(self) -> str | None:
        """The type that a native package's torch operations run in; None for their own."""
        return None if self.precision == "full" else self.precision

    def contains(self, version: Version) -> bool:
        """Whether the code of a version is contained, if it runs in a separate process."""
        return self.sandbox != "off" and sandbox.is_foreign(version)

    def check_version(self, config: ModelConfig, version: Version) -> None:
        """Whether a version of a model can run so.

        Raises
        ------
        InputError
            It runs in full precision alone.
        """
        if self.autocast is None or (version.contract == "native" and version.needs_torch):
            return
        why = (
            "does not run on torch"
            if version.contract == "native"
            else "is published code, which runs as it is"
        )
        raise InputError(
            f"{name_of(config, version)} {why}: there is no precision={self.precision!r} of it.",
            "Leave `precision` out.",
        )


def _precision(value: Any) -> str:
    """One of `PRECISIONS`, or a torch type of that name."""
    is_dtype = f"{type(value).__module__}.{type(value).__name__}" == "torch.dtype"
    word = str(value).removeprefix("torch.").replace("float32", "full") if is_dtype else value
    if not isinstance(word, str) or word not in PRECISIONS:
        raise InputError(
            f"precision={checks.shown(value)} is not a valid precision.",
            f"{checks.meant(word, PRECISIONS)}"
            f"Give {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}.",
        )
    return word


DEFAULT = Execution()
