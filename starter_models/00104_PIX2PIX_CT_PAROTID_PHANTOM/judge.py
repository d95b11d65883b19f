"""Is the mask found again in the CT, and do masks of unseen kinds tear it? Figures and pictures for
the card of model 104.

    python judge.py --out runs/judge                  # trains the finder, 4 minutes on one core; then a minute
    python judge.py --out runs/judge --model FOLDER   # a package that is not registered

The finder is a small U-Net that learns on the phantom alone to find the gland in a CT, of any form;
it has never seen what it judges. Its Dice on phantom scans that it was not trained on is the most
that a sample could reach.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import model as m
import numpy as np
import phantom
import torch
import train as t
from torch import Tensor, nn
from torch.nn import functional as F

import medzoo

KINDS = (
    "square",
    "star",
    "ring",
    "two discs",
    "ragged",
    "left side",
    "large",
    "stripes",
    "empty",
)  # none is trained on but the last


class Finder(nn.Module):
    """U-Net of 0.2 million parameters: CT on the networks' scale to scores (N, 1, 128, 128),
    positive in the gland.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        a, b, c, d = width, 2 * width, 3 * width, 4 * width
        self.down1, self.down2, self.down3, self.down4 = (
            m.conv(6, b),
            m.conv(b, b, 2),
            m.conv(b, c, 2),
            m.conv(c, d, 2),
        )
        self.up3, self.up2, self.up1 = m.conv(d + c, c), m.conv(c + b, b), m.conv(b + b, b)
        self.last = nn.Sequential(m.conv(b // 4 + 1, a), nn.Conv2d(a, 1, 3, padding=1))
        line = torch.linspace(-1, 1, m.SIZE // 2)
        self.register_buffer(
            "grid", torch.stack(torch.meshgrid(line, line, indexing="ij"))[None], persistent=False
        )

    def forward(self, ct: Tensor) -> Tensor:
        ct = 3 * ct
        h1 = self.down1(
            torch.cat([F.pixel_unshuffle(ct, 2), self.grid.expand(len(ct), -1, -1, -1)], dim=1)
        )
        h2 = self.down2(h1)
        h3 = self.down3(h2)
        x = self.up3(torch.cat([m.twice(self.down4(h3)), h3], dim=1))
        x = self.up1(torch.cat([m.twice(self.up2(torch.cat([m.twice(x), h2], dim=1))), h1], dim=1))
        return self.last(torch.cat([F.pixel_shuffle(x, 2), ct], dim=1))


def train_finder(a: argparse.Namespace, masks: nn.Module) -> Finder:
    """The finder, from its checkpoint where there is one."""
    path, net = a.out / "finder.pt", Finder().to(memory_format=torch.channels_last)
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
        return net.eval()
    torch.manual_seed(a.seed)
    scans, began = t.read_phantom(a.out, a.heads, a.seed), time.time()
    steps = torch.optim.AdamW(net.parameters(), 2e-3)
    pace = torch.optim.lr_scheduler.OneCycleLR(steps, 2e-3, a.steps)
    for step in range(a.steps):
        rng = np.random.default_rng([a.seed, step])
        ct, mask, _ = scans.batch(8, rng, t.foreign_masks(4, scans, masks, rng))
        ct = ct.clamp(max=1)  # the window
        with t.mixed(torch.device("cpu")):
            scores = net(ct).float()
        overlap = 2 * (scores.sigmoid() * mask).sum() / (scores.sigmoid().sum() + mask.sum() + 1)
        loss = F.binary_cross_entropy_with_logits(scores, mask) + 0.3 * (1 - overlap)
        steps.zero_grad()
        loss.backward()
        steps.step()
        pace.step()
        if (step + 1) % 200 == 0:
            print(
                f"finder {step + 1} loss {loss.item():.4f} {(time.time() - began) / 60:.1f} min",
                flush=True,
            )
    torch.save(net.state_dict(), path)
    return net.eval()


@torch.inference_mode()
def dice(finder: Finder, hu: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Dice (n,) of the masks that ``finder`` finds in CT (n, 1, H, W) in HU; 1 where there is
    nothing and it finds nothing.
    """
    found = np.concatenate(
        [
            (finder(m.to_scale(torch.from_numpy(part).float())) > 0).numpy()
            for part in np.array_split(hu, 1 + len(hu) // 32)
        ]
    )
    both, sizes = (
        (found & (masks > 0)).sum(axis=(1, 2, 3)),
        found.sum(axis=(1, 2, 3)) + (masks > 0).sum(axis=(1, 2, 3)),
    )
    return np.where(sizes == 0, 1.0, 2 * both / np.maximum(sizes, 1))


def unseen(kind: str, rng: np.random.Generator, glands: np.ndarray) -> np.ndarray:
    """A mask (H, W) uint8 of a kind that training has not."""
    y, x = np.mgrid[: m.SIZE, : m.SIZE] + 0.5
    x, y = x - rng.uniform(38, 90), y - rng.uniform(40, 92)
    far, angle, size = (
        np.hypot(x, y),
        np.arctan2(y, x) + rng.uniform(0, math.pi),
        rng.uniform(7, 12),
    )
    if kind == "square":
        c, s = math.cos(angle[0, 0]), math.sin(angle[0, 0])
        mask = np.maximum(np.abs(c * x + s * y), np.abs(c * y - s * x)) < size
    elif kind == "star":
        mask = far < size * (1 + 0.45 * np.cos(5 * angle))
    elif kind == "ring":
        mask = np.abs(far - size) < size / 3
    elif kind == "two discs":
        mask = (far < size * 0.8) | (
            np.hypot(x - 1.2 * size - 4, y - rng.uniform(-12, 12)) < size * 0.8
        )
    elif kind == "ragged":
        field = phantom.halve(phantom.smooth_field(rng, 60, 0.6))
        mask = far < size + 3.5 * field
    elif kind == "left side":
        mask = glands[rng.integers(len(glands)), 0][:, ::-1] > 0
    elif kind == "large":
        mask = (x / 1.6) ** 2 + y**2 + 0.4 * x * y < (2.4 * size) ** 2
    elif kind == "stripes":
        mask = (far < 1.5 * size) & (np.floor(y / 3) % 2 == 0)
    else:
        mask = np.zeros_like(x, bool)
    return mask.astype(np.uint8)


def shares(hu: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Shares of air, fat, soft tissue and bone (n, 4) among the pixels ``counted``."""
    tissue = np.digitize(hu, [-300, -40, 150])
    return np.stack(
        [
            ((tissue == k) & counted).sum(axis=(1, 2, 3)) / counted.sum(axis=(1, 2, 3))
            for k in range(4)
        ],
        axis=1,
    )


def around(masks: np.ndarray, reach: int) -> np.ndarray:
    """Masks (n, 1, H, W) widened by ``reach`` pixels."""
    return F.max_pool2d(torch.from_numpy(masks).float(), 2 * reach + 1, 1, reach).numpy() > 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the finder and the pictures"
    )
    parser.add_argument("--model", default="104")
    parser.add_argument("-n", type=int, default=400, help="samples")
    parser.add_argument(
        "--heads", type=int, default=2500, help="of the phantom, to train the finder on"
    )
    parser.add_argument("--steps", type=int, default=1000, help="of the finder")
    parser.add_argument("--seed", type=int, default=104)
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    package = m.load(Path(__file__).parent, "cpu")
    finder = train_finder(a, package.masks)

    heads = [phantom.scan(7_000_000 + k) for k in range(200)]  # trained on by nobody
    scans = np.stack([phantom.compose(h.bed, h.gland, h.mask) for h in heads])[:, None]
    glands = np.stack([h.mask > 0.5 for h in heads])[:, None].astype(np.uint8)

    def report(name: str, found: np.ndarray, note: str = "") -> None:
        print(
            f"{name:24} Dice {found.mean():.3f}, 5 % below {np.quantile(found, 0.05):.3f} {note}",
            flush=True,
        )

    report("phantom, unseen heads", dice(finder, scans, glands))
    began = time.time()
    samples = medzoo.generate(a.model, a.n, seed=0, trust=True, progress=False)
    took = a.n / (time.time() - began)
    report(f"{a.n} samples", dice(finder, samples.images, samples.masks), f"({took:.0f} samples/s)")
    for name, masks in (("phantom", glands), ("samples", samples.masks)):
        mm = masks.reshape(len(masks), -1).sum(axis=1) * phantom.SPACING**2
        print(
            f"area of the mask, {name}: {mm.mean():.0f} mm2, deviation {mm.std():.0f}; centre (row, column) "
            f"{[f'{np.nonzero(masks)[k].mean():.1f}' for k in (2, 3)]}"
        )
    for name, hu in (("phantom", scans), ("samples", samples.images)):
        fine = hu[:, :, 2:-2, 2:-2] - F.avg_pool2d(torch.from_numpy(hu).float(), 5, 1).numpy()
        soft = (np.abs(hu - 30) < 60)[:, :, 2:-2, 2:-2]
        print(
            f"{name}: air, fat, soft tissue, bone {shares(hu, np.ones_like(hu, bool)).mean(axis=0).round(3)}; "
            f"grain of soft tissue {np.median(np.abs(fine[soft])):.1f} HU, a pixel from head to head {hu.std(axis=0).mean():.0f} HU"
        )

    rng, count, shown = np.random.default_rng(5), 48, []
    for kind in KINDS:
        masks = np.stack([unseen(kind, rng, glands) for _ in range(count)])[:, None]
        ct = medzoo.generate(
            a.model, count, seed=1, inputs=masks, trust=True, progress=False
        ).images
        none = medzoo.generate(
            a.model, count, seed=1, inputs=0 * masks, trust=True, progress=False
        ).images
        soft = t.smooth(torch.from_numpy(masks).float()).numpy()
        truth = np.stack(
            [phantom.compose(h.bed, h.gland, s[0]) for h, s in zip(heads, soft, strict=False)]
        )[:, None]
        far = ~around(masks, 6)
        moved = np.abs(shares(ct, far) - shares(none, far)).sum(axis=1).mean() / 2
        note = f"| phantom with the same masks {dice(finder, truth, masks).mean():.3f} | tissue elsewhere moved by {100 * moved:.2f} %"
        report(kind, dice(finder, ct, masks), note)
        shown.append((ct[:8], masks[:8]))
    t.sheet(
        *(torch.from_numpy(np.concatenate(part)) for part in zip(*shown, strict=True)),
        a.out / "unseen.png",
    )
    t.sheet(
        torch.from_numpy(samples.images[:32]),
        torch.from_numpy(samples.masks[:32]),
        a.out / "samples.png",
    )
    t.sheet(torch.from_numpy(scans[:32]), torch.from_numpy(glands[:32]), a.out / "phantom.png")


if __name__ == "__main__":
    main()
