"""Train model 101 on contrast-enhanced T1 MRI slices of brain tumours.

    python train.py --data brain_t1ce_cheng_256.zip --first-stage
    ../00103_VAE_MRI_BRAIN_TUMOURS/weights.safetensors --out runs/gan

The data set is a zip or a folder of gray pictures ``meningioma/1.jpg`` and so on, and ``boxes.csv``
(file, class and the tumour's box). The first stage is an autoencoder of slices with the tensors
``encoder.*`` and ``decoder.*``, which stays as it is: that in the weights of model 103, or what
``train.py --stage eye`` there makes of other data. Training is seeded, writes a checkpoint and a
sheet of samples every few minutes, and continues from the last checkpoint when started again.
"""

from __future__ import annotations

import argparse
import math
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
    FULL,
    Average,
    MapCritic,
    Run,
    cosine,
    disguised,
    fade,
    frozen,
    halves,
    load_part,
    mean_of_kinds,
    mixed,
    plane_of,
    preferred,
    read_slices,
    slope,
    state_in,
    training_part,
    warm_up,
)

__all__ = ["plane_of", "training_part"]


# -------------------------------------------------------------------------------------------------
# the data
def as_tones(x: Tensor) -> Tensor:
    """Gray levels (N, 1, 256, 256) as tones (N, 1, 128, 128)."""
    return m.to_tones(F.avg_pool2d(x.float(), FULL // m.SIZE))


def moved(x: Tensor, boxes: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
    """Tones and boxes (N, 1, 128, 128) of slices moved as in ``training.moved_gray``."""
    both = training.moved_gray(torch.cat([x, boxes], dim=1), kinds)
    return as_tones(both[:, :1]), F.avg_pool2d(both[:, 1:], FULL // m.SIZE)


def sheet(images: Tensor, path: Path, columns: int = 12) -> None:
    """Write (N, 1, H, W), tones, as one PNG."""
    training.sheet(m.to_gray(images.float()), path, columns)


# ------------------------------------------------------------------------------------------------
# the first stage
class Encoder(nn.Module):
    """Latents (N, 8, 16, 16), each channel of unit variance over the data set, of tones (N, 1, 128,
    128).
    """

    def __init__(self, widths: tuple[int, int] = (64, 96)) -> None:
        super().__init__()
        a, b = widths
        self.body = nn.Sequential(
            *(
                nn.PixelUnshuffle(4),
                nn.Conv2d(16, a, 3, padding=1),
                m.Residual(a),
            ),  # (N, a, 32, 32)
            *(
                nn.Conv2d(a, b, 4, stride=2, padding=1),
                m.Residual(b),
                m.Residual(b),
                nn.LeakyReLU(0.2),
            ),  # (N, b, 16, 16)
        )
        self.last = nn.Conv2d(b, m.MAPS, 3, padding=1)
        self.unit = nn.BatchNorm2d(m.MAPS, affine=False, momentum=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.unit(self.last(self.body(x)).float())


def read_first_stage(path: Path, device: torch.device) -> tuple[Encoder, m.EyeDecoder]:
    """Encoder and decoder of the first stage, unchanged."""
    tensors = load_file(path)
    encoder = load_part(Encoder(), tensors, "encoder")
    decoder = load_part(m.EyeDecoder(), tensors, "decoder")
    return frozen(encoder, device), frozen(decoder, device)


@torch.no_grad()
def seen_slices(
    a: argparse.Namespace, encoder: Encoder, x: Tensor, kinds: Tensor, boxes: Tensor
) -> Tensor:
    """The encoder's maps of slices moved again each time, and how near the tumour's box is: (copies *
    N, 9, 16, 16).

    Made once and kept in ``maps.pt``, half precision.
    """
    path, device = a.out / "maps.pt", torch.device(a.device)
    if path.exists():
        return torch.load(path, weights_only=True)
    torch.manual_seed(a.seed)
    maps = []
    for i in torch.arange(len(x)).repeat(a.copies).split(64):
        real, box = moved(x[i].to(device), boxes[i].to(device), kinds[i])
        near = 2 * F.avg_pool2d(F.avg_pool2d(box, m.SIZE // m.SIDE), 3, 1, 1)
        with mixed(device):
            latents = encoder(real).float()
        maps.append(torch.cat([latents, near], dim=1).half().cpu())
    made = torch.cat(maps)
    training.save(path, made)
    return made


# ----------------------------------------------------------------------------------------------------------
# the GAN
def draw_noise(
    n: int, device: torch.device, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """A code and grain for each of ``n`` samples."""
    z = torch.randn(n, m.CODE, generator=generator)
    grain = (torch.rand(n, m.GRAINS, m.SIDE, m.SIDE, generator=generator) * 2 - 1) * math.sqrt(3)
    return z.to(device), grain.to(device)


@torch.no_grad()
def start_linear(net: m.Generator, maps: Tensor, kinds: Tensor) -> Tensor:
    """Let the generator begin as the principal components of each plane's maps around the mean of
    their kind.

    Returns the leading 64 numbers of each map's code (M, 64).
    """
    flat = maps.float().flatten(1)
    means = mean_of_kinds(flat, kinds, m.KINDS)
    net.mean.weight.copy_(means)
    nn.init.zeros_(net.components.weight)
    codes = torch.zeros(len(flat), m.LATENT)
    for plane in range(len(m.PLANES)):
        rows = kinds % len(m.PLANES) == plane
        if rows.sum() >= m.CODE + 16:
            around = flat[rows] - means[kinds[rows]]
            _, spread, directions = torch.svd_lowrank(around, m.CODE + 16, niter=2)
            ways = (directions * spread / math.sqrt(len(around)))[:, : m.CODE]
            net.components.weight[:, plane * m.CODE : (plane + 1) * m.CODE] = ways
            codes[rows] = around @ (ways / ways.square().sum(dim=0).clamp(min=1e-6))[:, : m.LATENT]
    return codes


def start_mapping(mapping: m.Mapping, codes: Tensor, kinds: Tensor, steps: int) -> None:
    """Let the mapping begin as a normalising flow to the codes of real slices, by maximum
    likelihood.
    """
    optimiser = torch.optim.AdamW(mapping.parameters(), lr=2e-3, weight_decay=0.05)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 2e-3 * cosine(step, steps)
        i = torch.randint(len(codes), (256,))
        u, log_det = mapping.inverse(codes[i] + 0.2 * torch.randn(256, m.LATENT), kinds[i])
        loss = (0.5 * u.square().sum(dim=1) - log_det).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(mapping.parameters(), 10.0)
        optimiser.step()
        if step % 250 == 0 or step == steps - 1:
            print(f"mapping {step} surprise {loss.item():.2f}", flush=True)


def train_gan(a: argparse.Namespace, x: Tensor, kinds: Tensor, boxes: Tensor) -> None:
    torch.manual_seed(a.seed)
    device, n, lazy = torch.device(a.device), 16, 4
    encoder, decoder = read_first_stage(a.first_stage, device)
    maps, kinds = seen_slices(a, encoder, x, kinds, boxes), kinds.repeat(a.copies)
    net = m.Generator()
    if not (a.out / "gan.pt").exists():
        start_mapping(net.mapping, start_linear(net, maps, kinds), kinds, a.mapping_steps)
    net.to(device, memory_format=torch.channels_last)
    critic = MapCritic(m.MAPS + 1, m.KINDS, m.Residual).to(
        device, memory_format=torch.channels_last
    )
    average = Average(net, 0.998)
    linear = [*net.mean.parameters(), *net.components.parameters()]
    others = [
        w
        for name, w in net.named_parameters()
        if not name.startswith(("mean.", "components.", "mapping."))
    ]
    parts = {1.0: others, 0.1: [*linear, *net.mapping.parameters()]}
    make = torch.optim.Adam(
        [{"params": weights, "part": part} for part, weights in parts.items()], betas=(0.0, 0.99)
    )
    judge = torch.optim.Adam(
        [{"params": list(critic.parameters()), "part": 1.75}], betas=(0.0, 0.99)
    )
    run = Run(
        a.out / "gan.pt",
        a.seed,
        net=net,
        critic=critic,
        average=average.net,
        make=make,
        judge=judge,
    )
    while run.step < a.steps:
        pace = min(warm_up(run.step, 100), fade(run.step, a.steps, 3, 0.02))
        for optimiser in (make, judge):
            for group in optimiser.param_groups:
                group["lr"] = a.rate * group["part"] * pace
        i = torch.randint(len(kinds), (n,))
        real, kind = maps[i].to(device).float(), kinds[i].to(device)
        z, grain = draw_noise(n, device)
        with mixed(device):
            made = net(z, kind, grain).float()
            one, two = disguised(real), disguised(made.detach())
            regions, whole = critic(torch.cat([one, two]), kind.repeat(2))
        loss_critic = loss = preferred((regions[:n], whole[:n]), (regions[n:], whole[n:]))
        if run.step % lazy == 0:
            steep = slope(
                critic, torch.cat([one[: n // 2], two[: n // 2]]), kind[: n // 2].repeat(2)
            )
            loss = loss + a.steady * lazy * steep
        judge.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(critic.parameters(), 10.0)
        judge.step()
        critic.requires_grad_(False)
        with mixed(device):
            votes = critic(disguised(made), kind)
        critic.requires_grad_(True)
        loss = preferred(votes, (regions[:n].detach(), whole[:n].detach()))
        make.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        make.step()
        # The last says whether latents of one kind give as many pictures as there are real ones.
        varied = made.std(dim=0).mean() / real.std(dim=0).mean()
        run.advance(loss_critic, loss, made.std() / real.std(), varied)
        average.update(net, run.step)
        if run.due(a.every, a.steps):
            run.save("critic, votes, spread, variety")
            with torch.inference_mode():
                fixed_noise = torch.Generator().manual_seed(0)
                kind = torch.arange(a.shown, device=device) % 12 % m.KINDS
                z, grain = draw_noise(a.shown, device, fixed_noise)
                drawn = decoder(average.net(z, kind, grain)[:, : m.MAPS])
            sheet(drawn, a.out / "gan.png")


# ------------------------------------------------------------------------------------------------------
# the package
def root(matrix: Tensor, power: float) -> Tensor:
    """A power of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=1e-6) ** power) @ vectors.T


def covariance(x: Tensor) -> Tensor:
    """Of the columns of ``x``, drawn a little towards no correlation, since there are few slices of
    some kinds.
    """
    found = torch.cov(x.T)
    return 0.9 * found + 0.1 * found.diag().diag()


@torch.no_grad()
def measure_spread(net: m.Generator, maps: Tensor, kinds: Tensor, n: int) -> None:
    """Give the coordinates of each kind the mean, the spread and, for the leading ones, the
    covariance of real slices.

    Measured on ``n`` samples of a kind. ``turn`` moves them no farther than it must: it is the
    optimal transport between two normal distributions (Olkin & Pukelsheim, Linear Algebra and its
    Applications 48:257, 1982).
    """
    fixed = torch.Generator().manual_seed(0)
    for k in range(m.KINDS):
        real = maps[kinds == k].float()
        if len(real) > 1:
            kind = torch.full((n,), k)
            z, grain = draw_noise(n, torch.device("cpu"), fixed)
            found = torch.cat(
                [
                    net.coordinates(net(*part), part[1])
                    for part in zip(z.split(64), kind.split(64), grain.split(64), strict=True)
                ]
            )
            wanted = net.coordinates(real, torch.full((len(real),), k))
            half, back = (root(covariance(found[:, : m.LATENT]), power) for power in (0.5, -0.5))
            net.turn[k] = back @ root(half @ covariance(wanted[:, : m.LATENT]) @ half, 0.5) @ back
            net.scale[k] = (wanted.std(dim=0) / found.std(dim=0))[m.LATENT :].clamp(0.7, 1.5)
            mean = torch.cat(
                [
                    net.turn[k] @ found[:, : m.LATENT].mean(dim=0),
                    found[:, m.LATENT :].mean(dim=0) * net.scale[k],
                ]
            )
            net.shift[k] = wanted.mean(dim=0) - mean


def write_weights(a: argparse.Namespace, x: Tensor, kinds: Tensor, boxes: Tensor) -> None:
    """One file for ``model.load``: the averaged generator, the first stage's decoder and how often
    each kind is, half precision.
    """
    net = m.Generator().eval()
    net.load_state_dict(state_in(a.out / "gan.pt"))
    encoder, decoder = read_first_stage(a.first_stage, torch.device(a.device))
    maps = seen_slices(a, encoder, x, kinds, boxes)
    measure_spread(net, maps, kinds.repeat(a.copies), a.fitted)
    tensors = {"share": torch.bincount(kinds, minlength=m.KINDS) / len(kinds)}
    for name, part in (("generator", net), ("decoder", decoder)):
        tensors |= {f"{name}.{k}": v for k, v in part.state_dict().items()}
    training.write_weights(halves(tensors), a.out / "weights.safetensors")


def main() -> None:
    parser = training.parser_of(
        __doc__, data="zip or folder with a folder per tumour and boxes.csv", seed=101, every=200
    )
    parser.add_argument(
        "--first-stage", type=Path, required=True, help="weights.safetensors of model 103"
    )
    parser.add_argument("--stage", choices=["gan", "weights", "all"], default="all")
    parser.add_argument("--steps", type=int, default=8_000, help="steps of 16 maps of 16x16")
    parser.add_argument(
        "--mapping-steps", type=int, default=1_500, help="steps of 256 codes, before the GAN"
    )
    parser.add_argument(
        "--copies", type=int, default=4, help="times that each slice is moved and kept"
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=4e-4,
        help="learning rate of the generator; the critic's is higher, or the generator runs away from it",
    )
    parser.add_argument(
        "--steady", type=float, default=0.3, help="weight of the penalty on the critic's slope"
    )
    parser.add_argument("--shown", type=int, default=72, help="samples on a sheet, twelve per row")
    parser.add_argument(
        "--fitted", type=int, default=512, help="samples per kind that their spread is measured on"
    )
    a = training.arguments_of(parser)
    x, kinds, boxes = read_slices(a.data)
    counts = torch.bincount(kinds, minlength=m.KINDS).tolist()
    training.print_settings(a, slices=len(x), **{"of each kind": counts})
    if a.stage in ("gan", "all"):
        train_gan(a, x, kinds, boxes)
    if a.stage in ("weights", "all"):
        write_weights(a, x, kinds, boxes)


if __name__ == "__main__":
    main()
