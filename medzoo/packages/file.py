"""``file:PATH``: a zip or a folder on this machine; a relative path starts from the config's own
folder.
"""

from __future__ import annotations

from pathlib import Path


def fetch(location: str, base: Path) -> Path:
    """The file or folder at ``location``, seen from ``base``."""
    return (base / Path(location).expanduser()).resolve()
