"""Samples in the form in which medigan's packages return them: one item per sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import Output, Version
from ..errors import InputError
from ..samples import Samples

# Models whose package was seen to return (H, W, 1); 2 was seen to return (H, W), and of the others
# it is not known.
LAST_AXIS = {5}
UNSIGNED = {(0.0, 255.0): "uint8", (0.0, 65535.0): "uint16"}


def items(samples: Samples, version: Version, number: int) -> list[Any]:
    """One array per sample; a tuple where a sample has several parts, with the name of its class
    as the last one.

    Parameters
    ----------
    samples
        Samples of that version.
    version
        The version that medigan published.
    number
        The number of the model.
    """
    columns: list[list[Any]] = [
        list(_pictures([(getattr(samples, name), output) for name, output in group], number))
        for group in _elements(version)
    ]
    columns += [
        _labels(getattr(samples, name), version, output) for name, output in _named(version)
    ]
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def parts(samples: Samples, version: Version, number: int) -> dict[str, list[Any]]:
    """The same items by the keys of medigan's data set: ``sample``, ``mask``,
    ``other_imaging_output`` and ``label``.

    Raises
    ------
    InputError
        There are more pictures per sample than these keys.
    """
    groups, named = _elements(version), _named(version)
    keys = ("sample", "mask", "other_imaging_output")
    if len(groups) > len(keys):
        names = ", ".join(name for group in groups for name, _ in group)
        raise InputError(
            f"A sample has {len(groups)} pictures ({names}), and medigan's data set has keys for "
            f"{len(keys)}.",
            f"medzoo.dataset({number}, n) has all of them by name.",
        )
    rows = [row if isinstance(row, tuple) else (row,) for row in items(samples, version, number)]
    places = [*keys[: len(groups)], *["label"] * len(named)]
    return {key: [row[k] for row in rows] for k, key in enumerate(places)}


def _elements(version: Version) -> list[list[tuple[str, Output]]]:
    """The outputs that the package makes, grouped by the picture that they are channels of."""
    groups: dict[Any, list[tuple[str, Output]]] = {}
    positions = version.call is not None and version.call.returns in {"tuples", "arrays"}
    for name, output in version.outputs.items():
        if output.condition is None:
            groups.setdefault(output.element if positions else name, []).append((name, output))
    return [groups[k] for k in (sorted(groups) if positions else groups)]


def _named(version: Version) -> list[tuple[str, Output]]:
    return [(name, o) for name, o in version.outputs.items() if o.condition is not None]


def _pictures(group: list[tuple[NDArray[Any], Output]], number: int) -> Iterator[NDArray[Any]]:
    columns = [_as_returned(values, output) for values, output in group]
    for pictures in zip(*columns, strict=True):
        picture = np.concatenate(pictures) if len(pictures) > 1 else pictures[0]  # (C, H, W)
        if picture.ndim < 2:  # a number, or a row of a table
            yield picture
        elif len(picture) == 1 and number not in LAST_AXIS:
            yield picture[0]  # (H, W)
        else:
            yield np.ascontiguousarray(np.moveaxis(picture, 0, -1))  # (H, W, C)


def _as_returned(values: NDArray[Any], output: Output) -> NDArray[Any]:
    """A column in the value range that the package has, where medzoo's own is another."""
    if output.returned is None or output.value_range in (None, output.returned):
        return values
    low, high = output.value_range
    least, most = output.returned
    mapped = (values.astype(np.float64) - low) * ((most - least) / (high - low)) + least
    kind = UNSIGNED.get((float(least), float(most)))
    return mapped.astype(np.float32) if kind is None else np.rint(mapped).astype(kind)


def _labels(values: NDArray[Any], version: Version, output: Output) -> list[str]:
    assert output.condition is not None  # noqa: S101  (see `_named`)
    names = {v: k for k, v in version.conditions[output.condition].values.items()}
    return [names[int(value)] for value in values]
