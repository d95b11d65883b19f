"""A package folder that is ready to be published, for the tests of contributing, and calls that need no network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from medzoo import publishing
from medzoo.publishing import metadata

__all__ = ["package"]
CARD = "# Toy\n\n" + "\n".join(f"## {s}\n\nSaid.\n" for s in metadata.SECTIONS)
Make = Callable[..., Path]
# With the packages that are installed here: the default builds an environment from the network.
check = partial(publishing.check, env="current")
pack = partial(publishing.pack, env="current")
submit = partial(publishing.submit, env="current")
upload = partial(publishing.upload, env="current")


@pytest.fixture
def package(tmp_path: Path) -> Make:
    """A package folder that is ready: ``package()``; with other code, with keys of the config's version replaced."""

    def make(code: str = "", folder: str = "mine", **changes: Any) -> Path:
        path = tmp_path / folder
        path.mkdir()
        about = {
            "citation": "A. Tester (2026).",
            "datasets": [{"name": "Noise", "license": "CC0"}],
            "source": "file:.",
            "requires": ["numpy>=1.26"],
        }
        metrics = [{"name": "FID", "value": 1.5, "dataset": "Noise"}]
        from conftest import NUMPY_MODEL, toy_config

        config = toy_config(**(about | {"metrics": metrics} | changes)) | {
            "id": "99999_TOY_MRI_NOISE"
        }
        (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        (path / "model.py").write_text(code or NUMPY_MODEL, encoding="utf-8")
        (path / "README.md").write_text(CARD, encoding="utf-8")
        return path

    return make
