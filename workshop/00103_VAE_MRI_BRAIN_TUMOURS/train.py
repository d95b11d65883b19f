"""Train model 103 on contrast-enhanced T1 MRI slices of brain tumours.

    python train.py --data brain_t1ce_cheng_256.zip --out runs/brain            # everything, then weights.safetensors

The data set is a zip or a folder of gray pictures ``meningioma/1.jpg`` and so on, and ``boxes.csv`` (file, class and the
tumour's box). Every stage is seeded, writes a checkpoint and a sheet of samples every few minutes, and continues
from the last checkpoint when started again.
"""

from __future__ import annotations

import argparse
import copy
import csv
import io
import json
import math
import os
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import model as m  # the package's own, beside this script
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

# The data set does not say which plane a slice lies in, but its numbers run plane by plane. Looked up by eye: from this
# number on, until the next one, slices are axial, coronal or sagittal.
RUNS = {
    "meningioma": "1a 211c 442s",
    "glioma": "209a 747c 779s 781c 818s 1841a 2242c 2344a 2403c 2540s 2546c 2731s",
    "pituitary": "59c 709a 918c 922a 1034c 1166s 1283a 1456c 1640s",
}
TRAVERSED = 5  # the stream of the head that the traversal starts from
PRIOR_FROM = 0.5  # part of the painter's steps after which half of its pictures are the prior's
BLOCKS, EVERY, GUARD = 20, 5, 4  # a class is cut into 20 blocks of numbers, each fifth held back, four slices between


# ------------------------------------------------------------------------------------------------------- the data
def plane_of(tumour: str, number: int) -> int:
    """0 axial, 1 coronal, 2 sagittal."""
    starts = [run for run in RUNS[tumour].split() if int(run[:-1]) <= number]
    return "acs".index(starts[-1][-1])


def training_part(count: int) -> np.ndarray:
    """Which of a class's ``count`` slices, in order of their numbers, are for training: neighbours are of one patient."""
    block = np.arange(count) * BLOCKS // count
    held = block % EVERY == EVERY // 2
    near = np.convolve(held, np.ones(2 * GUARD + 1), mode="same") > 0
    return ~near


def read_slices(data: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Training slices as tones (N, 1, 128, 128), kinds (N,), and 1 within a tumour's box (N, 1, 128, 128)."""
    if data.is_dir():
        files = {p.relative_to(data).as_posix(): p.read_bytes() for p in data.rglob("*.*")}
    else:
        with zipfile.ZipFile(data) as archive:
            files = {n: archive.read(n) for n in archive.namelist() if not n.endswith("/")}
    boxes = {row[0]: [float(v) for v in row[2:6]] for row in list(csv.reader(io.StringIO(files["boxes.csv"].decode())))[1:]}
    images, kinds, masks = [], [], []
    y, x = (np.mgrid[: m.SIZE, : m.SIZE] + 0.5) / m.SIZE
    for tumour, name in enumerate(m.TUMOURS):
        names = sorted((n for n in files if n.startswith(f"{name}/")), key=lambda n: int(Path(n).stem))
        for path in np.array(names)[training_part(len(names))]:
            picture = Image.open(io.BytesIO(files[path])).convert("L").resize((m.SIZE, m.SIZE), Image.Resampling.BOX)
            images.append(np.asarray(picture))
            kinds.append(tumour * len(m.PLANES) + plane_of(name, int(Path(path).stem)))
            centre_x, centre_y, width, height = boxes.get(str(path), (0, 0, 0, 0))
            masks.append((abs(x - centre_x) < width / 2) & (abs(y - centre_y) < height / 2))
    tones = m.to_tones(torch.from_numpy(np.stack(images)).float()[:, None])
    return tones, torch.tensor(kinds), torch.from_numpy(np.stack(masks)).float()[:, None]


def moved(x: Tensor, kinds: Tensor) -> Tensor:
    """``x`` (N, C, H, W) turned, shifted and scaled a little; axial and coronal slices mirrored now and then."""
    n = len(x)
    angle, scale = 0.05 * torch.randn(n), 1 + 0.02 * torch.randn(n)
    mirror = torch.where((kinds % len(m.PLANES) < 2) & (torch.rand(n) < 0.5), -1.0, 1.0)
    shift = 0.02 * torch.randn(n, 2)
    rows = torch.stack([scale * angle.cos() * mirror, -scale * angle.sin(), shift[:, 0]], dim=1)
    columns = torch.stack([scale * angle.sin() * mirror, scale * angle.cos(), shift[:, 1]], dim=1)
    grid = F.affine_grid(torch.stack([rows, columns], dim=1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid.to(x.device), padding_mode="border", align_corners=False)


# ---------------------------------------------------------------------------------------------------- bookkeeping
class Average:
    """Exponential moving average of a network's weights and buffers."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net, self.decay = copy.deepcopy(net).eval(), decay

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for mine, theirs in zip(self.net.state_dict().values(), net.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)


class Run:
    """The parts of a stage under their names, their checkpoint and the step they are at."""

    def __init__(self, path: Path, seed: int, **parts: Any) -> None:
        self.path, self.parts, self.step, self.began, self.log = path, parts, 0, time.time(), []
        if path.exists():
            state = torch.load(path, weights_only=True)
            for name, part in parts.items():
                part.load_state_dict(state[name])
            self.step = state["step"]
        torch.manual_seed(seed + self.step)

    def save(self, names: str) -> None:
        """Write the checkpoint and a line with the means of what was logged."""
        print(f"{self.path.stem} {self.step} {names}", np.mean(self.log, axis=0).round(4), end=" ")
        print(f"{(time.time() - self.began) / 60:.1f} min", flush=True)
        self.log.clear()
        part = self.path.with_suffix(".part")
        torch.save({name: part.state_dict() for name, part in self.parts.items()} | {"step": self.step}, part)
        os.replace(part, self.path)


def sheet(images: Tensor, path: Path, columns: int = 12) -> None:
    """Write (N, 1, H, W), tones, as one PNG."""
    images = m.to_gray(images.float()).round().byte().cpu()
    grid = torch.cat([torch.cat(list(row), dim=2) for row in images.split(columns) if len(row) == columns], dim=1)
    Image.fromarray(grid[0].numpy()).save(path)


# ---------------------------------------------------------------------------------------- stage 1: the autoencoder
class Encoder(nn.Module):
    """Mean and log variance, each (N, 64), of pictures (N, 1, 64, 64) of known kind; like the decoder it starts linear."""

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96, 128)) -> None:
        super().__init__()
        layers, channels = [], 1
        for width in widths:
            layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            channels = width
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.components, self.shift = nn.Linear(m.LOW * m.LOW, m.CODE, bias=False), nn.Embedding(m.KINDS, m.CODE)
        self.head = nn.Sequential(nn.Linear(channels * 16 + m.KINDS, 256), nn.LeakyReLU(0.2), nn.Linear(256, 2 * m.CODE))
        nn.init.zeros_(self.head[-1].weight)
        nn.init.zeros_(self.head[-1].bias)

    def forward(self, x: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.cat([self.body(x), F.one_hot(kind, m.KINDS).to(x.dtype)], dim=1)
        mean, log_variance = self.head(h).float().chunk(2, dim=1)
        mean = mean + self.components(x.flatten(1)).float() + self.shift(kind)
        return mean, log_variance.clamp(-10, 2)


@torch.no_grad()
def start_linear(encoder: Encoder, decoder: m.Decoder, x: Tensor, kinds: Tensor, nats: float) -> None:
    """Let both begin as the principal components of the pictures around the mean of their kind."""
    pictures = torch.cat([F.avg_pool2d(moved(x, kinds), 2).flatten(1) for _ in range(3)])
    kind = kinds.repeat(3)
    means = torch.stack(
        [pictures[kind == k].mean(dim=0) if (kind == k).any() else pictures.mean(dim=0) for k in range(m.KINDS)]
    )
    _, spread, directions = torch.svd_lowrank(pictures - means[kind], m.CODE + 16, niter=4)
    spread, directions = spread[: m.CODE] / math.sqrt(len(pictures)), directions[:, : m.CODE]
    decoder.mean.weight.copy_(means)
    decoder.components.weight.copy_(directions * spread)
    encoder.components.weight.copy_((directions / spread).T)
    encoder.shift.weight.copy_(-means @ directions / spread)
    # Noise that is as strong in the picture along every direction, so much of it that the code tells what it is to tell.
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
    start_linear(encoder, decoder, x, kinds, a.nats)
    averages = Average(encoder, 0.998), Average(decoder, 0.998)
    weights = [*encoder.parameters(), *decoder.parameters()]
    linear = [encoder.components.weight, encoder.shift.weight, decoder.components.weight, decoder.mean.weight]
    others = [w for w in weights if all(w is not v for v in linear)]
    groups = [{"params": others, "rate": 1e-3}, {"params": linear, "rate": 1e-4, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.01)
    balance = nn.Linear(1, 1, bias=False)  # log of the weight of the picture against the divergence
    nn.init.constant_(balance.weight, math.log(12000.0))
    parts = {"encoder": encoder, "decoder": decoder, "balance": balance, "optimiser": optimiser}
    run = Run(a.out / "autoencoder.pt", a.seed, **parts, encoder_average=averages[0].net, decoder_average=averages[1].net)
    both = torch.cat([x, boxes], dim=1)
    while run.step < a.autoencoder_steps:
        for group in optimiser.param_groups:
            group["lr"] = (
                group["rate"] * min(1.0, run.step / 100) * (0.5 + 0.5 * math.cos(math.pi * run.step / a.autoencoder_steps))
            )
        i = torch.randint(len(x), (batch,))
        kind = kinds[i].to(device)
        picture, box = F.avg_pool2d(moved(both[i].to(device), kinds[i]), 2).split(1, dim=1)  # (N, 1, 64, 64) each
        with torch.autocast(device.type, dtype=torch.bfloat16):
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
        with torch.no_grad():  # the weight of the picture moves until the latents tell as much of it as they are meant to
            balance.weight += 1e-3 * (a.nats - divergence.clamp(max=2 * a.nats)) / a.nats * 5
        run.step += 1
        for average, net in zip(averages, (encoder, decoder), strict=True):
            average.update(net, run.step)
        run.log.append([distance.item(), divergence.item(), balance.weight.exp().item()])
        if run.step % a.every == 0 or run.step == a.autoencoder_steps:
            run.save("distance, nats, weight")
            with torch.inference_mode():
                pick = torch.linspace(0, len(x) - 1, 36).long()
                real = F.avg_pool2d(x[pick].to(device), 2)
                kind = kinds[pick].to(device)
                mean, _ = averages[0].net(real, kind)
                again = averages[1].net(mean, kind)
                drawn = averages[1].net(torch.randn(36, m.CODE, generator=torch.Generator().manual_seed(0)).to(device), kind)
            sheet(
                torch.cat([t for k in range(0, 36, 12) for t in (real[k : k + 12], again[k : k + 12], drawn[k : k + 12])]),
                a.out / "autoencoder.png",
            )


# ---------------------------------------------------------------------------------------------- stage 2: the prior
def trained_autoencoder(out: Path, device: torch.device) -> tuple[Encoder, m.Decoder]:
    """The averaged networks of the first stage."""
    state = torch.load(out / "autoencoder.pt", weights_only=True, map_location="cpu")
    encoder, decoder = Encoder().eval(), m.Decoder().eval()
    encoder.load_state_dict(state["encoder_average"])
    decoder.load_state_dict(state["decoder_average"])
    parts = [net.requires_grad_(False).to(device, memory_format=torch.channels_last) for net in (encoder, decoder)]
    return parts[0], parts[1]


@torch.no_grad()
def visible_directions(decoder: m.Decoder, z: Tensor, kinds: Tensor) -> Tensor:
    """Orthogonal directions of the latents (16, 16), as columns, in order of how much the picture changes along them."""
    step, changes = 0.2, []
    for axis in torch.eye(m.CODE, device=z.device) * step:
        changes.append((decoder(z + axis, kinds) - decoder(z - axis, kinds)).flatten(1) / (2 * step))
    jacobian = torch.stack(changes, dim=2)  # (N, 4096, 16)
    return torch.linalg.eigh((jacobian.transpose(1, 2) @ jacobian).mean(dim=0))[1].flip(1)


def train_prior(a: argparse.Namespace, x: Tensor, kinds: Tensor) -> None:
    torch.manual_seed(a.seed + 1)
    device = torch.device(a.device)
    encoder, decoder = trained_autoencoder(a.out, device)
    means, spreads, order = [], [], []
    with torch.no_grad():
        for _ in range(6):
            for i in torch.randperm(len(x)).split(64):
                mean, log_variance = encoder(F.avg_pool2d(moved(x[i].to(device), kinds[i]), 2), kinds[i].to(device))
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
    pick = torch.randperm(len(mean), device=device)[:24]
    net.rotation.copy_(visible_directions(decoder, mean[pick], kind[pick]))
    average = Average(net, 0.995)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
    run = Run(a.out / "prior.pt", a.seed + 1, net=net, average=average.net, optimiser=optimiser)
    while run.step < a.prior_steps:
        optimiser.param_groups[0]["lr"] = 2e-3 * (0.5 + 0.5 * math.cos(math.pi * run.step / a.prior_steps)) + 1e-6
        i = torch.randint(len(mean), (256,), device=device)
        u, log_det = net.inverse(mean[i] + spread[i] * torch.randn_like(mean[i]), kind[i])
        loss = (0.5 * u.square().sum(dim=1) - log_det).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        run.step += 1
        average.update(net, run.step)
        run.log.append([loss.item()])
        if run.step % (5 * a.every) == 0 or run.step == a.prior_steps:
            run.save("surprise")
    with torch.inference_mode():
        of = torch.arange(72, device=device) % 12 % m.KINDS
        drawn = decoder(average.net(torch.randn(72, m.CODE, device=device), of), of)
    sheet(drawn, a.out / "prior.png")


def trained_prior(out: Path, device: torch.device) -> m.Prior:
    """The averaged flow of the second stage."""
    net = m.Prior().eval()
    net.load_state_dict(torch.load(out / "prior.pt", weights_only=True, map_location="cpu")["average"])
    return net.requires_grad_(False).to(device)


# ---------------------------------------------------------------------------------------------- stage 3: the painter
class Critic(nn.Module):
    """Scores regions and the whole of a picture over its soft one: hinge loss, told the kind by projection."""

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96, 128, 128)) -> None:
        super().__init__()
        self.layers, channels = nn.ModuleList(), 4
        for width in widths:
            self.layers.append(nn.Conv2d(channels, width, 4, stride=2, padding=1))
            channels = width
        self.regions, self.whole = nn.Conv2d(widths[2], 1, 1), nn.Conv2d(channels, 1, 4)
        self.of_region, self.of_whole = nn.Embedding(m.KINDS, widths[2]), nn.Embedding(m.KINDS, channels)
        nn.init.zeros_(self.of_region.weight)
        nn.init.zeros_(self.of_whole.weight)

    def forward(self, x: Tensor, soft: Tensor, kind: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Votes on regions (N, 256), on the whole (N, 1), and the features behind them."""
        middle = m.enlarge(m.detail(F.avg_pool2d(x, 2)))
        h, features = torch.cat([x, 8 * m.detail(x), 4 * middle, soft], dim=1), []
        for layer in self.layers:
            h = m.leaky(layer(h))
            features.append(h)
        regions = self.regions(features[2]) + (features[2] * self.of_region(kind)[:, :, None, None]).sum(1, keepdim=True)
        whole = self.whole(h).flatten(1) + (h.mean(dim=(2, 3)) * self.of_whole(kind)).sum(1, keepdim=True)
        return regions.flatten(1).float(), whole.float(), features


def disguised(x: Tensor, soft: Tensor) -> tuple[Tensor, Tensor]:
    """Differentiable contrast, shift and a hole, so that a critic cannot learn pictures by heart (Zhao et al., arXiv:2006.10738)."""
    n, side = len(x), x.shape[3]
    gain = 1 + 0.2 * (torch.rand(n, 1, 1, 1, device=x.device) - 0.5)
    offset = 0.1 * (torch.rand(n, 1, 1, 1, device=x.device) - 0.5)
    line = torch.arange(side, device=x.device)
    top, left = torch.randint(-side // 4, side, (2, n, 1), device=x.device)
    rows, columns = ((line >= first) & (line < first + side // 3) for first in (top, left))
    keep = 1 - (rows[:, None, :, None] & columns[:, None, None, :]).to(x.dtype)
    dy, dx = (int(v) for v in torch.randint(-12, 13, (2,)))
    both = (torch.cat([x, soft], dim=1) * gain + offset) * keep
    both = F.pad(both, (dx, -dx, dy, -dy), value=-1.0)
    return both[:, :1], both[:, 1:]


def draw_noise(n: int, device: torch.device, generator: torch.Generator | None = None) -> list[Tensor]:
    """The painter's noise: uniform, of unit variance, a plane a scale."""
    return [((torch.rand(n, 1, s, s, generator=generator) * 2 - 1) * math.sqrt(3)).to(device) for s in m.SIDES]


def train_painter(a: argparse.Namespace, x: Tensor, kinds: Tensor) -> None:
    torch.manual_seed(a.seed + 2)
    device, n = torch.device(a.device), 8
    (encoder, decoder), prior = trained_autoencoder(a.out, device), trained_prior(a.out, device)
    net = m.Painter().to(device, memory_format=torch.channels_last)
    critic = Critic().to(device, memory_format=torch.channels_last)
    average = Average(net, 0.998)
    make = torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.99))
    judge = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.99))
    run = Run(a.out / "painter.pt", a.seed + 2, net=net, critic=critic, average=average.net, make=make, judge=judge)
    while run.step < a.painter_steps:
        for optimiser in (make, judge):
            optimiser.param_groups[0]["lr"] = (2e-4 if optimiser is make else 1e-3) * min(
                1.0, 4 * (1 - run.step / a.painter_steps) + 0.02
            )
        i = torch.randint(len(x), (n,))
        kind = kinds[i].to(device)
        real = moved(x[i].to(device), kinds[i])
        drawn = n // 2 if run.step >= PRIOR_FROM * a.painter_steps else 0  # so many are over pictures that the prior makes
        with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16):
            mean, log_variance = encoder(F.avg_pool2d(real, 2), kind)
            z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
            soft = decoder(z, kind).float()
            over = soft.clone()
            if drawn:
                over[:drawn] = decoder(prior(torch.randn_like(z[:drawn]), kind[:drawn]), kind[:drawn]).float()
        with torch.autocast(device.type, dtype=torch.bfloat16):
            fake = net(over, kind, draw_noise(n, device)).float()
            below, below_fake = m.enlarge(soft), m.enlarge(over)
        for _ in range(2):  # the critic learns twice a step, and faster, or the painter runs away from it
            with torch.autocast(device.type, dtype=torch.bfloat16):
                one, two = disguised(real, below), disguised(fake.detach(), below_fake)
                regions, whole, _ = critic(torch.cat([one[0], two[0]]), torch.cat([one[1], two[1]]), kind.repeat(2))
            loss_critic = sum(F.relu(1 - v[:n]).mean() + F.relu(1 + v[n:]).mean() for v in (regions, whole))
            judge.zero_grad()
            loss_critic.backward()
            judge.step()
        critic.requires_grad_(False)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            regions, whole, _ = critic(*disguised(fake, below_fake), kind)
            with torch.no_grad():
                wanted = critic(real[drawn:], below[drawn:], kind[drawn:])[2]
            like = critic(fake[drawn:], below_fake[drawn:], kind[drawn:])[2]
        critic.requires_grad_(True)
        vote = regions.mean() + whole.mean()
        keeps_soft = F.l1_loss(F.avg_pool2d(fake, 8), F.avg_pool2d(over, 4))
        keeps_features = sum((p - q).abs().mean() / q.abs().mean() for p, q in zip(like, wanted, strict=True)).float() / len(
            like
        )
        keeps_picture = F.l1_loss(fake[drawn:], real[drawn:])
        loss = -0.2 * vote + 10 * keeps_soft + a.likeness * keeps_features + 20 * keeps_picture
        make.zero_grad()
        loss.backward()
        make.step()
        run.step += 1
        average.update(net, run.step)
        run.log.append([loss_critic.item(), vote.item(), keeps_soft.item(), keeps_features.item(), keeps_picture.item()])
        if run.step % a.every == 0 or run.step == a.painter_steps:
            run.save("critic, vote, soft, features, picture")
            with torch.inference_mode():
                pick = torch.linspace(0, len(x) - 1, 36).long()
                kind = kinds[pick].to(device)
                z = encoder(F.avg_pool2d(x[pick].to(device), 2), kind)[0]
                fixed = torch.Generator().manual_seed(0)
                painted = average.net(decoder(z, kind), kind, draw_noise(36, device, fixed))
                u = torch.randn(36, m.CODE, generator=fixed).to(device)
                fresh = average.net(decoder(prior(u, kind), kind), kind, draw_noise(36, device, fixed))
            rows = [t[k : k + 12] for k in range(0, 36, 12) for t in (x[pick].to(device), painted, fresh)]
            sheet(torch.cat(rows), a.out / "painter.png")


# ------------------------------------------------------------------------------------------------------ the package
def write_weights(a: argparse.Namespace, kinds: Tensor) -> None:
    """One file for ``model.load``: the three averaged networks and how often each kind is, half precision."""
    device = torch.device("cpu")
    painter = torch.load(a.out / "painter.pt", weights_only=True, map_location="cpu")["average"]
    states = {
        "prior": trained_prior(a.out, device).state_dict(),
        "decoder": trained_autoencoder(a.out, device)[1].state_dict(),
        "painter": painter,
    }
    tensors = {"share": torch.bincount(kinds, minlength=m.KINDS) / len(kinds)}
    tensors |= {f"{part}.{k}": v for part, state in states.items() for k, v in state.items() if v.is_floating_point()}
    halves = {k: v.float() if k.startswith("prior.") else v.half() for k, v in tensors.items()}  # a prior goes back exactly
    save_file({k: v.contiguous() for k, v in halves.items()}, a.out / "weights.safetensors")
    (a.out / "weights.safetensors").chmod(0o644)  # safetensors makes it readable by its owner alone


@dataclass
class Batch:
    """As much of medzoo's batch as a generator asks for; the streams are numpy's, so samples differ from medzoo's."""

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
    """A row for each latent number, from -2 to 2 in five steps, of an axial, a coronal and a sagittal head side by side."""
    generator = m.load(a.out, "cpu")
    rows = []
    for axis in range(m.LATENT):
        row = []
        for plane, tumour in (("axial", 0), ("coronal", 1), ("sagittal", 2)):
            latents = np.zeros((5, m.LATENT), np.float32)
            latents[:, axis] = np.linspace(-2, 2, 5)
            options = {"plane": plane, "temperature": 1.0}
            batch = Batch(latents, {"condition": np.full(5, tumour)}, options, stream=TRAVERSED)
            row += list(generator.sample(batch)["images"][:, 0])
        rows.append(np.concatenate(row, axis=1))
    Image.fromarray(np.concatenate(rows)).resize((15 * 80, m.LATENT * 80), Image.Resampling.BOX).save(a.out / "traversal.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="zip or folder with a folder for each tumour and boxes.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, sheets and weights.safetensors")
    parser.add_argument("--stage", choices=["autoencoder", "prior", "painter", "weights", "all"], default="all")
    parser.add_argument("--autoencoder-steps", type=int, default=1_700, help="steps of 32 pictures of 64x64")
    parser.add_argument("--nats", type=float, default=100.0, help="what the code tells of a picture")
    parser.add_argument("--prior-steps", type=int, default=3_000, help="steps of 256 latents")
    parser.add_argument("--painter-steps", type=int, default=3_000, help="steps of 8 pictures of 128x128")
    parser.add_argument("--likeness", type=float, default=1.5, help="weight of the critic's features of the real picture")
    parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=103)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    a.out.mkdir(parents=True, exist_ok=True)
    x, kinds, boxes = read_slices(a.data)
    counts = torch.bincount(kinds, minlength=m.KINDS).tolist()
    print(json.dumps({"slices": len(x), "of each kind": counts} | {k: str(v) for k, v in vars(a).items()}), flush=True)
    if a.stage in ("autoencoder", "all"):
        train_autoencoder(a, x, kinds, boxes)
    if a.stage in ("prior", "all"):
        train_prior(a, x, kinds)
    if a.stage in ("painter", "all"):
        train_painter(a, x, kinds)
    if a.stage in ("weights", "all"):
        write_weights(a, kinds)
        write_traversal(a)


if __name__ == "__main__":
    main()
