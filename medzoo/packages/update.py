"""A newer registry without a newer medzoo: fetched, looked through, and put in the place of the one
in use.

In the cache, ``registry/<sha256 of the zip>/`` holds the configs and their locks.
``registry/in-use.json`` names the one in use, with the digest of each of its files, and is written
last, so that an update is there whole or not at all. `medzoo.registry` reads them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from .. import __version__, checks, files, settings
from ..config import ModelConfig
from ..errors import ConfigError, InputError, IntegrityError, SourceError
from ..registry import Registry, fetched, is_here, pointer, registry
from . import http

Contents: TypeAlias = dict[str, tuple[ModelConfig, list[bytes]]]
MOST = 2**29  # bytes of a zip: that of the whole repository is a hundredth of it
KEPT = "Nothing was changed: the registry in use stays."
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Renewal:
    """What an update has changed: ids of models, and versions as ``ID VERSION``."""

    address: str  # empty after a reset
    sha256: str  # of the zip, so of the registry in use; empty for the one that came with medzoo
    models: tuple[str, ...] = ()  # that are new
    versions: tuple[str, ...] = ()  # that are new, of models that were known
    changed: tuple[str, ...] = ()  # models of which something else is new
    removed: tuple[str, ...] = ()  # models that are no longer known
    left_out: tuple[str, ...] = ()  # models that come with a newer medzoo alone

    def __str__(self) -> str:
        kinds = {
            "new model": self.models,
            "new version": self.versions,
            "changed": self.changed,
            "removed": self.removed,
        }
        lines = [f"{kind:<12} {name}" for kind, names in kinds.items() for name in names]
        lines += [
            f"{'left out':<12} {name}: it comes with a newer medzoo (pip install -U medzoo)"
            for name in self.left_out
        ]
        source = (
            f"from {self.address}, sha256 {self.sha256[:16]}"
            if self.sha256
            else "the one that came with medzoo"
        )
        return "\n".join([*(lines or ["nothing new"]), f"registry: {source}"])


@checks.checked()
def update(*, reset: bool = False, progress: bool | None = None) -> Renewal:
    """Fetch the newest registry from where ``MEDZOO_REGISTRY`` says, and use it from now on.

    Models that came with medzoo keep the configs that came with them. If anything is wrong with
    what is fetched, what was in use stays.

    Parameters
    ----------
    reset
        Fetch nothing, and go back to the registry that came with medzoo.
    progress
        Whether to draw a bar; only at a terminal if None.

    Returns
    -------
    Renewal
        What is new: models, versions, configs.

    Raises
    ------
    InputError
        The address is not secure.
    SourceError
        It cannot be reached, gives something else than a zip with a registry, or ``MEDZOO_OFFLINE``
        forbids to ask.
    IntegrityError
        The zip is broken, or not safe to unpack.
    ConfigError
        Its configs break the schema, perhaps as they need a newer medzoo.
    """
    folder, lock = pointer().parent, settings.cache_folder() / "locks" / "registry.lock"
    try:
        with files.locked(lock, http.policy.turn, lambda: folder.glob(".*/*")) as alone:
            return (
                _reset(folder, alone=alone)
                if reset
                else _renew(folder, alone=alone, progress=progress)
            )
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
        archive, made = aside / "registry.zip", aside / "registry"
        _fetch(address, archive, progress=settings.show_progress(progress))
        _extract(address, archive, aside / "unpacked", made)
        left_out = _check(address, made)
        sha256 = files.sha256_of(archive)
        digests = {
            p.relative_to(made).as_posix(): files.sha256_of(p)
            for p in made.rglob("*")
            if p.is_file()
        }
        _settle(made, folder / sha256, digests)
    about = {
        "address": address,
        "sha256": sha256,
        "medzoo": __version__,
        "files": digests,
        "fetched": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    files.write_json(pointer(), about)
    if alone:  # a process that began with the previous one may still ask for its locks
        _clear(folder, {sha256, previous, pointer().name})
    return Renewal(address, sha256, **_news(before, _contents(registry())), left_out=left_out)


def _fetch(address: str, archive: Path, *, progress: bool) -> None:
    """Bring the zip here."""
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
            f"MEDZOO_REGISTRY may name a zip on this disk, fetched elsewhere. {KEPT}",
        )
    try:
        http.Download(progress=progress, most=MOST)(address, str(archive))
    except (SourceError, IntegrityError) as error:
        hint = f"Is there a network? MEDZOO_REGISTRY may name another address, or a zip on this disk. {KEPT}"
        raise type(error)(f"The registry could not be fetched.\n{error.problem}", hint) from error


def _extract(address: str, archive: Path, unpacked: Path, made: Path) -> None:
    """Of a zip, the configs and their locks alone."""
    try:
        files.unpack(archive, unpacked)
    except IntegrityError as error:
        raise IntegrityError(
            f"The registry from {address} was rejected.\n{error.problem}", KEPT
        ) from error
    found = [
        p
        for pattern in ("model_configs", "*/model_configs")
        for p in unpacked.glob(pattern)
        if any(p.glob("*.yaml"))
    ]
    if len(found) != 1:
        raise SourceError(
            f"{address} holds {len(found) or 'no'} folders model_configs with configs, and one was expected.",
            f"MEDZOO_REGISTRY names a zip of medzoo's repository, or of its model_configs. {KEPT}",
        )
    (made / "locks").mkdir(parents=True)
    for path in (*found[0].glob("*.yaml"), *(found[0] / "locks").glob("*.txt")):
        shutil.copyfile(path, made / path.relative_to(found[0]))


def _check(address: str, made: Path) -> tuple[str, ...]:
    """Read it all as it will be read, and take out the configs of bundled models, which belong to
    the files that came with them; returns the models that only a newer medzoo has.
    """
    try:
        newer = Registry([made]).configs
        _check_locks(made, newer.values())
        bundled = {
            c.number for c in Registry(settings.config_folders()[:1]).configs.values() if is_here(c)
        }
        here = [c for c in newer.values() if is_here(c)]
        for config in newer.values():
            if config in here or config.number in bundled:
                config.path.unlink()
        known = Registry(settings.config_folders(), made).files
    except ConfigError as error:
        problem = error.problem.replace(str(made), "model_configs")
        raise ConfigError(
            f"The registry from {address} was rejected.\n{problem}",
            f"It may be made for a newer medzoo: pip install -U medzoo. {KEPT}",
        ) from error
    return tuple(sorted(c.id for c in here if c.id not in known))


def _check_locks(made: Path, newer: Iterable[ModelConfig]) -> None:
    locks = {"", *(f"locks/{p.name}" for p in (made / "locks").iterdir())}
    for config in newer:
        for version in config.versions.values():
            if version.lock not in locks:
                raise ConfigError(
                    f"{config.path}: there is no {version.lock}, which version {version.name} names."
                )


def _settle(made: Path, target: Path, digests: dict[str, str]) -> None:
    """Rename it to its place, in which it may lie already, whole or damaged."""
    found = {
        p.relative_to(target).as_posix(): files.sha256_of(p)
        for p in target.rglob("*")
        if p.is_file()
    }
    if found == digests:
        return
    if target.exists():
        files.remove(target)
    try:
        made.replace(target)
    except OSError:
        if not target.is_dir():  # else another process was first, on a disk without locks
            raise


def _previous() -> str:
    """The name of the folder that was in use, if one was and is whole."""
    try:
        return folder.name if (folder := fetched()) else ""
    except ConfigError:
        return ""


def _in_use() -> Registry:
    """The registry in use, without a word on what may be wrong with it: it is about to be replaced."""
    try:
        return Registry(settings.config_folders(), fetched())
    except ConfigError:
        return Registry(settings.config_folders())


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A folder in ``folder`` to work in, which leaves nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder, ignore_cleanup_errors=True) as aside:
        yield Path(aside)


def _clear(folder: Path, keep: set[str]) -> None:
    """Remove older registries, and what killed updates left."""
    for path in folder.glob("*"):
        if path.name not in keep:
            with suppress(OSError):  # the next update tries again
                files.remove(path)


def _contents(known: Registry) -> Contents:
    """What the configs of a registry say, wherever they lie."""

    def locks(config: ModelConfig) -> list[bytes]:
        paths = [config.path.parent / v.lock for v in config.versions.values() if v.lock]
        return [p.read_bytes() if p.is_file() else b"" for p in paths]

    return {c.id: (replace(c, path=Path()), locks(c)) for c in known.configs.values()}


def _news(before: Contents, now: Contents) -> dict[str, Any]:
    """The fields of a `Renewal` that tell one registry from the next."""
    both = sorted(before.keys() & now.keys())
    versions = {
        name: [v for v in now[name][0].versions if v not in before[name][0].versions]
        for name in both
    }
    return {
        "models": tuple(sorted(now.keys() - before.keys())),
        "versions": tuple(f"{name} {v}" for name in both for v in versions[name]),
        "changed": tuple(name for name in both if now[name] != before[name] and not versions[name]),
        "removed": tuple(sorted(before.keys() - now.keys())),
    }
