"""The web app: all models with pictures, a page for each of them, and the explorer in a browser.

NiceGUI draws the pages and keeps a connection to each browser. It is imported with the modules
below, so only when something is served. A page is a module with a function
``add_pages(app, site)``, named in `server.PAGES`; see docs/architecture.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..plugins import public

if TYPE_CHECKING:
    from .server import serve as serve

__all__ = ["serve"]


def __getattr__(name: str) -> Any:
    return public(__name__, {"serve": "server"}, name)
