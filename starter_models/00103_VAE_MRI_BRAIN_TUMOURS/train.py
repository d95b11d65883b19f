"""Train model 103 on contrast-enhanced T1 MRI slices of brain tumours.

    python train.py --data brain_t1ce_cheng_256.zip --out runs/brain            # everything, then weights.safetensors

The data set is a zip or a folder of gray pictures ``meningioma/1.jpg`` and so on, and ``boxes.csv``
(file, class and the tumour's box). Every stage is seeded, writes a checkpoint and a sheet of
samples every few minutes, and continues from the last checkpoint when started again.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import model as m  # the package's own, beside this script
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parent.parent))  # training.py; a copy has it beside
import training
from training import (
    FULL,
    Average,
    MapCritic,
    Run,
    SliceCritic,
    band_difference,
    cosine,
    disguised,
    enlarge,
    fade,
    floats,
    frozen,
    halves,
    hinge,
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
TRAVERSED = 5  # the stream of the head that the traversal starts from
PRIOR_FROM = 0.5  # part of the painter's steps after which half of its pictures are the prior's


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
# stage 1: encoder and decoder of slices, which the names of options and files call the eye
def train_first_stage(a: argparse.Namespace, x: Tensor, kinds: Tensor, boxes: Tensor) -> None:
    torch.manual_seed(a.seed + 3)
    device, n, critic_from = torch.device(a.device), 8, 0.4 * a.eye_steps
    encoder, decoder, critic = (
        net.to(device, memory_format=torch.channels_last)
        for net in (m.EyeEncoder(), m.EyeDecoder(), SliceCritic())
    )
    averages = Average(encoder, 0.998), Average(decoder, 0.998)
    weights = [*encoder.parameters(), *decoder.parameters()]
    make = torch.optim.Adam(weights, lr=1e-3, betas=(0.8, 0.99))
    judge = torch.optim.Adam(critic.parameters(), lr=4e-4, betas=(0.5, 0.99))
    parts = {"enc": encoder, "dec": decoder, "critic": critic, "make": make, "judge": judge}
    run = Run(
        a.out / "eye.pt", a.seed + 3, **parts, enc_avg=averages[0].net, dec_avg=averages[1].net
    )
    while run.step < a.eye_steps:
        pace = fade(run.step, a.eye_steps, 3, 0.03)
        rate = 1e-3 if run.step < critic_from else 4e-4
        make.param_groups[0]["lr"] = rate * pace * warm_up(run.step, 100)
        judge.param_groups[0]["lr"] = 4e-4 * pace
        i = torch.randint(len(x), (n,))
        real, box = moved(x[i].to(device), boxes[i].to(device), kinds[i])
        with mixed(device):
            maps = encoder(real)
            made = decoder(
                maps + 0.08 * torch.randn_like(maps)
            ).float()  # so that a painter may err by as much
        loss = 4 * band_difference(made, real) + ((made - real).abs() * box).mean()
        loss_critic = vote = torch.zeros(())
        if run.step >= critic_from:
            with mixed(device):
                votes, _ = critic(torch.cat([real, made.detach()]))
            loss_critic = hinge(votes[:n], votes[n:])
            judge.zero_grad()
            loss_critic.backward()
            judge.step()
            critic.requires_grad_(False)
            with mixed(device):
                votes, like = critic(made)
                with torch.no_grad():
                    _, wanted = critic(real)
            critic.requires_grad_(True)
            vote = votes.mean()
            features = sum(
                (p - q).abs().mean() / q.abs().mean() for p, q in zip(like, wanted, strict=True)
            ).float() / len(like)
            loss = loss + min(1.0, (run.step - critic_from) / 300) * (0.15 * features - 0.05 * vote)
        make.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        make.step()
        run.advance(loss, F.l1_loss(made, real), loss_critic, vote)
        for average, net in zip(averages, (encoder, decoder), strict=True):
            average.update(net, run.step)
        if run.due(a.every, a.eye_steps):
            run.save("loss, l1, critic, vote")
            with torch.inference_mode():
                pick = torch.linspace(0, len(x) - 1, a.shown).long()
                real = as_tones(x[pick].to(device))
                again = averages[1].net(averages[0].net(real))
            sheet(
                torch.cat([t[k : k + 12] for k in range(0, a.shown, 12) for t in (real, again)]),
                a.out / "eye.png",
            )
    training.write_weights(halves(first_stage_tensors(a.out)), a.out / "eye.safetensors")


def first_stage_tensors(out: Path) -> dict[str, Tensor]:
    """The averaged weights of the first stage, ``encoder.*`` and ``decoder.*``."""
    path = out / "eye.pt"
    return floats(state_in(path, "enc_avg"), "encoder") | floats(
        state_in(path, "dec_avg"), "decoder"
    )


def trained_first_stage(out: Path, device: torch.device) -> tuple[m.EyeEncoder, m.EyeDecoder]:
    """The averaged networks of the first stage."""
    encoder, decoder = m.EyeEncoder(), m.EyeDecoder()
    encoder.load_state_dict(state_in(out / "eye.pt", "enc_avg"))
    decoder.load_state_dict(state_in(out / "eye.pt", "dec_avg"))
    return frozen(encoder, device), frozen(decoder, device)


# ---------------------------------------------------------------------------------------- stage 2:
# the autoencoder
class Encoder(nn.Module):
    """Mean and log variance, each (N, 64), of pictures (N, 1, 64, 64) of known kind; like the
    decoder it starts linear.
    """

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96, 128)) -> None:
        super().__init__()
        layers, channels = [], 1
        for width in widths:
            layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            channels = width
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.components, self.shift = (
            nn.Linear(m.LOW * m.LOW, m.CODE, bias=False),
            nn.Embedding(m.KINDS, m.CODE),
        )
        self.head = nn.Sequential(
            nn.Linear(channels * 16 + m.KINDS, 256), nn.LeakyReLU(0.2), nn.Linear(256, 2 * m.CODE)
        )
        nn.init.zeros_(self.head[-1].weight)
        nn.init.zeros_(self.head[-1].bias)

    def forward(self, x: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.cat([self.body(x), F.one_hot(kind, m.KINDS).to(x.dtype)], dim=1)
        mean, log_variance = self.head(h).float().chunk(2, dim=1)
        mean = mean + self.components(x.flatten(1)).float() + self.shift(kind)
        return mean, log_variance.clamp(-10, 2)


@torch.no_grad()
def start_linear(
    encoder: Encoder, decoder: m.Decoder, x: Tensor, kinds: Tensor, boxes: Tensor, nats: float
) -> None:
    """Let both begin as the principal components of the pictures around the mean of their kind."""
    order = torch.arange(len(x)).repeat(3)
    chunks = [
        F.avg_pool2d(moved(x[i], boxes[i], kinds[i])[0], 2).flatten(1) for i in order.split(64)
    ]
    pictures, kind = torch.cat(chunks), kinds[order]
    means = mean_of_kinds(pictures, kind, m.KINDS)
    _, spread, directions = torch.svd_lowrank(pictures - means[kind], m.CODE + 16, niter=4)
    spread, directions = spread[: m.CODE] / math.sqrt(len(pictures)), directions[:, : m.CODE]
    decoder.mean.weight.copy_(means)
    decoder.components.weight.copy_(directions * spread)
    encoder.components.weight.copy_((directions / spread).T)
    encoder.shift.weight.copy_(-means @ directions / spread)
    # Noise that is as strong in the picture along every direction, so much of it that the code
    # tells what it is to tell.
    level = spread.log().mean() - nats / m.CODE
    encoder.head[-1].bias[m.CODE :] = 2 * (level - spread.log()).clamp(max=0)


def difference(made: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Mean squared difference at 64, 32, 16 and 8 pixels, times the weight of a pixel."""
    total = made.new_zeros(())
    for _ in range(4):
        total = total + (weight * (made - wanted).square()).mean()
        made, wanted, weight = (F.avg_pool2d(t, 2) for t in (made, wanted, weight))
    return total


def train_autoencoder(a: argparse.Namespace, x: Tensor, kinds: Tensor, boxes: Tensor) -> None:
    torch.manual_seed(a.seed)
    device, batch = torch.device(a.device), 32
    encoder = Encoder().to(device, memory_format=torch.channels_last)
    decoder = m.Decoder().to(device, memory_format=torch.channels_last)
    start_linear(encoder, decoder, x, kinds, boxes, a.nats)
    averages = Average(encoder, 0.998), Average(decoder, 0.998)
    weights = [*encoder.parameters(), *decoder.parameters()]
    linear = [
        encoder.components.weight,
        encoder.shift.weight,
        decoder.components.weight,
        decoder.mean.weight,
    ]
    others = [w for w in weights if all(w is not v for v in linear)]
    groups = [
        {"params": others, "rate": 1e-3},
        {"params": linear, "rate": 1e-4, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.01)
    balance = nn.Linear(1, 1, bias=False)  # log of the weight of the picture against the divergence
    nn.init.constant_(balance.weight, math.log(12000.0))
    parts = {"encoder": encoder, "decoder": decoder, "balance": balance, "optimiser": optimiser}
    run = Run(
        a.out / "autoencoder.pt",
        a.seed,
        **parts,
        encoder_average=averages[0].net,
        decoder_average=averages[1].net,
    )
    while run.step < a.autoencoder_steps:
        pace = min(1.0, run.step / 100) * cosine(run.step, a.autoencoder_steps)
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * pace
        i = torch.randint(len(x), (batch,))
        kind = kinds[i].to(device)
        halves = (
            F.avg_pool2d(part, 2) for part in moved(x[i].to(device), boxes[i].to(device), kinds[i])
        )
        picture, box = halves  # (N, 1, 64, 64) each
        with mixed(device):
            mean, log_variance = encoder(picture, kind)
            z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
            made = decoder(z, kind).float()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
        distance = difference(made, picture, 1 + 2 * box)
        loss = distance * balance.weight.exp().item() + divergence
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 200.0)
        optimiser.step()
        # the weight of the picture moves until the latents tell as much of it as they are meant to
        with torch.no_grad():
            balance.weight += 1e-3 * (a.nats - divergence.clamp(max=2 * a.nats)) / a.nats * 5
        run.advance(distance, divergence, balance.weight.exp())
        for average, net in zip(averages, (encoder, decoder), strict=True):
            average.update(net, run.step)
        if run.due(a.every, a.autoencoder_steps):
            run.save("distance, nats, weight")
            with torch.inference_mode():
                pick = torch.linspace(0, len(x) - 1, a.shown).long()
                real = F.avg_pool2d(as_tones(x[pick].to(device)), 2)
                kind = kinds[pick].to(device)
                mean, _ = averages[0].net(real, kind)
                again = averages[1].net(mean, kind)
                drawn = averages[1].net(
                    torch.randn(a.shown, m.CODE, generator=torch.Generator().manual_seed(0)).to(
                        device
                    ),
                    kind,
                )
            sheet(
                torch.cat(
                    [
                        t
                        for k in range(0, a.shown, 12)
                        for t in (real[k : k + 12], again[k : k + 12], drawn[k : k + 12])
                    ]
                ),
                a.out / "autoencoder.png",
            )


# ----------------------------------------------------------------------------------------------
# stage 3: the prior
def trained_autoencoder(out: Path, device: torch.device) -> tuple[Encoder, m.Decoder]:
    """The averaged networks of the second stage."""
    encoder, decoder = Encoder(), m.Decoder()
    encoder.load_state_dict(state_in(out / "autoencoder.pt", "encoder_average"))
    decoder.load_state_dict(state_in(out / "autoencoder.pt", "decoder_average"))
    return frozen(encoder, device), frozen(decoder, device)


@torch.no_grad()
def visible_directions(decoder: m.Decoder, z: Tensor, kinds: Tensor) -> Tensor:
    """Orthogonal directions of the latents (16, 16), as columns, in order of how much the picture
    changes along them.
    """
    step, changes = 0.2, []
    for axis in torch.eye(m.CODE, device=z.device) * step:
        changes.append(
            (decoder(z + axis, kinds) - decoder(z - axis, kinds)).flatten(1) / (2 * step)
        )
    jacobian = torch.stack(changes, dim=2)  # (N, 4096, 16)
    return torch.linalg.eigh((jacobian.transpose(1, 2) @ jacobian).mean(dim=0))[1].flip(1)


def train_prior(a: argparse.Namespace, x: Tensor, kinds: Tensor, boxes: Tensor) -> None:
    torch.manual_seed(a.seed + 1)
    device = torch.device(a.device)
    encoder, decoder = trained_autoencoder(a.out, device)
    means, spreads, order = [], [], []
    with torch.no_grad():
        for _ in range(6):
            for i in torch.randperm(len(x)).split(64):
                picture = F.avg_pool2d(moved(x[i].to(device), boxes[i].to(device), kinds[i])[0], 2)
                mean, log_variance = encoder(picture, kinds[i].to(device))
                means.append(mean)
                spreads.append((0.5 * log_variance).exp())
                order.append(kinds[i].to(device))
    mean, spread, kind = torch.cat(means), torch.cat(spreads), torch.cat(order)
    print(
        "spread of the encoder",
        spread.mean(dim=0).numpy(force=True).round(2),
        "of its means",
        mean.std(dim=0).numpy(force=True).round(2),
    )
    net = m.Prior().to(device)
    if not (a.out / "prior.pt").exists():
        pick = torch.randperm(len(mean), device=device)[: a.probed]
        net.rotation.copy_(visible_directions(decoder, mean[pick], kind[pick]))
    average = Average(net, 0.995)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
    run = Run(a.out / "prior.pt", a.seed + 1, net=net, average=average.net, optimiser=optimiser)
    while run.step < a.prior_steps:
        optimiser.param_groups[0]["lr"] = 2e-3 * cosine(run.step, a.prior_steps) + 1e-6
        i = torch.randint(len(mean), (256,), device=device)
        u, log_det = net.inverse(mean[i] + spread[i] * torch.randn_like(mean[i]), kind[i])
        loss = (0.5 * u.square().sum(dim=1) - log_det).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        run.advance(loss)
        average.update(net, run.step)
        if run.due(5 * a.every, a.prior_steps):
            run.save("surprise")
    with torch.inference_mode():
        of = torch.arange(2 * a.shown, device=device) % 12 % m.KINDS
        drawn = decoder(average.net(torch.randn(2 * a.shown, m.CODE, device=device), of), of)
    sheet(drawn, a.out / "prior.png")


def trained_prior(out: Path, device: torch.device) -> m.Prior:
    """The averaged flow of the third stage."""
    net = m.Prior().eval()
    net.load_state_dict(state_in(out / "prior.pt"))
    return net.requires_grad_(False).to(device)


# ----------------------------------------------------------------------------------------------
# stage 4: the painter
@torch.no_grad()
def painter_data(
    a: argparse.Namespace, x: Tensor, kinds: Tensor, boxes: Tensor
) -> dict[str, Tensor]:
    """What the painter learns from, made once and kept in ``painter_data.pt``, half precision.

    ``maps`` (M, 9, 16, 16): the first stage's latents of slices moved again each time, and how near
    the tumour's box is. ``soft`` (M, 8, 16, 16) and ``kinds`` (M,): the latents of what the decoder
    makes of their codes. ``drawn`` (9, drawn * copies, 8, 16, 16): the latents of soft pictures that
    the prior makes.
    """
    path, device = a.out / "painter_data.pt", torch.device(a.device)
    if path.exists():
        return torch.load(path, weights_only=True)
    torch.manual_seed(a.seed + 2)
    encode, _ = trained_first_stage(a.out, device)
    (encoder, decoder), prior = trained_autoencoder(a.out, device), trained_prior(a.out, device)
    order = torch.arange(len(x)).repeat(a.copies)
    maps, soft, drawn = [], [], []
    with mixed(device):
        for i in order.split(64):
            kind = kinds[i].to(device)
            real, box = moved(x[i].to(device), boxes[i].to(device), kinds[i])
            near = 2 * F.avg_pool2d(F.avg_pool2d(box, m.SIZE // m.SIDE), 3, 1, 1)
            maps.append(torch.cat([encode(real), near], dim=1).half().cpu())
            mean, log_variance = encoder(F.avg_pool2d(real, 2), kind)
            z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
            soft.append(encode(enlarge(decoder(z, kind).float())).half().cpu())
        for k in range(m.KINDS):
            kind = torch.full((a.drawn,), k, device=device)
            for _ in range(a.copies):
                z = prior(torch.randn(a.drawn, m.CODE, device=device), kind)
                drawn.append(encode(enlarge(decoder(z, kind).float())).half().cpu())
    made = {"maps": torch.cat(maps), "soft": torch.cat(soft), "kinds": kinds[order]}
    made["drawn"] = torch.cat(drawn).unflatten(0, (m.KINDS, -1))
    training.save(path, made)
    return made


def draw_noise(
    n: int, device: torch.device, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """The painter's noise: mood and grain."""
    mood = torch.randn(n, m.MOOD, generator=generator)
    grain = (torch.rand(n, m.GRAINS, m.SIDE, m.SIDE, generator=generator) * 2 - 1) * math.sqrt(3)
    return mood.to(device), grain.to(device)


@torch.no_grad()
def start_painter(net: m.Painter, data: dict[str, Tensor]) -> None:
    """Let the painter begin as the principal components of what each plane's soft pictures lack
    around its mean.
    """
    kinds, lack = data["kinds"], data["maps"].float()
    lack[:, : m.MAPS] -= data["soft"].float()
    lack = lack.flatten(1)
    means = mean_of_kinds(lack, kinds, m.KINDS)
    net.mean.weight.copy_(means)
    nn.init.zeros_(net.components.weight)
    for plane in range(len(m.PLANES)):
        rows = kinds % len(m.PLANES) == plane
        if rows.sum() >= m.MOOD + 16:
            around = lack[rows] - means[kinds[rows]]
            _, spread, directions = torch.svd_lowrank(around, m.MOOD + 16, niter=2)
            ways = (directions * spread / math.sqrt(len(around)))[:, : m.MOOD]
            net.components.weight[:, plane * m.MOOD : (plane + 1) * m.MOOD] = ways


def train_painter(a: argparse.Namespace, x: Tensor, kinds: Tensor, boxes: Tensor) -> None:
    torch.manual_seed(a.seed + 2)
    device, n, lazy = torch.device(a.device), 16, 4
    data = painter_data(a, x, kinds, boxes)
    net = m.Painter()
    if not (a.out / "painter.pt").exists():
        start_painter(net, data)
    net.to(device, memory_format=torch.channels_last)
    critic = MapCritic(m.MAPS + 1, m.KINDS, m.Residual).to(
        device, memory_format=torch.channels_last
    )
    average = Average(net, 0.998)
    linear = [*net.mean.parameters(), *net.components.parameters()]
    others = [
        w for name, w in net.named_parameters() if not name.startswith(("mean.", "components."))
    ]
    make = torch.optim.Adam(
        [{"params": others, "part": 1.0}, {"params": linear, "part": 0.1}], betas=(0.0, 0.99)
    )
    judge = torch.optim.Adam(
        [{"params": list(critic.parameters()), "part": 1.75}], betas=(0.0, 0.99)
    )
    run = Run(
        a.out / "painter.pt",
        a.seed + 2,
        net=net,
        critic=critic,
        average=average.net,
        make=make,
        judge=judge,
    )
    while run.step < a.painter_steps:
        done = run.step / a.painter_steps
        pace = min(warm_up(run.step, 100), fade(run.step, a.painter_steps, 3, 0.02))
        for optimiser in (make, judge):
            for group in optimiser.param_groups:
                group["lr"] = a.rate * group["part"] * pace
        i = torch.randint(len(data["kinds"]), (n,))
        real, soft, kind = (
            data["maps"][i].to(device).float(),
            data["soft"][i].to(device).float(),
            data["kinds"][i].to(device),
        )
        over = soft
        if done >= PRIOR_FROM:  # half of the pictures to paint over are the prior's
            half, number = n // 2, torch.randint(data["drawn"].shape[1], (n // 2,))
            over = torch.cat(
                [data["drawn"][data["kinds"][i[:half]], number].to(device).float(), soft[half:]]
            )
        with mixed(device):
            made = net(over, kind, *draw_noise(n, device)).float()
            one, two = disguised(real), disguised(made.detach())
            regions, whole = critic(torch.cat([one, two]), kind.repeat(2))
        loss_critic = preferred((regions[:n], whole[:n]), (regions[n:], whole[n:]))
        loss = loss_critic
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
        loss_votes = preferred(votes, (regions[:n].detach(), whole[:n].detach()))
        keeps = F.l1_loss(made, real)
        loss = loss_votes + a.likeness * max(0.0, 1 - done / PRIOR_FROM) * keeps
        make.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        make.step()
        run.advance(loss_critic, loss_votes, keeps, made.std() / real.std())
        average.update(net, run.step)
        if run.due(a.every, a.painter_steps):
            run.save("critic, votes, l1, spread")
            show_painter(a, x, kinds, average.net)


@torch.inference_mode()
def show_painter(a: argparse.Namespace, x: Tensor, kinds: Tensor, painter: nn.Module) -> None:
    """A sheet of real slices, the same painted again from their codes, and new ones."""
    device = torch.device(a.device)
    encode, decode = trained_first_stage(a.out, device)
    (encoder, decoder), prior = trained_autoencoder(a.out, device), trained_prior(a.out, device)
    fixed = torch.Generator().manual_seed(0)
    pick = torch.linspace(0, len(x) - 1, a.shown).long()
    kind, noise = kinds[pick].to(device), draw_noise(a.shown, device, fixed)
    real = as_tones(x[pick].to(device))
    u = torch.randn(a.shown, m.CODE, generator=fixed).to(device)
    soft = [
        encode(enlarge(decoder(z, kind)))
        for z in (encoder(F.avg_pool2d(real, 2), kind)[0], prior(u, kind))
    ]
    again, fresh = (decode(painter(maps, kind, *noise)[:, : m.MAPS]) for maps in soft)
    rows = [t[k : k + 12] for k in range(0, a.shown, 12) for t in (real, again, fresh)]
    sheet(torch.cat(rows), a.out / "painter.png")


# ------------------------------------------------------------------------------------------------------
# the package
def write_weights(a: argparse.Namespace, kinds: Tensor) -> None:
    """One file for ``model.load``: the averaged networks and how often each kind is; the first
    stage's encoder is for training.
    """
    device = torch.device("cpu")
    states = {
        "prior": trained_prior(a.out, device).state_dict(),
        "soft": trained_autoencoder(a.out, device)[1].state_dict(),
        "painter": state_in(a.out / "painter.pt"),
    }
    tensors = {
        "share": torch.bincount(kinds, minlength=m.KINDS) / len(kinds)
    } | first_stage_tensors(a.out)
    ways = states["painter"]["components.weight"]
    states["painter"]["components.unit"] = unit = ways.abs().amax(dim=0).clamp(min=1e-6) / 127
    # the largest part: one byte per number
    states["painter"]["components.weight"] = (ways / unit).round().to(torch.int8)
    write_halves(
        tensors | {f"{part}.{k}": v for part, state in states.items() for k, v in state.items()},
        a.out / "weights.safetensors",
    )


def write_halves(tensors: dict[str, Tensor], path: Path) -> None:
    """Write half precision, but for the prior's rotation, which must be exactly invertible."""
    exact = {k: v for k, v in tensors.items() if k == "prior.rotation"}
    training.write_weights(halves(tensors) | exact, path)


@dataclass
class Batch:
    """The part of medzoo's batch that a generator needs; the streams are numpy's, so samples differ
    from medzoo's.
    """

    latents: np.ndarray
    conditions: dict[str, np.ndarray]
    options: dict[str, Any]
    stream: int | None = None  # one stream for all, or by default one each

    @property
    def n(self) -> int:
        return len(self.latents)

    def rng(self, i: int) -> Batch.Stream:
        return Batch.Stream(i if self.stream is None else self.stream)

    class Stream:
        def __init__(self, seed: int) -> None:
            self.numpy = np.random.default_rng(seed)

        def normals(self, shape: int) -> np.ndarray:
            return self.numpy.standard_normal(shape, np.float32)

        def uniforms(self, shape: int) -> np.ndarray:
            return self.numpy.random(shape, np.float32)

        def bytes(self, n: int) -> np.ndarray:
            return self.numpy.integers(0, 256, n, np.uint8)


def write_traversal(a: argparse.Namespace) -> None:
    """A row for each latent number, from -2 to 2 in five steps, of an axial, a coronal and a
    sagittal head side by side.
    """
    generator = m.load(a.out, "cpu")
    rows = []
    for axis in range(a.traversed):
        row = []
        for plane, tumour in (("axial", 0), ("coronal", 1), ("sagittal", 2)):
            latents = np.zeros((5, m.LATENT), np.float32)
            latents[:, axis] = np.linspace(-2, 2, 5)
            options = {"plane": plane, "temperature": 1.0}
            batch = Batch(latents, {"condition": np.full(5, tumour)}, options, stream=TRAVERSED)
            row += list(generator.sample(batch)["images"][:, 0])
        rows.append(np.concatenate(row, axis=1))
    Image.fromarray(np.concatenate(rows)).resize(
        (15 * 80, a.traversed * 80), Image.Resampling.BOX
    ).save(a.out / "traversal.png")


def main() -> None:
    parser = training.parser_of(
        __doc__, data="zip or folder with a folder per tumour and boxes.csv", seed=103, every=200
    )
    stages = ["eye", "autoencoder", "prior", "painter", "weights"]
    parser.add_argument("--stage", choices=[*stages, "all"], default="all")
    parser.add_argument("--eye-steps", type=int, default=4_500, help="steps of 8 slices")
    parser.add_argument(
        "--autoencoder-steps", type=int, default=1_700, help="steps of 32 pictures of 64x64"
    )
    parser.add_argument(
        "--nats", type=float, default=100.0, help="information of the code about a picture, in nats"
    )
    parser.add_argument("--prior-steps", type=int, default=3_000, help="steps of 256 latents")
    parser.add_argument(
        "--painter-steps", type=int, default=7_000, help="steps of 16 maps of 16x16"
    )
    parser.add_argument(
        "--copies",
        type=int,
        default=4,
        help="times that each slice is moved and kept for the painter",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=4e-4,
        help="learning rate of the painter; its critic's is higher, or the painter runs away from it",
    )
    parser.add_argument(
        "--steady", type=float, default=0.3, help="weight of the penalty on the critic's slope"
    )
    parser.add_argument(
        "--likeness",
        type=float,
        default=1.0,
        help="weight of the real maps at first; it falls to 0",
    )
    parser.add_argument(
        "--probed", type=int, default=24, help="slices that show which latents move pictures most"
    )
    parser.add_argument(
        "--drawn",
        type=int,
        default=64,
        help="of each kind and copy, pictures of the prior to paint",
    )
    parser.add_argument(
        "--traversed", type=int, default=m.LATENT, help="latents that traversal.png shows"
    )
    parser.add_argument(
        "--shown", type=int, default=36, help="slices and samples on a sheet, twelve per row"
    )
    a = training.arguments_of(parser)
    x, kinds, boxes = read_slices(a.data)
    counts = torch.bincount(kinds, minlength=m.KINDS).tolist()
    training.print_settings(a, slices=len(x), **{"of each kind": counts})
    wanted = stages if a.stage == "all" else [a.stage]
    if "eye" in wanted:
        train_first_stage(a, x, kinds, boxes)
    if "autoencoder" in wanted:
        train_autoencoder(a, x, kinds, boxes)
    if "prior" in wanted:
        train_prior(a, x, kinds, boxes)
    if "painter" in wanted:
        train_painter(a, x, kinds, boxes)
    if "weights" in wanted:
        write_weights(a, kinds)
        write_traversal(a)


if __name__ == "__main__":
    main()
