"""``zenodo:RECORD/FILE``: a file of one version of a Zenodo record.

Zenodo is asked once for the sizes and md5 of the files of a record. The answer is kept in the
cache, because published files do not change.
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
    """The page of the file, under which medzoo records its digests, even if a mirror has it."""
    record, key = _parts(location)
    return f"{settings.zenodo()}/records/{record}/files/{quote(key)}"


def mirrored(location: str) -> str:
    """The path of the file on a mirror."""
    return "/".join(_parts(location))


def known(location: str) -> Remote | None:
    """The file as the cache knows it; None if Zenodo was never asked."""
    record, key = _parts(location)
    with suppress(OSError, ValueError, SourceError):
        return _file(json.loads(_kept(record).read_text(encoding="utf-8")), record, key)
    return None


def ask(location: str) -> Remote:
    """Ask Zenodo for the size and the md5 of the file.

    Raises
    ------
    SourceError
        Zenodo cannot be reached, the record covers several versions, or it does not have the file.
    """
    record, key = _parts(location)
    answer = get_json(f"{settings.zenodo()}/api/records/{record}")
    remote = _file(answer, record, key)
    files.write_json(_kept(record), answer)
    return remote


def _parts(location: str) -> tuple[str, str]:
    match = LOCATION.fullmatch(location)
    if not match or {"", ".", ".."} & set(match[2].split("/")):
        raise SourceError(
            f"zenodo:{location} names no file of a record.",
            "It is zenodo:RECORD/FILE: zenodo:7382545/model.zip.",
        )
    return match[1], match[2]


def _kept(record: str) -> Path:
    """The file in the cache that holds the answer about a record."""
    prefix = ""
    if settings.zenodo() != ZENODO:
        prefix = (
            re.sub(r"[^\w.]+", "-", urlsplit(settings.zenodo()).netloc.rpartition("@")[2]) + "-"
        )
    return settings.cache_folder() / "records" / f"{prefix}{record}.json"


def _file(answer: Any, record: str, key: str) -> Remote:
    """A file of a record, from the answer of either of the serializers of Zenodo."""
    content = answer if isinstance(answer, dict) else {}
    answered, concept = str(content.get("id")), str(content.get("conceptrecid"))
    if record == concept:
        newest = f"Name the record of one version; the newest is {answered}."
        raise SourceError(
            f"Zenodo's record {record} covers all its versions; its files change with each new "
            "one.",
            newest if answered != record else "",
        )
    if answered != record:
        raise SourceError(
            f"Zenodo was asked for record {record} and answered with record {answered}.",
            "Is it the number of one version, the last part of its DOI?",
        )
    entries = _entries(content)
    if key not in entries:
        hint = "It shows no files: it may be closed or embargoed."
        if entries:
            hint = f"It has {', '.join(entries)}."
        raise SourceError(f"Zenodo's record {record} has no file {key}.", hint)
    entry = entries[key]
    size = entry.get("size", entry.get("filesize"))
    md5 = str(entry.get("checksum", "")).removeprefix("md5:").lower()
    if not isinstance(size, int) or not re.fullmatch("[0-9a-f]{32}", md5):
        raise SourceError(
            f"Zenodo names no size or md5 for {key} of record {record}.", "Try again later."
        )
    return Remote(f"{settings.zenodo()}/api/records/{record}/files/{quote(key)}/content", size, md5)


def _entries(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The files of a record, by name."""
    listed = content.get("files") or []
    if isinstance(listed, dict):  # the newest serializer
        listed = list((listed.get("entries") or {}).values())
    entries = {}
    for entry in listed:
        if isinstance(entry, dict):
            entries[str(entry.get("key") or entry.get("filename"))] = entry
    return entries
