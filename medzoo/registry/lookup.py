"""From what a user types to a model config: ids, numbers, prefixes, folders; and which configs
there are.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .. import __version__, checks, files, settings
from ..config import ID, LOCAL, ModelConfig, Version, read_config
from ..config.medigan import FILES as MEDIGAN_FILES
from ..config.medigan import metadata_file, read_metadata
from ..errors import ConfigError, MedzooWarning, ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGE_CONFIG = "config.yaml"  # of a package in the user's own folder


class File(NamedTuple):
    """A config's file, and what tells whether it was changed since."""

    id: str
    path: str
    changed: int  # nanoseconds: the times of its last change, of content and of status, together
    size: int


class Registry:
    """The known models, by id. What there are the names of files say; a config is read when it is
    asked for.

    Parameters
    ----------
    folders
        Folders of ``NNNNN_TYPE_MODALITY_CONTENT.yaml`` files.
    newer
        A folder whose configs replace those of the first folder, number by number.

    Raises
    ------
    ConfigError
        A file is not named by an id, or two share a number.
    """

    def __init__(self, folders: Iterable[Path], newer: Path | None = None) -> None:
        folders = list(folders)
        first, *others = map(_files, folders)
        if newer:
            folders.append(newer)
            first = list((_by_number(first) | _by_number(_files(newer))).values())
        self.folders = tuple(folders)
        self._numbers = _by_number(chain(first, *others))
        self.files = {file.id: file for file in self._numbers.values()}
        self.configs: Mapping[str, ModelConfig] = _Configs(self.files)

    def find(self, model_id: int | str) -> ModelConfig:
        """The model that a number, an id or the unique beginning of an id names, in any case.

        Raises
        ------
        ModelNotFoundError
            No model has that name.
        ConfigError
            Its config breaks the schema, or is not named by its id.
        """
        asked = str(model_id).strip()
        whole = asked.isdecimal()
        number = asked if whole else asked[:5]  # with which every id begins
        if number.isdecimal():
            file = self._numbers.get(
                int(number.lstrip("0")[:9] or "0")
            )  # no id has more than five digits
            if file and (whole or file.id.lower().startswith(asked.lower())):
                return self.configs[file.id]
        close = self._close(asked)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise ModelNotFoundError(
            f"There is no model {asked!r}.",
            f"{hint}`medzoo list` shows all {len(self.files)}, `medzoo update` fetches newer ones.",
        )

    def _close(self, asked: str) -> list[str]:
        names = {i.lower(): i for i in self.files} | {
            i[6:].lower(): i for i in self.files
        }  # the latter without its number
        names |= {str(number): file.id for number, file in self._numbers.items()}
        close = difflib.get_close_matches(asked.lower(), names, n=3, cutoff=0.5)
        return list(dict.fromkeys(names[c] for c in close))


class _Configs(Mapping[str, ModelConfig]):
    """Configs by their ids, each read once, and again when its file was changed."""

    def __init__(self, files: Mapping[str, File]) -> None:
        self._files = files
        self._read: dict[str, tuple[tuple[int, int], ModelConfig]] = {}

    def __getitem__(self, identifier: str) -> ModelConfig:
        path = Path(self._files[identifier].path)
        stamp = _stamp(path.stat()) if path.exists() else (0, 0)
        if identifier not in self._read or self._read[identifier][0] != stamp:
            config = read_config(path)
            if config.id != identifier:
                raise ConfigError(
                    f"{config.path} holds the model {config.id}.",
                    f"Name the file {config.id}.yaml.",
                )
            self._read[identifier] = stamp, config
        return self._read[identifier][1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _files(folder: Path) -> list[File]:
    """The configs of a folder, in the order of their ids."""
    if not folder.is_dir():
        raise ConfigError(
            f"There is no folder of model configs at {folder}.", "Is MEDZOO_MODEL_CONFIGS right?"
        )
    with os.scandir(folder) as entries:  # there may be thousands
        found = [
            _file(entry)
            for entry in entries
            if entry.name.endswith(".yaml") and entry.name[0] != "."
        ]
    return sorted(found, key=attrgetter("id"))


def _file(entry: os.DirEntry[str]) -> File:
    identifier = entry.name.removesuffix(".yaml")
    if not ID.fullmatch(identifier):
        raise ConfigError(
            f"{entry.path} is not named by a model id.", "An id is NNNNN_TYPE_MODALITY_CONTENT."
        )
    return File(identifier, entry.path, *_stamp(entry.stat()))


def _stamp(about: os.stat_result) -> tuple[int, int]:
    """The last two fields of a `File`. A copy that keeps times (rsync -t, cp -p) keeps that of the
    content, but no program sets that of the status.
    """
    return about.st_mtime_ns + about.st_ctime_ns, about.st_size


def _by_number(found: Iterable[File]) -> dict[int, File]:
    numbers: dict[int, File] = {}
    for file in found:
        if twin := numbers.get(number := int(file.id[:5])):
            raise ConfigError(
                f"{file.path} and {twin.path} share the number {number}.", "Give one a free number."
            )
        numbers[number] = file
    return numbers


def is_here(config: ModelConfig) -> bool:
    """Whether a version's package lies on this machine: its config then belongs to just these
    files.
    """
    return any(v.scheme in LOCAL for v in config.versions.values())


def pointer() -> Path:
    """The file that says which fetched registry is in use, where one is; `medzoo.renewal` writes
    it.
    """
    return settings.cache_folder() / "registry" / "in-use.json"


def fetched() -> Path | None:
    """The folder of the fetched registry that is in use, if one is.

    Raises
    ------
    ConfigError
        It is not as it was when it was fetched, or was fetched for another medzoo.
    """
    try:
        about = json.loads(pointer().read_text(encoding="utf-8"))
        folder: Path = pointer().parent / about["sha256"]
        if about["medzoo"] != __version__:  # which came with its own registry, perhaps a newer one
            raise ConfigError(
                f"The updated registry was fetched by medzoo {about['medzoo']}, and this is {__version__}."
            )
        for name, sha256 in about["files"].items():
            if files.sha256_of(folder / name) != sha256:
                raise ConfigError(f"The updated registry is damaged: {folder / name} was changed.")
    except FileNotFoundError as error:
        if str(error.filename) == str(pointer()):
            return None
        raise ConfigError(
            f"The updated registry is damaged: there is no {error.filename}."
        ) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"The updated registry is damaged: {pointer()} cannot be read ({error})."
        ) from error
    return folder


@lru_cache(maxsize=8)
def _registry(
    folders: tuple[tuple[Path, int], ...], update: tuple[Path, int] | None = None
) -> Registry:
    names = [folder for folder, _ in folders]
    if update is None:
        return Registry(names)
    try:
        return Registry(names, fetched())
    except ConfigError as error:
        trouble = error
    known = Registry(names)  # otherwise the update is not at fault
    warnings.warn(
        f"{trouble.problem}\nThe registry that came with medzoo is used. `medzoo update` fetches the newest one, "
        "`medzoo update --reset` stays with this.",
        MedzooWarning,
        stacklevel=3,
    )
    return known


def registry() -> Registry:
    """The models of the shipped configs, as far as no `medzoo update` brought newer ones, and of
    ``MEDZOO_MODEL_CONFIGS``.

    Which there are is looked up again only when a folder changes. A config that was edited in its
    place is read again when it is asked for; see `unchanged_registry` for all of them.
    """
    folders, update = settings.config_folders(), None
    with suppress(OSError):
        update = (pointer(), pointer().stat().st_mtime_ns)
    return _registry(tuple((f, f.stat().st_mtime_ns if f.is_dir() else 0) for f in folders), update)


def unchanged_registry() -> Registry:
    """`registry`, after a look at whether any of its files was edited: what says something of all
    configs is made of this one.
    """
    models = registry()
    with suppress(FileNotFoundError):
        stamps = (_stamp(os.stat(f.path)) for f in models.files.values())  # noqa: PTH116  (thousands)
        if all(a == f[2:] for a, f in zip(stamps, models.files.values(), strict=True)):
            return models
    _registry.cache_clear()
    return registry()


def resolve(model_id: int | str | os.PathLike[str]) -> ModelConfig:
    """The config of a registered model, or of a package folder given by its path.

    Raises
    ------
    InputError
        ``model_id`` is neither a number, a text nor a path.
    ModelNotFoundError
        Nothing has that name.
    ConfigError
        The config breaks the schema.
    """
    model_id = checks.model_id(model_id, "model_id")
    if isinstance(model_id, int):
        return registry().find(model_id if abs(model_id) < 10**60 else checks.shown(model_id))
    if isinstance(model_id, str) and len(model_id) > settings.LONGEST_NAME and "/" not in model_id:
        return registry().find(model_id)  # of which no file system has a folder
    path = settings.user_path(model_id, "model_id")
    looks_like_path = (
        isinstance(model_id, os.PathLike)
        or path.name not in {str(model_id), ""}
        or str(model_id) in {".", "/"}
    )
    if not looks_like_path:
        try:
            return registry().find(str(model_id))
        except ModelNotFoundError:
            if not str(model_id).strip() or not (_is_package(path) or metadata_file(path)):
                raise
    if not _is_package(path):
        if metadata := metadata_file(path):  # a package of medigan
            return read_metadata(metadata.absolute())
        raise ModelNotFoundError(
            f"The folder {path} holds no {PACKAGE_CONFIG}, so it is not a model package.",
            "`medzoo copy 8 DIR` or `medzoo contribute new DIR` makes one.",
        )
    return read_config(path.absolute() / PACKAGE_CONFIG)


def _is_package(folder: Path) -> bool:
    try:
        return (folder / PACKAGE_CONFIG).is_file()
    except OSError:  # a name too long for this file system, a folder that may not be looked into
        return False


def is_local(config: ModelConfig) -> bool:
    """Whether a config came from the user's own package folder, not from the registry."""
    return config.path.name in {PACKAGE_CONFIG, *MEDIGAN_FILES}


def introduce(config: ModelConfig, version: Version) -> None:
    """Say once for each model version, on stderr, what its license is and what it is not for."""
    mark = settings.cache_folder() / "seen" / f"{config.id}-{version.name}"
    if settings.quiet() or is_local(config) or mark.exists():
        return
    print(
        f"{config.id} {version.name}: license {version.license}. Synthetic samples, not for diagnosis. "
        f"`medzoo cite {config.number}` says whom to credit.",
        file=sys.stderr,
    )
    with suppress(OSError):  # a read-only home: the next process says it again
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def list_models() -> list[ModelConfig]:
    """Every registered model, in the order of the ids.

    Raises
    ------
    ConfigError
        A config breaks the schema.
    """
    return sorted(registry().configs.values(), key=lambda c: c.id)


@checks.checked()
def info(model_id: int | str | os.PathLike[str]) -> ModelConfig:
    """All that is known about a model; see `ModelConfig`. Raises what `resolve` raises."""
    return resolve(model_id)


@checks.checked()
def cite(model_id: int | str | os.PathLike[str], *, version: str | None = None) -> str:
    """Whom to credit for samples of a model: the model's version, then the data sets behind it.

    Raises
    ------
    ModelNotFoundError
        There is no such model or version.
    """
    config = resolve(model_id)
    v = config.version(version)
    lines = [
        f"{config.id}, version {v.name} ({v.license})",
        v.citation or f"{', '.join(v.authors)} ({v.year}). {config.name}.",
    ]
    if v.publication and v.publication not in v.citation:
        lines.append(v.publication)
    lines += [
        f"Trained on {d.name} ({d.license}): {d.citation} {d.doi}".strip() for d in v.datasets
    ]
    return "\n".join(line.strip() for line in lines)
