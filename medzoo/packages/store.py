"""The store: fetches, unpacks and verifies the package of a version."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

from .. import checks, files, settings
from ..config import REMOTE, ModelConfig, Version, medigan, name_of
from ..errors import IntegrityError, SourceError, TrustError
from ..registry import PACKAGE_CONFIG, is_local, registry, resolve
from . import assembly, download, revoked, sources
from .assembly import Assembly
from .download import PUBLISHED, Archive

# contract -> file of its package that is read first
FIRST_FILE = {
    "native": "model.py",
    "medigan": "__init__.py",
    "monai": "configs/metadata.json",
}
KINDS_OF_CODE = {".py", ".safetensors", ".json", ".npz", ".onnx"}
# Scripts that people run and medzoo never does: a package's own, and what the scripts of the
# bundled packages share, which lies beside their folders.
TRAINING = ("train.py", "training.py")


@dataclass(frozen=True)
class Package:
    """A package whose files have the digests of the registry."""

    path: Path
    digests: dict[str, str]  # file (or archive) -> sha256
    # As long as this object exists, the package cannot be removed from the cache.
    held: files.Hold | None = field(default=None, repr=False, compare=False)


def package(
    config: ModelConfig, version: Version, *, trust: bool = False, progress: bool | None = None
) -> Package:
    """Fetch and verify the package of a version, and unpack it if it is an archive.

    Parameters
    ----------
    config, version : ModelConfig, Version
        The model.
    trust : bool, optional
        Whether to accept a package for which neither registry nor source has a digest.
    progress : bool, optional
        Whether to draw a bar during the download. By default, only at a terminal.

    Returns
    -------
    Package
        The verified folder and its digests.

    Raises
    ------
    SourceError
        The package cannot be fetched.
    IntegrityError
        A file differs from its digest, or an archive is broken.
    TrustError
        There is no digest to compare with, and ``trust`` is not set.
    """
    checks.flag(trust, "trust")
    verified = _verified(config, version, trust=trust, progress=progress)
    revoked.check(name_of(config, version), verified.digests.values())
    return verified


def _verified(
    config: ModelConfig, version: Version, *, trust: bool, progress: bool | None
) -> Package:
    """The package, whether it was revoked or not."""
    try:
        if version.scheme in REMOTE:
            with download.using(config.id):
                made_of = assembly.fetch(config, version, trust=trust, progress=progress)
                return _unpacked(config, version, made_of, downloaded=True)
        source = sources.local(config, version)
        if source.is_dir():
            return Package(source, _verify_folder(config, version, source, trust=trust))
        archive = _verify_archive(config, version, source, trust=trust)
        return _unpacked(config, version, Assembly(archive), downloaded=False)
    except SourceError as error:
        if version.scheme not in REMOTE:
            raise
        hints = filter(None, (error.hint, without_network(config)))
        raise SourceError(error.problem, "\n".join(hints)) from error
    except OSError as error:
        raise disk_error(f"{config.id}, version {version.name}", error) from error


def disk_error(label: str, error: OSError) -> SourceError:
    """The error if the disk cannot take what ``label`` names."""
    problem = str(error)
    hint = "MEDZOO_CACHE names another folder to download and unpack to."
    if error.errno == errno.ENOSPC:
        problem = f"the disk of {settings.cache_folder()} is full ({error.strerror})"
        hint = f"`medzoo cache` lists what can be removed; {hint}"
    return SourceError(f"{label}, could not be prepared: {problem}.", hint)


def without_network(config: ModelConfig) -> str:
    """A hint for work without a network: a bundled version of the model, or a similar model."""
    for version in config.versions.values():
        if version.scheme == "bundled":
            return f"Its version {version.name} comes with medzoo: version={version.name!r}."
    bundled = [c for c in registry().configs.values() if c.default.scheme == "bundled"]
    if not bundled:
        return ""
    bundled.sort(key=attrgetter("id"))
    closest = max(bundled, key=partial(_similarity, config))
    return f"Of the models that come with medzoo, {closest.id} is closest: {closest.name}."


def _similarity(first: ModelConfig, second: ModelConfig) -> tuple[bool, bool, int, int]:
    """How similar two models are: in modality, organ, kinds of outputs, and words."""
    modality = first.modality.casefold() == second.modality.casefold()
    organ = first.organ.casefold() == second.organ.casefold()
    kinds = _kinds(first) & _kinds(second)
    words = _words(first) & _words(second)
    return modality, organ, len(kinds), len(words)


def _kinds(config: ModelConfig) -> set[str]:
    return {output.kind for output in config.default.outputs.values()} - {"label"}


def _words(config: ModelConfig) -> set[str]:
    """The words of more than four letters in content, name and tags."""
    text = " ".join([config.content, config.name, *config.tags])
    return set(re.findall(r"\S{5,}", text.casefold()))


def _verify_folder(
    config: ModelConfig, version: Version, folder: Path, *, trust: bool
) -> dict[str, str]:
    """The digests of the files of a package, compared with those of the config if it has any."""
    require_whole(config, version, folder)
    if not version.files:
        if trust or is_local(config):  # the user may edit the files
            names = dict.fromkeys(package_files(folder))
            for name in version.named_files:  # of any suffix
                if (folder / name).is_file():
                    names[name] = None
            return {name: files.sha256_of(folder / name) for name in names}
        raise TrustError(
            f"{config.id}, version {version.name}, names no `files:` with their sha256.",
            "`medzoo contribute pack` writes them; trust=True (--trust) runs it as it is.",
        )
    digests = {}
    for name, expected in version.files.items():
        path = folder / name
        actual = files.sha256_of(path) if path.is_file() else "no such file"
        if actual != expected:
            done = "It was left as it is, and nothing of it was run."
            raise mismatch(config, version, path, expected, actual, done)
        digests[name] = actual
    # Code without a digest could be imported by code with one.
    for name in package_files(folder):
        if name not in digests:
            path, done = folder / name, "Nothing of the package was run."
            raise mismatch(config, version, path, "no such file", files.sha256_of(path), done)
    return digests


def require_whole(config: ModelConfig, version: Version, folder: Path) -> None:
    """Raise IntegrityError if a file of a package is a git-lfs pointer or a web page."""
    for name in [*package_files(folder), *version.named_files]:
        disguise = files.disguise(folder / name)
        if disguise:
            raise IntegrityError(
                f"{config.id}, version {version.name}: {folder / name} is {disguise}.",
                "Nothing of the package was run.",
            )


def _verify_archive(
    config: ModelConfig, version: Version, archive: Path, *, trust: bool
) -> Archive:
    sha256 = files.sha256_of(archive)
    actual, expected = sha256, version.sha256
    for kind in PUBLISHED:
        stated = getattr(version, kind)
        if stated and not expected:
            actual, expected = files.digest_of(archive, kind), stated
    if expected and actual != expected:
        done = "It was left as it is, and nothing was unpacked."
        raise mismatch(config, version, archive, expected, actual, done)
    if not expected and not trust:
        raise TrustError(
            f"{config.id}, version {version.name}, names no sha256 for {archive.name}.",
            f"trust=True (--trust) runs it. Better: `sha256: {sha256}` in {config.path}.",
        )
    return Archive(archive, sha256)


def _unpacked(
    config: ModelConfig, version: Version, made_of: Assembly, *, downloaded: bool
) -> Package:
    """The package in an archive, or of several files, unpacked now or earlier."""
    key, label = made_of.key, f"{config.id}, version {version.name}"
    target = settings.cache_folder() / "packages" / key
    assembly.require_real(made_of, label)
    held = files.hold(mark_of(key))
    is_new = False

    def unpacked_so_far() -> Iterator[Path]:
        return target.parent.glob(f".{target.name}.*/**/*")

    if not target.is_dir():
        with files.locked(lock_of(key), 60, unpacked_so_far):
            is_new = not target.is_dir()  # else another process unpacked it in the meantime
            if is_new:
                _unpack(config, version, made_of, target, downloaded=downloaded)
    try:
        changed = None if is_new else difference(version, made_of, target)
    except IntegrityError as error:
        archive = made_of.archive
        assert archive is not None  # noqa: S101  (only an archive can be broken)
        raise _broken(config, version, archive.path, error, downloaded=downloaded) from error
    if changed:
        name, expected, actual = changed
        done = f"Nothing of it was run. Remove {target}, and it will be unpacked again."
        raise mismatch(config, version, target / name, expected, actual, done)
    folder = _top(target, version)
    require_whole(config, version, folder)
    return Package(folder, made_of.digests, held)


def difference(version: Version, made_of: Assembly, target: Path) -> tuple[str, str, str] | None:
    """The first file of an unpacked package that was changed since: its name and both sha256.

    Raises
    ------
    IntegrityError
        The archive is broken.
    """
    return assembly.difference(made_of, target, _top(target, version) if made_of.parts else target)


def lock_of(sha256: str) -> Path:
    """The lock of the process that unpacks the archive with a digest."""
    return settings.cache_folder() / "locks" / f"{sha256[:16]}.lock"


def mark_of(sha256: str) -> Path:
    """The empty file that processes lock while they use the package from an archive."""
    return settings.cache_folder() / "locks" / f"{sha256[:16]}.use"


def _unpack(
    config: ModelConfig, version: Version, made_of: Assembly, target: Path, *, downloaded: bool
) -> None:
    archive = made_of.archive
    with files.folder_aside(target) as aside:
        if archive:
            try:
                files.unpack(archive.path, aside)
            except IntegrityError as error:
                raise _broken(
                    config, version, archive.path, error, downloaded=downloaded
                ) from error
        assembly.put(made_of.parts, _top(aside, version))


def _broken(
    config: ModelConfig,
    version: Version,
    archive: Path,
    error: IntegrityError,
    *,
    downloaded: bool,
) -> IntegrityError:
    """The error for an archive that cannot be unpacked. A downloaded archive is removed."""
    problem = f"{config.id}, version {version.name}: {error.problem}"
    if not downloaded:
        return IntegrityError(problem, error.hint)
    is_page = files.disguise(archive)
    archive.unlink(missing_ok=True)
    hint = "If that does not help, the published file itself is broken: tell its author."
    return IntegrityError(
        f"{problem}\nIt was removed from the cache, so the next call downloads it again.",
        "Does this network need a login?" if is_page else hint,
    )


def _top(folder: Path, version: Version) -> Path:
    """The folder of the package in an unpacked zip: the uppermost one with the file to import."""
    first_file, level = FIRST_FILE[version.contract], [folder]
    while level:
        packages = [candidate for candidate in level if (candidate / first_file).is_file()]
        if packages:
            return packages[0] if len(packages) == 1 else folder
        level = list(chain.from_iterable(map(_subfolders, level)))
    return folder  # the error comes when the package is loaded


def _subfolders(folder: Path) -> list[Path]:
    paths = sorted(folder.iterdir())
    return [path for path in paths if path.is_dir() and not files.is_strewn(Path(path.name))]


def mismatch(  # noqa: PLR0917
    config: ModelConfig, version: Version, path: Path, expected: str, actual: str, done: str
) -> IntegrityError:
    """The error for a file that differs from its digest; ``done`` says what was done with it."""
    disguise = files.disguise(path)
    if disguise:
        return IntegrityError(f"{path} is {disguise}.", done)
    return IntegrityError(
        f"{path} is not the file that {config.id}, version {version.name}, registers.\n"
        f"  expected {expected}\n  found    {actual}",
        f"{done} Fetch it again. If it was changed on purpose, "
        f"`medzoo copy {config.number} DIR` makes a copy to edit.",
    )


def package_files(folder: Path) -> list[str]:
    """The files that take part in a run: code and weights, but no cards, pictures or caches."""
    names = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.name in {*TRAINING, "expected.npz"} or path.suffix not in KINDS_OF_CODE:
            continue
        if path.is_file() and not any(map(_is_hidden, name.parts)):
            names.append(name.as_posix())
    return sorted(names)


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__pycache__"))


@checks.checked()
def copy(
    model_id: int | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    version: str | None = None,
) -> Path:
    """Copy the package of a model into a folder, to edit it.

    The copy has the code, the weights, the training scripts, the card and a config.
    ``medzoo.generate(folder, n=4, trust=True)`` runs it. Its samples are recorded as those of an
    unregistered model, with the digests that the files have at that time.

    Parameters
    ----------
    model_id : int, str or path
        The number of a model, its id, the beginning of its id, or the path of a package folder.
    folder : str or path
        The folder to write. It must not exist, or be empty.
    version : str, optional
        The version of the model. The default version if not given.

    Returns
    -------
    pathlib.Path
        The folder. `medzoo.generate` accepts it in place of an id.

    Raises
    ------
    InputError
        An argument has the wrong type.
    ModelNotFoundError
        There is no such model or version.
    SourceError
        The package cannot be fetched.
    IntegrityError
        A file of the package differs from its digest.
    DatasetError
        The folder holds something, or cannot be written.

    Examples
    --------
    >>> folder = medzoo.copy(8, "my_model")
    >>> for path in sorted(folder.iterdir()):
    ...     print(path)
    my_model/README.md
    my_model/config.yaml
    ...
    my_model/weights.safetensors
    """
    import yaml  # not needed to generate

    config = resolve(model_id)
    chosen = config.version(version)
    target = settings.user_path(folder, "folder")
    with files.new_folder(target) as aside:
        verified = package(config, chosen, trust=True)  # nothing of it is run
        for path in sorted(verified.path.rglob("*")):
            name = path.relative_to(verified.path)
            if path.is_file() and not files.is_strewn(name):
                _copy_content(path, aside / name)
        script, shared = TRAINING
        if chosen.scheme == "bundled" and (aside / script).exists():
            _copy_content(verified.path.parent / shared, aside / shared)
        if chosen.lock:
            _copy_content(config.path.parent / chosen.lock, aside / chosen.lock)
        text = yaml.safe_dump(
            _config_of_copy(config, chosen), sort_keys=False, allow_unicode=True, width=100
        )
        (aside / PACKAGE_CONFIG).write_text(text, encoding="utf-8")
    return target


def _copy_content(source: Path, target: Path) -> None:
    """Copy a file without its permissions: an installed file may be read-only."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _config_of_copy(config: ModelConfig, version: Version) -> dict[str, Any]:
    """The config for an edited copy of one version: without digests, and with a local source."""
    content: dict[str, Any]
    if config.path.name in medigan.FILES:
        content, _ = medigan.content_of(config.path)
    else:
        import yaml

        content = yaml.safe_load(config.path.read_text(encoding="utf-8"))
    kept = content["versions"][version.name]
    for key in (
        "files",
        "parts",
        "sha256",
        "sha256_unconfirmed",
        "sha1",
        "md5",
        "doi",
        "mirrors",
        "size",
    ):
        kept.pop(key, None)
    kept["source"] = "file:."
    return content | {"default_version": version.name, "versions": {version.name: kept}}
