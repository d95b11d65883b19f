"""From a version to a verified package folder on this disk."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from . import files, settings, sources
from .config import ModelConfig, Version
from .errors import DatasetError, IntegrityError, SourceError
from .registry import PACKAGE_CONFIG, is_local, resolve


@dataclass(frozen=True)
class Package:
    """A package whose files are what the registry says they are."""

    path: Path
    digests: dict[str, str]  # file (or archive) -> sha256


def package(config: ModelConfig, version: Version) -> Package:
    """Fetch, verify and where needed unpack the package of a version.

    Raises
    ------
    SourceError, NotAvailableError
        It cannot be fetched.
    IntegrityError
        A file differs from its digest, or a registered version has none.
    """
    found = sources.fetch(config, version)
    try:
        if found.is_dir():
            return Package(found, _verify_folder(config, version, found))
        return _unpacked(config, version, found)
    except OSError as error:
        raise SourceError(f"{config.id}, version {version.name}, could not be made ready from {found}: {error}.",
                          "MEDZOO_CACHE names another folder to unpack to.") from error  # fmt: skip


def _verify_folder(config: ModelConfig, version: Version, folder: Path) -> dict[str, str]:
    if not version.files and is_local(config):  # the user's own, to be edited: its digests are recorded, not enforced
        return {f: files.sha256_of(folder / f) for f in package_files(folder)}
    if not version.files:
        raise IntegrityError(f"{config.id}, version {version.name}, names no `files:` with their sha256.",
                             "`medzoo contribute pack` writes them.")  # fmt: skip
    digests = {}
    for name, expected in version.files.items():
        path = folder / name
        digests[name] = found = files.sha256_of(path) if path.is_file() else "no such file"
        if found != expected:
            raise mismatch(config, version, path, expected, found, "It was left as it is, and nothing of it was run.")
    for name in package_files(folder):
        if name not in digests:  # code that no digest covers may be imported by code that one does
            found = files.sha256_of(folder / name)
            raise mismatch(config, version, folder / name, "no such file", found, "Nothing of the package was run.")
    return digests


def _unpacked(config: ModelConfig, version: Version, archive: Path) -> Package:
    found = files.sha256_of(archive)
    if not version.sha256:
        raise IntegrityError(f"{config.id}, version {version.name}, names no sha256 for {archive.name}.",
                             f"If you trust the file, add `sha256: {found}` to {config.path}.")  # fmt: skip
    if found != version.sha256:
        raise mismatch(config, version, archive, version.sha256, found, "It was left as it is, and nothing was unpacked.")
    target = settings.cache_folder() / "packages" / found
    if not target.is_dir():
        with files.folder_aside(target) as aside:
            files.unpack(archive, aside)
    elif changed := files.difference(archive, target):
        name, expected, found_now = changed
        done = f"Nothing of it was run. Remove {target}, and it is unpacked anew."
        raise mismatch(config, version, target / name, expected, found_now, done)
    return Package(_inner(target), {archive.name: found})


def _inner(folder: Path) -> Path:
    """The one folder that a zip holds, where it holds nothing else."""
    inside = [p for p in folder.iterdir() if p.name not in files.IGNORED]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def mismatch(  # noqa: PLR0917
    config: ModelConfig, version: Version, path: Path, expected: str, found: str, done: str
) -> IntegrityError:
    """The error for a file that differs from its digest."""
    return IntegrityError(
        f"{path} is not the file that {config.id}, version {version.name}, registers.\n"
        f"  expected {expected}\n  found    {found}",
        f"{done} Fetch it again; if it was changed on purpose, `medzoo copy {config.number} DIR` gives a copy to edit.",
    )


def package_files(folder: Path) -> list[str]:
    """The files of a package that can take part in a run: code and weights, not cards, pictures or caches."""
    keep = {".py", ".safetensors", ".json", ".npz", ".onnx"}
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and p.suffix in keep)
    hidden = (p for p in found if not any(part.startswith((".", "__pycache__")) for part in p.parts))
    return sorted(p.as_posix() for p in hidden if p.name not in {"train.py", "expected.npz"})


def copy(model_id: int | str | os.PathLike[str], folder: str | os.PathLike[str], *, version: str | None = None) -> Path:
    """An editable copy of a model's package: code, weights, training script, card, and a config of its own.

    What the copy generates is recorded as unregistered, with the digests of its files as they are then.

    Parameters
    ----------
    model_id, version
        As in `medzoo.generate`.
    folder
        A new or empty folder.

    Returns
    -------
    pathlib.Path
        The folder, which `medzoo.generate` takes in place of an id.

    Raises
    ------
    DatasetError
        The folder holds something, or cannot be written.
    MedzooError
        The model cannot be found, fetched or verified.
    """
    config = resolve(model_id)
    chosen = config.version(version)
    found = package(config, chosen)
    target = settings.user_path(folder, "folder")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DatasetError(f"{target} holds something already.", "Nothing was changed. Choose another folder.")
    content = yaml.safe_load(config.path.read_text(encoding="utf-8"))
    kept = content["versions"][chosen.name]
    for key in ("files", "sha256", "md5", "size"):
        kept.pop(key, None)
    kept["source"] = "file:."
    content |= {"default_version": chosen.name, "versions": {chosen.name: kept}}
    try:
        inside = [p.relative_to(found.path) for p in sorted(found.path.rglob("*")) if p.is_file()]
        if target.exists():
            target.rmdir()
        with files.folder_aside(target) as aside:
            for name in (p for p in inside if not files.IGNORED & set(p.parts)):
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(found.path / name, aside / name)  # content alone: an installed file may be read-only
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
            (aside / PACKAGE_CONFIG).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{target} could not be written: {error}.", "Choose another folder.") from error
    return target
