"""What the tests of data sets share: models with any columns, and what lies in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Toy = Callable[..., int]
ANY_MODEL = """
import time
import numpy as np

class Model:
    def sample(self, batch):
        time.sleep(batch.options.get("seconds", 0))
        found = {}
        for name, (dtype, shape) in COLUMNS.items():
            rows = [batch.rng(i).uniforms(shape) for i in range(batch.n)]
            if name == "boxes":  # inside the picture
                rows = [0.3 + 0.2 * row for row in rows]
            scale = 1 if dtype == "float32" else 4095 if dtype == "uint16" else 255
            found[name] = (np.stack(rows) * scale).astype(dtype)
        return found

def load(weights_dir, device):
    return Model()
"""
FAILING_MODEL = """
import os, signal
from pathlib import Path
import numpy as np

FLAGS = Path({flags!r})

class Model:
    def sample(self, batch):
        with (FLAGS / "log").open("a") as log:
            log.write(f"{{batch.indices[0]}}\\n")
        if batch.indices[0] >= 8 and (FLAGS / "fail").exists():
            raise ArithmeticError("as it was told")
        if batch.n > 2 and batch.indices[0] >= 8 and (FLAGS / "memory").exists():
            (FLAGS / "memory").unlink()  # once: later there is enough
            raise MemoryError
        if batch.n <= 2 and (FLAGS / "kill").exists():
            (FLAGS / "kill").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return {{"images": np.stack([batch.rng(i).bytes(64).reshape(1, 8, 8) for i in range(batch.n)])}}

def load(weights_dir, device):
    return Model()
"""
CONDITION = {"condition": {"values": {"benign": 0, "malignant": 1}, "help": "Malignancy."}}
SECONDS = {"seconds": {"type": "float", "default": 0, "help": "Time a batch takes."}}


def column(kind: str, dtype: str, *shape: int, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "dtype": dtype, "shape": list(shape), **more}


IMAGES = column("image", "uint8", 1, 8, 8, range=[0, 255])
MASKS = column("mask", "uint8", 1, 8, 8, spacing=[0.5, 0.25])
VOLUMES = column(
    "volume", "int16", 1, 3, 6, 5, range=[-1024, 3071], unit="HU", spacing=[2.5, 0.7, 0.6]
)
TABLE = column("table", "float32", 3, columns=["a", "b", "c"])
BOXES = column("boxes", "float32", 2, 4)
KINDS = {  # format -> columns that it is made for
    "png": {"images": IMAGES, "masks": MASKS},
    "png16": {"images": column("image", "float32", 1, 8, 8, range=[-1, 3])},
    "coco": {"images": IMAGES, "boxes": BOXES},
    "yolo": {"images": IMAGES, "boxes": BOXES},
    "nifti": {
        "volumes": VOLUMES,
        "masks": column("mask", "uint8", 1, 3, 6, 5, spacing=[2.5, 0.7, 0.6]),
    },
    "dicom": {
        "volumes": VOLUMES,
        "masks": column("mask", "uint8", 1, 3, 6, 5, spacing=[2.5, 0.7, 0.6]),
    },
    "csv": {"table": TABLE},
    "npz": {"volumes": VOLUMES, "table": TABLE},
    "webdataset": {"images": IMAGES, "volumes": VOLUMES, "table": TABLE},
}


@pytest.fixture
def any_toy(toy: Toy) -> Toy:
    """``any_toy({"images": IMAGES})``: a model with these columns."""

    def register(columns: dict[str, dict[str, Any]], labels: bool = False, **changes: Any) -> int:
        own = {n: (c["dtype"], tuple(c["shape"])) for n, c in columns.items()}
        outputs = {
            **columns,
            **({"labels": {"kind": "label", "condition": "condition"}} if labels else {}),
        }
        return toy(
            f"COLUMNS = {own!r}\n{ANY_MODEL}",
            outputs=outputs,
            **{"conditions": None if not labels else CONDITION, "options": None, **changes},
        )

    return register


@pytest.fixture
def fails(toy: Toy, tmp_path: Path) -> Path:
    """Model 901, and a folder where a file called ``fail``, ``memory`` or ``kill`` makes it do so from sample 8 on.

    There ``log`` has the first sample of each batch.
    """
    flags = tmp_path / "flags"
    flags.mkdir()
    toy(FAILING_MODEL.format(flags=str(flags)), batch_size=4)
    return flags


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def content(folder: Path, *but: str) -> dict[str, tuple[bytes, int]]:
    """Every file below ``folder`` with its bytes and its time of writing."""
    return {
        str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in but
    }


def same(one: Path, other: Path) -> list[str]:
    """The files in which two folders differ, the log aside; none where they are the same to the last byte."""
    a, b = ({k: v[0] for k, v in content(f, "run.log").items()} for f in (one, other))
    return sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k))


def python(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """A new interpreter that knows the toy; ``-c`` and code, or a script and its arguments."""
    environment = {
        **os.environ,
        "MEDZOO_MODEL_CONFIGS": str(tmp_path / "configs"),
        "MEDZOO_CACHE": str(tmp_path / "cache"),
        "OPENBLAS_NUM_THREADS": "1",
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *arguments], env=environment, **pipes)  # type: ignore[call-overload,no-any-return]
