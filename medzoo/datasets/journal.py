"""How much of a set is complete: a record and a journal while it is written, then a seal.

The record says what was asked for, and the journal what was written. Both are in ``.unfinished``
inside the set's folder, and are removed when the set is finished. The provenance is then sealed: it
contains a digest of the manifest and one of itself. The record is sealed in the same way. Each line
of the journal has a checksum of itself and of the line before it, and the first line one of the
record.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import IO, Any

from .. import files
from ..errors import DatasetError
from ..provenance import SEALS
from .paths import inside, walk

MANIFEST, PROVENANCE, LOG = "manifest.jsonl", "provenance.json", "run.log"
UNFINISHED = ".unfinished"
RECORD, JOURNAL = f"{UNFINISHED}/record.json", f"{UNFINISHED}/journal.jsonl"
RECORD_KEYS = {"resumes", "batches", "continued", "lengths", "provenance"}
LINE_KEYS = ({"done", "state", "stretches"}, {"batches"}, {"continued"})  # of a journal's lines
LINE_END = b', "sha256": "%b"}\n'
LINE_END_BYTES = len(LINE_END % bytes(64))
SEAL = b',\n  "provenance_sha256": "%b"\n}\n'
SEAL_BYTES = len(SEAL % bytes(64))
BLOCK = 2**20


@dataclass(frozen=True)
class Base:
    """A finished set that grows: how much of its files the larger set begins with."""

    folder: Path
    lengths: Mapping[str, int]  # in bytes; of a file that is not listed here, all bytes
    manifest: str  # its sha256

    def length(self, name: str) -> int:
        """The number of bytes of a file that do not change."""
        if name in self.lengths:
            return self.lengths[name]
        path = inside(self.folder, name)
        return path.stat().st_size if path.is_file() else 0

    @cached_property
    def digests(self) -> dict[str, str]:
        """The sha256 of the files that hold many samples."""
        return {**whole_files(self.folder), MANIFEST: self.manifest}


class Journal:
    """The growing files of a set, and the journal that says how much of each is complete.

    A format writes with `append` and `put`. `commit` then adds a line with every stretch that was
    written since the last line, its checksum, and the number of samples that are done. A run that
    is killed loses what it wrote after the last line. `go_back` finds this line, or an earlier one
    if a file is no longer as it was written, and removes the rest.

    If a finished set grows, its files are the ``base``: ``folder`` is empty at first, and a file of
    the base is copied when it is first written to.
    """

    def __init__(self, folder: Path, base: Base | None = None) -> None:
        self.folder, self.base = folder, base
        self.lengths: dict[str, int] = {}  # file -> bytes
        self.before: dict[str, Any] = {}  # `lengths`, `done` and `state` before the last batch
        self._files: dict[str, IO[bytes]] = {}
        # [file, offset, bytes, crc32], in the order of writing
        self._stretches: list[list[Any]] = []
        self._last = ""  # checksum of the last line, or of the record
        # One thread commits a batch while another notes a smaller batch size.
        self._lock = Lock()

    def begin(self, record: Mapping[str, Any]) -> None:
        """Write the record of what was asked for, before the first sample."""
        inside(self.folder, JOURNAL).unlink(missing_ok=True)
        text = sealed(record)
        with files.atomic(inside(self.folder, RECORD)) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self._last = hashlib.sha256(text).hexdigest()

    def length(self, name: str) -> int:
        """The current length of a file in bytes."""
        if name in self.lengths or self.base is None:
            return self.lengths.get(name, 0)
        return self.base.length(name)

    def append(self, name: str, data: bytes) -> int:
        """Write at the end of a file; returns the byte where it begins."""
        at = self.length(name)
        self.put(name, data, at)
        return at

    def put(self, name: str, data: bytes | memoryview, at: int) -> None:
        """Write to a file from byte ``at``."""
        if name not in self._files:
            self._files[name] = self._open(name)
        _write(self._files[name], data, at)
        size, last = len(data), self._stretches[-1] if self._stretches else None
        if last and last[0] == name and last[1] + last[2] == at:
            last[2:] = last[2] + size, zlib.crc32(data, last[3])
        else:
            self._stretches.append([name, at, size, zlib.crc32(data)])
        self.lengths[name] = max(self.lengths.get(name, 0), at + size)

    def _open(self, name: str) -> IO[bytes]:
        path = inside(self.folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in self.lengths:
            return path.open("r+b", buffering=0)
        # A file that is not in the journal belongs to a batch that is made again.
        file = path.open("w+b", buffering=0)
        try:
            if self.base is not None and (length := self.base.length(name)):
                self._copy(self.base, name, length, file)
        except BaseException:
            file.close()
            raise
        return file

    def _copy(self, base: Base, name: str, length: int, file: IO[bytes]) -> None:
        """Copy the beginning of a file of the base, which must be as it was written."""
        digest, crc, left = hashlib.sha256(), 0, length
        with inside(base.folder, name).open("rb") as source:
            while block := source.read(BLOCK):
                digest.update(block)
                _write(file, block[:left])
                crc = zlib.crc32(block[:left], crc)
                left -= len(block[:left])
        if left or digest.hexdigest() != base.digests.get(name):
            raise DatasetError(
                f"{base.folder} cannot grow: {name} is not as it was written.",
                "`medzoo verify` names what has changed. Make the set again in another folder.",
            )
        self._stretches.append([name, 0, length, crc])
        self.lengths[name] = length

    def close(self, name: str | None = None) -> None:
        """Close one file, or all files."""
        for key in [name] if name else list(self._files):
            if file := self._files.pop(key, None):
                file.close()

    def commit(self, done: int, state: Mapping[str, Any]) -> None:
        """Note how many samples are complete, and the state that the format needs to continue."""
        self.note(done=done, state=state, stretches=self._stretches)
        self._stretches = []

    def note(self, **entry: Any) -> None:
        """Add a line to the journal."""
        with self._lock, inside(self.folder, JOURNAL).open("ab", buffering=0) as file:
            line, self._last = _line(entry, self._last)
            _write(file, line)

    def go_back(self, done: int, state: Mapping[str, Any], n: int) -> dict[str, Any]:
        """Go back to the last line up to which all files are as they were written.

        Returns what all lines up to there say together: ``done`` and ``state``, which begin with
        these values, and all other notes. `before` is what they said before the last of ``n``
        samples was done.
        """
        notes: dict[str, Any] = {"done": done, "state": state}
        path, end = inside(self.folder, JOURNAL), 0
        path.touch()
        self._last = hashlib.sha256((self.folder / RECORD).read_bytes()).hexdigest()
        for entry, size, checksum in entries(self.folder):
            stretches = entry.pop("stretches", [])
            if not all(self._is_good(*stretch) for stretch in stretches):
                break
            if entry.get("done") == n:
                self.before = {**notes, "lengths": dict(self.lengths)}
            for name, at, length, _ in stretches:
                self.lengths[name] = max(self.lengths.get(name, 0), at + length)
            notes |= entry
            end += size
            self._last = checksum
        self.close()
        os.truncate(path, end)
        for name, length in self.lengths.items():
            os.truncate(inside(self.folder, name), length)
        for part in list(_parts(self.folder)):
            part.unlink()
        return notes

    def _is_good(self, name: str, at: int, size: int, crc: int) -> bool:
        """Whether a stretch is as it was written.

        A stretch of the manifest is good only if the files that it lists are as they were written.
        """
        path = inside(self.folder, name)
        try:
            if name not in self._files:
                self._files[name] = path.open("rb")
            file, checksum = self._files[name], 0
            file.seek(at)
            for start in range(0, size, BLOCK):
                checksum = zlib.crc32(file.read(min(BLOCK, size - start)), checksum)
            if checksum != crc:
                return False
            if name != MANIFEST:
                return True
            start = max(at, self.base.length(name)) if self.base else at
            file.seek(start)
            lines = file.read(at + size - start).splitlines()
            return all(self._has_good_file(json.loads(line)) for line in lines)
        except OSError:
            return False

    def _has_good_file(self, entry: Mapping[str, Any]) -> bool:
        """Whether the file of a line of the manifest is as it was written."""
        if "offset" in entry:  # a sample in a shard, which is checked as a stretch
            return True
        return files.sha256_of(inside(self.folder, entry["file"])) == str(entry["sha256"])


def _parts(folder: Path) -> Iterator[Path]:
    """The temporary files of `files.atomic` that a killed run left anywhere in a folder."""
    for name, _ in walk(folder):
        if name.endswith(".part") and name.rpartition("/")[2].startswith("."):
            yield folder / name


def _line(entry: Mapping[str, Any], before: str) -> tuple[bytes, str]:
    """A line of the journal, and its checksum, which depends on that of the line before."""
    text = json.dumps(entry).encode()
    checksum = hashlib.sha256(before.encode() + text).hexdigest()
    return text[:-1] + LINE_END % checksum.encode(), checksum


def entries(folder: Path) -> Iterator[tuple[dict[str, Any], int, str]]:
    """The lines of an unfinished set's journal, each with its size in bytes and its checksum.

    They end before the first line that is not as it was written: a killed run may leave half a
    line.
    """
    before = hashlib.sha256(inside(folder, RECORD).read_bytes()).hexdigest()
    with inside(folder, JOURNAL).open("rb") as lines:
        yield from good_lines(lines, before)


def good_lines(lines: Iterable[bytes], before: str) -> Iterator[tuple[dict[str, Any], int, str]]:
    """The lines of a journal before the first that is not as it was written; see `entries`."""
    for line in lines:
        text, end = line[:-LINE_END_BYTES] + b"}", line[-LINE_END_BYTES:]
        before = hashlib.sha256(before.encode() + text).hexdigest()
        if end != LINE_END % before.encode():
            return
        entry = json.loads(text)
        if set(entry) not in LINE_KEYS:
            return
        yield entry, len(line), before


def _write(file: IO[bytes], data: bytes | memoryview, at: int | None = None) -> None:
    """Write all of ``data``. A raw file may write only a part of it, if the disk is nearly full."""
    if at is not None:
        file.seek(at)
    left = memoryview(data).cast("B")
    while left:
        left = left[file.write(left) :]


# --------------------------------------------------------------------------------------------------
# what a folder holds
def is_whole(folder: Path) -> bool:
    """Whether the folder holds a finished set."""
    return (folder / PROVENANCE).exists()


def require_whole(folder: Path) -> None:
    """Raise DatasetError, which says what the folder holds, unless it holds a finished set."""
    try:
        if is_whole(folder):
            return
        if not folder.is_dir():
            raise DatasetError(
                f"There is no folder {folder}.", "Name a folder that `medzoo generate` wrote."
            )
        if not (folder / RECORD).exists():
            raise DatasetError(
                f"{folder} holds no set of samples: no {PROVENANCE} lies in it.",
                "Name the folder that `medzoo generate` wrote, not one inside or above it.",
            )
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error}.", "Is the path right?") from error
    if read_json(folder / RECORD).get("resumes") is False:
        raise DatasetError(
            f"{folder} holds no finished set of samples: they were being saved from memory.",
            "Save them again, into another folder.",
        )
    n = recorded(folder).get("n")
    total = f" of {n:,}" if isinstance(n, int) else ""
    raise DatasetError(
        f"{folder} holds no finished set of samples: {done(folder):,}{total} are there.",
        "Run the same command again: it continues from there.",
    )


def done(folder: Path) -> int:
    """The number of samples of an unfinished set, from its journal."""
    n = 0
    # A killed run may leave half a line at the end.
    with suppress(OSError, ValueError, AttributeError):
        for line in (folder / JOURNAL).read_bytes().splitlines():
            n = int(json.loads(line).get("done", n))
    return n


def recorded(folder: Path) -> dict[str, Any]:
    """The provenance of the set in a folder; empty if none can be read.

    That of an unfinished set is the one it began with.
    """
    provenance = read_json(folder / PROVENANCE) or read_json(folder / RECORD).get("provenance")
    return provenance if isinstance(provenance, dict) else {}


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one if it cannot be read."""
    with suppress(OSError, ValueError, TypeError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}


def whole_files(folder: Path) -> dict[str, str]:
    """The digests in the manifest of the files that hold many samples."""
    digests = {}
    with inside(folder, MANIFEST).open("rb") as lines:
        for line in lines:
            if b'"samples"' in line:
                entry = json.loads(line)
                if "index" not in entry:
                    digests[entry["file"]] = entry["sha256"]
    return digests


def read_record(folder: Path) -> dict[str, Any]:
    """The record of an unfinished set.

    Raises
    ------
    FileNotFoundError
        There is none.
    DatasetError
        It is not as it was written.
    """
    path = inside(folder, RECORD)
    record = unsealed(path.read_bytes())
    if record is None or set(record) != {*RECORD_KEYS, SEALS[1]}:
        raise DatasetError(
            f"{path} cannot be read: it is not as it was written, so the set cannot be identified.",
            "Nothing was changed. Remove the folder, or choose another one.",
        )
    return record


def sealed(content: Mapping[str, Any]) -> bytes:
    """The text of a provenance or a record; its last entry is the digest of the text before it."""
    # Keys are not sorted, because columns have an order.
    text = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    return text[:-3] + SEAL % hashlib.sha256(text).hexdigest().encode()


def unsealed(text: bytes) -> dict[str, Any] | None:
    """The content of a text that `sealed` made; None if a byte of it has changed."""
    plain = text[:-SEAL_BYTES] + b"\n}\n"
    if text[-SEAL_BYTES:] != SEAL % hashlib.sha256(plain).hexdigest().encode():
        return None
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        return None
