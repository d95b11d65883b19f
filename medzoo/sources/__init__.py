"""Where packages come from: one module a scheme, each a ``fetch(location, base)`` that yields a local file or folder.

Nothing that a module here yields is used before `medzoo.store` has held it against its registered digest.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ..config import ModelConfig, Version
from ..errors import NotAvailableError, SourceError

SCHEMES = ("bundled", "file")


def fetch(config: ModelConfig, version: Version) -> Path:
    """The local file or folder that a version's ``source`` names.

    Raises
    ------
    SourceError
        Nothing lies there, or the scheme is unknown.
    NotAvailableError
        This medzoo cannot download yet.
    """
    scheme, _, location = version.source.partition(":")
    if scheme in ("zenodo", "https"):
        bundled = [v.name for v in config.versions.values() if v.scheme == "bundled"]
        hint = "`medzoo list` shows what comes with medzoo."
        if bundled:
            hint = f"Its version {bundled[0]} comes with medzoo: version={bundled[0]!r}."
        raise NotAvailableError(
            f"{config.id}, version {version.name}, lies at {version.source}, and this medzoo does not download yet.", hint
        )
    if scheme not in SCHEMES:
        raise SourceError(f"{config.id}, version {version.name}: {version.source!r} has no known scheme.",
                          f"Known are {', '.join(SCHEMES)}, zenodo and https.")  # fmt: skip
    path: Path = import_module(f".{scheme}", __name__).fetch(location, config.path.parent)
    if not path.exists():
        raise SourceError(f"{config.id}, version {version.name}: there is nothing at {path}.",
                          "Reinstall medzoo." if scheme == "bundled" else "Is the path right, the disk mounted?")  # fmt: skip
    return path
