"""All checks of a package folder before it is published."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .. import settings
from ..config import ModelConfig
from ..errors import ConfigError, ContributionError
from ..generation.api import load
from ..modeltest.recorded import FILE
from ..modeltest.report import MISSING, OK, WRONG, Finding, Report, failure
from ..modeltest.runs import about_samples
from ..registry import PACKAGE_CONFIG, resolve
from .contents import about_files
from .metadata import about_card, about_id, about_version


def check(folder: str | os.PathLike[str]) -> Report:
    """Check a package folder and run its model: config, card, files, weights, samples.

    Returns
    -------
    Report
        One finding per check. ``report.ready`` says whether the package can be packed. Print it.

    Raises
    ------
    ContributionError
        There is no such folder.
    """
    path = settings.user_path(folder, "folder")
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
    return Report(title, tuple(_findings(path, config)))


def _findings(folder: Path, config: ModelConfig) -> Iterator[Finding]:
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
    yield from about_version(config, version)
    yield about_card(folder)
    yield from about_files(folder, version)
    recorded = folder / FILE
    again = partial(load, folder, device="cpu", trust=True)  # the author asks for it
    yield from about_samples(again, recorded=recorded if recorded.is_file() else None)
