"""From what a user types to a model config: ids, numbers, prefixes, folders."""

from __future__ import annotations

import difflib
import os
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

from . import settings
from .config import ModelConfig, read_config
from .errors import ConfigError, InputError, ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGE_CONFIG = "config.yaml"  # of a package that is a folder of the user's own


class Registry:
    """The known models, by id.

    Parameters
    ----------
    folders
        Folders of ``NNNNN_TYPE_MODALITY_CONTENT.yaml`` files.

    Raises
    ------
    ConfigError
        A config breaks the schema, its file is not named by its id, or two share a number.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self.configs: dict[str, ModelConfig] = {}
        numbers: dict[int, ModelConfig] = {}
        for folder in folders:
            if not folder.is_dir():
                raise ConfigError(f"There is no folder of model configs at {folder}.", "Is MEDZOO_MODEL_CONFIGS right?")
            for path in sorted(folder.glob("*.yaml")):
                config = read_config(path)
                if path.stem != config.id:
                    raise ConfigError(f"{path} holds the model {config.id}.", f"Name the file {config.id}.yaml.")
                if twin := numbers.get(config.number):
                    raise ConfigError(f"{path} and {twin.path} share the number {config.number}.", "Give one a free number.")
                self.configs[config.id] = numbers[config.number] = config

    def find(self, model_id: int | str) -> ModelConfig:
        """The model that a number, an id or the unique beginning of an id names, in any case.

        Raises
        ------
        ModelNotFoundError
            None or several go by that name.
        """
        asked = str(model_id).strip()
        if asked.isdecimal():
            digits = asked.lstrip("0")[:9] or "0"  # no id has more than five
            found = [c for c in self.configs.values() if c.number == int(digits)]
        else:
            low = asked.lower()
            found = [c for c in self.configs.values() if low and c.id.lower().startswith(low)]
            found = [c for c in found if c.id.lower() == low] or found
        if len(found) == 1:
            return found[0]
        if found:
            raise ModelNotFoundError(f"{asked!r} is the beginning of {len(found)} model ids.",
                                     "Which one: " + ", ".join(c.id for c in found) + "?")  # fmt: skip
        close = self._close(asked)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise ModelNotFoundError(f"There is no model {asked!r}.", f"{hint}`medzoo list` shows all {len(self.configs)}.")

    def _close(self, asked: str) -> list[str]:
        names = {c.id.lower(): c.id for c in self.configs.values()}
        names |= {c.id[6:].lower(): c.id for c in self.configs.values()}  # without its number
        names |= {str(c.number): c.id for c in self.configs.values()}
        close = difflib.get_close_matches(asked.lower(), names, n=3, cutoff=0.5)
        return list(dict.fromkeys(names[c] for c in close))


@lru_cache(maxsize=8)
def _registry(folders: tuple[tuple[Path, int], ...]) -> Registry:
    return Registry(folder for folder, _ in folders)


def registry() -> Registry:
    """The models of the shipped configs and of ``MEDZOO_MODEL_CONFIGS``; read again only when a folder changes."""
    folders = settings.config_folders()
    return _registry(tuple((f, f.stat().st_mtime_ns if f.is_dir() else 0) for f in folders))


def resolve(model_id: int | str | os.PathLike[str]) -> ModelConfig:
    """The config of a registered model, or of a package folder given by its path.

    Raises
    ------
    InputError
        ``model_id`` is neither a number, a text nor a path.
    ModelNotFoundError
        Nothing goes by that name.
    ConfigError
        The config breaks the schema.
    """
    if isinstance(model_id, Integral) and not isinstance(model_id, bool):  # numpy's integers too
        return registry().find(int(model_id))
    if not isinstance(model_id, (str, os.PathLike)):
        raise InputError(f"model_id={model_id!r} is no model id.", 'Give a number, an id or a path: 8, "00008", "mine/".')
    path = settings.user_path(model_id, "model_id")
    looks_like_path = isinstance(model_id, os.PathLike) or path.name not in {str(model_id), ""} or str(model_id) in {".", "/"}
    if not looks_like_path:
        try:
            return registry().find(str(model_id))
        except ModelNotFoundError:
            if not str(model_id).strip() or not _is_package(path):
                raise
    if not _is_package(path):
        raise ModelNotFoundError(f"The folder {path} holds no {PACKAGE_CONFIG}, so it is no model package.",
                                 "`medzoo copy 8 DIR` or `medzoo contribute new DIR` makes one.")  # fmt: skip
    return read_config(path / PACKAGE_CONFIG)


def _is_package(folder: Path) -> bool:
    try:
        return (folder / PACKAGE_CONFIG).is_file()
    except OSError:  # a name too long for this file system, a folder that may not be looked into
        return False


def is_local(config: ModelConfig) -> bool:
    """Whether a config came with a package folder of the user's own, not from the registry."""
    return config.path.name == PACKAGE_CONFIG


def list_models() -> list[ModelConfig]:
    """Every registered model, in the order of the ids.

    Raises
    ------
    ConfigError
        A config breaks the schema.
    """
    return sorted(registry().configs.values(), key=lambda c: c.id)


def info(model_id: int | str | os.PathLike[str]) -> ModelConfig:
    """All that is known about a model; see `ModelConfig`. Raises what `resolve` raises."""
    return resolve(model_id)


def cite(model_id: int | str | os.PathLike[str], *, version: str | None = None) -> str:
    """Whom to credit for samples of a model: the model's version, then the data sets behind it.

    Raises
    ------
    ModelNotFoundError
        There is no such model or version.
    """
    config = resolve(model_id)
    v = config.version(version)
    lines = [f"{config.id}, version {v.name} ({v.license})", v.citation or f"{', '.join(v.authors)} ({v.year}). {config.name}."]
    if v.publication and v.publication not in v.citation:
        lines.append(v.publication)
    lines += [f"Trained on {d.name} ({d.license}): {d.citation} {d.doi}".strip() for d in v.datasets]
    return "\n".join(line.strip() for line in lines)
