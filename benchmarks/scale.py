"""What a million samples cost on one core, in time and on disk: `python -m benchmarks.scale`.

Of each model, the processor time that a process of one thread takes to make a sample, and to write
it in a format, and the bytes that it then takes; medians of several runs, and what follows for a
million. It is processor time, not time on the clock, since a busy machine disturbs it less; disturb
it does, so a machine with nothing else to do gives the better figures.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

MODELS, FORMATS = (8, 109), ("png", "npz", "webdataset")
BATCH = 32
MILLION = 10**6


def processor_time(run: Callable[[], Any]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def costs(number: int, runs: int, n: int) -> dict[str, Any]:
    """Of a model: ``made``, seconds per sample; and of each format ``written``, seconds per sample, and
    ``bytes`` per sample.
    """
    import medzoo
    from medzoo.datasets.writer import bytes_a_sample, save

    with medzoo.load(number, device="cpu") as model:
        samples = model.generate(
            n, seed=0, batch_size=BATCH
        )  # warms up, and is there to be written
        made = [
            processor_time(lambda: list(model.stream(n, seed=0, batch_size=BATCH))) / n
            for _ in range(runs)
        ]
    found: dict[str, Any] = {"made": median(made), "formats": {}}

    def write(name: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            save(samples, Path(folder) / "set", name)

    for name in FORMATS:
        write(name)  # warms up
        written = [processor_time(partial(write, name)) / n for _ in range(runs)]
        found["formats"][name] = {
            "written": median(written),
            "bytes": bytes_a_sample(samples, name),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs", type=int, default=3, help="repetitions of which the median is taken"
    )
    parser.add_argument("-n", type=int, default=256, help="samples a run")
    parser.add_argument("models", nargs="*", type=int, default=MODELS, help="numbers of models")
    a = parser.parse_args()
    os.environ |= {"MEDZOO_QUIET": "1", "OMP_NUM_THREADS": "1"}
    import torch

    torch.set_num_threads(1)
    head = f"{'model':>5s} {'made, ms':>9s} {'a million':>10s}"
    print(f"{head}   {'format':10s} {'written, ms':>11s} {'bytes':>7s} {'a million':>10s}")
    for number in a.models:
        found = costs(number, a.runs, a.n)
        head = f"{number:5d} {found['made'] * 1e3:9.2f} {found['made'] * MILLION / 3600:8.1f} h"
        for name, row in found["formats"].items():
            disk = f"{row['bytes']:7.0f} {row['bytes'] * MILLION / 1e9:7.1f} GB"
            print(f"{head:26s}   {name:10s} {row['written'] * 1e3:11.2f} {disk}", flush=True)
            head = ""


if __name__ == "__main__":
    main()
