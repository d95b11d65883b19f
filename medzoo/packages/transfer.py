"""Installing models before they are used, from a network or with a file from another machine.

The file is a zip without compression. It holds ``index.json``, the archives, ``digests.json`` with
their digests, and if wanted the wheels of their environments. When it is imported, the registry and
the recorded digests of this machine decide where an archive goes and which digest it must have. So
no name in the file can lead anywhere else.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, TypeAlias

from .. import __version__, checks, files, settings
from ..config import REMOTE, ModelConfig, Version
from ..environments import wheels as environment_wheels
from ..errors import InputError, IntegrityError, MedzooError, ModelNotFoundError, SourceError
from ..files import sha256_of
from ..registry import is_local, registry, resolve
from . import assembly, cache, download, wheels
from .preparation import prepare

INDEX, DIGESTS, FORMAT = "index.json", "digests.json", 1
WHEELS = "wheels/"
MOST = 2**24  # bytes of index.json, and of digests.json


@dataclass(frozen=True)
class Carried:
    """A model in an exported file."""

    model: str
    version: str
    name: str  # of the archive in the file
    bytes: int
    sha256: str
    here: bool = False  # whether it was in the cache before the import
    part: str = ""  # the file of the package, or a wheel; empty for its archive

    @property
    def is_wheel(self) -> bool:
        """Whether it is a wheel of the environment of the model."""
        return self.name.startswith(WHEELS)

    def __str__(self) -> str:
        of = f", {self.part}" if self.part and not self.is_wheel else ""
        return f"{self.model}, version {self.version}{of}"


Contents: TypeAlias = list[tuple[Carried, Path]]  # what a file holds, and where it lies here


@checks.checked()
def install(
    model_id: int | str | os.PathLike[str],
    *,
    version: str | None = None,
    env: str = "auto",
    trust: bool = False,
    progress: bool | None = None,
) -> Path:
    """Download and verify a model, and build its environment if it needs one.

    After that, the model runs without a network. No code of the model runs during installation.

    Parameters
    ----------
    model_id : int, str or path
        The number of a model, its id, the beginning of its id, or the path of a package folder.
    version : str, optional
        The version of the model. The default version if not given.
    env : {"auto", "current", "isolated"}, optional
        Where the model will run, as in `medzoo.generate`.
    trust : bool, optional
        Whether to accept a package without any digest, or one in a folder of the user.
    progress : bool, optional
        Whether to draw bars during the download and the build. By default, only at a terminal.

    Returns
    -------
    pathlib.Path
        The folder of the verified package.

    Raises
    ------
    InputError
        An argument has the wrong type, or ``env`` is not one of the values above.
    ModelNotFoundError
        There is no such model or version.
    SourceError
        The package cannot be fetched.
    IntegrityError
        A file of the package differs from its digest.
    TrustError
        There is no digest to compare with, and ``trust`` is not set.
    BuildError
        The environment cannot be built.

    Examples
    --------
    >>> folder = medzoo.install(8)
    >>> (folder / "model.py").is_file()
    True
    """
    config = resolve(model_id)
    chosen = config.version(version)
    verified, _ = prepare(config, chosen, env=env, trust=trust, progress=progress)
    return verified.path


# -------------------------------------------------------------------------------------------------
# exporting
@checks.checked()
def export_models(
    file: str | os.PathLike[str],
    models: Iterable[int | str],
    *,
    version: str | None = None,
    with_environments: bool = False,
    progress: bool | None = None,
) -> list[Carried]:
    """Write the archives of models to one file. Archives that are not in the cache are downloaded.

    Parameters
    ----------
    file : str or path
        The file to write.
    models : iterable of int or str
        The models, each as in `medzoo.generate`.
    version : str, optional
        The version of all these models. Their default versions if not given.
    with_environments : bool, optional
        Whether to add the wheels of their environments, for machines like this one. Environments
        that do not exist are built, and wheels are downloaded.
    progress : bool, optional
        Whether to draw a bar during downloads. By default, only at a terminal.

    Returns
    -------
    list of Carried
        The models in the file.

    Raises
    ------
    InputError
        A model is on every machine anyway, or ``file`` exists or cannot be written.
    MedzooError
        A model cannot be found, fetched or verified.
    """
    target = settings.user_path(file, "file")
    if target.exists():
        raise InputError(
            f"{target} is there already.", "Nothing was changed. Choose another name, or remove it."
        )
    chosen = _chosen(models, version)
    with _in_use(config.id for config, *_ in chosen):
        contents, digests = _gathered(chosen, progress=progress)
        if with_environments:
            of_models = {config.id: config for config, *_ in chosen}.values()
            for config in of_models:
                contents += _wheels_of(config, config.version(version), progress=progress)
        try:
            _write(target, contents, digests)
        except OSError as error:
            raise InputError(
                f"{target} could not be written: {error}.", "Choose another folder or disk."
            ) from error
    return [carried for carried, _ in contents]


@contextmanager
def _in_use(models: Iterable[str]) -> Iterator[None]:
    """While the block runs, no process removes downloads of these models, or wheels."""
    with ExitStack() as stack:
        stack.enter_context(files.using(environment_wheels.mark()))
        for model in set(models):
            stack.enter_context(download.using(model))
        yield


def _gathered(
    chosen: list[tuple[ModelConfig, Version, str]], *, progress: bool | None
) -> tuple[Contents, dict[str, dict[str, str]]]:
    """The archives to export, and the digests of each address."""
    try:
        archives = [download.fetch(c, v, progress=progress) for c, v, _ in chosen]
    except OSError as error:
        raise SourceError(
            f"{settings.cache_folder()} could not be written: {error}.",
            "MEDZOO_CACHE names another folder.",
        ) from error
    contents: Contents = []
    digests: dict[str, dict[str, str]] = {}
    for (config, chosen_version, part), archive in zip(chosen, archives, strict=True):
        name = f"downloads/{config.id}-{archive.sha256[:16]}/{archive.path.name}"
        size, sha256 = archive.path.stat().st_size, archive.sha256
        carried = Carried(config.id, chosen_version.name, name, size, sha256, part=part)
        contents.append((carried, archive.path))
        published = {kind: files.digest_of(archive.path, kind) for kind in download.PUBLISHED}
        digests[download.address(chosen_version)] = {"sha256": sha256, **published}
    return contents, digests


def _wheels_of(config: ModelConfig, version: Version, *, progress: bool | None) -> Contents:
    """The wheels of the environment of a version."""
    contents: Contents = []
    for wheel in wheels.fetch_all(config, version, progress=progress):
        name, size, sha256 = WHEELS + wheel.name, wheel.stat().st_size, sha256_of(wheel)
        carried = Carried(config.id, version.name, name, size, sha256, part=wheel.name)
        contents.append((carried, wheel))
    return contents


def _chosen(
    models: Iterable[int | str], version: str | None
) -> list[tuple[ModelConfig, Version, str]]:
    """The files to export, each once: model, version of this file, and its name in the package."""
    chosen = {}
    for config in map(resolve, models):
        chosen[config.id] = config, config.version(version)
    for config, chosen_version in chosen.values():
        if chosen_version.scheme not in REMOTE or is_local(config):
            bundled = chosen_version.scheme == "bundled"
            where = "comes with medzoo" if bundled else "lies on this machine"
            raise InputError(
                f"{config.id}, version {chosen_version.name}, {where}, and is not downloaded.",
                "Leave it out." if bundled else "Copy its folder.",
            )
    wanted = []
    for config, chosen_version in chosen.values():
        if assembly.is_folder(chosen_version) and not chosen_version.files:
            raise InputError(
                f"{config.id}, version {chosen_version.name}, names no `files` with their sha256, "
                "so another machine could not verify them.",
                "Name them in the config.",
            )
        for part, component in assembly.components(chosen_version).items():
            wanted.append((config, component, part))
    return wanted


def _write(target: Path, contents: Contents, digests: dict[str, dict[str, str]]) -> None:
    """Write the file: the index, the digests, and the archives without compression."""
    models, of_environments, listed = [], [], {}
    for carried, _ in contents:
        model = {"id": carried.model, "version": carried.version, "file": carried.name}
        if carried.is_wheel:
            of_environments.append(model)
        else:
            models.append({**model, "part": carried.part} if carried.part else model)
        listed[carried.name] = {"sha256": carried.sha256, "bytes": carried.bytes}
    index = {"format": FORMAT, "medzoo": __version__, "models": models, "files": listed}
    if of_environments:
        index["wheels"] = of_environments
    with (
        files.atomic(target.absolute(), clear=True) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed,
    ):
        packed.writestr(zipfile.ZipInfo(INDEX), json.dumps(index, indent=2))
        packed.writestr(zipfile.ZipInfo(DIGESTS), json.dumps(digests, indent=2))
        written = set[str]()
        for carried, archive in contents:
            if carried.name in written:  # the same bytes under the same name
                continue
            written.add(carried.name)
            info = zipfile.ZipInfo(carried.name)
            with archive.open("rb") as source, packed.open(info, "w", force_zip64=True) as entry:
                shutil.copyfileobj(source, entry, 2**20)


# -------------------------------------------------------------------------------------------------
# importing
@checks.checked()
def import_models(file: str | os.PathLike[str], *, trust: bool = False) -> list[Carried]:
    """Import the archives of a file of `export_models` into the cache: all of them, or none.

    Each archive must have the digest of the registry, or that of its first use on this machine.

    Parameters
    ----------
    file : str or path
        The file to read.
    trust : bool, optional
        Whether to accept archives and wheels whose digest only the file states.

    Returns
    -------
    list of Carried
        The models in the file.

    Raises
    ------
    IntegrityError
        An archive differs from its digest, or the file is broken.
    ModelNotFoundError
        The registry of this machine does not have a model, or not that version.
    TrustError
        This machine has no digest of an archive or a wheel, and ``trust`` is not set.
    SourceError
        The file cannot be read, or the cache cannot be written.
    """
    path, downloads = settings.user_path(file, "file"), settings.cache_folder() / "downloads"

    def imported_so_far() -> Iterable[Path]:
        return downloads.glob(".import.*/*")

    try:
        with ExitStack() as stack:
            content = stack.enter_context(zipfile.ZipFile(path))
            index, digests = _read(content)
            # An unknown model is an error before anything is written.
            wanted = [_registered(path, entry) for entry in index["models"]]
            stack.enter_context(_in_use(config.id for config, _ in wanted))
            downloads.mkdir(parents=True, exist_ok=True)
            files.require_space(downloads, sum(map(attrgetter("file_size"), content.infolist())))
            stack.enter_context(files.locked(cache.import_lock(), 60, imported_so_far))
            aside = Path(tempfile.mkdtemp(prefix=".import.", dir=downloads))
            stack.callback(shutil.rmtree, aside, ignore_errors=True)
            imported: list[Carried] = []
            checked: list[tuple[download.Brought, Path]] = []
            for entry, (config, version) in zip(index["models"], wanted, strict=True):
                archive, name = aside / str(len(checked)), entry["file"]
                with content.open(name) as source, archive.open("xb") as to:
                    shutil.copyfileobj(source, to, 2**20)
                stated = dict(digests.get(download.address(version), {}))
                stated["sha256"] = index["files"][name]["sha256"]
                brought = download.brought(config, version, archive, stated, by=path, trust=trust)
                checked.append((brought, archive))
                size, sha256 = archive.stat().st_size, brought.sha256
                part = entry.get("part", "")
                imported.append(
                    Carried(config.id, version.name, name, size, sha256, brought.here, part)
                )
            imported += _wheels(path, content, index, aside, trust=trust)
            _settle(checked, aside)  # only after all were accepted
            return imported
    except FileNotFoundError as error:
        raise SourceError(f"There is no file {error.filename}.") from error
    except OSError as error:
        if error.errno in files.DAMAGE:
            raise _broken(path, error) from error
        raise SourceError(
            f"{path} could not be imported into {settings.cache_folder()}: {error}.",
            "MEDZOO_CACHE names another folder.",
        ) from error
    except IntegrityError as error:
        raise IntegrityError(
            f"{path} was refused, and nothing was imported.\n{error.problem}", error.hint
        ) from error
    except MedzooError:
        raise
    except (*files.BROKEN, LookupError, TypeError, AttributeError) as error:
        raise _broken(path, error) from error


def _wheels(
    path: Path, content: zipfile.ZipFile, index: dict[str, Any], aside: Path, *, trust: bool
) -> list[Carried]:
    """Unpack and check the wheels of a file, into the folder ``wheels`` of ``aside``."""
    taken = []
    (aside / WHEELS).mkdir()
    for entry in index.get("wheels", ()):
        name, (config, version) = entry["file"], _version(path, entry)
        wheel = aside / WHEELS / wheels.name_of(name)
        with content.open(name) as source, wheel.open("wb") as to:
            shutil.copyfileobj(source, to, 2**20)
        stated = index["files"][name]["sha256"]
        wheels.check(config, version, wheel, stated, trust=trust)
        here = environment_wheels.folder() / wheel.name
        is_here = here.is_file() and sha256_of(here) == stated
        size = wheel.stat().st_size
        taken.append(Carried(config.id, version.name, name, size, stated, is_here, wheel.name))
    return taken


def _settle(checked: list[tuple[download.Brought, Path]], aside: Path) -> None:
    """Move archives and wheels to their places."""
    for brought, archive in checked:
        brought.settle(archive)
    brought_wheels = sorted((aside / WHEELS).glob("*"))
    if brought_wheels:
        environment_wheels.folder().mkdir(parents=True, exist_ok=True)
    for wheel in brought_wheels:
        wheel.replace(environment_wheels.folder() / wheel.name)


def _broken(path: Path, error: Exception) -> IntegrityError:
    return IntegrityError(
        f"{path} is broken, or was not written by `medzoo cache export` ({error}).",
        "Nothing was imported. Copy the file again.",
    )


def _read(content: zipfile.ZipFile) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """The index and the digests of a file.

    Raises ValueError, LookupError or TypeError if it is not a file of `export_models`.
    """

    def parsed(name: str) -> Any:
        if content.getinfo(name).file_size > MOST:
            raise ValueError(f"its {name} is too large")
        return json.loads(content.read(name))

    index = parsed(INDEX)
    if index["format"] != FORMAT:
        raise IntegrityError(
            f"It was written by medzoo {index['medzoo']}, in a format that this version does not "
            "know.",
            "Use the same version of medzoo on both machines.",
        )
    if sorted(content.namelist()) != sorted({INDEX, DIGESTS, *index["files"]}):
        raise ValueError("it does not hold what its index lists")
    named = [*index["models"], *index.get("wheels", ())]
    if set(map(itemgetter("file"), named)) != set(index["files"]):
        raise ValueError("it does not hold what its index lists")
    if any(map(_is_compressed, content.infolist())):
        raise ValueError("it is compressed")
    return index, parsed(DIGESTS)


def _is_compressed(entry: zipfile.ZipInfo) -> bool:
    return entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size


def _version(path: Path, entry: dict[str, str]) -> tuple[ModelConfig, Version]:
    """The version that an entry of the index names, from the registry of this machine."""
    config = registry().configs.get(entry["id"])
    if config is None or entry["version"] not in config.versions:
        raise ModelNotFoundError(
            f"{path} holds {entry['id']}, version {entry['version']}, "
            "which the registry of this machine does not have.",
            "Nothing was imported. The same version of medzoo on both machines has the same "
            "models; MEDZOO_MODEL_CONFIGS adds your own.",
        )
    return config, config.versions[entry["version"]]


def _registered(path: Path, entry: dict[str, str]) -> tuple[ModelConfig, Version]:
    """The version, or a file of it, that an entry of the index names."""
    config, version = _version(path, entry)
    if version.scheme not in REMOTE:
        raise ModelNotFoundError(
            f"{path} holds {config.id}, version {version.name}, which is on this machine already.",
            "Nothing was imported.",
        )
    components, part = assembly.components(version), entry.get("part", "")
    if part not in components:
        raise ModelNotFoundError(
            f"{path} holds {part or 'an archive'} of {config.id}, version {version.name}, which "
            "the registry of this machine does not name.",
            "Nothing was imported. "
            "The same version of medzoo on both machines has the same models.",
        )
    return config, components[part]
