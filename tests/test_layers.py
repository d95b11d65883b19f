"""The house: a module imports only from strictly lower layers. The table is that of docs/architecture.md."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import medzoo

LAYERS = [
    {"errors", "version"},
    {"settings", "files", "seeds", "config"},
    {"_worker", "checks", "console", "provenance"},
    {"registry", "samples", "sources", "tables", "readers", "depth", "medical", "pages"},
    {"store", "datasets", "inputs", "environments", "renewal"},
    {"capacity", "request", "runtime", "cache", "finder"},
    {"run", "carry"},
    {"job"},
    {"model"},
    {"generator"},
    {"loader", "view", "trial", "audit", "upkeep"},
    {"contribute", "arguments"},
    {"cli"},
    {"__main__"},
]
UPWARD = {
    ("samples", "view"),
    ("samples", "datasets"),
}  # methods that plot or save, inside themselves
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
PACKAGE = ROOT / "medzoo"
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def room(path: Path) -> str:
    """The top-level module or folder that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[tuple[str, bool]]:
    """The rooms that a module imports from, and whether it does so at its top."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(n)
        for f in ast.walk(tree)
        if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))
        for n in ast.walk(f)
    }
    here = ("medzoo", *path.relative_to(PACKAGE).with_suffix("").parts)
    found: set[tuple[str, bool]] = set()
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(here[: len(here) - node.level]) if node.level else []
            base += node.module.split(".") if node.module else []
            names = [".".join([*base, a.name]) for a in node.names]
        found |= {
            (n.split(".")[1], id(node) not in inside) for n in names if n.startswith("medzoo.")
        }
    return found


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
    for other, at_top in imports(path):
        if other != own and not ((own, other) in UPWARD and not at_top):
            assert LEVEL[other] < LEVEL[own], (
                f"{own} (layer {LEVEL[own]}) imports {other} (layer {LEVEL[other]})"
            )


def test_the_exceptions_are_all_needed() -> None:
    assert {
        (room(p), other)
        for p in MODULES
        for other, _ in imports(p)
        if LEVEL[other] >= LEVEL[room(p)] and other != room(p)
    } == UPWARD


def test_imports_are_read_as_python_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "sub").mkdir()
    code = "from .. import files\nfrom ..config import x\nfrom .near import y\nimport medzoo.store\ndef f():\n    from medzoo.view import grid\nimport os\n"
    (tmp_path / "sub" / "a.py").write_text(code)
    assert imports(tmp_path / "sub" / "a.py") == {
        ("files", True),
        ("config", True),
        ("sub", True),
        ("store", True),
        ("view", False),
    }
    (tmp_path / "sub" / "__init__.py").write_text("from .near import y\nfrom ..files import z\n")
    assert imports(tmp_path / "sub" / "__init__.py") == {("sub", True), ("files", True)}


def test_no_module_is_called_as_a_public_name_which_it_would_hide() -> None:
    assert not {room(p) for p in MODULES} & set(medzoo.__all__)


def test_no_file_outgrows_its_room() -> None:
    # 450 lines of 128 columns became up to 560 of 100.
    assert {
        p.name: n for p in MODULES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 560
    } == {}
