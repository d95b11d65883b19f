"""Whether weights are those that a network begins with: drawn at random, and never trained.

A layer of torch begins with weights that are spread evenly up to a bound given by its inputs; DCGAN
and others begin with normal numbers of one width. Training changes both. A network is called
untrained only if all its large tensors are of one of these kinds, or if its batch norms have never
seen a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..modeltest.report import OK, WRONG, Finding

LARGE = 1000  # numbers of a tensor from which its distribution can be told
SAME = 0.03  # relative difference of widths that count as one
UNIFORM, NORMAL = 1.8, 3.0  # kurtosis of the two distributions
HINT = "Save the weights after training. Is it the right file?"


def about_training(folder: Path, names: list[str]) -> Finding:
    """The finding on the safetensors files of a package."""
    kinds, tensors = [], 0
    for name, values in _tensors(folder, names):
        if name.endswith("running_var") and values.size and (values == 1).all():
            return Finding("trained", WRONG, f"{name} is 1: its batch norm saw no batch", HINT)
        if values.ndim >= 2 and values.size >= LARGE and values.dtype.kind == "f":
            tensors += 1
            kinds.append(_kind(values))
    if not tensors:
        return Finding("trained", OK, "not told: there are no large tensors of weights")
    if all(kind.startswith("even") for kind in kinds):
        text = f"all {tensors} large tensors are spread evenly, as torch begins a network"
        return Finding("trained", WRONG, text, HINT)
    widths = [float(kind.partition(" ")[2]) for kind in kinds if kind.startswith("normal")]
    if len(widths) == tensors and max(widths) <= min(widths) * (1 + SAME):
        text = f"all {tensors} large tensors are normal noise of width {widths[0]:.3g}"
        return Finding("trained", WRONG, text, HINT)
    return Finding("trained", OK, f"{tensors} large tensors, not as a network begins")


def _tensors(folder: Path, names: list[str]) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """The tensors of all files; none of a file that numpy cannot read, such as one of bfloat16."""
    from safetensors import SafetensorError, safe_open

    for name in names:
        try:
            with safe_open(folder / name, "np") as file:
                for key in file.keys():  # noqa: SIM118  (not a mapping)
                    yield key, file.get_tensor(key)
        except (SafetensorError, OSError, TypeError, ValueError, KeyError):  # noqa: PERF203
            continue  # `weights` says what is wrong with it


def _kind(values: NDArray[np.floating]) -> str:
    """``even`` or ``normal WIDTH`` for a tensor that a network begins with; otherwise empty."""
    flat = values.astype(np.float64).ravel()
    width = float(flat.std())
    if not width or not math.isfinite(width) or abs(flat.mean()) > 5 * width / math.sqrt(flat.size):
        return ""
    spread = 5 * math.sqrt(24 / flat.size)  # of the kurtosis of so many normal numbers
    kurtosis = float(((flat / width) ** 4).mean())
    largest = float(np.abs(flat).max())
    if abs(kurtosis - UNIFORM) < min(0.1, spread) and largest < 1.01 * math.sqrt(3) * width * 1.02:
        return "even"
    if abs(kurtosis - NORMAL) < spread:
        return f"normal {width}"
    return ""
