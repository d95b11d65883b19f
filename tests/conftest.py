"""A clean environment for every test, and small packages to run."""

from __future__ import annotations

import socket
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from medzoo.files import sha256_of

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


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of the test's own, no notices, no window, and no socket beyond this machine."""
    for name in ("MEDZOO_MODEL_CONFIGS", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDZOO_QUIET", "1")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in {"127.0.0.1", "::1", "localhost"}:
            raise AssertionError(f"a test reached for {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


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
        "conditions": {"condition": {"values": {"benign": 0, "malignant": 1}, "help": "Malignancy."}},
        "options": {"gain": {"type": "int", "default": 3, "minimum": 0, "maximum": 9, "help": "Written into a pixel."}},
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
        (folder / f"{config['id']}.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", str(folder))
        from medzoo import registry

        registry._registry.cache_clear()
        return 901

    return register
