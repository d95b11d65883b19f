"""Volumes of known geometry: grey values or labels on a grid in the patient.

Millimetres are DICOM's: x to the patient's left, y to the back, z to the head. Arrays are in the
order slices, rows, columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..errors import InputError
from . import arguments

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)  # == of arrays is an array, not True or False
class Volume:
    """Slices on a grid in the patient.

    Parameters
    ----------
    voxels : array
        (D, H, W). Floats are values, which resampling interpolates. Whole numbers and bool are
        labels, which it does not interpolate.
    spacing : tuple of float
        Millimetres between slices, rows and columns; NaN if the file does not state it.
    origin : array of float64
        (3,): the centre of the first voxel in millimetres, (x, y, z); NaN if the file does not
        state it.
    axes : array of float64
        (3, 3): the directions in which slices, rows and columns follow each other, one unit vector
        (x, y, z) per row.
    unit : str, optional
        ``"HU"`` or ``"Gy"`` if the file states it, else empty.
    window : tuple of float, optional
        Centre and width with which the files ask to be shown, if all of them state the same.
    series : str, optional
        SeriesInstanceUID; empty if the file has none.
    frame : str, optional
        FrameOfReferenceUID; empty if the file has none.
    windows : tuple, optional
        The different windows that the files of the series state, each as centre and width; None
        for a file that states none.
    padding : array of bool, optional
        (D, H, W): voxels outside of what was scanned, as the files mark them; None if there are
        none. They keep their values.

    Examples
    --------
    >>> ct = medical.read_series("patient7/")
    >>> ct.voxels.shape, ct.spacing, ct.unit
    ((12, 64, 64), (3.0, 1.0, 1.0), 'HU')
    >>> ct.affine[:3, 3]  # the centre of the first voxel
    array([-20., -30.,  40.])
    """

    voxels: Array
    spacing: tuple[float, float, float]
    origin: NDArray[np.float64]
    axes: NDArray[np.float64]
    unit: str = ""
    window: tuple[float, float] | None = None
    series: str = ""
    frame: str = ""
    windows: tuple[tuple[float, float] | None, ...] = ()
    padding: NDArray[np.bool_] | None = None

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel numbers (slice, row, column, 1) to millimetres (x, y, z, 1), (4, 4)."""
        affine = np.eye(4)
        affine[:3, :3] = self.axes.T * self.spacing
        affine[:3, 3] = self.origin
        return affine

    def voxels_at(self, points: Array) -> NDArray[np.float64]:
        """Convert points in the patient to voxel numbers.

        Parameters
        ----------
        points : array
            (n, 3) in millimetres, (x, y, z).

        Returns
        -------
        array of float64
            (n, 3): slice, row and column, with fractions. They may lie outside of the volume.

        Examples
        --------
        >>> ct = medical.read_series("patient7/")
        >>> ct.voxels_at([[-20.0, -30.0, 40.0], [-19.5, -30.0, 43.0]])
        array([[0. , 0. , 0. ],
               [1. , 0. , 0.5]])
        """
        from_origin = np.asarray(points, float) - self.origin
        numbers: NDArray[np.float64] = from_origin @ self.axes.T / self.spacing
        return numbers

    def axial(self) -> Volume:
        """Turn the volume to axial slices, without interpolation.

        Slices run from feet to head, rows from front to back, columns from the patient's right to
        left. Axes are swapped and reversed only: an oblique volume stays oblique, and comes as near
        to this order as that allows.

        Returns
        -------
        Volume
            The same voxels at the same positions in the patient.

        Examples
        --------
        >>> ct = medical.read_series("patient7/")
        >>> ct.axial().axes
        array([[0., 0., 1.],
               [0., 1., 0.],
               [1., 0., 0.]])
        """
        order = _nearest_axes(self.axes)  # for z, y and x the axis that runs most nearly along it
        axes, spacing, origin = self.axes[order], np.array(self.spacing)[order], self.origin.copy()
        voxels = self.voxels.transpose(order)
        padding = None if self.padding is None else self.padding.transpose(order)
        for k, patient_axis in enumerate((2, 1, 0)):
            if axes[k, patient_axis] < 0:
                origin = origin + axes[k] * spacing[k] * (voxels.shape[k] - 1)
                axes[k] = -axes[k]
                voxels = np.flip(voxels, k)
                padding = None if padding is None else np.flip(padding, k)
        z, y, x = spacing.tolist()
        return replace(
            self,
            voxels=np.ascontiguousarray(voxels),
            spacing=(z, y, x),
            origin=origin,
            axes=axes,
            padding=padding,
        )


a_volume = checks.instance(Volume, "medical.read_series")


def _nearest_axes(axes: Array) -> list[int]:
    """For z, y and x the number of the axis that is nearest to it; each axis is used once."""
    along = np.abs(axes)[:, ::-1].copy()  # (axis, of z y x)
    order = [0, 0, 0]
    for _ in range(3):
        axis, target = np.unravel_index(np.argmax(along), along.shape)
        order[target] = int(axis)
        along[axis], along[:, target] = -1, -1
    return order


@checks.checked(values=arguments.array, centre=checks.number, width=checks.number)
def window(values: Array, centre: float, width: float) -> NDArray[np.float32]:
    """Map a range of values to 0 to 1, and cut off what lies outside of it.

    ``centre - width / 2`` becomes 0, ``centre + width / 2`` becomes 1. DICOM calls this function
    LINEAR_EXACT (PS3.3, C.11.2.1.3.2).

    Parameters
    ----------
    values : array
        Of any shape, in HU or any other unit.
    centre : float
        The value that becomes 0.5, in the unit of ``values``.
    width : float
        The width of the range, above 0, in the unit of ``values``.

    Returns
    -------
    array of float32
        From 0 to 1, in the shape of ``values``.

    Raises
    ------
    InputError
        ``width`` is not above 0.

    Examples
    --------
    Soft tissue, such as a parotid, is seen well with centre 40 and width 400:

    >>> medical.window([-1000, -160, 40, 240], centre=40, width=400)
    array([0. , 0. , 0.5, 1. ], dtype=float32)
    """
    if not width > 0:
        raise InputError(
            f"width={width!r} of a window is not above 0.",
            "Give centre and width, such as 40 and 400 HU.",
        )
    above = np.asarray(values, np.float32) - np.float32(centre - width / 2)
    scaled: NDArray[np.float32] = above / np.float32(width)
    return scaled.clip(0, 1)
