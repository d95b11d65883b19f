"""What ``torch.load`` may do in a model's process: read tensors, and anything else only if the user
trusts the model.

medzoo does not import torch here. The guard is set as soon as the package imports it. With it comes
a cache, for packages that load their weights again at every call.
"""

from __future__ import annotations

import copy
import functools
import inspect
import os
import re
import sys
from collections import OrderedDict
from importlib.abc import MetaPathFinder
from types import FunctionType
from typing import TYPE_CHECKING, Any

from ..errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Callable

CACHED_BYTES = 2 * 2**30  # of weight files whose content is kept
ALLOWS = (
    "`trust=True` (--trust) reads it with pickle, which runs whatever code the file names: say so "
    "only if you trust those who made the file."
)
REFUSED = (
    "weights only load failed",
    "weights_only",
    "explicit pickle_module",
)  # in what torch says, in any case
REASON = re.compile(r"WeightsUnpickler error: *(.+?)(?:\n|\. |$)")
GLOBAL = re.compile(r"(?:GLOBAL|Unsupported class|unrecognized function|but got) +(<[^>]+>|[\w.]+)")


class AfterImport(MetaPathFinder):
    """Call ``then(module)`` when the module ``name`` is imported; at once if it is imported."""

    def __init__(self, name: str, then: Callable[[Any], None]) -> None:
        self._name, self._then = name, then
        if name in sys.modules:
            then(sys.modules[name])
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As the other finders do, for that one module, with our step behind its loader's."""
        if name != self._name:
            return None
        spec = self._found_by_others(name, path, target)
        loader = getattr(spec, "loader", None)
        if loader is not None:
            execute = loader.exec_module

            def execute_and_then(module: Any) -> None:
                execute(module)
                self._then(module)

            loader.exec_module = execute_and_then
        return spec

    def _found_by_others(self, name: str, path: Any, target: Any) -> Any:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if find is not None and finder is not self:
                spec = find(name, path, target)
                if spec is not None:
                    return spec
        return None


class Guard:
    """Wraps ``torch.load`` and sets the number of torch's threads.

    Parameters
    ----------
    trust
        Whether the user said ``trust=True``: then a load may run code, as the package asks for it.
    threads
        Of torch; its own choice if None.
    """

    def __init__(self, *, trust: bool, threads: int | None) -> None:
        self._trust, self._threads = trust, threads
        self._cache = WeightsCache(CACHED_BYTES)
        AfterImport("torch", self._put_on)

    def forget(self) -> None:
        """Let go of the weights that are kept."""
        self._cache.clear()

    def _put_on(self, torch: Any) -> None:
        if self._threads:
            torch.set_num_threads(self._threads)
        guarded = self._guarded(torch.load, torch.__version__)
        torch.load = guarded
        torch.serialization.load = guarded

    def _guarded(self, load: Callable[..., Any], torch_version: str) -> Callable[..., Any]:
        knows = "weights_only" in inspect.signature(load).parameters

        @functools.wraps(load)
        def safe_load(
            f: Any, map_location: Any = None, pickle_module: Any = None, **options: Any
        ) -> Any:
            if not self._trust and not knows:
                raise TrustError(
                    f"{_name(f)} was not loaded: torch {torch_version} cannot load weights without "
                    "running what the file says.",
                    ALLOWS,
                )
            if not self._trust:
                options["weights_only"] = True
            else:  # as the package was published: before torch 2.6 this was what a plain load did
                if knows:
                    options.setdefault("weights_only", False)
                if pickle_module is not None:
                    options["pickle_module"] = pickle_module
            try:
                return self._cache.load(load, f, map_location, options)
            except TrustError:
                raise
            except Exception as error:
                if self._trust or not any(sign in str(error).lower() for sign in REFUSED):
                    raise
                raise refusal(_name(f), str(error)) from error

        return safe_load


def refusal(file: str, says: str) -> TrustError:
    """The error for weights that torch does not read as weights alone."""
    match = REASON.search(says)
    reason = match[1] if match else says.splitlines()[0]
    if name := GLOBAL.search(match[1] if match else says):
        reason = f"it holds {name[1]}, which is not a tensor"
    hint = f"Checkpoints of PyTorch Lightning often hold more than tensors. {ALLOWS}"
    return TrustError(f"{file} was not loaded, since weights alone are read of it: {reason}.", hint)


def _name(file: Any) -> str:
    return os.path.basename(file) if isinstance(file, (str, os.PathLike)) else "a file"  # noqa: PTH119


class WeightsCache:
    """The content of weight files, for a package that loads the same file again and again.

    The content is kept from the second load on, so that a package which loads once pays nothing.
    Each load returns a copy, so that writing into it does not change later ones. A file is read
    again if its size or time changes.

    Parameters
    ----------
    most
        Bytes of all files whose content is kept; those not asked for the longest go first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: set[Any] = set()
        self._kept: OrderedDict[Any, Any] = OrderedDict()

    def clear(self) -> None:
        """Let go of all."""
        self._kept.clear()
        self._seen.clear()

    def load(
        self, load: Callable[..., Any], f: Any, map_location: Any, options: dict[str, Any]
    ) -> Any:
        """What ``load(f, map_location, **options)`` returns, or a copy of an earlier result."""
        key = self._key(f, map_location, options)
        if key in self._kept:
            self._kept.move_to_end(key)
            return copy.deepcopy(self._kept[key])
        content = load(f, map_location, **options)
        if key is not None and key in self._seen:
            try:
                self._kept[key] = copy.deepcopy(content)
            except Exception:  # not everything can be copied; then it is read each time
                return content
            while sum(size for _, size, *_ in self._kept) > self._most:
                self._kept.popitem(last=False)
        self._seen.add(key)
        return content

    def _key(self, f: Any, map_location: Any, options: dict[str, Any]) -> Any:
        """What decides the result; None if that is unknown, or if the file is too large to keep."""
        if not isinstance(f, (str, os.PathLike)):
            return None
        place: Any = repr(map_location)
        if isinstance(map_location, FunctionType):
            # Old code gives `lambda storage, _: storage`, which is a new function in every call.
            place = code = map_location.__code__
            if code.co_names or code.co_freevars or map_location.__defaults__:
                return None
        elif type(map_location).__name__ not in {"NoneType", "str", "device", "dict"}:
            return None
        try:
            status = os.stat(f)  # noqa: PTH116
        except OSError:
            return None
        if status.st_size > self._most:
            return None
        return (
            os.path.realpath(f),
            status.st_size,
            status.st_mtime_ns,
            place,
            repr(sorted(options.items(), key=str)),
        )
