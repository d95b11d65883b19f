"""The medigan contract in the caller's process: what the worker needs, and the columns that are
made of its answer.

The worker (`medzoo._worker.medigan`) puts each sample into its shape. Here the values are mapped
linearly to the range and type that the config states. Whole numbers are rounded and clipped, and
never overflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._worker.batch import Batch
from .._worker.protocol import printable
from .._worker.shaping import arrange
from ..config import Condition, Output, Version, requirement_name
from ..errors import PackageError
from ..inputs import warn_of_repeats
from ..inputs.pictures import read
from .columns import check, own_outputs

FRAMEWORKS = {
    "torch": "torch",
    "tensorflow": "tensorflow",
    "tensorflow-cpu": "tensorflow",
    "keras": "keras",
}


def spec(
    model_name: str,
    version: Version,
    folder: Path,  # noqa: ARG001
    weights: Path | None,
    room: Path,  # noqa: ARG001
) -> dict[str, Any]:
    """What `medzoo._worker.medigan.Medigan` needs; `medzoo.runtime.worker` has the parameters."""
    call = version.call
    assert call is not None  # noqa: S101  (the schema gives one to every medigan package)
    frameworks = {FRAMEWORKS.get(requirement_name(r), "") for r in version.requires}
    return {
        "model_id": model_name.partition(",")[0],
        "function": call.function,
        "weights": call.weights if weights is None else str(weights.absolute()),
        "returns": call.returns,
        "latents": call.latents,
        "latents_as": call.latents_as,
        "latent_shape": list(call.latent_shape),
        "most": call.most,
        "arguments": dict(call.arguments),
        "options": list(version.options),
        "frameworks": sorted(frameworks - {""}),
        "conditions": {name: passed_values(c) for name, c in version.conditions.items()},
        "inputs": {
            name: {"argument": i.argument or name, "form": i.form, "default": i.default}
            for name, i in version.inputs.items()
        },
        "outputs": {name: place(version.outputs[name]) for name in own_outputs(version)},
    }


def passed_values(condition: Condition) -> dict[str, Any]:
    """Number of a value, as text -> what the package gets for it."""
    return {str(n): condition.value_for_package(n) for n in condition.values.values()}


def place(output: Output) -> dict[str, Any]:
    """Where an output is in what the package returns, and the shape that it must have."""
    return {
        "element": output.element,
        "files": output.files,
        "shape": list(output.shape),
        "channels": list(output.channels),
        "fit": output.fit,
        "fill": (output.returned or span(output))[0],
        "mask": output.kind == "mask",
    }


def columns(
    model_name: str, version: Version, batch: Batch, answer: Mapping[str, Any], work: Path
) -> dict[str, NDArray[Any]]:
    """One column per output of the config: the worker's arrays, in the range and type that the
    config states.

    Parameters
    ----------
    work
        The folder in which the files are that the answer names.

    Raises
    ------
    PackageError
        A file cannot be read or has another shape, or values are not finite or far from what the
        config says.
    """
    for count in sorted(set(answer["repeated"].values())):
        warn_of_repeats(f"{model_name},", count, " in its package")
    arrays = {}
    for name in own_outputs(version):
        output, values = version.outputs[name], answer["outputs"][name]
        if not isinstance(values, np.ndarray):
            values = _pictures(model_name, output, values, batch, work)
        arrays[name] = to_range(model_name, output, values)
    return check(model_name, version, batch, arrays)


def _pictures(
    model_name: str, output: Output, paths: Sequence[str], batch: Batch, work: Path
) -> NDArray[Any]:
    def picture(path: Path, number: int) -> NDArray[Any]:
        real = path.resolve()  # a link may lead to a file of the user
        if not (real.is_relative_to(work.resolve()) and real.is_file()):
            raise PackageError(
                f"{model_name}: {printable(str(path), 200)!r}, its {output.name!r} of sample "
                f"{number}, is not a file that it wrote."
            )
        try:
            return arrange(read(path, mask=output.kind == "mask"), place(output))  # type: ignore[no-any-return]
        except ValueError as error:
            raise PackageError(
                f"{model_name}: the file {path.name}, its {output.name!r} of sample {number}, is "
                f"not what the config says: {error}."
            ) from error

    numbered = zip(paths, batch.indices.tolist(), strict=True)
    return np.stack([picture(Path(path), number) for path, number in numbered])


def span(output: Output) -> tuple[float, float]:
    """The value range of a column; by default everything that its integer type can hold."""
    if output.value_range:
        return output.value_range
    limits = np.iinfo(output.dtype)
    return float(limits.min), float(limits.max)


def to_range(model_name: str, output: Output, values: NDArray[Any]) -> NDArray[Any]:
    """``values`` mapped from the package's range to the range and type of the column.

    Floats may lie a little outside of the range in the config, as the output of a network without a
    final tanh does. They are clipped. If they are outside by more than half the width of the range,
    the config is wrong.

    Raises
    ------
    PackageError
        Values are not finite, or too far outside.
    """
    low, high = output.returned or span(output)
    if values.dtype == bool:
        values = values.astype(np.uint8)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise PackageError(f"{model_name}: {output.name!r} holds values that are not finite.")
    least, most = (values.min(), values.max()) if values.size else (low, high)
    beyond = (high - low) / 2 if values.dtype.kind == "f" else 0.0
    if least < low - beyond or most > high + beyond:
        raise PackageError(
            f"{model_name}: {output.name!r} has values from {least:g} to {most:g}; by its config "
            f"the package returns {low:g} to {high:g}.",
            "Its config should say under `returned` what they are.",
        )
    if (
        values.dtype == output.dtype
        and output.returned in (None, output.range)
        and low <= least
        and most <= high
    ):
        return values
    to_low, to_high = span(output)
    kind = np.float32 if values.dtype.itemsize <= 2 or values.dtype == np.float32 else np.float64
    mapped = values.astype(kind)
    if (low, high) != (to_low, to_high):
        mapped = (mapped - kind(low)) * kind((to_high - to_low) / (high - low)) + kind(to_low)
    if output.dtype != "float32":
        np.rint(mapped, out=mapped)
    return np.clip(mapped, to_low, to_high).astype(output.dtype)
