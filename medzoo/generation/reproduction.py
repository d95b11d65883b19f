"""Make a set of samples again from its own records, and compare the files."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import checks, files, settings
from ..config import ModelConfig, Version
from ..config.columns import differences
from ..datasets.differences import changes
from ..datasets.formats import format_class
from ..datasets.journal import PROVENANCE, done, is_whole
from ..datasets.journal import recorded as recorded_in
from ..datasets.layout import Arrangement
from ..datasets.reader import finished
from ..datasets.verification import checked, count, entries, named, some, verify
from ..errors import DatasetError, InputError, MedzooWarning
from ..provenance import NOT_COMPARED, Provenance
from ..registry import resolve
from ..runtime import Execution, Ray
from ..samples import Samples, read
from .job import Job

COMPARED_AT_ONCE = 64  # samples in memory
DIGESTS_ONLY = ("latents", "inputs")  # options of which a provenance holds only the digest
NEEDED = ("model", "version", "seed", "n", "options", "batches", "sha256")  # to make a set again

Damage: TypeAlias = tuple[str, Mapping[str, Any]]  # how a file differs, its entry of the manifest


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

    def __str__(self) -> str:
        verdict = "within" if self.within else "more than"
        samples = count(self.samples, "sample")
        return (
            f"by up to {self.largest:g} in {samples}, {verdict} the tolerance of {self.tolerance:g}"
        )


@dataclass(frozen=True)
class Reproduction:
    """The result of `reproduce`: ``equal`` byte for byte, or ``ok`` within the tolerance."""

    folder: Path
    files: int
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()  # since they were written
    different: tuple[str, ...] = ()  # files that are different when they are made again
    # the columns whose values differ, as far as both sets can be read
    columns: Mapping[str, Difference] = field(default_factory=dict)
    # what is not as it was then, with its value now
    circumstances: Mapping[str, Any] = field(default_factory=dict)

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
        result = f"{number}, all as the manifest has them"
        if self.different:
            result = f"{len(self.different):,} of {number} differ: {some(self.different)}"
        lines = [f"{self.folder}: made again, {result}"]
        for name, difference in self.columns.items():
            lines.append(f"{name}: {difference}")
        if self.ok and not self.columns:
            lines.append("all values are the same, in other bytes")
        lines += named(self)
        if self.circumstances:
            pairs = self.circumstances.items()
            now = ", ".join(f"{k} {json.dumps(v, ensure_ascii=False)}" for k, v in pairs)
            lines.append(f"not as it was then: {now}")
        return "\n".join(lines)


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
    sandbox: str = "auto",
    engine: str | Ray | None = None,
    progress: bool | None = None,
) -> Reproduction:
    """Make a finished set again from its provenance, and compare the files.

    The new set goes to a folder beside the old one, which is removed afterwards. If the call is
    interrupted, the same call continues from there. Files that are missing or changed since the set
    was written are named first, with a warning. The new samples are then compared with the manifest
    only.

    Parameters
    ----------
    folder : str or path-like
        The folder of the set: the ``out`` of `medzoo.generate`.
    model_id : int, str or path-like, optional
        The path of your own package, if the set was made with it. The default is the model that the
        provenance names.
    device : str, optional
        See `medzoo.load`. On another device pixels may differ within the model's tolerance.
    weights : str or path-like, optional
        The same weights as then, if the set was made with your own. The folder holds only their
        digest.
    inputs : str, path-like, list, dict or array, optional
        The same images as then, if the set was made with your own.
    latents : array, optional
        The same latents as then, if the set was made with your own.
    env : str, optional
        See `medzoo.load`.
    trust : bool, optional
        See `medzoo.load`.
    sandbox : str, optional
        See `medzoo.load`.
    engine : str or Ray, optional
        See `medzoo.load`.
    progress : bool, optional
        Whether to draw a progress bar. By default only at a terminal.

    Returns
    -------
    Reproduction
        ``equal`` is True if every file is the same, byte for byte. ``ok`` is True if no file is
        missing or changed, and every value is the same within the tolerance that the model states.
        ``missing`` and ``changed`` name the files that are no longer as they were written,
        ``different`` the files that are different when they are made again. ``columns`` says by how
        much samples differ, and ``circumstances`` what is not the same as then, such as the
        libraries.

    Raises
    ------
    DatasetError
        The folder does not hold a finished set, or its provenance does not say enough to make it
        again.
    InputError
        An input, weights or a package of yours is missing, or differs from the one that the set was
        made with.
    MedzooError
        Any error that `medzoo.generate` raises.

    Examples
    --------
    >>> samples = medzoo.generate(8, 4, out="masses", seed=1)
    >>> print(medzoo.reproduce("masses"))
    masses: made again, 4 files, byte for byte the same.
    """
    target = settings.user_path(folder, "folder")
    recorded = finished(target)
    own = {
        name: value
        for name, value in (("latents", latents), ("inputs", inputs), ("weights", weights))
        if value is not None
    }
    _check_complete(target, recorded)
    _check_own(target, recorded, model_id, own)
    config, version = _model_of(recorded, model_id)
    execution = Execution.as_recorded(
        recorded,
        device=device,
        weights=weights,
        env=env,
        trust=trust,
        sandbox=sandbox,
        engine=engine,
    )
    damage = _damage(target)
    if damage:
        _warn_of(damage, target)
    with _place_beside(target, recorded["provenance_sha256"][:16]) as made:
        job = Job.of(
            config,
            recorded["n"],
            version=version.name,
            execution=execution,
            out=made,
            format=recorded["format"],
            seed=recorded["seed"],
            first=recorded.get("first", 0),
            inputs=inputs,
            options=_options(recorded, latents),
            arrangement=Arrangement.recorded(recorded),
            batches=[list(batch) for batch in recorded["batches"]],
        )
        _check_same(target, recorded, job.request.record, own)
        with job.load() as model:
            if not _goes_on(made, job.provenance(model)):
                shutil.rmtree(made, ignore_errors=True)
            job.run(model, progress=progress)
        tolerances = {name: output.tolerance for name, output in job.version.outputs.items()}
        return _compare(target, made, recorded, damage, tolerances)


def _model_of(
    recorded: Provenance, model_id: int | str | os.PathLike[str] | None
) -> tuple[ModelConfig, Version]:
    """The model and version with which a set is made again: those that made it.

    If the user's package no longer has that version, it is its default version.
    """
    config = resolve(recorded["model"] if model_id is None else model_id)
    name = recorded["version"]
    if model_id is not None and name not in config.versions:
        return config, config.default
    return config, config.version(name)


def _options(recorded: Provenance, latents: Any) -> dict[str, Any]:
    """The options of the new run: those of the old one, and the user's latents."""
    options = {k: v for k, v in recorded["options"].items() if k not in DIGESTS_ONLY}
    return options if latents is None else {**options, "latents": latents}


def _damage(folder: Path) -> list[Damage]:
    """What is wrong with the files of a set, each with its entry of the manifest."""
    try:
        return [(state, entry) for state, entry in checked(folder) if state]
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error}.") from error


def _files(damage: Iterable[Damage], state: str = "") -> tuple[str, ...]:
    """The damaged files; those that are ``missing`` or ``changed``, or all."""
    return tuple(e["file"] for how, e in damage if state in {"", how} and "offset" not in e)


def _warn_of(damage: Iterable[Damage], folder: Path) -> None:
    names = _files(damage)
    warnings.warn(
        f"{folder} is not as it was written: {count(len(names), 'file')} missing or changed "
        f"({some(names)}). It is made again and compared with the manifest.",
        MedzooWarning,
        stacklevel=3,
    )


def _check_same(
    folder: Path, recorded: Provenance, record: Mapping[str, Any], own: Iterable[str]
) -> None:
    """Raise InputError if latents or inputs of the user are not those of the set."""
    for name in own:
        if name in DIGESTS_ONLY and record.get(name) != recorded["options"].get(name):
            raise InputError(
                f"These {name} are not the ones that {folder} was made with.",
                "Their digests differ.",
            )


@contextmanager
def _place_beside(folder: Path, name: str) -> Iterator[Path]:
    """A folder ``name`` to make a set in again, inside a folder beside the set.

    Only one process can have it at a time. It is removed afterwards, unless the block fails when
    some samples are finished: then they stay for the next call.
    """
    target = folder.resolve()  # if the set is a link, use the disk that it points to
    place = target.with_name(f".{target.name}.again")
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
                message = (
                    f"What was made again stays in {place}, and the same call continues from there."
                )
                warnings.warn(message, MedzooWarning, stacklevel=4)
            raise
        finally:
            if not kept:
                shutil.rmtree(place, ignore_errors=True)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _goes_on(made: Path, provenance: Mapping[str, Any]) -> bool:
    """Whether what an earlier call left is good, and was made as it would be made now."""
    requested = {k: v for k, v in json.loads(json.dumps(provenance)).items() if k != "batches"}
    return not changes(recorded_in(made), requested) and (not is_whole(made) or verify(made).ok)


def _check_complete(folder: Path, recorded: Provenance) -> None:
    """Raise DatasetError if the provenance does not say all that is needed."""
    missing = [key for key in NEEDED if key not in recorded]
    if missing:
        raise DatasetError(
            f"{folder} does not say how it was made: {', '.join(missing)} is missing from "
            f"{PROVENANCE}."
        )
    if "subset" in recorded:
        raise DatasetError(
            f"{folder} was saved as a part of a set, and a part cannot be reproduced alone.",
            "Generate the whole.",
        )


def _check_own(folder: Path, recorded: Provenance, model_id: Any, own: Mapping[str, Any]) -> None:
    """Raise InputError unless the user gives exactly what the set was made with."""
    with_own_weights = "weights" in recorded["sha256"]
    if not recorded.get("registered", True) and not with_own_weights and model_id is None:
        raise InputError(
            f"{folder} was made by your own package.",
            "Name its folder: medzoo reproduce DIR --model mine/",
        )
    needed = set(DIGESTS_ONLY) & set(recorded["options"])
    if with_own_weights:
        needed.add("weights")
    lacking, unused = sorted(needed - set(own)), sorted(set(own) - needed)
    if lacking:
        raise InputError(
            f"{folder} was made with your own {' and '.join(lacking)}.",
            f"Give the same {lacking[0]} again.",
        )
    if unused:
        raise InputError(
            f"{folder} was made without your own {unused[0]}.", f"Leave {unused[0]} out."
        )


def _compare(
    folder: Path,
    again: Path,
    recorded: Provenance,
    damage: Sequence[Damage],
    tolerances: Mapping[str, float],
) -> Reproduction:
    old, new = _digests(folder), _digests(again)
    names = sorted(old.keys() | new.keys())
    different = tuple(name for name in names if old.get(name) != new.get(name))
    now = {k: v for k, v in finished(again).items() if k not in NOT_COMPARED}
    columns: dict[str, Difference] = {}
    # If a file of all samples is damaged, columns cannot be compared.
    readable = not any("columns" in entry for _, entry in damage)
    if different and readable:
        unreadable = [entry["index"] for _, entry in damage if "index" in entry]
        columns = _differences(read(folder), read(again), unreadable, recorded, tolerances)
    return Reproduction(
        folder,
        len(names),
        _files(damage, "missing"),
        _files(damage, "changed"),
        different,
        columns,
        changes(recorded, now),
    )


def _digests(folder: Path) -> dict[str, str]:
    """File -> sha256, of the manifest of a set."""
    return {e["file"]: e["sha256"] for e in entries(folder) if "offset" not in e}


def _differences(
    old: Samples,
    new: Samples,
    unreadable: Sequence[int],
    recorded: Provenance,
    tolerances: Mapping[str, float],
) -> dict[str, Difference]:
    """Column -> how far it is from what it was, for the columns that differ."""
    rows = np.flatnonzero(~np.isin(old.indices, unreadable))
    step = format_class(recorded["format"]).step
    columns = {}
    for name in old.columns:
        tolerance = tolerances.get(name, 0.0) + step(old.outputs[name])
        difference = _difference(old, new, name, rows, tolerance)
        if difference.samples:
            columns[name] = difference
    return columns


def _difference(
    old: Samples, new: Samples, name: str, rows: NDArray[np.int64], tolerance: float
) -> Difference:
    differing, largest = 0, 0.0
    for start in range(0, len(rows), COMPARED_AT_ONCE):
        part = rows[start : start + COMPARED_AT_ONCE]
        a, b = np.asarray(old[part].columns[name]), np.asarray(new[part].columns[name])
        if a.shape != b.shape:
            return Difference(len(rows), float("inf"), tolerance)
        furthest = differences(a, b).reshape(len(a), -1).max(axis=1, initial=0.0)
        differing += int((furthest > 0).sum())
        largest = max(largest, float(furthest.max(initial=0.0)))
    return Difference(differing, largest, tolerance)
