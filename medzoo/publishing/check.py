"""All checks of a package folder before it is published."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from .. import settings
from ..config import ModelConfig
from ..errors import ConfigError, ContributionError, InputError
from ..generation.api import load
from ..modeltest.recorded import FILE
from ..modeltest.report import MISSING, OK, WRONG, Finding, Report, failure
from ..modeltest.runs import about_samples
from ..registry import PACKAGE_CONFIG, resolve
from .contents import about_files
from .metadata import about_card, about_id, about_version

ENVIRONMENTS = ("isolated", "current")


def check(folder: str | os.PathLike[str], *, env: str = "isolated") -> Report:
    """Check a package folder and run its model: config, card, files, weights, samples.

    Parameters
    ----------
    folder
        The package folder.
    env
        Where the model runs. By default in an environment that holds only what the config
        requires, so that a missing requirement is found; it is built once, from the network.
        ``"current"`` runs it with the packages that are installed here.

    Returns
    -------
    Report
        One finding per check. ``report.ready`` says whether the package can be packed. Print it.

    Raises
    ------
    ContributionError
        There is no such folder.
    InputError
        ``env`` is not one of these.
    """
    path = settings.user_path(folder, "folder")
    if env not in ENVIRONMENTS:
        raise InputError(f"env={env!r} is unknown.", f"Use {' or '.join(ENVIRONMENTS)}.")
    if not path.is_dir():
        raise ContributionError(
            f"There is no folder {path}.",
            f"`medzoo contribute new {path} --name GAN_MRI_KNEE` makes one.",
        )
    config, problem = None, None
    if (path / PACKAGE_CONFIG).is_file():
        try:
            config = resolve(path)
        except ConfigError as error:
            problem = failure("config", error)
    else:
        hint = "docs/configs.md explains it."
        problem = Finding("config", MISSING, f"there is no {PACKAGE_CONFIG}", hint)
    if config is None:
        assert problem is not None  # noqa: S101
        return Report(str(path), (problem, *about_files(path, None), about_card(path)))
    title = f"{path}: {config.id}, version {config.default_version}"
    return Report(title, tuple(_findings(path, config, env)))


def _findings(folder: Path, config: ModelConfig, env: str) -> Iterator[Finding]:
    version = config.default
    yield Finding("config", OK, f"{PACKAGE_CONFIG} passes the schema")
    if len(config.versions) > 1 or version.source != "file:.":
        yield Finding(
            "source",
            WRONG,
            f"{len(config.versions)} versions, the default one from {version.source}",
            "A package's own config has one version, with `source: file:.`",
        )
        return  # what runs would not be this folder
    yield about_id(config)
    if version.lock:
        yield Finding(
            "lock",
            WRONG,
            f"{version.lock} does not come into the registry together with the config",
            "Take `lock` out of the config; `requires` names the versions.",
        )
    yield from about_version(config, version)
    yield about_card(folder)
    yield from about_files(folder, version)
    recorded = folder / FILE
    again = partial(load, folder, device="cpu", env=env, trust=True)  # the author asks for it
    for finding in about_samples(again, recorded=recorded if recorded.is_file() else None):
        yield _with_offline_hint(finding, env)


def _with_offline_hint(finding: Finding, env: str) -> Finding:
    """A finding; that of a failed load in a new environment names the other one."""
    if env == "current" or finding.name != "code" or not finding.bars:
        return finding
    hint = "Without a network, `--env current` checks with the packages that are installed here."
    return replace(finding, hint=f"{finding.hint} {hint}".strip())
