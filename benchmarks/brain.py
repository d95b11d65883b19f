"""GAN against score-based diffusion on brain MRI: models 101, 102 and 103 at one size, judged
against the same real slices.

    python -m benchmarks.brain brain_t1ce_cheng_256.zip        # what `make compare-brain` runs

For models that give boxes, the detector of `benchmarks.detector` looks for the tumours. Before
that, two tables of `benchmarks.quality`'s figures. In the second the distances (SWD, FDpca, tails)
are ratios to the floor, which is what real training slices get in a model's place: 1 is as near as
real slices come. The last column is the time of drawing and writing one slice on this machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import medzoo
from medzoo.errors import MedzooError

from . import detector
from .quality import FIGURES, Pictures, judge, real, synthetic

MODELS = (101, 102, 103)
DISTANCES = ("SWD", "FDpca", "tails")
FLOOR = "real train"


def draw(
    model: str, n: int, seed: int
) -> tuple[Pictures, detector.Slices | None, dict[str, int], float]:
    """A set of this model, its slices if it has boxes, its classes, and seconds a slice."""
    with tempfile.TemporaryDirectory() as folder, medzoo.load(model) as loaded:
        loaded.generate(2, seed=seed)  # so that loading is in no time
        began = time.perf_counter()
        samples = loaded.generate(n, seed=seed, out=Path(folder) / "set", format="npz")
        seconds = (time.perf_counter() - began) / n
        slices = detector.read_set(Path(folder) / "set") if "boxes" in samples.columns else None
        pictures, numbers = synthetic(Path(folder) / "set")
        return pictures, slices, numbers, seconds


def ratios(figures: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Each set's distances over the floor's."""
    return {
        name: {key: values[key] / figures[FLOOR][key] for key in DISTANCES}
        for name, values in figures.items()
    }


def line(name: str, values: list[float], end: str) -> str:
    return f"{name:12s} " + " ".join(f"{value:9.3f}" for value in values) + f" {end:>9s}"


def main() -> None:
    """Parse, draw, judge, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "real",
        type=Path,
        help="the brain tumour data set: a zip or folder of pictures, a folder a class",
    )
    parser.add_argument(
        "--model",
        action="append",
        dest="models",
        help="another model to compare; more than one is fine",
    )
    parser.add_argument("-n", type=int, default=2000, help="samples of each model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--steps", type=int, default=250, help="how long each classifier of the judge learns"
    )
    a = parser.parse_args()
    known = {config.number for config in medzoo.list_models()}
    sets, boxed, numbers, cost = {}, {}, {}, {FLOOR: ""}
    for model in a.models or [str(number) for number in MODELS if number in known]:
        sets[f"model {model}"], slices, numbers, seconds = draw(model, a.n, a.seed)
        if slices is not None:
            boxed[f"model {model}"] = slices
        cost[f"model {model}"] = f"{1000 * seconds:.0f} ms"
    sides = {pictures.images.shape[2:] for pictures in sets.values()}
    if len(sides) > 1:
        parser.error(
            f"the models differ in size: {sorted(sides)}; name those of one size by --model"
        )
    train, held_back = real(a.real, sides.pop(), numbers)
    judged = judge(train, held_back, steps=a.steps)
    figures = {name: judged(pictures) for name, pictures in ({FLOOR: train} | sets).items()}
    print(f"{'':12s} " + " ".join(f"{key:>9s}" for key in FIGURES) + f" {'a slice':>9s}")
    for name, values in figures.items():
        print(line(name, [values[key] for key in FIGURES], cost[name]))
    print("\ndistances as ratios to the floor")
    print(f"{'':12s} " + " ".join(f"{key:>9s}" for key in DISTANCES))
    for name, values in ratios(figures).items():
        print(line(name, list(values.values()), ""))
    for name, slices in boxed.items():
        print(f"\n{name}: tumours")
        detector.report(*detector.read_real(a.real), slices)


if __name__ == "__main__":
    try:
        main()
    except MedzooError as error:
        sys.exit(str(error))
