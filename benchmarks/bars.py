"""The bars of issue 13 for models 104 and 106, as far as a computer can check them.

    python -m benchmarks.bars              200 samples of seed 0 of each model
    python -m benchmarks.bars 106 -n 400

Ears and fillings of 104 are found by two measures, which are first tried on heads of its phantom,
of which it is known what was drawn. Whether 106 shows masses is not measured here: look at the
pictures.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

import medzoo

PHANTOM = "starter_models/00104_PIX2PIX_CT_PAROTID_PHANTOM/phantom.py"
HEADS, FIRST = 100, 20_000  # heads of the phantom, and the number of the first one
SKIN, EAR_ROWS, REACH, EAR = -500, slice(48, 88), 9, 1.9  # HU, rows, rows and pixels of an ear
METAL = 2000  # HU of a filling; teeth have 1800 at most
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


def outlines(images: NDArray[np.generic]) -> NDArray[np.float64]:
    """Pixels, with fractions, from the left and the right border to the skin: (N, 2, H)."""
    x = images[:, 0].astype(float)
    sides = []
    for side in (x, x[:, :, ::-1]):
        inside = side > SKIN
        first = inside.argmax(axis=2).clip(1)[..., None]
        outer, inner = (np.take_along_axis(side, first - k, 2)[..., 0] for k in (1, 0))
        place = first[..., 0] - (inner - SKIN) / np.maximum(inner - outer, 1)
        sides.append(np.where(inside.any(axis=2), place, side.shape[2] / 2))
    return np.stack(sides, axis=1)


def ears(images: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether heads (N, 1, 128, 128) have an ear on the left and on the right of the picture, (N,
    2).

    An ear is where the skin stands out 1.9 pixels over the line from 9 rows above to 9 rows below.
    """
    skin = outlines(images)
    rows = np.arange(EAR_ROWS.start, EAR_ROWS.stop)
    line = (skin[..., rows - REACH] + skin[..., rows + REACH]) / 2
    found: NDArray[np.bool_] = (line - skin[..., rows]).max(axis=2) > EAR
    return found


def paired(images: NDArray[np.generic]) -> float:
    """Share of heads with both ears or none."""
    found = ears(images)
    return float((found[:, 0] == found[:, 1]).mean())


def filled(images: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether heads have a filling: 3 x 3 pixels of 2000 HU or more in the mean."""
    blocks = sliding_window_view(images[:, 0], (3, 3), axis=(1, 2))
    found: NDArray[np.bool_] = (blocks.mean(axis=(3, 4)) >= METAL).any(axis=(1, 2))
    return found


class Heads(NamedTuple):
    """Heads of the phantom (N, 1, 128, 128) in HU, and which were drawn with ears and fillings."""

    images: NDArray[np.int16]
    with_ears: NDArray[np.bool_]
    with_fillings: NDArray[np.bool_]


def phantom_heads(number: int) -> Heads:
    """``number`` heads of model 104's phantom."""
    spec = importlib.util.spec_from_file_location("phantom", Path(__file__).parents[1] / PHANTOM)
    assert spec is not None
    assert spec.loader is not None
    phantom: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(phantom)
    scans = [phantom.scan(FIRST + k) for k in range(number)]
    images = np.stack([phantom.compose(scan.bed, scan.gland, scan.mask) for scan in scans])
    facts = np.array([(scan.ears, scan.fillings) for scan in scans])
    return Heads(images[:, None].astype(np.int16), facts[:, 0], facts[:, 1])


class Bar(NamedTuple):
    """A share of the pictures, and the most that it may be, or with ``least`` the least."""

    name: str
    share: Callable[[NDArray[np.generic]], float]
    limit: float
    least: bool = False

    def line(self, model: str, images: NDArray[np.generic]) -> tuple[str, bool]:
        """What is printed, and whether the bar is missed."""
        value, side = self.share(images), "at least" if self.least else "at most"
        missed = value < self.limit if self.least else value > self.limit
        verdict = "MISSED" if missed else "holds"
        return f"{model}  {self.name:46s} {value:6.1%}  {side} {self.limit:4.0%}  {verdict}", missed


def head_bars() -> tuple[Bar, ...]:
    """The bars of 104; prints what its measures find in the phantom."""
    heads = phantom_heads(HEADS)
    seen, pairs = ears(heads.images), paired(heads.images)
    hits, alarms = seen[heads.with_ears].mean(), seen[~heads.with_ears].mean()
    found = filled(heads.images)
    share = found.mean()
    same = (found == heads.with_fillings).mean()
    print(
        f"104  {HEADS} heads of its phantom: the measure of ears finds {hits:.0%} of those drawn,"
    )
    print(
        f"104  {alarms:.0%} where none is drawn, and both or none in {pairs:.0%} of heads; that of"
    )
    print(f"104  fillings is right in {same:.0%} of heads, and {share:.0%} have some", flush=True)
    return (
        Bar("border pixel of -950 HU or more", airless, 0.01),
        Bar("both ears, or none", paired, 0.9, least=True),
        Bar(
            "fillings (half as often as in its phantom)",
            lambda x: filled(x).mean(),
            share / 2,
            True,
        ),
    )


def patch_bars() -> tuple[Bar, ...]:
    """The bars of 106."""
    return (
        Bar("standard deviation under 5 grey levels", flat, 0.0),
        Bar("border row 40 levels brighter than the third", framed, 0.0),
    )


BARS: Mapping[str, Callable[[], tuple[Bar, ...]]] = {"104": head_bars, "106": patch_bars}


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
        for bar in BARS[model]():
            line, worse = bar.line(model, images)
            missed |= worse
            print(line, flush=True)
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
