"""The containment of a model's process. It contains itself before it imports anything that a model
brings, and while it has one thread, since threads that exist already would stay free.

Needs only Python 3.8: numpy is imported later.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import landlock, seccomp

# What can be contained. All of it is possible on Linux 6.12 or newer.
FILES, NETWORK, SIGNALS, LIMITS, CHILDREN = PARTS = (
    "files",  # only its own files can be read, only its temporary folder written
    "network",  # no connection, to other machines or to programs of this one
    "signals",  # none to processes that are not its own
    "limits",  # of memory, of the size of a file, of the number of processes
    "children",  # all processes that it started end with it
)
BIGGEST_FILE = 8 * 2**30
CAPABILITIES, READS_ALL_FILES = 64, 2  # how many to look at; the one that root keeps
PR_CAPBSET_DROP = 24
PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store")
FACTS = (  # what libraries want to know about the machine; nothing about its users
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ld-musl-x86_64.path", "localtime", "timezone"),
    *("passwd", "group", "nsswitch.conf", "alternatives", "fonts", "mime.types", "os-release"),
    *("debian_version", "OpenCL", "vulkan", "locale.alias", "magic", "lsb-release"),
)
PROC = (
    *("cpuinfo", "meminfo", "stat", "filesystems", "version", "uptime", "loadavg", "vmstat"),
    *("devices", "modules", "driver", "sys/vm", "sys/kernel", "sys/fs"),
)
SYS = ("devices", "bus", "class", "dev", "module", "fs/cgroup", "kernel/mm")
DEVICES = ("null", "zero", "full", "random", "urandom")
GPUS = ("nvidia*", "dri", "kfd", "nvidia-caps/*", "dxg")


def possible() -> tuple[str, ...]:
    """What of `PARTS` this system can contain."""
    version = landlock.abi()
    there = {
        FILES: version >= landlock.HOLDS_FILES,
        NETWORK: seccomp.is_known(),
        SIGNALS: version >= landlock.HOLDS_SIGNALS,
        LIMITS: os.name == "posix",
        CHILDREN: sys.platform == "linux",
    }
    return tuple(part for part in PARTS if there[part])


def contain(spec: dict[str, Any]) -> list[str]:
    """Contain this process; returns what of `PARTS` holds.

    Parameters
    ----------
    spec
        ``read`` and ``write``: paths beside those of Python and the system; ``memory``: bytes that
        each process may use, or None; ``processes``: how many there may be; ``gpu``: whether it may
        use graphics cards.
    """
    held = [CHILDREN] if sys.platform == "linux" else []
    if os.name == "posix" and _limit(spec["memory"]):
        held.append(LIMITS)
    if sys.platform != "linux":
        return _sorted(held)
    with suppress(OSError):  # of all processes, the system should end this one first
        Path("/proc/self/oom_score_adj").write_text("500")
    # The folder of this process stays the same for the kernel as long as somebody has it open.
    os.open("/proc/self/", os.O_PATH | os.O_DIRECTORY)
    _drop_capabilities()
    filtered = seccomp.install()
    if filtered:
        held.append(NETWORK)
    read, write = _paths(spec)
    if landlock.restrict(read, write):
        version = landlock.abi()
        held += [FILES] if version >= landlock.HOLDS_FILES and filtered else []
        held += [SIGNALS] if version >= landlock.HOLDS_SIGNALS else []
    return _sorted(held)


def _sorted(held: list[str]) -> list[str]:
    return [part for part in PARTS if part in held]


def _paths(spec: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Paths that can be read, and those that can be written."""
    read = [*PROGRAMS, *spec["read"], *_of_python()]
    for root, names in (("/etc", FACTS), ("/proc", PROC), ("/sys", SYS)):
        read += [root + "/" + name for name in names]
    read.append("/proc/self/")
    write = [*spec["write"], *("/dev/" + name for name in DEVICES)]
    if spec["gpu"]:
        for pattern in GPUS:
            write += map(str, Path("/dev").glob(pattern))
    return read, write


def _of_python() -> list[str]:
    """The folders of this Python, which may be another one than that of the environment."""
    folders = [str(Path(os.path.realpath(sys.executable)).parent), str(Path(os.__file__).parent)]
    for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}:
        folders += [str(Path(prefix, part)) for part in ("bin", "lib", "lib64", "share", "ssl")]
        folders.append(str(Path(prefix, "pyvenv.cfg")))
    return folders


def _limit(memory: Any) -> bool:
    """Limit memory and the size of files, and write no dumps. Returns whether all holds."""
    import resource

    wanted = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, BIGGEST_FILE)]
    if memory is not None:
        wanted.append((resource.RLIMIT_DATA, memory))
    try:
        for kind, most in wanted:
            _, hard = resource.getrlimit(kind)
            least = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (least, least))
    except (OSError, ValueError):
        return False
    return memory is not None


def _drop_capabilities() -> None:
    """Root, too, runs without the rights of root, except to read files of other users."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    for number in range(CAPABILITIES):
        if number != READS_ALL_FILES:
            library.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    kept = 1 << READS_ALL_FILES if os.geteuid() == 0 else 0
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)  # effective, permitted, inheritable
    library.capset(ctypes.byref(header), ctypes.byref(sets))
