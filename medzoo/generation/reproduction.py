"""Compare a set of samples with its own records: are its files as they were written, and can
they be made again.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks, files, settings
from ..datasets.differences import changes
from ..datasets.formats import format_class
from ..datasets.journal import PROVENANCE, done, is_whole, recorded
from ..datasets.layout import Arrangement
from ..datasets.reader import finished
from ..datasets.verification import checked, count, entries, named, some, verify
from ..errors import DatasetError, InputError, MedzooWarning
from ..provenance import NOT_COMPARED, Provenance
from ..runtime import Execution, Ray
from ..samples import Samples, read
from .job import Job

COMPARED_AT_ONCE = 64  # samples in memory
GIVEN = ("latents", "inputs")  # of the options: what a provenance holds but the digest of


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
        number = count(self.files, "file")
        if self.equal:
            return f"{self.folder}: made again, {number}, byte for byte the same."
        what = f"{len(self.different):,} of {number} differ: {some(self.different)}"
        lines = [
            f"{self.folder}: made again, {what if self.different else f'{number}, all as the manifest has them'}"
        ]
        for name, d in self.columns.items():
            verdict = "within" if d.within else "more than"
            lines.append(
                f"{name}: by up to {d.largest:g} in {count(d.samples, 'sample')}, {verdict} the tolerance of {d.tolerance:g}"
            )
        if self.ok and not self.columns:
            lines.append("all values are the same, in other bytes")
        now = ", ".join(
            f"{k} {json.dumps(v, ensure_ascii=False)}" for k, v in self.circumstances.items()
        )
        return "\n".join([*lines, *named(self), *([f"not as it was then: {now}"] if now else [])])


@checks.checked()
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

    If it is stopped, the same call continues from there. What is missing or changed since the set
    was written is named before that, with a warning; the new samples are then compared with the
    manifest alone.

    Parameters
    ----------
    folder
        What `medzoo.generate` got as ``out``.
    model_id
        The path of your own package, if the set was made with it; what the provenance
        names if None.
    weights, inputs, latents
        Exactly the same as then, if the set was made with your own: the folder holds their
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
        An input, weights or package of yours is missing, or differs from the one the set was made
        with.
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
    execution = Execution.as_recorded(
        then, device=device, weights=weights, env=env, trust=trust, engine=engine
    )
    try:
        damage = [found for found in checked(target) if found[0]]
    except OSError as error:
        raise DatasetError(f"{target} cannot be read: {error}.") from error
    if damage:
        names = tuple(e["file"] for _, e in damage if "offset" not in e)
        warnings.warn(
            f"{target} is not as it was written: {count(len(names), 'file')} missing or changed ({some(names)}). It is made "
            "again and compared with the manifest.",
            MedzooWarning,
            stacklevel=2,
        )
    place = _place_beside(target, then["provenance_sha256"][:16])
    with place as made:
        job = Job.of(
            then["model"] if model_id is None else model_id,
            then["n"],
            version=then["version"] if model_id is None else None,
            execution=execution,
            out=made,
            format=then["format"],
            seed=then["seed"],
            first=then.get("first", 0),
            inputs=inputs,
            options=options,
            arrangement=Arrangement.recorded(then),
            batches=[list(batch) for batch in then["batches"]],
        )
        for name in given:
            if job.request.record.get(name) != then["options"].get(name):
                raise InputError(
                    f"These {name} are not the ones that {target} was made with.",
                    "Their digests differ.",
                )
        with job.load() as model:
            if not _goes_on(made, job.provenance(model)):
                shutil.rmtree(made, ignore_errors=True)
            job.run(model, progress=progress)
        return _compare(
            target,
            made,
            then,
            damage,
            {name: o.tolerance for name, o in job.version.outputs.items()},
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
                    f"Another process is already reproducing {folder}.", "Wait until it is done."
                )
        except OSError as error:
            raise DatasetError(
                f"{folder} cannot be reproduced beside it: {error}.",
                "Copy it to a folder where you may write.",
            ) from error
        try:
            yield made
        except BaseException:
            kept = is_whole(made) or done(made) > 0
            if kept:
                what = (
                    f"What was made again stays in {place}, and the same call continues from there."
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


def _check_given(folder: Path, then: Provenance, model_id: Any, given: Mapping[str, Any]) -> None:
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
            f"{folder} was saved as a part of a set, and a part cannot be reproduced alone.",
            "Generate the whole.",
        )
    if not then.get("registered", True) and "weights" not in then["sha256"] and model_id is None:
        raise InputError(
            f"{folder} was made by your own package.",
            "Name its folder: medzoo reproduce DIR --model mine/",
        )
    uses = {*(k for k in GIVEN if k in then["options"]), *({"weights"} & set(then["sha256"]))}
    if lacking := sorted(uses - set(given)):
        raise InputError(
            f"{folder} was made with your own {' and '.join(lacking)}.",
            f"Give the same {lacking[0]} again.",
        )
    if unused := sorted(set(given) - uses):
        raise InputError(
            f"{folder} was made without your own {unused[0]}.", f"Leave {unused[0]} out."
        )


def _compare(
    folder: Path,
    again: Path,
    then: Provenance,
    damage: Iterable[tuple[str, Mapping[str, Any]]],
    tolerances: Mapping[str, float],
) -> Reproduction:
    was, made = (
        {e["file"]: e["sha256"] for e in entries(f) if "offset" not in e} for f in (folder, again)
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
