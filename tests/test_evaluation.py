"""Samples judged against real data: figures against other libraries, refusals, gates, reports."""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import prdc
import pytest
import torch
from conftest import ROOT
from judging import HELD_OUT, REAL, blobs, judged
from PIL import Image
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import polynomial_kernel

import medzoo
from medzoo.cli import main
from medzoo.errors import GateError, InputError, MedzooWarning
from medzoo.evaluation.classifiers import roc_auc
from medzoo.evaluation.distances import frechet, is_within, kernel_distance
from medzoo.evaluation.estimates import of_mean
from medzoo.evaluation.measuring import METRICS
from medzoo.evaluation.pairs import Pair, Part
from medzoo.evaluation.shapes import shapes_of

pytestmark = pytest.mark.filterwarnings("ignore::medzoo.errors.MedzooWarning")


# ------------------------------------------------------------- figures against other libraries
def points(n: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, 1, (n, 6))).float()


def pair_of(synthetic: torch.Tensor, real: torch.Tensor, held: torch.Tensor) -> Pair:
    parts = [Part(len(z), z=z) for z in (synthetic, real, held)]
    return Pair(*parts)


def test_frechet_distance_of_gaussians_is_the_closed_form() -> None:
    x = points(500, 0).double()
    x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    moved = 3 * x + 2  # |2|^2 * 6 + 6 * (3 - 1)^2
    assert frechet(x, moved) == pytest.approx(6 * 4 + 6 * 4, rel=1e-6)


def test_distances_of_equal_sets_are_zero_and_not_below_what_was_asked() -> None:
    # MONAI's FIDMetric and MMDMetric go far below zero here.
    x = points(200, 0)
    assert 0 <= frechet(x, x.clone()) < 1e-3
    fresh = pair_of(points(200, 1), points(200, 2), points(200, 3))
    copied = pair_of(fresh.held_out.points, fresh.real.points, fresh.held_out.points)
    assert METRICS["kd"].measure(copied).value <= METRICS["kd"].measure(fresh).value


def test_kernel_distance_agrees_with_scikit_learn() -> None:
    x, y = points(80, 0), points(60, 1, 0.5)
    kernels = [
        polynomial_kernel(a.numpy(), b.numpy(), degree=3, gamma=1 / 6, coef0=1)
        for a, b in ((x, x), (y, y), (x, y))
    ]
    n, m = 80, 60
    expected = (kernels[0].sum() - np.trace(kernels[0])) / (n * (n - 1))
    expected += (kernels[1].sum() - np.trace(kernels[1])) / (m * (m - 1))
    expected -= 2 * kernels[2].mean()
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("name", ["precision", "recall", "density", "coverage"])
def test_neighbour_figures_agree_with_prdc(name: str) -> None:
    made, held = points(120, 0, 0.4), points(120, 1)
    expected = prdc.compute_prdc(held.numpy(), made.numpy(), nearest_k=5)[name]
    pair = pair_of(made, points(200, 2), held)
    assert METRICS[name].measure(pair).value == pytest.approx(expected, abs=0.01)


def test_a_set_of_repeated_pictures_is_not_scored_zero_against_itself() -> None:
    # prdc gives 0 for all four, because the distance to the fifth neighbour is 0.
    held = points(20, 0).repeat_interleave(7, 0)
    assert prdc.compute_prdc(held.numpy(), held.numpy(), nearest_k=5)["precision"] == 0
    assert is_within(held.double(), held.double()).float().mean() == 1


def test_area_under_the_curve_agrees_with_scikit_learn_for_equal_scores_too() -> None:
    rng = np.random.default_rng(0)
    positive, scores = rng.random(300) < 0.3, rng.integers(0, 6, 300) / 5
    assert roc_auc(positive, scores) == pytest.approx(roc_auc_score(positive, scores))


def test_similarity_among_samples_is_that_of_monai() -> None:
    same = Part(20, x=torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    same = Part(20, x=same.pictures.expand(20, 1, 32, 32) * 2 - 1)
    assert METRICS["ms_ssim"].measure(Pair(same, same, same)).value == pytest.approx(1, abs=1e-4)
    noise = Part(20, x=torch.rand(20, 1, 32, 32) * 2 - 1)
    assert METRICS["ms_ssim"].measure(Pair(noise, noise, noise)).value < 0.3


def test_sizes_and_places_of_masks_and_boxes_are_the_same() -> None:
    masks = np.zeros((2, 1, 10, 20), np.uint8)
    masks[0, 0, 2:6, 5:15] = 1  # the second is empty
    boxes = np.array([[[0.5, 0.4, 0.5, 0.4]], [[np.nan] * 4]])
    for shapes in (shapes_of(masks, None), shapes_of(None, boxes)):
        assert shapes is not None
        assert shapes.sizes == pytest.approx([0.2, 0])
        assert shapes.centres[0] == pytest.approx([0.4, 0.5])
        assert np.isnan(shapes.centres[1]).all()


def table_pair(made: np.ndarray, seed: int = 0) -> Pair:
    parts = [Part(len(t), table=t) for t in (made, rows(200, seed + 1), rows(150, seed + 2))]
    return Pair(*parts)


def rows(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, n)
    return np.stack([x, 0.9 * x + 0.4 * rng.normal(0, 1, n), rng.integers(0, 3, n)], 1)


def test_columns_of_a_table_are_compared_as_scipy_does() -> None:
    made = rows(150, 5)
    made[:, 0] += 1
    pair = table_pair(made)
    held = pair.held_out.table
    assert held is not None
    gaps = [stats.ks_2samp(made[:, k], held[:, k]).statistic for k in (0, 1)]
    shares = [np.bincount(t[:, 2].astype(int), minlength=3) / 150 for t in (made, held)]
    gaps.append(np.abs(shares[0] - shares[1]).sum() / 2)
    order = np.random.default_rng(0).permutation(150)
    assert np.array_equal(pair.same.table, made[order])
    assert METRICS["marginals"].measure(pair).value == pytest.approx(np.mean(gaps))


def test_shuffled_columns_do_not_look_half_good() -> None:
    # SDMetrics' pair trends give 0.5 of 1 to columns that were shuffled one by one.
    shuffled = rows(150, 5)
    for k in range(3):
        np.random.default_rng(k).shuffle(shuffled[:, k])
    alike, bad = (
        METRICS["correlations"].measure(table_pair(t)).value for t in (rows(150, 5), shuffled)
    )
    assert bad > 0.3 > 0.2 > alike  # one of three pairs had a correlation of 0.9
    detected = METRICS["detection"].measure(table_pair(shuffled)).value
    assert detected > 0.75 > METRICS["detection"].measure(table_pair(rows(150, 5))).value


def test_copied_rows_are_counted() -> None:
    real = table_pair(rows(10, 0)).real.table
    assert real is not None
    made = np.concatenate([real[:30], rows(70, 9)])
    assert 0.3 <= METRICS["row_copy"].measure(table_pair(made)).value < 0.36


def test_members_are_recognised_where_samples_lie_on_them() -> None:
    real, held = points(200, 0), points(200, 1)
    leaking = METRICS["membership"].measure(pair_of(real + 0.01, real, held))
    blind = METRICS["membership"].measure(pair_of(points(200, 2), real, held))
    assert leaking.value > 0.9
    assert blind.value < 0.15
    assert "false-positive rate of 0.0" in leaking.note
    leaking_accuracy = METRICS["nnaa"].measure(pair_of(real + 0.01, real, held)).value
    assert leaking_accuracy < 0.1
    assert METRICS["nnaa"].measure(pair_of(points(200, 2), real, held)).value == pytest.approx(
        0.5, abs=0.1
    )


# ------------------------------------------------------------------------ intervals and floors
def test_the_interval_of_a_share_covers_the_truth_about_as_often_as_it_says() -> None:
    rng, inside = np.random.default_rng(0), 0
    for seed in range(100):
        low, high = of_mean(rng.random(80) < 0.3, seed=seed).interval(0, 1)
        inside += low <= 0.3 <= high
    assert 85 <= inside <= 100


def test_no_copy_among_few_samples_is_no_proof_of_none() -> None:
    low, high = of_mean(np.zeros(30)).interval(0, 1)
    assert low == 0
    assert high == pytest.approx(stats.binomtest(0, 30).proportion_ci().high, abs=1e-6)


def test_intervals_are_wider_where_patients_have_several_pictures() -> None:
    values = np.repeat(np.random.default_rng(0).random(10) < 0.5, 10)
    widths = []
    for patients in (None, np.repeat(np.arange(10), 10)):
        low, high = of_mean(values, patients).interval(0, 1)
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_alike_noisy_and_copied_sets_are_distinguished() -> None:
    alike, noisy = judged(blobs(60, 2)), judged(blobs(60, 3, noise=30))
    copied = judged({key: values[:30] for key, values in REAL.items()})
    assert alike["fd"].value < 2 * alike["fd"].floor < noisy["fd"].value
    assert alike["precision"].value > 0.8 > noisy["precision"].value
    assert copied["copy"].value == 1
    assert alike["copy"].value < 0.2
    assert "30 synthetic pictures equal a real one" in " ".join(copied.notes)
    for figure in alike.figures:
        assert figure.low <= figure.value <= figure.high, figure


def test_figures_are_the_same_each_time_and_leave_the_random_state_alone() -> None:
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    first, second = (judged(blobs(30, 2), metrics=["fd", "c2st"], steps=1) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_figures_too_few_samples_mislead_and_say_so() -> None:
    assert "200 are needed" in judged(blobs(30, 2))["fd"].note


def test_groups_are_measured_apart() -> None:
    bad = blobs(60, 2)
    bad["images"][bad["labels"] == "large"] //= 2
    found = judged(bad, by="labels", metrics=["fd"])
    by_group = {figure.by: figure.value for figure in found.figures}
    assert by_group["labels=large"] > 3 * by_group["labels=small"]
    with pytest.raises(InputError, match="not a column of synthetic; it has labels"):
        judged(bad, by="plane")


def test_features_of_a_module_replace_the_principal_components() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
    assert judged(blobs(30, 2), features=net, metrics=["fd"])["fd"].value > 0
    with pytest.raises(InputError, match="one row of numbers per picture"):
        judged(blobs(30, 2), features=torch.nn.Flatten(0), metrics=["fd"])


# -------------------------------------------------------------------------------------- inputs
def written(folder: Path, data: dict[str, Any], *, patients: int = 0) -> Path:
    """A folder of PNG files with one folder per class; with ``patients`` a metadata.csv."""
    lines = [["file_name", "patient", "plane"]]
    for number, (image, label) in enumerate(zip(data["images"], data["labels"], strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        name = f"{label}/P{number // 2}_{number}.png"
        Image.fromarray(image[0]).save(folder / name)
        lines.append([name, f"p{number // 2 % patients if patients else 0}", "axial"])
    if patients:
        with (folder / "metadata.csv").open("w", newline="") as file:
            csv.writer(file).writerows(lines)
    return folder


def test_a_folder_a_file_and_arrays_give_the_same_figures(tmp_path: Path) -> None:
    synthetic = blobs(30, 2)
    expected = judged(synthetic)["fd"].value
    np.savez(tmp_path / "set.npz", **synthetic)
    for source in (
        written(tmp_path / "folder", synthetic),
        str(tmp_path / "set.npz"),
    ):
        # A folder is read class by class, so which samples are drawn together may differ.
        assert judged(source)["fd"].value == pytest.approx(expected, rel=1e-2)


def test_parts_of_a_folder_are_real_and_held_out(tmp_path: Path) -> None:
    written(tmp_path / "data" / "train", REAL)
    written(tmp_path / "data" / "val", HELD_OUT)
    found = medzoo.evaluate(blobs(30, 2), tmp_path / "data", metrics=["fd"])
    assert found.facts["sizes"] == {"synthetic": 30, "real": 60, "held_out": 40}
    assert found["fd"].value == pytest.approx(judged(blobs(30, 2))["fd"].value, rel=1e-2)


def test_a_part_of_a_folder_that_is_not_used_is_named(tmp_path: Path) -> None:
    for part, pictures in (("train", REAL), ("val", HELD_OUT), ("test", HELD_OUT)):
        written(tmp_path / "data" / part, pictures)
    with pytest.warns(MedzooWarning, match=r"data/test is not used: .*data/val is"):
        found = medzoo.evaluate(blobs(30, 2), tmp_path / "data", metrics=["fd"])
    assert found.facts["sizes"]["held_out"] == 40


def test_parts_without_one_to_train_on_are_not_taken_for_classes(tmp_path: Path) -> None:
    for part in ("val", "test"):
        written(tmp_path / "data" / part, HELD_OUT)
    with pytest.raises(InputError, match="has val and test, and no train"):
        medzoo.evaluate(blobs(30, 2), tmp_path / "data", metrics=["fd"])


def test_real_data_are_split_by_patient(tmp_path: Path) -> None:
    folder = written(tmp_path, REAL, patients=10)
    data = medzoo.evaluation.sources.data_of(folder, "real", medzoo.evaluation.data.Reading())
    sides = medzoo.evaluation.matching.matched(data, data, None)
    one, other = (set(side.texts["patient"]) for side in (sides.real, sides.held_out))
    assert one
    assert other
    assert not one & other
    assert len(one | other) == 10
    by_name = medzoo.evaluation.matching.matched(data, data, None, r"P(\d+)_")
    assert not set(by_name.real.patients(r"P(\d+)_")) & set(by_name.held_out.patients(r"P(\d+)_"))


def test_masks_of_a_folder_are_read_with_their_images(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        for number, values in enumerate(REAL[name]):
            Image.fromarray(values[0] * (255 if name == "masks" else 1)).save(
                tmp_path / name / f"{number}.png"
            )
    found = medzoo.evaluate(
        blobs(40, 2), tmp_path, held_out=HELD_OUT, metrics=["mask_size", "mask_place"]
    )
    assert found["mask_size"].value < 0.5
    (tmp_path / "masks" / "3.png").unlink()
    with pytest.raises(InputError, match=r"no mask for 3\.png"):
        medzoo.evaluate(blobs(40, 2), tmp_path, metrics=["mask_size"])


def test_folders_of_masks_and_loose_pictures_are_no_classes(tmp_path: Path) -> None:
    images = written(tmp_path / "pair" / "images", {**REAL, "labels": np.array(["."] * 60)})
    (tmp_path / "pair" / "mask").mkdir()
    for path in images.glob("*.png"):
        Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "pair" / "mask" / path.name)
    with pytest.raises(InputError, match="mask seems to hold masks"):
        medzoo.evaluate(blobs(30, 2)["images"], tmp_path / "pair", held_out=HELD_OUT)
    classes = written(tmp_path / "classes", REAL)
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(classes / "stray.png")
    with pytest.raises(InputError, match=r"1, first stray\.png"):
        medzoo.evaluate(blobs(30, 2), classes, held_out=HELD_OUT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: f"{text}{text.splitlines()[1]}\n", None),
        (
            lambda text: f"{text}{text.splitlines()[1][:-5]}sagittal\n",
            "two rows for small/P0_0.png",
        ),
        (
            lambda text: text.replace("axial", "axial,oblique", 1),
            "row 2 has another number of cells",
        ),
        (lambda text: text.replace("plane", "masks", 1), "a column 'masks'"),
    ],
)
def test_rows_of_metadata_that_contradict_each_other_are_refused(
    tmp_path: Path, change: Callable[[str], str], message: str | None
) -> None:
    folder = written(tmp_path, REAL, patients=10)
    metadata = folder / "metadata.csv"
    metadata.write_text(change(metadata.read_text(encoding="utf-8")), encoding="utf-8")
    if message is None:
        assert medzoo.evaluate(blobs(30, 2), folder, metrics=["fd"])["fd"].value > 0
        return
    with pytest.raises(InputError, match=message):
        medzoo.evaluate(blobs(30, 2), folder, metrics=["fd"])


@pytest.mark.filterwarnings("default::medzoo.errors.MedzooWarning")
def test_scans_among_pictures_are_named(tmp_path: Path) -> None:
    folder = written(tmp_path, REAL)
    (folder / "small" / "scan.nii.gz").write_bytes(b"")
    with pytest.warns(MedzooWarning, match="1 files are not read, first scan.nii.gz"):
        medzoo.evaluate(blobs(30, 2), folder, held_out=HELD_OUT, metrics=["fd"])


def test_resize_is_asked_for_and_keeps_grey_values(tmp_path: Path) -> None:
    large = {**REAL, "images": REAL["images"].repeat(2, 2).repeat(2, 3)}
    held = {**HELD_OUT, "images": HELD_OUT["images"].repeat(2, 2).repeat(2, 3)}
    folders = written(tmp_path / "real", large), written(tmp_path / "held", held)
    with pytest.raises(InputError, match="16x16, real of 32x32") as caught:
        medzoo.evaluate(blobs(30, 2), folders[0], held_out=folders[1])
    assert "--resize" in caught.value.hint
    found = medzoo.evaluate(
        blobs(30, 2), folders[0], held_out=folders[1], resize=True, metrics=["fd"]
    )
    assert found["fd"].value == pytest.approx(judged(blobs(30, 2))["fd"].value, rel=1e-2)


def test_resize_does_not_stretch(tmp_path: Path) -> None:
    wide = {**REAL, "images": REAL["images"].repeat(2, 2).repeat(3, 3)}
    folder = written(tmp_path / "real", wide)
    with pytest.raises(InputError, match=r"60 of 60 pictures .*: 32x48 for 16x16") as caught:
        medzoo.evaluate(blobs(30, 2), folder, resize=True, metrics=["fd"])
    assert "Crop or fill them" in caught.value.hint


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_enlarged_pictures_stay_in_their_range(kind: str) -> None:
    from medzoo.evaluation.folders import resized

    edge = np.zeros((1, 8, 8), kind)
    edge[:, :, 4:] = 250
    large = resized(edge, (32, 32), mask=False)
    assert large.dtype == kind
    assert large.min() == 0  # bicubic curves overshoot on both sides
    assert 250 <= large.max() < (251 if kind == "float32" else 275)


def with_nan() -> dict[str, Any]:
    images = blobs(30, 2)["images"] / 255
    images[4, 0, 2, 3] = np.nan
    return {"images": images}


@pytest.mark.parametrize(
    ("synthetic", "options", "message"),
    [
        (blobs(5, 2), {}, "synthetic has 5 samples"),
        (blobs(30, 2, side=8), {}, "synthetic has images of 8x8, real of 16x16"),
        ({"images": np.zeros((30, 3, 16, 16), np.uint8)}, {}, "images of 3 channels"),
        ({"images": np.zeros((30, 1, 4, 16, 16), np.uint8)}, {}, "volumes of 1 channels"),
        (with_nan(), {}, "NaN or infinite values in 1 of 30 samples, first in sample 4"),
        ({"images": np.zeros((30, 1, 16, 16), np.int16)}, {}, "int16, whose value range"),
        ({"images": np.full((30, 1, 16, 16), 7.0)}, {}, "floats from 7 to 7"),
        ({"images": np.zeros((30, 16, 16), np.uint8)}, {}, r"has shape \(30, 16, 16\)"),
        ({"table": rows(30, 0)}, {}, "nothing can be compared"),
        ({**blobs(30, 2), "labels": np.array(["x"] * 30)}, {}, "'x' is not in real"),
        (blobs(30, 2), {"held_out": REAL}, "60 pictures are in real and in held_out"),
        (blobs(30, 2), {"metrics": ["fid"]}, "There is no metric 'fid'"),
        (blobs(30, 2), {"metrics": ["marginals"]}, "marginals needs tables"),
        (3.5, {}, "synthetic=3.5 cannot be evaluated"),
        ("nowhere/", {}, "there is no nowhere"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    synthetic: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        judged(synthetic, **options)


def test_other_units_are_refused() -> None:
    data = medzoo.evaluation.sources.data_of(REAL, "real", medzoo.evaluation.data.Reading())
    output = medzoo.config.Output("images", "image", "uint8", (1, 16, 16), (0, 255), unit="HU")
    scans = medzoo.Samples({"images": REAL["images"]}, {"images": output}, data.samples.indices)
    with pytest.raises(InputError, match="synthetic is in HU, real in grey levels"):
        judged(scans)


def test_patients_on_both_sides_are_refused(tmp_path: Path) -> None:
    folders = written(tmp_path / "a", REAL), written(tmp_path / "b", HELD_OUT)
    with pytest.raises(InputError, match="20 patients are in real and in held_out, first P0"):
        medzoo.evaluate(blobs(30, 2), folders[0], held_out=folders[1], patient=r"P\d+")


@pytest.mark.filterwarnings("default::medzoo.errors.MedzooWarning")
def test_findings_are_warnings() -> None:
    one_class = {key: values[::2] for key, values in blobs(60, 2).items()}
    with pytest.warns(MedzooWarning, match="synthetic lacks large, which real has"):
        judged(one_class, metrics=["fd"])
    repeated = {key: np.repeat(values[:15], 2, 0) for key, values in blobs(30, 2).items()}
    with pytest.warns(MedzooWarning, match="15 synthetic pictures repeat another one"):
        judged(repeated, metrics=["fd"])
    with pytest.warns(MedzooWarning, match="half of the real data is, at random"):
        medzoo.evaluate(blobs(30, 2), REAL, metrics=["fd"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged(blobs(30, 2), metrics=["fd"])


# ------------------------------------------------------------------------------ gates, reports
def test_gates() -> None:
    found = judged(blobs(30, 2))
    found.require("precision>0.5, fd <= 3*floor")
    with pytest.raises(GateError, match=r"precision is [\d.]+, not >= 2") as caught:
        found.require("fd<=1e9, precision>=2")
    assert caught.value.exit_code == 16
    for text, message in (
        ("fd=5", "'fd=5' is not a condition"),
        ("fdd<=5", "no metric 'fdd'"),
        ("recall>=0.1,density>1", "'density' was not measured"),
        (" ", "has no condition"),
    ):
        with pytest.raises(InputError, match=message):
            found.gate(text)


def test_a_figure_that_was_not_measured_passes_no_gate() -> None:
    one_class = {key: values[::2] for key, values in blobs(60, 2).items()}
    found = judged(one_class, metrics=["tstr"])
    with pytest.raises(GateError, match="tstr is not measured, not < 1"):
        found.require("tstr<1")
    assert json.loads(found.to_json())["figures"][0]["value"] is None


def test_the_report_is_one_file_with_pictures_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    found = judged({**blobs(30, 2), "labels": np.array(["small", "large"] * 15)})
    text = found.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text
    assert text.count("data:image/png;base64,") >= 2 + 8 + 1
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert "pictures of the real data" in text
    assert "Kynkaanniemi" in text
    assert "<table>" in found._repr_html_()


def test_names_of_samples_cannot_inject_markup() -> None:
    data = medzoo.evaluation.sources.data_of(blobs(30, 2), "x", medzoo.evaluation.data.Reading())
    evil = medzoo.evaluation.data.Data(data.samples, "<script>alert(1)</script>", data.texts)
    assert "<script>alert" not in judged(evil, metrics=["fd"]).to_html()


def test_compare_has_one_column_per_set_and_measures_the_floor_once() -> None:
    sets = [blobs(30, 2), blobs(30, 3, noise=20)]
    found = medzoo.compare(sets, REAL, held_out=HELD_OUT, metrics=["fd", "precision"])
    head, lines = found.cells()
    assert head == ["metric", "real data", "synthetic 1", "synthetic 2", "best is"]
    assert [line[0] for line in lines] == ["fd", "precision"]
    assert found.evaluations[0]["fd"].floor == found.evaluations[1]["fd"].floor
    assert found.evaluations[0]["fd"].value < found.evaluations[1]["fd"].value


def test_every_metric_names_source_direction_and_size() -> None:
    for metric in METRICS.values():
        text = " ".join(metric.explanation.split())
        assert "Source: " in text, metric.name
        assert re.search(r"Below|below|fewer|With", text), metric.name
        assert re.search(r"is better|is best|floor|[Hh]igher", text), metric.name


# ------------------------------------------------------------------------------- does it help?
def test_utility_compares_training_on_real_synthetic_and_both() -> None:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=500)
    found = judged(blobs(60, 2), utility=model, metrics=["fd"])
    assert found.utility is not None
    names = [(arm.name, arm.n_real, arm.n_synthetic) for arm in found.utility.arms]
    assert names == [
        ("real", 15, 0),
        ("real + augmentation", 15, 0),
        ("real + synthetic", 15, 60),
        ("all", 15, 60),
        ("real", 60, 0),
        ("real + augmentation", 60, 0),
        ("real + synthetic", 60, 60),
        ("all", 60, 60),
        ("synthetic", 0, 30),
        ("synthetic", 0, 60),
    ]
    gains = {(arm.name, arm.n_real): arm for arm in found.utility.arms}
    few = gains[("real + synthetic", 15)]
    assert few.gain == pytest.approx(few.mean - gains[("real", 15)].mean)
    assert few.gain_low <= few.gain <= few.gain_high
    assert "Does it help?" in str(found)
    assert "Does it help?" in found.to_html()


def test_utility_with_labels_that_lie_does_not_help() -> None:
    wrong = blobs(60, 2)
    wrong["labels"] = np.where(wrong["labels"] == "large", "small", "large")

    def nearest_mean(x: Any, y: Any, test: Any, seed: int) -> Any:
        spread = [
            np.abs(part - part.mean((2, 3), keepdims=True)).mean((1, 2, 3)) for part in (x, test)
        ]
        means = np.array([spread[0][y == c].mean() for c in (0, 1)])
        score = -np.abs(spread[1][:, None] - means)
        return np.exp(score) / np.exp(score).sum(1, keepdims=True)

    found = judged(wrong, utility=nearest_mean, metrics=["fd"])
    assert found.utility is not None
    by_name = {(arm.name, arm.n_real): arm.mean for arm in found.utility.arms}
    assert by_name[("real", 60)] > 0.8
    assert by_name[("synthetic", 0)] < 0.2


def test_a_segmenter_learns_masks() -> None:
    from medzoo.evaluation.segmenter import dices, marked_by, trained

    x, test = (torch.from_numpy(d["images"]).float() / 127.5 - 1 for d in (REAL, HELD_OUT))
    masks, truth = (d["masks"].astype(np.float32) for d in (REAL, HELD_OUT))
    scores = []
    for steps in (1, 40):
        net = trained(x, masks, seed=0, steps=steps)
        scores.append(dices(marked_by(net, test), truth).mean())
    assert scores[0] < 0.5 < scores[1]
    assert dices(truth > 0, truth).mean() == 1


def test_a_set_of_a_model_and_the_model_itself_are_judged_alike(
    toy: Callable[..., int], tmp_path: Path
) -> None:
    model = toy()
    real, held_out = (medzoo.generate(model, 40, seed=s) for s in (1, 2))
    medzoo.generate(model, 30, seed=5, out=tmp_path / "set")
    options = {"held_out": held_out, "metrics": ["fd"], "seed": 5}
    found = [
        medzoo.evaluate(source, real, n=30, **options)
        for source in (str(tmp_path / "set"), model, str(model))
    ]
    assert len({evaluation["fd"].value for evaluation in found}) == 1
    assert found[1].facts["provenance"]["seed"] == 5
    assert found[1].name == found[1].facts["provenance"]["model"]


def test_utility_says_what_it_needs() -> None:
    with pytest.raises(InputError, match="utility needs labels, masks or boxes"):
        medzoo.evaluate(
            REAL["images"][:30] // 2,
            REAL["images"],
            held_out=HELD_OUT["images"],
            utility=True,
            metrics=["fd"],
        )
    with pytest.raises(InputError, match="cannot be trained"):
        judged(blobs(30, 2), utility=5, metrics=["fd"])


# --------------------------------------------------------------------------------- the command
def test_commands_evaluate_and_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path / "real" / "train", REAL)
    written(tmp_path / "real" / "val", HELD_OUT)
    written(tmp_path / "good", blobs(30, 2))
    written(tmp_path / "bad", blobs(30, 3, noise=40))
    metrics = ["--metrics", "fd", "--metrics", "copy"]  # a repeated option adds to the first
    real = ["--real", str(tmp_path / "real"), *metrics]
    report = tmp_path / "report.html"
    code = main(
        [
            "evaluate",
            str(tmp_path / "good"),
            *real,
            "--report",
            str(report),
            "--gate",
            "fd<=3*floor",
        ]
    )
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert printed.out.startswith("good: 30 samples against 60 real ones and 40 held out.")
    assert report.exists()
    code = main(["evaluate", str(tmp_path / "bad"), *real, "--gate", "fd<=2*floor", "--json"])
    printed = capsys.readouterr()
    assert code == 16
    judgement = json.loads(printed.out)
    assert judgement["name"] == "bad"
    assert {figure["metric"] for figure in judgement["figures"]} == {"fd", "copy"}
    assert "bad does not pass the gate: fd is" in printed.err
    code = main(["compare", str(tmp_path / "good"), str(tmp_path / "bad"), *real])
    assert code == 0
    assert capsys.readouterr().out.split("\n")[0].split() == [
        *("metric", "real", "data", "good", "bad", "best", "is")
    ]
    assert main(["evaluate", "nowhere/", *real, "--gate", "fd<5"]) == 2
    assert "there is no nowhere" in capsys.readouterr().err
    assert main(["evaluate", "nowhere/", *real, "--gate", "recall>5"]) == 2
    assert "'recall' is not among the metrics" in capsys.readouterr().err


# ------------------------------------------------------------------- what describes models better
def test_citations_for_reference_managers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cite", "8", "--format", "bibtex"]) == 0
    entries = capsys.readouterr().out.split("\n\n")
    assert [entry.split("{")[0] for entry in entries] == ["@misc", "@misc"]
    for entry in entries:
        assert entry.count("{") - entry.count(r"\{") == entry.count("}") - entry.count(r"\}")
    assert r"00008\_C-DCGAN\_MMG\_MASSES" in entries[0]
    assert "author = {{The medzoo authors}}" in entries[0]
    assert "doi = {10.7937/K9/TCIA.2016.7O02S9CY}" in entries[1]
    records = medzoo.cite(8, format="ris").split("\n\n")
    assert [record.splitlines()[0] for record in records] == ["TY  - COMP", "TY  - DATA"]
    for record in records:
        assert record.endswith("ER  - ")
        assert all(re.match(r"[A-Z][A-Z0-9]  - ", line) for line in record.splitlines())
    with pytest.raises(InputError, match="not a format of citations"):
        medzoo.cite(8, format="apa")


def test_card_and_filters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "8", "--card"]) == 0
    assert capsys.readouterr().out.startswith("# Model 8")
    assert main(["info", "1", "--card"]) == 10
    assert "has no card here" in capsys.readouterr().err
    assert main(["list", "--modality", "MRI", "--bundled", "--json"]) == 0
    models = json.loads(capsys.readouterr().out)
    assert models
    assert all(model["modality"] == "MRI" for model in models)


def test_the_shell_gets_words_from_the_parser(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    answer = tmp_path / "answer"
    line = "medzoo evaluate --re"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE_IFS": "\n",
    }
    subprocess.run([sys.executable, "-m", "medzoo"], env=environment, cwd=ROOT, check=False)
    words = {word.strip() for word in answer.read_text().split("\n")}
    assert words == {"--real", "--resize", "--report"}


@pytest.mark.parametrize("unit", ["", "gray level", "grey levels", "Gray values"])
def test_grey_levels_are_one_unit_whatever_a_config_calls_them(unit: str) -> None:
    from medzoo.evaluation.matching import GREY, unit_of

    output = medzoo.config.Output("images", "image", "uint8", (1, 16, 16), (0, 255), unit=unit)
    assert unit_of(output) == GREY
    assert unit_of(replace(output, unit="HU")) == "HU"


def test_a_model_that_cannot_be_compared_is_refused_before_it_makes_all_samples() -> None:
    began = medzoo.evaluation.api.data_of
    asked: list[int] = []

    def counted(source: Any, role: str, how: Any) -> Any:
        if role == "synthetic":
            asked.append(how.n)
        return began(source, role, how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(medzoo.evaluation.api, "data_of", counted)
        with pytest.raises(InputError, match="128x128, real of 16x16"):
            medzoo.evaluate(109, REAL, held_out=HELD_OUT, n=5000)
    assert asked == [48]
