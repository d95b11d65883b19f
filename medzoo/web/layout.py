"""The frame of every page, and how an error is shown on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nicegui import ui

from .. import __version__
from ..errors import MedzooError
from ..registry.card import WARNING
from .site import Site

FOLDER = Path(__file__).parent
LINKS = {"all models": "/"}  # text -> address, at the top of every page
BLUE, RED = "#2f6690", "#b3261e"


def style() -> str:
    """The style sheet of all pages."""
    return (FOLDER / "style.css").read_text(encoding="utf-8")


@contextmanager
def frame(site: Site, title: str, links: dict[str, str] | None = None) -> Iterator[ui.element]:
    """A page: links at the top, its title, what is put into it, and the closing line.

    Parameters
    ----------
    site
        The site that the page belongs to.
    title
        The heading, and the name of the browser's tab.
    links
        Text -> address of further links, to pages that belong together.
    """
    ui.page_title(f"medzoo: {title}")
    ui.colors(primary=BLUE, negative=RED)
    ui.add_css(style())
    with ui.element("nav").props('aria-label="pages"').classes("mz-top"):
        for text, address in {**(LINKS if site.models else {}), **(links or {})}.items():
            ui.link(text, address)
    with ui.element("main") as main:
        with ui.element("h1"):
            ui.html(breakable(title), tag="span", sanitize=False)
        yield main
    with ui.element("footer"):
        ui.label(f"medzoo {__version__}. {WARNING}")


def breakable(identifier: str) -> str:
    """A text as HTML, in which a line may break after an underscore."""
    from html import escape

    return escape(identifier).replace("_", "_<wbr>")


def answer_to(error: Exception) -> MedzooError:
    """What a page says about an error."""
    if isinstance(error, MedzooError):
        return error
    return MedzooError(f"unexpected {type(error).__name__}: {error}", "Please report it.")


class Message(ui.element):
    """A line below what it belongs to, which a screen reader reads when it changes."""

    def __init__(self) -> None:
        super().__init__("div")
        self.text, self.failed = "", False
        self.classes("mz-message").props('role="status" aria-live="polite"')

    def say(self, text: str) -> None:
        """Show a text; empty to show nothing."""
        self._show(text)

    def fail(self, error: MedzooError) -> None:
        """Show an error: what was wrong, and what to try."""
        self._show(str(error), bad=True)

    def _show(self, text: str, *, bad: bool = False) -> None:
        self.text, self.failed = text, bad
        self.clear()
        self.classes(add="mz-bad" if bad else "", remove="" if bad else "mz-bad")
        with self:
            for line in text.splitlines():
                ui.label(line)
