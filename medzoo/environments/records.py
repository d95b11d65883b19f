"""The environments in the cache: folders ``environments/KEY``, each with a record ``KEY.json``.

The record is written last; an environment without one is not used. A record holds no times: the
modification time of the empty file ``KEY.use`` is that of the last use.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from operator import attrgetter
from pathlib import Path
from typing import Any

from .. import files, settings
from ..config import requirement_name
from .recipe import Recipe, machine
from .requirements import python_fits
from .shared import bytecode_digest, recorded, site_packages

FORMAT = 1  # of records
PATIENCE = 5.0  # seconds in which others let go of an environment that was changed
NEEDED = {"key", "lock", "torch", "machine", "python", "packages", "models", "stamp", "bytecode"}
# Files that uv or Python puts into an environment, and no package lists.
UNLISTED = {
    "_virtualenv.py",
    "_virtualenv.pth",
    "RECORD",
    "INSTALLER",
    "REQUESTED",
    "direct_url.json",
}


def folder() -> Path:
    """The folder of all environments."""
    return settings.cache_folder() / "environments"


def path_of(key: str) -> Path:
    """The folder of an environment."""
    return folder() / key


def record_of(key: str) -> Path:
    """The record of an environment."""
    return folder() / f"{key}.json"


def lock_of(key: str) -> Path:
    """The lock for building or removing an environment, or for changing its record."""
    return folder() / f"{key}.lock"


def mark_of(key: str) -> Path:
    """The empty file that processes lock while they use an environment."""
    return folder() / f"{key}.use"


def python_of(environment: Path) -> Path:
    """The interpreter in an environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def read(key: str) -> dict[str, Any] | None:
    """The record of an environment; None if the environment is missing or incomplete."""
    try:
        record = json.loads(record_of(key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("format", FORMAT) != FORMAT:
        return None
    # The interpreter may be a broken link, if the Python that it was made from was removed.
    is_complete = record.get("key") == key and python_of(path_of(key)).exists()
    return record if is_complete and record.keys() >= NEEDED else None


def is_of_another_version(key: str) -> bool:
    """Whether a newer or older medzoo uses an environment, whose record has another format."""
    try:
        record = json.loads(record_of(key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("format", FORMAT) != FORMAT


def every() -> list[dict[str, Any]]:
    """The records of all complete environments."""
    keys = [path.stem for path in sorted(folder().glob("*.json"))]
    return list(filter(None, map(read, keys)))


def find(recipe: Recipe, python: str) -> dict[str, Any] | None:
    """The record of an environment of a recipe, for this machine and a range of Python versions."""
    sought = {"lock": recipe.digest, "torch": recipe.torch, "machine": machine()}
    for record in every():
        fits = sought.items() <= record.items() and python_fits(record["python"], python)
        if fits and not recipe.unmet(record["packages"], record["python"]):
            return record
    return None


def change_models(key: str, *, also: str = "", without: str = "") -> None:
    """Add a model to those that use an environment, or remove one."""

    def changed(record: dict[str, Any] | None) -> dict[str, Any] | None:
        if record is None:
            return None
        models = sorted({*record["models"], also} - {"", without})
        return record | {"models": models} if models != record["models"] else None

    if changed(read(key)):
        # A cache that other users fill may be read-only.
        with suppress(OSError), files.locked(lock_of(key)):
            record = changed(read(key))
            if record:
                files.write_json(record_of(key), record)


def installed(where: Sequence[str]) -> dict[str, str]:
    """The packages in some folders: name -> version.

    If a package is there twice, the first one counts: it is the one that is imported.
    """
    versions: dict[str, str] = {}
    for distribution in metadata.distributions(path=list(where)):
        name = distribution.metadata["Name"]
        if name:
            versions.setdefault(requirement_name(name), distribution.version)
    return dict(sorted(versions.items()))


def stamp(environment: Path) -> str:
    """A digest of the names, sizes and times of all files of an environment, and of its links.

    It is quick, and changes with every usual change. `differences` compares contents.
    """
    digest = hashlib.sha256()
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(environment, folder)) as listed:  # noqa: PTH118
            entries = sorted(listed, key=attrgetter("name"))
        lines = [folder]
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{folder}{entry.name}/")
            else:
                lines.append(_state(entry))
        digest.update("\0".join([*lines, ""]).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _state(entry: os.DirEntry[str]) -> str:
    """The name of a file or link, and what changes with it."""
    name = entry.name
    if entry.is_symlink():
        name += f" to {os.readlink(entry.path)}"  # noqa: PTH115
        if entry.is_dir():
            return name
    try:
        status = entry.stat()
    except OSError:
        return f"{name} leads nowhere"
    return f"{name} {status.st_size} {status.st_mtime_ns}"


def is_unchanged(record: Mapping[str, Any]) -> bool:
    """Whether an environment has the stamp that it had when it was built."""
    try:
        return bool(record["stamp"] == stamp(path_of(record["key"])))
    except FileNotFoundError:  # somebody is deleting it
        return False


def remove(key: str) -> bool:
    """Remove an environment and its record.

    Returns False, and changes nothing, while another process builds or uses it.
    """
    lock = lock_of(key)
    with files.locked(lock, timeout=0) as held:
        if not held and files.has_locks(lock):
            return False
        return _remove(key)


def remove_changed(key: str) -> bool:
    """Remove an environment whose files changed, unless another process has built it again.

    Returns False, and changes nothing, while another process uses it.
    """
    with files.locked(lock_of(key)):
        record, until = read(key), time.monotonic() + PATIENCE
        if record is None or is_unchanged(record):
            return True
        # Other processes may use it only to see the same, for a moment.
        while not _remove(key):
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
    return True


def _remove(key: str) -> bool:
    if path_of(key).exists() and not files.remove(path_of(key), mark_of(key)):
        return False
    record_of(key).unlink(missing_ok=True)
    return True


def clear_unfinished() -> None:
    """Remove what killed processes left when they built or removed environments."""
    for path in sorted(folder().glob(".*")):
        # A process that builds or removes an environment holds its lock.
        with files.locked(lock_of(path.name.split(".")[1]), timeout=0) as held:
            if held and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif held:
                path.unlink(missing_ok=True)


def differences(key: str) -> Iterator[str]:
    """The differences between an environment and what was installed and recorded, in words."""
    record = read(key)
    if record is None:
        yield "it is incomplete"
        return
    environment = path_of(key)
    now = installed([str(site_packages(environment))])
    for name in sorted({*now, *record["packages"]}):
        before, after = record["packages"].get(name, "nothing"), now.get(name, "nothing")
        if before != after:
            yield f"{name}: {before} was installed, {after} was found"
    yield from _changed_files(environment)
    if bytecode_digest(environment) != record["bytecode"]:
        yield "its bytecode is not what was compiled"


def _changed_files(environment: Path) -> Iterator[str]:
    """The files that differ from those that packages list, or that no package lists."""
    where, listed = site_packages(environment), set[Path]()
    for file, digest in recorded(environment):
        listed.add(file)
        name = os.path.relpath(file, where)
        if not file.is_file():
            yield f"{name} is missing"
        elif digest and files.sha256_of(file) != digest:
            yield f"{name} is not what was installed"
    for file in sorted(where.rglob("*")):
        is_known = file in listed or file.name in UNLISTED or file.suffix == ".pyc"
        if file.is_file() and not is_known:
            yield f"{file.relative_to(where)} was not installed"
