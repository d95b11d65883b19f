"""Samples: named columns of arrays, in memory or read back from files on demand, with their
provenance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..config import Output
from ..config.columns import Array, Column, require_fit
from ..datasets.layout import Arrangement
from ..datasets.reader import contents
from ..datasets.writer import save
from ..errors import InputError
from ..settings import user_path
from . import convert

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import pandas
    import torch
    import torchio
    from matplotlib.figure import Figure
    from PIL import Image


@dataclass(frozen=True, eq=False)  # arrays have no one answer to ==
class Samples:
    """The samples that a model generated, with their provenance.

    Each column is an attribute: ``samples.images`` has shape (N, C, *spatial) and the model's own
    dtype. ``samples[3]`` is one sample, a dict of arrays without the first axis. ``samples[10:20]``
    are fewer samples. Columns on disk are read when you use them: slice first, so that only the
    slice is read.

    `medzoo.generate` and `medzoo.read` return such an object.

    Parameters
    ----------
    columns : Mapping[str, numpy.ndarray]
        Name -> array whose first axis counts samples.
    outputs : Mapping[str, Output]
        Name -> what the model's config says about the column: kind, value range, unit, spacing.
    indices : numpy.ndarray
        Number of each sample in its run, shape (N,), int64.
    provenance : Mapping[str, Any], optional
        What is needed to make the samples again: model, version, seed, options, digests and
        versions of libraries. Empty by default.
    folder : pathlib.Path, optional
        The folder that holds the samples, or None if they are in memory.

    Raises
    ------
    InputError
        The columns differ in length, are not arrays, or are not what ``outputs`` says: one sample
        of another shape, or floats where it says whole numbers.

    Examples
    --------
    >>> samples = medzoo.generate(8, 4, seed=0)
    >>> samples
    <4 samples of 00008_C-DCGAN_MMG_MASSES: images (4, 1, 128, 128) uint8, labels (4,) int64>
    >>> samples.labels
    array([0, 1, 0, 1])
    >>> samples[3]["images"].shape
    (1, 128, 128)
    >>> samples[1:3].indices, samples.provenance["seed"]
    (array([1, 2]), 0)
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
        for name, column in self.columns.items():
            if name not in self.outputs:
                raise InputError(
                    f"outputs says nothing about the column {name!r:.60} of the samples.",
                    f"It has {', '.join(self.outputs) or 'no entries'}.",
                )
            if isinstance(column, np.ndarray):  # others are checked when they are read
                require_fit(column, self.outputs[name])

    def __len__(self) -> int:
        return len(self.indices)

    def __getattr__(self, name: str) -> Array:
        # Called only for names that are not fields: the columns. copy and pickle look for methods
        # before there are any columns.
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
        """A number gives one sample as a dict of arrays, a slice or a list of numbers gives fewer
        samples.
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
        for number in range(len(self)):
            yield self[number]

    def __repr__(self) -> str:
        columns = []
        for name in self.columns:
            output = self.outputs[name]
            columns.append(f"{name} {(len(self), *output.shape)} {output.dtype}")
        model = self.provenance.get("model", "no model")
        where = f", in {self.folder}" if self.folder else ""
        return f"<{len(self)} samples of {model}: {', '.join(columns)}{where}>"

    def _repr_html_(self) -> str:
        """Pictures, labels, columns and provenance, for notebooks."""
        from .notebook import html

        return html(self, self.folder)

    def to_torch(self) -> dict[str, torch.Tensor]:
        """The columns as tensors, scaled for training.

        Images and volumes become float32, scaled from their value range to [0, 1]. Values outside
        the value range are clipped, with a warning. Labels and masks become int64, tables float32.
        Masks of floats keep their values, as float32.

        Returns
        -------
        dict of torch.Tensor
            ``images`` (N, C, *spatial), ``labels`` (N,), ...

        Raises
        ------
        InputError
            An image or volume has no value range: signed integers without `range` in the config.

        Examples
        --------
        >>> tensors = medzoo.generate(8, 4).to_torch()
        >>> tensors["images"].shape, tensors["images"].dtype
        (torch.Size([4, 1, 128, 128]), torch.float32)
        """
        return convert.tensors(self)

    def to_torchio(self) -> list[torchio.Subject]:
        """The samples as torchio subjects, with the values of the columns unchanged.

        All subjects are made at once: slice a large set first.

        Returns
        -------
        list of torchio.Subject
            One per sample; its keys are the names of the columns. Images and volumes are
            ``ScalarImage`` and masks ``LabelMap``, (C, X, Y, Z), with an affine made from the
            spacing. Labels are numbers and tables arrays.

        Raises
        ------
        InputError
            There is no image, mask or volume among the columns, or torchio is not installed.

        Examples
        --------
        >>> subjects = medzoo.generate(8, 4).to_torchio()
        >>> subjects[0]["images"].shape
        (1, 128, 128, 1)
        """
        return convert.subjects(self)

    def to_monai(self) -> list[dict[str, Any]]:
        """The samples as dictionaries for MONAI's transforms, with the values of the columns
        unchanged.

        All dictionaries are made at once: slice a large set first.

        Returns
        -------
        list of dict
            One per sample. Images, masks and volumes are ``MetaTensor``, (C, X, Y, Z), with an
            affine made from the spacing, as ``LoadImage`` reads them from the NIfTI files. A flat
            picture has one slice, which ``SqueezeDimd(keys, dim=-1)`` removes. Labels are numbers
            and tables tensors. Boxes are tensors (K, 6) in voxels, the lowest corner first, as in
            ``monai.data.box_utils``.

        Raises
        ------
        InputError
            MONAI is not installed.

        Examples
        --------
        >>> items = medzoo.generate(8, 4).to_monai()
        >>> items[1]["images"].shape, items[1]["labels"]
        (torch.Size([1, 128, 128, 1]), 1)
        """
        return convert.dictionaries(self)

    def to_pandas(self) -> pandas.DataFrame:
        """The labels, tables and boxes as a data frame. Images, masks and volumes are left out.

        Labels are categories with the names that the model gives them, or numbers if it gives
        none. The columns of a table keep their names. The name of the table is put before them
        (``table.0``) if they have none, or if several tables use the same name.

        Returns
        -------
        pandas.DataFrame
            One row per sample, indexed by the number of the sample in its run.

        Raises
        ------
        InputError
            pandas is not installed.

        Examples
        --------
        >>> medzoo.generate(8, 3).to_pandas()
                  labels
        index
        0         benign
        1      malignant
        2         benign
        """
        return convert.frame(self)

    @checks.checked()
    def plot(self, n: int = 16, *, columns: int | None = None) -> Figure:
        """A labelled grid of the first ``n`` samples, as a matplotlib figure.

        Masks are drawn as outlines and boxes as rectangles. A volume is shown by its three middle
        sections. Samples that have only a table are shown as its histograms, one line per label.

        Parameters
        ----------
        n : int, optional
            Number of samples to show, at least 1. If there are fewer, all are shown. For a table,
            the number of histograms, each of all samples.
        columns : int, optional
            Number of samples or histograms per row. By default the grid is about square.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it; ``figure.savefig(path)`` writes it to a file.

        Raises
        ------
        InputError
            There is no sample, or no image, mask, volume or table among the columns.

        Examples
        --------
        >>> figure = medzoo.generate(8, 4).plot()
        >>> figure.savefig("masses.png")
        """
        from .pictures import grid

        figure: Figure = grid(self, n, columns=columns)
        return figure

    @checks.checked()
    def montage(
        self, n: int = 16, *, columns: int | None = None, masks: str = "outline", scale: int = 1
    ) -> Image.Image:
        """The first ``n`` samples side by side as a picture, pixel for pixel and without text.

        A volume is shown by its three middle sections. Values are shown over the window or the
        value range of their column, as by `plot`. Pixels that are not square are stretched along
        one side.

        Parameters
        ----------
        n : int, optional
            Number of samples, at least 1. If there are fewer, all are shown.
        columns : int, optional
            Number of samples per row. By default the montage is about square.
        masks : str, optional
            ``"outline"`` draws masks and boxes on the picture, ``"beside"`` draws them filled to
            its right, ``"none"`` leaves them out. "outline" by default.
        scale : int, optional
            Width and height of a sample's pixel in pixels of the montage, 1 to 16. 1 by default.

        Returns
        -------
        PIL.Image.Image
            8-bit gray, or RGB if anything is in colour. A notebook shows it.

        Raises
        ------
        InputError
            There is no sample, no image, mask or volume among the columns, or the montage would
            be too large.

        Examples
        --------
        >>> picture = medzoo.generate(8, 4, seed=0).montage()
        >>> picture.size, picture.mode
        ((258, 258), 'L')
        >>> picture.save("montage.png")
        """
        from .raster import montage

        return montage(self, n, columns, masks, scale)

    @checks.checked()
    def to_gif(
        self,
        path: str | os.PathLike[str],
        *,
        n: int = 16,
        fps: float = 4,
        masks: str = "outline",
        scale: int = 1,
    ) -> Path:
        """Write an animation: one sample after the other, or the axial sections of volumes.

        Several volumes are shown side by side.

        Parameters
        ----------
        path : str or os.PathLike
            The file, ``NAME.gif``. A file that exists is replaced.
        n : int, optional
            Number of samples, at least 1. If there are fewer, all are shown.
        fps : float, optional
            Frames per second, above 0 and at most 50. 4 by default.
        masks : str, optional
            ``"outline"``, ``"beside"`` or ``"none"``; see `montage`.
        scale : int, optional
            Width and height of a sample's pixel in the animation, 1 to 16. 1 by default.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        InputError
            There is no sample or no picture, or an argument is not valid.
        DatasetError
            The file cannot be written.

        Examples
        --------
        >>> medzoo.generate(8, 4, seed=0).to_gif("masses.gif")
        PosixPath('masses.gif')
        """
        from .raster import MASKS, check_choice, frames, write_gif

        check_choice(masks, "masks", MASKS)
        return write_gif(path, frames(self, n, masks, scale), fps)

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
        """Write the samples, their manifest and their provenance into a new folder.

        Parameters
        ----------
        folder : str or os.PathLike
            A folder that does not exist yet, or an empty one.
        format : str, optional
            ``"png"``, ``"png16"``, ``"coco"``, ``"yolo"``, ``"nifti"``, ``"dicom"``, ``"csv"``,
            ``"npz"`` or ``"webdataset"``. By default the first of png, csv and npz that can hold
            all columns.
        layout : str, optional
            ``"classes"`` for one folder per label, or ``"classes:NAME"`` where there are several
            label columns. By default one folder per column.
        shard_size : int or str, optional
            Size at which a shard of a webdataset ends: a number of bytes, or a text such as
            ``"64MB"``. 256 MiB by default.
        shard_samples : int, optional
            Largest number of samples in a shard of a webdataset. No limit by default.

        Returns
        -------
        Samples
            The same samples, read back from the folder on demand.

        Raises
        ------
        DatasetError
            The folder is not empty, or cannot be written.
        InputError
            The format is unknown or cannot hold the columns, or cannot be arranged in this way.

        Examples
        --------
        >>> saved = medzoo.generate(8, 4, seed=0).save("saved", format="png")
        >>> sorted(p.name for p in saved.folder.glob("images/*.png"))
        ['000000_benign.png', '000001_malignant.png', '000002_benign.png', '000003_malignant.png']
        """
        arrangement = Arrangement(layout, shard_size, shard_samples)
        path = save(self, folder, format, arrangement=arrangement)
        return read(path)


@checks.checked()
def read(folder: str | os.PathLike[str]) -> Samples:
    """Open the samples in a finished folder. A column is read when you use it.

    Parameters
    ----------
    folder : str or os.PathLike
        The folder given to `medzoo.generate` as ``out``, or to `Samples.save`.

    Returns
    -------
    Samples
        The samples as they were generated. Columns of floats that were saved as PNG or DICOM come
        back rounded to their 8 or 16 bits.

    Raises
    ------
    DatasetError
        The folder does not hold a finished set of samples.
    InputError
        Reading the format needs a package that is not installed.

    Examples
    --------
    >>> samples = medzoo.generate(8, 4, out="masses", seed=0)
    >>> again = medzoo.read("masses")
    >>> again[:2].images.shape, again.labels
    ((2, 1, 128, 128), array([0, 1, 0, 1]))
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
    """The key in ``samples[key]`` as a slice or as numbers of samples."""
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


def gathered(batches: Iterable[Samples], n: int) -> Samples:
    """Put batches of ``n`` samples in total into one, with the provenance of the last batch.

    Arrays are filled batch by batch, so the samples are never in memory twice.
    """
    columns: dict[str, Array] = {}
    indices, done, last = np.empty(n, np.int64), 0, None
    for batch in batches:
        last = batch
        if len(batch) == n:  # all in one: no copy
            done = n
            continue
        rows = slice(done, done + len(batch))
        for name in batch.columns:
            part = getattr(batch, name)
            if name not in columns:
                columns[name] = np.empty((n, *part.shape[1:]), part.dtype)
            columns[name][rows] = part
        indices[rows] = batch.indices
        done += len(batch)
    if last is None or done != n:
        raise InputError(f"There are {done} samples, but {n} are needed.")
    if len(last) == n:
        return last
    return Samples(columns, last.outputs, indices, last.provenance)


def concatenate(parts: Sequence[Samples]) -> Samples:
    """Put samples one after the other, with the provenance of the first part."""
    first = parts[0]
    if len(parts) == 1:
        return first
    columns = {}
    for name in first.columns:
        columns[name] = np.concatenate([getattr(part, name) for part in parts])
    indices = np.concatenate([part.indices for part in parts])
    return Samples(columns, first.outputs, indices, first.provenance)
