"""The environments in the cache: folders ``environments/KEY``, each with a record ``KEY.json``.

The record is written last; an environment without one is not used. A record holds no times: the
modification time of the empty file ``KEY.use`` is that of the last use.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import files, settings
from ..config import requirement_name
from .recipe import Recipe, machine
from .requirements import python_fits

FORMAT = 1  # of records
NEEDED = {"key", "lock", "torch", "machine", "python", "packages", "models"}
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


def site_packages(environment: Path) -> Path:
    """The folder of the packages of an environment."""
    return next(environment.glob("lib/python*/site-packages"), environment / "Lib/site-packages")


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
    """A digest of the names, sizes and times of all files of an environment.

    It is quick, and changes with every usual change. `differences` compares contents.
    """
    lines = []
    for parent, folders, names in os.walk(environment):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)  # noqa: PTH118  (there are tens of thousands)
            try:
                status = os.stat(path)  # noqa: PTH116
                lines.append(f"{path} {status.st_size} {status.st_mtime_ns}")
            except OSError:
                lines.append(f"{path} leads nowhere")
    lines = [line[len(str(environment)) :] for line in lines]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def is_unchanged(record: Mapping[str, Any]) -> bool:
    """Whether an environment has the stamp that it had when it was built."""
    recorded = record.get("stamp")
    return recorded is None or recorded == stamp(path_of(record["key"]))


def remove(key: str) -> bool:
    """Remove an environment and its record.

    Returns False, and changes nothing, while another process builds or uses it.
    """
    with files.locked(lock_of(key), timeout=0) as held:
        if not held or (path_of(key).exists() and not files.remove(path_of(key), mark_of(key))):
            return False
        record_of(key).unlink(missing_ok=True)
    return True


def differences(key: str) -> Iterator[str]:
    """The differences between an environment and what was installed and recorded, in words."""
    record = read(key)
    if record is None:
        yield "it is incomplete"
        return
    where = site_packages(path_of(key))
    now = installed([str(where)])
    for name in sorted({*now, *record["packages"]}):
        recorded, actual = record["packages"].get(name, "nothing"), now.get(name, "nothing")
        if recorded != actual:
            yield f"{name}: {recorded} was installed, {actual} was found"
    yield from _changed_files(where, with_bytecode="stamp" in record)


def _changed_files(where: Path, *, with_bytecode: bool) -> Iterator[str]:
    """The files that differ from those that packages list, or that no package lists."""
    listed = set[Path]()
    for path in sorted(where.glob("*.dist-info/RECORD")):
        for name, digest in _recorded(path):
            file = where / name
            listed.add(file)
            if not file.is_file():
                yield f"{name} is missing"
            elif _base64_digest(file) != digest:
                yield f"{name} is not what was installed"
    for file in sorted(where.rglob("*")):
        if file.suffix == ".pyc" and not with_bytecode:
            continue  # earlier versions of medzoo let models write them
        if file.is_file() and file not in listed and file.name not in UNLISTED:
            yield f"{file.relative_to(where)} was not installed"


def _recorded(path: Path) -> Iterator[tuple[str, str]]:
    """The files of an installed package and their sha256, as its RECORD lists them."""
    for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8"))):
        if len(row) == 3 and row[1].startswith("sha256="):
            yield row[0], row[1].removeprefix("sha256=")


def _base64_digest(path: Path) -> str:
    digest = bytes.fromhex(files.sha256_of(path))
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
