"""The command: a line of figures for real pictures and for each set."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import medzoo
from medzoo.errors import MedzooError

from . import BORDER, FIGURES, Pictures, judge, real, synthetic
from . import __doc__ as about


def main() -> None:
    """Parse, judge, print."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("real", type=Path)
    parser.add_argument(
        "--split",
        default="val",
        help="what is held back, where the real pictures lie in such folders",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=FOLDER", dest="sets")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        dest="models",
        help="generate a set of this model and judge it",
    )
    parser.add_argument("-n", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--steps",
        type=int,
        default=250,
        help="how long each classifier learns; figures on a card are of 250",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=5,
        help="networks of which TSTR is the mean; 5 on cards, 10 where one says so",
    )
    a = parser.parse_args()
    if not a.sets and not a.models:
        parser.error("name a --set or a --model to judge")
    sets: dict[str, Pictures] = {}
    numbers: dict[str, int] = {}
    for name, _, folder in (pair.partition("=") for pair in a.sets):
        sets[name], numbers = synthetic(Path(folder))
    for model in a.models:
        with tempfile.TemporaryDirectory() as folder:
            medzoo.generate(model, a.n, seed=a.seed, out=Path(folder) / "set", format="npz")
            sets[f"model {model}"], numbers = synthetic(Path(folder) / "set")
    side = {pictures.images.shape[2:] for pictures in sets.values()}
    if len(side) > 1:
        parser.error(f"the sets differ in size: {sorted(side)}; judge them one by one")
    train, held_back = real(a.real, side.pop(), numbers, a.split)
    figures = judge(train, held_back, steps=a.steps, seeds=a.seeds)
    print(f"{'set':16s} {'n':>5s} " + " ".join(f"{name:>9s}" for name in (*FIGURES, *BORDER)))
    for name, pictures in ({"real train": train} | sets).items():
        values = figures(pictures)
        print(
            f"{name:16s} {len(pictures.labels):5d} "
            + " ".join(f"{values[f]:9.3f}" for f in (*FIGURES, *BORDER)),
            flush=True,
        )


if __name__ == "__main__":
    try:
        main()
    except MedzooError as error:
        sys.exit(str(error))
