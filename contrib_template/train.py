"""TODO: how the weights were made: `python train.py`. Optional, and never run by medzoo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Write ``weights.safetensors``; safetensors.torch does the same with a network's state."""
    radius, edge = np.array([0.2, 0.45], np.float32), np.array([30.0], np.float32)
    save_file({"radius": radius, "edge": edge}, HERE / "weights.safetensors")


if __name__ == "__main__":
    main()
