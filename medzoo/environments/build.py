"""Building an environment: aside, then renamed, by one process while others wait."""

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
from . import records
from .interpreter import Python
from .recipe import Recipe, machine, own_index
from .uv import uv


def build(
    recipe: Recipe, python: Python, config: ModelConfig, progress: bool | None = None
) -> dict[str, Any]:
    """The record of the environment of a recipe, which is built unless another process was first.

    Raises
    ------
    BuildError
        It could not be built; nothing of it is left.
    """
    key = recipe.key(python.tag)
    target = records.path_of(key)
    about = f"The environment of {config.id} could not be built"
    try:
        with files.locked(records.lock_of(key)) as held:
            record = records.read(key)
            if record and not recipe.unmet(record["packages"], record["python"]):
                return record
            _clear(target, asides=held)
            if settings.show_progress(progress):
                print(f"{config.id}: building its environment, once ({target})", file=sys.stderr)
            with files.folder_aside(target) as aside, _uv_cache(aside) as variables:
                run = partial(uv, about=about, variables=variables, progress=progress)
                _install(aside, recipe, python, run)
                packages = records.installed([str(records.site_packages(aside))])
                if unmet := recipe.unmet(packages, python.version):
                    raise BuildError(
                        f"{about}: what was installed is not what was declared: {'; '.join(unmet)}.",
                        "Do uv settings on this machine change what it installs? Nothing was kept.",
                    )
                size, _ = files.size_of(aside)
            record = {
                "key": key,
                "lock": recipe.digest,
                "requires": list(recipe.requires),
                "torch": recipe.torch,
                "python": python.version,
                "tag": python.tag,
                "machine": machine(),
                "packages": packages,
                "bytes": size,
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


def _clear(target: Path, *, asides: bool) -> None:
    """Remove an environment that lost its record or its base Python, and with ``asides`` what
    killed builds left.
    """
    for left in [target, *(target.parent.glob(f".{target.name}.*") if asides else ())]:
        if left.is_dir():
            shutil.rmtree(left)


def _install(folder: Path, recipe: Recipe, python: Python, run: Callable[..., str]) -> None:
    """Make a virtual environment in ``folder``: what `Recipe` says, first by name, then by hash."""
    # Relocatable: no file in it may hold the name that it has before it is renamed.
    run("venv", "--relocatable", "--no-project", "--python", python.path, folder)
    install = ("pip", "install", "--python", records.python_of(folder))
    lock = folder / "lock.txt"
    if recipe.lock:
        lock.write_text("".join(f"{entry}\n" for entry in recipe.lock), encoding="utf-8")
    if recipe.requires:
        # The lock constrains, with its hashes, what the torch family shares with it: the second
        # install changes nothing.
        constraints = ("--constraints", lock) if recipe.lock else ()
        backend = ("--torch-backend", settings.torch_backend()) if _asks_pytorch(recipe) else ()
        run(*install, *constraints, *backend, *recipe.requires)
    if recipe.lock:
        # Any index may offer what has the right hash.
        strategy = (
            () if os.environ.get("UV_INDEX_STRATEGY") else ("--index-strategy", "unsafe-best-match")
        )
        run(*install, "--require-hashes", "--no-deps", *strategy, "--requirements", lock)


def _warn_of_mixture(packages: dict[str, str], config: ModelConfig) -> None:
    """Warn if torch and its family have different builds, as from an index that has one of them
    alone: they may not fit.
    """
    family = {name: version for name, version in packages.items() if name in TORCH_FAMILY}
    if len({version.partition("+")[2] for version in family.values()}) > 1:
        builds = ", ".join(f"{name} {version}" for name, version in family.items())
        warnings.warn(
            f"{config.id}: its environment holds different builds, which may not work together: {builds}. "
            "MEDZOO_TORCH_BACKEND=cpu, say, takes them all from PyTorch.",
            MedzooWarning,
            stacklevel=2,
        )


def _asks_pytorch(recipe: Recipe) -> bool:
    """Whether torch comes from PyTorch's own index, which has a folder for each build.

    uv's torch backend insists on that index. Where the user names another index and no
    build, that place decides.
    """
    asked = settings.torch_backend()
    return bool(recipe.torch) and asked != "index" and not (asked == "auto" and own_index())


@contextmanager
def _uv_cache(folder: Path) -> Iterator[dict[str, str]]:
    """UV_CACHE_DIR on the file system of the environments, so that they are hard links to it and
    not copies.
    """
    if os.environ.get("UV_CACHE_DIR"):
        yield {}
        return
    usual = Path(uv("cache", "dir", about="uv's cache was not found").strip())
    there = next(p for p in (usual, *usual.parents) if p.exists())
    if there.stat().st_dev == folder.stat().st_dev:
        yield {}
        return
    ours = settings.cache_folder() / "uv"
    held = files.hold(ours.with_name("uv.use"))
    try:
        yield {"UV_CACHE_DIR": str(ours)}
    finally:
        held.close()
