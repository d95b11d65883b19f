"""Samples as the objects of other libraries: torch, torchio, MONAI and pandas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import Output
from ..config.columns import (
    ROWS,
    Array,
    Batch,
    affine_of,
    boxed_column,
    corners_of,
    present_boxes,
    to_xyz,
    unit_range,
    warn_if_clipped,
)
from ..errors import InputError

if TYPE_CHECKING:
    import pandas
    import torch
    import torchio


def tensors(samples: Batch) -> dict[str, torch.Tensor]:
    """The columns as tensors; see `Samples.to_torch`."""
    import torch

    columns = {}
    for name, output in samples.outputs.items():
        if name not in samples.columns:
            continue
        values = _values(samples, name)
        if output.kind in {"image", "volume"}:
            warn_if_clipped(values, output)
            values = unit_range(values, output)
        elif output.kind in ROWS or values.dtype.kind == "f":
            values = values.astype(np.float32)
        else:
            values = values.astype(np.int64)
        columns[name] = torch.from_numpy(values)
    return columns


def subjects(samples: Batch) -> list[torchio.Subject]:
    """One torchio subject per sample; see `Samples.to_torchio`."""
    tio = _library("torchio")
    classes = {"image": tio.ScalarImage, "volume": tio.ScalarImage, "mask": tio.LabelMap}
    kinds = {samples.outputs[name].kind for name in samples.columns}
    if kinds.isdisjoint(classes):
        raise InputError(
            "torchio needs an image, mask or volume.",
            f"These samples hold {', '.join(samples.columns)}.",
        )
    subjects = []
    for index, sample in _each(samples):
        parts: dict[str, Any] = {}
        for name, values in sample.items():
            output = samples.outputs[name]
            if output.kind in classes:
                tensor = _tensor(to_xyz(values))
                affine = affine_of(output, samples.provenance, index)
                parts[name] = classes[output.kind](tensor=tensor, affine=affine)
            else:
                parts[name] = int(values) if output.kind == "label" else values
        subjects.append(tio.Subject(parts))
    return subjects


def dictionaries(samples: Batch) -> list[dict[str, Any]]:
    """One dictionary per sample, with the tensors of MONAI; see `Samples.to_monai`."""
    monai = _library("monai.data", "monai")
    items = []
    for index, sample in _each(samples):
        item: dict[str, Any] = {}
        for name, values in sample.items():
            output = samples.outputs[name]
            if output.kind == "label":
                item[name] = int(values)
            elif output.kind == "table":
                item[name] = _tensor(values)
            elif output.kind == "boxes":
                item[name] = _tensor(_monai_boxes(values, boxed_column(samples.outputs)))
            else:
                affine = affine_of(output, samples.provenance, index)
                item[name] = _meta_tensor(monai, values, affine)
        items.append(item)
    return items


def _monai_boxes(boxes: Array, picture: Output) -> Array:
    """Boxes (4,) or (K, 4) as MONAI has them: (K, 6) with the lowest x, y and z, then the highest,
    in voxels of the picture (C, X, Y, 1). Boxes that are not there are left out.
    """
    corners = corners_of(present_boxes(boxes), picture)
    return np.insert(np.insert(corners, 4, 1, axis=1), 2, 0, axis=1)


def _meta_tensor(monai: Any, values: Array, affine: Array) -> Any:
    """A ``MetaTensor`` (C, X, Y, Z) of an image, mask or volume (C, *spatial)."""
    tensor = _tensor(to_xyz(values))
    # The entries that `LoadImage` sets. Without them `SaveImage` fails on one flat channel.
    meta = {
        "original_affine": affine,
        "spatial_shape": np.array(tensor.shape[1:]),
        "original_channel_dim": float("nan") if len(values) == 1 else -1,
    }
    return monai.MetaTensor(tensor, affine=_tensor(affine), meta=meta)


def frame(samples: Batch) -> pandas.DataFrame:
    """Labels and tables, one row per sample; see `Samples.to_pandas`."""
    pandas = _library("pandas")
    label_names: Mapping[str, Mapping[str, str]] = samples.provenance.get("label_names", {})
    prefixed = _has_shared_heads(samples)
    columns: dict[str, Any] = {}
    for name in samples.columns:
        output = samples.outputs[name]
        if output.kind == "label":
            columns[name] = _labels(pandas, _values(samples, name), label_names.get(name, {}))
        elif output.kind in ROWS:
            table = _values(samples, name).reshape(len(samples), -1)
            heads = output.columns or map(str, range(table.shape[1]))
            for number, head in enumerate(heads):
                key = head if output.columns and not prefixed else f"{name}.{head}"
                columns[key] = table[:, number]
    return pandas.DataFrame(columns, index=pandas.Index(samples.indices, name="index"))


def _has_shared_heads(samples: Batch) -> bool:
    """Whether a name stands above more than one column of labels and tables."""
    heads = [name for name in samples.columns if samples.outputs[name].kind == "label"]
    for name in samples.columns:
        if samples.outputs[name].kind in ROWS:
            heads += samples.outputs[name].columns
    return len(set(heads)) < len(heads)


def _labels(pandas: Any, labels: Array, names: Mapping[str, str]) -> Any:
    """Labels as categories if all of them have a name; otherwise the numbers."""
    name_of = {int(code): name for code, name in names.items()}
    codes = sorted(name_of)
    if not codes or not np.isin(labels, codes).all():
        return labels
    categories = [name_of[code] for code in codes]
    return pandas.Categorical.from_codes(np.searchsorted(codes, labels), categories)


def _values(samples: Batch, name: str) -> Array:
    return np.asarray(samples.columns[name][:])


def _each(samples: Batch) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number of each sample, and its values."""
    for row, index in enumerate(samples.indices.tolist()):
        yield index, {name: column[row] for name, column in samples.columns.items()}


def _tensor(values: Array) -> torch.Tensor:
    import torch

    dtype = np.int32 if values.dtype == np.uint16 else None  # torch operations lack uint16
    return torch.from_numpy(np.array(values, dtype=dtype))


def _library(module: str, package: str = "") -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        name = package or module
        raise InputError(
            f"{name} is not installed here: {error}.", f"Install it: `pip install {name}`."
        ) from error
