"""A folder with a set of samples: every file accounted for, nothing of others touched, the same command the same set."""

from __future__ import annotations

import json
import platform
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sets import IMAGES, KINDS, TABLE, Toy, column, content, lines, python, same

import medzoo
from medzoo.datasets import writer
from medzoo.datasets.journal import sealed
from medzoo.datasets.writer import bytes_a_sample
from medzoo.errors import DatasetError, InputError, MedzooWarning
from medzoo.files import sha256_of

each = pytest.mark.parametrize("format_", KINDS)


@each
def test_the_manifest_accounts_for_every_file_by_its_digest(
    any_toy: Toy, tmp_path: Path, format_: str
) -> None:
    out = tmp_path / "set"
    any_toy(KINDS[format_], labels=True)
    medzoo.generate(901, 10, seed=1, out=out, format=format_)
    entries = lines(out)
    for entry in entries:
        if "offset" in entry:  # one of many samples in a file that has a line of its own
            data = (out / entry["file"]).read_bytes()[entry["offset"] :][: entry["bytes"]]
            (tmp_path / "part").write_bytes(data)
        assert entry["sha256"] == sha256_of(
            tmp_path / "part" if "offset" in entry else out / entry["file"]
        )
    whole = [e["file"] for e in entries if "offset" not in e]
    assert len(whole) == len(set(whole))
    assert {*whole, "manifest.jsonl", "provenance.json", "run.log"} == set(content(out))
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["manifest_sha256"] == sha256_of(out / "manifest.jsonl")
    if format_ not in {"csv", "npz"}:
        first = entries[0].get("column")
        samples = [
            e for e in entries if e.get("column") == first and "index" in e and not e.get("piece")
        ]
        assert [e["index"] for e in samples] == list(range(10))
        assert [(e["labels"], e["condition"], e["seed"]) for e in samples] == [
            ("benign", "benign", 1),
            ("malignant", "malignant", 1),
        ] * 5


@pytest.mark.parametrize("condition", [None, "b", ["c", "a", "a", "b"]])
def test_the_manifest_says_each_condition_though_no_column_has_it(
    any_toy: Toy, tmp_path: Path, condition: Any
) -> None:
    conditions = {
        "density": {"values": {"a": 3, "b": 2, "c": 7}, "help": ""},
        "file": {"values": {"x": 0}, "help": "A name that the manifest has a meaning for."},
    }
    any_toy({"images": IMAGES}, conditions=conditions)
    given = {} if condition is None else {"density": condition}
    medzoo.generate(901, 4, seed=1, out=tmp_path / "set", **given)
    expected = (
        ["a", "b", "c", "a"] if condition is None else ["b"] * 4 if condition == "b" else condition
    )
    assert [e["density"] for e in lines(tmp_path / "set")] == expected
    assert all((tmp_path / "set" / e["file"]).is_file() for e in lines(tmp_path / "set"))


def test_conditions_of_a_later_part_of_a_run_are_right(toy: Toy, tmp_path: Path) -> None:
    with medzoo.load(toy()) as model:
        (batch,) = model.stream(
            3, first=5, condition=["benign", "benign", "malignant"], batch_size=3
        )
    batch[1:].save(tmp_path / "set")
    assert [(e["index"], e["condition"], e["labels"]) for e in lines(tmp_path / "set")] == [
        (6, "benign", "benign"),
        (7, "malignant", "malignant"),
    ]


@each
def test_what_is_written_is_what_is_generated(any_toy: Toy, tmp_path: Path, format_: str) -> None:
    any_toy(KINDS[format_], labels=True)
    memory = medzoo.generate(901, 10, seed=1)
    disk = medzoo.generate(901, 10, seed=1, out=tmp_path / "set", format=format_)
    for samples in (disk, medzoo.read(tmp_path / "set"), medzoo.read(str(tmp_path / "set"))):
        assert list(samples.columns) == list(memory.columns)
        for name in memory.columns:
            found, expected = getattr(samples, name), getattr(memory, name)
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
            assert np.allclose(found, expected, rtol=0, atol=4 / 65535 if format_ == "png16" else 0)
        assert samples.indices.tolist() == list(range(10))
        assert samples.folder == tmp_path / "set"
        assert samples.outputs["labels"].condition == "condition"


def test_provenance_is_written_last(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, really = [], writer.files.atomic
    monkeypatch.setattr(
        writer.files, "atomic", lambda path: (order.append(path.name), really(path))[1]
    )
    medzoo.generate(toy(), 3, seed=1, out=tmp_path / "set")
    assert order[0] == "record.json"
    assert order[-1] == "provenance.json"
    assert order.count("provenance.json") == 1
    newest = max(
        (tmp_path / "set").rglob("*"), key=lambda p: p.stat().st_mtime_ns if p.is_file() else 0
    )
    assert newest.name == "provenance.json"


def test_every_picture_says_that_it_is_synthetic_and_of_what(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(toy(), 3, seed=11, out=tmp_path / "set")
    with Image.open(tmp_path / "set/images/000001_malignant.png") as picture:
        about = json.loads(picture.text["medzoo"])  # type: ignore[attr-defined]
        assert "Not for diagnosis" in picture.text["Comment"]  # type: ignore[attr-defined]
    assert about == {
        "synthetic": True,
        "index": 1,
        "column": "images",
        "labels": "malignant",
        "model": "00901_TOY_MRI_NOISE",
        "version": "1.0.0",
        "seed": 11,
        "license": "MIT",
    }


@pytest.mark.parametrize("seed", [1, None])
@each
def test_the_same_command_again_changes_nothing(
    any_toy: Toy, tmp_path: Path, format_: str, seed: int | None
) -> None:
    any_toy(KINDS[format_], labels=True)
    first = medzoo.generate(901, 6, seed=seed, out=tmp_path / "set", format=format_)
    before = content(tmp_path / "set")
    again = medzoo.generate(901, 6, seed=seed, out=tmp_path / "set", format=format_)
    assert content(tmp_path / "set") == before
    assert again.provenance == first.provenance


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": 2}, "seed 1, now 2"),
        ({"n": 5}, "n 6, now 5"),
        ({"condition": "benign"}, "options.condition None, now 'benign'"),
        ({"gain": 4}, "options.gain 3, now 4"),
        ({"format": "npz"}, "format 'png', now 'npz'"),
        (
            {"condition": ["benign", "malignant"] * 3},
            f"options.condition None, now {['benign', 'malignant'] * 3!r:.60}",
        ),
        ({"seed": 2, "gain": 4}, "seed 1, now 2; options.gain 3, now 4"),
    ],
)
def test_another_command_names_the_difference_and_changes_nothing(
    toy: Toy, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    asked: dict[str, Any] = {"n": 6, "seed": 1, "out": tmp_path / "set"}
    medzoo.generate(toy(), **asked)
    before = content(tmp_path / "set")
    with pytest.raises(
        DatasetError, match=re.escape(f"holds another set of samples: {says}.\nNothing was changed")
    ):
        medzoo.generate(901, **{**asked, **changes})
    assert content(tmp_path / "set") == before


def test_of_lists_the_places_that_differ_are_named_and_of_another_model_nothing_else(
    toy: Toy, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"n": 100, "seed": 1, "out": tmp_path / "set"}
    several = ["benign", "malignant"] * 50
    medzoo.generate(toy(), condition=several, **asked)
    with pytest.raises(
        DatasetError, match=re.escape("samples: options.condition[98] 'benign', now 'malignant'.\n")
    ):
        medzoo.generate(901, condition=[*several[:98], "malignant", "malignant"], **asked)
    with pytest.raises(
        DatasetError,
        match=r"samples: (options.condition\[\d\] 'benign', now 'malignant'; ){4}and 46 more\.\n",
    ):
        medzoo.generate(901, condition=["malignant"] * 100, **asked)
    other = "samples: model '00901_TOY_MRI_NOISE', now '00008_C-DCGAN_MMG_MASSES'; version '1.0.0', now '2.2.0'.\n"
    with pytest.raises(DatasetError, match=re.escape(other)):
        medzoo.generate(8, 2, seed=2, out=tmp_path / "set", device="cpu")


def test_other_code_under_the_same_name_is_another_set(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set")
    code = medzoo.copy(901, tmp_path / "mine") / "model.py"
    code.write_text(code.read_text() + "# edited\n")
    with pytest.raises(DatasetError, match=r"samples: sha256.model.py '\w+, now '\w+\.\n"):
        medzoo.generate(tmp_path / "mine", 2, seed=1, out=tmp_path / "set", trust=True)


def test_a_folder_with_other_things_is_left_alone(toy: Toy, tmp_path: Path) -> None:
    toy()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("dear")
    (tmp_path / "file").write_text("dear")
    before = content(tmp_path / "thesis")
    with pytest.raises(
        DatasetError,
        match=r"already holds other files \(chapter.tex \.\.\.\).\nNothing was changed",
    ):
        medzoo.generate(901, 2, out=tmp_path / "thesis")
    with pytest.raises(DatasetError, match="is a file, not a folder"):
        medzoo.generate(901, 2, out=tmp_path / "file")
    with pytest.raises(DatasetError):
        medzoo.generate(901, 2, out=tmp_path / "file" / "below")
    assert content(tmp_path / "thesis") == before
    assert (tmp_path / "file").read_text() == "dear"


def test_what_is_wrong_with_the_request_shows_before_a_folder_is_made(
    toy: Toy, tmp_path: Path
) -> None:
    for wrong in ({"condition": "odd"}, {"format": "gif"}, {"format": "csv"}, {"batch_size": 0}):
        with pytest.raises(InputError):
            medzoo.generate(toy(), 2, out=tmp_path / "set", **wrong)
        assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    "strewn", [[], [".DS_Store"], ["Thumbs.db", "desktop.ini", "lost+found", "._masses"]]
)
def test_an_empty_folder_may_be_filled(toy: Toy, tmp_path: Path, strewn: list[str]) -> None:
    (tmp_path / "set").mkdir()
    for name in strewn:
        (tmp_path / "set" / name).touch()
    assert len(medzoo.generate(toy(), 2, out=tmp_path / "set")) == 2
    assert {p.name for p in (tmp_path / "set").iterdir()} >= set(strewn)


@pytest.mark.parametrize("out", [5, b"set", ["set"]])
def test_an_out_that_is_no_path(toy: Toy, out: Any) -> None:
    with pytest.raises(InputError, match=r"out=.* is not a valid path"):
        medzoo.generate(toy(), 1, out=out)


@each
def test_equal_runs_write_equal_bytes_and_no_times_or_hosts(
    any_toy: Toy, tmp_path: Path, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_toy(KINDS[format_], labels=True)
    one, two, now = tmp_path / "one", tmp_path / "two", time.time
    medzoo.generate(901, 9, seed=1, out=one, format=format_)
    monkeypatch.setattr(time, "time", lambda: now() + 1e8)  # three years later
    medzoo.generate(901, 9, seed=1, out=two, format=format_, batch_size=4)
    assert same(one, two) == []
    for name in ("manifest.jsonl", "provenance.json"):
        text = (one / name).read_text()
        assert platform.node() not in text
        assert str(tmp_path) not in text
        assert not re.search(time.strftime("%Y-%m-%d|%H:%M:"), text)
    assert platform.node() in (one / "run.log").read_text()


def test_the_provenance_says_what_is_needed_to_make_the_set_again(toy: Toy, tmp_path: Path) -> None:
    own = np.ones((3, 4), np.float32)
    medzoo.generate(
        toy(), 3, seed=5, out=tmp_path / "set", latents=own, condition=["benign"] * 3, batch_size=2
    )
    found = json.loads((tmp_path / "set/provenance.json").read_text())
    assert (found["model"], found["version"], found["seed"], found["n"]) == (
        "00901_TOY_MRI_NOISE",
        "1.0.0",
        5,
        3,
    )
    assert found["options"]["condition"] == ["benign"] * 3
    assert found["options"]["latents"].startswith("sha256:")
    assert found["options"]["gain"] == 3
    assert (found["batches"], found["registered"], found["synthetic"]) == ([[0, 2]], True, True)
    assert found["libraries"]["numpy"] == np.__version__
    assert found["written_with"]["medzoo"] == medzoo.__version__
    assert set(found["written_with"]) == {"medzoo", "zlib"}
    assert found["sha256"] == {"model.py": sha256_of(tmp_path / "configs/package/model.py")}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("provenance.json", "{"),
        ("provenance.json", "[]"),
        ("provenance.json", "{}"),
        ("provenance.json", '{"outputs": {"images": {}}}'),
        ("manifest.jsonl", "{"),
        ("manifest.jsonl", '{"a": 1}\n'),
        ("manifest.jsonl", "[1]\n"),
        ("manifest.jsonl", None),
        ("provenance.json", None),
    ],
)
@each
def test_a_damaged_set_is_a_dataset_error(
    any_toy: Toy, tmp_path: Path, name: str, text: str | None, format_: str
) -> None:
    any_toy(KINDS[format_], labels=True)
    medzoo.generate(901, 2, seed=1, out=tmp_path / "set", format=format_)
    (tmp_path / "set" / name).unlink() if text is None else (tmp_path / "set" / name).write_text(
        text
    )
    with pytest.raises(DatasetError, match=re.escape(str(tmp_path / "set"))):
        medzoo.read(tmp_path / "set")
    with pytest.raises(DatasetError):
        medzoo.generate(901, 3, seed=1, out=tmp_path / "set", format=format_)


def test_a_format_of_a_later_medzoo_is_named(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set")
    path = tmp_path / "set/provenance.json"
    path.write_bytes(
        sealed(
            {k: v for k, v in json.loads(path.read_text()).items() if k != "provenance_sha256"}
            | {"format": "zarr"}
        )
    )
    with pytest.raises(
        DatasetError, match="has the format 'zarr', which this medzoo does not know"
    ):
        medzoo.read(tmp_path / "set")


def test_a_folder_that_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no set of samples"):
        medzoo.read(tmp_path)


def test_the_size_of_a_sample_is_measured(toy: Toy) -> None:
    samples = medzoo.generate(toy(), 8, seed=1)
    assert 300 < bytes_a_sample(samples, "png") < 2000
    assert 64 < bytes_a_sample(samples, "npz") < 2000


PEAK = """
import psutil, sys, threading, time, medzoo
me, peak, base = psutil.Process(), 0, 0
def watch():
    global peak
    while True:
        peak = max(peak, me.memory_info().rss)
        time.sleep(0.002)
out, format, n = sys.argv[1:]
medzoo.generate(901, 8, seed=0, out=out + "warm", format=format)
base = me.memory_info().rss
threading.Thread(target=watch, daemon=True).start()
medzoo.generate(901, int(n), seed=1, out=out, format=format)
print((peak - base) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("format_", [f for f in KINDS if f not in {"csv", "png16"}])
def test_memory_does_not_grow_with_the_number_of_samples(
    any_toy: Toy, tmp_path: Path, format_: str
) -> None:
    boxes = {name: c for name, c in KINDS[format_].items() if name == "boxes"}
    any_toy({"images": column("image", "uint8", 1, 512, 512), **boxes})  # 1 MiB a batch of 4
    grown = {}
    for n in (16, 320):  # 4 and 80 MiB
        said, complaint = python(
            tmp_path, "-c", PEAK, str(tmp_path / f"{n}"), format_, str(n)
        ).communicate()
        assert complaint == ""
        grown[n] = float(said)
    assert grown[320] < grown[16] + 15, grown


@pytest.mark.parametrize("format_", ["csv", "png", "webdataset"])
def test_a_set_whose_label_keys_are_singular_as_they_were_is_read(
    any_toy: Toy, tmp_path: Path, format_: str
) -> None:
    any_toy({"images": IMAGES, "table": TABLE} if format_ == "png" else KINDS[format_], labels=True)
    there = medzoo.generate(901, 6, seed=1, out=tmp_path / "set", format=format_)
    right = {name: np.array(getattr(there, name)) for name in there.columns}
    folder = tmp_path / "set"
    manifest = [
        {("label" if k == "labels" else k): v for k, v in json.loads(line).items()}
        for line in (folder / "manifest.jsonl").read_text().splitlines()
    ]
    if (table := folder / "samples.csv").exists():
        table.write_text(table.read_text().replace("index,labels", "index,label", 1))
        entry = next(e for e in manifest if e["file"] == "samples.csv")
        entry["sha256"] = sha256_of(table)
    (folder / "manifest.jsonl").write_text("".join(json.dumps(e) + "\n" for e in manifest))
    provenance = {k: v for k, v in there.provenance.items() if not k.endswith("_sha256")}
    provenance["manifest_sha256"] = sha256_of(folder / "manifest.jsonl")
    (folder / "provenance.json").write_bytes(sealed(provenance))
    read = medzoo.read(folder)
    assert list(read.columns) == list(right)
    for name, values in right.items():
        assert np.array_equal(getattr(read, name), values)
    assert medzoo.verify(folder).ok
    if table.exists():  # and by name where another program moved the columns
        head, *rows = (line.split(",") for line in table.read_text().splitlines())
        turned = [",".join([line[0], *line[:0:-1]]) for line in (head, *rows)]
        table.write_text("\n".join(turned) + "\n")
        with pytest.warns(MedzooWarning, match=re.escape("samples.csv was changed")):
            assert np.array_equal(medzoo.read(folder).table, right["table"])
