"""A Zenodo of our own on the loopback: its record and file API over real sockets, with faults on demand.

>>> with ZenodoServer() as zenodo:
...     zenodo.publish(7000001, {"model.zip": content})
...     zenodo.fault(status(503, retry_after=1), truncate(1000))  # of the next two answers with files
...     ...
...     assert [seen.status for seen in zenodo.log] == [200, 503, 200, 206]
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

BLOCK = 2**14
RECORDS, FILES = "/api/records/", "/files/"


@dataclass
class Fault:
    """What is wrong with one answer."""

    status: int = 0  # answered in place of what was asked for
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""  # of a status
    after: int | None = None  # bytes of the body, after which `end`
    end: str = ""  # close, reset or stall
    ranges: bool = True  # whether Range is obeyed
    pause: float = 0.0  # seconds before each `block`
    block: int = BLOCK


def status(code: int, retry_after: int | str | None = None, **headers: str) -> Fault:
    """A status and nothing else, such as 429, 500 or 503."""
    wait = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Fault(code, wait | {k.replace("_", "-"): v for k, v in headers.items()}, b"no")


def redirect(to: str) -> Fault:
    """The client is sent elsewhere."""
    return Fault(302, {"Location": to})


def page(title: str = "Please log in", code: int = 200) -> Fault:
    """A web page in place of JSON or a file."""
    html = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head></html>".encode()
    return Fault(code, {"Content-Type": "text/html; charset=utf-8"}, html)


def truncate(after: int) -> Fault:
    """The connection is closed, as if all had been sent, after some bytes."""
    return Fault(after=after, end="close")


def reset(after: int) -> Fault:
    """The connection is reset after some bytes."""
    return Fault(after=after, end="reset")


def stall(after: int) -> Fault:
    """Nothing comes any more after some bytes, and the connection stays."""
    return Fault(after=after, end="stall")


def ignore_range() -> Fault:
    """All is sent, whatever part was asked for."""
    return Fault(ranges=False)


def drip(block: int, pause: float) -> Fault:
    """A few bytes at a time."""
    return Fault(block=block, pause=pause)


@dataclass
class File:
    """A file on the server."""

    content: bytes
    md5: str = ""  # announced; the right one if empty
    size: int | None = None  # announced; the right one if None
    validator: str = "etag"  # etag, weak, date or none: what tells one content from the next

    @property
    def digest(self) -> str:
        """The right md5."""
        return hashlib.md5(self.content).hexdigest()

    def headers(self) -> dict[str, str]:
        """What tells this content from another."""
        day = 1 + int(self.digest, 16) % 28
        return {
            "etag": {"ETag": f'"md5:{self.digest}"'},
            "weak": {
                "ETag": f'W/"md5:{self.digest}"',
                "Last-Modified": f"Tue, {day:02d} Nov 2022 08:00:00 GMT",
            },
            "date": {"Last-Modified": f"Tue, {day:02d} Nov 2022 08:00:00 GMT"},
            "none": {},
        }[self.validator]


@dataclass
class Record:
    """A record of one version."""

    files: dict[str, File]
    concept: int
    shape: str = "record"  # or deposit, or rdm: which serializer answers


@dataclass
class Seen:
    """A request, and what was sent for it."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0  # bytes of the body


class ZenodoServer:
    """See the module. ``records`` and ``log`` are there to be read and changed; ``elsewhere`` are files of any path."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.records: dict[int, Record] = {}
        self.elsewhere: dict[str, File] = {}
        self.drifted: dict[int, int] = {}  # record that is asked for -> record that is given
        self.log: list[Seen] = []
        self.stopped = threading.Event()
        self._faults: dict[str, list[Fault]] = {}
        self._lock = threading.Lock()
        handler = type("Handler", (self.handler(),), {"zenodo": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        if tls:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"http{'s' * bool(tls)}://127.0.0.1:{self._server.server_address[1]}"

    def handler(self) -> type[Handler]:
        """What answers."""
        return Handler

    def __enter__(self) -> ZenodoServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def publish(
        self,
        record: int,
        contents: dict[str, bytes],
        *,
        concept: int | None = None,
        shape: str = "record",
    ) -> Record:
        """Put files into a record."""
        made = Record({k: File(v) for k, v in contents.items()}, concept or record - 1, shape)
        self.records[record] = made
        return made

    def fault(self, *faults: Fault, on: str = FILES) -> None:
        """What is wrong with the next answers to paths that hold ``on``, one answer each."""
        with self._lock:
            self._faults.setdefault(on, []).extend(faults)

    def next_fault(self, path: str) -> Fault:
        """Take the fault of an answer."""
        with self._lock:
            queue = next(
                (
                    q
                    for on, q in self._faults.items()
                    if q and on in path and (on != RECORDS or FILES not in path)
                ),
                [],
            )
            return queue.pop(0) if queue else Fault()

    def seen(self, part: str = "") -> list[Seen]:
        """The requests for paths that hold ``part``; of records alone for ``RECORDS``."""
        return [s for s in self.log if part in s.path and (part != RECORDS or FILES not in s.path)]

    def about(self, record: int) -> dict[str, Any] | None:
        """What the API says of a record, or of a concept: its newest version."""
        newest = max(
            (r for r, about in self.records.items() if about.concept == record), default=record
        )
        given = self.drifted.get(newest, newest)
        found = self.records.get(given)
        if found is None:
            return None
        listed = [
            {
                "key": k,
                "size": len(f.content) if f.size is None else f.size,
                "checksum": f"md5:{f.md5 or f.digest}",
                "links": {"self": f"{self.url}{RECORDS}{given}/files/{quote(k)}/content"},
            }
            for k, f in found.files.items()
        ]
        about: dict[str, Any] = {
            "id": given,
            "conceptrecid": str(found.concept),
            "doi": f"10.5281/zenodo.{given}",
        }
        if found.shape == "deposit":
            about["files"] = [
                {
                    "filename": e["key"],
                    "filesize": e["size"],
                    "checksum": e["checksum"][4:],
                    "links": {"download": e["links"]["self"]},
                }
                for e in listed
            ]
        elif found.shape == "rdm":
            about |= {
                "id": str(given),
                "files": {"enabled": True, "entries": {e["key"]: e for e in listed}},
            }
        else:
            about["files"] = listed
        return about

    def file(self, path: str) -> File | None:
        """The file at a path, in any of the forms that Zenodo knows."""
        if found := self.elsewhere.get(path):
            return found
        match = re.fullmatch(
            r"/api/records/(\d+)/files/(.+)/content|/records/(\d+)/files/(.+)", path, re.DOTALL
        )
        record, key = (match[1] or match[3], match[2] or match[4]) if match else ("0", "")
        return self.records[int(record)].files.get(key) if int(record) in self.records else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(
            sys.exc_info()[1], OSError
        ):  # a client that goes away is none of our errors
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    zenodo: ZenodoServer
    protocol_version = "HTTP/1.1"
    timeout = 30

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        seen = Seen(self.command, path, dict(self.headers))
        self.zenodo.log.append(seen)
        fault = self.zenodo.next_fault(path)
        if fault.status:
            self.answer(
                seen,
                fault.status,
                {"Content-Type": "text/plain"} | fault.headers,
                fault.body,
                fault,
            )
        elif path.startswith("/record/"):
            self.answer(
                seen, 301, {"Location": self.path.replace("/record/", "/records/", 1)}, b"", fault
            )
        elif match := re.fullmatch(r"/api/records/(\d+)", path):
            about = self.zenodo.about(int(match[1]))
            body = json.dumps(
                about or {"status": 404, "message": "The persistent identifier does not exist."}
            ).encode()
            self.answer(
                seen, 200 if about else 404, {"Content-Type": "application/json"}, body, fault
            )
        elif file := self.zenodo.file(path):
            self.send_file(seen, file, fault)
        else:
            self.answer(seen, 404, {"Content-Type": "text/plain"}, b"no such file", fault)

    def send_file(self, seen: Seen, file: File, fault: Fault) -> None:
        headers = {"Content-Type": "application/octet-stream", **file.headers()}
        asked = (
            re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if fault.ranges else None
        )
        same = self.headers.get("If-Range") in (None, *file.headers().values())
        start = int(asked[1]) if asked and same else 0
        size = len(file.content)
        if asked and same and start >= size:
            self.answer(seen, 416, headers | {"Content-Range": f"bytes */{size}"}, b"", fault)
        elif asked and same:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
            self.answer(seen, 206, headers | fault.headers, file.content[start:], fault)
        else:
            self.answer(seen, 200, headers | fault.headers, file.content, fault)

    def answer(
        self, seen: Seen, code: int, headers: dict[str, str], body: bytes, fault: Fault
    ) -> None:
        seen.status = code
        try:
            self.send_response(code)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.send_body(seen, body[: fault.after], fault)
        except OSError:  # the client has gone
            self.close_connection = True
            return
        if fault.end:
            self.close_connection = True
        if fault.end == "stall":
            self.zenodo.stopped.wait(60)
        if fault.end == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

    def send_body(self, seen: Seen, body: bytes, fault: Fault) -> None:
        for at in range(0, len(body), fault.block):
            if fault.pause and self.zenodo.stopped.wait(fault.pause):
                return
            block = body[at : at + fault.block]
            seen.sent += len(block)  # before the client can have it, and look here
            self.wfile.write(block)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody has signed, and its key, written into a folder."""
    files = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-out",
            files[0],
            "-keyout",
            files[1],
        ],
        check=True,
        capture_output=True,
    )
    return files


def zipped(entries: dict[str, bytes]) -> bytes:
    """A zip with these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
