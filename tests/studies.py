"""What the tests of reader studies share: real pictures, and readers who answer as told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medzoo import study
from medzoo.study import Study

SMOOTH = """
import numpy as np

class Model:
    def sample(self, batch):
        ramp = np.linspace(0, 255, 64).reshape(1, 1, 8, 8).round().astype(np.uint8)
        images = np.repeat(ramp, batch.n, axis=0)
        for i in range(batch.n):
            images[i, 0, 0, 0] = batch.rng(i).bytes(1)[0]
        return {"images": images}

def load(weights_dir, device):
    return Model()
"""


def noise(shape: tuple[int, ...], seed: int, most: int = 255) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, most + 1, shape).astype(np.uint8)


def real_pictures(
    folder: Path,
    n: int = 40,
    size: tuple[int, ...] = (8, 8),
    classes: tuple[str, ...] = ("benign", "malignant"),
    suffix: str = "png",
    **how: Any,
) -> Path:
    """A folder of noise, with one folder per class."""
    for k in range(n):
        path = folder / (classes[k % len(classes)] if classes else "") / f"{k}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(size, k)).save(path, **how)
    return folder


def key_of(made: Study) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((made.folder / "key.json").read_text())
    return content


def truths(made: Study) -> dict[str, bool]:
    """Picture -> whether it is synthetic."""
    return {name: entry["synthetic"] for name, entry in key_of(made)["pictures"].items()}


def read_all(
    made: Study, name: str, rating: Callable[[bool, int], int], **answers: Any
) -> study.Reading:
    """Answer everything: ``rating`` takes the truth (of a pair, whether it is the right one) and a
    number that counts items of this truth."""
    known, seen = truths(made), {True: 0, False: 0}
    reading = made.start(name)
    while item := reading.current:
        truth = known[item.pictures[-1]]
        reading.answer(item.id, rating(truth, seen[truth]), seconds=1.5, **answers)
        seen[truth] += not item.training
    return reading
