"""How cost grows: the exponent of a curve, how points are kept and drawn, and what files are asked for."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import medzoo
from benchmarks import curves, growth, waits
from benchmarks.curves import KEPT, PICTURE, Growth, Point, exponent
from benchmarks.waits import SERIES
from medzoo import files
from medzoo.datasets import journal

SIZES = [100, 1000, 10_000, 100_000]
MACHINE = {"cpu": "A CPU", "cores": 2, "memory": "8 GiB", "python": "3.11", "torch": "2"}


def points(series: str, costs: dict[int, float], wait: str = "") -> list[Point]:
    name = wait or SERIES[series].waits[0].name
    return [
        Point(series, name, size, cost, cost, 50.0, took=cost + 1, load=0.1, commit="a", date="b")
        for size, cost in costs.items()
    ]


# ------------------------------------------------------------------------------------- how steep
@given(
    fixed=st.floats(0.01, 100),
    each=st.floats(1e-3, 10),
    power=st.floats(0.5, 3),
)
def test_a_fixed_cost_does_not_hide_the_exponent(fixed: float, each: float, power: float) -> None:
    costs = [fixed + each * n**power for n in SIZES]
    if costs[-2] > 2 * costs[0]:
        assert exponent(SIZES, costs) == pytest.approx(power, abs=0.1)


@pytest.mark.parametrize(
    ("costs", "low", "high"),
    [
        ([1, 1, 1, 1], 0, 0),
        ([1, 1.1, 0.9, 1.15], 0, 0.1),  # noise around a cost that does not grow
        ([1, 10, 100, 1000], 0.999, 1.001),
        ([1, 10, 100, 2000], 1.1, 1.2),  # a bend in the last decade ...
        ([5, 5.1, 5.5, 60], 0.1, 0.6),  # only the last size is clearly dearer
        ([1, 1.2, 3, 200], 1.4, 3),
    ],
)
def test_the_exponent_of_known_curves(costs: list[float], low: float, high: float) -> None:
    assert low <= exponent(SIZES, costs) <= high


def test_a_bend_in_the_last_decade_is_seen_there() -> None:
    assert exponent(SIZES, [1, 10, 100, 2000], decades=1) == pytest.approx(1.3, abs=0.02)


def test_a_missed_bar_names_the_cost_and_the_amount() -> None:
    linear = points("stream", {n: n / 100 for n in SIZES})
    square = [dataclasses.replace(p, processor=p.size**2 / 1e4, mib=float(p.size)) for p in linear]
    assert curves.verdict(linear) == "met"
    assert curves.verdict(square) == "MISSED: time by 0.91"  # 2 - 1.05, less what is subtracted
    assert curves.verdict(linear[:1]) == ""


# ------------------------------------------------------------------------------ what is measured next
def test_every_wait_has_a_name_of_its_own_in_its_panel() -> None:
    names = [(one.panel, wait.name) for one in SERIES.values() for wait in one.waits]
    assert len(set(names)) == len(names)
    for one in SERIES.values():
        assert list(one.sizes) == sorted(one.sizes)
        assert len(one.waits) <= len(curves.COLOURS)


def test_the_time_of_the_next_size_follows_from_the_last() -> None:
    kept = Growth(MACHINE, points("stream", {100: 1.0, 1000: 10.0}), [])
    assert growth.missing(kept, "stream", 10**6) == 10_000
    assert growth.missing(kept, "stream", 1000) is None
    assert 100 <= growth.expected(kept, "stream", 10_000) <= 120
    assert "10,000 samples were not measured" in growth.sentence(kept, "stream")


def test_a_size_counts_when_all_its_waits_are_there() -> None:
    kept = Growth(MACHINE, points("png", {100: 1.0}, "verify"), [])
    assert growth.missing(kept, "png", 10**6) == 100


def test_what_was_kept_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = Growth(MACHINE, points("stream", {100: 1.0, 1000: 9.5}), ["Not all."])
    kept.write(tmp_path / KEPT)
    assert Growth.read(tmp_path / KEPT) == kept


def test_points_of_two_machines_make_no_curve(tmp_path: Path) -> None:
    Growth(MACHINE, points("stream", {100: 1.0}), []).write(tmp_path / KEPT)
    with pytest.raises(SystemExit, match="another machine"):
        growth.main(["--out", str(tmp_path)])
    assert growth.main(["--out", str(tmp_path), "--minutes", "0"]) == 0  # it is only drawn


def test_a_run_continues_and_measures_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(growth, "SERIES", {"rows": SERIES["rows"]})
    asked = ["--only", "n", "--out", str(tmp_path), "--most"]
    assert growth.main([*asked, "100"]) == 0
    first = Growth.read(tmp_path / KEPT).points
    assert [point.size for point in first] == [100]
    assert first[0].processor > 0
    assert first[0].mib > 10
    assert growth.main([*asked, "1000"]) == 0
    kept = Growth.read(tmp_path / KEPT)
    assert kept.points[0] == first[0]
    assert [point.size for point in kept.points] == [100, 1000]
    said = capsys.readouterr().out
    assert said.count("Samples, 100 samples:") == 1
    assert "10,000 samples were not measured" in said
    with Image.open(tmp_path / PICTURE) as picture:
        assert 800 <= picture.size[0] <= 1000


# ------------------------------------------------------------------------------ what is published
def test_the_section_says_what_grows_faster_than_linearly() -> None:
    square = points("stream", {n: (n / 100) ** 2 for n in SIZES})
    linear = points("csv", {n: n / 100 for n in SIZES})
    text = curves.section(Growth(MACHINE, square + linear, ["Not all."]), SERIES)
    assert "1 of 2 waits grow linearly or better; not stream phantoms (Samples)." in text
    assert "- Not all." in text
    assert "| rows to CSV | 100,000 samples | 1,000 |" in text


def test_the_published_curves_are_of_the_waits_of_today() -> None:
    kept = Growth.read(ROOT / "docs" / "performance" / KEPT)
    today = {(key, wait.name) for key, one in SERIES.items() for wait in one.waits}
    assert {(point.series, point.wait) for point in kept.points} == today
    assert curves.section(kept, SERIES) in (ROOT / "docs" / "performance.md").read_text()


# ------------------------------------------------------------------------- what costs are made of
EVENTS: list[str] = []  # what this process asks of the file system
SEEN = {"open", "os.scandir", "os.listdir", "os.mkdir", "os.rename", "os.remove", "os.truncate"}


def listen(event: str, arguments: tuple[Any, ...]) -> None:
    if event in SEEN and LISTENING:
        EVENTS.append(event)


LISTENING: list[str] = []  # not empty while events count
sys.addaudithook(listen)


def counted(run: waits.Run) -> Counter[str]:
    """The number of events of each kind in a call."""
    EVENTS.clear()
    LISTENING.append("on")
    try:
        run()
    finally:
        LISTENING.clear()
    return Counter(EVENTS)


@pytest.mark.parametrize("name", ["png", "webdataset"])
def test_each_wait_of_a_set_asks_for_files_linearly(tmp_path: Path, name: str) -> None:
    batch = waits.BATCH * waits.PICTURES
    found: dict[str, list[Counter[str]]] = {}
    for batches in (1, 2, 4, 8):
        at = waits.At(batches * batch, tmp_path / str(batches))
        at.folder.mkdir()
        for wait in SERIES[name].waits:
            if not wait.name.startswith("read"):
                found.setdefault(wait.name, []).append(counted(wait.prepare(at)))
        assert medzoo.verify(at.folder / "set").ok
        assert len(medzoo.read(at.folder / "set")) == (batches + 1) * waits.BATCH
    for wait_name, (_, few, more, most) in found.items():  # the first one imports modules
        for event in SEEN:  # the same number for each further batch
            step = more[event] - few[event]
            assert most[event] - more[event] == 2 * step, (wait_name, event)
    assert found["generate all but a batch"][3]["open"] > 7  # at least one for each batch


@pytest.mark.parametrize("name", ["png", "webdataset"])
def test_a_sample_of_a_large_set_is_read_as_fast_as_of_a_small_one(
    tmp_path: Path, name: str
) -> None:
    counts = []
    for n in (1, 3, 200):  # the first one imports modules
        samples = medzoo.generate(109, n, seed=0, out=tmp_path / str(n), format=name)
        counts.append(counted(lambda samples=samples, n=n: samples[n // 2]))
    assert counts[1] == counts[2]
    assert counts[1]["open"] > 0


def test_a_continued_set_looks_at_each_file_once(tmp_path: Path) -> None:
    at = waits.At(4 * waits.BATCH * waits.PICTURES, tmp_path)
    there = {wait.name: wait.prepare for wait in SERIES["png"].waits}
    there["generate all but a batch"](at)()
    pictures = list((tmp_path / "set").glob("*/*.png"))
    left = pictures[0].with_name(".left.png.part")  # as a kill leaves it
    left.touch()
    opened: Counter[str] = Counter()
    digest = files.sha256_of
    with mock.patch.object(
        journal.files, "sha256_of", lambda path: opened.update([path.name]) or digest(path)
    ):
        there["continue: look and last batch"](at)()
    assert not left.exists()
    assert len(pictures) == 3 * waits.BATCH * waits.PICTURES
    ofeach = Counter(path.name for path in pictures)  # a file in images, one in each mask
    assert {name: opened[name] for name in ofeach} == dict(ofeach)
