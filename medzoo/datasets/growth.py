"""How a finished set grows.

The further samples are made in a folder inside ``.unfinished``, as a separate unfinished set. The
finished set is not changed until all of them are there. Then the files are moved into the set, its
provenance last. If a run is killed while files are moved, the folder still lists all of them, and
the next run moves the rest before it does anything else.

The name of the folder contains the digest of the provenance of the smaller set. So the folder is
ignored once the set has the provenance of the larger one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DatasetError
from .journal import MANIFEST, PROVENANCE, RECORD, UNFINISHED, Journal, done, read_json, unsealed
from .paths import inside, walk

OTHERWISE = "Nothing was changed. Choose another folder."


@dataclass(frozen=True)
class Point:
    """Where a set continues: after its last complete batch, or at the start if ``done`` is 0."""

    done: int = 0
    state: Mapping[str, Any] | None = None
    lengths: Mapping[str, int] | None = None  # bytes of files that are shorter there


def place_of(folder: Path, provenance: Mapping[str, Any]) -> Path:
    """The folder in which the set in ``folder`` grows."""
    return folder / UNFINISHED / f"growth-{provenance['provenance_sha256'][:16]}"


def growing(folder: Path) -> Path | None:
    """The folder in which the finished set in ``folder`` is growing; None if it is not growing."""
    with suppress(OSError, KeyError):
        if provenance := unsealed((folder / PROVENANCE).read_bytes()):
            place = place_of(folder, provenance)
            return place if place.is_dir() and not place.is_symlink() else None
    return None


def is_moving(place: Path) -> bool:
    """Whether all further samples are there, so that their files are being moved."""
    with suppress(OSError):
        return unsealed((place / PROVENANCE).read_bytes()) is not None
    return False


def refuse_growing(folder: Path) -> None:
    """Raise DatasetError if the set in ``folder`` is growing."""
    place = growing(folder)
    if place is None:
        return
    to = read_json(place / RECORD).get("provenance", {}).get("n")
    more = f" of {to:,}" if isinstance(to, int) else ""
    there = "all" if is_moving(place) else f"{done(place):,}"
    raise DatasetError(
        f"{folder} is unfinished: the set is being extended, {there}{more} samples are there.",
        "Run the command that extends it again: it continues from there.",
    )


def move(place: Path, folder: Path) -> None:
    """Move the files of a set that has grown into its folder, the provenance last."""
    names = [name for name, _ in walk(place)]
    for name in names:
        if name == PROVENANCE or name.startswith(f"{UNFINISHED}/"):
            continue
        target = inside(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        (place / name).replace(target)
    (place / PROVENANCE).replace(folder / PROVENANCE)


def extends(then: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether more samples are asked for than there are."""
    n, more = then.get("n"), asked.get("n")
    return isinstance(n, int) and isinstance(more, int) and more > n


def beginning(asked: Mapping[str, Any], n: int) -> dict[str, Any]:
    """The provenance ``asked`` of the first ``n`` samples only."""
    options = dict(asked.get("options", {}))
    for name in asked.get("conditions", {}):
        if isinstance(options.get(name), list):
            options[name] = options[name][:n]
    return {**asked, "n": n, "options": options}


def point_of(
    folder: Path, then: Mapping[str, Any], batches: Sequence[Sequence[int]]
) -> tuple[Point, list[list[int]]]:
    """Where the finished set ``then`` continues, and its batch boundaries up to there.

    ``batches`` has the batch size that is asked for. If the last batch is not full, it is made
    again as part of a full one, so that all samples are those of one run.

    Raises
    ------
    DatasetError
        The set cannot grow.
    """
    saved, n, first = then.get("growth"), then["n"], then.get("first", 0)
    if not isinstance(saved, dict) or "subset" in then:
        raise DatasetError(
            f"{folder} cannot grow: it was saved from memory, or by an earlier medzoo.", OTHERWISE
        )
    point = Point(saved["done"], saved["state"], saved["lengths"])
    boundaries = [list(b) for b in then["batches"]]
    if boundaries == [[first, n]] and batches[0][1] != n:  # one batch, as large as the set was
        point, boundaries = Point(), [list(b) for b in batches]
    if then.get("seeding") == "batch" and point.done != n:
        raise DatasetError(
            f"{folder} cannot grow: its last batch is not full, and what the model makes depends "
            "on the batch.",
            "Nothing was changed. Make the set again in another folder.",
        )
    return point, boundaries


def differing(
    before: Mapping[str, Any], columns: Mapping[str, Any], rows: Sequence[int]
) -> list[int]:
    """The rows that differ in any column."""

    def same(name: str, row: int) -> bool:
        return np.array_equal(before[name][row], columns[name][row], equal_nan=True)

    return [row for row in rows if not all(same(name, row) for name in columns)]


def point_before(
    journal: Journal, before: Mapping[str, Any], files_anew: Sequence[str] = ()
) -> dict[str, Any]:
    """What a finished set records so that it can grow from its last full batch.

    This is the number of samples, the state of the format, and the lengths at that point of the
    files that are longer now.
    """
    lengths = {}
    for name in sorted({*journal.lengths, MANIFEST}):
        then = before["lengths"].get(name)
        if then is None:
            then = journal.base.length(name) if journal.base else 0
        if name in files_anew:
            lengths[name] = 0
        elif then != journal.length(name):
            lengths[name] = then
    return {"done": before["done"], "state": before["state"], "lengths": lengths}
