"""Looking at a model's samples: a grid of pictures, or a window with sliders.

matplotlib is imported with the modules below, so only when something is drawn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .explorer import Explorer as Explorer
    from .window import visualize as visualize

_HOMES = {"Explorer": "explorer", "visualize": "window"}  # public name -> its module
__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"medzoo.view has no {name!r}. It has {', '.join(__all__)}.")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
