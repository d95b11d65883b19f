"""The web app: all models with pictures, a page for each of them, and the explorer in a browser.

NiceGUI draws the pages and keeps a connection to each browser. It is imported with the modules
below, so only when something is served. A page is a module with a function ``add_pages(site)``,
named in `server.PAGES`; see docs/architecture.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .server import serve as serve

__all__ = ["serve"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"medzoo.web has no {name!r}. It has {', '.join(__all__)}.")
    return getattr(import_module(".server", __name__), name)
