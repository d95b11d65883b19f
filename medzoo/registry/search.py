"""A search: words and fields to the models that have them, in order, or why there are none."""

from __future__ import annotations

import difflib
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .. import checks
from ..errors import InputError, MedzooWarning
from .index import FIELDS, Figure, Index, index_of
from .lookup import unchanged_registry as registry
from .results import Found
from .words import patterns, plain

SLIP, SHORTEST = 0.8, 4  # how alike words are that differ by a slip, and letters of the shortest
NAMED = 1  # the last level of words that name a thing; those below describe it
SORTS = ("relevance", "id", "name", "year")
ORDERS = {"id": "number", "name": "name", "year": "-year"}  # for SQL


def search(
    words: str = "",
    *,
    sort: str | None = None,
    modality: str | Sequence[str] | None = None,
    organ: str | Sequence[str] | None = None,
    content: str | Sequence[str] | None = None,
    generator: str | Sequence[str] | None = None,
    license: str | Sequence[str] | None = None,  # noqa: A002
    dataset: str | Sequence[str] | None = None,
    bundled: bool | None = None,
    **unknown: Any,
) -> Found:
    """Find models by words and fields.

    Parameters
    ----------
    words
        All must occur, in any case, at the beginning of a word of a model's id, name, fields, tags,
        conditions, data sets, architectures or description. Singular finds plural and the other way
        round; MMG finds mammography, MR finds MRI, and so on. Words of one or two letters are whole
        words. A word that no model has is taken for the nearest one that names a model:
        "mamography" finds mammography. A warning says so, and ``Found.corrections``.
    sort
        ``relevance`` (the default: id, name and fields count more than tags, tags more than the
        description), ``id``, ``name``, ``year`` (newest first), or a metric such as ``FID``: best
        first, models without it last.
    modality, organ, content, generator, license, dataset
        A part of the field, in any case; of several values one must fit. These, the year and
        metrics are those of the default version.
    bundled
        True: only models that come with medzoo. False: only the others.

    Returns
    -------
    Found
        A sequence of `ModelConfig`, perhaps empty, that prints as a table.

    Raises
    ------
    InputError
        A filter or sort key is unknown, or not a text.
    ConfigError
        A config of the registry breaks the schema.

    Warns
    -----
    MedzooWarning
        A word was taken for another. Or the models report the metric on different data sets or
        numbers of samples; they are then grouped by these, not ranked against each other.

    Examples
    --------
    >>> medzoo.search("mammography mass", bundled=True)
    >>> medzoo.search(modality=["MRI", "CT"], sort="year")[0].id
    """
    if unknown:
        raise _unknown("filter", next(iter(unknown)), (*FIELDS, "bundled", "sort"))
    if not isinstance(words, str):
        raise InputError(
            f"words={checks.shown(words)} is not a text.",
            "Give the words in one text: 'mammography mass'.",
        )
    if bundled is not None and not isinstance(bundled, bool):
        raise InputError(
            f"bundled={checks.shown(bundled)} is not a choice.", "Give True, False or None."
        )
    index = index_of(registry())
    order = _sort_key(index, sort)
    given = zip(FIELDS, (modality, organ, content, generator, license, dataset), strict=True)
    values = {name: _values(name, value) for name, value in given if value is not None}
    corrections: dict[str, str] = {}
    filters = {name: _filter(index, name, wanted, corrections) for name, wanted in values.items()}
    terms = {
        word: _term(index, word, typed, corrections)
        for word in words.split()
        if (typed := plain(word))
    }

    fitting = [
        *(numbers for _, numbers in filters.values()),
        *(set().union(*levels) for levels in terms.values()),
    ]
    if bundled is not None:
        fitting.append(index.where("bundled", lambda value: bool(value) is bundled))
    found = set.intersection(*fitting) if fitting else set(index.numbers())
    if corrections:
        taken = ", ".join(f"{typed!r} for {word!r}" for typed, word in corrections.items())
        warnings.warn(
            f"No model has what was typed: search took {taken}.", MedzooWarning, stacklevel=2
        )
    if not found:
        result = Found(index, (), note=_why_none(index, terms, filters))
    elif order == "relevance":
        result = Found(index, _by_relevance(found, terms.values()))
    elif order in SORTS:
        result = Found(index, [n for n in index.numbers(ORDERS[order]) if n in found])
    else:
        result = _by_metric(index, found, order)
    result.corrections = corrections
    return result


# -------------------------------------------------------------------------------------------------
# typing errors
def _term(index: Index, word: str, typed: list[str], corrections: dict[str, str]) -> list[set[int]]:
    """The models that have a word, level by level; where none has, those of the word that must have
    been meant, if one is near.
    """
    levels = index.having(patterns(typed))
    if any(levels) or not (near := _nearest(typed, index)):
        return levels
    corrections[word] = near
    return index.having(patterns(plain(near)))


def _filter(
    index: Index, name: str, wanted: list[str], corrections: dict[str, str]
) -> tuple[list[str], set[int]]:
    """What a filter asks for, and the models that fit it, or what must have been meant."""
    numbers = index.where(name, _field_check(name, wanted))
    if not numbers:
        near = {value: _nearest(plain(value), index) for value in wanted}
        taken = [word for word in near.values() if word]
        others = index.where(name, _field_check(name, taken)) if taken else set()
        if others:
            corrections.update({value: word for value, word in near.items() if word})
            return taken, others
    return wanted, numbers


def _nearest(typed: list[str], index: Index) -> str:
    """The words of names, fields and tags that are one slip away from what was typed, each of four
    letters at least; empty where one of them has none. Words of several parts, and words with
    digits, are never taken for others.
    """
    if len(typed) != 1 or not typed[0].isalpha():
        return ""
    near = []
    for word in typed:
        known = {word} & {*index.words_like(word, level=NAMED)}
        close = known or (
            difflib.get_close_matches(word, index.words_like(word, level=NAMED), 1, cutoff=SLIP)
            if len(word) >= SHORTEST
            else []
        )
        near += list(close)[:1]
    return " ".join(near) if len(near) == len(typed) else ""


# -------------------------------------------------------------------------------------------------------------
# filters
def _values(name: str, value: object) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple, set, frozenset)) or not all(
        isinstance(v, str) and v.strip() for v in values
    ):
        raise InputError(
            f"{name}={checks.shown(value)} is not a text or a list of texts.",
            f"Such as {name}='...'.",
        )
    return [v.strip() for v in values]


def _field_check(name: str, values: list[str]) -> Callable[[str], bool]:
    # A modality has several names; for other fields a part of the text must match.
    parts = [v.casefold() for v in values]
    called = [p for v in values for p in patterns(plain(v))] if name == "modality" else []

    def check(text: str) -> bool:
        return any(p in text for p in parts) or (
            bool(called) and any(p.fits(plain(text)) for p in called)
        )

    return check


# -------------------------------------------------------------------------------------------------------------
# sorting
def _sort_key(index: Index, sort: str | None) -> str:
    """``sort`` in the case of the key it names."""
    if sort is None:
        return SORTS[0]
    metrics = index.metrics()
    keys = {k.casefold(): k for k in (*metrics, *SORTS)}
    if not isinstance(sort, str) or sort.casefold() not in keys:
        raise _unknown("sort key", sort, (*SORTS, *metrics))
    return keys[sort.casefold()]


def _by_relevance(found: set[int], terms: Iterable[list[set[int]]]) -> list[int]:
    """By how far down the levels the words are found, added up; equals in the order of ids."""
    depths = {0: found}
    for levels in terms:
        deeper: dict[int, set[int]] = defaultdict(set)
        for depth, rest in depths.items():
            for k, level in enumerate(levels):
                deeper[depth + k] |= rest & level
                rest = rest - level  # noqa: PLW2901
        depths = deeper
    return [number for depth in sorted(depths) for number in sorted(depths[depth])]


def _by_metric(index: Index, numbers: Iterable[int], name: str) -> Found:
    """The best first within each group of comparable figures, the largest group first, models
    without a figure last.
    """
    figures: dict[int, list[Figure]] = {n: [] for n in numbers}
    for figure in index.figures(name):
        if figure.number in figures:
            figures[figure.number].append(figure)
    shared = Counter(group for several in figures.values() for group in {f.group for f in several})
    ranks = {group: k for k, group in enumerate(sorted(shared, key=lambda g: (-shared[g], g)))}
    # Of several figures the one that most models can be compared by.
    chosen = {
        n: min(several, key=lambda f: ranks[f.group]) for n, several in figures.items() if several
    }

    def key(number: int) -> tuple[float, float, int]:
        figure = chosen.get(number)
        if figure is None:
            return len(ranks), 0.0, number
        return (
            ranks[figure.group],
            figure.value if figure.better == "lower" else -figure.value,
            number,
        )

    used = {f.group for f in chosen.values()}
    if len(used) > 1:
        groups = ", ".join(_group_text(*g) for g in sorted(used, key=lambda g: ranks[g]))
        warnings.warn(
            f"{name} is comparable only on the same data and number of samples, and these models report it on "
            f"{groups}. They are grouped by that, not ranked across.",
            MedzooWarning,
            stacklevel=3,
        )
    note = "" if used else f"None of them reports {name} for its default version."
    return Found(index, sorted(numbers, key=key), metric=name, note=note)


def _group_text(dataset: str, samples: int) -> str:
    return (
        f"{dataset} ({samples:,} samples)" if samples else f"{dataset} (number of samples unknown)"
    )


# ----------------------------------------------------------------------------------------------------
# what to try next
def _unknown(what: str, given: object, allowed: Sequence[str]) -> InputError:
    near = checks.close(given, allowed)
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    return InputError(
        f"{checks.shown(given)} is not a valid {what} of search.",
        f"{meant}There are {', '.join(allowed)}.",
    )


def _why_none(
    index: Index,
    terms: Mapping[str, list[set[int]]],
    filters: Mapping[str, tuple[list[str], set[int]]],
) -> str:
    """What of a search fits no model at all, and what is close to it."""
    lines = []
    for name, (values, numbers) in filters.items():
        if not numbers:
            known = [value.replace("\n", ", ") for value in index.values(name)]
            some = ", ".join(known[:8]) + " ..." * (len(known) > 8)
            lines.append(f"{name} {' or '.join(map(repr, values))} fits no model; known: {some}.")
    for word in (word for word, levels in terms.items() if not any(levels)):
        low = word.casefold()
        # One slip leaves either end as it is.
        close = difflib.get_close_matches(low, index.words_like(low), n=3, cutoff=0.7)
        lines.append(
            f"{word!r} occurs in no model"
            + f"; did you mean {' or '.join(close)}?" * bool(close)
            + "." * (not close)
        )
    return (
        "\n".join(lines)
        or "Each word and filter fits some model, but no model fits all: leave one out."
    )
