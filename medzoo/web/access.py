"""Who may use the server: its token, the hosts that it answers for, and the size of requests."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST = 64 * 2**20  # bytes of a request; uploads are the only large ones
# The browser itself refuses what would go to another host.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
REFUSAL = """<!doctype html>
<html lang="en"><title>medzoo: token needed</title>
<body style="font: 16px system-ui, sans-serif; margin: 3rem auto; max-width: 40rem">
<h1>This server needs its token</h1>
<p>Open the address that <code>medzoo serve</code> printed. It ends in <code>?token=...</code></p>
"""


class Gate:
    """The ASGI middleware in front of all pages.

    Parameters
    ----------
    app
        What is behind it.
    token
        What a browser must have shown once; None if anybody who reaches the server may use it.
    hosts
        Names under which the server is asked; None for any. A page of another site that lets its
        own name point to this machine is refused in this way.
    cookie
        Name of the cookie that keeps the token.
    """

    def __init__(
        self, app: App, *, token: str | None, hosts: frozenset[str] | None, cookie: str
    ) -> None:
        self.app, self._token, self._hosts, self._cookie = app, token, hosts, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        refused = self._refusal(scope, headers)
        if refused is None:
            await self.app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _answer(send, *refused)

    def _refusal(
        self, scope: Scope, headers: dict[str, str]
    ) -> tuple[int, str, dict[str, str]] | None:
        """Status, text and headers of the answer to a request that is not handed on."""
        host = headers.get("host", "")
        if self._hosts is not None and _name_of(host) not in self._hosts:
            return 421, "This server does not answer for that host.", {}
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "Requests of other sites are refused.", {}
        if self._token is not None and not self._is_known(headers):
            return self._greeting(scope)
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return 411, "State the length of the request.", {}
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LARGEST:
            return 413, f"A request has at most {LARGEST // 2**20} MB.", {}
        return None

    def _is_known(self, headers: dict[str, str]) -> bool:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        return self._cookie in cookies and self._is_right(cookies[self._cookie].value)

    def _is_right(self, text: str) -> bool:
        assert self._token is not None  # noqa: S101
        return secrets.compare_digest(text.encode(), self._token.encode())

    def _greeting(self, scope: Scope) -> tuple[int, str, dict[str, str]]:
        """The answer to a browser without the cookie, which may have brought the token."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if not self._is_right(query.get("token", [""])[0]):
            return 401, REFUSAL, {}
        cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        return 303, "", {"location": scope["path"], "set-cookie": cookie}


def _name_of(host: str) -> str:
    """The name in a header such as ``[::1]:8765``."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_encoded(HEADERS)]
        await send(message)

    return sending


async def _answer(send: Send, status: int, text: str, headers: dict[str, str]) -> None:
    kind = {"content-type": "text/html; charset=utf-8"}
    start = {**HEADERS, **kind, **headers}
    await send({"type": "http.response.start", "status": status, "headers": _encoded(start)})
    await send({"type": "http.response.body", "body": text.encode()})
