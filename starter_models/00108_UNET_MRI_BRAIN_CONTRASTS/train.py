"""Train model 108 on one patient of ``ms_brain_mni.zip``.

    python train.py --data ms_brain_mni.zip --out /tmp/108 --patient 19

The pairs are T1 and T2 with FLAIR, slices of all three planes. Lesion masks of other patients are
painted into them as further lesions, as bright in T2 and FLAIR as the patient's own. Patients 01 to
06 are left out: their masks judge.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import model as m
import nibabel as nib
import numpy as np
import torch
import training
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from training import Average, Run

Array = NDArray[Any]
CPU = torch.device("cpu")
PATIENTS = [f"{number:02}" for number in m.PATIENTS]
OTHERS = [f"{k:02}" for k in range(8, 31) if k not in (19, 26)]  # whose masks are painted in
SIDE = 160  # pixels of what the network sees in training
MARGIN = 16  # voxels added on each side of the brain
ALONE, GIVEN, PAINTED, DARKENED = 0.2, 0.5, 0.6, 0.6  # how often


def read_volume(files: dict[str, bytes], name: str) -> Array:
    """A volume (D, H, W) from feet to head, front to back and right to left."""
    image = nib.Nifti1Image.from_bytes(gzip.decompress(files[name]))
    axial = nib.as_closest_canonical(image).slicer[::-1, ::-1]  # counts to the left, to the back
    return np.asarray(axial.dataobj).transpose(2, 1, 0)


class Patient:
    """One patient's scans, scaled, and the masks that are painted in."""

    def __init__(self, files: dict[str, bytes], number: str) -> None:
        t1 = read_volume(files, f"patient{number}/T1.nii.gz")
        box = self._box(t1 != 0)
        read = lambda who, name: read_volume(files, f"patient{who}/{name}.nii.gz")[box]  # noqa: E731
        scans = [m.scaled(t1, "T1")[box]]
        for name in m.TARGETS:
            whole = read_volume(files, f"patient{number}/{name}.nii.gz")
            scans.append(m.scaled(whole, name)[box])
        lesions = read(number, "LESIONS") > 0
        self.scans = torch.from_numpy(np.stack([*scans, lesions, t1[box] != 0]).astype(np.float32))
        self.chances = [self._chances(axis) for axis in range(3)]
        self.others = [torch.from_numpy(read(who, "LESIONS") > 0) for who in OTHERS]
        self.contrast = self._lesion_contrast(np.stack(scans), lesions)  # of T1, T2, FLAIR

    @staticmethod
    def _box(brain: Array) -> tuple[slice, ...]:
        spans = []
        for axis in range(3):
            where = np.flatnonzero(brain.any(axis=tuple(k for k in range(3) if k != axis)))
            spans.append(slice(max(0, where[0] - MARGIN), where[-1] + MARGIN))
        return tuple(spans)

    def _chances(self, axis: int) -> list[Array]:
        """How often slices of a plane are seen: by their part of all lesions, and of the brain."""
        other = tuple(1 + k for k in range(3) if k != axis)
        sums = self.scans[3:].double().sum(dim=other)  # (2, K)
        return [(row / row.sum()).numpy() for row in sums]

    @staticmethod
    def _lesion_contrast(scans: Array, lesions: Array) -> Tensor:
        """How much lesions differ from white matter beside them, (3,)."""
        mask = torch.from_numpy(lesions.astype(np.float32))[None, None]
        near = (F.max_pool3d(mask, 7, 1, 3) - F.max_pool3d(mask, 3, 1, 1))[0, 0].numpy() > 0
        near &= scans[0] > 0.6
        return torch.tensor([float(s[lesions].mean() - s[near].mean()) for s in scans])

    def slices(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (N, 7, SIDE, SIDE), targets (N, 2, ...) and weights (N, 1, ...)."""
        parts = [self._one(rng) for _ in range(count)]
        x = torch.stack(parts)  # (N, 5 slices + T2, FLAIR, lesions, brain, painted)
        x = moved(x, rng)
        t1, rest = x[:, :5], x[:, 5:]
        target, lesions, brain = rest[:, :2], rest[:, 2:3] > 0.5, rest[:, 3:4]
        painted, dark = rest[:, 4:5].clone(), torch.from_numpy(rng.random(count) < DARKENED)
        given = torch.from_numpy(rng.random(count) < GIVEN)
        dark = (dark | ~given).float()[:, None, None, None]
        strength = torch.from_numpy(rng.uniform(0.5, 1.5, (3, count, 1, 1, 1))).float()
        amount = self.contrast[:, None, None, None, None] * strength
        soft = F.avg_pool2d(painted, 3, 1, 1) * (t1[:, 2:3] > 0.55) * ~lesions
        t1 = t1 + soft * amount[0] * dark
        target = (target + soft * torch.cat([amount[1], amount[2]], dim=1)).clamp(0, 1)
        asked = lesions | (soft > 0.5)
        flag = given.float()[:, None, None, None]
        mask = asked * flag
        alone = torch.from_numpy(rng.random(count) < ALONE)
        t1 = torch.where(alone[:, None, None, None], t1[:, 2:3], t1)
        t1 = other_grey(t1, rng)
        x = torch.cat([t1, mask, flag.expand_as(mask)], dim=1)
        return x, target, brain * (1 + 4 * asked)

    def _one(self, rng: np.random.Generator) -> Tensor:
        """Channels (10, SIDE, SIDE) of one slice in any plane."""
        axis = int(rng.integers(3))
        volume = self.scans.movedim(1 + axis, 1)  # (5, K, ...)
        with_lesions = rng.random() < 0.3
        chances = self.chances[axis][0 if with_lesions else 1]
        k = int(rng.choice(len(chances), p=chances))
        rows = [min(max(k + step, 0), len(chances) - 1) for step in range(-2, 3)]
        if rng.random() < 0.5:
            rows.reverse()
        painted = torch.zeros_like(volume[0, 0])
        if rng.random() < PAINTED:
            other = self.others[int(rng.integers(len(self.others)))].movedim(axis, 0)
            painted = other[min(max(k + int(rng.integers(-8, 9)), 0), len(other) - 1)].float()
        parts = [volume[0, rows], volume[1:3, k], volume[3:5, k], painted[None]]
        x = torch.cat(parts)
        for dimension in (1, 2):
            if rng.random() < 0.5:
                x = x.flip(dimension)
        return cut(x, rng)


def cut(x: Tensor, rng: np.random.Generator) -> Tensor:
    """A part (C, SIDE, SIDE) of a slice, filled up with zeros where it is smaller."""
    lacking = [max(0, SIDE - side) for side in x.shape[1:]]
    x = F.pad(
        x,
        (
            lacking[1] // 2,
            lacking[1] - lacking[1] // 2,
            lacking[0] // 2,
            lacking[0] - lacking[0] // 2,
        ),
    )
    top, left = (int(rng.integers(side - SIDE + 1)) for side in x.shape[1:])
    return x[:, top : top + SIDE, left : left + SIDE]


def moved(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Half of the slices (N, C, H, W) turned, stretched and shifted a little."""
    n = len(x)
    angle, shift = rng.normal(0, 0.12, n), rng.normal(0, 0.02, (n, 2))
    scale = np.exp(rng.normal(0, 0.08, (n, 2)))
    rows = np.stack([scale[:, 0] * np.cos(angle), -scale[:, 0] * np.sin(angle), shift[:, 0]], 1)
    columns = np.stack([scale[:, 1] * np.sin(angle), scale[:, 1] * np.cos(angle), shift[:, 1]], 1)
    matrix = torch.from_numpy(np.stack([rows, columns], axis=1)).float()
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    warped = F.grid_sample(x, grid, align_corners=False)
    still = torch.from_numpy(rng.random(n) < 0.5)
    return torch.where(still[:, None, None, None], x, warped)


def other_grey(t1: Tensor, rng: np.random.Generator) -> Tensor:
    """Grey values (N, 5, H, W) as of another scanner: curve, shading, blur and noise."""
    n = len(t1)
    column = lambda values: torch.from_numpy(values).float()[:, None, None, None]  # noqa: E731
    outside = t1 <= 0
    x = t1.clamp(min=1e-4)
    x = 0.75 * (x / 0.75) ** column(np.exp(rng.normal(0, 0.2, n)))  # white matter stays
    wave = column(rng.normal(0, 0.05, n))
    x = x + wave * torch.sin(2 * torch.pi * x / 0.75) * 0.5
    x = x * column(np.exp(rng.normal(0, 0.06, n)))
    line = torch.linspace(-1, 1, t1.shape[-1])
    slope = column(rng.normal(0, 0.05, n)), column(rng.normal(0, 0.05, n))
    x = x * (1 + slope[0] * line[:, None] + slope[1] * line[None])
    blurred = torch.from_numpy(rng.random(n) < 0.15)[:, None, None, None]
    x = torch.where(blurred, F.avg_pool2d(x, 3, 1, 1), x)
    noise = torch.from_numpy(rng.standard_normal(t1.shape, dtype=np.float32))
    x = x + column(rng.uniform(0, 0.03, n)) * noise
    return x.clamp(0, 1.25).masked_fill(outside, 0)


def loss_of(made: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute and squared differences, and those of neighbouring pixels, within the brain."""
    away = made - target
    total = weight.sum() * away.shape[1]
    plain = (weight * (away.abs() + 3 * away.square())).sum() / total
    edges = [
        (away.diff(dim=d).abs() * weight.narrow(d, 1, weight.shape[d] - 1)).sum() for d in (2, 3)
    ]
    return plain, (edges[0] + edges[1]) / total


def train(a: Any) -> None:
    files = training.read_files(a.data, ".gz")
    patient = Patient(files, a.patient)
    torch.manual_seed(a.seed)
    net = m.Contrasts()
    if a.init:
        training.load_part(net, load_file(a.init), f"patient{a.patient}")
    net.to(memory_format=torch.channels_last)
    average = Average(net, 0.998)
    optimiser = torch.optim.AdamW(net.parameters(), a.rate, weight_decay=1e-4)
    parts = {"net": net, "average": average.net, "optimiser": optimiser}
    run = Run(a.out / f"patient{a.patient}.pt", a.seed, **parts)
    training.print_settings(a, contrast=patient.contrast.tolist())
    for step in range(run.step + 1, a.steps + 1):
        rng = np.random.default_rng([a.seed, step])
        pace = min(1.0, step / 100) * max(0.02, 0.5 + 0.5 * np.cos(np.pi * step / a.steps))
        optimiser.param_groups[0]["lr"] = float(a.rate * pace)
        x, target, weight = patient.slices(a.batch, rng)
        with training.mixed(CPU):
            made = net(x.contiguous(memory_format=torch.channels_last))
        plain, edges = loss_of(made.float(), target, weight)
        optimiser.zero_grad()
        (plain + 0.3 * edges).backward()
        optimiser.step()
        run.advance(plain, edges)
        average.update(net, step)
        if run.due(a.every, a.steps):
            run.save("differences, edges")


def write_weights(a: Any) -> None:
    """One file for ``model.load`` with the averaged networks of both patients."""
    tensors: dict[str, Tensor] = {}
    for number in PATIENTS:
        state = training.state_in(a.out / f"patient{number}.pt")
        tensors |= training.floats(state, f"patient{number}")
    training.write_weights(training.halves(tensors), a.out / "weights.safetensors")


def main() -> None:
    parser = training.parser_of(
        __doc__, seed=108, every=100, data="ms_brain_mni.zip or its folder", threads=1, device=False
    )
    parser.add_argument("--patient", choices=PATIENTS, help="train on this one; else only write")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate at its highest")
    parser.add_argument("--init", type=Path, help="weights.safetensors to begin with")
    a = training.arguments_of(parser)
    if a.patient:
        train(a)
    if all((a.out / f"patient{number}.pt").exists() for number in PATIENTS):
        write_weights(a)


if __name__ == "__main__":
    main()
