"""A model as TorchScript: one file, which torch runs without the package's code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .export import Source

NEEDS = ("torch",)
FILE = "model.pt"
RUN = "cd {folder} && python run.py"
MORE = (
    "writes `outputs.npz`; `python run.py more.npz made.npz` takes other inputs. "
    "It needs torch and runs on the CPU."
)
SCRIPT = '''\
"""Run the exported model: python run.py [inputs.npz [outputs.npz]]"""

import sys

import numpy
import torch

given = numpy.load(sys.argv[1] if len(sys.argv) > 1 else "inputs.npz")
model = torch.jit.load("model.pt", map_location="cpu")
with torch.no_grad():
    made = model(*(torch.from_numpy(given[name]) for name in {inputs}))
made = made if isinstance(made, tuple) else (made,)
outputs = {{name: array.numpy() for name, array in zip({outputs}, made)}}
numpy.savez(sys.argv[2] if len(sys.argv) > 2 else "outputs.npz", **outputs)
for name, array in outputs.items():
    print(name, array.dtype, array.shape)
'''


def write(folder: Path, source: Source) -> None:
    """Write ``model.pt`` and a script that runs it; both are checked."""
    save(folder / FILE, source)
    names = [one.name for one in source.graph.inputs]
    text = SCRIPT.format(inputs=names, outputs=list(source.outputs))
    (folder / "run.py").write_text(text, encoding="utf-8")


def save(path: Path, source: Source) -> None:
    """Write the graph as TorchScript, and compare what it makes."""
    import torch

    from ..runtime.graph import quiet

    source.graph.program()  # torch.export notices what a trace would turn into a constant
    with quiet():
        source.graph.script().save(str(path))
        script: Any = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]

    def run(given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        with torch.no_grad(), quiet():
            made = script(*(torch.from_numpy(np.ascontiguousarray(v)) for v in given.values()))
        made = made if isinstance(made, tuple) else (made,)
        return {name: tensor.numpy() for name, tensor in zip(source.outputs, made, strict=True)}

    source.compare(run)


def more(source: Source) -> str:  # noqa: ARG001  (other formats need it)
    """What else the command does, for the README."""
    return MORE
