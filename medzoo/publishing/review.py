"""What a pull request's configs must fulfil: ``python -m medzoo.publishing
model_configs/00101_X_Y_Z.yaml ...``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..config import ModelConfig, Version, read_config
from ..errors import ConfigError, ContributionError
from ..modeltest.report import OK, WARNING, WRONG, Finding, Report, failure, judge
from .metadata import about_id, about_version, lines_to_do
from .template import UNNUMBERED

FIRST = 101  # the first number of models that medigan does not publish
CONTRIBUTED = 1001  # the first number of contributed models
SANDBOX = "https://sandbox.zenodo.org/"
MEDIGAN = 23  # the last number of medigan's models
SOURCES = re.compile(
    r"zenodo:\d+/[A-Za-z0-9._+-]+\.zip|https://[^\s/]+/\S+\.zip|bundled:[A-Za-z0-9._-]+"
)


def review(path: Path) -> Report:
    """Check a config as a registry would hold it, in its folder of configs.

    Nothing is fetched or run.
    """
    try:
        config = read_config(path)
    except ConfigError as error:
        return Report(str(path), (failure("config", error),))
    findings = list(_about_place(config))
    for version in config.versions.values():
        label = f"{version.name} " if len(config.versions) > 1 else ""
        of_version = [
            *about_version(config, version),
            _source(config, version),
            _digest(version),
            _lock(config, version),
        ]
        findings += [replace(finding, name=label + finding.name) for finding in of_version]
    return Report(f"{path}: {config.name}", tuple(findings))


def _about_place(config: ModelConfig) -> Iterator[Finding]:
    yield Finding("config", OK, "passes the schema")
    yield about_id(config)
    problem = "" if config.path.stem == config.id else f"{config.path.name} holds {config.id}"
    yield judge("file name", problem, config.path.name, f"Name the file {config.id}.yaml.")
    problem = _number_problem(config)
    yield judge(
        "number", problem, f"{config.number} is free", f"Take a free number from {CONTRIBUTED}."
    )
    lines = lines_to_do(config.path)
    problem = f"TODO left on line {lines[0]}" if lines else ""
    yield judge("filled in", problem, "no TODO left", "Fill in, or delete.")


def _number_problem(config: ModelConfig) -> str:
    """Why a config cannot have its number; empty if it can."""
    for path in sorted(config.path.parent.glob(f"{config.id[:5]}*.yaml")):
        if path != config.path:
            return f"{config.number} is taken by {path.name}"
    if 1 <= config.number <= MEDIGAN or FIRST <= config.number < int(UNNUMBERED):
        return ""
    return f"{config.number} is reserved"


def _source(config: ModelConfig, version: Version) -> Finding:
    is_folder = version.source.startswith("https://") and version.source.endswith("/")
    is_address = SOURCES.fullmatch(version.source) or is_folder
    problem = (
        "" if is_address else f"{version.source} is not an address that others can download from"
    )
    if version.source.startswith(SANDBOX):
        problem = f"{version.source} is on Zenodo's sandbox, which is emptied at times"
    if version.scheme == "bundled" and version.source != f"bundled:{config.id}":
        problem = f"{version.source} is not bundled:{config.id}"
    return judge(
        "source",
        problem,
        version.source,
        "zenodo:RECORD/FILE.zip, https://.../FILE.zip or bundled:ID.",
    )


def _lock(config: ModelConfig, version: Version) -> Finding:
    missing = version.lock and not (config.path.parent / version.lock).is_file()
    problem = f"there is no {version.lock} beside the config" if missing else ""
    return judge("lock", problem, version.lock or "none", "Without it no registry is accepted.")


def _digest_of_parts(version: Version) -> Finding:
    """What is said of the digests of a package whose files have their own addresses."""
    lacking = [
        name for name, part in version.parts.items() if not (part.sha256 or part.sha1 or part.md5)
    ]
    if lacking:
        text = f"none of {', '.join(lacking)}"
        return Finding("digest", WARNING, text, "Without one a model needs `--trust`.")
    return Finding("digest", OK, f"of {len(version.files) + len(version.parts)} files")


def _digest(version: Version) -> Finding:
    if version.parts:
        return _digest_of_parts(version)
    is_folder = version.scheme == "bundled" or version.source.endswith("/")
    has_digest = bool(version.files if is_folder else version.sha256)
    if has_digest and version.size:
        return Finding("digest", OK, f"sha256 and size, {version.size / 1e6:.2f} MB")
    if version.contract == "medigan" and version.scheme == "zenodo":
        return Finding(
            "digest", WARNING, "none", "The record's own md5 is taken at the first download."
        )
    lacking = "size" if has_digest else "sha256" if version.size else "sha256 and size"
    return Finding("digest", WRONG, f"{lacking} missing", "`medzoo contribute pack` writes them.")


def main(arguments: Sequence[str]) -> int:
    """Print one report per config. Return 11 if a config is not ready, 0 otherwise."""
    if not arguments:
        print("No config was changed.")
    reports = [review(Path(argument)) for argument in arguments]
    print("\n\n".join(map(str, reports)))
    return 0 if all(report.ready for report in reports) else ContributionError.exit_code
