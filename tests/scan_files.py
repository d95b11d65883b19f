"""DICOM series, RTSTRUCTs and NIfTI files of known content, written for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, STRUCTURES = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.481.3"
AXIAL, CORONAL, SAGITTAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)


def save(ds: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPInstanceUID = generate_uid()
    dcmwrite(path, ds, enforce_file_format=True)
    return path


def series(
    folder: Path,
    values: np.ndarray,
    *,
    spacing: tuple[float, float, float] = (3.0, 0.5, 0.75),
    origin: Sequence[float] = (-20.0, -30.0, 40.0),
    orientation: Sequence[float] = AXIAL,
    uid: str = "1.2.3",
    frame: str = "1.2.9",
    name: str = "{}.dcm",
    **changes: Any,
) -> list[Path]:
    """A slice a file, of ``values`` (D, H, W) in HU that have halves at most; returns the files in the order of positions."""
    row, column = np.reshape(orientation, (2, 3)).astype(float)
    normal = np.cross(row, column)
    scrambled = np.random.default_rng(0).permutation(
        len(values)
    )  # of names and instance numbers, which mean nothing
    paths = []
    for k, picture in enumerate(values):
        ds = Dataset()
        ds.SOPClassUID, ds.Modality, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = (
            CT,
            "CT",
            uid,
            frame,
        )
        ds.SeriesDescription = "head and neck"
        ds.InstanceNumber = int(scrambled[k])
        ds.ImageOrientationPatient = [round(float(v), 10) for v in orientation]
        ds.ImagePositionPatient = [
            round(float(v), 8) for v in np.array(origin) + k * spacing[0] * normal
        ]
        ds.PixelSpacing, ds.SliceThickness = list(spacing[1:]), spacing[0]
        ds.Rows, ds.Columns = picture.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 1
        ds.RescaleSlope, ds.RescaleIntercept = (
            (1, -1024) if k % 2 else (0.5, -100)
        )  # scanners may change it from slice to slice
        stored = (picture - float(ds.RescaleIntercept)) / float(ds.RescaleSlope)
        ds.PixelData = stored.astype("<i2").tobytes()
        for keyword, value in changes.items():
            setattr(ds, keyword, value(k) if callable(value) else value)
        paths.append(save(ds, folder / name.format(scrambled[k])))
    return paths


def structures(
    path: Path,
    rois: Mapping[str, Sequence[np.ndarray]],
    *,
    uid: str = "1.2.3",
    frame: str = "1.2.9",
    kind: str = "CLOSED_PLANAR",
) -> Path:
    """An RTSTRUCT with contours (n, 3) in millimetres; a name that ends in ``#`` is written without that."""
    ds = Dataset()
    ds.SOPClassUID, ds.Modality, ds.SeriesInstanceUID = STRUCTURES, "RTSTRUCT", uid + ".7"
    reference, study, drawn = Dataset(), Dataset(), Dataset()
    drawn.SeriesInstanceUID = uid
    study.RTReferencedSeriesSequence = [drawn]
    reference.FrameOfReferenceUID, reference.RTReferencedStudySequence = frame, [study]
    ds.ReferencedFrameOfReferenceSequence = [reference]
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois.items(), 1):
        roi, drawing = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = (
            number,
            name.rstrip("#"),
            frame,
        )
        drawing.ReferencedROINumber, drawing.ContourSequence = number, []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            contour.ContourData = [f"{v:.8g}" for v in np.ravel(points)]
            drawing.ContourSequence.append(contour)
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(drawing)
    return save(ds, path)


def circle(
    radius: float, centre: tuple[float, float], height: float, points: int = 400
) -> np.ndarray:
    """An axial contour (n, 3) in millimetres around ``centre`` (x, y)."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack(
        [
            centre[0] + radius * np.cos(angle),
            centre[1] + radius * np.sin(angle),
            np.full(points, height),
        ],
        1,
    )
