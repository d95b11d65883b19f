"""What the training scripts of the bundled models share.

Command line, data sets that are a zip or a folder, checkpoints and log lines, averaged weights,
learning rates, sheets of samples, and the critics that several models train with. ``medzoo copy``
puts this file beside the ``train.py`` of a copy.
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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


# -------------------------------------------------------------------------------------------------
# the command line
def parser_of(
    description: str | None,
    *,
    seed: int,
    every: int,
    data: str = "",
    out: str = "folder for checkpoints, sheets and weights.safetensors",
    threads: int | None = None,
    device: bool = True,
) -> argparse.ArgumentParser:
    """A parser with the options that all scripts have; ``data`` is the help of a required one."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if data:
        parser.add_argument("--data", type=Path, required=True, help=data)
    parser.add_argument("--out", type=Path, required=True, help=out)
    parser.add_argument("--every", type=int, default=every, help="steps between checkpoints")
    if device:
        parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=threads or torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=seed)
    return parser


def arguments_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The parsed options, once threads are set and the folder of ``--out`` exists."""
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    a.out.mkdir(parents=True, exist_ok=True)
    return a


def print_settings(a: argparse.Namespace, **facts: Any) -> None:
    """The first line of a log: facts about the data, then all options."""
    options = {name: str(value) for name, value in vars(a).items()}
    print(json.dumps(facts | options), flush=True)


# -------------------------------------------------------------------------------------------------
# data sets
def read_files(data: Path, *suffixes: str) -> dict[str, bytes]:
    """Names and contents of the files with these suffixes in a zip or a folder."""
    if data.is_dir():
        paths = [p for p in data.rglob("*") if p.suffix in suffixes]
        return {p.relative_to(data).as_posix(): p.read_bytes() for p in paths}
    with zipfile.ZipFile(data) as archive:
        return {n: archive.read(n) for n in archive.namelist() if n.endswith(suffixes)}


def gray_levels(
    content: bytes, side: int, resampling: Image.Resampling = Image.Resampling.BICUBIC
) -> np.ndarray:
    """The gray levels (side, side), uint8, of a PNG or JPEG."""
    picture = Image.open(io.BytesIO(content)).convert("L")
    return np.asarray(picture.resize((side, side), resampling))


def read_patches(data: Path, side: int = 128) -> tuple[Tensor, Tensor, list[str]]:
    """Mammography patches (N, 1, side, side) in [-1, 1], labels (N,), benign 0 and malignant 1, and
    the names of their files.

    Patches that show the film's white edge are left out: it is not anatomy, and a generator would
    paint it.
    """
    files = read_files(data, ".png")
    images, labels, names = [], [], []
    for name in sorted(n for n in files if n.startswith("train/")):
        pixels = gray_levels(files[name], side)
        white = (pixels >= 250).all(axis=0)
        if white[:3].any() or white[-3:].any():
            continue
        images.append(pixels)
        labels.append("is_benign_false" in name)
        names.append(name)
    x = torch.from_numpy(np.stack(images)).float()[:, None] / 127.5 - 1
    return x, torch.tensor(labels).long(), names


# The brain slices do not say which plane they lie in, but their numbers run plane by plane. Looked
# up by eye: from this number on, until the next one, slices are axial, coronal or sagittal.
RUNS = {
    "meningioma": "1a 211c 442s",
    "glioma": "209a 747c 779s 781c 818s 1841a 2242c 2344a 2403c 2540s 2546c 2731s",
    "pituitary": "59c 709a 918c 922a 1034c 1166s 1283a 1456c 1640s",
}
PLANES = "acs"
FULL = 256  # pixels of a brain slice as it is read
# A class is cut into 20 blocks of numbers, of which each fifth is held back, and four slices on
# each side of it are left out.
BLOCKS, EVERY, GUARD = 20, 5, 4


def plane_of(tumour: str, number: int) -> int:
    """0 axial, 1 coronal, 2 sagittal."""
    starts = [run for run in RUNS[tumour].split() if int(run[:-1]) <= number]
    return PLANES.index(starts[-1][-1])


def training_part(count: int) -> np.ndarray:
    """Which of a class's ``count`` slices, in order of their numbers, are for training: neighbours
    are of one patient.
    """
    block = np.arange(count) * BLOCKS // count
    held = block % EVERY == EVERY // 2
    near = np.convolve(held, np.ones(2 * GUARD + 1), mode="same") > 0
    return ~near


def read_slices(data: Path, *, boxed: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Brain slices for training as gray levels (N, 1, 256, 256), kinds (N,), which are
    ``tumour * 3 + plane``, and 1 within a tumour's box (N, 1, 256, 256), uint8.

    The boxes are those of ``boxes.csv``; without ``boxed`` it is not read and there are none.
    """
    files = read_files(data, ".jpg", ".csv")
    boxes = boxes_of_file(files["boxes.csv"]) if boxed else {}
    images, kinds, masks = [], [], []
    y, x = (np.mgrid[:FULL, :FULL] + 0.5) / FULL
    for tumour, name in enumerate(RUNS):
        names = [n for n in files if n.startswith(f"{name}/")]
        names.sort(key=lambda n: int(Path(n).stem))
        for path in np.array(names)[training_part(len(names))].tolist():
            images.append(gray_levels(files[path], FULL, Image.Resampling.BOX))
            kinds.append(tumour * len(PLANES) + plane_of(name, int(Path(path).stem)))
            centre_x, centre_y, width, height = boxes.get(path, (0, 0, 0, 0))
            masks.append((abs(x - centre_x) < width / 2) & (abs(y - centre_y) < height / 2))
    gray, boxed_pixels = (
        torch.from_numpy(np.stack(part).astype(np.uint8))[:, None] for part in (images, masks)
    )
    return gray, torch.tensor(kinds), boxed_pixels


def boxes_of_file(content: bytes) -> dict[str, tuple[float, ...]]:
    """Centre, width and height as fractions, by file, of ``boxes.csv``."""
    rows = list(csv.reader(io.StringIO(content.decode())))[1:]
    return {row[0]: tuple(float(v) for v in row[2:6]) for row in rows}


def moved_gray(x: Tensor, kinds: Tensor) -> Tensor:
    """Brain slices (N, C, 256, 256) turned, shifted and scaled a little; axial and coronal ones are
    mirrored now and then.

    All of that at 256x256, before they are halved, so that little detail is lost.
    """
    n = len(x)
    angle, scale = 0.05 * torch.randn(n), 1 + 0.02 * torch.randn(n)
    mirror = torch.where((kinds % len(PLANES) < 2) & (torch.rand(n) < 0.5), -1.0, 1.0)
    shift = 0.02 * torch.randn(n, 2)
    rows = torch.stack([scale * angle.cos() * mirror, -scale * angle.sin(), shift[:, 0]], dim=1)
    columns = torch.stack([scale * angle.sin() * mirror, scale * angle.cos(), shift[:, 1]], dim=1)
    grid = F.affine_grid(torch.stack([rows, columns], dim=1), list(x.shape), align_corners=False)
    return F.grid_sample(x.float(), grid.to(x.device), padding_mode="border", align_corners=False)


def boxes_of(masks: Tensor) -> Tensor:
    """Boxes (N, 4) round what of masks (N, 1, H, W) is above a half; zeros where nothing is."""
    rows = []
    for mask in masks[:, 0] > 0.5:
        there = mask.nonzero()
        if len(there) == 0:
            rows.append([0.0] * 4)
            continue
        (top, left), (bottom, right) = there.amin(0).tolist(), (there.amax(0) + 1).tolist()
        centre = (left + right) / 2, (top + bottom) / 2
        rows.append([v / masks.shape[-1] for v in (*centre, right - left, bottom - top)])
    return torch.tensor(rows)


def near_box(error: Tensor, inside: Tensor, weight: float) -> Tensor:
    """Means (N,) of an error (N, C, H, W), in which a place inside the box, by ``inside`` (N, 1, H, W),
    counts ``weight`` times more than one outside.
    """
    weights = 1 + weight * inside
    return (error * weights).mean(dim=(1, 2, 3)) / weights.mean(dim=(1, 2, 3))


def denoiser_at(denoiser: Any, level: float, kinds: int) -> dict[str, Tensor]:
    """The weights of model 102's denoiser at one level of noise, for a network of the same form that
    is told no level.
    """
    state = denoiser.state_dict()
    turns = torch.tensor(level).log() / 4 * denoiser.waves
    told = denoiser.level(torch.cat([turns.sin(), turns.cos()])[None])
    state = {name: value for name, value in state.items() if not name.startswith("level.")}
    return state | {"kind.weight": state["kind.weight"][:kinds] + told}


def mean_of_kinds(x: Tensor, kinds: Tensor, count: int) -> Tensor:
    """Means (count, D) of the rows of ``x`` (N, D) of each kind; of all rows where a kind has none."""
    means = []
    for kind in range(count):
        rows = kinds == kind
        means.append(x[rows].mean(dim=0) if rows.any() else x.mean(dim=0))
    return torch.stack(means)


# -------------------------------------------------------------------------------------------------
# learning
def cosine(step: int, steps: int) -> float:
    """The part of the learning rate at a step of a cosine from 1 down to 0."""
    return 0.5 + 0.5 * math.cos(math.pi * step / steps)


def fade(step: int, steps: int, slope: float, least: float) -> float:
    """The part of the learning rate at a step of a line that falls from ``slope`` to ``least``, but
    is never above 1.
    """
    return min(1.0, slope * (1 - step / steps) + least)


def warm_up(step: int, steps: int) -> float:
    """The part of the learning rate at one of the first ``steps`` steps, then 1."""
    return min(1.0, (step + 1) / steps)


def mixed(device: torch.device) -> torch.autocast:
    """bfloat16 where it is fast: on a processor without it, it takes many times as long as full
    precision.
    """
    fast = device.type != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast)


def meet(folder: Path, worker: int, workers: int) -> None:
    """Wait for the other processes that train together; the file ``meeting`` is where they meet."""
    if workers > 1:
        address = f"file://{(folder / 'meeting').resolve()}"
        distributed.init_process_group("gloo", init_method=address, rank=worker, world_size=workers)


def step_along(
    loss: Tensor, net: nn.Module, optimiser: torch.optim.Optimizer, workers: int, most: float = 5.0
) -> None:
    """A step of the optimiser along the gradient of the loss, the mean of all workers', cut to a
    length of ``most``.
    """
    weights = list(net.parameters())
    gradients = torch.autograd.grad(loss, weights)
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    if workers > 1:
        distributed.all_reduce(flat)
        flat /= workers
    if flat.isfinite().all():
        flat *= (most / flat.norm().clamp(min=1e-9)).clamp(max=1.0)
        parts = flat.split([weight.numel() for weight in weights])
        for weight, part in zip(weights, parts, strict=True):
            weight.grad = part.view_as(weight)
        optimiser.step()


class Average:
    """Exponential moving average of a network's weights and buffers."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net, self.decay = copy.deepcopy(net).eval().requires_grad_(False), decay

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Move the average a little towards ``net``, and more in the first steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, values = self.net.state_dict().values(), net.state_dict().values()
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)


# -------------------------------------------------------------------------------------------------
# checkpoints and log
def save(path: Path, state: Any) -> None:
    """Write a checkpoint aside and rename it, so that a kill leaves the last one whole."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


class Run:
    """The parts of a stage of training, the step they are at, their checkpoint and log.

    Parameters
    ----------
    path
        The checkpoint; where it exists, the run continues from it.
    seed
        Of torch's random numbers from here on, together with the step.
    label
        The first word of a line of the log; by default the name of the checkpoint.
    numbers
        Numbers that are kept in the checkpoint beside the parts.
    parts
        Networks, averages and optimisers under the names that they have in the checkpoint.
    """

    def __init__(
        self,
        path: Path,
        seed: int,
        *,
        label: str = "",
        numbers: Mapping[str, float] | None = None,
        **parts: Any,
    ) -> None:
        self.path, self.label, self.parts = path, label or path.stem, parts
        self.step, self.numbers = 0, dict(numbers or {})
        self.began, self.log = time.time(), []
        if path.exists():
            state = torch.load(path, weights_only=True, map_location="cpu")
            for name, part in parts.items():
                part.load_state_dict(state[name])
            self.step = state["step"]
            self.numbers = {name: state[name] for name in self.numbers}
        torch.manual_seed(seed + self.step)

    def advance(self, *values: Tensor | float) -> None:
        """Count a step, and keep what the log says of it."""
        self.step += 1
        row = [v.item() if isinstance(v, Tensor) else float(v) for v in values]
        self.log.append(row)

    def due(self, every: int, steps: int) -> bool:
        """Whether a checkpoint is to be written: every so many steps, and after the last one."""
        return self.step % every == 0 or self.step == steps

    def save(self, names: str, note: str = "") -> None:
        """Write a line with the means of what was logged since the last one, and the checkpoint."""
        means = np.mean(self.log, axis=0).round(4)
        minutes = (time.time() - self.began) / 60
        words = [f"{self.label} {self.step} {names} {means}", note, f"{minutes:.1f} min"]
        print(" ".join(filter(None, words)), flush=True)
        self.log.clear()
        states = {name: part.state_dict() for name, part in self.parts.items()}
        save(self.path, states | self.numbers | {"step": self.step})


def state_in(path: Path, name: str = "average") -> dict[str, Tensor]:
    """What a checkpoint holds under a name."""
    return torch.load(path, weights_only=True, map_location="cpu")[name]


def state_of(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors ``NAME.*`` of a file of weights without their prefix, in single precision."""
    prefix = f"{name}."
    return {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}


def load_part(net: Any, tensors: Mapping[str, Tensor], name: str) -> Any:
    """``net`` with the tensors ``NAME.*``; batch norm's counters, which files leave out, stay."""
    counters = {k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")}
    net.load_state_dict(counters | state_of(tensors, name))
    return net


def frozen(net: Any, device: torch.device) -> Any:
    """``net`` for use and not for training, laid out channels-last on a device."""
    return net.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)


def floats(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The floating-point tensors of a state as ``NAME.*``."""
    return {f"{name}.{k}": v for k, v in state.items() if v.is_floating_point()}


def halves(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in half precision, except those that are not of floating point."""
    return {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}


def write_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a file of weights that everybody may read; safetensors alone gives it to its owner."""
    save_file({k: v.cpu().contiguous() for k, v in tensors.items()}, path)
    path.chmod(0o644)


def as_bytes(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Weights as ``NAME.*``, large ones as whole numbers from -127 to 127 of a unit for each row,
    ``unit.NAME.*``, and the rest in half precision.
    """
    tensors = halves(floats(state, name))
    for key, value in floats(state, name).items():
        if value.dim() > 1 and value.numel() > 1000:
            unit = value.flatten(1).abs().amax(dim=1).clamp(min=1e-3) * 1.001 / 127
            unit = unit.half().view(-1, *[1] * (value.dim() - 1))
            tensors[key] = (value / unit.float()).round().clamp(-127, 127).to(torch.int8)
            tensors[f"unit.{key}"] = unit
    return tensors


def sheet(gray: Tensor, path: Path, columns: int) -> None:
    """Write gray levels (N, 1, H, W), 0 to 255, as one PNG; a last row that is not full is left out."""
    pixels = gray.float().clamp(0, 255).round().byte().cpu()
    columns = min(columns, len(pixels))
    rows = [torch.cat(list(row), dim=2) for row in pixels.split(columns) if len(row) == columns]
    Image.fromarray(torch.cat(rows, dim=1)[0].numpy()).save(path)


# -------------------------------------------------------------------------------------------------
# texture
def enlarge(x: Tensor) -> Tensor:
    """Twice the height and width."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def detail(x: Tensor) -> Tensor:
    """What halving and doubling the size of ``x`` loses: the finest band of its Laplacian pyramid."""
    return x - enlarge(F.avg_pool2d(x, 2))


def band_difference(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference in four bands of a Laplacian pyramid, the finest twice, and in what
    is left.
    """
    total, weight = x.new_zeros(()), 2.0
    for _ in range(4):
        total = total + weight * (detail(x) - detail(y)).abs().mean()
        x, y, weight = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2), 1.0
    return total + (x - y).abs().mean()


def log_kurtosis(x: Tensor) -> Tensor:
    """Log kurtosis of the two finest bands of patches, shape (N, 2): high where detail is edges and
    spots, not noise.

    A critic alone leaves texture too even. Only the mean over a batch is matched, so that a picture
    stays free to have much of it or little.
    """
    bands = (detail(x).flatten(1), detail(F.avg_pool2d(x, 2)).flatten(1))
    centred = [b - b.mean(dim=1, keepdim=True) for b in bands]
    logs = [(c.pow(4).mean(1) / (c.pow(2).mean(1).square() + 1e-12) + 1e-6).log() for c in centred]
    return torch.stack(logs, dim=1)


def uniform_noise(
    n: int, sides: tuple[int, ...], device: torch.device, generator: torch.Generator | None = None
) -> list[Tensor]:
    """A painter's noise, uniform and of unit variance: planes (n, 1, side, side)."""
    planes = [torch.rand(n, 1, side, side, generator=generator) for side in sides]
    return [((2 * plane - 1) * math.sqrt(3)).to(device) for plane in planes]


def augment(x: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """The same differentiable brightness, contrast and shift for two sets (Zhao et al.,
    arXiv:2006.10738).
    """
    n = len(x)
    gain = 1 + 0.3 * (torch.rand(n, 1, 1, 1, device=x.device) - 0.5)
    offset = 0.4 * (torch.rand(n, 1, 1, 1, device=x.device) - 0.5)
    dy, dx = (4 * int(v) for v in torch.randint(-2, 3, (2,)))

    def one(z: Tensor) -> Tensor:
        rows = slice(max(dy, 0), z.shape[2] + min(dy, 0))
        columns = slice(max(dx, 0), z.shape[3] + min(dx, 0))
        return torch.roll(z * gain + offset, (dy, dx), dims=(2, 3))[:, :, rows, columns]

    return one(x), one(like)


# -------------------------------------------------------------------------------------------------
# critics
class PatchCritic(nn.Module):
    """Scores regions of a patch as real or painted: hinge loss, spectral norm, the class by
    projection.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers, channels = [], 3
        for out in (width, 2 * width, 4 * width, 4 * width):
            convolution = nn.Conv2d(channels, out, 4, stride=2, padding=1)
            layers += [spectral_norm(convolution), nn.LeakyReLU(0.2)]
            channels = out
        self.body = nn.Sequential(*layers)
        self.last = spectral_norm(nn.Conv2d(channels, 1, 3, padding=1))
        self.project = spectral_norm(nn.Embedding(2, channels))

    def forward(self, x: Tensor, classes: Tensor) -> Tensor:
        fine = detail(x)
        middle = enlarge(detail(F.avg_pool2d(x, 2)))
        h = self.body(torch.cat([x, 16 * fine, 8 * middle], dim=1))
        return self.last(h) + (h * self.project(classes)[:, :, None, None]).sum(1, keepdim=True)


class SliceCritic(nn.Module):
    """Votes on regions of tones (N, 1, 128, 128), given with their two finest bands, and the
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
        middle = enlarge(detail(F.avg_pool2d(x, 2)))
        h, features = torch.cat([x, 8 * detail(x), 4 * middle], dim=1), []
        for layer in self.layers:
            h = F.leaky_relu(layer(h), 0.2)
            features.append(h)
        return self.last(h).float(), features


class MapCritic(nn.Module):
    """Votes on regions and on the whole of maps (N, channels, 16, 16), the kind by projection.

    ``block`` makes a residual block of so many channels.
    """

    def __init__(
        self,
        channels: int,
        kinds: int,
        block: Callable[[int], nn.Module],
        widths: tuple[int, int, int] = (48, 96, 128),
    ) -> None:
        super().__init__()
        a, b, c = widths
        top = nn.Conv2d(channels, a, 3, padding=1)
        self.top = nn.Sequential(top, block(a), nn.LeakyReLU(0.2))
        middle = nn.Conv2d(a, b, 4, stride=2, padding=1)
        self.middle = nn.Sequential(middle, block(b), nn.LeakyReLU(0.2))
        bottom = nn.Conv2d(b, c, 4, stride=2, padding=1)
        self.bottom = nn.Sequential(bottom, block(c), nn.LeakyReLU(0.2))
        self.flat = nn.Sequential(nn.Conv2d(c, c, 4), nn.LeakyReLU(0.2), nn.Flatten())
        self.regions, self.whole = nn.Conv2d(b, 1, 1), nn.Linear(c, 1)
        self.of_region, self.of_whole = nn.Embedding(kinds, b), nn.Embedding(kinds, c)
        nn.init.zeros_(self.of_region.weight)
        nn.init.zeros_(self.of_whole.weight)

    def forward(self, x: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        """Votes (N, 64) and (N, 1)."""
        h = self.middle(self.top(x))  # (N, b, 8, 8)
        of_kind = (h * self.of_region(kind)[:, :, None, None]).sum(dim=1, keepdim=True)
        regions = self.regions(h) + of_kind
        h = self.flat(self.bottom(h))  # (N, c)
        whole = self.whole(h) + (h * self.of_whole(kind)).sum(dim=1, keepdim=True)
        return regions.flatten(1).float(), whole.float()


def hinge(real: Tensor, made: Tensor) -> Tensor:
    """A critic's loss: low where its votes on real pictures are above 1, on made ones below -1."""
    return F.relu(1 - real).mean() + F.relu(1 + made).mean()


def disguised(maps: Tensor) -> Tensor:
    """Maps (N, C, H, W) with noise, a shift and a hole, so that a critic cannot learn them by heart
    (arXiv:2006.10738).
    """
    x = maps + 0.08 * torch.randn_like(maps)
    side = maps.shape[-1]
    line = torch.arange(side, device=x.device)
    top, left = torch.randint(-4, side, (2, len(x), 1), device=x.device)
    rows, columns = ((line >= first) & (line < first + 5) for first in (top, left))
    x = x * ~(rows[:, None, :, None] & columns[:, None, None, :])
    dy, dx = (int(v) for v in torch.randint(-2, 3, (2,)))
    return F.pad(x, (dx, -dx, dy, -dy))


def preferred(votes: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor]) -> Tensor:
    """Loss that is low where ``votes`` are above ``others``, pair by pair: relativistic
    (arXiv:1807.00734).
    """
    losses = [F.softplus(q - p).mean() for p, q in zip(votes, others, strict=True)]
    return torch.stack(losses).sum()


def slope(critic: nn.Module, x: Tensor, kind: Tensor) -> Tensor:
    """Mean squared gradient of the votes on ``x``: the penalty on it keeps a critic's learning
    steady (arXiv:1801.04406).
    """
    x = x.detach().requires_grad_(True)
    regions, whole = critic(x, kind)
    (gradient,) = torch.autograd.grad(regions.mean(dim=1).sum() + whole.sum(), x, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def way_down(net: Any, noisy: Tensor, level: Tensor, kind: Tensor, box: Tensor) -> list[Tensor]:
    """What the way down of model 102's denoiser makes of noisy latents, at three sizes."""
    turns = level.log()[:, None] / 4 * net.waves  # (N, 32)
    told = F.silu(net.level(torch.cat([turns.sin(), turns.cos()], dim=1)) + net.kind(kind))
    unit = (1 + level[:, None, None, None] ** 2).rsqrt()
    x = net.left1(net.first(torch.cat([unit * noisy, box], dim=1)) + net.place, told)
    y = net.down1(x)
    for block in net.left2:
        y = block(y, told)  # (N, 128, 16, 16)
    z = net.down2(y)
    for block, attention in zip(net.deep, net.attention, strict=True):
        z = attention(block(z, told))  # (N, 192, 8, 8)
    return [torch.cat([x, noisy], dim=1), y, z]


class LatentCritic(nn.Module):
    """Votes (N, 1, S, S) on what ``way_down`` gives, at three sizes."""

    def __init__(self, channels: tuple[int, ...] = (68, 128, 192), width: int = 64) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(wide + 1, width, 3, padding=1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(width, width, 3, padding=1)),
                nn.LeakyReLU(0.2),
                nn.Conv2d(width, 1, 1),
            )
            for wide in channels
        )

    def forward(self, features: list[Tensor], inside: Tensor) -> list[Tensor]:
        votes = []
        for head, x in zip(self.heads, features, strict=True):
            box = F.adaptive_avg_pool2d(inside, x.shape[-1])
            unit = x * (x.square().mean(dim=1, keepdim=True) + 1e-3).rsqrt()
            votes.append(head(torch.cat([unit, box.to(x.dtype)], dim=1)).float())
        return votes


def preferred_near(
    votes: list[Tensor], others: list[Tensor], inside: Tensor, weight: float
) -> Tensor:
    """Loss that is low where ``votes`` are above ``others``, place by place; a place in the box counts
    ``weight`` times more.
    """
    losses = []
    for p, q in zip(votes, others, strict=True):
        box = F.adaptive_avg_pool2d(inside, p.shape[-1])
        losses.append(near_box(F.softplus(q - p), box, weight).mean())
    return torch.stack(losses).mean()


# -------------------------------------------------------------------------------------------------
# distribution matching (Yin et al., arXiv:2311.18828): model 102's denoiser knows where real latents
# are frequent, a second one, which learns from samples, where these are
def with_noise(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Latents (N, 4, 32, 32) with noise, and its levels (N,), spread as in model 102's training."""
    level = (1.3 * torch.randn(len(latents), device=latents.device)).exp()
    return latents + level[:, None, None, None] * torch.randn_like(latents), level


def denoising(net: Any, latents: Tensor, kind: Tensor, box: Tensor, weight: float) -> Tensor:
    """The loss of a denoiser on latents; a place in the box counts ``weight`` times more."""
    noisy, level = with_noise(latents)
    with mixed(latents.device):
        error = (net(noisy, level, kind, box) - latents).square()
    return (near_box(error, box[:, :1], weight) * (1 + level**-2)).mean()


def toward(real: Any, fake: Any, made: Tensor, kind: Tensor, box: Tensor, weight: float) -> Tensor:
    """A loss whose gradient moves samples to where, by the denoiser ``real``, real latents are more
    frequent than samples are by the denoiser ``fake``; a place in the box counts ``weight`` times more.
    """
    with torch.no_grad(), mixed(made.device):
        noisy, level = with_noise(made)
        of_real, of_fake = (net(noisy, level, kind, box).float() for net in (real, fake))
        scale = (made - of_real).abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3)
    return near_box(made * ((of_fake - of_real) / scale), box[:, :1], weight).mean()
