"""Where the voxels of a picture lie in the patient: in its files, and as a model gets them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .resampling import resample
from .volumes import Volume

Array = NDArray[Any]
APART = 0.01  # voxels by which two grids may differ that are taken for one
SAME = 1e-5  # the share by which spacings may differ that are taken for one
# Voxel numbers (x, y, z) to (slice, row, column), and DICOM's millimetres to those of NIfTI.
REVERSED = np.eye(4)[[2, 1, 0, 3]]
TO_NIFTI = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)  # == of arrays is an array, not True or False
class Grid:
    """A grid of voxels.

    Parameters
    ----------
    shape
        Number of slices, rows and columns.
    spacing
        Millimetres between them.
    affine
        (4, 4): voxel numbers (x, y, z) to millimetres to the patient's right, front and head, as in
        a NIfTI file.
    frame
        FrameOfReferenceUID; empty if unknown.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    frame: str = ""

    @classmethod
    def of(cls, volume: Volume, number: int | None = None) -> Grid | None:
        """The grid of a volume, or of its slice ``number``; None if its place is not known."""
        affine = volume.affine
        if len(volume.voxels) == 1 and np.isnan(volume.spacing[0]):  # of unknown thickness
            affine[:3, 0] = volume.axes[0]
        if not np.isfinite(affine).all():
            return None
        depth, height, width = volume.voxels.shape
        if number is not None:
            depth = 1
            affine[:3, 3] += number * affine[:3, 0]
        z, y, x = np.linalg.norm(affine[:3, :3], axis=0).tolist()
        placed = TO_NIFTI @ affine @ REVERSED + 0.0  # no negative zeros
        return cls((depth, height, width), (z, y, x), placed, volume.frame)

    def is_at(self, other: Grid) -> bool:
        """Whether both have their voxels at the same places."""
        if self.shape != other.shape:
            return False
        last = np.subtract(self.shape, 1)[::-1]
        corners = np.argwhere(np.ones((2, 2, 2))) * last  # (8, 3) voxel numbers
        difference = self.affine - other.affine
        apart = np.abs(corners @ difference[:3, :3].T + difference[:3, 3]).max()
        return bool(apart <= APART * min(self.spacing))

    def record(self) -> dict[str, Any]:
        """What the provenance holds."""
        record: dict[str, Any] = {"affine": self.affine[:3].tolist()}
        return {**record, "frame": self.frame} if self.frame else record


@dataclass(frozen=True, eq=False)
class Place:
    """Where a picture lies: as its files have it, and as the model gets it.

    The two grids have the same directions and the same middle, unless the model's is a cut.
    """

    own: Grid
    taken: Grid

    def back(self, values: Array, *, labels: bool) -> Array:
        """Values (C, *spatial) on the model's grid, brought to the own one.

        Labels stay labels. Other whole numbers are interpolated and rounded.
        """
        if self.own.shape == self.taken.shape and np.allclose(
            self.own.spacing, self.taken.spacing, rtol=SAME, atol=0
        ):
            return values
        channels = values.reshape(len(values), *self.taken.shape)
        if not labels:
            channels = channels.astype(np.float32)
        origin, axes = np.zeros(3), np.eye(3)
        moved = []
        for channel in channels:
            volume = Volume(channel, self.taken.spacing, origin, axes)
            moved.append(resample(volume, self.own.spacing, self.own.shape).voxels)
        result = np.stack(moved)
        if values.dtype.kind != "f" and not labels:
            result = np.rint(result)
        spatial = self.own.shape[4 - values.ndim :]
        return result.astype(values.dtype).reshape(len(values), *spatial)
