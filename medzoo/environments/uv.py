"""Running uv: its environment variables, its output, and hints when it fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from .. import settings
from ..errors import BuildError
from .uv_config import only_places

# Variables for uv in addition to SYSTEM_VARIABLES: folders, compilers, network, indexes.
KEPT = re.compile(
    r"TMPDIR|TEMP|TMP|LC_\w+|XDG_(CONFIG|DATA)_HOME|CC|CXX|CFLAGS|CXXFLAGS|LDFLAGS|MAKEFLAGS"
    r"|(HTTP|HTTPS|ALL|NO)_PROXY|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|SSL_CLIENT_CERT"
    r"|UV_((DEFAULT_|EXTRA_)?INDEX(_URL|_STRATEGY|_\w+_USERNAME|_\w+_PASSWORD)?|FIND_LINKS|NO_INDEX"
    r"|KEYRING_PROVIDER|INSECURE_HOST|SYSTEM_CERTS|NATIVE_TLS|OFFLINE|HTTP_\w+|REQUEST_TIMEOUT"
    r"|CONCURRENT_\w+|CACHE_DIR|LINK_MODE"
    r"|PYTHON_(DOWNLOADS|PREFERENCE|INSTALL_DIR|CACHE_DIR|DOWNLOADS_JSON_URL)|\w+_INSTALL_MIRROR"
    r"|CUDA_DRIVER_VERSION|AMD_GPU_ARCHITECTURE)",
    re.IGNORECASE,
)
PATHS = {
    "UV_FIND_LINKS",
    "UV_CACHE_DIR",
    "UV_PYTHON_INSTALL_DIR",
    "UV_PYTHON_CACHE_DIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
}
SUPERVISOR = Path(__file__).parents[1] / "_worker" / "supervisor.py"
LINES = 15  # of the output of uv that an error repeats


def clean_environment() -> dict[str, str]:
    """The environment variables for uv: none that could change a build, and no tokens.

    Paths are made absolute, because uv does not run in the current folder: it would read the
    settings of a project there.
    """
    variables = {"PYTHONNOUSERSITE": "1"}
    for name, value in os.environ.items():
        if name in PATHS:
            variables[name] = ",".join(map(_absolute, value.split(",")))
        elif name.upper() in settings.SYSTEM_VARIABLES or KEPT.fullmatch(name):
            variables[name] = value
    bundle = variables.pop("REQUESTS_CA_BUNDLE", "")  # uv does not read it
    if bundle and not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & variables.keys():
        variables["SSL_CERT_DIR" if Path(bundle).is_dir() else "SSL_CERT_FILE"] = bundle
    if variables.get("UV_LINK_MODE") == "symlink":  # `uv cache clean` would break environments
        del variables["UV_LINK_MODE"]
    return variables


def supervised(command: list[str]) -> list[str]:
    """A command that ends with this process, together with all that it starts, on Linux."""
    if sys.platform != "linux" or not sys.executable:
        return command
    return [sys.executable, "-I", "-S", str(SUPERVISOR), str(os.getpid()), *command]


def _absolute(place: str) -> str:
    """A path as an absolute path; an address, or nothing, as it is."""
    return place if not place or "://" in place else str(Path(place).absolute())


def uv(
    *arguments: str | os.PathLike[str],
    failure: str,
    variables: Mapping[str, str] | None = None,
    progress: bool | None = False,
) -> str:
    """Run uv and return its output.

    Parameters
    ----------
    *arguments : str or path
        The arguments of uv. Paths must be absolute.
    failure : str
        The beginning of the error if uv fails.
    variables : mapping of str to str, optional
        Further environment variables.
    progress : bool, optional
        Whether to show what uv writes to stderr. If None, only at a terminal.

    Raises
    ------
    BuildError
        uv failed. The error repeats the last lines of its output.
    """
    from uv import find_uv_bin

    try:
        program = find_uv_bin()
    except FileNotFoundError as error:
        raise BuildError(
            f"{failure}: uv is missing; medzoo needs it to build environments.",
            "Reinstall it: `pip install uv`.",
        ) from error
    command = [program, *(os.fspath(argument) for argument in arguments), "--no-progress"]
    if settings.offline():
        command.append("--offline")
    command = supervised(command)
    show = settings.show_progress(progress)
    lines: deque[str] = deque(maxlen=LINES)
    with (
        only_places() as config,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out,
    ):
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            cwd=Path(sys.prefix).anchor,  # uv would read the settings of a project elsewhere
            env=clean_environment() | config | dict(variables or {}),
            encoding="utf-8",
            errors="replace",
        )
        with process:
            try:
                for line in process.stderr or ():
                    lines.append(line.rstrip())
                    if show:
                        print(f"  {line.rstrip()}", file=sys.stderr, flush=True)
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            output = "\n  ".join(filter(None, lines))
            raise BuildError(
                f"{failure}: uv ended with code {process.returncode}, and said\n  {output}",
                _hint("\n".join(lines)),
            )
        out.seek(0)
        return out.read()


def _hint(output: str) -> str:
    """What to try, by the last lines of the output of uv."""
    # The messages of Linux and macOS, and of Windows.
    if "No space left" in output or "os error 112" in output:
        hint = (
            "The disk is full: `medzoo cache` lists what can be removed, "
            "and MEDZOO_CACHE names another folder."
        )
    elif "No download found" in output or "python-build-standalone" in output:
        hint = (
            "medzoo finds any installed Python of that range; UV_PYTHON_INSTALL_MIRROR names "
            "another place for one."
        )
    elif settings.offline():
        hint = "MEDZOO_OFFLINE is set: UV_FIND_LINKS can name a folder of wheels."
    elif "download.pytorch.org" in output:
        hint = (
            "UV_FIND_LINKS or UV_INDEX can name another place for torch; "
            "MEDZOO_TORCH_BACKEND=index takes the build that the package index has."
        )
    elif "ash mismatch" in output or "--require-hashes" in output:
        hint = "The package index offers other files than the lock lists."
    else:
        hint = "UV_DEFAULT_INDEX, UV_INDEX and UV_FIND_LINKS can name other places to install from."
    return f"Nothing of it was left behind. {hint} See docs/environments.md."
