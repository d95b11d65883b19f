"""Digests of archives for which the registry names no sha256, recorded at their first use.

``digests.json`` in the cache holds them by the address of the archive. From then on, the archive
must have the recorded digests.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from .. import files, settings
from ..errors import IntegrityError

TRIES = 10  # on a disk without locks, where another process may write at the same time


def path() -> Path:
    """The file."""
    return settings.cache_folder() / "digests.json"


def recorded(address: str) -> dict[str, str]:
    """The ``sha256`` and ``md5`` of an archive, if they were recorded.

    Raises
    ------
    IntegrityError
        The file cannot be read.
    """
    return _read().get(address, {})


def record(address: str, **actual: str) -> None:
    """Record the digests of an archive, or compare them with the recorded ones.

    Parameters
    ----------
    address : str
        The address of the archive.
    **actual : str
        Its digests: ``sha256``, ``md5``.

    Raises
    ------
    IntegrityError
        Another digest was recorded before.
    OSError
        The file cannot be written.
    """
    # With the lock, one try is enough. Without it, another process may overwrite the file.
    for _ in range(TRIES):
        if recorded(address).items() >= actual.items():
            return
        with files.locked(settings.cache_folder() / "locks" / "digests.lock", timeout=10):
            content = _read()
            earlier = content.setdefault(address, {})
            for kind, digest in actual.items():
                first_use = f"its first use ({path()})"
                agree(address, {first_use: earlier.get(kind, ""), "what was found now": digest})
            earlier |= actual
            files.write_json(path(), content)


def agree(address: str, stated: dict[str, str]) -> None:
    """Raise IntegrityError unless all digests are the same.

    Parameters
    ----------
    address : str
        The address of the archive.
    stated : dict of str to str
        Who states the digest, in words for the error, and the digest; empty if it is not known.
    """
    named = {who: digest for who, digest in stated.items() if digest}
    if len(set(named.values())) > 1:
        lines = "".join(f"\n  {digest}  by {who}" for who, digest in named.items())
        raise IntegrityError(
            f"{address} has more than one digest:{lines}",
            "The file was changed, which should not happen to a published file. "
            f"If you know why, remove the address from {path()}, or correct the config.",
        )


def _read() -> dict[str, dict[str, str]]:
    with suppress(FileNotFoundError):
        try:
            content = json.loads(path().read_text(encoding="utf-8"))
        except ValueError as error:
            raise _broken() from error
        if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
            raise _broken()
        return content
    return {}


def _broken() -> IntegrityError:
    return IntegrityError(
        f"{path()} cannot be read. It holds the digests of earlier downloads.",
        "Restore it, or remove it: digests are then recorded again at the next use.",
    )
