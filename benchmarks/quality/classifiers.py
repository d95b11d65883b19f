"""A small network that learns to tell pictures apart, and how well it does."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

BATCH, SIDE = (
    64,
    {2: 64, 3: 32},
)  # pictures a step, pixels that the network sees, by number of dimensions


def roc_auc(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    order = np.argsort(scores)
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    many, others = positive.sum(), (~positive).sum()
    return float((ranks[positive].sum() - many * (many + 1) / 2) / (many * others))


def shrunk(x: Tensor) -> Tensor:
    factor = max(1, min(x.shape[2:]) // SIDE[x.ndim - 2])
    return F.avg_pool2d(x, factor) if x.ndim == 4 else F.avg_pool3d(x, factor)


def network(channels: int, classes: int, dimensions: int) -> nn.Sequential:
    convolution, norm, pool = (
        (nn.Conv2d, nn.BatchNorm2d, nn.AdaptiveAvgPool2d),
        (nn.Conv3d, nn.BatchNorm3d, nn.AdaptiveAvgPool3d),
    )[dimensions - 2]

    def block(i: int, o: int) -> nn.Module:
        return nn.Sequential(convolution(i, o, 3, 2, 1, bias=False), norm(o), nn.ReLU())

    body = [block(channels, 16), block(16, 32), block(32, 64), block(64, 64), pool(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Dropout(0.3), nn.Linear(64, classes if classes > 2 else 1))


def probabilities(
    x: Tensor, y: NDArray[np.int64], test: Tensor, *, seed: int, steps: int
) -> NDArray[np.float32]:
    """Probabilities (M, classes) of ``test`` by a small network trained on balanced batches of
    ``x`` and its labels.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    classes, axes = int(y.max()) + 1, range(x.ndim - 1, 1, -1)
    net = network(x.shape[1], classes, x.ndim - 2)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps)
    small, labels = shrunk(x), torch.from_numpy(y)
    members = [np.flatnonzero(y == c) for c in range(classes)]
    for _ in range(steps):
        i = np.concatenate([rng.choice(rows, BATCH // classes) for rows in members])
        batch = small[i]
        for axis in axes:
            if rng.random() < 0.5:
                batch = batch.flip(axis)
        one_each = (len(i), *[1] * (x.ndim - 1))
        batch = batch * (1 + 0.1 * torch.randn(one_each)) + 0.1 * torch.randn(one_each)
        votes = net(batch)
        if classes == 2:
            loss = F.binary_cross_entropy_with_logits(votes[:, 0], labels[i].float())
        else:
            loss = F.cross_entropy(votes, labels[i])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.inference_mode():
        votes = net.eval()(shrunk(test))
    if classes == 2:
        votes = torch.cat([torch.zeros_like(votes), votes], dim=1)
    return votes.double().softmax(1).numpy()


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
    found = probabilities(x, y, test, seed=seed, steps=steps)
    classes = found.shape[1]
    areas = [roc_auc(truth == c, found[:, c]) for c in (range(classes) if classes > 2 else [1])]
    right = [(found[truth == c].argmax(1) == c).mean() for c in range(classes)]
    return float(np.mean(areas)), float(np.mean(right))


def two_sample(x: Tensor, train: Tensor, test: Tensor, *, seed: int, steps: int) -> float:
    """AUC of telling unseen samples of the set from unseen real ones."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(x)))
    real = torch.arange(len(train))
    n = min(len(x) // 2, len(train))
    if n < len(train):  # real ones in file order are all of one class at first
        real = torch.from_numpy(np.random.default_rng(seed).permutation(len(train)))
    k = min(len(test), len(x) - n)
    held = (
        torch.from_numpy(np.random.default_rng(seed).permutation(len(test)))[:k]
        if k < len(test)
        else torch.arange(k)
    )
    seen, unseen = (
        torch.cat([train[real[:n]], x[order[:n]]]),
        torch.cat([test[held], x[order[n : n + k]]]),
    )
    labels, truth = (np.repeat(np.array([0, 1]), m) for m in (n, k))
    return skill(seen, labels, unseen, truth, seed=seed, steps=steps)[0]
