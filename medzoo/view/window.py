"""A window with sliders where there is a display; a grid of samples where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from .. import checks, files
from ..config import ModelConfig
from ..errors import DatasetError, InputError
from ..generation.api import load
from ..generation.model import Model
from ..registry import resolve
from ..samples.pictures import grid, picture_column
from ..seeds import check_seed
from .explorer import Explorer

GRID = 16  # samples
TO_FILES = {
    "agg",
    "cairo",
    "pdf",
    "pgf",
    "ps",
    "svg",
    "template",
}  # matplotlib's backends without a window


@checks.checked(seed=checks.optional(checks.seed))
def visualize(
    model_id: int | str | os.PathLike[str],
    *,
    version: str | None = None,
    device: str = "auto",
    seed: int | None = 0,
    save: str | os.PathLike[str] | None = None,
    env: str = "auto",
    trust: bool = False,
) -> Explorer | Figure | Path:
    """Explore a model by sliders over its latent vector, its condition, its options and the seed.

    Without a display a grid of 16 samples is written instead, to ``medzoo_8_seed0.png`` in the
    current folder, and its path is printed; a notebook whose figures are still pictures shows the
    grid.

    Parameters
    ----------
    model_id, version, device, env, trust
        See `medzoo.load`.
    seed
        The seed to start from; a fresh one if None.
    save
        A picture file (.png, .pdf, .svg) for the grid, replaced if it is there; no window is opened
        then.

    Returns
    -------
    Explorer
        Of the window. A script waits until it is closed.
    pathlib.Path
        Of the grid, if there is no display or ``save`` was given.
    matplotlib.figure.Figure
        The grid, in a notebook.

    Raises
    ------
    InputError
        The model makes no pictures, the seed is none, or ``save`` has the ending of no picture
        format.
    DatasetError
        The grid cannot be written, or without ``save`` would replace a file.
    MedzooError
        Whatever `medzoo.load` raises.

    Examples
    --------
    >>> explorer = medzoo.visualize(8)
    >>> explorer.latents.shape
    (512,)
    """
    config = resolve(model_id)
    picture_column(config.version(version).outputs)
    seed = check_seed(seed)
    backend = matplotlib.get_backend().lower()
    if save is None and has_display(backend):
        return open_window(
            load(model_id, version=version, device=device, env=env, trust=trust), seed
        )
    inline = save is None and "inline" in backend
    path = None if inline else _target(config, seed, save)
    with load(model_id, version=version, device=device, env=env, trust=trust) as model:
        figure = grid(model.generate(GRID, seed=seed), GRID)
    if path is None:
        print(
            "Figures of this notebook are still pictures: a grid instead of sliders. `%matplotlib widget` (ipympl) has both."
        )
        return figure
    _write(figure, path)
    print(
        f"{'No display, so no sliders: a' if save is None else 'A'} grid of {GRID} samples of {config.id} is in {path}"
    )
    return path


def has_display(backend: str) -> bool:
    """Whether a matplotlib backend draws into windows, and can do so here."""
    if backend in TO_FILES or "inline" in backend:
        return False
    try:
        plt.switch_backend(backend)  # the one in use, perhaps not loaded yet
    except (
        ImportError
    ):  # its toolkit is missing, or there is no display (DISPLAY, WAYLAND_DISPLAY) for it
        return False
    return True


def open_window(model: Model, seed: int) -> Explorer:
    """Show the sliders; where no toolkit's loop is running yet, until the window is closed."""
    figure = plt.figure()
    if figure.canvas.manager is not None:
        figure.canvas.manager.set_window_title(f"medzoo: {model.config.id}")
    explorer = Explorer(model, seed=seed, figure=figure)
    plt.show()
    return explorer


def _target(config: ModelConfig, seed: int, save: str | os.PathLike[str] | None) -> Path:
    if save is None:
        path = Path(f"medzoo_{config.number}_seed{seed}.png")
        if path.exists():
            hint = f"Remove it, or replace it by save={str(path)!r}."
            raise DatasetError(
                f"Without a display a grid would be written to {path}, which is there already.",
                hint,
            )
        return path
    path = Path(save).expanduser()
    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in known:
        raise InputError(
            f"save={str(path)!r} is not a picture file.",
            f"The name must end in one of {', '.join(known)}.",
        )
    return path


def _write(figure: Figure, path: Path) -> None:
    kind = path.suffix.lower().removeprefix(".")
    about = (
        {"Comment": "Synthetic images, made by a generative model. Not for diagnosis."}
        if kind == "png"
        else None
    )
    try:
        with files.atomic(path) as file:
            figure.savefig(file, format=kind, metadata=about)
    except OSError as error:
        why = error.strerror or str(error)
        raise DatasetError(
            f"{path} could not be written: {why}.", "Choose another place by `save`."
        ) from error
