"""The monai contract: the workflow of a MONAI bundle, unchanged, one resolved reference per output.

MONAI's own ``ConfigParser`` reads and resolves the workflow. Expressions and scripts of a bundle
are code, as that of any package. One process runs one bundle, because every bundle has a package
that is called ``scripts``. The working directory holds ``bundle/``, a copy of the code with links
to everything else, and ``output/``, which is empty before each run.
"""

from __future__ import annotations

import copy
import os
import shutil
import sys
from contextlib import contextmanager, suppress
from math import erf, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, MedzooError, PackageError
from .imports import from_sources
from .input_files import files_in_order, first_installed, lay_out, seed_generators
from .protocol import is_out_of_memory
from .readers import read_file
from .shaping import arrange, to_array
from .weights import load_networks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .batch import Batch

OUTPUT = "medzoo_output_"  # begins the names of references that medzoo adds
OBJECTS = "medzoo_objects"  # the name of `Monai._objects` in expressions
UNKNOWN = (KeyError, ValueError, IndexError, TypeError)  # of a reference that is not there
PLAIN = (str, int, float, bool, list, dict, type(None))


class Monai:
    """A bundle, its networks loaded.

    Parameters
    ----------
    folder
        The bundle. Nothing is written to it.
    spec
        What the config says of it, as plain values: `medzoo.runtime.monai.spec`.
    device
        ``cpu``, ``cuda:0`` ...; the reference ``device`` of the workflow is set to it.
    work
        A folder of this session. The bundle may change its files.

    Raises
    ------
    PackageError
        A file or a reference is missing, or weights do not fit their network.
    InputError
        Another version of MONAI is installed than the config declares.
    """

    def __init__(self, folder: Path, spec: dict[str, Any], device: str, work: Path) -> None:
        self._spec, self._device, self._work = spec, device, Path(os.path.realpath(str(work)))
        self._root = self._work / "bundle"
        # An earlier process of this session may have left it.
        shutil.rmtree(str(self._root), ignore_errors=True)
        lay_out(Path(folder), self._root)
        for name in [*spec["workflow"], *spec["networks"]]:
            if not (self._root / name).is_file():
                raise PackageError(f"its bundle has no file {name}.", _files_of(Path(folder)))
        os.chdir(str(self._work))
        from_sources(self._root)
        sys.path.insert(first_installed(sys.path), str(self._root))
        _check_version(spec["monai"])
        self._objects: dict[int, Any] = {}  # what references were set to
        self._numbers: dict[str, int] = {}
        self._own: dict[str, Any] = {}  # what the bundle has where options are set
        self._parser = self._read()
        self._fix("bundle_root", str(self._root), needed=False)
        self._fix("device", self._torch.device(device), needed=False)
        for reference, value in spec["set"].items():
            self._fix(reference, self._filled(value))
        with self._settings():
            load_networks(self._root, spec["networks"], self._resolve, self._fix)
        self._start()

    def _start(self) -> None:
        """Begin a run. Setting a reference makes the parser forget all that it resolved before,
        such as the noise of the batch before.
        """
        for name, output in self._spec["outputs"].items():
            self._parser[OUTPUT + name] = _expression(output["reference"] or "$None")

    @property
    def _torch(self) -> Any:
        return sys.modules["torch"]

    def _read(self) -> Any:
        """MONAI's parser of the workflow."""
        import torch  # noqa: F401  (MONAI needs it)
        from monai.bundle import ConfigParser

        parser = ConfigParser(globals={OBJECTS: self._objects})
        try:
            parser.read_config([str(self._root / name) for name in self._spec["workflow"]])
        except Exception as error:
            names = ", ".join(self._spec["workflow"])
            raise PackageError(f"its workflow {names} cannot be read: {error}") from error
        return parser

    def sample(self, batch: Batch) -> dict[str, Any]:
        """The outputs of a batch, in its order: ``outputs``: name -> an array (n, C, *spatial)."""
        outputs: dict[str, list[Any]] = {name: [None] * batch.n for name in self._spec["outputs"]}
        for rows in self._calls(batch):
            for name, values in self._call(batch, rows).items():
                for row, value in zip(rows, values):
                    outputs[name][row] = value
        return {"outputs": {name: np.stack(values) for name, values in outputs.items()}}

    def _calls(self, batch: Batch) -> Iterator[list[int]]:
        """The rows of each call: those with the same conditions, and not more than the bundle can
        make at a time. A bundle that draws its own noise makes one sample at a time.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        for row in range(batch.n):
            values = tuple(int(batch.conditions[name][row]) for name in self._spec["conditions"])
            groups.setdefault(values, []).append(row)
        one = self._spec["noise"] == "generators" or self._spec["run"]
        most = 1 if one else self._spec["most"] or batch.n
        for rows in groups.values():
            for start in range(0, len(rows), most):
                yield rows[start : start + most]

    def _call(self, batch: Batch, rows: list[int]) -> dict[str, list[Any]]:
        spec = self._spec
        self._check_steps(batch.options)
        self._start()
        shutil.rmtree(str(self._work / "output"), ignore_errors=True)
        (self._work / "output").mkdir()
        for name, reference in spec["options"].items():
            self._choose(reference, batch.options.get(name), needed=name != spec["distribution"])
        for name, condition in spec["conditions"].items():
            value = condition["passed"][str(int(batch.conditions[name][rows[0]]))]
            self._fix(condition["reference"], value)
        if spec["latents"]:
            self._fix(spec["latents"], self._latents(batch, rows))
        with self._settings(), files_in_order(), self._torch.no_grad():
            seed_generators(batch.seed, int(batch.indices[rows[0]]))
            for reference in spec["run"]:
                self._resolve(reference)
            return {name: self._output(name, batch, rows) for name in spec["outputs"]}

    def _check_steps(self, options: Any) -> None:
        """Refuse fewer steps than the training had, where noise enters in every step."""
        name, trained = self._spec["steps"], self._spec["trained_steps"]
        steps = options.get(name) if name else None
        if steps is None or self._spec["noise"] == "latents" or steps >= trained:
            return
        raise InputError(
            f"{name}={steps}: this model was trained with {trained} steps, and its sampler goes "
            "down one level in each. With fewer steps noise would be left in the samples.",
            f"Leave {name} out.",
        )

    def _latents(self, batch: Batch, rows: list[int]) -> Any:
        """The latents as the workflow takes them."""
        spec = self._spec
        values = np.asarray(batch.latents[rows], np.float32)
        kind = batch.options.get(spec["distribution"], spec["distribution"])
        if kind == "uniform":
            values = uniform(values)
        shape = (len(rows), *spec["latent_shape"])
        tensor = self._torch.from_numpy(np.ascontiguousarray(values).reshape(shape))
        tensor = tensor.to(self._device)
        return tuple(tensor) if spec["latents_as"] == "list" else tensor

    def _output(self, name: str, batch: Batch, rows: list[int]) -> list[Any]:
        """One array per row, in the shape that the config states."""
        output, axes = self._spec["outputs"][name], self._spec["outputs"][name]["axes"]
        if output["files"]:
            value, axes = read_file(self._work / "output", output["files"], axes)
            values = [value]
        else:
            values = self._resolve(OUTPUT + name, output["reference"])
            values = (
                list(values) if isinstance(values, (list, tuple)) else list(_array(name, values))
            )
        if len(values) != len(rows):
            raise PackageError(
                f"it was asked for {len(rows)} samples, and {name!r} has {len(values)}.",
                "`most: 1` in the config's `bundle` asks for one at a time.",
            )
        return [self._arranged(name, axes, batch, row, value) for row, value in zip(rows, values)]

    def _arranged(self, name: str, axes: list[str], batch: Batch, row: int, value: Any) -> Any:
        """One sample, in the shape that the config states."""
        output = {**self._spec["outputs"][name], "channels": [], "fit": "exact"}
        try:
            return arrange(turn(_array(name, value), axes), output)
        except ValueError as error:
            raise PackageError(
                f"{name!r} of sample {int(batch.indices[row])} is not what its config says: "
                f"{error}."
            ) from error

    # ---------------------------------------------------------------------------------------------
    # references
    def _choose(self, reference: str, value: Any, *, needed: bool) -> None:
        """Set a reference to the value of an option. None is what the bundle itself has there, also
        after a call with a value.
        """
        if value is not None:
            if reference not in self._own:
                with suppress(*UNKNOWN):
                    self._own[reference] = copy.deepcopy(self._parser[reference])
            self._fix(reference, value, needed=needed)
        elif reference in self._own:
            self._parser[reference] = self._own[reference]

    def _fix(self, reference: str, value: Any, *, needed: bool = True) -> None:
        """Set a reference of the workflow to a value that JSON can hold, or to an object.

        The parser copies whatever its configuration holds, at each change, networks and tensors
        too. So an object is one of the names that expressions know.
        """
        try:
            self._parser[reference]
            if not isinstance(value, PLAIN):
                number = self._numbers.setdefault(reference, len(self._numbers))
                self._objects[number] = value
                value = f"${OBJECTS}[{number}]"
            self._parser[reference] = value
        except UNKNOWN as error:
            if needed:
                raise self._missing(reference) from error

    def _resolve(self, reference: str, shown: str = "") -> Any:
        """What a reference of the workflow is, resolved again if anything that was set changed."""
        try:
            self._parser[reference]
        except UNKNOWN as error:
            raise self._missing(reference) from error
        try:
            return self._parser.get_parsed_content(reference)
        except Exception as error:
            cause: Any = error
            while cause is not None:
                if isinstance(cause, (MedzooError, ImportError)) or is_out_of_memory(cause):
                    raise cause from None
                cause = cause.__cause__ or cause.__context__
            says = _first_cause(error)  # MONAI says only which expression failed
            raise PackageError(f"{shown or reference} of its workflow failed: {says}") from error

    def _missing(self, reference: str) -> PackageError:
        names = sorted(set(map(str, self._parser.config)) - {"_meta_"})
        names = [name for name in names if not name.startswith(OUTPUT)]
        return PackageError(
            f"its workflow has no reference {reference!r}.", f"It has {', '.join(names)}."
        )

    def _filled(self, value: Any) -> Any:
        """A value of ``set``, with the folders of this session in place of their names."""
        if not isinstance(value, str):
            return value
        value = value.replace("{output}", (self._work / "output").as_posix())
        return value.replace("{bundle}", self._root.as_posix())

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """The working directory; weights of any device are loaded into the memory of the CPU."""
        os.chdir(str(self._work))
        load = self._torch.load

        def load_here(f: Any, map_location: Any = None, *others: Any, **options: Any) -> Any:
            return load(f, map_location or "cpu", *others, **options)

        self._torch.load = load_here
        try:
            yield
        finally:
            self._torch.load = load


def uniform(values: Any) -> Any:
    """Standard normal numbers as uniform ones between 0 and 1, in the same order."""
    flat = [0.5 * (1.0 + erf(float(v) / sqrt(2.0))) for v in values.ravel()]
    limit = np.nextafter(np.float32(1), np.float32(0))
    return np.minimum(np.asarray(flat, np.float32), limit).reshape(values.shape)


def turn(array: Any, axes: list[str]) -> Any:
    """An array (C, *spatial) with its axes of space in the order of medzoo: slices upwards, rows
    from front to back and columns from right to left; of a picture, rows and columns.

    Parameters
    ----------
    array
        As the bundle has it; leading axes of length 1 are dropped.
    axes
        Where each axis of space leads: R or L, A or P, S or I; of a picture x or -x, y or -y.
    """
    while array.ndim > len(axes) + 1 and array.shape[0] == 1:
        array = array[0]
    if not axes or array.ndim not in (len(axes), len(axes) + 1):
        return array
    first = array.ndim - len(axes)
    target = "SPL" if len(axes) == 3 else "yx"
    opposite = {"I": "S", "A": "P", "R": "L", "-y": "y", "-x": "x"}
    plain = [opposite.get(axis, axis) for axis in axes]
    backwards = [first + k for k, axis in enumerate(axes) if axis in opposite]
    order = [first + plain.index(axis) for axis in target]
    return np.transpose(np.flip(array, tuple(backwards)), [*range(first), *order])


def _first_cause(error: BaseException) -> str:
    """The error that others wrap, in words."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return f"{type(error).__name__}: {error}"


def _array(name: str, value: Any) -> Any:
    try:
        return to_array(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PackageError(f"{name!r} is not what its config says: {error}.") from error


def _expression(reference: str) -> str:
    """A reference or an expression, as the parser takes it."""
    return reference if reference.startswith(("$", "@")) else f"@{reference}"


def _check_version(declared: str) -> None:
    """Refuse another MONAI than the config declares, since its samplers differ between versions."""
    import monai

    installed = monai.__version__
    if declared and installed != declared:
        raise InputError(
            f"This bundle needs MONAI {declared}, and {installed} is installed here. Other "
            "versions make other images of the same seed.",
            "env='auto' runs it in its own environment.",
        )


def _files_of(folder: Path) -> str:
    names = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())
    return f"It has {', '.join(names[:12])}{' ...' if len(names) > 12 else ''}."
