"""Where packages come from: one module a scheme.

``bundled`` and ``file`` know where a package lies on this machine. ``zenodo`` and ``https`` know
where one lies on a network; `download` brings it here, by `http` and compared with its digest. What
lies here, `medzoo.store` verifies.
"""

from __future__ import annotations

from pathlib import Path

from ..config import LOCAL, REMOTE, ModelConfig, Version
from ..errors import SourceError
from ..plugins import plugin
from . import download
from .download import Archive


def fetch(
    config: ModelConfig, version: Version, *, trust: bool = False, progress: bool | None = None
) -> Path | Archive:
    """What a version's ``source`` names: a folder or file on this machine, or an archive that was
    verified.

    Parameters
    ----------
    trust
        Whether to take an archive of which nobody has a digest.
    progress
        Whether to draw a bar; only at a terminal if None.

    Raises
    ------
    SourceError
        Nothing lies there, it cannot be fetched, or the scheme is unknown.
    IntegrityError
        An archive differs from its digest.
    TrustError
        Nobody has a digest of the archive, and ``trust`` is not given.
    OSError
        The disk is too small, or cannot be written.
    """
    scheme, _, location = version.source.partition(":")
    if scheme in REMOTE:
        return download.fetch(config, version, trust=trust, progress=progress)
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
