"""From a T1-weighted MR of a brain to what T2 and FLAIR would show: a 2.5D U-Net, with lesions where
a mask asks for them.

1. Grey values are scaled by one percentile of the brain's voxels, so that white matter has nearly
   the same value in every scan (`scaled`).
2. ``Contrasts``, a U-Net, sees a slice, two slices on each side of it and the mask of lesions, and
   gives the T2 and the FLAIR of this slice.
3. A volume is cut into slices three times, in axial, coronal and sagittal planes, and the mean of
   the three results is returned. A single slice has one plane and no neighbours.

There are two sets of weights. Each was trained on one patient alone.

Shapes in comments: N slices, C channels, D, H, W voxels from feet to head, front to back and right
to left.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from medzoo.errors import InputError

TARGETS = ("T2", "FLAIR")
# The percentile of the brain's voxels that has a fixed value, and this value. It was chosen where
# white matter of both patients agrees best.
SCALES = {"T1": (80, 0.75), "T2": (25, 0.22), "FLAIR": (75, 0.6)}
NEIGHBOURS = 2  # slices on each side
CHANNELS = 2 * NEIGHBOURS + 1 + 2  # slices of T1, the mask, and whether there is a mask
MULTIPLE = 8  # of the sides of what the network sees
PATIENTS = (7, 19)
CHUNK = 16  # slices at a time
SHORT = 32  # voxels of the shorter side of a slice
BACKGROUND = 0.1  # the least share of voxels that are 0
LARGEST = 2300  # ml of a brain; that of the MNI152 template has 1,890
STRIP = "Remove skull and air first (such as with HD-BET, SynthStrip or BET), and set them to 0."
PHANTOM = (64, 80, 64)


def scaled(scan: NDArray[Any], contrast: str) -> NDArray[np.float32]:
    """Grey values of a brain as the network sees them: about 0 to 1, 0 outside.

    Parameters
    ----------
    scan
        A volume or a slice. What is 0 or less is outside the brain, or as dark as that.
    contrast
        ``T1``, ``T2`` or ``FLAIR``.
    """
    percentile, value = SCALES[contrast]
    brain = scan[scan > 0]
    if not brain.size:
        return np.zeros(scan.shape, np.float32)
    factor = value / float(np.percentile(brain, percentile))
    return np.clip(scan * factor, 0, 1.25 if contrast == "T1" else 1).astype(np.float32)


# -------------------------------------------------------------------------------------------------
# the network
def conv(channels_in: int, channels: int) -> nn.Sequential:
    """3x3 convolution and batch norm, which ``fold`` later makes one convolution."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(0.1),
    )


def block(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(conv(channels_in, channels), conv(channels, channels))


class Contrasts(nn.Module):
    """U-Net: slices (N, 7, H, W) to T2 and FLAIR (N, 2, H, W); sides are multiples of 8.

    Most of it works on blocks of 2x2 pixels, which are channels there; the last two convolutions
    see pixels again.
    """

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 96)) -> None:
        super().__init__()
        a, b, c = widths
        self.enter = block(4 * CHANNELS, a)
        self.down1, self.down2 = block(a, b), block(b, c)
        self.up2, self.up1 = block(c + b, b), block(b + a, a)
        fine = a // 4 + 2
        self.last = nn.Sequential(
            nn.Conv2d(fine, 12, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(12, len(TARGETS), 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        h1 = self.enter(F.pixel_unshuffle(x, 2))  # (N, a, H / 2, W / 2)
        h2 = self.down1(F.avg_pool2d(h1, 2))  # (N, b, H / 4, W / 4)
        h = self.down2(F.avg_pool2d(h2, 2))  # (N, c, H / 8, W / 8)
        h = self.up2(torch.cat([twice(h), h2], dim=1))
        h = self.up1(torch.cat([twice(h), h1], dim=1))
        own = x[:, [NEIGHBOURS, 2 * NEIGHBOURS + 1]]  # the slice itself, and the mask
        return self.last(torch.cat([F.pixel_shuffle(h, 2), own], dim=1))


def twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0)


def fold(net: nn.Module) -> None:
    """Make each convolution that a batch norm follows one convolution."""
    for part in net.modules():
        layers = list(part) if isinstance(part, nn.Sequential) else []
        if len(layers) == 3 and isinstance(layers[1], nn.BatchNorm2d):
            part[0] = torch.nn.utils.fuse_conv_bn_eval(layers[0], layers[1])
            part[1] = nn.Identity()


# -------------------------------------------------------------------------------------------------
# volumes
def planes_of(t1: Tensor) -> list[int]:
    """The axes along which a volume (D, H, W) is cut into slices.

    Slices with a side shorter than `SHORT` are not used, unless there are no others.
    """
    sides = [min(side for k, side in enumerate(t1.shape) if k != axis) for axis in range(3)]
    usable = [axis for axis in range(3) if sides[axis] >= SHORT]
    return usable or [sides.index(max(sides))]


def slices_along(axis: int, t1: Tensor, mask: Tensor, given: bool) -> Tensor:
    """What the network sees of each slice of a volume (D, H, W): (K, 7, ...)."""
    slices, lesions = t1.movedim(axis, 0), mask.movedim(axis, 0)
    last = len(slices) - 1
    numbers = torch.arange(last + 1)
    channels = []
    for step in range(-NEIGHBOURS, NEIGHBOURS + 1):
        channels.append(slices[(numbers + step).clamp(0, last)])
    flag = torch.full_like(lesions, float(given))
    return torch.stack([*channels, lesions, flag], dim=1)


def box_of(inside: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The part of a volume that holds all of ``inside``."""
    spans = []
    for axis in range(3):
        other = tuple(k for k in range(3) if k != axis)
        places = np.flatnonzero(inside.any(axis=other))
        spans.append(slice(int(places[0]), int(places[-1]) + 1))
    return tuple(spans)


class BrainContrasts:
    """The networks of both patients on one device.

    Parameters
    ----------
    tensors
        The content of ``weights.safetensors``: ``patient07.*`` and ``patient19.*``.
    device
        Where to run.
    """

    def __init__(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        self.device = device
        self.nets = {number: self._net(tensors, number) for number in PATIENTS}

    def _net(self, tensors: dict[str, Tensor], number: int) -> Contrasts:
        net, prefix = Contrasts(), f"patient{number:02}."
        counters = {k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")}
        own = {
            k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)
        }
        net.load_state_dict(counters | own)
        net.requires_grad_(False).eval()
        fold(net)
        return net.to(self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def paint(
        self, t1: NDArray[np.float32], mask: NDArray[np.bool_] | None, target: str, patient: int
    ) -> NDArray[np.float32]:
        """A brain (D, H, W) in another contrast, 0 to 1 and 0 outside.

        Parameters
        ----------
        t1
            Scaled, (D, H, W).
        mask
            Where lesions are to be, and nowhere else. None leaves it to what T1 shows.
        target
            ``T2`` or ``FLAIR``.
        patient
            The patient whose network is used.
        """
        brain = torch.from_numpy(t1)
        lesions = torch.zeros_like(brain) if mask is None else torch.from_numpy(mask).float()
        total = torch.zeros_like(brain)
        axes = planes_of(brain)
        for axis in axes:
            x = slices_along(axis, brain, lesions, mask is not None)
            high, wide = x.shape[2:]
            x = F.pad(x, (0, -wide % MULTIPLE, 0, -high % MULTIPLE))
            parts = [self._slices(part, target, patient) for part in x.split(CHUNK)]
            total += torch.cat(parts)[:, :high, :wide].movedim(0, axis)
        return (total / len(axes)).clamp(0, 1).numpy()

    def _slices(self, x: Tensor, target: str, patient: int) -> Tensor:
        """Slices (K, H, W) of what the network sees (K, 7, H, W)."""
        x = x.to(self.device, memory_format=torch.channels_last)
        made: Tensor = self.nets[patient](x)[:, TARGETS.index(target)]
        return made.float().cpu()

    def sample(self, batch: Any) -> dict[str, NDArray[np.uint8]]:
        """The native contract: ``volumes`` and ``t1``, uint8 of the size of the input ``t1``."""
        target, patient = batch.options["contrast"], batch.options["patient"]
        columns: dict[str, list[NDArray[np.uint8]]] = {"volumes": [], "t1": []}
        for row in range(batch.n):
            if "t1" in batch.inputs:
                scan = batch.inputs["t1"][row, 0].astype(np.float32)
                require_a_brain(scan)
            else:
                scan = phantom(batch.rng(row))
            inside, mask = scan != 0, None
            if "lesions" in batch.inputs:
                mask = lesions_of(batch.inputs["lesions"][row, 0], inside)
            t1, box = scaled(scan, "T1"), box_of(inside)
            volume = np.zeros_like(t1)
            volume[box] = self.paint(t1[box], None if mask is None else mask[box], target, patient)
            columns["volumes"].append(levels(volume * inside))
            columns["t1"].append(levels(np.minimum(t1, 1)))
        return {name: np.stack(values)[:, None] for name, values in columns.items()}


def levels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey levels of what is 0 to 1."""
    return np.rint(values * 255).astype(np.uint8)


# -------------------------------------------------------------------------------------------------
# what a user gives
def require_a_brain(scan: NDArray[np.float32]) -> None:
    """Refuse what is not a brain with 0 around it; voxels are of 1 mm.

    Raises
    ------
    InputError
        Hardly any voxel is 0, none is above 0, or what is not 0 is larger than a brain.
    """
    outside = float((scan == 0).mean())
    if not (scan > 0).any():
        raise InputError("t1 has no voxel above 0.", "Give a T1-weighted scan of a brain.")
    if outside < BACKGROUND:
        raise InputError(
            f"Only {outside:.1%} of the voxels of t1 are 0, and the model knows brains without skull "
            "on a background of 0.",
            STRIP,
        )
    volume = float((scan != 0).sum()) / 1000
    if volume > LARGEST:
        raise InputError(
            f"{volume:,.0f} ml of t1 are not 0, which is more than a brain, and the model knows "
            "brains without skull.",
            STRIP,
        )


def lesions_of(mask: NDArray[Any], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where lesions are to be, from a user's mask.

    Raises
    ------
    InputError
        It holds other numbers than 0 to 1, or most of it is outside of the brain.
    """
    values = mask.astype(np.float32)
    if values.min() < 0 or values.max() > 1:
        raise InputError(
            f"lesions holds {values.min():g} to {values.max():g}.",
            "Give 1 where a lesion is to be, and 0 elsewhere.",
        )
    asked = values > 0.5
    if asked.any() and (asked & inside).sum() < 0.5 * asked.sum():
        raise InputError(
            f"{(asked & ~inside).sum()} of the {asked.sum()} voxels of lesions are outside of the "
            "brain.",
            "Give a mask of the brain in t1.",
        )
    return asked & inside


def phantom(stream: Any) -> NDArray[np.float32]:
    """Ellipsoids with the grey values of T1 for white matter, cortex and ventricles, (D, H, W).

    They show that the model runs, and nothing of a brain.
    """
    numbers = stream.uniforms(8)
    axes = [np.linspace(-1, 1, side, dtype=np.float32) for side in PHANTOM]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    folds = 0.06 * np.sin(9 * x + 6 * numbers[0]) * np.sin(8 * y + 6 * numbers[1])
    folds = folds * np.cos(7 * z + 6 * numbers[2])
    radius = np.sqrt((x / 0.85) ** 2 + (y / 0.9) ** 2 + (z / 0.8) ** 2) + folds
    width, length = 0.12 + 0.06 * numbers[3], 0.35 + 0.1 * numbers[4]
    ventricle = ((np.abs(x) - 0.15) / width) ** 2 + (y / length) ** 2 + (z / 0.25) ** 2
    scan = np.where(radius < 0.8, 0.75, 0.57)  # white matter, cortex
    scan[ventricle < 1] = 0.12
    scan[radius > 0.95] = 0.12  # fluid around the cortex
    scan[radius > 1] = 0
    return (100 * scan).astype(np.float32)


def load(weights_dir: Path, device: str) -> BrainContrasts:
    """The native contract: the model, ready to sample."""
    return BrainContrasts(load_file(weights_dir / "weights.safetensors"), torch.device(device))
