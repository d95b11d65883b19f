"""Checks of the arguments of public functions: one check per name, and `checked`, which
applies them.

An argument means the same in every function, so it has one check. A check takes the value and the
name of the argument. It returns the value in the form that medzoo uses: a plain number for a scalar
of numpy or torch, a text for a ``torch.device``.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import reprlib
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar, cast

from .config.arguments import ADVICE, ELSEWHERE
from .errors import InputError
from .settings import user_path

Check: TypeAlias = "Callable[[Any, str], Any]"
F = TypeVar("F", bound="Callable[..., Any]")
MOST = 2**16  # processes, or pixels of a side


class _Shown(reprlib.Repr):
    """Short text for any value, however large or odd it is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 60

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002
        # Python refuses to write out very large numbers.
        return f"about 2**{x.bit_length()}" if abs(x) >= 10**60 else repr(x)


def shown(value: object) -> str:
    """A value as an error message shows it: short, and on one line."""
    return " ".join(_Shown().repr(value).split())


def plain(value: Any) -> Any:
    """A scalar of numpy or torch, or an array without axes, as a plain Python value.

    Any other value is returned as it is.
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        try:
            return value.item()
        except Exception:  # for example a tensor without values (device "meta")
            return value
    return value


def listed(value: Any) -> Any:
    """The values of an array, tensor, series, tuple or range as a list.

    Any other value is returned as it is.
    """
    if isinstance(value, (tuple, range)):
        return list(value)
    if isinstance(value, (str, bytes, list)) or inspect.isclass(value):
        return value
    for name in ("tolist", "to_list"):
        if hasattr(value, name) and getattr(value, "shape", ()) != ():
            try:
                return getattr(value, name)()
            except Exception:
                return value
    return value


# -------------------------------------------------------------------------------------------------
# the closest right word
def close(typed: object, allowed: Iterable[str]) -> list[str]:
    """The allowed word that is most similar to what was typed, in any case.

    A second word follows if it is about as similar. The list is empty if no word is similar.
    """
    if not isinstance(typed, str):
        return []
    words = {word.casefold(): word for word in allowed}
    low = typed.casefold()
    similar = difflib.get_close_matches(low, words, n=2)
    if len(similar) == 2 and _ratio(similar[1], low) <= _ratio(similar[0], low) - 0.1:
        similar.pop()
    return list(map(words.__getitem__, similar))


def _ratio(word: str, typed: str) -> float:
    return difflib.SequenceMatcher(None, word, typed).ratio()


def meant(typed: object, allowed: Iterable[str]) -> str:
    """``Did you mean ...? ``; empty if no allowed word is similar."""
    similar = close(typed, allowed)
    return f"Did you mean {' or '.join(map(repr, similar))}? " if similar else ""


def instead(name: str, allowed: Collection[str]) -> str:
    """A sentence that says what to use instead of an unknown argument.

    It is empty if nothing similar is known.
    """
    if name in ADVICE:
        return ADVICE[name]
    own_name = ELSEWHERE.get(name.lower())
    if own_name in allowed:
        return f"It is called {own_name!r} here. "
    return meant(name, allowed)


# -------------------------------------------------------------------------------------------------
# checks
def whole(
    value: Any, name: str, what: str = "a whole number", least: int = 0, most: int | None = None
) -> int:
    """A whole number from ``least`` to ``most``, also as a scalar of numpy or torch.

    Raises
    ------
    InputError
        It is not such a number. True and 1.0 are not whole numbers either.
    """
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise InputError(
            f"{name}={shown(value)} is not {what}.", f"Give a whole number of at least {least}."
        )
    if most is not None and number > most:
        raise InputError(f"{name}={shown(value)} is too many.", f"Give {most} at most.")
    return number


def count(value: Any, name: str) -> int:
    """A number of samples, at least 1."""
    return whole(value, name, "a number of samples", 1)


def first(value: Any, name: str) -> int:
    """The number of a sample, from 0."""
    return whole(value, name, "a sample number")


def number(value: Any, name: str) -> float:
    """A finite number."""
    number = plain(value)
    finite = isinstance(number, (int, float)) and abs(number) < sys.float_info.max
    if isinstance(number, bool) or not finite:
        raise InputError(f"{name}={shown(value)} is not a number.", "Give a finite number.")
    return cast("float", number)


def between(value: Any, name: str, low: float, high: float) -> float:
    """A number from ``low`` to ``high``."""
    chosen = number(value, name)
    if not low <= chosen <= high:
        raise InputError(
            f"{name}={shown(value)} is out of range.", f"Give a number from {low:g} to {high:g}."
        )
    return chosen


def several(check: Check, length: int) -> Check:
    """A check for a list of ``length`` values, each of which may be None."""

    def each(value: Any, name: str) -> list[Any]:
        values = listed(value)
        if not isinstance(values, list) or len(values) != length:
            raise InputError(
                f"{name}={shown(value)} does not have {length} values.", f"Give a list of {length}."
            )
        return [None if plain(v) is None else check(v, name) for v in values]

    return each


def either(one: Check, many: Check) -> Check:
    """A check for one value, or for a list of values."""
    return lambda value, name: (many if isinstance(listed(value), list) else one)(value, name)


def instance(kind: type, call: str) -> Check:
    """A check for an object of a class; ``call`` names the function that returns one."""

    def check(value: Any, name: str) -> Any:
        if not isinstance(value, kind):
            raise InputError(
                f"{name}={shown(value)} is not a {kind.__name__}.", f"{call} gives one."
            )
        return value

    return check


def seed(value: Any, name: str) -> int:
    """A root seed."""
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**64:
        raise InputError(
            f"{name}={shown(value)} is not a valid seed.",
            "Give a whole number from 0 to 2**64 - 1, or None for a fresh one.",
        )
    return number


def flag(value: Any, name: str) -> bool:
    """True or False, and no other value."""
    if not isinstance(value, bool):
        raise InputError(f"{name}={shown(value)} is neither True nor False.", "Give one of them.")
    return value


def text(value: Any, name: str) -> str:
    """Text that can be written to a file."""
    if not isinstance(value, str):
        raise InputError(f"{name}={shown(value)} is not a text.", f"Such as {name}='...'.")
    try:
        value.encode()
    except UnicodeError:
        raise InputError(
            f"{name}={shown(value)} holds characters that no text can have.", "Give other text."
        ) from None
    return str(value)


def path(value: Any, name: str) -> Any:
    """A path as a text or a `pathlib.Path`. It is returned unchanged."""
    user_path(value, name)
    return value


def paths(value: Any, name: str) -> Any:
    """A path, or a list of paths."""
    for item in value if isinstance(value, (list, tuple)) else [value]:
        user_path(item, name)
    return value


def function(value: Any, name: str) -> Any:
    """A function, or any other object that can be called."""
    if not callable(value):
        raise InputError(f"{name}={shown(value)} cannot be called.", "Give a function.")
    return value


def model_id(value: Any, name: str) -> Any:
    """A number, an id or a path. Whether there is such a model is not checked here."""
    identifier = plain(value)
    if isinstance(identifier, bool) or not isinstance(identifier, (int, str, os.PathLike)):
        raise InputError(
            f"{name}={shown(value)} is not a valid model id.",
            'Give a number, an id or a path: 8, "00008", "mine/".',
        )
    if isinstance(identifier, os.PathLike):
        user_path(identifier, name)
    return identifier


def device(value: Any, name: str = "device") -> str:
    """A device as a text (auto, cpu, cuda:1 ...), from a text, a ``torch.device`` or a number.

    A number is that of a GPU.

    Raises
    ------
    InputError
        It is not a device.
    """
    number = plain(value)
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 1000:
        return f"cuda:{number}"
    if f"{type(value).__module__}.{type(value).__name__}" == "torch.device":
        value = str(value)
    if not isinstance(value, str):
        raise InputError(
            f"{name}={shown(value)} is not a valid device.",
            "Use auto, cpu, cuda, cuda:1, 1 or mps.",
        )
    word = value.strip().lower()
    if word.isdecimal():
        return f"cuda:{int(word)}" if len(word) < 4 else value
    kind, _, index = word.partition(":")
    if kind in {"cpu", "mps"} and index == "0":
        return kind
    if kind == "gpu":
        raise InputError(f"{name}={value!r} is not a valid device.", "Did you mean 'cuda'?")
    return word if kind in {"auto", "cpu", "cuda", "mps"} else value


def size(value: Any, name: str) -> int | str:
    """A number of bytes, or a text such as ``64MB``, which is not checked further here."""
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, (int, str)):
        raise InputError(
            f"{name}={shown(value)} is not a size.", "Give bytes, or a text such as '64MB'."
        )
    return number


def anything(value: Any, name: str) -> Any:  # noqa: ARG001
    """Any value. It is checked where it is used."""
    return value


CHECKS: dict[str, Check] = {
    "actors": lambda value, name: whole(value, name, "a number of actors", 1),
    "batch_size": count,
    "columns": count,
    "device": device,
    "drop_last": flag,
    "env": text,
    "file": path,
    "first": first,
    "folder": path,
    "format": text,
    "fps": lambda value, name: between(value, name, 0.1, 50),
    "fresh": flag,
    "keep": count,
    "labels": flag,
    "layout": text,
    "masks": text,
    "model_id": model_id,
    "n": count,
    "num_workers": lambda value, name: whole(value, name, "a number of processes", most=MOST),
    "out": path,
    "path": path,
    "pin_memory": flag,
    "progress": flag,
    "reset": flag,
    "sandbox": text,
    "save": path,
    "scale": lambda value, name: whole(value, name, "a scale", 1, 16),
    "seed": seed,
    "series": text,
    "shard_samples": lambda value, name: whole(value, name, "a number of samples", 1, 2**62),
    "shard_size": size,
    "shuffle": flag,
    "transform": function,
    "trust": flag,
    "version": text,
    "weights": path,
}


def optional(check: Check) -> Check:
    """The same check, but None is allowed too."""
    return lambda value, name: None if value is None else check(value, name)


def checked(**own: Check) -> Callable[[F], F]:
    """Decorate a public function so that it first checks its arguments by their names.

    None is allowed if it is the default of an argument. An argument that the function does not have
    is an InputError that names the most similar one. A function that takes ``**options`` checks
    those itself.

    Parameters
    ----------
    **own : Check
        Checks that `CHECKS` does not have, or that differ for this function.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        parameters = signature.parameters
        checks = _checks_of(parameters, own)
        takes_more = inspect.Parameter.VAR_KEYWORD in [p.kind for p in parameters.values()]

        @functools.wraps(function)
        def checking(*arguments: Any, **named: Any) -> Any:
            if not takes_more:
                for name in named:
                    if name not in parameters:
                        raise unknown_argument(function.__name__, name, [*parameters])
            bound = signature.bind(*arguments, **named)
            for name, value in bound.arguments.items():
                if name in checks:
                    bound.arguments[name] = checks[name](value, name)
            return function(*bound.args, **bound.kwargs)

        return cast("F", checking)

    return decorate


def _checks_of(
    parameters: Mapping[str, inspect.Parameter], own: Mapping[str, Check]
) -> dict[str, Check]:
    """Name of a parameter -> its check. Some parameters have none."""
    checks: dict[str, Check] = {}
    for name, parameter in parameters.items():
        if name in own:
            checks[name] = own[name]
        elif name in CHECKS:
            check = CHECKS[name]
            checks[name] = optional(check) if parameter.default is None else check
    return checks


def unknown_argument(function: str, name: str, parameters: Collection[str]) -> InputError:
    """The error for an argument that a function does not have."""
    names = [parameter for parameter in parameters if parameter not in {"self", "options"}]
    takes = ", ".join(names) or "no arguments"
    return InputError(f"{function} takes no {name!r}.", f"{instead(name, names)}It takes {takes}.")
