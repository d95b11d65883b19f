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
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))
import autoencoder as first
import training
from autoencoder import CHANNELS, SIDE, base
from package import KINDS, UNKNOWN, Block, Denoiser, box_maps, solve
from training import Average, Run, cosine, mixed, warm_up

LOG_LEVEL = 0.0, 1.3  # mean and spread of the logarithm of the noise level in training
INSIDE = 4.0  # how much more than outside the loss weighs inside a box
UNTOLD = 0.1
VERSIONS, FRESH, BETWEEN = 3, 96, 25  # versions of a slice in the pool; renewed so often


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
def show(net: Denoiser, decoder: first.Decoder, pool: Pool, path: Path) -> None:
    """A row of real slices of each kind, and below it samples of the same kinds and boxes."""
    of_kind = [(pool.kinds[: len(pool.x)] == k).nonzero()[:, 0] for k in range(KINDS)]
    rows = torch.stack([some[len(some) * k // 3] for k in (0, 1) for some in of_kind if len(some)])
    box, kind = pool.maps[rows], pool.kinds[rows]
    noise = torch.randn(len(rows), CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    drawn, columns = solve(net, noise, kind, box, steps=18), len(rows) // 2
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
    if a.compile:  # block by block: as a whole, torch 2.13 makes NaN of it in bfloat16
        for block in net.modules():
            if isinstance(block, Block):
                block.compile()
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
    parser.add_argument(
        "--compile", action="store_true", help="by torch.compile: 0.29 s a step instead of 0.52"
    )
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
