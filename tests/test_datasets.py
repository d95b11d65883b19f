"""Samples on disk: every file accounted for, nothing of others touched, a stopped run never taken for a whole one."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import medzoo
from medzoo import datasets
from medzoo.datasets import bytes_a_sample
from medzoo.datasets.writers import pick_format
from medzoo.errors import DatasetError, InputError
from medzoo.files import sha256_of

Toy = Callable[..., int]

ANY_MODEL = """
import time
import numpy as np

class Model:
    def sample(self, batch):
        time.sleep(batch.options.get("seconds", 0))
        found = {}
        for name, (dtype, shape) in COLUMNS.items():
            rows = [batch.rng(i).uniforms(shape) for i in range(batch.n)]
            scale = 1 if dtype == "float32" else 4095 if dtype == "uint16" else 255
            found[name] = (np.stack(rows) * scale).astype(dtype)
        return found

def load(weights_dir, device):
    return Model()
"""


def column(kind: str, dtype: str, *shape: int, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "dtype": dtype, "shape": list(shape), **more}


@pytest.fixture
def any_toy(toy: Toy) -> Callable[..., int]:
    """``any_toy({"images": column("image", "uint8", 1, 8, 8)})``: a model with these columns."""

    def register(columns: dict[str, dict[str, Any]], labels: bool = False, **changes: Any) -> int:
        own = {n: (c["dtype"], tuple(c["shape"])) for n, c in columns.items()}
        outputs = {**columns, **({"labels": {"kind": "label", "condition": "condition"}} if labels else {})}
        return toy(
            f"COLUMNS = {own!r}\n{ANY_MODEL}",
            outputs=outputs,
            **{"conditions": None if not labels else CONDITION, "options": None, **changes},
        )

    return register


FAILS_LATE = """
import numpy as np

class Model:
    def sample(self, batch):
        if batch.indices[-1] > 10:
            raise ArithmeticError("too late")
        return {"images": np.zeros((batch.n, 1, 8, 8), np.uint8)}

def load(weights_dir, device):
    return Model()
"""
CONDITION = {"condition": {"values": {"benign": 0, "malignant": 1}, "help": "Malignancy."}}
IMAGES = column("image", "uint8", 1, 8, 8, range=[0, 255])


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def content(folder: Path, *but: str) -> dict[str, tuple[bytes, int]]:
    """Every file below ``folder`` with its bytes and its time of writing."""
    return {
        str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in but
    }


@pytest.mark.parametrize("format_", ["png", "npz"])
def test_the_manifest_accounts_for_every_file_by_its_digest(toy: Toy, tmp_path: Path, format_: str) -> None:
    out = tmp_path / "set"
    medzoo.generate(toy(), 10, seed=1, out=out, format=format_)
    entries = lines(out)
    for entry in entries:
        assert entry["sha256"] == sha256_of(out / entry["file"])
    assert {e["file"] for e in entries} | {"manifest.jsonl", "provenance.json", "run.log"} == set(content(out))
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["manifest_sha256"] == sha256_of(out / "manifest.jsonl")
    if format_ == "png":
        assert [e["index"] for e in entries] == list(range(10))
        assert [e["label"] for e in entries] == ["benign", "malignant"] * 5
        assert entries[1]["file"] == "images/000001_malignant.png"


def test_what_is_written_is_what_is_generated(toy: Toy, tmp_path: Path) -> None:
    memory = medzoo.generate(toy(), 10, seed=1)
    for format_ in ("png", "npz"):
        disk = medzoo.generate(901, 10, seed=1, out=tmp_path / format_, format=format_)
        for samples in (disk, medzoo.read(tmp_path / format_), medzoo.read(str(tmp_path / format_))):
            assert np.array_equal(samples.images, memory.images)
            assert np.array_equal(samples.labels, memory.labels)
            assert samples.folder == tmp_path / format_
            assert samples.outputs["images"].range == (0, 255)


def test_provenance_is_written_last(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order, really = [], datasets.files.atomic
    monkeypatch.setattr(datasets.files, "atomic", lambda path: (order.append(path.name), really(path))[1])
    medzoo.generate(toy(), 3, seed=1, out=tmp_path / "set")
    assert order[-1] == "provenance.json"
    assert order.count("provenance.json") == 1
    newest = max((tmp_path / "set").rglob("*"), key=lambda p: p.stat().st_mtime_ns if p.is_file() else 0)
    assert newest.name == "provenance.json"


def test_every_picture_says_that_it_is_synthetic_and_of_what(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(toy(), 3, seed=11, out=tmp_path / "set")
    with Image.open(tmp_path / "set/images/000001_malignant.png") as picture:
        about = json.loads(picture.text["medzoo"])  # type: ignore[attr-defined]
        assert "Not for diagnosis" in picture.text["Comment"]  # type: ignore[attr-defined]
    assert about == {
        "synthetic": True, "index": 1, "column": "images", "label": "malignant", "model": "00901_TOY_MRI_NOISE", "version": "1.0.0",
        "seed": 11, "license": "MIT",
    }  # fmt: skip


@pytest.mark.parametrize("format_", ["png", "npz"])
def test_the_same_command_again_changes_nothing(toy: Toy, tmp_path: Path, format_: str) -> None:
    first = medzoo.generate(toy(), 6, seed=1, out=tmp_path / "set", format=format_)
    before = content(tmp_path / "set")
    again = medzoo.generate(901, 6, seed=1, out=tmp_path / "set", format=format_)
    assert content(tmp_path / "set") == before
    assert np.array_equal(again.images, first.images)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": 2}, "seed 1, now 2"),
        ({"seed": None}, "seed 1, now"),
        ({"n": 7}, "n 6, now 7"),
        ({"condition": "benign"}, "options .*None.*, now .*'benign'"),
        ({"gain": 4}, "options .*3.*, now .*4"),
        ({"format": "npz"}, "format 'png', now 'npz'"),
    ],
)
def test_another_command_names_the_difference_and_changes_nothing(
    toy: Toy, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    asked: dict[str, Any] = {"n": 6, "seed": 1, "out": tmp_path / "set"}
    medzoo.generate(toy(), **asked)
    before = content(tmp_path / "set")
    with pytest.raises(DatasetError, match=rf"holds another set of samples: {says}(.|\n)*Nothing was changed"):
        medzoo.generate(901, **{**asked, **changes})
    assert content(tmp_path / "set") == before


def test_other_code_under_the_same_name_is_another_set(toy: Toy, tmp_path: Path) -> None:
    medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set")
    code = medzoo.copy(901, tmp_path / "mine") / "model.py"
    code.write_text(code.read_text() + "# edited\n")
    with pytest.raises(DatasetError, match="sha256 "):
        medzoo.generate(tmp_path / "mine", 2, seed=1, out=tmp_path / "set")


def test_a_folder_with_other_things_is_left_alone(toy: Toy, tmp_path: Path) -> None:
    toy()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("dear")
    (tmp_path / "file").write_text("dear")
    before = content(tmp_path / "thesis")
    with pytest.raises(DatasetError, match=r"holds other things \(chapter.tex \.\.\.\).\nNothing was changed"):
        medzoo.generate(901, 2, out=tmp_path / "thesis")
    with pytest.raises(DatasetError, match="is a file, not a folder"):
        medzoo.generate(901, 2, out=tmp_path / "file")
    with pytest.raises(DatasetError):
        medzoo.generate(901, 2, out=tmp_path / "file" / "below")
    assert content(tmp_path / "thesis") == before
    assert (tmp_path / "file").read_text() == "dear"


def test_an_empty_folder_may_be_filled(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert len(medzoo.generate(toy(), 2, out=tmp_path / "set")) == 2


@pytest.mark.parametrize("out", [5, b"set", ["set"]])
def test_an_out_that_is_no_path(toy: Toy, out: Any) -> None:
    with pytest.raises(InputError, match=r"out=.* is no path"):
        medzoo.generate(toy(), 1, out=out)


def test_equal_runs_write_equal_bytes_and_no_times_or_hosts(toy: Toy, tmp_path: Path) -> None:
    toy()
    for format_ in ("png", "npz"):
        one, two = tmp_path / f"1{format_}", tmp_path / f"2{format_}"
        medzoo.generate(901, 9, seed=1, out=one, format=format_)
        time.sleep(0.01)
        medzoo.generate(901, 9, seed=1, out=two, format=format_)
        assert {k: v[0] for k, v in content(one, "run.log").items()} == {k: v[0] for k, v in content(two, "run.log").items()}
        for name in ("manifest.jsonl", "provenance.json"):
            text = (one / name).read_text()
            assert platform.node() not in text
            assert str(tmp_path) not in text
            assert not re.search(time.strftime("%Y-%m-%d|%H:%M:"), text)
        assert platform.node() in (one / "run.log").read_text()


def test_the_provenance_says_what_is_needed_to_make_the_set_again(toy: Toy, tmp_path: Path) -> None:
    own = np.ones((3, 4), np.float32)
    medzoo.generate(toy(), 3, seed=5, out=tmp_path / "set", latents=own, condition=["benign"] * 3, batch_size=2)
    found = json.loads((tmp_path / "set/provenance.json").read_text())
    assert (found["model"], found["version"], found["seed"], found["n"]) == ("00901_TOY_MRI_NOISE", "1.0.0", 5, 3)
    assert found["options"]["condition"] == ["benign"] * 3
    assert found["options"]["latents"].startswith("sha256:")
    assert found["options"]["gain"] == 3
    assert (found["batches"], found["registered"], found["synthetic"]) == ([[0, 2]], True, True)
    assert found["libraries"]["numpy"] == np.__version__
    assert found["sha256"] == {"model.py": sha256_of(tmp_path / "configs/package/model.py")}


def test_float_pictures_come_back_within_half_a_step(any_toy: Callable[..., int], tmp_path: Path) -> None:
    any_toy({"images": column("image", "float32", 1, 8, 8, range=[-1, 3])})
    memory = medzoo.generate(901, 5, seed=1)
    disk = medzoo.generate(901, 5, seed=1, out=tmp_path / "set")
    assert disk.provenance["format"] == "png"
    assert disk.images.dtype == np.float32
    assert np.abs(disk.images - memory.images).max() <= 4 / 255 / 2 + 1e-6
    exact = medzoo.generate(901, 5, seed=1, out=tmp_path / "exact", format="npz")
    assert np.array_equal(exact.images, memory.images)


def test_sixteen_bits_and_colours_come_back_exactly(any_toy: Callable[..., int], tmp_path: Path) -> None:
    for name, shape, dtype in (("gray16", (1, 8, 9), "uint16"), ("colour", (3, 8, 9), "uint8")):
        any_toy({"images": column("image", dtype, *shape)})
        memory = medzoo.generate(901, 5, seed=1)
        disk = medzoo.generate(901, 5, seed=1, out=tmp_path / name)
        assert disk.provenance["format"] == "png"
        assert disk.images.dtype == memory.images.dtype
        assert np.array_equal(disk.images, memory.images)
        assert memory.images.max() > (255 if dtype == "uint16" else 200)


def test_masks_lie_beside_their_images_and_share_their_names(any_toy: Callable[..., int], tmp_path: Path) -> None:
    any_toy({"images": IMAGES, "masks": column("mask", "uint8", 1, 8, 8)}, labels=True)
    memory = medzoo.generate(901, 4, seed=1)
    disk = medzoo.generate(901, 4, seed=1, out=tmp_path / "set")
    for name in ("images", "masks", "labels"):
        assert np.array_equal(getattr(disk, name), getattr(memory, name))
    names = [sorted(p.name for p in (tmp_path / "set" / c).iterdir()) for c in ("images", "masks")]
    assert names[0] == names[1]
    assert len(names[0]) == 4


def test_columns_come_back_in_their_order(any_toy: Callable[..., int], tmp_path: Path) -> None:
    any_toy({"t2": IMAGES, "flair": IMAGES})
    assert list(medzoo.generate(901, 2, out=tmp_path / "set").columns) == ["t2", "flair"]


def test_names_of_values_never_become_folders(any_toy: Callable[..., int], tmp_path: Path) -> None:
    values = {"BI-RADS 4/5": 0, "../../up": 1}
    any_toy({"images": IMAGES}, labels=True, conditions={"condition": {"values": values, "help": ""}})
    found = medzoo.generate(901, 2, out=tmp_path / "set")
    assert sorted(p.name for p in (tmp_path / "set/images").iterdir()) == ["000000_BI-RADS-4-5.png", "000001_..-..-up.png"]
    assert found.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    "columns",
    [
        {"volumes": column("volume", "int16", 1, 4, 5, 6)},
        {"table": column("table", "float32", 3, columns=["a", "b", "c"])},
        {"images": column("image", "float32", 1, 8, 8), "masks": column("mask", "float32", 1, 8, 8)},
        {"images": column("image", "uint8", 2, 8, 8)},
    ],
)
def test_what_no_picture_can_hold_goes_to_npz(any_toy: Callable[..., int], tmp_path: Path, columns: dict[str, Any]) -> None:
    any_toy(columns, labels=True)
    memory = medzoo.generate(901, 6, seed=1)
    disk = medzoo.generate(901, 6, seed=1, out=tmp_path / "set")
    assert disk.provenance["format"] == "npz"
    for name in memory.columns:
        assert getattr(disk, name).dtype == getattr(memory, name).dtype
        assert np.array_equal(getattr(disk, name), getattr(memory, name))
    with np.load(tmp_path / "set/samples.npz") as archive:
        assert set(archive) == {*memory.columns, "indices"}
        assert np.array_equal(archive["indices"], np.arange(6))
    with pytest.raises(InputError, match=f"format='png' cannot hold .*{list(columns)[-1]}.\nformat='npz'"):
        medzoo.generate(901, 6, out=tmp_path / "more", format="png")
    assert not (tmp_path / "more").exists()


def test_an_unknown_format_lists_the_known(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"format='dicom' is unknown.\nKnown are png, npz"):
        medzoo.generate(toy(), 1, out=tmp_path / "set", format="dicom")
    with pytest.raises(InputError, match="format='png' without `out`"):
        medzoo.generate(901, 1, format="png")


def test_labels_alone_go_to_npz(toy: Toy) -> None:
    from medzoo.registry import resolve

    outputs = {"labels": resolve(toy()).default.outputs["labels"]}
    assert pick_format(None, outputs) == "npz"
    with pytest.raises(InputError, match="labels alone"):
        pick_format("png", outputs)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("provenance.json", "{"), ("provenance.json", "[]"), ("provenance.json", "{}"), ("provenance.json", '{"outputs": {"images": {}}}'),
        ("manifest.jsonl", "{"), ("manifest.jsonl", '{"a": 1}\n'), ("manifest.jsonl", "[1]\n"), ("manifest.jsonl", None), ("provenance.json", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("format_", ["png", "npz"])
def test_a_damaged_set_is_a_dataset_error(toy: Toy, tmp_path: Path, name: str, text: str | None, format_: str) -> None:
    medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set", format=format_)
    (tmp_path / "set" / name).unlink() if text is None else (tmp_path / "set" / name).write_text(text)
    with pytest.raises(DatasetError, match=re.escape(str(tmp_path / "set"))):
        _ = medzoo.read(tmp_path / "set").images
    with pytest.raises(DatasetError):
        medzoo.generate(901, 3, seed=1, out=tmp_path / "set", format=format_)


@pytest.mark.parametrize("damage", [b"", b"PK", b"\0" * 500])
def test_a_damaged_npz_is_a_dataset_error(toy: Toy, tmp_path: Path, damage: bytes) -> None:
    medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set", format="npz")
    (tmp_path / "set/samples.npz").write_bytes(damage)
    with pytest.raises(DatasetError, match=r"samples\.npz cannot be read"):
        medzoo.read(tmp_path / "set")


def test_a_picture_of_another_size_is_a_dataset_error(toy: Toy, tmp_path: Path) -> None:
    found = medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set")
    Image.new("RGB", (8, 8)).save(tmp_path / "set/images/000000_benign.png")
    with pytest.raises(DatasetError, match=r"000000_benign.png has the shape \(3, 8, 8\), not \(1, 8, 8\)"):
        _ = found.images


def test_a_folder_that_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no finished set"):
        medzoo.read(tmp_path)


def test_the_size_of_a_sample_is_measured(toy: Toy) -> None:
    samples = medzoo.generate(toy(), 8, seed=1)
    assert 300 < bytes_a_sample(samples, "png") < 2000
    assert 64 < bytes_a_sample(samples, "npz") < 2000


def test_a_run_that_fails_leaves_no_provenance_and_the_second_says_so(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(medzoo.MedzooError, match="failed on samples 8 to 11"):
        medzoo.generate(toy(FAILS_LATE), 20, seed=1, out=tmp_path / "set")
    assert not (tmp_path / "set/provenance.json").exists()
    assert not list((tmp_path / "set").rglob("*.part"))
    with pytest.raises(DatasetError, match="an unfinished set of samples"):
        medzoo.generate(901, 20, seed=1, out=tmp_path / "set")


def run(code: str, tmp_path: Path, **more: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "MEDZOO_MODEL_CONFIGS": str(tmp_path / "configs"), "MEDZOO_CACHE": str(tmp_path / "cache")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes, **more)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("format_", ["png", "npz"])
def test_a_killed_run_is_never_taken_for_a_whole_one(any_toy: Callable[..., int], tmp_path: Path, format_: str) -> None:
    out = tmp_path / "set"
    any_toy({"images": IMAGES}, options={"seconds": {"type": "float", "default": 0, "help": "Time a batch takes."}})
    process = run(
        f"import medzoo; medzoo.generate(901, 4000, seed=1, seconds=0.02, out={str(out)!r}, format={format_!r})", tmp_path
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("images/*.png"))) < 20 and not any(p.stat().st_size for p in out.glob(".images.raw.part")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "provenance.json").exists()
    assert not (out / "manifest.jsonl").exists()
    assert not (out / "samples.npz").exists()
    for path in out.glob("images/*.png"):  # what goes by the name of a picture is a whole one
        with Image.open(path) as picture:
            picture.load()
    before = content(out)
    with pytest.raises(DatasetError, match=r"unfinished set of samples \(a run that was stopped\).\nNothing was changed"):
        medzoo.generate(901, 4000, seed=1, out=out, format=format_)
    with pytest.raises(DatasetError, match="no finished set"):
        medzoo.read(out)
    assert content(out) == before


FULL_DISK = """
import resource, signal, medzoo
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    medzoo.generate(901, 4000, seed=1, batch_size=50, out={out!r}, format={format!r})
except medzoo.MedzooError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("format_", ["png", "npz"])
def test_a_file_that_grows_too_large_is_a_dataset_error(any_toy: Callable[..., int], tmp_path: Path, format_: str) -> None:
    any_toy({"images": column("image", "uint8", 1, 200, 200) if format_ == "png" else IMAGES})
    said, complaint = run(FULL_DISK.format(out=str(tmp_path / "set"), format=format_), tmp_path).communicate()
    assert complaint == ""
    assert said.startswith(f"DatasetError {tmp_path}/set could not be written: File too large.\nWhat was written stays")
    assert not (tmp_path / "set/provenance.json").exists()
    assert not list((tmp_path / "set").rglob("*.part"))


@pytest.mark.parametrize("format_", ["png", "npz"])
def test_a_full_disk_is_a_dataset_error(any_toy: Callable[..., int], tmp_path: Path, format_: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.name != "posix"
        or os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=False).returncode
    ):
        pytest.skip("a small disk can be mounted by root alone")
    try:
        any_toy({"images": column("image", "uint8", 1, 100, 100)})
        with pytest.raises(DatasetError, match="could not be written: No space left on device"):
            medzoo.generate(901, 100, seed=1, out=disk / "set", format=format_)
        assert not (disk / "set/provenance.json").exists()
        assert not list((disk / "set").rglob("*.part"))
    finally:
        subprocess.run(["umount", disk], check=True)


PEAK = """
import psutil, sys, threading, time, medzoo
me, peak, base = psutil.Process(), 0, 0
def watch():
    global peak
    while True:
        peak = max(peak, me.memory_info().rss)
        time.sleep(0.002)
medzoo.generate(901, 8, seed=0, out={out!r} + "warm", format={format!r})
base = me.memory_info().rss
threading.Thread(target=watch, daemon=True).start()
medzoo.generate(901, {n}, seed=1, out={out!r}, format={format!r})
print((peak - base) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["png", "npz"])
def test_memory_does_not_grow_with_the_number_of_samples(any_toy: Callable[..., int], tmp_path: Path, format_: str) -> None:
    any_toy({"images": column("image", "uint8", 1, 512, 512)})  # 1 MiB a batch of 4
    grown = {}
    for n in (16, 320):  # 4 and 80 MiB
        said, complaint = run(PEAK.format(out=str(tmp_path / f"{n}"), n=n, format=format_), tmp_path).communicate()
        assert complaint == ""
        grown[n] = float(said)
    assert grown[320] < grown[16] + 15, grown


def test_reading_a_column_of_npz_maps_the_file_and_loads_nothing(any_toy: Callable[..., int], tmp_path: Path) -> None:
    any_toy({"images": IMAGES})
    found = medzoo.generate(901, 4, out=tmp_path / "set", format="npz")
    assert isinstance(found.columns["images"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found.images[0] = 0
