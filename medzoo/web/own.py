"""The explorer of one loaded model in a browser: the face "web" of `medzoo.visualize`."""

from __future__ import annotations

import sys
import threading
import webbrowser
from functools import partial
from itertools import count

from fastapi import FastAPI
from nicegui import context, ui

from ..generation.model import Model
from ..settings import in_notebook
from ..view.window import has_screen
from .explorer import opened
from .layout import Message, frame
from .site import Own, Site
from .workshop import Loaded, Workshop

_numbers = count(1)
_running: list[tuple[Site, str]] = []  # the server of this process; NiceGUI has one at most


class WebExplorer:
    """An explorer that a browser shows.

    Parameters
    ----------
    site
        The server's site.
    number
        Of this explorer on it.
    address
        What a browser opens.

    Attributes
    ----------
    address : str
        The same.
    """

    def __init__(self, site: Site, number: int, address: str) -> None:
        self._site, self._number, self.address = site, number, address

    def __repr__(self) -> str:
        return f"<explorer at {self.address}>"

    def close(self) -> None:
        """Close the model. Pages that show it can do nothing more."""
        own = self._site.own.pop(self._number, None)
        if own is not None:
            own.model.close()

    def wait(self) -> None:
        """Wait until the page was open and is closed, which takes half a minute to be sure of."""
        own = self._site.own.get(self._number)
        while own is not None and not own.closed.wait(0.5):
            continue


def open_web(model: Model, seed: int) -> WebExplorer:
    """Serve the explorer of a model to this machine, and open it in a browser if there is a screen.

    A script waits until the page is closed.
    """
    if not _running:
        _running.append(_start())
    site, address = _running[0]
    number = next(_numbers)
    site.own[number] = Own(model, seed)
    explorer = WebExplorer(site, number, f"{address}own/{number}")
    print(f"The explorer of {model.config.id} is at {explorer.address}", flush=True)
    if has_screen():
        webbrowser.open(explorer.address)
    if not hasattr(sys, "ps1") and not in_notebook():
        print("Close the page, or press Ctrl-C, to go on.", flush=True)
        try:
            explorer.wait()
        except KeyboardInterrupt:
            print()
        explorer.close()
    return explorer


def add_pages(app: FastAPI, site: Site) -> None:  # noqa: ARG001
    """Add the explorers that `open_web` opened."""

    @ui.page("/own/{number}")
    async def own_page(number: int) -> None:
        own = site.own.get(number)
        if own is None:
            with frame(site, "no such explorer"):
                Message().say("This explorer was closed.")
            return
        own.pages += 1
        context.client.on_delete(partial(_left, own))

        async def lent() -> Loaded:
            own.loaded = own.loaded or site.workshop.own(own.model)
            return own.loaded

        await opened(site, own.model.config, lent, seed=own.seed)


def _left(own: Own) -> None:
    own.pages -= 1
    if not own.pages:
        own.closed.set()


def _start() -> tuple[Site, str]:
    """Start a server for explorers alone, in a thread."""
    from .server import listen, server_of

    place = listen("127.0.0.1", 0)
    site = Site({}, Workshop())
    server = server_of(site, place, ("own",))
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [place.listening]}, name="medzoo-web", daemon=True
    )
    thread.start()
    return site, place.address
