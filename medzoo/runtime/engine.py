"""Engines: where the actors of a run on many processes or machines come from. There is one, Ray."""

from __future__ import annotations

import logging
import os
import socket
import warnings
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
    address
        Of a running cluster, such as ``auto`` or ``10.0.0.1:6379``. None is what ``RAY_ADDRESS``
        says, or else the cluster that runs on this machine, or else one that is started here for
        the time of the run.
    actors
        How many; as many as the cluster has room for if None.
    cpus_per_actor
        Cores that each takes, and the number of torch's threads in it.
    gpus_per_actor
        GPUs that each takes; a part of one, such as 0.5, lets several share it. One if None, where
        the device is ``cuda``, or is ``auto`` and the cluster has any.

    Raises
    ------
    InputError
        A number is none that Ray could give.
    """

    address: str | None = None
    actors: int | None = None
    cpus_per_actor: float = 1
    gpus_per_actor: float | None = None

    def __post_init__(self) -> None:
        for name in ("actors", "cpus_per_actor", "gpus_per_actor"):
            object.__setattr__(self, name, checks.plain(getattr(self, name)))
        if self.address is not None and not (
            isinstance(self.address, str) and self.address.strip()
        ):
            raise InputError(
                f"address={checks.shown(self.address)} is not a valid address.",
                "Give auto, or HOST:PORT of the cluster's head.",
            )
        if self.actors is not None and (
            isinstance(self.actors, bool) or not isinstance(self.actors, int) or self.actors < 1
        ):
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

    @classmethod
    def of(cls, engine: object) -> Ray:
        """The engine that a user names: ``ray``, or one of these.

        Raises
        ------
        InputError
            It is unknown.
        """
        if isinstance(engine, cls):
            return engine
        if not isinstance(engine, str) or engine != "ray":
            raise InputError(
                f"engine={checks.shown(engine)} is unknown.",
                "Known is 'ray': many processes or machines.",
            )
        return cls()

    def check_device(self, device: str) -> None:
        """Whether actors can run on a device.

        Raises
        ------
        InputError
            It is not a device, names one of several, or needs no GPU although actors should have
            one.
        """
        pick_device(device, torch=False)
        if device.partition(":")[2]:
            raise InputError(
                f"device={device!r}: Ray chooses which GPU an actor has.",
                "Use device='cuda', or leave it out.",
            )
        if device not in {"auto", "cuda"} and self.gpus_per_actor:
            raise InputError(
                f"device={device!r} needs no GPU.", "Leave gpus_per_actor out, or the device."
            )

    def connect(self) -> tuple[Any, bool]:
        """Ray, and whether it is to be shut down: where this process is connected already, that
        connection serves.

        Raises
        ------
        InputError
            It is not installed, or there is no cluster at the address.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            problem = "engine='ray' needs the package ray, which is not installed here."
            raise InputError(problem, "`pip install medzoo[cluster]` brings it.") from error
        try:
            address = self._answering()
            if ray.is_initialized():
                return ray, False
            ray.init(
                address=address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:
            hint = (
                "Give the address that `ray start` printed, or none to start Ray on this machine."
            )
            raise InputError(
                f"Ray cannot be reached or started (address={self.address!r}): {error}", hint
            ) from error
        return ray, True

    def _answering(self) -> str | None:
        """The address to give to Ray, which itself would wait for ever for a cluster that is gone.

        Raises
        ------
        OSError
            Nobody is there.
        """
        told = os.environ.get("RAY_ADDRESS") if self.address in {None, "auto"} else self.address
        try:
            _knock(told or _noted())
        except OSError:
            if told or self.address:
                raise
            return "local"  # nobody asked for the one that is gone
        return self.address

    def share(self, ray: Any, version: Version, device: str) -> tuple[dict[str, float], int]:
        """What each actor takes (``CPU``, ``GPU``), and how many there shall be.

        Raises
        ------
        InputError
            No machine of the cluster has room for one.
        """
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = self.gpus_per_actor
        if gpus is None:
            wanted = device == "cuda" or (
                device == "auto" and any(node.get("GPU") for node in nodes)
            )
            gpus = int(wanted and version.needs_torch)
        takes: dict[str, float] = {"CPU": self.cpus_per_actor} | ({"GPU": gpus} if gpus else {})
        room = sum(
            int(min(node.get(what, 0) / much for what, much in takes.items())) for node in nodes
        )
        each = " and ".join(f"{much:g} {what}" for what, much in takes.items())
        if not room:
            most = " and ".join(
                f"{max((node.get(what, 0) for node in nodes), default=0):g} {what}"
                for what in takes
            )
            raise InputError(
                f"An actor takes {each}; the largest machine of the Ray cluster has {most}.",
                "Ask for less with cpus_per_actor or gpus_per_actor, or start more machines.",
            )
        if self.actors and self.actors > room:
            says = f"The Ray cluster has room for {room} of {self.actors} actors, each with {each}. The others wait for more."
            warnings.warn(says, MedzooWarning, stacklevel=2)
        return takes, self.actors or room


def _noted() -> str:
    """The address of the cluster that Ray takes without being told one: its note outlives a cluster
    that was killed.
    """
    with suppress(ImportError):
        from ray._private.utils import read_ray_address

        return read_ray_address() or ""
    return ""


def _knock(address: str) -> None:
    """OSError where nobody listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()


def _is_share(given: object) -> bool:
    """Whether Ray can give so much of something: a part of one, or whole ones."""
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given < 2**20:
        return False
    return given < 1 or given == int(given)
