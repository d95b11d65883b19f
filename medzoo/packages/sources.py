"""Where packages come from: one module per scheme of ``source``.

``bundled`` and ``file`` return a path on this machine, which `store` verifies. ``zenodo`` and
``https`` return an address; `download` fetches the file through `http` and compares its digest.
"""

from __future__ import annotations

from pathlib import Path

from ..config import LOCAL, REMOTE, ModelConfig, Version
from ..errors import SourceError
from ..plugins import plugin


def local(config: ModelConfig, version: Version) -> Path:
    """The package that the ``source`` of a version names on this machine.

    Raises
    ------
    SourceError
        There is nothing at the source, or the scheme is unknown.
    """
    scheme, _, location = version.source.partition(":")
    if scheme not in LOCAL:
        raise SourceError(
            f"{config.id}, version {version.name}: {version.source!r} has no known scheme.",
            f"Known are {', '.join((*LOCAL, *REMOTE))}.",
        )
    path: Path = plugin("source", scheme).fetch(location, config.path.parent)
    if not path.exists():
        raise SourceError(
            f"{config.id}, version {version.name}: there is nothing at {path}.",
            "Reinstall medzoo." if scheme == "bundled" else "Is the path right, the disk mounted?",
        )
    return path
