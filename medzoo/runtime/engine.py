"""Engines: where the actors of a run on many processes or machines come from. There is one, Ray."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .. import checks
from .._worker.devices import pick_device
from ..config import Version
from ..errors import InputError, MedzooWarning

PATIENCE = 20.0  # seconds for a cluster's head to answer


@dataclass(frozen=True)
class Ray:
    """Where and with what the actors of ``engine="ray"`` run; see docs/scale.md.

    Parameters
    ----------
    address : str, optional
        Address of a running cluster, such as ``auto`` or ``10.0.0.1:6379``. By default what
        ``RAY_ADDRESS`` says, or else the cluster that runs on this machine. If there is none, Ray
        is started here and stopped after the run.
    actors : int, optional
        How many actors. By default as many as the cluster has room for.
    cpus_per_actor : float, optional
        Cores for each actor, 1 by default. It is also the number of threads that torch uses there.
    gpus_per_actor : float, optional
        GPUs for each actor. With a part of one, such as 0.5, several actors share a GPU. The
        default is 1 if the device is ``cuda``, or if it is ``auto`` and the cluster has GPUs.

    Raises
    ------
    InputError
        A number is not one that Ray can use.

    Examples
    --------
    >>> engine = medzoo.Ray(actors=4, cpus_per_actor=2)
    >>> engine
    Ray(address=None, actors=4, cpus_per_actor=2, gpus_per_actor=None)

    Then `medzoo.generate(8, 1000, out="masses", engine=engine)`.
    """

    address: str | None = None
    actors: int | None = None
    cpus_per_actor: float = 1
    gpus_per_actor: float | None = None

    def __post_init__(self) -> None:
        for name in ("actors", "cpus_per_actor", "gpus_per_actor"):
            object.__setattr__(self, name, checks.plain(getattr(self, name)))
        if self.address is not None and not _is_address(self.address):
            raise InputError(
                f"address={checks.shown(self.address)} is not a valid address.",
                "Give auto, or HOST:PORT of the cluster's head.",
            )
        if self.actors is not None and not _is_count(self.actors):
            raise InputError(
                f"actors={checks.shown(self.actors)} is not a number of actors.",
                "Give a whole number of at least 1.",
            )
        if not _is_share(self.cpus_per_actor) or not self.cpus_per_actor:
            raise InputError(
                f"cpus_per_actor={checks.shown(self.cpus_per_actor)} is not a number of cores.",
                "Give 1, 2 ... or 0.5.",
            )
        if self.gpus_per_actor is not None and not _is_share(self.gpus_per_actor):
            raise InputError(
                f"gpus_per_actor={checks.shown(self.gpus_per_actor)} is not a number of GPUs.",
                "Give 0, 1, 2 ... or 0.5.",
            )


def chosen_engine(engine: object) -> Ray:
    """The engine that a user names: ``ray``, or a `Ray`.

    Raises
    ------
    InputError
        It is unknown.
    """
    if isinstance(engine, Ray):
        return engine
    if not isinstance(engine, str) or engine != "ray":
        raise InputError(
            f"engine={checks.shown(engine)} is unknown.",
            "Known is 'ray': many processes or machines.",
        )
    return Ray()


def check_device(engine: Ray, device: str) -> None:
    """Check that actors can run on a device.

    Raises
    ------
    InputError
        It is not a device, it is one GPU of several, or it needs no GPU although actors should have
        one.
    """
    pick_device(device, torch=False)
    if device.partition(":")[2]:
        raise InputError(
            f"device={device!r}: Ray chooses which GPU an actor has.",
            "Use device='cuda', or leave it out.",
        )
    if device not in {"auto", "cuda"} and engine.gpus_per_actor:
        raise InputError(
            f"device={device!r} needs no GPU.", "Leave gpus_per_actor out, or the device."
        )


def connect(engine: Ray) -> tuple[Any, bool]:
    """The module ``ray``, connected, and whether to shut it down afterwards.

    An existing connection of this process is used, and stays.

    Raises
    ------
    InputError
        Ray is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        problem = "engine='ray' needs the package ray, which is not installed here."
        raise InputError(problem, "`pip install medzoo[cluster]` brings it.") from error
    try:
        address = _answering(engine.address)
        if ray.is_initialized():
            return ray, False
        ray.init(
            address=address,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:
        raise InputError(
            f"Ray cannot be reached or started (address={engine.address!r}): {error}",
            "Give the address that `ray start` printed, or none to start Ray on this machine.",
        ) from error
    return ray, True


def _answering(address: str | None) -> str | None:
    """The address to give to Ray. Ray itself would wait for ever for a cluster that is gone.

    Raises
    ------
    OSError
        No cluster answers there.
    """
    requested = os.environ.get("RAY_ADDRESS") if address in {None, "auto"} else address
    try:
        _knock(requested or _noted())
    except OSError:
        if requested or address:
            raise
        return "local"  # the cluster of Ray's note is gone, and the user did not ask for it
    return address


def share(engine: Ray, ray: Any, version: Version, device: str) -> tuple[dict[str, float], int]:
    """The resources of each actor (``CPU``, ``GPU``), and the number of actors.

    Raises
    ------
    InputError
        No machine of the cluster has room for one.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    resources: dict[str, float] = {"CPU": engine.cpus_per_actor}
    gpus = _gpus_per_actor(engine, nodes, version, device)
    if gpus:
        resources["GPU"] = gpus
    room = sum(_actors_on(node, resources) for node in nodes)
    each = _in_words(resources)
    if not room:
        largest = {name: max([0, *(node.get(name, 0) for node in nodes)]) for name in resources}
        raise InputError(
            f"An actor takes {each}; the largest machine of the Ray cluster has "
            f"{_in_words(largest)}.",
            "Ask for less with cpus_per_actor or gpus_per_actor, or start more machines.",
        )
    if engine.actors and engine.actors > room:
        message = (
            f"The Ray cluster has room for {room} of {engine.actors} actors, each with {each}. "
            "The others wait for more."
        )
        warnings.warn(message, MedzooWarning, stacklevel=2)
    return resources, engine.actors or room


def _gpus_per_actor(
    engine: Ray, nodes: Iterable[Mapping[str, float]], version: Version, device: str
) -> float:
    if engine.gpus_per_actor is not None:
        return engine.gpus_per_actor
    if not version.needs_torch:
        return 0
    if device == "auto":
        return int(any(node.get("GPU") for node in nodes))
    return int(device == "cuda")


def _actors_on(node: Mapping[str, float], resources: Mapping[str, float]) -> int:
    """How many actors a machine has room for."""
    return int(min(node.get(name, 0) / amount for name, amount in resources.items()))


def _in_words(resources: Mapping[str, float]) -> str:
    """``2 CPU and 0.5 GPU``."""
    return " and ".join(f"{amount:g} {name}" for name, amount in resources.items())


def _noted() -> str:
    """The address of the cluster that Ray uses by default, from its note on this machine.

    The note remains when a cluster is killed.
    """
    with suppress(ImportError):
        from ray._private.utils import read_ray_address

        return read_ray_address() or ""
    return ""


def _knock(address: str) -> None:
    """Raise OSError if nothing listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()


def _is_address(address: object) -> bool:
    return isinstance(address, str) and bool(address.strip())


def _is_count(actors: object) -> bool:
    return isinstance(actors, int) and not isinstance(actors, bool) and actors >= 1


def _is_share(amount: object) -> bool:
    """Whether Ray can give an actor this amount of a resource: a part of one, or whole ones."""
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        return False
    if not 0 <= amount < 2**20:
        return False
    return amount < 1 or amount == int(amount)
