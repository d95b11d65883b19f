"""medigan's search: which metadata has the values that are looked for, and which metric is best."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError

OPERATORS = ("AND", "OR", "XOR")
ORDERS = ("asc", "desc")


@dataclass
class MatchedEntry:
    """A key and value of a model's metadata that a search found.

    Parameters
    ----------
    key : str
        The key; ``key`` where the key itself was found.
    value : object
        The value there.
    matching_element : str
        The value that was searched for.
    """

    key: str
    value: Any
    matching_element: str

    def __str__(self) -> str:
        return json.dumps(vars(self))


@dataclass
class ModelMatchCandidate:
    """A model that a search found.

    Parameters
    ----------
    model_id : str
        Its id.
    target_values : list of str
        What was searched for, in small letters unless case matters.
    target_values_operator : str
        ``AND``, ``OR`` or ``XOR``.
    is_case_sensitive, are_keys_also_matched : bool
        As they were given to the search.
    is_match : bool
        Whether the model fits.
    matched_entries : list of MatchedEntry
        Where the values were found.

    Examples
    --------
    >>> from medzoo.medigan import Generators
    >>> found = Generators().find_matching_models_by_values(["turing test", "dcgan"])
    >>> found[0].model_id, found[0].get_all_matching_elements()
    ('00002_DCGAN_MMG_MASS_ROI', ['dcgan', 'turing test'])
    """

    model_id: str
    target_values: list[str]
    target_values_operator: str = "AND"
    is_case_sensitive: bool = False
    are_keys_also_matched: bool = False
    is_match: bool = False
    matched_entries: list[MatchedEntry] = field(default_factory=list)

    def get_all_matching_elements(self) -> list[str]:
        """The values that were found, one per entry.

        Returns
        -------
        list of str

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> found = Generators().find_matching_models_by_values(["NODE21", "WGANGP"])
        >>> found[0].get_all_matching_elements()
        ['node21', 'wgangp']
        """
        return [entry.matching_element for entry in self.matched_entries]

    def check_if_is_match(self) -> bool:
        """Whether the entries fit the operator: all values found, any, or exactly one.

        Returns
        -------
        bool

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> found = Generators().find_matching_models_by_values(["NODE21"])
        >>> found[0].check_if_is_match()
        True
        """
        found = set(self.get_all_matching_elements()) & set(self.target_values)
        self.is_match = {
            "AND": bool(found) and found == set(self.target_values),
            "OR": bool(found),
            "XOR": len(found) == 1,
        }[self.target_values_operator]
        return self.is_match

    def __repr__(self) -> str:
        return (
            f"ModelMatchCandidate(model_id={self.model_id}, is_match={self.is_match}, "
            f"operator: {self.target_values_operator}, target_values={self.target_values})"
        )

    def __len__(self) -> int:
        return len(self.matched_entries)

    def __getitem__(self, idx: int) -> MatchedEntry:
        return self.matched_entries[idx]


def one_of(value: object, name: str, allowed: Sequence[str]) -> str:
    """``value``, if it is one of the allowed words.

    Raises
    ------
    InputError
        It is another.
    """
    if value not in allowed:
        raise InputError(f"{name}={value!r:.80} is not valid.", f"Use {' or '.join(allowed)}.")
    return str(value)


def candidate(
    model_id: str,
    selection: dict[str, Any],
    values: Sequence[Any],
    operator: str,
    *,
    keys: bool,
    case: bool,
) -> ModelMatchCandidate:
    """A model with all entries of its metadata that are among ``values``."""
    targets = [str(v) if case else str(v).lower() for v in values]
    found = ModelMatchCandidate(model_id, targets, operator, case, keys)
    for key, value in _entries(selection, keys):
        text = str(value) if case else str(value).lower()
        if text in targets:
            found.matched_entries.append(MatchedEntry(key, value, text))
    found.check_if_is_match()
    return found


def _entries(content: dict[str, Any], keys: bool) -> Iterator[tuple[str, Any]]:
    """Each value of nested metadata with its key, each item of a list by itself; and the keys."""
    for key, value in content.items():
        if keys:
            yield "key", key
        if isinstance(value, dict):
            yield from _entries(value, keys)
        elif isinstance(value, list):
            for item in value:
                yield key, item
        else:
            yield key, value


def figure(value: Any, order: str) -> Any:
    """A model's value of a metric: of several, the one that comes first in this order."""
    if isinstance(value, list):
        return (min if order == "asc" else max)(value) if value else None
    return value


def number(value: Any) -> float | None:
    """A figure as a number; some of the metadata are texts, such as "0.797"."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
