"""What a package is asked for: some samples of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import seeds

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray  # from numpy 1.21 on


@dataclass(frozen=True)
class Batch:
    """Some samples of a run, all that a package may depend on.

    Parameters
    ----------
    seed
        Root seed of the run.
    indices
        Number of each sample in the run, shape (n,), int64.
    latents
        Standard normal unless the user gave others, shape (n, latent size), float32.
    conditions
        Condition -> the value of each sample, shape (n,), int64.
    inputs
        Pictures of the user's that the model works on: input -> an array (n, C, H, W) or its like,
        or for packages of the medigan contract the path of each sample's. Those that the user did
        not give are not there.
    options
        The model's other inputs, checked against the config.
    """

    seed: int
    indices: NDArray[np.int64]
    latents: NDArray[np.float32]
    conditions: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    inputs: Mapping[str, NDArray[Any] | list[str]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many samples."""
        return len(self.indices)

    def rng(self, i: int) -> seeds.Stream:
        """The random stream of the batch's sample number ``i``; the same wherever that sample is
        made.
        """
        return seeds.Stream(self.seed, int(self.indices[i]), seeds.NOISE)
