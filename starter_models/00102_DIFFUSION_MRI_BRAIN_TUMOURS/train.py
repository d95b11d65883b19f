"""Train model 102 on contrast-enhanced T1 MRI slices of brain tumours, and write its weights.

    python train.py --data brain_t1ce_cheng_256.zip --out runs/brain

The data set is a zip or a folder of gray pictures, ``meningioma/1.jpg`` and so on, with
``boxes.csv``. There are three stages; without ``--stage`` one follows the other:

1. ``eye``: an autoencoder with latents (4, 32, 32). Its loss holds four things at once: pixels (in
   bands of a Laplacian pyramid, twice as much inside the tumour's box), texture (a patch critic,
   and the strength of the two finest bands), the tails of texture (log kurtosis of three bands of
   gray levels), and latents that stay readable when they are halved in size, since a diffusion
   model has to make them from coarse to fine.
2. ``denoiser``: the diffusion in these latents. Type, plane and the tumour's box are told to it. The
   box enters as a map beside the latents, and the loss weighs more inside it, since a tumour is a
   few per cent of a slice. One time in ten type and plane are not told, and one time in ten the
   box.
3. ``weights``: both averaged networks, and what the package needs of the training slices: how often
   each plane occurs, the boxes of the tumours, and the leading principal components of the latents.

Training is seeded, writes a checkpoint and a sheet every few minutes, and continues from the last
checkpoint when it is started again. ``--init`` starts from the weights of an earlier run instead.
Other latents need a new denoiser: train the decoder alone, with ``--freeze``, to improve it later.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import model as m  # the package's own, beside this script
import torch
from model import CHANNELS, KINDS, SIDE, UNKNOWN, Block, Decoder, Denoiser, Smooth, box_maps, solve
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parent.parent))  # training.py; a copy has it beside
import training
from training import (
    FULL,
    Average,
    Run,
    SliceCritic,
    band_difference,
    boxes_of,
    cosine,
    detail,
    fade,
    floats,
    frozen,
    halves,
    hinge,
    load_part,
    mixed,
    plane_of,
    read_slices,
    state_in,
    training_part,
    warm_up,
)

__all__ = ["plane_of", "training_part"]

NOISY = 0.15  # strongest noise on the latents in training: the denoiser errs by as much
LOG_LEVEL = 0.0, 1.3  # mean and spread of the logarithm of the noise level in training
INSIDE = 4.0  # how much more than outside the loss weighs inside a box
UNTOLD = 0.1  # part of the slices that are given without their kind, and without their box
# Each slice is encoded in so many moved versions; so many are renewed after so many steps.
VERSIONS, FRESH, BETWEEN = 3, 96, 25
CPU = torch.device("cpu")


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


# -------------------------------------------------------------------------------------------------
# stage 1: encoder and decoder, which the names of options and files call the eye
class Encoder(nn.Module):
    """Latents (N, 4, 32, 32) of tones (N, 1, 128, 128)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(16, width, 3, padding=1),
            *(Smooth(width) for _ in range(3)),
            nn.LeakyReLU(0.2),
        )
        self.last = nn.Conv2d(width, CHANNELS, 3, padding=1)
        self.unit = nn.BatchNorm2d(CHANNELS, affine=False, momentum=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.unit(self.last(self.body(x)).float())


def draw_noise(n: int, side: int = SIDE, seed: int | None = None) -> tuple[Tensor, Tensor]:
    """The decoder's noise for latents of ``side``: uniform, of unit variance."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    first, second = training.uniform_noise(n, (2 * side, 4 * side), CPU, generator)
    return first, second


def gray(x: Tensor) -> Tensor:
    """Tones as gray levels in [-1, 1], as the judge sees them."""
    return m.to_gray(x) / 127.5 - 1


def bands(x: Tensor, count: int = 3) -> list[Tensor]:
    """The finest bands of a Laplacian pyramid of (N, 1, H, W), one row per picture."""
    rows = []
    for _ in range(count):
        rows.append(detail(x).flatten(1))
        x = F.avg_pool2d(x, 2)
    return rows


def texture(x: Tensor) -> tuple[Tensor, Tensor]:
    """Log standard deviation (N, 2) and log kurtosis (N, 3) of the finest bands of gray levels."""
    rows = bands(x)
    strength = torch.stack([(row.std(dim=1) + 1e-3).log() for row in rows[:2]], dim=1)
    centred = [row - row.mean(dim=1, keepdim=True) for row in rows]
    kurtosis = [
        (c.pow(4).mean(1) / (c.square().mean(1).square() + 1e-10) + 1e-4).log() for c in centred
    ]
    return strength, torch.stack(kurtosis, dim=1)


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint, ``encoder.*`` and ``decoder.*``."""
    parts = {"encoder": "enc_avg", "decoder": "dec_avg"}
    states = {part: training.state_in(path, key) for part, key in parts.items()}
    return floats(states["encoder"], "encoder") | floats(states["decoder"], "decoder")


def read_eye(path: Path) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``eye.safetensors``."""
    tensors = load_file(path)
    encoder = load_part(Encoder(), tensors, "encoder")
    decoder = load_part(Decoder(), tensors, "decoder")
    return frozen(encoder, CPU), frozen(decoder, CPU)


def train_eye(a: argparse.Namespace, x: Tensor, kinds: Tensor, boxes: Tensor) -> None:
    torch.manual_seed(a.seed)
    n = a.eye_batch
    encoder, decoder, critic = Encoder(), Decoder(), SliceCritic((32, 64, 96))
    if a.eye:
        for net, trained in zip((encoder, decoder), read_eye(a.eye), strict=True):
            net.load_state_dict(trained.state_dict())
    for net in (encoder, decoder, critic):
        net.to(memory_format=torch.channels_last)
    averages = Average(encoder, 0.998), Average(decoder, 0.998)
    weights = [*encoder.parameters(), *decoder.parameters()]
    make = torch.optim.Adam(weights, lr=a.eye_rate, betas=(0.5, 0.99))
    judge = torch.optim.Adam(critic.parameters(), lr=4e-4, betas=(0.5, 0.99))
    parts = {"enc": encoder, "dec": decoder, "critic": critic, "make": make, "judge": judge}
    run = Run(a.out / "eye.pt", a.seed, **parts, enc_avg=averages[0].net, dec_avg=averages[1].net)
    if a.freeze:
        encoder.load_state_dict(averages[0].net.state_dict())
        encoder.requires_grad_(False).eval()
    while run.step < a.eye_steps:
        pace = fade(run.step, a.eye_steps, 3, 0.03)
        strength = min(1.0, max(0.0, (run.step - a.critic_from) / 300))
        slow = 1.0 if run.step < a.critic_from else 0.5
        make.param_groups[0]["lr"] = a.eye_rate * warm_up(run.step, 100) * pace * slow
        judge.param_groups[0]["lr"] = 4e-4 * pace
        i = torch.randint(len(x), (n,))
        real, box = moved(x[i], boxes[i], kinds[i])
        real = real.contiguous(memory_format=torch.channels_last)
        with mixed(CPU):
            z = encoder(real)
            noisy = z + NOISY * torch.rand(n, 1, 1, 1) * torch.randn_like(z)
            made = decoder(noisy, draw_noise(n)).float()
        pixels = 4 * band_difference(made, real) + 2 * ((made - real).abs() * box).mean()
        loss = pixels
        if run.step % 4 == 0:  # latents of half the size are those of a picture of half the size
            with mixed(CPU):
                half = decoder(F.avg_pool2d(z, 2), draw_noise(n, SIDE // 2)).float()
            loss = loss + 2 * band_difference(half, F.avg_pool2d(real, 2))
        with torch.no_grad():
            wanted = texture(gray(real))
        got = texture(gray(made))
        keeps_texture = (got[0] - wanted[0]).abs().mean()
        keeps_tails = (got[1].mean(0) - wanted[1].mean(0)).square().mean()
        loss_critic = vote = torch.zeros(())
        if run.step >= a.critic_from:
            with mixed(CPU):
                votes, _ = critic(torch.cat([real, made.detach()]))
            loss_critic = hinge(votes[:n], votes[n:])
            judge.zero_grad()
            loss_critic.backward()
            judge.step()
            critic.requires_grad_(False)
            with mixed(CPU):
                votes, like = critic(made)
                with torch.no_grad():
                    _, features = critic(real)
            critic.requires_grad_(True)
            vote = votes.mean()
            pairs = zip(like, features, strict=True)
            alike = sum((p - q).abs().mean() / q.abs().mean() for p, q in pairs).float()
            loss = loss + strength * (0.15 * alike / len(like) - 0.08 * vote)
            loss = loss + strength * (0.1 * keeps_texture + 0.2 * keeps_tails)
        make.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        make.step()
        l1 = F.l1_loss(made, real)
        run.advance(pixels, l1, keeps_texture, keeps_tails, loss_critic, vote)
        for average, net in list(zip(averages, (encoder, decoder), strict=True))[a.freeze :]:
            average.update(net, run.step)
        if run.due(a.every, a.eye_steps):
            run.save("pixels, l1, texture, tails, critic, vote")
            training.write_weights(tensors_of(a.out / "eye.pt"), a.out / "eye.safetensors")
            show_eye(averages[0].net, averages[1].net, x, a.out / "eye.png")


@torch.inference_mode()
def show_eye(encoder: Encoder, decoder: Decoder, x: Tensor, path: Path) -> None:
    """Real slices and what is made of them, row under row."""
    pick = torch.linspace(0, len(x) - 1, 24).long()
    real = as_tones(x[pick])
    again = decoder(encoder(real), draw_noise(24, seed=0))
    sheet(torch.cat([t[k : k + 12] for k in (0, 12) for t in (real, again)]), path)


# -------------------------------------------------------------------------------------------------
# stage 2: the diffusion
class Pool:
    """Latents, kinds and box maps of all slices, several moved versions of each, renewed slowly."""

    def __init__(self, encoder: Encoder, x: Tensor, kinds: Tensor, boxes: Tensor) -> None:
        self.encoder, self.x, self.boxes, self.kinds = encoder, x, boxes, kinds.repeat(VERSIONS)
        parts = [self.encode(rows) for rows in torch.arange(len(self.kinds)).split(64)]
        self.latents, self.maps = (torch.cat(part) for part in zip(*parts, strict=True))

    @torch.no_grad()
    def encode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        k = rows % len(self.x)
        slices, masks = moved(self.x[k], self.boxes[k], self.kinds[rows])
        with mixed(CPU):
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
    with mixed(CPU):
        error = (net(noisy, level, kind, box) - latents).square()
    weight = 1 + INSIDE * inside
    error = (error * weight).mean(dim=(1, 2, 3)) / weight.mean(dim=(1, 2, 3))
    return (error * (1 + level**-2)).mean()


@torch.inference_mode()
def show_denoiser(net: Denoiser, decoder: Decoder, pool: Pool, path: Path) -> None:
    """A row of real slices of each kind, and below it samples of the same kinds and boxes."""
    of_kind = [(pool.kinds[: len(pool.x)] == k).nonzero()[:, 0] for k in range(KINDS)]
    rows = torch.stack([some[len(some) * k // 3] for k in (0, 1) for some in of_kind if len(some)])
    box, kind = pool.maps[rows], pool.kinds[rows]
    noise = torch.randn(len(rows), CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    drawn, columns = solve(net, noise, kind, box, steps=18), len(rows) // 2
    real, made = (decoder(z, draw_noise(len(z), seed=0)) for z in (pool.latents[rows], drawn))
    for part in (real, made):  # the outline of the box
        outline = F.interpolate(box[:, :1], scale_factor=4.0)
        edge = F.max_pool2d(outline, 3, 1, 1) - outline
        part.copy_(torch.where(edge > 0.3, torch.ones_like(part), part))
    pairs = zip(real.split(columns), made.split(columns), strict=True)
    sheet(torch.cat([part for pair in pairs for part in pair]), path, columns)


def train_denoiser(a: argparse.Namespace, pool: Pool, decoder: Decoder) -> None:
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
    run = Run(a.out / "denoiser.pt", a.seed + 1, net=net, average=average.net, optimiser=optimiser)
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
            show_denoiser(average.net, decoder, pool, a.out / "denoiser.png")


# -------------------------------------------------------------------------------------------------
# stage 3: the weights of the package
@torch.no_grad()
def components(latents: Tensor) -> Tensor:
    """The leading principal directions of latents (N, 4, 32, 32), orthonormal rows (16, 4096)."""
    torch.manual_seed(0)
    _, _, directions = torch.pca_lowrank(latents.flatten(1), q=m.LATENT + 8, niter=4)
    return directions[:, : m.LATENT].T


@torch.no_grad()
def write_weights(a: argparse.Namespace, x: Tensor, kinds: Tensor, boxes: Tensor) -> None:
    """One file for ``model.load``: networks, components, shares of the kinds and boxes."""
    encoder, decoder = read_eye(a.out / "eye.safetensors")
    latents = []
    for rows in torch.arange(len(x)).split(64):
        tones = as_tones(x[rows]).contiguous(memory_format=torch.channels_last)
        latents.append(encoder(tones))
    boxes = boxes_of(boxes.float())
    marked = boxes[:, 2] > 0
    denoiser = state_in(a.out / "denoiser.pt")
    tensors = floats(denoiser, "denoiser") | floats(decoder.state_dict(), "decoder")
    tensors["components"] = components(torch.cat(latents))
    tensors["boxes"] = boxes[marked]
    tensors = halves(tensors)
    tensors["share"] = torch.bincount(kinds, minlength=KINDS) / len(kinds)
    tensors["box_kinds"] = kinds[marked].to(torch.uint8)
    training.write_weights(tensors, a.out / "weights.safetensors")


@torch.no_grad()
def write_planes(a: argparse.Namespace, x: Tensor, kinds: Tensor, boxes: Tensor) -> None:
    """For each tumour a row of samples over a row of real slices with the same boxes: four axial,
    four coronal, four sagittal.
    """
    generator = m.load(a.out, "cpu")
    rows = []
    for tumour in range(len(m.TUMOURS)):
        real, kind = [], tumour * len(m.PLANES) + torch.arange(len(m.PLANES)).repeat_interleave(4)
        for column, one in enumerate(kind.tolist()):
            of_kind = (kinds == one).nonzero()[:, 0]
            if not len(of_kind):  # then of any kind
                of_kind = torch.arange(len(kinds))
            real.append(int(of_kind[len(of_kind) * (2 * (column % 4) + 1) // 8]))
        maps = box_maps(boxes_of(F.avg_pool2d(boxes[real].float(), FULL // m.SIZE)))
        source = torch.Generator().manual_seed(a.seed + tumour)
        noise = torch.randn(len(kind), CHANNELS, SIDE, SIDE, generator=source)
        latents = solve(generator.denoiser, noise, kind, maps, steps=16)
        rows += [generator.decoder(latents, draw_noise(len(kind), seed=0)), as_tones(x[real])]
    sheet(torch.cat(rows), a.out / "planes.png", columns=12)


STAGES = ("eye", "denoiser", "weights")


def main() -> None:
    parser = training.parser_of(
        __doc__,
        data="zip or folder with a folder of pictures per tumour and boxes.csv",
        seed=102,
        every=100,
        threads=1,
        device=False,
    )
    parser.add_argument("--stage", choices=STAGES, help="only this one; all three if left out")
    parser.add_argument("--eye", type=Path, help="eye.safetensors of an earlier run")
    parser.add_argument(
        "--freeze", action="store_true", help="train the decoder alone, so that latents stay"
    )
    parser.add_argument("--eye-steps", type=int, default=8_000)
    parser.add_argument("--eye-batch", type=int, default=8)
    parser.add_argument("--eye-rate", type=float, default=1e-3, help="learning rate at its highest")
    parser.add_argument("--critic-from", type=int, default=1_200, help="a step of the eye")
    parser.add_argument("--init", type=Path, help="denoiser.pt of an earlier run")
    parser.add_argument("--steps", type=int, default=20_000, help="of the denoiser")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=6e-4, help="learning rate at its highest")
    parser.add_argument(
        "--compile", action="store_true", help="by torch.compile: 0.29 s a step instead of 0.52"
    )
    a = training.arguments_of(parser)
    stages = (a.stage,) if a.stage else STAGES
    torch.manual_seed(a.seed)
    x, kinds, boxes = read_slices(a.data)
    counts = torch.bincount(kinds, minlength=KINDS).tolist()
    training.print_settings(a, slices=len(x), **{"of each kind": counts})
    if "eye" in stages:
        train_eye(a, x, kinds, boxes)
    if "denoiser" in stages:
        encoder, decoder = read_eye(a.eye or a.out / "eye.safetensors")
        train_denoiser(a, Pool(encoder, x, kinds, boxes), decoder)
    if "weights" in stages:
        write_weights(a, x, kinds, boxes)
        write_planes(a, x, kinds, boxes)


if __name__ == "__main__":
    main()
