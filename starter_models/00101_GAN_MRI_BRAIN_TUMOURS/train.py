"""Train model 101 on contrast-enhanced T1 MRI slices of brain tumours, and write its weights.

    python train.py --data brain_t1ce_cheng_256.zip --out runs/gan

The data set is a zip or a folder of gray pictures, ``meningioma/1.jpg`` and so on, with
``boxes.csv``. Model 102 is the teacher: ``--teacher`` names its folder, whose decoder becomes this
model's as it is. There are four stages; without ``--stage`` one follows the other:

1. ``pairs``: noise, and the latents that the teacher makes of it in ten steps, told the kind and the
   box of a real slice.
2. ``encoder``: the way back from pictures to the latents of the teacher's decoder, which the
   teacher's weights do not hold. It learns from the latents of the pairs, and from real slices,
   which the decoder has to give back.
3. ``gan``: the generator begins as the teacher's denoiser at one level of noise. On half of each
   batch it has to make of the noise of a pair about what the teacher made of it. All of it learns from
   two others. Distribution matching (Yin et al., arXiv:2311.18828): a second denoiser, which begins
   as the teacher's and follows the samples, says where samples are frequent, the teacher's where real
   slices are, and the samples move from the one to the other. And a critic, which sees latents
   through the teacher's way down, which stays as it is (latent
   adversarial distillation: Sauer et al., arXiv:2403.12015), with noise on them, told kind and box;
   it votes on every place at three sizes, compares with the latents of the real slice of the same
   kind and box (relativistic: Jolicoeur-Martineau, arXiv:1807.00734). All weigh more in the box.
4. ``weights``: the averaged generator, one byte per weight, and what else the package needs, most of
   it the teacher's.

Training is seeded, writes a checkpoint and a sheet every few minutes, and continues from the last
checkpoint when it is started again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import model as m  # the package's own, beside this script
import torch
from model import CHANNELS, KINDS, SIDE, Decoder, Generator, Smooth, box_maps
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from medzoo._worker.imports import import_package

sys.path.append(str(Path(__file__).resolve().parent.parent))  # training.py; a copy has it beside
import training
from training import (
    FULL,
    Average,
    LatentCritic,
    Run,
    as_bytes,
    band_difference,
    boxes_of,
    cosine,
    denoiser_at,
    denoising,
    fade,
    frozen,
    meet,
    mixed,
    near_box,
    plane_of,
    preferred_near,
    read_slices,
    state_in,
    step_along,
    toward,
    training_part,
    warm_up,
    way_down,
)

__all__ = ["plane_of", "training_part"]

TEACHER = Path(__file__).resolve().parent.parent / "00102_DIFFUSION_MRI_BRAIN_TUMOURS"
STEPS = 10  # of the teacher, for a pair
AT = 10.0  # the level of noise at which the generator is the teacher's denoiser
INSIDE = 4.0  # how much more than outside the loss and the votes weigh inside a box
LOG_LEVEL = -0.7, 1.0  # mean and spread of the logarithm of the noise level before the critic
VERSIONS = 4  # of each slice: itself, and moved ones
LEAD = 20  # steps by which the critic begins before the generator heeds it
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


def draw_noise(n: int, seed: int | None = None) -> tuple[Tensor, Tensor]:
    """The decoder's noise: uniform, of unit variance."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    first, second = training.uniform_noise(n, (2 * SIDE, 4 * SIDE), CPU, generator)
    return first, second


# -------------------------------------------------------------------------------------------------
# stage 1: pairs of the teacher
def read_teacher(folder: Path) -> tuple[ModuleType, Any]:
    """The code of model 102 and its generator."""
    code = import_package(folder)
    return code, code.load(folder, "cpu")


@torch.no_grad()
def make_pairs(a: argparse.Namespace, kinds: Tensor, boxes: Tensor) -> None:
    """``pairs.pt``: rows of slices (P,), noise and the teacher's latents (P, 4, 32, 32)."""
    code, teacher = read_teacher(a.teacher)
    maps, path, together = box_maps(boxes_of(boxes)), a.out / "pairs.pt", 32
    pairs = torch.load(path, weights_only=True) if path.exists() else {}
    done = len(pairs["rows"]) if pairs else 0
    while done < a.pairs:
        source = torch.Generator().manual_seed(a.seed + done)
        rows = torch.randint(len(kinds), (together,), generator=source)
        noise = torch.randn(together, CHANNELS, SIDE, SIDE, generator=source)
        with mixed(CPU):
            latents = code.solve(teacher.denoiser, noise, kinds[rows], maps[rows], STEPS)
        fresh = {"rows": rows, "noise": noise.half(), "latents": latents.half()}
        pairs = {k: torch.cat([pairs[k], v]) for k, v in fresh.items()} if pairs else fresh
        done += together
        if done % (8 * together) == 0 or done >= a.pairs:
            training.save(path, pairs)
            print(f"pairs {done}", flush=True)


# -------------------------------------------------------------------------------------------------
# stage 2: the encoder of the teacher's decoder
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

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x)).float()


def read_encoder(a: argparse.Namespace) -> Encoder:
    encoder = Encoder()
    encoder.load_state_dict(state_in(a.out / "encoder.pt"))
    return frozen(encoder, CPU)


@torch.no_grad()
def painted(decoder: Decoder, latents: Tensor) -> Tensor:
    """Tones of latents (N, 4, 32, 32), in half precision."""
    parts = []
    for part in latents.split(64):
        with mixed(CPU):
            parts.append(decoder(part.float(), draw_noise(len(part))).half())
    return torch.cat(parts)


def train_encoder(a: argparse.Namespace, x: Tensor, kinds: Tensor, boxes: Tensor) -> None:
    torch.manual_seed(a.seed + 1)
    decoder = read_teacher(a.teacher)[1].decoder
    latents = torch.load(a.out / "pairs.pt", weights_only=True)["latents"][:512]
    pictures, n = painted(decoder, latents), 6
    net = Encoder().to(memory_format=torch.channels_last)
    average = Average(net, 0.99)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.9, 0.99))
    parts = {"net": net, "average": average.net, "optimiser": optimiser}
    run = Run(a.out / "encoder.pt", a.seed + 1, **parts)
    while run.step < a.encoder_steps:
        pace = warm_up(run.step, 50) * (cosine(run.step, a.encoder_steps) + 0.01)
        optimiser.param_groups[0]["lr"] = 2e-3 * pace
        i = torch.randint(len(pictures), (2 * n,))
        seen = pictures[i].float().contiguous(memory_format=torch.channels_last)
        with mixed(CPU):
            loss = error = (net(seen) - latents[i]).square().mean()
        given_back = torch.zeros(())
        if run.step >= a.encoder_steps // 3:
            k = torch.randint(len(x), (n,))
            real, box = moved(x[k], boxes[k], kinds[k])
            with mixed(CPU):
                z = net(real.contiguous(memory_format=torch.channels_last))
                made = decoder(z, draw_noise(n)).float()
            given_back = 4 * band_difference(made, real) + 2 * ((made - real).abs() * box).mean()
            loss = loss + given_back
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        run.advance(error, given_back)
        average.update(net, run.step)
        if run.due(a.every, a.encoder_steps):
            run.save("latents, pixels")
            with torch.inference_mode():
                real = as_tones(x[torch.linspace(0, len(x) - 1, 24).long()])
                again = decoder(average.net(real), draw_noise(24, seed=0))
            rows = [t[k : k + 12] for k in (0, 12) for t in (real, again)]
            sheet(torch.cat(rows), a.out / "encoder.png")


@torch.no_grad()
def write_latents(a: argparse.Namespace, x: Tensor, kinds: Tensor, boxes: Tensor) -> None:
    """``latents.pt``: latents (M, 4, 32, 32), kinds (M,) and boxes (M, 4) of all slices, first as they
    are and then moved several times.
    """
    net, parts = read_encoder(a), []
    for number, k in enumerate(torch.arange(len(x)).split(64) * VERSIONS):
        if number * 64 < len(x):
            tones, masks = as_tones(x[k]), F.avg_pool2d(boxes[k].float(), FULL // m.SIZE)
        else:
            tones, masks = moved(x[k], boxes[k], kinds[k])
        with mixed(CPU):
            latents = net(tones.contiguous(memory_format=torch.channels_last))
        parts.append((latents.half(), kinds[k], boxes_of(masks)))
    names = ("latents", "kinds", "boxes")
    columns = (torch.cat(column) for column in zip(*parts, strict=True))
    training.save(a.out / "latents.pt", dict(zip(names, columns, strict=True)))


# -------------------------------------------------------------------------------------------------
# stage 3: the GAN
def distance(made: Tensor, wanted: Tensor, inside: Tensor, paired: Tensor) -> Tensor:
    """Mean absolute difference of latents, more of it in the box, where ``paired`` (N,) is 1."""
    error = near_box((made - wanted).abs(), inside, INSIDE)
    return (error * paired).sum() / paired.sum().clamp(min=1)


@torch.inference_mode()
def show(net: Generator, decoder: Decoder, slices: dict[str, Tensor], path: Path) -> None:
    """A row of real slices of each kind, and below it two samples of the same kinds and boxes."""
    of_kind = [(slices["kinds"] == k).nonzero()[:, 0] for k in range(KINDS)]
    rows = torch.stack([some[len(some) * k // 12] for k in (0, 1) for some in of_kind if len(some)])
    box, kind, columns = box_maps(slices["boxes"][rows]), slices["kinds"][rows], len(rows) // 2
    source = torch.Generator().manual_seed(0)
    parts = [slices["latents"][rows].float()]
    for _ in range(2):
        noise = torch.randn(len(rows), CHANNELS, SIDE, SIDE, generator=source)
        parts.append(net(noise, kind, box))
    parts = [decoder(z, draw_noise(len(z), seed=0)) for z in parts]
    sets = zip(*(part.split(columns) for part in parts), strict=True)
    sheet(torch.cat([part for some in sets for part in some]), path, columns)


def draw_batch(
    n: int, share: float, slices: dict[str, Tensor], pairs: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Everything that chance decides about a step; a share of the noise is that of pairs."""
    paired = torch.arange(n) < share * n
    i = torch.randint(len(pairs["rows"]), (n,))
    rows = torch.where(paired, pairs["rows"][i], torch.randint(len(slices["kinds"]), (n,)))
    real, level = slices["latents"][rows].float(), LOG_LEVEL[0] + LOG_LEVEL[1] * torch.randn(n)
    level = level.exp()
    spread, chosen = level[:, None, None, None], paired[:, None, None, None]
    return {
        "noise": torch.where(chosen, pairs["noise"][i].float(), torch.randn_like(real)),
        "wanted": pairs["latents"][i].float(),
        "paired": paired.float(),
        "real": real,
        "kind": slices["kinds"][rows],
        "box": box_maps(slices["boxes"][rows]),
        "level": level,
        "first": spread * torch.randn_like(real),
        "second": spread * torch.randn_like(real),
    }


def train_gan(a: argparse.Namespace) -> None:
    torch.manual_seed(a.seed + 2)
    code, teacher = read_teacher(a.teacher)
    net, critic, fake = Generator(), LatentCritic(), code.Denoiser()
    fake.load_state_dict(teacher.denoiser.state_dict())
    fake.eval()  # without dropout; it still learns
    if a.init:
        tensors = load_file(a.init)
        whole = {name: m.in_full(name, tensors) for name in tensors}
        net.load_state_dict(training.state_of(whole, "generator"))
    else:
        net.load_state_dict(denoiser_at(teacher.denoiser, AT, KINDS))
    for part in (net, critic, fake):
        part.to(memory_format=torch.channels_last)
    average = Average(net, 0.99)
    make = torch.optim.Adam(net.parameters(), lr=a.rate, betas=(0.0, 0.99))
    judge = torch.optim.Adam(critic.parameters(), lr=a.critic_rate, betas=(0.0, 0.99))
    follow = torch.optim.Adam(fake.parameters(), lr=a.fake_rate, betas=(0.0, 0.99))
    nets = {"net": net, "critic": critic, "fake": fake, "average": average.net}
    parts = nets | {"make": make, "judge": judge, "follow": follow}
    run = Run(a.out / "gan.pt", a.seed + 2, **parts)
    slices = torch.load(a.out / "latents.pt", weights_only=True)
    pairs = torch.load(a.out / "pairs.pt", weights_only=True)
    meet(a.out, a.worker, a.workers)
    torch.manual_seed(a.seed + 2 + run.step + 1_000_003 * a.worker)
    while run.step < a.steps:
        pace = warm_up(run.step, 50) * fade(run.step, a.steps, 3, 0.02)
        make.param_groups[0]["lr"] = a.rate * pace
        judge.param_groups[0]["lr"] = a.critic_rate * pace
        follow.param_groups[0]["lr"] = a.fake_rate * pace
        voted = run.step >= a.critic_from + LEAD
        batch = draw_batch(a.batch, 0.5 if voted else 1.0, slices, pairs)
        real, kind, box, n = batch["real"], batch["kind"], batch["box"], a.batch
        inside = box[:, :1]
        with mixed(CPU):
            made = net(batch["noise"], kind, box).float()
        near = distance(made, batch["wanted"], inside, batch["paired"])
        loss, of_critic, of_made = a.likeness * near, torch.zeros(()), torch.zeros(())
        of_fake = denoising(fake, made.detach(), kind, box, INSIDE)
        step_along(of_fake, fake, follow, a.workers, 1.0)
        if voted:
            moved = toward(teacher.denoiser, fake, made, kind, box, INSIDE)
            loss = loss + a.matching * moved
        if run.step >= a.critic_from:
            noisy = torch.cat([real, made.detach()]) + batch["first"].repeat(2, 1, 1, 1)
            both = [batch["level"].repeat(2), kind.repeat(2), box.repeat(2, 1, 1, 1)]
            with mixed(CPU):
                with torch.no_grad():
                    seen = way_down(teacher.denoiser, noisy, *both)
                votes = critic(seen, both[2][:, :1])
            of_critic = preferred_near(
                [v[:n] for v in votes], [v[n:] for v in votes], inside, INSIDE
            )
            step_along(of_critic, critic, judge, a.workers)
            of_real = [v[:n].detach() for v in votes]
            with mixed(CPU):
                seen = way_down(teacher.denoiser, made + batch["second"], *(v[:n] for v in both))
                votes = critic(seen, inside)
            of_made = preferred_near(votes, of_real, inside, INSIDE)
            loss = loss + a.votes * voted * of_made
        step_along(loss, net, make, a.workers)
        run.advance(near, of_made, of_critic, of_fake, made.std() / real.std())
        average.update(net, run.step)
        if run.due(a.every, a.steps) and a.worker == 0:
            run.save("distance, votes, critic, fake, spread")
            show(average.net, teacher.decoder, slices, a.out / "gan.png")


# -------------------------------------------------------------------------------------------------
# stage 4: the weights of the package
def write_weights(a: argparse.Namespace) -> None:
    """One file for ``model.load``: the generator, and all but the denoiser of the teacher's."""
    teacher = load_file(a.teacher / "weights.safetensors")
    tensors = {k: v for k, v in teacher.items() if not k.startswith("denoiser.")}
    tensors |= as_bytes(state_in(a.out / "gan.pt"), "generator")
    training.write_weights(tensors, a.out / "weights.safetensors")


STAGES = ("pairs", "encoder", "gan", "weights")


def main() -> None:
    parser = training.parser_of(
        __doc__,
        data="zip or folder with a folder of pictures per tumour and boxes.csv",
        seed=101,
        every=100,
        threads=1,
        device=False,
    )
    parser.add_argument("--stage", choices=STAGES, help="only this one; all four if left out")
    parser.add_argument(
        "--teacher",
        type=Path,
        default=TEACHER,
        help="folder of model 102; medzoo copy 102 makes one",
    )
    parser.add_argument("--pairs", type=int, default=4_096, help="noise and latents of the teacher")
    parser.add_argument("--encoder-steps", type=int, default=1_600)
    parser.add_argument("--steps", type=int, default=2_000, help="of the GAN")
    parser.add_argument("--batch", type=int, default=12, help="slices for each worker")
    parser.add_argument("--workers", type=int, default=1, help="processes that train the GAN")
    parser.add_argument("--worker", type=int, default=0, help="which of them this is, from 0")
    parser.add_argument("--rate", type=float, default=4e-4, help="learning rate at its highest")
    parser.add_argument("--critic-rate", type=float, default=1e-3, help="that of the critic")
    words = "of the denoiser that follows the samples"
    parser.add_argument("--fake-rate", type=float, default=6e-4, help=words)
    parser.add_argument("--votes", type=float, default=0.3, help="weight of the critic's votes")
    parser.add_argument(
        "--matching", type=float, default=2.0, help="weight of distribution matching"
    )
    parser.add_argument("--init", type=Path, help="weights.safetensors whose generator goes on")
    parser.add_argument("--critic-from", type=int, default=40, help="a step of the GAN")
    parser.add_argument("--likeness", type=float, default=0.25, help="weight of the pairs")
    a = training.arguments_of(parser)
    stages = (a.stage,) if a.stage else STAGES
    torch.manual_seed(a.seed)
    x, kinds, boxes = read_slices(a.data)
    counts = torch.bincount(kinds, minlength=KINDS).tolist()
    training.print_settings(a, slices=len(x), **{"of each kind": counts})
    if "pairs" in stages:
        make_pairs(a, kinds, boxes)
    if "encoder" in stages:
        train_encoder(a, x, kinds, boxes)
        write_latents(a, x, kinds, boxes)
    if "gan" in stages:
        train_gan(a)
    if "weights" in stages:
        write_weights(a)


if __name__ == "__main__":
    main()
