"""Samples on disk: a folder with the samples, ``manifest.jsonl`` (a line a file) and ``provenance.json``.

``provenance.json`` is written last and holds the manifest's digest: a folder without it was never finished.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import files, settings
from ..config import Output
from ..errors import DatasetError
from ..samples import Samples
from .reader import MANIFEST, PROVENANCE, read
from .writers import open_writer, pick_format

LOG = "run.log"
ASKED = (
    "model",
    "version",
    "sha256",
    "seed",
    "n",
    "first",
    "options",
    "subset",
    "format",
)  # of a provenance: what decides a set


def write(
    batches: Iterable[Samples],
    folder: str | os.PathLike[str],
    *,
    outputs: Mapping[str, Output],
    format: str | None,  # noqa: A002
    provenance: Mapping[str, Any],
    again: bool = True,
) -> Samples:
    """Write batches as they come; memory is bounded by the batch.

    ``provenance`` is read again when the last batch is written, so that a generator may complete it. A folder that
    holds the very set already is left as it is and read, unless ``again`` is False: then any content is an error.

    Returns
    -------
    Samples
        Read back from the folder on demand.

    Raises
    ------
    DatasetError
        The folder holds something else, or cannot be written. What this call wrote stays, without provenance.
    InputError
        The format is unknown or does not fit the columns.
    """
    target = settings.user_path(folder, "out")
    format = pick_format(format, outputs)  # noqa: A001
    asked = {**provenance, "format": format}
    try:
        if is_same_set(target, asked):
            if not again:
                raise DatasetError(f"{target} holds a set of samples already.", "Nothing was changed. Choose another folder.")
            return read(target)
    except OSError as error:
        raise DatasetError(f"{target} cannot be looked into: {error}.", "Choose another folder.") from error
    began = time.monotonic()
    try:
        target.mkdir(parents=True, exist_ok=True)
        _log(target, f"began {time.strftime('%Y-%m-%d %H:%M:%S')} on {platform.node()}, pid {os.getpid()}")
        writer = open_writer(format, target, outputs, provenance)
        n = 0
        with writer, files.atomic(target / MANIFEST) as manifest:
            for batch in batches:
                n += len(batch)
                for line in writer.write(batch):
                    manifest.write(_line(line))
            for line in writer.finish():
                manifest.write(_line(line))
        digest = files.sha256_of(target / MANIFEST)
        _log(target, f"ended after {time.monotonic() - began:.1f} s, {n} samples")
        finished = {**provenance, "format": format, "manifest_sha256": digest}
        files.write_json(target / PROVENANCE, finished, sort=False)  # the columns keep their order
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        hint = "What was written stays, without a provenance.json: remove it or choose another folder."
        raise DatasetError(f"{target} could not be written: {why}.", hint) from error
    return read(target)


def bytes_a_sample(batch: Samples, format: str) -> float:  # noqa: A002
    """What a sample like these takes on disk, in bytes, by writing them to a place that is then removed."""
    with tempfile.TemporaryDirectory(prefix="medzoo-") as folder:
        write([batch], folder, outputs=batch.outputs, format=format, provenance=batch.provenance)
        return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()) / len(batch)


def is_same_set(folder: Path, asked: Mapping[str, Any]) -> bool:
    """Whether ``folder`` already holds exactly what is asked for; False where it is new or empty.

    Raises
    ------
    DatasetError
        It holds something else.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise DatasetError(f"{folder} is a file, not a folder.", "Choose another folder.")
    inside = sorted(p.name for p in folder.iterdir())
    if not inside:
        return False
    if PROVENANCE not in inside:
        unfinished = LOG in inside
        what = "an unfinished set of samples (a run that was stopped)" if unfinished else f"other things ({inside[0]} ...)"
        raise DatasetError(f"{folder} holds {what}.", "Nothing was changed. Remove it, or choose another folder.")
    try:
        recorded = dict(json.loads((folder / PROVENANCE).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DatasetError(
            f"{folder / PROVENANCE} cannot be read: {error}.", "Nothing was changed. Choose another folder."
        ) from error
    now = json.loads(json.dumps(asked))
    differ = [f"{k} {recorded.get(k)!r:.60}, now {now.get(k)!r:.60}" for k in ASKED if recorded.get(k) != now.get(k)]
    if not differ:
        return True
    raise DatasetError(f"{folder} holds another set of samples: " + "; ".join(differ) + ".",
                       "Nothing was changed. Choose another folder.")  # fmt: skip


def _line(entry: Mapping[str, Any]) -> bytes:
    return (json.dumps(entry, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _log(folder: Path, text: str) -> None:
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(text + "\n")


__all__ = ["bytes_a_sample", "read", "write"]
