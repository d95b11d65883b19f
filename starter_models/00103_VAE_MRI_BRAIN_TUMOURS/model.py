"""Contrast-enhanced T1 MRI of brain tumours, with the tumour where a box says, by a variational
autoencoder.

A sample is made in four steps:

1. ``BoxModel`` draws the tumour's box, unless the user gives one: a real box of the same tumour and
   plane, moved and scaled a little.
2. ``Prior`` draws a code (4, 32, 32): a normal distribution for each kind, fitted to the codes that an
   encoder finds in real slices. A user sets the numbers along its first 16 directions.
3. ``Generator``, the decoder of the variational autoencoder, is a U-Net that is told the tumour, the
   plane and the box. It takes the code to the latents of a slice. It began as the generator of model
   101.
4. ``Decoder``, the second half of model 102's autoencoder, makes 128x128 pixels of them; planes of
   noise decide the film grain.

Pictures are on a square-root scale in between, ``tones``, since most of a head is dark and its fat
is not. Boxes are centre x, centre y, width and height, as fractions of the picture. Shapes in
comments: N samples, C channels, height and width in pixels.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from medzoo.errors import InputError

SIZE = 128  # pixels of a slice
CHANNELS, SIDE = 4, 32  # of the autoencoder's latents, which have unit variance
NUMBERS = CHANNELS * SIDE * SIDE  # 4,096 of them
LATENT = 16  # numbers that a user sets; chance fills the rest
DIRECTIONS = 64  # of codes, in which those of real slices differ most
TUMOURS = ("meningioma", "glioma", "pituitary")
PLANES = ("axial", "coronal", "sagittal")
KINDS = len(TUMOURS) * len(PLANES)  # a kind is tumour * 3 + plane
JITTER = 0.15  # of the spread of the boxes of a kind: how far a drawn box is from a real one


# -------------------------------------------------------------------------------------------------
# tones of gray
def to_tones(gray: Tensor) -> Tensor:
    """Gray levels 0 to 255 on a square-root scale from -1 to 1."""
    return ((gray + 8).sqrt() - math.sqrt(8)) * (2 / (math.sqrt(263) - math.sqrt(8))) - 1


def to_gray(tones: Tensor) -> Tensor:
    """What ``to_tones`` came from, clamped."""
    root = (tones.clamp(-1, 1) + 1) * ((math.sqrt(263) - math.sqrt(8)) / 2) + math.sqrt(8)
    return (root.square() - 8).clamp(0, 255)


# -------------------------------------------------------------------------------------------------
# the prior
class Prior(nn.Module):
    """Codes (N, 4, 32, 32) of kinds (N,), standard normal numbers along the leading directions (N, 64),
    and standard normal noise (N, 4096): standard normal themselves until a prior is fitted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(KINDS, NUMBERS))
        self.register_buffer("directions", torch.zeros(DIRECTIONS, NUMBERS))
        self.register_buffer("spread", torch.ones(1, NUMBERS))

    def forward(self, kind: Tensor, along: Tensor, noise: Tensor) -> Tensor:
        codes = self.mean[kind] + along @ self.directions + self.spread * noise
        return codes.view(-1, CHANNELS, SIDE, SIDE)


# -------------------------------------------------------------------------------------------------
# the decoder of the variational autoencoder
class Norm(nn.Module):
    """Zero mean and unit variance over the channels, at each place: several times faster on a CPU
    than groups are.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.ones(channels)),
            nn.Parameter(torch.zeros(channels)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(
            x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias
        ).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Residual block; the kind scales and shifts its middle."""

    def __init__(self, channels_in: int, channels: int, told: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = Norm(channels_in), nn.Conv2d(channels_in, channels, 3, padding=1)
        self.norm2, self.conv2 = Norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(told, 2 * channels)
        self.skip = (
            nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        )

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.film(told)[:, :, None, None].chunk(2, dim=1)
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y) * (1 + scale) + shift))
        return self.skip(x) + y


class Attention(nn.Module):
    """Self-attention among all places."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.norm = heads, Norm(channels)
        self.project, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)  # (N, H * W, C)
        parts = self.project(tokens).unflatten(
            2, (3, self.heads, -1)
        )  # (N, H * W, 3, heads, C / heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (N, heads, H * W, C / heads)
        share = (query @ key.mT / math.sqrt(query.shape[3])).softmax(
            dim=3
        )  # (N, heads, H * W, H * W)
        y = self.out((share @ value).transpose(1, 2).flatten(2))  # (N, H * W, C)
        return x + y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class Generator(nn.Module):
    """Latents (N, 4, 32, 32) of codes (N, 4, 32, 32), told kinds (N,) and a map of the box (N, 2, 32,
    32): how much of a place lies in it, and 1 everywhere.
    """

    def __init__(self, widths: tuple[int, int, int] = (64, 128, 192), told: int = 192) -> None:
        super().__init__()
        a, b, c = widths
        self.kind = nn.Embedding(KINDS, told)
        self.first = nn.Conv2d(CHANNELS + 2, a, 3, padding=1)
        self.place = nn.Parameter(torch.zeros(a, SIDE, SIDE))
        self.left1 = Block(a, a, told)
        self.down1 = nn.Conv2d(a, b, 3, stride=2, padding=1)
        self.left2 = nn.ModuleList(Block(b, b, told) for _ in range(2))
        self.down2 = nn.Conv2d(b, c, 3, stride=2, padding=1)
        self.deep = nn.ModuleList(Block(c, c, told) for _ in range(3))
        self.attention = nn.ModuleList(Attention(c) for _ in range(3))
        self.up2 = nn.Conv2d(c, b, 1)
        self.right2 = nn.ModuleList(Block(channels, b, told) for channels in (2 * b, b))
        self.up1 = nn.Conv2d(b, a, 1)
        self.right1 = nn.ModuleList(Block(channels, a, told) for channels in (2 * a, a))
        self.norm, self.last = Norm(a), nn.Conv2d(a, CHANNELS, 3, padding=1)

    def forward(self, code: Tensor, kind: Tensor, box: Tensor) -> Tensor:
        told = F.silu(self.kind(kind))  # (N, told)
        return self.right(*self.left(torch.cat([code, box], dim=1), told), told)

    def left(self, x: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the way down makes of it at full size, half and a quarter of it."""
        x = self.left1(self.first(x) + self.place, told)  # (N, a, 32, 32)
        y = self.down1(x)
        for block in self.left2:
            y = block(y, told)  # (N, b, 16, 16)
        z = self.down2(y)
        for block, attention in zip(self.deep, self.attention, strict=True):
            z = attention(block(z, told))  # (N, c, 8, 8)
        return x, y, z

    def right(self, x: Tensor, y: Tensor, z: Tensor, told: Tensor) -> Tensor:
        """The way up."""
        y = torch.cat([F.interpolate(self.up2(z), scale_factor=2.0), y], dim=1)
        for block in self.right2:
            y = block(y, told)
        x = torch.cat([F.interpolate(self.up1(y), scale_factor=2.0), x], dim=1)
        for block in self.right1:
            x = block(x, told)
        return self.last(F.silu(self.norm(x)))


def box_maps(boxes: Tensor, side: int = SIDE) -> Tensor:
    """Maps (N, 2, side, side) of boxes (N, 4), centre x, centre y, width and height as fractions."""
    edges = torch.arange(side + 1) / side

    def covered(centre: Tensor, size: Tensor) -> Tensor:  # (N, side): share of a place inside
        low, high = (centre - size / 2)[:, None], (centre + size / 2)[:, None]
        here = torch.minimum(high, edges[1:]) - torch.maximum(low, edges[:-1])
        return (here * side).clamp(0, 1)

    inside = (
        covered(boxes[:, 1], boxes[:, 3])[:, :, None] * covered(boxes[:, 0], boxes[:, 2])[:, None]
    )
    return torch.stack([inside, torch.ones_like(inside)], dim=1)


# -------------------------------------------------------------------------------------------------
# the decoder of pictures
class Smooth(nn.Module):
    """Residual block without norm, so a picture keeps its strength."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x, 0.2)), 0.2))


class Decoder(nn.Module):
    """Tones (N, 1, 4H, 4W) of latents (N, 4, H, W); planes of noise decide the film grain."""

    def __init__(self, widths: tuple[int, int, int] = (64, 40, 20)) -> None:
        super().__init__()
        a, b, c = widths
        self.low = nn.Sequential(
            nn.Conv2d(CHANNELS, a, 3, padding=1), *(Smooth(a) for _ in range(4))
        )
        self.up1 = nn.Sequential(nn.Conv2d(a, 4 * b, 3, padding=1), nn.PixelShuffle(2))
        self.grain1 = nn.Conv2d(1, b, 3, padding=1, bias=False)
        self.middle = nn.Sequential(Smooth(b), Smooth(b), nn.LeakyReLU(0.2))
        self.up2 = nn.Sequential(nn.Conv2d(b, 4 * c, 3, padding=1), nn.PixelShuffle(2))
        self.grain2 = nn.Conv2d(1, c, 3, padding=1, bias=False)
        self.high = nn.Sequential(
            nn.LeakyReLU(0.2), nn.Conv2d(c, c, 3, padding=1), nn.LeakyReLU(0.2)
        )
        self.last = nn.Conv2d(c, 1, 3, padding=1)
        for grain in (self.grain1, self.grain2):
            nn.init.normal_(grain.weight, std=0.02)

    def forward(self, z: Tensor, noise: tuple[Tensor, Tensor]) -> Tensor:
        """``noise``: (N, 1, 2H, 2W) and (N, 1, 4H, 4W), of unit variance."""
        x = self.up1(self.low(z)) + self.grain1(noise[0])  # (N, b, 2H, 2W)
        x = self.up2(self.middle(x)) + self.grain2(noise[1])  # (N, c, 4H, 4W)
        return self.last(self.high(x))


# -------------------------------------------------------------------------------------------------
# the boxes
class BoxModel:
    """Boxes of tumours by kind: those of real slices, moved and scaled a little.

    Parameters
    ----------
    boxes
        Of the training slices (M, 4).
    kinds
        Of the same slices (M,).
    """

    def __init__(self, boxes: np.ndarray, kinds: np.ndarray) -> None:
        self.of_kind = [boxes[kinds == kind].astype(np.float64) for kind in range(KINDS)]
        # Where boxes of a plane lie, whatever the tumour: left, top, right, bottom.
        self.room = np.zeros((len(PLANES), 4))
        for plane in range(len(PLANES)):
            if not (kinds % len(PLANES) == plane).any():
                continue  # nothing fits into a room without a size
            corners = as_corners(boxes[kinds % len(PLANES) == plane].astype(np.float64))
            low, high = np.quantile(corners, 0.005, axis=0), np.quantile(corners, 0.995, axis=0)
            self.room[plane] = [*(low[:2] - 0.03), *(high[2:] + 0.03)]

    def fits(self, box: np.ndarray) -> np.ndarray:
        """Whether a box (4,) lies where tumours of each plane do, (3,) of bool."""
        corners = as_corners(box[None])[0]
        inside_low = (corners[:2] >= self.room[:, :2]).all(axis=1)
        return inside_low & (corners[2:] <= self.room[:, 2:]).all(axis=1)

    def draw(self, kind: int, chance: float, moved: np.ndarray) -> np.ndarray:
        """A box (4,) of a kind: ``chance`` in [0, 1) picks a real one, normal numbers ``moved`` (4,)
        move its centre and scale its sides.
        """
        boxes = self.of_kind[kind]
        real = boxes[int(chance * len(boxes))]
        place = real[:2] + JITTER * boxes[:, :2].std(axis=0) * moved[:2]
        size = real[2:] * np.exp(JITTER * np.log(boxes[:, 2:]).std(axis=0) * moved[2:])
        size = size.clip(1.5 / SIZE, 0.9)
        return np.concatenate([place.clip(size / 2, 1 - size / 2), size])


def as_corners(boxes: np.ndarray) -> np.ndarray:
    """Left, top, right and bottom of boxes (N, 4)."""
    return np.concatenate(
        [boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1
    )


# -------------------------------------------------------------------------------------------------
# the package
def in_full(name: str, tensors: dict[str, Tensor]) -> Tensor:
    """A tensor in single precision: bytes are whole numbers of their unit, one unit per row."""
    unit = tensors.get(f"unit.{name}")
    return tensors[name].float() if unit is None else tensors[name].float() * unit.float()


class BrainGenerator:
    """Box model, generator and decoder on one device.

    Parameters
    ----------
    tensors
        The content of ``weights.safetensors``: ``prior.*``, ``generator.*``, ``decoder.*``, of which
        large ones may be bytes and then have their ``unit.*`` beside them, ``share`` (9,), how often
        each kind is among real slices, and their ``boxes`` (M, 4) and ``box_kinds`` (M,).
    device
        Where to run.
    """

    def __init__(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        self.boxes = BoxModel(tensors["boxes"].float().numpy(), tensors["box_kinds"].numpy())
        tensors = {k: in_full(k, tensors) for k in tensors}
        self.device = device
        # How often a slice of a tumour (row) has each plane (column).
        self.share = tensors["share"].view(len(TUMOURS), len(PLANES)).double().numpy()
        self.prior, self.generator, self.decoder = Prior(), Generator(), Decoder()
        nets = {"prior": self.prior, "generator": self.generator, "decoder": self.decoder}
        for name, net in nets.items():
            prefix = f"{name}."
            net.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )
            net.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)

    def planes(
        self, tumour: np.ndarray, chance: np.ndarray, asked: str, box: np.ndarray | None
    ) -> np.ndarray:
        """The plane of each sample (N,): the one asked for, or by ``chance`` (N,) as often as real
        slices have it, among those that the user's box fits.
        """
        fits = np.ones(len(PLANES), dtype=bool) if box is None else self.boxes.fits(box)
        if asked != "any":
            fits &= np.array([plane == asked for plane in PLANES])
        if not fits.any():
            rooms = zip(PLANES, self.boxes.room, strict=True)
            raise InputError(
                f"box={np.round(box, 3).tolist()} lies where no tumour lies in "
                f"{'slices of any plane' if asked == 'any' else f'{asked} slices'}.",
                "It is centre x, centre y, width and height as fractions of the picture, inside "
                + "; ".join(f"{plane}: {room.round(2).tolist()}" for plane, room in rooms)
                + " (left, top, right, bottom).",
            )
        share = self.share[tumour] * fits + 1e-12 * fits  # (N, 3)
        up_to = np.cumsum(share, axis=1) / share.sum(axis=1, keepdims=True)
        return (chance[:, None] >= up_to[:, :-1]).sum(axis=1)

    @torch.inference_mode()
    def sample(self, batch: Any) -> dict[str, np.ndarray]:
        """The native contract: ``images`` (n, 1, 128, 128), uint8; ``boxes`` (n, 4), float32."""
        given = batch.options["box"]
        box = None if given is None else np.asarray(given, dtype=np.float64)
        if box is not None and box.shape != (4,):
            raise InputError(
                f"box={given} is not four numbers.", "Give centre x, centre y, width and height."
            )
        streams = [batch.rng(i) for i in range(batch.n)]
        chance = np.stack([stream.uniforms(2) for stream in streams])  # (n, 2)
        moves = np.stack([stream.normals(4) for stream in streams])
        along = np.stack([stream.normals(DIRECTIONS - LATENT) for stream in streams])
        noise = np.stack([stream.normals(NUMBERS) for stream in streams])
        grain = [self.grain(streams, k * SIDE) for k in (2, 4)]
        tumour = batch.conditions["condition"]
        plane = self.planes(tumour, chance[:, 0], batch.options["plane"], box)
        kind = tumour * len(PLANES) + plane
        boxes = np.empty((batch.n, 4))
        for i in range(batch.n):
            boxes[i] = self.boxes.draw(kind[i], chance[i, 1], moves[i]) if box is None else box
        along = np.concatenate([batch.latents, along], axis=1)
        told = torch.from_numpy(kind).to(self.device)
        code = self.prior(told, *(torch.from_numpy(x).to(self.device) for x in (along, noise)))
        code = code.contiguous(memory_format=torch.channels_last)
        maps = box_maps(torch.from_numpy(boxes).float()).to(self.device)
        latents = self.generator(code, told, maps)
        tones = self.decoder(latents, (grain[0], grain[1]))
        images = to_gray(tones).round().to(torch.uint8).cpu().numpy()
        return {"images": images, "boxes": boxes.astype(np.float32)}

    def grain(self, streams: list[Any], side: int) -> Tensor:
        """A plane of noise for each sample (N, 1, side, side): uniform, of unit variance."""
        planes = np.stack([stream.uniforms(side * side) for stream in streams])
        spread = (2 * planes - 1) * math.sqrt(3)
        return torch.from_numpy(spread.astype(np.float32)).view(-1, 1, side, side).to(self.device)


def load(weights_dir: Path, device: str) -> BrainGenerator:
    """The native contract: the generator with the weights in ``weights_dir``."""
    return BrainGenerator(
        load_file(Path(weights_dir) / "weights.safetensors"), torch.device(device)
    )
