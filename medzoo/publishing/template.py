"""A new package folder, from ``contrib_template/``."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from textwrap import indent

import yaml

from .. import checks, files, settings
from ..config import medigan
from ..errors import InputError

PART = "[A-Za-z0-9]+(?:[.-][A-Za-z0-9]+)*"
NAME = re.compile(f"(?=[A-Za-z]){PART}(?:_{PART}){{2,}}")  # what an id is without its number
CONTRACT = "contract.yaml"  # what the config of a template says of its contract
PLACEHOLDER = "TYPE_MODALITY_CONTENT"
UNPACKED = ".unpacked"  # where an archive is unpacked, until its package is moved up
TEMPLATES = ("torch", "numpy", "medigan")  # folders in contrib_template
UNNUMBERED = "99999"  # the number of a model that has none yet


def new(folder: str | os.PathLike[str], *, name: str, template: str = "torch") -> Path:
    """Start a package: a small model that works, to be replaced piece by piece.

    Parameters
    ----------
    folder
        A new or empty folder.
    name
        TYPE_MODALITY_CONTENT, such as GAN_MRI_KNEE.
    template
        ``"torch"`` or ``"numpy"`` for a model of the native contract, or ``"medigan"`` for a
        function `generate` with the arguments that medigan's packages take.

    Returns
    -------
    pathlib.Path
        The folder, which `medzoo.generate` takes in place of an id.

    Raises
    ------
    InputError
        The name has another form, or there is no such template.
    DatasetError
        The folder holds something, or cannot be written.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(
            f"name={name!r} is not a valid model name.",
            "It is TYPE_MODALITY_CONTENT in letters, digits, dots and hyphens, such as "
            "GAN_MRI_KNEE.",
        )
    if template not in TEMPLATES:
        raise InputError(
            f"template={checks.shown(template)} is not a template.",
            f"{checks.meant(template, TEMPLATES)}Use {', '.join(TEMPLATES)}.",
        )
    target = settings.user_path(folder, "folder")
    common = settings.shipped("contrib_template")
    contract = (common / template / CONTRACT).read_text(encoding="utf-8")
    with files.new_folder(target) as aside:
        for path in [*sorted(common.iterdir()), *sorted((common / template).iterdir())]:
            if not path.is_file() or path.name == CONTRACT or path.suffix == ".pyc":
                continue
            content = path.read_bytes()
            if path.suffix in {".yaml", ".md"}:
                text = content.decode().replace(PLACEHOLDER, name)
                content = text.replace("    CONTRACT\n", indent(contract, "    ")).encode()
            (aside / path.name).write_bytes(content)
    return target


def from_medigan(folder: str | os.PathLike[str], *, source: str | os.PathLike[str]) -> Path:
    """Start a package from a private model of medigan: a copy of its folder, with a config that is
    written from its metadata and a card to fill in.

    Parameters
    ----------
    folder : str or path
        A new or empty folder.
    source : str or path
        The model's folder, with a ``metadata.json`` or ``global.json`` of medigan.

    Returns
    -------
    pathlib.Path
        The folder, which `medzoo.generate` takes in place of an id.

    Raises
    ------
    InputError
        The model's folder has no metadata of medigan.
    ConfigError
        The metadata does not state what cannot be assumed; names the key.
    DatasetError
        The new folder holds something, or cannot be written.
    """
    target, origin = settings.user_path(folder, "folder"), settings.user_path(source, "source")
    metadata = medigan.metadata_file(origin)
    if metadata is None:
        raise InputError(
            f"{origin} has no {' or '.join(medigan.FILES)}.",
            "Name the folder of a package of medigan with its metadata.",
        )
    config = medigan.read_metadata(metadata.absolute())  # checks it, and states what is assumed
    content, assumed = medigan.content_of(metadata.absolute())
    version = content["versions"][config.default_version]
    package = (origin / version["source"].removeprefix("file:")).resolve()
    version["source"] = "file:."
    text = "".join(f"# Assumed, please check: {line}\n" for line in assumed)
    text += yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    with files.new_folder(target) as aside:
        if package.is_file():
            files.unpack(package, aside / UNPACKED)
            _lift(aside, config.default.call.weights if config.default.call else "")
        else:
            skipped = shutil.ignore_patterns("__pycache__", ".*", *medigan.FILES)
            shutil.copytree(package, aside, ignore=skipped, dirs_exist_ok=True)
        card = (settings.shipped("contrib_template") / "README.md").read_text(encoding="utf-8")
        if not (aside / "README.md").exists():
            card = card.replace(PLACEHOLDER, config.id[6:])
            (aside / "README.md").write_text(card, encoding="utf-8")
        (aside / "config.yaml").write_text(text, encoding="utf-8")
    return target


def _lift(folder: Path, weights: str) -> None:
    """Move the package to ``folder`` from where it was unpacked, or from the one folder there."""
    top = folder / UNPACKED
    inside = [p for p in top.iterdir() if p.is_dir() and (p / weights).exists()]
    nested = not (top / "__init__.py").exists() and len(inside) == 1
    for path in list((inside[0] if nested else top).iterdir()):
        path.rename(folder / path.name)
    shutil.rmtree(top)
