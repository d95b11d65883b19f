"""A finished set compared with what it says of itself: files, digests, and which samples."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import checks, files, settings
from ..errors import DatasetError
from .growth import refuse_growing
from .journal import LOG, MANIFEST, PROVENANCE, UNFINISHED, require_whole, unsealed
from .paths import inside, is_left_beside, is_plain, links
from .reader import ends_changed, problem_of

NAMED = 5  # files or samples that a report names of each kind; the rest it counts


@dataclass(frozen=True)
class Verification:
    """What `verify` found; ``ok`` when nothing is missing or changed, and all samples are there."""

    folder: Path
    files: int  # that the manifest lists
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    samples: tuple[
        int, ...
    ] = ()  # that are missing or changed, by number, if the manifest has one line per sample
    problems: tuple[str, ...] = ()  # that no single file has, as sentences

    @property
    def ok(self) -> bool:
        """Whether the set is as it was written."""
        return not (self.missing or self.changed or self.problems)

    def __str__(self) -> str:
        if self.ok:
            more = "".join(f"\n{line}" for line in named(self))
            return f"{self.folder}: {count(self.files, 'file')}, all as they were written.{more}"
        return "\n".join(
            [
                f"{self.folder}: not as it was written, of {count(self.files, 'file')}",
                *named(self),
                *self.problems,
            ]
        )


@checks.checked()
def verify(folder: str | os.PathLike[str]) -> Verification:
    """Read a finished set again and compare every file with its digest.

    The samples are compared with those that the provenance states, by their numbers.

    Parameters
    ----------
    folder : str or os.PathLike
        The folder given to `medzoo.generate` as ``out``, or to `Samples.save`.

    Returns
    -------
    Verification
        ``ok`` is True if the set is as it was written. ``missing``, ``changed`` and ``extra`` are
        names of files, ``samples`` the numbers of the samples in missing or changed files, and
        ``problems`` sentences on all other differences. Extra files do not make a set wrong, and
        files that operating systems and version control leave in folders are not listed.

    Raises
    ------
    DatasetError
        The folder does not hold a finished set, or the set is growing.

    Examples
    --------
    >>> samples = medzoo.generate(8, 4, out="masses", seed=0)
    >>> report = medzoo.verify("masses")
    >>> report.ok, report.missing, report.changed
    (True, (), ())
    >>> print(report)
    masses: 4 files, all as they were written.
    """
    target = settings.user_path(folder, "folder")
    require_whole(target)
    refuse_growing(target)
    found: dict[str, list[str]] = {"": [], "missing": [], "changed": []}
    samples: set[int] = set()
    try:
        provenance = unsealed(inside(target, PROVENANCE).read_bytes())
        problems = []
        if provenance is None:
            found["changed"].append(PROVENANCE)
            problems.append(ends_changed(target, PROVENANCE))
        if not inside(target, MANIFEST).is_file():
            found["missing"].append(MANIFEST)
        elif (
            provenance is not None
            and files.sha256_of(target / MANIFEST) != provenance["manifest_sha256"]
        ):
            found["changed"].append(MANIFEST)
            problems.append(ends_changed(target, MANIFEST))
        known = {MANIFEST, PROVENANCE, LOG}
        for how, entry in checked(target):
            if "offset" not in entry:
                known.add(entry["file"])
                found[how].append(entry["file"])
            if how and "index" in entry:
                samples.add(entry["index"])
        if provenance is not None and not (found["missing"] or found["changed"]):
            problems.append(problem_of(target, provenance))
        links_there = {p.relative_to(target).as_posix() for p in links(target)}
        for name in sorted(links_there & known):
            problems.append(f"{name} is a link, which is not followed.")  # noqa: PERF401
        there = (p.relative_to(target) for p in sorted(target.rglob("*")) if p.is_file())
        others = (p for p in there if p.parts[0] != UNFINISHED and not _is_strewn(p))
        extra = tuple(p.as_posix() for p in others if p.as_posix() not in known)
    except OSError as error:
        raise DatasetError(f"{target} cannot be read: {error}.") from error
    return Verification(
        target,
        len(known) - 3,
        tuple(found["missing"]),
        tuple(found["changed"]),
        extra,
        tuple(sorted(samples)),
        tuple(filter(None, problems)),
    )


def _is_strewn(path: Path) -> bool:
    return files.is_strewn(path) or is_left_beside(path)


def checked(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The manifest's line of each file, with the state of the file: "", "missing" or "changed".

    Behind the line of a tar file that is missing or changed come those of the samples that went
    with it.
    """
    parts: dict[str, list[dict[str, Any]]] = {}  # tar file -> the samples in it
    for entry in entries(folder):
        path = folder / entry["file"]
        if not is_plain(entry["file"]) or _has_link(folder, path):
            yield "changed", entry  # it is not looked at
            continue
        if "offset" in entry:
            parts.setdefault(entry["file"], []).append(entry)
            continue
        inside = parts.pop(entry["file"], [])
        if not path.is_file():
            yield from (("missing", e) for e in (entry, *inside))
        elif files.sha256_of(path) != entry["sha256"]:
            yield "changed", entry
            yield from (("changed", p) for p in inside if _digest(path, p) != p["sha256"])
        else:
            yield "", entry


def _has_link(folder: Path, path: Path) -> bool:
    return any(p.is_symlink() for p in (path, *path.parents) if p != folder and folder in p.parents)


def entries(folder: Path) -> Iterator[dict[str, Any]]:
    """The manifest's lines, as far as they can be read, without what a check has no use for."""
    with suppress(FileNotFoundError), (folder / MANIFEST).open("rb") as lines:
        for line in lines:
            with suppress(
                ValueError, KeyError, TypeError
            ):  # a damaged manifest still lists some files
                entry = json.loads(line)
                numbers = {
                    k: int(entry[k])
                    for k in ("index", "offset", "bytes")
                    if k in entry or "offset" in entry
                }
                whole = {"columns": entry["columns"]} if "columns" in entry else {}
                yield {"file": str(entry["file"]), "sha256": entry["sha256"], **whole, **numbers}


def _digest(path: Path, part: Mapping[str, Any]) -> str:
    with path.open("rb") as file:
        file.seek(part["offset"])
        return hashlib.sha256(file.read(part["bytes"])).hexdigest()


def count(n: int, what: str) -> str:
    """A number and what it counts, in the plural unless it is one."""
    return f"{n:,} {what}{'s' * (n != 1)}"


def some(names: Sequence[Any]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(map(str, names[:NAMED])) + f" and {len(names) - NAMED:,} more" * (
        len(names) > NAMED
    )


def named(report: Any) -> list[str]:
    """One line per kind of difference between files and manifest, and one for the samples."""
    found = {kind: getattr(report, kind, ()) for kind in ("missing", "changed", "extra", "samples")}
    return [
        f"{kind}: {some(v)}" if kind == "samples" else f"{len(v):,} {kind}: {some(v)}"
        for kind, v in found.items()
        if v
    ]
