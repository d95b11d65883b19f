"""Landlock: a process of Linux gives up all files but some, for itself and all that it starts.

Each version of Landlock (its ABI, which the kernel tells) can restrict more. A process that is
restricted cannot look into processes that are not.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # on every machine
VERSION_OF_ABI, RULE_OF_PATH = 1, 1
# Rights of files, by the ABI that brought them.
EXECUTE, WRITE, READ_FILE, READ_FOLDER = 1, 2, 4, 8
REMOVE_AND_MAKE = 0x1FF0
REFER, TRUNCATE, DEVICE = 1 << 13, 1 << 14, 1 << 15
READ = EXECUTE | READ_FILE | READ_FOLDER
OF_FILES = EXECUTE | WRITE | READ_FILE | TRUNCATE | DEVICE  # the others are of folders
TCP, SIGNALS_AND_ABSTRACT_SOCKETS = 3, 3
HOLDS_FILES, HOLDS_SIGNALS = 3, 6  # the first ABI in which nothing is open: TRUNCATE, signals


class _Ruleset(ctypes.Structure):
    _fields_ = [
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scopes", ctypes.c_uint64),
    ]


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("rights", ctypes.c_uint64), ("descriptor", ctypes.c_int32)]


def abi() -> int:
    """The version of Landlock; 0 if this system has none."""
    if sys.platform != "linux":
        return 0
    return max(0, _call(CREATE_RULESET, None, 0, VERSION_OF_ABI))


def restrict(read: Iterable[str], write: Iterable[str]) -> bool:
    """Give up all files but those in the folders ``read`` and ``write``, TCP, and signals to other
    processes, as far as the kernel can. Call it while the process has one thread.

    Parameters
    ----------
    read, write
        Files and folders; what does not exist is skipped. Folders and devices that may be
        written may be read too.

    Returns
    -------
    bool
        Whether the process is restricted now.
    """
    version = abi()
    if not version:
        return False
    rights = _rights(version)
    ruleset = _Ruleset(rights, TCP, SIGNALS_AND_ABSTRACT_SOCKETS)
    size = 8 if version < 4 else 16 if version < HOLDS_SIGNALS else 24
    descriptor = _call(CREATE_RULESET, ctypes.byref(ruleset), size, 0)
    if descriptor < 0:
        return False
    try:
        for paths, allowed in ((read, READ), (write, rights)):
            for path in paths:
                _allow(descriptor, path, allowed & rights)
        return not _call(RESTRICT_SELF, descriptor, 0, 0)
    finally:
        os.close(descriptor)


def _rights(version: int) -> int:
    """All rights of files that an ABI knows."""
    rights = READ | WRITE | REMOVE_AND_MAKE
    for first, right in ((2, REFER), (3, TRUNCATE), (5, DEVICE)):
        if version >= first:
            rights |= right
    return rights


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= OF_FILES
        rule = _PathRule(rights, descriptor)
        _call(ADD_RULE, ruleset, RULE_OF_PATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    converted = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    library = ctypes.CDLL(None, use_errno=True)
    return int(library.syscall(ctypes.c_long(number), *converted))
