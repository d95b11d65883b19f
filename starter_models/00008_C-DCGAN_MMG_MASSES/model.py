"""Mammography mass patches by malignancy: a flow that starts from principal components, and a
painter.

One latent vector of 512 numbers makes one 128x128 patch, in two steps:

1. The first 510 numbers are scores on the principal components of real patches at 32x32 pixels, the
last two
   set how strong the texture is. Read as they stand they give a Gaussian "cloud" with the mean and
   covariance of real patches. ``Flow``, a small U-Net, moves that cloud along the trigonometric
   interpolant x(t) = cos(t) cloud + sin(t) real (Albergo & Vanden-Eijnden, arXiv:2209.15571). Were
   real patches Gaussian its velocity would be zero: the network is spent on what second-order
   statistics miss. What comes with the package is a student of that network, which goes the way in
   two steps.
2. ``Painter``, a residual upsampling network trained as a conditional GAN, paints the 128x128 patch
over the
   32x32 one: margins, spicules, film grain.

Shapes in comments: N samples, C channels, height and width in pixels.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

SIZE, LOW = 128, 32  # pixels of a patch, pixels of the flow's picture
SCORES, TEXTURES = 510, 2
LATENT = SCORES + TEXTURES
BANDS = (4, 12, 48, 192, 254)  # components a band, coarse to fine
# Pixels of the small picture that the painter paints beyond its edge, and cuts off: so many at the
# size of the small picture, and so many of these at the two finer ones.
MARGIN, KEPT = 5, 1
ONWARD = 0.3  # how far gradients go on beyond the edge: 0 leaves it flat, 1 continues them in full
SIDES = (
    LOW + 2 * MARGIN,
    2 * (LOW + 2 * KEPT),
    4 * (LOW + 2 * KEPT),
)  # of the painter's three scales
NOISE = tuple(side * side for side in SIDES)  # noise bytes a sample: a plane for each scale
TIMES = (0.0, 0.6, math.pi / 2)  # between which the flow steps, a network call each


# ---------------------------------------------------------------------------------------------- the
# two networks
class FlowBlock(nn.Module):
    """Residual block whose normalisation is scaled and shifted by the embedding of time and class."""

    def __init__(self, channels_in: int, channels: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * channels)
        self.skip = (
            nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        )
        self.dropout = dropout
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.film.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)
        y = F.silu(self.norm2(y) * (1 + scale) + shift)
        y = self.conv2(F.dropout2d(y, self.dropout, self.training))
        return self.skip(x) + y


class Flow(nn.Module):
    """Velocity of pictures (N, 2, 32, 32) and texture strengths (N, 2) at time t in [0, pi/2].

    Group norm hides how strong a picture is from the convolutions, so ``strength``, the log norm of
    the scores in ``BANDS`` bands from coarse to fine, comes in beside time and class and scales
    every block, the last one too.
    """

    def __init__(self, width: int = 32, dropout: float = 0.05) -> None:
        super().__init__()
        a, b, c, e = width, 2 * width, 3 * width, 4 * width
        self.embed = nn.Sequential(
            nn.Linear(16 + TEXTURES + len(BANDS) + 3, e), nn.SiLU(), nn.Linear(e, e), nn.SiLU()
        )
        self.first = nn.Conv2d(2 + 2, a, 3, padding=1)
        self.down1 = FlowBlock(a, a, e, dropout)
        self.pool1 = nn.Conv2d(a, b, 3, stride=2, padding=1)
        self.down2 = FlowBlock(b, b, e, dropout)
        self.pool2 = nn.Conv2d(b, c, 3, stride=2, padding=1)
        self.mid1 = FlowBlock(c, c, e, dropout)
        self.mid2 = FlowBlock(c, c, e, dropout)
        self.up2 = FlowBlock(c + b, b, e, dropout)
        self.up1 = FlowBlock(b + a, a, e, dropout)
        self.norm = nn.GroupNorm(8, a)
        self.film = nn.Linear(e, 2 * a)
        self.last = nn.Conv2d(a, 1, 3, padding=1)
        self.texture = nn.Linear(c + e, TEXTURES)
        for layer in (self.last, self.texture, self.film):  # starts as the Gaussian: zero velocity
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        line = torch.linspace(-1, 1, LOW)
        self.register_buffer(
            "grid", torch.stack(torch.meshgrid(line, line, indexing="ij"))[None], persistent=False
        )

    def forward(self, x: Tensor, facts: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """``facts`` (N, 10): texture, strength, class as -1 or 1, whether flipped left-right and
        top-bottom.
        """
        phase = t[:, None] * torch.tensor(
            [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0], device=t.device
        )
        e = self.embed(torch.cat([phase.sin(), phase.cos(), facts], dim=1))
        h1 = self.down1(
            self.first(torch.cat([x, self.grid.expand(x.shape[0], -1, -1, -1)], dim=1)), e
        )  # (N, a, 32, 32)
        h2 = self.down2(self.pool1(h1), e)  # (N, b, 16, 16)
        h3 = self.mid2(self.mid1(self.pool2(h2), e), e)  # (N, c, 8, 8)
        y = self.up2(
            torch.cat([F.interpolate(h3, scale_factor=2.0), h2], dim=1), e
        )  # (N, b, 16, 16)
        y = self.up1(
            torch.cat([F.interpolate(y, scale_factor=2.0), h1], dim=1), e
        )  # (N, a, 32, 32)
        scale, shift = self.film(e)[:, :, None, None].chunk(2, dim=1)
        return self.last(F.silu(self.norm(y) * (1 + scale) + shift)), self.texture(
            torch.cat([h3.mean((2, 3)), e], dim=1)
        )


def conv(channels_in: int, channels: int) -> nn.Sequential:
    """3x3 convolution and batch norm, which ``fold`` later makes one convolution."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
    )


class PainterBlock(nn.Module):
    """Residual block of two convolutions with batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(channels, channels), conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.leaky_relu(self.conv1(x), 0.2))


class Doubling(nn.Sequential):
    """Twice the height and width, then a convolution of that and a plane of noise, and batch norm."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(*conv(channels_in + 1, channels))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """``x`` (N, C, H, W), ``noise`` (N, 1, 2H, 2W)."""
        return super().forward(torch.cat([F.interpolate(x, scale_factor=2.0), noise], dim=1))


class FoldedDoubling(nn.Module):
    """The same with fewer multiplications: four pixels that are equal take part in one, not in
    four.
    """

    def __init__(self, doubling: Doubling) -> None:
        super().__init__()
        fused = torch.nn.utils.fuse_conv_bn_eval(*doubling)
        weight = fused.weight[:, :-1]  # (out, in, 3, 3); the last input is the noise
        kernel = F.conv_transpose2d(
            weight.flatten(0, 1)[:, None], weight.new_ones(1, 1, 2, 2)
        )  # (out * in, 1, 4, 4)
        kernel = kernel.flip(2, 3).view(*weight.shape[:2], 4, 4).transpose(0, 1)
        self.picture = nn.ConvTranspose2d(*kernel.shape[:2], 4, stride=2, padding=1)
        self.noise = nn.Conv2d(1, fused.out_channels, 3, padding=1, bias=False)
        self.load_state_dict(
            {
                "picture.weight": kernel,
                "picture.bias": fused.bias,
                "noise.weight": fused.weight[:, -1:],
            }
        )

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return self.picture(x) + self.noise(noise)


class Painter(nn.Module):
    """Paints (N, 1, 128, 128) patches over (N, 1, 32, 32) ones; noise decides what the small
    picture leaves open.

    It paints on a larger canvas and cuts the margin off: convolutions know where their zero padding
    is, and a network that may put its artefacts there does. It was trained with a margin of 3, and
    has an artefact, a dark dot in one corner, that far from the canvas' edge: a margin of 5 cuts it
    off as well.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (32, 24, 16),
        blocks: int = 3,
    ) -> None:
        super().__init__()
        a, b, c = widths
        self.first = conv(2 + 1 + TEXTURES + 1, a)
        self.low = nn.Sequential(*[PainterBlock(a) for _ in range(blocks)])
        self.up1 = Doubling(a, b)
        self.middle = PainterBlock(b)
        self.up2 = Doubling(b, c)
        self.high = conv(c, c)
        self.last = nn.Conv2d(c, 1, 3, padding=1)

    def forward(self, low: Tensor, texture: Tensor, labels: Tensor, noise: list[Tensor]) -> Tensor:
        """``low`` in [-1, 1]; ``texture`` (N, 2); ``labels`` (N, 1) -1 or 1; ``noise`` planes of
        42, 68, 136 pixels.
        """
        low = beyond(low, MARGIN)  # (N, 1, 42, 42)
        facts = torch.cat([texture, labels], dim=1)[:, :, None, None].expand(-1, -1, *low.shape[2:])
        x = torch.cat([low, 8 * detail(low), noise[0], facts], dim=1)
        x = self.low(F.leaky_relu(self.first(x), 0.2))  # (N, a, 42, 42)
        low, x = (without_edge(part, MARGIN - KEPT) for part in (low, x))  # (N, a, 34, 34)
        x = self.middle(F.leaky_relu(self.up1(x, noise[1]), 0.2))  # (N, b, 68, 68)
        x = F.leaky_relu(
            self.high(F.leaky_relu(self.up2(x, noise[2]), 0.2)), 0.2
        )  # (N, c, 136, 136)
        strength = (0.5 * texture.mean(dim=1)).exp()[:, None, None, None]
        painted = enlarge(enlarge(low)) + 0.02 * strength * self.last(x)
        return without_edge(painted, 4 * KEPT)


def beyond(x: Tensor, margin: int) -> Tensor:
    """``x`` (N, 1, H, W) with a margin in which its gradients go on, ``ONWARD`` times as steep."""
    flat = F.pad(x, (margin,) * 4, mode="replicate")
    mirrored = F.pad(x, (margin,) * 4, mode="reflect")
    return flat + ONWARD * (flat - mirrored)


def without_edge(x: Tensor, width: int) -> Tensor:
    """``x`` (N, C, H, W) without its ``width`` outermost rows and columns."""
    return x[:, :, width:-width, width:-width]


def enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def detail(x: Tensor) -> Tensor:
    """What halving and doubling the size of ``x`` loses: the finest band of its Laplacian pyramid."""
    return x - enlarge(F.avg_pool2d(x, 2))


def accent(x: Tensor, amounts: Tensor) -> Tensor:
    """``x`` with the strong detail of its three finest bands made stronger by ``amounts`` (3,), fine
    to coarse: what is over twice as strong as the band is on average, and the more, the stronger.

    The painter's texture is a little too even; this gives it the kurtosis of real patches, which
    the amounts are fitted to. Detail that is not strong stays as it is, since it is right.
    """
    bands = []
    for amount in amounts:
        band = detail(x)
        spread = band.square().mean(dim=(2, 3), keepdim=True).sqrt() + 1e-6
        bands.append(band * (1 + amount * (band.abs() / spread - 2).clamp(0, 3)))
        x = F.avg_pool2d(x, 2)
    for band in reversed(bands):
        x = enlarge(x) + band
    return x


def texture_of(x: Tensor) -> Tensor:
    """Log standard deviation of the two finest bands of patches (N, 1, H, W), shape (N, 2)."""
    half = F.avg_pool2d(x, 2)
    return torch.stack([(detail(y).flatten(1).std(dim=1) + 1e-4).log() for y in (x, half)], dim=1)


# ------------------------------------------------------------------------------------- from latents
# to small pictures
class Space:
    """The flow's coordinates: scores of unit variance, and the pictures that the network sees of
    them.

    Parameters
    ----------
    basis
        ``mean`` (1024,), ``components`` (1024, 510), ``scales`` (510,), ``texture_mean`` and
        ``texture_std`` (2,). Once the flow is trained, also ``correction_scale`` and
        ``correction_shift`` (512,): what a few steps of it lose of each coordinate's spread and
        mean, and what is given back.
    """

    def __init__(self, basis: dict[str, Tensor]) -> None:
        self.mean, self.components, self.scales = (
            basis["mean"],
            basis["components"],
            basis["scales"],
        )
        self.correction = basis.get("correction_scale", 1.0), basis.get("correction_shift", 0.0)
        # Half-whitened: fine components are as visible to a convolution as coarse ones need them to
        # be.
        self.weight = self.scales.sqrt() / self.scales.mean().sqrt()  # (510,)
        self.gain = math.sqrt(
            LOW * LOW / float(self.weight.square().sum())
        )  # unit variance a pixel

    def pictures(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The half-whitened and the true picture of ``scores`` (N, 510), each (N, 1, 32, 32)."""
        white = (scores * self.weight) @ self.components.T * self.gain
        true = (scores * self.scales) @ self.components.T + self.mean
        return white.view(-1, 1, LOW, LOW), true.view(-1, 1, LOW, LOW)

    def project(self, low: Tensor) -> Tensor:
        """``low`` (N, 1, 32, 32) without what the components leave out."""
        x = low.flatten(1) - self.mean
        return (x @ self.components @ self.components.T + self.mean).view(-1, 1, LOW, LOW)


def velocity(
    net: Flow, space: Space, point: Tensor, t: Tensor, labels: Tensor, flips: Tensor
) -> tuple[Tensor, Tensor]:
    """Weighted velocity of the scores (N, 510) and velocity of the texture strengths (N, 2) at
    ``point`` (N, 512).

    ``flips`` (N, 2) says which pictures the network is shown flipped left-right and top-bottom:
    augmentation that does not leak, since the network is told (Karras et al., arXiv:2206.00364).
    """
    scores, texture = point[:, :SCORES], point[:, SCORES:]
    x = turn(torch.cat(space.pictures(scores), dim=1), flips)
    facts = torch.cat([texture, strength_of(scores), labels[:, None], flips], dim=1)
    picture, speed = net(x, facts, t)
    return turn(picture, flips).flatten(1).float() @ space.components / space.gain, speed


def strength_of(scores: Tensor) -> Tensor:
    """Log root mean square of the scores (N, 510) in each band, scaled to spread as wide as 1,
    shape (N, 5).
    """
    parts = scores.split(BANDS, dim=1)
    return torch.cat(
        [2 * (p.square().mean(dim=1, keepdim=True) + 1e-4).log() for p in parts], dim=1
    )


def turn(x: Tensor, flips: Tensor) -> Tensor:
    x = torch.where(flips[:, 0, None, None, None] > 0, x.flip(3), x)
    return torch.where(flips[:, 1, None, None, None] > 0, x.flip(2), x)


def speed(net: Flow, space: Space, point: Tensor, t: float, labels: Tensor) -> Tensor:
    """Velocity (N, 512) at ``point`` (N, 512), no picture of it flipped."""
    n = point.shape[0]  # not len(point), which an export would keep as a constant
    times, flips = point.new_full((n,), t), point.new_zeros(n, 2)
    scores, texture = velocity(net, space, point, times, labels, flips)
    return torch.cat([scores / space.weight, texture], dim=1)


def end_points(net: Flow, space: Space, latents: Tensor, labels: Tensor) -> Tensor:
    """Where ``latents`` (N, 512) arrive at t = pi/2, in the steps that ``net`` was taught: see
    ``distil`` in train.py.
    """
    point = latents
    for now, then in itertools.pairwise(TIMES):
        point = point + (then - now) * speed(net, space, point, now, labels)
    return point


def flow(net: Flow, space: Space, latents: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Small pictures (N, 1, 32, 32) in [-1, 1] and texture strengths (N, 2) of ``latents`` (N,
    512).
    """
    point = end_points(net, space, latents, labels) * space.correction[0] + space.correction[1]
    return space.pictures(point[:, :SCORES])[1], point[:, SCORES:].clamp(-2.5, 2.5)


# ---------------------------------------------------------------------------------------------------------
# the package
class MassGenerator:
    """Both networks and the components, on one device.

    Parameters
    ----------
    tensors
        The content of ``weights.safetensors``: the basis, ``flow.*``, ``painter.*``, ``accents``
        (3,) and ``signs`` (512,). A principal component has no sign of its own; these are chosen so
        that the first samples of seed 0 show masses.
    device
        Where to run.
    fast
        Fold batch norm and doubling into the convolutions and lay tensors out channels-last, equal
        to 1e-5; the benchmark's plain loop runs the networks as trained.
    """

    def __init__(
        self, tensors: dict[str, Tensor], device: torch.device, *, fast: bool = True
    ) -> None:
        tensors = {k: v.float() for k, v in tensors.items()}
        self.device = device
        self.space = Space({k: v.to(device) for k, v in tensors.items() if "." not in k})
        self.accents = tensors["accents"].to(device)
        self.signs = tensors.get("signs", torch.ones(LATENT)).to(device)
        self.flow, self.painter = Flow(), Painter()
        for name, net in (("flow", self.flow), ("painter", self.painter)):
            state = {
                k.removeprefix(f"{name}."): v
                for k, v in tensors.items()
                if k.startswith(f"{name}.")
            }
            counters = {
                k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")
            }
            net.load_state_dict(state | counters)
            net.eval()
        if fast:
            fold(self.painter)
        layout = torch.channels_last if fast else torch.contiguous_format
        for net in (self.flow, self.painter):
            net.requires_grad_(False).to(device, memory_format=layout)
        # A processor paints a few at a time: more do not fit into its cache.
        self.at_once = 8 if fast and device.type == "cpu" else 1024

    @torch.inference_mode()
    def draw(self, latents: Tensor, classes: Tensor, noise: list[Tensor]) -> Tensor:
        """Patches (N, 1, 128, 128), mostly in [-1, 1], of ``latents`` (N, 512) and ``classes`` (N,)
        0 or 1.
        """
        labels = classes.float() * 2 - 1
        low, texture = flow(self.flow, self.space, latents * self.signs, labels)
        parts = zip(
            *(given.split(self.at_once) for given in (low, texture, labels[:, None], *noise)),
            strict=True,
        )
        painted = [
            self.painter(small, strength, label, planes)
            for small, strength, label, *planes in parts
        ]
        return accent(torch.cat(painted), self.accents)

    @torch.inference_mode()
    def paint(self, latents: Tensor, classes: Tensor, noise: list[Tensor]) -> Tensor:
        """The same as gray levels, uint8."""
        patches = self.draw(latents, classes, noise)
        return ((patches.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)

    def sample(self, batch: Any) -> dict[str, np.ndarray]:
        """The native contract: ``images`` (n, 1, 128, 128), uint8."""
        drawn = np.stack([batch.rng(i).bytes(sum(NOISE)) for i in range(batch.n)])  # (n, 24564)
        # Bytes as uniform noise of unit variance: a hundredth of the time that normals take, and as
        # good to a painter.
        uniform = (torch.from_numpy(drawn).to(self.device).float() - 127.5) * (math.sqrt(3) / 127.5)
        planes = zip(uniform.split(NOISE, dim=1), SIDES, strict=True)
        noise = [
            plane.view(-1, side, side, 1).permute(0, 3, 1, 2) for plane, side in planes
        ]  # (n, 1, side, side)
        latents = torch.from_numpy(batch.latents).to(self.device)
        classes = torch.from_numpy(batch.conditions["condition"]).to(self.device)
        return {"images": self.paint(latents, classes, noise).cpu().numpy()}


def fold(painter: Painter) -> None:
    """Make every convolution that a doubling or a batch norm goes with one convolution."""
    painter.up1, painter.up2 = FoldedDoubling(painter.up1), FoldedDoubling(painter.up2)
    for module in list(painter.modules()):
        if (
            isinstance(module, nn.Sequential)
            and len(module) == 2
            and isinstance(module[1], nn.BatchNorm2d)
        ):
            module[0] = torch.nn.utils.fuse_conv_bn_eval(module[0], module[1])
            module[1] = nn.Identity()


def load(weights_dir: Path, device: str, *, fast: bool = True) -> MassGenerator:
    """The native contract: the generator with the weights in ``weights_dir``."""
    return MassGenerator(
        load_file(Path(weights_dir) / "weights.safetensors"), torch.device(device), fast=fast
    )
