"""The brush in the window: while it is on, the mouse draws a mask on the picture."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..config import Input
from ..errors import InputError
from .drawing import Drawing, labels_of
from .exploration import Exploration

OFF, ERASER = "off", "eraser"


class Brush:
    """A mask that is drawn, and the tool that draws it.

    Parameters
    ----------
    exploration
        Whose picture is drawn on.
    config
        The input that takes the mask.
    figure, axes
        Where the mouse is listened to, and the picture.
    changed
        Called with a text when something must be shown again.

    Attributes
    ----------
    tool : str
        ``"off"``, ``"brush"`` (``"brush 1"``, ``"brush 2"`` where masks have several regions) or
        ``"eraser"``.
    """

    def __init__(
        self,
        exploration: Exploration,
        config: Input,
        figure: Figure,
        axes: Axes,
        changed: Callable[[str], None],
    ) -> None:
        self._exploration, self._axes, self._changed = exploration, axes, changed
        labels = labels_of(exploration.model.version, config)
        brushes = {f"brush {label}": label for label in labels}
        self._values = brushes if len(labels) > 1 else {"brush": labels[0]}
        self._blank = Drawing.blank(config).values
        self.drawing = Drawing(self._blank)
        self.tool = OFF
        self.radius = max(1, config.shape[-2] // 24)
        self._points: list[tuple[float, float]] = []
        figure.canvas.mpl_connect("button_press_event", self._press)
        figure.canvas.mpl_connect("motion_notify_event", self._move)
        figure.canvas.mpl_connect("button_release_event", self._release)
        figure.canvas.mpl_connect("scroll_event", self._scroll)

    @property
    def section(self) -> int | None:
        """The axial section of a volume that is drawn on; None for a picture."""
        shape = self.drawing.values.shape
        if len(shape) == 3:
            return None
        chosen = self._exploration.look.sections[0]
        return shape[1] // 2 if chosen is None else chosen

    def next_tool(self) -> None:
        """Off, the brushes, the eraser, and off again.

        The first brush begins on the shown mask, or on what is drawn already if the model makes no
        mask that fits.
        """
        if self.tool == OFF:
            with suppress(InputError):
                self.drawing.replace(self._exploration.mask_shown())
        tools = [OFF, *self._values, ERASER]
        self.tool = tools[(tools.index(self.tool) + 1) % len(tools)]
        self._changed("drag on the picture; the wheel changes the size" if self.tool != OFF else "")

    def clear(self) -> None:
        """Go on with an empty mask."""
        self.drawing.replace(self._blank)
        self._changed("")

    def pixels(self) -> NDArray[Any]:
        """The mask over the picture, (H, W, 3), 8 bits."""
        exploration = self._exploration
        return self.drawing.pixels(exploration.samples, self.section, exploration.look.window)

    # ---------------------------------------------------------------------------------------------
    # the mouse
    def _press(self, event: Any) -> None:
        if self.tool != OFF and event.inaxes is self._axes:
            self._points = [(event.xdata, event.ydata)]

    def _move(self, event: Any) -> None:
        if self._points and event.inaxes is self._axes:
            self._points.append((event.xdata, event.ydata))

    def _release(self, _: Any) -> None:
        points, self._points = self._points, []
        if not points:
            return
        try:
            self.drawing.stroke(points, self.radius, self._values.get(self.tool, 0), self.section)
        except InputError as error:
            self._changed(error.problem)
        else:
            self._changed("")

    def _scroll(self, event: Any) -> None:
        if self.tool != OFF and event.inaxes is self._axes:
            most = self._blank.shape[-2] // 6
            self.radius = min(max(self.radius + round(event.step), 0), most)
            self._changed(f"brush of {2 * self.radius + 1} pixels")
