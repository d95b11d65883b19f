"""Which input an output, or another input, shares its grid with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .model import Input, Output


def check_geometry(
    node: Any, place: str, column: Input | Output, inputs: Mapping[str, Input]
) -> None:
    """Check that the grid of an input can be that of ``column``.

    Raises
    ------
    ConfigError
        There is no such input, or it has other axes or another size.
    """
    if not column.geometry:
        return
    where = f"{place}.{column.name}.geometry"
    others = {name: other for name, other in inputs.items() if other is not column}
    if column.geometry not in others:
        names = ", ".join(others) or "the name of an input"
        raise node.error(where, f"one of {names} was expected, not {column.geometry!r}")
    source = others[column.geometry]
    if source.geometry:
        raise node.error(where, f"{source.name} itself has the geometry of {source.geometry}")
    if _axes_of(source) != _axes_of(column):
        raise node.error(where, f"{source.name} has {_axes_of(source)} axes of space")
    if isinstance(column, Output) and source.shape and source.shape[1:] != column.shape[1:]:
        raise node.error(where, f"{source.name} has the shape {list(source.shape)}")
    if isinstance(column, Input) and (column.shape, column.spacing) != (
        source.shape,
        source.spacing,
    ):
        raise node.error(where, f"the shape and spacing of {source.name} were expected")


def _axes_of(column: Input | Output) -> int:
    """The number of axes of space; 0 if there are none."""
    if isinstance(column, Input):
        return 3 if column.kind == "volume" else 2
    return len(column.shape) - 1 if column.kind in {"image", "mask", "volume"} else 0
