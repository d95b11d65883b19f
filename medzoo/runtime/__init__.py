"""Sessions: a loaded model that turns batches into columns. One module a way to run it.

`native.NativeSession` runs a package of the native contract in this interpreter,
`worker.WorkerSession` one of either contract in a separate process, and `cluster.ClusterSession`
has one or the other on each actor of a Ray cluster. What the rest of medzoo knows of all three is
`Session`.
"""

from __future__ import annotations

import os
from typing import Any

from .. import checks, environments
from .._worker.batch import Batch
from ..config import ModelConfig, Version
from ..environments import Interpreter
from ..errors import TrustError
from ..registry import is_local
from ..store import Package, package
from .cluster import ClusterSession
from .engine import Ray
from .session import Session, check_precision, name_of


def prepare(
    config: ModelConfig,
    version: Version,
    *,
    env: str = "auto",
    trust: bool = False,
    progress: bool | None = None,
) -> tuple[Package, Interpreter | None]:
    """All that a session needs, on this disk: the verified package, and the interpreter of its
    process (None: this one).

    Nothing of the package is imported. Parameters and errors are those of `open_session`.
    """
    checks.flag(trust, "trust")
    if is_local(config) and not trust:
        raise TrustError(
            f"{name_of(config, version)}: its code lies in {config.path.parent}, and no registry names it.",
            "trust=True (--trust) runs it: use it only for code that you wrote or have read.",
        )
    found = package(config, version, trust=trust, progress=progress)
    return found, environments.choose(config, version, env, progress=progress)


def open_session(
    config: ModelConfig,
    version: Version,
    *,
    device: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    env: str = "auto",
    trust: bool = False,
    precision: str = "full",
    engine: str | Ray | None = None,
    progress: bool | None = None,
) -> Session:
    """Load a version of a model.

    Parameters
    ----------
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    weights
        A weights file to use instead of the model's own.
    env
        ``auto``, ``current`` or ``isolated``; see `medzoo.environments.choose`.
    trust
        Whether to run code that no registry names, and to read weights in a way that can run code.
    precision
        One of `medzoo.config.PRECISIONS`: of torch's operations in a native package.
    engine
        ``ray``, or a `Ray` that says more: on the actors of a cluster. None is here.
    progress
        Whether to draw bars while it downloads and its environment is built; only at a terminal if
        None.

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
        Its process crashed, was killed, or did not answer in time.
    InputError
        The device does not exist here, the weights do not fit, or the version has no such
        precision.
    MemoryError
        The model does not fit into memory.
    """
    checks.flag(trust, "trust")
    check_precision(name_of(config, version), version, precision)
    if engine is not None:
        how: dict[str, Any] = {
            "weights": weights,
            "env": env,
            "trust": trust,
            "precision": precision,
        }
        return ClusterSession(config, version, Ray.of(engine), device=device, **how)
    found, interpreter = prepare(config, version, env=env, trust=trust, progress=progress)
    if interpreter is None:
        from .native import NativeSession

        return NativeSession(
            config, version, found, device=device, weights=weights, trust=trust, precision=precision
        )
    from .worker import WorkerSession

    return WorkerSession(
        config,
        version,
        found,
        interpreter=interpreter,
        device=device,
        weights=weights,
        trust=trust,
        precision=precision,
    )


__all__ = ["Batch", "Ray", "Session", "check_precision", "name_of", "open_session", "prepare"]
