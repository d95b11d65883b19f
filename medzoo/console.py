"""Text on a console: its width, characters it cannot show, tables and paragraphs that fit."""

from __future__ import annotations

import codecs
import os
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import filterfalse
from typing import Any

READABLE = 12  # characters of a column below which others are left out instead
NARROWEST = 8  # characters that a column keeps when a table is squeezed
WIDEST = 100  # characters of a line of prose
# Character code -> what is shown on a console that does not have the character.
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
    """The width of the terminal in characters; None (no limit) for a file or a pipe.

    The environment variable COLUMNS goes before the width of the terminal.
    """
    if os.environ.get("COLUMNS", "").isdecimal() or (
        sys.stdout is not None and sys.stdout.isatty()
    ):
        return max(shutil.get_terminal_size().columns, 20)
    return None


def cells(text: str) -> int:
    """The cells of a terminal that a text fills.

    A wide character fills two cells, a mark on another character none.
    """
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """Shorten a text to at most ``width`` cells. The rest is replaced by an ellipsis."""
    if cells(text) <= width:
        return text
    ellipsis = "…" if shows("…") else "..."[:width]
    return text[: _fitting(text, width - len(ellipsis))] + ellipsis


def _fitting(text: str, width: int) -> int:
    """How many characters of the beginning of a text fit into ``width`` cells."""
    used = 0
    for number, character in enumerate(text):
        used += _cells(character)
        if used > width:
            return number
    return len(text)


def shows(text: str) -> bool:
    """Whether stdout can show a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeError:
        return False
    return True


def wrap(text: str, width: int, first: str = "", others: str = "") -> list[str]:
    """Break a text into lines of at most ``width`` cells.

    The first line begins with ``first``, all further lines with ``others``. A word that is longer
    than a line is broken.
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
            size = max(_fitting(word, width - cells(line)), 1)
            lines.append(line + word[:size])
            line, word = others, word[size:]  # noqa: PLW2901
        line, filled = line + word, True
    return [*lines, line] if filled else lines


def readable(*streams: Any) -> None:
    """Make streams show plain letters for characters that their encoding does not have.

    An e with an accent becomes e, an ellipsis becomes three dots, anything else its code. So
    printing never fails.
    """
    codecs.register_error("medzoo", _in_plain_letters)
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="medzoo")


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(PLAIN)
    parts = unicodedata.normalize("NFKD", text)  # letters and accents as separate characters
    letters = "".join(filterfalse(unicodedata.combining, parts))
    return letters.encode("ascii", "backslashreplace").decode("ascii"), error.end


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None = None,
    spare: Sequence[str] = (),
) -> str:
    """A table with columns as wide as their longest text.

    If it is wider than ``width``, the columns ``spare`` are left out, in this order, until the
    others can be read. Then texts are cut with an ellipsis, but never in the first column, which
    holds ids.
    """
    lines = [head, *rows]
    for name in spare:
        if width is None or _least(lines) <= width:
            break
        if name in lines[0]:
            place = list(lines[0]).index(name)
            lines = [[*line[:place], *line[place + 1 :]] for line in lines]
    widths = [max(map(cells, column)) for column in zip(*lines, strict=True)]
    if width is not None:
        _squeeze(widths, width)

    def line(texts: Sequence[str]) -> str:
        return "  ".join(map(_padded, texts, widths)).rstrip()

    return "\n".join(map(line, lines))


def _least(lines: Sequence[Sequence[str]]) -> int:
    """The width of a table whose columns keep (except for the first) `READABLE` characters."""
    first, *others = (max(map(cells, column)) for column in zip(*lines, strict=True))
    return first + sum(2 + min(other, READABLE) for other in others)


def _padded(text: str, width: int) -> str:
    """A text that fills exactly ``width`` cells, if it can be cut to that."""
    shown = cut(text, width)
    return shown + " " * (width - cells(shown))


def _squeeze(widths: list[int], width: int) -> None:
    """Make the widest column except the first narrower until all columns fit into ``width``."""
    for narrowest in (NARROWEST, 3):
        while sum(widths) + 2 * len(widths) - 2 > width and max(widths[1:], default=0) > narrowest:
            widths[1 + widths[1:].index(max(widths[1:]))] -= 1


def prose(text: str) -> list[str]:
    """A text in lines of at most 100 characters, or of the width of a narrower terminal."""
    return wrap(text, min(WIDEST, terminal_width() or WIDEST))


def facts(pairs: Mapping[str, str]) -> list[str]:
    """Names and texts in two columns, wrapped. Each line of a text begins a new line."""
    indent = max(map(cells, pairs)) + 2
    width = max(min(WIDEST, terminal_width() or WIDEST), indent + 20)
    lines = []
    for name, text in pairs.items():
        for k, part in enumerate(text.splitlines()):
            head = name + " " * (indent - cells(name)) if k == 0 else " " * indent
            lines += wrap(part, width, head, " " * (indent + 2 * ("\n" in text)))
    return lines


def megabytes(size: float | None) -> str:
    """A number of bytes as a text: ``312 kB``, ``4.5 MB``, ``1.2 GB``."""
    if size is None:
        return "size unknown"
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    if size >= 1e6:
        return f"{size / 1e6:.1f} MB"
    return f"{size / 1e3:.0f} kB"


def minutes(seconds: float) -> str:
    """A time as a text: ``4.2 s``, ``35 s``, ``12 min``, ``1.5 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
