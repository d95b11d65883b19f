"""Speed and memory of medzoo against a plain torch loop with the same weights, in one run: `make bench`.

The plain loop loads the weights once and runs the networks as trained, batch 32, in ``inference_mode``, and writes
nothing. Each figure is the median of several runs, the two sides taken in turn, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

MODEL, BATCH = 8, 32


def plain_loop(n: int) -> Callable[[], list[Any]]:
    """What a researcher would write by hand: the networks as trained, batch after batch."""
    import torch

    from medzoo._worker.imports import import_package
    from medzoo.registry import resolve
    from medzoo.store import package

    config = resolve(MODEL)
    folder = package(config, config.default).path
    code = import_package(folder)
    generator = code.load(folder, "cpu", fast=False)

    def run() -> list[Any]:
        images = []
        for start in range(0, n, BATCH):
            size = min(BATCH, n - start)
            latents = torch.randn(size, code.LATENT)
            noise = [(torch.rand(size, 1, side, side) * 2 - 1) * 3**0.5 for side in code.SIDES]
            images.append(generator.paint(latents, torch.arange(start, start + size) % 2, noise).numpy())
        return images

    return run


def seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def in_turn(runs: int, *sides: Callable[[], Any]) -> list[float]:
    """Median seconds of each side, taken in turn after one warm-up."""
    for side in sides:
        side()
    rounds = [[seconds(side) for side in sides] for _ in range(runs)]
    return [median(r[k] for r in rounds) for k in range(len(sides))]


def command(*arguments: str) -> float:
    return seconds(lambda: subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL))


def peak(code: str) -> float:
    """Peak resident memory in MiB of a fresh interpreter that runs ``code``."""
    # Not ru_maxrss where it can be avoided: on Linux a child inherits its parent's.
    tail = """
from pathlib import Path
status = Path("/proc/self/status")
if status.exists():
    peak = int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
else:
    import resource, sys
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print(peak)"""
    run = subprocess.run([sys.executable, "-c", code + tail], check=True, capture_output=True, text=True)
    return float(run.stdout.split()[-1])


def measure(runs: int, n: int) -> list[dict[str, Any]]:
    """Every row: what, medzoo's figure, the other side's, the ratio or difference that the bar is about, the bar."""
    import torch

    import medzoo

    rows: list[dict[str, Any]] = []

    def row(
        what: str, ours: float, unit: str, other: float | None, figure: float, bar: float, *, at_least: bool = False
    ) -> None:
        met = figure >= bar if at_least else figure <= bar
        rows.append({"what": what, "ours": ours, "unit": unit, "other": other, "figure": figure, "bar": bar,
                     "sense": ">=" if at_least else "<=", "met": met})  # fmt: skip
        print(render(rows[-1]), flush=True)

    python = sys.executable
    bare, imported = (median(command(python, "-c", c) * 1e3 for _ in range(3 * runs)) for c in ("pass", "import medzoo"))
    row("import medzoo, ms over bare Python", imported, "ms", bare, imported - bare, 60)
    row(
        "import medzoo, MiB over bare Python",
        peak("import medzoo"),
        "MiB",
        peak("pass"),
        peak("import medzoo") - peak("pass"),
        25,
    )
    listed = median(command(python, "-m", "medzoo", "list") for _ in range(2 * runs))
    row("`medzoo list` as a command, s", listed, "s", None, listed, 0.35)

    plain = plain_loop(n)
    with medzoo.load(MODEL, device="cpu") as model, tempfile.TemporaryDirectory() as folder:
        counter = iter(range(10**6))
        ours, theirs = in_turn(runs, lambda: model.generate(n, seed=0, batch_size=BATCH), plain)
        row(f"{n} in memory, times as fast as the plain loop", ours, "s", theirs, theirs / ours, 1.25, at_least=True)
        row("one picture at batch 32, ms", ours / n * 1e3, "ms", theirs / n * 1e3, ours / n * 1e3, 15)
        with in_a_worker() as worker:
            ours, theirs = in_turn(runs, *(lambda m=m: m.generate(n, seed=0, batch_size=BATCH) for m in (worker, model)))
            row(f"worker against in-process, throughput of {n}", ours, "s", theirs, ours / theirs, 1.05)
            alone, here = in_turn(20 * runs, *(lambda m=m: m.generate(1, seed=0) for m in (worker, model)))
            row("worker against in-process, ms more a picture", alone * 1e3, "ms", here * 1e3, (alone - here) * 1e3, 2)
        ours, theirs = in_turn(runs, lambda: model.generate(n, seed=0, out=Path(folder) / str(next(counter))), plain)
        row(f"{n} to PNG, ms a picture over the plain loop", ours, "s", theirs, (ours - theirs) / n * 1e3, 1)
        batch = BATCH
        first, one = in_turn(
            runs,
            lambda: next(iter(loaded(model, batch))),
            lambda: model.generate(batch, seed=0),
        )
        row("loader: first batch over one batch", first * 1e3, "ms", one * 1e3, first / one, 1.25)
        latents = torch.zeros(1, model.version.latent).numpy()
        slider = median(seconds(lambda: model.generate(1, seed=0, latents=latents)) for _ in range(10 * runs)) * 1e3
        row("slider move to picture, ms", slider, "ms", None, slider, 60)

    make = "import medzoo, tempfile\nwith tempfile.TemporaryDirectory() as d: medzoo.generate(8, {n}, seed=0, out=d + '/s')"
    few, many = peak(make.format(n=n)), peak(make.format(n=10 * n))
    row(f"peak memory to disk, n = {10 * n} against {n}", many, "MiB", few, many / few, 1.05)
    read = "import medzoo\nfor batch in medzoo.dataloader(8, {n}, seed=0): pass"
    few, many = peak(read.format(n=n)), peak(read.format(n=10 * n))
    row(f"peak memory through the loader, n = {10 * n} against {n}", many, "MiB", few, many / few, 1.05)

    from .environments import BuildError, second_environment

    try:
        first, second, more = second_environment()
    except BuildError as error:
        print(f"no environments, as torch is nowhere to be had: {error.problem}")
    else:
        row("second environment with the same torch, s", second, "s", first, second, 5)
        row("its disk beside the first, with another numpy", more, "MiB", None, more, 100)
    return rows


def in_a_worker() -> Any:
    """The model loaded by a process of its own, under this interpreter."""
    from medzoo import environments
    from medzoo.generator import Model
    from medzoo.registry import resolve
    from medzoo.runtime.worker import WorkerSession
    from medzoo.store import package

    config = resolve(MODEL)
    found, here = package(config, config.default), environments.current()
    return Model(config, config.default, WorkerSession(config, config.default, found, interpreter=here, device="cpu"))


def loaded(model: Any, batch: int) -> Any:
    """A loader whose model is loaded already."""
    import medzoo

    loader = medzoo.dataloader(MODEL, n=4 * batch, batch_size=batch, seed=0)
    loader.dataset._model = model  # loading is measured elsewhere
    return loader


def render(r: dict[str, Any]) -> str:
    other = f"{r['other']:10.2f}" if r["other"] is not None else " " * 10
    verdict = "met" if r["met"] else f"MISSED by {abs(r['figure'] - r['bar']):.2f}"
    return f"{r['what']:52s} {r['ours']:10.2f} {other} {r['unit']:4s} {r['figure']:8.2f}  {r['sense']} {r['bar']:<6g} {verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="repetitions of which the median is taken")
    parser.add_argument("-n", type=int, default=500, help="samples a run")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    a = parser.parse_args()
    os.environ["MEDZOO_QUIET"] = "1"
    import torch

    python = f"Python {platform.python_version()}, torch {torch.__version__}"
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {python}"
    print(f"{machine}\n{'':52s} {'medzoo':>10s} {'beside it':>10s} {'':4s} {'figure':>8s}  bar")
    rows = measure(a.runs, a.n)
    if a.json:
        a.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
