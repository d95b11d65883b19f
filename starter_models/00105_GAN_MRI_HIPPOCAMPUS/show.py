"""Draw the pictures of the card: `python show.py --model 105`, or the folder of a package.

``samples.png``: three planes through the middle of the first samples of seed 0, each without and with
the outline of its mask. ``turning.gif``: the surfaces of four masks, turning. Needs medzoo and Pillow.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import medzoo

COLOURS = np.array([[255, 90, 80], [70, 200, 110]])  # of label 1, label 2
FRAMES, SIDE = 24, 96  # of the GIF: pictures of a turn, pixels of a surface


def planes(volume: NDArray[Any], mask: NDArray[Any]) -> NDArray[np.uint8]:
    """Axial, coronal and sagittal slice through the middle, (3 * 64, 2 * 64, 3)."""
    rows = []
    for axis in range(3):
        grey, labels = (np.take(array, array.shape[axis] // 2, axis) for array in (volume, mask))
        if axis:  # feet below
            grey, labels = grey[::-1], labels[::-1]
        plain = np.repeat(grey[..., None], 3, axis=2)
        outlined = plain.copy()
        padded = np.pad(labels, 1, mode="edge")
        around = [padded[1:-1, 2:], padded[1:-1, :-2], padded[2:, 1:-1], padded[:-2, 1:-1]]
        edge = (labels > 0) & np.any([other != labels for other in around], axis=0)
        outlined[edge] = COLOURS[labels[edge] - 1]
        rows.append(np.concatenate([plain, outlined], axis=1))
    return np.concatenate(rows).astype(np.uint8)


def surface(mask: NDArray[Any], angle: float) -> NDArray[np.uint8]:
    """The mask seen from the side, turned by ``angle`` about the axis from feet to head."""
    inside = mask > 0
    soft = inside.astype(float)
    for axis in range(3):  # normals of a surface of voxels are too steep
        for _ in range(2):
            soft = (np.roll(soft, 1, axis) + 2 * soft + np.roll(soft, -1, axis)) / 4
    normals = -np.stack(np.gradient(soft), axis=-1)[inside]
    places = np.argwhere(inside) - np.argwhere(inside).mean(axis=0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    across, depth = (places[:, 1:] @ turn).T
    towards = (normals[:, 1:] @ turn)[:, 1] / (np.linalg.norm(normals, axis=1) + 1e-6)
    colours = COLOURS[mask[inside] - 1] * (0.35 + 0.65 * towards.clip(0, 1))[:, None]
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    order = np.argsort(depth)  # the nearest voxels last, over the others
    scale = SIDE / 64
    for down in range(3):
        for right in range(3):
            rows = SIDE / 2 - places[order, 0] * scale + down * scale / 3
            columns = SIDE / 2 + across[order] * scale + right * scale / 3
            at = [x.astype(int).clip(0, SIDE - 1) for x in (rows, columns)]
            picture[at[0], at[1]] = colours[order]
    return picture


def main() -> None:
    """Draw both pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="105", help="a number, or the folder of a package")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("-n", type=int, default=8, help="samples")
    a = parser.parse_args()
    samples = medzoo.generate(a.model, a.n, seed=0, trust=True)
    volumes, masks = samples.volumes[:, 0], samples.masks[:, 0]
    sheet = np.concatenate([planes(v, m) for v, m in zip(volumes, masks, strict=True)], axis=1)
    half = sheet.shape[1] // 2 // 128 * 128
    rows = [sheet[:, :half], sheet[:, half : 2 * half]] if a.n > 1 else [sheet]
    picture = Image.fromarray(np.concatenate(rows))
    picture.resize((2 * picture.width, 2 * picture.height), 0).save(a.out / "samples.png")
    turns = [
        Image.fromarray(np.concatenate([surface(m, angle) for m in masks[:4]], axis=1))
        for angle in np.linspace(0, 2 * np.pi, FRAMES, endpoint=False)
    ]
    turns[0].save(
        a.out / "turning.gif", save_all=True, append_images=turns[1:], duration=80, loop=0
    )


if __name__ == "__main__":
    main()
