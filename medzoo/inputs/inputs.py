"""What a user gives a model to work on: pictures in files or arrays, checked once, read batch by
batch.

Sample i of a run gets picture i modulo their number. `medzoo.readers` says what files may be.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
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
from ..medical.folders import require_one_kind, require_one_role, scans_in, split_structure
from ..medical.pictures import pictures_of
from ..settings import user_path
from . import pictures
from .depth import Depth, write_png

AS_THEY_ARE = {
    ".png",
    ".jpg",
    ".jpeg",
    ".tif",
    ".tiff",
}  # what medigan packages read; anything else becomes PNG for them
GIVE = "Give a folder, a file, a list of files, or an array (n, C, H, W), (n, H, W) or (H, W)."
Array = NDArray[Any]
T = TypeVar("T")


class Inputs:
    """The user's pictures for each input of a model version.

    ``count`` says how many there are of each, ``record`` what the provenance holds of them: their
    number, and a sha256 over the sha256 of each.
    """

    def __init__(self, about: str, version: Version, given: Mapping[str, Any]) -> None:
        self._about = about
        self._to_files = version.call is not None  # medigan packages take files
        self._pictures = {
            name: _pictures(version.inputs[name], value, self._to_files)
            for name, value in given.items()
        }
        counts = {name: len(pictures) for name, pictures in self._pictures.items()}
        self.count = next(iter(counts.values()), 0)
        if len(set(counts.values())) > 1:
            each = ", ".join(f"{count} for {name}" for name, count in counts.items())
            raise InputError(
                f"inputs: {each}.", "They go together one by one: give as many of each."
            )
        self.record = {
            name: {"count": len(p), "sha256": p.digest(), **p.notes}
            for name, p in self._pictures.items()
        }
        self._folder: tuple[int, Path] | None = None  # the process that made it, and where

    @classmethod
    def of(cls, about: str, version: Version, given: Any) -> Inputs | None:
        """Check what a user gave as ``inputs``; None where it was nothing, and the model needs
        nothing.

        Parameters
        ----------
        about
            The model, for errors.
        given
            A mapping of the version's inputs to pictures; or the pictures themselves, where there
            is one input. Pictures are a folder, a file, a list of files, or an array. Files may be
            DICOM or NIfTI, which come slice by slice, and the folder of a DICOM series with an
            RTSTRUCT may be followed by a structure: ``patient7/#R parotid|Parotid R``.

        Raises
        ------
        InputError
            An input is missing, unknown, of the wrong shape or cannot be read; says what is
            expected.
        """
        inputs = version.inputs
        if given is not None and not inputs:
            raise InputError(f"{about} does not take pictures as inputs.", "Leave `inputs` out.")
        takes = "; ".join(f"{i.name}: {i.help}" for i in inputs.values())
        if given is not None and not isinstance(given, Mapping):
            if len(inputs) > 1:
                raise InputError(
                    f"{about} has {len(inputs)} inputs.",
                    f"Give a mapping of their names to pictures. {takes}",
                )
            given = {next(iter(inputs)): given}
        given = {k: v for k, v in (given or {}).items() if v is not None}
        if unknown := [name for name in given if name not in inputs]:
            raise InputError(f"{about} has no input {unknown[0]!r}.", f"It has {takes}")
        if missing := [i for i in inputs.values() if i.required and i.name not in given]:
            raise InputError(
                f"{about} works on your pictures and needs {missing[0].name}: {missing[0].help}",
                f"{GIVE} inputs={{{missing[0].name!r}: 'folder/'}}",
            )
        if own := [i.name for i in inputs.values() if given and i.default and i.name not in given]:
            raise InputError(
                f"{about} brings its own pictures for {', '.join(own)}, which do not match yours.",
                f"Give all inputs or none: {takes}",
            )
        return cls(about, version, given) if given else None

    def batch(self, numbers: NDArray[np.int64]) -> dict[str, Any]:
        """For each input the pictures of the samples ``numbers``.

        A native package gets an array (n, C, H, W) or its like, in the type that the files or the
        array have: uint8, uint16, int16 ..., floats as float32. A package of the medigan contract
        gets paths.

        Raises
        ------
        InputError
            A file cannot be read, or is not what the config says.
        """
        if self.count in numbers:
            warn_of_repeats(self._about, self.count)
        rows = [int(r) for r in numbers % self.count]
        if self._to_files:
            return {
                name: [p.path(row, self._staging(name)) for row in rows]
                for name, p in self._pictures.items()
            }
        return {
            name: _stacked(name, [p.read(row) for row in rows])
            for name, p in self._pictures.items()
        }

    def _staging(self, name: str) -> Path:
        """A folder for pictures that have no file a package could read, as long as these inputs are
        in use.
        """
        if (
            self._folder is None or self._folder[0] != os.getpid()
        ):  # forked: this process must not remove the folder of the other one
            self._folder = os.getpid(), Path(tempfile.mkdtemp(prefix="medzoo-inputs-"))
            weakref.finalize(self, _remove, *self._folder)
        (self._folder[1] / name).mkdir(exist_ok=True)
        return self._folder[1] / name

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_folder": None}  # another process makes its own


def _remove(owner: int, folder: Path) -> None:
    if owner == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)


def warn_of_repeats(about: str, count: int, whose: str = "") -> None:
    """Warn that there are more samples than pictures to make them of."""
    pictures = f"{count} picture{'s' * (count > 1)}{whose}"
    says = f"{about} has {pictures} to work on: from sample {count} on they are used again."
    warnings.warn(MedzooWarning(says), stacklevel=3)


class _Files:
    """Pictures in files."""

    def __init__(self, about: Input, paths: Sequence[Path], *, to_files: bool = False) -> None:
        self._about, self._paths = about, paths
        headers = [_tried(about, str(p), partial(_checked_header, about, p)) for p in paths]
        self._plain = [header.plain for header in headers]
        deep = [row for row, header in enumerate(headers) if header.deep]
        fractions = any(header.fractions for header in headers)
        self._depth = Depth(
            about,
            to_files=to_files,
            deep=map(self._stored, deep),
            only=len(deep) == len(paths),
            fractions=fractions,
        )
        self.notes: Mapping[str, Any] = self._depth.notes  # what else the provenance holds of them

    def __len__(self) -> int:
        return len(self._paths)

    def _stored(self, row: int) -> Array:
        """Picture number ``row`` as it is in its file."""
        path, mask = self._paths[row], self._about.kind == "mask"
        return _tried(
            self._about,
            str(path),
            lambda: _arranged(self._about, pictures.read(path, mask=mask)),
        )

    def read(self, row: int) -> Array:
        """Picture number ``row``, (C, H, W)."""
        stored = self._stored(row)
        return _tried(self._about, str(self._paths[row]), lambda: self._depth.brought(stored))

    def path(self, row: int, folder: Path) -> str:
        """The user's own file, or a PNG of it."""
        path = self._paths[row]
        if self._plain[row] and path.suffix.lower() in AS_THEY_ARE:
            if self._about.kind == "mask":
                self.read(row)  # a JPEG may have changed its numbers
            return str(path)
        return write_png(self._about, str(path), self.read(row), folder / f"{row}.png")

    def digest(self) -> str:
        """A sha256 over those of the files."""
        return hashlib.sha256(
            b"".join(bytes.fromhex(sha256_of(path)) for path in self._paths)
        ).hexdigest()


class _Stack:
    """Pictures in one array (n, ...), which stays where it is: in memory, or mapped from a file."""

    def __init__(
        self,
        about: Input,
        array: Array,
        whence: str = "the array",
        *,
        to_files: bool = False,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self._about, self._array, self._whence = about, array, whence
        _tried(about, f"a picture of {whence}", partial(_check, about, array.shape[1:]))
        deep = array if array.dtype.kind in "iu" and array.dtype.itemsize > 1 else ()
        fractions = array.dtype.kind == "f"
        self._depth = Depth(about, to_files=to_files, deep=deep, only=True, fractions=fractions)
        self.notes = {**self._depth.notes, **(notes or {})}  # what else the provenance holds

    def __len__(self) -> int:
        return len(self._array)

    def read(self, row: int) -> Array:
        """Picture number ``row``, (C, H, W)."""
        return _tried(
            self._about,
            f"picture {row} of {self._whence}",
            lambda: self._depth.brought(_arranged(self._about, self._array[row])),
        )

    def path(self, row: int, folder: Path) -> str:
        """A PNG of the picture."""
        picture = self.read(row) * np.uint8(255) if self._array.dtype == bool else self.read(row)
        name = f"picture {row} of {self._whence}"
        return write_png(self._about, name, picture, folder / f"{row}.png")

    def digest(self) -> str:
        """A sha256 over those of the pictures, each with its type and shape."""
        total = hashlib.sha256()
        for row in self._array:
            picture = np.ascontiguousarray(row)
            total.update(
                hashlib.sha256(
                    f"{picture.dtype.str}{picture.shape}".encode() + picture.tobytes()
                ).digest()
            )
        return total.hexdigest()


def _pictures(about: Input, given: Any, to_files: bool) -> _Files | _Stack:
    """What the user gave for one input."""
    name = about.name
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    if (
        listed
        and all(isinstance(p, (str, os.PathLike)) for p in listed)
        and (scans := _scans(about, listed))
    ):
        eight = to_files or about.bits == 8
        stacks, notes = pictures_of(about, scans, to_files=eight)
        if len(sizes := sorted({str(s.shape[1:]) for s in stacks})) > 1:
            raise InputError(
                f"inputs: {name} mixes slices of {' and '.join(sizes[:3])}.",
                "Give pictures of one size.",
            )
        return _Stack(
            about,
            np.concatenate(stacks),
            ", ".join(str(p) for p in listed[:3]) + " ..." * (len(listed) > 3),
            to_files=to_files,
            notes=notes,
        )
    if isinstance(given, (str, os.PathLike)):
        path = user_path(given, f"inputs[{name!r}]").absolute()
        if path.is_file() and path.suffix.lower() == ".npy":
            return _Stack(
                about,
                _several(about, _tried(about, str(path), partial(pictures.mapped, path))),
                to_files=to_files,
            )
        found = input_files(path)
        if not found:
            holds = f"holds none of {' '.join(sorted(pictures.READERS))}, nor DICOM or NIfTI"
            what = holds if path.is_dir() else "is neither a file nor a folder"
            raise InputError(f"inputs: {str(given)!r} {what}.", GIVE)
        return _Files(about, found, to_files=to_files)
    if (
        isinstance(given, (list, tuple))
        and given
        and all(isinstance(p, (str, os.PathLike)) for p in given)
    ):
        paths = [user_path(p, f"inputs[{name!r}]").absolute() for p in given]
        if gone := [p for p in paths if not p.is_file()]:
            raise InputError(f"inputs: there is no file {str(gone[0])!r}.", GIVE)
        return _Files(about, paths, to_files=to_files)
    try:
        array = (
            to_array(given)
            if not isinstance(given, (list, tuple))
            else np.stack([to_array(v) for v in given])
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"inputs: {name} is of type {type(given).__name__}, not pictures: {error}.", GIVE
        ) from error
    return _Stack(about, _several(about, array), to_files=to_files)


def _scans(about: Input, given: list[Any]) -> list[tuple[Path, str | None]]:
    """The DICOM series, DICOM files and NIfTI files among what was given, each with the structure
    that is wanted of it.
    """
    found: list[list[tuple[Path, str | None]]] = []
    for one in given:
        path = user_path(one, f"inputs[{about.name!r}]").absolute()
        if not path.exists() and (structure := split_structure(one)) is not None:
            found.append([structure])
            continue
        images = input_files(path) if path.is_dir() else []
        scans = []
        if path.is_dir():
            require_one_kind(path, images)
        if not images and path.suffix.lower() not in pictures.READERS:
            scans = scans_in(path)
        if path.is_dir():
            require_one_role(path, images or scans)
        found.append([(scan, None) for scan in scans])
    if any(found) and not all(found):
        other = next(str(one) for one, scans in zip(given, found, strict=True) if not scans)
        raise InputError(
            f"inputs: {other!r} is neither DICOM nor NIfTI, but other files are.",
            "Give pictures of one kind.",
        )
    return [scan for scans in found for scan in scans]


def _several(about: Input, array: Array) -> Array:
    """``array`` with a first axis that counts pictures."""
    spatial = 3 if about.kind == "volume" else 2
    alone = array.ndim == spatial or (array.ndim == spatial + 1 and about.shape == array.shape)
    array = array[None] if alone else array
    if not spatial < array.ndim <= spatial + 2 or 0 in array.shape:
        raise InputError(
            f"inputs: {about.name} has the shape {array.shape}.", f"{GIVE} {_expected(about)}"
        )
    return array


def _expected(about: Input) -> str:
    return f"{about.name} is a {about.kind}" + (f" of shape {about.shape}." if about.shape else ".")


def _tried(about: Input, which: str, act: Callable[[], T]) -> T:
    """``act()``; its ValueError told as one of the picture ``which``."""
    try:
        return act()
    except ValueError as error:
        raise InputError(
            f"inputs: {which} does not fit: {str(error).rstrip('.')}.",
            f"{_expected(about)} {about.help}",
        ) from error


def _checked_header(about: Input, path: Path) -> pictures.Header:
    """The header of a file whose shape is as the config wants it."""
    header = pictures.header(path)
    if about.kind != "volume" and len(header.shape) == 4:
        raise ValueError(
            f"it holds {header.shape[1]} pages. Give one picture per file, or an array"
        )
    _check(about, header.shape)
    return header


def _check(about: Input, shape: tuple[int, ...]) -> None:
    """Compare the shape of a picture with the config; its channels are looked at when it is read."""
    axes = 3 if about.kind == "volume" else 2
    if len(shape) not in {axes, axes + 1} or (about.shape and shape[-axes:] != about.shape[1:]):
        raise ValueError(f"it has the shape {shape}")


def _arranged(about: Input, array: Array) -> Array:
    """One picture as (C, H, W) or its like, in its own type; where one channel is needed, grey
    saved in colour becomes it.
    """
    array = to_array(array)
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise ValueError("it holds values that are not finite")
    elif array.dtype == bool:
        array = array.astype(np.uint8)
    if array.ndim == (3 if about.kind == "volume" else 2):
        array = array[None]
    if about.shape[:1] == (1,) and len(array) == 3 and (array == array[:1]).all():
        array = array[:1]
    if about.shape and array.shape != about.shape:
        raise ValueError(f"it has the shape {array.shape}")
    return array


def _stacked(name: str, pictures: list[Array]) -> Array:
    kinds = sorted({f"{p.dtype} {p.shape}" for p in pictures})
    if len(kinds) > 1:
        raise InputError(
            f"inputs: {name} mixes pictures of {' and '.join(kinds[:3])}.",
            "Give pictures of one size and type.",
        )
    return np.stack(pictures)
