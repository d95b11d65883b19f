"""HTML for notebooks. Every text is escaped here, because configs and files come from outside."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape

STYLE = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.4"
FAINT = "opacity:.7"


def block(*parts: str) -> str:
    """Parts of a page in one frame."""
    return f"<div style='{STYLE}'>{''.join(parts)}</div>"


def image(content: bytes, text: str, kind: str = "png", style: str = "") -> str:
    """An image whose bytes are in the page itself; ``text`` is for those who do not see it."""
    data = base64.b64encode(content).decode("ascii")
    return (
        f"<img src='data:image/{kind};base64,{data}' alt='{escape(text)}' "
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
