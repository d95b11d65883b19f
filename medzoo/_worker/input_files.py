"""What a medigan package needs around it: its folder, its modules, files in order, and seeded
generators.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import random
import re
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import seeds
from ..errors import PackageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

# suffixes of pictures, of inputs and outputs
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy")
LEFT_OUT = {".git", "__pycache__", "__MACOSX", ".DS_Store"}


def lay_out(folder: Path, target: Path) -> None:
    """Make ``target`` look like the package: code is copied, and everything else is linked, or
    copied if links are not possible.
    """
    target.mkdir(parents=True)
    for path in folder.iterdir():
        if path.name in LEFT_OUT:
            continue
        source, here = path.resolve(), target / path.name
        if path.is_dir() and not path.is_symlink():
            lay_out(path, here)
        elif path.suffix == ".py":
            shutil.copyfile(str(source), str(here))
        else:
            try:
                here.symlink_to(source)
            except OSError:
                if source.is_dir():
                    shutil.copytree(str(source), str(here))
                else:
                    shutil.copyfile(str(source), str(here))


def import_package(root: Path, name: str) -> ModuleType:
    """The package, under its own name.

    Its folder comes before installed packages and after Python's own library. So its ``utils`` is
    found before an installed one, and its ``types.py`` breaks nothing.
    """
    code = root / "__init__.py"
    if not code.is_file():
        raise PackageError("there is no __init__.py in the package.")
    if not name.isidentifier() or name in sys.modules or importlib.util.find_spec(name):
        name = "package_" + re.sub(r"\W", "_", root.name)
    at = first_installed(sys.path)
    sys.path[at:at] = [str(root), str(root.parent)]
    spec = importlib.util.spec_from_file_location(
        name, str(code), submodule_search_locations=[str(root)]
    )
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def first_installed(paths: Sequence[str]) -> int:
    """The index of the first folder of installed packages; the end if there is none."""
    for index, path in enumerate(paths):
        if path.rstrip("/\\").endswith(("site-packages", "dist-packages")):
            return index
    return len(paths)


def seed_generators(seed: int, index: int) -> None:
    """Seed all global generators that a package may use by (root seed, number of a sample)."""
    words = seeds.Stream(seed, index, seeds.NOISE).bytes(16).view("<u4").tolist()
    whole, half = words[0] | (words[1] & 0x7FFFFFFF) << 32, words[2] >> 1  # 63 and 31 bits
    # keras seeds the others as well, so it goes first; old versions of it and of tensorflow have no
    # such function.
    for name, value in (
        ("keras.utils.set_random_seed", half),
        ("tensorflow.random.set_seed", half),
        ("torch.manual_seed", whole),
    ):
        library, *path = name.split(".")
        function: Any = sys.modules.get(library)
        for part in path:
            function = getattr(function, part, None)
        if function is not None:
            function(value)
    np.random.seed(words)  # noqa: NPY002  (its global generator is the one that packages use)
    random.seed(whole)


@contextmanager
def files_in_order() -> Iterator[None]:
    """List folders in the order of the names.

    The system may use any order, and packages take their inputs in the order of the list.
    """
    listdir, scandir = os.listdir, os.scandir

    def sorted_listdir(*args: Any) -> Any:
        return sorted(listdir(*args))

    # Up to Python 3.10, pathlib keeps these functions in a class.
    accessor: Any = getattr(pathlib, "_NormalAccessor", None)
    kept: dict[str, Any] = {}
    for name in ("listdir", "scandir"):
        if accessor is not None and name in vars(accessor):
            kept[name] = vars(accessor)[name]
    os.listdir, os.scandir = sorted_listdir, _Sorted  # type: ignore[assignment]
    for key in kept:
        setattr(accessor, key, staticmethod(getattr(os, key)))
    try:
        yield
    finally:
        os.listdir, os.scandir = listdir, scandir
        for key, function in kept.items():
            setattr(accessor, key, function)


class _Sorted:
    """What ``os.scandir`` returns, by name."""

    def __init__(self, *args: Any, scandir: Any = os.scandir) -> None:
        with scandir(*args) as entries:
            self._entries = iter(sorted(entries, key=lambda entry: entry.name))

    def __iter__(self) -> Iterator[Any]:
        return self._entries

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._entries = iter(())


def input_files(path: Path) -> list[Path]:
    """The images that ``path`` is or holds, in their natural order."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        return []
    pictures = []
    for file in path.iterdir():
        is_picture = file.suffix.lower() in PICTURES
        if is_picture and not file.name.startswith("."):
            pictures.append(file)
    return sorted(pictures, key=lambda file: natural(file.name))


def natural(text: str) -> list[Any]:
    """A sorting key by which 2 comes before 10."""
    return [int(part) if k % 2 else part for k, part in enumerate(re.split(r"([0-9]+)", text))]
