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


def test_ears_and_fillings_are_found_where_the_phantom_drew_them() -> None:
    heads = bars.phantom_heads(12)
    assert 0 < heads.with_ears.mean() < 1
    assert 0 < heads.with_fillings.mean() < 1
    found = bars.ears(heads.images)
    assert not found[~heads.with_ears].any()
    assert found[heads.with_ears].mean() > 0.5  # some lie behind a thick neck
    assert (found[:, 0] == found[:, 1]).mean() > 0.8
    assert (bars.filled(heads.images) == heads.with_fillings).mean() > 0.9
    both, none = (int(np.flatnonzero(found.all(1) == wanted)[0]) for wanted in (True, False))
    glued = np.concatenate([heads.images[both, ..., :64], heads.images[none, ..., 64:]], axis=-1)
    assert bars.ears(glued[None]).tolist() == [[True, False]]
    assert bars.paired(np.stack([glued, heads.images[both]])) == 0.5


def test_figures_are_printed_beside_their_bars(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "HEADS", 2)
    code = bars.main(["104", "-n", "2"])
    images = medzoo.generate(104, 2, seed=0).images
    printed = capsys.readouterr().out
    for share, name in ((bars.airless, "border pixel"), (bars.paired, "both ears, or none")):
        assert f"{share(images):6.1%}" in next(s for s in printed.splitlines() if name in s)
    assert ("MISSED" in printed) == bool(code)
    limits = [bars.Bar("a", bars.flat, 0.5, least=least).line("1", images)[1] for least in (0, 1)]
    assert limits == [False, True]
    with pytest.raises(SystemExit):
        bars.main(["8"])
