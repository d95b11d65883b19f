"""Whether the current interpreter has the packages that a version declares."""

from __future__ import annotations

import platform
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from ..config import Version
from ..errors import ConfigError


def satisfied(version: Version) -> list[str]:
    """The requirements that the current interpreter does not meet, in words.

    Raises
    ------
    ConfigError
        ``requires`` or ``python`` is not valid.
    """
    current = platform.python_version()
    lacking = []
    if not python_fits(current, version.python):
        lacking.append(f"Python {version.python} is needed, {current} is installed")
    for text in version.requires:
        lacking += _lacking(parse(text), set())
    return lacking


def parse(text: str) -> Requirement:
    """A requirement of a config, as PEP 508 defines it.

    Raises
    ------
    ConfigError
        It is not a valid requirement.
    """
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise ConfigError(
            f"requires: {text!r} is not a valid requirement: {error}",
            "Write it as for pip: numpy>=1.26.",
        ) from error


def python_fits(python: str, wanted: str) -> bool:
    """Whether a Python version is in the range of a config, as PEP 440 defines it.

    Raises
    ------
    ConfigError
        It is not a valid range.
    """
    try:
        return SpecifierSet(wanted).contains(python.rstrip("+"), prereleases=True)
    except InvalidSpecifier as error:
        raise ConfigError(
            f"python: {wanted!r} is not a valid version range.",
            'Write it as for pip: ">=3.10,<3.13".',
        ) from error


def _lacking(requirement: Requirement, asked: set[str], extra: str = "") -> list[str]:
    """What is missing for a requirement; ``asked`` holds the extras that were looked at before."""
    if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
        return []
    wanted = f"{requirement.name}{requirement.specifier or ''} is needed"
    try:
        distribution = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return [f"{wanted}, none is installed"]
    if requirement.url:
        return [f"{requirement.name} is needed from {requirement.url}"]
    if not requirement.specifier.contains(distribution.version, prereleases=True):
        return [f"{wanted}, {distribution.version} is installed"]
    lacking = []
    for name in requirement.extras:
        if f"{requirement.name}[{name}]" in asked:
            continue
        asked.add(f"{requirement.name}[{name}]")
        for other in map(Requirement, distribution.requires or []):
            if _is_added_by(other, name):
                lacking += _lacking(other, asked, name)
    return lacking


def _is_added_by(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement of a distribution applies with an extra, and not without it."""
    marker = requirement.marker
    if marker is None:
        return False
    return marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})
