"""The digests that were seen at the first use of an archive of which the registry names no sha256.

They lie in ``digests.json`` in the cache, by the address of the archive, and are enforced from then
on.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from .. import files, settings
from ..errors import IntegrityError

TRIES = 10  # where the disk has no locks, and others write too


def path() -> Path:
    """The file."""
    return settings.cache_folder() / "digests.json"


def recorded(address: str) -> dict[str, str]:
    """``sha256`` and ``md5`` of an archive, as far as they are known.

    Raises
    ------
    IntegrityError
        The file cannot be read.
    """
    return _read().get(address, {})


def record(address: str, **found: str) -> None:
    """Record the digests of an archive, or compare them with the recorded ones.

    Raises
    ------
    IntegrityError
        It had another one.
    OSError
        The file cannot be written.
    """
    for _ in range(
        TRIES
    ):  # once is enough under the lock; without it, two processes may have written at the same time
        if recorded(address).items() >= found.items():
            return
        with files.locked(settings.cache_folder() / "locks" / "digests.lock", timeout=10):
            content = _read()
            known = content.setdefault(address, {})
            for kind, digest in found.items():
                agree(
                    address,
                    {
                        f"its first use ({path()})": known.get(kind, ""),
                        "what was found now": digest,
                    },
                )
            known |= found
            files.write_json(path(), content)


def agree(address: str, said: dict[str, str]) -> None:
    """Raise IntegrityError unless all who name a digest, each by its words, name the same."""
    named = {who: digest for who, digest in said.items() if digest}
    if len(set(named.values())) > 1:
        lines = "".join(f"\n  {digest}  by {who}" for who, digest in named.items())
        raise IntegrityError(
            f"{address} has more than one digest:{lines}",
            "The file has been changed, which a published one should not be. "
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
        f"{path()} cannot be read, which holds the digests of earlier downloads.",
        "Bring it back, or remove it: digests are then recorded again at the next use.",
    )
