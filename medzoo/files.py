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
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from operator import attrgetter
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from .errors import DatasetError, IntegrityError

if TYPE_CHECKING:
    from filelock import BaseFileLock

MAX_FILES = 10_000
MAX_BYTES = 50 * 2**30
MAX_RATIO = 200  # unpacked bytes for each packed one
BROKEN = (  # errors of zipfile for an archive that is damaged, encrypted or contradicts itself
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
# Codes of an OSError that a damaged entry causes, such as a negative position in the file or a name
# that no disk can hold.
DAMAGE = {errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ}
STREWN = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", "lost+found", "__pycache__"}


def is_strewn(path: PurePath) -> bool:
    """Whether a path is, or lies in, something that systems or Python leave in folders.

    On disks of other systems, macOS writes a file ``._NAME`` beside each file NAME.
    """
    return not STREWN.isdisjoint(path.parts) or any(map(_is_of_macos, path.parts))


def _is_of_macos(name: str) -> bool:
    return name.startswith("._")


def sha256_of(path: Path | str) -> str:
    """Hexadecimal sha256 of a file's content."""
    return digest_of(path, "sha256")


def digest_of(path: Path | str, algorithm: str) -> str:
    """Hexadecimal digest of a file's content, by ``sha256``, ``sha1`` or ``md5``."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (a set has very many, as texts)
        return _digest(file, algorithm)


def _digest(file: IO[bytes], algorithm: str = "sha256") -> str:
    # Python 3.10 has no hashlib.file_digest. Some systems forbid md5 unless it is said that it is
    # not used for security.
    digest = hashlib.new(algorithm, usedforsecurity=False)
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def disguise(path: Path) -> str:
    """Words for an error message if a file is a git-lfs pointer or a web page; otherwise empty.

    Such files appear where a checkout or a download did not bring the real file.
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
        return (
            "a web page, not the file itself: "
            "a download was answered by a page to log in or confirm"
        )
    return ""


def require_space(folder: Path, needed: int) -> None:
    """Raise OSError if the disk of ``folder`` has less than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC, f"{needed:,} bytes are needed and {free:,} are free", str(folder)
        )


@contextmanager
def atomic(path: Path, *, clear: bool = False) -> Iterator[IO[bytes]]:
    """Open a new file for writing, which is renamed to ``path`` when the block ends without error.

    Until then, and after an error, ``path`` is as it was. With ``clear``, unfinished files of
    killed processes that were writing the same ``path`` with ``clear`` are removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if clear:
        _clear_unfinished(path)
    # NamedTemporaryFile makes files that only their owner can read.
    part = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        with part.open("xb") as file:
            if clear:
                _flock(file.fileno(), shared=False, wait=False)
            yield file
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _clear_unfinished(path: Path) -> None:
    """Remove the temporary files of `atomic` that no process has locked."""
    for part in list(path.parent.iterdir()):
        if part.name.startswith(f".{path.name}.") and part.suffix == ".part":
            with suppress(OSError), part.open("rb+") as file:
                if _flock(file.fileno(), shared=False, wait=False):
                    part.unlink()


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, its keys sorted, atomically."""
    with atomic(path) as file:
        file.write(json_bytes(content))


def json_bytes(content: Any) -> bytes:
    """``content`` as indented JSON, its keys sorted."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    return f"{text}\n".encode()


@contextmanager
def folder_aside(target: Path) -> Iterator[Path]:
    """A new folder beside ``target``, which is renamed to it when the block ends without error.

    After an error it is removed. If another process was first, its ``target`` stays and this folder
    is removed: both hold the same files.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield aside
        aside.chmod(_usual_mode(aside))
        try:
            aside.replace(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _usual_mode(folder: Path) -> int:
    """The mode of new folders, which the user's umask decides."""
    probe = folder / f".mode-{os.urandom(4).hex()}"
    probe.mkdir()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.rmdir()
    return mode


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``target`` when the block ends without error.

    Raises
    ------
    DatasetError
        ``target`` exists and is not an empty folder, or cannot be written.
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
    """Hold the lock file ``path`` while the block runs, if possible. Yields whether it is held.

    The operating system holds the lock, so it is free again when a process dies. The lock only
    saves two processes from doing the same work: what the block makes must be complete without the
    lock too, because it is renamed into place. So the block runs without the lock on a disk without
    locks, or after ``timeout`` seconds in which none of the files that ``work`` lists has changed.
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
    """Whether the disk has locks. The file ``path`` is made to find out."""
    with path.open("ab") as file:
        return _flock(file.fileno(), shared=True, wait=False) is not None


def _acquired(lock: BaseFileLock, timeout: float, work: Callable[[], Iterable[Path]]) -> bool:
    from filelock import Timeout

    def state() -> list[Any]:
        states = []
        with suppress(OSError):  # a folder that is renamed while it is read: that is a change too
            for file in work():
                with suppress(OSError):
                    status = file.stat()
                    states.append((file, status.st_size, status.st_mtime_ns))
        return sorted(states)

    path, seen, deadline = Path(lock.lock_file), state(), time.monotonic() + timeout
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # On a disk without locks, filelock would use the file itself as the lock. A killed
            # process would leave it behind and block all other processes.
            return has_locks(path) and bool(lock.acquire(timeout=min(1.0, timeout)))
        except Timeout:  # noqa: PERF203
            now = state()
            if now != seen:
                seen, deadline = now, time.monotonic() + timeout
            elif time.monotonic() >= deadline:
                return False
        except (OSError, NotImplementedError):
            return False


class Hold:
    """A shared lock on a folder that this process uses; see `hold`.

    A process that is forked from this one has it too. It ends when it is closed or collected.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    __del__ = close


def hold(mark: Path) -> Hold:
    """Take a shared lock on the file ``mark``, so that `remove` refuses to delete its folder.

    ``mark`` is an empty file; its modification time records the last use. Check afterwards whether
    the folder exists: it may have been removed just before.
    """
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(mark, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        try:
            descriptor = os.open(mark, os.O_RDONLY)  # of a cache that another user fills
        except OSError:  # a read-only cache, from which nothing can be removed either
            return Hold(None)
    with suppress(OSError):
        os.utime(mark)
    _flock(descriptor, shared=True, wait=True)
    return Hold(descriptor)


@contextmanager
def using(mark: Path) -> Iterator[None]:
    """Hold ``mark`` while the block runs; see `hold`."""
    held = hold(mark)
    try:
        yield
    finally:
        held.close()


def remove(path: Path, mark: Path | None = None) -> bool:
    """Remove a file or folder. It is renamed first, so that it disappears at once.

    Returns False, and changes nothing, if a running process holds its ``mark``.
    """
    with ExitStack() as stack:
        if mark:
            mark.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(mark, os.O_RDWR | os.O_CREAT, 0o666)
            stack.callback(os.close, descriptor)
            if _flock(descriptor, shared=False, wait=False) is False:
                return False
        while True:
            aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            try:
                path.replace(aside / path.name)
                break
            except OSError as error:
                with suppress(OSError):
                    aside.rmdir()
                if isinstance(error, FileNotFoundError) and path.exists():
                    continue  # another process cleared the new folder away
                # Windows refuses to rename a folder while a program in it runs.
                if sys.platform == "win32" and isinstance(error, PermissionError):
                    return False
                raise
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _flock(descriptor: int, *, shared: bool, wait: bool) -> bool | None:
    """Lock an open file until it is closed.

    Returns False if another process holds the lock, and None on a disk without locks.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if not wait:
        operation |= fcntl.LOCK_NB
    try:
        fcntl.flock(descriptor, operation)
    except (BlockingIOError, PermissionError):  # some file systems raise PermissionError
        return False
    except OSError:
        return None
    return True


def size_of(path: Path, links: int = 1) -> tuple[int, int]:
    """The size of a file or folder in bytes, and how many bytes its removal would free.

    A file with several hard links in the folder counts once. A file with more hard links than
    ``links`` is not freed. What another process removes meanwhile does not count.
    """
    total = freed = 0
    seen = set[tuple[int, int]]()
    for file in (str(path), *_files_below(path)):
        try:
            status = os.lstat(file)
        except FileNotFoundError:
            continue
        inode = status.st_dev, status.st_ino
        if not stat.S_ISREG(status.st_mode) or inode in seen:
            continue
        seen.add(inode)
        total += status.st_size
        if status.st_nlink <= links:
            freed += status.st_size
    return total, freed


def _files_below(folder: Path) -> Iterator[str]:
    """The files in a folder, and in those in it. Folders that vanish meanwhile are skipped."""
    for parent, _, names in os.walk(folder):
        yield from (f"{parent}/{name}" for name in names)


def unpack(archive: Path, target: Path) -> None:
    """Unpack a zip safely. If all that it holds is another zip, that one is unpacked.

    Raises
    ------
    IntegrityError
        The archive is broken, an entry is not a plain file inside ``target``, or the limits of
        number, size and compression ratio are exceeded.
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
            total = sum(map(attrgetter("file_size"), entries))
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
                # zipfile never gives more bytes than the size that was summed up above.
                with content.open(entry) as source, path.open("xb") as file:
                    shutil.copyfileobj(source, file, 2**20)
    except (*BROKEN, OSError) as error:
        if not _is_damage(error):
            raise
        raise refuse(f"it is {disguise(archive) or f'broken ({error})'}") from error


def _why_not(entry: zipfile.ZipInfo) -> str:
    """Why an entry must not be unpacked; empty if it may be."""
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    parts = PurePosixPath(name).parts
    outside = name.startswith("/") or ".." in parts or ":" in name
    if outside or "\\" in name:
        return "points outside the folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is not a plain file"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in a way that is not common to all zip programs"
    return ""


def difference(
    archive: Path, folder: Path, beside: Collection[str] = ()
) -> tuple[str, str, str] | None:
    """The first file of an unpacked ``archive`` that was changed since: its name and both sha256.

    Files of the folder that are listed in ``beside`` do not come from the archive.

    Raises
    ------
    IntegrityError
        The archive is broken.
    """
    try:
        with _opened(archive) as content:
            # An archive may hold a file twice: the last one counts.
            packed = {entry.filename: entry for entry in _entries(content) if not entry.is_dir()}
            for name, entry in packed.items():
                if name in beside:
                    continue
                with content.open(entry) as file:
                    expected = _digest(file)
                path = folder / name
                actual = sha256_of(path) if path.is_file() else "no such file"
                if actual != expected:
                    return name, expected, actual
    except (*BROKEN, OSError) as error:
        if not _is_damage(error):
            raise
        raise IntegrityError(
            f"{archive.name} cannot be read: it is broken ({error}).", "Fetch it again."
        ) from error
    expected_paths = set(map(PurePosixPath, [*packed, *beside]))
    for path in sorted(folder.rglob("*")):
        inside = PurePosixPath(path.relative_to(folder).as_posix())
        if path.is_file() and inside not in expected_paths and not is_strewn(inside):
            return str(inside), "no such file", sha256_of(path)
    return None


def _is_damage(error: BaseException) -> bool:
    """Whether an error of unpacking is caused by the archive, and not by the disk."""
    return isinstance(error, BROKEN) or (isinstance(error, OSError) and error.errno in DAMAGE)


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    """An open zip. If all that it holds is another zip, that one."""
    with ExitStack() as stack:
        content = stack.enter_context(zipfile.ZipFile(archive))
        first, *others = _entries(content) or [zipfile.ZipInfo()]
        if first.filename.lower().endswith(".zip") and not others:
            if first.file_size > _most(archive):
                raise zipfile.BadZipFile(f"a zip of {first.file_size:,} bytes inside")
            inner = stack.enter_context(content.open(first))
            content = stack.enter_context(zipfile.ZipFile(inner))
        yield content


def _most(archive: Path) -> int:
    """How many bytes an archive may have after unpacking."""
    return min(MAX_BYTES, MAX_RATIO * max(archive.stat().st_size, 2**16))


def _entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The entries of a zip, without what systems leave in folders."""
    return [entry for entry in archive.infolist() if not is_strewn(PurePosixPath(entry.filename))]
