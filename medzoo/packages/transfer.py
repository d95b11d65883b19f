"""Models made ready before they are used: from a network, or by one file that carries them to a
machine without one.

The file is a zip without compression: ``index.json``, the archives, and ``digests.json`` with what
is known of them. Where an archive goes, and what it is to be, follows from the registry and the
digests of the machine that takes it, not from the file; so no name in it can lead anywhere else.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__, checks, files, settings
from ..config import REMOTE, ModelConfig, Version
from ..errors import InputError, IntegrityError, MedzooError, ModelNotFoundError, SourceError
from ..registry import is_local, registry, resolve
from . import cache, download
from .preparation import prepare

INDEX, DIGESTS, FORMAT = "index.json", "digests.json", 1
MOST = 2**24  # bytes of index.json and digests.json each


@dataclass(frozen=True)
class Carried:
    """A model in a file that carries models."""

    model: str
    version: str
    name: str  # of the archive, in the file
    bytes: int
    sha256: str
    here: bool = False  # whether it was in the cache before

    def __str__(self) -> str:
        return f"{self.model}, version {self.version}"


@checks.checked()
def install(
    model_id: int | str | os.PathLike[str],
    *,
    version: str | None = None,
    env: str = "auto",
    trust: bool = False,
    progress: bool | None = None,
) -> Path:
    """Fetch, verify and unpack a model and build its environment, so that its first use needs no
    network. Nothing of it runs.

    Parameters
    ----------
    model_id, version, env, trust
        As in `medzoo.generate`.
    progress
        Whether to draw bars while it downloads and its environment is built; only at a terminal if
        None.

    Returns
    -------
    pathlib.Path
        The folder of its package, as it was verified.

    Raises
    ------
    MedzooError
        The model cannot be found, fetched or verified, or its environment cannot be built.
    """
    config = resolve(model_id)
    return prepare(config, config.version(version), env=env, trust=trust, progress=progress)[0].path


# -----------------------------------------------------------------------------------------------------------
# exporting
@checks.checked()
def export_models(
    file: str | os.PathLike[str],
    models: Iterable[int | str],
    *,
    version: str | None = None,
    progress: bool | None = None,
) -> list[Carried]:
    """Write one file that carries the archives of models; what is not in the cache is fetched
    first.

    Raises
    ------
    InputError
        A model needs no carrying, or ``file`` is there already or cannot be written.
    MedzooError
        A model cannot be found, fetched or verified.
    """
    target = settings.user_path(file, "file")
    if target.exists():
        raise InputError(
            f"{target} is there already.", "Nothing was changed. Choose another name, or remove it."
        )
    chosen = {c.id: (c, c.version(version)) for c in map(resolve, models)}
    for config, v in chosen.values():
        if v.scheme not in REMOTE or is_local(config):
            where = "comes with medzoo" if v.scheme == "bundled" else "lies on this machine"
            raise InputError(
                f"{config.id}, version {v.name}, {where}, and is not downloaded.",
                "Leave it out." if v.scheme == "bundled" else "Copy its folder.",
            )
    try:
        archives = [(c, v, download.fetch(c, v, progress=progress)) for c, v in chosen.values()]
    except OSError as error:
        raise SourceError(
            f"{settings.cache_folder()} could not be written: {error}.",
            "MEDZOO_CACHE names another folder.",
        ) from error
    about, digests = [], dict[str, dict[str, str]]()
    for config, v, archive in archives:
        name = f"downloads/{config.id}-{archive.sha256[:16]}/{archive.path.name}"
        about.append(Carried(config.id, v.name, name, archive.path.stat().st_size, archive.sha256))
        digests[download.address(v)] = {
            "sha256": archive.sha256,
            "md5": files.digest_of(archive.path, "md5"),
        }
    index = {
        "format": FORMAT,
        "medzoo": __version__,
        "models": [{"id": a.model, "version": a.version, "file": a.name} for a in about],
        "files": {a.name: {"sha256": a.sha256, "bytes": a.bytes} for a in about},
    }
    try:
        with (
            files.atomic(target.absolute()) as whole,
            zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as packed,
        ):
            packed.writestr(zipfile.ZipInfo(INDEX), json.dumps(index, indent=2))
            packed.writestr(zipfile.ZipInfo(DIGESTS), json.dumps(digests, indent=2))
            for carried, (_, _, archive) in zip(about, archives, strict=True):
                with (
                    archive.path.open("rb") as source,
                    packed.open(zipfile.ZipInfo(carried.name), "w", force_zip64=True) as to,
                ):
                    shutil.copyfileobj(source, to, 2**20)
    except OSError as error:
        raise InputError(
            f"{target} could not be written: {error}.", "Choose another folder or disk."
        ) from error
    return about


# -----------------------------------------------------------------------------------------------------------
# importing
@checks.checked()
def import_models(file: str | os.PathLike[str], *, trust: bool = False) -> list[Carried]:
    """Take the archives of a file of `export_models` into the cache: all of them, or none.

    Each must match the digest of the registry, or to that of its first use here.

    Parameters
    ----------
    trust
        Whether to take an archive whose digest is known from the file alone.

    Raises
    ------
    IntegrityError
        An archive differs from its digest, or the file is broken.
    ModelNotFoundError
        The registry here does not know a model, or not that version.
    TrustError
        Nothing here says what an archive is to be, and ``trust`` is not given.
    SourceError
        The file cannot be read, or the cache not be written.
    """
    path, downloads = settings.user_path(file, "file"), settings.cache_folder() / "downloads"
    try:
        with ExitStack() as stack:
            content = stack.enter_context(zipfile.ZipFile(path))
            index, said = _read(content)
            wanted = [(m, *_wanted(path, m)) for m in index["models"]]
            downloads.mkdir(parents=True, exist_ok=True)
            files.require_space(downloads, sum(e.file_size for e in content.infolist()))
            stack.enter_context(
                files.locked(cache.import_lock(), 60, lambda: downloads.glob(".import.*/*"))
            )
            aside = Path(tempfile.mkdtemp(prefix=".import.", dir=downloads))
            stack.callback(shutil.rmtree, aside, ignore_errors=True)
            found = []
            for i, (about, config, v) in enumerate(wanted):
                archive, name = aside / str(i), about["file"]
                with content.open(name) as source, archive.open("xb") as to:
                    shutil.copyfileobj(source, to, 2**20)
                listed = {
                    **said.get(download.address(v), {}),
                    "sha256": index["files"][name]["sha256"],
                }
                brought = download.brought(config, v, archive, listed, by=path, trust=trust)
                found.append(
                    (
                        Carried(
                            config.id,
                            v.name,
                            name,
                            archive.stat().st_size,
                            brought.sha256,
                            brought.here,
                        ),
                        brought,
                    )
                )
            for i, (_, brought) in enumerate(found):  # nothing of it was refused
                brought.settle(aside / str(i))
            return [carried for carried, _ in found]
    except FileNotFoundError as error:
        raise SourceError(f"There is no file {error.filename}.") from error
    except OSError as error:
        if error.errno in files.DAMAGE:
            raise _broken(path, error) from error
        raise SourceError(
            f"{path} could not be taken into {settings.cache_folder()}: {error}.",
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


def _broken(path: Path, error: Exception) -> IntegrityError:
    return IntegrityError(
        f"{path} is broken, or was not written by `medzoo cache export` ({error}).",
        "Nothing was imported. Copy the file again.",
    )


def _read(content: zipfile.ZipFile) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """The index and the digests of a file; ValueError and the like where it is none."""
    entries = content.infolist()

    def parsed(name: str) -> Any:
        if content.getinfo(name).file_size > MOST:
            raise ValueError(f"its {name} is too large")
        return json.loads(content.read(name))

    index = parsed(INDEX)
    if index["format"] != FORMAT:
        raise IntegrityError(
            f"It was written by medzoo {index['medzoo']}, in a format that this version does not "
            "know.",
            "Use the same medzoo on both machines.",
        )
    names = sorted(e.filename for e in entries)
    if names != sorted({INDEX, DIGESTS, *index["files"]}) or {
        m["file"] for m in index["models"]
    } != set(index["files"]):
        raise ValueError("it does not hold what its index lists")
    if any(
        e.compress_type != zipfile.ZIP_STORED or e.file_size != e.compress_size for e in entries
    ):
        raise ValueError("it is compressed")
    return index, parsed(DIGESTS)


def _wanted(path: Path, about: dict[str, str]) -> tuple[ModelConfig, Version]:
    """A model of the index, by the registry here."""
    config = registry().configs.get(about["id"])
    if config is None or about["version"] not in config.versions:
        raise ModelNotFoundError(
            f"{path} carries {about['id']}, version {about['version']}, which the registry here does "
            "not know.",
            "Nothing was imported. The same medzoo on both machines knows the same models; "
            "MEDZOO_MODEL_CONFIGS adds your own.",
        )
    version = config.versions[about["version"]]
    if version.scheme not in REMOTE:
        raise ModelNotFoundError(
            f"{path} carries {config.id}, version {version.name}, which lies on this machine already.",
            "Nothing was imported.",
        )
    return config, version
