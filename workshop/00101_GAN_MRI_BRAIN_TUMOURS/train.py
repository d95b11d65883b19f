"""Train model 101 on contrast-enhanced T1 MRI slices of brain tumours.

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


# ---------------------------------------------------------------------------------------------- stage 3: the painter
class Critic(nn.Module):
    """Scores regions and the whole of a picture: hinge loss, told the kind by projection."""

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96, 128, 128)) -> None:
        super().__init__()
        self.layers, channels = nn.ModuleList(), 3
        for width in widths:
            self.layers.append(nn.Conv2d(channels, width, 4, stride=2, padding=1))
            channels = width
        self.regions, self.whole = nn.Conv2d(widths[2], 1, 1), nn.Conv2d(channels, 1, 4)
        self.of_region, self.of_whole = nn.Embedding(m.KINDS, widths[2]), nn.Embedding(m.KINDS, channels)
        nn.init.zeros_(self.of_region.weight)
        nn.init.zeros_(self.of_whole.weight)

    def forward(self, x: Tensor, kind: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Votes on regions (N, 256), on the whole (N, 1), and the features behind them."""
        middle = m.enlarge(m.detail(F.avg_pool2d(x, 2)))
        h, features = torch.cat([x, 8 * m.detail(x), 4 * middle], dim=1), []
        for layer in self.layers:
            h = m.leaky(layer(h))
            features.append(h)
        regions = self.regions(features[2]) + (features[2] * self.of_region(kind)[:, :, None, None]).sum(1, keepdim=True)
        whole = self.whole(h).flatten(1) + (h.mean(dim=(2, 3)) * self.of_whole(kind)).sum(1, keepdim=True)
        return regions.flatten(1).float(), whole.float(), features


def disguised(x: Tensor) -> Tensor:
    """Differentiable contrast, shift and a hole, so that a critic cannot learn pictures by heart (Zhao et al., arXiv:2006.10738)."""
    n, side = len(x), x.shape[3]
    gain = 1 + 0.2 * (torch.rand(n, 1, 1, 1, device=x.device) - 0.5)
    offset = 0.1 * (torch.rand(n, 1, 1, 1, device=x.device) - 0.5)
    line = torch.arange(side, device=x.device)
    top, left = torch.randint(-side // 4, side, (2, n, 1), device=x.device)
    rows, columns = ((line >= first) & (line < first + side // 3) for first in (top, left))
    keep = 1 - (rows[:, None, :, None] & columns[:, None, None, :]).to(x.dtype)
    dy, dx = (int(v) for v in torch.randint(-12, 13, (2,)))
    return F.pad((x * gain + offset) * keep, (dx, -dx, dy, -dy), value=-1.0)


def draw_noise(n: int, device: torch.device, generator: torch.Generator | None = None) -> list[Tensor]:
    """The painter's noise: uniform, of unit variance, a plane a scale."""
    return [((torch.rand(n, 1, s, s, generator=generator) * 2 - 1) * math.sqrt(3)).to(device) for s in m.SIDES]


class Generator(nn.Module):
    """Tones (N, 1, 128, 128) and soft pictures (N, 1, 64, 64) of latents (N, 64) and kinds (N,)."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping, self.decoder, self.painter = m.Mapping(), m.Decoder(), m.Painter()

    def forward(self, u: Tensor, kind: Tensor, noise: list[Tensor]) -> tuple[Tensor, Tensor]:
        soft = self.decoder(self.mapping(u, kind), kind)
        return self.painter(soft, kind, noise), soft


def start_from(init: Path, net: Generator) -> None:
    """Begin with the networks of a run of model 103; the critic begins afresh, since this one sees no soft picture."""
    parts = {"mapping": ("prior", "average"), "decoder": ("autoencoder", "decoder_average"), "painter": ("painter", "average")}
    for name, (file, key) in parts.items():
        getattr(net, name).load_state_dict(torch.load(init / f"{file}.pt", weights_only=True, map_location="cpu")[key])


def train_gan(a: argparse.Namespace, x: Tensor, kinds: Tensor) -> None:
    torch.manual_seed(a.seed)
    device, n = torch.device(a.device), 8
    net = Generator().to(device, memory_format=torch.channels_last)
    critic = Critic().to(device, memory_format=torch.channels_last)
    if a.init:
        start_from(a.init, net)
    average = Average(net, 0.998)
    slow = [*net.mapping.parameters(), *net.decoder.parameters()]
    make = torch.optim.Adam(
        [{"params": list(net.painter.parameters()), "rate": 2e-4}, {"params": slow, "rate": 5e-5}], betas=(0.5, 0.99)
    )
    judge = torch.optim.Adam([{"params": list(critic.parameters()), "rate": 5e-4}], betas=(0.5, 0.99))
    run = Run(a.out / "gan.pt", a.seed, net=net, critic=critic, average=average.net, make=make, judge=judge)
    while run.step < a.steps:
        for optimiser in (make, judge):
            for group in optimiser.param_groups:
                late = min(1.0, run.step / 300) if optimiser is make else 1.0  # the critic goes first
                group["lr"] = group["rate"] * late * min(1.0, 4 * (1 - run.step / a.steps) + 0.02)
        i = torch.randint(len(x), (n,))
        kind = kinds[i].to(device)
        real = moved(x[i].to(device), kinds[i])
        with torch.autocast(device.type, dtype=torch.bfloat16):
            fake, soft = (t.float() for t in net(torch.randn(n, m.LATENT, device=device), kind, draw_noise(n, device)))
        for _ in range(2):  # the critic learns twice a step, or the generator runs away from it
            with torch.autocast(device.type, dtype=torch.bfloat16):
                regions, whole, _ = critic(torch.cat([disguised(real), disguised(fake.detach())]), kind.repeat(2))
            loss_critic = sum(F.relu(1 - v[:n]).mean() + F.relu(1 + v[n:]).mean() for v in (regions, whole))
            judge.zero_grad()
            loss_critic.backward()
            judge.step()
        critic.requires_grad_(False)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            regions, whole, made = critic(disguised(fake), kind)
            with torch.no_grad():
                wanted = critic(disguised(real), kind)[2]
        critic.requires_grad_(True)
        vote = regions.mean() + whole.mean()
        # Features of a batch, not of a picture: what is there on average, at each place.
        pairs = [(p.float().mean(dim=0), q.float().mean(dim=0)) for p, q in zip(made, wanted, strict=True)]
        like = sum((p - q).abs().mean() / q.abs().mean() for p, q in pairs) / len(pairs)
        keeps_soft = F.l1_loss(F.avg_pool2d(fake, 8), F.avg_pool2d(soft, 4))
        loss = -vote + a.likeness * like + 2 * keeps_soft
        make.zero_grad()
        loss.backward()
        make.step()
        run.step += 1
        average.update(net, run.step)
        run.log.append([loss_critic.item(), vote.item(), like.item(), keeps_soft.item()])
        if run.step % a.every == 0 or run.step == a.steps:
            run.save("critic, vote, features, soft")
            with torch.inference_mode():
                fixed = torch.Generator().manual_seed(0)
                kind = torch.arange(36, device=device) % m.KINDS
                u = torch.randn(36, m.LATENT, generator=fixed).to(device)
                drawn = average.net(u, kind, draw_noise(36, device, fixed))[0]
            sheet(drawn, a.out / "gan.png")


# ------------------------------------------------------------------------------------------------------ the package
def write_weights(a: argparse.Namespace, kinds: Tensor) -> None:
    """One file for ``model.load``: the averaged networks and how often each kind is, half precision."""
    state = torch.load(a.out / "gan.pt", weights_only=True, map_location="cpu")["average"]
    tensors = {"share": torch.bincount(kinds, minlength=m.KINDS) / len(kinds)}
    tensors |= {k: v for k, v in state.items() if v.is_floating_point()}
    halves = {k: v.float() if k.startswith("mapping.") else v.half() for k, v in tensors.items()}
    save_file({k: v.contiguous() for k, v in halves.items()}, a.out / "weights.safetensors")
    (a.out / "weights.safetensors").chmod(0o644)  # safetensors makes it readable by its owner alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="zip or folder with a folder for each tumour and boxes.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, sheets and weights.safetensors")
    parser.add_argument("--init", type=Path, help="folder of a run of model 103 to begin with")
    parser.add_argument("--stage", choices=["gan", "weights", "all"], default="all")
    parser.add_argument("--steps", type=int, default=3_000, help="steps of 8 pictures of 128x128")
    parser.add_argument("--likeness", type=float, default=1.0, help="weight of the critic's features of real pictures")
    parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=101)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    a.out.mkdir(parents=True, exist_ok=True)
    x, kinds, _boxes = read_slices(a.data)
    counts = torch.bincount(kinds, minlength=m.KINDS).tolist()
    print(json.dumps({"slices": len(x), "of each kind": counts} | {k: str(v) for k, v in vars(a).items()}), flush=True)
    if a.stage in ("gan", "all"):
        train_gan(a, x, kinds)
    if a.stage in ("weights", "all"):
        write_weights(a, kinds)


if __name__ == "__main__":
    main()
