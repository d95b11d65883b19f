"""Links in Markdown that work on GitHub, as links that work in the site.

Pages link to files of the repository. Where the site has a page for that file, the link leads to
the page; otherwise to the file on GitHub.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
REPOSITORY = "https://github.com/medzoo/medzoo/blob/main"
TOP_FILES = {  # file of the repository -> page of the site
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "CONTRIBUTING.md": "contributing.md",
}
PAGES = {  # further files and folders that have a page
    **TOP_FILES,
    "README.md": "index.md",
    "model_configs": "models/index.md",
    "starter_models": "models/index.md",
    "medzoo/__init__.py": "api/index.md",
    "medzoo/medical/__init__.py": "api/medical.md",
    "medzoo/errors.py": "api/errors.md",
}
# code, in which nothing is a link, or the end of a link: `](target#anchor)`
PARTS = re.compile(
    r"^```.*?^```|`[^`\n]+`|\]\((?P<target>[^)#\s]+)(?P<anchor>[^)]*)\)", re.MULTILINE | re.DOTALL
)


def for_site(text: str, folder: str, page: str) -> str:
    """Markdown of a file in ``folder`` of the repository, as the page ``page`` of the site."""

    def mended(part: re.Match[str]) -> str:
        target = part["target"]
        if target is None or re.match(r"[a-z]+:", target):
            return part[0]
        return f"]({address(posixpath.normpath(f'{folder}/{target}'), page)}{part['anchor']})"

    return PARTS.sub(mended, text)


def address(file: str, page: str) -> str:
    """What the page ``page`` of the site calls a file of the repository."""
    if not (ROOT / file).exists():
        raise SystemExit(f"{page}: a link leads to {file}, which does not exist.")
    if uri := page_of(file):
        return posixpath.relpath(uri, posixpath.dirname(page) or ".")
    return f"{REPOSITORY}/{file}"


def page_of(file: str) -> str:
    """The address in the site of a file of the repository; empty if it has none."""
    if file in PAGES:
        return PAGES[file]
    if match := re.fullmatch(r"(?:starter_models/|model_configs/)(\d{5}_[^/]+?)(?:\.yaml)?", file):
        return f"models/{match[1]}.md"
    if match := re.fullmatch(r"starter_models/(\d{5}_[^/]+/[^/]+\.(?:png|gif))", file):
        return f"models/pictures/{match[1]}"
    if file.startswith("docs/") and not file.endswith(".py"):
        return re.sub(r"\.ipynb$", ".md", file.removeprefix("docs/"))
    return ""
