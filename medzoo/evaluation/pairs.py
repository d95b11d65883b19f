"""Three sides as tensors, with what several metrics need computed once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .data import Data
from .detector import rows_of
from .features import Features, mirrored
from .matching import Sides, unit_values
from .shapes import Shapes, shapes_of


@dataclass(frozen=True)
class Part:
    """Samples of one side, as the metrics use them.

    Parameters
    ----------
    n : int
        How many samples.
    x : torch.Tensor, optional
        Pictures (N, C, *spatial) in [-1, 1].
    z : torch.Tensor, optional
        Their features, (N, d); of a side without pictures the scaled rows of its table.
    labels : numpy.ndarray, optional
        Classes, (N,), numbered in the order of their names.
    patients : numpy.ndarray, optional
        The patient of each sample.
    table : numpy.ndarray, optional
        A table, (N, columns).
    shapes : Shapes, optional
        Sizes and places of masks or boxes.
    masks : numpy.ndarray, optional
        Masks, (N, C, *spatial).
    boxes : numpy.ndarray, optional
        Boxes, (N, K, 4), with rows of NaN where there are fewer.
    """

    n: int
    x: Tensor | None = None
    z: Tensor | None = None
    labels: NDArray[np.int64] | None = None
    patients: NDArray[Any] | None = None
    table: NDArray[np.float64] | None = None
    shapes: Shapes | None = None
    masks: NDArray[Any] | None = None
    boxes: NDArray[np.float32] | None = None

    def at(self, rows: NDArray[np.int64]) -> Part:
        """Fewer samples."""
        picked = torch.from_numpy(np.asarray(rows))
        return Part(
            len(rows),
            None if self.x is None else self.x[picked],
            None if self.z is None else self.z[picked],
            None if self.labels is None else self.labels[rows],
            None if self.patients is None else self.patients[rows],
            None if self.table is None else self.table[rows],
            None if self.shapes is None else self.shapes.at(rows),
            None if self.masks is None else self.masks[rows],
            None if self.boxes is None else self.boxes[rows],
        )

    @property
    def pictures(self) -> Tensor:
        """The pictures, which a metric that needs them may rely on."""
        assert self.x is not None  # noqa: S101
        return self.x

    @property
    def points(self) -> Tensor:
        """The features, which a metric that needs pictures or points may rely on."""
        assert self.z is not None  # noqa: S101
        return self.z


@dataclass(frozen=True)
class Pair:
    """What a metric measures: a set against real data, of which a part was held out.

    Parameters
    ----------
    synthetic, real, held_out : Part
        The set, the real data that it should resemble, and further real data.
    features : Features, optional
        From pictures to points; None without pictures.
    seed, steps : int
        Of random choices, and how long each network learns.
    cache : dict
        What was computed from the real data alone.
    """

    synthetic: Part
    real: Part
    held_out: Part
    features: Features | None = None
    seed: int = 0
    steps: int = 250
    cache: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def real_digest(self) -> str:
        """A digest of the real data of both parts. Of pairs that share it, what is measured on real
        data alone is the same.
        """
        digest = hashlib.sha256()
        for part in (self.real, self.held_out):
            pixels = None if part.x is None else part.x.numpy()
            for values in (pixels, part.labels, part.table, part.masks, part.boxes):
                what = "none" if values is None else f"{values.dtype} {values.shape}"
                digest.update(what.encode())
                digest.update(b"" if values is None else np.ascontiguousarray(values).data)
        return digest.hexdigest()

    @cached_property
    def same(self) -> Part:
        """As many samples of the set as there are real ones, at most."""
        order = np.random.default_rng(self.seed).permutation(self.synthetic.n)
        return self.synthetic.at(order[: self.real.n])

    def mirrored_points(self) -> Tensor:
        """The features of real pictures and of all their flips: (flips * N, d)."""
        if "mirrored" not in self.cache:
            assert self.features is not None  # noqa: S101
            rows = [self.features(turn) for turn in mirrored(self.real.pictures)]
            self.cache["mirrored"] = torch.cat(rows)
        points: Tensor = self.cache["mirrored"]
        return points

    def floor(self, kind: str) -> Pair:
        """The pair with real data in place of the set.

        ``training``: the real data themselves, as many as there are samples. ``halves``: one half
        of them against the other. ``held_out``: one half of the held-out data; the other
        half stays held out.
        """
        rng = np.random.default_rng(self.seed)
        if kind == "training":
            rows = np.arange(self.real.n)
            if self.synthetic.n < self.real.n:
                rows = rng.permutation(self.real.n)[: self.synthetic.n]
            chosen = self.real.at(rows)
            return Pair(chosen, self.real, self.held_out, self.features, self.seed, self.steps)
        side = self.real if kind == "halves" else self.held_out
        one, other = (side.at(np.sort(rows)) for rows in _halves(side, rng))
        if kind == "halves":
            return Pair(one, other, self.held_out, self.features, self.seed, self.steps)
        return Pair(one, self.real, other, self.features, self.seed, self.steps, self.cache)


def _halves(part: Part, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Rows of two halves, patient-wise if patients are known."""
    patients = np.arange(part.n) if part.patients is None else part.patients
    names, codes = np.unique(patients, return_inverse=True)
    chosen = rng.permutation(len(names))[: len(names) // 2]
    first = np.isin(codes, chosen)
    yield np.flatnonzero(first)
    yield np.flatnonzero(~first)


def part_of(
    side: Data,
    sides: Sides,
    kinds: tuple[str, ...],
    classes: list[str],
    patient: str | None,
    *,
    required: bool = True,
) -> Part:
    """One of three sides as a `Part` without features; ``required`` is whether it has patients."""
    labels = None
    label = side.column("label")
    if classes and label:
        labels = np.searchsorted(classes, side.texts[label]).astype(np.int64)
    table, mask, boxes = side.column("table"), side.column("mask"), side.column("boxes")
    masks = getattr(side.samples, mask) if "mask" in kinds and mask else None
    box_rows = rows_of(getattr(side.samples, boxes)) if "boxes" in kinds and boxes else None
    return Part(
        len(side),
        x=torch.from_numpy(unit_values(side, sides)) if "picture" in kinds else None,
        labels=labels,
        patients=side.patients(patient, required=required),
        table=_table(side, str(table)) if "table" in kinds else None,
        shapes=shapes_of(masks, box_rows),
        masks=masks,
        boxes=box_rows,
    )


def _table(side: Data, name: str) -> NDArray[np.float64]:
    values = getattr(side.samples, name).astype(np.float64)
    table: NDArray[np.float64] = values[:, None] if values.ndim == 1 else values
    return table


def scaled(real: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """A function that scales the columns of tables to the spread of the real one.

    A missing value becomes the median of the real column.
    """
    middle, spread = np.nanmedian(real, 0), np.nanstd(real, 0)
    spread = np.where(spread > 0, spread, 1)

    def rows(table: NDArray[np.float64]) -> NDArray[np.float64]:
        filled: NDArray[np.float64] = np.where(np.isfinite(table), table, middle)
        return (filled - middle) / spread

    return rows


def classes_of(sides: Sides) -> list[str]:
    """The names of the classes of real data, in order; none if a side has no labels."""
    if "label" not in sides.kinds:
        return []
    return sorted(set(sides.real.texts[str(sides.real.column("label"))].tolist()))
