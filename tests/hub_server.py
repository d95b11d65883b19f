"""A Hugging Face hub of our own on the loopback: its resolve and tree API over real sockets.

Faults on demand are those of `zenodo_server`.

>>> with HubServer() as hub:
...     hub.add("owner/name", COMMIT, {"model.py": b"...", "weights.bin": b"..."}, large={"weights.bin"})
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from zenodo_server import Fault, File, ZenodoServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PATH = re.compile(r"/(api/models/)?([^/]+/[^/]+)/(resolve|tree)/([^/]+)(?:/(.+))?", re.DOTALL)


@dataclass
class HubFile(File):
    """A file of a repository, with the headers of the hub."""

    commit: str = COMMIT
    large: bool = False  # in the hub's large storage
    link: str = ""  # where a list goes on

    @property
    def oid(self) -> str:
        """The number that git gives to the content."""
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def headers(self) -> dict[str, str]:
        headers = {"ETag": f'"{self.oid}"', "X-Repo-Commit": self.commit}
        if self.large:
            headers["X-Linked-Etag"] = headers["ETag"] = f'"{self.sha256}"'
            headers["X-Linked-Size"] = str(len(self.content))
        if self.link:
            headers["Link"] = f'<{self.link}>; rel="next"'
        return headers


@dataclass
class Repository:
    files: dict[str, HubFile]
    commit: str
    token: str = ""  # that may read it; everyone if empty
    gated: bool = False
    called: str = ""  # its new name
    stated: dict[str, str] = field(default_factory=dict)  # file -> a digest that the list states


class HubServer(ZenodoServer):
    """See the module. ``log`` holds the requests."""

    def __init__(self) -> None:
        super().__init__()
        self.repositories: dict[str, Repository] = {}
        self.page = 1000  # entries of one answer

    def add(
        self,
        name: str,
        contents: dict[str, bytes],
        commit: str = COMMIT,
        large: Iterable[str] = (),
    ) -> Repository:
        """Put files into a repository."""
        files = {k: HubFile(v, commit=commit, large=k in set(large)) for k, v in contents.items()}
        self.repositories[name] = Repository(files, commit)
        return self.repositories[name]

    def next_fault(self, path: str) -> Fault:
        fault, match = super().next_fault(path), PATH.fullmatch(path)
        if fault.status or not match:
            return fault
        repository = self.repositories.get(match[2])
        sent = self.log[-1].headers.get("Authorization", "")
        if repository is None:
            return _refusal(401, "RepoNotFound")
        if repository.called:
            moved = path.replace(match[2], repository.called, 1)
            return Fault(307, {"Location": moved})
        if repository.token and sent != f"Bearer {repository.token}":
            return _refusal(
                403 if sent else 401, "GatedRepo" if repository.gated else "RepoNotFound"
            )
        if match[4] != repository.commit:
            return _refusal(404, "RevisionNotFound")
        if match[3] == "resolve" and match[5] not in repository.files:
            return _refusal(404, "EntryNotFound")
        return fault

    def file(self, path: str) -> File | None:
        match = PATH.fullmatch(path)
        if not match:
            return super().file(path)
        repository = self.repositories[match[2]]
        if match[3] == "resolve":
            return repository.files[match[5]]
        start = int(match[5] or 0)
        entries = []
        for name, file in list(repository.files.items())[start : start + self.page]:
            stated = repository.stated.get(name, "")
            entry = {"type": "file", "path": name, "size": len(file.content)}
            if file.large:
                entry |= {"oid": "0" * 40, "lfs": {"oid": stated or file.sha256}}
                entry["lfs"] |= {"size": len(file.content), "pointerSize": 134}  # type: ignore[operator]
            else:
                entry["oid"] = stated or file.oid
            entries.append(entry)
        end = start + self.page
        tree = f"/api/models/{match[2]}/tree/{match[4]}"
        link = f"{self.url}{tree}/{end}" if end < len(repository.files) else ""
        content = json.dumps([{"type": "directory", "path": "scripts", "oid": "1" * 40}, *entries])
        return HubFile(content.encode(), link=link)


def _refusal(code: int, reason: str) -> Fault:
    return Fault(code, {"X-Error-Code": reason, "X-Error-Message": "no"}, b"no")
