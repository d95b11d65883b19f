"""The pixels of DICOM files: decoded, in their unit, bright where a viewer shows them bright."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .files import numbers, read_dicom
from .volumes import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

Array = NDArray[Any]
Bounds = tuple[float, float]


@dataclass(frozen=True)
class _Slice:
    """One picture before MONOCHROME1 is inverted, and what that needs.

    Parameters
    ----------
    volume
        Of one slice.
    extremes
        The lowest and the highest value that the stored bits can hold, in the unit of the voxels,
        where high values are dark; else None.
    """

    volume: Volume
    extremes: Bounds | None


def read_slices(files: Sequence[Path]) -> list[Volume]:
    """DICOM pictures as volumes of one slice each.

    MONOCHROME1, where high values are dark, is inverted: the lowest and the highest value that the
    stored bits can hold change places. The slices of one series are inverted alike.

    Parameters
    ----------
    files
        One file per picture, of one series or of several.
    """
    slices = [_read(file) for file in files]
    extremes: dict[str, list[Bounds]] = {}
    for k, s in enumerate(slices):
        if s.extremes:
            extremes.setdefault(series_key(s.volume, k), []).append(s.extremes)
    return [
        _inverted(s.volume, extremes[series_key(s.volume, k)]) if s.extremes else s.volume
        for k, s in enumerate(slices)
    ]


def series_key(volume: Volume, number: int) -> str:
    """What slices of one series have in common: scaling, for example, is decided once for each.

    Projections such as mammograms have no position in the patient. Each is a picture of its own,
    even where several share a series. ``number`` tells them apart.
    """
    placed = volume.series and np.isfinite(volume.origin).all()
    return f"{volume.series} {volume.frame}" if placed else f"#{number}"


def _inverted(volume: Volume, extremes: list[Bounds]) -> Volume:
    """A volume whose values, and windows, are turned over within the bounds of its series."""
    total = min(low for low, _ in extremes) + max(high for _, high in extremes)
    windows = tuple(shown and (total - shown[0], shown[1]) for shown in volume.windows)
    return replace(
        volume,
        voxels=(total - volume.voxels.astype(np.float64)).astype(np.float32),
        window=volume.window and (total - volume.window[0], volume.window[1]),
        windows=windows,
    )


def _read(file: Path) -> _Slice:
    """One DICOM picture: values rescaled; 1 mm thick and without spacing where it does not say."""
    ds = read_dicom(file)
    if (
        "PixelData" not in ds
        or (numbers(ds, "SamplesPerPixel") or [1]) != [1]
        or (numbers(ds, "NumberOfFrames") or [1]) != [1]
    ):
        raise InputError(
            f"{file} is no single picture of grey levels.",
            "Colour and several frames are not read: save them as PNG.",
        )
    try:
        stored = ds.pixel_array
    except (
        Exception
    ) as error:  # RuntimeError where no decoder is installed, anything where data are broken
        kind = ds.file_meta.TransferSyntaxUID
        hint = "Get it anew."
        if kind.is_compressed:
            hint = "`pip install pylibjpeg[all]` brings further decoders; or decompress it, as dcmtk's dcmdjpeg does."
        raise InputError(
            f"{file} ({kind.name}) cannot be decoded: {' '.join(str(error).split())[:200]}.", hint
        ) from error
    return _rescaled(ds, stored)


def _rescaled(ds: Dataset, stored: Array) -> _Slice:
    """``stored`` pixels (H, W) with all that their header says of them."""
    from pydicom.pixels.processing import apply_modality_lut

    for keyword in ("RescaleSlope", "RescaleIntercept"):
        numbers(ds, keyword)  # an error that names the element
    hounsfield = (
        ds.get("Modality") == "CT"
        and "RescaleIntercept" in ds
        and ds.get("RescaleType", "HU") in {"HU", "", None}
    )
    extremes = None
    if ds.get("PhotometricInterpretation") == "MONOCHROME1" and not hounsfield:
        low, high = apply_modality_lut(np.array(_stored_bounds(ds)), ds).tolist()
        extremes = min(low, high), max(low, high)
    spacing = numbers(ds, "PixelSpacing") or numbers(ds, "ImagerPixelSpacing")
    rows, columns = spacing if len(spacing) == 2 else (np.nan, np.nan)
    thick = numbers(ds, "SpacingBetweenSlices") or numbers(ds, "SliceThickness")
    position = numbers(ds, "ImagePositionPatient")
    shown = _window(ds)
    volume = Volume(
        voxels=np.asarray(apply_modality_lut(stored, ds), np.float32)[None],
        spacing=(abs(thick[0]) if thick and thick[0] else 1.0, rows, columns),
        origin=np.array(position if len(position) == 3 else [np.nan] * 3),
        axes=_axes(numbers(ds, "ImageOrientationPatient")),
        unit="HU" if hounsfield else "",
        window=shown,
        series=str(ds.get("SeriesInstanceUID", "")),
        frame=str(ds.get("FrameOfReferenceUID", "")),
        windows=(shown,),
        padding=_padding(ds, stored),
    )
    return _Slice(volume, extremes)


def _axes(orientation: list[float]) -> NDArray[np.float64]:
    """Directions of slices, rows and columns; those of an axial slice where a file does not say."""
    axes: NDArray[np.float64] = np.eye(3)[::-1].copy()
    if len(orientation) == 6:
        along_row, along_column = np.reshape(orientation, (2, 3))
        axes[:] = np.cross(along_row, along_column), along_column, along_row
    return axes


def _stored_bounds(ds: Dataset) -> tuple[int, int]:
    """The lowest and the highest number that the stored bits can hold."""
    bits = int(ds.get("BitsStored") or ds.get("BitsAllocated") or 16)
    signed = ds.get("PixelRepresentation") == 1
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def _window(ds: Dataset) -> Bounds | None:
    """Centre and width of the first window that a file states, if that has a width above 0."""
    centre, width = numbers(ds, "WindowCenter"), numbers(ds, "WindowWidth")
    if not centre or not width or not np.isfinite([centre[0], width[0]]).all() or width[0] <= 0:
        return None
    return centre[0], width[0]


def _padding(ds: Dataset, stored: Array) -> NDArray[np.bool_] | None:
    """Where pixels are padding: PixelPaddingValue, and all up to PixelPaddingRangeLimit."""
    value = numbers(ds, "PixelPaddingValue")
    if not value:
        return None
    limit = numbers(ds, "PixelPaddingRangeLimit") or value
    bits = 8 * stored.dtype.itemsize
    signed = stored.dtype.kind == "i"
    # Some scanners write -2000 as 63536, or the reverse: the sign is that of the pixels.
    first, last = sorted(_with_sign(v[0], bits, signed) for v in (value, limit))
    padding: NDArray[np.bool_] = (stored >= first) & (stored <= last)
    return padding[None] if padding.any() else None


def _with_sign(number: float, bits: int, signed: bool) -> float:
    if signed and number >= 2 ** (bits - 1):
        return number - float(2**bits)
    return number + float(2**bits) if not signed and number < 0 else number
