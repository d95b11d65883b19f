"""Masks and boxes: where they are, how large, and whether a network that knows real data agrees."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from . import detector, segmenter
from .estimates import Estimate, Rows, of_mean, of_rows
from .metrics import metric
from .pairs import Pair, Part
from .shapes import Shapes
from .table_metrics import largest_gap


def _shapes(part: Part) -> Shapes:
    if part.shapes is None:
        raise InputError("Masks or boxes are needed for this figure.")
    return part.shapes


@metric("mask_size", "sizes of masks", "masks", needs="mask", highest=1.0, enough=50)
def mask_size(pair: Pair) -> Estimate:
    """Largest gap between the distributions of the marked share of pictures (masks or boxes).

    Source: Kolmogorov-Smirnov statistic. Lower is better; 0 is equal, 1 is apart. Empty masks count
    with size 0. Unit: share of samples. Below 50 samples per side chance alone gives 0.2.
    """
    a, b = _shapes(pair.same), _shapes(pair.held_out)

    def of(rows: Rows, others: Rows) -> float:
        return largest_gap(a.sizes[rows], b.sizes[others])

    sizes = len(a.sizes), len(b.sizes)
    patients = pair.same.patients, pair.held_out.patients
    return of_rows(of, sizes, patients, draws=60)


@metric("mask_place", "places of masks", "masks", needs="mask", highest=1.0, enough=50)
def mask_place(pair: Pair) -> Estimate:
    """Largest gap between the distributions of the centres of masks or boxes, mean over axes.

    Source: Kolmogorov-Smirnov statistic. Lower is better; 0 is equal, 1 is apart. Empty masks do
    not count. Unit: share of samples. Below 50 samples per side chance alone gives 0.2.
    """
    a, b = _shapes(pair.same), _shapes(pair.held_out)

    def of(rows: Rows, others: Rows) -> float:
        axes = range(a.centres.shape[1])
        return float(np.mean([largest_gap(a.centres[rows, k], b.centres[others, k]) for k in axes]))

    sizes = len(a.sizes), len(b.sizes)
    patients = pair.same.patients, pair.held_out.patients
    return of_rows(of, sizes, patients, draws=60)


@metric(
    "mask_dice",
    "overlap with a segmenter's masks",
    "masks",
    better="higher",
    unit="Dice",
    needs="mask and picture",
    floor="held_out",
    highest=1.0,
    slow=True,
    enough=100,
)
def mask_dice(pair: Pair) -> Estimate:
    """Mean Dice score of the set's masks with what a segmenter marks that learned from real data.

    Source: Dice, Ecology 26 (1945); a small U-Net as in Ronneberger et al., arXiv:1505.04597. All
    labels of a mask count as one. Higher is better, 1 is the most; the floor is the score on
    held-out real data. Below the floor, masks do not mark what such networks find in real pictures;
    above it, the pictures may be simpler than real ones. Unit: Dice score. Below 100 real samples
    the segmenter learns little.
    """
    real, made = pair.real, pair.synthetic
    if real.masks is None or made.masks is None:
        raise InputError("mask_dice needs masks.")
    if min(real.pictures.shape[2:]) < segmenter.SMALLEST:
        return Estimate.unknown("pictures are too small for a segmenter")
    if "segmenter" not in pair.cache:
        masks = segmenter.binary(real.masks)
        pair.cache["segmenter"] = segmenter.trained(
            real.pictures, masks, seed=pair.seed, steps=pair.steps
        )
    marked = segmenter.marked_by(pair.cache["segmenter"], made.pictures)
    return of_mean(segmenter.dices(marked, segmenter.binary(made.masks)), made.patients)


@metric(
    "box_found",
    "agreement with a detector's boxes",
    "masks",
    better="higher",
    unit="F1",
    needs="boxes and image",
    floor="held_out",
    highest=1.0,
    slow=True,
    enough=100,
)
def box_found(pair: Pair) -> Estimate:
    """Mean F1 score of the set's boxes with what a detector finds that learned from real data.

    Source: F1 as in van Rijsbergen, Information Retrieval (1979); a small network that votes for
    centres, as in Zhou et al., arXiv:1904.07850. A box counts as found if one overlaps it by 0.3
    (intersection over union). With one box in each picture it is the share of boxes that are found.
    Higher is better, 1 is the most; the floor is the score on held-out real data. Below the floor,
    boxes do not mark what such networks find in real pictures; above it, the pictures may be
    simpler than real ones. Unit: F1 score. Below 100 real samples the detector learns little.
    """
    real, made = pair.real, pair.synthetic
    if real.boxes is None or made.boxes is None:
        raise InputError("box_found needs boxes.")
    if "detector" not in pair.cache:
        pair.cache["detector"] = detector.learned(
            real.pictures, real.boxes, seed=pair.seed, steps=pair.steps
        )
    boxes = pair.cache["detector"](made.pictures)
    return of_mean(detector.agreements(boxes, made.boxes), made.patients)
