"""What a pull request's configs must fulfil: ``python -m medzoo.contribute
model_configs/00101_X_Y_Z.yaml ...``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..config import ModelConfig, Version, read_config
from ..errors import ConfigError, ContributionError
from ..modeltest.report import OK, WARNING, WRONG, Finding, Report, failure, judge
from .metadata import TODO, about_id, about_version

FIRST, MEDIGAN = (
    101,
    23,
)  # the first number of medzoo's own models, the last of those that medigan publishes
SOURCES = re.compile(
    r"zenodo:\d+/[A-Za-z0-9._+-]+\.zip|https://[^\s/]+/\S+\.zip|bundled:[A-Za-z0-9._-]+"
)


def review(path: Path) -> Report:
    """Look at a config as a registry would hold it, in its folder of configs; nothing is fetched or
    run.
    """
    try:
        config = read_config(path)
    except ConfigError as error:
        return Report(str(path), (failure("config", error),))
    findings = list(_about_place(config))
    for version in config.versions.values():
        also = f"{version.name} " * (len(config.versions) > 1)
        about = (*about_version(config, version), _source(config, version), _digest(version))
        findings += [Finding(also + f.name, f.state, f.text, f.hint) for f in about]
    return Report(f"{path}: {config.name}", tuple(findings))


def _about_place(config: ModelConfig) -> Iterator[Finding]:
    yield Finding("config", OK, "passes the schema")
    yield about_id(config)
    problem = "" if config.path.stem == config.id else f"{config.path.name} holds {config.id}"
    yield judge("file name", problem, config.path.name, f"Name the file {config.id}.yaml.")
    others = [
        p.name
        for p in sorted(config.path.parent.glob("*.yaml"))
        if p != config.path and p.name[:5] == config.id[:5]
    ]
    reserved = (
        ""
        if 1 <= config.number <= MEDIGAN or FIRST <= config.number < 99999
        else f"{config.number} is reserved"
    )
    problem = f"{config.number} is taken by {others[0]}" if others else reserved
    yield judge("number", problem, f"{config.number} is free", f"Take a free number from {FIRST}.")
    left = [
        k
        for k, line in enumerate(config.path.read_text(encoding="utf-8").splitlines(), start=1)
        if TODO.search(line)
    ]
    yield judge(
        "filled in",
        f"TODO left on line {left[0]}" if left else "",
        "no TODO left",
        "Fill in, or delete.",
    )


def _source(config: ModelConfig, version: Version) -> Finding:
    problem = (
        ""
        if SOURCES.fullmatch(version.source)
        else f"{version.source} is not an address that others can download from"
    )
    if version.scheme == "bundled" and version.source != f"bundled:{config.id}":
        problem = f"{version.source} is not bundled:{config.id}"
    return judge(
        "source",
        problem,
        version.source,
        "zenodo:RECORD/FILE.zip, https://.../FILE.zip or bundled:ID.",
    )


def _digest(version: Version) -> Finding:
    held = bool(version.files) if version.scheme == "bundled" else bool(version.sha256)
    if held and version.size:
        return Finding("digest", OK, f"sha256 and size, {version.size / 1e6:.2f} MB")
    if version.contract == "medigan" and version.scheme == "zenodo":
        return Finding(
            "digest", WARNING, "none", "The record's own md5 is taken at the first download."
        )
    lacking = " and ".join(["sha256"] * (not held) + ["size"] * (not version.size))
    return Finding("digest", WRONG, f"{lacking} missing", "`medzoo contribute pack` writes them.")


def main(arguments: Sequence[str]) -> int:
    """Print a report a config; 11 where one is not ready, 0 otherwise."""
    if not arguments:
        print("No config was changed.")
    reports = [review(Path(a)) for a in arguments]
    print("\n\n".join(map(str, reports)))
    return 0 if all(r.ready for r in reports) else ContributionError.exit_code
