"""What users wait for when there is much of something: samples, files of a set, configs of a
registry, actors. `python -m benchmarks.growth` runs each wait at each size in its own process,
which prints what it took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from . import curves, instruments, search
from .plain import BATCH

PHANTOMS, TABLE, MASSES = 109, 107, 8  # numbers of models
PICTURES = 3  # files per sample of the phantoms
SOME = 1000  # samples that are read from a large set
MOST_CONFIGS = 99_999  # ids have five digits
LAST_LOOK = 0.25  # seconds; longer than from one look at the memory to the next
REPEATS, ENOUGH = 5, 1.0  # of a wait that leaves things as they were: runs, seconds
RUN_OF_ACTORS = 6 * 16  # samples

Run = Callable[[], Any]


class At(NamedTuple):
    """Where a wait is measured: how much there is, and the folder of its series at this size."""

    size: int
    folder: Path


@dataclass(frozen=True)
class Wait:
    """One thing that takes time.

    Parameters
    ----------
    name
        What is done.
    prepare
        Warms up, and returns what is timed.
    repeats
        Whether it can be timed again at once.
    """

    name: str
    prepare: Callable[[At], Run]
    repeats: bool = False


@dataclass(frozen=True)
class Series:
    """Waits that follow each other in one folder, at several sizes.

    Parameters
    ----------
    axis
        The name of what grows, one of `AXES`.
    panel
        Title of the panel of the plot, which several series may share.
    unit
        Of a size.
    sizes
        The sizes, ascending.
    waits
        What is done at each size, in this order.
    """

    axis: str
    panel: str
    unit: str
    sizes: tuple[int, ...]
    waits: tuple[Wait, ...]


# --------------------------------------------------------------------------------------------------
# samples
def streamed(at: At) -> Run:
    import medzoo

    model = medzoo.load(PHANTOMS, device="cpu")

    def run(n: int) -> None:
        for _ in model.stream(n, seed=0, batch_size=BATCH, progress=False):
            pass

    run(BATCH)
    return partial(run, at.size)


def written(number: int, name: str, at: At) -> Run:
    import medzoo

    model = medzoo.load(number, device="cpu")
    run = partial(model.generate, seed=0, format=name, batch_size=BATCH, progress=False)
    run(BATCH, out=at.folder / "first")
    return lambda: run(at.size, out=at.folder / "set")


def in_memory(at: At) -> Run:
    import medzoo

    model = medzoo.load(TABLE, device="cpu")
    run = partial(model.generate, seed=0, progress=False)
    run(BATCH)
    return partial(run, at.size)


def shuffled(at: At) -> Run:
    import medzoo

    def run(n: int) -> None:
        for _ in medzoo.dataloader(TABLE, n, BATCH, seed=0, shuffle=True):
            pass

    run(BATCH)
    return partial(run, at.size)


# --------------------------------------------------------------------------------------------------
# files
class Stopped(Exception):  # noqa: N818
    """A run ends here, as by Ctrl-C."""


def job(name: str, at: At, more: int = 0) -> Any:
    """The request for a set of so many pictures, and some more samples."""
    from medzoo.generation.job import Job

    n = max(1, at.size // PICTURES) + more
    out = at.folder / "set"
    return Job.of(PHANTOMS, n, seed=0, out=out, format=name, batch_size=BATCH, options={})


def most_of_it(name: str, at: At) -> Run:
    """Make a set but for its last batch."""
    import medzoo

    medzoo.generate(PHANTOMS, BATCH, seed=0, out=at.folder / "first", format=name, progress=False)
    asked = job(name, at)

    def stop(done: int, n: int) -> None:
        if done >= n - BATCH:
            raise Stopped

    def run() -> None:
        with suppress(Stopped):
            asked.run(progress=stop)

    return run


def the_same(name: str, at: At, more: int = 0) -> Run:
    """The same request: it continues the set, or finds it finished. With more, the set grows."""
    import medzoo

    medzoo.generate(PHANTOMS, 1, seed=0, progress=False)  # the model stays loaded
    read_all(at.folder / "set")

    def run() -> None:
        asked = job(name, at, more)
        if asked.existing() is None:
            asked.run(progress=False)

    return run


def read_all(folder: Path) -> None:
    """Read the files of a set, without a list of them.

    A system that made files for minutes no longer has the first ones in memory, as it has those of
    a small set; from disk, reading them takes several times as long.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                read_all(Path(entry.path))
            else:
                with open(entry.path, "rb", buffering=0) as file:  # noqa: PTH123
                    while file.read(2**20):  # a manifest is as large as the set is long
                        pass


def verified(at: At) -> Run:
    import medzoo

    def run() -> None:
        if not medzoo.verify(at.folder / "set").ok:
            raise RuntimeError(f"{at.folder} is not as it was written")

    return run


def opened(at: At) -> Run:
    import medzoo

    return lambda: medzoo.read(at.folder / "set")


def read_here_and_there(at: At) -> Run:
    """Read samples that lie far apart, of a small set some twice."""
    import numpy as np

    import medzoo

    samples = medzoo.read(at.folder / "set")
    numbers = np.random.default_rng(0).integers(len(samples), size=SOME).tolist()
    samples[0]  # warms up

    def run() -> None:
        for number in numbers:
            samples[number]

    return run


def set_waits(name: str) -> tuple[Wait, ...]:
    return (
        Wait("generate all but a batch", partial(most_of_it, name)),
        Wait("continue: look and last batch", partial(the_same, name)),
        Wait("find it finished", partial(the_same, name), repeats=True),
        Wait("verify", verified, repeats=True),
        Wait("open", opened, repeats=True),
        Wait(f"read {SOME:,} samples", read_here_and_there),
        Wait("extend by a batch", partial(the_same, name, more=BATCH)),
    )


# --------------------------------------------------------------------------------------------------
# configs
def use_registry(folder: Path) -> Path:
    """Let medzoo use the configs and the cache in a folder."""
    configs = folder / "configs"
    configs.mkdir(exist_ok=True)
    os.environ |= {
        "MEDZOO_MODEL_CONFIGS": str(configs),
        "MEDZOO_CACHE": str(folder / "cache"),
    }
    return configs


def indexed(at: At, *, fill: bool = False) -> Run:
    """Open the registry, and make its index if there is none."""
    configs = use_registry(at.folder)
    from medzoo.registry import registry
    from medzoo.registry.index import index_of

    if fill:
        shipped = [int(path.name[:5]) for path in search.shipped()]
        free = [number for number in range(1, MOST_CONFIGS + 1) if number not in shipped]
        search.fill(configs, free[: at.size - len(shipped)])
    return lambda: index_of(registry())


def edited(at: At) -> Run:
    """Make the index again after one config of all was changed."""
    configs = use_registry(at.folder)
    path = min(configs.iterdir())
    path.write_text(path.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    return indexed(at)


def searched(words: tuple[str, ...], at: At) -> Run:
    indexed(at)()
    import medzoo

    def run() -> None:
        for one in words:
            medzoo.search(one)

    run()
    return run


def misspelt(at: At) -> Run:
    use_registry(at.folder)
    from medzoo.errors import ModelNotFoundError
    from medzoo.registry import registry

    models = registry()

    def run() -> None:
        with suppress(ModelNotFoundError):
            models.find("00008_C-DCGAN_MMG_MASES")

    return run


# --------------------------------------------------------------------------------------------------
# actors
def by_actors(at: At) -> Run:
    import medzoo

    from .cluster import BATCH, start_ray

    stack = ExitStack()
    start_ray(stack, at.size)
    model = medzoo.load(MASSES, device="cpu", engine=medzoo.Ray(actors=at.size))
    run = partial(model.generate, seed=0, batch_size=BATCH, progress=False)
    run(at.size * BATCH)
    return partial(run, RUN_OF_ACTORS)


def powers(first: int, last: int) -> tuple[int, ...]:
    return tuple(10**k for k in range(first, last + 1))


SERIES = {
    "stream": Series(
        "n",
        "Samples",
        "samples",
        powers(2, 6),
        (Wait("stream phantoms", streamed),),
    ),
    "npz": Series(
        "n",
        "Samples",
        "samples",
        powers(2, 5),
        (Wait("phantoms to NPZ", partial(written, PHANTOMS, "npz")),),
    ),
    "rows": Series(
        "n", "Samples", "samples", powers(2, 6), (Wait("rows in memory", in_memory, repeats=True),)
    ),
    "csv": Series(
        "n",
        "Samples",
        "samples",
        powers(2, 6),
        (Wait("rows to CSV", partial(written, TABLE, "csv")),),
    ),
    "loader": Series(
        "n", "Samples", "samples", powers(2, 6), (Wait("rows by a shuffled loader", shuffled),)
    ),
    "configs": Series(
        "configs",
        "Registry",
        "configs",
        (*powers(2, 4), MOST_CONFIGS),
        (
            Wait("build the index", partial(indexed, fill=True)),
            Wait("open", indexed),
            Wait("open after one edit", edited),
            Wait("five searches", partial(searched, search.WORDS), repeats=True),
            Wait("search in vain", partial(searched, (search.NOTHING,)), repeats=True),
            Wait("ask for a misspelt id", misspelt, repeats=True),
        ),
    ),
    "png": Series("files", "Set of PNG files", "files", powers(2, 6), set_waits("png")),
    "webdataset": Series(
        "files", "Set of WebDataset shards", "pictures", powers(2, 6), set_waits("webdataset")
    ),
    "actors": Series(
        "actors",
        curves.ACTORS,
        "actors",
        (1, 2, 3, 4),
        (Wait(f"{RUN_OF_ACTORS} pictures of model {MASSES}", by_actors),),
    ),
}
AXES = list(dict.fromkeys(series.axis for series in SERIES.values()))


def main() -> None:
    """Run one wait at one size, and print the least that it took."""
    name, number, size, folder = sys.argv[1:]
    wait = SERIES[name].waits[int(number)]
    run = wait.prepare(At(int(size), Path(folder)))
    if wait.repeats:
        run()  # warms up
    costs = [cost(run)]
    while wait.repeats and len(costs) < REPEATS and sum(took for took, _ in costs) < ENOUGH:
        costs.append(cost(run))
    seconds, processor = (min(values) for values in zip(*costs, strict=True))
    print(json.dumps({"seconds": seconds, "processor": processor}), flush=True)
    time.sleep(LAST_LOOK)  # the peak of memory is read once more


def cost(run: Run) -> tuple[float, float]:
    """Seconds that a call takes, and seconds of the processors, of its children too."""
    others, own = time_of_children(), time.process_time()
    took = instruments.seconds(run)
    own = time.process_time() - own
    return took, own + time_of_children() - others


def time_of_children() -> float:
    """Seconds of the processors, of children that run and of those that have ended."""
    children = psutil.Process().children(recursive=True)
    running = sum(sum(child.cpu_times()[:2]) for child in children)
    ended = os.times()
    return float(running + ended.children_user + ended.children_system)


if __name__ == "__main__":
    main()
