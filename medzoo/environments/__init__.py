"""Where a model runs: in this interpreter, or in an environment with the packages that the model
declares.

An environment is built by uv, once for each lock (`recipe`), aside and renamed, and described by a
JSON file beside it (`records`). What runs in it is the worker; nothing is ever installed into the
caller's interpreter.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from .. import files
from ..config import LOCAL, ModelConfig, Version
from ..errors import BuildError, InputError, MedzooWarning
from . import records
from .build import build
from .interpreter import pick
from .recipe import Recipe
from .requirements import satisfied

ENVS = ("auto", "current", "isolated")
TRIES = 3  # to have an environment that another process does not remove at that moment


@dataclass(frozen=True)
class Interpreter:
    """A Python that can run a model. As long as this object lives, `medzoo cache` removes no
    environment under it.
    """

    python: Path
    kind: str  # current or isolated
    lock: str = (
        ""  # hash of what was asked for, the same on every machine; empty for the current one
    )
    record: dict[str, str] = field(default_factory=dict)  # what it holds: name -> version
    held: files.Hold | None = field(default=None, repr=False, compare=False)


def current() -> Interpreter:
    """The interpreter that runs this."""
    return Interpreter(Path(sys.executable), "current", record=records.installed(sys.path))


def isolated(config: ModelConfig, version: Version, *, progress: bool | None = None) -> Interpreter:
    """The environment of a version's own: one that is there already, or a new one.

    Raises
    ------
    BuildError
        It could not be built; nothing of it is left.
    ConfigError
        The version's lock cannot be read.
    """
    recipe = Recipe.of(config, version)
    for _ in range(TRIES):
        record = records.find(recipe, version.python)
        if record is None:
            record = build(recipe, pick(version.python, config, progress), config, progress)
        held = files.hold(records.mark_of(record["key"]))
        if records.read(record["key"]):
            records.change_models(record["key"], also=config.id)
            python = records.python_of(records.path_of(record["key"]))
            return Interpreter(python, "isolated", recipe.digest, dict(record["packages"]), held)
        held.close()  # removed in between
    raise BuildError(
        f"The environment of {config.id} was removed as often as it was built, {TRIES} times.",
        "Does another program change the cache? MEDZOO_CACHE names another folder.",
    )


def choose(
    config: ModelConfig, version: Version, env: str = "auto", *, progress: bool | None = None
) -> Interpreter | None:
    """The interpreter for a version's worker process; None where the package is to run in this
    process.

    Parameters
    ----------
    env
        ``auto``: in this process if the package is native, comes with medzoo or from the user's own
        folder, and its declared packages are installed here; otherwise in its own environment.
        ``current``: this interpreter, with any packages. ``isolated``: always its own
        environment.
    progress
        Show what is installed; only at a terminal if None.

    Raises
    ------
    InputError
        There is no such ``env``.
    BuildError, ConfigError
        See `isolated`.
    """
    if env not in ENVS:
        raise InputError(f"env={env!r} is not known.", f"Give one of {', '.join(ENVS)}.")
    native = version.contract == "native"
    if env == "current":
        if lacking := satisfied(version):
            warnings.warn(
                f"env='current': this interpreter is not what {config.id}, version {version.name}, declares: "
                f"{'; '.join(lacking)}.",
                MedzooWarning,
                stacklevel=2,
            )
        return None if native else current()
    lacking = []
    if env == "auto" and native and version.scheme in LOCAL:
        lacking = satisfied(version)
        if not lacking:
            return None
    try:
        return isolated(config, version, progress=progress)
    except BuildError as error:
        if not lacking:
            raise
        why = (
            f"{config.id} needs its own environment, because the packages it declares are not "
            f"installed here: {'; '.join(lacking)}."
        )
        raise BuildError(f"{why}\n{error.problem}", error.hint) from error


__all__ = ["ENVS", "Interpreter", "choose", "current", "isolated", "satisfied"]
