"""Multi-frame DICOM of known content, written for tests: enhanced CT and MR, and segmentations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from scan_files import AXIAL, save

ENHANCED_CT, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def item(**elements: Any) -> list[Dataset]:
    """A sequence of one item."""
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return [ds]


def place(
    k: float, origin: Sequence[float], orientation: Sequence[float], step: float
) -> list[float]:
    normal = np.cross(*np.reshape(orientation, (2, 3)))
    return [round(float(v), 8) for v in np.array(origin) + k * step * normal]


def multi_frame(
    path: Path,
    stored: np.ndarray,
    heights: Sequence[float],
    *,
    spacing: tuple[float, float, float] = (3.0, 0.5, 0.75),
    origin: Sequence[float] = (-20.0, -30.0, 40.0),
    orientation: Sequence[float] = AXIAL,
    uid: str = "1.2.5",
    frame: str = "1.2.9",
    groups: Callable[[int], dict[str, Any]] = lambda k: {},
    shared: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """An enhanced file of the frames ``stored`` (n, H, W), each at so many slices of height."""
    ds = Dataset()
    ds.SOPClassUID, ds.Modality, ds.SeriesInstanceUID = ENHANCED_CT, "CT", uid
    ds.FrameOfReferenceUID, ds.StudyInstanceUID, ds.PatientID = frame, "1.2.6", "x"
    ds.NumberOfFrames, ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.SharedFunctionalGroupsSequence = item(
        PixelMeasuresSequence=item(
            PixelSpacing=list(spacing[1:]),
            SliceThickness=spacing[0],
            SpacingBetweenSlices=spacing[0],
        ),
        PlaneOrientationSequence=item(ImageOrientationPatient=[float(v) for v in orientation]),
        **(shared or {}),
    )
    ds.PerFrameFunctionalGroupsSequence = [
        item(
            **{
                "PlanePositionSequence": item(
                    ImagePositionPatient=place(height, origin, orientation, spacing[0])
                ),
                **groups(k),
            }
        )[0]
        for k, height in enumerate(heights)
    ]
    ds.PixelData = stored.astype("<i2").tobytes()
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return save(ds, path)


def segmentation(
    path: Path,
    masks: dict[str, np.ndarray],
    *,
    kind: str = "BINARY",
    skip_empty: bool = True,
    **more: Any,
) -> Path:
    """A SEG of masks (D, H, W) by label, frame by frame; empty frames are left out, as is usual."""
    frames, heights, numbers = [], [], []
    for number, mask in enumerate(masks.values(), 1):
        for k, picture in enumerate(mask):
            if picture.any() or not skip_empty:
                frames.append(picture)
                heights.append(k)
                numbers.append(number)
    stack = np.array(frames)
    bits = {"BINARY": 1}.get(kind, 8)
    packed = (
        np.packbits(stack.astype(bool).ravel(), bitorder="little")
        if kind == "BINARY"
        else stack.astype(np.uint8)
    )
    data = packed.tobytes()
    segments = [item(SegmentNumber=n, SegmentLabel=label)[0] for n, label in enumerate(masks, 1)]
    return multi_frame(
        path,
        stack,
        heights,
        groups=lambda k: {
            "SegmentIdentificationSequence": item(ReferencedSegmentNumber=numbers[k])
        },
        **{
            "SOPClassUID": SEGMENTATION,
            "Modality": "SEG",
            "uid": "1.2.66",
            "SegmentationType": kind,
            "SegmentSequence": segments,
            "BitsAllocated": bits,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": 0,
            "PixelData": data + b"\0" * (len(data) % 2),
            **more,
        },
    )
