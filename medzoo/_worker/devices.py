"""Devices and versions of the interpreter that a model runs in. Its own torch says which devices
there are.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KINDS = ("auto", "cpu", "cuda", "mps")


def pick_device(asked: str, torch: bool, name: str = "") -> str:
    """The device to use: ``auto`` is resolved, any other is checked.

    torch is imported only for a package that declares it.

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
    available = ["cpu", *(f"cuda:{i}" for i in range(library.cuda.device_count()))]
    if mps is not None and mps.is_available():
        available.append("mps")
    if asked == "auto":
        return "cuda:0" if "cuda:0" in available else "cpu"
    device = "cuda:0" if asked == "cuda" else asked
    if device not in available:
        raise InputError(
            f"device={name!r}: the model's torch ({library.__version__}) does not see it.",
            f"It sees {', '.join(available)}.",
        )
    return device


def free_memory(device: str, system: Path = Path("/")) -> int | None:
    """Bytes that are free for a batch on a device; None if that is unknown.

    For the CPU, on Linux: what the system has available, or less if a control group (a container,
    a job of a cluster) has a limit. Cached files count as free memory.

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
    remaining = []
    with suppress(OSError, ValueError):
        for group in control_groups(system):
            limit = group / "memory.max"
            most = limit.read_text().strip() if limit.exists() else "max"
            if most != "max":
                cache = _entry(group / "memory.stat", "inactive_file")
                used = int((group / "memory.current").read_text()) - cache
                remaining.append(max(0, int(most) - used))
    return remaining


def control_groups(system: Path, controller: str = "") -> Iterator[Path]:
    """The folders of the control groups that this process is in, the outermost first.

    Parameters
    ----------
    system
        Where ``proc`` and ``sys`` are.
    controller
        Of version 1, such as ``cpu``; version 2, which has one tree for all, if empty.
    """
    lines = (system / "proc/self/cgroup").read_text().splitlines()
    folder = system / "sys/fs/cgroup" / controller
    yield folder
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            for part in Path(path).parts:
                if part not in ("/", ".."):
                    folder = folder / part
                    yield folder


def _entry(file: Path, name: str) -> int:
    """The number after a name, in a file that the kernel provides."""
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
        Whether the package declares torch: then the number of its threads is included.
    """
    import platform

    library = sys.modules.get("torch") if torch else None
    versions = {name: _installed(name) for name in libraries}
    return {
        "python": platform.python_version(),
        "libraries": {name: version for name, version in versions.items() if version},
        "threads": library.get_num_threads() if library is not None else None,
    }


def _installed(name: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
