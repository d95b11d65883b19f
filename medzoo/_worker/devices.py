"""What the interpreter that a model runs in has: devices, as the torch beside the model sees them,
and versions.
"""

from __future__ import annotations

import platform
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

KINDS = ("auto", "cpu", "cuda", "mps")


def pick_device(asked: str, torch: bool, name: str = "") -> str:
    """``auto`` resolved, anything else checked; torch is imported only for a package that declares
    it.

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
        raise InputError(
            f"device={name!r} is not a valid device.", "Use auto, cpu, cuda, cuda:1 or mps."
        )
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
        raise InputError(
            f"device={name!r}: the model's torch ({library.__version__}) does not see it.", sees
        )
    return wanted


def free_memory(device: str, system: Path = Path("/")) -> int | None:
    """Bytes that a batch may take on a device, beside what is there; None where that cannot be
    said.

    Of the CPU, on Linux: what the system has available, or less where a control group (a container,
    a job of a cluster) has a limit. What is held of files for later counts as free.

    Parameters
    ----------
    device
        As `pick_device` returns it.
    system
        Where ``proc`` and ``sys`` are.
    """
    if device.startswith("cuda"):
        free, _ = sys.modules["torch"].cuda.mem_get_info(device)
        return int(free)
    if device != "cpu":
        return None
    try:
        available = _entry(system / "proc" / "meminfo", "MemAvailable:") * 1024
    except (OSError, ValueError):
        return None
    return min([available, *_left_by_limits(system)])


def _left_by_limits(system: Path) -> list[int]:
    """What the control groups of this process leave of their limits (version 2 of cgroups)."""
    left = []
    with suppress(OSError, ValueError):
        own = [
            line[3:]
            for line in (system / "proc/self/cgroup").read_text().splitlines()
            if line.startswith("0::")
        ]
        parts = Path("/".join(own)).parts
        for depth in range(len(parts) + 1):
            group = (system / "sys/fs/cgroup").joinpath(
                *(p for p in parts[:depth] if p not in ("/", ".."))
            )
            limit = group / "memory.max"
            if limit.exists() and (most := limit.read_text().strip()) != "max":
                used = int((group / "memory.current").read_text()) - _entry(
                    group / "memory.stat", "inactive_file"
                )
                left.append(max(0, int(most) - used))
    return left


def _entry(file: Path, name: str) -> int:
    """The number behind a name in a list of the kernel's."""
    for line in file.read_text().splitlines():
        words = line.split()
        if words[0] == name:
            return int(words[1])
    raise ValueError(f"{file} has no {name}")


def describe(libraries: Iterable[str], torch: bool) -> dict[str, Any]:
    """What the provenance records about this interpreter.

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
