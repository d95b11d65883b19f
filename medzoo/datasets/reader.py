"""A folder of samples, whose columns are read when they are used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from .. import files, settings
from ..config import Output
from ..config.columns import Column
from ..errors import DatasetError
from ..provenance import Provenance, outputs_of
from . import FORMATS, growth
from .formats import format_class
from .journal import MANIFEST, PROVENANCE, require_whole, unsealed
from .paths import inside

DAMAGED = "`medzoo verify` names what has changed since it was written."


class Contents(NamedTuple):
    """A finished set, as the fields of `medzoo.Samples`."""

    columns: Mapping[str, Column]
    outputs: Mapping[str, Output]
    indices: NDArray[np.int64]
    provenance: Provenance
    folder: Path


def contents(folder: str | os.PathLike[str]) -> Contents:
    """The samples in a finished folder; a column is read when it is used.

    Raises
    ------
    DatasetError
        The folder holds no finished set of samples.
    InputError
        Reading the format needs a package that is not installed.
    """
    folder = settings.user_path(folder, "folder").absolute()
    provenance = finished(folder)
    if provenance.get("format") not in FORMATS:
        raise DatasetError(
            f"{folder} has the format {provenance.get('format')!r}, "
            "which this medzoo does not know.",
            f"It knows {', '.join(FORMATS)}.",
        )
    reader = format_class(provenance["format"])
    try:
        outputs = outputs_of(provenance)
        columns, indices = reader.read(folder, outputs, provenance)
        require_indices(folder, indices, provenance)
        return Contents(columns, outputs, indices, provenance, folder)
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be read: {error}.", "`medzoo verify` names what is missing."
        ) from error
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        raise DatasetError(
            f"The manifest or the provenance of {folder} is not as it was written ({why})."
        ) from error


def finished(folder: Path) -> Provenance:
    """The provenance of a finished set, whose manifest and provenance are as they were written.

    Raises
    ------
    DatasetError
        There is no such set, or the manifest or the provenance has changed.
    """
    require_whole(folder)
    try:
        text = inside(folder, PROVENANCE).read_bytes()
        provenance = unsealed(text)
        manifest = files.sha256_of(inside(folder, MANIFEST))
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be read: {error}.", "`medzoo verify` names what is missing."
        ) from error
    if provenance is None or provenance.get("manifest_sha256") != manifest:
        place = growth.growing(folder)
        if place is not None and growth.is_moving(place):
            growth.refuse_growing(folder)
        changed = PROVENANCE if provenance is None else MANIFEST
        raise DatasetError(
            f"{folder / changed} is not as it was written: its sha256 is not the one in "
            f"{PROVENANCE}.",
            ends_changed(folder, changed) or "`medzoo verify` names what else has changed.",
        )
    return cast("Provenance", provenance)


def ends_changed(folder: Path, name: str) -> str:
    """What to do if only the line ends of manifest or provenance have changed; empty otherwise."""
    try:
        text = (folder / name).read_bytes()
        plain = text.replace(b"\r\n", b"\n")
        provenance = unsealed((folder / PROVENANCE).read_bytes().replace(b"\r\n", b"\n"))
    except OSError:
        return ""
    if plain == text or provenance is None:
        return ""
    if name == MANIFEST and hashlib.sha256(plain).hexdigest() != provenance.get("manifest_sha256"):
        return ""
    return (
        "Its line ends were changed, as git does with core.autocrlf. Put a file .gitattributes "
        "with the line `* -text` into the folder, commit it, and check the set out again."
    )


def require_indices(
    folder: Path, indices: NDArray[np.int64], provenance: Mapping[str, Any]
) -> None:
    """Raise DatasetError unless these are the numbers of the samples in the provenance."""
    subset, n = provenance.get("subset"), provenance.get("n")
    if subset is not None:
        digest = hashlib.sha256(np.asarray(indices, dtype=np.int64).tobytes()).hexdigest()
        if len(indices) == subset["n"] and f"sha256:{digest}" == subset["indices"]:
            return
        raise DatasetError(f"{folder} does not hold the samples that were saved to it.", DAMAGED)
    if n is None:
        return
    first = provenance.get("first", 0)
    if np.array_equal(indices, np.arange(first, first + n)):
        return
    expected, number = set(range(first, first + n)), set(np.asarray(indices).tolist())
    if len(indices) == n and number == expected:
        raise DatasetError(
            f"{folder} holds its samples in another order than they were written in.", DAMAGED
        )
    lacks = f"; sample {min(expected - number):,} is missing" if expected - number else ""
    raise DatasetError(
        f"{folder} holds {len(indices):,} samples, not the {n:,} that were asked for, numbers "
        f"{first:,} to {first + n - 1:,}{lacks}.",
        DAMAGED,
    )


def problem_of(folder: Path, provenance: Mapping[str, Any]) -> str:
    """Why the samples in the files are not those of the provenance; empty if they are."""
    try:
        if provenance.get("format") in FORMATS:
            reader = format_class(provenance["format"])
            outputs = outputs_of(provenance)
            _, indices = reader.read(folder, outputs, provenance)
            require_indices(folder, indices, provenance)
    except DatasetError as error:
        return error.problem
    except (OSError, KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        return f"The manifest cannot be read ({type(error).__name__}: {error})."
    return ""
