"""Train model 102 on contrast-enhanced T1 MRI slices of brain tumours.

    python train.py --data brain_t1ce_cheng_256.zip --first-stage eye.safetensors --out runs/brain     # then weights.safetensors

The data set is a zip or a folder of gray pictures, ``meningioma/1.jpg`` and so on. The first stage
is the autoencoder that model 103's ``train.py --stage eye`` trains, safetensors with ``encoder.*``
and ``decoder.*``; model 103's own weights hold it too. Training is seeded, writes a checkpoint and
a sheet of samples every few minutes, and continues from the last checkpoint when started again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import model as m  # the package's own, beside this script
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parent.parent))  # training.py; a copy has it beside
import training
from training import (
    Average,
    Run,
    cosine,
    floats,
    frozen,
    halves,
    load_part,
    mixed,
    plane_of,
    state_in,
    training_part,
    warm_up,
)

__all__ = ["plane_of", "training_part"]

LOG_LEVEL = 0.3, 1.2  # mean and spread of the logarithm of the noise level in training
UNTOLD = 0.1  # part of the slices that are given without their kind, for guidance
# Each slice is encoded in so many moved versions; so many are renewed after so many steps.
VERSIONS, FRESH, BETWEEN = 4, 128, 25


# -------------------------------------------------------------------------------------------------
# the data
def read_slices(data: Path) -> tuple[Tensor, Tensor]:
    """Training slices (N, 1, 256, 256), uint8, and their kinds (N,)."""
    return training.read_slices(data, boxed=False)[:2]


def moved(x: Tensor, kinds: Tensor) -> Tensor:
    """Slices (N, 1, 256, 256) moved as in ``training.moved_gray``, as tones (N, 1, 128, 128)."""
    return m.to_tones(F.avg_pool2d(training.moved_gray(x, kinds), 2))


def sheet(images: Tensor, path: Path, columns: int) -> None:
    """Write (N, 1, H, W), tones, as one PNG."""
    training.sheet(m.to_gray(images.float()), path, columns)


# -------------------------------------------------------------------------------------------------
# the first stage
class Encoder(nn.Module):
    """Latents (N, 8, 16, 16), each channel of unit variance over the data, of tones (N, 1, 128,
    128).
    """

    def __init__(self, widths: tuple[int, int] = (64, 96)) -> None:
        super().__init__()
        a, b = widths
        self.body = nn.Sequential(
            *(nn.PixelUnshuffle(4), nn.Conv2d(16, a, 3, padding=1), m.Smooth(a)),  # (N, a, 32, 32)
            *(
                nn.Conv2d(a, b, 4, stride=2, padding=1),
                m.Smooth(b),
                m.Smooth(b),
                nn.LeakyReLU(0.2),
            ),  # (N, b, 16, 16)
        )
        self.last = nn.Conv2d(b, m.CHANNELS, 3, padding=1)
        self.unit = nn.BatchNorm2d(m.CHANNELS, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.unit(self.last(self.body(x)).float())


def read_first_stage(path: Path, device: torch.device) -> tuple[Encoder, m.Decoder]:
    """The autoencoder whose latents are to be modelled."""
    tensors = load_file(path)
    encoder = load_part(Encoder(), tensors, "encoder")
    decoder = load_part(m.Decoder(), tensors, "decoder")
    return frozen(encoder, device), frozen(decoder, device)


class Pool:
    """Latents of all slices, each in several moved versions that are renewed little by little.

    Encoding each batch afresh would cost as much as learning from it.
    """

    def __init__(self, encoder: Encoder, x: Tensor, kinds: Tensor) -> None:
        self.encoder, self.x, self.kinds = encoder, x, kinds.repeat(VERSIONS)
        self.latents = torch.cat(
            [self.encode(rows) for rows in torch.arange(len(self.kinds)).split(64)]
        )

    @torch.no_grad()
    def encode(self, rows: Tensor) -> Tensor:
        """Latents of newly moved versions of these rows of the pool."""
        x = moved(self.x[rows % len(self.x)], self.kinds[rows]).contiguous(
            memory_format=torch.channels_last
        )
        with mixed(x.device):
            return self.encoder(x)

    def renew(self) -> None:
        rows = torch.randint(len(self.kinds), (FRESH,))
        self.latents[rows] = self.encode(rows)


# -------------------------------------------------------------------------------------------------
# training
def loss_of(net: m.Denoiser, latents: Tensor, kind: Tensor) -> Tensor:
    """EDM's loss: the squared error of the denoiser, weighted so that every noise level counts
    alike (its table 1).
    """
    n = len(latents)
    spread = (torch.arange(n) + torch.rand(n)) / n  # levels spread evenly over the batch
    level = (LOG_LEVEL[0] + LOG_LEVEL[1] * torch.special.ndtri(spread)).exp().to(latents.device)
    noisy = latents + level[:, None, None, None] * torch.randn_like(latents)
    with mixed(latents.device):
        error = (net(noisy, level, kind) - latents).square().mean(dim=(1, 2, 3))
    return (error * (1 + level**-2)).mean()


def train(a: argparse.Namespace, pool: Pool, decoder: m.Decoder) -> None:
    torch.manual_seed(a.seed)
    device = torch.device(a.device)
    net = m.Denoiser().to(device, memory_format=torch.channels_last)
    average = Average(net, 0.9995)
    optimiser = torch.optim.Adam(net.parameters(), lr=a.rate, betas=(0.9, 0.99))
    parts = {"net": net, "average": average.net, "optimiser": optimiser}
    run = Run(a.out / "denoiser.pt", a.seed, label="step", **parts)
    while run.step < a.steps:
        rate = warm_up(run.step, 200) * cosine(run.step, a.steps) + 0.002
        optimiser.param_groups[0]["lr"] = a.rate * rate
        rows = torch.randint(len(pool.kinds), (a.batch,))
        kind = torch.where(torch.rand(a.batch) < UNTOLD, m.UNKNOWN, pool.kinds[rows])
        loss = loss_of(net, pool.latents[rows.to(device)], kind.to(device))
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
            draw(average.net, decoder, a.out / "samples.png", a.shown)


@torch.no_grad()
def draw(net: m.Denoiser, decoder: m.Decoder, path: Path, shown: int) -> None:
    """One column per kind, and a last one for samples without a kind; the same noise each time."""
    kind = torch.arange(m.KINDS + 1).repeat(shown)
    noise = torch.randn(
        len(kind), m.CHANNELS, m.SIDE, m.SIDE, generator=torch.Generator().manual_seed(0)
    )
    device = next(net.parameters()).device
    sheet(
        decoder(m.solve(net, noise.to(device), kind.to(device), steps=12, guidance=1.0)),
        path,
        columns=m.KINDS + 1,
    )


def write_weights(a: argparse.Namespace, pool: Pool, decoder: m.Decoder) -> None:
    """One file for ``model.load``: averaged denoiser, decoder, components and shares, half
    precision.
    """
    denoiser = state_in(a.out / "denoiser.pt")
    flat = pool.latents.flatten(1).cpu()
    directions = torch.svd_lowrank(flat - flat.mean(dim=0), m.LATENT + 16, niter=8)[2][
        :, : m.LATENT
    ].T
    tensors = halves(floats(denoiser, "denoiser") | floats(decoder.state_dict(), "decoder"))
    tensors |= {
        "components": directions,
        "share": torch.bincount(pool.kinds, minlength=m.KINDS) / len(pool.kinds),
    }
    training.write_weights(tensors, a.out / "weights.safetensors")


@torch.no_grad()
def write_planes(a: argparse.Namespace, x: Tensor, kinds: Tensor) -> None:
    """For each tumour a row of samples over a row of real slices: four axial, four coronal, four
    sagittal.
    """
    generator = m.load(a.out, "cpu")
    rows = []
    for tumour in range(len(m.TUMOURS)):
        kind = tumour * len(m.PLANES) + torch.arange(len(m.PLANES)).repeat_interleave(4)
        noise = torch.randn(
            len(kind),
            m.CHANNELS,
            m.SIDE,
            m.SIDE,
            generator=torch.Generator().manual_seed(a.seed + tumour),
        )
        drawn = generator.decoder(m.solve(generator.denoiser, noise, kind, steps=12, guidance=1.0))
        real = torch.zeros_like(drawn)
        for column, one in enumerate(kind.tolist()):
            there = (kinds == one).nonzero()[:, 0]
            if len(there):
                real[column] = m.to_tones(
                    F.avg_pool2d(x[there[len(there) * (2 * (column % 4) + 1) // 8]].float(), 2)
                )
        rows += [drawn, real]
    sheet(torch.cat(rows), a.out / "planes.png", columns=12)


def main() -> None:
    parser = training.parser_of(
        __doc__, data="zip or folder with a folder of pictures per tumour", seed=102, every=500
    )
    parser.add_argument(
        "--first-stage", type=Path, required=True, help="the autoencoder of model 103's training"
    )
    parser.add_argument("--steps", type=int, default=6_500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=8e-4, help="learning rate at its highest")
    parser.add_argument("--shown", type=int, default=4, help="samples of each kind on samples.png")
    a = training.arguments_of(parser)
    torch.manual_seed(a.seed)
    x, kinds = read_slices(a.data)
    counts = torch.bincount(kinds, minlength=m.KINDS).tolist()
    training.print_settings(a, slices=len(x), **{"of each kind": counts})
    device = torch.device(a.device)
    encoder, decoder = read_first_stage(a.first_stage, device)
    pool = Pool(encoder, x.to(device), kinds)
    train(a, pool, decoder)
    write_weights(a, pool, decoder)
    write_planes(a, x, kinds)


if __name__ == "__main__":
    main()
