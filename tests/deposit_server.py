"""Zenodo's deposit API on the loopback, over real sockets: drafts, buckets, publication, new versions.

A published draft becomes a record of the `ZenodoServer`, so that what was uploaded is downloaded again. Faults are those of
`zenodo_server`, for paths of the API; with ``after`` an upload is cut off after so many bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from zenodo_server import Fault, Handler, Seen, ZenodoServer

DEPOSITS, BUCKETS, PUBLISH = "/api/deposit/depositions", "/api/files/", "/actions/publish"
TOKEN = "sesame-9f1c2d7e4b"
SCOPES = ("deposit:write", "deposit:actions")


@dataclass
class Deposit:
    """A draft, or what was published of it."""

    number: int
    concept: int
    metadata: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    submitted: bool = False


class DepositServer(ZenodoServer):
    """See the module. Its token is ``TOKEN``; ``scopes`` are what it allows."""

    def __init__(self) -> None:
        super().__init__()
        self.deposits: dict[int, Deposit] = {}
        self.scopes = set(SCOPES)
        self.published: list[int] = []  # one entry for each publication
        self.wrong_md5 = 0  # how many of the next uploads are answered with another md5
        self.waited: list[float] = []  # by the client
        self.refused: dict[str, str] = {}  # fields of the metadata, and what is wrong with them
        self.license = ""  # taken in place of the one that was sent

    def handler(self) -> type[Handler]:
        return _DepositHandler

    def make(self, concept: int | None = None) -> Deposit:
        number = 7_100_001 + 10 * len(self.deposits)
        made = Deposit(number, concept or number - 1)
        self.deposits[number] = made
        return made

    def shown(self, deposit: Deposit) -> dict[str, Any]:
        """A deposit as the API shows it."""
        doi = f"10.5072/zenodo.{deposit.number}"
        metadata = {**deposit.metadata, "prereserve_doi": {"doi": doi, "recid": deposit.number}}
        if self.license and "license" in metadata:
            metadata["license"] = self.license
        content: dict[str, Any] = {
            "id": deposit.number,
            "conceptrecid": str(deposit.concept),
            "title": deposit.metadata.get("title", ""),
            "metadata": metadata,
            "submitted": deposit.submitted,
            "state": "done" if deposit.submitted else "unsubmitted",
            "files": [
                {
                    "id": hashlib.sha1(name.encode()).hexdigest(),
                    "filename": name,
                    "filesize": len(data),
                    "checksum": hashlib.md5(data).hexdigest(),
                }
                for name, data in deposit.files.items()
            ],
            "links": {
                "bucket": f"{self.url}{BUCKETS}bucket-{deposit.number}",
                "self": f"{self.url}{DEPOSITS}/{deposit.number}",
            },
        }
        if deposit.submitted:
            content["doi"] = doi
        return content


class _DepositHandler(Handler):
    zenodo: DepositServer

    def do_GET(self) -> None:
        if urlsplit(self.path).path.startswith((DEPOSITS, BUCKETS)):
            self.api()
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self.api()

    def do_PUT(self) -> None:
        self.api()

    def do_DELETE(self) -> None:
        self.api()

    def api(self) -> None:
        path = unquote(urlsplit(self.path).path)
        seen = Seen(self.command, path, dict(self.headers))
        self.zenodo.log.append(seen)
        fault = self.zenodo.next_fault(path)
        size = int(self.headers.get("Content-Length", 0))
        if fault.after is not None and size:  # in the middle of what is sent
            self.rfile.read(min(size, fault.after))
            self.close_connection = True
            if fault.status:
                self.say(seen, fault.status, {"message": "Internal error"})
            else:
                self.connection.close()
            return
        body = self.rfile.read(size)
        token = self.headers.get("Authorization", "")
        if fault.status:
            self.say(seen, fault.status, {"status": fault.status, "message": f"no, {token}"}, fault)
        elif token != f"Bearer {TOKEN}":
            self.say(seen, 401, {"message": f"The server could not verify {token}."})
        elif "deposit:write" not in self.zenodo.scopes and self.command != "GET":
            self.say(seen, 403, {"message": "Permission denied."})
        else:
            code, content = self.carry_out(path, body)
            if fault.end:  # carried out, and the answer is lost
                self.close_connection = True
                self.connection.close()
                return
            self.say(seen, code, content)

    def say(self, seen: Seen, code: int, content: Any, fault: Fault | None = None) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        headers = {"Content-Type": "application/json", **(fault.headers if fault else {})}
        self.answer(seen, code, headers, body, Fault())

    def carry_out(self, path: str, body: bytes) -> tuple[int, Any]:
        """Status and content of an answer."""
        server, parts = self.zenodo, path.removeprefix(DEPOSITS).strip("/").split("/")
        if path.startswith(BUCKETS):
            return self.receive(path, body)
        if parts == [""]:
            if self.command == "POST":
                return 201, server.shown(server.make())
            size = int(parse_qs(urlsplit(self.path).query).get("size", ["10"])[0])
            newest = sorted(server.deposits.values(), key=lambda d: -d.number)[:size]
            return 200, [server.shown(d) for d in newest]
        deposit = server.deposits.get(int(parts[0]))
        if deposit is None:
            return 404, {"status": 404, "message": "PID does not exist."}
        if parts[1:2] == ["actions"]:
            return self.act(deposit, parts[2])
        if parts[1:2] == ["files"] and self.command == "DELETE":
            for name in list(deposit.files):
                if hashlib.sha1(name.encode()).hexdigest() == parts[2]:
                    del deposit.files[name]
            return 204, None
        if self.command == "PUT":
            return self.describe(deposit, json.loads(body)["metadata"])
        return 200, server.shown(deposit)

    def describe(self, deposit: Deposit, metadata: dict[str, Any]) -> tuple[int, Any]:
        if deposit.submitted:
            return 403, {"message": "Deposition is published."}
        if self.zenodo.refused:
            errors = [{"field": k, "message": v} for k, v in self.zenodo.refused.items()]
            return 400, {"message": "Validation error.", "errors": errors}
        deposit.metadata = {k: v for k, v in metadata.items() if k != "prereserve_doi"}
        return 200, self.zenodo.shown(deposit)

    def receive(self, path: str, body: bytes) -> tuple[int, Any]:
        bucket, _, name = path.removeprefix(BUCKETS).partition("/")
        deposit = self.zenodo.deposits[int(bucket.removeprefix("bucket-"))]
        if deposit.submitted:
            return 403, {"message": "Bucket is locked."}
        if self.zenodo.wrong_md5:
            self.zenodo.wrong_md5 -= 1
            body = body[:-1] + b"?"
        deposit.files[name] = body
        return 201, {
            "key": name,
            "size": len(body),
            "checksum": f"md5:{hashlib.md5(body).hexdigest()}",
        }

    def act(self, deposit: Deposit, action: str) -> tuple[int, Any]:
        server = self.zenodo
        if "deposit:actions" not in server.scopes:
            return 403, {"message": "Permission denied."}
        if action == "publish":
            if deposit.submitted or not deposit.files or not deposit.metadata:
                return 400, {"message": "Minimum one file must be provided."}
            deposit.submitted = True
            server.published.append(deposit.number)
            server.publish(deposit.number, dict(deposit.files), concept=deposit.concept)
            return 202, server.shown(deposit)
        if action == "newversion":
            if not deposit.submitted:
                return 403, {"message": "The record is not published."}
            drafts = [
                d
                for d in server.deposits.values()
                if d.concept == deposit.concept and not d.submitted
            ]
            draft = drafts[0] if drafts else server.make(deposit.concept)
            if not drafts:
                draft.metadata, draft.files = dict(deposit.metadata), dict(deposit.files)
            shown = server.shown(deposit)
            shown["links"]["latest_draft"] = f"{server.url}{DEPOSITS}/{draft.number}"
            return 201, shown
        return 404, {"message": "no such action"}
