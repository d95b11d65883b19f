"""A new package folder from a MONAI bundle: a copy of it, with a config from its metadata."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from .. import files, settings
from ..config.schema import config_from
from ..errors import ConfigError, InputError
from .template import PLACEHOLDER, UNNUMBERED

METADATA, WORKFLOW = "configs/metadata.json", "configs/inference.json"
LOAD = re.compile(r"@(\w+)\.load\w*\(\s*torch\.load\(\s*@(\w+)")
FILE = re.compile(r"/([\w.-]+\.(?:pt|pth))'")
MODALITIES = {"MR": "MRI", "CT": "CT", "CR": "X-ray", "DX": "X-ray", "US": "ultrasound"}


def from_bundle(folder: str | os.PathLike[str], *, source: str | os.PathLike[str]) -> Path:
    """Start a package from a MONAI bundle: a copy of its folder, with a config that is written from
    its metadata and a card to fill in.

    What the metadata does not state is assumed, and listed at the top of the config.

    Parameters
    ----------
    folder : str or path
        A new or empty folder.
    source : str or path
        The bundle, with ``configs/metadata.json`` and ``configs/inference.json``.

    Returns
    -------
    pathlib.Path
        The folder, which `medzoo.generate` takes in place of an id.

    Raises
    ------
    InputError
        The folder is not a bundle.
    ConfigError
        Its metadata or workflow cannot be read, or gives a config that breaks the schema.
    DatasetError
        The new folder holds something, or cannot be written.
    """
    target, origin = settings.user_path(folder, "folder"), settings.user_path(source, "source")
    for name in (METADATA, WORKFLOW):
        if not (origin / name).is_file():
            raise InputError(
                f"{origin} has no {name}.", "Name the folder of a MONAI bundle that generates."
            )
    metadata, workflow = _read(origin / METADATA), _read(origin / WORKFLOW)
    try:
        content, assumed = _content(origin, metadata, workflow)
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{origin / METADATA} is not as MONAI's schema has it: {error}.",
            "Correct `network_data_format` and the versions of the packages in it.",
        ) from error
    config_from(content, target / "config.yaml")
    text = "".join(f"# TODO, assumed: {line}\n" for line in assumed)
    text += yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    with files.new_folder(target) as aside:
        skipped = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(origin, aside, ignore=skipped, dirs_exist_ok=True)
        card = (settings.shipped("contrib_template") / "README.md").read_text(encoding="utf-8")
        if not (aside / "README.md").exists():
            card = card.replace(PLACEHOLDER, content["id"][6:])
            (aside / "README.md").write_text(card, encoding="utf-8")
        (aside / "config.yaml").write_text(text, encoding="utf-8")
    return target


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no mapping.")
    return content


def _content(
    origin: Path, metadata: dict[str, Any], workflow: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The content of a config, and what was assumed for it."""
    assumed = ["`license` and `datasets`, which a bundle's metadata does not state"]
    formats = metadata.get("network_data_format") or {}
    source: dict[str, Any] = next(iter((formats.get("inputs") or {}).values()), {})
    sample: dict[str, Any] = next(iter((formats.get("outputs") or {}).values()), {})
    latent_shape = _shape(source, channels=int(source.get("num_channels") or 0))
    takes = "noise" if "noise" in workflow else ""
    if takes:
        assumed.append(f"all noise enters at `noise`, normal, of shape {latent_shape}")
    else:
        assumed.append("no reference takes latents, so the bundle draws all noise itself")
    latent = math.prod(latent_shape) if takes else 0
    bundle: dict[str, Any] = {"workflow": [WORKFLOW], "noise": "generators"}
    if takes:
        bundle |= {"noise": "latents", "latents": takes, "latent_shape": latent_shape}
    bundle["networks"] = _networks(origin, workflow)
    if not bundle["networks"]:
        assumed.append("no weights are loaded: name each file of models/ under `networks`")
    if "monai_version" not in metadata:
        assumed.append("the version of MONAI, 1.4.0")
    modality = MODALITIES.get(str(sample.get("modality", "")), "unknown")
    if modality == "unknown":
        assumed.append("`modality` and `organ`, which a bundle's metadata does not state")
    version = {
        "source": "file:.",
        "contract": "monai",
        "bundle": bundle,
        "requires": _requires(metadata),
        "generator": "unknown",
        "architecture": str(metadata.get("description", "")),
        "year": 2026,
        "authors": [str(metadata.get("authors", "unknown"))],
        "license": "unknown",
        "latent": latent,
        "outputs": {"images": _output(sample, workflow, assumed)},
        "batch_size": 1,
    }
    assumed.append("`generator`, `year` and `organ`")
    name = str(metadata.get("name") or origin.name)
    words = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").upper()
    kind = re.sub(r"[^A-Za-z0-9]+", "", modality).upper()
    number = str(metadata.get("version", "1.0.0"))
    content = {
        "id": f"{UNNUMBERED}_BUNDLE_{kind}_{words}",
        "name": name,
        "description": str(metadata.get("description") or name),
        "modality": modality,
        "organ": "unknown",
        "content": str(metadata.get("task") or name),
        "tags": ["MONAI", "bundle"],
        "default_version": number,
        "versions": {number: version},
    }
    return content, assumed


def _shape(entry: dict[str, Any], channels: int) -> list[int]:
    spatial = [n for n in entry.get("spatial_shape") or [] if isinstance(n, int) and n > 0]
    return [channels, *spatial] if channels else spatial


def _networks(origin: Path, workflow: dict[str, Any]) -> dict[str, Any]:
    """The networks whose weights a reference of the workflow loads."""
    networks = {}
    for reference, value in workflow.items():
        match = LOAD.search(value) if isinstance(value, str) else None
        file = FILE.search(str(workflow.get(match[2], ""))) if match else None
        if match and file:
            networks[f"models/{file[1]}"] = {"reference": match[1], "load": reference}
    if not networks and (origin / "models/model.pt").is_file() and "network_def" in workflow:
        networks["models/model.pt"] = {"reference": "network_def"}
    return networks


def _requires(metadata: dict[str, Any]) -> list[str]:
    """Exact versions of what the bundle declares, with a torch that runs today."""
    requires = ["torch>=2.6", f"monai=={metadata.get('monai_version', '1.4.0')}"]
    if numpy := metadata.get("numpy_version"):
        requires.append(f"numpy>={numpy}")
    for key in ("required_packages_version", "optional_packages_version"):
        requires += [f"{name}>={number}" for name, number in (metadata.get(key) or {}).items()]
    return requires


def _output(sample: dict[str, Any], workflow: dict[str, Any], assumed: list[str]) -> dict[str, Any]:
    shape = _shape(sample, channels=int(sample.get("num_channels") or 1))
    is_volume = len(shape) == 4
    reference = "sample" if "sample" in workflow else "network"
    assumed.append(f"`outputs`: {reference!r} is the sample, as tensor of the metadata's shape")
    output: dict[str, Any] = {"kind": "volume" if is_volume else "image", "dtype": "float32"}
    output["shape"] = [shape[0], *reversed(shape[1:])] if is_volume else shape
    if not sample.get("value_range"):
        assumed.append("`range` of the outputs: 0 to 1")
    low, high = sample.get("value_range") or (0, 1)
    output |= {"range": [low, high], "reference": reference}
    if is_volume:
        output["axes"] = ["R", "A", "S"]
        assumed.append("`axes`: the tensor's axes lead to the right, front and top")
    return output
