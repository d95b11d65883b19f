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
import copy
import csv
import io
import json
import math
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import model as m  # the package's own, beside this script
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
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


# ------------------------------------------------------------------------------------------------
# the first stage
class EyeEncoder(nn.Module):
    """The eye's maps (N, 8, 16, 16), each of unit variance over the data set, of tones (N, 1, 128,
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


def read_eye(path: Path, device: torch.device) -> tuple[EyeEncoder, m.EyeDecoder]:
    """Both halves of the first stage, as they are."""
    tensors = load_file(path)
    nets = EyeEncoder(), m.EyeDecoder()
    for name, net in zip(("encoder", "decoder"), nets, strict=True):
        state = {
            k.removeprefix(f"{name}."): v.float()
            for k, v in tensors.items()
            if k.startswith(f"{name}.")
        }
        counters = {k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")}
        net.load_state_dict(state | counters)
        net.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    return nets


@torch.no_grad()
def seen_slices(
    a: argparse.Namespace, eye: EyeEncoder, x: Tensor, kinds: Tensor, boxes: Tensor
) -> Tensor:
    """The eye's maps of slices moved again each time, and how near the tumour's box is: (copies *
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
            found = eye(real).float()
        maps.append(torch.cat([found, near], dim=1).half().cpu())
    made = torch.cat(maps)
    part = path.with_suffix(".part")
    torch.save(made, part)
    os.replace(part, path)
    return made


# ----------------------------------------------------------------------------------------------------------
# the GAN
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
    means = torch.stack(
        [
            flat[kinds == k].mean(dim=0) if (kinds == k).any() else flat.mean(dim=0)
            for k in range(m.KINDS)
        ]
    )
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
        optimiser.param_groups[0]["lr"] = 2e-3 * (0.5 + 0.5 * math.cos(math.pi * step / steps))
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
    eye, decoder = read_eye(a.first_stage, device)
    maps, kinds = seen_slices(a, eye, x, kinds, boxes), kinds.repeat(a.copies)
    net = m.Generator()
    if not (a.out / "gan.pt").exists():
        start_mapping(net.mapping, start_linear(net, maps, kinds), kinds, a.mapping_steps)
    net.to(device, memory_format=torch.channels_last)
    critic = Critic().to(device, memory_format=torch.channels_last)
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
        for optimiser in (make, judge):
            for group in optimiser.param_groups:
                fade = min(1.0, (run.step + 1) / 100, 3 * (1 - run.step / a.steps) + 0.02)
                group["lr"] = a.rate * group["part"] * fade
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
        run.step += 1
        average.update(net, run.step)
        # The last says whether latents of one kind give as many pictures as there are real ones.
        varied = made.std(dim=0).mean() / real.std(dim=0).mean()
        run.log.append(
            [loss_critic.item(), loss.item(), made.std().item() / real.std().item(), varied.item()]
        )
        if run.step % a.every == 0 or run.step == a.steps:
            run.save("critic, votes, spread, variety")
            with torch.inference_mode():
                fixed_noise = torch.Generator().manual_seed(0)
                kind = torch.arange(72, device=device) % 12 % m.KINDS
                z, grain = draw_noise(72, device, fixed_noise)
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
def measure_spread(net: m.Generator, maps: Tensor, kinds: Tensor, n: int = 512) -> None:
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
    """One file for ``model.load``: the averaged generator, the eye's decoder and how often each
    kind is, half precision.
    """
    net = m.Generator().eval()
    net.load_state_dict(
        torch.load(a.out / "gan.pt", weights_only=True, map_location="cpu")["average"]
    )
    eye, decoder = read_eye(a.first_stage, torch.device(a.device))
    measure_spread(net, seen_slices(a, eye, x, kinds, boxes), kinds.repeat(a.copies))
    tensors = {"share": torch.bincount(kinds, minlength=m.KINDS) / len(kinds)}
    for name, part in (("generator", net), ("decoder", decoder)):
        tensors |= {f"{name}.{k}": v for k, v in part.state_dict().items()}
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
        help="zip or folder with a folder for each tumour and boxes.csv",
    )
    parser.add_argument(
        "--first-stage", type=Path, required=True, help="the eye: weights.safetensors of model 103"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for checkpoints, sheets and weights.safetensors",
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
    parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=101)
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
    if a.stage in ("gan", "all"):
        train_gan(a, x, kinds, boxes)
    if a.stage in ("weights", "all"):
        write_weights(a, x, kinds, boxes)


if __name__ == "__main__":
    main()
