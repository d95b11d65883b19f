"""Masks and boxes judged: what a segmenter and a detector find, and whether samples help them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from judging import HELD_OUT, REAL, blobs, judged

import medzoo
from medzoo.cli import main
from medzoo.errors import InputError
from medzoo.evaluation import detector, segmenter, trainings
from medzoo.evaluation.detector import agreements

pytestmark = pytest.mark.filterwarnings("ignore::medzoo.errors.MedzooWarning")
NOTHING = [np.nan] * 4


def squares(n: int, seed: int, *, most: int = 1, side: int = 64) -> dict[str, Any]:
    """Grain with up to ``most`` bright squares: ``images`` (n, 1, side, side) and ``boxes``."""
    rng = np.random.default_rng(seed)
    images = rng.normal(70, 8, (n, 1, side, side))
    boxes = np.full((n, most, 4), np.nan, np.float32)
    for i in range(n):
        for k in range(most if most == 1 else rng.integers(0, most + 1)):
            wide, high = rng.integers(side // 6, side // 4, 2)
            left = side // 2 * k + rng.integers(0, side // 2 if most > 1 else side - wide)
            left, top = min(left, side - wide), rng.integers(0, side - high)
            images[i, 0, top : top + high, left : left + wide] += 120
            boxes[i, k] = np.array([left + wide / 2, top + high / 2, wide, high]) / side
    return {"images": images.clip(0, 255).astype(np.uint8), "boxes": boxes}


def against(synthetic: Any, **options: Any) -> medzoo.evaluation.results.Evaluation:
    """A set judged against squares, with a detector that learns for a short time."""
    defaults = {"held_out": squares(24, 1), "metrics": ["box_found"], "steps": 60}
    return medzoo.evaluate(synthetic, squares(60, 0), **{**defaults, **options})


# ---------------------------------------------------------------------------------------- scores
def test_agreement_of_boxes_is_their_f1_score() -> None:
    box, other, third = [0.3, 0.3, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2], [0.2, 0.8, 0.1, 0.1]
    near = [0.32, 0.3, 0.2, 0.2]
    cases = [  # found, true, F1
        ([box, NOTHING], [box, NOTHING], 1),
        ([near, other], [other, box], 1),
        ([box, third], [box, other], 0.5),
        ([box, near], [box, NOTHING], 2 / 3),  # one box is not found twice
        ([NOTHING, NOTHING], [box, other], 0),
        ([box, NOTHING], [NOTHING, NOTHING], 0),
        ([NOTHING, NOTHING], [NOTHING, NOTHING], 1),
    ]
    found, truth, scores = (np.array(part, np.float32) for part in zip(*cases, strict=True))
    assert agreements(found, truth) == pytest.approx(scores)


def test_moved_pictures_keep_their_boxes_and_lose_those_outside() -> None:
    data = squares(20, 3)
    x = torch.from_numpy(data["images"]).float() / 127.5 - 1
    torch.manual_seed(0)
    there, boxes = detector.moved(x, torch.from_numpy(data["boxes"]))
    kept = ~boxes[:, 0].isnan().any(1)
    assert 10 < int(kept.sum()) <= 20
    places = (np.arange(64) + 0.5) / 64
    for picture, (cx, cy, w, h) in zip(
        there[kept, 0].numpy(), boxes[kept, 0].tolist(), strict=True
    ):
        inside = (abs(places - cy) < 0.4 * h)[:, None] & (abs(places - cx) < 0.4 * w)[None]
        around = (abs(places - cy) < 0.8 * h)[:, None] & (abs(places - cx) < 0.8 * w)[None]
        far = ~((abs(places - cy) < 0.6 * h)[:, None] & (abs(places - cx) < 0.6 * w)[None])
        assert picture[inside].mean() > picture[around & far].mean() + 0.5


def test_the_detector_is_small() -> None:
    assert sum(p.numel() for p in detector.Detector(3).parameters()) < 1_000_000


@pytest.mark.slow
def test_a_detector_finds_none_one_or_two_boxes_in_pictures_that_are_not_square() -> None:
    data, test = squares(80, 0, most=2), squares(30, 1, most=2)
    x, y = (torch.from_numpy(d["images"][:, :, 4:]).float() / 127.5 - 1 for d in (data, test))
    truths = []
    for d in (data, test):  # four rows were cut off at the top
        boxes = d["boxes"].copy()
        boxes[..., 1] = (boxes[..., 1] * 64 - 4) / 60
        boxes[..., 3] = boxes[..., 3] * 64 / 60
        boxes[(boxes[..., 1] - boxes[..., 3] / 2) < 0] = np.nan
        truths.append(boxes)
    scores = []
    for steps in (1, 100):
        found = detector.learned(x, truths[0], seed=0, steps=steps)(y)
        assert found.shape == (30, 2, 4)
        scores.append(agreements(found, truths[1]).mean())
    assert scores[0] < 0.4 < 0.7 < scores[1]


@pytest.mark.slow
def test_boxes_that_mark_something_else_are_found_out() -> None:
    right, wrong = squares(30, 5), squares(30, 5)
    wrong["boxes"][..., :2] = 1 - wrong["boxes"][..., :2]
    found = against(right)["box_found"]
    assert found.value > 0.7
    assert found.floor > 0.6
    assert against(wrong)["box_found"].value < 0.4


@pytest.mark.slow
def test_masks_that_mark_something_else_are_found_out() -> None:
    wrong = blobs(30, 2)
    wrong["masks"] = wrong["masks"][::-1].copy()
    options = {"metrics": ["mask_dice"], "steps": 60}
    right = judged(blobs(30, 2), **options)["mask_dice"]
    assert right.value > 0.5
    assert right.floor > 0.5
    assert judged(wrong, **options)["mask_dice"].value < right.value - 0.2


@pytest.mark.parametrize("shape", [(15, 17), (21, 18), (5, 9, 7)])
def test_a_segmenter_takes_sides_that_four_does_not_divide(shape: tuple[int, ...]) -> None:
    x = torch.rand(6, 1, *shape)
    masks = (x.numpy() > 0.5).astype(np.float32)
    net = segmenter.trained(x, masks, seed=0, steps=1)
    assert segmenter.marked_by(net, x).shape == (6, 1, *shape)


# ------------------------------------------------------------------------------- what is refused
def test_rows_of_nan_are_fewer_boxes() -> None:
    some = squares(30, 2, most=2)
    assert np.isnan(some["boxes"]).any()
    found = medzoo.evaluate(
        some, squares(40, 0, most=2), held_out=squares(20, 1, most=2), metrics=["mask_size"]
    )
    assert found["mask_size"].value < 0.6


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([0.5, np.nan, 0.1, 0.1], "first sample 3: "),
        ([32.0, 20.0, 8.0, 8.0], "as fractions of the picture"),
        ([0.5, 0.5, 0.0, 0.1], "1 samples with an invalid box"),
        ([0.5, 0.5, np.inf, 0.1], "1 samples with an invalid box"),
    ],
)
def test_what_is_not_a_box_is_refused(box: list[float], message: str) -> None:
    some = squares(30, 2)
    some["boxes"][3, 0] = box
    with pytest.raises(InputError) as caught:
        against(some)
    assert message in str(caught.value)


def test_masks_of_another_size_than_their_pictures_are_refused() -> None:
    small = blobs(30, 2)
    small["masks"] = small["masks"][:, :, ::2, ::2]
    with pytest.raises(InputError, match="masks are 8x8, images 16x16"):
        judged(small)


def test_boxes_against_masks_are_refused() -> None:
    boxes, masks = {"boxes": squares(30, 2)["boxes"]}, {"masks": blobs(30, 2)["masks"]}
    with pytest.raises(InputError, match="nothing can be compared"):
        medzoo.evaluate(boxes, masks, held_out=masks)


def test_a_group_leaves_out_what_does_not_apply() -> None:
    found = against(squares(30, 2), metrics=["masks"], steps=1)
    assert [figure.metric for figure in found.figures] == ["mask_size", "mask_place", "box_found"]
    with pytest.raises(InputError, match="mask_dice needs pictures with masks on all sides"):
        against(squares(30, 2), metrics=["mask_dice"])


# --------------------------------------------------------------------------------- does it help?
@pytest.fixture
def one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainings, "SEEDS", 1)


def test_utility_detects_where_there_are_boxes_and_no_masks(one_seed: None) -> None:
    found = against(squares(30, 2), utility=True, metrics=["mask_size"], steps=1).utility
    assert found is not None
    assert (found.task, found.score, found.n_test) == ("detection", "F1", 24)


def test_utility_segments_where_there_are_masks(one_seed: None) -> None:
    found = judged(blobs(20, 2), utility=True, metrics=["fd"], steps=1).utility
    assert found is not None
    assert (found.task, found.score) == ("segmentation", "Dice")
    chosen = judged(blobs(20, 2), utility="classifier", metrics=["fd"], steps=1).utility
    assert chosen is not None
    assert chosen.task == "classification"


def test_a_function_of_the_users_detects(one_seed: None) -> None:
    seen: list[tuple[Any, ...]] = []

    def brightest(images: Any, boxes: Any, test: Any, seed: int) -> Any:
        """A box of the mean size round the bright pixels."""
        seen.append((images.shape, boxes.shape, float(images.min()), float(images.max())))
        size = np.nanmean(boxes[..., 2:], (0, 1))
        places = (np.arange(test.shape[-1]) + 0.5) / test.shape[-1]
        bright = test[:, 0] > 0.5
        weights = bright.sum((1, 2))
        x = (bright * places).sum((1, 2)) / weights
        y = (bright * places[:, None]).sum((1, 2)) / weights
        return np.stack([x, y, *(np.full(len(x), side) for side in size)], 1)

    options = {"utility": brightest, "task": "detector", "metrics": ["mask_size"]}
    found = against(squares(30, 2), **options).utility
    assert found is not None
    assert all(arm.mean > 0.9 for arm in found.arms)
    sizes = [shape[0] for shape, _, _, _ in seen]
    assert sizes == [15, 30, 45, 90, 60, 120, 90, 180, 15, 30]
    assert all(0 <= low < high <= 1 for _, _, low, high in seen)


def test_a_function_of_the_users_segments_masks(one_seed: None) -> None:
    def bright(images: Any, masks: Any, test: Any, seed: int) -> Any:
        assert masks.shape == images.shape
        return test > np.median(test, (2, 3), keepdims=True) + 0.1

    options = {"utility": bright, "task": "segmenter", "metrics": ["fd"]}
    found = judged(blobs(30, 2), **options).utility
    assert found is not None
    assert found.arms[0].mean > 0.6

    def flat(images: Any, masks: Any, test: Any, seed: int) -> Any:
        return test[:, 0]

    with pytest.raises(InputError, match=r"must return masks \(40, 1, 16, 16\)|returned \(40, 16"):
        judged(blobs(30, 2), **{**options, "utility": flat})


def test_a_module_of_the_users_segments_masks(one_seed: None) -> None:
    net = torch.nn.Conv2d(1, 1, 3, padding=1)
    weight = net.weight.detach().clone()
    found = judged(blobs(20, 2), utility=net, task="segmenter", metrics=["fd"], steps=2).utility
    assert found is not None
    assert torch.equal(net.weight, weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"utility": "segmentor"}, "There is no task 'segmentor'"),
        ({"utility": "detector", "task": "classifier"}, "differ"),
        ({"task": "detector"}, "has no effect without utility"),
        ({"utility": "segmenter"}, "A segmenter needs pictures with masks on both sides"),
        ({"utility": "classifier"}, "A classifier needs pictures with labels on both sides"),
        ({"utility": 5, "task": "detector"}, "cannot be trained"),
        ({"utility": torch.nn.Flatten(), "task": "detector"}, "cannot be trained"),
    ],
)
def test_a_task_that_cannot_be_learned_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        against(squares(30, 2), metrics=["mask_size"], **options)


def test_comparing_trains_on_real_data_once(one_seed: None, tmp_path: Path) -> None:
    counts: list[int] = []

    def constant(images: Any, labels: Any, test: Any, seed: int) -> Any:
        counts.append(len(images))
        return np.full((len(test), 2), 0.5)

    sets = {"one": blobs(30, 2), "other": blobs(30, 3)}
    found = medzoo.compare(
        sets, REAL, held_out=HELD_OUT, metrics=["fd"], by="labels", utility=constant
    )
    assert len(counts) == 10 + 6
    head, rows = found.cells()
    assert head == ["metric", "real data", "one", "other", "best is"]
    assert [row[0] for row in rows] == ["fd", "fd (labels=large)", "fd (labels=small)"]
    assert found.utility_cells()[1][0] == ["real", "25%", "0.500", "0.500"]
    assert "AUC, trained on" in str(found)
    text = found.to_html(tmp_path / "both.html")
    assert (tmp_path / "both.html").read_text(encoding="utf-8") == text
    assert text.count("<!DOCTYPE html>") == 1
    assert text.count("Does it help?") == 2
    assert text.count("one against real data") == 1
    assert text.count("pictures of the real data") == 2


def test_sets_with_other_tasks_share_no_trainings(one_seed: None) -> None:
    labelled = {name: values for name, values in blobs(30, 2).items() if name != "masks"}
    both = blobs(30, 3)
    options = {"held_out": HELD_OUT, "metrics": ["fd"], "utility": True, "steps": 2}
    found = medzoo.compare([labelled, both], REAL, **options)
    alone = [medzoo.evaluate(one, REAL, **options) for one in (labelled, both)]
    assert [e.utility.score for e in alone] == ["AUC", "Dice"]
    for together, single in zip(found.evaluations, alone, strict=True):
        assert together.utility == single.utility
    head, rows = found.utility_cells()
    assert head[0] == "AUC or Dice, trained on"
    assert rows[0][0] == "real (AUC)"
    assert rows[-1][-2] == "-"
    assert rows[-1][0].endswith("(Dice)")


def test_floors_of_masks_do_not_serve_a_set_of_boxes(one_seed: None) -> None:
    real, held_out = squares(40, 0), squares(30, 1)
    masks = np.zeros((40, 1, 64, 64), np.uint8), np.zeros((30, 1, 64, 64), np.uint8)
    for mask in masks:
        for row in range(len(mask)):
            mask[row, :, 2 : 5 + row % 20, 2:9] = 1
    real, held_out = {**real, "masks": masks[0]}, {**held_out, "masks": masks[1]}
    boxes = squares(30, 2)
    with_masks = {**squares(30, 3), "masks": masks[1]}
    options = {"held_out": held_out, "metrics": ["mask_size"]}
    found = medzoo.compare([with_masks, boxes], real, **options)
    alone = medzoo.evaluate(boxes, real, **options)
    assert found.evaluations[1]["mask_size"] == alone["mask_size"]


def test_commands_take_a_task_and_report_a_comparison(
    one_seed: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {}
    for name, data in (("a", squares(24, 2)), ("b", squares(24, 3)), ("real", squares(48, 0))):
        paths[name] = str(tmp_path / f"{name}.npz")
        np.savez(paths[name], **data)
    report = tmp_path / "both.html"
    real = ["--real", paths["real"], "--metrics", "mask_size", "--steps", "1"]
    command = ["compare", paths["a"], paths["b"], *real, "--utility", "--task", "detector"]
    assert main([*command, "--report", str(report)]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "F1, trained on" in printed
    assert f"report: {report}" in printed
    assert "trained on" in report.read_text(encoding="utf-8")
    assert main(["evaluate", paths["a"], *real, "--task", "detector"]) == 2
    assert "Add utility=True (--utility)" in capsys.readouterr().err
    assert main([*command, "--report", str(tmp_path / "no" / "both.html")]) == 2
    assert "there is no folder" in capsys.readouterr().err
