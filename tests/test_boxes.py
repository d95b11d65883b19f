"""Columns of boxes: what a config may say, what a package may return, and how others read them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sets import BOXES, CONDITION, IMAGES, Toy, column

import medzoo
from medzoo.config import Output, read_config
from medzoo.config.columns import corners_of, present_boxes
from medzoo.errors import ConfigError, InputError, PackageError
from medzoo.provenance import OUTPUT_FIELDS

MODEL = """
import numpy as np

class Model:
    def sample(self, batch):
        boxes = np.array(BOXES, dtype=np.float32)[batch.indices % len(BOXES)]
        images = np.zeros((batch.n, 1, 8, 8), np.uint8)
        return {"images": images + 100, "boxes": boxes}

def load(weights_dir, device):
    return Model()
"""
NOTHING = [float("nan")] * 4
ONE, OTHER = [0.5, 0.25, 0.5, 0.25], [0.125, 0.75, 0.25, 0.5]
LABELS = {"kind": "label", "condition": "condition"}


def boxed(toy: Toy, boxes: list[Any], **outputs: Any) -> int:
    """A model whose samples have these boxes in turn, on pictures of 8 x 8 pixels."""
    code = f"from math import inf, nan\nBOXES = {boxes!r}\n{MODEL}"
    shape = np.shape(boxes)[1:]
    columns = {
        "images": IMAGES,
        "boxes": column("boxes", "float32", *shape, classes="labels"),
        "labels": LABELS,
        **outputs,
    }
    return toy(code, outputs=columns, conditions=CONDITION, options=None)


# -------------------------------------------------------------------------------------------------
# the config
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": [5]}, r"\[4\] or \[most boxes of a sample, 4\]"),
        ({"shape": [2, 2, 4]}, r"\[4\] or \[most boxes of a sample, 4\]"),
        ({"dtype": "uint8"}, "float32 was expected"),
        ({"range": [0, 128]}, r"\[0, 1\] was expected"),
        ({"columns": ["a", "b", "c", "d"]}, "leave this out"),
        ({"classes": "tumours"}, "a label column that repeats a condition was expected"),
        ({"classes": "images"}, "a label column that repeats a condition was expected"),
    ],
)
def test_a_config_of_other_boxes_is_refused(
    toy: Toy, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    boxed(toy, [ONE])
    (path,) = tmp_path.rglob("00901*.yaml")
    config = yaml.safe_load(path.read_text())
    (version,) = config["versions"].values()
    version["outputs"]["boxes"] |= changes
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=words):
        read_config(path)


def test_boxes_need_flat_pictures(toy: Toy, tmp_path: Path) -> None:
    boxed(toy, [ONE])
    (path,) = tmp_path.rglob("00901*.yaml")
    config = yaml.safe_load(path.read_text())
    (version,) = config["versions"].values()
    version["outputs"]["images"] |= {"kind": "volume", "shape": [1, 4, 8, 8]}
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="boxes are boxes of pictures"):
        read_config(path)


# -------------------------------------------------------------------------------------------------
# what a package returns
@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([0.5, 0.5, 0.0, 0.5], "without width or height"),
        ([0.5, 0.5, 0.5, -0.5], "without width or height"),
        ([0.9, 0.5, 0.5, 0.5], "reach out of the picture"),
        ([0.5, 0.05, 0.5, 0.5], "reach out of the picture"),
        ([0.5, float("nan"), 0.5, 0.5], "only some numbers are finite"),
        ([0.5, float("inf"), 0.5, 0.5], "only some numbers are finite"),
        ([64.0, 64.0, 30.0, 30.0], "reach out of the picture"),
    ],
)
def test_a_wrong_box_ends_the_run(toy: Toy, box: list[float], words: str) -> None:
    with pytest.raises(PackageError, match=words):
        medzoo.generate(boxed(toy, [box]), 1, seed=0)


def test_a_sample_may_have_fewer_boxes_than_others(toy: Toy) -> None:
    samples = medzoo.generate(boxed(toy, [[ONE, OTHER], [ONE, NOTHING]]), 2, seed=0)
    assert samples.boxes.shape == (2, 2, 4)
    assert np.isnan(samples.boxes[1, 1]).all()
    assert list(samples.to_pandas().columns)[:3] == ["x_0", "y_0", "width_0"]
    samples.plot()


# -------------------------------------------------------------------------------------------------
# other libraries
def test_monai_fills_the_same_pixels(toy: Toy) -> None:
    from monai.apps.detection.transforms.box_ops import convert_box_to_mask

    samples = medzoo.generate(boxed(toy, [[ONE, OTHER], [ONE, NOTHING]]), 2, seed=0)
    items = samples.to_monai()
    assert [len(item["boxes"]) for item in items] == [2, 1]
    image, boxes = items[0]["images"], items[0]["boxes"]
    import torch

    masks = convert_box_to_mask(
        boxes.float(), torch.arange(2), spatial_size=tuple(image.shape[1:]), bg_label=-1
    )
    filled = masks.amax(dim=0)[..., 0].numpy().T  # (H, W)
    expected = np.full((8, 8), -1)
    expected[1:3, 2:6] = 0  # ONE: rows 1 to 3, columns 2 to 6
    expected[4:8, 0:2] = 1
    np.testing.assert_array_equal(filled, expected)


def test_tensors_and_frames_hold_fractions(toy: Toy) -> None:
    samples = medzoo.generate(boxed(toy, [ONE, OTHER]), 2, seed=0)
    np.testing.assert_array_equal(samples.to_torch()["boxes"].numpy(), [ONE, OTHER])
    frame = samples.to_pandas()
    assert list(frame.columns) == ["x", "y", "width", "height", "labels"]
    (batch,) = medzoo.dataloader(901, n=2, batch_size=2, seed=0)
    np.testing.assert_array_equal(batch["boxes"].numpy(), [ONE, OTHER])


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of pycocotools 2.0.11
def test_pycocotools_reads_coco(toy: Toy, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    identifier = boxed(toy, [[ONE, OTHER], [ONE, NOTHING], [NOTHING, NOTHING]])
    samples = medzoo.generate(identifier, 3, seed=0, out=tmp_path / "set", format="coco")
    coco = COCO(str(tmp_path / "set" / "annotations.json"))
    assert {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())} == {
        1: "benign",
        2: "malignant",
    }
    assert [len(coco.getAnnIds(imgIds=i)) for i in range(3)] == [2, 1, 0]
    first, second = coco.loadAnns(coco.getAnnIds(imgIds=0))
    assert (first["bbox"], second["bbox"]) == ([2.0, 1.0, 4.0, 2.0], [0.0, 4.0, 2.0, 4.0])
    (third,) = coco.loadAnns(coco.getAnnIds(imgIds=1))
    assert (first["category_id"], third["category_id"]) == (1, 2)
    expected = np.zeros((8, 8))
    expected[1:3, 2:6] = 1
    segment = [[2, 1, 6, 1, 6, 3, 2, 3]]
    np.testing.assert_array_equal(coco.annToMask({**first, "segmentation": segment}), expected)
    for image in coco.loadImgs([0, 1, 2]):
        assert (tmp_path / "set" / image["file_name"]).is_file()
        assert (image["width"], image["height"]) == (8, 8)
    assert medzoo.verify(tmp_path / "set").ok
    assert "annotations.json" not in medzoo.verify(tmp_path / "set").extra
    np.testing.assert_array_equal(samples.boxes, medzoo.generate(identifier, 3, seed=0).boxes)


def test_yolo_files_are_those_of_its_pictures(toy: Toy, tmp_path: Path) -> None:
    identifier = boxed(toy, [[ONE, OTHER], [ONE, NOTHING], [NOTHING, NOTHING]])
    folder = tmp_path / "set"
    samples = medzoo.generate(identifier, 3, seed=0, out=folder, format="yolo")
    texts = {}
    for picture in sorted(folder.glob("images/*.png")):
        label = folder / "labels" / f"{picture.stem}.txt"
        texts[picture.stem] = [line.split() for line in label.read_text().splitlines()]
    assert list(texts) == ["000000_benign", "000001_malignant", "000002_benign"]
    numbers = [[float(v) for v in row] for row in texts["000000_benign"]]
    assert numbers == [[0, *ONE], [0, *OTHER]]
    assert [row[0] for row in texts["000001_malignant"]] == ["1"]
    assert texts["000002_benign"] == []
    data = yaml.safe_load((folder / "data.yaml").read_text())
    assert data["names"] == {0: "benign", 1: "malignant"}
    assert (folder / data["train"]).is_dir()
    assert medzoo.verify(folder).ok
    again = medzoo.read(folder)
    np.testing.assert_array_equal(again.boxes, samples.boxes)
    (folder / "labels" / "000001_malignant.txt").write_text("0 0.5 0.5 1 1\n")
    assert medzoo.verify(folder).samples == (1,)


@pytest.mark.parametrize("format_", ["coco", "yolo"])
def test_pictures_in_folders_of_classes_have_boxes(toy: Toy, tmp_path: Path, format_: str) -> None:
    identifier = boxed(toy, [ONE])
    medzoo.generate(identifier, 2, seed=0, out=tmp_path / "set", format=format_, layout="classes")
    names = {"coco": "annotations.json", "yolo": "labels/malignant/000001.txt"}
    text = (tmp_path / "set" / names[format_]).read_text()
    if format_ == "coco":
        assert json.loads(text)["images"][1]["file_name"] == "images/malignant/000001.png"
    else:
        assert text == "1 0.5 0.25 0.5 0.25\n"
    assert medzoo.verify(tmp_path / "set").ok


@pytest.mark.parametrize("format_", ["coco", "yolo"])
def test_formats_of_boxes_need_boxes(toy: Toy, tmp_path: Path, format_: str) -> None:
    toy()
    with pytest.raises(InputError, match="samples without boxes"):
        medzoo.generate(901, 2, out=tmp_path / "set", format=format_)


def test_yolo_needs_pictures_called_images(toy: Toy, tmp_path: Path) -> None:
    columns = {"patches": IMAGES, "boxes": {**BOXES, "shape": [4]}}
    code = MODEL.replace('"images": images', '"patches": images')
    toy(f"BOXES = {[ONE]!r}\n{code}", outputs=columns, options=None)
    with pytest.raises(InputError, match="patches, which is not called images"):
        medzoo.generate(901, 1, out=tmp_path / "yolo", format="yolo")
    medzoo.generate(901, 1, out=tmp_path / "coco", format="coco")


def test_a_class_without_labels_is_named_by_its_column(toy: Toy, tmp_path: Path) -> None:
    columns = {"images": IMAGES, "boxes": {**BOXES, "shape": [4]}}
    toy(f"BOXES = {[ONE]!r}\n{MODEL}", outputs=columns, options=None)
    medzoo.generate(901, 1, seed=0, out=tmp_path / "set", format="coco")
    content = json.loads((tmp_path / "set" / "annotations.json").read_text())
    assert content["categories"] == [{"id": 1, "name": "boxes"}]


def test_corners_are_pixels_from_the_edge_of_the_first() -> None:
    from medzoo.config import Output

    picture = Output("images", "image", "uint8", (1, 8, 16))
    np.testing.assert_array_equal(
        corners_of(np.array([[0.5, 0.5, 1.0, 1.0], [0.25, 0.75, 0.25, 0.25]]), picture),
        [[0, 0, 16, 8], [2, 5, 6, 7]],
    )


def test_rows_of_nan_are_not_there() -> None:
    rows = np.array([ONE, NOTHING, OTHER])
    np.testing.assert_array_equal(present_boxes(rows), [ONE, OTHER])
    assert present_boxes(np.array(NOTHING)).shape == (0, 4)


@pytest.mark.parametrize("format_", ["coco", "yolo"])
def test_a_set_that_was_read_back_keeps_the_classes_of_its_boxes(
    toy: Toy, tmp_path: Path, format_: str
) -> None:
    identifier = boxed(toy, [ONE, OTHER])
    medzoo.generate(identifier, 4, seed=0, out=tmp_path / "png", format="png")
    medzoo.read(tmp_path / "png").save(tmp_path / "again", format=format_)
    medzoo.generate(identifier, 4, seed=0, out=tmp_path / "direct", format=format_)
    pattern = {"coco": "annotations.json", "yolo": "labels/*.txt"}[format_]
    written = sorted((tmp_path / "again").glob(pattern))
    assert written
    for path in [*written, *(tmp_path / "again").glob("data.yaml")]:
        same = tmp_path / "direct" / path.relative_to(tmp_path / "again")
        assert path.read_bytes() == same.read_bytes()
    again = medzoo.read(tmp_path / "again")
    assert again.outputs["boxes"].classes == "labels"


def test_a_provenance_holds_all_of_a_column_but_how_it_was_made() -> None:
    of_the_run = {"tolerance", "zoom", "element", "returned", "channels", "files", "fit"}
    of_the_run |= {"reference", "axes"}
    names = {field.name for field in dataclasses.fields(Output)}
    assert names - of_the_run == set(OUTPUT_FIELDS)
