"""What mkdocs calls while it builds the site: pages that have no file in docs/, and links.

Pages of models come from configs and cards, the API reference from the public names, tutorials from
executed notebooks, and four pages from files at the top of the repository.
"""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))  # mkdocs loads this file by its path
os.environ.setdefault("MEDZOO_QUIET", "1")

import api
import links
import models
import notebooks

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the generated pages in the navigation."""
    sections = {title: pages for entry in config.nav or [] for title, pages in entry.items()}
    sections["Models"][:] = models.navigation()
    sections["Reference"][0] = {"Python": [f"{page}.md" for page in api.PAGES]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and their pictures."""
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            files.remove(file)
    for uri, content in generated_pages():
        files.append(File.generated(config, uri, content=content))
    for uri, path in models.pictures():
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def generated_pages() -> Iterator[tuple[str, str | bytes]]:
    """Address in the site and content of every page and picture that is made here."""
    for name, uri in links.TOP_FILES.items():
        yield uri, links.for_site((ROOT / name).read_text(encoding="utf-8"), ".", uri)
    yield from models.pages()
    yield from api.pages()
    for path in sorted((DOCS / "tutorials").glob("*.ipynb")):
        yield from notebooks.page(path)


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Make the links of a page in docs/ work in the site."""
    if page.file.generated_by:
        return markdown
    uri = page.file.src_uri
    return links.for_site(markdown, posixpath.join("docs", posixpath.dirname(uri)), uri)
