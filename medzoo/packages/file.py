"""``file:PATH``: a zip or a folder on this machine.

A relative path starts from the folder of the config.
"""

from __future__ import annotations

from pathlib import Path


def fetch(location: str, base: Path) -> Path:
    """The absolute path of ``location``, which is relative to ``base``."""
    return (base / Path(location).expanduser()).resolve()
