"""DICOM series and pictures as volumes, in the order and the units that belong to them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..settings import user_path
from .files import PLACE, Given, files_of, headers_of, is_dicom, is_slice, library, reading, told
from .pixels import (
    colours_of,
    frames_in,
    is_colour,
    one_frame,
    pixel_spacing,
    read_slices,
    require_no_mosaic,
    stored_bits,
)
from .series import only_series, volume_of
from .volumes import Volume

__all__ = [
    "Contents",
    "Given",
    "contents_of",
    "files_of",
    "headers_of",
    "is_dicom",
    "is_slice",
    "library",
    "read_colour",
    "read_picture",
    "read_pictures",
    "read_series",
    "reading",
    "told",
    "volume_of",
]


def read_series(path: Given, *, series: str | None = None, frame: int | None = None) -> Volume:
    """The slices of one DICOM series in the order of their positions.

    Slices stay in the plane in which they were acquired, and follow each other along its normal,
    whatever their files are called and however they are numbered. Values are rescaled by each
    file's slope and intercept: HU for CT.

    Parameters
    ----------
    path
        A folder, whatever else is in it or in its subfolders; a file; or a list of files.
    series
        Which one, where there are several: its SeriesInstanceUID, or all or part of its
        description.
    frame
        Which time, echo or b-value, from 0, where the series has several pictures of each place.

    Returns
    -------
    Volume
        Voxels (D, H, W), float32. A single slice has the spacing of its thickness.

    Raises
    ------
    InputError
        There is no series, or more than one; it has several pictures of each place, and none was
        chosen; slices are missing, doubled, sheared by a tilted
        gantry or differ in size or direction; a file is compressed in a way that nothing installed
        here decodes.
    """
    with reading():
        all_headers = headers_of(path)
        headers = [h for h in all_headers if "Rows" in h and h.get("Modality") != "SEG"]
        slices = [h for h in headers if is_slice(h)] or headers  # a dose, where it is all there is
        if not slices and any(h.get("Modality") == "SEG" for h in all_headers):
            raise InputError(
                f"{told(path)} holds a segmentation, and no DICOM pictures.",
                "`medzoo.medical.read_segmentation` reads it.",
            )
        return volume_of(only_series(slices, path, series), _checked(frame))


def read_picture(path: str | os.PathLike[str], *, frame: int | None = None) -> Volume:
    """One DICOM picture, of any modality, as a volume of one slice; its place in the patient is not
    asked for.

    Parameters
    ----------
    path
        A file.
    frame
        Which of its frames, from 0, where it has several.

    Raises
    ------
    InputError
        It cannot be read, has colours, or has several frames and none was chosen.
    """
    with reading():
        return read_slices([one_frame(user_path(path), _checked(frame))])[0]


def read_pictures(paths: Sequence[str | os.PathLike[str]]) -> list[Volume]:
    """DICOM pictures as `read_picture` reads them; MONOCHROME1 is inverted alike within a series, and
    mosaics of Siemens are refused.
    """
    if not paths:
        return []
    with reading():
        frames = [one_frame(user_path(path), None) for path in paths]
        require_no_mosaic(frames)
        return read_slices(frames)


def read_colour(path: str | os.PathLike[str], *, frame: int | None = None) -> NDArray[Any]:
    """One DICOM picture in colour: RGB, YBR, or a palette.

    Parameters
    ----------
    path
        A file.
    frame
        Which of its frames, from 0, where it has several.

    Returns
    -------
    array
        (H, W, 3): red, green and blue, in the type that is stored; uint8 in most cases.

    Raises
    ------
    InputError
        It cannot be read, has no colours, or has several frames and none was chosen.
    """
    with reading():
        return colours_of(one_frame(user_path(path), _checked(frame)))


class Contents(NamedTuple):
    """What one DICOM file holds."""

    frames: int
    colour: bool
    segmentation: bool
    placed: bool  # whether each frame says where it lies in the patient
    bits: int  # of a number that is read, at most
    spacing: tuple[float, float]  # of rows and columns in mm; NaN where it does not say


def contents_of(path: str | os.PathLike[str]) -> Contents:
    """What one DICOM file holds, from its header."""
    with reading():
        frames = frames_in(user_path(path))
        header = frames[0].header
        return Contents(
            len(frames),
            is_colour(header),
            header.get("Modality") == "SEG",
            all(frame.header.get(name) for frame in frames for name in PLACE),
            16
            if header.get("PhotometricInterpretation") == "PALETTE COLOR"
            else stored_bits(header),
            pixel_spacing(header),
        )


def _checked(frame: int | None) -> int | None:
    if frame is None or (isinstance(frame, (int, np.integer)) and not isinstance(frame, bool)):
        return None if frame is None else int(frame)
    raise InputError(f"frame={frame!r} is not a whole number.", "Frames are counted from 0.")
