"""Train the diffusion of the next model 102: type, plane and the tumour's box are told to it.

    python starter_models/brain/diffusion.py --data brain_t1ce_cheng_256.zip --out runs/brain

It works in the latents of ``autoencoder.py``, whose ``eye.safetensors`` lies in ``--out`` or is
named by ``--eye``. Run again with the same ``--out`` it continues from its last checkpoint,
``diffusion.pt``; ``--init`` starts a new run from the averaged weights of another one. A change of
the autoencoder's weights changes the latents: continue with ``--init`` then.

The box enters as a map beside the latents, and the loss weighs more inside it, since a tumour is a
few per cent of a slice. One time in ten type and plane are not told, and one time in ten the box.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))
import autoencoder as first
import training
from autoencoder import CHANNELS, SIDE, STARTERS, base
from training import Average, Run, cosine, mixed, warm_up

spec = importlib.util.spec_from_file_location(
    "model_102", STARTERS / "00102_DIFFUSION_MRI_BRAIN_TUMOURS" / "model.py"
)
assert spec is not None
assert spec.loader is not None
earlier = importlib.util.module_from_spec(spec)
spec.loader.exec_module(earlier)

KINDS, UNKNOWN = earlier.KINDS, earlier.UNKNOWN
LOG_LEVEL = 0.0, 1.3  # mean and spread of the logarithm of the noise level in training
INSIDE = 4.0  # how much more than outside the loss weighs inside a box
UNTOLD = 0.1
VERSIONS, FRESH, BETWEEN = 3, 96, 25  # versions of a slice in the pool; renewed so often


class Denoiser(nn.Module):
    """Latents without their noise (N, 4, 32, 32), told its level (N,), kinds (N,) and a map of the
    box (N, 2, 32, 32): how much of a place lies in it, and 1 everywhere if a box was told.
    """

    def __init__(
        self, widths: tuple[int, int, int] = (64, 128, 192), told: int = 192, dropout: float = 0.05
    ) -> None:
        super().__init__()
        a, b, c = widths
        self.register_buffer(
            "waves", torch.linspace(math.log(0.5), math.log(16), 32).exp(), persistent=False
        )
        self.level = nn.Sequential(nn.Linear(64, told), nn.SiLU(), nn.Linear(told, told))
        self.kind = nn.Embedding(KINDS + 1, told)
        self.first = nn.Conv2d(CHANNELS + 2, a, 3, padding=1)
        self.place = nn.Parameter(torch.zeros(a, SIDE, SIDE))
        self.left1 = earlier.Block(a, a, told, 0.0)
        self.down1 = nn.Conv2d(a, b, 3, stride=2, padding=1)
        self.left2 = nn.ModuleList(earlier.Block(b, b, told, dropout) for _ in range(2))
        self.down2 = nn.Conv2d(b, c, 3, stride=2, padding=1)
        self.deep = nn.ModuleList(earlier.Block(c, c, told, dropout) for _ in range(3))
        self.attention = nn.ModuleList(earlier.Attention(c) for _ in range(3))
        self.up2 = nn.Conv2d(c, b, 1)
        self.right2 = nn.ModuleList(
            earlier.Block(channels, b, told, dropout) for channels in (2 * b, b)
        )
        self.up1 = nn.Conv2d(b, a, 1)
        self.right1 = nn.ModuleList(
            earlier.Block(channels, a, told, 0.0) for channels in (2 * a, a)
        )
        self.norm, self.last = earlier.Norm(a), nn.Conv2d(a, CHANNELS, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, noisy: Tensor, level: Tensor, kind: Tensor, box: Tensor) -> Tensor:
        turns = level.log()[:, None] / 4 * self.waves  # (N, 32)
        waves = torch.cat([turns.sin(), turns.cos()], dim=1)
        told = F.silu(self.level(waves) + self.kind(kind))  # (N, told)
        level = level[:, None, None, None]
        unit = (1 + level**2).rsqrt()
        inside = self.body(torch.cat([unit * noisy, box], dim=1), told).float()
        return unit**2 * noisy + level * unit * inside

    def body(self, x: Tensor, told: Tensor) -> Tensor:
        x = self.left1(self.first(x) + self.place, told)  # (N, a, 32, 32)
        y = self.down1(x)
        for block in self.left2:
            y = block(y, told)  # (N, b, 16, 16)
        z = self.down2(y)
        for block, attention in zip(self.deep, self.attention, strict=True):
            z = attention(block(z, told))  # (N, c, 8, 8)
        y = torch.cat([F.interpolate(self.up2(z), scale_factor=2.0), y], dim=1)
        for block in self.right2:
            y = block(y, told)
        x = torch.cat([F.interpolate(self.up1(y), scale_factor=2.0), x], dim=1)
        for block in self.right1:
            x = block(x, told)
        return self.last(F.silu(self.norm(x)))


def box_maps(boxes: Tensor, side: int = SIDE) -> Tensor:
    """Maps (N, 2, side, side) of boxes (N, 4), centre x, centre y, width and height as fractions."""
    edges = torch.arange(side + 1) / side

    def covered(centre: Tensor, size: Tensor) -> Tensor:  # (N, side): share of a place inside
        low, high = (centre - size / 2)[:, None], (centre + size / 2)[:, None]
        here = torch.minimum(high, edges[1:]) - torch.maximum(low, edges[:-1])
        return (here * side).clamp(0, 1)

    inside = (
        covered(boxes[:, 1], boxes[:, 3])[:, :, None] * covered(boxes[:, 0], boxes[:, 2])[:, None]
    )
    return torch.stack([inside, torch.ones_like(inside)], dim=1)


def boxes_of(masks: Tensor) -> Tensor:
    """Boxes (N, 4) round what of masks (N, 1, H, W) is above a half; zeros where nothing is."""
    rows = []
    for mask in masks[:, 0] > 0.5:
        there = mask.nonzero()
        if len(there) == 0:
            rows.append([0.0] * 4)
            continue
        (top, left), (bottom, right) = there.amin(0).tolist(), (there.amax(0) + 1).tolist()
        centre = (left + right) / 2, (top + bottom) / 2
        rows.append([v / masks.shape[-1] for v in (*centre, right - left, bottom - top)])
    return torch.tensor(rows)


class Pool:
    """Latents, kinds and box maps of all slices, several moved versions of each, renewed slowly."""

    def __init__(self, encoder: first.Encoder, x: Tensor, kinds: Tensor, boxes: Tensor) -> None:
        self.encoder, self.x, self.boxes, self.kinds = encoder, x, boxes, kinds.repeat(VERSIONS)
        parts = [self.encode(rows) for rows in torch.arange(len(self.kinds)).split(64)]
        self.latents, self.maps = (torch.cat(part) for part in zip(*parts, strict=True))

    @torch.no_grad()
    def encode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        k = rows % len(self.x)
        slices, masks = base.moved(self.x[k], self.boxes[k], self.kinds[rows])
        with mixed(torch.device("cpu")):
            latents = self.encoder(slices.contiguous(memory_format=torch.channels_last))
        return latents.float(), box_maps(boxes_of(masks))

    def renew(self) -> None:
        rows = torch.randint(len(self.kinds), (FRESH,))
        self.latents[rows], self.maps[rows] = self.encode(rows)


def loss_of(net: Denoiser, latents: Tensor, kind: Tensor, box: Tensor, inside: Tensor) -> Tensor:
    """EDM's loss, weighted ``1 + INSIDE`` within the box."""
    n = len(latents)
    spread = (torch.arange(n) + torch.rand(n)) / n  # levels spread evenly over the batch
    level = (LOG_LEVEL[0] + LOG_LEVEL[1] * torch.special.ndtri(spread)).exp()
    noisy = latents + level[:, None, None, None] * torch.randn_like(latents)
    with mixed(torch.device("cpu")):
        error = (net(noisy, level, kind, box) - latents).square()
    weight = 1 + INSIDE * inside
    error = (error * weight).mean(dim=(1, 2, 3)) / weight.mean(dim=(1, 2, 3))
    return (error * (1 + level**-2)).mean()


@torch.inference_mode()
def solve(net: Denoiser, noise: Tensor, kind: Tensor, box: Tensor, steps: int = 18) -> Tensor:
    """Latents from standard normal ``noise``, as in model 102, told a kind and a box."""
    way = earlier.levels(steps)
    x, before, stride = way[0] * noise, None, 0.0
    for level, lower in pairwise(way):
        now = net(x, torch.full((len(x),), level), kind, box)
        last, stride = stride, math.log(level / lower)
        halfway = now if before is None else now + (now - before) * (stride / (2 * last))
        x, before = lower / level * x + (1 - lower / level) * halfway, now
    return net(x, torch.full((len(x),), way[-1]), kind, box)


@torch.inference_mode()
def show(net: Denoiser, decoder: first.Decoder, pool: Pool, path: Path) -> None:
    """A row of real slices of each kind, and below it samples of the same kinds and boxes."""
    of_kind = [(pool.kinds[: len(pool.x)] == k).nonzero()[:, 0] for k in range(KINDS)]
    rows = torch.stack([some[len(some) * k // 3] for k in (0, 1) for some in of_kind if len(some)])
    box, kind = pool.maps[rows], pool.kinds[rows]
    noise = torch.randn(len(rows), CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    drawn, columns = solve(net, noise, kind, box), len(rows) // 2
    real, made = (decoder(z, first.draw_noise(len(z), seed=0)) for z in (pool.latents[rows], drawn))
    for part in (real, made):  # the outline of the box
        outline = F.interpolate(box[:, :1], scale_factor=4.0)
        edge = F.max_pool2d(outline, 3, 1, 1) - outline
        part.copy_(torch.where(edge > 0.3, torch.ones_like(part), part))
    pairs = zip(real.split(columns), made.split(columns), strict=True)
    base.sheet(torch.cat([part for pair in pairs for part in pair]), path, columns)


def train(a: argparse.Namespace, pool: Pool, decoder: first.Decoder) -> None:
    torch.manual_seed(a.seed + 1)
    net = Denoiser()
    if a.init:
        net.load_state_dict(torch.load(a.init, weights_only=True)["average"])
    net.to(memory_format=torch.channels_last)
    average = Average(net, 0.9995)
    optimiser = torch.optim.Adam(net.parameters(), lr=a.rate, betas=(0.9, 0.99))
    run = Run(a.out / "diffusion.pt", a.seed + 1, net=net, average=average.net, optimiser=optimiser)
    while run.step < a.steps:
        pace = warm_up(run.step, 200) * (cosine(run.step, a.steps) + 0.002)
        optimiser.param_groups[0]["lr"] = a.rate * pace
        rows = torch.randint(len(pool.kinds), (a.batch,))
        kind = torch.where(torch.rand(a.batch) < UNTOLD, UNKNOWN, pool.kinds[rows])
        maps = pool.maps[rows]
        told = (torch.rand(a.batch, 1, 1, 1) > UNTOLD).float()
        loss = loss_of(net, pool.latents[rows], kind, maps * told, maps[:, :1])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        run.advance(loss)
        average.update(net, run.step)
        if run.step % BETWEEN == 0:
            pool.renew()
        if run.due(a.every, a.steps):
            run.save("loss")
        if run.due(5 * a.every, a.steps):
            show(average.net, decoder, pool, a.out / "diffusion.png")


def main() -> None:
    parser = training.parser_of(
        __doc__,
        data="zip or folder with a folder per tumour and boxes.csv",
        out="folder for the checkpoint and the sheet",
        seed=102,
        every=100,
        threads=1,
        device=False,
    )
    parser.add_argument(
        "--eye", type=Path, help="the autoencoder's eye.safetensors, if it is not in --out"
    )
    parser.add_argument("--init", type=Path, help="diffusion.pt of an earlier run")
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=6e-4)
    a = training.arguments_of(parser)
    torch.manual_seed(a.seed)
    encoder, decoder = first.read_networks(a.eye or a.out / "eye.safetensors")
    x, kinds, boxes = base.read_slices(a.data)
    training.print_settings(a, slices=len(x))
    pool = Pool(encoder, x, kinds, boxes)
    told = (pool.maps[:, 0].amax(dim=(1, 2)) > 0).float().mean()
    print(f"latents {pool.latents.std():.3f}, with a box {np.round(told.item(), 3)}", flush=True)
    train(a, pool, decoder)


if __name__ == "__main__":
    main()
