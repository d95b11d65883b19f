"""Train model 103 on contrast-enhanced T1 MRI slices of brain tumours, and write its weights.

    python ../00101_GAN_MRI_BRAIN_TUMOURS/train.py --data ZIP --out runs/vae --stage pairs
    python ../00101_GAN_MRI_BRAIN_TUMOURS/train.py --data ZIP --out runs/vae --stage encoder
    python train.py --latents runs/vae --out runs/vae

The first two commands are of model 101. They write ``pairs.pt``, noise and what is made of it, and
``latents.pt``, the latents of real slices, of which the decoder of model 102 makes slices again. Then
there are three stages; without ``--stage`` one follows the other:

1. ``codes``: the encoder learns to find the noise of the pairs in what was made of it, as codes (the
   sleep of Hinton et al., Science 268:1158, 1995).
2. ``vae``: a variational autoencoder, whose decoder begins as that generator. Half of each batch are
   codes that the encoder finds in real slices: they have to give the slice back, in latents averaged
   over 2x2 and 4x4 places, more so in the box; what a code leaves open is free. The other half are
   codes of the prior, and the encoder has to find them again. The prior is a normal distribution for
   each kind, fitted to the codes of real slices now and then (Ghosh et al., arXiv:1903.12436), since
   they are not as white as their penalty wants them. What is made of the prior's codes moves to where
   real slices are frequent, by distribution matching (Yin et al., arXiv:2311.18828): model 102's
   denoiser says where that is, and a second one, which follows the samples, where these are. All of
   the batch goes before a critic (VAE and GAN together: Larsen et al., arXiv:1512.09300), that of model
   101: it sees latents through the first half of model 102's denoiser, with noise on them, and
   compares with the real slice of the same kind and box.
3. ``weights``: the averaged decoder, one byte per weight, and what else the package needs, most of it
   model 101's.

Training is seeded, writes a checkpoint and a sheet every few minutes, and continues from the last
checkpoint when it is started again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import model as m  # the package's own, beside this script
import torch
from model import (
    CHANNELS,
    DIRECTIONS,
    KINDS,
    NUMBERS,
    SIDE,
    Decoder,
    Generator,
    Prior,
    Smooth,
    box_maps,
)
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from medzoo._worker.imports import import_package

sys.path.append(str(Path(__file__).resolve().parent.parent))  # training.py; a copy has it beside
import training
from training import (
    Average,
    LatentCritic,
    Run,
    as_bytes,
    cosine,
    denoising,
    fade,
    mixed,
    near_box,
    preferred_near,
    state_in,
    step_along,
    toward,
    warm_up,
    way_down,
)

STARTERS = Path(__file__).resolve().parent.parent
INIT = STARTERS / "00101_GAN_MRI_BRAIN_TUMOURS" / "weights.safetensors"
TEACHER = STARTERS / "00102_DIFFUSION_MRI_BRAIN_TUMOURS"
INSIDE = 4.0  # how much more than outside losses and votes weigh inside a box
LOG_LEVEL = -0.7, 1.0  # mean and spread of the logarithm of the noise level before the critic
NATS = 4096.0  # by which a unit of the difference to the real slice counts as much as a nat
LEAD = 10  # steps by which the critic begins before the decoder learns
CPU = torch.device("cpu")
Posterior = tuple[Tensor, Tensor]  # means and log variances of codes, each (N, 4, 32, 32)


# -------------------------------------------------------------------------------------------------
# the encoder of the variational autoencoder
class Encoder(nn.Module):
    """Means and log variances of the codes of latents (N, 4, 32, 32), told kinds (N,) and maps of the
    box (N, 2, 32, 32).
    """

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.kind = nn.Embedding(KINDS, width)
        self.place = nn.Parameter(torch.zeros(width, SIDE // 2, SIDE // 2))
        self.first = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4 * (CHANNELS + 1), width, 3, padding=1)
        )
        self.body = nn.Sequential(*(Smooth(width) for _ in range(3)), nn.LeakyReLU(0.2))
        self.last = nn.Sequential(nn.Conv2d(width, 8 * CHANNELS, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, latents: Tensor, kind: Tensor, box: Tensor) -> Posterior:
        x = self.first(torch.cat([latents, box[:, :1]], dim=1)) + self.place
        x = self.body(x + self.kind(kind)[:, :, None, None])  # (N, width, 16, 16)
        mean, log_variance = self.last(x).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-8, 2)


def surprise(codes: Tensor, of: Posterior) -> Tensor:
    """Mean negative log density of codes, but for a constant."""
    mean, log_variance = of
    return 0.5 * (log_variance + (codes - mean).square() * (-log_variance).exp()).mean()


def nats(of: Posterior) -> Tensor:
    """Mean information of codes about their slices: the divergence from the standard normal prior."""
    mean, log_variance = of
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(1).mean()


def drawn(of: Posterior, source: torch.Generator | None = None) -> Tensor:
    """Codes of a posterior."""
    mean, log_variance = of
    return mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=source)


# -------------------------------------------------------------------------------------------------
# stage 1: codes that are known
def read_start(path: Path) -> tuple[Generator, Decoder]:
    """Model 101's generator and model 102's decoder, of the weights of model 101."""
    tensors = load_file(path)
    whole = {name: m.in_full(name, tensors) for name in tensors}
    net = training.load_part(Generator(), whole, "generator")
    decoder = training.load_part(Decoder(), whole, "decoder")
    return net, training.frozen(decoder, CPU)


def train_codes(a: argparse.Namespace, slices: dict[str, Tensor]) -> None:
    torch.manual_seed(a.seed)
    pairs = torch.load(a.latents / "pairs.pt", weights_only=True)
    net = Encoder()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.99))
    run = Run(a.out / "codes.pt", a.seed, net=net, optimiser=optimiser)
    while run.step < a.codes_steps:
        optimiser.param_groups[0]["lr"] = 1e-3 * (cosine(run.step, a.codes_steps) + 0.01)
        i = torch.randint(len(pairs["rows"]), (32,))
        kind, box = (slices[name][pairs["rows"][i]] for name in ("kinds", "boxes"))
        codes, made = pairs["noise"][i].float(), pairs["latents"][i].float()
        with mixed(CPU):
            found = net(made + 0.1 * torch.randn_like(made), kind, box_maps(box))
        loss = surprise(codes, found)
        step_along(loss, net, optimiser, 1)
        run.advance(loss, (found[0] - codes).square().mean(), nats(found))
        if run.due(a.every, a.codes_steps):
            run.save("surprise, error, nats")


# -------------------------------------------------------------------------------------------------
# stage 2: the variational autoencoder
def difference(made: Tensor, real: Tensor, inside: Tensor) -> Tensor:
    """Mean absolute difference of latents averaged over 2x2 and 4x4 places, more of it in the box."""
    total = made.new_zeros(())
    for places in (2, 4):
        error = (F.avg_pool2d(made, places) - F.avg_pool2d(real, places)).abs()
        total = total + near_box(error, F.avg_pool2d(inside, places), INSIDE).mean()
    return total


@torch.no_grad()
def fit_prior(prior: Prior, encoder: Encoder, slices: dict[str, Tensor]) -> None:
    """The mean code of each kind, the directions in which codes differ most from it, as long as they
    spread, and their spread in all else.
    """
    source, parts = torch.Generator().manual_seed(0), []
    for rows in torch.randperm(len(slices["kinds"]), generator=source)[:2_000].split(64):
        kind, box = slices["kinds"][rows], box_maps(slices["boxes"][rows])
        mean, log_variance = encoder(slices["latents"][rows].float(), kind, box)
        parts.append((mean.flatten(1), log_variance.exp().flatten(1), kind))
    means, variances, kinds = (torch.cat(part) for part in zip(*parts, strict=True))
    of_kind = training.mean_of_kinds(means, kinds, KINDS)
    apart = means - of_kind[kinds]
    known = min(DIRECTIONS, len(apart))
    torch.manual_seed(0)
    _, length, axes = torch.svd_lowrank(apart, q=min(known + 16, len(apart)), niter=4)
    rest = apart - apart @ axes[:, :known] @ axes[:, :known].T
    prior.mean.copy_(of_kind)
    prior.directions[:known] = (axes * length)[:, :known].T / len(apart) ** 0.5
    prior.spread.copy_((rest.square() + variances).mean(dim=0, keepdim=True).sqrt())


def draw_batch(n: int, slices: dict[str, Tensor]) -> dict[str, Tensor]:
    """Everything that chance decides about a step, but for the codes that the encoder finds."""
    rows = torch.randint(len(slices["kinds"]), (n,))
    real, level = slices["latents"][rows].float(), LOG_LEVEL[0] + LOG_LEVEL[1] * torch.randn(n)
    level = level.exp()
    spread = level[:, None, None, None]
    return {
        "real": real,
        "kind": slices["kinds"][rows],
        "box": box_maps(slices["boxes"][rows]),
        "along": torch.randn(n // 2, DIRECTIONS),
        "noise": torch.randn(n // 2, NUMBERS),
        "level": level,
        "first": spread * torch.randn_like(real),
        "second": spread * torch.randn_like(real),
    }


def train_vae(a: argparse.Namespace, slices: dict[str, Tensor]) -> None:
    torch.manual_seed(a.seed + 1)
    code = import_package(a.teacher)
    denoiser = code.load(a.teacher, "cpu").denoiser
    generator, decoder = read_start(a.init)
    encoder, critic, fake = Encoder(), LatentCritic(), code.Denoiser().eval()
    fake.load_state_dict(denoiser.state_dict())
    encoder.load_state_dict(state_in(a.out / "codes.pt", "net"))
    net = nn.ModuleDict({"encoder": encoder, "generator": generator})
    for part in (net, critic, fake):
        part.to(memory_format=torch.channels_last)
    average = Average(net, a.decay)
    groups = [{"params": list(part.parameters())} for part in (encoder, generator)]
    make = torch.optim.Adam(groups, lr=a.rate, betas=(0.0, 0.99))
    judge = torch.optim.Adam(critic.parameters(), lr=a.critic_rate, betas=(0.0, 0.99))
    follow = torch.optim.Adam(fake.parameters(), lr=a.fake_rate, betas=(0.0, 0.99))
    prior = Prior()
    nets = {"net": net, "critic": critic, "fake": fake, "average": average.net, "prior": prior}
    run = Run(a.out / "vae.pt", a.seed + 1, **nets, make=make, judge=judge, follow=follow)
    n, half = a.batch, a.batch // 2
    while run.step < a.steps:
        if run.step and run.step % a.refit == 0:
            fit_prior(prior, average.net["encoder"], slices)
            torch.manual_seed(a.seed + 1 + run.step)
        pace, learns = fade(run.step, a.steps, 3, 0.02), run.step >= LEAD
        make.param_groups[0]["lr"] = a.rate * pace
        make.param_groups[1]["lr"] = a.rate * pace * learns * warm_up(run.step - LEAD, 10)
        judge.param_groups[0]["lr"] = a.critic_rate * pace
        follow.param_groups[0]["lr"] = a.fake_rate * pace
        batch = draw_batch(n, slices)
        real, kind, box = (batch[name] for name in ("real", "kind", "box"))
        inside = box[:, :1]
        with mixed(CPU):
            found = encoder(real[:half], kind[:half], box[:half])
        codes = torch.cat([drawn(found), prior(kind[half:], batch["along"], batch["noise"])])
        with mixed(CPU):
            made = generator(codes, kind, box).float()
            again = encoder(made[half:].detach(), kind[half:], box[half:])
        apart, told = difference(made[:half], real[:half], inside[:half]), nats(found)
        asleep = surprise(codes[half:], again)

        noisy = torch.cat([real, made.detach()]) + batch["first"].repeat(2, 1, 1, 1)
        both: list[Any] = [batch["level"].repeat(2), kind.repeat(2), box.repeat(2, 1, 1, 1)]
        with mixed(CPU):
            with torch.no_grad():
                seen = way_down(denoiser, noisy, *both)
            votes = critic(seen, both[2][:, :1])
        of_critic = preferred_near([v[:n] for v in votes], [v[n:] for v in votes], inside, INSIDE)
        step_along(of_critic, critic, judge, 1)
        of_real = [v[:n].detach() for v in votes]
        with mixed(CPU):
            seen = way_down(denoiser, made + batch["second"], *(v[:n] for v in both))
            votes = critic(seen, inside)
        of_made = preferred_near(votes, of_real, inside, INSIDE)

        samples, condition = made[half:], (kind[half:], box[half:], INSIDE)
        of_fake = denoising(fake, samples.detach(), *condition)
        step_along(of_fake, fake, follow, 1, 1.0)
        moved = a.matching * toward(denoiser, fake, samples, *condition) if learns else 0.0

        loss = a.likeness * (apart + told / NATS) + 0.1 * asleep + a.votes * of_made + moved
        step_along(loss, net, make, 1)
        spread = made[half:].std() / real[half:].std()
        run.advance(apart, told, asleep, of_made, of_critic, of_fake, spread)
        if learns:
            average.update(net, run.step - LEAD)
        if run.due(a.every, a.steps):
            run.save("difference, nats, surprise, votes, critic, fake, spread")
            show(average.net, prior, decoder, slices, a.out / "vae.png")


@torch.inference_mode()
def show(net: Any, prior: Prior, decoder: Decoder, slices: dict[str, Tensor], path: Path) -> None:
    """A row of real slices of each kind, what the autoencoder gives back of them, and samples of the
    same kinds and boxes.
    """
    of_kind = [(slices["kinds"] == k).nonzero()[:, 0] for k in range(KINDS)]
    rows = torch.stack([some[len(some) * k // 12] for k in (0, 1) for some in of_kind if len(some)])
    box, kind, columns = box_maps(slices["boxes"][rows]), slices["kinds"][rows], len(rows) // 2
    source, real = torch.Generator().manual_seed(0), slices["latents"][rows].float()
    along = torch.randn(len(rows), DIRECTIONS, generator=source)
    noise = torch.randn(len(rows), NUMBERS, generator=source)
    codes = drawn(net["encoder"](real, kind, box), source), prior(kind, along, noise)
    parts = [real, *(net["generator"](code, kind, box) for code in codes)]
    grain = training.uniform_noise(len(rows), (2 * SIDE, 4 * SIDE), CPU, source)
    pictures = [m.to_gray(decoder(z, (grain[0], grain[1]))) for z in parts]
    sets = zip(*(part.split(columns) for part in pictures), strict=True)
    training.sheet(torch.cat([part for some in sets for part in some]), path, columns)


# -------------------------------------------------------------------------------------------------
# stage 3: the weights of the package
def write_weights(a: argparse.Namespace, slices: dict[str, Tensor]) -> None:
    """One file for ``model.load``: the averaged decoder, the prior of the averaged encoder's codes, and
    what else it needs of model 101's.
    """
    net, prior = nn.ModuleDict({"encoder": Encoder(), "generator": Generator()}), Prior()
    net.load_state_dict(state_in(a.out / "vae.pt"))
    fit_prior(prior, net["encoder"], slices)
    first = load_file(a.init)
    kept = ("decoder.", "share", "boxes", "box_kinds")
    tensors = {k: v for k, v in first.items() if k.startswith(kept)}
    tensors |= as_bytes(net["generator"].state_dict(), "generator")
    tensors |= as_bytes(prior.state_dict(), "prior")
    training.write_weights(tensors, a.out / "weights.safetensors")


STAGES = ("codes", "vae", "weights")


def main() -> None:
    parser = training.parser_of(__doc__, seed=103, every=100, threads=1, device=False)
    words = "folder with pairs.pt and latents.pt of model 101's train.py"
    parser.add_argument("--latents", type=Path, required=True, help=words)
    parser.add_argument("--stage", choices=STAGES, help="only this one; all three if left out")
    words = "weights.safetensors of model 101, whose generator becomes the decoder"
    parser.add_argument("--init", type=Path, default=INIT, help=words)
    words = "folder of model 102; medzoo copy 102 makes one"
    parser.add_argument("--teacher", type=Path, default=TEACHER, help=words)
    parser.add_argument("--codes-steps", type=int, default=400)
    parser.add_argument("--steps", type=int, default=2_000, help="of the autoencoder")
    parser.add_argument("--refit", type=int, default=50, help="steps between fits of the prior")
    parser.add_argument("--batch", type=int, default=12, help="an even number")
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate at its highest")
    parser.add_argument("--critic-rate", type=float, default=1e-3, help="of the critic")
    words = "of the denoiser that follows the samples"
    parser.add_argument("--fake-rate", type=float, default=6e-4, help=words)
    parser.add_argument("--likeness", type=float, default=1.0, help="weight of what is given back")
    parser.add_argument("--votes", type=float, default=0.3, help="weight of the critic's votes")
    parser.add_argument(
        "--matching", type=float, default=2.0, help="weight of distribution matching"
    )
    parser.add_argument("--decay", type=float, default=0.99, help="of the averaged weights")
    a = training.arguments_of(parser)
    stages = (a.stage,) if a.stage else STAGES
    torch.manual_seed(a.seed)
    slices = torch.load(a.latents / "latents.pt", weights_only=True)
    counts = torch.bincount(slices["kinds"], minlength=KINDS).tolist()
    training.print_settings(a, **{"slices and moved versions, of each kind": counts})
    if "codes" in stages:
        train_codes(a, slices)
    if "vae" in stages:
        train_vae(a, slices)
    if "weights" in stages:
        write_weights(a, slices)


if __name__ == "__main__":
    main()
