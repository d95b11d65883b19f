"""The medigan contract: a published package's own function, called as medigan calls it, its returns
put into arrays.

A package finds the world that medigan makes for it: the working directory holds ``models/<model
id>/``, its own folder. That is a copy of its code with links to everything else, so that what it
writes beside itself never lands in the verified package. One process runs one package; the
process's working directory and ``sys.path`` are given over to it.
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

BASE = (
    "model_file",
    "num_samples",
    "output_path",
    "save_images",
)  # what every package's function takes


class Medigan:
    """A package of the medigan contract, imported.

    Parameters
    ----------
    folder
        The package. Nothing is written to it.
    spec
        What the config says of it, as plain values: `medzoo.runtime.medigan.spec`.
    device
        ``cpu``, ``cuda:0`` ...; packages choose for themselves among the devices that they see.
    work
        A folder of this session's own, whose files are the package's to change.

    Raises
    ------
    PackageError
        The package has no ``__init__.py``, no such function, or not the weights that the config
        names.
    """

    def __init__(self, folder: Path, spec: dict[str, Any], device: str, work: Path) -> None:
        self._spec, self._device, self._work = spec, device, Path(os.path.realpath(str(work)))
        self._root = self._work / "models" / spec["model_id"]
        shutil.rmtree(
            str(self._root), ignore_errors=True
        )  # of a process that ended before this one
        lay_out(Path(folder), self._root)
        self._weights = self._root / spec["weights"]
        if not self._weights.exists():
            has = sorted(
                f.relative_to(folder).as_posix() for f in Path(folder).rglob("*") if f.is_file()
            )
            raise PackageError(
                f"there are no weights {spec['weights']!r} in the package.", f"It has {some(has)}."
            )
        os.chdir(str(self._work))
        with files_in_order():
            for name in spec[
                "frameworks"
            ]:  # before the first call, so that their generators are seeded for it
                importlib.import_module(name)
            module = import_package(self._root, Path(folder).name)
        function = getattr(module, spec["function"], None)
        if not callable(function):
            has = sorted(name for name, value in vars(module).items() if inspect.isfunction(value))
            raise PackageError(
                f"its __init__.py has no function {spec['function']!r}.", f"It has {some(has)}."
            )
        self._function: Callable[..., Any] = function
        self._own = {
            name: self._default(name, i["default"])
            for name, i in spec["inputs"].items()
            if i["default"]
        }
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
        found: dict[str, list[Any]] = {name: [None] * batch.n for name in self._spec["outputs"]}
        for number, rows in enumerate(self._calls(batch)):
            items = self._call(batch, rows, self._work / "output" / str(number))
            for name, values in items.items():
                for row, value in zip(rows, values):
                    found[name][row] = value
        files = self._spec["returns"] == "files"
        own = {name: len(paths) for name, paths in self._own.items() if name not in batch.inputs}
        return {
            "outputs": {
                name: values if files else np.stack(values) for name, values in found.items()
            },
            "repeated": {name: count for name, count in own.items() if count in batch.indices},
        }

    def _calls(self, batch: Batch) -> Iterator[list[int]]:
        """The rows of each call: of one value of each condition, and no more than the package makes
        at a time.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        for row in range(batch.n):
            key = tuple(int(batch.conditions[name][row]) for name in self._spec["conditions"])
            groups.setdefault(key, []).append(row)
        single = any(i["form"] == "file" for i in self._spec["inputs"].values())
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
            shutil.rmtree(
                str(output)
            )  # medigan gives no folder when images are to be saved: a package may make it
            result = self._run(arguments, output, batch.seed, first)
        names = [int(batch.indices[row]) for row in rows]
        return (
            self._written(output, names)
            if self._spec["returns"] == "files"
            else self._returned(result, names)
        )

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
        for name, about in spec["inputs"].items():
            paths = self._inputs(name, batch, rows)
            if paths:
                arguments[about["argument"]] = self._staged(name, paths, about["form"])
        if spec["latents"]:
            latents = np.ascontiguousarray(batch.latents[rows]).reshape(
                len(rows), *spec["latent_shape"]
            )
            arguments[spec["latents"]] = (
                self._tensor(latents) if spec["latents_as"] == "torch" else latents
            )
        return arguments

    def _tensor(self, latents: Any) -> Any:
        torch = sys.modules["torch"]
        # The parent shows the process one GPU at most, so whichever that is, here it is called
        # cuda.
        return torch.from_numpy(latents).to("cuda" if self._device.startswith("cuda") else "cpu")

    def _inputs(self, name: str, batch: Batch, rows: list[int]) -> list[str]:
        """The file that each of the samples gets: the user's, or one of the package's own in turn."""
        if name in batch.inputs:
            return [str(batch.inputs[name][row]) for row in rows]
        own = self._own.get(name, [])
        return [str(own[int(batch.indices[row]) % len(own)]) for row in rows if own]

    def _default(self, name: str, path: str) -> list[Path]:
        found = input_files(self._root / path)
        if not found:
            raise PackageError(f"the package has no images {path!r} for its input {name!r}.")
        return found

    def _check_arguments(self) -> None:
        """That the function takes, by name, all that it will be given."""
        try:
            parameters = inspect.signature(self._function).parameters
        except (TypeError, ValueError):  # not written in Python
            return
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return
        spec = self._spec
        given = [
            *BASE,
            *spec["arguments"],
            *spec["conditions"],
            *spec["options"],
            spec["latents"] or BASE[0],
        ]
        given += [about["argument"] for about in spec["inputs"].values()]
        unknown = [name for name in given if name not in parameters]
        if unknown:
            raise PackageError(
                f"{spec['function']} takes no argument {unknown[0]!r}, which its config names.",
                f"It takes {', '.join(parameters)}.",
            )

    def _staged(self, name: str, paths: list[str], form: str) -> Any:
        """The inputs of one call, and no others, under names whose order is that of the samples."""
        folder = self._work / "input" / name
        shutil.rmtree(str(folder), ignore_errors=True)
        folder.mkdir(parents=True)
        copies = [
            str(folder / f"{k:08d}{Path(path).suffix.lower()}") for k, path in enumerate(paths)
        ]
        for source, target in zip(paths, copies):
            shutil.copyfile(source, target)
        return {"folder": str(folder), "files": copies, "file": copies[0]}[form]

    def _returned(self, result: Any, names: list[int]) -> dict[str, list[Any]]:
        """The outputs of one call, sample by sample, each checked and put into its shape."""
        spec, n = self._spec, len(names)
        if result is None:
            raise PackageError(
                "it returned nothing.",
                "If it only writes files, its config should say `returns: files`.",
            )
        found = {}
        if spec["returns"] != "arrays":
            result = self._listed(result, n)
            check_number(n, len(result), "returned")
        for name, output in spec["outputs"].items():
            place = output["element"]
            if spec["returns"] == "arrays":
                items = self._listed(element(result, place, f"it returned {name!r}"), n)
                check_number(n, len(items), f"returned {name!r}")
            elif spec["returns"] == "tuples":
                items = [
                    element(item, place, f"sample {i} has {name!r}")
                    for i, item in zip(names, result)
                ]
            else:
                items = result
            found[name] = [self._item(name, output, item, i) for i, item in zip(names, items)]
        return found

    def _listed(self, values: Any, n: int) -> Sequence[Any]:
        """``values`` as a sequence of samples; a single picture counts as one sample when one was
        asked for.
        """
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

    def _written(self, folder: Path, names: list[int]) -> dict[str, list[Any]]:
        """The files of one call: each belongs to the longest pattern that fits it, in natural
        order.
        """
        outputs = self._spec["outputs"]
        patterns = {name: output["files"] or "*" for name, output in outputs.items()}
        found: dict[str, list[Any]] = {name: [] for name in outputs}
        inside = [
            str(p.relative_to(folder).as_posix())
            for p in folder.rglob("*")
            if p.suffix.lower() in PICTURES
        ]
        for path in sorted(inside, key=natural):
            fitting = [
                (len(pattern), name)
                for name, pattern in patterns.items()
                if fnmatch.fnmatchcase(path, pattern)
            ]
            if fitting:
                longest = max(fitting)[0]
                for name in (name for length, name in fitting if length == longest):
                    found[name].append(str(folder / path))
        for name, files in found.items():
            check_number(len(names), len(files), f"wrote {name!r} ({patterns[name]})", inside)
        return found


def element(item: Any, place: int, what: str) -> Any:
    """Element number ``place`` of a tuple."""
    if not isinstance(item, (list, tuple)):
        raise PackageError(
            f"{what} as element {place} by its config, but that is {type(item).__name__}, not a tuple."
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
        hint = "An argument may ask for several of each: the config's `call` can fix it under `arguments`."
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
