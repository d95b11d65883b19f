"""What the interpreter that a model runs in has: devices, as the torch beside the model sees them, and versions."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

KINDS = ("auto", "cpu", "cuda", "mps")


def pick_device(asked: str, torch: bool, name: str = "") -> str:
    """``auto`` resolved, anything else checked; torch is imported only for a package that declares it.

    Parameters
    ----------
    asked
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    torch
        Whether the package declares it; one that does not runs on the CPU.
    name
        What the user calls the device, where others are hidden from this process.

    Raises
    ------
    InputError
        There is no such device here.
    """
    name = name or asked
    if not isinstance(asked, str) or asked.partition(":")[0] not in KINDS:
        raise InputError(f"device={name!r} is no device.", "Give auto, cpu, cuda, cuda:1 or mps.")
    if asked == "cpu" or not torch:
        return "cpu"
    import torch as library

    mps = getattr(library.backends, "mps", None)  # from torch 1.12 on
    here = ["cpu", *(f"cuda:{i}" for i in range(library.cuda.device_count()))]
    here += ["mps"] if mps is not None and mps.is_available() else []
    if asked == "auto":
        return "cuda:0" if "cuda:0" in here else "cpu"
    wanted = "cuda:0" if asked == "cuda" else asked
    if wanted not in here:
        sees = f"It sees {', '.join(here)}."
        raise InputError(f"device={name!r}: the model's torch ({library.__version__}) does not see it.", sees)
    return wanted


def describe(libraries: Iterable[str], torch: bool) -> dict[str, Any]:
    """What the provenance tells of this interpreter.

    Parameters
    ----------
    libraries
        Distributions whose versions are wanted, where they are installed.
    torch
        Whether the package declares torch: then the number of its threads is told.
    """
    library = sys.modules.get("torch") if torch else None
    return {
        "python": platform.python_version(),
        "libraries": {name: found for name in libraries if (found := _installed(name))},
        "threads": library.get_num_threads() if library is not None else None,
    }


def _installed(name: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
