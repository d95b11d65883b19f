"""``hf:OWNER/NAME@COMMIT/FILE``: a file of a model repository on the Hugging Face hub.

``hf:OWNER/NAME@COMMIT`` is the whole repository, a folder of files. A commit is written out,
because a branch or a tag can move to other files. The hub is asked once for the sizes and digests
of the files of a commit, and the answer is kept in the cache: the sha256 of files in its large
storage, and for the others the number that git gives to their content.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from .. import files, settings
from ..errors import SourceError
from .http import Remote, get_json_pages

if TYPE_CHECKING:
    from requests import Response

HUB = "https://huggingface.co"
NAME = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
LOCATION = re.compile(rf"({NAME})@([^/]+)(?:/([^\\\0]+))?")
COMMIT = re.compile(r"[0-9a-f]{40}")
REPOSITORY = re.compile(rf"/(?:api/models/)?({NAME})/(?:resolve|tree)/")
PAGE = 1000  # entries of one answer


def address(location: str) -> str:
    """The address of the file, under which medzoo records its digests, even if a mirror has it."""
    return f"{settings.hub()}/{quote(mirrored(location))}"


def mirrored(location: str) -> str:
    """The path of the file on a mirror, which is the same on all servers of the hub's kind."""
    name, commit, path = _file_parts(location)
    return f"{name}/resolve/{commit}/{path}"


def known(location: str) -> Remote | None:
    """The file as the cache knows it; None if the hub was never asked."""
    name, commit, path = _file_parts(location)
    entries = _kept_entries(name, commit)
    return None if entries is None else _remote(entries, name, commit, path)


def ask(location: str) -> Remote:
    """Ask the hub for the size and the digest of the file.

    Raises
    ------
    SourceError
        The hub cannot be reached, does not have the file, or has the repository under another name.
    """
    name, commit, path = _file_parts(location)
    return _remote(_asked_entries(name, commit), name, commit, path)


def is_folder(location: str) -> bool:
    """Whether a location is a whole repository."""
    return _parts(location)[2] is None


def is_asked(location: str) -> bool:
    """Whether the cache knows the files of a repository."""
    name, commit, _ = _parts(location)
    return _kept_entries(name, commit) is not None


def within(location: str, name: str) -> str:
    """The location of a file of a repository."""
    return f"{location.rstrip('/')}/{name}"


def listing(location: str) -> dict[str, int]:
    """The names and sizes of all files of a repository, from the cache or else from the hub.

    Raises
    ------
    SourceError
        As `ask`, or the hub was never asked and MEDZOO_OFFLINE is set.
    """
    name, commit, _ = _parts(location)
    entries = _kept_entries(name, commit)
    if entries is None and settings.offline():
        raise SourceError(
            f"The list of files of hf:{name}@{commit} is not in the cache, and MEDZOO_OFFLINE is "
            "set.",
            "Name its files and their sha256 in the config, under `files`.",
        )
    entries = _asked_entries(name, commit) if entries is None else entries
    return {path: int(entry["size"]) for path, entry in entries.items()}


# -------------------------------------------------------------------------------------------------
# what the hub answers
def _asked_entries(name: str, commit: str) -> dict[str, Any]:
    url = f"{settings.hub()}/api/models/{name}/tree/{commit}?recursive=true&limit={PAGE}"
    inspect = partial(_inspect, name, commit, "")
    answer: list[Any] = []
    for page in get_json_pages(url, headers=_headers(), inspect=inspect):
        if not isinstance(page, list):
            raise SourceError(f"{url} does not answer with a list of files.", "Try again later.")
        answer += page
    entries = {}
    for entry in answer:
        if isinstance(entry, dict) and entry.get("type") == "file":
            entries[str(entry.get("path"))] = entry
    files.write_json(_kept(name, commit), entries)
    return entries


def _kept_entries(name: str, commit: str) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        entries = json.loads(_kept(name, commit).read_text(encoding="utf-8"))
        return entries if isinstance(entries, dict) else None
    return None


def _kept(name: str, commit: str) -> Path:
    """The file in the cache that holds the answer about a commit."""
    prefix = ""
    if settings.hub() != HUB:
        prefix = re.sub(r"[^\w.]+", "-", urlsplit(settings.hub()).netloc.rpartition("@")[2]) + "-"
    words = name.replace("/", "--")
    return settings.cache_folder() / "records" / f"{prefix}hf-{words}-{commit}.json"


def _remote(entries: dict[str, Any], name: str, commit: str, path: str) -> Remote:
    """A file of a repository, from the hub's entries."""
    entry = entries.get(path)
    if entry is None:
        some = ", ".join(sorted(entries)[:8]) or "none"
        raise SourceError(f"hf:{name}@{commit} has no file {path}.", f"It has {some}.")
    large = entry.get("lfs") or {}
    size, sha256 = large.get("size", entry.get("size")), str(large.get("oid", ""))
    blob = "" if large else str(entry.get("oid", ""))
    digest = re.compile("[0-9a-f]{64}" if large else "[0-9a-f]{40}")
    if not isinstance(size, int) or not digest.fullmatch(sha256 or blob):
        raise SourceError(
            f"The hub names no size or digest for {path} of {name}.", "Try again later."
        )
    url = f"{settings.hub()}/{name}/resolve/{commit}/{quote(path)}"
    inspect = partial(_inspect, name, commit, path)
    return Remote(url, size, sha256=sha256, blob=blob, headers=_headers(), inspect=inspect)


def _headers() -> dict[str, str]:
    """The headers of a request to the hub itself. A redirect to another host does not get them."""
    token = settings.hub_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _inspect(name: str, commit: str, path: str, response: Response) -> None:
    """Raise SourceError with the reason that the hub gives for a refusal, or for a new name."""
    host = urlsplit(settings.hub()).netloc
    for answer in (*response.history, response):
        parts = urlsplit(answer.url)
        match = REPOSITORY.search(parts.path) if parts.netloc == host else None
        if match and match[1] != name:
            raise SourceError(
                f"The repository {name} is called {match[1]} now, at {settings.hub()}.",
                f"Nothing was fetched. If it is the same model: hf:{match[1]}@{commit}.",
            )
    status, reason = response.status_code, response.headers.get("X-Error-Code", "")
    if status in {401, 403} and reason == "GatedRepo":
        raise _gated(name)
    if reason == "RevisionNotFound":
        raise SourceError(f"The repository {name} has no commit {commit}.", "Is it written right?")
    if reason == "EntryNotFound":
        raise SourceError(f"hf:{name}@{commit} has no file {path}.", "Is its name written right?")
    if status in {401, 403, 404}:
        says = f"it answers {status}{f', {reason}' if reason else ''}"
        raise SourceError(
            f"There is no repository {name} at {settings.hub()} that everyone can read ({says}).",
            "Was it renamed, removed or made private? If you have access to it, name your token in "
            "HF_TOKEN.",
        )
    served = response.headers.get("X-Repo-Commit", commit)
    if served != commit:
        raise SourceError(
            f"The hub was asked for commit {commit} of {name} and gave {served}.",
            "Nothing was fetched. Try again later.",
        )


def _gated(name: str) -> SourceError:
    """The error for a repository whose owner decides who may read it."""
    page = f"{settings.hub()}/{name}"
    if settings.hub_token():
        return SourceError(
            f"The repository {name} is gated, and the account of HF_TOKEN has no access to it.",
            f"Accept its terms at {page}, with the account that the token belongs to.",
        )
    return SourceError(
        f"The repository {name} is gated: one has to accept its terms before reading it.",
        f"Accept them at {page}, and name a token of your account in HF_TOKEN.",
    )


def _file_parts(location: str) -> tuple[str, str, str]:
    name, commit, path = _parts(location)
    if path is None:
        raise SourceError(f"hf:{location} names no file.", f"Such as hf:{location}/model.zip.")
    return name, commit, path


def _parts(location: str) -> tuple[str, str, str | None]:
    """The repository, the commit and the file of a location; no file if it is a repository."""
    match = LOCATION.fullmatch(location)
    path = match[3] if match else None
    if not match or (path and {"", ".", ".."} & set(path.split("/"))):
        raise SourceError(
            f"hf:{location} names no commit of a repository.",
            f"It is hf:OWNER/NAME@COMMIT, or with a file hf:OWNER/NAME@{'1f' * 20}/model.zip.",
        )
    if not COMMIT.fullmatch(match[2]):
        raise SourceError(
            f"hf:{location}: {match[2]!r} is not a commit but a branch or a tag, which can change.",
            f"Write out the 40 digits of the commit; {settings.hub()}/{match[1]}/commits/main "
            "lists them.",
        )
    return match[1], match[2], path
