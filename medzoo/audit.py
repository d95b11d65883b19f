"""A set of samples held against what it says of itself: are its files as they were written, and can
they be made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import files, settings
from .datasets.formats import format_class
from .datasets.journal import (
    LOG,
    MANIFEST,
    PROVENANCE,
    SEALS,
    UNFINISHED,
    done,
    is_whole,
    recorded,
    require_whole,
    unsealed,
)
from .datasets.layout import ARRANGED, Arrangement
from .datasets.reader import finished, read
from .datasets.writer import Target, changes
from .errors import DatasetError, InputError, MedzooWarning
from .generator import Run, load, with_bar
from .request import Request
from .runtime import Ray
from .samples import Samples

NAMED = 5  # files or samples that a report names of each kind; the rest it counts
COMPARED_AT_ONCE = 64  # samples in memory
GIVEN = ("latents", "inputs")  # of the options: what a provenance holds but the digest of
NOT_COMPARED = {
    *SEALS,
    "continued",
    "batches",
    "synthetic",
    "license",
    "source",
    "registered",
    "trust",
}


@dataclass(frozen=True)
class Verification:
    """What `verify` found; ``ok`` when nothing is missing, changed or extra."""

    folder: Path
    files: int  # that the manifest lists
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    samples: tuple[
        int, ...
    ] = ()  # that are missing or changed, by number, where the manifest has a line a sample

    @property
    def ok(self) -> bool:
        """Whether the set is as it was written."""
        return not (self.missing or self.changed or self.extra)

    def __str__(self) -> str:
        if self.ok:
            return f"{self.folder}: {_count(self.files, 'file')}, all as they were written."
        return "\n".join(
            [
                f"{self.folder}: not as it was written, of {_count(self.files, 'file')}",
                *_named(self),
            ]
        )


def verify(folder: str | os.PathLike[str]) -> Verification:
    """Read a finished set again and hold every file against its digest.

    Parameters
    ----------
    folder
        What `medzoo.generate` got as ``out``.

    Returns
    -------
    Verification
        ``missing``, ``changed`` and ``extra`` name files, ``samples`` the numbers of the samples
        that this concerns. What an operating system leaves in folders is not extra.

    Raises
    ------
    DatasetError
        The folder holds no finished set.
    """
    target = settings.user_path(folder, "folder")
    require_whole(target)
    found: dict[str, list[str]] = {"": [], "missing": [], "changed": []}
    samples: set[int] = set()
    try:
        provenance = unsealed((target / PROVENANCE).read_bytes())
        if provenance is None:
            found["changed"].append(PROVENANCE)
        if not (target / MANIFEST).is_file():
            found["missing"].append(MANIFEST)
        elif (
            provenance is not None
            and files.sha256_of(target / MANIFEST) != provenance["manifest_sha256"]
        ):
            found["changed"].append(MANIFEST)
        known = {MANIFEST, PROVENANCE, LOG}
        for how, entry in _checked(target):
            if "offset" not in entry:
                known.add(entry["file"])
                found[how].append(entry["file"])
            if how and "index" in entry:
                samples.add(entry["index"])
        there = (p.relative_to(target) for p in sorted(target.rglob("*")) if p.is_file())
        others = (p for p in there if p.parts[0] != UNFINISHED and not files.is_strewn(p))
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
    )


def _checked(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The manifest's line of each file with what became of that: "", "missing" or "changed".

    Behind the line of a tar file that is missing or changed come those of the samples that went
    with it.
    """
    parts: dict[str, list[dict[str, Any]]] = {}  # tar file -> the samples in it
    for entry in _entries(folder):
        path = folder / entry["file"]
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


def _entries(folder: Path) -> Iterator[dict[str, Any]]:
    """The manifest's lines, as far as they can be read, without what a check has no use for."""
    with suppress(FileNotFoundError), (folder / MANIFEST).open("rb") as lines:
        for line in lines:
            with suppress(
                ValueError, KeyError, TypeError
            ):  # a damaged manifest still tells of some files
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


@dataclass(frozen=True)
class Difference:
    """How far a column is from what it was."""

    samples: int  # that differ
    largest: float
    tolerance: float  # of the model version, and the step of the file format

    @property
    def within(self) -> bool:
        """Whether the tolerance holds."""
        return self.largest <= self.tolerance


@dataclass(frozen=True)
class Reproduction:
    """What `reproduce` found: ``equal`` byte for byte, or ``ok`` within the tolerance that the
    model states.
    """

    folder: Path
    files: int
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()  # since they were written
    different: tuple[str, ...] = ()  # files that are made other than they were written
    columns: Mapping[str, Difference] = field(
        default_factory=dict
    )  # whose values differ, as far as both can be read
    circumstances: Mapping[str, Any] = field(
        default_factory=dict
    )  # what is not as it was then, as it is now

    @property
    def equal(self) -> bool:
        """Whether every file is the same."""
        return not (self.missing or self.changed or self.different)

    @property
    def ok(self) -> bool:
        """Whether every sample is the same, within the tolerance."""
        return not (self.missing or self.changed) and all(d.within for d in self.columns.values())

    def __str__(self) -> str:
        number = _count(self.files, "file")
        if self.equal:
            return f"{self.folder}: made again, {number}, byte for byte the same."
        what = f"{len(self.different):,} of {number} differ: {_some(self.different)}"
        lines = [
            f"{self.folder}: made again, {what if self.different else f'{number}, all as the manifest has them'}"
        ]
        for name, d in self.columns.items():
            verdict = "within" if d.within else "more than"
            lines.append(
                f"{name}: by up to {d.largest:g} in {_count(d.samples, 'sample')}, {verdict} the tolerance of {d.tolerance:g}"
            )
        if self.ok and not self.columns:
            lines.append("all values are the same, in other bytes")
        now = ", ".join(
            f"{k} {json.dumps(v, ensure_ascii=False)}" for k, v in self.circumstances.items()
        )
        return "\n".join([*lines, *_named(self), *([f"not as it was then: {now}"] if now else [])])


def reproduce(
    folder: str | os.PathLike[str],
    model_id: int | str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    inputs: Any = None,
    latents: Any = None,
    env: str = "auto",
    trust: bool = False,
    engine: str | Ray | None = None,
    progress: bool | None = None,
) -> Reproduction:
    """Make a finished set again from its provenance, into a folder beside it that is then removed,
    and compare.

    Where it is stopped, the same call goes on from there. What is missing or changed since the set
    was written is named before that, with a warning; what is made is then held against the manifest
    alone.

    Parameters
    ----------
    folder
        What `medzoo.generate` got as ``out``.
    model_id
        The path of the package, where the set was made by one of your own; what the provenance
        names if None.
    weights, inputs, latents
        The very same as then, where the set was made with some of your own: the folder holds their
        digests alone.
    device, env, trust, engine
        See `medzoo.load`.
    progress
        Draw a progress bar; only at a terminal if None.

    Returns
    -------
    Reproduction
        ``equal`` where every file is the same byte for byte. Else ``missing`` and ``changed`` name
        the files that are no longer as they were written, and ``different`` those that are made
        other than they were; ``columns`` says by how much samples differ, ``ok`` whether nothing is
        missing or changed and that is within the tolerance that the model states, and
        ``circumstances`` what is not as it was.

    Raises
    ------
    DatasetError
        The folder holds no finished set, or one that says too little to be made again.
    InputError
        Something of your own is missing, or is not what the set was made with.
    MedzooError
        Whatever `medzoo.generate` raises.
    """
    target = settings.user_path(folder, "folder")
    then = finished(target)
    given = {
        name: value
        for name, value in zip(GIVEN, (latents, inputs), strict=True)
        if value is not None
    }
    _check_given(
        target, then, model_id, {**given, **({} if weights is None else {"weights": weights})}
    )
    options = {k: v for k, v in then["options"].items() if k not in GIVEN}
    if latents is not None:
        options["latents"] = latents
    same: dict[str, Any] = {
        "seed": then["seed"],
        "first": then.get("first", 0),
        "inputs": inputs,
        "options": options,
    }
    precision = then.get("precision", "full")
    how: dict[str, Any] = {
        "device": device,
        "weights": weights,
        "env": env,
        "trust": trust,
        "precision": precision,
    }
    how |= {"engine": engine, "version": then["version"] if model_id is None else None}
    try:
        damage = [found for found in _checked(target) if found[0]]
    except OSError as error:
        raise DatasetError(f"{target} cannot be read: {error}.") from error
    if damage:
        names = tuple(e["file"] for _, e in damage if "offset" not in e)
        warnings.warn(
            f"{target} is not as it was written: {_count(len(names), 'file')} missing or changed ({_some(names)}). It is made "
            "again and held against what the manifest says of it.",
            MedzooWarning,
            stacklevel=2,
        )
    place = _place_beside(target, then["provenance_sha256"][:16])
    with place as made, load(then["model"] if model_id is None else model_id, **how) as model:
        request = Request.of(model.config, model.version, then["n"], **same)
        for name in given:
            if request.record.get(name) != then["options"].get(name):
                raise InputError(
                    f"These {name} are not the ones that {target} was made with.",
                    "Their digests differ.",
                )
        run = Run(model, request, batches=[list(b) for b in then["batches"]])
        if not _goes_on(made, run.provenance):
            shutil.rmtree(made, ignore_errors=True)
        about: dict[str, Any] = {
            "n": request.n,
            "format": then["format"],
            "provenance": run.provenance,
        }
        about["arrangement"] = Arrangement(**{k: then[k] for k in ARRANGED if k in then})
        with Target(made, outputs=model.version.outputs, **about) as new:
            if not new.finished:
                run.go_on(new)
                new.fill(with_bar(run, progress))
        return _compare(
            target,
            made,
            then,
            damage,
            {name: o.tolerance for name, o in model.version.outputs.items()},
        )


@contextmanager
def _place_beside(folder: Path, name: str) -> Iterator[Path]:
    """Where to make a set again: under ``name`` in a folder beside it, which one process has at a
    time.

    It is gone afterwards. Only where the block fails with samples done, they stay for the next try.
    """
    whole = folder.resolve()  # of a link, the disk that has the room
    place = whole.with_name(f".{whole.name}.again")
    made, lock, kept = place / name, place / "lock", False
    with ExitStack() as stack:
        stack.callback(_remove_if_empty, place)  # on Windows the lock kept it until then
        try:
            place.mkdir(exist_ok=True)
            if not stack.enter_context(files.locked(lock, timeout=0)) and files.has_locks(lock):
                raise DatasetError(
                    f"Another process is making {folder} again.", "Wait until it is done."
                )
        except OSError as error:
            raise DatasetError(
                f"{folder} cannot be made again beside it: {error}.",
                "Copy it to where you may write.",
            ) from error
        try:
            yield made
        except BaseException:
            kept = is_whole(made) or done(made) > 0
            if kept:
                what = (
                    f"What was made again stays in {place}, and the same call goes on from there."
                )
                warnings.warn(what, MedzooWarning, stacklevel=4)
            raise
        finally:
            if not kept:
                shutil.rmtree(place, ignore_errors=True)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _goes_on(made: Path, provenance: Mapping[str, Any]) -> bool:
    """Whether what an earlier call left is good, and was made as it would be now."""
    asked = {k: v for k, v in json.loads(json.dumps(provenance)).items() if k != "batches"}
    return not changes(recorded(made), asked) and (not is_whole(made) or verify(made).ok)


def _check_given(
    folder: Path, then: Mapping[str, Any], model_id: Any, given: Mapping[str, Any]
) -> None:
    """Whether the provenance and the caller together say all that it takes."""
    if missing := [
        k
        for k in ("model", "version", "seed", "n", "options", "batches", "sha256")
        if k not in then
    ]:
        raise DatasetError(
            f"{folder} does not say how it was made: {', '.join(missing)} is missing from {PROVENANCE}."
        )
    if "subset" in then:
        raise DatasetError(
            f"{folder} was saved as a part of a set, which alone cannot be made again.",
            "Generate the whole.",
        )
    if not then.get("registered", True) and "weights" not in then["sha256"] and model_id is None:
        raise InputError(
            f"{folder} was made by a package of your own.",
            "Name its folder: medzoo reproduce DIR --model mine/",
        )
    uses = {*(k for k in GIVEN if k in then["options"]), *({"weights"} & set(then["sha256"]))}
    if lacking := sorted(uses - set(given)):
        raise InputError(
            f"{folder} was made with {' and '.join(lacking)} of your own.",
            f"Give the same {lacking[0]} again.",
        )
    if unused := sorted(set(given) - uses):
        raise InputError(
            f"{folder} was made without {unused[0]} of your own.", f"Leave {unused[0]} out."
        )


def _compare(
    folder: Path,
    again: Path,
    then: Mapping[str, Any],
    damage: Iterable[tuple[str, Mapping[str, Any]]],
    tolerances: Mapping[str, float],
) -> Reproduction:
    was, made = (
        {e["file"]: e["sha256"] for e in _entries(f) if "offset" not in e} for f in (folder, again)
    )
    different = tuple(
        name for name in sorted(was.keys() | made.keys()) if was.get(name) != made.get(name)
    )
    now = finished(again)
    circumstances = changes(then, {k: v for k, v in now.items() if k not in NOT_COMPARED})
    missing, changed = (
        tuple(e["file"] for h, e in damage if h == how and "offset" not in e)
        for how in ("missing", "changed")
    )
    columns = {}
    if different and not any(
        "columns" in e for _, e in damage
    ):  # else a file of all samples is gone
        one, other = read(folder), read(again)
        rows = np.flatnonzero(
            ~np.isin(one.indices, [e["index"] for _, e in damage if "index" in e])
        )
        step = format_class(then["format"]).step
        found = {
            n: _difference(one, other, n, rows, tolerances.get(n, 0.0) + step(one.outputs[n]))
            for n in one.columns
        }
        columns = {name: d for name, d in found.items() if d.samples}
    return Reproduction(
        folder, len(was.keys() | made.keys()), missing, changed, different, columns, circumstances
    )


def _difference(
    one: Samples, other: Samples, name: str, rows: NDArray[np.int64], tolerance: float
) -> Difference:
    differing, largest = 0, 0.0
    for start in range(0, len(rows), COMPARED_AT_ONCE):
        some = rows[start : start + COMPARED_AT_ONCE]
        a, b = (np.asarray(s[some].columns[name], dtype=np.float64) for s in (one, other))
        if a.shape != b.shape:
            return Difference(len(rows), float("inf"), tolerance)
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b)).reshape(
            len(a), -1
        )
        apart = np.nan_to_num(apart.max(axis=1, initial=0.0), nan=np.inf)
        differing += int((apart > 0).sum())
        largest = max(largest, float(apart.max(initial=0.0)))
    return Difference(differing, largest, tolerance)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def _some(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names[:NAMED])) + f" and {len(names) - NAMED:,} more" * (
        len(names) > NAMED
    )


def _named(report: Verification | Reproduction) -> list[str]:
    """A line for each way in which files are not as they were written, and one for their samples."""
    found = {kind: getattr(report, kind, ()) for kind in ("missing", "changed", "extra", "samples")}
    return [
        f"{kind}: {_some(v)}" if kind == "samples" else f"{len(v):,} {kind}: {_some(v)}"
        for kind, v in found.items()
        if v
    ]
