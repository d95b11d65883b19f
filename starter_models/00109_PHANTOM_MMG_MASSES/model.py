"""Mammography mass patches from formulas: a procedural phantom with exact masks and known truth, in
numpy alone.

A patch is 128x128 pixels of 0.4 mm. Its gray levels are a sum, as those of a radiograph after the
logarithm are:

1. **Tissue.** Two random fields with power-law spectra, stretched along one direction; the spectra
of mammograms fall
   as 1/f**3 (Burgess et al., Medical Physics 28:419, 2001). One field decides by a sigmoid where
   tissue is glandular, the other draws strands. Some patches lie at the skin, where the breast gets
   thin and ends, some at the chest muscle.
2. **Mass.** A contour r(angle) around a centre. Benign: an ellipse with a few shallow lobes, as
thick as an ellipsoid.
   Malignant: an irregular core with spicules, thin wedges of various lengths.
3. **Calcifications**, round bumps: many small ones in a malignant mass, a few coarse ones in a
benign one. 4. **Noise** of the detector.

The masks are where the thickness of what was added is above zero: exact by construction, not drawn
by hand and not found by a threshold. Without lesions (option ``lesions``) a seed gives the very
same tissue and noise.

Shapes in comments: n samples, H = W = 128 pixels, h and w pixels of a window.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SIZE, SPACING = 128, 0.4  # pixels, mm a pixel
WIDTH = SIZE * SPACING  # mm
# pixels of a random field, which repeats itself; a patch is cut from it, so that opposite edges
# differ
FIELD = 192
WAVES = 73  # of a field, across the picture; finer ones would be hidden by the noise
TURNS = 32  # directions of the fields
BINS = 512  # of the angle of a contour
LATENT = 13
(
    DIAMETER,
    CONTRAST,
    X,
    Y,
    ELONGATION,
    TILT,
    MARGIN,
    SPICULES,
    CALCIFIED,
    GLANDS,
    PLACE,
    DIRECTION,
    EXPOSURE,
) = range(LATENT)
TRUTH = (
    "diameter_mm",
    "x_mm",
    "y_mm",
    "elongation",
    "contrast_gray_levels",
    "spicules",
    "calcifications",
    "glandular_percent",
)
DENSITY = (-2.3, -1.1, 0.3, 1.8)  # where the sigmoid lies for the BI-RADS categories a, b, c, d
MUSCLE, SKIN = 0.12, 0.78  # places below and above show the chest muscle, the skin
CURVE, ROUND = (
    140.0,
    34.0,
)  # mm: radius of the breast's outline, how far from it the breast has its full thickness

CENTRES = (
    np.arange(SIZE, dtype=np.float32) + 0.5
) * SPACING  # of pixels, in mm from the left or the upper edge
ANGLES = np.arange(BINS, dtype=np.float32) * (2 * math.pi / BINS)


def spectrum(angle: float, *, stretch: float, lowest: float, power: float, finest: float) -> Array:
    """Amplitudes (192, 73) of a random field of unit variance whose streaks lie along ``angle``."""
    y, x = np.fft.fftfreq(FIELD, 1 / FIELD)[:, None], np.arange(WAVES)[None]  # waves a field
    along, across = (
        x * math.cos(angle) + y * math.sin(angle),
        y * math.cos(angle) - x * math.sin(angle),
    )
    amplitude = ((along * stretch) ** 2 + (across / stretch) ** 2 + lowest**2) ** (-power / 4)
    amplitude *= np.exp(-(x**2 + y**2) / finest**2)
    amplitude[0, 0] = 0
    times = np.where(x == 0, 1, 2)  # how many of the field's waves each stands for
    variance = (
        (amplitude**2 * times).sum() * 2 * 256**2 / 12 / FIELD**4
    )  # with random bytes as both parts of a number
    return (amplitude / math.sqrt(variance)).astype(np.float32)


def positive(x: Array) -> Array:
    return np.maximum(x, 0)


class Phantom:
    """Draws patches."""

    def __init__(self) -> None:
        angles = [math.pi * k / TURNS for k in range(TURNS)]
        self.clouds = [spectrum(a, stretch=1.25, lowest=1.2, power=3.3, finest=55) for a in angles]
        self.strands = [spectrum(a, stretch=1.9, lowest=3.0, power=2.8, finest=34) for a in angles]

    def sample(self, batch: Any) -> dict[str, Array]:
        """The native contract: ``images``, ``masks``, ``calcifications`` (n, 1, H, W) uint8,
        ``truth`` (n, 8) float32.
        """
        images, masks, calcifications = np.zeros((3, batch.n, 1, SIZE, SIZE), np.uint8)
        truth = np.zeros((batch.n, len(TRUTH)), np.float32)
        shares = 0.5 + 0.5 * np.tanh(
            0.7979 * (batch.latents + 0.0447 * batch.latents**3)
        )  # (n, 13), uniform in (0, 1)
        for i, share in enumerate(shares.tolist()):
            stream = batch.rng(i)
            chance = stream.uniforms(256)  # what no latent decides
            malignant = bool(batch.conditions["condition"][i] == 1)
            radius = 3.5 + 7.5 * share[DIAMETER]  # of the mass, mm
            image, gain, glands = self.tissue(
                share, chance, DENSITY[batch.conditions["density"][i]], radius, stream
            )
            if batch.options["lesions"]:
                window, thickness, facts = (spiculated if malignant else smooth)(
                    share, chance, radius
                )
                thickness *= gain[window] > 0  # no lesion in the air
                strength = min((26 + 34 * share[CONTRAST]) * (radius / 6) ** 0.7, 60) * (
                    1.2 if malignant else 1
                )
                rise = gain[window] * thickness * (strength * batch.options["contrast"])
                image[window] += rise
                masks[i, 0][window] = inside = thickness > 0
                count = calcify(image, gain, calcifications[i, 0], share, chance, radius, malignant)
                truth[i, :-1] = *facts[:4], rise.sum() / inside.sum(), facts[4], count
            truth[i, -1] = 100 * glands
            grain = (
                stream.bytes((SIZE + 1) ** 2)
                .view(np.int8)
                .astype(np.float32)
                .reshape(SIZE + 1, SIZE + 1)
            )
            grain = (
                grain[1:, 1:] + grain[:-1, :-1] + grain[1:, :-1]
            )  # neighbours have bytes in common: smooth a little
            image += grain * (0.0125 * batch.options["noise"])
            images[i, 0] = np.clip(image + 0.5, 0, 255)
        return {"images": images, "masks": masks, "calcifications": calcifications, "truth": truth}

    def tissue(
        self, share: list[float], chance: Array, density: float, radius: float, stream: Any
    ) -> tuple[Array, Array, float]:
        """Gray levels without lesion and noise (H, W), the gain of gray levels (H, W), and the
        share of glandular tissue.
        """
        angle = 2 * math.pi * share[DIRECTION]  # towards the skin
        bend, slope, wall = chance[:3].tolist()
        cloud = self.field(self.clouds, angle, stream)  # (H, W)
        strand = self.field(self.strands, angle + 1.6 * (bend - 0.5), stream)  # (H, W)
        x, y = (CENTRES - c for c in place(share))
        out = x * math.cos(angle) + y[:, None] * math.sin(
            angle
        )  # (H, W), mm from the mass towards the skin
        along = y[:, None] * math.cos(angle) - x * math.sin(angle)  # (H, W), mm across that

        glands = 1.6 * cloud + (density + share[GLANDS] - 0.5)
        if at_skin := share[PLACE] > SKIN:
            depth = (
                1.3 * radius + 2 + 16 * (1 - share[PLACE]) / (1 - SKIN)
            )  # of the mass below the skin, mm
            below = depth - out - along * along * (0.5 / CURVE)  # (H, W), of each pixel
            glands += np.minimum(0.25 * below - 3, 0)  # under the skin is fat
        glands = 1 / (1 + np.exp(-glands))
        image = (
            3 * strand + 6 * cloud + 7 * np.exp(-2.4 * np.abs(strand - 0.9))
        )  # texture: both fields, and bright lines
        image += glands * (47 + 1.3 * image) + 66
        if share[PLACE] < MUSCLE:
            edge = out + (radius + 4 + 16 * wall) + (slope - 0.5) * along  # mm
            image += (
                0.8
                / (1 + np.exp(0.7 * edge + 0.5 * strand))
                * (128 + 6 * strand + 5 * cloud - image)
            )

        exposure = 0.8 + 0.4 * share[EXPOSURE]
        if not at_skin:
            return image * exposure, np.full_like(image, exposure), float(glands.mean())
        below = positive(below)
        rim = np.minimum(below * (1 / ROUND), 1)
        gain = exposure * np.sqrt(rim * (2 - rim))  # the breast is round towards its edge
        line = 4 + 16 * np.minimum(1.2 * below, 1) * np.exp(
            -0.7 * below
        )  # the skin, and air that is not quite black
        inside = below > 0
        return image * gain + line, gain, float((glands * inside).sum() / inside.sum())

    def field(self, spectra: list[Array], angle: float, stream: Any) -> Array:
        """A random field (H, W) of mean 0 and variance 1 with streaks along ``angle``."""
        white = (
            stream.bytes(2 * FIELD * WAVES)
            .view(np.int8)
            .astype(np.float32)
            .view(np.complex64)
            .reshape(FIELD, WAVES)
        )
        rows = np.fft.ifft(white * spectra[round(angle / math.pi * TURNS) % TURNS], axis=0)[
            :SIZE
        ]  # (H, 73)
        return np.fft.irfft(rows, FIELD, axis=1)[:, :SIZE].astype(np.float32)


# ---------------------------------------------------------------------------------------------------------
# the lesions
def place(share: list[float]) -> tuple[float, float]:
    """Centre of the mass in mm from the left and the upper edge."""
    return WIDTH * (0.32 + 0.36 * share[X]), WIDTH * (0.32 + 0.36 * share[Y])


def polar(
    share: list[float], chance: Array, reach: float, bend: float
) -> tuple[tuple[slice, slice], Array, Array, float]:
    """The window around the mass, and in it the distance from the centre in mm and the angle's bin,
    (h, w), of a frame that is stretched along the mass's axis and slightly bent; last the
    stretch."""
    centre = place(share)
    stretch = 1 + 0.45 * share[ELONGATION]
    side = reach * math.sqrt(stretch) + bend + SPACING
    low, high = (
        [min(max(int((c + s * side) / SPACING) + (s > 0), 0), SIZE) for c in centre]
        for s in (-1, 1)
    )
    x, y = CENTRES[None, low[0] : high[0]] - centre[0], CENTRES[low[1] : high[1], None] - centre[1]
    phase = 6.28 * chance[4:6]
    x, y = x + bend * np.sin(0.7 * y + phase[0]), y + bend * np.sin(0.7 * x + phase[1])  # (h, w)
    c, s = math.cos(math.pi * share[TILT]), math.sin(math.pi * share[TILT])
    x, y = (x * c + y * s) / math.sqrt(stretch), (y * c - x * s) * math.sqrt(stretch)
    turn = (np.arctan2(y, x) * (BINS / 2 / math.pi)).astype(np.int32) & (BINS - 1)
    return (slice(low[1], high[1]), slice(low[0], high[0])), np.sqrt(x * x + y * y), turn, stretch


def waves(chance: Array, orders: range, strength: Array) -> Array:
    """A contour (BINS,) of mean radius 1: a circle with a wave of each order."""
    phases = np.array(orders, np.float32)[:, None] * ANGLES + 6.28 * chance[: len(orders), None]
    return 1 + strength.astype(np.float32) @ np.cos(phases)


def smooth(
    share: list[float], chance: Array, radius: float
) -> tuple[tuple[slice, slice], Array, tuple[float, ...]]:
    """A benign mass: window, thickness (h, w) from 0 to 1, and diameter, x, y, elongation,
    spicules.
    """
    contour = radius * waves(chance[8:], range(3, 6), share[MARGIN] * np.array([0.05, 0.04, 0.03]))
    window, distance, turn, stretch = polar(share, chance, float(contour.max()), bend=0.1)
    left = positive(1 - (distance / contour[turn]) ** 2)
    thickness = np.sqrt(left)  # of an ellipsoid
    thickness += (
        0.6 * float(chance[6]) * (left - thickness)
    )  # some masses fade towards their margin
    return window, thickness, (diameter(contour), *place(share), stretch, 0.0)


def spiculated(
    share: list[float], chance: Array, radius: float
) -> tuple[tuple[slice, slice], Array, tuple[float, ...]]:
    """A malignant mass: an irregular core and spicules; returns what ``smooth`` does."""
    contour = waves(
        chance[8:], range(3, 11), (0.10 + 0.16 * share[MARGIN]) * np.arange(3, 11) ** -0.7
    )
    n = 8 + int(22 * share[SPICULES])
    where, length, width = chance[32 : 32 + 3 * n].reshape(n, 3).T[:, :, None]
    off = np.abs(ANGLES - 6.28 * where)
    off = np.minimum(off, 2 * math.pi - off)  # (n, BINS), angle from each one's middle
    wedges = positive(1 - off / (0.07 + 0.12 * width)) * (
        0.25 + (0.7 + 0.5 * share[MARGIN]) * length * length
    )
    reach = 0.5 + wedges.max(axis=0)  # of the spicules, in radii
    window, distance, turn, stretch = polar(
        share, chance, radius * float(max(contour.max(), reach.max())), bend=0.35
    )
    distance = distance * (1 / radius)
    left = positive(1 - (distance / contour[turn]) ** 2)
    thickness = np.sqrt(left * np.sqrt(left))
    thickness += 0.65 * np.minimum(positive(reach[turn] - distance), 0.5)
    return window, thickness, (diameter(radius * contour), *place(share), stretch, float(n))


def diameter(contour: Array) -> float:
    """Of the circle with the area inside a contour (BINS,)."""
    return 2 * math.sqrt(float((contour**2).mean()))


def calcify(
    image: Array,
    gain: Array,
    mask: Array,
    share: list[float],
    chance: Array,
    radius: float,
    malignant: bool,
) -> int:
    """Add calcifications to ``image`` and ``mask`` (H, W); returns how many."""
    often = 0.4 if malignant else 0.15
    if share[CALCIFIED] > often:
        return 0
    left = 1 - share[CALCIFIED] / often  # of 1, more is more
    n = 4 + int(14 * left) if malignant else 1 + int(3 * left)
    right, down, size, white = chance[128 : 128 + 4 * n].reshape(n, 4).T
    spread = radius * (0.9 if malignant else 0.5)
    x, y = (
        c + spread * (2 * v - 1) for c, v in zip(place(share), (right, down), strict=True)
    )  # mm from the edges
    radii = 0.3 + 0.35 * size**2 if malignant else 0.7 + 1.1 * size  # mm; none slips between pixels
    for cx, cy, r, level in zip(
        x.tolist(), y.tolist(), radii.tolist(), (30 + 70 * white).tolist(), strict=True
    ):
        columns, rows = (
            slice(max(int((c - r) / SPACING), 0), int((c + r) / SPACING) + 1) for c in (cx, cy)
        )
        bump = positive(
            1 - ((CENTRES[columns] - cx) ** 2 + (CENTRES[rows, None] - cy) ** 2) * (1 / r**2)
        )
        image[rows, columns] += level * gain[rows, columns] * bump
        mask[rows, columns] |= (bump > 0) & (gain[rows, columns] > 0)
    return n


def load(weights_dir: Path, device: str) -> Phantom:  # noqa: ARG001
    """The native contract; there are no weights, and it runs on the CPU."""
    return Phantom()
