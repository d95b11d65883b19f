"""A small network that learns to distinguish classes of pictures, and how well it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

BATCH = 64  # pictures per step
SIDE = {2: 64, 3: 32}  # pixels that the network sees, by number of dimensions


def roc_auc(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """Area under the ROC curve; equal scores count as half. NaN if one class is missing."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    many, others = int(positive.sum()), int((~positive).sum())
    if not many or not others:
        return float("nan")
    return float((ranks[positive].sum() - many * (many + 1) / 2) / (many * others))


def shrunk(x: Tensor) -> Tensor:
    """Pictures or volumes of a size that a small network sees quickly."""
    factor = max(1, min(x.shape[2:]) // SIDE[x.ndim - 2])
    return F.avg_pool2d(x, factor) if x.ndim == 4 else F.avg_pool3d(x, factor)


def network(channels: int, classes: int, dimensions: int) -> nn.Sequential:
    """Four convolutions and a linear layer: (N, C, *spatial) to logits (N, classes), or (N, 1) for
    two classes.
    """
    convolution, norm, pool = (
        (nn.Conv2d, nn.BatchNorm2d, nn.AdaptiveAvgPool2d),
        (nn.Conv3d, nn.BatchNorm3d, nn.AdaptiveAvgPool3d),
    )[dimensions - 2]

    def block(i: int, o: int) -> nn.Module:
        return nn.Sequential(convolution(i, o, 3, 2, 1, bias=False), norm(o), nn.ReLU())

    body = [block(channels, 16), block(16, 32), block(32, 64), block(64, 64), pool(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Dropout(0.3), nn.Linear(64, classes if classes > 2 else 1))


def probabilities(
    x: Tensor,
    y: NDArray[np.int64],
    test: Tensor,
    *,
    seed: int,
    steps: int,
    net: nn.Module | None = None,
    flips: bool = True,
) -> NDArray[np.float32]:
    """Probabilities (M, classes) of ``test`` by a network trained on balanced batches.

    Parameters
    ----------
    x : torch.Tensor
        Training pictures (N, C, *spatial) in [-1, 1].
    y : numpy.ndarray
        Their classes, (N,), from 0.
    test : torch.Tensor
        Other pictures (M, C, *spatial).
    seed : int
        Of weights, batches and augmentation.
    steps : int
        How many batches of 64.
    net : torch.nn.Module, optional
        Returns logits (N, classes); its weights are changed. By default the small network of this
        module, which returns one logit for two classes.
    flips : bool, optional
        Whether to mirror batches and to change their contrast and brightness a little.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    classes, axes = int(y.max()) + 1, range(x.ndim - 1, 1, -1)
    if net is None:
        net = network(x.shape[1], classes, x.ndim - 2)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps)
    small, labels = shrunk(x), torch.from_numpy(y)
    members = [np.flatnonzero(y == c) for c in range(classes)]
    for _ in range(steps):
        i = np.concatenate([rng.choice(rows, max(1, BATCH // classes)) for rows in members])
        batch = small[i]
        if flips:
            for axis in axes:
                if rng.random() < 0.5:
                    batch = batch.flip(axis)
            one_each = (len(i), *[1] * (x.ndim - 1))
            batch = batch * (1 + 0.1 * torch.randn(one_each)) + 0.1 * torch.randn(one_each)
        logits = net(batch)
        if logits.shape[1] == 1:
            loss = F.binary_cross_entropy_with_logits(logits[:, 0], labels[i].float())
        else:
            loss = F.cross_entropy(logits, labels[i])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    with torch.inference_mode():
        logits = net.eval()(shrunk(test))
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    shares: NDArray[np.float32] = logits.double().softmax(1).numpy()
    return shares


def mean_auc(shares: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """AUC of probabilities (M, classes): of two classes that of the second, of more the mean over
    classes of each against the others.
    """
    classes = shares.shape[1]
    chosen = range(classes) if classes > 2 else [1]
    return float(np.mean([roc_auc(truth == c, shares[:, c]) for c in chosen]))


def skill(
    x: Tensor,
    y: NDArray[np.int64],
    test: Tensor,
    truth: NDArray[np.int64],
    *,
    seed: int,
    steps: int,
) -> tuple[float, float]:
    """AUC and accuracy on ``test``, each the mean over classes, of the network trained on ``x``."""
    shares = probabilities(x, y, test, seed=seed, steps=steps)
    right = [(shares[truth == c].argmax(1) == c).mean() for c in range(shares.shape[1])]
    return mean_auc(shares, truth), float(np.mean(right))


@dataclass(frozen=True)
class TwoSampleTest:
    """How a network that learned to distinguish two sets scores pictures that it did not see.

    Parameters
    ----------
    made, real : numpy.ndarray
        Its scores of pictures of the set, and of real ones.
    made_rows, real_rows : numpy.ndarray
        Which of all pictures these are.
    """

    made: NDArray[np.float32]
    real: NDArray[np.float32]
    made_rows: NDArray[np.int64]
    real_rows: NDArray[np.int64]

    @property
    def auc(self) -> float:
        """The area under the ROC curve."""
        return self.auc_of(self.made_rows, self.real_rows)

    def auc_of(self, made_rows: NDArray[np.int64], real_rows: NDArray[np.int64]) -> float:
        """The same for some of all pictures, which may repeat; those that are not scored are left
        out.
        """
        made = _scores_of(made_rows, self.made_rows, self.made)
        real = _scores_of(real_rows, self.real_rows, self.real)
        is_made = np.repeat([True, False], [len(made), len(real)])
        return roc_auc(is_made, np.concatenate([made, real]))


def _scores_of(
    rows: NDArray[np.int64], known: NDArray[np.int64], scores: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The scores of some rows, of those whose scores are known."""
    order = np.argsort(known)
    places = np.searchsorted(known, rows, sorter=order).clip(max=len(known) - 1)
    found = order[places]
    chosen: NDArray[np.float32] = scores[found[known[found] == rows]]
    return chosen


def two_sample_test(
    x: Tensor,
    train: Tensor,
    test: Tensor,
    *,
    seed: int,
    steps: int,
    patients: NDArray[Any] | None = None,
) -> TwoSampleTest | None:
    """Train a network to distinguish half of ``x`` from ``train``.

    It scores the rest of ``x``, without patients that it has seen, and ``test``, as many of each.
    None if all of ``x`` is of one patient.
    """
    order = _order_of(len(x), patients, seed)
    real = np.arange(len(train))
    n = min(len(x) // 2, len(train))
    if n < len(train):  # real ones in the order of their files are all of one class at first
        real = np.random.default_rng(seed).permutation(len(train))
    seen, rest = order[:n], order[n:]
    if patients is not None:
        rest = rest[~np.isin(patients[rest], patients[seen])]
    k = min(len(test), len(rest))
    if not k:
        return None
    held = np.arange(k)
    if k < len(test):
        held = np.random.default_rng(seed).permutation(len(test))[:k]
    pictures = torch.cat([train[torch.from_numpy(real[:n])], x[torch.from_numpy(seen)]])
    unseen = torch.cat([test[torch.from_numpy(held)], x[torch.from_numpy(rest[:k])]])
    labels = np.repeat(np.array([0, 1]), n)
    scores = probabilities(pictures, labels, unseen, seed=seed, steps=steps)[:, 1]
    return TwoSampleTest(scores[k:], scores[:k], rest[:k], held)


def _order_of(n: int, patients: NDArray[Any] | None, seed: int) -> NDArray[np.int64]:
    """Rows at random; if patients are known, one patient after the other."""
    rng = np.random.default_rng(seed)
    if patients is None:
        return rng.permutation(n)
    names, codes = np.unique(patients, return_inverse=True)
    places = rng.permutation(len(names))
    return np.argsort(places[codes], kind="stable")


def two_sample(x: Tensor, train: Tensor, test: Tensor, *, seed: int, steps: int) -> float:
    """AUC of distinguishing unseen samples of a set from unseen real ones."""
    test_of = two_sample_test(x, train, test, seed=seed, steps=steps)
    return float("nan") if test_of is None else test_of.auc
