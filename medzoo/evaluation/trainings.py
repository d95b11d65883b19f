"""Does it help? One model trained on real, synthetic and both, tested on held-out real data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..errors import InputError
from .estimates import row_draws
from .learners import CLASSIFIER, DETECTOR, SEGMENTER, TASKS, Cases, Rows, Task, task_of
from .pairs import Pair, Part
from .segmenter import SMALLEST, binary
from .utility import Arm, Utility

SHARES = (0.25, 1.0)  # of the real training data
SYNTHETIC_SHARES = (0.5, 1.0)  # of the samples, where they are used alone
SEEDS = 3
DRAWS = 200
FEWEST = 4  # real cases of each class
TRIES = 50
NAN = float("nan")
TARGETS = {CLASSIFIER: "labels", SEGMENTER: "masks", DETECTOR: "boxes of flat pictures"}


@dataclass(frozen=True)
class Run:
    """The grades of one training, case by case, and of how many cases it learned."""

    grades: NDArray[Any]
    n_real: int
    n_synthetic: int


Runs = Mapping[tuple[str, float], list[Run]]  # way to train, share of the cases -> one per seed


@dataclass
class Trainings:
    """All trainings of a question.

    Parameters
    ----------
    model : bool, str or callable
        As `medzoo.evaluate` takes ``utility``.
    kind : str, optional
        What your own model learns; ``classifier`` by default.
    real_runs : dict
        Trainings on real data alone, which other sets of the same comparison use again.
    """

    model: Any = True
    kind: str | None = None
    real_runs: dict[Any, Run] = field(default_factory=dict)

    def utility(self, pair: Pair) -> Utility:
        """Train in all ways, and score each on held-out data.

        Raises
        ------
        InputError
            There is nothing to learn, or the model cannot learn it.
        """
        kind, model = chosen(self.model, self.kind, pair)
        task = task_of(kind, model, pair.steps)
        parts = pair.synthetic, pair.real, pair.held_out
        made, real, held_out = (cases_of(part, kind, pair) for part in parts)
        if kind == CLASSIFIER:
            _require_classes(made, real, held_out)
        runs = self._runs(task, pair, made, real, held_out)
        arms = _arms(runs, task, held_out.target, pair)
        note = ""
        if pair.held_out.patients is None:
            note = "Patients are not known, so patients may be on both sides. "
        return Utility(task.name, task.score_name, len(held_out), arms, note)

    def _runs(self, task: Task, pair: Pair, made: Cases, real: Cases, held_out: Cases) -> Runs:
        runs: dict[tuple[str, float], list[Run]] = {}

        def graded(cases: Cases, seed: int, augment: bool) -> NDArray[Any]:
            predicted = task.learner(cases, held_out.x, seed, augment)
            return task.grade(predicted, held_out.target)

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
                    key = (task.name, name, share, seed, pair.real_digest)
                    run = self.real_runs.get(key)
                    if run is None:
                        grades = graded(cases, seed, augment)
                        run = Run(grades, len(own), len(cases) - len(own))
                    if not run.n_synthetic:
                        self.real_runs[key] = run
                    runs.setdefault((name, share), []).append(run)
            for share in SYNTHETIC_SHARES:
                rows = np.random.default_rng(seed).permutation(len(made))
                some = made.at(rows[: max(2, round(share * len(rows)))])
                run = Run(graded(some, seed, False), 0, len(some))
                runs.setdefault(("synthetic", share), []).append(run)
        return runs


# ---------------------------------------------------------------------------------- what is learned
def chosen(given: Any, kind: str | None, pair: Pair) -> tuple[str, Any]:
    """The task, and your own model that learns it, or None.

    Raises
    ------
    InputError
        There is no such task, or two were named.
    """
    name = given if isinstance(given, str) else kind
    if name is not None and name not in TASKS:
        raise InputError(
            f"There is no task {checks.shown(name)}.",
            f"{checks.meant(name, TASKS)}There are {', '.join(TASKS)}.",
        )
    if isinstance(given, str) and kind is not None and kind != given:
        raise InputError(f"utility={given!r} and task={kind!r} differ.", "Give one of them.")
    if given is True or isinstance(given, str):
        return name or _usual(pair), None
    return name or CLASSIFIER, given


def _usual(pair: Pair) -> str:
    """What can be learned: masks before boxes before classes."""
    parts = pair.synthetic, pair.real, pair.held_out
    if all(part.masks is not None for part in parts):
        return SEGMENTER
    if all(part.boxes is not None for part in parts) and _is_flat(pair):
        return DETECTOR
    if all(part.labels is not None for part in parts):
        return CLASSIFIER
    raise InputError(
        "utility needs labels, masks or boxes on both sides.",
        "Put real images into one folder per class, or give masks or boxes.",
    )


def _is_flat(pair: Pair) -> bool:
    return pair.real.x is not None and pair.real.x.ndim == 4


def cases_of(part: Part, kind: str, pair: Pair) -> Cases:
    """What a task learns of a side.

    Raises
    ------
    InputError
        The side does not have it.
    """
    targets: dict[str, NDArray[Any] | None] = {
        CLASSIFIER: part.labels,
        SEGMENTER: None if part.masks is None else binary(part.masks),
        DETECTOR: part.boxes if part.boxes is not None and _is_flat(pair) else None,
    }
    target = targets[kind]
    if part.x is None or target is None:
        raise InputError(
            f"A {kind} needs pictures with {TARGETS[kind]} on both sides.",
            f"utility=True (--utility) takes what there is: one of {', '.join(TASKS)}.",
        )
    if kind == SEGMENTER and min(part.x.shape[2:]) < SMALLEST:
        raise InputError(
            f"A segmenter needs pictures with at least {SMALLEST} pixels along each axis, not "
            f"{tuple(part.x.shape[2:])}."
        )
    return Cases(part.x, target)


def _require_classes(made: Cases, real: Cases, held_out: Cases) -> None:
    known = [np.unique(cases.target).tolist() for cases in (made, real, held_out)]
    if known[0] != known[1] or known[1] != known[2] or len(known[0]) < 2:
        raise InputError(
            "utility needs the same classes, at least two, in synthetic, real and held-out data."
        )


def _share(real: Cases, patients: Any, share: float, seed: int, task: Task) -> Rows:
    """Rows of a share of the real cases, patient-wise, with all classes."""
    if share == 1:
        return np.arange(len(real))
    names = np.arange(len(real)) if patients is None else patients
    values, codes = np.unique(names, return_inverse=True)
    rng = np.random.default_rng(seed)
    for _ in range(TRIES):
        some = rng.permutation(len(values))[: max(1, round(share * len(values)))]
        rows = np.flatnonzero(np.isin(codes, some))
        if task.kind != CLASSIFIER:
            return rows
        counts = np.bincount(real.target[rows], minlength=int(real.target.max()) + 1)
        if counts.min() >= FEWEST:
            return rows
    raise InputError(
        f"A quarter of the real data has fewer than {FEWEST} cases of a class.",
        "Give more real data for `utility`.",
    )


# ---------------------------------------------------------------------------------------- results
def _arms(runs: Runs, task: Task, truth: Any, pair: Pair) -> list[Arm]:
    """Scores, intervals and gains; all arms use the same draws of held-out cases."""
    rng = np.random.default_rng(pair.seed)
    draws = list(row_draws(len(truth), pair.held_out.patients, rng, DRAWS))

    def mean_score(key: tuple[str, float], rows: Any) -> float:
        return float(np.mean([task.score(run.grades[rows], truth[rows]) for run in runs[key]]))

    drawn = {key: np.array([mean_score(key, rows) for rows in draws]) for key in runs}
    everything = slice(None)
    arms = []
    for key, results in runs.items():
        name, share = key
        scores = tuple(task.score(run.grades, truth) for run in results)
        low, high = np.nanquantile(drawn[key], (0.025, 0.975))
        gain = NAN, NAN, NAN
        if name not in {"real", "synthetic"}:
            base = ("real", share)
            ends = np.nanquantile(drawn[key] - drawn[base], (0.025, 0.975))
            difference = mean_score(key, everything) - mean_score(base, everything)
            gain = difference, float(ends[0]), float(ends[1])
        n_real = round(float(np.mean([run.n_real for run in results])))
        n_made = results[0].n_synthetic
        arms.append(Arm(name, share, n_real, n_made, scores, float(low), float(high), *gain))
    return arms
