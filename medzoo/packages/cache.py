"""What medzoo keeps on this disk: downloads, unpacked packages, environments; to be listed,
removed, verified.

All of it can be fetched or built again. Small files are not listed and stay: above all
``digests.json``, by which a file that was trusted at its first use is known again.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files, settings
from ..config import REMOTE
from ..environments import records
from ..environments.recipe import Recipe
from ..errors import ConfigError, IntegrityError, ModelNotFoundError
from ..registry import registry, resolve
from . import download, store

KEY = re.compile(
    r"[0-9a-f]{4,64}"
)  # the beginning of an environment's key or of a package's digest

RECENT = 3600.0  # seconds for which a download that no config names is left alone
LOG_AGE = 30 * 86400.0  # seconds after which a log is old


@dataclass(frozen=True)
class Entry:
    """A part of the cache that can be removed by itself."""

    # download, package, environment; uv (its cache, where medzoo chose the place); unfinished
    kind: str
    path: Path
    models: tuple[str, ...] = ()
    about: str = ""
    lock: Path | None = None  # held by the process that makes it
    mark: Path | None = None  # held by the processes that use it

    def __str__(self) -> str:
        return f"{self.kind} {self.path.name}"

    @property
    def used(self) -> str:
        """The day of its last use, where that is known."""
        if self.mark is None or not self.mark.exists():
            return ""
        return time.strftime("%Y-%m-%d", time.localtime(self.mark.stat().st_mtime))

    @property
    def summary(self) -> dict[str, Any]:
        """The entry for scripts; ``frees`` are the bytes that go with it, as no hard link elsewhere
        shares them.
        """
        size, frees = files.size_of(self.path)
        return {
            "kind": self.kind,
            "name": self.path.name,
            "path": str(self.path),
            "bytes": size,
            "frees": frees,
            "models": list(self.models),
            "used": self.used,
            "about": self.about,
        }


@dataclass(frozen=True)
class Removal:
    """What was removed, what was asked for and could not be, and why, and what stays as other
    models need it.
    """

    removed: tuple[Entry, ...]
    failed: tuple[tuple[Entry, str], ...] = ()
    shared: tuple[tuple[Entry, str], ...] = ()
    freed: int = 0  # bytes, as far as no hard link elsewhere shares them

    @property
    def kept(self) -> tuple[tuple[Entry, str], ...]:
        """All that stays, and why."""
        return (*self.failed, *self.shared)


@dataclass(frozen=True)
class Report:
    """What was compared with its digests: what is right, what is wrong and how, and what there is
    no digest for.
    """

    right: tuple[Entry, ...]
    wrong: tuple[tuple[Entry, str], ...]
    unknown: tuple[Entry, ...]


def entries() -> list[Entry]:
    """All that can be removed, in the order of kinds and names."""
    places, folder = _places(), settings.cache_folder()
    uv = [Entry("uv", folder / "uv", mark=folder / "uv.use")] if (folder / "uv").is_dir() else []
    return [
        *_downloads(folder / "downloads", places),
        *_packages(folder / "packages", places),
        *_environments(),
        *uv,
        *_unfinished(folder),
    ]


def total() -> int:
    """Bytes of the whole cache folder; what is linked twice counts once."""
    folder = settings.cache_folder()
    return files.size_of(folder)[0] if folder.is_dir() else 0


def remove(what: int | str | os.PathLike[str]) -> Removal:
    """Remove what belongs to a model, or an environment or package by its key; what other models
    use too stays.

    Parameters
    ----------
    what
        A model as in `medzoo.generate`, or the beginning of an environment's key or of a package's
        digest.

    Raises
    ------
    ModelNotFoundError
        It is none of these.
    """
    found = entries()
    try:
        model = resolve(what).id
    except ModelNotFoundError:  # perhaps of a registry that was here before
        model = str(what) if any(str(what) in e.models for e in found) else ""
        if not model:
            named = [
                e for e in found if KEY.fullmatch(str(what)) and e.path.name.startswith(str(what))
            ]
            if len(named) == 1:
                return _removed(named)
            raise ModelNotFoundError(
                f"Nothing in the cache is named {str(what)!r}.", "`medzoo cache` lists it."
            ) from None
    mine = [e for e in found if model in e.models]
    shared = [e for e in mine if len(e.models) > 1]
    for entry in shared:
        if entry.kind == "environment":
            records.change_models(entry.path.name, without=model)
    done = _removed([e for e in mine if e not in shared])
    others = ((e, f"{', '.join(m for m in e.models if m != model)} needs it too") for e in shared)
    return Removal(done.removed, done.failed, tuple(others))


def clear() -> Removal:
    """Remove all that can be fetched or built again."""
    return _removed(entries())


def prune(*, dry_run: bool = False) -> Removal:
    """Remove what nothing here needs any more; with ``dry_run``, only say what that is.

    That is: what a kill left unfinished, partial downloads, downloads and packages that no config
    names, environments that no registered version needs, and old logs.
    """
    found, needed = entries(), _needed()
    old = [e for e in found if e.kind == "unfinished" or _is_old(e, needed)]
    old += [*_partial(needed), *_logs()]
    return Removal(tuple(old), freed=sum(map(_frees, old))) if dry_run else _removed(old)


def import_lock() -> Path:
    """The lock of a process that imports archives from a file into the cache."""
    return settings.cache_folder() / "locks" / "import.lock"


def verify() -> Report:
    """Compare downloads and packages with their digests, and environments against their records."""
    places = _places()
    right, wrong, unknown = [], list[tuple[Entry, str]](), []
    for entry in entries():
        if entry.kind in {"uv", "unfinished"}:
            continue
        if entry.kind == "environment":
            problems: list[str] | None = list(records.differences(entry.path.name))
        else:
            problems = _differences(entry, places)
        if problems is None:
            unknown.append(entry)
        elif problems:
            wrong += [(entry, problem) for problem in problems]
        else:
            right.append(entry)
    return Report(tuple(right), tuple(wrong), tuple(unknown))


# ------------------------------------------------------------------------------------------------------
# what is there
def _places() -> list[tuple[str, download.Place]]:
    """Where the archives of registered models belong, with the model's id."""
    found = []
    for config in registry().configs.values():
        for version in config.versions.values():
            if version.scheme in REMOTE:
                with suppress(IntegrityError):  # digests that do not agree; the download reports it
                    found.append((config.id, download.place(config, version)))
    return found


def _folders(parent: Path) -> list[Path]:
    return (
        sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))
        if parent.is_dir()
        else []
    )


def _downloads(parent: Path, places: list[tuple[str, download.Place]]) -> Iterator[Entry]:
    for path in _folders(parent):
        lock = next((p.lock for _, p in places if p.path.parent == path), None)
        names = ", ".join(sorted(p.name for p in path.iterdir()))
        if names:  # else what came was refused, and nothing of it kept
            yield Entry(
                "download", path, (path.name.rpartition("-")[0],), names, lock
            )  # its folder is called by the model


def _packages(parent: Path, places: list[tuple[str, download.Place]]) -> Iterator[Entry]:
    owners = [(model, p.sha256) for model, p in places]
    owners += [(c.id, v.sha256) for c in registry().configs.values() for v in c.versions.values()]
    for path in _folders(parent):
        models = tuple(sorted({model for model, sha256 in owners if sha256 == path.name}))
        yield Entry(
            "package", path, models, lock=store.lock_of(path.name), mark=store.mark_of(path.name)
        )


def _environments() -> Iterator[Entry]:
    for record in records.every():
        packages = record["packages"]
        torch = f"torch {packages['torch']}, " if "torch" in packages else ""
        about = f"Python {record['python']}, {torch}{len(packages)} packages"
        key = record["key"]
        yield Entry(
            "environment",
            records.path_of(key),
            tuple(record["models"]),
            about,
            mark=records.mark_of(key),
        )


def _unfinished(folder: Path) -> Iterator[Entry]:
    """What a kill left: what was not renamed to its place, environments without a record and
    records without one.
    """
    whole = {record["key"] for record in records.every()}
    for path in sorted(records.folder().glob("*")):
        if path.suffix not in {".lock", ".use"} and (
            path.name.startswith(".") or _stem(path) not in whole
        ):
            yield Entry("unfinished", path, lock=records.lock_of(_stem(path)))
    for path in sorted((folder / "packages").glob(".*")):
        yield Entry("unfinished", path, lock=store.lock_of(_stem(path)))
    for path in sorted((folder / "index").glob(".*")):
        yield Entry("unfinished", path)
    for path in sorted((folder / "downloads").glob(".*")):
        yield Entry(
            "unfinished", path, lock=import_lock() if path.name.startswith(".import.") else None
        )


# -------------------------------------------------------------------------------------------------
# what nobody needs
@dataclass(frozen=True)
class _Needed:
    """What the configs name: places of archives, digests of packages, environments; and models
    whose digests are unclear.
    """

    places: dict[Path, download.Place]  # folder -> what lies in it
    packages: frozenset[str]
    environments: frozenset[str]
    unclear: frozenset[str]


def _needed() -> _Needed:
    places, packages, environments, unclear = (
        dict[Path, download.Place](),
        set[str](),
        set[str](),
        set[str](),
    )
    for config in registry().configs.values():
        for version in config.versions.values():
            packages.add(version.sha256)
            try:
                environments.add(Recipe.of(config, version).digest)
                if version.scheme in REMOTE:
                    place = download.place(config, version)
                    places[place.path.parent] = place
                    packages.add(place.sha256)
            except (IntegrityError, ConfigError):  # the use of it reports the error
                unclear.add(config.id)
    return _Needed(places, frozenset(packages), frozenset(environments), frozenset(unclear))


def _is_old(entry: Entry, needed: _Needed) -> bool:
    if entry.kind == "download":
        return (
            entry.path not in needed.places
            and not needed.unclear & {*entry.models}
            and not _is_recent(entry.path)
        )
    if entry.kind == "package":
        return entry.path.name not in needed.packages and not needed.unclear
    if entry.kind == "environment" and (record := records.read(entry.path.name)):
        return record["lock"] not in needed.environments and not needed.unclear
    return False


def _is_recent(folder: Path) -> bool:
    """Whether something in it was written lately, perhaps by a process with other configs: no lock
    of it is known.
    """
    times = [p.stat().st_mtime for p in folder.iterdir()]
    return max(times, default=0.0) > time.time() - RECENT


def _partial(needed: _Needed) -> Iterator[Entry]:
    """What downloads that were broken off left beside archives that are still wanted."""
    for folder, place in needed.places.items():
        for path in sorted([*folder.glob("*.part"), *folder.glob(".*.part"), *folder.glob("tmp*")]):
            if path != place.path:
                yield Entry("unfinished", path, lock=place.lock)


def _logs() -> Iterator[Entry]:
    for path in sorted((settings.cache_folder() / "logs").glob("*.log")):
        if path.stat().st_mtime < time.time() - LOG_AGE:
            yield Entry("log", path)


def _frees(entry: Entry) -> int:
    with suppress(OSError):  # gone in between
        return files.size_of(entry.path)[1]
    return 0


def _stem(path: Path) -> str:
    """What a folder or file aside was to become: ``KEY`` of ``.KEY.x1y2``."""
    return path.name.lstrip(".").partition(".")[0]


# ---------------------------------------------------------------------------------------------------------
# removing it
def _removed(found: list[Entry]) -> Removal:
    removed, failed, freed = [], list[tuple[Entry, str]](), 0
    for entry in found:
        size = _frees(entry)
        if why := _remove(entry):
            failed.append((entry, why))
        else:
            removed.append(entry)
            freed += size
    return Removal(tuple(removed), tuple(failed), freed=freed)


def _remove(entry: Entry) -> str:
    """Why it could not be removed; empty if it was."""
    with ExitStack() as stack:
        try:
            if entry.kind == "environment":
                done = records.remove(entry.path.name)
            elif entry.lock and not stack.enter_context(files.locked(entry.lock, timeout=0)):
                done = False
            elif entry.kind in {"unfinished", "log"}:
                done = True
                shutil.rmtree(entry.path) if entry.path.is_dir() else entry.path.unlink()
            else:
                done = files.remove(entry.path, entry.mark)
        except OSError as error:
            return str(error)
    return "" if done else "a running process uses it"


# --------------------------------------------------------------------------------------------------------
# verifying it
def _differences(entry: Entry, places: list[tuple[str, download.Place]]) -> list[str] | None:
    """What is wrong with a download or a package; None if there is no digest to compare with."""
    if entry.kind == "download":
        here = [
            p for _, p in places if p.path.parent == entry.path and p.digest and p.path.is_file()
        ]
        problems = []
        for place in here:
            kind, _, expected = place.digest.partition(":")
            if (found := files.digest_of(place.path, kind)) != expected:
                problems.append(
                    f"{place.path.name}: {kind} {expected} was expected, {found} is there"
                )
        return problems if here else None
    archive = next(
        (p.path for _, p in places if p.sha256 == entry.path.name and p.path.is_file()), None
    )
    if archive is None:
        return None
    try:
        changed = files.difference(archive, entry.path)
    except IntegrityError as error:
        return [error.problem]
    return [f"{changed[0]} is not what was unpacked"] if changed else []
