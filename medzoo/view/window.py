"""A window with sliders if there is a display; otherwise a grid of samples."""

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
from ..samples.pictures import grid
from ..samples.shown import picture_column
from ..seeds import check_seed
from .explorer import Explorer

GRID = 16  # samples
# matplotlib's backends without a window
TO_FILES = {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}


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
    """Explore a model with sliders for its latent vector, its condition, its options and the seed.

    Without a display, a grid of 16 samples is written to ``medzoo_8_seed0.png`` in the current
    folder, and its path is printed. A notebook that shows figures as fixed pictures shows the
    grid.

    Parameters
    ----------
    model_id : int, str or os.PathLike
        Number, id, unique beginning of an id, or path of a package folder: ``8``, ``"00008"``,
        ``"mine/"``.
    version : str, optional
        Version of the model. Its default version if None.
    device : str, optional
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``. "auto" by default.
    seed : int, optional
        The seed to start from, 0 to 2**64 - 1. 0 by default, a random one if None.
    save : str or os.PathLike, optional
        Write the grid to this picture file (.png, .pdf, .svg) and open no window. A file that
        exists is replaced.
    env : str, optional
        ``"auto"``, ``"current"`` or ``"isolated"``: the environment in which the code of the
        model runs; see `medzoo.load`. "auto" by default.
    trust : bool, optional
        Allow a package that no registry lists, or weights that can run any code. False by default.

    Returns
    -------
    Explorer
        The explorer in the window. A script waits until the window is closed.
    pathlib.Path
        The picture file of the grid, if there is no display or ``save`` was given.
    matplotlib.figure.Figure
        The grid, in a notebook.

    Raises
    ------
    InputError
        The model makes no pictures, the seed is not valid, or the name in ``save`` does not end
        like a picture file.
    DatasetError
        The grid cannot be written, or the file exists and ``save`` was not given.
    MedzooError
        Any error of `medzoo.load`.

    Examples
    --------
    >>> medzoo.visualize(8, save="grid.png")
    A grid of 16 samples of 00008_C-DCGAN_MMG_MASSES is in grid.png
    PosixPath('grid.png')

    With a display, ``medzoo.visualize(8)`` returns the explorer: ``explorer.latents.shape`` is
    ``(512,)``.
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
            "This notebook shows figures as fixed pictures, so here is a grid without sliders. "
            "`%matplotlib widget` (ipympl) shows both."
        )
        return figure
    _write(figure, path)
    start = "No display, so no sliders: a" if save is None else "A"
    print(f"{start} grid of {GRID} samples of {config.id} is in {path}")
    return path


def has_display(backend: str) -> bool:
    """Whether a matplotlib backend draws into windows, and can do so here."""
    if backend in TO_FILES or "inline" in backend:
        return False
    try:
        plt.switch_backend(backend)  # the one in use, perhaps not loaded yet
    except ImportError:
        # Its toolkit is missing, or it has no display (DISPLAY, WAYLAND_DISPLAY).
        return False
    return True


def open_window(model: Model, seed: int) -> Explorer:
    """Show the sliders. If no event loop is running yet, wait until the window is closed."""
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
    endings = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in endings:
        raise InputError(
            f"save={str(path)!r} is not a picture file.",
            f"The name must end in one of {', '.join(endings)}.",
        )
    return path


def _write(figure: Figure, path: Path) -> None:
    kind = path.suffix.lower().removeprefix(".")
    comment = "Synthetic images, made by a generative model. Not for diagnosis."
    metadata = {"Comment": comment} if kind == "png" else None  # other formats have other keys
    try:
        with files.atomic(path) as file:
            figure.savefig(file, format=kind, metadata=metadata)
    except OSError as error:
        why = error.strerror or str(error)
        raise DatasetError(
            f"{path} could not be written: {why}.", "Choose another place by `save`."
        ) from error
