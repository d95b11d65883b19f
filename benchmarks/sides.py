"""What one build of medzoo takes for a row of `benchmarks.history`: one process for each build and
row, which makes a run for each line that it gets, and answers with seconds and seconds of the CPU.

    python benchmarks/sides.py "nifti written" FOLDER

It uses what is public, so that an older build can do it too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

Run = Callable[[], Any]
BATCH, SAMPLES = 32, 320
FOLDERS = count()


def one_picture(folder: Path) -> Run:  # noqa: ARG001
    """`medzoo.generate(8, 1)` in a loop."""
    import medzoo

    return lambda: [medzoo.generate(8, 1, seed=0, device="cpu", progress=False) for _ in range(8)]


def first_picture(folder: Path) -> Run:
    """`medzoo generate 8 -n 1 --out x` in a new process."""

    def run() -> None:
        command = ["generate", "8", "-n", "1", "--out", str(folder / str(next(FOLDERS)))]
        subprocess.run([sys.executable, "-m", "medzoo", *command], check=True, capture_output=True)

    return run


def made_by(model: int, n: int, folder: Path) -> Run:  # noqa: ARG001
    """Samples of a loaded model, in memory."""
    import medzoo

    loaded = medzoo.load(model, device="cpu")
    return partial(loaded.generate, n, seed=0, progress=False)


def beside_another(folder: Path) -> Run:
    """Samples of model 8 while another process keeps a core busy."""
    make = made_by(8, 64, folder)

    def run() -> None:
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
            try:
                make()
            finally:
                other.kill()

    return run


def registry(*, anew: bool, folder: Path) -> Run:
    """A search among 1,000 more configs, in a new process; if ``anew``, it builds their index
    first.
    """
    import medzoo

    more = folder / "configs"
    more.mkdir()
    shipped = sorted((Path(medzoo.__file__).parent / "model_configs").glob("*.yaml"))
    for k in range(1000):
        old = shipped[k % len(shipped)]
        new, text = f"{30_000 + k}{old.stem[5:]}", old.read_text(encoding="utf-8")
        text = text.replace(f"id: {old.stem}\n", f"id: {new}\n", 1)
        (more / f"{new}.yaml").write_text(text, encoding="utf-8")

    def run() -> None:
        cache = folder / (str(next(FOLDERS)) if anew else "cache")
        variables = {"MEDZOO_MODEL_CONFIGS": str(more), "MEDZOO_CACHE": str(cache)}
        command = [sys.executable, "-c", "import medzoo; medzoo.search('mri')"]
        subprocess.run(command, check=True, env=os.environ | variables)

    return run


def through_the_loader(workers: int, folder: Path) -> Run:  # noqa: ARG001
    """Samples of model 8 from a loader, which starts new workers."""
    import medzoo

    def run() -> int:
        loader = medzoo.dataloader(8, n=64, batch_size=BATCH, seed=0, num_workers=workers)
        return sum(1 for _ in loader)

    return run


def written(format_: str, folder: Path) -> Run:
    """Samples of model 8 from memory to files."""
    samples = many(deep=format_ == "png16")
    return lambda: samples.save(folder / str(next(FOLDERS)), format=format_)


def read(format_: str, folder: Path) -> Run:
    """The same files read back."""
    import numpy as np

    import medzoo

    many(deep=False).save(folder / "set", format=format_)

    def run() -> list[Any]:
        samples = medzoo.read(folder / "set")
        return [np.array(getattr(samples, name)) for name in samples.columns]

    return run


def many(*, deep: bool) -> Any:
    """Samples of model 8, a few of them again and again; if ``deep``, as floats for 16 bits."""
    import dataclasses

    import numpy as np

    import medzoo

    few = medzoo.generate(8, 2 * BATCH, seed=0, device="cpu", progress=False)
    rows = few[np.arange(SAMPLES) % len(few)]
    columns, outputs = dict(rows.columns), dict(rows.outputs)
    if deep:
        noise = np.random.default_rng(0).random(rows.images.shape)
        columns["images"] = ((rows.images + noise) / 256).astype(np.float32)
        outputs["images"] = dataclasses.replace(
            outputs["images"], dtype="float32", range=(0.0, 1.0)
        )
        about = dict(rows.provenance["outputs"])
        about["images"] = {**about["images"], "dtype": "float32", "range": [0.0, 1.0]}
        rows.provenance["outputs"] = about
    provenance = {**rows.provenance, "n": SAMPLES}
    return type(rows)(columns, outputs, np.arange(SAMPLES), provenance)


def verified(folder: Path) -> Run:
    """A set of 3,000 files compared with its digests."""
    import medzoo

    medzoo.generate(109, 1000, seed=0, out=folder / "set", progress=False)
    return partial(medzoo.verify, folder / "set")


def by_an_actor(folder: Path) -> Run:  # noqa: ARG001
    """Samples of model 8 by one actor of Ray."""
    import medzoo

    loaded = medzoo.load(8, device="cpu", engine=medzoo.Ray(actors=1))
    return partial(loaded.generate, 48, seed=0, batch_size=16, progress=False)


ROWS: dict[str, Callable[[Path], Run]] = {
    "generate(8, 1) in a loop": one_picture,
    "first picture, as a command": first_picture,
    "model 8": partial(made_by, 8, 64),
    "model 8 beside a busy process": beside_another,
    "dicom written": partial(written, "dicom"),
    "nifti written": partial(written, "nifti"),
    "webdataset written": partial(written, "webdataset"),
    "webdataset read": partial(read, "webdataset"),
    "png written": partial(written, "png"),
    "png16 written": partial(written, "png16"),
    "model 107": partial(made_by, 107, 40_960),
    "model 109": partial(made_by, 109, 320),
    "opening a registry of 1,000 more configs": partial(registry, anew=False),
    "building its index": partial(registry, anew=True),
    "loader without workers": partial(through_the_loader, 0),
    "loader with one worker": partial(through_the_loader, 1),
    "loader with two workers": partial(through_the_loader, 2),
    "one Ray actor": by_an_actor,
    "verify": verified,
}


def answers(run: Run) -> Iterator[tuple[float, float]]:
    """Seconds of a run for each line of stdin, and those of the CPU, also in child processes."""
    for _ in sys.stdin:
        began, cpu = time.perf_counter(), sum(os.times()[:4])
        run()
        yield time.perf_counter() - began, sum(os.times()[:4]) - cpu


def main() -> None:
    """Prepare a row, then say "ready" and answer."""
    row, folder = sys.argv[1:]
    said = sys.stdout
    sys.stdout = sys.stderr  # a model may print
    run = ROWS[row](folder=Path(folder))
    run()  # not timed
    print("ready", file=said, flush=True)
    for answer in answers(run):
        print(json.dumps(answer), file=said, flush=True)


if __name__ == "__main__":
    main()
