"""What an environment is made of, and its key."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import default_environment

from .. import settings
from ..config import TORCH_FAMILY, ModelConfig, Version, requirement_name
from ..errors import ConfigError
from .requirements import parse

OWN_INDEX = ("UV_FIND_LINKS", "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")


@dataclass(frozen=True)
class Recipe:
    """What an environment is made of, on any machine.

    ``requires`` is resolved and installed by name: the torch family, numpy if it is not locked, and
    where there is no lock everything. ``lock`` is installed as it stands, checked against its
    hashes.
    """

    requires: tuple[str, ...]
    lock: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: ModelConfig, version: Version) -> Recipe:
        """The recipe of a version.

        Raises
        ------
        ConfigError
            The lock cannot be read or names a package of the torch family, or a requirement is not
            written as the standard has it.
        """
        wanted = [parse(r) for r in version.requires]
        lock = _read_lock(config, version) if version.lock else ()
        if lock:
            wanted = [r for r in wanted if requirement_name(r.name) in TORCH_FAMILY]
        named = {
            *(requirement_name(r.name) for r in wanted),
            *(requirement_name(entry) for entry in lock),
        }
        numpy = [] if "numpy" in named else ["numpy"]  # the worker needs it
        return cls(tuple(sorted({*map(str, wanted), *numpy})), lock)

    @property
    def digest(self) -> str:
        """The hash of it all: what provenance calls the lock."""
        return hashlib.sha256(json.dumps([self.requires, self.lock]).encode()).hexdigest()

    @property
    def torch(self) -> str:
        """Which build of torch this machine gets: the one asked for, or what it is chosen by; empty
        without torch.
        """
        if not any(requirement_name(r) in TORCH_FAMILY for r in self.requires):
            return ""
        asked = settings.torch_backend()
        return accelerator() if asked == "auto" else asked

    def key(self, tag: str) -> str:
        """The name of its environment on this machine, for a Python of that tag."""
        parts = [self.digest, self.torch, tag, machine()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def unmet(self, packages: Mapping[str, str], python: str) -> list[str]:
        """What of it an environment with these packages (name -> version) and this Python does not
        hold, in words; empty if nothing.
        """
        versions = {"python_full_version": python, "implementation_version": python}
        versions["python_version"] = ".".join(python.split(".")[:2])
        here = {name: str(v) for name, v in default_environment().items()} | versions
        unmet = []
        for entry in (*self.requires, *self.lock):
            wanted = parse(entry.partition(" --hash")[0])
            if wanted.marker and not wanted.marker.evaluate(here):
                continue
            found = packages.get(requirement_name(wanted.name))
            if found is None or not wanted.specifier.contains(found, prereleases=True):
                unmet.append(
                    f"{wanted.name}{wanted.specifier} is declared, {found or 'none'} is there"
                )
        return unmet


def _read_lock(config: ModelConfig, version: Version) -> tuple[str, ...]:
    path = config.path.parent / version.lock
    try:
        entries = lock_entries(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{config.path}, lock: {path} cannot be read: {error}.") from error
    for name in map(requirement_name, entries):
        if name in TORCH_FAMILY:
            raise ConfigError(
                f"{path} locks {name}, whose build depends on the machine.",
                "Name it in `requires` alone, with its version.",
            )
    return entries


def lock_entries(text: str) -> tuple[str, ...]:
    """The requirements of a lock, one text each with its hashes, without comments, in order: equal
    locks give equal ones.
    """
    lines = (re.sub(r"(^|\s)#.*", "", line) for line in re.sub(r"\\\s*\n", " ", text).splitlines())
    return tuple(sorted(" ".join(line.split()) for line in lines if line.strip()))


def machine() -> str:
    """What decides which wheels fit, beside Python: system, processor and C library."""
    musl = "musl" in (sysconfig.get_config_var("SOABI") or "")
    return sysconfig.get_platform() + "-musl" * musl


def accelerator() -> str:
    """What uv's torch backend ``auto`` depends on: the NVIDIA driver's major version, an AMD GPU,
    or ``cpu``.
    """
    driver = os.environ.get("UV_CUDA_DRIVER_VERSION") or _nvidia_driver()
    if driver:
        return f"nvidia-{driver.partition('.')[0]}"
    return (
        "amd"
        if os.environ.get("UV_AMD_GPU_ARCHITECTURE") or shutil.which("rocm_agent_enumerator")
        else "cpu"
    )


def _nvidia_driver() -> str:
    try:
        return Path("/sys/module/nvidia/version").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        command = shutil.which("nvidia-smi")  # Windows, WSL, some containers
    if not command:
        return ""
    ask = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    found = subprocess.run(ask, capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.split()[0] if found.returncode == 0 and found.stdout.split() else ""


def own_index() -> bool:
    """Whether the user names another index or folder to install from."""
    return any(os.environ.get(name) for name in OWN_INDEX)
