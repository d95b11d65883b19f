"""Networks of the bundled models leave torch with a free batch: torch.export, TorchScript, ONNX."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from trainers import library

from medzoo._worker.imports import import_package

pytestmark = pytest.mark.slow
BATCH = 7  # where 4 was shown
Inputs = tuple[torch.Tensor, ...]


def package(number: int) -> tuple[Any, Path]:
    (folder,) = (ROOT / "starter_models").glob(f"{number:05}_*")
    return import_package(folder), folder


class Part(torch.nn.Module):
    """A part of a generator, as a module with its networks."""

    def __init__(self, net: torch.nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.net, self.call = net, call
        self.eval()  # or the exporters put it back into training

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.call(*inputs)


def normals(n: int, *shape: int) -> torch.Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(n))


def masses_flow() -> tuple[Part, Callable[[int], Inputs]]:
    code, folder = package(8)
    model = code.load(folder, "cpu")
    part = Part(model.flow, lambda z, y: code.flow(model.flow, model.space, z, y))
    return part, lambda n: (normals(n, code.LATENT), (torch.arange(n) % 2) * 2.0 - 1)


def brain_gan() -> tuple[Part, Callable[[int], Inputs]]:
    code, folder = package(101)
    net = code.load(folder, "cpu").generator
    return Part(net, net), lambda n: (
        normals(n, code.CHANNELS, code.SIDE, code.SIDE),
        torch.arange(n) % code.KINDS,
        torch.zeros(n, 2, code.SIDE, code.SIDE),
    )


def brain_diffusion() -> tuple[Part, Callable[[int], Inputs]]:
    code, folder = package(102)
    net = code.load(folder, "cpu").denoiser
    part = Part(net, lambda x, kind, box: code.denoised(net, x, 2.0, kind, box, 1))
    return part, lambda n: (
        normals(n, code.CHANNELS, code.SIDE, code.SIDE),
        torch.arange(n) % code.KINDS,
        torch.zeros(n, 2, code.SIDE, code.SIDE),
    )


def exported(part: Part, shown: Inputs, folder: Path) -> Callable[..., Any]:
    free = {0: torch.export.Dim("n", min=2, max=512)}
    shapes = (tuple(free for _ in shown),)  # of *inputs
    return torch.export.export(part, shown, strict=False, dynamic_shapes=shapes).module()


def traced(part: Part, shown: Inputs, folder: Path) -> Callable[..., Any]:
    return torch.jit.trace(part, shown, check_trace=False)


def as_onnx(part: Part, shown: Inputs, folder: Path) -> Callable[..., Any]:
    library("onnx")
    runtime = library("onnxruntime")
    names = [f"x{k}" for k in range(len(shown))]
    free = {name: {0: "n"} for name in names}
    file = str(folder / "part.onnx")
    torch.onnx.export(part, shown, file, input_names=names, dynamic_axes=free, dynamo=False)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def run(*inputs: torch.Tensor) -> Any:
        given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        return [torch.from_numpy(y) for y in session.run(None, given)]

    return run


@pytest.mark.parametrize(
    ("part", "leave", "most"),
    [
        (masses_flow, exported, 0.0),
        (masses_flow, traced, 0.0),
        (masses_flow, as_onnx, 1e-3),
        (brain_gan, exported, 0.0),
        (brain_diffusion, exported, 0.0),
    ],
)
def test_a_network_takes_another_batch_than_it_was_shown(
    part: Any, leave: Any, most: float, tmp_path: Path
) -> None:
    module, inputs = part()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracers' own
        copy = leave(module, inputs(4), tmp_path)
        found, right = copy(*inputs(BATCH)), module(*inputs(BATCH))
    if isinstance(right, torch.Tensor):
        right, found = [right], list(found) if isinstance(found, (list, tuple)) else [found]
    for one, other in zip(found, right, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= most
