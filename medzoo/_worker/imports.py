"""How a package's code is imported: from its sources alone, and leaving nothing behind in its
folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import PackageError

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


class _Source(SourceFileLoader):
    """A loader that neither reads nor writes bytecode.

    Bytecode has no registered digest and could be anything. And an installed package must not
    change.
    """

    def path_stats(self, path: Any) -> NoReturn:
        raise OSError(f"no bytecode for {path}")


def from_sources(folder: Path) -> None:
    """Let modules in ``folder`` and its subfolders be imported only from their sources."""
    for path, _, _ in os.walk(str(folder)):
        sys.path_importer_cache[path] = FileFinder(
            path, (_Source, SOURCE_SUFFIXES), (ExtensionFileLoader, EXTENSION_SUFFIXES)
        )


def _digest(folder: Path) -> str:
    """Changes with the path of a package, and with the content of its code."""
    digest = hashlib.sha256(hashlib.sha256(str(folder).encode()).digest())
    for path in sorted(folder.rglob("*.py")):
        digest.update(b" " + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def import_package(folder: Path) -> ModuleType:
    """The ``model.py`` of a native package, under a unique name, never through ``sys.path``.

    Two packages may both have a ``model.py``, and neither can be confused with a module of the
    caller. The name depends on the content: if any of its files is edited, it is a new module.

    Raises
    ------
    PackageError
        There is no ``model.py``, or it has no ``load``.
    Exception
        Whatever importing it raises.
    """
    code = folder / "model.py"
    if not code.is_file():
        raise PackageError(f"there is no model.py in {folder}.")
    name = f"_medzoo_package_{_digest(folder)[:16]}"
    if name not in sys.modules:
        from_sources(folder)
        spec = importlib.util.spec_from_file_location(
            name,
            str(code),
            loader=_Source(name, str(code)),
            submodule_search_locations=[str(folder)],
        )
        assert spec is not None and spec.loader is not None  # noqa: S101, PT018  (it was given one)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            for other in list(sys.modules):
                if other == name or other.startswith(f"{name}."):
                    del sys.modules[other]
            raise
    module = sys.modules[name]
    if not callable(getattr(module, "load", None)):
        raise PackageError(
            "model.py has no `load(weights_dir, device)`.", "docs/packages.md shows the contract."
        )
    return module
