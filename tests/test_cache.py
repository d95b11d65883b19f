"""The cache: what is in it, what of it may go, and whether it still is what it was."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Zenodo
from package_index import PackageIndex

from medzoo import environments, files
from medzoo.cli import main
from medzoo.environments import records, wheels
from medzoo.errors import ModelNotFoundError
from medzoo.packages import cache, download, store
from medzoo.registry import resolve

Capture = pytest.CaptureFixture[str]
MODEL = "00901_TOY_MRI_NOISE"
needs_locks = pytest.mark.skipif(
    os.name == "nt", reason="on Windows only a program that runs keeps its folder"
)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files of these tests' own: what others left in the usual folder is listed too."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)


@pytest.fixture
def filled(zenodo: Zenodo, index: PackageIndex) -> int:
    """The number of a model that was downloaded, unpacked, and given an environment."""
    number = zenodo.register(requires=["numpy"])
    config = resolve(number)
    store.package(config, config.default)
    environments.isolated(config, config.default)
    return number


def kinds() -> list[str]:
    return [e.kind for e in cache.entries()]


def entry(kind: str) -> cache.Entry:
    (found,) = [e for e in cache.entries() if e.kind == kind]
    return found


def said(capsys: Capture, *words: str, code: int = 0) -> str:
    """What `medzoo cache` prints."""
    assert main(["cache", *words]) == code
    return capsys.readouterr().out


def test_a_cache_that_is_not_there_is_empty(capsys: Capture, tmp_path: Path) -> None:
    assert cache.entries() == []
    assert "not made yet" in said(capsys)
    assert json.loads(said(capsys, "--json")) == {
        "folder": str(tmp_path / "cache"),
        "bytes": 0,
        "entries": [],
    }
    assert said(capsys, "remove", "--all") == "nothing to remove\n"
    assert said(capsys, "verify") == "nothing to verify\n"
    assert not (tmp_path / "cache").exists()


def test_what_is_there_is_listed_with_sizes_and_models(
    filled: int, capsys: Capture, tmp_path: Path
) -> None:
    content = json.loads(said(capsys, "--json"))
    assert content == json.loads(said(capsys, "list", "--json"))
    assert [e["kind"] for e in content["entries"]] == ["download", "package", "environment"]
    assert all(e["models"] == [MODEL] for e in content["entries"])
    for e in content["entries"]:
        inside = [p for p in Path(e["path"]).rglob("*") if p.is_file() and not p.is_symlink()]
        assert e["bytes"] == sum(p.stat().st_size for p in inside) > 0
    environment = content["entries"][2]
    assert environment["frees"] == environment["bytes"]  # no other environment has its files
    assert len(environment["used"]) == len("2026-01-01")
    assert sum(e["bytes"] for e in content["entries"]) < content["bytes"]
    text = said(capsys)
    assert text.startswith(f"{tmp_path / 'cache'}  (")
    assert environment["name"] in text
    assert "package.zip" in text


def test_what_is_linked_twice_counts_once(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/a").write_bytes(b"x" * 1000)
    (tmp_path / "cache/b").hardlink_to(tmp_path / "cache/a")
    assert cache.total() == 1000


@pytest.mark.parametrize("name", ["901", "00901", MODEL, "00901_toy"])
def test_a_model_is_removed_with_all_that_is_its_alone(
    filled: int, capsys: Capture, name: str
) -> None:
    text = said(capsys, "remove", name)
    assert [line.split()[:2] for line in text.splitlines()] == [
        ["removed", k] for k in ("download", "package", "environment")
    ]
    assert kinds() == []
    config = resolve(filled)
    assert store.package(config, config.default).path.is_dir()  # and comes again
    assert said(capsys, "remove", "8") == "nothing to remove\n"


def test_an_environment_that_other_models_need_stays_until_the_last_of_them_goes(
    filled: int, capsys: Capture
) -> None:
    config = resolve(filled)
    other = replace(config, id="00902_TOY_MRI_NOISE")
    environments.isolated(other, other.default)
    assert entry("environment").models == (MODEL, other.id)
    text = said(capsys, "remove", str(filled))
    assert f"kept environment {entry('environment').path.name}: {other.id} needs it too" in text
    assert kinds() == ["environment"]
    assert entry("environment").models == (other.id,)
    said(capsys, "remove", other.id)  # which no registry names
    assert kinds() == []


def test_one_thing_is_removed_by_the_beginning_of_its_name(filled: int, capsys: Capture) -> None:
    key = entry("environment").path.name
    assert json.loads(said(capsys, "remove", key[:6], "--json")) == {
        "removed": [str(records.path_of(key))],
        "kept": {},
    }
    assert kinds() == ["download", "package"]


@pytest.mark.parametrize(
    "name", ["nowhere", "0123456789abcdef", "", "4711", "../environments", "0"]
)
def test_what_is_not_there_is_said_and_nothing_is_removed(filled: int, name: str) -> None:
    with pytest.raises(ModelNotFoundError):
        cache.remove(name)
    assert kinds() == ["download", "package", "environment"]


@pytest.mark.parametrize("words", [["remove"], ["remove", "8", "--all"]])
def test_remove_takes_one_thing_or_all(filled: int, words: list[str], capsys: Capture) -> None:
    assert main(["cache", *words]) == 2
    assert "remove what?" in capsys.readouterr().err
    assert len(kinds()) == 3


def test_all_goes_but_what_was_trusted_is_known_again(
    zenodo: Zenodo, index: PackageIndex, capsys: Capture, tmp_path: Path
) -> None:
    config = resolve(zenodo.register(digest=""))  # Zenodo's own md5 is taken at the first use
    store.package(config, config.default)
    environments.isolated(config, config.default)
    before = (tmp_path / "cache/digests.json").read_text()
    said(capsys, "remove", "--all")
    assert kinds() == []
    assert (tmp_path / "cache/digests.json").read_text() == before


@needs_locks
def test_what_a_running_process_uses_stays(filled: int, capsys: Capture) -> None:
    config = resolve(filled)
    kept = [store.package(config, config.default), environments.isolated(config, config.default)]
    assert main(["cache", "remove", "--all"]) == 15
    out, err = capsys.readouterr()
    assert out.count("a running process uses it") == 2
    assert "2 of 3 could not be removed" in err
    assert kinds() == ["package", "environment"]
    kept.clear()
    said(capsys, "remove", "--all")
    assert kinds() == []


HOLD = "import sys\nfrom pathlib import Path\nfrom medzoo import files\nwith files.locked(Path(sys.argv[1])) as held:\n    print(held, flush=True)\n    sys.stdin.read()"


@pytest.mark.parametrize("kind", ["download", "package", "environment"])
def test_what_a_process_is_making_stays(filled: int, kind: str) -> None:
    config, found = resolve(filled), entry(kind)
    place = download.place(config, config.default)
    lock = {
        "download": place.lock,
        "package": store.lock_of(place.sha256),
        "environment": records.lock_of(found.path.name),
    }[kind]
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as maker:
        assert maker.stdout
        assert maker.stdout.readline() == "True\n"
        assert [e.kind for e, _ in cache.clear().failed] == [kind]
        maker.kill()
    assert [e.kind for e in cache.clear().removed] == [kind]  # a dead one blocks nothing


KILL = "import os, shutil\nfrom medzoo import files\nfrom medzoo.packages import cache\nshutil.rmtree = lambda *a, **k: os._exit(9)\ncache.clear()"


def test_a_removal_that_is_killed_leaves_nothing_that_counts(filled: int, capsys: Capture) -> None:
    left = [*kinds()]
    for _ in range(3):  # each dies with one thing renamed, and none of it deleted
        assert subprocess.run([sys.executable, "-c", KILL], check=False).returncode == 9
        left = left[1:]
        assert [k for k in kinds() if k != "unfinished"] == left
    assert (
        kinds() == ["unfinished"] * 4
    )  # three folders, and the record of an environment that is gone
    assert records.every() == []
    said(capsys, "remove", "--all")
    assert kinds() == []
    assert not [p for p in records.folder().rglob("*") if p.suffix not in {".lock", ".use"}]


def test_what_killed_builds_left_is_listed_and_goes(
    filled: int, capsys: Capture, tmp_path: Path
) -> None:
    key = entry("environment").path.name
    for name in (f"environments/.{key}.x1/lib", "packages/.0a.x2", "environments/0123456789abcdef"):
        (tmp_path / "cache" / name).mkdir(parents=True)
    (tmp_path / f"cache/environments/.{key}.json.1.part").touch()
    assert kinds() == ["download", "package", "environment"] + ["unfinished"] * 4
    assert said(capsys, "remove", "--all").count("removed unfinished") == 4
    assert kinds() == []


@pytest.fixture
def harmed(filled: int) -> Iterator[Callable[[str], Path]]:
    """Damage the download, the package or the environment; the file that is damaged."""

    def harm(kind: str) -> Path:
        path = entry(kind).path
        path = {
            "download": path / "package.zip",
            "package": path / "toy/model.py",
            "environment": records.site_packages(path) / "numpy/__init__.py",
        }[kind]
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.unlink()  # it may be a link to uv's cache
        path.write_bytes(content)
        return path

    return harm


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("download", "package.zip: sha256"),
        ("package", "toy/model.py is not what was unpacked"),
        ("environment", "numpy/__init__.py is not what was installed"),
    ],
)
def test_a_flipped_bit_is_found(
    harmed: Callable[[str], Path], capsys: Capture, kind: str, problem: str
) -> None:
    right = said(capsys, "verify").splitlines()
    assert [line.split()[:2] for line in right] == [
        ["right", k] for k in ("download", "package", "environment")
    ]
    harmed(kind)
    assert main(["cache", "verify"]) == 6
    out, err = capsys.readouterr()
    (wrong,) = [line for line in out.splitlines() if line.startswith(f"wrong    {kind}")]
    assert problem in wrong
    assert "is not what it should be" in err
    content = json.loads(said(capsys, "verify", "--json", code=6))
    assert str(entry(kind).path) in {w["path"] for w in content["wrong"]}
    said(capsys, "remove", str(901))
    assert said(capsys, "verify") == "nothing to verify\n"


def test_what_no_registered_model_names_is_not_called_right(
    filled: int, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDZOO_MODEL_CONFIGS")
    text = said(capsys, "verify")
    assert [line.split()[:2] for line in text.splitlines()] == [
        ["right", "environment"],
        ["unknown", "download"],
        ["unknown", "package"],
    ]
    assert [e.models for e in cache.entries()] == [(MODEL,), (), (MODEL,)]
    said(capsys, "remove", MODEL)
    assert kinds() == ["package"]
    said(capsys, "remove", entry("package").path.name)
    assert kinds() == []


def test_a_package_whose_download_is_gone_has_nothing_to_be_held_against(
    filled: int, capsys: Capture
) -> None:
    shutil.rmtree(entry("download").path)
    assert "unknown  package" in said(capsys, "verify")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may remove anything")
def test_what_the_disk_does_not_let_go_is_said(
    filled: int, capsys: Capture, tmp_path: Path
) -> None:
    parent = tmp_path / "cache/downloads"
    parent.chmod(0o500)
    try:
        assert "Permission denied" in said(capsys, "remove", "--all", code=15)
    finally:
        parent.chmod(0o700)


@needs_locks
def test_uvs_cache_is_listed_where_medzoo_chose_its_place(filled: int, tmp_path: Path) -> None:
    (tmp_path / "cache/uv/archive").mkdir(parents=True)
    (tmp_path / "cache/uv/archive/file").write_text("x")
    held = files.hold(tmp_path / "cache/uv.use")  # as a build does
    assert [(e.kind, why) for e, why in cache.clear().failed] == [
        ("uv", "a running process uses it")
    ]
    held.close()
    assert [e.kind for e in cache.clear().removed] == ["uv"]
    assert not (tmp_path / "cache/uv").exists()


def test_the_summary_is_what_json_can_hold(filled: int) -> None:
    found: list[dict[str, Any]] = [e.summary for e in cache.entries()]
    assert json.loads(json.dumps(found)) == found


# ------------------------------------------------------------------------------------------------------------- pruning
def aged(path: Path, days: float) -> None:
    then = time.time() - days * 86400
    for p in [*path.rglob("*"), path] if path.is_dir() else [path]:
        os.utime(p, (then, then))


def test_what_is_needed_is_not_pruned(filled: int, capsys: Capture) -> None:
    assert said(capsys, "prune") == "nothing to prune\n"
    assert kinds() == ["download", "package", "environment"]


def test_what_nobody_needs_is_pruned_and_the_rest_still_works(
    filled: int, index: PackageIndex, zenodo: Zenodo, capsys: Capture, tmp_path: Path
) -> None:
    old = [e.path for e in cache.entries()]
    aged(old[0], 1)
    shutil.rmtree(tmp_path / "cache/records")  # else the change of a published file is an error
    number = zenodo.register(
        {"toy/model.py": b"x = 2"}, requires=["numpy>=1.0"]
    )  # other bytes, other needs
    config = resolve(number)
    store.package(config, config.default)
    environments.isolated(config, config.default)
    new = [e.path for e in cache.entries() if e.path not in old]
    assert len(new) == 3
    part, log, young = (
        tmp_path / "cache" / n
        for n in (f"downloads/{new[0].name}/a.part", "logs/a.log", "logs/b.log")
    )
    log.parent.mkdir()
    for path in (part, log, young):
        path.write_bytes(b"x" * 3000)
    aged(log, 31)
    before = {p for p in (tmp_path / "cache").rglob("*") if p.is_file()}
    asked = json.loads(said(capsys, "prune", "--dry-run", "--json"))
    assert {p for p in (tmp_path / "cache").rglob("*") if p.is_file()} == before
    assert {*asked["removed"]} == {*map(str, [*old, part, log])}
    assert "would free" in said(capsys, "prune", "--dry-run")
    done = json.loads(said(capsys, "prune", "--json"))
    assert done == asked | {"dry_run": False}
    assert done["freed"] > 6000
    assert [e.path for e in cache.entries()] == new
    assert young.exists()
    assert not [p for p in (*old, part, log) if p.exists()]
    assert store.package(config, config.default).path.is_dir()


def test_a_download_that_no_config_names_is_left_while_it_may_be_going_on(
    filled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(
        "MEDZOO_MODEL_CONFIGS"
    )  # as for a process that has other settings than the one that downloads
    assert [e.kind for e in cache.prune().removed] == ["package", "environment"]
    assert kinds() == ["download"]
    aged(entry("download").path, 1)
    assert [e.kind for e in cache.prune().removed] == ["download"]


def test_where_digests_are_unclear_nothing_of_the_model_is_pruned(
    filled: int, zenodo: Zenodo, tmp_path: Path
) -> None:
    for e in cache.entries():
        aged(e.path, 1)
    zenodo.register(digest="", requires=["numpy"])
    (tmp_path / "cache/digests.json").write_text("broken")
    assert cache.prune().removed == ()
    assert kinds() == ["download", "package", "environment"]


@needs_locks
def test_prune_leaves_what_a_running_process_uses(
    filled: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    config = resolve(filled)
    kept = [store.package(config, config.default), environments.isolated(config, config.default)]
    monkeypatch.delenv("MEDZOO_MODEL_CONFIGS")
    assert "a running process uses it" in said(capsys, "prune", code=15)
    assert kinds() == ["download", "package", "environment"]
    kept.clear()
    assert "freed" in said(capsys, "prune")
    assert kinds() == ["download"]


def test_prune_leaves_a_partial_download_that_goes_on(filled: int) -> None:
    config = resolve(filled)
    place = download.place(config, config.default)
    part = place.path.parent / "package.zip.part"
    part.write_bytes(b"half")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, place.lock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as maker:
        assert maker.stdout
        assert maker.stdout.readline() == "True\n"
        assert [why for _, why in cache.prune().failed] == ["a running process uses it"]
        maker.kill()
    assert [e.path for e in cache.prune().removed] == [part]
    assert place.path.is_file()


@pytest.mark.parametrize("step", [[], ["verify"], ["prune", "--dry-run"]])
def test_what_another_process_removes_meanwhile_is_skipped(
    filled: int, step: list[str], tmp_path: Path, capsys: Capture
) -> None:
    """Imports and removals make folders in the cache and remove them, while it is listed."""
    ended = threading.Event()
    downloads, packages = tmp_path / "cache" / "downloads", tmp_path / "cache" / "packages"
    places = [downloads / ".import.a1", packages / f".{'a' * 64}.b2", downloads / "00902-1"]

    def others(place: Path) -> None:
        while not ended.is_set():
            for number in range(4):
                inner = place / str(number) if place.name.startswith(".") else place
                inner.mkdir(parents=True, exist_ok=True)
                (inner / f"{number}.zip").write_bytes(b"zip")
            shutil.rmtree(place)

    with ThreadPoolExecutor(len(places)) as pool:
        removals = [pool.submit(others, place) for place in places]
        try:
            codes = {main(["cache", *step]) for _ in range(30)}
        finally:
            ended.set()
        assert codes == {0}, capsys.readouterr().err
        for removal in removals:
            removal.result()
    assert "environment" in kinds()


def test_what_another_process_removed_is_removed(filled: int) -> None:
    package = entry("package")
    shutil.rmtree(package.path)
    assert package.summary["bytes"] == 0
    assert files.size_of(package.path) == (0, 0)
    assert cache._removed([package]).removed == (package,)


def test_a_file_that_is_removed_while_it_is_listed_is_skipped(
    zenodo: Zenodo, tmp_path: Path, capsys: Capture
) -> None:
    zenodo.register()
    ended, other = threading.Event(), tmp_path / "cache" / "downloads" / ".import.a1"

    def others() -> None:
        while not ended.is_set():
            other.mkdir(parents=True)
            other.rmdir()

    with ThreadPoolExecutor(1) as pool:
        removal = pool.submit(others)
        try:
            codes = {main(["install", "901", "--env", "current"]) for _ in range(100)}
        finally:
            ended.set()
        removal.result()
    assert codes == {0}, capsys.readouterr().err


@needs_locks
def test_an_environment_that_was_finished_since_it_was_listed_stays(filled: int) -> None:
    key = entry("environment").path.name
    record = records.record_of(key).read_bytes()
    records.record_of(key).unlink()  # it is written last
    listed = [e for e in cache.entries() if e.kind == "unfinished"]
    assert [e.path for e in listed] == [records.path_of(key)]
    records.record_of(key).write_bytes(record)
    done = cache._removed(listed)
    assert (done.removed, len(done.failed)) == ((), 1)
    assert kinds() == ["download", "package", "environment"]


def test_a_removal_is_done_again_if_another_process_clears_up_meanwhile(
    filled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, cleared = tempfile.mkdtemp, list[cache.Entry]()

    def made_and_cleared(**options: Any) -> str:
        made = make(**options)
        if not cleared:
            begun = [e for e in cache.entries() if e.kind == "unfinished"]
            cleared.extend(cache._removed(begun).removed)
        return made

    download = entry("download")
    with monkeypatch.context() as patched:
        patched.setattr("tempfile.mkdtemp", made_and_cleared)
        assert cache._removed([download]).removed == (download,)
    assert cleared
    assert kinds() == ["package", "environment"]


def test_what_is_replaced_while_it_is_compared_is_compared_again(
    filled: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    config, compare, replaced = resolve(filled), files.difference, []

    def with_one_missing(archive: Path, folder: Path, *others: Any) -> Any:
        if replaced:
            return compare(archive, folder, *others)
        replaced.append(folder)
        cache.remove(filled)
        found = compare(archive, folder, *others) if archive.exists() else ("model.py", "1", "2")
        store.package(config, config.default)
        return found

    monkeypatch.setattr(files, "difference", with_one_missing)
    assert "wrong" not in said(capsys, "verify")
    assert replaced


@pytest.mark.parametrize("kind", ["download", "package", "environment"])
def test_what_the_disk_cannot_read_is_called_wrong(
    filled: int, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    place, digest_of = entry(kind).path, files.digest_of

    def damaged(path: Path | str, algorithm: str) -> str:
        if Path(path).is_relative_to(place):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return digest_of(path, algorithm)

    monkeypatch.setattr(files, "digest_of", damaged)
    out = said(capsys, "verify", code=6)
    assert out.count("cannot be read") == 1
    assert f"{kind} {place.name}" in out.partition("cannot be read")[0].splitlines()[-1]


@needs_locks
def test_what_killed_exports_and_removals_left_is_listed_and_goes(
    zenodo: Zenodo, tmp_path: Path, capsys: Capture
) -> None:
    for name in (
        "wheels/torch-2.0-py3-none-any.whl.1234.part",
        "wheels/.lib.whl.1.part",
        ".uv.x/wheels-v1/a",
    ):
        file = tmp_path / "cache" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    with files.using(wheels.mark()):  # an export that runs
        assert said(capsys, "prune", code=15).count("kept unfinished") == 2
    assert said(capsys, "prune").count("removed unfinished") == 2
    assert [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()] == ["wheels.use"]


@needs_locks
def test_the_note_of_a_partial_download_goes_with_it(filled: int) -> None:
    config = resolve(filled)
    place = download.place(config, config.default)
    left = [place.path.parent / f"package.zip.1234.{end}" for end in ("part", "part.json")]
    for path in left:
        path.write_bytes(b"half")
    assert [e.path for e in cache.prune().removed] == left
    assert place.path.is_file()


@needs_locks
@pytest.mark.parametrize("kind", ["download", "package", "environment"])
def test_without_locks_what_is_whole_can_be_removed(
    filled: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    found = entry(kind)
    (found.path.parent / f".{found.path.name}.x1").mkdir()
    monkeypatch.setattr("fcntl.flock", no_locks)
    done = cache.clear()
    assert found in done.removed
    without_lock = ["its disk has no locks, so a running process may be making it"]
    assert [why for _, why in done.failed] == ([] if kind == "download" else without_lock)


@needs_locks
def test_a_lock_that_may_not_be_opened_is_said(
    filled: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """As that of another user, who fills the cache."""

    def refused(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(files, "has_locks", refused)
    assert said(capsys, "remove", "--all", code=15).count("Permission denied") == 3
    assert len(kinds()) == 3
