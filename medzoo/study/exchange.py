"""A study as one file: written, read back, and the answers of several merged."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from .. import files
from ..errors import DatasetError, InputError, IntegrityError
from .reading import LONGEST, LONGEST_TEXT, MOST_YEARS, key_of
from .store import DATABASE, KEY, SCALE, SCHEMA, Answer, Settings, Store, store_of

DATE = (1980, 1, 1, 0, 0, 0)  # of entries in the zip: the same study makes the same file
PNG = b"\x89PNG\r\n\x1a\n"


def export(folder: Path, file: Path, *, blind: bool) -> Path:
    """Write a study as one zip; see `Study.export`."""
    if file.exists():
        raise InputError(f"{file} exists already.", "Give the name of a new file.")
    key = folder / KEY
    if not blind and not key.is_file():
        raise InputError(
            f"The key of the study is not in {folder}, so the file could not hold it.",
            "blind=True (--blind) leaves it out; answers are merged where the key is.",
        )
    with tempfile.TemporaryDirectory() as aside, files.atomic(file, clear=True) as target:
        copy = Path(aside) / DATABASE
        # The backup is of one instant, even while somebody reads.
        with Store(folder / DATABASE).connected() as source, closing(sqlite3.connect(copy)) as to:
            source.backup(to)
        with zipfile.ZipFile(target, "w") as archive:
            for path in [copy] if blind else [copy, key]:
                entry = zipfile.ZipInfo(path.name, DATE)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, path.read_bytes())
    return file


def import_to(file: Path, target: Path) -> None:
    """Make the folder of a study from a file; see `medzoo.study.import_file`."""
    with opened(file) as source, files.new_folder(target) as aside:
        for name in (DATABASE, KEY):
            if (source / name).is_file():
                shutil.copyfile(source / name, aside / name)


def merge(folder: Path, others: Sequence[Path]) -> dict[str, int]:
    """Add the answers of other files of a study; see `Study.merge`."""
    own = Store(folder / DATABASE)
    added = dict.fromkeys(map(str, others), 0)
    with own.connected() as connection:
        for path in others:
            with opened(path) as source:
                store = Store(source / DATABASE)
                _require_same(own.id(), store.id(), path)
                added[str(path)] += _merged(connection, store, path)
    return added


def _require_same(one: str, other: str, path: Path) -> None:
    if one != other:
        raise InputError(
            f"{path} is of another study: its id is {other[:8]}..., and this one's is "
            f"{one[:8]}....",
            "Only files that were exported from this study or from a copy of it can be merged.",
        )


def _merged(connection: sqlite3.Connection, store: Store, path: Path) -> int:
    """Add the readers and answers of one store; return how many answers are new."""
    names = {}
    for key, name, experience, end in store.rows("SELECT * FROM readers"):
        names[key] = name
        query = "SELECT name, experience, closing FROM readers WHERE key = ?"
        known = connection.execute(query, (key,)).fetchone()
        if known is None:
            connection.execute(
                "INSERT INTO readers VALUES (?, ?, ?, ?)", (key, name, experience, end)
            )
        elif known[1] != experience or (known[2] != end and "{}" not in {known[2], end}):
            raise _conflict(name, path, "years of experience or closing answers")
        elif known[2] == "{}":
            connection.execute("UPDATE readers SET closing = ? WHERE key = ?", (end, key))
    new = 0
    for row in store.rows("SELECT * FROM answers"):
        query = "SELECT * FROM answers WHERE reader = ? AND item = ?"
        known = connection.execute(query, row[:2]).fetchone()
        if known is None:
            connection.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)", row)
            new += 1
        elif known != row:
            raise _conflict(names[row[0]], path, f"the answer to {row[1]}")
    return new


def _conflict(name: str, path: Path, what: str) -> InputError:
    return InputError(
        f"{path} has a reader {name!r} who is also in this study, and {what} differ.",
        "Nothing was added. If they are two people, one of them has to read under another name.",
    )


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The folder of a checked study, from its file or its folder."""
    if path.is_dir():
        store_of(path)  # says what is missing
        _require_whole(path, path)
        yield path
        return
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not a file of a study.", "`medzoo study export` writes one.")
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder) / "study"
        files.unpack(path, inside)
        if not (inside / DATABASE).is_file():
            raise InputError(
                f"{path} does not hold a study.", "`medzoo study export` writes such files."
            )
        _require_whole(inside, path)
        yield inside


def _require_whole(folder: Path, path: Path) -> None:
    """Raise IntegrityError unless all that a study holds is as medzoo writes it."""
    store = Store(folder / DATABASE)
    try:
        problem = _problem(store) or _problem_of_key(folder / KEY, store)
    except (DatasetError, ValueError, KeyError, TypeError) as error:
        problem = str(error)
    if problem:
        raise IntegrityError(
            f"{path} is damaged or was changed: {problem}.", "Ask for it to be exported again."
        )


def _problem(store: Store) -> str:
    """What is wrong with the tables; empty if nothing is."""
    if store.rows("PRAGMA integrity_check") != [("ok",)]:
        return "its tables are broken"
    # Tables alone, and no trigger or view that would run when they are read.
    schema = {sql for (sql,) in store.rows("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if schema != set(SCHEMA):
        return "its tables are not those of a study"
    if store.digest() != store.id():
        return "its pictures or settings differ from its id"
    if any(not bytes(png).startswith(PNG) for (png,) in store.rows("SELECT png FROM pictures")):
        return "a picture is not a PNG file"
    return next(filter(None, (*_problems_of_readers(store), *_problems_of_answers(store))), "")


def _problems_of_readers(store: Store) -> Iterator[str]:
    questions = set(store.settings().closing)
    for key, reader in store.readers().items():
        years = reader.experience
        if key_of(reader.name) != (reader.name, key):
            yield f"the reader {key!r:.90} has another name"
        if years is not None and not 0 <= years <= MOST_YEARS:
            yield f"the reader {reader.name!r} has {years:g} years of experience"
        if not set(reader.closing) <= questions:
            yield f"the reader {reader.name!r} answered a question that is not asked"


def _problems_of_answers(store: Store) -> Iterator[str]:
    settings, items, readers = store.settings(), store.items(), store.readers()
    for answer in store.answers():
        if answer.reader not in readers or answer.item not in items:
            yield "an answer is of no reader or of no item"
        elif why := _wrong(answer, settings):
            yield f"an answer of {readers[answer.reader].name!r} {why}"


def _wrong(answer: Answer, settings: Settings) -> str:
    """Why an answer cannot be one; empty if it can."""
    scales = answer.scales
    if not _is_whole(answer.rating, len(settings.choices)):
        return "is out of range"
    if not isinstance(scales, Mapping) or set(scales) != set(settings.scales):
        return "has other scales"
    if not all(_is_whole(value, SCALE) for value in scales.values()):
        return "has a scale that is out of range"
    if not isinstance(answer.comment, str) or len(answer.comment) > LONGEST_TEXT:
        return "has a comment that is too long"
    return "" if 0 <= answer.seconds <= LONGEST else "has an impossible time"


def _is_whole(value: object, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def _problem_of_key(path: Path, store: Store) -> str:
    if not path.is_file():
        return ""
    key = json.loads(path.read_text(encoding="utf-8"))
    if key["study"] != store.id():
        return "its key is of another study"
    pictures = {name for (name,) in store.rows("SELECT id FROM pictures")}
    return "" if set(key["pictures"]) == pictures else "its key names other pictures"
