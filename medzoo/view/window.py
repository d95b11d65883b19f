"""A window with sliders if there is a display; otherwise a grid of samples."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from .. import checks, files
from ..config import ModelConfig
from ..errors import DatasetError, InputError
from ..generation.api import load
from ..generation.model import Model
from ..plugins import plugin
from ..registry import resolve
from ..samples.pictures import grid
from ..samples.raster import check_choice
from ..samples.shown import picture_column
from ..seeds import check_seed
from .directions import directions_if_quick
from .explorer import Explorer

if TYPE_CHECKING:
    from .notebook import NotebookExplorer

GRID = 16  # samples
UIS = ("window", "notebook", "web")
# matplotlib's backend -> the toolkit that it needs, and what brings it
TOOLKITS = {
    "tkagg": ("tkinter", "the system's package python3-tk, or Python from python.org"),
    "qtagg": ("Qt", "`pip install PyQt6`"),
    "qt5agg": ("Qt 5", "`pip install PyQt5`"),
    "gtk3agg": ("GTK", "`pip install PyGObject`"),
    "gtk4agg": ("GTK", "`pip install PyGObject`"),
    "wxagg": ("wxWidgets", "`pip install wxPython`"),
}
# matplotlib's backends without a window
TO_FILES = {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}


@checks.checked(seed=checks.optional(checks.seed))
def visualize(
    model_id: int | str | os.PathLike[str],
    *,
    ui: str | None = None,
    version: str | None = None,
    device: str = "auto",
    seed: int | None = 0,
    save: str | os.PathLike[str] | None = None,
    env: str = "auto",
    trust: bool = False,
    sandbox: str = "auto",
) -> Explorer | NotebookExplorer | Figure | Path:
    """Explore a model with sliders for its latent vector, its condition, its options and the seed.

    The first sliders are the leading directions of what the latents do to the picture, such as
    brightness, size or texture. They are found with 350 samples the first time, before the window
    opens if that takes less than half a minute, and kept in medzoo's cache.

    Without a display, a grid of 16 samples is written to ``medzoo_8_seed0.png`` in the current
    folder, and its path is printed. A notebook without ipywidgets shows the grid.

    Parameters
    ----------
    model_id : int, str or os.PathLike
        Number, id, unique beginning of an id, or path of a package folder: ``8``, ``"00008"``,
        ``"mine/"``.
    ui : str, optional
        ``"window"`` for a window of matplotlib, ``"notebook"`` for the controls of ipywidgets in a
        notebook, ``"web"`` for a page in a browser of this machine. If None, it is chosen by where
        the code runs; the page is chosen if there is a screen but no toolkit for windows.
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
    sandbox : str, optional
        See `medzoo.load`.

    Returns
    -------
    Explorer
        The explorer in the window. A script waits until the window is closed.
    medzoo.view.notebook.NotebookExplorer
        The explorer in a notebook, which shows it.
    medzoo.web.own.WebExplorer
        The explorer in a browser, with its ``address``. A script waits until the page is closed.
    pathlib.Path
        The picture file of the grid, if there is no display or ``save`` was given.
    matplotlib.figure.Figure
        The grid, in a notebook.

    Raises
    ------
    InputError
        The model makes no pictures, the seed is not valid, the name in ``save`` does not end like
        a picture file, or what ``ui`` needs is not installed.
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
    if ui is not None:
        check_choice(ui, "ui", UIS)
    backend = matplotlib.get_backend().lower()
    face = None if save is not None else _face(ui, backend)
    if face is not None:
        model = load(
            model_id, version=version, device=device, env=env, trust=trust, sandbox=sandbox
        )
        try:
            directions_if_quick(model)
            return _shown(face, model, seed)
        except BaseException:
            model.close()
            raise
    inline = save is None and (in_notebook() or "inline" in backend)
    path = None if inline else _target(config, seed, save)
    with load(
        model_id, version=version, device=device, env=env, trust=trust, sandbox=sandbox
    ) as model:
        figure = grid(model.generate(GRID, seed=seed), GRID)
    if path is None:
        print(
            "Sliders in a notebook need ipywidgets: `pip install ipywidgets`. "
            "Here is a grid without sliders. `%matplotlib widget` (ipympl) shows both."
        )
        return figure
    _write(figure, path)
    start = f"{why_no_window(backend)}, so no sliders: a" if save is None else "A"
    print(f"{start} grid of {GRID} samples of {config.id} is in {path}")
    return path


def _shown(face: str, model: Model, seed: int) -> Explorer | NotebookExplorer:
    explorer: Explorer | NotebookExplorer = plugin("face", face)(model, seed)
    return explorer


def _face(ui: str | None, backend: str) -> str | None:
    """The face to use; None if a grid of samples must do.

    Raises
    ------
    InputError
        The user asked for a face that cannot be shown here.
    """
    if ui == "notebook" or (ui is None and in_notebook()):
        if find_spec("ipywidgets") is not None:
            return "notebook"
        if ui is None and not has_display(backend):
            return None
        if ui == "notebook":
            raise InputError(
                "The controls in a notebook need ipywidgets, which is not installed.",
                "`pip install ipywidgets`, or `pip install 'medzoo[notebook]'`, brings it.",
            )
    if ui == "web" and find_spec("nicegui") is None:
        raise InputError(
            "The explorer in a browser needs NiceGUI, which is not installed.",
            "`pip install 'medzoo[web]'` brings it.",
        )
    if ui == "web":
        return "web"
    if has_display(backend):
        return "window"
    if ui == "window":
        raise InputError(
            f"No window can be opened. {why_no_window(backend)}.",
            "`save` writes a grid to a file instead.",
        )
    return "web" if has_screen() and find_spec("nicegui") is not None else None


def has_screen() -> bool:
    """Whether there is a desktop, on which a browser can open."""
    return sys.platform in {"win32", "darwin"} or any(
        map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))
    )


def in_notebook() -> bool:
    """Whether the code runs in a kernel of Jupyter, and not in a script or a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def why_no_window(backend: str) -> str:
    """Why matplotlib cannot open a window here; a missing toolkit with what brings it."""
    if not has_screen():
        return "No display"
    chosen = os.environ.get("MPLBACKEND", "").lower()
    if chosen and chosen in TO_FILES:
        return f"MPLBACKEND={chosen} draws into files only"
    if backend in TOOLKITS:
        toolkit, source = TOOLKITS[backend]
        return f"The toolkit {toolkit} is missing, which {source} brings"
    return "No toolkit for windows is installed (`pip install PyQt6` brings one)"


def open_notebook(model: Model, seed: int) -> NotebookExplorer:
    """Show the controls in a notebook."""
    from IPython.display import display

    from .notebook import NotebookExplorer

    explorer = NotebookExplorer(model, seed=seed)
    display(explorer.box)
    return explorer


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
