"""Seconds for samples beside a plain torch loop with the same weights on the CPU, which loads them
once, runs the networks as they were trained with a batch of 32 in `inference_mode`, and writes
nothing. The two sides are taken in turn."""

from __future__ import annotations

import inspect
import tempfile
from functools import cache, partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from .instruments import in_turn, seconds
from .plain import BATCH, MODEL, plain_loop
from .rows import Found, Row, Size, measures, number

SPENT = 0.5  # seconds on a model of those compared by the dozen
Sides = dict[str, list[float]]


@measures(
    Row("model 8 in memory, times as fast as the plain loop", "x", bar=1.25, at_least=True),
    Row("a picture of model 8, in memory", "ms", bar=15),
    Row("model 8 to PNG, more a picture than the plain loop that writes nothing", "ms", bar=1),
)
def in_this_process(size: Size) -> list[Found]:
    import medzoo

    plain, n = plain_loop(), size.n
    with medzoo.load(MODEL, device="cpu") as model, tempfile.TemporaryDirectory() as folder:
        names = count()
        make = partial(model.generate, seed=0, batch_size=BATCH, progress=False)
        sides = {
            "medzoo": make,
            "plain loop": plain,
            "to PNG": lambda n: make(n, out=Path(folder) / str(next(names))),
        }
        found = in_turn(size.runs, sides, n, warm=min(n, BATCH))
    note = f"{n} samples"
    in_memory = {k: found[k] for k in ("medzoo", "plain loop")}
    more = [
        1e3 * (png - plain) / n
        for png, plain in zip(found["to PNG"], found["plain loop"], strict=True)
    ]
    return [
        Found(ratios(found, "plain loop", "medzoo"), in_memory, "s", note),
        Found(*of_each(in_memory, n), note),
        Found(more, {k: found[k] for k in ("to PNG", "plain loop")}, "s", note),
    ]


@measures(
    Row("model 8 in a separate process, time against in this process", "x", bar=1.05),
    Row("a single picture from a separate process, more than in this one", "ms", bar=2),
    Row("model 8 through the loader, times as fast as the plain loop", "x"),
)
def elsewhere(size: Size) -> list[Found]:
    import medzoo

    n, plain = max(size.n // 4, 1), plain_loop()
    with medzoo.load(MODEL, device="cpu") as model, in_a_worker() as worker:
        here, there = (
            partial(m.generate, seed=0, batch_size=BATCH, progress=False) for m in (model, worker)
        )
        sides = {
            "worker": there,
            "in process": here,
            "loader": lambda n: list(loaded(model, n)),
            "plain loop": plain,
        }
        found = in_turn(size.runs, sides, n, warm=min(n, BATCH))
        one = in_turn(
            1 if size.quick else 20 * size.runs, {k: sides[k] for k in ("worker", "in process")}, 1
        )
    one = {k: [1e3 * s for s in runs] for k, runs in one.items()}
    note = f"{n} samples"
    return [
        Found(ratios(found, "worker", "in process"), {k: found[k] for k in one}, "s", note),
        Found([a - b for a, b in zip(one["worker"], one["in process"], strict=True)], one, "ms"),
        Found(
            ratios(found, "plain loop", "loader"),
            {k: found[k] for k in ("loader", "plain loop")},
            "s",
            note,
        ),
    ]


@measures(Row("`medzoo.generate(8, 1)` in a loop, time against a loaded model", "x", bar=1.1))
def in_a_loop(size: Size) -> list[Found]:
    import medzoo

    with medzoo.load(MODEL, device="cpu") as model:
        sides = {
            "generate": lambda n: medzoo.generate(MODEL, n, device="cpu", seed=0, progress=False),
            "loaded": partial(model.generate, seed=0, progress=False),
        }
        found = in_turn(1 if size.quick else 20 * size.runs, sides, 1)
    medzoo.unload()
    times = {k: [1e3 * s for s in runs] for k, runs in found.items()}
    return [Found(ratios(times, "generate", "loaded"), times, "ms")]


@measures(Row("loader: first batch, against one batch of the loaded model", "x", bar=1.05))
def first_batch(size: Size) -> list[Found]:
    import medzoo

    n = min(size.n, BATCH)
    found: Sides = {"first batch": [], "one batch": []}
    with medzoo.load(MODEL, device="cpu") as model:
        for _ in range(2 * size.runs + 1):
            batches = iter(loaded(model, 2 * n, n))
            found["first batch"].append(seconds(lambda it=batches: next(it)))
            list(batches)  # the next is being made already: it is not to slow the other side
            found["one batch"].append(
                seconds(lambda: model.generate(n, seed=0, batch_size=n, progress=False))
            )
    found = {k: [1e3 * s for s in runs[1:]] for k, runs in found.items()}  # the first one warms up
    return [Found(ratios(found, "first batch", "one batch"), found, "ms", f"{n} samples")]


@measures(
    Row("a loader with one worker, time against none", "x", bar=1.1),
    Row("a loader with two workers, time against none", "x", bar=0.85),
)
def with_workers(size: Size) -> list[Found]:
    """Each time new workers start, and load the model."""
    import medzoo

    n = 4 if size.quick else 8 * BATCH

    def read(workers: int, n: int) -> None:
        for _ in medzoo.dataloader(MODEL, n, BATCH, seed=0, device="cpu", num_workers=workers):
            pass

    names = {"none": 0, "one": 1, "two": 2}
    sides = {name: partial(read, workers) for name, workers in names.items()}
    found = in_turn(1 if size.quick else 2 * size.runs, sides, n)
    note = f"{n} samples"
    return [
        Found(ratios(found, name, "none"), {k: found[k] for k in (name, "none")}, "s", note)
        for name in ("one", "two")
    ]


@measures(Row("a slider's move to the picture, drawing of the window aside", "ms", bar=50))
def slider(size: Size) -> list[Found]:
    import medzoo
    from medzoo.view import Explorer

    with medzoo.load(MODEL, device="cpu") as model:
        explorer = Explorer(model)
        explorer.figure.canvas.draw_idle = lambda: None
        moves = 1 if size.quick else 10 * size.runs
        found = in_turn(moves, {"move": lambda k: explorer.move(0, k)}, 1)
    return [Found([1e3 * s for s in found["move"]], note="model 8")]


@measures(
    Row(
        "the slowest bundled model, times as fast as its package called by hand",
        "x",
        bar=0.95,
        at_least=True,
    )
)
def every_model(size: Size) -> list[Found]:
    """Never slower, within the 5 % by which equal sides may differ on a machine."""
    from medzoo.registry import list_models

    here = [c for c in list_models() if c.default.scheme == "bundled"]
    times = {f"model {c.number}": beside_its_package(c, size) for c in here if not c.default.inputs}
    found = {name: ratios(sides, "by hand", "medzoo") for name, sides in times.items()}
    worst = min(found, key=lambda name: median(found[name]))
    ours, theirs = (1e3 * median(times[worst][side]) for side in ("medzoo", "by hand"))
    note = f"the slowest is {worst}, {number(ours)} against {number(theirs)} ms per sample"
    without = [
        f"model {c.number} is left out: it works on the user's pictures"
        for c in here
        if c.default.inputs
    ]
    return [Found(found[worst], found, "x", "; ".join([note, *without]))]


def beside_its_package(config: Any, size: Size) -> Sides:
    """Seconds per sample of a model, run by run: by medzoo, and by its package with random numbers
    of numpy's. These are drawn and left, so that both sides make the same samples: model 106 draws
    some twice.
    """
    import numpy as np

    import medzoo
    from medzoo._worker.imports import import_package
    from medzoo.generation.request import Request
    from medzoo.packages.store import package

    version = config.default
    folder = package(config, version).path
    code = import_package(folder)
    as_trained = {"fast": False} if "fast" in inspect.signature(code.load).parameters else {}
    by_hand, rng = code.load(folder, "cpu", **as_trained), np.random.default_rng(0)

    @cache
    def batches(n: int, batch: int) -> list[Any]:
        request = Request.of(config, version, n, seed=0, options={})
        return [request.batch(range(k, min(k + batch, n))) for k in range(0, n, batch)]

    def loop(n: int, batch: int) -> list[Any]:
        samples = []
        for b in batches(n, batch):
            rng.standard_normal(b.latents.shape, np.float32)
            samples.append(by_hand.sample(b))
        return samples

    with medzoo.load(config.id, device="cpu") as model:
        model.generate(1, seed=0, progress=False)
        one = seconds(lambda: model.generate(1, seed=0, progress=False))
        batch = 1 if size.quick else max(1, min(version.batch_size, int(SPENT / one)))
        several = seconds(lambda: model.generate(batch, seed=0, batch_size=batch, progress=False))
        n = batch * (1 if size.quick else max(1, int(SPENT / several)))
        make = partial(model.generate, seed=0, batch_size=batch, progress=False)
        found = in_turn(size.runs, {"medzoo": make, "by hand": lambda n: loop(n, batch)}, n)
    return {name: [s / n for s in runs] for name, runs in found.items()}


@measures(
    Row(
        "model 8 in a sandbox, times as fast as in a process without one",
        "x",
        bar=0.95,
        at_least=True,
    ),
)
def contained(size: Size) -> list[Found]:
    import medzoo

    n = max(size.n // 4, 1)
    with tempfile.TemporaryDirectory() as folder:
        mine = Path(folder, "mine")
        medzoo.copy(MODEL, mine)  # a local copy; what came with medzoo is not contained
        load = partial(medzoo.load, mine, device="cpu", trust=True)
        with load(sandbox="on") as sandbox, in_a_worker() as plain:
            sides = {
                name: partial(model.generate, seed=0, batch_size=BATCH, progress=False)
                for name, model in {"plain": plain, "sandbox": sandbox}.items()
            }
            found = in_turn(size.runs, sides, n, warm=min(n, BATCH))
    return [Found(ratios(found, "plain", "sandbox"), found, "s", f"{n} samples")]


def in_a_worker() -> Any:
    """Model 8 loaded by a separate process, under this interpreter."""
    from medzoo import environments
    from medzoo.generation.model import Model
    from medzoo.packages.store import package
    from medzoo.registry import resolve
    from medzoo.runtime import Execution
    from medzoo.runtime.worker import WorkerSession

    config = resolve(MODEL)
    found, here = package(config, config.default), environments.current()
    return Model(
        config,
        config.default,
        WorkerSession(config, config.default, found, Execution(device="cpu"), interpreter=here),
    )


def loaded(model: Any, n: int, batch: int = BATCH) -> Any:
    """A loader of ``n`` samples whose model is loaded already."""
    import medzoo

    loader = medzoo.dataloader(MODEL, n=n, batch_size=batch, seed=0)
    loader.dataset._model = model
    return loader


def ratios(sides: Sides, above: str, below: str) -> list[float]:
    """One side over the other, run by run."""
    return [a / b for a, b in zip(sides[above], sides[below], strict=True)]


def of_each(sides: Sides, n: int) -> tuple[list[float], Sides, str]:
    """Milliseconds per sample, of the first side and of all."""
    each = {k: [1e3 * s / n for s in runs] for k, runs in sides.items()}
    return next(iter(each.values())), each, "ms"
