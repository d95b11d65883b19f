"""Model 8 with the threads that medzoo chooses, beside other choices: on the machine as it is, and
with a process at work on one of its cores. Each choice has its own process, and they take turns;
medzoo chooses when its process begins.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from .instruments import ROOT, in_turn
from .plain import BATCH, MODEL
from .rows import Found, Row, Size, Skip, measures

CHOICES = {  # of the libgomp that comes with torch
    "medzoo": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "spinning": {"GOMP_SPINCOUNT": "300000"},  # its own choice
}

REST = 0.05  # seconds; threads that spin do so for several milliseconds after their work


@measures(
    Row("model 8 alone, time against threads that spin", "x", bar=1.02),
    Row("model 8 beside a busy process, time against one thread or waiting threads", "x", bar=1.1),
    Row("the same, if that process comes after model 8 was loaded", "x"),
)
def alone_and_loaded(size: Size) -> list[Found]:
    if (os.cpu_count() or 1) < 2:
        raise Skip("there is one core")
    rounds = 1 if size.quick else 10 * size.runs
    with ExitStack() as stack:
        sides = {name: stack.enter_context(_process(of)) for name, of in CHOICES.items()}
        alone = in_turn(rounds, sides, BATCH, rest=REST)
        stack.enter_context(_busy())
        sides = {"loaded before": sides.pop("medzoo"), **sides}
        sides["medzoo"] = stack.enter_context(_process(CHOICES["medzoo"]))
        beside = in_turn(rounds, sides, BATCH, rest=REST)
    note = f"{BATCH} samples"
    best = [min(pair) for pair in zip(beside["one thread"], beside["passive"], strict=True)]
    return [
        Found(
            [a / b for a, b in zip(alone["medzoo"], alone["spinning"], strict=True)],
            alone,
            "s",
            note,
        ),
        Found([a / b for a, b in zip(beside["medzoo"], best, strict=True)], beside, "s", note),
        Found([a / b for a, b in zip(beside["loaded before"], best, strict=True)]),
    ]


@contextmanager
def _process(choice: Mapping[str, str]) -> Iterator[Callable[[int], None]]:
    """A process in which model 8 makes so many samples when it is called. It has loaded the model,
    so that the next one does not begin beside it.
    """
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "MKL_"))}
    with subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=ROOT,
        env={**variables, "MEDZOO_QUIET": "1", **choice},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout

        def make(n: int) -> None:
            print(n, file=process.stdin, flush=True)
            if process.stdout.readline() != "made\n":
                raise RuntimeError("a process to be measured has ended")

        make(1)
        yield make
        process.stdin.close()


@contextmanager
def _busy() -> Iterator[None]:
    """A process that keeps one core at work."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """In a separate process: make as many samples as each line says."""
    import medzoo

    with medzoo.load(MODEL, device="cpu") as model:
        for line in sys.stdin:
            model.generate(int(line), seed=0, batch_size=BATCH, progress=False)
            print("made", flush=True)


if __name__ == "__main__":
    main()
