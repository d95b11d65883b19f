"""Model 8 made by actors of Ray on this machine, each with one thread and loaded before, and by one
thread in this process.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec

from .instruments import in_turn
from .plain import MODEL
from .rows import Found, Row, Size, Skip, measures

BATCH, BATCHES = 16, 6


@measures(
    Row("two single-threaded Ray actors, times as fast as one", "x"),
    Row("one single-threaded Ray actor, time against one thread in this process", "x", bar=1.05),
)
def actors(size: Size) -> list[Found]:
    if find_spec("ray") is None:
        raise Skip("ray is not installed: `pip install medzoo[cluster]`")
    import torch

    import medzoo

    batch, threads = min(BATCH, size.n), torch.get_num_threads()
    n = batch * (2 if size.quick else BATCHES)
    with ExitStack() as stack:
        start_ray(stack, 3)
        torch.set_num_threads(1)
        stack.callback(torch.set_num_threads, threads)
        sides = {}
        for name, engine in {
            "one actor": medzoo.Ray(actors=1),
            "two actors": medzoo.Ray(actors=2),
            "in process": None,
        }.items():
            model = stack.enter_context(medzoo.load(MODEL, device="cpu", engine=engine))
            sides[name] = partial(model.generate, seed=0, batch_size=batch, progress=False)
        found = in_turn(size.runs, sides, n)
    one, two, here = (found[name] for name in sides)
    note = f"{n} samples in batches of {batch}"
    return [
        Found(
            [a / b for a, b in zip(one, two, strict=True)],
            {k: found[k] for k in ("two actors", "one actor")},
            "s",
            note,
        ),
        Found(
            [a / b for a, b in zip(one, here, strict=True)],
            {k: found[k] for k in ("one actor", "in process")},
            "s",
            note,
        ),
    ]


def start_ray(stack: ExitStack, actors: int) -> None:
    """Ray of this run's own, with room for so many actors whatever the machine has; they do not
    work all at once.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    try:
        ray.init(
            address="local",
            num_cpus=actors,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except Exception as error:  # it gives up after half a minute, which a busy machine may need
        raise Skip(f"Ray does not start: {error}") from error
    stack.callback(ray.shutdown)
