"""The settings of the user's ``uv.toml`` that medzoo uses: places of packages, and the network.

All other settings (overrides, constraints, a target folder) would change what is installed under
the same key. So uv gets a file with only these settings.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import starmap
from pathlib import Path
from typing import Any

from ..errors import BuildError
from ..scratch import scratch

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PLACES = {"index", "index-url", "extra-index-url", "find-links", "no-index", "keyring-provider"}
PLACES |= {"allow-insecure-host", "native-tls", "system-certs", "offline", "cache-dir"}
PLACES |= {"http-proxy", "https-proxy", "no-proxy", "python-downloads", "python-install-mirror"}
PLACES |= {"pypy-install-mirror", "python-downloads-json-url"}
OF_PIP = {"index-url", "extra-index-url", "find-links", "no-index", "keyring-provider"}
PATHS = {"find-links", "index-url", "extra-index-url", "cache-dir", "url"}  # may be folders


@contextmanager
def only_places() -> Iterator[dict[str, str]]:
    """Variables that make uv read only the places and certificates of the user's ``uv.toml``.

    Raises
    ------
    BuildError
        The file cannot be read.
    """
    settings: dict[str, Any] = {}
    if not os.environ.get("UV_NO_CONFIG"):
        for file in config_files():
            settings = _joined(settings, _places_of(file))
    if not settings:
        yield {"UV_NO_CONFIG": "1"}
        return
    with scratch("uv") as folder:
        file = Path(folder, "uv.toml")
        file.write_text(_toml(settings), encoding="utf-8")
        yield {"UV_CONFIG_FILE": str(file)}


def config_files() -> list[Path]:
    """The existing files that uv would read, in the order of their priority."""
    named = os.environ.get("UV_CONFIG_FILE")
    if named:
        return [Path(named).expanduser().absolute()]
    if os.name == "nt":
        folders = [os.environ.get("APPDATA", ""), os.environ.get("PROGRAMDATA", "")]
    else:
        own = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111
        common = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
        folders = [own, *common.split(os.pathsep), "/etc"]
    paths = [Path(folder, "uv", "uv.toml") for folder in filter(None, folders)]
    return list(filter(Path.is_file, paths))


def _places_of(file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BuildError(
            f"{file}, the settings of uv, cannot be read: {error}.",
            "Correct it, or set UV_NO_CONFIG=1 to build without it.",
        ) from error
    kept = {key: content[key] for key in PLACES & content.keys()}
    pip = content.get("pip")
    if isinstance(pip, dict) and OF_PIP & pip.keys():
        kept["pip"] = {key: pip[key] for key in OF_PIP & pip.keys()}
    absolute: dict[str, Any] = _absolute(kept, file.parent)
    return absolute


def _absolute(value: Any, folder: Path, key: str = "") -> Any:
    """Make paths absolute: they are relative to the folder of the original file."""
    if isinstance(value, dict):
        return {name: _absolute(item, folder, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_absolute(item, folder, key) for item in value]
    if isinstance(value, str) and key in PATHS and ":" not in value:
        return str(folder / value)
    return value


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Join the settings of two files as uv does: lists are joined, otherwise the first counts."""
    joined = {**second, **first}
    for key in first.keys() & second.keys():
        if isinstance(first[key], list) and isinstance(second[key], list):
            joined[key] = [*first[key], *second[key]]
        elif isinstance(first[key], dict) and isinstance(second[key], dict):
            joined[key] = _joined(first[key], second[key])
    return joined


def _toml(settings: Mapping[str, Any]) -> str:
    return "\n".join([*starmap(_setting, sorted(settings.items())), ""])


def _setting(key: str, value: Any) -> str:
    return f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(starmap(_setting, value.items())) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)  # texts, numbers, true and false are the same in TOML and JSON
