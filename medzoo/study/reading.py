"""One reader's way through a study: what is shown next, the clock, and answers stored at once."""

from __future__ import annotations

import hashlib
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import checks
from ..errors import InputError
from .store import SCALE, Answer, Item, Settings, Store, text_of

LONGEST_NAME, LONGEST_TEXT = 80, 10_000  # characters
MOST_YEARS = 80  # of experience
LONGEST = 1e7  # seconds of one answer


@dataclass(frozen=True)
class Feedback:
    """What a reader learns after an item of the training.

    Parameters
    ----------
    correct : bool
        Whether the answer was right.
    truth : str
        ``real`` or ``synthetic``; of a pair, ``left`` or ``right``, which is the synthetic one.

    Examples
    --------
    >>> from medzoo import study
    >>> study.Feedback(correct=False, truth="real").truth
    'real'
    """

    correct: bool
    truth: str


def key_of(name: Any) -> tuple[str, str]:
    """The name of a reader as it is shown, and the key that two spellings of it share.

    Raises
    ------
    InputError
        It is empty, too long, or cannot be printed.
    """
    shown = " ".join(checks.text(name, "reader").split())
    if not shown or len(shown) > LONGEST_NAME or not shown.isprintable():
        raise InputError(
            f"reader={checks.shown(name)} is not a valid name.",
            f"Give 1 to {LONGEST_NAME} letters and digits, such as initials or a number.",
        )
    return shown, unicodedata.normalize("NFKC", shown).casefold()


def checked_experience(value: Any) -> float | None:
    """Years of experience, from 0 to 80, or None."""
    return None if value is None else float(checks.between(value, "experience", 0, MOST_YEARS))


def order_of(items: Mapping[str, tuple[tuple[str, ...], str]], study: str, key: str) -> list[str]:
    """The items in a reader's order: the training first, then shuffled by the reader's name."""

    def place(item: str) -> tuple[bool, str]:
        digest = hashlib.sha256(f"{study}/{key}/{item}".encode()).hexdigest()
        return not items[item][1], digest

    return sorted(items, key=place)


def is_synthetic(rating: int, settings: Settings) -> bool:
    """Whether a rating of one picture says that it is synthetic."""
    return rating > len(settings.choices) // 2


class Clock:
    """Seconds that an item was shown, without pauses."""

    def __init__(self) -> None:
        self.elapsed, self.since = 0.0, time.monotonic()
        self.paused = False

    def pause(self) -> None:
        """Stop it."""
        if not self.paused:
            self.elapsed, self.paused = self.seconds(), True

    def resume(self) -> None:
        """Let it run again."""
        if self.paused:
            self.since, self.paused = time.monotonic(), False

    def seconds(self) -> float:
        """The time so far."""
        return self.elapsed + (0.0 if self.paused else time.monotonic() - self.since)


class Reading:
    """One reader's way through a study; `Study.start` gives it.

    Parameters
    ----------
    store : Store
        The file of the study.
    key : str
        The key of the reader's name.

    Examples
    --------
    >>> from medzoo import study
    >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
    >>> reading = made.start("Dr A", experience=12)
    >>> reading.answer(reading.current.id, 6, comment="too smooth")
    >>> reading.answered, reading.total
    (1, 8)
    """

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        self._settings = store.settings()
        self._items = store.items()
        self._order = order_of(self._items, store.id(), key)
        self._shown, self._clock = "", Clock()

    @property
    def reader(self) -> str:
        """The reader's name."""
        return self._store.readers()[self._key].name

    @property
    def total(self) -> int:
        """How many items there are, with the training."""
        return len(self._order)

    @property
    def answered(self) -> int:
        """How many items have an answer, with the training."""
        return len(self._done())

    @property
    def current(self) -> Item | None:
        """The item to answer now; None when every item has an answer.

        The clock of an item starts when it is first asked for.
        """
        done = self._done()
        for number, name in enumerate(self._order, start=1):
            if name not in done:
                if name != self._shown:
                    self._shown, self._clock = name, Clock()
                pictures, training = self._items[name]
                return Item(name, pictures, number, self.total, bool(training))
        return None

    def _done(self) -> set[str]:
        rows = self._store.rows("SELECT item FROM answers WHERE reader = ?", self._key)
        return {row[0] for row in rows}

    @property
    def paused(self) -> bool:
        """Whether the clock stands still."""
        return self._clock.paused

    def pause(self) -> None:
        """Stop the clock of the current item.

        Examples
        --------
        >>> from medzoo import study
        >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
        >>> reading = made.start("Dr A")
        >>> reading.pause()
        >>> reading.paused
        True
        """
        self._clock.pause()

    def resume(self) -> None:
        """Let the clock of the current item run again.

        Examples
        --------
        >>> from medzoo import study
        >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
        >>> reading = made.start("Dr A")
        >>> reading.pause()
        >>> reading.resume()
        >>> reading.paused
        False
        """
        self._clock.resume()

    def answer(
        self,
        item: str,
        rating: int,
        *,
        scales: Mapping[str, int] | None = None,
        comment: str = "",
        seconds: float | None = None,
    ) -> Feedback | None:
        """Store an answer. It is on the disk when this returns, and is never changed later.

        Parameters
        ----------
        item : str
            The id of the current item.
        rating : int
            Number of the choice, from 1: for one picture 1 (certainly real) to 6 (certainly
            synthetic); for a pair the side of the synthetic one, 1 (left) or 2 (right).
        scales : Mapping[str, int], optional
            Each further scale of the study -> 1 to 5.
        comment : str, optional
            Free text about the item.
        seconds : float, optional
            Time that the item was looked at; by default that of the clock.

        Returns
        -------
        Feedback or None
            The truth, if the item is for training.

        Raises
        ------
        InputError
            A value is out of range, a scale is missing, or the item is not the current one, for
            example because it was answered in another window.

        Examples
        --------
        >>> from medzoo import study
        >>> made = study.new("turing/", real="real/", model=109, n=4, training=2, seed=1)
        >>> reading = made.start("Dr A")
        >>> feedback = reading.answer(reading.current.id, 1)
        >>> feedback.truth in ("real", "synthetic")
        True
        """
        given = Answer(
            self._key,
            checks.text(item, "item"),
            self._rating(rating),
            self._scales(scales),
            _comment(comment, "comment"),
            self._clock.seconds() if seconds is None else _seconds(seconds),
        )
        current = self.current
        if current is None or current.id != given.item:
            raise InputError(
                f"{checks.shown(item)} is not the item to answer now.",
                "It may have been answered in another window. Show the current item.",
            )
        row = (given.rating, text_of(given.scales), given.comment, round(given.seconds, 3))
        if not self._store.insert("answers", given.reader, given.item, *row):
            raise InputError("This item was answered in another window.", "That answer stays.")
        return self._feedback(given)

    def _rating(self, value: Any) -> int:
        count = len(self._settings.choices)
        return checks.whole(value, "rating", f"an answer from 1 to {count}", 1, count)

    def _scales(self, values: Any) -> dict[str, int]:
        given = {} if values is None else values
        if not isinstance(given, Mapping) or set(given) != set(self._settings.scales):
            raise InputError(
                f"scales={checks.shown(values)} does not fit.",
                f"Give a value from 1 to {SCALE} for each of: "
                f"{', '.join(self._settings.scales) or 'none'}.",
            )
        rated = {}
        for name in self._settings.scales:
            rated[name] = checks.whole(given[name], name, f"a value from 1 to {SCALE}", 1, SCALE)
        return rated

    def _feedback(self, given: Answer) -> Feedback | None:
        truth = self._items[given.item][1]
        if not truth:
            return None
        if self._settings.task == "pairs":
            return Feedback(self._settings.choices[given.rating - 1] == truth, truth)
        called = "synthetic" if is_synthetic(given.rating, self._settings) else "real"
        return Feedback(called == truth, truth)

    def close(self, answers: Mapping[str, str]) -> None:
        """Store the answers to the closing questions; they may be given again.

        Parameters
        ----------
        answers : Mapping[str, str]
            Question -> answer; questions may be left out.

        Raises
        ------
        InputError
            A question is not one of the study, or items are still to be answered.

        Examples
        --------
        >>> from medzoo import study
        >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
        >>> reading = made.start("Dr A")
        >>> while item := reading.current:
        ...     reading.answer(item.id, 4)
        >>> reading.close({made.settings.closing[0]: "the noise"})
        """
        if not isinstance(answers, Mapping):
            raise InputError(f"answers={checks.shown(answers)} is not a mapping.")
        for question in answers:
            if question not in self._settings.closing:
                raise InputError(f"The study does not ask {checks.shown(question)}.")
        if self.current is not None:
            left = self.total - self.answered
            raise InputError(f"{left} items have no answer yet.", "Answer them first.")
        texts = {}
        for question, text in answers.items():
            texts[question] = _comment(text, "answers")
        with self._store.connected() as connection:
            connection.execute(
                "UPDATE readers SET closing = ? WHERE key = ?", (text_of(texts), self._key)
            )


def _comment(value: Any, name: str) -> str:
    text = checks.text(value, name).strip()
    if len(text) > LONGEST_TEXT:
        raise InputError(f"The text has {len(text):,} characters.", f"At most {LONGEST_TEXT:,}.")
    return text


def _seconds(value: Any) -> float:
    return float(checks.between(value, "seconds", 0, LONGEST))
