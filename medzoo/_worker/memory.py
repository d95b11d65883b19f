"""Memory that a batch has freed is kept for the next one.

glibc returns large blocks to the system as soon as they are free, and the system clears the pages
of each new one. Between two layers of a network that costs up to a third of the time, and how much
depends on where the pages happen to lie, so that one process is slower than another.
"""

from __future__ import annotations

import os
import sys

# Blocks up to this size are taken from the heap, and so much may stay free at its end. These are
# the limits that glibc itself comes to in a process that frees ever larger blocks.
BLOCK, FREE = 2**25, 2**26
# For a process that is about to start, and is the model's alone: all that it frees.
OF_A_PROCESS = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
DECIDED = ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")  # by the user
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed_blocks() -> None:
    """Set glibc's limits in this process, unless the user decided on them. Other C libraries have
    none.
    """
    if sys.platform != "linux" or any(name in os.environ for name in DECIDED):
        return
    import ctypes

    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(MMAP_THRESHOLD, BLOCK)
        library.mallopt(TRIM_THRESHOLD, FREE)
