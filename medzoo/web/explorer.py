"""The explorer in a browser: a face of `medzoo.view.Exploration`, one per open page."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from nicegui import context, ui

from ..config import ModelConfig
from ..config.html import data_address
from ..errors import InputError, MedzooError, NotAvailableError
from ..samples import raster
from ..samples.shown import PLANES, names_of, source, title
from ..view.directions import Direction, cached_directions, directions_if_quick
from ..view.exploration import REACH, Exploration
from .changes import Changes, in_turn
from .controls import Change, button, choice, field, slider
from .draw import Painter
from .layout import Message, answer_to, frame
from .site import Site
from .workshop import Loaded

SIDE = 384  # pixels of the picture's longer side, about, where outlines are drawn on it
STEP = 0.05  # of a latent's slider


def add_pages(app: FastAPI, site: Site) -> None:  # noqa: ARG001
    """Add the explorer of each model."""

    @ui.page("/explore/{name}")
    async def explore(name: str, version: str | None = None) -> None:
        try:
            model = site.model(name)
            chosen = model.version(version)
            if site.read_only:
                raise NotAvailableError("This server is read-only: no model runs.")
        except MedzooError as error:
            with frame(site, name):
                Message().fail(error)
            return
        links = {"this model": f"/models/{model.id}.html?version={quote(chosen.name)}"}
        await opened(site, model, lambda: site.workshop.borrow(model, chosen), links)


async def opened(
    site: Site,
    config: ModelConfig,
    borrow: Callable[[], Awaitable[Loaded]],
    links: Mapping[str, str] | None = None,
    seed: int = 0,
) -> None:
    """Show the page at once, and the explorer when its model is loaded."""
    client = context.client
    with frame(site, config.id, dict(links or {})) as main:
        waiting = Message()
        waiting.say("loading the model ...")
    await client.connected()
    loaded = None
    try:
        loaded = await borrow()
        exploration = await in_turn(loaded, partial(Exploration, loaded.model, seed))
    except Exception as error:
        if not client.is_deleted:
            waiting.fail(answer_to(error))
    if loaded is None:
        return
    if client.is_deleted or waiting.failed:
        site.workshop.give_back(loaded)
        return
    if not client.has_socket_connection:
        site.workshop.give_back(loaded)
    client.on_disconnect(partial(site.workshop.give_back, loaded))
    client.on_connect(partial(site.workshop.take_again, loaded))
    waiting.delete()
    with main:
        Explorer(exploration, loaded)


class Explorer:
    """The picture of an exploration, and controls for everything that it depends on.

    Parameters
    ----------
    exploration
        What is shown. It belongs to this page alone; its model may be shared.
    loaded
        The model and its turn.
    """

    def __init__(self, exploration: Exploration, loaded: Loaded) -> None:
        self.exploration, self._loaded = exploration, loaded
        self.changes = Changes(loaded, self._shown, self._fail, self._busy)
        self._quiet = False
        self._known = 0  # leading directions that have a slider
        self._number = 0  # of the latent that has a slider
        self._values: dict[str, tuple[Any, Callable[[], Any]]] = {}
        self._painter: Painter | None = None
        with ui.element("div").classes("mz-explorer") as self.box:
            with ui.element("div"):
                self._build_picture()
                self._build_painter()
            with ui.element("div"):
                self.sliders = ui.element("div").classes("mz-group")
                self._build_sliders()
                self._build_inputs()
                self._build_looks()
        self._update(*self._drawn())
        if exploration.directions is None:
            self.message.say("finding the leading directions, once for this version ...")
            self.changes.click(self._find_if_quick)

    # ---------------------------------------------------------------------------------------------
    # the page
    def _build_picture(self) -> None:
        with ui.element("div").classes("mz-picture"):
            self.image = ui.element("img")
        self.text = ui.label().classes("mz-faint")
        with ui.element("div").classes("mz-buttons"):
            for name in ("random", "undo", "reset"):
                button(name, partial(self._click, getattr(self.exploration, name)))
            button("save picture", partial(self._save, ".png"))
            button("save state", partial(self._save, ".zip"))
        with ui.element("code").classes("mz-line").props('aria-label="Python line"'):
            self.line = ui.label()
        self.message = Message()

    def _build_painter(self) -> None:
        """Drawing is folded away until it is wanted."""
        config = self.exploration.mask_input
        if config is not None:
            with ui.expansion("draw a mask").classes("mz-group"):
                self._painter = Painter(self.exploration, config, self._click, self._fail)

    def _build_sliders(self) -> None:
        """Sliders of the leading directions, and one latent by its number."""
        exploration = self.exploration
        size = exploration.state.latents.size
        self._known = len(exploration.directions or [])
        self.sliders.clear()
        with self.sliders:
            if size and exploration.directions is None:
                button("find directions", self._find)
            for k, direction in enumerate(exploration.directions or []):
                self._add_slider(
                    direction.name,
                    partial(exploration.slide, k),
                    partial(self._position, direction),
                    key=f"direction {k}",
                )
            if size:
                self.number = field(f"latent, 0 to {size - 1}", "0", self._numbered)
                self.latent = slider("its value", -REACH, REACH, 0.0, self._slid, step=STEP)
                self._show_latent(0)

    def _build_inputs(self) -> None:
        exploration = self.exploration
        options = exploration.model.version.options
        with ui.element("div").classes("mz-group"):
            for name, labels in exploration.choices.items():
                self._add_choice(name, labels)
            for name, (low, high) in exploration.ranges.items():
                whole = options[name].type == "int"
                steps = (low, high, 1 if whole else (high - low) / 100)
                number: type = int if whole else float
                change: Change = partial(self._number_set, name, number)
                self._add_slider(name, change, partial(self._input, name), steps)
            seed = field("seed", "", lambda text: self._click(partial(self._seeded, text)))
            self._values["seed"] = seed, lambda: str(exploration.state.seed)
            if exploration.state.latents.size:
                with ui.element("div").classes("mz-buttons"):
                    for end in "AB":
                        button(f"mark {end}", partial(self._mark, end))
                self.between = slider(
                    "A to B", 0, 1, 0, self._asking("A to B", exploration.between), step=0.01
                )

    def _build_looks(self) -> None:
        exploration = self.exploration
        self.looks: dict[str, Any] = {}
        with ui.element("div").classes("mz-group"):
            if exploration.value_range is not None:
                low, high = exploration.value_range
                output = exploration.model.version.outputs[exploration.column]
                centre, width = output.window or ((low + high) / 2, high - low)
                ask = self._asking("look window", self._windowed)
                self.looks["level"] = slider("level", low, high, round(centre), ask, step=1)
                self.looks["window"] = slider("window", 1, high - low, round(width), ask, step=1)
            for plane, size in exploration.sizes.items():
                ask = self._asking("look sections", self._cut)
                self.looks[plane] = slider(plane, 0, size - 1, size // 2, ask, step=1)
            if any(names_of(kind, exploration.samples) for kind in ("mask", "boxes")):
                self._add_look("masks", "masks", raster.MASKS)
            self._add_look("side by side", "samples", (1, 4, 9))

    def _add_look(self, name: str, look: str, values: Sequence[Any]) -> None:
        """Add a list of the values that one part of the look can have."""

        def change(value: Any) -> None:
            self.exploration.show(**{look: value})

        def shown() -> Any:
            return getattr(self.exploration.look, look)

        key = f"look {look}"
        self._values[key] = choice(name, values, shown(), self._asking(key, change)), shown

    def _add_slider(
        self,
        name: str,
        change: Change,
        value: Callable[[], float],
        limits: tuple[float, float, float] = (-REACH, REACH, STEP),
        key: str = "",
    ) -> None:
        """Add a slider. A direction may have the name of an option, so it has its own key."""
        low, high, step = limits
        key = key or name
        control = slider(name, low, high, value(), self._asking(key, change), step=step)
        self._values[key] = control, lambda: _within(value(), low, high)

    def _add_choice(self, name: str, labels: Mapping[str, Any]) -> None:
        exploration = self.exploration
        names = {value: label for label, value in labels.items()}

        def label() -> Any:
            return names[exploration.state.inputs[name]]

        ask = self._asking(name, lambda text: exploration.set(name, labels[text]))
        self._values[name] = choice(name, list(labels), label(), ask), label

    # ---------------------------------------------------------------------------------------------
    # what the controls call
    def _asking(self, control: str, change: Change) -> Change:
        """What a control calls with its value. It does nothing while the page sets the control."""

        def ask(value: Any) -> None:
            if not self._quiet:
                self.message.say("")
                self.changes.ask(control, partial(change, value))

        return ask

    def _click(self, act: Callable[[], object]) -> None:
        if not self._quiet:
            self.message.say("")
            self.changes.click(act)

    def _mark(self, end: str) -> None:
        self._click(partial(self.exploration.mark, end))
        self.message.say(f"{end} is marked; the slider goes from A to B when both are")

    def _seeded(self, text: str) -> None:
        if not text.strip().isdecimal():
            raise InputError(
                f"{text!r} is not a valid seed.", "Give a whole number, 0 to 2**64 - 1."
            )
        if int(text) != self.exploration.state.seed:
            self.exploration.go_to(int(text))

    def _numbered(self, text: str) -> None:
        """The number of a latent was typed: its slider shows that latent."""
        size = self.exploration.state.latents.size
        if not text.strip().isdecimal() or int(text) >= size:
            self.message.say(f"{text!r} is not a latent: give a number from 0 to {size - 1}.")
            self.number.value = text = "0"
        self._show_latent(int(text))
        self._set_controls()

    def _show_latent(self, number: int) -> None:
        """Let the slider show this latent; a change of the one before may still wait."""
        self._values.pop(f"latent {self._number}", None)
        self._number = number
        self._values[f"latent {number}"] = self.latent, self._latent

    def _slid(self, value: float) -> None:
        """The slider of a latent was moved. It may show another latent when the change is made."""
        change = partial(self.exploration.move, self._number)
        self._asking(f"latent {self._number}", change)(value)

    def _position(self, direction: Direction) -> float:
        return direction.position(self.exploration.state.latents)

    def _input(self, name: str) -> Any:
        return self.exploration.state.inputs[name]

    def _number_set(self, name: str, number: type, value: float) -> None:
        self.exploration.set(name, number(value))

    def _latent(self) -> float:
        """Where the slider of a latent is."""
        return _within(float(self.exploration.state.latents[self._number]), -REACH, REACH)

    def _windowed(self, _: float) -> None:
        window = self.looks["level"].value, self.looks["window"].value
        self.exploration.show(window=window)

    def _cut(self, _: float) -> None:
        self.exploration.show(sections=tuple(int(self.looks[plane].value) for plane in PLANES))

    def _find_if_quick(self) -> None:
        directions_if_quick(self.exploration.model)
        self.exploration.directions = cached_directions(self.exploration.model)

    def _find(self) -> None:
        self.message.say("finding the leading directions, with 350 samples ...")
        self.changes.click(self._find_directions)

    def _find_directions(self) -> None:
        self.exploration.find_directions(progress=False)

    async def _save(self, ending: str) -> None:
        """Hand the picture to the browser, or a zip of the picture and the state.

        It waits for its turn: during a change the state is new, and the picture still the old one.
        """
        path, contents = await in_turn(self._loaded, self._contents)
        if ending == ".png":
            ui.download(contents[path], path.name)
            return
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in contents.items():
                archive.writestr(str(name), content)
        ui.download(buffer.getvalue(), path.with_suffix(".zip").name)

    def _contents(self) -> tuple[Path, dict[Path, bytes]]:
        path = Path(f"{self.exploration.stem}.png")
        return path, self.exploration.contents(path)

    # ---------------------------------------------------------------------------------------------
    # showing
    def _busy(self, working: bool) -> None:
        """Mark the page while the model works."""
        self.box.classes(
            add="mz-working" if working else "", remove="" if working else "mz-working"
        )
        self.box.props(f"aria-busy={'true' if working else 'false'}")

    def _fail(self, error: MedzooError) -> None:
        self.message.fail(error)

    def _shown(self) -> Callable[[], None]:
        """Draw the picture in this thread; returns what shows it on the page."""
        return partial(self._update, *self._drawn())

    def _drawn(self) -> tuple[bytes, str, str]:
        """The picture as PNG, its title, and the line of Python."""
        exploration = self.exploration
        samples = exploration.samples
        marked = any(names_of(kind, samples) for kind in ("mask", "boxes"))
        pixels = exploration.pixels()
        scale = max(1, round(SIDE / max(pixels.shape[:2])))
        if marked and exploration.look.masks != "none" and scale > 1:
            pixels = exploration.pixels(scale)
        first = title(samples, 0) if len(samples) == 1 else f"{len(samples)} samples"
        text = f"{first}. {source(samples.provenance)}. Synthetic, not for diagnosis."
        return raster.png_of(pixels), text, exploration.python(Path(f"{exploration.stem}.json"))

    def _update(self, png: bytes, text: str, line: str) -> None:
        self.image.props["src"] = data_address(png)
        self.image.props["alt"] = text
        self.image.update()
        self.text.set_text(text)
        if self._painter is not None:
            self._painter.show()
        self.line.set_text(line)
        known = len(self.exploration.directions or [])
        if known != self._known:
            self._build_sliders()
        if self.message.text.startswith("finding"):
            self.message.say("")
        self._set_controls()

    def _set_controls(self) -> None:
        """Set the controls to the state, without running what they call."""
        self._quiet = True
        try:
            for name, (control, value) in self._values.items():
                if not self.changes.waits(name) and _differs(control, value()):
                    control.value = value()
            if self.exploration.state.latents.size:
                self.between.set_enabled(self.exploration.marked == {"A", "B"})
        finally:
            self._quiet = False


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _differs(control: Any, value: Any) -> bool:
    """Whether a control must be moved; a slider stays if it only rounds the value."""
    if isinstance(value, float) and isinstance(control.value, (int, float)):
        return bool(abs(control.value - value) > control.props["step"] / 100)
    return bool(control.value != value)
