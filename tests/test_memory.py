"""What a model's process does with memory that a batch has freed."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medzoo._worker import memory
from medzoo.runtime.variables import environment

WITH_GLIBC = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="this is not glibc 2.33 or newer",
)

# How many blocks of 16 MiB come from the system instead of the heap, before and after.
LOOK = """
import ctypes
import json

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks",
                 "uordblks", "fordblks", "keepcost")]

library = ctypes.CDLL(None)
library.mallinfo2.restype = Info
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]

def from_the_system():
    before = library.mallinfo2().hblks
    library.malloc(2**24)
    return library.mallinfo2().hblks - before
"""
LOADED = """
import medzoo
found = [from_the_system()]
model = medzoo.load(107, device="cpu")
print(json.dumps([*found, from_the_system()]))
"""


def run(code: str, **variables: str) -> list[int]:
    left = {k: v for k, v in os.environ.items() if k not in memory.DECIDED}
    command = [sys.executable, "-c", LOOK + code]
    said = subprocess.run(
        command, env={**left, **variables}, capture_output=True, text=True, check=True
    )
    found: list[int] = json.loads(said.stdout)
    return found


@WITH_GLIBC
def test_once_a_model_is_loaded_large_blocks_come_from_the_heap() -> None:
    assert run(LOADED) == [1, 0]


@WITH_GLIBC
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_MMAP_THRESHOLD_", "131072"),
        ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072"),
    ],
)
def test_what_the_user_decided_on_memory_stays(name: str, value: str) -> None:
    assert run(LOADED, **{name: value}) == [1, 1]


@WITH_GLIBC
def test_a_models_process_keeps_what_it_frees(tmp_path: Path) -> None:
    passed = environment(tmp_path, "", user_site=False)
    limits = {name: passed[name] for name in memory.OF_A_PROCESS}
    assert run("print(json.dumps([from_the_system()]))", **limits) == [0]
