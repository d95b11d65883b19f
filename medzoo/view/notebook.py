"""The controls of ipywidgets: a notebook's face of an `Exploration`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import ipywidgets

from ..errors import InputError, MedzooError
from ..generation.model import Model
from ..samples import raster
from ..samples.shown import PLANES, names_of, source, title
from .exploration import REACH, Exploration

SIDE = 384  # pixels of the picture's longer side, about
STYLE = {"description_width": "150px"}


class NotebookExplorer:
    """A picture that a model makes, and controls for everything that it depends on.

    While the model works, the notebook drops the movements of a slider that are already outdated.

    Parameters
    ----------
    model : Model
        A loaded model that makes images, volumes or masks. ``close()`` closes it.
    seed : int, optional
        The seed to start from. 0 by default.

    Attributes
    ----------
    exploration : Exploration
        What is shown.
    box : ipywidgets.Widget
        The picture and the controls.
    """

    def __init__(self, model: Model, *, seed: int = 0) -> None:
        self.exploration = Exploration(model, seed)
        self._quiet = False
        self.image = ipywidgets.Image(format="png")
        self.text = ipywidgets.HTML()
        self.note = ipywidgets.HTML()
        self.controls: dict[str, Any] = {}
        self.looks: dict[str, Any] = {}  # the controls of how the picture is shown
        self.buttons: dict[str, Any] = {}
        self._build()
        self._show()

    def close(self) -> None:
        """Close the model and remove the controls."""
        self.exploration.model.close()
        self.box.close()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.box._repr_mimebundle_(**options)

    # ---------------------------------------------------------------------------------------------
    # the controls
    def _build(self) -> None:
        exploration = self.exploration
        self.sliders = ipywidgets.VBox()
        self._build_sliders()
        for name, values in exploration.choices.items():
            self._add(name, ipywidgets.Dropdown(options=list(values)), partial(self._chosen, name))
        for name, (low, high) in exploration.ranges.items():
            if exploration.model.version.options[name].type == "int":
                slider = ipywidgets.IntSlider(min=int(low), max=int(high))
            else:
                step = (high - low) / 100
                slider = ipywidgets.FloatSlider(min=low, max=high, step=step, readout_format=".3g")
            self._add(name, slider, partial(exploration.set, name))
        # A text: a browser's numbers are exact only up to 2**53.
        seed = ipywidgets.Text(continuous_update=False)
        self._add("seed", seed, lambda text: exploration.go_to(_whole(text)))
        self._build_looks()
        acts: dict[str, Callable[[], object]] = {
            "random": exploration.random,
            "undo": exploration.undo,
            "reset": exploration.reset,
            "save": self._save,
            "A": partial(exploration.mark, "A"),
            "B": partial(exploration.mark, "B"),
        }
        for name, act in acts.items():
            self.buttons[name] = ipywidgets.Button(
                description=name, layout={"width": "70px" if len(name) > 1 else "36px"}
            )
            self.buttons[name].on_click(lambda _, act=act: self._do(act))
        between = ipywidgets.FloatSlider(min=0, max=1, step=0.01)
        self._add("A to B", between, exploration.between)
        left = ipywidgets.VBox([self.image, self.text, self.note])
        lines = ipywidgets.VBox([*self.controls.values()])
        buttons = ipywidgets.HBox([*self.buttons.values()])
        self.box = ipywidgets.HBox([left, ipywidgets.VBox([self.sliders, lines, buttons])])

    def _build_sliders(self) -> None:
        """Sliders of the leading directions, and one latent by its number."""
        exploration = self.exploration
        size = exploration.state.latents.size
        rows: list[Any] = []
        self.directions: list[Any] = []
        for k, direction in enumerate(exploration.directions or []):
            slider = _latent_slider(direction.name)
            slider.observe(partial(self._changed, partial(exploration.slide, k)), "value")
            self.directions.append(slider)
        rows += self.directions
        if size and exploration.directions is None:
            find = ipywidgets.Button(description="find directions")
            find.on_click(lambda _: self._do(self._find))
            self.buttons["find directions"] = find
            rows.append(find)
        if size:
            self.number = ipywidgets.BoundedIntText(
                min=0, max=size - 1, description=f"latent, 0 to {size - 1}", style=STYLE
            )
            self.number.observe(lambda _: self._show(), "value")
            self.latent = _latent_slider("its value")
            self.latent.observe(partial(self._changed, self._moved), "value")
            rows += [self.number, self.latent]
        self.sliders.children = rows

    def _build_looks(self) -> None:
        exploration = self.exploration
        if exploration.value_range is not None:
            low, high = exploration.value_range
            output = exploration.model.version.outputs[exploration.column]
            centre, width = output.window or ((low + high) / 2, high - low)
            level = ipywidgets.FloatSlider(min=low, max=high, value=centre, step=1)
            window = ipywidgets.FloatSlider(min=1, max=high - low, value=width, step=1)
            self._add_look("level", level, self._windowed)
            self._add_look("window", window, self._windowed)
        for plane, size in exploration.sizes.items():
            slider = ipywidgets.IntSlider(min=0, max=size - 1, value=size // 2)
            self._add_look(plane, slider, self._cut)
        if any(names_of(kind, exploration.samples) for kind in ("mask", "boxes")):
            masks = ipywidgets.Dropdown(options=list(raster.MASKS))
            self._add_look("masks", masks, lambda value: exploration.show(masks=value))
        samples = ipywidgets.Dropdown(options=[1, 4, 9])
        self._add_look("samples", samples, lambda value: exploration.show(samples=value))

    def _add_look(self, name: str, control: Any, change: Callable[[Any], object]) -> None:
        """Add a control of how the picture is shown; an input may have its name."""
        self.looks[name] = control
        self._add(f"{name} shown" if name in self.controls else name, control, change)

    def _add(self, name: str, control: Any, change: Callable[[Any], object]) -> None:
        control.description, control.style = name, STYLE
        control.observe(partial(self._changed, change), "value")
        self.controls[name] = control

    # ---------------------------------------------------------------------------------------------
    # what the controls call
    def _changed(self, change: Callable[[Any], object], event: Any) -> None:
        if not self._quiet:
            self._do(partial(change, event["new"]))

    def _do(self, change: Callable[[], object]) -> None:
        self.note.value = "working ..."
        try:
            note = change()
        except MedzooError as error:
            note = error.problem
        self.note.value = escape(note) if isinstance(note, str) else ""
        self._show()

    def _moved(self, value: float) -> None:
        self.exploration.move(self.number.value, value)

    def _chosen(self, name: str, label: str) -> None:
        self.exploration.set(name, self.exploration.choices[name][label])

    def _windowed(self, _: float) -> None:
        window = self.looks["level"].value, self.looks["window"].value
        self.exploration.show(window=window)

    def _cut(self, _: int) -> None:
        self.exploration.show(sections=tuple(self.looks[plane].value for plane in PLANES))

    def _find(self) -> None:
        self.exploration.find_directions(progress=False)
        self.buttons.pop("find directions")
        self._build_sliders()

    def _save(self) -> str:
        path = self.exploration.save()
        return f"saved {path} and {path.with_suffix('.json').name}"

    # ---------------------------------------------------------------------------------------------
    # showing
    def _show(self) -> None:
        """Set picture and controls to the state, without running what the controls call."""
        exploration, state = self.exploration, self.exploration.state
        longest = max(exploration.pixels().shape[:2])
        pixels = exploration.pixels(max(1, round(SIDE / longest)))
        self.image.value = raster.png_of(pixels)
        first = title(exploration.samples, 0) if len(exploration.samples) == 1 else ""
        origin = source(exploration.samples.provenance)
        lines = filter(None, (first, origin, "synthetic, not for diagnosis"))
        line = f"<code>{escape(exploration.python())}</code>"
        self.text.value = "<br>".join([*map(escape, lines), line])
        self._quiet = True
        try:
            for slider, direction in zip(
                self.directions, exploration.directions or [], strict=False
            ):
                slider.value = _within(direction.position(state.latents))
            if state.latents.size:
                self.latent.value = _within(float(state.latents[self.number.value]))
            for name, values in exploration.choices.items():
                labels = {value: label for label, value in values.items()}
                self.controls[name].value = labels[state.inputs[name]]
            for name in exploration.ranges:
                self.controls[name].value = state.inputs[name]
            for name in {"masks", "samples"} & self.looks.keys():
                self.looks[name].value = getattr(exploration.look, name)
            self.controls["seed"].value = str(state.seed)
            self.controls["A to B"].disabled = exploration.marked != {"A", "B"}
        finally:
            self._quiet = False


def _latent_slider(name: str) -> Any:
    return ipywidgets.FloatSlider(
        min=-REACH, max=REACH, step=0.05, description=name, style=STYLE, readout_format="+.2f"
    )


def _within(value: float) -> float:
    return min(max(value, -REACH), REACH)


def _whole(text: str) -> int:
    """A typed seed.

    Raises
    ------
    InputError
        It is not a number.
    """
    if not text.strip().isdecimal():
        raise InputError(f"{text!r} is not a valid seed: give a whole number from 0 to 2**64 - 1.")
    return int(text)
