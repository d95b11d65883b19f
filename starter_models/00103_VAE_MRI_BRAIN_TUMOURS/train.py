"""Train model 103 on contrast-enhanced T1 MRI slices of brain tumours.

    python train.py --data brain_t1ce_cheng_256.zip --out runs/brain            # everything, then weights.safetensors

The data set is a zip or a folder of gray pictures ``meningioma/1.jpg`` and so on, and ``boxes.csv``
(file, class and the tumour's box). Every stage is seeded, writes a checkpoint and a sheet of
samples every few minutes, and continues from the last checkpoint when started again.
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

# The data set does not say which plane a slice lies in, but its numbers run plane by plane. Looked
# up by eye: from this number on, until the next one, slices are axial, coronal or sagittal.
RUNS = {
    "meningioma": "1a 211c 442s",
    "glioma": "209a 747c 779s 781c 818s 1841a 2242c 2344a 2403c 2540s 2546c 2731s",
    "pituitary": "59c 709a 918c 922a 1034c 1166s 1283a 1456c 1640s",
}
FULL = 256  # pixels of a slice as it is read
TRAVERSED = 5  # the stream of the head that the traversal starts from
PRIOR_FROM = 0.5  # part of the painter's steps after which half of its pictures are the prior's
BLOCKS, EVERY, GUARD = (
    20,
    5,
    4,
)  # a class is cut into 20 blocks of numbers, each fifth held back, four slices between


# -------------------------------------------------------------------------------------------------------
# the data
def plane_of(tumour: str, number: int) -> int:
    """0 axial, 1 coronal, 2 sagittal."""
    starts = [run for run in RUNS[tumour].split() if int(run[:-1]) <= number]
    return "acs".index(starts[-1][-1])


def training_part(count: int) -> np.ndarray:
    """Which of a class's ``count`` slices, in order of their numbers, are for training: neighbours
    are of one patient.
    """
    block = np.arange(count) * BLOCKS // count
    held = block % EVERY == EVERY // 2
    near = np.convolve(held, np.ones(2 * GUARD + 1), mode="same") > 0
    return ~near


def read_slices(data: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Training slices as gray levels (N, 1, 256, 256), kinds (N,), and 1 within a tumour's box (N,
    1, 256, 256), uint8.
    """
    if data.is_dir():
        files = {p.relative_to(data).as_posix(): p.read_bytes() for p in data.rglob("*.*")}
    else:
        with zipfile.ZipFile(data) as archive:
            files = {n: archive.read(n) for n in archive.namelist() if not n.endswith("/")}
    boxes = {
        row[0]: [float(v) for v in row[2:6]]
        for row in list(csv.reader(io.StringIO(files["boxes.csv"].decode())))[1:]
    }
    images, kinds, masks = [], [], []
    y, x = (np.mgrid[:FULL, :FULL] + 0.5) / FULL
    for tumour, name in enumerate(m.TUMOURS):
        names = sorted(
            (n for n in files if n.startswith(f"{name}/")), key=lambda n: int(Path(n).stem)
        )
        for path in np.array(names)[training_part(len(names))]:
            picture = (
                Image.open(io.BytesIO(files[path]))
                .convert("L")
                .resize((FULL, FULL), Image.Resampling.BOX)
            )
            images.append(np.asarray(picture))
            kinds.append(tumour * len(m.PLANES) + plane_of(name, int(Path(path).stem)))
            centre_x, centre_y, width, height = boxes.get(str(path), (0, 0, 0, 0))
            masks.append((abs(x - centre_x) < width / 2) & (abs(y - centre_y) < height / 2))
    gray, boxed = (
        torch.from_numpy(np.stack(part).astype(np.uint8))[:, None] for part in (images, masks)
    )
    return gray, torch.tensor(kinds), boxed


def as_tones(x: Tensor) -> Tensor:
    """Gray levels (N, 1, 256, 256) as tones (N, 1, 128, 128)."""
    return m.to_tones(F.avg_pool2d(x.float(), FULL // m.SIZE))


def moved(x: Tensor, boxes: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
    """Tones and boxes (N, 1, 128, 128) of slices turned, shifted and scaled a little; but for
    sagittal ones mirrored now and then.

    All of that at 256x256, so that little detail is lost.
    """
    n, both = len(x), torch.cat([x, boxes], dim=1).float()
    angle, scale = 0.05 * torch.randn(n), 1 + 0.02 * torch.randn(n)
    mirror = torch.where((kinds % len(m.PLANES) < 2) & (torch.rand(n) < 0.5), -1.0, 1.0)
    shift = 0.02 * torch.randn(n, 2)
    rows = torch.stack([scale * angle.cos() * mirror, -scale * angle.sin(), shift[:, 0]], dim=1)
    columns = torch.stack([scale * angle.sin() * mirror, scale * angle.cos(), shift[:, 1]], dim=1)
    grid = F.affine_grid(torch.stack([rows, columns], dim=1), list(both.shape), align_corners=False)
    both = F.grid_sample(both, grid.to(x.device), padding_mode="border", align_corners=False)
    return as_tones(both[:, :1]), F.avg_pool2d(both[:, 1:], FULL // m.SIZE)


# ----------------------------------------------------------------------------------------------------
# bookkeeping
def mixed(device: torch.device) -> torch.autocast:
    """bfloat16 where it is fast: on a processor without it, it takes many times as long as full
    precision.
    """
    fast = device.type != "cpu" or torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast)


class Average:
    """Exponential moving average of a network's weights and buffers."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net, self.decay = copy.deepcopy(net).eval(), decay

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for mine, theirs in zip(
            self.net.state_dict().values(), net.state_dict().values(), strict=True
        ):
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
        torch.save(
            {name: part.state_dict() for name, part in self.parts.items()} | {"step": self.step},
            part,
        )
        os.replace(part, self.path)


def sheet(images: Tensor, path: Path, columns: int = 12) -> None:
    """Write (N, 1, H, W), tones, as one PNG."""
    images = m.to_gray(images.float()).round().byte().cpu()
    grid = torch.cat(
        [torch.cat(list(row), dim=2) for row in images.split(columns) if len(row) == columns], dim=1
    )
    Image.fromarray(grid[0].numpy()).save(path)


# -------------------------------------------------------------------------------------------------
# stage 1: the eye
class EyeCritic(nn.Module):
    """Votes on regions of tones (N, 1, 128, 128), told their two finest bands apart, and the
    features behind the votes.
    """

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96)) -> None:
        super().__init__()
        self.layers, channels = nn.ModuleList(), 3
        for width in widths:
            self.layers.append(
                nn.utils.spectral_norm(nn.Conv2d(channels, width, 4, stride=2, padding=1))
            )
            channels = width
        self.last = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        middle = m.enlarge(m.detail(F.avg_pool2d(x, 2)))
        h, features = torch.cat([x, 8 * m.detail(x), 4 * middle], dim=1), []
        for layer in self.layers:
            h = m.leaky(layer(h))
            features.append(h)
        return self.last(h).float(), features


def band_difference(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference in four bands of a Laplacian pyramid, the finest twice, and in what
    is left.
    """
    total, weight = x.new_zeros(()), 2.0
    for _ in range(4):
        total = total + weight * (m.detail(x) - m.detail(y)).abs().mean()
        x, y, weight = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2), 1.0
    return total + (x - y).abs().mean()


def train_eye(a: argparse.Namespace, x: Tensor, kinds: Tensor, boxes: Tensor) -> None:
    torch.manual_seed(a.seed + 3)
    device, n, critic_from = torch.device(a.device), 8, 0.4 * a.eye_steps
    encoder, decoder, critic = (
        net.to(device, memory_format=torch.channels_last)
        for net in (m.EyeEncoder(), m.EyeDecoder(), EyeCritic())
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
        fade = min(1.0, 3 * (1 - run.step / a.eye_steps) + 0.03)
        make.param_groups[0]["lr"] = (
            min(1.0, (run.step + 1) / 100) * (1e-3 if run.step < critic_from else 4e-4) * fade
        )
        judge.param_groups[0]["lr"] = 4e-4 * fade
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
            loss_critic = F.relu(1 - votes[:n]).mean() + F.relu(1 + votes[n:]).mean()
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
        run.step += 1
        for average, net in zip(averages, (encoder, decoder), strict=True):
            average.update(net, run.step)
        run.log.append([loss.item(), F.l1_loss(made, real).item(), loss_critic.item(), vote.item()])
        if run.step % a.every == 0 or run.step == a.eye_steps:
            run.save("loss, l1, critic, vote")
            with torch.inference_mode():
                pick = torch.linspace(0, len(x) - 1, 36).long()
                real = as_tones(x[pick].to(device))
                again = averages[1].net(averages[0].net(real))
            sheet(
                torch.cat([t[k : k + 12] for k in range(0, 36, 12) for t in (real, again)]),
                a.out / "eye.png",
            )
    save_halves(eye_tensors(a.out), a.out / "eye.safetensors")


def eye_tensors(out: Path) -> dict[str, Tensor]:
    """The averaged weights of the eye, ``encoder.*`` and ``decoder.*``."""
    state = torch.load(out / "eye.pt", weights_only=True, map_location="cpu")
    parts = {"encoder": state["enc_avg"], "decoder": state["dec_avg"]}
    return {
        f"{part}.{k}": v
        for part, weights in parts.items()
        for k, v in weights.items()
        if v.is_floating_point()
    }


def trained_eye(out: Path, device: torch.device) -> tuple[m.EyeEncoder, m.EyeDecoder]:
    """The averaged networks of the first stage."""
    state = torch.load(out / "eye.pt", weights_only=True, map_location="cpu")
    encoder, decoder = m.EyeEncoder().eval(), m.EyeDecoder().eval()
    encoder.load_state_dict(state["enc_avg"])
    decoder.load_state_dict(state["dec_avg"])
    parts = [
        net.requires_grad_(False).to(device, memory_format=torch.channels_last)
        for net in (encoder, decoder)
    ]
    return parts[0], parts[1]


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
    means = torch.stack(
        [
            pictures[kind == k].mean(dim=0) if (kind == k).any() else pictures.mean(dim=0)
            for k in range(m.KINDS)
        ]
    )
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
        for group in optimiser.param_groups:
            group["lr"] = (
                group["rate"]
                * min(1.0, run.step / 100)
                * (0.5 + 0.5 * math.cos(math.pi * run.step / a.autoencoder_steps))
            )
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
        run.step += 1
        for average, net in zip(averages, (encoder, decoder), strict=True):
            average.update(net, run.step)
        run.log.append([distance.item(), divergence.item(), balance.weight.exp().item()])
        if run.step % a.every == 0 or run.step == a.autoencoder_steps:
            run.save("distance, nats, weight")
            with torch.inference_mode():
                pick = torch.linspace(0, len(x) - 1, 36).long()
                real = F.avg_pool2d(as_tones(x[pick].to(device)), 2)
                kind = kinds[pick].to(device)
                mean, _ = averages[0].net(real, kind)
                again = averages[1].net(mean, kind)
                drawn = averages[1].net(
                    torch.randn(36, m.CODE, generator=torch.Generator().manual_seed(0)).to(device),
                    kind,
                )
            sheet(
                torch.cat(
                    [
                        t
                        for k in range(0, 36, 12)
                        for t in (real[k : k + 12], again[k : k + 12], drawn[k : k + 12])
                    ]
                ),
                a.out / "autoencoder.png",
            )


# ----------------------------------------------------------------------------------------------
# stage 3: the prior
def trained_autoencoder(out: Path, device: torch.device) -> tuple[Encoder, m.Decoder]:
    """The averaged networks of the second stage."""
    state = torch.load(out / "autoencoder.pt", weights_only=True, map_location="cpu")
    encoder, decoder = Encoder().eval(), m.Decoder().eval()
    encoder.load_state_dict(state["encoder_average"])
    decoder.load_state_dict(state["decoder_average"])
    parts = [
        net.requires_grad_(False).to(device, memory_format=torch.channels_last)
        for net in (encoder, decoder)
    ]
    return parts[0], parts[1]


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
    pick = torch.randperm(len(mean), device=device)[:24]
    net.rotation.copy_(visible_directions(decoder, mean[pick], kind[pick]))
    average = Average(net, 0.995)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
    run = Run(a.out / "prior.pt", a.seed + 1, net=net, average=average.net, optimiser=optimiser)
    while run.step < a.prior_steps:
        optimiser.param_groups[0]["lr"] = (
            2e-3 * (0.5 + 0.5 * math.cos(math.pi * run.step / a.prior_steps)) + 1e-6
        )
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
    """The averaged flow of the third stage."""
    net = m.Prior().eval()
    net.load_state_dict(
        torch.load(out / "prior.pt", weights_only=True, map_location="cpu")["average"]
    )
    return net.requires_grad_(False).to(device)


# ----------------------------------------------------------------------------------------------
# stage 4: the painter
@torch.no_grad()
def painter_data(
    a: argparse.Namespace, x: Tensor, kinds: Tensor, boxes: Tensor
) -> dict[str, Tensor]:
    """What the painter learns from, made once and kept in ``painter_data.pt``, half precision.

    ``maps`` (M, 9, 16, 16): the eye's of slices moved again each time, and how near the tumour's
    box is. ``soft`` (M, 8, 16, 16) and ``kinds`` (M,): the eye's of what the decoder makes of their
    codes. ``drawn`` (9, 64 * copies, 8, 16, 16): the eye's of soft pictures that the prior makes.
    """
    path, device = a.out / "painter_data.pt", torch.device(a.device)
    if path.exists():
        return torch.load(path, weights_only=True)
    torch.manual_seed(a.seed + 2)
    eye, _ = trained_eye(a.out, device)
    (encoder, decoder), prior = trained_autoencoder(a.out, device), trained_prior(a.out, device)
    order = torch.arange(len(x)).repeat(a.copies)
    maps, soft, drawn = [], [], []
    with mixed(device):
        for i in order.split(64):
            kind = kinds[i].to(device)
            real, box = moved(x[i].to(device), boxes[i].to(device), kinds[i])
            near = 2 * F.avg_pool2d(F.avg_pool2d(box, m.SIZE // m.SIDE), 3, 1, 1)
            maps.append(torch.cat([eye(real), near], dim=1).half().cpu())
            mean, log_variance = encoder(F.avg_pool2d(real, 2), kind)
            z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
            soft.append(eye(m.enlarge(decoder(z, kind).float())).half().cpu())
        for k in range(m.KINDS):
            kind = torch.full((64,), k, device=device)
            for _ in range(a.copies):
                z = prior(torch.randn(64, m.CODE, device=device), kind)
                drawn.append(eye(m.enlarge(decoder(z, kind).float())).half().cpu())
    made = {"maps": torch.cat(maps), "soft": torch.cat(soft), "kinds": kinds[order]}
    made["drawn"] = torch.cat(drawn).unflatten(0, (m.KINDS, -1))
    part = path.with_suffix(".part")
    torch.save(made, part)
    os.replace(part, path)
    return made


class Critic(nn.Module):
    """Votes on regions and the whole of nine maps, told the kind by projection."""

    def __init__(self, widths: tuple[int, int, int] = (48, 96, 128)) -> None:
        super().__init__()
        a, b, c = widths
        self.top = nn.Sequential(
            nn.Conv2d(m.MAPS + 1, a, 3, padding=1), m.Residual(a), nn.LeakyReLU(0.2)
        )
        self.middle = nn.Sequential(
            nn.Conv2d(a, b, 4, stride=2, padding=1), m.Residual(b), nn.LeakyReLU(0.2)
        )
        self.bottom = nn.Sequential(
            nn.Conv2d(b, c, 4, stride=2, padding=1), m.Residual(c), nn.LeakyReLU(0.2)
        )
        self.flat = nn.Sequential(nn.Conv2d(c, c, 4), nn.LeakyReLU(0.2), nn.Flatten())
        self.regions, self.whole = nn.Conv2d(b, 1, 1), nn.Linear(c, 1)
        self.of_region, self.of_whole = nn.Embedding(m.KINDS, b), nn.Embedding(m.KINDS, c)
        nn.init.zeros_(self.of_region.weight)
        nn.init.zeros_(self.of_whole.weight)

    def forward(self, x: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        """Votes (N, 64) and (N, 1) on ``x`` (N, 9, 16, 16)."""
        h = self.middle(self.top(x))  # (N, b, 8, 8)
        regions = self.regions(h) + (h * self.of_region(kind)[:, :, None, None]).sum(
            dim=1, keepdim=True
        )
        h = self.flat(self.bottom(h))  # (N, c)
        whole = self.whole(h) + (h * self.of_whole(kind)).sum(dim=1, keepdim=True)
        return regions.flatten(1).float(), whole.float()


def disguised(maps: Tensor) -> Tensor:
    """Maps (N, 9, 16, 16) with noise, a shift and a hole, so that a critic cannot learn them by
    heart (arXiv:2006.10738).
    """
    x = maps + 0.08 * torch.randn_like(maps)
    line = torch.arange(m.SIDE, device=x.device)
    top, left = torch.randint(-4, m.SIDE, (2, len(x), 1), device=x.device)
    rows, columns = ((line >= first) & (line < first + 5) for first in (top, left))
    x = x * ~(rows[:, None, :, None] & columns[:, None, None, :])
    dy, dx = (int(v) for v in torch.randint(-2, 3, (2,)))
    return F.pad(x, (dx, -dx, dy, -dy))


def preferred(votes: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor]) -> Tensor:
    """Loss that is low where ``votes`` are above ``others``, pair by pair: relativistic
    (arXiv:1807.00734).
    """
    return sum(
        (F.softplus(q - p).mean() for p, q in zip(votes, others, strict=True)), torch.zeros(())
    )


def slope(critic: Critic, x: Tensor, kind: Tensor) -> Tensor:
    """Mean squared gradient of the votes on ``x``: the penalty on it keeps a critic's learning
    steady (arXiv:1801.04406).
    """
    x = x.detach().requires_grad_(True)
    regions, whole = critic(x, kind)
    (gradient,) = torch.autograd.grad(regions.mean(dim=1).sum() + whole.sum(), x, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


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
    means = torch.stack(
        [
            lack[kinds == k].mean(dim=0) if (kinds == k).any() else lack.mean(dim=0)
            for k in range(m.KINDS)
        ]
    )
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
    critic = Critic().to(device, memory_format=torch.channels_last)
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
        for optimiser in (make, judge):
            for group in optimiser.param_groups:
                group["lr"] = (
                    a.rate * group["part"] * min(1.0, (run.step + 1) / 100, 3 * (1 - done) + 0.02)
                )
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
        run.step += 1
        average.update(net, run.step)
        run.log.append(
            [
                loss_critic.item(),
                loss_votes.item(),
                keeps.item(),
                made.std().item() / real.std().item(),
            ]
        )
        if run.step % a.every == 0 or run.step == a.painter_steps:
            run.save("critic, votes, l1, spread")
            show_painter(a, x, kinds, average.net)


@torch.inference_mode()
def show_painter(a: argparse.Namespace, x: Tensor, kinds: Tensor, painter: nn.Module) -> None:
    """A sheet of real slices, the same painted again from their codes, and new ones."""
    device = torch.device(a.device)
    eye = trained_eye(a.out, device)
    (encoder, decoder), prior = trained_autoencoder(a.out, device), trained_prior(a.out, device)
    fixed = torch.Generator().manual_seed(0)
    pick = torch.linspace(0, len(x) - 1, 36).long()
    kind, noise = kinds[pick].to(device), draw_noise(36, device, fixed)
    real = as_tones(x[pick].to(device))
    u = torch.randn(36, m.CODE, generator=fixed).to(device)
    soft = [
        eye[0](m.enlarge(decoder(z, kind)))
        for z in (encoder(F.avg_pool2d(real, 2), kind)[0], prior(u, kind))
    ]
    again, fresh = (eye[1](painter(maps, kind, *noise)[:, : m.MAPS]) for maps in soft)
    rows = [t[k : k + 12] for k in range(0, 36, 12) for t in (real, again, fresh)]
    sheet(torch.cat(rows), a.out / "painter.png")


# ------------------------------------------------------------------------------------------------------
# the package
def write_weights(a: argparse.Namespace, kinds: Tensor) -> None:
    """One file for ``model.load``: the averaged networks and how often each kind is; the eye's
    encoder is for training.
    """
    device = torch.device("cpu")
    states = {
        "prior": trained_prior(a.out, device).state_dict(),
        "soft": trained_autoencoder(a.out, device)[1].state_dict(),
        "painter": torch.load(a.out / "painter.pt", weights_only=True, map_location="cpu")[
            "average"
        ],
    }
    tensors = {"share": torch.bincount(kinds, minlength=m.KINDS) / len(kinds)} | eye_tensors(a.out)
    ways = states["painter"]["components.weight"]
    states["painter"]["components.unit"] = unit = ways.abs().amax(dim=0).clamp(min=1e-6) / 127
    states["painter"]["components.weight"] = (
        (ways / unit).round().to(torch.int8)
    )  # the largest part: a byte a number
    save_halves(
        tensors | {f"{part}.{k}": v for part, state in states.items() for k, v in state.items()},
        a.out / "weights.safetensors",
    )


def save_halves(tensors: dict[str, Tensor], path: Path) -> None:
    """Write half precision, but of the prior's rotation, which goes back exactly."""
    halves = {
        k: v.half() if v.is_floating_point() and k != "prior.rotation" else v
        for k, v in tensors.items()
    }
    save_file({k: v.contiguous() for k, v in halves.items()}, path)
    path.chmod(0o644)  # safetensors makes it readable by its owner alone


@dataclass
class Batch:
    """As much of medzoo's batch as a generator asks for; the streams are numpy's, so samples differ
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
    for axis in range(m.LATENT):
        row = []
        for plane, tumour in (("axial", 0), ("coronal", 1), ("sagittal", 2)):
            latents = np.zeros((5, m.LATENT), np.float32)
            latents[:, axis] = np.linspace(-2, 2, 5)
            options = {"plane": plane, "temperature": 1.0}
            batch = Batch(latents, {"condition": np.full(5, tumour)}, options, stream=TRAVERSED)
            row += list(generator.sample(batch)["images"][:, 0])
        rows.append(np.concatenate(row, axis=1))
    Image.fromarray(np.concatenate(rows)).resize(
        (15 * 80, m.LATENT * 80), Image.Resampling.BOX
    ).save(a.out / "traversal.png")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="zip or folder with a folder for each tumour and boxes.csv",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for checkpoints, sheets and weights.safetensors",
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
    parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=103)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    a.out.mkdir(parents=True, exist_ok=True)
    x, kinds, boxes = read_slices(a.data)
    counts = torch.bincount(kinds, minlength=m.KINDS).tolist()
    print(
        json.dumps(
            {"slices": len(x), "of each kind": counts} | {k: str(v) for k, v in vars(a).items()}
        ),
        flush=True,
    )
    wanted = stages if a.stage == "all" else [a.stage]
    if "eye" in wanted:
        train_eye(a, x, kinds, boxes)
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
