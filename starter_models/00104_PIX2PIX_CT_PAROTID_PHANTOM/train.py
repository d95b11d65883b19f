"""Train model 104: a DCGAN of parotid masks, then a pix2pix U-Net that paints the CT around a mask.

    python train.py --out runs/parotid                            # on the procedural phantom, drawn by this script
    python train.py --out runs/own --data dicom/                  # CT series and RTSTRUCT, in any order of folders
    python train.py --out runs/own --data dicom/ --init weights.safetensors   # the same, from the phantom's weights
    python train.py --out runs/parotid --stage weights            # weights.safetensors of a finished run
    python train.py --out runs/parotid --stage ears               # and taught.safetensors, the package's, from these

``--data`` needs medzoo's reader (``pip install "medzoo[medical]"``); the phantom needs nothing but
numpy and torch. A run that was killed goes on from its checkpoints. ``judge.py`` measures what came
out.
"""

from __future__ import annotations

import argparse
import collections
import math
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import model as m  # the package's own, beside this script
import numpy as np
import phantom
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parent.parent))  # training.py; a copy has it beside
import training
from training import Average, Run, floats, halves, hinge, load_part, mixed, state_in

ROI = "R parotid|Parotid R|Rt Parotid|Right parotid|Parotid right|Parotid gland R|Glnd parotid R"
JITTER = 3  # pixels that a scan is moved by, either way
FOREIGN = 0.4  # share of the painter's masks that are not those of their heads
NATS = 0.005  # price of a nat of information in the code of a head
AIR = -0.6  # on the networks' scale, -515 HU
# An ear lobe, in mm and radians as in phantom.py: below the middle of the head, outside the skin.
BELOW, OUTSIDE, WIDE, HIGH, TILT = 9.0, 3.0, 4.5, 10.0, 0.25
ZONE, FIT = 10, 26  # rows from its middle: where it may be, and where the skin is fitted
KEPT = 0.2  # of the painter as it was before it learned ears (arXiv:2109.01903): keeps the air even
LOOSE = 0.5  # heads from codes of others, for each that is painted from its own


# ------------------------------------------------------------------------------------------------------------
# the data
class Scans(NamedTuple):
    """Scans (K, 1, 128, 128): in HU without and with gland everywhere, int16, and the gland's share
    of each pixel, float16.

    For real scans ``bed`` and ``gland`` are the same: only their own mask can be shown.
    """

    bed: Tensor
    gland: Tensor
    mask: Tensor

    @property
    def real(self) -> bool:
        return self.bed is self.gland

    def batch(
        self, n: int, rng: np.random.Generator, foreign: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """CT (n, 1, H, W) on the networks' scale and masks (n, 1, H, W), 0 or 1, of scans moved by
        a few pixels.

        ``foreign`` (k, 1, H, W), shares of pixels, take the place of the last k heads' own masks.
        """
        pick, moves = rng.integers(len(self.bed), size=n), rng.integers(-JITTER, JITTER + 1, (n, 2))
        bed, gland, mask = (
            torch.stack([move(v[k], *d) for k, d in zip(pick, moves.tolist(), strict=True)]).float()
            for v in self
        )
        if self.real:
            ct, mask = warp(torch.cat([bed - m.LOW, mask], dim=1), rng, 0.08).split(1, dim=1)
            return m.to_scale(ct + m.LOW), (mask > 0.5).float()
        if foreign is not None and len(foreign):
            mask[n - len(foreign) :] = foreign
        return m.to_scale((bed + mask * (gland - bed)).clamp(m.LOW, m.HIGH)), (mask > 0.5).float()


def move(x: Tensor, down: int, right: int) -> Tensor:
    """``x`` (C, H, W) moved by whole pixels; the edge is repeated."""
    size = x.shape[-1]
    rows, columns = ((torch.arange(size) - d).clamp(0, size - 1) for d in (down, right))
    return x[:, rows][:, :, columns]


def warp(
    x: Tensor, rng: np.random.Generator, strength: float, turn: float = 0.05, reach: float = 0.0
) -> Tensor:
    """``x`` (N, C, H, W) scaled, turned, bent and, with ``reach``, moved by up to that share of the
    field; zeros come in.
    """
    n = len(x)
    angle, size = rng.normal(0, turn, n), np.exp(rng.normal(0, strength, (n, 2)))
    theta = np.zeros((n, 2, 3))
    theta[:, 0, :2] = np.stack([np.cos(angle), -np.sin(angle)], axis=1) / size[:, :1]
    theta[:, 1, :2] = np.stack([np.sin(angle), np.cos(angle)], axis=1) / size[:, 1:]
    theta[:, :, 2] = rng.uniform(-reach, reach, (n, 2))
    grid = F.affine_grid(
        torch.tensor(theta, dtype=torch.float32), list(x.shape), align_corners=False
    )
    bend = torch.from_numpy(rng.normal(0, 0.25 * strength, (n, 2, 7, 7)).astype(np.float32))
    grid = grid + F.interpolate(bend, x.shape[2:], mode="bicubic", align_corners=True).permute(
        0, 2, 3, 1
    )
    return F.grid_sample(x, grid, align_corners=False)


def foreign_masks(n: int, scans: Scans, masks: nn.Module, rng: np.random.Generator) -> Tensor:
    """Shares of pixels (n, 1, H, W) of masks that no head of the data has, four kinds in turn:
    glands moved, scaled and bent; ellipses; glands of the DCGAN; now and then nothing at all."""
    pick = torch.from_numpy(rng.integers(len(scans.mask), size=n))
    moved = warp(scans.mask[pick].float(), rng, 0.3, 0.5, 0.3)
    y, x = torch.meshgrid(*[torch.arange(m.SIZE).float() + 0.5] * 2, indexing="ij")
    cx, cy, rx, ry, turn = torch.tensor(
        rng.uniform([14, 30, 3, 3, 0], [114, 100, 18, 18, math.pi], (n, 5)).T[..., None, None]
    ).float()
    u = (x - cx) * turn.cos() + (y - cy) * turn.sin()
    v = (y - cy) * turn.cos() - (x - cx) * turn.sin()
    oval = (((1 - ((u / rx) ** 2 + (v / ry) ** 2).sqrt()) * torch.minimum(rx, ry)) + 0.5).clamp(
        0, 1
    )[:, None]
    latents = torch.from_numpy(rng.standard_normal((n, m.LATENT)).astype(np.float32))
    with torch.no_grad():
        drawn = m.in_field(smooth(m.one_piece(masks(latents[:, :, None, None]))))
    kind = torch.from_numpy(rng.choice(4, n, p=[0.4, 0.25, 0.25, 0.1]))[:, None, None, None]
    return torch.where(
        kind == 0, moved, torch.where(kind == 1, oval, torch.where(kind == 2, drawn, 0.0))
    )


def smooth(x: Tensor) -> Tensor:
    """The blur of ``phantom.blur``, roughly, for masks of 0 and 1."""
    return 0.5 * x + 0.5 * F.avg_pool2d(x, 3, stride=1, padding=1)


def read_phantom(out: Path, count: int, seed: int) -> Scans:
    """``count`` heads of the phantom, drawn once and kept in ``out``."""
    path = out / f"phantom-{count}-{seed}.npz"
    if not path.exists():
        began, heads = time.time(), []
        for k in range(count):
            heads.append(phantom.scan(1_000_000 * seed + k))
            if (k + 1) % 500 == 0:
                print(
                    f"phantom {k + 1} heads, {(time.time() - began) / (k + 1):.2f} s each",
                    flush=True,
                )
        bed, gland, mask = (np.stack([h[i] for h in heads])[:, None] for i in range(3))
        part = path.with_suffix(".part.npz")
        np.savez(
            part,
            bed=bed.round().astype(np.int16),
            gland=gland.round().astype(np.int16),
            mask=mask.astype(np.float16),
        )
        part.replace(path)
    with np.load(path) as file:
        return Scans(*(torch.from_numpy(file[name]) for name in Scans._fields))


def read_dicom(folder: Path, pattern: str) -> Scans:
    """Axial slices through the right parotid of all patients, cut so that it lies where the phantom
    has it.
    """
    from medzoo import medical
    from medzoo.errors import InputError

    images, masks, patients = [], [], 0
    for volume, structures in medical.cases(folder):
        try:
            volume = volume.axial()  # noqa: PLW2901  (rows from front to back, columns from right to left)
            mask = structures.mask(volume, pattern)
            ct, gland = medical.slices_with(
                volume, mask, m.SIZE, phantom.SPACING, at=m.GLAND, fill=m.LOW
            )
        except InputError as error:
            print(f"skipped: {structures.path}: {error.problem}", flush=True)
            continue
        patients += 1
        images.append(ct[:, None])
        masks.append(gland[:, None])
    if not images:
        raise SystemExit(f"{folder} has no slice with a structure {pattern!r}.")
    ct = torch.from_numpy(np.concatenate(images)).clamp(m.LOW, m.HIGH).round().to(torch.int16)
    print(f"{len(ct)} slices of {patients} patients", flush=True)
    return Scans(ct, ct, smooth(torch.from_numpy(np.concatenate(masks)).float()).half())


# -------------------------------------------------------------------------------------------------------
# the networks
class Critic(nn.Module):
    """PatchGAN: scores of CT and mask at two scales, patches of about 40 and 90 pixels, and the
    features below them.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        sn = nn.utils.parametrizations.spectral_norm
        sizes = [2, width, 2 * width, 4 * width, 4 * width, 4 * width]
        strides = (2, 2, 2, 1, 2)
        self.steps = nn.ModuleList(
            sn(nn.Conv2d(a, b, 4 if s == 2 else 3, s, 1))
            for a, b, s in zip(sizes[:-1], sizes[1:], strides, strict=True)
        )
        self.near, self.far = (nn.Conv2d(4 * width, 1, 3, padding=1) for _ in range(2))

    def forward(self, ct: Tensor, mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        x, features = torch.cat([3 * ct, 2 * mask - 1], dim=1), []
        for step in self.steps:
            x = F.leaky_relu(
                2 * step(x), 0.2
            )  # spectral norm alone lets signals fade from layer to layer
            features.append(x)
        return [self.near(features[3]), self.far(features[4])], features[1:]


class Encoder(nn.Module):
    """Mean and log variance of the code (N, 32) of CT and mask (N, 2, 128, 128). Only trains the
    painter.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        sizes = [8, width, 2 * width, 3 * width, 4 * width]
        steps = [m.conv(a, b, 1 if k == 0 else 2) for k, (a, b) in enumerate(pairwise(sizes))]
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2), *steps, nn.Flatten(), nn.Linear(64 * 4 * width, 2 * m.CODE)
        )

    def forward(self, ct: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        mean, spread = self.body(torch.cat([3 * ct, mask], dim=1)).float().chunk(2, dim=1)
        return mean, spread.clamp(-8, 2)


def draw_noise(n: int, generator: torch.Generator | None = None) -> list[Tensor]:
    return training.uniform_noise(n, m.PLANES, torch.device("cpu"), generator)


def begin(net: nn.Module, a: argparse.Namespace, name: str) -> nn.Module:
    """``net`` with the weights of ``--init``, if there are any."""
    if a.init:
        load_part(net, load_file(a.init), name)
    return net.to(a.device)


def sheet(ct: Tensor, masks: Tensor, path: Path, columns: int = 8, zoom: int = 1) -> None:
    """CT (N, 1, H, W) in HU in a window of 400 HU around 40, the outline of the masks in red, as a
    picture.
    """
    gray = ((ct.float() + 160) / 400).clamp(0, 1).mul(255).round()
    gray, masks = (F.interpolate(v.float(), scale_factor=float(zoom)) for v in (gray, masks))
    edge = masks - -F.max_pool2d(-masks, 3, 1, 1)
    colour = torch.where(
        edge > 0, torch.tensor([255.0, 70.0, 60.0])[None, :, None, None], gray.expand(-1, 3, -1, -1)
    )
    n, _, h, w = colour.shape
    rows = -(-n // columns)
    page = torch.zeros(rows * columns, 3, h, w)
    page[:n] = colour
    page = (
        page.view(rows, columns, 3, h, w).permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, 3)
    )
    Image.fromarray(page.to(torch.uint8).numpy()).save(path)


# ------------------------------------------------------------------------------------------------------------
# training
def train_masks(a: argparse.Namespace, scans: Scans) -> None:
    """DCGAN on the right parotid's part of the field, outlines blurred so that there is something
    to threshold.
    """
    torch.manual_seed(a.seed)
    net = begin(m.MaskGenerator(), a, "masks")
    sizes, layers = [1, 16, 32, 64, 128], []
    for k, (i, o) in enumerate(pairwise(sizes)):
        layers += [
            nn.Conv2d(i, o, 4, 2, 1, bias=k == 0),
            *([nn.BatchNorm2d(o)] if k else []),
            nn.LeakyReLU(0.2),
        ]
    critic = nn.Sequential(*layers, nn.Conv2d(128, 1, 4)).to(a.device)
    for layer in [*net.modules(), *critic.modules()]:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and not a.init:
            nn.init.normal_(layer.weight, 0, 0.02)
    average = Average(net, 0.998)
    make, judge = (torch.optim.Adam(p.parameters(), 2e-4, (0.5, 0.999)) for p in (net, critic))
    parts = {"net": net, "critic": critic, "average": average.net, "make": make, "judge": judge}
    run = Run(a.out / "masks.pt", a.seed, **parts)
    n = 32
    for step in range(run.step + 1, a.mask_steps + 1):
        rng = np.random.default_rng([a.seed, step])
        pick, moves = (
            rng.integers(len(scans.mask), size=n),
            rng.integers(-JITTER, JITTER + 1, (n, 2)).tolist(),
        )
        real = torch.stack(
            [move(scans.mask[k].float(), *d) for k, d in zip(pick, moves, strict=True)]
        )
        real = (
            F.avg_pool2d(real, 3, 1, 1)[:, :, m.TOP : m.TOP + m.CROP, m.LEFT : m.LEFT + m.CROP].to(
                a.device
            )
            * 2
            - 1
        )
        fake = net(torch.randn(n, m.LATENT, 1, 1, device=a.device))
        grain = 0.3 * max(0.0, 1 - step / a.mask_steps)  # instance noise that fades
        real, shown = (v + grain * torch.randn_like(v) for v in (real, fake))
        loss = F.softplus(-critic(real)).mean() + F.softplus(critic(shown.detach())).mean()
        judge.zero_grad()
        loss.backward()
        judge.step()
        gain = F.softplus(-critic(shown)).mean()
        make.zero_grad()
        gain.backward()
        make.step()
        run.advance(loss, gain)
        average.update(net, run.step)
        if run.due(a.every, a.mask_steps):
            run.save("critic, generator")
            with torch.no_grad():
                latents = torch.randn(
                    32, m.LATENT, 1, 1, generator=torch.Generator().manual_seed(0)
                )
                drawn = average.net(latents.to(a.device)).cpu()
            shown = torch.cat([drawn, real[:32].cpu()])
            sheet(shown * 200 + 40, m.one_piece(shown), a.out / "masks.png", 16)


def train_painter(a: argparse.Namespace, scans: Scans) -> None:
    """pix2pix with a code for what the mask does not say (BicycleGAN): a head is painted from its
    own code, and held to the picture, or from another's, and held to the critic alone."""
    torch.manual_seed(a.seed + 1)
    masks = m.MaskGenerator()
    masks.load_state_dict(state_in(a.out / "masks.pt"))
    masks.eval()
    net, encoder, critic = (
        begin(m.Painter(), a, "painter"),
        Encoder().to(a.device),
        Critic().to(a.device),
    )
    for part in (net, encoder, critic):
        part.to(memory_format=torch.channels_last)
    average = Average(net, 0.999)
    make = torch.optim.Adam([*net.parameters(), *encoder.parameters()], a.rate, (0.5, 0.99))
    judge = torch.optim.Adam(critic.parameters(), a.rate, (0.5, 0.99))
    parts = {
        "net": net,
        "encoder": encoder,
        "critic": critic,
        "average": average.net,
        "make": make,
        "judge": judge,
    }
    run = Run(a.out / "painter.pt", a.seed + 1, **parts)
    n, loose, codes = a.batch, max(1, round(LOOSE * a.batch)), collections.deque(maxlen=16)
    cast = lambda: mixed(torch.device(a.device))  # noqa: E731
    for step in range(run.step + 1, a.painter_steps + 1):
        rng = np.random.default_rng([a.seed, 1, step])
        pace = a.rate * min(1.0, step / 100, 0.05 + 2.0 * (1 - step / a.painter_steps))
        make.param_groups[0]["lr"], judge.param_groups[0]["lr"] = (
            pace,
            4 * pace,
        )  # the critic is to be ahead
        foreign = None if scans.real else foreign_masks(round(FOREIGN * n), scans, masks, rng)
        ct, mask = (v.to(a.device) for v in scans.batch(n, rng, foreign))
        order = torch.from_numpy(rng.permutation(n)[:loose])
        both = torch.cat([mask, mask[order]])
        with cast():
            mean, spread = encoder(ct, mask)
            code = mean + (0.5 * spread).exp() * torch.randn_like(mean)
            code = torch.cat([code, code.detach().roll(1, 0)[order]])  # of other heads
            code = m.with_ears(code, torch.zeros(len(code), device=a.device))
            fake = net(both, code, [v.to(a.device) for v in draw_noise(n + loose)])
            votes, wanted = critic(ct, mask)
            votes = zip(votes, critic(fake.detach(), both)[0], strict=True)
            verdict = sum(hinge(r.float(), f.float()) for r, f in votes)
        judge.zero_grad()
        verdict.backward()
        judge.step()
        critic.requires_grad_(False)
        with cast():
            votes, seen = critic(fake, both)
        critic.requires_grad_(True)
        praise = -sum(v.float().mean() for v in votes)
        alike = sum(
            (s[:n].float() - w.detach().float()).abs().mean()
            for s, w in zip(seen, wanted, strict=True)
        )
        away = sum(
            (F.avg_pool2d(fake[:n].float() - ct, k)).abs().mean() for k in (4, 8)
        )  # grain and streaks are the critic's
        away = (
            away + ((fake[:n].float() - ct).abs() * (ct < AIR)).mean()
        )  # where there is nothing to be had but air
        nats = 0.5 * (mean.square() + spread.exp() - 1 - spread).sum(dim=1).mean()
        make.zero_grad()
        (2.0 * praise + 1.0 * alike + 20.0 * away + NATS * nats).backward()
        make.step()
        run.advance(verdict, praise, alike, away, nats)
        average.update(net, run.step)
        codes.extend(mean.detach())
        if run.due(a.every, a.painter_steps):
            run.save("critic, praise, features, L1, nats")
            paint_sheet(a, average.net, masks, [ct, mask, mean.detach()], torch.stack(list(codes)))


@torch.no_grad()
def paint_sheet(
    a: argparse.Namespace, net: nn.Module, masks: nn.Module, scan: list[Tensor], codes: Tensor
) -> None:
    """``painter.png``: the last training scans, the same painted from their codes, and sixteen new
    masks with the last codes.
    """
    (ct, mask, code), fixed = scan, torch.Generator().manual_seed(0)
    latents = torch.randn(16, m.LATENT, 1, 1, generator=fixed)
    drawn = m.in_field(m.one_piece(masks(latents))).to(a.device)
    code, codes = (m.with_ears(c, torch.zeros(len(c), device=a.device)) for c in (code, codes))
    again = net(mask, code, [v.to(a.device) for v in draw_noise(len(mask), fixed)])
    new = net(
        drawn, codes[torch.arange(16) % len(codes)], [v.to(a.device) for v in draw_noise(16, fixed)]
    )
    pictures = m.to_hu(torch.cat([ct, again, new])).cpu()
    sheet(
        pictures,
        torch.cat([mask, mask, drawn[:8], 0 * drawn[8:]]).cpu(),
        a.out / "painter.png",
        zoom=2,
    )


def with_lobes(head: np.ndarray, wanted: bool) -> np.ndarray:
    """A head (H, W) in HU with ear lobes like the phantom's on both sides, or without any."""
    head = head.copy()
    rows, columns = np.arange(m.SIZE)[:, None], np.arange(m.SIZE)[None]
    inside = head > -500
    ends = np.flatnonzero(inside.any(axis=1))[[0, -1]]
    middle = ends.mean() + BELOW / phantom.SPACING
    away = np.arange(m.SIZE) - middle
    zone, fit = np.abs(away) <= ZONE, (np.abs(away) > ZONE) & (np.abs(away) <= FIT)
    for side in (head, head[:, ::-1]):  # views: what is drawn there is drawn in ``head``
        first = (side > -500).argmax(axis=1)
        curve = np.polynomial.Polynomial.fit(away[fit], first[fit], 3)
        beyond = zone[:, None] & (columns < curve(away)[:, None])
        side[beyond] = np.broadcast_to(side[:1], side.shape)[beyond]  # air
        if not wanted:
            continue
        x = (columns - curve(0.0)) * phantom.SPACING + OUTSIDE
        y = (rows - middle) * phantom.SPACING
        c, s = math.cos(TILT), math.sin(TILT)
        depth = (1 - np.hypot((x * c - y * s) / WIDE, (y * c + x * s) / HIGH)) * WIDE  # mm
        skin, fat = (np.clip((depth - d) / phantom.SPACING + 0.5, 0, 1) for d in (0.0, 2.0))
        lobe = phantom.SKIN + fat * (phantom.FAT - phantom.SKIN)
        side[:] = side + skin * (columns < curve(away)[:, None] + 1) * (lobe - side)
    return head


def teach_ears(a: argparse.Namespace, scans: Scans) -> None:
    """Teach the painter of ``weights.safetensors`` what its number for ears means: it learns to paint
    its own heads with both lobes or none, and everything else as before. Writes
    ``taught.safetensors``."""
    tensors, n = load_file(a.out / "weights.safetensors"), 6
    spread = training.state_of(tensors, "code")
    masks = load_part(m.MaskGenerator(), tensors, "masks").eval()
    before, net = (load_part(m.Painter(), tensors, "painter").eval() for _ in range(2))
    make = torch.optim.Adam(net.parameters(), a.ear_rate, (0.8, 0.99))
    run = Run(a.out / "ears.pt", a.seed + 2, net=net, make=make)
    for step in range(run.step + 1, a.ear_steps + 1):
        rng = np.random.default_rng([a.seed, 2, step])
        make.param_groups[0]["lr"] = a.ear_rate * min(step / 20, 1.0, 1.03 - step / a.ear_steps)
        with torch.no_grad():
            drawn = m.in_field(m.one_piece(masks(torch.randn(n - 2, m.LATENT, 1, 1))))
            mask = torch.cat([drawn, (foreign_masks(2, scans, masks, rng) > 0.5).float()])
            code, noise = m.codes(mask, torch.randn(n, m.CODE), **spread), draw_noise(n)
            plain = before(mask, m.with_ears(code, torch.zeros(n)), noise)
            ears = torch.tensor([1.0, -1.0]).repeat(n // 2)
            heads = zip(m.to_hu(plain)[:, 0].numpy(), ears.tolist(), strict=True)
            wanted = np.stack([with_lobes(head, ear > 0) for head, ear in heads])
            target = m.to_scale(torch.from_numpy(wanted)[:, None])
            changed = (target - m.to_scale(m.to_hu(plain))).abs() > 0.02
        off = (net(mask, m.with_ears(code, ears), noise) - target).abs()
        lobes, rest = (off[part].mean() for part in (changed, ~changed))
        edges = [0, 1, 2, -3, -2, -1]
        frame = torch.cat([off[..., edges, :].flatten(1), off[..., edges].flatten(1)], dim=1)
        rim = frame.amax(dim=1).mean()  # single pixels there came out as dense as fat
        make.zero_grad()
        (lobes + 10 * rest + 2 * rim).backward()
        make.step()
        run.advance(lobes, rest, rim)
        if run.due(a.every, a.ear_steps):
            run.save("lobes, rest, rim")
            with torch.no_grad():
                painted = net(mask, m.with_ears(code, ears), noise)
            sheet(m.to_hu(painted), mask, a.out / "ears.png", columns=3, zoom=2)
            taught = floats(net.state_dict(), "painter")
            mixed_in = {k: KEPT * tensors[k].float() + (1 - KEPT) * v for k, v in taught.items()}
            training.write_weights(tensors | halves(mixed_in), a.out / "taught.safetensors")


@torch.no_grad()
def fit_codes(a: argparse.Namespace, scans: Scans) -> dict[str, Tensor]:
    """How the codes of heads depend on where their glands lie, and the covariance of the rest: what
    codes are drawn by in place of the standard normal, which the encoder only comes near to
    (ex-post density estimation, Ghosh et al., arXiv:1903.12436)."""
    encoder = Encoder()
    encoder.load_state_dict(state_in(a.out / "painter.pt", "encoder"))
    encoder.eval()
    rng, found = np.random.default_rng(a.seed), []
    for _ in range(-(-len(scans.bed) // 16)):
        ct, mask = scans.batch(16, rng)
        mean, spread = encoder(ct, mask)
        code = mean + (0.5 * spread).exp() * torch.from_numpy(
            rng.standard_normal(mean.shape).astype(np.float32)
        )
        found.append(torch.cat([code, m.place(mask)], dim=1))
    code, places = torch.cat(found).split([m.CODE, 4], dim=1)
    usual = torch.stack([places.mean(dim=0), places.std(dim=0) + 0.1])
    off = ((places - usual[0]) / usual[1]).clamp(-3, 3)
    design = torch.cat([torch.ones(len(off), 1), off], dim=1).double()
    weights = torch.linalg.solve(
        design.T @ design + torch.eye(5), design.T @ code.double()
    )  # a ridge, for few scans
    rest = (code.double() - design @ weights).float()
    cov = rest.T @ rest / len(rest) + 1e-4 * torch.eye(m.CODE)
    fitted = {
        "mean": weights[0],
        "slope": weights[1:],
        "factor": torch.linalg.cholesky(cov),
        "usual": usual,
    }
    return {f"code.{k}": v.contiguous() for k, v in fitted.items()}


def write_weights(a: argparse.Namespace, scans: Scans) -> None:
    """One file for ``model.load``: both averaged networks and how codes are drawn, in half
    precision.
    """
    tensors = fit_codes(a, scans)
    for part in ("masks", "painter"):
        tensors |= floats(state_in(a.out / f"{part}.pt"), part)
    training.write_weights(halves(tensors), a.out / "weights.safetensors")


def main() -> None:
    parser = training.parser_of(__doc__, seed=104, every=250)
    parser.add_argument(
        "--data", type=Path, help="folder of DICOM CT with RTSTRUCT; the phantom if left out"
    )
    parser.add_argument(
        "--roi", default=ROI, help="names of the structure in the RTSTRUCT, parted by |"
    )
    parser.add_argument("--init", type=Path, help="weights.safetensors to begin with")
    parser.add_argument(
        "--stage", choices=["masks", "painter", "weights", "ears", "all"], default="all"
    )
    parser.add_argument("--heads", type=int, default=2500, help="of the phantom")
    parser.add_argument("--mask-steps", type=int, default=2500, help="optimiser steps of 32 masks")
    parser.add_argument(
        "--painter-steps", type=int, default=5200, help="optimiser steps of --batch scans"
    )
    parser.add_argument("--ear-steps", type=int, default=580, help="of six heads")
    parser.add_argument("--ear-rate", type=float, default=5e-4, help="learning rate of these steps")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=2e-4, help="learning rate of the painter")
    a = training.arguments_of(parser)
    scans = read_dicom(a.data, a.roi) if a.data else read_phantom(a.out, a.heads, a.seed)
    training.print_settings(a)
    if a.stage in ("masks", "all"):
        train_masks(a, scans)
    if a.stage in ("painter", "all"):
        train_painter(a, scans)
    if a.stage in ("weights", "all"):
        write_weights(a, scans)
    if a.stage == "ears" or (a.stage == "all" and not scans.real):
        teach_ears(a, scans)


if __name__ == "__main__":
    main()
