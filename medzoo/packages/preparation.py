"""All that running a model needs, on this disk: its package and its Python."""

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
    """All that a session needs, on this disk: the verified package, and the interpreter of its
    process (None: this one).

    Nothing of the package is imported. Parameters and errors are those of
    `medzoo.runtime.open_session`.
    """
    checks.flag(trust, "trust")
    if is_local(config) and not trust:
        raise TrustError(
            f"{name_of(config, version)}: its code lies in {config.path.parent}, and no registry names it.",
            "trust=True (--trust) runs it: use it only for code that you wrote or have read.",
        )
    found = package(config, version, trust=trust, progress=progress)
    return found, environments.choose(config, version, env, progress=progress)
