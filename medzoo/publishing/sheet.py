"""The sample sheet of a model or a set: one picture of a few samples."""

from __future__ import annotations

import io
from pathlib import Path

from ..errors import InputError
from ..generation.api import load
from ..samples import Samples, read

SAMPLES = 16
SEED = 1


def sheet_of_model(folder: Path, *, env: str) -> bytes | None:
    """A PNG with samples of the package in a folder; None if they are not pictures, or if
    the model works only on pictures of the user.
    """
    with load(folder, device="cpu", env=env, trust=True) as model:
        try:
            samples = model.generate(SAMPLES, seed=SEED, progress=False)
        except InputError:  # it works on the user's pictures alone
            return None
        return drawn(samples)


def sheet_of_set(folder: Path) -> bytes | None:
    """A PNG with the first samples of a set; None if they are not pictures."""
    return drawn(read(folder))


def drawn(samples: Samples) -> bytes | None:
    """A PNG of samples; the same bytes for the same samples and the same matplotlib."""
    try:
        figure = samples.plot(SAMPLES)
    except InputError:  # a table
        return None
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()
