"""Arrays and tables as a side of an evaluation."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..config import Output
from ..errors import InputError, MedzooWarning
from ..samples import Samples
from .data import Array, Data, Reading, Texts

KIND_OF_NAME = {"masks": "mask", "mask": "mask", "boxes": "boxes", "table": "table"}
AXES = {"mask": (4, 5), "boxes": (2, 3), "table": (1, 2)}
LABELS = ("labels", "label")
MISSING = ("NAType", "NaTType")  # types of pandas for values that are missing


def renamed(values: list[str], how: Reading) -> Texts:
    """Names of classes as the other side calls them."""
    return np.array([how.classes.get(value, value) for value in values], dtype=np.str_)


def of_arrays(arrays: Mapping[str, Any], name: str, role: str, how: Reading) -> Data:
    """Arrays with one row per sample; the names say what they are.

    Raises
    ------
    InputError
        An array is none of the known kinds, or they differ in length.
    """
    columns: dict[str, Array] = {}
    outputs: dict[str, Output] = {}
    texts: dict[str, Texts] = {}
    label_names: dict[str, dict[str, str]] = {}
    for key, values in arrays.items():
        array = _array_of(key, values, role)
        if array.dtype.kind in "OUS" or (how.is_name(key) and array.ndim == 1):
            texts[key] = renamed([str(value) for value in array], how)
            continue
        kind = _kind_of(key, array, role)
        if kind == "label":
            texts[key] = renamed([str(int(value)) for value in array], how)
        if array.dtype == bool:
            array = array.astype(np.uint8) * np.uint8(1 if kind != "image" else 255)
        columns[key] = array
        outputs[key] = _output(key, kind, array, role)
    for key in [k for k in texts if k in LABELS and k not in columns]:
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
    _join_columns(columns, outputs)
    outputs = dict(sorted(outputs.items(), key=lambda item: item[0] not in LABELS))  # labels first
    samples = Samples(columns, outputs, indices, {"label_names": label_names})
    return Data(samples, name, texts)


def _array_of(key: str, values: Any, role: str) -> Array:
    """A column as an array; labels that are floats as whole numbers."""
    array: Array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if array.ndim == 0:
        raise InputError(f"{role}: {key!r} is a single value.", "Give one row per sample.")
    if key not in LABELS:
        return array
    if array.ndim != 1:
        raise InputError(
            f"{role}: {key!r} has shape {array.shape}.", "Give one label per sample, (N,)."
        )
    if array.dtype.kind != "f":
        return array
    if not (np.isfinite(array).all() and (array == np.rint(array)).all()):
        raise InputError(
            f"{role}: {key!r} has values that are not whole numbers.",
            "Give the number or the name of a class for each sample.",
        )
    return array.astype(np.int64)


def _kind_of(key: str, array: Array, role: str) -> str:
    """The kind of a column, from its name and its axes."""
    kind = KIND_OF_NAME.get(key)
    if kind and array.ndim not in AXES[kind]:
        raise InputError(
            f"{role}: {key!r} has shape {array.shape}.",
            "Masks are (N, C, H, W) or (N, C, D, H, W), boxes (N, 4) or (N, most, 4), tables (N, "
            "columns).",
        )
    if kind:
        return kind
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
        values = array[~np.isnan(array)]
        if values.size and (values.min() < 0 or values.max() > 1):
            raise InputError(
                f"{role}: {key!r} has floats from {values.min():g} to {values.max():g}, whose "
                "range is not known.",
                "Scale them to [0, 1], or give a medzoo.Samples whose output has a `range`.",
            )
    if output.value_range is None:
        raise InputError(
            f"{role}: {key!r} is {array.dtype}, whose value range is not known.",
            "Give uint8, uint16 or floats in [0, 1], or a medzoo.Samples with a `range`.",
        )
    return output


def _join_columns(columns: dict[str, Array], outputs: dict[str, Output]) -> None:
    """Make one table of all columns of numbers, so that each of them is judged."""
    single = [name for name, output in outputs.items() if output.kind == "table"]
    single = [name for name in single if columns[name].ndim == 1 and name not in KIND_OF_NAME]
    if not single:
        return
    table = np.stack([columns.pop(name) for name in single], 1)
    for name in single:
        del outputs[name]
    joined = "table" if "table" not in columns else "columns"
    columns[joined] = table
    outputs[joined] = Output(
        joined, "table", str(table.dtype), table.shape[1:], columns=tuple(single)
    )


def of_csv(path: Path, how: Reading) -> Data:
    """A table: numbers become the column ``table``, texts become groups."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path.name} cannot be read: {error}.", "Save it as CSV with commas, in UTF-8."
        ) from None
    if len(rows) < 2:
        raise InputError(f"{path.name} has no rows below its head.")
    head, body = rows[0], [row for row in rows[1:] if row]
    _require_names(head, path.name)
    if any(len(row) != len(head) for row in body):
        raise InputError(f"{path.name} has rows of different lengths.")
    cells = dict(zip(head, zip(*body, strict=True), strict=True))
    return _of_cells(cells, path.name, path.stem, how)


def of_frame(frame: Any, role: str, how: Reading) -> Data:
    """A data frame, as `of_csv` reads the file that it would be saved as without its index."""
    head = [str(name) for name in frame.columns]
    _require_names(head, role)
    cells = {}
    for name, key in zip(head, frame.columns, strict=True):
        cells[name] = [_cell(value) for value in frame[key]]
    return _of_cells(cells, role, role, how)


def _cell(value: Any) -> str:
    """The text of a value in a CSV file; empty if it is missing."""
    is_missing = value is None or type(value).__name__ in MISSING
    return "" if is_missing or (isinstance(value, float) and np.isnan(value)) else str(value)


def _of_cells(cells: Mapping[str, Sequence[str]], file: str, name: str, how: Reading) -> Data:
    """Columns of texts: those of numbers become the column ``table``, the others groups."""
    columns, numbers, texts = [], [], {}
    for column, values in cells.items():
        numeric = None if how.is_name(column) else _numbers(values)
        if numeric is not None:
            numbers.append(numeric)
            columns.append(column)
            continue
        texts[column] = renamed(list(values), how)
        if not how.is_name(column):
            _warn_of_text(column, values, file)
    if not numbers:
        raise InputError(
            f"{file} has no columns of numbers.",
            "Separate columns by commas, and write decimals with a point.",
        )
    table = np.array(numbers).T
    output = Output("table", "table", "float32", table.shape[1:], columns=tuple(columns))
    samples = Samples({"table": table}, {"table": output}, np.arange(len(table)))
    return Data(samples, name, texts)


def _require_names(head: Sequence[str], file: str) -> None:
    """Raise InputError if a column has no name, or the name of another one."""
    if "" in head:
        raise InputError(
            f"{file} has a column without a name, which seems to be the numbers of its rows.",
            "Save it without them: to_csv(..., index=False) in pandas, row.names=FALSE in R.",
        )
    if twice := [name for number, name in enumerate(head) if name in head[:number]]:
        raise InputError(f"{file} has two columns {twice[0]!r}.", "Rename one of them.")


def _warn_of_text(name: str, values: Sequence[str], file: str) -> None:
    """Warn of a column with numbers beside text, such as NA: it is not judged."""
    is_text = [_numbers([value]) is None for value in values]
    if all(bad or not value for bad, value in zip(is_text, values, strict=True)):
        return
    row = is_text.index(True)
    warnings.warn(
        f"{file}: column {name!r} has numbers and text, first {values[row]!r} in row "
        f"{row + 1}. It counts as text, and is not judged. Leave cells empty where a value is "
        "missing.",
        MedzooWarning,
        stacklevel=2,
    )


def _numbers(values: Sequence[str]) -> list[float] | None:
    """A column as numbers, an empty cell as NaN; None if it holds other text."""
    if any("_" in value for value in values):  # Python takes 1_2 for 12
        return None
    try:
        return [float(value) if value else np.nan for value in values]
    except ValueError:
        return None
