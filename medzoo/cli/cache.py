"""Models on this disk: ``install``, and ``cache`` with its steps; their arguments and what they
print.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import settings
from ..config import REMOTE
from ..console import megabytes, table, terminal_width
from ..errors import CacheError, InputError, IntegrityError, MedzooError
from .help import FETCH, Commands, command
from .options import (
    environment_arguments,
    json_argument,
    offline_argument,
    path_of,
    print_json,
    version_argument,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..packages.cache import Removal, Report


# --------------------------------------------------------------------------------------------------
# arguments
def add_install(commands: Commands) -> None:
    """``install``."""
    child = command(
        commands,
        "install",
        "make models ready: fetch, verify, build their environments, run nothing",
        "Their first use then needs no network. If one fails, the others are still prepared, and "
        "the exit code is that of the first failure.",
        examples=(
            "medzoo install 7",
            "medzoo install 1 2 7",
            "medzoo install --all",
        ),
        codes=(2, *FETCH, 12, 13),
    )
    child.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="number, id, beginning of an id, or path of a package folder",
    )
    child.add_argument("--all", action="store_true", help="every registered model")
    version_argument(child)
    environment_arguments(child)


def add_cache(commands: Commands) -> None:
    """``cache`` and its steps."""
    parent = command(
        commands,
        "cache",
        "what medzoo keeps on this disk, and how much that takes",
        "Downloads, unpacked packages, and environments. MEDZOO_CACHE sets another folder. "
        "Everything that is listed can be removed at any time: it is fetched or built again when "
        "it is needed.",
        examples=(
            "medzoo cache",
            "medzoo cache remove 8",
            "medzoo cache prune --dry-run",
            'du -sh "$(medzoo cache --json | jq -r .folder)"',
        ),
        codes=(2, 3, 4, 5, 6, 12, 15),
    )
    json_argument(parent)
    steps = parent.add_subparsers(dest="step", metavar="STEP", title="steps")

    child = command(
        steps,
        "list",
        "what is there, and which models use it",
        examples=("medzoo cache list --json",),
        codes=(4,),
    )
    json_argument(child, of_step=True)

    child = command(
        steps,
        "remove",
        "remove what belongs to a model, or one thing by its name",
        "What another model needs, or a running process uses, stays.",
        examples=(
            "medzoo cache remove 8",
            "medzoo cache remove 15749250941d2b5a",
            "medzoo cache remove --all",
        ),
        codes=(2, 3, 4, 15),
    )
    child.add_argument(
        "what", nargs="?", metavar="WHAT", help="a model, or the key of an environment or a package"
    )
    child.add_argument("--all", action="store_true", help="everything that is listed")
    json_argument(child, of_step=True)

    child = command(
        steps,
        "verify",
        "compare everything with the recorded digests",
        examples=("medzoo cache verify",),
        codes=(4, 6),
    )
    json_argument(child, of_step=True)

    child = command(
        steps,
        "prune",
        "remove what nothing needs any more",
        "Unfinished work, partial downloads, downloads and packages that no config names, "
        "environments that no registered version needs, and logs older than 30 days. What a "
        "running process uses stays.",
        examples=(
            "medzoo cache prune --dry-run",
            "medzoo cache prune",
        ),
        codes=(4, 15),
    )
    child.add_argument(
        "--dry-run", action="store_true", help="remove nothing, and say what would go"
    )
    json_argument(child, of_step=True)

    child = command(
        steps,
        "export",
        "write one file that carries models to a machine without a network",
        "It holds the archives of the models and their digests. What is not in the cache is "
        "fetched first. With --with-environments it also holds the wheels that their environments "
        "are built from, for machines with this system and this version of Python.",
        examples=(
            "medzoo cache export models.zip 1 7",
            "medzoo cache export models.zip 1 7 --with-environments",
        ),
        codes=(2, *FETCH, 12, 13),
    )
    child.add_argument("file", type=path_of, metavar="FILE", help="a new file")
    child.add_argument(
        "models", nargs="+", metavar="MODEL", help="number, id, or beginning of an id"
    )
    child.add_argument(
        "--with-environments",
        action="store_true",
        help="also write the wheels of the models' environments",
    )
    version_argument(child)
    offline_argument(child)
    json_argument(child, of_step=True)

    child = command(
        steps,
        "import",
        "take in the models that a file carries",
        "Each archive must match the digest in the registry, or the digest of its first use here. "
        "If anything differs, nothing is imported.",
        examples=("medzoo cache import models.zip",),
        codes=(3, 4, 5, 6, 12),
    )
    child.add_argument(
        "file", type=path_of, metavar="FILE", help="what `medzoo cache export` wrote"
    )
    child.add_argument(
        "--trust",
        action="store_true",
        help="also take models and wheels whose digest is known only from the file",
    )
    json_argument(child, of_step=True)


# --------------------------------------------------------------------------------------------------
# install
def install_command(a: argparse.Namespace) -> int:
    """``medzoo install``: one line per model, on stderr if it fails; the exit code of the first
    failure.
    """
    from ..registry import list_models

    if a.all == bool(a.models):
        raise InputError(
            "medzoo install: which models?", "Name some, or say --all for every registered one."
        )
    code = 0
    for model in a.models or [c.id for c in list_models()]:
        try:
            print(made_ready(model, a), flush=True)
        except MedzooError as error:  # noqa: PERF203
            if a.debug:
                raise
            print(f"medzoo: {model}: {error}", file=sys.stderr, flush=True)
            code = code or error.exit_code
    return code


def made_ready(model: str, a: argparse.Namespace) -> str:
    """Make a model ready; say what was fetched, where it is, and what it runs with."""
    from .. import files
    from ..packages import assembly, cache, download
    from ..packages.preparation import prepare
    from ..registry import resolve

    config = resolve(model)
    version = config.version(a.model_version)
    downloads = cache.downloaded()
    with download.using(config.id):
        package, interpreter = prepare(config, version, env=a.env, trust=a.trust)
        if version.scheme in REMOTE:
            archives = [place.path for place in assembly.places(config, version).values()]
            done = "was here" if downloads.issuperset(archives) else "fetched"
            name = archives[0].name if len(archives) == 1 else f"{len(archives)} files"
            size = sum(path.stat().st_size for path in set(archives))
            what = f"{name} {megabytes(size)} {done}"
        else:
            what = f"package {megabytes(files.size_of(package.path)[0])} is on this machine"
    runs = "runs in this Python"
    if interpreter is not None and interpreter.kind == "isolated":
        folder = interpreter.python.parent.parent
        packages, taken = len(interpreter.record), megabytes(files.size_of(folder)[0])
        runs = f"environment {folder.name}, {packages} packages, {taken}"
    return f"{config.id} {version.name}: {what}; {runs}"


# --------------------------------------------------------------------------------------------------
# cache
def cache_command(a: argparse.Namespace) -> None:
    """``medzoo cache``, and its steps."""
    from ..packages import cache

    if a.step == "prune":
        print_removal(cache.prune(dry_run=a.dry_run), as_json=a.json, dry_run=a.dry_run)
    elif a.step in {"export", "import"}:
        carry_command(a)
    elif a.step == "remove":
        print_removal(remove_of(a), as_json=a.json)
    elif a.step == "verify":
        print_report(cache.verify(), as_json=a.json)
    else:
        print_cache(as_json=a.json)


def print_cache(*, as_json: bool) -> None:
    """Where the cache is, its size, and what is in it."""
    from ..packages import cache

    folder, size = settings.cache_folder(), cache.total()
    entries = [entry.summary for entry in cache.entries()]
    if as_json:
        print_json({"folder": str(folder), "bytes": size, "entries": entries})
        return
    state = megabytes(size) if folder.is_dir() else "not made yet"
    print(f"{folder}  ({state}; MEDZOO_CACHE moves it)")
    if entries:
        head = ("kind", "name", "size", "frees", "last used", "models", "what")
        print(f"\n{table(head, list(map(cache_row, entries)), terminal_width())}")


def cache_row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """An entry of the cache as a row of the table."""
    is_package = entry["kind"] == "package"
    return (
        entry["kind"],
        entry["name"][:16] if is_package else entry["name"],
        megabytes(entry["bytes"]),
        megabytes(entry["frees"]),
        entry["used"],
        ", ".join(entry["models"]),
        entry["about"],
    )


def remove_of(a: argparse.Namespace) -> Removal:
    """``medzoo cache remove``: one thing, or all."""
    from ..packages import cache

    if a.all == (a.what is not None):
        raise InputError(
            "medzoo cache remove: remove what?",
            "Name a model or a key, or say --all; `medzoo cache` lists them.",
        )
    return cache.clear() if a.all else cache.remove(a.what)


def print_removal(done: Removal, *, as_json: bool, dry_run: bool | None = None) -> None:
    """What was removed, and after a prune (``dry_run`` is not None) how much that frees; an error
    if something could not be removed.
    """
    pruned = dry_run is not None
    if as_json:
        result: dict[str, Any] = {
            "removed": [str(entry.path) for entry in done.removed],
            "kept": {str(entry.path): reason for entry, reason in done.kept},
        }
        if pruned:
            result |= {"freed": done.freed, "dry_run": dry_run}
        print_json(result)
    else:
        removed, freed = ("would remove", "would free") if dry_run else ("removed", "freed")
        lines = [f"{removed} {entry}" for entry in done.removed]
        lines += [f"kept {entry}: {reason}" for entry, reason in done.kept]
        if pruned and lines:
            lines.append(f"{freed} {megabytes(done.freed)}")
        print("\n".join(lines) or f"nothing to {'prune' if pruned else 'remove'}")
    if done.failed:
        raise CacheError(
            f"{len(done.failed)} of {len(done.failed) + len(done.removed)} could not be removed.",
            "Try again when no process uses them.",
        )


def print_report(report: Report, *, as_json: bool) -> None:
    """What is right and wrong in the cache; an error if something is wrong."""
    if as_json:
        wrong = [{"path": str(entry.path), "problem": text} for entry, text in report.wrong]
        print_json(
            {
                "right": [str(entry.path) for entry in report.right],
                "unknown": [str(entry.path) for entry in report.unknown],
                "wrong": wrong,
            }
        )
    else:
        lines = [f"right    {entry}" for entry in report.right]
        note = "nothing here says what it should be"
        lines += [f"unknown  {entry}: {note}" for entry in report.unknown]
        lines += [f"wrong    {entry}: {text}" for entry, text in report.wrong]
        print("\n".join(lines) or "nothing to verify")
    if report.wrong:
        count = len({entry.path for entry, _ in report.wrong})
        raise IntegrityError(
            f"{count} of what is in the cache is not what it should be.",
            "`medzoo cache remove` removes it; it is fetched or built again when needed.",
        )


def carry_command(a: argparse.Namespace) -> None:
    """``medzoo cache export`` and ``medzoo cache import``."""
    from ..packages import transfer

    if a.step == "export":
        carried = transfer.export_models(
            a.file, a.models, version=a.model_version, with_environments=a.with_environments
        )
    else:
        carried = transfer.import_models(a.file, trust=a.trust)
    if a.json:
        print_json([asdict(c) for c in carried])
        return
    for c in carried:
        done = "written" if a.step == "export" else "was here" if c.here else "taken in"
        print(f"{c}: {Path(c.name).name} {megabytes(c.bytes)} {done}, sha256 {c.sha256}")
    if a.step == "export":
        print(f"{a.file}: bring it to the other machine, then `medzoo cache import {a.file.name}`")
