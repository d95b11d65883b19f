"""Is a set as it was written, and can it be made again?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MATRIX
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sets import IMAGES, KINDS, SECONDS, Toy, column, content, lines

import medzoo
from medzoo import generator
from medzoo.cli import main
from medzoo.datasets import webdataset
from medzoo.datasets.journal import JOURNAL
from medzoo.datasets.reader import finished
from medzoo.errors import DatasetError, InputError

each = pytest.mark.parametrize("format_", KINDS)
Damage = Callable[[Path], Any]


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
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_of_any_file_is_named(any_toy: Toy, tmp_path: Path, format_: str, data: st.DataObject) -> None:
    folder = tmp_path / "set"
    if not folder.exists():
        any_toy(KINDS[format_], labels=True)
        medzoo.generate(901, 5, seed=1, out=folder, format=format_)
    name = data.draw(st.sampled_from(sorted({e["file"] for e in lines(folder)})))
    whole = (folder / name).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    (folder / name).write_bytes(whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :])
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


def test_of_a_changed_shard_the_samples_are_named(any_toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "SHARD", 10_000)
    any_toy({"images": IMAGES})
    medzoo.generate(901, 20, seed=1, out=tmp_path / "set", format="webdataset")
    entry = next(e for e in lines(tmp_path / "set") if e.get("index") == 9)
    path = tmp_path / "set" / entry["file"]
    whole = bytearray(path.read_bytes())
    whole[entry["offset"] + 700] ^= 1
    path.write_bytes(whole)
    assert medzoo.verify(tmp_path / "set").changed == (f"{entry['file']} (samples 9)",)


@pytest.mark.parametrize("damage", [lambda f: (f / "provenance.json").unlink(), lambda f: (f / "manifest.jsonl").unlink(),
                                    lambda f: (f / "provenance.json").write_text("[]")])  # fmt: skip
def test_what_is_no_finished_set_is_an_error(toy: Toy, tmp_path: Path, damage: Damage) -> None:
    medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set")
    damage(tmp_path / "set")
    for function in (medzoo.verify, medzoo.reproduce):
        with pytest.raises(DatasetError, match="holds no finished set"):
            function(tmp_path / "set")
        with pytest.raises(DatasetError, match="holds no finished set"):
            function(tmp_path / "nowhere")


def test_what_a_killed_clean_up_left_is_neither_extra_nor_in_the_way(toy: Toy, tmp_path: Path) -> None:
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
    medzoo.generate(901, 9, out=folder, format=format_, batch_size=4, condition="malignant", seconds=0.001)
    before = content(tmp_path)
    found = medzoo.reproduce(folder)
    assert found.equal
    assert found.ok
    assert (found.different, found.columns, found.circumstances) == ((), {}, {})
    assert found.files == len({e["file"] for e in lines(folder)})
    assert str(found).endswith("byte for byte the same.")
    assert content(tmp_path) == before  # nothing stays beside it


def test_a_list_of_conditions_and_a_later_part_are_made_again(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(toy(), 3, seed=1, out=tmp_path / "set", condition=["malignant", "benign", "benign"])
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
    monkeypatch.setattr(generator, "__version__", "9.9")
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


def test_other_bytes_of_the_same_values_are_told_apart(toy: Toy, tmp_path: Path) -> None:
    from PIL import Image

    medzoo.generate(toy(), 3, seed=1, out=tmp_path / "set")
    path = tmp_path / "set/images/000001_malignant.png"
    with Image.open(path) as picture:
        picture.load()
    picture.save(path, compress_level=9)
    found = medzoo.reproduce(tmp_path / "set")
    assert found.different == ("images/000001_malignant.png",)
    assert found.ok
    assert "images: the same values in other bytes" in str(found)


def test_a_set_in_another_precision_is_another_set_and_made_again_in_its_own(toy: Toy, tmp_path: Path) -> None:
    outputs = {"images": {"kind": "image", "dtype": "float32", "shape": [1, 8, 8], "range": [0, 1]}}
    toy(MATRIX, requires=["numpy", "torch"], outputs=outputs, conditions=None, options=None)
    asked = ["generate", "901", "-n", "5", "--seed", "1", "--format", "npz", "--out", str(tmp_path / "set"), "--quiet"]
    assert main([*asked, "--precision", "bfloat16"]) == 0
    assert finished(tmp_path / "set")["precision"] == "bfloat16"
    assert medzoo.reproduce(tmp_path / "set").equal
    with pytest.raises(DatasetError, match="precision 'bfloat16', now None"):
        medzoo.generate(901, 5, seed=1, format="npz", out=tmp_path / "set")
    medzoo.generate(901, 5, seed=1, format="npz", out=tmp_path / "full")
    assert not np.array_equal(medzoo.read(tmp_path / "full").images, medzoo.read(tmp_path / "set").images)


def test_what_is_gone_is_not_reproduced_but_named(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(toy(), 3, seed=1, out=tmp_path / "set")
    (tmp_path / "set/images/000001_malignant.png").unlink()
    with pytest.raises(DatasetError, match=r"000001_malignant\.png cannot be read"):
        medzoo.reproduce(tmp_path / "set")


def test_latents_of_the_users_are_asked_for_and_held_against_their_digest(toy: Toy, tmp_path: Path) -> None:
    own = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    medzoo.generate(toy(), 3, seed=5, out=tmp_path / "set", latents=own)
    with pytest.raises(InputError, match=r"made with latents of your own\.\nGive the same latents again"):
        medzoo.reproduce(tmp_path / "set")
    with pytest.raises(InputError, match="These latents are not the ones"):
        medzoo.reproduce(tmp_path / "set", latents=own + 1)
    assert medzoo.reproduce(tmp_path / "set", latents=own).equal
    medzoo.generate(901, 3, seed=5, out=tmp_path / "without")
    with pytest.raises(InputError, match="made without latents of your own"):
        medzoo.reproduce(tmp_path / "without", latents=own)


def test_a_package_of_the_users_is_asked_for(toy: Toy, tmp_path: Path) -> None:
    toy()
    medzoo.copy(901, tmp_path / "mine")
    medzoo.generate(tmp_path / "mine", 3, seed=5, out=tmp_path / "set", trust=True)
    with pytest.raises(InputError, match="made by a package of your own"):
        medzoo.reproduce(tmp_path / "set")
    assert medzoo.reproduce(tmp_path / "set", tmp_path / "mine", trust=True).equal
    code = tmp_path / "mine/model.py"
    code.write_text(code.read_text() + "# edited\n")
    found = medzoo.reproduce(tmp_path / "set", tmp_path / "mine", trust=True)
    assert found.equal
    assert list(medzoo.reproduce(tmp_path / "set", tmp_path / "mine", trust=True).circumstances) == ["sha256"]


def test_a_part_of_a_set_and_what_says_too_little_cannot_be_made_again(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(toy(), 8, seed=1)[2:4].save(tmp_path / "part")
    with pytest.raises(DatasetError, match="saved as a part of a set"):
        medzoo.reproduce(tmp_path / "part")
    from test_samples import make

    make().save(tmp_path / "own")
    with pytest.raises(DatasetError, match=r"does not say how it was made: version, .*is missing from provenance\.json"):
        medzoo.reproduce(tmp_path / "own")
    assert medzoo.verify(tmp_path / "own").ok


def test_where_nothing_can_be_written_beside_the_set(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set")

    def refuse(*arguments: Any, **more: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("medzoo.audit.tempfile.TemporaryDirectory", refuse)
    with pytest.raises(
        DatasetError, match=f"cannot be made again beside {re.escape(str(tmp_path / 'set'))}: .*Permission denied"
    ):
        medzoo.reproduce(tmp_path / "set")


# ------------------------------------------------------------------------------------------------------ the commands
Capture = pytest.CaptureFixture[str]


def test_the_commands_print_what_was_found_and_exit_with_9_where_that_is_bad(toy: Toy, tmp_path: Path, capsys: Capture) -> None:
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
    assert "holds no finished set" in capsys.readouterr().err


def test_reproduce_as_a_command_takes_a_package_of_the_users(toy: Toy, tmp_path: Path, capsys: Capture) -> None:
    toy()
    medzoo.copy(901, tmp_path / "mine")
    medzoo.generate(tmp_path / "mine", 3, seed=5, out=tmp_path / "set", trust=True)
    assert main(["reproduce", str(tmp_path / "set")]) == 2
    assert "--model mine/" in capsys.readouterr().err
    assert main(["reproduce", str(tmp_path / "set"), "--model", str(tmp_path / "mine"), "--trust"]) == 0
    assert "byte for byte the same" in capsys.readouterr().out


def test_the_command_without_a_seed_continues_what_it_began(toy: Toy, tmp_path: Path, capsys: Capture) -> None:
    command = ["generate", str(toy()), "-n", "3", "--out", str(tmp_path / "set")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert main(command) == 0
    assert said.split(" (")[0] == capsys.readouterr().out.split(" (")[0]
    assert main([*command, "--seed", "7"]) == 9
    assert "holds another set of samples: seed" in capsys.readouterr().err
