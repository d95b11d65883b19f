"""Looking at a model's samples: sliders in a window or a notebook, and walks through the latents.

`Exploration` holds the state and renders it; `explorer` and `widgets_face` are its faces.
matplotlib is imported with the modules below, so only when something is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..plugins import public

if TYPE_CHECKING:
    from .exploration import Exploration as Exploration
    from .explorer import Explorer as Explorer
    from .frames import interpolate as interpolate
    from .frames import traverse as traverse
    from .window import visualize as visualize

# public name -> its module
_HOMES = {
    "Exploration": "exploration",
    "Explorer": "explorer",
    "interpolate": "frames",
    "traverse": "frames",
    "visualize": "window",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    return public(__name__, _HOMES, name)
