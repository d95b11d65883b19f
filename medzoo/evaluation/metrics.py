"""The metrics, each a function with its source, direction, unit and the size that it needs.

A metric gets a `Pair` and returns an `Estimate`. ``@metric`` puts it into `METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .estimates import Estimate
from .pairs import Pair

Measure: TypeAlias = Callable[[Pair], Estimate]
GROUPS = ("fidelity", "diversity", "usefulness", "privacy", "masks", "tables")


@dataclass(frozen=True)
class Metric:
    """One figure of an evaluation.

    Parameters
    ----------
    name : str
        How ``metrics`` and gates name it.
    title : str
        What it is, in a few words.
    group : str
        One of ``fidelity``, ``diversity``, ``usefulness``, ``privacy``, ``masks`` and ``tables``.
    measure : callable
        Gets a `Pair` and returns an `Estimate`. Its docstring explains the metric.
    better : str
        ``lower``, ``higher``, or ``floor``: the nearer to the figure of real data, the better.
    unit : str
        Of the figure.
    enough : int
        The number of samples per side below which the figure misleads.
    needs : str
        What all sides must have: ``picture``, ``points`` (pictures or a table), ``image`` (flat
        pictures), ``label``, ``table``, ``mask`` (or boxes), ``mask and picture``, ``boxes and
        image``.
    floor : str
        Which real data take the place of the set for the floor: ``training``, ``halves``,
        ``held_out``; see `Pair.floor`. Empty: there is no floor.
    lowest, highest : float, optional
        Bounds of the figure.
    slow : bool
        Whether it trains networks. Groups of ``by`` are then not measured.
    """

    name: str
    title: str
    group: str
    measure: Measure
    better: str = "lower"
    unit: str = ""
    enough: int = 100
    needs: str = "picture"
    floor: str = "training"
    lowest: float | None = 0.0
    highest: float | None = None
    slow: bool = False

    @property
    def explanation(self) -> str:
        """The docstring of the metric as one paragraph per part."""
        return "\n".join(line.strip() for line in (self.measure.__doc__ or "").strip().splitlines())


METRICS: dict[str, Metric] = {}


def metric(
    name: str,
    title: str,
    group: str,
    *,
    better: str = "lower",
    unit: str = "",
    enough: int = 100,
    needs: str = "picture",
    floor: str = "training",
    lowest: float | None = 0.0,
    highest: float | None = None,
    slow: bool = False,
) -> Callable[[Measure], Measure]:
    """Decorate a function that measures; it becomes a `Metric` of `METRICS`."""

    def decorate(measure: Measure) -> Measure:
        METRICS[name] = Metric(
            name, title, group, measure, better, unit, enough, needs, floor, lowest, highest, slow
        )
        return measure

    return decorate
