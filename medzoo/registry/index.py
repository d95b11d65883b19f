"""The compiled index of a registry: one SQLite file in the cache with all that a search reads.

Reading thousands of YAML files takes seconds; opening this file takes no noticeable time. The file
is written under a temporary name and renamed, so it is either complete or absent. It is opened
read-only. When configs were added, changed or removed, a new index is built, which copies the
entries of all unchanged configs. The index never decides what runs: a config that is used is read
from its own file.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import sys
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from functools import cache, lru_cache
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from .. import __version__, files, settings
from ..errors import IntegrityError, NotAvailableError
from .entries import Entry, Figure, Key, read_entries
from .lookup import Registry, Stamp
from .words import Pattern, pairs

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

FIELDS = ("modality", "organ", "content", "generator", "license", "dataset")
LEVELS = 3  # 0: name and fields, 1: tags and conditions, 2: description
FORMAT = 3
MARSHAL_OF_VALUES = 2  # the last format in which equal values are equal bytes
TABLES = {  # table -> its columns
    "made": ["program", "stamp"],
    "models": [
        *("number INTEGER PRIMARY KEY", "id", "path", "changed", "size"),
        *("name", "year", "bundled", *FIELDS),
    ],
    "texts": ["number INTEGER PRIMARY KEY", "levels", "cells", "summary", "figures"],  # JSON
    # For each word, and each pair of neighbouring words: the models that have it at a level.
    "words": ["length", "word", "level", "numbers"],
    "figures": ["metric", "is_default", "number", "value", "dataset", "samples", "better"],
}


class Index:
    """Answers questions about all models of a registry by their numbers; see `index_of`."""

    def __init__(self, models: Registry, database: sqlite3.Connection, path: Path) -> None:
        self.models, self._database, self._path = models, database, path

    def __del__(self) -> None:
        self._database.close()

    def numbers(self, order: str = "number") -> list[int]:
        """The numbers of all models, ordered by an SQL expression."""
        return self._column(f"SELECT number FROM models ORDER BY {order}, number")

    def where(self, field: str, fits: Callable[[Any], bool]) -> set[int]:
        """The models whose field (a text in lower case, or a number) passes the test ``fits``."""
        fits = cache(fits)  # thousands of models share a few values
        rows = self._ask(f"SELECT number, {field} FROM models")
        return {number for number, value in rows if fits(value)}

    def values(self, field: str) -> list[str]:
        """The different values of a field, sorted."""
        return self._column(f"SELECT DISTINCT {field} FROM models ORDER BY {field}")

    def having(self, patterns: Iterable[Pattern]) -> list[set[int]]:
        """The models that have at least one of the patterns: one set per level.

        A model may be in several of the sets.
        """
        levels = _empty_levels()
        for pattern in patterns:
            for level, numbers in enumerate(self._with(pattern)):
                levels[level] |= numbers
        return levels

    def _with(self, pattern: Pattern) -> list[set[int]]:
        """The models that have one pattern: one set per level.

        A phrase of three or more words counts as present if each pair of neighbours is present.
        """
        *before, last = pairs(pattern.words) or pattern.words
        levels = self._postings(last, whole=pattern.whole)
        for pair in before:
            others = set().union(*self._postings(pair, whole=True))
            levels = [numbers & others for numbers in levels]
        return levels

    def _postings(self, words: str, *, whole: bool) -> list[set[int]]:
        """The models that have a word, or two neighbouring words: one set per level."""
        sql = "SELECT level, numbers FROM words WHERE length = ? AND word BETWEEN ? AND ?"
        length = 1 + words.count(" ")
        end = words if whole else words + chr(sys.maxunicode)
        levels = _empty_levels()

        def add(row: tuple[int, bytes]) -> None:
            level, numbers = row
            levels[level].update(array("I", numbers))

        self._ask(sql, length, words, end, read=add)
        return levels

    def words_like(self, typed: str, level: int = LEVELS) -> list[str]:
        """Words that a misspelled word may stand for, of the levels 0 to ``level``.

        They have the same first or last letter and about the same length; none is a number.
        """
        sql = """
            SELECT DISTINCT word FROM words
            WHERE length = 1 AND word > ':' AND length(word) BETWEEN ? AND ?
            AND (substr(word, 1, 1) = ? OR substr(word, -1) = ?) AND level <= ?
        """
        shortest, longest = max(3, len(typed) - 3), len(typed) + 3
        return self._column(sql, shortest, longest, typed[0], typed[-1], level)

    def metrics(self) -> list[str]:
        """The names of metrics that any version reports."""
        return self._column("SELECT DISTINCT metric FROM figures ORDER BY metric")

    def figures(self, metric: str) -> list[Figure]:
        """The figures of a metric that default versions report."""
        sql = """
            SELECT number, value, dataset, samples, better FROM figures
            WHERE metric = ? AND is_default
        """
        return self._ask(sql, metric, read=Figure._make)

    def cells(self, numbers: Iterable[int]) -> list[tuple[str, ...]]:
        """A row of `description.HEAD` for each model."""
        return list(map(tuple, self._texts("cells", numbers)))

    def summaries(self, numbers: Iterable[int]) -> list[dict[str, Any]]:
        """`description.summary` of each model."""
        return list(self._texts("summary", numbers))

    def _texts(self, column: str, numbers: Iterable[int]) -> Iterator[Any]:
        sql = f"SELECT {column} FROM texts WHERE number = ?"
        for number in numbers:
            yield from self._ask(sql, number, read=lambda row: json.loads(row[0]))

    def _column(self, sql: str, *values: str | int) -> list[Any]:
        """The answer to a query for a single column."""
        return self._ask(sql, *values, read=itemgetter(0))

    def _ask(self, sql: str, *values: str | int, read: Callable[[Any], Any] = tuple) -> list[Any]:
        """The answer to a query, each row read by ``read``.

        An index that cannot be read, by SQLite or by ``read``, is removed.
        """
        import sqlite3

        try:
            return list(map(read, self._database.execute(sql, values)))
        except (sqlite3.DatabaseError, ValueError, TypeError, LookupError) as error:
            with suppress(OSError):
                self._path.unlink()
            _compiled.cache_clear()
            raise IntegrityError(
                f"The index of model configs, {self._path}, was damaged: {error}.",
                "It was removed. The next search makes a new one.",
            ) from error


def _empty_levels() -> list[set[int]]:
    """One empty set of models per level."""
    return [set() for _ in range(LEVELS)]


def index_of(models: Registry) -> Index:
    """The index of a registry: the compiled one if no config was changed, otherwise a new one.

    Raises
    ------
    ConfigError
        A config that is new or was changed breaks the schema.
    NotAvailableError
        This Python was built without SQLite.
    """
    return _compiled(models, models.stamps())


@lru_cache(maxsize=4)
def _compiled(models: Registry, stamps: tuple[Stamp, ...]) -> Index:
    """The index of a registry whose files have these stamps."""
    try:
        import sqlite3
    except ImportError as error:
        raise NotAvailableError(
            f"Searching needs SQLite, and this Python was built without it ({error}).",
            "Models still run by id or number.",
        ) from error
    stamp, path = _stamp_of(models, stamps), _path_of(models)
    earlier: dict[Key, Entry] = {}
    # Without an index, or with a damaged one, a new one is made.
    with suppress(sqlite3.Error, ValueError), ExitStack() as stack:
        address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        database = sqlite3.connect(address, uri=True, check_same_thread=False)
        stack.enter_context(closing(database))
        recorded = database.execute("SELECT program, stamp FROM made").fetchone()
        if recorded == stamp:
            stack.pop_all()
            return Index(models, database, path)
        if recorded and recorded[0] == stamp[0]:
            earlier = _entries(database)
    files_and_stamps = zip(models.files.items(), stamps, strict=True)
    keys = [(*file, *file_stamp) for file, file_stamp in files_and_stamps]
    new = [key for key in keys if key not in earlier]
    earlier.update(zip(new, read_entries(new), strict=True))
    entries = list(map(earlier.__getitem__, keys))
    database = sqlite3.connect(":memory:", check_same_thread=False)
    _fill(database, entries, stamp)
    with suppress(OSError, sqlite3.Error):  # if this fails, the next process makes it again
        _save(database, path)
    return Index(models, database, path)


def _stamp_of(models: Registry, stamps: tuple[Stamp, ...]) -> tuple[str, str]:
    """The program that makes an index, and a digest that changes when a config does."""
    program = f"medzoo {__version__}, format {FORMAT}, {sys.byteorder}"
    paths = "\n".join(models.files.values())
    return program, _digest(paths.encode() + marshal.dumps(stamps, MARSHAL_OF_VALUES))


def _path_of(models: Registry) -> Path:
    """The file of the index of a registry; there is one for each list of folders."""
    name = _digest("\n".join(map(str, models.folders)).encode())[:16]
    return settings.cache_folder() / "index" / f"{name}.sqlite"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _save(database: sqlite3.Connection, path: Path) -> None:
    import sqlite3

    with files.atomic(path) as file, closing(sqlite3.connect(file.name)) as copy:
        database.backup(copy)
        os.fsync(file.fileno())


def _entries(database: sqlite3.Connection) -> dict[Key, Entry]:
    """The entries of an older index, by the keys of the configs."""
    width = len(TABLES["models"])
    entries: dict[Key, Entry] = {}
    for row in database.execute("SELECT * FROM models JOIN texts USING (number)"):
        model, texts = row[:width], row[width:]
        for text in texts:
            json.loads(text)  # raises ValueError if the index is damaged
        entries[row[1:5]] = model, (row[0], *texts)
    return entries


def _fill(database: sqlite3.Connection, entries: list[Entry], stamp: tuple[str, str]) -> None:
    """Write all tables. Those of words and figures are made from the texts of the entries."""
    figures = []
    for _, (*_, reported) in entries:
        figures += json.loads(reported)
    models, texts = zip(*entries, strict=True) if entries else ((), ())
    rows: dict[str, Iterable[Any]] = {
        "made": [stamp],
        "models": models,
        "texts": texts,
        "words": _postings(entries),
        "figures": figures,
    }
    with database:
        for table, columns in TABLES.items():
            marks = ", ".join("?" * len(columns))
            database.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows[table])
        database.execute("CREATE INDEX by_word ON words (length, word)")


def _postings(entries: list[Entry]) -> Iterator[tuple[int, str, int, bytes]]:
    """Rows of the table `words`. A word counts at the first level at which a model has it."""
    postings = [defaultdict[str, list[int]](list) for _ in range(LEVELS)]
    for _, (number, levels, *_) in entries:
        seen = set[str]()
        for texts, numbers in zip(json.loads(levels), postings, strict=True):
            words = set(chain.from_iterable(texts))
            words.update(*map(pairs, texts))
            for word in words - seen:
                numbers[word].append(number)
            seen |= words
    for level, numbers in enumerate(postings):
        for word, models in numbers.items():
            yield 1 + word.count(" "), word, level, array("I", models).tobytes()
