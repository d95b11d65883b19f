"""Compare the result of a package with its config, for all sessions and contracts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._worker.batch import Batch
from ..config import BOX, Output, Version
from ..errors import PackageError

ROUNDING = 1e-6  # how far a box may reach out of its picture, as a fraction of it


def check(
    model_name: str, version: Version, batch: Batch, arrays: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """One column per output of the config: the package's arrays, and labels from the conditions.

    Parameters
    ----------
    model_name
        The model, for errors.
    arrays
        An array for each output that repeats no condition.

    Raises
    ------
    PackageError
        A shape or type is not what the config says, or a value is not finite.
    """
    columns = {}
    for name, output in version.outputs.items():
        if output.condition:  # its values are known without the package
            columns[name] = batch.conditions[output.condition].astype(output.dtype)
        else:
            expected = (batch.n, *_shape_of(output, batch))
            columns[name] = _checked(model_name, output, arrays[name], expected)
    return columns


def own_outputs(version: Version) -> list[str]:
    """The outputs that the package itself must return."""
    return [name for name, output in version.outputs.items() if not output.condition]


def _shape_of(output: Output, batch: Batch) -> tuple[int, ...]:
    """The shape of one sample; its size is that of the input whose geometry it has, or zoomed."""
    pictures = batch.inputs.get(output.geometry)
    if isinstance(pictures, np.ndarray):
        return (output.shape[0], *pictures.shape[2:])
    return output.zoomed(batch.options).shape


def _checked(
    model_name: str, output: Output, values: NDArray[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    if values.shape != shape or values.dtype != output.dtype:
        source = f"the input {output.geometry!r} asks" if output.geometry else "its config says"
        raise PackageError(
            f"{model_name}: `sample` returned {output.name!r} of shape {values.shape} and type "
            f"{values.dtype}; {source} {shape} and {output.dtype}."
        )
    if output.kind == "boxes":
        if problem := _problem_of_boxes(values):
            raise PackageError(f"{model_name}: {output.name!r} holds {problem}.")
    elif values.dtype.kind == "f" and not np.isfinite(values).all():
        raise PackageError(f"{model_name}: {output.name!r} holds values that are not finite.")
    return values


def _problem_of_boxes(values: NDArray[Any]) -> str:
    """What is wrong with boxes (..., 4), as a noun phrase; empty if nothing is."""
    boxes = values.reshape(-1, len(BOX)).astype(np.float64)
    absent = np.isnan(boxes).all(axis=1)
    boxes = boxes[~absent]
    if not np.isfinite(boxes).all():
        return "boxes of which only some numbers are finite"
    if (boxes[:, 2:] <= 0).any():
        return "boxes without width or height"
    beyond = np.abs(boxes[:, :2] - 0.5) + boxes[:, 2:] / 2 - 0.5
    if (beyond > ROUNDING).any():
        return "boxes that reach out of the picture"
    return ""
