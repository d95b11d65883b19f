"""Samples: named columns of arrays, in memory or read back from files on demand, with their provenance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .config import Output
from .errors import InputError

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import torch
    from matplotlib.figure import Figure

Array = NDArray[Any]
SAVED_AT_ONCE = 64  # samples in memory when a set on disk is saved elsewhere


class Column(Protocol):
    """What a column must offer; numpy arrays do, and so do the columns of a folder on disk."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True, eq=False)  # arrays have no one answer to ==
class Samples:
    """What a model generated.

    ``samples.images`` is a column, (N, C, *spatial) in the model's own dtype; ``samples[3]`` one sample as a dict
    without the first axis; ``samples[10:20]`` fewer samples. A column of samples on disk is read when it is asked
    for: slice first, and only the slice is read.

    Parameters
    ----------
    columns
        Name -> array whose first axis counts samples.
    outputs
        Name -> what the config says of the column: kind, value range, unit, spacing.
    indices
        Number of each sample in its run, shape (N,).
    provenance
        Model, version, seed, options, digests and library versions: all that is needed to make them again.
    folder
        Where the samples lie on disk, if they do.
    """

    columns: Mapping[str, Column]
    outputs: Mapping[str, Output]
    indices: NDArray[np.int64]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()} | {"indices": len(self.indices)}
        if len(set(lengths.values())) != 1:
            raise InputError(f"The columns of samples differ in length: {lengths}.")

    def __len__(self) -> int:
        return len(self.indices)

    def __getattr__(self, name: str) -> Array:
        # Reached only for what is no field: the columns. copy and pickle ask before there are any.
        columns: Mapping[str, Column] = self.__dict__.get("columns", {})
        if name in columns:
            return np.asarray(columns[name][:])
        raise AttributeError(f"These samples have no {name!r}. Their columns are {', '.join(columns)}.")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.columns]

    def __getitem__(self, key: int | slice | Sequence[int] | Array) -> Any:
        """One sample as a dict of arrays for a number, fewer samples for a slice or a list of numbers."""
        if isinstance(key, (int, np.integer)):
            if not -len(self) <= key < len(self):
                raise IndexError(f"There is no sample {key} among {len(self)}.")
            return {name: column[int(key)] for name, column in self.columns.items()}
        rows = key if isinstance(key, slice) else np.asarray(key, dtype=None if len(key) else np.int64)
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Samples(columns, self.outputs, self.indices[rows], self.provenance, self.folder)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        shapes = ", ".join(f"{n} {(len(self), *self.outputs[n].shape)} {self.outputs[n].dtype}" for n in self.columns)
        where = f", in {self.folder}" if self.folder else ""
        return f"<{len(self)} samples of {self.provenance.get('model', 'no model')}: {shapes}{where}>"

    def to_torch(self) -> dict[str, torch.Tensor]:
        """The columns as tensors: images and volumes float32 scaled from their value range to [0, 1], labels and
        masks int64, tables float32.

        Returns
        -------
        dict of torch.Tensor
            ``images`` (N, C, *spatial), ``labels`` (N,), ...
        """
        import torch

        tensors = {}
        for name, output in self.outputs.items():
            if name in self.columns:
                values = getattr(self, name)
                if output.kind in {"image", "volume"}:
                    tensors[name] = torch.from_numpy(unit_range(values, output))
                else:
                    tensors[name] = torch.from_numpy(values.astype("float32" if output.kind == "table" else "int64"))
        return tensors

    def plot(self, n: int = 16, *, columns: int | None = None) -> Figure:
        """A labelled grid of the first ``n`` samples, as a matplotlib figure.

        Raises
        ------
        InputError
            There is no image, mask or volume among the columns.
        """
        from .view import grid

        figure: Figure = grid(self, n, columns=columns)
        return figure

    def save(self, folder: str | os.PathLike[str], *, format: str | None = None) -> Samples:  # noqa: A002
        """Write the samples, with manifest and provenance, into a new folder; return them as read back from there.

        Raises
        ------
        DatasetError
            The folder holds something, or cannot be written.
        InputError
            The format is unknown or does not fit the columns.
        """
        from .datasets import write

        parts = (self[k : k + SAVED_AT_ONCE] for k in range(0, len(self) or 1, SAVED_AT_ONCE))
        provenance = dict(self.provenance)
        first, n = provenance.get("first", 0), provenance.get("n")
        if n is not None and not np.array_equal(self.indices, np.arange(first, first + n)):
            provenance["subset"] = {"n": len(self), "indices": "sha256:" + hashlib.sha256(self.indices.tobytes()).hexdigest()}
        return write(parts, folder, outputs=self.outputs, format=format, provenance=provenance, again=False)


def unit_range(values: Array, output: Output) -> NDArray[np.float32]:
    """``values`` scaled from the column's value range to [0, 1], float32; clipped, never wrapped."""
    if output.range:
        low, high = output.range
    elif output.dtype.startswith("float"):
        low, high = 0.0, 1.0
    else:
        low, high = 0.0, float(np.iinfo(output.dtype).max)
    scaled: NDArray[np.float32] = (values.astype(np.float32) - np.float32(low)) * np.float32(1.0 / (high - low))
    np.clip(scaled, 0.0, 1.0, out=scaled)
    return scaled


def concatenate(parts: Sequence[Samples]) -> Samples:
    """Samples one after the other, of the first one's provenance."""
    first = parts[0]
    if len(parts) == 1:
        return first
    columns = {name: np.concatenate([getattr(p, name) for p in parts]) for name in first.columns}
    return Samples(columns, first.outputs, np.concatenate([p.indices for p in parts]), first.provenance)
