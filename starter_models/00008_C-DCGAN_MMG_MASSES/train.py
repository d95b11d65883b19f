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
import math
import sys
from collections.abc import Callable
from pathlib import Path

import model as m  # the package's own, beside this script
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parent.parent))  # training.py; a copy has it beside
import training
from training import (
    Average,
    PatchCritic,
    Run,
    augment,
    floats,
    halves,
    hinge,
    log_kurtosis,
    mixed,
    state_in,
)

BATCH = 64  # pictures in a step of the flow
FITTED = 2_048  # samples that scale and shift of the latents are fitted to; accents to a quarter
STUDENT_BATCH = 32  # of its student, each of which goes through the network twice
TEXTURE = 0.02  # weight of the texture strengths beside the scores
WHOLE_FROM = 6_000  # painter steps of quarter pictures before whole ones
FLOW_FROM = (
    12_500  # painter steps over small pictures of real patches before those that the flow makes
)


# -------------------------------------------------------------------------------------------------------
# the data
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


def draw_noise(
    n: int, side: int, device: torch.device, generator: torch.Generator | None = None
) -> list[Tensor]:
    """The painter's noise for small pictures of ``side`` pixels: one plane per scale."""
    sides = (side + 2 * m.MARGIN, 2 * (side + 2 * m.KEPT), 4 * (side + 2 * m.KEPT))
    return training.uniform_noise(n, sides, device, generator)


def sheet(images: Tensor, path: Path, columns: int = 8) -> None:
    """Write (N, 1, H, W) in [-1, 1] as one PNG."""
    training.sheet((images + 1) * 127.5, path, columns)


def warm_up_and_decay(step: int, steps: int) -> float:
    """The part of the flow's learning rate at a step."""
    return min(1.0, step / 500) * training.cosine(step, steps)


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
    run = Run(
        a.out / f"{stage}.pt",
        a.seed,
        net=net,
        average=average.net,
        optimiser=optimiser,
        schedule=schedule,
    )
    while run.step < steps:
        loss = loss_of()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        run.advance(loss)
        average.update(net, run.step)
        if run.due(a.every, steps):
            run.save("loss")
            draws = torch.Generator().manual_seed(0)
            latents = torch.randn(a.shown, m.LATENT, generator=draws).to(a.device)
            classes = (torch.arange(a.shown, device=a.device) % 2).float() * 2 - 1
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
            made = {"latents": latents, "labels": labels, "ends": torch.cat(ends)}
            training.save(path, made)
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
    net.load_state_dict(state_in(a.out / "flow.pt"))
    latents, labels, ends = journeys(a, copy.deepcopy(net).eval(), space)

    def loss_of() -> Tensor:
        i = torch.randint(len(latents), (STUDENT_BATCH,), device=device)
        with mixed(device):
            off = m.end_points(net, space, latents[i], labels[i]) - ends[i]
        loss = (off[:, : m.SCORES] * space.weight).square().mean() / space.weight.square().mean()
        return loss + TEXTURE * off[:, m.SCORES :].square().mean()

    optimise(a, "student", net, a.student_steps, 6e-4, loss_of, space)


def correct(
    net: m.Flow, basis: dict[str, Tensor], real: Tensor, n: int = FITTED
) -> dict[str, Tensor]:
    """The scale and shift that give ``n`` end points of the flow (N, 512) the spread and mean of
    real ones.
    """
    generator = torch.Generator().manual_seed(0)
    space, points = m.Space(basis), []
    with torch.inference_mode():
        for rows in torch.arange(n).split(64):
            latents = torch.randn(len(rows), m.LATENT, generator=generator)
            points.append(m.end_points(net, space, latents, (rows % 2).float() * 2 - 1))
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
    net.load_state_dict(state_in(out / "student.pt"))
    full = basis | correct(net, basis, coordinates(x, basis))
    return net.to(device), m.Space({k: v.to(device) for k, v in full.items()})


# ----------------------------------------------------------------------------------------------
# stage 3: the painter
def train_painter(a: argparse.Namespace, x: Tensor, y: Tensor) -> None:
    torch.manual_seed(a.seed + 1)
    device = torch.device(a.device)
    basis = {k: v.to(device) for k, v in fit_basis(x).items()}
    space = m.Space(basis)
    x, y = x.to(device), y.to(device)
    texture = (m.texture_of(x) - basis["texture_mean"]) / basis["texture_std"]
    net = m.Painter().to(device, memory_format=torch.channels_last)
    critic = PatchCritic().to(device, memory_format=torch.channels_last)
    average = Average(net, 0.999)
    make = torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.0, 0.99))
    judge = torch.optim.Adam(critic.parameters(), lr=4e-4, betas=(0.0, 0.99))
    parts = {"net": net, "critic": critic, "average": average.net, "make": make, "judge": judge}
    run = Run(a.out / "painter.pt", a.seed + 1, **parts)
    made = None
    while run.step < a.painter_steps:
        if run.step >= FLOW_FROM and made is None:
            made = trained_flow(a.out, x.cpu(), {k: v.cpu() for k, v in basis.items()}, device)
        # the first half learns from quarter pictures, four times as many
        whole = run.step >= WHOLE_FROM
        n, crop = (16, m.SIZE) if whole else (48, m.SIZE // 2)
        fade = training.fade(run.step, a.painter_steps, 4, 0.02)
        make.param_groups[0]["lr"], judge.param_groups[0]["lr"] = 2e-4 * fade, 4e-4 * fade
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
        loss_critic = hinge(votes[:n], votes[n:])
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
        run.advance(loss_critic, vote, keeps_low, keeps_texture, keeps_tails)
        average.update(net, run.step)
        if run.due(a.every, a.painter_steps):
            run.save("critic, vote, low, texture, tails")
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
    net.load_state_dict(training.state_of(tensors, "flow"))
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
    training.load_part(teacher, tensors, "painter")
    net, critic = m.Painter(), PatchCritic()
    thin(teacher, net)
    for part in (teacher.requires_grad_(False), net, critic):
        part.to(memory_format=torch.channels_last)
    average = Average(net, 0.998)
    make = torch.optim.Adam(net.parameters(), lr=4e-4, betas=(0.0, 0.99))
    judge = torch.optim.Adam(critic.parameters(), lr=4e-4, betas=(0.0, 0.99))
    parts = {"net": net, "critic": critic, "average": average.net, "make": make, "judge": judge}
    run = Run(a.out / "slim.pt", a.seed + 3, **parts)
    lows, strengths, classes_of = flow_pool(tensors, a.pool)
    device, n = torch.device("cpu"), 16
    bounds = [side.mean() for side in border(x)]  # of dots and steps, as real patches have them
    seen = torch.stack([bound.expand(4) for bound in bounds])  # running means of (dots, steps)
    wanted_tails = log_kurtosis(x).mean(dim=0)
    print("border of real patches", bounds, flush=True)
    while run.step < a.slim_steps:
        fade = training.fade(run.step, a.slim_steps, 3, 0.02)
        make.param_groups[0]["lr"] = (4e-4 if run.step < ALONE else 2e-4) * fade
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
        loss_critic = hinge(votes[:n], votes[n:])
        judge.zero_grad()
        loss_critic.backward()
        judge.step()
        with torch.no_grad(), mixed(device):
            taught = teacher(low, strength, labels, noise).float() if run.step < ALONE else fake
        off = fake - taught.detach()
        inner = 4  # the teacher's borders are what is to be unlearnt
        off = off[:, :, inner:-inner, inner:-inner]
        distance = 8 * off.abs().mean() + 16 * m.detail(off).abs().mean()
        vote = torch.zeros(())
        if run.step >= ALONE:
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
        run.advance(distance, loss_critic, vote, keeps_low, keeps_texture, keeps_tails)
        average.update(net, run.step)
        if run.due(a.every, a.slim_steps):
            note = f"border {np.round(seen.numpy(), 3).tolist()}"
            run.save("teacher, critic, vote, low, texture, tails", note)
            with torch.inference_mode():
                noise = draw_noise(32, m.LOW, device, torch.Generator().manual_seed(0))
                labels = classes_of[:32].float()[:, None] * 2 - 1
                sheet(average.net(lows[:32], strengths[:32], labels, noise), a.out / "slim.png")


def choose_signs(tensors: dict[str, Tensor], tries: int, chosen: int = 1) -> Tensor:
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
    """``weights.safetensors`` of ``--init``'s networks: accents fitted again, signs chosen."""
    tensors = {k: v.float() for k, v in load_file(a.init).items() if k != "signs"}
    tensors["accents"] = fit_accents(tensors, x, a.seed, a.fitted // 4)
    tensors["signs"] = choose_signs(tensors, a.tries)
    training.write_weights(halves(tensors), a.out / "weights.safetensors")


def write_slim(a: argparse.Namespace, x: Tensor) -> None:
    """``weights.safetensors``: flow and basis of ``--init``, the slim painter, accents fitted again."""
    tensors = {k: v.float() for k, v in load_file(a.init).items() if not k.startswith("painter.")}
    tensors |= floats(state_in(a.out / "slim.pt"), "painter")
    tensors["accents"] = fit_accents(tensors, x, a.seed, a.fitted // 4)
    tensors["signs"] = choose_signs(tensors)
    training.write_weights(halves(tensors), a.out / "weights.safetensors")


# ------------------------------------------------------------------------------------------------------
# the package
@torch.no_grad()
def fit_accents(tensors: dict[str, Tensor], x: Tensor, seed: int, n: int) -> Tensor:
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
    tensors = fit_basis(x)
    flow, painter = (state_in(a.out / f"{stage}.pt") for stage in ("student", "painter"))
    net = m.Flow().eval()
    net.load_state_dict(flow)
    tensors |= correct(net, tensors, coordinates(x, tensors), a.fitted)
    tensors |= floats(flow, "flow") | floats(painter, "painter")
    tensors["accents"] = fit_accents(tensors, x, a.seed, a.fitted // 4)
    tensors["signs"] = choose_signs(tensors, a.tries)
    training.write_weights(halves(tensors), a.out / "weights.safetensors")


def main() -> None:
    parser = training.parser_of(
        __doc__, data="zip or folder with train/is_benign_{true,false}/*.png", seed=8, every=500
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
    parser.add_argument(
        "--fitted", type=int, default=FITTED, help="samples that the last touches are fitted to"
    )
    parser.add_argument("--shown", type=int, default=64, help="samples on a sheet of the flow")
    parser.add_argument("--tries", type=int, default=700, help="choices of signs to choose from")
    a = training.arguments_of(parser)
    x, y, _ = training.read_patches(a.data, m.SIZE)
    training.print_settings(a, patches=len(x), malignant=int(y.sum()))
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
