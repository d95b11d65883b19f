"""Where packages come from: one module per scheme of ``source``.

``bundled`` and ``file`` return a path on this machine, which `store` verifies. ``zenodo`` and
``https`` return an address; `download` fetches the file through `http` and compares its digest.
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
    """The package that the ``source`` of a version names.

    Parameters
    ----------
    config, version : ModelConfig, Version
        The model.
    trust : bool, optional
        Whether to accept an archive without any digest.
    progress : bool, optional
        Whether to draw a bar. By default, only at a terminal.

    Returns
    -------
    Path or Archive
        A folder or file on this machine, or a verified archive.

    Raises
    ------
    SourceError
        There is nothing at the source, it cannot be fetched, or the scheme is unknown.
    IntegrityError
        An archive differs from its digest.
    TrustError
        There is no digest of the archive, and ``trust`` is not set.
    OSError
        The disk is too small, or cannot be written.
    """
    scheme = version.scheme
    if scheme in REMOTE:
        return download.fetch(config, version, trust=trust, progress=progress)
    return local(config, version)


def local(config: ModelConfig, version: Version) -> Path:
    """The package that the ``source`` of a version names on this machine; errors as of `fetch`."""
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
