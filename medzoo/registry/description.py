"""A model as text: the columns that `list`, `search`, notebooks and the README share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from ..config import ModelConfig, Version
from ..console import megabytes

HEAD = ("id", "status", "modality", "content", "size", "license", "package")
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
