"""TODO: how the weights were made: `python train.py`. Optional, and never run by medzoo."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Write ``weights.safetensors``, the state of the network in model.py."""
    state = {"radius": torch.tensor([0.2, 0.45]), "edge": torch.tensor([30.0])}  # (2,), (1,)
    save_file(state, HERE / "weights.safetensors")


if __name__ == "__main__":
    main()
