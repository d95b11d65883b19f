"""Write the weights of model 102 from the checkpoints of its two trainings.

    python starter_models/brain/weights.py --data brain_t1ce_cheng_256.zip --out runs/brain

``--out`` holds ``eye.safetensors`` (of ``autoencoder.py``) and ``diffusion.pt``. Beside the averaged
networks, ``weights.safetensors`` gets what the package needs of the training slices: how often each
plane occurs, the boxes of the tumours, and the leading principal components of the latents.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import diffusion
import torch
from autoencoder import base, read_networks
from safetensors.torch import save_file
from torch import Tensor

SETTABLE = 16  # components that a user sets


@torch.no_grad()
def components(latents: Tensor, seed: int = 0) -> Tensor:
    """The leading principal directions of latents (N, 4, 32, 32), orthonormal rows (16, 4096)."""
    flat = latents.flatten(1)
    torch.manual_seed(seed)
    _, _, directions = torch.pca_lowrank(flat, q=SETTABLE + 8, niter=4)
    return directions[:, :SETTABLE].T.contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    encoder, decoder = read_networks(a.out / "eye.safetensors")
    x, kinds, masks = base.read_slices(a.data)
    latents = []
    with torch.no_grad():
        for rows in torch.arange(len(x)).split(64):
            tones = base.as_tones(x[rows]).contiguous(memory_format=torch.channels_last)
            latents.append(encoder(tones))
    boxes = diffusion.boxes_of(masks.float())
    marked = boxes[:, 2] > 0
    state = torch.load(a.out / "diffusion.pt", weights_only=True, map_location="cpu")
    tensors = {f"denoiser.{k}": v for k, v in state["average"].items()}
    tensors |= {f"decoder.{k}": v for k, v in decoder.state_dict().items()}
    tensors["components"] = components(torch.cat(latents))
    halves = {k: v.half().contiguous() for k, v in tensors.items() if v.is_floating_point()}
    halves["share"] = torch.bincount(kinds, minlength=9).float() / len(kinds)
    halves["boxes"] = boxes[marked].half()
    halves["box_kinds"] = kinds[marked].to(torch.uint8)
    path = a.out / "weights.safetensors"
    save_file(halves, path)
    path.chmod(0o644)  # safetensors makes it readable by its owner alone
    print(f"{path}: step {state['step']}, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
