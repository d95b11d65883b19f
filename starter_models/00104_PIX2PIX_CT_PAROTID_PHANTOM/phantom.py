"""A procedural phantom: axial CT of head and neck at the level of the parotid glands, in Hounsfield
units. Numpy alone.

A picture is 128x128 pixels of 1.6 mm, seen from the feet as radiologists do: the patient's right is
on the left, the face above. Shapes are drawn at twice that resolution, outline by outline from the
skin inwards, on coordinates that are scaled, turned and bent for each head, so that no two are
alike. Then come, as in a scanner,

1. the blur of the reconstruction, 2. **streaks**: where teeth have metal fillings, what rays
through metal measure wrong (beam hardening grows with the square
   of the metal crossed, and few photons arrive, so that noise grows with its exponential) is
   back-projected,
3. **noise** with the spectrum of filtered back-projection, a ramp that rolls off.

The right parotid gland is laid over a head without it: ``bed`` and ``gland`` are two pictures of
the same scan, and ``bed + mask * (gland - bed)`` is the scan of a head with a gland of any form.
This is what lets a network learn from masks that no head has.

Not a model of any person, and no replacement for real CT: densities and proportions are typical
values, not measurements.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SIZE, SPACING = 128, 1.6  # pixels, mm a pixel
FINE = 2 * SIZE  # pixels of the drawing
LOW, HIGH = -1024, 2048  # HU
ANGLES = 120  # of the projections that streaks come from
AIR, FAT, MUSCLE, SKIN, CORTEX, MARROW, WATER, CORD = (
    -1000.0,
    -105.0,
    55.0,
    20.0,
    1100.0,
    280.0,
    12.0,
    38.0,
)

_LINE = ((np.arange(FINE, dtype=np.float32) + 0.5) / FINE - 0.5) * (
    SIZE * SPACING
)  # mm from the centre


class Scan(NamedTuple):
    """One head: two pictures in HU (H, W), float32, where its right parotid lies, the share of each
    pixel (H, W), and whether it has ear lobes, which come in pairs, and metal fillings.
    """

    bed: Array
    gland: Array
    mask: Array
    ears: bool
    fillings: bool


def scan(seed: int) -> Scan:
    """The head number ``seed``."""
    rng = np.random.default_rng([104, seed])
    head = Head(rng)
    bed, gland, cover, metal = head.draw()
    bed, gland, cover = (blur(halve(p)) for p in (bed, gland, cover))
    error = noise(rng)
    if metal.any():
        error += streaks(halve(metal), rng)
    return Scan(bed + error, gland + error, cover, head.ears, bool(metal.any()))


def compose(bed: Array, gland: Array, mask: Array) -> Array:
    """The scan of a head whose gland fills ``mask``, in HU within the window."""
    return np.clip(bed + mask * (gland - bed), LOW, HIGH)


# ------------------------------------------------------------------------------------------------------------
# drawing
def smooth_field(rng: np.random.Generator, waves: float, power: float = 2.0) -> Array:
    """A random field (FINE, FINE) of mean 0 and variance 1; ``waves`` is the finest number of waves
    across.
    """
    y, x = np.fft.fftfreq(FINE, 1 / FINE)[:, None], np.arange(FINE // 2 + 1)[None]
    radius = np.hypot(x, y)
    amplitude = (radius + 1.0) ** -power * np.exp(-((radius / waves) ** 2))
    amplitude[0, 0] = 0
    white = (
        rng.standard_normal((FINE, FINE // 2 + 1, 2)).astype(np.float32).view(np.complex64)[..., 0]
    )
    field = np.fft.irfft2(white * amplitude, (FINE, FINE)).astype(np.float32)
    return field / field.std()


def union(a: Array, b: Array, softness: float = 4.0) -> Array:
    """Signed distance of two shapes melted together (the log-sum-exp of both)."""
    return np.logaddexp(a / softness, b / softness) * softness


class Head:
    """Draws one head; positions and sizes in mm, x towards the patient's left, y towards the nape."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        wide, deep = rng.normal(0.97, 0.04), rng.normal(0.94, 0.035)
        turn = rng.normal(0, 0.045)
        x, y = _LINE[None] - rng.normal(0, 3), _LINE[:, None] - rng.normal(4, 3)
        x, y = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
        self.x = (x + 1.6 * smooth_field(rng, 5)) / wide
        self.y = (y + 1.6 * smooth_field(rng, 5)) / deep
        self.grain = smooth_field(rng, 60, 1.0)
        self.coarse = smooth_field(rng, 18, 1.0)

    def near(self, value: float, spread: float = 0.08) -> float:
        """A length that varies from head to head."""
        return value * self.rng.normal(1, spread)

    def oval(
        self, x: float, y: float, rx: float, ry: float, turn: float = 0.0, power: float = 2.0
    ) -> Array:
        """Signed distance, roughly in mm and positive inside, of an ellipse or, with ``power``
        above 2, a rounder box.
        """
        dx, dy = self.x - x, self.y - y
        u, v = dx * math.cos(turn) + dy * math.sin(turn), dy * math.cos(turn) - dx * math.sin(turn)
        far = (np.abs(u / rx) ** power + np.abs(v / ry) ** power) ** (1 / power)
        return (1 - far) * min(rx, ry)

    def paint(self, inside: Array, value: float | Array) -> None:
        """Lay a tissue over the picture; its edge is as wide as a pixel."""
        self.image += cover(inside) * (value - self.image)

    def muscle(self, inside: Array) -> None:
        """Muscle with a little fat between its bundles."""
        self.paint(inside, self.lean)

    def bone(self, inside: Array, wall: float, density: float) -> None:
        """A shell of compact bone, ``wall`` mm thick, and marrow."""
        self.paint(inside, CORTEX * density)
        self.paint(inside - wall, (MARROW + 90 * self.coarse) * density)

    def draw(self) -> tuple[Array, Array, Array, Array]:
        """Head without the right parotid, its tissue everywhere, its share of each pixel, and
        metal; (FINE, FINE) each.
        """
        rng, grain = self.rng, self.grain
        self.image = np.full((FINE, FINE), AIR, np.float32)
        self.lean = (
            MUSCLE
            + rng.normal(0, 5)
            + 7 * grain
            - 22 * np.maximum(self.coarse - rng.uniform(0.9, 2.2), 0)
        )
        fat = FAT + rng.normal(0, 5) + 8 * grain + 45 * np.maximum(grain - 1.9, 0)
        blood = (
            rng.uniform(38, 60) if rng.random() < 0.5 else rng.uniform(120, 230)
        )  # without and with contrast medium
        density = rng.uniform(0.75, 1.15)
        plump = rng.normal(0, 2.5)  # thickness of fat under the skin

        face = self.oval(0, -25, 67 + plump, self.near(66, 0.03), power=2.2)
        neck = self.oval(0, 24, 73 + plump, self.near(66, 0.03), power=2.2)
        lips = self.oval(0, -88, self.near(15), 9)
        body = union(union(face, neck, 5), lips, 3)
        self.ears = rng.random() < 0.7
        if self.ears:
            for side in (-1, 1):
                body = np.maximum(
                    body,
                    self.oval(
                        side * (74 + plump),
                        self.near(6),
                        self.near(4.5),
                        self.near(10),
                        side * -0.25,
                    ),
                )
        self.paint(body, SKIN)
        self.paint(body - 2.0, fat)
        deep = body - 5 - max(plump, -2)  # where muscles may be

        self.back(deep)
        self.spine(density)
        self.throat(blood)
        self.mouth()
        glands = {}
        for side in (-1, 1):
            glands[side] = self.jaw(side, body, density)
        metal = self.teeth(density)

        septa = np.maximum(smooth_field(rng, 40, 1.2) - 0.6, 0)
        tissue = rng.uniform(-30, 10) + 9 * self.coarse + 7 * grain - 34 * septa
        self.paint(glands[1][0], tissue)
        self.paint(glands[1][1], blood)
        bed, self.image = self.image, tissue
        self.paint(glands[-1][1], blood)
        return bed, self.image, cover(glands[-1][0]), metal

    def back(self, deep: Array) -> None:
        """The muscles behind the spine, in pairs."""
        bulk = self.rng.normal(1, 0.07)
        for side in (-1, 1):
            for x, y, rx, ry, turn in (
                (17, 62, 14.5, 17, 0.25),  # semispinalis
                (37, 57, 9.5, 21, 0.55),  # splenius
                (20, 35, 17, 8.5, 0.3),  # obliquus capitis inferior
                (44, 30, 10, 11, 0.2),  # levator scapulae, scalenes
                (10, 80, 11, 3.6, 0.3),  # trapezius
            ):
                shape = self.oval(
                    side * self.near(x, 0.03),
                    self.near(y, 0.02),
                    self.near(rx) * bulk,
                    self.near(ry, 0.06) * bulk,
                    -side * turn,
                    2.4,
                )
                self.muscle(np.minimum(shape, deep))
            sternomastoid = self.oval(
                side * self.near(61, 0.02),
                self.near(29, 0.06),
                self.near(7.5),
                self.near(17),
                side * 0.35,
                2.4,
            )
            self.muscle(np.minimum(sternomastoid, deep + 1))

    def spine(self, density: float) -> None:
        """The second vertebra, its canal and the cord."""
        rng = self.rng
        self.muscle(self.oval(0, 4, self.near(34), self.near(13)))
        for side in (-1, 1):
            self.muscle(
                self.oval(
                    side * 8.5, self.near(-5, 0.1), self.near(7.5), self.near(4.5), side * 0.2
                )
            )  # longus
            self.bone(
                self.oval(side * self.near(29, 0.04), 13, self.near(8), self.near(4.5), side * 0.3),
                1.8,
                density,
            )  # transverse process
            self.paint(
                self.oval(side * self.near(27, 0.04), 12, 2.4, 2.4), 45.0
            )  # vertebral artery
        arch = self.oval(0, self.near(27, 0.03), self.near(16.5, 0.05), self.near(16, 0.05))
        spinous = self.oval(0, self.near(46, 0.04), self.near(5), self.near(9), power=2.5)
        self.bone(union(arch, spinous, 2), 2.2, density)
        for side in (-1, 1):
            self.bone(
                self.oval(
                    side * self.near(16, 0.05),
                    self.near(11, 0.1),
                    self.near(10),
                    self.near(8.5),
                    side * 0.2,
                ),
                1.9,
                density,
            )
        self.bone(
            self.oval(0, self.near(7, 0.1), self.near(11), self.near(9.5), power=2.5), 2.0, density
        )
        self.paint(
            self.oval(0, 26.5, self.near(11, 0.05), self.near(9.5, 0.06)), -40.0
        )  # epidural fat
        self.paint(self.oval(0, 26.5, self.near(9.8, 0.05), self.near(8.6, 0.06)), WATER)
        self.paint(
            self.oval(
                rng.normal(0, 0.5),
                26 + rng.normal(0, 0.7),
                self.near(6.3, 0.05),
                self.near(4.6, 0.06),
            ),
            CORD,
        )

    def throat(self, blood: float) -> None:
        """Pharynx with its air, and the great vessels beside it."""
        rng = self.rng
        x, y = rng.normal(0, 1.5), self.near(-19, 0.08)
        rx, ry = rng.uniform(6, 15), rng.uniform(2.5, 7.5)
        self.muscle(self.oval(x, y, rx + 6.5, ry + 5.5))
        self.paint(self.oval(x, y, rx, ry) + 0.7 * self.coarse, AIR)
        for side in (-1, 1):
            self.paint(
                self.oval(
                    side * self.near(29, 0.05), self.near(-3, 0.5), self.near(3), self.near(3)
                ),
                blood,
            )  # internal carotid
            vein = rng.uniform(3.2, 6.0)
            self.paint(
                self.oval(
                    side * self.near(37, 0.04), self.near(7, 0.2), vein, vein * self.near(0.9)
                ),
                blood * 0.92,
            )  # internal jugular

    def mouth(self) -> None:
        """Tongue, its midline septum, lips and cheeks."""
        rng = self.rng
        tongue = self.oval(
            0, self.near(-48, 0.03), self.near(23, 0.05), self.near(26, 0.05), power=2.3
        )
        if rng.random() < 0.6:  # air between tongue and teeth
            self.paint(tongue + rng.uniform(1, 3), AIR)
        self.muscle(tongue)
        self.paint(np.minimum(self.oval(0, -45, 1.2, 20), tongue - 2), -20.0)
        self.muscle(
            np.minimum(self.oval(0, -87, self.near(19), 7.5), self.oval(0, -86, 24, 9))
        )  # lips
        arch = self.oval(0, -52, self.near(36, 0.03), self.near(34, 0.03), power=2.2)
        cheek = np.minimum(arch, 2.6 - arch)  # buccinator: a band along the teeth
        self.muscle(np.minimum(cheek, -24 - self.y))

    def jaw(self, side: int, body: Array, density: float) -> tuple[Array, Array]:
        """One ramus with its muscles; where the parotid behind it lies, and the vein in it."""
        rng = self.rng
        x, y, tilt = self.near(46, 0.025), self.near(-22, 0.08), side * (0.18 + rng.normal(0, 0.05))
        skin = body - 3.5
        masseter = self.oval(
            side * (x + self.near(10.5, 0.06)),
            y - 4,
            self.near(7.5, 0.1),
            self.near(21, 0.06),
            tilt,
            2.4,
        )
        self.muscle(np.minimum(masseter, skin))
        self.muscle(
            self.oval(
                side * (x - self.near(11, 0.06)),
                y + 1,
                self.near(6.5, 0.1),
                self.near(16),
                tilt * 0.5,
                2.4,
            )
        )  # medial pterygoid
        self.muscle(
            self.oval(
                side * self.near(41, 0.04),
                self.near(18, 0.06),
                self.near(6),
                self.near(7.5),
                side * 0.5,
            )
        )  # digastric
        self.paint(
            self.oval(
                side * self.near(38, 0.03), self.near(-1, 0.8), self.near(2.2), self.near(2.6)
            ),
            CORTEX * 0.8 * density,
        )  # styloid
        ramus = self.oval(side * x, y, self.near(4.4, 0.1), self.near(17, 0.06), tilt, 2.8)
        self.bone(ramus, 1.9, density)

        behind = y + 17  # of the ramus
        size = rng.normal(1, 0.1)
        lobe_x, lobe_y = side * (x + self.near(13.5, 0.08)), behind + self.near(6, 0.4)
        superficial = self.oval(
            lobe_x,
            lobe_y,
            self.near(7.5) * size,
            self.near(19) * size,
            side * (0.12 + rng.normal(0, 0.08)),
        )
        inner = self.oval(
            side * (x + rng.normal(0.5, 1.5)),
            behind + self.near(9, 0.2),
            self.near(11.5) * size,
            self.near(8.5) * size,
            side * -0.25,
        )
        gland = union(superficial, inner, 3.0) + 0.7 * self.coarse + 0.6 * rng.normal()
        gland = np.minimum(np.minimum(gland, skin), -1.0 - ramus)
        vein = np.minimum(
            self.oval(
                side * (x + self.near(4, 0.3)),
                behind + self.near(7, 0.3),
                self.near(2.6, 0.15),
                self.near(2.4, 0.15),
            ),
            gland,
        )
        return gland, vein

    def teeth(self, density: float) -> Array:
        """The dental arch; metal (FINE, FINE), the share of each pixel that fillings take."""
        rng = self.rng
        rx, ry, back = self.near(28.5, 0.04), self.near(30, 0.05), self.near(-44, 0.04)
        ring = self.oval(0, back - 2, rx, ry, power=2.2)
        socket = np.minimum(np.minimum(4.2 - np.abs(ring), back + 8 - self.y), 6.0)
        level = rng.random()  # through the crowns, or through the roots
        if level < 0.55:
            self.bone(socket, 1.3, density * 0.75)
        else:
            self.paint(socket - 1.0, self.lean)  # gums
        filled = rng.random() < 0.4
        metal = np.zeros((FINE, FINE), np.float32)
        for angle in np.linspace(-1.45, 1.45, 14):
            if rng.random() < 0.08:
                continue  # a gap
            a = angle + rng.normal(0, 0.015)
            x, y = rx * math.sin(a), back - 2 - ry * math.cos(a)
            molar = abs(angle) > 0.85
            tooth = self.oval(
                x, y, self.near(3.9 if molar else 2.6), self.near(4.6 if molar else 3.4), a, 2.4
            )
            self.paint(tooth, 1750.0 * self.near(1.0, 0.05) if level >= 0.55 else 1350.0)
            self.paint(tooth - 1.4, 1250.0)
            if filled and molar and rng.random() < 0.45:
                plug = cover(self.oval(x, y, self.near(2.6, 0.2), self.near(2.8, 0.2), a))
                metal = np.maximum(metal, plug)
        self.image += metal * (6000.0 - self.image)
        return metal


def cover(inside: Array) -> Array:
    """Share of each pixel that lies inside a shape, by its signed distance in mm."""
    return np.clip(inside / (SIZE * SPACING / FINE) + 0.5, 0, 1)


def halve(picture: Array) -> Array:
    return picture.reshape(SIZE, 2, SIZE, 2).mean(axis=(1, 3))


def blur(picture: Array, share: float = 0.16) -> Array:
    """A small kernel, as that of a soft-tissue reconstruction."""
    for axis in (0, 1):
        p = np.pad(picture, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        before, after = (np.take(p, range(k, k + SIZE), axis=axis) for k in (0, 2))
        picture = (1 - 2 * share) * picture + share * (before + after)
    return picture.astype(np.float32)


# ------------------------------------------------------------------------------------------------------
# noise, streaks
def noise(rng: np.random.Generator) -> Array:
    """Noise (H, W) of 6 to 14 HU: its power rises with frequency, then rolls off (Riederer et al.,
    PMB 23:446, 1978).
    """
    y, x = np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]
    radius = np.hypot(x, y)
    white = np.fft.rfft2(rng.standard_normal((SIZE, SIZE)))
    grain = np.fft.irfft2(
        white * np.sqrt(radius + 0.01) * np.exp(-((radius / 0.28) ** 2)), (SIZE, SIZE)
    )
    return (grain / grain.std() * rng.uniform(6, 14)).astype(np.float32)


def _rays() -> tuple[Array, Array]:
    """For each angle, the detector bin left of each pixel (ANGLES, H * W) and how far beyond it the
    pixel projects.
    """
    line = np.arange(SIZE) - (SIZE - 1) / 2
    angles = np.arange(ANGLES) * math.pi / ANGLES
    at = (
        np.cos(angles)[:, None, None] * line[None, None]
        + np.sin(angles)[:, None, None] * line[None, :, None]
        + SIZE
    )
    left = np.floor(at)
    return left.astype(np.int32).reshape(ANGLES, -1), (at - left).astype(np.float32).reshape(
        ANGLES, -1
    )


def streaks(metal: Array, rng: np.random.Generator) -> Array:
    """What fillings do to a parallel-beam reconstruction, in HU (H, W); ``metal`` is their share of
    each pixel.

    The measured line integral through ``p`` mm of metal is too low by a part that grows as p**2
    (beam hardening), and noisy as exp(p). Filtered back-projection is linear: the error's own is
    added to the picture.
    """
    left, beyond = _rays()
    flat = metal.ravel()
    error = np.zeros((ANGLES, 2 * SIZE))
    for k in range(ANGLES):
        crossed = np.bincount(left[k], flat * (1 - beyond[k]), 2 * SIZE) + np.bincount(
            left[k] + 1, flat * beyond[k], 2 * SIZE
        )
        crossed *= SPACING  # mm of metal on each ray
        error[k] = -(crossed**2) + 3.0 * (np.exp(0.22 * crossed) - 1) * rng.standard_normal(
            2 * SIZE
        )
    ramp = np.abs(np.fft.rfftfreq(2 * SIZE)) * np.exp(-((np.fft.rfftfreq(2 * SIZE) / 0.3) ** 2))
    error = np.fft.irfft(np.fft.rfft(error) * ramp, 2 * SIZE)
    back = np.zeros(SIZE * SIZE)
    for k in range(ANGLES):
        back += error[k][left[k]] * (1 - beyond[k]) + error[k][left[k] + 1] * beyond[k]
    return (back.reshape(SIZE, SIZE) * (rng.uniform(80, 260) * math.pi / ANGLES)).astype(np.float32)
