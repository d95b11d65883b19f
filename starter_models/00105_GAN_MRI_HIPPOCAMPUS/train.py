"""Train model 105, version 1.1.0, on MR volumes of the hippocampus.

    python train.py --data hippocampus_mr_208.zip --out runs/hippocampus
    python train.py --data hippocampus_mr_208.zip --out runs/finish --finish weights.safetensors

The data set is a zip or a folder with ``images/*.nii.gz`` and ``labels/*.nii.gz`` of equal names, 1 mm,
labels 1 (anterior) and 2 (posterior). The volumes of ``HELD_BACK`` are never read here. Needs nibabel
and scipy beside the model's own packages. Seeded; writes a checkpoint and a sheet of samples every few
minutes and continues from the last checkpoint when it is started again. ``weights.safetensors`` is
written with each checkpoint.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import os
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import model as m  # the package's own, beside this script
import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

HELD_BACK = [
    int(number)
    for number in re.findall(
        r"\d+",
        "4 15 26 39 46 56 67 83 93 99 107 125 136 146 155 163 171 177 190 203 215 222 230 236 248 "
        "259 268 282 294 300 308 317 327 333 340 352 359 370 380 389",
    )
]
CROP, EDGE, BATCH = 32, 2, 4  # voxels of a crop, voxels at its edge that no loss sees, crops a step
HALF = ("shape.mean", "shape.components", "grey.mean", "grey.slope", "grey.components")
BANK = 400  # shapes and coarse grey values drawn from the model, which it learns to paint over
OWN = 2  # crops of a batch that are of these, from step OWN_FROM
OWN_FROM = 600
FINISH = 64  # samples that the last touch is fitted to
RISING = [0.0005, 0.002, 0.005, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4]
# of voxels, at which the tone curve has its points; above 0.998 it made white dots of single voxels
SHARES = np.array([*RISING, 0.5, *(1 - share for share in reversed(RISING[1:]))])


# ----------------------------------------------------------------------------------------- the data
def read(data: Path, held_back: bool = False) -> dict[str, NDArray[Any]]:
    """The training volumes, or those held back.

    Returns
    -------
    dict
        ``grey`` (N, 64, 64, 64) float32, 1 at a scan's 99.5th percentile and NaN outside of it;
        ``labels`` of the same shape, uint8; ``numbers`` (N,) of the files; ``margins`` (N, 6),
        voxels between the mask and the ends of the scan. The middle of the mask is at voxel 32.
    """
    files = contents(data)
    volumes: dict[str, list[Any]] = {"grey": [], "labels": [], "numbers": [], "margins": []}
    for name in sorted(name for name in files if "images/" in name):
        number = int(re.findall(r"\d+", Path(name).name)[0])
        if (number in HELD_BACK) != held_back:
            continue
        grey = volume(files[name]).astype(np.float32)
        labels = volume(files[name.replace("images/", "labels/")]).astype(np.uint8)
        places = np.argwhere(labels > 0)
        low = m.SIZE // 2 - np.round(places.mean(axis=0)).astype(int)
        where = tuple(slice(a, a + n) for a, n in zip(low, grey.shape, strict=True))
        field = np.full((m.SIZE,) * 3, np.nan, np.float32)
        field[where] = grey / np.percentile(grey, 99.5)
        mask = np.zeros((m.SIZE,) * 3, np.uint8)
        mask[where] = labels
        volumes["grey"].append(field)
        volumes["labels"].append(mask)
        volumes["numbers"].append(number)
        ends = np.array(grey.shape) - 1 - places.max(axis=0)
        volumes["margins"].append(np.concatenate([places.min(axis=0), ends]))
    return {name: np.stack(values) for name, values in volumes.items()}


def contents(data: Path) -> dict[str, bytes]:
    """Name and content of each NIfTI file of a zip or folder."""
    if data.is_dir():
        return {p.relative_to(data).as_posix(): p.read_bytes() for p in data.rglob("*.nii.gz")}
    with zipfile.ZipFile(data) as archive:
        names = [name for name in archive.namelist() if name.endswith(".nii.gz")]
        return {name: archive.read(name) for name in names}


def volume(content: bytes) -> NDArray[Any]:
    image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    return np.asarray(image.dataobj)


def framed(volumes: NDArray[Any]) -> NDArray[Any]:
    """The frame (N, 48, 64, 48) of volumes (N, 64, 64, 64)."""
    ends = [slice(a, a + side) for a, side in zip(m.INSET, m.FRAME, strict=True)]
    return volumes[(slice(None), *ends)]


# ------------------------------------------------------------------------- what is fitted at once
def components(rows: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, ``number`` components, their scales, and the scores of ``rows``, of unit variance.

    Of fewer rows than components, those that remain are 0 and change nothing.
    """
    mean = rows.mean(dim=0)
    left, sizes, right = torch.linalg.svd(rows - mean, full_matrices=False)
    spread, missing = len(rows) ** 0.5, max(number - len(sizes), 0)
    basis = F.pad(right[:number], (0, 0, 0, missing))
    scales = F.pad(sizes[:number] / spread, (0, missing), value=1e-6)
    return mean, basis, scales, F.pad(left[:, :number] * spread, (0, missing))


def regression(scores: Tensor, values: Tensor, ridge: float) -> Tensor:
    """Slope (S, V) of centred ``values`` (N, V) on ``scores`` (N, S) of unit variance."""
    n = len(scores)
    gram = scores.T @ scores + ridge * n * torch.eye(scores.shape[1], dtype=scores.dtype)
    return torch.linalg.solve(gram, scores.T @ (values - values.mean(dim=0)))


def remainder(values: Tensor, slope: Tensor) -> Tensor:
    """Factor of the covariance of ``values`` (N, V) that ``slope`` (S, V) leaves open."""
    covariance = torch.cov(values.T) - slope.T @ slope
    sizes, vectors = torch.linalg.eigh(covariance)
    return vectors * sizes.clamp(min=1e-6).sqrt()


def filled(coarse: Tensor, known: Tensor, scores: Tensor, rounds: int = 40) -> Tensor:
    """``coarse`` (N, V) with what is not ``known`` estimated from shape and 20 components."""
    mean = (coarse * known).sum(dim=0) / known.sum(dim=0).clamp(min=1)
    usual = (coarse * known).sum() / known.sum()
    mean = torch.where(known.sum(dim=0) > 3, mean, usual)
    rows = torch.where(known, coarse, mean)
    for _ in range(rounds):
        middle = rows.mean(dim=0)
        linear = scores @ regression(scores, rows, 0.5)
        left, sizes, right = torch.linalg.svd(rows - middle - linear, full_matrices=False)
        estimate = middle + linear + (left[:, :20] * sizes[:20]) @ right[:20]
        rows = torch.where(known, coarse, estimate)
    return rows


def texture_of(grey: Tensor, known: Tensor) -> Tensor:
    """Log standard deviation of the two finest bands (N, 2) where (N, 1, D, H, W) is known."""
    strengths, grey = [], grey * known
    for _ in range(2):
        band = m.detail(grey)
        squares = (band.square() * known).flatten(1).sum(dim=1)
        strengths.append(0.5 * (squares / known.flatten(1).sum(dim=1).clamp(min=1) + 1e-6).log())
        grey = F.avg_pool3d(grey, 2)
        known = (F.avg_pool3d(known, 2) > 0.99).float()
    return torch.stack(strengths, dim=1)


def coarse_of(grey: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of what is known in cells of 4 mm, and its share; (N, 1, 12, 16, 12) each."""
    share = F.avg_pool3d(known, m.COARSE)
    return F.avg_pool3d(grey * known, m.COARSE) / share.clamp(min=1e-3), share


def fast_distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The same as the model's ``distance_to``, by scipy."""
    return np.asarray(distance_transform_edt(~mask), np.float64)


def fit(data: dict[str, NDArray[Any]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The content of ``weights.safetensors`` except the painter, and the training frames."""
    labels = framed(data["labels"])
    fields = torch.from_numpy(
        np.stack([m.shape_field(one, fast_distance) for one in labels])
    ).flatten(1)
    mean, basis, scales, scores = components(fields, m.SHAPE)
    volumes = torch.from_numpy(
        np.stack([[(one == part).sum() for part in (1, 2)] for one in labels])
    ).double()
    logs = volumes.log()
    slope = regression(scores, logs, 0.3)
    tensors = {
        "shape.mean": mean,
        "shape.components": basis,
        "shape.scales": scales,
        "parts.mean": logs.mean(dim=0),
        "parts.slope": slope,
        "parts.factor": remainder(logs, slope),
        "stretch": torch.ones(3),
        "rough": torch.zeros(2),
        "detail": torch.ones(2),
        "tone": torch.tensor([[0.0, 1.0], [0.0, 1.0]]),
        "margins": torch.from_numpy(data["margins"]).byte(),
    }
    for _ in range(3):  # each changes what the other does
        tensors["stretch"] = stretch_of(tensors, labels)
        tensors["rough"] = roughness(tensors, labels)

    grey = torch.from_numpy(framed(data["grey"]))[:, None]
    known = (~grey.isnan()).float()
    grey = 2 * grey.nan_to_num(0.5).clamp(0, 1.5) - 1
    coarse, share = coarse_of(grey, known)
    rows = filled(coarse.flatten(1).double(), share.flatten(1) > 0.25, scores)
    slope = regression(scores, rows, 0.5)
    _, basis, scales, points = components(rows - scores @ slope, m.GREY)
    tensors |= {
        "grey.mean": rows.mean(dim=0),
        "grey.slope": slope,
        "grey.components": basis,
        "grey.scales": scales,
    }
    strength = texture_of(grey, known)
    strength = ((strength - strength.mean(dim=0)) / strength.std(dim=0)).double()
    slope = regression(points, strength, 1.0)
    tensors |= {"texture.slope": slope, "texture.factor": remainder(strength, slope)}
    frames = {
        "grey": grey,
        "known": known,
        "labels": torch.from_numpy(labels),
        "coarse": rows.view_as(coarse).float(),
        "texture": strength.float(),
    }
    stored = {name: value.half() if name in HALF else value for name, value in tensors.items()}
    stored = {
        name: value if value.dtype in (torch.half, torch.uint8) else value.float()
        for name, value in stored.items()
    }
    return stored, frames


def surface(labels: NDArray[Any]) -> NDArray[np.float64]:
    """Faces between voxels of a part and others, (N, 2)."""
    parts = [
        sum(
            (np.diff((labels == part).astype(np.int8), axis=axis) != 0).sum((1, 2, 3))
            for axis in (1, 2, 3)
        )
        for part in (1, 2)
    ]
    return np.stack(parts, axis=1).astype(np.float64)


def shapes(tensors: dict[str, Tensor], number: int) -> NDArray[np.uint8]:
    """Masks (number, 48, 64, 48) drawn from the model, the same ones each time."""
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(number // 2, m.LATENT, generator=generator)
    latents = torch.cat([latents, -latents])  # means are those of many more
    noise = torch.randn(len(latents), *m.FRAME, generator=generator)
    rows = zip(latents.split(8), noise.split(8), strict=True)
    return np.concatenate([m.Space(tensors).labels(*row).numpy() for row in rows])


def extents(masks: NDArray[Any]) -> NDArray[np.float64]:
    """Mean length of masks (N, D, H, W) on each axis, in voxels."""
    lengths = [np.ptp(np.argwhere(mask), axis=0) + 1 for mask in masks]
    return np.mean(lengths, axis=0)


def stretch_of(tensors: dict[str, Tensor], labels: NDArray[Any], number: int = 96) -> Tensor:
    """The ``stretch`` with which masks are as long as real ones."""
    drawn = extents(shapes(tensors, number))
    return tensors["stretch"].double() * torch.from_numpy(extents(labels) / drawn)


def roughness(tensors: dict[str, Tensor], labels: NDArray[Any], number: int = 96) -> Tensor:
    """Millimetres of noise on the distance, in the front and the back half, with which each part
    has as large a surface as in real masks.
    """
    real = surface(labels).mean(axis=0)
    low, high = np.zeros(2), np.full(2, 0.6)
    for _ in range(6):
        middle = (low + high) / 2
        masks = shapes(tensors | {"rough": torch.from_numpy(middle)}, number)
        smaller = surface(masks).mean(axis=0) < real
        low, high = np.where(smaller, middle, low), np.where(smaller, high, middle)
    return torch.from_numpy((low + high) / 2)


# --------------------------------------------------------------------------------- the painter
class Critic(nn.Module):
    """Scores of patches at two scales, of a scan (N, 1, D, H, W) and what it was painted over."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        a, b, c = width, 2 * width, 3 * width

        def layer(channels_in: int, channels: int, kernel: int, stride: int) -> nn.Module:
            return spectral_norm(nn.Conv3d(channels_in, channels, kernel, stride, padding=1))

        self.fine = nn.ModuleList([layer(6, a, 3, 1), layer(a, b, 4, 2)])
        self.deep = nn.ModuleList([layer(b, c, 4, 2), layer(c, c, 3, 1)])
        self.near, self.far = layer(b, 1, 3, 1), layer(c, 1, 3, 1)

    def forward(self, grey: Tensor, coarse: Tensor, masks: Tensor, known: Tensor) -> list[Tensor]:
        grey = grey * known  # the step at the edge of a scan is the same in all
        detail = 4 * m.detail(grey) * known
        x = torch.cat([grey, detail, coarse, masks, known], dim=1)
        for layer in self.fine:
            x = F.leaky_relu(layer(x), 0.2)
        near = self.near(x)
        for layer in self.deep:
            x = F.leaky_relu(layer(x), 0.2)
        return [near, self.far(x)]


class Average:
    """Exponential moving average of a network's weights; the newest of its counters."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net, self.decay = copy.deepcopy(net).eval(), decay

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = zip(self.net.state_dict().values(), net.state_dict().values(), strict=True)
        for mine, theirs in pairs:
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)


def bank(tensors: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    """Shapes, coarse grey values and fields of view, drawn from the model."""
    generator = torch.Generator().manual_seed(5)
    space = m.Space(tensors)
    latents = torch.randn(number, m.LATENT, generator=generator)
    labels = space.labels(latents, torch.randn(number, *m.FRAME, generator=generator))
    coarse, texture = space.grey(latents[:, : m.SHAPE], latents)
    uniforms = torch.rand(number, 6, generator=generator)
    known = m.fields_of_view(labels, space.margins(uniforms))[:, None].float()
    return {"labels": labels, "coarse": coarse, "texture": texture, "known": known}


def crops(
    frames: dict[str, Tensor], number: int, side: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """``number`` crops around the masks, cut from ``frames`` at places that are multiples of 4."""
    parts: dict[str, list[Tensor]] = {name: [] for name in frames}
    for row in torch.randint(len(frames["labels"]), (number,), generator=generator).tolist():
        # The middle of a crop lies in the field of view.
        places = frames["known"][row, 0].nonzero()
        middle = places[int(torch.randint(len(places), (1,), generator=generator))]
        corner = [
            min(max(int(c) - side // 2, 0), n - side) // m.COARSE * m.COARSE
            for c, n in zip(middle, m.FRAME, strict=True)
        ]
        for name, values in frames.items():
            if name == "texture":
                parts[name].append(values[row])
                continue
            step = m.COARSE if name == "coarse" else 1
            where = tuple(slice(a // step, (a + side) // step) for a in corner)
            parts[name].append(values[(row, ..., *where)])
    return {name: torch.stack(values) for name, values in parts.items()}


def inner(x: Tensor) -> Tensor:
    return x[..., EDGE:-EDGE, EDGE:-EDGE, EDGE:-EDGE]


def noise_for(x: Tensor, generator: torch.Generator) -> list[Tensor]:
    sizes = [x.shape[2:], [side // 2 for side in x.shape[2:]]]
    return [torch.randn(len(x), 1, *size, generator=generator) for size in sizes]


def train(a: argparse.Namespace, data: dict[str, NDArray[Any]]) -> None:
    """Train the painter, with a checkpoint, weights and a sheet every few minutes."""
    cache = a.out / "fitted.pt"
    if not cache.exists():
        save(cache, fitted=fit(data))
    tensors, frames = torch.load(cache, weights_only=True)["fitted"]
    own_cache = a.out / "bank.pt"
    if not own_cache.exists():
        save(own_cache, bank=bank(tensors, a.bank))
    own = torch.load(own_cache, weights_only=True)["bank"]

    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    painter, critic = m.Painter(), Critic()
    average = Average(painter, 0.998)
    optimisers = [
        torch.optim.Adam(painter.parameters(), a.rate, (0.5, 0.99)),
        torch.optim.Adam(critic.parameters(), 2 * a.rate, (0.5, 0.99)),
    ]
    checkpoint, step, spent = a.out / "checkpoint.pt", 0, 0.0
    parts = {"painter": painter, "critic": critic, "average": average.net}
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        for optimiser, values in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(values)
        step, spent = state["step"], state["spent"]
    began, saved, sums = time.monotonic(), time.monotonic(), np.zeros(6)
    processor = time.process_time() - spent
    while step < a.steps:
        generator = torch.Generator().manual_seed(a.seed * 1_000_003 + step)
        rate = a.rate * min(1, (step + 1) / 100) * (1 - 0.9 * max(0.0, 2 * step / a.steps - 1))
        for optimiser, factor in zip(optimisers, (1, 2), strict=True):
            optimiser.param_groups[0]["lr"] = factor * rate
        sums += one_step(painter, critic, optimisers, frames, own, step, generator)
        step += 1
        average.update(painter, step)
        if step % 20 == 0:
            figures = dict(
                zip(
                    ("step", "adv", "critic", "coarse", "l1", "texture", "own", "s"),
                    [step, *np.round(sums / 20, 4), round(time.process_time() - processor)],
                    strict=True,
                )
            )
            sums[:] = 0
            with (a.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(figures, default=float) + "\n")
        if time.monotonic() - saved > a.every or step == a.steps:
            saved = time.monotonic()
            save(
                checkpoint,
                **{name: part.state_dict() for name, part in parts.items()},
                optimisers=[optimiser.state_dict() for optimiser in optimisers],
                step=step,
                spent=time.process_time() - processor,
            )
            write_weights(a.out / "weights.safetensors", tensors, average.net)
            sheet(average.net, frames, own, a.out / "sheet.png")
    print(f"{step} steps, {time.monotonic() - began:.0f} s")
    weights = load_file(a.out / "weights.safetensors")
    save_file(finished(weights, frames), a.out / "weights.safetensors")


def finish(a: argparse.Namespace, data: dict[str, NDArray[Any]]) -> None:
    """Fit what surrounds the painter of ``a.finish`` again, and keep the rest of these weights."""
    cache = a.out / "fitted.pt"
    if not cache.exists():
        save(cache, fitted=fit(data))
    tensors, frames = torch.load(cache, weights_only=True)["fitted"]
    weights = load_file(a.finish)
    fitted = {name: tensors[name] for name in ("stretch", "rough")}
    save_file(finished(weights | fitted, frames), a.out / "weights.safetensors")


def one_step(
    painter: nn.Module,
    critic: nn.Module,
    optimisers: list[torch.optim.Optimizer],
    frames: dict[str, Tensor],
    own: dict[str, Tensor],
    step: int,
    generator: torch.Generator,
) -> NDArray[np.float64]:
    """A step of the critic and one of the painter; their losses."""
    count_own = OWN if step >= OWN_FROM else 0
    batch = crops(frames, BATCH, CROP, generator)
    given = {name: batch[name] for name in ("labels", "coarse", "texture", "known")}
    if count_own:
        drawn = crops(own, count_own, CROP, generator)
        given = {
            name: torch.cat([value[: BATCH - count_own], drawn[name]])
            for name, value in given.items()
        }
    # Scanners differ: the same gain and offset for the scan and the coarse grey values.
    gain = 1 + 0.15 * torch.randn(BATCH, 1, 1, 1, 1, generator=generator).clamp(-2, 2)
    offset = 0.1 * torch.randn(BATCH, 1, 1, 1, 1, generator=generator).clamp(-2, 2)
    grey = batch["grey"] * gain + offset
    real_coarse = m.smooth(batch["coarse"] * gain + offset, m.COARSE)
    coarse = given["coarse"] * gain + offset
    wide = m.smooth(coarse, m.COARSE)
    masks, real_masks = m.two_parts(given["labels"]), m.two_parts(batch["labels"])
    noise = noise_for(grey, generator)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        painted = painter(wide, masks, given["texture"], noise)
        known = given["known"]
        seen = [inner(x) for x in (grey, real_coarse, real_masks, batch["known"])]
        made = [inner(x) for x in (painted, wide, masks, known)]
        critic_loss = torch.zeros(())
        for real, fake in zip(critic(*seen), critic(made[0].detach(), *made[1:]), strict=True):
            critic_loss = critic_loss + F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    optimisers[1].zero_grad()
    critic_loss.backward()
    optimisers[1].step()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        adversarial = -sum(score.mean() for score in critic(*made))
    painted = painted.float()
    pairs = BATCH - count_own  # crops of which the real scan is known
    share = F.avg_pool3d(known, m.COARSE)
    means = F.avg_pool3d(painted * known, m.COARSE) / share.clamp(min=1e-3)
    coarse_loss = ((means - coarse).abs() * (share > 0.5)).sum() / (share > 0.5).sum().clamp(min=1)
    halves = [F.avg_pool3d(x[:pairs] * known[:pairs], 2) for x in (painted, grey)]
    l1 = (halves[0] - halves[1]).abs().mean()
    inside = inner(known)
    strengths = [texture_of(inner(x), y) for x, y in ((painted, inside), (grey, seen[3]))]
    texture = (strengths[0][:pairs] - strengths[1][:pairs]).abs().mean()
    loss = adversarial + 10 * coarse_loss + 10 * l1 + texture
    optimisers[0].zero_grad()
    loss.backward()
    optimisers[0].step()
    values = [adversarial, critic_loss, coarse_loss, l1, texture]
    return np.array([*(v.item() for v in values), count_own])


# ----------------------------------------------------------------------------- the last touch
def finished(tensors: dict[str, Tensor], frames: dict[str, Tensor]) -> dict[str, Tensor]:
    """``tensors``, painter included, with ``detail`` and ``tone`` fitted to the training scans.

    The painter is too cautious: detail is too weak, and the darkest and brightest values are rare.
    """
    plain = {"detail": torch.ones(2), "tone": torch.tensor([[0.0, 1.0], [0.0, 1.0]])}
    model = m.HippocampusGenerator(tensors | plain, torch.device("cpu"))
    own = bank(tensors, FINISH)
    generator = torch.Generator().manual_seed(7)
    noise = noise_for(own["known"], generator)
    grey = model.paint(own["labels"], own["coarse"], own["texture"], noise)[:, None]
    real = (frames["grey"] + 1) / 2
    curve_to = quantiles(real, frames["known"])
    strengths, wanted = torch.ones(2), texture_of(real, frames["known"]).mean(dim=0)
    for _ in range(6):
        sharp = m.sharpened(grey, strengths.tolist())
        tone = torch.stack([quantiles(sharp, own["known"]), curve_to])
        made = texture_of(m.toned(sharp, tone.double().numpy()), own["known"]).mean(dim=0)
        strengths = strengths * (wanted - made).exp()
    print("detail", strengths.tolist(), "tone", tone.tolist())
    return tensors | {"detail": strengths, "tone": tone}


def quantiles(grey: Tensor, known: Tensor) -> Tensor:
    """The values (K,) below which ``SHARES`` of what is known lies, each above the one before."""
    values = np.quantile(grey[known > 0].numpy(), SHARES) + 1e-5 * np.arange(len(SHARES))
    return torch.from_numpy(values).float()


def write_weights(path: Path, tensors: dict[str, Tensor], painter: nn.Module) -> None:
    state = {f"painter.{k}": v for k, v in painter.state_dict().items() if "num_batches" not in k}
    save_file({k: v.contiguous() for k, v in (tensors | state).items()}, path)


def sheet(
    painter: nn.Module, frames: dict[str, Tensor], own: dict[str, Tensor], path: Path
) -> None:
    """Three planes: scans, the same painted again, and samples."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for source, name in ((frames, "grey"), (frames, "painted"), (own, "painted")):
        labels, known = source["labels"][:40:7], source["known"][:40:7]
        if name == "grey":
            grey = source["grey"][:40:7]
        else:
            wide = m.smooth(source["coarse"][:40:7], m.COARSE)
            noise = noise_for(wide, generator)
            with torch.inference_mode():
                grey = painter(wide, m.two_parts(labels), source["texture"][:40:7], noise)
        levels = ((grey * known - (1 - known) + 1) / 2 * m.WHITE).clamp(0, 255)[:, 0]
        rows.append(planes(levels))
    picture = torch.cat(rows, dim=0).byte().numpy()
    Image.fromarray(picture).resize((picture.shape[1] * 2, picture.shape[0] * 2)).save(path)


def planes(levels: Tensor) -> Tensor:
    """The middle slices of (N, 48, 64, 48) in three planes, side by side: (3 * 64, N * 64)."""
    columns = []
    for one in levels:
        slices = [one.select(axis, side // 2) for axis, side in enumerate(m.FRAME)]
        columns.append(
            torch.cat([F.pad(x, (0, 64 - x.shape[1], 0, 64 - x.shape[0])) for x in slices])
        )
    return torch.cat(columns, dim=1)


def save(path: Path, **state: Any) -> None:
    torch.save(state, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def main() -> None:
    """Parse, read, fit, train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="zip or folder of the data set")
    parser.add_argument("--out", type=Path, required=True, help="for checkpoints and weights")
    parser.add_argument("--steps", type=int, default=6000, help="of the painter")
    parser.add_argument("--rate", type=float, default=4e-4, help="learning rate")
    parser.add_argument("--every", type=float, default=300, help="seconds between checkpoints")
    parser.add_argument("--bank", type=int, default=BANK, help="shapes drawn from the model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=105)
    parser.add_argument(
        "--finish", type=Path, help="weights whose painter stays: only the rest is fitted again"
    )
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    act = finish if a.finish else train
    act(a, read(a.data))


if __name__ == "__main__":
    main()
