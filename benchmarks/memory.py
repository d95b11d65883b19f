"""Peak memory of a process and all that it starts: the peak of each, added up, which is never less
than what they held at once. The first two rows are of model 109, of which 5,000 samples take
seconds; the others are of model 8."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from .instruments import tree_peak
from .plain import BATCH
from .rows import Found, Row, Size, measures

TO_DISK = """
import medzoo, tempfile
with tempfile.TemporaryDirectory() as folder:
    medzoo.generate(109, {n}, seed=0, batch_size=32, out=folder + "/set", progress=False)"""
LOADER = """
import medzoo
for batch in medzoo.dataloader(109, {n}, batch_size=32, seed=0):
    pass"""
WORKER = """
from benchmarks.speed import in_a_worker
with in_a_worker() as model:
    model.generate({n}, seed=0, batch_size=32, progress=False)"""
KINDS = {
    "plain loop": "from benchmarks.plain import plain_loop; plain_loop()({n})",
    "medzoo": "import medzoo; medzoo.generate(8, {n}, seed=0, batch_size=32, progress=False)",
    "in a separate process": WORKER,
    "loader with two workers": LOADER.replace("109", "8").replace(
        "seed=0", "seed=0, num_workers=2"
    ),
}


@measures(
    Row("peak memory to disk, ten times the samples against once", "x", bar=1.05),
    Row("peak memory through the loader, ten times the samples against once", "x", bar=1.05),
)
def growth(size: Size) -> list[Found]:
    few = 2 if size.quick else size.n
    many = 10 * few
    codes = [code.format(n=n) for code in (TO_DISK, LOADER) for n in (many, few)]
    with ThreadPoolExecutor(2) as pool:  # memory is not larger for company
        peaks = list(pool.map(tree_peak, size.runs * codes))
    of_each = [peaks[k :: len(codes)] for k in range(len(codes))]  # run by run
    return [
        Found(
            [a / b for a, b in zip(large, small, strict=True)],
            {f"n = {many:,}": large, f"n = {few:,}": small},
            "MiB",
        )
        for large, small in (of_each[:2], of_each[2:])
    ]


@measures(*(Row(f"peak memory, {kind}", "MiB") for kind in KINDS))
def kinds(size: Size) -> list[Found]:
    n = min(size.n, 4 * BATCH)
    peaks = {
        kind: [tree_peak(code.format(n=n)) for _ in range(size.runs)]
        for kind, code in KINDS.items()
    }
    return [Found(runs, note=f"{n} samples of model 8") for runs in peaks.values()]
