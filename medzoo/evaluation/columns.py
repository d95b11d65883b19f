"""Which column of each side is judged, where a side has several of a kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..config.columns import names_of_kind
from ..samples import Samples
from .data import Data, warn

KINDS = {
    "pictures": ("image", "volume"),
    "masks": ("mask",),
    "boxes": ("boxes",),
    "tables": ("table",),
    "labels": ("label",),
}


def one_of_each(sides: Mapping[str, Data], notes: list[str]) -> dict[str, Data]:
    """The sides with one column of each kind.

    Where a side has several, it is the first one whose name all sides have. If there is no such
    name, it is the first one, with a warning.
    """
    kept = dict(sides)
    for what, kinds in KINDS.items():
        names = {role: names_of_kind(side.samples.outputs, *kinds) for role, side in kept.items()}
        if not all(names.values()) or max(map(len, names.values())) == 1:
            continue
        chosen = _chosen(what, names, notes)
        for role, side in kept.items():
            left_out = [name for name in names[role] if name != chosen[role]]
            kept[role] = _without(side, left_out)
    return kept


def _chosen(what: str, names: Mapping[str, Sequence[str]], notes: list[str]) -> dict[str, str]:
    """The column of each side, of those with these names."""
    first, *others = names.values()
    common = [name for name in first if all(name in own for own in others)]
    if common:
        listed = list(dict.fromkeys(name for own in names.values() for name in own))
        notes.append(f"Of the {what} {', '.join(listed)} only {common[0]!r} is judged.")
        return dict.fromkeys(names, common[0])
    parts = [f"{role} has {', '.join(own)}" for role, own in names.items()]
    firsts = {role: own[0] for role, own in names.items()}
    warn(
        f"The {what} of the sides have no name in common: {'; '.join(parts)}. The first ones are "
        "compared. Give the same name to what is to be compared.",
        notes,
    )
    return firsts


def _without(side: Data, names: Sequence[str]) -> Data:
    """A side without some of its columns."""
    samples = side.samples
    columns = {name: samples.columns[name] for name in samples.columns if name not in names}
    outputs = {name: output for name, output in samples.outputs.items() if name not in names}
    fewer = Samples(columns, outputs, samples.indices, samples.provenance, samples.folder)
    return replace(side, samples=fewer)
