"""A run that is stopped, however it is stopped, continues with the same command and ends as if nothing had happened."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import NUMPY_MODEL
from killer import RESULT
from sets import IMAGES, KINDS, SECONDS, Toy, column, content, python, same

import medzoo
from medzoo.config import Version
from medzoo.datasets import journal
from medzoo.datasets.journal import Journal
from medzoo.errors import DatasetError, MedzooWarning, PackageError
from medzoo.generation import run as run_module

posix = pytest.mark.skipif(os.name == "nt", reason="no fork and no SIGKILL there")
KILLER = Path(__file__).parent / "killer.py"


def killed(tmp_path: Path, **spec: Any) -> dict[str, Any]:
    """What killer.py found."""
    work = tmp_path / "work"
    work.mkdir()
    spec = {"folder": str(work), "seed": 5, "every": 10**6, "chains": 0, "late": 0, **spec}
    said, complaint = python(tmp_path, str(KILLER), json.dumps(spec)).communicate()
    assert RESULT in said, complaint
    found: dict[str, Any] = json.loads(said.split(RESULT)[1])
    return found


@posix
@pytest.mark.slow
@pytest.mark.parametrize("format_", KINDS)
def test_a_run_killed_at_any_instant_ends_as_one_that_was_not(
    any_toy: Toy, tmp_path: Path, format_: str
) -> None:
    any_toy(KINDS[format_], labels=True)
    asked = {"model_id": 901, "n": 7, "batch_size": 3, "format": format_}
    every = 5 if format_ in {"nifti", "dicom"} else 1
    found = killed(tmp_path, asked=asked, every=every, chains=2, shard=5000)
    assert found["differs"] == {}
    assert found["instants"] > 40
    assert found["kills"] > found["instants"] / every


@posix
@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [{"format": "png", "layout": "classes"}, {"format": "webdataset", "shard_samples": 2}]
)
def test_a_run_of_another_arrangement_killed_at_any_instant_ends_as_one_that_was_not(
    any_toy: Toy, tmp_path: Path, how: dict[str, Any]
) -> None:
    any_toy({"images": column("image", "uint8", 1, 8, 8)}, labels=True)
    asked = {"model_id": 901, "n": 5, "batch_size": 3, **how}
    found = killed(tmp_path, asked=asked, every=4)
    assert found["differs"] == {}
    assert found["kills"] > 10


@posix
@pytest.mark.slow
@pytest.mark.parametrize("format_", ["png", "npz"])
def test_a_run_killed_by_the_clock_ends_as_one_that_was_not(
    any_toy: Toy, tmp_path: Path, format_: str
) -> None:
    any_toy({"images": column("image", "uint8", 1, 64, 64)}, options=SECONDS)
    asked = {"model_id": 901, "n": 320, "batch_size": 8, "format": format_, "seconds": 0.01}
    found = killed(tmp_path, asked=asked, late=3, seconds=0.3)  # of at least 0.4 in all
    assert found["differs"] == {}
    assert found["kills"] >= 3


# ------------------------------------------------------------------------------------------- a model that fails on call
def begin(fails: Path, folder: Path, **asked: Any) -> None:
    """Leave an unfinished set of eight samples in ``folder``."""
    (fails / "fail").touch()
    with pytest.raises(PackageError, match="as it was told"):
        medzoo.generate(901, **{"n": 20, "seed": 1, "out": folder, **asked})
    (fails / "fail").unlink()
    assert (folder / journal.RECORD).exists()
    assert not (folder / "provenance.json").exists()


@pytest.mark.parametrize("format_", ["png", "npz", "webdataset"])
def test_a_run_that_failed_continues_where_it_was(
    fails: Path, tmp_path: Path, format_: str
) -> None:
    asked = {"n": 20, "seed": 1, "format": format_}
    medzoo.generate(901, out=tmp_path / "whole", **asked)
    begin(fails, tmp_path / "set", format=format_)
    with pytest.raises(DatasetError, match="no finished set"):
        medzoo.read(tmp_path / "set")
    medzoo.generate(901, out=tmp_path / "set", **asked)
    assert same(tmp_path / "whole", tmp_path / "set") == []
    log = (tmp_path / "set/run.log").read_text().splitlines()
    assert [line.split()[0] for line in log] == ["began", "continued", "ended"]
    assert log[1].endswith("8 of 20 samples are there")


def test_without_a_seed_the_one_of_the_folder_is_taken(fails: Path, tmp_path: Path) -> None:
    begin(fails, tmp_path / "set", seed=None)
    found = medzoo.generate(901, 20, out=tmp_path / "set")
    again = medzoo.generate(901, 20, out=tmp_path / "set")
    assert found.provenance["seed"] == again.provenance["seed"]
    medzoo.generate(901, 20, out=tmp_path / "whole", seed=found.provenance["seed"])
    assert same(tmp_path / "whole", tmp_path / "set") == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": 2}, "seed 1, now 2"),
        ({"n": 21}, "n 20, now 21"),
        ({"condition": "benign"}, "options.condition None, now 'benign'"),
        ({"format": "npz"}, "format 'png', now 'npz'"),
    ],
)
def test_another_command_is_refused_and_the_set_can_still_be_continued(
    fails: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    asked: dict[str, Any] = {"n": 20, "seed": 1, "out": tmp_path / "set"}
    begin(fails, tmp_path / "set")
    before = content(tmp_path / "set")
    with pytest.raises(
        DatasetError,
        match=re.escape(f"holds an unfinished set of other samples: {says}.\nNothing was changed"),
    ):
        medzoo.generate(901, **{**asked, **changes})
    assert content(tmp_path / "set") == before
    assert len(medzoo.generate(901, **asked)) == 20


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def more(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more" * 999)


DAMAGES = {
    "a picture is changed": ("png", lambda s: flip(s / "images/000006_benign.png")),
    "a picture is gone": ("png", lambda s: (s / "images/000001_malignant.png").unlink()),
    "a picture is half there": (
        "png",
        lambda s: (s / "images/.000009_x.png.12.ab.part").write_bytes(b"half"),
    ),
    "the manifest lost its end": ("png", lambda s: cut(s / "manifest.jsonl")),
    "the manifest is gone": ("png", lambda s: (s / "manifest.jsonl").unlink()),
    "the journal lost its end": ("png", lambda s: cut(s / journal.JOURNAL)),
    "the journal is gone": ("png", lambda s: (s / journal.JOURNAL).unlink()),
    "the journal is noise": ("png", lambda s: (s / journal.JOURNAL).write_bytes(b"\xff\n[1]\n")),
    "the arrays are changed": ("npz", lambda s: flip(s / "samples.npz")),
    "the arrays are gone": ("npz", lambda s: (s / "samples.npz").unlink()),
    "the shard is empty": ("webdataset", lambda s: (s / "shards/000000.tar").write_bytes(b"")),
    "the shard has more": ("webdataset", lambda s: more(s / "shards/000000.tar")),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_what_was_damaged_meanwhile_is_made_again(fails: Path, tmp_path: Path, what: str) -> None:
    format_, damage = DAMAGES[what]
    medzoo.generate(901, 20, seed=1, out=tmp_path / "whole", format=format_)
    begin(fails, tmp_path / "set", format=format_)
    damage(tmp_path / "set")
    medzoo.generate(901, 20, seed=1, out=tmp_path / "set", format=format_)
    assert same(tmp_path / "whole", tmp_path / "set") == []


def test_a_damaged_record_is_an_error_that_changes_nothing(fails: Path, tmp_path: Path) -> None:
    begin(fails, tmp_path / "set")
    cut(tmp_path / "set" / journal.RECORD)
    before = content(tmp_path / "set")
    for seed in (1, None):
        with pytest.raises(
            DatasetError, match=r"record\.json cannot be read(.|\n)*Nothing was changed"
        ):
            medzoo.generate(901, 20, seed=seed, out=tmp_path / "set")
    assert content(tmp_path / "set") == before


# --------------------------------------------------------------------------------------------------------- batch sizes
@posix
def test_a_halving_is_remembered_though_the_run_is_killed_at_once(
    fails: Path, tmp_path: Path
) -> None:
    (fails / "memory").touch()
    medzoo.generate(901, 20, seed=1, out=tmp_path / "whole")
    for name in ("memory", "kill"):
        (fails / name).touch()
    process = python(
        tmp_path,
        "-c",
        f"import medzoo; medzoo.generate(901, 20, seed=1, out={str(tmp_path / 'set')!r})",
    )
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    found = medzoo.generate(901, 20, seed=1, out=tmp_path / "set")  # with memory enough
    assert found.provenance["batches"] == [[0, 4], [8, 2]]
    assert same(tmp_path / "whole", tmp_path / "set") == []


def test_boundaries_come_from_the_folder(fails: Path, tmp_path: Path) -> None:
    medzoo.generate(901, 20, seed=1, out=tmp_path / "whole", batch_size=3)
    begin(fails, tmp_path / "set", batch_size=3)
    assert medzoo.generate(901, 20, seed=1, out=tmp_path / "set").provenance["batches"] == [[0, 3]]
    assert same(tmp_path / "whole", tmp_path / "set") == []


def test_another_batch_size_holds_from_there_on(
    fails: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(fails, tmp_path / "set")
    found = medzoo.generate(901, 20, seed=1, out=tmp_path / "set", batch_size=5)
    assert found.provenance["batches"] == [[0, 4], [8, 5]]
    assert medzoo.reproduce(tmp_path / "set").equal
    monkeypatch.setattr(Version, "per_sample", property(lambda self: False))
    begin(fails, tmp_path / "second")
    with pytest.raises(
        DatasetError, match=r"started with batches of 4 samples, not 5(.|\n)*batch_size=4"
    ):
        medzoo.generate(901, 20, seed=1, out=tmp_path / "second", batch_size=5)
    assert len(medzoo.generate(901, 20, seed=1, out=tmp_path / "second", batch_size=4)) == 20


def test_a_run_that_failed_before_its_first_sample_begins_anew(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"import pathlib\nif pathlib.Path({str(tmp_path / 'fail')!r}).exists():\n    1 / 0\n"
    toy(
        NUMPY_MODEL.replace(
            "        images = np", textwrap.indent(code, "        ") + "        images = np", 1
        )
    )
    (tmp_path / "fail").touch()
    with pytest.raises(PackageError):
        medzoo.generate(901, 3, seed=1, out=tmp_path / "set")
    (tmp_path / "fail").unlink()
    monkeypatch.setattr(
        run_module, "__version__", "9.9"
    )  # warnings are errors here: nothing is said of it
    found = medzoo.generate(901, 3, seed=1, out=tmp_path / "set")
    assert found.provenance["libraries"]["medzoo"] == "9.9"
    assert "continued" not in found.provenance
    assert medzoo.verify(tmp_path / "set").ok


def test_other_circumstances_are_said_and_recorded(
    fails: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(fails, tmp_path / "set")
    monkeypatch.setattr(run_module, "__version__", "9.9")
    (fails / "fail").touch()
    with (
        pytest.raises(PackageError),
        pytest.warns(MedzooWarning, match=r"under other conditions \(libraries\)"),
    ):
        medzoo.generate(901, 20, seed=1, out=tmp_path / "set")
    (fails / "fail").unlink()
    found = medzoo.generate(
        901, 20, seed=1, out=tmp_path / "set"
    )  # no warning: the same as the last time
    assert found.provenance["continued"] == [{"done": 8, "libraries": {"medzoo": "9.9"}}]
    assert found.provenance["libraries"]["medzoo"] == medzoo.__version__


# ------------------------------------------------------------------------------------------------------------ full disk
FULL_DISK = """
import resource, signal, sys, medzoo
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    medzoo.generate(901, 400, seed=1, batch_size=50, out=sys.argv[1], format=sys.argv[2])
except medzoo.MedzooError as error:
    print(type(error).__name__, error)
"""


@posix
@pytest.mark.parametrize("format_", ["png", "npz", "webdataset", "csv"])
def test_a_file_that_cannot_grow_is_a_dataset_error_and_the_set_is_continued_later(
    any_toy: Toy, tmp_path: Path, format_: str
) -> None:
    any_toy(
        {"table": column("table", "float32", 20)}
        if format_ == "csv"
        else {"images": column("image", "uint8", 1, 20, 20)}
    )
    medzoo.generate(901, 400, seed=1, batch_size=50, out=tmp_path / "whole", format=format_)
    said, complaint = python(
        tmp_path, "-c", FULL_DISK, str(tmp_path / "set"), format_
    ).communicate()
    assert complaint == ""
    assert said.startswith(
        f"DatasetError {tmp_path}/set could not be written: File too large.\nWhat was written stays"
    )
    assert "the same command continues it" in said
    medzoo.generate(901, 400, seed=1, batch_size=50, out=tmp_path / "set", format=format_)
    assert same(tmp_path / "whole", tmp_path / "set") == []


@pytest.mark.parametrize("format_", KINDS)
def test_a_full_disk_is_a_dataset_error_and_the_set_is_continued_later(
    any_toy: Toy, tmp_path: Path, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The disk fills while the set is written; what cannot fit from the start is refused ahead.
    monkeypatch.setattr("medzoo.generation.capacity.free_disk", lambda _: None)
    disk = tmp_path / "disk"
    disk.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", disk]
    if (
        os.name != "posix"
        or os.geteuid() != 0
        or subprocess.run(small, check=False, capture_output=True).returncode
    ):
        pytest.skip("a small disk can be mounted by root alone")
    try:
        any_toy(KINDS[format_], labels=True)
        n = {"csv": 8000, "npz": 2000}.get(format_, 120)
        asked = {"n": n, "seed": 1, "batch_size": n // 12, "format": format_}
        medzoo.generate(901, out=tmp_path / "whole", **asked)
        for size in ("96k", "128k", "192k"):
            subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
            with pytest.raises(DatasetError, match="could not be written: No space left on device"):
                medzoo.generate(901, out=disk / "set", **asked)
            assert not (disk / "set/provenance.json").exists()
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        medzoo.generate(901, out=disk / "set", **asked)
        assert same(tmp_path / "whole", disk / "set") == []
    finally:
        subprocess.run(["umount", disk], check=True)


# ---------------------------------------------------------------------------------------------------------- two at once
SLOW = """
import sys, medzoo
try:
    medzoo.generate(901, 60, seed=1, seconds=float(sys.argv[2]), out=sys.argv[1], batch_size=4)
except medzoo.MedzooError as error:
    sys.exit(str(error))
"""


def test_a_second_process_is_refused_while_the_first_writes(any_toy: Toy, tmp_path: Path) -> None:
    any_toy({"images": IMAGES}, options=SECONDS)
    first = python(tmp_path, "-c", SLOW, str(tmp_path / "set"), "0.1")
    deadline = time.monotonic() + 60
    while not (tmp_path / "set" / journal.RECORD).exists():
        assert time.monotonic() < deadline
        assert first.poll() is None, first.communicate()
        time.sleep(0.01)
    with pytest.raises(
        DatasetError, match=rf"Another process is writing to .*began .*, pid {first.pid}\)"
    ):
        medzoo.generate(901, 60, seed=1, seconds=0.1, out=tmp_path / "set", batch_size=4)
    assert first.communicate() == ("", "")
    assert (
        len(medzoo.generate(901, 60, seed=1, seconds=0.1, out=tmp_path / "set", batch_size=4)) == 60
    )


def test_of_several_processes_at_once_one_writes_and_the_set_is_whole(
    any_toy: Toy, tmp_path: Path
) -> None:
    any_toy({"images": IMAGES}, options=SECONDS)
    medzoo.generate(901, 60, seed=1, seconds=0.02, out=tmp_path / "whole", batch_size=4)
    several = [python(tmp_path, "-c", SLOW, str(tmp_path / "set"), "0.02") for _ in range(4)]
    complaints = [p.communicate()[1] for p in several]
    assert "" in complaints
    assert all(c == "" or c.startswith("Another process is writing to") for c in complaints), (
        complaints
    )
    assert same(tmp_path / "whole", tmp_path / "set") == []


def test_a_process_that_was_killed_blocks_nobody(fails: Path, tmp_path: Path) -> None:
    begin(fails, tmp_path / "set")
    assert (tmp_path / "set" / journal.UNFINISHED / "lock").exists()
    assert len(medzoo.generate(901, 20, seed=1, out=tmp_path / "set")) == 20
    assert not (tmp_path / "set" / journal.UNFINISHED).exists()


NO_LOCKS = """
import fcntl, sys
def flock(descriptor, how):
    raise OSError(int(sys.argv[1]), "no locks")
fcntl.flock = flock
from medzoo.cli import main
sys.exit(main(sys.argv[2:]))
"""


@posix
@pytest.mark.parametrize("error", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_on_a_disk_without_locks_a_killed_run_is_continued_and_the_user_is_told(
    fails: Path, tmp_path: Path, error: int
) -> None:
    (fails / "memory").touch()
    medzoo.generate(901, 20, seed=1, out=tmp_path / "whole")
    for name in ("memory", "kill"):
        (fails / name).touch()
    asked = [
        "-c",
        NO_LOCKS,
        str(error),
        "generate",
        "901",
        "-n",
        "20",
        "--seed",
        "1",
        "--quiet",
        "--out",
        str(tmp_path / "set"),
    ]
    warning = f"medzoo: warning: The disk of {tmp_path / 'set'} has no locks: nothing keeps another process from writing there"
    for code in (-signal.SIGKILL, 0):
        process = python(tmp_path, *asked)
        said, complaint = process.communicate()
        assert process.returncode == code
        assert said == ""
        assert complaint.startswith(warning)
        assert complaint.count("\n") == 1
        for lock in (tmp_path / "set").glob(".unfinished/lock*"):
            assert (
                lock.read_bytes() == b""
            )  # no mark of a process, which on another host nobody could tell to be dead
    assert same(tmp_path / "whole", tmp_path / "set") == []


# --------------------------------------------------------------------------------------------- samples that are at hand
def test_saving_is_not_resumed_and_never_mixed_with_a_run(
    fails: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = medzoo.generate(901, 200, seed=1)
    real = Journal.commit

    def full(self: Journal, done: int, state: Any) -> None:
        if done > 64:
            raise OSError(28, "full")
        real(self, done, state)

    monkeypatch.setattr(Journal, "commit", full)
    with pytest.raises(
        DatasetError, match=r"No space left on device.\nWhat was written stays: remove it"
    ):
        samples.save(tmp_path / "set")
    monkeypatch.undo()
    monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", str(tmp_path / "configs"))
    before = content(tmp_path / "set")
    with pytest.raises(DatasetError, match="holds an unfinished set of samples"):
        samples.save(tmp_path / "set")
    with pytest.raises(DatasetError, match="being saved from memory"):
        medzoo.generate(901, 200, seed=1, out=tmp_path / "set")
    assert content(tmp_path / "set") == before
    shutil.rmtree(tmp_path / "set")
    assert len(samples.save(tmp_path / "set")) == 200
