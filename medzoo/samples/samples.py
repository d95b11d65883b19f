"""Samples: named columns of arrays, in memory or read back from files on demand, with their
provenance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..config import Output
from ..config.columns import Array, Column, affine_of, to_xyz, unit_range, warn_if_clipped
from ..datasets.layout import Arrangement
from ..datasets.reader import contents
from ..datasets.writer import save
from ..errors import InputError
from ..settings import user_path

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import pandas
    import torch
    import torchio
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)  # arrays have no one answer to ==
class Samples:
    """What a model generated.

    ``samples.images`` is a column, (N, C, *spatial) in the model's own dtype; ``samples[3]`` one
    sample as a dict without the first axis; ``samples[10:20]`` fewer samples. A column of samples
    on disk is read when it is asked for: slice first, and only the slice is read.

    Parameters
    ----------
    columns
        Name -> array whose first axis counts samples.
    outputs
        Name -> what the config says of the column: kind, value range, unit, spacing.
    indices
        Number of each sample in its run, shape (N,).
    provenance
        Model, version, seed, options, digests and library versions: all that is needed to make them
        again.
    folder
        Where the samples lie on disk, if they do.
    """

    columns: Mapping[str, Column]
    outputs: Mapping[str, Output]
    indices: NDArray[np.int64]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def __post_init__(self) -> None:
        for name in ("columns", "outputs", "provenance"):
            if not isinstance(getattr(self, name), Mapping):
                raise InputError(
                    f"{name}={checks.shown(getattr(self, name))} is not a mapping.",
                    "Samples are made by medzoo.generate and medzoo.read.",
                )
        if self.folder is not None:
            user_path(self.folder, "folder")
        lengths = {name: _length(name, column) for name, column in self.columns.items()}
        lengths["indices"] = _length("indices", self.indices)
        if len(set(lengths.values())) != 1:
            raise InputError(f"The columns of the samples differ in length: {lengths}.")

    def __len__(self) -> int:
        return len(self.indices)

    def __getattr__(self, name: str) -> Array:
        # Reached only for names that are not fields: the columns. copy and pickle ask before there
        # are any.
        columns: Mapping[str, Column] = self.__dict__.get("columns", {})
        if name in columns:
            return np.asarray(columns[name][:])
        near = "" if name.startswith("__") else checks.meant(name, columns)
        raise AttributeError(
            f"These samples have no {name!r}. {near}Their columns are {', '.join(columns)}."
        )

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.columns]

    def __getitem__(self, key: int | slice | Sequence[int] | Array) -> Any:
        """One sample as a dict of arrays for a number, fewer samples for a slice or a list of
        numbers.
        """
        number = checks.plain(key)
        if isinstance(number, int) and not isinstance(number, bool):
            if not -len(self) <= number < len(self):
                raise IndexError(f"There is no sample {checks.shown(key)} among {len(self)}.")
            return {name: column[number] for name, column in self.columns.items()}
        rows = _rows(key, len(self))
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Samples(columns, self.outputs, self.indices[rows], self.provenance, self.folder)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        shapes = ", ".join(
            f"{n} {(len(self), *self.outputs[n].shape)} {self.outputs[n].dtype}"
            for n in self.columns
        )
        where = f", in {self.folder}" if self.folder else ""
        return (
            f"<{len(self)} samples of {self.provenance.get('model', 'no model')}: {shapes}{where}>"
        )

    def to_torch(self) -> dict[str, torch.Tensor]:
        """The columns as tensors: images and volumes float32 scaled from their value range to [0,
        1], labels and masks int64, tables float32. Masks of floats keep their values, as float32.

        Values outside the value range are cut off to it, with a warning.

        Returns
        -------
        dict of torch.Tensor
            ``images`` (N, C, *spatial), ``labels`` (N,), ...

        Raises
        ------
        InputError
            An image or volume has no value range: signed integers without `range` in the config.
        """
        import torch

        tensors = {}
        for name, output in self.outputs.items():
            if name in self.columns:
                values = getattr(self, name)
                if output.kind in {"image", "volume"}:
                    warn_if_clipped(values, output)
                    tensors[name] = torch.from_numpy(unit_range(values, output))
                else:
                    as_floats = output.kind == "table" or values.dtype.kind == "f"
                    tensors[name] = torch.from_numpy(
                        values.astype("float32" if as_floats else "int64")
                    )
        return tensors

    def to_torchio(self) -> list[torchio.Subject]:
        """The samples as torchio subjects, in the columns' own values.

        Returns
        -------
        list of torchio.Subject
            Images and volumes as ``ScalarImage`` and masks as ``LabelMap``, (C, X, Y, Z) with an
            affine made of the spacing; labels as numbers, tables as arrays, under their columns'
            names. All at once: slice a large set.

        Raises
        ------
        InputError
            There is no image, mask or volume among the columns, or torchio is not installed.
        """
        tio = _library("torchio")
        kinds = {"image": tio.ScalarImage, "volume": tio.ScalarImage, "mask": tio.LabelMap}
        if not any(self.outputs[n].kind in kinds for n in self.columns):
            raise InputError(
                "torchio needs an image, mask or volume.",
                f"These samples hold {', '.join(self.columns)}.",
            )
        subjects = []
        for one in self:
            subject = {}
            for name, values in one.items():
                output = self.outputs[name]
                if output.kind in kinds:
                    subject[name] = kinds[output.kind](
                        tensor=_tensor(to_xyz(values)), affine=affine_of(output)
                    )
                else:
                    subject[name] = int(values) if output.kind == "label" else values
            subjects.append(tio.Subject(subject))
        return subjects

    def to_monai(self) -> list[dict[str, Any]]:
        """The samples as dictionaries for MONAI's transforms, in the columns' own values.

        Returns
        -------
        list of dict
            Images, masks and volumes as ``MetaTensor`` with an affine made of the spacing, (C, X,
            Y, Z) as ``LoadImage`` reads them from the NIfTI files: a flat picture has one slice,
            which ``SqueezeDimd(keys, dim=-1)`` removes. Labels as numbers, tables as tensors. All
            at once: slice a large set.

        Raises
        ------
        InputError
            MONAI is not installed.
        """
        monai = _library("monai.data", "monai")
        found = []
        for one in self:
            item: dict[str, Any] = {}
            for name, values in one.items():
                output = self.outputs[name]
                if output.kind == "label":
                    item[name] = int(values)
                elif output.kind == "table":
                    item[name] = _tensor(values)
                else:
                    tensor, affine = _tensor(to_xyz(values)), affine_of(output)
                    # As `LoadImage` has them: without these, `SaveImage` fails on one flat channel.
                    meta = {
                        "original_affine": affine,
                        "spatial_shape": np.array(tensor.shape[1:]),
                        "original_channel_dim": float("nan") if len(values) == 1 else -1,
                    }
                    item[name] = monai.MetaTensor(tensor, affine=_tensor(affine), meta=meta)
            found.append(item)
        return found

    def to_pandas(self) -> pandas.DataFrame:
        """Labels and tables as a data frame with one row per sample, under its index; images and
        the like are left out.

        Labels stand by name, as categories, where the model names their values. Where several
        tables share a column's name, or a table has no names, the table's own comes before it.

        Raises
        ------
        InputError
            pandas is not installed.
        """
        pandas = _library("pandas")
        names: Mapping[str, Mapping[str, str]] = self.provenance.get("label_names", {})
        tables = [self.outputs[n] for n in self.columns if self.outputs[n].kind == "table"]
        once = sum(len(t.columns) for t in tables) == len({c for t in tables for c in t.columns})
        frame = {}
        for name in self.columns:
            output = self.outputs[name]
            if output.kind == "label":
                known = {int(k): v for k, v in names.get(name, {}).items()}
                values = getattr(self, name)
                named = known and set(np.unique(values).tolist()) <= set(known)
                frame[name] = (
                    pandas.Categorical.from_codes(
                        np.searchsorted(sorted(known), values), [known[k] for k in sorted(known)]
                    )
                    if named
                    else values
                )
            elif output.kind == "table":
                flat = getattr(self, name).reshape(len(self), -1)
                heads = output.columns or tuple(map(str, range(flat.shape[1])))
                frame |= {
                    h if output.columns and once else f"{name}.{h}": flat[:, k]
                    for k, h in enumerate(heads)
                }
        return pandas.DataFrame(frame, index=pandas.Index(self.indices, name="index"))

    @checks.checked()
    def plot(self, n: int = 16, *, columns: int | None = None) -> Figure:
        """A labelled grid of the first ``n`` samples, as a matplotlib figure.

        Raises
        ------
        InputError
            There is no image, mask or volume among the columns.
        """
        from .pictures import grid

        figure: Figure = grid(self, n, columns=columns)
        return figure

    @checks.checked()
    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        format: str | None = None,  # noqa: A002
        layout: str | None = None,
        shard_size: int | str | None = None,
        shard_samples: int | None = None,
    ) -> Samples:
        """Write the samples, with manifest and provenance, into a new folder; return them as read
        back from there.

        Parameters
        ----------
        folder
            A new or empty one.
        format, layout, shard_size, shard_samples
            See `medzoo.generate`.

        Raises
        ------
        DatasetError
            The folder holds something, or cannot be written.
        InputError
            The format is unknown or does not fit the columns, or they cannot be arranged so.
        """
        arrangement = Arrangement(layout, shard_size, shard_samples)
        path = save(self, folder, format, arrangement=arrangement)
        return read(path)


@checks.checked()
def read(folder: str | os.PathLike[str]) -> Samples:
    """The samples of a finished folder; a column is read when it is asked for.

    Parameters
    ----------
    folder
        What `medzoo.generate` got as ``out``, or `Samples.save` as ``folder``.

    Returns
    -------
    Samples
        As they were generated; float columns kept as PNG or DICOM come back from their 8 or 16
        bits.

    Raises
    ------
    DatasetError
        The folder holds no finished set of samples.
    InputError
        Reading the format needs a package that is not installed.
    """
    return Samples(*contents(folder))


def _length(name: object, column: Any) -> int:
    try:
        return len(column)
    except Exception as error:
        raise InputError(
            f"The column {name!r:.60} of the samples has no length: {checks.shown(column)}.",
            "Give arrays whose first axis counts samples.",
        ) from error


def _rows(key: Any, n: int) -> slice | Array:
    """A slice, or the numbers of samples, of the key in ``samples[key]``."""
    try:
        if isinstance(key, slice):
            key.indices(n)
            return key
        rows = np.asarray(checks.listed(key))
        if rows.shape == (0,) and not isinstance(key, (str, bytes)):
            return rows.astype(np.int64)
    except Exception:
        rows = np.zeros(())
    if rows.dtype == bool and rows.ndim == 1:
        if len(rows) != n:
            raise IndexError(f"There are {n} samples, but {len(rows)} values True or False.")
        return np.flatnonzero(rows)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise InputError(
            f"samples[{checks.shown(key)}] is not possible.",
            "Give the number of a sample, a slice, a list of numbers, or a list of True and False.",
        )
    return rows


def _tensor(values: Array) -> torch.Tensor:
    import torch

    return torch.from_numpy(
        np.array(values, dtype=np.int32 if values.dtype == np.uint16 else None)
    )  # which torch lacks


def _library(module: str, package: str = "") -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        name = package or module
        raise InputError(
            f"{name} is not installed here: {error}.", f"`pip install {name}` brings it."
        ) from error


def gathered(batches: Iterable[Samples], n: int) -> Samples:
    """Batches that are ``n`` samples together, as one, of the last one's provenance; never in memory
    twice.
    """
    columns: dict[str, Array] = {}
    indices, done, last = np.empty(n, np.int64), 0, None
    for batch in batches:
        last = batch
        if len(batch) == n:  # all in one: no copy
            done = n
            continue
        for name in batch.columns:
            part = getattr(batch, name)
            if name not in columns:
                columns[name] = np.empty((n, *part.shape[1:]), part.dtype)
            columns[name][done : done + len(batch)] = part
        indices[done : done + len(batch)] = batch.indices
        done += len(batch)
    if last is None or done != n:
        raise InputError(f"There are {done} samples, but {n} are needed.")
    if len(last) == n:
        return last
    return Samples(columns, last.outputs, indices, last.provenance)


def concatenate(parts: Sequence[Samples]) -> Samples:
    """Samples one after the other, of the first one's provenance."""
    first = parts[0]
    if len(parts) == 1:
        return first
    columns = {name: np.concatenate([getattr(p, name) for p in parts]) for name in first.columns}
    return Samples(
        columns, first.outputs, np.concatenate([p.indices for p in parts]), first.provenance
    )
