"""What a kill costs: a set of PNG files killed halfway and continued by the same command, against
one that went through. Each is a command, so a second start of Python and of the model is in it, and
the batch that was being made is made twice."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from .instruments import ROOT, command, seconds
from .plain import MODEL
from .rows import Found, Row, Size, measures

BATCHES = 4


@measures(
    Row("killed halfway and continued, more than a run that went through", "s"),
    Row("the same, of the time of that run", "%"),
)
def killed_halfway(size: Size) -> list[Found]:
    batch = max(1, min(32, size.n // BATCHES))
    n = BATCHES * batch
    found: dict[str, list[float]] = {"through": [], "until the kill": [], "continued": []}
    with tempfile.TemporaryDirectory() as folder:
        for run in range(size.runs):
            whole, broken = (Path(folder) / f"{name}{run}" for name in ("whole", "broken"))
            found["through"].append(seconds(lambda out=whole: command(*generate(n, batch, out))))
            found["until the kill"].append(
                seconds(lambda out=broken: kill(generate(n, batch, out), out, n // 2))
            )
            found["continued"].append(seconds(lambda out=broken: command(*generate(n, batch, out))))
            first, second = (p.joinpath("provenance.json").read_bytes() for p in (whole, broken))
            if first != second:
                raise AssertionError("the set that was continued is not the one that ran through")
    more = [
        before + after - through for through, before, after in zip(*found.values(), strict=True)
    ]
    share = [100 * extra / through for extra, through in zip(more, found["through"], strict=True)]
    return [Found(more, found, "s", f"{n} samples of model {MODEL}; byte-identical"), Found(share)]


def generate(n: int, batch: int, out: Path) -> list[str]:
    """The command."""
    arguments = [
        "generate",
        str(MODEL),
        "-n",
        str(n),
        "--batch-size",
        str(batch),
        "--seed",
        "0",
        "--device",
        "cpu",
    ]
    return [sys.executable, "-m", "medzoo", *arguments, "--out", str(out)]


def kill(arguments: list[str], out: Path, pictures: int) -> None:
    """Run a command and end it as the system would (SIGKILL) when so many pictures lie there."""
    with psutil.Popen(
        arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while len(list(out.glob("images/*.png"))) < pictures:
            if process.poll() is not None:
                raise RuntimeError("the run ended before it could be killed")
            time.sleep(0.005)
        process.kill()
        process.wait()
