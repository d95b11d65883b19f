"""A model as a MONAI bundle, which ``python -m monai.bundle run`` runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..config import Output, Version
from ..config.columns import affine_of
from ..runtime.graph import BYTES, CONDITION, MADE, UNIFORM, GraphInput
from . import export_torchscript
from .zenodo_metadata import NOT_FOR_DIAGNOSIS

if TYPE_CHECKING:
    from .export import Source

NEEDS = ("torch", "monai", "fire", "nibabel")
WORKFLOW = "configs/inference.json"
RUN = f"python -m monai.bundle run run --config_file {{folder}}/{WORKFLOW} --bundle_root {{folder}}"
MORE = (
    "writes pictures (PNG, upright), volumes and float pictures (NIfTI) or arrays (.npy) into "
    "`output/`. `--inputs_file more.npz` takes other inputs{drawn}. It runs on the CPU."
)
SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)


def write(folder: Path, source: Source) -> None:
    """Write workflow, metadata and network; the workflow is resolved by MONAI and compared."""
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir()
    export_torchscript.save(folder / "models/model.ts", source)
    for name, content in (("inference", workflow(source)), ("metadata", metadata(source))):
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (folder / f"configs/{name}.json").write_text(f"{text}\n", encoding="utf-8")
    compare(folder, source)


def more(source: Source) -> str:
    """What else the command takes, for the README."""
    drawn = "; `--count 100 --seed 1` draws new ones" if is_drawn(source) else ""
    return MORE.format(drawn=drawn)


def is_drawn(source: Source) -> bool:
    """Whether the bundle can draw all inputs by itself."""
    return all(one.origin != MADE for one in source.graph.inputs)


def compare(folder: Path, source: Source) -> None:
    """Compare what MONAI's parser makes of the workflow, at several batch sizes."""
    from monai.bundle import ConfigParser

    def run(given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        np.savez(folder / "check.npz", **given)  # type: ignore[arg-type]
        parser = ConfigParser()
        parser.read_config(str(folder / WORKFLOW))
        parser["bundle_root"], parser["inputs_file"] = str(folder), str(folder / "check.npz")
        return {name: parser.get_parsed_content(name).numpy() for name in source.outputs}

    try:
        source.compare(run)
    finally:
        (folder / "check.npz").unlink(missing_ok=True)


def workflow(source: Source) -> dict[str, Any]:
    """The content of ``configs/inference.json``."""
    names = [one.name for one in source.graph.inputs]
    content: dict[str, Any] = {
        "imports": ["$import monai", "$import numpy", "$import pathlib", "$import torch"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/output'",
        "inputs_file": "" if is_drawn(source) else "$@bundle_root + '/inputs.npz'",
        "arrays": "$dict(numpy.load(@inputs_file)) if @inputs_file else {}",
    }
    if is_drawn(source):
        content |= {"count": 4, "seed": 0}
        content["generator"] = "$torch.Generator().manual_seed(@seed)"
    for one in source.graph.inputs:
        given = f"torch.from_numpy(@arrays[{one.name!r}])"
        drawn = f" if @inputs_file else {_drawn(one, source.version)}" if is_drawn(source) else ""
        content[one.name] = f"${given}{drawn}"
    content["network"] = "$torch.jit.load(@bundle_root + '/models/model.ts', map_location='cpu')"
    content["made"] = f"$torch.no_grad()(@network)({', '.join(f'@{name}' for name in names)})"
    several = len(source.outputs) > 1
    for k, name in enumerate(source.outputs):
        content[name] = f"$@made[{k}]" if several else "$@made"
    content["folder"] = "$pathlib.Path(@output_dir).mkdir(parents=True, exist_ok=True)"
    run = ["@folder"]
    for output in source.outputs.values():
        content |= _saver(output)
        run.append(f"@save_{output.name}")
    return {**content, "run": run}


def _drawn(one: GraphInput, version: Version) -> str:
    """An expression that draws an input for ``count`` samples."""
    shape = ", ".join(map(str, ("@count", *one.shape)))
    if one.origin == CONDITION:
        values = list(version.conditions[one.name].values.values())
        return f"torch.tensor({values})[torch.arange(@count) % {len(values)}]"
    if one.origin == BYTES:
        low = -128 if one.dtype == "int8" else 0
        return (
            f"torch.randint({low}, {low + 256}, ({shape},), generator=@generator, "
            f"dtype=torch.{one.dtype})"
        )
    kind = "rand" if one.origin == UNIFORM else "randn"
    return f"torch.{kind}(({shape},), generator=@generator)"


def _saver(output: Output) -> dict[str, Any]:
    """References that save a column, as MONAI's axes have it: x before y before z."""
    name = output.name
    if output.kind not in ("image", "mask", "volume"):
        return {f"save_{name}": f"$numpy.save(@output_dir + '/{name}.npy', @{name}.numpy())"}
    flat, meta = len(output.shape) == 3, f"{{'filename_or_obj': f'{{k:06d}}_{name}'}}"
    picture = flat and output.dtype == "uint8" and output.shape[0] in (1, 3)
    turned = "v.transpose(-1, -2)" if flat else "v.permute(0, 3, 2, 1)"
    volume = "" if picture or not flat else "[..., None]"
    affine = f", affine=torch.tensor({affine_of(output).tolist()})"
    return {
        f"saver_{name}": {
            "_target_": "SaveImage",
            "output_dir": "@output_dir",
            "output_postfix": "",
            "output_ext": ".png" if picture else ".nii.gz",
            "output_dtype": f"$numpy.{output.dtype}",
            "separate_folder": False,
            "resample": False,
            "print_log": False,
        },
        f"save_{name}": f"$[@saver_{name}(monai.data.MetaTensor({turned}{volume}"
        f"{'' if picture else affine}, meta={meta})) for k, v in enumerate(@{name})]",
    }


def metadata(source: Source) -> dict[str, Any]:
    """The content of ``configs/metadata.json``."""
    import monai
    import torch

    config, version = source.config, source.version
    return {
        "schema": SCHEMA,
        "version": version.name,
        "changelog": {version.name: "exported by medzoo"},
        "monai_version": monai.__version__,
        "pytorch_version": str(torch.__version__).partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"fire": "0.6.0", "nibabel": "5.2.1", "pillow": "10.4.0"},
        "name": config.name,
        "task": f"Synthetic {config.modality} of the {config.organ}",
        "description": config.description,
        "authors": ", ".join(version.authors),
        "copyright": version.license,
        "data_source": "; ".join(d.citation or d.name for d in version.datasets),
        "data_type": "synthetic",
        "intended_use": NOT_FOR_DIAGNOSIS,
        "references": [version.citation],
        "network_data_format": {
            "inputs": {one.name: _input_format(one) for one in source.graph.inputs},
            "outputs": {o.name: _output_format(o) for o in source.outputs.values()},
        },
    }


def _input_format(one: GraphInput) -> dict[str, Any]:
    return {
        "type": "tuples",
        "format": "latent",
        "num_channels": 0,
        "spatial_shape": list(one.shape),
        "dtype": one.dtype,
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {},
    }


def _output_format(output: Output) -> dict[str, Any]:
    channels = output.shape[0] if output.shape else 1
    return {
        "type": "image",
        "format": "segmentation" if output.kind == "mask" else "magnitude",
        "num_channels": channels,
        "spatial_shape": list(output.shape[1:]),
        "dtype": output.dtype,
        "value_range": list(output.value_range or []),
        "is_patch_data": False,
        "channel_def": {str(k): output.name for k in range(channels)},
    }
