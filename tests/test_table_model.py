"""Model 107: rows are consistent, its training spends what it says and not more, and a killed run releases nothing twice."""

from __future__ import annotations

import argparse
import csv
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import medzoo
from medzoo._worker.imports import import_package
from medzoo.registry import resolve

FOLDER = ROOT / "starter_models" / "00107_DP-GAN_FNA_NUCLEI"
CODE = import_package(FOLDER)
VERSION = resolve(107).default
coordinates = hnp.arrays(np.float64, (3, 30), elements=st.floats(-1, 1))


def column(samples: medzoo.samples.Samples, name: str) -> np.ndarray:
    return samples.table[:, CODE.COLUMNS.index(name)]


@pytest.fixture
def train(script: Callable[..., ModuleType]) -> ModuleType:
    pytest.importorskip("opacus")
    return script(FOLDER)


# ------------------------------------------------------------------------------------------------------------ the rows
@settings(max_examples=50, deadline=None)
@given(coordinates)
def test_a_row_says_what_its_coordinates_say(given_: np.ndarray) -> None:
    table = CODE.to_table(given_)
    assert np.isfinite(table).all()
    assert np.abs(CODE.to_coordinates(table) - given_).max() < 1e-6


@settings(max_examples=50, deadline=None)
@given(coordinates)
def test_any_row_is_one_that_nuclei_could_have(given_: np.ndarray) -> None:
    mean, error, worst = CODE.to_table(3 * given_).reshape(-1, 3, 10).transpose(1, 0, 2)
    free = CODE.FREE + CODE.ROOTS
    assert (worst[:, free] >= mean[:, free] * (1 - 1e-9)).all()
    for group in (mean, worst):
        assert (group[:, CODE.PERIMETER] > 0.9 * 2 * np.pi * group[:, CODE.RADIUS]).all()
        assert (group[:, CODE.AREA] > 0.9 * np.pi * group[:, CODE.RADIUS] ** 2).all()
    assert (error[:, CODE.RADIUS] < 0.51 * mean[:, CODE.RADIUS]).all()
    assert (mean >= 0).all()
    low, high = VERSION.outputs["table"].range or (0, 0)
    assert low <= CODE.to_table(3 * given_).min() <= CODE.to_table(3 * given_).max() <= high


def impossible(table: np.ndarray) -> np.ndarray:
    """Which rows (n,) no nuclei can have, column by column in plain formulas."""
    name = {c: table[:, k].astype(np.float64) for k, c in enumerate(CODE.COLUMNS)}
    wrong = (table < 0).any(axis=1)
    for feature in CODE.FEATURES:
        mean, error, worst = (
            name[f"{before}{feature}{after}"]
            for before, after in (("mean ", ""), ("", " error"), ("worst ", ""))
        )
        wrong |= (worst < mean) | (error > mean) | (worst > 40 / 3 * mean)
        wrong |= worst - mean > error * math.sqrt(39 * 37 / 3) * (1 + 1e-4) + 1e-6 * mean
    for group in ("mean", "worst"):
        wrong |= 4 * np.pi * name[f"{group} area"] > name[f"{group} perimeter"] ** 2
        wrong |= name[f"{group} texture"] > 127.5
        wrong |= name[f"{group} concave points"] > 0.5
    for concavity, points in (
        ("mean concavity", "mean concave points"),
        ("concavity error", "concave points error"),
        ("worst concavity", "worst concave points"),
    ):
        wrong |= (name[concavity] == 0) != (name[points] == 0)
    return wrong


def test_no_row_of_4000_is_impossible() -> None:
    assert impossible(medzoo.generate(107, 4000, seed=0).table).sum() == 0
    with medzoo.load(107) as model:
        far = 6 * np.random.default_rng(0).normal(size=(400, 30))
        assert impossible(model.generate(400, seed=0, latents=far).table).sum() == 0


def test_the_check_of_rows_finds_what_the_coordinates_alone_allow() -> None:
    table = CODE.to_table(np.random.default_rng(0).uniform(-1, 1, (4000, 30)))
    assert impossible(table).mean() > 0.2
    assert impossible(CODE.possible(table).astype(np.float32)).sum() == 0


def test_a_possible_row_stays_as_it_is() -> None:
    table = pytest.importorskip("sklearn.datasets").load_breast_cancer().data
    assert impossible(table).sum() == 0
    assert np.allclose(CODE.possible(table), table, rtol=1e-3, atol=0)


def test_columns_are_named_as_scikit_learn_names_them() -> None:
    assert VERSION.outputs["table"].columns == CODE.COLUMNS
    found = pytest.importorskip("sklearn.datasets").load_breast_cancer()
    assert tuple(found.feature_names) == CODE.COLUMNS


def test_malignant_nuclei_are_larger_and_more_irregular() -> None:
    benign, malignant = (
        medzoo.generate(107, 400, seed=1, condition=c) for c in ("benign", "malignant")
    )
    for name in (
        "worst radius",
        "worst area",
        "worst concave points",
        "mean concavity",
        "area error",
    ):
        low, high = np.median(column(benign, name)), np.quantile(column(malignant, name), 0.25)
        assert low < high, name
    assert np.corrcoef(column(benign, "mean radius"), column(benign, "mean area"))[0, 1] > 0.95


def test_the_first_latents_move_most_and_the_first_one_upwards() -> None:
    zero = np.zeros((1, 30))
    with medzoo.load(107) as model:
        rows = [
            model.generate(1, seed=0, latents=zero + 2 * (np.arange(30) == k), condition=0).table
            for k in (0, 1, 15, 29)
        ]
        middle = model.generate(1, seed=0, latents=zero, condition=0).table
    moved = [np.abs(CODE.to_coordinates(r) - CODE.to_coordinates(middle)).sum() for r in rows]
    assert min(moved[:2]) > 2 * max(moved[2:]) > 0
    assert rows[0][0, CODE.RADIUS] > middle[0, CODE.RADIUS]


def test_the_table_is_written_as_csv(tmp_path: Path) -> None:
    samples = medzoo.generate(107, 5, seed=2, out=tmp_path / "rows")
    with (tmp_path / "rows" / "samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "labels", *CODE.COLUMNS]
    assert [r["labels"] for r in rows] == ["benign", "malignant", "benign", "malignant", "benign"]
    assert np.array_equal(samples.table, medzoo.generate(107, 5, seed=2).table)


def test_tables_and_phantoms_need_no_torch() -> None:
    code = "import medzoo, sys; medzoo.generate(107, 2); medzoo.generate(109, 2); print(*{'torch', 'opacus', 'sklearn'} & {*sys.modules})"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.strip()
        == ""
    )


# -------------------------------------------------------------------------------------------------------- the training
class Silence:
    """In place of noise, so that what it would hide can be measured."""

    def normal(self, mean: float, deviation: float, size: int) -> np.ndarray:
        self.deviation = deviation
        return np.zeros(size)


def test_one_row_more_moves_a_release_by_no_more_than_its_bound(train: ModuleType) -> None:
    accountant, rng = Counter(), np.random.default_rng(0)
    releases = train.Releases(accountant, Silence())
    for number, (sigma, bound) in enumerate(zip(train.RELEASES, train.BOUNDS, strict=True)):
        rows = rng.normal(size=(20, 7)) * rng.choice([0.01, 1, 1000], (20, 1))
        for k in range(20):
            others = np.delete(rows, k, axis=0)
            assert np.linalg.norm(
                releases.total(rows, number) - releases.total(others, number)
            ) <= bound * (1 + 1e-9)
        assert releases.noise.deviation == sigma * bound
    assert accountant.count == 3 * 40


class Counter:
    count = 0

    def step(self, *, noise_multiplier: float, sample_rate: float) -> None:
        assert noise_multiplier >= 1
        assert sample_rate == 1
        self.count += 1


def test_the_noise_is_as_large_as_the_budget_asks(train: ModuleType) -> None:
    for epsilon in (6.0, 8.0):
        sigma = train.calibrate(epsilon, 1e-4, 100)
        history = [*((s, 1.0, 1) for s in train.RELEASES), (sigma, 1.0, 100)]
        assert epsilon - 0.01 < train.spent(history, 1e-4) <= epsilon
    # Without an accountant: Gaussian mechanisms together are one of mu**2 = sum 1/sigma**2, and their delta is known
    # exactly (Balle and Wang 2018, theorem 8; Dong, Roth and Su 2022, corollary 1).
    mu, epsilon = math.sqrt(sum(k / s**2 for s, _, k in history)), train.spent(history, 1e-4)

    def below(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    assert (
        1e-6
        < below(mu / 2 - epsilon / mu) - math.exp(epsilon) * below(-mu / 2 - epsilon / mu)
        <= 1e-4
    )


def test_the_exact_epsilon_of_what_is_shipped_is_7_34(train: ModuleType) -> None:
    sigma = train.calibrate(8.0, 1e-4, train.STEPS)
    history = [*((s, 1.0, 1) for s in train.RELEASES), (sigma, 1.0, train.STEPS)]
    assert train.exact_epsilon(history, 1e-4) == pytest.approx(7.34, abs=0.01)
    # By the definition: delta is the integral of what one density has over exp(epsilon) the other.
    mu = math.sqrt(sum(k / s**2 for s, _, k in history))
    x = np.linspace(-20, 20, 400_001)
    densities = [np.exp(-((x - shift) ** 2) / 2) / math.sqrt(2 * math.pi) for shift in (mu, 0)]
    epsilon = train.exact_epsilon(history, 1e-4)
    excess = np.maximum(densities[0] - math.exp(epsilon) * densities[1], 0)
    assert excess.sum() * (x[1] - x[0]) == pytest.approx(1e-4, rel=1e-3)
    with pytest.raises(ValueError, match="sampling rate"):
        train.exact_epsilon([(1.0, 0.5, 1)], 1e-5)


def test_the_data_are_read_with_malignant_as_one(train: ModuleType, tmp_path: Path) -> None:
    table, y = train.read_table(None)
    assert table.shape == (569, 30)
    assert (y == 1).sum() == 212
    radius = table[:, CODE.RADIUS]
    assert radius[y == 1].mean() > radius[y == 0].mean()
    with (tmp_path / "own.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["diagnosis", *reversed(CODE.COLUMNS)])
        rows.writerows([k, *row[::-1]] for k, row in zip(y[:9], table[:9], strict=True))
    again, z = train.read_table(tmp_path / "own.csv")
    assert np.array_equal(again, table[:9])
    assert np.array_equal(z, y[:9])


def run(out: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        str(FOLDER / "train.py"),
        "--rehearse",
        "--out",
        str(out),
        "--steps",
        "6",
        "--every",
        "2",
        *more,
    ]


def spent(out: Path) -> Any:
    return json.loads((out / "privacy.json").read_text())


@pytest.mark.slow
def test_a_killed_training_goes_on_and_releases_nothing_twice(
    train: ModuleType, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(run(out), stdout=subprocess.PIPE, text=True)
    while not (out / "checkpoint.pt").exists() and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    import torch

    before = torch.load(out / "checkpoint.pt", weights_only=True)
    done = subprocess.run(run(out), check=True, capture_output=True, text=True)
    assert before["step"] == 6 or f"step {before['step']} " not in done.stdout, "it began again"
    after = torch.load(out / "checkpoint.pt", weights_only=True)
    for name, values in before["known"].items():
        assert torch.equal(values, after["known"][name]), f"{name} was released again"
    cost = spent(out)
    assert cost["epsilon"] == pytest.approx(8, abs=0.01)
    assert cost["epsilon"] <= 8
    assert [(k["noise_multiplier"], k["times"]) for k in cost["mechanisms"]][:2] == [
        (3.0, 2),
        (1.0, 1),
    ]
    assert cost["mechanisms"][2]["times"] == 6
    rows = medzoo.generate(107, 40, seed=1, weights=out / "weights.safetensors")
    assert np.isfinite(rows.table).all()
    assert len((out / "samples.csv").read_text().splitlines()) == 101


def test_the_noise_is_new_in_every_run_unless_a_test_asks(
    train: ModuleType, tmp_path: Path
) -> None:
    weights = []
    for k, noise_seed in enumerate((None, None, 1, 1)):
        (tmp_path / str(k)).mkdir()
        asked = {
            "out": tmp_path / str(k),
            "noise_seed": noise_seed,
            "steps": 2,
            "every": 9,
            "seed": 0,
            "epsilon": 8.0,
            "delta": 1e-4,
        }
        train.train(argparse.Namespace(**asked), *train.rehearsal(80))
        weights.append((tmp_path / str(k) / "weights.safetensors").read_bytes())
    assert weights[0] != weights[1]
    assert weights[2] == weights[3]
