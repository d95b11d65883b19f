"""What a user asks of a model: a request, checked with the config once, and its batches."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import checks, seeds
from .._worker.batch import Batch
from ..config import LIST_TYPES, OPTION_TYPES, Condition, ModelConfig, Option, Version
from ..config.arguments import GENERATE_ARGUMENTS
from ..datasets.layout import UNARRANGED, Arrangement
from ..errors import InputError

if TYPE_CHECKING:
    from ..inputs import Inputs


@dataclass(frozen=True)
class Request:
    """Samples ``first`` to ``first + n - 1`` of a run, and everything that they depend on."""

    n: int
    first: int
    seed: int
    latent: int
    # each a cycle of values, or one value for each of the n samples
    conditions: Mapping[str, NDArray[np.int64]]
    options: Mapping[str, Any]
    latents: NDArray[np.float32] | None
    inputs: Inputs | None
    record: Mapping[str, Any]  # what the user gave, for the provenance
    version: Version  # whose outputs have the size that options and the user's pictures give them
    arrangement: Arrangement = UNARRANGED  # of the files, if files are written

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
        """Check ``options`` and ``inputs`` with the config. By default ``n`` is 1, or the number of
        inputs.

        Raises
        ------
        InputError
            One is unknown, has the wrong type or is out of range. The error says what is allowed.
        """
        first, pictures = checks.first(first, "first"), _inputs(config.id, version, inputs)
        if n is None:
            n = pictures.count if pictures is not None else 1
        n = checks.count(n, "n")
        if first + n > 2**62:
            start = f" from first={checks.shown(first)}" if first else ""
            raise InputError(
                f"n={checks.shown(n)}{start} is more samples than can be numbered.",
                "Give smaller numbers.",
            )
        _check_names(config, version, options)
        size = version.settable_latents
        latents = options.get("latents")
        if latents is not None:
            latents = _latents(latents, n, size)
        values = {k: _option(o, options.get(k, o.default)) for k, o in version.options.items()}
        record: dict[str, Any] = dict(values)
        if latents is not None:
            record["latents"] = "sha256:" + hashlib.sha256(latents.tobytes()).hexdigest()
        conditions = {}
        for name, condition in version.conditions.items():
            conditions[name], record[name] = _condition(condition, options.get(name), n)
        outputs = {name: output.zoomed(values) for name, output in version.outputs.items()}
        if pictures is not None:
            record["inputs"] = pictures.record
            outputs = pictures.geometry.outputs(outputs)
        return cls(
            n=n,
            first=first,
            seed=seeds.check_seed(seed),
            latent=size,
            conditions=conditions,
            options=values,
            latents=latents,
            inputs=pictures,
            record=record,
            version=replace(version, outputs=outputs),
        )

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> Batch:
        """The samples with the numbers ``indices``: each in [first, first + n), or in a later epoch
        of ``n``.
        """
        numbers = np.asarray(indices, dtype=np.int64)
        # The rows of the user's lists: counted from the first sample, and repeated in each epoch.
        rows = (numbers - self.first) % self.n
        latents = self.latents[rows] if self.latents is not None else None
        if latents is None:
            latents = seeds.latents(self.seed, numbers, self.latent)
        conditions, period = {}, 1
        for name, values in self.conditions.items():
            if isinstance(self.record[name], list):
                conditions[name] = values[rows]
            else:
                # Two conditions that cycle are crossed: every value meets every value of the other.
                conditions[name] = values[numbers // period % len(values)]
                period *= len(values)
        inputs = self.inputs.batch(numbers) if self.inputs is not None else {}
        return Batch(self.seed, numbers, latents, conditions, inputs, self.options)

    def placed(
        self, columns: dict[str, NDArray[Any]], numbers: NDArray[np.int64]
    ) -> dict[str, NDArray[Any]]:
        """The columns of the samples ``numbers``, on the grids of the user's scans."""
        if self.inputs is None:
            return columns
        return self.inputs.geometry.back(columns, self.version.outputs, numbers)


def _inputs(model: str, version: Version, given: Any) -> Inputs | None:
    """`Inputs.of`. Most models take none, and need not wait for the readers of medical files."""
    if given is None and not version.inputs:
        return None
    from ..inputs import Inputs

    return Inputs.of(model, version, given)


def _check_names(config: ModelConfig, version: Version, options: Mapping[str, Any]) -> None:
    """Raise InputError if the version does not take an option."""
    allowed = [*version.conditions, *version.options]
    if version.settable_latents:
        allowed.append("latents")
    for name in options:
        if name not in allowed:
            names = ", ".join(allowed) or ("no options" if version.inputs else "no inputs")
            hint = checks.instead(name, [*allowed, *GENERATE_ARGUMENTS])
            if version.inputs:
                some = next(iter(version.inputs))
                own = "Your own pictures go into inputs=: "
                hint += f"{own}inputs={{{some!r}: ...}}, or --inputs {some}=FILE. "
            hint += f"It takes {names}; `medzoo info {config.number}` explains."
            raise InputError(f"{config.id} takes no {name!r}.", hint)


def _condition(condition: Condition, value: Any, n: int) -> tuple[NDArray[np.int64], Any]:
    """The cycle or list of values, and its record: None, a name, or a list of names."""
    names = {number: name for name, number in condition.values.items()}
    value = checks.listed(checks.plain(value))
    if value is None:
        return np.array(list(condition.values.values()), dtype=np.int64), None
    if not isinstance(value, list):
        number = _number_of(condition, value, n)
        return np.array([number], dtype=np.int64), names[number]
    if len(value) != n:
        raise InputError(
            f"{condition.name} has {len(value)} values for n={n} samples.",
            "Give one value, or one value per sample.",
        )
    numbers = [_number_of(condition, item, n) for item in value]
    return np.array(numbers, dtype=np.int64), [names[number] for number in numbers]


def _number_of(condition: Condition, value: Any, n: int) -> int:
    """The number of a condition's value, which is given by its name or its number."""
    value = checks.plain(value)
    numbers = {name.lower(): number for name, number in condition.values.items()}
    if isinstance(value, str) and value.lower() in numbers:
        return numbers[value.lower()]
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 12:
        value = int(value)  # "1" is not a name, so it is a number
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number and value in condition.values.values():
        return int(value)
    near = checks.meant(value, condition.values) if isinstance(value, str) else ""
    allowed = ", ".join(f"{name!r} ({number})" for name, number in condition.values.items())
    hint = f"It is one of {allowed}, a list of {n} of them, or left out for each in turn."
    raise InputError(f"{condition.name}={checks.shown(value)} is unknown.", near + hint)


def _option(option: Option, value: Any) -> Any:
    """``value`` in the option's type, if it is allowed.

    None, if it is the default, leaves the choice to the package.
    """
    if value is None and option.default is None:
        return None
    is_list = option.type in LIST_TYPES
    kind = LIST_TYPES[option.type] if is_list else OPTION_TYPES[option.type]
    value = checks.listed(checks.plain(value))
    items = value if isinstance(value, list) else [value]
    items = [_plain(item, kind) for item in items]
    has_form = is_list == isinstance(value, list)
    if not has_form or not all(_allowed(option, item, kind) for item in items):
        raise InputError(
            f"{option.name}={checks.shown(value)} is not allowed.",
            f"{option.name} is {_allowed_in_words(option, kind)}: {option.help}",
        )
    return items if is_list else items[0]


def _allowed_in_words(option: Option, kind: type) -> str:
    """``float at least 0 at most 1``; ``a list, each one of 1, 2``."""
    words = [kind.__name__]
    if option.minimum is not None:
        words.append(f"at least {option.minimum:g}")
    if option.maximum is not None:
        words.append(f"at most {option.maximum:g}")
    one = " ".join(words)
    if option.choices:
        one = f"one of {', '.join(map(repr, option.choices))}"
    return f"a list, each {one}" if option.type in LIST_TYPES else one


def _plain(value: Any, kind: type) -> Any:
    """A Python value instead of one of numpy or torch; a float if the option is a float."""
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


def _latents(values: Any, n: int, size: int) -> NDArray[np.float32]:
    try:
        if hasattr(values, "detach") and not inspect.isclass(values):
            values = values.cpu().float()  # a tensor on a GPU, or of a type that numpy lacks
        with np.errstate(over="ignore"):
            # a copy: the caller may write into the array later
            latents = _real_numbers(values).astype(np.float32, order="C")
    except Exception as error:  # of torch, for a tensor that needs a gradient, or of any other
        raise InputError(
            f"latents are not an array of real numbers: {str(error).rstrip('.')}.",
            f"Give an array of shape ({n}, {size}).",
        ) from error
    problem = ""
    if latents.shape != (n, size):
        problem = f"has the shape {latents.shape}"
    elif not np.isfinite(latents).all():
        problem = "holds values that are not finite"
    if problem:
        raise InputError(
            f"latents {problem}.",
            f"Give finite numbers of shape ({n}, {size}); the model was trained on standard "
            "normal ones.",
        )
    return latents


def _real_numbers(values: Any) -> NDArray[Any]:
    """An array of real numbers; a TypeError for complex numbers, text and dates."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"their type is {array.dtype}")
    return array
