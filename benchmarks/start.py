"""How long a user waits before anything happens: each command is a new process."""

from __future__ import annotations

import sys
import tempfile
from itertools import count

from .instruments import command, in_turn, own_peak
from .rows import Found, Row, Size, measures


@measures(
    Row("`import medzoo`, over bare Python", "ms", bar=60),
    Row("memory of `import medzoo`, over bare Python", "MiB", bar=25),
)
def importing(size: Size) -> list[Found]:
    codes = {"import medzoo": "import medzoo", "bare Python": "pass"}
    found = in_turn(
        3 * size.runs,
        {k: lambda _, c=code: command(sys.executable, "-c", c) for k, code in codes.items()},
        1,
    )
    times = {k: [1e3 * s for s in runs] for k, runs in found.items()}
    peaks = {k: [own_peak(code) for _ in range(size.runs)] for k, code in codes.items()}
    return [Found(_differences(times), times, "ms"), Found(_differences(peaks), peaks, "MiB")]


@measures(Row("`medzoo list` as a command", "s", bar=0.35))
def listing(size: Size) -> list[Found]:
    sides = {"list": lambda _: command(sys.executable, "-m", "medzoo", "list")}
    return [Found(in_turn(3 * size.runs, sides, 1)["list"])]


@measures(Row("`medzoo generate 8 -n 1 --out x`, time against `import torch`", "x", bar=1.12))
def first_picture(size: Size) -> list[Found]:
    with tempfile.TemporaryDirectory() as folder:
        sets, generate = count(), (sys.executable, "-m", "medzoo", "generate", "8", "-n", "1")
        sides = {
            "first picture": lambda _: command(*generate, "--out", f"{folder}/{next(sets)}"),
            "import torch": lambda _: command(sys.executable, "-c", "import torch"),
        }
        found = in_turn(3 * size.runs, sides, 1)
    pairs = zip(found["first picture"], found["import torch"], strict=True)
    return [Found([a / b for a, b in pairs], found, "s")]


def _differences(sides: dict[str, list[float]]) -> list[float]:
    return [a - b for a, b in zip(*sides.values(), strict=True)]
