"""A model as ONNX: one file, which onnxruntime and others run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from .export import Source

NEEDS = ("onnx", "onnxscript", "onnxruntime")
FILE = "model.onnx"
RUN = "cd {folder} && python run.py"
MORE = (
    "writes `outputs.npz`; `python run.py more.npz made.npz` takes other inputs. "
    "It needs numpy and onnxruntime."
)
SCRIPT = '''\
"""Run the exported model: python run.py [inputs.npz [outputs.npz]]"""

import sys

import numpy
import onnxruntime

given = numpy.load(sys.argv[1] if len(sys.argv) > 1 else "inputs.npz")
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
names = [one.name for one in session.get_outputs()]
made = session.run(names, {one.name: given[one.name] for one in session.get_inputs()})
outputs = dict(zip(names, made))
numpy.savez(sys.argv[2] if len(sys.argv) > 2 else "outputs.npz", **outputs)
for name, array in outputs.items():
    print(name, array.dtype, array.shape)
'''


def write(folder: Path, source: Source) -> None:
    """Write ``model.onnx`` and a script that runs it."""
    save(folder / FILE, source)
    (folder / "run.py").write_text(SCRIPT, encoding="utf-8")


def save(path: Path, source: Source) -> int:
    """Write the graph as ONNX, and compare what onnxruntime makes of it; the opset's version."""
    import onnx
    import onnxruntime
    import torch

    from ..runtime.graph import quiet

    program = source.graph.program()
    with torch.no_grad(), quiet():
        torch.onnx.export(
            program,
            source.graph.shown(),
            str(path),
            input_names=[one.name for one in source.graph.inputs],
            output_names=list(source.outputs),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    model = onnx.load(str(path))
    describe(model, source)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = list(source.outputs)

    def run(given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return dict(zip(names, session.run(names, dict(given)), strict=True))

    source.compare(run)
    return int(model.opset_import[0].version)


def describe(model: Any, source: Source) -> None:
    """Call the free number of samples n, and say where the model comes from."""
    free = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == free:
                size.dim_param = "n"
    model.doc_string = f"{source.config.description} Synthetic; not for diagnosis."
    facts = {
        "model": source.config.id,
        "version": source.version.name,
        "license": source.version.license,
        "citation": source.version.citation,
        "synthetic": "true",
    }
    for key, text in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, text


def more(source: Source) -> str:  # noqa: ARG001  (other formats need it)
    """What else the command does, for the README."""
    return MORE
