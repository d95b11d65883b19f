"""Controls of a form: sliders, choices and fields, each with its name beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from nicegui import ui

Change = Callable[[Any], object]


@contextmanager
def row(name: str) -> Iterator[None]:
    """A line of a form, which begins with the name of its control."""
    with ui.element("div").classes("mz-row"):
        ui.label(name)
        yield


def slider(
    name: str, low: float, high: float, value: float, change: Change, *, step: float
) -> ui.slider:
    """A slider with its value on the right. Arrow keys move it by ``step``."""
    with row(name):
        control = ui.slider(min=low, max=high, step=step, value=value)
        control.props(f'dense aria-label="{name}"')
        with ui.element("output"):
            ui.label().bind_text_from(control, "value", _form(step).format)
    control.on_value_change(lambda event: change(event.value))
    return control


def _form(step: float) -> str:
    """How the value of a slider is written, with the digits that its steps change."""
    if step >= 1:
        return "{:.10g}"
    return "{:+.2f}" if step >= 0.01 else "{:+.3g}"


def choice(name: str, labels: Sequence[Any], value: Any, change: Change) -> ui.select:
    """A list of a few values, of which one is chosen."""
    with row(name):
        control = ui.select(list(labels), value=value)
        control.props(f'dense options-dense outlined aria-label="{name}"').classes("mz-wide")
    control.on_value_change(lambda event: change(event.value))
    return control


def field(name: str, value: str, change: Change) -> ui.input:
    """A text, read when the user presses Enter or leaves it."""
    with row(name):
        control = (
            ui.input(value=value).props(f'dense outlined aria-label="{name}"').classes("mz-wide")
        )
    control.on("change", lambda: change(control.value))
    return control


def button(text: str, act: Callable[[], object]) -> ui.button:
    """A button that calls ``act``."""
    control = ui.button(text, on_click=act)
    return control.props("outline no-caps dense").classes("mz-button")
