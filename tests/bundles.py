"""Small MONAI bundles of our own, and configs for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SCRIPT = '''
import torch

class Toy(torch.nn.Module):
    """Latents (n, 6) to volumes (n, 1, 4, 5, 6), or images (n, 1, 5, 6), unbounded."""

    def __init__(self, latent=6, size=(4, 5, 6)):
        super().__init__()
        self.size = tuple(size)
        self.layer = torch.nn.Linear(latent, int(torch.tensor(self.size).prod()))
        self.norm = torch.nn.BatchNorm1d(latent)

    def forward(self, z, age=0.5):
        return self.layer(self.norm(z)).reshape(len(z), 1, *self.size) + age

def sampler(network, z, steps):
    """As DDPM: noise in every step, from the global generator."""
    for _ in range(steps):
        z = z + 0.1 * torch.randn(z.shape)
    return network(z)
'''
WORKFLOW: dict[str, Any] = {
    "imports": ["$import torch", "$from scripts import toy"],
    "bundle_root": ".",
    "output_dir": "$@bundle_root + '/made'",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "size": [4, 5, 6],
    "age": 0.5,
    "sex": 0,
    "steps": 20,
    "noise": "$torch.randn(1, 6).to(@device)",
    "network_def": {"_target_": "scripts.toy.Toy", "latent": 6, "size": "@size"},
    "load_network": "$@network_def.load_state_dict(torch.load(@bundle_root + '/models/model.pt'), "
    "strict=False)",
    "network": "$@network_def.to(@device).eval()",
    "dataset": {"_target_": "Dataset", "data": "$[torch.rand(6) for i in range(3)]"},
    "sample": "$@network(@noise, @age + @sex)",
    "drawn": "$toy.sampler(@network, torch.zeros(1, 6), @steps)",
    "uneven": "$1 / 0",
    "affine": "$torch.diag(torch.tensor([-1.0, 1.0, 2.0, 1.0], dtype=torch.float64))",
    "saver": {
        "_target_": "SaveImage",
        "output_dir": "@output_dir",
        "output_postfix": "",
        "output_ext": ".nii.gz",
        "separate_folder": False,
        "resample": False,
        "print_log": False,
    },
    "save": "$@saver(monai.data.MetaTensor(@sample[0], affine=@affine, "
    "meta={'filename_or_obj': 'vol'}))",
}
METADATA: dict[str, Any] = {
    "version": "0.3.0",
    "changelog": {"0.3.0": "first"},
    "monai_version": "1.4.0",
    "pytorch_version": "2.4.0",
    "numpy_version": "1.26.4",
    "required_packages_version": {"nibabel": "5.2.1"},
    "name": "Toy volumes",
    "task": "Toy volume synthesis",
    "description": "Smallest bundle around a plain torch generator",
    "authors": "A. Tester, B. Tester",
    "copyright": "nobody",
    "intended_use": "Tests only",
    "data_source": "none",
    "network_data_format": {
        "inputs": {"latent": {"type": "tuples", "format": "latent", "spatial_shape": [6]}},
        "outputs": {
            "pred": {
                "type": "image",
                "format": "magnitude",
                "modality": "MR",
                "num_channels": 1,
                "spatial_shape": [4, 5, 6],
                "dtype": "float32",
                "value_range": [0, 1],
            }
        },
    },
}


def write_bundle(folder: Path, script: str = SCRIPT, **workflow: Any) -> Path:
    """A bundle with random weights; ``workflow`` replaces references."""
    import torch

    for name in ("configs", "models", "scripts"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "scripts/__init__.py").write_text("")
    (folder / "scripts/toy.py").write_text(script)
    (folder / "configs/metadata.json").write_text(json.dumps(METADATA))
    (folder / "configs/inference.json").write_text(json.dumps({**WORKFLOW, **workflow}))
    namespace: dict[str, Any] = {}
    exec(script, namespace)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        torch.save(namespace["Toy"]().state_dict(), folder / "models/model.pt")
    return folder


def bundle_config(
    folder: Path, output: dict[str, Any] | None = None, **bundle: Any
) -> dict[str, Any]:
    """Keys of a version for `conftest.toy_config`; ``bundle`` replaces or removes keys of its section."""
    section = {
        "workflow": ["configs/inference.json"],
        "noise": "latents",
        "latents": "noise",
        "networks": {"models/model.pt": {"reference": "network_def"}},
        **bundle,
    }
    images = {"kind": "volume", "dtype": "float32", "shape": [1, 6, 5, 4], "range": [-3, 3]}
    images |= {"spacing": [2, 1, 1], "tolerance": 1e-5}
    images |= output or {"reference": "sample", "axes": ["L", "A", "S"]}
    return {
        "source": f"file:{folder}",
        "contract": "monai",
        "files": None,
        "requires": ["torch", "monai"],
        "latent": 6 if section.get("latents") else 0,
        "conditions": None,
        "options": None,
        "bundle": {k: v for k, v in section.items() if v is not None},
        "outputs": {"images": {k: v for k, v in images.items() if v is not None}},
    }
