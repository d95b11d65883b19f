"""Scans as the pictures that a model takes: its slices or volumes, spacing, unit and range."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config import Input
from ..errors import InputError
from .grids import Grid, Place
from .nifti import NIFTI, read_nifti
from .patients import read_mask
from .resampling import middle_of, require_not_empty, resample, slices_with
from .scans import Contents, contents_of, read_colour, read_picture, read_pictures, read_series
from .segments import read_segmentation, segmentation_in, series_of
from .volumes import Volume, window
from .windows import Window, fill_padding, tissue_of, warn_of_few_greys, windows_of

Array = NDArray[Any]
GREYS = (0.0, 255.0)  # the range of a package that reads files, if its config gives none


class _Scan(NamedTuple):
    """A scan that was read, with the mask of the structure that was asked for.

    For a picture in colour, the slices of the volume are red, green and blue, and ``most`` is the
    highest number that its bits can hold.
    """

    path: Path
    volume: Volume
    mask: Array | None = None
    most: float | None = None

    @property
    def name(self) -> str:
        """As errors and warnings name it."""
        return f"inputs: {self.path}"


class Stack(NamedTuple):
    """The pictures of one scan, (n, H, W) or (1, D, H, W), and where each of them lies.

    The place of a picture is None if the scan does not state it, or if the picture is a cut around
    a structure.
    """

    pictures: Array
    places: list[Place | None]


def pictures_of(
    config: Input, scans: list[tuple[Path, str | None]], *, to_files: bool
) -> tuple[list[Stack], dict[str, Any]]:
    """The pictures of scans, as the config of a model's input states them.

    If the config has a unit, values are cut to its range. Otherwise the window of each series is
    mapped to the range (`medzoo.medical.windows`).

    Parameters
    ----------
    config
        The input of the model.
    scans
        DICOM series, DICOM files and NIfTI files, each with the structure that is asked for.
    to_files
        Whether the package reads files: then values become 0 to 255 if the config has no range.

    Returns
    -------
    stacks, notes
        The pictures of each scan; and a record of their windows for the provenance.
    """
    read = _read_scans(config, scans)
    if config.kind == "mask":
        return [_slices(config, scan, _unchanged) for scan in read], {}
    bounds = config.range or (GREYS if to_files else None)
    if config.unit:
        _require_unit(config, read)
    if bounds is None:
        return _stored_values(config, read), {}
    if config.unit:
        return _cut_to_range(config, read, bounds), {}
    windows = _windows_of_scans(read)
    stacks = []
    for scan, chosen in zip(read, windows, strict=True):
        padded = _with_padding(scan, chosen.low)
        stacks.append(_slices(config, padded, partial(_greys, chosen, bounds)))
    return stacks, {"windows": _window_record(stacks, windows)}


def _stored_values(config: Input, scans: list[_Scan]) -> list[Stack]:
    """Pictures with the values of the files."""
    stacks = []
    for scan in scans:
        padded = scan
        if config.spacing:  # resampling would blend padding with the voxels beside it
            darkest = float(tissue_of(scan.volume, scan.name).min())
            padded = _with_padding(scan, darkest)
        stacks.append(
            _slices(config, padded, _unchanged if scan.most is None else _whole(scan.most))
        )
    return stacks


def _cut_to_range(config: Input, scans: list[_Scan], bounds: tuple[float, float]) -> list[Stack]:
    """Pictures in the unit of the config, cut to its range."""
    low, high = bounds
    for scan in scans:
        tissue = tissue_of(scan.volume, scan.name)
        warn_of_few_greys(tissue, (low + high) / 2, high - low, scan.name)
    padded = [_with_padding(scan, low) for scan in scans]
    return [_slices(config, scan, partial(np.clip, a_min=low, a_max=high)) for scan in padded]


def _windows_of_scans(scans: list[_Scan]) -> list[Window]:
    """One window per scan; colours are shown in their full range."""
    grey = [scan for scan in scans if scan.most is None]
    chosen = iter(windows_of([s.volume for s in grey], [s.name for s in grey]))
    windows = []
    for scan in scans:
        if scan.most is None:
            windows.append(next(chosen))
        else:
            windows.append(Window(scan.most / 2, scan.most, "all colours"))
    return windows


def _with_padding(scan: _Scan, value: float) -> _Scan:
    """A scan with ``value`` as its padding."""
    return scan._replace(volume=fill_padding(scan.volume, value))


def _read_scans(config: Input, scans: list[tuple[Path, str | None]]) -> list[_Scan]:
    """The scans in their order. Single DICOM files of one series are read alike.

    Volumes are turned to axial slices, however they were acquired and stored. Single DICOM files of
    one series are one volume then, in the place of the first of them.
    """
    single = [path for path, part in scans if part is None and _is_one_picture(path)]
    if config.kind == "volume":
        volumes = _volumes_of_files(single)
    else:
        volumes = dict(zip(single, read_pictures(single), strict=True))
    others = set(single) - volumes.keys()  # whose series comes with its first file
    read = []
    for path, part in scans:
        if part is None and path in volumes:
            read.append(_Scan(path, volumes[path]))
        elif part is not None or path not in others:
            read.append(_read_scan(config, path, part))
    return [_axial(scan) for scan in read] if config.kind == "volume" else read


def _volumes_of_files(paths: list[Path]) -> dict[Path, Volume]:
    """The volume of each series, by the first of its files; files without a place stay single."""
    groups: dict[str, list[Path]] = {}
    for number, path in enumerate(paths):
        contents = contents_of(path)
        key = contents.series if contents.placed and contents.series else f"#{number}"
        groups.setdefault(key, []).append(path)
    volumes = {}
    for files in groups.values():
        volumes[files[0]] = read_series(files) if len(files) > 1 else read_picture(files[0])
    return volumes


def _axial(scan: _Scan) -> _Scan:
    """A scan and its mask as axial slices."""
    mask = scan.mask
    if mask is not None:
        mask = replace(scan.volume, voxels=mask, padding=None).axial().voxels
    return scan._replace(volume=scan.volume.axial(), mask=mask)


def _is_one_picture(path: Path) -> bool:
    """Whether a path is a DICOM file of one grey picture."""
    if not path.is_file() or path.name.lower().endswith(NIFTI):
        return False
    contents = contents_of(path)
    return contents.frames == 1 and not contents.colour and not contents.segmentation


def _read_scan(config: Input, path: Path, part: str | None) -> _Scan:
    """One scan, or a part of it: a structure, a segment, or ``frame=1``."""
    named = re.fullmatch(r"frame=(\d+)", part or "")
    frame = int(named[1]) if named else None
    structure = None if named else part
    is_nifti = path.is_file() and path.name.lower().endswith(NIFTI)
    if is_nifti and structure is not None:
        raise InputError(
            f"inputs: {path} is NIfTI, which has no part {part!r}.",
            "Give the path of the file, without #.",
        )
    try:
        if is_nifti:
            return _Scan(path, read_nifti(path, labels=config.kind == "mask", frame=frame))
        if (
            path.is_file()
            and (contents := contents_of(path))
            and (contents.segmentation or contents.colour)
        ):
            return _read_special(config, path, structure, frame, contents)
        if structure is not None:
            return _read_structure(path, structure)
        if path.is_dir() or contents.placed:
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
    config: Input, path: Path, structure: str | None, frame: int | None, contents: Contents
) -> _Scan:
    """A segmentation, or a picture in colour."""
    if contents.segmentation and config.kind != "mask":
        raise InputError(
            f"inputs: {path} is a segmentation, and {config.name} is a picture.", config.help
        )
    if contents.segmentation:
        segment = read_segmentation(path, structure)
        return _Scan(path, segment, None if structure is None else segment.voxels)
    colours = read_colour(path, frame=frame)
    grey = (colours == colours[..., :1]).all()
    if config.kind != "image" or (config.shape[:1] == (1,) and not grey):
        wanted = "one channel is needed" if config.kind == "image" else f"a {config.kind} is needed"
        raise InputError(f"inputs: {path} has colours, and {wanted}.", config.help)
    channels = colours[..., :1] if config.shape[:1] == (1,) else colours
    volume = Volume(
        np.moveaxis(channels, -1, 0).astype(np.float32),
        (1.0, *contents.spacing),
        np.full(3, np.nan),
        np.eye(3)[::-1].copy(),
    )
    bits = min(contents.bits, 8 * colours.dtype.itemsize)
    return _Scan(path, volume, None, float(2**bits - 1))


def _read_structure(path: Path, structure: str) -> _Scan:
    """A series and the mask of a structure, from an RTSTRUCT or a SEG in the same folder."""
    if path.is_dir() and (segmentation := segmentation_in(path)) is not None:
        volume = read_series(path, series=series_of(segmentation))
        return _Scan(path, volume, read_segmentation(segmentation, structure, like=volume).voxels)
    return _Scan(path, *read_mask(path, structure))


def _slices(config: Input, scan: _Scan, scale: Callable[[Array], Array]) -> Stack:
    """The pictures of one scan, as the config wants them."""
    path, volume, mask, _ = scan
    if config.kind == "mask":
        volume = replace(volume, voxels=_labels(volume.voxels, path) if mask is None else mask)
    axes = 3 if config.kind == "volume" else 2
    size = config.shape[1:] if config.spacing and config.shape else (None,) * axes
    mm: tuple[float | None, ...] = config.spacing or (None,) * axes
    if axes == 3:
        one_slice = [n == 1 and s is None for n, s in zip(volume.voxels.shape, size, strict=True)]
        mm = tuple(None if one else m for one, m in zip(one_slice, mm, strict=True))
        middle: list[float | None] = [None] * 3
        if mask is not None:
            require_not_empty(mask)
            middle = middle_of(mask, size, mm, volume.spacing)
        taken = resample(volume, mm, size, middle)
        return Stack(scale(taken.voxels)[None], [_place(volume, taken, size)])
    if mask is None:
        taken = resample(volume, (None, *mm), (None, *size))
        stack = scale(taken.voxels)
        if scan.most is not None:
            return Stack(stack[None], [None])
        return Stack(stack, [_place(volume, taken, size, k) for k in range(len(stack))])
    images, masks = slices_with(volume, mask, size, mm, at=config.at or None)
    pictures = masks if config.kind == "mask" else scale(images)
    return Stack(pictures, [None] * len(pictures))


def _place(
    volume: Volume, taken: Volume, size: tuple[int | None, ...], number: int | None = None
) -> Place | None:
    """The place of a volume, or of one slice. A cut is itself the grid that samples go back to."""
    at_model = Grid.of(taken, number)
    own = Grid.of(volume, number) if size[-1] is None else at_model
    return None if own is None or at_model is None else Place(own, at_model)


def _require_unit(config: Input, read: list[_Scan]) -> None:
    """An error if a DICOM file has another unit than the config."""
    for scan in read:
        if scan.most is not None:
            raise InputError(f"{scan.name} has colours, not {config.unit}.", config.help)
        if scan.volume.series and scan.volume.unit != config.unit:
            unit = scan.volume.unit or "no unit that is known"
            raise InputError(f"{scan.name} is in {unit}, not in {config.unit}.", config.help)


def _unchanged(values: Array) -> Array:
    return values


def _whole(most: float) -> Callable[[Array], Array]:
    """Round values to whole numbers, in the smallest type that can hold ``most``."""
    return lambda values: np.rint(values).astype(np.min_scalar_type(int(most)))


def _greys(chosen: Window, bounds: tuple[float, float], values: Array) -> Array:
    """``values`` with the window of their series mapped to ``bounds``."""
    low, high = np.array(bounds, np.float32)
    mapped: Array = window(values, chosen.centre, chosen.width) * (high - low) + low
    return np.rint(mapped).astype(np.uint8) if bounds == GREYS else mapped


def _window_record(stacks: list[Stack], windows: list[Window]) -> list[dict[str, Any]]:
    """Each different window, its source, and the number of pictures that it was used for."""
    counts: Counter[Window] = Counter()
    for stack, chosen in zip(stacks, windows, strict=True):
        counts[chosen] += len(stack.pictures)
    record = []
    for chosen, count in counts.items():
        record.append({**asdict(chosen), "count": count})
    return record


def _labels(values: Array, path: Path) -> Array:
    """The numbers of a mask in the smallest type that can hold them."""
    if not (values == np.rint(values)).all() or values.min() < 0:
        raise InputError(
            f"inputs: {path} holds other than whole numbers from 0, but a mask is needed.",
            "For a series with an RTSTRUCT, name the structure: FOLDER#Parotid R.",
        )
    return values.astype(np.min_scalar_type(int(values.max())))
