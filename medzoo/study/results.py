"""From answers and the key to figures: of all readers, of each, of each group and picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import statistics
from .reading import is_synthetic
from .statistics import NOTHING, Estimate
from .store import Answer, Reader, Settings, Store


@dataclass(frozen=True)
class Result:
    """A figure of a study.

    Parameters
    ----------
    name : str
        Such as ``accuracy``.
    by : str
        The group of pictures, such as ``class glioma``; empty for all.
    value, low, high : float
        The figure and its 95 % interval; NaN where it cannot be computed.
    n : int
        Answers, pictures or readers that it comes from.
    note : str
        What it is, or why it could not be computed.
    """

    name: str
    by: str
    value: float
    low: float
    high: float
    n: int
    note: str


@dataclass(frozen=True)
class Judgement:
    """One answer, with the truth."""

    answer: Answer
    reader: Reader
    synthetic: bool  # of a pair: whether the synthetic one is on the right
    called: bool  # that it is
    picture: str  # the synthetic one of a pair
    groups: Mapping[str, str]

    @property
    def right(self) -> bool:
        """Whether the answer is right."""
        return self.synthetic == self.called


@dataclass
class ReaderResult:
    """One reader's figures."""

    reader: Reader
    accuracy: Estimate
    sensitivity: Estimate
    specificity: Estimate
    auc: float
    p: float
    seconds: float


@dataclass
class PictureResult:
    """How one picture was judged."""

    name: str
    synthetic: bool
    source: str
    groups: Mapping[str, str]
    answers: int
    called: int  # how often it was called synthetic
    rating: float  # the mean

    @property
    def wrong(self) -> float:
        """The share of answers that were wrong."""
        share = self.called / self.answers
        return 1 - share if self.synthetic else share


@dataclass
class Results:
    """All figures of a study, with what could not be computed in ``notes``."""

    settings: Settings
    key: Mapping[str, Any]
    judgements: list[Judgement]
    figures: list[Result] = field(default_factory=list)
    readers: list[ReaderResult] = field(default_factory=list)
    pictures: list[PictureResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def judged(store: Store, key: Mapping[str, Any], settings: Settings) -> list[Judgement]:
    """All answers that count, with the truth."""
    items, readers, truths = store.items(), store.readers(), key["pictures"]
    found = []
    for answer in store.answers():
        pictures, training = items[answer.item]
        if training:
            continue
        if settings.task == "pairs":
            right = bool(truths[pictures[1]]["synthetic"])
            name, truth, called = pictures[int(right)], right, answer.rating == 2
        else:
            name = pictures[0]
            truth, called = truths[name]["synthetic"], is_synthetic(answer.rating, settings)
        reader, groups = readers[answer.reader], truths[name]["groups"]
        found.append(Judgement(answer, reader, truth, called, name, groups))
    return found


def results_of(store: Store, key: Mapping[str, Any]) -> Results:
    """All figures of a study."""
    statistics.require_extra()
    settings = store.settings()
    results = Results(settings, key, judged(store, key, settings))
    everyone = list(store.readers().values())
    if not everyone:
        results.notes.append("Nobody has begun, so nothing can be computed.")
        return results
    if not results.judgements:
        results.notes.append("There are no answers that count, so nothing can be computed.")
        return results
    for reader in everyone:
        own = [j for j in results.judgements if j.reader == reader]
        results.readers.append(_reader_result(reader, own, settings))
    results.pictures = list(_picture_results(results))
    _shares(results, results.judgements, "")
    _over_readers(results)
    _agreement(results)
    _scales(results)
    for by, judgements in _groups(results.judgements):
        _shares(results, judgements, by)
    return results


def share(judgements: Sequence[Judgement], test: Callable[[Judgement], bool]) -> Estimate:
    """The share of judgements that pass a test, with its exact interval."""
    return statistics.proportion(sum(map(test, judgements)), len(judgements))


def _reader_result(reader: Reader, own: list[Judgement], settings: Settings) -> ReaderResult:
    single = settings.task == "rating"
    made = [j for j in own if j.synthetic and single]
    real = [j for j in own if not j.synthetic and single]
    right = sum(j.right for j in own)
    area = right / len(own) if own else NOTHING
    if single:
        area = statistics.auc([j.synthetic for j in own], [j.answer.rating for j in own])
    return ReaderResult(
        reader,
        statistics.proportion(right, len(own)),
        share(made, lambda j: j.right),
        share(real, lambda j: j.right),
        area,
        statistics.binomial_p(right, len(own)),
        median(j.answer.seconds for j in own) if own else NOTHING,
    )


def _picture_results(results: Results) -> Iterator[PictureResult]:
    of_picture: dict[str, list[Judgement]] = {}
    for judgement in results.judgements:
        of_picture.setdefault(judgement.picture, []).append(judgement)
    pairs = results.settings.task == "pairs"
    for name, own in sorted(of_picture.items()):
        truth = results.key["pictures"][name]
        called = sum(j.right if pairs else j.called for j in own)
        rating = NOTHING if pairs else fmean(j.answer.rating for j in own)
        yield PictureResult(
            name, truth["synthetic"], truth["source"], truth["groups"], len(own), called, rating
        )


def _groups(judgements: Sequence[Judgement]) -> list[tuple[str, list[Judgement]]]:
    """The judgements of each group, such as ``class glioma``."""
    found: dict[tuple[str, str], list[Judgement]] = {}
    for judgement in judgements:
        for group in judgement.groups.items():
            found.setdefault(group, []).append(judgement)
    return [(f"{name} {value}", own) for (name, value), own in sorted(found.items())]


# -------------------------------------------------------------------------------------- the figures
def _add(results: Results, name: str, found: Estimate, n: int, note: str, *, by: str = "") -> None:
    results.figures.append(Result(name, by, *found, n, note))


def _shares(results: Results, judgements: Sequence[Judgement], by: str) -> None:
    """Accuracy, sensitivity and specificity of all answers together."""
    exact = "of all answers; exact interval, which treats answers as independent"
    _add(results, "accuracy", share(judgements, lambda j: j.right), len(judgements), exact, by=by)
    if results.settings.task == "pairs":
        if not by:
            results.notes.append(
                "Pairs have neither sensitivity nor specificity, because one of two is chosen."
            )
        return
    made = [j for j in judgements if j.synthetic]
    real = [j for j in judgements if not j.synthetic]
    text = "of synthetic pictures, called synthetic; exact interval"
    _add(results, "sensitivity", share(made, lambda j: j.right), len(made), text, by=by)
    text = "of real pictures, called real; exact interval"
    _add(results, "specificity", share(real, lambda j: j.right), len(real), text, by=by)


def _over_readers(results: Results) -> None:
    """The means of readers, and the test against chance."""
    done = [r for r in results.readers if r.reader.finished]
    waiting = len(results.readers) - len(done)
    if waiting:
        results.notes.append(
            f"{waiting} of {len(results.readers)} readers have not finished: their answers count "
            "in accuracy, sensitivity and specificity alone."
        )
    if not done:
        results.notes.append(
            "No reader has finished, so AUC, the test against chance and agreement cannot be "
            "computed."
        )
        return
    accuracies = [r.accuracy.value for r in done]
    if len(done) == 1:
        results.notes.append(
            "One reader has finished: means of readers have no interval, the test against chance "
            "is exact for this reader and says nothing about others, and agreement cannot be "
            "computed."
        )
    note = "mean of readers, with the t interval over readers, cut off at 0 and 1"
    _add(results, "accuracy of readers", _mean_share(accuracies), len(done), note)
    kind = "right answers, which estimate the AUC" if _pairs(results) else "ratings"
    note = f"mean of readers, from {kind}; t interval over readers, cut off at 0 and 1"
    _add(results, "AUC", _mean_share([r.auc for r in done]), len(done), note)
    _chance(results, done, accuracies)


def _mean_share(values: list[float]) -> Estimate:
    """The mean of numbers from 0 to 1; its interval is cut off there."""
    value, low, high = statistics.mean(values)
    return Estimate(value, float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1)))


def _pairs(results: Results) -> bool:
    return results.settings.task == "pairs"


def _chance(results: Results, done: list[ReaderResult], accuracies: list[float]) -> None:
    if len(done) == 1:
        note = "exact binomial test of one reader's answers against 0.5"
        _add(results, "p against chance", Estimate(done[0].p), 1, note)
        return
    p = statistics.t_test_p(accuracies)
    note = "two-sided t test of the readers' accuracies against 0.5"
    _add(results, "p against chance", Estimate(p), len(done), note)
    if math.isnan(p):
        results.notes.append(
            "All readers have the same accuracy, so the t test over readers cannot be computed. "
            "The table of readers has an exact test for each."
        )


def _agreement(results: Results) -> None:
    """Fleiss' kappa of the calls, and ICC of the ratings, of readers who have finished."""
    done = [r.reader for r in results.readers if r.reader.finished]
    if len(done) < 2:
        return
    calls = _table(results, done, lambda j: int(j.called))
    kappa = statistics.fleiss_kappa(calls.astype(int))
    note = f"Fleiss' kappa of {len(done)} readers' calls, real or synthetic"
    if _pairs(results):
        note = f"Fleiss' kappa of {len(done)} readers' calls, left or right"
    _add(results, "kappa", Estimate(kappa), len(calls), note)
    if math.isnan(kappa):
        results.notes.append("All calls are the same, so Fleiss' kappa cannot be computed.")
    if _pairs(results):
        results.notes.append("Pairs have no ratings, so there is no ICC.")
        return
    ratings = _table(results, done, lambda j: float(j.answer.rating))
    found = statistics.agreement(ratings)
    note = "ICC(2,1): absolute agreement of the ratings of single readers"
    _add(results, "ICC", found, len(ratings), note)
    if math.isnan(found.value):
        results.notes.append("All ratings are the same, so the ICC cannot be computed.")


def _table(
    results: Results, readers: list[Reader], value: Callable[[Judgement], float]
) -> NDArray[np.float64]:
    """A value of each answer, shape (items, readers)."""
    columns: dict[str, dict[str, float]] = {reader.name: {} for reader in readers}
    for judgement in results.judgements:
        if judgement.reader.name in columns:
            columns[judgement.reader.name][judgement.answer.item] = value(judgement)
    items = sorted(columns[readers[0].name])
    return np.array([[columns[reader.name][item] for reader in readers] for item in items])


def _scales(results: Results) -> None:
    """Means of each further scale, of real and of synthetic pictures, and whether they differ.

    As all means, they are those of readers who have finished: a strict reader who has seen only
    some of the pictures would move their means and not those of the others.
    """
    finished: dict[str, list[Judgement]] = {}  # of each picture
    for judgement in results.judgements:
        if judgement.reader.finished:
            finished.setdefault(judgement.picture, []).append(judgement)
    if results.settings.scales and not finished:
        results.notes.append("No reader has finished, so the further scales have no means.")
        return
    for scale in results.settings.scales:
        means: dict[bool, list[float]] = {True: [], False: []}
        for own in finished.values():
            means[own[0].synthetic].append(fmean(j.answer.scales[scale] for j in own))
        for synthetic, name in ((False, "real"), (True, "synthetic")):
            values = means[synthetic]
            note = f"mean from 1 to 5 of {name} pictures, with the t interval over pictures"
            _add(results, f"{scale}, {name}", statistics.mean(values), len(values), note)
        p = statistics.rank_test_p(means[True], means[False])
        note = "Mann-Whitney test of the pictures' means, real against synthetic"
        _add(results, f"{scale}, p", Estimate(p), len(finished), note)
