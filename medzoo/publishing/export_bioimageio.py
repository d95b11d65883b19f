"""A model as a bioimage.io model, which ``bioimageio.core.test_model`` tests."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from ..config import Output, Version
from ..config.columns import spacing_of
from ..errors import ContributionError, PackageError
from ..files import sha256_of
from ..runtime.graph import CONDITION, GraphInput
from . import export_onnx, export_torchscript
from .zenodo_metadata import NOT_FOR_DIAGNOSIS, license_id

if TYPE_CHECKING:
    from .export import Source

NEEDS = ("torch", *export_onnx.NEEDS, "bioimageio.core")
FILE = "rdf.yaml"
RUN = f"bioimageio test {{folder}}/{FILE}"
MORE = (
    "tests both weight files, ONNX and TorchScript. It needs bioimageio.core, torch and "
    "onnxruntime."
)
SAMPLES = range(2)  # of the test tensors
IDENTIFIERS = (  # that are not all in capitals
    *("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "ISC", "Unlicense"),
    *("ODbL-1.0", "ODC-By-1.0"),
)
HOME = "https://github.com/medzoo/medzoo"
DATE = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc).isoformat()


def write(folder: Path, source: Source) -> None:
    """Write both networks, test tensors and ``rdf.yaml``, and have bioimage.io test them.

    Raises
    ------
    ContributionError
        The license has no SPDX identifier.
    PackageError
        bioimage.io's own test fails.
    """
    license = spdx(source.version.license)  # noqa: A001
    opset = export_onnx.save(folder / export_onnx.FILE, source)
    export_torchscript.save(folder / export_torchscript.FILE, source)
    given, made = source.graph.pair(SAMPLES)
    for name, values in {**given, **made}.items():
        np.save(folder / f"{name}.npy", values)
    content = description(folder, source, license, opset)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    (folder / FILE).write_text(text, encoding="utf-8")
    test(folder / FILE, source)


def test(path: Path, source: Source) -> None:
    """bioimage.io's own test of a model."""
    from bioimageio.core import test_model

    from ..runtime.graph import quiet

    with quiet():
        summary = test_model(path)
    if summary.status != "passed":
        wrong = [
            f"{d.name}, {'.'.join(map(str, e.loc))}: {e.msg}"
            for d in summary.details
            for e in d.errors
        ]
        raise PackageError(
            f"{source.title} was exported, and bioimageio.core does not accept it: "
            f"{'; '.join(wrong)[:600] or summary.status}",
            "Nothing was kept. The formats onnx and torchscript ask for less.",
        )


def spdx(text: str) -> str:
    """The SPDX identifier of a license, such as CC-BY-4.0 for "CC BY 4.0".

    Raises
    ------
    ContributionError
        It has none.
    """
    try:
        name = license_id(text)
    except ContributionError as error:
        raise ContributionError(
            f"{text!r} is not the name of a license with an SPDX identifier, and a bioimage.io "
            "model must have one.",
            "The formats onnx, torchscript and monai take any license.",
        ) from error
    known = {one.lower(): one for one in IDENTIFIERS}
    return known.get(name) or re.sub(r"^[a-z0-9.-]*[0-9]", lambda m: m[0].upper(), name)


def description(folder: Path, source: Source, license: str, opset: int) -> dict[str, Any]:  # noqa: A002
    """The content of ``rdf.yaml``."""
    import torch
    from bioimageio.spec.model import v0_5

    config, version = source.config, source.version
    outputs = [_output(folder, o) for o in source.outputs.values()]
    tolerance = max(1e-6, *source.differences.values())
    files = {"onnx": export_onnx.FILE, "torchscript": export_torchscript.FILE}
    weights: dict[str, Any] = {
        kind: {"source": name, "sha256": sha256_of(folder / name)} for kind, name in files.items()
    }
    weights["onnx"] |= {"opset_version": opset, "parent": "torchscript"}
    weights["torchscript"]["pytorch_version"] = str(torch.__version__).partition("+")[0]
    return {
        "format_version": v0_5.ModelDescr.implemented_format_version,
        "type": "model",
        "name": re.sub(r"[^\w+() -]", "-", f"{config.id} {version.name}", flags=re.ASCII),
        "description": " ".join(f"{config.description} {NOT_FOR_DIAGNOSIS}".split())[:1024],
        "authors": [{"name": name} for name in version.authors],
        "license": license,
        "cite": _cite(version),
        "tags": ["medzoo", "generative", "synthetic", *version.generator.split()],
        "timestamp": DATE,
        "version": version.name,
        "inputs": [_input(folder, one, version) for one in source.graph.inputs],
        "outputs": outputs,
        "weights": weights,
        "config": {
            "bioimageio": {
                "reproducibility_tolerance": [
                    {"relative_tolerance": 0, "absolute_tolerance": tolerance}
                ]
            },
            "medzoo": {
                "model": config.id,
                "version": version.name,
                "options": dict(source.options),
            },
        },
    }


def _cite(version: Version) -> list[dict[str, str]]:
    entries = [{"text": version.citation, "url": version.publication or HOME}]
    for data in version.datasets:
        if data.doi:
            entries.append({"text": data.citation or data.name, "doi": data.doi})
    return entries


def _tensor(folder: Path, name: str) -> dict[str, str]:
    file = f"{name}.npy"
    return {"source": file, "sha256": sha256_of(folder / file)}


def _input(folder: Path, one: GraphInput, version: Version) -> dict[str, Any]:
    from .export import values_of

    axes: list[dict[str, Any]] = [{"type": "batch"}]
    if one.shape and one.origin != CONDITION and len(one.shape) == 1 and one.dtype == "float32":
        names = [f"{one.name}{k}" for k in range(one.shape[0])]
        axes.append({"type": "channel", "channel_names": names})
    else:
        axes += [
            {"type": "index", "id": f"index{k}", "size": size} for k, size in enumerate(one.shape)
        ]
    return {
        "id": one.name,
        "description": values_of(one, version)[:128],
        "axes": axes,
        "data": {"type": one.dtype},
        "test_tensor": _tensor(folder, one.name),
    }


def _output(folder: Path, output: Output) -> dict[str, Any]:
    axes: list[dict[str, Any]] = [{"type": "batch"}]
    if output.shape:
        names = list(output.columns) or [f"{output.name}{k}" for k in range(output.shape[0])]
        axes.append({"type": "channel", "channel_names": names})
    spacing = spacing_of(output)[3 - len(output.shape[1:]) :]
    for axis, size, step in zip("zyx"[-len(spacing) :], output.shape[1:], spacing, strict=False):
        space: dict[str, Any] = {"type": "space", "id": axis, "size": size}
        if output.spacing:
            space |= {"unit": "millimeter", "scale": step}
        axes.append(space)
    return {
        "id": output.name,
        "description": output.unit or output.kind,
        "axes": axes,
        "data": {"type": output.dtype},
        "test_tensor": _tensor(folder, output.name),
    }


def more(source: Source) -> str:  # noqa: ARG001  (other formats need it)
    """What else the command does, for the README."""
    return MORE
