"""The user's pictures as inputs of a model: in files or arrays, checked once, read batch by batch.

Sample i of a run gets picture i modulo the number of pictures.
"""

from __future__ import annotations

import hashlib
import os
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._worker.input_files import input_files
from .._worker.shaping import to_array
from ..config import Input, Version
from ..errors import InputError, MedzooWarning
from ..files import sha256_of
from ..medical.folders import (
    nifti_beneath,
    require_one_kind,
    require_one_role,
    scans_in,
    split_structure,
)
from ..medical.grids import Place
from ..medical.pictures import pictures_of
from ..scratch import Scratch
from ..settings import user_path
from . import pictures
from .depth import Depth, write_png
from .geometry import Geometry

# Files that medigan packages read themselves. Pictures of other kinds are saved as PNG for them.
AS_THEY_ARE = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
GIVE = "Give a folder, a file, a list of files, or an array (n, C, H, W), (n, H, W) or (H, W)."
Array = NDArray[Any]
T = TypeVar("T")


class Inputs:
    """The user's pictures for each input of a model version.

    ``count`` is the number of pictures of each input. ``record`` is what the provenance holds of
    them: their number, and a sha256 over the sha256 of each.
    """

    def __init__(self, model: str, version: Version, values: Mapping[str, Any]) -> None:
        self._model = model
        self._to_files = version.call is not None  # medigan packages take files
        self._pictures: dict[str, _Files | _Stack] = {}
        self.record: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            self._pictures[name] = _pictures(version.inputs[name], value, self._to_files)
        counts = {name: len(source) for name, source in self._pictures.items()}
        self.count = next(iter(counts.values()), 0)
        if len(set(counts.values())) > 1:
            each = ", ".join(f"{count} for {name}" for name, count in counts.items())
            raise InputError(
                f"inputs: {each}.",
                "They go together one by one: give the same number for each input.",
            )
        self.geometry = Geometry(version, self._pictures)
        for name, source in self._pictures.items():
            self.record[name] = {"count": len(source), "sha256": source.digest(), **source.notes}
            if grids := self.geometry.grids(name):
                self.record[name]["grids"] = grids
        self._folder: tuple[int, Scratch] | None = None  # the process that made it, and the folder

    @classmethod
    def of(cls, model: str, version: Version, values: Any) -> Inputs | None:
        """Check what a user gave as ``inputs``; None if it is nothing, and the model needs nothing.

        Parameters
        ----------
        model
            The model, for errors.
        version
            Its version, whose config lists the inputs.
        values
            A mapping of the version's inputs to pictures; or the pictures themselves, if there is
            one input, beside those with its geometry. Pictures are a folder, a file, a list of
            files, or an array. Files may be DICOM or NIfTI, which give one picture per slice. The
            folder of a DICOM series with an RTSTRUCT may be followed by a structure:
            ``patient7/#R parotid|Parotid R``.

        Raises
        ------
        InputError
            An input is missing, unknown, of the wrong shape or cannot be read. The error says what
            is expected.
        """
        inputs = version.inputs
        if values is not None and not inputs:
            raise InputError(f"{model} does not take pictures as inputs.", "Leave `inputs` out.")
        takes = "; ".join(f"{i.name}: {i.help}" for i in inputs.values())
        if values is not None and not isinstance(values, Mapping):
            first, *others = [name for name, config in inputs.items() if not config.geometry]
            if others:
                raise InputError(
                    f"{model} has {len(inputs)} inputs.",
                    f"Give a mapping of their names to pictures. {takes}",
                )
            values = {first: values}
        values = {name: value for name, value in (values or {}).items() if value is not None}
        for name in values:
            if name not in inputs:
                raise InputError(f"{model} has no input {name!r}.", f"It has {takes}")
        missing = [config for config in inputs.values() if config.name not in values]
        _require_no_needed_input(model, missing)
        defaults = [config.name for config in missing if config.default]
        if values and defaults:
            raise InputError(
                f"{model} brings its own pictures for {', '.join(defaults)}, which do not match "
                "yours.",
                f"Give all inputs or none: {takes}",
            )
        return cls(model, version, values) if values else None

    def batch(self, numbers: NDArray[np.int64]) -> dict[str, Any]:
        """For each input the pictures of the samples ``numbers``.

        A native package gets an array (n, C, H, W), or (n, C, D, H, W) for volumes, in the type of
        the files or the array: uint8, uint16, int16 ...; floats as float32. A package of the
        medigan contract gets paths.

        Raises
        ------
        InputError
            A file cannot be read, or is not what the config states.
        """
        if self.count in numbers:
            warn_of_repeats(self._model, self.count)
        rows = (numbers % self.count).tolist()
        batch: dict[str, Any] = {}
        for name, source in self._pictures.items():
            if self._to_files:
                folder = self._staging(name)
                batch[name] = [source.path(row, folder) for row in rows]
            else:
                batch[name] = _stacked(name, [source.read(row) for row in rows])
        return batch

    def _staging(self, name: str) -> Path:
        """A temporary folder for pictures that have no file which a package could read.

        It is removed together with these inputs.
        """
        process = os.getpid()
        if self._folder is None or self._folder[0] != process:
            # A forked process makes its own folder: it must not remove that of its parent.
            self._folder = process, Scratch("inputs")
            weakref.finalize(self, _remove, *self._folder)
        folder = self._folder[1].path / name
        folder.mkdir(exist_ok=True)
        return folder

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_folder": None}  # another process makes its own


def _remove(owner: int, folder: Scratch) -> None:
    if owner == os.getpid():
        folder.remove()


def _require_no_needed_input(model: str, missing: list[Input]) -> None:
    """An error if one of the missing inputs is required."""
    for config in missing:
        if config.required:
            raise InputError(
                f"{model} works on your pictures and needs {config.name}: {config.help}",
                f"{GIVE} inputs={{{config.name!r}: 'folder/'}}",
            )


def warn_of_repeats(model: str, count: int, source: str = "") -> None:
    """Warn that there are more samples than pictures to make them from."""
    pictures = f"{count} picture{'s' * (count > 1)}{source}"
    message = f"{model} has {pictures} to work on: from sample {count} on they are used again."
    warnings.warn(MedzooWarning(message), stacklevel=3)


class _Files:
    """Pictures in files."""

    places: tuple[()] = ()  # picture files do not state where they lie

    def __init__(self, config: Input, paths: Sequence[Path], *, to_files: bool = False) -> None:
        self._config, self._paths, self._to_files = config, paths, to_files
        self._plain, deep, fractions = [], [], False
        self._sizes = set()
        for row, path in enumerate(paths):
            header = _tried(config, str(path), partial(_checked_header, config, path))
            self._plain.append(header.plain)
            self._sizes.add(_size(config, header.shape))
            fractions |= header.fractions
            if header.deep:
                deep.append(row)
        self._depth = Depth(
            config,
            to_files=to_files,
            deep=map(self._stored, deep),
            only=len(deep) == len(paths),
            fractions=fractions,
        )
        self.notes: Mapping[str, Any] = self._depth.notes  # more for the provenance

    def __len__(self) -> int:
        return len(self._paths)

    def sizes(self) -> list[tuple[int, ...]]:
        """The different sizes of the pictures, without channels."""
        return sorted(self._sizes)

    def _stored(self, row: int) -> Array:
        """Picture number ``row``, with the values of its file."""
        path, mask = self._paths[row], self._config.kind == "mask"
        return _tried(
            self._config,
            str(path),
            lambda: _arranged(self._config, pictures.read(path, mask=mask), self._to_files),
        )

    def read(self, row: int) -> Array:
        """Picture number ``row``, (C, H, W)."""
        stored = self._stored(row)
        return _tried(self._config, str(self._paths[row]), lambda: self._depth.converted(stored))

    def path(self, row: int, folder: Path) -> str:
        """The user's own file, or a PNG of it."""
        path = self._paths[row]
        if self._plain[row] and path.suffix.lower() in AS_THEY_ARE:
            if self._config.kind == "mask":
                self.read(row)  # a JPEG may have changed its numbers
            return str(path)
        return write_png(self._config, str(path), self.read(row), folder / f"{row}.png")

    def digest(self) -> str:
        """A sha256 over those of the files."""
        total = hashlib.sha256()
        for path in self._paths:
            total.update(bytes.fromhex(sha256_of(path)))
        return total.hexdigest()


class _Stack:
    """Pictures in one array (n, ...), which is in memory or mapped from a file."""

    def __init__(
        self,
        config: Input,
        array: Array,
        source: str = "the array",
        *,
        to_files: bool = False,
        notes: Mapping[str, Any] | None = None,
        places: Sequence[Place | None] = (),
    ) -> None:
        self.places = places  # of scans
        self._config, self._array, self._source = config, array, source
        self._to_files = to_files
        _tried(config, f"a picture of {source}", partial(_check, config, array.shape[1:]))
        deep = array if array.dtype.kind in "iu" and array.dtype.itemsize > 1 else ()
        fractions = array.dtype.kind == "f"
        self._depth = Depth(config, to_files=to_files, deep=deep, only=True, fractions=fractions)
        self.notes = {**self._depth.notes, **(notes or {})}  # more for the provenance

    def __len__(self) -> int:
        return len(self._array)

    def sizes(self) -> list[tuple[int, ...]]:
        """The size of the pictures, without channels."""
        return [_size(self._config, self._array.shape[1:])]

    def read(self, row: int) -> Array:
        """Picture number ``row``, (C, H, W)."""
        return _tried(
            self._config,
            f"picture {row} of {self._source}",
            lambda: self._depth.converted(
                _arranged(self._config, self._array[row], self._to_files)
            ),
        )

    def path(self, row: int, folder: Path) -> str:
        """A PNG of the picture."""
        name = f"picture {row} of {self._source}"
        return write_png(self._config, name, self.read(row), folder / f"{row}.png")

    def digest(self) -> str:
        """A sha256 over those of the pictures, each with its type and shape."""
        total = hashlib.sha256()
        for row in self._array:
            picture = np.ascontiguousarray(row)
            content = f"{picture.dtype.str}{picture.shape}".encode() + picture.tobytes()
            total.update(hashlib.sha256(content).digest())
        return total.hexdigest()


def _pictures(config: Input, value: Any, to_files: bool) -> _Files | _Stack:
    """The pictures that the user gave for one input."""
    listed = list(value) if isinstance(value, (list, tuple)) else [value]
    if not listed or not all(isinstance(part, (str, os.PathLike)) for part in listed):
        return _Stack(config, _several(config, _array_of(config, value)), to_files=to_files)
    if scans := _scans(config, listed):
        return _pictures_of_scans(config, scans, listed, to_files)
    if isinstance(value, (list, tuple)):
        return _listed_files(config, listed, to_files)
    return _file_or_folder(config, value, to_files)


def _array_of(config: Input, value: Any) -> Array:
    try:
        several = isinstance(value, (list, tuple))
        array: Array = np.stack(list(map(to_array, value))) if several else to_array(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"inputs: {config.name} is of type {type(value).__name__}, not pictures: {error}.", GIVE
        ) from error
    return array


def _pictures_of_scans(
    config: Input, scans: list[tuple[Path, str | None]], listed: list[Any], to_files: bool
) -> _Stack:
    eight_bits = to_files or config.bits == 8
    stacks, notes = pictures_of(config, scans, to_files=eight_bits)
    sizes = sorted({str(stack.pictures.shape[1:]) for stack in stacks})
    if len(sizes) > 1:
        raise InputError(
            f"inputs: {config.name} mixes slices of {' and '.join(sizes[:3])}.",
            "Give pictures of one size.",
        )
    source = ", ".join(map(str, listed[:3])) + (" ..." if len(listed) > 3 else "")
    array = np.concatenate([stack.pictures for stack in stacks])
    places = [place for stack in stacks for place in stack.places]
    return _Stack(config, array, source, to_files=to_files, notes=notes, places=places)


def _listed_files(config: Input, listed: list[Any], to_files: bool) -> _Files:
    paths = []
    for part in listed:
        path = _absolute(config, part)
        if not path.is_file():
            raise InputError(f"inputs: there is no file {str(path)!r}.", GIVE)
        paths.append(path)
    return _Files(config, paths, to_files=to_files)


def _file_or_folder(
    config: Input, value: str | os.PathLike[str], to_files: bool
) -> _Files | _Stack:
    path = _absolute(config, value)
    if path.is_file() and path.suffix.lower() == ".npy":
        array = _tried(config, str(path), partial(pictures.mapped, path))
        return _Stack(config, _several(config, array), to_files=to_files)
    paths = input_files(path)
    if not paths:
        problem = "is neither a file nor a folder"
        if path.is_dir():
            problem = f"holds none of {' '.join(sorted(pictures.READERS))}, nor DICOM or NIfTI"
            if nested := nifti_beneath(path):
                problem += f"; NIfTI lies in its subfolders, such as {nested.relative_to(path)}"
        raise InputError(f"inputs: {str(value)!r} {problem}.", GIVE)
    return _Files(config, paths, to_files=to_files)


def _absolute(config: Input, path: Any) -> Path:
    return user_path(path, f"inputs[{config.name!r}]").absolute()


def _scans(config: Input, listed: list[Any]) -> list[tuple[Path, str | None]]:
    """The DICOM series, DICOM files and NIfTI files of a list, each with the structure to read.

    Empty if the list holds none; an error if it holds other files too.
    """
    scans: list[tuple[Path, str | None]] = []
    others = []
    for part in listed:
        scans_of_part = _scans_at(part, _absolute(config, part))
        scans += scans_of_part
        if not scans_of_part:
            others.append(str(part))
    if scans and others:
        raise InputError(
            f"inputs: {others[0]!r} is neither DICOM nor NIfTI, but other files are.",
            "Give pictures of one kind.",
        )
    return scans


def _scans_at(text: Any, path: Path) -> list[tuple[Path, str | None]]:
    """The scans at one path; ``text`` is the path as the user wrote it."""
    if not path.exists() and (structure := split_structure(text)) is not None:
        return [structure]
    images = input_files(path) if path.is_dir() else []
    if path.is_dir():
        require_one_kind(path, images)
    scans: list[Path] = []
    if not images and path.suffix.lower() not in pictures.READERS:
        scans = scans_in(path)
    if path.is_dir():
        require_one_role(path, images or scans)
    return [(scan, None) for scan in scans]


def _several(config: Input, array: Array) -> Array:
    """``array`` with a first axis for the number of pictures."""
    spatial = 3 if config.kind == "volume" else 2
    alone = array.ndim == spatial or (array.ndim == spatial + 1 and config.shape == array.shape)
    array = array[None] if alone else array
    if not spatial < array.ndim <= spatial + 2 or 0 in array.shape:
        raise InputError(
            f"inputs: {config.name} has the shape {array.shape}.", f"{GIVE} {_expected(config)}"
        )
    return array


def _size(config: Input, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The size of a picture of this shape, without channels."""
    return shape[-3:] if config.kind == "volume" else shape[-2:]


def _expected(config: Input) -> str:
    shape = f" of shape {config.shape}" if config.shape else ""
    return f"{config.name} is a {config.kind}{shape}."


def _tried(config: Input, which: str, act: Callable[[], T]) -> T:
    """The result of ``act()``. Its ValueError becomes an InputError about the picture ``which``."""
    try:
        return act()
    except ValueError as error:
        raise InputError(
            f"inputs: {which} does not fit: {str(error).rstrip('.')}.",
            f"{_expected(config)} {config.help}",
        ) from error


def _checked_header(config: Input, path: Path) -> pictures.Header:
    """The header of a file; an error if the shape is not that of the config."""
    header = pictures.header(path)
    if config.kind != "volume" and len(header.shape) == 4:
        raise ValueError(
            f"it holds {header.shape[1]} pages. Give one picture per file, or an array"
        )
    _check(config, header.shape)
    return header


def _check(config: Input, shape: tuple[int, ...]) -> None:
    """Compare the shape of a picture with the config; channels are checked when it is read."""
    axes = 3 if config.kind == "volume" else 2
    if len(shape) not in {axes, axes + 1} or (config.shape and shape[-axes:] != config.shape[1:]):
        raise ValueError(f"it has the shape {shape}")


def _arranged(config: Input, array: Array, to_files: bool) -> Array:
    """One picture as (C, H, W), or (C, D, H, W) for a volume, in its own type.

    If the model takes one channel, grey that was saved in colour becomes one channel.
    """
    array = to_array(array)
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise ValueError("it holds values that are not finite")
    elif array.dtype == bool:
        array = _numbered(config, array, to_files)
    if config.kind == "mask" and (array.min() < 0 or not (array == np.rint(array)).all()):
        raise ValueError(
            f"it holds {array.min():g} to {array.max():g}, and labels are whole numbers from 0"
        )
    if array.ndim == (3 if config.kind == "volume" else 2):
        array = array[None]
    if config.shape[:1] == (1,) and len(array) == 3 and (array == array[:1]).all():
        array = array[:1]
    if config.shape and array.shape != config.shape:
        raise ValueError(f"it has the shape {array.shape}")
    return array


def _numbered(config: Input, picture: Array, to_files: bool) -> Array:
    """A picture of true and false with the numbers that the package reads for them.

    An image is black and white. A mask holds the two numbers of the config's `range`. Without a
    range, a native package gets 0 and 1; whether one that reads files expects 1 or 255 is not
    known.
    """
    reads_greys = to_files or (config.bits and config.kind != "mask")
    low, high = (0.0, 255.0) if reads_greys else (0.0, 1.0)
    if config.kind == "mask" and config.range:
        low, high = config.range
    elif config.kind == "mask" and to_files:
        raise ValueError(
            "its pixels are true or false, and the config does not say which numbers the package "
            "reads for them. Give numbers: 0 and 1, or 0 and 255"
        )
    numbers: Array = np.where(picture, np.uint8(high), np.uint8(low))
    return numbers


def _stacked(name: str, pictures: list[Array]) -> Array:
    kinds = sorted({f"{p.dtype} {p.shape}" for p in pictures})
    if len(kinds) > 1:
        raise InputError(
            f"inputs: {name} mixes pictures of {' and '.join(kinds[:3])}.",
            "Give pictures of one size and type.",
        )
    return np.stack(pictures)
