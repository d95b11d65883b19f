"""How the source reads, as figures that `pytest -s tests/test_readability.py` prints."""

from __future__ import annotations

import ast

from conftest import ROOT

SOURCES = sorted((ROOT / "medzoo").rglob("*.py"))
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
MOST_COMPREHENSIONS = 20  # in 1,000 lines
LONG, MOST_LONG = 100, 0.01  # columns of a line; share of lines that may be longer


def test_comprehensions_are_few_and_lines_short() -> None:
    lines: list[str] = []
    comprehensions = 0
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        lines += text.splitlines()
        for node in ast.walk(ast.parse(text)):
            comprehensions += isinstance(node, COMPREHENSIONS)
    dense = 1000 * comprehensions / len(lines)
    long = sum(len(line) > LONG for line in lines) / len(lines)
    print(f"{len(lines):,} lines, {dense:.1f} comprehensions in 1,000, {long:.1%} over {LONG}")
    assert dense <= MOST_COMPREHENSIONS
    assert long < MOST_LONG


def test_nothing_is_kept_from_the_formatter() -> None:
    places = ("medzoo", "benchmarks", "starter_models", "docs", "examples", "contrib_template")
    mark = "# fmt: " + "skip"
    skipped = []
    for place in places:
        for path in (ROOT / place).rglob("*.py"):
            if mark in path.read_text(encoding="utf-8"):
                skipped.append(path.name)
    assert skipped == []
