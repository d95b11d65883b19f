"""Everything that can be checked of a package folder before anyone else sees it."""

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
    """Look at a package folder and run its model: config, card, files, weights, samples.

    Returns
    -------
    Report
        One finding a check; ``report.ready`` says whether the package can be packed. Print it.

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
    try:
        config = resolve(path) if (path / PACKAGE_CONFIG).is_file() else None
    except ConfigError as error:
        return Report(
            str(path), (failure("config", error), *about_files(path, None), about_card(path))
        )
    if config is None:
        absent = Finding(
            "config", MISSING, f"there is no {PACKAGE_CONFIG}", "docs/configs.md explains it."
        )
        return Report(str(path), (absent, *about_files(path, None), about_card(path)))
    return Report(
        f"{path}: {config.id}, version {config.default_version}", tuple(_findings(path, config))
    )


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
