"""Models as text: the columns that `list`, `search`, notebooks and the README share, and the few
helpers around them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .config import ModelConfig, Version
from .console import cells, cut, terminal_width, wrap

HEAD = ("id", "status", "modality", "content", "size", "license", "package")
NARROWEST = 8  # characters that a column keeps when a table is squeezed
WIDEST = 100  # characters of a line of prose
STATUS_TEXTS = {
    "demonstration": "demonstration: its samples are not good enough for research; its card says why"
}
LISTS = {"ints": "list of whole numbers", "floats": "list of numbers", "texts": "list"}


def row(config: ModelConfig) -> tuple[str, ...]:
    """A model in the columns of ``HEAD``, by its default version."""
    v = config.default
    return (
        config.id,
        v.status,
        config.modality,
        config.content,
        sample_size(v),
        v.license,
        package(v),
    )


def without_empty_status(
    rows: list[tuple[str, ...]],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """``HEAD`` and rows of it, without the column `status` where no model has one."""
    column = HEAD.index("status")
    if any(cells[column] for cells in rows):
        return HEAD, rows
    head, *rest = ((*cells[:column], *cells[column + 1 :]) for cells in (HEAD, *rows))
    return head, rest


def summary(config: ModelConfig) -> dict[str, Any]:
    """A model for scripts, by its default version: what ``--json`` prints."""
    v = config.default
    return {
        "id": config.id,
        "status": v.status,
        "name": config.name,
        "description": config.description,
        "modality": config.modality,
        "organ": config.organ,
        "content": config.content,
        "tags": list(config.tags),
        "version": v.name,
        "versions": list(config.versions),
        "generator": v.generator,
        "year": v.year,
        "license": v.license,
        "datasets": [d.name for d in v.datasets],
        "metrics": [asdict(m) for m in v.metrics],
        "bundled": v.scheme == "bundled",
        "bytes": v.size,
        "latent": v.latent,
        "outputs": {
            o.name: {"kind": o.kind, "dtype": o.dtype, "shape": list(o.shape)}
            for o in v.outputs.values()
        },
        "conditions": {c.name: dict(c.values) for c in v.conditions.values()},
        "options": {o.name: o.default for o in v.options.values()},
    }


def sample_size(version: Version) -> str:
    """What one sample is: ``128x128``, ``256x256 + mask``, ``30 columns``."""
    first, *others = version.outputs.values()
    size = (
        f"{first.shape[0]} columns"
        if first.kind == "table"
        else "x".join(map(str, first.shape[1:])) or "label"
    )
    return size + " + mask" * any(o.kind == "mask" for o in others)


def package(version: Version) -> str:
    """Where a version's package is: came with medzoo, on this disk, or how much there is to
    download.
    """
    if version.scheme in {"bundled", "file"}:
        return {"bundled": "bundled", "file": "on disk"}[version.scheme]
    return f"download {megabytes(version.size)}" if version.size else "download"


def inputs(version: Version) -> Iterable[str]:
    """What a version takes, one phrase per argument."""
    for condition in version.conditions.values():
        yield f"{condition.name} = {' | '.join(condition.values)} ({condition.help.rstrip('.')}; each in turn if left out)"
    for o in version.options.values():
        span = " | ".join(map(str, o.choices))
        if not span and o.minimum is not None and o.maximum is not None:
            span = f"{o.minimum:g} to {o.maximum:g}"
        several = LISTS.get(o.type, "")
        kind = f"{several} of {span}" if several and span else several or span or o.type
        default = "the package chooses" if o.default is None else o.default
        yield f"{o.name} = {kind} ({o.help.rstrip('.')}; {default} if left out)"
    for i in version.inputs.values():
        size = f" of {'x'.join(map(str, i.shape[1:]))}" * bool(i.shape)
        own = "" if i.required else "; the package has its own"
        which = f"[{i.name!r}]" * (len(version.inputs) > 1)
        yield f"inputs{which} = {i.kind}s{size} ({i.help.rstrip('.')}{own})"
    if version.settable_latents:
        yield f"latents = array (n, {version.latent})"


def metrics(version: Version) -> str:
    """Reported figures, together where they are comparable: ``FID 80.5, FID ratio 0.36 on OPTIMAM
    (1,000 samples)``.
    """
    groups: dict[str, list[str]] = {}
    for m in version.metrics:
        samples = f" ({m.samples:,} samples)" if m.samples else ""
        groups.setdefault(m.dataset + samples, []).append(f"{m.name} {m.value:g}")
    return "\n".join(f"{', '.join(figures)} on {where}" for where, figures in groups.items())


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Columns as wide as they need to be, or narrower: past ``width`` all but the first are cut
    with an ellipsis. The first one, an id, is never cut.
    """
    widths = [max(cells(r[k]) for r in (head, *rows)) for k in range(len(head))]
    if width is not None:
        _squeeze(widths, width)

    def line(texts: Sequence[str]) -> str:
        shown = [cut(text, w) for text, w in zip(texts, widths, strict=True)]
        padded = (s + " " * (w - cells(s)) for s, w in zip(shown, widths, strict=True))
        return "  ".join(padded).rstrip()

    return "\n".join(map(line, (head, *rows)))


def _squeeze(widths: list[int], width: int) -> None:
    """Make the widest column but the first narrower until all fit, and narrower still if needed."""
    for narrowest in (NARROWEST, 3):
        while sum(widths) + 2 * len(widths) - 2 > width and max(widths[1:], default=0) > narrowest:
            widths[1 + widths[1:].index(max(widths[1:]))] -= 1


def prose(text: str) -> list[str]:
    """Lines of at most a hundred characters, or of what the terminal has."""
    return wrap(text, min(WIDEST, terminal_width() or WIDEST))


def facts(pairs: Mapping[str, str]) -> list[str]:
    """Names and texts in two columns, wrapped; each line of a text begins a new one."""
    indent = max(map(cells, pairs)) + 2
    width = max(min(WIDEST, terminal_width() or WIDEST), indent + 20)
    lines = []
    for name, text in pairs.items():
        for k, part in enumerate(text.splitlines()):
            head = name + " " * (indent - cells(name)) if k == 0 else " " * indent
            lines += wrap(part, width, head, " " * (indent + 2 * ("\n" in text)))
    return lines


def megabytes(size: float | None) -> str:
    """Bytes for people."""
    if size is None:
        return "size unknown"
    unit, factor = next(((u, f) for u, f in (("GB", 1e9), ("MB", 1e6)) if size >= f), ("kB", 1e3))
    return f"{size / factor:.{0 if unit == 'kB' else 1}f} {unit}"


def minutes(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"{seconds:.{1 if seconds < 10 else 0}f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
