"""The file of a study: what readers are shown, and what they answered, in SQLite.

Nothing in this file says which picture is real, but for the pictures of the training.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import DatasetError, InputError, IntegrityError

DATABASE, KEY = "study.sqlite", "key.json"
FORMAT = 1  # of the file; a study of another format is refused
TASKS = ("rating", "pairs")
RATINGS = (
    *("certainly real", "probably real", "rather real"),
    *("rather synthetic", "probably synthetic", "certainly synthetic"),
)
SIDES = ("left", "right")
CLOSING = ("What gave synthetic pictures away?", "Is there anything else to say?")
SCALE = 5  # a further scale has the values 1 to 5
SCHEMA = (
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE pictures (id TEXT PRIMARY KEY, png BLOB NOT NULL)",
    "CREATE TABLE items (id TEXT PRIMARY KEY, pictures TEXT NOT NULL, training TEXT NOT NULL)",
    """CREATE TABLE readers (
    key TEXT PRIMARY KEY, name TEXT NOT NULL, experience REAL, closing TEXT NOT NULL)""",
    """CREATE TABLE answers (
    reader TEXT NOT NULL, item TEXT NOT NULL, rating INTEGER NOT NULL, scales TEXT NOT NULL,
    comment TEXT NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (reader, item))""",
)
INSERT = {  # a row with the same key stays as it was
    "settings": "INSERT OR IGNORE INTO settings VALUES (?, ?)",
    "pictures": "INSERT OR IGNORE INTO pictures VALUES (?, ?)",
    "items": "INSERT OR IGNORE INTO items VALUES (?, ?, ?)",
    "readers": "INSERT OR IGNORE INTO readers VALUES (?, ?, ?, ?)",
    "answers": "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?)",
}


@dataclass(frozen=True)
class Settings:
    """What a study asks.

    Parameters
    ----------
    task : str
        ``rating``: one picture at a time, real or synthetic. ``pairs``: two pictures, of which one
        is synthetic.
    n : int
        Items that count: pictures, or pairs.
    training : int
        Items that come first, with the truth after each, and do not count.
    scales : tuple of str
        Further scales from 1 (worst) to 5 (best), such as ``realism``.
    closing : tuple of str
        Questions at the end, answered in words.
    size : tuple of int
        Height and width of all pictures.

    Examples
    --------
    >>> from medzoo import study
    >>> study.Settings("pairs", n=20, training=2, scales=(), closing=(), size=(64, 64)).choices
    ('left', 'right')
    """

    task: str
    n: int
    training: int
    scales: tuple[str, ...]
    closing: tuple[str, ...]
    size: tuple[int, int]

    @property
    def question(self) -> str:
        """What is asked of each item."""
        return "Which one is synthetic?" if self.task == "pairs" else "Is this picture real?"

    @property
    def choices(self) -> tuple[str, ...]:
        """The answers to the question; the first is the rating 1."""
        return SIDES if self.task == "pairs" else RATINGS


@dataclass(frozen=True)
class Item:
    """What a reader answers at once: one picture, or a pair.

    Parameters
    ----------
    id : str
        Its name, which says nothing about it.
    pictures : tuple of str
        The names of its one or two pictures, from left to right.
    number, total : int
        Its place among the items of this reader, from 1, and how many there are.
    training : bool
        Whether it is for training.

    Examples
    --------
    >>> from medzoo import study
    >>> study.Item("5e1f", ("9a20",), number=1, total=100, training=False).pictures
    ('9a20',)
    """

    id: str
    pictures: tuple[str, ...]
    number: int
    total: int
    training: bool


@dataclass(frozen=True)
class Reader:
    """A person who reads, and how far they are.

    Parameters
    ----------
    name : str
        As given.
    experience : float or None
        Years of experience.
    answered, total : int
        Items with an answer, and all items, both with the training.
    closing : Mapping[str, str]
        Question -> answer at the end; empty before that.

    Examples
    --------
    >>> from medzoo import study
    >>> study.Reader("Dr A", 12.0, answered=3, total=100, closing={}).finished
    False
    """

    name: str
    experience: float | None
    answered: int
    total: int
    closing: Mapping[str, str]

    @property
    def finished(self) -> bool:
        """Whether every item has an answer."""
        return self.answered == self.total


@dataclass(frozen=True)
class Answer:
    """One answer of one reader; ``reader`` is the key of the name."""

    reader: str
    item: str
    rating: int
    scales: Mapping[str, int]
    comment: str
    seconds: float


def text_of(content: Any) -> str:
    """JSON in one form only, so that equal contents are equal texts."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False)


class Store:
    """The tables of a study. Each call opens the file and closes it, so any thread may call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """A transaction; what fails inside leaves the file as it was.

        Raises
        ------
        DatasetError
            The file cannot be read or written.
        """
        try:
            with closing(sqlite3.connect(self.path, timeout=30)) as connection:
                # A committed answer is on the disk, even if the power fails.
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("PRAGMA trusted_schema=OFF")
                with connection:
                    yield connection
        except sqlite3.Error as error:
            raise DatasetError(
                f"{self.path} cannot be read or written: {error}.",
                "Check that it is a whole file, that the disk has room and that you may write it.",
            ) from error

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows that a query gives."""
        with self.connected() as connection:
            return connection.execute(query, values).fetchall()

    def insert(self, table: str, *values: Any) -> bool:
        """Add a row, and return whether it is new; a row with the same key stays as it was."""
        return self.insert_all(table, [values]) == 1

    def insert_all(self, table: str, rows: Iterable[Sequence[Any]]) -> int:
        """Add all rows or none, and return how many of them are new."""
        with self.connected() as connection:
            before = connection.total_changes
            connection.executemany(INSERT[table], rows)
            return connection.total_changes - before

    # ------------------------------------------------------------------------------- what is shown
    def create(self, settings: Settings) -> None:
        """Make the tables."""
        with self.connected() as connection:
            for statement in SCHEMA:
                connection.execute(statement)
        content = {"format": FORMAT, **asdict(settings)}
        self.insert_all("settings", [(name, text_of(value)) for name, value in content.items()])

    def settings(self) -> Settings:
        """What the study asks.

        Raises
        ------
        DatasetError
            The file is not that of a study, or of another format.
        """
        stored = {}
        for name, value in self.rows("SELECT name, value FROM settings"):
            stored[name] = json.loads(value)
        form = stored.pop("format", None)
        stored.pop("id", None)
        if form != FORMAT:
            raise DatasetError(
                f"{self.path} has the format {form}, and this medzoo reads {FORMAT}.",
                "Use the version of medzoo that made the study.",
            )
        lists = {name: tuple(v) for name, v in stored.items() if isinstance(v, list)}
        return Settings(**{**stored, **lists})

    def seal(self) -> str:
        """Give the finished study its id, which is a digest of all that readers see."""
        digest = self.digest()
        self.insert("settings", "id", text_of(digest))
        return digest

    def digest(self) -> str:
        """A digest of all that readers see."""
        content = hashlib.sha256(text_of(asdict(self.settings())).encode())
        with self.connected() as connection:
            for row in connection.execute("SELECT * FROM items ORDER BY id"):
                content.update(text_of(row).encode())
            for name, png in connection.execute("SELECT id, png FROM pictures ORDER BY id"):
                content.update(name.encode() + hashlib.sha256(png).digest())
        return content.hexdigest()[:32]

    def id(self) -> str:
        """The id that was given when it was made."""
        rows = self.rows("SELECT value FROM settings WHERE name = 'id'")
        if not rows:
            raise DatasetError(f"{self.path} is an unfinished study.", "Make it again.")
        return str(json.loads(rows[0][0]))

    def items(self) -> dict[str, tuple[tuple[str, ...], str]]:
        """Item -> its pictures, and the right answer if it is for training, else an empty text."""
        found = {}
        for name, pictures, training in self.rows("SELECT * FROM items ORDER BY id"):
            found[name] = tuple(json.loads(pictures)), training
        return found

    def picture(self, name: str) -> bytes:
        """A picture as a PNG file.

        Raises
        ------
        InputError
            There is no such picture.
        """
        rows = self.rows("SELECT png FROM pictures WHERE id = ?", name)
        if not rows:
            raise InputError(f"The study has no picture {name!r:.80}.")
        return bytes(rows[0][0])

    # --------------------------------------------------------------------------- what was answered
    def readers(self) -> dict[str, Reader]:
        """Key -> reader, in the order of the keys."""
        total = len(self.items())
        counts = dict(self.rows("SELECT reader, COUNT(*) FROM answers GROUP BY reader"))
        found = {}
        for key, name, experience, end in self.rows("SELECT * FROM readers ORDER BY key"):
            found[key] = Reader(name, experience, counts.get(key, 0), total, json.loads(end))
        return found

    def answers(self) -> list[Answer]:
        """All answers, those of the training as well."""
        found = []
        for row in self.rows("SELECT * FROM answers ORDER BY reader, item"):
            reader, item, rating, scales, comment, seconds = row
            found.append(Answer(reader, item, rating, json.loads(scales), comment, seconds))
        return found


def store_of(folder: Path) -> Store:
    """The file of the study in a folder.

    Raises
    ------
    InputError
        There is none.
    """
    store = Store(folder / DATABASE)
    if not store.path.is_file():
        raise InputError(
            f"There is no study in {folder}.",
            "`medzoo study new` makes one. Its folder holds a study.sqlite.",
        )
    return store


def read_key(folder: Path, store: Store) -> dict[str, Any]:
    """The truth.

    Raises
    ------
    InputError
        It is not here.
    IntegrityError
        It is that of another study.
    DatasetError
        It cannot be read.
    """
    path = folder / KEY
    if not path.is_file():
        raise InputError(
            f"There is no {KEY} in {folder}, so nobody can say which answers are right.",
            "The key is where the study was made: export the answers, and merge them there.",
        )
    try:
        key: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        study = key["study"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} cannot be read: {error!r}.", "Copy it again.") from error
    if study != store.id():
        raise IntegrityError(
            f"{path} is the key of another study.", "Put the key of this study there."
        )
    return key
