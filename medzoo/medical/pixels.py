"""The pixels of DICOM files: decoded, in their unit, bright where a viewer shows them bright."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .files import HEADER, library, numbers, read_dicom
from .frames import Frame, frame_count, frames_of
from .volumes import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

Array = NDArray[Any]
Bounds = tuple[float, float]
EXTENDED_JPEG = "1.2.840.10008.1.2.4.51"
RLE = "1.2.840.10008.1.2.5"
COLOURS = {"RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}


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


def read_slices(frames: Sequence[Frame], *, labels: bool = False) -> list[Volume]:
    """Frames as volumes of one slice each.

    MONOCHROME1, where high values are dark, is inverted: the lowest and the highest value that the
    stored bits can hold change places. The slices of one series are inverted alike.

    Parameters
    ----------
    frames
        Of one series or of several.
    labels
        Whether the numbers of a palette are wanted. A picture with a palette is an error otherwise.

    Raises
    ------
    InputError
        A frame is in colour, cannot be decoded, or has text instead of a number in its header.
    """
    for frame in frames:
        if is_colour(frame.header) and not labels:
            raise InputError(
                f"{frame.file} has colours ({frame.header.PhotometricInterpretation}), and grey "
                "levels are wanted.",
                "`medzoo.medical.read_colour` reads them.",
            )
    slices = list(map(_rescaled, frames, _decoded(frames)))
    extremes: dict[str, list[Bounds]] = {}
    for k, one in enumerate(slices):
        if one.extremes:
            extremes.setdefault(series_key(one.volume, k), []).append(one.extremes)
    volumes = []
    for k, one in enumerate(slices):
        volume = one.volume
        if one.extremes:
            volume = _inverted(volume, extremes[series_key(volume, k)])
        volumes.append(volume)
    return volumes


def require_no_mosaic(frames: Sequence[Frame]) -> None:
    """Refuse mosaics, in which Siemens puts all slices of a volume side by side."""
    for frame in frames:
        if "MOSAIC" in (frame.header.get("ImageType") or []):
            raise InputError(
                f"{frame.file} is a mosaic: the slices of a volume side by side in one picture.",
                "dcm2niix makes a NIfTI volume of it.",
            )


def frames_in(file: Path, *, pixels: bool = True) -> list[Frame]:
    """The frames of one DICOM file, which may be of any modality.

    Raises
    ------
    InputError
        It is not a DICOM file, or holds no picture.
    """
    ds = read_dicom(file, specific_tags=HEADER, stop_before_pixels=True)
    if "Rows" not in ds or (pixels and "Columns" not in ds):
        raise InputError(
            f"{file} holds no picture, or ends within its header.",
            "Give another, or copy it again.",
        )
    return frames_of(ds)


def one_frame(file: Path, frame: int | None) -> Frame:
    """A frame by its number, from 0; None for the only frame.

    Raises
    ------
    InputError
        There is no such frame, or there are several and ``frame`` is None.
    """
    frames = frames_in(file)
    if frame is None and len(frames) > 1:
        raise InputError(
            f"{file} holds {len(frames)} frames.",
            f"Choose one by frame=, from 0 to {len(frames) - 1}.",
        )
    if not 0 <= (frame or 0) < len(frames):
        raise InputError(
            f"{file} has no frame {frame}: it holds {len(frames)}.",
            f"Choose one by frame=, from 0 to {len(frames) - 1}.",
        )
    return frames[frame or 0]


def is_colour(header: Dataset) -> bool:
    """Whether a picture has colours: three channels, or a palette."""
    channels = (numbers(header, "SamplesPerPixel") or [1])[0]
    return channels > 1 or header.get("PhotometricInterpretation") == "PALETTE COLOR"


def colours_of(frame: Frame) -> Array:
    """A picture in red, green and blue, (H, W, 3), in the type that it is stored in."""
    from pydicom.pixels.processing import apply_color_lut

    kind = frame.header.get("PhotometricInterpretation")
    if not is_colour(frame.header) or kind not in COLOURS:
        raise InputError(
            f"{frame.file} is {kind}, which is not read as colours.",
            "Read grey levels with `medzoo.medical.read_picture`; save other colours as RGB.",
        )
    (stored,) = _decoded([frame])  # pydicom makes RGB of YBR
    if kind != "PALETTE COLOR":
        return stored.astype(stored.dtype.newbyteorder("="), copy=False)  # torch takes no other
    ds = read_dicom(frame.file)
    try:
        colours: Array = apply_color_lut(stored, ds)
    except Exception as error:  # a broken palette makes it raise almost anything
        raise InputError(
            f"{frame.file} has a broken palette: {error}.", "Export or copy it again."
        ) from error
    return _in_8_bits(colours[..., :3], ds)


def _in_8_bits(colours: Array, ds: Dataset) -> Array:
    """Colours of a palette with 8 bits, which may be stored in the upper half of 16 bits."""
    if colours.dtype != np.uint16:
        return colours
    entries = colours
    tables = [ds.get(f"{colour}PaletteColorLookupTableData") for colour in ("Red", "Green", "Blue")]
    if all(isinstance(table, bytes) for table in tables):
        entries = np.frombuffer(b"".join(tables), np.uint16)
    if (entries % 256).any() and (entries % 257).any():
        return colours
    return (colours >> 8).astype(np.uint8)


def series_key(volume: Volume, number: int) -> str:
    """A key that slices of one series share: their scaling, for example, is decided together.

    Projections such as mammograms have no position in the patient. Each of them is a separate
    picture, even if several share a series: the key is then the ``number`` of the picture.
    """
    placed = volume.series and np.isfinite(volume.origin).all()
    return f"{volume.series} {volume.frame}" if placed else f"#{number}"


def _inverted(volume: Volume, extremes: list[Bounds]) -> Volume:
    """A volume whose values and windows are inverted within the bounds of its series."""
    total = min(low for low, _ in extremes) + max(high for _, high in extremes)
    windows = tuple(shown and (total - shown[0], shown[1]) for shown in volume.windows)
    return replace(
        volume,
        voxels=np.asarray(total - volume.voxels, np.float32),
        window=volume.window and (total - volume.window[0], volume.window[1]),
        windows=windows,
    )


def _decoded(frames: Sequence[Frame]) -> Iterator[Array]:
    """The stored numbers of each frame, (H, W) or (H, W, 3).

    A file is opened once if its frames follow each other.
    """
    for file, group in groupby(frames, lambda frame: frame.file):
        members = list(group)
        ds = read_dicom(file)
        if ds.get("BitsAllocated") == 1:  # a frame may begin within a byte, where pydicom fails
            stored = _decoded_pixels(ds, None).reshape(-1, ds.Rows, ds.Columns)
        elif len({frame.index for frame in members}) == 1:
            yield from [_decoded_pixels(ds, members[0].index)] * len(members)
            continue
        else:
            stored = _decoded_pixels(ds, None)  # (frames, H, W)
        for frame in members:
            yield stored[frame.index]


def _decoded_pixels(ds: Dataset, index: int | None) -> Array:
    """The stored numbers of one frame of a file, or of all; YBR as RGB."""
    from pydicom.pixels.utils import pixel_array

    kind = ds.file_meta.TransferSyntaxUID
    if not kind.is_transfer_syntax:
        raise InputError(
            f"{ds.filename} has a TransferSyntaxUID of {kind}, which pydicom does not know.",
            "Export or copy it again.",
        )
    if not kind.is_compressed and "PixelData" in ds and ds["PixelData"].is_undefined_length:
        raise InputError(
            f"{ds.filename} has compressed pixels, and its TransferSyntaxUID ({kind.name}) says "
            "otherwise.",
            "Export or copy it again; gdcmconv may repair it.",
        )
    try:
        if kind == EXTENDED_JPEG and stored_bits(ds) > 8:
            return _extended_jpeg(ds, index)
        if lowest := _lowest_bit(ds):
            return _from_bit(lowest, pixel_array(ds, index=index, correct_unused_bits=False), ds)
        stored: Array = pixel_array(ds, index=index)
    except Exception as error:  # RuntimeError without a decoder, anything where data are broken
        hint = "Export or copy it again."
        if kind.is_compressed:
            hint = (
                "`pip install medzoo[medical]` brings a decoder; what it cannot decode, dcmtk's "
                "dcmdjpeg may decompress."
            )
        raise InputError(
            f"{ds.filename} ({kind.name}) cannot be decoded: {' '.join(str(error).split())[:200]}.",
            hint,
        ) from error
    return stored


def _lowest_bit(ds: Dataset) -> int:
    """The bit at which stored numbers begin: 0, unless HighBit says that they lie higher.

    Old files have 12 bits in the upper part of 16. pydicom does not use HighBit. Decoders of JPEG
    return numbers that begin at bit 0.
    """
    kind = ds.file_meta.TransferSyntaxUID
    if is_colour(ds) or (kind.is_compressed and kind != RLE):
        return 0
    high = numbers(ds, "HighBit") or [stored_bits(ds) - 1]
    lowest = int(high[0]) + 1 - stored_bits(ds)
    return lowest if lowest > 0 and high[0] < ds.BitsAllocated else 0


def _from_bit(lowest: int, stored: Array, ds: Dataset) -> Array:
    """The numbers that begin at a bit of what is stored, with their sign."""
    above = ds.BitsAllocated - stored_bits(ds) - lowest
    at_the_top = np.left_shift(stored, above)
    moved: Array = np.right_shift(at_the_top, above + lowest)
    return moved


def _extended_jpeg(ds: Dataset, index: int | None) -> Array:
    """Grey levels of JPEG Extended with 12 bits.

    GDCM can decode whole files of this kind. pydicom asks GDCM for one frame at a time, and refuses
    these files.
    """
    gdcm = library("gdcm", "compressed DICOM")
    reader = gdcm.ImageReader()
    reader.SetFileName(str(ds.filename))
    if not reader.Read() or is_colour(ds):
        raise ValueError("GDCM cannot read it")
    # GDCM returns its bytes as text.
    pixels = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    kind = np.dtype(np.int16 if ds.get("PixelRepresentation") == 1 else np.uint16)
    frames: Array = np.frombuffer(pixels, kind).reshape(frame_count(ds), ds.Rows, ds.Columns)
    return frames if index is None else frames[index]


def _rescaled(frame: Frame, stored: Array) -> _Slice:
    """``stored`` pixels (H, W) as values in their unit, with the geometry of the header."""
    ds = frame.header
    hounsfield = _is_hounsfield(ds)
    extremes = None
    if ds.get("PhotometricInterpretation") == "MONOCHROME1" and not hounsfield:
        low, high = _in_unit(np.array(_stored_bounds(ds)), ds).tolist()
        extremes = min(low, high), max(low, high)
    unit, factor = "HU" if hounsfield else "", 1.0
    if ds.get("Modality") == "RTDOSE" and (scaling := numbers(ds, "DoseGridScaling")):
        unit, factor = "Gy" if ds.get("DoseUnits") == "GY" else "", scaling[0]
    values = _in_unit(stored, ds) * factor
    # Values that are inverted later stay unrounded until then.
    kept = values if extremes else np.asarray(values, np.float32)
    rows, columns = pixel_spacing(ds)
    position = numbers(ds, "ImagePositionPatient")
    shown = _window(ds)
    volume = Volume(
        voxels=kept[None],
        spacing=(_thickness(ds), rows, columns),
        origin=np.array(position if len(position) == 3 else [np.nan] * 3),
        axes=axes_of(numbers(ds, "ImageOrientationPatient")),
        unit=unit,
        window=shown,
        series=str(ds.get("SeriesInstanceUID", "")),
        frame=str(ds.get("FrameOfReferenceUID", "")),
        windows=(shown,),
        padding=_padding(ds, stored),
    )
    return _Slice(volume, extremes)


def _thickness(ds: Dataset) -> float:
    """The distance of slices in millimetres, or their thickness; 1 if a header states neither."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        for mm in numbers(ds, keyword)[:1]:
            if mm and np.isfinite(mm):
                return abs(mm)
    return 1.0


def _is_hounsfield(ds: Dataset) -> bool:
    """Whether a header says that its rescaled values are HU."""
    if ds.get("ModalityLUTSequence"):
        return str(ds.ModalityLUTSequence[0].get("ModalityLUTType")) == "HU"
    return (
        ds.get("Modality") == "CT"
        and bool(numbers(ds, "RescaleIntercept"))
        and ds.get("RescaleType", "HU") in {"HU", "", None}
    )


def _in_unit(stored: Array, ds: Dataset) -> Array:
    """Stored numbers as values: by a table, or by slope and intercept.

    A slope that is missing or empty is 1, an intercept 0. pydicom would leave out the one where the
    other is missing.
    """
    if ds.get("ModalityLUTSequence"):
        return _by_table(stored, ds)
    slope, intercept = _only_number(ds, "RescaleSlope"), _only_number(ds, "RescaleIntercept")
    if slope == 0:
        raise InputError(
            f"{ds.filename} has 0 for RescaleSlope, which makes all its values alike.",
            "Correct the element, or leave the file out.",
        )
    if slope is None and intercept is None:
        return stored
    return stored.astype(np.float64) * (1 if slope is None else slope) + (intercept or 0)


def _by_table(stored: Array, ds: Dataset) -> Array:
    """Stored numbers as the values of the first ModalityLUTSequence.

    pydicom would compute in the type of the pixels, which may be too small, and does not know the
    byte order of the table of a frame.
    """
    item = ds.ModalityLUTSequence[0]
    try:
        count, first, _ = (int(number) for number in item.LUTDescriptor)
        entries = _table_entries(item, count or 2**16)  # 0 stands for the number that is too large
    except Exception as error:  # a broken table makes pydicom raise almost anything
        raise InputError(
            f"{ds.filename} has a broken ModalityLUTSequence: {error}.", "Export or copy it again."
        ) from error
    lowest = int(_with_sign(first, 16, ds.get("PixelRepresentation") == 1))
    values: Array = entries[np.clip(stored.astype(np.int64) - lowest, 0, len(entries) - 1)]
    return values


def _table_entries(item: Dataset, count: int) -> Array:
    """The entries of a table, which are numbers of 16 bits, even if they need 8."""
    entries = item.LUTData
    if isinstance(entries, bytes):
        big = item.original_encoding[1] is False
        entries = np.frombuffer(entries, ">u2" if big else "<u2")
    entries = np.atleast_1d(np.asarray(entries, np.uint16))
    if len(entries) < count:
        raise ValueError(f"it has {len(entries)} entries, and states {count}")
    return entries[:count]


def _only_number(ds: Dataset, keyword: str) -> float | None:
    """The number of an element; None if it is absent or empty."""
    values = numbers(ds, keyword)
    if len(values) > 1 or not np.isfinite(values).all():
        raise InputError(
            f"{ds.filename} has {ds[keyword].value} for {keyword}, and one number was expected.",
            "Correct the element, or leave the file out.",
        )
    return values[0] if values else None


def pixel_spacing(ds: Dataset) -> tuple[float, float]:
    """Millimetres between rows and between columns; NaN if a header does not state them."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        spacing = numbers(ds, keyword)
        if len(spacing) == 2 and all(0 < mm < np.inf for mm in spacing):
            return spacing[0], spacing[1]
    return np.nan, np.nan


def axes_of(orientation: Sequence[float]) -> NDArray[np.float64]:
    """Directions of slices, rows and columns; those of an axial slice if a file states none.

    They have length 1 and are at right angles, although headers round them.
    """
    axes: NDArray[np.float64] = np.eye(3)[::-1].copy()
    if len(orientation) == 6:
        along_row, along_column = np.reshape(orientation, (2, 3))
        normal = np.cross(along_row, along_column)
        if normal.any():
            along_row = along_row / np.linalg.norm(along_row)
            normal /= np.linalg.norm(normal)
            axes[:] = normal, np.cross(normal, along_row), along_row
    return axes


def stored_bits(ds: Dataset) -> int:
    """How many bits of a stored number are used."""
    return int((numbers(ds, "BitsStored") or numbers(ds, "BitsAllocated") or [16])[0])


def _stored_bounds(ds: Dataset) -> tuple[int, int]:
    """The lowest and the highest number that the stored bits can hold."""
    bits = stored_bits(ds)
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
