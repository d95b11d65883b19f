"""Privacy: whether samples are nearer to the training data than new patients are.

No figure here proves privacy. A figure at its floor says that this way to attack finds nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from .distances import nearest, nearest_other
from .estimates import Estimate, Rows, of_mean, of_rows
from .metrics import metric
from .pairs import Pair, Part

RARE = 0.01  # share of held-out data that count as copies
RATE = 0.05  # false-positive rate of membership inference
SMALL = 8  # side of a patch after it was shrunk
PER_PICTURE = 4  # patches of each picture that are looked for
MOST = 500  # pictures whose patches are looked for


def copies(pair: Pair) -> tuple[Tensor, Tensor, float]:
    """For each sample the distance to the nearest real picture or a flip of it, its row, and the
    distance below which it counts as a copy.
    """
    seen = pair.mirrored_points()
    limit = torch.quantile(nearest(pair.held_out.points, seen)[0], RARE)
    distances, numbers = nearest(pair.synthetic.points, seen)
    return distances, numbers % pair.real.n, float(limit)


@metric("copy", "copies", "privacy", floor="held_out", highest=1.0)
def copy(pair: Pair) -> Estimate:
    """Share of samples nearer to a real picture, or a flip of one, than 1 % of held-out data are.

    Source: nearest neighbours as in Meehan et al., arXiv:2004.05675, with a threshold from held-out
    data. Lower is better; 0.01 is what new patients would give. By distance in the features, so a
    copy that was shifted or rotated is missed. Unit: share of samples. Below 100 held-out samples
    the threshold is the nearest single one.
    """
    distances, _, limit = copies(pair)
    return of_mean((distances < limit).double().numpy(), pair.synthetic.patients)


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


def _normal(patches: Tensor) -> Tensor:
    """Patches with mean 0 and length 1."""
    centred = patches - patches.mean(-1, keepdim=True)
    return F.normalize(centred, dim=-1)


def _sought(part: Part, side: int) -> Tensor:
    """The patches with the most contrast of each picture."""
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.permutation(part.n)[:MOST])
    cut = _cut(part.pictures[rows], side, side)
    best = cut.std(-1).topk(min(PER_PICTURE, cut.shape[1]), dim=1)[1]
    return _normal(cut.gather(1, best[..., None].expand(-1, -1, cut.shape[-1])))


@metric("patch_copy", "copied patches", "privacy", floor="held_out", highest=1.0)
def patch_copy(pair: Pair) -> Estimate:
    """Share of samples with a patch nearer to one of a real picture than 1 % of held-out ones have.

    Source: patches as in Carlini et al., arXiv:2301.13188. Lower is better; 0.01 is what new
    patients would give. Patches have a quarter of the picture's side, are shrunk to 8 pixels and
    compared by correlation; the four with most contrast of up to 500 pictures, anywhere in a real
    picture on a grid. Unit: share of samples. Below 100 held-out samples the threshold is the
    nearest single one.
    """
    side = min(pair.real.pictures.shape[2:]) // 4
    if side < SMALL:
        return Estimate(float("nan"), np.array([]), "pictures are too small")
    support = _normal(_cut(pair.real.pictures, side, side // 2).flatten(0, 1))

    def smallest(part: Part) -> Tensor:
        sought = _sought(part, side)
        distances = nearest(sought.flatten(0, 1), support)[0]
        return distances.reshape(sought.shape[:2]).min(1)[0]

    limit = torch.quantile(smallest(pair.held_out), RARE)
    return of_mean((smallest(pair.synthetic) < limit).double().numpy())


def _adversarial_accuracy(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """For each point of both sets whether its nearest neighbour is of its own set."""
    first = nearest(a, b)[0] > nearest_other(a)
    second = nearest(b, a)[0] > nearest_other(b)
    return first.double(), second.double()


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
    sides as the smaller one has. Unit: share of samples and real data. Below 100 samples per side
    it misleads.
    """
    made, real = pair.same, pair.real
    if made.n < real.n:  # at random, since real data are often sorted by class or by patient
        real = real.at(np.random.default_rng(pair.seed).permutation(real.n)[: made.n])
    first, second = _adversarial_accuracy(made.points, real.points)

    def of(rows: Rows, others: Rows) -> float:
        return float((first[rows].mean() + second[others].mean()) / 2)

    return of_rows(of, (len(first), len(second)))


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
    better; 0.05, the false-positive rate among held-out pictures, is a blind guess. ``real`` must
    be what the model was trained on. Unit: share of real training data. With fewer than 100
    held-out pictures the rate is coarse.
    """
    members = -nearest(pair.real.points, pair.synthetic.points)[0].numpy()
    others = -nearest(pair.held_out.points, pair.synthetic.points)[0].numpy()

    def of(rows: Rows, held: Rows) -> float:
        limit = np.quantile(others[held], 1 - RATE, method="higher")
        return float((members[rows] > limit).mean())

    patients = pair.real.patients, pair.held_out.patients
    estimate = of_rows(of, (pair.real.n, pair.held_out.n), patients)
    limit = np.quantile(others, 1 - RATE, method="higher")
    rate = float((others > limit).mean())
    return Estimate(estimate.value, estimate.draws, f"at a false-positive rate of {rate:.3f}")
