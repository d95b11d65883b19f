"""What a researcher would write by hand: weights loaded once, batch after batch in
``inference_mode``, nothing written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MODEL, BATCH = 8, 32


def plain_loop(device: str = "cpu", batch: int = BATCH) -> Callable[[int], list[Any]]:
    """Model 8 without medzoo's session: the networks as they were trained, and torch's own random
    numbers.
    """
    import torch

    from medzoo._worker.imports import import_package
    from medzoo.packages.store import package
    from medzoo.registry import resolve

    config = resolve(MODEL)
    folder = package(config, config.default).path
    code = import_package(folder)
    generator = code.load(folder, device, fast=False)

    def run(n: int) -> list[Any]:
        images = []
        for start in range(0, n, batch):
            size = min(batch, n - start)
            latents = torch.randn(size, code.LATENT, device=device)
            noise = [
                (torch.rand(size, 1, side, side, device=device) * 2 - 1) * 3**0.5
                for side in code.SIDES
            ]
            labels = torch.arange(start, start + size, device=device) % 2
            images.append(generator.paint(latents, labels, noise).cpu().numpy())
        return images

    return run
