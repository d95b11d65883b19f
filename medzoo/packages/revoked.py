"""Packages that must not run any more, by the sha256 of their archive or of one of their files.

The registry has a file ``revoked.txt`` with one digest and a reason per line. `medzoo update`
carries it. What was revoked once is remembered in the cache, whatever later updates say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from .. import files, settings
from ..errors import ConfigError, IntegrityError

NAME = "revoked.txt"
LINE = re.compile(r"([0-9a-f]{64})\s+(\S.*)")


def read(file: Path) -> dict[str, str]:
    """The digests in a file, and the reasons.

    Raises
    ------
    ConfigError
        A line is not a digest and a reason.
    """
    revoked = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            match = LINE.fullmatch(text)
            if not match:
                raise ConfigError(
                    f"{file}: {text[:80]!r} is not a sha256 and a reason.",
                    "Such as: 64 hexadecimal digits, a space, and why.",
                )
            revoked[match[1]] = match[2]
    return revoked


def remember(more: dict[str, str]) -> None:
    """Add digests to those that are revoked on this machine."""
    if not more.items() <= _remembered().items():
        files.write_json(_memory(), {**_remembered(), **more})


def check(model_name: str, digests: Iterable[str]) -> None:
    """Refuse a package of which a digest was revoked.

    Raises
    ------
    IntegrityError
        One was.
    """
    shipped = settings.shipped("model_configs") / NAME
    revoked = {**(read(shipped) if shipped.is_file() else {}), **_remembered()}
    for digest in digests:
        if digest in revoked:
            raise IntegrityError(
                f"{model_name} was revoked: {revoked[digest]} (sha256 {digest}).",
                "It does not run any more, with trust=True either. `medzoo info` names other "
                "versions.",
            )


def _memory() -> Path:
    return settings.cache_folder() / "revoked.json"


def _remembered() -> dict[str, str]:
    try:
        content = json.loads(_memory().read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no digests")  # noqa: TRY004, TRY301
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"{_memory()}, the list of revoked packages, cannot be read: {error}.",
            "`medzoo update` writes it again if you remove it.",
        ) from error
    return content
