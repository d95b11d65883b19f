"""What a user gives as a side of an evaluation: samples, sets, folders, arrays, models."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from .. import checks, files
from ..config.columns import names_of_kind
from ..datasets.journal import PROVENANCE
from ..errors import InputError
from ..generation.api import generate
from ..registry import PACKAGE_CONFIG
from ..samples import Samples, read
from .arrays import of_arrays, of_csv, of_frame, renamed
from .data import Data, Reading, Texts
from .folders import of_folder


def is_model(source: Any) -> bool:
    """Whether ``source`` names a model, whose samples have to be generated."""
    plain = checks.plain(source)
    if isinstance(plain, str):
        return not _exists(Path(plain))
    return isinstance(plain, int) and not isinstance(plain, bool)


def _exists(path: Path) -> bool:
    """Whether there is such a file or folder; text that cannot be a path is none."""
    try:
        return path.expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def data_of(source: Any, role: str, how: Reading) -> Data:
    """What a user gave as ``role``: synthetic, real or held_out.

    Raises
    ------
    InputError
        It is neither samples, a path, an array nor a model, or its files cannot be read.
    """
    if isinstance(source, Data):
        return source
    if isinstance(source, Samples):
        return _of_samples(source, role, how)
    plain = checks.plain(source)
    if isinstance(plain, int) and not isinstance(plain, bool):
        return _generated(plain, how)
    if isinstance(plain, (str, Path)):
        return _of_path(plain, role, how)
    if (arrays := _of_memory(source, role, how)) is not None:
        return arrays
    raise InputError(
        f"{role}={checks.shown(source)} cannot be evaluated.",
        "Give samples, a folder, an array (N, C, H, W), a dictionary of arrays, a data frame, or a "
        "model id.",
    )


def _of_memory(source: Any, role: str, how: Reading) -> Data | None:
    """A data frame, a mapping of arrays or one array; None if it is none of them."""
    if hasattr(source, "columns") and hasattr(source, "shape"):
        return of_frame(source, role, how)
    if isinstance(source, Mapping):
        return of_arrays(source, role, role, how)
    axes = getattr(source, "ndim", 0)
    if hasattr(source, "__array__") and isinstance(axes, int) and axes >= 2:
        return of_arrays({"images": np.asarray(source)}, role, role, how)
    return None


def _of_samples(samples: Samples, name: str, how: Reading) -> Data:
    texts: dict[str, Texts] = {}
    names: Mapping[str, Mapping[str, str]] = samples.provenance.get("label_names", {})
    for column in names_of_kind(samples.outputs, "label"):
        own = names.get(column, {})
        values = [own.get(str(int(code)), str(int(code))) for code in getattr(samples, column)]
        texts[column] = renamed(values, how)
    return Data(samples, name, texts)


def _generated(model: int | str | Path, how: Reading) -> Data:
    samples = generate(model, how.n, seed=how.seed, **how.options)
    return _of_samples(samples, str(samples.provenance.get("model", model)), how)


def _of_path(source: str | Path, role: str, how: Reading) -> Data:
    path = Path(source).expanduser()
    is_id = isinstance(source, str) and (source.isdigit() or not _exists(path))
    if is_id and not ("/" in str(source) or "\\" in str(source) or path.suffix):
        return _generated(source, how)
    if not _exists(path):
        raise InputError(
            f"{role}: there is no {path!s:.200}.", "Give the path of a folder of images."
        )
    if not path.is_dir():
        return _of_file(path, role, how)
    if (path / PROVENANCE).exists():
        return _of_samples(read(path), path.name, how)
    if (path / PACKAGE_CONFIG).exists():
        return _generated(path, how)
    return of_folder(path, path.name, how)


def _arrays_of(path: Path, role: str) -> dict[str, Any]:
    """The arrays of a file of numpy, without pickle."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"images": loaded}
        with loaded as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(
            f"{role}: {path.name} is damaged, or holds objects that only pickle could read.",
            "Save arrays of numbers or text with numpy.savez or numpy.save.",
        ) from error


def _of_file(path: Path, role: str, how: Reading) -> Data:
    """An archive of pictures, arrays or a table."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        with tempfile.TemporaryDirectory() as folder:
            files.unpack(path, Path(folder) / "unpacked")
            return of_folder(Path(folder) / "unpacked", path.stem, how)
    if suffix in {".npz", ".npy"}:
        return of_arrays(_arrays_of(path, role), path.stem, role, how)
    if suffix == ".csv":
        return of_csv(path, how)
    raise InputError(
        f"{role}: {path.name} is a file of an unknown kind.",
        "Give a folder of images, a set of medzoo, a .zip, .npz, .npy or .csv file.",
    )
