"""DICOM: one file per picture, one series per volume; each says that it is synthetic.

CT and MR images with a known spacing are stored as such, all others as secondary capture. Every
sample is a patient with one study. Its images and masks are series in one frame of reference.

Identifiers follow from `DECIDES_SAMPLE` and the index. If a model seeds a batch and not a sample,
they follow from the batch too. So equal samples make equal files, and different samples never share
an identifier. There are no dates.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..config import Output
from ..config.columns import Batch, affine_of, grid_of, unit_range
from ..provenance import DECIDES_SAMPLE
from .dicom_elements import file_of
from .formats import Line, as_json, conditions_of, listed_conditions, pictures_unfit, step_of
from .one_file_each import OneFileEach

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
# Attributes that each of these requires and that are unknown.
STORAGE_NEEDS: dict[str, dict[str, Any]] = {
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
# Stored numbers are unsigned, as from most scanners: several programs misread signed ones.
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
        self._places: dict[tuple[str, int], int] = {}  # column and channel -> place from 1
        for name, output in self._pictures.items():
            for channel in range(_channels(output)):
                self._places[name, channel] = 1 + len(self._places)
        self._modality = _modality(str(self._provenance.get("modality", "")))
        self._listed = listed_conditions(self._provenance)
        self._identity = _identity(self._provenance, self._listed)
        self._batches: list[list[int]] = []
        self._pixels: dict[int, str] = {}  # of samples without a model: their digest

    def write(self, batch: Batch) -> list[Line]:
        """Encode a batch; identifiers may depend on where batches begin."""
        if self._provenance.get("seeding") == "batch":
            self._batches = batch.provenance.get("batches", [])
        if "model" not in self._provenance:
            self._pixels = dict(zip(batch.indices.tolist(), self._digests(batch), strict=True))
        return super().write(batch)

    def _digests(self, batch: Batch) -> Iterator[str]:
        """The sha256 of the pixels of each sample."""
        columns = [np.asarray(batch.columns[name][:]) for name in self._pictures]
        for row in range(len(batch)):
            digest = hashlib.sha256()
            for values in columns:
                digest.update(np.ascontiguousarray(values[row]).data)
            yield digest.hexdigest()

    @staticmethod
    def unfit(outputs: Mapping[str, Output]) -> list[str]:
        """Integers of more than 16 bits, floats without a range, float masks, and columns with
        neither two nor three axes of space.
        """
        return pictures_unfit(outputs, _fits)

    @classmethod
    def step(cls, output: Output) -> float:
        """One grey level, for floats."""
        return step_of(output, FULL)

    def encode(
        self, values: NDArray[Any], output: Output, metadata: Mapping[str, Any]
    ) -> Iterable[tuple[str, bytes]]:
        """One file, or a folder with one file for each slice of each channel."""
        channels = values[None] if _is_color(output) else values[:, None]
        alone = len(channels) == 1 and values.ndim == 3
        affine = self._affine(output, metadata["index"])
        number = 0
        for channel, pixels in enumerate(channels):
            series = self._series(output, metadata, channel, affine)
            stored = _describe_pixels(series, pixels, output)
            slices = stored if stored.ndim == 4 else stored[None]  # (slices, H, W, samples)
            for height, pixels_of_slice in enumerate(slices):
                ending = ".dcm" if alone else f"/{number:04d}.dcm"
                place = affine @ [0, 0, height, 1]
                yield ending, self._slice(series, pixels_of_slice, place, height)
                number += 1

    def _uid(self, *what: Any) -> str:
        """An identifier that is made from a UUID, as the standard describes."""
        return f"2.25.{uuid.uuid5(SPACE, json.dumps([self._identity, *what])).int}"

    def _sample(self, index: int) -> list[Any]:
        """What identifies a sample, in addition to `DECIDES_SAMPLE`.

        This is its index, its conditions if they were given as lists, and its batch if the batch
        decides the sample too. Of a sample without a model only its pixels are known.
        """
        conditions = conditions_of(index, self._provenance) if self._listed else {}
        sample = [index, *(conditions[name] for name in self._listed)]
        if index in self._pixels:
            return [*sample, self._pixels[index]]
        if not self._batches:
            return sample
        begin, size = self._batch_size_at(index)
        first = index - (index - begin) % size
        end = self._provenance.get("first", 0) + self._provenance.get("n", self._n)
        return [*sample, first, min(first + size, end)]

    def _batch_size_at(self, index: int) -> tuple[int, int]:
        """The first sample from which batches have this size, and the size."""
        for begin, size in reversed(self._batches):
            if begin <= index:
                return begin, size
        raise ValueError(f"sample {index} is in no batch of {self._batches}")

    def _series(
        self,
        output: Output,
        metadata: Mapping[str, Any],
        channel: int,
        affine: NDArray[np.float64],
    ) -> SimpleNamespace:
        """What the files of a series have in common, apart from the pixels."""
        index, sample = metadata["index"], self._sample(metadata["index"])
        model = f"{metadata.get('model', 'no model')} {metadata.get('version', '')}".strip()
        modality = self._modality
        grid = grid_of(output, self._provenance, index)
        has_spacing = bool(output.spacing) or grid is not None
        kind = modality if modality in STORAGE and has_spacing and not _is_color(output) else ""
        depth = len(output.shape) == 4
        ds = SimpleNamespace()
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if kind == "CT" else "OTHER", "SYNTHETIC"]
        ds.SOPClassUID = STORAGE[kind]
        ds.StudyDate = ds.StudyTime = ds.StudyID = ""
        ds.AccessionNumber = ds.ReferringPhysicianName = ""
        ds.Modality = modality
        ds.Manufacturer, ds.ManufacturerModelName = MANUFACTURER, model[:64]
        ds.SoftwareVersions = __version__
        ds.StudyDescription = "Synthetic, not for diagnosis"
        content = f"{output.name} {channel}" if channel else output.name
        # The index here and in the number lets converters sort and pair the series of all samples.
        ds.SeriesDescription = f"Synthetic {index:06d} {content}, {model}"[:64]
        ds.PatientName = f"Synthetic^{index:06d}"
        digest = hashlib.sha256(json.dumps([self._identity, *sample[1:]]).encode()).hexdigest()
        ds.PatientID = f"{digest[:16]}-{index:06d}"
        ds.PatientBirthDate = ds.PatientSex = ""
        ds.Laterality = ""  # required for paired organs; unknown
        ds.StudyInstanceUID = self._uid(*sample)
        ds.SeriesInstanceUID = self._uid(*sample, output.name, channel)
        ds.SeriesNumber = str(self._series_number(index, output.name, channel))
        ds.BurnedInAnnotation = "NO"
        ds.ImageComments = f"{DISCLAIMER} {as_json(metadata)}"
        for keyword, value in STORAGE_NEEDS[kind].items():
            setattr(ds, keyword, value)
        if kind == "MR":
            ds.MRAcquisitionType = "3D" if depth else "2D"
        if has_spacing:
            axes = affine[:3, :3].T  # the steps to the next column, row and slice
            columns, rows, slices = np.linalg.norm(axes, axis=1).tolist()
            ds.PixelSpacing = [_ds(rows), _ds(columns)]
            if not kind:  # where programs look for the spacing of a secondary capture
                ds.NominalScannedPixelSpacing = ds.PixelSpacing
            if kind or depth or grid is not None:
                frame = (grid or {}).get("frame")
                ds.FrameOfReferenceUID = frame or self._uid(*sample, "space")
                directions = [*(axes[0] / columns), *(axes[1] / rows)]
                ds.ImageOrientationPatient = [_ds(number) for number in directions]
                ds.SliceThickness = _ds(slices) if depth or grid is not None else None
        return ds

    def _affine(self, output: Output, index: int) -> NDArray[np.float64]:
        """Voxel numbers (x, y, z, 1) to millimetres to the patient's left, back and head."""
        affine = affine_of(output, self._provenance, index)
        to_dicom: NDArray[np.float64] = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine + 0.0
        return to_dicom

    def _series_number(self, index: int, name: str, channel: int) -> int:
        """71 and 72 for the images and masks of sample 7; at most nine digits."""
        factor: int = 10 ** len(str(len(self._places)))  # larger than the number of series
        place = self._places[name, channel]
        return index * factor % 10**9 + place

    def _slice(
        self, series: SimpleNamespace, pixels: NDArray[Any], place: NDArray[np.float64], height: int
    ) -> bytes:
        """One file; ``place`` is where its first pixel lies."""
        ds = SimpleNamespace(**vars(series))
        ds.SOPInstanceUID = self._uid(series.SeriesInstanceUID, height)
        ds.InstanceNumber = str(height + 1)
        if hasattr(ds, "ImageOrientationPatient"):
            ds.ImagePositionPatient = [_ds(number) for number in place[:3]]
        data = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()  # in C order
        ds.PixelData = data + bytes(len(data) % 2)
        return file_of(vars(ds))

    @staticmethod
    def decode(paths: Sequence[Path], output: Output) -> NDArray[Any]:
        """The picture or volume, (C, *spatial), with floats in their value range again."""
        from pydicom import dcmread

        pixels, intercepts = [], []
        for path in paths:
            file = dcmread(path)
            pixels.append(file.pixel_array)
            intercepts.append(int(file.get("RescaleIntercept", 0)))
        stack, color = np.stack(pixels), _is_color(output)
        values = np.moveaxis(stack[0], -1, 0) if color else stack.reshape(output.shape)
        if output.dtype == "int16":  # each channel has its own intercept
            offsets = np.repeat(intercepts, values.size // len(paths))
            values = values + offsets.reshape(values.shape)
        if output.dtype == "float32":
            low, high = output.range  # type: ignore[misc]
            values = values * (np.float32(high - low) / np.float32(FULL)) + np.float32(low)
        return values


def _modality(words: str) -> str:
    """DICOM's term for the modality of a config; "OT", other, if there is none."""
    for word in re.findall(r"[a-z-]+", words.lower()):
        if word in MODALITIES:
            return MODALITIES[word]
    return "OT"


def _identity(provenance: Mapping[str, Any], listed: Collection[str]) -> str:
    """What decides all samples of a set, as JSON.

    Conditions that were given as lists are left out: they decide only their own sample, and a
    list gets longer when the set grows.
    """
    values = {key: provenance.get(key) for key in DECIDES_SAMPLE}
    if listed:
        options = dict(provenance["options"])
        for name in listed:
            del options[name]
        values["options"] = options
    return json.dumps(list(values.values()), sort_keys=True)


def _fits(output: Output) -> bool:
    scaled = output.dtype == "float32" and output.range is not None and output.kind != "mask"
    return (scaled or output.dtype in {"uint8", "uint16", "int16"}) and len(output.shape) in {3, 4}


def _channels(output: Output) -> int:
    """The number of series that a sample has for a column."""
    return 1 if _is_color(output) else output.shape[0]


def _is_color(output: Output) -> bool:
    return output.kind == "image" and output.shape[0] == 3 and output.dtype == "uint8"


def _describe_pixels(ds: SimpleNamespace, values: NDArray[Any], output: Output) -> NDArray[Any]:
    """Describe in ``ds`` how one channel (1 or 3, *spatial) is stored.

    Returns the stored numbers, ([slices,] H, W, samples).
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
        centre, width = (low + high + slope) / 2, high - low + slope
        # A window in values is right only if the stored numbers, once rescaled, are the values.
        if output.window and (hounsfield or output.dtype != "float32"):
            centre, width = output.window
        ds.WindowCenter, ds.WindowWidth = _ds(centre), _ds(width)
    return np.moveaxis(values, 0, -1)


def _intercept(ds: SimpleNamespace, values: NDArray[np.int16], *, shown: bool) -> int:
    """The rescale intercept with which signed values are stored as unsigned numbers.

    ``shown`` says that the files have an intercept in any case. MR images cannot have one, so their
    negative values stay signed, with intercept 0.
    """
    lowest = int(values.min(initial=0))
    if ds.SOPClassUID == STORAGE["MR"] or (lowest >= 0 and not shown):
        return 0
    return INTERCEPT if lowest >= INTERCEPT else LOWEST


def _ds(number: float) -> str:
    """A decimal string of at most 16 characters, the limit of the standard."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(number))
