"""Files of a package that have their own addresses."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from .model import REMOTE, Part

ADDRESS = re.compile("https?://|file:")


def part(name: str, node: Any) -> Part:
    """Read one of the ``parts`` of a version; ``node`` is that of `medzoo.config.schema`.

    Raises
    ------
    ConfigError
        A key is missing, unknown or has another value than expected.
    """
    if name.startswith(("/", "\\")) or ".." in name.split("/"):
        raise node.error("", "the name of a file in the package was expected")
    what = f"one of {', '.join(REMOTE)}: and a file"
    made = Part(
        source=node.take("source", str, ok=_is_remote, what=what),
        sha256=node.take("sha256", str, "", hexadecimal(64), "64 hexadecimal digits"),
        sha1=node.take("sha1", str, "", hexadecimal(40), "40 hexadecimal digits"),
        md5=node.take("md5", str, "", hexadecimal(32), "32 hexadecimal digits"),
        size=node.take("size", int, None, lambda v: v > 0, "a number of bytes"),
        mirrors=node.texts("mirrors", [], ADDRESS, "a list of addresses"),
    )
    node.done()
    return made


def hexadecimal(digits: int) -> Callable[[str], bool]:
    """A check of a text that has this many hexadecimal digits."""
    return partial(_matches, re.compile(f"[0-9a-f]{{{digits}}}"))


def _matches(pattern: re.Pattern[str], value: str) -> bool:
    return bool(pattern.fullmatch(value))


def _is_remote(source: str) -> bool:
    return source.partition(":")[0] in REMOTE and not source.endswith("/")
