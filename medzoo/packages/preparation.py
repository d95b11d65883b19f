"""Preparing a model: its verified package and its Python interpreter, both on this disk."""

from __future__ import annotations

from .. import checks, environments
from ..config import ModelConfig, Version, name_of
from ..environments import Interpreter
from ..errors import TrustError
from ..registry import is_local
from .store import Package, package


def prepare(
    config: ModelConfig,
    version: Version,
    *,
    env: str = "auto",
    trust: bool = False,
    progress: bool | None = None,
) -> tuple[Package, Interpreter | None]:
    """Fetch the package of a version and build its environment.

    Nothing of the package is imported. Parameters and errors are those of
    `medzoo.runtime.open_session`.

    Returns
    -------
    Package
        The verified package.
    Interpreter or None
        The interpreter for the process of the model; None if it runs in this process.
    """
    checks.flag(trust, "trust")
    if is_local(config) and not trust:
        raise TrustError(
            f"{name_of(config, version)}: its code lies in {config.path.parent}, "
            "and no registry names it.",
            "trust=True (--trust) runs it: use it only for code that you wrote or have read.",
        )
    verified = package(config, version, trust=trust, progress=progress)
    return verified, environments.choose(config, version, env, progress=progress)
