"""The native contract, on this side of it: what a package is told, what came of it, and the session
in this interpreter.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .._worker.batch import Batch
from .._worker.devices import describe, free_memory
from .._worker.devices import pick_device as pick
from .._worker.native import Native
from .._worker.protocol import Failure
from ..config import ModelConfig, Version, name_of
from ..files import sha256_of
from ..packages.store import Package
from ..provenance import of_session
from .columns import check, own_outputs
from .execution import DEFAULT, Execution
from .session import Session, at, batch_size, explain, libraries
from .weights import other_weights, their_file

columns = check


def spec(
    about: str, version: Version, folder: Path, weights: Path | None, room: Path
) -> dict[str, Any]:
    """What `medzoo._worker.native.Native` needs; see `medzoo.runtime.worker` for the parameters.

    Raises
    ------
    InputError
        The user's weights do not fit.
    """
    given = folder if weights is None else other_weights(about, folder, weights, room / "weights")
    return {
        "weights": str(given),
        "outputs": own_outputs(version),
        "torch": version.needs_torch,
    }


class NativeSession(Session):
    """A package of the native contract, loaded into this interpreter. Raises what
    `medzoo.runtime.open_session` says.
    """

    def __init__(
        self,
        config: ModelConfig,
        version: Version,
        package: Package,
        execution: Execution = DEFAULT,
    ) -> None:
        weights = execution.weights
        self._about, self._version = name_of(config, version), version
        self.digests = dict(package.digests)
        self.device = pick_device(execution.device, version)
        self._given = [] if weights is None else ["weights"]
        folder, room, theirs = package.path.absolute(), Path(), None
        if weights is not None:
            theirs = their_file(weights)
            self.digests["weights"] = sha256_of(theirs)
            room = Path(tempfile.mkdtemp(prefix="medzoo-"))
            weakref.finalize(self, shutil.rmtree, room, ignore_errors=True)
        needs = {**spec(self._about, version, folder, theirs, room), "autocast": execution.autocast}
        try:
            self._contract: Native | None = Native(folder, needs, self.device, room)
        except (Exception, SystemExit) as error:
            raise explain(
                Failure.of(error),
                self._about,
                "did not load",
                version.requires,
                given=self._given,
            ) from error
        self.batch_size = batch_size(version, self.device, free_memory(self.device))
        found = describe(libraries(version), version.needs_torch)
        self.provenance = of_session(
            version,
            env="current",
            lock="",
            trust=execution.trust,
            found=found,
            recorded=execution.record,
        )

    def sample(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """The columns of a batch, checked against the config."""
        assert self._contract is not None  # noqa: S101  (`close` is the end)
        try:
            found = self._contract.sample(batch)
        except (Exception, SystemExit) as error:
            raise explain(
                Failure.of(error),
                self._about,
                f"failed on {at(batch)}",
                self._version.requires,
                given=[*self._given, *(["inputs"] if batch.inputs else [])],
            ) from error
        return columns(self._about, self._version, batch, found)

    def close(self) -> None:
        """Let go of the model."""
        self._contract = None


def pick_device(asked: str, version: Version) -> str:
    """The device that a session in this interpreter runs on.

    Raises
    ------
    InputError
        There is no such device here.
    """
    return pick(asked, version.needs_torch)
