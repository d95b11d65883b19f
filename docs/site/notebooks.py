"""Tutorials: notebooks of docs/tutorials/ are executed while the site is built.

What the site shows is therefore what this version of medzoo does. An error in a cell stops the
build. Only the code is committed, not its output.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import nbformat
from links import for_site
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

TIME = 300  # seconds that a cell may take; all tutorials together need less than a minute
NOTE = """
!!! note ""
    This page is a notebook, executed when the site was built: `docs/tutorials/{name}`.
"""


def execute(path: Path) -> nbformat.NotebookNode:
    """A notebook with its outputs; run in an empty folder, with an empty cache, offline."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "work")
        work.mkdir()
        settings = {
            "MEDZOO_CACHE": str(Path(folder, "cache")),
            "MEDZOO_OFFLINE": "1",
            "MEDZOO_QUIET": "1",
            "NO_COLOR": "1",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        with mock.patch.dict(os.environ, settings):
            for name in ("MEDZOO_MIRROR", "MEDZOO_MODEL_CONFIGS"):
                os.environ.pop(name, None)
            NotebookClient(
                notebook,
                timeout=TIME,
                kernel_name="python3",
                extra_arguments=["--log-level=ERROR"],  # it warns about ports of this machine
                resources={"metadata": {"path": str(work)}},
            ).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "text" in output:  # the folder has another name in every build
                output["text"] = output["text"].replace(str(work), "~")
    return notebook


def page(path: Path) -> Iterator[tuple[str, str | bytes]]:
    """Address and content of a tutorial's page and of the pictures in it."""
    pictures, uri = f"{path.stem}_files", f"tutorials/{path.stem}.md"
    notebook = execute(path)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = for_site(cell.source, "docs/tutorials", uri)
    body, resources = MarkdownExporter().from_notebook_node(
        notebook, resources={"output_files_dir": pictures, "unique_key": path.stem}
    )
    title, _, rest = body.partition("\n")
    yield uri, f"{title}\n{NOTE.format(name=path.name)}\n{rest}"
    for name, content in resources["outputs"].items():
        yield f"tutorials/{name}", content
