"""Which values of a scan become black and white: one window per series.

The window is the same whether the series is given as a folder, as a list of files or as a volume.
Padding never counts.

1. If every slice states the same window, that one is used.
2. Otherwise it runs between two `PERCENTILES` of the tissue: of all voxels that are not padding.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..errors import InputError, MedzooWarning
from . import arguments
from .pixels import series_key
from .volumes import Volume, a_volume, window

Array = NDArray[Any]
PERCENTILES = (0.5, 99.5)  # as nnU-Net's normalisation of CT
GREYS = 256  # levels of a picture of 8 bits, which `warn_of_few_greys` counts
FEW = 4  # levels
NEARLY_ALL = 0.99  # of the pixels: if they fall into `FEW` levels, the user is warned


def _volumes(value: Any, name: str) -> list[Volume]:
    """A list of volumes."""
    if not isinstance(value, (list, tuple)):
        raise InputError(
            f"{name}={checks.shown(value)} is not a list of volumes.", "Give a list of volumes."
        )
    return [a_volume(volume, name) for volume in value]


@dataclass(frozen=True)
class Window:
    """The window of one series: the range of values that is shown from black to white.

    Parameters
    ----------
    centre : float
        The value in the middle of the range, in the unit of the voxels.
    width : float
        The width of the range, in the unit of the voxels.
    source : str
        Where it comes from, for the provenance: the files, or percentiles.

    Examples
    --------
    >>> soft_tissue = medical.Window(centre=40, width=400, source="chosen")
    >>> soft_tissue.low
    -160.0
    """

    centre: float
    width: float
    source: str

    @property
    def low(self) -> float:
        """The value that becomes black."""
        return self.centre - self.width / 2


@checks.checked(volumes=_volumes, names=arguments.texts)
def windows_of(volumes: Sequence[Volume], names: Sequence[str]) -> list[Window]:
    """Choose the window of each volume, one per series.

    If every slice of a series states the same window, that one is used. Otherwise the window runs
    between two percentiles, 0.5 and 99.5, of all voxels that are not padding.

    Parameters
    ----------
    volumes : sequence of Volume
        Whole series, or single slices of one or several series, in any order.
    names : sequence of str
        One name per volume, for errors and warnings.

    Returns
    -------
    list of Window
        One per volume; the same for all volumes of a series.

    Raises
    ------
    InputError
        A volume holds infinite values, or only NaN; or there are not as many names as volumes.

    Examples
    --------
    >>> scan = medical.read_nifti("scan.nii.gz")
    >>> (chosen,) = medical.windows_of([scan], ["scan"])
    >>> chosen.source
    'percentiles 0.5 and 99.5 of the tissue'
    >>> picture = medical.window(scan.voxels, chosen.centre, chosen.width)
    """
    if len(names) != len(volumes):
        raise InputError(
            f"There are {len(names)} names for {len(volumes)} volumes.", "Give one name per volume."
        )
    members: dict[str, list[int]] = {}  # of each series, the numbers of its volumes
    for k, volume in enumerate(volumes):
        members.setdefault(series_key(volume, k), []).append(k)
    chosen: dict[int, Window] = {}
    for own in members.values():
        window_of_series = _window_of([volumes[k] for k in own], [names[k] for k in own])
        chosen.update(dict.fromkeys(own, window_of_series))
    return [chosen[k] for k in range(len(volumes))]


def _window_of(volumes: list[Volume], names: list[str]) -> Window:
    """The window of one series."""
    tissue = np.concatenate(list(map(tissue_of, volumes, names)))
    stated: set[tuple[float, float] | None] = set()
    for volume in volumes:
        stated.update(volume.windows or [volume.window])
    only = stated.pop() if len(stated) == 1 else None
    if only is not None:
        result = Window(*only, "stated by the files")
    else:
        low, high, source = _spread(tissue)
        if stated - {None}:
            source += ", since the files of the series state different windows"
            warnings.warn(
                MedzooWarning(f"{names[0]}: the slices state different windows; {source} are used"),
                stacklevel=5,
            )
        result = Window((low + high) / 2, high - low, source)
    warn_of_few_greys(tissue, result.centre, result.width, names[0])
    return result


def _spread(tissue: Array) -> tuple[float, float, str]:
    """Percentiles of values; or their least and greatest, if both percentiles are one value."""
    # With "higher" and "lower", percentiles are values that occur. So even in fewer than 200 pixels
    # a single bright one does not count.
    low = float(np.percentile(tissue, PERCENTILES[0], method="higher"))
    high = float(np.percentile(tissue, PERCENTILES[1], method="lower"))
    if low < high:
        return low, high, f"percentiles {PERCENTILES[0]} and {PERCENTILES[1]} of the tissue"
    low, high = float(tissue.min()), float(tissue.max())
    return low, max(high, low + 1), "least and greatest value of the tissue"


def tissue_of(volume: Volume, name: str) -> Array:
    """The values of all voxels that are not padding; of all voxels, if everything is padding.

    Raises
    ------
    InputError
        Some values are infinite, or all are NaN.
    """
    values = volume.voxels
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise InputError(
            f"{name} holds infinite values, "
            f"in {int(np.isinf(values).sum())} of {values.size} voxels.",
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
    """The volume with ``value`` as its padding, so that resampling does not blend the old one."""
    padding = _padding_of(volume)
    if not padding.any():
        return volume
    return replace(volume, voxels=np.where(padding, np.float32(value), volume.voxels), padding=None)


def _padding_of(volume: Volume) -> NDArray[np.bool_]:
    """Where a volume is padding: as its files mark it, or NaN."""
    padding: NDArray[np.bool_] = np.isnan(volume.voxels)
    if volume.padding is not None:
        padding |= volume.padding
    return padding


def warn_of_few_greys(tissue: Array, centre: float, width: float, name: str) -> None:
    """Warn if nearly all pixels become the same few greys, although their values differ."""
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
