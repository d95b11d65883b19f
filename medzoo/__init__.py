"""medzoo: a zoo of pretrained generative models for medical imaging.

>>> import medzoo
>>> samples = medzoo.generate(model_id=8, n=500)
>>> loader = medzoo.dataloader(8, n=10_000, batch_size=64)
>>> medzoo.visualize(8)
>>> medzoo.search("mammography mass")

Importing it is cheap: names are looked up, and their modules imported, when they are first used. If
torch is not loaded by then, the way in which its threads wait is set; see docs/scale.md.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .datasets.verification import verify as verify
    from .errors import MedzooError as MedzooError
    from .evaluation.api import compare as compare
    from .evaluation.api import evaluate as evaluate
    from .generation.api import generate as generate
    from .generation.api import load as load
    from .generation.api import stream as stream
    from .generation.kept import unload as unload
    from .generation.model import Model as Model
    from .generation.reproduction import reproduce as reproduce
    from .loader import dataloader as dataloader
    from .loader import dataset as dataset
    from .loader import iterable_dataset as iterable_dataset
    from .packages.store import copy as copy
    from .packages.transfer import install as install
    from .packages.update import update as update
    from .publishing.contribution import contribute as contribute
    from .publishing.data_set import publish as publish
    from .publishing.export import export as export
    from .registry import cite as cite
    from .registry import info as info
    from .registry import list_models as list_models
    from .registry.search import search as search
    from .runtime import Ray as Ray
    from .samples import Samples as Samples
    from .samples import read as read
    from .view import interpolate as interpolate
    from .view import traverse as traverse
    from .view import visualize as visualize

__version__ = "0.1.0"

# public name -> module that has it; no module is called as a public name is, or importing one would
# hide it
_HOMES = {
    "MedzooError": "errors",
    "Model": "generation.model",
    "Ray": "runtime",
    "Samples": "samples",
    "cite": "registry",
    "compare": "evaluation.api",
    "contribute": "publishing.contribution",
    "copy": "packages.store",
    "dataloader": "loader",
    "dataset": "loader",
    "evaluate": "evaluation.api",
    "export": "publishing.export",
    "generate": "generation.api",
    "info": "registry",
    "install": "packages.transfer",
    "interpolate": "view",
    "iterable_dataset": "loader",
    "list_models": "registry",
    "load": "generation.api",
    "publish": "publishing.data_set",
    "read": "samples",
    "reproduce": "generation.reproduction",
    "search": "registry.search",
    "stream": "generation.api",
    "traverse": "view",
    "unload": "generation.kept",
    "update": "packages.update",
    "verify": "datasets.verification",
    "visualize": "view",
}
__all__ = sorted([*_HOMES, "__version__"])  # noqa: PLE0605


_ROOMS = ("errors", "medical", "publishing", "study")  # modules that users reach as `medzoo.errors`


def __getattr__(name: str) -> Any:
    if name not in _HOMES and name not in _ROOMS:
        near = ""
        # `from medzoo import seeds` asks here first, in a model's own process too, where there is
        # nothing but numpy: only a word that names nothing here is compared with the public names.
        if not name.startswith("__") and find_spec(f"{__name__}.{name}") is None:
            from .checks import meant

            near = meant(name, __all__)
        raise AttributeError(f"medzoo has no {name!r}. {near}It has {', '.join(__all__)}.")
    from ._worker.threads import prepare

    prepare()
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
