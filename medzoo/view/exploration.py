"""The explorer without a face: one state, one method that renders it, and what a user can do.

A window, a notebook and a web page show the same `Exploration`. They call its methods, and then
show `samples` or `pixels()` and the values of the state.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks, files, seeds
from ..errors import DatasetError, InputError
from ..generation.model import Model
from ..registry import is_local
from ..samples import Samples, raster, shown
from .directions import Direction, cached_directions, directions_of
from .drawing import mask_input
from .inputs import choices_of, first_inputs, ranges_of

REACH = 3.0  # end of a latent's slider; 99.7 % of standard normal numbers are within
UNDO = 100  # states that can be undone
MOST_BESIDE = 16  # samples side by side

Vector = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class State:
    """What a picture depends on. The picture is sample 0 of the seed with these latents.

    The model's own noise belongs to the seed and the sample, so it does not change with the
    latents.

    Parameters
    ----------
    seed
        0 to 2**64 - 1.
    latents
        Shape (latent size,), float32.
    inputs
        Condition or option -> its value.
    mask
        What a user drew, in the shape of the model's input, uint8; None for the model's own masks.
    """

    seed: int
    latents: Vector
    inputs: Mapping[str, Any]
    mask: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Look:
    """How a picture is shown; this does not change its values.

    Parameters
    ----------
    window
        Centre and width of the values that are shown; the column's own if None.
    sections
        Number of the section of a volume in each plane; the middle one if None.
    masks
        ``"outline"``, ``"beside"`` or ``"none"``.
    samples
        Samples side by side. All but the first are further samples of the seed, moved as far from
        their own latents as the first one.
    """

    window: tuple[float, float] | None = None
    sections: tuple[int | None, int | None, int | None] = (None, None, None)
    masks: str = "outline"
    samples: int = 1


@dataclass
class Exploration:
    """A picture that a model makes, and everything that it depends on.

    Parameters
    ----------
    model : Model
        A loaded model that makes images, volumes or masks.
    seed : int, optional
        The seed to start from.

    Attributes
    ----------
    state : State
        What the picture depends on.
    look : Look
        How it is shown.
    samples : Samples
        The samples of the state.
    mask_input : Input or None
        The input that takes a mask; None if the model has none.
    directions : list of Direction or None
        Leading directions; None until `find_directions` is called, if they are not in the cache.

    Raises
    ------
    InputError
        The model makes no pictures, or needs pictures of the user.
    """

    model: Model
    seed: int = 0
    look: Look = field(default_factory=Look)

    def __post_init__(self) -> None:
        version = self.model.version
        self.column = shown.picture_column(version.outputs)
        self.choices, self.ranges = choices_of(version), ranges_of(version)
        self.mask_input = mask_input(version)
        self.directions: list[Direction] | None = cached_directions(self.model)
        self._before: list[State] = []
        self._ends: dict[str, Vector] = {}
        self.samples: Samples
        seed = seeds.check_seed(self.seed)
        self.state = State(seed, self.own_latents(seed), first_inputs(version))
        self.render()

    # ---------------------------------------------------------------------------------------------
    # the picture
    def render(self) -> Samples:
        """Make the samples of the state."""
        self.samples = self.model.generate(self.look.samples, progress=False, **self.arguments)
        return self.samples

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `Model.generate` for what is shown, besides their number."""
        state, n = self.state, self.look.samples
        arguments: dict[str, Any] = {"seed": state.seed}
        if state.latents.size:
            own = self.own_latents(state.seed, n)
            rows = own + (state.latents - own[0])
            rows[0] = state.latents  # exactly
            arguments["latents"] = rows
        if state.mask is not None:
            arguments["inputs"] = {self._mask_name: np.repeat(state.mask[None], n, axis=0)}
        return {**arguments, **state.inputs}

    def pixels(self, scale: int = 1) -> NDArray[np.uint8]:
        """The samples as they are shown: (H, W) gray or (H, W, 3), 8 bits."""
        tiles = []
        for row in range(len(self.samples)):
            tiles.append(
                raster.planes(
                    self.samples,
                    row,
                    at=self.look.sections,
                    window=self.look.window,
                    masks=self.look.masks,
                    scale=scale,
                )
            )
        if len(tiles) == 1:
            return tiles[0]
        return raster.sheet_of(tiles, int(np.ceil(len(tiles) ** 0.5)))

    def own_latents(self, seed: int, n: int | None = None) -> Vector:
        """The latents of sample 0 of a seed, or of its first ``n`` samples, (n, latent size)."""
        rows = seeds.latents(seed, range(n or 1), self.model.version.settable_latents)
        return rows[0] if n is None else rows

    @property
    def value_range(self) -> tuple[float, float] | None:
        """The values between which a window makes sense: those of HU or of 16 bits, else None."""
        output = self.model.version.outputs[self.column]
        wide = output.kind != "mask" and output.dtype in {"int16", "uint16"}
        if not wide and output.unit != "HU":
            return None
        if output.value_range is not None:
            return output.value_range
        values = self.samples.columns[self.column][:]
        return float(values.min()), float(max(values.max(), values.min() + 1))

    @property
    def sizes(self) -> dict[str, int]:
        """The number of sections of a volume in each plane; empty for a picture."""
        shape = self.samples.outputs[self.column].shape
        return dict(zip(shown.PLANES, shape[1:], strict=True)) if len(shape) == 4 else {}

    # ---------------------------------------------------------------------------------------------
    # what a user does
    def move(self, latent: int, value: float) -> None:
        """Set one number of the latent vector.

        Raises
        ------
        InputError
            There is no such latent, or the value is not finite.
        """
        size = self.state.latents.size
        if not size:
            raise InputError(f"{self.model.config.id} has no latents.", "Choose another seed.")
        number = checks.whole(latent, "latent", "the number of a latent", 0, size - 1)
        latents = self.state.latents.copy()
        latents[number] = checks.number(value, "value")
        self._go(replace(self.state, latents=latents))

    def slide(self, direction: int, position: float) -> None:
        """Move along a leading direction to a position on it."""
        found = self.find_directions()[direction]
        moved = found.moved(self.state.latents, checks.number(position, "position"))
        self._go(replace(self.state, latents=moved))

    def set(self, name: str, value: Any) -> None:
        """Set a condition or an option.

        Raises
        ------
        InputError
            The model has no such input, or does not take this value. The state stays as it was.
        """
        self._go(replace(self.state, inputs={**self.state.inputs, name: value}))

    def go_to(self, seed: int) -> None:
        """Take the latents and the noise of another seed; condition and options stay."""
        seed = seeds.check_seed(seed)
        self._go(replace(self.state, seed=seed, latents=self.own_latents(seed)))

    def paint(self, mask: NDArray[Any] | None) -> None:
        """Have the model paint a mask; None goes back to the model's own masks.

        Parameters
        ----------
        mask
            Whole numbers from 0 to 255, in the shape of the model's input, such as (1, H, W).

        Raises
        ------
        InputError
            The model takes no mask, or this one does not fit. The state stays as it was.
        """
        if mask is None:
            self._go(replace(self.state, mask=None))
            return
        if self.mask_input is None:
            raise InputError(f"{self.model.config.id} takes no mask.")
        values = np.asarray(mask)
        fits = values.shape == self.mask_input.shape and values.dtype.kind in "biu"
        if not fits or values.min() < 0 or values.max() > 255:
            raise InputError(
                "The mask does not fit.",
                f"Give whole numbers from 0 to 255 of shape {self.mask_input.shape}.",
            )
        self._go(replace(self.state, mask=values.astype(np.uint8)))

    def mask_shown(self) -> NDArray[np.uint8]:
        """The mask of the first sample, in the shape that `paint` takes.

        Raises
        ------
        InputError
            The model takes no mask, or does not say which one its sample has.
        """
        if self._mask_name not in self.samples.columns:
            raise InputError(f"{self.model.config.id} has no mask to begin with.")
        return np.asarray(self.samples.columns[self._mask_name][0]).astype(np.uint8)

    @property
    def _mask_name(self) -> str:
        return self.mask_input.name if self.mask_input is not None else ""

    def random(self) -> None:
        """Go to a fresh seed."""
        self.go_to(int.from_bytes(np.random.default_rng().bytes(4), "little"))

    def reset(self) -> None:
        """Go back to the seed's own latents, the first condition and the default options."""
        seed = self.state.seed
        self._go(State(seed, self.own_latents(seed), first_inputs(self.model.version)))

    def undo(self) -> bool:
        """Go back to the state before the last change; returns whether there is one."""
        if not self._before:
            return False
        self._render_as(self._before[-1], self.look)
        self._before.pop()
        return True

    def mark(self, end: str) -> None:
        """Remember the latents of the state as an end, ``"A"`` or ``"B"``."""
        self._ends[raster.check_choice(end, "end", ("A", "B"))] = self.state.latents

    @property
    def marked(self) -> frozenset[str]:
        """The ends that are marked."""
        return frozenset(self._ends)

    def between(self, share: float) -> None:
        """Go to latents between A (0) and B (1).

        Raises
        ------
        InputError
            An end is not marked, or ``share`` is not between 0 and 1.
        """
        missing = {"A", "B"} - self.marked
        if missing:
            raise InputError(f"{' and '.join(sorted(missing))} is not marked.", "Mark A and B.")
        share = checks.between(share, "share", 0.0, 1.0)
        latents = between(self._ends["A"], self._ends["B"], share)
        self._go(replace(self.state, latents=latents))

    def show(self, **changes: Any) -> None:
        """Change the look: ``window``, ``sections``, ``masks`` or ``samples``.

        Raises
        ------
        InputError
            A value is not valid, or these samples cannot be made. The look stays as it was.
        """
        look = replace(self.look, **changes)
        raster.check_choice(look.masks, "masks", raster.MASKS)
        checks.whole(look.samples, "samples", "a number of samples", 1, MOST_BESIDE)
        if look.window is not None:
            look = replace(look, window=_checked_window(look.window))
        sections = checks.several(checks.anything, len(shown.PLANES))(look.sections, "sections")
        for number, size in zip(sections, self.sizes.values(), strict=False):
            if number is not None:
                checks.whole(number, "section", "the number of a section", 0, size - 1)
        if look.samples == self.look.samples:
            self.look = look
        else:
            self._render_as(self.state, look)

    def find_directions(self, *, progress: bool | None = None) -> list[Direction]:
        """The leading directions; the first time for a model version they are found now."""
        if self.directions is None:
            self.directions = directions_of(self.model, progress=progress)
        return self.directions

    def _go(self, state: State) -> None:
        """Go to a state and render it; if that fails, nothing has changed."""
        before = self.state
        self._render_as(state, self.look)
        self._before = [*self._before[1 - UNDO :], before]

    def _render_as(self, state: State, look: Look) -> None:
        """Make the samples of a state and a look; if that fails, both stay what they were."""
        before = self.state, self.look
        self.state, self.look = state, look
        try:
            self.render()
        except BaseException:
            self.state, self.look = before
            raise

    # ---------------------------------------------------------------------------------------------
    # saving
    @property
    def recipe(self) -> dict[str, Any]:
        """The arguments of `medzoo.generate` for what is shown, as JSON can hold them."""
        config, version = self.model.config, self.model.version
        local = is_local(config)
        recipe: dict[str, Any] = {
            "model_id": str(config.path.parent.resolve()) if local else config.id,
            "n": self.look.samples,
            "version": version.name,
        }
        execution = self.model.execution
        if local or (execution is not None and execution.trust):
            recipe["trust"] = True
        if execution is not None and execution.weights is not None:
            recipe["weights"] = str(execution.weights)
        if execution is not None and execution.precision != "full":
            recipe["precision"] = execution.precision
        arguments = self.arguments
        if "latents" in arguments:
            own = self.own_latents(self.state.seed)
            if np.array_equal(own, self.state.latents):
                del arguments["latents"]
            else:
                arguments["latents"] = arguments["latents"].astype(float).tolist()
        if "inputs" in arguments:
            arguments["inputs"] = {self._mask_name: f"{self.stem}_mask.npy"}
        return {**recipe, **arguments}

    def python(self, path: Path | None = None) -> str:
        """The line of Python that makes what is shown.

        Latents that were moved, and a mask that was drawn, are read from the saved state ``path``.
        """
        recipe = self.recipe
        if not {"latents", "inputs"} & recipe.keys():
            model = recipe.pop("model_id")
            named = ", ".join(f"{name}={value!r}" for name, value in recipe.items())
            return f"samples = medzoo.generate({model!r}, {named})"
        name = str(path) if path is not None else "state.json"
        return (
            "import json, pathlib; samples = medzoo.generate("
            f"**json.loads(pathlib.Path({name!r}).read_text())['arguments'])"
        )

    def save(self, folder: Path | None = None) -> Path:
        """Write the picture as it is shown, and the state beside it as JSON; a drawn mask as NPY.

        The JSON has the arguments of `medzoo.generate`, the look, and the line of Python that makes
        the samples again.

        Returns
        -------
        pathlib.Path
            The PNG, ``medzoo_8_seed0_1.png`` or with the next number that is free.

        Raises
        ------
        DatasetError
            The files cannot be written.
        """
        path = _free_path((folder or Path()) / self.stem)
        try:
            for target, content in self.contents(path).items():
                with files.atomic(target) as file:
                    file.write(content)
        except OSError as error:
            why = error.strerror or str(error)
            raise DatasetError(f"{path} could not be written: {why}.") from error
        return path

    @property
    def stem(self) -> str:
        """How the names of saved files begin."""
        return f"medzoo_{self.model.config.number}_seed{self.state.seed}"

    def contents(self, path: Path) -> dict[Path, bytes]:
        """What `save` writes: the picture ``path``, and the state beside it."""
        state, mask = path.with_suffix(".json"), path.with_name(f"{path.stem}_mask.npy")
        recipe, contents = self.recipe, {}
        if "inputs" in recipe:
            recipe["inputs"] = {self._mask_name: str(mask)}
            buffer = io.BytesIO()
            np.save(buffer, self.arguments["inputs"][self._mask_name])
            contents[mask] = buffer.getvalue()
        saved = {
            "medzoo": "state of the explorer",
            "arguments": recipe,
            "look": {
                "window": self.look.window,
                "sections": self.look.sections,
                "masks": self.look.masks,
            },
            "python": self.python(state),
            "synthetic": "not for diagnosis",
        }
        metadata: dict[str, Any] = {"synthetic": True}
        for key in ("model", "version", "seed", "license"):
            metadata[key] = self.samples.provenance[key]
        picture = raster.png_of(self.pixels(), {"medzoo": json.dumps(metadata)})
        return {**contents, state: files.json_bytes(saved), path: picture}


def _checked_window(window: Any) -> tuple[float, float]:
    """The centre and the width of the values that are shown."""
    centre, width = checks.several(checks.number, 2)(window, "window")
    if centre is None or width is None or not width > 0:
        raise InputError(
            f"window={checks.shown(window)} is not possible.",
            "Give the centre and the width of the values that are shown; the width is above 0.",
        )
    return centre, width


def between(a: Vector, b: Vector, share: float) -> Vector:
    """Latents between two others, at ``share`` of the way from 0 to 1.

    They are on an arc, and their length goes evenly from that of one end to that of the other. On a
    straight line the middle would be shorter than almost any latents that a model has seen.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(x), np.linalg.norm(y)
    if share in {0.0, 1.0} or not min(lengths):
        mixed = (1 - share) * x + share * y
    else:
        cosine = float(np.clip(x @ y / (lengths[0] * lengths[1]), -1, 1))
        angle = float(np.arccos(cosine))
        if np.sin(angle) < 1e-6:  # the same direction, or opposite ones, which have no arc
            mixed = (1 - share) * x + share * y
        else:
            parts = np.sin((1 - share) * angle), np.sin(share * angle)
            unit = (parts[0] * x / lengths[0] + parts[1] * y / lengths[1]) / np.sin(angle)
            mixed = unit * ((1 - share) * lengths[0] + share * lengths[1])
    latents: Vector = mixed.astype(np.float32)
    return latents


def _free_path(stem: Path) -> Path:
    """The first of ``stem_1.png``, ``stem_2.png`` ... that exists neither as .png nor as .json."""
    for number in count(1):
        path = stem.with_name(f"{stem.name}_{number}.png")
        if not path.exists() and not path.with_suffix(".json").exists():
            break
    return path
