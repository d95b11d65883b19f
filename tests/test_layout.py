"""How the files of a set are arranged: a folder for each label, and shards of a chosen size."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from sets import IMAGES, KINDS, MASKS, TABLE, Toy, column, content, lines, same

import medzoo
from medzoo import cli
from medzoo.config import Output
from medzoo.datasets.layout import bytes_of, check_folder_names
from medzoo.errors import DatasetError, InputError, PackageError
from medzoo.provenance import outputs_as_json
from medzoo.samples import Samples

HUGGING_FACE = """
import json, sys
import numpy as np
from datasets import load_dataset

found = []
for name, how in json.load(sys.stdin):
    rows = load_dataset(name, split="train", **how)
    classes = {k: v.names for k, v in rows.features.items() if hasattr(v, "names")}
    plain = [
        {k: np.array(v).tolist() if hasattr(v, "size") else v for k, v in row.items()}
        for row in rows
    ]
    found.append([classes, plain])
json.dump(found, sys.stdout)
"""


def hugging_face(tmp_path: Path, *calls: tuple[str, dict[str, str]]) -> list[Any]:
    """Class names and rows of what ``load_dataset`` of the real library reads, without a network."""
    pytest.importorskip("datasets")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", HUGGING_FACE],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


# ------------------------------------------------------------------------------------------------ a folder for each label
@pytest.mark.slow
def test_hugging_face_reads_every_layout_with_its_labels(any_toy: Toy, tmp_path: Path) -> None:
    names = ["benign", "malignant"] * 2
    any_toy({"images": IMAGES, "masks": MASKS}, labels=True)
    made = medzoo.generate(901, 4, seed=1, out=tmp_path / "png", layout="classes")
    shards: dict[str, Any] = {"format": "webdataset", "shard_samples": 2}
    medzoo.generate(901, 4, seed=1, out=tmp_path / "tar", **shards)
    any_toy({"table": TABLE}, labels=True)
    table = medzoo.generate(901, 4, seed=1, out=tmp_path / "csv")

    whole, by_folder, in_tar, in_csv = hugging_face(
        tmp_path,
        ("imagefolder", {"data_dir": "png"}),
        ("imagefolder", {"data_dir": "png/images"}),
        ("webdataset", {"data_files": "tar/shards/*.tar"}),
        ("csv", {"data_files": "csv/samples.csv"}),
    )
    rows = sorted(whole[1], key=lambda row: row["index"])
    assert [row["labels"] for row in rows] == names
    assert np.array_equal([row["image"] for row in rows], made.images[:, 0])
    assert np.array_equal([row["masks"] for row in rows], made.masks[:, 0])

    classes = by_folder[0]["label"]
    assert classes == ["benign", "malignant"]
    pictures = {json.dumps(row["image"]): classes[row["label"]] for row in by_folder[1]}
    assert pictures == {
        json.dumps(image[0].tolist()): name for image, name in zip(made.images, names, strict=True)
    }

    assert [row["labels.cls"] for row in in_tar[1]] == [0, 1, 0, 1]
    assert [row["json"]["labels"] for row in in_tar[1]] == names
    assert np.array_equal([row["images.png"] for row in in_tar[1]], made.images[:, 0])

    assert [row["labels"] for row in in_csv[1]] == names
    assert np.array_equal(np.float32([row["b"] for row in in_csv[1]]), table.table[:, 1])


@pytest.mark.parametrize("format_", ["png", "nifti", "dicom"])
def test_each_label_has_a_folder_below_that_of_the_column(
    any_toy: Toy, tmp_path: Path, format_: str
) -> None:
    any_toy(KINDS[format_], labels=True)
    memory = medzoo.generate(901, 3, seed=1)
    disk = medzoo.generate(901, 3, seed=1, out=tmp_path / "set", format=format_, layout="classes")
    for name in memory.columns:
        assert np.array_equal(getattr(disk, name), getattr(memory, name))
    for name in KINDS[format_]:
        folders = {p.name: len(list(p.iterdir())) for p in (tmp_path / "set" / name).iterdir()}
        assert folders == {"benign": 2, "malignant": 1}
    assert medzoo.verify(tmp_path / "set").ok
    assert medzoo.reproduce(tmp_path / "set").equal
    metadata = (tmp_path / "set/metadata.jsonl").read_text().splitlines()
    assert [json.loads(row)["labels"] for row in metadata] == ["benign", "malignant", "benign"]
    row = json.loads(metadata[1])
    for key in ("file_name", "masks_file_name"):  # "masks" is the second column of each
        files = row[f"{key}s"] if format_ == "dicom" else [row[key]]
        assert len(files) == (3 if format_ == "dicom" else 1)
        assert all((tmp_path / "set" / file).is_file() for file in files)


def test_the_other_labels_stay_in_the_names_of_files(toy: Toy, tmp_path: Path) -> None:
    conditions = {
        "density": {"values": {"low": 0, "high": 1}, "help": ""},
        "side": {"values": {"left": 0, "right": 1}, "help": ""},
    }
    outputs = {
        "images": {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8]},
        "density": {"kind": "label", "condition": "density"},
        "side": {"kind": "label", "condition": "side"},
    }
    code = """
    import numpy as np
    class Model:
        def sample(self, batch):
            return {"images": np.zeros((batch.n, 1, 8, 8), np.uint8)}
    def load(weights_dir, device):
        return Model()
    """
    toy(code, conditions=conditions, outputs=outputs, options=None)
    with pytest.raises(InputError, match=r"several label columns.\nGive one of classes:density, "):
        medzoo.generate(901, 4, out=tmp_path / "set", layout="classes")
    with pytest.raises(InputError, match="no label column 'sides'"):
        medzoo.generate(901, 4, out=tmp_path / "set", layout="classes:sides")
    assert not (tmp_path / "set").exists()
    made = medzoo.generate(901, 4, out=tmp_path / "set", layout="classes:side")
    assert sorted(e["file"] for e in lines(tmp_path / "set") if "index" in e) == [
        "images/left/000000_low.png",
        "images/left/000001_high.png",
        "images/right/000002_low.png",
        "images/right/000003_high.png",
    ]
    assert made.side.tolist() == [0, 0, 1, 1]
    assert medzoo.reproduce(tmp_path / "set").equal


def test_a_run_that_failed_continues_in_its_layout_alone(fails: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    medzoo.generate(901, 12, seed=1, out=whole, layout="classes")
    (fails / "fail").touch()
    asked: dict[str, Any] = {"seed": 1, "out": tmp_path / "set"}
    with pytest.raises(PackageError):
        medzoo.generate(901, 12, layout="classes", **asked)
    (fails / "fail").unlink()
    with pytest.raises(DatasetError, match="layout 'classes:labels', now None"):
        medzoo.generate(901, 12, **asked)
    medzoo.generate(901, 12, layout="classes", **asked)
    assert same(whole, tmp_path / "set") == []
    assert len((whole / "metadata.jsonl").read_text().splitlines()) == 12
    before = content(whole)
    medzoo.generate(901, 12, seed=1, out=whole, layout="classes")
    assert content(whole) == before


def test_a_layout_is_of_one_set_and_not_of_what_is_saved_from_it(
    any_toy: Toy, tmp_path: Path
) -> None:
    any_toy({"images": IMAGES}, labels=True)
    made = medzoo.generate(901, 3, seed=1, out=tmp_path / "set", layout="classes")
    assert made.provenance["layout"] == "classes:labels"
    flat = made[1:].save(tmp_path / "flat")
    assert "layout" not in flat.provenance
    assert (tmp_path / "flat/images/000001_malignant.png").is_file()
    again = flat.save(tmp_path / "again", layout="classes")
    assert again.labels.tolist() == [1, 0]
    with Image.open(tmp_path / "again/images/malignant/000001.png") as picture:
        assert np.array_equal(np.array(picture), made.images[1, 0])


def test_the_command_line_has_the_layout_and_the_shards(
    any_toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    any_toy({"images": IMAGES}, labels=True)
    command = ["generate", "901", "-n", "5", "--seed", "1", "--quiet", "--out"]
    assert cli.main([*command, str(tmp_path / "set"), "--layout", "classes"]) == 0
    assert (tmp_path / "set/images/benign/000004.png").is_file()
    tars = [str(tmp_path / "tar"), "--format", "webdataset", "--shard-samples", "2"]
    assert cli.main([*command, *tars]) == 0
    assert len(list((tmp_path / "tar/shards").iterdir())) == 3
    sized = [str(tmp_path / "sized"), "--format", "webdataset", "--shard-size", "4kB"]
    assert cli.main([*command, *sized]) == 0
    assert len(list((tmp_path / "sized/shards").iterdir())) == 3
    assert cli.main([*command, str(tmp_path / "x"), "--layout", "folders"]) == 2
    assert "layout='folders' is unknown" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"layout": "classes", "format": "npz"}, "needs one file per sample; format='npz'"),
        ({"layout": "classes", "format": "webdataset"}, "needs one file per sample"),
        ({"layout": "class"}, "layout='class' is unknown"),
        ({"layout": True}, "layout=True is not a text"),
        ({"shard_size": 5}, "shard_size=5 has no effect on format='png'"),
        ({"shard_samples": 0, "format": "webdataset"}, "shard_samples=0 is not a number"),
        ({"shard_samples": True, "format": "webdataset"}, "shard_samples=True is not a number"),
        ({"shard_size": "big", "format": "webdataset"}, "shard_size='big' is not a size"),
        ({"shard_size": -1, "format": "webdataset"}, "shard_size=-1 is not a size"),
    ],
)
def test_what_cannot_be_arranged_so_is_refused_before_anything_is_written(
    any_toy: Toy, tmp_path: Path, asked: dict[str, Any], problem: str
) -> None:
    any_toy({"images": IMAGES}, labels=True)
    with pytest.raises(InputError, match=problem):
        medzoo.generate(901, 2, out=tmp_path / "set", **asked)
    assert not (tmp_path / "set").exists()
    given = next(name for name in asked if name != "format")
    with pytest.raises(InputError, match=f"{given}=.* without `out` has no effect|^{problem}"):
        medzoo.generate(901, 2, **{given: asked[given]})


def test_a_layout_needs_a_label(any_toy: Toy, tmp_path: Path) -> None:
    any_toy({"images": IMAGES})
    with pytest.raises(InputError, match="needs a label column, and these samples have none"):
        medzoo.generate(901, 2, out=tmp_path / "set", layout="classes")


@pytest.mark.parametrize(
    "labels",
    [
        ["a", "A"],
        ["é", "E\u0301"],
        ["BI-RADS 4/5"],
        [".."],
        [""],
        ["con"],
        ["Lpt1.x"],
        ["a."],
        [" a"],
        ["a:b"],
        ["a\\b"],
        ["x" * 240],
        ["ü" * 150],
        ["tab\t"],
    ],
)
def test_labels_that_cannot_be_folders_everywhere_are_refused(
    labels: list[str], tmp_path: Path
) -> None:
    outputs = {
        "images": Output("images", "image", "uint8", (1, 4, 4)),
        "labels": Output("labels", "label", "int64", ()),
    }
    about = {
        "outputs": outputs_as_json(outputs),
        "label_names": {"labels": {str(k): name for k, name in enumerate(labels)}},
    }
    columns = {"images": np.zeros((1, 1, 4, 4), np.uint8), "labels": np.zeros(1, np.int64)}
    made = Samples(columns, outputs, np.arange(1), about)
    with pytest.raises(
        InputError, match=r"cannot be the name of a folder|are the same folder|too long"
    ):
        made.save(tmp_path / "set", layout="classes")
    assert not (tmp_path / "set").exists()
    if max(len(name.encode()) for name in labels) < 200:  # of no consequence without a layout
        assert made.save(tmp_path / "flat").labels.tolist() == [0]


def test_usual_labels_are_folders() -> None:
    check_folder_names(["BI-RADS 4", "yes", "no", "1", "良性", "grade_2.5", "(none)", "o'clock"])


@pytest.mark.parametrize("format_", ["png", "nifti", "dicom"])
def test_a_label_too_long_for_a_file_name_is_refused_ahead(
    any_toy: Toy, tmp_path: Path, format_: str
) -> None:
    long = {"condition": {"values": {"x" * 240: 0, "b": 1}, "help": ""}}
    any_toy({"images": IMAGES}, labels=True, conditions=long)
    with pytest.raises(
        InputError, match=r"of 240 characters is too long for a file name.\nformat="
    ):
        medzoo.generate(901, 1, out=tmp_path / "set", format=format_)
    assert not (tmp_path / "set").exists()
    assert medzoo.generate(901, 1, out=tmp_path / "npz", format="npz").labels.tolist() == [0]
    most = {"condition": {"values": {"x" * 200: 0, "b": 1}, "help": ""}}
    any_toy({"images": IMAGES}, labels=True, conditions=most)
    assert len(medzoo.generate(901, 1, out=tmp_path / "most", format=format_)) == 1


# ----------------------------------------------------------------------------------------------------------------- shards
def test_shards_end_by_size_or_count(any_toy: Toy, tmp_path: Path) -> None:
    any_toy({"images": IMAGES}, labels=True)
    memory = medzoo.generate(901, 10, seed=1)
    for name, asked, counts in (
        ("count", {"shard_samples": 4}, [4, 4, 2]),
        ("exact", {"shard_samples": 5}, [5, 5]),
        ("size", {"shard_size": 10_000}, [4, 4, 2]),  # a sample has three members of 1,024 bytes
        ("both", {"shard_size": "10kB", "shard_samples": 2}, [2] * 5),
        ("none", {}, [10]),
    ):
        folder, more = tmp_path / name, {**asked, "format": "webdataset", "batch_size": 3}
        made = medzoo.generate(901, 10, seed=1, out=folder, **more)
        assert [e["samples"] for e in lines(folder) if "samples" in e] == counts, name
        assert np.array_equal(made.images, memory.images)
        assert medzoo.verify(folder).ok
        assert medzoo.reproduce(folder).equal
    with pytest.raises(DatasetError, match="shard_samples 4, now 5"):
        medzoo.generate(
            901, 10, seed=1, out=tmp_path / "count", format="webdataset", shard_samples=5
        )
    saved = memory.save(tmp_path / "saved", format="webdataset", shard_samples=6)
    assert len(list((tmp_path / "saved/shards").iterdir())) == 2
    assert "shard_samples" not in saved.save(tmp_path / "npz", format="npz").provenance


def test_sizes_are_numbers_of_bytes_or_texts() -> None:
    sizes = {
        64: 64,
        "64": 64,
        "64MB": 64 * 10**6,
        "1.5 GiB": 3 * 2**29,
        "256mib": 2**28,
        "2k": 2000,
    }
    assert {size: bytes_of(size) for size in sizes} == sizes
    for wrong in (0, "0", "", "MB", "-1MB", "1TB", 1.5, None, [1]):
        with pytest.raises(InputError, match="is not a size"):
            bytes_of(wrong)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:This DataLoader will create")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("workers", "dtype"), [(2, "uint16"), (8, "uint8")])
def test_every_worker_of_webdataset_gets_samples_and_together_all(
    any_toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, dtype: str
) -> None:
    pytest.importorskip("webdataset")
    any_toy({"images": column("image", dtype, 1, 8, 8)}, labels=True)
    shards: dict[str, Any] = {"format": "webdataset", "shard_samples": 2}
    made = medzoo.generate(901, 16, seed=1, out=tmp_path / "tars", **shards)
    text = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
    (code,) = (b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "wds." in b)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    loader = torch.utils.data.DataLoader(names["data"], batch_size=None, num_workers=workers)
    found = sorted(loader, key=lambda pair: pair[0]["index"])
    assert [about["index"] for about, _, _ in found] == list(range(16))
    assert [label for _, _, label in found] == made.labels.tolist()
    assert np.array_equal(np.stack([image for _, image, _ in found]), made.images[:, 0])
    assert made.images.max() > (255 if dtype == "uint16" else 200)
