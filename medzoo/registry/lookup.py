"""The model configs there are, and how a user names one: by number, id, prefix or folder."""

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
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__, checks, files, settings
from ..config import ID, LOCAL, ModelConfig, Version, read_config
from ..config.medigan import FILES as MEDIGAN_FILES
from ..config.medigan import metadata_file, read_metadata
from ..errors import ConfigError, InputError, MedzooWarning, ModelNotFoundError
from . import citation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ENDING = ".yaml"  # of a config in a registry, whose name is the id of its model
OTHER_ENDINGS = (".yml", ".YML", ".YAML")  # refused, since nothing would read such a config
PACKAGE_CONFIG = "config.yaml"  # the config of a package in a folder of the user


# These are plain tuples, since a registry may have thousands of files.
File = tuple[str, str]  # the id of a model, and the path of its config
# Nanoseconds (the sum of the times of the last change of content and of status) and bytes of a
# file. If both are the same, so is its content.
Stamp = tuple[int, int]


class Registry:
    """The models of some folders of configs, by id.

    File names list the models. A config is read only when it is needed.

    Parameters
    ----------
    folders
        Folders of ``NNNNN_TYPE_MODALITY_CONTENT.yaml`` files.
    newer
        A folder whose configs replace those of the first folder, number by number.

    Raises
    ------
    ConfigError
        The name of a file is not an id, or two files share a number.
    """

    def __init__(self, folders: Iterable[Path], newer: Path | None = None) -> None:
        folders = list(folders)
        first, *others = map(_files, folders)
        if newer:
            folders.append(newer)
            first = list((_by_number(first) | _by_number(_files(newer))).values())
        self.folders = tuple(folders)
        own = _by_number(chain.from_iterable(others))
        self._numbers = _with_own(_by_number(first), own)
        self.files = dict(self._numbers.values())  # id -> path
        self.configs: Mapping[str, ModelConfig] = _Configs(self.files)

    def stamps(self) -> tuple[Stamp, ...]:
        """The stamps of all files as they are now, in the order of ``files``.

        Only search and index need them: of thousands of files they take most of the time of
        opening a registry.
        """
        return tuple(map(_stamp, self.files.values()))

    def find(self, model_id: int | str) -> ModelConfig:
        """The model with a number, an id, or an id that begins with ``model_id``, in any case.

        Raises
        ------
        ModelNotFoundError
            No model has that name.
        ConfigError
            Its config breaks the schema, or its file has another name than its id.
        """
        asked = str(model_id).strip()
        is_number = asked.isdecimal()
        number = asked if is_number else asked[:5]  # every id begins with five digits
        if number.isdecimal():
            digits = number.lstrip("0")[:9] or "0"  # longer numbers belong to no model
            identifier, _ = self._numbers.get(int(digits), ("", ""))
            if identifier and (is_number or identifier.lower().startswith(asked.lower())):
                return self.configs[identifier]
        close = self._close(asked)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise ModelNotFoundError(
            f"There is no model {asked!r}.",
            f"{hint}`medzoo list` shows all {len(self.files)}, `medzoo update` fetches newer ones.",
        )

    def _close(self, asked: str) -> list[str]:
        """Up to three ids that are similar to a name: as a whole, without number, or by number."""
        names = {identifier.lower(): identifier for identifier in self.files}
        for identifier in self.files:
            names[identifier[6:].lower()] = identifier
        for number, (identifier, _) in self._numbers.items():
            names[str(number)] = identifier
        close = difflib.get_close_matches(asked.lower(), names, n=3, cutoff=0.5)
        return list(dict.fromkeys(map(names.__getitem__, close)))


class _Configs(Mapping[str, ModelConfig]):
    """Configs by id. Each is read once, and again after its file was changed."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self._read: dict[str, tuple[Stamp, ModelConfig]] = {}

    def __getitem__(self, identifier: str) -> ModelConfig:
        stamp = _stamp(self._files[identifier])
        if identifier not in self._read or self._read[identifier][0] != stamp:
            self._read[identifier] = stamp, config_of(identifier, self._files[identifier])
        return self._read[identifier][1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def config_of(identifier: str, path: str) -> ModelConfig:
    """The config of a model, read from its file.

    Raises
    ------
    ConfigError
        It breaks the schema, or is that of another model.
    """
    config = read_config(Path(path))
    if config.id != identifier:
        raise ConfigError(
            f"{config.path} holds the model {config.id}.", f"Name the file {config.id}.yaml."
        )
    return config


def _files(folder: Path) -> list[File]:
    """The configs of a folder, in the order of their ids."""
    if not folder.is_dir():
        raise ConfigError(
            f"There is no folder of model configs at {folder}.", "Is MEDZOO_MODEL_CONFIGS right?"
        )
    names = sorted(os.listdir(folder))  # noqa: PTH208  (there may be thousands)
    ids = [name[: -len(ENDING)] for name in names if name.endswith(ENDING)]
    place = f"{folder}{os.sep}"
    configs = [(name, f"{place}{name}{ENDING}") for name in ids if ID.fullmatch(name)]
    if len(ids) < len(names):
        for name in names:
            stem = name.rpartition(".")[0] if name.endswith(OTHER_ENDINGS) else ""
            if ID.fullmatch(stem):
                raise ConfigError(f"{place}{name} is not read.", f"Name it {stem}{ENDING}.")
    if len(configs) < len(ids):
        for name in ids:
            if not (name.startswith(".") or ID.fullmatch(name)):
                raise ConfigError(
                    f"{place}{name}{ENDING} is not named by a model id.",
                    "An id is NNNNN_TYPE_MODALITY_CONTENT.",
                )
    return configs


def _stamp(path: str) -> Stamp:
    """The stamp of a file; zeros if it is gone.

    Programs that copy files with their times (rsync -t, cp -p) set the time of the content, but
    none can set the time of the status.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  (thousands of files, and faster)
    except FileNotFoundError:
        return 0, 0
    return status.st_mtime_ns + status.st_ctime_ns, status.st_size


def _by_number(configs: Iterable[File]) -> dict[int, File]:
    configs = list(configs)
    numbers = {int(file[0][:5]): file for file in configs}
    if len(numbers) < len(configs):
        for identifier, path in configs:
            number = int(identifier[:5])
            _, other = numbers[number]
            if other != path:
                raise ConfigError(
                    f"{other} and {path} share the number {number}.", "Give one a free number."
                )
    return numbers


def _with_own(shipped: dict[int, File], own: Mapping[int, File]) -> dict[int, File]:
    """The shipped configs and the user's. A config of the same id replaces the shipped one.

    Raises
    ------
    ConfigError
        A config of the user has the number of a shipped one and another id.
    """
    for number in own.keys() & shipped:
        identifier, path = own[number]
        shipped_identifier, shipped_path = shipped[number]
        if identifier != shipped_identifier:
            raise ConfigError(
                f"{path} and {shipped_path} share the number {number}.",
                "Give one a free number. A config of the same id would replace the shipped one.",
            )
        warnings.warn(
            f"{path} replaces the {identifier} that comes with medzoo.",
            MedzooWarning,
            stacklevel=5,
        )
    return {**shipped, **own}


def is_here(config: ModelConfig) -> bool:
    """Whether the package of a version is on this machine, so that its config belongs to it."""
    return any(version.scheme in LOCAL for version in config.versions.values())


def pointer() -> Path:
    """The file that records which fetched registry is in use; `medzoo.update` writes it."""
    return settings.cache_folder() / "registry" / "in-use.json"


def fetched() -> Path | None:
    """The folder of the fetched registry that is in use, if one is.

    Raises
    ------
    ConfigError
        Its files were changed, or another version of medzoo fetched it.
    """
    try:
        record = json.loads(pointer().read_text(encoding="utf-8"))
        folder: Path = pointer().parent / record["sha256"]
        # Another version of medzoo comes with its own registry, which may be newer.
        if record["medzoo"] != __version__:
            raise ConfigError(
                f"The updated registry was fetched by medzoo {record['medzoo']}, "
                f"and this is {__version__}."
            )
        for name, sha256 in record["files"].items():
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
    shipped = Registry(names)  # if this fails too, the update is not at fault
    warnings.warn(
        f"{trouble.problem}\nThe registry that came with medzoo is used. "
        "`medzoo update` fetches the newest one, `medzoo update --reset` stays with this.",
        MedzooWarning,
        stacklevel=3,
    )
    return shipped


def registry() -> Registry:
    """The models of the configs that came with medzoo, with newer ones from `medzoo update`, and
    of ``MEDZOO_MODEL_CONFIGS``.

    Folders are listed again only when they change. A config that was edited is read again when it
    is asked for.
    """
    update = None
    with suppress(OSError):
        update = (pointer(), pointer().stat().st_mtime_ns)
    folders = []
    for folder in settings.config_folders():
        changed = folder.stat().st_mtime_ns if folder.is_dir() else 0
        folders.append((folder, changed))
    return _registry(tuple(folders), update)


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
    # No folder has so long a name, or none.
    is_too_long = len(str(model_id)) > settings.LONGEST_NAME and "/" not in str(model_id)
    if isinstance(model_id, str) and (not model_id or is_too_long):
        return registry().find(model_id)
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
    except OSError:  # the name is too long for this file system, or the folder cannot be read
        return False


def is_local(config: ModelConfig) -> bool:
    """Whether a config came from the user's own package folder, not from the registry."""
    return config.path.name in {PACKAGE_CONFIG, *MEDIGAN_FILES}


def introduce(config: ModelConfig, version: Version) -> None:
    """Print, once for each version of a model, its license and that it is not for diagnosis."""
    mark = settings.cache_folder() / "seen" / f"{config.id}-{version.name}"
    if settings.quiet() or is_local(config) or mark.exists():
        return
    print(
        f"{config.id} {version.name}: license {version.license}. "
        "Synthetic samples, not for diagnosis. "
        f"`medzoo cite {config.number}` says whom to credit.",
        file=sys.stderr,
    )
    with suppress(OSError):  # a read-only home: the next process says it again
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


@checks.checked()
def info(model_id: int | str | os.PathLike[str]) -> ModelConfig:
    """Return the config of a model: what it generates, its versions, license and metrics.

    Parameters
    ----------
    model_id : int, str or path
        The number of a model, its id, the beginning of its id, or the path of a package folder.

    Returns
    -------
    ModelConfig
        The description of the model. Its ``default`` is the version that `medzoo.generate` uses.

    Raises
    ------
    InputError
        ``model_id`` is not a number, a text or a path.
    ModelNotFoundError
        No model has that name.
    ConfigError
        The config breaks the schema.

    Examples
    --------
    >>> model = medzoo.info(8)
    >>> model.id, model.modality
    ('00008_C-DCGAN_MMG_MASSES', 'mammography')
    >>> model.default.name, model.default.license
    ('2.2.0', 'CC BY 4.0')
    """
    return resolve(model_id)


@checks.checked()
def cite(
    model_id: int | str | os.PathLike[str],
    *,
    version: str | None = None,
    format: str = "text",  # noqa: A002
) -> str:
    """Return whom to credit for samples of a model: its authors and its training data sets.

    Parameters
    ----------
    model_id : int, str or path
        The number of a model, its id, the beginning of its id, or the path of a package folder.
    version : str, optional
        The version of the model. The default version if not given.
    format : str, optional
        ``text`` (the default), ``bibtex`` or ``ris``: entries for a reference manager.

    Returns
    -------
    str
        A few lines of text: the model and its license, its citation, and one line per data set; or
        one entry for the model and one per data set.

    Raises
    ------
    InputError
        ``model_id`` is not a number, a text or a path, or there is no such format.
    ModelNotFoundError
        There is no such model or version.
    ConfigError
        The config breaks the schema.

    Examples
    --------
    >>> print(medzoo.cite(8))
    00008_C-DCGAN_MMG_MASSES, version 2.2.0 (CC BY 4.0)
    The medzoo authors (2026). Mammography mass patches by malignancy, model 00008 version 2.2.0.
    Trained on CBIS-DDSM (CC BY 3.0): Sawyer-Lee et al., ...
    """
    config = resolve(model_id)
    v = config.version(version)
    if format == "bibtex":
        return citation.bibtex(config, v)
    if format == "ris":
        return citation.ris(config, v)
    if format != "text":
        raise InputError(
            f"format={format!r} is not a format of citations.", "Use text, bibtex or ris."
        )
    lines = [
        f"{config.id}, version {v.name} ({v.license})",
        v.citation or f"{', '.join(v.authors)} ({v.year}). {config.name}.",
    ]
    if v.publication and v.publication not in v.citation:
        lines.append(v.publication)
    if v.doi and v.doi not in v.citation:
        lines.append(f"https://doi.org/{v.doi}")
    for dataset in v.datasets:
        credit = f"{dataset.citation} {dataset.doi}"
        lines.append(f"Trained on {dataset.name} ({dataset.license}): {credit}")
    return "\n".join(map(str.strip, lines))
