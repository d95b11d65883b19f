"""NIfTI: one ``.nii.gz`` per picture or volume, readable by every medical viewer.

The axes are x, y, z and, if there are several channels, the channel. A flat picture has one slice.
Rows run from front to back and columns from the patient's right to left, as an axial slice is
shown, and the affine has the spacing of the config; a column with the geometry of a user's scan has
the affine of that scan.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import Output
from ..config.columns import affine_of, from_xyz, grid_of, to_xyz
from .formats import as_json, pictures_unfit
from .one_file_each import OneFileEach

# Codes of the standard: of the coordinates, and of an extension that holds text.
ALIGNED, COMMENT = 2, 6
GZIP_HEAD = b"\x1f\x8b\x08" + bytes(5) + b"\x04\xff"  # deflate, no time, fast, any system
BEFORE_COMMENT = 360  # bytes: the header, its extension flag, the comment's length and code


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
        voxels = to_xyz(values)  # (C, X, Y, Z)
        voxels = voxels[0] if len(voxels) == 1 else np.moveaxis(voxels, 0, -1)
        affine = affine_of(output, self._provenance, metadata["index"])
        is_placed = grid_of(output, self._provenance, metadata["index"]) is not None
        source = f"synthetic, {metadata.get('model', '')} {metadata.get('version', '')}"
        comment = as_json(metadata).encode()
        before, after = _around_comment(
            len(comment),
            voxels.shape,
            voxels.dtype.name,
            affine.tobytes(),
            unit="mm" if output.spacing or is_placed else "unknown",
            source=source[:79].encode("ascii", "replace"),
            shown=output.range,
        )
        numbers = voxels.astype(voxels.dtype.name, copy=False).tobytes("F")  # in native order
        return [(".nii.gz", gzipped(before + comment + after + numbers))]

    @staticmethod
    def decode(paths: Sequence[Path], output: Output) -> NDArray[Any]:
        """The picture or volume, (C, *spatial)."""
        import nibabel as nib

        voxels = np.asarray(nib.load(paths[0]).dataobj)
        voxels = voxels[None] if output.shape[0] == 1 else np.moveaxis(voxels, -1, 0)
        return from_xyz(voxels, len(output.shape))


def gzipped(data: bytes) -> bytes:
    """A gzip file without a name or a time.

    The strategy Z_RLE looks for runs alone, in half the time: what surrounds a body is a run, and
    the noise of scans has few other repetitions.
    """
    deflate = zlib.compressobj(1, wbits=-zlib.MAX_WBITS, strategy=zlib.Z_RLE)
    end = struct.pack("<II", zlib.crc32(data), len(data) % 2**32)
    return GZIP_HEAD + deflate.compress(data) + deflate.flush() + end


@lru_cache(maxsize=1024)
def _around_comment(
    length: int,
    shape: tuple[int, ...],
    dtype: str,
    affine: bytes,
    *,
    unit: str,
    source: bytes,
    shown: tuple[float, float] | None,
) -> tuple[bytes, bytes]:
    """What nibabel writes before a comment of so many bytes, and between it and the voxels.

    Most samples of a set share it, and nibabel takes longer for it than gzip for the voxels.
    """
    import nibabel as nib

    voxels = np.zeros(shape, dtype)
    placed = np.frombuffer(affine).reshape(4, 4)
    image = nib.Nifti1Image(voxels, placed, dtype=voxels.dtype)
    for coordinates in (image.set_sform, image.set_qform):
        coordinates(placed, code=ALIGNED)
    head = image.header
    head.set_xyzt_units(unit)
    head["descrip"] = source
    if shown:
        head["cal_min"], head["cal_max"] = shown
    comment = bytes(length)
    head.extensions.append(nib.nifti1.Nifti1Extension(COMMENT, comment))
    written = image.to_bytes()
    end = BEFORE_COMMENT + length
    return written[:BEFORE_COMMENT], written[end : len(written) - voxels.nbytes]
