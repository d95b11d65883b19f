"""Scans as the pictures that a model works on: its slices or volumes, spacing, unit and range."""

from __future__ import annotations

import re
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
from .patients import read_mask
from .resampling import resample, slices_with
from .scans import Contents, contents_of, read_colour, read_picture, read_pictures, read_series
from .segments import read_segmentation, segmentation_in, series_of
from .volumes import Volume, window
from .windows import Window, fill_padding, tissue_of, warn_of_few_greys, windows_of

Array = NDArray[Any]
GREYS = (0.0, 255.0)  # of a package that reads files, where its config gives no range


class _Scan(NamedTuple):
    """A scan that was read, with the mask of the structure that was asked for.

    Of a picture in colour, the slices of the volume are red, green and blue, and ``most`` is the
    highest number that its bits hold.
    """

    path: Path
    volume: Volume
    mask: Array | None = None
    most: float | None = None


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
        if about.spacing:  # resampling would blend padding with what is beside it
            read = [
                _with_darkest_padding(scan, name) for scan, name in zip(read, names, strict=True)
            ]
        return [_slices(about, scan, _stored(scan.most)) for scan in read], {}
    if about.unit:
        low, high = bounds
        for scan, name in zip(read, names, strict=True):
            tissue = tissue_of(scan.volume, name)
            warn_of_few_greys(tissue, (low + high) / 2, high - low, name)
        filled = [s._replace(volume=fill_padding(s.volume, low)) for s in read]
        return [_slices(about, s, lambda values: np.clip(values, low, high)) for s in filled], {}
    grey = [k for k, scan in enumerate(read) if scan.most is None]
    chosen = iter(windows_of([read[k].volume for k in grey], [names[k] for k in grey]))
    windows = [
        next(chosen) if s.most is None else Window(s.most / 2, s.most, "all colours") for s in read
    ]
    stacks = [
        _slices(
            about,
            scan._replace(volume=fill_padding(scan.volume, shown.low)),
            partial(_greys, shown, bounds),
        )
        for scan, shown in zip(read, windows, strict=True)
    ]
    return stacks, {"windows": _window_record(stacks, windows)}


def _read_scans(about: Input, scans: list[tuple[Path, str | None]]) -> list[_Scan]:
    """The scans in their order. Single DICOM files of one series are read alike."""
    single = {path for path, part in scans if part is None and _is_one_picture(path)}
    pictures = iter(read_pictures([path for path, part in scans if path in single]))
    return [
        _Scan(path, next(pictures)) if path in single else _read_scan(about, path, part)
        for path, part in scans
    ]


def _is_one_picture(path: Path) -> bool:
    """Whether a path is a DICOM file of one grey picture."""
    if not path.is_file() or path.name.lower().endswith(NIFTI):
        return False
    held = contents_of(path)
    return held.frames == 1 and not held.colour and not held.segmentation


def _read_scan(about: Input, path: Path, part: str | None) -> _Scan:
    """One scan, or a part of it: a structure, a segment, or ``frame=1``."""
    named = re.fullmatch(r"frame=(\d+)", part or "")
    frame = int(named[1]) if named else None
    structure = None if named else part
    is_nifti = path.is_file() and path.name.lower().endswith(NIFTI)
    if is_nifti and structure is not None:
        raise InputError(
            f"inputs: {path} is NIfTI, which has no part {part!r}.", "Give the file alone."
        )
    try:
        if is_nifti:
            return _Scan(path, read_nifti(path, labels=about.kind == "mask", frame=frame))
        if path.is_file() and (held := contents_of(path)) and (held.segmentation or held.colour):
            return _read_special(about, path, structure, frame, held)
        if structure is not None:
            return _read_structure(path, structure)
        if path.is_dir() or held.placed:
            return _Scan(path, read_series(path, frame=frame))
        return _Scan(path, read_picture(path, frame=frame))
    except InputError as error:
        if "frame=" in error.hint and frame is None:
            hint = f"{error.hint} As an input: '{path}#frame=0'."
            raise InputError(error.problem, hint) from error
        if "series=" in error.hint:
            chosen = error.hint.rstrip(".")
            hint = f"{chosen}. As an input: a list of the files of one series."
            raise InputError(error.problem, hint) from error
        raise


def _read_special(
    about: Input, path: Path, structure: str | None, frame: int | None, held: Contents
) -> _Scan:
    """A segmentation, or a picture in colour."""
    if held.segmentation and about.kind != "mask":
        raise InputError(
            f"inputs: {path} is a segmentation, and {about.name} is a picture.", about.help
        )
    if held.segmentation:
        segment = read_segmentation(path, structure)
        return _Scan(path, segment, None if structure is None else segment.voxels)
    colours = read_colour(path, frame=frame)
    grey = (colours == colours[..., :1]).all()
    if about.kind != "image" or (about.shape[:1] == (1,) and not grey):
        wanted = "one channel is needed" if about.kind == "image" else f"a {about.kind} is needed"
        raise InputError(f"inputs: {path} has colours, and {wanted}.", about.help)
    channels = colours[..., :1] if about.shape[:1] == (1,) else colours
    volume = Volume(
        np.moveaxis(channels, -1, 0).astype(np.float32),
        (1.0, *held.spacing),
        np.full(3, np.nan),
        np.eye(3)[::-1].copy(),
    )
    bits = min(held.bits, 8 * colours.dtype.itemsize)
    return _Scan(path, volume, None, float(2**bits - 1))


def _read_structure(path: Path, structure: str) -> _Scan:
    """A series and the mask of a structure, which an RTSTRUCT or a SEG beside it has."""
    if path.is_dir() and (segmentation := segmentation_in(path)) is not None:
        volume = read_series(path, series=series_of(segmentation))
        return _Scan(path, volume, read_segmentation(segmentation, structure, like=volume).voxels)
    return _Scan(path, *read_mask(path, structure))


def _slices(about: Input, scan: _Scan, scale: Callable[[Array], Array]) -> Array:
    """The pictures of one scan, (n, H, W) or (1, D, H, W), as the config wants them."""
    path, volume, mask, _ = scan
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
        stack = scale(resample(volume, (None, *mm), (None, *size)).voxels)
        return stack if scan.most is None else stack[None]
    images, masks = slices_with(volume, mask, size, mm, at=about.at or None)
    return masks if about.kind == "mask" else scale(images)


def _require_unit(about: Input, read: list[_Scan]) -> None:
    """An error where a DICOM file is in another unit than the config's."""
    for path, volume, _, most in read:
        if most is not None:
            raise InputError(f"inputs: {path} has colours, not {about.unit}.", about.help)
        if volume.series and volume.unit != about.unit:
            unit = volume.unit or "no unit that is known"
            raise InputError(f"inputs: {path} is in {unit}, not in {about.unit}.", about.help)


def _with_darkest_padding(scan: _Scan, name: str) -> _Scan:
    """A scan whose padding has the lowest value of its tissue."""
    darkest = float(tissue_of(scan.volume, name).min())
    return scan._replace(volume=fill_padding(scan.volume, darkest))


def _stored(most: float | None) -> Callable[[Array], Array]:
    """Values as they are; colours, whose highest number is ``most``, as the numbers they were."""
    if most is None:
        return lambda values: values
    return lambda values: np.rint(values).astype(np.min_scalar_type(int(most)))


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
            f"inputs: {path} holds other than whole numbers from 0, but a mask is needed.",
            "For a series with an RTSTRUCT, name the structure: FOLDER#Parotid R.",
        )
    return values.astype(np.min_scalar_type(int(values.max())))
