"""Settings, read from the environment when they are asked for, never at import.

===================  =====================================================================
``MEDZOO_CACHE``     folder for unpacked packages (default: the platform's cache folder)
``MEDZOO_MODEL_CONFIGS``   further folders of model configs, separated as in ``PATH``
``MEDZOO_QUIET``     1: no progress bars, no notices
===================  =====================================================================
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import platformdirs

from .errors import InputError


def cache_folder() -> Path:
    """Where medzoo keeps what it unpacked; not created by asking."""
    given = os.environ.get("MEDZOO_CACHE")
    return user_path(given) if given else Path(platformdirs.user_cache_dir("medzoo", appauthor=False))


def config_folders() -> list[Path]:
    """Folders that hold model configs: the shipped one first, then the user's."""
    more = os.environ.get("MEDZOO_MODEL_CONFIGS", "")
    return [shipped("model_configs"), *(user_path(p) for p in more.split(os.pathsep) if p)]


def user_path(given: str | os.PathLike[str], name: str = "the path") -> Path:
    """A path as a user types it, with ``~`` understood.

    Raises
    ------
    InputError
        It is no path, or holds what no path can.
    """
    if not isinstance(given, (str, os.PathLike)) or "\0" in os.fspath(given):
        raise InputError(f"{name}={given!r} is no path.", "Give a text or a pathlib.Path.")
    try:
        return Path(given).expanduser()
    except RuntimeError:  # "~" of a user that this machine does not know: a file may be called so
        return Path(given)


def shipped(name: str) -> Path:
    """A folder that comes with medzoo: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return package / name if (package / name).is_dir() else package.parent / name


def quiet() -> bool:
    """Whether ``MEDZOO_QUIET`` asks for silence."""
    return os.environ.get("MEDZOO_QUIET", "").strip().lower() not in {"", "0", "false", "no"}


def show_progress(asked: bool | None) -> bool:
    """Whether to draw progress bars: as asked, else only for a person at a terminal."""
    if asked is not None:
        return asked
    return not quiet() and sys.stderr is not None and sys.stderr.isatty()
