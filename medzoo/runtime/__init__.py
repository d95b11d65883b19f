"""Sessions: a loaded model that turns batches into columns. One module per kind of session.

`native.NativeSession` runs a package of the native contract in this interpreter.
`worker.WorkerSession` runs a package of any contract in a separate process.
`cluster.ClusterSession` has one of these on each actor of a Ray cluster. The rest of medzoo uses
only their base class, `Session`.
"""

from __future__ import annotations

from .. import checks, environments
from .._worker.batch import Batch
from .._worker.sandbox import possible
from ..config import ModelConfig, Version, name_of
from ..errors import WorkerError
from ..packages.preparation import prepare
from . import sandbox
from .cluster import ClusterSession
from .engine import Ray
from .execution import DEFAULT, Execution
from .session import NO_ROOM, Session


def open_session(
    config: ModelConfig,
    version: Version,
    execution: Execution = DEFAULT,
    *,
    progress: bool | None = None,
) -> Session:
    """Load a version of a model.

    Parameters
    ----------
    execution
        How to run it.
    progress
        Whether to draw progress bars while it downloads and its environment is built. If None,
        only at a terminal.

    Raises
    ------
    TrustError
        It needs ``trust=True``; nothing of it was imported.
    SourceError, IntegrityError
        Its package cannot be fetched or is not what was registered.
    BuildError
        Its environment cannot be built.
    PackageError
        Its code does not load.
    WorkerError
        Its process crashed, was killed, or did not answer in time; or a disk is full.
    InputError
        The device does not exist here, the weights do not fit, the version cannot run in this way,
        or this system cannot contain it as ``sandbox="on"`` asks.
    MemoryError
        The model does not fit into memory.
    """
    checks.flag(execution.trust, "trust")
    execution.check_version(config, version)
    if execution.engine is not None:
        return ClusterSession(config, version, execution, open_session)
    must_contain = execution.sandbox == "on" and execution.contains(version)
    if must_contain:
        sandbox.require(possible(), name_of(config, version))
    try:
        return _opened(config, version, execution, must_contain, progress)
    except OSError as error:  # such as a disk for temporary files that is full
        raise WorkerError(
            f"{name_of(config, version)} could not be loaded: {error}.", NO_ROOM
        ) from error


def _opened(
    config: ModelConfig,
    version: Version,
    execution: Execution,
    must_contain: bool,
    progress: bool | None,
) -> Session:
    package, interpreter = prepare(
        config, version, env=execution.env, trust=execution.trust, progress=progress
    )
    if interpreter is None and must_contain:
        interpreter = environments.current()
    if interpreter is None:
        from .native import NativeSession

        return NativeSession(config, version, package, execution)
    from .worker import WorkerSession

    return WorkerSession(config, version, package, execution, interpreter=interpreter)


__all__ = ["Batch", "Execution", "Ray", "Session", "name_of", "open_session"]
