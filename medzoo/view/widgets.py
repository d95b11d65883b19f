"""matplotlib's widgets in the look of the explorer, and a sheet to lay them out on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.widgets import Button, RadioButtons, Slider, TextBox

from ..samples.pictures import FAINT, INK, PAPER

LINE = 0.3  # inches per line of controls
TRACK, FILL, BUTTON, HOVER = "#e4e7eb", "#3e7cb1", "#f1f4f7", "#dde4eb"


class Sheet:
    """A figure measured in inches from its upper left corner."""

    def __init__(self, figure: Figure, width: float, height: float) -> None:
        figure.set_size_inches(width, height)
        figure.set_facecolor(PAPER)
        self._figure, self._width, self._height = figure, width, height

    def axes(self, x: float, y: float, width: float, height: float = LINE - 0.04) -> Axes:
        """Axes with their upper left corner at ``x`` and ``y``."""
        bottom = self._height - y - height
        return self._figure.add_axes(
            (x / self._width, bottom / self._height, width / self._width, height / self._height)
        )

    def text(
        self,
        x: float,
        y: float,
        text: str = "",
        *,
        fontsize: float = 9,
        color: str = INK,
        **style: Any,
    ) -> Text:
        """A text at ``x``, its middle ``y`` below the top."""
        where = x / self._width, 1 - y / self._height
        return self._figure.text(*where, text, va="center", fontsize=fontsize, color=color, **style)


def quietly(widget: Any, change: Callable[[Any], None], value: Any) -> None:
    """Change a widget without running its callbacks and without drawing the window."""
    widget.eventson = widget.drawon = False
    change(value)
    widget.eventson = widget.drawon = True


def slider_on(axes: Axes, label: str, low: float, high: float, step: float | None = None) -> Slider:
    """A slider from ``low`` to ``high``, with its name on the left and its value on the right."""
    slider = Slider(
        axes,
        label,
        low,
        high,
        valinit=low,
        valstep=step,
        valfmt="%g",
        initcolor="none",
        track_color=TRACK,
        color=FILL,
        handle_style={"facecolor": PAPER, "edgecolor": FILL, "size": 9},
    )
    for text in (slider.label, slider.valtext):
        text.set(fontsize=9, color=INK)
    return slider


def radio_on(axes: Axes, labels: list[str]) -> RadioButtons:
    """Radio buttons, one per line."""
    _frame(axes, PAPER)
    n = len(labels)
    dots = {"s": [36] * n, "edgecolor": FAINT, "facecolor": FILL}
    return RadioButtons(
        axes, labels, radio_props=dots, label_props={"fontsize": [9] * n, "color": [INK] * n}
    )


def button_on(axes: Axes, label: str, act: Callable[[], object]) -> Button:
    """A button that calls ``act``."""
    button = Button(axes, label, color=BUTTON, hovercolor=HOVER)
    button.label.set(fontsize=9, color=INK)
    button.on_clicked(lambda _: act())
    _frame(axes, TRACK)
    return button


def text_box_on(axes: Axes, label: str, submit: Callable[[str], None]) -> TextBox:
    """A text box that calls ``submit`` with its text when the user leaves it."""
    box = TextBox(axes, label, color=PAPER, hovercolor=PAPER)
    box.label.set(fontsize=9, color=INK)
    box.text_disp.set(fontsize=9, color=INK)
    box.on_submit(submit)
    _frame(axes, FAINT)
    return box


def _frame(axes: Axes, color: str) -> None:
    for spine in axes.spines.values():
        spine.set_color(color)
