"""All tests of a model that run it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from .. import settings
from ..config import ModelConfig, Version
from ..errors import InputError
from ..generation.model import Model
from ..generation.run import open_model
from ..packages.store import package
from ..registry import resolve
from ..runtime import Execution
from .memory import about_memory
from .recorded import FILE, record
from .report import MISSING, OK, WARNING, WRONG, Finding, Report
from .runs import about_samples, attempt


def examine(
    model_id: int | str | os.PathLike[str],
    *,
    version: str | None = None,
    device: str = "cpu",
    env: str = "auto",
    trust: bool = False,
    sandbox: str = "auto",
    inputs: Any = None,
    write: bool = False,
) -> Report:
    """Run a model and check what it makes.

    Parameters
    ----------
    model_id, version, device, env, trust, sandbox, inputs
        As in `medzoo.generate`.
    write
        Record its outputs in the package's ``expected.npz``, instead of comparing them with it,
        unless another check fails.

    Returns
    -------
    Report
        One finding per check. Print it; ``report.ready`` says whether every check is passed.

    Raises
    ------
    InputError
        ``write`` is True, and the package is not a folder of the user.
    MedzooError
        Any error that `medzoo.load` raises before code of the package runs.
    """
    config = resolve(model_id)
    chosen = config.version(version)
    own = package(config, chosen, trust=trust)  # while it is referenced, the cache keeps the files
    if write and own.path.is_relative_to(settings.cache_folder()):
        raise InputError(
            f"{config.id}, version {chosen.name}, comes as an archive, which stays as it is.",
            f"`medzoo copy {config.number} DIR` makes a folder of it.",
        )
    execution = Execution(device=device, env=env, trust=trust, sandbox=sandbox)
    load = partial(open_model, Model, config, chosen, execution)
    expected = own.path / FILE
    compared = expected if expected.is_file() and not write else None
    findings = list(about_samples(load, inputs=inputs, recorded=compared))
    if not findings[0].bars and device == "cpu":
        measure = partial(about_memory, chosen, model_id, execution, inputs)
        findings.append(attempt("memory", measure))
    if write:
        findings.append(_write(expected, findings, load, inputs))
    elif compared is None:
        findings.append(_missing(config, chosen, model_id))
    return Report(f"{config.id}, version {chosen.name}", tuple(findings))


def _write(path: Path, findings: list[Finding], load: Callable[[], Model], inputs: Any) -> Finding:
    if any(finding.bars for finding in findings):
        return Finding("recorded", WRONG, "nothing was recorded", "Fix the other findings first.")
    with load() as model:
        size = record(model, path, inputs)
    return Finding("recorded", OK, f"{path}, {size / 1e3:.0f} kB")


def _missing(config: ModelConfig, version: Version, model_id: Any) -> Finding:
    name, state = (config.number, MISSING) if version.scheme == "bundled" else (model_id, WARNING)
    return Finding(
        "recorded", state, f"there is no {FILE}", f"`medzoo test {name} --record` writes it."
    )
