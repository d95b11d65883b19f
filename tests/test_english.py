"""Plain English: phrases that a reader has to read twice are in no docs, messages or comments."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

# phrase -> what to write instead
UNIT = (
    "file|slice|row|sample|line|series|shard|channel|column|check|picture|image|model|format|test"
    "|batch|module|lock|structure|actor|call|version|epoch|scheme|worker|volume|label"
)
STILTED = {
    r"(?<!there )\b(?:is|are) no (?!longer\b|more\b|less\b)[a-z]+": "is not a (valid) ...",
    r"\bwho(?:m)?(?:so)?ever\b": "name the person or the program",
    r"\b(?:held|holds?|holding)(?: \w+){0,4} against\b": "compared with",
    r"\b(?:goes|went) by\b|\bgo by the name\b": "is named",
    r"\btold (?:of|apart)\b|\btells? of\b": "reported, distinguished, described",
    r"\bdocs/\S+ tells\b|\btells? (?:how|more)\b": "explains",
    r"\bof (?:one's|its|their|your|his|my|our|the user's|medzoo's) own"
    r"(?=[.,;:)]| (?:and|or|that|which|to|in|until|so|as|from|with|over|for|is|was|when) |\s*$)": "its own X",
    r"\bof (?:mine|yours|ours|theirs|(?:the user|the caller|medzoo|Ray|Python)'s)[.,:;)]": "your X",
    r"\b(?:ours|theirs)\b": "medzoo's, the user's",
    r"\bst(?:ands?|ood) (?:in|beside|by (?:it|them)sel(?:f|ves))\b": "is in, replaces, lies beside",
    rf"\b(?:a|an) (?!or |and |in |of )[\w-]+ (?:a|an) (?:{UNIT})\b": "one X per Y",
    r"\b(?:a|an) (?!DataLoader)\w+ each\b": "one X per Y",
    rf"\b(?:MiB|MB|GB|ms|bytes|memory|times|once|twice) (?:a|an) (?:{UNIT})\b": "per sample",
    r"\b(?:whence|wherein|thereof|thereto|lest|nought|anew)\b": "an everyday word",
    r"\bsuch as (?:it is|they are)\b|\bas (?:it|they) (?:is|are) by its\b": "unchanged",
    r"\bfor want of\b": "because ... is missing",
    r"\bin spite of\b": "despite",
    r"\bpassed over\b": "skipped",
    r"\bthe line (?:broke|breaks)\b": "the connection broke",
    r"\bwhat (?:becomes|became) of\b": "what happens to",
    r"\ball the same\b": "still",
    r"\bput on trial\b": "tested",
    r"\bthe house\b": "the package",
    r"\bdrawn anew\b|\basked of it\b": "drawn again, required",
    r"\bis nowhere that\b": "is not a place that",
}
SKIPPED = ("tests/", "CHANGELOG.md")
# A package's code is part of its digest: a changed comment would be another package.
FROZEN = re.compile(r"starter_models/[^/]+/model\.py")


def pages() -> list[Path]:
    """The tracked sources and pages that people read."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.yaml", "*.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git clone")
    names = listed.stdout.splitlines()
    return [ROOT / n for n in names if not (n.startswith(SKIPPED) or FROZEN.fullmatch(n))]


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Pieces of text with the number of their first line: of Python only comments and strings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield 1, re.sub(r"^ {0,3}(?:[-*>#|]|\d+\.) ", "", text, flags=re.MULTILINE)
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (getattr(part, "value", None) for part in node.values)
            yield node.lineno, "".join(p if isinstance(p, str) else "CODE" for p in parts)
    yield from comments(text)


def comments(text: str) -> Iterator[tuple[int, str]]:
    """The comments of a module; consecutive lines are one piece."""
    first, last, piece = 0, 0, ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, words = token.start[0], token.string.lstrip("#! ")
        if piece and line == last + 1:
            piece += "\n" + words
        else:
            yield first, piece
            first, piece = line, words
        last = line
    yield first, piece


def stilted(first: int, text: str) -> Iterator[tuple[int, str, str]]:
    """Line, phrase and better words for each stilted phrase; a phrase may go over two lines."""
    flat, starts = "", []  # the text as one line, and where in it each line starts
    for line in text.split("\n"):
        starts.append(len(flat))
        words = re.sub(r"`+[^`]*`+", "CODE", line)  # names in code are not prose
        flat += " ".join(words.split()) + " "
    for pattern, better in STILTED.items():
        for match in re.finditer(pattern, flat, re.IGNORECASE):
            yield first + bisect_right(starts, match.start()) - 1, match.group(), better


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ('raise E(\n    f"{x!r} is "\n    f"no seed."\n)', [(2, "is no seed")]),
        ("x = 1\n# read by\n# whoever asks", [(3, "whoever")]),
        ('"""One.\n\nA line a\nfile.\n"""', [(3, "A line a file")]),
        ('"""In a process of its own."""', [(1, "of its own")]),
        ('"""There is no seed, and one line per file of its own format."""', []),
        ("ours = theirs  # the code itself may use any names", []),
    ],
)
def test_stilted_phrases_are_found(
    text: str, phrases: list[tuple[int, str]], tmp_path: Path
) -> None:
    path = tmp_path / "module.py"
    path.write_text(text, encoding="utf-8")
    found = [hit[:2] for piece in prose(path) for hit in stilted(*piece)]
    assert sorted(set(found)) == phrases


def test_texts_have_no_stilted_phrases() -> None:
    assert [
        f"{path.relative_to(ROOT)}:{line}: {' '.join(phrase.split())!r} -> {better}"
        for path in pages()
        for first, text in prose(path)
        for line, phrase, better in stilted(first, text)
    ] == []
