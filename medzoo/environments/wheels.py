"""Wheels that travel with models: those of an environment, and a folder of those that were brought.

Without a network, environments are built from the wheels in the folder ``wheels`` of the cache.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.tags import Tag, parse_tag
from packaging.utils import parse_wheel_filename

from .. import settings
from ..config import requirement_name
from ..errors import BuildError
from ..scratch import scratch
from .recipe import Recipe
from .shared import site_packages
from .uv import uv

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Wheel:
    """A wheel on a package index."""

    name: str  # of the file
    url: str
    sha256: str  # as the index states it; empty if it states none


def folder() -> Path:
    """The folder of wheels that were brought."""
    return settings.cache_folder() / "wheels"


def mark() -> Path:
    """The empty file that processes lock while they use the wheels that were brought."""
    return settings.cache_folder() / "locks" / "wheels.use"


def are_used() -> bool:
    """Whether environments are built from the wheels that were brought."""
    return settings.offline() and any(folder().glob("*.whl"))


def of(environment: Path, program: Path, recipe: Recipe, arguments: tuple[str, ...]) -> list[Wheel]:
    """The wheels that an environment was installed from, where the package index has them.

    Parameters
    ----------
    environment, program : Path
        The environment, and its Python.
    recipe : Recipe
        What it was built from.
    arguments : tuple of str
        The arguments of uv that say where packages come from.

    Raises
    ------
    BuildError
        The index does not have them any more, or a package was built from source.
    """
    failure = f"The wheels of {environment.name} were not found"
    tags = _installed_tags(environment)
    with scratch("wheels") as aside:
        pins = aside / "pins.txt"
        lines = [f"{name}=={version}" for name, (version, _) in tags.items()]
        pins.write_text("\n".join(lines), encoding="utf-8")
        command = ("pip", "compile", "--no-deps", "--format", "pylock.toml", "--python", program)
        listed = tomllib.loads(uv(*command, *arguments, pins, failure=failure))
    wheels = []
    for package in listed["packages"]:
        _, installed = tags[requirement_name(package["name"])]
        fitting = [w for w in map(_wheel, package.get("wheels", ())) if _tags_of(w) & installed]
        # An index may hold further builds of the same version.
        wanted = [w for w in fitting if w.sha256 in recipe.digests] or fitting
        if not wanted:
            raise BuildError(
                f"{failure}: {package['name']} {package['version']} has no wheel for this machine.",
                "Put one into a folder that UV_FIND_LINKS names.",
            )
        wheels.append(wanted[0])
    return wheels


def _installed_tags(environment: Path) -> dict[str, tuple[str, set[Tag]]]:
    """The packages of an environment: name -> version, and the tags of its wheel."""
    packages = {}
    for distribution in metadata.distributions(path=[str(site_packages(environment))]):
        tags = set[Tag]()
        for line in (distribution.read_text("WHEEL") or "").splitlines():
            if line.startswith("Tag: "):
                tags |= parse_tag(line.removeprefix("Tag: "))
        packages[requirement_name(distribution.metadata["Name"])] = distribution.version, tags
    return packages


def _wheel(entry: Mapping[str, Any]) -> Wheel:
    url = entry["url"]
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    return Wheel(name, url, entry.get("hashes", {}).get("sha256", ""))


def _tags_of(wheel: Wheel) -> frozenset[Tag]:
    return parse_wheel_filename(wheel.name)[3]
