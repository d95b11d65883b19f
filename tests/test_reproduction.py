"""Is a set as it was written, and can it be made again?"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import MATRIX, NUMPY_MODEL
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sets import IMAGES, KINDS, SECONDS, Toy, column, content, lines, python

import medzoo
from medzoo.cli import main
from medzoo.datasets import webdataset
from medzoo.datasets.journal import JOURNAL, RECORD
from medzoo.datasets.png import Png
from medzoo.datasets.reader import finished
from medzoo.errors import DatasetError, InputError, MedzooWarning, PackageError
from medzoo.generation import run as run_module

each = pytest.mark.parametrize("format_", KINDS)
Capture = pytest.CaptureFixture[str]


@each
def test_a_set_as_it_was_written(any_toy: Toy, tmp_path: Path, format_: str) -> None:
    any_toy(KINDS[format_], labels=True)
    medzoo.generate(901, 7, seed=1, out=tmp_path / "set", format=format_)
    before = content(tmp_path / "set")
    found = medzoo.verify(tmp_path / "set")
    assert found.ok
    assert found.files == len(before) - 3
    assert str(found).endswith("all as they were written.")
    assert content(tmp_path / "set") == before


@each
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_changed_byte_of_any_file_is_named(
    any_toy: Toy, tmp_path: Path, format_: str, data: st.DataObject
) -> None:
    folder = tmp_path / "set"
    if not folder.exists():
        any_toy(KINDS[format_], labels=True)
        medzoo.generate(901, 5, seed=1, out=folder, format=format_)
    name = data.draw(st.sampled_from(sorted({e["file"] for e in lines(folder)})))
    whole = (folder / name).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    (folder / name).write_bytes(
        whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :]
    )
    found = medzoo.verify(folder)
    (folder / name).write_bytes(whole)
    assert (found.missing, found.extra) == ((), ())
    assert [c.split(" (")[0] for c in found.changed] == [name]
    assert not found.ok
    assert name in str(found)


def test_what_is_missing_and_what_is_extra_is_named(toy: Toy, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    medzoo.generate(toy(), 30, seed=1, out=folder)
    for i in range(7):
        (folder / lines(folder)[i]["file"]).unlink()
    (folder / "images/mine.png").write_bytes(b"")
    (folder / "notes").mkdir()
    (folder / "notes/a.txt").write_text("a")
    found = medzoo.verify(folder)
    assert found.missing == tuple(e["file"] for e in lines(folder)[:7])
    assert found.extra == ("images/mine.png", "notes/a.txt")
    assert found.changed == ()
    assert "7 missing: images/000000_benign.png, " in str(found)
    assert " and 2 more" in str(found)


def test_a_changed_manifest_is_named_beside_what_it_still_tells(toy: Toy, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    medzoo.generate(toy(), 3, seed=1, out=folder)
    first, *others = (folder / "manifest.jsonl").read_text().splitlines()
    (folder / "manifest.jsonl").write_text("\n".join([*others, "{", "[1]", '{"file": 3}']))
    found = medzoo.verify(folder)
    assert found.changed == ("manifest.jsonl",)
    assert found.extra == (json.loads(first)["file"],)


def test_of_a_changed_shard_the_samples_are_named(
    any_toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webdataset, "SHARD", 10_000)
    any_toy({"images": IMAGES})
    medzoo.generate(901, 20, seed=1, out=tmp_path / "set", format="webdataset")
    first, *_, last = (e for e in lines(tmp_path / "set") if "offset" in e)
    assert first["file"] != last["file"]
    damage_shard(tmp_path / "set", 1, last["index"])
    found = medzoo.verify(tmp_path / "set")
    assert found.changed == (first["file"], last["file"])
    assert found.samples == (1, last["index"])
    assert str(found).endswith(f"\n2 changed: {first['file']}, {last['file']}\nsamples: 1, 19")
    damage_shard(tmp_path / "set", *range(2, 6))
    assert str(medzoo.verify(tmp_path / "set")).endswith("\nsamples: 1, 2, 3, 4, 5 and 1 more")
    (tmp_path / "set" / last["file"]).unlink()
    assert medzoo.verify(tmp_path / "set").samples[-1] == 19


def damage_shard(folder: Path, *indices: int) -> None:
    for entry in (e for e in lines(folder) if e.get("index") in indices):
        path = folder / entry["file"]
        whole = bytearray(path.read_bytes())
        whole[entry["offset"] + 700] ^= 1
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["manifest.jsonl", "provenance.json"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_changed_byte_of_what_the_set_says_of_itself_is_named(
    any_toy: Toy, tmp_path: Path, name: str, data: st.DataObject
) -> None:
    folder = tmp_path / "set"
    if not folder.exists():
        any_toy(KINDS["webdataset"], labels=True)
        medzoo.generate(901, 3, seed=1, out=folder, format="webdataset")
    whole = (folder / name).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    (folder / name).write_bytes(
        whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :]
    )
    found = medzoo.verify(folder)
    for function in (medzoo.read, medzoo.reproduce):
        with pytest.raises(DatasetError, match=rf"{name} is not as it was written"):
            function(folder)
    (folder / name).write_bytes(whole)
    assert found.changed[0] == name
    assert not found.ok


def test_another_seed_in_the_provenance_is_a_change(
    toy: Toy, tmp_path: Path, capsys: Capture
) -> None:
    medzoo.generate(toy(), 3, seed=7, out=tmp_path / "set")
    path = tmp_path / "set/provenance.json"
    path.write_text(path.read_text().replace('"seed": 7', '"seed": 1'))
    assert main(["verify", str(tmp_path / "set")]) == 9
    assert "1 changed: provenance.json\n" in capsys.readouterr().out


def test_what_a_system_leaves_in_folders_is_not_extra(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set")
    for name in (
        ".DS_Store",
        "images/Thumbs.db",
        "images/desktop.ini",
        "images/._000000.png",
        "lost+found/x",
    ):
        (tmp_path / "set" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "set" / name).touch()
    assert medzoo.verify(tmp_path / "set").ok


def test_without_a_manifest_nothing_else_is_known(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set")
    (tmp_path / "set/manifest.jsonl").unlink()
    found = medzoo.verify(tmp_path / "set")
    assert found.missing == ("manifest.jsonl",)
    assert len(found.extra) == 2
    with pytest.raises(
        DatasetError, match=r"manifest\.jsonl'\.\n`medzoo verify` names what is missing"
    ):
        medzoo.reproduce(tmp_path / "set")


@pytest.mark.parametrize("function", [medzoo.verify, medzoo.reproduce, medzoo.read])
def test_what_is_there_instead_of_a_finished_set_is_said(
    fails: Path, tmp_path: Path, function: Callable[[Path], Any]
) -> None:
    with pytest.raises(DatasetError, match=r"^There is no folder .*nowhere\.\nName a folder that"):
        function(tmp_path / "nowhere")
    with pytest.raises(
        DatasetError,
        match=r"^.*flags holds no set of samples: no provenance\.json lies in it\.\nName the folder",
    ):
        function(fails)
    with pytest.raises(InputError, match=r"a name in it is longer than 255 bytes"):
        function(tmp_path / ("x" * 5000))
    (fails / "fail").touch()
    with pytest.raises(PackageError):
        medzoo.generate(901, 2000, seed=1, out=tmp_path / "set")
    with pytest.raises(
        DatasetError,
        match=r"holds no finished set of samples: 8 of 2,000 are there\.\nRun the same command again",
    ):
        function(tmp_path / "set")
    (tmp_path / "set" / RECORD).write_text("half a li")
    with pytest.raises(DatasetError, match=r"holds no finished set of samples: 8 are there\."):
        function(tmp_path / "set")
    (tmp_path / "set" / RECORD).write_text('{"resumes": false}')
    with pytest.raises(DatasetError, match=r"being saved from memory\.\nSave them again"):
        function(tmp_path / "set")


def test_what_a_killed_clean_up_left_is_neither_extra_nor_in_the_way(
    toy: Toy, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"n": 2, "seed": 1, "out": tmp_path / "set"}
    medzoo.generate(toy(), **asked)
    (tmp_path / "set" / JOURNAL).parent.mkdir()
    (tmp_path / "set" / JOURNAL).touch()
    assert medzoo.verify(tmp_path / "set").ok
    medzoo.generate(901, **asked)
    assert not (tmp_path / "set" / JOURNAL).parent.exists()


# -------------------------------------------------------------------------------------------------------------- again
@each
def test_a_set_is_made_again_byte_for_byte(any_toy: Toy, tmp_path: Path, format_: str) -> None:
    any_toy(KINDS[format_], labels=True, options=SECONDS)
    folder = tmp_path / "set"
    medzoo.generate(
        901, 9, out=folder, format=format_, batch_size=4, condition="malignant", seconds=0.001
    )
    before = content(tmp_path)
    found = medzoo.reproduce(folder)
    assert found.equal
    assert found.ok
    assert (found.different, found.columns, found.circumstances) == ((), {}, {})
    assert found.files == len({e["file"] for e in lines(folder)})
    assert str(found).endswith("byte for byte the same.")
    assert content(tmp_path) == before  # nothing stays beside it


def test_a_list_of_conditions_and_a_later_part_are_made_again(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(
        toy(), 3, seed=1, out=tmp_path / "set", condition=["malignant", "benign", "benign"]
    )
    assert medzoo.reproduce(tmp_path / "set").equal
    with medzoo.load(901) as model:
        (later,) = model.stream(3, first=5, seed=2, batch_size=3)
    later.save(tmp_path / "later")
    assert medzoo.reproduce(tmp_path / "later").equal


UNSTEADY = """
from pathlib import Path
import numpy as np
class Model:
    def sample(self, batch):
        more = float(Path({path!r}).read_text())
        found = np.stack([batch.rng(i).uniforms((1, 8, 8)) for i in range(batch.n)])
        found[batch.indices == 3] += np.float32(more)
        return {{"images": found.astype(np.float32), "table": found[:, 0, 0, :2].astype(np.float32)}}
def load(weights_dir, device):
    return Model()
"""


@pytest.mark.parametrize(("more", "ok"), [(0.01, True), (0.5, False)])
@pytest.mark.parametrize("format_", ["npz", "png", "dicom"])
def test_what_differs_is_measured_against_the_tolerance(
    toy: Toy, tmp_path: Path, more: float, ok: bool, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "more"
    path.write_text("0")
    outputs = {
        "images": column("image", "float32", 1, 8, 8, range=[0, 2], tolerance=0.02),
        "table": column("table", "float32", 2, tolerance=0.02),
    }
    toy(UNSTEADY.format(path=str(path)), outputs=outputs, conditions=None, options=None)
    medzoo.generate(901, 6, seed=1, out=tmp_path / "set", format=format_)
    path.write_text(str(more))
    monkeypatch.setattr(run_module, "__version__", "9.9")
    found = medzoo.reproduce(tmp_path / "set")
    assert not found.equal
    assert found.ok is ok
    assert found.circumstances == {"libraries": {"medzoo": "9.9"}}
    table = found.columns["table"]
    assert table.samples == 1
    assert table.tolerance == 0.02
    assert table.largest == pytest.approx(more, abs=1e-6)
    step = {"npz": 0, "png": 2 / 255, "dicom": 2 / 65535}[format_]
    assert found.columns["images"].tolerance == pytest.approx(0.02 + step)
    text = str(found)
    assert f"in 1 sample, {'within' if ok else 'more than'} the tolerance of 0.02" in text
    assert '{"medzoo": "9.9"}' in text


def test_other_bytes_of_the_same_values_are_told_apart(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    medzoo.generate(toy(), 3, seed=1, out=tmp_path / "set")
    encode = Png.encode
    monkeypatch.setattr(
        Png, "encode", lambda *given: [(end, data + b" ") for end, data in encode(*given)]
    )
    found = medzoo.reproduce(tmp_path / "set")
    assert found.different == tuple(e["file"] for e in lines(tmp_path / "set"))
    assert found.ok
    assert found.columns == {}
    assert str(found).endswith("\nall values are the same, in other bytes")


def test_a_set_in_another_precision_is_another_set_and_made_again_in_its_own(
    toy: Toy, tmp_path: Path
) -> None:
    outputs = {"images": {"kind": "image", "dtype": "float32", "shape": [1, 8, 8], "range": [0, 1]}}
    toy(MATRIX, requires=["numpy", "torch"], outputs=outputs, conditions=None, options=None)
    asked = [
        "generate",
        "901",
        "-n",
        "5",
        "--seed",
        "1",
        "--format",
        "npz",
        "--out",
        str(tmp_path / "set"),
        "--quiet",
    ]
    assert main([*asked, "--precision", "bfloat16"]) == 0
    assert finished(tmp_path / "set")["precision"] == "bfloat16"
    assert medzoo.reproduce(tmp_path / "set").equal
    with pytest.raises(DatasetError, match="precision 'bfloat16', now None"):
        medzoo.generate(901, 5, seed=1, format="npz", out=tmp_path / "set")
    medzoo.generate(901, 5, seed=1, format="npz", out=tmp_path / "full")
    assert not np.array_equal(
        medzoo.read(tmp_path / "full").images, medzoo.read(tmp_path / "set").images
    )


@pytest.mark.parametrize("more", [0, 0.5])
@pytest.mark.parametrize("format_", ["png", "dicom", "webdataset", "npz"])
def test_what_is_gone_is_named_before_a_model_loads_and_the_rest_is_compared(
    toy: Toy, tmp_path: Path, more: float, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webdataset, "SHARD", 3_000)
    path, folder = tmp_path / "more", tmp_path / "set"
    path.write_text("0")
    outputs = {
        "images": column("image", "float32", 1, 8, 8, range=[0, 2]),
        "table": column("table", "float32", 2),
    }
    toy(UNSTEADY.format(path=str(path)), outputs=outputs, conditions=None, options=None)
    medzoo.generate(901, 6, seed=1, out=folder, format=format_)
    names = [e["file"] for e in lines(folder) if "index" in e] or ["samples.npz"]
    whole = bytearray((folder / names[0]).read_bytes())
    whole[len(whole) // 4] ^= 1
    (folder / names[0]).write_bytes(whole)
    if names[-1] != names[0]:
        (folder / names[-1]).unlink()
    path.write_text(str(more))
    with monkeypatch.context() as patch:
        patch.setattr("medzoo.generation.job.open_model", lambda *_, **__: 1 / 0)
        with (
            pytest.warns(MedzooWarning, match=re.escape(names[0])),
            pytest.raises(ZeroDivisionError),
        ):
            medzoo.reproduce(folder)
    with pytest.warns(
        MedzooWarning, match=rf"not as it was written: .* missing or changed \(.*{names[0]}"
    ):
        found = medzoo.reproduce(folder)
    assert found.changed == (names[0],)
    assert found.missing == tuple({n: 0 for n in names[1:] if n == names[-1]})
    assert not found.ok
    assert not found.equal
    assert f"1 changed: {names[0]}" in str(found)
    assert bool(found.different) is bool(more)
    if not more:
        assert "all as the manifest has them" in str(found)
    if (
        more and format_ != "npz"
    ):  # the changed sample is the first, the missing one the last: the fourth is left
        assert found.columns["images"].samples == 1
        assert found.columns["images"].largest == pytest.approx(more, abs=0.01)
    else:
        assert found.columns == {}


def test_only_columns_that_differ_are_told_of(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "gain").write_text("0")
    read_gain = f"__import__('pathlib').Path({str(tmp_path / 'gain')!r}).read_text()"
    toy(NUMPY_MODEL.replace('batch.options.get("gain", 0)', f"int({read_gain})"))
    medzoo.generate(901, 3, seed=1, out=tmp_path / "set")
    (tmp_path / "gain").write_text("9")
    found = medzoo.reproduce(tmp_path / "set")
    assert list(found.columns) == ["images"]
    assert "labels" not in str(found)


def test_latents_of_the_users_are_asked_for_and_held_against_their_digest(
    toy: Toy, tmp_path: Path
) -> None:
    own = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    medzoo.generate(toy(), 3, seed=5, out=tmp_path / "set", latents=own)
    with pytest.raises(
        InputError, match=r"made with your own latents\.\nGive the same latents again"
    ):
        medzoo.reproduce(tmp_path / "set")
    with pytest.raises(InputError, match="These latents are not the ones"):
        medzoo.reproduce(tmp_path / "set", latents=own + 1)
    assert medzoo.reproduce(tmp_path / "set", latents=own).equal
    medzoo.generate(901, 3, seed=5, out=tmp_path / "without")
    with pytest.raises(InputError, match="made without your own latents"):
        medzoo.reproduce(tmp_path / "without", latents=own)


def test_a_package_of_the_users_is_asked_for(toy: Toy, tmp_path: Path) -> None:
    toy()
    medzoo.copy(901, tmp_path / "mine")
    medzoo.generate(tmp_path / "mine", 3, seed=5, out=tmp_path / "set", trust=True)
    with pytest.raises(InputError, match="made by your own package"):
        medzoo.reproduce(tmp_path / "set")
    assert medzoo.reproduce(tmp_path / "set", tmp_path / "mine", trust=True).equal
    code = tmp_path / "mine/model.py"
    code.write_text(code.read_text() + "# edited\n")
    found = medzoo.reproduce(tmp_path / "set", tmp_path / "mine", trust=True)
    assert found.equal
    assert list(
        medzoo.reproduce(tmp_path / "set", tmp_path / "mine", trust=True).circumstances
    ) == ["sha256"]


def test_a_part_of_a_set_and_what_says_too_little_cannot_be_made_again(
    toy: Toy, tmp_path: Path
) -> None:
    medzoo.generate(toy(), 8, seed=1)[2:4].save(tmp_path / "part")
    with pytest.raises(DatasetError, match="saved as a part of a set"):
        medzoo.reproduce(tmp_path / "part")
    from test_samples import make

    make().save(tmp_path / "own")
    with pytest.raises(
        DatasetError,
        match=r"does not say how it was made: version, .*is missing from provenance\.json",
    ):
        medzoo.reproduce(tmp_path / "own")
    assert medzoo.verify(tmp_path / "own").ok


def test_where_nothing_can_be_written_beside_the_set(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set")
    (tmp_path / ".set.again").touch()
    with pytest.raises(
        DatasetError,
        match=f"{re.escape(str(tmp_path / 'set'))} cannot be reproduced beside it: .*exists",
    ):
        medzoo.reproduce(tmp_path / "set")


# ------------------------------------------------------------------------------------------------- again, and stopped
def batches(folder: Path) -> list[int]:
    """The first sample of each batch that was made since the last call."""
    found = [int(line) for line in (folder / "log").read_text().split()]
    (folder / "log").unlink()
    return found


def stopped(fails: Path, folder: Path) -> None:
    """Leave the beginning of another try to make a set again."""
    (fails / "fail").touch()
    with (
        pytest.warns(MedzooWarning, match=r"stays in .*\.set\.again, and the same call"),
        pytest.raises(PackageError),
    ):
        medzoo.reproduce(folder)
    (fails / "fail").unlink()
    assert batches(fails) == [0, 4, 8]


def test_what_was_stopped_goes_on(fails: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    medzoo.generate(901, 16, seed=1, out=folder)
    before = content(tmp_path, "log")
    assert batches(fails) == [0, 4, 8, 12]
    stopped(fails, folder)
    assert medzoo.reproduce(folder).equal
    assert batches(fails) == [8, 12]
    assert content(tmp_path, "log") == before


@pytest.mark.parametrize("other", ["circumstances", "set", "boundaries"])
def test_what_was_stopped_is_begun_anew_for_another_set_or_elsewhere(
    fails: Path, tmp_path: Path, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    asked: dict[str, Any] = {"n": 16, "seed": 1, "out": folder}
    medzoo.generate(901, **asked)
    batches(fails)
    stopped(fails, folder)
    if other == "circumstances":
        monkeypatch.setattr(run_module, "__version__", "9.9")
    else:
        shutil.rmtree(folder)
        medzoo.generate(901, **asked, batch_size=8) if other == "boundaries" else medzoo.generate(
            901, **{**asked, "seed": 2}
        )
        batches(fails)
    found = medzoo.reproduce(folder)
    assert found.equal
    assert batches(fails) == ([0, 8] if other == "boundaries" else [0, 4, 8, 12])
    assert not (tmp_path / ".set.again").exists()


@pytest.mark.parametrize("damaged", [False, True])
def test_what_was_stopped_when_it_was_whole_is_compared_unless_it_is_damaged(
    fails: Path, tmp_path: Path, damaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    medzoo.generate(901, 8, seed=1, out=tmp_path / "set")
    batches(fails)
    with monkeypatch.context() as patch:
        patch.setattr("medzoo.generation.reproduction._compare", lambda *_: 1 / 0)
        with pytest.warns(MedzooWarning, match="stays in"), pytest.raises(ZeroDivisionError):
            medzoo.reproduce(tmp_path / "set")
    (made,) = tmp_path.glob(".set.again/*/images/000000_benign.png")
    if damaged:
        made.unlink()
    batches(fails)
    assert medzoo.reproduce(tmp_path / "set").equal
    assert (fails / "log").exists() is damaged
    assert not (tmp_path / ".set.again").exists()


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
def test_what_was_killed_goes_on_and_nothing_stays(fails: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    medzoo.generate(901, 16, seed=1, out=folder)
    batches(fails)
    before = content(tmp_path, "log")
    code = "import os, sys, medzoo; from medzoo.datasets import journal; commit = journal.Journal.commit\n"
    code += "def killed(self, done, state): commit(self, done, state); done < 8 or os.kill(os.getpid(), 9)\n"
    code += "journal.Journal.commit = killed; medzoo.reproduce(sys.argv[1])"
    with python(tmp_path, "-c", code, str(folder)) as process:
        process.communicate()
        assert process.returncode == -9
    assert list(tmp_path.glob(".set.again/*/.unfinished"))
    batches(fails)
    assert medzoo.verify(folder).ok
    assert medzoo.reproduce(folder).equal
    assert batches(fails) == [8, 12]
    assert content(tmp_path, "log") == before


def test_one_process_at_a_time_makes_a_set_again(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set")
    (tmp_path / ".set.again").mkdir()
    with (
        FileLock(tmp_path / ".set.again/lock"),
        pytest.raises(DatasetError, match=r"Another process is already reproducing .*set"),
    ):
        medzoo.reproduce(tmp_path / "set")
    assert medzoo.reproduce(tmp_path / "set").equal


def test_a_bar_is_drawn_while_a_set_is_made_again(
    toy: Toy, tmp_path: Path, capsys: Capture
) -> None:
    medzoo.generate(toy(), 9, seed=1, out=tmp_path / "set", progress=False)
    medzoo.reproduce(tmp_path / "set")
    assert capsys.readouterr().err == ""
    medzoo.reproduce(tmp_path / "set", progress=True)
    assert "9/9" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------ the commands


def test_the_commands_print_what_was_found_and_exit_with_9_where_that_is_bad(
    toy: Toy, tmp_path: Path, capsys: Capture
) -> None:
    folder = str(tmp_path / "set")
    medzoo.generate(toy(), 3, seed=1, out=folder)
    assert main(["verify", folder]) == 0
    assert capsys.readouterr().out == f"{folder}: 3 files, all as they were written.\n"
    assert main(["reproduce", folder]) == 0
    assert capsys.readouterr().out == f"{folder}: made again, 3 files, byte for byte the same.\n"
    assert main(["reproduce", folder, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["files"], report["different"]) == (True, 3, [])
    (tmp_path / "set/images/000000_benign.png").rename(tmp_path / "set/images/x.png")
    assert main(["verify", folder]) == 9
    assert "1 missing: images/000000_benign.png\n1 extra: images/x.png\n" in capsys.readouterr().out
    assert main(["verify", folder, "--json"]) == 9
    assert json.loads(capsys.readouterr().out)["missing"] == ["images/000000_benign.png"]
    assert main(["verify", str(tmp_path / "nowhere")]) == 9
    assert "There is no folder" in capsys.readouterr().err


def test_reproduce_as_a_command_takes_a_package_of_the_users(
    toy: Toy, tmp_path: Path, capsys: Capture
) -> None:
    toy()
    medzoo.copy(901, tmp_path / "mine")
    medzoo.generate(tmp_path / "mine", 3, seed=5, out=tmp_path / "set", trust=True)
    assert main(["reproduce", str(tmp_path / "set")]) == 2
    assert "--model mine/" in capsys.readouterr().err
    assert (
        main(["reproduce", str(tmp_path / "set"), "--model", str(tmp_path / "mine"), "--trust"])
        == 0
    )
    assert "byte for byte the same" in capsys.readouterr().out


def test_reproduce_as_a_command_takes_the_options_of_an_engine(
    toy: Toy, tmp_path: Path, capsys: Capture
) -> None:
    medzoo.generate(toy(), 3, seed=5, out=tmp_path / "set")
    assert main(["reproduce", str(tmp_path / "set"), "--actors", "2"]) == 2
    assert "Say --engine ray as well" in capsys.readouterr().err


def test_the_command_without_a_seed_continues_what_it_began(
    toy: Toy, tmp_path: Path, capsys: Capture
) -> None:
    command = ["generate", str(toy()), "-n", "3", "--out", str(tmp_path / "set")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert main(command) == 0
    assert said.split(" (")[0] == capsys.readouterr().out.split(" (")[0]
    assert main([*command, "--seed", "7"]) == 9
    assert "holds another set of samples: seed" in capsys.readouterr().err


def test_a_set_of_an_earlier_version_of_a_package_is_made_with_that_version(
    toy: Toy, tmp_path: Path
) -> None:
    toy()
    medzoo.copy(901, tmp_path / "mine")
    file = tmp_path / "mine/config.yaml"
    config = yaml.safe_load(file.read_text())
    later = copy.deepcopy(config["versions"]["1.0.0"])
    later["options"]["gain"]["default"] = 7
    config |= {"default_version": "2.0.0"}
    config["versions"]["2.0.0"] = later
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    own: dict[str, Any] = {"trust": True}
    medzoo.generate(tmp_path / "mine", 3, seed=5, version="1.0.0", out=tmp_path / "set", **own)
    made = medzoo.reproduce(tmp_path / "set", tmp_path / "mine", **own)
    assert made.equal
    assert "version" not in made.circumstances
    del config["versions"]["1.0.0"]  # then it is the version that there is, and that is named
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    made = medzoo.reproduce(tmp_path / "set", tmp_path / "mine", **own)
    assert made.circumstances["version"] == "2.0.0"


def test_the_command_for_a_set_that_names_no_model_says_so(tmp_path: Path, capsys: Capture) -> None:
    from test_samples import make

    make().save(tmp_path / "own")
    assert main(["reproduce", str(tmp_path / "own"), "--inputs", "a.png"]) == 9
    assert "does not say how it was made" in capsys.readouterr().err
