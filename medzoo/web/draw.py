"""Draw a mask, then have the model paint it: a part of the explorer's page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from nicegui import events, ui

from ..config import Input
from ..config.html import data_address
from ..errors import InputError, MedzooError
from ..samples import raster
from ..view.drawing import Drawing, labels_of
from ..view.exploration import Exploration
from .controls import button, choice, slider

TOOLS = ("brush", "eraser")


class Canvas(ui.element, component="draw.js"):
    """A picture in the browser that a user draws on.

    Parameters
    ----------
    width, height
        Pixels of the mask.
    stroke
        Called with the points (x, y) of a line, in pixels of the mask.
    """

    def __init__(self, width: int, height: int, stroke: Callable[[Any], None]) -> None:
        super().__init__()
        self.props["width"], self.props["height"] = width, height

        def drawn(event: events.GenericEventArguments) -> None:
            stroke(event.args)

        self.on("stroke", drawn)

    def show(self, png: bytes) -> None:
        """Show a picture."""
        self.props["source"] = data_address(png)

    def set_radius(self, radius: float) -> None:
        """Set the size of the brush."""
        self.props["radius"] = radius


class Painter:
    """Brush, eraser and a canvas, for a model that takes a mask.

    Parameters
    ----------
    exploration
        What is painted in.
    config
        The input that takes the mask.
    paint
        Called with a change that paints.
    fail
        Called with an error.
    """

    def __init__(
        self,
        exploration: Exploration,
        config: Input,
        paint: Callable[[Callable[[], object]], None],
        fail: Callable[[MedzooError], None],
    ) -> None:
        self._exploration, self._config = exploration, config
        self._paint, self._fail = paint, fail
        self.drawing = Drawing.blank(config)
        self._tool, self._label = TOOLS[0], labels_of(exploration.model.version, config)[0]
        *_, height, width = config.shape
        self._radius = round(max(1, height / 24))
        sections = config.shape[1] if len(config.shape) == 4 else 0
        self._section = sections // 2 if sections else None
        with ui.element("div").classes("mz-painter"):
            with ui.element("div"):
                self.canvas = Canvas(width, height, self._stroke)
                self.canvas.set_radius(self._radius)
            with ui.element("div"):
                self._build_controls(height, sections)
        self.show()

    def _build_controls(self, height: int, sections: int) -> None:
        choice("tool", TOOLS, self._tool, self._take)
        labels = labels_of(self._exploration.model.version, self._config)
        if len(labels) > 1:
            choice("region", labels, self._label, self._choose)
        slider("size", 0, height // 6, self._radius, self._resize, step=1)
        if sections:
            slider("section", 0, sections - 1, sections // 2, self._turn, step=1)
        with ui.element("div").classes("mz-buttons"):
            button("blank", self._blank)
            button("generated mask", self._generated)
            button("undo stroke", self._undo)
        with ui.element("div").classes("mz-buttons"):
            button("paint", self._painted)
            button("the model's own masks", partial(self._paint, self._unpainted))
        ui.label(self._config.help).classes("mz-faint")

    # ---------------------------------------------------------------------------------------------
    # what the controls call
    def _stroke(self, points: Any) -> None:
        value = self._label if self._tool == "brush" else 0
        self._try(lambda: self.drawing.stroke(points, self._radius, value, self._section))

    def _take(self, tool: str) -> None:
        self._tool = tool

    def _choose(self, label: int) -> None:
        self._label = label

    def _resize(self, radius: float) -> None:
        self._radius = int(radius)
        self.canvas.set_radius(radius)

    def _turn(self, section: float) -> None:
        self._section = int(section)
        self.show()

    def _blank(self) -> None:
        self._try(lambda: self.drawing.replace(Drawing.blank(self._config).values))

    def _generated(self) -> None:
        self._try(lambda: self.drawing.replace(self._exploration.mask_shown()))

    def _undo(self) -> None:
        self.drawing.undo()
        self.show()

    def _painted(self) -> None:
        self._paint(partial(self._exploration.paint, self.drawing.values))

    def _unpainted(self) -> None:
        self._exploration.paint(None)

    def _try(self, change: Callable[[], None]) -> None:
        try:
            change()
        except InputError as error:
            self._fail(error)
        self.show()

    def show(self) -> None:
        """Show the mask over the picture."""
        exploration = self._exploration
        pixels = self.drawing.pixels(exploration.samples, self._section, exploration.look.window)
        self.canvas.show(raster.png_of(pixels))
