"""Pack a package: a zip, with the same bytes from the same files on every machine, and the config
that registers it.
"""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from .. import files, settings
from ..config import ModelConfig, Version
from ..errors import ContributionError, DatasetError, InputError
from ..modeltest.report import Report
from ..registry import PACKAGE_CONFIG, resolve
from .check import check
from .contents import packed
from .template import UNNUMBERED

# the keys that a registered version begins with
FIRST_KEYS = ("source", "contract", "files", "sha256", "md5", "size", "doi")


@dataclass(frozen=True)
class PackResult:
    """A packed model; print it for the next step.

    Parameters
    ----------
    archive
        The zip.
    config
        The config that registers it from where it lies.
    sha256, size
        Of the zip; size in bytes.
    report
        What the check saw.
    """

    folder: Path
    archive: Path
    config: Path
    sha256: str
    size: int
    report: Report

    def __str__(self) -> str:
        folder, registry = quote(str(self.folder)), quote(str(self.archive.parent))
        generate = f"medzoo generate {self.config.stem} -n 4 --out samples"
        return "\n".join(
            [
                f"{self.archive}  ({self.size / 1e6:.2f} MB, sha256 {self.sha256})",
                f"{self.config}",
                "",
                "Try it as others will run it:",
                f"  MEDZOO_MODEL_CONFIGS={registry} {generate}",
                "Then upload it, first to Zenodo's sandbox, where nothing is permanent:",
                f"  medzoo contribute upload {folder}",
            ]
        )


def packed_folder(folder: Path) -> Path:
    """Where a package is packed if nothing else is said: ``FOLDER-packed`` beside it."""
    path = folder.resolve()
    return path.with_name(f"{path.name}-packed")


def pack(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    env: str = "isolated",
    report: Report | None = None,
) -> PackResult:
    """Check a package and write ``NAME-VERSION.zip`` and the config that registers it.

    Equal files make equal zips, byte for byte, whatever their dates, their order on disk and the
    machine.

    Parameters
    ----------
    folder
        The package folder.
    out
        Where to write; ``FOLDER-packed`` beside the folder if None.
    env
        Where the check runs the model, as in `check`.
    report
        What `check` saw, if the package was checked just now.

    Raises
    ------
    ContributionError
        Something is missing or wrong; says what.
    InputError
        ``out`` lies inside the folder.
    DatasetError
        ``out`` cannot be written.
    """
    path = settings.user_path(folder, "folder")
    target = packed_folder(path) if out is None else settings.user_path(out, "out")
    if target.resolve().is_relative_to(path.resolve()):
        raise InputError(
            f"out={str(target)!r} lies inside the package, which would then hold its own zip.",
            "Choose another.",
        )
    report = report or check(path, env=env)
    if not report.ready:
        raise ContributionError(
            "\n".join([f"{path} is not ready:", *map(str, report.open)]),
            f"Nothing was written. `medzoo contribute check {path}` shows every check.",
        )
    config = resolve(path)
    name, version = name_of(config), config.default_version
    archive = target / f"{name}-{version}.zip"
    identifier = f"{UNNUMBERED}_{name}"
    try:
        write_zip(path, archive, config.default)
        digest, size = files.sha256_of(archive), archive.stat().st_size
        text = registration(
            config, identifier, source=f"file:{archive.name}", sha256=digest, size=size
        )
        with files.atomic(target / f"{identifier}.yaml", clear=True) as file:
            file.write(text.encode())
    except OSError as error:
        raise DatasetError(
            f"{target} could not be written: {error}.", "Choose another folder with `--out`."
        ) from error
    return PackResult(path, archive, target / f"{identifier}.yaml", digest, size, report)


def name_of(config: ModelConfig) -> str:
    """An id without its number."""
    return config.id[6:]


def write_zip(folder: Path, archive: Path, version: Version) -> None:
    """Write the package's files, in one folder with the archive's name.

    The zip says nothing about when or where it was made.
    """
    with (
        files.atomic(archive, clear=True) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as content,
    ):
        # Stored, not deflated: the output of zlib differs between systems, and weights hardly
        # shrink.
        for name in packed(folder, version):
            entry = zipfile.ZipInfo(f"{archive.stem}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            entry.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as source, content.open(entry, "w") as member:
                shutil.copyfileobj(source, member, 2**20)


def registration(config: ModelConfig, identifier: str, **fields: Any) -> str:
    """The text of a registry's config: the package's own config with another id, its source and
    its digests.
    """
    content = yaml.safe_load((config.path.parent / PACKAGE_CONFIG).read_text(encoding="utf-8"))
    version = content["versions"][config.default_version]
    rest = {key: value for key, value in version.items() if key not in FIRST_KEYS}
    registered = {"contract": version["contract"], **fields, **rest}
    content |= {"id": identifier, "versions": {config.default_version: registered}}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
