"""The cache: listing, removing and verifying downloads, unpacked packages and environments.

All of them can be downloaded or built again. Small files are not listed and never removed. The most
important one is ``digests.json``, which holds the digests of files that were trusted at their first
use.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from .. import files, settings
from ..config import REMOTE, ModelConfig, Version
from ..environments import records, shared, wheels
from ..environments.recipe import Recipe
from ..errors import ConfigError, IntegrityError, ModelNotFoundError
from ..registry import registry, resolve
from ..scratch import abandoned
from . import assembly, download, store, weights

KEY = re.compile(r"[0-9a-f]{4,64}")  # begins the key of an environment or the digest of a package
RECENT = 3600.0  # seconds in which `prune` keeps a download that no config names
LOG_AGE = 30 * 86400.0  # seconds after which `prune` removes a log
PARTIAL = ("*.part", "*.part.json", "tmp*")  # names beside a download that goes on, or was killed
IN_USE = "a running process uses it"
Places: TypeAlias = list[tuple[str, download.Place]]  # ids of models, places of their archives


@dataclass(frozen=True)
class Entry:
    """A part of the cache that can be removed by itself."""

    # download, package, environment, wheel, unfinished, log, or uv: the cache of uv, if medzoo
    # placed it
    kind: str
    path: Path
    models: tuple[str, ...] = ()
    details: str = ""
    lock: Path | None = None  # locked by the process that makes it
    mark: Path | None = None  # locked by the processes that use it

    def __str__(self) -> str:
        return f"{self.kind} {self.path.name}"

    @property
    def links(self) -> int:
        """How many links a file of it has that nothing else uses."""
        return 2 if self.kind == "environment" else 1  # the other one is in `environments.shared`

    @property
    def used(self) -> str:
        """The day of its last use, if known."""
        written = _written(self.mark) if self.mark else 0.0
        return time.strftime("%Y-%m-%d", time.localtime(written)) if written else ""

    @property
    def summary(self) -> dict[str, Any]:
        """The entry as JSON; ``frees`` is the number of bytes that its removal frees."""
        size, frees = files.size_of(self.path, self.links)
        return {
            "kind": self.kind,
            "name": self.path.name,
            "path": str(self.path),
            "bytes": size,
            "frees": frees,
            "models": list(self.models),
            "used": self.used,
            "about": self.details,
        }


@dataclass(frozen=True)
class Removal:
    """The result of removing entries: which were removed, which were kept, and why."""

    removed: tuple[Entry, ...]
    failed: tuple[tuple[Entry, str], ...] = ()  # could not be removed
    shared: tuple[tuple[Entry, str], ...] = ()  # other models need them
    freed: int = 0  # bytes

    @property
    def kept(self) -> tuple[tuple[Entry, str], ...]:
        """All entries that were kept, and why."""
        return (*self.failed, *self.shared)


@dataclass(frozen=True)
class Report:
    """The result of comparing entries with their digests."""

    right: tuple[Entry, ...]
    wrong: tuple[tuple[Entry, str], ...]  # with the difference
    unknown: tuple[Entry, ...]  # without a digest to compare with


def entries() -> list[Entry]:
    """All entries of the cache, ordered by kind and name."""
    places, folder = _places(), settings.cache_folder()
    uv = [Entry("uv", folder / "uv", mark=folder / "uv.use")] if (folder / "uv").is_dir() else []
    return [
        *_downloads(folder / "downloads", places),
        *_packages(folder / "packages", places),
        *_environments(),
        *_wheels(),
        *uv,
        *_unfinished(folder),
    ]


def downloaded() -> set[Path]:
    """All downloaded files."""
    folders = _folders(settings.cache_folder() / "downloads")
    return set(chain.from_iterable(map(_content, folders)))


def total() -> int:
    """The size of the whole cache folder in bytes; files with hard links count once."""
    folder = settings.cache_folder()
    return files.size_of(folder)[0] if folder.is_dir() else 0


def remove(what: int | str | os.PathLike[str]) -> Removal:
    """Remove all that belongs to a model, or one environment or package by its key.

    Entries that other models need too are kept.

    Parameters
    ----------
    what : int, str or path
        A model as in `medzoo.generate`, or the beginning of the key of an environment or of the
        digest of a package.

    Raises
    ------
    ModelNotFoundError
        There is no such model, environment or package.
    """
    existing = entries()
    try:
        return _remove_model(resolve(what).id, existing)
    except ModelNotFoundError:
        name = str(what)
    if name in chain.from_iterable(entry.models for entry in existing):
        return _remove_model(name, existing)  # a model that the registry no longer has
    named = [entry for entry in existing if entry.path.name.startswith(name)]
    if KEY.fullmatch(name) and len(named) == 1:
        return _removed(named)
    raise ModelNotFoundError(
        f"Nothing in the cache is named {name!r}.", "`medzoo cache` lists its content."
    )


def _remove_model(model: str, existing: Iterable[Entry]) -> Removal:
    own, shared = list[Entry](), list[tuple[Entry, str]]()
    for entry in existing:
        others = [other for other in entry.models if other != model]
        if model not in entry.models:
            continue
        if not others:
            own.append(entry)
            continue
        shared.append((entry, f"{', '.join(others)} needs it too"))
        if entry.kind == "environment":
            records.change_models(entry.path.name, without=model)
    done = _removed(own)
    return Removal(done.removed, done.failed, tuple(shared))


def clear() -> Removal:
    """Remove all entries. They can be downloaded or built again."""
    return _removed(entries())


def prune(*, dry_run: bool = False) -> Removal:
    """Remove all that is no longer needed; with ``dry_run``, only list it.

    These are the unfinished files of killed processes, partial downloads, downloads and packages
    that no config names, environments that no registered version needs, and old logs.
    """
    needed = _needed()
    old = [entry for entry in entries() if entry.kind == "unfinished" or _is_old(entry, needed)]
    old += [*_partial(needed), *_logs()]
    if dry_run:
        return Removal(tuple(old), freed=sum(map(_frees, old)))
    return _removed(old)


def import_lock() -> Path:
    """The lock of a process that imports archives from a file into the cache."""
    return settings.cache_folder() / "locks" / "import.lock"


def verify() -> Report:
    """Compare downloads and packages with their digests, and environments with their records."""
    places, existing = _places(), entries()
    locked = _locked() if any(entry.kind == "wheel" for entry in existing) else set()
    right, wrong, unknown = [], list[tuple[Entry, str]](), []
    for entry in existing:
        if entry.kind in {"uv", "unfinished"}:
            continue
        problems = _problems(entry, places, locked)
        if not entry.path.exists():  # another process removed it meanwhile
            continue
        if problems is None:
            unknown.append(entry)
        elif problems:
            wrong += [(entry, problem) for problem in problems]
        else:
            right.append(entry)
    return Report(tuple(right), tuple(wrong), tuple(unknown))


# -------------------------------------------------------------------------------------------------
# listing
def _places() -> Places:
    """The places of the archives of all registered models, and of the networks that judge."""
    places = list(weights.places())
    for config, version in _versions():
        if version.scheme in REMOTE:
            with suppress(IntegrityError):  # digests disagree; the download reports it
                here = assembly.places(config, version)
                places += [(config.id, place) for place in here.values()]
    return places


def _versions() -> Iterator[tuple[ModelConfig, Version]]:
    """All versions of all registered models."""
    for config in registry().configs.values():
        for version in config.versions.values():
            yield config, version


def _folders(parent: Path) -> list[Path]:
    """The folders in a folder, without hidden ones, sorted."""
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.glob("[!.]*") if path.is_dir())


def _content(folder: Path) -> list[Path]:
    """The files in a folder; none if another process removed it."""
    with suppress(FileNotFoundError):
        return list(folder.iterdir())
    return []


def _written(file: Path) -> float:
    """When a file was written, in seconds; 0 if another process removed it."""
    with suppress(FileNotFoundError):
        return file.stat().st_mtime
    return 0.0


def _downloads(parent: Path, places: Places) -> Iterator[Entry]:
    locks = {place.path.parent: place.lock for _, place in reversed(places)}
    for path in _folders(parent):
        names = sorted(file.name for file in _content(path))
        if names:  # a folder is empty if the download was rejected
            model = path.name.rpartition("-")[0]
            mark = download.mark_of(model)
            yield Entry("download", path, (model,), ", ".join(names), locks.get(path), mark)


def _packages(parent: Path, places: Places) -> Iterator[Entry]:
    owners: dict[str, set[str]] = defaultdict(set)  # digest -> models
    for model, place in places:
        owners[place.sha256].add(model)
    for config, version in _versions():
        owners[version.sha256].add(config.id)
        owners[_key(config, version)].add(config.id)
    for path in _folders(parent):
        digest = path.name
        models = tuple(sorted(owners[digest]))
        lock, mark = store.lock_of(digest), store.mark_of(digest)
        yield Entry("package", path, models, lock=lock, mark=mark)


def _key(config: ModelConfig, version: Version) -> str:
    """The folder of a package of several files; empty if some of them are not in the cache."""
    if version.scheme not in REMOTE or assembly.is_single(version):
        return ""
    with suppress(IntegrityError):
        made_of = assembly.cached(config, version)
        return made_of.key if made_of else ""
    return ""


def _environments() -> Iterator[Entry]:
    for record in records.every():
        key, models, packages = record["key"], tuple(record["models"]), record["packages"]
        torch = f"torch {packages['torch']}, " if "torch" in packages else ""
        details = f"Python {record['python']}, {torch}{len(packages)} packages"
        path, mark = records.path_of(key), records.mark_of(key)
        yield Entry("environment", path, models, details, mark=mark)


def _wheels() -> Iterator[Entry]:
    for path in sorted(wheels.folder().glob("*.whl")):
        yield Entry("wheel", path, mark=wheels.mark())


def _unfinished(folder: Path) -> Iterator[Entry]:
    """What killed processes left: files and folders that were not renamed to their place,
    environments without a record, and records without an environment.
    """
    finished = {record["key"] for record in records.every()}
    for path in sorted(records.folder().glob("*")):
        if path.suffix in {".lock", ".use"}:
            continue
        if records.is_of_another_version(_stem(path)):
            continue
        if path.name.startswith(".") or _stem(path) not in finished:
            yield Entry("unfinished", path, lock=records.lock_of(_stem(path)))
    for path in sorted((folder / "packages").glob(".*")):
        yield Entry("unfinished", path, lock=store.lock_of(_stem(path)))
    for path in sorted((folder / "downloads").glob(".*")):
        lock = import_lock() if path.name.startswith(".import.") else None
        yield Entry("unfinished", path, lock=lock)
    for path in sorted(wheels.folder().glob("*")):
        if path.suffix != ".whl" or path.name.startswith("."):
            yield Entry("unfinished", path, mark=wheels.mark())
    others = [*(folder / "index").glob(".*"), *folder.glob(".uv.*"), *abandoned()]
    for path in sorted(others):
        yield Entry("unfinished", path)


# -------------------------------------------------------------------------------------------------
# pruning
@dataclass(frozen=True)
class _Needed:
    """All that the configs name."""

    places: dict[Path, download.Place] = field(default_factory=dict)  # folder -> its archive
    packages: set[str] = field(default_factory=set)  # sha256
    environments: set[str] = field(default_factory=set)  # digests of recipes
    unclear: set[str] = field(default_factory=set)  # models whose config or digests have an error


def _needed() -> _Needed:
    needed = _Needed()
    for _, place in weights.places():
        needed.places[place.path.parent] = place
    for config, version in _versions():
        needed.packages.add(version.sha256)
        try:
            needed.environments.add(Recipe.of(config, version).digest)
            if version.scheme in REMOTE:
                for place in assembly.places(config, version).values():
                    needed.places[place.path.parent] = place
                    needed.packages.add(place.sha256)
                needed.packages.add(_key(config, version))
        except (IntegrityError, ConfigError):  # reported when the model is used
            needed.unclear.add(config.id)
    return needed


def _is_old(entry: Entry, needed: _Needed) -> bool:
    if entry.kind == "download":
        if entry.path in needed.places or not needed.unclear.isdisjoint(entry.models):
            return False
        return not _is_recent(entry.path)
    if needed.unclear:
        return False
    if entry.kind == "package":
        return entry.path.name not in needed.packages
    if entry.kind == "environment":
        record = records.read(entry.path.name)
        return record is not None and record["lock"] not in needed.environments
    return False


def _is_recent(folder: Path) -> bool:
    """Whether a file was written lately, perhaps by a running process that has other configs."""
    return max(map(_written, _content(folder)), default=0.0) > time.time() - RECENT


def _partial(needed: _Needed) -> Iterator[Entry]:
    """The files of interrupted downloads, beside archives that are still needed."""
    for folder, place in needed.places.items():
        for path in sorted(_content(folder)):
            if path != place.path and any(map(path.match, PARTIAL)):
                yield Entry("unfinished", path, lock=place.lock)


def _logs() -> Iterator[Entry]:
    for path in sorted((settings.cache_folder() / "logs").glob("*.log")):
        if 0 < _written(path) < time.time() - LOG_AGE:
            yield Entry("log", path)


def _frees(entry: Entry) -> int:
    return files.size_of(entry.path, entry.links)[1]


def _stem(path: Path) -> str:
    """The final name of a folder or file with a temporary name: ``KEY`` of ``.KEY.x1y2``."""
    return path.name.lstrip(".").partition(".")[0]


# -------------------------------------------------------------------------------------------------
# removing
def _removed(unneeded: list[Entry]) -> Removal:
    """Remove entries, as far as no running process uses them."""
    removed, failed, freed = [], list[tuple[Entry, str]](), 0
    for entry in unneeded:
        size = _frees(entry)
        problem = _remove(entry)
        if problem:
            failed.append((entry, problem))
        else:
            removed.append(entry)
            freed += size
    shared.clear()
    return Removal(tuple(removed), tuple(failed), freed=freed)


def _remove(entry: Entry) -> str:
    """Remove an entry. Returns why it could not be removed, or an empty text."""
    with ExitStack() as stack:
        try:
            if entry.kind == "environment":
                done = records.remove(entry.path.name)
            elif reason := _why_not(entry, stack):
                return reason
            elif entry.mark:
                done = files.remove(entry.path, entry.mark)
            else:
                done = True
                if entry.path.is_dir():
                    shutil.rmtree(entry.path)
                else:
                    entry.path.unlink()
        except FileNotFoundError:  # another process removes it, or has done so
            done = True
        except OSError as error:
            return str(error)
    return "" if done else IN_USE


def _why_not(entry: Entry, stack: ExitStack) -> str:
    """Why an entry must stay; empty if it may go. Its lock is held until the stack ends."""
    is_unfinished, lock = entry.kind == "unfinished", entry.lock
    if lock and not stack.enter_context(files.locked(lock, timeout=0)):
        if files.has_locks(lock):
            return IN_USE
        if is_unfinished:
            return "its disk has no locks, so a running process may be making it"
    return IN_USE if is_unfinished and _is_finished(entry.path) else ""


def _is_finished(path: Path) -> bool:
    """Whether a process has finished an environment that was listed as unfinished."""
    is_hidden = path.name.startswith(".")
    return not is_hidden and path.parent == records.folder() and bool(records.read(_stem(path)))


# -------------------------------------------------------------------------------------------------
# verifying
def _locked() -> set[str]:
    """The sha256 of all wheels that registered models may install, by their locks."""
    locked = set[str]()
    for config, version in _versions():
        with suppress(ConfigError):  # reported when the model is used
            locked |= Recipe.of(config, version).digests
    return locked


def _problems(entry: Entry, places: Places, locked: set[str]) -> list[str] | None:
    """As `_differences`. What another process replaces meanwhile is compared again."""
    while True:
        before = _identity(entry.path)
        try:
            problems = _differences(entry, places, locked)
        except FileNotFoundError:
            problems = None
        except OSError as error:
            problems = [f"it cannot be read: {error}"]
        if _identity(entry.path) == before:
            return problems


def _identity(path: Path) -> tuple[int, int, int] | None:
    """What tells a file or folder from another one in its place; None if there is none."""
    with suppress(FileNotFoundError):
        status = path.stat()
        return status.st_dev, status.st_ino, status.st_ctime_ns
    return None


def _differences(entry: Entry, places: Places, locked: set[str]) -> list[str] | None:
    """What is wrong with an entry; None if there is no digest to compare with."""
    if entry.kind == "environment":
        return list(records.differences(entry.path.name))
    if entry.kind == "wheel":
        return [] if files.sha256_of(entry.path) in locked else None
    if entry.kind == "download":
        own = [place for _, place in places if place.path.parent == entry.path]
        return _download_differences(own)
    try:
        changed = _change(entry.path, places)
    except LookupError:
        return None
    except IntegrityError as error:
        return [error.problem]
    return [f"{changed[0]} is not what was unpacked"] if changed else []


def _change(folder: Path, places: Places) -> tuple[str, str, str] | None:
    """The first changed file of a package, or None.

    Raises LookupError if what it was made of is not in the cache, and IntegrityError if that is
    broken.
    """
    archive = _archive_of(folder.name, places)
    if archive:
        return files.difference(archive, folder)
    for config, version in _versions():
        if _key(config, version) == folder.name:
            made_of = assembly.cached(config, version)
            return store.difference(version, made_of, folder) if made_of else None
    raise LookupError(folder.name)


def _download_differences(places: Iterable[download.Place]) -> list[str] | None:
    problems: list[str] | None = None
    for place in places:
        if not place.digest or not place.path.is_file():
            continue
        problems = problems or []
        kind, _, expected = place.digest.partition(":")
        actual = files.digest_of(place.path, kind)
        if actual != expected:
            problems.append(f"{place.path.name}: {kind} {expected} was expected, not {actual}")
    return problems


def _archive_of(sha256: str, places: Places) -> Path | None:
    """The downloaded archive with a digest, if there is one."""
    for _, place in places:
        if place.sha256 == sha256 and place.path.is_file():
            return place.path
    return None
