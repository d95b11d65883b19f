"""Bounds of figures, such as ``fd<=50, copy<=0.01``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from ..checks import meant, shown
from ..errors import InputError
from .measuring import ALL
from .metrics import METRICS

SIGNS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}
NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
FORM = re.compile(rf"(\w+)\s*(<=|>=|<|>)\s*({NUMBER})\s*(\*\s*floor)?")


@dataclass(frozen=True)
class Condition:
    """A bound of a figure.

    Parameters
    ----------
    metric, sign : str
        The metric, and ``<=``, ``<``, ``>=`` or ``>``.
    bound : float
        The number; times the floor if ``relative``.
    relative : bool
        Whether the bound is a multiple of the floor.
    value : float
        The figure; NaN before it is checked.
    met : bool
        Whether the figure is known and within the bound.
    """

    metric: str
    sign: str
    bound: float
    relative: bool = False
    value: float = math.nan
    met: bool = False

    def checked(self, value: float, floor: float) -> Condition:
        """The condition with a figure. A figure that was not measured does not meet it."""
        bound = self.bound * floor if self.relative else self.bound
        met = not math.isnan(value) and not math.isnan(bound) and SIGNS[self.sign](value, bound)
        return replace(self, value=value, met=bool(met))

    def __str__(self) -> str:
        times = "*floor" if self.relative else ""
        value = "not measured" if math.isnan(self.value) else f"{self.value:.4g}"
        return f"{self.metric} is {value}, not {self.sign} {self.bound:g}{times}"


def require_metrics(text: str, metrics: Sequence[str] | None) -> None:
    """Raise InputError if a condition cannot be read, or its metric is not among ``metrics``.

    So a mistake is reported before anything is measured.
    """
    for condition in parsed(text):
        metric = METRICS[condition.metric]
        is_measured = not metric.slow
        if metrics is not None:
            is_measured = bool({metric.name, metric.group, ALL} & {*metrics})
        if not is_measured:
            raise InputError(
                f"gate: {metric.name!r} is not among the metrics.", f"Add --metrics {metric.name}."
            )


def parsed(text: str, known: Collection[str] = METRICS) -> list[Condition]:
    """The conditions of a text; ``known`` are the names of metrics.

    Raises
    ------
    InputError
        A condition cannot be read, or its metric does not exist.
    """
    if not isinstance(text, str) or not text.strip(" ,"):
        raise InputError(f"gate={shown(text)} has no condition.", 'Such as "fd<=50, copy<=0.01".')
    conditions = []
    for part in text.split(","):
        match = FORM.fullmatch(part.strip())
        if match is None:
            raise InputError(
                f"gate: {part.strip()!r} is not a condition.",
                "Write metric, <=, <, >= or >, and a number or a multiple of the floor: "
                "fd<=50, fd<=1.5*floor.",
            )
        name = match[1]
        if name not in known:
            raise InputError(
                f"gate: there is no metric {name!r}.",
                f"{meant(name, known)}There are {', '.join(known)}.",
            )
        conditions.append(Condition(name, match[2], float(match[3]), bool(match[4])))
    return conditions
