"""The inputs of a model as controls: choices of a few values, ranges, and their start."""

from __future__ import annotations

from typing import Any

from ..config import OPTION_TYPES, Version


def first_inputs(version: Version) -> dict[str, Any]:
    """The first value of each condition, and the default of each option."""
    first: dict[str, Any] = {}
    for name, condition in version.conditions.items():
        first[name] = next(iter(condition.values))
    for name, option in version.options.items():
        if option.default is not None:
            first[name] = option.default
    return first


def choices_of(version: Version) -> dict[str, dict[str, Any]]:
    """The inputs with a few possible values: name -> label of the button -> value.

    An option that makes voxels smaller is left out: it changes the number of sections, not what is
    seen.
    """
    zooms = {output.zoom for output in version.outputs.values()}
    choices: dict[str, dict[str, Any]] = {}
    for name, condition in version.conditions.items():
        choices[name] = {value: value for value in condition.values}
    for name, option in version.options.items():
        if option.type not in OPTION_TYPES or option.default is None or name in zooms:
            continue
        if option.choices or option.type == "bool":
            choices[name] = {str(value): value for value in option.choices or (False, True)}
    return choices


def ranges_of(version: Version) -> dict[str, tuple[float, float]]:
    """Bounds of the options that get a slider; a number without bounds keeps its default."""
    ranges = {}
    for name, option in version.options.items():
        low, high = option.minimum, option.maximum
        if option.type not in {"int", "float"} or option.choices or option.default is None:
            continue
        if low is not None and high is not None:
            ranges[name] = (low, high)
    return ranges
