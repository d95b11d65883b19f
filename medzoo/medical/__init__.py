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

from .nifti import NIFTI, read_nifti
from .pictures import pictures_of
from .scans import read_colour, read_picture, read_pictures, read_series
from .segments import read_segmentation
from .structures import (
    Case,
    Structures,
    cases,
    find_roi,
    read_mask,
    read_structures,
    scans_in,
    split_structure,
)
from .volumes import Volume, resample, slices_with, window
from .windows import Window, windows_of

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
