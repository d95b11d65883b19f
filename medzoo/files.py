"""Files that are whole or absent: atomic writes, digests, safe unpacking."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import struct
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from .errors import DatasetError, IntegrityError

if TYPE_CHECKING:
    from filelock import BaseFileLock

MAX_FILES = 10_000
MAX_BYTES = 50 * 2**30
MAX_RATIO = 200  # unpacked bytes for each packed one
BROKEN = (  # what zipfile raises for an archive that is damaged, encrypted or at odds with itself
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    IndexError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    struct.error,
    FileExistsError,
    NotADirectoryError,
)
# of an OSError while unpacking: what a damaged entry leads to, such as a place before the file's
# begin or a name that no disk holds
DAMAGE = {errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ}
STREWN = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", "lost+found", "__pycache__"}


def is_strewn(path: PurePath) -> bool:
    """Whether it is, or lies in, what systems and Python leave in folders, which is nobody's
    content.

    Beside a file on a disk that is not its own, macOS keeps one of the same name behind ``._``.
    """
    return any(part in STREWN or part.startswith("._") for part in path.parts)


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    return digest_of(path, "sha256")


def digest_of(path: Path, algorithm: str) -> str:
    """Hexadecimal digest of a file's content, by ``sha256`` or ``md5``."""
    with path.open("rb") as file:
        return _digest(file, algorithm)


def _digest(
    file: IO[bytes], algorithm: str = "sha256"
) -> str:  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.new(
        algorithm, usedforsecurity=False
    )  # md5 too where the system allows it for no other use
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def disguise(path: Path) -> str:
    """What lies in place of a file that a download or a checkout did not bring: words for an error
    message; empty if it is neither a git-lfs pointer nor a web page.
    """
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError:
        return ""
    if start.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer, not the file itself: `git lfs pull` fetches it"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml version")) and (
        b"html" in text
    ):
        return "a web page, not the file itself: a download was answered by a page to log in or confirm"
    return ""


def require_space(folder: Path, needed: int) -> None:
    """Raise OSError where the disk of ``folder`` has less than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC, f"{needed:,} bytes are needed and {free:,} are free", str(folder)
        )


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that appears under ``path`` whole, when the block ends well, or not
    at all.
    """
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


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, its keys sorted, atomically."""
    with atomic(path) as file:
        file.write(
            (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
        )


@contextmanager
def folder_aside(target: Path) -> Iterator[Path]:
    """A new folder beside ``target`` that is renamed to it when the block ends well, and removed
    otherwise.

    Where another process was first, its ``target`` stays and this one is removed: both hold the
    same.
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


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill that becomes ``target``, which is to be new or empty, when the block ends
    well.

    Raises
    ------
    DatasetError
        ``target`` holds something, or cannot be written.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DatasetError(
            f"{target} holds something already.", "Nothing was changed. Choose another folder."
        )
    try:
        with folder_aside(target) as aside:
            yield aside
            if target.exists():
                target.rmdir()
    except OSError as error:
        raise DatasetError(
            f"{target} could not be written: {error}.", "Choose another folder."
        ) from error


@contextmanager
def locked(
    path: Path, timeout: float = 3600.0, work: Callable[[], Iterable[Path]] = tuple
) -> Iterator[bool]:
    """Hold the lock file ``path`` while the block runs. Yields whether it is held; nobody has to
    wait for it.

    The system holds the lock, so a dead process has none. It saves doing things twice, no more:
    what is made inside is to be whole without it too, by being renamed into place. So where it
    cannot be taken (a disk without locks), or after ``timeout`` seconds in which none of the files
    that ``work`` lists has changed, the block runs without it.
    """
    from filelock import FileLock

    lock = FileLock(path)
    held = _acquired(lock, timeout, work)
    try:
        yield held
    finally:
        if held:
            with suppress(OSError):
                lock.release()


def has_locks(path: Path) -> bool:
    """Whether the disk of the file ``path``, which is made, has locks."""
    with path.open("ab") as file:
        return _flock(file.fileno(), shared=True, wait=False) is not None


def _acquired(lock: BaseFileLock, timeout: float, work: Callable[[], Iterable[Path]]) -> bool:
    from filelock import Timeout

    def state() -> list[Any]:
        found = []
        for file in work():
            with suppress(OSError):
                found.append((file, (about := file.stat()).st_size, about.st_mtime_ns))
        return sorted(found)

    path, seen, deadline = Path(lock.lock_file), state(), time.monotonic() + timeout
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Without locks, filelock would use the file itself, which a killed process leaves
            # behind and which would then block all other processes.
            return has_locks(path) and bool(lock.acquire(timeout=min(1.0, timeout)))
        except Timeout:  # noqa: PERF203
            if (now := state()) != seen:
                seen, deadline = now, time.monotonic() + timeout
            elif time.monotonic() >= deadline:
                return False
        except (OSError, NotImplementedError):
            return False


class Hold:
    """That this process, or one forked from it, uses a folder; it ends when closed or collected.
    See `hold`.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """Let go of the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    __del__ = close


def hold(mark: Path) -> Hold:
    """Keep other processes from removing what the empty file ``mark`` stands for (see `remove`);
    its time is that of the use.

    Look afterwards whether the thing is there: it may have been removed just before.
    """
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(mark, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # a read-only cache, from which nothing is removed either
        return Hold(None)
    with suppress(OSError):
        os.utime(mark)
    _flock(descriptor, shared=True, wait=True)
    return Hold(descriptor)


def remove(path: Path, mark: Path | None = None) -> bool:
    """Remove a file or folder, renamed aside first; False, and nothing done, where a running
    process holds its ``mark``.
    """
    with ExitStack() as stack:
        if mark:
            mark.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(mark, os.O_RDWR | os.O_CREAT, 0o666)
            stack.callback(os.close, descriptor)
            if _flock(descriptor, shared=False, wait=False) is False:
                return False
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            path.replace(aside / path.name)
        except OSError as error:
            aside.rmdir()
            if sys.platform == "win32" and isinstance(
                error, PermissionError
            ):  # a program in it runs
                return False
            raise
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _flock(descriptor: int, *, shared: bool, wait: bool) -> bool | None:
    """Take the system's lock on an open file until it is closed; False where another has it, None
    on a disk without locks.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(
            descriptor,
            (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB),
        )
    except (BlockingIOError, PermissionError):  # some file systems say the latter
        return False
    except OSError:
        return None
    return True


def size_of(path: Path) -> tuple[int, int]:
    """Bytes of a file, or of all files of a folder, and how many of them no hard link elsewhere
    shares.
    """
    found = {
        (s.st_dev, s.st_ino): s
        for p in (path, *path.rglob("*"))
        if stat.S_ISREG((s := p.lstat()).st_mode)
    }
    return sum(s.st_size for s in found.values()), sum(
        s.st_size for s in found.values() if s.st_nlink == 1
    )


def unpack(archive: Path, target: Path) -> None:
    """Unpack a zip, or the zip that is all it holds, so that no entry leaves ``target``, links
    elsewhere, or fills the disk.

    Raises
    ------
    IntegrityError
        The archive is broken, or an entry is not a plain file inside the folder, or the bounds on
        count, size and compression ratio are exceeded.
    OSError
        The disk is too small, or cannot be written.
    """

    def refuse(why: str) -> IntegrityError:
        return IntegrityError(
            f"{archive.name} was not unpacked: {why}.", "Fetch it again, or ask its author."
        )

    try:
        with _opened(archive) as content:
            entries = _entries(content)
            if len(entries) > MAX_FILES:
                raise refuse(f"it holds {len(entries):,} files, more than {MAX_FILES:,}")
            total = sum(e.file_size for e in entries)
            if total > _most(archive):
                raise refuse(f"it would grow to {total:,} bytes")
            target.mkdir(parents=True, exist_ok=True)
            require_space(target, total)
            for entry in entries:
                if why := _why_not(entry):
                    raise refuse(f"its entry {entry.filename!r} {why}")
                path = target.joinpath(*PurePosixPath(entry.filename).parts)
                if entry.is_dir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with content.open(entry) as source, path.open("xb") as file:
                    shutil.copyfileobj(
                        source, file, 2**20
                    )  # of which zipfile gives no more than the size summed up above
    except (*BROKEN, OSError) as error:
        if not _is_damage(error):
            raise
        raise refuse(f"it is {disguise(archive) or f'broken ({error})'}") from error


def _why_not(entry: zipfile.ZipInfo) -> str:
    """Why an entry is not unpacked; empty if it is."""
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    parts = PurePosixPath(name).parts
    outside = name.startswith("/") or ".." in parts or any(":" in part for part in parts)
    if outside or "\\" in name:
        return "points outside the folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is not a plain file"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in a way that is not common to all zip programs"
    return ""


def difference(archive: Path, folder: Path) -> tuple[str, str, str] | None:
    """The first file of an unpacked ``archive`` that is no longer what was packed: its name, and
    both sha256.

    Raises
    ------
    IntegrityError
        The archive is broken.
    """
    try:
        with _opened(archive) as content:
            packed = {e.filename: e for e in _entries(content) if not e.is_dir()}
            for name, entry in packed.items():
                with content.open(entry) as file:
                    expected = _digest(file)
                path = folder / name
                found = sha256_of(path) if path.is_file() else "no such file"
                if found != expected:
                    return name, expected, found
    except (*BROKEN, OSError) as error:
        if not _is_damage(error):
            raise
        raise IntegrityError(
            f"{archive.name} cannot be read: it is broken ({error}).", "Fetch it again."
        ) from error
    known = {PurePosixPath(name) for name in packed}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if (
            path.is_file()
            and PurePosixPath(name) not in known
            and not is_strewn(PurePosixPath(name))
        ):
            return name, "no such file", sha256_of(path)
    return None


def _is_damage(error: BaseException) -> bool:
    """Whether what unpacking raised speaks of the archive, and not of the disk."""
    return isinstance(error, BROKEN) or (isinstance(error, OSError) and error.errno in DAMAGE)


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    """A zip, or the zip inside where that is all it holds."""
    with ExitStack() as stack:
        content = stack.enter_context(zipfile.ZipFile(archive))
        entries = _entries(content)
        if len(entries) == 1 and entries[0].filename.lower().endswith(".zip"):
            if entries[0].file_size > _most(archive):
                raise zipfile.BadZipFile(f"a zip of {entries[0].file_size:,} bytes inside")
            content = stack.enter_context(
                zipfile.ZipFile(stack.enter_context(content.open(entries[0])))
            )
        yield content


def _most(archive: Path) -> int:
    """How many bytes an archive may grow to."""
    return min(MAX_BYTES, MAX_RATIO * max(archive.stat().st_size, 2**16))


def _entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [e for e in archive.infolist() if not is_strewn(PurePosixPath(e.filename))]
