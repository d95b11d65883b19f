"""Files that a MONAI bundle wrote, as arrays."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import PackageError

if TYPE_CHECKING:
    from pathlib import Path


def read_file(folder: Path, pattern: str, axes: list[str]) -> tuple[Any, list[str]]:
    """The one file of a folder that fits a pattern: its array, and where its axes of space lead.

    Raises
    ------
    PackageError
        There is none, or more than one, or it is neither NIfTI nor a picture.
    """
    names = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    fitting = sorted(name for name in names if fnmatch.fnmatchcase(name, pattern))
    if len(fitting) != 1:
        wrote = ", ".join(sorted(names)[:8]) or "nothing"
        raise PackageError(
            f"one file {pattern} was expected of each sample, and there are {len(fitting)}.",
            f"It wrote {wrote}.",
        )
    path = names[fitting[0]]
    if path.name.endswith((".nii", ".nii.gz")):
        return _nifti(path)
    if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}:
        from PIL import Image

        with Image.open(str(path)) as image:
            array = np.asarray(image)
        return (array if array.ndim == 2 else np.moveaxis(array, -1, 0)), ["y", "x"]
    if path.suffix == ".npy":
        return np.load(str(path), allow_pickle=False), axes
    raise PackageError(f"it wrote {path.name}, which is neither NIfTI nor a picture.")


def _nifti(path: Path) -> tuple[Any, list[str]]:
    import nibabel

    image: Any = nibabel.load(str(path))
    array = np.asarray(image.dataobj)
    array = np.moveaxis(array, -1, 0) if array.ndim == 4 else array  # (C, x, y, z)
    return array, list(nibabel.aff2axcodes(image.affine))
