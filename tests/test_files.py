"""Files: whole or absent; archives that cannot reach out of their folder."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medzoo import files
from medzoo.errors import IntegrityError


def make_zip(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
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


def test_an_atomic_file_is_absent_until_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    with files.atomic(target) as file:
        file.write(b"whole")
        file.flush()
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, error: type[BaseException]) -> None:
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
    assert stat.S_IMODE(target.stat().st_mode) == 0o755  # not the 0700 of a temporary folder: others may share the cache


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


def test_unpacking_gives_the_files_without_rubbish(tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "a.zip", {"p/model.py": b"x", "p/sub/w": b"yy", "__MACOSX/p/w": b"", "p/.DS_Store": b"", "p/e/": b""}
    )
    files.unpack(archive, tmp_path / "out")
    found = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*"))
    assert found == ["p", "p/e", "p/model.py", "p/sub", "p/sub/w"]
    assert (tmp_path / "out/p/sub/w").read_bytes() == b"yy"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "..\\evil", "C:/evil", "C:\\evil", "a/.."])
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
    content = archive.read_bytes().replace((2**20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    archive.write_bytes(content)
    with pytest.raises(IntegrityError, match="broken"):
        files.unpack(archive, tmp_path / "out")
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file()) <= 2**16


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
        files.unpack(make_zip(tmp_path / "a.zip", {"a": b"x" * 99}, zipfile.ZIP_LZMA), tmp_path / "out")


def _whole() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.py", "print('some code') " * 5)
        archive.writestr("sub/weights", bytes(range(256)))
    return buffer.getvalue()


WHOLE = _whole()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.none() | st.integers(0, len(WHOLE) - 1), at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255))
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
    outside = [p for p in folder.rglob("*") if p.is_file() and not p.is_relative_to(folder / "in" / "out")]
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
