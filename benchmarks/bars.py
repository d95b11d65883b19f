"""The bars of issue 13 for models 104 and 106, as far as a computer can check them.

    python -m benchmarks.bars              200 samples of seed 0 of each model
    python -m benchmarks.bars 106 -n 400

Whether ears, fillings and masses are there is not measured here: look at the pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

import medzoo

FLAT, RIM, DEEPER = 5, 40, 2  # grey levels, grey levels, rows from the edge row to the third
AIR = -950  # HU


def flat(images: NDArray[np.generic]) -> float:
    """Share of pictures (N, 1, H, W) with a standard deviation under 5 grey levels."""
    return float((images.astype(float).std(axis=(1, 2, 3)) < FLAT).mean())


def framed(images: NDArray[np.generic]) -> float:
    """Share of pictures with a border row, on any side, 40 levels brighter in its mean than the
    third row.
    """
    rows = images[:, 0].astype(float).mean(axis=2)
    columns = images[:, 0].astype(float).mean(axis=1)
    rises = [
        line[:, 0] - line[:, DEEPER] for side in (rows, columns) for line in (side, side[:, ::-1])
    ]
    return float((np.max(rises, axis=0) >= RIM).mean())


def airless(images: NDArray[np.generic]) -> float:
    """Share of pictures whose outermost rows or columns have a pixel of -950 HU or more."""
    x = images[:, 0]
    border = np.concatenate([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], axis=1)
    return float((border >= AIR).any(axis=1).mean())


Bar = tuple[str, Callable[[NDArray[np.generic]], float], float]
BARS: Mapping[str, tuple[Bar, ...]] = {
    "104": (("border pixel of -950 HU or more", airless, 0.01),),
    "106": (
        ("standard deviation under 5 grey levels", flat, 0.0),
        ("border row 40 levels brighter than the third", framed, 0.0),
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """Print each share beside its bar; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.bars",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="*", help="104 or 106 (default: both)")
    parser.add_argument("-n", type=int, default=200, help="samples (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    a = parser.parse_args(arguments)
    if unknown := sorted(set(a.models) - set(BARS)):
        parser.error(f"no bars for model {unknown[0]}; there are some for {', '.join(BARS)}")
    missed = False
    for model in a.models or BARS:
        images = medzoo.generate(model, a.n, seed=a.seed).images
        for name, share, most in BARS[model]:
            value = share(images)
            missed |= value > most
            verdict = "holds" if value <= most else "MISSED"
            print(f"{model}  {name:46s} {value:6.1%}  at most {most:4.0%}  {verdict}", flush=True)
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
