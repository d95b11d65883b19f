"""What a folder holds: pictures, NIfTI or DICOM, images or masks.

If that is not clear, the user gets an error: no part is chosen and another left out silently.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .. import checks
from .._worker.input_files import natural
from ..errors import InputError, MedzooWarning
from ..settings import user_path
from .files import files_of, is_dicom, library
from .nifti import NIFTI, is_nifti

MASK_WORDS = {"annotation", "annotations", "contour", "contours", "groundtruth", "gt", "label"}
MASK_WORDS |= {"labels", "mask", "masks", "roi", "rois", "seg", "segmentation", "segmentations"}
MASK_ENDS = ("label", "labels", "mask", "masks", "seg", "segmentation")
TISSUE_WORDS = {"csf", "gm", "prob", "probability", "probseg", "pve", "wm"}
# Words of file names that state an MR contrast, as in BraTS, BIDS and data sets like them.
CONTRASTS = {
    "T1": {"t1", "t1w", "t1n", "mprage"},
    "contrast-enhanced T1": {"t1c", "t1ce", "t1gd", "t1post"},
    "T2": {"t2", "t2w"},
    "FLAIR": {"flair", "t2f"},
}
IMAGES, SEGMENTATIONS, MAPS = "images", "segmentations", "maps of values from 0 to 1"
ROUNDING = 1e-3  # by which a share of tissue may be above 1
MOST_LABELS = 100  # different values in three slices: a volume with more is not a segmentation
UNREAD = {".gif", ".heic", ".jp2", ".jpx", ".j2k", ".pgm", ".ppm", ".pnm", ".svs", ".tga", ".webp"}
UNREAD |= {".mha", ".mhd", ".nrrd", ".mgz", ".mgh"}
SEPARATE = "Give the files as a list, or put them in separate folders."


def require_one_kind(folder: Path, pictures: Sequence[Path]) -> None:
    """Raise InputError if a folder holds more than one of pictures, NIfTI and DICOM.

    Parameters
    ----------
    folder
        The folder. Its subfolders are searched for DICOM too.
    pictures
        The picture files in it.
    """
    volumes, unread = [], []
    for file in sorted(folder.iterdir()):
        if is_nifti(file):
            volumes.append(file)
        if file.suffix.lower() in UNREAD:
            unread.append(file.name)
    if unread:
        more = f" and {len(unread) - 3} more" if len(unread) > 3 else ""
        warnings.warn(
            MedzooWarning(
                f"inputs: {folder} holds pictures of a kind that is not read: "
                f"{', '.join(unread[:3])}{more}. They were left out."
            ),
            stacklevel=2,
        )
    if not pictures and not volumes:
        return
    slices = _first_dicom(folder, {*pictures, *volumes})
    kinds = []
    for name, files in (("pictures", pictures), ("NIfTI", volumes), ("DICOM", slices)):
        if files:
            examples = ", ".join(str(file.relative_to(folder)) for file in files[:2])
            kinds.append(f"{name} ({examples})")
    if len(kinds) > 1:
        raise InputError(f"inputs: {folder} holds {' and '.join(kinds)}.", SEPARATE)


def require_one_role(folder: Path, files: Sequence[Path]) -> None:
    """Raise InputError if files of a folder cannot be used alike: images beside segmentations,
    maps of tissue or maps of values from 0 to 1, or scans of different MR contrasts.

    File names decide. NIfTI files whose names are unclear are opened.
    """
    for role_of in (_role_by_name, _contrast_by_name, _role_by_content):
        examples: dict[str, Path] = {}
        for file in files:
            examples.setdefault(role_of(file), file)
        examples.pop("", None)
        if len(examples) > 1:
            first, second = sorted(examples)[:2]
            raise InputError(
                f"inputs: {folder} holds {first} and {second}, such as {examples[first].name} and "
                f"{examples[second].name}.",
                SEPARATE,
            )


def nifti_beneath(folder: Path) -> Path | None:
    """The first NIfTI file in the subfolders of a folder; None if there is none."""
    return next((file for file in sorted(folder.rglob("*.nii*")) if is_nifti(file)), None)


def _first_dicom(folder: Path, others: set[Path]) -> list[Path]:
    """The first DICOM file of a folder and its subfolders, in a list; empty if there is none."""
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


def _role_by_name(path: Path) -> str:
    """What a file name says of a file: an image, unless a word of it says that it is a mask or a
    map of tissue.
    """
    stem = path.name.lower().partition(".")[0]
    words = re.split(r"[^a-z]+", stem)
    if not MASK_WORDS.isdisjoint(words) or stem.endswith(MASK_ENDS):
        return SEGMENTATIONS
    return IMAGES if TISSUE_WORDS.isdisjoint(words) else "maps of tissue"


def _contrast_by_name(path: Path) -> str:
    """The MR contrast that the name of a NIfTI file states last; empty if there is none."""
    if not is_nifti(path):
        return ""
    words = re.split(r"[^a-z0-9]+", path.name.lower().partition(".")[0])
    stated = [name for word in words for name, spellings in CONTRASTS.items() if word in spellings]
    return f"{stated[-1]} scans" if stated else ""


def _role_by_content(path: Path) -> str:
    """What three slices of a NIfTI volume hold: a segmentation has few different whole numbers from
    0, a map of tissue has fractions from 0 to 1.
    """
    if not is_nifti(path):
        return IMAGES
    try:
        stored = library("nibabel", "NIfTI").load(path).dataobj
        last = stored.shape[-1]
        slices = [np.asanyarray(stored[..., last * k // 4]) for k in (1, 2, 3)]
    except InputError:
        raise
    except Exception:  # the reader reports the error
        return IMAGES
    values = np.unique(np.stack(slices))
    if values[0] < 0:
        return IMAGES
    whole = values.dtype.kind in "bui" or (values == np.rint(values)).all()
    if whole and len(values) <= MOST_LABELS:
        return SEGMENTATIONS
    return MAPS if values[-1] <= 1 + ROUNDING else IMAGES


@checks.checked(path=user_path)
def scans_in(path: Path) -> list[Path]:
    """List the scans that medzoo can read at a path.

    Parameters
    ----------
    path : str or os.PathLike
        A file or a folder.

    Returns
    -------
    list of pathlib.Path
        The NIfTI files of the folder, sorted by name with their numbers as numbers (2 before 10).
        If there are none, the folder itself if it or a subfolder holds DICOM. For a file, the file
        itself if it is NIfTI or DICOM. Otherwise nothing.

    Examples
    --------
    >>> [path.name for path in medical.scans_in(".")]
    ['mask.nii.gz', 'scan.nii.gz']
    >>> [path.name for path in medical.scans_in("patient7/")]
    ['patient7']
    """
    if path.is_file():
        return [path] if path.name.lower().endswith(NIFTI) or is_dicom(path) else []
    if not path.is_dir():
        return []
    if volumes := [file for file in path.iterdir() if is_nifti(file)]:
        return sorted(volumes, key=lambda file: natural(file.name))
    return [path] if any(map(is_dicom, files_of(path))) else []


def split_structure(text: str | os.PathLike[str]) -> tuple[Path, str] | None:
    """Folder and structure of ``FOLDER#STRUCTURE``; None if the folder does not exist.

    Both may have a ``#`` in their names. The longest path that exists is the folder.
    """
    parts = os.fspath(text).split("#")
    for k in range(len(parts) - 1, 0, -1):
        folder = user_path("#".join(parts[:k]) or ".").absolute()
        if folder.exists():
            return folder, "#".join(parts[k:])
    return None
