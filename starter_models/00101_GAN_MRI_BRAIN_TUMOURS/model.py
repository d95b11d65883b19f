"""Contrast-enhanced T1 MRI of brain tumours: a conditional GAN whose 64 latent numbers are smooth.

``Generator`` was trained against a critic to draw maps, 8 numbers for each of 16x16 places, that
``EyeDecoder`` makes 128x128 pixels of: the second half of an autoencoder of slices (the first stage
of Rombach et al., arXiv:2112.10752), which is model 103's as well. The latent vector decides by
scale and shift of channels (Perez et al., arXiv:1709.07871), the noise decides grain alone.

Pictures are on a square-root scale in between, ``tones``, since most of a head is dark and its fat
is not. Shapes in comments: N samples, C channels, height and width in pixels.
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

SIZE = 128  # pixels of a slice
LATENT, CODE = (
    64,
    192,
)  # numbers of the latent vector, which a user sets, and of the code; chance fills the rest
TUMOURS = ("meningioma", "glioma", "pituitary")
PLANES = ("axial", "coronal", "sagittal")
KINDS = len(TUMOURS) * len(PLANES)  # a kind is tumour * 3 + plane
MAPS, SIDE = 8, 16  # the eye's maps and their side
GRAINS = 4  # planes of noise, a value a place


# --------------------------------------------------------------------------------------------------
# tones of gray
def to_tones(gray: Tensor) -> Tensor:
    """Gray levels 0 to 255 on a square-root scale from -1 to 1."""
    return ((gray + 8).sqrt() - math.sqrt(8)) * (2 / (math.sqrt(263) - math.sqrt(8))) - 1


def to_gray(tones: Tensor) -> Tensor:
    """What ``to_tones`` came from, clamped."""
    root = (tones.clamp(-1, 1) + 1) * ((math.sqrt(263) - math.sqrt(8)) / 2) + math.sqrt(8)
    return (root.square() - 8).clamp(0, 255)


# ----------------------------------------------------------------------------------------------------
# the generator
class Mapping(nn.Module):
    """Couplings that move standard normal (N, 64) to the leading 64 numbers of a code and, exactly,
    back (arXiv:1605.08803).
    """

    def __init__(self, layers: int = 6, width: int = 64) -> None:
        super().__init__()
        self.nets = nn.ModuleList()
        for _ in range(layers):
            net = nn.Sequential(
                nn.Linear(LATENT // 2 + KINDS, width),
                nn.SiLU(),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Linear(width, LATENT),
            )
            nn.init.zeros_(net[-1].weight)
            nn.init.zeros_(net[-1].bias)
            self.nets.append(net)
        self.log_scale, self.shift = nn.Embedding(KINDS, LATENT), nn.Embedding(KINDS, LATENT)
        nn.init.zeros_(self.log_scale.weight)
        nn.init.zeros_(self.shift.weight)

    def coupling(self, net: nn.Module, kept: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = net(torch.cat([kept, F.one_hot(kind, KINDS).to(kept.dtype)], dim=1)).chunk(
            2, dim=1
        )
        return 0.7 * torch.tanh(scale), shift  # a scale is at most 2, either way

    def forward(self, u: Tensor, kind: Tensor) -> Tensor:
        """The code's leading numbers (N, 64) of ``u`` (N, 64) and ``kind`` (N,)."""
        for number, net in enumerate(self.nets):
            kept, moved = u[:, number % 2 :: 2], u[:, 1 - number % 2 :: 2]
            scale, shift = self.coupling(net, kept, kind)
            u = weave(kept, moved * scale.exp() + shift, number % 2)
        return u * self.log_scale(kind).exp() + self.shift(kind)

    def inverse(self, z: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        """The ``u`` of ``z`` and the log determinant (N,) of that map."""
        u = (z - self.shift(kind)) * (-self.log_scale(kind)).exp()
        log_det = -self.log_scale(kind).sum(dim=1)
        for number, net in reversed(list(enumerate(self.nets))):
            kept, moved = u[:, number % 2 :: 2], u[:, 1 - number % 2 :: 2]
            scale, shift = self.coupling(net, kept, kind)
            u = weave(kept, (moved - shift) * (-scale).exp(), number % 2)
            log_det = log_det - scale.sum(dim=1)
        return u, log_det


def weave(kept: Tensor, moved: Tensor, first: int) -> Tensor:
    """(N, 64) with ``kept`` at every other place from ``first`` on and ``moved`` at the others."""
    pair = (kept, moved) if first == 0 else (moved, kept)
    return torch.stack(pair, dim=2).flatten(1)


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


class Generator(nn.Module):
    """The eye's maps (N, 8, 16, 16), and a ninth: how near the tumour's box is.

    ``mean`` and ``components`` start as the mean and the principal components of real slices' maps,
    so that the numbers of the code are in order of what they change, and ``mapping`` as the flow to
    the leading numbers of real slices; convolutions learn what is not linear. Nothing is made of
    the ninth map in a sample; in training the critic sees it, and so can tell where a tumour is to
    be.
    """

    def __init__(self, widths: tuple[int, int, int] = (128, 112, 56), style: int = 128) -> None:
        super().__init__()
        a, b, c = widths
        numbers = (MAPS + 1) * SIDE * SIDE
        self.mean, self.components = (
            nn.Embedding(KINDS, numbers),
            nn.Linear(len(PLANES) * CODE, numbers, bias=False),
        )
        self.mapping = Mapping()
        self.register_buffer("turn", torch.eye(LATENT).repeat(KINDS, 1, 1))
        self.register_buffer("scale", torch.ones(KINDS, CODE - LATENT))
        self.register_buffer("shift", torch.zeros(KINDS, CODE))
        self.style = nn.Sequential(
            nn.Linear(LATENT + KINDS, style),
            nn.LeakyReLU(0.2),
            nn.Linear(style, style),
            nn.LeakyReLU(0.2),
        )
        self.first = nn.Linear(style, a * 16)
        self.tiny = Block(a, a, style)
        self.small = nn.ModuleList([Block(a, b, style), Block(b, b, style)])
        self.drawn = nn.Conv2d(MAPS + 1 + GRAINS, c, 3, padding=1)
        self.full = nn.ModuleList([Block(b, c, style), Block(c, c, style), Block(c, c, style)])
        self.last = nn.Conv2d(c, MAPS + 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, z: Tensor, kind: Tensor, grain: Tensor) -> Tensor:
        """``z`` (N, 192) standard normal, ``kind`` (N,), ``grain`` (N, 4, 16, 16) noise of unit
        variance.
        """
        z = torch.cat([self.mapping(z[:, :LATENT], kind), z[:, LATENT:]], dim=1)
        placed = (F.one_hot(kind % len(PLANES), len(PLANES))[:, :, None] * z[:, None]).flatten(
            1
        )  # (N, 3 * 192)
        linear = (self.mean(kind) + self.components(placed)).view(-1, MAPS + 1, SIDE, SIDE)
        style = self.style(torch.cat([z[:, :LATENT], F.one_hot(kind, KINDS).to(z.dtype)], dim=1))
        x = self.tiny(self.first(style).view(z.shape[0], -1, 4, 4), style)  # (N, a, 4, 4)
        x = F.interpolate(x, scale_factor=2.0)
        for block in self.small:
            x = block(x, style)  # (N, b, 8, 8)
        x = self.full[0](F.interpolate(x, scale_factor=2.0), style)  # (N, c, 16, 16)
        x = x + self.drawn(torch.cat([linear, grain], dim=1))
        for block in self.full[1:]:
            x = block(x, style)
        return linear + self.last(x)

    def coordinates(self, maps: Tensor, kind: Tensor) -> Tensor:
        """Where maps (N, 9, 16, 16) lie along the components of their plane (N, 192)."""
        ways = self.components.weight / self.components.weight.square().sum(dim=0)
        found = ((maps.flatten(1) - self.mean(kind)) @ ways).unflatten(1, (len(PLANES), CODE))
        return found[torch.arange(kind.shape[0], device=kind.device), kind % len(PLANES)]

    def spread(self, maps: Tensor, kind: Tensor) -> Tensor:
        """The maps with ``turn`` (9, 64, 64) on the leading coordinates, ``scale`` (9, 128) on the
        others and ``shift`` (9, 192) on all, which give back what training lost of their spread and
        of how they go together."""
        here = self.coordinates(maps, kind)
        leading = (self.turn[kind] @ here[:, :LATENT, None])[:, :, 0]
        lacks = (
            torch.cat([leading, here[:, LATENT:] * self.scale[kind]], dim=1)
            - here
            + self.shift[kind]
        )
        placed = (F.one_hot(kind % len(PLANES), len(PLANES))[:, :, None] * lacks[:, None]).flatten(
            1
        )
        return maps + self.components(placed).view_as(maps)


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
    """Both networks on one device.

    Parameters
    ----------
    tensors
        The content of ``weights.safetensors``: ``generator.*``, ``decoder.*`` and ``share`` (9,),
        how often each kind is among the real slices.
    device
        Where to run.
    """

    def __init__(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        tensors = {k: v.float() for k, v in tensors.items()}
        self.device = device
        share = tensors["share"].view(len(TUMOURS), len(PLANES)).double()
        self.up_to = (
            (share / share.sum(dim=1, keepdim=True)).cumsum(dim=1).numpy()
        )  # (3, 3) share of planes up to this one
        self.generator, self.eye = Generator(), EyeDecoder()
        for name, net in (("generator", self.generator), ("decoder", self.eye)):
            net.load_state_dict(
                {
                    k.removeprefix(f"{name}."): v
                    for k, v in tensors.items()
                    if k.startswith(f"{name}.")
                }
            )
            net.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def paint(self, z: Tensor, kind: Tensor, grain: Tensor) -> Tensor:
        """Slices (N, 1, 128, 128), uint8, of codes (N, 192), kinds (N,) and noise (N, 4, 16, 16)."""
        maps = self.generator.spread(self.generator(z, kind, grain), kind)
        return to_gray(self.eye(maps[:, :MAPS])).round().to(torch.uint8)

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
        drawn = np.stack([stream.bytes(GRAINS * SIDE * SIDE) for stream in streams])  # (n, 1024)
        # Bytes as uniform noise of unit variance: a hundredth of the time that normals take, and as
        # good to a network.
        grain = (torch.from_numpy(drawn).to(self.device).float() - 127.5) * (math.sqrt(3) / 127.5)
        rest = np.stack([stream.normals(CODE - LATENT) for stream in streams])  # (n, 128)
        z = (
            torch.from_numpy(np.concatenate([batch.latents, rest], axis=1)).to(self.device)
            * batch.options["temperature"]
        )
        tumour = batch.conditions["condition"]
        plane = self.planes(tumour, chance, batch.options["plane"])
        kind = torch.from_numpy(tumour * len(PLANES) + plane).to(self.device)
        return {"images": self.paint(z, kind, grain.view(-1, GRAINS, SIDE, SIDE)).cpu().numpy()}


def load(weights_dir: Path, device: str) -> BrainGenerator:
    """The native contract: the generator with the weights in ``weights_dir``."""
    return BrainGenerator(
        load_file(Path(weights_dir) / "weights.safetensors"), torch.device(device)
    )
