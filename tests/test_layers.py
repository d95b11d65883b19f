"""The house: a module imports only from strictly lower layers. The table is that of docs/architecture.md."""

from __future__ import annotations

import ast
import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

import medzoo

LAYERS = [
    {"errors", "console", "plugins"},
    {"settings", "files", "scratch", "seeds", "config"},
    {"_worker", "checks", "provenance", "environments"},
    {"registry", "medical", "datasets"},
    {"packages", "inputs", "samples"},
    {"runtime"},
    {"generation"},
    {"loader", "view", "modeltest", "evaluation"},
    {"medigan", "publishing", "study"},
    {"web"},
    {"cli"},
    {"__main__"},
]
MOST_ENTRIES = 31  # issue 18: scratch; issue 15: reader study, web app; of the package's folder: modules and rooms, without py.typed
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
PACKAGE = ROOT / "medzoo"
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def room(path: Path) -> str:
    """The top-level module or folder that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    """``datasets.reader``; of a room itself, its name."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """The modules that a module imports from, anywhere in it: ``datasets.reader``."""
    here = ("medzoo", *path.relative_to(PACKAGE).with_suffix("").parts)
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(here[: len(here) - node.level]) if node.level else []
            base += node.module.split(".") if node.module else []
            names += [".".join([*base, a.name]) for a in node.names]
    modules = {_module(n.split(".")[1:]) for n in names if n.startswith("medzoo.")}
    return modules - {"", name_of(path)}


def _module(parts: list[str]) -> str:
    """The module that an imported name is, or is in; empty for the package itself."""
    place = PACKAGE.joinpath(*parts)
    if place.with_suffix(".py").exists() or (place / "__init__.py").exists():
        return ".".join(parts)
    return _module(parts[:-1]) if parts else ""


def test_every_room_has_its_layer() -> None:
    assert {room(p) for p in MODULES} == set(LEVEL)


def test_the_page_on_the_architecture_has_the_same_layers() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", page, re.MULTILINE)
    assert [(int(k), set(re.findall(r"`(\w+)`", rooms))) for k, rooms in rows] == list(
        enumerate(LAYERS[:-1])
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_a_module_imports_from_lower_layers_alone(path: Path) -> None:
    own = room(path)
    for module in imports(path):
        other = module.split(".")[0]
        assert other == own or LEVEL[other] < LEVEL[own], (
            f"{own} (layer {LEVEL[own]}) imports {module} (layer {LEVEL[other]})"
        )


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Inside rooms too, and whether an import is at the top of a module or in a function."""
    graph = {name_of(p): imports(p) for p in MODULES}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")
    assert set(graph) <= set(order)


def test_a_circle_would_be_seen() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).prepare()


def test_imports_are_read_as_python_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    for folder in ("sub", "config", "view"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    for name in ("files.py", "packages.py", "sub/near.py", "view/pictures.py"):
        (tmp_path / name).touch()
    code = """
from .. import files, __version__
from ..config import x
from .near import y
from . import near
import medzoo.packages
def f():
    from medzoo.view.pictures import grid
import os
"""
    (tmp_path / "sub" / "a.py").write_text(code)
    assert imports(tmp_path / "sub" / "a.py") == {
        "files",
        "config",
        "sub.near",
        "packages",
        "view.pictures",
    }
    (tmp_path / "sub" / "__init__.py").write_text("from .near import y\nfrom ..files import z\n")
    assert imports(tmp_path / "sub" / "__init__.py") == {"sub.near", "files"}


def test_the_package_has_room_for_what_comes() -> None:
    entries = {p.name for p in PACKAGE.iterdir() if not p.name.startswith("__pycache__")}
    assert len(entries - {"py.typed"}) <= MOST_ENTRIES, sorted(entries)


def test_no_module_is_called_as_a_public_name_which_it_would_hide() -> None:
    assert not {room(p) for p in MODULES} & set(medzoo.__all__)


def test_no_file_outgrows_its_room() -> None:
    # 450 lines of 128 columns became up to 560 of 100.
    assert {
        p.name: n for p in MODULES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 560
    } == {}
