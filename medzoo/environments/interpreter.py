"""The Python interpreter for a new environment."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from ..config import ModelConfig
from ..errors import BuildError
from .requirements import python_fits
from .uv import clean_environment, uv

ASK = """
import json, platform, sys, sysconfig
tag = sys.implementation.cache_tag
print(json.dumps([sysconfig.get_config_var("SOABI") or tag, platform.python_version(), tag]))
"""


@dataclass(frozen=True)
class Python:
    """An installed interpreter."""

    path: Path
    tag: str  # implementation, version and binary interface: cpython-311-x86_64-linux-gnu
    version: str
    cache_tag: str  # in the names of files with its bytecode: cpython-311


def pick(wanted: str, config: ModelConfig, progress: bool | None = None) -> Python:
    """A Python interpreter of a range of versions.

    The current interpreter is used if possible, otherwise one that uv finds or downloads.

    Raises
    ------
    BuildError
        None is installed, and none can be downloaded.
    ConfigError
        It is not a valid range.
    """
    if python_fits(platform.python_version(), wanted) and sys.executable:
        cache_tag = sys.implementation.cache_tag or ""
        tag = sysconfig.get_config_var("SOABI") or cache_tag
        return Python(Path(sys.executable), tag, platform.python_version(), cache_tag)
    failure = (
        f"{config.id} needs a Python {wanted}, which is not installed and could not be downloaded"
    )
    find = ("python", "find", "--system", "--no-project", "--no-python-downloads", wanted)
    try:
        path = Path(uv(*find, failure=failure).strip())
    except BuildError:
        uv("python", "install", "--no-bin", wanted, failure=failure, progress=progress)
        path = Path(uv(*find, failure=failure).strip())
    answer = subprocess.run(  # noqa: S603
        [path, "-I", "-c", ASK],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )
    if answer.returncode:
        raise BuildError(
            f"{config.id} needs a Python {wanted}, and {path} does not run:\n"
            f"  {answer.stderr.strip()}"
        )
    tag, version, cache_tag = json.loads(answer.stdout)
    return Python(path, tag, version, cache_tag or "")
