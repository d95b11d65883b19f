"""A packed model on Zenodo: the zip in a record, and its address and digest in the config."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from .. import files, settings
from ..config import ModelConfig
from ..errors import ContributionError
from ..modeltest.report import Report
from ..registry import resolve
from .metadata import CARD
from .pack import PackResult, name_of, pack, packed_folder, registration
from .record import STATE, Record, Upload, asked_version, remembered, require_token
from .zenodo_metadata import license_id, of_model


@dataclass(frozen=True)
class UploadResult:
    """A model on Zenodo; print it for the next step.

    Parameters
    ----------
    folder
        The package folder.
    config
        The config that registers the model from the record.
    source
        Where the zip is, as the config says it.
    record
        The record: its DOI, its page, and whether it is published.
    sha256, size
        Of the zip; size in bytes.
    production
        Whether this is Zenodo itself, not its sandbox.
    """

    folder: Path
    config: Path
    source: str
    record: Record
    sha256: str
    size: int
    production: bool

    def __str__(self) -> str:
        state = "published" if self.record.published else "draft, which only you can see"
        return "\n".join(
            [
                f"{self.record.page}  ({state})",
                f"DOI     {self.record.doi}",
                f"sha256  {self.sha256}, {self.size / 1e6:.2f} MB",
                f"{self.config}  (source: {self.source})",
                "",
                *self._next(),
            ]
        )

    def _next(self) -> list[str]:
        folder = quote(str(self.folder))
        upload = f"  medzoo contribute upload {folder}"
        if self.record.published and self.production:
            return ["Next, the pull request:", f"  medzoo contribute submit {folder}"]
        if self.record.published:
            return ["That was the sandbox. The same on Zenodo itself:", f"{upload} --production"]
        flags = " --production" if self.production else ""
        return [
            "Look at the page. Nothing can be changed or removed after it is published:",
            f"{upload}{flags} --publish",
        ]


def upload(
    folder: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    production: bool = False,
    publish: bool = False,
    confirm: Callable[[Record], bool] | None = None,
    new_version: bool | int | str = False,
    env: str = "isolated",
    report: Report | None = None,
    progress: bool | None = None,
) -> UploadResult:
    """Pack a package and upload it to Zenodo. Repeated, it continues the same draft.

    Parameters
    ----------
    folder
        The package folder.
    out
        Where the zip, the config and ``upload.json`` are; as in `pack`.
    production
        Upload to zenodo.org. By default to its sandbox, where nothing is permanent.
    publish
        Publish the record, which cannot be undone. By default it remains a draft.
    confirm
        Asked before the record is published. It gets the `Record`, and returns whether to go on.
    new_version
        True for a new version of the record that was uploaded before; or the number or DOI of one.
    env
        Where the check runs the model, as in `check`.
    report
        What `check` saw, if the package was checked just now.
    progress
        Whether to draw a bar. By default only at a terminal.

    Raises
    ------
    ContributionError
        The package is not ready, there is no token, or Zenodo refuses or cannot be reached.
    InputError
        ``new_version`` is not a record, or is True and no earlier upload is known.
    """
    asked = asked_version(new_version)
    require_token(production=production)  # before anything takes time
    path = settings.user_path(folder, "folder")
    config = resolve(path)
    license_id(config.default.license)  # before the check runs the model
    package = pack(path, out, env=env, report=report)
    state = package.archive.parent / STATE
    card = (path / CARD).read_text(encoding="utf-8")
    work = Upload(
        [package.archive],
        of_model(config, config.default, card),
        state,
        subject=f"the model {name_of(config)}",
        raise_version="Raise the version in the config",
        production=production,
        progress=progress,
    )
    ask = confirm or _agreed
    record = work.run(new_version=asked, confirm=ask if publish else None)
    return _registered(path, config, package, record, production=production)


def _agreed(record: Record) -> bool:  # noqa: ARG001
    return True


def _registered(
    folder: Path, config: ModelConfig, package: PackResult, record: Record, *, production: bool
) -> UploadResult:
    """Write the config that registers the model from its record."""
    source = record.source(package.archive.name, production=production)
    digest = {"sha256": package.sha256, "size": package.size, "doi": record.doi}
    text = registration(config, package.config.stem, source=source, **digest)
    with files.atomic(package.config, clear=True) as file:
        file.write(text.encode())
    return UploadResult(
        folder=folder,
        config=package.config,
        source=source,
        record=record,
        sha256=package.sha256,
        size=package.size,
        production=production,
    )


def uploaded(folder: Path, out: Path | None, archive: str, md5: str) -> tuple[str, str]:
    """Source and DOI of a package that `upload` published on Zenodo.

    Raises
    ------
    ContributionError
        It was not uploaded, is not published, is on the sandbox, or holds another zip.
    """
    command = f"medzoo contribute upload {quote(str(folder))} --production --publish"
    url = settings.deposits(production=True)
    record = remembered((out or packed_folder(folder)) / STATE, url)
    if record is None:
        raise ContributionError(
            "`--source` is missing, and the package was not uploaded to Zenodo yet.",
            f"`{command}` uploads it; or give `--source zenodo:RECORD/FILE`.",
        )
    if not record.published:
        raise ContributionError(
            f"{record.page} is a draft, so others cannot download it.", f"`{command}` publishes it."
        )
    if record.files.get(archive) != md5:
        raise ContributionError(
            f"{record.page} holds another zip than the package makes now.",
            f"Raise the version in the config, then `{command} --new-version`.",
        )
    return record.source(archive, production=True), record.doi
