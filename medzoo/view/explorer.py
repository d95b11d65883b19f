"""The window with sliders: matplotlib's face of an `Exploration`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.widgets import RadioButtons, Slider
from numpy.typing import NDArray

from .. import seeds
from ..errors import MedzooError
from ..generation.model import Model
from ..samples import Samples
from ..samples.pictures import FAINT, INK, Drawing
from ..samples.shown import PLANES, caption, names_of, title
from .brush import OFF, Brush
from .exploration import REACH, Exploration
from .widgets import LINE, Sheet, button_on, quietly, radio_on, slider_on, text_box_on

PAGE = 10  # latents that have a slider at the same time
DIRECTIONS = -1  # the page before the latents: sliders of the leading directions
SIDE_BY_SIDE = (1, 4, 9)  # numbers of samples that a button goes through
SLOW = 0.5  # seconds after which a picture is announced before it is made

# The window, in inches: the picture on the left, the controls in a column on the right.
WIDTH, HEIGHT, MARGIN = 10.4, 6.5, 0.35
PICTURE, TITLE, TEXT = 5.2, 0.25, 0.8  # the picture, and the text above and below it
LEFT, SPAN = 6.05, 4.0  # left side and width of the column
LABEL, VALUE = 0.8, 0.5  # on the left and right of a slider's track
LONG_LABEL = 1.7  # of a direction, whose name is a few words
SPACE, RADIO, RADIOS = 0.18, 1.6, 4.0  # between groups; most width and height of radio buttons


class Explorer:
    """A picture that a model makes, and sliders for everything that it depends on.

    Widgets change the state of an `Exploration` and then show it, so that picture, widgets and
    state agree after every event. The first page of sliders are the leading directions, if they are
    known; the button "find directions" finds them.

    Parameters
    ----------
    model : Model
        A loaded model that makes images, volumes or masks. It is closed with the window.
    seed : int, optional
        The seed to start from, 0 to 2**64 - 1. 0 by default.
    figure : matplotlib.figure.Figure, optional
        The figure to draw in; a new one without a window if None.

    Attributes
    ----------
    exploration : Exploration
        What is shown.
    latents : numpy.ndarray
        The latent vector shown, shape (latent size,), float32.
    inputs : dict
        Condition or option -> its value.
    samples : Samples
        The samples shown.

    Raises
    ------
    InputError
        The model makes no pictures, or the seed is not valid.
    """

    def __init__(self, model: Model, *, seed: int = 0, figure: Figure | None = None) -> None:
        self.exploration = Exploration(model, seed)
        self.model = model
        self.figure = figure or Drawing(WIDTH, HEIGHT)
        self.page = DIRECTIONS if self.exploration.directions else 0
        self.choices, self.ranges = self.exploration.choices, self.exploration.ranges
        self._seconds = 0.0  # that the last picture took
        self._build()
        self._show_all()
        # matplotlib keeps only weak references to methods. This function keeps the explorer alive
        # as long as its window.
        self.figure.canvas.mpl_connect("close_event", lambda _: self.model.close())

    @property
    def seed(self) -> int:
        """The seed shown."""
        return self.exploration.state.seed

    @property
    def latents(self) -> NDArray[np.float32]:
        """The latent vector shown."""
        return self.exploration.state.latents

    @property
    def inputs(self) -> dict[str, Any]:
        """Condition or option -> its value."""
        return dict(self.exploration.state.inputs)

    @property
    def samples(self) -> Samples:
        """The samples shown."""
        return self.exploration.samples

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `Model.generate` for the picture that is shown."""
        return self.exploration.arguments

    @property
    def pages(self) -> int:
        """The number of pages of sliders for the latents."""
        return -(-self.model.version.settable_latents // PAGE)

    # -------------------------------------------------------------------------------------------
    # what a user does
    def move(self, latent: int, value: float) -> None:
        """Set one number of the latent vector."""
        self._do(partial(self.exploration.move, latent, value))

    def slide(self, direction: int, position: float) -> None:
        """Move along a leading direction."""
        self._do(partial(self.exploration.slide, direction, position))

    def set(self, name: str, value: Any) -> None:
        """Set a condition or an option."""
        self._do(partial(self.exploration.set, name, value))

    def go_to(self, seed: int) -> None:
        """Take the latents and the noise of another seed; condition and options stay."""
        self._do(partial(self.exploration.go_to, seed))

    def reset(self) -> None:
        """Go back to the seed's own latents, the first condition and the default options."""
        self._do(self.exploration.reset)

    def turn(self, pages: int) -> None:
        """Go forward by some pages of sliders, or back."""
        first = DIRECTIONS if self.exploration.directions else 0
        self.page = min(max(self.page + pages, first), self.pages - 1)
        self._show_all()

    def find_directions(self) -> None:
        """Find the leading directions, and show their sliders."""
        self._announce("finding the leading directions ...")
        note = ""
        try:
            if self.exploration.find_directions():
                self.page = DIRECTIONS
            else:
                note = "no direction changes the picture"
        except MedzooError as error:
            note = error.problem
        self._say(note)
        self._show_all()

    def save(self) -> Path:
        """Write the picture as PNG into the current folder, and the state as JSON beside it; see
        `Exploration.save`.
        """
        return self.exploration.save()

    # ----------------------------------------------------------------------------------------------
    # showing
    def _do(self, change: Callable[[], object]) -> None:
        """Change the state, and show it. An error is shown instead, and the state stays.

        Toolkits report only the last movement of the mouse that happened meanwhile. So with a slow
        model the picture makes larger steps, but is never late.
        """
        if self._seconds > SLOW:
            self._announce("working ...")
        began, note = time.monotonic(), ""
        try:
            change()
        except MedzooError as error:
            note = error.problem
        self._seconds = time.monotonic() - began
        self._note.set_text(note)
        self._show_all()

    def _show_all(self) -> None:
        """Show the picture and the state."""
        marked = any(names_of(kind, self.samples) for kind in ("mask", "boxes"))
        pixels = self.exploration.pixels(3 if marked else 1) / 255
        if self.brush is not None and self.brush.tool != OFF:
            pixels = self.brush.pixels() / 255
        # clear() would build the axes again, which takes as long as a picture.
        for artist in (*self._picture.images,):
            artist.remove()
        self._picture.set_axis_off()
        self._picture.imshow(pixels, cmap="gray", vmin=0, vmax=1, aspect="equal")
        h, w = pixels.shape[:2]
        self._picture.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5))
        text = title(self.samples, 0) if len(self.samples) == 1 else ""
        self._picture.set_title(text, fontsize=12, color=INK, pad=3)
        self._caption.set_text(caption(self.samples))
        self._show()
        self.figure.canvas.draw_idle()

    def _show(self) -> None:
        """Set the widgets to the state, without running their callbacks."""
        self._show_sliders()
        for name, widget in self.options.items():
            quietly(widget, widget.set_val, self.inputs[name])
        for name, radio in self.radios.items():
            values = list(self.choices[name].values())
            quietly(radio, radio.set_active, values.index(self.inputs[name]))
        for box, text in ((self.seed_box, str(self.seed)), (self.latent_box, "")):
            if box is not None:
                quietly(box, box.set_val, text)
                box.cursor.set_visible(False)  # set_val shows it, as if someone were typing
        ready = self.exploration.marked == {"A", "B"}
        if "between" in self.looks:
            self.looks["between"].set_active(ready)
            self.looks["between"].ax.set_visible(ready)

    def _show_sliders(self) -> None:
        directions = (self.exploration.directions or []) if self.page == DIRECTIONS else []
        first = max(self.page, 0) * PAGE
        there = len(directions) if directions else self.latents.size - first
        for k, slider in enumerate(self.sliders):
            slider.set_active(k < there)
            slider.ax.set_visible(k < there)
            if k >= there:
                continue
            label, value = f"latent {first + k}", 0.0
            if directions:
                label, value = directions[k].name, directions[k].position(self.latents)
            else:
                value = float(self.latents[first + k])
            quietly(slider, slider.set_val, min(max(value, -REACH), REACH))
            slider.valtext.set_text(f"{value:+.2f}")  # even if it is beyond the slider's end
            slider.label.set_text(_short(label))
        if self.sliders and directions:
            self._heading.set_text("Leading directions")
        elif self.sliders:
            last = min(first + PAGE, self.latents.size) - 1
            self._heading.set_text(f"Latents {first} to {last} of {self.latents.size}")
        if "find directions" in self.buttons:
            unknown = self.exploration.directions is None
            self.buttons["find directions"].set_active(unknown)
            self.buttons["find directions"].ax.set_visible(unknown)

    # ----------------------------------------------------------------------------------------------
    # the window
    def _build(self) -> None:
        """Place the controls from top to bottom; a window with many of them is higher."""
        latents = self.model.version.settable_latents
        lines = (min(PAGE, latents) + 2 if latents else 0) + len(self.ranges) + self._look_lines()
        radios = max(
            (_radios_height(len(c)) + LINE / 2 for c in self.choices.values()), default=0.0
        )
        height = max(HEIGHT, 2 * MARGIN + (lines + 2) * LINE + radios + 6 * SPACE)
        sheet = Sheet(self.figure, WIDTH, height)

        above = (height - PICTURE - TEXT - TITLE) / 2 + TITLE
        middle, below = MARGIN + PICTURE / 2, above + PICTURE
        self._picture = sheet.axes(MARGIN, above, PICTURE, PICTURE)
        self._caption = sheet.text(middle, below + 0.3, ha="center", color=FAINT, linespacing=1.5)
        self._note = sheet.text(middle, below + 0.65, ha="center")

        # The text boxes are built first, so that a typed seed is read before a control acts that
        # is clicked next.
        bottom = height - MARGIN - LINE
        y = bottom - LINE - SPACE
        self.seed_box = text_box_on(
            sheet.axes(LEFT + LABEL, y, SPAN - LABEL - 1.3), "seed ", self._submit
        )
        self.latent_box = None
        if self.pages > 1:
            self.latent_box = text_box_on(
                sheet.axes(LEFT + SPAN - 1.35, MARGIN, 0.5), "go to ", self._submit_latent
            )
        self.buttons = {
            "next seed": button_on(
                sheet.axes(LEFT + SPAN - 1.15, y, 1.15),
                "next seed",
                lambda: self.go_to((self.seed + 1) % 2**64),
            ),
        }
        acts: dict[str, Callable[[], object]] = {
            "undo": partial(self._do, self.exploration.undo),
            "random": partial(self._do, self.exploration.random),
            "reset": self.reset,
            "save": self._save,
        }
        wide = (SPAN - 3 * 0.1) / 4
        for k, (name, act) in enumerate(acts.items()):
            axes = sheet.axes(LEFT + k * (wide + 0.1), bottom, wide)
            self.buttons[name] = button_on(axes, name, act)
        y = self._build_latents(sheet, MARGIN)
        self.options: dict[str, Slider] = {}
        for name, (low, high) in self.ranges.items():
            step = 1 if self.model.version.options[name].type == "int" else None
            self.options[name] = slider_on(sheet.axes(*_track(y)), name, low, high, step=step)
            self.options[name].on_changed(partial(self._ranged, name))
            y += LINE
        y = self._build_looks(sheet, y + SPACE if self.ranges else y)
        self._build_choices(sheet, y)

    def _build_latents(self, sheet: Sheet, y: float) -> float:
        """Sliders of the leading directions, or of the latents in the order of the vector."""
        self.sliders: list[Slider] = []
        if not self.pages:
            return y
        self._heading = sheet.text(LEFT, y + LINE / 2, fontsize=10)
        self.buttons["previous"] = button_on(
            sheet.axes(LEFT + SPAN - 0.74, y, 0.35), "<", lambda: self.turn(-1)
        )
        self.buttons["next"] = button_on(
            sheet.axes(LEFT + SPAN - 0.35, y, 0.35), ">", lambda: self.turn(1)
        )
        y += LINE + SPACE / 2
        for k in range(min(PAGE, self.model.version.settable_latents)):
            x, width = LEFT + LONG_LABEL, SPAN - LONG_LABEL - VALUE
            self.sliders.append(slider_on(sheet.axes(x, y, width), "", -REACH, REACH))
            self.sliders[k].on_changed(partial(self._slid, k))
            y += LINE
        self.buttons["find directions"] = button_on(
            sheet.axes(LEFT, y + 0.02, 1.5), "find directions", self.find_directions
        )
        for k, end in enumerate("AB"):
            axes = sheet.axes(LEFT + 1.75 + k * 0.4, y + 0.02, 0.35)
            self.buttons[end] = button_on(axes, end, partial(self._mark, end))
        self.looks: dict[str, Slider] = {}
        axes = sheet.axes(LEFT + 2.75, y + 0.02, SPAN - 2.75 - VALUE)
        self.looks["between"] = slider_on(axes, "", 0.0, 1.0)
        self.looks["between"].on_changed(
            lambda share: self._do(partial(self.exploration.between, float(share)))
        )
        return y + LINE + SPACE

    def _look_lines(self) -> int:
        """Lines of controls for how the picture is shown."""
        exploration = self.exploration
        drawn = exploration.value_range is not None
        return 1 + 2 * drawn + len(exploration.sizes) + (exploration.mask_input is not None)

    def _build_looks(self, sheet: Sheet, y: float) -> float:
        """Window and level, sections, masks, and samples side by side."""
        exploration = self.exploration
        if not self.pages:
            self.looks = {}
        if exploration.value_range is not None:
            low, high = exploration.value_range
            output = self.model.version.outputs[exploration.column]
            start = output.window or ((low + high) / 2, high - low)
            for name, limits, value in (
                ("level", (low, high), start[0]),
                ("window", (1.0, high - low), start[1]),
            ):
                self.looks[name] = slider_on(sheet.axes(*_track(y)), name, *limits, step=1)
                quietly(self.looks[name], self.looks[name].set_val, value)
                self.looks[name].on_changed(self._windowed)
                y += LINE
        for plane, size in exploration.sizes.items():
            self.looks[plane] = slider_on(sheet.axes(*_track(y)), plane, 0, size - 1, step=1)
            quietly(self.looks[plane], self.looks[plane].set_val, size // 2)
            self.looks[plane].on_changed(self._cut)
            y += LINE
        self.buttons["samples"] = button_on(
            sheet.axes(LEFT, y, 1.5), "side by side", self._more_samples
        )
        if any(names_of(kind, exploration.samples) for kind in ("mask", "boxes")):
            self.buttons["masks"] = button_on(
                sheet.axes(LEFT + 1.75, y, 1.5), "mask: outline", self._next_masks
            )
        y = self._build_brush(sheet, y + LINE)
        return y + SPACE

    def _build_brush(self, sheet: Sheet, y: float) -> float:
        """Buttons to draw a mask and have it painted, for a model that takes one."""
        exploration = self.exploration
        self.brush: Brush | None = None
        if exploration.mask_input is None:
            return y
        self.brush = Brush(
            exploration, exploration.mask_input, self.figure, self._picture, self._drawn
        )
        acts: dict[str, Callable[[], object]] = {
            "draw: off": self.brush.next_tool,
            "blank": self.brush.clear,
            "paint": self._paint,
        }
        for k, (name, act) in enumerate(acts.items()):
            width = 1.5 if k == 0 else 0.7
            axes = sheet.axes(LEFT + (0, 1.75, 2.55)[k], y, width)
            self.buttons[name.partition(":")[0]] = button_on(axes, name, act)
        return y + LINE

    def _build_choices(self, sheet: Sheet, y: float) -> None:
        """Radio buttons, one column for each input that is one of a few."""
        self.radios: dict[str, RadioButtons] = {}
        for k, (name, values) in enumerate(self.choices.items()):
            width = min(SPAN / len(self.choices), RADIO)
            sheet.text(LEFT + k * width, y + LINE / 2, name, fontsize=10)
            # matplotlib draws the dots at 0.15 of the width, with a free line above and below.
            axes = sheet.axes(
                LEFT + (k - 0.11) * width, y + LINE / 2, width, _radios_height(len(values))
            )
            self.radios[name] = radio_on(axes, list(values))
            self.radios[name].on_clicked(partial(self._chosen, name))

    # ----------------------------------------------------------------------------------------------
    # what the widgets call
    def _slid(self, k: int, value: float) -> None:
        if self.page == DIRECTIONS:
            self.slide(k, value)
        else:
            self.move(self.page * PAGE + k, value)

    def _ranged(self, name: str, value: float) -> None:
        self.set(
            name, round(value) if self.model.version.options[name].type == "int" else float(value)
        )

    def _chosen(self, name: str, label: str | None) -> None:
        self.set(name, self.choices[name][str(label)])

    def _windowed(self, _: float) -> None:
        window = (float(self.looks["level"].val), float(self.looks["window"].val))
        self.exploration.show(window=window)
        self._show_all()

    def _cut(self, _: float) -> None:
        sections = tuple(int(self.looks[plane].val) for plane in PLANES)
        self.exploration.show(sections=sections)
        self._show_all()

    def _more_samples(self) -> None:
        now = SIDE_BY_SIDE.index(self.exploration.look.samples)
        n = SIDE_BY_SIDE[(now + 1) % len(SIDE_BY_SIDE)]
        self._do(partial(self.exploration.show, samples=n))

    def _next_masks(self) -> None:
        following = {"outline": "beside", "beside": "none", "none": "outline"}
        masks = following[self.exploration.look.masks]
        self.exploration.show(masks=masks)
        self.buttons["masks"].label.set_text(f"mask: {masks}")
        self._show_all()

    def _drawn(self, text: str) -> None:
        """The mask or the tool has changed."""
        assert self.brush is not None  # noqa: S101
        self.buttons["draw"].label.set_text(f"draw: {self.brush.tool}")
        self._say(text)
        self._show_all()

    def _paint(self) -> None:
        assert self.brush is not None  # noqa: S101
        self.brush.tool = OFF
        self.buttons["draw"].label.set_text("draw: off")
        self._do(partial(self.exploration.paint, self.brush.drawing.values))

    def _mark(self, end: str) -> None:
        self.exploration.mark(end)
        ready = self.exploration.marked == {"A", "B"}
        self._say("the slider goes from A to B" if ready else f"{end} is marked")
        self._show()

    def _submit(self, text: str) -> None:
        """A seed was typed. matplotlib also calls this when another control is clicked after it."""
        try:
            seed = seeds.check_seed(int(text))
        except ValueError:  # InputError is one
            quietly(self.seed_box, self.seed_box.set_val, str(self.seed))
            self._say(f"{text!r} is not a valid seed: give a whole number from 0 to 2**64 - 1")
            return
        if seed != self.seed:
            self.go_to(seed)

    def _submit_latent(self, text: str) -> None:
        """The number of a latent was typed: show the page with its slider."""
        if not text.strip():
            return
        if not text.strip().isdecimal() or int(text) >= self.latents.size:
            self._say(f"{text!r} is not a latent: give a number from 0 to {self.latents.size - 1}")
            return
        self.page = int(text) // PAGE
        self._show_all()

    def _save(self) -> None:
        try:
            path = self.save()
        except MedzooError as error:
            self._say(error.problem)
        else:
            self._say(f"saved {path} and .json")

    def _announce(self, text: str) -> None:
        """Show a text at once, before something that takes a while."""
        self._note.set_text(text)
        self.figure.canvas.draw()
        self.figure.canvas.flush_events()

    def _say(self, text: str) -> None:
        self._note.set_text(text)
        self.figure.canvas.draw_idle()


def _short(label: str) -> str:
    """The name of a direction as it fits beside its slider."""
    return label.replace("position, ", "")


def _radios_height(n: int) -> float:
    """Height of the axes of ``n`` radio buttons, in inches; many buttons are closer together."""
    return min((n + 1) * LINE, RADIOS)


def _track(y: float) -> tuple[float, float, float]:
    """The place of a slider's track between its name and its value: x, y and width."""
    return LEFT + LABEL, y, SPAN - LABEL - VALUE
