"""NIfTI: one ``.nii.gz`` per picture or volume, readable by every medical viewer.

The axes are x, y, z and, if there are several channels, the channel. A flat picture has one slice.
Rows run from front to back and columns from the patient's right to left, as an axial slice is shown,
and the affine has the spacing of the config; a column with the geometry of a user's scan has the
affine of that scan.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import Output
from ..config.columns import affine_of, from_xyz, grid_of, to_xyz
from .formats import pictures_unfit
from .one_file_each import OneFileEach

# Codes of the standard: of the coordinates, and of an extension that holds text.
ALIGNED, COMMENT = 2, 6


class Nifti(OneFileEach):
    """Pictures and volumes in the column's own type."""

    needs = encoder = "nibabel"

    @staticmethod
    def unfit(outputs: Mapping[str, Output]) -> list[str]:
        """Columns with neither two nor three axes of space."""
        return pictures_unfit(outputs, lambda o: len(o.shape) in {3, 4})

    def encode(
        self, values: NDArray[Any], output: Output, metadata: Mapping[str, Any]
    ) -> Iterable[tuple[str, bytes]]:
        """One file."""
        import nibabel as nib

        voxels = to_xyz(values)  # (C, X, Y, Z)
        voxels = voxels[0] if len(voxels) == 1 else np.moveaxis(voxels, 0, -1)
        affine = affine_of(output, self._provenance, metadata["index"])
        is_placed = grid_of(output, self._provenance, metadata["index"]) is not None
        image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
        for coordinates in (image.set_sform, image.set_qform):
            coordinates(affine, code=ALIGNED)
        head = image.header
        head.set_xyzt_units("mm" if output.spacing or is_placed else "unknown")
        source = f"synthetic, {metadata.get('model', '')} {metadata.get('version', '')}"
        head["descrip"] = source[:79].encode("ascii", "replace")
        if output.range:
            head["cal_min"], head["cal_max"] = output.range
        comment = json.dumps(metadata, sort_keys=True).encode()
        head.extensions.append(nib.nifti1.Nifti1Extension(COMMENT, comment))
        packed = io.BytesIO()
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=packed, mtime=0) as file:
            file.write(image.to_bytes())
        return [(".nii.gz", packed.getvalue())]

    @staticmethod
    def decode(paths: Sequence[Path], output: Output) -> NDArray[Any]:
        """The picture or volume, (C, *spatial)."""
        import nibabel as nib

        voxels = np.asarray(nib.load(paths[0]).dataobj)
        voxels = voxels[None] if output.shape[0] == 1 else np.moveaxis(voxels, -1, 0)
        return from_xyz(voxels, len(output.shape))
