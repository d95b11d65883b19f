"""How each task is learned: by a small network, or by your own model.

A learner gets training cases, test pictures in [-1, 1], a seed and whether to augment, and returns
a prediction for each test picture.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import checks
from ..errors import InputError
from . import detector, segmenter
from .classifiers import mean_auc, probabilities, shrunk

Rows = NDArray[np.int64]
CLASSIFIER, SEGMENTER, DETECTOR = TASKS = ("classifier", "segmenter", "detector")


@dataclass(frozen=True)
class Cases:
    """Pictures with what is to be learned of them.

    Parameters
    ----------
    x : torch.Tensor
        Pictures (N, C, *spatial) in [-1, 1].
    target : numpy.ndarray
        Classes (N,), masks (N, 1, *spatial) or boxes (N, K, 4).
    """

    x: Tensor
    target: NDArray[Any]

    def __len__(self) -> int:
        return len(self.x)

    def at(self, rows: Rows) -> Cases:
        """Fewer cases."""
        return Cases(self.x[torch.from_numpy(rows)], self.target[rows])

    def plus(self, other: Cases) -> Cases:
        """Both, one after the other."""
        targets = [self.target, other.target]
        if self.target.ndim == 3:  # boxes
            most = max(target.shape[1] for target in targets)
            targets = [_with_rows(target, most) for target in targets]
        return Cases(torch.cat([self.x, other.x]), np.concatenate(targets))


def _with_rows(boxes: NDArray[Any], most: int) -> NDArray[Any]:
    """Boxes (N, K, 4) as (N, most, 4), with rows of NaN."""
    missing = ((0, 0), (0, most - boxes.shape[1]), (0, 0))
    return np.pad(boxes, missing, constant_values=np.nan)


Learner: TypeAlias = Callable[[Cases, Tensor, int, bool], NDArray[Any]]
Grade: TypeAlias = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
Score: TypeAlias = Callable[[NDArray[Any], NDArray[Any]], float]


@dataclass(frozen=True)
class Task:
    """What is learned.

    Parameters
    ----------
    kind : str
        ``classifier``, ``segmenter`` or ``detector``.
    name, score_name : str
        As the table calls them.
    learner : callable
        Learns, and predicts.
    grade : callable
        From predictions and the truth to a row per case, of which scores are made.
    score : callable
        From such rows and the truth of some cases to one number.
    """

    kind: str
    name: str
    score_name: str
    learner: Learner
    grade: Grade
    score: Score


def task_of(kind: str, model: Any, steps: int) -> Task:
    """A task, learned by the small network if ``model`` is None.

    Raises
    ------
    InputError
        The model can neither be trained nor called.
    """
    if kind == CLASSIFIER:
        learner = _classifier(model, steps)
        return Task(kind, "classification", "AUC", learner, _as_they_are, mean_auc)
    if kind == SEGMENTER:
        learner = _segmenter(model, steps)
        return Task(kind, "segmentation", "Dice", learner, segmenter.dices, _mean)
    learner = _detector(model, steps)
    return Task(kind, "detection", "F1", learner, detector.agreements, _mean)


def _as_they_are(predicted: NDArray[Any], _truth: NDArray[Any]) -> NDArray[Any]:
    return predicted


def _mean(grades: NDArray[Any], _truth: NDArray[Any]) -> float:
    return float(grades.mean())


def _cannot(model: Any, what: str) -> InputError:
    return InputError(
        f"utility={checks.shown(model)} cannot be trained.",
        f"Give True, the name of a task ({', '.join(TASKS)}), or {what}.",
    )


def _again(module: nn.Module, seed: int) -> nn.Module:
    """A copy of a module, with new weights where its layers can make some."""
    torch.manual_seed(seed)
    net = copy.deepcopy(module).train()
    for part in net.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
    return net


def _called(function: Any, cases: Cases, test: Tensor, seed: int) -> NDArray[Any]:
    """What your own function predicts; it gets pictures in [0, 1]."""
    x, y = ((part + 1) / 2 for part in (cases.x, test))
    return np.asarray(function(x.numpy(), cases.target, y.numpy(), seed))


def _require_shape(predicted: NDArray[Any], shape: tuple[int, ...], what: str) -> None:
    if predicted.shape != shape:
        raise InputError(
            f"The function given as utility returned {predicted.shape}.",
            f"It must return {what} {shape}.",
        )


# --------------------------------------------------------------------------------------- classes
def _classifier(model: Any, steps: int) -> Learner:
    if model is None or isinstance(model, nn.Module):
        return _class_network(model, steps)
    if hasattr(model, "fit") and hasattr(model, "predict_proba"):
        return _estimator(model)
    if callable(model):
        return _class_function(model)
    raise _cannot(model, "a torch.nn.Module, something with fit and predict_proba, or a function")


def _class_network(module: nn.Module | None, steps: int) -> Learner:
    def learn(cases: Cases, test: Tensor, seed: int, augment: bool) -> NDArray[Any]:
        net = None if module is None else _again(module, seed)
        x, y = cases.x, cases.target
        return probabilities(x, y, test, seed=seed, steps=steps, net=net, flips=augment)

    return learn


def _estimator(model: Any) -> Learner:
    def learn(cases: Cases, test: Tensor, seed: int, augment: bool) -> NDArray[Any]:
        estimator = copy.deepcopy(model)
        if "random_state" in getattr(estimator, "get_params", dict)():
            estimator.set_params(random_state=seed)
        cases = _with_mirrored(cases) if augment else cases
        estimator.fit(shrunk(cases.x).flatten(1).numpy(), cases.target)
        return np.asarray(estimator.predict_proba(shrunk(test).flatten(1).numpy()))

    return learn


def _class_function(function: Any) -> Learner:
    def learn(cases: Cases, test: Tensor, seed: int, augment: bool) -> NDArray[Any]:
        cases = _with_mirrored(cases) if augment else cases
        predicted = _called(function, cases, test, seed).astype(np.float64)
        _require_shape(predicted, (len(test), int(cases.target.max()) + 1), "probabilities")
        return predicted

    return learn


def _with_mirrored(cases: Cases) -> Cases:
    """The cases, and each once more, mirrored left to right."""
    return cases.plus(Cases(cases.x.flip(-1), cases.target))


# ----------------------------------------------------------------------------------------- masks
def _segmenter(model: Any, steps: int) -> Learner:
    if model is None or isinstance(model, nn.Module):
        return _mask_network(model, steps)
    if callable(model):
        return _mask_function(model)
    raise _cannot(model, "a torch.nn.Module or a function")


def _mask_network(module: nn.Module | None, steps: int) -> Learner:
    def learn(cases: Cases, test: Tensor, seed: int, augment: bool) -> NDArray[Any]:
        net = None if module is None else _again(module, seed)
        net = segmenter.trained(
            cases.x, cases.target, seed=seed, steps=steps, flips=augment, net=net
        )
        return segmenter.marked_by(net, test)

    return learn


def _mask_function(function: Any) -> Learner:
    def learn(cases: Cases, test: Tensor, seed: int, augment: bool) -> NDArray[Any]:
        if augment:
            cases = cases.plus(
                Cases(cases.x.flip(-1), np.ascontiguousarray(cases.target[..., ::-1]))
            )
        predicted = _called(function, cases, test, seed)
        _require_shape(predicted, (len(test), 1, *test.shape[2:]), "masks")
        return predicted > segmenter.HALF

    return learn


# ----------------------------------------------------------------------------------------- boxes
def _detector(model: Any, steps: int) -> Learner:
    if model is None:
        return _box_network(steps)
    if callable(model) and not isinstance(model, nn.Module):
        return _box_function(model)
    raise _cannot(model, "a function that returns boxes")


def _box_network(steps: int) -> Learner:
    def learn(cases: Cases, test: Tensor, seed: int, augment: bool) -> NDArray[Any]:
        found = detector.learned(cases.x, cases.target, seed=seed, steps=steps, change=augment)
        return found(test)

    return learn


def _box_function(function: Any) -> Learner:
    def learn(cases: Cases, test: Tensor, seed: int, augment: bool) -> NDArray[Any]:
        if augment:
            boxes = cases.target.copy()
            boxes[..., 0] = 1 - boxes[..., 0]
            cases = cases.plus(Cases(cases.x.flip(-1), boxes))
        predicted = _called(function, cases, test, seed)
        boxes = detector.rows_of(predicted) if predicted.ndim in {2, 3} else predicted
        most = boxes.shape[1] if boxes.ndim == 3 else 1
        _require_shape(boxes, (len(test), most, 4), "boxes, with rows of NaN for none,")
        return boxes

    return learn
