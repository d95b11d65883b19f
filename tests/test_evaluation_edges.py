"""Figures at their edges: several pictures of a patient, equal distances, flips, several columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from judging import HELD_OUT, REAL, blobs, judged
from PIL import Image
from sklearn.metrics import roc_curve

import medzoo
from medzoo.errors import InputError, MedzooWarning
from medzoo.evaluation import classifiers, measuring
from medzoo.evaluation.distances import frechet, nearest
from medzoo.evaluation.estimates import Estimate, of_mean
from medzoo.evaluation.figures import number
from medzoo.evaluation.measuring import METRICS
from medzoo.evaluation.pairs import Pair, Part
from medzoo.evaluation.table_metrics import rank_correlations
from medzoo.evaluation.texture import log_kurtosis

pytestmark = pytest.mark.filterwarnings("ignore::medzoo.errors.MedzooWarning")


# ------------------------------------------------------------- several rows or pictures of a patient
def patients_of(count: int, each: int, seed: int) -> np.ndarray:
    return np.repeat([f"p{seed}_{number}" for number in range(count)], each)


def rows_of_patients(count: int, each: int, seed: int) -> dict[str, Any]:
    """Rows that differ little within a patient."""
    rng = np.random.default_rng(seed)
    middle = np.repeat(rng.normal(0, 1, (count, 4)), each, 0)
    table = middle + 0.05 * rng.normal(0, 1, (count * each, 4))
    return {"table": table, "patient": patients_of(count, each, seed)}


def test_trees_do_not_recognise_rows_by_others_of_the_same_patient() -> None:
    made, real, held = (rows_of_patients(30, 8, seed) for seed in (1, 2, 3))
    found = medzoo.evaluate(made, real, held_out=held, metrics=["detection", "nnaa"])
    assert found["detection"].floor < 0.8  # with folds by row it is 1.0
    assert found["detection"].value < 0.8
    assert found["nnaa"].value == pytest.approx(0.5, abs=0.15)  # with rows of the same patient 1.0
    assert found["nnaa"].floor == pytest.approx(0.5, abs=0.15)


def test_rows_of_a_single_patient_are_not_measured() -> None:
    made, real, held = (rows_of_patients(count, 60 // count, count) for count in (20, 1, 30))
    found = medzoo.evaluate(made, real, held_out=held, metrics=["detection", "nnaa"])
    for name in ("detection", "nnaa"):
        assert np.isnan(found[name].value)
        assert "of one patient" in found[name].note


def test_a_floor_with_a_tiny_half_is_left_out() -> None:
    real = rows_of_patients(20, 1, 2)
    real["patient"] = np.repeat(["a", "b"], [19, 1])
    made, held = rows_of_patients(20, 1, 1), rows_of_patients(20, 1, 3)
    for seed in range(4):  # one half is a or b
        found = medzoo.evaluate(made, real, held_out=held, metrics=["detection"], seed=seed)
        assert np.isnan(found["detection"].floor)


def test_a_two_sample_test_scores_no_patient_that_it_learned() -> None:
    x, patients = torch.randn(40, 1, 8, 8), patients_of(8, 5, 0)
    found = classifiers.two_sample_test(x, x + 1, x + 2, seed=0, steps=1, patients=patients)
    assert found is not None
    assert len(found.made_rows) == len(found.real_rows) == 20
    for seed in range(3):
        some = classifiers.two_sample_test(x[:37], x, x, seed=seed, steps=1, patients=patients[:37])
        assert some is not None
        scored = set(patients[some.made_rows])
        assert all(
            np.isin(np.flatnonzero(patients[:37] == one), some.made_rows).all() or one not in scored
            for one in set(patients)
        )
    assert (
        classifiers.two_sample_test(x, x, x, seed=0, steps=1, patients=np.repeat("a", 40)) is None
    )


def test_intervals_go_by_patient_wherever_patients_are_known() -> None:
    rng = np.random.default_rng(0)
    real = rows_of_patients(12, 10, 2)
    held = rows_of_patients(12, 10, 3)
    made = {"table": rng.normal(0, 1, (120, 4))}
    widths = []
    for known in (True, False):
        sides = [real, held] if known else [{"table": side["table"]} for side in (real, held)]
        found = medzoo.evaluate(made, sides[0], held_out=sides[1], metrics=["detection"])
        widths.append(found["detection"].high - found["detection"].low)
    assert widths[0] > 1.3 * widths[1]


def test_the_interval_of_one_patient_is_not_of_width_zero() -> None:
    values = np.repeat([1.0, 0.0], [3, 7])
    low, high = of_mean(values, np.repeat("a", 10)).interval(0, 1)
    assert np.isnan([low, high]).all()


def test_draws_without_a_figure_do_not_take_the_interval_away() -> None:
    draws = np.random.default_rng(0).normal(0.5, 0.1, 200)
    expected = Estimate(0.5, draws[5:]).interval(0, 1)
    draws[:5] = np.nan
    assert Estimate(0.5, draws).interval(0, 1) == expected


def test_a_pattern_that_finds_patients_in_real_paths_may_be_missing_in_samples(
    tmp_path: Path,
) -> None:
    for folder, data, name in (
        ("made", blobs(20, 2), "sample_{}.png"),
        ("real", REAL, "P{}_1.png"),
        ("held", HELD_OUT, "Q{}_1.png"),
    ):
        (tmp_path / folder).mkdir()
        for row, image in enumerate(data["images"]):
            Image.fromarray(image[0]).save(tmp_path / folder / name.format(row))
    sides = [tmp_path / name for name in ("made", "real", "held")]
    options: dict[str, Any] = {"held_out": sides[2], "metrics": ["fd"]}
    found = medzoo.evaluate(*sides[:2], patient=r"[PQ](\d+)_", **{**options, "held_out": None})
    assert "half of the real patients are" in " ".join(found.notes)
    with pytest.raises(InputError, match="does not occur in the path"):
        medzoo.evaluate(*sides[:2], patient=r"P(\d+)_", **options)
    with pytest.raises(InputError, match="is not a regular expression"):
        medzoo.evaluate(*sides[:2], patient="P(", **options)


# ----------------------------------------------------------------------------- privacy
def points(n: int, seed: int, offset: float = 0.0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(offset, 1, (n, 4))).float()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_membership_is_the_roc_curve_at_five_percent_for_equal_distances_too(share: float) -> None:
    real, held = points(300, 0), points(200, 1)
    count = int(share * 200)
    held[:count] = real[:count]
    members, others = np.zeros(300), -nearest(held, real)[0].numpy()
    found = METRICS["membership"].measure(Pair(*(Part(len(z), z=z) for z in (real, real, held))))
    truth = np.repeat([1, 0], [300, 200])
    false, true, _ = roc_curve(truth, np.concatenate([members, others]), drop_intermediate=False)
    assert found.value == pytest.approx(np.interp(0.05, false, true), abs=1e-6)


def test_distances_of_points_that_lie_far_from_zero_are_exact() -> None:
    x = points(200, 0, 1000.0)
    assert float(nearest(x, x.flip(0))[0].max()) == 0
    near = [
        float(nearest(x.to(kind), points(150, 1, 1000.0).to(kind))[0].mean())
        for kind in (torch.float32, torch.float64)
    ]
    assert near[0] == pytest.approx(near[1], rel=1e-4)


def grained(n: int, seed: int, *, blank: int = 0) -> np.ndarray:
    """Noise on the lower half, black above, and a few pictures that are black."""
    images = np.random.default_rng(seed).normal(120, 25, (n, 1, 32, 32)).clip(1, 255)
    images[:, :, :12] = 0
    images[:blank] = 0
    return images.astype(np.uint8)


def test_copies_are_found_where_held_out_pictures_are_flips_of_real_ones() -> None:
    real, held = grained(60, 0), grained(40, 1)
    held[:3] = real[:3, :, :, ::-1]
    for made in (real[:30], real[:30, :, :, ::-1].copy()):
        found = medzoo.evaluate(
            {"images": made}, {"images": real}, held_out={"images": held}, metrics=["copy"]
        )
        assert found["copy"].value == 1
        assert "3 of 40 held-out pictures equal a real one" in found["copy"].note


def test_black_pictures_copy_no_patch_and_hide_no_copied_patch() -> None:
    real = grained(60, 0)
    held = grained(40, 1, blank=1)
    copied = medzoo.evaluate(real[:30], real, held_out=held, metrics=["patch_copy"])
    assert copied["patch_copy"].value == 1
    made = grained(30, 2, blank=15) // 2
    fresh = medzoo.evaluate(made, real, held_out=grained(40, 3), metrics=["patch_copy"])
    assert fresh["patch_copy"].value < 0.3


def test_patches_that_all_patients_share_are_named() -> None:
    sides = [grained(n, n) for n in (30, 60, 40)]
    mark = np.random.default_rng(0).integers(0, 2, (8, 8)) * 255
    for side in sides:
        side[:, 0, :8, :8] = mark  # letters in a corner
    found = medzoo.evaluate(sides[0], sides[1], held_out=sides[2], metrics=["patch_copy"])
    assert np.isnan(found["patch_copy"].value)
    assert "patches that equal those of real ones" in found["patch_copy"].note


def test_near_copies_of_rows_are_found_where_rows_occur_twice_by_chance() -> None:
    rng = np.random.default_rng(0)
    real, held = rng.normal(0, 1, (300, 3)), rng.normal(0, 1, (200, 3))
    held[:6] = real[:6]
    made = real[:100] + 1e-4
    found = medzoo.evaluate(
        {"table": made}, {"table": real}, held_out={"table": held}, metrics=["row_copy"]
    )
    assert found["row_copy"].value > 0.95


# -------------------------------------------------------------------- columns, masks, classes
def test_columns_are_compared_by_their_names() -> None:
    dark, bright = blobs(30, 2)["images"] // 2, blobs(30, 3)["images"]
    made = {"t2": dark, "flair": bright}
    real = {"flair": REAL["images"], "t2": REAL["images"] // 2}
    held = {"flair": HELD_OUT["images"], "t2": HELD_OUT["images"] // 2}
    found = medzoo.evaluate(made, real, held_out=held, metrics=["fd"])
    alone = medzoo.evaluate(
        {"t2": dark}, {"t2": real["t2"]}, held_out={"t2": held["t2"]}, metrics=["fd"]
    )
    assert found["fd"].value == alone["fd"].value
    assert "Of the pictures t2, flair only 't2' is judged." in found.notes


@pytest.mark.filterwarnings("default::medzoo.errors.MedzooWarning")
def test_columns_without_a_common_name_are_named() -> None:
    made = {"t2": blobs(30, 2)["images"], "flair": blobs(30, 3)["images"]}
    with pytest.warns(MedzooWarning, match="no name in common: synthetic has t2, flair; real has"):
        judged(made, metrics=["fd"])


def test_all_numbers_of_a_dictionary_are_a_table() -> None:
    def side(n: int, seed: int, shift: float = 0.0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        return {"age": rng.normal(50, 9, n), "bmi": rng.normal(25 + shift, 4, n)}

    real, held = side(60, 0), side(50, 1)
    options: dict[str, Any] = {"held_out": held, "metrics": ["marginals", "correlations"]}
    found = medzoo.evaluate(side(60, 2, 40), real, **options)
    assert found["marginals"].value > 0.5  # age alone is alike
    assert found["correlations"].value >= 0
    with pytest.raises(InputError, match="The tables differ"):
        medzoo.evaluate(dict(reversed(list(side(60, 2).items()))), real, **options)
    with pytest.raises(InputError, match="differ in length"):
        medzoo.evaluate({"age": real["age"], "bmi": real["bmi"][:-1]}, real, **options)


def test_a_data_frame_is_judged_as_its_csv(tmp_path: Path) -> None:
    frames = []
    for seed, n in enumerate((60, 60, 50)):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({"age": rng.integers(30, 90, n), "bmi": rng.normal(25, 4, n)})
        frame["sex"] = rng.choice(["f", "m"], n)
        frame.loc[3, "bmi"] = np.nan
        frames.append(frame)
        frame.to_csv(tmp_path / f"{seed}.csv", index=False)
    files = [tmp_path / f"{seed}.csv" for seed in range(3)]
    metrics = ["marginals", "correlations", "row_copy"]
    of_frames, of_files = (
        medzoo.evaluate(sides[0], sides[1], held_out=sides[2], metrics=metrics, by="sex")
        for sides in (frames, files)
    )
    assert [f.value for f in of_frames.figures] == [f.value for f in of_files.figures]
    with pytest.raises(InputError, match="The tables differ"):
        medzoo.evaluate(frames[0][["bmi", "age", "sex"]], frames[1], held_out=frames[2])


def marks(n: int, *shape: int) -> dict[str, np.ndarray]:
    return {"masks": (np.random.default_rng(n).random((n, *shape)) > 0.7).astype(np.uint8)}


def test_masks_without_pictures_must_have_the_same_axes() -> None:
    flat, deep = marks(30, 1, 12, 12), marks(40, 1, 6, 12, 12)
    for made, real in ((flat, deep), (deep, flat)):
        with pytest.raises(InputError, match=r"synthetic has masks of [23] axes, real of [23]"):
            medzoo.evaluate(made, real, held_out=real)
    with pytest.raises(InputError, match=r"'masks' has shape \(30, 12, 12\)"):
        medzoo.evaluate(marks(30, 12, 12), marks(40, 12, 12))


def test_an_empty_held_out_side_is_refused() -> None:
    empty = {"images": REAL["images"][:0], "labels": REAL["labels"][:0]}
    with pytest.raises(InputError, match="held_out has 0 samples"):
        judged(blobs(30, 2), held_out=empty)


def test_rare_classes_are_in_the_half_that_is_not_held_out() -> None:
    names = np.where(np.arange(60) < 2, "rare", "usual")
    made = {**blobs(30, 2), "labels": np.repeat("usual", 30)}
    for seed in range(8):
        found = judged(made, real={**REAL, "labels": names}, held_out=None, seed=seed)
        assert found["fd"].value > 0


def test_a_random_part_of_the_real_data_keeps_the_numbers_of_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = np.array([*["a", "b"] * 2, *["c"] * 56])
    made = {"images": blobs(60, 2)["images"], "labels": names}
    monkeypatch.setattr(measuring, "MOST_NUMBERS", 14 * 256)
    sides = []
    original = measuring.part_of

    def seen(side: Any, *arguments: Any, **options: Any) -> Part:
        part = original(side, *arguments, **options)
        sides.append((side.texts["labels"], part.labels))
        return part

    monkeypatch.setattr(measuring, "part_of", seen)
    judged(made, real={**REAL, "labels": names}, held_out={**HELD_OUT, "labels": names[:40]})
    for texts, numbers in sides:
        assert np.array_equal(np.array(["a", "b", "c"])[numbers], texts)


# ------------------------------------------------------------------------- numbers of figures
def test_correlations_are_those_of_pandas_where_values_are_missing() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(0, 1, (200, 3))
    table[:, 1] += 2 * table[:, 0]
    table[rng.random((200, 3)) < 0.4] = np.nan
    expected = pd.DataFrame(table).corr(method="spearman").to_numpy()
    assert rank_correlations(table) == pytest.approx(expected[np.triu_indices(3, 1)])


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-3, 1e-4])
def test_kurtosis_does_not_depend_on_contrast(scale: float) -> None:
    noise = torch.randn(30, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    scaled, plain = log_kurtosis(scale * noise).tolist(), log_kurtosis(noise).tolist()
    assert scaled == pytest.approx(plain, abs=1e-3)
    assert scaled[0] == pytest.approx(np.log(3), abs=0.03)


def test_a_module_of_features_keeps_its_mode_and_must_return_numbers() -> None:
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.BatchNorm1d(256).eval(), torch.nn.Linear(256, 8)
    )
    net.train()
    net[1].eval()  # as someone does who trains with frozen statistics
    judged(blobs(30, 2), features=net, metrics=["fd"])
    assert [part.training for part in net.modules()] == [True, True, False, True]
    with torch.no_grad():
        net[2].bias[0] = torch.nan
    with pytest.raises(InputError, match="NaN or infinite values for 30 of 30 pictures"):
        judged(blobs(30, 2), features=net, metrics=["fd"])


def test_numbers_just_below_a_thousand_have_no_exponent() -> None:
    assert [number(value) for value in (999.4, 999.6, 1000.4)] == ["999", "1,000", "1,000"]


def test_a_report_draws_grey_levels_of_all_classes() -> None:
    def sorted_by_class(n: int, seed: int) -> dict[str, np.ndarray]:
        means = np.repeat([60, 200], n // 2)[:, None, None, None]
        images = np.random.default_rng(seed).normal(means, 8, (n, 1, 8, 8)).clip(0, 255)
        return {"images": images.astype(np.uint8)}

    sides = [sorted_by_class(n, n) for n in (40, 1200, 40)]
    found = medzoo.evaluate(sides[0], sides[1], held_out=sides[2], metrics=["fd"])
    assert found.pictures is not None
    dark, bright = found.pictures.levels["real"].reshape(2, 32).sum(1)
    assert dark == pytest.approx(bright, abs=0.1)


def test_a_small_frechet_distance_is_seen_beside_a_large_spread() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (400, 16)) * np.geomspace(100, 0.01, 16)
    moved = x.copy()
    moved[:, -1] += 0.01
    distance = frechet(*(torch.from_numpy(rows).float() for rows in (x, moved)))
    assert distance == pytest.approx(1e-4, rel=0.02)


@pytest.mark.parametrize("shape", [(1, 3, 3), (1, 1, 64), (1, 1, 8, 8), (1, 1, 300, 300)])
def test_pictures_of_a_few_pixels_are_measured_as_far_as_they_go(shape: tuple[int, ...]) -> None:
    sides = [np.random.default_rng(n).integers(0, 256, (n, *shape), np.uint8) for n in (14, 16, 15)]
    found = medzoo.evaluate(sides[0], sides[1], held_out=sides[2])
    assert np.isfinite(found["fd"].value)
    assert np.isnan(found["swd"].value)
    assert "pictures are too small" in found["swd"].note
