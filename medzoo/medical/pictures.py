"""Scans as the pictures that a model works on: its slices or volumes, spacing, unit and range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config import Input
from ..errors import InputError
from .nifti import NIFTI, read_nifti
from .scans import read_pictures, read_series
from .structures import read_mask
from .volumes import Volume, resample, slices_with, window
from .windows import Window, fill_padding, tissue_of, warn_of_few_greys, windows_of

Array = NDArray[Any]
GREYS = (0.0, 255.0)  # of a package that reads files, where its config gives no range


class _Scan(NamedTuple):
    """A scan that was read, with the mask of the structure that was asked for."""

    path: Path
    volume: Volume
    mask: Array | None


def pictures_of(
    about: Input, scans: list[tuple[Path, str | None]], *, to_files: bool
) -> tuple[list[Array], dict[str, Any]]:
    """The pictures of scans as a model's config wants them.

    Values are cut to the config's range where it has a unit, and are otherwise mapped to it by the
    window of their series (`medzoo.medical.windows`).

    Parameters
    ----------
    about
        The input of the model.
    scans
        DICOM series, DICOM files and NIfTI files, each with the structure that is wanted of it.
    to_files
        Whether the package reads files: grey levels from 0 to 255, where the config has no range.

    Returns
    -------
    stacks, notes
        (n, H, W) or (1, D, H, W) for each scan; and what the provenance holds of their windows.
    """
    read = _read_scans(about, scans)
    if about.kind == "mask":
        return [_slices(about, scan, lambda values: values) for scan in read], {}
    names = [f"inputs: {scan.path}" for scan in read]
    bounds = about.range or (GREYS if to_files else None)
    if about.unit:
        _require_unit(about, read)
    if bounds is None:
        return [_slices(about, scan, lambda values: values) for scan in read], {}
    if about.unit:
        low, high = bounds
        for scan, name in zip(read, names, strict=True):
            tissue = tissue_of(scan.volume, name)
            warn_of_few_greys(tissue, (low + high) / 2, high - low, name)
        filled = [s._replace(volume=fill_padding(s.volume, low)) for s in read]
        return [_slices(about, s, lambda values: np.clip(values, low, high)) for s in filled], {}
    windows = windows_of([scan.volume for scan in read], names)
    stacks = [
        _slices(
            about,
            scan._replace(volume=fill_padding(scan.volume, chosen.low)),
            partial(_greys, chosen, bounds),
        )
        for scan, chosen in zip(read, windows, strict=True)
    ]
    return stacks, {"windows": _window_record(stacks, windows)}


def _read_scans(about: Input, scans: list[tuple[Path, str | None]]) -> list[_Scan]:
    """The scans in their order. Single DICOM files of one series are read alike."""
    files = [path for path, _ in scans if _is_one_picture(path)]
    pictures = iter(read_pictures(files))
    read = []
    for path, structure in scans:
        mask = None
        if structure is not None:
            volume, mask = read_mask(path, structure)
        elif _is_one_picture(path):
            volume = next(pictures)
        elif path.is_dir():
            volume = read_series(path)
        else:
            volume = read_nifti(path, labels=about.kind == "mask")
        read.append(_Scan(path, volume, mask))
    return read


def _is_one_picture(path: Path) -> bool:
    return path.is_file() and not path.name.lower().endswith(NIFTI)


def _slices(about: Input, scan: _Scan, scale: Callable[[Array], Array]) -> Array:
    """The pictures of one scan, (n, H, W) or (1, D, H, W), as the config wants them."""
    path, volume, mask = scan
    if about.kind == "mask":
        volume = replace(volume, voxels=_labels(volume.voxels, path) if mask is None else mask)
    axes = 3 if about.kind == "volume" else 2
    size = about.shape[1:] if about.spacing and about.shape else (None,) * axes
    mm = about.spacing or (None,) * axes
    if axes == 3:
        middle = (
            (None,) * 3
            if mask is None
            else [(np.min(at) + np.max(at)) / 2 for at in np.nonzero(mask)]
        )
        return scale(resample(volume, mm, size, middle).voxels)[None]
    if mask is None:
        return scale(resample(volume, (None, *mm), (None, *size)).voxels)
    images, masks = slices_with(volume, mask, size, mm, at=about.at or None)
    return masks if about.kind == "mask" else scale(images)


def _require_unit(about: Input, read: list[_Scan]) -> None:
    """An error where a DICOM file is in another unit than the config's."""
    for path, volume, _ in read:
        if volume.series and volume.unit != about.unit:
            unit = volume.unit or "no unit that is known"
            raise InputError(f"inputs: {path} is in {unit}, not in {about.unit}.", about.help)


def _greys(chosen: Window, bounds: tuple[float, float], values: Array) -> Array:
    """``values`` with the window of their series mapped to ``bounds``."""
    low, high = (np.float32(bound) for bound in bounds)
    mapped: Array = window(values, chosen.centre, chosen.width) * (high - low) + low
    return np.rint(mapped).astype(np.uint8) if bounds == GREYS else mapped


def _window_record(stacks: list[Array], windows: list[Window]) -> list[dict[str, Any]]:
    """Each different window, where it comes from, and the number of pictures that it made."""
    counts: dict[Window, int] = {}
    for stack, chosen in zip(stacks, windows, strict=True):
        counts[chosen] = counts.get(chosen, 0) + len(stack)
    return [
        {"centre": w.centre, "width": w.width, "source": w.source, "count": count}
        for w, count in counts.items()
    ]


def _labels(values: Array, path: Path) -> Array:
    """The numbers of a mask in the smallest type that has them."""
    if not (values == np.rint(values)).all() or values.min() < 0:
        raise InputError(
            f"inputs: {path} holds other than whole numbers from 0, and a mask is wanted.",
            "Of a series with an RTSTRUCT, name the structure: FOLDER#Parotid R.",
        )
    return values.astype(np.min_scalar_type(int(values.max())))
