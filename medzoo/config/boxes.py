"""What a config must say about a column of boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .model import BOX, Output


def check_boxes(node: Any, output: Output, outputs: Mapping[str, Output]) -> None:
    """Refuse boxes without flat pictures, and classes that are not a label column with names."""
    if not any(o.kind in {"image", "mask"} and len(o.shape) == 3 for o in outputs.values()):
        raise node.error("outputs", f"{output.name} are boxes of pictures, and there are none")
    labels = [name for name, other in outputs.items() if other.condition]
    if output.classes and output.classes not in labels:
        raise node.error(
            "outputs",
            f"{output.name}: classes: a label column that repeats a condition was expected, "
            f"not {output.classes}",
        )


def with_columns(node: Any, output: Output) -> Output:
    """A column of boxes, whose columns and range are the same in all configs."""
    if output.shape[-1] != len(BOX) or len(output.shape) > 2:
        raise node.error("shape", "[4] or [most boxes of a sample, 4] was expected")
    if output.dtype != "float32":
        raise node.error("dtype", "float32 was expected: boxes are fractions of the picture")
    if output.range not in {None, (0.0, 1.0)}:
        raise node.error("range", "[0, 1] was expected: boxes are fractions of the picture")
    if output.columns:
        raise node.error("columns", "boxes are x, y, width and height: leave this out")
    columns: tuple[str, ...] = BOX
    if len(output.shape) == 2:
        columns = tuple(f"{name}_{k}" for k in range(output.shape[0]) for name in BOX)
    return replace(output, range=(0.0, 1.0), columns=columns)
