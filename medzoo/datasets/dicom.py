"""DICOM: one file per picture, one series per volume; each says that it is synthetic.

CT and MR of known spacing are stored as such, all else as secondary capture. Every sample is a
patient with one study; its images and masks are series in one frame of reference.
Identifiers follow from `DECIDES_SAMPLE` and the index, and where a model seeds a batch, not a sample, from
the batch: so equal samples make equal files, and others never share an identifier. There are no
dates.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..config import Output
from ..config.columns import Batch, spacing_of, unit_range
from ..provenance import DECIDES_SAMPLE
from .formats import Line, conditions_of, listed_conditions, pictures_unfit, step_of
from .one_file_each import OneFileEach

if TYPE_CHECKING:
    from pydicom import Dataset

MODALITIES = {  # a word of the config's modality -> DICOM's term
    "ct": "CT",
    "mri": "MR",
    "mr": "MR",
    "mammography": "MG",
    "pet": "PT",
    "ultrasound": "US",
    "x-ray": "DX",
    "radiography": "DX",
    "endoscopy": "ES",
    "colonoscopy": "ES",
    "fundus": "OP",
    "oct": "OPT",
    "dermoscopy": "XC",
    "histology": "SM",
}
STORAGE = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "": "1.2.840.10008.5.1.4.1.1.7",
}
STORAGE_NEEDS: dict[
    str, dict[str, Any]
] = {  # what each of these asks for and we do not know or do not have
    "CT": {
        "KVP": None,
        "AcquisitionNumber": None,
        "PatientPosition": None,
        "PositionReferenceIndicator": "",
    },
    "MR": {
        "ScanningSequence": "RM",
        "SequenceVariant": "NONE",
        "ScanOptions": None,
        "RepetitionTime": None,
        "EchoTime": None,
        "EchoTrainLength": None,
        "PatientPosition": None,
        "PositionReferenceIndicator": "",
    },
    "": {"ConversionType": "SYN", "PatientOrientation": None},
}
FULL = 2**16 - 1  # floats are stored from 0 to here
# Stored numbers are unsigned, as most scanners have them: several programs misread signed ones.
INTERCEPT, LOWEST = -1024, -(2**15)  # of int16; the second where a value is below the first
# dcm2niix takes the first two letters for a vendor's: "me" for Mediso, "si" for Siemens ...
MANUFACTURER = "Synthetic by medzoo"
HOUNSFIELD = {"hu", "hounsfield", "hounsfield unit", "hounsfield units"}
SPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "medzoo")
DISCLAIMER = "Synthetic image, made by a generative model. Not for diagnosis."


class Dicom(OneFileEach):
    """Pictures and volumes of integers, or of floats in a known range."""

    needs = encoder = "pydicom"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        series = ((n, k) for n, o in self._pictures.items() for k in range(_channels(o)))
        self._places: dict[tuple[str, int], int] = {key: 1 + k for k, key in enumerate(series)}
        words = re.findall(r"[a-z-]+", str(self._provenance.get("modality", "")).lower())
        self._modality = next((MODALITIES[w] for w in words if w in MODALITIES), "OT")
        self._listed = listed_conditions(self._provenance)
        decides: dict[str, Any] = {k: self._provenance.get(k) for k in DECIDES_SAMPLE}
        if self._listed:  # of these, a sample's own decides alone: the others may be yet to come
            options = decides["options"].items()
            decides["options"] = {k: v for k, v in options if k not in self._listed}
        self._identity = json.dumps(list(decides.values()), sort_keys=True)
        self._batches: list[list[int]] = []

    def write(self, batch: Batch) -> list[Line]:
        """Encode a batch, which knows its boundaries."""
        if self._provenance.get("seeding") == "batch":
            self._batches = batch.provenance.get("batches", [])
        return super().write(batch)

    @staticmethod
    def unfit(outputs: Mapping[str, Output]) -> list[str]:
        """Integers past 16 bits, floats of no known range, float masks, other than two or three
        axes of space.
        """
        return pictures_unfit(outputs, _fits)

    @classmethod
    def step(cls, output: Output) -> float:
        """Of floats, a gray level."""
        return step_of(output, FULL)

    def encode(
        self, values: NDArray[Any], output: Output, about: Mapping[str, Any]
    ) -> Iterable[tuple[str, bytes]]:
        """One file, or a folder with one for each slice of each channel."""
        channels = [values] if _is_color(output) else [v[None] for v in values]
        alone = len(channels) == 1 and values.ndim == 3
        number = 0
        for channel, pixels in enumerate(channels):
            series = self._series(output, about, channel)
            stored = _describe_pixels(series, pixels, output)
            for height, one in enumerate(
                stored if stored.ndim == 4 else stored[None]
            ):  # (slices, H, W, samples)
                yield (
                    ".dcm" if alone else f"/{number:04d}.dcm",
                    self._slice(series, one, output, height),
                )
                number += 1

    def _uid(self, *what: Any) -> str:
        """An identifier as the standard makes one of a UUID."""
        return f"2.25.{uuid.uuid5(SPACE, json.dumps([self._identity, *what])).int}"

    def _sample(self, index: int) -> list[Any]:
        """Which of the samples that `DECIDES_SAMPLE` describes: its index, its conditions where each has
        its own, and the batch it was made in where that decides as well.
        """
        own = conditions_of(index, self._provenance) if self._listed else {}
        conditions = [own[name] for name in self._listed]
        if not self._batches:
            return [index, *conditions]
        begun, size = next(
            (start, size) for start, size in reversed(self._batches) if start <= index
        )
        first = index - (index - begun) % size
        end = self._provenance.get("first", 0) + self._provenance.get("n", self._n)
        return [index, *conditions, first, min(first + size, end)]

    def _series(self, output: Output, about: Mapping[str, Any], channel: int) -> Dataset:
        """What the files of a series have in common, pixels aside."""
        from pydicom import Dataset

        index, sample = about["index"], self._sample(about["index"])
        model = f"{about.get('model', 'no model')} {about.get('version', '')}".strip()
        modality = self._modality
        kind = modality if modality in STORAGE and output.spacing and not _is_color(output) else ""
        depth = len(output.shape) == 4
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if kind == "CT" else "OTHER", "SYNTHETIC"]
        ds.SOPClassUID = STORAGE[kind]
        ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ds.ReferringPhysicianName = (
            ds.StudyID
        ) = ""
        ds.Modality = modality
        ds.Manufacturer, ds.ManufacturerModelName = MANUFACTURER, model[:64]
        ds.SoftwareVersions = __version__
        ds.StudyDescription = "Synthetic, not for diagnosis"
        of = f"{output.name} {channel}" if channel else output.name
        # The index here and in the number lets converters sort and pair the series of all samples.
        ds.SeriesDescription = f"Synthetic {index:06d} {of}, {model}"[:64]
        ds.PatientName = f"Synthetic^{index:06d}"
        whose = hashlib.sha256(json.dumps([self._identity, *sample[1:]]).encode()).hexdigest()
        ds.PatientID = f"{whose[:16]}-{index:06d}"
        ds.PatientBirthDate = ds.PatientSex = ""
        ds.Laterality = ""  # required of what may be paired, which we do not know
        ds.StudyInstanceUID = self._uid(*sample)
        ds.SeriesInstanceUID = self._uid(*sample, output.name, channel)
        ds.SeriesNumber = self._series_number(index, output.name, channel)
        ds.BurnedInAnnotation = "NO"
        ds.ImageComments = f"{DISCLAIMER} {json.dumps(about, sort_keys=True)}"
        for keyword, value in STORAGE_NEEDS[kind].items():
            setattr(ds, keyword, value)
        if kind == "MR":
            ds.MRAcquisitionType = "3D" if depth else "2D"
        if output.spacing:
            ds.PixelSpacing = list(output.spacing[-2:])
            if not kind:  # where programs look for the spacing of a secondary capture
                ds.NominalScannedPixelSpacing = ds.PixelSpacing
            if kind or depth:
                ds.FrameOfReferenceUID = self._uid(*sample, "space")
                ds.ImageOrientationPatient = [
                    1,
                    0,
                    0,
                    0,
                    1,
                    0,
                ]  # as `medzoo.samples.affine_of` has it
                ds.SliceThickness = spacing_of(output)[0] if depth else None
        return ds

    def _series_number(self, index: int, name: str, channel: int) -> int:
        """71 and 72 of the images and masks of sample 7; at most nine digits."""
        ten: int = 10 ** len(str(len(self._places)))  # more than a sample has series
        place = self._places[name, channel]
        return index * ten % 10**9 + place

    def _slice(self, series: Dataset, pixels: NDArray[Any], output: Output, height: int) -> bytes:
        """A file."""
        from pydicom import Dataset, FileMetaDataset, dcmwrite
        from pydicom.uid import ExplicitVRLittleEndian

        ds = Dataset(series)
        ds.SOPInstanceUID = self._uid(series.SeriesInstanceUID, height)
        ds.InstanceNumber = height + 1
        if "ImageOrientationPatient" in ds:
            ds.ImagePositionPatient = [0, 0, _ds(height * spacing_of(output)[0])]
        data = (
            np.ascontiguousarray(pixels)
            .astype(pixels.dtype.newbyteorder("<"), copy=False)
            .tobytes()
        )
        ds.PixelData = data + bytes(len(data) % 2)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = io.BytesIO()
        dcmwrite(file, ds, enforce_file_format=True)
        return file.getvalue()

    @staticmethod
    def decode(paths: Sequence[Path], output: Output) -> NDArray[Any]:
        """The picture or volume, (C, *spatial), floats in their value range again."""
        from pydicom import dcmread

        files = [dcmread(path) for path in paths]
        slices = np.stack([file.pixel_array for file in files])
        values = (
            np.moveaxis(slices[0], -1, 0) if _is_color(output) else slices.reshape(output.shape)
        )
        if output.dtype == "int16":
            intercepts = [int(file.get("RescaleIntercept", 0)) for file in files]
            heights = np.repeat(
                intercepts, values.size // len(files)
            )  # each channel has its own number
            values = values + heights.reshape(values.shape)
        if output.dtype == "float32":
            low, high = output.range  # type: ignore[misc]
            values = values * (np.float32(high - low) / np.float32(FULL)) + np.float32(low)
        return values


def _fits(output: Output) -> bool:
    scaled = output.dtype == "float32" and output.range is not None and output.kind != "mask"
    return (scaled or output.dtype in {"uint8", "uint16", "int16"}) and len(output.shape) in {3, 4}


def _channels(output: Output) -> int:
    """How many series a sample has of a column."""
    return 1 if _is_color(output) else output.shape[0]


def _is_color(output: Output) -> bool:
    return output.kind == "image" and output.shape[0] == 3 and output.dtype == "uint8"


def _describe_pixels(ds: Dataset, values: NDArray[Any], output: Output) -> NDArray[Any]:
    """Fill in how one channel (1 or 3, *spatial) is stored; returns the stored numbers, ([slices,]
    H, W, samples).
    """
    hounsfield = output.unit.strip().lower() in HOUNSFIELD
    low, high = output.range or (float(values.min()), float(values.max()))
    slope, intercept = 1.0, 0.0  # stored numbers to values
    real = ds.SOPClassUID != STORAGE[""]
    rescaled = ds.SOPClassUID == STORAGE["CT"] or (hounsfield and not real)
    if values.dtype.kind == "f":
        values = np.rint(unit_range(values, output) * np.float32(FULL)).astype(np.uint16)
        if hounsfield:
            slope, intercept = (high - low) / FULL, low
        else:
            low, high = 0, FULL
    elif values.dtype == np.uint8 and not output.range and output.kind != "mask":
        low, high = 0, 255
    if values.dtype == np.int16:
        intercept = _intercept(ds, values, shown=rescaled and output.kind != "mask")
        rescaled = rescaled or intercept != 0
        values = values.astype(np.int32) - intercept
        values = values.astype(np.int16 if values.min(initial=0) < 0 else np.uint16)
    if real and values.dtype == np.uint8:
        values = values.astype(np.uint16)  # CT and MR have 16 bits
    ds.SamplesPerPixel = len(values)
    ds.PhotometricInterpretation = "MONOCHROME2" if len(values) == 1 else "RGB"
    if len(values) > 1:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = values.shape[-2:]
    ds.BitsAllocated = ds.BitsStored = 8 * values.dtype.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(values.dtype.kind == "i")
    if rescaled:
        ds.RescaleIntercept, ds.RescaleSlope = _ds(intercept), _ds(slope)
        ds.RescaleType = "HU" if hounsfield and output.kind != "mask" else "US"
    if len(values) == 1:
        as_they_are = (
            hounsfield or output.dtype != "float32"
        )  # the numbers stored are the values, once rescaled
        centre, width = (as_they_are and output.window) or (
            (low + high + slope) / 2,
            high - low + slope,
        )
        ds.WindowCenter, ds.WindowWidth = _ds(centre), _ds(width)
    return np.moveaxis(values, 0, -1)


def _intercept(ds: Dataset, values: NDArray[np.int16], *, shown: bool) -> int:
    """The rescale intercept with which signed values are stored unsigned, ``shown`` if they are
    rescaled anyway.

    MR images have no such attribute: negative values in them stay signed, intercept 0.
    """
    lowest = int(values.min(initial=0))
    if ds.SOPClassUID == STORAGE["MR"] or (lowest >= 0 and not shown):
        return 0
    return INTERCEPT if lowest >= INTERCEPT else LOWEST


def _ds(number: float) -> Any:
    """A decimal string, of at most the sixteen characters that the standard allows."""
    from pydicom.valuerep import DSfloat

    return DSfloat(number, auto_format=True)
