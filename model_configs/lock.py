"""Write the locks of published models: every package of an environment but the torch family, with
its hashes.

    python model_configs/lock.py              write the locks that the configs name, keeping what they pin where it still fits
    python model_configs/lock.py --upgrade    the same, with the newest packages up to the day below
    python model_configs/lock.py --check      write nothing, ask no network; exit with 1 where a lock and its configs disagree

A lock holds what the models that name it require together, and what that needs in turn, for every
platform and every Python of their range. The torch family is left out, with what it alone needs,
since its build depends on the machine: `uv pip install --torch-backend` brings it first, and the
lock goes in beside it with ``--no-deps --require-hashes``. uv is asked for packages as it is set
up; ``UV_DEFAULT_INDEX`` names another index.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version as Number
from uv import find_uv_bin

from medzoo.config import TORCH_FAMILY, Version, read_config

CONFIGS = Path(__file__).resolve().parent
UNTIL = (
    "2025-09-01"  # nothing younger: the code of these models is of 2021 to 2023, and stays as it is
)
WITH_WINDOWS = {
    "opencv-python",
    "opencv-contrib-python",
}  # a headless one is required in their place: servers have no window system
LEFT_OUT = TORCH_FAMILY | WITH_WINDOWS
MINORS = [Number(f"3.{minor}") for minor in range(8, 20)]
PLATFORMS = (
    ("linux", "Linux", "x86_64"),
    ("darwin", "Darwin", "arm64"),
    ("win32", "Windows", "AMD64"),
)


class LockError(Exception):
    """A lock cannot be made, or is not what its configs say."""


@dataclass(frozen=True)
class Lock:
    """A lock and what the models that share it need."""

    path: Path
    python: str
    requires: tuple[Requirement, ...]  # the torch family included
    models: tuple[str, ...]

    @property
    def minors(self) -> list[str]:
        """The Pythons of its range, oldest first."""
        return [str(m) for m in MINORS if m in SpecifierSet(self.python)]

    @property
    def inside(self) -> list[Requirement]:
        """What must be in it: all that is required but the torch family."""
        return [r for r in self.requires if canonicalize_name(r.name) not in TORCH_FAMILY]


def locks(folder: Path = CONFIGS) -> list[Lock]:
    """The locks that the configs of a folder name.

    Raises
    ------
    LockError
        Models that share a lock pin a package differently or run on different Pythons, or a pin is
        not exact.
    """
    users: dict[str, list[tuple[str, Version]]] = {}
    for path in sorted(folder.glob("*.yaml")):
        config = read_config(path)
        for version in config.versions.values():
            if version.lock:
                users.setdefault(version.lock, []).append((f"{config.id} {version.name}", version))
    return [_lock(folder / name, models) for name, models in sorted(users.items())]


def _lock(path: Path, models: list[tuple[str, Version]]) -> Lock:
    names = tuple(name for name, _ in models)
    if len({version.python for _, version in models}) > 1:
        raise LockError(f"{path.name}: its models run on different Pythons: {', '.join(names)}")
    pins: dict[str, Requirement] = {}
    for name, version in models:
        for text in version.requires:
            try:
                asked = Requirement(text)
            except InvalidRequirement as error:
                raise LockError(f"{name}: {text!r} is not a valid requirement: {error}") from error
            if [s.operator for s in asked.specifier] != ["=="]:
                raise LockError(f"{name}: {text!r} pins no exact version")
            if str(pins.setdefault(canonicalize_name(asked.name), asked)) != str(asked):
                raise LockError(
                    f"{name}: {text!r} where another model of {path.name} has "
                    f"{pins[canonicalize_name(asked.name)]}"
                )
    return Lock(path, models[0][1].python, tuple(pins[name] for name in sorted(pins)), names)


# --------------------------------------------------------------------------------------------------
# writing
def write(lock: Lock, *, upgrade: bool) -> None:
    """Resolve a lock and write it, once uv would install it, and the torch family beside it, on
    every Python of its range.
    """
    lock.path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        asked, left_out, out = (
            Path(folder, "in.txt"),
            Path(folder, "left-out.txt"),
            Path(folder, lock.path.name),
        )
        asked.write_text(_lines(lock.inside))
        left_out.write_text(_lines(sorted(LEFT_OUT)))
        if lock.path.exists():
            out.write_text(
                lock.path.read_text(encoding="utf-8"), encoding="utf-8"
            )  # what it pins is kept where it fits
        resolve = (
            "pip",
            "compile",
            "--quiet",
            "--universal",
            "--python-version",
            lock.minors[0],
            "--exclude-newer",
            UNTIL,
        )
        again = ["--upgrade"] if upgrade else []
        uv(
            *resolve,
            *again,
            "--generate-hashes",
            "--no-annotate",
            "--no-header",
            "--excludes",
            left_out,
            "-o",
            out,
            asked,
        )
        # The two installs agree: the torch family can be had beside what the lock pins, whatever
        # brings it.
        asked.write_text(_lines(r for r in lock.requires if r not in lock.inside))
        uv(
            "pip",
            "compile",
            "--quiet",
            "--universal",
            "--python-version",
            lock.minors[0],
            "--constraint",
            out,
            asked,
        )
        for minor in lock.minors:
            at = ("--python-version", minor, "--target", Path(folder, minor))
            uv(
                "pip",
                "install",
                "--quiet",
                "--dry-run",
                "--no-deps",
                "--require-hashes",
                *at,
                "-r",
                out,
            )
        lock.path.write_text(
            _header(lock) + out.read_text(encoding="utf-8"), encoding="utf-8", newline="\n"
        )


def _lines(requirements: Iterable[object]) -> str:
    return "".join(f"{r}\n" for r in requirements)


def _header(lock: Lock) -> str:
    return (
        f"# Python {lock.python}, packages up to {UNTIL}. Written by model_configs/lock.py from "
        f"what the configs require:\n# {' '.join(map(str, lock.inside))}\n"
        "# To be installed beside the torch family: `uv pip install --no-deps --require-hashes "
        "-r`.\n"
    )


def uv(*arguments: str | Path) -> str:
    """Run uv; its last lines are the error where it fails."""
    command = [find_uv_bin(), *map(str, arguments), "--python", sys.executable]
    own = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}  # this Python builds what needs building
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=own)  # noqa: S603
    if done.returncode:
        raise LockError(
            f"uv {' '.join(map(str, arguments[:2]))}:\n"
            + "\n".join(done.stderr.strip().splitlines()[-12:])
        )
    return done.stdout


# --------------------------------------------------------------------------------------------------
# checking
def problems(lock: Lock) -> Iterator[str]:
    """Where a lock is not what its configs say, as far as the files alone tell."""
    if not lock.path.is_file():
        yield f"{lock.path.name} is missing; {lock.models[0]} names it"
        return
    if not lock.path.read_text(encoding="utf-8").startswith(_header(lock)):
        yield f"{lock.path.name}: its first lines name another Python, day or set of requirements"
    yield from unfit(lock)


def unfit(lock: Lock) -> Iterator[str]:
    """Where the packages of a lock are not what is required of it."""
    text = lock.path.read_text(encoding="utf-8")
    pinned: dict[str, list[Requirement]] = {}
    for entry in text.replace("\\\n", " ").splitlines():
        if not entry.strip() or entry.startswith("#"):
            continue
        line, *hashes = entry.split("--hash=")
        found = Requirement(line.strip())
        pinned.setdefault(canonicalize_name(found.name), []).append(found)
        if not hashes or not all(h.strip().startswith("sha256:") for h in hashes):
            yield f"{lock.path.name}: {found.name} has no sha256"
        if [s.operator for s in found.specifier] != ["=="]:
            yield f"{lock.path.name}: {found} is not one version"
    for name in sorted(pinned):
        if name in LEFT_OUT or name == "triton" or name.startswith(("cuda-", "nvidia-")):
            yield f"{lock.path.name}: {name} belongs to the torch family, or has a headless twin"
    for asked in (*lock.inside, Requirement("numpy")):  # numpy: the worker needs it
        yield from _missing(lock, asked, pinned.get(canonicalize_name(asked.name), []))


def _missing(lock: Lock, asked: Requirement, pinned: list[Requirement]) -> Iterator[str]:
    """Pythons and platforms on which the lock does not bring exactly one version, of those asked
    for.
    """
    for minor in lock.minors:
        for system, platform, machine in PLATFORMS:
            where = {
                "python_version": minor,
                "python_full_version": f"{minor}.0",
                "sys_platform": system,
                "platform_system": platform,
                "platform_machine": machine,
            }
            if asked.marker and not asked.marker.evaluate({**where, "extra": ""}):
                continue
            brought = [
                next(iter(r.specifier)).version
                for r in pinned
                if r.marker is None or r.marker.evaluate(where)
            ]
            if len(brought) != 1 or not asked.specifier.contains(brought[0]):
                got = " and ".join(brought) or "nothing"
                yield f"{lock.path.name}: {asked} is required, and it brings {got} on Python {minor}, {system}"
                return


def check(folder: Path = CONFIGS) -> list[str]:
    """All that is wrong with the locks of a folder."""
    try:
        found = locks(folder)
    except LockError as error:
        return [str(error)]
    named = {lock.path.name for lock in found}
    unused = [
        f"{p.name}: no config names it"
        for p in sorted((folder / "locks").glob("*"))
        if p.name not in named
    ]
    return [problem for lock in found for problem in problems(lock)] + unused


def main(arguments: list[str] | None = None) -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit with 1 where a lock and its configs disagree",
    )
    parser.add_argument(
        "--upgrade", action="store_true", help=f"take the newest packages up to {UNTIL}"
    )
    asked = parser.parse_args(arguments)
    if asked.check:
        wrong = check()
        print(*wrong, sep="\n", end="\n" * bool(wrong))
        return int(bool(wrong))
    try:
        for lock in locks():
            write(lock, upgrade=asked.upgrade)
            print(
                f"{lock.path.name}, for {len(lock.models)} of the models, Python "
                f"{', '.join(lock.minors)}"
            )
    except LockError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
