"""Train model 102 on contrast-enhanced T1 MRI slices of brain tumours.

    python train.py --data brain_t1ce_cheng_256.zip --first-stage eye.safetensors --out runs/brain     # then weights.safetensors

The data set is a zip or a folder of gray pictures, ``meningioma/1.jpg`` and so on. The first stage
is the autoencoder that model 103's ``train.py --stage eye`` trains, safetensors with ``encoder.*``
and ``decoder.*``; model 103's own weights hold it too. Training is seeded, writes a checkpoint and
a sheet of samples every few minutes, and continues from the last checkpoint when started again.
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
from pathlib import Path

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
BLOCKS, EVERY, GUARD = (
    20,
    5,
    4,
)  # a class is cut into 20 blocks of numbers, each fifth held back, four slices between
LOG_LEVEL = 0.3, 1.2  # mean and spread of the logarithm of the noise level in training
UNTOLD = 0.1  # part of the slices whose kind is not told, for guidance
VERSIONS, FRESH, BETWEEN = (
    4,
    128,
    25,
)  # slices are encoded this often, moved; so many of these anew after so many steps


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


def read_slices(data: Path) -> tuple[Tensor, Tensor]:
    """Training slices (N, 1, 256, 256), uint8, and their kinds (N,)."""
    if data.is_dir():
        files = {p.relative_to(data).as_posix(): p.read_bytes() for p in data.rglob("*.jpg")}
    else:
        with zipfile.ZipFile(data) as archive:
            files = {n: archive.read(n) for n in archive.namelist() if n.endswith(".jpg")}
    images, kinds = [], []
    for tumour, name in enumerate(m.TUMOURS):
        names = sorted(
            (n for n in files if n.startswith(f"{name}/")), key=lambda n: int(Path(n).stem)
        )
        for path in np.array(names)[training_part(len(names))]:
            picture = (
                Image.open(io.BytesIO(files[path]))
                .convert("L")
                .resize((2 * m.SIZE, 2 * m.SIZE), Image.Resampling.BOX)
            )
            images.append(np.asarray(picture))
            kinds.append(tumour * len(m.PLANES) + plane_of(name, int(Path(path).stem)))
    return torch.from_numpy(np.stack(images))[:, None], torch.tensor(kinds)


def moved(x: Tensor, kinds: Tensor) -> Tensor:
    """Slices (N, 1, 256, 256) turned, shifted and scaled a little, as tones (N, 1, 128, 128).

    Axial and coronal slices are mirrored now and then. Halving comes after, so that moving blurs
    little.
    """
    n = len(x)
    angle, scale = 0.05 * torch.randn(n), 1 + 0.02 * torch.randn(n)
    mirror = torch.where((kinds % len(m.PLANES) < 2) & (torch.rand(n) < 0.5), -1.0, 1.0)
    shift = 0.02 * torch.randn(n, 2)
    rows = torch.stack([scale * angle.cos() * mirror, -scale * angle.sin(), shift[:, 0]], dim=1)
    columns = torch.stack([scale * angle.sin() * mirror, scale * angle.cos(), shift[:, 1]], dim=1)
    grid = F.affine_grid(torch.stack([rows, columns], dim=1), list(x.shape), align_corners=False)
    there = F.grid_sample(x.float(), grid.to(x.device), padding_mode="border", align_corners=False)
    return m.to_tones(F.avg_pool2d(there, 2))


# -------------------------------------------------------------------------------------------------
# the first stage
class Encoder(nn.Module):
    """Latents (N, 8, 16, 16), each channel of unit variance over the data, of tones (N, 1, 128,
    128).
    """

    def __init__(self, widths: tuple[int, int] = (64, 96)) -> None:
        super().__init__()
        a, b = widths
        self.body = nn.Sequential(
            *(nn.PixelUnshuffle(4), nn.Conv2d(16, a, 3, padding=1), m.Smooth(a)),  # (N, a, 32, 32)
            *(
                nn.Conv2d(a, b, 4, stride=2, padding=1),
                m.Smooth(b),
                m.Smooth(b),
                nn.LeakyReLU(0.2),
            ),  # (N, b, 16, 16)
        )
        self.last = nn.Conv2d(b, m.CHANNELS, 3, padding=1)
        self.unit = nn.BatchNorm2d(m.CHANNELS, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.unit(self.last(self.body(x)).float())


def read_first_stage(path: Path, device: torch.device) -> tuple[Encoder, m.Decoder]:
    """The autoencoder whose latents are to be modelled."""
    tensors, nets = load_file(path), (Encoder(), m.Decoder())
    for name, net in zip(("encoder", "decoder"), nets, strict=True):
        counters = {k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")}
        state = {
            k.removeprefix(f"{name}."): v.float()
            for k, v in tensors.items()
            if k.startswith(f"{name}.")
        }
        net.load_state_dict(counters | state)
        net.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)
    return nets


class Pool:
    """Latents of all slices, each in several moved versions that are renewed little by little.

    Encoding each batch afresh would cost as much as learning from it.
    """

    def __init__(self, encoder: Encoder, x: Tensor, kinds: Tensor) -> None:
        self.encoder, self.x, self.kinds = encoder, x, kinds.repeat(VERSIONS)
        self.latents = torch.cat(
            [self.encode(rows) for rows in torch.arange(len(self.kinds)).split(64)]
        )

    @torch.no_grad()
    def encode(self, rows: Tensor) -> Tensor:
        """Latents of newly moved versions of these rows of the pool."""
        x = moved(self.x[rows % len(self.x)], self.kinds[rows]).contiguous(
            memory_format=torch.channels_last
        )
        with mixed(x.device):
            return self.encoder(x)

    def renew(self) -> None:
        rows = torch.randint(len(self.kinds), (FRESH,))
        self.latents[rows] = self.encode(rows)


# ---------------------------------------------------------------------------------------------------------
# training
def mixed(device: torch.device) -> torch.autocast:
    """bfloat16 where it is fast: on a processor without it, it takes many times as long as full
    precision.
    """
    fast = device.type != "cpu" or torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast)


class Average:
    """Exponential moving average of a network's weights."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net, self.decay = copy.deepcopy(net).eval().requires_grad_(False), decay

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.net.parameters()), list(net.parameters()), 1 - decay)


def sheet(images: Tensor, path: Path, columns: int) -> None:
    """Write (N, 1, H, W), tones, as one PNG."""
    images = m.to_gray(images.float()).round().byte().cpu()
    grid = torch.cat([torch.cat(list(row), dim=2) for row in images.split(columns)], dim=1)
    Image.fromarray(grid[0].numpy()).save(path)


def loss_of(net: m.Denoiser, latents: Tensor, kind: Tensor) -> Tensor:
    """EDM's loss: the squared error of the denoiser, weighted so that every noise level counts
    alike (its table 1).
    """
    n = len(latents)
    spread = (torch.arange(n) + torch.rand(n)) / n  # levels spread evenly over the batch
    level = (LOG_LEVEL[0] + LOG_LEVEL[1] * torch.special.ndtri(spread)).exp().to(latents.device)
    noisy = latents + level[:, None, None, None] * torch.randn_like(latents)
    with mixed(latents.device):
        error = (net(noisy, level, kind) - latents).square().mean(dim=(1, 2, 3))
    return (error * (1 + level**-2)).mean()


def train(a: argparse.Namespace, pool: Pool, decoder: m.Decoder) -> None:
    torch.manual_seed(a.seed)
    device = torch.device(a.device)
    net = m.Denoiser().to(device, memory_format=torch.channels_last)
    average = Average(net, 0.9995)
    optimiser = torch.optim.Adam(net.parameters(), lr=a.rate, betas=(0.9, 0.99))
    parts = {"net": net, "average": average.net, "optimiser": optimiser}
    path, step, began, log = a.out / "denoiser.pt", 0, time.time(), []
    if path.exists():
        state = torch.load(path, weights_only=True, map_location=device)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        step = state["step"]
        torch.manual_seed(a.seed + step)
    while step < a.steps:
        rate = min(1.0, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * step / a.steps)) + 0.002
        optimiser.param_groups[0]["lr"] = a.rate * rate
        rows = torch.randint(len(pool.kinds), (a.batch,))
        kind = torch.where(torch.rand(a.batch) < UNTOLD, m.UNKNOWN, pool.kinds[rows])
        loss = loss_of(net, pool.latents[rows.to(device)], kind.to(device))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        average.update(net, step)
        log.append(loss.item())
        if step % BETWEEN == 0:
            pool.renew()
        if step % a.every == 0 or step == a.steps:
            print(
                f"step {step} loss {np.mean(log):.4f} {(time.time() - began) / 60:.1f} min",
                flush=True,
            )
            log.clear()
            torch.save(
                {name: part.state_dict() for name, part in parts.items()} | {"step": step},
                path.with_suffix(".part"),
            )
            os.replace(path.with_suffix(".part"), path)
            draw(average.net, decoder, a.out / "samples.png")


@torch.no_grad()
def draw(net: m.Denoiser, decoder: m.Decoder, path: Path) -> None:
    """A column for each kind, and a last one for samples whose kind is not told; the same noise
    each time.
    """
    kind = torch.arange(m.KINDS + 1).repeat(4)
    noise = torch.randn(
        len(kind), m.CHANNELS, m.SIDE, m.SIDE, generator=torch.Generator().manual_seed(0)
    )
    device = next(net.parameters()).device
    sheet(
        decoder(m.solve(net, noise.to(device), kind.to(device), steps=12, guidance=1.0)),
        path,
        columns=m.KINDS + 1,
    )


def write_weights(a: argparse.Namespace, pool: Pool, decoder: m.Decoder) -> None:
    """One file for ``model.load``: averaged denoiser, decoder, components and shares, half
    precision.
    """
    denoiser = torch.load(a.out / "denoiser.pt", weights_only=True, map_location="cpu")["average"]
    flat = pool.latents.flatten(1).cpu()
    directions = torch.svd_lowrank(flat - flat.mean(dim=0), m.LATENT + 16, niter=8)[2][
        :, : m.LATENT
    ].T
    tensors = {f"denoiser.{k}": v.half() for k, v in denoiser.items()}
    tensors |= {f"decoder.{k}": v.half() for k, v in decoder.state_dict().items()}
    tensors |= {
        "components": directions,
        "share": torch.bincount(pool.kinds, minlength=m.KINDS) / len(pool.kinds),
    }
    path = a.out / "weights.safetensors"
    save_file({k: v.cpu().contiguous() for k, v in tensors.items()}, path)
    path.chmod(0o644)  # safetensors makes it readable by its owner alone


@torch.no_grad()
def write_planes(a: argparse.Namespace, x: Tensor, kinds: Tensor) -> None:
    """For each tumour a row of samples over a row of real slices: four axial, four coronal, four
    sagittal.
    """
    generator = m.load(a.out, "cpu")
    rows = []
    for tumour in range(len(m.TUMOURS)):
        kind = tumour * len(m.PLANES) + torch.arange(len(m.PLANES)).repeat_interleave(4)
        noise = torch.randn(
            len(kind),
            m.CHANNELS,
            m.SIDE,
            m.SIDE,
            generator=torch.Generator().manual_seed(a.seed + tumour),
        )
        drawn = generator.decoder(m.solve(generator.denoiser, noise, kind, steps=12, guidance=1.0))
        real = torch.zeros_like(drawn)
        for column, one in enumerate(kind.tolist()):
            there = (kinds == one).nonzero()[:, 0]
            if len(there):
                real[column] = m.to_tones(
                    F.avg_pool2d(x[there[len(there) * (2 * (column % 4) + 1) // 8]].float(), 2)
                )
        rows += [drawn, real]
    sheet(torch.cat(rows), a.out / "planes.png", columns=12)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="zip or folder with a folder of pictures for each tumour",
    )
    parser.add_argument(
        "--first-stage", type=Path, required=True, help="the autoencoder of model 103's training"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for checkpoint, sheets and weights.safetensors",
    )
    parser.add_argument("--steps", type=int, default=6_500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=8e-4, help="learning rate at its highest")
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=102)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    a.out.mkdir(parents=True, exist_ok=True)
    x, kinds = read_slices(a.data)
    counts = torch.bincount(kinds, minlength=m.KINDS).tolist()
    print(
        json.dumps(
            {"slices": len(x), "of each kind": counts} | {k: str(v) for k, v in vars(a).items()}
        ),
        flush=True,
    )
    device = torch.device(a.device)
    encoder, decoder = read_first_stage(a.first_stage, device)
    pool = Pool(encoder, x.to(device), kinds)
    train(a, pool, decoder)
    write_weights(a, pool, decoder)
    write_planes(a, x, kinds)


if __name__ == "__main__":
    main()
