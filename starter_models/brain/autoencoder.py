"""Train the first stage of the next brain models: an autoencoder with latents (4, 32, 32).

    python starter_models/brain/autoencoder.py --data brain_t1ce_cheng_256.zip --out runs/brain

It learns from the same slices as models 101 to 103, with the code of model 103's ``train.py``, and
starts from the weights that 102 and 103 ship. Run again with the same ``--out`` it continues from
its last checkpoint; ``--init eye.safetensors`` starts a new run from the weights of an earlier one.

The loss holds four things at once: pixels (in bands of a Laplacian pyramid, twice as much inside
the tumour's box), texture (a patch critic, and the strength of the two finest bands), the tails of
texture (log kurtosis of three bands of gray levels), and latents that stay readable when they are
halved in size, since a diffusion model has to make them from coarse to fine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

STARTERS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(STARTERS / "00103_VAE_MRI_BRAIN_TUMOURS"), str(STARTERS)]
import train as base  # noqa: E402  model 103's training
import training  # noqa: E402
from package import CHANNELS, SIDE, Decoder, Smooth  # noqa: E402
from training import (  # noqa: E402
    Average,
    Run,
    detail,
    fade,
    floats,
    frozen,
    hinge,
    load_part,
    mixed,
    warm_up,
)

m = base.m
NOISY = 0.15  # strongest noise on the latents in training: a diffusion model errs by as much


class Encoder(nn.Module):
    """Latents (N, 4, 32, 32) of tones (N, 1, 128, 128)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(16, width, 3, padding=1),
            *(Smooth(width) for _ in range(3)),
            nn.LeakyReLU(0.2),
        )
        self.last = nn.Conv2d(width, CHANNELS, 3, padding=1)
        self.unit = nn.BatchNorm2d(CHANNELS, affine=False, momentum=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.unit(self.last(self.body(x)).float())


def draw_noise(n: int, side: int = SIDE, seed: int | None = None) -> tuple[Tensor, Tensor]:
    """The decoder's noise for latents of ``side``: uniform, of unit variance."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    cpu = torch.device("cpu")
    first, second = training.uniform_noise(n, (2 * side, 4 * side), cpu, generator)
    return first, second


def gray(x: Tensor) -> Tensor:
    """Tones as gray levels in [-1, 1], as the judge sees them."""
    return m.to_gray(x) / 127.5 - 1


def bands(x: Tensor, count: int = 3) -> list[Tensor]:
    """The finest bands of a Laplacian pyramid of (N, 1, H, W), one row per picture."""
    rows = []
    for _ in range(count):
        rows.append(detail(x).flatten(1))
        x = F.avg_pool2d(x, 2)
    return rows


def texture(x: Tensor) -> tuple[Tensor, Tensor]:
    """Log standard deviation (N, 2) and log kurtosis (N, 3) of the finest bands of gray levels."""
    rows = bands(x)
    strength = torch.stack([(row.std(dim=1) + 1e-3).log() for row in rows[:2]], dim=1)
    centred = [row - row.mean(dim=1, keepdim=True) for row in rows]
    kurtosis = [
        (c.pow(4).mean(1) / (c.square().mean(1).square() + 1e-10) + 1e-4).log() for c in centred
    ]
    return strength, torch.stack(kurtosis, dim=1)


def put_corner(new: Tensor, old: Tensor) -> None:
    """Copy a smaller tensor into a larger one; channels that it has not are not listened to."""
    new[: old.shape[0], old.shape[1] :] = 0
    new[tuple(slice(size) for size in old.shape)] = old


@torch.no_grad()
def start_from_shipped(encoder: Encoder, decoder: Decoder) -> None:
    """The layers at 32x32 pixels and finer, of the first stage that 102 and 103 ship."""
    old = load_file(STARTERS / "00102_DIFFUSION_MRI_BRAIN_TUMOURS" / "weights.safetensors")
    pairs = [("body.5", decoder.low[3]), ("body.6", decoder.low[4]), ("body.9", decoder.middle[0])]
    pairs += [("body.7", decoder.up1[0]), ("body.11", decoder.up2[0])]
    pairs += [("body.14", decoder.high[1]), ("body.16", decoder.last)]
    for name, layer in pairs:
        for key, value in layer.state_dict().items():
            source = old[f"decoder.{name}.{key}"].float()
            if source.ndim == 1:
                value[: len(source)] = source
            else:
                put_corner(value, source)
    path = STARTERS / "00103_VAE_MRI_BRAIN_TUMOURS" / "weights.safetensors"
    shipped = training.state_of(load_file(path), "encoder")
    for name, layer in (("1", encoder.body[1]), ("2", encoder.body[2])):
        for key, value in layer.state_dict().items():
            if f"body.{name}.{key}" in shipped:
                value.copy_(shipped[f"body.{name}.{key}"])


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint, ``encoder.*`` and ``decoder.*``."""
    parts = {"encoder": "enc_avg", "decoder": "dec_avg"}
    states = {part: training.state_in(path, key) for part, key in parts.items()}
    return floats(states["encoder"], "encoder") | floats(states["decoder"], "decoder")


def read_networks(path: Path) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``eye.safetensors``."""
    tensors, cpu = load_file(path), torch.device("cpu")
    encoder = load_part(Encoder(), tensors, "encoder")
    decoder = load_part(Decoder(), tensors, "decoder")
    return frozen(encoder, cpu), frozen(decoder, cpu)


def train(a: argparse.Namespace, x: Tensor, kinds: Tensor, boxes: Tensor) -> None:
    torch.manual_seed(a.seed)
    n = a.batch
    encoder, decoder, critic = Encoder(), Decoder(), base.SliceCritic((32, 64, 96))
    if a.init:
        for net, trained in zip((encoder, decoder), read_networks(a.init), strict=True):
            net.load_state_dict(trained.state_dict())
    else:
        start_from_shipped(encoder, decoder)
    for net in (encoder, decoder, critic):
        net.to(memory_format=torch.channels_last)
    averages = Average(encoder, 0.998), Average(decoder, 0.998)
    weights = [*encoder.parameters(), *decoder.parameters()]
    make = torch.optim.Adam(weights, lr=a.rate, betas=(0.5, 0.99))
    judge = torch.optim.Adam(critic.parameters(), lr=4e-4, betas=(0.5, 0.99))
    parts = {"enc": encoder, "dec": decoder, "critic": critic, "make": make, "judge": judge}
    run = Run(a.out / "eye.pt", a.seed, **parts, enc_avg=averages[0].net, dec_avg=averages[1].net)
    device = torch.device("cpu")
    if a.freeze:
        encoder.load_state_dict(averages[0].net.state_dict())
        encoder.requires_grad_(False).eval()
    while run.step < a.steps:
        pace = fade(run.step, a.steps, 3, 0.03)
        strength = min(1.0, max(0.0, (run.step - a.critic_from) / 300))
        slow = 1.0 if run.step < a.critic_from else 0.5
        make.param_groups[0]["lr"] = a.rate * warm_up(run.step, 100) * pace * slow
        judge.param_groups[0]["lr"] = 4e-4 * pace
        i = torch.randint(len(x), (n,))
        real, box = base.moved(x[i], boxes[i], kinds[i])
        real = real.contiguous(memory_format=torch.channels_last)
        with mixed(device):
            z = encoder(real)
            noisy = z + NOISY * torch.rand(n, 1, 1, 1) * torch.randn_like(z)
            made = decoder(noisy, draw_noise(n)).float()
        pixels = 4 * base.band_difference(made, real) + 2 * ((made - real).abs() * box).mean()
        loss = pixels
        if run.step % 4 == 0:  # latents of half the size are those of a picture of half the size
            with mixed(device):
                half = decoder(F.avg_pool2d(z, 2), draw_noise(n, SIDE // 2)).float()
            loss = loss + 2 * base.band_difference(half, F.avg_pool2d(real, 2))
        with torch.no_grad():
            wanted = texture(gray(real))
        got = texture(gray(made))
        keeps_texture = (got[0] - wanted[0]).abs().mean()
        keeps_tails = (got[1].mean(0) - wanted[1].mean(0)).square().mean()
        loss_critic = vote = torch.zeros(())
        if run.step >= a.critic_from:
            with mixed(device):
                votes, _ = critic(torch.cat([real, made.detach()]))
            loss_critic = hinge(votes[:n], votes[n:])
            judge.zero_grad()
            loss_critic.backward()
            judge.step()
            critic.requires_grad_(False)
            with mixed(device):
                votes, like = critic(made)
                with torch.no_grad():
                    _, features = critic(real)
            critic.requires_grad_(True)
            vote = votes.mean()
            pairs = zip(like, features, strict=True)
            alike = sum((p - q).abs().mean() / q.abs().mean() for p, q in pairs).float()
            loss = loss + strength * (0.15 * alike / len(like) - 0.08 * vote)
            loss = loss + strength * (0.1 * keeps_texture + 0.2 * keeps_tails)
        make.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        make.step()
        l1 = F.l1_loss(made, real)
        run.advance(pixels, l1, keeps_texture, keeps_tails, loss_critic, vote)
        for average, net in list(zip(averages, (encoder, decoder), strict=True))[a.freeze :]:
            average.update(net, run.step)
        if run.due(a.every, a.steps):
            run.save("pixels, l1, texture, tails, critic, vote")
            training.write_weights(tensors_of(a.out / "eye.pt"), a.out / "eye.safetensors")
            show(averages[0].net, averages[1].net, x, a.out / "eye.png")


@torch.inference_mode()
def show(encoder: Encoder, decoder: Decoder, x: Tensor, path: Path) -> None:
    """Real slices and what is made of them, row under row."""
    pick = torch.linspace(0, len(x) - 1, 24).long()
    real = base.as_tones(x[pick])
    again = decoder(encoder(real), draw_noise(24, seed=0))
    base.sheet(torch.cat([t[k : k + 12] for k in (0, 12) for t in (real, again)]), path)


def main() -> None:
    parser = training.parser_of(
        __doc__,
        data="zip or folder with a folder per tumour and boxes.csv",
        out="folder for the checkpoint, the sheet and eye.safetensors",
        seed=102,
        every=100,
        threads=1,
        device=False,
    )
    parser.add_argument("--init", type=Path, help="eye.safetensors of an earlier run")
    parser.add_argument(
        "--freeze",
        action="store_true",
        help="train the decoder alone, so that latents stay as a diffusion model learned them",
    )
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--critic-from", type=int, default=1_200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    a = training.arguments_of(parser)
    x, kinds, boxes = base.read_slices(a.data)
    training.print_settings(a, slices=len(x))
    train(a, x, kinds, boxes)


if __name__ == "__main__":
    main()
