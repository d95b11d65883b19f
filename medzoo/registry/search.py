"""Finding models by words and fields, in order, or saying why there are none."""

from __future__ import annotations

import difflib
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import starmap
from operator import attrgetter
from typing import Any

from .. import checks
from ..errors import InputError, MedzooWarning
from .entries import Figure
from .index import FIELDS, Index, index_of
from .lookup import registry
from .results import Found
from .words import Pattern, patterns, plain, terms_of

SIMILARITY = 0.8  # of a misspelled word to the right one, at least
SHORTEST = 4  # letters of a word that may be corrected
NAMED = 1  # names are in the levels 0 and 1; level 2 holds descriptions
SORTS = ("relevance", "id", "name", "year")
ORDERS = {"id": "number", "name": "name", "year": "-year"}  # as SQL expressions
WORDS = ("modality", "license")  # filters that are whole words, or beginnings of words
Filters = Mapping[str, Mapping[str, set[int]]]  # field -> wanted value -> models that have it


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
    words : str, optional
        Words that a model must have, in any case and all of them. Its id, name, fields, tags,
        conditions, data sets, architectures and description are searched. A word matches the
        beginning of a word; a word of one or two letters matches whole words only. Singular and
        plural match each other, and so do synonyms such as MMG and mammography. If no model has a
        word, the most similar word that names a model is used instead ("mamography" finds
        mammography); a warning says so, and so does ``corrections`` of the result.
    sort : str, optional
        ``"relevance"`` (the default: names and fields count more than tags, tags more than
        descriptions), ``"id"``, ``"name"``, ``"year"`` (newest first), or the name of a metric such
        as ``"FID"`` (best first, models without it last).
    modality, organ, content, generator, license, dataset : str or list of str, optional
        A part of the field, in any case, in the singular or plural, or a synonym. A part of a
        modality or license begins with a word: CT is not in OCT. If there are several values, one
        of them must match; the result names values that fit no model.
        These fields, the year and the metrics are those of the default version.
    bundled : bool, optional
        True: only models that come with medzoo. False: only the others.
    **unknown : object
        Other filters are rejected, with the name of a similar one.

    Returns
    -------
    Found
        A sequence of `ModelConfig`, which may be empty. It prints as a table.

    Raises
    ------
    InputError
        A filter or a sort key is unknown, or a value has the wrong type.
    ConfigError
        A config of the registry breaks the schema.
    NotAvailableError
        This Python was built without SQLite.

    Warns
    -----
    MedzooWarning
        A word was corrected. Or the models report the metric on different data sets or numbers of
        samples: they are then grouped by these, because figures of two groups cannot be compared.

    Examples
    --------
    >>> models = medzoo.search("mammography mass", bundled=True)
    >>> models[0].id
    '00008_C-DCGAN_MMG_MASSES'
    >>> print(models)
    id                        status         modality     content  size  ...
    00008_C-DCGAN_MMG_MASSES                 mammography  masses   128x128  ...
    ...
    >>> for model in medzoo.search(modality=["MRI", "CT"], sort="year"):
    ...     print(model.id, model.modality, model.default.year)
    00101_GAN_MRI_BRAIN_TUMOURS MRI 2026
    ...
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
            f"bundled={checks.shown(bundled)} is not a valid choice.", "Give True, False or None."
        )
    index = index_of(registry())
    order = _sort_key(index, sort)
    values = (modality, organ, content, generator, license, dataset)
    wanted = _wanted(dict(zip(FIELDS, values, strict=True)))
    corrections: dict[str, str] = {}
    filters: dict[str, dict[str, set[int]]] = {}
    for name, texts in wanted.items():
        filters[name] = _filter(index, name, texts, corrections)
    terms: dict[str, list[set[int]]] = {}
    for word in terms_of(words):
        terms[word] = _term(index, word, corrections)
    numbers = _in_all(index, terms, filters, bundled)
    if corrections:
        warnings.warn(_correction_text(corrections), MedzooWarning, stacklevel=2)
    unfit = _unfit_filters(index, filters)
    if numbers:
        result = _in_order(index, numbers, order, terms.values())
        result.note = "\n".join(filter(None, (result.note, *unfit)))
    else:
        result = Found(index, (), note=_why_none(index, terms, unfit))
    result.corrections = corrections
    return result


def _in_all(
    index: Index, terms: Mapping[str, list[set[int]]], filters: Filters, bundled: bool | None
) -> set[int]:
    """The models that have all words and pass all filters."""
    numbers = set(index.numbers())
    for levels in terms.values():
        numbers &= set().union(*levels)
    for passing in filters.values():
        numbers &= set().union(*passing.values())
    if bundled is not None:
        numbers &= index.where("bundled", lambda value: bool(value) is bundled)
    return numbers


# -------------------------------------------------------------------------------------------------
# typing errors
def _correction_text(corrections: Mapping[str, str]) -> str:
    texts = [f"{used!r} instead of {word!r}" for word, used in corrections.items()]
    return f"No model has what was typed: search used {', '.join(texts)}."


def _term(index: Index, word: str, corrections: dict[str, str]) -> list[set[int]]:
    """The models that have a word, one set per level.

    If no model has it, those with the most similar word, which is then added to ``corrections``.
    """
    parts = plain(word)
    levels = index.having(patterns(parts))
    if any(levels):
        return levels
    similar = _nearest(parts, index)
    if not similar:
        return levels
    corrections[word] = similar
    return index.having(patterns(plain(similar)))


def _filter(
    index: Index, name: str, wanted: list[str], corrections: dict[str, str]
) -> dict[str, set[int]]:
    """The models that have each value of a filter.

    For a value that no model has, these are the models with the most similar value, which is then
    added to ``corrections``.
    """
    passing = {}
    for value in wanted:
        numbers = index.where(name, _field_check(name, value))
        similar = "" if numbers else _nearest(plain(value), index)
        if similar:
            numbers = index.where(name, _field_check(name, similar))
        if similar and numbers:
            corrections[value] = similar
        passing[value] = numbers
    return passing


def _nearest(parts: list[str], index: Index) -> str:
    """The most similar word of names, fields and tags; empty if there is none.

    Several words, words with digits and words of fewer than four letters are not corrected.
    """
    if len(parts) != 1 or not parts[0].isalpha():
        return ""
    word = parts[0]
    candidates = index.words_like(word, level=NAMED)
    if word in candidates:
        return word
    if len(word) < SHORTEST:
        return ""
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=SIMILARITY)
    return close[0] if close else ""


# -------------------------------------------------------------------------------------------------
# filters
def _wanted(fields: Mapping[str, object]) -> dict[str, list[str]]:
    """The wanted values of each field, without the fields that do not matter."""
    wanted = {}
    for name, value in fields.items():
        if value is not None:
            wanted[name] = _texts(name, value)
    return wanted


def _texts(name: str, value: object) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if (
        not isinstance(values, (list, tuple, set, frozenset))
        or not values
        or not all(map(_is_text, values))
    ):
        raise InputError(
            f"{name}={checks.shown(value)} is not a text or a list of texts.",
            f"Such as {name}='...'.",
        )
    return list(map(str.strip, values))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _field_check(name: str, value: str) -> Callable[[str], bool]:
    """A test of whether a text has a value: a part of it, its plural or singular, or a synonym.

    A value of the fields in ``WORDS`` is not the middle of a word: CT is not a part of OCT.
    """
    parts, part = plain(value), value.casefold()
    forms = patterns(parts)
    if name in WORDS and parts:
        forms.append(Pattern(tuple(parts), whole=False))

    def check(text: str) -> bool:
        if name not in WORDS and part in text:
            return True
        words = plain(text)
        return any(form.fits(words) for form in forms)

    return check


# -------------------------------------------------------------------------------------------------
# sorting
def _sort_key(index: Index, sort: str | None) -> str:
    """The sort key that ``sort`` names, in any case."""
    if sort is None:
        return SORTS[0]
    metrics = index.metrics()
    keys = {key.casefold(): key for key in (*metrics, *SORTS)}
    if not isinstance(sort, str) or sort.casefold() not in keys:
        raise _unknown("sort key", sort, (*SORTS, *metrics))
    return keys[sort.casefold()]


def _in_order(
    index: Index, numbers: set[int], order: str, terms: Iterable[list[set[int]]]
) -> Found:
    if order == "relevance":
        return Found(index, _by_relevance(numbers, terms))
    if order in SORTS:
        return Found(index, list(filter(numbers.__contains__, index.numbers(ORDERS[order]))))
    return _by_metric(index, numbers, order)


def _by_relevance(numbers: set[int], terms: Iterable[list[set[int]]]) -> list[int]:
    """The models by the sum of the levels at which they have the words, then by id."""
    by_depth = {0: numbers}  # sum of levels -> models
    for levels in terms:
        deeper: dict[int, set[int]] = defaultdict(set)
        for depth, models in by_depth.items():
            rest = models
            for level, having in enumerate(levels):
                deeper[depth + level] |= rest & having
                rest = rest - having
        by_depth = deeper
    ordered: list[int] = []
    for depth in sorted(by_depth):
        ordered += sorted(by_depth[depth])
    return ordered


def _by_metric(index: Index, numbers: set[int], name: str) -> Found:
    """The models in groups of comparable figures: the largest group first, best figures first.

    Models without a figure are last.
    """
    figures: dict[int, list[Figure]] = defaultdict(list)
    for figure in index.figures(name):
        if figure.number in numbers:
            figures[figure.number].append(figure)
    ranks = _ranks(figures.values())
    # Of several figures of a model, the one with which most models can be compared.
    chosen: dict[int, Figure] = {}
    for number, reported in figures.items():
        chosen[number] = min(reported, key=lambda figure: ranks[figure.group])

    def key(number: int) -> tuple[float, float, int]:
        figure = chosen.get(number)
        if figure is None:
            return len(ranks), 0.0, number
        value = figure.value if figure.better == "lower" else -figure.value
        return ranks[figure.group], value, number

    groups = sorted(set(map(attrgetter("group"), chosen.values())), key=ranks.__getitem__)
    if len(groups) > 1:
        texts = ", ".join(starmap(_group_text, groups))
        warnings.warn(
            f"{name} is comparable only on the same data and number of samples, "
            f"and these models report it on {texts}. "
            "They are grouped by that, not ranked across.",
            MedzooWarning,
            stacklevel=4,
        )
    note = "" if groups else f"None of them reports {name} for its default version."
    return Found(index, sorted(numbers, key=key), metric=name, note=note)


def _ranks(figures: Iterable[list[Figure]]) -> dict[tuple[str, int], int]:
    """Group of comparable figures -> its rank; the group of most models has rank 0."""
    models: Counter[tuple[str, int]] = Counter()
    for reported in figures:
        models.update(set(map(attrgetter("group"), reported)))
    groups = sorted(models, key=lambda group: (-models[group], group))
    return {group: rank for rank, group in enumerate(groups)}


def _group_text(dataset: str, samples: int) -> str:
    return (
        f"{dataset} ({samples:,} samples)" if samples else f"{dataset} (number of samples unknown)"
    )


# -------------------------------------------------------------------------------------------------
# what to try next
def _unknown(what: str, value: object, allowed: Sequence[str]) -> InputError:
    close = checks.close(value, allowed)
    meant = f"Did you mean {' or '.join(close)}? " if close else ""
    return InputError(
        f"{checks.shown(value)} is not a valid {what} of search.",
        f"{meant}There are {', '.join(allowed)}.",
    )


def _unfit_filters(index: Index, filters: Filters) -> list[str]:
    """A line for each filter with values that fit no model."""
    lines = []
    for name, passing in filters.items():
        unfit = [value for value, numbers in passing.items() if not numbers]
        if unfit:
            texts = " or ".join(map(repr, unfit))
            lines.append(f"{name} {texts} fits no model; known: {_some_values(index, name)}.")
    return lines


def _why_none(index: Index, terms: Mapping[str, list[set[int]]], unfit: list[str]) -> str:
    """The filters (their lines are ``unfit``) and words that fit no model, with similar ones."""
    lines = [*unfit]
    for word, levels in terms.items():
        if not any(levels):
            low = word.casefold()
            close = difflib.get_close_matches(low, index.words_like(low), n=3, cutoff=0.7)
            end = f"; did you mean {' or '.join(close)}?" if close else "."
            lines.append(f"{word!r} occurs in no model{end}")
    if lines:
        return "\n".join(lines)
    return "Each word and filter fits some model, but no model fits all: leave one out."


def _some_values(index: Index, field: str, most: int = 8) -> str:
    """The first values of a field, as one text."""
    values = index.values(field)
    text = ", ".join(values[:most]).replace("\n", ", ")
    return f"{text} ..." if len(values) > most else text
