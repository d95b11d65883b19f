"""``medzoo.evaluate`` and ``medzoo.compare``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from .. import checks
from ..errors import InputError, MedzooWarning
from .comparison import Comparison
from .data import Data, Reading
from .matching import PICTURES, Sides, matched
from .measuring import Measuring, chosen_metrics
from .pairs import Pair
from .report import pictures_of
from .results import Evaluation
from .sources import data_of, is_model
from .trainings import Trainings

PROBE = 48  # samples of a model that are compared before all of them are made


def _mapping(value: Any, name: str) -> Mapping[str, str]:
    """A mapping of names."""
    if not isinstance(value, Mapping):
        raise InputError(
            f"{name}={checks.shown(value)} is not a mapping.",
            "Such as {'is_benign_true': 'benign'}.",
        )
    return {str(key): str(item) for key, item in value.items()}


OWN_CHECKS: dict[str, checks.Check] = {
    "by": checks.optional(checks.text),
    "classes": checks.optional(_mapping),
    "n": lambda value, name: checks.whole(value, name, "a number of samples", 1),
    "patient": checks.optional(checks.text),
    "resize": checks.flag,
    "seed": checks.seed,
    "steps": lambda value, name: checks.whole(value, name, "a number of steps", 1),
    "task": checks.optional(checks.text),
}


@checks.checked(**OWN_CHECKS)
def evaluate(
    synthetic: Any,
    real: Any,
    *,
    held_out: Any = None,
    metrics: Sequence[str] | None = None,
    features: torch.nn.Module | str | os.PathLike[str] | None = None,
    by: str | None = None,
    utility: Any = False,
    task: str | None = None,
    patient: str | None = None,
    classes: Mapping[str, str] | None = None,
    resize: bool = False,
    n: int = 1000,
    seed: int = 0,
    steps: int = 250,
    device: str = "auto",
    env: str = "auto",
    trust: bool = False,
    sandbox: str = "auto",
) -> Evaluation:
    """Judge synthetic samples against real ones: fidelity, diversity, usefulness, privacy.

    Each figure has a floor (real data in place of the samples) and a 95 % interval. The
    figures are necessary, not sufficient: look at the pictures too. docs/evaluate.md explains how
    to read them.

    Parameters
    ----------
    synthetic : Samples, path, array, dict or model id
        What is judged: samples; a folder that medzoo wrote; a folder or zip of images, with one
        folder per class if there are classes; a ``.npz``, ``.npy`` or ``.csv`` file; an array
        (N, C, H, W) or (N, C, D, H, W) of uint8, uint16 or floats in [0, 1]; a dictionary of arrays
        such as ``images``, ``labels``, ``masks`` and ``table``; a data frame. A model id generates
        ``n`` samples.
    real : Samples, path, array, dict or model id
        Real data, in one of the same forms. For figures of privacy it must be what the model was
        trained on. In a folder with ``train/`` and ``val/`` (or ``test/``), the second is held out.
    held_out : Samples, path, array, dict or model id, optional
        Further real data, of other patients. By default half of ``real``, at random.
    metrics : sequence of str, optional
        Names of metrics, or of groups: ``fidelity``, ``diversity``, ``usefulness``, ``privacy``,
        ``masks``, ``tables``. By default all that apply, except ``c2st``, ``tstr``, ``mask_dice``
        and ``box_found``, which train networks for minutes; ``"all"`` has these as well.
    features : torch.nn.Module, str or path, optional
        Returns one row of numbers per picture, for pictures in [-1, 1]. ``"radimagenet"`` and
        ``"inception"`` are networks whose weights are downloaded at the first use (95 MB); a path
        is a file of such weights. By default the first 64 principal components of the real
        pictures, which need no download.
    by : str, optional
        A column (labels, or one of metadata.csv): figures of each group as well.
    utility : bool, str or callable, optional
        True: train a small network on real, synthetic and both, and test it on held-out data: a
        ``"segmenter"`` if there are masks, a ``"detector"`` if there are boxes, else a
        ``"classifier"``. One of these words chooses. A model of yours replaces the network:
        something with ``fit`` and ``predict_proba``, a ``torch.nn.Module`` or a function; see
        docs/evaluate.md.
    task : str, optional
        What your own model learns: ``"classifier"`` (the default), ``"segmenter"`` or
        ``"detector"``.
    patient : str, optional
        A column, or a regular expression that finds the patient in the path of a file. Real data
        are then split, and intervals drawn, by patient.
    classes : Mapping[str, str], optional
        Name of a folder or label -> name of the class, where the two sides name them differently.
    resize : bool, optional
        Bring real picture files to the size of the synthetic ones. Otherwise a difference is an
        error. Pictures of another shape (height to width) would be stretched, and are refused.
    n, seed : int, optional
        Of samples that a model generates. ``seed`` is also that of random choices here.
    steps : int, optional
        How long each classifier learns.
    device, env, trust, sandbox : optional
        How a model runs, as for `medzoo.generate`.

    Returns
    -------
    Evaluation
        Figures, which print as a table; a report; gates.

    Raises
    ------
    InputError
        The sides cannot be compared: too few samples, other sizes, units, types or classes, NaN, or
        a picture or patient that is in both real parts.

    Examples
    --------
    >>> synthetic, real, others = (medzoo.generate(109, 20, seed=s) for s in (1, 2, 3))
    >>> found = medzoo.evaluate(synthetic, real, held_out=others, metrics=["precision", "copy"])
    >>> [figure.metric for figure in found.figures]
    ['precision', 'copy']
    """
    running = {"device": device, "env": env, "trust": trust, "sandbox": sandbox}
    how = Reading(n, seed, classes or {}, options=running, patient=patient)
    settings = {"metrics": metrics, "features": features, "by": by}
    trainings = Trainings(utility, task) if _is_asked(utility, task) else None
    judge = Judge(how, real, held_out, resize, steps, settings, trainings)
    return judge(synthetic)


def _is_asked(utility: Any, task: str | None) -> bool:
    """Whether to train; a task alone does not ask for it.

    Raises
    ------
    InputError
        There is a task, and ``utility`` is False.
    """
    asked = utility is not False and utility is not None
    if task is not None and not asked:
        raise InputError(
            f"task={task!r} has no effect without utility.", "Add utility=True (--utility)."
        )
    return asked


@checks.checked(**OWN_CHECKS)
def compare(
    synthetic: Sequence[Any] | Mapping[str, Any],
    real: Any,
    *,
    held_out: Any = None,
    metrics: Sequence[str] | None = None,
    features: torch.nn.Module | str | os.PathLike[str] | None = None,
    by: str | None = None,
    utility: Any = False,
    task: str | None = None,
    patient: str | None = None,
    classes: Mapping[str, str] | None = None,
    resize: bool = False,
    n: int = 1000,
    seed: int = 0,
    steps: int = 250,
    device: str = "auto",
    env: str = "auto",
    trust: bool = False,
    sandbox: str = "auto",
) -> Comparison:
    """Judge several models or sets against the same real data.

    Parameters
    ----------
    synthetic : sequence or mapping
        Models, samples, folders or arrays, each as for `medzoo.evaluate`; a mapping names them.
    real, held_out, metrics, features, by, utility, task, patient, classes, resize : optional
        As for `medzoo.evaluate`.
    n, seed, steps, device, env, trust, sandbox : optional
        As for `medzoo.evaluate`.

    Returns
    -------
    Comparison
        One `Evaluation` per set; it prints as one table, with the floor in the first row.

    Raises
    ------
    InputError
        As for `medzoo.evaluate`, or there is nothing to compare.

    Examples
    --------
    >>> one, two, real, others = (medzoo.generate(109, 20, seed=s) for s in range(4))
    >>> found = medzoo.compare([one, two], real, held_out=others, metrics=["recall"])
    >>> len(found.evaluations)
    2
    """
    names: list[str] = []
    if isinstance(synthetic, Mapping):
        names, synthetic = list(map(str, synthetic)), list(synthetic.values())
    listed = checks.listed(synthetic)
    if not isinstance(listed, list) or not listed:
        raise InputError(
            f"synthetic={checks.shown(synthetic)} is not a list of models or sets.",
            "Such as [101, 102, 103], or {'mine': 101, 'yours': 'folder/'}.",
        )
    running = {"device": device, "env": env, "trust": trust, "sandbox": sandbox}
    how = Reading(n, seed, classes or {}, options=running, patient=patient)
    settings = {"metrics": metrics, "features": features, "by": by}
    trainings = Trainings(utility, task) if _is_asked(utility, task) else None
    judge = Judge(how, real, held_out, resize, steps, settings, trainings)
    evaluations = [judge(one) for one in listed]
    if names:
        pairs = zip(evaluations, names, strict=True)
        return Comparison(tuple(replace(e, name=name) for e, name in pairs))
    return Comparison(tuple(_named(evaluations)))


def _named(evaluations: list[Evaluation]) -> list[Evaluation]:
    """Evaluations with different names."""
    names = [evaluation.name for evaluation in evaluations]
    if len(set(names)) == len(names):
        return evaluations
    return [replace(e, name=f"{e.name} {k}") for k, e in enumerate(evaluations, start=1)]


@dataclass
class Judge:
    """Evaluates sets against the same real data, which are read once per size."""

    how: Reading
    real: Any
    held_out: Any
    resize: bool
    steps: int
    settings: Mapping[str, Any]
    trainings: Trainings | None = None
    sizes: dict[tuple[int, ...] | None, tuple[Data, Data | None]] = field(default_factory=dict)
    floors: dict[Any, Any] = field(default_factory=dict)

    def __call__(self, source: Any) -> Evaluation:
        """Judge one set."""
        if self.how.n > PROBE and is_model(source):
            self._refuse_early(source)
        synthetic = data_of(source, "synthetic", self.how)
        real, held_out = self._real(synthetic)
        sides = matched(synthetic, real, held_out, self.how.patient, self.how.seed)
        with torch.random.fork_rng(devices=[]):
            return self._evaluation(sides)

    def _refuse_early(self, source: Any) -> None:
        """Compare a few samples of a model first, since all of them may take minutes."""
        few = data_of(source, "synthetic", replace(self.how, n=PROBE))
        real, held_out = self._real(few)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MedzooWarning)  # all samples will say it again
            matched(few, real, held_out, self.how.patient, self.how.seed)

    def _real(self, synthetic: Data) -> tuple[Data, Data | None]:
        size = None
        name = synthetic.column(*PICTURES)
        if self.resize and name and synthetic.samples.outputs[name].kind == "image":
            size = synthetic.samples.outputs[name].shape[1:]
        if size not in self.sizes:
            how = replace(self.how, size=size, seed=self.how.seed + 1)
            held_out = self.held_out
            held = None if held_out is None else data_of(held_out, "held_out", how)
            self.sizes[size] = data_of(self.real, "real", how), held
        return self.sizes[size]

    def _evaluation(self, sides: Sides) -> Evaluation:
        measuring = Measuring(
            sides,
            self.settings.get("features"),
            self.how.patient,
            self.how.seed,
            self.steps,
            self.floors,
            list(sides.notes),
        )
        name = sides.real.column(*PICTURES)
        ndim = len(sides.real.samples.outputs[name].shape) + 1 if name else 0
        metrics = chosen_metrics(self.settings.get("metrics"), sides.kinds, ndim)
        pair = measuring.pair()
        figures = measuring.figures(pair, metrics, self.settings.get("by"))
        utility = self.trainings.utility(pair) if self.trainings else None
        return Evaluation(
            sides.synthetic.name,
            tuple(figures),
            tuple(measuring.notes),
            self._facts(sides, pair),
            pictures_of(pair, measuring.sides),
            utility,
        )

    def _facts(self, sides: Sides, pair: Pair) -> dict[str, Any]:
        features = self.settings.get("features")
        named = "principal components" if features is None else type(features).__name__
        if isinstance(features, (str, os.PathLike)):
            named = str(features)
        return {
            "sizes": {
                "synthetic": pair.synthetic.n,
                "real": pair.real.n,
                "held_out": pair.held_out.n,
            },
            "names": {"real": sides.real.name, "held_out": sides.held_out.name},
            "features": named,
            "seed": self.how.seed,
            "steps": self.steps,
            "identical": len(sides.identical),
            "provenance": dict(sides.synthetic.samples.provenance),
        }
