"""What is asked of a model: a user's request, checked against the config once, and the batches it
is cut into.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks, seeds
from .._worker.batch import Batch
from ..config import LIST_TYPES, OPTION_TYPES, Condition, ModelConfig, Option, Version
from ..config.arguments import GENERATE_ARGUMENTS
from ..datasets.layout import UNARRANGED, Arrangement
from ..errors import InputError
from ..inputs import Inputs


@dataclass(frozen=True)
class Request:
    """Samples ``first`` to ``first + n - 1`` of a run, and all that decides what they are."""

    n: int
    first: int
    seed: int
    latent: int
    conditions: Mapping[
        str, NDArray[np.int64]
    ]  # each a cycle of values, or one for each of the n samples
    options: Mapping[str, Any]
    latents: NDArray[np.float32] | None
    inputs: Inputs | None
    record: Mapping[str, Any]  # of what the user gave, for the provenance
    arrangement: Arrangement = UNARRANGED  # of the files, if there will be any

    @classmethod
    def of(
        cls,
        config: ModelConfig,
        version: Version,
        n: int | None,
        *,
        seed: int | None,
        options: Mapping[str, Any],
        inputs: Any = None,
        first: int = 0,
    ) -> Request:
        """Check ``options`` and ``inputs`` against what the version takes; ``n`` None is one, or
        one for each input.

        Raises
        ------
        InputError
            One is unknown, of the wrong type or out of range; says what is allowed.
        """
        first, pictures = checks.first(first, "first"), Inputs.of(config.id, version, inputs)
        n = checks.count(n, "n") if n is not None else pictures.count if pictures is not None else 1
        if first + n > 2**62:
            raise InputError(
                f"n={checks.shown(n)} is more samples than can be numbered.", "Give fewer."
            )
        allowed = [
            *version.conditions,
            *version.options,
            *(["latents"] if version.settable_latents else []),
        ]
        for name in options:
            if name not in allowed:
                takes = ", ".join(allowed) or "no inputs"
                hint = checks.instead(name, [*allowed, *GENERATE_ARGUMENTS])
                hint += f"It takes {takes}; `medzoo info {config.number}` explains."
                raise InputError(f"{config.id} takes no {name!r}.", hint)
        size = version.settable_latents
        latents = (
            _latents(options["latents"], n, size) if options.get("latents") is not None else None
        )
        chosen = {k: _option(o, options.get(k, o.default)) for k, o in version.options.items()}
        record: dict[str, Any] = dict(chosen)
        if latents is not None:
            record["latents"] = "sha256:" + hashlib.sha256(latents.tobytes()).hexdigest()
        conditions = {}
        for name, condition in version.conditions.items():
            conditions[name], record[name] = _condition(condition, options.get(name), n)
        if pictures is not None:
            record["inputs"] = pictures.record
        return cls(
            n=n,
            first=first,
            seed=seeds.check_seed(seed),
            latent=size,
            conditions=conditions,
            options=chosen,
            latents=latents,
            inputs=pictures,
            record=record,
        )

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> Batch:
        """The samples with the numbers ``indices``: each in [first, first + n), or in a later epoch
        of ``n``.
        """
        numbers = np.asarray(indices, dtype=np.int64)
        own = (
            numbers - self.first
        ) % self.n  # counted from its beginning, as lists of values and latents are; epoch by epoch
        latents = (
            seeds.latents(self.seed, numbers, self.latent)
            if self.latents is None
            else self.latents[own]
        )
        conditions, period = {}, 1
        for (
            name,
            values,
        ) in (
            self.conditions.items()
        ):  # two that cycle are crossed: each meets every value of the other
            listed = isinstance(self.record[name], list)
            conditions[name] = values[own] if listed else values[numbers // period % len(values)]
            period *= 1 if listed else len(values)
        inputs = self.inputs.batch(numbers) if self.inputs is not None else {}
        return Batch(self.seed, numbers, latents, conditions, inputs, self.options)


def _condition(condition: Condition, given: Any, n: int) -> tuple[NDArray[np.int64], Any]:
    """The cycle or list of values, and its record: None, a name, or a list of names."""
    names = {v: k for k, v in condition.values.items()}

    numbers = {k.lower(): v for k, v in condition.values.items()}

    def one(value: Any) -> int:
        value = checks.plain(value)
        if isinstance(value, str) and value.lower() in numbers:
            return numbers[value.lower()]
        if isinstance(value, str) and value.isdecimal() and len(value) < 10:  # "1": no name, so
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value in names:
            return value
        near = checks.meant(value, condition.values) if isinstance(value, str) else ""
        allowed = ", ".join(f"{k!r} ({v})" for k, v in condition.values.items())
        hint = f"It is one of {allowed}, a list of {n} of them, or left out for each in turn."
        raise InputError(f"{condition.name}={checks.shown(value)} is unknown.", near + hint)

    given = checks.listed(checks.plain(given))
    if given is None:
        return np.array(list(condition.values.values()), dtype=np.int64), None
    if not isinstance(given, list):
        value = one(given)
        return np.array([value], dtype=np.int64), names[value]
    if len(given) != n:
        raise InputError(
            f"{condition.name} has {len(given)} values for n={n} samples.",
            "Give one value, or one value per sample.",
        )
    values = [one(v) for v in given]
    return np.array(values, dtype=np.int64), [names[v] for v in values]


def _option(option: Option, given: Any) -> Any:
    """``given`` in the option's type, if it is allowed; None, where that is the default, leaves the
    choice to the package.
    """
    if given is None and option.default is None:
        return None
    listed = option.type in LIST_TYPES
    kind = LIST_TYPES[option.type] if listed else OPTION_TYPES[option.type]
    given = checks.listed(checks.plain(given))
    values = [_plain(v, kind) for v in (given if isinstance(given, list) else [given])]
    if listed != isinstance(given, list) or any(not _allowed(option, v, kind) for v in values):
        bounds = [f"at least {option.minimum:g}"] if option.minimum is not None else []
        bounds += [f"at most {option.maximum:g}"] if option.maximum is not None else []
        one = (
            f"one of {', '.join(map(repr, option.choices))}"
            if option.choices
            else " ".join([kind.__name__, *bounds])
        )
        allowed = f"a list, each {one}" if listed else one
        raise InputError(
            f"{option.name}={checks.shown(given)} is not allowed.",
            f"{option.name} is {allowed}: {option.help}",
        )
    return values if listed else values[0]


def _plain(value: Any, kind: type) -> Any:
    """Without numpy's and torch's types, and a whole number as a float but only one is allowed."""
    value = checks.plain(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if kind is float and whole and abs(value) < 2**1023 else value


def _allowed(option: Option, value: Any, kind: type) -> bool:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        return False
    if option.choices and value not in option.choices:
        return False
    low = -np.inf if option.minimum is None else option.minimum
    high = np.inf if option.maximum is None else option.maximum
    return not isinstance(value, (int, float)) or (low <= value <= high and abs(value) != np.inf)


def _latents(given: Any, n: int, size: int) -> NDArray[np.float32]:
    try:
        if hasattr(given, "detach") and not inspect.isclass(given):
            given = given.cpu().float()  # a tensor on a GPU, or of a type that numpy lacks
        with np.errstate(over="ignore"):
            # a copy: the caller may write into the array meanwhile
            latents = np.asarray(given).astype(np.float32, order="C")
    except Exception as error:  # of torch, for a tensor that wants a gradient, or of any other
        raise InputError(
            f"latents are not an array of numbers: {error}.",
            f"Give an array of shape ({n}, {size}).",
        ) from error
    if latents.shape != (n, size) or not np.isfinite(latents).all():
        wrong = (
            f"has the shape {latents.shape}"
            if latents.shape != (n, size)
            else "holds values that are not finite"
        )
        hint = f"Give finite numbers of shape ({n}, {size}); the model was trained on standard normal ones."
        raise InputError(f"latents {wrong}.", hint)
    return latents
