"""Anything that holds a picture, as an array of the shape that a config states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def to_array(value: Any) -> Any:
    """A torch tensor on any device, a TensorFlow tensor, a PIL image, a list or an array, as a
    numpy array.

    Raises
    ------
    ValueError
        It is none of these, or its values are not numbers.
    """
    if hasattr(value, "detach"):  # torch, which may want a gradient or lie on a GPU
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # which numpy does not have
            value = value.float()
    array = np.asarray(value)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype.kind not in "buif":
        kind = type(value).__name__ if array.dtype.kind in "OUS" else str(array.dtype)
        raise ValueError(f"{kind} holds no numbers that a column could take")
    return array


def arrange(value: Any, output: dict[str, Any]) -> Any:
    """One sample's ``value`` as an array of the output's shape; its numbers are as they were.

    Parameters
    ----------
    value
        A picture (H, W), (C, H, W) or (H, W, C), or its like in three dimensions; leading axes of
        length 1 are dropped. A row of a table, or a number.
    output
        ``shape`` (C, H, W) or its like, ``channels`` to take of it, ``fit`` to another size,
        ``fill`` beyond its border, and whether it is a ``mask``.

    Raises
    ------
    ValueError
        It does not fit.
    """
    if value is None:
        raise ValueError("None came in its place")
    array = to_array(value)
    shape, channels = tuple(output["shape"]), list(output["channels"])
    came = array.shape
    while array.ndim > len(shape) and array.shape[0] == 1:
        array = array[0]
    if array.ndim == len(shape) - 1 and shape[0] == 1 and not any(channels):
        array = array[None]  # (1, *spatial)
    elif array.ndim == len(shape) and shape:
        array = _channels_first(array, shape, channels, output["fit"])
        if channels:
            array = array[channels]
    if array.ndim == len(shape) and array.shape[:1] == shape[:1] and array.shape != shape:
        if output["fit"] == "pad":
            array = _padded(array, shape[1:], output["fill"])
        elif output["fit"] == "resize":
            array = _resized(array, shape[1:], nearest=output["mask"])
    if array.shape != shape:
        wanted = f"{shape} of channels {channels}" if channels else str(shape)
        raise ValueError(f"it has the shape {came}, not {wanted}")
    return np.asarray(array, order="C")


def _channels_first(array: Any, shape: Sequence[int], channels: list[int], fit: str) -> Any:
    """(H, W, C) turned to (C, H, W); which of the two it is, its lengths say."""

    def may_be(length: int) -> bool:
        return length > max(channels) if channels else length == shape[0]

    exact = fit == "exact"
    first = may_be(array.shape[0]) and (not exact or array.shape[1:] == tuple(shape[1:]))
    last = may_be(array.shape[-1]) and (not exact or array.shape[:-1] == tuple(shape[1:]))
    if last and not (first and array.shape[0] <= array.shape[-1]):
        return np.moveaxis(array, -1, 0)
    return array


def _padded(array: Any, size: Sequence[int], fill: float) -> Any:
    """Cut, or filled up with ``fill``, around the centre."""
    for axis, length in enumerate(size, 1):
        beyond = array.shape[axis] - length
        if beyond > 0:
            array = np.moveaxis(
                np.moveaxis(array, axis, 0)[beyond // 2 : beyond // 2 + length], 0, axis
            )
        elif beyond < 0:
            ends = [(0, 0)] * array.ndim
            ends[axis] = (-beyond // 2, -beyond - (-beyond // 2))
            array = np.pad(array, ends, constant_values=np.asarray(fill).astype(array.dtype))
    return array


def _resized(array: Any, size: Sequence[int], *, nearest: bool) -> Any:
    """Scaled axis by axis, linearly between the centres of pixels, or to the nearest one."""
    kind = array.dtype
    for axis, length in enumerate(size, 1):
        if array.shape[axis] == length:
            continue
        at = (np.arange(length) + 0.5) * (array.shape[axis] / length) - 0.5
        if nearest:
            array = np.take(array, np.clip(np.rint(at), 0, array.shape[axis] - 1).astype(int), axis)
            continue
        at = np.clip(at, 0, array.shape[axis] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, array.shape[axis] - 1)
        part = (at - low).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
        array = np.take(array, low, axis) * (1 - part) + np.take(array, high, axis) * part
    return np.rint(array).astype(kind) if kind.kind in "bui" else array.astype(kind)
