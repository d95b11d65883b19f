"""A session in a separate process, with the interpreter of the model's environment.

All three contracts run there (`medzoo._worker.protocol` says how). What is special to a contract on
this side is in `medzoo.runtime.native`, `medzoo.runtime.medigan` and `medzoo.runtime.monai`, each
with two functions:

``spec(model_name, version, folder, weights, room) -> dict``
    What the contract's class needs, as a tree that can cross: ``model_name`` is for errors,
    ``folder`` is the package, ``weights`` the user's own file (an absolute path) or None, ``room``
    a folder for what the spec points to, which lives as long as the session. Raises InputError for
    weights that do not fit.
``columns(model_name, version, batch, answer, work) -> dict of arrays``
    What the contract's ``sample`` returned, converted to the config's columns and compared with it
    by `medzoo.runtime.columns.check`. Files that it names are in the folder ``work``. Raises
    PackageError.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .. import settings
from .._worker.batch import Batch
from .._worker.devices import pick_device
from .._worker.protocol import printable
from ..config import ModelConfig, Version, name_of
from ..environments import Interpreter, records, satisfied
from ..errors import MedzooWarning, PackageError, WorkerError
from ..files import sha256_of
from ..packages.store import Package
from ..plugins import plugin
from ..provenance import of_session
from ..scratch import Scratch
from .execution import DEFAULT, Execution
from .log import Log
from .process import Ended, Process
from .sandbox import containment, is_foreign, require
from .session import NO_ROOM, Session, at, batch_size, explain, libraries
from .variables import environment
from .weights import their_file

NONE = type(None)
STARTED: dict[str, tuple[type, ...]] = {"pid": (int,), "sandbox": (list,)}
LOADED: dict[str, tuple[type, ...]] = {
    "device": (str,),
    "free": (int, NONE),
    "python": (str,),
    "libraries": (dict,),
    "threads": (int, NONE),
}


class WorkerSession(Session):
    """A package of any contract, loaded in a separate process. Raises what
    `medzoo.runtime.open_session` says.

    The process lives as long as the session. One that ended before (it crashed, was killed, hung,
    or took more memory than there is) is an error once; the next batch starts a new one.
    """

    def __init__(
        self,
        config: ModelConfig,
        version: Version,
        package: Package,
        execution: Execution = DEFAULT,
        *,
        interpreter: Interpreter,
    ) -> None:
        device, weights = execution.device, execution.weights
        pick_device(device, torch=False)  # an invalid device is refused before a process starts
        self._model_name, self._version = name_of(config, version), version
        # While they are referenced, the cache keeps both.
        self._interpreter, self._package = interpreter, package
        self._contract = plugin("caller", version.contract)
        self._lock = threading.Lock()  # a process answers one request at a time
        self.digests = dict(package.digests)
        theirs = None
        self._user_parts = [] if weights is None else ["weights"]
        if interpreter.kind == "current" and satisfied(version):  # it lacks something
            self._user_parts.append("installed packages")
        if weights is not None:
            theirs = their_file(weights)
            self.digests["weights"] = sha256_of(theirs)
        folder, torch = package.path.absolute(), sys.modules.get("torch")
        self._reads = [folder, *([theirs] if theirs else [])]
        self._visible, local = visible_devices(device, version)
        self._is_contained = execution.contains(version)
        self._must_contain = self._is_contained and execution.sandbox == "on"
        self._contained: list[str] = []
        self._take_room()
        self._log_name = f"{config.id}-{version.name}"
        try:
            self._loading = {
                "request": "load",
                "contract": version.contract,
                "folder": str(folder),
                "spec": {
                    **self._contract.spec(
                        self._model_name, version, folder, theirs, self._held.folder
                    ),
                    "autocast": execution.autocast,
                },
                "device": local,
                "asked": device,
                "torch": version.needs_torch,
                # The same number as here, so that the bytes are the same.
                "threads": torch.get_num_threads() if torch is not None else None,
                "trust": execution.trust,
                "libraries": libraries(version),
            }
            answer = self._load()
        except BaseException:
            self.close()
            raise
        self.device: str = answer["device"]
        if device.startswith("cuda:") and self.device == "cuda:0":
            self.device = device  # the process sees only this one, and calls it cuda:0
        self.batch_size = batch_size(version, self.device, answer["free"])
        kind, lock = interpreter.kind, interpreter.lock
        self.provenance = of_session(
            version,
            env=kind,
            lock=lock,
            trust=execution.trust,
            interpreter=answer,
            recorded=execution.record,
        )
        if is_foreign(version):
            self.provenance["sandbox"] = self._contained

    def sample(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """The columns of a batch, checked against the config."""
        with self._lock:
            if self._held.closed:
                raise WorkerError(
                    f"{self._model_name}: its session is closed.", "Load the model again."
                )
            try:
                if self._held.process is None or not self._held.is_ours:
                    self._load()
                contents = {**vars(batch), "inputs": self._readable(batch.inputs)}
            except OSError as error:
                raise WorkerError(
                    f"{self._model_name} failed on {at(batch)}: {error}.", NO_ROOM
                ) from error
            request = {"request": "sample", "batch": contents}
            answer = self._ask(request, f"failed on {at(batch)}", batch)
            # Files that a package wrote are gone with the next request.
            try:
                columns: dict[str, NDArray[Any]] = self._contract.columns(
                    self._model_name, self._version, batch, answer, self._held.work
                )
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                raise PackageError(
                    f"{self._model_name} failed on {at(batch)}: what its process sent is not what "
                    f"its contract says: {type(error).__name__}: {printable(str(error), 200)}."
                ) from error
            return columns

    def _take_room(self) -> None:
        """Make folders for temporary files, the only ones that the model may write."""
        self._held = _Held(Scratch())
        weakref.finalize(self, self._held.let_go)
        self._reads.append(self._held.folder)
        work, visible = self._held.work, self._visible
        user_site = self._interpreter.kind == "current"  # then they are part of it
        self._environment = environment(work, visible, user_site=user_site)
        self._containment = None
        if self._is_contained:
            self._containment = containment(
                self._interpreter, read=self._reads, work=work, gpu=visible != ""
            )
            self._environment["HOME"] = str(work)
            self._environment.pop("XDG_CACHE_HOME", None)

    def _readable(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The inputs of a batch, with copies of the user's files for a contained process."""
        if not self._contained:
            return inputs
        folder = self._held.folder / "inputs"
        shutil.rmtree(folder, ignore_errors=True)  # those of the last batch
        copied = {}
        for name, values in inputs.items():
            copied[name] = values
            if isinstance(values, list):
                copied[name] = [
                    _copy(path, folder / name / str(number)) for number, path in enumerate(values)
                ]
        return copied

    @property
    def _may_change(self) -> bool:
        """Whether foreign code could write to its environment."""
        is_free = is_foreign(self._version) and "files" not in self._contained
        return is_free and self._interpreter.kind == "isolated"

    def close(self) -> None:
        """End the process, whatever it does."""
        was_open = not self._held.closed
        self._held.let_go()
        if was_open and self._may_change:
            self._check_environment()

    def _check_environment(self) -> None:
        """Warn if foreign code without a sandbox changed its environment, which the next use then
        builds again.
        """
        record = records.read(self._interpreter.python.parents[1].name)
        if record is not None and not records.is_unchanged(record):
            warnings.warn(
                f"{self._model_name} changed its environment, which is not used again.",
                MedzooWarning,
                stacklevel=3,
            )

    def _load(self) -> dict[str, Any]:
        """Start the process and have it load the package."""
        if not self._held.is_ours:  # forked: the process of our parent works in its folders
            self._take_room()
        python, log = self._interpreter.python, Log.new(self._log_name, self._held.folder)
        self._held.process = Process(
            python,
            self._environment,
            self._held.work,
            log,
            containment=self._containment,
            model_name=self._model_name,
        )
        started = self._typed(self._ask({"request": "start"}, "did not start"), STARTED)
        self._held.process.pid = started["pid"]
        self._contained = started["sandbox"]
        if self._must_contain:
            require(self._contained, self._model_name)
        loading = {**self._loading, "work": str(self._held.work)}
        return self._typed(self._ask(loading, "did not load"), LOADED)

    def _typed(self, answer: Any, types: dict[str, tuple[type, ...]]) -> dict[str, Any]:
        """An answer whose entries have certain names and types."""
        is_right = isinstance(answer, dict) and answer.keys() == types.keys()
        if is_right and all(type(answer[name]) in types[name] for name in types):
            return answer  # type: ignore[no-any-return]
        assert self._held.process is not None  # noqa: S101
        error = ValueError("entries of an answer are missing or of other types")
        ended, self._held.process = self._held.process.misbehaved(error), None
        raise ended.explained(self._model_name, "did not load")

    def _ask(self, request: dict[str, Any], what: str, batch: Batch | None = None) -> Any:
        process = self._held.process
        assert process is not None  # noqa: S101
        process.log.mark()
        try:
            answer = process.ask(request, settings.timeout())
        except Ended as ended:
            self._held.process = None
            raise ended.explained(self._model_name, what) from None
        except BaseException:  # a Ctrl-C: what it answers would be taken for the next batch
            self._held.process = None
            process.end()
            raise
        if "error" in answer:
            inputs = ["inputs"] if batch is not None and batch.inputs else []
            raise explain(
                answer["error"],
                self._model_name,
                what,
                self._version.requires,
                process.log.tail(),
                user_parts=[*self._user_parts, *inputs],
                contained=bool(self._contained),
            )
        return answer["ok"]


class _Held:
    """What a session holds beside itself, to be let go with it: a process, and a folder for
    temporary files.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch, self.folder = scratch, scratch.path
        self.work = self.folder / "work"
        self.work.mkdir()
        self.process: Process | None = None
        self.closed = False
        self._owner = os.getpid()

    @property
    def is_ours(self) -> bool:
        """Whether this Python process made it; after a fork it is our parent's."""
        return self._owner == os.getpid()

    def let_go(self) -> None:
        self.closed = True
        if not self.is_ours:
            return
        if self.process is not None:
            self.process.close()
            self.process = None
        self._scratch.remove()


def _copy(path: str, folder: Path) -> str:
    """A copy of a file, with its own name, in a new folder."""
    folder.mkdir(parents=True)
    return shutil.copyfile(path, str(folder / Path(path).name))


def visible_devices(device: str, version: Version) -> tuple[str | None, str]:
    """``CUDA_VISIBLE_DEVICES`` for a process (None: all that are visible here), and what the device
    is called in there.

    A package that says ``cuda:0``, or only ``cuda``, then means the device that was asked for, and
    can touch no other.
    """
    if device == "cpu" or not version.needs_torch:
        return "", device
    kind, _, number = device.partition(":")
    if kind != "cuda" or not (number or "0").isdecimal():
        return None, device
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    index = int(number or 0)
    if variable is None:
        return str(index), "cuda:0"
    visible = variable.split(",")
    return (visible[index].strip(), "cuda:0") if index < len(visible) else (None, device)
