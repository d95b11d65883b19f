"""Checks of the arguments of `medzoo.medical`, beside those of `medzoo.checks`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from .. import checks
from ..errors import InputError

F = TypeVar("F", bound=Callable[..., Any])


def one_file(function: F) -> F:
    """Let a function that reads one file raise InputError where the file cannot be opened."""

    @functools.wraps(function)
    def reading(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except OSError as error:
            raise InputError(
                f"The file cannot be read: {error}.", "Check the path and the permissions."
            ) from error

    return cast("F", reading)


def array(value: Any, name: str) -> Any:
    """An array of numbers, or of True and False."""
    try:
        numbers = np.asarray(value)
    except Exception as error:
        raise InputError(
            f"{name}={checks.shown(value)} is not an array of numbers.", f"{error}."
        ) from error
    if numbers.dtype.kind not in "biuf":
        raise InputError(
            f"{name}={checks.shown(value)} is not an array of numbers.", "Give an array of numbers."
        )
    return numbers


def texts(value: Any, name: str) -> list[str]:
    """A list of texts."""
    try:
        values = None if isinstance(value, str) else list(value)
    except Exception:
        values = None
    if values is None or not all(isinstance(text, str) for text in values):
        raise InputError(
            f"{name}={checks.shown(value)} is not a list of texts.", "Give a list of texts."
        )
    return values


def pixels(value: Any, name: str) -> int:
    """A number of pixels or voxels along one axis."""
    return checks.whole(value, name, "a number of voxels", 0, checks.MOST)


def paths(value: Any, name: str) -> Any:
    """A list of paths."""
    if not isinstance(value, (list, tuple)):
        raise InputError(
            f"{name}={checks.shown(value)} is not a list of paths.", "Give a list of paths."
        )
    return checks.paths(value, name)


def frame(value: Any, name: str) -> Any:
    """The number of a frame. The reader compares it with the number of frames in the file."""
    number = checks.plain(value)
    if number is not None and not isinstance(number, (int, float, str)):
        raise InputError(
            f"{name}={checks.shown(value)} is not the number of a frame.",
            "Give a whole number from 0.",
        )
    return number


def segment(value: Any, name: str) -> Any:
    """The number or the label of a segment."""
    number = checks.plain(value)
    if number is not None and (isinstance(number, bool) or not isinstance(number, (int, str))):
        raise InputError(
            f"{name}={checks.shown(value)} is neither a number nor a label of a segment.",
            "Give a whole number from 1, or a text.",
        )
    return number


three_numbers = checks.several(checks.number, 3)
two_numbers = checks.several(checks.number, 2)
