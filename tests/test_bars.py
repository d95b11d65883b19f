"""The bars of models 104 and 106, at their edges."""

from __future__ import annotations

import numpy as np
import pytest

import medzoo
from benchmarks import bars


def test_flat_pictures_are_those_under_five_levels() -> None:
    images = np.zeros((2, 1, 4, 4), np.uint8)
    images[0, 0, :2], images[1, 0, :2] = 8, 10  # standard deviations of 4 and exactly 5
    assert bars.flat(images) == 0.5


@pytest.mark.parametrize("side", range(4))
def test_a_frame_on_any_side_counts_from_forty_levels(side: int) -> None:
    images = np.full((2, 1, 8, 8), 100, np.uint8)
    images[0, 0, 0], images[1, 0, 0] = 139, 140
    assert bars.framed(np.rot90(images, side, (2, 3))) == 0.5


def test_one_border_pixel_that_is_not_air_counts_and_one_inside_does_not() -> None:
    images = np.full((4, 1, 8, 8), -1000, np.int16)
    images[0, 0, 7, 3], images[1, 0, 2, 0], images[2, 0, 0, 0], images[3, 0, 1, 1] = (
        -950,
        0,
        -951,
        0,
    )
    assert bars.airless(images) == 0.5


def test_figures_are_printed_beside_their_bars(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = bars.main(["104", "-n", "2"])
    air = bars.airless(medzoo.generate(104, 2, seed=0).images)
    line = capsys.readouterr().out
    assert f"{air:6.1%}" in line
    assert ("MISSED" in line) == bool(code) == (air > 0.01)
    with pytest.raises(SystemExit):
        bars.main(["8"])
