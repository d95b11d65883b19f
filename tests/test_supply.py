"""What medzoo is built and tested with: pinned by hash or commit, from one index each, and the same wheel each time."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GITHUB = sorted((ROOT / ".github").rglob("*.yml"))
PINS = sorted((ROOT / ".ci").glob("requirements*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = ">=3.10,<3.14"  # those of the workflow `tests`
APART = ("torch", "triton", "nvidia-", "cuda-")  # have a version, and no hash


@pytest.fixture(scope="module")
def locks() -> ModuleType:
    """``model_configs/lock.py``, which is a script."""
    spec = spec_from_file_location("supply_lock", ROOT / "model_configs" / "lock.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    sys.modules["supply_lock"] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


def required(extra: str) -> Iterator[Requirement]:
    """What ``medzoo[extra]`` requires by name, with the extras that it names in turn."""
    for text in PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]:
        asked = Requirement(text)
        if asked.name != "medzoo":
            yield asked
        for other in sorted(asked.extras) if asked.name == "medzoo" else []:
            yield from required(other)


@pytest.mark.parametrize(
    ("name", "extras"), [("requirements.txt", [""]), ("requirements-dev.txt", ["", "dev"])]
)
def test_the_pins_are_what_the_project_requires(
    locks: ModuleType, name: str, extras: list[str]
) -> None:
    asked = [r for extra in extras for r in required(extra) if r.name != "torch"]
    asked.append(Requirement("setuptools>=77"))  # medzoo itself is built without isolation
    lock = locks.Lock(ROOT / ".ci" / name, PYTHONS, tuple(asked), ("pyproject.toml",))
    assert list(locks.unfit(lock)) == [], "`make lock` writes the pins again"


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.stem)
def test_every_pin_has_a_hash(path: Path) -> None:
    entries = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", entry), entry


def test_what_the_pins_need_is_pinned() -> None:
    """As the packages installed here say it; what is pinned goes in without looking for more."""
    text = (ROOT / ".ci" / "requirements-dev.txt").read_text(encoding="utf-8")
    pinned = {match[1] for match in re.finditer(r"^([a-z0-9.-]+)==", text, re.MULTILINE)}
    assert len(pinned) > 200
    for name in sorted(pinned):
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another system, or of another Python
        for need in map(Requirement, needs):
            if need.marker and not need.marker.evaluate({"extra": ""}):
                continue
            wanted = canonicalize_name(need.name)
            assert wanted in pinned or wanted.startswith(APART), f"{name} needs {need}"


def test_torch_is_pinned_apart() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if re.fullmatch(r"torch==[\d.]+", line)]
    install = (ROOT / ".ci" / "install").read_text(encoding="utf-8")
    assert "--no-deps --index-url" in install  # nothing but torch comes from its index


@pytest.mark.parametrize("path", GITHUB, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        used = re.match(r"[\s-]*uses:\s*(\S+)(.*)", line)
        if used and not used[1].startswith("./"):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", used[1]), line
            assert re.match(r" # v\d+\.\d+\.\d+\b", used[2]), line


def test_one_commit_stands_for_one_version() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in GITHUB)
    used = set(re.findall(r"uses: ([\w-]+/[\w-]+)\S*@(\w+) # (v[\d.]+)", text))
    assert len(used) == len({name for name, _, _ in used}) >= 8


def scripts(value: Any) -> Iterator[str]:
    """The scripts of a workflow, or of an action."""
    if isinstance(value, dict):
        yield from [value["run"]] if isinstance(value.get("run"), str) else []
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, dict | list):
            yield from scripts(part)


def test_no_workflow_mixes_another_index_with_the_main_one() -> None:
    places = [*GITHUB, *(p for p in (ROOT / ".ci").iterdir() if p.is_file()), ROOT / "Makefile"]
    for path in places:
        text = path.read_text(encoding="utf-8").lower()
        assert not re.search("extra[-_]index|find[-_]links|trusted[-_]host", text), path


@pytest.mark.parametrize("path", GITHUB, ids=lambda path: path.stem)
def test_workflows_install_only_what_is_pinned(path: Path) -> None:
    for script in scripts(yaml.safe_load(path.read_text(encoding="utf-8"))):
        for line in script.splitlines():
            if re.search(r"\bpip install|\buv add|\bpipx\b", line):
                assert "--no-deps" in line or "--require-hashes" in line, line
