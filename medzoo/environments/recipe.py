"""Recipes: which packages an environment has, and its key."""

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
from typing import Any

from packaging.markers import default_environment

from .. import settings
from ..config import TORCH_FAMILY, ModelConfig, Version, requirement_name
from ..errors import ConfigError
from .requirements import parse

OWN_INDEX = ("UV_FIND_LINKS", "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")


@dataclass(frozen=True)
class Recipe:
    """The packages of an environment, the same on every machine.

    ``requires`` is installed by name: torch and its family, numpy if it is not locked, and without
    a lock all packages. ``lock`` is installed exactly, with its hashes.
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
            valid.
        """
        lock = _read_lock(config, version) if version.lock else ()
        names = set(map(requirement_name, lock))
        requires = set[str]()
        for requirement in map(parse, version.requires):
            name = requirement_name(requirement.name)
            if not lock or name in TORCH_FAMILY:
                requires.add(str(requirement))
                names.add(name)
        if "numpy" not in names:  # the worker needs it
            requires.add("numpy")
        return cls(tuple(sorted(requires)), lock)

    @property
    def digest(self) -> str:
        """A hash of the recipe: ``lock`` in a provenance."""
        return hashlib.sha256(json.dumps([self.requires, self.lock]).encode()).hexdigest()

    @property
    def digests(self) -> set[str]:
        """The sha256 of all wheels that the lock lists."""
        return set(re.findall(r"--hash=sha256:([0-9a-f]{64})", " ".join(self.lock)))

    @property
    def torch(self) -> str:
        """The build of torch for this machine; empty if the recipe has no torch.

        For the setting ``auto``, the accelerator by which uv chooses the build.
        """
        if TORCH_FAMILY.isdisjoint(map(requirement_name, self.requires)):
            return ""
        asked = settings.torch_backend()
        return accelerator() if asked == "auto" else asked

    def key(self, tag: str) -> str:
        """The name of its environment on this machine, for a Python with a tag."""
        parts = [self.digest, self.torch, tag, machine()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def unmet(self, packages: Mapping[str, str], python: str) -> list[str]:
        """The requirements that an environment does not meet, in words.

        Parameters
        ----------
        packages : mapping of str to str
            The packages of the environment: name -> version.
        python : str
            Its version of Python.
        """
        markers: dict[str, Any] = {**default_environment()}
        markers["python_full_version"] = markers["implementation_version"] = python
        markers["python_version"] = ".".join(python.split(".")[:2])
        unmet = []
        for entry in (*self.requires, *self.lock):
            wanted = parse(entry.partition(" --hash")[0])
            if wanted.marker and not wanted.marker.evaluate(markers):
                continue
            installed = packages.get(requirement_name(wanted.name))
            if installed is None or not wanted.specifier.contains(installed, prereleases=True):
                text = f"{wanted.name}{wanted.specifier} is declared"
                unmet.append(f"{text}, {installed or 'none'} is there")
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
    """The requirements of a lock, sorted: one text each, with its hashes, without comments."""
    joined = re.sub(r"\\\s*\n", " ", text)  # a backslash continues a line
    entries = []
    for line in joined.splitlines():
        words = re.sub(r"(^|\s)#.*", "", line).split()
        if words:
            entries.append(" ".join(words))
    return tuple(sorted(entries))


def machine() -> str:
    """System, processor and C library, which decide which wheels can be installed."""
    platform = sysconfig.get_platform()
    if "musl" in (sysconfig.get_config_var("SOABI") or ""):
        platform += "-musl"
    return platform


def accelerator() -> str:
    """What uv's torch backend ``auto`` depends on.

    The major version of the NVIDIA driver (``nvidia-550``), ``amd`` or ``cpu``.
    """
    driver = os.environ.get("UV_CUDA_DRIVER_VERSION") or _nvidia_driver()
    if driver:
        return f"nvidia-{driver.partition('.')[0]}"
    if os.environ.get("UV_AMD_GPU_ARCHITECTURE") or shutil.which("rocm_agent_enumerator"):
        return "amd"
    return "cpu"


def _nvidia_driver() -> str:
    try:
        return Path("/sys/module/nvidia/version").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        command = shutil.which("nvidia-smi")  # Windows, WSL, some containers
    if not command:
        return ""
    query = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)  # noqa: S603
    versions = answer.stdout.split()  # one per GPU
    return versions[0] if answer.returncode == 0 and versions else ""


def own_index() -> bool:
    """Whether the user names another index or folder to install from."""
    return any(map(os.environ.get, OWN_INDEX))
