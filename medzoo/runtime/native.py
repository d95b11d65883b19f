"""The native contract, in this interpreter: ``load(weights_dir, device)``, then ``model.sample(batch)``.

A package is imported under a name of its own and never through ``sys.path``, so that two packages may both have a
``model.py``, and neither meets a module of the caller's.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import ModelConfig, Output, Version
from ..errors import InputError, MedzooError, PackageError
from ..files import sha256_of
from ..request import Batch
from ..settings import user_path
from ..store import Package, package_files

WEIGHTS = "weights.safetensors"


class NativeSession:
    """A package of the native contract, loaded. Raises what `medzoo.runtime.open_session` says."""

    def __init__(
        self,
        config: ModelConfig,
        version: Version,
        package: Package,
        *,
        device: str = "auto",
        weights: str | os.PathLike[str] | None = None,
    ) -> None:
        self._about = f"{config.id}, version {version.name}"
        self._version = version
        self.digests = dict(package.digests)
        self.provenance: dict[str, Any] = {}
        self.device = pick_device(device, version)
        module = import_package(package.path, self._about, version.requires)
        folder = package.path if weights is None else self._other_weights(package.path, user_path(weights, "weights"))
        try:
            with _no_bytecode():
                self._model = module.load(folder, self.device)
        except (Exception, SystemExit) as error:
            if is_out_of_memory(error):
                raise MemoryError(str(error)) from error
            raise self._failed("did not load", error) from error

    def sample(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """The columns of a batch, checked against the config."""
        try:
            found = self._model.sample(batch)
        except MedzooError:
            raise
        except (Exception, SystemExit) as error:
            if is_out_of_memory(error):
                raise MemoryError(str(error)) from error
            raise self._failed(f"failed on samples {batch.indices[0]} to {batch.indices[-1]}", error) from error
        if not isinstance(found, dict):
            raise PackageError(f"{self._about}: `sample` returned {type(found).__name__}, not a dict of arrays.")
        columns = {}
        for name, output in self._version.outputs.items():
            if output.condition:  # what the core knows, a package need not say
                columns[name] = batch.conditions[output.condition].astype(output.dtype)
            elif name not in found:
                raise PackageError(f"{self._about}: `sample` returned no {name!r}, only {', '.join(found) or 'nothing'}.")
            else:
                try:
                    values = np.asarray(found[name])
                except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors on a GPU or with a gradient
                    raise self._failed(f"returned {name!r} as no array", error) from error
                columns[name] = self._checked(name, output, values, batch.n)
        return columns

    def close(self) -> None:
        """Let go of the model."""
        self._model = None

    def _checked(self, name: str, output: Output, values: NDArray[Any], n: int) -> NDArray[Any]:
        if values.shape != (n, *output.shape) or values.dtype != output.dtype:
            raise PackageError(f"{self._about}: `sample` returned {name!r} of shape {values.shape} and type {values.dtype}; "
                               f"its config says {(n, *output.shape)} and {output.dtype}.")  # fmt: skip
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise PackageError(f"{self._about}: {name!r} holds values that are not finite.")
        return values

    def _failed(self, what: str, error: BaseException) -> PackageError:
        return failed(f"{self._about} {what}", error, self._version.requires)

    def _other_weights(self, package: Path, weights: Path) -> Path:
        """A folder in which the user's weights go by the name that the package expects."""
        if not weights.is_file():
            raise InputError(f"weights={str(weights)!r}: there is no such file.", "Give a .safetensors file.")
        if not (package / WEIGHTS).is_file():
            raise InputError(f"{self._about} has no {WEIGHTS} that others could replace.", "Leave `weights` out.")
        compare_weights(package / WEIGHTS, weights)
        folder = Path(tempfile.mkdtemp(prefix="medzoo-weights-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        for name in package_files(package):  # what else its `load` may look for beside the weights
            if not name.endswith((".py", WEIGHTS)):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(package / name, folder / name)
        shutil.copyfile(weights, folder / WEIGHTS)
        self.digests["weights"] = sha256_of(folder / WEIGHTS)
        return folder


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """No ``__pycache__`` from what is imported inside: an installed package may be read-only, and is to stay as it is."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def failed(what: str, error: BaseException, requires: Sequence[str] = ()) -> PackageError:
    """The error for package code that raised; for a missing module it names what the package needs."""
    hint = "If the package is not yours, tell its authors."
    if isinstance(error, ImportError) and requires:
        hint = f"It needs {', '.join(requires)}."
    return PackageError(f"{what}: {type(error).__name__}: {error}", hint)


def import_package(folder: Path, about: str = "", requires: Sequence[str] = ()) -> ModuleType:
    """The package's ``model.py``, as a module under a name of its own; its siblings are its submodules' neighbours.

    Raises
    ------
    PackageError
        There is no ``model.py``, it does not import, or it has no ``load``.
    """
    about = about or str(folder)
    code = folder / "model.py"
    if not code.is_file():
        raise PackageError(f"{about}: there is no model.py in {folder}.")
    # Keyed by content: with any of its files edited it is a new module.
    texts = [str(folder).encode(), *(p.read_bytes() for p in sorted(folder.rglob("*.py")))]
    name = f"_medzoo_package_{hashlib.sha256(b' '.join(hashlib.sha256(t).digest() for t in texts)).hexdigest()[:16]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, code, submodule_search_locations=[str(folder)])
        assert spec is not None and spec.loader is not None  # noqa: S101, PT018  (a .py file always has both)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            with _no_bytecode():
                spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            for own in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
                del sys.modules[own]
            raise failed(f"{about}: model.py does not import", error, requires) from error
    module = sys.modules[name]
    if not callable(getattr(module, "load", None)):
        raise PackageError(f"{about}: model.py has no `load(weights_dir, device)`.", "docs/packages.md shows the contract.")
    return module


def pick_device(asked: str, version: Version) -> str:
    """``auto`` resolved, anything else checked; torch is imported only for a package that declares it.

    Raises
    ------
    InputError
        There is no such device here.
    """
    if not isinstance(asked, str) or asked.partition(":")[0] not in {"auto", "cpu", "cuda", "mps"}:
        raise InputError(f"device={asked!r} is no device.", "Give auto, cpu, cuda, cuda:1 or mps.")
    if asked == "cpu" or not version.needs_torch:
        return "cpu"
    import torch

    cuda, mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    here = ["cpu", *(f"cuda:{i}" for i in range(cuda)), *(["mps"] if mps else [])]
    if asked == "auto":
        return "cuda:0" if cuda else "cpu"
    wanted = "cuda:0" if asked == "cuda" else asked
    if wanted not in here:
        raise InputError(f"device={asked!r}: this torch ({torch.__version__}) does not see it.", f"It sees {', '.join(here)}.")
    return wanted


def compare_weights(ours: Path, theirs: Path) -> None:
    """Check that two safetensors files hold tensors of the same names and shapes.

    Raises
    ------
    InputError
        They differ, or ``theirs`` is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    def shapes(path: Path) -> dict[str, tuple[int, ...]]:
        with safe_open(path, "np") as file:
            return {k: tuple(file.get_slice(k).get_shape()) for k in file.keys()}  # noqa: SIM118

    try:
        given = shapes(theirs)
    except SafetensorError as error:
        raise InputError(f"weights={str(theirs)!r} is no safetensors file: {error}") from error
    wanted = shapes(ours) if ours.is_file() else given
    if given != wanted:
        wrong = [f"{k}: {given.get(k, 'missing')}, not {wanted.get(k, 'expected at all')}"
                 for k in sorted(given.keys() | wanted.keys()) if given.get(k) != wanted.get(k)]  # fmt: skip
        raise InputError(f"weights={str(theirs)!r} has {len(wrong)} tensors that do not fit this model:\n  "
                         + "\n  ".join(wrong[:5]), "Train with the train.py beside this model.")  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, from Python, numpy or torch, says that memory ran out."""
    says = str(error).lower()
    return isinstance(error, MemoryError) or any(s in says for s in ("out of memory", "can't allocate memory", "alloc_cpu"))
