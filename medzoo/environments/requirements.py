"""Whether the current interpreter holds what a version declares."""

from __future__ import annotations

import platform
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from ..config import Version
from ..errors import ConfigError


def satisfied(version: Version) -> list[str]:
    """What the current interpreter lacks, in words; empty if nothing.

    Raises
    ------
    ConfigError
        ``requires`` or ``python`` is not written as the standard has it.
    """
    here = platform.python_version()
    lacking = (
        []
        if python_fits(here, version.python)
        else [f"Python {version.python} is needed, {here} is installed"]
    )
    for text in version.requires:
        lacking += _lacking(parse(text), set())
    return lacking


def parse(text: str) -> Requirement:
    """A requirement of a config.

    Raises
    ------
    ConfigError
        It is not written as the standard has it.
    """
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise ConfigError(
            f"requires: {text!r} is not a valid requirement: {error}",
            "Write it as pip has it: numpy>=1.26.",
        ) from error


def python_fits(python: str, wanted: str) -> bool:
    """Whether a Python version lies in a config's range.

    Raises
    ------
    ConfigError
        The range is not written as the standard has it.
    """
    try:
        return SpecifierSet(wanted).contains(python.rstrip("+"), prereleases=True)
    except InvalidSpecifier as error:
        raise ConfigError(
            f"python: {wanted!r} is not a valid version range.",
            'Write it as pip has it: ">=3.10,<3.13".',
        ) from error


def _lacking(requirement: Requirement, asked: set[str], extra: str = "") -> list[str]:
    if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
        return []
    wanted = f"{requirement.name}{requirement.specifier or ''} is needed"
    try:
        found = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return [f"{wanted}, none is installed"]
    if requirement.url:
        return [f"{requirement.name} is needed from {requirement.url}"]
    if not requirement.specifier.contains(found.version, prereleases=True):
        return [f"{wanted}, {found.version} is installed"]
    lacking = []
    for name in (
        requirement.extras
    ):  # what an extra adds: the distribution's requirements that hold with it and not without
        if f"{requirement.name}[{name}]" in asked:
            continue
        asked.add(f"{requirement.name}[{name}]")
        for text in found.requires or []:
            more = Requirement(text)
            if (
                more.marker
                and more.marker.evaluate({"extra": name})
                and not more.marker.evaluate({"extra": ""})
            ):
                lacking += _lacking(more, asked, name)
    return lacking
