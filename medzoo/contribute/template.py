"""A new package folder, from ``contrib_template/``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .. import files, settings
from ..errors import InputError

PART = "[A-Za-z0-9]+(?:[.-][A-Za-z0-9]+)*"
NAME = re.compile(f"(?=[A-Za-z]){PART}(?:_{PART}){{2,}}")  # what an id is without its number
PLACEHOLDER = "TYPE_MODALITY_CONTENT"
UNNUMBERED = "99999"  # the number of a model that has none yet


def new(folder: str | os.PathLike[str], *, name: str) -> Path:
    """Start a package: a small model that works, to be replaced piece by piece.

    Parameters
    ----------
    folder
        A new or empty folder.
    name
        TYPE_MODALITY_CONTENT, such as GAN_MRI_KNEE.

    Returns
    -------
    pathlib.Path
        The folder, which `medzoo.generate` takes in place of an id.

    Raises
    ------
    InputError
        The name has another form.
    DatasetError
        The folder holds something, or cannot be written.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(
            f"name={name!r} is not a valid model name.",
            "It is TYPE_MODALITY_CONTENT in letters, digits, dots and hyphens, such as GAN_MRI_KNEE.",
        )
    target = settings.user_path(folder, "folder")
    with files.new_folder(target) as aside:
        for path in sorted(settings.shipped("contrib_template").iterdir()):
            if path.is_file() and not path.name.startswith((".", "__init__")):
                content = path.read_bytes()
                if path.suffix in {".yaml", ".md"}:
                    content = content.replace(PLACEHOLDER.encode(), name.encode())
                (aside / path.name).write_bytes(content)
    return target
