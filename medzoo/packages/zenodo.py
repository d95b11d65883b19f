"""``zenodo:RECORD/FILE``: a file of one version of a Zenodo record.

What Zenodo says of a record, sizes and md5 of its files, is asked once and kept in the cache:
published files do not change.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from .. import files, settings
from ..errors import SourceError
from .http import Remote, get_json

ZENODO = "https://zenodo.org"
LOCATION = re.compile(r"(\d+)/([^/\\\0][^\\\0]*)")


def address(location: str) -> str:
    """The page of the file, by which medzoo remembers its digests: the same from whatever mirror it
    came.
    """
    record, key = _parts(location)
    return f"{settings.zenodo()}/records/{record}/files/{quote(key)}"


def mirrored(location: str) -> str:
    """Where a mirror has it, seen from the mirror's top."""
    return "/".join(_parts(location))


def known(location: str) -> Remote | None:
    """What the cache knows of the file; None where Zenodo was never asked."""
    record, key = _parts(location)
    with suppress(OSError, ValueError, SourceError):
        return _file(json.loads(_kept(record).read_text(encoding="utf-8")), record, key)
    return None


def ask(location: str) -> Remote:
    """What Zenodo says of the file now.

    Raises
    ------
    SourceError
        Zenodo cannot be reached, the record is none of one version, or the file is not in it.
    """
    record, key = _parts(location)
    answer = get_json(f"{settings.zenodo()}/api/records/{record}")
    found = _file(answer, record, key)
    files.write_json(_kept(record), answer)
    return found


def _parts(location: str) -> tuple[str, str]:
    found = LOCATION.fullmatch(location)
    if not found or {"", ".", ".."} & set(found[2].split("/")):
        raise SourceError(
            f"zenodo:{location} names no file of a record.",
            "It is zenodo:RECORD/FILE: zenodo:7382545/model.zip.",
        )
    return found[1], found[2]


def _kept(record: str) -> Path:
    """Where the cache keeps the answer about a record."""
    other = (
        ""
        if settings.zenodo() == ZENODO
        else re.sub(r"[^\w.]+", "-", urlsplit(settings.zenodo()).netloc) + "-"
    )
    return settings.cache_folder() / "records" / f"{other}{record}.json"


def _file(answer: Any, record: str, key: str) -> Remote:
    """A file of a record, from the answer of either of Zenodo's serializers."""
    about = answer if isinstance(answer, dict) else {}
    given, concept = str(about.get("id")), str(about.get("conceptrecid"))
    if record == concept:
        raise SourceError(
            f"Zenodo's record {record} covers all its versions; its files change with each new "
            "one.",
            f"Name the record of one version; the newest is {given}." if given != record else "",
        )
    if given != record:
        raise SourceError(
            f"Zenodo was asked for record {record} and answered with record {given}.",
            "Is it the number of one version, the last part of its DOI?",
        )
    listed = about.get("files") or []
    if isinstance(listed, dict):  # the newest serializer
        listed = list((listed.get("entries") or {}).values())
    entries = {str(e.get("key") or e.get("filename")): e for e in listed if isinstance(e, dict)}
    if key not in entries:
        has = (
            f"It has {', '.join(entries)}."
            if entries
            else "It shows no files: it may be closed or embargoed."
        )
        raise SourceError(f"Zenodo's record {record} has no file {key}.", has)
    entry = entries[key]
    size, md5 = (
        entry.get("size", entry.get("filesize")),
        str(entry.get("checksum", "")).removeprefix("md5:").lower(),
    )
    if not isinstance(size, int) or not re.fullmatch("[0-9a-f]{32}", md5):
        raise SourceError(
            f"Zenodo names no size or md5 for {key} of record {record}.", "Try again later."
        )
    return Remote(f"{settings.zenodo()}/api/records/{record}/files/{quote(key)}/content", size, md5)
