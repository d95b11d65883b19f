"""A set of samples held against what it says of itself: are its files as they were written, and can they be made again."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import files, settings
from .datasets.formats import format_class
from .datasets.journal import LOG, MANIFEST, PROVENANCE, UNFINISHED
from .datasets.reader import finished, read
from .datasets.writer import Target, changes
from .errors import DatasetError, InputError
from .generator import Run, load
from .request import Request
from .samples import Samples

NAMED = 5  # files that a report names of each kind; the rest it counts
COMPARED_AT_ONCE = 64  # samples in memory
GIVEN = ("latents", "inputs")  # of the options: what a provenance holds but the digest of
NOT_COMPARED = {"manifest_sha256", "continued", "batches", "synthetic", "license", "source", "registered", "trust"}


@dataclass(frozen=True)
class Verification:
    """What `verify` found; ``ok`` when nothing is missing, changed or extra."""

    folder: Path
    files: int  # that the manifest lists
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the set is as it was written."""
        return not (self.missing or self.changed or self.extra)

    def __str__(self) -> str:
        if self.ok:
            return f"{self.folder}: {_count(self.files, 'file')}, all as they were written."
        found = [f"{len(v):,} {k}: {_some(v)}" for k in ("missing", "changed", "extra") if (v := getattr(self, k))]
        return "\n".join([f"{self.folder}: not as it was written, of {_count(self.files, 'file')}", *found])


def verify(folder: str | os.PathLike[str]) -> Verification:
    """Read a finished set again and hold every file against its digest.

    Parameters
    ----------
    folder
        What `medzoo.generate` got as ``out``.

    Returns
    -------
    Verification
        ``missing``, ``changed`` and ``extra`` name files. Of a changed tar file, the samples stand behind it.

    Raises
    ------
    DatasetError
        The folder holds no finished set.
    """
    target = settings.user_path(folder, "folder")
    try:
        recorded = json.loads((target / PROVENANCE).read_text(encoding="utf-8"))["manifest_sha256"]
        missing, changed, known = [], [], {MANIFEST, PROVENANCE, LOG}
        if files.sha256_of(target / MANIFEST) != recorded:
            changed.append(MANIFEST)
        parts: dict[str, list[dict[str, Any]]] = {}  # tar file -> the samples in it
        for entry in _entries(target, damaged=MANIFEST in changed):
            name = entry["file"]
            if "offset" in entry:
                parts.setdefault(name, []).append({k: entry[k] for k in ("index", "offset", "bytes", "sha256")})
                continue
            known.add(name)
            inside = parts.pop(name, [])
            if not (target / name).is_file():
                missing.append(name)
            elif files.sha256_of(target / name) != entry["sha256"]:
                bad = [str(p["index"]) for p in inside if _digest(target / name, p) != p["sha256"]]
                changed.append(name + f" (samples {', '.join(bad)})" * bool(bad))
        there = (p.relative_to(target) for p in sorted(target.rglob("*")) if p.is_file())
        extra = [p.as_posix() for p in there if p.parts[0] != UNFINISHED and p.as_posix() not in known]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{target} holds no finished set of samples: {error}.") from error
    return Verification(target, len(known) - 3, tuple(missing), tuple(changed), tuple(extra))


def _entries(folder: Path, *, damaged: bool = False) -> Iterator[dict[str, Any]]:
    """The manifest's lines; of a damaged one those that can be read."""
    with (folder / MANIFEST).open("rb") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
                yield {"file": entry["file"], "sha256": entry["sha256"], **entry}
            except (ValueError, KeyError, TypeError):  # noqa: PERF203
                if not damaged:
                    raise


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
    """What `reproduce` found: ``equal`` byte for byte, or ``ok`` within the tolerance that the model states."""

    folder: Path
    files: int
    different: tuple[str, ...] = ()  # files
    columns: Mapping[str, Difference] = field(default_factory=dict)  # where files differ
    circumstances: Mapping[str, Any] = field(default_factory=dict)  # what is not as it was then, as it is now

    @property
    def equal(self) -> bool:
        """Whether every file is the same."""
        return not self.different

    @property
    def ok(self) -> bool:
        """Whether every sample is the same, within the tolerance."""
        return self.equal or all(d.within for d in self.columns.values())

    def __str__(self) -> str:
        if self.equal:
            return f"{self.folder}: made again, {_count(self.files, 'file')}, byte for byte the same."
        what = f"{len(self.different):,} of {_count(self.files, 'file')} differ: {_some(self.different)}"
        lines = [f"{self.folder}: made again, {what}"]
        for name, d in self.columns.items():
            verdict = "within" if d.within else "more than"
            how = f"by up to {d.largest:g} in {_count(d.samples, 'sample')}, {verdict} the tolerance of {d.tolerance:g}"
            lines.append(f"{name}: {how if d.samples else 'the same values in other bytes'}")
        now = ", ".join(f"{k} {json.dumps(v, ensure_ascii=False)}" for k, v in self.circumstances.items())
        return "\n".join([*lines, *([f"not as it was then: {now}"] if now else [])])


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
) -> Reproduction:
    """Make a finished set again from its provenance, into a folder beside it that is then removed, and compare.

    Parameters
    ----------
    folder
        What `medzoo.generate` got as ``out``.
    model_id
        The path of the package, where the set was made by one of your own; what the provenance names if None.
    weights, inputs, latents
        The very same as then, where the set was made with some of your own: the folder holds their digests alone.
    device, env, trust
        See `medzoo.load`.

    Returns
    -------
    Reproduction
        ``equal`` where every file is the same byte for byte. Else ``columns`` says by how much samples differ,
        ``ok`` whether that is within the tolerance that the model states, and ``circumstances`` what is not as it was.

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
    given = {name: value for name, value in zip(GIVEN, (latents, inputs), strict=True) if value is not None}
    _check_given(target, then, model_id, {**given, **({} if weights is None else {"weights": weights})})
    options = {k: v for k, v in then["options"].items() if k not in GIVEN}
    if latents is not None:
        options["latents"] = latents
    same: dict[str, Any] = {"seed": then["seed"], "first": then.get("first", 0), "inputs": inputs, "options": options}
    precision = then.get("precision", "full")
    how: dict[str, Any] = {"device": device, "weights": weights, "env": env, "trust": trust, "precision": precision}
    version = then["version"] if model_id is None else None
    with load(then["model"] if model_id is None else model_id, version=version, **how) as model:
        request = Request.of(model.config, model.version, then["n"], **same)
        for name in given:
            if request.record.get(name) != then["options"].get(name):
                raise InputError(f"These {name} are not the ones that {target} was made with.", "Their digests differ.")
        run, outputs = Run(model, request, batches=[list(b) for b in then["batches"]]), model.version.outputs
        asked: dict[str, Any] = {"outputs": outputs, "format": then["format"], "n": request.n, "provenance": run.provenance}
        try:
            with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.absolute().parent) as aside:
                again = Path(aside) / "again"
                with Target(again, **asked) as new:
                    new.fill(run)
                return _compare(target, again, then, {name: o.tolerance for name, o in outputs.items()})
        except OSError as error:
            raise DatasetError(f"The set cannot be made again beside {target}: {error}.", "Is there room for it?") from error


def _check_given(folder: Path, then: Mapping[str, Any], model_id: Any, given: Mapping[str, Any]) -> None:
    """Whether the provenance and the caller together say all that it takes."""
    if missing := [k for k in ("model", "version", "seed", "n", "options", "batches", "sha256") if k not in then]:
        raise DatasetError(f"{folder} does not say how it was made: {', '.join(missing)} is missing from {PROVENANCE}.")
    if "subset" in then:
        raise DatasetError(f"{folder} was saved as a part of a set, which alone cannot be made again.", "Generate the whole.")
    if not then.get("registered", True) and "weights" not in then["sha256"] and model_id is None:
        raise InputError(f"{folder} was made by a package of your own.", "Name its folder: medzoo reproduce DIR --model mine/")
    uses = {*(k for k in GIVEN if k in then["options"]), *({"weights"} & set(then["sha256"]))}
    if lacking := sorted(uses - set(given)):
        raise InputError(f"{folder} was made with {' and '.join(lacking)} of your own.", f"Give the same {lacking[0]} again.")
    if unused := sorted(set(given) - uses):
        raise InputError(f"{folder} was made without {unused[0]} of your own.", f"Leave {unused[0]} out.")


def _compare(folder: Path, again: Path, then: Mapping[str, Any], tolerances: Mapping[str, float]) -> Reproduction:
    made = {e["file"]: e["sha256"] for e in _entries(again) if "offset" not in e}
    known = {e["file"] for e in _entries(folder)}
    different = [name for name in sorted(known | set(made)) if not _is_file_with(folder / name, made.get(name))]
    now = finished(again)
    circumstances = changes(then, {k: v for k, v in now.items() if k not in NOT_COMPARED})
    columns = {}
    if different:
        one, other = read(folder), read(again)
        step = format_class(then["format"]).step
        columns = {n: _difference(one, other, n, tolerances.get(n, 0.0) + step(one.outputs[n])) for n in one.columns}
    return Reproduction(folder, len(known | set(made)), tuple(different), columns, circumstances)


def _is_file_with(path: Path, digest: str | None) -> bool:
    return path.is_file() and files.sha256_of(path) == digest


def _difference(one: Samples, other: Samples, name: str, tolerance: float) -> Difference:
    differing, largest = 0, 0.0
    for start in range(0, max(len(one), len(other)), COMPARED_AT_ONCE):
        a, b = (np.asarray(s[start : start + COMPARED_AT_ONCE].columns[name], dtype=np.float64) for s in (one, other))
        if a.shape != b.shape:
            return Difference(max(len(one), len(other)), float("inf"), tolerance)
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b)).reshape(len(a), -1)
        apart = np.nan_to_num(apart.max(axis=1, initial=0.0), nan=np.inf)
        differing += int((apart > 0).sum())
        largest = max(largest, float(apart.max(initial=0.0)))
    return Difference(differing, largest, tolerance)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:NAMED]) + f" and {len(names) - NAMED:,} more" * (len(names) > NAMED)
