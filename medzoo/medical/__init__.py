"""CT and MR from DICOM and NIfTI files, and masks from the contours of an RTSTRUCT.

>>> from medzoo import medical
>>> ct = medical.read_series("patient7/")  # (D, H, W) in HU
>>> structures = medical.read_structures("patient7/")
>>> mask = structures.mask(ct, "R parotid|Parotid R|Rt Parotid")
>>> images, masks = medical.slices_with(ct, mask, size=128, spacing=1.0)
>>> images = medical.window(images, centre=40, width=400)  # [0, 1]

`medical.cases` goes through the patients of a folder. pydicom and nibabel, which the extra
``medical`` brings, are imported when something is read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from .. import checks
from ..errors import InputError
from ..settings import user_path
from . import nifti, scans, segments, structures, volumes, windows
from .nifti import NIFTI
from .pictures import pictures_of
from .structures import Case, Structures, split_structure
from .volumes import Volume
from .windows import Window

F = TypeVar("F", bound=Callable[..., Any])

__all__ = [
    "NIFTI",
    "Case",
    "Structures",
    "Volume",
    "Window",
    "cases",
    "find_roi",
    "pictures_of",
    "read_colour",
    "read_mask",
    "read_nifti",
    "read_picture",
    "read_pictures",
    "read_segmentation",
    "read_series",
    "read_structures",
    "resample",
    "scans_in",
    "slices_with",
    "split_structure",
    "window",
    "windows_of",
]


def _one_file(function: F) -> F:
    """A function whose file may be missing, or a folder."""

    @functools.wraps(function)
    def reading(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except OSError as error:
            raise InputError(f"It cannot be read: {error}.", "Give a file.") from error

    return cast("F", reading)


def _array(value: Any, name: str) -> Any:
    """An array of numbers, or of True and False."""
    try:
        array = np.asarray(value)
    except Exception as error:
        raise InputError(
            f"{name}={checks.shown(value)} is not an array of numbers.", f"{error}."
        ) from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name}={checks.shown(value)} is not an array of numbers.", "Give one.")
    return array


def _names(value: Any, name: str) -> list[str]:
    """Texts."""
    try:
        values = None if isinstance(value, str) else list(value)
    except Exception:
        values = None
    if values is None or not all(isinstance(v, str) for v in values):
        raise InputError(f"{name}={checks.shown(value)} is not a list of texts.", "Give one.")
    return values


def _pixels(value: Any, name: str) -> int:
    return checks.whole(value, name, "a number of voxels", 0, checks.MOST)


def _paths(value: Any, name: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{name}={checks.shown(value)} is not a list of paths.", "Give one.")
    return checks.paths(value, name)


def _frame(value: Any, name: str) -> Any:
    number = checks.plain(value)
    if number is not None and not isinstance(number, (int, float, str)):
        raise InputError(
            f"{name}={checks.shown(value)} is not the number of a frame.",
            "Give a whole number from 0.",
        )
    return number  # what reads knows how many there are


def _segment(value: Any, name: str) -> Any:
    number = checks.plain(value)
    if number is not None and (isinstance(number, bool) or not isinstance(number, (int, str))):
        raise InputError(
            f"{name}={checks.shown(value)} is neither a number nor a label of a segment.",
            "Give a whole number from 1, or a text.",
        )
    return number


_volume = checks.instance(Volume, "medical.read_series")
_three = checks.several(checks.number, 3)
_optional = checks.optional

read_series = checks.checked(path=checks.paths, frame=_frame)(scans.read_series)
read_picture = checks.checked(path=checks.path, frame=_frame)(_one_file(scans.read_picture))
read_pictures = checks.checked(paths=_paths)(_one_file(scans.read_pictures))
read_colour = checks.checked(path=checks.path, frame=_frame)(_one_file(scans.read_colour))
read_mask = checks.checked(path=checks.path, pattern=checks.text, frame=_frame)(
    structures.read_mask
)
windows_of = windows.windows_of
read_segmentation = checks.checked(
    path=checks.path,
    segment=_segment,
    like=checks.optional(_volume),
)(_one_file(segments.read_segmentation))
read_nifti = checks.checked(path=checks.path, frame=_frame)(_one_file(nifti.read_nifti))
read_structures = checks.checked(path=checks.paths)(structures.read_structures)
cases = checks.checked(folder=checks.paths)(structures.cases)
find_roi = checks.checked(names=_names, pattern=checks.text)(structures.find_roi)
scans_in = checks.checked(path=user_path)(structures.scans_in)
window = checks.checked(values=_array, centre=checks.number, width=checks.number)(volumes.window)
resample = checks.checked(
    volume=_volume,
    spacing=_three,
    size=checks.several(_pixels, 3),
    centre=_three,
    fill=_optional(checks.number),
)(volumes.resample)
slices_with = checks.checked(
    volume=_volume,
    mask=_array,
    size=_optional(checks.either(_pixels, checks.several(_pixels, 2))),
    spacing=_optional(checks.either(checks.number, checks.several(checks.number, 2))),
    at=_optional(checks.several(checks.number, 2)),
    fill=_optional(checks.number),
)(volumes.slices_with)
