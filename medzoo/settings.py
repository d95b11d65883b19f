"""Settings from environment variables. They are read when they are used, never at import.

===================  =====================================================================
``MEDZOO_CACHE``     folder for downloads, packages and environments (default: the platform's)
``MEDZOO_MIRROR``    folders or addresses with RECORD/FILE, by commas; tried in order before Zenodo
``MEDZOO_ZENODO``    another Zenodo, such as its sandbox (default: https://zenodo.org)
``MEDZOO_DEPOSITS``  another Zenodo to upload to, instead of zenodo.org and its sandbox
``MEDZOO_GITHUB``    the API of another GitHub for pull requests (default: https://api.github.com)
``MEDZOO_REGISTRY``  address, or zip on this disk, of the model configs for `medzoo update`
``MEDZOO_MODEL_CONFIGS``   further folders of model configs, separated as in ``PATH``
``HF_ENDPOINT``      another Hugging Face hub (default: https://huggingface.co)
``HF_TOKEN``         a token for gated or private repositories; sent to the hub alone
``MEDZOO_OFFLINE``   1: nothing is downloaded; a package that is not in the cache is an error
``MEDZOO_QUIET``     1: no progress bars, no notices
``MEDZOO_TIMEOUT``   seconds to load a model, and for each batch (default: 14400, four hours)
``MEDZOO_KEEP``      seconds that `medzoo.generate` keeps its model (default: 60; 0: not at all)
``MEDZOO_TORCH_BACKEND``   build of torch in environments: auto (default), cpu, cu128 ..., index
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
# Environment variables that are passed on to programs that medzoo starts. None holds a secret.
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
    """The folder for downloads, packages and environments. It may not exist yet."""
    folder = os.environ.get("MEDZOO_CACHE")
    if folder:
        return user_path(folder).absolute()
    try:
        usual = Path(platformdirs.user_cache_dir("medzoo", appauthor=False))
    except RuntimeError:  # of newer versions of platformdirs
        usual = Path()
    if not usual.is_absolute():  # this user has no home folder, as in some containers
        raise InputError(
            "There is no home folder, so medzoo does not know where its cache is.",
            "Name a folder for it in MEDZOO_CACHE.",
        )
    return usual


def config_folders() -> list[Path]:
    """The folders of model configs: first the one that comes with medzoo, then the user's."""
    paths = filter(None, os.environ.get("MEDZOO_MODEL_CONFIGS", "").split(os.pathsep))
    return [shipped("model_configs"), *(user_path(path).absolute() for path in paths)]


def user_path(path: str | os.PathLike[str], name: str = "the path") -> Path:
    """A path as a user types it; ``~`` is the home folder.

    Raises
    ------
    InputError
        It is not a path, or it has characters that a path cannot have.
    """
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise InputError(
            f"{name}={_short(path)} is not a valid path.", "Give a text or a pathlib.Path."
        )
    problem = _why_not_a_path(text)
    if problem:
        raise InputError(f"{name}={_short(path)} is not a valid path: {problem}.", "Give another.")
    try:
        return Path(path).expanduser()
    except RuntimeError:  # "~NAME" of a user who does not exist may be the name of a file
        return Path(path)


def _why_not_a_path(text: str) -> str:
    """Why a text cannot be a path on any file system; empty if it can."""
    parts = text.replace("\\", "/").split("/")
    if not text:
        return "it is empty"  # such as a variable of the shell that is not set
    try:
        longest = max(map(len, map(os.fsencode, parts)))
    except UnicodeError:
        return "it holds half of a surrogate pair"
    if "\0" in text:
        return "it holds a NUL character"
    return f"a name in it is longer than {LONGEST_NAME} bytes" if longest > LONGEST_NAME else ""


def _short(value: object) -> str:
    try:
        return " ".join(reprlib.repr(value).split())
    except ValueError:  # Python refuses to write out very large numbers
        return type(value).__name__


def shipped(name: str) -> Path:
    """A folder that comes with medzoo: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return package / name if (package / name).is_dir() else package.parent / name


def quiet() -> bool:
    """Whether ``MEDZOO_QUIET`` asks for silence."""
    return _is_on("MEDZOO_QUIET")


def offline() -> bool:
    """Whether ``MEDZOO_OFFLINE`` forbids all downloads."""
    return _is_on("MEDZOO_OFFLINE")


def mirrors() -> list[str]:
    """Folders and addresses that are tried in order, before the source itself."""
    places = os.environ.get("MEDZOO_MIRROR", "").split(",")
    return list(filter(None, map(str.strip, places)))


def zenodo() -> str:
    """The address of Zenodo, without a slash at its end."""
    return (os.environ.get("MEDZOO_ZENODO", "").strip() or "https://zenodo.org").rstrip("/")


def deposits(*, production: bool) -> str:
    """The address of the Zenodo that uploads go to, without a slash at its end."""
    usual = "https://zenodo.org" if production else "https://sandbox.zenodo.org"
    return (os.environ.get("MEDZOO_DEPOSITS", "").strip() or usual).rstrip("/")


def github() -> str:
    """The address of GitHub's API, without a slash at its end."""
    return (os.environ.get("MEDZOO_GITHUB", "").strip() or "https://api.github.com").rstrip("/")


def hub() -> str:
    """The address of the Hugging Face hub, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT", "").strip() or "https://huggingface.co").rstrip("/")


def hub_token() -> str:
    """The user's token for the Hugging Face hub; empty if there is none."""
    return os.environ.get("HF_TOKEN", "").strip()


def certificates() -> str:
    """A file or folder of certificates that replaces those of requests; empty if there is none.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` count if ``REQUESTS_CA_BUNDLE``, which requests reads
    itself, is not set.
    """
    if os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE"):
        return ""
    return os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR") or ""


def registry() -> str:
    """The address of a zip with the newest model configs, or its path on this machine."""
    return (
        os.environ.get("MEDZOO_REGISTRY", "").strip()
        or "https://github.com/medzoo/medzoo/archive/refs/heads/main.zip"
    )


def timeout() -> float:
    """Seconds that a model may take to load, and for each batch.

    Raises
    ------
    InputError
        ``MEDZOO_TIMEOUT`` is not a number of seconds.
    """
    seconds = _seconds("MEDZOO_TIMEOUT", 14400)
    if not seconds:
        raise InputError("MEDZOO_TIMEOUT='0' is too short.", "Give seconds above 0, such as 600.")
    return seconds


def keep() -> float:
    """Seconds that the model of the last `medzoo.generate` stays loaded; 0 for not at all.

    Raises
    ------
    InputError
        ``MEDZOO_KEEP`` is not a number of seconds.
    """
    return _seconds("MEDZOO_KEEP", 60)


def _seconds(name: str, default: float) -> float:
    """A number of seconds from an environment variable, 0 to 10**7."""
    text = os.environ.get(name, "").strip() or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 10**7:
        raise InputError(f"{name}={text!r} is not a number of seconds.", "Give one such as 600.")
    return seconds


def torch_backend() -> str:
    """The build of torch for environments, as uv names it: auto, cpu, cu128 ..., or index."""
    return os.environ.get("MEDZOO_TORCH_BACKEND") or os.environ.get("UV_TORCH_BACKEND") or "auto"


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() not in {"", "0", "false", "no", "off"}


def show_progress(asked: bool | None) -> bool:
    """Whether to draw progress bars.

    If ``asked`` is None, only at a terminal, in a notebook or in the console of an IDE.
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
    """The class of tqdm to use: text, or a widget in a notebook that has widgets."""
    with warnings.catch_warnings():
        # In a notebook without ipywidgets, tqdm warns and draws text.
        warnings.filterwarnings("ignore", module="tqdm")
        warnings.filterwarnings("ignore", message="IProgress not found")
        from tqdm.auto import tqdm
    return tqdm
