"""Text on a console: how wide it is, letters that it lacks, tables and paragraphs that fit."""

from __future__ import annotations

import codecs
import os
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

NARROWEST = 8  # characters that a column keeps when a table is squeezed
WIDEST = 100  # characters of a line of prose
# what consoles without it show instead: dots, dashes, quotes, signs and letters
PLAIN = {
    0x2026: "...",
    **dict.fromkeys(range(0x2010, 0x2016), "-"),
    **dict.fromkeys((0x2018, 0x2019), "'"),
    **dict.fromkeys((0x201C, 0x201D), '"'),
    0xD7: "x",
    0xB0: " deg",
    0xB5: "u",
    0x3BC: "u",
    0x2265: ">=",
    0x2264: "<=",
    0xDF: "ss",
    0xE6: "ae",
    0xF8: "o",
    0xD8: "O",
    0x142: "l",
    0x141: "L",
}


def terminal_width() -> int | None:
    """Characters of a line where stdout is a terminal, or what COLUMNS says; None, so no limit,
    where it is a file or a pipe.
    """
    if os.environ.get("COLUMNS", "").isdecimal() or (
        sys.stdout is not None and sys.stdout.isatty()
    ):
        return max(shutil.get_terminal_size().columns, 20)
    return None


def cells(text: str) -> int:
    """Cells of a terminal that a text takes: two for a wide character, none for a mark on another."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """A text of at most so many cells: what does not fit is an ellipsis."""
    if cells(text) <= width:
        return text
    mark = "…" if shows("…") else "..."[:width]
    kept = list(accumulate(text, initial=""))  # every beginning of it
    return next(k for k in reversed(kept) if cells(k) + len(mark) <= width) + mark


def shows(text: str) -> bool:
    """Whether stdout can show a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeError:
        return False
    return True


def wrap(text: str, width: int, first: str = "", others: str = "") -> list[str]:
    """A text in lines of at most so many cells, which begin with ``first`` and ``others``; a word
    that is longer than a line is broken.
    """
    lines, line, filled = [], first, False
    for word in text.split():
        if filled and cells(line) + 1 + cells(word) <= width:
            line += " " + word
            continue
        if filled:
            lines.append(line)
            line = others
        while cells(line) + cells(word) > width and len(word) > 1:
            room = max(width - cells(line), 1)
            fits = [k for k, used in enumerate(accumulate(map(_cells, word)), 1) if used <= room]
            size = fits[-1] if fits else 1
            lines.append(line + word[:size])
            line, word = others, word[size:]  # noqa: PLW2901
        line, filled = line + word, True
    return [*lines, line] if filled else lines


def readable(*streams: Any) -> None:
    """Have streams show in plain letters what their encoding lacks, and never fail: e for an e with
    an accent, three dots for an ellipsis, the code for anything else.
    """
    codecs.register_error("medzoo", _in_plain_letters)
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="medzoo")


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(PLAIN)
    letters = "".join(
        c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)
    )
    return letters.encode("ascii", "backslashreplace").decode("ascii"), error.end


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Columns as wide as they need to be, or narrower: past ``width`` all but the first are cut
    with an ellipsis. The first one, an id, is never cut.
    """
    widths = [max(cells(r[k]) for r in (head, *rows)) for k in range(len(head))]
    if width is not None:
        _squeeze(widths, width)

    def line(texts: Sequence[str]) -> str:
        shown = [cut(text, w) for text, w in zip(texts, widths, strict=True)]
        padded = (s + " " * (w - cells(s)) for s, w in zip(shown, widths, strict=True))
        return "  ".join(padded).rstrip()

    return "\n".join(map(line, (head, *rows)))


def _squeeze(widths: list[int], width: int) -> None:
    """Make the widest column but the first narrower until all fit, and narrower still if needed."""
    for narrowest in (NARROWEST, 3):
        while sum(widths) + 2 * len(widths) - 2 > width and max(widths[1:], default=0) > narrowest:
            widths[1 + widths[1:].index(max(widths[1:]))] -= 1


def prose(text: str) -> list[str]:
    """Lines of at most a hundred characters, or of what the terminal has."""
    return wrap(text, min(WIDEST, terminal_width() or WIDEST))


def facts(pairs: Mapping[str, str]) -> list[str]:
    """Names and texts in two columns, wrapped; each line of a text begins a new one."""
    indent = max(map(cells, pairs)) + 2
    width = max(min(WIDEST, terminal_width() or WIDEST), indent + 20)
    lines = []
    for name, text in pairs.items():
        for k, part in enumerate(text.splitlines()):
            head = name + " " * (indent - cells(name)) if k == 0 else " " * indent
            lines += wrap(part, width, head, " " * (indent + 2 * ("\n" in text)))
    return lines


def megabytes(size: float | None) -> str:
    """Bytes for people."""
    if size is None:
        return "size unknown"
    unit, factor = next(((u, f) for u, f in (("GB", 1e9), ("MB", 1e6)) if size >= f), ("kB", 1e3))
    return f"{size / factor:.{0 if unit == 'kB' else 1}f} {unit}"


def minutes(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"{seconds:.{1 if seconds < 10 else 0}f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
