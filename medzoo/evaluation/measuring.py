"""From three sides to figures: which metrics apply, their floors, and groups."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import checks, settings
from ..errors import InputError
from . import image_metrics, mask_metrics, privacy_metrics, table_metrics
from .data import Data
from .estimates import Estimate
from .features import Features, ModuleFeatures, PrincipalComponents
from .figures import Figure
from .matching import FEWEST, PICTURES, Sides
from .metrics import GROUPS, METRICS, Metric
from .pairs import Pair, Part, classes_of, part_of, scaled

# importing them fills METRICS
MODULES = (image_metrics, privacy_metrics, mask_metrics, table_metrics)
MOST_NUMBERS = 2**28  # values of the pictures of a side; more are a random part
NEEDS = {
    "picture": "pictures on both sides",
    "points": "pictures or tables on both sides",
    "image": "flat pictures on both sides",
    "label": "labels on all sides",
    "mask": "masks or boxes on both sides",
    "mask and picture": "pictures with masks on all sides",
    "boxes and image": "flat pictures with boxes on all sides",
    "table": "tables on both sides",
}

ALL = "all"  # in place of names of metrics: all that apply


@dataclass
class Measuring:
    """One evaluation while it runs.

    Parameters
    ----------
    sides : Sides
        What is compared.
    features : torch.nn.Module or callable, optional
        From pictures (N, C, *spatial) in [-1, 1] to points; principal components by default.
    patient : str, optional
        Where the patient of a sample is found.
    seed, steps : int
        Of random choices, and how long each classifier learns.
    floors : dict
        Floors that were measured before, on the same real data.
    """

    sides: Sides
    features: Any = None
    patient: str | None = None
    seed: int = 0
    steps: int = 250
    floors: dict[Any, Estimate] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def pair(self) -> Pair:
        """The sides as tensors, with features."""
        classes = classes_of(self.sides)  # of all samples, also if a part of them is judged
        sides = Sides(
            self._most("synthetic", self.sides.synthetic),
            self._most("real", self.sides.real),
            self._most("held_out", self.sides.held_out),
            self.sides.notes,
            self.sides.identical,
        )
        self.sides = sides
        kinds = sides.kinds
        synthetic = part_of(sides.synthetic, sides, kinds, classes, self.patient, required=False)
        real = part_of(sides.real, sides, kinds, classes, self.patient)
        held_out = part_of(sides.held_out, sides, kinds, classes, self.patient)
        features = None
        if "picture" in kinds:
            features = features_of(self.features, real)
            synthetic = replace(synthetic, z=features(synthetic.pictures))
            real = replace(real, z=features(real.pictures))
            held_out = replace(held_out, z=features(held_out.pictures))
        elif real.table is not None:
            parts = synthetic, real, held_out
            synthetic, real, held_out = (_with_rows(part, real.table) for part in parts)
        return Pair(synthetic, real, held_out, features, self.seed, self.steps)

    def _most(self, role: str, side: Data) -> Data:
        """At most as many samples as fit into memory."""
        name = side.column(*PICTURES)
        numbers = int(np.prod(side.samples.outputs[name].shape)) if name else 1
        most = max(FEWEST, MOST_NUMBERS // numbers)
        if len(side) <= most:
            return side
        self.notes.append(f"{role}: a random part of {most:,} of {len(side):,} samples is judged")
        rows = np.random.default_rng(self.seed).permutation(len(side))[:most]
        return side.at(np.sort(rows))

    def figures(self, pair: Pair, metrics: Sequence[Metric], by: str | None) -> list[Figure]:
        """The figures of all samples, then those of each group."""
        groups = list(self._groups(by)) if by else []
        quick = [metric for metric in metrics if not metric.slow]
        total = len(metrics) + len(groups) * len(quick)
        show = not settings.quiet() and sys.stderr.isatty()
        bar = settings.progress_bar()(total=total, leave=False, disable=not show)
        with bar:
            figures = [self._figure(metric, pair, "", bar) for metric in metrics]
            for name, rows in groups:
                part = Pair(
                    pair.synthetic.at(rows[0]),
                    pair.real.at(rows[1]),
                    pair.held_out.at(rows[2]),
                    pair.features,
                    pair.seed,
                    pair.steps,
                )
                figures += [self._figure(metric, part, name, bar) for metric in quick]
        return figures

    def _groups(self, by: str) -> Iterable[tuple[str, list[Any]]]:
        """The name of each group, and its rows on each side."""
        columns = []
        sides = (self.sides.synthetic, self.sides.real, self.sides.held_out)
        for role, side in zip(("synthetic", "real", "held_out"), sides, strict=True):
            columns.append(group_column(side, by, role))
        for value in sorted(set().union(*(column.tolist() for column in columns))):
            rows = [np.flatnonzero(column == value) for column in columns]
            smallest = min(map(len, rows))
            if smallest < FEWEST:
                self.notes.append(
                    f"{by}={value}: {', '.join(str(len(own)) for own in rows)} samples (synthetic, "
                    f"real, held out) are too few; {FEWEST} of each are needed"
                )
                continue
            yield f"{by}={value}", rows

    def _figure(self, metric: Metric, pair: Pair, group: str, bar: Any) -> Figure:
        bar.set_description(f"{metric.name} {group}".strip())
        value = metric.measure(pair)
        floor = self._floor(metric, pair, group)
        bar.update()
        bounds = metric.lowest, metric.highest
        smallest = min(pair.same.n, pair.held_out.n)
        notes = [value.note] if value.note else []
        if smallest < metric.enough:
            notes.append(f"misleads with {smallest} samples, {metric.enough} are needed")
        return Figure(
            metric.name,
            metric.title,
            metric.group,
            metric.unit,
            metric.better,
            value.value,
            *value.interval(*bounds),
            floor.value,
            *floor.interval(*bounds),
            group,
            pair.synthetic.n,
            pair.real.n,
            pair.held_out.n,
            "; ".join(notes),
        )

    def _floor(self, metric: Metric, pair: Pair, group: str) -> Estimate:
        none = Estimate.unknown()
        if not metric.floor:
            return none
        size = min(pair.synthetic.n, pair.real.n)
        key = metric.name, group, size, pair.real_digest
        if key not in self.floors:
            real = pair.floor(metric.floor)
            smallest = min(real.synthetic.n, real.real.n, real.held_out.n)
            enough = smallest >= FEWEST // 2
            self.floors[key] = metric.measure(real) if enough else none
        return self.floors[key]


def _with_rows(part: Part, real: Any) -> Part:
    """A part whose points are the rows of its table."""
    import torch

    return replace(part, z=torch.from_numpy(scaled(real)(np.asarray(part.table))).float())


def group_column(side: Data, by: str, role: str) -> Any:
    """The group of each sample of a side.

    Raises
    ------
    InputError
        The side has no such column.
    """
    label = side.column("label")
    if by in side.texts:
        return side.texts[by]
    if by in {"label", "labels", "class"} and label:
        return side.texts[label]
    known = ", ".join(side.texts) or "none"
    raise InputError(
        f"by={by!r} is not a column of {role}; it has {known}.",
        "Columns come from labels, or from a metadata.csv beside the pictures.",
    )


def features_of(features: Any, real: Part) -> Features:
    """Principal components of the real pictures, or what a module returns."""
    import torch

    if features is None or features == "pca":
        return PrincipalComponents(real.pictures)
    if isinstance(features, (str, Path)):
        from .networks import Coloured, network

        features = Coloured(network(str(features)))
    if isinstance(features, torch.nn.Module):
        return ModuleFeatures(features)
    if callable(features):
        given: Callable[[Any], Any] = features
        return given
    raise InputError(
        f"features={checks.shown(features)} cannot turn pictures into numbers.",
        "Give 'radimagenet', 'inception', the path of their weights, a torch.nn.Module, or None "
        "for principal components.",
    )


def chosen_metrics(metrics: Any, kinds: Sequence[str], ndim: int) -> list[Metric]:
    """The metrics that were named, or all that apply except those that train networks.

    Raises
    ------
    InputError
        There is no such metric, or the sides do not have what it needs.
    """
    applying = [metric for metric in METRICS.values() if not lacks(metric, kinds, ndim)]
    if metrics is None:
        return [metric for metric in applying if not metric.slow]
    listed = [metrics] if isinstance(metrics, (str, Metric)) else checks.listed(metrics)
    if not isinstance(listed, list) or not listed:
        raise InputError(f"metrics={checks.shown(metrics)} names none.", "Such as ['fd', 'copy'].")
    if ALL in listed:
        return applying
    chosen: list[Metric] = []
    for name in listed:
        if isinstance(name, Metric):
            chosen.append(name)
        elif name in GROUPS:
            chosen += _of_group(name, kinds, ndim)
        elif isinstance(name, str) and name in METRICS:
            chosen.append(METRICS[name])
        else:
            raise InputError(
                f"There is no metric {checks.shown(name)}.",
                f"{checks.meant(name, METRICS)}There are {', '.join(METRICS)}; or name a group: "
                f"{', '.join(GROUPS)}; or {ALL}.",
            )
    for metric in chosen:
        if missing := lacks(metric, kinds, ndim):
            raise InputError(f"{metric.name} needs {missing}.")
    return list(dict.fromkeys(chosen))


def _of_group(group: str, kinds: Sequence[str], ndim: int) -> list[Metric]:
    """The metrics of a group that apply, or all if none does, so that the error names one."""
    members = [metric for metric in METRICS.values() if metric.group == group]
    return [metric for metric in members if not lacks(metric, kinds, ndim)] or members


def lacks(metric: Metric, kinds: Sequence[str], ndim: int) -> str:
    """What a metric needs and the sides do not have; empty if it applies."""
    fits = {
        "picture": "picture" in kinds,
        "points": "picture" in kinds or "table" in kinds,
        "image": "picture" in kinds and ndim == 4,
        "label": "picture" in kinds and "label" in kinds,
        "mask": "mask" in kinds or "boxes" in kinds,
        "mask and picture": "picture" in kinds and "mask" in kinds,
        "boxes and image": "picture" in kinds and "boxes" in kinds and ndim == 4,
        "table": "table" in kinds,
    }
    return "" if fits.get(metric.needs, True) else NEEDS[metric.needs]
