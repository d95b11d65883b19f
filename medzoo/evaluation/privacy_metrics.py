"""Privacy: whether samples are nearer to the training data than new patients are.

No figure here proves privacy. A figure at its floor says that this way to attack finds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from .distances import CHUNK, nearest, nearest_other
from .estimates import Estimate, Patients, Rows, Values, of_mean, of_rows
from .metrics import metric
from .pairs import Pair, Part

RARE = 0.01  # share of held-out data that count as copies
RATE = 0.05  # false-positive rate of membership inference
SMALL = 8  # side of a patch after it was shrunk
PER_PICTURE = 4  # patches of each picture that are looked for
MOST = 500  # pictures whose patches are looked for
EQUAL = 1e-4  # of the spread of the real data: rounding
EQUAL_PATCH = 5e-3  # of the length of a patch: rounding
FLAT = 1e-4  # length of a patch, without its mean, that shows nothing


# --------------------------------------------------------------------------------- whole pictures
@dataclass(frozen=True)
class Copies:
    """How near the samples of a pair are to real pictures.

    Parameters
    ----------
    distances : torch.Tensor
        The distance of each sample to the nearest real picture, or a flip of one, (N,).
    rows : torch.Tensor
        The number of that real picture, (N,).
    limit : float
        The distance below which a sample counts as a copy; NaN if there is none.
    note : str
        What a reader must know about the limit.
    """

    distances: Tensor
    rows: Tensor
    limit: float
    note: str = ""


def copies(pair: Pair) -> Copies:
    """The distance of each sample to the nearest real picture, and what counts as a copy.

    Held-out pictures that equal a real one, or a flip of one, are not new: the limit is that of
    the others.
    """
    seen = pair.mirrored_points()
    held = nearest(pair.held_out.points, seen)[0]
    distances, numbers = nearest(pair.synthetic.points, seen)
    rows = numbers % pair.real.n
    real = pair.real.points
    new = held[held > EQUAL * (real - real.mean(0)).norm(dim=1).mean()]
    known, note = len(held) - len(new), ""
    if known:
        note = f"{known} of {len(held)} held-out pictures equal a real one or a flip of one"
    limit = float(torch.quantile(new, RARE)) if len(new) else float("nan")
    return Copies(distances, rows, limit, note)


@metric("copy", "copies", "privacy", floor="held_out", highest=1.0)
def copy(pair: Pair) -> Estimate:
    """Share of samples nearer to a real picture, or a flip of one, than 1 % of held-out data are.

    Source: nearest neighbours as in Meehan et al., arXiv:2004.05675, with a threshold from held-out
    data. Lower is better; 0.01 is what new patients would give. By distance in the features, so a
    copy that was shifted or rotated is missed. Unit: share of samples. Below 100 held-out samples
    the threshold is the nearest single one.
    """
    found = copies(pair)
    if np.isnan(found.limit):
        return Estimate.unknown(found.note)
    is_copy = (found.distances < found.limit).double().numpy()
    return of_mean(is_copy, pair.synthetic.patients, note=found.note)


# ---------------------------------------------------------------------------------------- patches
def _cut(pictures: Tensor, side: int, stride: int) -> Tensor:
    """Patches (N, count, 8 ** dimensions) of all pictures on a grid, channels averaged."""
    small = pictures.mean(1, keepdim=True)
    factor = max(1, side // SMALL)
    pool = F.avg_pool2d if small.ndim == 4 else F.avg_pool3d
    small = pool(small, factor)[:, 0]
    windows = small
    for axis in range(1, small.ndim):
        windows = windows.unfold(axis, SMALL, max(1, stride // factor))
    return windows.reshape(len(small), -1, SMALL ** (small.ndim - 1))


def _normal(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Patches with mean 0 and length 1, and which of them show something."""
    centred = patches - patches.mean(-1, keepdim=True)
    return F.normalize(centred, dim=-1), centred.norm(dim=-1) > FLAT


def _to_nearest(patches: Tensor, support: Tensor) -> Tensor:
    """The distance of each patch of length 1 to the nearest of ``support``, (N,)."""
    alike = [(part @ support.T).amax(1) for part in torch.split(patches, CHUNK)]
    return (2 - 2 * torch.cat(alike)).clamp(min=0).sqrt()


def _smallest(part: Part, side: int, support: Tensor) -> tuple[Tensor, Patients]:
    """The distance of the nearest patch of each picture to one of ``support``, and the patients.

    The patches with the most contrast of each picture are looked for. A picture whose patches are
    all of one tone has an infinite distance: it copies nothing.
    """
    rows = np.random.default_rng(0).permutation(part.n)[:MOST]
    cut = _cut(part.pictures[torch.from_numpy(rows)], side, side)
    best = cut.std(-1).topk(min(PER_PICTURE, cut.shape[1]), dim=1)[1]
    sought, shows = _normal(cut.gather(1, best[..., None].expand(-1, -1, cut.shape[-1])))
    distances = _to_nearest(sought.flatten(0, 1), support).reshape(shows.shape)
    distances = torch.where(shows, distances, torch.inf)
    return distances.min(1)[0], None if part.patients is None else part.patients[rows]


@metric("patch_copy", "copied patches", "privacy", floor="held_out", highest=1.0)
def patch_copy(pair: Pair) -> Estimate:
    """Share of samples with a patch nearer to one of a real picture than 1 % of held-out ones have.

    Source: patches as in Carlini et al., arXiv:2301.13188. Lower is better; 0.01 is what new
    patients would give. Patches have a quarter of the picture's side, are shrunk to 8 pixels and
    compared by correlation; the four with most contrast of up to 500 pictures, anywhere in a real
    picture on a grid. Patches of one tone do not count. Unit: share of samples. Below 100 held-out
    samples the threshold is the nearest single one.
    """
    side = min(pair.real.pictures.shape[2:]) // 4
    if side < SMALL:
        return Estimate.unknown("pictures are too small")
    support, shows = _normal(_cut(pair.real.pictures, side, side // 2).flatten(0, 1))
    support = support[shows]
    if not len(support):
        return Estimate.unknown("real pictures are of one tone")
    held = _smallest(pair.held_out, side, support)[0]
    held = held[held.isfinite()]
    limit = float(torch.quantile(held, RARE)) if len(held) else 0.0
    if limit <= EQUAL_PATCH:  # such as letters on each picture
        return Estimate.unknown("held-out pictures have patches that equal those of real ones")
    distances, patients = _smallest(pair.synthetic, side, support)
    return of_mean((distances < limit).double().numpy(), patients)


# ------------------------------------------------------------------------------------- neighbours
def _is_among_its_own(points: Tensor, patients: Patients, others: Tensor) -> Tensor:
    """For each point whether its nearest neighbour is of its own set, and of another patient."""
    return (nearest(points, others)[0] > nearest_other(points, patients)).double()


@metric(
    "nnaa",
    "nearest-neighbour adversarial accuracy",
    "privacy",
    better="floor",
    needs="points",
    floor="held_out",
    highest=1.0,
)
def nnaa(pair: Pair) -> Estimate:
    """How often the nearest neighbour of a sample, or of a real one, is of the same kind.

    Source: Yale et al., Neurocomputing 416 (2020). 0.5 is best; clearly above: the set differs from
    the real data; clearly below: samples lie on top of real ones, as copies do. As many of both
    sides as the smaller one has. Other data of the same patient do not count as neighbours. Unit:
    share of samples and real data. Below 100 samples per side it misleads.
    """
    made, real = pair.same, pair.real
    if made.n < real.n:  # at random, since real data are often sorted by class or by patient
        real = real.at(np.random.default_rng(pair.seed).permutation(real.n)[: made.n])
    for part in (made, real):
        if part.patients is not None and len(np.unique(part.patients)) < 2:
            return Estimate.unknown("all samples of a side are of one patient")
    first = _is_among_its_own(made.points, made.patients, real.points)
    second = _is_among_its_own(real.points, real.patients, made.points)

    def of(rows: Rows, others: Rows) -> float:
        return float((first[rows].mean() + second[others].mean()) / 2)

    return of_rows(of, (len(first), len(second)), (made.patients, real.patients))


# ------------------------------------------------------------------------------------- membership
def recognised(members: Values, others: Values) -> tuple[float, float]:
    """The share of members above the limit that 5 % of others exceed, and the share of others.

    Where members score exactly the limit, an attacker decides by chance, so that 5 % of the others
    are named: the straight line between two points of the ROC curve.
    """
    limit = np.quantile(others, 1 - RATE, method="higher")
    above, at_limit = float((others > limit).mean()), float((others == limit).mean())
    found, undecided = float((members > limit).mean()), float((members == limit).mean())
    if not undecided:
        return found, above
    return found + undecided * (RATE - above) / at_limit, RATE


@metric(
    "membership",
    "membership inference",
    "privacy",
    unit="true positives at 5 % false",
    needs="points",
    floor="held_out",
    highest=1.0,
    enough=100,
)
def membership(pair: Pair) -> Estimate:
    """Share of real training data that an attacker recognises by their distance to the samples.

    Source: Hilprecht et al., PoPETs 2019; rates as in Carlini et al., arXiv:2112.03570. Lower is
    better; 0.05, the false-positive rate among held-out pictures, is a blind guess. Equal distances
    are decided by chance. ``real`` must be what the model was trained on. Unit: share of real
    training data. With fewer than 100 held-out pictures the rate is coarse.
    """
    members = -nearest(pair.real.points, pair.synthetic.points)[0].numpy()
    others = -nearest(pair.held_out.points, pair.synthetic.points)[0].numpy()

    def of(rows: Rows, held: Rows) -> float:
        return recognised(members[rows], others[held])[0]

    patients = pair.real.patients, pair.held_out.patients
    estimate = of_rows(of, (pair.real.n, pair.held_out.n), patients)
    rate = recognised(members, others)[1]
    return Estimate(estimate.value, estimate.draws, f"at a false-positive rate of {rate:.3f}")
