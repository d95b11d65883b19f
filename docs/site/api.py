"""The API reference: one directive of mkdocstrings for each public name.

Public names are imported when they are used, or wrapped by a check of their arguments. The module
that defines them is therefore asked of the objects themselves.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import medzoo
from medzoo import errors, medical, study

PAGES = {  # address without .md -> title
    "api/index": "medzoo",
    "api/samples": "Samples",
    "api/model": "Model",
    "api/medical": "medzoo.medical",
    "api/study": "medzoo.study",
    "api/errors": "Errors",
}
MODULES: dict[str, ModuleType] = {"api/medical": medical, "api/study": study}  # else medzoo
CLASSES = {"Samples": "api/samples", "Model": "api/model"}
INTRODUCTIONS = {
    "api/index": "Everything that `import medzoo` offers. [Samples](samples.md) and "
    "[Model](model.md) are what the functions return, [medzoo.medical](medical.md) reads scans, "
    "[medzoo.study](study.md) makes reader studies, and all errors are in [Errors](errors.md).",
    "api/samples": "What `medzoo.generate` and `medzoo.read` return.",
    "api/model": "What `medzoo.load` returns. `model(16)` is the same as `model.generate(16)`.",
    "api/medical": "Scans and contours as arrays. [DICOM and NIfTI](../medical.md) explains it "
    "with examples.",
    "api/study": "Can readers distinguish samples from real images? "
    "[Reader studies](../study.md) explains how to run one.",
    "api/errors": "Every deliberate error is a `MedzooError` that states the problem and what to "
    "try, and has its own exit code on the command line.",
}


def pages() -> Iterator[tuple[str, str]]:
    """Address and Markdown of each page."""
    for page, title in PAGES.items():
        entries = "\n".join(directive(*entry) for entry in entries_of(page))
        yield f"{page}.md", f"# {title}\n\n{INTRODUCTIONS[page]}\n\n{entries}"


def entries_of(page: str) -> Iterator[tuple[str, Any]]:
    """Public names and objects of a page, in the order in which they are shown."""
    if page == "api/errors":
        for name, value in vars(errors).items():
            if inspect.isclass(value) and value.__module__ == errors.__name__ and name[0] != "_":
                yield f"medzoo.errors.{name}", value
        return
    module = MODULES.get(page, medzoo)
    for name in sorted(module.__all__, key=lambda name: (name[0].isupper(), name)):
        value = getattr(module, name)
        if name.startswith("__") or (inspect.isclass(value) and issubclass(value, Exception)):
            continue
        if page in MODULES or CLASSES.get(name, "api/index") == page:
            yield f"{module.__name__}.{name}", value


def directive(name: str, value: Any) -> str:
    """The directive for an object, under its public name."""
    own = hasattr(value, "__qualname__")  # a constant does not know where it was defined
    path = f"{value.__module__}.{value.__qualname__}" if own else name
    options = [f'heading: "{name}"', "heading_level: 2"]
    if inspect.isclass(value) and path.startswith("medzoo.runtime."):
        options.append("members: false")  # Ray: users make one, and medzoo calls its methods
    elif inspect.isclass(value):
        options += ["members_order: source", 'filters: ["!^_"]']
    lines = "\n".join(f"      {option}" for option in options)
    return f"::: {path}\n    options:\n{lines}\n"
