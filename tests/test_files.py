"""Files: whole or absent; archives that cannot reach out of their folder."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
import stat
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medzoo import files
from medzoo.errors import DatasetError, IntegrityError


def make_zip(
    path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED
) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def link_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    return path


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 10**6)
    assert files.sha256_of(tmp_path / "a") == hashlib.sha256(b"abc" * 10**6).hexdigest()
    with (tmp_path / "a").open("rb") as file:
        assert files._digest(file) == files.sha256_of(tmp_path / "a")


def test_md5_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 10**6)
    assert files.digest_of(tmp_path / "a", "md5") == hashlib.md5(b"abc" * 10**6).hexdigest()


def test_space_is_asked_for_before_it_is_missed(tmp_path: Path) -> None:
    files.require_space(tmp_path, 1)
    with pytest.raises(
        OSError, match=r"1,152,921,504,606,846,976 bytes are needed and [\d,]+ are free"
    ) as caught:
        files.require_space(tmp_path, 2**60)
    assert caught.value.errno == errno.ENOSPC


def test_an_atomic_file_is_absent_until_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    with files.atomic(target) as file:
        file.write(b"whole")
        file.flush()
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(error), files.atomic(target) as file:  # noqa: PT012
        file.write(b"half")
        raise error
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_files_are_readable_as_the_umask_says(tmp_path: Path) -> None:
    with files.atomic(tmp_path / "atomic"):
        pass
    (tmp_path / "plain").touch()
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_json_is_sorted_and_keeps_letters(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"b": "µm", "a": [1]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.index('"a"') < text.index('"b"')
    assert "µm" in text
    assert json.loads(text) == {"a": [1], "b": "µm"}


def test_a_folder_made_aside_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "target"
    with files.folder_aside(target) as aside:
        (aside / "a").touch()
        assert not target.exists()
    assert [p.name for p in target.iterdir()] == ["a"]
    assert list(target.parent.iterdir()) == [target]
    assert (
        stat.S_IMODE(target.stat().st_mode) == 0o755
    )  # not the 0700 of a temporary folder: others may share the cache


def test_a_folder_made_aside_goes_when_making_it_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="half"), files.folder_aside(tmp_path / "target") as aside:  # noqa: PT012
        (aside / "a").touch()
        raise ValueError("half")
    assert list(tmp_path.iterdir()) == []


def test_whoever_makes_a_folder_first_wins(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with files.folder_aside(target) as aside:
        (aside / "ours").touch()
        target.mkdir()
        (target / "theirs").touch()
    assert [p.name for p in target.iterdir()] == ["theirs"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_new_folder_takes_the_place_of_none_or_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new", "deep/er"):
        with files.new_folder(tmp_path / name) as aside:
            (aside / "a").touch()
        assert [p.name for p in (tmp_path / name).iterdir()] == ["a"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "empty", "new"]


def test_a_new_folder_never_takes_the_place_of_something(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    for name in ("full", "file"):
        with (
            pytest.raises(DatasetError, match=r"holds something already.\nNothing was changed"),
            files.new_folder(tmp_path / name),
        ):
            raise AssertionError("not to be reached")
    with (
        pytest.raises(DatasetError, match="could not be written"),
        files.new_folder(tmp_path / "file" / "below"),
    ):
        raise AssertionError("not to be reached")
    with (  # noqa: PT012
        pytest.raises(DatasetError, match="could not be written"),
        files.new_folder(tmp_path / "late") as aside,
    ):
        (aside / "a").touch()
        (tmp_path / "late").mkdir()
        (tmp_path / "late" / "theirs").touch()
    assert sorted(p.name for p in tmp_path.rglob("*")) == [
        "file",
        "full",
        "late",
        "theirs",
        "thesis.tex",
    ]


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []

    def work(k: int) -> None:
        with files.locked(tmp_path / "locks" / "a.lock", 30) as held:
            assert held
            inside.append(k)
            time.sleep(0.02)
            assert inside == [k]
            inside.remove(k)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(12)))


def test_a_lock_is_waited_for_while_its_holder_works_and_not_for_ever(tmp_path: Path) -> None:
    lock, part = tmp_path / "a.lock", tmp_path / "a.part"

    def hold() -> float:
        with files.locked(lock, 30):
            started.set()
            for k in range(
                12
            ):  # signs of life, further apart than what the other waits for without one
                part.write_bytes(bytes(k))
                time.sleep(0.2)
            part.unlink()
            began = time.monotonic()
            released.wait(30)
            return began

    started, released = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(hold)
        started.wait(30)
        with files.locked(lock, 1, lambda: [part]) as held:
            gave_up = time.monotonic()
            released.set()
        assert not held
        assert 0.5 < gave_up - holder.result() < 10


def test_work_may_vanish_while_a_process_waits(tmp_path: Path) -> None:
    """Another process renames the folder that it unpacks to, while this one lists it."""

    def vanishing() -> Iterator[Path]:
        yield tmp_path
        raise FileNotFoundError(2, "No such file or directory")

    with files.locked(tmp_path / "a.lock", 1, vanishing) as held:
        assert held


@pytest.mark.parametrize("instead", ["file", "folder"])
def test_where_no_lock_can_be_taken_nobody_waits(tmp_path: Path, instead: str) -> None:
    if instead == "file":
        (tmp_path / "locks").touch()
    else:
        (tmp_path / "locks" / "a.lock").mkdir(parents=True)
    with files.locked(tmp_path / "locks" / "a.lock", 30) as held:
        assert not held


@pytest.mark.slow
def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = f"from medzoo import files; from pathlib import Path; c = files.locked(Path({str(tmp_path / 'a.lock')!r})); c.__enter__(); print(1, flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with files.locked(tmp_path / "a.lock", 0.1) as held:
            assert not held
        holder.kill()
        with files.locked(tmp_path / "a.lock", 30) as held:
            assert held


def test_unpacking_gives_the_files_without_rubbish(tmp_path: Path) -> None:
    rubbish = ("__MACOSX/p/w", "p/.DS_Store", "p/Thumbs.db", "p/sub/desktop.ini", "p/._w")
    archive = make_zip(
        tmp_path / "a.zip",
        {"p/model.py": b"x", "p/sub/w": b"yy", "p/e/": b"", **dict.fromkeys(rubbish, b"")},
    )
    files.unpack(archive, tmp_path / "out")
    found = sorted(
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*")
    )
    assert found == ["p", "p/e", "p/model.py", "p/sub", "p/sub/w"]
    assert (tmp_path / "out/p/sub/w").read_bytes() == b"yy"


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "..\\evil", "C:/evil", "C:\\evil", "a/.."]
)
def test_an_entry_that_points_outside_is_refused(tmp_path: Path, name: str) -> None:
    archive = make_zip(tmp_path / "a.zip", {name: b"x"})
    with pytest.raises(IntegrityError, match="points outside the folder"):
        files.unpack(archive, tmp_path / "in" / "out")
    assert not list(tmp_path.rglob("evil"))


def test_a_link_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="not a plain file"):
        files.unpack(link_zip(tmp_path / "a.zip"), tmp_path / "out")


def test_a_bomb_is_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a": bytes(files.MAX_RATIO * 2**16 + 1)})
    with pytest.raises(IntegrityError, match="would grow to 13,107,201 bytes"):
        files.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a": bytes(2**20)})
    content = archive.read_bytes().replace(
        (2**20).to_bytes(4, "little"), (10).to_bytes(4, "little")
    )
    archive.write_bytes(content)
    with pytest.raises(IntegrityError, match="broken"):
        files.unpack(archive, tmp_path / "out")
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file()) <= 2**16


def test_a_zip_in_a_zip_is_unpacked_and_compared_as_if_it_were_alone(tmp_path: Path) -> None:
    inner = make_zip(
        tmp_path / "inner.zip", {"p/model.py": b"x" * 5000, "p/w": bytes(range(256)) * 500}
    )
    for k, compression in enumerate((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)):
        archive = make_zip(
            tmp_path / f"{k}.zip",
            {"up/load.ZIP": inner.read_bytes(), "__MACOSX/x": b""},
            compression,
        )
        files.unpack(archive, tmp_path / f"out{k}")
        assert (tmp_path / f"out{k}/p/w").read_bytes() == bytes(range(256)) * 500
        assert files.difference(archive, tmp_path / f"out{k}") is None
        (tmp_path / f"out{k}/p/w").write_bytes(b"")
        assert files.difference(archive, tmp_path / f"out{k}") is not None


def test_a_zip_in_a_zip_beside_something_else_stays_one(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"a": b""}).read_bytes()
    files.unpack(
        make_zip(tmp_path / "a.zip", {"data.zip": inner, "model.py": b""}), tmp_path / "out"
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["data.zip", "model.py"]


@pytest.mark.parametrize("inner", ["bomb", "evil", "rubbish"])
def test_a_bad_zip_in_a_zip_is_refused(tmp_path: Path, inner: str) -> None:
    entries = {
        "bomb": {"w": bytes(files.MAX_RATIO * 2**16)},
        "evil": {"../evil": b"x"},
        "rubbish": {},
    }[inner]
    content = (
        make_zip(tmp_path / "inner.zip", entries, zipfile.ZIP_STORED).read_bytes()
        if entries
        else b"hello"
    )
    says = {
        "bomb": r"broken \(a zip of 13,107,\d+ bytes inside\)",
        "evil": "points outside",
        "rubbish": "broken",
    }[inner]
    with pytest.raises(IntegrityError, match=says):
        files.unpack(make_zip(tmp_path / "a.zip", {"b.zip": content}), tmp_path / "in" / "out")
    assert not list(tmp_path.rglob("evil"))


def test_a_disk_that_is_too_small_is_said_before_a_byte_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_zip(tmp_path / "a.zip", {"w": bytes(10_000)})
    monkeypatch.setattr(
        "shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 9_999, 9_999)
    )  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="10,000 bytes are needed and 9,999 are free"):
        files.unpack(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 3)
    with pytest.raises(IntegrityError, match="holds 4 files, more than 3"):
        files.unpack(make_zip(tmp_path / "a.zip", dict.fromkeys("abcd", b"")), tmp_path / "out")


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("model.py", "good")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("model.py", "evil")
    with pytest.raises(IntegrityError, match="broken"):
        files.unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_file_that_is_a_folder_too_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="broken"):
        files.unpack(make_zip(tmp_path / "a.zip", {"a": b"", "a/b": b""}), tmp_path / "out")


def test_an_uncommon_compression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="compressed in a way"):
        files.unpack(
            make_zip(tmp_path / "a.zip", {"a": b"x" * 99}, zipfile.ZIP_LZMA), tmp_path / "out"
        )


NAMES = st.lists(
    st.sampled_from(
        ["a", "b", "..", ".", "", "c.py", "~", "C:", "\\", "µ", "__MACOSX", ".DS_Store", "con"]
    ),
    min_size=1,
    max_size=4,
)
ENTRIES = st.dictionaries(NAMES.map("/".join), st.binary(max_size=50), max_size=6)


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    entries=ENTRIES,
    kind=st.sampled_from(
        [0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK]
    ),
)
def test_whatever_an_archive_names_stays_in_the_folder_and_is_plain(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, bytes], kind: int
) -> None:
    folder = tmp_path_factory.mktemp("names")
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (kind | 0o777) << 16
            archive.writestr(entry, content)
    try:
        files.unpack(folder / "a.zip", folder / "in" / "out")
    except IntegrityError:
        pass
    else:
        assert files.difference(folder / "a.zip", folder / "in" / "out") is None
    made = [
        p
        for p in folder.rglob("*")
        if p not in (folder / "a.zip", folder / "in", folder / "in" / "out")
    ]
    assert all(p.is_relative_to(folder / "in" / "out") for p in made)
    assert all(stat.S_ISREG(m) or stat.S_ISDIR(m) for m in (p.lstat().st_mode for p in made))


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(size=st.integers(1, 300_000), claimed=st.integers(0, 300_000))
def test_headers_that_lie_about_sizes_never_write_more_than_they_claim(
    tmp_path_factory: pytest.TempPathFactory, size: int, claimed: int
) -> None:
    folder = tmp_path_factory.mktemp("lies")
    archive = make_zip(folder / "a.zip", {"w": bytes(size)})
    with zipfile.ZipFile(archive) as content:
        packed = content.getinfo("w").compress_size
    raw = archive.read_bytes()
    sizes = struct.pack("<II", packed, size), struct.pack("<II", packed, claimed)
    assert raw.count(sizes[0]) == 2  # in front of the entry and in the directory
    archive.write_bytes(raw.replace(*sizes))
    try:
        files.unpack(archive, folder / "out")
    except IntegrityError:
        assert claimed != size
    written = sum(p.stat().st_size for p in folder.rglob("w"))
    assert written <= claimed
    assert written == size or claimed != size


def _whole() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.py", "print('some code') " * 5)
        archive.writestr("sub/weights", bytes(range(256)))
    return buffer.getvalue()


WHOLE = _whole()


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    cut=st.none() | st.integers(0, len(WHOLE) - 1),
    at=st.integers(0, len(WHOLE) - 1),
    byte=st.integers(0, 255),
)
def test_a_damaged_archive_is_an_integrity_error_or_still_its_own_content(
    tmp_path_factory: pytest.TempPathFactory, cut: int | None, at: int, byte: int
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    damaged = WHOLE[:cut] if cut is not None else WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]
    (folder / "a.zip").write_bytes(damaged)
    try:
        files.unpack(folder / "a.zip", folder / "in" / "out")
    except IntegrityError:
        pass
    except OSError as error:  # a name that this file system does not take
        assert error.errno in (errno.EILSEQ, errno.EINVAL)  # noqa: PT017
    outside = [
        p for p in folder.rglob("*") if p.is_file() and not p.is_relative_to(folder / "in" / "out")
    ]
    assert outside == [folder / "a.zip"]


def test_the_difference_from_an_archive_names_the_file(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"model.py": b"one", "w": b"two"})
    files.unpack(archive, tmp_path / "out")
    (tmp_path / "out" / "__pycache__").mkdir()
    (tmp_path / "out" / "__pycache__" / "x.pyc").touch()
    assert files.difference(archive, tmp_path / "out") is None
    (tmp_path / "out" / "w").write_bytes(b"twO")
    sha = {c: hashlib.sha256(c).hexdigest() for c in (b"two", b"twO", b"")}
    assert files.difference(archive, tmp_path / "out") == ("w", sha[b"two"], sha[b"twO"])
    (tmp_path / "out" / "w").unlink()
    assert files.difference(archive, tmp_path / "out") == ("w", sha[b"two"], "no such file")
    (tmp_path / "out" / "w").write_bytes(b"two")
    (tmp_path / "out" / "more.py").touch()
    assert files.difference(archive, tmp_path / "out") == ("more.py", "no such file", sha[b""])


def test_an_entry_that_no_disk_can_hold_means_a_broken_archive(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"model.py": b"", "w" * 300: b"weights"})
    with pytest.raises(IntegrityError, match=r"a\.zip was not unpacked: it is broken"):
        files.unpack(archive, tmp_path / "out")


def test_a_flipped_byte_anywhere_in_an_archive_is_a_broken_archive(tmp_path: Path) -> None:
    content = make_zip(tmp_path / "a.zip", {"a/model.py": b"x" * 40, "w": bytes(60)}).read_bytes()
    for place in range(len(content)):
        for mask in (0x80, 0x01):
            flipped = bytearray(content)
            flipped[place] ^= mask
            (tmp_path / "b.zip").write_bytes(flipped)
            target = tmp_path / f"out{place}-{mask}"
            with suppress(IntegrityError):  # and never an OSError, as of the disk
                files.unpack(tmp_path / "b.zip", target)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git-lfs pointer"),
        (b"\xef\xbb\xbf<!DOCTYPE HTML>\n<html lang='de'>", "web page"),
        (b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'>", "web page"),
        (b"<?xml version='1.0'?><plist>", ""),
        (b"", ""),
    ],
)
def test_what_lies_in_place_of_a_file_is_told(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    assert says in files.disguise(tmp_path / "a.zip")
    assert bool(says) == bool(files.disguise(tmp_path / "a.zip"))
    if says:
        with pytest.raises(IntegrityError, match=f"a.zip was not unpacked: it is a {says}"):
            files.unpack(tmp_path / "a.zip", tmp_path / "out")


def test_what_is_not_there_is_no_disguise(tmp_path: Path) -> None:
    assert files.disguise(tmp_path / "nothing") == files.disguise(tmp_path) == ""
