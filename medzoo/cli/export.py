"""``export``: a model as ONNX, TorchScript, a MONAI bundle or a bioimage.io model."""

from __future__ import annotations

import argparse

from ..plugins import PLUGINS
from .help import FETCH, Commands, command
from .options import model_argument, offline_argument, option_argument, path_of, version_argument


def add_export(commands: Commands) -> None:
    """``export``."""
    child = command(
        commands,
        "export",
        "write a model as ONNX, TorchScript, a MONAI bundle or a bioimage.io model",
        "Latents, conditions and noise are inputs of what is written, for any number of samples. "
        "It is run at several batch sizes and compared with medzoo; a model that cannot be "
        "exported, or gives other samples, is refused. It needs the extra `export`.",
        examples=(
            "medzoo export 8 --format onnx --out masses-onnx/",
            "medzoo export 8 --format monai --out masses-bundle/",
            "medzoo export 103 --format torchscript --option plane=axial --out brains/",
        ),
        codes=(*FETCH, 2, 7, 9, 10, 11, 12),
    )
    model_argument(child)
    child.add_argument(
        "--format", required=True, choices=list(PLUGINS["export"]), help="what to write"
    )
    child.add_argument("--out", required=True, type=path_of, metavar="DIR", help="a new folder")
    version_argument(child)
    child.add_argument(
        "--weights", metavar="FILE", help="a .safetensors file to use instead of the model's own"
    )
    option_argument(child)
    child.add_argument(
        "--trust", action="store_true", help="export a package that no registry names"
    )
    offline_argument(child)
    child.set_defaults(condition=None)  # an input of the graph


def export_command(a: argparse.Namespace) -> None:
    """``medzoo export``."""
    from ..publishing import export
    from ..registry import resolve
    from .generate import model_options

    version = resolve(a.model).version(a.model_version)
    print(
        export(
            a.model,
            a.format,
            a.out,
            version=a.model_version,
            weights=a.weights,
            trust=a.trust,
            **model_options(a, version),
        )
    )
