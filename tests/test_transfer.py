"""Models made ready ahead, and the file that carries them to a machine without a network."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import NUMPY_MODEL, Zenodo
from package_index import PackageIndex, repack, write_sdist
from zenodo_server import zipped

import medzoo
from medzoo import environments, files
from medzoo.cli import main
from medzoo.errors import (
    BuildError,
    InputError,
    IntegrityError,
    MedzooError,
    ModelNotFoundError,
    SourceError,
    TrustError,
)
from medzoo.packages import cache, digests, http, store
from medzoo.packages import transfer as carry
from medzoo.packages.wheels import name_of
from medzoo.registry import resolve

Capture = pytest.CaptureFixture[str]
MODEL = "00901_TOY_MRI_NOISE"


def tree(folder: Path) -> dict[str, bytes]:
    """All files but empty ones, which are locks and marks."""
    found = {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
    return {name: content for name, content in found.items() if content}


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Move to another machine: an empty cache, no network, and any socket a failure. Its cache."""

    def move() -> Path:
        monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "there"))
        monkeypatch.setenv("MEDZOO_OFFLINE", "1")

        def refuse(*_: Any, **__: Any) -> None:
            raise AssertionError("a socket was opened")

        monkeypatch.setattr(socket, "socket", refuse)
        return tmp_path / "there"

    return move


@pytest.fixture
def carried(tmp_path: Path, zenodo: Zenodo) -> Callable[..., Path]:
    """Register the toy, and export it to a file."""

    def export(**how: Any) -> Path:
        number = zenodo.register(**how)
        carry.export_models(tmp_path / "toy.zip", [number])
        return tmp_path / "toy.zip"

    return export


def altered(file: Path, **changes: bytes | None) -> None:
    """Rewrite a file with the entries of these suffixes replaced, or left out if None."""
    with zipfile.ZipFile(file) as old:
        content = {e.filename: old.read(e) for e in old.infolist()}
    for end, new in changes.items():
        name = next(n for n in content if n.endswith((end, end.replace("_", "."))))
        content[name] = new if new is not None else b""
        if new is None:
            del content[name]
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in content.items():
            packed.writestr(zipfile.ZipInfo(name), data)


# ------------------------------------------------------------------------------------------------------------ install
def test_install_makes_all_ready_and_runs_nothing(
    zenodo: Zenodo, index: PackageIndex, capsys: Capture
) -> None:
    number = zenodo.register(
        {"toy/model.py": b"raise RuntimeError('it was run')"}, requires=["numpy"]
    )
    assert main(["install", str(number)]) == 0
    first = capsys.readouterr().out
    assert first.startswith(f"{MODEL} 1.0.0: package.zip ")
    assert "fetched; environment " in first
    assert [e.kind for e in cache.entries()] == ["download", "package", "environment"]
    asked = len(zenodo.log)
    assert main(["install", MODEL]) == 0
    assert "was here; environment " in capsys.readouterr().out
    assert len(zenodo.log) == asked


def test_install_from_python_gives_the_package(zenodo: Zenodo) -> None:
    folder = medzoo.install(zenodo.register(), env="current")
    assert (folder / "model.py").is_file()


def test_install_goes_on_after_a_failure_and_ends_with_its_code(
    zenodo: Zenodo, capsys: Capture
) -> None:
    number = zenodo.register()
    assert (
        main(["install", "nowhere", str(number), "--env", "current", "--version", "1.0.0"])
        == ModelNotFoundError.exit_code
    )
    out, err = capsys.readouterr()
    assert "medzoo: nowhere: There is no model" in err
    assert out.startswith(f"{MODEL} 1.0.0: package.zip")
    assert "runs in this Python" in out


def test_install_all_tells_each_failure_once(zenodo: Zenodo, capsys: Capture) -> None:
    zenodo.register()
    assert main(["install", "--all", "--offline", "--env", "current"]) == SourceError.exit_code
    out, err = capsys.readouterr()
    remote = [c for c in medzoo.list_models() if c.default.scheme == "zenodo"]
    assert len(remote) > 1
    assert all(err.count(f"medzoo: {c.id}: ") == 1 for c in remote)
    bundled = [c for c in medzoo.list_models() if c.default.scheme == "bundled"]
    assert all(f"{c.id} {c.default_version}: package " in out for c in bundled)
    assert zenodo.log == []


@pytest.mark.parametrize("words", [[], ["8", "--all"]])
def test_install_wants_names_or_all(words: list[str]) -> None:
    assert main(["install", *words]) == InputError.exit_code


# ---------------------------------------------------------------------------------------------------------- the journey
@pytest.mark.parametrize("digest", ["sha256", "md5", ""])
def test_what_is_exported_here_is_used_there(
    zenodo: Zenodo, tmp_path: Path, capsys: Capture, there: Callable[[], Path], digest: str
) -> None:
    number, file = zenodo.register(digest=digest), tmp_path / "models.zip"
    assert main(["cache", "export", str(file), str(number)]) == 0
    assert "written, sha256" in capsys.readouterr().out
    there()
    generate = ["generate", str(number), "-n", "2", "--env", "current", "--out"]
    assert main([*generate, str(tmp_path / "before")]) == SourceError.exit_code
    err = capsys.readouterr().err
    assert "medzoo cache export FILE 901" in err
    assert main(["cache", "import", str(file), *["--trust"] * (not digest)]) == 0
    assert "taken in" in capsys.readouterr().out
    assert main([*generate, str(tmp_path / "samples")]) == 0
    assert len(list((tmp_path / "samples").rglob("*.png"))) == 2
    capsys.readouterr()
    assert (
        main(["cache", "import", str(file), "--json"]) == 0
    )  # again, and what was taken once is known
    assert [c["here"] for c in json.loads(capsys.readouterr().out)] == [True]


def test_without_any_digest_here_the_file_alone_is_not_enough(
    carried: Callable[..., Path], there: Callable[[], Path]
) -> None:
    file, cache_there = carried(digest=""), there()
    with pytest.raises(TrustError, match="no expected digest is known for it"):
        carry.import_models(file)
    assert tree(cache_there) == {}


def test_what_others_saw_is_a_digest(
    zenodo: Zenodo, tmp_path: Path, there: Callable[[], Path]
) -> None:
    content = zipped({"toy/model.py": NUMPY_MODEL.encode()})
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    number = zenodo.register(
        {"toy/model.py": NUMPY_MODEL.encode()}, digest="", sha256_unconfirmed=files.sha256_of(path)
    )
    carry.export_models(tmp_path / "toy.zip", [number])
    there()
    (taken,) = carry.import_models(tmp_path / "toy.zip")
    assert taken.sha256 == files.sha256_of(path)


# ------------------------------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize("digest", ["sha256", "md5", ""])
def test_a_tampered_archive_is_refused_and_nothing_is_left(
    carried: Callable[..., Path], there: Callable[[], Path], digest: str
) -> None:
    file = carried(digest=digest)
    altered(file, package_zip=zipped({"toy/model.py": b"print('not the model')"}))
    cache_there = there()
    with pytest.raises(IntegrityError, match="nothing was imported"):
        carry.import_models(file, trust=True)
    assert tree(cache_there) == {}


@pytest.mark.parametrize("digest", ["sha256", "md5"])
def test_a_forgery_that_agrees_with_itself_is_refused_by_the_registry(
    carried: Callable[..., Path], there: Callable[[], Path], digest: str
) -> None:
    file, forged = carried(digest=digest), zipped({"toy/model.py": b"print('not the model')"})
    with zipfile.ZipFile(file) as content:
        index = json.loads(content.read("index.json"))
    (about,) = index["files"].values()
    about |= {"sha256": hashlib.sha256(forged).hexdigest(), "bytes": len(forged)}
    altered(file, package_zip=forged, index_json=json.dumps(index).encode(), digests_json=b"{}")
    cache_there = there()
    with pytest.raises(IntegrityError, match="its config"):
        carry.import_models(file, trust=True)
    assert tree(cache_there) == {}


def test_a_first_use_here_that_differs_is_named_with_what_came(
    carried: Callable[..., Path], zenodo: Zenodo, tmp_path: Path, there: Callable[[], Path]
) -> None:
    file, cache_there = carried(digest=""), there()
    address = f"{zenodo.url}/records/7000001/files/package.zip"
    digests.record(address, sha256="0" * 64)
    before = tree(cache_there)
    with pytest.raises(IntegrityError) as caught:
        carry.import_models(file, trust=True)
    assert "0" * 64 in caught.value.problem
    assert (
        files.sha256_of(next((tmp_path / "cache/downloads").glob("*/package.zip")))
        in caught.value.problem
    )
    assert tree(cache_there) == before


@pytest.mark.parametrize(
    "harm",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-100]),
        lambda file: file.write_bytes(b"no zip"),
        lambda file: altered(file, package_zip=None),
        lambda file: altered(file, digests_json=b"[]"),
        lambda file: altered(file, index_json=b"{}"),
        lambda file: altered(file, index_json=b'{"format": 2, "medzoo": "9"}'),
        lambda file: file.write_bytes(zipped({"../../escape": b"x", "index.json": b"{}"})),
    ],
    ids=["cut", "none", "entry", "digests", "index", "newer", "escape"],
)
def test_a_file_that_is_broken_is_refused(
    carried: Callable[..., Path], there: Callable[[], Path], harm: Callable[[Path], object]
) -> None:
    file = carried()
    harm(file)
    cache_there = there()
    with pytest.raises(IntegrityError):
        carry.import_models(file)
    assert tree(cache_there) == {}


def test_wherever_a_byte_is_flipped_all_is_refused_or_the_archive_is_right(
    carried: Callable[..., Path], there: Callable[[], Path], tmp_path: Path
) -> None:
    file, cache_there = carried(), there()
    (archive,) = (tmp_path / "cache/downloads").glob("*/package.zip")
    right, content, refused = archive.read_bytes(), file.read_bytes(), 0
    for at in range(0, len(content), 7):
        file.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        try:
            carry.import_models(file)
        except MedzooError:
            refused += 1
            assert tree(cache_there) == {}
        else:
            assert [p.read_bytes() for p in (cache_there / "downloads").glob("*/*")] == [right]
            shutil.rmtree(cache_there)
    assert refused > len(content) // 14


def test_a_disk_that_is_full_keeps_nothing(
    carried: Callable[..., Path], there: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, cache_there = carried(), there()
    free = shutil.disk_usage(file.parent)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(SourceError, match="100 are free"):
        carry.import_models(file)
    assert tree(cache_there) == {}


def test_a_model_that_is_not_known_there_is_named(
    carried: Callable[..., Path], there: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, cache_there = carried(), there()
    monkeypatch.delenv("MEDZOO_MODEL_CONFIGS")
    with pytest.raises(ModelNotFoundError, match=MODEL):
        carry.import_models(file)
    assert tree(cache_there) == {}


def test_a_file_that_is_not_there_is_said(tmp_path: Path, there: Callable[[], Path]) -> None:
    there()
    with pytest.raises(SourceError, match="no file"):
        carry.import_models(tmp_path / "nowhere.zip")


def test_export_refuses_what_needs_no_carrying_and_what_is_there(
    zenodo: Zenodo, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="comes with medzoo"):
        carry.export_models(tmp_path / "a.zip", [8], version=resolve(8).default_version)
    (tmp_path / "b.zip").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        carry.export_models(tmp_path / "b.zip", [zenodo.register()])
    (tmp_path / "flat").write_text("")
    with pytest.raises(InputError, match="could not be written"):
        carry.export_models(tmp_path / "flat/c.zip", [zenodo.register()])
    assert sorted(p.name for p in tmp_path.glob("*.zip")) == ["b.zip"]
    assert (tmp_path / "b.zip").read_text() == "mine"


# ------------------------------------------------------------------------------------------------------- what is killed
KILL = """
import os, sys
from pathlib import Path
from medzoo.packages import transfer as carry
from medzoo.packages import digests

def die(*a, **k):
    os._exit(9)

{where}
carry.import_models(sys.argv[1], trust=True)
"""


@pytest.mark.parametrize(
    "where",
    ["Path.replace = die", "carry.download.brought = die", "digests.record = die"],
    ids=["rename", "unpack", "record"],
)
def test_a_killed_import_leaves_nothing_that_is_taken_for_whole(
    carried: Callable[..., Path], there: Callable[[], Path], where: str, tmp_path: Path
) -> None:
    file, cache_there = carried(digest=""), there()
    code = KILL.format(where=where)
    assert (
        subprocess.run([sys.executable, "-c", code, file], check=False, env=os.environ).returncode
        == 9
    )
    config = resolve(MODEL)
    with pytest.raises(SourceError, match="MEDZOO_OFFLINE"):
        store.package(config, config.default)
    carry.import_models(file, trust=True)
    assert (store.package(config, config.default).path / "model.py").is_file()
    cache.prune()
    assert not list((cache_there / "downloads").glob(".*"))


@pytest.mark.skipif(os.name == "nt", reason="has no locks of this kind")
@pytest.mark.parametrize(("module", "step"), [(carry, "_write"), (files, "unpack")])
def test_an_archive_in_use_is_not_removed(
    zenodo: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, step: str
) -> None:
    """Another process empties the cache when an archive was verified, and is not used yet."""
    number, use, kept = zenodo.register(), getattr(module, step), []

    def emptied_meanwhile(*arguments: Any, **options: Any) -> Any:
        kept.extend(str(entry) for entry, _ in cache.clear().failed if entry.kind == "download")
        return use(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(module, step, emptied_meanwhile)
        carry.export_models(tmp_path / "toy.zip", [number])
        carry.install(number, env="current")
    assert [name.startswith(f"download {MODEL}-") for name in kept] == [True]
    assert not cache.clear().failed  # nothing holds it any more
    if module is carry:
        assert carry.import_models(tmp_path / "toy.zip")


EXPORT = """
import sys, zipfile
from medzoo.packages import transfer as carry
carry.shutil.copyfileobj = lambda *_: (print("now", flush=True), sys.stdin.read())
carry.export_models(sys.argv[1], [901])
"""


@pytest.mark.skipif(os.name == "nt", reason="has no locks of this kind")
def test_a_killed_export_leaves_nothing_after_the_next_and_a_running_one_is_left_alone(
    zenodo: Zenodo, tmp_path: Path
) -> None:
    zenodo.register()
    command = [sys.executable, "-c", EXPORT, str(tmp_path / "toy.zip")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout
        assert running.stdout.readline() == "now\n"
        carry.export_models(tmp_path / "toy.zip", [901])
        assert len(list(tmp_path.glob(".toy.zip.*.part"))) == 1  # of the one that runs
        (tmp_path / "toy.zip").unlink()
        running.kill()
    carry.export_models(tmp_path / "toy.zip", [901])
    assert list(tmp_path.glob(".toy.zip.*.part")) == []


def test_prune_leaves_an_import_that_runs(
    carried: Callable[..., Path], there: Callable[[], Path]
) -> None:
    file, cache_there = carried(), there()
    code = KILL.format(
        where="carry.download.brought = lambda *a, **k: (print('now', flush=True), sys.stdin.read(), die())"
    )
    command = [sys.executable, "-c", code, str(file)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout
        assert running.stdout.readline() == "now\n"
        assert [why for _, why in cache.prune().failed] == ["a running process uses it"]
        running.kill()
    assert [e.kind for e in cache.prune().removed] == ["unfinished"]
    assert tree(cache_there) == {}


# ------------------------------------------------------------------------------------------------------- environments
@pytest.fixture
def locked(zenodo: Zenodo, index: PackageIndex) -> int:
    """The number of a model whose environment is in a lock: a real numpy, and a package ``lib``."""
    (made_up,) = index.of("numpy")
    made_up.unlink()
    numpy = repack(index.folder, "numpy")
    lines = [index.add("lib", "1.0")]
    lines.append(f"numpy=={numpy.name.split('-')[1]} --hash=sha256:{files.sha256_of(numpy)}")
    number = zenodo.register(
        {"toy/model.py": f"import lib\n{NUMPY_MODEL}".encode()},
        requires=["lib", "numpy"],
        lock="lock.txt",
    )
    folder = resolve(number).path.parent
    (folder / "lock.txt").write_text("\n".join(lines), encoding="utf-8")
    return number


WITHOUT_NETWORK = ["unshare", "--map-root-user", "--net"]


def can_be_without_network() -> bool:
    try:
        done = subprocess.run([*WITHOUT_NETWORK, "true"], check=False, capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


@pytest.mark.skipif(not can_be_without_network(), reason="needs `unshare --net`")
def test_a_model_runs_on_a_machine_that_never_saw_a_network(
    locked: int, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "models.zip"
    assert main(["cache", "export", str(file), str(locked), "--with-environments"]) == 0
    printed = capsys.readouterr().out
    assert "lib-1.0-py3-none-any.whl" in printed
    assert printed.count(" written, sha256 ") == 3
    home = tmp_path / "home"
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "XDG_", "MEDZOO_"))}
    variables = kept | {
        "HOME": str(home),
        "MEDZOO_OFFLINE": "1",
        "MEDZOO_MODEL_CONFIGS": os.environ["MEDZOO_MODEL_CONFIGS"],
        "UV_PYTHON_DOWNLOADS": "never",
    }

    def there(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*WITHOUT_NETWORK, sys.executable, "-m", "medzoo", *words]
        return subprocess.run(
            command, env=variables, cwd=home, capture_output=True, text=True, check=False
        )

    generate = ("generate", str(locked), "-n", "2", "--out", "samples", "--json")
    assert there(*generate).returncode == SourceError.exit_code
    taken = there("cache", "import", str(file))
    assert taken.returncode == 0, taken.stderr
    assert taken.stdout.count(" taken in, sha256 ") == 3
    made = there(*generate)
    assert made.returncode == 0, made.stderr
    provenance = json.loads(made.stdout)["provenance"]
    assert provenance["env"] == "isolated"
    assert len(list((home / "samples").rglob("*.png"))) == 2
    listed = json.loads(there("cache", "--json").stdout)["entries"]
    assert [e["kind"] for e in listed].count("wheel") == 2
    again = there("cache", "import", str(file), "--json")
    assert [c["here"] for c in json.loads(again.stdout)] == [True] * 3
    verified = there("cache", "verify").stdout
    assert "right    wheel lib-1.0-py3-none-any.whl" in verified


def test_wheels_that_are_not_in_the_lock_need_trust(
    zenodo: Zenodo, index: PackageIndex, tmp_path: Path, there: Callable[[], Path]
) -> None:
    index.add("torch", "2.0")
    number, file = zenodo.register(requires=["torch==2.0"]), tmp_path / "models.zip"
    exported = carry.export_models(file, [number], with_environments=True)
    names = ["numpy-1.26.0-py3-none-any.whl", "torch-2.0-py3-none-any.whl"]
    assert sorted(c.part for c in exported if c.is_wheel) == names
    wheels = there() / "wheels"
    with pytest.raises(TrustError, match=r"numpy-1\.26\.0-py3-none-any\.whl, for .* is not in the"):
        carry.import_models(file)
    assert not wheels.exists()
    carry.import_models(file, trust=True)
    assert sorted(p.name for p in wheels.iterdir()) == names


@pytest.mark.parametrize("harm", ["content", "name"])
def test_a_wheel_that_is_not_what_was_exported_is_refused(
    locked: int, tmp_path: Path, there: Callable[[], Path], harm: str
) -> None:
    file = tmp_path / "models.zip"
    carry.export_models(file, [locked], with_environments=True)
    if harm == "content":
        altered(file, **{"lib-1.0-py3-none-any.whl": b"PK"})
        expected = "lib-1.0-py3-none-any.whl: sha256"
    else:
        with zipfile.ZipFile(file) as content:
            index = content.read("index.json").replace(b"wheels/lib-1.0-py3-none-any.whl", b"x.whl")
        altered(file, **{"index.json": index})
        expected = "is broken"
    cache_there = there()
    with pytest.raises(IntegrityError, match=expected):
        carry.import_models(file, trust=True)
    assert not (cache_there / "wheels").exists()


@pytest.mark.parametrize("before", ["wheels/", "wheels/../", "wheels/..\\..\\", "/", "C:\\"])
def test_a_wheel_has_its_name_alone_wherever_it_says_to_lie(before: str) -> None:
    assert name_of(before + "lib-1.0-py3-none-any.whl") == "lib-1.0-py3-none-any.whl"
    for name in ("..", "notes.txt", ""):
        with pytest.raises(ValueError, match=r"^Invalid wheel filename"):
            name_of(before + name)


def test_a_package_without_a_wheel_cannot_be_exported(
    zenodo: Zenodo, index: PackageIndex, tmp_path: Path
) -> None:
    from test_environments import SPY

    write_sdist(index.folder, "spy", "1.0", SPY)
    number = zenodo.register(requires=["spy"])
    with pytest.raises(BuildError, match=r"spy 1\.0 has no wheel for this machine"):
        carry.export_models(tmp_path / "models.zip", [number], with_environments=True)
    assert not (tmp_path / "models.zip").exists()


def test_of_two_exports_that_need_a_wheel_one_downloads_it(
    zenodo: Zenodo, index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "policy", replace(http.policy, stall=60))
    index.add("torch", "2.0")
    config = resolve(zenodo.register(requires=["torch==2.0"]))
    environments.isolated(config, config.default)
    before = len(index.downloads())

    def export(name: str) -> str:
        carry.export_models(tmp_path / name, [901], with_environments=True)
        return files.sha256_of(tmp_path / name)

    index.go.clear()
    with ThreadPoolExecutor(2) as pool:
        made = [pool.submit(export, name) for name in ("one.zip", "two.zip")]
        while len(index.downloads()) == before:
            time.sleep(0.01)
        time.sleep(0.5)  # both have come to it by now
        index.go.set()
    assert made[0].result() == made[1].result()
    names = ["numpy-1.26.0-py3-none-any.whl", "torch-2.0-py3-none-any.whl"]
    assert sorted(index.downloads()[before:]) == names
