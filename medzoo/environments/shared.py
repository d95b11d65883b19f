"""Files that environments share: medzoo's cache keeps each once, read-only, in ``files``.

uv links what it installs to files of its own cache, which other projects use too. `share` puts
links to copies of medzoo's in their place, so that code in an environment cannot reach those of uv.
Bytecode is compiled here, before anything of the environment runs, and shared as well.

A copy is named after the digest of its content, and has a time that never changes. A copy with
another time was changed, and is made again. Bytecode that Python compiled from one copy is valid
for all its links, since Python compares it with the time and size of the source.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from .. import files, settings
from ..errors import BuildError
from .uv import clean_environment, supervised

TIME = 315_532_800  # of all copies: 1980-01-01, the first that zip files know
LEAST_BYTECODE = 16  # bytes of its header
MOST_COMPILERS, MODULES_EACH = 8, 200  # processes, and how many modules are worth one
TRIES = 3  # if another process removes a copy at the same moment
RECENT = 3600.0  # seconds in which an unfinished copy may belong to a running process


def folder() -> Path:
    """The folder of all copies."""
    return settings.cache_folder() / "files"


def site_packages(environment: Path) -> Path:
    """The folder of the packages of an environment."""
    return next(environment.glob("lib/python*/site-packages"), environment / "Lib/site-packages")


def recorded(environment: Path) -> Iterator[tuple[Path, str]]:
    """The installed files of an environment, and the sha256 that their packages state; empty if
    they state none.

    Names that lead out of the environment are left out.
    """
    where = site_packages(environment)
    inside = where.relative_to(environment)
    for record in sorted(where.glob("*.dist-info/RECORD")):
        for row in csv.reader(io.StringIO(record.read_text(encoding="utf-8"))):
            if len(row) != 3:
                continue
            name = Path(os.path.normpath(inside / row[0]))
            if not name.is_absolute() and name.parts[:1] != ("..",):
                yield environment / name, _hexadecimal(row[1])


def _hexadecimal(stated: str) -> str:
    """A digest as wheels state it, in base64, as hexadecimal digits."""
    kind, _, value = stated.partition("=")
    return base64.urlsafe_b64decode(f"{value}=").hex() if kind == "sha256" else ""


def share(environment: Path, program: Path, cache_tag: str) -> None:
    """Make the installed files of a new environment links to shared copies; compile its modules.

    Parameters
    ----------
    environment : Path
        The environment, in which nothing was run yet.
    program : Path
        Its Python.
    cache_tag : str
        How its Python calls its bytecode, such as ``cpython-312``.

    Raises
    ------
    BuildError
        A file is not what its package states.
    """
    copies = folder()
    modules = []  # bytecode in the environment, its shared copy, the module
    installed = dict(recorded(environment))
    for file, stated in installed.items():
        is_own_record = file.name == "RECORD" and not stated
        if is_own_record or file.is_symlink() or not file.is_file():
            continue
        digest = stated or files.sha256_of(file)
        is_program = bool(file.stat().st_mode & stat.S_IXUSR)
        _share(file, _copy_of(f"{digest}.x" if is_program else digest, copies), digest)
        bytecode = file.parent / "__pycache__" / f"{file.stem}.{cache_tag}.pyc"
        if file.suffix == ".py" and bytecode not in installed:
            copy = _copy_of(f"{digest}.{cache_tag}.pyc", copies)
            modules.append((bytecode, copy, file))
    for parent in {bytecode.parent for bytecode, *_ in modules}:
        parent.mkdir(exist_ok=True)
    new = []
    for bytecode, copy, file in modules:
        if _is_intact(copy):
            with suppress(FileNotFoundError):  # another process removed it
                _link(bytecode, copy)
                continue
        new.append((bytecode, copy, file))
    _compile(program, [str(file) for *_, file in new])
    for bytecode, copy, _ in new:
        if bytecode.is_file():  # some modules are of other versions of Python
            _share(bytecode, copy)


def _copy_of(name: str, copies: Path) -> Path:
    return copies / name[:2] / name[2:]


def _is_intact(copy: Path) -> bool:
    """Whether a copy exists, and was not changed in a usual way."""
    try:
        status = copy.stat()
    except FileNotFoundError:
        return False
    is_whole = status.st_size >= LEAST_BYTECODE or copy.suffix != ".pyc"
    return status.st_mtime == TIME and is_whole


def _share(file: Path, copy: Path, digest: str = "") -> None:
    """Put a link to a copy in the place of a file; ``digest`` is what the file should have."""
    for _ in range(TRIES):
        with suppress(FileNotFoundError):  # another process removed the copy
            if not _is_intact(copy) or copy.stat().st_size != file.stat().st_size:
                _keep(file, copy, digest)
            _link(file, copy)
            return


def _keep(file: Path, copy: Path, digest: str) -> None:
    """Copy a file, and compare what was copied with its digest."""
    actual = hashlib.sha256()
    with file.open("rb") as source, files.atomic(copy) as target:
        while block := source.read(2**20):
            actual.update(block)
            target.write(block)
        if digest and actual.hexdigest() != digest:
            raise BuildError(
                f"{file.name} is not what its package states: sha256 {digest} was expected, not "
                f"{actual.hexdigest()}.",
                "uv's cache was changed: `uv cache clean` empties it. Nothing was kept.",
            )
    if os.name == "posix":  # on Windows, such files cannot be removed
        copy.chmod(0o555 if copy.suffix == ".x" else 0o444)
    os.utime(copy, (TIME, TIME))


def _link(file: Path, copy: Path) -> None:
    """Make ``file`` a link to a copy, or a further copy where the disk allows no link."""
    aside = file.with_name(f".{file.name}.new")
    try:
        os.link(copy, aside)
    except FileNotFoundError:
        raise
    except OSError:  # no links at all, too many, or the copies are of another user
        shutil.copy2(copy, aside)
    aside.replace(file)


def _compile(program: Path, modules: list[str]) -> None:
    """Compile modules. What cannot be compiled is left as it is."""
    command = [str(program), "-I", "-S", "-m", "compileall", "-qq", "-d", "site-packages"]
    processes = min(os.cpu_count() or 1, MOST_COMPILERS, 1 + len(modules) // MODULES_EACH)
    with ExitStack() as stack:
        for number in range(processes if modules else 0):
            process = subprocess.Popen(  # noqa: S603
                supervised([*command, "-i", "-"]),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=clean_environment(),
                cwd=program.parent,
                encoding="utf-8",
            )
            stack.enter_context(process)
            assert process.stdin is not None  # noqa: S101
            with suppress(OSError):  # it does not start: then nothing is compiled
                process.stdin.write("\n".join(modules[number::processes]))
                process.stdin.close()


def bytecode_digest(environment: Path) -> str:
    """A digest of all bytecode of an environment."""
    digest = hashlib.sha256()
    where = site_packages(environment)
    for path in sorted(where.rglob("*.pyc")):
        digest.update(f"{path.relative_to(where)} {files.sha256_of(path)}\n".encode())
    return digest.hexdigest()


def clear() -> None:
    """Remove the copies that no environment has any more."""
    for path in folder().glob("??/*"):
        with suppress(OSError):  # another process removed it
            status = path.stat()
            is_being_written = path.name.startswith(".") and status.st_mtime > time.time() - RECENT
            if status.st_nlink == 1 and not is_being_written:
                path.unlink()
