"""Who may use the server of the web app, over its own socket."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from web_server import served

import medzoo
from medzoo.cli import main
from medzoo.errors import InputError
from medzoo.web.server import listen, require_toolkit

WEBSOCKET = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version": "13",
}


class Server:
    def __init__(self, address: str) -> None:
        self.port = int(str(urlsplit(address).port))
        self.token = urlsplit(address).query.removeprefix("token=")

    def ask(
        self, path: str, headers: dict[str, str] | None = None, method: str = "GET"
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        self.text = answer.read().decode()
        connection.close()
        return answer

    @property
    def cookie(self) -> dict[str, str]:
        return {"Cookie": f"medzoo_{self.port}={self.token}"}


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("everywhere"), "--host", "0.0.0.0") as (address, _):
        yield Server(address)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("here"), "--read-only") as (address, _):
        yield Server(address)


def test_other_machines_need_the_token_once(everywhere: Server) -> None:
    assert len(everywhere.token) >= 32
    for query in ("", "?token=", "?token=wrong", f"?token={everywhere.token[:-1]}"):
        assert everywhere.ask(f"/{query}").status == 401
    first = everywhere.ask(f"/models/8.html?token={everywhere.token}")
    assert (first.status, first.getheader("location")) == (303, "/models/8.html")
    cookie = str(first.getheader("set-cookie"))
    assert {"HttpOnly", "SameSite=Strict"} <= {part.strip() for part in cookie.split(";")}
    assert everywhere.ask("/", {"Cookie": cookie.partition(";")[0]}).status == 200
    assert everywhere.ask("/", everywhere.cookie).status == 200
    assert everywhere.ask("/", {"Cookie": f"medzoo_{everywhere.port}=wrong"}).status == 401


def test_web_socket_and_files_need_the_token_too(everywhere: Server) -> None:
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    assert everywhere.ask(path, WEBSOCKET).status == 403
    assert everywhere.ask(path, {**WEBSOCKET, **everywhere.cookie}).status == 101
    assert everywhere.ask("/gallery.css").status == 401


def test_this_machine_needs_no_token_but_its_own_name(here: Server) -> None:
    assert here.token == ""
    assert here.ask("/").status == 200
    for name in ("localhost", "127.0.0.1", "LOCALHOST"):
        assert here.ask("/", {"Host": f"{name}:{here.port}"}).status == 200
    for name in ("evil.example", "localhost.evil.example", "[", ""):
        assert here.ask("/", {"Host": name}).status == 421


def test_requests_of_other_sites_are_refused(here: Server) -> None:
    assert here.ask("/", {"Origin": "https://evil.example"}).status == 403
    assert here.ask("/", {"Origin": f"http://127.0.0.1:{here.port}"}).status == 200
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    assert here.ask(path, {**WEBSOCKET, "Origin": "https://evil.example"}).status == 403


def test_huge_requests_are_refused_unread(here: Server) -> None:
    for headers, status in (
        ({"Content-Length": str(10**12)}, 413),
        ({"Content-Length": "many"}, 413),
        ({"Transfer-Encoding": "chunked"}, 411),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", here.port, timeout=60)
        connection.putrequest("POST", "/_nicegui/client/x/upload/1")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status in {status, 400}
        connection.close()


def test_browser_is_told_to_ask_no_other_host(here: Server) -> None:
    policy = str(here.ask("/").getheader("content-security-policy"))
    assert policy.startswith("default-src 'self'")
    assert "http" not in policy


def test_read_only_runs_no_model(here: Server, everywhere: Server) -> None:
    assert everywhere.ask("/models/8.html", everywhere.cookie).status == 200
    assert "Generate and download" in everywhere.text
    assert here.ask("/models/8.html").status == 200
    assert "medzoo.generate(8, 4)" in here.text
    assert "Generate and download" not in here.text
    assert here.ask("/explore/8").status == 200
    assert "This server is read-only" in here.text
    assert here.ask("/docs").status == 404
    assert here.ask("/openapi.json").status == 404
    assert here.ask("/models/../../../etc/passwd.jpg").status == 404


def test_address_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="port"):
        listen("127.0.0.1", 65536)
    with pytest.raises(InputError, match="Nothing can listen"):
        listen("no such host", 0)
    taken = listen("127.0.0.1", 0)
    assert main(["serve", "--port", str(taken.port)]) == 2
    assert "another port" in capsys.readouterr().err
    taken.listening.close()


def test_missing_toolkit_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medzoo.web.server.find_spec", lambda name: None)
    monkeypatch.setattr("medzoo.view.window.find_spec", lambda name: None)
    for ask in (require_toolkit, lambda: medzoo.visualize(8, ui="web")):
        with pytest.raises(InputError, match="NiceGUI") as error:
            ask()
        assert "medzoo[web]" in error.value.hint
