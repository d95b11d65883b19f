"""The medigan contract: the function of a published package is called as medigan calls it, and what
it returns is put into arrays.

The package runs in the surroundings that medigan makes for it: the working directory holds
``models/<model id>/``, its own folder. This is a copy of its code with links to everything else, so
that what it writes into its folder never changes the verified package. One process runs one
package, which may use the process's working directory and ``sys.path`` as it likes.
"""

from __future__ import annotations

import copy
import fnmatch
import importlib
import inspect
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import PackageError
from .input_files import (
    PICTURES,
    files_in_order,
    import_package,
    input_files,
    lay_out,
    natural,
    seed_generators,
)
from .shaping import arrange, to_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .batch import Batch

# arguments that the function of every package takes
BASE = ("model_file", "num_samples", "output_path", "save_images")


class Medigan:
    """A package of the medigan contract, imported.

    Parameters
    ----------
    folder
        The package. Nothing is written to it.
    spec
        What the config says of it, as plain values: `medzoo.runtime.medigan.spec`.
    device
        ``cpu``, ``cuda:0`` ... A package chooses for itself among the devices that it sees.
    work
        A folder of this session. The package may change its files.

    Raises
    ------
    PackageError
        The package has no ``__init__.py``, no such function, or not the weights that the config
        names.
    """

    def __init__(self, folder: Path, spec: dict[str, Any], device: str, work: Path) -> None:
        self._spec, self._device, self._work = spec, device, Path(os.path.realpath(str(work)))
        self._root = self._work / "models" / spec["model_id"]
        # An earlier process of this session may have left it.
        shutil.rmtree(str(self._root), ignore_errors=True)
        lay_out(Path(folder), self._root)
        self._weights = self._root / spec["weights"]
        if not self._weights.exists():
            files = [f.relative_to(folder) for f in Path(folder).rglob("*") if f.is_file()]
            raise PackageError(
                f"there are no weights {spec['weights']!r} in the package.",
                f"It has {some(sorted(f.as_posix() for f in files))}.",
            )
        self._function = self._import_function(Path(folder).name)
        self._own: dict[str, list[Path]] = {}  # images that came with the package, by input
        for name, config in spec["inputs"].items():
            if config["default"]:
                self._own[name] = self._default(name, config["default"])
        self._check_arguments()

    def sample(self, batch: Batch) -> dict[str, Any]:
        """The outputs of a batch, in its order.

        Returns
        -------
        dict
            ``outputs``: name -> an array (n, C, H, W), or its like, of the type that the package
            returned; or the paths of n files that the package wrote, which are there until the next
            call. ``repeated``: name -> how many images the package itself has for that input,
            if with this batch they begin to be used again.
        """
        shutil.rmtree(str(self._work / "output"), ignore_errors=True)
        outputs: dict[str, Any] = {name: [None] * batch.n for name in self._spec["outputs"]}
        for number, rows in enumerate(self._calls(batch)):
            items = self._call(batch, rows, self._work / "output" / str(number))
            for name, values in items.items():
                for row, value in zip(rows, values):
                    outputs[name][row] = value
        if self._spec["returns"] != "files":
            outputs = {name: np.stack(values) for name, values in outputs.items()}
        repeated = {}
        for name, paths in self._own.items():
            if name not in batch.inputs and len(paths) in batch.indices:
                repeated[name] = len(paths)
        return {"outputs": outputs, "repeated": repeated}

    def _import_function(self, package_name: str) -> Callable[..., Any]:
        """Import the package, and return its function."""
        os.chdir(str(self._work))
        with files_in_order():
            # Before the first call, so that the generators of the frameworks are seeded for it.
            for framework in self._spec["frameworks"]:
                importlib.import_module(framework)
            module = import_package(self._root, package_name)
        name = self._spec["function"]
        function: Callable[..., Any] | None = getattr(module, name, None)
        if not callable(function):
            functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
            raise PackageError(
                f"its __init__.py has no function {name!r}.", f"It has {some(sorted(functions))}."
            )
        return function

    def _calls(self, batch: Batch) -> Iterator[list[int]]:
        """The rows of each call: those with the same conditions, and not more than the package can
        make at a time.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        for row in range(batch.n):
            values = tuple(int(batch.conditions[name][row]) for name in self._spec["conditions"])
            groups.setdefault(values, []).append(row)
        single = any(config["form"] == "file" for config in self._spec["inputs"].values())
        most = 1 if single else self._spec["most"] or batch.n
        for rows in groups.values():
            for start in range(0, len(rows), most):
                yield rows[start : start + most]

    def _call(self, batch: Batch, rows: list[int], output: Path) -> dict[str, list[Any]]:
        arguments = self._arguments(batch, rows)
        first = int(batch.indices[rows[0]])
        output.parent.mkdir(parents=True, exist_ok=True)
        output.mkdir()
        try:
            result = self._run(arguments, output, batch.seed, first)
        except FileExistsError as error:
            if not (error.filename and Path(os.fsdecode(error.filename)).absolute() == output):
                raise
            # medigan passes a folder that does not exist yet, and some packages make it.
            shutil.rmtree(str(output))
            result = self._run(arguments, output, batch.seed, first)
        numbers = [int(batch.indices[row]) for row in rows]
        if self._spec["returns"] == "files":
            return self._written(output, numbers)
        return self._returned(result, numbers)

    def _run(self, arguments: dict[str, Any], output: Path, seed: int, first: int) -> Any:
        os.chdir(str(self._work))
        seed_generators(seed, first)
        save = self._spec["returns"] == "files"
        with files_in_order():
            return self._function(
                output_path=str(output) + os.sep, save_images=save, **copy.deepcopy(arguments)
            )

    def _arguments(self, batch: Batch, rows: list[int]) -> dict[str, Any]:
        spec = self._spec
        arguments = {
            **spec["arguments"],
            **batch.options,
            "model_file": str(self._weights),
            "num_samples": len(rows),
        }
        for name, passed in spec["conditions"].items():
            arguments[name] = passed[str(int(batch.conditions[name][rows[0]]))]
        for name, config in spec["inputs"].items():
            paths = self._inputs(name, batch, rows)
            if paths:
                arguments[config["argument"]] = self._staged(name, paths, config["form"])
        if spec["latents"]:
            shape = (len(rows), *spec["latent_shape"])
            latents = np.ascontiguousarray(batch.latents[rows]).reshape(shape)
            as_torch = spec["latents_as"] == "torch"
            arguments[spec["latents"]] = self._tensor(latents) if as_torch else latents
        return arguments

    def _tensor(self, latents: Any) -> Any:
        torch = sys.modules["torch"]
        # The parent shows at most one GPU to this process, so any GPU is called cuda here.
        return torch.from_numpy(latents).to("cuda" if self._device.startswith("cuda") else "cpu")

    def _inputs(self, name: str, batch: Batch, rows: list[int]) -> list[str]:
        """The file that each sample gets: the user's, or one of the package's own in turn."""
        if name in batch.inputs:
            return [str(batch.inputs[name][row]) for row in rows]
        own = self._own.get(name, [])
        return [str(own[int(batch.indices[row]) % len(own)]) for row in rows if own]

    def _default(self, name: str, path: str) -> list[Path]:
        images = input_files(self._root / path)
        if not images:
            raise PackageError(f"the package has no images {path!r} for its input {name!r}.")
        return images

    def _check_arguments(self) -> None:
        """Raise PackageError unless the function takes all arguments by their names."""
        try:
            parameters = inspect.signature(self._function).parameters
        except (TypeError, ValueError):  # not written in Python
            return
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return
        spec = self._spec
        names = [*BASE, *spec["arguments"], *spec["conditions"], *spec["options"]]
        if spec["latents"]:
            names.append(spec["latents"])
        names += [config["argument"] for config in spec["inputs"].values()]
        for name in names:
            if name not in parameters:
                raise PackageError(
                    f"{spec['function']} takes no argument {name!r}, which its config names.",
                    f"It takes {', '.join(parameters)}.",
                )

    def _staged(self, name: str, paths: list[str], form: str) -> Any:
        """Copies of the inputs of one call in a new folder, named in the order of the samples."""
        folder = self._work / "input" / name
        shutil.rmtree(str(folder), ignore_errors=True)
        folder.mkdir(parents=True)
        copies = []
        for number, path in enumerate(paths):
            copies.append(str(folder / f"{number:08d}{Path(path).suffix.lower()}"))
            shutil.copyfile(path, copies[-1])
        return {"folder": str(folder), "files": copies, "file": copies[0]}[form]

    def _returned(self, result: Any, numbers: list[int]) -> dict[str, list[Any]]:
        """The outputs of one call, sample by sample, each checked and put into its shape."""
        spec, n = self._spec, len(numbers)
        if result is None:
            raise PackageError(
                "it returned nothing.",
                "If it only writes files, its config should say `returns: files`.",
            )
        outputs = {}
        if spec["returns"] != "arrays":
            result = self._listed(result, n)
            check_number(n, len(result), "returned")
        for name, output in spec["outputs"].items():
            place = output["element"]
            items = result
            if spec["returns"] == "arrays":
                items = self._listed(element(result, place, f"it returned {name!r}"), n)
                check_number(n, len(items), f"returned {name!r}")
            columns = []
            for number, item in zip(numbers, items):
                value = item
                if spec["returns"] == "tuples":
                    value = element(item, place, f"sample {number} has {name!r}")
                columns.append(self._item(name, output, value, number))
            outputs[name] = columns
        return outputs

    def _listed(self, values: Any, n: int) -> Sequence[Any]:
        """``values`` as a sequence of samples. A picture is one sample if one was requested."""
        if isinstance(values, (list, tuple)):
            return values
        try:
            array = to_array(values)
        except (TypeError, ValueError, RuntimeError) as error:
            raise PackageError(
                f"it returned {type(values).__name__}, not {n} samples: {error}."
            ) from error
        shape = next(iter(self._spec["outputs"].values()))["shape"]
        if array.ndim == 0 or (n == 1 and len(array) != 1 and array.ndim <= len(shape)):
            return [array]
        return list(array)

    @staticmethod
    def _item(name: str, output: dict[str, Any], value: Any, number: int) -> Any:
        try:
            return arrange(value, output)
        except (TypeError, ValueError, RuntimeError) as error:
            raise PackageError(
                f"{name!r} of sample {number} is not what its config says: {error}."
            ) from error

    def _written(self, folder: Path, numbers: list[int]) -> dict[str, list[Any]]:
        """The files of one call, in natural order. Each belongs to the longest fitting pattern."""
        patterns: dict[str, str] = {}
        files: dict[str, list[Any]] = {}
        for name, output in self._spec["outputs"].items():
            patterns[name] = output["files"] or "*"
            files[name] = []
        pictures = [p for p in folder.rglob("*") if p.suffix.lower() in PICTURES]
        paths = [p.relative_to(folder).as_posix() for p in pictures]
        for path in sorted(paths, key=natural):
            fitting = [p for p in patterns.values() if fnmatch.fnmatchcase(path, p)]
            longest = max(map(len, fitting), default=0)
            for name, pattern in patterns.items():
                if pattern in fitting and len(pattern) == longest:
                    files[name].append(str(folder / path))
        for name, written in files.items():
            how = f"wrote {name!r} ({patterns[name]})"
            check_number(len(numbers), len(written), how, paths)
        return files


def element(item: Any, place: int, what: str) -> Any:
    """Element number ``place`` of a tuple."""
    if not isinstance(item, (list, tuple)):
        raise PackageError(
            f"{what} as element {place} by its config, but that is {type(item).__name__}, "
            "not a tuple."
        )
    if place >= len(item):
        raise PackageError(
            f"{what} as element {place} by its config, but there are only {len(item)}."
        )
    return item[place]


def check_number(asked: int, got: int, how: str, files: Sequence[str] = ()) -> None:
    """Check that as many samples came back as were asked for."""
    if got == asked:
        return
    hint = "Some packages leave out samples that they judge bad."
    if asked > 1:
        hint += " `most: 1` in the config's `call` asks for one at a time."
    if got > asked:
        hint = (
            "An argument may ask for several of each: the config's `call` can fix it under "
            "`arguments`."
        )
    if files:
        hint += f" It wrote {some(sorted(files))}."
    few = "too few" if got < asked else "too many"
    samples = "sample" if asked == 1 else "samples"
    raise PackageError(
        f"it was asked for {asked} {samples} and {how} {got}: {abs(asked - got)} {few}.", hint
    )


def some(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "") or "none"
