"""The names of structures and segments, which each clinic and each planner spells differently."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from .. import checks
from ..errors import InputError
from . import arguments


@checks.checked(names=arguments.texts, pattern=checks.text)
def find_roi(names: Iterable[str], pattern: str) -> str:
    """Find the one name that fits a pattern.

    Parameters
    ----------
    names : iterable of str
        Such as the keys of `Structures.contours`.
    pattern : str
        Names separated by ``|``, such as ``R parotid|Parotid R|Rt Parotid``. Case, spaces, ``_``,
        ``-`` and other marks make no difference: ``PAROTID_R`` fits. ``*`` matches any text:
        ``parotid*r``.

    Returns
    -------
    str
        The name, spelled as in ``names``.

    Raises
    ------
    InputError
        No name fits, or more than one; the error lists the names.

    Examples
    --------
    >>> medical.find_roi(["Cord", "PAROTID_R", "Parotid L"], "R parotid|Parotid R")
    'PAROTID_R'
    """
    names = list(names)
    if pattern in names:
        return pattern
    wanted = [_plain(part) for part in pattern.split("|")]
    fitting = [name for name in names if _fits_any(name, wanted)]
    if len(fitting) != 1:
        problem = f"No structure is {pattern!r}"
        if fitting:
            problem = f"{len(fitting)} structures match {pattern!r}: {', '.join(fitting)}"
        raise InputError(
            f"{problem}.",
            f"Name one of {', '.join(names) or 'none at all'}; "
            "several spellings are separated by |.",
        )
    return fitting[0]


def _fits_any(name: str, patterns: list[str]) -> bool:
    """Whether a name fits one of several plain patterns; an empty pattern fits nothing."""
    plain = _plain(name).replace("*", "")
    return any(pattern and fnmatchcase(plain, pattern) for pattern in patterns)


def _plain(name: str) -> str:
    return re.sub(r"[^\w*]|_", "", name.casefold())
