"""The benchmark: that every bar is measured, what is said of one that is missed, and that the page says what was measured."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from package_index import PackageIndex
from PIL import Image

from benchmarks import __main__ as bench
from benchmarks import environments, gpu, history, instruments, report, scale
from benchmarks.groups import GROUPS, Group
from benchmarks.rows import RESULTS, Found, Measurement, Results, Row, Size, Skip, measures

BARS = [  # what medzoo is built to: words of the row's name, the bar, its unit
    (r"^`import medzoo`", "<= 60", "ms"),
    (r"^memory of `import medzoo`", "<= 25", "MiB"),
    (r"^`medzoo list`", "<= 0.35", "s"),
    (r"^`medzoo generate 8 -n 1 --out x`, time against `import torch`", "<= 1.12", "x"),
    (r"^model 8 in memory, times as fast as the plain loop", ">= 1.25", "x"),
    (r"slowest bundled model", ">= 0.95", "x"),
    (r"to PNG, more a picture than the plain loop", "<= 1", "ms"),
    (r"^peak memory to disk, ten times", "<= 1.05", "x"),
    (r"^peak memory through the loader, ten times", "<= 1.05", "x"),
    (r"^loader: first batch", "<= 1.05", "x"),
    (r"in a separate process, time against in this process", "<= 1.05", "x"),
    (r"^search over 10,000 configs$", "<= 10", "ms"),
    (r"^search over 10,000 .* nothing", "<= 10", "ms"),
    (r"^opening a registry of 10,000", "<= 50", "ms"),
    (r"^building the index of 10,000", "<= 8", "s"),
    (r"slider", "<= 50", "ms"),
    (r"^one single-threaded Ray actor, time against", "<= 1.05", "x"),
    (r"^`evaluate`, 1,000 pictures of 128x128 against 200", "<= 180", "s"),
    (r"^second environment", "<= 5", "s"),
    (r"disk beside the first", "<= 100", "MiB"),
    (r"^model 8 on a GPU, time against the plain loop", "<= 1.05", "x"),
]
ALSO = [
    r"^png written",
    r"^dicom read",
    r"through the loader, times",
    r"killed halfway",
    r"Ray actors",
    r"^peak memory, plain loop",
]
ALL = [
    row
    for group in GROUPS.values()
    for measurement in group.measurements
    for row in measurement.rows
]
MACHINE = {
    "cpu": "A CPU",
    "cores": 2,
    "memory": "8 GiB",
    "system": "Linux",
    "python": "3.11",
    "torch": "2.13.0",
    "medzoo": "1",
    "commit": "abc",
    "date": "2026-01-01 00:00 UTC",
    "load": 0.1,
    "busy": False,
    "runs": 3,
    "quick": False,
}


# ------------------------------------------------------------------------------------------------------------- the rows
@pytest.mark.parametrize(("name", "bar", "unit"), BARS)
def test_every_bar_has_a_row(name: str, bar: str, unit: str) -> None:
    (row,) = (row for row in ALL if re.search(name, row.name) and row.bar is not None)
    assert (report.bar(row), row.unit) == (bar, unit)


@pytest.mark.parametrize("name", ALSO)
def test_what_has_no_bar_is_measured_too(name: str) -> None:
    assert any(re.search(name, row.name) for row in ALL)


def test_rows_are_told_apart_and_every_group_has_a_text() -> None:
    assert len({(row.group, row.name) for row in ALL}) == len(ALL)
    assert {row.group for row in ALL} == set(GROUPS)
    for group in GROUPS.values():
        assert group.about.endswith(".")


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (Row("a", "ms", bar=60, runs=[61, 90, 65]), "MISSED by 5 ms (8%)"),
        (Row("a", "ms", bar=60, runs=[90, 60, 1]), "met"),
        (Row("a", "x", bar=1.25, at_least=True, runs=[1.2]), "MISSED by 0.05 x (4%)"),
        (Row("a", "x", bar=1.25, at_least=True, runs=[1.25]), "met"),
        (Row("a", "MiB", runs=[7]), ""),
        (Row("a", "s", bar=5, skipped="no torch"), "skipped"),
        (Row("a", "s", bar=5, failed="it broke"), "FAILED"),
    ],
)
def test_a_missed_bar_is_said_with_its_amount(row: Row, verdict: str) -> None:
    assert row.verdict == verdict
    assert report.lines([row]).splitlines()[0].endswith(verdict)
    told = report.closing(Results(MACHINE, [row])).splitlines()[2:]
    assert told == (
        [f"- a: {verdict.replace('MISSED', 'missed')}"] if verdict.startswith("MISSED") else []
    )


def measurement(function: Callable[[Size], list[Found]]) -> Measurement:
    return measures(Row("one", "s", bar=1), Row("two", "s"))(function)


def test_an_error_is_in_its_rows_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(size: Size) -> list[Found]:
        raise RuntimeError("it broke")

    def skips(size: Size) -> list[Found]:
        raise Skip("no torch")

    module = ModuleType("things", "Things.")
    module.__dict__.update({f.__name__: measurement(f) for f in (breaks, skips)})
    module.__dict__["short"] = measurement(lambda size: [Found([1.0])])
    module.__dict__["works"] = measurement(
        lambda size: [Found([2.0] * size.runs), Found([1.0], {"this": [4]}, "s")]
    )
    monkeypatch.setattr(
        bench, "GROUPS", {"things": Group("Things", module), "others": Group("Others", module)}
    )
    assert (
        bench.main(["--runs", "5", "--only", "things", "--out", str(tmp_path)]) == 1
    )  # since one broke
    rows = Results.read(tmp_path / RESULTS).rows
    assert [row.verdict for row in rows[:8]] == ["FAILED"] * 2 + ["skipped"] * 2 + [
        "FAILED"
    ] * 2 + ["MISSED by 1 s (100%)", ""]
    assert [rows[k].remark for k in (0, 2)] == ["RuntimeError: it broke", "no torch"]
    assert rows[6].runs == [2.0] * 5
    assert rows[7].remark == "this 4 s"
    assert [row.remark for row in rows[8:]] == ["not asked for"] * 8


# -------------------------------------------------------------------------------------------------- what is written down
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)
figures = st.lists(st.floats(-1e6, 1e6), max_size=4)
rows = st.builds(
    Row,
    name=words,
    unit=words,
    bar=st.none() | st.floats(0.1, 1e4),
    at_least=st.booleans(),
    group=st.sampled_from(list(GROUPS)),
    runs=figures,
    sides=st.dictionaries(words, figures.filter(len), max_size=2),
    sides_unit=words,
    note=words,
    skipped=words,
    failed=words,
)


@settings(max_examples=30)
@given(st.lists(rows, max_size=4))
def test_the_page_of_the_json_is_the_page_of_the_run(
    tmp_path_factory: pytest.TempPathFactory, found: list[Row]
) -> None:
    path = tmp_path_factory.mktemp("bench") / RESULTS
    results = Results(MACHINE, found)
    results.write(path)
    assert Results.read(path) == results
    assert report.page(Results.read(path), GROUPS) == report.page(results, GROUPS)


def test_the_page_has_all_rows_and_says_which_bars_are_missed() -> None:
    found = [
        Row(
            "fast | good",
            "x",
            bar=1.25,
            at_least=True,
            group="speed",
            runs=[1.0, 1.5, 1.4],
            sides={"plain": [2, 2, 2]},
            sides_unit="s",
        ),
        Row("slow", "ms", bar=60, group="speed", runs=[80, 90, 100]),
        Row("disk", "MiB", bar=100, group="environments", skipped="torch is nowhere to be had"),
        Row("broken", "s", group="memory", failed="RuntimeError: no"),
    ]
    page = report.page(Results(MACHINE, found), GROUPS)
    assert "| fast \\| good | 1.4 x | >= 1.25 | met | plain 2 s |" in page
    assert "| slow | 90 ms | <= 60 | MISSED by 30 ms (50%) |  |" in page
    assert "| disk | - | <= 100 | skipped | torch is nowhere to be had |" in page
    assert "| broken | - |  | FAILED | RuntimeError: no |" in page
    assert "1 of 2 bars are met; 2 rows have no figure." in page
    assert "- slow: missed by 30 ms (50%)" in page
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == [
        group.title for group in GROUPS.values()
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"busy": True, "load": 3.5}, "load average 3.5"), ({"quick": True}, "mean nothing")],
)
def test_figures_of_no_worth_say_so(changes: dict[str, object], said: str) -> None:
    plain, other = (report.page(Results(m, []), GROUPS) for m in (MACHINE, MACHINE | changes))
    assert said in other
    assert said not in plain


def test_docs_that_differ_from_the_results_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "MEASURED", tmp_path / "docs" / "performance" / RESULTS)
    (tmp_path / "docs" / "performance").mkdir(parents=True)
    shutil.copy(ROOT / "README.md", tmp_path)
    assert generate.main([]) == 0
    assert not (tmp_path / "docs" / "performance.md").exists()  # nothing was measured
    for runs in ([10.0], [11.0]):
        Results(MACHINE, [Row("slow", "ms", bar=60, group="speed", runs=runs)]).write(
            generate.MEASURED
        )
        assert generate.main(["--check"]) == 1
        assert f"+| slow | {runs[0]:g} ms |" in capsys.readouterr().out
        assert generate.main([]) == 0
        assert generate.main(["--check"]) == 0


# ---------------------------------------------------------------------------------------------------- how it is measured
def test_sides_are_taken_in_turn_after_a_warm_up_that_does_not_count() -> None:
    calls: list[tuple[str, int]] = []
    sides = {name: lambda n, name=name: calls.append((name, n)) for name in ("a", "b")}
    found = instruments.in_turn(2, sides, 50, warm=3)
    assert calls == [("a", 3), ("b", 3), ("a", 50), ("b", 50), ("a", 50), ("b", 50)]
    assert {name: len(runs) for name, runs in found.items()} == {"a": 2, "b": 2}


def test_peak_memory_counts_what_a_process_starts_and_what_it_gave_back() -> None:
    hold = "held = bytearray(b'x') * {mib} * 2**20"
    child = f"import time; {hold.format(mib=60)}; time.sleep(0.3)"
    both = f"import subprocess, sys, time; {hold.format(mib=100)}; time.sleep(0.3); del held; subprocess.run([sys.executable, '-c', {child!r}])"
    alone = instruments.tree_peak("pass")
    assert 150 < instruments.tree_peak(both) - 2 * alone < 200
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        instruments.tree_peak("1 / 0")


def test_what_a_million_samples_cost_is_measured_in_each_format() -> None:
    found = scale.costs(109, 1, 4)
    assert found["made"] > 0
    assert list(found["formats"]) == list(scale.FORMATS)
    for cost in found["formats"].values():
        assert cost["written"] > 0
        assert cost["bytes"] > 1000


def test_no_torch_to_be_had_is_a_row_with_the_reason(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wheels").mkdir()
    for name, value in {
        "UV_FIND_LINKS": tmp_path / "wheels",
        "UV_INDEX": index.url,
        "MEDZOO_TORCH_BACKEND": "index",
    }.items():
        monkeypatch.setenv(name, str(value))
    found = environments.second.run(Size(runs=1))
    assert [row.verdict for row in found] == ["skipped"] * 2
    assert "torch is nowhere to be had" in found[0].remark


@pytest.mark.slow
def test_what_a_gpu_would_be_measured_by_measures_a_cpu() -> None:
    ratio, each, difference = gpu.beside_the_plain_loop(
        "cpu", "no card", Size(runs=2, n=4, quick=True)
    )
    assert len(ratio.runs) == len(each.runs) == 2
    assert [len(side) for side in ratio.sides.values()] == [2, 2]
    assert difference.runs == [0.0]
    assert ratio.note == "8 samples in batches of 4, no card"


def test_the_published_figures_are_of_a_whole_run_of_several() -> None:
    results = Results.read(ROOT / "docs" / "performance" / RESULTS)
    assert results.machine["runs"] >= 3
    assert not results.machine["quick"]
    assert [row.name for row in results.rows] == [row.name for row in ALL]
    assert [row.name for row in results.rows if row.failed or row.skipped == "not asked for"] == []


@pytest.mark.slow
def test_a_quick_run_measures_everything(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(tmp_path / "bench")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    results = Results.read(tmp_path / "bench" / RESULTS)
    assert [(row.group, row.name) for row in results.rows] == [(row.group, row.name) for row in ALL]
    for row in results.rows:  # there may be no GPU, and Ray may give up on a busy machine
        assert row.figure is not None or (
            row.group in {"environments", "cluster", "gpu"} and row.skipped
        ), row
        assert row.name.replace("`", "") in run.stdout
    for row in results.missed:
        assert row.verdict in run.stdout
    assert json.loads((tmp_path / "bench" / RESULTS).read_text())["machine"]["quick"] is True
    with Image.open(tmp_path / "bench" / report.PICTURE) as picture:
        assert picture.size[0] > 500


# ------------------------------------------------------------------------------------------------ against history
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a build needs the repository")
def test_a_build_of_a_commit_is_measured_against_one_that_cannot_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = history.build(history.commit_of_today(), tmp_path / "new")
    code = "import medzoo, numpy; print(medzoo.__file__); print(numpy.__file__)"
    done = subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    ours, borrowed = map(Path, done.stdout.split())
    assert tmp_path in ours.parents  # in the wheel, not in this tree
    assert tmp_path not in borrowed.parents
    pairs = history.measure("model 107", python, python, tmp_path, 2)
    assert (len(pairs.old), len(pairs.new), pairs.problem) == (2, 2, "")
    assert min(second for run in (*pairs.old, *pairs.new) for second in run) > 0
    assert history.line("model 107", pairs).count(" x") == 2
    medzoo_folder = ours.parent
    medzoo_folder.rename(tmp_path / "away")
    lacking = history.measure("model 107", python, Path(sys.executable), tmp_path, 1)
    assert "cannot run: ModuleNotFoundError: No module named 'medzoo'" in history.line("", lacking)
    with pytest.raises(SystemExit):
        history.main(["no-such-commit"])
    assert "no build of no-such-commit" in capsys.readouterr().err
