"""The monai contract in the caller's process: what the worker needs, and the columns that are made
of its answer.

The worker (`medzoo._worker.monai`) resolves the references of the workflow and turns each sample to
the axes of medzoo. Floats without `returned` in their config stay as they are: nothing is clipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._worker.batch import Batch
from ..config import Output, Version, requirement_name
from ..errors import InputError
from .columns import check, own_outputs
from .medigan import passed_values, to_range

PIN = re.compile(r"==\s*([\w.]+)$")


def spec(
    model_name: str,
    version: Version,
    folder: Path,  # noqa: ARG001
    weights: Path | None,
    room: Path,  # noqa: ARG001
) -> dict[str, Any]:
    """What `medzoo._worker.monai.Monai` needs; see `medzoo.runtime.worker` for the parameters.

    Raises
    ------
    InputError
        The user gave weights.
    """
    if weights is not None:
        raise InputError(
            f"{model_name} is a MONAI bundle, whose weights are its own files.",
            "`medzoo copy` makes a copy of it, in whose models/ other weights can be put.",
        )
    bundle = version.bundle
    assert bundle is not None  # noqa: S101  (the schema gives one to every bundle)
    networks = {
        file: {"reference": network.reference, "load": network.load}
        for file, network in bundle.networks.items()
    }
    conditions = {}
    for name, condition in version.conditions.items():
        reference = bundle.conditions.get(name, name)
        conditions[name] = {"reference": reference, "passed": passed_values(condition)}
    return {
        "monai": _pinned(version),
        "workflow": list(bundle.workflow),
        "set": dict(bundle.set),
        "networks": networks,
        "noise": bundle.noise,
        "latents": bundle.latents,
        "latent_shape": list(bundle.latent_shape),
        "latents_as": bundle.latents_as,
        "distribution": bundle.distribution,
        "options": {name: bundle.options.get(name, name) for name in version.options},
        "conditions": conditions,
        "steps": bundle.steps,
        "trained_steps": bundle.trained_steps,
        "most": bundle.most,
        "run": list(bundle.run),
        "outputs": {name: _place(version.outputs[name]) for name in own_outputs(version)},
    }


def _pinned(version: Version) -> str:
    """The exact version of MONAI that is required; empty if there is none."""
    for requirement in version.requires:
        pin = PIN.search(requirement)
        if requirement_name(requirement) == "monai" and pin:
            return pin[1]
    return ""


def _place(output: Output) -> dict[str, Any]:
    return {
        "reference": output.reference,
        "files": output.files,
        "axes": list(output.axes),
        "shape": list(output.shape),
    }


def columns(
    model_name: str,
    version: Version,
    batch: Batch,
    answer: Mapping[str, Any],
    work: Path,  # noqa: ARG001
) -> dict[str, NDArray[Any]]:
    """One column per output of the config: the worker's arrays, in the type that the config states.

    Raises
    ------
    PackageError
        Values are not finite, or far from what the config says.
    """
    arrays = {}
    for name in own_outputs(version):
        output, values = version.outputs[name], answer["outputs"][name]
        if output.dtype == "float32" and output.returned is None:
            arrays[name] = np.asarray(values, np.float32)
        else:
            arrays[name] = to_range(model_name, output, values)
    return check(model_name, version, batch, arrays)
