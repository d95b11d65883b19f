"""A filter of system calls: no connection to anything, and no change of what a path leads to.

The kernel runs the filter, a small program in the language of Berkeley packet filters, before each
system call. It cannot be taken off again, and processes that are started later have it too.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Instruction = tuple[int, int, int, int]

PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER, SPEC_ALLOW = 1, 1 << 2  # without SPEC_ALLOW, some kernels run slower
LOAD, EQUAL, GREATER_EQUAL, SET, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # places in what the filter looks at
ALLOW, ERROR = 0x7FFF0000, 0x00050000
REFUSED, ABSENT, NO_FILE, NOTHING_DONE = (
    ERROR | number for number in (errno.EPERM, errno.ENOSYS, errno.ENOENT, 0)
)
NAMESPACES = 0x7E020000 | 0x80  # flags of clone that make a new one

# By machine: the number of seccomp, the name of the architecture, and numbers of system calls.
MACHINES = {"x86_64": (317, 0xC000003E, 0), "aarch64": (277, 0xC00000B7, 1)}
REFUSED_CALLS = {  # number on x86_64 and on aarch64
    "connect": (42, 203),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    # memory and messages that all processes of a user share
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # ways around this filter, and parts of the kernel that no model needs
    "io_uring_setup": (425, 425),
    "open_by_handle_at": (304, 265),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    # attributes of files, which Landlock does not know
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
# Modes, owners and times of files: Landlock does not know them. Programs that copy files set them,
# so these calls do nothing instead of failing.
IGNORED_CALLS = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
}
UTIMENSAT = (280, 88)
SOCKET, CLONE, CLONE3, PRLIMIT = (41, 198), (56, 220), (435, 435), (302, 261)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def is_known() -> bool:
    """Whether there is a filter for this machine."""
    return sys.platform == "linux" and platform.machine() in MACHINES and sys.maxsize > 2**32


def install() -> bool:
    """Filter the system calls of this process, which must have one thread.

    Returns whether the kernel did so. It also gives up all ways to gain rights, such as programs
    that run as root.
    """
    if not is_known():
        return False
    call, architecture, column = MACHINES[platform.machine()]
    packed = b"".join(map(_packed, _instructions(architecture, column)))
    buffer = ctypes.create_string_buffer(packed, len(packed))
    program = _Program(len(packed) // 8, ctypes.addressof(buffer))
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    address = ctypes.byref(program)
    for flags in (SPEC_ALLOW, 0):  # kernels before 4.17 do not know the flag
        mode = ctypes.c_long(SECCOMP_SET_MODE_FILTER)
        if not library.syscall(ctypes.c_long(call), mode, ctypes.c_long(flags), address):
            return True
    return False


def _packed(instruction: Instruction) -> bytes:
    code, yes, no, value = instruction
    return code.to_bytes(2, sys.byteorder) + bytes((yes, no)) + value.to_bytes(4, sys.byteorder)


def _instructions(architecture: int, column: int) -> list[Instruction]:
    """The program for a machine."""
    program: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, REFUSED),  # a program of 32 bits
        (LOAD, 0, 0, NUMBER),
        (GREATER_EQUAL, 0, 1, 0x40000000),
        (RETURN, 0, 0, REFUSED),  # x32, which has other numbers
        (EQUAL, 0, 1, CLONE3[column]),  # its flags are out of sight; programs then use clone
        (RETURN, 0, 0, ABSENT),
    ]
    for calls, answer in ((REFUSED_CALLS, REFUSED), (IGNORED_CALLS, NOTHING_DONE)):
        for numbers in calls.values():
            number = numbers[column]
            if number is not None:
                program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, answer)]
    program += _unless_touched(UTIMENSAT[column])
    program += _unless_local_stream(SOCKET[column])
    program += [  # limits of other processes
        (EQUAL, 0, 3, PRLIMIT[column]),
        (LOAD, 0, 0, ARGUMENTS),
        (EQUAL, 5, 0, 0),
        (RETURN, 0, 0, REFUSED),
        (EQUAL, 0, 3, CLONE[column]),
        (LOAD, 0, 0, ARGUMENTS),
        (SET, 0, 1, NAMESPACES),
        (RETURN, 0, 0, REFUSED),
        (RETURN, 0, 0, ALLOW),
    ]
    return program


def _unless_touched(number: int) -> list[Instruction]:
    """Do not set times. `Path.touch` sets those of a path to now and makes a file if that fails."""
    return [
        (EQUAL, 0, 6, number),
        (LOAD, 0, 0, ARGUMENTS + 8),  # the path; none for an open file
        (EQUAL, 2, 0, 0),
        (LOAD, 0, 0, ARGUMENTS + 16),  # the times; none for now
        (EQUAL, 1, 0, 0),
        (RETURN, 0, 0, NOTHING_DONE),
        (RETURN, 0, 0, NO_FILE),
    ]


def _unless_local_stream(number: int) -> list[Instruction]:
    """Refuse all sockets but those that need `connect` to reach anybody.

    CUDA opens such a socket of this machine and never connects it.
    """
    return [
        (EQUAL, 0, 8, number),
        (LOAD, 0, 0, ARGUMENTS),
        (EQUAL, 0, 5, int(socket.AF_UNIX)),
        (LOAD, 0, 0, ARGUMENTS + 8),
        (AND, 0, 0, 0xF),  # without flags such as SOCK_CLOEXEC
        (EQUAL, 1, 0, int(socket.SOCK_STREAM)),
        (EQUAL, 0, 1, int(socket.SOCK_SEQPACKET)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSED),
    ]
