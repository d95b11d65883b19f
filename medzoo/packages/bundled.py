"""``bundled:NAME``: a package that comes with medzoo, under ``starter_models/``."""

from __future__ import annotations

from pathlib import Path

from ..settings import shipped


def fetch(location: str, base: Path) -> Path:  # noqa: ARG001
    """The folder of the package; ``base`` is not used."""
    return shipped("starter_models") / location
