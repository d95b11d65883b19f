"""Does it help? The same model trained on real, synthetic and both, tested on held-out real data."""

from __future__ import annotations

import copy
import html
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import checks
from ..console import prose, table, terminal_width
from ..errors import InputError
from .classifiers import mean_auc, probabilities, shrunk
from .estimates import row_draws
from .pairs import Pair
from .segmenter import dices, segmented

Rows = NDArray[np.int64]
SHARES = (0.25, 1.0)  # of the real training data
SYNTHETIC_SHARES = (0.5, 1.0)  # of the samples, where they are used alone
SEEDS = 3
DRAWS = 200
FEWEST = 4  # real cases of each class
TRIES = 50
COLOURS = ("#1971c2", "#0b7285", "#e8590c", "#9c36b5", "#868e96")
ARMS = ("real", "real + augmentation", "real + synthetic", "all", "synthetic")


@dataclass(frozen=True)
class Arm:
    """One way to train, and how well it does on held-out real data.

    Parameters
    ----------
    name : str
        ``real``, ``real + augmentation``, ``real + synthetic``, ``all`` or ``synthetic``.
    n_real, n_synthetic : int
        Training cases of each kind; of real ones the mean over seeds.
    scores : tuple of float
        The score of each seed.
    low, high : float
        95 % interval of their mean over the held-out cases.
    gain, gain_low, gain_high : float
        Difference to ``real`` with as many real cases, and its interval; NaN without such an arm.
    """

    name: str
    n_real: int
    n_synthetic: int
    scores: tuple[float, ...]
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float

    @property
    def mean(self) -> float:
        """The mean score over seeds."""
        return float(np.mean(self.scores))


@dataclass(frozen=True, repr=False)
class Utility:
    """Whether samples help to train: one arm per way to train.

    Parameters
    ----------
    task, score : str
        What is learned, and what the score is.
    n_test : int
        The number of held-out cases.
    arms : Sequence[Arm]
        The results.
    note : str
        What a reader must know.
    """

    task: str
    score: str
    n_test: int
    arms: Sequence[Arm]
    note: str = ""

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """The head and the rows of the table."""
        head = ["trained on", "real", "synthetic", self.score, "seeds", "gain", "95 %"]
        rows = []
        for arm in self.arms:
            known = np.isfinite(arm.gain)
            rows.append(
                [
                    arm.name,
                    str(arm.n_real),
                    str(arm.n_synthetic),
                    f"{arm.mean:.3f}",
                    f"+- {np.std(arm.scores):.3f}",
                    f"{arm.gain:+.3f}" if known else "",
                    f"{arm.gain_low:+.3f} to {arm.gain_high:+.3f}" if known else "",
                ]
            )
        return head, rows

    def __str__(self) -> str:
        lines = prose(f"Does it help? {self.task}, tested on {self.n_test} held-out real cases.")
        lines += ["", table(*self.cells(), width=terminal_width()), ""]
        return "\n".join([*lines, *prose(f"{self.note}{READING}")])

    __repr__ = __str__

    def to_html(self) -> str:
        """The table and a plot as HTML.

        Returns
        -------
        str
            Elements of a page.
        """
        from .report import embedded

        head, rows = self.cells()
        lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
        for row in rows:
            lines.append("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>")
        task = f"<p>{html.escape(self.task)}, tested on {self.n_test} held-out real cases.</p>"
        reading = f"<p>{html.escape(self.note + READING)}</p>"
        plot = embedded(self.plot()._repr_png_())
        return f"{task}<table>{''.join(lines)}</table>{reading}{plot}"

    def plot(self) -> Any:
        """Score over the number of real cases, one line per way to train.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it.
        """
        from ..samples.pictures import Drawing

        figure = Drawing(6.0, 3.4)
        axes = figure.add_axes((0.11, 0.15, 0.52, 0.8))
        for name, colour in zip(ARMS, COLOURS, strict=True):
            arms = [arm for arm in self.arms if arm.name == name]
            if name == "synthetic":
                for arm in arms[-1:]:
                    axes.axhline(arm.mean, color=colour, ls="--", label="synthetic alone")
                continue
            ends = np.array([[a.mean - a.low, a.high - a.mean] for a in arms]).T.clip(min=0)
            style: dict[str, Any] = {"color": colour, "marker": "o", "capsize": 3, "label": name}
            axes.errorbar([a.n_real for a in arms], [a.mean for a in arms], yerr=ends, **style)
        axes.set_xlabel("real training cases")
        axes.set_ylabel(self.score)
        axes.legend(fontsize=8, frameon=False, bbox_to_anchor=(1.02, 1), loc="upper left")
        return figure

    def content(self) -> dict[str, Any]:
        """Plain values for JSON.

        Returns
        -------
        dict
            The fields, and ``mean`` for each arm.
        """
        arms = [{**asdict(arm), "mean": arm.mean} for arm in self.arms]
        return {
            "task": self.task,
            "score": self.score,
            "n_test": self.n_test,
            "arms": arms,
            "note": self.note,
        }


READING = (
    "The gain is the difference to real data alone with as many real cases. If its interval "
    "contains 0, the held-out cases cannot tell whether it helps. Another task or model may differ."
)


@dataclass(frozen=True)
class Cases:
    """Pictures with what is to be learned of them."""

    x: Tensor
    target: Any  # classes (N,) or masks (N, 1, *spatial)

    def at(self, rows: Rows) -> Cases:
        """Fewer cases."""
        return Cases(self.x[torch.from_numpy(rows)], self.target[rows])

    def plus(self, other: Cases) -> Cases:
        """Both, one after the other."""
        target = np.concatenate([self.target, other.target])
        return Cases(torch.cat([self.x, other.x]), target)


Learner = Callable[[Cases, Tensor, int, bool], Any]
Score = Callable[[Any, Any], float]  # predictions and truth of some cases


@dataclass(frozen=True)
class Task:
    """What is learned: the name, the score, and how predictions are scored."""

    name: str
    score_name: str
    score: Score
    learner: Learner


def measured(pair: Pair, given: Any, *, patient_known: bool) -> Utility:
    """Train in all ways, and score each on held-out data.

    Raises
    ------
    InputError
        There is nothing to learn, or ``given`` cannot learn it.
    """
    task, made, real, held_out = _task(pair, given)
    runs: dict[tuple[str, float], list[tuple[Any, int, int]]] = {}
    for seed in range(SEEDS):
        for share in SHARES:
            own = real.at(_share(real, pair.real.patients, share, seed, task))
            trainings = {
                "real": (own, False),
                "real + augmentation": (own, True),
                "real + synthetic": (own.plus(made), False),
                "all": (own.plus(made), True),
            }
            for name, (cases, augment) in trainings.items():
                predicted = task.learner(cases, held_out.x, seed, augment)
                n_made = len(cases.x) - len(own.x)
                runs.setdefault((name, share), []).append((predicted, len(own.x), n_made))
        for share in SYNTHETIC_SHARES:
            rows = np.random.default_rng(seed).permutation(len(made.x))
            some = made.at(rows[: max(2, round(share * len(rows)))])
            predicted = task.learner(some, held_out.x, seed, False)
            runs.setdefault(("synthetic", share), []).append((predicted, 0, len(some.x)))
    arms = _arms(runs, task, held_out.target, pair)
    note = "" if patient_known else "Patients are not known, so patients may be on both sides. "
    return Utility(task.name, task.score_name, len(held_out.x), arms, note)


def _arms(
    runs: dict[tuple[str, float], list[tuple[Any, int, int]]], task: Task, truth: Any, pair: Pair
) -> list[Arm]:
    """Scores, intervals and gains; all arms use the same draws of held-out cases."""
    rng = np.random.default_rng(pair.seed)
    draws = list(row_draws(len(truth), pair.held_out.patients, rng, DRAWS))

    def mean_score(key: tuple[str, float], rows: Any) -> float:
        scores = [task.score(run[0][rows], truth[rows]) for run in runs[key]]
        return float(np.mean(scores))

    drawn = {key: np.array([mean_score(key, rows) for rows in draws]) for key in runs}
    everything = slice(None)
    arms = []
    for key, results in runs.items():
        name, share = key
        scores = tuple(task.score(run[0], truth) for run in results)
        low, high = np.nanquantile(drawn[key], (0.025, 0.975))
        gain = (float("nan"),) * 3
        if name not in {"real", "synthetic"}:
            base = ("real", share)
            ends = np.nanquantile(drawn[key] - drawn[base], (0.025, 0.975))
            difference = mean_score(key, everything) - mean_score(base, everything)
            gain = (difference, float(ends[0]), float(ends[1]))
        n_real = round(float(np.mean([run[1] for run in results])))
        arms.append(Arm(name, n_real, results[0][2], scores, float(low), float(high), *gain))
    return arms


def _share(real: Cases, patients: Any, share: float, seed: int, task: Task) -> Rows:
    """Rows of a share of the real cases, patient-wise, with all classes."""
    if share == 1:
        return np.arange(len(real.x))
    names = np.arange(len(real.x)) if patients is None else patients
    values, codes = np.unique(names, return_inverse=True)
    rng = np.random.default_rng(seed)
    for _ in range(TRIES):
        chosen = rng.permutation(len(values))[: max(1, round(share * len(values)))]
        rows = np.flatnonzero(np.isin(codes, chosen))
        if task.name != "classification":
            return rows
        counts = np.bincount(real.target[rows], minlength=int(real.target.max()) + 1)
        if counts.min() >= FEWEST:
            return rows
    raise InputError(
        f"A quarter of the real data has fewer than {FEWEST} cases of a class.",
        "Give more real data for `utility`.",
    )


# ------------------------------------------------------------------------------------ the tasks
def _task(pair: Pair, given: Any) -> tuple[Task, Cases, Cases, Cases]:
    """What can be learned, and the cases of each side."""
    sides = pair.synthetic, pair.real, pair.held_out
    if pair.synthetic.x is None:
        raise InputError("utility needs pictures on both sides.")
    has_labels = all(side.labels is not None for side in sides)
    wants_masks = given == "segmenter" or (given is True and sides[0].masks is not None)
    if wants_masks and all(side.masks is not None for side in sides):
        cases = [Cases(side.pictures, _binary(side.masks)) for side in sides]
        task = Task("segmentation", "Dice", dices, _segment(pair.steps))
        return task, cases[0], cases[1], cases[2]
    if not has_labels:
        raise InputError(
            "utility needs labels or masks on both sides.",
            "Put real images into one folder per class, or give masks.",
        )
    cases = [Cases(side.pictures, side.labels) for side in sides]
    known = [np.unique(case.target).tolist() for case in cases]
    if known[0] != known[1] or known[1] != known[2] or len(known[0]) < 2:
        raise InputError(
            "utility needs the same classes, at least two, in synthetic, real and held-out data."
        )
    learner = classifier(given, pair.steps)
    task = Task("classification", "AUC", mean_auc, learner)
    return task, cases[0], cases[1], cases[2]


def _binary(masks: Any) -> NDArray[np.float32]:
    marked: NDArray[np.float32] = (masks > 0).any(1, keepdims=True).astype(np.float32)
    return marked


def _segment(steps: int) -> Learner:
    def learn(cases: Cases, test: Tensor, seed: int, augment: bool) -> Any:
        return segmented(cases.x, cases.target, test, seed=seed, steps=steps, flips=augment)

    return learn


def classifier(given: Any, steps: int) -> Learner:
    """How to learn classes: the small network, or what the user gave.

    Raises
    ------
    InputError
        It can neither be trained nor called.
    """
    if given is True or given == "classifier":
        return _network(None, steps)
    if isinstance(given, nn.Module):
        return _network(given, steps)
    if hasattr(given, "fit") and hasattr(given, "predict_proba"):
        return _estimator(given)
    if callable(given):
        return _function(given)
    raise InputError(
        f"utility={checks.shown(given)} cannot be trained.",
        "Give True, a torch.nn.Module, something with fit and predict_proba, or a function.",
    )


def _network(module: nn.Module | None, steps: int) -> Learner:
    def learn(cases: Cases, test: Tensor, seed: int, augment: bool) -> Any:
        net = None
        if module is not None:
            torch.manual_seed(seed)
            net = copy.deepcopy(module).train()
            for part in net.modules():
                reset = getattr(part, "reset_parameters", None)
                if callable(reset):
                    reset()
        x, y = cases.x, cases.target
        return probabilities(x, y, test, seed=seed, steps=steps, net=net, flips=augment)

    return learn


def _estimator(given: Any) -> Learner:
    def learn(cases: Cases, test: Tensor, seed: int, augment: bool) -> Any:
        estimator = copy.deepcopy(given)
        if "random_state" in getattr(estimator, "get_params", dict)():
            estimator.set_params(random_state=seed)
        cases = _with_mirrored(cases) if augment else cases
        estimator.fit(shrunk(cases.x).flatten(1).numpy(), cases.target)
        return np.asarray(estimator.predict_proba(shrunk(test).flatten(1).numpy()))

    return learn


def _function(given: Any) -> Learner:
    def learn(cases: Cases, test: Tensor, seed: int, augment: bool) -> Any:
        cases = _with_mirrored(cases) if augment else cases
        x, y = ((part + 1) / 2 for part in (cases.x, test))
        predicted = np.asarray(given(x.numpy(), cases.target, y.numpy(), seed), np.float64)
        classes = int(cases.target.max()) + 1
        if predicted.shape != (len(test), classes):
            raise InputError(
                f"The function given as utility returned {predicted.shape}.",
                f"It must return probabilities ({len(test)}, {classes}).",
            )
        return predicted

    return learn


def _with_mirrored(cases: Cases) -> Cases:
    """The cases, and each once more, mirrored left to right."""
    return cases.plus(Cases(cases.x.flip(-1), cases.target))
