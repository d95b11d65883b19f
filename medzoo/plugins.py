"""Parts that are chosen by a name: contracts, file formats, sources of packages.

One table names them all. A part is imported when it is first asked for, so a format or a contract
that is never used costs nothing. A new part is one module and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

PLUGINS = {
    "contract": {  # in the process of a model
        "native": "_worker.native:Native",
        "medigan": "_worker.medigan:Medigan",
        "monai": "_worker.monai:Monai",
    },
    "caller": {  # the caller's side of a contract
        "native": "runtime.native",
        "medigan": "runtime.medigan",
        "monai": "runtime.monai",
    },
    "format": {
        "png": "datasets.png:Png",
        "png16": "datasets.png:Png16",
        "coco": "datasets.boxes:Coco",
        "yolo": "datasets.boxes:Yolo",
        "nifti": "datasets.nifti:Nifti",
        "dicom": "datasets.dicom:Dicom",
        "csv": "datasets.csv:Csv",
        "npz": "datasets.npz:Npz",
        "webdataset": "datasets.webdataset:WebDataset",
    },
    "source": {
        "bundled": "packages.bundled",
        "file": "packages.file",
        "zenodo": "packages.zenodo",
        "https": "packages.https",
        "hf": "packages.hf",
    },
    "export": {  # from the graph of a native package
        "onnx": "publishing.export_onnx",
        "torchscript": "publishing.export_torchscript",
        "monai": "publishing.export_monai",
        "bioimageio": "publishing.export_bioimageio",
    },
    "face": {  # of the explorer: a function of the loaded model and a seed
        "window": "view.window:open_window",
        "notebook": "view.window:open_notebook",
        "web": "web.own:open_web",
    },
    "notebook": {"model": "registry.card"},  # how a notebook shows a config
}


def plugin(kind: str, name: str) -> Any:
    """The module or class that has this name."""
    module, _, attribute = PLUGINS[kind][name].partition(":")
    part = import_module(f".{module}", __package__)
    return getattr(part, attribute) if attribute else part


def public(room: str, homes: Mapping[str, str], name: str) -> Any:
    """What a room makes public under a name: its ``__getattr__``, so that modules come when needed.

    Parameters
    ----------
    room
        The room's ``__name__``, such as ``medzoo.view``.
    homes
        Public name -> the module of the room that has it.
    name
        The name that is asked for.

    Raises
    ------
    AttributeError
        The room has no such name; says which it has.
    """
    if name not in homes:
        raise AttributeError(f"{room} has no {name!r}. It has {', '.join(sorted(homes))}.")
    return getattr(import_module(f".{homes[name]}", room), name)
