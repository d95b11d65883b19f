"""From a version to a verified package folder on this disk."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from .. import checks, files, settings
from ..config import REMOTE, ModelConfig, Version, medigan
from ..errors import IntegrityError, SourceError, TrustError
from ..registry import PACKAGE_CONFIG, is_local, registry, resolve
from . import sources
from .download import Archive

FIRST_FILE = {
    "native": "model.py",
    "medigan": "__init__.py",
}  # contract -> the file that a package begins with


@dataclass(frozen=True)
class Package:
    """A package whose files are what the registry says they are."""

    path: Path
    digests: dict[str, str]  # file (or archive) -> sha256
    held: files.Hold | None = field(
        default=None, repr=False, compare=False
    )  # as long as it lives, the cache keeps the package


def package(
    config: ModelConfig, version: Version, *, trust: bool = False, progress: bool | None = None
) -> Package:
    """Fetch, verify and where needed unpack the package of a version.

    Parameters
    ----------
    trust
        Whether to take a package of which neither registry nor source has a digest.
    progress
        Whether to draw a bar while it downloads; only at a terminal if None.

    Raises
    ------
    SourceError
        It cannot be fetched.
    IntegrityError
        A file differs from its digest, or an archive is broken.
    TrustError
        There is no digest to compare with, and ``trust`` is not given.
    """
    checks.flag(trust, "trust")
    try:
        found = sources.fetch(config, version, trust=trust, progress=progress)
        if isinstance(found, Archive):
            return _unpacked(config, version, found, downloaded=True)
        if found.is_dir():
            return Package(found, _verify_folder(config, version, found, trust=trust))
        return _unpacked(
            config, version, _verify_archive(config, version, found, trust=trust), downloaded=False
        )
    except SourceError as error:
        if version.scheme not in REMOTE:
            raise
        raise SourceError(
            error.problem, "\n".join(filter(None, (error.hint, without_network(config))))
        ) from error
    except OSError as error:
        full = error.errno == errno.ENOSPC
        why = (
            f"the disk of {settings.cache_folder()} is full ({error.strerror})"
            if full
            else str(error)
        )
        raise SourceError(
            f"{config.id}, version {version.name}, could not be prepared: {why}.",
            "`medzoo cache` lists what can go; " * full
            + "MEDZOO_CACHE names another folder to download and unpack to.",
        ) from error


def without_network(config: ModelConfig) -> str:
    """What to run without a network: the model's own bundled version, or the bundled model that is
    most like it.
    """
    if own := [v.name for v in config.versions.values() if v.scheme == "bundled"]:
        return f"Its version {own[0]} comes with medzoo: version={own[0]!r}."

    def words(c: ModelConfig) -> set[str]:
        return {
            w for w in f"{c.content} {c.name} {' '.join(c.tags)}".casefold().split() if len(w) > 4
        }  # not "a" or "with"

    def kinds(c: ModelConfig) -> set[str]:
        return {o.kind for o in c.default.outputs.values()} - {"label"}

    def likeness(c: ModelConfig) -> tuple[bool, bool, int, int]:
        modality, organ = (
            getattr(c, f).casefold() == getattr(config, f).casefold() for f in ("modality", "organ")
        )
        return modality, organ, len(kinds(c) & kinds(config)), len(words(c) & words(config))

    bundled = [c for c in registry().configs.values() if c.default.scheme == "bundled"]
    if not bundled:
        return ""
    closest = max(sorted(bundled, key=lambda c: c.id), key=likeness)
    return f"Of the models that come with medzoo, {closest.id} is closest: {closest.name}."


def _verify_folder(
    config: ModelConfig, version: Version, folder: Path, *, trust: bool
) -> dict[str, str]:
    require_whole(config, version, folder)
    if not version.files and (
        trust or is_local(config)
    ):  # to be edited: its digests are recorded, not enforced
        names = dict.fromkeys(package_files(folder))
        if version.call and (folder / version.call.weights).is_file():  # of any suffix
            names[version.call.weights] = None
        return {f: files.sha256_of(folder / f) for f in names}
    if not version.files:
        raise TrustError(
            f"{config.id}, version {version.name}, names no `files:` with their sha256.",
            "`medzoo contribute pack` writes them; trust=True (--trust) runs it as it is.",
        )
    digests = {}
    for name, expected in version.files.items():
        path = folder / name
        digests[name] = found = files.sha256_of(path) if path.is_file() else "no such file"
        if found != expected:
            raise mismatch(
                config,
                version,
                path,
                expected,
                found,
                "It was left as it is, and nothing of it was run.",
            )
    for name in package_files(folder):
        if name not in digests:  # code that no digest covers may be imported by code that one does
            found = files.sha256_of(folder / name)
            raise mismatch(
                config,
                version,
                folder / name,
                "no such file",
                found,
                "Nothing of the package was run.",
            )
    return digests


def require_whole(config: ModelConfig, version: Version, folder: Path) -> None:
    """Raise IntegrityError where a git-lfs pointer or a web page lies in place of a file of a
    package.
    """
    weights = version.call.weights if version.call else ""
    for name in [*package_files(folder), weights]:
        if disguise := files.disguise(folder / name):
            raise IntegrityError(
                f"{config.id}, version {version.name}: {folder / name} is {disguise}.",
                "Nothing of the package was run.",
            )


def _verify_archive(
    config: ModelConfig, version: Version, archive: Path, *, trust: bool
) -> Archive:
    sha256 = files.sha256_of(archive)
    found, expected = sha256, version.sha256
    if version.md5 and not version.sha256:
        found, expected = files.digest_of(archive, "md5"), version.md5
    if expected and found != expected:
        raise mismatch(
            config,
            version,
            archive,
            expected,
            found,
            "It was left as it is, and nothing was unpacked.",
        )
    if not expected and not trust:
        raise TrustError(
            f"{config.id}, version {version.name}, names no sha256 for {archive.name}.",
            f"trust=True (--trust) runs it. Better: `sha256: {found}` in {config.path}.",
        )
    return Archive(archive, sha256)


def _unpacked(
    config: ModelConfig, version: Version, archive: Archive, *, downloaded: bool
) -> Package:
    cache, new = settings.cache_folder(), False
    target = cache / "packages" / archive.sha256
    held = files.hold(mark_of(archive.sha256))
    if not target.is_dir():
        with files.locked(
            lock_of(archive.sha256), 60, lambda: target.parent.glob(f".{target.name}.*/**/*")
        ):
            if new := not target.is_dir():
                _unpack(config, version, archive.path, target, downloaded=downloaded)
    try:
        changed = None if new else files.difference(archive.path, target)
    except IntegrityError as error:
        raise _broken(config, version, archive.path, error, downloaded=downloaded) from error
    if changed:
        name, expected, found_now = changed
        done = f"Nothing of it was run. Remove {target}, and it will be unpacked again."
        raise mismatch(config, version, target / name, expected, found_now, done)
    folder = _top(target, version)
    require_whole(config, version, folder)
    return Package(folder, {archive.path.name: archive.sha256}, held)


def lock_of(sha256: str) -> Path:
    """The lock of the process that unpacks the archive of that digest."""
    return settings.cache_folder() / "locks" / f"{sha256[:16]}.lock"


def mark_of(sha256: str) -> Path:
    """The empty file that marks the use of the package in the archive of that digest."""
    return settings.cache_folder() / "locks" / f"{sha256[:16]}.use"


def _unpack(
    config: ModelConfig, version: Version, archive: Path, target: Path, *, downloaded: bool
) -> None:
    try:
        with files.folder_aside(target) as aside:
            files.unpack(archive, aside)
    except IntegrityError as error:
        raise _broken(config, version, archive, error, downloaded=downloaded) from error


def _broken(
    config: ModelConfig,
    version: Version,
    archive: Path,
    error: IntegrityError,
    *,
    downloaded: bool,
) -> IntegrityError:
    """The error for an archive that cannot be unpacked, which is removed if it was downloaded."""
    problem = f"{config.id}, version {version.name}: {error.problem}"
    if not downloaded:
        return IntegrityError(problem, error.hint)
    is_page = files.disguise(archive)
    archive.unlink(missing_ok=True)
    hint = "If that does not help, the published file itself is at fault: tell its author."
    return IntegrityError(
        f"{problem}\nIt was removed from the cache, so the next call downloads it again.",
        "Does this network need a login?" if is_page else hint,
    )


def _top(folder: Path, version: Version) -> Path:
    """The folder of the package in what a zip held: the uppermost one with the file that its
    contract begins with.
    """
    first, level = FIRST_FILE[version.contract], [folder]
    while level:
        if found := [p for p in level if (p / first).is_file()]:
            return found[0] if len(found) == 1 else folder
        level = [
            p
            for parent in level
            for p in sorted(parent.iterdir())
            if p.is_dir() and not files.is_strewn(Path(p.name))
        ]
    return folder  # loading the package says what is missing


def mismatch(  # noqa: PLR0917
    config: ModelConfig, version: Version, path: Path, expected: str, found: str, done: str
) -> IntegrityError:
    """The error for a file that differs from its digest."""
    if disguise := files.disguise(path):
        return IntegrityError(f"{path} is {disguise}.", done)
    return IntegrityError(
        f"{path} is not the file that {config.id}, version {version.name}, registers.\n"
        f"  expected {expected}\n  found    {found}",
        f"{done} Fetch it again; if it was changed on purpose, `medzoo copy {config.number} DIR` gives a copy to edit.",
    )


def package_files(folder: Path) -> list[str]:
    """The files of a package that can take part in a run: code and weights, not cards, pictures or
    caches.
    """
    keep = {".py", ".safetensors", ".json", ".npz", ".onnx"}
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and p.suffix in keep)
    hidden = (
        p for p in found if not any(part.startswith((".", "__pycache__")) for part in p.parts)
    )
    return sorted(p.as_posix() for p in hidden if p.name not in {"train.py", "expected.npz"})


@checks.checked()
def copy(
    model_id: int | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    version: str | None = None,
) -> Path:
    """An editable copy of a model's package: code, weights, training script, card, and its own
    config.

    What the copy generates is recorded as unregistered, with the digests of its files as they are
    then.

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
    target = settings.user_path(folder, "folder")
    if config.path.name in medigan.FILES:
        content, _ = medigan.content_of(config.path)
    else:
        content = yaml.safe_load(config.path.read_text(encoding="utf-8"))
    kept = content["versions"][chosen.name]
    for key in ("files", "sha256", "sha256_unconfirmed", "md5", "mirrors", "size"):
        kept.pop(key, None)
    kept["source"] = "file:."
    content |= {"default_version": chosen.name, "versions": {chosen.name: kept}}
    with files.new_folder(target) as aside:
        found = package(config, chosen, trust=True)  # nothing of it is run
        inside = {
            p.relative_to(found.path): p for p in sorted(found.path.rglob("*")) if p.is_file()
        }
        if chosen.lock:
            inside[Path(chosen.lock)] = config.path.parent / chosen.lock
        for name in (p for p in inside if not files.is_strewn(p)):
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(
                inside[name], aside / name
            )  # content alone: an installed file may be read-only
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
        (aside / PACKAGE_CONFIG).write_text(text, encoding="utf-8")
    return target
