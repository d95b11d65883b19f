"""The environments of this cache: folders ``environments/KEY``, each with a record ``KEY.json``
beside it.

An environment counts only together with its record, which is written last. A record holds no times;
when an environment was last used is the time of the empty file ``KEY.use``.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import files, settings
from ..config import requirement_name
from .recipe import Recipe, machine
from .requirements import python_fits


def folder() -> Path:
    """Where environments lie."""
    return settings.cache_folder() / "environments"


def path_of(key: str) -> Path:
    """The folder of an environment."""
    return folder() / key


def record_of(key: str) -> Path:
    """The file that describes it."""
    return folder() / f"{key}.json"


def lock_of(key: str) -> Path:
    """The lock for building or removing it, or for changing its record."""
    return folder() / f"{key}.lock"


def mark_of(key: str) -> Path:
    """The empty file that marks its use."""
    return folder() / f"{key}.use"


def python_of(environment: Path) -> Path:
    """The interpreter in an environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def read(key: str) -> dict[str, Any] | None:
    """The record of an environment that is there and whole; None if it is not."""
    try:
        record = json.loads(record_of(key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return (
        record if record.get("key") == key and python_of(path_of(key)).exists() else None
    )  # its base Python may be gone


def every() -> list[dict[str, Any]]:
    """The records of all environments that are there and whole."""
    return [record for path in sorted(folder().glob("*.json")) if (record := read(path.stem))]


def find(recipe: Recipe, python: str) -> dict[str, Any] | None:
    """The record of an environment that was built by a recipe for this machine, with a Python of a
    range.
    """
    sought = {"lock": recipe.digest, "torch": recipe.torch, "machine": machine()}
    for record in every():
        fits = sought.items() <= record.items() and python_fits(record["python"], python)
        if fits and not recipe.unmet(record["packages"], record["python"]):
            return record
    return None


def change_models(key: str, *, also: str = "", without: str = "") -> None:
    """Add a model to those that an environment serves, or take one away."""

    def changed(record: dict[str, Any] | None) -> dict[str, Any] | None:
        models = sorted({*record["models"], also} - {"", without}) if record else []
        return record | {"models": models} if record and models != record["models"] else None

    if changed(read(key)):
        with (
            suppress(OSError),
            files.locked(lock_of(key)),
        ):  # a cache that others filled may be read-only
            if record := changed(read(key)):
                files.write_json(record_of(key), record)


def site_packages(environment: Path) -> Path:
    """Where an environment's packages lie."""
    return next(environment.glob("lib/python*/site-packages"), environment / "Lib/site-packages")


def installed(where: Sequence[str]) -> dict[str, str]:
    """What lies in folders of packages: name -> version; of two, the one that is imported."""
    found = ((d.metadata["Name"], d.version) for d in metadata.distributions(path=list(where)))
    return dict(
        sorted(
            {
                requirement_name(name): version for name, version in reversed([*found]) if name
            }.items()
        )
    )


def remove(key: str) -> bool:
    """Remove an environment and its record; False, and nothing done, while a process builds or uses
    it.
    """
    with files.locked(lock_of(key), timeout=0) as held:
        if not held or (path_of(key).exists() and not files.remove(path_of(key), mark_of(key))):
            return False
        record_of(key).unlink(missing_ok=True)  # alone, a record is nothing
    return True


def differences(key: str) -> Iterator[str]:
    """What an environment holds that is not as it was recorded and installed, in words."""
    record = read(key)
    if record is None:
        yield "it is incomplete"
        return
    where = site_packages(path_of(key))
    now = installed([str(where)])
    for name in sorted({*now, *record["packages"]}):
        was, found = record["packages"].get(name, "nothing"), now.get(name, "nothing")
        if was != found:
            yield f"{name}: {was} was installed, {found} was found"
    for path in sorted(where.glob("*.dist-info/RECORD")):
        for name, digest in _recorded(path):
            file = where / name
            if not file.is_file():
                yield f"{name} is missing"
            elif _base64_digest(file) != digest:
                yield f"{name} is not what was installed"


def _recorded(path: Path) -> Iterator[tuple[str, str]]:
    """The files of an installed package and their sha256, as its RECORD lists them."""
    for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8"))):
        if len(row) == 3 and row[1].startswith("sha256="):
            yield row[0], row[1].removeprefix("sha256=")


def _base64_digest(path: Path) -> str:
    digest = bytes.fromhex(files.sha256_of(path))
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
