"""Which values of a scan become black and white: one window for each series.

It is the same whether the series is given as a folder, as a list of files or as a volume. Padding
never counts.

1. If every slice states the same window, that one is used.
2. Otherwise it runs between two `PERCENTILES` of the tissue, which is every voxel that is not
   padding.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MedzooWarning
from .pixels import series_key
from .volumes import Volume, window

Array = NDArray[Any]
PERCENTILES = (0.5, 99.5)  # as nnU-Net's normalisation of CT
GREYS = 256  # levels of the usual picture, by which `warn_of_few_greys` counts
FEW = 4
NEARLY_ALL = 0.99


@dataclass(frozen=True)
class Window:
    """The window of one series.

    Parameters
    ----------
    centre, width
        In the unit of the voxels.
    source
        Where it comes from, for the provenance: the files, or percentiles.
    """

    centre: float
    width: float
    source: str

    @property
    def low(self) -> float:
        """The value that becomes black."""
        return self.centre - self.width / 2


def windows_of(volumes: Sequence[Volume], names: Sequence[str]) -> list[Window]:
    """For each volume the window of the series that it belongs to.

    Parameters
    ----------
    volumes
        Whole series, or single slices of one or several series, in any order.
    names
        Of each, for errors and warnings.

    Raises
    ------
    InputError
        A volume holds infinite values.
    """
    keys = [series_key(volume, k) for k, volume in enumerate(volumes)]
    chosen = {}
    for key in dict.fromkeys(keys):
        members = [k for k, own in enumerate(keys) if own == key]
        chosen[key] = _window_of([volumes[k] for k in members], [names[k] for k in members])
    return [chosen[key] for key in keys]


def _window_of(volumes: list[Volume], names: list[str]) -> Window:
    """The window of one series."""
    tissue = np.concatenate(
        [tissue_of(volume, name) for volume, name in zip(volumes, names, strict=True)]
    )
    stated = {shown for volume in volumes for shown in volume.windows or (volume.window,)}
    if len(stated) == 1 and (only := stated.pop()) is not None:
        result = Window(*only, "stated by the files")
    else:
        low, high, source = _spread(tissue)
        if stated - {None}:
            source += ", since the files of the series state different windows"
            warnings.warn(
                MedzooWarning(f"{names[0]}: the slices state different windows; {source} are used"),
                stacklevel=4,
            )
        result = Window((low + high) / 2, high - low, source)
    warn_of_few_greys(tissue, result.centre, result.width, names[0])
    return result


def _spread(tissue: Array) -> tuple[float, float, str]:
    """Percentiles of values; or the least and the greatest, where percentiles are one value."""
    # "higher" and "lower" are values that occur. With fewer than 200 pixels, too, one bright pixel
    # does not count.
    low = float(np.percentile(tissue, PERCENTILES[0], method="higher"))
    high = float(np.percentile(tissue, PERCENTILES[1], method="lower"))
    if low < high:
        return low, high, f"percentiles {PERCENTILES[0]} and {PERCENTILES[1]} of the tissue"
    low, high = float(tissue.min()), float(tissue.max())
    return low, max(high, low + 1), "least and greatest value of the tissue"


def tissue_of(volume: Volume, name: str) -> Array:
    """The values of all voxels that are not padding; of all, where nothing else is there.

    Raises
    ------
    InputError
        Some are infinite, or none is a number.
    """
    values = volume.voxels
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise InputError(
            f"{name} holds infinite values, in {int(np.isinf(values).sum())} of {values.size} voxels.",
            "Replace them by numbers, or by NaN where there is no tissue.",
        )
    inside = ~_padding_of(volume)
    if not inside.any():
        inside = ~np.isnan(values)
    if not inside.any():
        raise InputError(f"{name} holds no numbers at all, only NaN.", "Give another scan.")
    tissue: Array = values[inside]
    return tissue


def fill_padding(volume: Volume, value: float) -> Volume:
    """The volume with ``value`` where there is padding, so that resampling does not blend it."""
    padding = _padding_of(volume)
    if not padding.any():
        return volume
    return replace(volume, voxels=np.where(padding, np.float32(value), volume.voxels), padding=None)


def _padding_of(volume: Volume) -> NDArray[np.bool_]:
    """Where a volume is padding: by its files, or NaN."""
    padding: NDArray[np.bool_] = np.isnan(volume.voxels)
    if volume.padding is not None:
        padding |= volume.padding
    return padding


def warn_of_few_greys(tissue: Array, centre: float, width: float, name: str) -> None:
    """Warn where nearly all values that differ become the same few greys."""
    greys = np.rint(window(tissue, centre, width) * (GREYS - 1)).astype(np.uint8)
    counts = np.bincount(greys, minlength=GREYS)
    most = np.argsort(counts)[-FEW:]
    share = counts[most].sum() / len(greys)
    if share < NEARLY_ALL:
        return
    different = len(np.unique(tissue[np.isin(greys, most)]))
    if different > 4 * FEW:
        bounds = f"{centre - width / 2:g} to {centre + width / 2:g}"
        warnings.warn(
            MedzooWarning(
                f"{name}: {share:.1%} of the pixels, with {different} different values, become "
                f"{FEW} of {GREYS} greys: the range {bounds} does not suit them"
            ),
            stacklevel=5,
        )
