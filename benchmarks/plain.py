"""What a researcher would write by hand: weights loaded once, batch after batch in ``inference_mode``, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MODEL, BATCH = 8, 32


def plain_loop() -> Callable[[int], list[Any]]:
    """Model 8 without medzoo's session: the networks as they were trained, and torch's own random numbers."""
    import torch

    from medzoo._worker.imports import import_package
    from medzoo.registry import resolve
    from medzoo.store import package

    config = resolve(MODEL)
    folder = package(config, config.default).path
    code = import_package(folder)
    generator = code.load(folder, "cpu", fast=False)

    def run(n: int) -> list[Any]:
        images = []
        for start in range(0, n, BATCH):
            size = min(BATCH, n - start)
            latents = torch.randn(size, code.LATENT)
            noise = [(torch.rand(size, 1, side, side) * 2 - 1) * 3**0.5 for side in code.SIDES]
            images.append(generator.paint(latents, torch.arange(start, start + size) % 2, noise).numpy())
        return images

    return run
