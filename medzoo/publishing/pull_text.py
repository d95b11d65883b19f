"""Title and text of a pull request with a model."""

from __future__ import annotations

from ..config import ModelConfig
from .github import BEGIN, END
from .pack import PackResult

BOXES = """\
- [ ] I may publish code and weights under the stated license, and the data sets' licenses allow it.
- [ ] The card says for whom the samples are, where the model fails, and how repeating patients was
      ruled out, or that it was not tested.
"""


def title(config: ModelConfig, identifier: str) -> str:
    """Of the pull request."""
    return f"Add {identifier}: {config.name}"


def body(
    config: ModelConfig, identifier: str, source: str, package: PackResult, picture: str
) -> str:
    """Of the pull request: what the model is, its zip, a sample sheet, and the report of the check.

    The part between two marks is medzoo's and is renewed; the author ticks the boxes below.
    """
    version = config.default
    data = "; ".join(f"{d.name} ({d.license})" for d in version.datasets) or "none: procedural"
    rows = {
        "model": f"{config.name}, version {version.name}",
        "package": f"`{source}`",
        "sha256": f"`{package.sha256}`",
        "size": f"{package.size:,} bytes",
        "license": version.license,
        "data": data,
        "authors": ", ".join(version.authors),
    }
    table = [f"| {key} | {_cell(text)} |" for key, text in rows.items()]
    sheet = [f"![samples of {identifier}]({picture})", ""] if picture else []
    return "\n".join(
        [
            BEGIN,
            _line(config.description),
            "",
            "| | |",
            "|---|---|",
            *table,
            "",
            *sheet,
            "<details><summary><code>medzoo contribute check</code></summary>",
            "",
            *fenced(str(package.report)),
            "",
            "</details>",
            END,
            "",
            BOXES,
        ]
    )


def fenced(text: str) -> list[str]:
    """A text as a block of code, whatever is in it."""
    ticks = "```"
    while ticks in text:
        ticks += "`"
    return [ticks, text, ticks]


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")
