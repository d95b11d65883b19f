"""Models as HTML, for notebooks and the gallery: a picture of their samples, and what is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from ..config import ModelConfig, Version
from ..config.html import FAINT, block, fact_table, folded, image
from . import description
from .lookup import is_local

THUMBNAILS = Path(__file__).parent / "thumbnails"
BUDGET = 150_000  # bytes of pictures in a table, before they are encoded as text
WARNING = "Synthetic samples are for research. They are not for diagnosis."


def html(config: ModelConfig, version: Version | None = None, note: str = "") -> str:
    """A model as HTML: name, picture, description, how to use it, and its facts, folded away."""
    version = version or config.default
    parts = [f"<b>{escape(config.id)}</b>: {escape(config.name)}"]
    if version.status:
        parts.append(f" <b style='color:#c2410c'>{escape(version.status)}</b>")
    if note:
        parts.append(f" <span style='{FAINT}'>{escape(note)}</span>")
    if picture := thumbnail(config):
        parts.append(f"<div>{image(picture, f'samples of {config.id}', 'jpeg')}</div>")
    parts.append(f"<p style='margin:4px 0;max-width:60em'>{escape(config.description)}</p>")
    parts.append(f"<pre style='margin:4px 0'>{escape(call(config, version))}</pre>")
    facts = description.model_facts(config, version)
    short = {name: facts[name] for name in ("samples", "inputs", "license", "metrics")}
    parts.append(fact_table({"version": facts["version"], **short}))
    others = [f"{name}: {text}" for name, text in facts.items() if name not in short]
    parts.append(folded("everything that is known", "\n".join(others)))
    parts.append(f"<p style='margin:4px 0;{FAINT}'>{WARNING}</p>")
    return block(*parts)


def call(config: ModelConfig, version: Version) -> str:
    """The line of Python that makes samples of a version of a model."""
    own = is_local(config)
    name = repr(str(config.path.parent)) if own else str(config.number)
    chosen = "" if version.name == config.default_version else f", version={version.name!r}"
    return f"samples = medzoo.generate({name}, 4{chosen}{', trust=True' if own else ''})"


def thumbnail(config: ModelConfig) -> bytes:
    """A small JPEG of samples of a bundled model; empty if there is none.

    A model of the user that has the number of a bundled one has no picture.
    """
    path = THUMBNAILS / f"{config.id}.jpg"
    bundled = config.default.scheme == "bundled" and not is_local(config)
    return path.read_bytes() if bundled and path.is_file() else b""


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], pictures: Sequence[bytes] = ()
) -> str:
    """A table of models, with a column of pictures if there are any."""
    shown = any(pictures)
    used = 0
    lines = _line("th", [*(("",) if shown else ()), *map(escape, head)])
    for k, cells in enumerate(rows):
        texts = list(map(escape, cells))
        if shown:
            picture = pictures[k]
            used += len(picture)
            fits = bool(picture) and used <= BUDGET
            alt = f"samples of {cells[0]}"
            texts.insert(
                0, image(picture, alt, "jpeg", "height:40px;max-width:none") if fits else ""
            )
        lines += _line("td", texts)
    return f"<table>{lines}</table>"


def _line(tag: str, texts: Iterable[str]) -> str:
    cells = "".join(f"<{tag} style='text-align:left'>{text}</{tag}>" for text in texts)
    return f"<tr>{cells}</tr>"
