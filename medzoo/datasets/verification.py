"""A finished set compared with its manifest and provenance: files, digests and samples."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .. import checks, files, settings
from ..config.html import block, fact_table
from ..errors import DatasetError
from .growth import refuse_growing
from .journal import LOG, MANIFEST, PROVENANCE, UNFINISHED, require_whole, unsealed
from .paths import inside, is_left_beside, is_plain, walk
from .reader import ends_changed, problem_of

PUBLISHED = "published.json"  # the DOI of a set that `medzoo publish` uploaded
PROBLEMS = 20  # sentences that a notebook shows
NAMED = 5  # files or samples of each kind that a report names; it counts the others


@dataclass(frozen=True)
class Verification:
    """The result of `verify`; ``ok`` if nothing is missing or changed and all samples are there."""

    folder: Path
    files: int  # number of files in the manifest
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    # Numbers of missing or changed samples, if the manifest has one line per sample.
    samples: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()  # sentences on what concerns no single file

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

    def _repr_html_(self) -> str:
        """The result as a table, for notebooks."""
        result = "all as they were written" if self.ok else "not as it was written"
        facts = {"folder": str(self.folder), "result": result, "files": f"{self.files:,}"}
        for kind in ("missing", "changed", "extra", "samples"):
            if names := getattr(self, kind):
                facts[kind] = some(names)
        if self.problems:
            facts["problems"] = "\n".join(self.problems[:PROBLEMS])
        colour = "#2b8a3e" if self.ok else "#c92a2a"
        title = f"<b style='color:{colour}'>{'✓' if self.ok else '✗'} verified</b>"
        return block(title, fact_table(facts))


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
    try:
        return _Check(target).run()
    except OSError as error:
        raise DatasetError(f"{target} cannot be read: {error}.") from error


class _Check:
    """The steps of `verify`, which collect what is wrong."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._contents = Contents.of(folder)
        self._listed = {MANIFEST, PROVENANCE, LOG}  # files that belong to the set
        self._names: dict[str, list[str]] = {"": [], "missing": [], "changed": []}  # by state
        self._samples: set[int] = set()
        self._problems: list[str] = []

    def run(self) -> Verification:
        provenance = self._check_seals()
        for state, entry in checked(self._folder, self._contents):
            if "offset" not in entry:
                self._listed.add(entry["file"])
                self._names[state].append(entry["file"])
            if state and "index" in entry:
                self._samples.add(entry["index"])
        missing, changed = self._names["missing"], self._names["changed"]
        if provenance is not None and not (missing or changed):
            self._problems.append(problem_of(self._folder, provenance))
        for name in sorted(self._contents.links & self._listed):
            self._problems.append(f"{name} is a link, which is not followed.")
        return Verification(
            self._folder,
            len(self._listed) - 3,
            tuple(missing),
            tuple(changed),
            tuple(self._extra()),
            tuple(sorted(self._samples)),
            tuple(filter(None, self._problems)),
        )

    def _check_seals(self) -> dict[str, Any] | None:
        """Check provenance and manifest; returns the provenance, or None if it has changed."""
        folder = self._folder
        provenance = unsealed(inside(folder, PROVENANCE).read_bytes())
        changed = self._names["changed"]
        if provenance is None:
            changed.append(PROVENANCE)
        expected = None if provenance is None else provenance["manifest_sha256"]
        if not inside(folder, MANIFEST).is_file():
            self._names["missing"].append(MANIFEST)
        elif expected not in {None, files.sha256_of(folder / MANIFEST)}:
            changed.append(MANIFEST)
        for name in changed:
            self._problems.append(ends_changed(folder, name))
        return provenance

    def _extra(self) -> Iterator[str]:
        """The files that do not belong to the set, nor to a well-known program."""
        own = {*self._listed, PUBLISHED}
        for name in sorted((self._contents.files | self._contents.links) - own):
            path = PurePosixPath(name)
            left = path.parts[0] == UNFINISHED or files.is_strewn(path) or is_left_beside(path)
            if not left and (self._folder / name).is_file():
                yield name


@dataclass(frozen=True)
class Contents:
    """Relative names of the files in a folder, read once, and of links, which are not followed."""

    files: frozenset[str]
    links: frozenset[str]

    @classmethod
    def of(cls, folder: Path) -> Contents:
        """Read the folder."""
        names: dict[bool, list[str]] = {False: [], True: []}
        for name, is_link in walk(folder):
            names[is_link].append(name)
        return cls(frozenset(names[False]), frozenset(names[True]))

    def leads_through_link(self, name: str) -> bool:
        """Whether a name is that of a link, or of something below one."""
        path = PurePosixPath(name)
        return any(str(part) in self.links for part in (path, *path.parents))


def checked(folder: Path, contents: Contents | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The manifest's line for each file, with the state of the file: "", "missing" or "changed".

    After the line of a tar file that is missing or changed come the lines of its samples that are
    missing or changed.
    """
    contents = contents or Contents.of(folder)
    parts: dict[str, list[dict[str, Any]]] = {}  # tar file -> the samples in it
    for entry in entries(folder):
        name = entry["file"]
        path = os.path.join(folder, name)  # noqa: PTH118  (a set may have a million files)
        if not is_plain(name) or (contents.links and contents.leads_through_link(name)):
            yield "changed", entry  # the file is not read
            continue
        if "offset" in entry:
            parts.setdefault(name, []).append(entry)
            continue
        samples = parts.pop(name, [])
        if name not in contents.files and not os.path.isfile(path):  # noqa: PTH113
            for missing in (entry, *samples):
                yield "missing", missing
        elif files.sha256_of(path) != entry["sha256"]:
            yield "changed", entry
            for sample in samples:
                if _digest(path, sample) != sample["sha256"]:
                    yield "changed", sample
        else:
            yield "", entry


def entries(folder: Path) -> Iterator[dict[str, Any]]:
    """The manifest's lines that can be read, with the keys that a check needs."""
    with suppress(FileNotFoundError), (folder / MANIFEST).open("rb") as lines:
        for line in lines:
            # A damaged manifest still lists some files.
            with suppress(ValueError, KeyError, TypeError):
                # json would look for the encoding of each line
                yield _checked_entry(json.loads(line.decode()))


def _checked_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    keys = {"file": str(entry["file"]), "sha256": entry["sha256"]}
    if "columns" in entry:
        keys["columns"] = entry["columns"]
    for key in ("index", "offset", "bytes"):
        if key in entry or "offset" in entry:  # a sample in a tar file has all three
            keys[key] = int(entry[key])
    return keys


def _digest(path: str, part: Mapping[str, Any]) -> str:
    with open(path, "rb") as file:  # noqa: PTH123
        file.seek(part["offset"])
        return hashlib.sha256(file.read(part["bytes"])).hexdigest()


def count(n: int, what: str) -> str:
    """A number and what it counts: ``1 file``, ``2 files``."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def some(names: Sequence[Any]) -> str:
    """The first names, and how many more there are."""
    text = ", ".join(map(str, names[:NAMED]))
    return f"{text} and {len(names) - NAMED:,} more" if len(names) > NAMED else text


def named(report: Any) -> list[str]:
    """One line per kind of difference between files and manifest, and one for the samples."""
    lines = []
    for kind in ("missing", "changed", "extra", "samples"):
        if names := getattr(report, kind, ()):
            number = "" if kind == "samples" else f"{len(names):,} "
            lines.append(f"{number}{kind}: {some(names)}")
    return lines
