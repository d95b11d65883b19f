"""MR volumes of the hippocampus with masks of its two parts: shapes from principal components, grey
values from a 3D painter.

A latent vector of 200 numbers makes one volume of 64x64x64 voxels of 1 mm:

1. **Shape.** 64 numbers are scores on principal components of the signed distance to the surface of
   the hippocampus. Two more set the volumes of its parts: the surface lies where the mask has
   exactly so many voxels, and the parts meet between two coronal slices.
2. **Coarse grey values.** 132 numbers are scores on principal components of scans at 4 mm, of what a
   linear regression on the shape leaves open. Two more set the strength of fine texture.
3. **Painter**, a 3D U-Net trained as a conditional GAN, paints voxels of 1 mm over the coarse grey
   values and the mask. Planes of noise at two scales decide what these leave open.
4. **Finish**: detail is made a little stronger, and a tone curve gives grey values the distribution
   that they have in scans.

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

from medzoo.errors import InputError

SIZE, FRAME = 64, (48, 64, 48)  # voxels of a volume, of the part that is painted
INSET = (8, 0, 8)  # where the frame begins in the volume
SHAPE, PARTS, TEXTURE, GREY = 64, 2, 2, 132  # the latents, in this order
LATENT = SHAPE + PARTS + TEXTURE + GREY
FINE, COARSE = 2, 4  # mm: of the distances, of the coarse grey values
CLIP = 8.0  # mm: the largest distance
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


def shape_field(
    labels: NDArray[np.uint8],
    distance: Callable[[NDArray[np.bool_]], NDArray[np.float64]] = distance_to,
) -> NDArray[np.float64]:
    """What the shape's components are of, (24, 32, 24): the signed distance to the surface in mm.

    ``labels`` are 0, 1 or 2 in a frame. ``distance`` may be a faster function than ``distance_to``
    with the same result.
    """
    mask = labels > 0
    signed = np.clip(distance(mask) - distance(~mask) + mask - 0.5, -CLIP, CLIP)
    cells = [number for side in FRAME for number in (side // FINE, FINE)]
    return np.asarray(signed.reshape(cells).mean(axis=(1, 3, 5)))


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

    def forward(
        self, coarse: Tensor, masks: Tensor, texture: Tensor, noise: list[Tensor]
    ) -> Tensor:
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
        near = masks.sum(dim=1, keepdim=True)
        for axis in range(3):  # the mean of 9 x 9 x 9 voxels
            sides = [9 if axis == other else 1 for other in range(3)]
            near = F.avg_pool3d(near, sides, stride=1, padding=[side // 2 for side in sides])
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
    for part in net.modules():
        layers = list(part) if isinstance(part, nn.Sequential) else []
        if len(layers) == 3 and isinstance(layers[1], nn.BatchNorm3d):
            part[0] = torch.nn.utils.fuse_conv_bn_eval(layers[0], layers[1])
            part[1] = nn.Identity()


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


def cut(field: NDArray[np.float64], numbers: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels (D, H, W) in one piece of about ``numbers`` of voxels of label 1 and label 2.

    The surface lies where the distance in ``field`` is so small that both together have exactly so
    many voxels. As in nearly all manual masks, the parts meet between two coronal slices.
    """
    total = sum(numbers)
    order = field.ravel().argsort(kind="stable")
    taken = total
    for _ in range(6):  # crumbs that are dropped are made up for on the surface
        inside = np.zeros(field.size, bool)
        inside[order[:taken]] = True
        piece = one_piece(inside.reshape(field.shape), int(order[0]))
        lacking = total - int(piece.sum())
        if lacking == 0:
            break
        taken = min(max(taken + lacking, 1), field.size)
    behind = np.concatenate([[0], piece.sum(axis=(0, 2)).cumsum()])  # voxels behind each slice
    border = int(np.abs(behind - numbers[1]).argmin())
    labels = piece.astype(np.uint8)
    labels[:, :border] *= 2
    return labels


class Space:
    """From latents to masks and coarse grey values, in double precision on the processor.

    A mask must be the same in a batch of any size: in single precision a voxel of the surface could
    change sides.

    Parameters
    ----------
    tensors
        ``shape.mean`` (18432,), ``shape.components`` (64, 18432), ``shape.scales`` (64,);
        ``parts.mean`` (2,), ``parts.slope`` (64, 2), ``parts.factor`` (2, 2) of the log volumes;
        ``stretch`` (3,), by how much masks are longer than the components make them;
        ``rough`` (2,), mm of noise on the surface, in the front and the back half;
        ``grey.mean`` (2304,), ``grey.slope`` (64, 2304), ``grey.components`` (132, 2304),
        ``grey.scales`` (132,); ``texture.slope`` (132, 2), ``texture.factor`` (2, 2);
        ``margins`` (T, 6), voxels between the mask and the end of the scan on six sides.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = {
            name: value.double()
            for name, value in tensors.items()
            if not name.startswith("painter")
        }

    def labels(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Labels (N, 48, 64, 48) of ``latents`` (N, 200), ``noise`` (N, 48, 64, 48) normal."""
        t = self.tensors
        scores, parts = latents.double().split(SPLITS, dim=1)[:2]
        fields = t["shape.mean"] + (scores * t["shape.scales"]) @ t["shape.components"]
        cells = [side // FINE for side in FRAME]
        fields = stretched(smooth(fields.view(-1, 1, *cells), FINE), t["stretch"])[:, 0]
        front, back = t["rough"].tolist()
        half = FRAME[1] // 2
        fields = fields + torch.cat([back * noise[:, :, :half], front * noise[:, :, half:]], dim=2)
        volumes = t["parts.mean"] + scores @ t["parts.slope"] + parts @ t["parts.factor"].T
        numbers = volumes.exp().round().long().clamp(min=1).tolist()
        pairs = zip(fields.numpy(), numbers, strict=True)
        labels = [cut(field, (front, back)) for field, (front, back) in pairs]
        return torch.from_numpy(np.stack(labels))

    def scores(self, labels: NDArray[np.uint8]) -> Tensor:
        """The shape's scores (64,) of labels in a frame (48, 64, 48), at most 3 in size."""
        t = self.tensors
        fields = torch.from_numpy(shape_field(labels)).flatten()
        return ((fields - t["shape.mean"]) @ t["shape.components"].T / t["shape.scales"]).clamp(
            -3, 3
        )

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


def stretched(fields: Tensor, factors: Tensor) -> Tensor:
    """Fields (N, 1, D, H, W) made longer on three axes, from their middle."""
    scales = torch.diag(1 / factors.flip(0))  # as grid_sample counts axes
    theta = F.pad(scales, (0, 1))[None]
    grid = F.affine_grid(theta, [1, 1, *fields.shape[2:]], align_corners=False)
    grid = grid.expand(len(fields), -1, -1, -1, -1)
    return F.grid_sample(fields, grid, padding_mode="border", align_corners=False)


def sharpened(x: Tensor, strengths: list[float]) -> Tensor:
    """``x`` (N, 1, D, H, W) with each of its finest bands times a number, fine to coarse."""
    bands = []
    for strength in strengths:
        bands.append(strength * detail(x))
        x = F.avg_pool3d(x, 2)
    for band in reversed(bands):
        x = smooth(x, 2) + band
    return x


def toned(grey: Tensor, curve: NDArray[Any]) -> Tensor:
    """``grey`` through a curve (2, K) of rising values, from the first row to the second.

    Beyond its ends the curve goes on with the slope 1.
    """
    x, (before, after) = grey.numpy(), curve
    y = np.interp(x, before, after)
    y += np.minimum(x - before[0], 0) + np.maximum(x - before[-1], 0)
    return torch.from_numpy(y.astype(np.float32))


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


# ------------------------------------------------------------------------------------ the package
def axial(frames: NDArray[Any]) -> NDArray[Any]:
    """Arrays (N, D, H, W) to the right, front and head as axial slices, and the reverse.

    The data set counts voxels to the patient's right, front and head. medzoo's volumes are slices
    from feet to head, with rows from front to back and columns from right to left.
    """
    return np.ascontiguousarray(frames.transpose(0, 3, 2, 1)[:, :, ::-1, ::-1])


def from_axial(volumes: NDArray[Any]) -> NDArray[Any]:
    """The inverse of ``axial``."""
    return np.ascontiguousarray(volumes[:, :, ::-1, ::-1].transpose(0, 3, 2, 1))


def centred(mask: NDArray[Any]) -> tuple[NDArray[np.uint8], list[int]]:
    """Labels in a frame, from a mask (64, 64, 64) of a user, and where the frame begins in it.

    Raises
    ------
    InputError
        Other labels, none, or a mask that does not fit into a frame or reaches the border.
    """
    values = np.unique(mask)
    if not np.isin(values, (0, 1, 2)).all():
        odd = ", ".join(f"{v:g}" for v in values[~np.isin(values, (0, 1, 2))][:3])
        raise InputError(
            f"The mask holds {odd}; only 0, 1 (anterior) and 2 (posterior) can be painted.",
            "Fractions come from a mask of another spacing than 1 mm: resample its labels to 1 mm "
            "first (nearest neighbour).",
        )
    places = np.argwhere(mask > 0)
    if not len(places):
        raise InputError(
            "The mask is empty.", "Mark the hippocampus with 1 (anterior) and 2 (posterior)."
        )
    begin = [
        round(float(p)) - side // 2 for p, side in zip(places.mean(axis=0), FRAME, strict=True)
    ]
    shifted = places - begin
    if (shifted < 0).any() or (shifted >= FRAME).any():
        raise InputError(
            f"The mask is {' x '.join(map(str, np.ptp(places, axis=0) + 1))} mm, larger than a "
            "hippocampus can be here.",
            f"It must fit into {FRAME[0]} x {FRAME[1]} x {FRAME[2]} mm around its middle "
            "(left-right, front-back, feet-head).",
        )
    if (places == 0).any() or (places == SIZE - 1).any():
        raise InputError(
            f"The mask reaches the border of {SIZE} x {SIZE} x {SIZE} mm: a part may be cut off.",
            f"Cut the scan so that the hippocampus is in its middle, {SIZE} mm or less on a side.",
        )
    labels = np.zeros(FRAME, np.uint8)
    labels[tuple(shifted.T)] = mask[tuple(places.T)]
    return labels, begin


def placed_at(frame: NDArray[Any], begin: list[int], zoom: int) -> NDArray[Any]:
    """A volume with ``frame`` at ``begin``, in voxels of 1 mm, and 0 elsewhere.

    ``zoom`` is how many voxels a millimetre has. What sticks out of the volume is cut off.
    """
    side = SIZE * zoom
    volume = np.zeros((side,) * 3, frame.dtype)
    pairs = [(b * zoom, n) for b, n in zip(begin, frame.shape, strict=True)]
    to = tuple(slice(max(b, 0), min(b + n, side)) for b, n in pairs)
    of = tuple(slice(max(-b, 0), min(n, side - b)) for b, n in pairs)
    volume[to] = frame[of]
    return volume


class HippocampusGenerator:
    """Shapes on the processor, the painter on a device.

    Parameters
    ----------
    tensors
        The content of ``weights.safetensors``: ``painter.*``, what ``Space`` needs, ``detail``
        (2,), how much stronger the two finest bands become, and ``tone`` (2, K), a curve.
    device
        Where the painter runs.
    """

    def __init__(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        self.device, self.space = device, Space(tensors)
        state = {
            name.removeprefix("painter."): value.float()
            for name, value in tensors.items()
            if name.startswith("painter.")
        }
        widths = (len(state["enter.0.weight"]), *(len(state[f"down{k}.0.weight"]) for k in (1, 2)))
        self.painter = Painter(widths)
        counters = {
            name: value
            for name, value in self.painter.state_dict().items()
            if name.endswith("num_batches_tracked")
        }
        self.painter.load_state_dict(state | counters)
        self.painter.requires_grad_(False).eval()
        fold(self.painter)
        self.painter.to(device)
        self.detail = tensors["detail"].tolist()
        self.tone = tensors["tone"].double().numpy()

    @torch.inference_mode()
    def paint(self, labels: Tensor, coarse: Tensor, texture: Tensor, noise: list[Tensor]) -> Tensor:
        """Scans (N, D, H, W), 0 to 1 mostly, one after the other so that memory stays small."""
        wide, masks = smooth(coarse, COARSE), two_parts(labels)
        painted = []
        for row in range(len(labels)):
            one = slice(row, row + 1)
            parts = (wide[one], masks[one], texture[one])
            planes = [plane[one].to(self.device) for plane in noise]
            painted.append(self.painter(*(p.to(self.device) for p in parts), planes).float().cpu())
        grey = (torch.cat(painted) + 1) / 2
        return toned(sharpened(grey, self.detail), self.tone)[:, 0]

    def sample(self, batch: Any) -> dict[str, NDArray[Any]]:
        """The native contract: ``volumes`` and ``masks`` (n, 1, 64, 64, 64), or twice that side,
        uint8, and ``fields`` (n, 6), the box in which a volume is known.
        """
        latents = torch.from_numpy(batch.latents)
        streams = [batch.rng(i) for i in range(batch.n)]
        half = tuple(side // 2 for side in FRAME)
        draws = [
            (s.uniforms((6,)), s.normals(FRAME), s.normals(FRAME), s.normals(half)) for s in streams
        ]
        uniforms, rough, *noise = (torch.from_numpy(np.stack(d)) for d in zip(*draws, strict=True))
        if "masks" in batch.inputs:
            given = from_axial(np.asarray(batch.inputs["masks"])[:, 0])
            frames, begins = zip(*(centred(mask) for mask in given), strict=True)
            scores = torch.stack([self.space.scores(frame) for frame in frames])
            labels = torch.from_numpy(np.stack(frames))
        else:
            labels, scores = self.space.labels(latents, rough), latents[:, :SHAPE]
            begins = (list(INSET),) * batch.n
        coarse, texture = self.space.grey(scores, latents)
        known = fields_of_view(labels, self.space.margins(uniforms))
        grey = self.paint(labels, coarse, texture, [plane[:, None] for plane in noise])
        grey, labels, known = sized(grey, labels, known, int(batch.options.get("zoom", 1)))
        levels = ((grey * WHITE).round().clamp(1, 255) * known).to(torch.uint8)
        return self.output(levels.numpy(), labels.numpy(), known.numpy(), begins)

    def output(
        self,
        levels: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        known: NDArray[np.bool_],
        begins: tuple[list[int], ...],
    ) -> dict[str, NDArray[Any]]:
        """Frames as columns: whole volumes in axial slices."""
        zoom = levels.shape[1] // FRAME[0]
        volumes, masks, fields = (
            axial(np.stack([placed_at(f, b, zoom) for f, b in zip(frames, begins, strict=True)]))
            for frames in (levels, labels, known)
        )
        boxes = [np.argwhere(field) for field in fields]
        table = np.array([[*box.min(axis=0), *(box.max(axis=0) + 1)] for box in boxes], np.float32)
        return {"volumes": volumes[:, None], "masks": masks[:, None], "fields": table}


def sized(grey: Tensor, labels: Tensor, known: Tensor, zoom: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frames (N, D, H, W) brought to ``zoom`` times their size.

    Grey values and the share of each label are interpolated linearly; a voxel gets the label that
    has the largest share.
    """
    if zoom == 1:
        return grey, labels, known
    shares = torch.stack([(labels == part).float() for part in range(3)], dim=1)
    labels = smooth(shares, zoom).argmax(dim=1).to(torch.uint8)
    for axis in (1, 2, 3):
        known = known.repeat_interleave(zoom, dim=axis)
    return smooth(grey[:, None], zoom)[:, 0], labels, known


def load(weights_dir: Path, device: str) -> HippocampusGenerator:
    """The native contract: the generator with the weights in ``weights_dir``."""
    tensors = load_file(Path(weights_dir) / "weights.safetensors")
    return HippocampusGenerator(tensors, torch.device(device))
