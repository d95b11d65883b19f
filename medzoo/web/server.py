"""Serve the pages: at which address, to whom, and until when."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from .. import checks
from ..errors import InputError

PORT = 8765
COOKIE = "medzoo_{port}"  # browsers keep the cookies of all ports of a host together
LOOPBACK = ("localhost", "127.0.0.1", "::1")
PAGES = ("gallery", "model", "download", "explorer", "study")  # with `add_pages(app, site)`


@dataclass
class Place:
    """The address that a server listens at."""

    listening: socket.socket
    host: str
    port: int
    token: str | None

    @property
    def address(self) -> str:
        """What a user opens in a browser, with the token."""
        return self.page("")

    def page(self, path: str) -> str:
        """The address of a page, with the token."""
        host = self.host
        if ipaddress.ip_address(host).is_unspecified:
            host = socket.gethostname()
        name = f"[{host}]" if ":" in host else host
        query = f"?token={self.token}" if self.token else ""
        return f"http://{name}:{self.port}/{path}{query}"

    @property
    def hosts(self) -> frozenset[str] | None:
        """The names that the server answers for; any if it has a token."""
        return None if self.token else frozenset({*LOOPBACK, self.host})


def serve(
    host: str = "127.0.0.1",
    port: int = PORT,
    *,
    read_only: bool = False,
    device: str = "auto",
    studies: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
) -> None:
    """Serve the gallery, a page for each model and the explorer, until the process is interrupted.

    Parameters
    ----------
    host : str, optional
        Address to listen at. 127.0.0.1 by default, which only this machine can reach. At any other
        address a browser needs the token that is printed.
    port : int, optional
        Port, 0 to 65535. 8765 by default; 0 takes one that is free.
    read_only : bool, optional
        Only show what there is: no model runs, and nothing can be uploaded. False by default.
    device : str, optional
        Where models run, as for `medzoo.load`. "auto" by default.
    studies : path or sequence of paths, optional
        Folders of reader studies (`medzoo.study`), which can then be answered in a browser.

    Raises
    ------
    InputError
        NiceGUI is not installed, nothing can listen at this address, or a folder holds no study.

    Examples
    --------
    >>> medzoo.web.serve(port=0, read_only=True)  # doctest: +SKIP
    medzoo is at http://127.0.0.1:40123/  (Ctrl-C ends it)
    """
    require_toolkit()
    from .site import Site

    checks.flag(read_only, "read_only")
    folders = [studies] if isinstance(studies, (str, os.PathLike)) else studies
    site = Site.of(read_only=read_only, device=device, studies=[*checks.paths(folders, "studies")])
    place = listen(host, port)
    server = server_of(site, place, PAGES)
    print(f"medzoo is at {place.address}  (Ctrl-C ends it)", flush=True)
    for name, study in site.studies.items():
        print(f"reader study {study.folder}: {place.page(f'study/{name}')}", flush=True)
    try:
        server.run(sockets=[place.listening])
    finally:
        site.close()
        place.listening.close()


def require_toolkit() -> None:
    """Check that NiceGUI is there.

    Raises
    ------
    InputError
        It is not installed.
    """
    if find_spec("nicegui") is None:
        raise InputError(
            "The web pages need NiceGUI, which is not installed.",
            "`pip install 'medzoo[web]'` brings it.",
        )


def listen(host: str, port: int) -> Place:
    """Listen at an address. Anything but loopback gets a token.

    Raises
    ------
    InputError
        There is no such address here, or the port is taken.
    """
    port = checks.whole(port, "port", "a port", 0, 65535)
    if not isinstance(host, str):
        raise InputError(f"host={checks.shown(host)} is not an address.", "Give '127.0.0.1'.")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = _listening(family, address)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"Nothing can listen at {host!r}, port {port}: {why}.",
            "Choose another port; 0 takes one that is free.",
        ) from error
    name = str(address[0])
    is_loopback = ipaddress.ip_address(name.partition("%")[0]).is_loopback
    token = None if is_loopback else secrets.token_urlsafe(24)
    return Place(listening, name, listening.getsockname()[1], token)


def _listening(family: int, address: Any) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name != "nt":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def server_of(site: Any, place: Place, pages: tuple[str, ...]) -> Any:
    """The uvicorn server of a site."""
    from importlib import import_module

    import uvicorn
    from fastapi import FastAPI
    from nicegui import ui

    from .access import Gate

    app = FastAPI(openapi_url=None)  # and so no pages about it, whose scripts another host serves
    for name in pages:
        import_module(f".{name}", __package__).add_pages(app, site)
    ui.run_with(
        app,
        title="medzoo",
        dark=None,
        tailwind=False,
        reconnect_timeout=30,
        show_welcome_message=False,
    )
    gate = Gate(app, token=place.token, hosts=place.hosts, cookie=COOKIE.format(port=place.port))
    config = uvicorn.Config(
        gate, log_level="warning", lifespan="on", server_header=False, timeout_graceful_shutdown=1
    )
    return uvicorn.Server(config)
