"""Environments: each model runs in this interpreter, or in one with the packages it declares.

uv builds one environment per `recipe`, under a temporary name that is then renamed. A JSON file
beside it describes it (`records`). The worker runs in it. Nothing is ever installed into the
interpreter of the user.
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
TRIES = 3  # if another process removes the environment at the same moment


@dataclass(frozen=True)
class Interpreter:
    """A Python that can run a model.

    As long as this object exists, its environment cannot be removed from the cache.
    """

    python: Path
    kind: str  # current or isolated
    lock: str = ""  # digest of the recipe; empty for the current interpreter
    record: dict[str, str] = field(default_factory=dict)  # its packages: name -> version
    held: files.Hold | None = field(default=None, repr=False, compare=False)


def current() -> Interpreter:
    """The current interpreter."""
    return Interpreter(Path(sys.executable), "current", record=records.installed(sys.path))


def isolated(config: ModelConfig, version: Version, *, progress: bool | None = None) -> Interpreter:
    """The environment of a version. It is built if it does not exist.

    Raises
    ------
    BuildError
        It could not be built. Nothing of it is kept.
    ConfigError
        The lock of the version cannot be read.
    """
    recipe = Recipe.of(config, version)
    records.clear_unfinished()
    for _ in range(TRIES):
        record = records.find(recipe, version.python)
        if record is None:
            record = build(recipe, pick(version.python, config, progress), config, progress)
        key = record["key"]
        held = files.hold(records.mark_of(key))
        record = records.read(key)  # another process may have removed it, or built it again
        if record is not None and records.is_unchanged(record):
            records.change_models(key, also=config.id)
            python = records.python_of(records.path_of(key))
            return Interpreter(python, "isolated", recipe.digest, dict(record["packages"]), held)
        held.close()
        if record is not None:
            _remove_changed(key, config)
    raise BuildError(
        f"The environment of {config.id} was built {TRIES} times, and removed each time.",
        "Does another program change the cache? MEDZOO_CACHE names another folder.",
    )


def _remove_changed(key: str, config: ModelConfig) -> None:
    """Remove an environment whose files changed, so that it is built again.

    Raises
    ------
    BuildError
        Another process uses it.
    """
    path = records.path_of(key)
    warnings.warn(
        f"The environment of {config.id} ({path}) was changed after it was built. It is removed "
        "and built again.",
        MedzooWarning,
        stacklevel=2,
    )
    try:
        if records.remove_changed(key):
            return
        reason = "another process uses it"
    except OSError as error:
        reason = str(error)
    raise BuildError(
        f"The environment of {config.id} ({path}) was changed, and could not be removed: {reason}.",
        "`medzoo cache verify` says what changed; `medzoo cache remove` removes it.",
    )


def choose(
    config: ModelConfig, version: Version, env: str = "auto", *, progress: bool | None = None
) -> Interpreter | None:
    """The interpreter for the worker process of a version; None if it runs in this process.

    Parameters
    ----------
    config, version : ModelConfig, Version
        The model.
    env : {"auto", "current", "isolated"}, optional
        ``auto``: this process if the package is native, is bundled or in a folder of the user, and
        the packages that it declares are installed; otherwise its own environment.
        ``current``: this interpreter, whatever packages it has. ``isolated``: always its own
        environment.
    progress : bool, optional
        Whether to show what is installed. By default, only at a terminal.

    Raises
    ------
    InputError
        ``env`` is not one of the values above.
    BuildError, ConfigError
        See `isolated`.
    """
    if env not in ENVS:
        raise InputError(f"env={env!r} is not known.", f"Give one of {', '.join(ENVS)}.")
    native = version.contract == "native"
    if env == "current":
        lacking = satisfied(version)
        if lacking:
            warnings.warn(
                f"env='current': this interpreter is not what {config.id}, "
                f"version {version.name}, declares: {'; '.join(lacking)}.",
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
