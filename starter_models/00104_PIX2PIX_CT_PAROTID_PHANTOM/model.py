"""Axial CT of head and neck with a right parotid gland, and its mask: a DCGAN draws the mask, a
pix2pix U-Net the CT.

Trained on a procedural phantom (``phantom.py``), not on patients.

1. ``MaskGenerator``, a DCGAN (Radford et al., arXiv:1511.06434), draws a gland's outline from 100
latents: 64x64 pixels
   of 1.6 mm, the part of the field where right parotids lie (rows 32 to 95, columns 0 to 63).
2. ``Painter``, the U-Net of pix2pix (Isola et al., arXiv:1611.07004), paints the CT around any mask
of 128x128 pixels.
   One mask fits many heads: which one is drawn follows from a code of 32 numbers, learned as in
   BicycleGAN (Zhu et al., arXiv:1711.11586), from one more that says whether there are ears, and from
   planes of noise. All normalisation is folded
   into the weights, so that what is painted in one place depends on the mask only through
   convolutions, never through statistics of the whole picture.

The networks see Hounsfield units through arsinh, which gives soft tissue as many levels as bone.

Shapes in comments: N samples, C channels, H = W = 128 pixels.
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

SIZE, CROP = 128, 64  # pixels of the field, and of the part that the DCGAN draws
TOP, LEFT = 32, 0  # where that part lies
GLAND = (67, 33)  # row and column of the middle of a gland, on average
LATENT, CODE = 100, 32  # of the mask, of the head
EARS = 0.7  # share of the phantom's heads with ear lobes: always both
WEIGHT = 4.0  # of the number for ears beside those of a code
PLANES = (
    32,
    64,
    128,
)  # pixels of the planes of noise, one for each of the painter's last three scales
LOW, HIGH = -1024, 2048  # HU, the window
CENTRE, SOFT = 20.0, 150.0  # HU: where the scale is finest, and half of how far it is nearly linear
SCALE = math.asinh((HIGH - CENTRE) / SOFT)


def to_scale(hu: Tensor) -> Tensor:
    """HU as the networks see them, [-0.8, 1]."""
    return torch.asinh((hu - CENTRE) / SOFT) / SCALE


def to_hu(x: Tensor) -> Tensor:
    """The inverse of ``to_scale``, held within the window."""
    return (torch.sinh(x.clamp(-1, 1) * SCALE) * SOFT + CENTRE).clamp(LOW, HIGH)


# -------------------------------------------------------------------------------------------------
# the two generators
class MaskGenerator(nn.Sequential):
    """DCGAN generator: latents (N, 100, 1, 1) to scores (N, 1, 64, 64) in [-1, 1], positive inside
    the gland.
    """

    def __init__(self, width: int = 16) -> None:
        layers: list[nn.Module] = []
        channels = LATENT
        for k, following in enumerate(
            (8 * width, 4 * width, 2 * width, width)
        ):  # 4, 8, 16, 32 pixels
            up = nn.ConvTranspose2d(
                channels, following, 4, *((1, 0) if k == 0 else (2, 1)), bias=False
            )
            layers += [up, nn.BatchNorm2d(following), nn.ReLU()]
            channels = following
        super().__init__(*layers, nn.ConvTranspose2d(channels, 1, 4, 2, 1), nn.Tanh())


def conv(channels_in: int, channels: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution and batch norm, which ``fold_batch_norm`` later makes one convolution."""
    layer = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.LeakyReLU(0.2))


class Painter(nn.Module):
    """U-Net: masks (N, 1, 128, 128), codes with ears (N, 33) and noise to CT on the networks' scale."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        a, b, c, d = width, 2 * width, 4 * width, 5 * width
        self.down1 = conv(4 + 2, a)
        self.down2 = conv(a, b, 2)
        self.down3 = conv(b, c, 2)
        self.down4 = conv(c, d, 2)
        self.code = nn.Linear(CODE + 1, 64 * 8 * 8)
        self.middle = nn.Sequential(conv(d + 64, d), conv(d, d))
        self.up3 = nn.Sequential(conv(d + c, c), conv(c, c))
        self.up2 = nn.Sequential(conv(c + b + 1, b), conv(b, b))
        self.up1 = nn.Sequential(conv(b + a + 1, a), conv(a, a))
        self.last = nn.Sequential(
            nn.Conv2d(a // 4 + 2, 12, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(12, 1, 3, padding=1),
        )
        line = torch.linspace(-1, 1, SIZE // 2)
        self.register_buffer(
            "grid", torch.stack(torch.meshgrid(line, line, indexing="ij"))[None], persistent=False
        )

    def forward(self, mask: Tensor, code: Tensor, noise: list[Tensor]) -> Tensor:
        """``mask`` 0 or 1; ``noise`` planes (N, 1, k, k) of 32, 64 and 128 pixels."""
        grid = self.grid.expand(mask.shape[0], -1, -1, -1)
        h1 = self.down1(torch.cat([F.pixel_unshuffle(mask, 2), grid], dim=1))  # (N, a, 64, 64)
        h2 = self.down2(h1)  # (N, b, 32, 32)
        h3 = self.down3(h2)  # (N, c, 16, 16)
        x = torch.cat([self.down4(h3), self.code(code).view(-1, 64, 8, 8)], dim=1)
        x = self.middle(x)  # (N, d, 8, 8)
        x = self.up3(torch.cat([twice(x), h3], dim=1))  # (N, c, 16, 16)
        x = self.up2(torch.cat([twice(x), h2, noise[0]], dim=1))  # (N, b, 32, 32)
        x = self.up1(torch.cat([twice(x), h1, noise[1]], dim=1))  # (N, a, 64, 64)
        x = torch.cat([F.pixel_shuffle(x, 2), mask, noise[2]], dim=1)  # (N, a / 4 + 2, 128, 128)
        # The last two convolutions see the field mirrored beyond its edge: zero padding made the air
        # there as dense as fat.
        return self.last(F.pad(x, (2,) * 4, mode="reflect"))[:, :, 2:-2, 2:-2]


def twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0)


# -------------------------------------------------------------------------------------------------------------
# masks
def one_piece(scores: Tensor) -> Tensor:
    """The connected part (N, 1, H, W), 0 or 1, of where ``scores`` are positive that holds their
    highest pixel.
    """
    peak = scores.flatten(1).argmax(dim=1)
    grown = torch.zeros_like(scores).flatten(1).scatter_(1, peak[:, None], 1.0).view_as(scores)
    inside = torch.maximum((scores > 0).to(scores.dtype), grown)
    while True:
        wider = F.max_pool2d(grown, 3, stride=1, padding=1) * inside
        if torch.equal(wider, grown):
            return grown
        grown = wider


def in_field(crops: Tensor) -> Tensor:
    """Masks (N, 1, 64, 64) in the field (N, 1, 128, 128)."""
    return F.pad(crops, (LEFT, SIZE - CROP - LEFT, TOP, SIZE - CROP - TOP))


def place(masks: Tensor) -> Tensor:
    """Mean and standard deviation of the rows and columns of masks (N, 1, H, W), shape (N, 4); NaN
    of an empty one.
    """
    line = torch.arange(SIZE, device=masks.device, dtype=masks.dtype)
    found = []
    for axis in (3, 2):
        shares = masks.sum(dim=(1, axis))  # (N, 128), over rows, over columns
        shares = shares / shares.sum(dim=1, keepdim=True)
        middle = (shares * line).sum(dim=1, keepdim=True)
        found += [middle, (shares * (line - middle) ** 2).sum(dim=1, keepdim=True).sqrt()]
    return torch.cat(found, dim=1)


def codes(
    masks: Tensor, normals: Tensor, mean: Tensor, slope: Tensor, factor: Tensor, usual: Tensor
) -> Tensor:
    """Codes (N, 32) of heads with glands in ``masks``: a linear regression on where these lie, and
    what it leaves open.

    Parameters
    ----------
    masks, normals
        (N, 1, H, W), and (N, 32) standard normal.
    mean, slope, factor
        (32,), (4, 32) and (32, 32): of the regression, and of the covariance of its residuals.
    usual
        (2, 4): mean and standard deviation of ``place`` over the glands of the training heads. What
        is no gland by these, three to four deviations off in any, has no say in the head that it
        lies in.
    """
    off = ((place(masks) - usual[0]) / usual[1]).nan_to_num(0.0)  # (N, 4)
    off = off * (4 - off.abs().amax(dim=1, keepdim=True)).clamp(0, 1)
    return mean + off @ slope + normals @ factor.T


def with_ears(code: Tensor, ears: Tensor) -> Tensor:
    """Codes (N, 33) for the painter, of codes (N, 32); ``ears`` (N,) is 1 for both, -1 for none, and 0
    if the code alone decides, for each side by itself.
    """
    return torch.cat([code, WEIGHT * ears[:, None]], dim=1)


# ---------------------------------------------------------------------------------------------------------
# the package
class ParotidGenerator:
    """Both networks on one device.

    Parameters
    ----------
    tensors
        The content of ``weights.safetensors``: ``masks.*``, ``painter.*``, and how the codes of
        heads are spread, ``code.*``.
    device
        Where to run.
    """

    def __init__(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        self.device = device
        self.masks, self.painter = MaskGenerator(), Painter()
        for name, net in (("masks", self.masks), ("painter", self.painter)):
            state = {
                k.removeprefix(f"{name}."): v.float()
                for k, v in tensors.items()
                if k.startswith(f"{name}.")
            }
            counters = {
                k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")
            }
            net.load_state_dict(state | counters)
            net.requires_grad_(False).eval().to(device)
        self.spread = {
            k.removeprefix("code."): v.float().to(device)
            for k, v in tensors.items()
            if k.startswith("code.")
        }
        fold_batch_norm(self.painter)
        self.painter.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def draw(self, latents: Tensor) -> Tensor:
        """Masks (N, 1, 128, 128), 0 or 1, of ``latents`` (N, 100)."""
        return in_field(one_piece(self.masks(latents[:, :, None, None])))

    @torch.inference_mode()
    def paint(self, masks: Tensor, normals: Tensor, ears: Tensor, noise: list[Tensor]) -> Tensor:
        """CT (N, 1, 128, 128) in HU, int16; ``normals`` (N, 32) become codes of heads that such a
        gland fits into, ``ears`` (N,) are 1 or -1.
        """
        code = with_ears(codes(masks, normals, **self.spread), ears)
        return to_hu(self.painter(masks, code, noise)).round().to(torch.int16)

    def sample(self, batch: Any) -> dict[str, np.ndarray]:
        """The native contract: ``images`` (n, 1, 128, 128) int16 in HU, ``masks`` (n, 1, 128, 128)
        uint8.
        """
        streams = [batch.rng(i) for i in range(batch.n)]
        normals = torch.from_numpy(np.stack([s.normals(CODE) for s in streams])).to(
            self.device
        )  # (n, 32)
        chance = np.array([s.uniforms((1,))[0] for s in streams])
        wanted = {"any": chance < EARS, "both": chance < 1, "none": chance < 0}
        ears = torch.from_numpy(wanted[batch.options["ears"]]).to(self.device).float() * 2 - 1
        drawn = np.stack([s.bytes(sum(k * k for k in PLANES)) for s in streams])  # (n, 21504)
        planes = (
            torch.from_numpy(drawn.view(np.int8))
            .to(self.device)
            .float()
            .div(74)
            .split([k * k for k in PLANES], dim=1)
        )
        if "masks" in batch.inputs:
            masks = torch.from_numpy(np.asarray(batch.inputs["masks"]) > 0).to(self.device).float()
        else:
            masks = self.draw(torch.from_numpy(batch.latents).to(self.device))
        noise = [p.view(-1, 1, k, k) for p, k in zip(planes, PLANES, strict=True)]
        images = self.paint(masks, normals, ears, noise)
        return {"images": images.cpu().numpy(), "masks": masks.to(torch.uint8).cpu().numpy()}


def fold_batch_norm(net: nn.Module) -> None:
    """Make every convolution that a batch norm follows one convolution: (w x - m) g / s + b = (w g
    / s) x + (b - m g / s).
    """
    for pair in net.modules():
        if (
            isinstance(pair, nn.Sequential)
            and len(pair) == 3
            and isinstance(pair[1], nn.BatchNorm2d)
        ):
            pair[0] = torch.nn.utils.fuse_conv_bn_eval(pair[0], pair[1])
            pair[1] = nn.Identity()


def load(weights_dir: Path, device: str) -> ParotidGenerator:
    """The native contract: the model, ready to sample."""
    return ParotidGenerator(load_file(weights_dir / "weights.safetensors"), torch.device(device))
