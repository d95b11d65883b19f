"""The two sides of an evaluation, read from what a user gives: samples, sets, folders, arrays."""

from __future__ import annotations

import csv
import re
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks, files
from ..config import Output
from ..config.columns import names_of_kind
from ..datasets.journal import PROVENANCE
from ..errors import InputError, MedzooWarning
from ..generation.api import generate
from ..inputs import pictures
from ..registry import PACKAGE_CONFIG
from ..samples import Samples, read

Array = NDArray[Any]
Texts = NDArray[np.str_]
METADATA = "metadata.csv"
PARTS = ("train", "val", "test")
KIND_OF_NAME = {"masks": "mask", "mask": "mask", "boxes": "boxes", "table": "table"}


@dataclass(frozen=True)
class Data:
    """One side of an evaluation.

    Parameters
    ----------
    samples : Samples
        Columns of arrays, and what is known about each.
    name : str
        What it is called in tables and messages.
    texts : Mapping[str, numpy.ndarray]
        Column -> the text of each sample: the names of labels, and the columns of metadata.csv.
    files : tuple of str
        The file of each sample, if they were read from a folder of pictures.
    inspected : tuple
        What `Reading.inspect` returned for each of these files.
    held_out : Data, optional
        The part ``val`` or ``test`` of a folder that has a part ``train``.
    """

    samples: Samples
    name: str
    texts: Mapping[str, Texts] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    inspected: tuple[Any, ...] = ()
    held_out: Data | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def at(self, rows: Array) -> Data:
        """Fewer samples."""
        texts = {name: values[rows] for name, values in self.texts.items()}
        names = tuple(self.files[row] for row in rows) if self.files else ()
        inspected = tuple(self.inspected[row] for row in rows) if self.inspected else ()
        return replace(
            self,
            samples=self.samples[rows],
            texts=texts,
            files=names,
            inspected=inspected,
            held_out=None,
        )

    def column(self, *kinds: str) -> str | None:
        """The name of the first column of these kinds, or None."""
        return next(iter(names_of_kind(self.samples.outputs, *kinds)), None)

    def row_name(self, row: int) -> str:
        """How a message names a sample."""
        return self.files[row] if self.files else f"sample {self.samples.indices[row]}"

    def patients(self, patient: str | None) -> Texts | None:
        """The patient of each sample; None if it is not known.

        ``patient`` is the name of a column, or a regular expression for the paths of the files. By
        default it is the column called patient, if there is one.
        """
        if patient is None:
            return self.texts.get("patient")
        if patient in self.texts:
            return self.texts[patient]
        if not self.files:
            return None
        names = []
        for name in self.files:
            match = re.search(patient, name)
            if match is None:
                raise InputError(
                    f"patient={patient!r} does not occur in the path {name!r}.",
                    "Give a regular expression that finds the patient in each path, or the name "
                    "of a column of metadata.csv.",
                )
            names.append(match[1] if match.groups() else match[0])
        return np.array(names)


@dataclass(frozen=True)
class Reading:
    """How to read what a user gives.

    Parameters
    ----------
    n, seed : int
        Of samples that are generated.
    classes : Mapping[str, str]
        Name of a folder or label -> name of the class.
    size : tuple of int, optional
        Size (H, W) to which pictures of files are brought; as they are by default.
    options : Mapping[str, Any]
        How a model is run: device, env, trust; and its own options.
    inspect : callable, optional
        Called with the path of each picture of a folder, while its file exists.
    """

    n: int = 1000
    seed: int = 0
    classes: Mapping[str, str] = field(default_factory=dict)
    size: tuple[int, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    inspect: Callable[[Path], Any] | None = None


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
    if isinstance(source, Mapping):
        return _of_arrays(source, role, role, how)
    if (
        hasattr(source, "__array__")
        and isinstance(getattr(source, "ndim", 0), int)
        and source.ndim >= 2
    ):
        return _of_arrays({"images": np.asarray(source)}, role, role, how)
    raise InputError(
        f"{role}={checks.shown(source)} cannot be evaluated.",
        "Give samples, a folder, an array (N, C, H, W), a dictionary of arrays, or a model id.",
    )


def _of_samples(samples: Samples, name: str, how: Reading) -> Data:
    texts: dict[str, Texts] = {}
    names: Mapping[str, Mapping[str, str]] = samples.provenance.get("label_names", {})
    for column in names_of_kind(samples.outputs, "label"):
        own = names.get(column, {})
        values = [own.get(str(int(code)), str(int(code))) for code in getattr(samples, column)]
        texts[column] = _renamed(values, how)
    return Data(samples, name, texts)


def _renamed(values: list[str], how: Reading) -> Texts:
    return np.array([how.classes.get(value, value) for value in values], dtype=np.str_)


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
    return _of_folder(path, path.name, how)


def _of_file(path: Path, role: str, how: Reading) -> Data:
    """An archive of pictures, arrays or a table."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        with tempfile.TemporaryDirectory() as folder:
            files.unpack(path, Path(folder) / "unpacked")
            return _of_folder(Path(folder) / "unpacked", path.stem, how)
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return _of_arrays(dict(arrays), path.stem, role, how)
    if suffix == ".npy":
        return _of_arrays({"images": np.load(path, allow_pickle=False)}, path.stem, role, how)
    if suffix == ".csv":
        return _of_csv(path, how)
    raise InputError(
        f"{role}: {path.name} is a file of an unknown kind.",
        "Give a folder of images, a set of medzoo, a .zip, .npz, .npy or .csv file.",
    )


# --------------------------------------------------------------------------------------- arrays
def _of_arrays(arrays: Mapping[str, Any], name: str, role: str, how: Reading) -> Data:
    columns: dict[str, Array] = {}
    outputs: dict[str, Output] = {}
    texts: dict[str, Texts] = {}
    label_names: dict[str, dict[str, str]] = {}
    for key, values in arrays.items():
        array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
        if array.ndim == 0:
            raise InputError(f"{role}: {key!r} is a single value.", "Give one row per sample.")
        if array.dtype.kind in "OUS":
            texts[key] = _renamed([str(value) for value in array], how)
            continue
        kind = _kind_of(key, array, role)
        if kind == "label":
            texts[key] = _renamed([str(int(value)) for value in array], how)
        array = array.astype(np.uint8) if array.dtype == bool else array
        columns[key] = array
        outputs[key] = _output(key, kind, array, role)
    for key in [k for k in texts if k in {"labels", "label"} and k not in columns]:
        names, codes = np.unique(texts[key], return_inverse=True)
        columns[key] = codes.astype(np.int64)
        outputs[key] = Output(key, "label", "int64", ())
        label_names[key] = {str(code): str(text) for code, text in enumerate(names)}
    if not columns:
        raise InputError(f"{role}: there are no arrays in {name}.", "Name one `images`.")
    lengths = {key: len(array) for key, array in {**columns, **texts}.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{role}: the arrays differ in length: {lengths}.")
    indices = np.arange(next(iter(lengths.values())))
    samples = Samples(columns, outputs, indices, {"label_names": label_names})
    return Data(samples, name, texts)


def _kind_of(key: str, array: Array, role: str) -> str:
    """The kind of a column, from its name and its axes."""
    if key in KIND_OF_NAME:
        return KIND_OF_NAME[key]
    if array.ndim == 1:
        return "label" if array.dtype.kind in "iub" else "table"
    if array.ndim == 2:
        return "table"
    if array.ndim in {4, 5} and array.shape[1] <= 16:
        return "image" if array.ndim == 4 else "volume"
    raise InputError(
        f"{role}: {key!r} has shape {array.shape}.",
        "Pictures are (N, C, H, W), volumes (N, C, D, H, W), labels (N,), tables (N, columns).",
    )


def _output(key: str, kind: str, array: Array, role: str) -> Output:
    output = Output(key, kind, str(array.dtype), array.shape[1:])
    if kind not in {"image", "volume"}:
        return output
    if array.dtype.kind == "f":
        output = replace(output, dtype="float32")
        low, high = np.nanmin(array), np.nanmax(array)
        if low < 0 or high > 1:
            raise InputError(
                f"{role}: {key!r} has floats from {low:g} to {high:g}, whose range is not known.",
                "Scale them to [0, 1], or give a medzoo.Samples whose output has a `range`.",
            )
    if output.value_range is None:
        raise InputError(
            f"{role}: {key!r} is {array.dtype}, whose value range is not known.",
            "Give uint8, uint16 or floats in [0, 1], or a medzoo.Samples with a `range`.",
        )
    return output


def _of_csv(path: Path, how: Reading) -> Data:
    """A table: numbers become the column ``table``, texts become groups."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    if len(rows) < 2:
        raise InputError(f"{path.name} has no rows below its head.")
    head, body = rows[0], [row for row in rows[1:] if row]
    if any(len(row) != len(head) for row in body):
        raise InputError(f"{path.name} has rows of different lengths.")
    columns, numbers, texts = [], [], {}
    for name, values in zip(head, zip(*body, strict=True), strict=True):
        numeric = _numbers(values)
        if numeric is None:
            texts[name] = _renamed(list(values), how)
        else:
            numbers.append(numeric)
            columns.append(name)
    if not numbers:
        raise InputError(f"{path.name} has no columns of numbers.")
    table = np.array(numbers).T
    output = Output("table", "table", "float32", table.shape[1:], columns=tuple(columns))
    samples = Samples({"table": table}, {"table": output}, np.arange(len(table)))
    return Data(samples, path.stem, texts)


def _numbers(values: Sequence[str]) -> list[float] | None:
    """A column as numbers, an empty cell as NaN; None if it holds other text."""
    try:
        return [float(value) if value else np.nan for value in values]
    except ValueError:
        return None


# -------------------------------------------------------------------------------------- folders
def _of_folder(folder: Path, name: str, how: Reading) -> Data:
    """A folder of pictures, or one with the parts train and val or test."""
    while True:
        inside = sorted(path for path in folder.iterdir() if not files.is_strewn(Path(path.name)))
        if len(inside) != 1 or not inside[0].is_dir():
            break
        if _pictures_in(inside[0], direct=True):
            break  # one class
        folder = inside[0]
    parts = [path.name for path in inside if path.is_dir() and path.name in PARTS]
    if "train" in parts:
        held = next((part for part in PARTS[1:] if part in parts), None)
        whole = _of_pictures(folder / "train", f"{name}/train", how)
        if held is None:
            return whole
        return replace(whole, held_out=_of_pictures(folder / held, f"{name}/{held}", how))
    return _of_pictures(folder, name, how)


def _pictures_in(folder: Path, *, direct: bool = False) -> list[Path]:
    paths = folder.iterdir() if direct else folder.rglob("*")
    kept = []
    for path in sorted(paths, key=_natural):
        relative = path.relative_to(folder)
        if path.suffix.lower() in pictures.READERS and not files.is_strewn(relative):
            kept.append(path)
    return kept


def _natural(path: Path) -> tuple[str, int, str]:
    return str(path.parent), int(path.stem) if path.stem.isdigit() else 0, path.name


def _of_pictures(folder: Path, name: str, how: Reading) -> Data:
    """All pictures of a folder. A folder inside it is a class; ``images`` may have ``masks``."""
    masks = folder / "masks"
    root = folder / "images" if (folder / "images").is_dir() and masks.is_dir() else folder
    paths = _pictures_in(root)
    if not paths:
        kinds = " ".join(sorted(pictures.READERS))
        raise InputError(f"{name} holds no pictures.", f"They are files of {kinds}.")
    arrays = {"images": _stacked(paths, root, how)}
    if root != folder:
        pairs = []
        for path in paths:
            pairs.append(_mask_of(path, root, masks))
        arrays["masks"] = _stacked(pairs, masks, how, mask=True)
    relative = [path.relative_to(root) for path in paths]
    if all(len(path.parts) > 1 for path in relative):
        arrays["labels"] = np.array([path.parts[0] for path in relative])
    names = tuple(path.as_posix() for path in relative)
    arrays.update(_metadata(folder / METADATA, names))
    inspected = tuple(how.inspect(path) for path in paths) if how.inspect else ()
    return replace(_of_arrays(arrays, name, name, how), files=names, inspected=inspected)


def _mask_of(path: Path, root: Path, masks: Path) -> Path:
    relative = path.relative_to(root)
    for suffix in (path.suffix, ".png", ".tif", ".npy"):
        if (masks / relative).with_suffix(suffix).exists():
            return (masks / relative).with_suffix(suffix)
    raise InputError(f"{masks.name}/ has no mask for {relative}.", "Name masks as their images.")


def _stacked(paths: list[Path], root: Path, how: Reading, *, mask: bool = False) -> Array:
    arrays: list[Array] = []
    for path in paths:
        try:
            array = pictures.read(path, mask=mask)
        except ValueError as error:
            raise InputError(
                f"{root.name}: {error}.", "Remove the file or save it again."
            ) from None
        array = array[None] if array.ndim == 2 else array
        arrays.append(resized(array, how.size, mask=mask) if how.size else array)
    shapes = {array.shape: path for array, path in zip(arrays, paths, strict=True)}
    types = {str(array.dtype) for array in arrays}
    if len(shapes) > 1 or len(types) > 1:
        texts = [f"{'x'.join(map(str, s))} ({p.name})" for s, p in list(shapes.items())[:3]]
        raise InputError(
            f"The pictures of {root.name} differ: {', '.join(texts)}, {', '.join(sorted(types))}.",
            "resize=True (--resize) brings them to the size of the synthetic ones. Channels and "
            "types must be the same.",
        )
    return np.stack(arrays)


def resized(array: Array, size: tuple[int, ...], *, mask: bool) -> Array:
    """A picture (C, H, W) of another size: averaged if smaller, bicubic if larger; masks nearest."""
    from PIL import Image

    if array.ndim != 3 or array.shape[1:] == size:
        return array
    smaller = array.shape[2] >= size[1]
    way = Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC
    way = Image.Resampling.NEAREST if mask else way
    channels = []
    for channel in array:
        values = channel if channel.dtype == np.uint8 else channel.astype(np.float32)
        changed = np.asarray(Image.fromarray(values).resize((size[1], size[0]), way))
        channels.append(np.rint(changed) if array.dtype.kind in "iu" else changed)
    return np.stack(channels).astype(array.dtype)


def _metadata(path: Path, names: tuple[str, ...]) -> dict[str, Array]:
    """The columns of metadata.csv, in the order of the files."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or "file_name" not in rows[0]:
        raise InputError(f"{path} has no column file_name.", "It names the picture of each row.")
    by_name = {row["file_name"]: row for row in rows}
    if missing := [name for name in names if name not in by_name]:
        raise InputError(f"{path} has no row for {missing[0]} ({len(missing)} are missing).")
    columns = {}
    for column in rows[0]:
        if column != "file_name":
            columns[column] = np.array([by_name[name][column] or "" for name in names])
    return columns


def warn(text: str, notes: list[str]) -> None:
    """Warn, and keep the text for the report."""
    notes.append(text)
    warnings.warn(text, MedzooWarning, stacklevel=8)
