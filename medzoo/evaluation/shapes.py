"""Sizes and places of masks and boxes, as fractions of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Shapes:
    """What is marked in each sample.

    Parameters
    ----------
    sizes : numpy.ndarray
        The share of the picture that is marked, (N,); 0 where nothing is.
    centres : numpy.ndarray
        Its centre along each axis, (N, axes), from 0 to 1; NaN where nothing is marked.
    """

    sizes: NDArray[np.float64]
    centres: NDArray[np.float64]

    def at(self, rows: NDArray[np.int64]) -> Shapes:
        """Fewer samples."""
        return Shapes(self.sizes[rows], self.centres[rows])


def shapes_of(masks: NDArray[Any] | None, boxes: NDArray[Any] | None) -> Shapes | None:
    """Sizes and places of masks (N, C, *spatial) or, without masks, of boxes (N, K, 4).

    A box is centre x, centre y, width and height. A row of NaN is not a box.
    """
    if masks is not None:
        return _of_masks(masks)
    return None if boxes is None else _of_boxes(boxes)


def _of_masks(masks: NDArray[Any]) -> Shapes:
    marked = (masks > 0).any(1).astype(np.float64)
    axes = tuple(range(1, marked.ndim))
    counts = marked.sum(axes)
    centres = []
    for axis in axes:
        side = marked.shape[axis]
        shape = [1] * marked.ndim
        shape[axis] = side
        positions = ((np.arange(side) + 0.5) / side).reshape(shape)
        with np.errstate(invalid="ignore"):
            centres.append((marked * positions).sum(axes) / counts)
    return Shapes(counts / np.prod(marked.shape[1:]), np.stack(centres, 1))


def _of_boxes(boxes: NDArray[Any]) -> Shapes:
    rows = boxes[:, None] if boxes.ndim == 2 else boxes
    is_box = ~np.isnan(rows).any(2)
    sizes = np.where(is_box, rows[..., 2] * rows[..., 3], 0).sum(1)
    counts = is_box.sum(1)
    centres = []
    for axis in (1, 0):  # y before x, as the axes of a mask
        with np.errstate(invalid="ignore"):
            centres.append(np.where(is_box, rows[..., axis], 0).sum(1) / counts)
    return Shapes(sizes.astype(np.float64), np.stack(centres, 1).astype(np.float64))
