"""From words and fields to models: ``search``."""

from __future__ import annotations

import difflib
import html
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, overload

from . import tables
from .config import Metric, ModelConfig
from .errors import InputError, MedzooWarning
from .registry import Registry, registry

SORTS = ("relevance", "id", "name", "year")
FIELDS = ("modality", "organ", "content", "generator", "license", "dataset")
WORD = re.compile(r"[^\W_]+")
# Words for one thing, by their beginnings (of up to three letters: whole words). What only some models call so is a tag.
SYNONYMS = (
    ("mammogra", "mmg"),
    ("mri", "mr", "magnetic", "resonance"),
    ("ct", "computed"),
    ("x ray", "xray", "radiogra"),
    ("ultraso", "sonogra"),
    ("histolog", "histopatholog"),
    ("dermosc", "dermatosc"),
    ("tumor", "tumour"),
)


class Found(Sequence[ModelConfig]):
    """Models, as a sequence of `ModelConfig` that prints as a table.

    Parameters
    ----------
    models
        The models, in order.
    metric
        Name of a metric to show as a column.
    note
        What to say below the table; of an empty one, why nothing was found.
    """

    def __init__(self, models: Iterable[ModelConfig], *, metric: str = "", note: str = "") -> None:
        self._models, self.metric, self.note = tuple(models), metric, note

    def __len__(self) -> int:
        return len(self._models)

    @overload
    def __getitem__(self, index: int) -> ModelConfig: ...
    @overload
    def __getitem__(self, index: slice) -> Found: ...
    def __getitem__(self, index: int | slice) -> ModelConfig | Found:
        if isinstance(index, slice):
            return Found(self._models[index], metric=self.metric, note=self.note)
        return self._models[index]

    def __str__(self) -> str:
        below = "\n".join(filter(None, (self._count(), self.note)))
        return f"{tables.table(*self._cells(), width=tables.terminal_width())}\n\n{below}" if self else below

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """A table for notebooks."""

        def line(cells: Sequence[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        head, rows = self._cells()
        body = f"<table>{line(head, 'th')}{''.join(line(r, 'td') for r in rows)}</table>" if self else ""
        return body + "".join(f"<p>{html.escape(text)}</p>" for text in (self._count(), self.note) if text)

    def _cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        if not self.metric:
            return tables.HEAD, [tables.row(c) for c in self]
        id_, *others = tables.HEAD
        rows = [tables.row(c) for c in self]
        return (id_, self.metric, *others), [
            (r[0], _metric_text(c, self.metric), *r[1:]) for r, c in zip(rows, self, strict=True)
        ]

    def _count(self) -> str:
        if not self:
            return "No model found."
        bundled = sum(c.default.scheme == "bundled" for c in self)
        come = {0: "none comes", 1: "1 comes"}.get(bundled, f"{bundled} come")
        if bundled == len(self):
            come = "it comes" if bundled == 1 else "all come"
        return f"{len(self)} model{'s' * (len(self) != 1)}; {come} with medzoo. `medzoo info ID` tells more."


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
        All must occur, in any case, at the beginning of a word of a model's id, name, fields, tags, conditions,
        data sets, architectures or description. Singular finds plural and the other way round; MMG finds
        mammography, MR finds MRI, and so on. Words of one or two letters are whole words.
    sort
        ``relevance`` (the default: id, name and fields count more than tags, tags more than the description),
        ``id``, ``name``, ``year`` (newest first), or a metric such as ``FID``: best first, models without it last.
    modality, organ, content, generator, license, dataset
        A part of the field, in any case; of several values one must fit. These, the year and metrics are those of
        the default version.
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
        The models report the metric on different data sets or numbers of samples. They are then grouped by these,
        not ranked against each other.

    Examples
    --------
    >>> medzoo.search("mammography mass", bundled=True)
    >>> medzoo.search(modality=["MRI", "CT"], sort="year")[0].id
    """
    if unknown:
        raise _unknown("filter", next(iter(unknown)), (*FIELDS, "bundled", "sort"))
    if not isinstance(words, str):
        raise InputError(f"words={words!r:.80} is not a text.", "Give the words in one text: 'mammography mass'.")
    if bundled is not None and not isinstance(bundled, bool):
        raise InputError(f"bundled={bundled!r:.80} is not a choice.", "Give True, False or None.")
    index = _index(registry())
    order = _sort_key(index, sort)
    given = zip(FIELDS, (modality, organ, content, generator, license, dataset), strict=True)
    filters = {name: _values(name, value) for name, value in given if value is not None}
    terms = {word: _patterns(plain) for word in words.split() if (plain := _plain(word).strip())}

    checks = [_field_check(name, values) for name, values in filters.items()]
    if bundled is not None:
        checks.append(lambda e: (e.config.default.scheme == "bundled") is bundled)
    entries = [e for e in index.entries if all(check(e) for check in checks)]
    for patterns in terms.values():
        entries = [e for e in entries if any(p in e.text for p in patterns)]
    if not entries:
        return Found((), note=_why_none(index, terms, filters))
    if order in SORTS:
        return Found(e.config for e in _ordered(entries, order, terms.values()))
    return _by_metric([e.config for e in entries], order)


# ----------------------------------------------------------------------------------------------------------- the index
@dataclass(frozen=True)
class _Entry:
    config: ModelConfig
    levels: tuple[str, str, str]  # plain texts, the most telling first
    text: str  # all of them
    fields: Mapping[str, str]  # in lower case


@dataclass(frozen=True)
class _Index:
    entries: tuple[_Entry, ...]  # in the order of ids
    metrics: tuple[str, ...]


@lru_cache(maxsize=4)
def _index(models: Registry) -> _Index:
    configs = sorted(models.configs.values(), key=lambda c: c.id)
    metrics = {m.name for c in configs for v in c.versions.values() for m in v.metrics}
    return _Index(tuple(map(_entry, configs)), tuple(sorted(metrics)))


def _entry(config: ModelConfig) -> _Entry:
    versions, default = config.versions.values(), config.default
    conditions = [t for v in versions for c in v.conditions.values() for t in (c.name, *c.values)]
    levels = (
        _join([config.id, str(config.number), config.name, config.modality, config.organ, config.content]),
        _join([*config.tags, *conditions, *(d.name for v in versions for d in v.datasets)]),
        _join([config.description, *(v.architecture for v in versions), *(v.generator for v in versions)]),
    )
    fields = {
        "modality": config.modality,
        "organ": config.organ,
        "content": config.content,
        "generator": default.generator,
        "license": default.license,
        "dataset": "\n".join(d.name for d in default.datasets),
    }
    return _Entry(config, levels, "|".join(levels), {k: v.casefold() for k, v in fields.items()})


def _plain(text: str) -> str:
    """Lower case, one space around each run of letters and digits."""
    return f" {' '.join(WORD.findall(text.casefold()))} "


def _join(texts: Iterable[str]) -> str:
    return "|".join(map(_plain, dict.fromkeys(texts)))  # no phrase reaches over a bar


# ------------------------------------------------------------------------------------------------------------ matching
def _patterns(word: str) -> tuple[str, ...]:
    """What a model's text must hold, one or another, to have a word: it, its singular or plural, a synonym."""
    forms = [word, *_other_number(word)]
    synonyms = [s for group in SYNONYMS if any(_is(f, s) for f in forms for s in group) for s in group]
    found = [f" {word}" if len(word) > 2 else f" {word} ", *(f" {f} " for f in forms[1:])]
    return tuple(dict.fromkeys([*found, *(f" {s}" if len(s) > 3 else f" {s} " for s in synonyms)]))


def _is(word: str, synonym: str) -> bool:
    return word.startswith(synonym) if len(synonym) > 3 else word == synonym


def _other_number(word: str) -> list[str]:
    """Singular forms that a plural may have, and plurals that do not begin like the word."""
    if len(word) < 4 or word.endswith("ss"):
        return []
    if word.endswith("y"):
        return [word[:-1] + "ies"]
    if word.endswith("ies"):
        return [word[:-3] + "y"]
    return [word[:-n] for n, end in ((1, "s"), (2, "es")) if word.endswith(end)]


def _values(name: str, value: object) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple, set, frozenset)) or not all(isinstance(v, str) and v.strip() for v in values):
        raise InputError(f"{name}={value!r:.80} is not a text or a list of texts.", f"Such as {name}='...'.")
    return [v.strip() for v in values]


def _field_check(name: str, values: list[str]) -> Callable[[_Entry], bool]:
    # A modality goes by several names; for the others a part of the text must do.
    parts = [v.casefold() for v in values]
    patterns = [p for v in values for p in _patterns(_plain(v).strip())] if name == "modality" else []

    def check(entry: _Entry) -> bool:
        text = entry.fields[name]
        return any(p in text for p in parts) or (bool(patterns) and any(p in _plain(text) for p in patterns))

    return check


# ------------------------------------------------------------------------------------------------------------- sorting
def _sort_key(index: _Index, sort: str | None) -> str:
    """``sort`` in the case of the key it names."""
    if sort is None:
        return SORTS[0]
    keys = {k.casefold(): k for k in (*index.metrics, *SORTS)}
    if not isinstance(sort, str) or sort.casefold() not in keys:
        raise _unknown("sort key", sort, (*SORTS, *index.metrics))
    return keys[sort.casefold()]


def _ordered(entries: list[_Entry], order: str, terms: Iterable[tuple[str, ...]]) -> list[_Entry]:
    terms = list(terms)

    def relevance(entry: _Entry) -> int:
        """How far down the levels the words are found, added up."""
        return sum(next(k for k, text in enumerate(entry.levels) if any(p in text for p in ps)) for ps in terms)

    keys: dict[str, Callable[[_Entry], Any]] = {
        "relevance": relevance,
        "id": lambda e: e.config.id,
        "name": lambda e: e.config.name.casefold(),
        "year": lambda e: -e.config.default.year,
    }
    return sorted(entries, key=keys[order])  # stable: equals stay in the order of ids


def _by_metric(models: list[ModelConfig], name: str) -> Found:
    """The best first within each group of comparable figures, the largest group first, models without a figure last."""
    shared = Counter(g for c in models for g in {_group(m) for m in c.default.metrics if m.name == name})
    ranks = {group: k for k, group in enumerate(sorted(shared, key=lambda g: (-shared[g], g)))}

    def chosen(config: ModelConfig) -> Metric | None:
        """Of several figures the one that most models can be held against."""
        return min((m for m in config.default.metrics if m.name == name), key=lambda m: ranks[_group(m)], default=None)

    def key(config: ModelConfig) -> tuple[float, float, str]:
        metric = chosen(config)
        if metric is None:
            return len(ranks), 0.0, config.id
        return ranks[_group(metric)], metric.value if metric.better == "lower" else -metric.value, config.id

    used = Counter(_group(m) for c in models if (m := chosen(c)))
    if len(used) > 1:
        groups = ", ".join(_group_text(*g) for g in sorted(used, key=lambda g: ranks[g]))
        warnings.warn(f"{name} is comparable only on the same data and number of samples, and these models report it on "
                      f"{groups}. They are grouped by that, not ranked across.", MedzooWarning, stacklevel=3)  # fmt: skip
    return Found(
        sorted(models, key=key), metric=name, note="" if used else f"None of them reports {name} for its default version."
    )


def _group(metric: Metric) -> tuple[str, int]:
    return metric.dataset, metric.samples or 0


def _group_text(dataset: str, samples: int) -> str:
    return f"{dataset} ({samples:,} samples)" if samples else f"{dataset} (number of samples unknown)"


def _metric_text(config: ModelConfig, name: str) -> str:
    figures = (f"{m.value:g} {m.dataset}" + f":{m.samples}" * bool(m.samples) for m in config.default.metrics if m.name == name)
    return ", ".join(figures) or "-"


# ---------------------------------------------------------------------------------------------------- what to try next
def _unknown(what: str, given: object, allowed: Sequence[str]) -> InputError:
    close = difflib.get_close_matches(str(given).casefold(), {a.casefold(): a for a in allowed}, n=2)
    meant = f"Did you mean {' or '.join(a for a in allowed if a.casefold() in close)}? " if close else ""
    return InputError(f"{given!r:.80} is no {what} of search.", f"{meant}There are {', '.join(allowed)}.")


def _why_none(index: _Index, terms: Mapping[str, tuple[str, ...]], filters: Mapping[str, list[str]]) -> str:
    """What of a search fits no model at all, and what is close to it."""
    lines = []
    for name, values in filters.items():
        if not any(map(_field_check(name, values), index.entries)):
            known = sorted({e.fields[name].replace("\n", ", ") for e in index.entries})
            some = ", ".join(known[:8]) + " ..." * (len(known) > 8)
            lines.append(f"{name} {' or '.join(map(repr, values))} fits no model; known: {some}.")
    nowhere = [word for word, patterns in terms.items() if not any(p in e.text for e in index.entries for p in patterns)]
    known = sorted({w for e in index.entries for w in e.text.replace("|", " ").split() if len(w) > 2}) if nowhere else []
    for word in nowhere:
        close = difflib.get_close_matches(word.casefold(), known, n=3, cutoff=0.7)
        lines.append(f"{word!r} occurs in no model" + f"; did you mean {' or '.join(close)}?" * bool(close) + "." * (not close))
    return "\n".join(lines) or "Each word and filter fits some model, but no model fits all: leave one out."
