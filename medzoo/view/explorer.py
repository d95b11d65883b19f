"""The window with sliders: a picture that depends on latents, condition, options and seed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.widgets import RadioButtons, Slider
from numpy.typing import NDArray

from .. import files, seeds
from ..config import OPTION_TYPES, Version
from ..datasets.png import png
from ..errors import DatasetError
from ..generation.model import Model
from ..registry import is_local
from ..samples import Samples
from ..samples.pictures import FAINT, Drawing, draw
from ..samples.shown import caption, picture, picture_column
from .widgets import LINE, Sheet, button_on, quietly, radio_on, slider_on, text_box_on

PAGE = 10  # latents that have a slider at the same time
REACH = 3.0  # end of a latent's slider; 99.7 % of standard normal numbers are within

# The window, in inches: the picture on the left, the controls in a column on the right.
WIDTH, HEIGHT, MARGIN = 10.4, 6.5, 0.35
PICTURE, TITLE, TEXT = 5.2, 0.25, 0.8  # the picture, and the text above and below it
LEFT, SPAN = 6.05, 4.0  # left side and width of the column
LABEL, VALUE = 0.8, 0.5  # on the left and right of a slider's track
SPACE, RADIO, RADIOS = 0.18, 1.6, 4.0  # between groups; most width and height of radio buttons


class Explorer:
    """A picture that a model makes, and sliders for everything that it depends on.

    The state is ``seed``, ``latents`` and ``inputs``. Widgets change the state and then show it, so
    that picture, widgets and state agree after every event. The picture is sample 0 of the seed
    with these latents. The model's own noise belongs to the sample, and so does not change while a
    slider moves.

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
    latents : numpy.ndarray
        The latent vector shown, shape (latent size,), float32.
    inputs : dict
        Condition or option -> its value.
    samples : Samples
        The sample shown.

    Raises
    ------
    InputError
        The model makes no pictures, or the seed is not valid.
    """

    def __init__(self, model: Model, *, seed: int = 0, figure: Figure | None = None) -> None:
        picture_column(model.version.outputs)
        self.model = model
        self.figure = figure or Drawing(WIDTH, HEIGHT)
        self.page = 0
        self.choices = _choices(model.version)
        self.seed: int
        self.latents: NDArray[np.float32]
        self.inputs: dict[str, Any]
        self.samples: Samples
        self._build()
        self._start(seeds.check_seed(seed))
        # matplotlib keeps only weak references to methods. This function keeps the explorer alive
        # as long as its window.
        self.figure.canvas.mpl_connect("close_event", lambda _: self.model.close())

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `Model.generate` for the picture that is shown."""
        latents = {"latents": self.latents[np.newaxis]} if self.latents.size else {}
        return {"seed": self.seed, **latents, **self.inputs}

    @property
    def pages(self) -> int:
        """The number of pages of sliders for the latents."""
        return -(-self.model.version.settable_latents // PAGE)

    # -------------------------------------------------------------------------------------------
    # what a user does
    def move(self, latent: int, value: float) -> None:
        """Set one number of the latent vector."""
        self.latents[latent] = value
        self._update()

    def set(self, name: str, value: Any) -> None:
        """Set a condition or an option."""
        self.inputs[name] = value
        self._update()

    def go_to(self, seed: int) -> None:
        """Take the latents and the noise of another seed; condition and options stay."""
        self._start(seeds.check_seed(seed), self.inputs)

    def reset(self) -> None:
        """Go back to the seed's own latents, the first condition and the default options."""
        self._start(self.seed)

    def turn(self, pages: int) -> None:
        """Go forward by some pages of sliders, or back."""
        self.page = min(max(self.page + pages, 0), self.pages - 1)
        self._show()
        self.figure.canvas.draw_idle()

    def save(self) -> Path:
        """Write the picture as PNG into the current folder, and its arguments as .npz.

        ``medzoo.generate(**{k: v if v.ndim else v.item() for k, v in numpy.load(path).items()})``
        makes the picture again.

        Returns
        -------
        pathlib.Path
            The PNG, ``medzoo_8_seed0_1.png`` or with the next number that is free.

        Raises
        ------
        DatasetError
            The files cannot be written.
        """
        config, version = self.model.config, self.model.version
        path = _free_path(f"medzoo_{config.number}_seed{self.seed}")
        output = version.outputs[picture_column(version.outputs)]
        metadata: dict[str, Any] = {"synthetic": True}
        for key in ("model", "version", "seed", "license"):
            metadata[key] = self.samples.provenance[key]
        pixels = np.rint(picture(self.samples, 0) * 255).astype(np.uint8)  # (C, H, W)
        made_from: dict[str, Any] = {
            "model_id": str(config.path.parent.resolve()) if is_local(config) else config.id,
            "version": version.name,
            **self.arguments,
        }
        try:
            with files.atomic(path.with_suffix(".npz")) as file:
                np.savez(file, **made_from)
            with files.atomic(path) as file:
                file.write(png(pixels, output, metadata))
        except OSError as error:
            raise DatasetError(
                f"{path} could not be written: {error.strerror or error}."
            ) from error
        return path

    # -------------------------------------------------------------------------------------------------
    # the state
    def _start(self, seed: int, inputs: Mapping[str, Any] | None = None) -> None:
        version = self.model.version
        first = {name: next(iter(c.values)) for name, c in version.conditions.items()}
        self.seed = seed
        self.latents = seeds.latents(seed, [0], version.settable_latents)[0]
        defaults = {k: o.default for k, o in version.options.items() if o.default is not None}
        self.inputs = dict(first | defaults if inputs is None else inputs)
        self._update()

    def _update(self) -> None:
        """Make the picture of the state, and show both.

        Toolkits report only the last movement of the mouse that happened meanwhile. So with a slow
        model the picture makes larger steps, but is never late.
        """
        self.samples = self.model.generate(1, progress=False, **self.arguments)
        draw(self._picture, self.samples, 0, size=12)
        self._caption.set_text(caption(self.samples))
        self._note.set_text("")
        self._show()
        self.figure.canvas.draw_idle()

    def _show(self) -> None:
        """Set the widgets to the state, without running their callbacks."""
        first = self.page * PAGE
        for k, slider in enumerate(self.sliders):
            there = first + k < self.latents.size
            slider.set_active(there)
            slider.ax.set_visible(there)
            if there:
                value = float(self.latents[first + k])
                quietly(slider, slider.set_val, min(max(value, -REACH), REACH))
                slider.valtext.set_text(f"{value:+.2f}")  # even if it is beyond the slider's end
                slider.label.set_text(f"latent {first + k}")
        if self.sliders:
            last = min(first + PAGE, self.latents.size) - 1
            self._heading.set_text(f"Latents {first} to {last} of {self.latents.size}")
        for name, widget in self.options.items():
            quietly(widget, widget.set_val, self.inputs[name])
        for name, radio in self.radios.items():
            values = list(self.choices[name].values())
            quietly(radio, radio.set_active, values.index(self.inputs[name]))
        quietly(self.seed_box, self.seed_box.set_val, str(self.seed))
        self.seed_box.cursor.set_visible(False)  # set_val shows it, as if someone were typing

    # ----------------------------------------------------------------------------------------------
    # the window
    def _build(self) -> None:
        """Place the controls from top to bottom; a window with many of them is higher."""
        latents, ranges = self.model.version.settable_latents, _ranges(self.model.version)
        lines = (min(PAGE, latents) + 1 if latents else 0) + len(ranges) + 2
        radios = max(
            (_radios_height(len(c)) + LINE / 2 for c in self.choices.values()), default=0.0
        )
        height = max(HEIGHT, 2 * MARGIN + lines * LINE + radios + 5 * SPACE)
        sheet = Sheet(self.figure, WIDTH, height)

        above = (height - PICTURE - TEXT - TITLE) / 2 + TITLE
        middle, below = MARGIN + PICTURE / 2, above + PICTURE
        self._picture = sheet.axes(MARGIN, above, PICTURE, PICTURE)
        self._caption = sheet.text(middle, below + 0.3, ha="center", color=FAINT, linespacing=1.5)
        self._note = sheet.text(middle, below + 0.65, ha="center")

        # The text box is built first, so that a typed seed is read before a control acts that is
        # clicked next.
        bottom = height - MARGIN - LINE
        y = bottom - LINE - SPACE
        self.seed_box = text_box_on(
            sheet.axes(LEFT + LABEL, y, SPAN - LABEL - 1.3), "seed ", self._submit
        )
        self.buttons = {
            "next seed": button_on(
                sheet.axes(LEFT + SPAN - 1.15, y, 1.15),
                "next seed",
                lambda: self.go_to((self.seed + 1) % 2**64),
            ),
            "reset": button_on(sheet.axes(LEFT + SPAN - 2.4, bottom, 1.15), "reset", self.reset),
            "save": button_on(sheet.axes(LEFT + SPAN - 1.15, bottom, 1.15), "save", self._save),
        }
        y = self._build_latents(sheet, MARGIN)
        self.options: dict[str, Slider] = {}
        for name, (low, high) in ranges.items():
            step = 1 if self.model.version.options[name].type == "int" else None
            self.options[name] = slider_on(sheet.axes(*_track(y)), name, low, high, step=step)
            self.options[name].on_changed(partial(self._ranged, name))
            y += LINE
        self._build_choices(sheet, y + SPACE if ranges else y)

    def _build_latents(self, sheet: Sheet, y: float) -> float:
        """Sliders in the order of the vector.

        If latents have an order, as principal components have, the most important directions come
        first. In the isotropic latent space of a GAN no order is better than another.
        """
        self.sliders: list[Slider] = []
        if not self.pages:
            return y
        self._heading = sheet.text(LEFT, y + LINE / 2, fontsize=10)
        if self.pages > 1:
            self.buttons["previous"] = button_on(
                sheet.axes(LEFT + SPAN - 0.74, y, 0.35), "<", lambda: self.turn(-1)
            )
            self.buttons["next"] = button_on(
                sheet.axes(LEFT + SPAN - 0.35, y, 0.35), ">", lambda: self.turn(1)
            )
        y += LINE + SPACE / 2
        for k in range(min(PAGE, self.model.version.settable_latents)):
            self.sliders.append(slider_on(sheet.axes(*_track(y)), "", -REACH, REACH))
            self.sliders[k].on_changed(partial(self._slid, k))
            y += LINE
        return y + SPACE

    def _build_choices(self, sheet: Sheet, y: float) -> None:
        """Radio buttons, one column for each input that is one of a few."""
        self.radios: dict[str, RadioButtons] = {}
        for k, (name, values) in enumerate(self.choices.items()):
            width = min(SPAN / len(self.choices), RADIO)
            sheet.text(LEFT + k * width, y + LINE / 2, name, fontsize=10)
            # matplotlib draws the dots at 0.15 of the width, and leaves a line free above and below.
            axes = sheet.axes(
                LEFT + (k - 0.11) * width, y + LINE / 2, width, _radios_height(len(values))
            )
            self.radios[name] = radio_on(axes, list(values))
            self.radios[name].on_clicked(partial(self._chosen, name))

    # ----------------------------------------------------------------------------------------------
    # what the widgets call
    def _slid(self, k: int, value: float) -> None:
        self.move(self.page * PAGE + k, value)

    def _ranged(self, name: str, value: float) -> None:
        self.set(
            name, round(value) if self.model.version.options[name].type == "int" else float(value)
        )

    def _chosen(self, name: str, label: str | None) -> None:
        self.set(name, self.choices[name][str(label)])

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

    def _save(self) -> None:
        try:
            path = self.save()
        except DatasetError as error:
            self._say(error.problem)
        else:
            self._say(f"saved {path} and .npz")

    def _say(self, text: str) -> None:
        self._note.set_text(text)
        self.figure.canvas.draw_idle()


def _free_path(stem: str) -> Path:
    """The first of ``stem_1.png``, ``stem_2.png`` ... that exists neither as .png nor as .npz."""
    for number in count(1):
        path = Path(f"{stem}_{number}.png")
        if not path.exists() and not path.with_suffix(".npz").exists():
            break
    return path


def _choices(version: Version) -> dict[str, dict[str, Any]]:
    """The inputs with a few possible values: name -> label of the button -> value."""
    choices: dict[str, dict[str, Any]] = {}
    for name, condition in version.conditions.items():
        choices[name] = {value: value for value in condition.values}
    for name, option in version.options.items():
        if option.type not in OPTION_TYPES or option.default is None:
            continue
        if option.choices or option.type == "bool":
            choices[name] = {str(value): value for value in option.choices or (False, True)}
    return choices


def _ranges(version: Version) -> dict[str, tuple[float, float]]:
    """Bounds of the options that get a slider; a number without bounds keeps its default."""
    ranges = {}
    for name, option in version.options.items():
        low, high = option.minimum, option.maximum
        if option.type not in {"int", "float"} or option.choices or option.default is None:
            continue
        if low is not None and high is not None:
            ranges[name] = (low, high)
    return ranges


def _radios_height(n: int) -> float:
    """Height of the axes of ``n`` radio buttons, in inches; many buttons are closer together."""
    return min((n + 1) * LINE, RADIOS)


def _track(y: float) -> tuple[float, float, float]:
    """The place of a slider's track between its name and its value: x, y and width."""
    return LEFT + LABEL, y, SPAN - LABEL - VALUE
