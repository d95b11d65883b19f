"""Contrast-enhanced T1 MRI of brain tumours: a variational autoencoder with a flow as its prior, a
painter, an eye.

A sample is made in four steps:

1. ``Prior``, a normalising flow of affine couplings (Dinh et al., arXiv:1605.08803), moves standard
normal numbers to
   where the encoder of the variational autoencoder puts real slices of that tumour and plane. A
   user sets 16 of them.
2. ``Decoder`` makes a 64x64 picture of them: head and ventricles, all of it soft, as so few numbers
are. 3. ``EyeEncoder``, half of an autoencoder of slices (the first stage of Rombach et al.,
arXiv:2112.10752), sees in it 8 numbers
   for each of 16x16 places, the maps. ``Painter``, a U-Net trained as a conditional GAN (Larsen et
   al., arXiv:1512.09300, put the two ideas together), changes them as noise decides: folds,
   vessels, the tumour, all that so few numbers leave open.
4. ``EyeDecoder``, the other half, makes 128x128 pixels of them.

Pictures are on a square-root scale in between, ``tones``, since most of a head is dark and its fat
is not. Shapes in comments: N samples, C channels, height and width in pixels.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

SIZE, LOW = 128, 64  # pixels of a slice, pixels of the decoder's picture
LATENT, CODE = 16, 64  # numbers that a user sets, and the autoencoder's; chance fills the rest
TUMOURS = ("meningioma", "glioma", "pituitary")
PLANES = ("axial", "coronal", "sagittal")
KINDS = len(TUMOURS) * len(PLANES)  # a kind is tumour * 3 + plane
MAPS, SIDE = 8, 16  # the eye's maps and their side
GRAINS, MOOD = (
    4,
    128,
)  # planes of noise of a value a place, and numbers of noise for the whole picture


# --------------------------------------------------------------------------------------------------
# tones of gray
def to_tones(gray: Tensor) -> Tensor:
    """Gray levels 0 to 255 on a square-root scale from -1 to 1."""
    return ((gray + 8).sqrt() - math.sqrt(8)) * (2 / (math.sqrt(263) - math.sqrt(8))) - 1


def to_gray(tones: Tensor) -> Tensor:
    """What ``to_tones`` came from, clamped."""
    root = (tones.clamp(-1, 1) + 1) * ((math.sqrt(263) - math.sqrt(8)) / 2) + math.sqrt(8)
    return (root.square() - 8).clamp(0, 255)


def enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def detail(x: Tensor) -> Tensor:
    """What halving and doubling the size of ``x`` loses: the finest band of its Laplacian pyramid."""
    return x - enlarge(F.avg_pool2d(x, 2))


# --------------------------------------------------------------------------------------------------------
# the prior
class Prior(nn.Module):
    """Couplings that move standard normal (N, 64) to latents of the autoencoder (N, 64) and,
    exactly, back.

    ``rotation`` is applied last: its columns are the directions in which the decoder's picture
    changes most, in order, so that the first number is the one that shows most.
    """

    def __init__(self, layers: int = 6, width: int = 64) -> None:
        super().__init__()
        self.nets = nn.ModuleList()
        for _ in range(layers):
            net = nn.Sequential(
                nn.Linear(CODE // 2 + KINDS, width),
                nn.SiLU(),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Linear(width, CODE),
            )
            nn.init.zeros_(net[-1].weight)
            nn.init.zeros_(net[-1].bias)
            self.nets.append(net)
        self.log_scale = nn.Parameter(torch.zeros(KINDS, CODE))
        self.shift = nn.Parameter(torch.zeros(KINDS, CODE))
        self.register_buffer("rotation", torch.eye(CODE))

    def coupling(self, net: nn.Module, kept: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = net(torch.cat([kept, F.one_hot(kind, KINDS).to(kept.dtype)], dim=1)).chunk(
            2, dim=1
        )
        return 0.7 * torch.tanh(scale), shift  # a scale is at most 2, either way

    def forward(self, u: Tensor, kind: Tensor) -> Tensor:
        """Latents of the autoencoder (N, 64) of ``u`` (N, 64) and ``kind`` (N,)."""
        for number, net in enumerate(self.nets):
            kept, moved = (u[:, number % 2 :: 2], u[:, 1 - number % 2 :: 2])
            scale, shift = self.coupling(net, kept, kind)
            u = weave(kept, moved * scale.exp() + shift, number % 2)
        return (u * self.log_scale[kind].exp() + self.shift[kind]) @ self.rotation.T

    def inverse(self, z: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        """The ``u`` of ``z`` and the log determinant (N,) of that map."""
        u = (z @ self.rotation - self.shift[kind]) * (-self.log_scale[kind]).exp()
        log_det = -self.log_scale[kind].sum(dim=1)
        for number, net in reversed(list(enumerate(self.nets))):
            kept, moved = (u[:, number % 2 :: 2], u[:, 1 - number % 2 :: 2])
            scale, shift = self.coupling(net, kept, kind)
            u = weave(kept, (moved - shift) * (-scale).exp(), number % 2)
            log_det = log_det - scale.sum(dim=1)
        return u, log_det


def weave(kept: Tensor, moved: Tensor, first: int) -> Tensor:
    """(N, 64) with ``kept`` at every other place from ``first`` on and ``moved`` at the others."""
    pair = (kept, moved) if first == 0 else (moved, kept)
    return torch.stack(pair, dim=2).flatten(1)


# ------------------------------------------------------------------------------------------------------
# the decoder
class Block(nn.Module):
    """Residual block scaled and shifted inside by the latent vector and the kind; no norm, so a
    picture keeps its strength.
    """

    def __init__(self, channels_in: int, channels: int, style: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(style, 2 * channels)
        self.skip = (
            nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        )
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.film(style)[:, :, None, None].chunk(2, dim=1)
        y = F.leaky_relu(self.conv1(x) * (1 + scale) + shift, 0.2)
        return F.leaky_relu(self.skip(x) + self.conv2(y), 0.2)


class Decoder(nn.Module):
    """Soft pictures (N, 1, 64, 64) of codes (N, 64) and kinds (N,).

    ``mean`` and ``components`` start as the principal components of real slices; convolutions learn
    what is not linear.
    """

    def __init__(self, widths: tuple[int, ...] = (64, 80, 64, 24), style: int = 128) -> None:
        super().__init__()
        self.mean, self.components = (
            nn.Embedding(KINDS, LOW * LOW),
            nn.Linear(CODE, LOW * LOW, bias=False),
        )
        self.style = nn.Sequential(
            nn.Linear(CODE + KINDS, style),
            nn.LeakyReLU(0.2),
            nn.Linear(style, style),
            nn.LeakyReLU(0.2),
        )
        self.first = nn.Linear(style, widths[0] * 64)
        self.blocks = nn.ModuleList(Block(a, b, style) for a, b in pairwise((widths[0], *widths)))
        self.drawn = nn.Conv2d(1, widths[2], 3, padding=1)
        self.final = Block(widths[-1], widths[-1], style)
        self.last = nn.Conv2d(widths[-1], 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, z: Tensor, kind: Tensor) -> Tensor:
        linear = (self.mean(kind) + self.components(z)).view(-1, 1, LOW, LOW)
        style = self.style(torch.cat([z, F.one_hot(kind, KINDS).to(z.dtype)], dim=1))
        x = self.blocks[0](self.first(style).view(z.shape[0], -1, 8, 8), style)
        x = self.blocks[1](F.interpolate(x, scale_factor=2.0), style)  # (N, C, 16, 16)
        x = self.blocks[2](F.interpolate(x, scale_factor=2.0), style)  # (N, C, 32, 32)
        x = leaky(x + self.drawn(F.avg_pool2d(linear, 2)))
        x = self.blocks[3](F.interpolate(x, scale_factor=2.0), style)  # (N, C, 64, 64)
        return linear + self.last(self.final(x, style))


# ------------------------------------------------------------------------------------------------------
# the painter
class Painter(nn.Module):
    """The eye's maps (N, 8, 16, 16) of a slice, given those of a soft picture, and a ninth: how
    near the tumour's box is.

    ``mean`` and ``components`` start as the mean and the principal components of what soft pictures
    lack, so that a beginner adds noise that is correlated as real slices are; convolutions learn
    what is not linear. Nothing is made of the ninth map in a sample; in training the critic sees
    it, and so can tell where a tumour is to be.
    """

    def __init__(self, widths: tuple[int, int] = (56, 112), style: int = 96) -> None:
        super().__init__()
        a, b = widths
        numbers = (MAPS + 1) * SIDE * SIDE
        self.mean, self.components = (
            nn.Embedding(KINDS, numbers),
            nn.Linear(len(PLANES) * MOOD, numbers, bias=False),
        )
        self.style = nn.Sequential(
            nn.Linear(MOOD + KINDS, style),
            nn.LeakyReLU(0.2),
            nn.Linear(style, style),
            nn.LeakyReLU(0.2),
        )
        self.first = nn.Conv2d(MAPS + 1 + GRAINS, a, 3, padding=1)
        self.left = Block(a, a, style)
        self.bottom = nn.ModuleList([Block(a, b, style), Block(b, b, style)])
        self.up = nn.Conv2d(b, a, 1)
        self.right = nn.ModuleList([Block(a, a, style), Block(a, a, style)])
        self.last = nn.Conv2d(a, MAPS + 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, soft: Tensor, kind: Tensor, mood: Tensor, grain: Tensor) -> Tensor:
        """``soft`` (N, 8, 16, 16); ``mood`` (N, 128) and ``grain`` (N, 4, 16, 16): noise of unit
        variance.
        """
        style = self.style(torch.cat([mood, F.one_hot(kind, KINDS).to(mood.dtype)], dim=1))
        placed = (F.one_hot(kind % len(PLANES), len(PLANES))[:, :, None] * mood[:, None]).flatten(
            1
        )  # (N, 3 * 128)
        rough = F.pad(soft, (0, 0, 0, 0, 0, 1)) + (self.mean(kind) + self.components(placed)).view(
            -1, MAPS + 1, SIDE, SIDE
        )
        x = self.first(torch.cat([rough, grain], dim=1))  # (N, a, 16, 16)
        x = self.left(x, style)
        y = F.avg_pool2d(x, 2)  # (N, a, 8, 8)
        for block in self.bottom:
            y = block(y, style)
        x = x + F.interpolate(self.up(y), scale_factor=2.0)
        for block in self.right:
            x = block(x, style)
        return rough + self.last(x)


# ----------------------------------------------------------------------------------------------------------
# the eye
class Residual(nn.Module):
    """``x`` and what two convolutions make of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(leaky(self.conv1(leaky(x))))


class EyeEncoder(nn.Module):
    """The eye's maps (N, 8, 16, 16), each of unit variance over the data set, of tones (N, 1, 128,
    128).
    """

    def __init__(self, widths: tuple[int, int] = (64, 96)) -> None:
        super().__init__()
        a, b = widths
        self.body = nn.Sequential(
            *(nn.PixelUnshuffle(4), nn.Conv2d(16, a, 3, padding=1), Residual(a)),  # (N, a, 32, 32)
            *(
                nn.Conv2d(a, b, 4, stride=2, padding=1),
                Residual(b),
                Residual(b),
                nn.LeakyReLU(0.2),
            ),  # (N, b, 16, 16)
        )
        self.last = nn.Conv2d(b, MAPS, 3, padding=1)
        self.unit = nn.BatchNorm2d(MAPS, affine=False, momentum=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.unit(self.last(self.body(x)).float())


class EyeDecoder(nn.Module):
    """Tones (N, 1, 128, 128) of the eye's maps (N, 8, 16, 16)."""

    def __init__(self, widths: tuple[int, int, int, int] = (128, 64, 32, 16)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.body = nn.Sequential(
            *(nn.Conv2d(MAPS, a, 3, padding=1), Residual(a), Residual(a)),  # (N, a, 16, 16)
            *(
                nn.Upsample(scale_factor=2.0),
                nn.Conv2d(a, b, 3, padding=1),
                Residual(b),
                Residual(b),
            ),  # (N, b, 32, 32)
            *(
                nn.Conv2d(b, 4 * c, 3, padding=1),
                nn.PixelShuffle(2),
                Residual(c),
                nn.LeakyReLU(0.2),
            ),  # (N, c, 64, 64)
            *(
                nn.Conv2d(c, 4 * d, 3, padding=1),
                nn.PixelShuffle(2),
                nn.LeakyReLU(0.2),
            ),  # (N, d, 128, 128)
            *(nn.Conv2d(d, d, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(d, 1, 3, padding=1)),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return self.body(maps)


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


# ---------------------------------------------------------------------------------------------------------
# the package
class BrainGenerator:
    """The networks on one device.

    Parameters
    ----------
    tensors
        The content of ``weights.safetensors``: ``prior.*``, ``soft.*`` (the decoder),
        ``painter.*``, the eye's ``encoder.*`` and ``decoder.*``, and ``share`` (9,), how often each
        kind is among the real slices.
    device
        Where to run.
    """

    def __init__(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        tensors = {k: v.float() for k, v in tensors.items()}
        tensors["painter.components.weight"] *= tensors.pop(
            "painter.components.unit"
        )  # kept as whole numbers of it
        self.device = device
        share = tensors["share"].view(len(TUMOURS), len(PLANES)).double()
        self.up_to = (
            (share / share.sum(dim=1, keepdim=True)).cumsum(dim=1).numpy()
        )  # (3, 3) share of planes up to this one
        self.prior, self.soft, self.painter, self.eye = (
            Prior(),
            Decoder(),
            Painter(),
            (EyeEncoder(), EyeDecoder()),
        )
        parts = {
            "prior": self.prior,
            "soft": self.soft,
            "painter": self.painter,
            "encoder": self.eye[0],
            "decoder": self.eye[1],
        }
        for name, net in parts.items():
            state = {
                k.removeprefix(f"{name}."): v
                for k, v in tensors.items()
                if k.startswith(f"{name}.")
            }
            counters = {
                k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")
            }
            net.load_state_dict(state | counters)
            net.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def paint(self, u: Tensor, kind: Tensor, mood: Tensor, grain: Tensor) -> Tensor:
        """Slices (N, 1, 128, 128), uint8, of ``u`` (N, 64), kinds (N,) and the painter's noise."""
        soft = enlarge(self.soft(self.prior(u, kind), kind))  # (N, 1, 128, 128)
        maps = self.painter(self.eye[0](soft), kind, mood, grain)[:, :MAPS]
        return to_gray(self.eye[1](maps)).round().to(torch.uint8)

    def planes(self, tumour: np.ndarray, chance: np.ndarray, asked: str) -> np.ndarray:
        """The plane of each sample (N,): the one asked for, or by ``chance`` (N,) as often as real
        slices have it.
        """
        if asked != "any":
            return np.full(len(tumour), PLANES.index(asked))
        return (chance[:, None] > self.up_to[tumour, :-1]).sum(axis=1)

    def sample(self, batch: Any) -> dict[str, np.ndarray]:
        """The native contract: ``images`` (n, 1, 128, 128), uint8."""
        streams = [batch.rng(i) for i in range(batch.n)]
        chance = np.stack([stream.uniforms(1)[0] for stream in streams])  # (n,)
        rest, mood = np.split(
            np.stack([stream.normals(CODE - LATENT + MOOD) for stream in streams]),
            [CODE - LATENT],
            axis=1,
        )
        drawn = np.stack([stream.bytes(GRAINS * SIDE * SIDE) for stream in streams])  # (n, 1024)
        # Bytes as uniform noise of unit variance: a hundredth of the time that normals take, and as
        # good to a painter.
        grain = (torch.from_numpy(drawn).to(self.device).float() - 127.5) * (math.sqrt(3) / 127.5)
        u = (
            torch.from_numpy(np.concatenate([batch.latents, rest], axis=1)).to(self.device)
            * batch.options["temperature"]
        )
        tumour = batch.conditions["condition"]
        plane = self.planes(tumour, chance, batch.options["plane"])
        kind = torch.from_numpy(tumour * len(PLANES) + plane).to(self.device)
        mood = torch.from_numpy(mood.copy()).to(self.device)
        return {
            "images": self.paint(u, kind, mood, grain.view(-1, GRAINS, SIDE, SIDE)).cpu().numpy()
        }


def load(weights_dir: Path, device: str) -> BrainGenerator:
    """The native contract: the generator with the weights in ``weights_dir``."""
    return BrainGenerator(
        load_file(Path(weights_dir) / "weights.safetensors"), torch.device(device)
    )
