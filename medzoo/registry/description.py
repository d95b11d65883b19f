"""A model as text, for `medzoo list`, `medzoo search`, notebooks and the README."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter, itemgetter
from typing import Any

from ..config import REMOTE, ModelConfig, Option, Output, Version
from ..console import megabytes

HEAD = ("id", "status", "modality", "content", "size", "license", "package")
SPARE = ("license", "modality", "size")  # columns that a narrow terminal does not show
NEEDS_TRUST, NOT_SEEN = "needs --trust", "not yet seen running"
MARKS = {NEEDS_TRUST: "!", NOT_SEEN: "*"}  # of the notes, where they do not fit
STATUS_TEXTS = {
    "demonstration": (
        "demonstration: its samples are not good enough for research; its card says why"
    )
}
LISTS = {"ints": "list of whole numbers", "floats": "list of numbers", "texts": "list"}


def row(config: ModelConfig) -> tuple[str, ...]:
    """The cells of a model in the columns of ``HEAD``, from its default version."""
    v = config.default
    return (
        config.id,
        v.status,
        config.modality,
        config.content,
        sample_size(v),
        v.license,
        ", ".join([package(v), *notes(v)]),
    )


def without_empty_status(
    rows: list[tuple[str, ...]],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """``HEAD`` and its rows, without the column `status` if no model has a status."""
    column = HEAD.index("status")
    if any(map(itemgetter(column), rows)):
        return HEAD, rows

    def without(cells: tuple[str, ...]) -> tuple[str, ...]:
        return cells[:column] + cells[column + 1 :]

    return without(HEAD), list(map(without, rows))


def summary(config: ModelConfig) -> dict[str, Any]:
    """A model as JSON, from its default version: what ``--json`` prints."""
    v = config.default
    outputs = {}
    for o in v.outputs.values():
        outputs[o.name] = {"kind": o.kind, "dtype": o.dtype, "shape": list(o.shape)}
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
        "metrics": [dict(vars(metric)) for metric in v.metrics],
        "bundled": v.scheme == "bundled",
        "needs_trust": v.needs_trust,
        "seen_running": v.is_seen_running,
        "bytes": v.size,
        "latent": v.latent,
        "outputs": outputs,
        "conditions": {c.name: dict(c.values) for c in v.conditions.values()},
        "options": {o.name: o.default for o in v.options.values()},
    }


def sample_size(version: Version) -> str:
    """The size of one sample: ``128x128``, ``256x256 + mask``, ``30 columns``."""
    first, *others = version.outputs.values()
    pixels = "x".join(map(str, first.shape[1:]))
    size = f"{first.shape[0]} columns" if first.kind == "table" else pixels or "label"
    for kind, words in (("mask", " + mask"), ("boxes", " + box")):
        if kind in map(attrgetter("kind"), others):
            size += words
    return size


def package(version: Version) -> str:
    """Where the package of a version is: bundled with medzoo, on disk, or to be downloaded."""
    if version.scheme == "bundled":
        return "bundled"
    if version.scheme == "file":
        return "on disk"
    return f"download {megabytes(version.size)}" if version.size else "download"


def notes(version: Version) -> list[str]:
    """What a user should know before running a version: whether it needs trust, and whether its
    package was seen running.
    """
    texts = [NEEDS_TRUST] if version.needs_trust else []
    if not version.is_seen_running:
        texts.append(NOT_SEEN)
    return texts


def with_short_notes(
    rows: list[tuple[str, ...]],
) -> tuple[list[tuple[str, ...]], list[str]]:
    """The rows with a mark for each note, so that a narrow terminal cuts none, and what the marks
    mean.
    """
    marked, used = [], set()
    for *others, text in rows:
        marks = ""
        for note, mark in MARKS.items():
            if f", {note}" in text:
                text = text.replace(f", {note}", "")  # noqa: PLW2901
                marks += mark
                used.add(note)
        marked.append((*others, f"{marks} {text}".lstrip()))
    return marked, [f"{mark} {note}" for note, mark in MARKS.items() if note in used]


def inputs(version: Version) -> Iterable[str]:
    """The arguments that a version takes, one phrase per argument."""
    for condition in version.conditions.values():
        values = " | ".join(condition.values)
        explanation = condition.help.rstrip(".")
        yield f"{condition.name} = {values} ({explanation}; each in turn if left out)"
    for option in version.options.values():
        explanation = option.help.rstrip(".")
        default = "the package chooses" if option.default is None else option.default
        yield f"{option.name} = {_values(option)} ({explanation}; {default} if left out)"
    for i in version.inputs.values():
        size = f" of {'x'.join(map(str, i.shape[1:]))}" if i.shape else ""
        default = "" if i.required else "; the package has its own"
        key = f"[{i.name!r}]" if len(version.inputs) > 1 else ""
        yield f"inputs{key} = {i.kind}s{size} ({i.help.rstrip('.')}{default})"
    if version.settable_latents:
        yield f"latents = array (n, {version.latent})"


def _values(option: Option) -> str:
    """The values that an option takes: ``1 | 2``, ``0 to 1``, ``list of numbers``, ``float``."""
    span = " | ".join(map(str, option.choices))
    if not span and option.minimum is not None and option.maximum is not None:
        span = f"{option.minimum:g} to {option.maximum:g}"
    kind = LISTS.get(option.type, "")
    if kind and span:
        return f"{kind} of {span}"
    return kind or span or option.type


def metrics(version: Version) -> str:
    """The reported figures; comparable ones share a line.

    Such as ``FID 80.5, FID ratio 0.36 on OPTIMAM (1,000 samples)``.
    """
    groups: dict[str, list[str]] = {}
    for m in version.metrics:
        samples = f" ({m.samples:,} samples)" if m.samples else ""
        groups.setdefault(m.dataset + samples, []).append(f"{m.name} {m.value:g}")
    return "\n".join(f"{', '.join(figures)} on {dataset}" for dataset, figures in groups.items())


def model_facts(config: ModelConfig, version: Version) -> dict[str, str]:
    """What ``medzoo info`` says about a version of a model."""
    status = {"status": STATUS_TEXTS[version.status]} if version.status else {}
    remarks = {"note": "; ".join(notes(version))} if notes(version) else {}
    datasets = [f"{dataset.name} ({dataset.license})" for dataset in version.datasets]
    return {
        **status,
        "version": version_text(config, version),
        "modality": f"{config.modality}, {config.organ}, {config.content}",
        "architecture": version.architecture,
        "trained on": "; ".join(datasets) or "no data",
        "samples": "; ".join(map(output_text, version.outputs.values())),
        "latent": f"{version.latent} numbers" if version.latent else "none",
        "inputs": "\n".join(inputs(version)) or "none",
        "package": package_text(version),
        **remarks,
        "license": version.license,
        "authors": f"{', '.join(version.authors)} ({version.year})",
        "metrics": metrics(version) or "none reported",
    }


def version_text(config: ModelConfig, version: Version) -> str:
    """The name of a version, and of the others."""
    others = [name for name in config.versions if name != version.name]
    if not others:
        return version.name
    default = " (default)" if version.name == config.default_version else ""
    return f"{version.name}{default}; also {', '.join(others)}"


def output_text(output: Output) -> str:
    """``images 1x128x128 uint8``."""
    text = f"{output.name} {'x'.join(map(str, output.shape)) or 'one'} {output.dtype}"
    return f"{text} (or as your {output.geometry})" if output.geometry else text


def package_text(version: Version) -> str:
    """The kind of a package, and where it comes from or how large it is."""
    text = package(version)
    if version.scheme in REMOTE:
        return f"{text} from {version.source}"
    return f"{text}, {megabytes(version.size)}" if version.size else text
