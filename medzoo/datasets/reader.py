"""A folder of samples, read back on demand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import checks, files, settings
from ..config import Output
from ..errors import DatasetError
from ..samples import Samples
from . import FORMATS
from .formats import format_class
from .journal import MANIFEST, PROVENANCE, require_whole, unsealed


@checks.checked()
def read(folder: str | os.PathLike[str]) -> Samples:
    """The samples of a finished folder; a column is read when it is asked for.

    Parameters
    ----------
    folder
        What `medzoo.generate` got as ``out``, or `Samples.save` as ``folder``.

    Returns
    -------
    Samples
        As they were generated; float columns kept as PNG or DICOM come back from their 8 or 16
        bits.

    Raises
    ------
    DatasetError
        The folder holds no finished set of samples.
    InputError
        Reading the format needs a package that is not installed.
    """
    folder = settings.user_path(folder, "folder")
    provenance = finished(folder)
    if provenance.get("format") not in FORMATS:
        raise DatasetError(
            f"{folder} has the format {provenance.get('format')!r}, which this medzoo does not know.",
            f"It knows {', '.join(FORMATS)}.",
        )
    reader = format_class(provenance["format"])
    try:
        outputs = {name: _output(fields) for name, fields in provenance["outputs"].items()}
        columns, indices = reader.read(folder, outputs, provenance)
        return Samples(columns, outputs, indices, provenance, folder)
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be read: {error}.", "`medzoo verify` names what is missing."
        ) from error
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        raise DatasetError(
            f"The manifest or the provenance of {folder} is not as it was written ({why})."
        ) from error


def finished(folder: Path) -> dict[str, Any]:
    """The provenance of a finished set; it and the manifest are as they were written.

    Raises
    ------
    DatasetError
        There is no such set, or one of them is another.
    """
    require_whole(folder)
    try:
        provenance = unsealed((folder / PROVENANCE).read_bytes())
        manifest = files.sha256_of(folder / MANIFEST)
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be read: {error}.", "`medzoo verify` names what is missing."
        ) from error
    if provenance is None or provenance.get("manifest_sha256") != manifest:
        changed = PROVENANCE if provenance is None else MANIFEST
        raise DatasetError(
            f"{folder / changed} is not as it was written: its sha256 is not the one in {PROVENANCE}.",
            "`medzoo verify` names what else has changed.",
        )
    return provenance


def describe(outputs: Mapping[str, Output]) -> dict[str, dict[str, Any]]:
    """What `read` must know of the columns later, as JSON."""
    fields = (
        "name",
        "kind",
        "dtype",
        "shape",
        "range",
        "unit",
        "window",
        "spacing",
        "condition",
        "columns",
    )
    return {
        n: {f: v for f in fields if (v := getattr(o, f)) not in (None, "", ())}
        for n, o in outputs.items()
    }


def _output(fields: Mapping[str, Any]) -> Output:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return Output(**{"shape": (), **values})
