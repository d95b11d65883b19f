"""Contrast-enhanced T1 MRI of brain tumours by a score-based diffusion model in the latent space of
an autoencoder.

A sample is made in two steps:

1. ``Denoiser``, a U-Net that is told the noise level, the tumour and the plane (Karras et al.,
arXiv:2206.00364), takes
   noise (8, 16, 16) to the latents of a slice along the probability-flow equation, in a handful of
   steps by the second-order multistep solver of Lu et al. (arXiv:2211.01095). Nothing is random but
   the noise it begins with.
2. ``Decoder``, the second half of an autoencoder, makes 128x128 pixels of them (latent diffusion:
Rombach et al.,
   arXiv:2112.10752).

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

SIZE = 128  # pixels of a slice
CHANNELS, SIDE = 8, 16  # of the autoencoder's latents, which have unit variance
NUMBERS = CHANNELS * SIDE * SIDE  # 2,048 of them
LATENT = 16  # numbers that a user sets; chance fills the rest
TUMOURS = ("meningioma", "glioma", "pituitary")
PLANES = ("axial", "coronal", "sagittal")
KINDS = len(TUMOURS) * len(PLANES)  # a kind is tumour * 3 + plane
UNKNOWN = KINDS  # the kind of a slice of which nothing is told
NOISIEST, CLEANEST, BEND = (
    80.0,
    0.05,
    7.0,
)  # noise levels of the first step and the last, and how they crowd there


# --------------------------------------------------------------------------------------------------
# tones of gray
def to_tones(gray: Tensor) -> Tensor:
    """Gray levels 0 to 255 on a square-root scale from -1 to 1."""
    return ((gray + 8).sqrt() - math.sqrt(8)) * (2 / (math.sqrt(263) - math.sqrt(8))) - 1


def to_gray(tones: Tensor) -> Tensor:
    """What ``to_tones`` came from, clamped."""
    root = (tones.clamp(-1, 1) + 1) * ((math.sqrt(263) - math.sqrt(8)) / 2) + math.sqrt(8)
    return (root.square() - 8).clamp(0, 255)


# -----------------------------------------------------------------------------------------------------
# the denoiser
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
    """Residual block; noise level and kind scale and shift its middle."""

    def __init__(self, channels_in: int, channels: int, told: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.conv1 = Norm(channels_in), nn.Conv2d(channels_in, channels, 3, padding=1)
        self.norm2, self.conv2 = Norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.film, self.dropout = nn.Linear(told, 2 * channels), nn.Dropout2d(dropout)
        self.skip = (
            nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        )
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.film(told)[:, :, None, None].chunk(2, dim=1)
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(self.dropout(F.silu(self.norm2(y) * (1 + scale) + shift)))
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


class Denoiser(nn.Module):
    """Latents without their noise (N, 8, 16, 16), of latents with noise, its level (N,) and kinds
    (N,).

    Data have unit variance, and so has, at every level, what the network inside sees and what it
    has to make: the preconditioning of EDM.
    """

    def __init__(
        self,
        widths: tuple[int, int] = (64, 128),
        told: int = 192,
        deep: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        fine, coarse = widths
        self.register_buffer(
            "waves", torch.linspace(math.log(0.5), math.log(16), 32).exp(), persistent=False
        )
        self.level = nn.Sequential(nn.Linear(64, told), nn.SiLU(), nn.Linear(told, told))
        self.kind = nn.Embedding(KINDS + 1, told)
        self.first = nn.Conv2d(CHANNELS, fine, 3, padding=1)
        self.place = nn.Parameter(
            torch.zeros(fine, SIDE, SIDE)
        )  # heads lie in the middle, so a place means something
        self.left = Block(fine, fine, told, dropout)
        self.down = nn.Conv2d(fine, coarse, 3, stride=2, padding=1)
        self.deep = nn.ModuleList(Block(coarse, coarse, told, dropout) for _ in range(deep))
        self.attention = nn.ModuleList(Attention(coarse) for _ in range(deep))
        self.up = nn.Conv2d(coarse, fine, 1)
        self.right = nn.ModuleList(
            Block(channels, fine, told, dropout) for channels in (2 * fine, fine)
        )
        self.norm, self.last = Norm(fine), nn.Conv2d(fine, CHANNELS, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, noisy: Tensor, level: Tensor, kind: Tensor) -> Tensor:
        turns = level.log()[:, None] / 4 * self.waves  # (N, 32)
        told = F.silu(
            self.level(torch.cat([turns.sin(), turns.cos()], dim=1)) + self.kind(kind)
        )  # (N, told)
        level = level[:, None, None, None]
        unit = (1 + level**2).rsqrt()
        return unit**2 * noisy + level * unit * self.body(unit * noisy, told).float()

    def body(self, x: Tensor, told: Tensor) -> Tensor:
        x = self.left(self.first(x) + self.place, told)  # (N, fine, 16, 16)
        y = self.down(x)  # (N, coarse, 8, 8)
        for block, attention in zip(self.deep, self.attention, strict=True):
            y = attention(block(y, told))
        x = torch.cat(
            [F.interpolate(self.up(y), scale_factor=2.0), x], dim=1
        )  # (N, 2 * fine, 16, 16)
        for block in self.right:
            x = block(x, told)  # (N, fine, 16, 16)
        return self.last(F.silu(self.norm(x)))


# ------------------------------------------------------------------------------------------------------
# the decoder
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
    """Tones (N, 1, 128, 128) of latents (N, 8, 16, 16)."""

    def __init__(self, widths: tuple[int, int, int, int] = (128, 64, 32, 16)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.body = nn.Sequential(
            *(nn.Conv2d(CHANNELS, a, 3, padding=1), Smooth(a), Smooth(a)),
            *(
                nn.Upsample(scale_factor=2.0),
                nn.Conv2d(a, b, 3, padding=1),
                Smooth(b),
                Smooth(b),
            ),  # (N, b, 32, 32)
            *(
                nn.Conv2d(b, 4 * c, 3, padding=1),
                nn.PixelShuffle(2),
                Smooth(c),
                nn.LeakyReLU(0.2),
            ),  # (N, c, 64, 64)
            *(
                nn.Conv2d(c, 4 * d, 3, padding=1),
                nn.PixelShuffle(2),
                nn.LeakyReLU(0.2),
            ),  # (N, d, 128, 128)
            *(nn.Conv2d(d, d, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(d, 1, 3, padding=1)),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.body(z)


# ------------------------------------------------------------------------------------------------------
# the sampler
def levels(steps: int) -> list[float]:
    """Noise levels, noisiest first: Karras et al. (arXiv:2206.00364), equation 5."""
    ends = NOISIEST ** (1 / BEND), CLEANEST ** (1 / BEND)
    return [float(level) for level in np.linspace(*ends, steps) ** BEND]


def denoised(net: Denoiser, x: Tensor, level: float, kind: Tensor, guidance: float) -> Tensor:
    """What the network makes of ``x``, told its kind ``guidance`` times as clearly (Ho & Salimans,
    arXiv:2207.12598).
    """
    at = torch.full((x.shape[0],), level, device=x.device)
    if guidance == 1:
        return net(x, at, kind)
    told, untold = net(
        torch.cat([x, x]), at.repeat(2), torch.cat([kind, torch.full_like(kind, UNKNOWN)])
    ).chunk(2)
    return untold + guidance * (told - untold)


def solve(net: Denoiser, noise: Tensor, kind: Tensor, steps: int, guidance: float) -> Tensor:
    """Latents (N, 8, 16, 16) from standard normal ``noise`` in ``steps`` evaluations of the
    network.

    The second-order multistep solver of Lu et al. (arXiv:2211.01095) for data predictions: the line
    through the last two of them, in the logarithm of the noise level, says what to expect halfway
    to the next level.
    """
    way = levels(steps)
    x, before, stride = way[0] * noise, None, 0.0
    for level, lower in pairwise(way):
        now = denoised(net, x, level, kind, guidance)
        last, stride = stride, math.log(level / lower)
        halfway = now if before is None else now + (now - before) * (stride / (2 * last))
        x, before = lower / level * x + (1 - lower / level) * halfway, now
    return denoised(net, x, way[-1], kind, guidance)


# ---------------------------------------------------------------------------------------------------------
# the package
class BrainGenerator:
    """Denoiser and decoder on one device.

    Parameters
    ----------
    tensors
        The content of ``weights.safetensors``: ``denoiser.*``, ``decoder.*``, ``components`` (16,
        2048), the leading principal components of the latents of real slices, and ``share`` (9,),
        how often each kind is among these.
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
        self.components = tensors["components"].to(device)  # orthonormal rows
        self.denoiser, self.decoder = Denoiser(), Decoder()
        for name, net in (("denoiser", self.denoiser), ("decoder", self.decoder)):
            net.load_state_dict(
                {
                    k.removeprefix(f"{name}."): v
                    for k, v in tensors.items()
                    if k.startswith(f"{name}.")
                }
            )
            net.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)

    def noise(self, latents: Tensor, rest: Tensor) -> Tensor:
        """White noise (N, 8, 16, 16) that is ``latents`` (N, 16) along the components and ``rest``
        (N, 2048) elsewhere.
        """
        white = rest + (latents - rest @ self.components.T) @ self.components
        return white.view(-1, CHANNELS, SIDE, SIDE).contiguous(memory_format=torch.channels_last)

    def planes(self, tumour: np.ndarray, chance: np.ndarray, asked: str) -> np.ndarray:
        """The plane of each sample (N,): the one asked for, or by ``chance`` (N,) as often as real
        slices have it.
        """
        if asked != "any":
            return np.full(len(tumour), PLANES.index(asked))
        return (chance[:, None] > self.up_to[tumour, :-1]).sum(axis=1)

    @torch.inference_mode()
    def sample(self, batch: Any) -> dict[str, np.ndarray]:
        """The native contract: ``images`` (n, 1, 128, 128), uint8."""
        streams = [batch.rng(i) for i in range(batch.n)]
        chance = np.stack([stream.uniforms(1)[0] for stream in streams])  # (n,)
        rest = torch.from_numpy(np.stack([stream.normals(NUMBERS) for stream in streams])).to(
            self.device
        )
        tumour = batch.conditions["condition"]
        plane = self.planes(tumour, chance, batch.options["plane"])
        kind = torch.from_numpy(tumour * len(PLANES) + plane).to(self.device)
        noise = self.noise(torch.from_numpy(batch.latents).to(self.device), rest)
        latents = solve(
            self.denoiser, noise, kind, batch.options["steps"], batch.options["guidance"]
        )
        return {"images": to_gray(self.decoder(latents)).round().to(torch.uint8).cpu().numpy()}


def load(weights_dir: Path, device: str) -> BrainGenerator:
    """The native contract: the generator with the weights in ``weights_dir``."""
    return BrainGenerator(
        load_file(Path(weights_dir) / "weights.safetensors"), torch.device(device)
    )
