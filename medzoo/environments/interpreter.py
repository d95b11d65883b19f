"""The Python that an environment is made with."""

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
print(json.dumps([sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag, platform.python_version()]))
"""


@dataclass(frozen=True)
class Python:
    """An installed interpreter."""

    path: Path
    tag: str  # implementation, version and binary interface: cpython-311-x86_64-linux-gnu
    version: str


def pick(wanted: str, config: ModelConfig, progress: bool | None = None) -> Python:
    """A Python of a range: the one that runs this if it lies in it, else one that uv finds or,
    unless offline, fetches.

    Raises
    ------
    BuildError
        There is none, and none can be fetched.
    ConfigError
        The range is not written as the standard has it.
    """
    if python_fits(platform.python_version(), wanted) and sys.executable:
        tag = sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag
        return Python(Path(sys.executable), tag, platform.python_version())
    about = (
        f"{config.id} needs a Python {wanted}, which is not installed and could not be downloaded"
    )
    find = ("python", "find", "--system", "--no-project", "--no-python-downloads", wanted)
    try:
        found = uv(*find, about=about)
    except BuildError:
        uv("python", "install", "--no-bin", wanted, about=about, progress=progress)
        found = uv(*find, about=about)
    path = Path(found.strip())
    said = subprocess.run(  # noqa: S603
        [path, "-I", "-c", ASK],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )
    if said.returncode:
        raise BuildError(
            f"{config.id} needs a Python {wanted}, and {path} does not run:\n  {said.stderr.strip()}"
        )
    tag, version = json.loads(said.stdout)
    return Python(path, tag, version)
