"""Real and synthetic pictures, read from where they lie."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import medzoo
from medzoo.config.columns import unit_range
from medzoo.errors import InputError

BLOCKS, EVERY, GUARD = (
    20,
    5,
    4,
)  # blocks of a class, each fifth of them held back, pictures left out beside one
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
ALIASES = {
    "is_benign_true": "benign",
    "is_benign_false": "malignant",
}  # folders of the mass patches


@dataclass(frozen=True)
class Pictures:
    """``images`` (N, C, H, W) or (N, C, D, H, W) with values in ``range``, and ``labels`` (N,)
    counted from 0.
    """

    images: NDArray[np.generic]
    labels: NDArray[np.int64]
    range: tuple[float, float] = (0, 255)

    def tensor(self) -> Tensor:
        """The images as float32 in [-1, 1]."""
        low, high = self.range
        return torch.from_numpy((self.images.astype(np.float32) - low) / ((high - low) / 2) - 1)

    def at(self, rows: NDArray[np.bool_]) -> Pictures:
        return Pictures(self.images[rows], self.labels[rows], self.range)


def synthetic(folder: Path) -> tuple[Pictures, dict[str, int]]:
    """A set that medzoo wrote, and the numbers of its classes by name."""
    samples = medzoo.read(folder)
    column = next(
        (name for name, output in samples.outputs.items() if output.kind in {"image", "volume"}),
        None,
    )
    if column is None:
        raise InputError(
            f"{folder} holds no pictures and no volumes.", "The judge is for sets that do."
        )
    label = next((name for name, output in samples.outputs.items() if output.kind == "label"), None)
    labels = getattr(samples, label) if label else np.zeros(len(samples), np.int64)
    condition = samples.outputs[label].condition if label else None
    values: Mapping[str, int] = {}
    if condition:
        version = medzoo.info(samples.provenance["model"]).versions[samples.provenance["version"]]
        values = version.conditions[condition].values
    images = unit_range(getattr(samples, column), samples.outputs[column])
    return Pictures(images, labels.astype(np.int64), (0, 1)), dict(values)


def real(
    data: Path, side: tuple[int, ...], numbers: Mapping[str, int], split: str = "val"
) -> tuple[Pictures, Pictures]:
    """Real training pictures and those held back.

    Parameters
    ----------
    data
        A zip, a folder or an ``.npz``, as the package's own text says.
    side
        Pixels that pictures are brought to, (H, W). An ``.npz`` must have them.
    numbers
        Class name -> label. Where it is empty, classes are numbered in the order of their names.
    split
        Which of the folders beside ``train`` is held back.
    """
    if data.suffix == ".npz":
        with np.load(data) as arrays:
            images, labels = arrays["images"], arrays["labels"].astype(np.int64)
        if images.shape[2:] != side:
            raise InputError(
                f"{data} has pictures of {images.shape[2:]}, the set of {side}.",
                "Bring them to the set's size.",
            )
        low, high = (
            (0, np.iinfo(images.dtype).max)
            if images.dtype.kind in "iu"
            else (float(images.min()), float(images.max()))
        )
        return _blocks(Pictures(images, labels, (float(low), float(high))), np.arange(len(labels)))
    files = dict(sorted(_files(data), key=lambda pair: _order(pair[0])))
    parts = {name: Path(name).parts for name in files}
    classes = sorted({ALIASES.get(p[-2], p[-2]) for p in parts.values()})
    numbers = numbers or {name: number for number, name in enumerate(classes)}
    if unknown := set(classes) - set(numbers):
        raise InputError(
            f"{data} has classes {sorted(unknown)}, the set {sorted(numbers)}.",
            "Name the folders as the model does.",
        )
    images = np.stack([_picture(content, side) for content in files.values()])[:, None]
    labels = np.array([numbers[ALIASES.get(p[-2], p[-2])] for p in parts.values()], np.int64)
    found = Pictures(images, labels)
    halves = np.array([p[-3] if len(p) > 2 else "" for p in parts.values()])
    if (halves == "train").any():
        by_class = np.argsort(labels, kind="stable")
        ordered = Pictures(images[by_class], labels[by_class])
        return ordered.at(halves[by_class] == "train"), ordered.at(halves[by_class] == split)
    return _blocks(found, np.arange(len(labels)))


def _blocks(pictures: Pictures, order: NDArray[np.int64]) -> tuple[Pictures, Pictures]:
    """Blocks of neighbours in number, class by class: nearly all for training, every fifth held
    back.
    """
    train, held = np.zeros(len(order), bool), np.zeros(len(order), bool)
    for label in np.unique(pictures.labels):
        rows = order[pictures.labels == label]
        back = np.arange(len(rows)) * BLOCKS // len(rows) % EVERY == EVERY // 2
        near = np.convolve(back, np.ones(2 * GUARD + 1), mode="same") > 0
        held[rows[back]], train[rows[~near]] = True, True
    return pictures.at(train), pictures.at(held)


def _order(name: str) -> tuple[str, int, str]:
    path = Path(name)
    return str(path.parent), int(path.stem) if path.stem.isdigit() else 0, path.name


def _files(data: Path) -> Iterator[tuple[str, bytes]]:
    if data.is_dir():
        for path in data.rglob("*"):
            if path.suffix.lower() in SUFFIXES:
                yield path.relative_to(data).as_posix(), path.read_bytes()
    else:
        with zipfile.ZipFile(data) as archive:
            for name in archive.namelist():
                if name.lower().endswith(SUFFIXES):
                    yield name, archive.read(name)


def _picture(content: bytes, side: tuple[int, ...]) -> NDArray[np.uint8]:
    picture = Image.open(io.BytesIO(content)).convert("L")
    if picture.size != side[::-1]:
        smaller = picture.width >= side[1]
        picture = picture.resize(
            side[::-1], Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC
        )
    return np.asarray(picture)
