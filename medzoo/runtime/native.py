"""The native contract in the caller's process: what a package needs, its columns, and the session
in this interpreter.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .._worker.batch import Batch
from .._worker.devices import describe, free_memory
from .._worker.devices import pick_device as pick
from .._worker.memory import keep_freed_blocks
from .._worker.native import Native
from .._worker.protocol import Failure
from ..config import ModelConfig, Version, name_of
from ..errors import PackageError
from ..files import sha256_of
from ..packages.store import Package
from ..provenance import of_session
from ..scratch import Scratch
from .columns import check, own_outputs
from .execution import DEFAULT, Execution
from .graph import Graph
from .sandbox import is_foreign
from .session import Session, at, batch_size, explain, libraries
from .weights import other_weights, their_file


def columns(
    model_name: str,
    version: Version,
    batch: Batch,
    answer: Mapping[str, Any],
    work: Path | None = None,  # noqa: ARG001
) -> dict[str, NDArray[Any]]:
    """The arrays of a package, compared with its config; see `medzoo.runtime.worker`."""
    return check(model_name, version, batch, answer)


def spec(
    model_name: str, version: Version, folder: Path, weights: Path | None, room: Path
) -> dict[str, Any]:
    """What `medzoo._worker.native.Native` needs; see `medzoo.runtime.worker` for the parameters.

    Raises
    ------
    InputError
        The user's weights do not fit.
    """
    if weights is not None:
        folder = other_weights(model_name, folder, weights, room / "weights")
    return {
        "weights": str(folder),
        "outputs": own_outputs(version),
        "torch": version.needs_torch,
    }


class NativeSession(Session):
    """A package of the native contract, loaded into this interpreter.

    Raises what `medzoo.runtime.open_session` says.
    """

    is_here = True

    def __init__(
        self,
        config: ModelConfig,
        version: Version,
        package: Package,
        execution: Execution = DEFAULT,
    ) -> None:
        weights = execution.weights
        self._model_name, self._version = name_of(config, version), version
        # While it is referenced, the cache keeps it: a package may import or read more of it later.
        self._package: Package | None = package
        self.digests = dict(package.digests)
        self.device = pick_device(execution.device, version)
        self._user_parts = [] if weights is None else ["weights"]
        folder, room, theirs = package.path.absolute(), Path(), None
        if weights is not None:
            theirs = their_file(weights)
            self.digests["weights"] = sha256_of(theirs)
            scratch = Scratch()
            weakref.finalize(self, scratch.remove)
            room = scratch.path
        needs = {
            **spec(self._model_name, version, folder, theirs, room),
            "autocast": execution.autocast,
        }
        keep_freed_blocks()
        try:
            self._contract: Native | None = Native(folder, needs, self.device, room)
        except (Exception, SystemExit) as error:
            raise explain(
                Failure.of(error),
                self._model_name,
                "did not load",
                version.requires,
                user_parts=self._user_parts,
            ) from error
        self.batch_size = batch_size(version, self.device, free_memory(self.device))
        interpreter = describe(libraries(version), version.needs_torch)
        self.provenance = of_session(
            version,
            env="current",
            lock="",
            trust=execution.trust,
            interpreter=interpreter,
            recorded=execution.record,
        )
        if is_foreign(version):
            self.provenance["sandbox"] = []  # in this process, nothing is contained

    def graph(self, batch_of: Callable[[range], Batch]) -> Graph:
        """What the package computes with torch; ``batch_of`` gives the batch of a range of samples.

        Raises
        ------
        PackageError
            It has no graph.
        """
        assert self._contract is not None  # noqa: S101  (`close` is the end)
        try:
            return Graph(self._model_name, self._contract.model, batch_of)
        except PackageError:
            raise
        except Exception as error:
            requires = self._version.requires
            raise explain(Failure.of(error), self._model_name, "failed", requires) from error

    def sample(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """The columns of a batch, checked against the config."""
        assert self._contract is not None  # noqa: S101  (`close` is the end)
        try:
            # As between two processes: what the package changes of the options, or of an array
            # that it fills again for the next batch, changes nothing here.
            given = replace(batch, options=copy.deepcopy(batch.options))
            returned = self._contract.sample(given)
            outputs = {name: values.copy() for name, values in returned.items()}
        except (Exception, SystemExit) as error:
            raise explain(
                Failure.of(error),
                self._model_name,
                f"failed on {at(batch)}",
                self._version.requires,
                user_parts=[*self._user_parts, *(["inputs"] if batch.inputs else [])],
            ) from error
        return columns(self._model_name, self._version, batch, outputs)

    def close(self) -> None:
        """Let go of the model and its package."""
        self._contract = self._package = None


def pick_device(asked: str, version: Version) -> str:
    """The device that a session in this interpreter runs on.

    Raises
    ------
    InputError
        There is no such device here.
    """
    return pick(asked, version.needs_torch)
