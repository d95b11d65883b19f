"""A set never says that it is what it is not: flipped bits, links, names outside, files of other programs."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sets import ANY_MODEL, CONDITION, IMAGES, KINDS, TABLE, Toy, content, lines, same

import medzoo
from medzoo.cli import main
from medzoo.datasets.journal import (
    JOURNAL,
    RECORD,
    _line,
    entries,
    good_lines,
    read_record,
    sealed,
    unsealed,
)
from medzoo.datasets.paths import is_plain
from medzoo.datasets.reader import finished
from medzoo.errors import DatasetError, MedzooWarning, PackageError

EVERY_BIT = {"png", "csv"}  # formats; of the others, every 16th
each = pytest.mark.parametrize("format_", KINDS)
STOPS = """
        if batch.indices[0] >= 4 and Path({flag!r}).exists():
            raise ArithmeticError("stopped")
"""


@pytest.fixture
def begin(toy: Toy, tmp_path: Path) -> Callable[..., Path]:
    """``begin("png")``: a folder with the first four samples of six; the same six are in ``whole``."""

    def made(format_: str) -> Path:
        columns = KINDS[format_]
        own = {n: (c["dtype"], tuple(c["shape"])) for n, c in columns.items()}
        stops = STOPS.format(flag=str(tmp_path / "stop"))
        head = "def sample(self, batch):"
        code = (
            f"from pathlib import Path\nCOLUMNS = {own!r}\n{ANY_MODEL.replace(head, head + stops)}"
        )
        labels = {"labels": {"kind": "label", "condition": "condition"}}
        outputs = {**columns, **labels}
        toy(code, outputs=outputs, options=None, conditions=CONDITION, batch_size=2)
        medzoo.generate(901, 6, seed=1, format=format_, out=tmp_path / "whole")
        (tmp_path / "stop").touch()
        with pytest.raises(PackageError, match="stopped"):
            medzoo.generate(901, 6, seed=1, format=format_, out=tmp_path / "set")
        (tmp_path / "stop").unlink()
        return tmp_path / "set"

    return made


def flips(data: bytes, step: int) -> Iterator[tuple[int, bytes]]:
    """The data with one bit flipped, for every ``step``-th bit."""
    flipped = bytearray(data)
    for bit in range(0, len(data) * 8, step):
        flipped[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(flipped)
        flipped[bit // 8] ^= 1 << bit % 8


# ------------------------------------------------------------------------------------------------- one flipped bit
@each
def test_a_flipped_bit_of_the_journal_ends_it_before_its_line(
    begin: Callable[..., Path], format_: str
) -> None:
    folder = begin(format_)
    path = folder / JOURNAL
    data, whole = path.read_bytes(), list(entries(folder))
    assert len(whole) == 2
    start = hashlib.sha256((folder / RECORD).read_bytes()).hexdigest()
    for bit, flipped in flips(data, 1 if format_ in EVERY_BIT else 16):
        left = list(good_lines(io.BytesIO(flipped), start))
        assert left == whole[: data[: bit // 8].count(b"\n")]
    path.write_bytes(flipped)
    assert list(entries(folder)) == left


@each
def test_a_run_goes_on_from_a_journal_with_a_flipped_bit_and_the_set_is_right(
    begin: Callable[..., Path], format_: str, tmp_path: Path
) -> None:
    folder = begin(format_)
    data = (folder / JOURNAL).read_bytes()
    digit, name = data.index(b"done") + 7, data.index(b"stretches") + 15
    for bit in (8 * digit + 1, 8 * name + 3, len(data) * 4, len(data) * 8 - 5):
        shutil.copytree(folder, tmp_path / "copy")
        flipped = next(f for b, f in flips(data, 1) if b == bit)
        (tmp_path / "copy" / JOURNAL).write_bytes(flipped)
        medzoo.generate(901, 6, seed=1, format=format_, out=tmp_path / "copy")
        assert same(tmp_path / "whole", tmp_path / "copy") == []
        shutil.rmtree(tmp_path / "copy")


@each
def test_a_flipped_bit_of_the_record_is_an_error(begin: Callable[..., Path], format_: str) -> None:
    folder = begin(format_)
    path = folder / RECORD
    data, step = path.read_bytes(), 1 if format_ in EVERY_BIT else 16
    assert unsealed(data) == read_record(folder)
    assert not [bit for bit, flipped in flips(data, step) if unsealed(flipped) is not None]
    for _, flipped in flips(data, len(data)):
        path.write_bytes(flipped)
        before = content(folder)
        for seed in (1, None):
            with pytest.raises(DatasetError, match=r"(.|\n)*Nothing was changed"):
                medzoo.generate(901, 6, seed=seed, format=format_, out=folder)
        assert content(folder) == before


@each
def test_a_flipped_bit_of_manifest_or_provenance_is_never_ok(
    begin: Callable[..., Path], format_: str, tmp_path: Path
) -> None:
    begin(format_)
    folder, step = tmp_path / "whole", 1 if format_ in EVERY_BIT else 16
    data = (folder / "provenance.json").read_bytes()
    assert not [bit for bit, flipped in flips(data, step) if unsealed(flipped) is not None]
    for name in ("provenance.json", "manifest.jsonl"):
        data = (folder / name).read_bytes()
        for _, flipped in flips(data, 1 + len(data) // 25):  # 200, of every bit of a byte
            (folder / name).write_bytes(flipped)
            with pytest.raises(DatasetError, match="is not as it was written"):
                finished(folder)
        for _, flipped in flips(data, len(data)):
            (folder / name).write_bytes(flipped)
            assert not medzoo.verify(folder).ok
            with pytest.raises(DatasetError, match=name.replace(".", r"\.")):
                medzoo.read(folder)
        (folder / name).write_bytes(data)
    assert medzoo.verify(folder).ok


@pytest.mark.parametrize("change", [{"more": 1}, {"state": None}])
def test_a_line_with_unknown_or_missing_keys_is_a_damaged_one(
    begin: Callable[..., Path], change: dict[str, Any]
) -> None:
    folder = begin("png")
    first = next(entries(folder))[0]
    entry = {k: v for k, v in {**first, **change}.items() if v is not None}
    digest = hashlib.sha256((folder / RECORD).read_bytes()).hexdigest()
    (folder / JOURNAL).write_bytes(_line(first, digest)[0])
    assert len(list(entries(folder))) == 1
    (folder / JOURNAL).write_bytes(_line(entry, digest)[0])
    assert list(entries(folder)) == []


# --------------------------------------------------------------------------------- as many samples as were asked for
def reseal(folder: Path) -> None:
    """Make digests of a set that was changed, as if medzoo had written it so."""
    text = (folder / "manifest.jsonl").read_bytes()
    provenance = json.loads((folder / "provenance.json").read_text())
    del provenance["provenance_sha256"]
    provenance["manifest_sha256"] = hashlib.sha256(text).hexdigest()
    (folder / "provenance.json").write_bytes(sealed(provenance))
    assert finished(folder)


def set_digest(folder: Path, name: str) -> None:
    """Put the digest of a changed file into the manifest."""
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    changed = [{**e, "sha256": digest} if e["file"] == name else e for e in lines(folder)]
    write_lines(folder, changed)


def write_lines(folder: Path, entries: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(e, sort_keys=True, ensure_ascii=False) + "\n" for e in entries)
    (folder / "manifest.jsonl").write_text(text)


@each
def test_a_sealed_set_that_lacks_a_sample_is_not_ok(
    any_toy: Toy, tmp_path: Path, format_: str
) -> None:
    any_toy(KINDS[format_], labels=True)
    folder = tmp_path / "set"
    medzoo.generate(901, 5, seed=1, out=folder, format=format_)
    if format_ == "csv":
        rows = (folder / "samples.csv").read_text().splitlines(keepends=True)
        (folder / "samples.csv").write_text("".join(rows[:3] + rows[4:]))
        set_digest(folder, "samples.csv")
    elif format_ == "npz":
        with np.load(folder / "samples.npz") as columns:
            fewer = {name: np.delete(columns[name], 2, axis=0) for name in columns.files}
        np.savez(folder / "samples.npz", **fewer)
        set_digest(folder, "samples.npz")
    else:
        if format_ in {"coco", "yolo"}:  # their boxes are rows of a table
            rows = (folder / "samples.csv").read_text().splitlines(keepends=True)
            (folder / "samples.csv").write_text("".join(rows[:3] + rows[4:]))
            set_digest(folder, "samples.csv")
        write_lines(folder, [e for e in lines(folder) if e.get("index") != 2])
    reseal(folder)
    report = medzoo.verify(folder)
    assert not report.ok
    assert "4 samples, not the 5 that were asked for, numbers 0 to 4; sample 2 is missing" in str(
        report
    )
    with pytest.raises(DatasetError, match="4 samples, not the 5 that were asked for"):
        medzoo.read(folder)


def test_a_column_that_lacks_a_sample_and_a_sample_given_twice_are_not_ok(
    any_toy: Toy, tmp_path: Path
) -> None:
    any_toy(KINDS["png"])
    medzoo.generate(901, 5, seed=1, out=tmp_path / "set")
    whole = lines(tmp_path / "set")
    for changed in (
        [e for e in whole if (e["index"], e["column"]) != (3, "masks")],
        [{**e, "index": 1} if e["index"] == 2 else e for e in whole],
    ):
        write_lines(tmp_path / "set", changed)
        reseal(tmp_path / "set")
        assert not medzoo.verify(tmp_path / "set").ok
        with pytest.raises(DatasetError, match=r"other samples in masks|not the 5 that"):
            medzoo.read(tmp_path / "set")


def test_a_set_is_not_sealed_with_other_samples_than_were_asked_for(
    begin: Callable[..., Path],
) -> None:
    folder = begin("png")
    (one, _, before), (two, _, _) = entries(folder)
    digest = hashlib.sha256((folder / RECORD).read_bytes()).hexdigest()
    text, checksum = _line(one, digest)
    assert checksum == before
    (folder / JOURNAL).write_bytes(text + _line({**two, "done": 5}, before)[0])
    with pytest.raises(DatasetError, match=r"5 samples, not the 6 .* 4 is missing"):
        medzoo.generate(901, 6, seed=1, format="png", out=folder)
    assert not (folder / "provenance.json").exists()


def test_a_part_that_was_saved_is_verified_by_its_own_numbers(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(toy(), 9, seed=1)[[1, 4, 7]].save(tmp_path / "part")
    assert medzoo.verify(tmp_path / "part").ok
    write_lines(tmp_path / "part", lines(tmp_path / "part")[:2])
    reseal(tmp_path / "part")
    assert not medzoo.verify(tmp_path / "part").ok


# ------------------------------------------------------------------------------------------------ names and links
OUTSIDE = ["../secret", "/etc/hostname", "images/../../secret", "C:/secret", "images\\..\\secret"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_journal_that_names_a_file_outside_is_refused(
    begin: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    folder = begin("csv")
    (tmp_path / "secret").write_text("secret")
    before = hashlib.sha256((folder / RECORD).read_bytes()).hexdigest()
    entry = {"done": 2, "state": {}, "stretches": [[name, 0, 0, 0]]}
    (folder / JOURNAL).write_bytes(_line(entry, before)[0])
    with pytest.raises(DatasetError, match="not inside the folder"):
        medzoo.generate(901, 6, seed=1, format="csv", out=folder)
    assert (tmp_path / "secret").read_text() == "secret"


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_manifest_that_names_a_file_outside_is_refused(
    toy: Toy, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "set"
    medzoo.generate(toy(), 2, seed=1, out=folder)
    (tmp_path / "secret").write_bytes((folder / lines(folder)[0]["file"]).read_bytes())
    write_lines(folder, [{**lines(folder)[0], "file": name}, lines(folder)[1]])
    reseal(folder)
    assert medzoo.verify(folder).changed == (name,)
    with pytest.raises(DatasetError, match="not inside the folder"):
        medzoo.read(folder).images[0]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("linked", ["samples.csv", "run.log", ".unfinished/lock", JOURNAL, "more"])
def test_a_link_in_an_unfinished_set_is_neither_followed_nor_overwritten(
    begin: Callable[..., Path], tmp_path: Path, linked: str
) -> None:
    folder = begin("csv")
    (tmp_path / "outside").write_text("of somebody else\n" * 99)
    (folder / linked).unlink(missing_ok=True)
    (folder / linked).symlink_to(tmp_path / "outside")
    with pytest.raises(DatasetError, match=r"is a link, and links inside a set .* not followed"):
        medzoo.generate(901, 6, seed=1, format="csv", out=folder)
    assert (tmp_path / "outside").read_text() == "of somebody else\n" * 99


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("linked", ["images", "images/000001_malignant.png", "manifest.jsonl"])
def test_a_link_in_a_finished_set_is_not_followed(toy: Toy, tmp_path: Path, linked: str) -> None:
    folder = tmp_path / "set"
    medzoo.generate(toy(), 2, seed=1, out=folder)
    (folder / linked).rename(tmp_path / "outside")
    (folder / linked).symlink_to(tmp_path / "outside")
    with pytest.raises(DatasetError, match="is a link"):
        medzoo.read(folder).images[1]
    if linked == "manifest.jsonl":
        with pytest.raises(DatasetError, match="is a link"):
            medzoo.verify(folder)
    else:
        assert not medzoo.verify(folder).ok


# ------------------------------------------------------------------------------- what a user holds stays what it was
@pytest.mark.parametrize("format_", ["png", "webdataset", "npz", "csv"])
def test_a_relative_folder_is_the_one_it_was_when_it_was_given(
    any_toy: Toy, tmp_path: Path, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_toy(KINDS[format_])
    jobs = {}
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        monkeypatch.chdir(tmp_path / str(seed))
        jobs[seed] = medzoo.generate(901, 4, seed=seed, format=format_, out="synthetic")
    for seed, samples in jobs.items():
        right = medzoo.generate(901, 4, seed=seed)
        for name in samples.columns:
            assert np.array_equal(getattr(samples, name)[:], getattr(right, name))


def test_a_relative_package_is_the_one_it_was_when_it_was_given(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()
    for value in (1, 2):
        (tmp_path / str(value)).mkdir()
        monkeypatch.chdir(tmp_path / str(value))
        medzoo.copy(901, "mine")
        code = Path("mine/model.py").read_text()
        Path("mine/model.py").write_text(
            code.replace("return {", f"images[:] = {value}; return {{")
        )
        if value == 1:
            loader = medzoo.dataloader("mine", n=4, batch_size=4, seed=1, trust=True)
            samples = medzoo.generate("mine", 1, seed=1, trust=True)
    assert np.unique(samples.images) == [1]
    assert float(next(iter(loader))["images"].max()) * 255 == pytest.approx(1)


@pytest.mark.parametrize("format_", ["png", "png16", "nifti", "dicom", "csv", "webdataset"])
def test_a_set_that_was_replaced_is_an_error_for_who_holds_the_old_one(
    any_toy: Toy, tmp_path: Path, format_: str
) -> None:
    any_toy(KINDS[format_])
    asked = {"n": 4, "format": format_, "out": tmp_path / "set"}
    old = medzoo.generate(901, seed=1, **asked)
    shutil.rmtree(tmp_path / "set")
    new = medzoo.generate(901, seed=2, **asked)
    for name in old.columns:
        with pytest.raises(DatasetError, match="was replaced or edited since"):
            np.asarray(getattr(old, name)[:])
        right = getattr(medzoo.generate(901, 4, seed=2), name)
        assert np.abs(getattr(new, name) - right).max() < 1e-4  # a step of png16


def test_of_arrays_that_were_replaced_the_old_ones_stay(any_toy: Toy, tmp_path: Path) -> None:
    any_toy(KINDS["npz"])
    asked = {"n": 4, "format": "npz", "out": tmp_path / "set"}
    old = medzoo.generate(901, seed=1, **asked)
    shutil.rmtree(tmp_path / "set")
    medzoo.generate(901, seed=2, **asked)
    assert np.array_equal(old.volumes, medzoo.generate(901, 4, seed=1).volumes)


def test_a_set_that_was_only_copied_back_is_still_the_same(toy: Toy, tmp_path: Path) -> None:
    samples = medzoo.generate(toy(), 4, seed=1, out=tmp_path / "set")
    shutil.copytree(tmp_path / "set", tmp_path / "copy")
    shutil.rmtree(tmp_path / "set")
    (tmp_path / "copy").rename(tmp_path / "set")
    assert np.array_equal(samples.images, medzoo.generate(901, 4, seed=1).images)


@pytest.mark.parametrize("format_", ["png", "nifti", "dicom", "webdataset"])
def test_a_file_that_was_edited_is_an_error_when_it_is_read(
    any_toy: Toy, tmp_path: Path, format_: str
) -> None:
    any_toy(KINDS[format_])
    samples = medzoo.generate(901, 4, seed=1, format=format_, out=tmp_path / "set")
    first, other = (next(e for e in lines(tmp_path / "set") if e.get("index") == i) for i in (0, 3))
    if first["file"] != other["file"]:  # another picture under its name
        shutil.copy(tmp_path / "set" / other["file"], tmp_path / "set" / first["file"])
    else:
        data = bytearray((tmp_path / "set" / first["file"]).read_bytes())
        data[first["offset"] + first["bytes"] // 2] ^= 1
        (tmp_path / "set" / first["file"]).write_bytes(data)
    column = samples.columns[first.get("column", "images")]
    with pytest.raises(DatasetError, match="not as it was written"):
        np.asarray(column[0:1])
    assert len(np.asarray(column[1:3])) == 2


# ----------------------------------------------------------------------------------------------------- samples.csv
@pytest.fixture
def table(any_toy: Toy, tmp_path: Path) -> tuple[Path, medzoo.Samples]:
    """A set of six rows, and what is in it."""
    any_toy({"table": TABLE}, labels=True)
    medzoo.generate(901, 6, seed=1, out=tmp_path / "set")
    return tmp_path / "set", medzoo.generate(901, 6, seed=1)


def test_a_csv_is_read_by_its_head_and_the_user_hears_that_it_was_changed(
    table: tuple[Path, medzoo.Samples],
) -> None:
    folder, right = table
    rows = pd.read_csv(folder / "samples.csv", dtype=str)
    rows[["c", "index", "b", "labels", "a"]].to_csv(folder / "samples.csv", index=False)
    with pytest.warns(MedzooWarning, match=r"samples\.csv was changed since it was written"):
        samples = medzoo.read(folder)
    assert np.array_equal(samples.table[:], right.table)
    assert np.array_equal(samples.labels, right.labels)
    assert medzoo.verify(folder).changed == ("samples.csv",)


def test_a_csv_that_is_edited_after_it_was_read_is_an_error(
    table: tuple[Path, medzoo.Samples],
) -> None:
    folder, _ = table
    samples = medzoo.read(folder)
    text = (folder / "samples.csv").read_text()
    (folder / "samples.csv").write_text(text.replace("0.", "1.", 1))
    with pytest.raises(DatasetError, match="was replaced or edited since"):
        samples.table[0]


CHANGED_TABLES: dict[str, tuple[Callable[[pd.DataFrame, Path], None], str]] = {
    "a row deleted": (
        lambda t, p: t[t["index"] != "2"].to_csv(p, index=False),
        "5 samples, not the 6 that were asked for, numbers 0 to 5; sample 2 is missing",
    ),
    "a row twice": (
        lambda t, p: pd.concat([t, t[:1]]).to_csv(p, index=False),
        "7 samples, not the 6",
    ),
    "rows in another order": (
        lambda t, p: t[::-1].to_csv(p, index=False),
        "in another order than they were written",
    ),
    "a column renamed": (
        lambda t, p: t.rename(columns={"b": "b (mm)"}).to_csv(p, index=False),
        "no column 'b'",
    ),
    "a column twice": (
        lambda t, p: t.rename(columns={"b": "a"}).to_csv(p, index=False),
        "several columns 'a'",
    ),
    "Excel, byte order mark": (
        lambda t, p: t.to_csv(p, index=False, encoding="utf-8-sig"),
        "byte order mark, as Excel",
    ),
    "Excel, UTF-16": (
        lambda t, p: t.to_csv(p, index=False, encoding="utf-16"),
        "UTF-16 text, as Excel",
    ),
    "Excel, semicolons": (
        lambda t, p: t.to_csv(p, index=False, sep=";"),
        "separated by semicolons, as Excel",
    ),
    "Excel, tabs": (lambda t, p: t.to_csv(p, index=False, sep="\t"), "separated by tabs"),
    "R, row names and quotes": (
        lambda t, p: t.to_csv(p, index=True, quoting=csv.QUOTE_ALL),
        "row names, as write.csv of R",
    ),
    "a value that is no number": (
        lambda t, p: t.replace({"b": {t["b"][0]: "NA?"}}).to_csv(p, index=False),
        "could not convert string",
    ),
    "a label that is none": (
        lambda t, p: t.replace({"labels": {"benign": "Benign!"}}).to_csv(p, index=False),
        "invalid literal",
    ),
    "a pointer of Git LFS": (
        lambda t, p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "pointer of Git LFS",
    ),
    "a web page": (lambda t, p: p.write_text("<!DOCTYPE html><html></html>"), "a web page"),
    "nothing": (lambda t, p: p.write_text(""), "it is empty"),
}


@pytest.mark.filterwarnings("ignore:.*was changed since it was written")
@pytest.mark.parametrize("what", CHANGED_TABLES)
def test_a_csv_that_another_program_saved_is_named_as_what_it_is(
    table: tuple[Path, medzoo.Samples], what: str
) -> None:
    folder, _ = table
    change, says = CHANGED_TABLES[what]
    change(pd.read_csv(folder / "samples.csv", dtype=str), folder / "samples.csv")
    with pytest.raises(DatasetError) as error:
        np.asarray(medzoo.read(folder).table)
    assert says in str(error.value)
    assert not medzoo.verify(folder).ok


def test_a_csv_with_quotes_and_other_line_ends_is_read(table: tuple[Path, medzoo.Samples]) -> None:
    folder, right = table
    rows = pd.read_csv(folder / "samples.csv", dtype=str)
    how: dict[str, Any] = {"quoting": csv.QUOTE_ALL, "lineterminator": "\r\n"}
    rows.to_csv(folder / "samples.csv", index=False, **how)
    with pytest.warns(MedzooWarning, match="was changed"):
        assert np.array_equal(medzoo.read(folder).table[:], right.table)


def test_a_table_beside_pictures_has_the_rows_of_the_pictures(any_toy: Toy, tmp_path: Path) -> None:
    any_toy({"images": IMAGES, "table": TABLE})
    medzoo.generate(901, 6, seed=1, out=tmp_path / "set")
    path = tmp_path / "set/samples.csv"
    pd.read_csv(path, dtype=str)[::-1].to_csv(path, index=False)
    with (
        pytest.warns(MedzooWarning, match="was changed"),
        pytest.raises(DatasetError, match="its rows are not those of the samples"),
    ):
        medzoo.read(tmp_path / "set")


@pytest.mark.parametrize("format_", ["png", "npz", "webdataset"])
def test_a_pointer_of_git_lfs_is_named_as_one(any_toy: Toy, tmp_path: Path, format_: str) -> None:
    any_toy(KINDS[format_])
    medzoo.generate(901, 3, seed=1, format=format_, out=tmp_path / "set")
    name = next(e["file"] for e in lines(tmp_path / "set"))
    (tmp_path / "set" / name).write_text("version https://git-lfs.github.com/spec/v1\noid 0\n")
    with pytest.raises(DatasetError, match="pointer of Git LFS"):
        getattr(medzoo.read(tmp_path / "set"), next(iter(KINDS[format_])))


# ------------------------------------------------------------------------------------- what else lies in the folder
BESIDE = [
    ".ipynb_checkpoints/samples-checkpoint.csv",
    "images/.ipynb_checkpoints/x.png",
    "@eaDir/images/SYNO@.fileindexdb",
    "#recycle/old.png",
    ".dvc/config",
    "images.dvc",
    ".git/HEAD",
    ".gitattributes",
    ".gitignore",
    "~$samples.csv",
    ".~lock.samples.csv#",
    "images/.nfs000000000000001",
    ".directory",
    ".Spotlight-V100/x",
    "README.md",
    "LICENSE",
    "manifest.jsonl~",
    ".manifest.jsonl.swp",
]


def test_what_well_known_programs_leave_beside_a_set_is_ignored(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set")
    for name in BESIDE:
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_text("x")
    report = medzoo.verify(tmp_path / "set")
    assert report.ok
    assert report.extra == ()
    assert str(report).endswith("2 files, all as they were written.")


def test_other_files_are_named_and_do_not_matter(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set")
    for name in ("notes.txt", "images/README.md", "images/other.png"):
        (tmp_path / "set" / name).write_text("x")
    assert main(["verify", str(tmp_path / "set")]) == 0
    said = capsys.readouterr().out
    assert (
        "all as they were written.\n3 extra: images/README.md, images/other.png, notes.txt\n"
        in said
    )


def test_a_folder_with_pages_and_version_control_alone_is_new(toy: Toy, tmp_path: Path) -> None:
    for name in (".gitattributes", "README.md", ".dvc/config"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_text("x")
    assert len(medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set")) == 2


def test_line_ends_that_git_changed_are_named(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    medzoo.generate(toy(), 3, seed=1, out=tmp_path / "repository/set")

    def git(*arguments: str, folder: str = "repository") -> None:
        name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", *name, "-C", str(tmp_path / folder), *arguments]
        subprocess.run(command, check=True, capture_output=True)

    git("init", "-q", ".")
    git("add", "-A")
    git("commit", "-qm", "set")
    git("clone", "-q", "-c", "core.autocrlf=true", "repository", "clone", folder=".")
    assert b"\r\n" in (tmp_path / "clone/set/manifest.jsonl").read_bytes()
    assert main(["verify", str(tmp_path / "clone/set")]) == 9
    assert "Its line ends were changed, as git does" in capsys.readouterr().out
    with pytest.raises(DatasetError, match="Its line ends were changed, as git does"):
        medzoo.read(tmp_path / "clone/set")
    # What the message tells to do helps.
    (tmp_path / "repository/set/.gitattributes").write_text("* -text\n")
    git("add", "-A")
    git("commit", "-qm", "attributes")
    git("clone", "-q", "-c", "core.autocrlf=true", "repository", "again", folder=".")
    assert medzoo.verify(tmp_path / "again/set").ok


@pytest.mark.parametrize("name", ["a", "a/b.png", "./a", "a//b", "images/a..b"])
def test_names_below_the_folder_are_plain(name: str) -> None:
    assert is_plain(name)


@pytest.mark.parametrize(
    "name", ["", ".", "./", "..", "a/../b", "/a", "C:a", "C:\\a", "a\\b", "a\0b", None, 7]
)
def test_names_that_lead_elsewhere_or_nowhere_are_not_plain(name: object) -> None:
    assert not is_plain(name)


def test_a_check_reads_the_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    medzoo.generate(109, 3, seed=0, out=tmp_path / "set", progress=False)
    folders = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: folders.append(str(path)) or scan(path))
    assert medzoo.verify(tmp_path / "set").ok
    assert len(folders) == len(set(folders))
