"""Mammography mass patches by malignancy: a codebook of small pieces, a transformer that lays them,
and a painter.

A 128x128 patch is 16x16 *tokens*, each the number of one of 512 learned codes (VQGAN: Esser et al.,
arXiv:2012.09841):

1. ``Transformer`` draws the tokens one after another, row by row, each given its class and all
tokens before it. The
   draw of token k is the quantile of latent number k, and codes are numbered from dark to bright.
2. ``Decoder`` makes of the codes a picture of 32x32 pixels and the strengths of fine and of
middling texture. 3. ``Painter``, a residual upsampling network trained as a conditional GAN, paints
the 128x128 patch over it. It is
   the painter of model 8, trained on: margins, spicules, film grain.

Now and then the tokens run into one tone and stay there. A grid whose small picture is nearly flat
is drawn again, from quantiles that are moved on by a constant; so a sample is still a function of
its latents and class alone.

A token is a discrete choice: where single precision rounds differently, with another batch size or
processor, now and then another token is drawn, and all after it. So the transformer draws in double
precision.

Shapes in comments: N samples, L = 256 tokens, E width of a network, height and width in pixels.
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

SIZE, LOW, GRID = 128, 32, 16  # pixels of a patch, of the small picture, tokens of a side
LENGTH = GRID * GRID
CODES, DEPTH = 512, 8  # entries of the codebook, numbers of an entry, which has length 1
TEXTURES = 2
NEIGHBOURS = (
    (0, 1),
    (1, 0),
    (1, 1),
    (1, -1),
)  # rows up and columns to the left: before, above, above to either side
CLASSES, TURNS = (
    2,
    8,
)  # benign and malignant; mirrored and turned versions that training shows, the first as it stands
FLAT, ATTEMPTS = 0.04, 5  # spread of a small picture: 5 of 255 grey levels; draws at most
GOLDEN = (math.sqrt(5) - 1) / 2  # how far quantiles are moved from one draw to the next
MARGIN = 4  # pixels of the small picture that the painter paints beyond its edge, and cuts off
SIDES = tuple(k * (LOW + 2 * MARGIN) for k in (1, 2, 4))  # of the painter's three scales
NOISE = tuple(side * side for side in SIDES)  # noise bytes a sample: a plane for each of them


# ----------------------------------------------------------------------------------------- from
# codes to small pictures
def plain(channels_in: int, channels: int, stride: int = 1, gain: float = 1.0) -> nn.Conv2d:
    """3x3 convolution that keeps the strength of what passes, times ``gain``, when training begins.

    No batch norm: it would tell a patch's brightness only in comparison with the rest of its batch.
    """
    layer = nn.Conv2d(channels_in, channels, 3, stride, padding=1)
    nn.init.kaiming_normal_(layer.weight, a=0.2)
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layer.weight *= gain
    return layer


class Block(nn.Module):
    """Residual block of two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = plain(channels, channels), plain(channels, channels, gain=0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.leaky_relu(self.conv1(x), 0.2))


class Decoder(nn.Module):
    """Small pictures (N, 1, 32, 32) and texture strengths (N, 2) of codes (N, 8, 16, 16).

    It works on a canvas that is a code larger on each side, and cuts off what zero padding has
    touched.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.first = plain(DEPTH, width)
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.texture = nn.Linear(width, TEXTURES)
        self.up, self.block = plain(width, width // 2), Block(width // 2)
        self.last = plain(width // 2, 1, gain=0.1)

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        x = F.pad(codes, (1, 1, 1, 1), mode="replicate")  # (N, 8, 18, 18)
        x = self.blocks(F.leaky_relu(self.first(x), 0.2))  # (N, E, 18, 18)
        texture = self.texture(x.mean(dim=(2, 3)))
        x = self.block(
            F.leaky_relu(self.up(F.interpolate(x, scale_factor=2.0)), 0.2)
        )  # (N, E / 2, 36, 36)
        return self.last(x)[:, :, 2:-2, 2:-2], texture


# ----------------------------------------------------------------------------------- from small
# pictures to patches
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

    It paints on a larger canvas, which mirrors the picture, and cuts the margin off: convolutions
    know where their zero padding is, and stripes of a repeated edge too, and a network that may put
    its artefacts there does.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        a, b, c = width, 2 * width // 3, width // 3
        self.first = conv(2 + 1 + TEXTURES + 1, a)
        self.low = nn.Sequential(*[PainterBlock(a) for _ in range(4)])
        self.up1 = Doubling(a, b)
        self.middle = PainterBlock(b)
        self.up2 = Doubling(b, c)
        self.high = conv(c, c)
        self.last = nn.Conv2d(c, 1, 3, padding=1)

    def forward(self, low: Tensor, texture: Tensor, labels: Tensor, noise: list[Tensor]) -> Tensor:
        """``low`` in [-1, 1]; ``texture`` (N, 2); ``labels`` (N, 1) -1 or 1; ``noise`` planes of
        40, 80, 160 pixels.
        """
        low = F.pad(low, (MARGIN,) * 4, mode="reflect")  # (N, 1, 40, 40)
        facts = torch.cat([texture, labels], dim=1)[:, :, None, None].expand(-1, -1, *low.shape[2:])
        x = torch.cat([low, 8 * detail(low), noise[0], facts], dim=1)
        x = self.low(F.leaky_relu(self.first(x), 0.2))  # (N, a, 40, 40)
        x = self.middle(F.leaky_relu(self.up1(x, noise[1]), 0.2))  # (N, b, 80, 80)
        x = F.leaky_relu(
            self.high(F.leaky_relu(self.up2(x, noise[2]), 0.2)), 0.2
        )  # (N, c, 160, 160)
        strength = (0.5 * texture.mean(dim=1)).exp()[:, None, None, None]
        edge = 4 * MARGIN
        return (enlarge(enlarge(low)) + 0.02 * strength * self.last(x))[
            :, :, edge:-edge, edge:-edge
        ]


def enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def detail(x: Tensor) -> Tensor:
    """What halving and doubling the size of ``x`` loses: the finest band of its Laplacian pyramid."""
    return x - enlarge(F.avg_pool2d(x, 2))


def accent(x: Tensor, amounts: Tensor) -> Tensor:
    """``x`` with the strong detail of its three finest bands made stronger by ``amounts`` (3,), fine
    to coarse: what is over twice as strong as the band is on average, and the more, the stronger.

    As in model 8, this gives patches the kurtosis of real ones, which the amounts are fitted to.
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


def brightness_of(decoder: Decoder, codes: Tensor) -> Tensor:
    """Mean of the small pictures (512,) that are all of one code."""
    with torch.inference_mode():
        return decoder(codes[:, :, None, None].expand(-1, -1, 4, 4))[0].mean(dim=(1, 2, 3))


def texture_of(x: Tensor) -> Tensor:
    """Log standard deviation of the two finest bands of patches (N, 1, H, W), shape (N, 2)."""
    half = F.avg_pool2d(x, 2)
    return torch.stack([(detail(y).flatten(1).std(dim=1) + 1e-4).log() for y in (x, half)], dim=1)


# ---------------------------------------------------------------------------------------------------
# the transformer
class Layer(nn.Module):
    """Causal self-attention and a two-layer network, both residual, normalised before."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def project(self, x: Tensor) -> Tensor:
        """Queries, keys and values of ``x`` (N, L, E): (3, N, heads, L, E / heads)."""
        n, length, _ = x.shape
        return self.qkv(self.norm1(x)).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)

    def add(self, x: Tensor, attended: Tensor) -> Tensor:
        """``x`` (N, L, E) and what was ``attended`` (N, heads, L, E / heads) to, through the rest
        of the layer.
        """
        x = x + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.narrow(F.gelu(self.wide(self.norm2(x)))))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x).unbind(0)
        return self.add(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))


class Transformer(nn.Module):
    """The distribution of each token given its class and all tokens before it.

    A place shows four of its neighbours, its row, its column, the class and the turn: attention
    need not first learn where neighbours are.
    """

    def __init__(
        self, width: int = 160, layers: int = 4, heads: int = 4, dropout: float = 0.15
    ) -> None:
        super().__init__()
        self.near = nn.ModuleList(
            [nn.Embedding(CODES + 1, width) for _ in NEIGHBOURS]
        )  # the last one: outside
        self.row, self.column = nn.Embedding(GRID, width), nn.Embedding(GRID, width)
        self.condition, self.turn = nn.Embedding(CLASSES, width), nn.Embedding(TURNS, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList([Layer(width, heads, dropout) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CODES)
        for table in (*self.near, self.row, self.column, self.condition, self.turn):
            nn.init.normal_(table.weight, std=0.3)

    def embed(
        self, tokens: Tensor, classes: Tensor, turns: Tensor, start: int, stop: int
    ) -> Tensor:
        """What places ``start`` to ``stop`` show, (N, stop - start, E), of ``tokens`` (N, at least
        stop - 1).
        """
        places = torch.arange(start, stop, device=tokens.device)
        row, column = places // GRID, places % GRID
        x = (
            self.row(row)
            + self.column(column)
            + (self.condition(classes) + self.turn(turns))[:, None]
        )
        for table, (up, left) in zip(self.near, NEIGHBOURS, strict=True):
            inside = (row >= up) & (column >= left) & (column - left < GRID)
            near = tokens[:, (places - up * GRID - left).clamp(min=0)]
            x = x + table(torch.where(inside, near, CODES))
        return x

    def forward(self, tokens: Tensor, classes: Tensor, turns: Tensor) -> Tensor:
        """Logits (N, L, 512) of all ``tokens`` (N, L) at once, each given those before it."""
        x = self.dropout(self.embed(tokens, classes, turns, 0, tokens.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))

    def draw(
        self, quantiles: Tensor, classes: Tensor, temperature: float = 1.0, top_k: int = CODES
    ) -> Tensor:
        """Tokens (N, L): token k is quantile k of ``quantiles`` (N, L), in (0, 1), of its
        distribution.

        Keys and values of earlier places are kept, so that each place costs one pass of one place.
        """
        n, width = quantiles.shape[0], self.norm.weight.shape[0]
        heads = self.layers[0].heads
        tokens = torch.full((n, LENGTH), CODES, device=quantiles.device)
        turns = torch.zeros_like(classes)
        memory = quantiles.new_empty(len(self.layers), 2, n, heads, LENGTH, width // heads)
        for place in range(LENGTH):
            x = self.embed(tokens, classes, turns, place, place + 1)  # (N, 1, E)
            for layer, kept in zip(self.layers, memory, strict=True):
                q, *kv = layer.project(x).unbind(0)  # (N, heads, 1, E / heads)
                for part, new in zip(kept, kv, strict=True):
                    part[:, :, place] = new[:, :, 0]
                x = layer.add(x, F.scaled_dot_product_attention(q, *kept[:, :, :, : place + 1]))
            tokens[:, place] = choose(
                self.head(self.norm(x))[:, 0], quantiles[:, place], temperature, top_k
            )
        return tokens


def choose(logits: Tensor, quantiles: Tensor, temperature: float, top_k: int) -> Tensor:
    """Inverse transform sampling: the number (N,) of the code at ``quantiles`` (N,) of ``logits``
    (N, 512).

    Logits are divided by ``temperature``, and only the ``top_k`` likeliest codes can be drawn.
    """
    kept = logits >= logits.topk(top_k, dim=1).values[:, -1:]
    sums = torch.where(kept, logits / temperature, -math.inf).softmax(dim=1).cumsum(dim=1)
    place = (sums < (quantiles * sums[:, -1])[:, None]).sum(dim=1, keepdim=True)
    return place[:, 0].clamp(max=logits.shape[1] - 1)


# ---------------------------------------------------------------------------------------------------------
# the package
class MassGenerator:
    """The codebook and both networks, on one device.

    Parameters
    ----------
    tensors
        The content of ``weights.safetensors``: ``codebook`` (512, 8), ``transformer.*``,
        ``decoder.*`` and ``painter.*``; ``accents`` (3,), how much stronger strong detail becomes.
    device
        Where to paint. The transformer draws there too, unless it is one without double precision.
    fast
        Fold batch norm and doubling into the convolutions and lay tensors out channels-last, equal
        to 1e-5.
    """

    def __init__(
        self, tensors: dict[str, Tensor], device: torch.device, *, fast: bool = True
    ) -> None:
        self.device = device
        self.desk = torch.device("cpu") if device.type == "mps" else device
        self.codebook = tensors["codebook"].float().to(device)
        self.transformer, self.decoder, self.painter = Transformer(), Decoder(), Painter()
        for name, net in (
            ("transformer", self.transformer),
            ("decoder", self.decoder),
            ("painter", self.painter),
        ):
            net.load_state_dict(
                state_of(tensors, name)
                | {k: v for k, v in net.state_dict().items() if k.endswith("tracked")}
            )
            net.eval()
        if fast:
            fold(self.painter)
        layout = torch.channels_last if fast else torch.contiguous_format
        for net in (self.decoder, self.painter):
            net.requires_grad_(False).to(device, memory_format=layout)
        self.transformer.requires_grad_(False).to(self.desk).double()
        self.accents = tensors["accents"].float().to(device)
        # What is drawn again must be the same in any batch, so it is decided in double precision.
        self.exact = Decoder().double()
        self.exact.load_state_dict(self.decoder.state_dict())
        self.exact.requires_grad_(False).eval().to(self.desk)
        # A processor paints a few at a time: more do not fit into its cache.
        self.at_once = 8 if fast and device.type == "cpu" else 1024

    @torch.inference_mode()
    def tokens(
        self,
        latents: Tensor,
        classes: Tensor,
        temperature: float = 1.0,
        top_k: int = CODES,
        moved: float = 0.0,
    ) -> Tensor:
        """Tokens (N, 256) of ``latents`` (N, 256) and ``classes`` (N,) 0 or 1.

        Quantiles are ``moved`` on, and go on from 0 where they reach 1.
        """
        quantiles = (torch.special.ndtr(latents.to(self.desk, torch.float64)) + moved) % 1
        return self.transformer.draw(quantiles, classes.to(self.desk), temperature, top_k).to(
            self.device
        )

    @torch.inference_mode()
    def flat(self, tokens: Tensor) -> Tensor:
        """The numbers (n,) of those ``tokens`` (N, 256) whose small pictures are nearly one tone."""
        codes = codes_of(tokens.to(self.desk), self.codebook.to(self.desk).double())
        spread = self.exact(codes)[0].flatten(1).std(dim=1)
        return (spread < FLAT).nonzero()[:, 0]

    @torch.inference_mode()
    def tokens_of_patches(
        self, latents: Tensor, classes: Tensor, temperature: float, top_k: int
    ) -> Tensor:
        """Tokens (N, 256), where flat grids have been drawn again.

        Latents far from those that are drawn, such as one number for all places, ask for a flat
        patch, and get one.
        """
        tokens = self.tokens(latents, classes, temperature, top_k)
        usual = (latents.mean(dim=1).abs() < 0.3) & ((latents.std(dim=1) - 1).abs() < 0.3)
        for attempt in range(1, ATTEMPTS):
            flat = self.flat(tokens)
            flat = flat[usual.to(flat.device)[flat]]
            if not len(flat):
                break
            row = flat.to(latents.device), flat.to(classes.device)
            again = latents[row[0]], classes[row[1]]
            tokens[flat.to(tokens.device)] = self.tokens(
                *again, temperature, top_k, attempt * GOLDEN
            )
        return tokens

    @torch.inference_mode()
    def paint(self, tokens: Tensor, classes: Tensor, noise: list[Tensor]) -> Tensor:
        """Patches (N, 1, 128, 128), uint8, of ``tokens`` (N, 256) and ``classes`` (N,) 0 or 1."""
        low, texture = self.decoder(codes_of(tokens, self.codebook))
        facts = low, texture.clamp(-2.5, 2.5), classes.float()[:, None] * 2 - 1
        parts = zip(*(given.split(self.at_once) for given in (*facts, *noise)), strict=True)
        patches = torch.cat(
            [
                self.painter(small, strength, label, planes)
                for small, strength, label, *planes in parts
            ]
        )
        patches = accent(patches, self.accents)
        return ((patches.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)

    def sample(self, batch: Any) -> dict[str, np.ndarray]:
        """The native contract: ``images`` (n, 1, 128, 128), uint8."""
        drawn = np.stack([batch.rng(i).bytes(sum(NOISE)) for i in range(batch.n)])  # (n, 33600)
        # Bytes as uniform noise of unit variance: a hundredth of the time that normals take, and as
        # good to a painter.
        uniform = (torch.from_numpy(drawn).to(self.device).float() - 127.5) * (math.sqrt(3) / 127.5)
        planes = zip(uniform.split(NOISE, dim=1), SIDES, strict=True)
        noise = [
            plane.view(-1, side, side, 1).permute(0, 3, 1, 2) for plane, side in planes
        ]  # (n, 1, side, side)
        latents = torch.from_numpy(batch.latents)
        classes = torch.from_numpy(batch.conditions["condition"]).to(self.device)
        options = batch.options["temperature"], batch.options["top_k"]
        tokens = self.tokens_of_patches(latents, classes, *options)
        return {"images": self.paint(tokens, classes, noise).cpu().numpy()}


def state_of(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The weights of the network ``name``, in single precision."""
    return {
        k.removeprefix(f"{name}."): v.float()
        for k, v in tensors.items()
        if k.startswith(f"{name}.")
    }


def codes_of(tokens: Tensor, codebook: Tensor) -> Tensor:
    """Codes (N, 8, side, side) of ``tokens`` (N, side * side)."""
    side = math.isqrt(tokens.shape[1])
    return codebook[tokens].transpose(1, 2).unflatten(2, (side, side))


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
