"""Contrast-enhanced T1 MRI of brain tumours: a conditional GAN whose 64 latent numbers are smooth.

``Mapping`` moves the latent vector by affine couplings, which cannot fold it; ``Decoder`` draws a soft 64x64 picture of it;
``Painter``, a U-Net, paints 128x128 pixels over that, fine noise deciding the grain. All three were trained together
against one critic (hinge loss, spectral norm, projection of the kind, differentiable augmentation).

Pictures are on a square-root scale in between, ``tones``, since most of a head is dark and its fat is not.
Shapes in comments: N samples, C channels, height and width in pixels.
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
CODE = LATENT = 64  # numbers of the latent vector
TUMOURS = ("meningioma", "glioma", "pituitary")
PLANES = ("axial", "coronal", "sagittal")
KINDS = len(TUMOURS) * len(PLANES)  # a kind is tumour * 3 + plane
SIDES = (16, 32, 64, 128)  # pixels of the planes of noise
NOISE = tuple(side * side for side in SIDES)


# -------------------------------------------------------------------------------------------------- tones of gray
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


# -------------------------------------------------------------------------------------------------------- the mapping
class Mapping(nn.Module):
    """Couplings that move standard normal (N, 64) to codes (N, 64) and, exactly, back.

    ``rotation`` is applied last: its columns are the directions in which the decoder's picture changes most, in order,
    so that the first number is the one that shows most.
    """

    def __init__(self, layers: int = 6, width: int = 64) -> None:
        super().__init__()
        self.nets = nn.ModuleList()
        for _ in range(layers):
            net = nn.Sequential(
                nn.Linear(CODE // 2 + KINDS, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, CODE)
            )
            nn.init.zeros_(net[-1].weight)
            nn.init.zeros_(net[-1].bias)
            self.nets.append(net)
        self.log_scale = nn.Parameter(torch.zeros(KINDS, CODE))
        self.shift = nn.Parameter(torch.zeros(KINDS, CODE))
        self.register_buffer("rotation", torch.eye(CODE))

    def coupling(self, net: nn.Module, kept: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = net(torch.cat([kept, F.one_hot(kind, KINDS).to(kept.dtype)], dim=1)).chunk(2, dim=1)
        return 0.7 * torch.tanh(scale), shift  # a scale is at most 2, either way

    def forward(self, u: Tensor, kind: Tensor) -> Tensor:
        """Codes (N, 64) of ``u`` (N, 64) and ``kind`` (N,)."""
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


# ------------------------------------------------------------------------------------------------------ the decoder
class DecoderBlock(nn.Module):
    """Residual block scaled and shifted inside by the latent vector and the kind; no norm, so a picture keeps its strength."""

    def __init__(self, channels_in: int, channels: int, style: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(style, 2 * channels)
        self.skip = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.film(style)[:, :, None, None].chunk(2, dim=1)
        y = F.leaky_relu(self.conv1(x) * (1 + scale) + shift, 0.2)
        return F.leaky_relu(self.skip(x) + self.conv2(y), 0.2)


class Decoder(nn.Module):
    """Soft pictures (N, 1, 64, 64) of codes (N, 64) and kinds (N,).

    ``mean`` and ``components`` start as the principal components of real slices; convolutions learn what is not linear.
    """

    def __init__(self, widths: tuple[int, ...] = (64, 80, 64, 24), style: int = 128) -> None:
        super().__init__()
        self.mean, self.components = nn.Embedding(KINDS, LOW * LOW), nn.Linear(CODE, LOW * LOW, bias=False)
        self.style = nn.Sequential(
            nn.Linear(CODE + KINDS, style), nn.LeakyReLU(0.2), nn.Linear(style, style), nn.LeakyReLU(0.2)
        )
        self.first = nn.Linear(style, widths[0] * 64)
        self.blocks = nn.ModuleList(DecoderBlock(a, b, style) for a, b in pairwise((widths[0], *widths)))
        self.drawn = nn.Conv2d(1, widths[2], 3, padding=1)
        self.final = DecoderBlock(widths[-1], widths[-1], style)
        self.last = nn.Conv2d(widths[-1], 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, z: Tensor, kind: Tensor) -> Tensor:
        linear = (self.mean(kind) + self.components(z)).view(-1, 1, LOW, LOW)
        style = self.style(torch.cat([z, F.one_hot(kind, KINDS).to(z.dtype)], dim=1))
        x = self.blocks[0](self.first(style).view(len(z), -1, 8, 8), style)
        x = self.blocks[1](F.interpolate(x, scale_factor=2.0), style)  # (N, C, 16, 16)
        x = self.blocks[2](F.interpolate(x, scale_factor=2.0), style)  # (N, C, 32, 32)
        x = leaky(x + self.drawn(F.avg_pool2d(linear, 2)))
        x = self.blocks[3](F.interpolate(x, scale_factor=2.0), style)  # (N, C, 64, 64)
        return linear + self.last(self.final(x, style))


# ------------------------------------------------------------------------------------------------------ the painter
def conv(channels_in: int, channels: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution and batch norm, which ``fold_batch_norm`` later makes one convolution."""
    return nn.Sequential(nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(channels))


class PainterBlock(nn.Module):
    """Residual block of two convolutions with batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(channels, channels), conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(leaky(self.conv1(x)))


class Painter(nn.Module):
    """Paints (N, 1, 128, 128) over soft pictures (N, 1, 64, 64); noise decides what those leave open."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.kind = nn.Embedding(KINDS, d)
        self.strength = nn.ParameterList(0.1 * torch.randn(n, 1, 1) for n in (d, c, b, a))  # of noise, a channel
        self.first = conv(2 + 2, b)
        self.down1, self.left1 = conv(b, c, 2), PainterBlock(c)
        self.down2 = conv(c, d, 2)
        self.bottom = nn.Sequential(*[PainterBlock(d) for _ in range(3)])
        self.up1, self.right1 = nn.Conv2d(d, c, 1), nn.Sequential(PainterBlock(c), PainterBlock(c))
        self.up2, self.right2 = nn.Conv2d(c, b, 1), nn.Sequential(PainterBlock(b), PainterBlock(b))
        self.up3, self.high = conv(b, 4 * a), conv(a, a)
        self.last = nn.Conv2d(a, 1, 3, padding=1)
        line = torch.linspace(-1, 1, LOW)
        self.register_buffer("grid", torch.stack(torch.meshgrid(line, line, indexing="ij"))[None], persistent=False)

    def forward(self, soft: Tensor, kind: Tensor, noise: list[Tensor]) -> Tensor:
        """``noise``: planes (N, 1, side, side) of 16, 32, 64 and 128 pixels, of unit variance."""
        speckle = [plane * strength for plane, strength in zip(noise, self.strength, strict=True)]
        x = torch.cat([soft, 8 * detail(soft), self.grid.expand(len(soft), -1, -1, -1)], dim=1)
        h1 = leaky(self.first(x))  # (N, b, 64, 64)
        h2 = self.left1(leaky(self.down1(h1)))  # (N, c, 32, 32)
        h3 = leaky(self.down2(h2)) + self.kind(kind)[:, :, None, None]  # (N, d, 16, 16)
        y = self.up1(self.bottom(h3 + speckle[0]))
        y = self.up2(self.right1(F.interpolate(y, scale_factor=2.0) + h2 + speckle[1]))  # (N, c, 32, 32) before up2
        y = self.right2(F.interpolate(y, scale_factor=2.0) + h1 + speckle[2])  # (N, b, 64, 64)
        y = leaky(F.pixel_shuffle(self.up3(y), 2) + speckle[3])  # (N, a, 128, 128)
        return enlarge(soft) + 0.1 * self.last(leaky(self.high(y)))


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


# --------------------------------------------------------------------------------------------------------- the package
class BrainGenerator:
    """The three networks on one device.

    Parameters
    ----------
    tensors
        The content of ``weights.safetensors``: ``mapping.*``, ``decoder.*``, ``painter.*`` and ``share`` (9,), how often
        each kind is among the real slices.
    device
        Where to run.
    fast
        Fold batch norm into the convolutions and lay tensors out channels-last, equal to 1e-5.
    """

    def __init__(self, tensors: dict[str, Tensor], device: torch.device, *, fast: bool = True) -> None:
        tensors = {k: v.float() for k, v in tensors.items()}
        self.device = device
        share = tensors["share"].view(len(TUMOURS), len(PLANES)).double()
        self.up_to = (share / share.sum(dim=1, keepdim=True)).cumsum(dim=1).numpy()  # (3, 3) share of planes up to this one
        self.mapping, self.decoder, self.painter = Mapping(), Decoder(), Painter()
        for name, net in (("mapping", self.mapping), ("decoder", self.decoder), ("painter", self.painter)):
            state = {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
            counters = {k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")}
            net.load_state_dict(state | counters)
            net.requires_grad_(False).eval().to(device)
        if fast:
            fold_batch_norm(self.painter)
            self.decoder.to(memory_format=torch.channels_last)
            self.painter.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def paint(self, u: Tensor, kind: Tensor, noise: list[Tensor]) -> Tensor:
        """Slices (N, 1, 128, 128), uint8, of ``u`` (N, 64) and kinds (N,)."""
        soft = self.decoder(self.mapping(u, kind), kind)
        return to_gray(self.painter(soft, kind, noise)).round().to(torch.uint8)

    def planes(self, tumour: np.ndarray, chance: np.ndarray, asked: str) -> np.ndarray:
        """The plane of each sample (N,): the one asked for, or by ``chance`` (N,) as often as real slices have it."""
        if asked != "any":
            return np.full(len(tumour), PLANES.index(asked))
        return (chance[:, None] > self.up_to[tumour, :-1]).sum(axis=1)

    def sample(self, batch: Any) -> dict[str, np.ndarray]:
        """The native contract: ``images`` (n, 1, 128, 128), uint8."""
        streams = [batch.rng(i) for i in range(batch.n)]
        chance = np.stack([stream.uniforms(1)[0] for stream in streams])  # (n,)
        drawn = np.stack([stream.bytes(sum(NOISE)) for stream in streams])  # (n, 21760)
        # Bytes as uniform noise of unit variance: a hundredth of the time that normals take, and as good to a painter.
        uniform = (torch.from_numpy(drawn).to(self.device).float() - 127.5) * (math.sqrt(3) / 127.5)
        planes = zip(uniform.split(NOISE, dim=1), SIDES, strict=True)
        noise = [plane.view(-1, side, side, 1).permute(0, 3, 1, 2) for plane, side in planes]  # (n, 1, side, side)
        u = torch.from_numpy(batch.latents).to(self.device) * batch.options["temperature"]
        tumour = batch.conditions["condition"]
        plane = self.planes(tumour, chance, batch.options["plane"])
        kind = torch.from_numpy(tumour * len(PLANES) + plane).to(self.device)
        return {"images": self.paint(u, kind, noise).cpu().numpy()}


def fold_batch_norm(net: nn.Module) -> None:
    """Make every convolution that a batch norm follows one convolution."""
    for module in list(net.modules()):
        if isinstance(module, nn.Sequential) and len(module) == 2 and isinstance(module[1], nn.BatchNorm2d):
            module[0] = torch.nn.utils.fuse_conv_bn_eval(module[0], module[1])
            module[1] = nn.Identity()


def load(weights_dir: Path, device: str, *, fast: bool = True) -> BrainGenerator:
    """The native contract: the generator with the weights in ``weights_dir``."""
    return BrainGenerator(load_file(Path(weights_dir) / "weights.safetensors"), torch.device(device), fast=fast)
