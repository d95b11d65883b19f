"""``https://...``: a file at any address, of which nothing is known but what the config
says.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from .http import Remote


def address(location: str) -> str:
    """The address, by which medzoo remembers its digest: the same from whatever mirror it came."""
    return f"https:{location}"


def mirrored(location: str) -> str:
    """Where a mirror has it, seen from the mirror's top."""
    parts = urlsplit(address(location))
    return f"{parts.hostname}{unquote(parts.path)}"


def known(location: str) -> Remote:
    """Where it lies."""
    return Remote(address(location))


ask = known  # there is nobody else to ask
