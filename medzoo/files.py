"""Files that are whole or absent: atomic writes, digests, safe unpacking."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any

from .errors import IntegrityError

MAX_FILES = 10_000
MAX_BYTES = 50 * 2**30
MAX_RATIO = 200  # unpacked bytes for each packed one
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
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as sorted, indented JSON, atomically."""
    with atomic(path) as file:
        file.write((json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())


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
            os.replace(aside, target)
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
            entries = [e for e in content.infolist() if not IGNORED & set(PurePosixPath(e.filename).parts)]
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
                path = target.joinpath(*parts)
                if entry.is_dir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with content.open(entry) as source, path.open("xb") as file:
                    shutil.copyfileobj(source, file, 2**20)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, FileExistsError) as error:
        raise refuse(f"it is broken ({error})") from error
