"""Train model 8, version 2.2.0, on mammography mass patches.

    python train.py --data cbis_ddsm_masses_128.zip --out runs/masses            # everything, then weights.safetensors
    python train.py --data ... --out ... --stage flow                            # one stage

The data set is a zip or a folder of 128x128 gray PNG files, ``train/is_benign_true/*.png`` and
``train/is_benign_false/*.png``; nothing else of it is read. All stages are seeded, write a
checkpoint and a sheet of samples every few minutes, and continue from the last checkpoint when
started again.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import math
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import model as m  # the package's own, beside this script
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

BATCH = 64  # pictures a step of the flow
STUDENT_BATCH = 32  # of its student, each of which goes through the network twice
TEXTURE = 0.02  # weight of the texture strengths beside the scores
WHOLE_FROM = 6_000  # painter steps of quarter pictures before whole ones
FLOW_FROM = (
    12_500  # painter steps over small pictures of real patches before those that the flow makes
)


# -------------------------------------------------------------------------------------------------------
# the data
def read_patches(data: Path) -> tuple[Tensor, Tensor]:
    """Patches (N, 1, 128, 128) in [-1, 1] and labels (N,), benign 0, malignant 1. Patches that show
    the film's white edge are left out: it is no anatomy, and a generator would paint it."""
    if data.is_dir():
        files = {p.relative_to(data).as_posix(): p.read_bytes() for p in data.rglob("*.png")}
    else:
        with zipfile.ZipFile(data) as archive:
            files = {n: archive.read(n) for n in archive.namelist() if n.endswith(".png")}
    images, labels = [], []
    for name in sorted(n for n in files if n.startswith("train/")):
        pixels = np.asarray(
            Image.open(io.BytesIO(files[name])).convert("L").resize((m.SIZE, m.SIZE))
        )
        columns = (pixels >= 250).all(axis=0)
        if columns[:3].any() or columns[-3:].any():
            continue
        images.append(pixels)
        labels.append("is_benign_false" in name)
    x = torch.from_numpy(np.stack(images)).float()[:, None] / 127.5 - 1
    return x, torch.tensor(labels).long()


def fit_basis(x: Tensor) -> dict[str, Tensor]:
    """Principal components of the small pictures, and the mean and spread of the texture strengths."""
    low = F.avg_pool2d(x, 4).flatten(1)  # (N, 1024)
    mean = low.mean(dim=0)
    _, s, vt = torch.linalg.svd(low - mean, full_matrices=False)
    texture = m.texture_of(x)
    return {
        "mean": mean,
        "components": vt[: m.SCORES].T.contiguous(),  # (1024, 510)
        "scales": s[: m.SCORES] / math.sqrt(len(x) - 1),
        "texture_mean": texture.mean(dim=0),
        "texture_std": texture.std(dim=0),
    }


def coordinates(x: Tensor, basis: dict[str, Tensor]) -> Tensor:
    """Patches as the flow sees them: unit-variance scores and texture strengths, (N, 512)."""
    scores = (F.avg_pool2d(x, 4).flatten(1) - basis["mean"]) @ basis["components"] / basis["scales"]
    return torch.cat(
        [scores, (m.texture_of(x) - basis["texture_mean"]) / basis["texture_std"]], dim=1
    )


# ----------------------------------------------------------------------------------------------------
# bookkeeping
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


def mixed(device: torch.device) -> torch.autocast:
    """bfloat16 where it is fast: on a processor without it, it takes many times as long as full
    precision.
    """
    fast = device.type != "cpu" or torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast)


def save(path: Path, **state: Any) -> None:
    torch.save(state, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def sheet(images: Tensor, path: Path, columns: int = 8) -> None:
    """Write (N, 1, H, W) in [-1, 1] as one PNG."""
    grid = torch.cat(
        [torch.cat(list(row), dim=2) for row in images.split(columns) if len(row) == columns], dim=1
    )
    Image.fromarray(((grid[0].clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()).save(path)


def warm_up_and_decay(step: int, steps: int) -> float:
    return min(1.0, step / 500) * (0.5 + 0.5 * math.cos(math.pi * step / steps))


# -------------------------------------------------------------------------------------------------
# stage 1: the flow
def optimise(
    a: argparse.Namespace,
    stage: str,
    net: m.Flow,
    steps: int,
    rate: float,
    loss_of: Callable[[], Tensor],
    space: m.Space,
) -> None:
    """Train ``net``, the flow's or its student, on a loss, from the stage's last checkpoint on."""
    average = Average(net, 0.999)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda s: warm_up_and_decay(s, steps))
    checkpoint, step, began, losses = a.out / f"{stage}.pt", 0, time.time(), []
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(state["net"])
        average.net.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        step = state["step"]
        torch.manual_seed(a.seed + step)
    while step < steps:
        loss = loss_of()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        step += 1
        average.update(net, step)
        losses.append(loss.item())
        if step % a.every == 0 or step == steps:
            print(
                f"{stage} {step} loss {np.mean(losses):.4f} {(time.time() - began) / 60:.1f} min",
                flush=True,
            )
            losses.clear()
            save(
                checkpoint,
                net=net.state_dict(),
                average=average.net.state_dict(),
                step=step,
                optimiser=optimiser.state_dict(),
                schedule=schedule.state_dict(),
            )
            latents = torch.randn(64, m.LATENT, generator=torch.Generator().manual_seed(0)).to(
                a.device
            )
            classes = (torch.arange(64, device=a.device) % 2).float() * 2 - 1
            go = follow if stage == "flow" else m.end_points
            with torch.inference_mode():
                small = space.pictures(go(average.net, space, latents, classes)[:, : m.SCORES])[1]
            sheet(F.interpolate(small, scale_factor=2.0), a.out / f"{stage}.png")


def train_flow(a: argparse.Namespace, x: Tensor, y: Tensor) -> None:
    torch.manual_seed(a.seed)
    device = torch.device(a.device)
    basis = {k: v.to(device) for k, v in fit_basis(x).items()}
    real = coordinates(x.to(device), basis)
    labels = (y.float() * 2 - 1).to(device)
    space = m.Space(basis)
    net = m.Flow().to(device)

    def loss_of() -> Tensor:
        i = torch.randint(len(real), (BATCH,), device=device)
        t = torch.rand(BATCH, device=device) * (math.pi / 2)
        cloud, target = torch.randn_like(real[i]), real[i]
        point = t.cos()[:, None] * cloud + t.sin()[:, None] * target
        speed = t.cos()[:, None] * target - t.sin()[:, None] * cloud
        flips = torch.randint(
            2, (BATCH, 2), device=device
        ).float()  # told to the network, so they do not leak
        with mixed(device):
            picture, strength = m.velocity(net, space, point, t, labels[i], flips)
        wanted = space.weight * speed[:, : m.SCORES]
        loss = (picture.float() - wanted).square().mean() / space.weight.square().mean()
        return loss + TEXTURE * (strength.float() - speed[:, m.SCORES :]).square().mean()

    optimise(a, "flow", net, a.flow_steps, 2e-3, loss_of, space)


# ---------------------------------------------------------------------------------------- stage 2:
# the flow's student
def follow(net: m.Flow, space: m.Space, latents: Tensor, labels: Tensor, steps: int = 4) -> Tensor:
    """Where ``latents`` (N, 512) arrive when they follow the flow itself to t = pi/2, by the
    midpoint rule.
    """
    point, length = latents, math.pi / 2 / steps
    for k in range(steps):
        half = point + length / 2 * m.speed(net, space, point, k * length, labels)
        point = point + length * m.speed(net, space, half, (k + 0.5) * length, labels)
    return point


def journeys(a: argparse.Namespace, net: m.Flow, space: m.Space) -> list[Tensor]:
    """Latents (N, 512), labels (N,) and where the flow takes them (N, 512): made once, a file a
    thousand.
    """
    (a.out / "journeys").mkdir(exist_ok=True)
    parts = []
    for k, start in enumerate(range(0, a.journeys, 1024)):
        path = a.out / "journeys" / f"{k:03d}.pt"
        if not path.exists():
            n, generator = min(1024, a.journeys - start), torch.Generator().manual_seed(100_000 + k)
            latents = torch.randn(n, m.LATENT, generator=generator).to(a.device)
            labels = (torch.randint(2, (n,), generator=generator).float() * 2 - 1).to(a.device)
            with torch.inference_mode():
                ends = [
                    follow(net, space, *some)
                    for some in zip(latents.split(BATCH), labels.split(BATCH), strict=True)
                ]
            save(path, latents=latents, labels=labels, ends=torch.cat(ends))
            print(f"journeys {start + n}", flush=True)
        parts.append(torch.load(path, weights_only=True, map_location=a.device))
    return [torch.cat([part[key] for part in parts]) for key in ("latents", "labels", "ends")]


def distil(a: argparse.Namespace, x: Tensor) -> None:
    """Teach a copy of the flow's network to go in the steps of ``model.TIMES`` where the flow goes
    in many.

    Both steps are trained at once, on where they end (as Luhman & Luhman do with one step,
    arXiv:2101.02388).
    """
    torch.manual_seed(a.seed + 2)
    device = torch.device(a.device)
    space = m.Space({k: v.to(device) for k, v in fit_basis(x).items()})
    net = m.Flow(dropout=0.0).to(device)
    net.load_state_dict(
        torch.load(a.out / "flow.pt", weights_only=True, map_location=device)["average"]
    )
    latents, labels, ends = journeys(a, copy.deepcopy(net).eval(), space)

    def loss_of() -> Tensor:
        i = torch.randint(len(latents), (STUDENT_BATCH,), device=device)
        with mixed(device):
            off = m.end_points(net, space, latents[i], labels[i]) - ends[i]
        loss = (off[:, : m.SCORES] * space.weight).square().mean() / space.weight.square().mean()
        return loss + TEXTURE * off[:, m.SCORES :].square().mean()

    optimise(a, "student", net, a.student_steps, 6e-4, loss_of, space)


def correct(net: m.Flow, basis: dict[str, Tensor], real: Tensor) -> dict[str, Tensor]:
    """The scale and shift that give the flow's end points (N, 512) the spread and mean of real
    ones.
    """
    generator = torch.Generator().manual_seed(0)
    space, points = m.Space(basis), []
    with torch.inference_mode():
        for _ in range(32):
            latents = torch.randn(64, m.LATENT, generator=generator)
            points.append(m.end_points(net, space, latents, (torch.arange(64) % 2).float() * 2 - 1))
    made = torch.cat(points)
    scale = (real.std(dim=0) / made.std(dim=0)).clamp(0.75, 1.35)
    return {
        "correction_scale": scale,
        "correction_shift": real.mean(dim=0) - made.mean(dim=0) * scale,
    }


def trained_flow(
    out: Path, x: Tensor, basis: dict[str, Tensor], device: torch.device
) -> tuple[m.Flow, m.Space]:
    """The flow's student and its space, corrected."""
    net = m.Flow().eval()
    net.load_state_dict(
        torch.load(out / "student.pt", weights_only=True, map_location="cpu")["average"]
    )
    full = basis | correct(net, basis, coordinates(x, basis))
    return net.to(device), m.Space({k: v.to(device) for k, v in full.items()})


# ----------------------------------------------------------------------------------------------
# stage 3: the painter
class Critic(nn.Module):
    """Scores patches of a picture as real or painted: hinge loss, spectral norm, told the class by
    projection.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers, channels = [], 3
        for out in (width, 2 * width, 4 * width, 4 * width):
            layers += [
                spectral_norm(nn.Conv2d(channels, out, 4, stride=2, padding=1)),
                nn.LeakyReLU(0.2),
            ]
            channels = out
        self.body = nn.Sequential(*layers)
        self.last = spectral_norm(nn.Conv2d(channels, 1, 3, padding=1))
        self.project = spectral_norm(nn.Embedding(2, channels))

    def forward(self, x: Tensor, classes: Tensor) -> Tensor:
        fine = m.detail(x)
        middle = m.enlarge(m.detail(F.avg_pool2d(x, 2)))
        h = self.body(torch.cat([x, 16 * fine, 8 * middle], dim=1))
        return self.last(h) + (h * self.project(classes)[:, :, None, None]).sum(1, keepdim=True)


def draw_noise(
    n: int, side: int, device: torch.device, generator: torch.Generator | None = None
) -> list[Tensor]:
    """The painter's noise for small pictures of ``side`` pixels: uniform, of unit variance, a plane
    a scale.
    """
    sides = (side + 2 * m.MARGIN, 2 * (side + 2 * m.KEPT), 4 * (side + 2 * m.KEPT))
    return [
        ((torch.rand(n, 1, s, s, generator=generator) * 2 - 1) * math.sqrt(3)).to(device)
        for s in sides
    ]


def log_kurtosis(x: Tensor) -> Tensor:
    """Log kurtosis of the two finest bands of patches, shape (N, 2): high where detail is edges and
    spots, not noise.

    The critic alone leaves texture too even. Only the mean over a batch is matched, so that a
    picture stays free to have much of it or little.
    """
    bands = (m.detail(x).flatten(1), m.detail(F.avg_pool2d(x, 2)).flatten(1))
    centred = [b - b.mean(dim=1, keepdim=True) for b in bands]
    return torch.stack(
        [(c.pow(4).mean(1) / (c.pow(2).mean(1).square() + 1e-12) + 1e-6).log() for c in centred],
        dim=1,
    )


def augment(x: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """The same differentiable brightness, contrast and shift for two sets (Zhao et al.,
    arXiv:2006.10738).
    """
    n = len(x)
    gain = 1 + 0.3 * (torch.rand(n, 1, 1, 1, device=x.device) - 0.5)
    offset = 0.4 * (torch.rand(n, 1, 1, 1, device=x.device) - 0.5)
    dy, dx = (4 * int(v) for v in torch.randint(-2, 3, (2,)))

    def one(z: Tensor) -> Tensor:
        return torch.roll(z * gain + offset, (dy, dx), dims=(2, 3))[
            :, :, max(dy, 0) : z.shape[2] + min(dy, 0), max(dx, 0) : z.shape[3] + min(dx, 0)
        ]

    return one(x), one(like)


def train_painter(a: argparse.Namespace, x: Tensor, y: Tensor) -> None:
    torch.manual_seed(a.seed + 1)
    device = torch.device(a.device)
    basis = {k: v.to(device) for k, v in fit_basis(x).items()}
    space = m.Space(basis)
    x, y = x.to(device), y.to(device)
    texture = (m.texture_of(x) - basis["texture_mean"]) / basis["texture_std"]
    net = m.Painter(**WIDE).to(device, memory_format=torch.channels_last)
    critic = Critic().to(device, memory_format=torch.channels_last)
    average = Average(net, 0.999)
    make = torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.0, 0.99))
    judge = torch.optim.Adam(critic.parameters(), lr=4e-4, betas=(0.0, 0.99))
    checkpoint, step, began, log = a.out / "painter.pt", 0, time.time(), []
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for part, key in (
            (net, "net"),
            (critic, "critic"),
            (average.net, "average"),
            (make, "make"),
            (judge, "judge"),
        ):
            part.load_state_dict(state[key])
        step = state["step"]
        torch.manual_seed(a.seed + 1 + step)
    made = None
    while step < a.painter_steps:
        if step >= FLOW_FROM and made is None:
            made = trained_flow(a.out, x.cpu(), {k: v.cpu() for k, v in basis.items()}, device)
        whole = (
            step >= WHOLE_FROM
        )  # the first half learns from quarter pictures, four times as many
        n, crop = (16, m.SIZE) if whole else (48, m.SIZE // 2)
        for group in (make, judge):
            group.param_groups[0]["lr"] = (2e-4 if group is make else 4e-4) * min(
                1.0, 4 * (1 - step / a.painter_steps) + 0.02
            )
        i = torch.randint(len(x), (n,), device=device)
        real, classes = x[i], y[i]
        labels = classes.float()[:, None] * 2 - 1
        low, strength = (
            space.project(F.avg_pool2d(real, 4)),
            texture[i],
        )  # what the flow will hand over
        if made is not None:
            with torch.no_grad():
                low, strength = m.flow(*made, torch.randn(n, m.LATENT, device=device), labels[:, 0])
        top, left = (4 * int(v) for v in torch.randint((m.SIZE - crop) // 4 + 1, (2,)))
        real = real[:, :, top : top + crop, left : left + crop]
        low = low[:, :, top // 4 : (top + crop) // 4, left // 4 : (left + crop) // 4]
        for dim in (2, 3):
            if torch.rand(()) < 0.5:
                real, low = real.flip(dim), low.flip(dim)
        if torch.rand(()) < 0.5:
            real, low = real.transpose(2, 3), low.transpose(2, 3)
        noise = draw_noise(n, crop // 4, device)
        with mixed(device):
            fake = net(low, strength, labels, noise).float()
            one, two = augment(real, fake.detach())
            votes = critic(torch.cat([one, two]), classes.repeat(2)).float()
        loss_critic = F.relu(1 - votes[:n]).mean() + F.relu(1 + votes[n:]).mean()
        judge.zero_grad()
        loss_critic.backward()
        judge.step()
        critic.requires_grad_(False)
        with mixed(device):
            _, two = augment(real, fake)
            vote = critic(two, classes).float().mean()
        critic.requires_grad_(True)
        keeps_low = F.l1_loss(F.avg_pool2d(fake, 4), F.avg_pool2d(real, 4) if made is None else low)
        wanted = (
            m.texture_of(real)
            if made is None
            else strength * basis["texture_std"] + basis["texture_mean"]
        )
        keeps_texture = ((m.texture_of(fake) - wanted) / basis["texture_std"]).abs().mean()
        keeps_tails = (
            (log_kurtosis(fake).mean(dim=0) - log_kurtosis(real).mean(dim=0)).square().mean()
        )
        loss = -vote + 10 * keeps_low + keeps_texture + (4 if whole else 1) * keeps_tails
        make.zero_grad()
        loss.backward()
        make.step()
        step += 1
        average.update(net, step)
        log.append(
            [
                loss_critic.item(),
                vote.item(),
                keeps_low.item(),
                keeps_texture.item(),
                keeps_tails.item(),
            ]
        )
        if step % a.every == 0 or step == a.painter_steps:
            print(
                f"painter {step} critic, vote, low, texture, tails",
                np.mean(log, axis=0).round(4),
                f"{(time.time() - began) / 60:.1f} min",
                flush=True,
            )
            log.clear()
            save(
                checkpoint,
                net=net.state_dict(),
                critic=critic.state_dict(),
                average=average.net.state_dict(),
                make=make.state_dict(),
                judge=judge.state_dict(),
                step=step,
            )
            with torch.inference_mode():
                pick = torch.arange(0, 320, 20)
                noise = draw_noise(16, m.LOW, device, torch.Generator().manual_seed(0))
                painted = average.net(
                    space.project(F.avg_pool2d(x[pick], 4)),
                    texture[pick],
                    y[pick].float()[:, None] * 2 - 1,
                    noise,
                )
            sheet(
                torch.cat([x[pick][:8], painted[:8], x[pick][8:], painted[8:]]),
                a.out / "painter.png",
            )


# -------------------------------------------------------------------------------------------------
# stage 4: the slim painter
WIDE = {"widths": (48, 32, 16), "blocks": 4}  # its teacher, of versions 2.0.0 and 2.1.0
ALONE = 250  # first steps of the slim painter, in which it learns from its teacher alone


def most_heard(weights: list[Tensor], count: int) -> Tensor:
    """The ``count`` channels that these weights, (out, in, 3, 3), listen to most."""
    return sum(w.square().sum(dim=(0, 2, 3)) for w in weights).topk(count).indices.sort().values


def thin(teacher: m.Painter, slim: m.Painter) -> None:
    """Let the slim painter begin as the channels of its teacher that count most, block by block."""
    old, new = teacher.state_dict(), slim.state_dict()
    a, b, _ = (slim.first[0].out_channels, slim.up1[0].out_channels, slim.up2[0].out_channels)
    blocks = range(len(slim.low))
    wide = most_heard(
        [teacher.up1[0].weight[:, :-1], *(teacher.low[k].conv1[0].weight for k in blocks)], a
    )
    middle = most_heard([teacher.up2[0].weight[:, :-1], teacher.middle.conv1[0].weight], b)

    def copy_conv(name: str, rows: Tensor | slice, columns: Tensor | slice) -> None:
        new[f"{name}.0.weight"].copy_(old[f"{name}.0.weight"][rows][:, columns])
        for key in ("weight", "bias", "running_mean", "running_var"):
            new[f"{name}.1.{key}"].copy_(old[f"{name}.1.{key}"][rows])

    def with_noise(channels: Tensor, count: int) -> Tensor:
        return torch.cat([channels, torch.tensor([count])])

    everything = slice(None)
    copy_conv("first", wide, everything)
    parts = [(f"low.{k}", teacher.low[k], wide, a) for k in blocks]
    for name, block, outer, count in [*parts, ("middle", teacher.middle, middle, b)]:
        inner = most_heard([block.conv2[0].weight], count)
        copy_conv(f"{name}.conv1", inner, outer)
        copy_conv(f"{name}.conv2", outer, inner)
    copy_conv("up1", middle, with_noise(wide, teacher.up1[0].in_channels - 1))
    copy_conv("up2", everything, with_noise(middle, teacher.up2[0].in_channels - 1))
    copy_conv("high", everything, everything)
    slim.last.load_state_dict(teacher.last.state_dict())


def edges(x: Tensor) -> list[Tensor]:
    """Patches (N, H, W) of (N, 1, H, W) seen from each of the four sides: row 0 is the edge."""
    x = x[:, 0]
    return [x, x.flip(1), x.transpose(1, 2), x.transpose(1, 2).flip(1)]


def border(x: Tensor) -> tuple[Tensor, Tensor]:
    """Softly, how many of the patches (N, 1, H, W) have a dot, and how many an edge that stands out,
    on each side, (4,) each: see ``benchmarks.quality``.
    """
    dots, steps = [], []
    for side in edges(127.5 * x):
        rise = side[:, 0] - side[:, 3]
        rise = rise - rise.median(dim=1, keepdim=True).values.detach()
        dots.append(((rise.amax(dim=1) - 15) / 3).sigmoid().mean())
        inside = (side[:, 8:-10] - side[:, 10:-8]).abs().mean(dim=(1, 2)).detach()
        ratio = (side[:, 0] - side[:, 2]).abs().mean(dim=1) / (inside + 0.1)
        steps.append(((ratio - 2.5) / 0.3).sigmoid().mean())
    return torch.stack(dots), torch.stack(steps)


@torch.no_grad()
def flow_pool(tensors: dict[str, Tensor], n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Small pictures (N, 1, 32, 32), texture strengths (N, 2) and classes (N,) from the flow."""
    net = m.Flow().eval()
    net.load_state_dict({k[5:]: v for k, v in tensors.items() if k.startswith("flow.")})
    space = m.Space({k: v for k, v in tensors.items() if "." not in k})
    generator = torch.Generator().manual_seed(7)
    classes = torch.arange(n) % 2
    parts = []
    for rows in torch.arange(n).split(BATCH):
        latents = torch.randn(len(rows), m.LATENT, generator=generator)
        parts.append(m.flow(net, space, latents, classes[rows].float() * 2 - 1))
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]), classes


def train_slim(a: argparse.Namespace, x: Tensor, y: Tensor) -> None:
    """Half the painter in half the time, taught by the painter, then by a critic that sees borders.

    ``--init`` names the ``weights.safetensors`` whose flow it paints over and whose painter, that
    of version 2.0.0, teaches it.
    """
    torch.manual_seed(a.seed + 3)
    tensors = {k: v.float() for k, v in load_file(a.init).items()}
    texture_mean, texture_std = tensors["texture_mean"], tensors["texture_std"]
    teacher = m.Painter(**WIDE).eval()
    counters = {k: v for k, v in teacher.state_dict().items() if k.endswith("num_batches_tracked")}
    own = {k[8:]: v for k, v in tensors.items() if k.startswith("painter.")}
    teacher.load_state_dict(counters | own)
    net, critic = m.Painter(), Critic()
    thin(teacher, net)
    for part in (teacher.requires_grad_(False), net, critic):
        part.to(memory_format=torch.channels_last)
    average = Average(net, 0.998)
    make = torch.optim.Adam(net.parameters(), lr=4e-4, betas=(0.0, 0.99))
    judge = torch.optim.Adam(critic.parameters(), lr=4e-4, betas=(0.0, 0.99))
    parts = {"net": net, "critic": critic, "average": average.net, "make": make, "judge": judge}
    checkpoint, step, began, log = a.out / "slim.pt", 0, time.time(), []
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for key, part in parts.items():
            part.load_state_dict(state[key])
        step = state["step"]
        torch.manual_seed(a.seed + 3 + step)
    lows, strengths, classes_of = flow_pool(tensors, a.pool)
    device, n = torch.device("cpu"), 16
    bounds = [side.mean() for side in border(x)]  # of dots and steps, as real patches have them
    seen = torch.stack([bound.expand(4) for bound in bounds])  # running means of (dots, steps)
    wanted_tails = log_kurtosis(x).mean(dim=0)
    print("border of real patches", bounds, flush=True)
    while step < a.slim_steps:
        fade = min(1.0, 3 * (1 - step / a.slim_steps) + 0.02)
        make.param_groups[0]["lr"] = (4e-4 if step < ALONE else 2e-4) * fade
        judge.param_groups[0]["lr"] = 4e-4 * fade
        rows = torch.randint(len(lows), (n,))
        low, strength, classes = lows[rows], strengths[rows], classes_of[rows]
        labels = classes.float()[:, None] * 2 - 1
        of_class = [(y == c).nonzero()[:, 0] for c in (0, 1)]
        pick = [of_class[c][torch.randint(len(of_class[c]), ())] for c in classes.tolist()]
        real = x[torch.stack(pick)]
        flips = [torch.rand(()) < 0.5 for _ in range(3)]
        for dim in (2, 3):
            if flips[dim - 2]:
                real, low = real.flip(dim), low.flip(dim)
        if flips[2]:
            real, low = real.transpose(2, 3), low.transpose(2, 3)
        noise = draw_noise(n, m.LOW, device)
        with mixed(device):
            fake = net(low, strength, labels, noise).float()
            one, two = augment(real, fake.detach())
            votes = critic(torch.cat([one, two]), classes.repeat(2)).float()
        loss_critic = F.relu(1 - votes[:n]).mean() + F.relu(1 + votes[n:]).mean()
        judge.zero_grad()
        loss_critic.backward()
        judge.step()
        with torch.no_grad(), mixed(device):
            taught = teacher(low, strength, labels, noise).float() if step < ALONE else fake
        off = fake - taught.detach()
        inner = 4  # the teacher's borders are what is to be unlearnt
        off = off[:, :, inner:-inner, inner:-inner]
        distance = 8 * off.abs().mean() + 16 * m.detail(off).abs().mean()
        vote = torch.zeros(())
        if step >= ALONE:
            critic.requires_grad_(False)
            with mixed(device):
                _, two = augment(real, fake)
                vote = critic(two, classes).float().mean()
            critic.requires_grad_(True)
        keeps_low = F.l1_loss(F.avg_pool2d(fake, 4), low)
        wanted = strength * texture_std + texture_mean
        keeps_texture = ((m.texture_of(fake) - wanted) / texture_std).abs().mean()
        keeps_tails = (log_kurtosis(fake).mean(dim=0) - wanted_tails).square().mean()
        there = torch.stack(border(fake))  # (2, 4)
        seen = seen.lerp(there.detach(), 0.03)
        too_often = (seen / torch.stack(bounds)[:, None] - 0.8).clamp(0, 4)
        keeps_border = (too_often * there).sum()
        loss = distance - vote + 10 * keeps_low + keeps_texture + 4 * keeps_tails + keeps_border
        make.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 20.0)
        make.step()
        step += 1
        average.update(net, step)
        row = (distance, loss_critic, vote, keeps_low, keeps_texture, keeps_tails)
        log.append([value.item() for value in row])
        if step % a.every == 0 or step == a.slim_steps:
            seen_ = np.round(seen.numpy(), 3).tolist()
            print(
                f"slim {step} {seen_} teacher, critic, vote, low, texture, tails",
                np.mean(log, axis=0).round(4),
                f"{(time.time() - began) / 60:.1f} min",
                flush=True,
            )
            log.clear()
            save(checkpoint, step=step, **{k: part.state_dict() for k, part in parts.items()})
            with torch.inference_mode():
                noise = draw_noise(32, m.LOW, device, torch.Generator().manual_seed(0))
                labels = classes_of[:32].float()[:, None] * 2 - 1
                sheet(average.net(lows[:32], strengths[:32], labels, noise), a.out / "slim.png")


def choose_signs(tensors: dict[str, Tensor], tries: int = 700, chosen: int = 1) -> Tensor:
    """Signs of the latents (512,), so that the first samples of seed 0 show masses.

    Real patches' scores are as likely with either sign in the model, so the samples of all seeds
    together stay the same. ``chosen`` is which of the best, looked at by eye.
    """
    from medzoo import seeds

    generator = m.MassGenerator(tensors, torch.device("cpu"))
    latents = torch.from_numpy(seeds.latents(0, list(range(12)), m.LATENT))
    labels = (torch.arange(12) % 2).float() * 2 - 1
    line = torch.arange(m.LOW) - (m.LOW - 1) / 2
    radius = (line[:, None] ** 2 + line**2).sqrt()
    middle, ring = radius < 6, (radius > 9) & (radius < 15)
    draws, scored = torch.Generator().manual_seed(0), []
    for k in range(tries):
        signs = torch.ones(m.LATENT)
        if k:
            signs[:40] = (torch.rand(40, generator=draws) < 0.5).float() * 2 - 1
        with torch.inference_mode():
            low = m.flow(generator.flow, generator.space, latents * signs, labels)[0][:, 0]
        inside = low[:, middle].mean(dim=1)
        lump = (inside - low[:, ring].mean(dim=1)).clamp(max=0.35) * (inside < 0.45)
        score = lump[:8].mean() + lump[0] + 0.5 * lump[1] + 0.5 * lump[:4].min()
        scored.append((float(score), k, signs))
    return sorted(scored, key=lambda entry: -entry[0])[chosen][2]


def write_again(a: argparse.Namespace, x: Tensor) -> None:
    """``weights.safetensors`` of ``--init``'s networks: accents fitted anew, signs chosen."""
    tensors = {k: v.float() for k, v in load_file(a.init).items() if k != "signs"}
    tensors["accents"] = fit_accents(tensors, x, a.seed)
    tensors["signs"] = choose_signs(tensors)
    path = a.out / "weights.safetensors"
    save_file({k: v.half().contiguous() for k, v in tensors.items()}, path)
    path.chmod(0o644)  # safetensors makes it readable by its owner alone


def write_slim(a: argparse.Namespace, x: Tensor) -> None:
    """``weights.safetensors``: flow and basis of ``--init``, the slim painter, accents fitted anew."""
    tensors = {k: v.float() for k, v in load_file(a.init).items() if not k.startswith("painter.")}
    state = torch.load(a.out / "slim.pt", weights_only=True, map_location="cpu")["average"]
    tensors |= {f"painter.{k}": v for k, v in state.items() if v.is_floating_point()}
    tensors["accents"] = fit_accents(tensors, x, a.seed)
    tensors["signs"] = choose_signs(tensors)
    path = a.out / "weights.safetensors"
    save_file({k: v.half().contiguous() for k, v in tensors.items()}, path)
    path.chmod(0o644)  # safetensors makes it readable by its owner alone


# ------------------------------------------------------------------------------------------------------
# the package
@torch.no_grad()
def fit_accents(tensors: dict[str, Tensor], x: Tensor, seed: int, n: int = 512) -> Tensor:
    """Amounts for ``model.accent`` (3,) with which the mean log kurtosis of ``n`` samples is that
    of the patches ``x``.
    """

    def mean_log_kurtosis(pictures: Tensor) -> Tensor:
        return torch.cat(
            [log_kurtosis(pictures), log_kurtosis(F.avg_pool2d(pictures, 4))[:, :1]], dim=1
        ).mean(dim=0)

    plain = m.MassGenerator(tensors | {"accents": torch.zeros(3)}, torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(n, m.LATENT, generator=generator)
    drawn = torch.cat(
        [
            plain.draw(
                part,
                torch.arange(len(part)) % 2,
                draw_noise(len(part), m.LOW, plain.device, generator),
            )
            for part in latents.split(32)
        ]
    )
    amounts, wanted = torch.zeros(3), mean_log_kurtosis(x)
    for _ in range(8):  # the kurtosis of a band grows by about 4 times its amount
        amounts += (wanted - mean_log_kurtosis(m.accent(drawn, amounts))) / 4
    return amounts


def write_weights(a: argparse.Namespace, x: Tensor) -> None:
    """One file for ``model.load``: the basis, the averaged networks of student and painter, half
    precision.
    """
    tensors, states = fit_basis(x), {}
    for part, stage in (("flow", "student"), ("painter", "painter")):
        states[part] = torch.load(a.out / f"{stage}.pt", weights_only=True, map_location="cpu")[
            "average"
        ]
    net = m.Flow().eval()
    net.load_state_dict(states["flow"])
    tensors |= correct(net, tensors, coordinates(x, tensors))
    for part, state in states.items():
        tensors |= {f"{part}.{k}": v for k, v in state.items() if v.is_floating_point()}
    tensors["accents"] = fit_accents(tensors, x, a.seed)
    tensors["signs"] = choose_signs(tensors)
    save_file({k: v.half().contiguous() for k, v in tensors.items()}, a.out / "weights.safetensors")
    (a.out / "weights.safetensors").chmod(0o644)  # safetensors makes it readable by its owner alone


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="zip or folder with train/is_benign_{true,false}/*.png",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for checkpoints, sheets and weights.safetensors",
    )
    parser.add_argument(
        "--stage",
        choices=["flow", "student", "painter", "weights", "again", "slim", "slim-weights", "all"],
        default="all",
    )
    parser.add_argument("--init", type=Path, help="of slim: weights.safetensors of version 2.0.0")
    parser.add_argument("--slim-steps", type=int, default=3_500, help="steps of 16 whole pictures")
    parser.add_argument(
        "--pool", type=int, default=4_096, help="small pictures that slim paints over"
    )
    parser.add_argument(
        "--flow-steps", type=int, default=10_500, help="optimiser steps of 64 pictures of 32x32"
    )
    parser.add_argument(
        "--journeys",
        type=int,
        default=16_384,
        help="latents that the flow takes along for its student",
    )
    parser.add_argument(
        "--student-steps", type=int, default=3_000, help="optimiser steps of 32 journeys"
    )
    parser.add_argument(
        "--painter-steps",
        type=int,
        default=13_300,
        help="steps of 48 quarter, then 16 whole pictures",
    )
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=8)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    a.out.mkdir(parents=True, exist_ok=True)
    x, y = read_patches(a.data)
    print(
        json.dumps(
            {"patches": len(x), "malignant": int(y.sum())} | {k: str(v) for k, v in vars(a).items()}
        ),
        flush=True,
    )
    if a.stage in ("flow", "all"):
        train_flow(a, x, y)
    if a.stage in ("student", "all"):
        distil(a, x)
    if a.stage in ("painter", "all"):
        train_painter(a, x, y)
    if a.stage in ("weights", "all"):
        write_weights(a, x)
    if a.stage == "again":
        write_again(a, x)
    if a.stage == "slim":
        train_slim(a, x, y)
    if a.stage in ("slim", "slim-weights"):
        write_slim(a, x)


if __name__ == "__main__":
    main()
