"""Measurements of cell nuclei in fine-needle aspirates of the breast, a row an aspirate, by a
differentially private GAN.

A generator maps 30 latents and a class to 30 *coordinates*, each in a range that follows from what
the measurement is and not from any row of data. Formulas that hold by definition turn coordinates
into the thirty columns: an area is that of a disc of the row's own radius times a factor, a worst
value is the mean value times a factor of at least one. ``possible`` then moves a row that no nuclei
could have to the nearest one that they could, by geometry and arithmetic alone: it sees no data, so
the privacy of the weights is untouched. The arithmetic is numpy's, in double precision.

Shapes in comments: n rows; 30 = 3 groups (mean, standard error, worst) of 10 features.
"""

from __future__ import annotations

from math import log, pi
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[Any]
FEATURES = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)
COLUMNS = (
    *(f"mean {f}" for f in FEATURES),
    *(f"{f} error" for f in FEATURES),
    *(f"worst {f}" for f in FEATURES),
)
RADIUS, TEXTURE, PERIMETER, AREA, SMOOTHNESS, COMPACTNESS, CONCAVITY, POINTS, SYMMETRY, FRACTAL = (
    range(10)
)
ROOTS = [CONCAVITY, POINTS]  # may be zero, so roots stand where the others have logarithms
FREE = [
    RADIUS,
    TEXTURE,
    SMOOTHNESS,
    COMPACTNESS,
    SYMMETRY,
    FRACTAL,
]  # by no formula tied to another feature
LATENT = 30

# The largest value a measurement can have: 8-bit gray levels deviate by 127.5 at most; smoothness and
# asymmetry are shares of a radius and of a length, concave points half of all points at most; a
# contour in a plane has a dimension of 2 at most, less 1. The others have no bound of their own.
LARGEST = np.full(10, np.inf)
LARGEST[[TEXTURE, SMOOTHNESS, POINTS, SYMMETRY, FRACTAL]] = 127.5, 1, 0.5, 1, 1
NUCLEI, WORST = 40, 3  # at most so many nuclei an aspirate; the worst value is the mean of three
# Of n values the mean of the m largest is at most sqrt((n - 1) (n - m) / m) standard errors above the
# mean of all: least spread for its height have m equal values above n - m equal ones.
STEEPEST = ((NUCLEI - 1) * (NUCLEI - WORST) / WORST) ** 0.5
SMALLEST_ERROR = 0.005  # of the mean, as in RANGES below
ROUNDING = 1 + 1e-6  # so that a bound still holds in single precision

# Range of each coordinate. What they rest on, feature by feature: a nucleus whose contour is traced
# in a video image with a dozen others has a radius of 4 to 64 pixels; gray levels of 8 bits deviate
# by 128 at most; no contour is shorter, and no area smaller, than that of a disc with its mean
# radius (a little slack for polygons, and several times as much above as an ellipse of aspect 2
# needs); smoothness, concavity and asymmetry are shares of a whole; concave points are at most half
# of all points; a coastline's dimension less 1 is 0.02 to 0.32 for what is hardly rough. Standard
# errors of ten to forty nuclei are a half to a two-hundredth of the mean. Worst values, of the
# three largest nuclei, are 1 to 3 times it.
RANGES = np.array(
    [
        [
            (log(4), log(64)),
            (log(2), log(128)),
            (-0.1, 0.4),
            (-0.1, 0.5),
            (log(0.02), log(0.32)),
            (log(0.01), log(1)),
            (0, 1),
            (0, 0.7),
            (log(0.05), log(0.8)),
            (log(0.02), log(0.32)),
        ],
        [
            (log(0.005), log(0.5)),
            (log(0.005), log(0.5)),
            (-0.3, 1),
            (-0.3, 0.7),
            (log(0.005), log(0.5)),
            (log(0.01), log(1)),
            (0, 0.7),
            (0, 0.5),
            (log(0.005), log(0.5)),
            (log(0.002), log(0.5)),
        ],
        [
            (0, log(3)),
            (0, log(3)),
            (-0.1, 0.4),
            (-0.1, 0.5),
            (0, log(3)),
            (0, log(6)),
            (0, 0.7),
            (0, 0.5),
            (0, log(3)),
            (0, log(3)),
        ],
    ]
).reshape(30, 2)
MIDDLE, HALF = RANGES.mean(axis=1), (RANGES[:, 1] - RANGES[:, 0]) / 2


def to_coordinates(table: Array) -> Array:
    """Coordinates in [-1, 1], (n, 30), of rows as the data set has them, (n, 30)."""
    mean, error, worst = (
        np.asarray(table, np.float64).reshape(-1, 3, 10).transpose(1, 0, 2)
    )  # (n, 10) each

    def logarithm(x: Array) -> Array:
        return np.log(np.maximum(x, 1e-9))

    found = np.empty((len(mean), 3, 10))
    for row, group in ((0, mean), (2, worst)):
        found[:, row] = logarithm(group)
        found[:, row, PERIMETER] -= logarithm(2 * pi * group[:, RADIUS])
        found[:, row, AREA] -= logarithm(pi * group[:, RADIUS] ** 2)
        found[:, row, ROOTS] = np.sqrt(group[:, ROOTS])
    found[:, 2, FREE + ROOTS] -= found[:, 0, FREE + ROOTS]
    found[:, 1] = logarithm(error) - logarithm(mean)
    found[:, 1, PERIMETER] = logarithm(error[:, PERIMETER]) - logarithm(2 * pi * error[:, RADIUS])
    found[:, 1, AREA] = logarithm(error[:, AREA]) - logarithm(
        2 * pi * mean[:, RADIUS] * error[:, RADIUS]
    )
    found[:, 1, ROOTS] = np.sqrt(error[:, ROOTS])
    return np.clip((found.reshape(-1, 30) - MIDDLE) / HALF, -1, 1)


def to_table(coordinates: Array) -> Array:
    """Rows (n, 30) of coordinates (n, 30); what lies outside [-1, 1] is cut off."""
    given = (np.clip(coordinates, -1, 1) * HALF + MIDDLE).reshape(-1, 3, 10)
    given[:, 2, FREE + ROOTS] += given[:, 0, FREE + ROOTS]
    table = np.exp(given)
    for row in (0, 2):
        radius = table[:, row, RADIUS]
        table[:, row, PERIMETER] *= 2 * pi * radius
        table[:, row, AREA] *= pi * radius**2
    mean, error = table[:, 0], table[:, 1]
    error[:, FREE] *= mean[:, FREE]
    error[:, PERIMETER] *= 2 * pi * error[:, RADIUS]
    error[:, AREA] *= 2 * pi * mean[:, RADIUS] * error[:, RADIUS]
    table[:, :, ROOTS] = given[:, :, ROOTS] ** 2
    return table.reshape(-1, 30)


def possible(table: Array) -> Array:
    """Rows (n, 30) changed as little as it takes for nuclei to exist that have them.

    - A contour is at least as long as the circle round the same area: 4 pi area <= perimeter^2.
    - Without concavity there are no concave points and the other way round, in every group.
    - No value lies above ``LARGEST``.
    - A worst value is at least the mean, at most ``NUCLEI / WORST`` times the mean, since no value
      is negative, and at most ``STEEPEST`` standard errors above the mean.
    - A standard error is at most the mean, since no value is negative.

    It looks at nothing but the row, so it spends no privacy.
    """
    mean, error, worst = np.array(table, np.float64).reshape(-1, 3, 10).transpose(1, 0, 2)
    smooth = (mean[:, ROOTS] == 0).any(axis=1)
    mean = np.minimum(mean, LARGEST)
    mean[:, PERIMETER] = at_least_round(mean)
    worst = np.clip(worst, mean, np.minimum(LARGEST, NUCLEI / WORST * mean / ROUNDING))
    worst[:, PERIMETER] = at_least_round(worst)
    least = np.maximum(SMALLEST_ERROR * mean, ROUNDING * (worst - mean) / STEEPEST)
    error = np.clip(error, least, mean)
    rows = np.stack([mean, error, worst], axis=1)
    rows[:, :, ROOTS] = np.where(smooth[:, None, None], 0, rows[:, :, ROOTS])
    return rows.reshape(-1, 30)


def at_least_round(group: Array) -> Array:
    """Perimeters (n,) of rows (n, 10), none shorter than the circle round the row's area."""
    return np.maximum(group[:, PERIMETER], ROUNDING * np.sqrt(4 * pi * group[:, AREA]))


class Generator:
    """Coordinates = place of the class + spread * (linear map of the latents + small network)."""

    def __init__(self, tensors: dict[str, Array]) -> None:
        self.tensors = {name: values.astype(np.float64) for name, values in tensors.items()}

    def coordinates(self, latents: Array, classes: Array) -> Array:
        """(n, 30) of latents (n, 30) and classes (n,), benign 0 and malignant 1."""
        t, z = self.tensors, latents.astype(np.float64)
        x = np.concatenate([z, np.eye(2)[classes]], axis=1)  # (n, 32)
        for k in (0, 2):
            x = x @ t[f"net.{k}.weight"].T + t[f"net.{k}.bias"]  # (n, 64)
            x = np.where(x > 0, x, 0.2 * x)
        x = x @ t["net.4.weight"].T + t["net.4.bias"]  # (n, 30)
        return t["place"][classes] + t["spread"] * (
            t["shift.weight"][classes] + z @ t["linear.weight"].T + x
        )

    def rows(self, latents: Array, classes: Array) -> Array:
        """The columns (n, 30) of latents (n, 30) and classes (n,)."""
        return possible(to_table(self.coordinates(latents, classes)))

    def sample(self, batch: Any) -> dict[str, Array]:
        """The native contract: ``table`` (n, 30), float32."""
        rows = self.rows(batch.latents, batch.conditions["condition"])
        return {"table": rows.astype(np.float32)}


def load(weights_dir: Path, device: str) -> Generator:  # noqa: ARG001
    """The native contract; a few multiplications a row, so it runs on the CPU."""
    return Generator(load_file(Path(weights_dir) / "weights.safetensors"))
