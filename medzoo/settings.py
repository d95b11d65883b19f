"""Settings, read from the environment when they are asked for, never at import.

===================  =====================================================================
``MEDZOO_CACHE``     folder for downloads, unpacked packages and environments (default: the platform's cache folder)
``MEDZOO_MIRROR``    folders or addresses that hold RECORD/FILE, in order, separated by commas; asked before Zenodo
``MEDZOO_ZENODO``    another Zenodo, such as https://sandbox.zenodo.org (default: https://zenodo.org)
``MEDZOO_REGISTRY``  address, or zip on this disk, that `medzoo update` takes newer model configs from
``MEDZOO_MODEL_CONFIGS``   further folders of model configs, separated as in ``PATH``
``MEDZOO_OFFLINE``   1: nothing is fetched; what is not in the cache is an error
``MEDZOO_QUIET``     1: no progress bars, no notices
``MEDZOO_TIMEOUT``   seconds that a model's process has to load, and for each batch (default: 14400, four hours)
``MEDZOO_TORCH_BACKEND``   the build of torch in models' environments: auto (default), cpu, cu128 ..., index
===================  =====================================================================
"""

from __future__ import annotations

import os
import reprlib
import sys
import warnings
from pathlib import Path
from typing import Any

import platformdirs

from .errors import InputError

LONGEST_NAME = 255  # bytes of a file's name, on every usual file system
# of the caller's environment: what a program needs that we start in a clean one; no secrets
SYSTEM_VARIABLES = {
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TZ",
    "LD_LIBRARY_PATH",
    "XDG_CACHE_HOME",
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "WINDIR",
    "COMSPEC",
    "PATHEXT",
    "USERPROFILE",
    "APPDATA",
    "LOCALAPPDATA",
    "PROGRAMDATA",
}


def cache_folder() -> Path:
    """Where medzoo keeps what it unpacked; not created by asking."""
    given = os.environ.get("MEDZOO_CACHE")
    return (
        user_path(given).absolute()
        if given
        else Path(platformdirs.user_cache_dir("medzoo", appauthor=False))
    )


def config_folders() -> list[Path]:
    """Folders that hold model configs: the shipped one first, then the user's."""
    more = os.environ.get("MEDZOO_MODEL_CONFIGS", "")
    return [
        shipped("model_configs"),
        *(user_path(p).absolute() for p in more.split(os.pathsep) if p),
    ]


def user_path(given: str | os.PathLike[str], name: str = "the path") -> Path:
    """A path as a user types it, with ``~`` understood.

    Raises
    ------
    InputError
        It is not a path, or holds characters that a path cannot have.
    """
    text = os.fspath(given) if isinstance(given, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise InputError(
            f"{name}={_short(given)} is not a valid path.", "Give a text or a pathlib.Path."
        )
    if why := _why_not_a_path(text):
        raise InputError(f"{name}={_short(given)} is not a valid path: {why}.", "Give another.")
    try:
        return Path(given).expanduser()
    except RuntimeError:  # "~" of a user that this machine does not know: a file may be called so
        return Path(given)


def _why_not_a_path(text: str) -> str:
    """Why no file system can hold a path of this text; empty if one can."""
    parts = text.replace("\\", "/").split("/")
    try:
        longest = max(len(os.fsencode(part)) for part in parts)
    except UnicodeError:
        return "it holds half of a surrogate pair"
    if "\0" in text:
        return "it holds a NUL character"
    return f"a name in it is longer than {LONGEST_NAME} bytes" if longest > LONGEST_NAME else ""


def _short(value: object) -> str:
    try:
        return " ".join(reprlib.repr(value).split())
    except ValueError:  # a number too long to write out
        return type(value).__name__


def shipped(name: str) -> Path:
    """A folder that comes with medzoo: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return package / name if (package / name).is_dir() else package.parent / name


def quiet() -> bool:
    """Whether ``MEDZOO_QUIET`` asks for silence."""
    return _is_on("MEDZOO_QUIET")


def offline() -> bool:
    """Whether ``MEDZOO_OFFLINE`` forbids to fetch anything."""
    return _is_on("MEDZOO_OFFLINE")


def mirrors() -> list[str]:
    """Folders and addresses that are asked before the source itself, in order."""
    return [m.strip() for m in os.environ.get("MEDZOO_MIRROR", "").split(",") if m.strip()]


def zenodo() -> str:
    """The address of Zenodo, without a slash at its end."""
    return (os.environ.get("MEDZOO_ZENODO", "").strip() or "https://zenodo.org").rstrip("/")


def registry() -> str:
    """The address of a zip with the newest model configs, or its path on this machine."""
    return (
        os.environ.get("MEDZOO_REGISTRY", "").strip()
        or "https://github.com/medzoo/medzoo/archive/refs/heads/main.zip"
    )


def timeout() -> float:
    """Seconds that a model's process has to load, and for each batch.

    Raises
    ------
    InputError
        ``MEDZOO_TIMEOUT`` is not a number of seconds.
    """
    given = os.environ.get("MEDZOO_TIMEOUT", "").strip() or "14400"
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 10**7:
        raise InputError(
            f"MEDZOO_TIMEOUT={given!r} is not a number of seconds.",
            "Give one above 0, such as 600.",
        )
    return seconds


def torch_backend() -> str:
    """The build of torch that environments get, as uv names it: ``auto``, ``cpu``, ``cu128`` ...,
    or ``index``.
    """
    return os.environ.get("MEDZOO_TORCH_BACKEND") or os.environ.get("UV_TORCH_BACKEND") or "auto"


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() not in {"", "0", "false", "no"}


def show_progress(asked: bool | None) -> bool:
    """Whether to draw progress bars: as asked, else only for a person at a terminal, a notebook or
    the console of an IDE.
    """
    if asked is not None:
        return asked
    if quiet() or sys.stderr is None:
        return False
    return sys.stderr.isatty() or in_notebook() or "PYCHARM_HOSTED" in os.environ


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook: Jupyter, VS Code, Spyder, Colab ..."""
    python = sys.modules.get("IPython")
    shell = python.get_ipython() if python is not None else None
    return shell is not None and "IPKernelApp" in shell.config


def progress_bar() -> Any:
    """The class of tqdm that suits the place: text, or a widget in a notebook that has them."""
    with warnings.catch_warnings():
        # Of a notebook without ipywidgets: text does as well there.
        warnings.filterwarnings("ignore", module="tqdm")
        warnings.filterwarnings("ignore", message="IProgress not found")
        from tqdm.auto import tqdm
    return tqdm
