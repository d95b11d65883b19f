"""Fidelity and diversity of pictures and volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .border import FEWEST_ROWS, dots, edges, sides
from .classifiers import mean_auc, probabilities, two_sample_test
from .distances import between, frechet, is_within, polynomial_kernel, radii
from .estimates import Estimate, Patients, Rows, of_mean, of_rows, row_draws
from .metrics import metric
from .pairs import Pair
from .texture import WINDOW, log_kurtoses, log_spectra, sliced_wasserstein

FEW_DRAWS = 8  # of a figure that takes long
DIRECTIONS = 16  # for those draws
SEEDS = {"c2st": 2, "tstr": 5}  # trainings that are averaged; the same as on the models' cards
PAIRS = 100  # pairs of samples for MS-SSIM
TEST_DRAWS = 100  # of held-out data, for tstr
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales of MS-SSIM


@metric("fd", "Frechet distance", "fidelity", unit="squared feature units", enough=200)
def fd(pair: Pair) -> Estimate:
    """Frechet distance between Gaussians fitted to the features of the set and of held-out data.

    Source: Heusel et al., arXiv:1706.08500, there with Inception features. Lower is better; 0 is
    equal. Unit: that of the features, squared. It compares means and covariances only. With fewer
    than 200 samples per side it mostly measures the number of samples: compare with the floor.
    """
    a, b = pair.same, pair.held_out

    def of(rows: Rows, others: Rows) -> float:
        return frechet(a.points[torch.from_numpy(rows)], b.points[torch.from_numpy(others)])

    value = frechet(b.points, a.points)
    return of_rows(of, (a.n, b.n), (a.patients, b.patients), value=value, draws=60)


@metric("kd", "kernel distance", "fidelity", enough=50)
def kd(pair: Pair) -> Estimate:
    """Kernel distance: squared maximum mean discrepancy of the features, cubic kernel, unbiased.

    Source: Binkowski et al., arXiv:1801.01401 (KID). Lower is better; 0 is equal. The estimate is
    unbiased, so it falls below 0 for equal sets, and by chance; 0 is given then. Unit: none:
    features are scaled to unit variance of the real data. Below 50 samples per side the interval
    says nothing.
    """
    a, b = pair.same, pair.held_out
    scale = pair.real.points.var(0).mean().sqrt().clamp(min=1e-12)
    x, y = a.points.double() / scale, b.points.double() / scale
    aa, bb, ab = polynomial_kernel(x, x), polynomial_kernel(y, y), polynomial_kernel(x, y)

    def of(rows: Rows, others: Rows) -> float:
        p = torch.from_numpy(np.bincount(rows, minlength=a.n)).double()
        q = torch.from_numpy(np.bincount(others, minlength=b.n)).double()
        n, m = p.sum(), q.sum()
        first = (p @ aa @ p - (p * aa.diagonal()).sum()) / (n * (n - 1))
        second = (q @ bb @ q - (q * bb.diagonal()).sum()) / (m * (m - 1))
        return float(first + second - 2 * (p @ ab @ q) / (n * m))

    value = max(0.0, of(np.arange(a.n), np.arange(b.n)))
    return of_rows(of, (a.n, b.n), (a.patients, b.patients), value=value)


@metric("precision", "precision", "fidelity", better="higher", highest=1.0)
def precision(pair: Pair) -> Estimate:
    """Share of samples that lie where held-out data lie (balls to the fifth neighbour).

    Source: Kynkaanniemi et al., arXiv:1904.06991. Higher is better, 1 is the most. Unit: share of
    samples. Below 100 held-out samples the balls are so large that almost everything lies in them.
    """
    a = pair.same
    return of_mean(is_within(a.points, pair.held_out.points).numpy(), a.patients)


@metric("density", "density", "fidelity", better="higher")
def density(pair: Pair) -> Estimate:
    """How many balls of held-out data a sample lies in, divided by five.

    Source: Naeem et al., arXiv:2002.09797. Higher is better; about 1 for equal sets, above 1 where
    samples crowd together. Robust to single outliers. Unit: ratio to the density of held-out data.
    Below 100 samples it fluctuates strongly.
    """
    a, support = pair.same, pair.held_out.points
    inside = between(a.points, support) <= radii(support)[None]
    return of_mean(inside.double().sum(1).numpy() / 5, a.patients)


@metric("recall", "recall", "diversity", better="higher", highest=1.0)
def recall(pair: Pair) -> Estimate:
    """Share of held-out data that lie where samples lie (balls to the fifth neighbour).

    Source: Kynkaanniemi et al., arXiv:1904.06991. Higher is better, 1 is the most. It grows with
    the number of samples, so compare sets of the same size. Unit: share of held-out data. Below 100
    samples it misleads.
    """
    b = pair.held_out
    return of_mean(is_within(b.points, pair.same.points).numpy(), b.patients)


@metric("coverage", "coverage", "diversity", better="higher", highest=1.0)
def coverage(pair: Pair) -> Estimate:
    """Share of held-out data with at least one sample nearer than their fifth neighbour.

    Source: Naeem et al., arXiv:2002.09797. Higher is better, 1 is the most; a set that lacks a part
    of the real data loses that part. Unit: share of held-out data. Below 100 samples per side it is
    too low.
    """
    b = pair.held_out
    nearest = between(b.points, pair.same.points).min(1)[0]
    return of_mean((nearest <= radii(b.points)).numpy(), b.patients)


@metric("swd", "sliced Wasserstein distance", "fidelity", unit="x1e3", enough=50)
def swd(pair: Pair) -> Estimate:
    """Distance between patches of 7x7 pixels (5x5x5 voxels), band by band of a Laplacian pyramid.

    Source: Karras et al., arXiv:1710.10196. Lower is better. Unit: standard deviations of the
    patches, times 1000. It sees texture and sharpness, not anatomy. With fewer than 50 samples per
    side the floor is high. The interval is that of 8 draws.
    """
    a, b = pair.same, pair.held_out
    if min(a.pictures.shape[2:]) < WINDOW[a.pictures.ndim - 2]:
        return _too_small("patches")

    def of(rows: Rows, others: Rows) -> float:
        x, y = a.pictures[torch.from_numpy(rows)], b.pictures[torch.from_numpy(others)]
        return sliced_wasserstein(y, x, slices=DIRECTIONS)

    value = sliced_wasserstein(b.pictures, a.pictures)
    patients = a.patients, b.patients
    return of_rows(of, (a.n, b.n), patients, value=value, draws=FEW_DRAWS)


@metric("tails", "difference of tails", "fidelity", unit="log kurtosis", enough=30)
def tails(pair: Pair) -> Estimate:
    """Mean absolute difference of the log kurtosis of Laplacian bands.

    Source: kurtosis of band-pass images as in Zoran and Weiss, ICCV 2009. Lower is better; 0 is
    equal. Smoothed or over-sharpened pictures stand out. Unit: natural logarithm of kurtosis. Below
    30 samples it misleads.
    """
    a, b = log_kurtoses(pair.synthetic.pictures), log_kurtoses(pair.held_out.pictures)
    if not len(a):
        return _too_small("bands")

    def of(rows: Rows, others: Rows) -> float:
        return float((a[:, rows].mean(1) - b[:, others].mean(1)).abs().mean())

    patients = pair.synthetic.patients, pair.held_out.patients
    return of_rows(of, (pair.synthetic.n, pair.held_out.n), patients)


@metric("spectrum", "difference of spectra", "fidelity", unit="dB", enough=30)
def spectrum(pair: Pair) -> Estimate:
    """Mean absolute difference of the power spectra, averaged over directions.

    Source: Durall et al., arXiv:2003.01826. Lower is better; 0 is equal. Unit: decibels. Grids of
    upsampling and lost fine detail stand out. Below 30 samples it misleads.
    """
    a, b = log_spectra(pair.synthetic.pictures), log_spectra(pair.held_out.pictures)
    if not a.shape[1]:
        return _too_small("frequencies")

    def of(rows: Rows, others: Rows) -> float:
        return float((a[rows].mean(0) - b[others].mean(0)).abs().mean())

    patients = pair.synthetic.patients, pair.held_out.patients
    return of_rows(of, (pair.synthetic.n, pair.held_out.n), patients)


def _too_small(what: str) -> Estimate:
    return Estimate.unknown(f"pictures are too small for {what}")


def _share_of_pictures(marks: Callable[[Tensor], Tensor], pair: Pair) -> Estimate:
    """A share of pictures; ``marks`` gives one value per channel of each picture."""
    x = pair.synthetic.pictures
    if min(x.shape[2:]) < FEWEST_ROWS:
        return _too_small("borders")
    each = marks(x).float().reshape(pair.synthetic.n, -1).mean(1)
    return of_mean(each.numpy(), pair.synthetic.patients)


@metric("dots_top", "dots in the first row", "fidelity", better="floor", needs="image", highest=1.0)
def dots_top(pair: Pair) -> Estimate:
    """Share of pictures with a pixel of the first row 15 grey levels above the row three deeper.

    Source: medzoo; networks hide artefacts at their padding. The floor is what real pictures have;
    more than that is an artefact. Unit: share of pictures. Below 100 pictures it moves by several
    hundredths.
    """
    return _share_of_pictures(lambda x: dots(sides(x)["top"]), pair)


@metric("dots_low", "dots in the last row", "fidelity", better="floor", needs="image", highest=1.0)
def dots_low(pair: Pair) -> Estimate:
    """Share of pictures with a pixel of the last row 15 grey levels above the row three deeper.

    Source: medzoo; see ``dots_top``. The floor is what real pictures have. Unit: share of pictures.
    Below 100 pictures it moves by several hundredths.
    """
    return _share_of_pictures(lambda x: dots(sides(x)["bottom"]), pair)


@metric("edge", "edges that stand out", "fidelity", better="floor", needs="image", highest=1.0)
def edge(pair: Pair) -> Estimate:
    """Share of pictures with an edge row that differs 2.5 times as much as rows inside do.

    Source: medzoo; networks hide artefacts at their padding. The floor is what real pictures have.
    Unit: share of pictures. Below 100 pictures it moves by several hundredths.
    """
    return _share_of_pictures(edges, pair)


@metric(
    "ms_ssim", "similarity among samples", "diversity", better="floor", needs="image", highest=1.0
)
def ms_ssim(pair: Pair) -> Estimate:
    """Mean multi-scale structural similarity of 100 random pairs of samples.

    Source: Wang et al., Asilomar 2003; for generators Odena et al., arXiv:1610.09585. Computed by
    MONAI. Higher than the floor means that samples resemble each other more than real pictures do.
    As many scales as fit the size of the pictures. Unit: none: from 0 to 1. Below 100 samples pairs
    repeat.
    """
    try:
        from monai.metrics.regression import MultiScaleSSIMMetric
    except ImportError:
        raise InputError("ms_ssim needs MONAI.", "pip install medzoo[evaluate]") from None
    x = (pair.synthetic.pictures + 1) / 2
    window, side = 7, min(x.shape[2:])
    scales = sum((side - 1) // 2**k >= window for k in range(len(WEIGHTS)))
    if scales == 0:
        return _too_small("scales")
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    rng = np.random.default_rng(pair.seed)
    first = rng.integers(0, len(x), PAIRS)
    second = (first + rng.integers(1, len(x), PAIRS)) % len(x)
    similarity = MultiScaleSSIMMetric(
        x.ndim - 2, data_range=1.0, kernel_size=window, kernel_sigma=1.0, weights=weights.tolist()
    )
    values = similarity(x[torch.from_numpy(first)], x[torch.from_numpy(second)])
    return of_mean(values.flatten().double().numpy())


@metric(
    "c2st",
    "classifier two-sample test",
    "fidelity",
    better="floor",
    unit="AUC",
    floor="halves",
    highest=1.0,
    slow=True,
    enough=200,
)
def c2st(pair: Pair) -> Estimate:
    """AUC of a small network that was trained to distinguish the set from real data.

    Source: Lopez-Paz and Oquab, arXiv:1610.06545. 0.5 is best: the two look alike to it; 1 means
    that it always knows. Mean of two trainings, judged on samples and held-out data that it did not
    see. Unit: area under the ROC curve. Below 200 samples per side it has too few to learn from,
    and 0.5 proves nothing.
    """
    made, held = pair.synthetic, pair.held_out
    runs = []
    for seed in range(SEEDS["c2st"]):
        run = two_sample_test(
            made.pictures,
            pair.real.pictures,
            held.pictures,
            seed=seed,
            steps=pair.steps,
            patients=made.patients,
        )
        if run is None:
            return Estimate.unknown("all samples are of one patient")
        runs.append(run)

    def of(rows: Rows, others: Rows) -> float:
        return float(np.mean([run.auc_of(rows, others) for run in runs]))

    value = float(np.mean([run.auc for run in runs]))
    return of_rows(of, (made.n, held.n), (made.patients, held.patients), value=value)


@metric(
    "tstr",
    "trained on the set, tested on real",
    "usefulness",
    better="higher",
    unit="AUC",
    needs="label",
    highest=1.0,
    slow=True,
    enough=100,
)
def tstr(pair: Pair) -> Estimate:
    """AUC on held-out data of a small network that was trained on the set alone.

    Source: Esteban et al., arXiv:1706.02633. Higher is better; 0.5 is chance. The floor is the same
    network trained on real data, and is what to compare with. Mean of five trainings; of more than
    two classes the mean of each against the others. Unit: area under the ROC curve. Below 100
    held-out samples it moves by 0.1.
    """
    a, b = pair.synthetic, pair.held_out
    if a.labels is None or b.labels is None:
        raise InputError("tstr needs labels.")
    classes = np.unique(b.labels)
    if len(classes) < 2 or not np.array_equal(np.unique(a.labels), classes):
        note = "the set does not have the classes of the held-out data, or there is only one"
        return Estimate.unknown(note)
    # Numbered again: a class may be in the real data alone.
    made, truth = (np.searchsorted(classes, labels) for labels in (a.labels, b.labels))
    runs = []
    for seed in range(SEEDS["tstr"]):
        shares = probabilities(a.pictures, made, b.pictures, seed=seed, steps=pair.steps)
        runs.append(shares)
    value = float(np.mean([mean_auc(shares, truth) for shares in runs]))
    draws = []
    for rows in _test_draws(truth, b.patients, pair.seed):
        draws.append(np.mean([mean_auc(shares[rows], truth[rows]) for shares in runs]))
    return Estimate(value, np.array(draws))


def _test_draws(truth: Rows, patients: Patients, seed: int) -> Iterator[Rows]:
    """Draws of held-out rows: whole patients if they are known, else as many of each class."""
    rng = np.random.default_rng(seed)
    if patients is not None:
        yield from row_draws(len(truth), patients, rng, TEST_DRAWS)
        return
    members = [np.flatnonzero(truth == number) for number in np.unique(truth)]
    for _ in range(TEST_DRAWS):
        yield np.concatenate([rng.choice(rows, len(rows)) for rows in members])
