"""Whether it is clear what a folder of inputs holds: pictures, NIfTI or DICOM, images or masks.

Where it is not, the user is asked rather than one part taken and the other left out.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError, MedzooWarning
from .files import is_dicom, library
from .nifti import NIFTI

MASK_WORDS = {"annotation", "annotations", "contour", "contours", "groundtruth", "gt", "label"}
MASK_WORDS |= {"labels", "mask", "masks", "roi", "rois", "seg", "segmentation", "segmentations"}
MASK_ENDS = ("label", "labels", "mask", "masks", "seg", "segmentation")
MOST_LABELS = 100  # different values in a few slices, above which a volume is not a segmentation
UNREAD = {".gif", ".heic", ".jp2", ".jpx", ".j2k", ".pgm", ".ppm", ".pnm", ".svs", ".tga", ".webp"}
UNREAD |= {".mha", ".mhd", ".nrrd", ".mgz", ".mgh"}
SEPARATE = "Give the files as a list, or put them in separate folders."


def require_one_kind(folder: Path, pictures: Sequence[Path]) -> None:
    """Raise InputError where a folder has more than one of pictures, NIfTI and DICOM.

    Parameters
    ----------
    folder
        The folder. DICOM is looked for in its subfolders too, as a series is.
    pictures
        The picture files that lie in it.
    """
    volumes = sorted(p for p in folder.iterdir() if is_nifti(p))
    unread = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in UNREAD)
    if unread:
        says = (
            f"inputs: {folder} holds pictures of a kind that is not read: {', '.join(unread[:3])}"
        )
        more = f" and {len(unread) - 3} more" if len(unread) > 3 else ""
        warnings.warn(MedzooWarning(f"{says}{more}. They were left out."), stacklevel=2)
    if not pictures and not volumes:
        return
    slices = _first_dicom(folder, {*pictures, *volumes})
    kinds = [
        f"{name} ({', '.join(str(file.relative_to(folder)) for file in files[:2])})"
        for name, files in (("pictures", pictures), ("NIfTI", volumes), ("DICOM", slices))
        if files
    ]
    if len(kinds) > 1:
        raise InputError(f"inputs: {folder} holds {' and '.join(kinds)}.", SEPARATE)


def require_one_role(folder: Path, files: Sequence[Path]) -> None:
    """Raise InputError where some files of a folder are segmentations, and others are not.

    Names tell it; those of NIfTI files that do not are looked into.
    """
    for is_mask in (_is_named_mask, _holds_labels):
        masks = [file for file in files if is_mask(file)]
        others = [file for file in files if file not in set(masks)]
        if masks and others:
            raise InputError(
                f"inputs: {folder} holds images and segmentations, such as {others[0].name} and "
                f"{masks[0].name}.",
                SEPARATE,
            )


def is_nifti(path: Path) -> bool:
    """Whether a file is called as NIfTI is, and is not hidden."""
    return path.name.lower().endswith(NIFTI) and not path.name.startswith(".")


def _first_dicom(folder: Path, others: set[Path]) -> list[Path]:
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(place, name)
            if not name.startswith(".") and file not in others and _may_be(is_dicom, file):
                return [file]
    return []


def _may_be(test: Callable[[Path], bool], file: Path) -> bool:
    try:
        return test(file)
    except OSError:  # a broken link, or a file that may not be read
        return False


def _is_named_mask(path: Path) -> bool:
    stem = path.name.lower().partition(".")[0]
    return not MASK_WORDS.isdisjoint(re.split(r"[^a-z]+", stem)) or stem.endswith(MASK_ENDS)


def _holds_labels(path: Path) -> bool:
    """Whether three slices of a NIfTI volume hold few different whole numbers from 0."""
    if not is_nifti(path):
        return False
    try:
        stored = library("nibabel", "NIfTI").load(path).dataobj
        last = stored.shape[-1]
        slices = [np.asanyarray(stored[..., last * k // 4]) for k in (1, 2, 3)]
    except InputError:
        raise
    except Exception:  # the reader says what is wrong
        return False
    different = np.unique(np.stack(slices))
    whole = different.dtype.kind in "bui" or (different == np.rint(different)).all()
    return bool(whole and different[0] >= 0 and len(different) <= MOST_LABELS)
