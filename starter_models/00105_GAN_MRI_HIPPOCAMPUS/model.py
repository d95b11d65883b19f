"""MR volumes of the hippocampus with masks of its two parts: shapes from principal components, grey
values from a 3D painter.

A latent vector of 200 numbers makes one volume of 64x64x64 voxels of 1 mm:

1. **Shape.** 64 numbers are scores on principal components of signed distances, those of the whole
   hippocampus and half the difference of its two parts. Two more set the volumes of the parts: the
   surface lies where the masks have exactly so many voxels.
2. **Coarse grey values.** 132 numbers are scores on principal components of scans at 4 mm, of what a
   linear regression on the shape leaves open. Two more set the strength of fine texture.
3. **Painter**, a 3D U-Net trained as a conditional GAN, paints voxels of 1 mm over the coarse grey
   values and the mask. Planes of noise at three scales decide what these leave open.

Shapes in comments: N samples, C channels; a frame of 48x64x48 voxels holds all that is painted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

SIZE, FRAME = 64, (48, 64, 48)  # voxels of a volume, of the part that is painted
INSET = (8, 0, 8)  # where the frame begins in the volume
SHAPE, PARTS, TEXTURE, GREY = 64, 2, 2, 132  # the latents, in this order
LATENT = SHAPE + PARTS + TEXTURE + GREY
FINE, COARSE = 2, 4  # mm: of the distances, of the coarse grey values
CLIP = (8.0, 6.0)  # mm: largest distance, largest half difference
WHITE = 170  # grey level of the 99.5th percentile of a scan
SPLITS = (SHAPE, PARTS, TEXTURE, GREY)


# ------------------------------------------------------------------------------------ distances
def distance_to(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance in voxels of each voxel to the nearest voxel of ``mask`` (D, H, W)."""
    squares = np.where(mask, 0.0, 1e6)
    for axis in range(3):
        lines = np.moveaxis(squares, axis, -1)
        steps = np.arange(lines.shape[-1], dtype=np.float64)
        parabolas = (steps[:, None] - steps[None]) ** 2  # (to, from)
        nearest = np.empty_like(lines)
        for place, parabola in enumerate(parabolas):
            nearest[..., place] = (lines + parabola).min(axis=-1)
        squares = np.moveaxis(nearest, -1, axis)
    return np.asarray(np.sqrt(squares))


def shape_fields(
    labels: NDArray[np.uint8],
    distance: Callable[[NDArray[np.bool_]], NDArray[np.float64]] = distance_to,
) -> NDArray[np.float64]:
    """What the shape's components are of, (2, 24, 32, 24), from labels 0, 1, 2 in a frame.

    ``distance`` may be a faster function than ``distance_to`` with the same result.
    """

    def signed(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.clip(distance(mask) - distance(~mask) + mask - 0.5, -CLIP[0], CLIP[0])

    whole, front, back = (signed(mask) for mask in (labels > 0, labels == 1, labels == 2))
    fields = np.stack([whole, np.clip((front - back) / 2, -CLIP[1], CLIP[1])])
    cells = [number for side in FRAME for number in (side // FINE, FINE)]
    return fields.reshape(2, *cells).mean(axis=(2, 4, 6))


# ------------------------------------------------------------------------------------ the painter
def conv(channels_in: int, channels: int, stride: int = 1) -> nn.Sequential:
    """3x3x3 convolution and batch norm, which ``fold`` later makes one convolution."""
    return nn.Sequential(
        nn.Conv3d(channels_in, channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm3d(channels),
        nn.LeakyReLU(0.2),
    )


class Block(nn.Module):
    """Residual block of two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = conv(channels, channels), conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class Painter(nn.Module):
    """Scans (N, 1, D, H, W) over coarse grey values and masks; grey 0 to 1 is -1 to 1 here."""

    def __init__(self, widths: tuple[int, int, int] = (16, 32, 48)) -> None:
        super().__init__()
        a, b, c = widths
        self.enter = conv(4 + TEXTURE + 1, a)
        self.down1 = conv(a, b, 2)
        self.block1 = Block(b)
        self.down2 = conv(b, c, 2)
        self.block2 = nn.Sequential(Block(c), Block(c))
        self.narrow2 = nn.Conv3d(c, b // 2, 1)
        self.up2 = conv(b + b // 2 + 1, b)
        self.block3 = Block(b)
        self.narrow1 = nn.Conv3d(b, a // 2, 1)
        self.up1 = conv(a + a // 2 + 1, a)
        self.block4 = conv(a, a)
        self.last = nn.Conv3d(a, 1, 3, padding=1)

    def forward(self, coarse: Tensor, masks: Tensor, texture: Tensor, noise: list[Tensor]) -> Tensor:
        """Paint.

        Parameters
        ----------
        coarse
            (N, 1, D, H, W), grey values at 4 mm, brought to 1 mm.
        masks
            (N, 2, D, H, W), 1 in each part and 0 elsewhere.
        texture
            (N, 2), strength of the two finest bands; 0 is the mean of real scans, 1 its spread.
        noise
            (N, 1, D, H, W) of unit variance, and of half its size.
        """
        facts = texture[:, :, None, None, None].expand(-1, -1, *coarse.shape[2:])
        near = F.avg_pool3d(masks.sum(dim=1, keepdim=True), 9, stride=1, padding=4)
        x = self.enter(torch.cat([coarse, masks, near, facts, noise[0]], dim=1))  # (N, a, D, H, W)
        y = self.block1(self.down1(x))  # (N, b, D / 2, H / 2, W / 2)
        z = self.narrow2(self.block2(self.down2(y)))  # (N, b / 2, D / 4, ...)
        y = self.block3(self.up2(torch.cat([y, twice(z), noise[1]], dim=1)))
        x = self.block4(self.up1(torch.cat([x, twice(self.narrow1(y)), noise[0]], dim=1)))
        strength = (0.4 * texture.mean(dim=1)).exp()[:, None, None, None, None]
        painted: Tensor = coarse + 0.2 * strength * self.last(x)
        return painted


def twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0)


def fold(net: nn.Module) -> None:
    """Make each convolution that a batch norm follows one convolution."""
    for layers in net.modules():
        if isinstance(layers, nn.Sequential) and len(layers) == 3:
            if isinstance(layers[1], nn.BatchNorm3d):
                layers[0] = torch.nn.utils.fuse_conv_bn_eval(layers[0], layers[1])
                layers[1] = nn.Identity()


def smooth(x: Tensor, factor: int) -> Tensor:
    """(N, C, D, H, W) brought to ``factor`` times its size, linearly."""
    return F.interpolate(x, scale_factor=float(factor), mode="trilinear", align_corners=False)


def detail(x: Tensor) -> Tensor:
    """What halving and doubling the size of ``x`` loses."""
    return x - smooth(F.avg_pool3d(x, 2), 2)


# ------------------------------------------------------------------------------------- shapes
def one_piece(inside: NDArray[np.bool_], start: int) -> NDArray[np.bool_]:
    """The connected part of ``inside`` (D, H, W) that holds voxel number ``start``."""
    grown = np.zeros_like(inside)
    grown.flat[start] = True
    size = 0
    while size != (size := int(grown.sum())):
        for axis in range(3):
            lines, allowed = np.moveaxis(grown, axis, 0), np.moveaxis(inside, axis, 0)
            for _ in range(4):
                lines[1:] |= lines[:-1] & allowed[1:]
                lines[:-1] |= lines[1:] & allowed[:-1]
    return grown


def cut(fields: NDArray[np.float64], numbers: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels (D, H, W) with ``numbers`` of voxels of label 1 and 2, in one piece.

    ``fields`` (2, D, H, W) are distances to the surface and to the border of the two parts.
    """
    whole, side = fields
    total = sum(numbers)
    order = whole.ravel().argsort(kind="stable")
    taken = total
    for _ in range(6):  # crumbs that are dropped are made up for on the surface
        inside = np.zeros(whole.size, bool)
        inside[order[:taken]] = True
        piece = one_piece(inside.reshape(whole.shape), int(order[0])).ravel()
        lacking = total - int(piece.sum())
        if lacking == 0:
            break
        taken = min(max(taken + lacking, 1), whole.size)
    chosen = piece.nonzero()[0]
    ranks = side.ravel()[chosen].argsort(kind="stable")
    labels = np.zeros(whole.size, np.uint8)
    labels[chosen[ranks[: numbers[0]]]] = 1
    labels[chosen[ranks[numbers[0] :]]] = 2
    return labels.reshape(whole.shape)


class Space:
    """From latents to masks and coarse grey values, in double precision on the processor.

    A mask must be the same in a batch of any size: in single precision a voxel of the surface could
    change sides.

    Parameters
    ----------
    tensors
        ``shape.mean`` (36864,), ``shape.components`` (64, 36864), ``shape.scales`` (64,);
        ``parts.mean`` (2,), ``parts.slope`` (64, 2), ``parts.factor`` (2, 2) of the log volumes;
        ``rough`` (), mm of noise on the surface;
        ``grey.mean`` (2304,), ``grey.slope`` (64, 2304), ``grey.components`` (132, 2304),
        ``grey.scales`` (132,); ``texture.slope`` (132, 2), ``texture.factor`` (2, 2);
        ``margins`` (T, 6), voxels between the mask and the end of the scan on six sides.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = {
            name: value.double() for name, value in tensors.items() if not name.startswith("painter")
        }

    def labels(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Labels (N, 48, 64, 48) of ``latents`` (N, 200), ``noise`` (N, 48, 64, 48) normal."""
        t = self.tensors
        scores, parts = latents.double().split(SPLITS, dim=1)[:2]
        fields = t["shape.mean"] + (scores * t["shape.scales"]) @ t["shape.components"]
        cells = [side // FINE for side in FRAME]
        fields = smooth(fields.view(-1, 2, *cells), FINE)
        fields[:, 0] += t["rough"] * noise
        volumes = t["parts.mean"] + scores @ t["parts.slope"] + parts @ t["parts.factor"].T
        numbers = volumes.exp().round().long().clamp(min=1).tolist()
        pairs = zip(fields.numpy(), numbers, strict=True)
        labels = [cut(field, (front, back)) for field, (front, back) in pairs]
        return torch.from_numpy(np.stack(labels))

    def scores(self, labels: NDArray[np.uint8]) -> Tensor:
        """The shape's scores (64,) of labels in a frame (48, 64, 48), at most 3 in size."""
        t = self.tensors
        fields = torch.from_numpy(shape_fields(labels)).flatten()
        return ((fields - t["shape.mean"]) @ t["shape.components"].T / t["shape.scales"]).clamp(-3, 3)

    def grey(self, scores: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Coarse grey values (N, 1, 12, 16, 12) and strengths of texture (N, 2), float32.

        ``scores`` (N, 64) are of the shapes.
        """
        t = self.tensors
        residual, grey = latents.double().split(SPLITS, dim=1)[2:]
        coarse = t["grey.mean"] + scores.double() @ t["grey.slope"]
        coarse = coarse + (grey * t["grey.scales"]) @ t["grey.components"]
        texture = grey @ t["texture.slope"] + residual @ t["texture.factor"].T
        return coarse.view(-1, 1, *(side // COARSE for side in FRAME)).float(), texture.float()

    def margins(self, uniforms: Tensor) -> Tensor:
        """Margins (N, 6) of fields of view, each drawn from those of the training scans."""
        table = self.tensors["margins"].sort(dim=0).values
        rows = (uniforms * len(table)).long().clamp(max=len(table) - 1)
        return table.gather(0, rows).long()


def fields_of_view(labels: Tensor, margins: Tensor) -> Tensor:
    """Where a scan is known, (N, D, H, W) bool: the box of the mask and its margins.

    ``margins`` (N, 6) are before the mask on three axes, then behind it.
    """
    known = torch.zeros(labels.shape, dtype=torch.bool)
    for row, (one, margin) in enumerate(zip(labels, margins.tolist(), strict=True)):
        places = one.nonzero()
        low = [max(int(p) - e, 0) for p, e in zip(places.amin(dim=0), margin[:3], strict=True)]
        high = [int(p) + 1 + e for p, e in zip(places.amax(dim=0), margin[3:], strict=True)]
        known[(row, *map(slice, low, high))] = True
    return known


def two_parts(labels: Tensor) -> Tensor:
    """Labels (N, D, H, W) as (N, 2, D, H, W), 1 in each part and 0 elsewhere."""
    return torch.stack([labels == 1, labels == 2], dim=1).float()
