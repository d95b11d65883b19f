"""A clean environment for every test, and small packages to run."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # tests side by side share the cores
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

import hypothesis
import pytest
import yaml
from contributed import *  # noqa: F403  (its fixture `package`)
from package_index import PackageIndex, serve
from sets import any_toy, fails  # noqa: F401  (fixtures)
from zenodo_server import ZenodoServer, zipped

from medzoo.files import sha256_of
from medzoo.packages import http

# On a busy machine examples are drawn slowly, which says nothing about what is tested.
hypothesis.settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("any machine")

ROOT = Path(__file__).resolve().parent.parent

NUMPY_MODEL = """
import numpy as np

class Model:
    def sample(self, batch):
        images = np.zeros((batch.n, 1, 8, 8), np.uint8)
        for i in range(batch.n):
            images[i] = batch.rng(i).bytes(64).reshape(1, 8, 8)
            images[i, 0, 0, 0] = batch.conditions["condition"][i]
            images[i, 0, 0, 1:5] = np.clip(batch.latents[i] * 20 + 128, 0, 255)
            images[i, 0, 0, 5] = batch.options.get("gain", 0)
        return {"images": images}

def load(weights_dir, device):
    return Model()
"""

MATRIX = """
import numpy as np
import torch

class Model:
    def sample(self, batch):
        rows = torch.from_numpy(np.stack([batch.rng(i).uniforms((8, 8)) for i in range(batch.n)]))
        return {"images": (rows @ rows)[:, None] / 8}

def load(weights_dir, device):
    return Model()
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of the test's own, no notices, no window, and no socket beyond this machine."""
    for name in (
        "MEDZOO_MODEL_CONFIGS",
        "MEDZOO_OFFLINE",
        "MEDZOO_MIRROR",
        "MEDZOO_DEPOSITS",
        "MEDZOO_GITHUB",
        "ZENODO_TOKEN",
        "ZENODO_SANDBOX_TOKEN",
        "GITHUB_TOKEN",
        "COLUMNS",
        "DISPLAY",
        "WAYLAND_DISPLAY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(
        "MEDZOO_ZENODO", "http://127.0.0.1:9"
    )  # where nobody answers; the fixture `zenodo` does
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDZOO_QUIET", "1")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in {
            "127.0.0.1",
            "::1",
            "localhost",
        }:
            raise AssertionError(f"a test reached for {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny networks lose more time with two threads than they gain where other processes run."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def own_temporary_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Temporary files of the test's own: those that dead processes left elsewhere are not listed."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def toy_config(**changes: Any) -> dict[str, Any]:
    """The content of a config for a small numpy package, version 1.0.0, with keys of the version replaced or added."""
    version: dict[str, Any] = {
        "source": "file:package",
        "contract": "native",
        "architecture": "Random bytes",
        "generator": "procedural",
        "year": 2026,
        "authors": ["A. Tester"],
        "license": "MIT",
        "requires": ["numpy"],
        "latent": 4,
        "batch_size": 4,
        "conditions": {
            "condition": {"values": {"benign": 0, "malignant": 1}, "help": "Malignancy."}
        },
        "options": {
            "gain": {
                "type": "int",
                "default": 3,
                "minimum": 0,
                "maximum": 9,
                "help": "Written into a pixel.",
            }
        },
        "outputs": {
            "images": {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8], "range": [0, 255]},
            "labels": {"kind": "label", "condition": "condition"},
        },
    }
    version |= changes
    version = {k: v for k, v in version.items() if v is not None}
    return {
        "id": "00901_TOY_MRI_NOISE",
        "name": "Toy",
        "description": "Noise for tests.",
        "modality": "MRI",
        "organ": "knee",
        "content": "noise",
        "default_version": "1.0.0",
        "versions": {"1.0.0": version},
    }


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Register a small package: ``toy()``, or ``toy(code, latent=0)`` for other code and config; returns its number."""

    def register(code: str = NUMPY_MODEL, **changes: Any) -> int:
        folder = tmp_path / "configs"
        package = folder / "package"
        package.mkdir(parents=True, exist_ok=True)
        (package / "model.py").write_text(textwrap.dedent(code), encoding="utf-8")
        config = toy_config(**{"files": {"model.py": sha256_of(package / "model.py")}, **changes})
        (folder / f"{config['id']}.yaml").write_text(
            yaml.safe_dump(config, sort_keys=False), encoding="utf-8"
        )
        monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", str(folder))
        from medzoo import registry

        registry.lookup._registry.cache_clear()
        return 901

    return register


class Zenodo(ZenodoServer):
    """The server of the fixture `zenodo`, which registers what it publishes; its client waits for nothing, but notes it."""

    def __init__(self, toy: Callable[..., int]) -> None:
        super().__init__()
        self._toy = toy
        self.waited: list[float] = []

    def register(
        self, entries: dict[str, bytes] | None = None, digest: str = "sha256", **changes: Any
    ) -> int:
        """Publish a zip of the toy package, or of ``entries``, as package.zip of record 7000001, and register a model of it.

        ``digest`` is what its config knows: sha256, md5, or nothing if empty; ``changes`` are keys of the version. Returns
        the model's number.
        """
        content = zipped(entries or {"toy/model.py": textwrap.dedent(NUMPY_MODEL).encode()})
        self.publish(7000001, {"package.zip": content})
        known = {digest: hashlib.new(digest, content).hexdigest()} if digest else {}
        return self._toy(
            **{"source": "zenodo:7000001/package.zip", "files": None, **known, **changes}
        )


@pytest.fixture
def zenodo(toy: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Zenodo]:
    """A Zenodo on this machine: see `Zenodo.register` and `zenodo_server`."""
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    with Zenodo(toy) as server:
        monkeypatch.setenv("MEDZOO_ZENODO", server.url)
        quick = dataclasses.replace(
            http.policy, connect=2, stall=0.5, gain=1, sleep=server.waited.append
        )
        monkeypatch.setattr(http, "policy", quick)
        yield server


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    """A package index that environments are built from, and from nowhere else. It holds a numpy, which each of them gets."""
    for name in [
        n
        for n in os.environ
        if n.startswith(("UV_", "MEDZOO_TORCH")) or n.lower().endswith("_proxy")
    ]:
        monkeypatch.delenv(name)
    if sys.platform == "darwin":
        monkeypatch.setenv("UV_LINK_MODE", "hardlink")  # not clones, which share the disk unseen
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve(tmp_path / "index") as index:
        index.add("numpy", "1.26.0")
        monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
        yield index


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModuleType]]:
    """Imports a script of a package as its own command would, with the package's modules beside it; none of them stays."""
    folders: list[Path] = []

    def forget() -> None:
        for name, module in list(sys.modules.items()):
            if Path(getattr(module, "__file__", None) or "/").parent in folders:
                del sys.modules[name]

    def imported(folder: Path, name: str = "train") -> ModuleType:
        folders.append(folder)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        module = importlib.import_module(name)
        forget()
        return module

    yield imported
    forget()


def killed_and_finished(command: list[str], first: str, checkpoint: Path) -> str:
    """What a training says that goes on after it was killed, once its log and its checkpoint told of its first step."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(first):
            break
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert not (checkpoint.parent / "weights.safetensors").exists()
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert first not in said, "it began again"
    return said
