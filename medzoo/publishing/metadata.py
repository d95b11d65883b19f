"""What a config and a model card must say, beyond what the schema asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from ..config import ModelConfig, Version
from ..modeltest.report import MISSING, OK, WARNING, WRONG, Finding, judge
from .template import NAME

CARD = "README.md"
SECTIONS = ("Intended use", "Training data", "Quality", "Limits and risks", "License")
TODO = re.compile(r"\bTODO\b")
VERSION = re.compile(r"\d[A-Za-z0-9.+-]*")  # it becomes part of a file's name
UNSAID = {"", "unknown", "none", "n/a", "na", "nothing", "tbd", "to be done", "to do", "not known"}


def said(text: str) -> bool:
    """Whether a text says something."""
    words = text.strip(" \t\r\n.,;:!?*_`-()[]").lower()
    return words not in UNSAID and not TODO.search(text)


def lines_to_do(path: Path) -> list[int]:
    """The numbers of the lines with a placeholder; none if there is no such file."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return [k for k, line in enumerate(text.splitlines(), start=1) if TODO.search(line)]


def about_id(config: ModelConfig) -> Finding:
    """The form of the id."""
    is_id = NAME.fullmatch(config.id[6:])
    problem = "" if is_id else f"{config.id} is not NNNNN_TYPE_MODALITY_CONTENT"
    return judge("id", problem, config.id, "Such as 99999_GAN_MRI_KNEE.")


def about_version(config: ModelConfig, version: Version) -> Iterator[Finding]:
    """License, authors, citation, data sets, metrics, requirements."""
    yield _description(config, version)
    problem = "" if VERSION.fullmatch(version.name) else f"{version.name!r} is not a version"
    yield judge("version", problem, version.name, "Such as 1.0.0.")
    problem = "" if said(version.license) else f"license is {version.license!r}"
    hint = "Of code and weights, such as MIT or CC BY 4.0."
    yield judge("license", problem, version.license, hint, MISSING)
    named = version.authors and all(map(said, version.authors))
    problem = "" if named else "authors are not named"
    yield judge("authors", problem, ", ".join(version.authors), "Who is to be credited.", MISSING)
    problem = "" if said(version.citation) else "citation is not filled in"
    hint = "How to cite the model; `medzoo cite` prints it."
    yield judge("citation", problem, version.citation, hint, MISSING)
    yield _datasets(version)
    yield _metrics(version)
    yield _requirements(version)


def _description(config: ModelConfig, version: Version) -> Finding:
    texts = {
        "name": config.name,
        "description": config.description,
        "modality": config.modality,
        "organ": config.organ,
        "content": config.content,
        "architecture": version.architecture,
    }
    unsaid = ", ".join(field for field, text in texts.items() if not said(text))
    problem = f"not filled in: {unsaid}" if unsaid else ""
    return judge("description", problem, ", ".join(texts), "Say what it is.", MISSING)


def _datasets(version: Version) -> Finding:
    incomplete, licensed = [], []
    for dataset in version.datasets:
        licensed.append(f"{dataset.name} ({dataset.license})")
        if not said(dataset.name) or not said(dataset.license):
            incomplete.append(dataset.name)
    problem = f"without name or license: {', '.join(incomplete)}" if incomplete else ""
    if not version.datasets and version.generator != "procedural":
        problem = "none is named"
    return judge(
        "datasets",
        problem,
        "; ".join(licensed) or "none: procedural",
        "All that it was trained on, each with its license.",
        MISSING,
    )


def _metrics(version: Version) -> Finding:
    if not version.metrics:
        hint = "One figure with its data set, such as FID, helps people choose."
        return Finding("metrics", WARNING, "none", hint)
    figures = ", ".join(f"{m.name} {m.value:g} on {m.dataset}" for m in version.metrics)
    return Finding("metrics", OK, figures)


def _requirements(version: Version) -> Finding:
    try:
        requirements = [Requirement(r) for r in version.requires]
        SpecifierSet(version.python)
    except (InvalidRequirement, InvalidSpecifier) as error:
        return judge(
            "requires",
            f"not as pip reads it: {error}",
            "",
            'Such as "torch>=2.6", and python ">=3.10".',
        )
    if addresses := [str(r) for r in requirements if r.url]:
        return Finding(
            "requires",
            WRONG,
            f"from an address, where the code may change: {', '.join(addresses)}",
            "Name a release on PyPI, such as torch>=2.6, or put the code into the package.",
        )
    if unbounded := [r.name for r in requirements if not r.specifier]:
        return Finding(
            "requires",
            WARNING,
            f"any version of {', '.join(unbounded)}, also one that was never tried",
            "State the versions that it was tried with, such as torch>=2.6,<3.",
        )
    named = ", ".join(map(str, requirements))
    return Finding("requires", OK, f"Python {version.python}, {named or 'nothing else'}")


def about_card(folder: Path) -> Finding:
    """The model card and its sections."""
    card = folder / CARD
    if not card.is_file():
        hint = f"With the sections {', '.join(SECTIONS)}."
        return Finding("card", MISSING, f"there is no {CARD}", hint)
    text = card.read_text(encoding="utf-8", errors="replace")
    parts = re.split(r"(?m)^##\s+(.+?)\s*$", text)  # text, heading, text, heading, text ...
    bodies = dict(zip(map(str.lower, parts[1::2]), parts[2::2], strict=True))
    empty = [s for s in SECTIONS if not said(bodies.get(s.lower(), ""))]
    return judge(
        "card",
        f"{CARD} says nothing under {', '.join(empty)}" if empty else "",
        f"{CARD} with its sections",
        "Each a heading of level two, with text.",
        MISSING,
    )
