"""What a config and a model card must say, beyond what the schema asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from ..config import ModelConfig, Version
from ..modeltest.report import MISSING, OK, WARNING, Finding, judge
from .template import NAME

CARD = "README.md"
SECTIONS = ("Intended use", "Training data", "Quality", "Limits and risks", "License")
TODO = re.compile(r"\bTODO\b")
VERSION = re.compile(r"\d[A-Za-z0-9.+-]*")  # it becomes part of a file's name
UNSAID = {"", "unknown", "none", "n/a", "tbd"}


def said(text: str) -> bool:
    """Whether a text says something."""
    return text.strip().lower() not in UNSAID and not TODO.search(text)


def about_id(config: ModelConfig) -> Finding:
    """The form of the id."""
    problem = (
        "" if NAME.fullmatch(config.id[6:]) else f"{config.id} is not NNNNN_TYPE_MODALITY_CONTENT"
    )
    return judge("id", problem, config.id, "Such as 99999_GAN_MRI_KNEE.")


def about_version(config: ModelConfig, version: Version) -> Iterator[Finding]:
    """License, authors, citation, data sets, metrics, requirements."""
    texts = {k: getattr(config, k) for k in ("name", "description", "modality", "organ", "content")}
    texts["architecture"] = version.architecture
    unsaid = ", ".join(k for k, text in texts.items() if not said(text))
    problem = f"not filled in: {unsaid}" if unsaid else ""
    yield judge("description", problem, ", ".join(texts), "Say what it is.", MISSING)
    wrong = "" if VERSION.fullmatch(version.name) else f"{version.name!r} is not a version"
    yield judge("version", wrong, version.name, "Such as 1.0.0.")
    problem = "" if said(version.license) else f"license is {version.license!r}"
    yield judge(
        "license",
        problem,
        version.license,
        "Of code and weights, such as MIT or CC BY 4.0.",
        MISSING,
    )
    problem = "" if version.authors and all(map(said, version.authors)) else "authors are not named"
    yield judge("authors", problem, ", ".join(version.authors), "Who is to be credited.", MISSING)
    problem = "" if said(version.citation) else "citation is not filled in"
    yield judge(
        "citation",
        problem,
        version.citation,
        "How to cite the model; `medzoo cite` prints it.",
        MISSING,
    )
    yield _datasets(version)
    if version.metrics:
        yield Finding(
            "metrics",
            OK,
            ", ".join(f"{m.name} {m.value:g} on {m.dataset}" for m in version.metrics),
        )
    else:
        yield Finding(
            "metrics",
            WARNING,
            "none",
            "One figure with its data set, such as FID, helps people choose.",
        )
    yield _requirements(version)


def _datasets(version: Version) -> Finding:
    bad = [d.name for d in version.datasets if not said(d.name) or not said(d.license)]
    problem = f"without name or license: {', '.join(bad)}" if bad else ""
    if not version.datasets and version.generator != "procedural":
        problem = "none is named"
    found = "; ".join(f"{d.name} ({d.license})" for d in version.datasets) or "none: procedural"
    return judge(
        "datasets", problem, found, "All that it was trained on, each with its license.", MISSING
    )


def _requirements(version: Version) -> Finding:
    try:
        named = [str(Requirement(r)) for r in version.requires]
        SpecifierSet(version.python)
    except (InvalidRequirement, InvalidSpecifier) as error:
        return judge(
            "requires",
            f"not as pip reads it: {error}",
            "",
            'Such as "torch>=2.6", and python ">=3.10".',
        )
    return Finding("requires", OK, f"Python {version.python}, {', '.join(named) or 'nothing else'}")


def about_card(folder: Path) -> Finding:
    """The model card and its sections."""
    card = folder / CARD
    if not card.is_file():
        return Finding(
            "card", MISSING, f"there is no {CARD}", f"With the sections {', '.join(SECTIONS)}."
        )
    text = card.read_text(encoding="utf-8", errors="replace")
    parts = re.split(r"(?m)^##\s+(.+?)\s*$", text)  # text, heading, text, heading, text ...
    sections = {
        heading.lower(): body for heading, body in zip(parts[1::2], parts[2::2], strict=True)
    }
    empty = [s for s in SECTIONS if not said(sections.get(s.lower(), ""))]
    return judge(
        "card",
        f"{CARD} says nothing under {', '.join(empty)}" if empty else "",
        f"{CARD} with its sections",
        "Each a heading of level two, with text.",
        MISSING,
    )
