"""A large set compared with its digests by `medzoo verify`, and the same files by sha256sum, in
turn. The samples are model 109's, of three PNG files each."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import medzoo

from .instruments import in_turn
from .rows import Found, Row, Size, Skip, measures

SAMPLES = 10_000


@measures(Row("`verify` of 30,000 files, time against `sha256sum` over them", "x", bar=1.5))
def verifying(size: Size) -> list[Found]:
    if not (shutil.which("sha256sum") and shutil.which("xargs")):
        raise Skip("there is no sha256sum here")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set"
        medzoo.generate(109, 10 if size.quick else SAMPLES, seed=0, out=target, progress=False)
        files = [os.fsencode(path) for path in target.rglob("*") if path.is_file()]
        sides = {
            "verify": lambda _: verified(target),
            "sha256sum": lambda _: summed(b"\0".join(files)),
        }
        found = in_turn(size.runs, sides, 1)
    ratios = [a / b for a, b in zip(found["verify"], found["sha256sum"], strict=True)]
    return [Found(ratios, found, "s")]


def verified(folder: Path) -> None:
    if not medzoo.verify(folder).ok:
        raise RuntimeError(f"{folder} is not as it was written")


def summed(files: bytes) -> None:
    command = ["xargs", "-0", "sha256sum"]
    subprocess.run(command, input=files, stdout=subprocess.DEVNULL, check=True)
