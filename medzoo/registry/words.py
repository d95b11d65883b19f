"""Words of a search: how texts are split into words, plurals, and synonyms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise, product
from typing import NamedTuple

WORD = re.compile(r"[^\W_]+")
# Groups of synonyms. A synonym of up to three letters is a whole word; a longer one is the
# beginning of a word. A name that only some models use belongs in their tags.
SYNONYMS = (
    ("mammogra", "mmg"),
    ("mri", "mr", "mr imaging", "magnetic", "resonance"),
    ("ct", "computed"),
    ("x ray", "xray", "radiogra"),
    ("ultraso", "sonogra"),
    ("histolog", "histopatholog"),
    ("dermosc", "dermatosc"),
    ("tumor", "tumour"),
)
# Neighbouring words of a search that are one term, the longer phrases first.
PHRASES = ("magnetic resonance imaging", "magnetic resonance", "mr imaging", "computed tomography")


class Pattern(NamedTuple):
    """Neighbouring words. The last one is the beginning of a word, unless ``whole`` is set."""

    words: tuple[str, ...]
    whole: bool

    def fits(self, words: list[str]) -> bool:
        """Whether a text with the given words has this pattern."""
        n = len(self.words)
        for start in range(len(words) - n + 1):
            *before, last = words[start : start + n]
            if tuple(before) == self.words[:-1] and self._is_last(last):
                return True
        return False

    def _is_last(self, word: str) -> bool:
        last = self.words[-1]
        return word == last if self.whole else word.startswith(last)


def plain(text: str) -> list[str]:
    """The runs of letters and digits of a text, in lower case."""
    return WORD.findall(text.casefold())


def plain_texts(texts: Iterable[str]) -> list[list[str]]:
    """The words of each text. Repeated texts and texts without words are left out."""
    return list(filter(None, map(plain, dict.fromkeys(texts))))


def terms_of(text: str) -> list[str]:
    """The terms of a search: its words that have letters or digits, and the ``PHRASES`` in it."""
    words = list(filter(plain, text.split()))
    terms = []
    while words:
        size = 1
        for phrase in PHRASES:
            length = phrase.count(" ") + 1
            if plain(" ".join(words[:length])) == phrase.split():
                size = length
                break
        terms.append(" ".join(words[:size]))
        words = words[size:]
    return terms


def pairs(words: Sequence[str]) -> list[str]:
    """Each two neighbouring words as one text."""
    return list(map(" ".join, pairwise(words)))


def patterns(words: list[str]) -> list[Pattern]:
    """The patterns for the words of a user, of which a model must have at least one.

    They are the words as typed, their singular or plural, and synonyms.
    """
    if not words:
        return []
    word = " ".join(words)
    other_forms = _other_number(word)
    same = [_pattern(word, len(word) < 3)]
    same += [_pattern(form, True) for form in other_forms]
    for synonym in _synonyms([word, *other_forms]):
        same.append(_pattern(synonym, len(synonym) < 4))
    return list(dict.fromkeys(same))


def _pattern(text: str, whole: bool) -> Pattern:
    return Pattern(tuple(text.split()), whole)


def _synonyms(forms: list[str]) -> list[str]:
    """All groups of synonyms that have one of the forms."""
    synonyms: list[str] = []
    for group in SYNONYMS:
        if any(_is(form, synonym) for form, synonym in product(forms, group)):
            synonyms += group
    return synonyms


def _is(word: str, synonym: str) -> bool:
    return word.startswith(synonym) if len(synonym) > 3 else word == synonym


def _other_number(word: str) -> list[str]:
    """The possible singular forms of a plural, and plurals that do not begin with the word."""
    if len(word) < 4 or word.endswith("ss"):
        return []
    if word.endswith("y"):
        return [word[:-1] + "ies"]
    if word.endswith("ies"):
        return [word[:-3] + "y"]
    if word.endswith("es"):
        return [word[:-1], word[:-2]]
    return [word[:-1]] if word.endswith("s") else []
