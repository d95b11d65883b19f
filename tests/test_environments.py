"""Environments of models' own: built once, whole or absent, shared, and never mixed with the caller's."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml
from conftest import ROOT, toy_config
from hypothesis import given
from hypothesis import strategies as st
from package_index import PackageIndex, repack, write_sdist, write_wheel

import medzoo
from medzoo import files, registry
from medzoo.config import ModelConfig, Version, read_config
from medzoo.environments import (
    Interpreter,
    choose,
    current,
    isolated,
    records,
    satisfied,
    shared,
    uv_config,
)
from medzoo.environments.recipe import Recipe, lock_entries
from medzoo.errors import BuildError, ConfigError, InputError, MedzooWarning
from medzoo.packages import cache
from medzoo.registry import resolve

sys.path.insert(0, str(ROOT))
from benchmarks.environments import pips_places

Model = tuple[ModelConfig, Version]
MakeModel = Callable[..., Model]
needs_locks = pytest.mark.skipif(
    os.name == "nt", reason="on Windows only a program that runs keeps its folder"
)
CALL = {"weights": "weights.pt", "returns": "images"}


@pytest.fixture
def model(tmp_path: Path) -> MakeModel:
    """The config of a model that declares what is given: ``model("lib==1.0", lock=...)``."""

    def make(*requires: str, lock: str = "", number: int = 901, **changes: Any) -> Model:
        content = toy_config(
            requires=list(requires),
            **{"source": "zenodo:1/a.zip", "lock": "lock.txt" if lock else None, **changes},
        )
        folder = tmp_path / f"configs-{number}"
        folder.mkdir(exist_ok=True)
        content["id"] = f"{number:05d}_TOY_MRI_NOISE"
        path = folder / f"{content['id']}.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        (folder / "lock.txt").write_text(lock, encoding="utf-8")
        config = read_config(path)
        return config, config.default

    return make


def run(interpreter: Interpreter, code: str, **environment: str) -> str:
    """What ``code`` prints when it runs in an environment."""
    done = subprocess.run(
        [interpreter.python, "-I", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def left() -> list[str]:
    """What lies among the environments, beside the empty files that are locks and marks of use."""
    found = records.folder().iterdir() if records.folder().is_dir() else []
    return sorted(p.name for p in found if p.suffix not in {".lock", ".use"})


VERSION = "import lib; print(lib.__version__)"


def test_two_models_that_need_different_versions_run_in_turn_and_at_the_same_time(
    index: PackageIndex, model: MakeModel
) -> None:
    index.add("lib", "1.0")
    index.add("lib", "2.0")
    old, new = isolated(*model("lib==1.0", number=901)), isolated(*model("lib==2.0", number=902))
    assert [run(i, VERSION) for i in (old, new, old)] == ["1.0", "2.0", "1.0"]
    with ExitStack() as stack:
        wait = f"{VERSION}; import sys; sys.stdout.flush(); sys.stdin.read()"
        pair = [
            stack.enter_context(
                subprocess.Popen(
                    [i.python, "-I", "-c", wait],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for i in (old, new)
        ]
        assert [p.stdout.readline().strip() for p in pair if p.stdout] == ["1.0", "2.0"]
        assert [p.poll() for p in pair] == [None, None]  # both alive
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("lib")  # the caller's interpreter is as it was


TELLS = """
import lib
import numpy as np

class Model:
    def sample(self, batch):
        return {"images": np.full((batch.n, 1, 8, 8), int(lib.__version__[0]), np.uint8)}

def load(weights_dir, device):
    return Model()
"""


def test_what_they_generate_at_the_same_time_is_made_with_the_version_of_each(
    index: PackageIndex, toy: Callable[..., int]
) -> None:
    (numpy,) = index.of("numpy")
    numpy.unlink()
    repack(index.folder, "numpy")  # the worker needs a real one
    index.add("lib", "1.0")
    index.add("lib", "2.0")
    number = toy(TELLS, requires=["lib==1.0", "numpy"])
    path = resolve(number).path
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["versions"]["2.0.0"] = content["versions"]["1.0.0"] | {
        "requires": ["lib==2.0", "numpy"]
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    registry.lookup._registry.cache_clear()
    with medzoo.load(number, version="1.0.0") as old, medzoo.load(number, version="2.0.0") as new:
        made = [model.generate(1) for model in (old, new, old)]
    assert [int(samples.images.max()) for samples in made] == [1, 2, 1]
    assert [samples.provenance["env"] for samples in made] == ["isolated"] * 3
    assert len({samples.provenance["lock"] for samples in made}) == 2


def test_what_an_environment_is_made_of_is_recorded_beside_it(
    index: PackageIndex, model: MakeModel
) -> None:
    index.add("lib", "1.0", requires=["dep"])
    index.add("dep", "3.1")
    found = isolated(*model("lib"))
    assert found.kind == "isolated"
    assert found.record == {"dep": "3.1", "lib": "1.0", "numpy": "1.26.0"}
    (key,) = {Path(name).stem for name in left()}
    record = json.loads((records.folder() / f"{key}.json").read_text())
    assert record["key"] == key
    assert record["lock"] == found.lock
    assert record["models"] == ["00901_TOY_MRI_NOISE"]
    assert record["packages"] == found.record
    assert record["python"] == platform.python_version()
    assert record["requires"] == ["lib", "numpy"]
    assert record["bytes"] == files.size_of(records.path_of(key))[0]
    assert Path(run(found, "import sys; print(sys.prefix)")).samefile(
        records.path_of(key)
    )  # it works where it was renamed to


def test_commands_in_an_environment_run_from_where_it_was_renamed_to(
    index: PackageIndex, model: MakeModel
) -> None:
    index.add("lib", "1.0", "def main():\n    print('ran', __file__)")
    python = isolated(*model("lib")).python
    done = subprocess.run(
        [python.with_name(f"lib{python.suffix}")], check=True, capture_output=True, text=True
    )
    assert done.stdout.split()[0] == "ran"
    assert Path(done.stdout.split()[1]).is_relative_to(python.parent.parent.resolve())


def test_models_with_the_same_lock_share_one_environment(
    index: PackageIndex, model: MakeModel
) -> None:
    line, numpy = index.add("lib", "1.0"), index.add("numpy", "1.26.0")
    name, digest = line.split()
    other = f"# made by uv\n{numpy}  # via lib\n\n{name} \\\n    {digest}\n    # via nothing\n"
    one = isolated(*model(lock=f"{line}\n{numpy}\n", number=901))
    asked = len(index.asked)
    two = isolated(*model("lib==1.0", "numpy==1.26.0", lock=other, number=902))
    assert one == two
    assert len(index.asked) == asked  # nothing was fetched or looked up
    (record,) = records.every()
    assert record["models"] == ["00901_TOY_MRI_NOISE", "00902_TOY_MRI_NOISE"]


def test_a_wrong_hash_fails_and_leaves_nothing(index: PackageIndex, model: MakeModel) -> None:
    line = index.add("lib", "1.0")
    index.add("lib", "1.0", "changed = True")
    with pytest.raises(
        BuildError,
        match=r"(?s)Hash mismatch for `lib==1.0`.*The package index offers other files than the lock lists",
    ):
        isolated(*model(lock=line))
    assert left() == []


def test_a_lock_without_hashes_is_refused(index: PackageIndex, model: MakeModel) -> None:
    index.add("lib", "1.0")
    with pytest.raises(BuildError, match="must have a hash"):
        isolated(*model(lock="lib==1.0\n"))
    assert left() == []


def test_a_lock_is_installed_as_it_stands(index: PackageIndex, model: MakeModel) -> None:
    index.add("dep", "1.0")
    lock = "\n".join(
        [
            index.add("lib", "1.0", requires=["dep"]),
            'gone==1 ; python_version < "3" --hash=sha256:' + "0" * 64,
        ]
    )
    found = isolated(
        *model("dep", lock=lock)
    )  # without a look at what its packages ask for beside it
    assert found.record == {"lib": "1.0", "numpy": "1.26.0"}


def test_torch_is_constrained_by_the_lock_and_its_hashes(
    index: PackageIndex, model: MakeModel
) -> None:
    index.add("torch", "2.0", requires=["dep>=1"])
    lock = index.add("dep", "1.0")
    index.add("dep", "2.0")
    found = isolated(*model("torch==2.0", "dep==1.0", lock=lock))
    assert found.record == {"dep": "1.0", "numpy": "1.26.0", "torch": "2.0"}


def test_what_torch_shares_with_the_lock_is_held_to_its_hash(
    index: PackageIndex, model: MakeModel
) -> None:
    index.add("torch", "2.0", requires=["dep>=1"])
    lock = index.add("dep", "1.0")
    index.add("dep", "1.0", "changed = True")
    with pytest.raises(BuildError, match=r"Hash mismatch for `dep==1\.0`"):
        isolated(*model("torch==2.0", lock=lock))
    assert (
        "torch-2.0-py3-none-any.whl" in index.downloads()
    )  # it was the first install that refused
    assert left() == []


def test_a_lock_that_names_torch_is_an_error_in_the_config(model: MakeModel) -> None:
    with pytest.raises(
        ConfigError, match=r"lock\.txt locks torchvision, whose build depends on the machine"
    ):
        isolated(*model("torch==2.0", lock="torchvision==0.15 --hash=sha256:" + "0" * 64))


def test_a_lock_that_is_not_there_is_an_error_in_the_config(model: MakeModel) -> None:
    config, version = model()
    with pytest.raises(ConfigError, match=r"lock: .*nowhere\.txt cannot be read"):
        isolated(config, replace(version, lock="nowhere.txt"))


PYTORCH, PYPI = "CONNECT download.pytorch.org:443", "CONNECT pypi.org:443"


@pytest.mark.parametrize(
    ("backend", "own", "pytorch"),
    [
        ("", True, False),
        ("auto", True, False),
        ("", False, True),
        ("index", False, False),
        ("cpu", True, True),
        ("cu128", True, True),
    ],
)
def test_pytorch_is_asked_for_a_build_unless_the_user_names_another_place(
    index: PackageIndex,
    model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    own: bool,
    pytorch: bool,
) -> None:
    index.add("torch", "2.0")
    monkeypatch.setenv("MEDZOO_TORCH_BACKEND", backend)
    monkeypatch.setenv(
        "HTTPS_PROXY", index.url.removesuffix("/simple")
    )  # through which nothing gets
    if not own:
        monkeypatch.delenv("UV_DEFAULT_INDEX")
    lock = index.add("numpy", "1.26.0")
    if own and not pytorch:
        assert "torch" in isolated(*model("torch==2.0", lock=lock)).record
    else:
        with pytest.raises(
            BuildError,
            match=r"(?s)download\.pytorch\.org.*TORCH_BACKEND=index" if pytorch else r"pypi\.org",
        ):
            isolated(*model("torch==2.0", lock=lock))
    assert [a for a in index.asked if a.startswith("CONNECT")] == (
        [PYTORCH] if pytorch else [PYPI] if not own else []
    )


def test_different_builds_of_the_torch_family_are_told(
    index: PackageIndex, model: MakeModel
) -> None:
    for name, version in (
        ("torch", "2.0+cpu"),
        ("torchvision", "0.15"),
        ("torchvision", "0.16+cpu"),
    ):
        index.add(name, version)
    with pytest.warns(
        MedzooWarning, match=r"different builds.*torch 2\.0\+cpu, torchvision 0\.15\."
    ):
        isolated(*model("torch==2.0", "torchvision==0.15"))
    isolated(
        *model("torch==2.0", "torchvision==0.16")
    )  # without a warning, which here would be an error


def test_builds_of_torch_have_environments_of_their_own(
    model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe.of(*model("torch==2.0"))

    def key(backend: str, driver: str = "") -> str:
        monkeypatch.setenv("MEDZOO_TORCH_BACKEND", backend)
        monkeypatch.setenv("UV_CUDA_DRIVER_VERSION", driver)
        return recipe.key("cpython-311")

    assert len({key("cpu"), key("cu128"), key("auto", "570.1"), key("auto", "525.60.13")}) == 4
    assert key("auto", "570.1") == key("auto", "570.99")
    assert key("cu128") == key("cu128", "570.1")
    assert (
        Recipe.of(*model("lib")).key("t")
        == (monkeypatch.setenv("MEDZOO_TORCH_BACKEND", "cu128"), Recipe.of(*model("lib")).key("t"))[
            1
        ]
    )


def test_a_failed_resolution_shows_what_the_resolver_said_and_leaves_nothing(
    index: PackageIndex, model: MakeModel
) -> None:
    index.add("one", "1.0", requires=["dep<2"])
    index.add("two", "1.0", requires=["dep>=2"])
    index.add("dep", "1.0")
    index.add("dep", "2.0")
    with pytest.raises(BuildError) as failure:
        isolated(*model("one", "two"))
    assert "The environment of 00901_TOY_MRI_NOISE could not be built" in failure.value.problem
    assert "one==1.0 depends on dep<2" in failure.value.problem.replace(
        "all versions of one depend", "one==1.0 depends"
    )
    assert "requirements are unsatisfiable" in failure.value.problem
    assert "Nothing of it was left behind" in failure.value.hint
    assert left() == []


SPY = """
import base64, hashlib, json, os, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    content = {"spy/__init__.py": "ENVIRONMENT = " + repr(json.dumps(dict(os.environ))),
               "spy-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: spy\\nVersion: 1.0\\n",
               "spy-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"}
    content["spy-1.0.dist-info/RECORD"] = "".join(name + ",,\\n" for name in content)
    with zipfile.ZipFile(os.path.join(folder, "spy-1.0-py3-none-any.whl"), "w") as wheel:
        for name, text in content.items():
            wheel.writestr(name, text)
    return "spy-1.0-py3-none-any.whl"
"""


def test_code_that_runs_while_an_environment_is_built_sees_no_pythonpath_and_no_tokens(
    index: PackageIndex, model: MakeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_sdist(index.folder, "spy", "1.0", SPY)
    trap = tmp_path / "trap"
    for name in ("numpy", "zipfile", "sitecustomize"):
        write_wheel(trap, name, "0")  # makes the folder
        (trap / f"{name}.py").write_text("raise SystemExit('the caller leaked in')")
    secrets = {
        "GITHUB_TOKEN": "x",
        "UV_PUBLISH_TOKEN": "x",
        "ZENODO_TOKEN": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "PYTHONHOME": "",
        "VIRTUAL_ENV": "x",
    }
    for name, value in {**secrets, "PYTHONPATH": str(trap), "PYTHONSTARTUP": "x"}.items():
        monkeypatch.setenv(name, value)
    found = isolated(*model("spy"))
    monkeypatch.delenv("PYTHONHOME")
    seen = json.loads(run(found, "import spy; print(spy.ENVIRONMENT)"))
    assert str(trap) not in seen.get("PYTHONPATH", "")
    assert not {*secrets, "PYTHONSTARTUP"} & {name for name, value in seen.items() if value == "x"}
    assert "PATH" in seen
    assert run(found, "import numpy; print(numpy.__version__)", PYTHONPATH=str(trap)) == "1.26.0"


BUILD = """
import sys
from medzoo.config import read_config
from medzoo.environments import isolated
from pathlib import Path
config = read_config(Path(sys.argv[1]))
print(isolated(config, config.default, progress=True).python)
"""


def builder(config: ModelConfig) -> subprocess.Popen[str]:
    """A process that builds an environment and says so on stderr."""
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, config.path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"MEDZOO_QUIET": ""},
    )


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_of_two_processes_that_want_the_same_one_builds_and_both_have_it(
    index: PackageIndex, model: MakeModel
) -> None:
    index.add("lib", "1.0")
    config, _ = model("lib==1.0")
    index.go.clear()
    with builder(config) as one, builder(config) as two:
        wait_for(lambda: any("/files/" in asked for asked in index.asked))
        time.sleep(1)  # both have started by now
        index.go.set()
        said = [p.communicate(timeout=60) for p in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert sorted("building its environment" in err for _, err in said) == [False, True]


def test_threads_of_one_process_build_one_environment(
    index: PackageIndex, model: MakeModel
) -> None:
    index.add("lib", "1.0")
    config, version = model("lib==1.0")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: isolated(config, version), range(4)))
    assert len({i.python for i in found}) == 1
    assert len(left()) == 2  # the folder and its record


def test_a_killed_build_leaves_nothing_that_counts(index: PackageIndex, model: MakeModel) -> None:
    index.add("lib", "1.0")
    config, version = model("lib==1.0")
    index.go.clear()
    with builder(config) as doomed:
        wait_for(lambda: any("/files/" in asked for asked in index.asked))
        doomed.kill()
        doomed.wait()
        assert any(name.startswith(".") for name in left())  # what it was at
        assert records.every() == []
        index.go.set()
        assert run(isolated(config, version), VERSION) == "1.0"
    assert len([name for name in left() if not name.startswith(".")]) == 2


@pytest.mark.parametrize("no_locks", [False, True])  # a disk that has none
@pytest.mark.parametrize("lost", ["record", "garbled", pytest.param("base", marks=needs_locks)])
def test_an_environment_that_lost_something_is_built_anew(
    index: PackageIndex,
    model: MakeModel,
    lost: str,
    no_locks: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index.add("lib", "1.0")
    config, version = model("lib==1.0")
    found = isolated(config, version)
    key = found.python.parent.parent.name
    if lost == "record":
        records.record_of(key).unlink()  # as by a kill between the two
    elif lost == "garbled":
        records.record_of(key).write_text("{", encoding="utf-8")
    else:
        found.python.unlink()
        found.python.symlink_to("/no/such/python")
    assert records.every() == []
    if no_locks:
        monkeypatch.setattr("filelock.FileLock.acquire", Mock(side_effect=NotImplementedError))
    assert run(isolated(config, version), VERSION) == "1.0"


def test_offline_what_is_built_is_found_and_what_is_not_is_an_error(
    index: PackageIndex, model: MakeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    index.add("lib", "1.0")
    index.add("other", "1.0")
    there, missing = model("lib==1.0", number=901), model("other==1.0", number=902)
    built = isolated(*there)
    monkeypatch.setenv("MEDZOO_OFFLINE", "1")
    before = list(index.asked)
    assert isolated(*there) == built
    with pytest.raises(
        BuildError,
        match=r"(?s)other was not found in the cache.*MEDZOO_OFFLINE is set: UV_FIND_LINKS",
    ):
        isolated(*missing)
    assert index.asked == before
    for name in ("other", "numpy"):
        write_wheel(tmp_path / "wheels", name, "1.0")
    monkeypatch.setenv(
        "UV_FIND_LINKS", str(tmp_path / "wheels")
    )  # what an institute without internet has
    assert isolated(*missing).record["other"] == "1.0"


def test_folders_are_meant_as_seen_from_where_the_user_is(
    index: PackageIndex, model: MakeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_wheel(tmp_path / "wheels", "lib", "3.0")
    (tmp_path / "pyproject.toml").write_text(
        "[tool.uv]\nno-index = true\n[tool.uv.pip]\nno-index = true\n"
    )  # not ours to heed
    monkeypatch.delenv("UV_NO_CONFIG")
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "MEDZOO_CACHE": "here",
        "UV_FIND_LINKS": "wheels",
        "UV_CACHE_DIR": "links",
    }.items():
        monkeypatch.setenv(name, value)
    assert run(isolated(*model("lib", "numpy==1.26.0")), VERSION) == "3.0"
    assert sorted(
        p.name for p in tmp_path.iterdir() if p.name in {"here", "links", "uv", "cache"}
    ) == ["here", "links"]


def test_a_python_that_is_not_here_is_asked_for_in_words(
    index: PackageIndex, model: MakeModel
) -> None:
    said = r"(?s)00901_TOY_MRI_NOISE needs a Python >=3\.60, which is not installed.*>=3\.60"
    with pytest.raises(BuildError, match=said) as failure:
        isolated(*model("numpy", python=">=3.60"))
    assert "medzoo finds any installed Python of that range" in failure.value.hint
    with pytest.raises(ConfigError, match="'three' is not a valid version range"):
        isolated(*model("numpy", python="three"))


def test_another_python_is_found_by_uv(
    index: PackageIndex, model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [
        p
        for p in sorted(Path.home().glob(".pyenv/versions/3.*/bin"))
        if not p.parent.name.startswith(("3.6", "3.7", platform.python_version()))
    ]
    if not others:
        pytest.skip("no other Python is installed here")
    wanted = others[0].parent.name
    monkeypatch.setenv("PATH", f"{others[0]}{os.pathsep}{os.environ['PATH']}")
    config, version = model("numpy", python=f"=={wanted}")
    found = isolated(config, version)
    assert run(found, "import platform; print(platform.python_version())") == wanted
    assert isolated(config, replace(version, python=">=3.8")) == found  # any that fits will do
    assert (
        isolated(config, replace(version, python=f"=={platform.python_version()}")).python
        != found.python
    )


@needs_locks
def test_an_environment_in_use_stays_and_one_that_is_not_goes(
    index: PackageIndex, model: MakeModel
) -> None:
    found = isolated(*model("numpy"))
    key = found.python.parent.parent.name
    assert not records.remove(key)
    assert run(found, "import numpy; print(1)") == "1"
    del found  # it is held as long as somebody could run something in it
    assert records.remove(key)
    assert left() == []


USE = BUILD.replace(
    "print(isolated(config, config.default, progress=True).python)",
    "used = isolated(config, config.default)",
)


@needs_locks
def test_an_environment_that_another_process_uses_stays(
    index: PackageIndex, model: MakeModel
) -> None:
    config, _ = model("numpy")
    code = f"{USE}print(1, flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, config.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as user:
        assert user.stdout
        assert user.stdout.readline() == "1\n"
        (record,) = records.every()
        assert not records.remove(record["key"])
        user.kill()
        user.wait()
        assert records.remove(record["key"])
    assert left() == []


@pytest.mark.parametrize("harm", ["", "edit", "delete", "install", "uninstall", "extra"])
def test_an_environment_that_was_changed_is_told(
    index: PackageIndex, model: MakeModel, harm: str
) -> None:
    index.add("lib", "1.0")
    key = isolated(*model("lib")).python.parent.parent.name
    where = records.site_packages(records.path_of(key))
    (where / "lib/__pycache__").mkdir(exist_ok=True)  # what running leaves is no change
    expected = {
        "": [],
        "edit": ["lib/__init__.py is not what was installed"],
        "delete": ["lib/__init__.py is missing"],
        "install": [
            "more: nothing was installed, 2.0 was found",
            "more-2.0.dist-info/METADATA was not installed",
        ],
        "uninstall": [
            "lib: 1.0 was installed, nothing was found",
            *(f"{name} was not installed" for name in ("away/METADATA", "away/WHEEL")),
            "lib/__init__.py was not installed",
        ],
        "extra": ["evil.pth was not installed"],
    }
    if harm == "extra":
        (where / "evil.pth").write_text("import os\n")
    if harm == "edit":
        (where / "lib/__init__.py").unlink()
        (where / "lib/__init__.py").write_text("changed = True")
    elif harm == "delete":
        (where / "lib/__init__.py").unlink()
    elif harm == "install":
        (where / "more-2.0.dist-info").mkdir()
        (where / "more-2.0.dist-info/METADATA").write_text(
            "Metadata-Version: 2.1\nName: more\nVersion: 2.0\n"
        )
    elif harm == "uninstall":
        (where / "lib-1.0.dist-info").rename(where / "away")
    assert list(records.differences(key)) == expected[harm]


@needs_locks
@pytest.mark.parametrize(
    "harm", ["edit", "overwrite", "delete", "extra", "bytecode", "dangle", "folder"]
)
def test_a_changed_environment_is_built_again(
    index: PackageIndex, model: MakeModel, harm: str, tmp_path: Path
) -> None:
    index.add("lib", "1.0")
    config, version = model("lib")
    key = isolated(config, version).python.parent.parent.name
    assert isolated(config, version).record  # nothing changed, so nothing is said
    where = records.site_packages(records.path_of(key))
    module = where / "lib/__init__.py"
    if harm == "edit":
        module.unlink()
        module.write_text("changed = True")
    elif harm == "overwrite":  # of the same size, in place
        module.chmod(0o644)
        module.write_text(module.read_text().replace("1.0", "6.6"))
    elif harm == "extra":
        (where / "evil.pth").write_text("import os\n")
    elif harm == "bytecode":
        (bytecode,) = (where / "lib/__pycache__").iterdir()
        bytecode.chmod(0o644)
        bytecode.write_bytes(b"bad")
    elif harm == "folder":  # a link to modules that lie elsewhere
        (tmp_path / "evil").mkdir()
        (where / "sitecustomize").symlink_to(tmp_path / "evil")
    else:
        module.unlink()
        if harm == "dangle":
            module.symlink_to("/nowhere")
    with pytest.warns(MedzooWarning, match="was changed after it was built"):
        again = isolated(config, version)
    assert list(records.differences(key)) == []
    assert run(again, "import lib; print(lib.__version__)") == "1.0"


@needs_locks
def test_what_an_environment_overwrites_reaches_uvs_cache_and_later_environments_never(
    index: PackageIndex, model: MakeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    index.add("lib", "1.0")
    index.add("other", "1.0")
    one, two = model("lib", number=901), model("lib", "other", number=902)
    environments = [isolated(*one).python.parents[1], isolated(*two).python.parents[1]]
    module = records.site_packages(environments[0]) / "lib/__init__.py"
    assert module.samefile(records.site_packages(environments[1]) / "lib/__init__.py")
    assert module.stat().st_mode & 0o777 == 0o444
    module.chmod(0o644)
    module.write_text(module.read_text().replace("1.0", "6.6"))
    (of_uv,) = (tmp_path / "uv").rglob("lib/__init__.py")
    assert of_uv.read_text() == '__version__ = "1.0"\n'
    for changed in (one, two):
        with pytest.warns(MedzooWarning, match="was changed after it was built"):
            again = isolated(*changed)
        assert run(again, VERSION) == "1.0"


@needs_locks
def test_a_file_that_was_changed_in_uvs_cache_is_not_installed(
    index: PackageIndex, model: MakeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    index.add("lib", "1.0")
    index.add("other", "1.0")
    found = isolated(*model("lib", number=901))
    key = found.python.parents[1].name
    (of_uv,) = (tmp_path / "uv").rglob("lib/__init__.py")
    of_uv.write_text(of_uv.read_text().replace("1.0", "6.6"))
    again = isolated(*model("lib", "other", number=902))  # it has medzoo's copy
    assert run(again, VERSION) == run(found, VERSION) == "1.0"
    for name in (key, again.python.parents[1].name):
        shutil.rmtree(records.path_of(name))
    shared.clear()
    with pytest.raises(BuildError, match=r"(?s)is not what its package states.*uv cache clean"):
        isolated(*model("lib", number=901))
    assert not [name for name in left() if not name.endswith(".json")]


def test_names_that_lead_out_of_an_environment_are_not_touched(
    index: PackageIndex, model: MakeModel
) -> None:
    index.add("lib", "1.0")
    environment = isolated(*model("lib")).python.parents[1]
    target = environment.parent / "target"
    target.write_text("mine")
    (record,) = records.site_packages(environment).glob("lib-*.dist-info/RECORD")
    up = "../" * len(record.parent.relative_to(environment.parent).parents)
    record.write_text(f"{up[3:]}target,sha256=AAAA,4\n{target},sha256=AAAA,4\n../x\n")
    assert (record.parent.parent / f"{up[3:]}target").resolve().samefile(target)
    names = [file.name for file, _ in shared.recorded(environment)]
    assert "target" not in names
    assert "WHEEL" in names


IMPORTED_FROM_BYTECODE = """
import importlib.machinery
loaded = []
compile_source = importlib.machinery.SourceFileLoader.source_to_code
importlib.machinery.SourceFileLoader.source_to_code = lambda self, data, path, **rest: (
    loaded.append(path), compile_source(self, data, path, **rest))[1]
import lib, lib.part
print(loaded, lib.part.where.__code__.co_filename == lib.part.__file__)
"""


def test_modules_are_compiled_once_before_anything_runs(
    index: PackageIndex, model: MakeModel
) -> None:
    modules = {"part.py": "def where():\n    pass\n", "broken.py": "print 'an older Python'"}
    brought = f"__pycache__/brought.{sys.implementation.cache_tag}.pyc"  # as numpy brings one
    modules |= {"brought.py": "", brought: "of another time"}
    write_wheel(index.folder, "lib", "1.0", modules=modules)
    found = isolated(*model("lib", number=901))
    assert run(found, IMPORTED_FROM_BYTECODE) == "[] True"
    index.add("other", "1.0")
    other = isolated(*model("lib", "other", number=902))
    assert run(other, IMPORTED_FROM_BYTECODE) == "[] True"
    modules = [
        records.site_packages(i.python.parents[1]) / "lib/__pycache__" for i in (found, other)
    ]
    first, second = ([p for p in folder.iterdir() if "part" in p.name] for folder in modules)
    assert first[0].samefile(second[0])
    assert not [p for p in modules[0].iterdir() if "broken" in p.name]
    key = found.python.parents[1].name
    assert list(records.differences(key)) == []
    content = first[0].read_bytes()
    first[0].unlink()
    first[0].write_bytes(content + b"x")
    os.utime(first[0], (shared.TIME, shared.TIME))
    assert list(records.differences(key)) == ["its bytecode is not what was compiled"]


def test_copies_that_no_environment_has_any_more_are_removed(
    index: PackageIndex, model: MakeModel
) -> None:
    index.add("lib", "1.0")
    index.add("other", "1.0")
    keys = [
        isolated(*model(*names, number=number)).python.parents[1].name
        for number, names in ((901, ("lib",)), (902, ("lib", "other")))
    ]
    copies = len(list(shared.folder().glob("??/*")))
    assert cache.remove(keys[1]).freed > 0
    assert 0 < len(list(shared.folder().glob("??/*"))) < copies
    cache.remove(keys[0])
    assert not list(shared.folder().glob("??/*"))


@needs_locks
def test_what_killed_builds_left_is_cleared_by_the_next_start(
    index: PackageIndex, model: MakeModel
) -> None:
    index.add("lib", "1.0")
    index.add("other", "1.0")
    config, _ = model("lib==1.0", number=901)
    index.go.clear()
    with builder(config) as doomed:
        wait_for(lambda: any("/files/" in asked for asked in index.asked))
        (unfinished,) = [name for name in left() if name.startswith(".")]
        assert unfinished in {e.path.name for e in cache.entries() if e.kind == "unfinished"}
        records.clear_unfinished()
        assert unfinished in left()  # it is being built
        doomed.kill()
        doomed.wait()
    index.go.set()
    assert unfinished in {e.path.name for e in cache.entries() if e.kind == "unfinished"}
    wait_for(lambda: clears(unfinished))  # uv ends with the process that started it
    isolated(*model("other", number=902))  # another model, which has nothing to do with it
    assert [name for name in left() if name.startswith(".")] == []


def clears(unfinished: str) -> bool:
    """Whether the next start removes an unfinished environment."""
    records.clear_unfinished()
    return unfinished not in left()


@pytest.mark.parametrize("again", [False, True])
def test_an_environment_that_is_removed_just_before_its_use_is_built_again(
    index: PackageIndex, model: MakeModel, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """By another process, which may build it once more as well."""
    config, version = model("numpy")
    key = isolated(config, version).python.parents[1].name
    hold, others = files.hold, list[Any]()

    def removed_before(mark: Path) -> files.Hold:
        if mark == records.mark_of(key) and not others:
            others.append(records.remove(key))
            if again:
                others.append(isolated(config, version))
        return hold(mark)

    monkeypatch.setattr(files, "hold", removed_before)
    assert run(isolated(config, version), "import numpy; print(1)") == "1"
    assert others[0]


@needs_locks
def test_all_who_see_that_an_environment_was_changed_have_it_built_again(
    index: PackageIndex, model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, version = model("numpy")
    key = isolated(config, version).python.parents[1].name
    (records.site_packages(records.path_of(key)) / "evil.pth").write_text("import os\n")
    both, compare, compared = threading.Barrier(2), records.is_unchanged, list[bool]()

    def at_the_same_time(record: dict[str, Any]) -> bool:
        same = compare(record)
        compared.append(same)
        if len(compared) <= 2:
            both.wait(timeout=30)
        return same

    monkeypatch.setattr(records, "is_unchanged", at_the_same_time)
    with pytest.warns(MedzooWarning, match="was changed"), ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: isolated(config, version), range(2)))
    assert compared[:2] == [False, False]
    assert run(found[0], "import numpy; print(1)") == run(found[1], "import numpy; print(1)")
    assert list(records.differences(key)) == []


def test_a_copy_that_another_process_removes_is_made_again(
    index: PackageIndex, model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, version = model("numpy")
    key = isolated(config, version).python.parents[1].name
    is_intact, cleared = shared._is_intact, list[Path]()

    def cleared_after(copy: Path) -> bool:
        intact = is_intact(copy)
        if intact and not cleared:
            cleared.append(copy)
            copy.unlink()
        return intact

    records.remove(key)  # and its copies stay, until `cache prune` comes to them
    monkeypatch.setattr(shared, "_is_intact", cleared_after)
    assert run(isolated(config, version), "import numpy; print(1)") == "1"
    assert cleared[0].exists()


@needs_locks
def test_a_changed_environment_that_is_in_use_is_not_used(
    index: PackageIndex, model: MakeModel
) -> None:
    config, version = model("numpy")
    used = isolated(config, version)
    (records.site_packages(used.python.parent.parent) / "evil.pth").write_text("import os\n")
    with (
        pytest.warns(MedzooWarning, match="was changed"),
        pytest.raises(BuildError, match="could not be removed: another process uses it"),
    ):
        isolated(config, version)


def test_a_cache_that_cannot_be_written_is_a_build_error(
    index: PackageIndex, model: MakeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(BuildError, match=r"could not be written.*\n.*MEDZOO_CACHE"):
        isolated(*model("numpy"))


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for uv")
def test_a_disk_that_fills_up_under_uv_is_called_full(
    index: PackageIndex, model: MakeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "uv.sh"
    script.write_text(
        "#!/bin/sh\necho 'failed to copy file: No space left on device (os error 28)' >&2\nexit 2\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr("uv.find_uv_bin", lambda: str(script))
    with pytest.raises(
        BuildError, match=r"ended with code 2(.|\n)*disk is full(.|\n)*MEDZOO_CACHE"
    ):
        isolated(*model("numpy"))
    assert left() == []


def test_an_installation_without_uv_says_so(
    index: PackageIndex, model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uv.find_uv_bin", Mock(side_effect=FileNotFoundError("uv")))
    with pytest.raises(BuildError, match="uv is missing"):
        isolated(*model("numpy"))
    assert left() == []


@pytest.mark.skipif(os.name == "nt", reason="uv's cache lies elsewhere on Windows")
@pytest.mark.parametrize("other_disk", [False, True])
def test_packages_are_hard_links_to_one_copy(
    index: PackageIndex,
    model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    other_disk: bool,
) -> None:
    usual = tmp_path / "usual"
    if other_disk:
        usual = Path("/dev/shm")
        if not usual.is_dir() or usual.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("no second file system to put uv's cache on")
    monkeypatch.delenv("UV_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(usual))
    index.add("lib", "1.0")
    one, two = isolated(*model("lib")), isolated(*model("lib>=1"))
    pair = [
        (records.site_packages(i.python.parent.parent) / "lib/__init__.py").stat()
        for i in (one, two)
    ]
    assert pair[0].st_ino == pair[1].st_ino
    assert pair[0].st_nlink == 3  # two environments, and medzoo's copy
    assert (tmp_path / "cache/uv").is_dir() is other_disk


@pytest.mark.slow
def test_a_second_environment_with_the_same_torch_takes_no_second_copy_of_it(
    index: PackageIndex,
    model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    places, torch = pips_places(), metadata.version("torch").partition("+")[0]
    links, local = (
        places.get("UV_FIND_LINKS", ""),
        [i for i in places.get("UV_INDEX", "").split() if i.startswith("file:")],
    )
    wheel = f"torch-{torch}*-cp{sys.version_info[0]}{sys.version_info[1]}-*.whl"
    if not links or not any([*Path(folder).glob(wheel)] for folder in links.split(",")):
        pytest.skip(f"pip's find-links has no {wheel}")
    if not local:
        pytest.skip("pip's settings name no index on this disk, for what torch needs")
    for folder in ("cache", "uv"):  # pytest keeps tmp_path, and this is large
        request.addfinalizer(partial(shutil.rmtree, tmp_path / folder, ignore_errors=True))
    monkeypatch.setenv("UV_FIND_LINKS", links)
    monkeypatch.setenv("UV_DEFAULT_INDEX", local[0])
    monkeypatch.setenv("UV_INDEX", " ".join([*local[1:], index.url]))
    monkeypatch.setenv("UV_INDEX_STRATEGY", "unsafe-best-match")
    one = isolated(*model(f"torch=={torch}", "numpy>=2", number=901))
    before = files.size_of(tmp_path)[0]
    two = isolated(*model(f"torch=={torch}", lock=index.add("lib", "1.0"), number=902))
    assert one.python != two.python
    assert files.size_of(tmp_path)[0] - before < 2**23
    libraries = [
        records.site_packages(i.python.parent.parent) / "torch/lib/libtorch_cpu.so"
        for i in (one, two)
    ]
    assert libraries[0].samefile(libraries[1])
    assert libraries[0].stat().st_nlink == 3  # and medzoo's copy
    code = "import lib, numpy, torch; print(torch.__version__.partition('+')[0], torch.from_numpy(numpy.ones(3)).sum().item())"
    assert run(two, code) == f"{torch} 3.0"
    assert two.record["torch"].startswith(torch)
    assert not [a for a in index.asked if "torch" in a and "/files/" in a]


# ------------------------------------------------------------------------------------------------ what decides for one
BUNDLED = {"source": "bundled:X", "files": {}}
MEDIGAN = {"contract": "medigan", "call": CALL}


@pytest.mark.parametrize(
    ("env", "changes", "requires", "expected"),
    [
        ("auto", BUNDLED, ["numpy>=1"], None),
        ("auto", {"source": "file:."}, ["numpy>=1"], None),
        ("auto", BUNDLED, ["numpy==1.26.0"], "isolated"),
        ("auto", {**BUNDLED, "python": "<3.10"}, ["numpy>=1"], "no Python"),
        ("auto", {"source": "zenodo:1/a.zip"}, ["numpy>=1"], "isolated"),
        ("auto", MEDIGAN, ["numpy>=1"], "isolated"),
        ("current", {"source": "zenodo:1/a.zip"}, ["numpy>=1"], None),
        ("current", MEDIGAN, ["numpy>=1"], "current"),
        ("isolated", BUNDLED, ["numpy>=1"], "isolated"),
    ],
)
def test_where_a_model_runs(
    index: PackageIndex,
    model: MakeModel,
    env: str,
    changes: dict[str, Any],
    requires: list[str],
    expected: str | None,
) -> None:
    if expected == "no Python":
        with pytest.raises(BuildError, match=r"needs a Python <3\.10"):
            choose(*model(*requires, **changes), env)
        return
    found = choose(*model(*requires, **changes), env)
    assert (found and found.kind) == expected
    if expected == "current":
        assert found == current()
        assert found.python == Path(sys.executable)
        assert found.record["numpy"] == metadata.version("numpy")


def test_the_current_interpreter_is_taken_with_a_warning_where_it_does_not_fit(
    model: MakeModel,
) -> None:
    with pytest.warns(
        MedzooWarning, match=r"env='current'.*nowhere>=3 is needed, none is installed"
    ):
        assert choose(*model("nowhere>=3"), "current") is None


@pytest.mark.parametrize("env", ["own", "", None, 3])
def test_an_unknown_env_is_an_input_error(model: MakeModel, env: Any) -> None:
    with pytest.raises(InputError, match="Give one of auto, current, isolated"):
        choose(*model(), env)


def test_what_is_installed_satisfies_a_pin_of_its_version_and_no_other(model: MakeModel) -> None:
    _, version = model()
    for distribution in metadata.distributions():
        name, found = distribution.metadata["Name"], distribution.version.partition("+")[0]
        assert satisfied(replace(version, requires=(f"{name}=={found}", f"{name}>={found}"))) == []
        assert satisfied(replace(version, requires=(f"{name}!={found}", f"{name}==0.0.0.1"))) != []


@pytest.mark.parametrize(
    ("requires", "python", "lacking"),
    [
        (["numpy", "Numpy>=1", "torch>=2"], ">=3.10", []),
        (["nowhere"], ">=3", ["nowhere is needed, none is installed"]),
        (["numpy<1"], ">=3", [f"numpy<1 is needed, {metadata.version('numpy')} is installed"]),
        (
            ["numpy"],
            ">=3.40",
            [f"Python >=3.40 is needed, {platform.python_version()} is installed"],
        ),
        (['nowhere; python_version < "3"', 'numpy; sys_platform == "nowhere"'], ">=3", []),
        (
            ["numpy @ https://example.org/numpy.whl"],
            ">=3",
            ["numpy is needed from https://example.org/numpy.whl"],
        ),
        (["hypothesis[cli]"], ">=3", None),  # an extra whose packages are not here
        (["hypothesis[nowhere]"], ">=3", []),
    ],
)
def test_what_the_current_interpreter_lacks_is_named(
    model: MakeModel, requires: list[str], python: str, lacking: list[str] | None
) -> None:
    found = satisfied(replace(model()[1], requires=tuple(requires), python=python))
    assert (
        found == lacking
        if lacking is not None
        else any("is needed, none is installed" in text for text in found)
    )


@pytest.mark.parametrize(("requires", "python"), [(["numpy=>1"], ">=3"), (["numpy"], "3.x or so")])
def test_what_is_no_requirement_is_an_error_in_the_config(
    model: MakeModel, requires: list[str], python: str
) -> None:
    with pytest.raises(ConfigError, match="is no"):
        satisfied(replace(model()[1], requires=tuple(requires), python=python))


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
ENTRIES = st.lists(
    st.tuples(
        NAMES,
        st.integers(0, 99),
        st.lists(st.from_regex(r"[0-9a-f]{64}", fullmatch=True), max_size=2),
    ),
    max_size=5,
)
SPACE = st.sampled_from([" ", "  ", " \\\n    ", "\t"])


@given(entries=ENTRIES, data=st.data())
def test_locks_that_differ_in_layout_alone_are_one(
    entries: list[tuple[str, int, list[str]]], data: st.DataObject
) -> None:
    plain = [
        " ".join([f"{name}=={n}", *(f"--hash=sha256:{h}" for h in hashes)])
        for name, n, hashes in entries
    ]
    lines = []
    for line in data.draw(st.permutations(plain)):
        lines.append(
            "".join(part + data.draw(SPACE) for part in line.split()[:-1]) + line.split()[-1]
        )
        lines.extend(data.draw(st.sampled_from([[], [""], ["    # via x"], ["# made by uv"]])))
    ending = data.draw(st.sampled_from(["\n", "\r\n"]))
    assert (
        lock_entries(ending.join(lines)) == lock_entries("\n".join(plain)) == tuple(sorted(plain))
    )


def test_the_address_of_a_package_is_no_comment() -> None:
    assert lock_entries("a @ https://x.org/a.whl#sha256=00  # why") == (
        "a @ https://x.org/a.whl#sha256=00",
    )


# ---- the user's uv.toml


def write_uv_toml(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's settings of uv, which count again."""
    path = folder / "settings" / "uv" / "uv.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "settings"))
    monkeypatch.setenv("APPDATA", str(folder / "settings"))
    monkeypatch.delenv("UV_NO_CONFIG", raising=False)
    return path


@pytest.mark.parametrize(
    "text",
    [
        'override-dependencies = ["lib==1.0"]',
        'constraint-dependencies = ["lib<2"]',
        'exclude-newer = "2020-01-01"',
        '[pip]\nresolution = "lowest"',
        '[pip]\ntarget = "ELSEWHERE"',
        '[pip]\nprefix = "ELSEWHERE"',
        "[pip]\nno-deps = true",
        '[pip]\nindex-url = "http://127.0.0.1:9/"\ntarget = "ELSEWHERE"',
    ],
)
def test_settings_of_the_users_uv_change_nothing_that_is_installed(
    index: PackageIndex,
    model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    text: str,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_uv_toml(tmp_path, text.replace("ELSEWHERE", str(elsewhere)), monkeypatch)
    index.add("lib", "1.0")
    index.add("lib", "2.0")
    record = isolated(*model("lib>=1.0", "numpy==1.26.0")).record
    assert record["lib"] == "2.0"
    assert not elsewhere.exists()


@pytest.mark.parametrize("named", [True, False])
def test_addresses_in_the_users_uv_toml_count(
    index: PackageIndex,
    model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    named: bool,
) -> None:
    write_wheel(tmp_path / "settings" / "uv" / "wheels", "lib", "7.0")
    path = write_uv_toml(tmp_path, 'find-links = ["wheels"]\nresolution = "lowest"\n', monkeypatch)
    if named:
        monkeypatch.setenv("UV_CONFIG_FILE", str(path))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    assert isolated(*model("lib", "numpy==1.26.0")).record["lib"] == "7.0"


def test_a_uv_toml_that_cannot_be_read_is_named(
    index: PackageIndex, model: MakeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write_uv_toml(tmp_path, "find-links = [", monkeypatch)
    with pytest.raises(BuildError, match=rf"{re.escape(str(path))}, the settings of uv, cannot"):
        isolated(*model("lib"))
    assert left() == []


def test_of_two_files_lists_are_joined_and_the_nearer_one_decides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_uv_toml(
        tmp_path,
        'index-url = "https://a.b/simple"\nextra-index-url = ["https://c.d"]\n'
        "allow-insecure-host = ['a.b']\n[[index]]\nname = 'x \"y\"'\nurl = 'https://e.f'\nexplicit = true\n"
        "[pip]\nno-index = false\nno-deps = true\n",
        monkeypatch,
    )
    common = tmp_path / "common" / "uv" / "uv.toml"
    common.parent.mkdir(parents=True)
    common.write_text(
        "index-url = 'https://z.z'\nextra-index-url = ['https://g.h']\nnative-tls = true\n"
        "prerelease = 'allow'\n[pip]\nno-index = true\nfind-links = ['/w']\n"
    )
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "common"))
    monkeypatch.setenv("PROGRAMDATA", str(tmp_path / "common"))
    with uv_config.only_places() as variables:
        said = uv_config.tomllib.loads(Path(variables["UV_CONFIG_FILE"]).read_text("utf-8"))
    assert said == {
        "index-url": "https://a.b/simple",
        "extra-index-url": ["https://c.d", "https://g.h"],
        "allow-insecure-host": ["a.b"],
        "native-tls": True,
        "index": [{"name": 'x "y"', "url": "https://e.f", "explicit": True}],
        "pip": {"no-index": False, "find-links": ["/w"]},
    }
    assert not Path(variables["UV_CONFIG_FILE"]).exists()


def test_an_environment_that_is_not_what_was_declared_does_not_count(
    index: PackageIndex, model: MakeModel
) -> None:
    index.add("lib", "1.0")
    wanted = model("lib==1.0", "numpy==1.26.0")
    interpreter = isolated(*wanted)
    key = json.loads(next(records.folder().glob("*.json")).read_text())["key"]
    path = records.record_of(key)
    record = json.loads(path.read_text())
    record["packages"]["lib"] = "2.0"  # as a record says that was written of a wrong environment
    path.write_text(json.dumps(record))
    del interpreter
    again = isolated(*wanted)
    assert again.record["lib"] == run(again, VERSION) == "1.0"


@pytest.mark.parametrize(
    ("packages", "unmet"),
    [
        ({"numpy": "1.26.0", "lib": "1.0", "other-thing": "3"}, []),
        ({"numpy": "1.24.4", "lib": "1.0", "other-thing": "3"}, ["numpy>=1.26 is declared, 1.24"]),
        ({"numpy": "1.26.0", "lib": "1.1", "other-thing": "3"}, ["lib==1.0 is declared, 1.1"]),
        ({"numpy": "1.26.0", "lib": "1.0"}, ["other_thing is declared, none is there"]),
    ],
)
def test_what_is_installed_is_compared_with_what_is_declared(
    packages: dict[str, str], unmet: list[str]
) -> None:
    lock = (
        "lib==1.0 ; python_version >= '3.9' --hash=sha256:00",
        "old==1 ; python_version < '3.9' --hash=sha256:00",
    )
    found = Recipe(("numpy>=1.26", "other_thing"), lock).unmet(packages, "3.9.18")
    assert len(found) == len(unmet)
    assert all(text.startswith(said) for text, said in zip(found, unmet, strict=True))
