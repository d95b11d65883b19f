"""Train model 107, a differentially private GAN, on the Wisconsin diagnostic breast cancer data or
a table like it.

    pip install opacus scikit-learn                                    # needed here, and not to generate
    python train.py --out runs/nuclei                                  # the data that scikit-learn ships
    python train.py --out runs/own --data own.csv                      # the 30 columns by name, and diagnosis 0 or 1
    python train.py --out runs/rehearsal --rehearse                    # nuclei from formulas: where settings were chosen
    python train.py --out runs/nuclei --judge                          # figures of a finished run on real rows, or, where
                                                                       # there is none, of the
                                                                       weights beside this script

Real rows are touched in four places, each a Gaussian mechanism that Opacus' accountant counts:
twice to find where each class lies and how far each coordinate spreads, once for the covariance,
and in every step of DP-SGD, which trains the critic. Every row takes part in every step, so the
sampling rate is 1. The generator sees nothing but what these give. The noise comes from the
operating system's entropy: who knows its seed can take it off again, so none is kept.

A run that was killed goes on from its last checkpoint; what was released before is kept there and
not released again.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import math
import secrets
import sys
import warnings
from pathlib import Path
from typing import Any

import model as m  # the package's own, beside this script
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parent.parent))  # training.py; a copy has it beside
import training

RELEASES = (3.0, 3.0, 1.0)  # noise multipliers: place and spread twice, covariance
BOUNDS = (5.0, 7.0, 8.0)  # of the norms of what a row adds to each
FIRST_SPREAD = 0.35  # of a coordinate in [-1, 1], before anything is known
REACH = 6.0  # norm of a standardised row; longer ones are shortened
CLIP, RATE, DECAY = (
    4.5,
    0.3,
    0.05,
)  # of the critic's gradients; its learning rate; what it forgets in a step
STEPS, BATCH, AVERAGE = 400, 512, 0.98
PAIRS = np.triu_indices(30)
WEIGHT = np.where(PAIRS[0] == PAIRS[1], 1.0, 2**0.5)  # an entry beside the diagonal stands for two


# -------------------------------------------------------------------------------------------------------
# the data
def read_table(data: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, 30) and classes (n,), benign 0 and malignant 1."""
    if data is None:
        from sklearn.datasets import load_breast_cancer

        found = load_breast_cancer()
        order = [list(found.feature_names).index(name) for name in m.COLUMNS]
        return found.data[:, order], 1 - found.target  # scikit-learn counts the other way round
    with data.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(r[c]) for c in m.COLUMNS] for r in rows]), np.array(
        [int(r["diagnosis"]) for r in rows]
    )


def rehearsal(n: int = 569, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A cohort from formulas: nuclei are closed Fourier contours, measured as the data set's
    authors define it.
    """
    rng = np.random.default_rng(seed)
    classes = (rng.random(n) < 0.37).astype(int)
    angle, orders = np.linspace(0, 2 * np.pi, 64, endpoint=False), np.arange(2, 12)
    table = np.empty((n, 30))
    for i, malignant in enumerate(classes):
        k = int(rng.integers(10, 40))  # nuclei
        size, spread = (
            np.exp(rng.normal(np.log(12) + 0.35 * malignant, 0.14)),
            np.exp(rng.normal(-2.1 + 0.35 * malignant, 0.3)),
        )
        rough, gray = (
            np.exp(rng.normal(-3 + 0.5 * malignant, 0.35)),
            np.exp(rng.normal(np.log(18) + 0.17 * malignant, 0.2)),
        )
        waves = rough * np.exp(rng.normal(0, 0.4, (k, 1))) * orders**-1.1 * rng.rayleigh(1, (k, 10))
        phases = rng.uniform(0, 2 * np.pi, (k, 10, 1))
        r = 1 + (waves[:, :, None] * np.cos(orders[:, None] * angle + phases)).sum(
            axis=1
        )  # (k, 64)
        r *= size * np.exp(rng.normal(0, spread, (k, 1)))
        here = r * np.exp(1j * angle)
        side = np.roll(here, -1, axis=1) - here
        bend = np.imag(
            np.conj(side) * np.roll(side, -1, axis=1)
        )  # below zero where the contour is hollow
        radius, perimeter = r.mean(axis=1), np.abs(side).sum(axis=1)
        area = 0.5 * np.imag(np.conj(here) * np.roll(here, -1, axis=1)).sum(axis=1)
        local = (
            np.abs(r - (np.roll(r, 1, axis=1) + np.roll(r, -1, axis=1)) / 2).mean(axis=1) / radius
        )
        compactness = perimeter**2 / area / (4 * np.pi) - 0.98
        nuclei = np.stack(
            [
                radius,
                gray * np.exp(rng.normal(0, 0.15, k)),
                perimeter,
                area,
                0.06 + 4 * local,
                compactness,
                np.maximum(-bend, 0).sum(axis=1) / np.abs(bend).sum(axis=1),
                0.5 * (bend < 0).mean(axis=1),
                0.12 + 0.6 * np.abs(r - np.roll(r, 32, axis=1)).mean(axis=1) / radius,
                0.05 + 0.2 * local + 0.1 * compactness * np.exp(rng.normal(0, 0.1, k)),
            ],
            axis=1,
        )
        table[i] = np.r_[
            nuclei.mean(axis=0),
            nuclei.std(axis=0, ddof=1) / k**0.5,
            np.sort(nuclei, axis=0)[-3:].mean(axis=0),
        ]
    return table, classes


# --------------------------------------------------------------------------------------- what is
# released of the rows
def shorten(rows: np.ndarray, bound: float) -> np.ndarray:
    """Rows (n, k) with no norm above ``bound``."""
    return rows * np.minimum(1, bound / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12))


class Releases:
    """The three sums over real rows that the training starts from, each with Gaussian noise and
    counted.
    """

    def __init__(self, accountant: Any, noise: np.random.Generator) -> None:
        self.accountant, self.noise = accountant, noise

    def total(self, rows: np.ndarray, number: int) -> np.ndarray:
        """Sum of rows (n, k), shortened to the release's bound, with noise in proportion to it."""
        sigma, bound = RELEASES[number], BOUNDS[number]
        self.accountant.step(noise_multiplier=sigma, sample_rate=1.0)
        return shorten(rows, bound).sum(axis=0) + self.noise.normal(0, sigma * bound, rows.shape[1])

    def places(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Place of each class (2, 30), spread around it (30,), share of malignant rows. The second
        look is through the first one's glasses: a coordinate that spreads little would be lost in
        noise of a common size."""
        place, spread, classes = np.zeros((2, 30)), np.full(30, FIRST_SPREAD), np.eye(2)[y]
        for number, least in ((0, 0.02), (1, 0.1)):
            z = np.clip((x - place[y]) / spread, -3, 3)
            own = (classes[:, :, None] * z[:, None]).reshape(len(x), 60)
            total = self.total(np.concatenate([2 * classes, own, z**2 - 1], axis=1), number)
            counts = np.maximum(total[:2] / 2, 40)
            n, error = counts.sum(), RELEASES[number] * BOUNDS[number]
            shift = np.clip(total[2:62].reshape(2, 30) / counts[:, None], -1.5, 1.5)
            square = (
                1 + (total[62:] + error) / n - (counts[:, None] * shift**2).sum(axis=0) / n
            )  # rather too wide
            place, spread = place + shift * spread, spread * np.sqrt(np.clip(square, least, 9))
        return place, spread, float(counts[1] / n)

    def covariance(
        self, z: np.ndarray, y: np.ndarray, share: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """What is left of each class's place (2, 30), and the covariance within classes (30, 30) of
        standardised rows.
        """
        own = (np.eye(2)[y][:, :, None] * z[:, None]).reshape(len(z), 60)
        total = self.total(
            np.concatenate([own, z[:, PAIRS[0]] * z[:, PAIRS[1]] * WEIGHT / REACH], axis=1), 2
        )
        shares = np.array([1 - share, share])
        shift = total[:60].reshape(2, 30) / (shares[:, None] * len(z))
        square = np.zeros((30, 30))
        square[PAIRS] = total[60:] * REACH / WEIGHT / len(z)
        square = np.triu(square) + np.triu(square, 1).T - (shift.T * shares) @ shift
        values, vectors = np.linalg.eigh(square)
        return shift, (vectors * values.clip(0.02)) @ vectors.T


# --------------------------------------------------------------------------------------------------------
# the networks
class Generator(nn.Module):
    """Standardised coordinates (n, 30) of latents (n, 30) and classes (n,); begins as the Gaussian
    that was released.
    """

    def __init__(self, shift: np.ndarray, covariance: np.ndarray) -> None:
        super().__init__()
        values, vectors = np.linalg.eigh(covariance)
        order = values.argsort()[::-1]  # the first latents move most
        signs = np.sign(vectors[m.RADIUS, order])  # and the radius upwards
        self.linear = nn.Linear(m.LATENT, 30, bias=False)
        self.shift = nn.Embedding(2, 30)
        self.net = nn.Sequential(
            nn.Linear(m.LATENT + 2, 64),
            nn.LeakyReLU(0.2),
            nn.Linear(64, 64),
            nn.LeakyReLU(0.2),
            nn.Linear(64, 30),
        )
        with torch.no_grad():
            self.linear.weight.copy_(
                torch.from_numpy(vectors[:, order] * signs * values[order] ** 0.5)
            )
            self.shift.weight.copy_(torch.from_numpy(shift))
            nn.init.zeros_(self.net[-1].weight)
            nn.init.zeros_(self.net[-1].bias)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return (
            self.shift(y)
            + self.linear(z)
            + self.net(torch.cat([z, F.one_hot(y, 2).float()], dim=1))
        )


def features(x: Tensor, y: Tensor) -> Tensor:
    """What the critic looks at, (n, 645): rows, their sines and cosines by class, products of two
    coordinates.

    The critic is linear in these. With 569 rows and this budget a network's own features drown in
    noise; a layer of 32 made the rehearsal worse than none at all.
    """
    x = x * (REACH / x.norm(dim=1, keepdim=True)).clamp(max=1)
    own = torch.cat([0.5 * x, torch.sin(1.5 * x), torch.cos(1.5 * x)], dim=1)  # (n, 90)
    first, second = (torch.from_numpy(k) for k in PAIRS)
    products = (
        x[:, first] * x[:, second] * torch.from_numpy(WEIGHT).float() * (0.7 / REACH)
    )  # (n, 465)
    return torch.cat(
        [(F.one_hot(y, 2).float()[:, :, None] * own[:, None]).flatten(1), products], dim=1
    )


# --------------------------------------------------------------------------------------------------------
# the training
def calibrate(epsilon: float, delta: float, steps: int) -> float:
    """The noise multiplier of DP-SGD with which releases and steps together spend ``epsilon``."""
    low, high = 0.5, 1000.0
    while high / low > 1.0001:
        middle = (low * high) ** 0.5
        low, high = (
            (low, middle)
            if spent([*((s, 1.0, 1) for s in RELEASES), (middle, 1.0, steps)], delta) < epsilon
            else (middle, high)
        )
    return high


def spent(history: list[tuple[float, float, int]], delta: float) -> float:
    """Epsilon of Gaussian mechanisms (noise multiplier, sampling rate, times), by Renyi
    differential privacy.
    """
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = list(history)
    return float(accountant.get_epsilon(delta))


def exact_epsilon(history: list[tuple[float, float, int]], delta: float) -> float:
    """The same exactly, where every mechanism sees every row (sampling rate 1).

    Gaussian mechanisms together are one with mu^2 = sum of 1 / noise multiplier^2 (Dong, Roth and
    Su, arXiv:1905.02383, corollary 1), whose delta at a given epsilon is known (Balle and Wang,
    arXiv:1805.06530, theorem 8).
    """
    if any(rate != 1 for _, rate, _ in history):
        raise ValueError("The exact epsilon is known for a sampling rate of 1 alone.")
    mu = math.sqrt(sum(times / sigma**2 for sigma, _, times in history))

    def normal(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    low, high = 0.0, 1000.0
    for _ in range(100):
        middle = (low + high) / 2
        tail = math.exp(middle + math.log(max(normal(-mu / 2 - middle / mu), 1e-300)))
        low, high = (middle, high) if normal(mu / 2 - middle / mu) - tail > delta else (low, middle)
    return high


def train(a: argparse.Namespace, table: np.ndarray, y: np.ndarray) -> None:
    """Everything from rows to ``weights.safetensors``."""
    from opacus import GradSampleModule
    from opacus.accountants import RDPAccountant
    from opacus.optimizers import DPOptimizer

    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    accountant, secret = (
        RDPAccountant(),
        secrets.randbits(63) if a.noise_seed is None else a.noise_seed,
    )
    checkpoint = a.out / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else None
    x = m.to_coordinates(table)
    if state is None:
        releases = Releases(accountant, np.random.default_rng(secret))
        place, spread, share = releases.places(x, y)
        shift, covariance = releases.covariance(shorten((x - place[y]) / spread, REACH), y, share)
        known = {
            "place": place,
            "spread": spread,
            "shift": shift,
            "covariance": covariance,
            "share": np.array(share),
        }
    else:
        known = {k: v.numpy() for k, v in state["known"].items()}
        accountant.history = [tuple(h) for h in state["history"]]
    sigma = calibrate(a.epsilon, a.delta, a.steps)
    torch.manual_seed(a.seed if state is None else a.seed + state["step"])
    generator = Generator(known["shift"], known["covariance"])
    average = copy.deepcopy(generator)
    real = features(
        torch.from_numpy((x - known["place"][y]) / known["spread"]).float(), torch.from_numpy(y)
    )
    linear = nn.Linear(real.shape[1], 1, bias=False)
    nn.init.zeros_(linear.weight)
    critic = GradSampleModule(linear)
    private = DPOptimizer(
        torch.optim.SGD(critic.parameters(), lr=RATE, weight_decay=DECAY / RATE),
        noise_multiplier=sigma,
        max_grad_norm=CLIP,
        expected_batch_size=len(real),
        generator=torch.Generator().manual_seed(secret if state is None else secrets.randbits(63)),
    )
    private.attach_step_hook(accountant.get_optimizer_hook_fn(sample_rate=1.0))
    public = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.99))
    step = 0
    if state is not None:
        for name, thing in (
            ("critic", linear),
            ("generator", generator),
            ("average", average),
            ("public", public),
        ):
            thing.load_state_dict(state[name])
        step = state["step"]

    def fake() -> Tensor:
        classes = (torch.rand(BATCH) < float(known["share"])).long()
        return features(generator(torch.randn(BATCH, m.LATENT), classes), classes)

    while step < a.steps:
        private.zero_grad()
        F.softplus(
            -critic(real)
        ).mean().backward()  # the one line that sees real rows; Opacus keeps each row's gradient
        private.pre_step()  # ... shortens them, adds noise, and counts
        with torch.no_grad():
            made = fake()
            gradients = (
                torch.sigmoid(linear.weight @ made.T).T * made
            )  # (BATCH, 645), of softplus(critic)
            gradients *= (CLIP / gradients.norm(dim=1, keepdim=True)).clamp(
                max=1
            )  # as those of real rows
            linear.weight.grad += gradients.mean(dim=0)
        private.original_optimizer.step()
        loss = F.softplus(-(fake() @ linear.weight.detach().T)).mean()
        public.zero_grad()
        loss.backward()
        public.step()
        step += 1
        with torch.no_grad():
            for mine, theirs in zip(average.parameters(), generator.parameters(), strict=True):
                mine.lerp_(theirs, 1 - min(AVERAGE, step / (step + 9)))
        if step % a.every == 0 or step == a.steps:
            print(
                f"step {step} epsilon {accountant.get_epsilon(a.delta):.3f} loss {loss.item():.4f}",
                flush=True,
            )
            training.save(
                checkpoint,
                {
                    "known": {k: torch.from_numpy(np.asarray(v)) for k, v in known.items()},
                    "step": step,
                    "history": [list(h) for h in accountant.history],
                    "critic": linear.state_dict(),
                    "generator": generator.state_dict(),
                    "average": average.state_dict(),
                    "public": public.state_dict(),
                },
            )
            finish(a, known, average, accountant.history, len(real), done=step == a.steps)


def finish(
    a: argparse.Namespace,
    known: dict[str, Any],
    net: Generator,
    history: Any,
    rows: int,
    *,
    done: bool,
) -> None:
    """Samples as they are now; once done, the weights and what they cost in privacy."""
    tensors = {k: v.detach().float().contiguous() for k, v in net.state_dict().items()}
    tensors |= {k: torch.from_numpy(known[k]).float() for k in ("place", "spread")}
    table, classes = samples(tensors, 100)
    with (a.out / "samples.csv").open("w", newline="") as file:
        rows_ = csv.writer(file)
        rows_.writerow(["diagnosis", *m.COLUMNS])
        rows_.writerows(
            [k, *(f"{v:.4g}" for v in row)] for k, row in zip(classes, table, strict=True)
        )
    if done:
        training.write_weights(tensors, a.out / "weights.safetensors")
        cost = {
            "epsilon": spent(history, a.delta),
            "exact epsilon": exact_epsilon(history, a.delta),
            "delta": a.delta,
            "accountant": "opacus RDPAccountant",
            "rows": rows,
            "mechanisms": [
                {"noise_multiplier": s, "sample_rate": q, "times": k} for s, q, k in history
            ],
        }
        (a.out / "privacy.json").write_text(json.dumps(cost, indent=2) + "\n")


def samples(tensors: dict[str, Tensor], n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``n`` rows and their classes in turn."""
    classes = np.arange(n) % 2
    latents = np.random.default_rng(seed).normal(size=(n, m.LATENT))
    generator = m.Generator({k: v.numpy() for k, v in tensors.items()})
    return generator.rows(latents, classes), classes


# -----------------------------------------------------------------------------------------------------------
# the judge
def judge(a: argparse.Namespace, table: np.ndarray, y: np.ndarray) -> None:
    """Print what classifiers learn from generated rows, and how alike the columns are. Not private:
    it reads real rows.
    """
    from safetensors.torch import load_file
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kinds = {
        "logistic regression": lambda: make_pipeline(
            StandardScaler(), LogisticRegression(C=0.1, max_iter=3000)
        ),
        "random forest": lambda: RandomForestClassifier(300, random_state=0),
    }
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(table, y))

    def auc(source: Any) -> list[str]:
        """Mean and deviation over folds of what was trained on ``source(fold)``."""
        found = []
        for make in kinds.values():
            scores = [
                roc_auc_score(y[test], make().fit(*source(k)).predict_proba(table[test])[:, 1])
                for k, (_, test) in enumerate(folds)
            ]
            found.append(f"{np.mean(scores):.4f} +- {np.std(scores):.4f}")
        return found

    own = a.out / "weights.safetensors"
    made, classes = samples(
        load_file(own if own.exists() else Path(__file__).with_name(own.name)), 4000
    )
    rest = [(table[k], y[k]) for k, _ in folds]
    lines = [
        ("AUC on real rows, trained on", *kinds),
        ("real rows of the other folds", *auc(lambda k: rest[k])),
    ]
    lines.append(("4,000 generated rows", *auc(lambda _: (made, classes))))
    if a.refit:
        lines.append(
            ("generated, refitted without the fold", *auc(lambda k: refit(a, k, *rest[k])))
        )
    for line in lines:
        print(f"{line[0]:38s}" + "".join(f"{cell:>24s}" for cell in line[1:]))
    halves = np.random.default_rng(0).permutation(len(y))[: len(y) // 2 * 2].reshape(2, -1)
    one, two = ((table[h], y[h]) for h in halves)
    print(
        f"\n{'distance of generated from real rows':38s}{'of distributions (KS)':>24s}{'of correlations':>24s}"
    )
    for name, pair in (
        ("4,000 generated rows", (made, classes, table, y)),
        ("one half of the real rows, the other", (*one, *two)),
    ):
        print(f"{name:38s}{marginals(*pair):24.3f}{correlations(*pair):24.3f}")
    print(f"\n{'impossible rows':38s}{'generated':>24s}{'real':>24s}")
    for name, rule in IMPOSSIBLE.items():
        shares = [
            rule(*rows.reshape(-1, 3, 10).transpose(1, 0, 2)).mean() for rows in (made, table)
        ]
        print(f"{name:38s}" + "".join(f"{share:24.2%}" for share in shares))
    any_rule = [
        np.any(
            [rule(*rows.reshape(-1, 3, 10).transpose(1, 0, 2)) for rule in IMPOSSIBLE.values()], 0
        )
        for rows in (made, table)
    ]
    print(f"{'any of these':38s}" + "".join(f"{rows.mean():24.2%}" for rows in any_rule))
    sigma = calibrate(a.epsilon, a.delta, a.steps)
    history = [*((s, 1.0, 1) for s in RELEASES), (sigma, 1.0, a.steps)]
    print(
        f"\nepsilon at delta {a.delta:g}: {spent(history, a.delta):.2f} by the accountant, "
        f"{exact_epsilon(history, a.delta):.2f} exactly"
    )
    picture(a.out / "samples.png", made, classes, table, y)


def anywhere(*parts: np.ndarray) -> np.ndarray:
    """Which rows (n,) have something true in any of these (n, k)."""
    return np.concatenate(parts, axis=1).any(axis=1)


# What no nuclei can have, as functions of mean, standard error and worst values, (n, 10) each. The
# rows are printed to four digits or so, hence a little slack where two columns are subtracted.
IMPOSSIBLE = {
    "worst below mean": lambda mean, _, worst: anywhere(worst < mean),
    "4 pi area > perimeter^2": lambda mean, _, worst: anywhere(
        *(4 * np.pi * g[:, [m.AREA]] > g[:, [m.PERIMETER]] ** 2 for g in (mean, worst))
    ),
    "concavity without points, or reverse": lambda *groups: anywhere(
        *((g[:, [m.CONCAVITY]] == 0) != (g[:, [m.POINTS]] == 0) for g in groups)
    ),
    "above its bound": lambda mean, _, worst: anywhere(mean > m.LARGEST, worst > m.LARGEST),
    "standard error above mean": lambda mean, error, _: anywhere(error > mean),
    "worst higher than 40 nuclei allow": lambda mean, error, worst: anywhere(
        worst > m.NUCLEI / m.WORST * mean,
        worst - mean > error * m.STEEPEST * (1 + 1e-3) + 1e-5 * mean,
    ),
}


def picture(
    path: Path, made: np.ndarray, classes: np.ndarray, table: np.ndarray, y: np.ndarray
) -> None:
    """Seven columns as distributions, and two pairs of columns as points, generated beside real."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = (
        "mean radius",
        "mean texture",
        "mean symmetry",
        "mean concavity",
        "area error",
        "worst concave points",
        "worst fractal dimension",
    )
    pairs = (("mean radius", "worst concave points"), ("mean smoothness", "mean compactness"))
    colours = ("#1c7ed6", "#e8590c")
    figure = Figure(figsize=(13, 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 4).ravel()
    for axis, name in zip(axes[:7], names, strict=True):
        k = m.COLUMNS.index(name)
        bins = np.linspace(
            *np.quantile(np.concatenate([made[:, k], table[:, k]]), [0.002, 0.998]), 40
        )
        for c, colour in enumerate(colours):
            axis.hist(made[classes == c, k], bins, density=True, color=colour, alpha=0.35)
            axis.hist(
                table[y == c, k], bins, density=True, color=colour, histtype="step", linewidth=1.4
            )
        axis.set(title=name, yticks=[])
    few = len(y)
    for row, (one, two) in enumerate(pairs):
        limits = np.quantile(
            np.concatenate([made, table])[:, [m.COLUMNS.index(one), m.COLUMNS.index(two)]],
            [0.002, 0.998],
            axis=0,
        ).T
        for where, rows, labels, whose in (
            (8 + 2 * row, made[:few], classes[:few], "generated"),
            (9 + 2 * row, table, y, "real"),
        ):
            axis = axes[where]
            axis.scatter(
                *rows[:, [m.COLUMNS.index(one), m.COLUMNS.index(two)]].T,
                s=5,
                c=np.array(colours)[labels],
                alpha=0.6,
            )
            axis.set(title=whose, xlabel=one, ylabel=two, xlim=limits[0], ylim=limits[1])
    axes[7].set_axis_off()
    text = ("filled: generated, line: real", "blue: benign, orange: malignant", "not for diagnosis")
    axes[7].text(0.1, 0.5, "\n".join(text), va="center", fontsize=10, linespacing=1.8)
    figure.savefig(path, dpi=80)


def refit(
    a: argparse.Namespace, fold: int, table: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Generated rows of a model that never saw the fold; one training for both classifiers."""
    from safetensors.torch import load_file

    out = a.out / f"fold{fold}"
    out.mkdir(exist_ok=True)
    if not (out / "weights.safetensors").exists():
        train(argparse.Namespace(**{**vars(a), "out": out}), table, y)
    return samples(load_file(out / "weights.safetensors"), 4000)


def marginals(a: np.ndarray, ya: np.ndarray, b: np.ndarray, yb: np.ndarray) -> float:
    """Kolmogorov-Smirnov statistic, mean over columns and classes."""
    found = []
    for c in (0, 1):
        for one, two in zip(a[ya == c].T, b[yb == c].T, strict=True):
            points = np.concatenate([one, two])
            below = [np.searchsorted(np.sort(v), points, side="right") / len(v) for v in (one, two)]
            found.append(np.abs(below[0] - below[1]).max())
    return float(np.mean(found))


def correlations(a: np.ndarray, ya: np.ndarray, b: np.ndarray, yb: np.ndarray) -> float:
    """Mean absolute difference of the correlations within classes."""
    found = []
    for table, classes in ((a, ya), (b, yb)):
        centred = table - np.stack([table[classes == c].mean(axis=0) for c in (0, 1)])[classes]
        found.append(np.corrcoef(centred.T)[np.triu_indices(30, 1)])
    return float(np.abs(found[0] - found[1]).mean())


def main() -> None:
    parser = training.parser_of(
        __doc__,
        out="folder for the checkpoint, samples.csv and weights.safetensors",
        seed=0,
        every=50,
        device=False,
    )
    parser.add_argument(
        "--data", type=Path, help="a CSV; the data that scikit-learn ships if left out"
    )
    parser.add_argument(
        "--rehearse", action="store_true", help="train and judge on nuclei from formulas instead"
    )
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--delta", type=float, default=1e-4)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument(
        "--noise-seed",
        type=int,
        help="for rehearsals and tests: noise that can be known protects nobody",
    )
    parser.add_argument(
        "--judge",
        action="store_true",
        help="print the figures of a finished run, or of the shipped weights",
    )
    parser.add_argument(
        "--refit",
        action="store_true",
        help="with --judge: also train five times without a fifth of the rows",
    )
    a = training.arguments_of(parser)
    table, y = rehearsal(seed=a.seed) if a.rehearse else read_table(a.data)
    if a.judge:
        judge(a, *(rehearsal(3000, seed=10_000) if a.rehearse else (table, y)))
    else:
        train(a, table, y)


if __name__ == "__main__":
    main()
