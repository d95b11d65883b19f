"""Known traps of other libraries: what they give, and that our figures do right."""

from __future__ import annotations

import csv
import importlib.util
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from judging import HELD_OUT, REAL, blobs, judged
from scipy import stats

import medzoo
from medzoo.cli import main
from medzoo.config import Output
from medzoo.errors import InputError, MedzooWarning
from medzoo.evaluation.data import Reading
from medzoo.evaluation.figures import number
from medzoo.evaluation.matching import Sides, range_of, unit_values
from medzoo.evaluation.measuring import METRICS
from medzoo.evaluation.pairs import Pair, Part
from medzoo.evaluation.report import _window
from medzoo.evaluation.sources import data_of

pytestmark = pytest.mark.filterwarnings("ignore::medzoo.errors.MedzooWarning")


def points(n: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (n, 6))).float()


# --------------------------------------------------------------------------- what needs torchvision
EVERYTHING = """
import sys
sys.path.insert(0, "tests")
from judging import HELD_OUT, REAL, blobs
import medzoo
medzoo.evaluate(blobs(20, 2), REAL, held_out=HELD_OUT, metrics="all", steps=1)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_all_metrics_of_pictures_run_without_torchvision() -> None:
    command = [sys.executable, "-W", "ignore", "-c", EVERYTHING]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split())
    assert "monai" in loaded
    assert not loaded & {"torchvision", "torchmetrics", "torch_fidelity", "lpips"}


@pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed"
)
def test_the_frechet_distance_of_torchmetrics_needs_what_is_not_here() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = pytest.importorskip("torchmetrics.image")
        distance = getattr(image, "FrechetInceptionDistance", None)
        with pytest.raises((ModuleNotFoundError, TypeError)):
            distance(feature=64)


# --------------------------------------------------------------------- distances below zero
def test_distances_of_equal_sets_are_zero_where_those_of_monai_are_below() -> None:
    from monai.metrics import FIDMetric, MMDMetric

    x = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (50, 64))).float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scipy, about an argument that MONAI gives
        assert float(FIDMetric()(x, x.clone())) < 0
        assert float(MMDMetric()(x, x.clone())) < -0.01
    same = Part(50, z=x)
    for name in ("fd", "kd"):
        estimate = METRICS[name].measure(Pair(same, same, same))
        low, high = estimate.interval(METRICS[name].lowest, METRICS[name].highest)
        assert 0 <= estimate.value < 1e-3
        assert 0 <= low <= high


def test_the_kernel_distance_of_different_sets_stays_that_of_the_formula() -> None:
    from medzoo.evaluation.distances import kernel_distance

    a, b, real = points(80, 0), points(60, 1) + 1, points(90, 2)
    scale = real.var(0).mean().sqrt()
    expected = kernel_distance(a.double() / scale, b.double() / scale)
    pair = Pair(Part(80, z=a), Part(90, z=real), Part(60, z=b))
    assert METRICS["kd"].measure(pair).value == pytest.approx(expected, rel=1e-4)


# ----------------------------------------------------------------------------- shuffled columns
def correlated(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, n)
    return np.stack([x, x + 0.05 * rng.normal(0, 1, n)], 1)


def test_shuffled_columns_get_all_of_the_lost_correlation() -> None:
    held, shuffled = correlated(400, 0), correlated(400, 1)
    np.random.default_rng(2).shuffle(shuffled[:, 1])
    # CorrelationSimilarity of SDMetrics, by its definition: 1 - |difference of correlations| / 2.
    lost = stats.spearmanr(*held.T).statistic - stats.spearmanr(*shuffled.T).statistic
    assert 1 - abs(lost) / 2 > 0.45  # half of the points, though nothing of it is left
    parts = [Part(400, table=t) for t in (shuffled, correlated(400, 3), held)]
    assert METRICS["correlations"].measure(Pair(*parts)).value == pytest.approx(lost, abs=1e-6)
    assert lost > 0.9


# --------------------------------------------------------------------------------- each metric
def test_every_metric_states_source_direction_unit_and_size() -> None:
    for metric in METRICS.values():
        text = " ".join(metric.explanation.split())
        assert re.search(r"Source: \w", text), metric.name
        assert re.search(r"(is|are) (better|best)|floor is what real", text) or (
            metric.better == "floor" and "than the floor" in text
        ), metric.name
        assert re.search(r"Unit: \w", text), metric.name
        sizes = re.findall(r"(?:[Bb]elow|[Ff]ewer than) (\d+)", text)
        assert str(metric.enough) in sizes, metric.name
        assert metric.better in {"lower", "higher", "floor"}


def table(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (n, 3))


def boxes(n: int, seed: int) -> dict[str, Any]:
    data = blobs(n, seed)
    where = np.random.default_rng(seed).uniform(0.3, 0.7, (n, 4)).astype(np.float32)
    return {"images": data["images"], "boxes": where, "table": table(n, seed)}


def test_every_metric_warns_of_too_few_samples_in_figures_and_report() -> None:
    found = judged(blobs(20, 2), metrics="all", steps=1)
    other = medzoo.evaluate(
        boxes(20, 2),
        boxes(24, 0),
        held_out=boxes(20, 1),
        metrics=["masks", "tables", "row_copy"],
        steps=1,
    )
    figures = [*found.figures, *other.figures]
    assert {figure.metric for figure in figures} == set(METRICS)
    for figure in figures:
        needed = METRICS[figure.metric].enough
        assert f"misleads with 20 samples, {needed} are needed" in figure.note, figure.metric
    for evaluation in (found, other):
        assert "misleads with 20 samples" in str(evaluation)
        assert "misleads with 20 samples, 100 are needed" in evaluation.to_html()


# --------------------------------------------------------------------------------------- tables
def wisconsin(path: Path, **changes: Any) -> Path:
    """The data of model 107, as scikit-learn brings them."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    names = [str(name) for name in data.feature_names]
    order = [names.index(column) for column in medzoo.info(107).default.outputs["table"].columns]
    rows = data.data[:, order]
    for name, values in changes.items():
        rows[:, order.index(names.index(name.replace("_", " ")))] = values
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(names[k] for k in order), "diagnosis"])
        for row, code in zip(rows.tolist(), data.target.tolist(), strict=True):
            writer.writerow([*row, ("malignant", "benign")[code]])
    return path


def test_a_table_model_is_judged_against_its_real_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = wisconsin(tmp_path / "wdbc.csv")
    command = ["evaluate", "107", "--real", str(real), "-n", "300"]
    assert main([*command, "--gate", "marginals<=0.3, row_copy<=0.05, nnaa>=0.4"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("00107_DP-GAN_FNA_NUCLEI: 300 samples against 285 real ones")
    names = [line.split()[0] for line in printed.splitlines() if re.match(r"\w+ +[\d.]", line)]
    assert names == [
        *("marginals", "correlations", "detection", "row_copy", "nnaa", "membership"),
    ]


def test_copied_rows_of_a_table_are_members_beside_control_rows() -> None:
    real, held = table(200, 0), table(150, 1)
    copied = real + np.random.default_rng(9).normal(0, 0.01, real.shape)
    found = medzoo.evaluate(
        {"table": copied}, {"table": real}, held_out={"table": held}, metrics=["privacy"]
    )
    assert found["membership"].value > 0.9
    assert found["membership"].floor < 0.2
    assert found["nnaa"].value < 0.1
    fresh = medzoo.evaluate(
        {"table": table(200, 2)}, {"table": real}, held_out={"table": held}, metrics=["privacy"]
    )
    assert fresh["membership"].value < 0.2
    assert fresh["nnaa"].value == pytest.approx(0.5, abs=0.1)


# ------------------------------------------------------------------------------ bad real data
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": REAL["images"][:8]}, "real has 8 samples"),
        ({"images": REAL["images"][:, :, ::2]}, "synthetic has images of 16x16, real of 8x16"),
        ({"images": REAL["images"].repeat(3, 1)}, "images of 1 channels, real has images of 3"),
        ({"images": np.full((60, 1, 16, 16), np.nan)}, "NaN or infinite values in 60 of 60"),
        ({"images": REAL["images"].astype(np.int32)}, "int32, whose value range is not known"),
        ({"images": REAL["images"].astype(np.float32)}, "whose range is not known"),
    ],
)
def test_bad_real_data_are_refused(changes: dict[str, Any], message: str) -> None:
    real = {"images": changes["images"]}
    with pytest.raises(InputError, match=message):
        medzoo.evaluate({"images": blobs(30, 2)["images"]}, real, held_out=HELD_OUT)


def test_tables_of_other_columns_are_refused_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = wisconsin(tmp_path / "wdbc.csv")
    text = real.read_text(encoding="utf-8").replace("mean radius", "radius (cm)", 1)
    real.write_text(text, encoding="utf-8")
    assert main(["evaluate", "107", "--real", str(real), "-n", "20"]) == 2
    assert "The tables differ" in capsys.readouterr().err


# ------------------------------------------------------------------- order, repeats, types, depth
def by_class(n: int, seed: int) -> dict[str, Any]:
    """Dark pictures, then bright ones, as a folder with one folder per class is read."""
    rng = np.random.default_rng(seed)
    means = np.repeat([70, 180], [n // 2, n - n // 2])[:, None, None, None]
    return {"images": rng.normal(means, 10, (n, 1, 8, 8)).clip(0, 255).astype(np.uint8)}


def test_the_order_of_real_data_does_not_change_how_near_samples_are() -> None:
    made, real, held = by_class(40, 0), by_class(160, 1), by_class(100, 2)
    mixed = {"images": np.random.default_rng(3).permutation(real["images"])}
    figures = []
    for given in (real, mixed):
        figures.append(medzoo.evaluate(made, given, held_out=held, metrics=["nnaa"])["nnaa"])
    assert figures[0].value == pytest.approx(figures[1].value, abs=0.12)
    assert figures[0].floor == pytest.approx(figures[1].floor, abs=0.12)


def test_a_picture_that_occurs_twice_is_not_held_out_from_itself() -> None:
    once = blobs(40, 5)["images"]
    real = {"images": np.concatenate([once, once])}
    found = medzoo.evaluate({"images": once}, real, metrics=["copy"])
    assert found["copy"].value > 0.4  # of the half that was not held out, all are copies
    assert found.facts["identical"] == pytest.approx(20, abs=1)


def test_halves_that_are_too_small_or_share_pictures_are_refused() -> None:
    real = {"images": REAL["images"], "patient": np.repeat([0, 1], [55, 5])}
    with pytest.raises(InputError, match="60 samples of 2 patients, and cannot be split"):
        medzoo.evaluate({"images": blobs(30, 2)["images"]}, real)
    twice = np.concatenate([REAL["images"], REAL["images"]])
    with pytest.raises(InputError, match="occur with two patients"):
        medzoo.evaluate(
            {"images": blobs(30, 2)["images"]}, {"images": twice, "patient": np.arange(120)}
        )


def test_labels_as_floats_are_classes_and_other_numbers_are_not() -> None:
    codes = np.arange(60) % 2
    real = {"age": np.arange(60), "images": REAL["images"], "labels": codes.astype(float)}
    real["patient"] = np.arange(60) // 2
    made = {"images": blobs(60, 2)["images"], "labels": codes, "indices": np.arange(60)}
    found = medzoo.evaluate(made, real, metrics=["fd"], by="labels")
    assert {figure.by for figure in found.figures} == {"", "labels=0", "labels=1"}
    for labels, message in ((codes / 2, "not whole numbers"), (codes[:, None], "one label per")):
        with pytest.raises(InputError, match=message):
            medzoo.evaluate({**made, "labels": labels}, real)


def test_pictures_of_two_values_are_black_and_white() -> None:
    bright = REAL["images"] > 120
    held_out = {"images": (HELD_OUT["images"] > 120) * np.uint8(255)}
    images = bright * np.uint8(255)
    found = medzoo.evaluate(bright, images, held_out=held_out, metrics=["precision"])
    assert found.facts["identical"] == 60


@pytest.mark.filterwarnings("default::medzoo.errors.MedzooWarning")
def test_twelve_bits_stored_as_sixteen_are_called_dark() -> None:
    deep = {"images": REAL["images"].astype(np.uint16) * 16}
    held = {"images": HELD_OUT["images"].astype(np.uint16) * 257}
    with pytest.warns(MedzooWarning, match="real: no pixel is above .* 65535 is white"):
        medzoo.evaluate({"images": blobs(30, 2)["images"]}, deep, held_out=held, metrics=["fd"])


def saved(path: Path, rows: np.ndarray, *, head: str = "a,b,c", cell: str = "") -> Path:
    lines = [",".join(map(str, row)) for row in rows]
    if cell:
        lines = [f"{line.rpartition(',')[0]},{cell}" for line in lines]
    path.write_text("\n".join([head, *lines]), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "inf"}, "column c has infinite values"),
        ({"cell": "nan"}, "column c has no numbers"),
        ({"head": ",b,c"}, "a column without a name"),
        ({"head": "a,b,b"}, "two columns 'b'"),
    ],
)
def test_tables_without_a_meaning_are_refused(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    real = saved(tmp_path / "real.csv", points(60, 0)[:, :3].numpy(), **options)
    with pytest.raises(InputError, match=message):
        medzoo.evaluate(real, real, metrics=["marginals"])


@pytest.mark.filterwarnings("default::medzoo.errors.MedzooWarning")
def test_a_column_with_numbers_and_text_is_named(tmp_path: Path) -> None:
    real = saved(tmp_path / "real.csv", points(60, 0)[:, :3].numpy())
    lines = real.read_text(encoding="utf-8").splitlines()
    lines[4] = f"{lines[4].rpartition(',')[0]},NA"
    real.write_text("\n".join(lines), encoding="utf-8")
    with pytest.warns(MedzooWarning, match="column 'c' has numbers and text, first 'NA' in row 4"):
        medzoo.evaluate(real, real, metrics=["marginals"])


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    np.save(tmp_path / "objects.npy", np.array([None, 1]), allow_pickle=True)
    (tmp_path / "latin.csv").write_bytes(b"a,b\n1,\xe9\n")
    for name in ("damaged.npz", "objects.npy", "latin.csv"):
        with pytest.raises(InputError, match=name):
            medzoo.evaluate(tmp_path / name, REAL)


# ------------------------------------------------------------------------ what sides have in common
def scans(low: float, high: float, n: int = 30, window: Any = None) -> medzoo.Samples:
    """The same n pictures in HU, in a column that states this range."""
    rng = np.random.default_rng(3)
    values = rng.uniform(-900, 900, (n, 1, 8, 8)).astype(np.float32)
    output = Output("images", "image", "float32", (1, 8, 8), (low, high), unit="HU", window=window)
    return medzoo.Samples({"images": values}, {"images": output}, np.arange(n))


def test_a_number_in_hu_means_the_same_on_all_three_sides() -> None:
    ranges = (-1024, 2048), (-1000, 1000), (-1000, 3000)
    sides = Sides(*(data_of(scans(*own), "x", Reading()) for own in ranges))
    scaled = [unit_values(side, sides) for side in (sides.synthetic, sides.real, sides.held_out)]
    np.testing.assert_array_equal(scaled[0], scaled[1])
    np.testing.assert_array_equal(scaled[0], scaled[2])
    assert range_of(sides.real, sides) == (-1024, 3000)


def test_grey_levels_are_shown_in_the_window_of_their_own_side() -> None:
    values = np.full((30, 1, 8, 8), 150, np.uint8)
    output = Output(
        "images", "image", "uint8", (1, 8, 8), (0, 255), unit="gray level", window=(150, 100)
    )
    synthetic = medzoo.Samples({"images": values}, {"images": output}, np.arange(30))
    deep = {"images": values.astype(np.uint16) * 256}
    sides = [data_of(side, "x", Reading()) for side in (synthetic, deep, deep)]
    assert _window(Sides(*sides)) == pytest.approx((100 / 127.5 - 1, 200 / 127.5 - 1))


def test_a_patient_column_that_is_not_there_is_refused() -> None:
    real = {**REAL, "pid": np.arange(60) // 2}
    with pytest.raises(InputError, match=r"patient='PID' is not a column of real; it has .*pid"):
        judged(blobs(30, 2), real=real, held_out=None, patient="PID")
    with pytest.raises(InputError, match="is not a column of held_out"):
        judged(blobs(30, 2), real=real, patient="pid")


def test_patients_may_be_numbers_in_arrays_and_in_a_csv(tmp_path: Path) -> None:
    real = {**REAL, "pid": np.arange(60) // 2}
    found = judged(blobs(30, 2), real=real, held_out=None, patient="pid")
    assert not [note for note in found.notes if "Patients are not known" in note]
    rng, paths = np.random.default_rng(0), {}
    for name in ("synthetic", "real"):
        head = ["a", "b", *(["patient", "visit"] if name == "real" else [])]
        rows = [
            [*rng.normal(size=2), *([i // 2, i // 3] if name == "real" else [])] for i in range(60)
        ]
        paths[name] = tmp_path / f"{name}.csv"
        with paths[name].open("w", newline="") as file:
            csv.writer(file).writerows([head, *rows])
    with pytest.raises(InputError, match="columns"):
        medzoo.evaluate(paths["synthetic"], paths["real"])
    found = medzoo.evaluate(paths["synthetic"], paths["real"], patient="visit")
    assert not [note for note in found.notes if "Patients are not known" in note]


def test_classes_of_real_data_alone_do_not_stop_tstr() -> None:
    names = np.array(["a", "b", "c"])[np.arange(60) % 3]
    real = {**REAL, "labels": names}
    made, held_out = (
        {**side, "labels": np.array(["a", "c"])[np.arange(len(side["images"])) % 2]}
        for side in (blobs(30, 2), HELD_OUT)
    )
    found = judged(made, real=real, held_out=held_out, metrics=["tstr"], steps=2)
    assert 0 <= found["tstr"].value <= 1


def test_a_comparison_shows_the_floor_of_each_size() -> None:
    found = medzoo.compare([blobs(20, 2), blobs(60, 3)], REAL, held_out=HELD_OUT, metrics=["fd"])
    floors = [number(evaluation["fd"].floor) for evaluation in found.evaluations]
    assert floors[0] != floors[1]
    assert found.cells()[1][0][1] == " / ".join(floors)
