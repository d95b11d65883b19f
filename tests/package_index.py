"""A package index on the loopback: wheels made here, offered as pip and uv read them (PEP 503 and 691), over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import ssl
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

JSON = "application/vnd.pypi.simple.v1+json"
UPLOADED = "2025-01-01T00:00:00Z"


def write_wheel(
    folder: Path,
    name: str,
    version: str,
    code: str = "",
    requires: Sequence[str] = (),
    python: str = ">=3.8",
    modules: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """A wheel of pure Python: a package ``name`` with ``__version__`` and the given code, whose ``main`` is a command."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    about = [
        f"Name: {name}",
        f"Version: {version}",
        f"Requires-Python: {python}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    content = {
        f"{module}/__init__.py": f'__version__ = "{version}"\n{code}',
        f"{info}/METADATA": "\n".join(["Metadata-Version: 2.1", *about, ""]),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: medzoo-tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    content |= {f"{module}/{file}": text for file, text in modules.items()}
    if "def main(" in code:
        content[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {module}:main\n"
    digests = {path: hashlib.sha256(text.encode()).digest() for path, text in content.items()}
    rows = [
        f"{path},sha256={base64.urlsafe_b64encode(d).decode().rstrip('=')},"
        for path, d in digests.items()
    ]
    content[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for entry, text in content.items():
            wheel.writestr(zipfile.ZipInfo(entry, (2026, 1, 1, 0, 0, 0)), text)
    return path


def repack(folder: Path, name: str) -> Path:
    """A wheel of a package that is installed here, for this Python and machine: the real one, without a network."""
    found = metadata.distribution(name)
    tag = next(
        line.removeprefix("Tag: ")
        for line in (found.read_text("WHEEL") or "").splitlines()
        if line.startswith("Tag: ")
    )
    path = folder / f"{name}-{found.version}-{tag}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as wheel:
        inside = [
            f
            for f in found.files or ()
            if ".." not in f.parts and f.suffix != ".pyc" and f.name not in {"RECORD", "INSTALLER"}
        ]
        for file in inside:
            wheel.write(found.locate_file(file), file.as_posix())
        info = next(f.parent for f in inside if f.name == "METADATA")
        record = info / "RECORD"
        wheel.writestr(
            record.as_posix(), "".join(f'"{f.as_posix()}",,\n' for f in (*inside, record))
        )
    return path


def write_sdist(folder: Path, name: str, version: str, backend: str) -> Path:
    """A source package that is built by the given code, a PEP 517 backend inside it which needs nothing else."""
    about = f'[project]\nname = "{name}"\nversion = "{version}"\n'
    build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    content = {
        "pyproject.toml": build + about,
        "backend.py": backend,
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for entry, text in content.items():
            member = tarfile.TarInfo(f"{name}-{version}/{entry}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


class PackageIndex:
    """The packages of a folder, served. ``asked`` lists the requests, those to a proxy among them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.go = threading.Event()  # files are held back while it is not set
        self.go.set()
        self.url = ""

    def add(self, name: str, version: str, code: str = "", requires: Sequence[str] = ()) -> str:
        """Publish a wheel; its line in a lock, with its hash."""
        path = write_wheel(self.folder, name, version, code, requires)
        return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"

    def of(self, name: str) -> list[Path]:
        """The files of a project."""
        return sorted(self.folder.glob(f"{name.replace('-', '_')}-*"))

    def downloads(self) -> list[str]:
        """The files that were fetched so far."""
        return [asked.rpartition("/")[2] for asked in self.asked if asked.startswith("GET /files/")]


class Server(ThreadingHTTPServer):
    """One that does not mind when a client goes, as a killed one does."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def serve(folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[PackageIndex]:
    """A `PackageIndex` for the time of the block; over https with the certificate of ``tls``."""
    index = PackageIndex(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(f"{self.command} {self.path}")
            kind, _, name = self.path.strip("/").partition("/")
            if kind == "simple" and (found := index.of(name)):
                self.answer(*project(name, found, self.headers.get("Accept", "")))
            elif kind == "files" and (folder / name).is_file():
                index.go.wait(60)
                self.answer((folder / name).read_bytes(), "application/octet-stream")
            else:
                self.send_error(404)

        def answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def do_CONNECT(self) -> None:  # to be a proxy that lets nothing through
            index.asked.append(f"CONNECT {self.path}")
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            """Silence: a test's output is its own."""

    server = Server(("127.0.0.1", 0), Handler)
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        index.url = f"https://localhost:{server.server_port}/simple"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield index
    finally:
        index.go.set()
        server.shutdown()
        server.server_close()
        thread.join()


def project(name: str, found: Sequence[Path], accept: str) -> tuple[bytes, str]:
    """The page of a project, as JSON if that is asked for, else as HTML."""
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
    if JSON in accept:
        files = [
            {
                "filename": p.name,
                "url": f"/files/{p.name}",
                "hashes": {"sha256": d},
                "upload-time": UPLOADED,
            }
            for p, d in digests.items()
        ]
        return json.dumps(
            {"meta": {"api-version": "1.0"}, "name": name, "files": files}
        ).encode(), JSON
    links = (
        f'<a href="/files/{p.name}#sha256={d}">{html.escape(p.name)}</a><br>'
        for p, d in digests.items()
    )
    return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode(), "text/html"
