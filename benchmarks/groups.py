"""What is measured, group by group, in the order of the table."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from . import (
    checking,
    cluster,
    environments,
    gpu,
    judging,
    memory,
    resume,
    search,
    speed,
    start,
    threads,
    writers,
)
from .rows import Measurement


@dataclass(frozen=True)
class Group:
    """Measurements that belong together: a module, whose docstring describes how they are taken."""

    title: str
    module: ModuleType

    @property
    def about(self) -> str:
        return str(self.module.__doc__).strip()

    @property
    def measurements(self) -> list[Measurement]:
        return [m for m in vars(self.module).values() if isinstance(m, Measurement)]


GROUPS = {
    group.module.__name__.rpartition(".")[2]: group
    for group in (
        Group("Start", start),
        Group("Speed", speed),
        Group("Threads", threads),
        Group("Memory", memory),
        Group("Search", search),
        Group("Formats", writers),
        Group("Checking a set", checking),
        Group("Judging samples", judging),
        Group("A run that was killed", resume),
        Group("Several processes", cluster),
        Group("Environments", environments),
        Group("On a GPU", gpu),
    )
}
