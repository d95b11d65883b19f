"""A small detector of brain tumours, which decides whether synthetic slices show what they say.

    python -m benchmarks.detector brain_t1ce_cheng_256.zip                    # the committed one, in real slices held back
    python -m benchmarks.detector brain_t1ce_cheng_256.zip --set made/        # and in a set of model 102
    python -m benchmarks.detector brain_t1ce_cheng_256.zip --set made/ --learn # and what one learns from the set
    python -m benchmarks.detector brain_t1ce_cheng_256.zip --train            # train the committed one again

A tumour counts as found when the one box that the detector gives overlaps the true one by an IoU of
at least 0.3. Held back are the same slices as in `benchmarks.quality`. A set is a folder that
`medzoo generate 102 --out` wrote, with ``images``, ``boxes`` and ``labels``.

Beside the set stand real training slices into which a plain ellipse is painted, in the box of
another slice of the same type, as bright as the tumours of that type: what a set must beat. These
slices keep their own tumours, since the data set has no healthy heads.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.stats import ks_2samp
from torch import Tensor

import medzoo
from medzoo.evaluation.detector import OVERLAP, Detector, detect, moved, overlaps, trained

from .quality.pictures import BLOCKS, EVERY, GUARD

SIDE = 128  # pixels of a slice
TUMOURS = ("meningioma", "glioma", "pituitary")
LARGEST = 1_000_000  # parameters
WEIGHTS = Path(__file__).with_suffix(".safetensors")


@dataclass(frozen=True)
class Slices:
    """``images`` (N, 1, 128, 128) uint8, ``boxes`` (N, 4) and ``labels`` (N,)."""

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]

    def at(self, rows: NDArray[np.bool_]) -> Slices:
        return Slices(self.images[rows], self.boxes[rows], self.labels[rows])


def read_real(data: Path) -> tuple[Slices, Slices]:
    """Slices for training and slices held back, of the brain tumour data set."""
    with zipfile.ZipFile(data) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        rows = list(csv.reader(io.StringIO(archive.read("boxes.csv").decode())))[1:]
        boxes = {row[0]: [float(value) for value in row[2:6]] for row in rows}
        parts: dict[bool, list[tuple[NDArray[np.uint8], list[float], int]]] = {True: [], False: []}
        for label, tumour in enumerate(TUMOURS):
            own = [name for name in names if name.startswith(f"{tumour}/")]
            own.sort(key=lambda name: int(Path(name).stem))
            back = np.arange(len(own)) * BLOCKS // len(own) % EVERY == EVERY // 2
            near = np.convolve(back, np.ones(2 * GUARD + 1), mode="same") > 0
            for k, name in enumerate(own):
                if (back[k] or not near[k]) and name in boxes:
                    picture = Image.open(io.BytesIO(archive.read(name))).convert("L")
                    picture = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
                    parts[bool(back[k])].append((np.asarray(picture), boxes[name], label))
    train, held = (
        Slices(
            np.stack([image for image, _, _ in part])[:, None],
            np.array([box for _, box, _ in part], np.float32),
            np.array([label for _, _, label in part]),
        )
        for part in (parts[False], parts[True])
    )
    return train, held


# ---------------------------------------------------------------------------------- the network
def prepared(images: Tensor) -> Tensor:
    """Gray levels (N, 1, H, W) as roots, scaled so that the brightest of a slice are 1."""
    tones = (images.float() + 1).sqrt()
    return tones / tones.flatten(1).quantile(0.995, dim=1)[:, None, None, None].clamp(min=1)


def lit(images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Slices (N, 1, H, W) moved and lit differently, with their boxes (N, 1, 4)."""
    n = len(images)
    there, boxes = moved(images, boxes)
    there = there.clamp(min=0) ** (1 + 0.25 * torch.randn(n, 1, 1, 1)).clamp(0.6, 1.6)
    there = there * (1 + 0.1 * torch.randn(n, 1, 1, 1)) + 0.03 * torch.randn_like(there)
    return there, boxes


def train(slices: Slices, *, steps: int = 2500, seed: int = 0, batch: int = 32) -> Detector:
    """A detector trained on these slices, equally often on each type."""
    return trained(
        prepared(torch.from_numpy(slices.images)),
        torch.from_numpy(slices.boxes)[:, None],
        seed=seed,
        steps=steps,
        batch=batch,
        change=lit,
        groups=slices.labels,
    )


def overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of boxes (N, 4), row by row."""
    pairs = zip(a[:, None], b[:, None], strict=True)
    return np.array([overlaps(one, other)[0, 0] for one, other in pairs])


def found(net: Detector, slices: Slices) -> dict[str, float]:
    """The share of tumours found: of all, and type by type."""
    hit = (
        overlap(detect(net, prepared(torch.from_numpy(slices.images)))[:, 0], slices.boxes)
        >= OVERLAP
    )
    shares = {"all": float(hit.mean())}
    for label, tumour in enumerate(TUMOURS):
        if (slices.labels == label).any():
            shares[tumour] = float(hit[slices.labels == label].mean())
    return shares


# ---------------------------------------------------------------------------------- sets of slices
def read_set(folder: Path) -> Slices:
    """The slices of a set of model 102."""
    samples = medzoo.read(folder)
    return Slices(*(np.array(getattr(samples, name)) for name in ("images", "boxes", "labels")))


def pixels_of(box: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The pixels of the ellipse inside a box (4,), and of the ring round it, twice as wide."""
    centres = (np.arange(SIDE) + 0.5) / SIDE
    x, y = (centres - box[0]) / (box[2] / 2), (centres - box[1]) / (box[3] / 2)
    far = np.hypot(x[None], y[:, None])
    return far <= 1, (far > 1.2) & (far <= 2)


def contrasts(slices: Slices) -> NDArray[np.float64]:
    """Mean grey level inside each box less that of the ring round it, (N,)."""
    values = []
    for image, box in zip(slices.images[:, 0], slices.boxes, strict=True):
        inside, ring = pixels_of(box)
        values.append(
            image[inside].mean() - image[ring].mean() if inside.any() and ring.any() else np.nan
        )
    return np.array(values)


def with_ellipses(slices: Slices, seed: int = 0) -> Slices:
    """Real slices with an ellipse in the box of another slice of the same type."""
    rng = np.random.default_rng(seed)
    images, boxes = slices.images.copy(), slices.boxes.copy()
    contrast = contrasts(slices)
    for label in np.unique(slices.labels):
        rows = np.flatnonzero(slices.labels == label)
        others = rng.permutation(rows)
        bright = float(np.nanmedian(contrast[rows]))
        for row, other in zip(rows, others, strict=True):
            boxes[row] = slices.boxes[other]
            inside, ring = pixels_of(boxes[row])
            level = images[row, 0][ring].mean() if ring.any() else images[row, 0].mean()
            images[row, 0][inside] = np.clip(level + bright, 0, 255)
    return Slices(images, boxes, slices.labels)


def differences(slices: Slices, real: Slices) -> dict[str, dict[str, float]]:
    """Kolmogorov-Smirnov statistics, type by type, of box area and of contrast."""
    values = {}
    for label, tumour in enumerate(TUMOURS):
        one, other = (part.at(part.labels == label) for part in (slices, real))
        if not (len(one.labels) and len(other.labels)):
            continue
        pairs = {
            "size": (one.boxes[:, 2:].prod(axis=1), other.boxes[:, 2:].prod(axis=1)),
            "contrast": (contrasts(one), contrasts(other)),
        }
        values[tumour] = {
            name: float(ks_2samp(a[np.isfinite(a)], b[np.isfinite(b)]).statistic)
            for name, (a, b) in pairs.items()
        }
    return values


# ---------------------------------------------------------------------------------- the command
def committed() -> Detector:
    """The detector whose weights lie beside this file."""
    net = Detector()
    net.load_state_dict(load_file(WEIGHTS))  # which makes full precision of halves
    return net.eval()


def halves(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a network in half precision; counters stay as they are."""
    return {k: v.half() if v.is_floating_point() else v for k, v in state.items()}


def line(name: str, shares: dict[str, float]) -> str:
    return f"{name:34s} " + " ".join(
        f"{shares.get(key, math.nan):11.3f}" for key in ("all", *TUMOURS)
    )


def report(
    real: Slices, held: Slices, made: Slices | None, *, steps: int = 0, seed: int = 0
) -> None:
    """Print what is found in real slices and in a set, and, with ``steps``, what is learned."""
    net = committed()
    print(f"share of tumours found, IoU at least {OVERLAP}")
    print(f"{'':34s} " + " ".join(f"{key:>11s}" for key in ("all", *TUMOURS)))
    print(line("in real slices held back", found(net, held)))
    if made is None:
        return
    ellipses = with_ellipses(real)
    print(line("in the set", found(net, made)))
    print(line("in real slices with ellipses", found(net, ellipses)))
    if steps:
        own = train(made, steps=steps, seed=seed)
        print(line("learned from the set, in real ones", found(own, held)))
    print("\nKolmogorov-Smirnov statistic against real training slices")
    for name, slices in (("set", made), ("ellipses", ellipses), ("held back", held)):
        for tumour, values in differences(slices, real).items():
            figures = ", ".join(f"{key} {value:.3f}" for key, value in values.items())
            print(f"  {name:10s} {tumour:11s} {figures}")


def main() -> None:
    """Parse, train or read, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("real", type=Path)
    parser.add_argument("--set", type=Path, help="folder of a set of model 102")
    parser.add_argument("--learn", action="store_true", help="train one on the set as well")
    parser.add_argument("--train", action="store_true", help="train the committed one again")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    train_part, held = read_real(a.real)
    if a.train:
        began = time.time()
        net = train(train_part, steps=a.steps, seed=a.seed)
        save_file(halves(net.state_dict()), WEIGHTS)
        print(f"trained on {len(train_part.labels)} slices in {time.time() - began:.0f} s")
    made = None if a.set is None else read_set(a.set)
    report(train_part, held, made, steps=a.steps if a.learn else 0, seed=a.seed)


if __name__ == "__main__":
    main()
