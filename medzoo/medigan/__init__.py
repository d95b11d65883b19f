"""medigan's `Generators` over medzoo: scripts for medigan 1.0.0 run with one changed line.

>>> from medzoo.medigan import Generators
>>> generators = Generators()
>>> generators.find_models_and_rank(["dcgan", "mmg"], metric="FID")[0]["model_id"]
'00001_DCGAN_MMG_CALC_ROI'

Models 1 to 23 run in the version that medigan published, not in medzoo's newer ones;
``medzoo.generate(8)`` runs those. docs/from-medigan.md lists old and new lines.

==================  =================================================================
``generators.py``   the class, its arguments
``selecting.py``    lists, searches, ranks (``matching.py`` says what fits)
``generating.py``   samples, data sets, loaders (``executor.py`` runs one model)
``contributing.py`` private models
``metadata.py``     ``global.json`` of medigan, and entries of the user
``returned.py``     samples in the form in which packages return them
==================  =================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .contributing import ModelContributor
from .executor import ModelExecutor
from .generators import Generators
from .matching import MatchedEntry, ModelMatchCandidate
from .metadata import ConfigManager

if TYPE_CHECKING:
    from .dataset import SyntheticDataset

__all__ = [
    "ConfigManager",
    "Generators",
    "MatchedEntry",
    "ModelContributor",
    "ModelExecutor",
    "ModelMatchCandidate",
    "SyntheticDataset",
]


def __getattr__(name: str) -> Any:
    if name == "SyntheticDataset":  # which needs torch
        from .dataset import SyntheticDataset

        return SyntheticDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
