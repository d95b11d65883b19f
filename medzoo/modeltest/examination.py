"""Everything that can be found out about a model by running it."""

from __future__ import annotations

import os
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
    inputs: Any = None,
    write: bool = False,
) -> Report:
    """Run a model and look at what it makes.

    Parameters
    ----------
    model_id, version, device, env, trust, inputs
        As in `medzoo.generate`.
    write
        Record its outputs in the package's ``expected.npz`` in place of comparing them, unless
        something else is wrong.

    Returns
    -------
    Report
        One finding a check. Print it; ``report.ready`` says whether all is well.

    Raises
    ------
    InputError
        ``write``, and the package is not a folder.
    MedzooError
        Whatever `medzoo.load` raises before any code of the package runs.
    """
    config = resolve(model_id)
    chosen = config.version(version)
    found = package(config, chosen, trust=trust)  # as long as it lives, the cache keeps the files
    if write and found.path.is_relative_to(settings.cache_folder()):
        raise InputError(
            f"{config.id}, version {chosen.name}, comes as an archive, which stays as it is.",
            f"`medzoo copy {config.number} DIR` makes a folder of it.",
        )
    execution = Execution(device=device, env=env, trust=trust)
    again = partial(open_model, Model, config, chosen, execution)
    known = found.path / FILE
    compared = known if known.is_file() and not write else None
    findings = list(about_samples(again, inputs=inputs, recorded=compared))
    if not findings[0].bars and device == "cpu":
        measure = partial(about_memory, chosen, model_id, execution, inputs)
        findings.append(attempt("memory", measure))
    if write:
        findings.append(_write(known, findings, again, inputs))
    elif compared is None:
        findings.append(_missing(config, chosen, model_id))
    return Report(f"{config.id}, version {chosen.name}", tuple(findings))


def _write(path: Path, findings: list[Finding], again: Any, inputs: Any) -> Finding:
    if any(f.bars for f in findings):
        return Finding("recorded", WRONG, "nothing was recorded", "Fix the other findings first.")
    with again() as model:
        size = record(model, path, inputs)
    return Finding("recorded", OK, f"{path}, {size / 1e3:.0f} kB")


def _missing(config: ModelConfig, version: Version, model_id: Any) -> Finding:
    name, state = (config.number, MISSING) if version.scheme == "bundled" else (model_id, WARNING)
    return Finding(
        "recorded", state, f"there is no {FILE}", f"`medzoo test {name} --record` writes it."
    )
