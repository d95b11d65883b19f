"""A small network that learns to put boxes round what boxes mark, and how well it does.

Boxes are rows of centre x, centre y, width and height, as fractions of the picture. A row of NaN
stands for no box, where pictures have different numbers of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from ..config.columns import present_boxes

Boxes: TypeAlias = NDArray[np.float32]
Change: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
OVERLAP = 0.3  # intersection over union from which a box counts as found
SIDE, MULTIPLE = 64, 16  # pixels of the shorter side, and what every side is divisible by
PER_PLACE = 4  # pixels of a place where a centre can be
BATCH = 16
OUTPUTS = 5  # vote, distance of the centre in x and y, logarithms of width and height
STRONG = 0.5  # of the most likely box's votes; a weaker box is left out


class Block(nn.Module):
    """Residual block of two convolutions, the second one dilated."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        result: Tensor = x + self.body(x)
        return result


class Detector(nn.Module):
    """For each place of 4x4 pixels: how likely a box has its centre there, where, and its size.

    Pictures (N, C, H, W), with sides divisible by 16, to (N, 5, H / 4, W / 4): a vote, the distance
    of the centre in x and y in places, and the logarithms of width and height. Votes are compared
    with 0, which is the vote for a picture without boxes.
    """

    def __init__(
        self, channels: int = 1, widths: tuple[int, int, int, int] = (16, 32, 64, 96)
    ) -> None:
        super().__init__()
        a, b, c, d = widths
        self.first = nn.Sequential(
            nn.Conv2d(channels + 2, a, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(a, b, 3, 2, 1),
            Block(b),
            Block(b),
        )
        self.down = nn.Sequential(nn.Conv2d(b, c, 3, 2, 1), Block(c), Block(c, 2))
        self.deep = nn.Sequential(nn.Conv2d(c, d, 3, 2, 1), Block(d), Block(d, 2))
        self.up = nn.Sequential(nn.Conv2d(d, c, 1), nn.Upsample(scale_factor=2.0))
        self.middle = Block(c)
        self.over = nn.Sequential(nn.Conv2d(c, b, 1), nn.Upsample(scale_factor=2.0))
        self.last = nn.Sequential(
            Block(b),
            nn.BatchNorm2d(b),
            nn.ReLU(),
            nn.Dropout2d(0.1),
            nn.Conv2d(b, OUTPUTS, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Votes, centres and sizes."""
        lines = [torch.linspace(-1, 1, side, dtype=x.dtype) for side in x.shape[2:]]
        grid = torch.stack(torch.meshgrid(*lines, indexing="ij"))  # where in the picture
        x = torch.cat([x, grid.expand(len(x), -1, -1, -1)], 1)
        first = self.first(x)  # (N, b, H / 4, W / 4)
        down = self.down(first)  # (N, c, H / 8, W / 8)
        down = self.middle(down + self.up(self.deep(down)))
        result: Tensor = self.last(first + self.over(down))
        return result


# -------------------------------------------------------------------------------------- training
def moved(x: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures (N, C, H, W) shifted, scaled and mirrored, with their boxes (N, K, 4).

    A box whose centre leaves the picture becomes NaN.
    """
    n = len(x)
    scale = 1 + 0.1 * torch.randn(n, 2).clamp(-2, 2)
    shift = 0.12 * torch.randn(n, 2).clamp(-2, 2)
    mirror = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
    zero = torch.zeros(n)
    across = torch.stack([scale[:, 0] * mirror, zero, shift[:, 0]], 1)
    along = torch.stack([zero, scale[:, 1], shift[:, 1]], 1)
    grid = F.affine_grid(torch.stack([across, along], 1), list(x.shape), align_corners=False)
    there = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    turned = scale * torch.stack([mirror, zero + 1], 1)
    centres = ((2 * boxes[..., :2] - 1 - shift[:, None]) / turned[:, None] + 1) / 2
    new = torch.cat([centres, boxes[..., 2:] / scale[:, None]], -1)
    inside = ((centres > 0) & (centres < 1)).all(-1, keepdim=True)
    return there, torch.where(inside, new, torch.nan)


def changed(x: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures and boxes moved, with another contrast and brightness."""
    x, boxes = moved(x, boxes)
    gain, offset = 0.1 * torch.randn(2, len(x), 1, 1, 1)
    return x * (1 + gain) + offset, boxes


def loss_of(output: Tensor, boxes: Tensor) -> Tensor:
    """Cross-entropy of the places of boxes (N, K, 4), and the L1 of centre and size near them."""
    high, wide = output.shape[2:]
    there = ~boxes.isnan().any(-1)  # (N, K)
    boxes = torch.where(there[..., None], boxes, 0.5)
    dx = (torch.arange(wide) + 0.5) / wide - boxes[..., :1]  # (N, K, W)
    dy = (torch.arange(high) + 0.5) / high - boxes[..., 1:2]
    near_x = (0.2 * boxes[..., 2:3]).clamp(0.5 / wide, 2 / wide)
    near_y = (0.2 * boxes[..., 3:4]).clamp(0.5 / high, 2 / high)
    weights = (-((dy / near_y) ** 2)[..., None] / 2 - ((dx / near_x) ** 2)[..., None, :] / 2).exp()
    weights = weights / weights.sum((2, 3), keepdim=True).clamp(min=1e-9) * there[..., None, None]
    count = there.sum(1).clamp(min=1)[:, None, None]
    shares = weights.sum(1) / count  # (N, H, W)
    nothing = output.new_zeros((len(output), 1))
    votes = torch.cat([output[:, 0].flatten(1), nothing], 1).log_softmax(1)
    wanted_votes = torch.cat([shares.flatten(1), (~there.any(1)).float()[:, None]], 1)
    wanted = torch.stack(
        [
            (-dx * wide)[..., None, :].expand_as(weights),
            (-dy * high)[..., None].expand_as(weights),
            *(boxes[..., k].log()[..., None, None].expand_as(weights) for k in (2, 3)),
        ],
        2,
    )  # (N, K, 4, H, W)
    given = output[:, None, 1:].expand_as(wanted)
    off = F.smooth_l1_loss(given, wanted, reduction="none", beta=0.2).sum(2)
    losses = -(wanted_votes * votes).sum(1) + (weights / count[:, None] * off).sum((1, 2, 3))
    return losses.mean()


def trained(
    x: Tensor,
    boxes: Tensor,
    *,
    seed: int,
    steps: int,
    change: Change | None,
    batch: int = BATCH,
    groups: NDArray[np.int64] | None = None,
) -> Detector:
    """A detector that learned from pictures and their boxes.

    Parameters
    ----------
    x : torch.Tensor
        Pictures (N, C, H, W), with sides divisible by 16.
    boxes : torch.Tensor
        Their boxes, (N, K, 4).
    seed : int
        Of weights, batches and changes.
    steps, batch : int
        How many batches, and of how many pictures.
    change : callable, optional
        Gets pictures and boxes, and returns both changed, as `changed` does.
    groups : numpy.ndarray, optional
        The group of each picture, (N,); each is drawn equally often.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = Detector(x.shape[1])
    average = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps, pct_start=0.1)
    groups = np.zeros(len(x), np.int64) if groups is None else groups
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    for step in range(steps):
        rows = np.concatenate([rng.choice(rows, -(-batch // len(members))) for rows in members])
        pictures, there = x[rows], boxes[rows]
        if change:
            pictures, there = change(pictures, there)
        loss = loss_of(net(pictures), there)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        _follow(average, net, min(0.998, (1 + step) / (10 + step)))
    return average.eval()


@torch.no_grad()
def _follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Move the averaged weights towards those of the network."""
    pairs = zip(average.state_dict().values(), net.state_dict().values(), strict=True)
    for mine, theirs in pairs:
        if mine.is_floating_point():
            mine.lerp_(theirs, 1 - decay)


# ------------------------------------------------------------------------------------- detection
@torch.inference_mode()
def detect(net: Detector, x: Tensor, *, fewest: int = 1, most: int = 1) -> Boxes:
    """The likeliest boxes of each picture, (N, most, 4), with rows of NaN where there are fewer.

    Each is the mean of what the network says of the picture and of its mirror image.

    Parameters
    ----------
    net : Detector
        What looks for boxes.
    x : torch.Tensor
        Pictures (N, C, H, W), with sides divisible by 16.
    fewest, most : int, optional
        The number of boxes of a picture.
    """
    parts = [(net(part), net(part.flip(3)).flip(3)) for part in torch.split(x, 64)]
    one, other = (torch.cat(side) for side in zip(*parts, strict=True))
    count, _, high, wide = one.shape
    votes = one[:, 0].flatten(1).softmax(1) + other[:, 0].flatten(1).softmax(1)
    smooth = F.avg_pool2d(votes.view(count, 1, high, wide), 3, 1, 1)
    peaks = torch.where(F.max_pool2d(smooth, 3, 1, 1) == smooth, smooth, 0).flatten(1)
    strengths, places = peaks.topk(min(most, high * wide))  # (N, most)
    sides = (
        side.flatten(2).transpose(1, 2)[torch.arange(count)[:, None], places]
        for side in (one, other)
    )
    a, b = sides  # (N, most, 5)
    dx, dy = (a[..., 1] - b[..., 1]) / 2, (a[..., 2] + b[..., 2]) / 2
    centres = torch.stack(
        [(places % wide + 0.5 + dx) / wide, (places // wide + 0.5 + dy) / high], -1
    )
    boxes = torch.cat([centres, ((a[..., 3:] + b[..., 3:]) / 2).exp()], -1).numpy()
    something = (one[:, 0].flatten(1).logsumexp(1) + other[:, 0].flatten(1).logsumexp(1)) > 0
    kept = (strengths >= STRONG * strengths[:, :1]) & something[:, None]
    kept[:, :fewest] = True
    for row in range(count):
        _leave_repeated(boxes[row], kept[row].numpy())
    boxes[~kept.numpy()] = np.nan
    return boxes


def _leave_repeated(boxes: Boxes, kept: NDArray[np.bool_]) -> None:
    """Leave out boxes that overlap a likelier one."""
    for k in range(1, len(boxes)):
        kept[k] &= not (overlaps(boxes[k : k + 1], boxes[:k][kept[:k]]) >= OVERLAP).any()


def overlaps(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Intersection over union of each box of ``a`` (N, 4) with each of ``b`` (M, 4): (N, M)."""
    a, b = a[:, None], b[None]
    low = np.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = np.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    both = np.maximum(high - low, 0).prod(-1)
    shares: NDArray[np.float32] = both / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - both)
    return shares


def agreements(found: Boxes, truth: Boxes) -> NDArray[np.float64]:
    """The F1 score of boxes (N, K, 4) against true ones (N, L, 4), one per picture.

    Twice the number of true boxes that are found, over the number of boxes on both sides. A box is
    found by one that overlaps it by at least 0.3 (intersection over union) and finds no other. 1 if
    there are none on both sides.
    """
    scores = []
    for one, other in zip(found, truth, strict=True):
        mine, theirs = present_boxes(one), present_boxes(other)
        if not len(mine) + len(theirs):
            scores.append(1.0)
            continue
        scores.append(2 * _pairs(overlaps(mine, theirs)) / (len(mine) + len(theirs)))
    return np.array(scores, np.float64)


def _pairs(shares: NDArray[np.float32]) -> int:
    """How many pairs of boxes overlap enough, the best pair first, each box in one pair."""
    shares, count = shares.copy(), 0
    while shares.size and shares.max() >= OVERLAP:
        row, column = np.unravel_index(shares.argmax(), shares.shape)
        shares[row], shares[:, column] = 0, 0
        count += 1
    return count


# ------------------------------------------------------------------------- pictures of any size
def sized(x: Tensor) -> Tensor:
    """Pictures of about 64 pixels along the shorter side, with sides divisible by 16.

    Boxes stay right, because they are fractions of the sides.
    """
    scale = SIDE / min(x.shape[2:])
    high, wide = (max(1, round(side * scale / MULTIPLE)) * MULTIPLE for side in x.shape[2:])
    return F.adaptive_avg_pool2d(x, (high, wide))


def rows_of(boxes: NDArray[np.floating]) -> Boxes:
    """Boxes (N, 4) or (N, K, 4) as (N, K, 4)."""
    rows = boxes[:, None] if boxes.ndim == 2 else boxes
    return rows.astype(np.float32)


def learned(
    x: Tensor, boxes: Boxes, *, seed: int, steps: int, change: bool = True
) -> Callable[[Tensor], Boxes]:
    """A detector that learned from pictures and their boxes, as a function of other pictures.

    Pictures are brought to about 64 pixels first. It finds no more boxes in a picture than a
    training picture has at most, and no fewer than one has at least.
    """
    counts = (~np.isnan(boxes).any(2)).sum(1)
    fewest, most = int(counts.min()), max(1, int(counts.max()))
    way = changed if change else None
    net = trained(sized(x), torch.from_numpy(boxes), seed=seed, steps=steps, change=way)

    def found(test: Tensor) -> Boxes:
        return detect(net, sized(test), fewest=fewest, most=most)

    return found
