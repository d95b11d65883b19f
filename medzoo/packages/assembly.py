"""Packages of several files: a remote folder, or an archive and files with their own addresses.

Each file is downloaded and verified for itself, exactly as an archive is: `components` makes one
version of it. An assembled package has its own name in the cache, which depends on the names
and the digests of all its files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath

from .. import files
from ..config import ModelConfig, Version
from ..errors import IntegrityError, SourceError
from ..plugins import plugin
from . import download
from .download import Archive, Place


@dataclass(frozen=True)
class Assembly:
    """The verified files of a version: an archive or None, and single files by their names."""

    archive: Archive | None
    parts: Mapping[str, Archive] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The name of the package in the cache."""
        if self.archive and not self.parts:
            return self.archive.sha256
        entries = sorted(self.digests.items())
        return hashlib.sha256(json.dumps(entries).encode()).hexdigest()

    @property
    def digests(self) -> dict[str, str]:
        """Name of an archive, or of a file in the package -> sha256."""
        digests = {self.archive.path.name: self.archive.sha256} if self.archive else {}
        return digests | {name: part.sha256 for name, part in self.parts.items()}


def fetch(
    config: ModelConfig, version: Version, *, trust: bool = False, progress: bool | None = None
) -> Assembly:
    """All files of a version whose source is on a network.

    Raises
    ------
    SourceError, IntegrityError, TrustError, OSError
        As `medzoo.packages.download.fetch`. Without ``trust``, nothing is fetched if one of the
        files has no digest.
    """
    wanted = components(version)
    for component in wanted.values():
        download.require_digest(config, component, trust=trust)
    fetch_one = partial(download.fetch, config, trust=trust, progress=progress)
    return _assembly({name: fetch_one(component) for name, component in wanted.items()})


def components(version: Version) -> dict[str, Version]:
    """One version for each file to download: the archive, whose name is empty, and single files by
    their names in the package.

    Raises
    ------
    SourceError
        The files of a folder are not known.
    """
    scheme, _, location = version.source.partition(":")
    alone = replace(version, files={}, parts={}, sha256_unconfirmed="", size=None)
    versions: dict[str, Version] = {}
    if not is_folder(version):
        versions[""] = replace(version, parts={})
    else:
        source = plugin("source", scheme)
        for name in _checked_names(version, version.files or source.listing(location)):
            versions[name] = replace(
                alone,
                source=f"{scheme}:{source.within(location, name)}",
                sha256=version.files.get(name, ""),
                sha1="",
                md5="",
                mirrors=tuple(f"{mirror.rstrip('/')}/{name}" for mirror in version.mirrors),
            )
    for name, part in version.parts.items():
        versions[name] = replace(
            alone,
            source=part.source,
            sha256=part.sha256,
            sha1=part.sha1,
            md5=part.md5,
            size=part.size,
            mirrors=part.mirrors,
        )
    return versions


def is_folder(version: Version) -> bool:
    """Whether the source of a version is a folder on a network."""
    scheme, _, location = version.source.partition(":")
    return scheme in {"hf", "https"} and bool(plugin("source", scheme).is_folder(location))


def is_single(version: Version) -> bool:
    """Whether a version is one archive."""
    return not version.parts and not is_folder(version)


def _checked_names(version: Version, names: Collection[str]) -> list[str]:
    """The names of the files of a folder, without those of git's own."""
    if len(names) > files.MAX_FILES:
        raise SourceError(f"{version.source} has {len(names):,} files.", "Name those to fetch.")
    checked = []
    for name in sorted(names):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise SourceError(
                f"{version.source} has a file {name!r}, which no folder here can have.",
                "Nothing was fetched.",
            )
        if not path.name.startswith(".git") and not files.is_strewn(path):
            checked.append(name)
    return checked


# -------------------------------------------------------------------------------------------------
# what is in the cache
def places(config: ModelConfig, version: Version) -> dict[str, Place]:
    """The places of the files of a version in the cache; none if its files are not known.

    Raises
    ------
    IntegrityError
        As `medzoo.packages.download.place`.
    """
    try:
        wanted = components(version) if version.files or not is_folder(version) else {}
        scheme, _, location = version.source.partition(":")
        if not wanted and plugin("source", scheme).is_asked(location):
            wanted = components(version)
    except SourceError:
        return {}
    return {name: download.place(config, component) for name, component in wanted.items()}


def cached(config: ModelConfig, version: Version) -> Assembly | None:
    """The files of a version in the cache, without verifying them; None if some are not there."""
    here = places(config, version)
    if not here or not all(place.sha256 and place.path.is_file() for place in here.values()):
        return None
    return _assembly({name: Archive(p.path, p.sha256) for name, p in here.items()})


def _assembly(archives: dict[str, Archive]) -> Assembly:
    parts = {name: archive for name, archive in archives.items() if name}
    return Assembly(archives.get(""), parts)


# -------------------------------------------------------------------------------------------------
# the package on the disk
def put(parts: Mapping[str, Archive], folder: Path) -> None:
    """Put single files into a package, as hard links where the disk has them."""
    needed = sum(part.path.stat().st_size for part in parts.values())
    files.require_space(folder, needed)
    for name, part in parts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a pointer that the archive has in its place
        try:
            os.link(part.path, path)
        except OSError:
            shutil.copyfile(part.path, path)


def difference(assembly: Assembly, target: Path, top: Path) -> tuple[str, str, str] | None:
    """The first file of a package that was changed since: its name and both sha256.

    Parameters
    ----------
    assembly : Assembly
        What it was made of.
    target, top : Path
        Its folder in the cache, and the folder in it that holds the single files.

    Raises
    ------
    IntegrityError
        The archive is broken.
    """
    beside = {(top / name).relative_to(target).as_posix() for name in assembly.parts}
    if assembly.archive:
        changed = files.difference(assembly.archive.path, target, beside)
        if changed:
            return changed
    for name, part in assembly.parts.items():
        path = top / name
        actual = files.sha256_of(path) if path.is_file() else "no such file"
        if actual != part.sha256:
            return path.relative_to(target).as_posix(), part.sha256, actual
    if not assembly.archive:
        for path in sorted(target.rglob("*")):
            inside = path.relative_to(target)
            if not path.is_file() or files.is_strewn(inside) or inside.as_posix() in beside:
                continue
            return inside.as_posix(), "no such file", files.sha256_of(path)
    return None


def require_real(assembly: Assembly, label: str) -> None:
    """Raise IntegrityError if a single file is a git-lfs pointer or a web page."""
    for name, part in assembly.parts.items():
        disguise = files.disguise(part.path)
        if disguise:
            raise IntegrityError(
                f"{label}: its file {name} is {disguise}.", "Nothing of the package was run."
            )
