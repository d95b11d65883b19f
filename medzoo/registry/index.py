"""The compiled index of a registry: what finding a model needs of every config, in one SQLite file
in the cache.

Reading thousands of YAML files takes seconds, opening this file none. It is built aside and
renamed, so it is there whole or not at all, and is opened read-only; when configs were added,
changed or removed since, a new index copies its entries of the other configs. Nothing in it decides
what runs: a config that is used is read from its own file.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from functools import cache, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import __version__, files, settings
from ..config import ModelConfig
from ..errors import IntegrityError, NotAvailableError
from . import description
from .lookup import File, Registry
from .words import Pattern, plain_texts

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

FIELDS = ("modality", "organ", "content", "generator", "license", "dataset")
LEVELS = 3  # how telling a text is: name and fields, tags and conditions, description
FORMAT = 2
TABLES = {  # columns of each
    "made": ["program", "stamp"],
    "models": ["number INTEGER PRIMARY KEY", *File._fields, "name", "year", "bundled", *FIELDS],
    "texts": ["number INTEGER PRIMARY KEY", "levels", "cells", "summary", "figures"],  # JSON
    "words": [
        "length",
        "word",
        "level",
        "numbers",
    ],  # of words and pairs of them, level by level: which models
    "figures": ["metric", "is_default", "number", "value", "dataset", "samples", "better"],
}
Entry = tuple[tuple[Any, ...], tuple[Any, ...]]  # rows of models and texts


class Figure(NamedTuple):
    """A metric that a model reports."""

    number: int
    value: float
    dataset: str
    samples: int
    better: str

    @property
    def group(self) -> tuple[str, int]:
        """Figures of one group can be compared."""
        return self.dataset, self.samples


class Index:
    """What is known of the models of a registry, by their numbers; made by `index_of`."""

    def __init__(self, models: Registry, database: sqlite3.Connection, path: Path) -> None:
        self.models, self._database, self._path = models, database, path

    def __del__(self) -> None:
        self._database.close()

    def numbers(self, order: str = "number") -> list[int]:
        """All models, in an order that SQL knows."""
        return [n for (n,) in self._ask(f"SELECT number FROM models ORDER BY {order}, number")]

    def where(self, field: str, fits: Callable[[Any], bool]) -> set[int]:
        """The models whose field, a text in lower case or a number, fits."""
        once = cache(fits)
        return {n for n, value in self._ask(f"SELECT number, {field} FROM models") if once(value)}

    def values(self, field: str) -> list[str]:
        """What a field says, each once, sorted."""
        return [v for (v,) in self._ask(f"SELECT DISTINCT {field} FROM models ORDER BY {field}")]

    def having(self, patterns: Iterable[Pattern]) -> list[set[int]]:
        """The models that hold one of the patterns, level by level; a model may be in several."""
        found: list[set[int]] = [set() for _ in range(LEVELS)]
        for pattern in patterns:
            for level, numbers in enumerate(self._with(pattern)):
                found[level] |= numbers
        return found

    def _with(self, pattern: Pattern) -> list[set[int]]:
        """A model has a phrase of three or more words if it has each pair of neighbouring words."""
        *before, last = [" ".join(pair) for pair in pairwise(pattern.words)] or pattern.words
        found = self._postings(last, whole=pattern.whole)
        for pair in before:
            others = set().union(*self._postings(pair, whole=True))
            found = [numbers & others for numbers in found]
        return found

    def _postings(self, words: str, *, whole: bool) -> list[set[int]]:
        """The models that hold a word, or two in a row, level by level."""
        beyond = words if whole else words + chr(sys.maxunicode)
        asked = "SELECT level, numbers FROM words WHERE length = ? AND word BETWEEN ? AND ?"
        found: list[set[int]] = [set() for _ in range(LEVELS)]
        self._ask(
            asked,
            1 + words.count(" "),
            words,
            beyond,
            read=lambda row: found[row[0]].update(array("I", row[1])),
        )
        return found

    def words_like(self, typed: str, level: int = LEVELS) -> list[str]:
        """The words of about as many letters that begin or end like one that was typed, numbers
        aside; of the levels down to ``level``.
        """
        asked = """SELECT DISTINCT word FROM words WHERE length = 1 AND word > ':' AND length(word) BETWEEN ? AND ?
                   AND (substr(word, 1, 1) = ? OR substr(word, -1) = ?) AND level <= ?"""
        return [
            word
            for (word,) in self._ask(
                asked, max(3, len(typed) - 3), len(typed) + 3, typed[0], typed[-1], level
            )
        ]

    def metrics(self) -> list[str]:
        """The names of metrics that any version reports."""
        return [
            metric for (metric,) in self._ask("SELECT DISTINCT metric FROM figures ORDER BY metric")
        ]

    def figures(self, metric: str) -> list[Figure]:
        """What default versions report."""
        asked = "SELECT number, value, dataset, samples, better FROM figures WHERE metric = ? AND is_default"
        return [Figure(*row) for row in self._ask(asked, metric)]

    def cells(self, numbers: Iterable[int]) -> list[tuple[str, ...]]:
        """A row of `description.HEAD` for each model."""
        return [tuple(cells) for cells in self._texts("cells", numbers)]

    def summaries(self, numbers: Iterable[int]) -> list[dict[str, Any]]:
        """`description.summary` of each model."""
        return list(self._texts("summary", numbers))

    def _texts(self, column: str, numbers: Iterable[int]) -> Iterator[Any]:
        for number in numbers:
            yield from self._ask(
                f"SELECT {column} FROM texts WHERE number = ?",
                number,
                read=lambda row: json.loads(row[0]),
            )

    def _ask(self, sql: str, *values: str | int, read: Callable[[Any], Any] = tuple) -> list[Any]:
        import sqlite3

        try:
            return [read(row) for row in self._database.execute(sql, values)]
        except (
            sqlite3.DatabaseError,
            ValueError,
            TypeError,
            LookupError,
        ) as error:  # what `read` raises, too
            with suppress(OSError):
                self._path.unlink()
            index_of.cache_clear()
            raise IntegrityError(
                f"The index of model configs, {self._path}, was damaged: {error}.",
                "It was removed. The next search makes a new one.",
            ) from error


@lru_cache(maxsize=4)
def index_of(models: Registry) -> Index:
    """The index of a registry: the compiled one where it is up to date, else a new one.

    Raises
    ------
    ConfigError
        A config that is new or was changed breaks the schema.
    NotAvailableError
        This Python was built without SQLite.
    """
    try:
        import sqlite3
    except ImportError as error:
        raise NotAvailableError(
            f"Searching needs SQLite, and this Python was built without it ({error}).",
            "Models still run by id or number.",
        ) from error
    made = (
        f"medzoo {__version__}, format {FORMAT}, {sys.byteorder}",
        hashlib.sha256(
            "\n".join(f"{f.path} {f.changed} {f.size}" for f in models.files.values()).encode()
        ).hexdigest(),
    )
    folders = hashlib.sha256("\n".join(map(str, models.folders)).encode()).hexdigest()
    path = settings.cache_folder() / "index" / f"{folders[:16]}.sqlite"
    known: dict[File, Entry] = {}
    with (
        suppress(sqlite3.Error, ValueError),
        ExitStack() as stack,
    ):  # there is none, or it was damaged: a new one is made
        address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        database = stack.enter_context(
            closing(sqlite3.connect(address, uri=True, check_same_thread=False))
        )
        found = database.execute("SELECT program, stamp FROM made").fetchone()
        if found == made:
            stack.pop_all()
            return Index(models, database, path)
        if found and found[0] == made[0]:
            known = _entries(database)
    entries = [
        known.get(file) or _entry(models.configs[identifier], file)
        for identifier, file in models.files.items()
    ]
    database = sqlite3.connect(":memory:", check_same_thread=False)
    _fill(database, entries, made)
    with (
        suppress(OSError, sqlite3.Error),
        files.atomic(path) as file,
        closing(sqlite3.connect(file.name)) as kept,
    ):
        database.backup(kept)  # if this fails, the next process makes it again
        os.fsync(file.fileno())
    return Index(models, database, path)


def _entries(database: sqlite3.Connection) -> dict[File, Entry]:
    """What an older index says of each config, wherever that lies."""
    width, found = len(TABLES["models"]), {}
    for row in database.execute("SELECT * FROM models JOIN texts USING (number)"):
        for text in row[width:]:
            json.loads(text)  # else it is damaged
        found[File(*row[1:5])] = row[:width], (row[0], *row[width:])
    return found


def _entry(config: ModelConfig, file: File) -> Entry:
    """A config as rows of models and texts."""
    versions, default, number = config.versions.values(), config.default, config.number
    conditions = [t for v in versions for c in v.conditions.values() for t in (c.name, *c.values)]
    levels = (
        [config.id, str(number), config.name, config.modality, config.organ, config.content],
        [*config.tags, *conditions, *(d.name for v in versions for d in v.datasets)],
        [config.description, *(v.architecture for v in versions), *(v.generator for v in versions)],
    )
    fields = (
        config.modality,
        config.organ,
        config.content,
        default.generator,
        default.license,
        "\n".join(d.name for d in default.datasets),
    )
    figures = [
        (m.name, v is default, number, m.value, m.dataset, m.samples or 0, m.better)
        for v in versions
        for m in v.metrics
    ]
    bundled = default.scheme == "bundled"
    model = (
        number,
        *file,
        config.name.casefold(),
        default.year,
        bundled,
        *(field.casefold() for field in fields),
    )
    texts = (
        [plain_texts(level) for level in levels],
        description.row(config),
        description.summary(config),
        figures,
    )
    return model, (number, *map(json.dumps, texts))


def _fill(database: sqlite3.Connection, entries: list[Entry], made: tuple[str, str]) -> None:
    """Write all tables: those of words and figures follow from the other two."""
    postings: dict[tuple[int, str, int], array[int]] = defaultdict(lambda: array("I"))
    figures = []
    for _, (number, levels, _, _, reported) in entries:
        seen = set[tuple[int, str]]()
        for level, texts in enumerate(json.loads(levels)):
            here = {(1, word) for words in texts for word in words}
            here |= {(2, " ".join(pair)) for words in texts for pair in pairwise(words)}
            for length, word in here - seen:
                postings[length, word, level].append(number)
            seen |= here
        figures += json.loads(reported)
    words = [(*key, numbers.tobytes()) for key, numbers in postings.items()]
    models, texts = zip(*entries, strict=True) if entries else ((), ())
    rows = {"made": [made], "models": models, "texts": texts, "words": words, "figures": figures}
    with database:
        for table, columns in TABLES.items():
            database.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            database.executemany(
                f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", rows[table]
            )
        database.execute("CREATE INDEX by_word ON words (length, word)")
