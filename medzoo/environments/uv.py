"""Running uv: what it is told, what it may see of the caller's environment, and what it says when
it fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import settings
from ..errors import BuildError
from .uv_config import only_places

# beside SYSTEM_VARIABLES: where things are, how to reach the network, what uv is told to fetch from
KEPT = re.compile(
    r"TMPDIR|TEMP|TMP|LC_\w+|XDG_(CONFIG|DATA)_HOME|CC|CXX|CFLAGS|CXXFLAGS|LDFLAGS|MAKEFLAGS"
    r"|(HTTP|HTTPS|ALL|NO)_PROXY|SSL_CERT_FILE|SSL_CERT_DIR|SSL_CLIENT_CERT"
    r"|UV_((DEFAULT_|EXTRA_)?INDEX(_URL|_STRATEGY|_\w+_USERNAME|_\w+_PASSWORD)?|FIND_LINKS|NO_INDEX|KEYRING_PROVIDER"
    r"|INSECURE_HOST|SYSTEM_CERTS|NATIVE_TLS|OFFLINE|HTTP_\w+|REQUEST_TIMEOUT|CONCURRENT_\w+|CACHE_DIR|LINK_MODE"
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
}
SAID = 15  # lines of uv's that an error repeats


def clean_environment() -> dict[str, str]:
    """The caller's environment without what could change a build: no PYTHONPATH, no settings of
    Python, no tokens.

    Paths in it are absolute, as uv does not run in the caller's folder, whose project is none of
    its business.
    """
    kept = {
        k: v
        for k, v in os.environ.items()
        if k.upper() in settings.SYSTEM_VARIABLES or KEPT.fullmatch(k)
    }
    for name in kept.keys() & PATHS:
        parts = (
            part if not part or "://" in part else str(Path(part).absolute())
            for part in kept[name].split(",")
        )
        kept[name] = ",".join(parts)
    return kept | {"PYTHONNOUSERSITE": "1"}


def uv(
    *arguments: str | os.PathLike[str],
    about: str,
    variables: Mapping[str, str] | None = None,
    progress: bool | None = False,
) -> str:
    """Run uv, with variables beside the caller's; what it wrote to stdout. Paths have to be
    absolute.

    Its lines on stderr are shown if ``progress`` says so.

    Raises
    ------
    BuildError
        It failed; the error says it of ``about``, and repeats uv's own last lines.
    """
    from uv import find_uv_bin

    try:
        program = find_uv_bin()
    except FileNotFoundError as error:
        raise BuildError(
            f"{about}: uv is missing; medzoo needs it to build environments.",
            "Reinstall it: `pip install uv`.",
        ) from error
    command = [
        program,
        *(os.fspath(a) for a in arguments),
        "--no-progress",
        *["--offline"] * settings.offline(),
    ]
    show = settings.show_progress(progress)
    said: deque[str] = deque(maxlen=SAID)
    with (
        only_places() as config,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out,
    ):
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            cwd=Path(sys.prefix).anchor,  # where no project lies whose settings uv would read
            env=clean_environment() | config | dict(variables or {}),
            encoding="utf-8",
            errors="replace",
        )
        with process:
            try:
                for line in process.stderr or ():
                    said.append(line.rstrip())
                    if show:
                        print(f"  {line.rstrip()}", file=sys.stderr, flush=True)
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise BuildError(
                f"{about}: uv ended with code {process.returncode}, and said\n  "
                + "\n  ".join(line for line in said if line),
                _hint(said),
            )
        out.seek(0)
        return out.read()


def _hint(said: Sequence[str]) -> str:
    text = "\n".join(said)
    if (
        "No space left" in text or "os error 112" in text
    ):  # as Linux and macOS, and as Windows say it
        hint = "The disk is full: `medzoo cache` lists what can go, and MEDZOO_CACHE names another folder."
    elif "No download found" in text or "python-build-standalone" in text:
        hint = (
            "medzoo finds any installed Python of that range; UV_PYTHON_INSTALL_MIRROR names "
            "another place for one."
        )
    elif settings.offline():
        hint = "MEDZOO_OFFLINE is set: UV_FIND_LINKS can name a folder of wheels."
    elif "download.pytorch.org" in text:
        hint = (
            "UV_FIND_LINKS or UV_INDEX can name another place for torch; "
            "MEDZOO_TORCH_BACKEND=index takes the build that the package index has."
        )
    elif "ash mismatch" in text or "--require-hashes" in text:
        hint = "The package index offers other files than the lock lists."
    else:
        hint = "UV_DEFAULT_INDEX, UV_INDEX and UV_FIND_LINKS can name other places to install from."
    return f"Nothing of it was left behind. {hint} See docs/environments.md."
