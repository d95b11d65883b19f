"""Model 8 on the first CUDA device beside the plain loop there at the same batch, and its pictures
beside those of the CPU.
"""

from __future__ import annotations

from functools import partial

from .instruments import in_turn
from .plain import MODEL, plain_loop
from .rows import Found, Row, Size, Skip, measures

BATCHES = 16


@measures(
    Row("model 8 on a GPU, time against the plain loop there", "x", bar=1.05),
    Row("a picture of model 8 on a GPU", "ms"),
    Row("pictures made on a GPU, farthest from those of the CPU", "gray levels", bar=1),
)
def first_device(size: Size) -> list[Found]:
    import torch

    if not torch.cuda.is_available():
        raise Skip("torch sees no CUDA device")
    return beside_the_plain_loop("cuda", torch.cuda.get_device_name(), size)


def beside_the_plain_loop(device: str, card: str, size: Size) -> list[Found]:
    """The three rows, for a device."""
    import numpy as np

    import medzoo

    with medzoo.load(MODEL, device=device) as model, medzoo.load(MODEL, device="cpu") as reference:
        batch = size.n if size.quick else model._open_session().batch_size
        n = batch * (2 if size.quick else BATCHES)
        make = partial(model.generate, seed=0, batch_size=batch, progress=False)
        found = in_turn(
            size.runs, {"medzoo": make, "plain loop": plain_loop(device, batch)}, n, warm=2 * batch
        )
        pictures = [
            m.generate(batch, seed=0, progress=False).images.astype(np.int64)
            for m in (model, reference)
        ]
    note = f"{n} samples in batches of {batch}, {card}"
    return [
        Found([a / b for a, b in zip(*found.values(), strict=True)], found, "s", note),
        Found([1e3 * s / n for s in found["medzoo"]], note=note),
        Found([float(np.abs(pictures[0] - pictures[1]).max())], note=f"{batch} samples, {card}"),
    ]
