"""The store: nothing is run that is not what the registry says, wherever it comes from."""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import NUMPY_MODEL, ROOT, toy_config
from PIL import Image
from test_files import link_zip, make_zip
from zenodo_server import zipped as zip_of

import medzoo
from medzoo.errors import DatasetError, IntegrityError, ModelNotFoundError, SourceError, TrustError
from medzoo.files import digest_of, sha256_of
from medzoo.packages import store
from medzoo.registry import resolve

Toy = Callable[..., int]
HELPED = NUMPY_MODEL.replace(
    "import numpy as np",
    "import numpy as np\nfrom .helper import VALUE\nfrom pathlib import Path",
    1,
)


def packed(folder: Path, entries: dict[str, bytes] | None = None) -> Path:
    """A zip of the toy package, in a folder of its own as authors pack it."""
    return make_zip(
        folder / "package.zip",
        entries or {"toy/model.py": NUMPY_MODEL.encode(), "toy/notes.txt": b"hello"},
    )


def cached(tmp_path: Path) -> list[Path]:
    """Whatever lies in the cache beside locks, half-made folders included."""
    cache = tmp_path / "cache"
    return [
        p
        for p in cache.rglob("*")
        if p != cache / "packages" and cache / "locks" not in (p, p.parent)
    ]


@pytest.fixture
def zipped(toy: Toy, tmp_path: Path) -> Path:
    """The toy model, registered as a zip; its path."""
    archive = packed(tmp_path)
    toy(source=f"file:{archive}", files=None, sha256=sha256_of(archive))
    return archive


def fetched(**options: bool) -> store.Package:
    return store.package(resolve(901), resolve(901).default, **options)


def imported(folder: Path) -> bool:
    """Whether any module comes from below ``folder``."""
    return any(
        (getattr(m, "__file__", "") or "").startswith(str(folder))
        for m in list(sys.modules.values())
    )


def test_a_folder_and_a_zip_give_the_same_samples(toy: Toy, tmp_path: Path) -> None:
    folder = medzoo.generate(toy(), 3, seed=1)
    archive = packed(tmp_path)
    toy(source=f"file:{archive}", files=None, sha256=sha256_of(archive))
    again = medzoo.generate(901, 3, seed=1)
    assert np.array_equal(folder.images, again.images)
    assert again.provenance["sha256"] == {"package.zip": sha256_of(archive)}
    assert folder.provenance["sha256"] == {
        "model.py": sha256_of(tmp_path / "configs/package/model.py")
    }


def test_a_zip_is_unpacked_once_and_whole(zipped: Path, tmp_path: Path) -> None:
    first = store.package(resolve(901), resolve(901).default).path
    assert first == tmp_path / "cache" / "packages" / sha256_of(zipped) / "toy"
    assert sorted(p.name for p in first.iterdir()) == ["model.py", "notes.txt"]
    before = (first / "model.py").stat().st_mtime_ns
    assert store.package(resolve(901), resolve(901).default).path == first
    assert (first / "model.py").stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["a name of 300 letters", "an entry before the file"])
def test_a_zip_with_a_damaged_entry_is_removed_and_reported_as_broken(
    zenodo: Any, tmp_path: Path, damage: str
) -> None:
    content = zip_of({"toy/model.py": NUMPY_MODEL.encode(), "toy/w": b"weights"})
    if damage == "an entry before the file":
        at = content.rindex(b"PK\x05\x06") + 16  # where the end says that the directory begins
        begin = int.from_bytes(content[at : at + 4], "little") ^ 1 << 12  # one flipped bit
        content = content[:at] + begin.to_bytes(4, "little") + content[at + 4 :]
    else:
        content = zip_of({"toy/model.py": NUMPY_MODEL.encode(), "w" * 300: b"weights"})
    number = zenodo.register()
    zenodo.publish(7000001, {"package.zip": content})
    digest = hashlib.sha256(content).hexdigest()
    zenodo._toy(source="zenodo:7000001/package.zip", files=None, sha256=digest)
    with pytest.raises(IntegrityError, match=r"was not unpacked: (.|\n)*It was removed") as error:
        medzoo.generate(number)
    assert "too long for a disk" in str(error.value) or "it is broken" in str(error.value)
    assert not list((tmp_path / "cache").rglob("package.zip"))


def test_a_zip_without_a_folder_inside_works_too(toy: Toy, tmp_path: Path) -> None:
    archive = packed(tmp_path, {"model.py": NUMPY_MODEL.encode()})
    toy(source=f"file:{archive}", files=None, sha256=sha256_of(archive))
    assert len(medzoo.generate(901, 2)) == 2


@pytest.mark.parametrize("name", ["model.py", "helper.py", "weights.safetensors"])
@pytest.mark.parametrize("at", [0, -1])
def test_a_flipped_byte_in_any_file_of_a_folder_is_found_before_anything_is_imported(
    toy: Toy, tmp_path: Path, name: str, at: int
) -> None:
    package = tmp_path / "configs" / "package"
    package.mkdir(parents=True)
    (package / "helper.py").write_text("VALUE = 1\n")
    (package / "weights.safetensors").write_bytes(bytes(64))
    (package / "model.py").write_text(HELPED)
    digests = {n: sha256_of(package / n) for n in ("model.py", "helper.py", "weights.safetensors")}
    toy(HELPED, files=digests)
    content = bytearray((package / name).read_bytes())
    content[at] ^= 1
    (package / name).write_bytes(content)
    with pytest.raises(IntegrityError) as caught:
        medzoo.generate(901)
    assert (
        f"expected {digests[name]}\n  found    {sha256_of(package / name)}" in caught.value.problem
    )
    assert name in caught.value.problem
    assert "medzoo copy 901" in caught.value.hint
    assert not imported(package)
    assert bytearray((package / name).read_bytes()) == content  # left for the user to look at
    content[at] ^= 1
    (package / name).write_bytes(content)
    assert len(medzoo.generate(901)) == 1  # the very byte was the reason


def test_a_missing_file_is_an_integrity_error(toy: Toy, tmp_path: Path) -> None:
    toy(files={"model.py": "0" * 64, "weights.safetensors": "0" * 64})
    (tmp_path / "configs/package/model.py").unlink()
    with pytest.raises(IntegrityError, match="found    no such file"):
        medzoo.generate(901)


def test_code_that_no_digest_covers_is_not_run(toy: Toy, tmp_path: Path) -> None:
    toy()
    (tmp_path / "configs/package/numpy.py").write_text("raise SystemExit")
    with pytest.raises(
        IntegrityError, match=r"numpy\.py is not the file .*\n  expected no such file"
    ):
        medzoo.generate(901)
    (tmp_path / "configs/package/numpy.py").rename(
        tmp_path / "configs/package/train.py"
    )  # takes no part in a run
    assert len(medzoo.generate(901)) == 1


def test_a_flipped_byte_in_a_zip_is_found_and_nothing_is_unpacked(
    zipped: Path, tmp_path: Path
) -> None:
    expected = sha256_of(zipped)
    content = bytearray(zipped.read_bytes())
    content[40] ^= 1
    zipped.write_bytes(content)
    with pytest.raises(
        IntegrityError, match=f"expected {expected}\n  found    {sha256_of(zipped)}"
    ):
        medzoo.generate(901)
    assert cached(tmp_path) == []


@pytest.mark.parametrize("change", ["edit", "remove", "add"])
def test_an_unpacked_zip_that_was_changed_is_not_run(
    zipped: Path, tmp_path: Path, change: str
) -> None:
    package = store.package(resolve(901), resolve(901).default).path
    if change == "edit":
        (package / "model.py").write_text(NUMPY_MODEL.replace("* 20", "* 21"))
    elif change == "remove":
        (package / "notes.txt").unlink()
    else:
        (package / "numpy.py").write_text("raise SystemExit")
    with pytest.raises(
        IntegrityError,
        match=r"expected .*\n  found    (.|\n)*Remove .*, and it will be unpacked again",
    ):
        medzoo.generate(901)
    assert not imported(tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache" / "packages")
    assert len(medzoo.generate(901)) == 1


def test_a_registered_package_without_digests_needs_trust(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match=r"names no `files:` with their sha256(.|\n)*trust=True"):
        medzoo.generate(toy(files=None))
    assert fetched(trust=True).digests == {
        "model.py": sha256_of(tmp_path / "configs/package/model.py")
    }
    archive = packed(tmp_path)
    toy(source=f"file:{archive}", files=None)
    with pytest.raises(
        TrustError, match=rf"names no sha256 for package\.zip(.|\n)*sha256: {sha256_of(archive)}"
    ):
        medzoo.generate(901)
    assert cached(tmp_path) == []
    assert fetched(trust=True).digests == {"package.zip": sha256_of(archive)}


def test_a_zip_may_be_registered_by_its_md5(toy: Toy, tmp_path: Path) -> None:
    archive = packed(tmp_path)
    toy(source=f"file:{archive}", files=None, md5=digest_of(archive, "md5"))
    assert fetched().digests == {"package.zip": sha256_of(archive)}
    archive.write_bytes(archive.read_bytes() + b"?")
    with pytest.raises(IntegrityError, match=r"expected [0-9a-f]{32}\n  found    [0-9a-f]{32}\n"):
        fetched()


LAYOUTS = {
    "flat": {"model.py": b"1", "src/model.py": b"2"},
    "in a folder": {"toy/model.py": b"1", "toy/src/model.py": b"2"},
    "in a folder of another's": {"a/b/c/model.py": b"1"},
    "beside a licence": {"LICENSE": b"", "toy/model.py": b"1", "toy/models/model.py": b"2"},
    "with what macOS adds": {
        "toy/model.py": b"1",
        "__MACOSX/toy/model.py": b"2",
        ".DS_Store": b"",
        "__MACOSX/model.py": b"3",
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("contract", ["native", "medigan"])
@pytest.mark.parametrize("inside", [False, True])
def test_the_package_is_the_uppermost_folder_with_the_file_that_its_contract_begins_with(
    toy: Toy, tmp_path: Path, layout: str, contract: str, inside: bool
) -> None:
    first = {"native": "model.py", "medigan": "__init__.py"}[contract]
    content = zip_of(
        {name.replace("model.py", first): text for name, text in LAYOUTS[layout].items()}
    )
    archive = tmp_path / "package.zip"
    archive.write_bytes(
        zip_of({"outer/package.zip": content, "__MACOSX/x": b""}) if inside else content
    )
    call = (
        {"call": {"weights": "w.pt", "returns": "images"}, "latent": 0}
        if contract == "medigan"
        else {}
    )
    toy(source=f"file:{archive}", files=None, sha256=sha256_of(archive), contract=contract, **call)
    path = fetched().path
    assert (path / first).read_bytes() == b"1"
    assert fetched().path == path
    (path / first).write_bytes(b"3")
    with pytest.raises(IntegrityError, match="unpacked again"):
        fetched()


def test_a_zip_of_two_packages_or_none_is_left_as_it_is(toy: Toy, tmp_path: Path) -> None:
    for entries in ({"a/model.py": b"", "b/model.py": b""}, {"a/main.py": b""}):
        archive = tmp_path / f"{len(entries)}.zip"
        archive.write_bytes(zip_of(entries))
        toy(source=f"file:{archive}", files=None, sha256=sha256_of(archive))
        assert sorted(p.name for p in fetched().path.iterdir()) == sorted(
            {name[0] for name in entries}
        )


SMALL_DISK = """
import resource, signal
from medzoo.packages import store
from medzoo.registry import resolve
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))
try:
    store.package(resolve(901), resolve(901).default)
except Exception as error:
    print(type(error).__name__, error.problem)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
def test_a_disk_that_fills_up_while_unpacking_leaves_nothing(toy: Toy, tmp_path: Path) -> None:
    archive = packed(
        tmp_path, {"toy/model.py": NUMPY_MODEL.encode(), "toy/weights.npz": bytes(100_000)}
    )
    toy(source=f"file:{archive}", files=None, sha256=sha256_of(archive))
    found = subprocess.run(
        [sys.executable, "-c", SMALL_DISK], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.startswith(
        "SourceError 00901_TOY_MRI_NOISE, version 1.0.0, could not be prepared: [Errno 27]"
    )
    assert list((tmp_path / "cache/packages").iterdir()) == []
    assert (fetched().path / "weights.npz").stat().st_size == 100_000


@pytest.mark.parametrize(
    "how", ["dots", "absolute", "backslash", "link", "bomb", "truncated", "no zip"]
)
def test_a_bad_zip_is_refused_and_leaves_nothing(toy: Toy, tmp_path: Path, how: str) -> None:
    names = {
        "dots": "../../evil.py",
        "absolute": "/tmp/evil-of-medzoo.py",
        "backslash": "..\\evil.py",
    }
    if how == "link":
        archive = link_zip(tmp_path / "package.zip")
    elif how == "no zip":
        archive = tmp_path / "package.zip"
        archive.write_bytes(b"hello")
    else:
        bomb = {"w": bytes(20 * 2**20)} if how == "bomb" else {}
        archive = packed(
            tmp_path,
            {
                "toy/model.py": NUMPY_MODEL.encode(),
                **bomb,
                **({names[how]: b"x"} if how in names else {}),
            },
        )
    if how == "truncated":
        archive.write_bytes(archive.read_bytes()[:-30])
    toy(source=f"file:{archive}", files=None, sha256=sha256_of(archive))
    with pytest.raises(IntegrityError, match=r"package\.zip was not unpacked: it"):
        medzoo.generate(901)
    assert cached(tmp_path) == []
    assert not list(tmp_path.rglob("evil*"))
    assert not Path("/tmp/evil-of-medzoo.py").exists()


def _unpack(configs: str, cache: str, barrier: object, found: object) -> None:
    import os

    os.environ |= {"MEDZOO_MODEL_CONFIGS": configs, "MEDZOO_CACHE": cache}
    config = resolve(901)
    barrier.wait()  # type: ignore[attr-defined]
    package = store.package(config, config.default)
    found.put((str(package.path), sorted(p.name for p in package.path.iterdir())))  # type: ignore[attr-defined]


@pytest.mark.slow
def test_two_processes_that_unpack_at_once_both_succeed(toy: Toy, tmp_path: Path) -> None:
    archive = packed(
        tmp_path,
        {f"toy/{k}.txt": bytes(10) for k in range(300)} | {"toy/model.py": NUMPY_MODEL.encode()},
    )
    toy(source=f"file:{archive}", files=None, sha256=sha256_of(archive))
    context = multiprocessing.get_context("spawn")
    barrier, found = context.Barrier(2), context.Queue()
    arguments = (str(tmp_path / "configs"), str(tmp_path / "cache"), barrier, found)
    both = [context.Process(target=_unpack, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    one, two = found.get(timeout=60), found.get(timeout=60)
    for process in both:
        process.join()
    assert one == two
    assert len(one[1]) == 301
    assert len(list((tmp_path / "cache/packages").iterdir())) == 1  # nothing half-made beside it


def test_a_cache_that_cannot_be_written_is_named(
    zipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(SourceError, match=r"could not be prepared: (.|\n)*MEDZOO_CACHE"):
        medzoo.generate(901)


def test_bundled_goes_through_the_same_step(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()
    shutil.copytree(tmp_path / "configs/package", tmp_path / "starter_models" / "NOISE")
    monkeypatch.setattr("medzoo.packages.bundled.shipped", lambda name: tmp_path / name)
    toy(source="bundled:NOISE")
    assert len(medzoo.generate(901)) == 1
    (tmp_path / "starter_models/NOISE/model.py").write_text(NUMPY_MODEL + "#")
    with pytest.raises(IntegrityError, match="expected"):
        medzoo.generate(901)


def test_the_bundled_packages_are_what_their_configs_register() -> None:
    for config in medzoo.list_models():
        for version in config.versions.values():
            if (
                version.scheme == "bundled"
                and (
                    ROOT
                    / "starter_models"
                    / version.source.partition(":")[2]
                    / "weights.safetensors"
                ).exists()
            ):
                assert store.package(config, version).digests == version.files


def test_a_copy_generates_the_same_and_is_recorded_as_unregistered(
    toy: Toy, tmp_path: Path
) -> None:
    original = medzoo.generate(toy(), 4, seed=2)
    folder = medzoo.copy(901, tmp_path / "mine")
    mine = medzoo.generate(folder, 4, seed=2, trust=True)
    assert np.array_equal(mine.images, original.images)
    assert (original.provenance["registered"], mine.provenance["registered"]) == (True, False)
    assert mine.provenance["sha256"] == original.provenance["sha256"]
    assert mine.provenance["source"] == "file:."


def test_an_edited_copy_gives_other_samples_and_its_own_digests(toy: Toy, tmp_path: Path) -> None:
    original = medzoo.generate(toy(), 4, seed=2)
    code = medzoo.copy(901, tmp_path / "mine") / "model.py"
    medzoo.generate(tmp_path / "mine", trust=True)
    code.write_text(code.read_text().replace("* 20 + 128", "* 20 + 120"))
    mine = medzoo.generate(tmp_path / "mine", 4, seed=2, trust=True)
    assert not np.array_equal(mine.images, original.images)
    assert (
        mine.provenance["sha256"] == {"model.py": sha256_of(code)} != original.provenance["sha256"]
    )
    assert np.array_equal(
        medzoo.generate(901, 4, seed=2).images, original.images
    )  # the original is as it was


def test_a_copy_of_a_copy_and_of_a_zip(zipped: Path, tmp_path: Path) -> None:
    medzoo.copy(901, tmp_path / "one")
    medzoo.copy(tmp_path / "one", tmp_path / "one" / "two")  # even into itself
    assert np.array_equal(
        medzoo.generate(tmp_path / "one/two", 2, seed=1, trust=True).images,
        medzoo.generate(901, 2, seed=1).images,
    )
    assert sorted(p.name for p in (tmp_path / "one/two").iterdir()) == [
        "config.yaml",
        "model.py",
        "notes.txt",
    ]


def test_a_copy_can_be_edited_though_the_original_cannot(toy: Toy, tmp_path: Path) -> None:
    toy()
    (tmp_path / "configs/package/model.py").chmod(0o444)
    (tmp_path / "configs/package").chmod(0o555)
    try:
        folder = medzoo.copy(901, tmp_path / "mine")
    finally:
        (tmp_path / "configs/package").chmod(0o755)
    assert stat.S_IMODE((folder / "model.py").stat().st_mode) & stat.S_IWUSR
    assert stat.S_IMODE(folder.stat().st_mode) & stat.S_IWUSR


def test_a_copy_holds_one_version_the_one_asked_for(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = resolve(toy()).path
    content = yaml.safe_load(path.read_text())
    content["versions"]["0.9"] = {
        **toy_config()["versions"]["1.0.0"],
        "license": "CC0",
        "files": content["versions"]["1.0.0"]["files"],
    }
    path.write_text(yaml.safe_dump(content))
    medzoo.registry.lookup._registry.cache_clear()  # type: ignore[attr-defined]
    config = resolve(medzoo.copy(901, tmp_path / "mine", version="0.9"))
    assert (list(config.versions), config.default.license) == (["0.9"], "CC0")
    with pytest.raises(ModelNotFoundError, match="has no version '7'"):
        medzoo.copy(901, tmp_path / "more", version="7")
    assert not (tmp_path / "more").exists()


def test_a_copy_of_a_bundled_model_trains(tmp_path: Path) -> None:
    copy = medzoo.copy(8, tmp_path / "mine")
    shared = ROOT / "starter_models" / "training.py"
    assert (copy / "training.py").read_bytes() == shared.read_bytes()
    for label in ("true", "false"):
        folder = tmp_path / "data" / "train" / f"is_benign_{label}"
        folder.mkdir(parents=True)
        for number in range(255):  # the flow has 510 components
            pixels = np.random.default_rng(number).integers(60, 200, (128, 128), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    command = [sys.executable, "-B", copy / "train.py", "--data", tmp_path / "data"]
    command += ["--out", tmp_path / "run", "--stage=flow", "--flow-steps=1", "--shown=8"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    assert "flow 1 loss" in printed.stdout
    assert (tmp_path / "run" / "flow.pt").exists()
    assert not (medzoo.copy(109, tmp_path / "phantom") / "training.py").exists()


def test_a_copy_never_writes_into_a_folder_that_holds_something(toy: Toy, tmp_path: Path) -> None:
    toy()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("dear")
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for target in ("full", "file", "file/below"):
        with pytest.raises(DatasetError):
            medzoo.copy(901, tmp_path / target)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.tex"]
    assert medzoo.copy(901, tmp_path / "empty") == tmp_path / "empty"


def test_what_takes_part_in_a_run() -> None:
    found = store.package_files(ROOT / "starter_models" / resolve(8).id)
    assert "model.py" in found
    assert "weights.safetensors" in found
    assert not {"train.py", "training.py", "README.md", "expected.npz"} & set(found)
