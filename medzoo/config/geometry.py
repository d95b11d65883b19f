"""The grids of outputs: which input they share one with, and which option makes them finer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .model import Input, Option, Output

# kind -> the axes of one sample, and how many there may be
SHAPES: dict[str, tuple[str, tuple[int, ...]]] = {
    "image": ("[channels, height, width]", (3,)),
    "mask": ("[channels, (depth, )height, width]", (3, 4)),
    "volume": ("[channels, depth, height, width]", (4,)),
    "table": ("[columns]", (1,)),
}


def check_shape(node: Any, column: Output) -> None:
    """Check that shape, spacing and names of columns are right for the kind of an output.

    Raises
    ------
    ConfigError
        There are more or fewer axes, millimetres or names than expected, or a name occurs twice.
    """
    axes, counts = SHAPES.get(column.kind, ("", ()))
    if axes and len(column.shape) not in counts:
        raise node.error("shape", f"{axes} was expected")
    spaces, spacing = _axes_of(column), column.spacing
    if spacing is not None and not spaces:
        raise node.error("spacing", "none was expected, since only pictures have it")
    if spacing is not None and len(spacing) != spaces:
        what = f"a list of {spaces} millimetres was expected"
        raise node.error("spacing", f"{what}, not {list(spacing)}")
    names = column.columns
    if names and column.kind == "table" and len(names) != column.shape[0]:
        raise node.error("columns", f"{column.shape[0]} names were expected, not {len(names)}")
    if len(set(names)) < len(names):
        raise node.error("columns", f"different names were expected, not {list(names)!r:.80}")


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


def check_zoom(node: Any, column: Output, options: Mapping[str, Option]) -> None:
    """Check that an option can divide the voxels of ``column``.

    Raises
    ------
    ConfigError
        There is no such option, its choices are not whole numbers from 1, it has no default, or the
        column is not a picture, has no spacing, or has the grid of an input.
    """
    if not column.zoom:
        return
    where, option = f"outputs.{column.name}.zoom", options.get(column.zoom)
    if (
        option is None
        or option.type != "int"
        or option.default is None
        or min(option.choices, default=0) < 1
    ):
        what = "an option of type int with choices from 1 and a default"
        raise node.error(where, f"{what} was expected")
    if not _axes_of(column) or column.spacing is None or column.geometry:
        raise node.error(where, "only pictures with `spacing` and without `geometry` have it")


def _axes_of(column: Input | Output) -> int:
    """The number of axes of space; 0 if there are none."""
    if isinstance(column, Input):
        return 3 if column.kind == "volume" else 2
    return len(column.shape) - 1 if column.kind in {"image", "mask", "volume"} else 0
