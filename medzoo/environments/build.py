"""Building an environment under a temporary name, by one process while others wait."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__, files, settings
from ..config import TORCH_FAMILY, ModelConfig
from ..errors import BuildError, MedzooWarning
from . import records, wheels
from .interpreter import Python
from .recipe import Recipe, machine, own_index
from .shared import bytecode_digest, share, site_packages
from .uv import uv


def build(
    recipe: Recipe, python: Python, config: ModelConfig, progress: bool | None = None
) -> dict[str, Any]:
    """Build the environment of a recipe, unless another process was first; returns its record.

    Raises
    ------
    BuildError
        It could not be built. Nothing of it is kept.
    """
    key = recipe.key(python.tag)
    target = records.path_of(key)
    failure = f"The environment of {config.id} could not be built"
    try:
        with files.locked(records.lock_of(key)):
            record = records.read(key)
            if record and not recipe.unmet(record["packages"], record["python"]):
                return record
            if records.is_of_another_version(key):
                raise BuildError(
                    f"{failure}: another version of medzoo uses {target}.",
                    "MEDZOO_CACHE names another folder.",
                )
            if target.is_dir():  # it lost its record or its Python
                shutil.rmtree(target)
            if settings.show_progress(progress):
                print(f"{config.id}: building its environment, once ({target})", file=sys.stderr)
            with files.folder_aside(target) as aside, _uv_cache(aside) as variables:
                run = partial(uv, failure=failure, variables=variables, progress=progress)
                _install(aside, recipe, python, run)
                packages = records.installed([str(site_packages(aside))])
                if unmet := recipe.unmet(packages, python.version):
                    raise BuildError(
                        f"{failure}: what was installed is not what was declared: "
                        f"{'; '.join(unmet)}.",
                        "Do uv settings on this machine change what it installs? Nothing was kept.",
                    )
                share(aside, records.python_of(aside), python.cache_tag)
                bytecode = bytecode_digest(aside)
                size, _ = files.size_of(aside)
            record = {
                "format": records.FORMAT,
                "key": key,
                "lock": recipe.digest,
                "requires": list(recipe.requires),
                "torch": recipe.torch,
                "python": python.version,
                "tag": python.tag,
                "machine": machine(),
                "packages": packages,
                "bytes": size,
                "bytecode": bytecode,
                "stamp": records.stamp(target),
                "models": [config.id],
                "medzoo": __version__,
                "uv": metadata.version("uv"),
            }
            files.write_json(records.record_of(key), record)
            _warn_of_mixture(packages, config)
            return record
    except OSError as error:
        raise BuildError(
            f"The environment of {config.id} could not be written to {target}: {error}.",
            "MEDZOO_CACHE names another folder.",
        ) from error


def _install(folder: Path, recipe: Recipe, python: Python, run: Callable[..., str]) -> None:
    """Make a virtual environment in ``folder``: first packages by name, then those of the lock."""
    # Relocatable: no file in it may hold its path, because the folder is renamed later.
    run("venv", "--relocatable", "--no-project", "--python", python.path, folder)
    install = ("pip", "install", "--python", records.python_of(folder))
    lock = folder / "lock.txt"
    if recipe.lock:
        lock.write_text("\n".join([*recipe.lock, ""]), encoding="utf-8")
    with files.using(wheels.mark()):
        if recipe.requires:
            # The lock constrains the dependencies of torch, so that the second step does not change
            # what the first one installed.
            constraints = ("--constraints", lock) if recipe.lock else ()
            run(*install, *constraints, *_backend(recipe), *_brought(), *recipe.requires)
        if recipe.lock:
            exactly = ("--require-hashes", "--no-deps", "--requirements", lock)
            run(*install, *_strategy(), *_brought(), *exactly)


def places(recipe: Recipe) -> tuple[str, ...]:
    """The arguments of uv that say where the packages of an environment come from."""
    return (*_backend(recipe), *_strategy(), *_brought())


def _backend(recipe: Recipe) -> tuple[str, ...]:
    return ("--torch-backend", settings.torch_backend()) if _asks_pytorch(recipe) else ()


def _strategy() -> tuple[str, ...]:
    # Safe with any index where hashes decide.
    own = os.environ.get("UV_INDEX_STRATEGY")
    return () if own else ("--index-strategy", "unsafe-best-match")


def _brought() -> tuple[str, ...]:
    """Wheels that an imported file brought, where there is no network."""
    return ("--find-links", str(wheels.folder())) if wheels.are_used() else ()


def _warn_of_mixture(packages: dict[str, str], config: ModelConfig) -> None:
    """Warn if torch and its family have different builds, which may not work together.

    This happens if an index has only some of them.
    """
    builds, texts = set[str](), []
    for name, version in packages.items():
        if name in TORCH_FAMILY:
            builds.add(version.partition("+")[2])
            texts.append(f"{name} {version}")
    if len(builds) > 1:
        warnings.warn(
            f"{config.id}: its environment holds different builds, which may not work together: "
            f"{', '.join(texts)}. "
            "MEDZOO_TORCH_BACKEND=cpu, for example, installs all of them from PyTorch.",
            MedzooWarning,
            stacklevel=2,
        )


def _asks_pytorch(recipe: Recipe) -> bool:
    """Whether torch comes from the index of PyTorch, which has one folder per build.

    The torch backend of uv uses only that index. If the user names another index, and no build,
    torch comes from there.
    """
    if wheels.are_used():
        return False
    asked = settings.torch_backend()
    return bool(recipe.torch) and asked != "index" and not (asked == "auto" and own_index())


@contextmanager
def _uv_cache(folder: Path) -> Iterator[dict[str, str]]:
    """Variables that put the cache of uv on the disk of the environments.

    Then the files of environments are hard links to the cache, not copies.
    """
    if os.environ.get("UV_CACHE_DIR"):
        yield {}
        return
    try:
        default = Path(uv("cache", "dir", failure="uv's cache was not found").strip())
    except BuildError:  # there is no home folder
        default = Path(os.devnull)
    existing = next(filter(Path.exists, (default, *default.parents)))
    is_writable = existing.is_dir() and os.access(existing, os.W_OK)
    if is_writable and existing.stat().st_dev == folder.stat().st_dev:
        yield {}
        return
    cache = settings.cache_folder() / "uv"
    with files.using(cache.with_name("uv.use")):
        yield {"UV_CACHE_DIR": str(cache)}
