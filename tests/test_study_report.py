"""The report of a reader study: published worked examples, figures by hand, and what cannot be computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from studies import key_of, read_all, real_pictures, truths

from medzoo import study
from medzoo.errors import DatasetError, InputError, IntegrityError
from medzoo.study import Study, statistics

Toy = Callable[..., int]


@pytest.fixture
def made(toy: Toy, tmp_path: Path) -> Study:
    """Ten pictures of each side."""
    return study.new(tmp_path / "study", real_pictures(tmp_path / "real"), toy(), n=10, seed=1)


# ------------------------------------------------------------------------- published worked examples
def test_icc_is_that_of_shrout_and_fleiss_1979() -> None:
    # Four judges on six targets: table 2 of the article; its tables 3 and 4 state the results.
    ratings = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
    )
    rounded = {name: round(value, 2) for name, value in statistics.icc(ratings).items()}
    assert rounded == {
        "ICC(1,1)": 0.17,
        "ICC(2,1)": 0.29,
        "ICC(3,1)": 0.71,
        "ICC(1,k)": 0.44,
        "ICC(2,k)": 0.62,
        "ICC(3,k)": 0.91,
    }
    squares = [round(value, 2) for value in statistics.mean_squares(ratings)]
    assert squares == [11.24, 32.49, 1.02, 6.26]
    # The interval of ICC(2,1), as R's psych::ICC prints it for these data.
    value, low, high = statistics.agreement(ratings)
    assert (round(value, 2), round(low, 3), round(high, 2)) == (0.29, 0.019, 0.76)


def test_kappa_is_that_of_fleiss_1971() -> None:
    # Six psychiatrists on thirty patients, five diagnoses: kappa is 0.430 in the article.
    text = """444444 222555 233335 555555 222444 113333 333355 113334 114444 555555
              144444 124444 222333 144444 224445 333335 111455 111112 224444 133555
              555555 244444 224555 114444 144445 222224 111155 224444 133333 555555"""
    calls = np.array([[int(digit) for digit in word] for word in text.split()])
    assert statistics.fleiss_kappa(calls) == pytest.approx(0.430, abs=5e-4)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0, 0.1684),
        (1, 29, 0.0009, 0.1776),
    ],
)
def test_the_exact_interval_is_that_of_newcombe_1998(
    successes: int, n: int, low: float, high: float
) -> None:
    found = statistics.proportion(successes, n)  # his table 1, method 5
    assert found.value == successes / n
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_auc_is_that_of_hanley_and_mcneil_1982() -> None:
    # CT of 109 patients on a scale from 1 to 5: the area is 0.893.
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    ratings = [
        r for counts in (normal, abnormal) for r, c in enumerate(counts, 1) for _ in range(c)
    ]
    truth = [False] * sum(normal) + [True] * sum(abnormal)
    assert statistics.auc(truth, ratings) == pytest.approx(0.893, abs=5e-4)


def test_the_t_test_is_that_of_student_1908() -> None:
    # Hours of sleep gained by ten patients: t = 4.06 with 9 degrees of freedom.
    gained = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    assert statistics.t_test_p(gained, 0) == pytest.approx(0.00283, abs=5e-6)
    value, low, high = statistics.mean(gained)
    assert [round(x, 2) for x in (value, low, high)] == [1.58, 0.7, 2.46]


def test_the_exact_test_is_that_of_fishers_tea() -> None:
    # All of 8 by guessing, on both sides: 2 / 2**8.
    assert statistics.binomial_p(8, 8) == 2 / 256


# ---------------------------------------------------------------------------------- figures by hand
def mostly(wrong: dict[bool, int]) -> Callable[[bool, int], int]:
    """Ratings of which so many of each kind are wrong."""

    def rating(synthetic: bool, k: int) -> int:
        right = k >= wrong[synthetic]
        return 6 if synthetic == right else 1

    return rating


def test_figures_of_known_answers(made: Study, tmp_path: Path) -> None:
    read_all(made, "Dr A", mostly({True: 2, False: 1}))  # 8 and 9 of 10 right
    read_all(made, "Dr B", mostly({True: 4, False: 3}))
    read_all(made, "Dr C", mostly({True: 1, False: 1}))
    report = made.report()
    value = {f.name: f.value for f in report.figures if not f.by}
    assert value["accuracy"] == pytest.approx(48 / 60)
    assert value["accuracy of readers"] == pytest.approx(48 / 60)
    assert value["sensitivity"] == pytest.approx(23 / 30)
    assert value["specificity"] == pytest.approx(25 / 30)
    # With two ratings, the area is the mean of sensitivity and specificity.
    assert value["AUC"] == pytest.approx(48 / 60)
    assert value["p against chance"] == pytest.approx(statistics.t_test_p([0.85, 0.65, 0.9]))
    accuracy = report.figure("accuracy")
    assert accuracy.low < 0.7 < accuracy.high < 0.9
    shares = [report.figure("accuracy", f"class {name}") for name in ("benign", "malignant")]
    assert sum(f.value * f.n for f in shares) == pytest.approx(48)


def test_agreement_is_that_of_the_answers(made: Study) -> None:
    known = truths(made)
    rng = np.random.default_rng(0)
    table = {name: rng.integers(1, 7, 3) for name in sorted(known)}
    for k, reader in enumerate(("Dr A", "Dr B", "Dr C")):
        reading = made.start(reader)
        while item := reading.current:
            reading.answer(item.id, int(table[item.pictures[0]][k]))
    ratings = np.array([*table.values()], float)
    report = made.report()
    assert report.figure("ICC").value == pytest.approx(statistics.icc(ratings)["ICC(2,1)"])
    assert report.figure("kappa").value == pytest.approx(statistics.fleiss_kappa(ratings > 3))


def test_scales_are_compared_between_the_sides(toy: Toy, tmp_path: Path) -> None:
    real = real_pictures(tmp_path / "real")
    made = study.new(tmp_path / "study", real, toy(), n=10, seed=1, likert="realism")
    known, reading = truths(made), made.start("Dr A")
    while item := reading.current:
        reading.answer(item.id, 3, scales={"realism": 2 if known[item.pictures[0]] else 5})
    report = made.report()
    assert report.figure("realism, synthetic").value == 2
    assert report.figure("realism, real").value == 5
    assert report.figure("realism, p").value < 0.001


def test_scales_count_the_readers_who_have_finished(toy: Toy, tmp_path: Path) -> None:
    real = real_pictures(tmp_path / "real")
    made = study.new(tmp_path / "study", real, toy(), n=10, seed=1, likert="realism")
    strict = made.start("Dr B")
    for _ in range(5):
        strict.answer(strict.current.id, 3, scales={"realism": 1})
    report = made.report()
    assert "No reader has finished, so the further scales have no means." in report.notes
    with pytest.raises(InputError, match="no figure 'realism, real'"):
        report.figure("realism, real")
    read_all(made, "Dr A", lambda truth, k: 3, scales={"realism": 4})
    report = made.report()
    assert "their answers count in accuracy, sensitivity and specificity alone" in report.notes[0]
    for name in ("realism, real", "realism, synthetic"):
        assert (report.figure(name).value, report.figure(name).n) == (4, 10)


def test_how_the_model_ran_is_not_a_group_of_pictures(toy: Toy, tmp_path: Path) -> None:
    real = real_pictures(tmp_path / "real")
    made = study.new(
        tmp_path / "study",
        real,
        toy(),
        n=4,
        seed=1,
        device="cpu",
        sandbox="off",
        options={"gain": 2},
    )
    assert {name for e in key_of(made)["pictures"].values() for name in e["groups"]} == {"class"}
    read_all(made, "Dr A", lambda truth, k: 6)
    assert {f.by for f in made.report().figures} == {"", "class benign", "class malignant"}


def test_training_does_not_count(toy: Toy, tmp_path: Path) -> None:
    real = real_pictures(tmp_path / "real")
    made = study.new(tmp_path / "study", real, toy(), n=5, training=6, seed=1)
    reading = made.start("Dr A")
    known = truths(made)
    while item := reading.current:
        right = known[item.pictures[0]] != item.training  # wrong in the training alone
        reading.answer(item.id, 6 if right else 1)
    assert made.report().figure("accuracy").value == 1
    assert made.report().figure("accuracy").n == 10


def test_pairs_count_the_right_side(toy: Toy, tmp_path: Path) -> None:
    real = real_pictures(tmp_path / "real")
    made = study.new(tmp_path / "study", real, toy(), n=10, pairs=True, seed=1)
    for reader, wrong in (("Dr A", 2), ("Dr B", 1)):
        read_all(made, reader, lambda right, k, wrong=wrong: 1 + (right == (k >= wrong)))
    report = made.report()
    assert report.figure("accuracy").value == pytest.approx(14 / 20)
    assert report.figure("AUC").value == pytest.approx(14 / 20)
    text = str(report)
    assert "Pairs have neither sensitivity nor specificity" in text
    assert "Pairs have no ratings, so there is no ICC" in text
    made.report(tmp_path / "report")
    rows = pandas.read_csv(tmp_path / "report" / "answers.csv")
    assert set(rows["truth"]) == {"left", "right"}
    assert rows["right"].sum() == 14


# -------------------------------------------------------------------------- what cannot be computed
def test_nobody_and_no_answers_are_said(made: Study, tmp_path: Path) -> None:
    assert made.report(tmp_path / "one").notes[0] == "Nobody has begun, so nothing can be computed."
    made.start("Dr A")
    report = made.report(tmp_path / "two")
    assert report.notes[0] == "There are no answers that count, so nothing can be computed."
    page = (tmp_path / "two" / "report.html").read_text()
    assert report.notes[0] in page
    with pytest.raises(InputError, match="nothing can be computed"):
        report.figure("accuracy")


def test_one_reader_has_an_exact_test_and_no_agreement(made: Study) -> None:
    read_all(made, "Dr A", mostly({True: 2, False: 2}))
    report = made.report()
    chance = report.figure("p against chance")
    assert chance.value == pytest.approx(statistics.binomial_p(16, 20))
    assert chance.note.startswith("exact binomial test")
    assert math.isnan(report.figure("accuracy of readers").low)
    assert {f.name for f in report.figures} & {"kappa", "ICC"} == set()
    assert "One reader has finished" in report.notes[0]


def test_readers_who_did_not_finish_are_said(made: Study) -> None:
    read_all(made, "Dr A", mostly({True: 2, False: 2}))
    reading = made.start("Dr B")
    reading.answer(reading.current.id, 1)
    report = made.report()
    assert "1 of 2 readers have not finished" in report.notes[0]
    assert report.figure("accuracy").n == 21
    assert report.figure("accuracy of readers").n == 1


def test_equal_readers_and_equal_answers_are_said(made: Study) -> None:
    for reader in ("Dr A", "Dr B"):
        read_all(made, reader, lambda truth, k: 6)
    report = made.report()
    text = " ".join(report.notes)
    for part in ("the t test over readers cannot", "Fleiss' kappa cannot", "the ICC cannot"):
        assert part in text
    assert math.isnan(report.figure("p against chance").value)
    assert "nan" not in str(report).replace("malignant", "")


def test_a_key_that_is_missing_damaged_or_of_another_study_is_refused(
    made: Study, tmp_path: Path
) -> None:
    key = made.folder / "key.json"
    content = key.read_text()
    key.write_text(content.replace(made.id, "0" * 32))
    with pytest.raises(IntegrityError, match="key of another study"):
        made.report()
    key.write_text(content[:100])
    with pytest.raises(DatasetError, match="cannot be read"):
        made.report()
    key.unlink()
    with pytest.raises(InputError, match=r"There is no key\.json"):
        made.report()


# ----------------------------------------------------------------------------------------- the files
def test_the_page_and_the_tables_hold_what_was_said(made: Study, tmp_path: Path) -> None:
    known, reading = truths(made), made.start("Dr <A>", experience=12)
    while item := reading.current:
        comment = (
            "<script>alert(1)</script>" if item.number == 1 else "=1+1" if item.number == 2 else ""
        )
        truth = known[item.pictures[0]]
        reading.answer(item.id, 2 if truth else 5, comment=comment, seconds=3)
    reading.close({made.settings.closing[0]: "the <b>noise</b>"})
    out = tmp_path / "report"
    made.report(out)
    page = (out / "report.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "the &lt;b&gt;noise" in page
    assert "http" not in page
    for heading in ("most convincing synthetic", "taken for synthetic", "By group", "At the end"):
        assert heading in page
    answers = pandas.read_csv(out / "answers.csv")
    assert len(answers) == 20
    assert answers["right"].sum() == 0
    assert set(answers["seconds"]) == {3.0}
    assert "'=1+1" in set(answers["comment"])
    pictures = pandas.read_csv(out / "pictures.csv")
    assert set(pictures["truth"]) == {"real", "synthetic"}
    assert set(pictures[pictures["truth"] == "real"]["called_synthetic"]) == {1}
    readers = pandas.read_csv(out / "readers.csv")
    assert readers.loc[0, "experience"] == 12
    figures = pandas.read_csv(out / "figures.csv", keep_default_na=True)
    assert figures[figures["figure"] == "accuracy"]["value"].iloc[0] == 0
    with pytest.raises(DatasetError, match="holds something already"):
        made.report(out)


def test_the_most_convincing_pictures_come_first(made: Study, tmp_path: Path) -> None:
    known = truths(made)
    best = min(name for name, synthetic in known.items() if synthetic)
    for reader in ("Dr A", "Dr B"):
        reading = made.start(reader)
        while item := reading.current:
            reading.answer(item.id, 1 if item.pictures[0] == best else 6)
    made.report(tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    gallery = page[page.index("most convincing synthetic") :]
    assert gallery.index(f"{key_of(made)['pictures'][best]['source']}, ") < 400
    assert "2 of 2 answers wrong, mean rating 1.0" in gallery[:500]


def test_a_report_without_its_libraries_names_the_extra(
    made: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    missing: Any = None
    monkeypatch.setitem(sys.modules, "statsmodels.stats.inter_rater", missing)
    with pytest.raises(InputError, match=r"pip install 'medzoo\[study\]'"):
        made.report()
