"""Train model 106 on mammography mass patches.

    python train.py --data cbis_ddsm_masses_128.zip --out runs/masses            # everything, then weights.safetensors
    python train.py --data ... --out ... --stage codebook                        # one stage

The data set is a zip or a folder of 128x128 gray PNG files, ``train/is_benign_true/*.png`` and
``train/is_benign_false/*.png``; nothing else of it is read. Both stages are seeded, write a
checkpoint and a sheet of samples every few minutes, and continue from the last checkpoint when
started again.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path

import model as m  # the package's own, beside this script
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parent.parent))  # training.py; a copy has it beside
import training
from training import (
    Average,
    PatchCritic,
    Run,
    augment,
    fade,
    floats,
    halves,
    hinge,
    log_kurtosis,
    mixed,
    state_in,
    warm_up,
)

# codebook steps before codes are rounded to the codebook, which then begins as codes in use
FREE_UNTIL = 200
CRITIC_ALONE = 80  # painter steps in which only the critic learns
# share of the tokens before a place that the transformer is shown wrong, so that it forgives its
# own slips
SWAPPED = 0.05


# -------------------------------------------------------------------------------------------------------
# the data
def patients_of(names: list[str]) -> Tensor:
    """Whole numbers (N,) for the patients ``P_00009`` in names of files; a file without one counts
    as a patient.
    """
    found = [re.search(r"P_\d+", name) for name in names]
    patients = [match.group() if match else name for match, name in zip(found, names, strict=True)]
    return torch.from_numpy(np.unique(patients, return_inverse=True)[1])


def turned(x: Tensor, turn: int) -> Tensor:
    """``x`` (N, C, H, W) in one of its eight mirrored and turned versions; the first is ``x``."""
    x = x.flip(3) if turn & 1 else x
    x = x.flip(2) if turn & 2 else x
    return x.transpose(2, 3) if turn & 4 else x


def sheet(images: Tensor, path: Path, columns: int = 8) -> None:
    """Write (N, 1, H, W) in [-1, 1] as one PNG."""
    training.sheet((images + 1) * 127.5, path, columns)


def warm_up_and_decay(step: int, steps: int) -> float:
    """The part of a learning rate at a step."""
    return warm_up(step, 100) * (0.02 + 0.98 * training.cosine(step, steps))


# ---------------------------------------------------------------------------------------------
# stage 1: the codebook
class Encoder(nn.Module):
    """Codes (N, 8, 16, 16) of length 1, not yet rounded, of patches (N, 1, 128, 128)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.first, self.block = m.plain(2 + 16, width // 2), m.Block(width // 2)
        self.down = m.plain(width // 2, width, 2)
        self.blocks = nn.Sequential(m.Block(width), m.Block(width))
        self.last = nn.Conv2d(width, m.DEPTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        low = F.avg_pool2d(x, 4)
        x = torch.cat(
            [low, 8 * m.detail(low), 16 * F.pixel_unshuffle(m.detail(x), 4)], dim=1
        )  # (N, 18, 32, 32)
        x = self.block(F.leaky_relu(self.first(x), 0.2))  # (N, E / 2, 32, 32)
        x = self.blocks(F.leaky_relu(self.down(x), 0.2))  # (N, E, 16, 16)
        return F.normalize(self.last(x).float(), dim=1)


class Codebook(nn.Module):
    """Codes of length 1, each a moving average of what is rounded to it (van den Oord et al.,
    arXiv:1711.00937).

    Lengths are fixed as by Yu et al. (arXiv:2110.04627), and a code that hardly anything is rounded
    to starts again as one of the current codes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codes", F.normalize(torch.randn(m.CODES, m.DEPTH), dim=1))
        self.register_buffer("counts", torch.zeros(m.CODES))  # 0: not yet in use

    def nearest(self, codes: Tensor) -> Tensor:
        """Tokens (N, L) of ``codes`` (N, 8, h, w)."""
        return (codes.flatten(2).transpose(1, 2) @ self.codes.T).argmax(dim=2)

    @torch.no_grad()
    def update(self, codes: Tensor, tokens: Tensor, decay: float = 0.99) -> None:
        flat, numbers = codes.flatten(2).transpose(1, 2).reshape(-1, m.DEPTH), tokens.flatten()
        hits = torch.bincount(numbers, minlength=m.CODES).float()
        sums = torch.zeros_like(self.codes).index_add_(0, numbers, flat)
        share = (
            (1 - decay) * hits / ((1 - decay) * hits + decay * self.counts + 1e-6)
        )  # of the news in each code
        means = sums / hits.clamp(min=1)[:, None]
        self.codes.copy_(F.normalize(self.codes + share[:, None] * (means - self.codes), dim=1))
        self.counts.mul_(decay).add_(hits, alpha=1 - decay)
        dead = self.counts < 0.05 * len(flat) / m.CODES
        self.codes[dead] = flat[torch.randint(len(flat), (int(dead.sum()),), device=flat.device)]
        self.counts[dead] = len(flat) / m.CODES

    def perplexity(self) -> float:
        p = self.counts / self.counts.sum().clamp(min=1e-9)
        return float((-(p * (p + 1e-9).log()).sum()).exp())


def spread_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread of the texture strengths of patches."""
    texture = m.texture_of(x)
    return texture.mean(dim=0), texture.std(dim=0)


def own_weights(a: argparse.Namespace) -> dict[str, Tensor]:
    """The weights of ``--init`` if they are this model's; otherwise empty.

    Then the codebook and its decoder stay as they are, an encoder to them is trained, since files
    of weights hold none, and the transformer goes on from where it was.
    """
    tensors = load_file(a.init) if a.init else {}
    return tensors if "codebook" in tensors else {}


def train_codebook(a: argparse.Namespace, x: Tensor) -> None:
    torch.manual_seed(a.seed)
    device = torch.device(a.device)
    x = x.to(device)
    mean, spread = spread_of(x)
    nets = nn.ModuleDict({"encoder": Encoder(), "decoder": m.Decoder()}).to(
        device, memory_format=torch.channels_last
    )
    codebook, kept_weights = Codebook().to(device), own_weights(a)
    if kept_weights:
        codebook.codes.copy_(kept_weights["codebook"].float())
        codebook.counts.fill_(1)
        training.load_part(nets["decoder"], kept_weights, "decoder").requires_grad_(False)
    average = Average(nets, 0.995)
    make = torch.optim.Adam(nets.parameters(), lr=2e-3, betas=(0.9, 0.99))
    parts = {"nets": nets, "codebook": codebook, "average": average.net, "make": make}
    run = Run(a.out / "codebook.pt", a.seed, **parts)
    while run.step < a.codebook_steps:
        make.param_groups[0]["lr"] = 2e-3 * warm_up_and_decay(run.step, a.codebook_steps)
        real = turned(
            x[torch.randint(len(x), (32,), device=device)], int(torch.randint(m.TURNS, ()))
        )
        with mixed(device):
            codes = nets["encoder"](real)
        kept = codes.new_zeros(())
        if run.step >= FREE_UNTIL:
            if run.step == FREE_UNTIL and not kept_weights:
                flat = codes.detach().transpose(0, 1).flatten(1).T
                codebook.codes.copy_(flat[torch.randperm(len(flat), device=device)[: m.CODES]])
                codebook.counts.fill_(len(flat) / m.CODES)
            tokens = codebook.nearest(codes.detach())
            if not kept_weights:
                codebook.update(codes.detach(), tokens)
            rounded = m.codes_of(tokens, codebook.codes)
            kept = (codes - rounded).square().sum(dim=1).mean()
            codes = (
                codes + (rounded - codes).detach()
            )  # the gradient passes as if nothing were rounded
        with mixed(device):
            small, texture = nets["decoder"](codes)
        small, wanted = small.float(), F.avg_pool2d(real, 4)
        whole, fine = F.l1_loss(small, wanted), F.l1_loss(m.detail(small), m.detail(wanted))
        strength = (texture.float() - (m.texture_of(real) - mean) / spread).abs().mean()
        loss = 10 * whole + 20 * fine + kept + 0.2 * strength
        make.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(nets.parameters(), 2.0)
        make.step()
        run.advance(whole, fine, kept, strength)
        average.update(nets, run.step)
        if run.due(a.every, a.codebook_steps):
            run.save("whole, fine, kept, texture", f"perplexity {codebook.perplexity():.0f}")
            with torch.inference_mode():
                pick = x[:: max(1, len(x) // 16)][:16]
                codes = m.codes_of(codebook.nearest(average.net["encoder"](pick)), codebook.codes)
                wanted, small = (
                    F.interpolate(p, scale_factor=3.0)
                    for p in (F.avg_pool2d(pick, 4), average.net["decoder"](codes)[0])
                )
            sheet(torch.cat([wanted[:8], small[:8], wanted[8:], small[8:]]), a.out / "codebook.png")


def trained_codebook(a: argparse.Namespace) -> tuple[Encoder, m.Decoder, Codebook]:
    """What the first stage made, averaged, with the codes in the order of the brightness that they
    are decoded to.
    """
    out = a.out
    nets, codebook = (
        nn.ModuleDict({"encoder": Encoder(), "decoder": m.Decoder()}).eval(),
        Codebook(),
    )
    nets.load_state_dict(state_in(out / "codebook.pt"))
    codebook.load_state_dict(state_in(out / "codebook.pt", "codebook"))
    if own_weights(a):  # in order already, and known by their numbers to the transformer
        return nets["encoder"], nets["decoder"], codebook
    brightness = m.brightness_of(nets["decoder"], codebook.codes)
    codebook.codes.copy_(codebook.codes[brightness.argsort()].clone())
    return nets["encoder"], nets["decoder"], codebook


# ------------------------------------------------------------------------------------------ stage
# 2: the transformer
@torch.inference_mode()
def tokens_of(x: Tensor, encoder: Encoder, codebook: Codebook) -> Tensor:
    """Tokens (8, N, 256) of patches (N, 1, 128, 128) in all their turns."""
    return torch.stack(
        [
            torch.cat([codebook.nearest(encoder(turned(p, t))) for p in x.split(32)])
            for t in range(m.TURNS)
        ]
    )


def held_out(patients: Tensor) -> Tensor:
    """Which patches, as booleans (N,), never train the transformer: those of a tenth of the
    patients.
    """
    numbers = patients.unique()
    chosen = numbers[
        torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))[
            : max(1, len(numbers) // 10)
        ]
    ]
    return torch.isin(patients, chosen)


def train_transformer(a: argparse.Namespace, x: Tensor, y: Tensor, patients: Tensor) -> None:
    torch.manual_seed(a.seed + 1)
    device = torch.device(a.device)
    encoder, decoder, codebook = trained_codebook(a)
    tokens, aside = tokens_of(x, encoder, codebook), held_out(patients)
    used = (~aside).nonzero()[:, 0]
    net = m.Transformer()
    with torch.no_grad():  # like codes begin with like embeddings and like chances
        for table, strength in (*((near, 0.3) for near in net.near), (net.head, 0.1)):
            table.weight[: m.CODES] = (
                codebook.codes @ torch.randn(m.DEPTH, table.weight.shape[1]) * strength
            )
    if kept_weights := own_weights(a):
        training.load_part(net, kept_weights, "transformer")
    net.to(device)
    average = Average(net, 0.995)
    optimiser = torch.optim.AdamW(net.parameters(), lr=a.rate, betas=(0.9, 0.98), weight_decay=0.05)
    run = Run(
        a.out / "transformer.pt",
        a.seed + 1,
        numbers={"best": math.inf},
        net=net,
        average=average.net,
        optimiser=optimiser,
    )

    def loss_of(
        model: m.Transformer, batch: Tensor, classes: Tensor, turns: Tensor, swapped: float = 0.0
    ) -> Tensor:
        shown = torch.where(
            torch.rand(batch.shape) < swapped, torch.randint(m.CODES, batch.shape), batch
        )
        with mixed(device):
            logits = model(shown.to(device), classes.to(device), turns.to(device))
        return F.cross_entropy(logits.float().flatten(0, 1), batch.to(device).flatten())

    while run.step < a.transformer_steps:
        optimiser.param_groups[0]["lr"] = a.rate * warm_up_and_decay(run.step, a.transformer_steps)
        i, turns = used[torch.randint(len(used), (16,))], torch.randint(m.TURNS, (16,))
        loss = loss_of(net, tokens[turns, i], y[i], turns, SWAPPED)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        run.advance(loss)
        average.update(net, run.step)
        if run.due(a.every, a.transformer_steps):
            with torch.inference_mode():
                there = torch.zeros(int(aside.sum()), dtype=torch.long)
                held = loss_of(average.net, tokens[0, aside], y[aside], there).item()
            if held < run.numbers["best"]:
                run.numbers["best"] = held
                best = {"net": average.net.state_dict(), "step": run.step, "loss": held}
                training.save(a.out / "best.pt", best)
            run.save("loss", f"held out {held:.4f}")
            generator = torch.Generator().manual_seed(0)
            with torch.inference_mode():
                quantiles = (
                    torch.rand(a.shown, m.LENGTH, generator=generator)
                    .clamp(1e-6, 1 - 1e-6)
                    .to(device)
                )
                drawn = average.net.draw(
                    quantiles, torch.arange(a.shown, device=device) % m.CLASSES
                ).cpu()
                small, _ = decoder(m.codes_of(drawn, codebook.codes))
            sheet(F.interpolate(small, scale_factor=3.0), a.out / "transformer.png")


# ----------------------------------------------------------------------------------------------
# stage 3: the painter
def draw_noise(
    n: int, side: int, device: torch.device, generator: torch.Generator | None = None
) -> list[Tensor]:
    """The painter's noise for small pictures of ``side`` pixels: one plane per scale."""
    side += 2 * m.MARGIN
    return training.uniform_noise(n, (side, 2 * side, 4 * side), device, generator)


def train_painter(a: argparse.Namespace, x: Tensor, y: Tensor) -> None:
    torch.manual_seed(a.seed + 2)
    device = torch.device(a.device)
    encoder, decoder, codebook = trained_codebook(a)
    _, spread = spread_of(x)
    tokens = tokens_of(x, encoder, codebook)  # (8, N, 256)
    x, y, codes = x.to(device), y.to(device), codebook.codes.to(device)
    decoder.to(device)
    net = m.Painter()
    if a.init:
        training.load_part(net, load_file(a.init), "painter")
    net.to(device, memory_format=torch.channels_last)
    critic = PatchCritic().to(device, memory_format=torch.channels_last)
    average = Average(net, 0.99)
    make = torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.0, 0.99))
    judge = torch.optim.Adam(critic.parameters(), lr=4e-4, betas=(0.0, 0.99))
    parts = {"net": net, "critic": critic, "average": average.net, "make": make, "judge": judge}
    run = Run(a.out / "painter.pt", a.seed + 2, **parts)
    while run.step < a.painter_steps:
        pace = fade(run.step, a.painter_steps, 4, 0.02)
        make.param_groups[0]["lr"] = 1e-4 * pace * (run.step >= CRITIC_ALONE)
        judge.param_groups[0]["lr"] = 4e-4 * pace
        i, turn = torch.randint(len(x), (16,), device=device), int(torch.randint(m.TURNS, ()))
        real, classes = turned(x[i], turn), y[i]
        with torch.no_grad():
            low, strength = decoder(m.codes_of(tokens[turn, i.cpu()].to(device), codes))
        with mixed(device):
            fake = net(
                low, strength, classes.float()[:, None] * 2 - 1, draw_noise(len(i), m.LOW, device)
            ).float()
            votes = critic(torch.cat(augment(real, fake.detach())), classes.repeat(2)).float()
        loss_critic = hinge(votes[: len(i)], votes[len(i) :])
        judge.zero_grad()
        loss_critic.backward()
        judge.step()
        critic.requires_grad_(False)
        with mixed(device):
            vote = critic(augment(real, fake)[1], classes).float().mean()
        critic.requires_grad_(True)
        keeps_low = F.l1_loss(F.avg_pool2d(fake, 4), F.avg_pool2d(real, 4))
        keeps_texture = ((m.texture_of(fake) - m.texture_of(real)) / spread).abs().mean()
        keeps_tails = (
            (log_kurtosis(fake).mean(dim=0) - log_kurtosis(real).mean(dim=0)).square().mean()
        )
        loss = -vote + 10 * keeps_low + keeps_texture + 4 * keeps_tails
        make.zero_grad()
        loss.backward()
        make.step()
        run.advance(loss_critic, vote, keeps_low, keeps_texture, keeps_tails)
        average.update(net, run.step)
        if run.due(a.every, a.painter_steps):
            run.save("critic, vote, low, texture, tails")
            with torch.inference_mode():
                pick = torch.arange(0, len(x), max(1, len(x) // 16))[:16]
                small = decoder(m.codes_of(tokens[0, pick].to(device), codes))
                noise = draw_noise(len(pick), m.LOW, device, torch.Generator().manual_seed(0))
                painted = average.net(*small, y[pick].float()[:, None] * 2 - 1, noise)
            sheet(
                torch.cat([x[pick][:8], painted[:8], x[pick][8:], painted[8:]]),
                a.out / "painter.png",
            )


# ------------------------------------------------------------------------------------------------------
# the package
@torch.no_grad()
def fit_accents(tensors: dict[str, Tensor], x: Tensor, seed: int, n: int) -> Tensor:
    """Amounts for ``model.accent`` (3,) with which the mean log kurtosis of ``n`` samples is that
    of the patches ``x``.
    """
    plain = m.MassGenerator(tensors | {"accents": torch.zeros(3)}, torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for part in torch.randn(n, m.LENGTH, generator=generator).split(32):
        classes = torch.arange(len(part)) % m.CLASSES
        tokens = plain.tokens_of_patches(part, classes, 1.0, m.CODES)
        noise = draw_noise(len(part), m.LOW, plain.device, generator)
        drawn.append(plain.paint(tokens, classes, noise).float() / 127.5 - 1)
    pictures, amounts = torch.cat(drawn), torch.zeros(3)
    wanted = log_kurtosis(x).mean(dim=0)
    for _ in range(8):  # the kurtosis of a band grows by about 4 times its amount
        made = log_kurtosis(m.accent(pictures, amounts)).mean(dim=0)
        amounts += F.pad((wanted - made) / 4, (0, 1))  # the third band stays
    return amounts


def write_weights(a: argparse.Namespace, x: Tensor) -> None:
    """One file for ``model.load``: the codebook and the networks, the transformer of the lowest
    held-out loss; half precision.
    """
    _, decoder, codebook = trained_codebook(a)
    tensors = {"codebook": codebook.codes} | floats(decoder.state_dict(), "decoder")
    tensors |= floats(state_in(a.out / "best.pt", "net"), "transformer")
    if (a.out / "painter.pt").exists():
        tensors |= floats(state_in(a.out / "painter.pt"), "painter")
    else:  # nothing was painted again
        tensors |= {k: v for k, v in own_weights(a).items() if k.startswith("painter.")}
    tensors["accents"] = fit_accents(tensors, x, a.seed, a.fitted)
    training.write_weights(halves(tensors), a.out / "weights.safetensors")


def main() -> None:
    parser = training.parser_of(
        __doc__, data="zip or folder with train/is_benign_{true,false}/*.png", seed=106, every=200
    )
    parser.add_argument(
        "--stage", choices=["codebook", "transformer", "painter", "weights", "all"], default="all"
    )
    parser.add_argument(
        "--codebook-steps", type=int, default=1_000, help="optimiser steps of 32 pictures"
    )
    parser.add_argument(
        "--transformer-steps", type=int, default=1_350, help="optimiser steps of 16 pictures"
    )
    parser.add_argument(
        "--painter-steps", type=int, default=360, help="steps of 16 pictures; 10,000 without --init"
    )
    parser.add_argument(
        "--rate", type=float, default=2e-3, help="highest learning rate of the transformer"
    )
    parser.add_argument(
        "--init",
        type=Path,
        help="weights.safetensors whose painter this one begins as: of model 8, version 2.0.0 or "
        "2.1.0 (later ones have a slimmer painter), or of this model, whose codebook then stays "
        "and whose transformer is trained on",
    )
    parser.add_argument(
        "--fitted", type=int, default=256, help="samples that the accents are fitted to"
    )
    parser.add_argument("--shown", type=int, default=32, help="samples on transformer.png")
    a = training.arguments_of(parser)
    x, y, names = training.read_patches(a.data, m.SIZE)
    patients = patients_of(names)
    training.print_settings(a, patches=len(x), malignant=int(y.sum()))
    if a.stage in ("codebook", "all"):
        train_codebook(a, x)
    if a.stage in ("transformer", "all"):
        train_transformer(a, x, y, patients)
    if a.stage in ("painter", "all"):
        train_painter(a, x, y)
    if a.stage in ("weights", "all"):
        write_weights(a, x)


if __name__ == "__main__":
    main()
