"""Makes small packages of the medigan contract, zipped and registered as published ones are."""

from __future__ import annotations

import textwrap
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from medzoo.files import sha256_of

GRAY = {"images": {"kind": "image", "dtype": "uint8", "shape": [1, 4, 4], "range": [0, 255]}}


def write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    """A zip of ``files``, the same bytes each time."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)


def config_of(identifier: str, call: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """The content of a config for a package of the medigan contract, version 1.0.0."""
    version = {
        "source": f"file:{identifier}.zip",
        "contract": "medigan",
        "call": {"weights": "weights", "returns": "images", **call},
        "architecture": "A function",
        "generator": "procedural",
        "year": 2026,
        "authors": ["A. Tester"],
        "license": "MIT",
        "requires": ["numpy"],
        "batch_size": 4,
        "outputs": GRAY,
        **changes,
    }
    return {
        "id": identifier,
        "name": "A package",
        "description": "For tests.",
        "modality": "MRI",
        "organ": "knee",
        "content": "noise",
        "default_version": "1.0.0",
        "versions": {"1.0.0": {k: v for k, v in version.items() if v is not None}},
    }


def registrar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A function that registers a package in ``folder``: ``register(code, files={...}, call={...})``; it returns its number.

    ``code`` is its ``__init__.py``; ``files`` (name -> text or bytes) lie beside it, ``weights`` always; ``nested`` is the
    folder that the zip holds all in, "" for none. What else is given are keys of the version.
    """
    folder.mkdir()
    monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", str(folder))

    def register(
        code: str,
        *,
        files: Mapping[str, str | bytes] | None = None,
        call: Mapping[str, Any] | None = None,
        number: int = 902,
        nested: str = "",
        **version: Any,
    ) -> int:
        identifier = f"{number:05d}_QUIRK_MRI_NOISE"
        content = {"__init__.py": textwrap.dedent(code), "weights": b"weights", **(files or {})}
        prefix = f"{nested}/" if nested else ""
        packed = {
            prefix + name: text if isinstance(text, bytes) else text.encode()
            for name, text in content.items()
        }
        write_zip(folder / f"{identifier}.zip", packed)
        config = config_of(
            identifier, call or {}, sha256=sha256_of(folder / f"{identifier}.zip"), **version
        )
        (folder / f"{identifier}.yaml").write_text(
            yaml.safe_dump(config, sort_keys=False), encoding="utf-8"
        )
        from medzoo import registry

        registry.lookup._registry.cache_clear()
        return number

    return register
