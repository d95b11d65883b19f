"""A finished set grows: the same command with a larger ``n`` adds the rest."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import NUMPY_MODEL
from sets import IMAGES, KINDS, TABLE, Toy, content, lines, same
from test_resume import killed

import medzoo
from medzoo.cli import main
from medzoo.config import Version
from medzoo.datasets import growth, webdataset
from medzoo.errors import DatasetError, InputError, MedzooWarning, PackageError

posix = pytest.mark.skipif(os.name == "nt", reason="no fork and no SIGKILL there")
each = pytest.mark.parametrize("format_", KINDS)


# --------------------------------------------------------------------------------- the same as a set made at once
@each
@pytest.mark.parametrize("n", [3, 8, 10])  # less than a batch of 4, whole batches, a part of one
def test_a_set_that_has_grown_is_the_one_made_at_once(
    any_toy: Toy, tmp_path: Path, format_: str, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webdataset, "SHARD", 5000)
    any_toy(KINDS[format_], labels=True)
    asked = {"seed": 1, "format": format_}
    medzoo.generate(901, 14, out=tmp_path / "whole", **asked)
    medzoo.generate(901, n, out=tmp_path / "set", **asked)
    grown = medzoo.generate(901, 14, out=tmp_path / "set", **asked)
    assert len(grown) == 14
    assert same(tmp_path / "whole", tmp_path / "set") == []
    assert medzoo.verify(tmp_path / "set").ok


def test_a_set_grows_again_and_again_and_keeps_the_files_it_has(
    any_toy: Toy, tmp_path: Path
) -> None:
    any_toy({"images": IMAGES, "table": TABLE}, labels=True)
    for n in (4, 9, 10, 30):
        medzoo.generate(901, n, seed=1, out=tmp_path / "set")
        times = {k: v[1] for k, v in content(tmp_path / "set/images").items()}
        if n == 4:
            first = times
    medzoo.generate(901, 30, seed=1, out=tmp_path / "whole")
    assert same(tmp_path / "whole", tmp_path / "set") == []
    assert first.items() <= times.items()
    assert medzoo.reproduce(tmp_path / "set").equal


@each
def test_samples_that_were_read_before_a_set_grew_are_still_right(
    any_toy: Toy, tmp_path: Path, format_: str
) -> None:
    any_toy(KINDS[format_])
    small = medzoo.generate(901, 6, seed=1, out=tmp_path / "set", format=format_)
    large = medzoo.generate(901, 9, seed=1, out=tmp_path / "set", format=format_)
    for name in small.columns:
        assert np.array_equal(getattr(small, name), getattr(large, name)[:6])


def test_without_a_seed_the_set_grows_by_its_own(toy: Toy, tmp_path: Path) -> None:
    seed = medzoo.generate(toy(), 3, out=tmp_path / "set").provenance["seed"]
    assert medzoo.generate(901, 9, out=tmp_path / "set").provenance["seed"] == seed


def test_a_list_of_conditions_grows_at_its_end(toy: Toy, tmp_path: Path) -> None:
    names = ["malignant", "benign", "benign", "malignant", "malignant", "benign", "benign"]
    medzoo.generate(toy(), 7, seed=1, condition=names, out=tmp_path / "whole")
    medzoo.generate(901, 5, seed=1, condition=names[:5], out=tmp_path / "set")
    others = ["benign", *names[1:]]
    with pytest.raises(DatasetError, match=re.escape("condition[0] 'malignant', now 'benign'")):
        medzoo.generate(901, 7, seed=1, condition=others, out=tmp_path / "set")
    medzoo.generate(901, 7, seed=1, condition=names, out=tmp_path / "set")
    assert same(tmp_path / "whole", tmp_path / "set") == []


ARRANGED: list[dict[str, Any]] = [
    {"format": "png", "layout": "classes"},
    {"format": "nifti"},
    {"format": "dicom", "layout": "classes"},
    {"format": "csv"},
    {"format": "webdataset", "shard_samples": 3},
    {"format": "webdataset", "shard_size": "9kB"},
]


@pytest.mark.parametrize("how", ARRANGED, ids=lambda how: "-".join(map(str, how.values())))
@pytest.mark.parametrize("listed", [True, False])
def test_a_later_part_of_a_run_in_any_arrangement_grows_as_if_made_at_once(
    any_toy: Toy, tmp_path: Path, how: dict[str, Any], listed: bool
) -> None:
    """Names of files, rows beside them and identifiers are those of a set made at once."""
    any_toy(KINDS[how["format"]], labels=True)

    def made(n: int, folder: str) -> medzoo.Samples:
        names = ["malignant", "benign", "benign", "malignant", "benign", "malignant", "benign"]
        more = {"condition": (2 * names)[:n]} if listed else {}
        return medzoo.generate(901, n, seed=1, first=5, out=tmp_path / folder, **how, **more)

    made(11, "whole")
    for n in (4, 6, 11):
        grown = made(n, "set")
    assert same(tmp_path / "whole", tmp_path / "set") == []
    assert medzoo.verify(tmp_path / "set").ok
    if (rows := tmp_path / "set/metadata.jsonl").exists():
        found = [json.loads(row) for row in rows.read_text(encoding="utf-8").splitlines()]
        names = ["benign", "malignant"]
        assert [row["index"] for row in found] == list(range(5, 16))
        assert [row["labels"] for row in found] == [names[k] for k in grown.labels]
    part = grown[3:9].save(tmp_path / "part")
    for name in grown.columns:
        assert np.array_equal(getattr(part, name), getattr(grown, name)[3:9])


def test_the_log_and_the_command_say_that_it_grew(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["generate", str(toy()), "--seed", "1", "--out", str(tmp_path / "set")]
    assert main([*command, "-n", "3"]) == 0
    assert main([*command, "-n", "5"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("5 samples of")
    assert "finished before" not in said
    log = (tmp_path / "set/run.log").read_text().splitlines()
    assert log[2].endswith("5 samples, of 3 that were there")


# ------------------------------------------------------------------------------------------------------- refused
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n": 5}, "n 8, now 5"),
        ({"seed": 2}, "seed 1, now 2"),
        ({"condition": "benign"}, "options.condition None, now 'benign'"),
        ({"gain": 5}, "options.gain 3, now 5"),
        ({"format": "npz"}, "format 'png', now 'npz'"),
        ({"first": 1}, "first None, now 1"),
    ],
)
def test_fewer_samples_or_others_are_refused(
    toy: Toy, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    asked = {"n": 8, "seed": 1, "out": tmp_path / "set"}
    medzoo.generate(toy(), **asked)
    before = content(tmp_path / "set")
    with pytest.raises(DatasetError, match=re.escape(f"another set of samples: {says}.")) as error:
        medzoo.generate(901, **{**asked, "n": 12, **changes})
    assert "Nothing was changed" in str(error.value)
    assert (f"medzoo.read('{tmp_path}/set')[:5]" in str(error.value)) is ("n" in changes)
    assert content(tmp_path / "set") == before


def test_samples_saved_from_memory_do_not_grow(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(toy(), 4, seed=1).save(tmp_path / "set")
    with pytest.raises(DatasetError, match="cannot grow: it was saved from memory"):
        medzoo.generate(901, 8, seed=1, out=tmp_path / "set")
    assert medzoo.verify(tmp_path / "set").ok


def test_where_samples_depend_on_the_batch_only_whole_batches_grow(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Version, "per_sample", property(lambda self: False))
    medzoo.generate(toy(), 6, seed=1, out=tmp_path / "part")
    with pytest.raises(DatasetError, match="its last batch is not full, and what the model makes"):
        medzoo.generate(901, 12, seed=1, out=tmp_path / "part")
    medzoo.generate(901, 8, seed=1, out=tmp_path / "set")
    medzoo.generate(901, 12, seed=1, out=tmp_path / "set")
    medzoo.generate(901, 12, seed=1, out=tmp_path / "whole")
    assert same(tmp_path / "whole", tmp_path / "set") == []


@pytest.mark.parametrize("format_", ["csv", "npz", "webdataset"])
def test_a_damaged_file_is_not_copied_into_a_larger_one(
    any_toy: Toy, tmp_path: Path, format_: str
) -> None:
    any_toy(KINDS[format_])
    medzoo.generate(901, 10, seed=1, out=tmp_path / "set", format=format_)
    path = tmp_path / "set" / next(e["file"] for e in lines(tmp_path / "set") if "samples" in e)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"cannot grow: .* is not as it was written"):
        medzoo.generate(901, 14, seed=1, out=tmp_path / "set", format=format_)
    assert path.read_bytes() == data


# ------------------------------------------------------------------------------------------------------- stopped
def test_while_it_grows_the_old_set_is_whole_and_verify_says_unfinished(
    fails: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    old = medzoo.generate(901, 6, seed=1, out=folder).images[:]
    before = content(folder, "run.log")
    (fails / "fail").touch()
    with pytest.raises(PackageError):
        medzoo.generate(901, 20, seed=1, out=folder)
    (fails / "fail").unlink()
    assert {k: v for k, v in content(folder, "run.log").items() if k in before} == before
    assert np.array_equal(medzoo.read(folder).images, old)
    assert np.array_equal(medzoo.generate(901, 6, seed=1, out=folder).images, old)
    with pytest.raises(
        DatasetError, match=r"is unfinished: the set is being extended, 8 of 20 samples"
    ):
        medzoo.verify(folder)
    assert main(["verify", str(folder)]) == 9
    assert "unfinished" in capsys.readouterr().err
    with pytest.raises(DatasetError, match="an unfinished set of other samples: n 20, now 30"):
        medzoo.generate(901, 30, seed=1, out=folder)
    medzoo.generate(901, 20, seed=1, out=folder)
    medzoo.generate(901, 20, seed=1, out=tmp_path / "whole")
    assert same(tmp_path / "whole", folder) == []
    assert medzoo.verify(folder).ok


@pytest.mark.parametrize("lost", ["journal", "picture", "manifest"])
def test_what_was_damaged_while_it_grew_is_made_again(
    fails: Path, tmp_path: Path, lost: str
) -> None:
    folder = tmp_path / "set"
    medzoo.generate(901, 4, seed=1, out=folder)
    (fails / "fail").touch()
    with pytest.raises(PackageError):
        medzoo.generate(901, 20, seed=1, out=folder)
    (fails / "fail").unlink()
    place = growth.growing(folder)
    assert place is not None
    names = {"journal": ".unfinished/journal.jsonl", "manifest": "manifest.jsonl"}
    next(place.glob(names.get(lost, "images/000005*"))).unlink()
    medzoo.generate(901, 20, seed=1, out=folder)
    medzoo.generate(901, 20, seed=1, out=tmp_path / "whole")
    assert same(tmp_path / "whole", folder) == []


def test_other_circumstances_are_recorded_from_where_on_they_hold(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    medzoo.generate(toy(), 6, seed=1, out=tmp_path / "set")
    monkeypatch.setattr("medzoo.generation.run.__version__", "9.9")
    with pytest.warns(MedzooWarning, match=r"started under other conditions \(libraries\)"):
        grown = medzoo.generate(901, 12, seed=1, out=tmp_path / "set")
    assert grown.provenance["continued"] == [{"done": 4, "libraries": {"medzoo": "9.9"}}]
    assert medzoo.verify(tmp_path / "set").ok


@pytest.mark.parametrize("format_", ["png", "npz", "webdataset"])
def test_samples_that_differ_in_a_full_batch_are_named(
    toy: Toy, tmp_path: Path, format_: str
) -> None:
    last_bit = 'images[batch.indices == 5] ^= batch.n == 4\n        return {"images"'
    toy(NUMPY_MODEL.replace('return {"images"', last_bit))
    medzoo.generate(901, 6, seed=1, format=format_, out=tmp_path / "set")
    with pytest.warns(MedzooWarning, match="Samples 5 to 5 were made again in a larger batch"):
        medzoo.generate(901, 9, seed=1, format=format_, out=tmp_path / "set")
    medzoo.generate(901, 9, seed=1, format=format_, out=tmp_path / "whole")
    assert same(tmp_path / "whole", tmp_path / "set") == []


@posix
@pytest.mark.parametrize("format_", ["png", "npz"])
def test_a_kill_while_a_set_grows_loses_nothing(any_toy: Toy, tmp_path: Path, format_: str) -> None:
    any_toy(KINDS[format_], labels=True)
    asked = {"model_id": 901, "n": 7, "batch_size": 2, "format": format_}
    report = killed(tmp_path, asked=asked, grows=3, every=30)
    assert report["differs"] == {}
    assert report["kills"] >= report["instants"] // 30
    assert "growing" in report["states"]


@posix
@pytest.mark.slow
@each
def test_a_kill_at_any_instant_while_a_set_grows_loses_nothing(
    any_toy: Toy, tmp_path: Path, format_: str
) -> None:
    any_toy(KINDS[format_], labels=True)
    asked = {"model_id": 901, "n": 7, "batch_size": 2, "format": format_}
    every = 5 if format_ in {"nifti", "dicom"} else 1
    report = killed(tmp_path, asked=asked, grows=3, every=every, chains=2, shard=5000)
    assert report["differs"] == {}
    assert report["states"] == ["growing", "moving"]


def test_a_run_that_was_killed_while_moving_is_completed_without_the_model(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    medzoo.generate(toy(), 4, seed=1, out=folder)
    moved = []

    def half(place: Path, into: Path) -> None:
        moved.append(place)
        (place / "manifest.jsonl").replace(into / "manifest.jsonl")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(growth, "move", half)
        with pytest.raises(KeyboardInterrupt):
            medzoo.generate(901, 9, seed=1, out=folder)
    for function in (medzoo.read, medzoo.verify, medzoo.reproduce):
        with pytest.raises(DatasetError, match=r"is being extended, all of 9 samples are there"):
            function(folder)
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.setattr("medzoo.generation.run.open_session", lambda *_, **__: 1 / 0)
    assert len(medzoo.generate(901, 9, seed=1, out=folder)) == 9
    assert medzoo.verify(folder).ok
    # The old command completes it too, and then says that it holds more.
    with pytest.raises(DatasetError, match="n 9, now 4"):
        medzoo.generate(901, 4, seed=1, out=tmp_path / "copy")
    assert medzoo.verify(tmp_path / "copy").ok
    assert not (folder / ".unfinished").exists()


# --------------------------------------------------------------------------------------------------------- first
def test_first_is_an_argument_of_generate_stream_and_the_command(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = medzoo.generate(toy(), 12, seed=1)
    part = medzoo.generate(901, 5, seed=1, first=6, out=tmp_path / "part")
    assert part.indices.tolist() == [6, 7, 8, 9, 10]
    assert np.array_equal(part.images, whole.images[6:11])
    assert np.array_equal(part.labels, whole.labels[6:11])
    assert part.provenance["first"] == 6
    batches = list(medzoo.stream(901, 5, seed=1, first=6, batch_size=2))
    assert np.array_equal(np.concatenate([b.images for b in batches]), whole.images[6:11])
    command = ["generate", "901", "-n", "5", "--first", "6", "--seed", "1", "--quiet", "--out"]
    assert main([*command, str(tmp_path / "command")]) == 0
    assert same(tmp_path / "part", tmp_path / "command") == []
    assert medzoo.verify(tmp_path / "part").ok
    assert medzoo.reproduce(tmp_path / "part").equal
    grown = medzoo.generate(901, 6, seed=1, first=6, out=tmp_path / "part")
    assert np.array_equal(grown.images, whole.images[6:])
    assert main([*command[:5], "-1", *command[6:], str(tmp_path / "x")]) == 2
    assert "first=-1 is not a sample number" in capsys.readouterr().err


@pytest.mark.parametrize("first", [-1, True, 1.5, "2", None])
def test_what_is_not_a_sample_number_is_refused_before_the_model_loads(
    toy: Toy, first: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()
    monkeypatch.setattr("medzoo.generation.run.open_session", lambda *_, **__: 1 / 0)
    for function in (medzoo.generate, medzoo.stream):
        with pytest.raises(InputError, match=re.escape(f"first={first!r} is not a sample number")):
            function(901, 3, first=first)


def test_what_the_manifest_states_of_a_grown_set_is_what_was_asked(
    toy: Toy, tmp_path: Path
) -> None:
    medzoo.generate(toy(), 4, seed=1, out=tmp_path / "set")
    medzoo.generate(901, 9, seed=1, out=tmp_path / "set")
    assert [e["index"] for e in lines(tmp_path / "set")] == list(range(9))
    assert json.loads((tmp_path / "set/provenance.json").read_text())["n"] == 9
