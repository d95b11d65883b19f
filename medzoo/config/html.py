"""HTML for notebooks and reports. Every text is escaped here, since it may come from outside."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

STYLE = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.4"
FAINT = "opacity:.7"
PAGE_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 1000px; margin: 2em auto;
  padding: 0 1em; background: white; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; }
table { border-collapse: collapse; font-size: 0.85em; display: block; overflow-x: auto; }
th, td { text-align: left; padding: 0.3em 0.7em; border-bottom: 1px solid #d9e2ec;
  vertical-align: top; }
.warning { background: #fff3bf; padding: 0.6em 1em; }
"""


def block(*parts: str) -> str:
    """Parts of a page in one frame."""
    return f"<div style='{STYLE}'>{''.join(parts)}</div>"


def data_address(content: bytes, kind: str = "png") -> str:
    """The address of an image whose bytes are in the address itself."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def image(content: bytes, text: str, kind: str = "png", style: str = "") -> str:
    """An image whose bytes are in the page itself; ``text`` is for those who do not see it."""
    return (
        f"<img src='{data_address(content, kind)}' alt='{escape(text)}' "
        f"style='max-width:100%;{style}'>"
    )


def fact_table(facts: Mapping[str, str]) -> str:
    """Names and texts as a table of two columns."""
    lines = ""
    for name, text in facts.items():
        content = escape(text).replace("\n", "<br>")
        lines += (
            "<tr><th style='text-align:left;vertical-align:top;white-space:nowrap'>"
            f"{escape(name)}</th><td style='text-align:left'>{content}</td></tr>"
        )
    return f"<table style='margin:4px 0'>{lines}</table>"


def folded(title: str, text: str) -> str:
    """A text that is shown when its title is clicked."""
    return (
        f"<details><summary>{escape(title)}</summary>"
        "<pre style='font-size:11px;max-height:24em;overflow:auto;text-align:left'>"
        f"{escape(text)}</pre></details>"
    )


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Texts as a table with a head."""
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    for row in rows:
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    return f"<table>{''.join(lines)}</table>"


def page(title: str, body: str, style: str = "") -> str:
    """A whole page that needs no other file.

    Parameters
    ----------
    title
        A text.
    body
        HTML elements.
    style
        CSS in addition to `PAGE_STYLE`.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{PAGE_STYLE}{style}</style></head><body>"
        f"{body}</body></html>\n"
    )
