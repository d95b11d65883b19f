"""Which models are contained, and how; see docs/security.md. What contains them is
`medzoo._worker.sandbox`, in their own process.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from .. import checks
from .._worker import sandbox
from .._worker.devices import free_memory
from ..config import Version
from ..environments import Interpreter
from ..errors import InputError

SANDBOXES = ("auto", "on", "off")
MOST_PROCESSES = 1024


def check(value: Any) -> str:
    """One of `SANDBOXES`.

    Raises
    ------
    InputError
        It is none.
    """
    if not isinstance(value, str) or value not in SANDBOXES:
        raise InputError(
            f"sandbox={checks.shown(value)} is not known.",
            f"{checks.meant(value, SANDBOXES)}Give auto, on or off.",
        )
    return value


def is_foreign(version: Version) -> bool:
    """Whether the code of a version did not come with medzoo."""
    return version.scheme != "bundled"


def require(held: Collection[str], model_name: str) -> None:
    """Check that all of the containment holds, for ``sandbox="on"``.

    Raises
    ------
    InputError
        Something does not.
    """
    missing = [part for part in sandbox.PARTS if part not in held]
    if missing:
        raise InputError(
            f"sandbox='on': this system cannot contain {', '.join(missing)}. "
            f"Nothing of {model_name} was run.",
            "Linux 6.12 or newer can contain everything. sandbox='auto' contains what is possible.",
        )


def containment(
    interpreter: Interpreter, *, read: Iterable[Path], work: Path, gpu: bool
) -> dict[str, Any]:
    """What the process of a model may use, as `medzoo._worker.sandbox.contain` takes it.

    Parameters
    ----------
    interpreter
        Its interpreter.
    read
        Files and folders that it may read: its package, weights of the user.
    work
        The folder that it may write.
    gpu
        Whether it may use graphics cards.
    """
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    medzoo = Path(sandbox.__file__).parents[1]
    paths = [*map(str, read), *filter(None, libraries), str(medzoo)]
    if interpreter.kind == "current":
        paths += _installed_here()
    else:
        paths.append(str(interpreter.python.parents[1]))
    return {
        "read": paths,
        "write": [str(work)],
        "memory": free_memory("cpu"),
        "processes": MOST_PROCESSES,
        "gpu": gpu,
    }


def _installed_here() -> Iterator[str]:
    """Where packages of this interpreter are, those installed in place included."""
    import site

    folders = [sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    yield str(Path(sys.executable).parents[1] / "pyvenv.cfg")
    for folder in sorted(set(folders)):
        yield folder
        for file in Path(folder).glob("*.pth"):
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            yield from filter(os.path.isabs, lines)
