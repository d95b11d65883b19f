"""Folders of pictures as a side of an evaluation."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import files
from ..errors import InputError, MedzooWarning
from ..inputs import pictures
from ..medical.folders import MASK_WORDS, UNREAD
from ..medical.nifti import NIFTI
from .arrays import of_arrays
from .data import Array, Data, Reading

METADATA = "metadata.csv"
PARTS = ("train", "val", "test")
PICTURE_COLUMNS = ("images", "masks")
SCANS = (*NIFTI, *sorted(UNREAD), ".dcm")  # ends of the names of files that are not read
ASPECT = 0.02  # by which the shape of a picture may differ; it is stretched by that


def of_folder(folder: Path, name: str, how: Reading) -> Data:
    """A folder of pictures, or one with the parts train and val or test."""
    while True:
        inside = sorted(path for path in folder.iterdir() if not files.is_strewn(Path(path.name)))
        if len(inside) != 1 or not inside[0].is_dir():
            break
        if _pictures_in(inside[0], direct=True):
            break  # one class
        folder = inside[0]
    parts = [part for part in PARTS if (folder / part).is_dir()]
    if "train" not in parts:
        if len(parts) > 1:
            raise InputError(
                f"{name} has {' and '.join(parts)}, and no train.",
                f"Give one of them: {folder / parts[0]}.",
            )
        return _of_pictures(folder, name, how)
    whole = _of_pictures(folder / "train", f"{name}/train", how)
    if parts == ["train"]:
        return whole
    held, *left_out = parts[1:]
    if left_out:
        warnings.warn(
            f"{name}/{left_out[0]} is not used: {name}/{held} is what is held out. To use "
            f"{left_out[0]}, give the two folders as real= and held_out=.",
            MedzooWarning,
            stacklevel=2,
        )
    return replace(whole, held_out=_of_pictures(folder / held, f"{name}/{held}", how))


def _pictures_in(folder: Path, *, direct: bool = False) -> list[Path]:
    paths = folder.iterdir() if direct else folder.rglob("*")
    kept = []
    for path in sorted(paths, key=_natural):
        relative = path.relative_to(folder)
        if path.suffix.lower() in pictures.READERS and not files.is_strewn(relative):
            kept.append(path)
    return kept


def _natural(path: Path) -> tuple[str, int, str]:
    return str(path.parent), int(path.stem) if path.stem.isdecimal() else 0, path.name


def _of_pictures(folder: Path, name: str, how: Reading) -> Data:
    """All pictures of a folder. A folder inside it is a class; ``images`` may have ``masks``."""
    masks = folder / "masks"
    root = folder / "images" if (folder / "images").is_dir() and masks.is_dir() else folder
    paths = _pictures_in(root)
    if not paths:
        kinds = " ".join(sorted(pictures.READERS))
        raise InputError(f"{name} holds no pictures.", f"They are files of {kinds}.")
    relative = [path.relative_to(root) for path in paths]
    classes = sorted({path.parts[0] for path in relative if len(path.parts) > 1})
    _require_classes(relative, classes, name)
    _warn_of_others(root, name)
    arrays = {"images": _stacked(paths, root, how)}
    if root != folder:
        pairs = []
        for path in paths:
            pairs.append(_mask_of(path, root, masks))
        arrays["masks"] = _stacked(pairs, masks, how, mask=True)
    if classes:
        arrays["labels"] = np.array([path.parts[0] for path in relative])
    names = tuple(path.as_posix() for path in relative)
    arrays.update(_metadata(folder / METADATA, names))
    inspected = tuple(how.inspect(path) for path in paths) if how.inspect else ()
    return replace(of_arrays(arrays, name, name, how), files=names, inspected=inspected)


def _require_classes(relative: Sequence[Path], classes: Sequence[str], name: str) -> None:
    """Raise InputError if folders are not classes: masks, or only a part of the pictures."""
    words = {folder: set(re.split(r"[^a-z]+", folder.lower())) for folder in classes}
    masks = [folder for folder, own in words.items() if own & MASK_WORDS]
    if masks and len(masks) < len(classes):
        raise InputError(
            f"{name} has the folders {', '.join(classes[:4])}, of which {masks[0]} seems to hold "
            "masks.",
            "Call the folders images/ and masks/, with the same file names in both.",
        )
    loose = [path.name for path in relative if len(path.parts) == 1]
    if loose and classes:
        raise InputError(
            f"{name} has pictures beside its folders {', '.join(classes[:4])}: {len(loose)}, first "
            f"{loose[0]}.",
            "Each folder is a class. Put all pictures into folders, or none.",
        )


def _warn_of_others(root: Path, name: str) -> None:
    """Warn of scans, which are not read from a folder of pictures."""
    others = [path for path in sorted(root.rglob("*")) if path.name.lower().endswith(SCANS)]
    if others:
        warnings.warn(
            f"{name}: {len(others)} files are not read, first {others[0].name}. Give scans as "
            "arrays or medzoo.Samples.",
            MedzooWarning,
            stacklevel=2,
        )


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
        arrays.append(array[None] if array.ndim == 2 else array)
    if how.size:
        _require_shape(arrays, paths, root, how.size)
        arrays = [resized(array, how.size, mask=mask) for array in arrays]
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


def _require_shape(
    arrays: Sequence[Array], paths: Sequence[Path], root: Path, size: tuple[int, ...]
) -> None:
    """Raise InputError if a picture would be stretched visibly."""
    bad = []
    for array, path in zip(arrays, paths, strict=True):
        height, width = array.shape[-2:]
        if abs(height / width / (size[0] / size[1]) - 1) > ASPECT:
            bad.append(f"{path.relative_to(root)}: {height}x{width} for {size[0]}x{size[1]}")
    if bad:
        raise InputError(
            f"{len(bad)} of {len(arrays)} pictures of {root.name} have another shape than the "
            f"synthetic ones, first {bad[0]}.",
            "They would be stretched. Crop or fill them to the same shape, or leave them out.",
        )


def resized(array: Array, size: tuple[int, ...], *, mask: bool) -> Array:
    """A picture (C, H, W) of another size: averaged if smaller, bicubic if larger; masks nearest.

    Bicubic curves overshoot: whole numbers are cut off to what their type holds, floats to the
    values of the picture.
    """
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
        if array.dtype.kind in "iu":
            ends = np.iinfo(array.dtype)
            channels.append(np.rint(changed).clip(ends.min, ends.max))
        else:
            channels.append(changed.clip(channel.min(), channel.max()))
    return np.stack(channels).astype(array.dtype)


def _metadata(path: Path, names: tuple[str, ...]) -> dict[str, Array]:
    """The columns of metadata.csv, in the order of the files."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows: list[dict[str, str]] = list(csv.DictReader(file))
    if not rows or "file_name" not in rows[0]:
        raise InputError(f"{path} has no column file_name.", "It names the picture of each row.")
    by_name: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise InputError(
                f"{path}: row {number} has another number of cells than the first row.",
                "Put text with commas into quotes.",
            )
        if by_name.setdefault(row["file_name"], row) != row:
            raise InputError(
                f"{path} has two rows for {row['file_name']}, which differ.", "Keep one of them."
            )
    if taken := [column for column in rows[0] if column in PICTURE_COLUMNS]:
        raise InputError(
            f"{path} has a column {taken[0]!r}, which is the name of the pictures.", "Rename it."
        )
    if missing := [name for name in names if name not in by_name]:
        raise InputError(f"{path} has no row for {missing[0]} ({len(missing)} are missing).")
    columns = {}
    for column in rows[0]:
        if column != "file_name":
            columns[column] = np.array([by_name[name][column] for name in names])
    return columns
