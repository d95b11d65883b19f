"""Files that are whole or absent: atomic writes, digests, safe unpacking."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any

from .errors import IntegrityError

MAX_FILES = 10_000
MAX_BYTES = 50 * 2**30
MAX_RATIO = 200  # unpacked bytes for each packed one
BROKEN = (  # what zipfile raises for an archive that is damaged, encrypted or at odds with itself
    zipfile.BadZipFile, zlib.error, EOFError, IndexError, RuntimeError, NotImplementedError, ValueError, struct.error,
    FileExistsError, NotADirectoryError,
)  # fmt: skip
IGNORED = {"__MACOSX", ".DS_Store", "__pycache__"}


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: IO[bytes]) -> str:  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.sha256()
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that appears under ``path`` whole, when the block ends well, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not NamedTemporaryFile: what it makes is readable by its owner alone.
    part = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def write_json(path: Path, content: Any, *, sort: bool = True) -> None:
    """Write ``content`` as indented JSON, its keys sorted or in their order, atomically."""
    with atomic(path) as file:
        file.write((json.dumps(content, indent=2, sort_keys=sort, ensure_ascii=False) + "\n").encode())


@contextmanager
def folder_aside(target: Path) -> Iterator[Path]:
    """A new folder beside ``target`` that is renamed to it when the block ends well, and removed otherwise.

    Where another process was first, its ``target`` stays and ours goes: both hold the same.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield aside
        aside.chmod(0o755)
        try:
            aside.replace(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def unpack(archive: Path, target: Path) -> None:
    """Unpack a zip so that no entry leaves ``target``, links elsewhere, or fills the disk.

    Raises
    ------
    IntegrityError
        The archive is broken, or an entry is not a plain file inside the folder, or the bounds on count, size and
        compression ratio are exceeded.
    """

    def refuse(why: str) -> IntegrityError:
        return IntegrityError(f"{archive.name} was not unpacked: {why}.", "Fetch it again, or ask its author.")

    try:
        with zipfile.ZipFile(archive) as content:
            entries = _entries(content)
            if len(entries) > MAX_FILES:
                raise refuse(f"it holds {len(entries):,} files, more than {MAX_FILES:,}")
            total = sum(e.file_size for e in entries)
            if total > min(MAX_BYTES, MAX_RATIO * max(archive.stat().st_size, 2**16)):
                raise refuse(f"it would grow to {total:,} bytes")
            for entry in entries:
                name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
                parts = PurePosixPath(name).parts
                if "\\" in name or name.startswith("/") or ".." in parts or any(":" in p for p in parts):
                    raise refuse(f"its entry {name!r} points outside the folder")
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise refuse(f"its entry {name!r} is not a plain file")
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise refuse(f"its entry {name!r} is compressed in a way that is not common to all zip programs")
                path = target.joinpath(*parts)
                if entry.is_dir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with content.open(entry) as source, path.open("xb") as file:
                    shutil.copyfileobj(source, file, 2**20)
    except BROKEN as error:
        raise refuse(f"it is broken ({error})") from error


def difference(archive: Path, folder: Path) -> tuple[str, str, str] | None:
    """The first file of an unpacked ``archive`` that is no longer what was packed: its name, and both sha256.

    Raises
    ------
    IntegrityError
        The archive is broken.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            packed = {e.filename: e for e in _entries(content) if not e.is_dir()}
            for name, entry in packed.items():
                with content.open(entry) as file:
                    expected = _digest(file)
                path = folder / name
                found = sha256_of(path) if path.is_file() else "no such file"
                if found != expected:
                    return name, expected, found
    except BROKEN as error:
        raise IntegrityError(f"{archive.name} cannot be read: it is broken ({error}).", "Fetch it again.") from error
    known = {PurePosixPath(name) for name in packed}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and PurePosixPath(name) not in known and not IGNORED & set(PurePosixPath(name).parts):
            return name, "no such file", sha256_of(path)
    return None


def _entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [e for e in archive.infolist() if not IGNORED & set(PurePosixPath(e.filename).parts)]
