"""What an environment takes where one with the same torch is there already: seconds, and disk in
medzoo's cache beside the first one. The two differ in numpy. torch comes from where pip gets
it here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from unittest import mock

from medzoo import files
from medzoo.environments import isolated
from medzoo.errors import BuildError
from medzoo.registry import resolve

from .rows import Found, Row, Size, Skip, measures

NUMPY = ("numpy==2.2.6", "numpy==2.1.3")  # what the two environments differ in


@measures(
    Row("second environment with the same torch", "s", bar=5),
    Row("its disk beside the first one, no second torch", "MiB", bar=100),
)
def second(size: Size) -> list[Found]:
    """One run: the first environment of each costs a download or a copy of torch."""
    if size.quick:
        raise Skip("left out of a quick run, as it installs torch")
    try:
        first, another, disk = second_environment()
    except BuildError as error:
        raise Skip(f"torch is nowhere to be had: {error.problem}") from error
    sides = {"first": [first], "second": [another]}
    return [Found([another], sides, "s", "one run"), Found([disk], note="one run")]


def pips_places() -> dict[str, str]:
    """Where pip installs from, as settings of uv, which reads none of pip's; what the user tells uv
    goes before.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = {
        name: value
        for name, value in re.findall(r"^(?::env:|\w+)\.([\w-]+)='(.*)'$", listed, re.MULTILINE)
        if value
    }
    places = {
        "UV_DEFAULT_INDEX": found.get("index-url", ""),
        "UV_INDEX": found.get("extra-index-url", ""),
        "UV_FIND_LINKS": found.get("find-links", "").replace(" ", ","),
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }  # as pip does
    return {
        name: os.environ.get(name) or value
        for name, value in places.items()
        if os.environ.get(name) or value
    }


def second_environment() -> tuple[float, float, float]:
    """Seconds for the first environment, for the second, and MiB that the second adds to
    medzoo's cache.

    Raises
    ------
    BuildError
        torch is nowhere to be had.
    """
    config = resolve(8)
    torch = f"torch=={metadata.version('torch').partition('+')[0]}"
    with tempfile.TemporaryDirectory() as folder:
        settings = pips_places() | {
            "MEDZOO_CACHE": f"{folder}/cache",
            "UV_CACHE_DIR": f"{folder}/uv",
        }
        with mock.patch.dict(os.environ, settings):
            seconds, sizes = [], []
            for numpy in NUMPY:
                began = time.perf_counter()
                isolated(
                    config,
                    replace(config.default, requires=(torch, numpy), lock=""),
                    progress=False,
                )
                seconds.append(time.perf_counter() - began)
                sizes.append(files.size_of(Path(folder, "cache"))[0] / 2**20)
    return seconds[0], seconds[1], sizes[1] - sizes[0]
