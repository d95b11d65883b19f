"""CT and MR from DICOM and NIfTI files, and masks from the contours of an RTSTRUCT.

>>> from medzoo import medical
>>> ct = medical.read_series("patient7/")  # (D, H, W) in HU
>>> structures = medical.read_structures("patient7/")
>>> mask = structures.mask(ct, "R parotid|Parotid R|Rt Parotid")
>>> images, masks = medical.slices_with(ct, mask, size=128, spacing=1.0)
>>> images = medical.window(images, centre=40, width=400)  # [0, 1]

`medical.cases` goes through the patients of a folder. pydicom and nibabel come with the extra
``medical`` and are imported when the first file is read.
"""

from __future__ import annotations

from .folders import scans_in
from .nifti import NIFTI, read_nifti
from .patients import Case, cases, read_mask
from .resampling import resample, slices_with
from .roi_names import find_roi
from .scans import read_colour, read_picture, read_pictures, read_series
from .segments import read_segmentation
from .structures import Structures, read_structures
from .volumes import Volume, window
from .windows import Window, windows_of

__all__ = [
    "NIFTI",
    "Case",
    "Structures",
    "Volume",
    "Window",
    "cases",
    "find_roi",
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
    "window",
    "windows_of",
]
