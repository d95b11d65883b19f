"""Words, and what else a model may call the same thing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

WORD = re.compile(r"[^\W_]+")
# Words for one thing, by their beginnings (of up to three letters: whole words). What only some
# models call so is a tag.
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


class Pattern(NamedTuple):
    """Words in a row, the last of which may be longer, unless ``whole``."""

    words: tuple[str, ...]
    whole: bool

    def fits(self, words: list[str]) -> bool:
        """Whether they occur in a text of these words."""
        n = len(self.words)
        starts = range(len(words) - n + 1)
        return any(
            tuple(words[k : k + n]) == self.words
            or (not self.whole and self._begins(words[k : k + n]))
            for k in starts
        )

    def _begins(self, words: list[str]) -> bool:
        return tuple(words[:-1]) == self.words[:-1] and words[-1].startswith(self.words[-1])


def plain(text: str) -> list[str]:
    """The runs of letters and digits of a text, in lower case."""
    return WORD.findall(text.casefold())


def plain_texts(texts: Iterable[str]) -> list[list[str]]:
    """The words of each text, without repetitions."""
    return [words for text in dict.fromkeys(texts) if (words := plain(text))]


def patterns(words: list[str]) -> list[Pattern]:
    """What a model may hold, one or another, to have what a user typed: it, its singular or plural,
    a synonym.
    """
    word = " ".join(words)
    forms = [word, *_other_number(word)]
    same = [s for group in SYNONYMS if any(_is(f, s) for f in forms for s in group) for s in group]
    found = [
        _pattern(word, len(word) < 3),
        *(_pattern(f, True) for f in forms[1:]),
        *(_pattern(s, len(s) < 4) for s in same),
    ]
    return list(dict.fromkeys(found))


def _pattern(text: str, whole: bool) -> Pattern:
    return Pattern(tuple(text.split()), whole)


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
