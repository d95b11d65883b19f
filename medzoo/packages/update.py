"""Updating the registry without updating medzoo.

In the cache, ``registry/<sha256 of the zip>/`` holds model configs and their locks.
``registry/in-use.json`` names the registry in use, with the digest of each of its files. It is
written last, so that an update is either complete or without effect. `medzoo.registry` reads them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from .. import __version__, checks, files, settings
from ..config import ModelConfig
from ..errors import ConfigError, InputError, IntegrityError, SourceError, without_passwords
from ..registry import Registry, fetched, is_here, pointer, registry
from . import http, revoked

Contents: TypeAlias = dict[str, tuple[ModelConfig, list[bytes]]]
MOST = 2**29  # bytes of a zip, about 100 times as many as the whole repository has
KEPT = "Nothing was changed: the registry in use stays."
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Renewal:
    """The changes of an update: ids of models, and versions as ``ID VERSION``."""

    address: str  # empty after a reset
    sha256: str  # of the zip in use; empty for the registry that came with medzoo
    models: tuple[str, ...] = ()  # new models
    versions: tuple[str, ...] = ()  # new versions of models that were there before
    changed: tuple[str, ...] = ()  # models with other changes
    removed: tuple[str, ...] = ()  # models that are no longer there
    left_out: tuple[str, ...] = ()  # models that only a newer medzoo has

    def __str__(self) -> str:
        newer = "it comes with a newer medzoo (pip install -U medzoo)"
        kinds = {
            "new model": self.models,
            "new version": self.versions,
            "changed": self.changed,
            "removed": self.removed,
            "left out": [f"{name}: {newer}" for name in self.left_out],
        }
        text = ""
        for kind, names in kinds.items():
            for name in names:
                text += f"{kind:<12} {name}\n"
        source = "the one that came with medzoo"
        if self.sha256:
            source = f"from {self.address}, sha256 {self.sha256[:16]}"
        if not text:
            text = "nothing new\n"
        return f"{text}registry: {source}"


@checks.checked()
def update(*, reset: bool = False, progress: bool | None = None) -> Renewal:
    """Download the newest model configs, and use them from now on.

    They come from the address in ``MEDZOO_REGISTRY``. Models that are bundled with medzoo keep
    their configs. After an error, the registry in use stays as it is.

    Parameters
    ----------
    reset : bool, optional
        Download nothing, and go back to the registry that came with medzoo.
    progress : bool, optional
        Whether to draw a bar. By default, only at a terminal.

    Returns
    -------
    Renewal
        The new, changed and removed models. It prints as a list.

    Raises
    ------
    InputError
        The address is not secure, or an argument is neither True nor False.
    SourceError
        The address cannot be reached, what it offers is not a zip with a registry, or
        ``MEDZOO_OFFLINE`` is set.
    IntegrityError
        The zip is broken, or not safe to unpack.
    ConfigError
        The configs break the schema. They may need a newer medzoo.

    Examples
    --------
    An update needs a network:

    >>> print(medzoo.update())  # doctest: +SKIP

    Going back to the registry that came with medzoo does not:

    >>> print(medzoo.update(reset=True))
    nothing new
    registry: the one that came with medzoo
    """
    folder, lock = pointer().parent, settings.cache_folder() / "locks" / "registry.lock"

    def downloaded_so_far() -> Iterable[Path]:
        return folder.glob(".*/*")

    try:
        with files.locked(lock, http.policy.turn, downloaded_so_far) as alone:
            if reset:
                return _reset(folder, alone=alone)
            return _renew(folder, alone=alone, progress=progress)
    except OSError as error:
        raise SourceError(
            f"The registry could not be put into {folder}: {error.strerror or error}.",
            f"MEDZOO_CACHE names another folder. {KEPT}",
        ) from error


def _reset(folder: Path, *, alone: bool) -> Renewal:
    before = _contents(_in_use())
    pointer().unlink(missing_ok=True)
    if alone:
        _clear(folder, set())
    return Renewal("", "", **_news(before, _contents(registry())))


def _renew(folder: Path, *, alone: bool, progress: bool | None) -> Renewal:
    before, previous, address = _contents(_in_use()), _previous(), settings.registry()
    with _aside(folder) as aside:
        archive, configs = aside / "registry.zip", aside / "registry"
        _fetch(address, archive, progress=settings.show_progress(progress))
        _extract(address, archive, aside / "unpacked", configs)
        left_out = _check(address, configs)
        revoked_now = revoked.read(aside / revoked.NAME)
        sha256, digests = files.sha256_of(archive), _digests(configs)
        _settle(configs, folder / sha256, digests)
    address = without_passwords(address)
    record = {
        "address": address,
        "sha256": sha256,
        "medzoo": __version__,
        "files": digests,
        "fetched": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    revoked.remember(revoked_now)
    files.write_json(pointer(), record)
    if alone:  # the previous registry stays: a running process may still read its locks
        _clear(folder, {sha256, previous, pointer().name})
    return Renewal(address, sha256, **_news(before, _contents(registry())), left_out=left_out)


def _digests(folder: Path) -> dict[str, str]:
    """The files of a folder and their sha256."""
    digests = {}
    for path in folder.rglob("*"):
        if path.is_file():
            digests[path.relative_to(folder).as_posix()] = files.sha256_of(path)
    return digests


def _fetch(address: str, archive: Path, *, progress: bool) -> None:
    """Download the zip, or copy it."""
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"}:
        path = settings.user_path(address.removeprefix("file:"), "MEDZOO_REGISTRY")
        if not path.is_file():
            raise SourceError(
                f"There is no registry at {path}.",
                f"MEDZOO_REGISTRY names an address or a zip. {KEPT}",
            )
        shutil.copyfile(path, archive)
        return
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise InputError(
            f"MEDZOO_REGISTRY={address} is not secure, and the digests of models come from there.",
            "Name one that begins with https, or a zip on this disk.",
        )
    if settings.offline():
        raise SourceError(
            f"The registry at {address} was not downloaded: MEDZOO_OFFLINE is set.",
            f"MEDZOO_REGISTRY may name a zip on this disk, downloaded elsewhere. {KEPT}",
        )
    try:
        http.Download(progress=progress, most=MOST)(address, str(archive))
    except (SourceError, IntegrityError) as error:
        hint = (
            "Is there a network? "
            f"MEDZOO_REGISTRY may name another address, or a zip on this disk. {KEPT}"
        )
        raise type(error)(f"The registry could not be fetched.\n{error.problem}", hint) from error


def _extract(address: str, archive: Path, unpacked: Path, target: Path) -> None:
    """Copy the configs and their locks, and nothing else, out of a zip."""
    try:
        files.unpack(archive, unpacked)
    except IntegrityError as error:
        raise IntegrityError(
            f"The registry from {address} was rejected.\n{error.problem}", KEPT
        ) from error
    candidates = [*unpacked.glob("model_configs"), *unpacked.glob("*/model_configs")]
    folders = [folder for folder in candidates if any(folder.glob("*.yaml"))]
    if len(folders) != 1:
        raise SourceError(
            f"{address} holds {len(folders) or 'no'} folders model_configs with configs, "
            "and one was expected.",
            f"MEDZOO_REGISTRY names a zip of medzoo's repository, or of its model_configs. {KEPT}",
        )
    source = folders[0]
    (target / "locks").mkdir(parents=True)
    revocations = source / revoked.NAME  # not in the zips of older versions
    content = revocations.read_text(encoding="utf-8") if revocations.is_file() else ""
    (target.parent / revoked.NAME).write_text(content, encoding="utf-8")
    for path in (*source.glob("*.yaml"), *(source / "locks").glob("*.txt")):
        shutil.copyfile(path, target / path.relative_to(source))


def _check(address: str, configs: Path) -> tuple[str, ...]:
    """Check all configs, and remove those of bundled models.

    The config of a bundled model belongs to its files, which come with medzoo. Returns the models
    that only a newer medzoo has.
    """
    try:
        newer = Registry([configs]).configs
        _check_locks(configs, newer.values())
        shipped = Registry(settings.config_folders()[:1]).configs
        bundled = set(map(attrgetter("number"), filter(is_here, shipped.values())))
        bundled_with_newer = list(filter(is_here, newer.values()))
        for config in newer.values():
            if config in bundled_with_newer or config.number in bundled:
                config.path.unlink()
        existing = Registry(settings.config_folders(), configs).files
    except ConfigError as error:
        problem = error.problem.replace(str(configs), "model_configs")
        raise ConfigError(
            f"The registry from {address} was rejected.\n{problem}",
            f"It may be made for a newer medzoo: pip install -U medzoo. {KEPT}",
        ) from error
    names = set(map(attrgetter("id"), bundled_with_newer))
    return tuple(sorted(names - existing.keys()))


def _check_locks(configs: Path, newer: Iterable[ModelConfig]) -> None:
    """Raise ConfigError if a config names a lock that is not there."""
    locks = {"", *(f"locks/{path.name}" for path in (configs / "locks").iterdir())}
    for config in newer:
        for version in config.versions.values():
            if version.lock not in locks:
                raise ConfigError(
                    f"{config.path}: there is no {version.lock}, "
                    f"which version {version.name} names."
                )


def _settle(configs: Path, target: Path, digests: dict[str, str]) -> None:
    """Rename a folder of configs to its place, where it may exist already, complete or damaged."""
    if _digests(target) == digests:
        return
    if target.exists():
        files.remove(target)
    try:
        configs.replace(target)
    except OSError:
        # On a disk without locks, another process may have been first.
        if not target.is_dir():
            raise


def _previous() -> str:
    """The name of the folder in use; empty if there is none or it is damaged."""
    try:
        folder = fetched()
    except ConfigError:
        return ""
    return folder.name if folder else ""


def _in_use() -> Registry:
    """The registry in use. No error or warning if it is damaged, because it will be replaced."""
    try:
        return Registry(settings.config_folders(), fetched())
    except ConfigError:
        return Registry(settings.config_folders())


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A temporary folder in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder, ignore_cleanup_errors=True) as aside:
        yield Path(aside)


def _clear(folder: Path, keep: set[str]) -> None:
    """Remove older registries, and the files of killed updates."""
    for path in folder.glob("*"):
        if path.name not in keep:
            with suppress(OSError):  # the next update removes it
                files.remove(path)


def _contents(models: Registry) -> Contents:
    """Id of a model -> its config, without its path, and its locks."""
    contents: Contents = {}
    for config in models.configs.values():
        contents[config.id] = replace(config, path=Path()), _locks(config)
    return contents


def _locks(config: ModelConfig) -> list[bytes]:
    """The locks of all versions; an empty one if the file is missing."""
    locks = []
    for version in config.versions.values():
        path = config.path.parent / version.lock
        if version.lock:
            locks.append(path.read_bytes() if path.is_file() else b"")
    return locks


def _news(before: Contents, now: Contents) -> dict[str, Any]:
    """The fields of a `Renewal`: the differences of two registries."""
    versions: list[str] = []
    changed: list[str] = []
    for name in sorted(before.keys() & now.keys()):
        earlier = before[name][0].versions
        new = [version for version in now[name][0].versions if version not in earlier]
        versions += [f"{name} {version}" for version in new]
        if not new and now[name] != before[name]:
            changed.append(name)
    return {
        "models": tuple(sorted(now.keys() - before.keys())),
        "versions": tuple(versions),
        "changed": tuple(changed),
        "removed": tuple(sorted(before.keys() - now.keys())),
    }
