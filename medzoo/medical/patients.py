"""The patients of a folder: each series with the structures that were drawn on it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..errors import InputError, MedzooWarning
from . import arguments
from .files import DicomPaths, headers_of, is_slice, reading, shown_path
from .roi_names import find_roi
from .scans import read_series
from .series import volume_of
from .structures import Structures, read_structures, structures_of
from .volumes import Volume

if TYPE_CHECKING:
    from pydicom import Dataset


@checks.checked(path=checks.path, pattern=checks.text, frame=arguments.frame)
def read_mask(
    path: str | os.PathLike[str],
    pattern: str,
    *,
    series: str | None = None,
    frame: int | None = None,
) -> tuple[Volume, NDArray[np.bool_]]:
    """Read a series and the mask of a structure that was drawn on it.

    Parameters
    ----------
    path : str or os.PathLike
        A folder with one RTSTRUCT and its series; subfolders are included.
    pattern : str
        Which structure: see `find_roi`.
    series : str, optional
        The SeriesInstanceUID of the series to read, if the structure refers to several.
    frame : int, optional
        Which time, echo or b-value, from 0, if the series has several pictures at each position.

    Returns
    -------
    volume : Volume
        The series.
    mask : array of bool
        (D, H, W): the voxels that the structure encloses.

    Raises
    ------
    InputError
        One of the files cannot be read, or the structure cannot be drawn on the series: see
        `read_structures`, `read_series` and `Structures.mask`. Or the structure refers to several
        series of the folder, and ``series`` does not choose one.

    Examples
    --------
    >>> ct, mask = medical.read_mask("patient7/", "Parotid R|R parotid")
    >>> ct.voxels.shape, mask.shape
    ((12, 64, 64), (12, 64, 64))
    """
    structures = read_structures(path, series=series)
    name = find_roi([*structures.contours, *structures.broken], pattern)
    if series is None:
        series = _only_series_of(name, structures, path)
    volume = read_series(path, series=series, frame=frame)
    return volume, structures.mask(volume, name)


def _only_series_of(
    name: str, structures: Structures, folder: str | os.PathLike[str]
) -> str | None:
    """The series of a folder on which a structure was drawn; None if the file does not say."""
    referenced = structures.series_of(name)
    if len(referenced) > 1:
        present = {}
        with reading():
            for header in filter(is_slice, headers_of(folder)):
                present[str(header.get("SeriesInstanceUID", ""))] = header
        referenced &= present.keys()
        if len(referenced) > 1:
            listed = "; ".join(_described(present[uid]) for uid in sorted(referenced))
            raise InputError(
                f"{name!r} of {structures.path} refers to {len(referenced)} series of "
                f"{shown_path(folder)}.",
                f"Give a folder with one of them, or choose by series=: {listed}.",
            )
    return next(iter(referenced), None)


def _described(header: Dataset) -> str:
    """A series as an error lists it."""
    name = str(header.get("SeriesDescription", "without a description"))
    return f"{header.get('Modality', '?')} {name!r}, {header.get('SeriesInstanceUID', '')}"


class Case(NamedTuple):
    """A series and the structures that were drawn on it.

    Parameters
    ----------
    volume : Volume
        The series.
    structures : Structures
        The contours that were drawn on it.

    Examples
    --------
    >>> case = next(medical.cases("patient7/"))
    >>> case.volume.voxels.shape, sorted(case.structures.contours)
    ((12, 64, 64), ['GTV', 'Parotid R'])
    """

    volume: Volume
    structures: Structures


@checks.checked(folder=checks.paths)
def cases(folder: DicomPaths) -> Iterator[Case]:
    """Read every RTSTRUCT of a folder, and the series on which it was drawn.

    One series is in memory at a time. Files may be in any order, in one folder or in many: one
    patient, or hundreds. Structures are skipped with a warning if their series is missing, cannot
    be read, or is one of several. A warning names damaged structures; the other structures of
    their file can be used.

    Parameters
    ----------
    folder : str, os.PathLike, or sequence of them
        A folder, which is read with its subfolders, or a list of files.

    Yields
    ------
    Case
        A series and its structures.

    Raises
    ------
    InputError
        There is no RTSTRUCT at all.

    Examples
    --------
    >>> for ct, structures in medical.cases("patient7/"):
    ...     mask = structures.mask(ct, "GTV")
    ...     print(ct.voxels.shape, mask.any((1, 2)).sum())
    (12, 64, 64) 4
    """
    with reading():
        files: list[Path] = []
        slices: dict[str, list[Dataset]] = {}
        for header in headers_of(folder):
            if header.get("Modality") == "RTSTRUCT":
                files.append(Path(header.filename))
            if is_slice(header):
                slices.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(header)
    if not files:
        raise InputError(
            f"{shown_path(folder)} holds no RTSTRUCT.",
            "Give a folder with DICOM series and the RTSTRUCT files that were drawn on them.",
        )
    for file in files:
        try:
            with reading():
                case = _case(file, slices)
        except InputError as error:
            warnings.warn(MedzooWarning(f"{file} is skipped: {error.problem}"), stacklevel=2)
            continue
        for name, fault in case.structures.broken.items():
            warnings.warn(MedzooWarning(f"{name!r} of {file} is skipped: {fault}."), stacklevel=2)
        yield case


def _case(file: Path, slices: dict[str, list[Dataset]]) -> Case:
    """The structures of a file, with the one series that they were drawn on."""
    structures = structures_of(file)
    present = sorted(structures.series & slices.keys())
    if not present:
        raise InputError("the series that it was drawn on is not there.", "Add its folder.")
    if len(present) > 1:
        listed = "; ".join(_described(slices[uid][0]) for uid in present)
        raise InputError(
            f"it refers to {len(present)} series that are there: {listed}.",
            "Read one of these series with `read_series`, and the file with `read_structures`.",
        )
    return Case(volume_of(slices[present[0]]), structures)
