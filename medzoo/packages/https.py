"""``https://...``: a file at any address. Only the config has facts about it.

An address that ends with ``/`` is a folder, whose files the config names under ``files``.
"""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

from ..errors import SourceError
from .http import Remote


def address(location: str) -> str:
    """The address under which medzoo records the digest, from whichever mirror the file came."""
    return f"https:{location}"


def mirrored(location: str) -> str:
    """The path of the file on a mirror."""
    parts = urlsplit(address(location))
    return f"{parts.hostname}{unquote(parts.path)}"


def known(location: str) -> Remote:
    """The address; size and digest are not known."""
    return Remote(address(location))


ask = known  # there is no other place to ask


def is_folder(location: str) -> bool:
    """Whether a location is a folder."""
    return location.endswith("/")


def is_asked(location: str) -> bool:  # noqa: ARG001
    """Whether the cache knows the files of a folder: never."""
    return False


def within(location: str, name: str) -> str:
    """The location of a file of a folder."""
    return f"{location}{quote(name)}"


def listing(location: str) -> dict[str, int]:
    """There is no list of the files of an address.

    Raises
    ------
    SourceError
        Always.
    """
    raise SourceError(
        f"{address(location)} is a folder, and nothing lists its files.",
        "Name its files and their sha256 in the config, under `files`.",
    )
