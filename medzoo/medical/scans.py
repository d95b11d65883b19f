"""DICOM series and pictures as volumes: slices in their order, values in their unit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..errors import InputError
from ..settings import user_path
from . import arguments
from .files import PLACE, DicomPaths, headers_of, is_slice, reading, shown_path
from .frames import Frame
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

if TYPE_CHECKING:
    from pydicom import Dataset


@checks.checked(path=checks.paths, frame=arguments.frame)
def read_series(path: DicomPaths, *, series: str | None = None, frame: int | None = None) -> Volume:
    """Read the slices of one DICOM series, in the order of their positions.

    Slices keep the plane in which they were acquired. They are sorted along its normal; file names
    and instance numbers are not used. Values are rescaled by the slope and intercept of each file:
    HU for CT.

    Parameters
    ----------
    path : str, os.PathLike, or sequence of them
        A folder, which is read with its subfolders; a file; or a list of files.
    series : str, optional
        Which series, if there are several: its SeriesInstanceUID, or its description or a part of
        it.
    frame : int, optional
        Which time, echo or b-value, from 0, if the series has several pictures at each position.

    Returns
    -------
    Volume
        Voxels (D, H, W), float32. The slice distance of a single slice is its thickness.

    Raises
    ------
    InputError
        There is no series, or there are several and ``series`` does not choose one. The series has
        several pictures at each position and ``frame`` does not choose one. Slices are missing,
        doubled, sheared by a tilted gantry, or differ in size or direction. A file has a
        compression that no installed library can decode.

    Examples
    --------
    >>> ct = medical.read_series("patient7/")
    >>> ct.voxels.shape, ct.unit
    ((12, 64, 64), 'HU')
    >>> ct.spacing
    (3.0, 1.0, 1.0)
    """
    with reading():
        all_headers = headers_of(path)
        pictures, segmentations = _pictures_and_segmentations(all_headers)
        slices = list(filter(is_slice, pictures)) or pictures  # a dose, if there is nothing else
        if segmentations and not slices:
            raise InputError(
                f"{shown_path(path)} holds a segmentation, and no DICOM pictures.",
                "`medzoo.medical.read_segmentation` reads it.",
            )
        return volume_of(only_series(slices, path, series), _frame_number(frame))


def _pictures_and_segmentations(headers: list[Dataset]) -> tuple[list[Dataset], list[Dataset]]:
    pictures, segmentations = [], []
    for header in headers:
        if header.get("Modality") == "SEG":
            segmentations.append(header)
        elif "Rows" in header:
            pictures.append(header)
    return pictures, segmentations


@checks.checked(path=checks.path, frame=arguments.frame)
@arguments.one_file
def read_picture(path: str | os.PathLike[str], *, frame: int | None = None) -> Volume:
    """Read one DICOM picture of any modality as a volume of one slice.

    The file does not have to state the position of the picture in the patient.

    Parameters
    ----------
    path : str or os.PathLike
        A file.
    frame : int, optional
        Which of its frames, from 0, if the file has several.

    Returns
    -------
    Volume
        Voxels (1, H, W), float32.

    Raises
    ------
    InputError
        The file cannot be read, is in colour, or has several frames and ``frame`` does not choose
        one.

    Examples
    --------
    >>> medical.read_picture("slice.dcm").voxels.shape
    (1, 64, 64)
    """
    with reading():
        return read_slices([one_frame(user_path(path), _frame_number(frame))])[0]


@checks.checked(paths=arguments.paths)
@arguments.one_file
def read_pictures(paths: Sequence[str | os.PathLike[str]]) -> list[Volume]:
    """Read single DICOM pictures, each as `read_picture` does, those of one series alike.

    All MONOCHROME1 pictures of a series are inverted with the same limits, so that their values can
    be compared.

    Parameters
    ----------
    paths : list of str or os.PathLike
        Files with one frame per file, of one or of several series.

    Returns
    -------
    list of Volume
        One volume of one slice per file, in the order of ``paths``.

    Raises
    ------
    InputError
        A file cannot be read, is in colour, has several frames, or is a mosaic: all slices of a
        Siemens volume side by side in one picture.

    Examples
    --------
    >>> pictures = medical.read_pictures(["slice.dcm", "patient7/0.dcm"])
    >>> len(pictures), pictures[1].voxels.shape
    (2, (1, 64, 64))
    """
    if not paths:
        return []
    with reading():
        frames = [one_frame(user_path(path), None) for path in paths]
        require_no_mosaic(frames)
        return read_slices(frames)


@checks.checked(path=checks.path, frame=arguments.frame)
@arguments.one_file
def read_colour(path: str | os.PathLike[str], *, frame: int | None = None) -> NDArray[Any]:
    """Read one DICOM picture in colour: RGB, YBR, or with a palette.

    Parameters
    ----------
    path : str or os.PathLike
        A file.
    frame : int, optional
        Which of its frames, from 0, if the file has several.

    Returns
    -------
    array
        (H, W, 3): red, green and blue, in the type that is stored; uint8 in most cases.

    Raises
    ------
    InputError
        The file cannot be read, has no colours, or has several frames and ``frame`` does not choose
        one.

    Examples
    --------
    >>> colours = medical.read_colour("colour.dcm")
    >>> colours.shape, colours.dtype
    ((6, 5, 3), dtype('uint8'))
    """
    with reading():
        return colours_of(one_frame(user_path(path), _frame_number(frame)))


class Contents(NamedTuple):
    """What one DICOM file holds."""

    frames: int
    colour: bool
    segmentation: bool
    series: str  # SeriesInstanceUID; empty if the file has none
    placed: bool  # whether each frame states its position in the patient
    bits: int  # the most bits of a number that is read
    spacing: tuple[float, float]  # of rows and columns in mm; NaN if the file does not state it


def contents_of(path: str | os.PathLike[str]) -> Contents:
    """What one DICOM file holds, from its header."""
    with reading():
        frames = frames_in(user_path(path))
        header = frames[0].header
        has_palette = header.get("PhotometricInterpretation") == "PALETTE COLOR"
        return Contents(
            frames=len(frames),
            colour=is_colour(header),
            segmentation=header.get("Modality") == "SEG",
            series=str(header.get("SeriesInstanceUID", "")),
            placed=all(map(_states_its_place, frames)),
            bits=16 if has_palette else stored_bits(header),
            spacing=pixel_spacing(header),
        )


def _states_its_place(frame: Frame) -> bool:
    return all(frame.header.get(keyword) for keyword in PLACE)


def _frame_number(frame: int | None) -> int | None:
    if frame is None:
        return None
    if isinstance(frame, (int, np.integer)) and not isinstance(frame, bool):
        return int(frame)
    raise InputError(f"frame={frame!r} is not a whole number.", "Frames are counted from 0.")
