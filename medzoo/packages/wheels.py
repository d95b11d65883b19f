"""Wheels that travel with models: fetching them, and taking in those that a file brings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.utils import parse_wheel_filename

from .. import files, settings
from ..config import ModelConfig, Version
from ..environments import isolated, records, wheels
from ..environments.build import places
from ..environments.recipe import Recipe
from ..environments.wheels import Wheel
from ..errors import IntegrityError, TrustError
from . import http


def fetch_all(config: ModelConfig, version: Version, *, progress: bool | None) -> list[Path]:
    """The wheels of the environment of a version, in the cache. It is built if it does not exist.

    Raises
    ------
    BuildError, SourceError, IntegrityError
        It cannot be built, or a wheel cannot be fetched.
    """
    interpreter = isolated(config, version, progress=progress)
    environment, recipe = interpreter.python.parents[1], Recipe.of(config, version)
    found = wheels.of(environment, records.python_of(environment), recipe, places(recipe))
    return [_fetched(wheel, settings.show_progress(progress)) for wheel in found]


def _fetched(wheel: Wheel, progress: bool) -> Path:
    """The file of a wheel in the cache. If several processes need it, one of them downloads it."""
    target = wheels.folder() / wheel.name
    lock = settings.cache_folder() / "locks" / f"{wheel.name}.lock"

    def partial_files() -> Iterator[Path]:
        return target.parent.glob("*.part")

    with files.locked(lock, http.policy.turn, partial_files) as alone:
        if not (target.is_file() and files.sha256_of(target) == wheel.sha256):
            target.parent.mkdir(parents=True, exist_ok=True)
            _download(wheel, target, alone=alone, progress=progress)
    return target


def _download(wheel: Wheel, target: Path, *, alone: bool, progress: bool) -> None:
    address = urlsplit(wheel.url)
    if address.scheme == "file":
        with Path(url2pathname(address.path)).open("rb") as source, files.atomic(target) as copy:
            shutil.copyfileobj(source, copy, 2**20)
        if wheel.sha256 and files.sha256_of(target) != wheel.sha256:
            target.unlink()
            raise IntegrityError(f"{wheel.url} is not what its index states: {wheel.sha256}.")
        return
    digest = f"sha256:{wheel.sha256}" if wheel.sha256 else ""
    get = http.Download(digest, progress=progress, alone=alone)
    get(wheel.url, str(target))
    get.forget()


def check(config: ModelConfig, version: Version, wheel: Path, stated: str, *, trust: bool) -> None:
    """Check a wheel that a file brings for a version.

    Parameters
    ----------
    config, version : ModelConfig, Version
        The model.
    wheel : Path
        What the file holds, under the name of the wheel.
    stated : str
        The sha256 that the file states.
    trust : bool
        Whether that is enough for a wheel that the lock does not list.

    Raises
    ------
    IntegrityError
        It differs from its digest.
    TrustError
        The lock of the version does not list it, and ``trust`` is not set.
    """
    actual = files.sha256_of(wheel)
    if actual != stated:
        raise IntegrityError(f"{wheel.name}: sha256 {stated} was expected, not {actual}.")
    if actual not in Recipe.of(config, version).digests and not trust:
        raise TrustError(
            f"{wheel.name}, for {config.id}, is not in the lock of version {version.name}, so only "
            f"the file states its sha256, {actual}.",
            "Compare it with what `medzoo cache export` printed on the other machine; then --trust "
            "takes it in. The builds of torch, which differ between machines, are in no lock.",
        )


def name_of(entry: str) -> str:
    """The file name of a wheel, of an entry ``wheels/NAME`` in an exported file.

    Raises
    ------
    ValueError
        It is not named like a wheel.
    """
    name = PureWindowsPath(entry).name  # knows both separators, so no name leads elsewhere
    parse_wheel_filename(name)
    return name
