"""How far a set is good: of an unfinished one a record of what was asked and a journal of what was
written, else a seal.

Record and journal lie in ``.unfinished`` inside the set's folder, and go when the set is whole. Its
provenance is then sealed by a digest of the manifest and one of itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any

from .. import files
from ..errors import DatasetError

MANIFEST, PROVENANCE, LOG, UNFINISHED = (
    "manifest.jsonl",
    "provenance.json",
    "run.log",
    ".unfinished",
)
RECORD, JOURNAL = f"{UNFINISHED}/record.json", f"{UNFINISHED}/journal.jsonl"
SEALS = ("manifest_sha256", "provenance_sha256")  # keys of a finished set's provenance
BLOCK = 2**20


class Journal:
    """The growing files of a set, and the journal that says how far each is good.

    A format writes through `append` and `put`. `commit` then notes, in one line, every stretch
    written since the last line, with its checksum, and how many samples are done. A run that is
    killed loses what came after the last line; `go_back` finds that line, or an earlier one where a
    file is no longer as it was written, and cuts the rest off.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lengths: dict[str, int] = {}  # file -> bytes
        self._files: dict[str, IO[bytes]] = {}
        self._stretches: list[
            list[Any]
        ] = []  # [file, offset, bytes, crc32], in the order of writing
        self._lock = (
            Lock()
        )  # a batch is committed in one thread while another notes a smaller batch size

    def begin(self, record: Mapping[str, Any]) -> None:
        """Write down what was asked, before the first sample."""
        (self.folder / JOURNAL).unlink(missing_ok=True)
        with files.atomic(self.folder / RECORD) as file:
            file.write(json.dumps(record, ensure_ascii=False).encode())
            file.flush()
            os.fsync(file.fileno())

    def append(self, name: str, data: bytes) -> int:
        """Write at the end of a file; returns where that was."""
        at = self.lengths.get(name, 0)
        self.put(name, data, at)
        return at

    def put(self, name: str, data: bytes | memoryview, at: int) -> None:
        """Write at a place in a file."""
        if name not in self._files:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # What lies there without being in the journal is of a batch that is made again.
            self._files[name] = path.open("r+b" if name in self.lengths else "w+b", buffering=0)
        _write(self._files[name], data, at)
        size, last = len(data), self._stretches[-1] if self._stretches else None
        if last and last[0] == name and last[1] + last[2] == at:
            last[2:] = last[2] + size, zlib.crc32(data, last[3])
        else:
            self._stretches.append([name, at, size, zlib.crc32(data)])
        self.lengths[name] = max(self.lengths.get(name, 0), at + size)

    def close(self, name: str | None = None) -> None:
        """Let go of one file, or of all."""
        for key in [name] if name else list(self._files):
            if file := self._files.pop(key, None):
                file.close()

    def commit(self, done: int, state: Mapping[str, Any]) -> None:
        """Note that so many samples are whole, and what the format must know to go on from there."""
        self.note(done=done, state=state, stretches=self._stretches)
        self._stretches = []

    def note(self, **entry: Any) -> None:
        """Add a line to the journal."""
        line = (json.dumps(entry) + "\n").encode()
        with self._lock, (self.folder / JOURNAL).open("ab", buffering=0) as file:
            _write(file, line)

    def go_back(self) -> dict[str, Any]:
        """What all lines up to the last good one say together: ``done``, ``state`` and whatever
        else was noted.
        """
        found: dict[str, Any] = {"done": 0, "state": {}}
        path, end = self.folder / JOURNAL, 0
        path.touch()
        with path.open("rb") as lines:
            for line in lines:
                try:
                    entry = json.loads(line)
                    stretches = entry.pop("stretches", [])
                except (
                    ValueError,
                    AttributeError,
                ):  # the last line of a killed run may be half a line
                    break
                if not line.endswith(b"\n") or not all(self._is_good(*s) for s in stretches):
                    break
                for name, at, size, _ in stretches:
                    self.lengths[name] = max(self.lengths.get(name, 0), at + size)
                found |= entry
                end += len(line)
        self.close()
        os.truncate(path, end)
        for name, length in self.lengths.items():
            os.truncate(self.folder / name, length)
        for part in self.folder.rglob(".*.part"):  # of files that a killed run was about to write
            part.unlink()
        return found

    def _is_good(self, name: str, at: int, size: int, crc: int) -> bool:
        """Whether a stretch is as it was written; of the manifest, whether the files that it lists
        are too.
        """
        try:
            if name not in self._files:
                self._files[name] = (self.folder / name).open("rb")
            file, found = self._files[name], 0
            file.seek(at)
            for start in range(0, size, BLOCK):
                found = zlib.crc32(file.read(min(BLOCK, size - start)), found)
            if found != crc:
                return False
            if name == MANIFEST:
                file.seek(at)
                for line in file.read(size).splitlines():
                    entry = json.loads(line)
                    if (
                        "offset" not in entry
                        and files.sha256_of(self.folder / entry["file"]) != entry["sha256"]
                    ):
                        return False
        except OSError:
            return False
        return True


def _write(file: IO[bytes], data: bytes | memoryview, at: int | None = None) -> None:
    """All of ``data``: a raw file may take less than it is given, such as when its disk is nearly
    full.
    """
    if at is not None:
        file.seek(at)
    left = memoryview(data).cast("B")
    while left:
        left = left[file.write(left) :]


# ---------------------------------------------------------------------------------------------------
# what a folder holds
def is_whole(folder: Path) -> bool:
    """Whether the folder holds a finished set."""
    return (folder / PROVENANCE).exists()


def require_whole(folder: Path) -> None:
    """Raise DatasetError, which says what there is instead, unless the folder holds a finished set."""
    try:
        if is_whole(folder):
            return
        if not folder.is_dir():
            raise DatasetError(
                f"There is no folder {folder}.", "Name one that `medzoo generate` filled."
            )
        if not (folder / RECORD).exists():
            raise DatasetError(
                f"{folder} holds no set of samples: no {PROVENANCE} lies in it.",
                "Name a folder that `medzoo generate` filled, none inside it or above it.",
            )
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error}.", "Is the path right?") from error
    if _read(folder / RECORD).get("resumes") is False:
        raise DatasetError(
            f"{folder} holds no finished set of samples: they were being saved from memory.",
            "Save them again, into another folder.",
        )
    of = f" of {n:,}" if isinstance(n := recorded(folder).get("n"), int) else ""
    raise DatasetError(
        f"{folder} holds no finished set of samples: {done(folder):,}{of} are there.",
        "Give the command that began it again: it goes on from there.",
    )


def done(folder: Path) -> int:
    """How many samples an unfinished set has, as its journal says."""
    found = 0
    with suppress(
        OSError, ValueError, AttributeError
    ):  # the last line of a killed run may be half a line
        for line in (folder / JOURNAL).read_bytes().splitlines():
            found = int(json.loads(line).get("done", found))
    return found


def recorded(folder: Path) -> dict[str, Any]:
    """The provenance of the set in a folder, of an unfinished one as it began; empty where none can
    be read.
    """
    found = _read(folder / PROVENANCE) or _read(folder / RECORD).get("provenance")
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, TypeError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}


def sealed(provenance: Mapping[str, Any]) -> bytes:
    """The text of a finished set's provenance, whose last entry is the digest of the text without
    it.
    """
    text = _text(provenance)
    return _text({**provenance, "provenance_sha256": hashlib.sha256(text).hexdigest()})


def unsealed(text: bytes) -> dict[str, Any] | None:
    """The provenance that `sealed` made the text of; None where a byte of it is another."""
    try:
        provenance = dict(json.loads(text))
        whole = sealed({k: v for k, v in provenance.items() if k != "provenance_sha256"}) == text
    except (ValueError, TypeError):
        return None
    return provenance if whole else None


def _text(provenance: Mapping[str, Any]) -> bytes:
    return (
        json.dumps(provenance, indent=2, ensure_ascii=False) + "\n"
    ).encode()  # unsorted: columns have an order
